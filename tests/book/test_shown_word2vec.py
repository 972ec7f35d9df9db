"""What the chapter shows is what the experiment runs: its cells tagged ``training`` give the very vectors."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from bookkit import ROOT

from mmtutor import word2vec, world
from mmtutor.experiments import word2vec as experiment
from mmtutor.experiments._captioning import hand_over

CHAPTER = ROOT / "book" / "02_word2vec.ipynb"
CELLS = json.loads(CHAPTER.read_text(encoding="utf-8"))["cells"]


@pytest.fixture
def verses(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A small part of the text, and nothing kept from before."""
    few = world.corpus("kjv", sentences=True)[:500]
    monkeypatch.setattr(world, "corpus", lambda name, sentences=False: few)
    monkeypatch.setattr(experiment, "trained", experiment.trained.__wrapped__)  # put back later
    return few


def shown(verses: list[list[str]], seed: int) -> dict[str, Any]:
    """What the names of the chapter hold after its training cells."""
    names: dict[str, Any] = {
        "scale": "world",
        "seed": seed,
        "verses": verses,
        "word2vec": word2vec,
    }
    tagged = [c for c in CELLS if "training" in c["metadata"].get("tags", [])]
    assert len(tagged) == 2
    for cell in tagged:
        exec("".join(cell["source"]), names)
    return names


def same(one: word2vec.Trained, other: word2vec.Trained) -> bool:
    return all(
        torch.equal(getattr(one.model, name).data, getattr(other.model, name).data)
        for name in ("centre", "context")
    )


def test_the_training_in_the_chapter_is_that_of_the_experiment(verses: list[list[str]]) -> None:
    trained = shown(verses, seed=3)["trained"]
    assert same(trained, experiment.trained(3))
    assert torch.equal(trained.vectors.matrix, experiment.trained(3).vectors.matrix)
    assert not same(trained, experiment.trained(4))
    assert not same(trained, experiment.trained(3, epochs=4))


def test_the_chapter_hands_its_vectors_over(verses: list[list[str]]) -> None:
    """The cell that shows the experiment hands over what was trained, and a claim takes it."""
    names = shown(verses, seed=3)
    cell = next("".join(c["source"]) for c in CELLS if "hand_over(" in "".join(c["source"]))
    names |= {"experiment": experiment, "hand_over": hand_over, "show_source": lambda *a: None}
    exec(cell, names)
    assert experiment.trained(3) is names["trained"]
    assert experiment.trained(4) is not names["trained"]
    assert experiment.trained(3, epochs=4) is not names["trained"]
