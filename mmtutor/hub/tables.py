"""What a reader wrote beside the files: the lines of ``metadata.jsonl`` or ``metadata.csv``."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmtutor.hub.decoded import PICTURES, SOUNDS, endings, listed
from mmtutor.hub.found import SPLIT_NAMES, TABLES, check_same, is_unicode
from mmtutor.hub.kept import Row, digest_of

_CAPTION_COLUMNS = ("captions", "caption", "text", "texts", "description")


def own_captions(
    root: Path,
    split: str,
    splits: Mapping[str, str],
    everything: Mapping[str, Path],
    blank: bool,
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The captions of each file from the metadata tables beside them, and the names of the tables
    that were read with digests of their content. ``blank``: a line may have no caption."""
    captions: dict[str, list[str]] = {}
    lines, digests = own_lines(root, split, splits, everything)
    for name, where, row in lines:
        captions.setdefault(name, []).extend(captions_of(row, where, blank))
    return captions, digests


def own_lines(
    root: Path,
    split: str,
    splits: Mapping[str, str],
    everything: Mapping[str, Path],
    readable: str = "",
) -> tuple[list[tuple[str, str, Row]], dict[str, str]]:
    """The lines of the metadata tables that speak of files of a split: the file's name, the place of
    the line, for messages, and the line itself; and the names of the tables with digests of their
    content. ``readable``: what a file that is read must be, for messages."""
    lines: list[tuple[str, str, Row]] = []
    origin: dict[str, Path] = {}  # of what is said of a file: the table
    folders: dict[Path, Path] = {}
    tables = [name for name in everything if name.rpartition("/")[2].lower() in TABLES]
    tables = [
        name for name in tables if SPLIT_NAMES.get(name.partition("/")[0].lower(), split) == split
    ]
    digests = {name: digest_of(everything[name]) for name in tables}
    for table in map(everything.get, tables):
        other = folders.setdefault(table.parent, table)
        if other != table:
            raise ValueError(
                f"{str(other)!r} and {str(table)!r} are two tables of one folder; keep one"
            )
        number = 0
        for number, row in _metadata_rows(table):
            where = f"{str(table)!r}, line {number}"
            if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
                has = f"; this one has {listed(row)}" if isinstance(row, dict) else ""
                raise ValueError(f"{where}: every line needs a file_name{has}")
            name = _meant(root, table, row["file_name"], splits, where, readable)
            if origin.setdefault(name, table) != table:
                raise ValueError(
                    f"{where}: {str(origin[name])!r} has a line for {row['file_name']!r} too; keep one"
                )
            if splits[name] == split:
                lines.append((name, where, row))
        if not number:
            raise ValueError(f"{str(table)!r} has no lines; fill it or remove it")
    for name, digest in digests.items():
        check_same(everything[name], digest, root)
    return lines, digests


def _meant(
    root: Path, table: Path, file_name: str, names: Iterable[str], where: str, readable: str = ""
) -> str:
    """The name, from the root, of the file that a line of a table speaks of; one of ``names``."""
    place = Path(os.path.normpath(table.parent / file_name))
    if not place.is_relative_to(root) and os.path.isfile(
        place
    ):  # in the folder, but by way of a link to it?
        place = place.parent.resolve() / place.name
    if not place.is_relative_to(root):
        raise ValueError(f"{where}: file_name {file_name!r} leads out of the folder")
    name = unicodedata.normalize("NFC", place.relative_to(root).as_posix())
    if name in names:
        return name
    if os.path.exists(place):
        readable = readable or f"end in one of {endings(PICTURES | SOUNDS)}"
        raise ValueError(
            f"{where}: {file_name!r} is not read; a file must not be hidden, and {readable}"
        )
    raise FileNotFoundError(f"{where}: there is no file {file_name!r}")


def captions_of(row: Row, where: str, blank: bool) -> list[str]:
    """All captions of a row, in the order of :data:`_CAPTION_COLUMNS`, then by number. ``blank``:
    there may be none."""
    captions = []
    numbered = sorted((column for column in row if column.startswith("caption_")), key=_by_number)
    for column in (*_CAPTION_COLUMNS, *numbered):
        value = row.get(column)
        if value is None or (
            column in numbered and not isinstance(value, str)
        ):  # caption_score: 0.9
            continue
        for caption in value if isinstance(value, list) else [value]:
            if blank and (caption is None or (isinstance(caption, str) and not caption.strip())):
                continue
            if not isinstance(caption, str) or not caption.strip() or not is_unicode(caption):
                raise ValueError(
                    f"{where}: {column} must be text, or a list of texts, not {caption!r:.80}"
                )
            captions.append(caption)
    if not captions and not blank:
        raise ValueError(f"{where}: no caption; give one (or a list) as {listed(_CAPTION_COLUMNS)}")
    return captions


def _by_number(column: str) -> tuple[float, str]:
    number = column.rpartition("_")[2]
    return (int(number) if number.isdecimal() else math.inf), column


# --- The lines of a table -------------------------------------------------------------------------


def _metadata_rows(table: Path) -> Iterator[tuple[int, Any]]:
    """The rows of a table with the lines where they begin."""
    content = table.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        raise ValueError(f"{str(table)!r}, line {number}: not UTF-8 text") from error
    if table.suffix.lower() == ".csv":
        yield from _csv_rows(table, text)
        return
    for number, line in enumerate(
        text.split("\n"), start=1
    ):  # splitlines() would also cut at U+2028 and U+0085
        if line.strip():
            try:
                yield number, json.loads(line, object_pairs_hook=_without_repeats)
            except (ValueError, RecursionError) as error:
                raise ValueError(
                    f"{str(table)!r}, line {number}: no JSON that can be read ({error})"
                ) from error


def _csv_rows(table: Path, text: str) -> Iterator[tuple[int, Row]]:
    reader = csv.reader(io.StringIO(text.replace("\r\n", "\n").replace("\r", "\n")), strict=True)
    header: list[str] | None = None
    number = 1
    try:
        for cells in reader:
            if header is None:
                header = list(_without_repeats([(cell.strip(), None) for cell in cells]))
            elif len(cells) > len(header):
                raise ValueError(
                    f"{len(cells)} cells, but {len(header)} columns; put quotes around a text that holds a comma: "
                    f'"a dog, asleep"'
                )
            elif cells:
                yield (
                    number,
                    {column: cell if cell.strip() else None for column, cell in zip(header, cells)},
                )
            number = reader.line_num + 1
    except csv.Error as error:
        hint = "a text with quotation marks stands between quotation marks, and those inside are written twice"
        raise ValueError(f"{str(table)!r}, line {number}: {error}; {hint}") from error
    except ValueError as error:
        raise ValueError(f"{str(table)!r}, line {number}: {error}") from error


def _without_repeats(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{max(names, key=names.count)!r} stands there twice")
    return row
