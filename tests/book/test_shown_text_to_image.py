"""The chapter on drawing trains in the open: by the very lines of the experiment, down to the last weight."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from bookkit import ROOT, imports_of, training_cells

from mmtutor.experiments import text_to_image as experiment
from mmtutor.kit import training
from mmtutor.kit.runtime import cpu_threads

CHAPTER = ROOT / "book" / "11_text_to_image.ipynb"
STEPS = 3


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Some pictures, three steps of each training; what ``training.fit`` was asked for."""
    monkeypatch.setattr(experiment, "TRAIN", 400)
    monkeypatch.setattr(experiment, "TEST", 600)
    data = experiment.load.__wrapped__()
    monkeypatch.setattr(experiment, "load", lambda side=experiment.SIDE: data)
    judge = experiment.Judge().eval()
    monkeypatch.setattr(experiment, "judge", lambda side=experiment.SIDE: judge)
    monkeypatch.setattr(experiment, "STEPS", STEPS)
    monkeypatch.setattr(experiment, "encoder", experiment.encoder.__wrapped__)
    monkeypatch.setattr(experiment, "train", experiment.train.__wrapped__)
    calls: list[dict[str, Any]] = []
    fit = training.fit

    def short(model: Any, data: Any, **settings: Any) -> Any:
        calls.append({k: v for k, v in settings.items() if k != "collate"})
        return fit(model, data, **{**settings, "max_steps": STEPS, "progress": False})

    monkeypatch.setattr(training, "fit", short)
    return calls


def shown(seed: int) -> dict[str, Any]:
    """What the names of the chapter hold after its training cells."""
    data = experiment.load()
    names: dict[str, Any] = {"seed": seed, "data": data}
    exec(imports_of(CHAPTER, "draw-imports"), names)
    names["judged_real"] = experiment.looked_at(data.seen.pictures)

    def meaning_of(thing: str, ground: str) -> int:
        kinds = experiment.NAMES, experiment.GROUNDS
        return kinds[0].index(thing) * len(kinds[1]) + kinds[1].index(ground)

    names["meaning_of"] = meaning_of
    for source in training_cells(CHAPTER):
        exec(source, names)
    return names


def weights_of(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([x.detach().flatten().float() for x in model.state_dict().values()])


def test_the_training_in_the_chapter_is_that_of_the_experiment(few: list[dict[str, Any]]) -> None:
    encoder, train, build = experiment.encoder, experiment.train, experiment.build
    with cpu_threads(1):  # the chapter's game uses all cores, the experiment one
        names = shown(seed=3)
    assert experiment.encoder is not encoder
    assert experiment.train is not train
    of_the_chapter = list(few)
    few.clear()
    experiment.encoder = encoder
    again = train("with z", 3, STEPS)
    assert of_the_chapter == few
    assert torch.equal(weights_of(names["phi"]), weights_of(again.encoder))
    assert torch.equal(weights_of(names["model"]), weights_of(again))
    assert names["game"].step == STEPS
    assert not torch.equal(weights_of(again), weights_of(build("with z", 3)))
    assert not torch.equal(weights_of(again), weights_of(train("with z", 4, STEPS)))
