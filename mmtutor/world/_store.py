"""The store: builds the world's data sets once, keeps them in the cache, and hands them out as
Hugging Face data sets.

How to write a builder
----------------------
A module of ``rows`` describes its data sets in a module-level ``DATASETS: dict[str, Builder]`` and
is listed in ``MODULES`` below. It gathers what the other modules of this package draw, play and
speak; they know nothing of it::

    def _build(split: str, indices: range, seed: int) -> dict[str, list]:
        columns = {"image": [], "caption": []}
        for index in indices:
            random = rng("scenes", split, seed, index)      # from _dice: depends on nothing but its
            arguments ...
            columns["image"].append(image)                   # numpy uint8, (64, 64, 3)
            columns["caption"].append("a dog on the beach")
        return columns

    def _features() -> datasets.Features:
        import datasets
        return datasets.Features({"image": datasets.Array3D((64, 64, 3), "uint8"), "caption":
        datasets.Value("string")})

    DATASETS = {"scenes": Builder("scenes", 1, _build, _features, {"train": 6000, "test": 1000},
                                  {"train": 100_000, "test": 10_000}, "Scenes with captions")}

Three rules make the rest work. *Sample i is a pure function of (split, i, seed)*: no state is
carried from one sample to the next, so the first 100 of 200 samples are the same as 100 samples,
and any number of processes makes the same bytes. *Columns are lists (or arrays) as long as*
``indices``, whose values fit ``features()``: an ``ArrayXD`` column takes numpy arrays of its exact
shape (or one stacked array), every other column what ``pyarrow.array`` takes.
*Nothing is drawn from Python's* ``hash()``, *the clock or a global generator.*

A data set may have options beyond the seed, say the picture's size: ``options={"pixels": (64, 128,
224)}`` (the first is the default); ``build`` and ``features`` then get ``pixels=...`` as a keyword,
and so does :func:`load`.

How it is stored
----------------
A data set is a folder of *shards*, one for each ``Builder.chunk`` samples, so that a build that was
killed goes on where it stopped, and a larger size adds shards to a smaller one. A shard is an Arrow
stream, followed by a checksum of all its bytes (XXH3, 128 bits: it reads 200 MB in some 20 ms, so
the check is made at every load). It is written under a temporary name and then renamed. The
folder's name holds the builder's version and a fingerprint of the source code that makes the
samples, so that no edit of that code can be answered from an old cache.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import importlib.metadata
import inspect
import json
import operator
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mmtutor.kit import arrays, cache
from mmtutor.world.corpora import CORPORA

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

# Which module holds the builder of which data set: so a name is known, and checked, before anything
# heavy is imported.
MODULES: dict[str, str] = {
    "scenes": "mmtutor.world.rows.scenes",
    "questions": "mmtutor.world.rows.questions",
    "clips": "mmtutor.world.rows.clips",
    "dishes": "mmtutor.world.rows.dishes",
    "portraits": "mmtutor.world.rows.scenes",
    "faces": "mmtutor.world.rows.faces",
    "ambience": "mmtutor.world.rows.places",
    "sounding_scenes": "mmtutor.world.rows.sounds",
    "sounds": "mmtutor.world.rows.sounds",
    "speech": "mmtutor.world.rows.voices",
    "spoken_scenes": "mmtutor.world.rows.voices",
    "spoken_words": "mmtutor.world.rows.voices",
    "talking_faces": "mmtutor.world.rows.faces",
}

_FORMAT = 1  # of the shards; raise it when the way of storing changes
_MAGIC = b"mmtutor1"
_DIGEST_BYTES = 16
_WORTH_A_HELPER = 1.5  # seconds of remaining work above which a second process is started
_NOT_SAMPLES = {"__init__.py", "_store.py", "corpora.py"}  # source files that make no sample


@dataclass(frozen=True)
class Builder:
    """How one data set is made. See the module's text for the rules.

    Args:
        name: the name for :func:`load`.
        version: raise it when the samples change on purpose.
        build: ``build(split, indices, seed, **options)`` returns the columns of exactly these
            samples.
        features: ``features(**options)`` returns the ``datasets.Features`` of the columns.
        default_size: samples for each split where the caller names no size; its keys are the
            splits.
        max_size: the most samples that a split can have.
        heading: one line that says what a sample is.
        options: for each option the values it may take, the default first.
        chunk: samples in a shard, the unit of work and of repair (a few megabytes is a good size).
        packages: distributions whose version changes the samples (art, fonts, voices).
    """

    name: str
    version: int
    build: Callable[..., dict[str, Any]]
    features: Callable[..., datasets.Features]
    default_size: Mapping[str, int]
    max_size: Mapping[str, int]
    heading: str
    options: Mapping[str, tuple] = field(default_factory=dict)
    chunk: int = 250
    packages: tuple[str, ...] = ()


# --- The registry ---------------------------------------------------------------------------------


def names() -> list[str]:
    """Return the names of all data sets that :func:`load` knows."""
    return list(MODULES)


def info(name: str) -> dict[str, Any]:
    """Return what a data set holds: heading, splits with default and greatest sizes, columns,
    options."""
    builder = _builder(name)
    return {
        "name": builder.name,
        "version": builder.version,
        "heading": builder.heading,
        "default_size": dict(builder.default_size),
        "max_size": dict(builder.max_size),
        "options": {option: list(values) for option, values in builder.options.items()},
        "columns": dict(builder.features(**_defaults(builder))),
    }


def _builder(name: str) -> Builder:
    if not isinstance(name, str):
        raise TypeError(f"the name of a data set must be a string, not {type(name).__name__}")
    if name not in MODULES:
        if name in CORPORA:
            raise ValueError(f"{name!r} is a text corpus: use world.corpus({name!r})")
        raise ValueError(
            f"there is no data set {name!r};{_did_you_mean(name, MODULES)} there are {_listed(MODULES)}"
        )
    return importlib.import_module(MODULES[name]).DATASETS[name]


def _defaults(builder: Builder) -> dict[str, Any]:
    return {option: values[0] for option, values in builder.options.items()}


def _did_you_mean(word: Any, words: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(str(word), list(words), n=1)
    return f" did you mean {close[0]!r}?" if close else ""


def _listed(words: Any) -> str:
    return ", ".join(map(repr, words)) or "none"


# --- Loading --------------------------------------------------------------------------------------


def load(
    name: str,
    split: str = "train",
    size: int | None = None,
    seed: int = 0,
    *,
    processes: int | None = None,
    **options: Any,
) -> datasets.Dataset:
    """Return a data set of the world, from the cache or built now and put there.

    The same arguments give the same samples on every machine, and a smaller size is the beginning
    of a larger one. Columns of numbers (pictures, masks, waves, boxes) come as numpy arrays in
    their own type; everything else comes as Python objects. ``dataset[:]["image"]`` is one array of
    all pictures.

    Args:
        name: one of :func:`names`.
        split: one of the data set's splits, ``"train"`` or ``"test"``. They share no sample.
        size: number of samples; None means the data set's own default.
        seed: an integer ≥ 0; every seed is another draw of the same world.
        processes: how many processes may build (1 or 2; None means as many as there are cores, at
            most 2). It never changes the result.
        **options: what else the data set lets you choose, see ``info(name)["options"]``.

    Returns:
        A ``datasets.Dataset`` on memory-mapped files.

    Raises:
        ValueError: an unknown name, split or option; a size ≤ 0 or beyond what the data set can
            give; a seed < 0.
        TypeError: an argument of the wrong type.

    Warns:
        CacheWarning: the cache directory cannot be written; the data set is right, but only in
            memory.
    """
    builder = _builder(name)
    size, seed, processes, options = _check(builder, split, size, seed, processes, options)
    folder = _folder(builder, split, seed, options)
    chunks = [(start, min(builder.chunk, size - start)) for start in range(0, size, builder.chunk)]

    tables = {start: find_shard(folder, start, rows) for start, rows in chunks}
    if any(table is None for table in tables.values()):
        task = _Task(builder, split, seed, options, folder)
        with contextlib.ExitStack() as held:
            storing = True
            try:
                held.enter_context(cache.locked(folder))
            except OSError as error:
                cache.warn_unusable(folder, error)
                storing = False
            tables = {
                start: find_shard(folder, start, rows) for start, rows in chunks
            }  # made while we waited?
            missing = [(start, rows) for start, rows in chunks if tables[start] is None]
            if storing:
                cache.sweep(folder)
                # where a shorter shard lies already, a whole one will be needed sooner or later:
                # make it now
                missing = [
                    (s, builder.chunk if _rows_on_disk(folder, s) else rows) for s, rows in missing
                ]
                missing = [(s, min(rows, builder.max_size[split] - s)) for s, rows in missing]
            tables |= _build_missing(task, missing, processes, storing)
    parts = [tables[start].slice(0, rows) for start, rows in chunks]
    identity = f"{folder.parent.name}/{folder.name}/{size}"
    return as_dataset(parts, builder.features(**options), builder.heading, split, identity)


def _check(
    builder: Builder, split: Any, size: Any, seed: Any, processes: Any, options: dict[str, Any]
) -> tuple[int, int, int, dict[str, Any]]:
    """Check every argument of :func:`load` and fill in the defaults."""
    title = f"world data set {builder.name!r}"
    if split not in builder.default_size:
        raise ValueError(f"{title} has no split {split!r}; it has {_listed(builder.default_size)}")
    most = builder.max_size[split]
    size = integer("size", builder.default_size[split] if size is None else size)
    if size <= 0:
        raise ValueError(f"size must be 1 or more, not {size}")
    if size > most:
        raise ValueError(
            f"{title} has at most {most:,} samples in split {split!r}; {size:,} were asked for"
        )
    seed = integer("seed", seed)
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must be an integer from 0 to 2**63 - 1, not {seed}")
    processes = (
        min(2, os.cpu_count() or 1) if processes is None else integer("processes", processes)
    )
    if processes < 1:
        raise ValueError(f"processes must be 1 or more, not {processes}")
    for option, value in options.items():
        if option not in builder.options:
            hint = _did_you_mean(option, builder.options)
            raise ValueError(
                f"{title} has no option {option!r};{hint} it has {_listed(builder.options)}"
            )
        allowed = builder.options[option]
        plain = isinstance(value, (str, int, np.integer)) and not isinstance(
            value, bool
        )  # 64.0 == 64, but is not it
        if not plain or value not in allowed:
            raise ValueError(
                f"{option}={value!r} is not possible; choose one of {_listed(allowed)}"
            )
    chosen = {
        option: next(one for one in builder.options[option] if one == value)
        for option, value in options.items()
    }
    return size, seed, processes, _defaults(builder) | chosen


def integer(what: str, value: Any) -> int:
    """Return ``value`` as an int; anything but a whole number (a bool, too) is a TypeError that
    names ``what``."""
    if isinstance(value, bool):
        raise TypeError(f"{what} must be an integer, not bool")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{what} must be an integer, not {type(value).__name__}") from None


def _folder(builder: Builder, split: str, seed: int, options: Mapping[str, Any]) -> Path:
    made_by = f"{builder.name}-{builder.version}-{_fingerprint(builder)}"
    chosen = "".join(f"-{option}={value}" for option, value in sorted(options.items()))
    return cache.cache_dir() / "world" / made_by / f"{split}-{seed}{chosen}"


def _fingerprint(builder: Builder) -> str:
    """Fingerprint of the source code of the world and beside the builder, and of the packages that
    it draws on."""
    parts = [
        str(_FORMAT),
        str(builder.chunk),
        _source_digest(Path(__file__).parent),
    ]  # who draws, plays and speaks
    with contextlib.suppress(
        OSError, TypeError
    ):  # no source at hand (a zipped package): the version must do
        parts.append(
            _source_digest(Path(inspect.getfile(builder.build)).parent)
        )  # who gathers the rows
    for package in builder.packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            parts.append(f"{package} {importlib.metadata.version(package)}")
    return cache.digest(*parts)[:12]


@functools.cache  # the code that runs is the code that was there first, even if its file is edited meanwhile
def _source_digest(directory: Path) -> str:
    sources = [path for path in sorted(directory.glob("*.py")) if path.name not in _NOT_SAMPLES]
    return cache.digest(*(part for path in sources for part in (path.name, path.read_bytes())))


def as_dataset(
    tables: list, features: datasets.Features, description: str, split: str, identity: str
) -> Any:
    """Join tables into a ``datasets.Dataset`` whose columns of numbers come as numpy arrays in
    their own type.

    ``identity`` names the content: equal contents get equal fingerprints, so that ``map`` finds its
    own cache again.
    """
    import datasets
    from datasets.table import concat_tables

    dataset = datasets.Dataset(
        concat_tables(tables),
        info=datasets.DatasetInfo(description=description, features=features),
        split=datasets.NamedSplit(split),
        fingerprint=cache.digest(identity)[:16],
    )
    numbers = [column for column, feature in features.items() if _is_numbers(feature)]
    if not numbers:
        return dataset
    return dataset.with_format(arrays.register(), columns=numbers, output_all_columns=True)


def _is_numbers(feature: Any, inside: bool = False) -> bool:
    """Whether a column holds arrays or (nested) sequences of numbers."""
    import datasets

    if isinstance(
        feature, (datasets.Array2D, datasets.Array3D, datasets.Array4D, datasets.Array5D)
    ):
        return True
    if isinstance(feature, datasets.Value):
        return inside and feature.dtype.startswith(("int", "uint", "float", "bool"))
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
    return inner is not None and not isinstance(inner, dict) and _is_numbers(inner, inside=True)


# --- Building -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Task:
    """One data set being built: what every shard of it has in common."""

    builder: Builder
    split: str
    seed: int
    options: dict[str, Any]
    folder: Path

    def make(self, start: int, rows: int) -> Any:
        """Build the samples ``start … start + rows - 1`` and return them as an in-memory table."""
        columns = self.builder.build(
            self.split, range(start, start + rows), self.seed, **self.options
        )
        return to_table(columns, self.builder.features(**self.options), rows, self.builder.name)

    def path(self, start: int, rows: int) -> Path:
        return self.folder / f"{start:07d}-{rows}.arrow"


def to_table(columns: Mapping[str, Any], features: datasets.Features, rows: int, name: str) -> Any:
    """Make an in-memory table of the columns, and check that they are as declared (``name`` is for
    the message)."""
    import pyarrow as pa
    from datasets.table import InMemoryTable

    schema = features.arrow_schema
    if set(columns) != set(schema.names):
        raise ValueError(
            f"{name}: built columns {sorted(columns)}, declared {sorted(schema.names)}"
        )
    arrays = []
    for column in schema:
        values = columns[column.name]
        if len(values) != rows:
            raise ValueError(f"{name}: column {column.name!r} has {len(values)} values, not {rows}")
        arrays.append(_to_arrow(values, column.type))
    return InMemoryTable(pa.Table.from_arrays(arrays, schema=schema))


def _to_arrow(values: Any, kind: pa.DataType) -> pa.Array:
    """Make an Arrow array of a column; fixed-shape arrays go without a detour through Python
    lists."""
    import pyarrow as pa

    if not (isinstance(kind, pa.ExtensionType) and hasattr(kind, "shape")):
        return pa.array(values, type=kind)
    stacked = np.ascontiguousarray(values, dtype=kind.value_type)  # (N, *shape)
    if stacked.shape[1:] != tuple(kind.shape):
        raise ValueError(
            f"arrays of shape {stacked.shape[1:]} where {tuple(kind.shape)} was declared"
        )
    storage = pa.array(stacked.reshape(-1))
    for axis in range(stacked.ndim - 1, 0, -1):  # from the innermost axis outwards
        offsets = np.arange(0, len(storage) + 1, stacked.shape[axis], dtype=np.int32)
        storage = pa.ListArray.from_arrays(pa.array(offsets), storage)
    return pa.ExtensionArray.from_storage(kind, storage)


def _build_missing(
    task: _Task, missing: list[tuple[int, int]], processes: int, storing: bool = True
) -> dict[int, Any]:
    """Build the missing shards, with one helper process where it is worth its start, and return
    their tables."""
    waiting = deque(missing)
    in_memory: dict[int, Any] = {}
    helper: _Helper | None = None
    began, done = time.monotonic(), 0
    try:
        while waiting or (
            helper and helper.finish()
        ):  # finish() may hand back work that the helper could not do
            try:
                start, rows = waiting.popleft()
            except IndexError:  # the helper was quicker
                continue
            table = task.make(start, rows)
            if storing:
                try:
                    write_shard(table.table, task.path(start, rows))
                except OSError as error:
                    cache.warn_unusable(task.folder, error)
                    storing = False
            if not storing:
                in_memory[start] = table
            done += rows
            ahead = sum(rows for _, rows in waiting)
            expected = ahead * (time.monotonic() - began) / done
            if storing and processes > 1 and helper is None and expected > _WORTH_A_HELPER:
                helper = _Helper(task, waiting)
    finally:
        if helper:
            helper.close()
    tables = {}
    for start, rows in missing:
        table = in_memory[start] if start in in_memory else find_shard(task.folder, start, rows)
        tables[start] = (
            task.make(start, rows) if table is None else table
        )  # None: it vanished as it was written
    return tables


class _Helper:
    """A second process that builds shards from the far end of the queue.

    It is a fresh interpreter, not a fork (which threads make unsafe) nor a ``multiprocessing``
    spawn (which would run an unguarded script a second time). It is told one shard at a time, so
    that it never has more than one in hand; when this process dies, its input ends, and it goes.
    """

    def __init__(self, task: _Task, waiting: deque[tuple[int, int]]) -> None:
        self._waiting = waiting
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
            "OMP_NUM_THREADS": "1",
        }
        self._process: subprocess.Popen[str] | None = None
        with contextlib.suppress(OSError, ValueError):  # no interpreter to be had: go on alone
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from mmtutor.world._store import _serve; _serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                text=True,
            )
        order = {
            "module": MODULES[task.builder.name],
            "name": task.builder.name,
            "split": task.split,
            "seed": task.seed,
            "options": task.options,
            "folder": str(task.folder),
        }
        self._thread = threading.Thread(target=self._feed, args=(json.dumps(order),), daemon=True)
        self._thread.start()

    def _feed(self, order: str) -> None:
        process, in_hand = self._process, None
        if process is None:
            return
        try:
            process.stdin.write(order + "\n")
            process.stdin.flush()
            if process.stdout.readline() != "ready\n":
                return
            while True:
                in_hand = self._waiting.pop()
                process.stdin.write(json.dumps(in_hand) + "\n")
                process.stdin.flush()
                if process.stdout.readline() != "done\n":
                    break
                in_hand = None
        except (IndexError, OSError, ValueError):  # the queue is empty, or the helper is gone
            pass
        if in_hand:
            self._waiting.append(tuple(in_hand))

    def finish(self) -> bool:
        """Wait for the helper's last shard; return whether there is work left that it could not
        do."""
        self._thread.join()
        return bool(self._waiting)

    def close(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # ends a helper that waits
        if self._thread.is_alive():  # interrupted: do not wait for a shard that nobody wants
            self._process.terminate()
        self._process.wait()
        self._thread.join()
        self._process.stdout.close()


def _serve() -> None:
    """The helper's side: read an order and shards from standard input, one a line; answer each."""
    answers, sys.stdout = (
        sys.stdout,
        sys.stderr,
    )  # nothing that a builder prints may be taken for an answer
    order = json.loads(sys.stdin.readline())
    builder = importlib.import_module(order["module"]).DATASETS[order["name"]]
    task = _Task(builder, order["split"], order["seed"], order["options"], Path(order["folder"]))
    if _folder(builder, task.split, task.seed, task.options) != task.folder:
        return  # the source was edited since the other process read it: this one would build something else
    print("ready", file=answers, flush=True)
    for line in iter(sys.stdin.readline, ""):
        start, rows = json.loads(line)
        write_shard(task.make(start, rows).table, task.path(start, rows))
        print("done", file=answers, flush=True)


# --- Shards ---------------------------------------------------------------------------------------


class _Summed:
    """A file open for writing that keeps the checksum of what was written."""

    closed = False  # pyarrow asks; it is closed by whoever opened it

    def __init__(self, file: BinaryIO) -> None:
        import xxhash

        self._file, self._sum = file, xxhash.xxh3_128()

    def write(self, data: Any) -> int:
        self._sum.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def digest(self) -> bytes:
        return self._sum.digest()


def write_shard(table: pa.Table, path: Path) -> None:
    """Write a table as an Arrow stream with its checksum behind it, under a temporary name, then
    rename it."""
    import pyarrow as pa

    with cache.replacing(path) as partial, open(partial, "wb") as file:
        summed = _Summed(file)  # no second copy in memory
        with pa.ipc.new_stream(summed, table.schema) as stream:
            stream.write_table(table.combine_chunks())
        file.write(summed.digest() + _MAGIC)


def read_shard(path: Path) -> Any | None:
    """Return the memory-mapped table at ``path``, or None where it is missing, cut short or
    damaged."""
    import pyarrow as pa
    import xxhash
    from datasets.table import MemoryMappedTable

    tail = _DIGEST_BYTES + len(_MAGIC)
    try:
        remaining = path.stat().st_size - tail
        total = xxhash.xxh3_128()
        with open(path, "rb") as file:
            while remaining > 0 and (block := file.read(min(remaining, 1 << 20))):
                total.update(block)
                remaining -= len(block)
            if remaining != 0 or file.read() != total.digest() + _MAGIC:
                return None
        return MemoryMappedTable.from_file(str(path))
    except (OSError, pa.ArrowInvalid):
        return None


def find_shard(folder: Path, start: int, rows: int) -> Any | None:
    """Return an undamaged shard that begins at ``start`` and holds ``rows`` samples or more."""
    for _, path in sorted(_shards_at(folder, start), reverse=True):
        table = read_shard(path)
        if table is not None and len(table) >= rows:
            return table
    return None


def _rows_on_disk(folder: Path, start: int) -> int:
    return max((rows for rows, _ in _shards_at(folder, start)), default=0)


def _shards_at(folder: Path, start: int) -> list[tuple[int, Path]]:
    found = []
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{start:07d}-*.arrow"):
            rows = path.stem.partition("-")[2]
            if rows.isdecimal():
                found.append((int(rows), path))
    return found


# --- The cache as a whole -------------------------------------------------------------------------


def cache_dir() -> Path:
    """Return the cache directory (``MMTUTOR_CACHE`` overrides the user's own)."""
    return cache.cache_dir()


def clear_cache(name: str | None = None) -> int:
    """Delete what is stored in the cache directory; return the bytes freed.

    Only what this package stores itself is deleted; other files in the cache directory stay. Data
    sets that are in use stay readable until they are let go (on Windows they are not deleted).

    Args:
        name: a data set or a corpus, of which every version, split, size and option goes. None
            means everything: data sets of the world and the hub, corpora, picture features, voices,
                and what killed builds left behind.

    Raises:
        ValueError: an unknown name.
        TypeError: the name is no string.

    Warns:
        CacheWarning: something was left alone, because another process is building it.
    """
    if name is not None and not (isinstance(name, str) and name in CORPORA):
        _builder(name)
    return cache.clear(name)
