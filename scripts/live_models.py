"""Train the models that the pages run, as their chapters do, and keep them in a folder each.

    python scripts/live_models.py [FOLDER] [NAME …]

The folder is ``build/live`` unless told otherwise; a model that lies there is not trained again.
Each is the chapter's model of seed 0, by the experiment's own function (which a test holds equal to
the page's lines), with what it needs beside its weights: the words, and how its pictures were
standardized. ``scripts/export_live.py`` makes files for the pages of them, and trains nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mmtutor.cli.tasks import words_of

SEED = 0
ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "live"

#: A model, and what is saved beside it, in the form in which ``mmtutor train`` saves.
Kept = tuple[nn.Module, dict[str, Any]]


def looked_at(maps: Tensor) -> dict[str, Any]:
    """What the frozen network is, and how its maps (N, C, h, w) are standardized: x becomes
    (x − mean) · scale."""
    from mmtutor.cli.data import Eyes
    from mmtutor.experiments._captioning import PIXELS
    from mmtutor.kit.vision import DEFAULT

    eyes = Eyes.fitted(DEFAULT, "map", PIXELS, maps)
    return {"eyes": eyes.note(), "mean": eyes.mean, "scale": eyes.scale}


def captioner(**changes: object) -> Kept:
    from mmtutor.experiments import _captioning
    from mmtutor.experiments import show_attend_tell as experiment
    from mmtutor.kit import vision

    model = experiment.train(SEED, **changes)
    train, _ = _captioning.scenes(experiment.TRAIN)
    maps = vision.features(_captioning.images(train), vision.ImageEncoder(layer="map"))
    return model, {"vocabulary": words_of(experiment.load()[2]), **looked_at(maps)}


def words(text: str) -> Kept:
    from mmtutor import word2vec, world
    from mmtutor.cli.tasks import Table, TableConfig

    config = word2vec.Config.world(**({"epochs": 6} if text == "wikipedia" else {}))
    trained = word2vec.train(world.corpus(text, sentences=True), config, seed=SEED).vectors
    table = Table(TableConfig(*trained.matrix.shape), trained.matrix.cpu())
    return table, {"vocabulary": words_of(trained.vocabulary)}


def questions(name: str) -> Kept:
    from mmtutor.experiments import vqa as experiment
    from mmtutor.experiments._captioning import images
    from mmtutor.kit import vision

    data = experiment.load()
    model = experiment.copying(SEED) if name == "copying" else experiment.train(name, SEED)
    maps = vision.features(images(data.train.rows), vision.ImageEncoder(layer="map"))
    seen = looked_at(maps)
    seen |= {"mean": data.mean.flatten(), "scale": 1 / data.std.flatten()}
    return model, {
        "vocabulary": words_of(data.vocabulary),
        "answers": words_of(data.answers),
        **seen,
    }


def search() -> Kept:
    from mmtutor.experiments import joint_embedding as experiment
    from mmtutor.kit import vision

    model = experiment.trained(SEED)
    train, _, _, vocabulary = experiment.load()
    maps = vision.features(train.images, vision.ImageEncoder(layer="map"))
    return model, {"vocabulary": words_of(vocabulary), **looked_at(maps)}


def drawing() -> Kept:
    from mmtutor.experiments import text_to_image as experiment

    model = experiment.train("with z", SEED)
    return model, {"vocabulary": words_of(experiment.load().vocabulary)}


def party() -> Kept:
    from mmtutor.experiments import cocktail_party as experiment

    return experiment.train("audio-visual", SEED), {}


def _price() -> float:
    from mmtutor.experiments.show_attend_tell import PRICE

    return PRICE


MODELS: dict[str, Callable[[], Kept]] = {
    "captioner-soft": captioner,
    "captioner-priced": lambda: captioner(hedging=_price()),
    "captioner-hard": lambda: captioner(mode="hard"),
    "words-1611": lambda: words("kjv"),
    "words-today": lambda: words("wikipedia"),
    "search": search,
    "questions": lambda: questions("copying"),
    "questions-blind": lambda: questions("question"),
    "drawing": drawing,
    "party": party,
}


def main(arguments: list[str]) -> None:
    from mmtutor.kit import saving

    folder = FOLDER
    if arguments and arguments[0] not in MODELS:
        folder = Path(arguments.pop(0))
    unknown = [name for name in arguments if name not in MODELS]
    if unknown:
        raise SystemExit(f"no model is called {unknown[0]!r}; there are: {', '.join(MODELS)}")
    for name in arguments or MODELS:
        place = folder / name
        if (place / "model.json").is_file():
            print(f"{name}: lies in {place}")
            continue
        begin = time.perf_counter()
        model, more = MODELS[name]()
        saving.save(model.cpu(), place, **more)
        print(
            f"{name}: trained in {time.perf_counter() - begin:.0f} s, kept in {place}", flush=True
        )


if __name__ == "__main__":
    main(sys.argv[1:])
