"""The chapter on questions trains in the open: by the very lines of the experiment, down to the last weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from bookkit import ROOT, imports_of, training_cells

from mmtutor.experiments import vqa as experiment
from mmtutor.kit import training

CHAPTER = ROOT / "book" / "13_vqa.ipynb"
STEPS = 3
SHOWN = {"product": "product", "grounded": "grounded", "question": "reader_only"}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Some questions about pictures of noise, three steps of training; what ``fit`` was asked for."""

    def noise(pictures: np.ndarray, encoder: object) -> torch.Tensor:
        draw = torch.Generator().manual_seed(len(pictures))
        return torch.randn(len(pictures), 112, 6, 6, generator=draw)

    monkeypatch.setattr(experiment, "TRAIN", 1200)
    monkeypatch.setattr(experiment, "TEST", 240)
    monkeypatch.setattr(experiment.vision, "features", noise)
    data = experiment.load.__wrapped__()
    monkeypatch.setattr(experiment, "load", lambda: data)
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
    names: dict[str, Any] = {"seed": seed, "data": experiment.load()}
    exec(imports_of(CHAPTER, "vqa-imports"), names)
    data = names["data"]
    names |= {
        "experiment": experiment,
        "types": np.array(data.test.rows["type"]),
        "told": list(data.test.rows["answer"]),
        "things": list(data.test.rows["things"]),
        "said": {"grounded": list(data.test.rows["answer"])},
        "correct": {"grounded": np.ones(len(data.test), bool)},
    }
    for source in training_cells(CHAPTER):
        exec(source, names)
    return names


def weights_of(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_training_in_the_chapter_is_that_of_the_experiment(few: list[dict[str, Any]]) -> None:
    train = experiment.train  # the chapter hands its models over, and so replaces it
    models = shown(seed=3)
    assert experiment.train is not train
    of_the_chapter = list(few)
    few.clear()
    for name, variable in SHOWN.items():
        again = train(name, 3)
        assert torch.equal(weights_of(models[variable]), weights_of(again)), name
    settings = sorted(map(repr, map(sorted, map(dict.items, of_the_chapter))))
    assert settings == sorted(map(repr, map(sorted, map(dict.items, few))))
    for name, variable in SHOWN.items():
        other = weights_of(train(name, 4))
        assert not torch.equal(weights_of(models[variable]), other)


def test_the_claims_take_the_models_that_were_handed_over(
    few: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "two_questions", experiment.two_questions.__wrapped__)
    models = shown(seed=3)
    few.clear()
    own = experiment.load().test
    for name, variable in SHOWN.items():
        assert experiment.train(name, 3) is models[variable]
    assert not few
    assert experiment.mistakes(experiment.train("grounded", 3), experiment.train("question", 3))
    assert not few
    assert len(experiment.right(models["grounded"], own)) == len(own)
