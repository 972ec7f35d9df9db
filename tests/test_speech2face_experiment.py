"""What C41 and C42 are measured with: clips, baselines, readers of traits, the search by voice."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from mmtutor.experiments import speech2face as experiment
from mmtutor.kit import training
from mmtutor.world import faces as drawn
from mmtutor.world import voices


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as one:
        yield one


@pytest.fixture(scope="module")
def few(patch: pytest.MonkeyPatch) -> experiment.Clips:
    """One clip and two pictures of a few speakers, and two steps of training."""
    some = {split: voices.speakers(split)[:n] for split, n in (("train", 40), ("test", 16))}

    class Few:
        TRAIN_SPEAKERS, TEST_SPEAKERS = 40, 16
        speaker = staticmethod(voices.speaker)

        @staticmethod
        def speakers(split: str) -> tuple[voices.Speaker, ...]:
            return some[split]

    patch.setattr(experiment, "voices", Few)
    patch.setattr(experiment, "clips", clips)
    patch.setattr(experiment, "PICTURES", 80)
    patch.setattr(experiment, "CLIPS", 40)
    patch.setattr(experiment, "GALLERY", 12)
    patch.setattr(
        experiment.training, "fit", functools.partial(training.fit, max_steps=2, progress=False)
    )
    for name in ("pictures", "speech", "face_networks", "system", "known", "traits"):
        patch.setattr(experiment, name, functools.cache(getattr(experiment, name).__wrapped__))
    return experiment.speech("train")


def clips(split: str, count: int, spoken: bool) -> experiment.Clips:
    """Drawn and spoken here: the world's data sets are too large for a test."""
    people = experiment.voices.speakers(split)
    who, images, fronts, waves = [], [], [], []
    for index in range(count):
        random = np.random.default_rng([index, split == "test"])
        block, place = divmod(index, len(people))
        person = people[np.random.default_rng(block).permutation(len(people))[place]]
        who.append(people.index(person))
        images.append(drawn.draw_face(person.name, drawn.random_look(random), experiment.PIXELS))
        fronts.append(drawn.draw_face(person.name, drawn.CANONICAL, experiment.PIXELS))
        if spoken:
            text = "The dog is on the beach. " * 4
            wave = voices.speak(text, "en", person, experiment.RATE).wave
            waves.append(np.resize(wave, experiment.RATE * experiment.SECONDS))
    first = [torch.from_numpy(np.stack(x)).permute(0, 3, 1, 2) for x in (images, fronts)]
    wave = torch.from_numpy((np.stack(waves) * 32767).astype(np.int16)) if spoken else None
    names = tuple(people[k].name for k in who)
    return experiment.Clips(*first, wave, names, torch.tensor(who))


def same(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    a, b = one.state_dict(), two.state_dict()
    return all(torch.equal(a[k], b[k]) for k in a)


def test_rows_go_together(few: experiment.Clips) -> None:
    order = few.who.argsort()
    sorted_ = few.rows(order)
    assert sorted_.who.tolist() == list(range(40))
    for k in (0, 7, 39):
        row = int((few.who == k).nonzero()[0])
        assert torch.equal(sorted_.image[k], few.image[row])
        assert torch.equal(sorted_.wave[k], few.wave[row])
        assert sorted_.names[k] == few.names[row] == experiment.voices.speakers("train")[k].name
    assert experiment.traits("train")["hat"][3] == drawn.face(sorted_.names[3]).hat


def test_points_are_where_the_drawing_has_them() -> None:
    """Against pixels: how high and how wide a bare head is drawn, and how far its ears reach."""
    where = experiment.points("test")
    assert where.shape == (
        len(experiment.voices.speakers("test")),
        experiment.Config.world().points,
    )
    side = 256
    for k in (0, 3, 9):
        person = experiment.voices.speakers("test")[k]
        image = drawn.draw_face(person.name, drawn.CANONICAL, side).astype(int)
        there = np.abs(image - image[2, 2]).max(2) > 24
        wide, high, ear_x, ear_y, *_ = (where[k] * side / 2).tolist()
        middle = round(1.17 * side / 2 + 0.02 * high)  # the ears' height
        reach = np.flatnonzero(there[middle])[[0, -1]] - (side / 2 - 0.5)
        np.testing.assert_allclose(reach, [-ear_x, ear_x], atol=1.5)
        bottom = np.flatnonzero(there[:, side // 2]).max() + 0.5 - 1.17 * side / 2
        assert bottom == pytest.approx(high, abs=2)
        chin = np.flatnonzero(there[round(1.17 * side / 2 + 0.6 * high)])
        # of the outline |x|^2.4 + |y|^2.4 = 1, where y = 0.6
        edge = (1 - 0.6**2.4) ** (1 / 2.4)
        assert (chin.max() - chin.min() + 1) / 2 == pytest.approx(wide * edge, abs=2)
        assert ear_y > 0


def test_the_splits_share_nobody() -> None:
    train, test = ({one.name for one in voices.speakers(s)} for s in ("train", "test"))
    assert not train & test
    assert len(test) >= experiment.GALLERY


@pytest.mark.usefixtures("few")
def test_the_seed_decides_and_faces_are_trained_once() -> None:
    one, again = experiment.system(3), experiment.system.__wrapped__(3)
    assert same(one, again)
    other = experiment.system(4)
    assert not same(one.voice, other.voice)
    assert same(one.face, other.face)
    assert same(one.decoder, experiment.face_networks(0).decoder)
    assert experiment.once(4) == 0
    assert experiment.once(104) == 1
    assert not same(experiment.face_networks(0), experiment.face_networks(1))


@pytest.mark.usefixtures("few")
def test_the_system_is_settled_and_measures_in_units() -> None:
    model = experiment.system(3)
    heard = experiment.listen(model, experiment.speech("train").wave).double()
    rank = torch.linalg.matrix_rank(heard - heard.mean(0), rtol=1e-4)
    assert rank == experiment.DIRECTIONS == 5
    points = model.decoder.shape(experiment.vectors(model, experiment.speech("train").front))
    spread = (points @ model.units).std(0)
    assert not torch.allclose(model.units, torch.eye(14))
    assert 0.5 < float(spread.max()) < 1.1  # standard deviations, each widened a little
    assert experiment.Config.world().smooth >= 3


@pytest.mark.usefixtures("few")
def test_no_face_network_hears(monkeypatch: pytest.MonkeyPatch) -> None:
    def deaf(split: str) -> None:
        raise AssertionError("face networks were given speech")

    monkeypatch.setattr(experiment, "speech", deaf)
    experiment.face_networks.__wrapped__(7)


def test_found_at_by_a_loop() -> None:
    g = torch.Generator().manual_seed(0)
    score = torch.rand(30, 30, generator=g)
    score[3, 5] = score[3, 3]
    ks = (1, 2, 5, 10, 30)
    for k, share in experiment.found_at(score, ks).items():
        hits = 0.0
        for i, row in enumerate(score.tolist()):
            above = sum(x > row[i] for x in row) + 0.5 * sum(x == row[i] for x in row) - 0.5
            hits += above < k
        assert share == pytest.approx(hits / 30)
    assert experiment.found_at(torch.eye(20))[1] == 1
    nothing = experiment.found_at(torch.zeros(101, 101))
    assert nothing[1] == nothing[10] == 0  # all alike: nobody is found


def test_right_against_everybody() -> None:
    said, true = np.array(list("aabbcc")), np.array(list("aabbbb"))
    hit, anybody = experiment.right(said, true)
    assert hit == pytest.approx(4 / 6)
    assert anybody == pytest.approx(np.mean([[s == t for t in true] for s in said]))
    always = experiment.right(np.array(["b"] * 6), true)
    assert always[0] == always[1]  # the same answer for all tells nothing


def test_pitch_of_tones() -> None:
    t = torch.arange(experiment.RATE) / experiment.RATE
    tones = torch.stack(
        [sum(0.1 * torch.sin(2 * np.pi * f * k * t) for k in (1, 2, 3, 4)) for f in (100, 160, 250)]
    )
    found = experiment.pitch(tones)
    np.testing.assert_allclose(2 ** found[:, 2], [100, 160, 250], rtol=0.02)
    assert (found[:, 5] < 0.05).all()  # no melody
    assert (found[:, 8] > 0.9).all()


@pytest.mark.usefixtures("few")
def test_hand_made_features_are_finite() -> None:
    found = experiment.hand_made(experiment.speech("test").wave)
    assert found.shape == (16, 203)
    assert torch.isfinite(found).all()
    assert torch.isfinite(experiment.hand_made(torch.zeros(1, 40_000, dtype=torch.int16))).all()


@pytest.mark.usefixtures("few")
def test_c41_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    out = experiment.measure_told(3)
    rule = next(one for one in experiment.EXPERIMENTS if one.id == "C41")
    for part in rule.parts:
        part.judge([{"values": out}])
    assert all(np.isfinite(v) for v in out.values())
    assert out["chance: R@10"] == pytest.approx(10 / 12)

    # a voice encoder that knows the face is found and read as the face itself
    model = experiment.system(3)
    faces = {
        int(w.sum()): f
        for s in ("train", "test")
        for w, f in zip(
            experiment.speech(s).wave.long(), experiment.vectors(model, experiment.speech(s).front)
        )
    }

    def knows(model: object, waves: torch.Tensor) -> torch.Tensor:
        found = torch.stack([faces[int(w.sum())] for w in waves.long()])
        return found + 1e-4 * torch.randn(found.shape, generator=torch.Generator().manual_seed(0))

    monkeypatch.setattr(experiment, "listen", knows)
    clear = experiment.measure_told(3)
    assert clear["L2: R@10"] == 1
    for name in experiment.TRAITS:
        assert clear[name] == pytest.approx(clear[f"face: {name}"], abs=0.07)


@pytest.mark.usefixtures("few")
def test_c42_measures() -> None:
    out = experiment.measure_composed(3)
    rule = next(one for one in experiment.EXPERIMENTS if one.id == "C42")
    for part in rule.parts:
        part.judge([{"values": out}])
    assert all(np.isfinite(v) for v in out.values())
    assert out["moved"] == 0
    assert out["trained"] == out["voice"] < out["whole"]
    test = experiment.speech("test")
    mean = experiment.pictures("train").front[:40].float().mean(0)
    wanted = float((mean - test.front.float()).square().mean().sqrt())
    assert out["mean face"] == pytest.approx(wanted, rel=1e-4)


def test_every_trait_is_asked_for() -> None:
    assert set(experiment.TRAITS) == {*drawn.TIED, *drawn.INDEPENDENT}
    assert len(experiment.TRAITS) == 13
    assert all(
        isinstance(getattr(drawn.face(voices.speakers()[0]), n), float) for n in experiment.NUMBERS
    )
