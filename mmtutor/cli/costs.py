"""What a system costs at the papers' sizes, counted on a model without memory."""

from __future__ import annotations

import importlib

import torch

from mmtutor.kit.training import parameter_count

#: The model's class and the paper's settings; a vocabulary is 10,000 words, the text8 corpus has 71,000.
MODELS = {
    "joint_embedding": "JointEmbedding",
    "show_and_tell": "ShowAndTell",
    "show_attend_tell": "ShowAttendTell",
    "vqa": "VQA",
}
CARDS = (
    (8, "8 GB (a laptop's)"),
    (16, "T4, 16 GB (Colab)"),
    (24, "RTX 4090, 24 GB"),
    (80, "A100, 80 GB"),
)
WORDS = 71_000


def costs_of(system: str) -> dict[str, str]:
    """Weights, and the memory of training them without the batch, in words."""
    module = importlib.import_module(f"mmtutor.{system}")
    config = module.Config.paper()
    if system == "word2vec":
        weights = 2 * WORDS * config.dim
    else:
        with torch.device("meta"):
            weights = parameter_count(getattr(module, MODELS[system])(config))
    memory = 16 * weights / 1e9  # weights, gradients, two moments: 4 bytes each
    fits = next((name for size, name in CARDS if memory < 0.5 * size), "more than one card")
    return {
        "at paper size": f"{weights:,} weights, {memory:.2f} GB to train them",
        "fits": f"{fits}, with as much again for the batch",
    }
