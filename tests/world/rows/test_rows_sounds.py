"""Rows of sounds and sounding scenes: pure, and what stands beside a clip is true of it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from mmtutor import world
from mmtutor.world import cast, sounds
from mmtutor.world.rows import sounds as rows_of
from mmtutor.world.speech import to_float


def test_train_and_test_share_no_note_setting():
    for thing in cast.things(sounding=True):
        train, test = (set(rows_of.semitones_of(split, thing)) for split in ("train", "test"))
        assert train
        assert test
        assert not train & test
        assert len(train) > 2 * len(test)


def same(a, b):
    return a.keys() == b.keys() and all(
        len(a[key]) == len(b[key]) and all(np.array_equal(x, y) for x, y in zip(a[key], b[key], strict=True))
        for key in a
    )


@pytest.mark.parametrize("name", ["sounds", "sounding_scenes"])
def test_samples_are_pure(name):
    builder = rows_of.DATASETS[name]
    options = {key: values[0] for key, values in builder.options.items()}
    whole = builder.build("train", range(8), 3, **options)
    first, second = builder.build("train", range(4), 3, **options), builder.build("train", range(4, 8), 3, **options)
    assert same(whole, {key: [*first[key], *second[key]] for key in first})
    assert not same(first, builder.build("train", range(4), 4, **options))
    assert not same(first, builder.build("test", range(4), 3, **options))
    code = (
        "import hashlib; from mmtutor.world.rows import sounds as rows_of; "
        f"b = rows_of.DATASETS[{name!r}].build('train', range(4, 8), 3, **{options!r}); "
        "print(hashlib.sha256(b''.join(w.tobytes() for w in b['wave'])).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(b"".join(w.tobytes() for w in second["wave"])).hexdigest()


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path))


@pytest.mark.parametrize("sample_rate", [8000, 22050])
def test_sounds_data_set(cache, sample_rate):
    count = len(sounds.sounding())
    rows = world.load("sounds", "train", count, sample_rate=sample_rate, processes=1)
    assert rows.features["label"].names == [thing.name for thing in sounds.sounding()]
    assert Counter(rows["thing"]) == Counter(thing.name for thing in sounds.sounding())
    for row in rows:
        thing = cast.thing(row["thing"])
        assert (row["kind"], row["sound"]) == (thing.kind, thing.sound)
        assert row["semitones"] in rows_of.semitones_of("train", thing)
        wave = to_float(row["wave"])
        assert wave.shape == (2 * sample_rate,)
        assert row["onset"] >= 0
        assert row["onset"] + row["seconds"] <= 2.0
        # before the onset there is only the promised noise
        quiet = wave[: int(row["onset"] * sample_rate)]
        if len(quiet) > 0.1 * sample_rate:
            promised = row["loudness"] - row["snr"]
            assert 20 * np.log10(np.std(quiet)) == pytest.approx(promised, abs=1.0)
        # in a dead room the level while it sounds is the promised one
        if row["reverberation"] == 0 and row["snr"] > 20:
            a = int(row["onset"] * sample_rate)
            event = wave[a : a + int(row["seconds"] * sample_rate)]
            assert 20 * np.log10(np.sqrt(np.mean(event**2))) == pytest.approx(row["loudness"], abs=0.7)


def test_sounding_scenes_data_set(cache):
    rows = world.load("sounding_scenes", "test", 40, processes=1)
    doubles = 0
    for row in rows:
        assert 2 <= len(row["things"]) <= 4
        assert 1 <= len(row["playing"]) <= 2
        doubles += len(row["playing"]) == 2
        assert [row["things"][i] for i in row["playing"]] == list(row["playing_things"])
        for name in row["playing_things"]:
            sound = cast.thing(name).sound
            assert cast.thing(name).sounds
            assert [cast.thing(other).sound for other in row["things"]].count(sound) == 1
        expected = np.isin(row["owner"], [i + 1 for i in row["playing"]])
        assert np.array_equal(row["mask"].astype(bool), expected)
        assert expected.any()
        assert len(row["semitones"]) == len(row["onsets"]) == len(row["seconds"]) == len(row["playing"])
        assert np.abs(to_float(row["wave"])).max() > 0.01
    assert 0 < doubles < 40


def test_sounding_scenes_of_train_and_test_differ(cache):
    train = world.load("sounding_scenes", "train", 60, processes=1)
    test = world.load("sounding_scenes", "test", 60, processes=1)
    assert not set(train["scene"]) & set(test["scene"])
