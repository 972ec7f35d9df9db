"""Rows of ``faces`` and ``talking_faces``: the speakers' faces, still and talking, with voice and
truth."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from mmtutor.world import faces, speech, voices
from mmtutor.world._dice import rng
from mmtutor.world._store import Builder
from mmtutor.world.rows.voices import trait_features, traits

if TYPE_CHECKING:
    import datasets

PIXELS = (64, 48, 96, 128)
LEAST_SPOKEN = 5.0
"""Seconds that somebody in ``talking_faces`` speaks at least, of which a clip shows a part."""

#: The columns that hold a :class:`faces.Face`, but for its spots.
_FACE_NUMBERS = (*faces.TIED, *faces.INDEPENDENT[:3])
_FACE_KINDS = faces.INDEPENDENT[3:-1]
_LOOK_NUMBERS = (
    *("yaw", "tilt", "roll", "scale", "light", "contrast", "brightness"),
    *("smile", "brows", "eyes", "mouth", "roundness"),
)


def _columns(face: faces.Face) -> dict[str, float | str | bool]:
    return {name: getattr(face, name) for name in (*_FACE_NUMBERS, *_FACE_KINDS, "spots")}


def _column_features() -> dict[str, datasets.Value]:
    import datasets

    return {
        **{name: datasets.Value("float32") for name in _FACE_NUMBERS},
        **{name: datasets.Value("string") for name in _FACE_KINDS},
        "spots": datasets.Value("bool"),
    }


def _in_turn(name: str, split: str, seed: int, index: int) -> voices.Speaker:
    """Every run of as many samples as there are speakers shows each of them once, in an order of
    its own."""
    people = voices.speakers(split)
    block, place = divmod(index, len(people))
    return people[int(rng(name, split, seed, "order", block).permutation(len(people))[place])]


@lru_cache(maxsize=1024)
def _canonical(name: str, pixels: int) -> np.ndarray:
    return faces.draw_face(name, faces.CANONICAL, pixels)


def _build_faces(
    split: str, indices: range, seed: int, pixels: int, seconds: int = 0, sample_rate: int = 16000
) -> dict[str, list]:
    """The columns of these faces; with ``seconds`` above 0 also that much of the speaker's voice,
    one wave a row."""
    rows = []
    for index in indices:
        person = _in_turn("faces", split, seed, index)
        drawn, look = faces.face(person), faces.random_look(rng("faces", split, seed, index))
        row = {
            "image": faces.draw_face(drawn, look, pixels),
            "canonical": _canonical(person.name, pixels),
            **traits(person),
            **_columns(drawn),
            **{f"look_{name}": getattr(look, name) for name in _LOOK_NUMBERS},
        }
        if seconds:
            text, wave, _ = _utterance(
                person, rng("faces", "voice", split, seed, index, seconds), sample_rate, seconds
            )
            row |= {
                "wave": speech.to_int16(wave[: seconds * sample_rate]),
                "sample_rate": sample_rate,
                "text": text,
            }
        rows.append(row)
    return {key: [row[key] for row in rows] for key in rows[0]}


def _face_features(pixels: int, seconds: int = 0, sample_rate: int = 16000) -> datasets.Features:
    import datasets

    features = {
        "image": datasets.Array3D((pixels, pixels, 3), "uint8"),
        "canonical": datasets.Array3D((pixels, pixels, 3), "uint8"),
        **trait_features(),
        **_column_features(),
        **{f"look_{name}": datasets.Value("float32") for name in _LOOK_NUMBERS},
    }
    if seconds:
        features |= {
            "wave": datasets.Sequence(datasets.Value("int16"), length=seconds * sample_rate),
            "sample_rate": datasets.Value("int32"),
            "text": datasets.Value("string"),
        }
    return datasets.Features(features)


def _gentle_look(random: np.random.Generator) -> faces.Look:
    """A look for a clip: a little turned, in some light, with no expression of its own."""
    return faces.Look(
        yaw=float(random.uniform(-12, 12)),
        tilt=float(random.uniform(-5, 5)),
        roll=float(random.uniform(-6, 6)),
        light=float(random.uniform(0, 180)),
        contrast=float(random.uniform(0, 0.6)),
        brightness=float(random.uniform(0.85, 1.1)),
        smile=float(random.uniform(-0.3, 0.6)),
        backdrop=tuple(int(channel) for channel in random.integers(150, 226, 3)),
    )


def _utterance(
    person: voices.Speaker, random: np.random.Generator, sample_rate: int, least: float
) -> tuple[str, np.ndarray, list[speech.Phoneme]]:
    """As many sentences as it takes to speak for ``least`` seconds, without the silence behind the
    last."""
    sentences = [voices.sentence(random) for _ in range(math.ceil(least / 2))]
    while True:
        text = " ".join(sentences)
        wave, phonemes = speech.utter(text, person.settings(), sample_rate)
        if phonemes[-1].symbol == speech.PAUSE:
            phonemes = phonemes[:-1]
        if phonemes[-1].end >= least:
            return text, wave, phonemes
        sentences.append(voices.sentence(random))


def _build_talking(
    split: str, indices: range, seed: int, pixels: int, sample_rate: int, start: str, seconds: int
) -> dict[str, list]:
    """The columns of these clips.

    ``text`` is the whole utterance, ``begins`` the time in it (s) at which the clip begins, a whole
    frame; ``starts`` and ``ends`` of the phonemes are seconds of the clip.
    """
    per_second = faces.FRAMES_PER_SECOND
    frames, length = seconds * per_second, seconds * sample_rate
    rows = []
    for index in indices:
        person = _in_turn("talking_faces", split, seed, index)
        if start == "anywhere":
            random = rng("talking_faces", start, split, seed, index, seconds)
            text, wave, phonemes = _utterance(
                person, random, sample_rate, max(LEAST_SPOKEN, seconds + 3.0)
            )
            first = int(random.integers(math.floor((phonemes[-1].end - seconds) * per_second) + 1))
        else:
            random = rng("talking_faces", split, seed, index)
            text = " ".join(
                voices.sentence(random) for _ in range(max(2, seconds))
            )  # long enough to fill the clip
            wave, phonemes = speech.utter(text, person.settings(), sample_rate)
            phonemes = [
                one._replace(end=min(one.end, float(seconds)))
                for one in phonemes
                if one.start < seconds
            ]
            first = 0
        begins = first / per_second
        # from the whole utterance: at the clip's edges, lips know what was and what will be said
        track = faces.mouth_track(phonemes, first + frames)[first:]
        wave = wave[first * sample_rate // per_second :][:length]
        wave = np.pad(wave, (0, length - len(wave)))
        heard = [
            one._replace(
                start=max(one.start - begins, 0.0), end=min(one.end - begins, float(seconds))
            )
            for one in phonemes
            if one.start < begins + seconds and one.end > begins
        ]
        look = _gentle_look(random)
        rows.append(
            {
                "frames": faces.draw_talking(person, track, look, pixels, first),
                "wave": speech.to_int16(wave),
                "sample_rate": sample_rate,
                "text": text,
                "begins": begins,
                **traits(person),
                **_columns(faces.face(person)),
                "opening": track[:, 0],
                "roundness": track[:, 1],
                "phonemes": [one.symbol for one in heard],
                "starts": [one.start for one in heard],
                "ends": [one.end for one in heard],
            }
        )
    return {key: [row[key] for row in rows] for key in rows[0]}


def _talking_features(pixels: int, sample_rate: int, start: str, seconds: int) -> datasets.Features:
    import datasets

    frames = seconds * faces.FRAMES_PER_SECOND

    def many(kind: str, length: int = -1) -> datasets.Sequence:
        return datasets.Sequence(datasets.Value(kind), length=length)

    return datasets.Features(
        {
            "frames": datasets.Array4D((frames, pixels, pixels, 3), "uint8"),
            "wave": many("int16", seconds * sample_rate),
            "sample_rate": datasets.Value("int32"),
            "text": datasets.Value("string"),
            "begins": datasets.Value("float32"),
            **trait_features(),
            **_column_features(),
            "opening": many("float32", frames),
            "roundness": many("float32", frames),
            "phonemes": many("string"),
            "starts": many("float32"),
            "ends": many("float32"),
        }
    )


DATASETS: dict[str, Builder] = {
    "faces": Builder(
        "faces",
        2,
        _build_faces,
        _face_features,
        {"train": 2400, "test": 600},
        {"train": 100_000, "test": 20_000},
        "Drawn faces of the speakers, varied in pose, light and expression, each with its canonical picture",
        options={
            "pixels": PIXELS,
            "seconds": (
                0,
                2,
                4,
                5,
                6,
            ),  # how much of the speaker's voice comes with a face; 0 is none
            "sample_rate": (16000, 8000),
        },
        packages=("espeakng-loader", "pillow"),
    ),
    "talking_faces": Builder(
        "talking_faces",
        2,
        _build_talking,
        _talking_features,
        {"train": 480, "test": 120},
        {"train": 20_000, "test": 5000},
        "A speaker's voice and face for some seconds, at 25 frames a second; the mouth follows the phonemes",
        options={
            "pixels": (48, 64, 96),
            "sample_rate": (16000, 8000),
            "start": ("anywhere", "beginning"),  # where in the utterance a clip begins
            "seconds": (2, 1, 3, 4),
        },
        chunk=40,
        packages=("espeakng-loader", "pillow"),
    ),
}
