"""What the chapter on Speech2Face trains on its page is what its experiment trains: the same weights."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from bookkit import ROOT
from torch import nn

from mmtutor.experiments import speech2face as experiment
from mmtutor.experiments._captioning import hand_over
from mmtutor.kit import training
from mmtutor.kit.runtime import cpu_threads
from mmtutor.page.tables import table
from mmtutor.speech2face import Config, Faces, Speech2Face
from mmtutor.world import voices

CHAPTER = ROOT / "book" / "07_speech2face.ipynb"


def training_cells(path: Path = CHAPTER) -> list[str]:
    """The sources of the cells that train."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(c["source"]) for c in cells if "training" in c["metadata"].get("tags", [])]


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> experiment.Clips:
    """Faces and voices of noise, and three steps."""
    g = torch.Generator().manual_seed(0)
    people = voices.TRAIN_SPEAKERS
    image, front = torch.randint(0, 256, (2, people, 3, 64, 64), generator=g, dtype=torch.uint8)
    wave = torch.randint(-3000, 3000, (people, 40_000), generator=g, dtype=torch.int16)
    names = tuple(one.name for one in voices.speakers("train"))
    data = experiment.Clips(image, front, wave, names, torch.arange(people))
    for name in ("pictures", "speech"):
        monkeypatch.setattr(experiment, name, lambda split: data)
    for name in ("face_networks", "system"):
        fresh = functools.cache(getattr(experiment, name).__wrapped__)
        monkeypatch.setattr(experiment, name, functools.wraps(getattr(experiment, name))(fresh))
    monkeypatch.setattr(
        training, "fit", functools.partial(training.fit, max_steps=3, progress=False)
    )
    return data


def on_the_page(seed: int, data: experiment.Clips) -> dict[str, Any]:
    space: dict[str, Any] = {
        "Config": Config,
        "data": data,
        "experiment": experiment,
        "Faces": Faces,
        "hand_over": hand_over,
        "seed": seed,
        "Speech2Face": Speech2Face,
        "table": table,
        "torch": torch,
        "training": training,
    }
    # The page takes all cores, the experiments one thread each; sums over two are not the same to the last bit.
    with cpu_threads(1):
        for source in training_cells():
            exec(compile(source, "cell", "exec"), space)
    return space


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([x.detach().double().flatten() for x in model.state_dict().values()])


def test_the_page_trains_what_the_experiment_trains(few_steps: experiment.Clips) -> None:
    faces, system = experiment.face_networks, experiment.system
    page = on_the_page(3, few_steps)
    assert torch.equal(weights(page["networks"]), weights(faces(0)))
    assert torch.equal(weights(page["model"]), weights(system(3)))
    assert not torch.equal(weights(page["model"]), weights(system(4)))
    assert experiment.system(3) is page["model"]  # handed over
    assert experiment.face_networks(0) is page["networks"]


def test_the_recipe_is_told() -> None:
    """The cells that train name every setting of the experiment."""
    trains = [s for s in training_cells() if "training.fit(" in s]
    assert len(trains) == 2
    for source, first in zip(trains, ("FACE_", "")):
        for name in ("EPOCHS", "BATCH", "LR", "DECAY"):
            assert f"experiment.{first}{name}" in source
