"""The chapter on VL-BERT and ViLBERT trains in the open: by the very lines of the experiments, down to the last weight."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from bookkit import ROOT, imports_of, training_cells

from mmtutor.experiments import vilbert as two
from mmtutor.experiments import vlbert as experiment
from mmtutor.kit import training

CHAPTER = ROOT / "book" / "14_vlbert.ipynb"
STEPS = 3


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A few data, three steps of training, nothing kept from before; what ``fit`` was asked for."""
    monkeypatch.setattr(experiment, "TRAIN", 400)
    monkeypatch.setattr(experiment, "TEST", 20)
    monkeypatch.setattr(experiment, "SCENES", 80)
    monkeypatch.setattr(experiment, "UNSEEN", (0, 20))
    experiment.load.cache_clear()
    experiment.load()
    calls: list[dict[str, Any]] = []
    fit = training.fit

    def short(model: Any, data: Any, **settings: Any) -> Any:
        calls.append({**settings, "data": type(data).__name__})
        settings = {**settings, "max_steps": STEPS, "progress": False}
        return fit(model, data, **settings)

    monkeypatch.setattr(training, "fit", short)
    for module, name in ((experiment, "pretrain"), (experiment, "train"), (two, "pretrain")):
        monkeypatch.setattr(module, name, getattr(module, name).__wrapped__)
    yield calls
    experiment.load.cache_clear()


def shown(seed: int) -> dict[str, Any]:
    """What the names of the chapter hold after its training cells."""
    names: dict[str, Any] = {"seed": seed}
    exec(imports_of(CHAPTER, "vlb-imports"), names)
    names["data"] = experiment.load()
    for source in training_cells(CHAPTER):
        exec(source, names)
    return names


def weights_of(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_training_in_the_chapter_is_that_of_the_experiment(asked: list[dict[str, Any]]) -> None:
    names = shown(seed=3)
    pairs = {
        "reader": experiment.pretrain,
        "answerer": lambda seed: experiment.train("pre-trained", seed),
        "streams": two.pretrain,
    }
    for name, again in pairs.items():
        assert torch.equal(weights_of(names[name]), weights_of(again(3))), name
        assert not torch.equal(weights_of(names[name]), weights_of(again(4))), name


def test_the_recipe_that_the_chapter_prints_is_the_one_that_it_uses(
    asked: list[dict[str, Any]],
) -> None:
    names = shown(seed=3)
    assert names["recipe"] == {
        "max_steps": experiment.PRETRAIN,
        "batch_size": experiment.BATCH,
        "lr": experiment.RATE,
        "warmup": experiment.WARMUP,
        "weight_decay": experiment.DECAY,
    }
    assert names["second"] == {"max_steps": experiment.FINE, "lr": experiment.RATE_FINE}
    assert (two.PRETRAIN, two.RATE) == (experiment.PRETRAIN, experiment.RATE)
    of_chapter = asked[-3:]
    experiment.train("pre-trained", 3)
    two.pretrain(3)
    of_experiment = asked[-3:]

    def plain(call: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in call.items() if name != "collate"}

    assert [plain(call) for call in of_chapter] == [plain(call) for call in of_experiment]
    assert [call["data"] for call in of_chapter] == ["Lessons", "Asked", "Swapped"]


def test_the_claims_take_the_models_that_were_handed_over(asked: list[dict[str, Any]]) -> None:
    from mmtutor.experiments._captioning import hand_over

    names = shown(seed=3)
    hand_over(experiment.pretrain, names["reader"], 3)
    before = len(asked)
    values = experiment.c32(3)
    assert len(asked) == before
    assert values["true"] == float(experiment.restored(names["reader"], "true").mean())
