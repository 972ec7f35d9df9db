"""Rows of faces and talking faces: pure, everybody in turn, and true of voice and face."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from mmtutor import world
from mmtutor.world import faces, speech, voices
from mmtutor.world.faces import CANONICAL, draw_face, face, mouth_track
from mmtutor.world.rows import faces as rows_of
from mmtutor.world.speech import Phoneme


def same(a, b):
    return a.keys() == b.keys() and all(
        len(a[key]) == len(b[key]) and all(np.array_equal(x, y) for x, y in zip(a[key], b[key], strict=True))
        for key in a
    )


@pytest.mark.parametrize(("name", "picture"), [("faces", "image"), ("talking_faces", "frames")])
def test_samples_are_pure(name, picture):
    builder = rows_of.DATASETS[name]
    options = {key: values[0] for key, values in builder.options.items()}
    whole = builder.build("train", range(4), 3, **options)
    first, second = builder.build("train", range(2), 3, **options), builder.build("train", range(2, 4), 3, **options)
    assert same(whole, {key: [*first[key], *second[key]] for key in first})
    assert not same(first, builder.build("train", range(2), 4, **options))
    assert not same(first, builder.build("test", range(2), 3, **options))
    code = (
        "import hashlib; from mmtutor.world.rows import faces as rows_of; "
        f"b = rows_of.DATASETS[{name!r}].build('train', range(2, 4), 3, **{options!r}); "
        f"print(hashlib.sha256(b''.join(p.tobytes() for p in b[{picture!r}])).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(b"".join(p.tobytes() for p in second[picture])).hexdigest()


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path))


def test_faces_data_set(cache):
    test = world.load("faces", "test", 150, processes=1)
    train = world.load("faces", "train", 40, processes=1)
    assert set(Counter(test[:120]["speaker"]).values()) == {1}  # everybody once, before anybody twice
    assert not set(test["speaker"]) & set(train["speaker"])
    for row in test.select(range(30)):
        traits = face(row["speaker"])
        for name in (*faces.TIED, *faces.INDEPENDENT):
            value = getattr(traits, name)
            assert row[name] == (pytest.approx(value) if isinstance(value, float) else value)
        assert np.array_equal(row["canonical"], draw_face(traits, CANONICAL, 64))
        assert row["image"].shape == (64, 64, 3)
        assert row["image"].dtype == np.uint8
        assert not np.array_equal(row["image"], row["canonical"])
        assert row["pitch"] == pytest.approx(voices.speaker(row["speaker"]).pitch)


def test_faces_come_with_a_voice_if_asked(cache):
    """The same rows, with so many seconds of the speaker's voice; a longer one tells the rate better."""
    plain, voiced = (world.load("faces", "test", 60, processes=1, **more) for more in ({}, {"seconds": 5}))
    assert set(voiced.column_names) - set(plain.column_names) == {"wave", "sample_rate", "text"}
    assert list(voiced["speaker"]) == list(plain["speaker"])
    for row, bare in zip(voiced.select(range(6)), plain.select(range(6)), strict=True):
        assert np.array_equal(row["image"], bare["image"])
        assert row["wave"].shape == (5 * 16000,)
        assert np.abs(speech.to_float(row["wave"])[-24000:]).max() > 0.02  # speech to the end
        said = voices.speak(row["text"], speaker=row["speaker"])
        assert np.array_equal(row["wave"], speech.to_int16(said.wave[: 5 * 16000]))

    def told(seconds: int) -> float:
        """The correlation of the speaker's rate with the phonemes a second that one hears in so long a wave."""
        heard = [voices.speak(row["text"], speaker=row["speaker"]).phonemes for row in voiced]
        counts = [sum(p.end <= seconds and p.symbol != speech.PAUSE for p in one) for one in heard]
        return float(np.corrcoef(counts, voiced["rate"])[0, 1])

    assert told(5) > max(told(2), 0.8)


def test_talking_faces_data_set(cache):
    rows = world.load("talking_faces", "test", 8, processes=1)
    assert set(rows["speaker"]) <= {p.name for p in voices.speakers("test")}
    for row in rows:
        assert row["frames"].shape == (50, 48, 48, 3)
        assert row["frames"].dtype == np.uint8
        assert row["wave"].shape == (32000,)
        assert row["sample_rate"] == 16000
        # the clip is full: there is speech in its last half second
        assert np.abs(speech.to_float(row["wave"])[-8000:]).max() > 0.02
        heard = [
            Phoneme(s, float(a), float(b)) for s, a, b in zip(row["phonemes"], row["starts"], row["ends"], strict=True)
        ]
        assert heard[0].start == 0
        assert heard[-1].end == pytest.approx(2.0)
        again = mouth_track(heard, 50)
        assert np.abs(again[:, 0] - row["opening"]).mean() < 0.01
        # what one sees is what the track says: open frames differ from closed ones, and alike ones are alike
        order = np.argsort(row["opening"])
        moved = np.abs(row["frames"][order[-1]].astype(int) - row["frames"][order[0]].astype(int)).sum()
        assert moved > 500
        said = voices.speak(row["text"], speaker=row["speaker"])
        assert np.array_equal(row["wave"], speech.to_int16(said.wave[:32000]))
