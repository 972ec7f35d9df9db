"""Show and Tell trains in the open: by the very lines of the experiment, down to the last weight."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from bookkit import ROOT, cells_of, imports_of, training_cells

from mmtutor.experiments import show_and_tell as experiment
from mmtutor.experiments._captioning import pairs, vocabulary_of
from mmtutor.kit import training

CHAPTER = ROOT / "book" / "08_show_and_tell.ipynb"
STEPS = 3
SAID = [
    ["a dog is in the snow", "there is a small dog", "a cat on the left of a dog"],
    ["a cat is in the room", "there is a large cat", "a book and a cat in the room"],
] * 20


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A few captions in place of 20,000, three steps in place of 660; what ``fit`` was asked for."""
    vocabulary = vocabulary_of(SAID)
    features = torch.randn(len(SAID), 1280, generator=torch.Generator().manual_seed(7))
    data = experiment.Data(features, *pairs(SAID, vocabulary), vocabulary, features, SAID, [])
    monkeypatch.setattr(experiment, "data", lambda pretrained=True: data)
    calls: list[dict[str, Any]] = []
    fit = training.fit

    def short(model: Any, batches: Any, **settings: Any) -> Any:
        first = next(iter(batches))
        calls.append({**settings, "batch": len(first["captions"])})
        return fit(model, batches, **{**settings, "max_steps": STEPS})

    monkeypatch.setattr(training, "fit", short)
    return calls


def by_the_chapter(seed: int) -> tuple[Any, dict[str, torch.Tensor], Any]:
    names: dict[str, Any] = {"seed": seed}
    exec(imports_of(CHAPTER, "tell-03"), names)
    names["data"] = experiment.data()
    for source in training_cells(CHAPTER):
        exec(source, names)
    return names["model"], names["before"], names["history"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_chapter_trains_by_the_lines_of_the_experiment(asked: list[dict[str, Any]]) -> None:
    model, before, history = by_the_chapter(5)
    trained = experiment.trained.__wrapped__(5)
    assert same(model.state_dict(), trained.model.state_dict())
    assert same(before, trained.before)
    assert history.losses == trained.history.losses
    assert asked[0] == asked[1]  # epochs, rate, decay, clip, warm-up, seed, batch
    assert asked[0]["epochs"] == experiment.EPOCHS


def test_another_seed_trains_another_model(asked: list[dict[str, Any]]) -> None:
    model, before, _ = by_the_chapter(5)
    trained = experiment.trained.__wrapped__(6)
    assert not same(model.state_dict(), trained.model.state_dict())
    assert not same(before, trained.before)


def test_the_table_of_the_recipe_says_what_the_call_gets() -> None:
    """The size of a batch stands in the call and in a table."""
    sources = "\n".join("".join(c["source"]) for c in cells_of(CHAPTER) if c["cell_type"] == "code")
    assert f"batch_size={experiment.BATCH})" in sources
    assert f'["captions a batch", {experiment.BATCH},' in sources
