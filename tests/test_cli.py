"""The command ``mmtutor``, tried as a user would: a folder of pictures, a folder of text, wrong words."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from calling import COLOURS, call, refused, weights
from click.testing import CliRunner
from PIL import Image

from mmtutor.cli import line_of, main, runs, sums, systems
from mmtutor.cli.data import Eyes, Source
from mmtutor.kit.cache import DiskFull


def only_line(*words: object) -> str:
    """The one line of a call that must fail."""
    return refused(*words, notes=False)


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
    used = (
        "caption",
        "ask",
        "name",
        "search",
        "words",
        "draw",
        "separate",
        "hear",
        "locate",
        "say",
    )
    for command in ("list", "train", "evaluate", *used):
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
    other = only_line(
        *("train", "show_and_tell", "--data", photos, "--out", captioner, "--steps", 151),
        *(*SMALL, *sizes),
    )
    assert "steps was 150, now 151" in other


# --- Stopped and gone on with ---------------------------------------------------------------------


def command(photos: Path, out: Path, steps: int) -> list[str]:
    words = ("train", "show_and_tell", "--data", photos, "--out", out, "--steps", steps, *SMALL)
    more = ("--set", "hidden=32", "--set", "dropout=0.2")
    return [sys.executable, "-m", "mmtutor", *map(str, (*words, *more))]


def test_killed_at_random_moments_it_ends_with_the_same_weights(
    photos: Path, tmp_path: Path
) -> None:
    """Four times; with ``MMTUTOR_TEST_KILLS=10`` ten times in a longer run, every second time only
    after it has written a further checkpoint."""
    most = int(os.environ.get("MMTUTOR_TEST_KILLS", "4"))
    steps = 150 if most == 4 else 100 * most
    quiet = {**os.environ, "MMTUTOR_PROGRESS": "0", "OMP_NUM_THREADS": "1"}
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert subprocess.run(command(photos, straight, steps), env=quiet).returncode == 0
    draw, kills, resumed, reached = random.Random(0), 0, False, []
    while not (broken / "model.json").exists():
        process = subprocess.Popen(
            command(photos, broken, steps), env=quiet, stdout=subprocess.PIPE, text=True
        )
        begun = went_on = (broken / "checkpoint.pt").exists()
        while kills < most and process.poll() is None and not (broken / "checkpoint.pt").exists():
            time.sleep(0.01)
        if most > 4 and kills % 2 and kills < most:
            written = (broken / "checkpoint.pt").stat().st_mtime_ns
            while process.poll() is None:
                time.sleep(0.01)
                with contextlib.suppress(FileNotFoundError):
                    if (broken / "checkpoint.pt").stat().st_mtime_ns != written:
                        break
            begun = False  # it needs no more time to start
        if kills < most and process.poll() is None:
            time.sleep(draw.random() * (0.3 if not begun else 4 if most == 4 else 12))
            process.kill()
            kills += 1
            with contextlib.suppress(FileNotFoundError):  # it had just ended
                file = torch.load(broken / "checkpoint.pt", weights_only=True)
                reached.append(file["step"])
        process.wait()
        resumed |= went_on
    print(f"killed {kills} times; the checkpoints were those of the steps {reached} of {steps}")
    assert resumed
    assert reached == sorted(reached)
    assert most == 4 or kills == most
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
    assert "did you mean 'star'" in only_line("words", out, "starr")
    assert "words " in call("evaluate", out).output
    assert "use --set" in only_line("train", "word2vec", "--out", tmp_path / "no", "--steps", 5)
    (tmp_path / "empty").mkdir()
    no = tmp_path / "no"
    assert "holds no .txt file" in only_line(
        "train", "word2vec", "--out", no, "--data", tmp_path / "empty"
    )
    assert not no.exists()  # so that the right folder can be given next


def test_a_question_about_a_picture_of_the_world(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "asker"
    call("train", "vqa", "--out", out, "--size", 40, "--steps", 4, "--batch", 8)
    shown = call("ask", out, photos / "00.png", "is there a dog?", "--top", 2).stdout
    assert len(shown.splitlines()) == 2
    sure = [float(line.split("%")[0]) for line in shown.splitlines()]
    assert 100 >= sure[0] >= sure[1] >= 0
    assert "right " in call("evaluate", out, "--size", 20).output
    assert "no word of 'zorblax quux'" in only_line("ask", out, photos / "00.png", "zorblax quux")
    assert "zorblax" in call("ask", out, photos / "00.png", "is it zorblax").stderr
    assert "is a folder" in only_line("ask", out, photos, "is there?")
    assert "use it with: mmtutor ask" in only_line("caption", out, photos / "00.png")
    assert "there is no" in only_line("ask", out, photos / "xx.png", "is there a dog?").lower()


# --- Wrong words ----------------------------------------------------------------------------------


def test_wrong_words_have_one_clear_line(tmp_path: Path, photos: Path) -> None:
    new = ("--out", tmp_path / "new")
    train = ("train", "show_and_tell", *new)
    assert "there is no folder 'nowhere'" in only_line(*train, "--data", "nowhere")
    assert "is a file: name its folder" in only_line(*train, "--data", next(photos.glob("*.png")))
    assert "scale of show_and_tell must be one of: world, small, paper; got 'tiny'" in only_line(
        *train, "--scale", "tiny"
    )
    assert "did you mean hidden?" in only_line(*train, "--set", "hiden=3")
    assert "vocabulary follows from the data" in only_line(*train, "--set", "vocabulary=3")
    assert "hidden must be a whole number, got '3.5'" in only_line(*train, "--set", "hidden=3.5")
    assert "key=value" in only_line(*train, "--set", "hidden")
    assert "set twice" in only_line(*train, "--set", "hidden=3", "--set", "hidden=4")
    assert "name the set with --data" in only_line(*train, "--path", tmp_path)
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    assert "is a file" in only_line("train", "vqa", "--out", tmp_path / "file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    assert "is not empty and holds no run" in only_line("train", "vqa", "--out", tmp_path / "full")
    assert "holds no run: train one" in only_line("evaluate", tmp_path / "nothing")
    assert "holds no run: name the folder" in only_line("evaluate", tmp_path / "full")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "run.json").write_text("{")
    assert "cannot be read" in only_line("evaluate", tmp_path / "odd")
    (tmp_path / "odd" / "run.json").write_text('{"system": "telepathy"}')
    assert "does not know" in only_line("evaluate", tmp_path / "odd")
    (tmp_path / "odd" / "run.json").write_text('{"system": "vqa"}')
    assert "has not ended" in only_line("evaluate", tmp_path / "odd")
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


# --- Bad input ------------------------------------------------------------------------------------


def test_settings_that_cannot_be_are_known_before_any_data_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("data were read")

    monkeypatch.setattr(Source, "rows", read)
    new = ("--out", tmp_path / "new")
    captioner, finder = ("train", "show_and_tell", *new), ("train", "joint_embedding", *new)
    assert "dropout must be in [0, 1), got 1.5" in only_line(*captioner, "--set", "dropout=1.5")
    assert "hidden must be at least 1" in only_line(*captioner, "--set", "hidden=-3")
    assert "lower --set hidden" in only_line(*captioner, "--set", "hidden=10000000")
    assert "lower --set hidden" in only_line(*captioner, "--set", "hidden=999999999")
    assert "at most 1,000,000,000" in only_line(*captioner, "--set", f"hidden=1{'0' * 30}")
    assert "must be a number, got 'nan'" in only_line(*captioner, "--set", "dropout=nan")
    assert "--batch of joint_embedding must be at least 2" in only_line(*finder, "--batch", 1)
    assert "joint must be" in only_line("train", "vqa", *new, "--set", "joint=0")
    assert "dim must be" in only_line("train", "word2vec", *new, "--set", "dim=0")
    for wrong in (("--lr", "nan"), ("--lr", "inf"), ("--lr", "1e300"), ("--seed", "-1")):
        result = CliRunner().invoke(main, [str(word) for word in (*captioner, *wrong)])
        assert result.exit_code == 2
        assert f"Invalid value for '{wrong[0]}'" in result.stderr
    monkeypatch.setenv("MMTUTOR_DEVICE", "cuda:99")
    assert "CUDA device" in only_line(*captioner)
    assert not (tmp_path / "new").exists()


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = only_line("train", "word2vec", "--out", tmp_path / "file" / "below")
    assert "--out" in line
    assert "cannot be made" in line
    assert "it does not learn from ''" in only_line(
        "train", "sound_localization", "--out", tmp_path / "x", "--data", ""
    )


def test_a_run_that_learned_nothing_stands_in_nobodys_way(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = {"system": "vqa", "data": {"kind": "world", "name": "world", "path": None}, "steps": 5}
    assert not runs.begin(folder, run)
    (folder / ".checkpoint.pt.99.tmp").write_bytes(b"half")
    (folder / "run.json.tmp").write_text("{")
    assert not runs.begin(folder, {**run, "steps": 6})  # killed before its first checkpoint
    assert [path.name for path in folder.iterdir()] == ["run.json"]
    (folder / runs.CHECKPOINT).write_bytes(b"")
    assert runs.begin(folder, {**run, "steps": 6})
    with pytest.raises(ValueError, match=r"another run: steps was 6, now 5\. "):
        runs.begin(folder, run)
    other = {**run, "system": "word2vec", "data": {**run["data"], "name": "text8"}}
    with pytest.raises(ValueError, match=r"another run: system was 'vqa', now 'word2vec'\. "):
        runs.begin(folder, other)
    with pytest.raises(ValueError, match="data was 'world', now 'coco'"):
        runs.begin(folder, {**run, "steps": 6, "data": {**run["data"], "name": "coco"}})
    note = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**note, "version": "0.0.1"}))
    with pytest.raises(ValueError, match=r"a run of mmtutor 0\.0\.1, and this is"):
        runs.begin(folder, {**run, "steps": 6})
    own = tmp_path / "own"
    own.mkdir()
    (own / "letter.tmp").write_text("dear")
    with pytest.raises(ValueError, match="is not empty"):
        runs.begin(own, run)
    assert (own / "letter.tmp").exists()


def test_stopped_before_the_first_checkpoint(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Source, "rows", stop)
    out = tmp_path / "run"
    result = call("train", "show_and_tell", "--data", photos, "--out", out, code=130)
    assert "nothing was learned yet" in result.stderr
    assert not out.exists()


def test_two_trainings_into_one_folder(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with runs.alone(out):
        line = only_line("train", "vqa", "--out", tmp_path / "x" / ".." / "run")
        assert "another process is training into" in line
    with runs.alone(out):
        pass


class FullDisk(io.BytesIO):
    """It has no room for what is large, and then for the small rest."""

    def write(self, data: Any) -> int:
        if len(data) > 10_000:
            raise OSError(28, "No space left on device")
        return super().write(data)


def test_a_full_disk_is_named_whoever_says_it() -> None:
    with pytest.raises(RuntimeError) as caught:  # which does not speak of a disk
        torch.save({"x": torch.zeros(100_000)}, FullDisk())
    assert line_of(caught.value).startswith("the disk is full; what was saved last is whole")
    told = "the disk is full (No space left on device): c.pt takes about 3.0 MB; what to do"
    assert line_of(DiskFull(28, told, "c.pt")) == told
    assert line_of(OSError(errno.EDQUOT, "Quota exceeded")).startswith("the disk is full")
    assert "the memory is full" in line_of(MemoryError())
    assert "the memory is full" in line_of(
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")
    )
    assert line_of(FileNotFoundError(2, "No such file", "a.png")) == "'a.png': No such file"
    fault = line_of(TypeError("first\nsecond"))
    assert "TypeError: first)" in fault
    assert "MMTUTOR_TRACE=1" in fault
    assert "\n" not in fault


def test_a_batch_in_parts_is_the_same_step(photos: Path, tmp_path: Path) -> None:
    quiz = tmp_path / "quiz"
    shutil.copytree(photos, quiz)
    told = [json.loads(line) for line in (quiz / "metadata.jsonl").read_text().splitlines()]
    asked = [
        {"file_name": own["file_name"], "question": "which colour is it?", "answer": word}
        for own in told
        for word in [own["captions"][0].split()[1]]
    ]
    (quiz / "metadata.jsonl").write_text("\n".join(map(json.dumps, asked)) + "\n")
    sizes = ("--set", "dropout=0", "--steps", 6, *SMALL, "--data", quiz)
    for parts in (1, 4):
        call("train", "vqa", "--out", tmp_path / str(parts), "--accumulate", parts, *sizes)
    curves = []  # not the weights: where a slope is nought, AdamW makes steps of its rounding
    for name in ("1", "4"):
        with (tmp_path / name / "history.csv").open() as file:
            curves.append([float(row["loss"]) for row in csv.DictReader(file) if row["loss"]])
    assert len(curves[0]) > 1
    assert curves[1] == pytest.approx(curves[0], abs=1e-3)
    assert "must divide --batch, and 3 does not divide 8" in only_line(
        "train", "vqa", "--out", tmp_path / "x", "--accumulate", 3, *sizes
    )
    for system in ("word2vec", "text_to_image"):
        assert "takes a batch as a whole" in only_line(
            "train", system, "--out", tmp_path / "x", "--halve"
        )


def test_a_full_memory_is_halved_where_one_allows_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmtutor.show_and_tell import ShowAndTell

    loss, held = ShowAndTell.loss, []

    def in_little_room(self: ShowAndTell, batch: dict) -> dict:
        held.append(len(batch["captions"]))
        if held[-1] > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return loss(self, batch)

    monkeypatch.setattr(ShowAndTell, "loss", in_little_room)
    more = ("--set", "hidden=16", "--steps", 4, *SMALL, "--data", photos)
    assert "or give --halve" in only_line("train", "show_and_tell", "--out", tmp_path / "a", *more)
    assert not (tmp_path / "a").exists()
    said = call("train", "show_and_tell", "--out", tmp_path / "b", "--halve", *more).output
    assert "does not hold 8 samples" in said
    assert "a batch of 8 is now taken in 4 parts" in said
    assert max(held[held.index(4) + 1 :]) == 2
    assert json.loads((tmp_path / "b" / "run.json").read_text())["accumulate"] == 4
    # the same command again finds the run that it was, and measuring reads it
    again = call("train", "show_and_tell", "--out", tmp_path / "b", "--halve", *more).output
    assert "has ended" in again
    call("evaluate", tmp_path / "b")


def test_a_fault_has_one_line_and_on_demand_a_trace(
    captioner: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmtutor.cli.tasks import ShowAndTell

    def fault(*_: object) -> None:
        raise RuntimeError("value cannot be converted")

    monkeypatch.setattr(ShowAndTell, "load", fault)
    assert "a fault of mmtutor" in only_line("caption", captioner, photos / "00.png")
    monkeypatch.setenv("MMTUTOR_TRACE", "1")
    result = CliRunner().invoke(main, ["caption", str(captioner), str(photos / "00.png")])
    assert isinstance(result.exception, RuntimeError)


def test_a_reader_that_has_had_enough_is_no_error(
    captioner: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmtutor.cli.tasks import ShowAndTell

    def closed(*_: object) -> None:  # what `| head` does to a print
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(ShowAndTell, "load", closed)
    assert call("caption", captioner, photos / "00.png", code=1).output == ""


def test_a_damaged_run_says_to_train_it_again(
    captioner: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(captioner, out)
    note = json.loads((out / "run.json").read_text())
    for wrong in ({"data": "x"}, {"data": {"kind": "folder"}}, {"pixels": "x"}, {"set": None}):
        (out / "run.json").write_text(json.dumps({**note, **wrong}))
        line = only_line("evaluate", out)
        assert f": {next(iter(wrong))} missing or not as" in line
    (out / "run.json").write_text(json.dumps({**note, "data": {**note["data"], "name": "/no"}}))
    assert "there is no folder '/no'" in only_line("evaluate", out)
    call("caption", out, photos / "00.png")  # which asks for no data
    (file,) = out.glob("model-*")
    os.truncate(file, 500)
    line = only_line("caption", out, photos / "00.png")
    assert "is damaged" in line
    assert "train it again" in line


def test_a_folder_is_no_picture(captioner: Path, photos: Path) -> None:
    result = call("caption", captioner, photos, code=1)
    assert "is a folder; name a picture in it" in result.stderr


def test_names_sizes_and_texts_that_are_strange(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    names = [
        "a b.png",
        "Übergröße.png",
        "日本語.png",
        "🐱 cat.png",
        "-dash.png",
        "%s.png",
        "q'.png",
    ]
    names += [f"{n}.png" for n in range(4)]
    sides = [(1, 1), (20_000, 3)] + [(40, 30)] * 9
    lines = []
    for number, (name, side) in enumerate(zip(names, sides)):
        Image.new("RGB", side, (number, 99, 9)).save(folder / name)
        texts = ["🐶"] if number == 3 else ["ein Ding", "…"]
        lines.append(json.dumps({"file_name": name, "captions": texts}))
    (folder / "empty.png").write_bytes(b"")
    os.symlink(folder / "0.png", folder / "link.png")
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    out = tmp_path / "run"
    shown = call(
        *("train", "show_and_tell", "--data", folder, "--out", out, "--steps", 2, *SMALL),
        *("--set", "hidden=8", "--size", 99),
    )
    assert "texts without a word are left out" in shown.stderr
    assert "there are 10" in shown.stderr
    assert "Warning" not in shown.stderr
    result = call("caption", out, *(folder / name for name in names), "--beam", 1)
    assert len(result.stdout.splitlines()) == len(names)
    (folder / "3.png").rename(folder / "10.png")  # nine with a text: none is kept back
    (folder / "metadata.jsonl").write_text("\n".join(lines[:8]))
    assert "ten pictures with a text are the least" in refused("evaluate", out)


def test_a_sum_and_a_measure_of_few_words(tmp_path: Path) -> None:
    text, out = tmp_path / "text", tmp_path / "words"
    (text / "folder.txt").mkdir(parents=True)
    lines = [
        "king queen man woman and by the sea"
    ] * 30  # one pair of one relation has all its words
    (text / "a.txt").write_text("\n".join(lines))
    (text / "B.TXT").write_text("heather " * 30)
    (text / "._a.txt").write_bytes(b"\x00\x05\x16\x07\xff")  # a Mac's, beside a.txt
    (text / ".git").mkdir()
    (text / ".git" / "hidden.txt").write_text("hidden " * 50)
    size = ("--set", "dim=4", "--set", "subsample=0", "--set", "epochs=1")
    call("train", "word2vec", "--data", text, "--out", out, *size)
    assert "words" in call("evaluate", out).output
    assert "nothing is left of the sum" in only_line("words", out, "king", "-", "king")
    call("words", out, "heather")
    assert "hidden" in only_line("words", out, "hidden")  # nobody has read it
    wrong = CliRunner().invoke(main, ["words", str(out), "--tpo", "3", "king"])
    assert wrong.exit_code == 2
    assert "No such option '--tpo'" in wrong.stderr
    os.symlink(tmp_path / "nowhere", text / "b.txt")
    no = ("train", "word2vec", "--data", text, "--out", tmp_path / "no")
    assert "is a link that leads nowhere" in refused(*no)
