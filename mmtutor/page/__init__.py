"""What only pages use: the ledger of claims, figures, widgets, and source code shown in a chapter.

A module is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = {
    "arithmetic",
    "beam",
    "bookmap",
    "clip",
    "fingerprint",
    "judge",
    "ledger",
    "plotting",
    "search",
    "source",
    "space",
    "tables",
    "waves",
    "widgets",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
