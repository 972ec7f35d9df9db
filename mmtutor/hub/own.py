"""A reader's own pictures or sounds, with sentences or classes."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmtutor.hub.decoded import PICTURES, SOUNDS, option_of, picture, sound
from mmtutor.hub.found import (
    DAMAGED,
    UNCAPTIONED,
    captioned,
    check_same,
    chosen,
    of_split,
    own_classes,
    own_files,
    own_root,
    own_splits,
    unchanged,
    warn_left_out,
    warn_of_tables,
    warn_of_unread,
    whole_ones,
)
from mmtutor.hub.kept import TROUBLE, VERSION, Kind, Row, Samples, digest_of, one_by_one
from mmtutor.hub.tables import own_captions, own_lines
from mmtutor.kit import cache

if TYPE_CHECKING:
    import datasets


def folder(
    path: str | Path,
    split: str = "train",
    size: int | None = None,
    *,
    pixels: int = 64,
    sample_rate: int = 16000,
    damaged: str = "refuse",
    uncaptioned: str = "refuse",
) -> datasets.Dataset:
    """Return your own pictures or sounds in the world's columns.

    The folder is laid out as Hugging Face's image and audio folders are. Splits are subfolders
    (``train``, ``test``, ``validation``; without them everything is ``train``). Classes are
    subfolders too: ``train/dog/rex.png`` is a dog. Captions lie beside the files in
    ``metadata.jsonl`` (or ``metadata.csv``), one line for each file::

        {"file_name": "rex.png", "captions": ["a dog on the beach", "Rex is happy"]}
        {"file_name": "tom.png", "text": "a cat under the table"}

    Several captions are a list, or several columns (``captions``, ``caption``, ``text``, ``texts``,
    ``description``, ``caption_0``, ``caption_1`` …), or several lines; they are gathered in this
    order. Links are followed. Hidden files (those that begin with a dot) and files that are no
    pictures or sounds are passed over; pictures and sounds of a sort that is not read (a
    telephone's ``.heic``) are named in a warning. Nothing else is left out: a file or a line that
    has no place is refused by name, and so is a file that cannot be decoded or has no caption,
    unless you ask for something else. Names are compared in Unicode's composed form (NFC), so that
    a folder from a Mac meets its table.

    What is stored in the cache is known by the content of the files, which are read (not decoded)
    at each call.

    Args:
        path: the folder.
        split: which of its splits.
        size: the first so many files, in the order of their names; None means all.
        pixels: side of the pictures, which are cut to their central square.
        sample_rate: of the sounds, in hertz.
        damaged: what becomes of a file that cannot be decoded: ``"refuse"`` it, or ``"skip"`` it
            with a warning that names it. (It still counts for ``size``.)
        uncaptioned: what becomes of a file for which the metadata have no line, or no text in it:
            ``"refuse"`` it, ``"skip"`` it with a warning, or ``"keep"`` it with an empty list, for
            a collection that is to be searched.

    Returns:
        A ``datasets.Dataset`` with ``file`` and ``image`` or ``wave`` and ``sample_rate``; with
        ``captions`` where there is metadata; with ``thing`` and ``label`` (the class, as text and
        as number) where there are class folders.

    Raises:
        FileNotFoundError: there is no such folder, a link leads nowhere, or metadata names a file
            that is not there.
        ValueError: no pictures or sounds, both mixed, files outside the splits, names that are not
            Unicode or differ in its forms alone, a wrong split or size, metadata that cannot be
            read; two tables in one folder, or of one file.
        RuntimeError: the folder changed while it was read.

    Warns:
        FolderWarning: files were left out, as was asked, or because their sort is not read; or no
            captions were found, but a file that may hold them (``captions.txt``).
    """
    chosen(damaged=(damaged, DAMAGED), uncaptioned=(uncaptioned, UNCAPTIONED))
    root = own_root(path)
    with unchanged(root):
        return _folder(root, path, split, size, pixels, sample_rate, damaged, uncaptioned)


def _folder(
    root: Path,
    path: str | Path,
    split: str,
    size: int | None,
    pixels: int,
    sample_rate: int,
    damaged: str,
    uncaptioned: str,
) -> datasets.Dataset:
    everything = own_files(root)
    splits = own_splits(
        root, [name for name in everything if Path(name).suffix.lower() in PICTURES | SOUNDS]
    )
    names = of_split(path, split, splits)
    kinds = {Path(name).suffix.lower() in PICTURES for name in names}
    if len(kinds) > 1:
        raise ValueError(
            f"{str(path)!r} holds pictures and sounds; put them into folders of their own"
        )
    is_picture = kinds.pop()
    warn_of_unread(everything, split, len(names))
    captions, tables = own_captions(root, split, splits, everything, uncaptioned != "refuse")
    if not captions:
        warn_of_tables(everything)
    if captions:
        names = captioned(names, captions, everything, uncaptioned)
    classes = None if captions else own_classes(splits)
    labels = sorted(set(classes.values())) if classes else []

    which = "pixels" if is_picture else "sample_rate"
    option = option_of(which, pixels=pixels, sample_rate=sample_rate)
    columns = ["file", *(("image",) if is_picture else ("wave", "sample_rate"))]
    columns += ["captions"] if captions else []
    columns += ["thing", "label"] if classes else []
    columns += [TROUBLE] if damaged == "skip" else []
    digests = {name: digest_of(everything[name]) for name in names} | tables

    def convert(name: str, option: int) -> Row:
        file, trouble = everything[name], ""
        row: Row = {
            "file": file.relative_to(root).as_posix()
        }  # as the disk spells it, so that it can be opened
        try:
            seen = picture(file, option) if is_picture else sound(file, option)
        except (ValueError, FileNotFoundError) as error:
            check_same(file, digests[name], root)  # half of a file that is just being written?
            if damaged == "refuse":
                raise
            seen = np.zeros((option, option, 3), np.uint8) if is_picture else np.zeros(0, np.int16)
            trouble = str(error)
        check_same(file, digests[name], root)
        row |= {"image": seen} if is_picture else {"wave": seen, "sample_rate": option}
        if damaged == "skip":
            row[TROUBLE] = trouble
        if captions:
            row["captions"] = captions[name]
        if classes:
            row |= {"thing": classes[name], "label": labels.index(classes[name])}
        return row

    kind = Kind(tuple(columns), one_by_one, convert, which, tuple(labels))
    # The place of the folder does not count (a copy is not converted again), but for messages.
    spelled = [(everything[name].relative_to(root).as_posix(), d) for name, d in digests.items()]
    origin = json.dumps([spelled, labels])
    place = os.fsencode(root) if damaged == "skip" else b""
    identity = f"folder-{VERSION}-{cache.digest(place, origin)[:12]}/{split}-{option}"
    heading = f"the {'pictures' if is_picture else 'sounds'} of {root.name}"
    title = f"{str(path)!r}, split {split!r},"
    recipe = Samples(title, heading, kind, option, lambda: iter(names), identity, split)
    data = recipe.load(len(names) if size is None else size)
    return whole_ones(data, root) if damaged == "skip" else data


# --- Pictures of which a table tells more than captions ------------------------------------------


def with_lines(
    path: str | Path, split: str, pixels: int, damaged: str, why: str
) -> tuple[datasets.Dataset, list[tuple[str, str, Row]]]:
    """The pictures of a folder, and the lines that speak of them (see
    :func:`mmtutor.hub.tables.own_lines`). ``why`` sounds will not do, for the message."""
    rows = folder(path, split, pixels=pixels, damaged=damaged, uncaptioned="keep")
    if "image" not in rows.column_names:
        raise ValueError(f"{str(path)!r} holds sounds, and {why}")
    root = own_root(path)
    with unchanged(root):
        everything = own_files(root)
        read = [name for name in everything if Path(name).suffix.lower() in PICTURES | SOUNDS]
        lines, _ = own_lines(root, split, own_splits(root, read), everything)
    return rows, lines


def only_told(
    rows: datasets.Dataset,
    told: Mapping[str, Row],
    types: Mapping[str, Any],
    nothing: str,
    reason: str,
) -> datasets.Dataset:
    """The pictures of which something is told, with columns of these types for it. The others are
    left out, and a warning says for what ``reason``; are there none, ``nothing`` is the error."""
    names = [unicodedata.normalize("NFC", file) for file in rows["file"]]
    kind, kept = rows.format["type"], [at for at, name in enumerate(names) if name in told]
    if not kept:
        raise ValueError(nothing)
    rows = rows.select_columns(["file", "image"])
    for column, type_ in types.items():
        values = [told[name][column] if name in told else None for name in names]
        rows = rows.add_column(column, values, feature=type_)
    rows = rows.with_format(kind, columns=["image"], output_all_columns=True)
    if len(kept) == len(names):
        return rows
    warn_left_out([name for name in names if name not in told], len(names), reason)
    return rows.select(kept)
