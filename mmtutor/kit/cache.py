"""The cache directory and its three safe moves: find it, lock a name in it, put a whole file into it.

Two notebooks may want the same file at once, a build may be killed, a disk may be full. The rules that make this
harmless are few. A file is written under a temporary name and then renamed, so that a reader sees all of it or
nothing. A builder holds an operating-system lock, which the system itself releases when the process dies, however it
dies: no stale lock can outlive its owner. And a cache that cannot be written is a warning, not a failure, because
everything in it can be made again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "MMTUTOR_CACHE"
_PARTIAL = ".partial"


class CacheWarning(UserWarning):
    """The cache could not be used; the result is right, but it will be made again next time."""


def cache_dir() -> Path:
    """Return the directory that holds everything the package stores (it may not exist yet).

    The environment variable ``MMTUTOR_CACHE`` overrides the user's cache directory of the operating system:
    ``$XDG_CACHE_HOME/mmtutor`` or ``~/.cache/mmtutor`` on Linux, ``~/Library/Caches/mmtutor`` on macOS,
    ``%LOCALAPPDATA%\\mmtutor`` on Windows.
    """
    override = os.environ.get(VARIABLE, "").strip()
    if override:
        return Path(override).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mmtutor"


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


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that belongs to ``path`` (a file ``path.lock`` beside it); wait for another holder.

    The lock is the operating system's (``flock``/``LockFileEx``, through ``filelock``): it ends with its process, so
    a build that was killed never leaves it behind. Raises OSError where the directory cannot be written.
    """
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(str(path) + ".lock")
    try:
        lock.acquire()
    except NotImplementedError as error:  # a file system without locks
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK), str(path)) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; on success rename it to ``path``, on failure remove it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}{_PARTIAL}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def sweep(directory: Path) -> None:
    """Remove what killed builds left half-written in ``directory``. Call it while holding the directory's lock."""
    for leftover in directory.glob(f"*{_PARTIAL}"):
        with contextlib.suppress(OSError):
            leftover.unlink()


def digest(*parts: bytes | str) -> str:
    """Return a short, stable fingerprint (BLAKE2b, 128 bits, hexadecimal) of the parts and of where each one ends."""
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()
