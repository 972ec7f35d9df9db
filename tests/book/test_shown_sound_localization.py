"""The chapter on where a sound comes from trains in the open: by the very lines of the experiment, down to the last weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from bookkit import ROOT, imports_of, training_cells

from mmtutor.experiments import sound_localization as experiment
from mmtutor.kit import training
from mmtutor.soundnet import Config, SoundNet

CHAPTER = ROOT / "book" / "15_sound_localization.ipynb"
STEPS = 3


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Some clips, heard by an untrained network and seen by nobody; what ``fit`` was asked for."""

    def noise(pictures: np.ndarray, encoder: object) -> torch.Tensor:
        draw = torch.Generator().manual_seed(len(pictures))
        return torch.randn(len(pictures), 112, 6, 6, generator=draw)

    torch.manual_seed(0)
    deaf = SoundNet(Config.world((("objects", 1000),))).eval()
    for name, value in dict(TRAIN=100, TEST=40, TWO=20, STEPS=STEPS, ears=lambda: deaf).items():
        monkeypatch.setattr(experiment, name, value)
    monkeypatch.setattr(experiment.vision, "features", noise)
    data = experiment.load.__wrapped__()
    monkeypatch.setattr(experiment, "load", lambda: data)
    monkeypatch.setattr(experiment, "train", experiment.train.__wrapped__)
    calls: list[dict[str, Any]] = []
    fit = training.fit

    def noted(model: Any, data: Any, **settings: Any) -> Any:
        calls.append(settings)
        return fit(model, data, **{**settings, "progress": False})

    monkeypatch.setattr(training, "fit", noted)
    return calls


def shown(seed: int) -> dict[str, Any]:
    """What the names of the chapter hold after its training cells."""
    names: dict[str, Any] = {"seed": seed, "data": experiment.load()}
    exec(imports_of(CHAPTER, "sl-imports"), names)
    names["experiment"] = experiment
    for source in training_cells(CHAPTER):
        exec(source, names)
    return names


def weights_of(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_training_in_the_chapter_is_that_of_the_experiment(few: list[dict[str, Any]]) -> None:
    train = experiment.train  # the chapter hands its model over, and so replaces it
    model = shown(seed=3)["model"]
    assert experiment.train is not train
    assert experiment.train("sound", 3) is model
    of_the_chapter = few.copy()
    few.clear()
    assert torch.equal(weights_of(model), weights_of(train("sound", 3)))
    assert of_the_chapter == few
    assert not torch.equal(weights_of(model), weights_of(train("sound", 4)))
