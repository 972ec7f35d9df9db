"""The attention chapter trains in the open: by the very lines of the experiment, down to the last weight."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import joblib
import pytest
import torch
from bookkit import ROOT, imports_of, training_cells

from mmtutor.experiments import captions_judged as paying
from mmtutor.experiments import show_attend_tell as experiment
from mmtutor.experiments._captioning import pairs, vocabulary_of
from mmtutor.kit import training

CHAPTER = ROOT / "book" / "09_show_attend_tell.ipynb"
STEPS = 3


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """A few small scenes in place of 8,000, three steps in place of thousands; what ``fit`` was asked for.

    The chapter's second process would know nothing of these, so its lesson runs in this one, when it is fetched."""
    said = [
        ["a dog is in the snow", "there is a small dog", "a cat on the left of a dog"],
        ["a cat is in the room", "there is a large cat", "a book and a cat in the room"],
        ["a cat above a dog", "a dog below a cat", "a cat on the right"],
        ["a book at the top", "there is a book at the bottom", "a small book"],
    ] * 20
    generator = torch.Generator().manual_seed(7)
    maps = torch.randn(len(said), 112, 6, 6, generator=generator).half()
    cells = torch.randint(-1, 3, (len(said), 36), generator=generator)
    data = experiment.Scenes({"captions": said}, maps)
    vocabulary = vocabulary_of(said)
    monkeypatch.setattr(experiment, "names", lambda: ("book", "cat", "dog"))
    monkeypatch.setattr(experiment, "cells", lambda: cells)
    # as many batches of names as the small data have, whichever the number of scenes
    monkeypatch.setattr(experiment.Pictures, "__len__", lambda self: len(cells))
    monkeypatch.setattr(experiment, "load", lambda: (data, data, vocabulary))
    monkeypatch.setattr(experiment, "told", lambda: pairs(said, vocabulary))
    monkeypatch.setattr(experiment, "train", functools.cache(experiment.train.__wrapped__))
    # a judge whom already an untrained model pleases now and then: true is what has even length
    monkeypatch.setattr(paying, "holds", lambda caption, scene: len(caption) % 2 == 0)
    monkeypatch.setattr(paying, "seen", lambda: said)
    monkeypatch.setattr(paying, "bits", lambda caption: len(caption) / 10)
    monkeypatch.setattr(paying, "train", functools.cache(paying.train.__wrapped__))
    asked: list[dict[str, Any]] = []
    fit = training.fit

    def short(model: Any, batches: Any, **settings: Any) -> Any:
        # (no two functions are equal, and a bar changes no weight)
        asked.append({k: v for k, v in settings.items() if k not in ("collate", "progress")})
        return fit(model, batches, **{**settings, "max_steps": STEPS})

    monkeypatch.setattr(training, "fit", short)
    with joblib.parallel_config(backend="sequential"):
        yield asked


def by_the_chapter(seed: int) -> dict[str, Any]:
    """The models that the chapter's own lines train."""
    names: dict[str, Any] = {"seed": seed}
    exec(imports_of(CHAPTER, "sat-003"), names)
    names["train"], names["test"], names["vocabulary"] = experiment.load()
    for source in training_cells(CHAPTER):
        exec(source, names)
    return {name: names[name] for name in ("soft", "hard", "priced", "bound", "paid")}


def by_the_experiment(seed: int) -> dict[str, Any]:
    return {
        "soft": experiment.train(seed, **experiment.PAPER),
        "hard": experiment.train(seed, mode="hard", **experiment.PAPER),
        "priced": experiment.train(seed, hedging=experiment.PRICE, **experiment.PAPER),
        "bound": experiment.train(seed),
        "paid": paying.train(seed),
    }


def weights(model: torch.nn.Module) -> torch.Tensor:
    # the baseline is not a number until hard attention has seen a batch
    return torch.cat([v.flatten() for v in model.state_dict().values()]).nan_to_num(-1.0)


def same(one: dict[str, Any], other: dict[str, Any]) -> list[bool]:
    return [torch.equal(weights(one[name]), weights(other[name])) for name in one]


def test_the_chapters_lines_give_the_experiments_models(calls: list[dict[str, Any]]) -> None:
    mine = by_the_chapter(4)
    asked = [dict(one) for one in calls]
    calls.clear()
    theirs = by_the_experiment(4)
    assert same(mine, theirs) == [True] * 5
    assert {name: model.config for name, model in mine.items()} == {
        name: model.config for name, model in theirs.items()
    }
    assert asked == calls  # the same settings, also those which three steps cannot show
    assert [one["max_steps"] for one in asked] == [2340, 600, 600, 200, 780, 1560, 150]


def test_another_seed_gives_other_models(calls: list[dict[str, Any]]) -> None:
    assert same(by_the_chapter(4), by_the_experiment(5)) == [False] * 5


@pytest.mark.parametrize(
    ("what", "name"),
    [
        (lambda line: line.replace('"lr": 8e-3', '"lr": 7e-3'), "soft"),
        (lambda line: line.replace('"lr": 2e-3', '"lr": 3e-3'), "hard"),
        (lambda line: line.replace("hedging=0.6", "hedging=0.5"), "priced"),
        (lambda line: line.replace("size = 32", "size = 16"), "soft"),
        (lambda line: line.replace("size = 32", "size = 16"), "bound"),
        (
            lambda line: line.replace('"lr": 8e-3, "warmup": 20', '"lr": 8e-3, "warmup": 10'),
            "bound",
        ),
        (lambda line: line.replace('"batch_size": 64', '"batch_size": 32'), "bound"),
        (lambda line: line.replace("weight=paying.WEIGHT", "weight=3.0"), "paid"),
        (lambda line: line.replace("samples=paying.SAMPLES", "samples=2"), "paid"),
        (lambda line: line.replace('judge("bits")', 'judge("truth")'), "paid"),
        (lambda line: line.replace("(sided_only, 780)", "(all_of_them, 780)"), "bound"),
        (
            lambda line: line.replace(
                "Config.bound(len(vocabulary), name_ids)",
                "Config.bound(len(vocabulary), name_ids, beside=0)",
            ),
            "bound",
        ),
    ],
)
def test_the_test_sees_another_recipe(
    calls: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    what: Callable[[str], str],
    name: str,
) -> None:
    lines = [what(line) for line in training_cells(CHAPTER)]
    assert lines != training_cells(CHAPTER)
    monkeypatch.setitem(globals(), "training_cells", lambda notebook: lines)
    assert not torch.equal(weights(by_the_chapter(4)[name]), weights(by_the_experiment(4)[name]))
