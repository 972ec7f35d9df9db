"""The chapter on joint embedding trains in the open: by the very lines of the experiment, down to the last weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from bookkit import ROOT, imports_of, training_cells

from mmtutor.experiments import joint_embedding as experiment
from mmtutor.kit import training
from mmtutor.kit.text import Vocabulary
from mmtutor.world import captions as language
from mmtutor.world import scenes

CHAPTER = ROOT / "book" / "04_joint_embedding.ipynb"
STEPS = 3


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A hundred scenes in place of 8,000, three steps in place of 1,122; what ``fit`` was asked for."""
    few = [scenes.sample("train", k, 7, 24) for k in range(100)]
    said = [language.captions(scene) for scene in few]
    maps = torch.randn(100, 112, 6, 6, generator=torch.Generator().manual_seed(7)).half()
    data = experiment.Scenes(np.zeros((100, 96, 96, 3), np.uint8), maps, few, said)
    words = [w for text in data.texts for w in experiment.joint_embedding.words_of(text)]
    vocabulary = Vocabulary(words, specials=("<pad>", "<unk>"))
    monkeypatch.setattr(experiment, "load", lambda: (data, data, data, vocabulary))
    monkeypatch.setattr(experiment, "trained", experiment.trained.__wrapped__)
    asked: list[dict[str, Any]] = []
    fit = training.fit

    def short(model: Any, batches: Any, **settings: Any) -> Any:
        asked.append(dict(settings))
        return fit(model, batches, **{**settings, "max_steps": STEPS})

    monkeypatch.setattr(training, "fit", short)
    return asked


def by_the_chapter(seed: int) -> torch.nn.Module:
    """The model that the chapter's own lines train."""
    names: dict[str, Any] = {"seed": seed}
    exec(imports_of(CHAPTER, "je-003"), names)
    names["train"], names["test"], names["unseen"], names["vocabulary"] = experiment.load()
    for source in training_cells(CHAPTER):
        exec(source, names)
    return names["model"]


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([v.flatten() for v in model.state_dict().values()])


def test_the_chapters_lines_give_the_experiments_model(calls: list[dict[str, Any]]) -> None:
    mine = by_the_chapter(4)
    asked = [dict(one) for one in calls]
    calls.clear()
    theirs = experiment.trained(4)
    assert torch.equal(weights(mine), weights(theirs))
    assert mine.config == theirs.config
    assert asked == calls  # the same settings, also those which three steps cannot show
    assert [one["epochs"] for one in asked] == [experiment.EPOCHS]


def test_another_seed_gives_another_model(calls: list[dict[str, Any]]) -> None:
    assert not torch.equal(weights(by_the_chapter(4)), weights(experiment.trained(5)))


@pytest.mark.parametrize(
    "what",
    [
        lambda line: line.replace("lr=3e-3", "lr=2e-3"),
        lambda line: line.replace("dropout=0.4", "dropout=0.3"),
        lambda line: line.replace("batch_size=256", "batch_size=128"),
        lambda line: line.replace("repeat_interleave(6)", "repeat_interleave(6).flip(0)"),
    ],
)
def test_the_test_sees_another_recipe(
    calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, what: Callable[[str], str]
) -> None:
    lines = [what(line) for line in training_cells(CHAPTER)]
    assert lines != training_cells(CHAPTER)
    monkeypatch.setitem(globals(), "training_cells", lambda notebook: lines)
    assert not torch.equal(weights(by_the_chapter(4)), weights(experiment.trained(4)))
