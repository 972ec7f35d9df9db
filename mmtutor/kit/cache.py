"""The cache directory and its safe moves: find it, lock a name in it, put a whole file into it,
empty it.

Two notebooks may want the same file at once, a build may be killed, a disk may be full. The rules
that make this harmless are few. A file is written under a temporary name and then renamed, so that
a reader sees all of it or nothing. A builder holds an operating-system lock, which the system
itself releases when the process dies, however it dies: no stale lock can outlive its owner. And a
cache that cannot be written is a warning, not a failure, because everything in it can be made
again.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
import secrets
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "MMTUTOR_CACHE"
_PARTIAL = ".partial"


class CacheWarning(UserWarning):
    """The cache could not be used as wanted; the result is right, but it may have to be made again
    next time."""


# --- Where it is ----------------------------------------------------------------------------------


def cache_dir() -> Path:
    """Return the directory that holds everything the package stores (it may not exist yet).

    The environment variable ``MMTUTOR_CACHE`` overrides the user's cache directory of the operating
    system: ``$XDG_CACHE_HOME/mmtutor`` or ``~/.cache/mmtutor`` on Linux,
    ``~/Library/Caches/mmtutor`` on macOS, ``%LOCALAPPDATA%\\mmtutor`` on Windows. In these
    variables a leading ``~`` is the home directory, a blank value counts as none, and a relative
    ``XDG_CACHE_HOME`` is ignored, as the XDG Base Directory Specification demands.

    Where there is no home directory (in some containers and services), it is a folder of the user's
    own in the temporary directory.

    Warns:
        CacheWarning: there is no home directory; once in a process.
    """
    try:
        override = _setting(VARIABLE)
        if override is not None:
            return override
        if sys.platform == "win32":
            base = _absolute("LOCALAPPDATA") or _home() / "AppData" / "Local"
        elif sys.platform == "darwin":
            base = _home() / "Library" / "Caches"
        else:
            base = _absolute("XDG_CACHE_HOME") or _home() / ".cache"
    except RuntimeError as error:
        return _stand_in(str(error))
    return base / "mmtutor"


def _setting(variable: str) -> Path | None:
    """The path that an environment variable holds, ``~`` expanded; None where it is unset or
    blank."""
    value = os.environ.get(variable, "").strip()
    if value.startswith("~"):
        _home()  # or a RuntimeError: without a home, Python would expand it to the root
    return Path(value).expanduser() if value else None


def _absolute(variable: str) -> Path | None:
    path = _setting(variable)
    return path if path is not None and path.is_absolute() else None


def _home() -> Path:
    """The user's home directory; RuntimeError where there is none."""
    home = Path.home()
    if not home.is_absolute() or (
        os.name == "posix" and not os.environ.get("HOME", "unset").strip()
    ):
        raise RuntimeError("the environment variable HOME names no directory")
    return home


@functools.cache  # so that it warns once
def _stand_in(reason: str) -> Path:
    """A folder of this user's own in the temporary directory, with a warning."""
    user = str(os.getuid()) if hasattr(os, "getuid") else "cache"
    try:
        folder = Path(tempfile.gettempdir()) / f"mmtutor-{user}"
    except (
        FileNotFoundError
    ):  # nothing at all can be written; who tries to store something will say so
        folder = Path(os.sep) / "tmp" / f"mmtutor-{user}"
    with contextlib.suppress(OSError):
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:  # of an earlier process, or a trap that somebody else has laid
            status = folder.lstat()
            if (
                folder.is_symlink()
                or not folder.is_dir()
                or (user != "cache" and status.st_uid != int(user))
            ):
                folder = Path(tempfile.mkdtemp(prefix="mmtutor-"))
    warnings.warn(
        f"there is no home directory to keep a cache in ({reason}). What is made is stored in {folder}, which may be "
        f"emptied at any time. Set the environment variable {VARIABLE} to a directory that stays.",
        CacheWarning,
        stacklevel=3,
    )
    return folder


def warn_unusable(path: Path, error: OSError) -> None:
    """Warn that ``path`` could not be written, and say exactly what to do about it."""
    reason = error.strerror or str(error) or type(error).__name__
    warnings.warn(
        f"cannot store {path.name!r} in the cache directory {path.parent} ({reason}). The data are kept in memory "
        f"instead, and will be made again next time. Free some space there, or set the environment variable "
        f"{VARIABLE} to a directory that can be written.",
        CacheWarning,
        stacklevel=3,
    )


# --- To write into it -----------------------------------------------------------------------------


def _made(folder: Path) -> None:
    """Make ``folder``, though another process that clears the cache may remove it meanwhile."""
    for tries_left in reversed(range(20)):
        try:
            return folder.mkdir(parents=True, exist_ok=True)
        except (FileNotFoundError, FileExistsError):
            if not tries_left or folder.is_file():
                raise


@contextlib.contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock that belongs to ``path`` (a file ``path.lock`` beside it); wait for another
    holder.

    The lock is the operating system's (``flock``/``LockFileEx``, through ``filelock``): it ends
    with its process, so a build that was killed never leaves it behind.

    Raises:
        OSError: the directory cannot be written, or its file system has no locks.
        TimeoutError: with ``wait=False``, somebody else holds the lock.
    """
    import filelock

    lock = filelock.FileLock(str(path) + ".lock")
    for tries_left in reversed(range(20)):
        try:
            _made(path.parent)
            lock.acquire(timeout=-1 if wait else 0)
            break
        except (FileNotFoundError, FileExistsError):
            # another process is clearing the cache: the directory went after it was made, or (what
            # ``mkdir`` calls "exists") between being found there and being looked at
            if not tries_left:
                raise
        except NotImplementedError as error:  # a file system without locks
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK), str(path)) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; on success rename it to ``path``, on failure remove
    it."""
    partial = path.with_name(
        f"{path.name}.{secrets.token_hex(4)}{_PARTIAL}"
    )  # two threads may write at once
    _made(path.parent)
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}  # the latter: one's own share of it


class DiskFull(OSError):
    """The disk is full; its text says what it is too full for, what is left, and what to do."""


def why_not_written(error: BaseException, path: Path, size: int, rest: str) -> OSError | None:
    """What to raise instead of an error that a disk caused while ``path`` was written.

    A library may hide the disk's own error behind one that says nothing of a disk; it is looked for
    among the causes. Call it once what was begun is removed, lest it count as taken.

    Args:
        error: what was raised.
        path: the file that was to be.
        size: its size in bytes, about.
        rest: what is left, and what to do, for the end of the message.

    Returns:
        An error with the disk's number, which says what was wrong (a :class:`DiskFull` where it is
        full); None where no disk was.
    """
    cause: BaseException | None = error
    while cause is not None and not (isinstance(cause, OSError) and cause.errno):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    reason = f"{path.name} could not be written ({os.strerror(cause.errno)})"
    if cause.errno in FULL:
        reason = f"the disk is full ({os.strerror(cause.errno)}): {path.name} takes about "
        reason += _bytes(size)
        with contextlib.suppress(OSError):
            reason += f", and {_bytes(shutil.disk_usage(path.parent).free)} are free"
        return DiskFull(cause.errno, f"{reason}; {rest}", str(path))
    return OSError(cause.errno, f"{reason}; {rest}", str(path))


def _bytes(count: int) -> str:
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= one:
            return f"{count / one:.1f} {unit}"
    return f"{count} bytes"


def sweep(path: Path) -> None:
    """Remove what killed builds left half-written: of the file ``path``, or in the directory
    ``path``.

    Call it while holding the lock of ``path``, so that nothing goes that another process is
    writing.
    """
    begun = [
        file for file in path.parent.glob(f"*{_PARTIAL}") if file.name.startswith(f"{path.name}.")
    ]
    for leftover in (*begun, *path.glob(f"*{_PARTIAL}")):
        with contextlib.suppress(OSError):
            leftover.unlink()


def digest(*parts: bytes | str) -> str:
    """Return a short, stable fingerprint (BLAKE2b, 128 bits, hexadecimal) of the parts and of where
    each one ends."""
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()


# --- To empty it ----------------------------------------------------------------------------------

# What the package stores, as paths within the cache directory, folders with a slash at their end.
# Everything else there is somebody else's, for the cache directory may be any directory. The named
# groups are what one lock guards.
_BEGUN = r"(?:\.\w+\.partial)?"
_STORED = re.compile(
    "|".join(
        (
            # data sets of the world and the hub: shards, and what ``Dataset.map`` keeps beside them
            r"(?P<set>(?:world|hub)/(?P<set_name>[\w-]+?)-\d+-[0-9a-f]{12}/[^/]+?)"
            rf"(?:\.lock|/|/(?:\d{{7}}-\d+\.arrow|end){_BEGUN}|/cache-\w+\.arrow|/tmp\w+)",
            rf"(?P<text>corpora/(?P<text_name>\w+)-\d+-[^/]+-[0-9a-f]{{12}}\.txt)(?:\.lock|{_BEGUN})",
            rf"(?P<features>features/[\w.-]+-(?:half|full)-[0-9a-f]{{24}}\.npy)(?:\.lock|{_BEGUN})",
            # the synthesiser's voices, whole or begun
            r"espeak-(?:[0-9a-f]{12}|\w{8}/data)/(?:complete|phon\w+|intonations|\w\w_dict|(?:lang|voices)/.*[^/])",
        )
    )
)
_FOLDERS = re.compile(
    r"(?:world|hub)/(?:[\w-]+-\d+-[0-9a-f]{12}/)?|corpora/|features/|espeak-(?:[0-9a-f]{12}/(?:(?:lang|voices)/.*)?|\w{8}/(?:data/.*)?)"
)


def clear(name: str | None = None) -> int:
    """Delete what the package stores in the cache directory, and nothing else there; return the
    bytes freed.

    Args:
        name: only the data sets or corpora of that name, of any version, split and option. None
            means all, with features, the synthesiser's voices, locks and what killed builds left
            behind.

    Warns:
        CacheWarning: something was left alone, because another process is building it.
    """
    root = cache_dir()
    units: dict[str | None, list[Path]] = {}
    for path, place in _below(root):
        found = _STORED.fullmatch(place)
        if found and name in (None, found["set_name"] or found["text_name"]):
            units.setdefault(found["set"] or found["text"] or found["features"], []).append(path)
    # without its mark nobody begins to use the synthesiser's folder; so the mark goes first
    freed, busy = (
        sum(map(_delete, sorted(units.pop(None, []), key=lambda path: path.name != "complete"))),
        [],
    )
    for unit, paths in units.items():
        lock = root / f"{unit}.lock"
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(locked(root / unit, wait=False))
            except TimeoutError:
                busy.append(unit)
                continue
            except OSError:  # no lock to be had here: then nobody holds one
                pass
            freed += sum(_delete(path) for path in (*paths, root / unit) if path != lock)
            freed += _delete(lock)
    for path, place in _below(root):
        if _FOLDERS.fullmatch(place):
            with contextlib.suppress(OSError):  # not empty
                path.rmdir()
    if busy:
        warnings.warn(
            f"another process is building {', '.join(busy)}; left alone", CacheWarning, stacklevel=3
        )
    return freed


def _below(root: Path) -> list[tuple[Path, str]]:
    """Every file and folder below the folders that may be ours, with its place in the cache; what
    lies inside comes first."""
    found: list[Path] = []
    for top in (
        *(root / name for name in ("world", "hub", "corpora", "features")),
        *root.glob("espeak-*"),
    ):
        for folder, folders, files in os.walk(top, topdown=False):
            found += (Path(folder, name) for name in (*files, *folders))
        found.append(top)
    return [
        (
            path,
            path.relative_to(root).as_posix()
            + ("/" if path.is_dir() and not path.is_symlink() else ""),
        )
        for path in found
    ]


def _delete(path: Path) -> int:
    """Delete a file, a link or an empty folder, where possible; return the bytes freed."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
            return 0
        size = path.lstat().st_size
        path.unlink()
        return size
    return 0
