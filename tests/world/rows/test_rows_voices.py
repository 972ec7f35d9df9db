"""Rows of speech, spoken words and spoken scenes: pure, true, and no word is cut."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from mmtutor import world
from mmtutor.world import captions, scenes, speech, voices
from mmtutor.world.rows import voices as rows_of


def same(a: dict[str, list], b: dict[str, list]) -> bool:
    return a.keys() == b.keys() and all(
        len(a[key]) == len(b[key])
        and all(np.array_equal(x, y) for x, y in zip(a[key], b[key], strict=True))
        for key in a
    )


@pytest.mark.parametrize("name", ["speech", "spoken_words", "spoken_scenes"])
def test_samples_are_pure(name):
    builder = rows_of.DATASETS[name]
    options = {key: values[0] for key, values in builder.options.items()}
    whole = builder.build("train", range(6), 3, **options)
    second = builder.build("train", range(3, 6), 3, **options)
    first = builder.build("train", range(3), 3, **options)
    assert same(whole, {key: [*first[key], *second[key]] for key in first})
    assert not same(first, builder.build("train", range(3), 4, **options))
    assert not same(first, builder.build("test", range(3), 3, **options))
    code = (
        "import hashlib; from mmtutor.world.rows import voices as rows_of; "
        f"b = rows_of.DATASETS[{name!r}].build('train', range(3, 6), 3, **{options!r}); "
        "print(hashlib.sha256(b''.join(w.tobytes() for w in b['wave'])).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        done.stdout.strip()
        == hashlib.sha256(b"".join(w.tobytes() for w in second["wave"])).hexdigest()
    )


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path))


def test_speech_data_set(cache):
    train, test = (world.load("speech", split, 30, processes=1) for split in ("train", "test"))
    assert set(train["speaker"]) <= {p.name for p in voices.speakers("train")}
    assert set(test["speaker"]) <= {p.name for p in voices.speakers("test")}
    assert len(set(train["speaker"])) > 20
    for row in train:
        person = voices.speaker(row["speaker"])
        assert row["pitch"] == pytest.approx(person.pitch)
        assert row["accent"] == person.accent
        said = voices.speak(row["text"], speaker=person)
        assert np.array_equal(row["wave"], speech.to_int16(said.wave))
        assert row["phonemes"] == [p.symbol for p in said.phonemes]
        assert np.allclose(row["starts"], [p.start for p in said.phonemes])
        assert np.allclose(row["ends"][-1], len(row["wave"]) / row["sample_rate"])
    korean = world.load("speech", "test", 4, language="ko", sample_rate=8000)
    assert set(korean["accent"]) == {"Korean"}
    assert set(korean["sample_rate"]) == {8000}
    assert all("가" <= row["text"][0] <= "힣" for row in korean)


def test_spoken_scenes_data_set(cache):
    rows = world.load("spoken_scenes", "test", 12, things=12, processes=1)
    assert len(set(rows["scene"])) == 12
    assert set(rows["speaker"]) <= {p.name for p in voices.speakers("test")}
    ordinary = {scenes.sample("test", i, 0, 12).to_json() for i in range(12)}
    assert not ordinary & set(rows["scene"])
    for row in rows:
        assert str(captions.is_true(row["text"], row["scene"])) == "true"
        assert set(row["things"]) <= set(scenes.pool(12))
        assert np.array_equal(row["image"], np.asarray(scenes.draw_scene(row["scene"], 64)))
        said = voices.speak(row["text"], speaker=row["speaker"])
        assert np.array_equal(row["wave"], speech.to_int16(said.wave))
    one = world.load("spoken_scenes", "test", 3, things=12, voice="one", processes=1)
    assert list(one["text"]) == list(rows["text"][:3])
    assert np.array_equal(one[0]["wave"], speech.to_int16(voices.speak(one[0]["text"]).wave))


def test_spoken_words_data_set(cache):
    words = world.load("spoken_words", "test", 40, processes=1)
    assert words.features["label"].names == list(rows_of.WORDS)
    for start in (0, 20):
        block = words[start : start + 20]
        assert Counter(block["word"]) == Counter(rows_of.WORDS)
        assert [rows_of.WORDS[label] for label in block["label"]] == list(block["word"])
    assert len(set(words["speaker"])) > 20
    for row in words:
        wave = speech.to_float(row["wave"])
        assert wave.shape == (16000,)
        a, b = int(row["start"] * 16000), int(row["end"] * 16000)
        outside = np.concatenate([wave[:a], wave[b:]])
        assert 0 <= a < b <= 16000
        assert np.std(wave[a:b]) > 2 * np.std(outside)
        # what is outside is the noise that was promised
        promised = speech.LOUDNESS * 10 ** (-row["snr"] / 20)
        assert len(outside) < 1000 or np.std(outside) == pytest.approx(promised, rel=0.15)


def test_no_word_is_cut():
    # The slowest speaker of the longest words still fits into the clip.
    slowest = min(voices.speakers(), key=lambda p: p.rate)
    for word in rows_of.WORDS:
        said = voices.speak(word, speaker=slowest)
        spoken = [p for p in said.phonemes if p.symbol != speech.PAUSE]
        assert (spoken[-1].end - spoken[0].start) / 0.9 <= rows_of.WORD_SECONDS, word
