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
from mmtutor.text_to_image import PlacedTextToImage, TextToImage, fit, settle
from mmtutor.world import scenes

N = 240


@pytest.fixture(scope="module")
def few() -> Iterator[experiment.Placed]:
    """A few pictures, a judge of one epoch, games of three steps."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"TRAIN": N, "TEST": N, "JUDGED": {"train": 200}}.items():
            patch.setattr(centred, name, value)
        for name in ("words", "placed", "judge", "fitted", "train"):
            own = functools.cache(getattr(experiment, name).__wrapped__)
            patch.setattr(experiment, name, own)
        for name in ("EPOCHS", "JUDGE_EPOCHS", "PLACES_EPOCHS"):
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


def test_a_right_sentence_has_the_place_and_a_wrong_one_none(few: experiment.Placed) -> None:
    h = torch.arange(len(few.thing)).float()[:, None, None].expand(-1, 3, 2)
    batch = next(experiment.told(few, h, 0))
    own, wrong = (batch[name][:, 0].long() for name in ("sentence", "wrong"))
    assert (few.meaning[own] != few.meaning[wrong]).all()
    torch.testing.assert_close(batch["sentence"][:, 2:] * experiment.SIDE, few.place[own])
    torch.testing.assert_close(batch["pictures"], few.pictures[own])
    torch.testing.assert_close(batch["wrong"], h[wrong, 0])


def test_a_foil_differs_in_one_fact_alone(few: experiment.Placed) -> None:
    facts = torch.stack([getattr(few, name) for name in experiment.FACTS], 1)
    for k, name in enumerate(experiment.FACTS):
        other = experiment.foils(few, name)
        has = other >= 0
        differs = facts[has] != facts[other[has]]
        assert differs[:, k].all()
        assert (differs.sum(1) == 1).all()
        alone = (~has).nonzero()[:3, 0]
        for row in alone:
            away = facts != facts[row]
            assert not (away[:, k] & (away.sum(1) == 1)).any()


@pytest.mark.parametrize("name", experiment.PARTS)
def test_who_reads_one_fact_reads_this_one_only(few: experiment.Placed, name: str) -> None:
    """A judge that looks whether the first number of h is the picture's thing."""
    model = experiment.train(3, name)
    assert isinstance(model, PlacedTextToImage) == (name == experiment.WHERE)

    class Reader(torch.nn.Module):
        def forward(self, x: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
            score = -(x[:, 0, 0, 0] - said[:, 0]).abs()
            return torch.cat([score, 0 * score]) if name == experiment.WHERE else score

    class Names(torch.nn.Module):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return few.thing[:, None].float().expand(-1, 64) / 12

    told = TextToImage(model.config) if name == experiment.SAID else PlacedTextToImage(model.config)
    told.discriminator, told.encoder = Reader(), Names()
    pictures = (few.thing / 12)[:, None, None, None].expand(-1, 3, 32, 32)
    found = experiment.reads(told, experiment.replace(few, pictures=pictures))
    assert found == {
        "D reads: thing": 1,
        "D reads: ground": 0,  # no difference is no reading
        "D reads: size": 0,
        "D reads: half": 0,
    }


@pytest.mark.parametrize("name", experiment.PARTS)
def test_what_is_measured(few: experiment.Placed, name: str) -> None:
    found = experiment.without(name, 3)
    facts = ("thing", "ground", "size", "half")
    for kind in ("seen", "unseen"):
        for what in facts:
            assert 0 <= found[f"{what}, {kind}"] <= 1
    rows = experiment.placed("test", N)
    drawn = experiment.seen(centred.drawings(experiment.train(3, name), rows))
    assert found["half, seen"] == pytest.approx(float((drawn["half"] == rows.half).float().mean()))
    real = experiment.seen(rows.pictures)
    assert found["real: size, seen"] == pytest.approx(
        float((real["size"] == rows.size).float().mean())
    )
    with pytest.raises(KeyError):
        experiment.without("all", 3)
