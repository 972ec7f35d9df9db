"""What the chapter on the cocktail party trains on its page is what its experiment trains: the same weights."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from bookkit import ROOT, training_cells

from mmtutor import cocktail_party as party
from mmtutor.cocktail_party import CocktailParty, Mixtures
from mmtutor.experiments import cocktail_party as experiment
from mmtutor.experiments._captioning import hand_over
from mmtutor.kit import training
from mmtutor.kit.runtime import cpu_threads
from mmtutor.page.tables import table

CHAPTER = ROOT / "book" / "16_cocktail_party.ipynb"


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> experiment.Clips:
    """Twenty clips of noise, and three steps."""
    g = torch.Generator().manual_seed(0)
    wave = (3000 * torch.randn(20, 16_000, generator=g)).short()
    face = 0.1 * torch.randn(20, 50, 16, 24, generator=g)
    who = torch.arange(20) % 5
    data = experiment.Clips(None, wave, face, face.mean(1), ("",) * 20, who)  # type: ignore[arg-type]
    monkeypatch.setattr(experiment, "load", lambda split: data)
    monkeypatch.setattr(experiment, "STEPS", 3)
    monkeypatch.setattr(experiment.fit, "__defaults__", (3,))
    monkeypatch.setattr(training, "fit", functools.partial(training.fit, progress=False))
    own = functools.cache(experiment.train.__wrapped__)
    own.__module__ = experiment.__name__
    monkeypatch.setattr(experiment, "train", own)
    return data


def on_the_page(seed: int, data: experiment.Clips) -> CocktailParty:
    space: dict[str, Any] = {
        "CocktailParty": CocktailParty,
        "Mixtures": Mixtures,
        "config": experiment.config("audio-visual"),
        "cpu_threads": cpu_threads,
        "data": data,
        "experiment": experiment,
        "functools": functools,
        "hand_over": hand_over,
        "party": party,
        "seed": seed,
        "table": table,
        "torch": torch,
        "training": training,
    }
    for source in training_cells(CHAPTER):
        exec(compile(source, "cell", "exec"), space)
    return space["model"]


def weights(model: CocktailParty) -> torch.Tensor:
    return torch.cat([x.detach().double().flatten() for x in model.state_dict().values()])


def test_the_page_trains_what_the_experiment_trains(few_steps: experiment.Clips) -> None:
    own, other = (weights(experiment.train("audio-visual", seed)) for seed in (3, 4))
    experiment.train.cache_clear()
    page = on_the_page(3, few_steps)
    assert torch.equal(own, weights(page))
    assert not torch.equal(own, other)
    assert experiment.train("audio-visual", 3) is page  # handed over


def test_the_recipe_is_told() -> None:
    """The cells that train name every setting of the experiment."""
    sources = "\n".join(training_cells(CHAPTER))
    for name in ("BATCH", "STEPS", "LR", "BETAS", "DECAY", "WARMUP", "CLIP"):
        assert f"experiment.{name}" in sources
