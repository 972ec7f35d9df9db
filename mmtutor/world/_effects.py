"""Noises that no sampled instrument makes: animals, engines, weather and tools, synthesised from
first principles.

Three kinds of source are enough. A *voice* is a sum of harmonics under moving resonances (animals,
horns). A *strike* is a sum of decaying sine waves (bells, knocks, hammers). *Coloured noise* is
white noise through a band (wind, steam, hiss). Every effect is a recipe of a few lines from these,
with small accidents drawn from ``random``, so that no two takes are alike.

Every recipe takes ``(t, ratio, random)``: the times of the samples in seconds ``(T,)``, a factor on
all frequencies, and a generator; it returns a wave ``(T,)`` of any scale.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

RATE = 22050
"""Samples a second at which effects are made."""

_AT_ONCE = 16384  # samples of a voice that are made at once
Recipe = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
EFFECTS: dict[str, Recipe] = {}


def _effect(recipe: Recipe) -> Recipe:
    EFFECTS[recipe.__name__.strip("_").replace("_", " ")] = recipe
    return recipe


# --- building blocks ------------------------------------------------------------------------------


def _curve(x: np.ndarray, *points: tuple[float, float]) -> np.ndarray:
    """A line through (x, y) points, constant beyond them."""
    return np.interp(x, [p[0] for p in points], [p[1] for p in points])


def _noise(n: int, random: np.random.Generator) -> np.ndarray:
    return random.standard_normal(n)


@lru_cache(maxsize=64)
def _band(n: int, low: float, high: float) -> np.ndarray:
    """Gain of the band between two frequencies at the ``n // 2 + 1`` frequencies of ``n``
    samples."""
    f = np.maximum(np.fft.rfftfreq(n, 1 / RATE), 1e-3)
    return 1 / (1 + (low / f) ** 6) / (1 + (f / high) ** 6)


def _coloured(n: int, low: float, high: float, random: np.random.Generator) -> np.ndarray:
    """Noise between two frequencies (hertz), with edges half an octave wide; standard deviation
    1."""
    out = np.fft.irfft(np.fft.rfft(_noise(n, random)) * _band(n, low, high), n)
    return out / (out.std() + 1e-12)


def _slow(n: int, hertz: float, random: np.random.Generator) -> np.ndarray:
    """A smooth random curve around 0 that changes ``hertz`` times a second; standard deviation
    about 1."""
    knots = max(4, int(n / RATE * hertz) + 3)
    return np.interp(np.linspace(0, knots - 1, n), np.arange(knots), _noise(knots, random))


def _phase(frequency: np.ndarray | float, t: np.ndarray) -> np.ndarray:
    """Phase of an oscillator whose frequency moves: 2 pi times the running integral."""
    return 2 * np.pi * np.cumsum(np.broadcast_to(frequency, t.shape)) / RATE


def _voice(
    t: np.ndarray,
    f0: np.ndarray | float,
    formants: list[tuple[np.ndarray | float, float, float]],
    tilt: float = 1.0,
    harmonics: int = 40,
) -> np.ndarray:
    """Harmonics of a moving fundamental under resonances.

    ``formants`` are (centre, half width, strength) in hertz; harmonic ``k`` has source strength ``k
    ** -tilt``. Harmonics above the Nyquist frequency are left out.
    """
    n, step = len(t), 64
    frames = n // step + 2
    # The envelope moves slowly: it is computed every 64 samples and drawn as straight lines
    # between.
    at = np.minimum(np.arange(frames) * step, n - 1)
    f0 = np.broadcast_to(np.asarray(f0, dtype=np.float64), t.shape)
    lowest = f0[at].min()
    numbers = [k for k in range(1, harmonics + 1) if k * lowest <= 0.47 * RATE]
    f = np.array(numbers)[:, None] * f0[at]  # (harmonics, frames)
    gain = np.zeros_like(f)
    for centre, width, strength in formants:
        gain += strength / (1 + ((f - np.broadcast_to(centre, t.shape)[at]) / width) ** 2)
    gain = np.where(f < 0.47 * RATE, gain, 0.0) * np.array([k**-tilt for k in numbers])[:, None]
    rise, gain, ramp = gain[:, 1:] - gain[:, :-1], gain[:, :-1], np.arange(step)[:, None] / step
    phase = _phase(f0, t)

    def in_columns(
        wave: np.ndarray,
    ) -> np.ndarray:  # (n,) as (step, frames - 1): one straight line in every column
        return np.ascontiguousarray(np.pad(wave, (0, (frames - 1) * step - n)).reshape(-1, step).T)

    # sin(k p) = 2 cos(p) sin((k - 1) p) - sin((k - 2) p): no further sine has to be computed
    twice_cosine, sine = in_columns(2 * np.cos(phase)), in_columns(np.sin(phase))
    out = np.zeros_like(sine)
    rows = max(1, min(step, _AT_ONCE // frames))
    for top in range(
        0, step, rows
    ):  # all in place and little at a time, so that it stays near the processor
        part = slice(top, top + rows)
        here, twice, total, last = ramp[part], twice_cosine[part], out[part], sine[part]
        before, product, line = np.zeros_like(last), np.empty_like(last), np.empty_like(last)
        for k in range(len(numbers)):
            np.multiply(here, rise[k], out=line)
            np.add(line, gain[k], out=line)
            np.multiply(line, last, out=product)
            np.add(total, product, out=total)
            np.multiply(twice, last, out=product)
            np.subtract(product, before, out=before)
            last, before = before, last
    return out.T.reshape(-1)[:n]


def _strike(t: np.ndarray, when: float, partials: list[tuple[float, float, float]]) -> np.ndarray:
    """A struck thing: partials (hertz, strength, seconds to fall to 1/e) that begin at ``when``."""
    out = np.zeros_like(t)
    i = min(max(int(when * RATE), 0), len(t))
    for hertz, strength, tau in partials:
        if hertz < 0.47 * RATE:
            s = t[i : i + int(9 * tau * RATE) + 1] - when  # beyond, it is 80 dB down
            out[i : i + len(s)] += strength * np.exp(-s / tau) * np.sin(2 * np.pi * hertz * s)
    return out


def _burst(
    t: np.ndarray, when: float, tau: float, low: float, high: float, random: np.random.Generator
) -> np.ndarray:
    """A burst of coloured noise that begins at ``when`` and falls to 1/e in ``tau`` seconds."""
    out = np.zeros_like(t)
    i = min(max(int(when * RATE), 0), len(t))
    n = min(len(t) - i, int(8 * tau * RATE) + 64)
    if n > 0:
        s = np.arange(n) / RATE
        out[i : i + n] = (
            _coloured(n, low, high, random) * np.exp(-s / tau) * np.minimum(s / 0.001, 1.0)
        )
    return out


def _pulse(x: np.ndarray, attack: float = 0.15, release: float = 0.4) -> np.ndarray:
    """An envelope over x in 0...1: a smooth rise and fall, 0 outside."""
    rise = np.clip(x / attack, 0, 1)
    fall = np.clip((1 - x) / release, 0, 1)
    return np.sin(np.pi / 2 * rise) ** 2 * np.sin(np.pi / 2 * fall) ** 2


def _every(
    t: np.ndarray,
    period: float,
    random: np.random.Generator,
    wobble: float = 0.05,
    first: float = 0.02,
):
    """Start times of repeated events, each a little early or late."""
    count = max(1, int(np.ceil((t[-1] - first) / period)))
    return [first + period * (i + wobble * random.uniform(-1, 1) * (i > 0)) for i in range(count)]


# --- animals --------------------------------------------------------------------------------------


def _calls(
    t: np.ndarray,
    random: np.random.Generator,
    length: float,
    period: float,
    call: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """A call repeated: ``call(s, x)`` gets seconds since its start and the same from 0 to 1."""
    out = np.zeros_like(t)
    for when in _every(t, period, random):
        i, n = int(when * RATE), int(length * RATE)
        part = t[i : i + n] - when
        if len(part) > 8:
            out[i : i + n] += call(part, part / length)
    return out


@_effect
def bark(t, ratio, random):
    def call(s, x):
        f0 = (
            ratio
            * _curve(x, (0, 300), (0.2, 480), (1, 220))
            * (1 + 0.03 * _slow(len(s), 90, random))
        )
        body = _voice(
            s,
            f0,
            [(ratio * 750, 260, 1.0), (ratio * 1500, 400, 0.8), (ratio * 2700, 600, 0.3)],
            0.4,
        )
        return _pulse(x, 0.08, 0.7) * (body + 0.5 * _coloured(len(s), 500, 2500, random))

    return _calls(t, random, 0.2, 0.45, call)


@_effect
def meow(t, ratio, random):
    def call(s, x):
        f0 = ratio * _curve(x, (0, 480), (0.35, 720), (1, 430))
        first = ratio * _curve(x, (0, 450), (0.4, 1150), (1, 550))
        second = ratio * _curve(x, (0, 2500), (0.4, 1900), (1, 1100))
        return _pulse(x, 0.15, 0.4) * _voice(
            s, f0, [(first, 220, 1.0), (second, 300, 0.7), (3600, 500, 0.2)], 0.6
        )

    return _calls(t, random, 0.85, 1.1, call)


@_effect
def neigh(t, ratio, random):
    def call(s, x):
        shake = 1 + 0.10 * np.sin(2 * np.pi * 11 * s + random.uniform(0, 6))
        f0 = ratio * _curve(x, (0, 700), (0.15, 1150), (1, 380)) * shake
        body = _voice(s, f0, [(1300, 600, 1.0), (2600, 800, 0.7), (4200, 900, 0.3)], 0.5)
        return _pulse(x, 0.1, 0.5) * (body + 0.12 * _coloured(len(s), 1000, 5000, random))

    return _calls(t, random, 1.2, 1.6, call)


@_effect
def moo(t, ratio, random):
    def call(s, x):
        f0 = ratio * _curve(x, (0, 115), (0.25, 165), (0.8, 150), (1, 105))
        first = _curve(x, (0, 260), (0.3, 480), (1, 380))
        return _pulse(x, 0.12, 0.3) * _voice(
            s, f0, [(first, 120, 1.0), (760, 160, 0.5), (2100, 300, 0.1)], 0.7
        )

    return _calls(t, random, 1.35, 1.7, call)


@_effect
def oink(t, ratio, random):
    def call(s, x):
        f0 = ratio * _curve(x, (0, 110), (0.6, 190), (1, 90))
        rattle = 0.5 + 0.5 * np.sign(np.sin(2 * np.pi * 42 * s))
        body = _voice(s, f0, [(420, 130, 1.0), (1250, 250, 0.9)], 0.3) + 1.2 * _coloured(
            len(s), 350, 1500, random
        )
        return _pulse(x, 0.1, 0.5) * rattle * body

    return _calls(t, random, 0.22, 0.34, call)


@_effect
def baa(t, ratio, random):
    def call(s, x):
        shake = np.sin(2 * np.pi * 8.5 * s)
        f0 = ratio * 290 * (1 + 0.05 * shake)
        body = _voice(s, f0, [(820, 180, 1.0), (1350, 200, 0.8), (2900, 500, 0.5)], 0.3)
        return _pulse(x, 0.08, 0.25) * (0.6 + 0.4 * shake) * body

    return _calls(t, random, 1.0, 1.3, call)


@_effect
def crow(t, ratio, random):
    def call(s, x):
        steps = [
            (0, 500),
            (0.10, 700),
            (0.14, 520),
            (0.24, 760),
            (0.28, 620),
            (0.40, 980),
            (0.8, 900),
            (1, 480),
        ]
        loud = _curve(
            x,
            (0, 0),
            (0.03, 1),
            (0.12, 0.1),
            (0.16, 1),
            (0.26, 0.1),
            (0.32, 1),
            (0.85, 0.9),
            (1, 0),
        )
        f0 = ratio * _curve(x, *steps) * (1 + 0.02 * _slow(len(s), 60, random))
        return loud * _voice(s, f0, [(1100, 300, 1.0), (2300, 400, 0.9), (3500, 500, 0.4)], 0.2)

    return _calls(t, random, 1.5, 1.9, call)


@_effect
def hoot(t, ratio, random):
    def call(s, x):
        short, long = _pulse(x / 0.25, 0.3, 0.4), _pulse((x - 0.4) / 0.6, 0.2, 0.4)
        f0 = ratio * (345 + 12 * long)
        return (short + long) * (np.sin(_phase(f0, s)) + 0.08 * np.sin(2 * _phase(f0, s)))

    return _calls(t, random, 0.95, 1.25, call)


@_effect
def croak(t, ratio, random):
    out = np.zeros_like(t)
    for call in _every(t, 0.62, random):
        for i in range(14):
            out += _strike(
                t, call + i / 38, [(ratio * 820, 0.5 + i / 28, 0.006), (ratio * 1750, 0.5, 0.004)]
            )
    return out


@_effect
def trumpeting(t, ratio, random):
    def call(s, x):
        f0 = (
            ratio
            * _curve(x, (0, 330), (0.2, 560), (0.7, 620), (1, 420))
            * (1 + 0.03 * _slow(len(s), 70, random))
        )
        body = _voice(s, f0, [(1500, 700, 1.0), (3200, 900, 0.9), (5200, 1200, 0.5)], -0.1)
        return _pulse(x, 0.1, 0.25) * (body + 0.6 * _coloured(len(s), 1200, 6000, random))

    return _calls(t, random, 1.2, 1.6, call)


@_effect
def quack(t, ratio, random):
    def call(s, x):
        f0 = (
            ratio
            * _curve(x, (0, 190), (0.2, 250), (1, 170))
            * (1 + 0.02 * _slow(len(s), 100, random))
        )
        return _pulse(x, 0.06, 0.45) * _voice(
            s, f0, [(1150, 180, 1.0), (2050, 220, 0.8), (2900, 300, 0.5)], -0.2
        )

    return _calls(t, random, 0.24, 0.36, call)


@_effect
def roar(t, ratio, random):
    def call(s, x):
        f0 = (
            ratio * _curve(x, (0, 70), (0.3, 105), (1, 55)) * (1 + 0.06 * _slow(len(s), 60, random))
        )
        rough = 1 + 0.8 * np.sin(2 * np.pi * 27 * s + 2 * _slow(len(s), 12, random))
        body = _voice(s, f0, [(420, 200, 1.0), (900, 300, 0.6)], 0.2) + 1.5 * _coloured(
            len(s), 150, 1300, random
        )
        return _pulse(x, 0.2, 0.5) * rough * body

    return _calls(t, random, 1.6, 2.0, call)


@_effect
def howl(t, ratio, random):
    def call(s, x):
        f0 = (
            ratio
            * _curve(x, (0, 260), (0.25, 520), (0.75, 500), (1, 300))
            * (1 + 0.008 * np.sin(2 * np.pi * 5 * s))
        )
        return _pulse(x, 0.2, 0.35) * _voice(
            s, f0, [(560, 220, 1.0), (1100, 300, 0.25)], 0.8, harmonics=8
        )

    return _calls(t, random, 1.7, 2.1, call)


@_effect
def buzz(t, ratio, random):
    f0 = ratio * 225 * (1 + 0.03 * _slow(len(t), 6, random))
    loud = 0.75 + 0.25 * np.sin(2 * np.pi * 1.3 * t + random.uniform(0, 6))
    return loud * _voice(t, f0, [(700, 900, 1.0), (2400, 1500, 0.8)], 0.1, harmonics=30)


@_effect
def honk(t, ratio, random):
    def call(s, x):
        f0 = ratio * _curve(x, (0, 330), (0.15, 470), (0.5, 460), (0.55, 300), (1, 270))
        return _pulse(x, 0.05, 0.3) * _voice(s, f0, [(900, 220, 1.0), (1650, 260, 0.9)], 0.0)

    return _calls(t, random, 0.42, 0.7, call)


@_effect
def whale_song(t, ratio, random):
    x = t / t[-1]
    f0 = (
        ratio
        * _curve(x, (0, 130), (0.3, 420), (0.5, 300), (0.75, 620), (1, 180))
        * (1 + 0.01 * np.sin(2 * np.pi * 4 * t))
    )
    return _pulse(x, 0.2, 0.3) * (np.sin(_phase(f0, t)) + 0.35 * np.sin(2 * _phase(f0, t)))


@_effect
def hiss(t, ratio, random):
    loud = _pulse((t % 1.1) / 0.95, 0.15, 0.5)
    return loud * _coloured(len(t), min(4200 * ratio, 8000), 10500, random)


@_effect
def chirp(t, ratio, random):
    def call(s, x):
        f0 = (
            ratio
            * _curve(x, (0, 2600), (0.5, 4300), (1, 3300))
            * (1 + 0.02 * random.uniform(-1, 1))
        )
        return _pulse(x, 0.2, 0.4) * np.sin(_phase(f0, s))

    return _calls(t, random, 0.09, 0.16, call)


# --- vehicles and machines ------------------------------------------------------------------------


@_effect
def engine(t, ratio, random):
    f0 = (
        ratio
        * _curve(t / t[-1], (0, 38), (0.4, 70), (1, 62))
        * (1 + 0.01 * _slow(len(t), 20, random))
    )
    body = _voice(t, f0, [(110, 90, 1.0), (330, 160, 0.5)], 0.3, harmonics=20)
    return body + 0.12 * _coloured(len(t), 150, 900, random) * (1 + np.sin(_phase(f0, t)))


@_effect
def horn(t, ratio, random):
    beat = (t % 0.95 < 0.7).astype(float)
    gate = np.convolve(beat, np.ones(400) / 400, mode="same")
    formants = [(900, 800, 1.0), (2200, 900, 0.6)]
    return gate * (_voice(t, ratio * 311, formants, 0.4) + _voice(t, ratio * 392, formants, 0.4))


@_effect
def steam_whistle(t, ratio, random):
    x = t / t[-1]
    scoop = _curve(x, (0, 0.9), (0.12, 1.0), (0.9, 1.0), (1, 0.93))
    chord = sum(np.sin(_phase(ratio * f * scoop, t)) for f in (587, 740, 880, 1175))
    return _pulse(x, 0.1, 0.15) * (chord + 0.9 * _coloured(len(t), 800, 5000, random))


@_effect
def bicycle_bell(t, ratio, random):
    out = np.zeros_like(t)
    for ring in _every(t, 0.9, random):
        for i in range(6):
            partials = [
                (ratio * 2350, 1.0, 0.22),
                (ratio * 3890, 0.6, 0.14),
                (ratio * 6210, 0.3, 0.08),
            ]
            out += random.uniform(0.7, 1.0) * _strike(t, ring + i * 0.055, partials)
    return out


@_effect
def motorcycle(t, ratio, random):
    rev = 1 + 0.9 * np.clip(np.sin(2 * np.pi * 0.9 * t + random.uniform(-0.4, 0.4)), 0, 1)
    f0 = ratio * 85 * rev
    body = _voice(t, f0, [(260, 200, 1.0), (800, 400, 0.9), (2000, 900, 0.4)], 0.0)
    return (0.4 + 0.6 * (rev - 1)) * body * (1 + 0.5 * np.sin(0.5 * _phase(f0, t)))


@_effect
def jet(t, ratio, random):
    glide = ratio * _curve(t / t[-1], (0, 1.0), (1, 0.82))
    whine = np.sin(_phase(2700 * glide, t)) + 0.5 * np.sin(_phase(4050 * glide, t))
    return _coloured(len(t), 300, 3500, random) + 0.45 * whine


@_effect
def diesel_engine(t, ratio, random):
    out = 0.05 * _coloured(len(t), 60, 500, random)
    for knock in _every(t, 1 / (13 * ratio), random, wobble=0.04):
        level = random.uniform(0.6, 1.0)
        out += level * _strike(t, knock, [(92, 1.0, 0.03), (260, 0.7, 0.016), (1150, 0.3, 0.006)])
    return out


@_effect
def rocket(t, ratio, random):
    crackle = (random.random(len(t)) > 0.996) * _noise(len(t), random)
    swell = _curve(t / t[-1], (0, 0.15), (0.35, 1), (1, 0.75))
    return swell * (
        _coloured(len(t), 25, 260 * ratio, random)
        + 0.5 * np.convolve(crackle, np.hanning(9), "same")
    )


@_effect
def siren(t, ratio, random):
    sweep = 0.5 - 0.5 * np.cos(2 * np.pi * 0.85 * t + random.uniform(-0.5, 0.5))
    return _voice(
        t, ratio * (600 + 850 * sweep), [(1000, 900, 1.0), (3000, 1200, 0.4)], 0.9, harmonics=8
    )


@_effect
def machine(t, ratio, random):
    out = 0.25 * _voice(t, ratio * 50, [(100, 80, 1.0), (300, 100, 0.3)], 0.5, harmonics=10)
    for i, beat in enumerate(_every(t, 0.36, random, wobble=0.02)):
        clank = [(ratio * 640, 0.8, 0.05), (ratio * 1490, 0.6, 0.05), (ratio * 2730, 0.4, 0.03)]
        out += (
            _strike(t, beat, clank)
            if i % 2 == 0
            else 0.35 * _burst(t, beat, 0.09, 2500, 8000, random)
        )
    return out


# --- weather --------------------------------------------------------------------------------------


@_effect
def thunder(t, ratio, random):
    out = 1.4 * _burst(t, 0.03, 0.05, 300, 5000, random)
    roll = (
        _coloured(len(t), 25, 150 * ratio, random)
        * np.exp(-t / 0.9)
        * np.clip((t - 0.05) / 0.1, 0, 1)
    )
    return out + 1.8 * roll * (1 + 0.6 * _slow(len(t), 7, random))


@_effect
def wind(t, ratio, random):
    slow = np.tanh(_slow(len(t), 1.6, random))
    low = _coloured(len(t), 180, 420 * ratio, random)
    high = _coloured(len(t), 500 * ratio, 900 * ratio, random)
    return (1 - slow) * low + (1 + slow) * 0.8 * high


# --- tools and things -----------------------------------------------------------------------------


@_effect
def hammering(t, ratio, random):
    out = np.zeros_like(t)
    for hit in _every(t, 0.42, random):
        out += _strike(
            t,
            hit,
            [(ratio * 1870, 0.8, 0.05), (ratio * 3310, 0.6, 0.04), (ratio * 5120, 0.4, 0.02)],
        )
        out += _strike(t, hit, [(170, 1.0, 0.03)]) + 0.5 * _burst(t, hit, 0.008, 500, 9000, random)
    return out


@_effect
def sawing(t, ratio, random):
    stroke = (t * 1.9) % 1
    push = stroke < 0.5
    loud = _pulse(stroke * 2 % 1, 0.25, 0.3) * np.where(push, 1.0, 0.7)
    teeth = 0.5 + 0.5 * np.sign(np.sin(_phase(np.where(push, 95.0, 70.0) * ratio, t)))
    low, high = _coloured(len(t), 900, 2200, random), _coloured(len(t), 2200, 5200, random)
    return loud * teeth * np.where(push, high, low)


@_effect
def jingle(t, ratio, random):
    out = np.zeros_like(t)
    for when in _every(t, 0.055, random, wobble=0.9):
        f = ratio * random.uniform(4200, 8600)
        out += random.uniform(0.2, 1.0) * _strike(t, when, [(f, 1.0, 0.03), (1.37 * f, 0.5, 0.02)])
    return out


@_effect
def sweeping(t, ratio, random):
    stroke = (t * 1.25) % 1
    return _pulse(stroke / 0.6, 0.35, 0.45) * _coloured(len(t), 1400 * ratio, 4800 * ratio, random)


@_effect
def chopping(t, ratio, random):
    out = np.zeros_like(t)
    for hit in _every(t, 0.62, random):
        out += 1.5 * _strike(t, hit, [(ratio * 125, 1.0, 0.05), (ratio * 310, 0.7, 0.03)])
        out += 0.9 * _burst(t, hit, 0.012, 600, 6000, random)
        out += 0.25 * _burst(t, hit + 0.05, 0.03, 1500, 5000, random)  # the wood cracks
    return out


@_effect
def ticking(t, ratio, random):
    out = np.zeros_like(t)
    for i, when in enumerate(_every(t, 0.25, random, wobble=0.005)):
        f = ratio * (2900 if i % 2 == 0 else 2250)
        out += _strike(t, when, [(f, 1.0, 0.006), (1.9 * f, 0.4, 0.003)])
    return out


@_effect
def shutter(t, ratio, random):
    out = np.zeros_like(t)
    for when in _every(t, 0.8, random, wobble=0.02):
        out += _burst(t, when, 0.006, 1500 * ratio, 9000, random) + 0.8 * _burst(
            t, when + 0.07, 0.01, 700, 5000, random
        )
        motor = (t > when + 0.12) & (t < when + 0.38)
        out += 0.12 * motor * np.sign(np.sin(2 * np.pi * 190 * ratio * t))
    return out


@_effect
def static(t, ratio, random):
    crackle = (random.random(len(t)) > 0.9985) * _noise(len(t), random) * 14
    whistle = np.sin(_phase(ratio * (1500 + 500 * _slow(len(t), 2, random)), t))
    return _noise(len(t), random) + crackle + 0.7 * whistle


@_effect
def bounce(t, ratio, random):
    out, when, gap = np.zeros_like(t), 0.03, random.uniform(0.5, 0.58)
    for i in range(12):
        if when > t[-1]:
            break
        out += 0.8**i * _strike(
            t, when, [(ratio * 105, 1.0, 0.06), (ratio * 290, 0.6, 0.03), (ratio * 950, 0.3, 0.01)]
        )
        when, gap = when + gap, gap * 0.76
    return out


@_effect
def beep(t, ratio, random):
    tones = ratio * np.array([1050, 1400, 840, 1250])[random.permutation(4)]
    step = (t / 0.17).astype(int)
    on = (t / 0.17) % 1 < 0.75
    f = tones[step % 4]
    return on * np.tanh(3 * np.sin(2 * np.pi * f * t))


@_effect
def pop(t, ratio, random):
    out = np.zeros_like(t)
    for when in _every(t, 0.7, random):
        i = int(when * RATE)
        s = t[i:] - when
        out[i:] += np.exp(-s / 0.025) * np.sin(
            2 * np.pi * ratio * (900 * s - 4000 * s**2 * (s < 0.1))
        )
        out += 1.2 * _burst(t, when, 0.004, 800, 9000, random)
    return out


@_effect
def knock(t, ratio, random):
    out = np.zeros_like(t)
    for start in _every(t, 1.15, random):
        for i in range(3):
            partials = [
                (ratio * 185, 1.0, 0.035),
                (ratio * 430, 0.8, 0.022),
                (ratio * 790, 0.4, 0.012),
            ]
            out += random.uniform(0.8, 1) * _strike(t, start + 0.19 * i, partials)
    return out


@_effect
def kettle(t, ratio, random):
    x = t / t[-1]
    f = (
        ratio
        * _curve(x, (0, 1500), (0.4, 2350), (1, 2480))
        * (1 + 0.004 * np.sin(2 * np.pi * 13 * t))
    )
    loud = _curve(x, (0, 0.05), (0.5, 1), (1, 1))
    return loud * (np.sin(_phase(f, t)) + 0.25 * np.sin(2 * _phase(f, t))) + 0.35 * _coloured(
        len(t), 700, 6000, random
    )


@_effect
def splash(t, ratio, random):
    out = np.zeros_like(t)
    for when in _every(t, 0.85, random):
        out += _burst(t, when, 0.12, 500, 7000, random)
        for _ in range(9):  # bubbles: each rises as it shrinks
            start = when + 0.1 + random.uniform(0, 0.5)
            i = int(start * RATE)
            s = t[i:] - start
            f = ratio * random.uniform(500, 1300)
            out[i:] += 0.7 * np.exp(-s / 0.03) * np.sin(2 * np.pi * f * (s + 3 * s**2 * (s < 0.2)))
    return out


def make(name: str, seconds: float, ratio: float, random: np.random.Generator) -> np.ndarray:
    """One take of an effect: float32 ``(round(seconds * RATE),)`` with its peak at 1."""
    t = np.arange(round(seconds * RATE)) / RATE
    with np.errstate(over="ignore", invalid="ignore"):
        wave = EFFECTS[name](t, ratio, random)
    edge = min(len(t) // 4, 220)  # no click at the cut
    wave[-edge:] *= np.linspace(1, 0, edge)
    return (wave / (np.abs(wave).max() + 1e-12)).astype(np.float32)
