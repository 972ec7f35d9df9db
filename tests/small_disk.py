"""A disk that is really full: a file system of a few kilobytes in memory, where the tests may mount one."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    """A folder on a file system of ``size`` bytes; the test is skipped where none may be mounted."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip("no file system may be mounted here (it takes root)")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True, timeout=60)


def fill(place: Path, left: int) -> Path:
    """Fill a small disk with a file until about ``left`` bytes are free; the file."""
    import shutil

    rest = place / "somebody else's"
    rest.write_bytes(bytes(max(0, shutil.disk_usage(place).free - left)))
    return rest
