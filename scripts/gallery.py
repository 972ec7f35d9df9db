"""What goes wrong in a game of two networks, and what it looks like: python scripts/gallery.py

Trains the models of chapter 11's gallery (some 15 minutes on one core), one run of each with seed 0,
and writes ``book/figures/text_to_image_failures.webp``: three sentences, four codes each.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from mmtutor.experiments import text_to_image as experiment
from mmtutor.page import plotting

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "book" / "figures" / "text_to_image_failures.webp"
MODELS = {
    "as in this chapter": lambda: experiment.train("with z", 0),
    "no wrong sentences, not augmented": lambda: experiment.changed(
        "no wrong sentences, not augmented", 0
    ),
    "without z": lambda: experiment.train("without z", 0),
    "mean square": lambda: experiment.regressor(0),
    "z not sought": lambda: experiment.changed("z not sought", 0),
    "not augmented": lambda: experiment.changed("not augmented", 0),
    "as the paper": lambda: experiment.changed("as the paper", 0),
}
ASKED = (("dog", "beach"), ("car", "snow"), ("house", "city"))
CODES = 4


def main() -> None:
    data = experiment.load().seen
    meanings = [
        experiment.NAMES.index(thing) * len(experiment.GROUNDS) + experiment.GROUNDS.index(ground)
        for thing, ground in ASKED
    ]
    rows = [int((data.meaning == meaning).nonzero()[0]) for meaning in meanings]
    asked = data.sentences[rows, 0].repeat_interleave(CODES, 0)
    plotting.style()
    figure, axes = plt.subplots(len(MODELS), 1, figsize=(5.6, len(MODELS) * 0.78), layout="none")
    for axis, (name, trained) in zip(axes, MODELS.items(), strict=True):
        model = trained()
        codes = model.codes(CODES, torch.Generator().manual_seed(1)).repeat(len(ASKED), 1)
        drawn = (model.draw(asked, codes) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
        axis.imshow(np.concatenate(list(drawn), axis=1), interpolation="nearest")
        axis.set_title(name, loc="left", pad=3)
        axis.axis("off")
        print(name, flush=True)
    plt.subplots_adjust(left=0, right=1, bottom=0, top=0.96, hspace=0.55)
    figure.savefig(FILE, dpi=160, pil_kwargs={"quality": 85})


if __name__ == "__main__":
    main()
