"""A reader's own films, and pictures that somebody talks about: samples of several files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmtutor.hub.decoded import (
    FRAMES,
    PICTURES,
    SOUNDS,
    STILLS,
    endings,
    film,
    in_order,
    in_range,
    option_of,
    picture,
    sound,
)
from mmtutor.hub.found import (
    DAMAGED,
    SPLIT_NAMES,
    UNCAPTIONED,
    captioned,
    check_same,
    chosen,
    of_split,
    own_files,
    own_root,
    own_splits,
    unchanged,
    warn_left_out,
    whole_ones,
)
from mmtutor.hub.kept import TROUBLE, VERSION, Kind, Row, Samples, digest_of, one_by_one
from mmtutor.hub.tables import captions_of, own_lines
from mmtutor.kit import cache

if TYPE_CHECKING:
    import datasets

_FILMS = {".apng", ".gif", ".npy"}


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
    chosen(damaged=(damaged, DAMAGED), uncaptioned=(uncaptioned, UNCAPTIONED))
    frames = in_range("frames", frames, FRAMES)
    pixels = option_of("pixels", pixels=pixels)
    if sample_rate is not None:
        sample_rate = option_of("sample_rate", sample_rate=sample_rate)
    root = own_root(path)
    with unchanged(root):
        everything = own_files(root)
        own = _own_films(root, everything)
        if not own:
            raise ValueError(
                f"{str(path)!r} holds no film: folders of pictures, or files {endings(_FILMS)} "
                "(ffmpeg -i film.mp4 -r 5 rex/%04d.png makes a folder of pictures)"
            )
        splits = own_splits(root, list(own))
        names = of_split(path, split, splits)
        readable = f"be a folder of pictures or end in one of {endings(_FILMS)}"
        lines, tables = own_lines(root, split, splits, everything, readable)
        captions: dict[str, list[str]] = {}
        for name, where, row in lines:
            captions.setdefault(name, []).extend(captions_of(row, where, uncaptioned != "refuse"))
        if captions:
            names = captioned(names, captions, own, uncaptioned)

        def parts(name: str) -> list[Path]:
            """The files that make a sample."""
            film_ = in_order(own[name]) if own[name].is_dir() else [own[name]]
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
        return whole_ones(data, root) if damaged == "skip" else data


def _warn_of_unseen(everything: Mapping[str, Path], own: Mapping[str, Path]) -> None:
    """Name the sounds to which there is no film: its pictures are missing, or its name is another."""
    seen = {name if file.is_dir() else name.rpartition(".")[0] for name, file in own.items()}
    sounds = [name for name, file in everything.items() if file.suffix.lower() in SOUNDS]
    unseen = [repr(str(everything[name])) for name in sounds if name.rpartition(".")[0] not in seen]
    if unseen:
        warn_left_out(unseen, len(sounds), "are sounds without a film of their name")


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
    chosen(damaged=(damaged, DAMAGED))
    pixels = option_of("pixels", pixels=pixels)
    sample_rate = option_of("sample_rate", sample_rate=sample_rate)
    root = own_root(path)
    with unchanged(root):
        own = {
            name: file for name, file in own_files(root).items() if file.suffix.lower() in PICTURES
        }
        if not own:
            raise ValueError(f"{str(path)!r} holds no pictures ({endings(PICTURES)})")
        names = of_split(path, split, own_splits(root, list(own)))

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
        return whole_ones(data, root) if damaged == "skip" else data


# --- Samples of several files ---------------------------------------------------------------------


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
    ) -> Samples:
        """What is kept in the cache goes by the content of all files."""
        files = {name: self.parts(name) for name in names}
        digests = {name: [digest_of(file) for file in parts] for name, parts in files.items()}
        columns = ["file", *self.empty, *(["captions"] if self.captions else [])]
        columns += [TROUBLE] if damaged == "skip" else []

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
                    check_same(file, digest, self.root)
            if self.captions:
                row["captions"] = self.captions[name]
            return row | ({TROUBLE: trouble} if damaged == "skip" else {})

        numbers = [value for value in self.empty.values() if isinstance(value, int)]
        spelled = [
            [[file.relative_to(self.root).as_posix() for file in files[name]], digests[name]]
            for name in names
        ]
        origin = json.dumps([columns, numbers, self.frames, spelled, dict(tables)])
        place = os.fsencode(self.root) if damaged == "skip" else b""
        identity = f"own-{VERSION}-{cache.digest(place, origin)[:12]}/{split}-{option}"
        which = "films" if self.frames else "pictures"
        kind = Kind(tuple(columns), one_by_one, convert, "pixels", frames=self.frames)
        heading = f"the {which} of {self.root.name}"
        return Samples(title, heading, kind, option, lambda: iter(names), identity, split)


def _own_films(root: Path, everything: Mapping[str, Path]) -> dict[str, Path]:
    """The films of a folder by their names: files that are films, and folders that hold pictures."""
    own: dict[str, Path] = {}
    for name, file in everything.items():
        if file.suffix.lower() in _FILMS:
            own[name] = file
        elif file.suffix.lower() in STILLS:
            above = name.rpartition("/")[0]
            if not above or above.lower() in SPLIT_NAMES:
                raise ValueError(
                    f"{str(file)!r} lies in no folder of a film; put the pictures of each film into "
                    "a folder of its own"
                )
            own[above] = file.parent
    return dict(sorted(own.items(), key=lambda item: item[0].split("/")))


def _sounds_beside(path: Path) -> list[Path]:
    """The sounds beside a film or a picture that have its name."""
    stem = path.name if path.is_dir() else path.stem
    beside = [path.with_name(stem + end) for end in sorted(SOUNDS)]
    return [own for own in beside if own.is_file()]


def _beside(path: Path) -> Path:
    """The one sound beside a film or a picture."""
    there = _sounds_beside(path)
    if len(there) != 1:
        has = "no sound" if not there else "several sounds"
        stem = path.name if path.is_dir() else path.stem
        raise ValueError(f"{str(path)!r} has {has} beside it; one is needed: {stem}.wav")
    return there[0]
