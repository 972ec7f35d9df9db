"""The command line on folders of one's own: pictures with questions, films of faces with voices; and
where in a picture a sound comes from."""

from __future__ import annotations

import csv
import json
import os
import shutil
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from calling import COLOURS, call, refused, weights
from click.testing import CliRunner
from PIL import Image
from test_cli_files import RATE, TINY_VOICE, read_wav, tone, write_wav

from mmtutor import cocktail_party, hub, soundnet
from mmtutor.cli import clips, locating, main, task
from mmtutor.cli.data import Source
from mmtutor.cli.tasks import TASKS


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("folders")


def stopped_and_gone_on_with(
    words: list[object], out: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """The folders of a run that went straight, and of one that was stopped at each second
    checkpoint."""

    def train(folder: Path) -> int:
        whole = ["train", *words, "--out", folder]
        return CliRunner().invoke(main, [str(word) for word in whole]).exit_code

    monkeypatch.setattr(task, "EVERY", 3)
    straight, broken = out / "straight", out / "broken"
    assert train(straight) == 0
    replace, written = os.replace, []

    def stop(source: object, target: object) -> None:
        replace(source, target)
        if Path(str(target)).name.startswith("checkpoint"):
            written.append(target)
            if len(written) % 2 == 0:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        codes = [train(broken)]
        while codes[-1] == 130 and len(codes) < 20:
            assert any(broken.glob("checkpoint*.pt"))
            codes.append(train(broken))
    assert codes[-1] == 0
    assert len(codes) > 2
    return straight, broken


def same_weights(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- Questions about one's own pictures -----------------------------------------------------------

ASKED = ("what colour is it?", "is it red?")


def answers(colour: str) -> list[str]:
    return [colour, "Yes" if colour == "red" else "no"]


@pytest.fixture(scope="module")
def quiz(room: Path) -> Path:
    """Thirty pictures of walls in three colours, with two questions each."""
    folder, dice, lines = room / "quiz", np.random.default_rng(0), []
    folder.mkdir()
    for number in range(30):
        name, colour = list(COLOURS.items())[number % 3]
        noise = dice.integers(-20, 20, (48, 48, 3))
        picture = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{number:02d}.png")
        both = {"questions": list(ASKED), "answers": answers(name)}
        lines.append(json.dumps({"file_name": f"{number:02d}.png", **both}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


LOOK = ("--pixels", 48, "--batch", 16, "--lr", 0.01)
TINY_ASKER = ("--set=joint=32", "--set=hidden=16", "--set=mlp=32", "--set=dropout=0")


@pytest.fixture(scope="module")
def asker(quiz: Path, room: Path) -> Path:
    out = room / "asker"
    call("train", "vqa", "--data", quiz, "--out", out, "--steps", 60, *LOOK, *TINY_ASKER)
    return out


def likeliest(asker: Path, picture: Path, question: str) -> str:
    shown = call("ask", asker, picture, question, "--top", 1).stdout.splitlines()
    (line,) = shown
    return line.split("%")[1].strip()


def test_it_answers_about_pictures_of_ones_own(asker: Path, quiz: Path) -> None:
    for place, colour in ((9, "red"), (19, "green"), (29, "blue")):  # none of them was learnt from
        assert likeliest(asker, quiz / f"{place:02d}.png", ASKED[0]) == colour
    assert likeliest(asker, quiz / "09.png", ASKED[1]) == "yes"  # written as Yes
    assert likeliest(asker, quiz / "29.png", ASKED[1]) == "no"
    call("evaluate", asker)
    scores = json.loads((asker / "scores.json").read_text())
    assert scores == {"right": 1, "always 'no'": pytest.approx(1 / 3)}


def test_the_papers_network_answers_from_a_vector(quiz: Path, tmp_path: Path) -> None:
    out = tmp_path / "paper"
    call(
        *("train", "vqa", "--data", quiz, "--out", out, "--scale", "paper", "--steps", 80),
        *("--pixels", 48, "--batch", 16, "--lr", 0.005, "--set=joint=64", "--set=hidden=32"),
        *(*TINY_ASKER[2:], "--set=start=torch"),
    )
    config = json.loads((out / "model.json").read_text())["config"]
    assert (config["image"], config["fusion"], config["layers"]) == (1280, "product", 2)
    assert likeliest(out, quiz / "19.png", ASKED[0]) == "green"
    call("evaluate", out)
    assert json.loads((out / "scores.json").read_text())["right"] > 0.8


def test_a_network_that_only_reads_needs_no_picture(quiz: Path, tmp_path: Path) -> None:
    run = ("train", "vqa", "--data", quiz, "--steps", 1, *LOOK, "--set", "fusion=question")
    for scale in ("world", "paper"):
        call(*run, "--out", tmp_path / scale, "--scale", scale, "--set=hidden=8", "--set=mlp=8")
        assert (
            len(call("ask", tmp_path / scale, quiz / "00.png", ASKED[1]).stdout.splitlines()) == 3
        )


def test_questions_in_a_table_a_line_each_and_ten_bad_files(quiz: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    names = [f"{number:02d}.png" for number in range(20)]
    with (folder / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "question", "answer"])
        for number, name in enumerate(names):
            shutil.copy(quiz / name, folder / name)
            for question, answer in zip(ASKED, answers(list(COLOURS)[number % 3])):
                table.writerow([name, question, answer])
        table.writerow([names[0], "?!", "no"])
    for name in names[::2]:
        (folder / name).write_bytes(b"no picture")
    shutil.copy(quiz / "29.png", folder / "unasked.png")
    run = ("train", "vqa", "--data", folder, "--out", tmp_path / "run", "--steps", 2)
    said = call(*run, *LOOK, *TINY_ASKER).stderr
    assert "10 of 21 files cannot be decoded and are left out" in said
    assert "00.png" in said
    assert "1 of 11 files have no question and are left out: unasked.png" in said
    rows = Source("folder", str(folder)).rows("questions", "train", None, 48, 0)
    assert rows["file"][0] == "01.png"
    assert rows["answers"][:2] == [["green", "no"], ["red", "yes"]]
    call("evaluate", tmp_path / "run")  # on one of ten


def test_a_folder_of_its_own_for_the_test(quiz: Path, tmp_path: Path) -> None:
    folder = tmp_path / "split"
    for split, places in (("train", range(6)), ("test", range(6, 9))):
        (folder / split).mkdir(parents=True)
        lines = []
        for place in places:
            shutil.copy(quiz / f"{place:02d}.png", folder / split)
            colour = list(COLOURS)[place % 3]
            line = {"file_name": f"{place:02d}.png", "question": ASKED[0], "answer": colour}
            lines.append(json.dumps(line))
        (folder / split / "metadata.jsonl").write_text("\n".join(lines))
    call("train", "vqa", "--data", folder, "--out", tmp_path / "x", "--steps", 1, *LOOK)
    assert "always" in call("evaluate", tmp_path / "x").output
    shutil.rmtree(folder / "test")
    assert "no picture was kept back: ten pictures with a question" in refused(
        "evaluate", tmp_path / "x"
    )


GOOD = {"file_name": "00.png", "question": "is it red?", "answer": "no"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "holds no pictures"),
        (None, "nothing is asked of any picture of"),
        ([{"file_name": "00.png", "captions": ["a wall"]}], "nothing is asked of any picture"),
        ([{"file_name": "00.png", "question": "is it red?"}], "there is question, but no answer"),
        ([{"file_name": "00.png", "answers": ["yes"]}], "there is answers, but no questions"),
        ([{**GOOD, "answer": True}], "answer must be text, or a list of texts, not True"),
        (
            [{**GOOD, "question": float("nan")}],
            "question must be text, or a list of texts, not nan",
        ),
        ([{**GOOD, "question": [" "]}], "question must be text, or a list of texts, not ' '"),
        ([{**GOOD, "question": ["a", "b"]}], "2 question, but 1 answer"),
        ([{"file": "00.png"}], "every line needs a file_name; this one has 'file'"),
        ([{**GOOD, "file_name": "07.png"}], "there is no file '07.png'"),
        ([{**GOOD, "question": "?"}], "no question has a word"),
        ([GOOD], "all questions have the same answer, 'no'"),
    ],
)
def test_questions_that_teach_nothing(
    quiz: Path, tmp_path: Path, lines: list[dict[str, object]] | None, message: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if lines != []:
        shutil.copy(quiz / "00.png", folder)
    if lines:
        (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    line = refused("train", "vqa", "--data", folder, "--out", tmp_path / "x", *LOOK)
    assert message in line
    assert not (tmp_path / "x").exists()  # so that it can be mended and given again


def test_a_number_is_an_answer_and_sounds_are_not_asked_about(quiz: Path, tmp_path: Path) -> None:
    shutil.copy(quiz / "00.png", tmp_path / "00.png")
    (tmp_path / "metadata.jsonl").write_text(json.dumps({**GOOD, "answer": 2}))
    assert hub.asked(tmp_path)["answers"] == [["2"]]
    (tmp_path / "sounds").mkdir()
    write_wav(tmp_path / "sounds" / "a.wav", tone(300))
    with pytest.raises(ValueError, match="holds sounds, and questions are asked about pictures"):
        hub.asked(tmp_path / "sounds")


def test_an_asker_that_was_stopped_ends_with_the_same_weights(
    quiz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["vqa", "--data", quiz, "--scale", "paper", "--steps", 12, *LOOK, *TINY_ASKER[:3]]
    assert same_weights(*stopped_and_gone_on_with(words, tmp_path, monkeypatch))
    assert not list((tmp_path / "broken").glob("checkpoint*"))


# --- Voices and faces of one's own ----------------------------------------------------------------

SPEAKERS = ("anna", "ben", "carl")
TINY_PARTY = ("--set", "width=16", "--set", "audio=((16,3),)", "--batch", 4)


def film_of(wave: np.ndarray, seed: int) -> np.ndarray:
    """A face, uint8 (T, 48, 48, 3), whose mouth is as bright as the voice is loud."""
    each = RATE // 25
    loud = np.abs(wave[: len(wave) // each * each]).reshape(-1, each).max(1)
    film = np.random.default_rng(seed).integers(60, 90, (len(loud), 48, 48, 3))
    film[:, 24:] += (300 * loud).astype(int)[:, None, None, None]
    return film.astype(np.uint8)


@pytest.fixture(scope="module")
def voices(room: Path) -> Path:
    """Three people, ten clips of two seconds each; one clip lasts five seconds."""
    for speaker, name in enumerate(SPEAKERS):
        (room / "voices" / name).mkdir(parents=True)
        for number in range(10):
            seconds = 5 if (speaker, number) == (0, 0) else 2
            wave = tone(150 * (speaker + 1), seconds)
            dice = np.random.default_rng(10 * speaker + number)
            wave *= dice.integers(0, 2, 10 * seconds).repeat(RATE // 10)  # it comes and goes
            path = room / "voices" / name / f"{number}.wav"
            write_wav(path, wave)
            np.save(path.with_suffix(".npy"), film_of(wave, number))
    return room / "voices"


def run_of(folder: Path, **more: object) -> dict[str, object]:
    data = {"kind": "folder", "name": str(folder), "path": None}
    return {"data": data, "scale": "world", "set": {}, "batch": 4, **more}


def test_clips_are_cut_into_pieces_of_who_speaks(voices: Path) -> None:
    separating = TASKS["cocktail_party"]
    run = run_of(voices)
    mixtures = separating.mixtures(run, separating.settings(run), "train", None, 1.6)
    assert mixtures.waves.shape == (3 * 9 + 1, 2 * RATE)  # of five seconds two pieces
    assert mixtures.faces.shape == (28, 50, 16, 24)
    assert mixtures.speaker.tolist() == [0, 0, 1, 2, *[0, 1, 2] * 8]  # each in turn
    whole, _ = read_wav(voices / "anna" / "0.wav")
    second = torch.from_numpy(whole[2 * RATE : 4 * RATE]).float() * 32767
    assert torch.allclose(mixtures.waves[1].float(), second, atol=1.5)
    film = torch.from_numpy(np.load(voices / "anna" / "0.npy")[50:100])
    assert torch.equal(mixtures.faces[1], cocktail_party.mouths(film))
    few = separating.mixtures(run, separating.settings(run), "train", 3, 1.6)
    assert few.speaker.tolist() == [0, 0, 1, 2]
    test = separating.mixtures(run, separating.settings(run), "test", None, 1.6)
    assert test.speaker.tolist() == [0, 1, 2]  # the tenth of each
    last, _ = read_wav(voices / "ben" / "9.wav")
    own = torch.from_numpy(last).float() * 32767
    assert torch.allclose(test.waves[1].float(), own, atol=1.5)


def test_the_worlds_clips_as_files_are_the_worlds_clips(tmp_path: Path) -> None:
    separating = TASKS["cocktail_party"]
    drawn = run_of(tmp_path, data={"kind": "world", "name": "world", "path": None})
    config = separating.settings(drawn)
    theirs = separating.mixtures(drawn, config, "train", 8, 1.6)
    sizes = dict(sample_rate=RATE, start="anywhere", seconds=2)
    rows = Source("world", "world").rows("talking_faces", "train", 8, 48, 8, **sizes)
    for row in rows:
        path = tmp_path / row["speaker"] / "1.wav"
        path.parent.mkdir(exist_ok=True)
        with wave.open(str(path), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(RATE)
            out.writeframes(np.asarray(row["wave"]).tobytes())
        np.save(path.with_suffix(".npy"), np.asarray(row["frames"]))
    ours = separating.mixtures(run_of(tmp_path), config, "train", None, 1.6)
    order = np.argsort(rows["speaker"])
    assert torch.equal(ours.waves, theirs.waves[order])
    assert torch.equal(ours.faces, theirs.faces[order])


@pytest.fixture(scope="module")
def trained(voices: Path, room: Path) -> Path:
    out = room / "party"
    call("train", "cocktail_party", "--data", voices, "--out", out, "--steps", 30, *TINY_PARTY)
    return out


def test_it_learns_from_recordings_of_ones_own(trained: Path, voices: Path, tmp_path: Path) -> None:
    with (trained / "history.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < losses[0] - 2  # decibels
    said = call("evaluate", trained, "--size", 4)
    assert "other clips of the speakers that it has learned from" in said.stderr
    scores = json.loads((trained / "scores.json").read_text())
    assert scores["gain in SI-SDR, dB"] > 2
    waves = [read_wav(voices / name / "9.wav")[0] for name in SPEAKERS[:2]]
    mix = write_wav(tmp_path / "mix.wav", sum(waves) / 2)
    films = [voices / name / "9.npy" for name in SPEAKERS[:2]]
    call("separate", trained, mix, *films, "--out", tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_table_says_who_speaks_where_the_film_is_and_how_fast(
    voices: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "table"
    (folder / "films" / "frames").mkdir(parents=True)
    film = np.load(voices / "anna" / "1.npy")
    for number, one in enumerate(film[::2]):  # 12.5 pictures a second
        Image.fromarray(one).save(folder / "films" / "frames" / f"{number}.png")
    Image.fromarray(np.concatenate(list(np.load(voices / "ben" / "1.npy")), 1)).save(
        folder / "b.png"
    )
    shutil.copy(voices / "anna" / "1.wav", folder / "a.wav")
    shutil.copy(voices / "ben" / "1.wav", folder / "b.wav")
    table = folder / "metadata.csv"
    table.write_text("file_name,speaker,film,fps\na.wav,Anna,films/frames,12.5\nb.wav,Ben B.,,\n")
    separating = TASKS["cocktail_party"]
    run = run_of(folder)
    mixtures = separating.mixtures(run, separating.settings(run), "train", None, 1.6)
    assert mixtures.speaker.tolist() == [0, 1]
    twice = torch.from_numpy(film[::2]).repeat_interleave(2, 0)
    assert torch.equal(mixtures.faces[0], cocktail_party.mouths(twice))
    run = ("train", "cocktail_party", "--data", folder, "--out", tmp_path / "x", *TINY_PARTY)
    for text, message in (
        ("a.wav,Anna,films/frames,\nb.wav,Ben,,\n", "say so in a column fps of metadata.csv"),
        ("a.wav,Anna,films/frames,fast\nb.wav,Ben,,\n", "line 2: fps must be a number from 1 to"),
        ("a.wav,Anna,films/frames,nan\nb.wav,Ben,,\n", "line 2: fps must be a number from 1 to"),
        ("a.wav,Anna,films/none,\nb.wav,Ben,,\n", "there is no file or folder"),
        ("a.wav,Anna,,\na.wav,Ben,,\n", "line 3: 'a.wav' stands there twice"),
        ("a.wav,Anna,films/frames,12.5\n", "who speaks in"),
        ("c.wav,Anna,,\n", "line 2: there is no file 'c.wav'"),
        ("a.wav,Ann,films/frames,12.5\nb.wav,Ann,,\n", "2 voices need as many speakers, got 1"),
    ):
        table.write_text("file_name,speaker,film,fps\n" + text)
        shown = call(*run, "--steps", 1, code=1)
        assert message in shown.stderr, shown.stderr
        assert not (tmp_path / "x").exists()


def test_ten_good_and_ten_bad_clips(voices: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    for name in SPEAKERS[:2]:
        (folder / name).mkdir(parents=True)
        for number in range(1, 9):
            for end in (".wav", ".npy"):
                shutil.copy((voices / name / f"{number}{end}"), folder / name)
    a, b = folder / "anna", folder / "ben"
    bad = [a / "1", a / "2", a / "3", a / "4", b / "1", b / "2", b / "3", b / "4"]
    bad[0].with_suffix(".wav").write_bytes(b"RIFF no sound")
    bad[1].with_suffix(".npy").write_bytes(b"no film")
    bad[2].with_suffix(".npy").unlink()
    write_wav(bad[3].with_suffix(".wav"), np.zeros(2 * RATE))
    write_wav(bad[4].with_suffix(".wav"), tone(200, 1.0))
    write_wav(bad[5].with_suffix(".wav"), tone(200, 3.0))
    np.save(bad[6].with_suffix(".npy"), np.zeros((50, 20, 20, 3), np.uint8))
    np.save(bad[7].with_suffix(".npy"), np.zeros((50, 48, 48, 3)))
    separating = TASKS["cocktail_party"]
    config = separating.settings(run_of(folder))
    found = list(clips.read(clips.listed(str(folder), "train")[0], config, 2))
    wrong = {clip.sound.with_suffix(""): line for clip, _, _, line in found if line}
    assert sorted(wrong) == bad
    for path, message in zip(
        bad,
        (
            "cannot be read as a sound",
            "is no array that NumPy can read",
            "has no film beside it (3.gif",
            "holds nothing but silence",
            "lasts 1.00 s; 2 s are the least",
            "lasts 2.00 s, and the sound 3.00 s",
            "has 20 × 20 pixels; a face needs 48 × 48",
            "must hold uint8 (T, H, W, 3)",
        ),
    ):
        assert message in wrong[path]
        assert str(path) in wrong[path]
    out = tmp_path / "x"
    run = ("train", "cocktail_party", "--data", folder, "--out", out, "--steps", 1, *TINY_PARTY)
    lines = call(*run).stderr.splitlines()
    assert lines[-1] == "note: left out: 3 more"
    assert len(lines) == 6
    line = refused("evaluate", out)
    assert "no clip of" in line
    assert "was kept back: ten of each speaker are the least" in line


def test_folders_that_hold_no_party(voices: Path, tmp_path: Path) -> None:
    run = ("train", "cocktail_party", "--out", tmp_path / "x", "--data")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "1.m4a").write_bytes(b"of a telephone")
    line = refused(*run, tmp_path / "empty")
    assert "holds no sound (.aif .aiff .flac .mp3 .ogg .opus .wav); it should hold films" in line
    line = refused(*run, voices / "anna")
    assert "who speaks in" in line
    assert "Put it into a folder with the speaker's name" in line
    shutil.copytree(voices / "anna", tmp_path / "alone" / "anna")
    line = refused(*run, tmp_path / "alone")
    assert line.endswith("2 voices need as many speakers, got 1")
    shutil.copy(voices / "anna" / "1.npy", tmp_path / "alone" / "anna" / "1.gif")
    assert "are two films of one sound; keep one" in refused(*run, tmp_path / "alone")
    assert not (tmp_path / "x").exists()


def test_who_only_hears_needs_no_films_and_strangers_are_apart(
    voices: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "split"
    for split, names in (("train", SPEAKERS[:2]), ("test", SPEAKERS[1:])):
        for name in names:
            (folder / split / name).mkdir(parents=True)
            shutil.copy(voices / name / "1.wav", folder / split / name)
    run = ("train", "cocktail_party", "--data", folder, "--out", tmp_path / "x", "--steps", 1)
    call(*run, *TINY_PARTY, "--set", "visual=()")
    assert call("evaluate", tmp_path / "x", "--size", 2).stderr == ""
    assert "has no film beside it" in call(*run[:5], tmp_path / "y", *TINY_PARTY, code=1).stderr


TINY_PAPER = (
    *("--set=audio=((8,(3,3)),(2,(1,1)))", "--set=visual=((8,3),)", "--set=dense=(16,)"),
    *("--set=width=8", "--batch", 2, "--lr", 0.001),
)


def test_the_papers_network_takes_vectors_that_somebody_made(voices: Path, tmp_path: Path) -> None:
    folder, dice = tmp_path / "vectors", np.random.default_rng(0)
    for speaker, name in enumerate(SPEAKERS[:2]):
        (folder / name).mkdir(parents=True)
        for number in range(2):
            path = folder / name / f"{number}.wav"
            write_wav(path, tone(200 * (speaker + 1), 3.0, 16000), 16000)
            np.save(path.with_suffix(".npy"), dice.normal(size=(75, 1024)).astype(np.float32))
    run = ("train", "cocktail_party", "--scale", "paper", "--data", folder)
    out = tmp_path / "paper"
    call(*run, "--out", out, "--steps", 2, *TINY_PAPER)
    assert json.loads((out / "model.json").read_text())["config"]["face"] == [1024]
    films = [folder / name / "0.npy" for name in SPEAKERS[:2]]
    mix = folder / "anna" / "0.wav"
    call("separate", out, mix, *films, "--out", tmp_path / "said")
    assert len(list((tmp_path / "said").iterdir())) == 2
    film = voices / "anna" / "0.npy"
    wrong = call("separate", out, mix, films[0], film, "--out", tmp_path / "no", code=1).stderr
    assert "must be a file .npy with float (T, 1024)" in wrong
    assert "got uint8 (125, 48, 48, 3)" in wrong
    np.save(tmp_path / "nan.npy", np.full((75, 1024), np.nan, np.float32))
    wrong = call("separate", out, mix, films[0], tmp_path / "nan.npy", code=1).stderr
    assert "nan.npy' holds NaN or infinity" in wrong
    pictures = ("train", "cocktail_party", "--scale", "paper", "--data", voices)
    said = call(*pictures, "--out", tmp_path / "x", *TINY_PAPER, code=1).stderr
    assert "holds no clip to learn from" in said
    assert "got uint8 (125, 48, 48, 3)" in said


def test_a_party_that_was_stopped_ends_with_the_same_weights(
    voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["cocktail_party", "--data", voices, "--size", 6, "--steps", 12, *TINY_PARTY]
    assert same_weights(*stopped_and_gone_on_with(words, tmp_path, monkeypatch))


# --- Where a sound comes from ---------------------------------------------------------------------

TINY_POINTER = ("--size", 8, "--batch", 4, "--steps", 2)


@pytest.fixture(scope="module")
def pointer(room: Path) -> Path:
    call("train", "sound_localization", "--out", room / "pointer", *TINY_POINTER)
    return room / "pointer"


@pytest.fixture(scope="module")
def scene(room: Path) -> tuple[Path, Path]:
    """A picture, 400 × 300, and a sound."""
    dice = np.random.default_rng(0)
    picture = room / "scene.png"
    Image.fromarray(dice.integers(0, 255, (300, 400, 3), np.uint8)).save(picture)
    return picture, write_wav(room / "bark.wav", tone(500, 1.0))


def test_it_points_and_says_how_much_that_is_worth(
    pointer: Path, scene: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "heat.png"
    shown = call("locate", pointer, *scene, "-o", out)
    first, second, third = shown.stdout.splitlines()
    found = TASKS["sound_localization"].locate(pointer, *map(str, scene))
    x, y = found.place
    assert first == f"{out}: loudest {found.words}, at ({x}, {y}) of 400 × 300 pixels"
    assert 50 <= x < 350  # within the square that it looks at
    assert 0 <= y < 300
    assert second.startswith(f"there is {found.share:.1%} of its attention; of 36 places")
    assert third.startswith("of 8 other sounds, ")
    assert "elsewhere it guesses" in shown.stderr
    picture = np.asarray(Image.open(out)).astype(float)
    assert picture.shape == (384, 384, 3)  # large enough to see a ring
    colour = picture.max(-1) - picture.min(-1)  # what is cold is grey
    assert colour[found.heat < 0.02].mean() < 3
    assert colour[found.heat > 0.98].mean() > 50


def test_the_map_lies_over_the_place_that_is_named(
    pointer: Path, scene: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmtutor.sound_localization import SoundLocalizer

    pointing = TASKS["sound_localization"]
    for cell, words, place in (
        (0, "at the top left", (50, 0)),  # the square begins 50 pixels from the left
        (5, "at the top right", (349, 0)),
        (14, "in the middle", (175, 125)),
        (33, "at the bottom", (225, 299)),
    ):

        def scores(
            _: object, cells: torch.Tensor, queries: torch.Tensor, cell: int = cell
        ) -> object:
            made = torch.zeros(len(cells), queries.shape[1], cells.shape[1])
            made[:, :, cell] = 5
            made[:, -1] = -made[:, -1]
            return made

        monkeypatch.setattr(SoundLocalizer, "scores", scores)
        found = pointing.locate(pointer, *map(str, scene))
        assert abs(found.place[0] - place[0]) <= 25
        assert abs(found.place[1] - place[1]) <= 25
        assert found.words == words
        assert found.others == (7, 8)


def test_a_picture_that_lies_on_its_side_is_turned(
    pointer: Path, scene: tuple[Path, Path], tmp_path: Path
) -> None:
    turned = Image.open(scene[0])
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    said = call("locate", pointer, tmp_path / "turned.jpg", scene[1], "-o", tmp_path / "x.png")
    assert "of 300 × 400 pixels" in said.stdout


def test_pointing_is_measured_against_a_guess_and_another_sound(pointer: Path) -> None:
    call("evaluate", pointer, "--size", 5)
    scores = json.loads((pointer / "scores.json").read_text())
    assert list(scores)[:3] == [
        "the thing that sounds",
        "the same with another's sound",
        "a guess among the things",
    ]
    assert 0.2 < scores["a guess among the things"] <= 0.5  # two to four things
    assert all(0 <= value <= 1 for value in scores.values())


def test_a_pointer_that_hears_for_itself(scene: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "self"
    call("train", "sound_localization", "--out", out, *TINY_POINTER, "--set", "hears=spectrogram")
    assert not (out / "ears").exists()
    assert "loudest" in call("locate", out, *scene, "-o", tmp_path / "x.png").stdout
    assert "a guess among" in call("evaluate", out, "--size", 2).output
    short = write_wav(tmp_path / "short.wav", tone(300, 0.01))
    said = call("locate", out, scene[0], short, "-o", tmp_path / "y.png", code=1).stderr
    assert "80 samples are too short" in said


def test_a_long_sound_is_heard_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    ears = soundnet.SoundNet(soundnet.Config.world((("things", 4),))).eval()
    long, short = (2 * torch.rand(1, seconds * RATE) - 1 for seconds in (60, 2))
    with torch.no_grad():
        wanted = [
            ears.features(x, (locating.LAYER,))[locating.LAYER].mean(-1) for x in (long, short)
        ]
    features, lengths = ears.features, []

    def noted(waves: torch.Tensor, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
        lengths.append(waves.shape[1])
        return features(waves, names)

    monkeypatch.setattr(ears, "features", noted)
    torch.testing.assert_close(locating.vectors(ears, long), wanted[0])
    assert max(lengths) < 6 * RATE
    assert torch.equal(locating.vectors(ears, short), wanted[1])  # to the last bit what it was


def test_what_cannot_be_located(
    pointer: Path, scene: tuple[Path, Path], asker: Path, tmp_path: Path
) -> None:
    picture, sound = scene
    bad, out = tmp_path / "bad.png", ("--out", tmp_path / "x.png")
    bad.write_bytes(b"no picture")
    write_wav(tmp_path / "silent.wav", np.zeros(RATE))
    wrong = call("locate", pointer, bad, tmp_path / "silent.wav", *out, code=1).stderr.splitlines()
    assert wrong[0].startswith(f"{bad}: ")
    assert "cannot be read as a picture" in wrong[0]
    assert "holds nothing but silence" in wrong[1]
    assert wrong[2] == "2 of 2 files could not be read"
    for first, second, message in (
        (tmp_path, sound, "is a folder; name a picture in it"),
        (picture, tmp_path, "is a folder; name a sound in it"),
        (tmp_path / "none.png", sound, "there is no file"),
        (sound, picture, "cannot be read as a picture"),  # exchanged
        (picture, write_wav(tmp_path / "s.wav", tone(300, 0.01)), "too short"),
    ):
        assert message in call("locate", pointer, first, second, *out, code=1).stderr
    assert not (tmp_path / "x.png").exists()
    assert "must end in .png" in refused(
        "locate", pointer, picture, sound, "-o", tmp_path / "x.wav"
    )
    nowhere = tmp_path / "no" / "x.png"
    assert "there is no folder" in refused("locate", pointer, picture, sound, "-o", nowhere)
    assert "use it with: mmtutor ask" in refused("locate", asker, picture, sound, *out)
    assert "use it with: mmtutor locate" in refused("hear", pointer, sound)


def test_a_pointer_that_was_stopped_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["sound_localization", "--size", 8, "--steps", 6, "--batch", 4]
    straight, broken = stopped_and_gone_on_with(words, tmp_path, monkeypatch)
    assert same_weights(straight, broken)
    assert same_weights(straight / "ears", broken / "ears")
    assert not list(broken.glob("checkpoint*"))


# --- The paper's ears -----------------------------------------------------------------------------

#: The paper's layers with eight channels each.
TINY_EARS = (
    "--set=stack=((8,64,2,32,8),(8,32,2,16,8),(8,16,2,8),(8,8,2,4),(8,4,2,2,4),(8,4,2,2),(8,4,2,2))"
)


def test_the_papers_ears_listen_long_and_short_sounds_are_repeated(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    for name in ("high", "low"):
        (tmp_path / "notes" / name).mkdir(parents=True)
        for number in range(10):
            hertz = (2000 if name == "high" else 200) * dice.uniform(0.9, 1.1)
            write_wav(tmp_path / "notes" / name / f"{number}.wav", tone(hertz))
    out = tmp_path / "ears"
    call(
        *("train", "soundnet", "--scale", "paper", "--data", tmp_path / "notes", "--out", out),
        *("--steps", 25, "--batch", 6, "--lr", 0.01, TINY_EARS),
    )
    config = json.loads((out / "model.json").read_text())["config"]
    assert (config["rate"], config["start"], config["heads"]) == (22050, "paper", [["things", 2]])
    said = call("hear", out, tmp_path / "notes" / "low" / "9.wav", "--top", 1)
    assert said.stdout.split(": ")[1].startswith("low ")
    assert "9.wav lasts 0.5 s, and is repeated to 9.5 s" in said.stderr
    call("evaluate", out)
    assert json.loads((out / "scores.json").read_text())["right, of 2 names"] == 1


# --- Pictures that somebody has spoken of ---------------------------------------------------------

VOICE_RATE = 16000
TINY_SPEECH = ("--pixels", 48, "--batch", 4, "--steps", 12, *TINY_VOICE, "--set=teachers=8")


@pytest.fixture(scope="module")
def spoken(quiz: Path, room: Path) -> Path:
    """Twenty of the walls; of each colour two notes of its own are heard."""
    folder = room / "spoken"
    folder.mkdir()
    for number in range(20):
        shutil.copy(quiz / f"{number:02d}.png", folder)
        notes = [tone(hertz * (1 + number % 3), 0.4, VOICE_RATE) for hertz in (110, 160)]
        write_wav(folder / f"{number:02d}.wav", np.concatenate(notes), VOICE_RATE)
    return folder


def test_it_speaks_after_a_folder_of_pictures_with_recordings(spoken: Path, tmp_path: Path) -> None:
    out = tmp_path / "voice"
    run = ("train", "image_to_speech", "--data", spoken, "--out", out, *TINY_SPEECH)
    call(*run, "--steps", 60, "--lr", 0.01)
    call("say", out, spoken / "09.png", "--out", tmp_path / "x.wav")
    samples, rate = read_wav(tmp_path / "x.wav")
    assert (rate, len(samples) > 100) == (VOICE_RATE, True)
    assert "BLEU-4 of the units" in call("evaluate", out).output  # of two
    assert "--size must be at least 2" in refused("evaluate", out, "--size", 1)


def test_pictures_meet_their_recordings(spoken: Path) -> None:
    shown, waves = clips.spoken(str(spoken), "test", None, VOICE_RATE, 48)
    assert np.array_equal(shown[1], np.asarray(Image.open(spoken / "19.png")))
    own, _ = read_wav(spoken / "19.wav")
    assert np.abs(waves[1] / 32768 - own).max() < 1e-3
    shown, waves = clips.spoken(str(spoken), "train", 10, VOICE_RATE, 48)
    assert len(shown) == len(waves) == 10
    assert np.array_equal(shown[9], np.asarray(Image.open(spoken / "10.png")))  # 09 is kept back


def test_the_papers_sizes_want_more_speech(spoken: Path, tmp_path: Path) -> None:
    run = ("train", "image_to_speech", "--data", spoken, "--scale", "paper", "--pixels", 48)
    small = ("--set=hidden=8", "--set=voice=8", "--set=embedding=8", "--set=widths=8,8,8,8,8")
    line = refused(*run, "--out", tmp_path / "x", *small, "--set=attention=8", "--steps", 1)
    assert "15 s of speech are too little for 1,024 units and 1,024 teachers: record more" in line
    assert not (tmp_path / "x").exists()
    few = ("--set=units=8", "--set=teachers=8", "--set=attention=8", "--batch", 4, "--steps", 2)
    call(*run, "--out", tmp_path / "y", *small, *few)
    config = json.loads((tmp_path / "y" / "model.json").read_text())["config"]
    assert (config["recurrence"], config["voice_bands"], config["grid"]) == ("fed", 80, [3, 3])


def test_ten_good_pictures_and_ten_bad(spoken: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(spoken, folder)
    for number in range(0, 4):
        (folder / f"0{number}.png").write_bytes(b"no picture")
    for number in range(4, 7):
        (folder / f"0{number}.wav").unlink()
    write_wav(folder / "07.wav", np.zeros(VOICE_RATE), VOICE_RATE)
    write_wav(folder / "08.wav", tone(200, 0.1, VOICE_RATE), VOICE_RATE)
    shutil.copy(folder / "10.wav", folder / "10.flac")
    write_wav(folder / "11.wav", tone(200, 12.0, VOICE_RATE), VOICE_RATE)
    run = ("train", "image_to_speech", "--data", folder, "--out", tmp_path / "x", *TINY_SPEECH)
    lines = call(*run).stderr.splitlines()
    assert "00.png' cannot be read as a picture" in lines[0]
    assert "04.png' has no recording beside it; one is needed: 04.wav" in lines[4]
    assert lines[5] == "note: left out: 5 more"
    assert lines[6] == "note: of 1 long recordings the first 10 s are heard"
    (folder / "19.wav").unlink()  # one of two that were kept back
    assert "two pictures are the least" in refused("evaluate", tmp_path / "x")
    for path in folder.glob("*.wav"):
        path.unlink()
    (folder / "10.flac").unlink()
    said = call(*run[:5], tmp_path / "y", *TINY_SPEECH, code=1).stderr.splitlines()[-1]
    assert "holds no picture with a recording that can be read" in said
    (tmp_path / "empty").mkdir()
    line = refused(
        "train", "image_to_speech", "--data", tmp_path / "empty", "--out", tmp_path / "z"
    )
    assert "holds no picture (.bmp .gif" in line
    assert "it should hold pictures, each beside a recording" in line


def test_a_speaker_that_was_stopped_ends_with_the_same_weights(
    spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["image_to_speech", "--data", spoken, "--size", 6, *TINY_SPEECH]
    straight, broken = stopped_and_gone_on_with(words, tmp_path, monkeypatch)
    assert same_weights(straight, broken)


# --- What cannot be -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("vqa", "--scale", "tiny"), "--scale of vqa must be one of: world, small, paper"),
        (("vqa", "--scale", "paper", "--set", "image=5"), "image follows from the data"),
        (("vqa", "--scale", "paper", "--set", "looks=3"), "looks = 3 has no effect with fusion"),
        (("vqa", "--set", "hidden=many"), "hidden must be a whole number, got 'many'"),
        (("vqa", "--set", "dropout=nan"), "dropout must be a number, got 'nan'"),
        (("vqa", "--set", "hiden=3"), "did you mean hidden?"),
        (
            ("cocktail_party", "--scale", "paper"),
            "none comes with the book. Give a folder in which",
        ),
        (("cocktail_party", "--scale", "tiny"), "must be one of: world, small, paper"),
        (
            ("soundnet", "--scale", "paper"),
            "listens to 9.5 s at a time, and the world's sounds last 2 s",
        ),
        (("soundnet", "--scale", "tiny"), "must be one of: world, small, paper"),
        (("image_to_speech", "--scale", "tiny"), "must be one of: world, small, paper"),
        (("image_to_speech", "--set", "rate=11025"), "the world's rate is 8000, 16000 or 22050"),
        (("sound_localization", "--scale", "paper"), "got 'paper': its ears are a SoundNet that"),
        (("sound_localization", "--data", "flickr8k"), "must be one of: world; it does not learn"),
        (("sound_localization", "--batch", 1), "at least 2, got 1"),
        (("sound_localization", "--size", 1), "--size must be at least 2"),
        (("sound_localization", "--set", "sharpness=nan"), "sharpness must be a number, got 'nan'"),
        (("sound_localization", "--set", "rate=16000"), "rate = 16000 has no effect with hears"),
        (("sound_localization", "--set", "hears=wave", "--set", "rate=9"), "8000, 16000 or 22050"),
        (("sound_localization", "--set", "image=5"), "image follows from the data"),
        (("sound_localization", "--pixels", 96), "does not take --pixels"),
        (("cocktail_party", "--scale", "paper", "--set", "width=wide"), "must be a whole number"),
    ],
)
def test_settings_that_cannot_be(
    words: tuple[object, ...], message: str, tmp_path: Path, forbidden: Callable[[], None]
) -> None:
    forbidden()
    assert message in refused("train", *words, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()
