"""Notes of sampled instruments, and the sounds that the things of the world make.

A thing sounds in one of three ways (``cast.Thing.sound``): as a note of a General MIDI instrument,
as a drum, or as an effect that is synthesised from scratch (``_effects``). The data sets
(``rows.sounds``) play these over pitch, loudness, length, reverberation and noise.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from mmtutor.world import _effects, _midi, cast
from mmtutor.world._dice import rng
from mmtutor.world.speech import PEAK, check_sample_rate, level, resample

INSTRUMENTS: tuple[str, ...] = (*_midi.ALIASES, *_midi.PROGRAMS)
"""Names that ``play_note`` knows: everyday ones first, then the 128 of General MIDI."""


def _check_whole(name: str, value: int, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be a whole number from {low} to {high}, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must lie between {low} and {high}, not {value}")
    return int(value)


def _check_seconds(seconds: float, high: float = 30.0) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float, np.integer, np.floating)):
        raise TypeError(f"seconds must be a number, not {seconds!r}")
    if not (math.isfinite(seconds) and 0.05 <= seconds <= high):
        raise ValueError(f"seconds must lie between 0.05 and {high:g}, not {seconds}")
    return float(seconds)


def _fit(wave: np.ndarray, length: int) -> np.ndarray:
    """Exactly ``length`` samples: cut or padded with silence; a cut is faded, so that it does not
    click."""
    if len(wave) < length:
        return np.pad(wave, (0, length - len(wave)))
    out = np.array(wave[:length], dtype=np.float32)
    fade = min(length, 1 + length // 50)
    out[length - fade :] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
    return out


def frequency(pitch: float) -> float:
    """Hertz of a MIDI key in equal temperament: key 69 is A4, 440 Hz, and 12 keys are an octave."""
    return 440.0 * 2.0 ** ((pitch - 69) / 12)


def play_note(
    instrument: str = "piano",
    pitch: int = 60,
    seconds: float = 1.0,
    velocity: int = 100,
    sample_rate: int = 22050,
) -> np.ndarray:
    """Play one note of a sampled instrument; about 20 milliseconds the first time, less when it is
    repeated.

    Args:
        instrument: one of ``INSTRUMENTS``, such as "piano", "violin" or "trumpet".
        pitch: MIDI key 0-127; 60 is middle C (``frequency`` gives hertz).
        seconds: length of the wave, 0.05 to 30; the key is released a little before the end.
        velocity: how hard the key is struck, 1-127; harder is louder.
        sample_rate: samples a second, 4,000 to 48,000.

    Returns:
        float32 ``(round(seconds * sample_rate),)`` in [-1, 1].

    Raises:
        ValueError: an unknown instrument or a number out of range.
        TypeError: an argument of the wrong type.
    """
    program = _midi.program_number(instrument)
    pitch = _check_whole("pitch", pitch, 0, 127)
    velocity = _check_whole("velocity", velocity, 1, 127)
    seconds = _check_seconds(seconds)
    sample_rate = check_sample_rate(sample_rate)
    held = round(max(seconds - 0.12, 0.7 * seconds), 3)
    rendered = _midi.render(program, pitch, velocity, held, round(seconds - held + 0.05, 3))
    wave = _fit(resample(rendered, _midi.RENDER_RATE, sample_rate), round(seconds * sample_rate))
    peak = float(np.abs(wave).max())
    return wave * np.float32(PEAK / peak) if peak > PEAK else wave


# --- things ---------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def sounding() -> tuple[cast.Thing, ...]:
    """The things of the data set ``sounds``: one for every different sound of the cast, in the
    cast's order.

    (A church sounds like a bell and a basketball like a ball; the data set has the bell and the
    ball.)
    """
    first: dict[str, cast.Thing] = {}
    for thing in cast.things(sounding=True):
        first.setdefault(str(thing.sound), thing)
    return tuple(first.values())


def _drumming(key: int, velocity: int, seconds: float, random: np.random.Generator) -> np.ndarray:
    """A simple rhythm on one drum, at ``RENDER_RATE``."""
    hit = _midi.render(0, key, velocity, 0.1, 0.4, percussion=True)
    out = np.zeros(round(seconds * _midi.RENDER_RATE) + len(hit), dtype=np.float32)
    beat = random.uniform(0.22, 0.3)
    for i in range(math.ceil(seconds / beat * 2)):
        if i % 2 == 0 or random.random() < 0.35:
            start = round(i * beat / 2 * _midi.RENDER_RATE)
            if start < out.size - len(hit):
                out[start : start + len(hit)] += hit * np.float32(random.uniform(0.6, 1.0))
    return out


def perform(
    sound: str,
    semitones: int,
    seconds: float,
    velocity: int,
    sample_rate: int,
    random: np.random.Generator,
) -> np.ndarray:
    """One performance of a thing's sound.

    Args:
        sound: ``cast.Thing.sound``, such as "note:40", "drum:38" or "effect:bark".
        semitones: pitch against the thing's own.
        seconds: length of the wave.
        velocity: how hard a key or drum is struck, 1-127.
        sample_rate: samples a second.
        random: where its accidents come from.

    Returns:
        float32 ``(round(seconds * sample_rate),)``, peak 1.
    """
    kind, _, value = sound.partition(":")
    ratio = 2.0 ** (semitones / 12)
    if kind == "note":
        held = round(max(seconds - 0.12, 0.7 * seconds), 2)
        wave = _midi.render(
            int(value), 60 + semitones, velocity, held, round(seconds - held + 0.05, 2)
        )
        rate = _midi.RENDER_RATE
    elif kind == "drum":
        # Played back faster, a drum is a smaller drum; steps of 500 keep the resampling filter
        # small.
        wave, rate = _drumming(int(value), velocity, ratio * seconds, random), _midi.RENDER_RATE
        rate = 500 * round(rate * ratio / 500)
    else:
        wave, rate = _effects.make(value, seconds, ratio, random), _effects.RATE
    wave = _fit(resample(wave, rate, sample_rate), round(seconds * sample_rate))
    return wave / np.float32(np.abs(wave).max() + 1e-9)


def play_thing(
    name: str, seconds: float = 1.5, semitones: int = 0, sample_rate: int = 22050, take: int = 0
) -> np.ndarray:
    """Let a thing of the cast sound.

    Args:
        name: an English name of the cast, such as "dog", "violin" or "train".
        seconds: length of the wave, 0.05 to 30.
        semitones: pitch against the thing's own, -12 to 12.
        sample_rate: samples a second, 4,000 to 48,000.
        take: another take has other accidents (when exactly the dog barks).

    Returns:
        float32 ``(round(seconds * sample_rate),)`` in [-1, 1].

    Raises:
        ValueError: no such thing, a thing that makes no sound, or a number out of range.
        TypeError: an argument of the wrong type.
    """
    thing = cast.thing(name)
    if not thing.sounds:
        some = ", ".join(one.name for one in sounding()[:12])
        raise ValueError(f"a {name} makes no sound of its own; among those that do are {some}")
    semitones = _check_whole("semitones", semitones, -12, 12)
    take = _check_whole("take", take, 0, 2**31)
    seconds = _check_seconds(seconds)
    sample_rate = check_sample_rate(sample_rate)
    random = rng("play_thing", name, take)
    return np.float32(PEAK) * perform(
        str(thing.sound), semitones, seconds, 100, sample_rate, random
    )


def reverberate(
    wave: np.ndarray, t60: float, sample_rate: int, random: np.random.Generator
) -> np.ndarray:
    """A wave as it sounds in a room, of the same length.

    The room is the usual model of late reverberation: noise that falls by 60 dB in ``t60`` seconds,
    after the direct sound.

    Args:
        wave: ``(T,)``.
        t60: reverberation time in seconds; 0 is no room at all.
        sample_rate: samples a second.
        random: where the room comes from.
    """
    if t60 <= 0:
        return wave
    from scipy.fft import irfft, next_fast_len, rfft

    s = np.arange(1, min(len(wave), round(t60 * sample_rate))) / sample_rate
    tail = random.standard_normal(len(s)) * 10 ** (-3 * s / t60)
    # Not np.linalg.norm: on long waves it wakes a pool of BLAS threads, which then spin on the core
    # of the second process.
    energy = float(np.square(tail).sum())
    room = np.concatenate([[1.0], tail * (0.6 / (math.sqrt(energy) + 1e-9))])
    n = next_fast_len(len(wave) + len(room) - 1, real=True)
    return irfft(rfft(wave, n) * rfft(room, n), n)[: len(wave)].astype(np.float32)


# --- what disturbs --------------------------------------------------------------------------------

THIRD_SOURCES: tuple[str, ...] = ("noise", "music")
"""What may be heard besides two voices."""

_DEGREES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
_PROGRESSIONS = (
    (0, 4, 5, 3),
    (0, 5, 3, 4),
    (5, 3, 0, 4),
    (0, 3, 4, 0),
)  # steps of the scale on which chords stand
_CHORDS, _MELODIES = (
    ("piano", "guitar", "harp", "strings", "organ"),
    ("flute", "violin", "trumpet", "saxophone"),
)


def _music(seconds: float, random: np.random.Generator) -> np.ndarray:
    """A piece of four parts (bass, broken chords, a melody, drums) at ``_midi.RENDER_RATE``."""
    scale = _DEGREES[("major", "minor")[random.integers(2)]]
    tonic = int(random.integers(-5, 7))
    progression = _PROGRESSIONS[random.integers(len(_PROGRESSIONS))]
    chords, melody = (
        _midi.program_number(part[random.integers(len(part))]) for part in (_CHORDS, _MELODIES)
    )
    beat = 60.0 / float(random.uniform(90.0, 132.0))

    def key(step: int, octave: int) -> int:
        return 12 * (octave + step // 7) + tonic + scale[step % 7]

    notes: list[_midi.Note] = []
    place = 7  # of the melody, in steps of the scale
    for i in range(math.ceil(seconds / beat)):
        now, root = i * beat, progression[i // 4 % 4]
        if i % 2 == 0:
            notes.append(_midi.Note(32, key(root, 3), 95, now, now + 1.8 * beat))
        notes.append(_midi.Note(0, 36 if i % 2 == 0 else 38, 70, now, now + 0.1, percussion=True))
        for half, step in enumerate((0, 2) if i % 2 == 0 else (4, 2)):
            start = now + half * beat / 2
            notes.append(_midi.Note(chords, key(root + step, 5), 85, start, start + 0.9 * beat))
        for start, length in ((0.0, 1.0),) if random.random() < 0.5 else ((0.0, 0.5), (0.5, 0.5)):
            place = min(max(place + int(random.integers(-2, 3)), 3), 12)
            notes.append(
                _midi.Note(
                    melody,
                    key(place, 5),
                    100,
                    now + start * beat,
                    now + (start + 0.95 * length) * beat,
                )
            )
    return _midi.render_score(notes, seconds)


def third_source(kind: str, seconds: float, sample_rate: int = 16000, seed: int = 0) -> np.ndarray:
    """Noise or music, to be heard besides two voices.

    Args:
        kind: "noise" (pink: as much power in every octave, from 50 hertz) or "music" (a small band
            of sampled instruments plays chords, a melody and drums).
        seconds: length, 0.05 to 30.
        sample_rate: samples a second, 4,000 to 48,000.
        seed: a whole number from 0; another seed is another noise or piece.

    Returns:
        float32 ``(round(seconds * sample_rate),)`` in [-1, 1], as loud as a spoken wave: root mean
        square ``speech.LOUDNESS``, less where a peak would pass ``speech.PEAK``. The same arguments
        give the same bytes.

    Raises:
        ValueError: an unknown kind or a number out of range.
        TypeError: an argument of the wrong type.
    """
    if kind not in THIRD_SOURCES:
        raise ValueError(f"unknown kind {kind!r}; there are {', '.join(map(repr, THIRD_SOURCES))}")
    seconds, sample_rate = _check_seconds(seconds), check_sample_rate(sample_rate)
    random = rng("third source", kind, _check_whole("seed", seed, 0, 2**63 - 1))
    length = round(seconds * sample_rate)
    if kind == "music":
        return level(
            _fit(resample(_music(seconds, random), _midi.RENDER_RATE, sample_rate), length)
        )
    f = np.fft.rfftfreq(length, 1 / sample_rate)
    spectrum = np.fft.rfft(random.standard_normal(length))
    spectrum[f < 50.0] = 0.0
    return level(np.fft.irfft(spectrum / np.sqrt(np.maximum(f, 50.0)), length))
