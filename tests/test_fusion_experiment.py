"""What C01 and C03 are measured with: the compressor, the neighbours, the pairs, and what is kept back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmtutor.experiments import fusion as experiment


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sounds of each thing."""
    monkeypatch.setattr(experiment, "SOUNDS", {"train": 112, "test": 112})
    monkeypatch.setattr(experiment, "PORTRAITS", {"train": 2000, "test": 2000})
    monkeypatch.setattr(experiment, "load", experiment.load.__wrapped__)


def test_a_constant_packs_to_nothing_and_noise_does_not() -> None:
    noise = np.random.default_rng(0).bytes(20_000)
    assert experiment.packed(bytes(20_000)) < 200
    assert experiment.packed(noise) > 19_900


def test_neighbours_of_a_line_are_alike_and_those_of_noise_are_not() -> None:
    line, noise = np.arange(500.0)[None], np.random.default_rng(0).normal(size=(4, 5000))
    assert experiment.neighbours(line) == pytest.approx(1)
    assert abs(experiment.neighbours(noise)) < 0.03
    # rows are not joined: the end of one and the beginning of the next are no neighbours
    assert experiment.neighbours(np.array([[0.0, 0.0], [1.0, 1.0]])) == pytest.approx(1)


def test_a_pair_is_one_thing_and_nothing_is_used_twice(few: None) -> None:
    for split in ("train", "test"):
        portraits, sounds = experiment.load(split)
        assert list(portraits["name"]) == list(sounds["thing"])
        assert 60 < len(portraits) <= 112
        assert len(set(portraits["scene"])) == len(portraits)


def test_kept_sounds_have_pitches_of_their_own(few: None) -> None:
    _, sounds = experiment.load("train")
    back = experiment.kept_back(sounds).tolist()
    assert 0.15 < np.mean(back) < 0.5
    heard = list(zip(sounds["thing"], sounds["semitones"]))
    kept = {pair for pair, is_kept in zip(heard, back) if is_kept}
    assert kept
    assert kept.isdisjoint(pair for pair, is_kept in zip(heard, back) if not is_kept)


def test_a_sound_is_forty_bands_at_twelve_moments() -> None:
    t = np.arange(32_000) / 16_000
    tone = (8000 * np.sin(2 * np.pi * 440 * t)).astype(np.int16)
    tone[: len(tone) // 2] = 0
    x = experiment.hear(np.stack([tone, tone]))
    assert x.shape == (2, 480)
    assert torch.equal(x[0], x[1])
    moments = x[0].unflatten(0, (experiment.BANDS, experiment.MOMENTS))
    assert moments[:, -3].max() > moments[:, 2].max() + 20  # decibels: silence first, then the tone


class Says(torch.nn.Module):
    """A model whose scores are given."""

    def __init__(self, *answers: int) -> None:
        super().__init__()
        self.scores = 5 * torch.nn.functional.one_hot(torch.tensor(answers), 3).float()

    def forward(self, part: object) -> torch.Tensor:
        return self.scores


def test_what_is_spoilt_was_right_twice() -> None:
    models = {"picture": Says(0, 0, 1, 0), "sound": Says(0, 0, 0, 1), "late": Says(1, 0, 1, 1)}
    part = {"label": torch.zeros(4, dtype=torch.int64)}
    assert experiment.spoilt(models, part).tolist() == [True, False, False, False]


def test_two_models_apart_multiply_their_probabilities() -> None:
    models = {"picture": Says(0, 1), "sound": Says(0, 2)}
    models["sound"].scores[1, 2] = 9  # surer
    assert experiment.apart(models, {}).tolist() == [0, 2]
