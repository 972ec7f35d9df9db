"""Kinds of data, and samples that are converted once and kept in the cache."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmtutor.kit import cache
from mmtutor.world import _store

if TYPE_CHECKING:
    import datasets

Row = dict[str, Any]
VERSION = 2  # of the conversion; raise it when the same source would give other samples
_CHUNK = 100  # samples in a stored shard
_END = 1 << 16  # bytes of each end of a Parquet file that are looked at
TROUBLE = "trouble"  # a column that leaves before the data are handed out: why a file is damaged


@dataclass(frozen=True)
class Kind:
    """One way to read rows. ``option`` names the one number that shapes the result: pixels or
    sample_rate.

    ``classes`` names the labels, where they are known before the rows are read; ``reads`` the
    source's columns that are looked at; ``frames`` is how many pictures a film has.
    """

    columns: tuple[str, ...]
    gather: Callable[[Iterable[Row]], Iterator[Any]]
    convert: Callable[[Any, int], Row]
    option: str | None
    classes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    frames: int = 0


def one_by_one(rows: Iterable[Row]) -> Iterator[Row]:
    yield from rows


def _features(kind: Kind, option: int | None) -> datasets.Features:
    """The types of our columns; the same names have the same types in the world."""
    import datasets

    text = datasets.Value("string")
    types = {
        "image": datasets.Array3D((option, option, 3), "uint8"),
        "frames": datasets.Array4D((kind.frames, option, option, 3), "uint8"),
        "wave": datasets.Sequence(datasets.Value("int16")),
        "sample_rate": datasets.Value("int32"),
        **dict.fromkeys(("thing", "title", "class"), text),
        "label": datasets.ClassLabel(names=list(kind.classes))
        if kind.classes
        else datasets.Value("int32"),
        "file": text,
        TROUBLE: text,
        **dict.fromkeys(
            (
                *("captions", "questions", "answers", "question_types", "words"),
                *("ingredients", "instructions"),
            ),
            datasets.Sequence(text),
        ),
    }
    return datasets.Features({column: types[column] for column in kind.columns})


# --- Keeping what was converted -------------------------------------------------------------------


@dataclass(frozen=True)
class Samples:
    """Samples that can be gathered again and again, and the place where their converted rows are
    kept."""

    title: str
    heading: str
    kind: Kind
    option: int | None
    gather: Callable[[], Iterator[Any]]
    identity: str
    split: str

    def load(self, size: int | None) -> datasets.Dataset:
        if size is not None:
            size = _store.integer("size", size)
            if size <= 0:
                raise ValueError(f"size must be 1 or more, not {size}")
        folder = cache.cache_dir() / "hub" / self.identity
        tables = self._stored(folder, size)
        if tables is None:
            with contextlib.ExitStack() as held:
                try:
                    held.enter_context(cache.locked(folder))
                    cache.sweep(folder)
                    tables = self._stored(
                        folder, size
                    )  # another process may have fetched it meanwhile
                    target = folder
                except OSError as error:
                    cache.warn_unusable(folder, error)
                    target = None
                if tables is None:
                    tables = self._fetch(target, size)
        features = _features(self.kind, self.option)
        return _store.as_dataset(
            tables, features, self.heading, self.split, f"{self.identity}/{size}"
        )

    def _stored(self, folder: Path, size: int | None) -> list | None:
        """The tables of the first ``size`` samples, where all of them are stored."""
        total = _read_end(folder)
        if size is None:
            size = total
        elif total is not None and size > total:
            raise self._too_many(size, total)
        if size is None:
            return None
        tables = []
        for start in range(0, size, _CHUNK):
            rows = min(_CHUNK, size - start)
            table = _store.find_shard(folder, start, rows)
            if table is None:
                return None
            tables.append(table.slice(0, rows))
        return tables

    def _fetch(self, folder: Path | None, size: int | None) -> list:
        """Gather and convert, shard by shard; what is stored and undamaged already is not decoded
        again."""
        features = _features(self.kind, self.option)
        samples, tables, start = self.gather(), [], 0
        while size is None or start < size:
            rows = _CHUNK if size is None else min(_CHUNK, size - start)
            chunk = list(islice(samples, rows))
            if not chunk:
                break
            table = _store.find_shard(folder, start, len(chunk)) if folder else None
            if table is None:
                converted = [
                    self._convert(sample, start + place) for place, sample in enumerate(chunk)
                ]
                columns = {
                    column: [row[column] for row in converted] for column in self.kind.columns
                }
                table = _store.to_table(columns, features, len(chunk), self.title)
                if folder:
                    try:
                        path = folder / f"{start:07d}-{len(chunk)}.arrow"
                        _store.write_shard(table.table, path)
                        table = _store.read_shard(path) or table
                    except OSError as error:
                        cache.warn_unusable(folder, error)
                        folder = None
            tables.append(table.slice(0, len(chunk)))
            start += len(chunk)
            if len(chunk) < rows:
                break
        if size is None or start < size:  # the source has come to its end
            if folder:
                _write_end(folder, start)
            if size is not None:
                raise self._too_many(size, start)
            if start == 0:
                raise ValueError(f"{self.title} is empty")
        return tables

    def row(self, sample: Any) -> Row:
        """One sample in our columns; its number is lost where samples come in a shuffled order."""
        try:
            row = self.kind.convert(sample, self.option)
        except Exception as error:
            error.add_note(f"This was a sample of {self.title.rstrip(',')}.")
            raise
        # pictures are views of memory that is not theirs to write to, which torch warns of
        arrays = {name: np.array(value) for name, value in row.items() if name in ("image", "wave")}
        return {column: (row | arrays)[column] for column in self.kind.columns}

    def _convert(self, sample: Any, number: int) -> Row:
        try:
            return self.kind.convert(sample, self.option)
        except Exception as error:
            error.add_note(f"This was sample {number} of {self.title.rstrip(',')}.")
            raise

    def _too_many(self, size: int, total: int) -> ValueError:
        return ValueError(f"{self.title} has {total:,} samples; {size:,} were asked for")


def _write_end(folder: Path, samples: int) -> None:
    """Note how many samples the source has. A note that cannot be written is no harm: the end is
    met again."""
    with contextlib.suppress(OSError), cache.replacing(folder / "end") as partial:
        partial.write_text(f"{samples} {cache.digest(str(samples))}")


def _read_end(folder: Path) -> int | None:
    """How many samples the source has, where that is known and the note undamaged."""
    with contextlib.suppress(OSError, ValueError):
        samples, check = (folder / "end").read_text().split()
        if check == cache.digest(samples):
            return int(samples)
    return None


# --- What stands for a file -----------------------------------------------------------------------


def digest_of(file: Path) -> str:
    """A digest of a file's bytes. XXH3 keeps up with the disk: 5,000 photographs (600 MB) take 0.2
    s from the page cache."""
    import xxhash

    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, xxhash.xxh3_128).hexdigest()


def stamp_of(file: Path) -> tuple[int | str, ...]:
    """What stands for a Parquet file, which may have many gigabytes: size, times of change, and
    both ends."""
    import xxhash

    about = file.stat()
    with open(file, "rb") as stream:
        ends = stream.read(_END)
        stream.seek(max(0, about.st_size - _END))
        ends += stream.read(_END)
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, xxhash.xxh3_128_hexdigest(ends)
