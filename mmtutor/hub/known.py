"""Known sets on the Hugging Face Hub: loaded, or streamed; and copies of them on disk."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtutor.hub.decoded import at_home, listed, option_of, picture, sound
from mmtutor.hub.found import visible
from mmtutor.hub.kept import VERSION, Kind, Row, Samples, one_by_one, stamp_of
from mmtutor.kit import cache
from mmtutor.world import _store

if TYPE_CHECKING:
    import datasets

    from mmtutor.kit.streams import Stream


@dataclass(frozen=True)
class Source:
    """A data set on the Hub: where it lies, how it is read, whose it is."""

    heading: str
    repository: str
    kind: Kind
    #: our split -> (the source's split, which of its rows; None means all)
    splits: Mapping[str, tuple[str, Callable[[Row], bool] | None]]
    licence: str
    citation: str
    configuration: str | None = None


# --- How each is read -----------------------------------------------------------------------------


def _runs(key: str) -> Callable[[Iterable[Row]], Iterator[list[Row]]]:
    """Gather neighbouring rows that agree in ``key``: sources that have one row for each caption or
    question. Only the first one keeps its picture, which is that of all."""

    def gather(rows: Iterable[Row]) -> Iterator[list[Row]]:
        for _, run in groupby(rows, key=lambda row: row[key]):
            first, *others = run
            yield [first, *({**row, "image": None} for row in others)]

    return gather


def _flickr(row: Row, pixels: int) -> Row:
    captions = [row[f"caption_{number}"] for number in range(5)]
    return {"image": picture(row["image"], pixels), "captions": captions}


def _coco(rows: list[Row], pixels: int) -> Row:
    return {
        "image": picture(rows[0]["image"], pixels),
        "captions": [row["caption"] for row in rows],
    }


def _vqa(rows: list[Row], pixels: int) -> Row:
    return {
        "image": picture(rows[0]["image"], pixels),
        "questions": [row["question"] for row in rows],
        "answers": [row["multiple_choice_answer"] for row in rows],
        "question_types": [row["question_type"] for row in rows],
    }


def _sound_of(audio: str, thing: str, label: str) -> Callable[[Row, int], Row]:
    def convert(row: Row, sample_rate: int) -> Row:
        return {
            "wave": sound(row[audio], sample_rate),
            "sample_rate": sample_rate,
            "thing": row[thing].replace("_", " "),
            "label": row[label],
        }

    return convert


def _text_pieces(rows: Iterable[Row]) -> Iterator[list[str]]:
    """Lines as they are; a text without lines (text8 is one line of 90 million letters) in pieces
    of 1,000 words."""
    from mmtutor.world.corpora import words

    for row in rows:
        tokens = words(row["text"])
        for start in range(0, len(tokens), 1000):
            yield tokens[start : start + 1000]


_CAPTIONED = ("image", "captions")
_ASKED = ("image", "questions", "answers", "question_types")
_SOUNDING = ("wave", "sample_rate", "thing", "label")


# --- The list -------------------------------------------------------------------------------------


def _all(**splits: str) -> dict[str, tuple[str, None]]:
    return {ours: (theirs, None) for ours, theirs in splits.items()}


_THREE = _all(train="train", validation="validation", test="test")
SOURCES: dict[str, Source] = {
    "flickr8k": Source(
        "8,000 photographs of people and animals in action, five captions each",
        "jxie/flickr8k",
        Kind(
            _CAPTIONED,
            one_by_one,
            _flickr,
            "pixels",
            reads=("image", *(f"caption_{number}" for number in range(5))),
        ),
        _THREE,
        "captions for research; every photograph belongs to its photographer on Flickr",
        "Hodosh, Young and Hockenmaier (2013), Framing image description as a ranking task",
    ),
    "coco_captions": Source(
        "123,000 photographs of everyday scenes, five captions each (Karpathy's splits)",
        "jxie/coco_captions",
        Kind(_CAPTIONED, _runs("cocoid"), _coco, "pixels", reads=("cocoid", "image", "caption")),
        _THREE,
        "captions CC BY 4.0; photographs under their own Flickr licences",
        "Chen et al. (2015), Microsoft COCO captions",
    ),
    "vqa_v2": Source(
        "questions about COCO photographs, in balanced pairs (the public validation part, split by photograph)",
        "lmms-lab/VQAv2",
        Kind(
            _ASKED,
            _runs("image_id"),
            _vqa,
            "pixels",
            reads=("image_id", "image", "question", "multiple_choice_answer", "question_type"),
        ),
        {
            "train": ("validation", lambda row: int(row["image_id"]) % 5 != 0),
            "test": ("validation", lambda row: int(row["image_id"]) % 5 == 0),
        },
        "CC BY 4.0; photographs under their own Flickr licences",
        "Goyal et al. (2017), Making the V in VQA matter",
    ),
    "esc50": Source(
        "2,000 recordings of five seconds, 50 kinds of sound; test is the fifth of the official folds",
        "ashraq/esc50",
        Kind(
            _SOUNDING,
            one_by_one,
            _sound_of("audio", "category", "target"),
            "sample_rate",
            reads=("audio", "category", "target", "fold"),
        ),
        {
            "train": ("train", lambda row: row["fold"] != 5),
            "test": ("train", lambda row: row["fold"] == 5),
        },
        "CC BY-NC 3.0",
        "Piczak (2015), ESC: dataset for environmental sound classification",
    ),
    "urbansound8k": Source(
        "8,732 recordings of up to four seconds, 10 kinds of city sound; test is the tenth of the official folds",
        "danavery/urbansound8K",
        Kind(
            _SOUNDING,
            one_by_one,
            _sound_of("audio", "class", "classID"),
            "sample_rate",
            reads=("audio", "class", "classID", "fold"),
        ),
        {
            "train": ("train", lambda row: row["fold"] != 10),
            "test": ("train", lambda row: row["fold"] == 10),
        },
        "CC BY-NC 3.0",
        "Salamon, Jacoby and Bello (2014), A dataset and taxonomy for urban sound research",
    ),
    "text8": Source(
        "17 million words of English Wikipedia (2006), a to z only, digits spelt out",
        "afmck/text8",
        Kind(("words",), _text_pieces, lambda tokens, _: {"words": tokens}, None, reads=("text",)),
        _THREE,
        "CC BY-SA, the Wikipedia contributors",
        "Mahoney (2006), Large text compression benchmark",
    ),
    "wikitext2": Source(
        "2 million words of good English Wikipedia articles",
        "Salesforce/wikitext",
        Kind(("words",), _text_pieces, lambda tokens, _: {"words": tokens}, None, reads=("text",)),
        _THREE,
        "CC BY-SA 3.0, the Wikipedia contributors",
        "Merity et al. (2016), Pointer sentinel mixture models",
        configuration="wikitext-2-raw-v1",
    ),
}


# --- Asking for one -------------------------------------------------------------------------------


def names() -> list[str]:
    """Return the names that :func:`load` knows."""
    return list(SOURCES)


def info(name: str) -> dict[str, Any]:
    """Return what is known of a set before it is fetched: heading, repository, splits, columns,
    licence, citation."""
    source = _source(name)
    return {
        "name": name,
        "heading": source.heading,
        "repository": source.repository,
        "configuration": source.configuration,
        "splits": list(source.splits),
        "columns": list(source.kind.columns),
        "licence": source.licence,
        "citation": source.citation,
    }


def load(
    name: str,
    split: str = "train",
    size: int | None = None,
    *,
    path: str | Path | None = None,
    pixels: int = 64,
    sample_rate: int = 16000,
) -> datasets.Dataset:
    """Return a real data set in the world's columns.

    Args:
        name: one of :func:`names`.
        split: one of the set's splits, see :func:`info`.
        size: the first so many samples; None means all (which may be many gigabytes to fetch).
        path: a copy on disk, instead of the Hub: a Parquet file of this split, or a folder of the
            repository's Parquet files, which are told apart by the split in their names
            (``train-00000-of-00002.parquet``).
        pixels: side of the pictures, which are cut to their central square.
        sample_rate: of the sounds, in hertz.

    Returns:
        A ``datasets.Dataset`` with ``image`` (uint8, pixels × pixels × 3) and ``captions``, or
        ``questions``, ``answers``, ``question_types``; with ``wave`` (int16), ``sample_rate``,
        ``thing`` and ``label``; or with ``words``.

    Raises:
        ValueError: an unknown name or split, a size ≤ 0 or beyond what there is, a number out of
            range.
        ConnectionError: the Hub cannot be reached; the message says what to do.
        FileNotFoundError: ``path`` holds no Parquet file of the split, or a link that leads
            nowhere.
        ValueError: a file that cannot be read, or without the columns that are needed; the message
            names it.
    """
    return _samples(name, split, path, pixels, sample_rate).load(size)


def stream(
    name: str,
    split: str = "train",
    size: int | None = None,
    *,
    path: str | Path | None = None,
    pixels: int = 64,
    sample_rate: int = 16000,
    buffer: int = 1000,
    seed: int = 0,
) -> Stream:
    """Return a real data set in the world's columns whose rows are read when their turn comes.

    For sets that fit neither into memory nor onto the disk: nothing is stored, and no more than
    ``buffer`` samples (their pictures still encoded) are held. :func:`mmtutor.kit.training.fit`
    takes it as it takes a set of :func:`load`; each epoch reads the source anew, and of several
    processes each reads all of it and converts its own rows.

    Args:
        name, split, path, pixels, sample_rate: as for :func:`load`.
        size: the first so many samples are an epoch; it must be given.
        buffer: how many samples are held, out of which the next one is drawn; 1 keeps the order.
        seed: of the drawing.

    Returns:
        A :class:`mmtutor.kit.streams.Stream` of rows like those of :func:`load`: pictures and waves
        are arrays.

    Raises:
        ValueError: as for :func:`load`, or no ``size``.
        ConnectionError, FileNotFoundError: as for :func:`load`; of the Hub once rows are read.
        RuntimeError: (once rows are read) the source ends before ``size`` samples.
    """
    from mmtutor.kit.streams import Stream

    if size is None:
        raise ValueError(
            "a stream does not know its end: say how many samples an epoch has, size=…"
        )
    recipe = _samples(name, split, path, pixels, sample_rate)
    return Stream(
        recipe.gather,
        _store.integer("size", size),
        convert=recipe.row,
        buffer=buffer,
        seed=seed,
        identity=recipe.identity,
    )


def _samples(
    name: str, split: str, path: str | Path | None, pixels: int, sample_rate: int
) -> Samples:
    source = _source(name)
    if split not in source.splits:
        raise ValueError(f"{name!r} has no split {split!r}; it has {listed(source.splits)}")
    theirs, wanted = source.splits[split]
    option = option_of(source.kind.option, pixels=pixels, sample_rate=sample_rate)

    if path is None:
        origin = source.repository + (f"/{source.configuration}" if source.configuration else "")

        def open_rows() -> Iterator[Row]:
            return _stream(name, source, theirs)
    else:
        files = _parquet_files(at_home(path), theirs)
        origin = json.dumps([(str(file), *stamp_of(file)) for file in files])

        def open_rows() -> Iterator[Row]:
            return _read_parquet(files, source.kind.reads)

    def gather() -> Iterator[Any]:
        rows = open_rows()
        return source.kind.gather(rows if wanted is None else filter(wanted, rows))

    identity = f"{name}-{VERSION}-{cache.digest(origin)[:12]}/{split}" + (
        f"-{option}" if option else ""
    )
    title = f"{name!r}{'' if path is None else f' in {str(path)!r}'}, split {split!r},"
    return Samples(title, source.heading, source.kind, option, gather, identity, split)


def corpus(
    name: str, split: str = "train", size: int | None = None, *, path: str | Path | None = None
) -> list[str]:
    """Return a text set as one list of lower-case words, like ``world.corpus``. ``size`` counts
    pieces, not words."""
    if _source(name).kind.columns != ("words",):
        texts = [name for name, source in SOURCES.items() if source.kind.columns == ("words",)]
        raise ValueError(f"{name!r} is no text; the texts are {listed(texts)}")
    return [word for piece in load(name, split, size, path=path) for word in piece["words"]]


def _source(name: str) -> Source:
    if not isinstance(name, str):
        raise TypeError(f"the name of a data set must be a string, not {type(name).__name__}")
    if name not in SOURCES:
        close = difflib.get_close_matches(name, SOURCES, n=1)
        hint = f" did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"hub does not know {name!r};{hint} it knows {listed(SOURCES)}. For your own files use hub.folder(path)"
        )
    return SOURCES[name]


# --- Rows from the Hub, and from Parquet files ----------------------------------------------------


def _stream(name: str, source: Source, split: str) -> Iterator[Row]:
    """Yield the rows of a set on the Hub; pictures and sounds stay the encoded bytes that they are
    stored as."""
    import datasets

    try:
        stream = datasets.load_dataset(
            source.repository, source.configuration, split=split, streaming=True
        )
        first = 1
        for table in stream.with_format("arrow").iter(batch_size=16):
            yield from _plain_rows(table, source.kind.reads, repr(source.repository), first)
            first += table.num_rows
    except Exception as error:
        if not _is_network_trouble(error):
            raise
        raise ConnectionError(
            f"hub.load({name!r}) reads {source.repository!r} from the Hugging Face Hub, which cannot be reached "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}). "
            f"With a network, try again; if HF_HUB_OFFLINE is set, unset it. Without one, copy the repository's "
            f"Parquet files to this machine and pass path='that/folder'. What was loaded once stays in "
            f"{cache.cache_dir()} and needs no network. The world needs none at all: see world.names()."
        ) from error


def _is_network_trouble(error: BaseException) -> bool:
    """Whether an exception (or what caused it) tells of a Hub that cannot be reached, in any of its
    libraries."""
    while error is not None:
        family = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
        if isinstance(error, (ConnectionError, TimeoutError)) or family & {
            "aiohttp",
            "httpcore",
            "httpcore2",
            "httpx",
            "httpx2",
            "huggingface_hub",
            "requests",
            "urllib3",
        }:
            return True
        if type(error).__name__ in (
            "DatasetNotFoundError",
            "DataFilesNotFoundError",
            "OfflineModeIsEnabled",
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def _parquet_files(path: Path, split: str) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"there is no file or folder {str(path)!r}")
    files = sorted(file for file in visible(path) if file.suffix == ".parquet")
    of_split = [
        file
        for file in files
        if file.stem == split or file.stem.startswith((f"{split}-", f"{split}_"))
    ]
    if not of_split:
        found = listed(file.name for file in files[:5])
        raise FileNotFoundError(
            f"{str(path)!r} holds no Parquet file of split {split!r} (such as {split}-00000-of-00001.parquet); "
            f"Parquet files there: {found}"
        )
    return of_split


def _read_parquet(files: Iterable[Path], reads: tuple[str, ...]) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet

    for file in files:
        first = 1
        try:
            with pyarrow.parquet.ParquetFile(file) as parquet:
                _check_columns(parquet.schema_arrow.names, reads, repr(str(file)))
                for batch in parquet.iter_batches(batch_size=16, columns=list(reads)):
                    yield from _plain_rows(batch, reads, repr(str(file)), first)
                    first += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{str(file)!r} cannot be read as a Parquet file: {error}") from error


def _plain_rows(table: Any, reads: tuple[str, ...], where: str, first: int) -> Iterator[Row]:
    """Rows of an Arrow table as Python objects, extension types (datasets' Image and Audio) as what
    they store.

    ``reads`` names the columns that are wanted, ``where`` the source and ``first`` its first row
    here, for messages.
    """
    _check_columns(table.schema.names, reads, where)
    columns = {}
    for column in reads:
        values = table.column(column)
        chunks = values.chunks if hasattr(values, "chunks") else [values]
        columns[column] = [
            item for chunk in chunks for item in getattr(chunk, "storage", chunk).to_pylist()
        ]
    for position in range(table.num_rows):
        row = {column: values[position] for column, values in columns.items()}
        for column, value in row.items():
            name = f"row {first + position} of {where}"
            if value is None:
                raise ValueError(f"{name} has nothing in column {column!r}")
            if isinstance(value, dict):
                row[column] = value | {
                    "name": name + (f" ({value['path']!r})" if value.get("path") else "")
                }
        yield row


def _check_columns(there: Iterable[str], reads: tuple[str, ...], where: str) -> None:
    missing = [column for column in reads if column not in there]
    if missing:
        raise ValueError(
            f"{where} has no column {listed(missing)}; it has {listed(there)}; needed are {listed(reads)}"
        )
