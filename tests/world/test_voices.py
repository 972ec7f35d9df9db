"""Speakers have the pitch, resonances and pace that they claim; train and test share nobody; data sets are pure."""

from __future__ import annotations

import hashlib
import itertools
import unicodedata
from dataclasses import replace

import numpy as np
import pytest

from mmtutor.world import cast, voices

VOICED = "Many men in the room may know a lemon or a yellow melon, and we all roam along the lane."


def median_f0(wave: np.ndarray, rate: int) -> float:
    """Median fundamental frequency over voiced frames, by the normalised autocorrelation (Boersma 1993)."""
    size, hop = int(0.09 * rate), int(0.02 * rate)
    window = np.hanning(size)
    own = np.fft.irfft(np.abs(np.fft.rfft(window, 4 * size)) ** 2)
    low, high = int(rate / 420), int(rate / 50)
    floor = 0.3 * np.mean(wave.astype(np.float64) ** 2)
    found = []
    for start in range(0, len(wave) - size, hop):
        frame = wave[start : start + size].astype(np.float64)
        if np.mean(frame**2) < floor:
            continue
        r = np.fft.irfft(np.abs(np.fft.rfft(frame * window, 4 * size)) ** 2)
        r = r[: high + 2] / r[0] / (own[: high + 2] / own[0])
        best = low + int(r[low:high].argmax())
        # the shortest lag that is nearly as good: not an octave below
        for lag in range(low + 1, best):
            if r[lag] > 0.92 * r[best] and r[lag - 1] < r[lag] >= r[lag + 1]:
                best = lag
                break
        if r[best] > 0.6:
            found.append(rate / best)
    return float(np.median(found))


def test_the_population():
    people = voices.speakers()
    train, test = voices.speakers("train"), voices.speakers("test")
    assert len(people) >= 60
    assert len(train) == 480
    assert len(test) == 120
    assert {p.name for p in train} & {p.name for p in test} == set()
    assert len({p.name for p in people}) == len(people) == len(train) + len(test)
    assert {p.accent for p in test} == {p.accent for p in train} == set(voices.ACCENTS)
    assert {p.timbre for p in test} == {p.timbre for p in train} == set(voices.TIMBRES)
    assert [voices.speaker(p.name) for p in people] == list(people)
    with pytest.raises(ValueError, match="'train' and 'test'"):
        voices.speakers("validation")
    with pytest.raises(ValueError, match="among them"):
        voices.speaker(people[0].name + "x")


def test_no_two_speakers_are_alike():
    keys = {
        (p.pitch, p.formants, p.rate, p.liveliness, p.accent, p.timbre) for p in voices.speakers()
    }
    assert len(keys) == len(voices.speakers())


def test_standard_traits_are_standard_and_correlate_as_stated():
    traits = ("pitch", "formants", "rate", "liveliness")
    z = np.array([[p.standard(trait) for p in voices.speakers()] for trait in traits])  # (4, 600)
    assert np.abs(z.mean(axis=1)).max() < 0.1
    assert np.abs(z.std(axis=1) - 1).max() < 0.08
    r = np.corrcoef(z)
    assert r[0, 1] == pytest.approx(voices.PITCH_FORMANT_CORRELATION, abs=0.08)
    r[0, 1] = r[1, 0] = 0
    assert np.abs(r - np.eye(4)).max() < 0.1


def test_the_table_of_speakers_never_changes():
    table = "\n".join(
        f"{p.name} {p.split} {p.pitch:.1f} {p.formants:.2f} {p.rate:.0f} {p.accent} {p.timbre}"
        for p in voices.speakers()
    )
    assert hashlib.sha256(table.encode()).hexdigest()[:16] == "4ad3316cd9488c27"


def test_measured_pitch_is_the_stated_one():
    people = voices.speakers()[3::40]
    measured = [median_f0(voices.speak(VOICED, speaker=p).wave, 16000) for p in people]
    stated = [p.pitch for p in people]
    assert np.abs(np.log(np.array(measured) / stated)).max() < 0.06
    order = np.argsort(np.argsort(stated)), np.argsort(np.argsort(measured))
    assert np.corrcoef(order)[0, 1] > 0.97


def test_measured_pace_follows_the_stated_one():
    people = [p for p in voices.speakers() if p.accent == "British"][:24]
    seconds = [voices.speak(VOICED, speaker=p).seconds for p in people]
    assert np.corrcoef(np.log(seconds), np.log([p.rate for p in people]))[0, 1] < -0.9


def envelope(wave: np.ndarray, rate: int) -> np.ndarray:
    """Long-term spectrum in dB over 200 log-spaced bands from 250 to 4,000 Hz, smoothed over harmonics."""
    power = np.abs(np.fft.rfft(wave)) ** 2
    hertz = np.fft.rfftfreq(len(wave), 1 / rate)
    grid = np.geomspace(250, 4000, 200)
    return np.array(
        [10 * np.log10(power[(hertz > f / 1.12) & (hertz < f * 1.12)].mean()) for f in grid]
    )


def test_resonances_are_scaled_as_stated():
    base = next(p for p in voices.speakers() if p.timbre == "plain" and p.accent == "British")
    people = {}
    for wanted in (0.9, 1.15):
        playback, setting, _, made = voices._tune(voices.TIMBRES["plain"], 120, wanted, 1.0)
        assert made == pytest.approx(wanted, rel=0.02)
        people[made] = replace(
            base, _playback=playback, _pitch_setting=setting, liveliness=1.0, formants=made
        )
    (low, a), (high, b) = (
        (m, envelope(voices.speak(VOICED, speaker=p).wave, 16000)) for m, p in people.items()
    )
    step = np.log(4000 / 250) / 199
    shifts = range(0, 40)
    fit = [np.corrcoef(a[: 200 - s], b[s:])[0, 1] for s in shifts]
    assert int(np.argmax(fit)) * step == pytest.approx(np.log(high / low), abs=0.06)


def test_korean_is_spoken_by_everybody():
    for person in voices.speakers("test")[:5]:
        said = voices.speak("고양이 두 마리가 있어요.", "ko", speaker=person)
        assert said.speaker == person.name
        assert np.abs(said.wave).max() > 0.05


def test_sentences():
    english = {voices.sentence(np.random.default_rng(i)) for i in range(300)}
    assert len(english) > 280
    names = [name for thing in cast.SCENIC for name in (thing.name, thing.plural)]
    for sentence in english:
        assert sentence[0].isupper()
        assert sentence[-1] in ".?"
        assert any(name in sentence.lower() for name in names)
        words = sentence.rstrip(".?").lower().split()
        for article, noun in itertools.pairwise(words):
            if article in ("a", "an"):
                assert (article == "an") == (noun[0] in "aeiou"), sentence
    with pytest.raises(ValueError, match="'en', 'ko'"):
        voices.sentence(np.random.default_rng(0), "fr")


def test_korean_subject_particles():
    subjects = 0
    for i in range(300):
        sentence = voices.sentence(np.random.default_rng(i), "ko")
        assert sentence.split()[-1].rstrip(".?") == "있어요"
        for thing in cast.SCENIC:
            for particle in "이가":
                if f"{thing.korean}{particle} " in " " + sentence:
                    # a final consonant is the third letter of the decomposed syllable
                    closed = len(unicodedata.normalize("NFD", thing.korean[-1])) == 3
                    other = "가" if particle == "이" else "이"
                    if f"{thing.korean}{other}" not in "".join(one.korean for one in cast.SCENIC):
                        assert closed == (particle == "이"), sentence
                        subjects += 1
    assert subjects > 200


def test_distance_in_pitch():
    low, high = (
        min(voices.speakers(), key=lambda p: p.pitch),
        max(voices.speakers(), key=lambda p: p.pitch),
    )
    octaves = np.log2(high.pitch / low.pitch)
    assert voices.semitones(low.name, high) == pytest.approx(12 * octaves)
    assert voices.semitones(high, low) == pytest.approx(-12 * octaves)


@pytest.mark.parametrize(("low", "high"), [(0, 3), (3, 6.5), (11, 12)])
def test_pairs_by_pitch_lie_in_their_band(low, high):
    people = voices.speakers("test")
    fits = {
        frozenset((i, j))
        for i, j in itertools.combinations(range(len(people)), 2)
        if low <= abs(voices.semitones(people[i], people[j])) < high
    }
    pairs = voices.pairs_by_pitch("test", low, high, len(fits), seed=1)
    assert pairs.shape == (len(fits), 2)
    assert pairs.dtype == np.int64
    assert {frozenset(pair) for pair in pairs.tolist()} == fits  # all that there are, none twice
    with pytest.raises(
        ValueError, match=f"only {len(fits)} pairs lie {low} to {high} semitones apart"
    ):
        voices.pairs_by_pitch("test", low, high, len(fits) + 1)
    few = voices.pairs_by_pitch("test", low, high, 20, seed=1)
    assert np.array_equal(few, voices.pairs_by_pitch(list(people), low, high, 20, seed=1))
    assert not np.array_equal(few, voices.pairs_by_pitch("test", low, high, 20, seed=2))
    assert 0.35 < np.mean(pairs[:, 0] < pairs[:, 1]) < 0.65  # either may come first


def test_pairs_by_pitch_of_a_column_of_names():
    names = [person.name for person in voices.speakers("train")[:12]] * 3  # everybody three times
    pairs = voices.pairs_by_pitch(names, 0, 100, 500)
    assert all(names[i] != names[j] for i, j in pairs)
    assert len({frozenset(pair) for pair in pairs.tolist()}) == 500
    assert (
        len(voices.pairs_by_pitch(names, 0, 100, 9 * 66)) == 594
    )  # 66 pairs of people, 9 of places for each
    with pytest.raises(ValueError, match="only 594 pairs"):
        voices.pairs_by_pitch(names, 0, 100, 595)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"who": "validation"}, ValueError, "'train' and 'test'"),
        ({"who": ["nobody"]}, ValueError, "no speaker is called"),
        ({"low": 3, "high": 3}, ValueError, "low < high"),
        ({"low": -1}, ValueError, "0 <= low"),
        ({"high": float("nan")}, ValueError, "low < high"),
        ({"high": "3"}, TypeError, "number of semitones"),
        ({"count": 0}, ValueError, "1 or more"),
        ({"count": 1.0}, TypeError, "whole number"),
    ],
)
def test_bad_pairs_by_pitch(arguments, error, message):
    with pytest.raises(error, match=message):
        voices.pairs_by_pitch(**{"who": "test", "low": 0, "high": 3, "count": 2, **arguments})
