"""What C39 and C40 are measured with: the videos, the dictionary, the students, the probes."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmtutor.experiments import soundnet as experiment
from mmtutor.kit import training
from mmtutor.soundnet import SoundNet
from mmtutor.world import scenes


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as one:
        yield one


@pytest.fixture(scope="module")
def few(patch: pytest.MonkeyPatch) -> experiment.Videos:
    """Four videos of each thing, small networks' worth of steps."""
    patch.setattr(experiment, "TRAIN", 4 * 56)
    patch.setattr(experiment, "TEST", 2 * 56)
    patch.setattr(experiment, "PIXELS", 64)
    patch.setattr(experiment, "WORDS", {"train": 60, "test": 40})
    patch.setattr(experiment, "LABELS", {1: 1, 2: 1})
    patch.setattr(
        experiment.training, "fit", functools.partial(training.fit, max_steps=2, progress=False)
    )
    patch.setattr(experiment, "targets", functools.partial(targets, experiment.targets))
    for name in ("videos", "student", "labelled", "dictionary", "spoken", "by_mel"):
        patch.setattr(experiment, name, functools.cache(getattr(experiment, name).__wrapped__))
    patch.setattr(experiment, "dictionary", functools.cache(lambda: made(2)))
    return experiment.videos("train")


made = experiment.dictionary.__wrapped__


def targets(whole) -> dict:  # 2 labels a thing
    out = whole()
    wave, y, wave_test, y_test = out["things"]
    return {**out, "things": (wave[:112], y[:112], wave_test[:56], y_test[:56])}


def same(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    a, b = one.state_dict(), two.state_dict()
    return all(torch.equal(a[k], b[k]) for k in a)


# --- data -----------------------------------------------------------------------------------------


def test_videos_show_what_they_play(few: experiment.Videos) -> None:
    assert few.wave.shape == (224, 16000)
    assert few.wave.dtype == torch.int16
    assert few.picture.shape == (224, 64, 64, 3)
    assert few.picture.dtype == np.uint8
    assert torch.bincount(few.thing).tolist() == [4] * 56
    torch.testing.assert_close(few.seen.sum(1), torch.ones(224))
    # a portrait of the same thing is nearer in look than one of another: by the teacher's words
    near = experiment.name(few.seen, experiment.dictionary(), experiment.usual())
    assert (near == few.thing).float().mean() > 6 / 56


def test_pictures_are_the_worlds_portraits(few: experiment.Videos) -> None:
    things = [3, 0, 3]
    images, grounds = experiment.pictures(things, "train")
    found, index = [], 0
    while len(found) < 3:
        scene = scenes.portrait("train", index, 0, framing="centred")
        name = scene.things[0].name
        index += 1
        if name == experiment.NAMES[3] and sum(k == 3 for k, _ in found) < 2:
            found.append((3, scene))
        elif name == experiment.NAMES[0] and sum(k == 0 for k, _ in found) < 1:
            found.append((0, scene))
    cows = [scene for k, scene in found if k == 3]
    for row, scene in zip((0, 2), cows, strict=True):
        assert np.array_equal(images[row], scenes.render(scene, experiment.PIXELS).image)
        assert scenes.BACKGROUNDS[int(grounds[row])] == scene.background
    assert not np.array_equal(images[0], images[2])
    other, _ = experiment.pictures(things, "train", seed=1)
    assert not np.array_equal(images[0], other[0])


def test_no_picture_of_the_dictionary_is_in_a_video(few: experiment.Videos) -> None:
    things = [k for k in range(56) for _ in range(2)]
    entries, _ = experiment.pictures(things, "train", seed=1)
    known = {picture.tobytes() for picture in few.picture}
    known |= {picture.tobytes() for picture in experiment.videos("test").picture}
    assert not known & {picture.tobytes() for picture in entries}


def test_splits_share_no_video(few: experiment.Videos) -> None:
    test = experiment.videos("test")
    for name in ("wave", "picture"):
        a, b = (np.asarray(getattr(v, name)) for v in (few, test))
        assert not {x.tobytes() for x in a} & {x.tobytes() for x in b}


def test_warmer_is_softer(few: experiment.Videos) -> None:
    cold, warm = (experiment.look(few.picture[:8], w) for w in (1.0, 3.0))
    assert (cold.max(1).values > warm.max(1).values).all()
    assert torch.equal(cold.argmax(1), warm.argmax(1))
    logits = cold.log() / 3
    torch.testing.assert_close(logits.softmax(-1), warm, atol=1e-5, rtol=1e-3)


# --- names ----------------------------------------------------------------------------------------


def test_name_is_the_most_similar_entry() -> None:
    words = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.0, 0.0, 1.0]])
    mean = torch.tensor([0.3, 0.3, 0.4])
    assert experiment.name(words, words, mean).tolist() == [0, 1, 2]
    said = torch.tensor([[0.35, 0.3, 0.35], [0.3, 0.35, 0.35], [0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    by_hand = []
    for f in said.double().numpy():
        more = np.sqrt(f) - np.sqrt(mean.double().numpy())
        entries = [np.sqrt(w) - np.sqrt(mean.double().numpy()) for w in words.double().numpy()]
        each = [more @ e / np.linalg.norm(more) / np.linalg.norm(e) for e in entries]
        by_hand.append(int(np.argmax(each)))
    assert experiment.name(said, words, mean).tolist() == by_hand == [0, 1, 2, 0]
    # a weak sign counts as much as a strong one
    weak = 0.95 * mean + 0.05 * words
    assert experiment.name(weak, words, mean).tolist() == [0, 1, 2]


def test_the_mean_is_that_of_training(few: experiment.Videos) -> None:
    torch.testing.assert_close(experiment.usual(), few.seen.mean(0))


# --- students -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("few")
def test_a_student_reads_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    one = experiment.student(3)
    data = experiment.videos("train")
    blind = replace(data, thing=torch.zeros_like(data.thing), ground=torch.zeros_like(data.ground))
    monkeypatch.setattr(experiment, "videos", lambda split: blind)
    fresh = experiment.student.__wrapped__(3)
    assert same(one, fresh)
    deaf = replace(data, seen=data.seen.roll(1, 0))
    monkeypatch.setattr(experiment, "videos", lambda split: deaf)
    assert not same(one, experiment.student.__wrapped__(3))


@pytest.mark.usefixtures("few")
def test_the_seed_decides() -> None:
    again = experiment.student.__wrapped__
    assert same(again(3), experiment.student(3))
    assert not same(again(4), experiment.student(3))


@pytest.mark.usefixtures("few")
def test_labels_are_so_many_a_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {}

    def learn(model: SoundNet, batch: dict, epochs: int, seed: int) -> None:
        told.update(batch, model=model)

    monkeypatch.setattr(experiment, "learn", learn)
    experiment.labelled.__wrapped__(5, 2, 1)
    data = experiment.videos("train")
    assert told["things"].sum(0).tolist() == [2.0] * 56
    assert torch.equal(told["things"].max(1).values, torch.ones(112))
    for wave, certain in zip(told["wave"][::9], told["things"][::9]):
        (row,) = (data.wave == wave).all(1).nonzero().flatten().tolist()
        assert int(data.thing[row]) == int(certain.argmax())
    first = told["wave"]
    experiment.labelled.__wrapped__(6, 2, 1)
    assert not torch.equal(first, told["wave"])  # another seed, other sounds


@pytest.mark.usefixtures("few")
def test_answers_are_distributions() -> None:
    told = experiment.answers(experiment.student(3), experiment.videos("test").wave[:5])
    assert told.shape == (5, 1000)
    torch.testing.assert_close(told.sum(1), torch.ones(5))


@pytest.mark.usefixtures("few")
def test_c39_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    out = experiment.measure_taught(3)
    (rule,) = (one for one in experiment.EXPERIMENTS if one.id == "C39")
    for part in rule.parts:
        part.judge([{"values": out}])
    assert all(np.isfinite(v) for v in out.values())
    test = experiment.videos("test")

    def parrot(model: SoundNet, waves: torch.Tensor) -> torch.Tensor:
        return test.seen if model.config.heads[0][1] == 1000 else torch.eye(56)[test.thing]

    monkeypatch.setattr(experiment, "answers", parrot)  # a student that says just what it should
    best = experiment.measure_taught(3)
    assert best["agrees"] == 1
    assert best["1 labels"] == 1
    assert best["divergence"] < 1e-5
    assert best["named"] == best["teacher named"]
    assert 1 / 1000 < best["agrees, shuffled"] < 0.5
    same_class = (test.seen.argmax(1)[:, None] == test.seen.argmax(1)).float().mean()
    assert best["agrees, shuffled"] == pytest.approx(float(same_class), abs=1e-6)
    constant = test.seen.mean(0).expand(112, -1)
    monkeypatch.setattr(
        experiment,
        "answers",
        lambda m, w: constant if m.config.heads[0][1] == 1000 else parrot(m, w),
    )
    deaf = experiment.measure_taught(3)
    assert deaf["named"] == pytest.approx(1 / 56)
    assert deaf["agrees"] == pytest.approx(deaf["agrees, shuffled"])


# --- probes ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("few")
def test_layer_vectors_are_means() -> None:
    model, wave = experiment.student(3), experiment.videos("test").wave[:3]
    found = experiment.layer_vectors(model, wave)
    assert tuple(found) == model.names()
    whole = model.features(wave)
    np.testing.assert_allclose(found["conv2"], whole["conv2"].mean(2).detach(), rtol=1e-4)
    np.testing.assert_allclose(found["objects"], whole["objects"][:, :, 0].detach(), rtol=1e-4)


def test_a_probe_finds_what_is_there() -> None:
    random = np.random.default_rng(0)
    y = np.arange(120) % 3
    x = random.normal(size=(120, 8))
    x[np.arange(120), y] += 5
    assert experiment.probe(x[:60], y[:60], x[60:], y[60:]) > 0.95
    nothing = random.normal(size=(120, 8))
    assert experiment.probe(nothing[:60], y[:60], nothing[60:], y[60:]) < 0.6


@pytest.mark.usefixtures("few")
def test_c40_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def counted(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> float:
        asked.append((len(y), len(y_test)))
        # the middle is the best on what is kept back, another on the test
        return float(x.shape[1] == (128 if len(y) == 42 else 64))

    monkeypatch.setattr(experiment, "probe", counted)
    out = experiment.measure_layers(3)
    inner = [name for name in experiment.student(3).names() if name != "objects"]
    assert {
        f"{target}: {name}" for target in ("words", "things") for name in (*inner, "objects")
    } < set(out)
    assert {f"untrained: {name}" for name in inner} < set(out)
    assert (42, 18) in asked
    assert (60, 40) in asked
    assert inner[int(out["place"])] == "conv3"
    assert out["inner"] == out["words: conv3"] == 0
    assert out["last"] == out["words: objects"]


@pytest.mark.usefixtures("few")
def test_words_are_said_by_others() -> None:
    (wave, y), (wave_test, y_test) = experiment.spoken("train"), experiment.spoken("test")
    assert wave.shape == (60, 8000)
    assert len(set(y)) == 20
    assert set(y_test) == set(y)
    assert not {w.tobytes() for w in wave.numpy()} & {w.tobytes() for w in wave_test.numpy()}
