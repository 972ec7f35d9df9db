"""What names, reads words with cells, and the scale between the world's and the paper's: tried on a
few made files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from calling import COLOURS, call, refused
from PIL import Image
from test_cli import photos
from test_cli_cooks import cinema, kitchen
from test_cli_files import tone, write_wav
from test_cli_folders import (
    ASKED,
    LOOK,
    likeliest,
    quiz,
    room,
    same_weights,
    spoken,
    stopped_and_gone_on_with,
    voices,
)

from mmtutor.cli import fusing, reading
from mmtutor.cli.task import threads_of
from mmtutor.cli.tasks import TASKS

__all__ = ["cinema", "kitchen", "photos", "quiz", "room", "spoken", "voices"]  # fixtures

PITCHES = {"red": 300, "green": 600, "blue": 1200}


@pytest.fixture(scope="module")
def things(room: Path) -> Path:
    """Three things, each with ten pictures of one colour and ten sounds of one pitch."""
    dice = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        place = room / "things" / name
        place.mkdir(parents=True)
        for k in range(10):
            noise = dice.integers(-20, 20, (48, 48, 3))
            picture = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(place / f"{k}.png")
            write_wav(place / f"{k}.wav", tone(PITCHES[name] * (1 + 0.01 * k)))
    return room / "things"


NAME = ("--pixels", 48, "--batch", 16, "--set", "encoder=16", "--set", "mlp=16")


@pytest.fixture(scope="module")
def namer(things: Path, room: Path) -> Path:
    out = room / "namer"
    call("train", "fusion", "--data", things, "--out", out, "--steps", 60, *NAME)
    return out


# --- Fusion ---------------------------------------------------------------------------------------


def test_it_names_what_is_seen_and_heard(namer: Path, things: Path) -> None:
    for name in COLOURS:  # the tenth of each was kept back
        own = things / name
        shown = call("name", namer, own / "9.png", own / "9.wav", "--top", 1).stdout
        assert shown.split()[1] == name
    assert len(call("name", namer, own / "9.png", own / "9.wav").stdout.splitlines()) == 3
    call("evaluate", namer)
    scores = json.loads((namer / "scores.json").read_text())
    assert list(scores) == [
        "right, of 3 names",
        "without picture",
        "without sound",
        "right by chance",
    ]
    assert scores["right, of 3 names"] == 1
    assert scores["right by chance"] == pytest.approx(1 / 3)


def test_what_cannot_be_named(namer: Path, things: Path, tmp_path: Path) -> None:
    picture, sound = things / "red" / "0.png", things / "red" / "0.wav"
    both = call("name", namer, sound, picture, code=1).stderr.splitlines()  # the wrong way round
    assert str(sound) in both[0]
    assert str(picture) in both[1]
    assert both[2] == "2 of 2 files could not be read"
    assert "use it with: mmtutor name" in refused("ask", namer, picture, "is it red?")


@pytest.mark.parametrize("fusion", ["sound", "early"])
def test_one_modality_or_both_at_once(fusion: str, things: Path, tmp_path: Path) -> None:
    run = ("train", "fusion", "--data", things, "--out", tmp_path / "x", "--steps", 2, *NAME)
    call(*run, "--set", f"fusion={fusion}")
    shown = call("evaluate", tmp_path / "x").output
    assert ("without sound" in shown) == (fusion == "early")
    own = things / "blue"
    call("name", tmp_path / "x", own / "9.png", own / "9.wav")


def test_ten_bad_files_and_a_thing_that_is_only_seen(things: Path, tmp_path: Path) -> None:
    for name in ("red", "blue"):
        (tmp_path / name).mkdir()
        for k in range(10):
            for ending in ("png", "wav"):
                whole = (things / name / f"{k}.{ending}").read_bytes()
                (tmp_path / name / f"{k}.{ending}").write_bytes(whole if k % 2 else b"no file")
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen" / "a.png").write_bytes((things / "red" / "0.png").read_bytes())
    out = tmp_path / "out"
    said = call("train", "fusion", "--data", tmp_path, "--out", out, "--steps", 2, *NAME).stderr
    assert "things without a picture or without a sound are left out: seen" in said
    assert "cannot be read as a picture" in said
    assert "left out: 15 more" in said  # five are named


def test_hidden_files_are_no_things_and_only_what_is_chosen_is_decoded(
    things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "things"
    shutil.copytree(things, folder)
    (folder / "red" / "._0.png").write_bytes(b"what a Mac notes")
    (folder / ".git" / "x").mkdir(parents=True)
    (folder / ".git" / "x" / "a.png").write_bytes(b"no picture")
    read, hears = [], fusing.sound_of
    monkeypatch.setattr(fusing, "sound_of", lambda path: (read.append(path), hears(path))[1])
    whole = fusing.things_of(str(folder), "train", None, 16)
    assert (len(read), whole[3]) == (27, ["blue", "green", "red"])
    read.clear()
    some = fusing.things_of(str(folder), "train", 4, 16)
    assert len(read) == 4
    assert np.array_equal(some[0], whole[0][:4])
    assert all(map(np.array_equal, some[1], whole[1][:4]))
    assert torch.equal(some[2], whole[2][:4])
    # one that cannot be read makes room for another, and the pictures beside it stay
    for path in read[:2]:
        path.write_bytes(b"no sound")
    assert len(fusing.things_of(str(folder), "train", 4, 16)[0]) == 4
    assert len(fusing.things_of(str(folder), "train", None, 16)[0]) == 27


def test_a_thread_alone_is_for_the_world() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for scale, count in (("world", 1), ("small", 2), ("paper", 2)):
            with threads_of({"scale": scale}):
                assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)


def test_folders_that_hold_no_things(things: Path, tmp_path: Path) -> None:
    run = ("train", "fusion", "--out", tmp_path / "out", "--data")
    (tmp_path / "one" / "red").mkdir(parents=True)
    assert "must hold two folders or more" in refused(*run, tmp_path / "one")
    (tmp_path / "split" / "train").mkdir(parents=True)
    (tmp_path / "split" / "train" / "a.png").write_bytes((things / "red" / "0.png").read_bytes())
    assert "holds train, and here its folders must have the names" in refused(
        *run, tmp_path / "split"
    )
    few = tmp_path / "few"
    for name in ("red", "blue"):
        (few / name).mkdir(parents=True)
        for ending in ("png", "wav"):
            whole = (things / name / f"0.{ending}").read_bytes()
            (few / name / f"0.{ending}").write_bytes(whole)
    call(*run, few, "--steps", 1, *NAME)
    assert "ten pictures of a thing are the least" in refused("evaluate", tmp_path / "out")


def test_the_world_has_portraits_and_sounds(tmp_path: Path) -> None:
    rows = TASKS["fusion"].pairs(
        {"data": {"kind": "world", "name": "world"}, "pixels": 64}, "test", 20
    )
    pictures, waves, label, names = rows
    assert pictures.shape == (20, 64, 64, 3)
    assert len(waves) == 20
    assert len(names) == 56
    assert len(label.unique()) > 5


def test_a_namer_that_was_stopped_ends_with_the_same_weights(
    things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["fusion", "--data", things, "--steps", 12, *NAME]
    assert same_weights(*stopped_and_gone_on_with(words, tmp_path, monkeypatch))


# --- VL-BERT and ViLBERT --------------------------------------------------------------------------

TINY = {
    "vlbert": ("--set=width=16", "--set=heads=2", "--set=layers=1", "--set=hidden=16"),
    "vilbert": (
        *("--set=width=16", "--set=heads=2", "--set=layers=1", "--set=hidden=16"),
        *("--set=region_width=16", "--set=region_heads=2", "--set=region_hidden=16"),
        *("--set=connections=1", "--set=shared=16", "--set=shared_heads=2", "--set=pooled=16"),
        "--set=answer_hidden=16",
    ),
}


@pytest.mark.parametrize("system", TINY)
def test_it_answers_about_pictures_of_ones_own(system: str, quiz: Path, tmp_path: Path) -> None:
    out = tmp_path / system
    plain = ("--set=dropout=0", *(["--set=answer_dropout=0"] if system == "vilbert" else []))
    call("train", system, "--data", quiz, "--out", out, "--steps", 90, *LOOK, *TINY[system], *plain)
    for place, colour in ((9, "red"), (19, "green"), (29, "blue")):  # none of them was learnt from
        assert likeliest(out, quiz / f"{place:02d}.png", ASKED[0]) == colour
    call("evaluate", out)
    scores = json.loads((out / "scores.json").read_text())
    assert scores == {"right": 1, "always 'no'": pytest.approx(1 / 3)}
    assert "zorblax" in call("ask", out, quiz / "00.png", "is it zorblax").stderr
    assert "no word of 'zorblax'" in refused("ask", out, quiz / "00.png", "zorblax")
    long = " ".join(["red"] * 200)  # longer than there are positions for
    assert len(call("ask", out, quiz / "00.png", long).stdout.splitlines()) == 3


@pytest.mark.parametrize("system", TINY)
def test_the_papers_settings_with_smaller_sizes(system: str, quiz: Path, tmp_path: Path) -> None:
    """Sigmoids for the answers, the paper's way to say where a region lies; not its widths."""
    run = ("train", system, "--data", quiz, "--out", tmp_path / "x", "--scale", "paper")
    call(*run, "--steps", 2, *LOOK, *TINY[system])
    config = json.loads((tmp_path / "x" / "model.json").read_text())["config"]
    assert config["answer_loss"] == "sigmoid"
    assert (config["cls"], config["first"]) == (4, 7)
    assert config["geometry"] == {"vlbert": "sines", "vilbert": "sum"}[system]
    sure = [
        float(line.split("%")[0])
        for line in call("ask", tmp_path / "x", quiz / "00.png", ASKED[0]).stdout.splitlines()
    ]
    assert 100 >= sure[0] >= sure[1] >= 0


@pytest.mark.parametrize("system", TINY)
def test_a_reader_that_was_stopped_ends_with_the_same_weights(
    system: str, quiz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [system, "--data", quiz, "--steps", 12, *LOOK, *TINY[system]]
    assert same_weights(*stopped_and_gone_on_with(words, tmp_path, monkeypatch))


def test_cells_lie_where_their_boxes_say() -> None:
    maps = torch.arange(6.0).view(1, 1, 2, 3)
    seen, boxes, there = reading.regions(maps)
    assert seen[0, :, 0].tolist() == [2.5, 0, 1, 2, 3, 4, 5]  # the whole picture, then the cells
    assert boxes[0, 0].tolist() == [0, 0, 1, 1]
    assert boxes[0, 3].tolist() == pytest.approx([2 / 3, 0, 1, 1 / 2])  # the upper right
    assert boxes[0, 4].tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1])  # the lower left
    assert there.all()
    large = torch.arange(196.0).view(1, 1, 14, 14)
    assert reading.cells(large).shape == (1, 1, 7, 7)
    assert float(reading.cells(large)[0, 0, 0, 0]) == pytest.approx((0 + 1 + 14 + 15) / 4)


# --- The scale between ----------------------------------------------------------------------------


@pytest.mark.parametrize("system", TASKS)
def test_every_system_has_three_scales_but_where_it_says_why(system: str) -> None:
    task = TASKS[system]
    assert {"world", "small", "paper"} == {*task.recipes, *task.lacks}
    assert "small" in task.recipes
    assert "small" in call("list").output.split(f"{system}\n")[1].split("scales")[1].split("\n")[0]


@pytest.mark.parametrize("system", [one for one in TASKS if one != "word2vec"])
def test_small_is_between_world_and_paper(system: str) -> None:
    task = TASKS[system]
    weights = {}
    for scale in task.recipes:
        run = {
            **{"data": {"kind": "folder", "name": "x"}, "scale": scale, "set": {}, "batch": 8},
            **{"pixels": 224, "size": None},
        }
        if system in ("text_to_image", "sound_localization"):
            run["data"] = {"kind": "world", "name": "world"}
        made = task.settings(run)
        weights[scale] = sum(p.numel() for p in task.hollow(made).parameters())
    assert weights["small"] > weights["world"]
    if "paper" in weights and system != "joint_embedding":  # its small one has a large vocabulary
        assert weights["small"] < weights["paper"]


def test_the_help_says_what_the_scales_are() -> None:
    shown = " ".join(call("train", "--help").output.split())
    assert "world learns the book's drawn world" in shown
    assert "small is for real photographs and sounds" in shown
    assert "paper has the sizes of the paper" in shown


SMALL: dict[str, tuple[str | None, tuple[object, ...], int]] = {
    # the folder, the options, steps
    "fusion": ("things", ("--pixels", 48, "--batch", 8), 2),
    "word2vec": (None, ("--size", 300, "--set", "dim=16", "--set", "epochs=1"), 0),
    "joint_embedding": ("photos", ("--pixels", 48, "--batch", 8), 2),
    "recipes": ("kitchen", ("--pixels", 48, "--batch", 8), 2),
    "show_and_tell": ("photos", ("--pixels", 48, "--batch", 8), 2),
    "show_attend_tell": ("photos", ("--pixels", 48, "--batch", 8), 2),
    "video_captioning": ("cinema", ("--pixels", 48, "--batch", 8), 2),
    "vqa": ("quiz", ("--pixels", 48, "--batch", 8), 2),
    "vlbert": ("quiz", ("--pixels", 48, "--batch", 4), 2),
    "vilbert": ("quiz", ("--pixels", 48, "--batch", 4), 2),
    "text_to_image": ("photos", ("--batch", 4), 2),
    "cocktail_party": ("voices", ("--batch", 2), 2),
    "soundnet": ("things", ("--batch", 4), 2),
    "sound_localization": (None, ("--size", 20, "--batch", 8), 2),
    "image_to_speech": ("spoken", ("--pixels", 48, "--batch", 4), 2),
    "speech2face": (None, ("--size", 4, "--batch", 2), 2),
}


@pytest.mark.parametrize("system", SMALL)
def test_small_trains_is_measured_and_has_its_own_sizes(
    system: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    own, more, steps = SMALL[system]
    data = () if own is None else ("--data", request.getfixturevalue(own))
    given = ("--steps", steps) if steps else ()
    out = tmp_path / "small"
    call("train", system, "--scale", "small", "--out", out, *data, *given, *more)
    config = json.loads((out / "model.json").read_text())["config"]
    if system == "word2vec":  # what it keeps is a table
        assert config["size"] == 16
        assert TASKS[system].settings({"scale": "small", "set": {}}).dim == 200
    else:
        for name, value in TASKS[system].small.items():
            assert config[name] == json.loads(json.dumps(value)), name
    assert json.loads((out / "run.json").read_text())["scale"] == "small"
    call("evaluate", out, "--size", 4)


def test_every_system_is_tried_at_the_small_scale() -> None:
    assert list(SMALL) == list(TASKS)


def test_a_setting_of_the_lesson_that_is_left_out(
    tmp_path: Path, forbidden: Callable[[], None]
) -> None:
    forbidden()
    run = ("train", "vlbert", "--out", tmp_path / "x")
    assert "only the lesson on captions reads that" in refused(*run, "--set", "mask_words=0.3")
    assert "follows from the data" in refused(*run, "--set", "cls=3")
    assert "did you mean layers?" in refused(*run, "--set", "layer=3")
    assert "must be a multiple of" in refused(*run, "--set", "width=30", "--set", "heads=4")
    fused = ("train", "fusion", "--out", tmp_path / "x")
    assert "--pixels of fusion must be 64, 96" in refused(*fused, "--pixels", 100)
    assert "fusion must be one of" in refused(*fused, "--set", "fusion=smell")
    assert "no effect where one modality is read" in refused(
        *fused, "--set", "fusion=sound", "--set", "modality_dropout=0.5, 0.2"
    )
    assert not (tmp_path / "x").exists()
