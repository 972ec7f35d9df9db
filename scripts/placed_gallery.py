"""What is drawn of sentences that tell size and side: python scripts/placed_gallery.py

Trains two models of chapter 11 (some ten minutes on one core), one run of each with seed 1: players
that read the sentence, and players that were also told where the thing stands. Writes
``book/figures/text_to_image_placed.webp``: the same eight sentences, one drawing of each, above a
real picture. The sentences of the last three name a thing and a ground that never met in training.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from mmtutor.experiments import text_to_image as centred
from mmtutor.experiments import text_to_image_placed as experiment
from mmtutor.page import plotting

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "book" / "figures" / "text_to_image_placed.webp"
#: (thing, size, side), each with the first such picture's ground.
SEEN = (
    ("dog", "small", "left"),
    ("house", "large", "right"),
    ("guitar", "large", "left"),
    ("ball", "small", "right"),
    ("car", "large", "left"),
)
UNSEEN = (("tree", "large", "right"), ("clock", "small", "left"), ("dog", "large", "right"))
ROWS, SEED = ("real", "sentence only", "told where"), 1


def first(rows: experiment.Placed, thing: str, size: str, side: str) -> int:
    """The first picture of such a thing."""
    fits = rows.thing == centred.NAMES.index(thing)
    fits &= rows.size == experiment.SIZES.index(size)
    fits &= rows.half == experiment.SIDES.index(f"on the {side}")
    return int(fits.nonzero()[0])


def main() -> None:
    pictures, sentences, titles = [], [], []
    for split, asked in (("test", SEEN), ("test_unseen_places", UNSEEN)):
        rows = experiment.placed(split, centred.TEST)
        for thing, size, side in asked:
            row = first(rows, thing, size, side)
            pictures.append(rows.pictures[row])
            ground = centred.GROUNDS[int(rows.ground[row])]
            titles.append(textwrap.fill(f"{thing}, {ground}, {size}, {side}", 14))
            sentences.append(rows.sentences[row, 0])
    asked = torch.nn.utils.rnn.pad_sequence(sentences, batch_first=True)
    columns = [torch.stack(pictures)]
    for name in (experiment.SAID, experiment.WHERE):
        model = experiment.train(SEED, name)
        codes = model.codes(len(asked), torch.Generator().manual_seed(1))
        columns.append(model.draw(asked, codes))
    plotting.style()
    figure, axes = plt.subplots(len(columns), len(asked), figsize=(6.4, 3.1), layout="none")
    for row, drawn, told in zip(axes, columns, ROWS, strict=True):
        for axis, picture in zip(row, drawn, strict=True):
            axis.imshow((picture / 2 + 0.5).clamp(0, 1).permute(1, 2, 0), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        row[0].set_ylabel(told, fontsize=7.5)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=7.5, pad=3)
    plt.subplots_adjust(left=0.05, right=1, bottom=0, top=0.84, wspace=0.04, hspace=0.04)
    figure.savefig(FILE, dpi=160, pil_kwargs={"quality": 85})


if __name__ == "__main__":
    main()
