"""What systems share: text, pictures, decoding, metrics, training, the machine, the cache.

A module is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = {
    "arrays",
    "cache",
    "decoding",
    "masking",
    "metrics",
    "pictures",
    "places",
    "pointing",
    "processes",
    "regions",
    "retrieval",
    "runtime",
    "streams",
    "text",
    "training",
    "transformer",
    "vision",
    "waves",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
