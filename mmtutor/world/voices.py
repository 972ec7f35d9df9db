"""The speakers of the world, and what they say.

A speaker is a point in a space with known axes: pitch in hertz, resonances (the length of the vocal
tract), words a minute, liveliness, accent, timbre. All are drawn once and for all: the population
is part of the world, and a data set's seed chooses who speaks and what, never who exists. The first
``TRAIN_SPEAKERS`` are heard in training only, the others in testing only.

How a speaker is made from eSpeak NG: the *timbre* is one of its voice variants; the *resonances*
are moved by playing the synthesiser's output faster or slower, as in a shorter or longer vocal
tract; pitch and speed are set so that they come out as wanted after that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mmtutor.world import speech as _speech
from mmtutor.world._dice import rng
from mmtutor.world.cast import SCENIC

TRAIN_SPEAKERS, TEST_SPEAKERS = 480, 120

ACCENTS: dict[str, str] = {
    "American": "gmw/en-us",
    "British": "gmw/en",
    "Caribbean": "gmw/en-029",
    "Scottish": "gmw/en-gb-scotland",
}
"""Accents of English and their eSpeak NG voices. Korean is spoken with one accent."""


@dataclass(frozen=True)
class _Timbre:
    variant: str  # eSpeak NG voice variant; empty for none
    pitch: float  # hertz: median over a sentence at pitch 50
    lift: float  # natural logarithm by which the median rises when the range of the melody doubles
    formants: float  # mean scale of its first three formants, from the variant's file
    high: bool  # made for pitches above _HIGH


TIMBRES: dict[str, _Timbre] = {
    "plain": _Timbre("", 102, 0.085, 1.0, False),
    "broad": _Timbre("+m2", 101, 0.041, 1.017, False),
    "soft": _Timbre("+m6", 102, 0.084, 1.0, False),
    "dark": _Timbre("+m7", 107, 0.112, 1.0, False),
    "light": _Timbre("+f1", 181, 0.086, 1.117, True),
    "warm": _Timbre("+f2", 197, 0.108, 1.10, True),
    "clear": _Timbre("+f4", 181, 0.064, 1.227, True),
    "airy": _Timbre("+f5", 206, 0.082, 1.10, True),
}

PITCH_CENTRE, PITCH_SPREAD = 145.0, 0.42  # hertz; octaves for one standard deviation
FORMANT_CENTRE, FORMANT_SPREAD = 1.02, 0.09  # natural logarithm for one standard deviation
RATE_CENTRE, RATE_SPREAD = 160.0, 0.15  # words a minute; octaves
RANGE_CENTRE, RANGE_SPREAD = 50.0, 0.35  # eSpeak NG's pitch range; octaves
PITCH_FORMANT_CORRELATION = 0.5  # small bodies have both: short vocal folds and short vocal tracts

_HIGH = 140.0  # hertz
# Measured: the natural logarithm by which 50 steps of eSpeak NG's pitch setting raise the median,
# above and below 50.
_STEPS_UP, _STEPS_DOWN = 0.523, 0.451
_PLAYBACK_RATES = range(
    16500, 28001, 500
)  # steps of 500 keep the resampling ratios, and so the filters, small


@dataclass(frozen=True)
class Speaker:
    """One speaker of the world.

    Attributes:
        name: a made-up name that says nothing about its bearer.
        index: place in ``speakers()``.
        split: "train" or "test".
        pitch: median fundamental frequency, hertz.
        formants: the scale of all resonances; 1 is the plain voice of eSpeak NG, more is a shorter
            vocal tract.
        rate: words a minute.
        liveliness: extent of the speech melody; 1 is the plain voice's.
        accent: key of ``ACCENTS``.
        timbre: key of ``TIMBRES``.
        z: the four numbers behind the above, each with mean 0 and standard deviation 1 over the
            population: ``{"pitch", "formants", "rate", "liveliness"}``.
    """

    name: str
    index: int
    split: str
    pitch: float
    formants: float
    rate: float
    liveliness: float
    accent: str
    timbre: str
    z: tuple[tuple[str, float], ...]
    _playback: int
    _pitch_setting: int

    def standard(self, trait: str) -> float:
        """The speaker's ``trait`` in standard deviations from the population's mean."""
        return dict(self.z)[trait]

    def settings(self, language: str = "en") -> _speech.Settings:
        """What eSpeak NG has to be told for this speaker."""
        voice = ACCENTS[self.accent] if language == "en" else _speech.LANGUAGES[language]
        return _speech.Settings(
            voice=voice + TIMBRES[self.timbre].variant,
            rate=round(self.rate * _speech.NATIVE_RATE / self._playback),
            pitch=self._pitch_setting,
            range=round(RANGE_CENTRE * self.liveliness),
            playback=self._playback,
        )


def _tune(
    timbre: _Timbre, pitch: float, formants: float, liveliness: float
) -> tuple[int, int, float, float]:
    """(playback rate, pitch setting, pitch, formants) that come closest to the wanted pitch and
    resonances."""
    best: tuple[float, tuple[int, int, float, float]] | None = None
    for playback in _PLAYBACK_RATES:
        stretch = playback / _speech.NATIVE_RATE
        plain = (
            stretch * timbre.pitch * math.exp(timbre.lift * math.log2(liveliness))
        )  # hertz, at pitch setting 50
        step = (_STEPS_UP if pitch > plain else _STEPS_DOWN) / 50
        setting = min(max(round(50 + math.log(pitch / plain) / step), 0), 99)
        made_pitch = plain * math.exp(step * (setting - 50))
        # above 50, the pitch setting also raises the formants, by a tenth for 50 steps
        made_formants = stretch * timbre.formants * (1 + max(setting - 50, 0) / 512)
        error = abs(math.log(made_pitch / pitch)) + abs(math.log(made_formants / formants))
        if best is None or error < best[0]:
            best = error, (playback, setting, made_pitch, made_formants)
    assert best is not None
    return best[1]


def _names(count: int) -> list[str]:
    first = [c + v for c in "bdfgklmnrstvz" for v in "aeiou"]
    second = [c + v for c in "blmnrvz" for v in "aeiou"]
    every = [(a + b + "k").capitalize() for a in first for b in second]
    order = rng("voices", "names").permutation(len(every))
    return [every[i] for i in order[:count]]


@lru_cache(maxsize=1)
def _population() -> tuple[Speaker, ...]:
    count = TRAIN_SPEAKERS + TEST_SPEAKERS
    people = []
    for index, name in enumerate(_names(count)):
        random = rng("voices", "speaker", index)
        pitch, other, rate, liveliness = random.uniform(
            -math.sqrt(3), math.sqrt(3), 4
        )  # standard deviation 1
        formants = (
            PITCH_FORMANT_CORRELATION * pitch + math.sqrt(1 - PITCH_FORMANT_CORRELATION**2) * other
        )
        want_pitch = PITCH_CENTRE * 2 ** (PITCH_SPREAD * pitch)
        want_formants = FORMANT_CENTRE * math.exp(FORMANT_SPREAD * formants)
        timbres = [key for key, timbre in TIMBRES.items() if timbre.high == (want_pitch > _HIGH)]
        timbre = timbres[random.integers(len(timbres))]
        melody = round(2 ** (RANGE_SPREAD * float(liveliness)), 3)
        playback, setting, made_pitch, made_formants = _tune(
            TIMBRES[timbre], want_pitch, want_formants, melody
        )
        people.append(
            Speaker(
                name=name,
                index=index,
                split="train" if index < TRAIN_SPEAKERS else "test",
                pitch=round(made_pitch, 2),
                formants=round(made_formants, 4),
                rate=round(RATE_CENTRE * 2 ** (RATE_SPREAD * float(rate)), 1),
                liveliness=melody,
                accent=list(ACCENTS)[random.integers(len(ACCENTS))],
                timbre=timbre,
                z=(
                    ("pitch", math.log2(made_pitch / PITCH_CENTRE) / PITCH_SPREAD),
                    ("formants", math.log(made_formants / FORMANT_CENTRE) / FORMANT_SPREAD),
                    ("rate", float(rate)),
                    ("liveliness", float(liveliness)),
                ),
                _playback=playback,
                _pitch_setting=setting,
            )
        )
    return tuple(people)


@lru_cache(maxsize=3)
def speakers(split: str | None = None) -> tuple[Speaker, ...]:
    """The speakers of a split, or all of them.

    Raises:
        ValueError: an unknown split.
    """
    if split is None:
        return _population()
    if split not in ("train", "test"):
        raise ValueError(f"unknown split {split!r}; there are 'train' and 'test'")
    return tuple(person for person in _population() if person.split == split)


@lru_cache(maxsize=1)
def _by_name() -> dict[str, Speaker]:
    return {person.name: person for person in _population()}


def speaker(name: Speaker | str) -> Speaker:
    """The speaker of that name (a ``Speaker`` is returned as it is).

    Raises:
        ValueError: nobody has that name.
        TypeError: neither a speaker nor a name.
    """
    if isinstance(name, Speaker):
        return name
    if not isinstance(name, str):
        raise TypeError(f"a speaker is a Speaker or a name, not {name!r}")
    if name not in _by_name():
        from difflib import get_close_matches

        near = get_close_matches(name, _by_name(), n=3, cutoff=0.3) or list(_by_name())[:3]
        raise ValueError(
            f"no speaker is called {name!r}; there are {len(_by_name())}, among them {', '.join(near)}"
        )
    return _by_name()[name]


def semitones(first: Speaker | str, second: Speaker | str) -> float:
    """How far the second speaker's pitch lies above the first's, in semitones (12 to the octave);
    negative if below.

    Raises:
        ValueError: nobody has that name.
        TypeError: neither a speaker nor a name.
    """
    return 12 * math.log2(speaker(second).pitch / speaker(first).pitch)


def pairs_by_pitch(
    who: str | Sequence[Speaker | str], low: float, high: float, count: int, seed: int = 0
) -> np.ndarray:
    """Draw pairs of speakers whose pitches lie so far apart: the nearer, the harder are their
    voices to tell apart.

    Nobody is paired with himself, and no pair of places comes twice in either order. The same
    arguments give the same pairs.

    Args:
        who: "train" or "test" for all speakers of a split; or speakers or their names, in any order
            and as often as they come: a data set's column ``speaker`` will do.
        low: least distance in pitch, semitones (0 or more).
        high: greatest distance in pitch, semitones; itself left out, so that bands may follow one
            another.
        count: how many pairs.
        seed: another seed draws other pairs.

    Returns:
        int64 ``(count, 2)``: places in ``who`` (in ``speakers(who)`` if it is a split).

    Raises:
        ValueError: an unknown split or speaker, ``low`` not below ``high``, or fewer pairs than
            were asked for.
        TypeError: an argument of the wrong type.

    Example:
        >>> first, second = pairs_by_pitch("test", 0, 3, count=1)[0]
        >>> abs(semitones(speakers("test")[first], speakers("test")[second])) < 3
        True
    """
    people = speakers(who) if isinstance(who, str) else tuple(speaker(one) for one in who)
    for name, value in (("low", low), ("high", high)):
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise TypeError(f"{name} must be a number of semitones, not {value!r}")
    if not 0 <= low < high:
        raise ValueError(f"need 0 <= low < high semitones, not {low} and {high}")
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
        raise TypeError(f"count must be a whole number, not {count!r}")
    if count < 1:
        raise ValueError(f"count must be 1 or more, not {count}")
    pitch = 12 * np.log2([person.pitch for person in people])  # (N,) semitones above 1 Hz
    index = np.array([person.index for person in people], dtype=np.int64)
    distance = np.abs(pitch[:, None] - pitch)  # (N, N)
    fits = np.triu((low <= distance) & (distance < high) & (index[:, None] != index), 1)
    first, second = np.nonzero(fits)
    if count > len(first):
        raise ValueError(
            f"only {len(first)} pairs lie {low} to {high} semitones apart; {count} were asked for"
        )
    random = rng("voices", "pairs by pitch", seed)
    chosen = random.choice(len(first), size=count, replace=False)
    pairs = np.stack([first[chosen], second[chosen]], axis=1)
    swapped = (
        random.random(count) < 0.5
    )  # who comes first says nothing about who is where in the list
    return np.where(swapped[:, None], pairs[:, ::-1], pairs)


_person = speaker  # ``speak`` has an argument of that name


def speak(
    text: str, language: str = "en", speaker: Speaker | str | None = None, sample_rate: int = 16000
) -> _speech.Speech:
    """Speak a text; about two milliseconds a sentence.

    Args:
        text: up to ``speech.MAX_CHARACTERS`` characters in Latin letters (and Hangul for Korean),
            digits and punctuation.
        language: "en" or "ko".
        speaker: a speaker of :func:`speakers` or its name; None is a neutral voice.
        sample_rate: samples a second, 4,000 to 48,000.

    Returns:
        The wave and its phonemes. The same call gives the same bytes, in any order, thread and
        process.

    Raises:
        ValueError: nothing to say, too long, a character that has no sound, an unknown language or
            speaker, or a sample rate out of range.
        TypeError: an argument of the wrong type.

    Example:
        >>> speech = speak("Hello, world.")
        >>> speech.wave.dtype, speech.phonemes[1].symbol
        (dtype('float32'), 'h')
    """
    text = _speech.check_text(text, language)
    sample_rate = _speech.check_sample_rate(sample_rate)
    person = None if speaker is None else _person(speaker)
    settings = (
        _speech.Settings(_speech.LANGUAGES[language])
        if person is None
        else person.settings(language)
    )
    wave, phonemes = _speech.utter(text, settings, sample_rate)
    return _speech.Speech(
        wave, sample_rate, phonemes, text, language, person.name if person else None
    )


# --- what they say --------------------------------------------------------------------------------

_RELATIONS = {
    "left of": "왼쪽에",
    "right of": "오른쪽에",
    "above": "위에",
    "below": "아래에",
    "next to": "옆에",
    "in front of": "앞에",
    "behind": "뒤에",
}
_PLACES = {
    "on the beach": "해변에",
    "in the forest": "숲에",
    "in the city": "도시에",
    "in the snow": "눈밭에",
    "in the desert": "사막에",
    "on the meadow": "풀밭에",
}
_SIZES = {"small": "작은", "big": "큰"}
_NUMBERS = {"two": "두", "three": "세", "four": "네"}
_COLOURS = {
    "red": "빨간",
    "blue": "파란",
    "yellow": "노란",
    "green": "초록색",
    "orange": "주황색",
    "brown": "갈색",
    "white": "하얀",
    "grey": "회색",
    "pink": "분홍색",
    "purple": "보라색",
}
_COUNTERS = {"animal": "마리", "vehicle": "대", "person": "명", "plant": "그루"}


def _article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _subject(noun: str) -> str:
    """A Korean noun with its subject particle: 이 after a final consonant, 가 after a vowel."""
    closed = "가" <= noun[-1] <= "힣" and (ord(noun[-1]) - 0xAC00) % 28 != 0
    return noun + ("이" if closed else "가")


def sentence(random: np.random.Generator, language: str = "en") -> str:
    """A random sentence about a scene: what there is, how many, of which colour or size, and where.

    Args:
        random: where the choices come from.
        language: "en" or "ko".

    Raises:
        ValueError: an unknown language.
    """
    if language not in _speech.LANGUAGES:
        raise ValueError(
            f"unknown language {language!r}; the world speaks {', '.join(map(repr, _speech.LANGUAGES))}"
        )

    def pick(options: dict[str, str]) -> tuple[str, str]:
        english = list(options)[random.integers(len(options))]
        return english, options[english]

    first, second = (SCENIC[i] for i in random.choice(len(SCENIC), size=2, replace=False))
    size, relation, place, number = pick(_SIZES), pick(_RELATIONS), pick(_PLACES), pick(_NUMBERS)
    colour = (second.colour, _COLOURS[second.colour]) if second.colour else pick(_SIZES)
    form = int(random.integers(6))
    if language == "en":
        it, other = f"{size[0]} {first.name}", f"{colour[0]} {second.name}"
        return (
            f"The {first.name} is {relation[0]} the {other}.",
            f"There are {number[0]} {first.plural} {place[0]}.",
            f"{_article(it)} stands {relation[0]} {_article(other)}.".capitalize(),
            f"I can see {_article(it)} and {number[0]} {second.plural}.",
            f"{place[0]} there is {_article(other)}.".capitalize(),
            f"Is the {it} {relation[0]} the {second.name}?",
        )[form]
    it, other = f"{size[1]} {first.korean}", f"{colour[1]} {second.korean}"
    many = f"{number[1]} {_COUNTERS.get(first.kind, '개')}"
    return (
        f"{_subject(first.korean)} {other} {relation[1]} 있어요.",
        f"{place[1]} {_subject(first.korean)} {many} 있어요.",
        f"{_subject(it)} {other} {relation[1]} 서 있어요.",
        f"{_subject(it)} 있고, {_subject(second.korean)} {number[1]} {_COUNTERS.get(second.kind, '개')} 있어요.",
        f"{place[1]} {_subject(other)} 있어요.",
        f"{_subject(it)} {second.korean} {relation[1]} 있어요?",
    )[form]
