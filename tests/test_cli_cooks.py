"""The commands that find recipes, caption films and imagine faces, tried as a user would: with files of
one's own, good ones and bad ones."""

from __future__ import annotations

import json
import os
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from calling import COLOURS, call, refused, weights
from click.testing import CliRunner
from PIL import Image

from mmtutor.cli import main, task
from mmtutor.cli.cooking import in_words
from mmtutor.cli.tasks import TASKS


def wall(number: int, side: int = 48) -> Image.Image:
    """Red, green and blue in turn, each with noise of its own."""
    dice = np.random.default_rng(number)
    colour = np.array(list(COLOURS.values())[number % 3])
    noise = dice.integers(-20, 20, (side, side, 3))
    return Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8))


def table(folder: Path, lines: list[dict]) -> None:
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")


SMALL = ("--pixels", 48, "--batch", 8)
CARDS = ("--set=hidden=32", "--set=embedding=16", "--set=width=16", "--set=attention=16")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cooks")


@pytest.fixture(scope="module")
def kitchen(room: Path) -> Path:
    """Thirty dishes of three colours, with recipes."""
    folder, lines = room / "kitchen", []
    folder.mkdir()
    for k in range(30):
        colour = list(COLOURS)[k % 3]
        wall(k).save(folder / f"{k:02d}.png")
        own = {"title": f"{colour} soup", "ingredients": [f"{k} {colour} things", "salt"]}
        own |= {"instructions": [f"Chop the {colour} things.", "Boil."], "class": colour}
        lines.append({"file_name": f"{k:02d}.png"} | own)
    table(folder, lines)
    return folder


@pytest.fixture(scope="module")
def cook(kitchen: Path, room: Path) -> Path:
    call("train", "recipes", "--data", kitchen, "--out", room / "cook", "--steps", 40, *SMALL)
    return room / "cook"


@pytest.fixture(scope="module")
def cinema(room: Path) -> Path:
    """Thirty films that get dark or bright, as folders, GIFs and arrays."""
    folder, lines = room / "cinema", []
    folder.mkdir()
    for k in range(30):
        dark = (k + k // 10) % 2  # both are among the tenth that is kept back
        levels = [40 + k % 7, 90, 140, 190, 220 + k][:: -1 if dark else 1]
        shown = [Image.new("RGB", (48, 48), (v, v, v)) for v in levels]
        if k % 3 == 0:
            name = f"film{k:02d}"
            (folder / name).mkdir()
            for n, one in enumerate(shown, start=7):  # 7.png to 11.png
                one.save(folder / name / f"{n}.png")
        elif k % 3 == 1:
            name = f"film{k:02d}.gif"
            more = dict(save_all=True, append_images=shown[1:], duration=200)
            shown[0].save(folder / name, **more)
        else:
            name = f"film{k:02d}.npy"
            np.save(folder / name, np.stack([np.asarray(one) for one in shown]))
        text = "the light goes out" if dark else "a lamp gets brighter"
        lines.append({"file_name": name, "captions": [text]})
    table(folder, lines)
    return folder


@pytest.fixture(scope="module")
def watcher(cinema: Path, room: Path) -> Path:
    words = ("--data", cinema, "--out", room / "watcher", "--steps", 110, *SMALL, *CARDS)
    call("train", "video_captioning", *words, "--lr", 0.01)
    return room / "watcher"


TINY = (
    *("--steps", 12, "--size", 12, "--batch", 4, "--set=seconds=2", "--set=piece=2"),
    *("--set=blocks=((1,4),)", "--set=shrink=1", "--set=decoder_channels=(4,)"),
    *("--set=stack=((4,(4,4),(4,4)),(4,(4,4),(2,4)))",),
)


@pytest.fixture(scope="module")
def dreamer(room: Path) -> Path:
    shown = call("train", "speech2face", "--out", room / "dreamer", *TINY).output
    assert "12 steps" in shown
    return room / "dreamer"


# --- Recipes --------------------------------------------------------------------------------------


def test_a_picture_finds_recipes_of_its_kind(cook: Path, tmp_path: Path) -> None:
    for number, colour in enumerate(COLOURS):
        wall(900 + number).save(tmp_path / f"{colour}.png")
        lines = call("search", cook, "--picture", tmp_path / f"{colour}.png", "--top", 3).output
        assert len(lines.splitlines()) == 3
        assert f"{colour} soup: " in lines.splitlines()[0]
        assert "; salt" in lines.splitlines()[0]
        assert lines.splitlines()[0].endswith(".png)")


def test_recipes_are_measured_on_what_was_kept_back(cook: Path) -> None:
    call("evaluate", cook)
    scores = json.loads((cook / "scores.json").read_text())
    assert scores["R@10 by chance"] == 1.0  # each tenth of 30
    assert 1 <= scores["picture → recipe, median rank"] <= 3
    assert scores["recipe → picture, R@10"] == 1.0


def test_numbers_are_no_ingredients() -> None:
    assert in_words(["4 ripe tomatoes", "200g flour"]) == ["ripe", "tomatoes", "flour"]


def test_recipes_at_the_papers_sizes_and_without_classes(
    kitchen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [json.loads(one) for one in (kitchen / "metadata.jsonl").read_text().splitlines()]
    (tmp_path / "own").mkdir()
    for line in lines[:12]:
        (tmp_path / "own" / line["file_name"]).write_bytes(
            (kitchen / line["file_name"]).read_bytes()
        )
    table(tmp_path / "own", [{k: v for k, v in one.items() if k != "class"} for one in lines[:12]])
    small = [f"--set={name}=8" for name in ("sentence", "instruction", "joint", "word")]
    words = ("--data", tmp_path / "own", "--out", tmp_path / "run", "--steps", 2, *SMALL, *small)
    call("train", "recipes", "--scale", "paper", *words)
    config = json.loads((tmp_path / "run" / "model.json").read_text())["config"]
    assert (config["image"], config["classes"], config["loss"]) == (1280, 0, "cosine")


def test_dishes_that_cannot_be_looked_up(cook: Path, kitchen: Path, tmp_path: Path) -> None:
    assert "give --picture" in refused("search", cook, "--text", "red soup")
    (tmp_path / "no.png").write_bytes(b"no picture")
    assert "no.png' cannot be read" in refused("search", cook, "--picture", tmp_path / "no.png")
    assert "is a folder; name a picture" in refused("search", cook, "--picture", tmp_path)
    wall(0).save(tmp_path / "a.png")
    table(tmp_path, [{"file_name": "a.png", "title": "soup"}])
    line = refused("train", "recipes", "--data", tmp_path, "--out", tmp_path / "x")
    assert "needs ingredients" in line
    whole = {"title": "soup", "ingredients": ["1", "2"], "instructions": ["Boil."]}
    wall(1).save(tmp_path / "b.png")
    table(tmp_path, [{"file_name": f"{x}.png", **whole} for x in "ab"])
    line = refused("train", "recipes", "--data", tmp_path, "--out", tmp_path / "x")
    assert "the ingredients of 'soup' hold no word" in line
    line = refused("train", "recipes", "--data", kitchen, "--out", tmp_path / "x", "--batch", 1)
    assert "--batch of recipes must be at least 2" in line


# --- Films ----------------------------------------------------------------------------------------


def test_a_film_is_captioned_by_the_order_of_its_pictures(watcher: Path, tmp_path: Path) -> None:
    levels = np.array([45, 95, 140, 185, 235], np.uint8)
    shown = np.broadcast_to(levels[:, None, None, None], (5, 48, 48, 3))
    np.save(tmp_path / "bright.npy", shown)
    np.save(tmp_path / "dark.npy", shown[::-1])
    lines = call("caption", watcher, tmp_path / "bright.npy", tmp_path / "dark.npy").output
    one, two = lines.strip().splitlines()
    assert one.endswith("bright.npy: a lamp gets brighter")
    assert two.endswith("dark.npy: the light goes out")


def test_good_films_and_bad(watcher: Path, cinema: Path, tmp_path: Path) -> None:
    wall(0).save(tmp_path / "still.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "film.mp4").write_bytes(b"no film that is read")
    bad = [tmp_path / x for x in ("still.png", "empty", "film.mp4", "nowhere.gif")]
    good = [cinema / "film00", cinema / "film01.gif"]
    result = call("caption", watcher, *good, *bad, code=1)
    assert len(result.stdout.strip().splitlines()) == 2
    for words in (
        "still.png' is one picture, and a film has two or more",
        "is a folder without pictures",
        "cannot be read as a film: give a folder of pictures",
        "there is no file or folder",
        "4 of 6 files could not be read",
    ):
        assert words in result.stderr


def test_films_are_measured_on_those_kept_back(watcher: Path) -> None:
    call("evaluate", watcher)
    scores = json.loads((watcher / "scores.json").read_text())
    assert scores["BLEU-4"] > 0.9


def test_without_places_in_time_the_papers_number_of_pictures_counts(
    cinema: Path, tmp_path: Path
) -> None:
    small = [f"--set={name}=8" for name in ("hidden", "embedding", "attention")]
    words = ("--data", cinema, "--out", tmp_path / "run", "--steps", 1, *SMALL, *small)
    call("train", "video_captioning", "--scale", "paper", *words)
    assert json.loads((tmp_path / "run" / "model.json").read_text())["more"]["frames"] == 28
    assert "film00" in call("caption", tmp_path / "run", cinema / "film00").output


def test_films_of_which_nothing_is_said(cinema: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(cinema / "film00", tmp_path / "films" / "film00")
    words = ("--data", tmp_path / "films", "--out", tmp_path / "run", *SMALL)
    assert "the films have no captions" in refused("train", "video_captioning", *words)
    assert not (tmp_path / "run").exists()


def test_a_damaged_film_is_left_out(cinema: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(cinema, tmp_path / "films")
    (tmp_path / "films" / "film01.gif").write_bytes(b"GIF89a")
    words = ("--data", tmp_path / "films", "--out", tmp_path / "run", "--steps", 1, *SMALL, *CARDS)
    result = call("train", "video_captioning", *words, "--scale", "paper", "--set=frames=4",
                  "--set=time=add")  # fmt: skip
    assert "film01.gif" in result.stderr
    config = json.loads((tmp_path / "run" / "model.json").read_text())["config"]
    assert (config["features"], config["frames"]) == (1280, 4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--pixels", 100), "--pixels of video_captioning must be 64, 96 or 128"),
        (("--set=frames=13",), "the world's clips have 12 pictures"),
        (("--set=pooling=max",), "pooling must be one of"),
        (("--set=grid=none",), "grid follows from the data"),
        (("--data", "flickr8k"), "must be one of: world, a folder of your own"),
    ],
)
def test_settings_of_films_that_cannot_be(
    words: tuple[object, ...], message: str, tmp_path: Path
) -> None:
    assert message in refused("train", "video_captioning", *words, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


# --- Faces from voices ----------------------------------------------------------------------------


def write_wav(path: Path, seconds: float, rate: int = 8000, loud: float = 0.3) -> Path:
    t = np.arange(round(seconds * rate)) / rate
    samples = loud * np.sin(2 * np.pi * 150 * t) * (1 + np.sin(2 * np.pi * 4 * t)) / 2
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def test_the_command_gauges_and_settles(dreamer: Path) -> None:
    """As the chapter does: points in units of the known faces, answers in five directions."""
    from mmtutor.cli.imagining import DIRECTIONS
    from mmtutor.kit import saving
    from mmtutor.speech2face import Speech2Face

    model, _ = saving.load(Speech2Face, dreamer)
    assert not torch.equal(model.units, torch.eye(len(model.units)))
    assert torch.linalg.matrix_rank(model.voice.fc2.weight.double(), rtol=1e-4) == DIRECTIONS == 5


def test_it_draws_what_it_imagines_and_says_that_it_is_nobody(
    dreamer: Path, tmp_path: Path
) -> None:
    sound = write_wav(tmp_path / "voice.wav", 3.0, 16000)
    result = call("imagine", dreamer, sound, "--out", tmp_path / "face.png", "--zoom", 2)
    assert "64 × 64 pixels" in result.stdout
    assert "it shows nobody, and says nothing of who speaks here" in result.stderr
    assert "brought to 8,000" in result.stderr
    with Image.open(tmp_path / "face.png") as image:
        assert image.size == (128, 128)
    call("imagine", dreamer, sound, sound, "--out", tmp_path / "faces")
    assert {x.name for x in (tmp_path / "faces").iterdir()} == {"voice.png", "voice-2.png"}


def test_good_and_bad_voices(dreamer: Path, tmp_path: Path) -> None:
    good = write_wav(tmp_path / "good.wav", 1.5)
    bad = [write_wav(tmp_path / "short.wav", 0.4), write_wav(tmp_path / "mute.wav", 2, loud=0)]
    bad += [tmp_path / "nowhere.wav"]
    result = call("imagine", dreamer, good, *bad, "--out", tmp_path / "out", code=1)
    assert "good.png" in result.stdout
    for words in ("at least 1 s of speech", "nothing but silence", "nowhere.wav", "3 of 4 files"):
        assert words in result.stderr
    assert "must end in .png" in refused("imagine", dreamer, good, "--out", tmp_path / "x.txt")


def test_voices_look_for_their_faces(dreamer: Path) -> None:
    call("evaluate", dreamer, "--size", 12)
    scores = json.loads((dreamer / "scores.json").read_text())
    assert scores["faces"] == 12
    assert scores["R@10 by chance"] == pytest.approx(10 / 12)
    assert 0 <= scores["own face, R@10"] <= 1
    assert "at least 2" in refused("evaluate", dreamer, "--size", 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scale", "paper"), "do not come with the book"),
        (("--data", "voices"), "must be one of: world; it does not learn from 'voices'"),
        (("--set=rate=22050",), "rate must be 8000 or 16000"),
        (("--set=seconds=3",), "seconds must be 2, 4, 5 or 6"),
        (("--set=people=7",), "people follows from the data"),
        (("--pixels", 64), "speech2face does not take --pixels"),
        (("--batch", 1), "--batch of speech2face must be at least 2"),
    ],
)
def test_settings_of_voices_that_cannot_be(
    words: tuple[object, ...], message: str, tmp_path: Path
) -> None:
    assert message in refused("train", "speech2face", *words, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


# --- Stopped and gone on with ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "parts"), [("recipes", 1), ("video_captioning", 1), ("speech2face", 2)]
)
def test_stopped_at_each_second_checkpoint_it_ends_with_the_same_weights(
    system: str,
    parts: int,
    kitchen: Path,
    cinema: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task, "EVERY", 3)

    def train(out: Path) -> int:
        more = {
            "recipes": ("--data", kitchen, "--steps", 12, *SMALL),
            "video_captioning": ("--data", cinema, "--steps", 12, *SMALL, *CARDS),
            "speech2face": TINY,
        }[system]
        words = ["train", system, "--out", out, *more]
        return CliRunner().invoke(main, [str(word) for word in words]).exit_code

    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert train(straight) == 0
    replace, written = os.replace, []

    def stop(source: object, target: object) -> None:
        replace(source, target)
        if Path(str(target)).name.startswith("checkpoint"):
            written.append(Path(str(target)).name)
            if len(written) % 2 == 0:
                raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    codes = [train(broken)]
    while codes[-1] == 130 and len(codes) < 30:
        codes.append(train(broken))
    assert codes[-1] == 0
    assert len(codes) > 2
    assert len(set(written)) == parts
    a, b = weights(straight), weights(broken)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not list(broken.glob("checkpoint*"))


@pytest.mark.parametrize("system", ["recipes", "video_captioning", "speech2face"])
def test_small_lies_between_the_world_and_the_paper(
    system: str, kitchen: Path, cinema: Path, tmp_path: Path
) -> None:
    data = {
        "recipes": ("--data", kitchen, *SMALL),
        "video_captioning": ("--data", cinema, *SMALL),
        "speech2face": ("--size", 4, "--batch", 2),
    }[system]
    count = {}
    for scale in ("world", "small"):
        out = tmp_path / scale
        call("train", system, "--scale", scale, "--out", out, "--steps", 1, *data)
        count[scale] = sum(x.numel() for x in weights(out).values())
    config = json.loads((out / "model.json").read_text())["config"]
    for name, value in TASKS[system].small.items():
        assert config[name] == json.loads(json.dumps(value)), name
    assert count["small"] > count["world"]


def test_the_three_stand_in_the_list() -> None:
    shown = call("list").output
    for system, then in (
        ("recipes", "search"),
        ("video_captioning", "caption"),
        ("speech2face", "imagine"),
    ):
        assert TASKS[system].then == then
        assert f"{system}\n" in shown
