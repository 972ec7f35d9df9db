"""What lies in a reader's folder: files, splits, classes; and what is told when some of it is not read."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mmtutor.hub.decoded import PICTURES, SOUNDS, at_home, endings, listed
from mmtutor.hub.kept import TROUBLE, digest_of

if TYPE_CHECKING:
    import datasets

#: Pictures and sounds as well, but of sorts that Pillow or soundfile need not know: told, not read.
_UNREAD = {
    ".arw", ".avif", ".cr2", ".cr3", ".dng", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl",
    ".nef", ".aac", ".m4a", ".wma",
}  # fmt: skip
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
TABLES = ("metadata.jsonl", "metadata.csv")
_OTHER_TABLES = r"(metadata|captions?|annotations?)\.(json|jsonl|csv|tsv|txt|token|xlsx?|parquet)"
DAMAGED = ("refuse", "skip")
UNCAPTIONED = ("refuse", "skip", "keep")


def chosen(**choices: tuple[str, tuple[str, ...]]) -> None:
    for name, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f"{name} must be one of {known}, got {value!r}")


# --- Files, splits, classes -----------------------------------------------------------------------


def own_root(path: str | Path) -> Path:
    root = at_home(path)
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {str(path)!r}")
    return root.resolve()


def visible(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
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
            yield from visible(path, above)


def own_files(root: Path) -> dict[str, Path]:
    """All visible files of a folder by their names from there (``train/dog/rex.png``, in NFC), in
    the names' order."""
    files: dict[str, Path] = {}
    for file in visible(root):
        name = unicodedata.normalize("NFC", file.relative_to(root).as_posix())
        if file.suffix.lower() in PICTURES | SOUNDS:  # what is not read may have any name
            if not is_unicode(name):
                raise ValueError(f"the name of {str(file)!r} is not Unicode; rename the file")
            if name in files:
                raise ValueError(
                    f"two files have the name {name!r}, written in two forms of Unicode (NFC and NFD): "
                    f"{str(files[name])!a} and {str(file)!a}; rename one"
                )
        files[name] = file
    return dict(sorted(files.items(), key=lambda item: item[0].split("/")))


def own_splits(root: Path, names: list[str]) -> dict[str, str]:
    """The split of each picture and sound."""
    if not names:
        raise ValueError(
            f"{str(root)!r} holds no pictures ({endings(PICTURES)}) and no sounds ({endings(SOUNDS)})"
        )
    tops = {name: name.partition("/")[0].lower() if "/" in name else "" for name in names}
    if not set(tops.values()) & set(SPLIT_NAMES):
        return dict.fromkeys(names, "train")
    outside = [name for name, top in tops.items() if top not in SPLIT_NAMES]
    if outside:
        used = sorted({top for top in tops.values() if top in SPLIT_NAMES})
        raise ValueError(
            f"{str(root / outside[0])!r} ({len(outside)} of {len(names)} files) lies in no split, beside {listed(used)}; move "
            f"it into one, or away. Are these classes and no splits? Put all of them into a folder 'train'"
        )
    return {name: SPLIT_NAMES[top] for name, top in tops.items()}


def of_split(path: str | Path, split: str, splits: Mapping[str, str]) -> list[str]:
    """The names of a split."""
    known = sorted(set(splits.values()), key=["train", "validation", "test"].index)
    if split not in known:
        raise ValueError(f"{str(path)!r} has no split {split!r}; it has {listed(known)}")
    return [name for name, own in splits.items() if own == split]


def own_classes(names: Iterable[str]) -> dict[str, str] | None:
    """The class of each file: the name of its folder. None where the files lie in no class
    folders."""
    classes = {}
    for name in names:
        parts = name.split("/")[:-1]
        if parts and parts[0].lower() in SPLIT_NAMES:
            parts = parts[1:]
        classes[name] = parts[-1] if parts else ""
    return classes if all(classes.values()) else None


def is_unicode(text: str) -> bool:
    """False for half of a surrogate pair, which no file can hold."""
    with contextlib.suppress(UnicodeEncodeError):
        text.encode()
        return True
    return False


# --- The folder stays as it is while it is read ---------------------------------------------------


@contextlib.contextmanager
def unchanged(root: Path) -> Iterator[None]:
    """Say what has happened where the system does not find what it has just listed."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        if error.filename is None:  # a message of ours: it was never there
            raise
        raise RuntimeError(_changed(root, Path(os.fsdecode(error.filename)))) from error


def _changed(root: Path, file: Path) -> str:
    return f"{str(root)!r} changed while it was read, at {str(file)!r}; read it again"


def check_same(file: Path, digest: str, root: Path) -> None:
    """Raise a RuntimeError if a file is no longer what it was when the folder was listed: what was
    decoded would be stored as the content of the old one."""
    try:
        same = digest_of(file) == digest
    except FileNotFoundError:
        same = False
    if not same:
        raise RuntimeError(_changed(root, file))


# --- What is left out, and told -------------------------------------------------------------------


class FolderWarning(UserWarning):
    """Some files of a reader's folder were left out, as was asked or because their sort is not
    read; the message names them."""


def captioned(
    names: list[str],
    captions: dict[str, list[str]],
    everything: Mapping[str, Path],
    uncaptioned: str,
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
    warn_left_out(missing, len(names), "have no caption")
    return [name for name in names if captions.get(name)]


def whole_ones(data: datasets.Dataset, root: Path) -> datasets.Dataset:
    """The rows whose file could be decoded, without the column that says so; the rest is named."""
    troubles = data.with_format(None, columns=[TROUBLE])[:][TROUBLE]
    data = data.remove_columns(TROUBLE)
    bad = [trouble for trouble in troubles if trouble]
    if not bad:
        return data
    if len(bad) == len(data):
        raise ValueError(f"no file of {str(root)!r} can be decoded; the first one: {bad[0]}")
    warn_left_out(bad, len(data), "cannot be decoded")
    return data.select([place for place, trouble in enumerate(troubles) if not trouble])


def warn_of_unread(everything: Iterable[str], split: str, read: int) -> None:
    unread = [
        name
        for name in everything
        if Path(name).suffix.lower() in _UNREAD
        and SPLIT_NAMES.get(name.partition("/")[0].lower(), split) == split
    ]
    if unread:
        reason = "are of a sort that is not read (save them as JPEG, PNG or WAV)"
        warn_left_out(unread, read + len(unread), reason)


def warn_of_tables(everything: Mapping[str, Path]) -> None:
    """A file that looks as if it held captions, where none were found."""
    found = [
        name
        for name in everything
        if re.fullmatch(_OTHER_TABLES, name.rpartition("/")[2].lower())
        and name.rpartition("/")[2].lower() not in TABLES
    ]
    if found:
        _warn(
            f"{str(everything[found[0]])!r} is not read, and no captions were found: they are read "
            f"from {' or '.join(TABLES)}"
        )


def warn_left_out(which: list[str], of: int, reason: str) -> None:
    more = f"; and {len(which) - 5} more" if len(which) > 5 else ""
    _warn(f"{len(which)} of {of} files {reason} and are left out: {'; '.join(which[:5])}{more}")


def _warn(message: str) -> None:
    """Warn of a folder, in the name of the line that called the hub."""
    frame, level, here = sys._getframe(), 1, os.path.dirname(__file__)
    while frame is not None and os.path.dirname(frame.f_code.co_filename) == here:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, FolderWarning, stacklevel=level)
