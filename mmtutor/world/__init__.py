"""The world: everything that the chapters see, hear and read, made offline, with its truth kept
beside it.

>>> from mmtutor import world
>>> verses = world.corpus("kjv", sentences=True)

The names below are loaded when they are first used, so that importing this package costs next to
nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

# public name -> module (within this package) that defines it
_EXPORTS: dict[str, str] = {
    "cache_dir": "_store",
    "clear_cache": "_store",
    "corpus": "corpora",
    "corpus_info": "corpora",
    "corpus_names": "corpora",
    "draw_clip": "clips",
    "draw_dish": "dishes",
    "draw_face": "faces",
    "is_true": "captions",
    "draw_thing": "cast",
    "draw_scene": "scenes",
    "info": "_store",
    "load": "_store",
    "names": "_store",
    "play_ground": "ambience",
    "play_note": "sounds",
    "play_thing": "sounds",
    "speak": "voices",
}
_MODULES = {
    "captions",
    "cast",
    "clips",
    "ambience",
    "corpora",
    "dishes",
    "faces",
    "questions",
    "scenes",
    "sounds",
    "speech",
    "voices",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        value = getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
