"""Notes of sampled instruments, and the sounds that the things of the world make."""

from __future__ import annotations

import math

import numpy as np

from mmtutor.world import _midi
from mmtutor.world.speech import PEAK, check_sample_rate, resample

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
    """Exactly ``length`` samples: cut or padded with silence; a cut is faded, so that it does not click."""
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
    instrument: str = "piano", pitch: int = 60, seconds: float = 1.0, velocity: int = 100, sample_rate: int = 22050
) -> np.ndarray:
    """Play one note of a sampled instrument; about 20 milliseconds the first time, less when it is repeated.

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
