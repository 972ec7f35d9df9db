"""Grounds that sound, and a teacher of places: what is laid under the videos, what the teacher is,
and what a teacher that weighs nothing teaches."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from mmtutor import sound
from mmtutor.experiments import soundnet as chapter
from mmtutor.experiments import soundnet_places as experiment
from mmtutor.kit import training
from mmtutor.kit.vision import ImageEncoder, features
from mmtutor.soundnet import Config, SoundNet

KEPT = ("heard", "placed", "teacher", "student", "ceiling")


@pytest.fixture(scope="module")
def few() -> Iterator[chapter.Videos]:
    """Two videos of each thing, one named picture, and three steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chapter, "TRAIN", 2 * 56)
        patch.setattr(chapter, "TEST", 56)
        patch.setattr(chapter, "PIXELS", 64)
        patch.setattr(chapter, "WORDS", {"train": 60, "test": 40})
        patch.setattr(experiment, "NAMED", 1)
        fit = functools.partial(training.fit, max_steps=3, progress=False)
        patch.setattr(chapter.training, "fit", fit)
        for module, names in ((chapter, ("videos", "spoken")), (experiment, KEPT)):
            for name in names:
                patch.setattr(module, name, functools.cache(getattr(module, name).__wrapped__))
        patch.setattr(chapter, "dictionary", functools.cache(lambda: made(1)))
        yield chapter.videos("train")


made = chapter.dictionary.__wrapped__


def test_the_ground_of_the_picture_lies_under_the_sound(few: chapter.Videos) -> None:
    """6 to 18 dB below the thing, a take of its own for each video, and the ground that one sees."""
    from mmtutor import world
    from mmtutor.kit.arrays import column

    heard = experiment.heard("train")
    assert heard.dtype == torch.int16
    assert heard.shape == few.wave.shape
    assert torch.equal(heard, experiment.heard.__wrapped__("train"))
    rows = world.load("sounds", "train", len(few.wave), sample_rate=chapter.RATE)
    loud = column(rows, "loudness")
    takes = world.load(
        "ambience", "train", 8 * int(few.ground.bincount().max()), sample_rate=chapter.RATE
    )
    bank = sound.pcm_to_float(torch.from_numpy(column(takes, "wave").copy()))
    bank = bank / bank.norm(dim=1, keepdim=True)
    both, alone = sound.pcm_to_float(heard), sound.pcm_to_float(few.wave)
    used = []
    for k in range(len(heard)):
        # where it was made softer, the thing was, too
        scale = min(1.0, float((both[k] @ alone[k]) / (alone[k] @ alone[k])))
        scale = 1.0 if both[k].abs().max() < 0.979 else scale
        under = both[k] - scale * alone[k]
        fits = bank @ under / under.norm()
        used.append(int(fits.argmax()))
        assert fits.max() > 0.95
        assert takes["label"][used[-1]] == few.ground[k]
        if scale == 1.0:
            level = 10 * np.log10(float(under.square().mean()))
            assert 5.9 < loud[k] - level < 18.1
    assert len(set(used)) == len(used)


def test_test_videos_have_other_takes(few: chapter.Videos) -> None:
    train, test = (
        {w.tobytes() for w in experiment.world.load("ambience", s, 64)["wave"][:].copy()}
        for s in ("train", "test")
    )
    assert len(train) == len(test) == 64
    assert not train & test


def test_the_teacher_is_the_logistic_regression_it_was_fitted_as(few: chapter.Videos) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    images, ground = chapter.pictures(list(range(56)), "train", seed=1)
    encoder = ImageEncoder(layer="vector")
    x = features(images, encoder).float().numpy()
    line = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    line.fit(x, ground.numpy())
    test = chapter.videos("test")
    wanted = line.predict_proba(features(test.picture, encoder).float().numpy())
    said = experiment.placed("test")
    assert said.shape == (56, 8)
    np.testing.assert_allclose(said.numpy(), wanted, atol=2e-4)
    assert (said.argmax(1) == test.ground).float().mean() > 0.6  # a guess: 0.15
    assert not any(p.requires_grad for p in experiment.teacher().parameters())


def test_a_teacher_that_weighs_nothing_teaches_nothing(few: chapter.Videos) -> None:
    """The student of objects alone is one that has no other head, up to rounding."""
    torch.manual_seed(4)
    one = SoundNet(Config.world(experiment.HEADS[:1]))
    batch = {"wave": experiment.heard("train"), "objects": few.seen}
    chapter.learn(one, batch, chapter.EPOCHS, 4)

    def apart(weights: tuple[float, float]) -> float:
        two = experiment.student(4, weights=weights)
        assert set(two.state_dict()) - set(one.state_dict()) == {
            "heads.scenes.weight",
            "heads.scenes.bias",
        }
        return max(
            float((a.weight - b.weight).detach().abs().max()) for a, b in zip(two.conv, one.conv)
        )

    assert apart((1.0, 0.0)) < 1e-5
    assert apart(experiment.WEIGHTS) > 1e-4


def test_what_is_measured(few: chapter.Videos, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = experiment.tasks

    def fewer(grounds_sound: bool = True) -> dict:
        return {
            k: (x[:60], y[:60], a[:30], b[:30]) for k, (x, y, a, b) in whole(grounds_sound).items()
        }

    monkeypatch.setattr(experiment, "tasks", fewer)
    found = {name: experiment.without(name, 4) for name in experiment.PARTS}
    assert len({tuple(own) for own in found.values()}) == 1
    for own in found.values():
        assert all(0 <= v <= 1 for k, v in own.items() if not k.endswith("layer"))
        three = [own[f"{task}, probe"] for task in ("things", "grounds", "words")]
        assert own["probes"] == pytest.approx(np.mean(three))
    # an ear that hears no grounds is asked about waves without them
    assert torch.equal(experiment.waves("test", False), chapter.videos("test").wave)
    assert not torch.equal(experiment.waves("test"), chapter.videos("test").wave)


def test_the_layer_is_chosen_on_kept_back_sounds(
    few: chapter.Videos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each task seven tenths of the training sounds are learnt from and three asked about, layer
    by layer; the test sounds are asked about once, on the layer that was best."""
    asked = []

    def probe(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> float:
        asked.append((len(y), y_test))
        return x.shape[1] / 1000  # the widest layer is the best

    monkeypatch.setattr(chapter, "probe", probe)
    tasks = {"words": (few.wave[:20], np.arange(20), few.wave[20:35], np.arange(100, 115))}
    monkeypatch.setattr(experiment, "tasks", lambda grounds_sound=True: tasks)
    with pytest.raises(KeyError, match="things"):  # the mean needs all three
        experiment.probed(experiment.student(4))
    *chosen, last = asked
    assert {n for n, _ in chosen} == {14}
    assert all(set(y.tolist()) == set(range(14, 20)) for _, y in chosen)
    assert last[0] == 20
    assert last[1].tolist() == list(range(100, 115))


def test_each_part_hears_and_weighs_what_it_says(
    few: chapter.Videos, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = []

    def learn(model: SoundNet, batch: dict, epochs: int, seed: int) -> None:
        heard.append((model.config.weights, bool(torch.equal(batch["wave"], few.wave))))

    monkeypatch.setattr(chapter, "learn", learn)
    for weights, grounds_sound in experiment.PARTS.values():
        experiment.student.__wrapped__(5, weights, grounds_sound)
    one = experiment.WEIGHTS
    assert heard == [
        (one, False),
        ((1.0, 0.0), False),
        ((0.0, 1.0), False),
        ((1.0, 1.0), False),
        (one, True),
    ]
    assert one == (1.0, 0.25)


def test_naming_reads_the_right_head(few: chapter.Videos) -> None:
    """A student whose heads say what is true names everything."""
    test = chapter.videos("test")

    class Knows:
        def answer(self, wave: torch.Tensor) -> dict[str, torch.Tensor]:
            assert torch.equal(wave, experiment.heard("test"))
            said = {"objects": chapter.dictionary()[test.thing]}
            return {**said, "scenes": torch.eye(8)[test.ground]}

    found = experiment.named(Knows())
    assert found["grounds named"] == 1.0
    assert found["things named"] > 0.9  # one picture a thing: a few entries may be alike
