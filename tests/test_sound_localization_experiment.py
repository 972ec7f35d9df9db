"""What C44 and C45 are measured with: pointing, pairs, baselines, drawn maps; and that nothing leaks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mmtutor.experiments import sound_localization as experiment
from mmtutor.sound_localization import heat, on_cells
from mmtutor.soundnet import Config, SoundNet


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> experiment.Data:
    """Some clips, heard by an untrained network and seen by nobody: their maps are noise."""

    def noise(pictures: np.ndarray, encoder: object) -> Tensor:
        draw = torch.Generator().manual_seed(len(pictures))
        return torch.randn(len(pictures), 112, 6, 6, generator=draw)

    torch.manual_seed(0)
    deaf = SoundNet(Config.world((("objects", 1000),))).eval()
    for name, value in dict(TRAIN=100, TEST=40, TWO=30, STEPS=3, BATCH=16).items():
        monkeypatch.setattr(experiment, name, value)
    monkeypatch.setattr(experiment, "COUNTS", (8, 100))
    monkeypatch.setattr(experiment, "ears", lambda: deaf)
    monkeypatch.setattr(experiment.vision, "features", noise)
    data = experiment.load.__wrapped__()
    monkeypatch.setattr(experiment, "load", lambda: data)
    monkeypatch.setattr(experiment, "train", experiment.train.__wrapped__)
    monkeypatch.setattr(experiment, "baselines", experiment.baselines.__wrapped__)
    return data


def test_the_data(few: experiment.Data) -> None:
    for own, count in ((few.train, 100), (few.test, 40), (few.two, 30)):
        assert len(own) == len(own.sound) == len(own.waves) == len(own.owner) == count
        assert own.sound.shape == (count, experiment.GIVEN)
        assert own.waves.abs().max() <= 1
        for row in range(count):
            names = [own.rows["things"][row][k] for k in own.playing[row].nonzero()[:, 0].tolist()]
            assert names == list(own.rows["playing_things"][row])
            seen = own.owner[row] > 0
            for place in own.playing[row].nonzero()[:, 0].tolist():
                assert own.truth[row][own.owner[row] == place + 1].eq(1).all()
            assert own.truth[row].sum() < seen.numel()
    assert few.train.playing.sum(1).eq(1).all()
    assert few.two.playing.sum(1).eq(2).all()


def test_what_is_unseen_is_unseen_and_its_statistics_are_not_used(few: experiment.Data) -> None:
    assert few.train.maps.mean((0, 2, 3)).abs().max() < 1e-3
    assert few.train.sound.mean(0).abs().max() < 1e-3
    assert few.test.maps.mean((0, 2, 3)).abs().max() > 1e-3
    scenes = [set(own.rows["scene"]) for own in (few.train, few.test, few.two)]
    assert not scenes[0] & scenes[1]
    assert not scenes[0] & scenes[2]
    waves = {own.numpy().tobytes() for own in few.train.waves}
    assert not waves & {own.numpy().tobytes() for own in few.test.waves}


def test_pairs_are_one_picture_with_two_sounds(few: experiment.Data) -> None:
    own = few.test
    assert torch.equal(own.owner[::2], own.owner[1::2])
    assert not (own.playing[::2] & own.playing[1::2]).any()
    assert 0 < experiment.blind(own) <= 0.5


def test_the_truth_points_rightly_and_a_deaf_map_to_half_at_best(few: experiment.Data) -> None:
    own = few.test
    visible = torch.stack(
        [(o[None] == p.nonzero()[0, 0] + 1)[0] for o, p in zip(own.owner, own.playing, strict=True)]
    ).double()
    assert experiment.right(visible, own).all()
    assert experiment.pairs_right(visible, own) == {"both right": 1.0, "moves": 1.0}
    same = torch.rand(20, 96, 96, generator=torch.Generator().manual_seed(0)).repeat_interleave(
        2, 0
    )
    found = experiment.pairs_right(same, own)
    assert found == {"both right": 0.0, "moves": 0.0}
    assert experiment.right(same, own).double().mean() <= 0.5
    exact = experiment.scores(own.truth, own)
    assert exact["ciou"] == exact["auc"] == 1


def test_the_hottest_pixel_of_no_thing_does_not_count(few: experiment.Data) -> None:
    own = few.test
    hot = (own.owner == 0).double() + 0.5 * (own.owner == 1)
    assert experiment.pointed(hot, own).eq(0).all()
    warm = experiment.warmest(hot, own)
    assert warm[:, 0].eq(0.5).all()
    there = torch.tensor([len(things) for things in own.rows["things"]])
    assert torch.equal((warm >= 0).sum(1), there)


def test_two_sources_by_hand(few: experiment.Data) -> None:
    own = few.two
    there = torch.tensor([len(things) for things in own.rows["things"]])
    assert (there > 2).any()
    sounding = torch.stack([own.playing[k][(o - 1).clamp(min=0)] for k, o in enumerate(own.owner)])
    hot = (sounding & (own.owner > 0)).double()
    found = experiment.two_right(hot, own)
    assert found["one of two"] == found["both of two"] == 1
    assert 0 < found["both of two, guess"] < found["one of two, guess"] < 1
    assert experiment.two_right(1 - hot, own)["both of two"] == 0


def test_boxes(few: experiment.Data) -> None:
    own, side = few.test, experiment.side_of(few.train)
    assert 10 < side < 60
    middle = experiment.centre(own, side)
    assert torch.equal(middle, middle.flip(1))
    assert torch.equal(middle, middle.flip(2))
    boxes = experiment.anywhere(own, side)
    assert boxes.sum((1, 2)).eq(round(side) ** 2).all()
    assert not torch.equal(boxes[0], boxes[1])
    assert torch.equal(boxes, experiment.anywhere(own, side))
    values = experiment.baselines()
    best = heat(on_cells(own.truth, (6, 6)), (96, 96))
    assert values["oracle: ciou"] == experiment.scores(best, own)["ciou"]
    assert values["oracle: ciou"] > 0.8 > 0.2 > values["all ones: ciou"]
    assert values["guess: right"] == experiment.blind(own)


def test_closeness_by_hand(few: experiment.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    own, model = few.test, experiment.SoundLocalizer(experiment.settings("sound")).eval()
    first = torch.zeros(len(own), 6, 6)
    first[:, 2, 3] = 1
    monkeypatch.setattr(experiment, "look", lambda *_: first)
    found = experiment.closeness(model, own, own.sound)
    assert found["z to strongest"] == pytest.approx(1)
    assert found["strongest is nearest"] == 1
    assert -1 < found["mean to strongest"] < 0.9
    even = torch.full((len(own), 6, 6), 1 / 36)
    monkeypatch.setattr(experiment, "look", lambda *_: even)
    found = experiment.closeness(model, own, own.sound)
    assert found["z to strongest"] == pytest.approx(found["mean to strongest"], abs=1e-5)


def test_the_deaf_map_is_one_map_for_both_sounds(few: experiment.Data) -> None:
    model = experiment.train("sound", 3)
    own = few.test
    maps = experiment.deaf(model, own, own.sound)
    assert maps.shape == (40, 6, 6)
    torch.testing.assert_close(maps.sum((1, 2)), torch.ones(40))
    every = torch.stack(
        [
            model.where(own.maps[:1], one[None])[0]
            for one in own.sound[:: max(1, len(own.sound) // 40)]
        ]
    )
    torch.testing.assert_close(maps[0], every.mean(0))


@pytest.mark.parametrize("count", [0, 8, 100])
def test_so_many_maps_are_drawn_and_no_more(few: experiment.Data, count: int) -> None:
    maps = experiment.drawn_of(few.train, count)
    assert (maps.sum((1, 2)) > 0).sum() == count
    rows = experiment.rows_of(count)
    assert torch.equal(rows.unique(), torch.arange(100))
    if count == 8:
        extra = rows[100:]
        assert extra.max() < 8
        assert len(extra) == 33  # one in four


def test_who_learns_from_drawn_maps_alone_sees_no_other_clip(
    few: experiment.Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict] = []
    fit = experiment.fit

    def spy(model: object, batches: dict, *args: object, **kwargs: object) -> object:
        seen.append(batches)
        return fit(model, batches, *args, **kwargs)

    monkeypatch.setattr(experiment, "fit", spy)
    for name, count in (("sound", 0), ("drawn", 8), ("both", 8)):
        experiment.train(name, 3, count)
    alone, drawn, both = seen
    assert "annotation" not in alone
    assert {own.numpy().tobytes() for own in drawn["features"]} == {
        own.numpy().tobytes() for own in few.train.maps[:8]
    }
    assert len(drawn["features"]) >= experiment.BATCH
    assert (both["annotation"].sum((1, 2)) > 0).sum() == 8 + 33


@pytest.mark.parametrize(("name", "count"), [("sound", 0), ("drawn", 8), ("both", 8)])
def test_a_seed_gives_the_same_model_and_another_seed_another(
    few: experiment.Data, name: str, count: int
) -> None:
    one, again, other = (experiment.train(name, seed, count) for seed in (3, 3, 4))
    maps = [experiment.look(model, few.test, few.test.sound) for model in (one, again, other)]
    assert torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])


def test_the_rules_ask_for_what_is_measured(few: experiment.Data) -> None:
    for rule in experiment.EXPERIMENTS:
        values = rule.measure(3)
        for part in rule.parts:
            if rule.id == "C44":
                assert {part.name, part.minus} <= set(values)
    assert {"both, 8: ciou", "drawn, 100: auc", "sound: both right"} <= set(values)
