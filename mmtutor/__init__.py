"""mmtutor: the tested companion package of a book on multimodal deep learning.

Importing the package is cheap: a submodule, and torch with it, is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Where each public name lives. Systems and common ground are submodules, found by their own names.
_FUNCTIONS = {
    "device": "mmtutor.runtime",
    "seed_everything": "mmtutor.runtime",
    "check_environment": "mmtutor.runtime",
    "show_source": "mmtutor.source",
    "source_of": "mmtutor.source",
}
_SUBMODULES = {
    "decoding",
    "experiments",
    "hub",
    "ledger",
    "metrics",
    "plotting",
    "runtime",
    "show_and_tell",
    "show_attend_tell",
    "sound",
    "source",
    "text",
    "training",
    "video_captioning",
    "vision",
    "widgets",
    "word2vec",
    "world",
}

if TYPE_CHECKING:
    from mmtutor.runtime import check_environment, device, seed_everything
    from mmtutor.source import show_source, source_of

__all__ = ["__version__", "check_environment", "device", "seed_everything", "show_source", "source_of"]


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        value = getattr(importlib.import_module(_FUNCTIONS[name]), name)
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        return importlib.import_module(f"mmtutor.{name}")
    raise AttributeError(f"module 'mmtutor' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_FUNCTIONS, *_SUBMODULES})
