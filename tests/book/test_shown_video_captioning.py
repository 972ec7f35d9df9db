"""What the chapter shows is what the experiment runs: its cells tagged ``training`` give the very weights."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from bookkit import ROOT

from mmtutor.experiments import video_captioning as experiment
from mmtutor.experiments._captioning import hand_over, vocabulary_of
from mmtutor.kit import training
from mmtutor.kit.runtime import cpu_threads
from mmtutor.page.tables import table
from mmtutor.video_captioning import VideoCaptioner
from mmtutor.world import clips

CHAPTER = ROOT / "book" / "10_video_captioning.ipynb"


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> experiment.Data:
    """A few clips whose features are noise, three steps of training, and nothing kept from before."""
    truth = [clips.sample("train", index) for index in range(40)]
    draw = torch.Generator().manual_seed(0)
    maps = torch.randn(40, len(experiment.SEEN), 112, 6, 6, generator=draw).half()
    cells = torch.randint(-1, len(experiment.NAMES), (40, len(experiment.SEEN), 36), generator=draw)
    captions = [clips.captions(clip) for clip in truth]
    known = experiment.Clips(experiment.summary(maps), maps, cells, captions, truth)
    plain = [[c for c in own if experiment.plain(c)] for own in known.captions]
    words = vocabulary_of([*plain, experiment.NAMES])
    data = experiment.Data(known, known, known, words)
    monkeypatch.setattr(experiment, "data", lambda: data)
    fit = training.fit
    monkeypatch.setattr(training, "fit", lambda *a, **k: fit(*a, **{**k, "max_steps": 3}))
    monkeypatch.setattr(
        experiment, "trained", experiment.trained.__wrapped__
    )  # put back afterwards
    return data


def shown(data: experiment.Data, seed: int) -> dict[str, Any]:
    """What the names of the chapter hold after its training cells."""
    names: dict[str, Any] = {
        "VideoCaptioner": VideoCaptioner,
        "cpu_threads": cpu_threads,
        "data": data,
        "experiment": experiment,
        "hand_over": hand_over,
        "seed": seed,
        "table": table,
        "torch": torch,
        "training": training,
    }
    cells = json.loads(CHAPTER.read_text(encoding="utf-8"))["cells"]
    tagged = [c for c in cells if "training" in c["metadata"].get("tags", [])]
    assert tagged
    for cell in tagged:
        exec("".join(cell["source"]), names)
    return names


def the_same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    weights, others = one.state_dict(), other.state_dict()
    assert list(weights) == list(others)
    return all(torch.equal(weights[name], others[name]) for name in weights)


def test_the_training_in_the_chapter_is_that_of_the_experiment(little: experiment.Data) -> None:
    run = experiment.trained
    names = shown(little, seed=3)
    models = {**names["models"], "attention, bound": names["bound"]}
    assert list(models) == ["mean", "attention", "attention, bound"]
    for name, model in models.items():
        assert the_same(model, run(name, 3))
        assert not the_same(model, run(name, 4))
        assert (
            experiment.trained(name, 3) is model
        )  # handed over: the claim does not train it again
    assert not the_same(models["mean"], run("mean", 3, epochs=1))


def test_the_recipe_that_the_chapter_prints_is_the_one_that_it_uses(
    little: experiment.Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    fit = training.fit
    monkeypatch.setattr(training, "fit", lambda *a, **k: (calls.append(k), fit(*a, **k))[1])
    names = shown(little, seed=3)
    recipe = names["recipe"]
    assert recipe == {
        "epochs": experiment.EPOCHS,
        "lr": experiment.RATE,
        "weight_decay": experiment.DECAY,
        "warmup": 20,
    }
    naming, own = names["naming"], recipe | {"seed": 3}
    assert (naming["batch_size"], naming["max_steps"]) == (experiment.CLIPS, experiment.NAMING)
    assert [c for c in calls if "collate" not in c] == [own, own, own]
    experiment.trained("attention, bound", 4)
    first, then = calls[-2:]
    assert then == recipe | {"seed": 4}
    for given in (calls[2], first):
        seed = 3 if given is calls[2] else 4
        found = {k: x for k, x in given.items() if k not in ("collate", "epochs")}
        assert found == {k: x for k, x in naming.items() if k != "epochs"} | {"seed": seed}
    # as many epochs as 300 batches of 16 clips need
    assert naming["epochs"] == math.ceil(300 * 16 / (2 * 2 * experiment.TRAIN))
