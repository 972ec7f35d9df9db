"""Rows of faces and talking faces: pure, everybody in turn, and true of voice and face."""

from __future__ import annotations

import hashlib
import itertools
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
        len(a[key]) == len(b[key])
        and all(np.array_equal(x, y) for x, y in zip(a[key], b[key], strict=True))
        for key in a
    )


@pytest.mark.parametrize(("name", "picture"), [("faces", "image"), ("talking_faces", "frames")])
def test_samples_are_pure(name, picture):
    builder = rows_of.DATASETS[name]
    options = {key: values[0] for key, values in builder.options.items()}
    whole = builder.build("train", range(4), 3, **options)
    first, second = (
        builder.build("train", range(2), 3, **options),
        builder.build("train", range(2, 4), 3, **options),
    )
    assert same(whole, {key: [*first[key], *second[key]] for key in first})
    assert not same(first, builder.build("train", range(2), 4, **options))
    assert not same(first, builder.build("test", range(2), 3, **options))
    code = (
        "import hashlib; from mmtutor.world.rows import faces as rows_of; "
        f"b = rows_of.DATASETS[{name!r}].build('train', range(2, 4), 3, **{options!r}); "
        f"print(hashlib.sha256(b''.join(p.tobytes() for p in b[{picture!r}])).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        done.stdout.strip()
        == hashlib.sha256(b"".join(p.tobytes() for p in second[picture])).hexdigest()
    )


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path))


def test_faces_data_set(cache):
    test = world.load("faces", "test", 150, processes=1)
    train = world.load("faces", "train", 40, processes=1)
    assert set(Counter(test[:120]["speaker"]).values()) == {
        1
    }  # everybody once, before anybody twice
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
    plain, voiced = (
        world.load("faces", "test", 60, processes=1, **more) for more in ({}, {"seconds": 5})
    )
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


@pytest.mark.parametrize("start", ["anywhere", "beginning"])
@pytest.mark.parametrize("seconds", [1, 2, 3, 4])
def test_talking_faces_data_set(cache, start, seconds):
    rows = world.load("talking_faces", "test", 5, processes=1, start=start, seconds=seconds)
    assert set(rows["speaker"]) <= {p.name for p in voices.speakers("test")}
    assert set(rows["begins"]) == {0.0} or start == "anywhere"
    for row in rows:
        assert row["frames"].shape == (25 * seconds, 48, 48, 3)
        assert row["frames"].dtype == np.uint8
        assert row["wave"].shape == (16000 * seconds,)
        assert row["sample_rate"] == 16000
        # the wave is that part of what the speaker says, and the clip is full
        said = voices.speak(row["text"], speaker=row["speaker"])
        first = round(row["begins"] * 16000)
        assert np.array_equal(
            row["wave"], speech.to_int16(said.wave[first : first + 16000 * seconds])
        )
        assert said.phonemes[-2].end >= (rows_of.LEAST_SPOKEN if start == "anywhere" else seconds)
        heard = [
            Phoneme(s, float(a), float(b))
            for s, a, b in zip(row["phonemes"], row["starts"], row["ends"], strict=True)
        ]
        assert heard[0].start == 0
        assert heard[-1].end == pytest.approx(seconds)
        assert all(
            one.end == pytest.approx(other.start) for one, other in itertools.pairwise(heard)
        )
        inside = [
            p
            for p in said.phonemes
            if p.start < row["begins"] + seconds - 1e-6 and p.end > row["begins"] + 1e-6
        ]
        assert [one.symbol for one in heard] == [p.symbol for p in inside]
        assert heard[1].start + row["begins"] == pytest.approx(inside[1].start, abs=1e-4)
        again = mouth_track(heard, 25 * seconds)
        # not to the bit: times are rounded to float32, and at the edges the data set knows more
        assert np.corrcoef(again[:, 0][2:-2], row["opening"][2:-2])[0, 1] > 0.99
        # what one sees is what the track says: open frames differ from closed ones, and alike ones are alike
        order = np.argsort(row["opening"])
        moved = np.abs(
            row["frames"][order[-1]].astype(int) - row["frames"][order[0]].astype(int)
        ).sum()
        assert moved > 500


def test_clips_begin_anywhere():
    """Over the whole utterance, at whole frames; and no later than that the last sound is heard at its end."""
    build = rows_of.DATASETS["talking_faces"].build
    rows = build("train", range(60), 0, pixels=48, sample_rate=8000, start="anywhere", seconds=1)
    begins = np.array(rows["begins"])
    assert np.allclose(begins * 25, np.round(begins * 25))
    assert len(set(begins)) > 40
    ends = []
    for text, name, begin in zip(rows["text"], rows["speaker"], rows["begins"], strict=True):
        sounds = [
            p
            for p in voices.speak(text, speaker=name, sample_rate=8000).phonemes
            if p.symbol != speech.PAUSE
        ]
        assert begin + 1 <= sounds[-1].end + 1e-6
        ends.append(begin / (sounds[-1].end - 1))
    assert np.mean(ends) == pytest.approx(0.5, abs=0.12)  # three standard errors of a uniform place
    assert max(ends) > 0.9
    assert min(ends) < 0.1


def _loudness(wave):
    """Logarithm of the root mean square in each frame, at 8 kHz: (frames,)."""
    return np.log(np.sqrt(np.mean(speech.to_float(wave).reshape(-1, 320) ** 2, axis=1)) + 3e-3)


def _openness(row_phonemes, starts, ends, frames):
    """How open the phoneme in the middle of each frame is, unsmoothed: (frames,)."""
    middle = (np.arange(frames) + 0.5) / 25
    out = np.zeros(frames)
    for symbol, start, end in zip(row_phonemes, starts, ends, strict=True):
        out[(start <= middle) & (middle < end)] = faces.visemes(symbol)[0].opening
    return out


def _seen_opening(frames):
    """What moves in the lower half of the pictures, as one number a frame (its first principal component)."""
    grey = frames.astype(np.float64).mean(-1)[:, 24:].reshape(len(frames), -1)
    return np.linalg.svd(grey - grey.mean(0), full_matrices=False)[0][:, 0]


def _lagged(a, b, lag):
    """Correlation of ``a`` with ``b`` ``lag`` frames earlier."""
    return np.corrcoef(
        a[max(lag, 0) : len(a) + min(lag, 0)], b[max(-lag, 0) : len(b) - max(lag, 0)]
    )[0, 1]


@pytest.fixture(scope="module")
def talking():
    options = {"pixels": 48, "sample_rate": 8000, "seconds": 2}
    build = rows_of.DATASETS["talking_faces"].build
    return {
        start: build("test", range(48), 0, start=start, **options)
        for start in ("anywhere", "beginning")
    }


@pytest.mark.parametrize("start", ["anywhere", "beginning"])
def test_the_mouth_is_in_step(talking, start):
    rows = talking[start]
    said = [
        _openness(*row, 50)
        for row in zip(rows["phonemes"], rows["starts"], rows["ends"], strict=True)
    ]
    heard = [_loudness(wave) for wave in rows["wave"]]
    seen = [_seen_opening(frames) for frames in rows["frames"]]

    def at(first, second, lag):
        return float(
            np.nanmean([abs(_lagged(a, b, lag)) for a, b in zip(first, second, strict=True)])
        )

    for first, second, least in (
        (rows["opening"], said, 0.85),  # measured: 0.90; the envelope 0.63 and 0.57; pictures 0.83
        (rows["opening"], heard, 0.45),
        (seen, said, 0.7),
    ):
        now = at(first, second, 0)
        assert now > least
        for lag in (-4, -3, -2, 2, 3, 4):
            assert at(first, second, lag) < now - 0.15


def test_which_face_speaks_can_be_told_and_not_by_the_clock(talking):
    """The ceiling: the loudness names the mouth that speaks, of two. Blind: what is usual at that time says nothing.

    Where clips begin with the utterance, it does say something: everybody begins with silence.
    """
    usual = {}
    for start, rows in talking.items():
        heard, open_ = (
            np.array([_loudness(wave) for wave in rows["wave"]]),
            np.array(rows["opening"]),
        )
        r = np.corrcoef(heard, open_)[:48, 48:]  # every voice with every mouth
        others = r[~np.eye(48, dtype=bool)].reshape(48, 47)
        assert np.mean(np.diag(r)[:, None] > others) > 0.98  # measured: 0.996 and 1.000; chance 0.5
        mean = (open_.sum(0) - open_) / 47  # of the other clips
        usual[start] = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(heard, mean, strict=True)])
    assert abs(usual["anywhere"]) < 0.1
    assert usual["beginning"] > usual["anywhere"] + 0.1
