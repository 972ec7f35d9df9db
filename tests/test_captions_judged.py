"""A judge who pays a captioner: what it pays, to whom, and that what is measured is what is said."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from mmtutor import world
from mmtutor.experiments import captions_judged as experiment
from mmtutor.kit.text import Vocabulary, encode_captions
from mmtutor.show_attend_tell import Config, ShowAttendTell
from mmtutor.world import captions
from mmtutor.world.scenes import Scene

N = 60
NOT_TRUE = "there is no thing"  # of no scene of the world


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A few scenes with maps of noise, and an untrained captioner."""
    rows = world.load("scenes", "train", N, seed=0, pixels=96, things=24)
    words = Vocabulary([w for own in rows["captions"] for c in own for w in c.split()])
    maps = torch.randn(N, 3, 2, 2, generator=torch.Generator().manual_seed(0)).half()
    ids = encode_captions([c for own in rows["captions"] for c in own], words)
    owner = torch.arange(N).repeat_interleave(len(ids) // N)
    cells = torch.zeros(N, 4, dtype=torch.long)
    data = SimpleNamespace(rows=rows, maps=maps)
    monkeypatch.setattr(experiment.chapter, "load", lambda: (data, data, words))
    monkeypatch.setattr(experiment.chapter, "told", lambda: (ids, owner))
    monkeypatch.setattr(experiment.chapter, "cells", lambda: cells)
    monkeypatch.setattr(experiment, "OTHERS", 31)
    for name in ("seen", "bits"):
        getattr(experiment, name).cache_clear()
    torch.manual_seed(0)
    names = (words.ids["dog"], words.ids["sun"])
    sizes = dict(annotation=3, grid=(2, 2), embedding=16, hidden=16, attention=8)
    model = ShowAttendTell(Config.bound(len(words), names, **sizes))
    yield SimpleNamespace(rows=rows, words=words, maps=maps, model=model)
    for name in ("seen", "bits"):
        getattr(experiment, name).cache_clear()


def scene_of(few: SimpleNamespace, i: int) -> Scene:
    return Scene.from_json(few.rows["scene"][i])


def test_holds_is_the_worlds_own_verdict(few: SimpleNamespace) -> None:
    said = [own[0] for own in few.rows["captions"]] + ["there is a a dog", ""]
    seen = []
    for caption in said[:: N // 12] + said[-2:]:
        for i in range(0, N, 7):
            found = experiment.holds(caption, scene_of(few, i))
            assert found == bool(captions.is_true(caption, few.rows["scene"][i]))
            seen.append(found)
    assert {True, False} == set(seen)


def test_bits_count_the_scenes_of_which_a_caption_is_true(few: SimpleNamespace) -> None:
    ground = scene_of(few, 0).background
    caption = next(
        text
        for text in (own for rows in few.rows["captions"] for own in rows)
        if captions.is_true(text, few.rows["scene"][3])
    )
    for text in (caption, f"there is a dog in the {ground}", NOT_TRUE):
        true = sum(bool(captions.is_true(text, few.rows["scene"][i])) for i in range(31))
        assert experiment.bits(text) == pytest.approx(-math.log2((true + 1) / 32))
    assert experiment.bits(NOT_TRUE) == 5.0  # true of none of 31


@pytest.mark.parametrize("paid_for", ["truth", "bits"])
def test_a_false_caption_is_paid_nothing_and_a_true_one_its_worth(
    few: SimpleNamespace, paid_for: str
) -> None:
    told = [few.rows["captions"][i][0] for i in (0, 1, 2)]
    said = [tuple(few.words.ids[w] for w in text.split()) for text in told]
    numbers = torch.tensor([0, 1, 2])
    worth = [experiment.bits(text) if paid_for == "bits" else 1.0 for text in told]
    pay = experiment.judge(paid_for)
    assert pay(said, numbers).tolist() == pytest.approx(worth)
    assert min(worth) > 0
    # the same captions of other pictures: paid only where they happen to be true of these
    others = torch.tensor([10, 11, 12])
    true = [bool(captions.is_true(t, few.rows["scene"][i])) for t, i in zip(told, (10, 11, 12))]
    assert pay(said, others).tolist() == pytest.approx([w * t for w, t in zip(worth, true)])
    assert not all(true)
    assert pay([()], torch.tensor([0])).tolist() == [0.0]  # nothing said, nothing paid


def test_who_is_paid_for_something_else_is_an_error(few: SimpleNamespace) -> None:
    with pytest.raises(KeyError, match="style"):
        experiment.judge("style")


def test_a_batch_brings_what_belongs_together(few: SimpleNamespace) -> None:
    data = experiment.Told()
    batch = data.__getitems__([0, 7, len(data) - 1])
    ids, owner = experiment.chapter.told()
    assert batch["numbers"].tolist() == [owner[i].item() for i in (0, 7, len(data) - 1)]
    assert torch.equal(batch["features"], few.maps[batch["numbers"]].float())
    assert torch.equal(
        batch["captions"], ids[[0, 7, len(data) - 1]][:, : batch["captions"].shape[1]]
    )
    assert (batch["captions"][:, -1] != 0).any()  # no column of padding alone
    assert len(batch["cells"]) == 3


def test_it_trains_the_captioner_in_place_with_the_judge(
    few: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {k: v.clone() for k, v in few.model.state_dict().items()}
    asked = []

    def judge(paid_for: str) -> experiment.Reward:
        def pay(said: list[tuple[int, ...]], numbers: torch.Tensor) -> torch.Tensor:
            asked.append((paid_for, len(said)))
            return torch.ones(len(said))

        return pay

    monkeypatch.setattr(experiment, "judge", judge)
    history = experiment.go_on(few.model, 0, paid_for="truth", steps=3)
    assert asked == [("truth", experiment.BATCH * experiment.SAMPLES)] * 3
    assert set(history.losses["reward"]) == {1.0}
    assert any(not torch.equal(v, before[k]) for k, v in few.model.state_dict().items())


def test_the_parts_are_trained_as_they_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """*Before* is the chapter's model itself; *hard* goes on from the hard one; a model is never
    changed behind the chapter's back."""
    asked = []
    start = torch.nn.Linear(1, 1)
    monkeypatch.setattr(
        experiment.chapter, "train", lambda seed, **how: asked.append((seed, how)) or start
    )
    ran = []
    monkeypatch.setattr(experiment, "go_on", lambda model, seed, **how: ran.append((model, how)))
    train = experiment.train.__wrapped__
    for name, settings in experiment.PARTS.items():
        asked.clear(), ran.clear()
        model = train(3, **settings)
        assert model is not start
        hard = name.startswith("hard")
        assert asked == [(3, {"mode": "hard"} if hard else {})]
        assert len(ran) == (0 if "before" in name else 1)
        assert all(one is model for one, _ in ran)


def test_a_thing_compared_with_itself_is_counted() -> None:
    said = ["the sun is smaller than the sun", "the sun is smaller than the dog", "a dog", ""]
    assert experiment.compares_itself(said) == 0.25


def test_what_is_measured_of_known_captions(
    few: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that says the first caption of every scene, and one that says what is never true."""
    monkeypatch.setattr(experiment, "train", lambda seed, **how: few.model)
    monkeypatch.setattr(
        experiment.chapter, "sides", lambda *a: dict.fromkeys(("sides", "places", "relations"), 0.5)
    )
    told = [own[0] for own in few.rows["captions"]]
    said = {0.0: told, 1.0: [NOT_TRUE] * N}
    monkeypatch.setattr(experiment.chapter, "write", lambda m, f, v, detail: said[detail])
    found = experiment.without("before", 0)
    assert found["plain"] == 1.0
    assert found["detailed"] == 0.0
    assert found["plain_bits"] == pytest.approx(sum(map(experiment.bits, told)) / N)
    assert found["detailed_bits"] == 0.0
    assert found["plain_different"] == len(set(told))
    assert found["detailed_different"] == 1
    assert found["detailed_words"] == 4
    assert found["detailed_places_told"] == 0.0
    assert found["plain_places_true"] == 1.0
    assert found["sides"] == 0.5
