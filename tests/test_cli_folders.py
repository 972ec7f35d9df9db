"""The command line on folders of one's own: pictures with questions, films of faces with voices; and
where in a picture a sound comes from."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from test_cli_files import COLOURS, call, refused, tone, weights, write_wav

from mmtutor import hub
from mmtutor.cli import main, task
from mmtutor.cli.data import Source


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("folders")


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Whoever reads data fails."""

    def read(*_: object, **__: object) -> None:
        raise AssertionError("data were read")

    return lambda: monkeypatch.setattr(Source, "rows", read)


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("vqa", "--scale", "small"), "--scale of vqa must be one of: world, paper"),
        (("vqa", "--scale", "paper", "--set", "image=5"), "image follows from the data"),
        (("vqa", "--scale", "paper", "--set", "looks=3"), "looks = 3 has no effect with fusion"),
        (("vqa", "--set", "hidden=many"), "hidden must be a whole number, got 'many'"),
        (("vqa", "--set", "dropout=nan"), "dropout must be a number, got 'nan'"),
        (("vqa", "--set", "hiden=3"), "did you mean hidden?"),
    ],
)
def test_settings_that_cannot_be(
    words: tuple[object, ...], message: str, tmp_path: Path, forbidden: Callable[[], None]
) -> None:
    forbidden()
    assert message in refused("train", *words, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()
