"""What the chapter on SoundNet trains on its page is what its experiment trains: the same weights."""

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

from mmtutor.experiments import soundnet as experiment
from mmtutor.experiments import soundnet_places as places
from mmtutor.experiments._captioning import hand_over
from mmtutor.kit import training
from mmtutor.kit.runtime import cpu_threads
from mmtutor.page.tables import table
from mmtutor.soundnet import Config, SoundNet

CHAPTER = ROOT / "book" / "06_soundnet.ipynb"


def training_cells(path: Path = CHAPTER) -> list[str]:
    """The sources of the cells that train."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(c["source"]) for c in cells if "training" in c["metadata"].get("tags", [])]


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> experiment.Videos:
    """Videos of noise, and three steps."""
    g = torch.Generator().manual_seed(0)
    data = experiment.Videos(
        torch.randint(-3000, 3000, (112, 16000), generator=g, dtype=torch.int16),
        np.zeros((112, 64, 64, 3), np.uint8),
        torch.rand(112, 1000, generator=g).softmax(-1),
        torch.arange(112) % 56,
        torch.zeros(112, dtype=torch.long),
    )
    monkeypatch.setattr(experiment, "videos", lambda split: data)
    monkeypatch.setattr(
        training, "fit", functools.partial(training.fit, max_steps=3, progress=False)
    )
    teacher = torch.rand(112, 8, generator=g).softmax(-1)
    monkeypatch.setattr(places, "heard", lambda split: data.wave.flip(1))
    monkeypatch.setattr(places, "placed", lambda split: teacher)
    for module in (experiment, places):  # put back what hand_over replaces
        monkeypatch.setattr(module, "student", module.student)
    return data


def on_the_page(seed: int, data: experiment.Videos) -> tuple[nn.Module, nn.Module]:
    space: dict[str, Any] = {
        "Config": Config,
        "config": Config.world((("objects", 1000),)),
        "cpu_threads": cpu_threads,
        "data": data,
        "experiment": experiment,
        "hand_over": hand_over,
        "places": places,
        "seed": seed,
        "SoundNet": SoundNet,
        "table": table,
        "torch": torch,
        "training": training,
    }
    for source in training_cells():
        exec(compile(source, "cell", "exec"), space)
    return space["model"], space["both"]


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([x.detach().double().flatten() for x in model.state_dict().values()])


def test_the_page_trains_what_the_experiment_trains(few_steps: experiment.Videos) -> None:
    students = [module.student.__wrapped__ for module in (experiment, places)]
    page = on_the_page(3, few_steps)
    for train, mine, module in zip(students, page, (experiment, places), strict=True):
        assert torch.equal(weights(mine), weights(train(3)))
        assert not torch.equal(weights(mine), weights(train(4)))
        assert module.student(3) is mine  # handed over


def test_the_recipe_is_told(few_steps: experiment.Videos) -> None:
    """The cells that train name every setting of the experiment."""
    sources = [s for s in training_cells() if "training.fit(" in s]
    assert len(sources) == 2
    for source in sources:
        for name in ("EPOCHS", "BATCH", "LR", "DECAY"):
            assert f"experiment.{name}" in source
