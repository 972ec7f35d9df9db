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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

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
    "questions-blind": (6, None),
    "search": (8, None),
    "drawing": (8, None),
    "party": (8, None),
}


#: So many words, the most frequent.
MOST = {"words-today": 3200}


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


#: Five unseen speakers, from low to high; the second and the third are hardly apart in pitch.
SPEAKERS = ("Sezok", "Ninek", "Fimak", "Biluk", "Lenak")
SHEET = 10  # pictures in a row of the sheet that shows a film


def voices() -> dict[str, Any]:
    """Five people who speak for two seconds: waves, mouths as the network sees them, and films."""
    from mmtutor.cocktail_party import mouths
    from mmtutor.experiments import cocktail_party as experiment
    from mmtutor.kit.arrays import column

    rows = experiment.load("test").rows
    names = [str(name) for name in column(rows, "speaker")]
    people, waves, seen = [], [], []
    for name in SPEAKERS:
        row = rows[names.index(name)]
        film = np.stack(row["frames"])  # (T, 48, 48, 3)
        wave = np.asarray(row["wave"], np.float32) / 32768
        waves.append(torch.from_numpy(wave * (0.06 / np.sqrt((wave**2).mean()))))  # equally loud
        seen.append(mouths(torch.from_numpy(film)).flatten(1))  # (T, 384)
        sheet = film.reshape(-1, SHEET, *film.shape[1:]).swapaxes(1, 2)
        sheet = sheet.reshape(sheet.shape[0] * sheet.shape[1], -1, 3)
        file = io.BytesIO()
        Image.fromarray(sheet).save(file, "WEBP", quality=55, method=6)
        url = "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")
        people.append({"name": name, "pitch": round(float(row["pitch"])), "film": url})
    about = {"kind": "voices", "people": people, "rate": experiment.RATE, "fps": 25}
    about |= {"across": SHEET, "side": int(film.shape[1])}
    # a row for each picture: each has a scale of its own
    tensors = {"waves": torch.stack(waves), "mouths": torch.cat(seen)}
    return live.packed(tensors, about, 10)


GALLERY, SENTENCES = 120, 160


def gallery(eyes: dict[str, Any], search: dict[str, Any]) -> dict[str, Any]:
    """Unseen scenes and what the exported model makes of them, so that the page need not look at all of
    them first; and sentences to be found."""
    from mmtutor.joint_embedding import Config, JointEmbedding

    of = {}
    for ground in world()["grounds"]:
        of.setdefault(ground["name"], []).append(ground)
    chosen, told, pictures = [], [], []
    for i in range(GALLERY):
        scene = scenes.sample("test", i, things=THINGS)
        ground = of[scene.background][i % len(of[scene.background])]
        scene = replace(scene, variant=ground["variant"])
        pictures.append(scenes.render(scene, PIXELS).image)
        things = [
            {k: getattr(t, k) for k in ("name", "side", "x", "y", "mirrored")} for t in scene.things
        ]
        chosen.append({"ground": ground["key"], "things": things})
        told += captions.captions(scene, i, 2)
    own = live.unpacked(search)
    model = JointEmbedding(Config(**search["about"]["config"])).eval()
    model.load_state_dict(own, strict=False)
    with torch.no_grad():
        maps = live.looking(eyes)(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2))
        mean, scale = (own[f"eyes.{n}"].view(1, -1, 1, 1) for n in ("mean", "scale"))
        vectors = model.embed_pictures((maps - mean) * scale)
    sentences = list(dict.fromkeys(told))[:SENTENCES]
    about = {"kind": "gallery", "scenes": chosen, "sentences": sentences, "weight": 0.8}
    return live.packed({"pictures": vectors}, about, 10)


def pad(folder: Path) -> Tensor:
    """The two directions of z (2, Z) in which drawings change most: the first eigenvectors of JᵀJ, J the
    slopes of a drawing's pixels, in the mean over sentences and codes."""
    from mmtutor.kit import saving
    from mmtutor.text_to_image import TextToImage

    model, _ = saving.load(TextToImage, folder / "drawing")
    painter, g = model.averaged.eval(), torch.Generator().manual_seed(0)
    words = torch.randint(1, model.config.vocabulary, (24, 4), generator=g)
    heard, codes = model.encoder(words).detach(), model.codes(24, g)
    total = torch.zeros(model.config.code, model.config.code)
    for h, z in zip(heard, codes, strict=True):

        def draw(code: Tensor, h: Tensor = h) -> Tensor:
            return painter(h[None], code[None]).flatten()

        J = torch.autograd.functional.jacobian(draw, z)  # (pixels, Z)
        total += J.T @ J
    return torch.linalg.eigh(total).eigenvectors.flip(1)[:, :2].T.contiguous()


def files(folder: Path) -> dict[str, str]:
    """All scripts by their names, without hashes."""
    packed = {"encoder": live.encoder()}
    for name, (bits, base) in MODELS.items():
        if not (folder / name / "model.json").is_file():
            print(f"{name}: no model in {folder}", file=sys.stderr)
            continue
        before = None if base is None else packed[base]
        beside = {"pad": pad(folder)} if name == "drawing" else None
        packed[name] = live.model(
            folder / name, bits=bits, base=before, words=MOST.get(name), beside=beside
        )
    if "search" in packed:
        packed["gallery"] = gallery(packed["encoder"], packed["search"])
    packed["voices"] = voices()
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
