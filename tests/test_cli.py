"""The command ``mmtutor``, tried as a user would: a folder of pictures, a folder of text, wrong words."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import load_file

from mmtutor.cli import line_of, main, runs, sums, systems
from mmtutor.cli.data import Eyes, Source

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220)}


def call(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def refused(*words: object) -> str:
    """The one line of a call that must fail."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 1, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("Error: ")
    return lines[0]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty pictures with a caption each, and ten files that are no pictures."""
    folder = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    lines = []
    for number in range(30):
        name, colour = list(COLOURS.items())[number % 3]
        noise = draw.integers(-20, 20, (48, 48, 3))
        picture = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{number:02d}.png")
        lines.append({"file_name": f"{number:02d}.png", "captions": [f"a {name} wall"]})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return folder


SMALL = ("--pixels", 48, "--batch", 8, "--lr", 0.01)


@pytest.fixture(scope="module")
def captioner(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "captioner"
    sizes = ("--set", "hidden=32", "--set", "embedding=16")
    call("train", "show_and_tell", "--data", photos, "--out", out, "--steps", 150, *SMALL, *sizes)
    return out


# --- Help -----------------------------------------------------------------------------------------


def test_help_says_what_there_is_without_loading_torch() -> None:
    shown = call("--help").output
    for command in ("list", "train", "evaluate", "caption", "ask", "search", "words"):
        assert f"  {command} " in shown
        assert call(command, "--help").output.startswith("Usage: main " + command)
    program = (
        "import sys; from mmtutor.cli import main; main(['train', '--help'], standalone_mode=False); "
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "False", run.stderr


def test_python_m_mmtutor_is_the_command() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "mmtutor", "--version"], capture_output=True, text=True
    )
    assert "version 0" in run.stdout, run.stderr


def test_the_list_names_each_system_with_its_costs() -> None:
    from mmtutor.cli.tasks import TASKS

    assert sorted(TASKS) == sorted(systems())
    shown = call("list", "--costs").output
    for name, task in TASKS.items():
        assert f"{name}\n  {task.says}\n" in shown
    assert "34,807,625 weights, 0.56 GB" in shown  # Show, Attend and Tell, as its own test has it
    assert "at paper size" not in call("list").output


# --- A captioner, from pictures to sentences ------------------------------------------------------


def test_it_learns_from_a_folder_and_says_what_it_sees(captioner: Path, photos: Path) -> None:
    names = sorted(path.name for path in captioner.iterdir())
    assert names[:3] == ["history.csv", names[1], "model.json"]
    assert names[3] == "run.json"
    lines = (captioner / "history.csv").read_text().splitlines()
    assert lines[0].startswith("step,learning_rate,loss")
    assert lines[-1].startswith("149,")
    shown = call("caption", captioner, *(photos / f"{n:02d}.png" for n in (9, 19, 29))).output
    said = [line.rpartition(": ")[2] for line in shown.splitlines()]
    assert said == ["a red wall", "a green wall", "a blue wall"]  # none of them was learnt from


def test_ten_good_and_ten_bad_files(captioner: Path, photos: Path, tmp_path: Path) -> None:
    bad = [tmp_path / f"bad{n}.png" for n in range(9)] + [tmp_path / "none.png"]
    for path in bad[:-1]:
        path.write_bytes(b"no picture")
    files = [x for pair in zip(sorted(photos.glob("*.png"))[:10], bad) for x in pair]
    result = call("caption", captioner, *files, "--beam", 1, code=1)
    assert len(result.stdout.splitlines()) == 10
    assert "bad" not in result.stdout
    wrong = result.stderr.splitlines()
    assert all(any(line.startswith(str(path)) for line in wrong) for path in bad)
    assert wrong[-1] == "10 of 20 files could not be read"


def test_it_is_measured_on_the_pictures_that_were_kept_back(captioner: Path) -> None:
    shown = call("evaluate", captioner).output
    scores = json.loads((captioner / "scores.json").read_text())
    assert scores["BLEU-1"] > 0.9
    assert "BLEU-4" in shown
    assert "true of the scene" not in scores


def test_a_trained_run_is_not_trained_again(captioner: Path, photos: Path) -> None:
    before = (captioner / "model.json").stat().st_mtime_ns
    sizes = ("--set", "hidden=32", "--set", "embedding=16")
    again = call(
        *("train", "show_and_tell", "--data", photos, "--out", captioner, "--steps", 150),
        *(*SMALL, *sizes),
    )
    assert "has ended" in again.output
    assert (captioner / "model.json").stat().st_mtime_ns == before
    other = refused(
        *("train", "show_and_tell", "--data", photos, "--out", captioner, "--steps", 151),
        *(*SMALL, *sizes),
    )
    assert "steps was 150, now 151" in other


# --- Stopped and gone on with ---------------------------------------------------------------------


def command(photos: Path, out: Path, steps: int) -> list[str]:
    words = ("train", "show_and_tell", "--data", photos, "--out", out, "--steps", steps, *SMALL)
    more = ("--set", "hidden=32", "--set", "dropout=0.2")
    return [sys.executable, "-m", "mmtutor", *map(str, (*words, *more))]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("model-*.safetensors")
    return load_file(file)


def test_killed_at_random_moments_it_ends_with_the_same_weights(
    photos: Path, tmp_path: Path
) -> None:
    steps, quiet = 150, {**os.environ, "MMTUTOR_PROGRESS": "0", "OMP_NUM_THREADS": "1"}
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert subprocess.run(command(photos, straight, steps), env=quiet).returncode == 0
    draw, kills, resumed = random.Random(0), 0, False
    while not (broken / "model.json").exists():
        process = subprocess.Popen(
            command(photos, broken, steps), env=quiet, stdout=subprocess.PIPE, text=True
        )
        begun = (broken / "checkpoint.pt").exists()
        while kills < 4 and process.poll() is None and not (broken / "checkpoint.pt").exists():
            time.sleep(0.01)
        if kills < 4 and process.poll() is None:
            time.sleep(draw.random() * (0.3 if not begun else 4))
            process.kill()
            kills += 1
        process.wait()
        resumed |= begun
    assert resumed
    a, b = weights(straight), weights(broken)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name
    assert not (broken / "checkpoint.pt").exists()


def test_a_machine_that_is_taken_away_is_told_how_to_go_on(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "long"
    process = subprocess.Popen(
        command(photos, out, 100_000),
        env={**os.environ, "MMTUTOR_PROGRESS": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not (out / "checkpoint.pt").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Give the same command again" in said
    assert "Traceback" not in said


def test_the_note_of_a_run_is_whole_or_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    runs.write(path, "before")

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        runs.write(path, "after")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    assert line_of(OSError(28, "No space left on device")).startswith("the disk is full")


# --- The other systems ----------------------------------------------------------------------------


def test_search_both_ways(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "finder"
    call(
        *("train", "joint_embedding", "--data", photos, "--scale", "small", "--out", out),
        *("--steps", 80, *SMALL),
    )
    found = call("search", out, "--text", "a green wall", "--top", 3).output
    assert found.count("a green wall") == 3
    assert call("search", out, "--picture", photos / "29.png", "--top", 1).output.endswith(
        "a blue wall\n"
    )
    shown = call("evaluate", out).output
    assert "text → picture, R@1 " in shown
    both = CliRunner().invoke(main, ["search", str(out)])
    assert both.exit_code == 2
    assert "either --text or --picture" in both.stderr


def test_words_of_a_folder_of_text(tmp_path: Path) -> None:
    text, out = tmp_path / "text", tmp_path / "words"
    text.mkdir()
    draw = random.Random(0)
    groups = (["sun", "moon", "star"], ["bread", "milk", "cheese"])
    lines = [" ".join(draw.choices(draw.choice(groups), k=8)) for _ in range(800)]
    (text / "a.txt").write_text("\n".join(lines))
    call(
        *("train", "word2vec", "--data", text, "--out", out, "--set", "dim=8"),
        *("--set", "subsample=0", "--set", "epochs=10"),
    )
    near = call("words", out, "sun", "--top", 2).output
    assert sorted(line.split()[1] for line in near.splitlines()) == ["moon", "star"]
    summed = call("words", out, "sun", "-", "moon", "+", "bread", "--top", 1).output
    assert summed.split()[1] in ("milk", "cheese", "star")
    assert "did you mean 'star'" in refused("words", out, "starr")
    assert "words " in call("evaluate", out).output
    assert "use --set" in refused("train", "word2vec", "--out", tmp_path / "no", "--steps", 5)
    (tmp_path / "empty").mkdir()
    no = tmp_path / "no"
    assert "holds no .txt file" in refused(
        "train", "word2vec", "--out", no, "--data", tmp_path / "empty"
    )
    assert not no.exists()  # so that the right folder can be given next


def test_a_question_about_a_picture_of_the_world(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "asker"
    call("train", "vqa", "--out", out, "--size", 40, "--steps", 4, "--batch", 8)
    shown = call("ask", out, photos / "00.png", "is there a dog?", "--top", 2).output
    assert len(shown.splitlines()) == 2
    sure = [float(line.split("%")[0]) for line in shown.splitlines()]
    assert 100 >= sure[0] >= sure[1] >= 0
    assert "right " in call("evaluate", out, "--size", 20).output
    assert "use it with: mmtutor ask" in refused("caption", out, photos / "00.png")
    assert "there is no" in refused("ask", out, photos / "xx.png", "is there a dog?").lower()


# --- Wrong words ----------------------------------------------------------------------------------


def test_wrong_words_have_one_clear_line(tmp_path: Path, photos: Path) -> None:
    new = ("--out", tmp_path / "new")
    train = ("train", "show_and_tell", *new)
    assert "there is no folder 'nowhere'" in refused(*train, "--data", "nowhere")
    assert "scale of show_and_tell must be one of: world, paper" in refused(
        *train, "--scale", "small"
    )
    assert "did you mean hidden?" in refused(*train, "--set", "hiden=3")
    assert "vocabulary follows from the data" in refused(*train, "--set", "vocabulary=3")
    assert "hidden must be a whole number, got '3.5'" in refused(*train, "--set", "hidden=3.5")
    assert "key=value" in refused(*train, "--set", "hidden")
    assert "set twice" in refused(*train, "--set", "hidden=3", "--set", "hidden=4")
    assert "name the set with --data" in refused(*train, "--path", tmp_path)
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    assert "is a file" in refused("train", "vqa", "--out", tmp_path / "file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    assert "is not empty and holds no run" in refused("train", "vqa", "--out", tmp_path / "full")
    assert "holds no run" in refused("evaluate", tmp_path / "nothing")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "run.json").write_text("{")
    assert "cannot be read" in refused("evaluate", tmp_path / "odd")
    (tmp_path / "odd" / "run.json").write_text('{"system": "telepathy"}')
    assert "does not know" in refused("evaluate", tmp_path / "odd")
    (tmp_path / "odd" / "run.json").write_text('{"system": "vqa"}')
    assert "has not ended" in refused("evaluate", tmp_path / "odd")
    unknown = CliRunner().invoke(main, ["train", "telepathy", "--out", "x"])
    assert unknown.exit_code == 2
    assert "word2vec" in unknown.stderr


def test_a_sum_of_words() -> None:
    assert sums.parse("king - man + woman") == [(1, "king"), (-1, "man"), (1, "woman")]
    assert sums.parse("- well-known + Sun") == [(-1, "well-known"), (1, "sun")]
    for wrong in ("", "king -", "king man", "king + - man", "+"):
        with pytest.raises(ValueError, match=r"a sum looks like|between|side by side"):
            sums.parse(wrong)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("3", int, 3),
        ("3", float, 3.0),
        ("1e-3", float, 1e-3),
        ("true", bool, True),
        ("gru", str, "gru"),
        ("8, 8", tuple[int, ...], (8, 8)),
        ("()", tuple[int, ...], ()),
        ("none", int | None, None),
        ("4", int | None, 4),
    ],
)
def test_a_value_becomes_its_settings_kind(text: str, kind: object, value: object) -> None:
    found = runs.value("x", text, kind)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("text", "kind"), [("x", int), ("True", int), ("x", float), ("1", bool)])
def test_a_value_of_another_kind_is_refused(text: str, kind: type) -> None:
    with pytest.raises(ValueError, match="x must be"):
        runs.value("x", text, kind)


def test_a_folder_with_a_test_split_keeps_to_it(tmp_path: Path) -> None:
    for split, count in (("train", 12), ("test", 3)):
        for number in range(count):
            path = tmp_path / split / "dog" / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40), (number, 0, 0)).save(path)
    source = Source.of(str(tmp_path), ("flickr8k",), folders=True, path=None)
    sizes = {split: len(source.rows("scenes", split, None, 32, 0)) for split in ("train", "test")}
    assert sizes == {"train": 12, "test": 3}
    assert len(source.rows("scenes", "train", 5, 32, 0)) == 5


def test_what_is_seen_is_standardized_by_the_training_pictures() -> None:
    seen = torch.randn(50, 6, 4, 4) * 3 + 2
    seen[:, 5] = 1.0
    eyes = Eyes.fitted("x", "map", 96, seen)
    out = eyes.standardized(seen).float()
    assert out.dtype == torch.float32
    assert torch.allclose(out[:, :5].mean((0, 2, 3)), torch.zeros(5), atol=1e-3)
    assert torch.allclose(out[:, :5].std((0, 2, 3), correction=0), torch.ones(5), atol=1e-3)
    assert not out[:, 5].any()  # a channel that never changes
