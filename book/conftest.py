"""How nbval runs the chapters: time limits that fit training cells, one limit a cell where it is tagged ``timeout-N``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


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
        item.config.option.nbval_cell_timeout = limits[0]
    yield
    if limits:
        item.config.option.nbval_cell_timeout = before
