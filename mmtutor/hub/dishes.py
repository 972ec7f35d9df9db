"""Recipes with pictures of the dishes: a reader's own, and Recipe1M."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmtutor.hub.decoded import listed, option_of, picture
from mmtutor.hub.found import (
    DAMAGED,
    TABLES,
    chosen,
    is_unicode,
    own_root,
    whole_ones,
)
from mmtutor.hub.kept import TROUBLE, VERSION, Kind, Row, Samples, digest_of, one_by_one
from mmtutor.hub.own import only_told, with_lines
from mmtutor.kit import cache

if TYPE_CHECKING:
    import datasets


def recipes(
    path: str | Path, split: str = "train", *, pixels: int = 64, damaged: str = "refuse"
) -> datasets.Dataset:
    """Return your own recipes with pictures of the dishes, in the columns of the world's
    ``dishes``.

    The folder is laid out as :func:`folder` reads it. The recipe of each picture is a line of
    ``metadata.jsonl``, or of ``metadata.csv``, where the entries of a list stand in lines of their
    own in one cell::

        {"file_name": "soup.jpg", "title": "tomato soup",
         "ingredients": ["4 tomatoes", "1 onion"],
         "instructions": ["Chop the onion.", "Boil all of it for ten minutes."],
         "class": "soup"}

    A recipe with several pictures has a line for each. ``class``, the kind of dish, may be left out.

    Args:
        path, split, pixels, damaged: as in :func:`folder`.

    Returns:
        A ``datasets.Dataset`` with ``file``, ``image``, ``title``, ``ingredients`` and
        ``instructions`` (lists of texts), and ``class`` (``""`` where a line has none); pictures
        without a recipe are left out.

    Raises:
        ValueError: besides what :func:`folder` raises: no recipe of any picture, two of one
            picture, or one without a title, an ingredient or an instruction; the line is named.
            Sounds.

    Warns:
        FolderWarning: pictures were left out.
    """
    import datasets

    rows, lines = with_lines(path, split, pixels, damaged, "a recipe has pictures")
    told: dict[str, Row] = {}
    for name, where, row in lines:
        if name in told:
            raise ValueError(f"{where}: {row['file_name']!r} has a recipe already; keep one")
        told[name] = _recipe_of(row, where)
    nothing = (
        f"no picture of {str(path)!r}, split {split!r}, has a recipe: write "
        '{"file_name": "soup.jpg", "title": …, "ingredients": […], "instructions": […]} into '
        f"{TABLES[0]}, a line for each picture"
    )
    text = datasets.Value("string")
    types = dict.fromkeys(("title", "ingredients", "instructions", "class"), text)
    types |= dict.fromkeys(("ingredients", "instructions"), datasets.Sequence(text))
    return only_told(rows, told, types, nothing, "have no recipe")


def _recipe_of(row: Row, where: str) -> Row:
    """Title, ingredients, instructions and class of a line."""
    out: Row = {"class": row.get("class") or ""}
    for column in ("title", "ingredients", "instructions"):
        value = row.get(column)
        many = [value] if column == "title" else value
        if column != "title" and isinstance(value, str):  # of a table: a line each
            many = [line for line in value.splitlines() if line.strip()]
        if (
            not isinstance(many, list)
            or not many
            or not all(isinstance(x, str) and x.strip() and is_unicode(x) for x in many)
        ):
            wanted = "text" if column == "title" else "a list of texts"
            raise ValueError(f"{where}: a recipe needs {column}, {wanted}, not {value!r:.80}")
        out[column] = many[0].strip() if column == "title" else [x.strip() for x in many]
    if not isinstance(out["class"], str) or not is_unicode(out["class"]):
        raise ValueError(f"{where}: class must be text, not {out['class']!r:.80}")
    return out


# --- Recipe1M -------------------------------------------------------------------------------------


def recipe1m(
    path: str | Path,
    split: str = "train",
    size: int | None = None,
    *,
    pixels: int = 64,
    damaged: str = "refuse",
) -> datasets.Dataset:
    """Return Recipe1M, which its authors hand out on request and for research, in the columns of the
    world's ``dishes``.

    The folder holds what one gets there: ``layer1.json`` (the recipes), ``layer2.json`` (the names
    of their pictures), and the pictures under ``train``, ``val`` and ``test``, or ``images`` above
    these, four folders deep (``train/f/a/8/b/fa8b….jpg``). With ``det_ingrs.json`` beside them the
    ingredients are the names that were found in their lines, else the lines themselves. A recipe
    comes with the first of its pictures that is there, and not at all without one. (Its classes
    are handed out as a Python pickle, which could run anything, and are not read.)

    The recipes are read whole: that takes some gigabytes of memory. What is kept in the cache goes
    by the content of the tables, and by size and time of the pictures.

    Args:
        path: the folder.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        size, pixels, damaged: as in :func:`folder`.

    Returns:
        A ``datasets.Dataset`` with ``file``, ``image``, ``title``, ``ingredients``,
        ``instructions`` and ``class``, which is ``""``.

    Raises:
        FileNotFoundError: no such folder, or no such table in it.
        ValueError: a table that is not as Recipe1M has it, another split, no recipe with a picture.

    Warns:
        FolderWarning: pictures were left out.
    """
    chosen(damaged=(damaged, DAMAGED))
    pixels = option_of("pixels", pixels=pixels)
    partition = {"train": "train", "validation": "val", "test": "test"}.get(split)
    if partition is None:
        raise ValueError(f"Recipe1M has no split {split!r}; it has 'train', 'validation', 'test'")
    root = own_root(path)
    tables = {name: root / f"{name}.json" for name in ("layer1", "layer2", "det_ingrs")}
    for name in ("layer1", "layer2"):
        if not tables[name].is_file():
            raise FileNotFoundError(f"{str(path)!r} holds no {name}.json, as Recipe1M has it")
    there = [name for name, table in tables.items() if table.is_file()]
    digests = {name: digest_of(tables[name]) for name in there}
    shown = {
        one["id"]: [each["id"] for each in one["images"]]
        for one in _table_of(tables["layer2"], ("id", "images"))
    }
    found: dict[str, list[str]] = {}
    if "det_ingrs" in there:
        for one in _table_of(tables["det_ingrs"], ("id", "ingredients", "valid")):
            own = zip(one["ingredients"], one["valid"])
            found[one["id"]] = [each["text"] for each, valid in own if valid]
    bases = [base / partition for base in (root / "images", root) if (base / partition).is_dir()]
    samples: list[tuple[Path, Row]] = []
    needed = ("id", "title", "ingredients", "instructions", "partition")
    for one in _table_of(tables["layer1"], needed):
        if one["partition"] != partition:
            continue
        lines = {k: [x["text"] for x in one[k]] for k in ("ingredients", "instructions")}
        lines["ingredients"] = found.get(one["id"], lines["ingredients"])
        names = shown.get(one["id"], [])
        if not all(lines.values()) or not names:
            continue
        for name in names:
            if not isinstance(name, str) or len(name) < 5 or Path(name).name != name:
                raise ValueError(f"{str(tables['layer2'])!r}: {name!r:.80} is no picture's name")
        places = [base.joinpath(*name[:4], name) for name in names for base in bases]
        file = next((place for place in places if place.is_file()), None)
        if file is not None:
            samples.append((file, {"title": one["title"], "class": "", **lines}))
    if not samples:
        raise ValueError(
            f"no recipe of {str(path)!r}, split {split!r}, has a picture there; they lie four "
            f"folders deep: {partition}/f/a/8/b/fa8b….jpg"
        )
    columns = ["file", "image", "title", "ingredients", "instructions", "class"]
    columns += [TROUBLE] if damaged == "skip" else []

    def convert(sample: tuple[Path, Row], pixels: int) -> Row:
        file, row = sample
        row, trouble = {"file": file.relative_to(root).as_posix(), **row}, ""
        try:
            row["image"] = picture(file, pixels)
        except (ValueError, FileNotFoundError) as error:
            if damaged == "refuse":
                raise
            row["image"], trouble = np.zeros((pixels, pixels, 3), np.uint8), str(error)
        return row | ({TROUBLE: trouble} if damaged == "skip" else {})

    stamps = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f, _ in samples]
    place = os.fsencode(root)
    identity = (
        f"recipe1m-{VERSION}-{cache.digest(place, json.dumps([columns, digests, stamps]))[:12]}"
    )
    kind = Kind(tuple(columns), one_by_one, convert, "pixels")
    title = f"Recipe1M in {str(path)!r}, split {split!r},"
    recipe = Samples(
        title,
        "Recipe1M",
        kind,
        pixels,
        lambda: iter(samples),
        f"{identity}/{split}-{pixels}",
        split,
    )
    data = recipe.load(len(samples) if size is None else size)
    return whole_ones(data, root) if damaged == "skip" else data


def _table_of(path: Path, columns: tuple[str, ...]) -> list[Row]:
    """A JSON file that is one list of objects with these names."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is no JSON that can be read ({error})") from error
    if not isinstance(rows, list):
        raise ValueError(f"{str(path)!r} must be a list of objects, as Recipe1M has it")
    for number, row in enumerate(rows):
        missing = [c for c in columns if not isinstance(row, dict) or c not in row]
        if missing:
            raise ValueError(f"{str(path)!r}, entry {number}: no {listed(missing)}")
    return rows
