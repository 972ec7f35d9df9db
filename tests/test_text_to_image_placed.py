"""Sentences that also say size and side: they are true, and what is measured is what is said."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator

import pytest
import torch

from mmtutor.experiments import text_to_image as centred
from mmtutor.experiments import text_to_image_placed as experiment
from mmtutor.kit.text import tokenize
from mmtutor.text_to_image import fit, settle
from mmtutor.world import scenes

N = 240


@pytest.fixture(scope="module")
def few() -> Iterator[experiment.Placed]:
    """A few pictures, a judge of one epoch, games of three steps."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"TRAIN": N, "TEST": N, "JUDGED": {"train": 200}}.items():
            patch.setattr(centred, name, value)
        for name in ("words", "judge", "train"):
            own = functools.cache(getattr(experiment, name).__wrapped__)
            patch.setattr(experiment, name, own)
        for name in ("EPOCHS", "JUDGE_EPOCHS"):
            patch.setattr(experiment, name, 1)
        patch.setattr(experiment, "fit", lambda model, data, steps: fit(model, data, 3))
        patch.setattr(experiment, "settle", functools.partial(settle, rounds=2, size=32))
        yield experiment.placed("test", N)


def test_every_sentence_tells_the_truth_of_its_scene(few: experiment.Placed) -> None:
    rows, _, _ = experiment.rows_of("test", N)
    for row, captions, scene in zip(rows, few.captions, rows["scene"], strict=True):
        _, size, across, *_ = json.loads(scene)["things"][0]
        side = "left" if across <= scenes.UNITS / 2 else "right"
        for text in captions:
            told = tokenize(text)
            assert size in told
            assert side in told
            assert ({"small", "large", "left", "right"} & set(told)) == {size, side}
            assert row["name"] in told
    assert {tuple(x) for x in torch.stack([few.size, few.half], 1).tolist()} == {
        (a, b) for a in (0, 1) for b in (0, 1)
    }


def test_ids_say_the_words(few: experiment.Placed) -> None:
    words = experiment.words()
    for ids, captions in zip(few.sentences[:20], few.captions, strict=False):
        for own, text in zip(ids.tolist(), captions, strict=True):
            assert [words.words[k] for k in own if k] == tokenize(text)


def test_small_things_and_large_ones_leave_a_gap(few: experiment.Placed) -> None:
    """Nothing near the bound: the judge's reading is not a matter of a pixel."""
    side = few.place[:, 2] * (32 / experiment.SIDE)
    assert side[few.size == 0].max() < experiment.BOUND - 1
    assert side[few.size == 1].min() > experiment.BOUND + 1


def test_meanings_are_all_four_facts(few: experiment.Placed) -> None:
    facts = torch.stack([few.thing, few.ground, few.size, few.half], 1).tolist()
    by_meaning: dict[int, set[tuple]] = {}
    for meaning, own in zip(few.meaning.tolist(), facts, strict=True):
        by_meaning.setdefault(meaning, set()).add(tuple(own))
    assert all(len(own) == 1 for own in by_meaning.values())
    assert len(by_meaning) == len({tuple(own) for own in facts})


def test_wrong_sentences_may_differ_in_the_side_alone(few: experiment.Placed) -> None:
    h = torch.arange(len(few.thing)).float()[:, None, None].expand(-1, 3, 1)
    batch = next(centred.batches(few, h, 0, size=64))
    own, wrong = (batch[name][:, 0].long() for name in ("sentence", "wrong"))
    assert (few.meaning[own] != few.meaning[wrong]).all()


def test_what_is_measured(few: experiment.Placed) -> None:
    found = experiment.without("size and side said", 3)
    facts = ("thing", "ground", "size", "half")
    for kind in ("seen", "unseen"):
        for what in facts:
            assert 0 <= found[f"{what}, {kind}"] <= 1
    rows = experiment.placed("test", N)
    drawn = experiment.seen(centred.drawings(experiment.train(3), rows))
    assert found["half, seen"] == pytest.approx(float((drawn["half"] == rows.half).float().mean()))
    real = experiment.seen(rows.pictures)
    assert found["real: size, seen"] == pytest.approx(
        float((real["size"] == rows.size).float().mean())
    )
    with pytest.raises(KeyError):
        experiment.without("all", 3)
