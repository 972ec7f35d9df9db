"""What the chapter on sound trains on its page is what its experiment trains: the same weights, the same accuracy."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from bookkit import ROOT
from torch import nn

from mmtutor.experiments import sound as experiment

CHAPTER = ROOT / "book" / "03_sound.ipynb"


def training_cells(path: Path = CHAPTER) -> list[str]:
    """The sources of the cells that train."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(c["source"]) for c in cells if "training" in c["metadata"].get("tags", [])]


@pytest.fixture
def few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty words of training and forty of test in place of 2,500: a tone and noise each."""

    def words(split: str, size: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        count = 60 if split == "train" else 40
        generator = torch.Generator().manual_seed(1000 * seed + count)
        labels = torch.arange(count) % 20
        t = torch.arange(experiment.RATE) / experiment.RATE
        tones = torch.sin(2 * torch.pi * (300 + 150 * labels[:, None]) * t)
        return 0.3 * tones + 0.3 * torch.randn(tones.shape, generator=generator), labels

    monkeypatch.setattr(experiment, "spoken_words", words)


def on_the_page(seed: int) -> dict[str, Any]:
    space: dict[str, Any] = {
        "torch": torch,
        "nn": nn,
        "F": F,
        "experiment": experiment,
        "seed": seed,
    }
    for source in training_cells():
        exec(compile(source, "cell", "exec"), space)
    return space


def in_the_experiment(
    seed: int, page: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> tuple[nn.Module, float]:
    made: list[nn.Module] = []

    def sequential(*layers: nn.Module) -> nn.Module:
        made.append(nn.Sequential(*layers))
        return made[-1]

    layers = {name: getattr(nn, name) for name in ("Linear", "ReLU", "Dropout")}
    monkeypatch.setattr(experiment, "nn", SimpleNamespace(Sequential=sequential, **layers))
    settings = (page[name] for name in ("name", "size"))
    accuracy = experiment.tell_words_apart(*settings, seed, page["train"], page["test"])
    (model,) = made
    return model, accuracy


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.usefixtures("few_words")
def test_the_page_trains_what_the_experiment_trains(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = on_the_page(seed=3)
    assert "of the words of unheard speakers are named right" in capsys.readouterr().out
    model, accuracy = in_the_experiment(3, page, monkeypatch)
    assert torch.equal(weights(page["model"]), weights(model))
    assert page["accuracy"] == accuracy
    with torch.no_grad():
        assert torch.equal(page["model"](page["y"]), model(page["y"]))
    other, _ = in_the_experiment(4, page, monkeypatch)  # so that the test can fail
    assert not torch.equal(weights(page["model"]), weights(other))


def test_the_page_asks_for_what_the_claim_measures() -> None:
    space: dict[str, Any] = {"torch": torch, "experiment": SimpleNamespace(), "seed": 0}
    settings = training_cells()[0].split("\n\n")[0]
    exec(compile(settings, "cell", "exec"), space)
    assert (space["name"], space["size"]) == ("MFCC", 32)
    defaults = experiment.measure_representations.__defaults__
    assert (space["train"], space["test"]) == defaults[-2:]
