"""Recipes on the command line: learn which recipe makes which dish, and find recipes for a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from mmtutor import hub, recipes
from mmtutor.cli.data import Eyes, a_file, encoder_of, seen_in, with_eyes
from mmtutor.cli.task import (
    Recipe,
    Task,
    batches,
    none_kept,
    source,
    threads_of,
    vocabulary_of,
    words_of,
)
from mmtutor.kit import retrieval, saving, training
from mmtutor.kit.runtime import cpu_threads, device
from mmtutor.kit.text import Vocabulary, pad, tokenize

SPECIAL = ("<pad>", "<unk>")
#: What is read of a recipe at most: words of its ingredients, sentences, words of a sentence.
MOST = (60, 40, 50)
VECTORS = 1280  # numbers of a picture, as long as nobody has looked


class Cooking(Task):
    """The world's ingredients are names; those of a folder are lines (*4 tomatoes*), of which the
    words count and the numbers do not."""

    system = "recipes"
    says = "recipes for a picture of a dish (Salvador et al. 2017)"
    then = "search"
    folders = True
    holds = (
        'pictures; metadata.jsonl: {"file_name": "soup.jpg", "title": "soup", "ingredients": ["4 '
        'tomatoes"], "instructions": ["Boil them."], "class": "soup"}'
    )
    config = recipes.Config
    model = recipes.RecipeEmbedding
    fixed = ("ingredients", "words", "classes", "image", "filters")
    recipes: ClassVar[dict[str, Recipe]] = {
        "world": Recipe(750, 64, 3e-3),
        "small": Recipe(6000, 64, 1e-3),
        "paper": Recipe(20_000, 160, 1e-4),
    }
    small: ClassVar[dict[str, Any]] = dict(
        filters=64, ingredient=64, word=64, sentence=128, instruction=256, joint=256
    )

    def settings(self, run: dict[str, Any], **sizes: Any) -> Any:
        """``sizes``: ingredients, words, classes and image, once they are known."""
        if run["batch"] < 2:
            raise ValueError(
                f"--batch of {self.system} must be at least 2, got {run['batch']}: it learns to "
                "tell a dish from the others of its batch"
            )
        paper = run["scale"] == "paper"
        own = dict(ingredients=1000, words=1000, classes=16)
        own |= dict(word=300, image=VECTORS) if paper else dict(loss="info_nce")
        own |= {**sizes, **run["set"]}
        if "classes" in sizes and not sizes["classes"]:  # nobody said what kinds there are
            own["semantic"] = 0.0
        if own.get("semantic") == 0:
            own["classes"] = 0
        if run["scale"] == "small":
            own = {**self.small, **own}
        return (self.config.paper if paper else self.config.world)(**own)

    def read(self, run: dict[str, Any], split: str, size: int | None) -> tuple[Any, list, list]:
        """Rows, the ingredients of each, and the sentences of each as words."""
        rows = source(run).rows("dishes", split, size, run["pixels"], USUAL[split])
        named = source(run).kind == "world"
        held = [own if named else in_words(own) for own in rows["ingredients"]]
        held = [own[: MOST[0]] for own in held]
        told = [[tokenize(step)[: MOST[2]] for step in own] for own in rows["instructions"]]
        told = [[step for step in own if step][: MOST[1]] for own in told]
        for k, (own, steps) in enumerate(zip(held, told)):
            if not own or not steps:
                what = "ingredients" if not own else "instructions"
                raise ValueError(f"the {what} of {rows['title'][k]!r:.80} hold no word")
        return rows, held, told

    def layer(self, run: dict[str, Any]) -> str:
        """What is seen of a picture: a map, but for the paper a vector."""
        return "vector" if run["scale"] == "paper" else "map"

    def train(self, folder: Path, run: dict[str, Any]) -> training.History:
        rows, held, told = self.read(run, "train", run["size"])
        if len(rows) < 2:
            raise ValueError("two dishes are the least: a recipe is told from those of others")
        layer = self.layer(run)
        seen = seen_in(rows, encoder_of(run["encoder"], layer))
        eyes = Eyes.fitted(run["encoder"], layer, run["pixels"], seen)
        pantry = Vocabulary([one for own in held for one in own], specials=SPECIAL)
        words = Vocabulary([w for own in told for step in own for w in step], specials=SPECIAL)
        kinds = sorted(set(rows["class"]) - {""})
        image = tuple(seen.shape[1:]) if layer == "map" else seen.shape[1]
        sizes = dict(ingredients=len(pantry), words=len(words), classes=len(kinds), image=image)
        torch.manual_seed(run["seed"])
        model = recipes.RecipeEmbedding(self.settings(run, **sizes))
        read = encoded(held, told, pantry, words)
        data = {"image": eyes.standardized(seen), **read}
        if model.config.semantic:
            number = {kind: k for k, kind in enumerate(kinds)}
            data["label"] = torch.tensor([number.get(kind, -1) for kind in rows["class"]])
        twins = source(run).kind == "world" and run["batch"] % 2 == 0  # rows 2k and 2k + 1
        each = Together(data, 2 if twins and len(rows) % 2 == 0 else 1)
        with threads_of(run):
            history = self.fit(
                model,
                each,
                folder,
                run,
                batch_size=min(run["batch"] // each.many, len(each)),
                collate=dict,
                drop_last=True,
                weight_decay=0.3 if run["scale"] == "world" else 0.0,
                clip=5.0,
            )
        model.cpu().eval()
        note = dict(pantry=words_of(pantry), words=words_of(words), eyes=eyes.note())
        note["titles"], note["files"] = list(rows["title"]), names_of(rows)
        note["ingredients"] = [list(own) for own in rows["ingredients"]]
        points = recipe_points(model, read)
        saving.save(model, folder, **note, mean=eyes.mean, scale=eyes.scale, points=points)
        return history

    def load(self, folder: Path) -> tuple[recipes.RecipeEmbedding, Eyes, dict[str, Any]]:
        """A trained model, its eyes, and the collection that it has learned from."""
        return with_eyes(recipes.RecipeEmbedding, folder)

    @torch.no_grad()
    def evaluate(
        self, folder: Path, run: dict[str, Any], size: int | None = None
    ) -> dict[str, float]:
        """Unseen dishes look for their recipes among each other, and recipes for their dishes."""
        model, eyes, more = self.load(folder)
        rows, held, told = self.read(run, "test", size)
        if len(rows) < 2:
            if not len(rows):
                raise ValueError(none_kept("picture with a recipe"))
            raise ValueError("two dishes are the least to measure on: a recipe is told from others")
        pantry, words = vocabulary_of(more["pantry"]), vocabulary_of(more["words"])
        seen = eyes.standardized(seen_in(rows, encoder_of(eyes.name, eyes.layer)))
        dishes = torch.cat(
            [model.embed_picture(seen[p].float().to(device())) for p in batches(len(seen))]
        )
        points = recipe_points(model, encoded(held, told, pantry, words))
        out: dict[str, float] = {}
        ways = ("picture → recipe", "recipe → picture")
        for way, ranks in zip(ways, retrieval.both_ways(dishes.cpu(), points)):
            out[f"{way}, median rank"] = float(ranks.median)
            out[f"{way}, R@10"] = float(ranks.recall(10))
        out["R@10 by chance"] = min(1.0, 10 / len(rows))
        return out

    @torch.no_grad()
    def search(self, folder: Path, picture: str, k: int) -> list[tuple[float, str, list[str], str]]:
        """The k recipes of the collection that are nearest to a picture: the cosine, the title, the
        ingredients, and the file of its own picture (``""`` in the world)."""
        model, eyes, more = self.load(folder)
        shown = hub.picture(a_file(picture), eyes.pixels)
        seen = seen_in(shown[None], encoder_of(eyes.name, eyes.layer), cache=False)
        dish = model.embed_picture(eyes.standardized(seen).float().to(device())).cpu()
        cosine = (more["points"] @ dish[0]).topk(min(k, len(more["titles"])))
        return [
            (float(c), more["titles"][i], more["ingredients"][i], more["files"][i])
            for c, i in zip(cosine.values, cosine.indices.tolist())
        ]


#: Dishes that the world makes, if nobody says.
USUAL = {"train": 6000, "test": 1000}


def in_words(lines: Sequence[str]) -> list[str]:
    """The words of lines, without the numbers.

    >>> in_words(["4 ripe tomatoes", "200 g flour"])
    ['ripe', 'tomatoes', 'g', 'flour']
    """
    return [word for line in lines for word in tokenize(line) if not word[0].isdigit()]


def names_of(rows: Any) -> list[str]:
    """The files of a folder's pictures; the world's have none."""
    return list(rows["file"]) if "file" in rows.column_names else [""] * len(rows)


def encoded(
    held: Sequence[Sequence[str]],
    told: Sequence[Sequence[Sequence[str]]],
    pantry: Vocabulary,
    words: Vocabulary,
) -> dict[str, Tensor]:
    """Recipes as ids: ``ingredients`` (N, I) and ``instructions`` (N, S, W), 0 behind the last."""
    most = max(map(len, told))
    flat = [words.encode(step) for own in told for step in [*own, *[[]] * (most - len(own))]]
    return {
        "ingredients": pad([pantry.encode(own) for own in held], 0)[0],
        "instructions": pad(flat, 0)[0].unflatten(0, (len(told), most)),
    }


@torch.no_grad()
def recipe_points(model: recipes.RecipeEmbedding, read: dict[str, Tensor]) -> Tensor:
    """Where recipes lie on the sphere, (N, joint), on the CPU."""
    where = model.recipe.weight.device
    parts = []
    with cpu_threads(1):
        for part in batches(len(read["ingredients"]), 250):
            own = (read[name][part].to(where) for name in ("ingredients", "instructions"))
            parts.append(model.embed_recipe(*own).cpu())
    return torch.cat(parts)


class Together(torch.utils.data.Dataset):
    """Dishes, so many neighbours at a time: whichever is drawn, all of them come into the batch."""

    def __init__(self, rows: dict[str, Tensor], many: int) -> None:
        self.rows, self.many = rows, many

    def __len__(self) -> int:
        return len(self.rows["ingredients"]) // self.many

    def __getitems__(self, drawn: list[int]) -> dict[str, Tensor]:
        own = self.many * torch.tensor(drawn)[:, None] + torch.arange(self.many)
        out = {name: x[own.flatten()] for name, x in self.rows.items()}
        return {**out, "image": out["image"].float()}


def told_of(hit: tuple[float, str, list[str], str]) -> str:
    """A recipe that was found, in a line."""
    cosine, title, ingredients, file = hit
    return f"{cosine:.3f}  {title}: {'; '.join(ingredients)}" + (f"  ({file})" if file else "")
