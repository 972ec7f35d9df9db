"""The recipes chapter trains in the open: by the very lines of the experiment, down to the last weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from bookkit import ROOT, cells_of, imports_of, training_cells

from mmtutor.experiments import recipes as experiment
from mmtutor.kit import training
from mmtutor.kit.text import Vocabulary

CHAPTER = ROOT / "book" / "05_recipes.ipynb"
STEPS = 3


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """200 made-up dishes in place of 6,000, three steps in place of 752; what ``fit`` was asked for."""
    dice = torch.Generator().manual_seed(7)
    rows = {
        "image": torch.randn(200, 112, 6, 6, generator=dice),
        "ingredients": torch.randint(1, 5, (200, 3), generator=dice),
        "instructions": torch.randint(1, 7, (200, 4, 3), generator=dice),
        "label": torch.randint(0, 16, (200,), generator=dice),
    }
    pantry, words = (Vocabulary(list(w), specials=("<pad>",)) for w in ("abcd", "efghij"))
    data = experiment.Data(rows, rows, pantry, words, ("side",) * 200)
    monkeypatch.setattr(experiment, "data", lambda: data)
    calls: list[dict[str, Any]] = []
    fit = training.fit

    def short(model: Any, data: Any, **settings: Any) -> Any:
        calls.append({**settings, "one by one": isinstance(data, Mapping)})
        return fit(model, data, **{**settings, "max_steps": STEPS, "progress": False})

    monkeypatch.setattr(training, "fit", short)
    return calls


def by_the_chapter(seed: int) -> tuple[Any, Any]:
    names: dict[str, Any] = {"seed": seed}
    exec(imports_of(CHAPTER, "dish-03"), names)
    names["data"] = experiment.data()
    for source in training_cells(CHAPTER):
        exec(source, names)
    return names["model"], names["history"]


def same(one: Any, other: Any) -> bool:
    one, other = one.state_dict(), other.state_dict()
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_chapter_trains_by_the_lines_of_the_experiment(asked: list[dict[str, Any]]) -> None:
    model, history = by_the_chapter(5)
    trained = experiment.trained.__wrapped__(5)
    assert same(model, trained.model)
    assert history.losses == trained.history.losses
    assert asked[0] == asked[1]  # epochs, rate, decay, clip, warm-up, seed, batch
    assert asked[0]["epochs"] == experiment.EPOCHS
    assert asked[0]["batch_size"] == experiment.PAIRS


def test_another_seed_trains_another_model(asked: list[dict[str, Any]]) -> None:
    model, _ = by_the_chapter(5)
    assert not same(model, experiment.trained.__wrapped__(6).model)


def test_what_is_taken_away_is_taken_away(asked: list[dict[str, Any]]) -> None:
    """The other ways of training differ from the chapter's as they say."""
    made = {way: experiment.trained.__wrapped__(5, **c) for way, c in experiment.WAYS.items()}
    whole = made["rnn"].model
    assert made["bag"].model.config.reader == made["cosine_bag"].model.config.reader == "bag"
    assert made["alone"].model.config == whole.config
    assert not same(made["alone"].model, whole)
    assert float(made["gamma1"].model.log_scale) == 0.0
    assert float(whole.log_scale.detach()) != 0.0
    assert {way for way, m in made.items() if m.model.config.loss == "cosine"} == {
        "cosine_twins",
        "cosine",
        "cosine_bag",
        "drawn",
    }
    assert made["drawn"].model.config.pairs == "drawn"
    by_way = dict(zip(made, asked, strict=True))
    alone = {way for way, call in by_way.items() if call["one by one"]}
    assert alone == {"alone", "cosine", "cosine_bag", "drawn"}
    for way, call in by_way.items():
        assert call["batch_size"] == (64 if way in alone else 32)
        assert call["lr"] == experiment.RATE[made[way].model.config.loss]


def test_twins_come_together() -> None:
    rows = {"label": torch.arange(10), "image": torch.arange(20).view(10, 2)}
    twins = experiment.Twins(rows)
    assert len(twins) == 5
    batch = twins.__getitems__([3, 0])
    assert batch["label"].tolist() == [6, 7, 0, 1]
    assert torch.equal(batch["image"], rows["image"][[6, 7, 0, 1]])


def test_the_right_twin_is_counted_by_hand() -> None:
    scores = torch.tensor(
        [
            [0.9, 0.1, 5.0, 5.0],  # right
            [0.5, 0.4, 0.0, 0.0],  # the twin is nearer
            [0.0, 0.0, 0.3, 0.3 + 1e-8],  # alike
            [0.0, 0.0, 0.7, 0.8],  # right
        ]
    )
    assert experiment.right_twin(scores).tolist() == [1.0, 0.0, 0.5, 1.0]


def test_the_table_of_the_recipe_says_what_the_call_gets() -> None:
    """The sizes of a batch and of an epoch stand in calls and in tables."""
    sources = "\n".join("".join(c["source"]) for c in cells_of(CHAPTER) if c["cell_type"] == "code")
    assert f"batch_size={experiment.PAIRS}, collate=dict" in sources
    assert f'["dishes a batch", {2 * experiment.PAIRS}, "{experiment.PAIRS} pairs' in sources
    steps = -(-experiment.TRAIN // (2 * experiment.PAIRS))
    assert f"recipe['epochs'] * {steps}" in sources
