"""Write the files of the models that run in the pages: ``book/_static/live``. Trains nothing.

    python scripts/export_live.py [FOLDER]

It takes the chapters' models of seed 0 from a folder (``build/live``; ``scripts/live_models.py`` trains
them) and writes one script for each, named by a hash of its content, and ``manifest.js``, which says
which file is which. The same models give the same bytes. Files that no longer belong are removed.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmtutor.page import live
from mmtutor.world import captions, cast, questions, scenes
from mmtutor.world._backgrounds import paint

ROOT = Path(__file__).resolve().parents[1]
FOLDER, OUT = ROOT / "build" / "live", ROOT / "book" / "_static" / "live"
PIXELS, THINGS = 96, 24
#: Of each ground so many pictures; a scene of ``test`` has a multiple of 4 for its variant.
GROUNDS = {name: (4 * k, 4 * k + 4000) for k, name in enumerate(scenes.BACKGROUNDS, 1)}
#: The models, how many bits a number has, and from which of them each was trained on.
MODELS: dict[str, tuple[int, str | None]] = {
    "captioner-soft": (10, None),
    "captioner-priced": (6, "captioner-soft"),
    "captioner-hard": (6, "captioner-soft"),
    "words-1611": (8, None),
    "words-today": (8, None),
    "questions": (10, None),
    "questions-blind": (8, None),
    "search": (8, None),
    "drawing": (8, None),
    "party": (8, None),
}


def picture(pixels: np.ndarray) -> str:
    """An RGB picture, uint8 (H, W, 3), as a data URL. Without alpha, so that a page reads back the same
    numbers."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def thing(name: str) -> dict[str, Any]:
    """One member of the cast: its facts, and its large drawing: colours times alpha, alpha below."""
    one, art = cast.thing(name), np.asarray(cast._master(name))
    both = np.concatenate([art[..., :3], np.repeat(art[..., 3:], 3, 2)])
    facts = {
        key: getattr(one, key) for key in ("name", "plural", "kind", "colour", "width", "height")
    }
    return {**facts, "stretch": scenes._stretch(name), "image": picture(both)}


def world() -> dict[str, Any]:
    """What a page needs to draw scenes, to read captions and questions, and to judge them."""
    words = {
        name: [[" ".join(phrase), meaning] for rows in table.values() for phrase, meaning in rows]
        for name, table in captions._lexicon().items()
    }
    grounds = [
        {
            "key": f"{name}-{k}",
            "name": name,
            "variant": variant,
            "image": picture(paint(name, variant, PIXELS)),
        }
        for name, variants in GROUNDS.items()
        for k, variant in enumerate(variants, 1)
    ]
    kinds = {
        k: [cast.kind_noun(k), cast.kind_noun(k, True)] for k in cast.KINDS if cast.kind_noun(k)
    }
    return {
        "credit": cast.CREDIT,
        "things": [thing(name) for name in scenes.pool(THINGS)],
        "grounds": grounds,
        "kinds": kinds,
        "words": {**words, "colour": [[colour, colour] for colour in cast.COLOURS]},
        "questions": [[name, rule.pattern] for name, rule in questions._patterns()],
        "relations": questions._RELATION_OF,
        "places": questions._PLACE_OF,
    }


def files(folder: Path) -> dict[str, str]:
    """All scripts by their names, without hashes."""
    packed = {"encoder": live.encoder()}
    for name, (bits, base) in MODELS.items():
        if not (folder / name / "model.json").is_file():
            print(f"{name}: no model in {folder}", file=sys.stderr)
            continue
        before = None if base is None else packed[base]
        packed[name] = live.model(folder / name, bits=bits, base=before)
    out = {name: live.script(name, file) for name, file in packed.items()}
    out["world"] = live.script("world", world())
    return out


def write(folder: Path, out: Path) -> dict[str, int]:
    """Write the files, and return their sizes."""
    out.mkdir(parents=True, exist_ok=True)
    names, sizes = {}, {}
    for name, content in files(folder).items():
        names[name] = live.hashed(name, content)
        sizes[name] = len(content.encode())
        (out / names[name]).write_text(content, encoding="utf-8")
    for old in out.glob("*-??????????.js"):
        if old.name not in names.values():
            old.unlink()
    text = json.dumps({"files": names, "bytes": sizes}, indent=1)
    (out / "manifest.js").write_text(f"MMT.manifest = {text};\n", encoding="utf-8")
    return sizes


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0]) if arguments else FOLDER
    if not folder.is_dir():
        raise SystemExit(
            f"there is no folder {str(folder)!r}; python scripts/live_models.py makes it"
        )
    sizes = write(folder, OUT)
    for name, size in sizes.items():
        print(f"{name:<18}{size / 1e6:6.2f} MB")
    print(f"{'together':<18}{sum(sizes.values()) / 1e6:6.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
