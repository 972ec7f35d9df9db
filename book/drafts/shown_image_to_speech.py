"""What the chapter on image to speech trains on its page is what its experiment trains: the same weights."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bookkit import ROOT
from torch import nn

from mmtutor import image_to_speech
from mmtutor.experiments import image_to_speech as experiment
from mmtutor.experiments._captioning import hand_over
from mmtutor.image_to_speech import ImageToUnits, UnitDiscovery, UnitsToSpeech
from mmtutor.kit import training
from mmtutor.kit.runtime import cpu_threads
from mmtutor.page.tables import table

CHAPTER = ROOT / "book" / "12_image_to_speech.ipynb"
KEPT = ("discover", "transcripts", "captioner", "sung", "voice")


def training_cells(path: Path = CHAPTER) -> list[str]:
    """The sources of the cells that train."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(c["source"]) for c in cells if "training" in c["metadata"].get("tags", [])]


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> experiment.Spokens:
    """Eight recordings of notes, and three steps."""
    g = torch.Generator().manual_seed(0)
    t = torch.arange(16000) / 16000
    waves = []
    for _ in range(8):
        low, high = (100 + 60 * torch.rand(2, generator=g)).tolist()
        wave = torch.cat([torch.sin(2 * np.pi * f * t) for f in (low, high)])
        waves.append(0.2 * wave + 0.02 * torch.randn(32000, generator=g))
    ears = UnitDiscovery(experiment.CONFIG)
    frames = [ears.frames(wave[None])[0] for wave in waves]
    maps = torch.randn(8, 112, 6, 6, generator=g).half()
    data = experiment.Spokens(waves, frames, maps, [""] * 8, [""] * 8, [])
    monkeypatch.setattr(experiment, "load", lambda: (data, data))
    monkeypatch.setattr(experiment, "VOICED", 6)
    for name in ("UNITS", "PICTURES", "VOICE"):
        monkeypatch.setitem(getattr(experiment, name), "steps", 3)
        monkeypatch.setitem(getattr(experiment, name), "batch", 4)
    monkeypatch.setattr(training, "fit", functools.partial(training.fit, progress=False))
    for name in KEPT:  # put back what hand_over replaces, and forget what others made
        own = functools.cache(getattr(experiment, name).__wrapped__)
        own.__module__ = experiment.__name__
        monkeypatch.setattr(experiment, name, own)
    return data


def on_the_page(seed: int, data: experiment.Spokens) -> list[nn.Module]:
    space: dict[str, Any] = {
        "cpu_threads": cpu_threads,
        "data": data,
        "experiment": experiment,
        "hand_over": hand_over,
        "image_to_speech": image_to_speech,
        "ImageToUnits": ImageToUnits,
        "seed": seed,
        "table": table,
        "torch": torch,
        "training": training,
        "UnitDiscovery": UnitDiscovery,
        "UnitsToSpeech": UnitsToSpeech,
    }
    for source in training_cells():
        exec(compile(source, "cell", "exec"), space)
    return [space[name] for name in ("ears", "captioner", "voice")]


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([x.detach().double().flatten() for x in model.state_dict().values()])


def test_the_page_trains_what_the_experiment_trains(few_steps: experiment.Spokens) -> None:
    own = [weights(getattr(experiment, n)(3)) for n in ("discover", "captioner", "voice")]
    other = weights(experiment.captioner(4))
    for name in KEPT:
        getattr(experiment, name).cache_clear()
    page = on_the_page(3, few_steps)
    for mine, model in zip(own, page, strict=True):
        assert torch.equal(mine, weights(model))
    assert not torch.equal(own[1], other)
    assert experiment.discover(3) is page[0]  # handed over
    assert experiment.captioner(3) is page[1]
    assert experiment.voice(3) is page[2]


def test_the_recipe_is_told(few_steps: experiment.Spokens) -> None:
    """The cells that train name every setting of the experiment."""
    sources = [s for s in training_cells() if "training.fit(" in s]
    for source, recipe in zip(sources, ("UNITS", "PICTURES", "VOICE"), strict=True):
        for name in ("steps", "batch", "lr", "weight_decay"):
            assert f'experiment.{recipe}["{name}"]' in source
