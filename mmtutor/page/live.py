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
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmtutor.kit import saving
from mmtutor.kit.vision import DEFAULT, ImageEncoder

_PACKAGE = Path(__file__).resolve().parents[1]
ENGINE = ("engine.js", "world.js", "exhibits.js")  # in the order in which a page loads them
#: What each class becomes in the page, and which of its weights nobody needs there.
EXHIBITS: dict[str, str] = {
    "mmtutor.show_attend_tell.ShowAttendTell": "captioner",
    "mmtutor.vqa.VQA": "questions",
    "mmtutor.vqa.Copying": "questions",
    "mmtutor.cli.tasks.Table": "words",
    "mmtutor.joint_embedding.JointEmbedding": "search",
    "mmtutor.text_to_image.TextToImage": "drawing",
    "mmtutor.cocktail_party.CocktailParty": "party",
}
#: Settings that are long and only say how a model was trained.
_UNREAD = ("names", "naming", "dropout")


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

    for name, tensor in tensors.items():
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
    # within a page "</script" would end the script, and two line ends of Unicode are none in JSON
    text = text.replace("</", "<\\/").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return f"MMT.put({json.dumps(name)},{text});\n"


def read(path: str | Path) -> dict[str, Any]:
    """A packed file, from the script that :func:`script` made."""
    text = Path(path).read_text(encoding="utf-8")
    return json.loads(text[text.index(",") + 1 : text.rindex(")")])


def hashed(name: str, content: str) -> str:
    """A file's name with a hash of its content, so that no browser keeps an old one."""
    return f"{name}-{hashlib.blake2b(content.encode(), digest_size=5).hexdigest()}.js"


# --- Models ---------------------------------------------------------------------------------------


def encoder(bits: int = 12) -> dict[str, Any]:
    """The frozen image network up to its map: its convolutions, block by block.

    Where it pads like TensorFlow ("same") the sum of both sides depends on the picture's size.
    """
    network = ImageEncoder(DEFAULT, layer="map")
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
    about = {
        "name": DEFAULT,
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
) -> dict[str, Any]:
    """The model in a folder, packed for the page.

    Args:
        folder: what :func:`mmtutor.kit.saving.save` wrote.
        bits: see :func:`packed`.
        base: a packed model of equal shapes, from which this one was trained on.
        words: of word vectors, how many: the most frequent come first.

    Raises:
        FileNotFoundError, ValueError: no such folder or model, or one that no page can run.
    """
    about, tensors, more = parts(folder)
    kind = EXHIBITS.get(about["class"])
    if kind is None:
        known = ", ".join(sorted({name.split(".")[-1] for name in EXHIBITS}))
        raise ValueError(
            f"{str(folder)!r} holds a {about['class']}, which no page runs; it can be: {known}"
        )
    config = {name: value for name, value in about["config"].items() if name not in _UNREAD}
    note: dict[str, Any] = {"kind": kind, "config": config}
    if "finder" in more:
        more = {**more, "vocabulary": more["finder"]}
    for name, key in (("words", "vocabulary"), ("answers", "answers")):
        if key in more:
            note[name] = list(more[key]["words"])
    if "eyes" in more:
        note["eyes"] = more["eyes"]
        if more["eyes"]["name"] != DEFAULT or more["eyes"]["layer"] != "map":
            raise ValueError(
                f"this model looks through {more['eyes']['name']} ({more['eyes']['layer']}); the page "
                f"has only {DEFAULT} (map)"
            )
        tensors |= {"eyes.mean": more["mean"], "eyes.scale": more["scale"]}
    if kind == "words" and words is not None:
        note["words"], tensors = note["words"][:words], {"rows": tensors["rows"][:words]}
    if kind == "drawing":
        tensors = _drawing(tensors)
    own = {
        n: t
        for n, t in tensors.items()
        if n not in ("baseline",) and not n.endswith("num_batches_tracked")
    }
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
    painter = "averaged." if any(n.startswith("averaged.") for n in tensors) else "generator."
    return {
        n.replace(painter, "generator.", 1): t
        for n, t in tensors.items()
        if n.startswith((painter, "encoder."))
    }
