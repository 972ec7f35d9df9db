"""Real data in the world's columns: tried on small files of the real schemas, and on a Hub that cannot be reached."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import unicodedata
import warnings
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmtutor import hub, world
from mmtutor.hub import kept, known, own, tables
from mmtutor.kit import cache


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def photograph(number: int, width: int = 60, height: int = 40, form: str = "PNG") -> bytes:
    """A picture of one grey with a white centre: what a centre crop must keep is known."""
    image = Image.new("RGB", (width, height), (number % 256, 10, 20))
    image.paste((255, 255, 255), (width // 2 - 4, height // 2 - 4, width // 2 + 4, height // 2 + 4))
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def recording(
    frequency: float, rate: int = 8000, seconds: float = 0.25, form: str = "WAV", channels: int = 1
) -> bytes:
    tone = 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)
    file = io.BytesIO()
    soundfile.write(file, np.tile(tone[:, None], channels), rate, format=form)
    return file.getvalue()


def write_parquet(path: Path, columns: dict[str, list], features: dict) -> Path:
    """A Parquet file as the Hub keeps them: Hugging Face's own schema and metadata, pictures and sounds as bytes."""
    import datasets
    import pyarrow as pa
    import pyarrow.parquet

    schema = datasets.Features(features).arrow_schema
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = []
    for field in schema:
        kind = field.type.storage_type if isinstance(field.type, pa.ExtensionType) else field.type
        arrays.append(pa.array(columns[field.name], type=kind))
    pyarrow.parquet.write_table(pa.Table.from_arrays(arrays, schema=schema), path, row_group_size=7)
    return path


def packed(content: bytes, name: str) -> dict:
    return {"bytes": content, "path": name}


@pytest.fixture
def repositories(tmp_path: Path) -> Path:
    """Small copies of the repositories, each file with the columns that the real one has."""
    import datasets as d

    root, text, whole = tmp_path / "repositories", d.Value("string"), d.Value("int64")
    audio = d.Audio(sampling_rate=44100)
    for split, first, count in (("train", 0, 30), ("validation", 100, 4), ("test", 200, 5)):
        rows = range(first, first + count)
        write_parquet(
            root / "flickr8k" / "data" / f"{split}-00000-of-00001.parquet",
            {"image": [packed(photograph(i), f"{i}.jpg") for i in rows]}
            | {f"caption_{k}": [f"picture {i} said {k}" for i in rows] for k in range(5)},
            {"image": d.Image()} | {f"caption_{k}": text for k in range(5)},
        )
    write_parquet(
        root / "coco_captions" / "data" / "test-00000-of-00001.parquet",
        {
            "image": [packed(photograph(i // 5), "x") for i in range(20)],
            "filename": ["x"] * 20,
            "cocoid": [i // 5 for i in range(20)],
            "caption": [f"caption {i}" for i in range(20)],
        },
        {"image": d.Image(), "filename": text, "cocoid": whole, "caption": text},
    )
    answers = [{"answer": text, "answer_confidence": text, "answer_id": whole}]
    write_parquet(
        root / "vqa_v2" / "data" / "validation-00000-of-00001.parquet",
        {
            "question_type": ["what is", "how many"] * 20,
            "multiple_choice_answer": [str(i) for i in range(40)],
            "answers": [[{"answer": "a", "answer_confidence": "yes", "answer_id": 1}]] * 40,
            "image_id": [i // 4 for i in range(40)],
            "answer_type": ["other"] * 40,
            "question_id": list(range(40)),
            "question": [f"question {i}?" for i in range(40)],
            "image": [packed(photograph(i // 4), None) for i in range(40)],
        },
        {
            "question_type": text, "multiple_choice_answer": text, "answers": answers, "image_id": whole,
            "answer_type": text, "question_id": whole, "question": text, "image": d.Image(),
        },
    )  # fmt: skip
    write_parquet(
        root / "esc50" / "data" / "train-00000-of-00002.parquet",
        {
            "filename": [f"{i}.wav" for i in range(10)], "fold": [1 + i % 5 for i in range(10)],
            "target": [i % 3 for i in range(10)], "category": [["dog", "sea_waves", "rain"][i % 3] for i in range(10)],
            "esc10": [True] * 10, "src_file": list(range(10)), "take": ["A"] * 10,
            "audio": [packed(recording(500), None) for _ in range(10)],
        },
        {"filename": text, "fold": whole, "target": whole, "category": text, "esc10": d.Value("bool"),
         "src_file": whole, "take": text, "audio": audio},
    )  # fmt: skip
    write_parquet(
        root / "text8" / "data" / "train-00000-of-00001.parquet",
        {"text": [" one two three" * 900]},
        {"text": text},
    )
    return root


@pytest.fixture
def fake_hub(repositories: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """``datasets.load_dataset`` itself, reading from ``repositories`` where it would have read from the network."""
    import datasets

    real, asked = datasets.load_dataset, []

    def load_dataset(
        repository: str, configuration: str | None = None, *, split: str, streaming: bool
    ):
        asked.append(repository)
        (name,) = (name for name, source in hub.SOURCES.items() if source.repository == repository)
        files = {split: str(repositories / name / "data" / f"{split}-*.parquet")}
        return real(
            "parquet",
            data_files=files,
            split=split,
            streaming=streaming,
            cache_dir=str(repositories),
        )

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


# --- Known sets -----------------------------------------------------------------------------------


def check_flickr(data, count: int, first: int) -> None:
    assert len(data) == count
    assert list(data.features) == ["image", "captions"]
    row = data[1]
    assert row["image"].shape == (32, 32, 3)
    assert row["image"].dtype == np.uint8
    assert abs(int(row["image"][0, 0, 0]) - (first + 1)) <= 1  # the ground of this picture
    assert (row["image"][16, 16] > 250).all()  # its centre is kept
    assert row["captions"] == [f"picture {first + 1} said {k}" for k in range(5)]


def test_a_copy_on_disk(repositories: Path) -> None:
    check_flickr(hub.load("flickr8k", path=repositories / "flickr8k", pixels=32), 30, 0)
    check_flickr(hub.load("flickr8k", "test", path=repositories / "flickr8k", pixels=32), 5, 200)
    file = repositories / "flickr8k" / "data" / "validation-00000-of-00001.parquet"
    check_flickr(hub.load("flickr8k", "validation", 3, path=file, pixels=32), 3, 100)


def test_the_hub_as_a_stream(fake_hub: list[str]) -> None:
    check_flickr(hub.load("flickr8k", size=20, pixels=32), 20, 0)
    check_flickr(hub.load("flickr8k", "test", pixels=32), 5, 200)
    assert fake_hub == ["jxie/flickr8k"] * 2


def test_the_columns_are_the_worlds_columns(fake_hub: list[str]) -> None:
    scenes, sounds = world.info("scenes")["columns"], world.info("sounds")["columns"]
    questions = hub.load("vqa_v2", "test")
    photos = hub.load("flickr8k", size=2)
    for data in (photos, questions):
        for column, feature in data.features.items():
            assert feature == scenes[column], column
    recordings = hub.load("esc50", size=2)
    assert set(recordings.features) <= set(sounds)
    assert recordings.features["wave"].feature == sounds["wave"].feature
    assert recordings[0]["sample_rate"] == 16000


def test_captions_in_separate_rows_are_gathered(fake_hub: list[str]) -> None:
    data = hub.load("coco_captions", "test", 3)
    assert len(data) == 3
    assert data[2]["captions"] == [f"caption {i}" for i in range(10, 15)]


def test_of_a_run_of_rows_only_the_first_keeps_its_picture() -> None:
    source = [{"cocoid": k // 3, "image": f"bytes {k}", "caption": str(k)} for k in range(6)]
    runs = list(known._runs("cocoid")(source))
    assert [[row["caption"] for row in run] for run in runs] == [["0", "1", "2"], ["3", "4", "5"]]
    assert [row["image"] for row in runs[1]] == ["bytes 3", None, None]
    assert source[1]["image"] == "bytes 1"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM])
def test_want_of_memory_or_files_is_no_fault_of_an_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fails(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(np, "load", fails)
    with pytest.raises(OSError, match=os.strerror(number)):
        hub.array(tmp_path / "a.npy")


def test_questions_are_gathered_and_the_split_is_by_picture(fake_hub: list[str]) -> None:
    train, test = hub.load("vqa_v2", "train"), hub.load("vqa_v2", "test")
    assert (len(train), len(test)) == (8, 2)
    asked = {question for row in train for question in row["questions"]}
    assert not asked & {question for row in test for question in row["questions"]}
    row = test[1]  # the picture with image_id 5
    assert row["questions"] == [f"question {i}?" for i in range(20, 24)]
    assert row["answers"] == ["20", "21", "22", "23"]
    assert row["question_types"] == ["what is", "how many"] * 2


def test_sounds_need_no_torchcodec(fake_hub: list[str]) -> None:
    train, test = hub.load("esc50", "train"), hub.load("esc50", "test", sample_rate=4000)
    assert (len(train), len(test)) == (8, 2)  # the official folds
    assert train[1]["thing"] == "sea waves"
    assert train[1]["label"] == 1
    wave_ = train[0]["wave"]
    assert wave_.dtype == np.int16
    assert len(wave_) == 4000  # a quarter of a second at 16 kHz
    spectrum = np.abs(np.fft.rfft(wave_ * np.hanning(len(wave_))))
    assert np.argmax(spectrum) * 16000 / 4000 == 500  # still the tone that went in
    assert abs(np.abs(wave_[500:-500]).max() / 32768 - 0.5) < 0.01
    assert len(test[0]["wave"]) == 1000


def test_text(fake_hub: list[str]) -> None:
    data = hub.load("text8")
    assert [len(row["words"]) for row in data] == [1000, 1000, 700]
    assert hub.corpus("text8") == ["one", "two", "three"] * 900
    assert len(hub.corpus("text8", size=2)) == 2000
    with pytest.raises(
        ValueError, match="'flickr8k' is no text; the texts are 'text8', 'wikitext2'"
    ):
        hub.corpus("flickr8k")


def test_every_source_is_described() -> None:
    assert set(hub.names()) == set(hub.SOURCES)
    for name in hub.names():
        entry = hub.info(name)
        assert entry["licence"]
        assert entry["citation"]
        assert "train" in entry["splits"] or "test" in entry["splits"]
        assert entry["repository"].count("/") == 1


# --- The cache ------------------------------------------------------------------------------------


def test_a_stream_has_the_rows_of_a_loaded_set(repositories: Path, fake_hub: list[str]) -> None:
    options = {"path": repositories / "flickr8k", "pixels": 32}
    check = hub.load("flickr8k", **options)
    read = hub.stream("flickr8k", size=30, buffer=1, **options)
    check_flickr_rows = [read[i] for i in range(30)]
    for mine, row in zip(check_flickr_rows, check, strict=True):
        assert mine["captions"] == row["captions"]
        assert (mine["image"] == row["image"]).all()
    shuffled = hub.stream("flickr8k", size=30, buffer=10, **options).__getitems__(list(range(30)))
    told = [row["captions"][0] for row in check_flickr_rows]
    assert [row["captions"][0] for row in shuffled] != told
    assert sorted(row["captions"][0] for row in shuffled) == sorted(told)
    from_hub = hub.stream("coco_captions", "test", 3, buffer=1)  # some rows are one sample
    assert from_hub[2]["captions"] == [f"caption {i}" for i in range(10, 15)]
    assert fake_hub == ["jxie/coco_captions"]


def test_a_stream_is_trained_on_and_stores_nothing(repositories: Path, folder: Path) -> None:
    import torch

    from mmtutor.kit.training import fit

    class Mean(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.seen = torch.nn.Parameter(torch.zeros(3)), []

        def loss(self, batch: dict) -> torch.Tensor:
            self.seen += batch["told"]
            return (batch["image"].float().mean((1, 2)) / 255 - self.w).square().mean()

    def collate(rows: list[dict]) -> dict:
        pictures = torch.stack([torch.as_tensor(row["image"]) for row in rows])
        return {"image": pictures, "told": [row["captions"][0] for row in rows]}

    model = Mean()
    data = hub.stream("flickr8k", size=30, path=repositories / "flickr8k", pixels=32, buffer=7)
    fit(model, data, batch_size=4, collate=collate, progress=False)
    assert sorted(model.seen) == sorted(f"picture {i} said 0" for i in range(30))
    assert not (folder / "hub").exists()


def test_a_stream_that_cannot_be(repositories: Path) -> None:
    options = {"path": repositories / "flickr8k", "pixels": 32}
    with pytest.raises(ValueError, match="say how many samples an epoch has"):
        hub.stream("flickr8k", **options)
    with pytest.raises(ValueError, match="has no split 'tests'"):
        hub.stream("flickr8k", "tests", 3, **options)
    with pytest.raises(RuntimeError, match="its length was said to be 31"):
        hub.stream("flickr8k", size=31, **options).__getitems__(list(range(31)))


def test_second_load_needs_no_network(fake_hub: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first = hub.load("flickr8k", size=20)
    hub.load("flickr8k", "test")
    assert len(fake_hub) == 2
    again, fewer, whole = (
        hub.load("flickr8k", size=20),
        hub.load("flickr8k", size=7),
        hub.load("flickr8k", "test"),
    )
    assert len(fake_hub) == 2
    assert again[:]["captions"] == first[:]["captions"]
    np.testing.assert_array_equal(fewer[:]["image"], first[:7]["image"])
    assert len(whole) == 5
    hub.load("flickr8k", size=25)
    assert len(fake_hub) == 3


def test_damaged_cache_is_fetched_again(fake_hub: list[str], folder: Path) -> None:
    good = hub.load("flickr8k", size=20)[:]["image"]
    (shard,) = folder.rglob("*.arrow")
    shard.write_bytes(shard.read_bytes()[:-100])
    np.testing.assert_array_equal(hub.load("flickr8k", size=20)[:]["image"], good)
    assert len(fake_hub) == 2
    assert len(hub.load("flickr8k")) == 30
    end = shard.parent / "end"
    good_note = end.read_text()
    for content in ("", "x", "3 0", good_note.replace("30", "20"), "noise noise noise", "\0"):
        end.write_text(content)
        assert len(hub.load("flickr8k")) == 30
    assert end.read_text() == good_note


def test_many_shards(tmp_path: Path) -> None:
    import datasets as d

    file = write_parquet(
        tmp_path / "train.parquet",
        {"text": [f"line {i}" for i in range(450)]},
        {"text": d.Value("string")},
    )
    for size in (120, 250, 450):
        data = hub.load("wikitext2", "train", size, path=file)
        assert [row["words"] for row in data] == [["line", str(i)] for i in range(size)]
    assert len(hub.load("wikitext2", path=file)) == 450
    with pytest.raises(ValueError, match=r"has 450 samples; 451 were asked for"):
        hub.load("wikitext2", size=451, path=file)


class Breaking:
    """A stream from the Hub that breaks off after some rows."""

    def __init__(self, data, after: float) -> None:
        self.data, self.after = data, after

    def with_format(self, kind: str) -> Breaking:
        return Breaking(self.data.with_format(kind), self.after)

    def iter(self, batch_size: int):
        for number, table in enumerate(self.data.iter(batch_size)):
            if (number + 1) * batch_size > self.after:
                raise ConnectionResetError(104, "Connection reset by peer")
            yield table


def test_a_download_that_breaks_off_loses_nothing_and_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    lines = datasets.Dataset.from_dict({"text": [f"line {i}" for i in range(450)]})
    ends = iter([250, 330, float("inf")])
    opened, converted, real = [], [], kept.Samples._convert

    def load_dataset(*_: object, **__: object) -> Breaking:
        opened.append(1)
        return Breaking(lines, next(ends))

    def convert(recipe: kept.Samples, sample: object, number: int) -> object:
        converted.append(number)
        return real(recipe, sample, number)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(kept.Samples, "_convert", convert)

    def stored() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.arrow")}

    with pytest.raises(ConnectionError, match=r"ConnectionResetError.*With a network, try again"):
        hub.load("wikitext2")
    first = stored()
    assert sorted(first) == ["0000000-100.arrow", "0000100-100.arrow"]
    assert not list(folder.rglob("*.partial"))
    with pytest.raises(ConnectionError, match="Connection reset"):
        hub.load("wikitext2")
    assert first.items() <= stored().items()  # nothing was written again
    assert len(stored()) == 3
    data = hub.load("wikitext2")
    assert [row["words"] for row in data] == [["line", str(i)] for i in range(450)]
    assert first.items() <= stored().items()
    assert sorted(converted) == list(range(450))  # each once
    assert len(opened) == 3
    hub.load("wikitext2")
    assert len(opened) == 3  # all is there


def test_unusable_cache_warns_and_still_answers(
    repositories: Path, monkeypatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(cache.CacheWarning, match="MMTUTOR_CACHE"):
        check_flickr(hub.load("flickr8k", path=repositories / "flickr8k", pixels=32), 30, 0)


# --- No network -----------------------------------------------------------------------------------


def test_offline_says_what_it_needs(tmp_path: Path) -> None:
    """In earnest: a fresh interpreter, the real library, told to stay off the network."""
    code = "from mmtutor import hub\ntry: hub.load('flickr8k', size=3)\nexcept ConnectionError as error: print(error)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")},
        capture_output=True,
        text=True,
        check=True,
        timeout=400,
    )
    for needed in (
        "'jxie/flickr8k'",
        "HF_HUB_OFFLINE",
        "path=",
        "Parquet",
        str(tmp_path / "cache"),
    ):
        assert needed in run.stdout, run.stdout + run.stderr


def test_other_errors_are_not_taken_for_a_missing_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def broken(*_args, **_kwargs):
        raise KeyError("a bug")

    monkeypatch.setattr(datasets, "load_dataset", broken)
    with pytest.raises(KeyError, match="a bug"):
        hub.load("flickr8k", size=3)


# --- A reader's own folder ------------------------------------------------------------------------


def put(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_own_pictures_with_captions(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for number, name in enumerate(["b.png", "a.jpg", "sub/c.webp"]):
        put(
            mine / name,
            photograph(
                40 * number,
                form={"g": "JPEG", "p": "WEBP"}.get(name[-1], "PNG") if name != "b.png" else "PNG",
            ),
        )
    lines = [
        {"file_name": "a.jpg", "captions": ["one", "two"]},
        {"file_name": "b.png", "text": "three 안녕"},
        {"file_name": "sub/c.webp", "caption_1": "five", "caption_0": "four", "score": 3},
    ]
    put(
        mine / "metadata.jsonl",
        "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n\n",
    )
    data = hub.folder(mine, pixels=24)
    assert data[:]["file"] == ["a.jpg", "b.png", "sub/c.webp"]
    assert data[:]["captions"] == [["one", "two"], ["three 안녕"], ["four", "five"]]
    assert data[:]["image"].shape == (3, 24, 24, 3)
    assert abs(int(data[0]["image"][0, 0, 0]) - 40) < 8
    assert data.features["captions"] == world.info("scenes")["columns"]["captions"]


def test_own_classes_and_splits(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for name in (
        "train/dog/1.png",
        "train/cat/2.png",
        "train/cat/3.png",
        "test/dog/4.png",
        "train/.hidden/5.png",
    ):
        put(mine / name, photograph(7))
    put(mine / "train" / "notes.txt", "not a picture")
    train, test = hub.folder(mine), hub.folder(mine, "test")
    assert train[:]["thing"] == ["cat", "cat", "dog"]
    assert train[:]["label"] == [0, 0, 1]
    assert train.features["label"].names == ["cat", "dog"] == test.features["label"].names
    assert (len(test), test[0]["label"]) == (1, 1)
    with pytest.raises(ValueError, match=r"no split 'validation'; it has 'train', 'test'"):
        hub.folder(mine, "validation")
    with pytest.raises(ValueError, match=r"has 3 samples; 4 were asked for"):
        hub.folder(mine, size=4)


@pytest.mark.parametrize("layout", ["classes", "splits and classes", "jsonl", "csv"])
def test_folders_are_read_as_hugging_face_reads_them(tmp_path: Path, layout: str) -> None:
    """The reference is ``datasets``' own image-folder reader."""
    import datasets

    mine = tmp_path / "mine"
    if layout in ("jsonl", "csv"):
        for name in "abc":
            put(mine / f"{name}.png", photograph(ord(name)))
        rows = [(f"{name}.png", f'the "{name}", said') for name in "abc"]
        if layout == "jsonl":
            put(
                mine / "metadata.jsonl",
                "\n".join(json.dumps({"file_name": f, "text": t}) for f, t in rows),
            )
        else:
            quoted = ['"{}","{}"'.format(f, t.replace('"', '""')) for f, t in rows]
            put(mine / "metadata.csv", "\n".join(["file_name,text", *quoted]))
    else:
        prefix = ["train/", "test/"] if layout == "splits and classes" else [""]
        for start in prefix:
            for name in ("dog/a.png", "cat/b.jpg", "cat/c.png"):
                put(
                    mine / (start + name),
                    photograph(ord(name[4]), form="JPEG" if name.endswith("jpg") else "PNG"),
                )
    for split in ("train", "test") if layout == "splits and classes" else ("train",):
        theirs = datasets.load_dataset(
            "imagefolder",
            data_dir=str(mine),
            split=split,
            streaming=True,
            cache_dir=str(tmp_path / "hf"),
        )
        theirs = list(theirs.cast_column("image", datasets.Image(decode=False)))
        ours = hub.folder(mine, split)
        place = [str((mine / file).resolve()) for file in ours[:]["file"]]
        assert sorted(place) == sorted(row["image"]["path"] for row in theirs)
        by_place = {row["image"]["path"]: row for row in theirs}
        for path, row in zip(place, ours, strict=True):
            if "text" in by_place[path]:
                assert row["captions"] == [by_place[path]["text"]]
            else:
                assert row["label"] == by_place[path]["label"]


def test_own_sounds(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    put(mine / "bell" / "1.wav", recording(1000, 8000))
    put(mine / "bell" / "2.flac", recording(1000, 44100, form="FLAC", channels=2))
    put(mine / "drum" / "3.ogg", recording(1000, 16000, form="OGG"))
    data = hub.folder(mine, sample_rate=8000)
    assert data[:]["thing"] == ["bell", "bell", "drum"]
    assert data[:]["label"] == [0, 0, 1]
    assert data[:]["sample_rate"] == [8000] * 3
    for row in data:
        assert len(row["wave"]) == 2000
        spectrum = np.abs(np.fft.rfft(row["wave"] * np.hanning(2000)))
        assert np.argmax(spectrum) * 8000 / 2000 == 1000


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_wav_without_soundfile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtype: str, channels: int
) -> None:
    """The reference is soundfile's own reading."""
    signal = np.random.default_rng(0).uniform(-0.9, 0.9, (500, channels))
    soundfile.write(tmp_path / "x.wav", signal, 16000, subtype=subtype)
    expected = hub.sound(tmp_path / "x.wav", 16000)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    np.testing.assert_allclose(hub.sound(tmp_path / "x.wav", 16000), expected, atol=1)
    assert expected.std() > 1000


def test_other_sounds_without_soundfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flac = put(tmp_path / "x.flac", recording(500, form="FLAC"))
    soundfile.write(tmp_path / "float.wav", np.zeros(100), 8000, subtype="FLOAT")
    monkeypatch.setitem(sys.modules, "soundfile", None)
    for path in (flac, tmp_path / "float.wav"):
        with pytest.raises(ModuleNotFoundError, match="pip install soundfile"):
            hub.sound(path, 8000)


def test_loudest_and_longest_sounds(tmp_path: Path) -> None:
    soundfile.write(
        tmp_path / "x.wav", np.array([1.0, -1.0, 2.0, -2.0, 0.0]), 8000, subtype="FLOAT"
    )
    assert hub.sound(tmp_path / "x.wav", 8000).tolist() == [32767, -32768, 32767, -32768, 0]
    with wave.open(str(tmp_path / "empty.wav"), "wb") as empty:
        empty.setparams((1, 2, 8000, 0, "NONE", ""))
    assert hub.sound(tmp_path / "empty.wav", 16000).shape == (0,)
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), 8000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"nan\.wav.*not finite"):
        hub.sound(tmp_path / "nan.wav", 8000)


def test_every_sort_of_picture_becomes_rgb(tmp_path: Path) -> None:
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"):
        form = "TIFF" if mode == "CMYK" else "PNG"
        Image.new(mode, (30, 20)).save(tmp_path / f"x.{form.lower()}", form)
        assert hub.picture(tmp_path / f"x.{form.lower()}", 16).shape == (16, 16, 3)
    Image.new("RGB", (1, 900)).save(tmp_path / "thin.png")
    assert hub.picture(tmp_path / "thin.png", 16).shape == (16, 16, 3)
    turned = Image.new("RGB", (40, 20), (0, 0, 255))
    turned.paste((255, 0, 0), (0, 0, 20, 20))  # red on the left
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned.save(tmp_path / "turned.png", exif=exif)
    assert hub.picture(tmp_path / "turned.png", 20)[10, 15, 0] > 200  # red on the right


def test_a_picture_is_what_the_one_conversion_makes_of_it(tmp_path: Path) -> None:
    """More than 8 bits are scaled, what transparency hides stays hidden, what says no white is refused by name."""
    for name, image, level in (
        ("bits.png", Image.fromarray(np.full((20, 20), 32768, np.uint16)), 128),
        ("bits.tif", Image.fromarray(np.full((20, 20), 32768, np.uint16)), 128),
        ("floats.tif", Image.fromarray(np.full((20, 20), 0.5, np.float32)), 128),
        ("hidden.png", Image.new("RGBA", (20, 20), (200, 0, 0, 0)), 255),
        ("hidden.gif", Image.new("RGBA", (20, 20), (200, 0, 0, 0)), 255),
        ("half.png", Image.new("LA", (20, 20), (0, 51)), 204),
    ):
        image.save(tmp_path / name)
        assert (hub.picture(tmp_path / name, 16) == level).all(), name
    for name, image in (
        ("whole.tif", Image.new("I", (20, 20), 70000)),
        ("loud.tif", Image.new("F", (20, 20), 300.0)),
    ):
        image.save(tmp_path / name)
        with pytest.raises(
            ValueError, match=f"{name}' cannot be read as a picture: a picture .* in .0, 1."
        ):
            hub.picture(tmp_path / name, 16)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_picture_with_a_broken_exif_block_is_read(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.webp"):
        Image.new("RGB", (20, 20), (9, 9, 9)).save(
            tmp_path / name, exif=b"Exif\0\0noise and nothing else"
        )
        assert np.abs(hub.picture(tmp_path / name, 16).astype(int) - 9).max() <= 2


def test_whatever_a_decoder_throws_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(tmp_path / "a.png", photograph(1))
    for error in (
        IndexError("list"),
        KeyError("x"),
        ValueError("v"),
        EOFError(),
        RuntimeError("r"),
        OverflowError("o"),
    ):

        def broken(*_args, error: Exception = error, **_kwargs):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(Image, "open", broken)
            with pytest.raises(ValueError, match=r"a\.png' cannot be read as a picture"):
                hub.picture(file, 16)


def test_a_wav_that_breaks_off_in_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "x.wav", np.full((100, 2), 0.5), 8000, subtype="PCM_24")
    content = (tmp_path / "x.wav").read_bytes()
    monkeypatch.setitem(sys.modules, "soundfile", None)
    for cut in range(1, 13):
        (tmp_path / "x.wav").write_bytes(content[:-cut])
        assert hub.sound(tmp_path / "x.wav", 8000).tolist() == [16384] * (100 - -(-cut // 6))


def same_size_and_time(path: Path, content: bytes) -> None:
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_other_bytes_of_the_same_size_and_time_are_noticed(tmp_path: Path) -> None:
    def level() -> int:
        return int(hub.folder(mine)[0]["image"][0, 0, 0])

    def bmp(value: int) -> bytes:
        return photograph(value, form="BMP")  # always as large

    mine = tmp_path / "mine"
    file = put(mine / "a.bmp", bmp(10))
    table = put(mine / "metadata.jsonl", '{"file_name": "a.bmp", "text": "one"}')
    assert level() == 10
    same_size_and_time(file, bmp(200))
    assert level() == 200
    same_size_and_time(table, table.read_bytes().replace(b"one", b"two"))
    assert hub.folder(mine)[0]["captions"] == ["two"]
    parquet = tmp_path / "train.parquet"
    import datasets as d

    for word in ("one", "two"):
        write_parquet(
            tmp_path / word / "train.parquet", {"text": [word]}, {"text": d.Value("string")}
        )
    put(parquet, (tmp_path / "one" / "train.parquet").read_bytes())
    assert hub.load("wikitext2", path=parquet)[0]["words"] == ["one"]
    same_size_and_time(parquet, (tmp_path / "two" / "train.parquet").read_bytes())
    assert hub.load("wikitext2", path=parquet)[0]["words"] == ["two"]


def test_the_same_bytes_are_not_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine"
    put(mine / "a.png", photograph(10))
    put(mine / "b.png", photograph(20))
    good = hub.folder(mine)[:]["image"]
    os.utime(mine / "a.png", (1, 1))  # touched, not changed
    monkeypatch.setattr(own, "picture", None)
    np.testing.assert_array_equal(hub.folder(mine)[:]["image"], good)


def test_a_copy_elsewhere_is_not_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("here", "there"):
        put(tmp_path / place / "a.png", photograph(10))
        put(tmp_path / place / "metadata.jsonl", '{"file_name": "a.png", "text": "x"}')
    put(tmp_path / "other" / "b.png", photograph(10))
    good = hub.folder(tmp_path / "here")[:]
    monkeypatch.setattr(own, "picture", None)
    again = hub.folder(tmp_path / "there")[:]
    assert (again["file"], again["captions"]) == (good["file"], good["captions"])
    np.testing.assert_array_equal(again["image"], good["image"])
    with pytest.raises(TypeError):  # another name is another file
        hub.folder(tmp_path / "other")


# --- Names ----------------------------------------------------------------------------------------

KOREAN = "강아지 é"
NFC, NFD = unicodedata.normalize("NFC", KOREAN), unicodedata.normalize("NFD", KOREAN)


@pytest.mark.parametrize(("disk", "table"), [(NFC, NFD), (NFD, NFC), (NFD, NFD)])
@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_table_meets_its_files_in_either_form_of_unicode(
    tmp_path: Path, disk: str, table: str, form: str
) -> None:
    mine = tmp_path / "mine"
    put(mine / disk / f"{disk}.png", photograph(10))
    name = f"{table}/{table}.png"
    line = (
        json.dumps({"file_name": name, "text": "x"})
        if form == "jsonl"
        else f"file_name,text\n{name},x"
    )
    put(mine / f"metadata.{form}", line)
    (row,) = hub.folder(mine)
    assert row["captions"] == ["x"]
    assert row["file"] == f"{disk}/{disk}.png"  # as the disk has it
    assert (mine / row["file"]).is_file()


def test_two_forms_of_one_name_are_one_class(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for name in (
        f"train/{NFC}/1.png",
        f"train/{NFD}/2.png",
        "train/cat/3.png",
        f"test/{NFD}/4.png",
    ):
        put(mine / name, photograph(1))
    train, test = hub.folder(mine), hub.folder(mine, "test")
    assert train.features["label"].names == ["cat", NFC] == test.features["label"].names
    assert train[:]["thing"] == ["cat", NFC, NFC]
    assert test[:]["thing"] == [NFC]
    put(mine / "train" / NFC / "2.png", photograph(2))
    with pytest.raises(
        ValueError, match=r"two files have the name .*\(NFC and NFD\).*u1100.*rename one"
    ):
        hub.folder(mine)


def test_a_name_that_is_no_unicode_is_refused(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    put(mine / "a.png", photograph(1))
    try:
        put(mine / "caf\udce9.txt", "not read")
    except (OSError, UnicodeError):
        pytest.skip("this file system has Unicode names only")
    assert len(hub.folder(mine)) == 1
    put(mine / "caf\udce9.png", photograph(1))
    with pytest.raises(ValueError, match=r"name of '.*caf.udce9\.png' is not Unicode"):
        hub.folder(mine)
    other = tmp_path / "caf\udce9"
    put(other / "a.png", photograph(1))
    assert len(hub.folder(other)) == 1


# --- Links and hidden files -----------------------------------------------------------------------


def test_links_to_files_classes_and_splits_are_followed(tmp_path: Path) -> None:
    mine, store = tmp_path / "mine", tmp_path / "store"
    put(store / "rex.png", photograph(10))
    put(store / "cats" / "tom.png", photograph(20))
    put(store / "held" / "dog" / "pip.png", photograph(30))
    (mine / "train" / "dog").mkdir(parents=True)
    (mine / "train" / "dog" / "rex.png").symlink_to(store / "rex.png")
    (mine / "train" / "cat").symlink_to(store / "cats")
    (mine / "test").symlink_to(store / "held")
    train, test = hub.folder(mine), hub.folder(mine, "test")
    assert train[:]["file"] == ["train/cat/tom.png", "train/dog/rex.png"]
    assert train[:]["thing"] == ["cat", "dog"]
    assert test[:]["thing"] == ["dog"]
    put(store / "rex.png", photograph(99))  # what a link leads to counts
    assert abs(int(hub.folder(mine)[1]["image"][0, 0, 0]) - 99) <= 1
    told = tmp_path / "told"
    told.mkdir()
    (told / "a.png").symlink_to(store / "rex.png")
    (told / "more").symlink_to(store / "cats")
    lines = [
        {"file_name": "a.png", "text": "x"},
        {"file_name": str(told / "more" / "tom.png"), "text": "y"},
    ]
    put(told / "metadata.jsonl", "\n".join(map(json.dumps, lines)))
    assert hub.folder(told)[:]["captions"] == [["x"], ["y"]]
    (tmp_path / "alias").symlink_to(told)
    lines[0]["file_name"] = str(tmp_path / "alias" / "a.png")
    put(told / "metadata.jsonl", "\n".join(map(json.dumps, lines)))
    assert hub.folder(tmp_path / "alias")[:]["captions"] == [["x"], ["y"]]


def test_links_that_go_round_end(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for name in ("dog", "cat"):
        put(mine / name / "1.png", photograph(1))
        (mine / name / "up").symlink_to(mine)
        (mine / name / "self").symlink_to(mine / name)
    assert [file for file in hub.folder(mine)[:]["file"] if "up" not in file] == [
        "cat/1.png",
        "dog/1.png",
    ]
    assert len(hub.folder(mine)) == 2


def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path, repositories: Path) -> None:
    for place, read in (
        (tmp_path / "mine" / "b.png", lambda: hub.folder(tmp_path / "mine")),
        (tmp_path / "mine" / "dog", lambda: hub.folder(tmp_path / "mine")),
        (
            repositories / "flickr8k" / "data" / "train-1.parquet",
            lambda: hub.load("flickr8k", path=repositories),
        ),
    ):
        put(tmp_path / "mine" / "a.png", photograph(1))
        for target in (tmp_path / "gone", place):
            place.symlink_to(target)
            with pytest.raises(
                FileNotFoundError, match=f"{place.name}' is a link that leads nowhere"
            ):
                read()
            place.unlink()


def test_hidden_files_are_passed_over_everywhere(tmp_path: Path, repositories: Path) -> None:
    mine = tmp_path / "mine"
    put(mine / "dog" / "a.png", photograph(1))
    for name in (
        "._x.png",
        "dog/._a.png",
        "dog/.a.wav",
        ".git/b.png",
        ".checkpoints/metadata.csv",
        "._metadata.jsonl",
    ):
        put(mine / name, b"\0\5\x16\7 a side-car file")
    (mine / ".#lock").symlink_to("nowhere")
    assert hub.folder(mine)[:]["thing"] == ["dog"]
    put(mine / "dog" / "metadata.jsonl", '{"file_name": "._a.png", "text": "x"}')
    with pytest.raises(
        ValueError, match=r"line 1: '\._a\.png' is not read; a file must not be hidden"
    ):
        hub.folder(mine)
    data = repositories / "flickr8k"
    for name in ("._train-0.parquet", ".cache/train-0.parquet", "data/.train.parquet"):
        put(data / name, "not Parquet")
    check_flickr(hub.load("flickr8k", path=data, pixels=32), 30, 0)


def test_files_outside_the_splits_do_not_vanish(tmp_path: Path) -> None:
    """A train beside a bus and a car: three classes, not a split and two folders that nobody reads."""
    mine = tmp_path / "mine"
    for name in ("train/1.png", "bus/2.png", "car/3.png"):
        put(mine / name, photograph(1))
    with pytest.raises(
        ValueError, match=r"bus/2\.png' \(2 of 3 files\) lies in no split, beside 'train'"
    ):
        hub.folder(mine)


def test_changed_files_are_noticed(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    put(mine / "a.png", photograph(10))
    assert abs(int(hub.folder(mine)[0]["image"][0, 0, 0]) - 10) <= 1
    put(mine / "a.png", photograph(200))
    os.utime(mine / "a.png", (1, 1))
    assert abs(int(hub.folder(mine)[0]["image"][0, 0, 0]) - 200) <= 1
    put(mine / "b.png", photograph(10))
    assert len(hub.folder(mine)) == 2


# --- Wrong arguments and bad files ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "flicker8k"}, ValueError, "did you mean 'flickr8k'.*hub.folder"),
        ({"name": 3}, TypeError, "must be a string, not int"),
        ({"split": "dev"}, ValueError, "no split 'dev'; it has 'train', 'validation', 'test'"),
        ({"size": 0}, ValueError, "size must be 1 or more"),
        ({"size": 1.5}, TypeError, "size must be an integer, not float"),
        ({"size": True}, TypeError, "size must be an integer, not bool"),
        ({"pixels": 8}, ValueError, "pixels must lie from 16 to 1024, not 8"),
        ({"pixels": "64"}, TypeError, "pixels must be an integer, not str"),
        ({"size": 31}, ValueError, "has 30 samples; 31 were asked for"),
        ({"path": "/nowhere"}, FileNotFoundError, "no file or folder '/nowhere'"),
    ],
)
def test_wrong_arguments(
    repositories: Path, arguments: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        hub.load(**{"name": "flickr8k", "path": repositories / "flickr8k", **arguments})


def test_wrong_sample_rate(repositories: Path) -> None:
    with pytest.raises(ValueError, match="sample_rate must lie from 4000 to 48000, not 100"):
        hub.load("esc50", path=repositories / "esc50", sample_rate=100)


def test_no_parquet_of_the_split(repositories: Path, tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no Parquet file of split 'train'.*there: 'test-00000"
    ):
        hub.load("coco_captions", path=repositories / "coco_captions")
    bad = put(tmp_path / "train.parquet", "no parquet at all")
    with pytest.raises(ValueError, match=r"train\.parquet' cannot be read as a Parquet file"):
        hub.load("flickr8k", path=bad)


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder"):
        hub.folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no pictures \(\.bmp.*and no sounds"):
        hub.folder(tmp_path)
    mixed = tmp_path / "mixed"
    put(mixed / "a.png", photograph(1))
    put(mixed / "b.wav", recording(500))
    with pytest.raises(ValueError, match="pictures and sounds; put them into folders of their own"):
        hub.folder(mixed)
    broken = put(tmp_path / "broken" / "a.png", photograph(1)[:60])
    with pytest.raises(ValueError, match=r"a\.png' cannot be read as a picture"):
        hub.folder(broken.parent)
    noise = put(tmp_path / "noise" / "a.wav", b"RIFFnoise")
    with pytest.raises(ValueError, match=r"a\.wav' cannot be read as a sound"):
        hub.folder(noise.parent)


@pytest.mark.parametrize(
    ("metadata", "error", "message"),
    [
        ("{oops", ValueError, r"metadata\.jsonl', line 1: no JSON"),
        ('{"text": "x"}', ValueError, "line 1: every line needs a file_name"),
        ("[1]", ValueError, "line 1: every line needs a file_name"),
        (
            '{"file_name": "b.png", "text": "x"}',
            FileNotFoundError,
            "line 1: there is no file 'b.png'",
        ),
        ('{"file_name": "../x.png", "text": "x"}', ValueError, "leads out of the folder"),
        ('{"file_name": "a.png", "size": 3}', ValueError, "line 1: no caption; give one"),
        ('{"file_name": "a.png", "captions": []}', ValueError, "line 1: no caption"),
    ],
)
def test_bad_metadata(tmp_path: Path, metadata: str, error: type[Exception], message: str) -> None:
    mine = tmp_path / "mine"
    put(mine / "a.png", photograph(1))
    put(tmp_path / "x.png", photograph(1))
    put(mine / "metadata.jsonl", metadata)
    with pytest.raises(error, match=message):
        hub.folder(mine)


def told(
    tmp_path: Path, table: str | bytes, form: str = "jsonl", files: str = "ab"
) -> list[list[str]]:
    """The captions that a table gives to pictures a.png, b.png …"""
    for name in files:
        put(tmp_path / "mine" / f"{name}.png", photograph(ord(name)))
    put(tmp_path / "mine" / f"metadata.{form}", table)
    return hub.folder(tmp_path / "mine")[:]["captions"]


def test_several_lines_of_one_file_are_gathered_in_their_order(tmp_path: Path) -> None:
    """Flickr8k's own layout: one line for each caption."""
    csv_ = "file_name,text\nb.png,one\na.png,two\nb.png,three\na.png,two\n"
    assert told(tmp_path, csv_, "csv") == [["two", "two"], ["one", "three"]]
    (tmp_path / "mine" / "metadata.csv").unlink()
    lines = [("a", ["1", "2"]), ("b", ["3"]), ("a", ["4"])]
    table = "\n".join(
        json.dumps({"file_name": f"{name}.png", "captions": texts}) for name, texts in lines
    )
    assert told(tmp_path, table) == [["1", "2", "4"], ["3"]]


def test_several_columns_of_one_line_are_gathered(tmp_path: Path) -> None:
    numbered = {f"caption_{k}": str(k) for k in (10, 2, 0)}
    row = {
        "file_name": "a.png",
        "text": "t",
        "captions": ["c", "d"],
        "caption_score": 0.9,
        **numbered,
    }
    assert told(tmp_path, json.dumps(row), files="a") == [["c", "d", "t", "0", "2", "10"]]


def test_an_empty_cell_is_no_caption(tmp_path: Path) -> None:
    table = "file_name,caption_0,caption_1\na.png,one,\nb.png,two,three\n"
    assert told(tmp_path, table, "csv") == [["one"], ["two", "three"]]


@pytest.mark.parametrize(
    "mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"]
)
def test_lines_end_at_line_feeds_alone(tmp_path: Path, mark: str) -> None:
    rows = [{"file_name": f"{name}.png", "text": f"before{mark}after {name}"} for name in "ab"]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    if mark > "\x7f":  # JSON allows no control character inside a text
        assert told(tmp_path, "\r\n".join(lines)) == [[row["text"]] for row in rows]
        (tmp_path / "mine" / "metadata.jsonl").unlink()
    table = "file_name,text\r\n" + "".join(f"{row['file_name']},{row['text']}\r\n" for row in rows)
    assert told(tmp_path, table, "csv") == [[row["text"]] for row in rows]


def test_a_quoted_text_may_hold_commas_quotes_and_lines(tmp_path: Path) -> None:
    table = 'file_name,text\na.png,"a dog, ""Rex"",\r\nasleep"\n\nb.png,5" tall\n'
    assert told(tmp_path, table, "csv") == [['a dog, "Rex",\nasleep'], ['5" tall']]


@pytest.mark.parametrize(
    ("table", "line", "message"),
    [
        (
            "file_name,text\na.png,x\nb.png,a dog, asleep\n",
            3,
            "3 cells, but 2 columns; put quotes around",
        ),
        (
            'file_name,text\na.png,"x\ny"\n\nb.png,a dog, asleep\n',
            5,
            "3 cells, but 2 columns; put quotes around",
        ),
        (
            'file_name,text\na.png,"x\nb.png,y\n',
            2,
            "unexpected end of data; .*between quotation marks",
        ),
        ('file_name,text\na.png,"x"y\n', 2, "expected after.*; .*between quotation marks"),
        pytest.param(
            "file_name,text\na.png,x\nb.png," + "y" * 140_000,
            3,
            "field larger than field limit",
            id="long",
        ),
        ("file_name,text,text\na.png,x,y\n", 1, "'text' stands there twice"),
        (
            "file_name;text\na.png;x\n",
            2,
            "every line needs a file_name; this one has 'file_name;text'",
        ),
        ("file_name,text\na.png,\n", 2, "no caption; give one"),
        ("file_name,text\na.png\n", 2, "no caption; give one"),
        ("file_name,text\na.png,x\nnotes.txt,y\n", 3, r"'notes\.txt' is not read; .* \.png"),
        ("file_name,text\na.png,x\nc.png,y\n", 3, "there is no file 'c.png'"),
        (b"file_name,text\na.png,x\nb.png,caf\xe9\n", 3, "not UTF-8"),
    ],
)
def test_bad_csv_names_its_file_and_line(
    tmp_path: Path, table: str | bytes, line: int, message: str
) -> None:
    put(tmp_path / "mine" / "notes.txt", "not a picture")
    with pytest.raises(
        (ValueError, FileNotFoundError), match=rf"(?s)metadata\.csv', line {line}: .*{message}"
    ):
        told(tmp_path, table, "csv")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"file_name": "b.png", "text": "x", "text": "y"}', "'text' stands there twice"),
        (r'{"file_name": "b.png", "text": "\ud800"}', r"text must be text, .*not '\\ud800'"),
        (
            r'{"file_name": "b.png", "captions": ["x", "\udfff"]}',
            r"captions must be text, .*not '\\udfff'",
        ),
        (r'{"file_name": "\ud800.png", "text": "x"}', r"there is no file '\\ud800.png'"),
        (r'{"file_name": "/\u0000/b.png", "text": "x"}', "leads out of the folder"),
        pytest.param(
            json.dumps({"file_name": "b" * 5000 + ".png", "text": "x"}),
            "there is no file 'bbb",
            id="long name",
        ),
        (
            '{"file_name": "b.png", "captions": ["x", 3]}',
            "captions must be text, or a list of texts, not 3",
        ),
        ('{"file_name": "b.png", "text": 3}', "text must be text, or a list of texts, not 3"),
        ('{"file_name": "b.png", "text": " "}', "text must be text, or a list of texts, not ' '"),
        ('{"file_name": "b.png", "text": null}', "no caption; give one"),
        ('{"file_name": "notes.txt", "text": "x"}', r"'notes\.txt' is not read; .* \.png"),
        pytest.param("[" * 100_000, "no JSON that can be read", id="deep"),
    ],
)
def test_bad_json_names_its_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    put(tmp_path / "mine" / "notes.txt", "not a picture")
    with pytest.raises(
        (ValueError, FileNotFoundError), match=rf"(?s)metadata\.jsonl', line 3: .*{message}"
    ):
        told(tmp_path, '{"file_name": "a.png", "text": "x"}\n\n' + line)


def test_two_tables_of_one_folder_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "mine" / "metadata.csv", "file_name,text\na.png,x\n")
    with pytest.raises(
        ValueError,
        match=r"metadata\.csv' and '.*metadata\.jsonl' are two tables of one folder; keep one",
    ):
        told(tmp_path, '{"file_name": "b.png", "text": "y"}')


def test_tables_of_several_folders(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    put(mine / "a.png", photograph(1))
    put(mine / "sub" / "b.png", photograph(1))
    put(mine / "metadata.jsonl", '{"file_name": "a.png", "text": "x"}')
    put(mine / "sub" / "METADATA.CSV", "file_name,text\nb.png,y\n")
    assert hub.folder(mine)[:]["captions"] == [["x"], ["y"]]
    put(
        mine / "metadata.jsonl",
        '{"file_name": "a.png", "text": "x"}\n{"file_name": "sub/b.png", "text": "z"}',
    )
    with pytest.raises(
        ValueError, match=r"METADATA\.CSV', line 2: .*metadata\.jsonl' has a line for 'b\.png' too"
    ):
        hub.folder(mine)
    put(mine / "sub" / "METADATA.CSV", "file_name,text\n")
    with pytest.raises(ValueError, match=r"METADATA\.CSV' has no lines"):
        hub.folder(mine)


def test_one_table_for_all_splits(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    names = ["train/a.png", "test/b.png"]
    for name in names:
        put(mine / name, photograph(1))
    put(
        mine / "metadata.jsonl",
        "\n".join(json.dumps({"file_name": name, "text": name}) for name in names),
    )
    assert hub.folder(mine)[:]["captions"] == [["train/a.png"]]
    assert hub.folder(mine, "test")[:]["captions"] == [["test/b.png"]]


def test_parquet_of_the_wrong_columns_names_file_and_columns(
    tmp_path: Path, fake_hub, repositories: Path
) -> None:
    import datasets as d

    for name in hub.names():
        file = write_parquet(
            tmp_path / name / "train.parquet", {"picture": ["x"]}, {"picture": d.Value("string")}
        )
        file = file.rename(file.with_name("any.parquet"))
        with pytest.raises(
            ValueError, match=r"any\.parquet' has no column '.*'; it has 'picture'; needed are '.*'"
        ):
            hub.load(name, "train", path=file)
    with pytest.raises(ValueError, match=r"has no column 'text'; it has 'image', 'caption_0'"):
        hub.load("text8", path=repositories / "flickr8k")
    write_parquet(
        repositories / "text8" / "data" / "train-00000-of-00001.parquet",
        {"words": ["x"]},
        {"words": d.Value("string")},
    )
    with pytest.raises(
        ValueError, match="'afmck/text8' has no column 'text'; it has 'words'; needed are 'text'"
    ):
        hub.load("text8")


def test_a_bad_row_of_a_parquet_file_is_named(tmp_path: Path) -> None:
    import datasets as d

    text = d.Value("string")
    types = {"image": d.Image(), "cocoid": d.Value("int64"), "caption": text}
    pictures = [packed(photograph(1), None), packed(b"noise", "b.jpg")]
    columns = {"image": pictures * 10, "cocoid": list(range(20)), "caption": ["x"] * 19 + [None]}
    file = write_parquet(tmp_path / "train.parquet", columns, types)
    with pytest.raises(
        ValueError, match=r"^row 20 of '.*train\.parquet' has nothing in column 'caption'"
    ):
        hub.load("coco_captions", path=file)
    columns["caption"][-1] = "x"
    write_parquet(file, columns, types)
    with pytest.raises(
        ValueError, match=r"^row 2 of '.*train\.parquet' \('b\.jpg'\) cannot be read as a picture: "
    ) as caught:
        hub.load("coco_captions", path=file)
    assert "0x" not in str(caught.value)  # the address of an object says nothing
    content = bytearray(file.read_bytes())
    content[40 : len(content) // 2] = b"\xff" * (len(content) // 2 - 40)
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"train\.parquet' cannot be read as a Parquet file"):
        hub.load("coco_captions", path=file)


def test_an_error_that_nobody_foresaw_tells_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "mine" / "a.png", photograph(1))
    put(tmp_path / "mine" / "b.png", photograph(1))
    real = hub.picture
    monkeypatch.setattr(
        own, "picture", lambda file, side: real(file, side) if file.name == "a.png" else 1 / 0
    )
    with pytest.raises(ZeroDivisionError) as caught:
        hub.folder(tmp_path / "mine")
    assert "sample 1 of '" in caught.value.__notes__[0]


def test_metadata_that_forgets_a_file(tmp_path: Path) -> None:
    put(tmp_path / "mine" / "a.png", photograph(1))
    put(tmp_path / "mine" / "b.png", photograph(1))
    put(tmp_path / "mine" / "metadata.jsonl", '{"file_name": "a.png", "text": "x"}')
    with pytest.raises(ValueError, match=r"no line for .*b\.png' \(1 of 2 files\)"):
        hub.folder(tmp_path / "mine")
    put(tmp_path / "mine" / "metadata.jsonl", b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not UTF-8"):
        hub.folder(tmp_path / "mine")


# --- What is damaged, uncaptioned or changing -----------------------------------------------------


def a_folder(tmp_path: Path, **files: bytes | str) -> Path:
    mine = tmp_path / "mine"
    for number, name in enumerate(("a.png", "b.png", "c.png")):
        put(mine / name, photograph(10 * number + 10))
    for name, content in files.items():
        put(mine / name.replace("_", "."), content)
    return mine


@pytest.mark.parametrize("bad", [b"", b"not a picture", photograph(1)[:60], b"GIF89a"])
def test_a_damaged_picture_is_refused_or_skipped_by_name(tmp_path: Path, bad: bytes) -> None:
    mine = a_folder(tmp_path, b_png=bad)
    with pytest.raises(ValueError, match=r"b\.png' cannot be read as a picture"):
        hub.folder(mine, pixels=16)
    for _ in range(2):  # the second time from the cache, and not in silence either
        with pytest.warns(
            hub.FolderWarning, match=r"1 of 3 files cannot be decoded.*b\.png'"
        ) as told:
            data = hub.folder(mine, pixels=16, damaged="skip")
        assert told[0].filename == __file__
        assert data[:]["file"] == ["a.png", "c.png"]
        assert data.column_names == ["file", "image"]
        assert [int(row["image"][0, 0, 0]) for row in data] == [10, 30]
        assert data[:]["image"].shape == (2, 16, 16, 3)
    put(mine / "b.png", photograph(99))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(hub.folder(mine, pixels=16, damaged="skip")) == 3
        assert len(hub.folder(mine, pixels=16)) == 3


def test_skipped_files_keep_the_captions_of_the_others(tmp_path: Path) -> None:
    lines = [{"file_name": f"{n}.png", "text": n} for n in "abc"]
    mine = a_folder(tmp_path, b_png=b"x", metadata_jsonl="\n".join(map(json.dumps, lines)))
    with pytest.warns(hub.FolderWarning):
        data = hub.folder(mine, damaged="skip")
    assert data[:]["captions"] == [["a"], ["c"]]
    with pytest.warns(hub.FolderWarning, match="1 of 2 files"):
        assert len(hub.folder(mine, size=2, damaged="skip")) == 1


def test_many_damaged_files_are_counted_and_all_of_them_are_an_error(tmp_path: Path) -> None:
    mine = a_folder(tmp_path)
    for number in range(7):
        put(mine / f"x{number}.jpg", b"x")
    with pytest.warns(hub.FolderWarning, match=r"7 of 10 .*x4\.jpg'.*; and 2 more"):
        assert len(hub.folder(mine, damaged="skip")) == 3
    for name in "abc":
        (mine / f"{name}.png").unlink()
    with pytest.raises(ValueError, match=r"no file of .* can be decoded; the first one: .*x0\.jpg"):
        hub.folder(mine, damaged="skip")


def test_a_damaged_sound_is_skipped_by_name(tmp_path: Path) -> None:
    put(tmp_path / "mine" / "a.wav", recording(500))
    put(tmp_path / "mine" / "b.wav", b"RIFFnoise")
    with pytest.warns(hub.FolderWarning, match=r"b\.wav"):
        data = hub.folder(tmp_path / "mine", damaged="skip")
    assert data[:]["file"] == ["a.wav"]
    assert len(data[0]["wave"]) == 4000


@pytest.mark.parametrize(
    "lines",
    [
        [{"file_name": "a.png", "text": "x"}, {"file_name": "c.png", "text": "z"}],
        [{"file_name": n, "text": t} for n, t in (("a.png", "x"), ("b.png", " "), ("c.png", "z"))],
        [{"file_name": "a.png", "text": "x"}, {"file_name": "b.png"}, {"file_name": "c.png", "text": "z"}],
        [{"file_name": "a.png", "captions": ["x"]}, {"file_name": "b.png", "captions": ["", None]},
         {"file_name": "c.png", "captions": ["z", ""]}],
    ],
)  # fmt: skip
def test_a_picture_without_a_caption_is_refused_skipped_or_kept(
    tmp_path: Path, lines: list[dict]
) -> None:
    mine = a_folder(tmp_path, metadata_jsonl="\n".join(map(json.dumps, lines)))
    with pytest.raises(ValueError):
        hub.folder(mine)
    with pytest.warns(hub.FolderWarning, match=r"1 of 3 files have no caption .*: b\.png"):
        data = hub.folder(mine, uncaptioned="skip")
    assert data[:]["file"] == ["a.png", "c.png"]
    assert data[:]["captions"] == [["x"], ["z"]]
    kept = hub.folder(mine, uncaptioned="keep")
    assert kept[:]["captions"] == [["x"], [], ["z"]]


def test_captions_that_are_no_text_are_refused_whatever_is_asked(tmp_path: Path) -> None:
    mine = a_folder(tmp_path, metadata_jsonl='{"file_name": "a.png", "text": 3}')
    for asked in hub.UNCAPTIONED:
        with pytest.raises(ValueError, match="line 1: text must be text"):
            hub.folder(mine, uncaptioned=asked)
    put(mine / "metadata.jsonl", '{"file_name": "a.png"}')
    with pytest.raises(ValueError, match="no file has a caption"):
        hub.folder(mine, uncaptioned="skip")
    assert hub.folder(mine, uncaptioned="keep")[:]["captions"] == [[], [], []]


def test_sorts_that_are_not_read_are_told(tmp_path: Path) -> None:
    """Half of a telephone's pictures must not vanish without a word."""
    for name in ("train/dog/a.png", "train/dog/b.HEIC", "train/cat/c.png", "train/cat/d.jfif"):
        put(tmp_path / "mine" / name, photograph(1))
    put(tmp_path / "mine" / "test" / "dog" / "e.avif", photograph(1))
    put(tmp_path / "mine" / "train" / "dog" / "notes.txt", "a dog")
    message = (
        r"2 of 4 files are of a sort that is not read .*: train/cat/d\.jfif; train/dog/b\.HEIC$"
    )
    with pytest.warns(hub.FolderWarning, match=message) as told:
        assert len(hub.folder(tmp_path / "mine")) == 2
    assert len(told) == 1
    assert told[0].filename == __file__


@pytest.mark.parametrize("name", ["captions.txt", "metadata.json", "Metadata.parquet"])
def test_captions_in_a_file_that_is_not_read_are_told(tmp_path: Path, name: str) -> None:
    """Else the names of folders would stand for them without a word."""
    put(tmp_path / "mine" / "dog" / "a.png", photograph(1))
    put(tmp_path / "mine" / "dog" / name, "a.png,a dog on the beach")
    with pytest.warns(
        hub.FolderWarning, match=f"{name}' is not read, .* metadata.jsonl or"
    ) as told:
        assert hub.folder(tmp_path / "mine")["thing"][:] == ["dog"]
    assert told[0].filename == __file__
    put(tmp_path / "mine" / "dog" / "metadata.csv", "file_name,text\na.png,a dog")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hub.folder(tmp_path / "mine")


def test_a_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "mine" / "a.png", photograph(1))
    assert hub.folder("~/mine", pixels=16)["file"][:] == ["a.png"]
    assert hub.picture("~/mine/a.png", 16).shape == (16, 16, 3)
    put(tmp_path / "~" / "mine" / "b.png", photograph(2))
    assert hub.folder("~/mine", pixels=16)["file"][:] == ["b.png"]  # it is called so
    for name in ("~/nowhere", "~nobody-of-that-name/mine"):
        with pytest.raises(FileNotFoundError, match=f"no folder '{name}'"):
            hub.folder(name)


def test_spaces_beside_the_names_of_columns(tmp_path: Path) -> None:
    put(tmp_path / "mine" / "a.png", photograph(1))
    put(tmp_path / "mine" / "metadata.csv", "file_name, caption \na.png,a dog\n")
    assert hub.folder(tmp_path / "mine")["captions"][:] == [["a dog"]]


def test_no_metadata_gives_no_captions(tmp_path: Path) -> None:
    for asked in hub.UNCAPTIONED:
        assert hub.folder(a_folder(tmp_path), uncaptioned=asked).column_names == ["file", "image"]


def test_unknown_wishes(tmp_path: Path) -> None:
    for wish in ({"damaged": "keep"}, {"uncaptioned": None}):
        with pytest.raises(ValueError, match="must be one of"):
            hub.folder(a_folder(tmp_path), **wish)


@pytest.mark.parametrize("damaged", hub.DAMAGED)
@pytest.mark.parametrize("change", ["gone", "other", "half"])
def test_a_folder_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, damaged: str
) -> None:
    """What is decoded must be what was listed: it is stored under the digest of that."""
    mine = a_folder(tmp_path)
    real = hub.picture
    whole = (mine / "c.png").read_bytes()

    def picture(file: Path, pixels: int) -> np.ndarray:
        if file.name == "b.png":
            if change == "gone":
                (mine / "c.png").unlink()
            else:
                put(mine / "c.png", photograph(200) if change == "other" else whole[:70])
        return real(file, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(own, "picture", picture)
        with pytest.raises(
            RuntimeError, match=r"mine' changed while it was read, at .*c\.png'; read"
        ):
            hub.folder(mine, damaged=damaged)
    put(mine / "c.png", whole)
    assert int(hub.folder(mine)[2]["image"][0, 0, 0]) == 30


def test_a_file_that_goes_between_listing_and_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = a_folder(tmp_path)
    real = own.own_splits

    def splits(root: Path, names: list[str]) -> dict[str, str]:
        (mine / "b.png").unlink()
        return real(root, names)

    monkeypatch.setattr(own, "own_splits", splits)
    with pytest.raises(RuntimeError, match=r"changed while it was read, at .*b\.png"):
        hub.folder(mine)


def test_a_table_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "\n".join(json.dumps({"file_name": f"{n}.png", "text": n}) for n in "abc")
    mine = a_folder(tmp_path, metadata_jsonl=lines)
    real = tables._metadata_rows

    def rows(table: Path):
        yield from real(table)
        table.write_text(lines.replace('"text": "a"', '"text": "A"'))

    with monkeypatch.context() as patch:
        patch.setattr(tables, "_metadata_rows", rows)
        with pytest.raises(RuntimeError, match=r"changed while it was read, at .*metadata\.jsonl"):
            hub.folder(mine)
    assert hub.folder(mine)[0]["captions"] == ["A"]


def test_korean_captions_and_names(tmp_path: Path) -> None:
    mine = tmp_path / "사진"
    put(mine / f"{NFD}.png", photograph(10))
    put(
        mine / "metadata.csv",
        f"file_name,text\n{NFC}.png,강아지가 해변에 있다\n".encode("utf-8-sig"),
    )
    assert hub.folder(mine)[0]["captions"] == ["강아지가 해변에 있다"]


def test_two_files_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    put(mine / "x" / "a.png", photograph(10))
    put(mine / "y" / "a.png", photograph(20))
    put(mine / "y" / "a.jpg", photograph(30, form="JPEG"))
    assert hub.folder(mine)[:]["file"] == ["x/a.png", "y/a.jpg", "y/a.png"]


def test_importing_the_hub_loads_nothing_heavy() -> None:
    code = "import sys; from mmtutor import hub; hub.names(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "datasets", "pyarrow", "PIL", "pandas", "soundfile"} & set(loaded)
