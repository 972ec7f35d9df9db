"""mmtutor: the tested companion package of a book on multimodal deep learning.

Importing the package is cheap: a submodule, and torch with it, is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Where each public name lives. The rooms: systems stand here, what they share in kit, what only
# pages use in page.
_FUNCTIONS = {
    "device": "mmtutor.kit.runtime",
    "seed_everything": "mmtutor.kit.runtime",
    "check_environment": "mmtutor.kit.runtime",
    "show_source": "mmtutor.page.source",
    "source_of": "mmtutor.page.source",
}
_SUBMODULES = {
    "cocktail_party",
    "experiments",
    "finder",
    "fusion",
    "hub",
    "image_to_speech",
    "joint_embedding",
    "kit",
    "page",
    "recipes",
    "show_and_tell",
    "show_attend_tell",
    "sound",
    "sound_localization",
    "soundnet",
    "speech2face",
    "text_to_image",
    "video_captioning",
    "vilbert",
    "vlbert",
    "vqa",
    "word2vec",
    "world",
}

if TYPE_CHECKING:
    from mmtutor.kit.runtime import check_environment, device, seed_everything
    from mmtutor.page.source import show_source, source_of

__all__ = [
    "__version__",
    "check_environment",
    "device",
    "seed_everything",
    "show_source",
    "source_of",
]


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
