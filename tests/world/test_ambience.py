"""Each ground sounds, in its own way, and always the same take the same."""

from __future__ import annotations

import numpy as np
import pytest

from mmtutor import sound, world
from mmtutor.world import ambience, scenes, speech
from mmtutor.world.rows import places

RATE = 8000


def share(wave: np.ndarray, low: float, high: float, rate: int = RATE) -> float:
    """The share of the power between two frequencies."""
    power = np.abs(np.fft.rfft(wave)) ** 2
    f = np.fft.rfftfreq(len(wave), 1 / rate)
    return float(power[(f >= low) & (f < high)].sum() / power.sum())


def test_every_ground_has_a_sound():
    assert set(ambience._RECIPES) == set(scenes.BACKGROUNDS)


@pytest.mark.parametrize("ground", scenes.BACKGROUNDS)
def test_a_take_is_the_same_again_and_another_take_is_not(ground):
    one = world.play_ground(ground, 1.0, RATE, take=3)
    assert one.dtype == np.float32
    assert one.shape == (RATE,)
    assert np.array_equal(one, world.play_ground(ground, 1.0, RATE, take=3))
    assert not np.array_equal(one, world.play_ground(ground, 1.0, RATE, take=4))


@pytest.mark.parametrize("ground", scenes.BACKGROUNDS)
@pytest.mark.parametrize(("seconds", "rate"), [(0.05, 4000), (2.0, 8000), (3.3, 22050), (1, 48000)])
def test_it_is_as_loud_as_a_voice_at_any_length_and_rate(ground, seconds, rate):
    for take in range(3):
        wave = world.play_ground(ground, seconds, rate, take)
        assert wave.shape == (round(seconds * rate),)
        assert np.isfinite(wave).all()
        loud, peak = np.sqrt(np.mean(np.square(wave, dtype=np.float64))), np.abs(wave).max()
        assert peak <= speech.PEAK + 1e-6
        assert loud == pytest.approx(speech.LOUDNESS, rel=0.02) or (
            loud < speech.LOUDNESS and peak == pytest.approx(speech.PEAK, rel=0.02)
        )


def test_places_sound_as_places_do():
    """What one knows of them: where their power lies, and that breakers swell."""
    takes = {g: [world.play_ground(g, 2.0, RATE, k) for k in range(8)] for g in scenes.BACKGROUNDS}

    def mean(ground: str, low: float, high: float) -> float:
        return float(np.mean([share(w, low, high) for w in takes[ground]]))

    assert mean("field", 2000, 4000) > 0.5  # crickets
    assert mean("forest", 1500, 4000) > 0.7  # birds
    assert mean("city", 0, 300) > 0.6  # engines
    assert mean("sea", 0, 300) > 0.5  # rumble
    assert mean("snow", 350, 1300) > 0.7  # howling wind
    hum = [sum(share(w, 100 * k - 3, 100 * k + 3) for k in (1, 2, 3, 4)) for w in takes["room"]]
    assert min(hum) > 0.4  # on a few lines

    def swing(wave: np.ndarray) -> float:
        """How far the loudness of quarter seconds goes up and down, in dB."""
        level = 10 * np.log10(np.square(wave.reshape(8, -1)).mean(1))
        return float(level.max() - level.min())

    assert np.mean([swing(w) for w in takes["beach"]]) > 6
    assert np.mean([swing(w) for w in takes["room"]]) < 3


def test_grounds_can_be_told_apart_by_ear():
    """Nearest mean in a mel spectrogram, learnt from some takes and asked of others."""
    mel = sound.MelSpectrogram(RATE, n_fft=512, hop_length=160, n_mels=40)

    def numbers(data: world.Dataset) -> np.ndarray:
        import torch

        level = sound.power_to_db(mel(sound.pcm_to_float(torch.from_numpy(data["wave"][:].copy()))))
        return torch.cat([level.mean(-1), level.std(-1)], 1).numpy()

    train = world.load("ambience", "train", 160, sample_rate=RATE)
    test = world.load("ambience", "test", 80, sample_rate=RATE)
    x, y = numbers(train), np.asarray(train["label"][:])
    centres = np.stack([x[y == k].mean(0) for k in range(8)])
    spread = np.stack([x[y == k].std(0) for k in range(8)]).mean(0)
    far = ((numbers(test)[:, None] - centres) / spread) ** 2
    assert (far.sum(2).argmin(1) == np.asarray(test["label"][:])).mean() > 0.9


def test_every_eight_rows_have_each_ground_once():
    rows = places.DATASETS["ambience"].build("train", range(16, 32), 0, RATE)
    assert rows["ground"] == [*scenes.BACKGROUNDS, *scenes.BACKGROUNDS]
    assert rows["label"] == [*range(8), *range(8)]
    assert len({w.tobytes() for w in rows["wave"]}) == 16
    assert {w.dtype for w in rows["wave"]} == {np.dtype(np.int16)}
    other = places.DATASETS["ambience"].build("train", range(16, 32), 1, RATE)["wave"]
    assert not {w.tobytes() for w in rows["wave"]} & {w.tobytes() for w in other}


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"name": "moon"}, ValueError, "no ground is called 'moon'; there are field, beach"),
        ({"seconds": 0.0}, ValueError, "seconds must lie between 0.05 and 30"),
        ({"seconds": float("nan")}, ValueError, "seconds must lie between"),
        ({"seconds": "2"}, TypeError, "seconds must be a number"),
        ({"sample_rate": 100}, ValueError, "sample_rate|4,?000"),
        ({"name": 5}, TypeError, "name must be the name of a ground, not 5"),
        ({"take": -1}, ValueError, "take must lie between 0"),
        ({"take": 1.5}, TypeError, "take must be a whole number"),
    ],
)
def test_wrong_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        world.play_ground(**{"name": "beach", **arguments})
