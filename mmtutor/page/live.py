"""Trained models that run in a page: from a model's folder to files that a browser reads.

A page that is opened from disk may not fetch anything. It may load scripts. So a model becomes a
script: its settings and words as JSON, its weights in few bits as text (base64). The engine
that reads them is plain JavaScript, ``book/_static/live``: the chapters' mathematics once more. ::

    python -m mmtutor.page.live DIR out.html

turns a model that you trained (``mmtutor train …``, or :func:`mmtutor.kit.saving.save` with the same
notes) into one HTML file that holds all it needs and opens from disk, with no kernel and no network.
It knows captioners that look (``show_attend_tell``), questions (``vqa``), word vectors
(``word2vec``), search (``joint_embedding``) and drawing (``text_to_image``).
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import sys
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmtutor.kit import saving
from mmtutor.kit.cache import replacing
from mmtutor.kit.vision import DEFAULT, ImageEncoder

_PACKAGE = Path(__file__).resolve().parents[1]
#: In the order in which a page loads them.
ENGINE = ("start.js", "engine.js", "world.js", "exhibits.js")
#: What each class becomes in the page.
EXHIBITS: dict[str, str] = {
    "mmtutor.show_attend_tell.ShowAttendTell": "captioner",
    "mmtutor.vqa.VQA": "questions",
    "mmtutor.vqa.Copying": "questions",
    "mmtutor.cli.tasks.Table": "words",
    "mmtutor.joint_embedding.JointEmbedding": "search",
    "mmtutor.text_to_image.TextToImage": "drawing",
    "mmtutor.cli.drawing.Painter": "drawing",
    "mmtutor.cocktail_party.CocktailParty": "party",
}
#: Settings that are long and only say how a model was trained.
_UNREAD = ("names", "naming", "dropout")
MOST_TEXTS = 500  # of a collection that can be searched: more would make the page slow to begin


# --- Numbers as text ------------------------------------------------------------------------------


def packed(
    tensors: Mapping[str, Tensor],
    about: Mapping[str, Any],
    bits: int = 16,
    base: Mapping[str, Tensor] | None = None,
) -> dict[str, Any]:
    """Tensors and a note as what JSON can say.

    Args:
        tensors: by name. Numbers and vectors become half precision (``"f2"``).
        about: goes beside them.
        bits: of each number of a matrix (or of a larger tensor), 2 to 12: whole numbers between
            −m and m = 2^(bits − 1) − 1, each row with a scale of its own (``"q10"``), so the error is
            at most 1/2m of the row's largest number. Or 16: half precision.
        base: another model's tensors. What differs from them is kept (``"d6"``): it is small, so few
            bits are exact enough.

    Returns:
        ``{"about", "tensors": [[name, shape, type], …], "data"}``.

    Raises:
        ValueError: ``bits`` out of range; a number that is not finite, or beyond half precision's
            65,504.
    """
    if bits != 16 and not 2 <= bits <= 12:
        raise ValueError(f"bits must be 2 to 12, or 16 for half precision, got {bits}")
    table, data = [], []

    def write(name: str, shape: tuple[int, ...], kind: str, content: bytes) -> None:
        table.append([name, list(shape), kind])
        data.append(content)

    for name, tensor in sorted(tensors.items()):  # a file of tensors has no order of its own
        x = tensor.detach().cpu().float().numpy()
        if not np.isfinite(x).all() or np.abs(x).max(initial=0) > 65_504:
            raise ValueError(f"{name} has numbers that half precision cannot hold")
        if bits == 16 or x.ndim < 2:
            write(name, x.shape, "f2", x.astype("<f2").tobytes())
            continue
        kind, rows = "q", x.reshape(len(x), -1)
        if base is not None:
            kind, rows = "d", rows - base[name].detach().cpu().float().numpy().reshape(rows.shape)
        most = 2 ** (bits - 1) - 1
        goal = np.abs(rows).max(1, keepdims=True) / most
        scale = goal.astype("<f2")
        scale = np.where(np.float32(scale) < goal, np.nextafter(scale, np.float16(np.inf)), scale)
        steps = np.divide(rows, np.float32(scale), out=np.zeros_like(rows), where=scale > 0)
        whole = np.round(steps).clip(-most, most).astype(np.int64).ravel() + most
        ones = (whole[:, None] >> np.arange(bits)) & 1
        stream = np.packbits(ones.astype(np.uint8).ravel(), bitorder="little")
        write(name, x.shape, f"{kind}{bits}", stream.tobytes())
        write(f"{name}.scale", (len(x),), "f2", scale.astype("<f2").tobytes())
    return {
        "about": dict(about),
        "tensors": table,
        "data": base64.b64encode(b"".join(data)).decode("ascii"),
    }


def unpacked(
    file: Mapping[str, Any], base: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """What the page's engine reads of a packed file, float32: to compute the same in Python.

    Args:
        file: what :func:`packed` made.
        base: the unpacked tensors of the model that it was packed against, if any.
    """
    raw, at, found = base64.b64decode(file["data"]), 0, {}
    for name, shape, kind in file["tensors"]:
        count = int(np.prod(shape, dtype=int))
        if kind == "f2":
            x = np.frombuffer(raw, "<f2", count, at).astype(np.float32)
            at += 2 * count
        else:
            bits = int(kind[1:])
            size = -(-count * bits // 8)
            ones = np.unpackbits(np.frombuffer(raw, np.uint8, size, at), bitorder="little")
            whole = ones[: count * bits].reshape(count, bits) @ (1 << np.arange(bits))
            x, at = (whole - (2 ** (bits - 1) - 1)).astype(np.float32), at + size
        found[name] = torch.from_numpy(x.reshape(shape).copy())
    for name, shape, kind in file["tensors"]:
        if kind != "f2":
            scale = found.pop(f"{name}.scale")
            found[name] = found[name] * scale.view(-1, *[1] * (len(shape) - 1))
            if kind[0] == "d":
                found[name] = found[name] + base[name]
    return found


def script(name: str, file: Mapping[str, Any]) -> str:
    """A packed file as a script that hands it to the engine."""
    text = json.dumps(file, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # within a page "<" could end the script or begin a comment, and two line ends of Unicode are none in JSON
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return f"MMT.put({json.dumps(name)},{text});\n"


def read(path: str | Path) -> dict[str, Any]:
    """A packed file, from the script that :func:`script` made."""
    text = Path(path).read_text(encoding="utf-8")
    return json.loads(text[text.index(",") + 1 : text.rindex(")")])


def hashed(name: str, content: str) -> str:
    """A file's name with a hash of its content, so that no browser keeps an old one."""
    return f"{name}-{hashlib.blake2b(content.encode(), digest_size=5).hexdigest()}.js"


# --- Models ---------------------------------------------------------------------------------------


def encoder(bits: int = 12, layer: str = "map") -> dict[str, Any]:
    """The frozen image network up to its map, or to its final vector: its convolutions, block by block.

    Where it pads like TensorFlow ("same") the sum of both sides depends on the picture's size.
    """
    network = ImageEncoder(DEFAULT, layer=layer)
    tensors: dict[str, Tensor] = {}

    def layers(modules: list[tuple[str, nn.Module]]) -> list[dict[str, Any]]:
        out: list[dict[str, Any]] = []
        for name, module in modules:
            if isinstance(module, nn.Conv2d):
                key = f"{len(tensors) // 2}"
                tensors[f"{key}.weight"], tensors[f"{key}.bias"] = module.weight, module.bias
                same = type(module).__name__ == "Conv2dSame"
                out.append(
                    {
                        "name": key,
                        "stride": module.stride[0],
                        "padding": 0 if same else module.padding[0],
                        "same": same,
                        "alone": module.groups > 1,
                        "relu6": False,
                    }
                )
            elif isinstance(module, nn.ReLU6):
                out[-1]["relu6"] = True
            elif not isinstance(module, nn.Identity):
                raise TypeError(f"the page knows no {type(module).__name__} ({name})")
        return out

    body = network.body
    blocks = [{"layers": layers(list(body.stem.named_children())), "add": False}]
    for stage in body.blocks:
        for block in stage:
            own = {"layers": layers(list(block.named_children())), "add": bool(block.has_skip)}
            blocks.append(own)
    if layer == "vector":
        blocks.append({"layers": layers(list(body.head.named_children())), "add": False})
    about = {
        "name": DEFAULT,
        "layer": layer,
        "mean": float(network.mean.flatten()[0]),
        "std": float(network.std.flatten()[0]),
        "blocks": blocks,
    }
    return packed(tensors, about, bits)


def looking(file: Mapping[str, Any]) -> ImageEncoder:
    """The image network in Python, with the weights of a packed file: what the page computes with."""
    network, own = ImageEncoder(DEFAULT, layer="map"), unpacked(file)
    for i, layer in enumerate(m for m in network.body.modules() if isinstance(m, nn.Conv2d)):
        layer.weight.data, layer.bias.data = own[f"{i}.weight"], own[f"{i}.bias"]
    return network


def model(
    folder: str | Path,
    *,
    bits: int = 16,
    base: Mapping[str, Any] | None = None,
    words: int | None = None,
    beside: Mapping[str, Tensor] | None = None,
) -> dict[str, Any]:
    """The model in a folder, packed for the page.

    Args:
        folder: what :func:`mmtutor.kit.saving.save` wrote.
        bits: see :func:`packed`.
        base: a packed model of equal shapes, from which this one was trained on.
        words: of word vectors, how many: the most frequent come first.
        beside: more tensors for its exhibit.

    Raises:
        FileNotFoundError, ValueError: no such folder or model, or one that no page can run.
    """
    try:
        return _model(folder, bits, base, words, beside)
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError, UnicodeError) as error:
        where = str(Path(folder) / saving.ABOUT)
        raise ValueError(
            f"{where!r} is damaged, or another version wrote it ({type(error).__name__}: {error}); "
            "save the model again"
        ) from error


def _model(
    folder: str | Path,
    bits: int,
    base: Mapping[str, Any] | None,
    words: int | None,
    beside: Mapping[str, Tensor] | None,
) -> dict[str, Any]:
    about, tensors, more = parts(folder)
    kind = EXHIBITS.get(about["class"])
    if kind is None:
        known = ", ".join(sorted({name.split(".")[-1] for name in EXHIBITS}))
        raise ValueError(
            f"{str(folder)!r} holds a {about['class']}, which no page runs; it can be: {known}"
        )
    config = {name: value for name, value in about["config"].items() if name not in _UNREAD}
    _check_settings(about, tensors, folder)
    _check_known(kind, config, folder)
    note: dict[str, Any] = {"kind": kind, "config": config}
    if "finder" in more:
        finder = more["finder"]
        seen = finder["encoder"]
        eyes = {"name": seen["name"], "layer": seen["layer"], "pixels": finder["pixels"]}
        if not seen["pretrained"]:
            eyes["name"] += ", untrained"
        more = {**more, "vocabulary": finder, "eyes": eyes}
        texts = list(dict.fromkeys(text for own in finder["captions"] for text in own))
        note |= {"split": finder["split"], "files": finder["files"], "texts": texts[:MOST_TEXTS]}
        tensors["vectors"] = more["vectors"]
    for name, key in (("words", "vocabulary"), ("answers", "answers")):
        if key in more:
            note[name] = [str(word) for word in more[key]["words"]]
            if note[name] != list(more[key]["words"]):
                raise ValueError(f"the {key} of {str(folder)!r} holds what is no word")
    if "eyes" in more:
        note["eyes"] = more["eyes"]
        pixels = more["eyes"]["pixels"]
        if isinstance(pixels, bool) or not isinstance(pixels, int) or not 32 <= pixels <= 1024:
            raise ValueError(f"the pictures of a model are 32 to 1024 pixels wide, got {pixels!r}")
        if more["eyes"]["name"] != DEFAULT:
            raise ValueError(
                f"this model looks through {more['eyes']['name']}; a page has only {DEFAULT}"
            )
        tensors |= {"eyes.mean": more["mean"].flatten(), "eyes.scale": more["scale"].flatten()}
    if kind != "words" and "words" not in note and kind != "party":
        raise ValueError(
            f"{str(folder)!r} holds no words beside its model; mmtutor train saves them"
        )
    if kind == "words" and words is not None:
        note["words"], tensors = note["words"][:words], {"rows": tensors["rows"][:words]}
    if kind == "drawing":
        tensors = _drawing(tensors)
    own = {
        n: t
        for n, t in tensors.items()
        if n not in ("baseline",) and not n.endswith("num_batches_tracked")
    }
    own |= beside or {}
    return packed(own, note, bits, None if base is None else unpacked(base))


def parts(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    """The note of a folder, its model's tensors, and what was saved beside them, without the
    model's class."""
    folder = Path(folder).expanduser()
    about = saving._about(folder)
    stored = saving._read_tensors(folder, about)
    state = {n.removeprefix("model."): t for n, t in stored.items() if n.startswith("model.")}
    for name, other in about["same"].items():
        state[name] = state[other]
    beside = {n.removeprefix("more."): t for n, t in stored.items() if n.startswith("more.")}
    return about, state, {**about["more"], **beside}


def _drawing(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What draws, of all that played the game: the text encoder and the averaged generator."""
    tensors = {n.removeprefix("game."): t for n, t in tensors.items()}
    painter = "averaged." if any(n.startswith("averaged.") for n in tensors) else "generator."
    return {
        n.replace(painter, "generator.", 1): t
        for n, t in tensors.items()
        if n.startswith((painter, "encoder."))
    }


def _check_settings(
    about: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: str | Path
) -> None:
    """Raise a ValueError unless the settings make a model with just these weights.

    ``saving.load`` is what checks: the class is found by its name, which is one of :data:`EXHIBITS`.
    """
    module, _, name = about["class"].rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    saving.load(kind, folder)


def _check_known(kind: str, config: Mapping[str, Any], folder: str | Path) -> None:
    """Raise a ValueError for a model of which the engine does not know a part."""
    unknown = {
        "questions": config.get("fusion") in ("picture", "glimpses")
        and f"fusion = {config.get('fusion')}",
        "drawing": (
            config.get("convolutions")
            or config.get("recurrence") == "relu"
            or not config.get("words")
        )
        and "the sentence encoder of the paper, which reads letters",
        "party": (config.get("mask"), config.get("voices"), config.get("dense")) != ("real", 2, [])
        and "other masks than real ones, or another number of voices",
    }.get(kind)
    if unknown:
        raise ValueError(f"{str(folder)!r} has {unknown}; no page runs that yet")


# --- One file ---------------------------------------------------------------------------------------

#: The exhibit of each kind of model, and what its page is called.
_PAGES = {
    "captioner": ("captioner", "A captioner of my own"),
    "questions": ("ask", "Questions to a model of my own"),
    "words": ("words", "Words of my own"),
    "search": ("find", "A search of my own"),
    "drawing": ("draw", "A drawing machine of my own"),
}
_STYLE = """body{color:#111;background:#fff;font:1rem/1.5 system-ui,sans-serif;margin:1rem auto;max-width:60rem;padding:0 1rem}
@media(prefers-color-scheme:dark){body{color:#eee;background:#121212}}
button{font:inherit;padding:.4em .8em}"""


def engine_dir() -> Path:
    """The folder of the engine's scripts: inside an installed package, else that of the checkout."""
    installed = _PACKAGE / "live"
    return installed if installed.is_dir() else _PACKAGE.parent / "book" / "_static" / "live"


def whole(folder: str | Path) -> str:
    """One HTML page that holds a reader's model, the engine and all that it needs.

    Raises:
        FileNotFoundError, ValueError: as :func:`model`; or a model whose exhibit needs more than itself
            (voices need films).
    """
    file = model(folder)
    kind = file["about"]["kind"]
    if kind not in _PAGES:
        raise ValueError(
            f"a {kind} model needs films and sounds; only the book's own page has them"
        )
    exhibit, title = _PAGES[kind]
    scripts = [
        (engine_dir() / name).read_text(encoding="utf-8") for name in (*ENGINE, f"{exhibit}.js")
    ]
    data = [script("own", file)]
    if "eyes" in file["about"]:
        data.append(script("encoder", encoder(16, file["about"]["eyes"]["layer"])))
    # start.js first: it makes MMT.put and offers the button when the page is there
    parts_ = ["window.MMT = { whole: true };", *scripts, *data]
    inline = "\n".join(f"<script>\n{part}</script>" for part in parts_)
    theme = (
        'document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches'
        ' ? "dark" : "light";'
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style>\n<script>{theme}</script>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n"
        f'<div class="mmt-exhibit" data-exhibit="{exhibit}" data-model="own" data-title="my model">'
        "<p>This page needs JavaScript.</p></div>\n"
        "<p>The model was trained with mmtutor. It runs in this file; nothing is sent anywhere.</p>\n"
        f"</main>\n{inline}\n</body>\n</html>\n"
    )


def write(folder: str | Path, out: str | Path) -> int:
    """Write a model's page, whole or not at all; returns its size in bytes.

    Raises:
        FileNotFoundError, ValueError: as :func:`whole`. OSError: it cannot be written.
    """
    try:
        content = whole(folder).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{str(folder)!r} holds half of a surrogate pair in a name") from error
    out = Path(out).expanduser()
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as partial:
        partial.write_bytes(content)
    return len(content)


def main(arguments: list[str]) -> None:
    """``python -m mmtutor.page.live DIR out.html``."""
    if len(arguments) != 2:
        raise SystemExit("usage: python -m mmtutor.page.live DIR out.html")
    try:
        size = write(*arguments)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{error}") from None
    print(f"{arguments[1]}: {size / 1e6:.1f} MB; open it in a browser, from disk")


if __name__ == "__main__":
    main(sys.argv[1:])
