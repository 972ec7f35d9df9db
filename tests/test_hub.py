"""Real data in the world's columns: tried on small files of the real schemas, and on a Hub that cannot be reached."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmtutor import hub, world
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


def recording(frequency: float, rate: int = 8000, seconds: float = 0.25, form: str = "WAV", channels: int = 1) -> bytes:
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
        root / "text8" / "data" / "train-00000-of-00001.parquet", {"text": [" one two three" * 900]}, {"text": text}
    )
    return root


@pytest.fixture
def fake_hub(repositories: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """``datasets.load_dataset`` itself, reading from ``repositories`` where it would have read from the network."""
    import datasets

    real, asked = datasets.load_dataset, []

    def load_dataset(repository: str, configuration: str | None = None, *, split: str, streaming: bool):
        asked.append(repository)
        (name,) = (name for name, source in hub.SOURCES.items() if source.repository == repository)
        files = {split: str(repositories / name / "data" / f"{split}-*.parquet")}
        return real("parquet", data_files=files, split=split, streaming=streaming, cache_dir=str(repositories))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


# --- Known sets -----------------------------------------------------------------------------------------------------


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
    with pytest.raises(ValueError, match="'flickr8k' is no text; the texts are 'text8', 'wikitext2'"):
        hub.corpus("flickr8k")


def test_every_source_is_described() -> None:
    assert set(hub.names()) == set(hub.SOURCES)
    for name in hub.names():
        entry = hub.info(name)
        assert entry["licence"]
        assert entry["citation"]
        assert "train" in entry["splits"] or "test" in entry["splits"]
        assert entry["repository"].count("/") == 1


# --- The cache ------------------------------------------------------------------------------------------------------


def test_second_load_needs_no_network(fake_hub: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first = hub.load("flickr8k", size=20)
    hub.load("flickr8k", "test")
    assert len(fake_hub) == 2
    again, fewer, whole = hub.load("flickr8k", size=20), hub.load("flickr8k", size=7), hub.load("flickr8k", "test")
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
        tmp_path / "train.parquet", {"text": [f"line {i}" for i in range(450)]}, {"text": d.Value("string")}
    )
    for size in (120, 250, 450):
        data = hub.load("wikitext2", "train", size, path=file)
        assert [row["words"] for row in data] == [["line", str(i)] for i in range(size)]
    assert len(hub.load("wikitext2", path=file)) == 450
    with pytest.raises(ValueError, match=r"has 450 samples; 451 were asked for"):
        hub.load("wikitext2", size=451, path=file)


def test_unusable_cache_warns_and_still_answers(repositories: Path, monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(cache.CacheWarning, match="MMTUTOR_CACHE"):
        check_flickr(hub.load("flickr8k", path=repositories / "flickr8k", pixels=32), 30, 0)


# --- No network -----------------------------------------------------------------------------------------------------


def test_offline_says_what_it_needs(tmp_path: Path) -> None:
    """In earnest: a fresh interpreter, the real library, told to stay off the network."""
    code = "from mmtutor import hub\ntry: hub.load('flickr8k', size=3)\nexcept ConnectionError as error: print(error)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    for needed in ("'jxie/flickr8k'", "HF_HUB_OFFLINE", "path=", "Parquet", str(tmp_path / "cache")):
        assert needed in run.stdout, run.stdout + run.stderr


def test_other_errors_are_not_taken_for_a_missing_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def broken(*_args, **_kwargs):
        raise KeyError("a bug")

    monkeypatch.setattr(datasets, "load_dataset", broken)
    with pytest.raises(KeyError, match="a bug"):
        hub.load("flickr8k", size=3)


# --- A reader's own folder ------------------------------------------------------------------------------------------


def put(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_own_pictures_with_captions(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for number, name in enumerate(["b.png", "a.jpg", "sub/c.webp"]):
        put(
            mine / name,
            photograph(40 * number, form={"g": "JPEG", "p": "WEBP"}.get(name[-1], "PNG") if name != "b.png" else "PNG"),
        )
    lines = [
        {"file_name": "a.jpg", "captions": ["one", "two"]},
        {"file_name": "b.png", "text": "three 안녕"},
        {"file_name": "sub/c.webp", "caption_1": "five", "caption_0": "four", "score": 3},
    ]
    put(mine / "metadata.jsonl", "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n\n")
    data = hub.folder(mine, pixels=24)
    assert data[:]["file"] == ["a.jpg", "b.png", "sub/c.webp"]
    assert data[:]["captions"] == [["one", "two"], ["three 안녕"], ["four", "five"]]
    assert data[:]["image"].shape == (3, 24, 24, 3)
    assert abs(int(data[0]["image"][0, 0, 0]) - 40) < 8
    assert data.features["captions"] == world.info("scenes")["columns"]["captions"]


def test_own_classes_and_splits(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for name in ("train/dog/1.png", "train/cat/2.png", "train/cat/3.png", "test/dog/4.png", "train/.hidden/5.png"):
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
            put(mine / "metadata.jsonl", "\n".join(json.dumps({"file_name": f, "text": t}) for f, t in rows))
        else:
            quoted = ['"{}","{}"'.format(f, t.replace('"', '""')) for f, t in rows]
            put(mine / "metadata.csv", "\n".join(["file_name,text", *quoted]))
    else:
        prefix = ["train/", "test/"] if layout == "splits and classes" else [""]
        for start in prefix:
            for name in ("dog/a.png", "cat/b.jpg", "cat/c.png"):
                put(mine / (start + name), photograph(ord(name[4]), form="JPEG" if name.endswith("jpg") else "PNG"))
    for split in ("train", "test") if layout == "splits and classes" else ("train",):
        theirs = datasets.load_dataset(
            "imagefolder", data_dir=str(mine), split=split, streaming=True, cache_dir=str(tmp_path / "hf")
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
def test_wav_without_soundfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtype: str, channels: int) -> None:
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
    soundfile.write(tmp_path / "x.wav", np.array([1.0, -1.0, 2.0, -2.0, 0.0]), 8000, subtype="FLOAT")
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


def test_changed_files_are_noticed(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    put(mine / "a.png", photograph(10))
    assert abs(int(hub.folder(mine)[0]["image"][0, 0, 0]) - 10) <= 1
    put(mine / "a.png", photograph(200))
    os.utime(mine / "a.png", (1, 1))
    assert abs(int(hub.folder(mine)[0]["image"][0, 0, 0]) - 200) <= 1
    put(mine / "b.png", photograph(10))
    assert len(hub.folder(mine)) == 2


# --- Wrong arguments and bad files ----------------------------------------------------------------------------------


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
def test_wrong_arguments(repositories: Path, arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        hub.load(**{"name": "flickr8k", "path": repositories / "flickr8k", **arguments})


def test_wrong_sample_rate(repositories: Path) -> None:
    with pytest.raises(ValueError, match="sample_rate must lie from 4000 to 48000, not 100"):
        hub.load("esc50", path=repositories / "esc50", sample_rate=100)


def test_no_parquet_of_the_split(repositories: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no Parquet file of split 'train'.*there: 'test-00000"):
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
        ('{"file_name": "b.png", "text": "x"}', FileNotFoundError, "line 1: there is no file 'b.png'"),
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


def test_metadata_that_forgets_a_file(tmp_path: Path) -> None:
    put(tmp_path / "mine" / "a.png", photograph(1))
    put(tmp_path / "mine" / "b.png", photograph(1))
    put(tmp_path / "mine" / "metadata.jsonl", '{"file_name": "a.png", "text": "x"}')
    with pytest.raises(ValueError, match=r"no line for .*b\.png' \(1 of 2 files\)"):
        hub.folder(tmp_path / "mine")
    put(tmp_path / "mine" / "metadata.jsonl", b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not UTF-8"):
        hub.folder(tmp_path / "mine")


def test_importing_the_hub_loads_nothing_heavy() -> None:
    code = "import sys; from mmtutor import hub; hub.names(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "datasets", "pyarrow", "PIL", "pandas", "soundfile"} & set(loaded)
