"""Rows of ``ambience``: how the grounds of the world sound, with nothing on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmtutor.world import ambience, speech
from mmtutor.world._backgrounds import BACKGROUNDS
from mmtutor.world._dice import rng
from mmtutor.world._store import Builder
from mmtutor.world.rows.sounds import CLIP_SECONDS, SAMPLE_RATES

if TYPE_CHECKING:
    import datasets


def _build(split: str, indices: range, seed: int, sample_rate: int) -> dict[str, list]:
    """The columns of these takes: every run of eight has each ground once."""
    rows: dict[str, list] = {"wave": [], "sample_rate": [], "ground": [], "label": []}
    for index in indices:
        label = index % len(BACKGROUNDS)
        random = rng("ambience", split, seed, index)
        wave = ambience.perform(BACKGROUNDS[label], CLIP_SECONDS, sample_rate, random)
        rows["wave"].append(speech.to_int16(wave))
        rows["sample_rate"].append(sample_rate)
        rows["ground"].append(BACKGROUNDS[label])
        rows["label"].append(label)
    return rows


def _features(sample_rate: int) -> datasets.Features:
    import datasets

    wave = datasets.Sequence(datasets.Value("int16"), length=round(CLIP_SECONDS * sample_rate))
    return datasets.Features(
        {
            "wave": wave,
            "sample_rate": datasets.Value("int32"),
            "ground": datasets.Value("string"),
            "label": datasets.ClassLabel(names=list(BACKGROUNDS)),
        }
    )


DATASETS: dict[str, Builder] = {
    "ambience": Builder(
        "ambience",
        1,
        _build,
        _features,
        {"train": 2400, "test": 600},
        {"train": 100_000, "test": 20_000},
        "Two seconds of how one of the eight grounds sounds",
        options={"sample_rate": SAMPLE_RATES},
        chunk=200,
    )
}
