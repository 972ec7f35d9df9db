"""A reader's own recipes, films and spoken pictures: good ones and bad ones."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmtutor import hub, world
from mmtutor.hub import clips


@pytest.fixture(autouse=True)
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path / "cache"))


def paint(path: Path, grey: int, size: tuple[int, int] = (20, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey, grey, grey)).save(path)
    return path


def sing(path: Path, hertz: float = 300, seconds: float = 0.5, rate: int = 8000) -> Path:
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * hertz * np.arange(seconds * rate) / rate), rate)
    return path


def table(folder: Path, *lines: dict) -> None:
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))


def greys(frames: np.ndarray) -> list[int]:
    """One number a picture."""
    return [round(float(one.mean())) for one in frames]


# --- Recipes --------------------------------------------------------------------------------------

SOUP = {
    "file_name": "soup.png",
    "title": " tomato soup ",
    "ingredients": ["4 tomatoes", "1 onion"],
    "instructions": ["Chop the onion.", "Boil all of it."],
    "class": "soup",
}


def test_recipes_come_in_the_columns_of_the_world(tmp_path: Path) -> None:
    for name in ("cake", "soup"):
        paint(tmp_path / f"{name}.png", 90)
    cake = SOUP | {"file_name": "cake.png", "title": "cake"}
    del cake["class"]
    table(tmp_path, SOUP, cake)
    rows = hub.recipes(tmp_path, pixels=32)
    assert rows["file"] == ["cake.png", "soup.png"]
    assert rows["title"] == ["cake", "tomato soup"]
    assert rows["class"] == ["", "soup"]
    assert rows[1]["ingredients"] == ["4 tomatoes", "1 onion"]
    assert rows[1]["instructions"] == ["Chop the onion.", "Boil all of it."]
    assert rows[0]["image"].shape == (32, 32, 3)
    own = world.load("dishes", "test", 2)
    assert set(rows.column_names) - {"file"} <= set(own.column_names)
    for column in ("title", "ingredients", "instructions", "class"):
        assert rows.features[column] == own.features[column], column


def test_a_table_of_recipes_has_a_line_for_each_entry(tmp_path: Path) -> None:
    paint(tmp_path / "soup.png", 90)
    (tmp_path / "metadata.csv").write_text(
        'file_name,title,ingredients,instructions\nsoup.png,soup,"4 tomatoes\n1 onion","Chop.\n\nBoil."\n'
    )
    (row,) = hub.recipes(tmp_path, pixels=16)
    assert row["ingredients"] == ["4 tomatoes", "1 onion"]
    assert row["instructions"] == ["Chop.", "Boil."]


def test_pictures_of_which_nothing_is_asked_are_left_out_and_named(tmp_path: Path) -> None:
    for name in ("rex.png", "tom.png", "zoe.png"):
        paint(tmp_path / name, 90)
    table(
        tmp_path,
        {"file_name": "zoe.png", "question": "who?", "answer": "Zoe"},
        {"file_name": "rex.png", "questions": ["who?", "where?"], "answers": ["Rex", "here"]},
    )
    with pytest.warns(hub.FolderWarning, match=r"1 of 3 files have no question.*tom\.png") as told:
        rows = hub.asked(tmp_path, pixels=16)
    assert rows["file"] == ["rex.png", "zoe.png"]
    assert rows["questions"] == [["who?", "where?"], ["who?"]]
    assert rows["answers"] == [["rex", "here"], ["zoe"]]
    assert told[0].filename == __file__


def test_nothing_is_told_of_what_is_left(tmp_path: Path) -> None:
    """The one picture of which something is told cannot be decoded."""
    (tmp_path / "soup.png").write_bytes(b"no picture")
    paint(tmp_path / "stone.png", 90)
    table(tmp_path, SOUP | {"question": "what?", "answer": "soup"})
    for call, nothing in ((hub.recipes, "has a recipe"), (hub.asked, "nothing is asked")):
        with (
            pytest.warns(hub.FolderWarning, match="cannot be decoded"),
            pytest.raises(ValueError, match=nothing),
        ):
            call(tmp_path, pixels=16, damaged="skip")


def test_dishes_without_a_recipe_are_left_out_and_named(tmp_path: Path) -> None:
    paint(tmp_path / "soup.png", 90)
    paint(tmp_path / "stone.png", 90)
    table(tmp_path, SOUP)
    with pytest.warns(hub.FolderWarning, match=r"1 of 2 files have no recipe.*stone\.png") as told:
        rows = hub.recipes(tmp_path, pixels=16)
    assert rows["file"] == ["soup.png"]
    assert told[0].filename == __file__


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"title": ""}, r"line 1: a recipe needs title, text, not ''"),
        ({"ingredients": []}, "line 1: a recipe needs ingredients, a list of texts"),
        ({"ingredients": ["salt", 3]}, "needs ingredients, a list of texts"),
        ({"instructions": None}, "needs instructions, a list of texts, not None"),
        ({"instructions": ["  "]}, "needs instructions"),
        ({"class": 4}, "class must be text, not 4"),
        ({"file_name": "no.png"}, "there is no file 'no.png'"),
        ({"file_name": "../soup.png"}, "leads out of the folder"),
    ],
)
def test_a_recipe_that_is_none_is_named_by_its_line(
    tmp_path: Path, change: dict, says: str
) -> None:
    paint(tmp_path / "soup.png", 90)
    table(tmp_path, SOUP | change)
    with pytest.raises((ValueError, FileNotFoundError), match=says):
        hub.recipes(tmp_path, pixels=16)


def test_a_picture_has_one_recipe(tmp_path: Path) -> None:
    paint(tmp_path / "soup.png", 90)
    table(tmp_path, SOUP, SOUP)
    with pytest.raises(ValueError, match=r"line 2: 'soup.png' has a recipe already"):
        hub.recipes(tmp_path, pixels=16)


def test_pictures_without_any_recipe(tmp_path: Path) -> None:
    paint(tmp_path / "soup.png", 90)
    with pytest.raises(ValueError, match=r"no picture of .* has a recipe: write"):
        hub.recipes(tmp_path, pixels=16)


# --- Recipe1M --------------------------------------------------------------------------------------


@pytest.fixture
def recipe1m(tmp_path: Path) -> Path:
    """Four recipes as Recipe1M is laid out: the third has no picture there, the last is of the test."""
    root = tmp_path / "recipe1m"

    def texts(*lines: str) -> list[dict]:
        return [{"text": line} for line in lines]

    def entry(name: str, partition: str) -> dict:
        own = {"id": name, "title": f"soup {name}", "url": "", "partition": partition}
        own["ingredients"] = texts(f"4 {name} things", "water")
        return own | {"instructions": texts("Chop.", "Boil.")}

    recipes = [entry("a", "train"), entry("b", "train"), entry("c", "train"), entry("d", "test")]
    pictures = {"a": ["gone1.jpg", "fa8bx.png"], "b": ["01234.png"], "c": ["lost1.jpg"]}
    pictures["d"] = ["fa8by.png"]
    layer2 = [{"id": k, "images": [{"id": x, "url": ""} for x in v]} for k, v in pictures.items()]
    found = [{"id": "b", "valid": [True, False], "ingredients": texts("things", "water")}]
    paint(root / "images" / "train" / "f" / "a" / "8" / "b" / "fa8bx.png", 40)
    paint(root / "images" / "train" / "0" / "1" / "2" / "3" / "01234.png", 90)
    paint(root / "images" / "test" / "f" / "a" / "8" / "b" / "fa8by.png", 140)
    for name, rows in (("layer1", recipes), ("layer2", layer2), ("det_ingrs", found)):
        (root / f"{name}.json").write_text(json.dumps(rows))
    return root


def test_recipe1m_as_it_is_handed_out(recipe1m: Path) -> None:
    rows = hub.recipe1m(recipe1m, pixels=16)
    assert rows["title"] == ["soup a", "soup b"]
    assert greys(rows["image"]) == [40, 90]
    assert rows["file"][0] == "images/train/f/a/8/b/fa8bx.png"  # the first that is there
    assert rows["ingredients"] == [["4 a things", "water"], ["things"]]
    assert rows["instructions"][0] == ["Chop.", "Boil."]
    assert hub.recipe1m(recipe1m, "test", pixels=16)["title"] == ["soup d"]
    own = world.load("dishes", "test", 1)
    for column in ("title", "ingredients", "instructions", "class"):
        assert rows.features[column] == own.features[column]


def test_recipe1m_that_is_damaged(recipe1m: Path) -> None:
    with pytest.raises(ValueError, match="no split 'val'; it has 'train', 'validation', 'test'"):
        hub.recipe1m(recipe1m, "val")
    with pytest.raises(ValueError, match=r"no recipe of .*'validation', has a picture there"):
        hub.recipe1m(recipe1m, "validation")
    bad = recipe1m / "images" / "train" / "0" / "1" / "2" / "3" / "01234.png"
    bad.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"01234\.png"):
        hub.recipe1m(recipe1m, pixels=16)
    with pytest.warns(hub.FolderWarning, match=r"1 of 2 files cannot be decoded.*01234\.png"):
        assert hub.recipe1m(recipe1m, pixels=16, damaged="skip")["title"] == ["soup a"]
    layer2 = [{"id": "a", "images": [{"id": "../../x.jpg"}]}]
    (recipe1m / "layer2.json").write_text(json.dumps(layer2))
    with pytest.raises(ValueError, match=r"'\.\./\.\./x\.jpg' is no picture's name"):
        hub.recipe1m(recipe1m, pixels=16)
    (recipe1m / "layer1.json").write_text('[{"id": "a"}]')
    with pytest.raises(ValueError, match=r"layer1\.json', entry 0: no 'title', 'ingredients'"):
        hub.recipe1m(recipe1m, pixels=16)
    (recipe1m / "layer1.json").write_text("{")
    with pytest.raises(ValueError, match="no JSON that can be read"):
        hub.recipe1m(recipe1m, pixels=16)
    (recipe1m / "layer1.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no layer1\.json"):
        hub.recipe1m(recipe1m, pixels=16)


# --- Films ----------------------------------------------------------------------------------------


def filmed(folder: Path, name: str, values: list[int]) -> Path:
    """A folder of pictures, numbered without zeros: 2.png before 10.png."""
    for number, grey in enumerate(values, start=1):
        paint(folder / name / f"{number}.png", grey)
    return folder / name


def test_pictures_of_a_film_are_spread_evenly_over_its_time(tmp_path: Path) -> None:
    values = [20 * k for k in range(12)]
    folder = filmed(tmp_path, "rex", values)
    assert greys(hub.film(folder, 12, 16)) == values
    assert greys(hub.film(folder, 3, 16)) == [values[2], values[6], values[10]]
    assert greys(hub.film(folder, 24, 16)) == [x for x in values for _ in range(2)]
    whole = np.stack([np.full((16, 20, 3), v, np.uint8) for v in values])
    np.save(tmp_path / "rex.npy", whole)
    assert greys(hub.film(tmp_path / "rex.npy", 3, 16)) == [values[2], values[6], values[10]]
    np.save(tmp_path / "grey.npy", whole[..., 0])
    assert greys(hub.film(tmp_path / "grey.npy", 12, 16)) == values


def test_the_times_of_a_moving_picture_count(tmp_path: Path) -> None:
    shown = [Image.new("RGB", (20, 16), (v, v, v)) for v in (0, 100, 200)]
    path = tmp_path / "rex.gif"
    shown[0].save(path, save_all=True, append_images=shown[1:], duration=[100, 100, 800])
    assert greys(hub.film(path, 10, 16)) == [0, 100, *[200] * 8]


@pytest.fixture
def cinema(tmp_path: Path) -> Path:
    """Three kinds of film with captions and sounds."""
    root = tmp_path / "films"
    filmed(root, "rex", [10, 20, 30])
    np.save(root / "tom.npy", np.full((4, 16, 16, 3), 50, np.uint8))
    shown = [Image.new("RGB", (20, 16), (v, v, v)) for v in (0, 100)]
    shown[0].save(root / "zoe.gif", save_all=True, append_images=shown[1:], duration=40)
    for k, name in enumerate(("rex", "tom", "zoe")):
        sing(root / f"{name}.wav", 200 + 100 * k)
    table(
        root,
        {"file_name": "rex", "captions": ["a dog runs", "Rex comes"]},
        {"file_name": "tom.npy", "caption": "a cat sits"},
        {"file_name": "zoe.gif", "text": "a light goes on"},
    )
    return root


def test_films_with_captions_and_sounds(cinema: Path) -> None:
    rows = hub.films(cinema, frames=4, pixels=16, sample_rate=8000)
    assert rows["file"] == ["rex", "tom.npy", "zoe.gif"]
    assert rows["captions"] == [["a dog runs", "Rex comes"], ["a cat sits"], ["a light goes on"]]
    assert np.asarray(rows[0]["frames"]).shape == (4, 16, 16, 3)
    assert greys(rows[0]["frames"]) == [10, 20, 20, 30]
    assert [len(wave) for wave in rows["wave"]] == [4000] * 3
    assert not np.array_equal(rows[0]["wave"], rows[1]["wave"])
    silent = hub.films(cinema, frames=4, pixels=16)
    assert silent.column_names == ["file", "frames", "captions"]


def test_a_film_that_changed_is_read_again(cinema: Path) -> None:
    hub.films(cinema, frames=3, pixels=16)
    paint(cinema / "rex" / "3.png", 99)
    assert greys(hub.films(cinema, frames=3, pixels=16)[0]["frames"]) == [10, 20, 99]
    sing(cinema / "rex.wav", 200, seconds=0.25)
    rows = hub.films(cinema, frames=3, pixels=16, sample_rate=8000)
    assert len(rows[0]["wave"]) == 2000


def test_bad_films_are_refused_or_left_out_by_name(cinema: Path) -> None:
    (cinema / "bad.gif").write_bytes(b"GIF89a and nothing else")
    (cinema / "rex" / "2.png").write_bytes(b"no picture")
    (cinema / "tom.wav").unlink()
    keep = dict(frames=3, pixels=16, sample_rate=8000, uncaptioned="keep")
    with pytest.raises(ValueError, match=r"bad\.gif.* cannot be read as a film"):
        hub.films(cinema, **keep)
    with pytest.warns(hub.FolderWarning, match="3 of 4 files cannot be decoded") as told:
        rows = hub.films(cinema, **keep, damaged="skip")
    assert rows["file"] == ["zoe.gif"]
    assert told[0].filename == __file__
    for name in ("bad.gif", "2.png", "tom.npy' has no sound beside it; one is needed: tom.wav"):
        assert name in str(told[0].message)


def test_a_sound_without_pictures_is_named(cinema: Path) -> None:
    """An empty folder, or a name that was mistyped, is not passed over in silence."""
    keep = dict(frames=3, pixels=16, uncaptioned="keep")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = hub.films(cinema, **keep, sample_rate=8000)
    (cinema / "max").mkdir()
    for name in ("max", "Rexx"):
        sing(cinema / f"{name}.wav")
    with pytest.warns(hub.FolderWarning, match="2 of 5 files are sounds without a film") as told:
        rows = hub.films(cinema, **keep, sample_rate=8000)
    assert rows["file"] == whole["file"]
    assert told[0].filename == __file__
    assert str(cinema / "max.wav") in str(told[0].message)
    assert str(cinema / "Rexx.wav") in str(told[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hub.films(cinema, **keep)  # nobody asked for sounds


def test_a_saved_array_can_run_nothing(cinema: Path) -> None:
    np.save(cinema / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"evil\.npy.* no array that NumPy can read"):
        hub.film(cinema / "evil.npy", 2, 16)
    np.save(cinema / "odd.npy", np.zeros((3, 8, 8, 3)))
    with pytest.raises(ValueError, match=r"must hold uint8 .* got float64 \(3, 8, 8, 3\)"):
        hub.film(cinema / "odd.npy", 2, 16)


def test_splits_of_films_are_folders(tmp_path: Path) -> None:
    filmed(tmp_path / "train", "rex", [1, 2])
    filmed(tmp_path / "test", "tom", [3, 4])
    table(tmp_path / "test", {"file_name": "tom", "caption": "a cat"})
    assert hub.films(tmp_path, "train", frames=2, pixels=16)["file"] == ["train/rex"]
    rows = hub.films(tmp_path, "test", frames=2, pixels=16)
    assert rows["captions"] == [["a cat"]]
    with pytest.raises(ValueError, match="has no split 'validation'"):
        hub.films(tmp_path, "validation", frames=2, pixels=16)
    filmed(tmp_path, "stray", [5, 6])
    with pytest.raises(ValueError, match=r"stray.* lies in no split"):
        hub.films(tmp_path, frames=2, pixels=16)


def test_folders_that_hold_no_films(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no film: folders of pictures"):
        hub.films(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        hub.films(tmp_path / "nowhere")
    paint(tmp_path / "loose" / "1.png", 3)
    with pytest.raises(ValueError, match="lies in no folder of a film"):
        hub.films(tmp_path / "loose")
    filmed(tmp_path / "told", "rex", [1, 2])
    (tmp_path / "told" / "x.mp4").write_bytes(b"film")
    table(tmp_path / "told", {"file_name": "x.mp4", "caption": "a film"})
    with pytest.raises(ValueError, match=r"'x\.mp4' is not read; .* a folder of pictures or end"):
        hub.films(tmp_path / "told")
    with pytest.raises(ValueError, match="frames must lie from 1 to 10000, not 0"):
        hub.films(tmp_path / "told", frames=0)


# --- Pictures that somebody talks about -----------------------------------------------------------


def test_pictures_with_their_recordings(tmp_path: Path) -> None:
    for name, grey in (("rex", 10), ("tom", 50)):
        paint(tmp_path / f"{name}.png", grey)
        sing(tmp_path / f"{name}.wav")
    rows = hub.spoken(tmp_path, pixels=16, sample_rate=16000)
    assert rows["file"] == ["rex.png", "tom.png"]
    assert greys(rows["image"]) == [10, 50]
    assert [len(wave) for wave in rows["wave"]] == [8000, 8000]  # brought from 8,000 a second
    paint(tmp_path / "mute.png", 5)
    with pytest.raises(ValueError, match=r"mute\.png.* has no sound beside it.*mute\.wav"):
        hub.spoken(tmp_path, pixels=16)
    with pytest.warns(hub.FolderWarning, match=r"1 of 3 files .*mute\.png"):
        assert len(hub.spoken(tmp_path, pixels=16, damaged="skip")) == 2


def test_what_was_read_once_is_not_decoded_again(
    cinema: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = hub.films(cinema, frames=3, pixels=16)
    monkeypatch.setattr(clips, "film", lambda *_: pytest.fail("decoded again"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = hub.films(cinema, frames=3, pixels=16)
    assert np.array_equal(first["frames"], again["frames"])
