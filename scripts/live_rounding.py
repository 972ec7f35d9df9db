"""Measure what the rounding of the page's models costs, and write ``book/_static/live/rounding.json``.

    python scripts/live_rounding.py [FOLDER]

Each model as it was trained (``build/live``) against the exported one, on unseen data, in Python. One
measurement of one model each, no interval.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import export_live
import numpy as np
import torch
from torch import Tensor, nn

from mmtutor.kit import decoding, saving, vision
from mmtutor.kit.runtime import cpu_threads
from mmtutor.page import live

SCENES, QUESTIONS, PAIRS, WORDS = 300, 1000, 60, 500


def both(folder: Path, name: str, kind: type) -> list[tuple[nn.Module, dict[str, Any]]]:
    """The model as it was trained and as the page has it, each with mean and scale of what it sees."""
    trained, more = saving.load(kind, folder / name)
    rounded, _ = saving.load(kind, folder / name)
    _, base = export_live.MODELS[name]
    before = None if base is None else live.unpacked(exported(base))
    own = live.unpacked(exported(name), before)
    rounded.load_state_dict(own, strict=False)
    seen = {"mean": own.get("eyes.mean"), "scale": own.get("eyes.scale")}
    return [(trained, more), (rounded, {**more, **seen})]


def exported(name: str) -> dict[str, Any]:
    text = (export_live.OUT / "manifest.js").read_text(encoding="utf-8")
    files = json.loads(text.removeprefix("MMT.manifest = ").rstrip(";\n"))["files"]
    return live.read(export_live.OUT / files[name])


def maps_of(pictures: np.ndarray) -> tuple[Tensor, Tensor]:
    """What the network sees as it is, and as the page has it."""
    x = torch.from_numpy(pictures.copy()).permute(0, 3, 1, 2)
    networks = (vision.ImageEncoder(layer="map"), live.looking(exported("encoder")))
    return tuple(torch.cat([one(part) for part in x.split(50)]) for one in networks)


def standard(maps: Tensor, more: dict[str, Any]) -> Tensor:
    return (maps - more["mean"].view(1, -1, 1, 1)) * more["scale"].view(1, -1, 1, 1)


def captioners(folder: Path) -> dict[str, Any]:
    from mmtutor.experiments import _captioning
    from mmtutor.experiments import show_attend_tell as experiment
    from mmtutor.show_attend_tell import ShowAttendTell

    _, test = _captioning.scenes(experiment.TRAIN)
    test, out = test.select(range(SCENES)), {}
    vocabulary, seen = experiment.load()[2], maps_of(_captioning.images(test))
    for name in ("captioner-soft", "captioner-priced", "captioner-hard"):
        said = []
        for (model, more), maps in zip(both(folder, name, ShowAttendTell), seen, strict=True):
            found = decoding.beam_search(model, standard(maps, more), width=5, n_best=1)
            said.append([" ".join(vocabulary.decode(one.ids)) for (one,) in found])
        true = [float(experiment.truth(own, test).mean()) for own in said]
        same = float(np.mean([a == b for a, b in zip(*said, strict=True)]))
        out[name] = {"same": same, "true as trained": true[0], "true in the page": true[1]}
    return out


def questions(folder: Path) -> dict[str, Any]:
    from mmtutor.experiments import vqa as experiment
    from mmtutor.experiments._captioning import images
    from mmtutor.vqa import VQA, Copying

    own, out = experiment.load().test, {}
    rows = own.rows.select(range(QUESTIONS))
    seen, asked, right = maps_of(images(rows)), own.questions[:QUESTIONS], own.answers[:QUESTIONS]
    for name, kind in (("questions", Copying), ("questions-blind", VQA)):
        with torch.no_grad():
            told = [
                model.answer(standard(maps, more), asked)
                for (model, more), maps in zip(both(folder, name, kind), seen, strict=True)
            ]
        rates = [float((one == right).float().mean()) for one in told]
        same = float((told[0] == told[1]).float().mean())
        out[name] = {"same": same, "true as trained": rates[0], "true in the page": rates[1]}
    return out


def search(folder: Path) -> dict[str, Any]:
    from mmtutor.experiments import joint_embedding as experiment
    from mmtutor.joint_embedding import JointEmbedding, encode_texts

    _, test, _, vocabulary = experiment.load()
    asked = encode_texts([own[0] for own in test.captions[:SCENES]], vocabulary)
    seen, first = maps_of(test.images[:SCENES]), []
    with torch.no_grad():
        for (model, more), maps in zip(both(folder, "search", JointEmbedding), seen, strict=True):
            scores = model.embed_texts(asked) @ model.embed_pictures(standard(maps, more)).T
            first.append(scores.argmax(1))
    own = torch.arange(SCENES)
    rates = [float((one == own).float().mean()) for one in first]
    same = float((first[0] == first[1]).float().mean())
    return {"search": {"same": same, "true as trained": rates[0], "true in the page": rates[1]}}


def words(folder: Path) -> dict[str, Any]:
    from mmtutor.cli.tasks import Table

    out = {}
    for name in ("words-1611", "words-today"):
        first = []
        small = live.unpacked(exported(name))["rows"]
        for rows in (saving.load(Table, folder / name).model.rows.detach()[: len(small)], small):
            rows = nn.functional.normalize(rows, dim=1)
            cosine = rows[:WORDS] @ rows.T
            cosine[torch.arange(WORDS), torch.arange(WORDS)] = -1
            first.append(cosine.argmax(1))
        out[name] = {"same": float((first[0] == first[1]).float().mean())}
    return out


def party(folder: Path) -> dict[str, Any]:
    from mmtutor.cocktail_party import CocktailParty
    from mmtutor.experiments import cocktail_party as experiment

    rows = experiment.pairs()["all"][:PAIRS]
    gains = [experiment.score(model, rows) for model, _ in both(folder, "party", CocktailParty)]
    return {"party": {"dB as trained": gains[0], "dB in the page": gains[1]}}


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0]) if arguments else export_live.FOLDER
    found = {
        "scenes": SCENES,
        "questions": QUESTIONS,
        "pairs": PAIRS,
        "words": WORDS,
        "measured": {},
    }
    with cpu_threads(1):
        for measure in (captioners, questions, search, words, party):
            found["measured"] |= measure(folder)
    for name, values in found["measured"].items():
        print(name, {key: round(value, 3) for key, value in values.items()})
    text = json.dumps(found, indent=1) + "\n"
    (export_live.OUT / "rounding.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
