"""How places sound: the eight grounds of the world, synthesised from first principles.

A beach has breakers, a city engines and now and then a horn, a forest birds. Each is a recipe of a
few lines from the building blocks of ``_effects``: coloured noise, bursts, and sine waves that
swell or glide. Two takes of a place have other birds and other waves, as two minutes of a
recording would.

The data sets ``sounds`` and ``sounding_scenes`` leave their grounds silent: there, only things are
heard. ``ambience`` has the grounds alone, to be laid under a thing's sound.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mmtutor.world._backgrounds import BACKGROUNDS
from mmtutor.world._dice import rng
from mmtutor.world._effects import RATE, _burst, _coloured, _pulse, _slow
from mmtutor.world.sounds import _check_seconds, _check_whole, _fit
from mmtutor.world.speech import check_sample_rate, level, resample

Recipe = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _loud(n: int, hertz: float, random: np.random.Generator) -> np.ndarray:
    """A loudness that wanders ``hertz`` times a second, never negative, 1 in the mean."""
    return np.exp(0.7 * _slow(n, hertz, random) - 0.245)


def _events(
    t: np.ndarray,
    many: float,
    random: np.random.Generator,
    make: Callable[[np.ndarray], np.ndarray],
    length: float,
) -> np.ndarray:
    """Short events at random times, ``many`` a second in the mean; ``make`` gets the seconds since
    one's start, up to ``length``."""
    out, n = np.zeros_like(t), int(length * RATE)
    for when in random.uniform(-length / 2, t[-1], max(1, random.poisson(many * t[-1]))):
        i = max(int(when * RATE), 0)
        part = t[i : i + n] - max(when, 0.0)
        out[i : i + n] += make(np.maximum(part, 0.0))
    return out


def _field(t: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Two to four crickets, and a little wind."""
    out = 0.25 * _coloured(len(t), 100, 500, random) * _loud(len(t), 1, random)
    for _ in range(random.integers(2, 5)):
        hertz, pulses = random.uniform(2300, 3500), random.uniform(16, 30)
        song = (
            np.sin(2 * np.pi * hertz * t) * np.sin(np.pi * pulses * t + random.uniform(0, 3)) ** 2
        )
        rests = np.sin(2 * np.pi * random.uniform(0.8, 2.2) * t + random.uniform(0, 6)) > -0.3
        out += random.uniform(0.4, 1.0) * song * rests
    return out


def _beach(t: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Breakers: noise that swells and breaks."""
    period = random.uniform(1.3, 2.4)
    swell = np.mod(t / period + random.uniform(0, 1), 1.0)
    rise = np.where(swell < 0.6, (swell / 0.6) ** 3, ((1 - swell) / 0.4) ** 1.5)
    foam = _coloured(len(t), 400, 3600, random) * (0.15 + rise)
    return foam + 0.5 * _coloured(len(t), 60, 250, random) * (0.4 + rise)


def _snow(t: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Wind that howls: two narrow bands, each louder and softer."""
    out = 0.2 * _coloured(len(t), 80, 900, random)
    for low in (random.uniform(380, 560), random.uniform(700, 1100)):
        out += _coloured(len(t), low, 1.12 * low, random) * _loud(len(t), 2.5, random)
    return out


def _desert(t: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Sand that hisses in gusts."""
    gusts = _loud(len(t), random.uniform(2.0, 4.0), random)
    return (_coloured(len(t), 1900, 3800, random) + _coloured(len(t), 40, 160, random)) * gusts


def _forest(t: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Birds that glide up or down, in leaves that rustle."""

    def chirp(s: np.ndarray) -> np.ndarray:
        length, start = random.uniform(0.06, 0.16), random.uniform(1700, 3200)
        glide = random.uniform(-0.25, 0.35) * start / length
        return _pulse(s / length, 0.2, 0.4) * np.sin(2 * np.pi * (start + glide * s / 2) * s)

    leaves = _coloured(len(t), 700, 3000, random) * _loud(len(t), 3, random)
    return 1.2 * _events(t, random.uniform(4, 9), random, chirp, 0.17) + 0.2 * leaves


def _city(t: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Engines, cars that pass, and in half of the takes a horn."""
    idle = 1 + 0.5 * np.sin(2 * np.pi * random.uniform(22, 38) * t)
    out = _coloured(len(t), 45, 180, random) * idle
    out += 0.5 * _coloured(len(t), 250, 1300, random) * _loud(len(t), 1.2, random)
    if random.random() < 0.5:
        hertz, when = random.uniform(330, 480), random.uniform(0.0, max(0.05, t[-1] - 0.4))
        blown = _pulse((t - when) / random.uniform(0.25, 0.5), 0.1, 0.2)
        for k in range(1, 6):
            two = np.sin(2 * np.pi * k * hertz * t) + np.sin(2 * np.pi * 1.25 * k * hertz * t)
            out += 0.6 / k * blown * two
    return out


def _room(t: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The hum of the mains, and a fan."""
    out = 0.35 * _coloured(len(t), 200, 700, random)
    for k in (2, 4, 6, 8):  # twice 50 hertz, and overtones
        out += random.uniform(0.3, 1.0) / math.sqrt(k) * np.sin(2 * np.pi * 50 * k * t + k)
    blades = 1 + 0.5 * np.sin(2 * np.pi * random.uniform(5, 11) * t)
    return out * blades


def _sea(t: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Under water: a rumble, and bubbles that rise in pitch as they go up."""

    def bubble(s: np.ndarray) -> np.ndarray:
        length, start = random.uniform(0.02, 0.06), random.uniform(450, 1500)
        rise = random.uniform(0.2, 0.7) * start / length
        return _pulse(s / length, 0.1, 0.7) * np.sin(2 * np.pi * (start + rise * s / 2) * s)

    rumble = _coloured(len(t), 30, 220, random) * _loud(len(t), 1.5, random)
    plop = _burst(t, random.uniform(0, t[-1]), 0.1, 200, 800, random)
    return rumble + 1.2 * _events(t, random.uniform(9, 20), random, bubble, 0.07) + plop


_RECIPES: dict[str, Recipe] = {
    "field": _field,
    "beach": _beach,
    "snow": _snow,
    "desert": _desert,
    "forest": _forest,
    "city": _city,
    "room": _room,
    "sea": _sea,
}


def perform(
    ground: str, seconds: float, sample_rate: int, random: np.random.Generator
) -> np.ndarray:
    """One take of a ground's sound, float32 ``(round(seconds * sample_rate),)``; ``random`` is where
    its accidents come from. As loud as a spoken wave: see :func:`play_ground`."""
    t = np.arange(math.ceil(seconds * RATE)) / RATE
    wave = resample(_RECIPES[ground](t, random).astype(np.float32), RATE, sample_rate)
    return level(_fit(wave, round(seconds * sample_rate)))


def play_ground(
    name: str, seconds: float = 2.0, sample_rate: int = 22050, take: int = 0
) -> np.ndarray:
    """Let a place sound.

    Args:
        name: one of the grounds of the world (``scenes.BACKGROUNDS``), such as "beach" or "city".
        seconds: length of the wave, 0.05 to 30.
        sample_rate: samples a second, 4,000 to 48,000.
        take: another take has other accidents (other birds, other waves).

    Returns:
        float32 ``(round(seconds * sample_rate),)`` in [-1, 1], as loud as a spoken wave: root mean
        square ``speech.LOUDNESS``, less where a peak would pass ``speech.PEAK``. The same arguments
        give the same bytes.

    Raises:
        ValueError: no such ground, or a number out of range.
        TypeError: an argument of the wrong type.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be the name of a ground, not {name!r}")
    if name not in BACKGROUNDS:
        raise ValueError(f"no ground is called {name!r}; there are {', '.join(BACKGROUNDS)}")
    take = _check_whole("take", take, 0, 2**31)
    seconds, sample_rate = _check_seconds(seconds), check_sample_rate(sample_rate)
    return perform(name, seconds, sample_rate, rng("play_ground", name, take))
