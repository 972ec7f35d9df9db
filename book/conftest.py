"""How nbval runs the chapters: time limits that fit training cells, one limit a cell where it is tagged ``timeout-N``;
and room on a small disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

SLOW = 2  # chapters name the seconds of a cell on two cores of its own; a busy machine has longer
LITTLE = 15 * 10**8  # bytes: one chapter may keep some hundred megabytes of what it made


def make_room() -> None:
    """On a disk that is nearly full, throw away what earlier chapters made; who needs it makes it anew."""
    from mmtutor.kit.cache import cache_dir

    folder = cache_dir()
    if folder.exists() and shutil.disk_usage(folder).free < LITTLE:
        for part in ("world", "features"):
            shutil.rmtree(folder / part, ignore_errors=True)


def pytest_sessionstart() -> None:
    make_room()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: Any, nextitem: Any) -> Iterator[None]:
    yield
    if nextitem is not None and nextitem.parent is not item.parent:  # the kernel has ended
        make_room()


def pytest_collection_modifyitems(items: list[Any]) -> None:
    for item in items:
        if type(item).__name__ == "IPyNbCell":
            item.output_timeout = (
                60  # nbval waits 5 s for a message by default: too short on a busy machine
            )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: Any) -> Iterator[None]:
    tags = getattr(item, "cell", None) and item.cell.metadata.get("tags", [])
    limits = [int(tag.removeprefix("timeout-")) for tag in tags or () if tag.startswith("timeout-")]
    before = item.config.option.nbval_cell_timeout if limits else None
    if limits:
        item.config.option.nbval_cell_timeout = SLOW * limits[0]
    yield
    if limits:
        item.config.option.nbval_cell_timeout = before
