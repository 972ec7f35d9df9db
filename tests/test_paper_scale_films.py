"""The paper cells of the chapters with recipes, films, sounds and voices, on small folders of made files.

See ``papercells``: the cells and the sizes of the models are the real ones; where a test takes
smaller ones, it says so.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from papercells import Paper, run_paper
from PIL import Image

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220)}


@pytest.fixture(autouse=True)
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path / "cache"))


def paint(path: Path, number: int, side: int = 48) -> Path:
    """A wall in one of three colours, with noise of its own."""
    dice = np.random.default_rng(number)
    colour = np.array(list(COLOURS.values())[number % 3])
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = dice.integers(-20, 20, (side, side, 3))
    Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8)).save(path)
    return path


def talk(path: Path, number: int, seconds: float, rate: int = 8000) -> Path:
    """A voice, nearly: a tone that swings, with overtones and a little noise."""
    t = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (120 + 40 * (number % 5)) * t + 3 * np.sin(2 * np.pi * 4 * t)
    loud = 0.6 + 0.4 * np.sin(2 * np.pi * 3 * t + number)
    wave = loud * sum(np.sin(k * phase) / k for k in range(1, 6))
    wave = 0.2 * wave + 0.01 * np.random.default_rng(number).standard_normal(len(t))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate)
    return path


def table(folder: Path, lines: list[dict]) -> None:
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")


def numbers(pattern: str, left: Paper) -> list[float]:
    """The numbers of the one line that has this form."""
    (found,) = re.findall(pattern, left.printed)
    return [float(one) for one in ([found] if isinstance(found, str) else found)]


def test_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split, count in (("train", 9), ("test", 6)):
        lines = []
        for k in range(count):
            paint(tmp_path / split / f"{k}.png", k)
            colour = list(COLOURS)[k % 3]
            steps = [f"Take {colour} fruit.", "!", f"Cook it for {k} minutes."]
            own = {"title": f"{colour} soup {k}", "ingredients": [colour, "salt"]}
            own |= {"instructions": steps, "class": colour if k else ""}
            lines.append({"file_name": f"{k}.png"} | own)
        table(tmp_path / split, lines)
    left = run_paper(
        "05_recipes", monkeypatch, steps=3, replace={"my/recipes": str(tmp_path)}, batch_size=9
    )
    left.check()
    (run,) = left.runs
    c = run.model.config
    assert (c.image, c.sentence, c.joint, c.pairs, c.classes) == (2048, 1024, 1024, "drawn", 3)
    assert (run.settings["lr"], run.settings["batch_size"]) == (1e-4, 160)
    assert {"picture.weight", "sentences.weight_hh_l0", "classify.weight"} <= run.moved
    assert left["encoded"]("train")["label"].tolist() == [
        -1,
        1,
        0,
        2,
        1,
        0,
        2,
        1,
        0,
    ]  # 0.png has no class
    for way in ("dish → recipe", "recipe → dish"):
        rank, share = numbers(rf"{way}: median rank (\S+) of 6, R@10 (\S+)", left)
        assert 1 <= rank <= 6
        assert share == 1.0
    assert re.search(
        r"the first dish is 'red soup 0'; its best recipe: '\w+ soup \d'", left.printed
    )


def esc50(root: Path) -> None:
    """ESC-50 with the columns of the real one, and two kinds of sound in clips of half a second."""
    import datasets as d
    from test_hub import packed, recording, write_parquet

    text, whole = d.Value("string"), d.Value("int64")
    kinds = [("dog", 0), ("rain", 1)]
    rows = [(kinds[k % 2], 4 + k // 6) for k in range(12)]
    columns = {
        "filename": [f"{k}.wav" for k in range(12)],
        "fold": [fold for _, fold in rows],
        "target": [kind[1] for kind, _ in rows],
        "category": [kind[0] for kind, _ in rows],
        "audio": [packed(recording(300 + 2000 * k[1], seconds=0.5), None) for k, _ in rows],
    }
    features = {"filename": text, "fold": whole, "target": whole, "category": text}
    features |= {"audio": d.Audio(sampling_rate=44100)}
    write_parquet(root / "esc50" / "data" / "train-00000-of-00001.parquet", columns, features)


def test_soundnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    esc50(tmp_path / "hub")
    real = datasets.load_dataset

    def local(repository: str, configuration: None, *, split: str, streaming: bool) -> object:
        assert repository == "ashraq/esc50"
        files = {split: str(tmp_path / "hub/esc50/data/*.parquet")}
        cache = str(tmp_path / "datasets")
        return real("parquet", data_files=files, split=split, streaming=streaming, cache_dir=cache)

    monkeypatch.setattr(datasets, "load_dataset", local)
    films = tmp_path / "films"
    for k in range(3):
        for n in range(2):
            paint(films / f"{k}" / f"{n}.png", k + n)
        talk(films / f"{k}.wav", k, 20.5 if k else 4)
    (films / "broken").mkdir()
    (films / "broken" / "1.png").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match=r"1 of 4 files cannot be decoded.*broken"):
        left = run_paper(
            "06_soundnet", monkeypatch, replace={"my/sounding_films": str(films)}, batch_size=3
        )
    left.check()
    (run,) = left.runs
    assert [layer.channels for layer in run.model.config.stack][-1] == 1024
    assert run.settings["max_steps"] == 100_000
    assert (run.settings["batch_size"], run.settings["lr"]) == (64, 1e-3)
    assert {"conv.0.weight", "conv.6.weight", "heads.objects.weight"} <= run.moved
    assert left["data"]["wave"].shape == (3, 20 * 22050)
    assert left["data"]["objects"].shape == (3, 4, 1000)
    assert left["x"]["train"].shape[0] == 6
    (right,) = numbers(r"ESC-50: (\S+)% right", left)
    assert 0 <= right <= 100
    said = re.search(r"0 sounds like (.*)", left.printed)[1].split(", ")
    assert len(said) >= 3
    assert left.names["class_names"]()[left["guess"][0]] in said


def speakers(root: Path, seconds: float, shape: tuple[int, ...]) -> Path:
    """Two speakers of each split, two recordings of each, and vectors of a face beside them."""
    for split in ("train", "test"):
        for s, who in enumerate(("anna", "ben")):
            for k in range(2):
                path = talk(root / split / who / f"{k}.wav", 3 * s + k, seconds)
                dice = np.random.default_rng(s)  # the same face in both
                np.save(path.with_suffix(".npy"), dice.standard_normal(shape).astype(np.float32))
    return root


def test_speech2face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an eighth of the channels, small frozen face networks and a narrow layer before the
    vector: at their real sizes the model and its moments take 5 GB. The layers, the 4,096 numbers
    and the seconds are real."""

    def smaller(names: dict) -> None:
        paper = names["Config"].paper
        few = dict(blocks=((1, 8), (1, 8), (1, 8), (1, 8), (1, 8)), face_hidden=64, hidden=64)
        few["stack"] = tuple(own._replace(channels=own.channels // 8) for own in paper().stack)
        few["decoder_channels"] = (8, 8, 8, 8)
        monkeypatch.setattr(names["Config"], "paper", lambda: paper(**few))

    folder = speakers(tmp_path / "speakers", 2.0, (4096,))
    left = run_paper(
        "07_speech2face",
        monkeypatch,
        prepare=smaller,
        replace={"my/voices_and_faces": str(folder)},
        batch_size=2,
    )
    left.check()
    (run,) = left.runs
    assert (run.model.config.samples, run.model.config.feature) == (96_000, 4096)
    assert (run.settings["batch_size"], run.settings["epochs"]) == (8, 3)
    assert run.settings["schedule"](20_000, 1) == pytest.approx(0.95**2)
    assert "voice.fc2.weight" in run.moved
    assert all(name.startswith("voice.") for name in run.moved)  # the face networks are frozen
    rank, of = numbers(r"an own face at rank (\S+) of (\d+) in the median", left)
    assert of == 4
    assert 1 <= rank <= 3  # two of the four are one's own
    assert re.search(r"first voice is anna's; the face nearest to it is (anna|ben)'s", left.printed)


def films_with_captions(root: Path) -> Path:
    for split, count in (("train", 6), ("test", 3)):
        lines = []
        for k in range(count):
            for n in range(3):
                paint(root / split / f"film{k}" / f"{n}.png", k)
            colour = list(COLOURS)[k % 3]
            own = [f"a {colour} wall stands", f"the {colour} wall"]
            lines.append({"file_name": f"film{k}", "captions": own})
        table(root / split, lines)
    return root


def test_video_captioning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 512 units of the LSTM in place of 3,518, which would take 2 GB and half a minute."""

    def smaller(names: dict) -> None:
        paper = names["Config"].paper
        monkeypatch.setattr(names["Config"], "paper", lambda **own: paper(**{"hidden": 512, **own}))

    folder = films_with_captions(tmp_path / "films")
    left = run_paper(
        "10_video_captioning",
        monkeypatch,
        steps=12,
        prepare=smaller,
        replace={"my/films": str(folder)},
    )
    left.check()
    (run,) = left.runs
    c = run.model.config
    assert (c.features, c.embedding, c.attention) == (1024, 468, 1024)
    assert run.settings["optimizer"].__name__ == "Adadelta"
    assert {"attention.key.weight", "from_state.weight", "output.weight"} <= run.moved
    assert left["seen"]["train"].shape == (6, 28, 1024)
    assert len(left["written"]) == 3
    assert all(set(one.split()) <= set(left["words"].words) for one in left["written"])
    assert left.printed.splitlines()[-1] == f"test/film0: {left['written'][0]}"
    assert 0 <= left["scores"]["BLEU-4"] <= 1


def test_image_to_speech(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 12 units and 16 clusters in place of 1,024 of each, which want minutes of speech."""

    def smaller(names: dict) -> None:
        paper = names["Config"].paper
        monkeypatch.setattr(names["Config"], "paper", lambda: paper(units=12, teachers=16))

    folder = tmp_path / "spoken"
    for split, count in (("train", 4), ("test", 2)):
        for k in range(count):
            paint(folder / split / f"{k}.png", k)
            talk(folder / split / f"{k}.wav", k, 2.0, 16000)
    left = run_paper(
        "12_image_to_speech",
        monkeypatch,
        steps=2,
        prepare=smaller,
        replace={"my/spoken_pictures": str(folder)},
        batch_size=4,
    )
    left.check(3)
    ears, captioner, voice = (run.moved for run in left.runs)
    assert {"stages.3.1.norm1.weight", "answer.weight"} <= ears
    assert {"key.weight", "lstm.weight_hh_l0", "output.weight"} <= captioner
    assert "paint.weight" in voice
    assert left["maps"]["train"].shape == (4, 2048, 14, 14)
    assert all(int(own.max()) < 12 for own in left["said"] if len(own))
    score, seconds = (row[2] for row in left["rows"][-2:])
    assert 0 <= float(score) <= 1
    frames = len(left["speech"]) / (left["big"].period * left["big"].rate)
    assert frames == int(frames)  # whole frames of units
    assert float(seconds) == pytest.approx(len(left["speech"]) / 16000, abs=0.01)


def test_sound_localization(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "test"):
        for k in range(5):
            path = paint(tmp_path / "pictures" / split / f"{k}.png", k)
            heard = np.random.default_rng(k % 3).standard_normal(1000)
            np.save(path.with_suffix(".npy"), heard)
    left = run_paper(
        "15_sound_localization",
        monkeypatch,
        steps=3,
        replace={"my/pictures": str(tmp_path / "pictures")},
        batch_size=5,
    )
    left.check()
    (run,) = left.runs
    assert run.model.config.image == (512, 20, 20)
    assert (run.settings["batch_size"], run.settings["lr"]) == (30, 1e-4)
    assert {"query.1.weight", "video.1.weight"} <= run.moved
    (share,) = numbers(r"(\S+)% of 5 fit their own sound better", left)
    assert share in (0, 20, 40, 60, 80, 100)
    # the second look is at another's sound
    assert not left["near"].sound.equal(left["far"].sound)
    assert left["near"].sound.equal(left["far"].sound.roll(-1, 0))
    row, column = numbers(r"test/0\.png: its sound comes from row (\d+), column (\d+)", left)
    assert 1 <= row <= 20
    assert 1 <= column <= 20


def test_cocktail_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a twelfth of the channels of the sound stream and an eighth of the BiLSTM's units, which
    would take most of a minute. The layers, the faces and the seconds are real."""

    def smaller(names: dict) -> None:
        paper = names["Config"].paper
        few = tuple(own._replace(channels=8) for own in paper().audio)
        monkeypatch.setattr(
            names["Config"], "paper", lambda **own: paper(audio=few, width=50, **own)
        )

    folder = speakers(tmp_path / "speakers", 3.1, (76, 1024))
    left = run_paper(
        "16_cocktail_party",
        monkeypatch,
        prepare=smaller,
        replace={"my/speakers": str(folder)},
        batch_size=2,
    )
    left.check()
    (run,) = left.runs
    assert (run.model.config.face, run.model.config.voices) == ((1024,), 2)
    assert run.settings["max_steps"] == 5_000_000
    assert run.settings["schedule"](3_600_000, 1) == 0.25
    assert any("watch" in name for name in run.moved)
    assert left["apart"].shape == (1, 2, 48_000)
    gain, mixtures = numbers(r"SI-SDR: (\S+) dB over (\d+) mixtures of two", left)
    assert mixtures == 4
    assert -60 < gain < 60


@pytest.mark.parametrize("chapter", ["07_speech2face", "16_cocktail_party"])
def test_where_people_are_recorded_consent_is_asked_for(chapter: str) -> None:
    cells = json.loads(
        (Path(__file__).parents[1] / "book" / f"{chapter}.ipynb").read_text(encoding="utf-8")
    )["cells"]
    (at,) = (k for k, c in enumerate(cells) if "paper-scale" in c["metadata"].get("tags", []))
    assert "need their consent" in "".join(cells[at - 1]["source"])
