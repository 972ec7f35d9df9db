"""Rows of ``dishes``: recipes and pictures of what they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmtutor.world import dishes
from mmtutor.world._store import Builder

if TYPE_CHECKING:
    import datasets


def _build(split: str, indices: range, seed: int, pixels: int = 64) -> dict[str, list]:
    """The columns of these recipes: ``layers`` tells in words what the picture shows; ``recipe`` is
    all of it as JSON."""
    rows: dict[str, list] = {name: [] for name in _features(pixels)}
    for index in indices:
        recipe = dishes.sample(split, index, seed)
        rows["image"].append(np.asarray(dishes.draw_dish(recipe, pixels)))
        rows["title"].append(recipe.title)
        rows["ingredients"].append(list(recipe.ingredients))
        rows["instructions"].append(list(recipe.instructions))
        rows["class"].append(recipe.dish)
        rows["layers"].append([str(layer) for layer in recipe.layers])
        rows["pair"].append(index // 2)
        rows["recipe"].append(recipe.to_json())
    return rows


def _features(pixels: int = 64) -> datasets.Features:
    import datasets

    text = datasets.Value("string")
    words = datasets.Sequence(text)
    return datasets.Features(
        {
            "image": datasets.Array3D((pixels, pixels, 3), "uint8"),
            "title": text,
            "ingredients": words,
            "instructions": words,
            "class": text,
            "layers": words,
            "pair": datasets.Value("int64"),
            "recipe": text,
        }
    )


DATASETS = {
    "dishes": Builder(
        name="dishes",
        version=2,
        build=_build,
        features=_features,
        default_size={"train": 6000, "test": 1000},
        max_size={"train": 200_000, "test": 20_000},
        heading="Recipes and pictures of the dish, in pairs of the same sentences in orders that look different",
        options={"pixels": (64, 96, 128, 160, 224)},
        packages=("pillow",),
    )
}
