"""The opening chapter trains in the open: by the very lines of the experiment, down to the last weight."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from bookkit import ROOT, imports_of, training_cells

from mmtutor.experiments import fusion as experiment
from mmtutor.experiments._captioning import hand_over
from mmtutor.kit import training

CHAPTER = ROOT / "book" / "01_fusion.ipynb"
STEPS = 3
SHOWN = ["picture", "sound", "late", "modality dropout", "blending"]


def pairs(size: int, seed: int) -> dict[str, torch.Tensor]:
    """Pairs of noise; the label can be read off either modality, so that something generalises."""
    draw = torch.Generator().manual_seed(seed)
    label = torch.arange(size) % 4
    told = 3 * torch.nn.functional.one_hot(label, 4).float()
    made = {
        name: torch.randn(size, n, generator=draw) for name, n in (("picture", 6), ("sound", 5))
    }
    for x in made.values():
        x[:, :4] += told
    return {**made, "label": label}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A few made-up pairs, three steps of training, nothing kept from before; what ``fit`` was asked for."""
    data = experiment.Data(pairs(200, 0), pairs(40, 1), pairs(40, 2), tuple("abcd"))
    monkeypatch.setattr(experiment, "data", lambda: data)
    calls: list[dict[str, Any]] = []
    fit = training.fit

    def short(model: Any, data: Any, **settings: Any) -> Any:
        calls.append({**settings, "at once": isinstance(data, Mapping)})
        return fit(model, data, **{**settings, "max_steps": STEPS, "progress": False})

    monkeypatch.setattr(training, "fit", short)
    monkeypatch.setattr(experiment, "trained", experiment.trained.__wrapped__)
    return calls


def shown(seed: int) -> dict[str, Any]:
    """What the names of the chapter hold after its training cells."""
    names: dict[str, Any] = {"seed": seed}
    exec(imports_of(CHAPTER, "fus-003"), names)
    names["experiment"] = experiment
    for source in training_cells(CHAPTER):
        exec(source, names)
    return names


def weights_of(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_training_in_the_chapter_is_that_of_the_experiment(asked: list[dict[str, Any]]) -> None:
    runs = shown(seed=3)["runs"]
    assert list(runs) == SHOWN
    for name, run in runs.items():
        again, other = experiment.trained(name, 3), experiment.trained(name, 4)
        assert torch.equal(weights_of(run.model), weights_of(again.model)), name
        assert run.progress == again.progress
        assert run.history.validation == again.history.validation
        assert not torch.equal(weights_of(run.model), weights_of(other.model))
        if name == "blending":
            assert run.model.config.blend == tuple(experiment.weights(3).values())
            assert run.model.config.blend != tuple(experiment.weights(4).values())


def test_the_claim_takes_the_models_that_were_handed_over(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = shown(seed=3)["runs"]
    for name, run in runs.items():
        hand_over(experiment.trained, run, name, 3)
    before = len(asked)
    values = experiment.c03(3)
    others = [name for name in experiment.MODELS if name not in SHOWN]
    assert len(asked) == before + len(others)
    for name, run in runs.items():
        assert values[name] == experiment.accuracy(run.model, experiment.data().unseen)
    assert values["best single"] == max(values["picture"], values["sound"])


def test_the_recipe_that_the_chapter_prints_is_the_one_that_it_uses(
    asked: list[dict[str, Any]],
) -> None:
    names = shown(seed=3)
    assert names["recipe"] == {
        "epochs": experiment.EPOCHS,
        "batch_size": experiment.BATCH,
        "lr": experiment.RATE,
    }
    assert names["momentum"] == experiment.MOMENTUM
    experiment.trained("late", 3)

    def plain(call: dict[str, Any]) -> dict[str, Any]:
        step = call["optimizer"]
        assert isinstance(step, functools.partial)
        return {**call, "optimizer": (step.func, step.keywords)}

    assert len(asked) == len(SHOWN) + 1
    assert all(plain(call) == plain(asked[-1]) for call in asked)
    assert asked[0]["at once"]
