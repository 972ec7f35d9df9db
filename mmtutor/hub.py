"""Real data in the world's columns: known sets from the Hugging Face Hub, and a reader's own
pictures, sounds, recipes, films, and pictures that somebody talks about.

A chapter that was read with ``world.load("scenes")`` runs on photographs after one change of name::

    from mmtutor import hub

    photos = hub.load("flickr8k", "train", size=1000, pixels=128)   # columns image, captions
    mine = hub.folder("my/holidays", pixels=128)       # the same columns, from a folder

The Hub is read as a stream, so that ``size=1000`` fetches little more than a thousand samples. What
comes is cut to the size that was asked for and kept in the package's cache, checked by the same
checksums as the world's own data: the second time needs no network. A copy that lies on disk
already is read with ``path=``.

Pictures become uint8 arrays of one size, sounds int16 waves of one sample rate; no
``datasets.Audio`` is involved (it needs torchcodec and FFmpeg, even to write).
"""

from __future__ import annotations

import contextlib
import csv
import difflib
import errno
import hashlib
import io
import json
import math
import os
import re
import unicodedata
import warnings
import wave
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmtutor.kit import cache, pictures
from mmtutor.world import _store

if TYPE_CHECKING:
    import datasets

    from mmtutor.kit.streams import Stream

Row = dict[str, Any]

_VERSION = 2  # of the conversion; raise it when the same source would give other samples
_CHUNK = 100  # samples in a stored shard
_END = 1 << 16  # bytes of each end of a Parquet file that are looked at
PIXELS = (16, 1024)
SAMPLE_RATES = (4000, 48000)
FRAMES = (1, 10_000)
_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # the machine's want, not the file's fault


# --- From a source's rows to the world's columns --------------------------------------------------
# A kind of data is three things: how the rows of a source are gathered into samples, how a sample
# becomes a row of ours, and which columns that row has. Gathering is cheap and converting is not,
# so the two are kept apart: what is in the cache already is passed over without being decoded.


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


def picture(source: Mapping[str, Any] | str | Path, pixels: int) -> np.ndarray:
    """Decode a picture, cut its largest central square, and scale that to ``pixels``.

    It is brought to RGB by :func:`mmtutor.kit.pictures.rgb`: turned upright, transparency over
    white, 16 bits to 8.

    Args:
        source: a file name, or a row's ``{"bytes": ..., "path": ...}``.
        pixels: side of the result.

    Returns:
        uint8 array (pixels, pixels, 3).

    Raises:
        ValueError: the file is no picture, or of a sort that does not say what is white; the
            message names it.
    """
    from PIL import Image, UnidentifiedImageError

    name, file = _open(source)
    try:
        with Image.open(file) as image:
            return _square(image, pixels)
    except (FileNotFoundError, MemoryError):
        raise
    except UnidentifiedImageError as error:  # its own message names an object in memory
        raise ValueError(
            f"{name} cannot be read as a picture: its first bytes are those of no known format"
        ) from error
    except Exception as error:  # a decoder of foreign bytes fails in many ways
        raise ValueError(f"{name} cannot be read as a picture: {error}") from error


def _square(image: Any, pixels: int) -> np.ndarray:
    """The largest central square of a picture, uint8 (pixels, pixels, 3)."""
    from PIL import Image, ImageOps

    flat = pictures.rgb(image)
    square = ImageOps.fit(flat, (pixels, pixels), method=Image.Resampling.BICUBIC)
    return np.asarray(square, dtype=np.uint8)


def film(path: str | Path, frames: int, pixels: int) -> np.ndarray:
    """Pictures of a film without a video library, evenly spread over its time.

    The time of a film is cut into so many equal parts; of each part comes the picture that is shown
    in its middle. A film is a folder of pictures in the order of their names (``2.png`` before
    ``10.png``), a moving picture (GIF, PNG, WebP) whose own times count, or an array in a file
    ``.npy``, uint8 (T, H, W, 3) or (T, H, W). Only what is wanted is decoded.

    Args:
        path: the folder or the file.
        frames: so many pictures, 1 to 10,000; a film that has fewer shows some of them again.
        pixels: side of the pictures, which are cut to their central square.

    Returns:
        uint8 array (frames, pixels, pixels, 3).

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: no film, or one that cannot be decoded; the message names it.
    """
    frames = _between("frames", frames, FRAMES)
    path = _at_home(path)
    if path.is_dir():
        own = _in_order(path)
        if not own:
            raise ValueError(
                f"{str(path)!r} is a folder without pictures ({_endings(_FRAMES)}), and no film"
            )
        return np.stack([picture(own[at], pixels) for at in _moments(len(own), None, frames)])
    if not path.is_file():
        raise FileNotFoundError(f"there is no file or folder {str(path)!r}")
    if path.suffix.lower() == ".npy":
        return _filmed_array(path, frames, pixels)
    return _moving_picture(path, frames, pixels)


def _in_order(folder: Path) -> list[Path]:
    """The pictures of a folder that is a film, in the order of the numbers in their names."""
    own = [one for one in folder.iterdir() if one.suffix.lower() in _FRAMES and one.name[0] != "."]
    return sorted(own, key=_by_numbers)


def _by_numbers(path: Path) -> list[tuple[int, str]]:
    """A name by its runs of digits as numbers: 2.png comes before 10.png."""
    return [(int(x), "") if x.isdecimal() else (-1, x) for x in re.split(r"(\d+)", path.stem) if x]


def _moments(count: int, ends: np.ndarray | None, frames: int) -> np.ndarray:
    """Which of ``count`` pictures are shown in the middles of ``frames`` equal parts of the time.
    ``ends``: when each picture ends, in seconds; None: all are shown equally long."""
    ends = np.arange(1, count + 1) if ends is None else ends
    middles = (np.arange(frames) + 0.5) * (float(ends[-1]) / frames)
    return np.minimum(np.searchsorted(ends, middles, side="right"), count - 1)


def _filmed_array(path: Path, frames: int, pixels: int) -> np.ndarray:
    from PIL import Image

    whole = array(path)
    shaped = whole.ndim == 3 or (whole.ndim == 4 and whole.shape[3] == 3)
    if whole.dtype != np.uint8 or 0 in whole.shape or not shaped:
        got = f"{whole.dtype} {whole.shape}"
        raise ValueError(
            f"{str(path)!r} must hold uint8 (T, H, W, 3) or (T, H, W) to be a film, got {got}"
        )
    at = _moments(len(whole), None, frames)
    return np.stack([_square(Image.fromarray(np.array(whole[k])), pixels) for k in at])


def array(path: str | Path) -> np.ndarray:
    """An array that NumPy saved, left on disk; nothing in the file is executed.

    Raises:
        ValueError: no such array; the message names the file.
        OSError: too many files are open, or the memory is full; that says nothing of the file.
    """
    try:
        whole = np.load(path, mmap_mode="r", allow_pickle=False)
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _SHORT:
            raise
        raise ValueError(f"{str(path)!r} is no array that NumPy can read: {error}") from error
    if not isinstance(whole, np.ndarray):
        raise ValueError(f"{str(path)!r} must hold one array, and holds several")
    return whole


def _moving_picture(path: Path, frames: int, pixels: int) -> np.ndarray:
    from PIL import Image

    name = repr(str(path))
    try:
        with Image.open(path) as image:
            count, long = getattr(image, "n_frames", 1), []
            for k in range(count):  # the times first: decoding is what costs
                image.seek(k)
                long.append(float(image.info.get("duration", 0)) / 1000)
            ends = np.cumsum(long) if min(long) > 0 else None
            if count < 2:
                raise ValueError(f"{name} is one picture, and a film has two or more")
            seen: dict[int, np.ndarray] = {}
            for k in _moments(count, ends, frames).tolist():
                if k not in seen:
                    image.seek(k)
                    seen[k] = _square(image.convert("RGBA"), pixels)
            return np.stack([seen[k] for k in _moments(count, ends, frames).tolist()])
    except (MemoryError, ValueError):
        raise
    except Exception as error:  # a decoder of foreign bytes fails in many ways
        raise ValueError(
            f"{name} cannot be read as a film: give a folder of pictures, a GIF, or .npy "
            "(ffmpeg -i film.mp4 frames/%04d.png makes a folder)"
        ) from error


def sound(source: Mapping[str, Any] | str | Path, sample_rate: int) -> np.ndarray:
    """Decode a sound, mix it to one channel, and resample it.

    WAV files with whole numbers need nothing but Python; every other format needs the package
    ``soundfile``.

    Args:
        source: a file name, or a row's ``{"bytes": ..., "path": ...}``.
        sample_rate: of the result, in hertz, 4,000 to 48,000.

    Returns:
        int16 array (T,). A file that breaks off gives the samples that it has whole.

    Raises:
        ValueError: the file is no sound, holds NaN or infinity, or has a sample rate that cannot be
            (see :func:`mmtutor.sound.resample`); the message names it.
        ModuleNotFoundError: ``soundfile`` is needed and missing.
    """
    sample_rate = _option("sample_rate", sample_rate=sample_rate)
    name, file = _open(source)
    samples, rate = _decode_sound(name, file)  # (T, channels) float32
    mono = samples.mean(axis=1)
    if not np.isfinite(mono).all():
        raise ValueError(f"{name} holds samples that are not finite numbers")
    if rate != sample_rate and len(mono):
        import torch

        from mmtutor.sound import resample

        try:
            mono = resample(torch.from_numpy(mono), rate, sample_rate).numpy()
        except ValueError as error:
            raise ValueError(
                f"{name} cannot be brought from {rate} to {sample_rate} Hz: {error}"
            ) from error
    return np.minimum(np.rint(np.clip(mono, -1.0, 1.0) * 32768.0), 32767).astype(np.int16)


def _decode_sound(name: str, file: Any) -> tuple[np.ndarray, int]:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the package is there, its library is not
        return _decode_wav(name, file)
    try:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{name} cannot be read as a sound: {error}") from error
    return samples, rate


def _decode_wav(name: str, file: Any) -> tuple[np.ndarray, int]:
    try:
        with wave.open(file, "rb") as wav:
            channels, width, rate = wav.getnchannels(), wav.getsampwidth(), wav.getframerate()
            content = wav.readframes(wav.getnframes())
    except (wave.Error, EOFError) as error:
        message = f"{name} is no WAV file of whole numbers ({error}); to read it, run: pip install soundfile"
        raise ModuleNotFoundError(message, name="soundfile") from error
    content = content[
        : len(content) // (width * channels) * width * channels
    ]  # a file that breaks off in a sample
    raw = np.frombuffer(content, dtype=np.uint8).reshape(
        -1, width
    )  # (T·channels, bytes of a sample)
    if width == 1:  # the one unsigned format
        values = (raw[:, 0].astype(np.int32) - 128) << 24
    else:  # put the bytes at the top of an int32, whatever their number
        wide = np.zeros((len(raw), 4), dtype=np.uint8)
        wide[:, 4 - min(width, 4) :] = raw[:, -4:]
        values = wide.view("<i4")[:, 0]
    return (values.reshape(-1, channels) / 2**31).astype(np.float32), rate


def _open(source: Mapping[str, Any] | str | Path) -> tuple[str, Any]:
    """A name for messages, and what a decoder can open."""
    if isinstance(source, (str, Path)):
        file = _at_home(source)
        if not file.is_file():
            raise FileNotFoundError(f"there is no file {str(source)!r}")
        return repr(str(source)), str(file)
    if not isinstance(source, Mapping) or (
        source.get("bytes") is None and source.get("path") is None
    ):
        raise ValueError(f"expected a file's name or its bytes, not {source!r:.80}")
    if source.get("bytes") is None:
        return _open(source["path"])
    name = source.get("name") or repr(source.get("path") or "a file without a name")
    return name, io.BytesIO(source["bytes"])


def _at_home(path: str | Path) -> Path:
    """``~/pictures`` in full, unless something here is called so."""
    path = Path(path)
    if not path.exists():
        with contextlib.suppress(RuntimeError):  # nobody of that name
            return path.expanduser()
    return path


def _one_by_one(rows: Iterable[Row]) -> Iterator[Row]:
    yield from rows


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
        _TROUBLE: text,
        **dict.fromkeys(
            (
                *("captions", "questions", "answers", "question_types", "words"),
                *("ingredients", "instructions"),
            ),
            datasets.Sequence(text),
        ),
    }
    return datasets.Features({column: types[column] for column in kind.columns})


# --- The sets on the Hub --------------------------------------------------------------------------


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


def _all(**splits: str) -> dict[str, tuple[str, None]]:
    return {ours: (theirs, None) for ours, theirs in splits.items()}


_THREE = _all(train="train", validation="validation", test="test")

SOURCES: dict[str, Source] = {
    "flickr8k": Source(
        "8,000 photographs of people and animals in action, five captions each",
        "jxie/flickr8k",
        Kind(
            _CAPTIONED,
            _one_by_one,
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
            _one_by_one,
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
            _one_by_one,
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
    return _recipe(name, split, path, pixels, sample_rate).load(size)


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
    recipe = _recipe(name, split, path, pixels, sample_rate)
    return Stream(
        recipe.gather,
        _store.integer("size", size),
        convert=recipe.row,
        buffer=buffer,
        seed=seed,
        identity=recipe.identity,
    )


def _recipe(
    name: str, split: str, path: str | Path | None, pixels: int, sample_rate: int
) -> _Recipe:
    source = _source(name)
    if split not in source.splits:
        raise ValueError(f"{name!r} has no split {split!r}; it has {_listed(source.splits)}")
    theirs, wanted = source.splits[split]
    option = _option(source.kind.option, pixels=pixels, sample_rate=sample_rate)

    if path is None:
        origin = source.repository + (f"/{source.configuration}" if source.configuration else "")

        def open_rows() -> Iterator[Row]:
            return _stream(name, source, theirs)
    else:
        files = _parquet_files(_at_home(path), theirs)
        origin = json.dumps([(str(file), *_stamp(file)) for file in files])

        def open_rows() -> Iterator[Row]:
            return _read_parquet(files, source.kind.reads)

    def gather() -> Iterator[Any]:
        rows = open_rows()
        return source.kind.gather(rows if wanted is None else filter(wanted, rows))

    identity = f"{name}-{_VERSION}-{cache.digest(origin)[:12]}/{split}" + (
        f"-{option}" if option else ""
    )
    title = f"{name!r}{'' if path is None else f' in {str(path)!r}'}, split {split!r},"
    return _Recipe(title, source.heading, source.kind, option, gather, identity, split)


def corpus(
    name: str, split: str = "train", size: int | None = None, *, path: str | Path | None = None
) -> list[str]:
    """Return a text set as one list of lower-case words, like ``world.corpus``. ``size`` counts
    pieces, not words."""
    if _source(name).kind.columns != ("words",):
        texts = [name for name, source in SOURCES.items() if source.kind.columns == ("words",)]
        raise ValueError(f"{name!r} is no text; the texts are {_listed(texts)}")
    return [word for piece in load(name, split, size, path=path) for word in piece["words"]]


def _source(name: str) -> Source:
    if not isinstance(name, str):
        raise TypeError(f"the name of a data set must be a string, not {type(name).__name__}")
    if name not in SOURCES:
        close = difflib.get_close_matches(name, SOURCES, n=1)
        hint = f" did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"hub does not know {name!r};{hint} it knows {_listed(SOURCES)}. For your own files use hub.folder(path)"
        )
    return SOURCES[name]


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
    files = sorted(file for file in _visible(path) if file.suffix == ".parquet")
    of_split = [
        file
        for file in files
        if file.stem == split or file.stem.startswith((f"{split}-", f"{split}_"))
    ]
    if not of_split:
        found = _listed(file.name for file in files[:5])
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
            f"{where} has no column {_listed(missing)}; it has {_listed(there)}; needed are {_listed(reads)}"
        )


# --- A reader's own folder ------------------------------------------------------------------------

_PICTURES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
_SOUNDS = {".aif", ".aiff", ".flac", ".mp3", ".ogg", ".opus", ".wav"}
#: Pictures and sounds as well, but of sorts that Pillow or soundfile need not know: told, not read.
_UNREAD = {
    ".arw", ".avif", ".cr2", ".cr3", ".dng", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl",
    ".nef", ".aac", ".m4a", ".wma",
}  # fmt: skip
#: Pictures that a folder of a film holds; files that are films themselves.
_FRAMES = _PICTURES - {".gif"}
_FILMS = {".apng", ".gif", ".npy"}
_SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
_TABLES = ("metadata.jsonl", "metadata.csv")
_OTHER_TABLES = r"(metadata|captions?|annotations?)\.(json|jsonl|csv|tsv|txt|token|xlsx?|parquet)"
_CAPTION_COLUMNS = ("captions", "caption", "text", "texts", "description")
DAMAGED = ("refuse", "skip")
UNCAPTIONED = ("refuse", "skip", "keep")
_TROUBLE = "trouble"  # a column that leaves before the data are handed out: why a file is damaged


class FolderWarning(UserWarning):
    """Some files of a reader's folder were left out, as was asked or because their sort is not
    read; the message names them."""


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
    _chosen(damaged=(damaged, DAMAGED), uncaptioned=(uncaptioned, UNCAPTIONED))
    root = _own_root(path)
    with _unchanged(root):
        return _folder(root, path, split, size, pixels, sample_rate, damaged, uncaptioned)


def asked(
    path: str | Path, split: str = "train", *, pixels: int = 64, damaged: str = "refuse"
) -> datasets.Dataset:
    """Return your own pictures with questions and answers, in the columns of ``load("vqa_v2")``.

    The folder is laid out as :func:`folder` reads it. The questions stand in ``metadata.jsonl`` (or
    ``metadata.csv``), a line for each, or all those of a picture as lists::

        {"file_name": "rex.png", "question": "is there a dog?", "answer": "yes"}
        {"file_name": "tom.png", "questions": ["what is it?", "how many?"], "answers": ["a cat", "1"]}

    An answer is kept as it is, but for spaces around it and capitals: *Yes* is *yes*.

    Args:
        path, split, pixels, damaged: as in :func:`folder`.

    Returns:
        A ``datasets.Dataset`` with ``file``, ``image``, ``questions`` and ``answers`` (lists of one
        length); pictures of which nothing is asked are left out.

    Raises:
        ValueError: besides what :func:`folder` raises: no question of any picture, a question
            without an answer, or one that is no text; the line is named. Sounds.

    Warns:
        FolderWarning: pictures were left out.
    """
    import datasets

    rows = folder(path, split, pixels=pixels, damaged=damaged, uncaptioned="keep")
    if "image" not in rows.column_names:
        raise ValueError(f"{str(path)!r} holds sounds, and questions are asked about pictures")
    root = _at_home(path).resolve()
    with _unchanged(root):
        everything = _own_files(root)
        read = [name for name in everything if Path(name).suffix.lower() in _PICTURES | _SOUNDS]
        splits = _own_splits(root, read)
        lines, _ = _own_lines(root, split, splits, everything)
    pairs: dict[str, list[tuple[str, str]]] = {}
    for name, where, row in lines:
        pairs.setdefault(name, []).extend(_asked_of(row, where))
    names = [unicodedata.normalize("NFC", file) for file in rows["file"]]
    own = [pairs.get(name, []) for name in names]
    silent = [name for name, some in zip(names, own) if not some]
    if len(silent) == len(names):
        raise ValueError(
            f"nothing is asked of any picture of {str(path)!r}, split {split!r}: write "
            '{"file_name": "rex.png", "question": "is there a dog?", "answer": "yes"} into '
            f"{_TABLES[0]}, a line for each question"
        )
    texts = datasets.Sequence(datasets.Value("string"))
    kind = rows.format["type"]
    rows = rows.select_columns(["file", "image"])
    for place, column in enumerate(("questions", "answers")):
        rows = rows.add_column(column, [[p[place] for p in some] for some in own], feature=texts)
    rows = rows.with_format(kind, columns=["image"], output_all_columns=True)
    if not silent:
        return rows
    _warn_left_out(silent, len(names), "have no question")
    return rows.select([at for at, some in enumerate(own) if some])


# --- Recipes, films, and pictures that somebody talks about ---------------------------------------


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

    rows = folder(path, split, pixels=pixels, damaged=damaged, uncaptioned="keep")
    if "image" not in rows.column_names:
        raise ValueError(f"{str(path)!r} holds sounds, and a recipe has pictures")
    root = _at_home(path).resolve()
    with _unchanged(root):
        everything = _own_files(root)
        read = [name for name in everything if Path(name).suffix.lower() in _PICTURES | _SOUNDS]
        lines, _ = _own_lines(root, split, _own_splits(root, read), everything)
    found: dict[str, Row] = {}
    for name, where, row in lines:
        if name in found:
            raise ValueError(f"{where}: {row['file_name']!r} has a recipe already; keep one")
        found[name] = _recipe_of(row, where)
    names = [unicodedata.normalize("NFC", file) for file in rows["file"]]
    kept = [place for place, name in enumerate(names) if name in found]
    if not kept:
        raise ValueError(
            f"no picture of {str(path)!r}, split {split!r}, has a recipe: write "
            '{"file_name": "soup.jpg", "title": …, "ingredients": […], "instructions": […]} into '
            f"{_TABLES[0]}, a line for each picture"
        )
    if len(kept) < len(names):
        missing = [name for name in names if name not in found]
        _warn_left_out(missing, len(names), "have no recipe", 3)
    kind, text = rows.format["type"], datasets.Value("string")
    rows = rows.select_columns(["file", "image"]).select(kept)
    for column, type_ in (
        ("title", text),
        ("ingredients", datasets.Sequence(text)),
        ("instructions", datasets.Sequence(text)),
        ("class", text),
    ):
        own = [found[names[place]][column] for place in kept]
        rows = rows.add_column(column, own, feature=type_)
    return rows.with_format(kind, columns=["image"], output_all_columns=True)


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
            or not all(isinstance(x, str) and x.strip() and _is_unicode(x) for x in many)
        ):
            wanted = "text" if column == "title" else "a list of texts"
            raise ValueError(f"{where}: a recipe needs {column}, {wanted}, not {value!r:.80}")
        out[column] = many[0].strip() if column == "title" else [x.strip() for x in many]
    if not isinstance(out["class"], str) or not _is_unicode(out["class"]):
        raise ValueError(f"{where}: class must be text, not {out['class']!r:.80}")
    return out


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
    _chosen(damaged=(damaged, DAMAGED))
    pixels = _option("pixels", pixels=pixels)
    partition = {"train": "train", "validation": "val", "test": "test"}.get(split)
    if partition is None:
        raise ValueError(f"Recipe1M has no split {split!r}; it has 'train', 'validation', 'test'")
    root = _own_root(path)
    tables = {name: root / f"{name}.json" for name in ("layer1", "layer2", "det_ingrs")}
    for name in ("layer1", "layer2"):
        if not tables[name].is_file():
            raise FileNotFoundError(f"{str(path)!r} holds no {name}.json, as Recipe1M has it")
    there = [name for name, table in tables.items() if table.is_file()]
    digests = {name: _content(tables[name]) for name in there}
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
    columns += [_TROUBLE] if damaged == "skip" else []

    def convert(sample: tuple[Path, Row], pixels: int) -> Row:
        file, row = sample
        row, trouble = {"file": file.relative_to(root).as_posix(), **row}, ""
        try:
            row["image"] = picture(file, pixels)
        except (ValueError, FileNotFoundError) as error:
            if damaged == "refuse":
                raise
            row["image"], trouble = np.zeros((pixels, pixels, 3), np.uint8), str(error)
        return row | ({_TROUBLE: trouble} if damaged == "skip" else {})

    stamps = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f, _ in samples]
    place = os.fsencode(root)
    identity = (
        f"recipe1m-{_VERSION}-{cache.digest(place, json.dumps([columns, digests, stamps]))[:12]}"
    )
    kind = Kind(tuple(columns), _one_by_one, convert, "pixels")
    title = f"Recipe1M in {str(path)!r}, split {split!r},"
    recipe = _Recipe(
        title,
        "Recipe1M",
        kind,
        pixels,
        lambda: iter(samples),
        f"{identity}/{split}-{pixels}",
        split,
    )
    data = recipe.load(len(samples) if size is None else size)
    return _whole_ones(data, root, 4) if damaged == "skip" else data


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
            raise ValueError(f"{str(path)!r}, entry {number}: no {_listed(missing)}")
    return rows


def films(
    path: str | Path,
    split: str = "train",
    size: int | None = None,
    *,
    frames: int = 12,
    pixels: int = 64,
    sample_rate: int | None = None,
    damaged: str = "refuse",
    uncaptioned: str = "refuse",
) -> datasets.Dataset:
    """Return your own films, with captions, sounds or both: in the columns of the world's
    ``clips``.

    A film is a folder of pictures (``ffmpeg -i film.mp4 -r 5 rex/%04d.png`` makes one), a GIF, or an
    array (T, H, W, 3) that NumPy saved, ``.npy``; see :func:`film`. Splits are subfolders, as for
    :func:`folder`. Captions stand in ``metadata.jsonl`` or ``metadata.csv`` beside the films, in
    which a folder goes by its name::

        {"file_name": "rex", "captions": ["a dog runs to the left", "Rex comes home"]}
        {"file_name": "tom.gif", "caption": "a cat jumps over a fence"}

    A film's sound lies beside it and has its name: ``rex.wav``, ``tom.wav``.

    Args:
        path: the folder.
        split: which of its splits.
        size: the first so many films, in the order of their names; None means all.
        frames: pictures of each film, evenly spread over its time.
        pixels: side of the pictures, which are cut to their central square.
        sample_rate: of the sounds, in hertz; None: sounds are not read.
        damaged: what becomes of a film that cannot be decoded, or whose sound cannot or is missing
            while ``sample_rate`` asks for it: ``"refuse"`` it, or ``"skip"`` it with a warning.
        uncaptioned: as in :func:`folder`.

    Returns:
        A ``datasets.Dataset`` with ``file`` and ``frames`` (uint8, frames × pixels × pixels × 3);
        with ``wave`` (int16) and ``sample_rate`` if asked for; with ``captions`` where there is
        metadata.

    Raises:
        FileNotFoundError: there is no such folder, a link leads nowhere, or metadata names a film
            that is not there.
        ValueError: no films, pictures that lie in no folder of a film, a film outside the splits, a
            number out of range, metadata that cannot be read.
        RuntimeError: the folder changed while it was read.

    Warns:
        FolderWarning: films were left out, or sounds to which there are no pictures.
    """
    _chosen(damaged=(damaged, DAMAGED), uncaptioned=(uncaptioned, UNCAPTIONED))
    frames = _between("frames", frames, FRAMES)
    pixels = _option("pixels", pixels=pixels)
    if sample_rate is not None:
        sample_rate = _option("sample_rate", sample_rate=sample_rate)
    root = _own_root(path)
    with _unchanged(root):
        everything = _own_files(root)
        own = _own_films(root, everything)
        if not own:
            raise ValueError(
                f"{str(path)!r} holds no film: folders of pictures, or files {_endings(_FILMS)} "
                "(ffmpeg -i film.mp4 -r 5 rex/%04d.png makes a folder of pictures)"
            )
        splits = _own_splits(root, list(own))
        names = _of_split(path, split, splits)
        readable = f"be a folder of pictures or end in one of {_endings(_FILMS)}"
        lines, tables = _own_lines(root, split, splits, everything, readable)
        captions: dict[str, list[str]] = {}
        for name, where, row in lines:
            captions.setdefault(name, []).extend(_captions_of(row, where, uncaptioned != "refuse"))
        if captions:
            names = _captioned(names, captions, own, uncaptioned, 4)

        def parts(name: str) -> list[Path]:
            """The files that make a sample."""
            film_ = _in_order(own[name]) if own[name].is_dir() else [own[name]]
            return [*film_, *(_sounds_beside(own[name]) if sample_rate is not None else [])]

        def content(name: str) -> Row:
            row: Row = {"frames": film(own[name], frames, pixels)}
            if sample_rate is not None:
                row |= {"wave": sound(_beside(own[name]), sample_rate), "sample_rate": sample_rate}
            return row

        empty: Row = {"frames": np.zeros((frames, pixels, pixels, 3), np.uint8)}
        if sample_rate is not None:
            empty |= {"wave": np.zeros(0, np.int16), "sample_rate": sample_rate}
        made = _Made(root, own, parts, content, empty, captions, frames)
        data = made.recipe(
            f"{str(path)!r}, split {split!r},", split, names, pixels, tables, damaged
        )
        data = data.load(len(names) if size is None else size)
        if sample_rate is not None:
            _warn_of_unseen(everything, own)
        return _whole_ones(data, root, 4) if damaged == "skip" else data


def spoken(
    path: str | Path,
    split: str = "train",
    size: int | None = None,
    *,
    pixels: int = 64,
    sample_rate: int = 16000,
    damaged: str = "refuse",
) -> datasets.Dataset:
    """Return your own pictures, each with a recording of what somebody says of it: in the columns of
    the world's ``spoken_scenes``.

    The recording lies beside the picture and has its name: ``rex.png``, ``rex.wav``. Splits are
    subfolders, as for :func:`folder`.

    Args:
        path, split, size, pixels, sample_rate: as in :func:`folder`.
        damaged: what becomes of a picture that cannot be decoded, or whose recording cannot or is
            missing: ``"refuse"`` it, or ``"skip"`` it with a warning.

    Returns:
        A ``datasets.Dataset`` with ``file``, ``image``, ``wave`` (int16) and ``sample_rate``.

    Raises:
        FileNotFoundError: there is no such folder, or a link leads nowhere.
        ValueError: no pictures, a picture outside the splits, a number out of range.
        RuntimeError: the folder changed while it was read.

    Warns:
        FolderWarning: pictures were left out.
    """
    _chosen(damaged=(damaged, DAMAGED))
    pixels = _option("pixels", pixels=pixels)
    sample_rate = _option("sample_rate", sample_rate=sample_rate)
    root = _own_root(path)
    with _unchanged(root):
        own = {
            name: file
            for name, file in _own_files(root).items()
            if file.suffix.lower() in _PICTURES
        }
        if not own:
            raise ValueError(f"{str(path)!r} holds no pictures ({_endings(_PICTURES)})")
        names = _of_split(path, split, _own_splits(root, list(own)))

        def content(name: str) -> Row:
            heard = sound(_beside(own[name]), sample_rate)
            shown = picture(own[name], pixels)
            return {"image": shown, "wave": heard, "sample_rate": sample_rate}

        empty = {
            "image": np.zeros((pixels, pixels, 3), np.uint8),
            "wave": np.zeros(0, np.int16),
            "sample_rate": sample_rate,
        }
        made = _Made(root, own, lambda n: [own[n], *_sounds_beside(own[n])], content, empty, {}, 0)
        data = made.recipe(f"{str(path)!r}, split {split!r},", split, names, pixels, {}, damaged)
        data = data.load(len(names) if size is None else size)
        return _whole_ones(data, root, 4) if damaged == "skip" else data


@dataclass(frozen=True)
class _Made:
    """Samples of a reader's folder, each of which may be several files.

    Attributes:
        own: the file or the folder that gives each sample its name.
        parts: the files that make a sample.
        content: a sample's columns, decoded.
        empty: those of a sample that cannot be decoded.
        captions: of each sample; none at all: there is no such column.
        frames: pictures of a film.
    """

    root: Path
    own: Mapping[str, Path]
    parts: Callable[[str], list[Path]]
    content: Callable[[str], Row]
    empty: Row
    captions: Mapping[str, list[str]]
    frames: int

    def recipe(
        self,
        title: str,
        split: str,
        names: list[str],
        option: int,
        tables: Mapping[str, str],
        damaged: str,
    ) -> _Recipe:
        """What is kept in the cache goes by the content of all files."""
        files = {name: self.parts(name) for name in names}
        digests = {name: [_content(file) for file in parts] for name, parts in files.items()}
        columns = ["file", *self.empty, *(["captions"] if self.captions else [])]
        columns += [_TROUBLE] if damaged == "skip" else []

        def convert(name: str, _: int) -> Row:
            row: Row = {"file": self.own[name].relative_to(self.root).as_posix()}
            trouble = ""
            try:
                row |= self.content(name)
            except (ValueError, FileNotFoundError) as error:
                if damaged == "refuse":
                    raise
                row |= self.empty
                trouble = str(error)
            finally:  # half of a file that is just being written?
                for file, digest in zip(files[name], digests[name]):
                    _check_same(file, digest, self.root)
            if self.captions:
                row["captions"] = self.captions[name]
            return row | ({_TROUBLE: trouble} if damaged == "skip" else {})

        numbers = [value for value in self.empty.values() if isinstance(value, int)]
        spelled = [
            [[file.relative_to(self.root).as_posix() for file in files[name]], digests[name]]
            for name in names
        ]
        origin = json.dumps([columns, numbers, self.frames, spelled, dict(tables)])
        place = os.fsencode(self.root) if damaged == "skip" else b""
        identity = f"own-{_VERSION}-{cache.digest(place, origin)[:12]}/{split}-{option}"
        which = "films" if self.frames else "pictures"
        kind = Kind(tuple(columns), _one_by_one, convert, "pixels", frames=self.frames)
        heading = f"the {which} of {self.root.name}"
        return _Recipe(title, heading, kind, option, lambda: iter(names), identity, split)


def _chosen(**choices: tuple[str, tuple[str, ...]]) -> None:
    for name, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f"{name} must be one of {known}, got {value!r}")


def _own_root(path: str | Path) -> Path:
    root = _at_home(path)
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {str(path)!r}")
    return root.resolve()


def _of_split(path: str | Path, split: str, splits: Mapping[str, str]) -> list[str]:
    """The names of a split."""
    known = sorted(set(splits.values()), key=["train", "validation", "test"].index)
    if split not in known:
        raise ValueError(f"{str(path)!r} has no split {split!r}; it has {_listed(known)}")
    return [name for name, own in splits.items() if own == split]


def _own_films(root: Path, everything: Mapping[str, Path]) -> dict[str, Path]:
    """The films of a folder by their names: files that are films, and folders that hold pictures."""
    own: dict[str, Path] = {}
    for name, file in everything.items():
        if file.suffix.lower() in _FILMS:
            own[name] = file
        elif file.suffix.lower() in _FRAMES:
            above = name.rpartition("/")[0]
            if not above or above.lower() in _SPLIT_NAMES:
                raise ValueError(
                    f"{str(file)!r} lies in no folder of a film; put the pictures of each film into "
                    "a folder of its own"
                )
            own[above] = file.parent
    return dict(sorted(own.items(), key=lambda item: item[0].split("/")))


def _sounds_beside(path: Path) -> list[Path]:
    """The sounds beside a film or a picture that have its name."""
    stem = path.name if path.is_dir() else path.stem
    beside = [path.with_name(stem + end) for end in sorted(_SOUNDS)]
    return [own for own in beside if own.is_file()]


def _beside(path: Path) -> Path:
    """The one sound beside a film or a picture."""
    there = _sounds_beside(path)
    if len(there) != 1:
        has = "no sound" if not there else "several sounds"
        stem = path.name if path.is_dir() else path.stem
        raise ValueError(f"{str(path)!r} has {has} beside it; one is needed: {stem}.wav")
    return there[0]


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
    everything = _own_files(root)
    splits = _own_splits(
        root, [name for name in everything if Path(name).suffix.lower() in _PICTURES | _SOUNDS]
    )
    names = _of_split(path, split, splits)
    kinds = {Path(name).suffix.lower() in _PICTURES for name in names}
    if len(kinds) > 1:
        raise ValueError(
            f"{str(path)!r} holds pictures and sounds; put them into folders of their own"
        )
    is_picture = kinds.pop()
    _warn_of_unread(everything, split, len(names))
    captions, tables = _own_captions(root, split, splits, everything, uncaptioned != "refuse")
    if not captions:
        _warn_of_tables(everything)
    if captions:
        names = _captioned(names, captions, everything, uncaptioned)
    classes = None if captions else _own_classes(splits)
    labels = sorted(set(classes.values())) if classes else []

    which = "pixels" if is_picture else "sample_rate"
    option = _option(which, pixels=pixels, sample_rate=sample_rate)
    columns = ["file", *(("image",) if is_picture else ("wave", "sample_rate"))]
    columns += ["captions"] if captions else []
    columns += ["thing", "label"] if classes else []
    columns += [_TROUBLE] if damaged == "skip" else []
    digests = {name: _content(everything[name]) for name in names} | tables

    def convert(name: str, option: int) -> Row:
        file, trouble = everything[name], ""
        row: Row = {
            "file": file.relative_to(root).as_posix()
        }  # as the disk spells it, so that it can be opened
        try:
            seen = picture(file, option) if is_picture else sound(file, option)
        except (ValueError, FileNotFoundError) as error:
            _check_same(file, digests[name], root)  # half of a file that is just being written?
            if damaged == "refuse":
                raise
            seen = np.zeros((option, option, 3), np.uint8) if is_picture else np.zeros(0, np.int16)
            trouble = str(error)
        _check_same(file, digests[name], root)
        row |= {"image": seen} if is_picture else {"wave": seen, "sample_rate": option}
        if damaged == "skip":
            row[_TROUBLE] = trouble
        if captions:
            row["captions"] = captions[name]
        if classes:
            row |= {"thing": classes[name], "label": labels.index(classes[name])}
        return row

    kind = Kind(tuple(columns), _one_by_one, convert, which, tuple(labels))
    # The place of the folder does not count (a copy is not converted again), but for messages.
    spelled = [(everything[name].relative_to(root).as_posix(), d) for name, d in digests.items()]
    origin = json.dumps([spelled, labels])
    place = os.fsencode(root) if damaged == "skip" else b""
    identity = f"folder-{_VERSION}-{cache.digest(place, origin)[:12]}/{split}-{option}"
    heading = f"the {'pictures' if is_picture else 'sounds'} of {root.name}"
    title = f"{str(path)!r}, split {split!r},"
    recipe = _Recipe(title, heading, kind, option, lambda: iter(names), identity, split)
    data = recipe.load(len(names) if size is None else size)
    return _whole_ones(data, root) if damaged == "skip" else data


@contextlib.contextmanager
def _unchanged(root: Path) -> Iterator[None]:
    """Say what has happened where the system does not find what it has just listed."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        if error.filename is None:  # a message of ours: it was never there
            raise
        raise RuntimeError(_changed(root, Path(os.fsdecode(error.filename)))) from error


def _changed(root: Path, file: Path) -> str:
    return f"{str(root)!r} changed while it was read, at {str(file)!r}; read it again"


def _check_same(file: Path, digest: str, root: Path) -> None:
    """Raise a RuntimeError if a file is no longer what it was when the folder was listed: what was
    decoded would be stored as the content of the old one."""
    try:
        same = _content(file) == digest
    except FileNotFoundError:
        same = False
    if not same:
        raise RuntimeError(_changed(root, file))


def _captioned(
    names: list[str],
    captions: dict[str, list[str]],
    everything: Mapping[str, Path],
    uncaptioned: str,
    level: int = 5,
) -> list[str]:
    """The names that are to be read, of files with a caption and without."""
    missing = [name for name in names if not captions.get(name)]
    if not missing:
        return names
    first = str(everything[missing[0]])
    if uncaptioned == "refuse":
        raise ValueError(
            f"the metadata has no line for {first!r} ({len(missing)} of {len(names)} files); "
            "uncaptioned='skip' leaves such files out, 'keep' takes them without captions"
        )
    if uncaptioned == "keep":
        captions.update((name, []) for name in missing)
        return names
    if len(missing) == len(names):
        raise ValueError(f"no file has a caption: {first!r} and {len(names) - 1} more")
    _warn_left_out(missing, len(names), "have no caption", level)
    return [name for name in names if captions.get(name)]


def _whole_ones(data: datasets.Dataset, root: Path, level: int = 5) -> datasets.Dataset:
    """The rows whose file could be decoded, without the column that says so; the rest is named."""
    troubles = data.with_format(None, columns=[_TROUBLE])[:][_TROUBLE]
    data = data.remove_columns(_TROUBLE)
    bad = [trouble for trouble in troubles if trouble]
    if not bad:
        return data
    if len(bad) == len(data):
        raise ValueError(f"no file of {str(root)!r} can be decoded; the first one: {bad[0]}")
    _warn_left_out(bad, len(data), "cannot be decoded", level)
    return data.select([place for place, trouble in enumerate(troubles) if not trouble])


def _warn_of_unread(everything: Iterable[str], split: str, read: int) -> None:
    unread = [
        name
        for name in everything
        if Path(name).suffix.lower() in _UNREAD
        and _SPLIT_NAMES.get(name.partition("/")[0].lower(), split) == split
    ]
    if unread:
        reason = "are of a sort that is not read (save them as JPEG, PNG or WAV)"
        _warn_left_out(unread, read + len(unread), reason)


def _warn_of_tables(everything: Mapping[str, Path]) -> None:
    """A file that looks as if it held captions, where none were found."""
    found = [
        name
        for name in everything
        if re.fullmatch(_OTHER_TABLES, name.rpartition("/")[2].lower())
        and name.rpartition("/")[2].lower() not in _TABLES
    ]
    if found:
        warnings.warn(
            f"{str(everything[found[0]])!r} is not read, and no captions were found: they are read "
            f"from {' or '.join(_TABLES)}",
            FolderWarning,
            stacklevel=4,  # who called folder
        )


def _warn_of_unseen(everything: Mapping[str, Path], own: Mapping[str, Path]) -> None:
    """Name the sounds to which there is no film: its pictures are missing, or its name is another."""
    films_ = {name if file.is_dir() else name.rpartition(".")[0] for name, file in own.items()}
    sounds = [name for name, file in everything.items() if file.suffix.lower() in _SOUNDS]
    unseen = [repr(str(everything[own])) for own in sounds if own.rpartition(".")[0] not in films_]
    if unseen:
        _warn_left_out(unseen, len(sounds), "are sounds without a film of their name", 4)


def _warn_left_out(which: list[str], of: int, reason: str, level: int = 5) -> None:
    more = f"; and {len(which) - 5} more" if len(which) > 5 else ""
    warnings.warn(
        f"{len(which)} of {of} files {reason} and are left out: {'; '.join(which[:5])}{more}",
        FolderWarning,
        stacklevel=level,  # who called folder
    )


def _visible(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """All files below a folder, without the hidden ones (``.git``, a Mac's ``._x.png``). Links are
    followed, but not round."""
    above = (*above, folder.resolve())
    for entry in os.scandir(folder):
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if entry.is_symlink() and not os.path.exists(path):
            raise FileNotFoundError(f"{str(path)!r} is a link that leads nowhere")
        if entry.is_file():
            yield path
        elif entry.is_dir() and path.resolve() not in above:
            yield from _visible(path, above)


def _own_files(root: Path) -> dict[str, Path]:
    """All visible files of a folder by their names from there (``train/dog/rex.png``, in NFC), in
    the names' order."""
    files: dict[str, Path] = {}
    for file in _visible(root):
        name = unicodedata.normalize("NFC", file.relative_to(root).as_posix())
        if file.suffix.lower() in _PICTURES | _SOUNDS:  # what is not read may have any name
            if not _is_unicode(name):
                raise ValueError(f"the name of {str(file)!r} is not Unicode; rename the file")
            if name in files:
                raise ValueError(
                    f"two files have the name {name!r}, written in two forms of Unicode (NFC and NFD): "
                    f"{str(files[name])!a} and {str(file)!a}; rename one"
                )
        files[name] = file
    return dict(sorted(files.items(), key=lambda item: item[0].split("/")))


def _own_splits(root: Path, names: list[str]) -> dict[str, str]:
    """The split of each picture and sound."""
    if not names:
        raise ValueError(
            f"{str(root)!r} holds no pictures ({_endings(_PICTURES)}) and no sounds ({_endings(_SOUNDS)})"
        )
    tops = {name: name.partition("/")[0].lower() if "/" in name else "" for name in names}
    if not set(tops.values()) & set(_SPLIT_NAMES):
        return dict.fromkeys(names, "train")
    outside = [name for name, top in tops.items() if top not in _SPLIT_NAMES]
    if outside:
        used = sorted({top for top in tops.values() if top in _SPLIT_NAMES})
        raise ValueError(
            f"{str(root / outside[0])!r} ({len(outside)} of {len(names)} files) lies in no split, beside {_listed(used)}; move "
            f"it into one, or away. Are these classes and no splits? Put all of them into a folder 'train'"
        )
    return {name: _SPLIT_NAMES[top] for name, top in tops.items()}


def _own_classes(names: Iterable[str]) -> dict[str, str] | None:
    """The class of each file: the name of its folder. None where the files lie in no class
    folders."""
    classes = {}
    for name in names:
        parts = name.split("/")[:-1]
        if parts and parts[0].lower() in _SPLIT_NAMES:
            parts = parts[1:]
        classes[name] = parts[-1] if parts else ""
    return classes if all(classes.values()) else None


def _own_captions(
    root: Path,
    split: str,
    splits: Mapping[str, str],
    everything: Mapping[str, Path],
    blank: bool,
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The captions of each file from the metadata tables beside them, and the names of the tables
    that were read with digests of their content. ``blank``: a line may have no caption."""
    captions: dict[str, list[str]] = {}
    lines, digests = _own_lines(root, split, splits, everything)
    for name, where, row in lines:
        captions.setdefault(name, []).extend(_captions_of(row, where, blank))
    return captions, digests


def _own_lines(
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
    tables = [name for name in everything if name.rpartition("/")[2].lower() in _TABLES]
    tables = [
        name for name in tables if _SPLIT_NAMES.get(name.partition("/")[0].lower(), split) == split
    ]
    digests = {name: _content(everything[name]) for name in tables}
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
                has = f"; this one has {_listed(row)}" if isinstance(row, dict) else ""
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
        _check_same(everything[name], digest, root)
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
        readable = readable or f"end in one of {_endings(_PICTURES | _SOUNDS)}"
        raise ValueError(
            f"{where}: {file_name!r} is not read; a file must not be hidden, and {readable}"
        )
    raise FileNotFoundError(f"{where}: there is no file {file_name!r}")


def _captions_of(row: Row, where: str, blank: bool) -> list[str]:
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
            if not isinstance(caption, str) or not caption.strip() or not _is_unicode(caption):
                raise ValueError(
                    f"{where}: {column} must be text, or a list of texts, not {caption!r:.80}"
                )
            captions.append(caption)
    if not captions and not blank:
        raise ValueError(
            f"{where}: no caption; give one (or a list) as {_listed(_CAPTION_COLUMNS)}"
        )
    return captions


def _asked_of(row: Row, where: str) -> list[tuple[str, str]]:
    """The questions of a row with their answers."""
    pairs = []
    for column, other in (("questions", "answers"), ("question", "answer")):
        both = [row.get(name) for name in (column, other)]
        if both == [None, None]:
            continue
        if None in both:
            there, missing = (column, other) if both[1] is None else (other, column)
            raise ValueError(f"{where}: there is {there}, but no {missing}; give both")
        asked, said = (own if isinstance(own, list) else [own] for own in both)
        if len(asked) != len(said):
            raise ValueError(f"{where}: {len(asked)} {column}, but {len(said)} {other}")
        for question, answer in zip(asked, said):
            if type(answer) is int:  # how many?
                answer = str(answer)
            for name, text in ((column, question), (other, answer)):
                if not isinstance(text, str) or not text.strip() or not _is_unicode(text):
                    raise ValueError(
                        f"{where}: {name} must be text, or a list of texts, not {text!r:.80}"
                    )
            pairs.append((question.strip(), " ".join(answer.split()).lower()))
    return pairs


def _by_number(column: str) -> tuple[float, str]:
    number = column.rpartition("_")[2]
    return (int(number) if number.isdecimal() else math.inf), column


def _is_unicode(text: str) -> bool:
    """False for half of a surrogate pair, which no file can hold."""
    with contextlib.suppress(UnicodeEncodeError):
        text.encode()
        return True
    return False


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


# --- Keeping what was converted -------------------------------------------------------------------


@dataclass(frozen=True)
class _Recipe:
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


def _option(which: str | None, **values: Any) -> int | None:
    """Check the one number that shapes a kind of data."""
    if which is None:
        return None
    return _between(which, values[which], {"pixels": PIXELS, "sample_rate": SAMPLE_RATES}[which])


def _between(which: str, value: Any, limits: tuple[int, int]) -> int:
    value = _store.integer(which, value)
    if not limits[0] <= value <= limits[1]:
        raise ValueError(f"{which} must lie from {limits[0]} to {limits[1]}, not {value}")
    return value


def _content(file: Path) -> str:
    """A digest of a file's bytes. XXH3 keeps up with the disk: 5,000 photographs (600 MB) take 0.2
    s from the page cache."""
    import xxhash

    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, xxhash.xxh3_128).hexdigest()


def _stamp(file: Path) -> tuple[int | str, ...]:
    """What stands for a Parquet file, which may have many gigabytes: size, times of change, and
    both ends."""
    import xxhash

    about = file.stat()
    with open(file, "rb") as stream:
        ends = stream.read(_END)
        stream.seek(max(0, about.st_size - _END))
        ends += stream.read(_END)
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, xxhash.xxh3_128_hexdigest(ends)


def _listed(words: Iterable[Any]) -> str:
    return ", ".join(map(repr, words)) or "none"


def _endings(suffixes: set[str]) -> str:
    return " ".join(sorted(suffixes))
