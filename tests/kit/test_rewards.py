"""Learning from one's own captions: the gradient by counting all captions, and what a judge's pay does."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mmtutor.kit import decoding, training
from mmtutor.kit.rewards import SelfCritical, advantages, as_captions, log_probabilities

PAD, BOS, EOS, UNK = decoding.PAD, decoding.BOS, decoding.EOS, decoding.UNK
CAT, DOG = 4, 5
V, LONGEST = 6, 2


class Pair(nn.Module):
    """Writes at most two words; the next one depends on the picture (two numbers) and the last word.

    ``noisy``: with dropout, which only training may hear.
    """

    def __init__(self, noisy: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.after = nn.Parameter(torch.randn(V, V))
        self.seen = nn.Parameter(torch.randn(2, V))
        self.dropout = nn.Dropout(noisy)
        self.modes: list[bool] = []

    def scores(self, features: Tensor, words: Tensor, place: int) -> Tensor:
        logits = self.dropout(features @ self.seen) + self.after[words]
        never = torch.zeros(V, dtype=logits.dtype)
        never[[PAD, BOS, UNK]] = -60.0
        if place >= LONGEST:
            never[EOS] = 60.0
        return logits + never

    def begin(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return features, torch.zeros(len(features), dtype=torch.long)

    def step(self, tokens: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        self.modes.append(self.training)
        return self.scores(memory, tokens, int(state[0])), state + 1

    def forward(self, features: Tensor, captions: Tensor) -> Tensor:
        self.modes.append(self.training)
        steps = range(captions.shape[1] - 1)
        return torch.stack([self.scores(features, captions[:, t], t) for t in steps], 1)

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": -log_probabilities(self, batch["features"], batch["captions"]).mean()}


EVERY = [words for n in range(LONGEST + 1) for words in itertools.product((CAT, DOG), repeat=n)]


def worth(words: tuple[int, ...]) -> float:
    """Some reward that has no slope: each caption its own."""
    return float(3 * words.count(CAT) - 2 * len(words) ** 2 + (words == (DOG, CAT)) * 5)


def judge(said: list[tuple[int, ...]], numbers: Tensor) -> Tensor:
    return torch.tensor([worth(words) for words in said])


def expected(model: Pair, picture: Tensor) -> tuple[Tensor, Tensor]:
    """The expected reward of a picture (2,), by counting; and the sum of all probabilities."""
    said = [decoding.Hypothesis(words, 0.0, 0.0, True) for words in EVERY]
    log_p = log_probabilities(model, picture.expand(len(EVERY), -1), as_captions(said))
    return (log_p.exp() * judge(EVERY, torch.zeros(len(EVERY))).to(log_p)).sum(), log_p.exp().sum()


# --- the estimate ---------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [2, 3, 5])
def test_the_mean_of_many_draws_is_the_exact_gradient(samples: int) -> None:
    model, picture = Pair().double(), torch.tensor([0.7, -0.4], dtype=torch.float64)
    j, total = expected(model, picture)
    assert total.item() == pytest.approx(1, abs=1e-9)
    weights = list(model.parameters())
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(-j, weights)])
    torch.manual_seed(1)
    trainer, found, paid = SelfCritical(model, judge, samples=samples), [], []
    for _ in range(60):
        own, mean = trainer.own(picture.expand(200, -1), torch.zeros(200, dtype=torch.long))
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(own, weights)]))
        paid.append(float(mean))
    found = torch.stack(found)
    error = found.std(0) / math.sqrt(len(found))
    moving = error > 1e-9
    assert moving.sum() > 10
    assert ((found.mean(0) - exact)[moving].abs() < 4.5 * error[moving]).all()
    assert ((found.mean(0) - exact)[~moving].abs() < 1e-6).all()
    assert error[moving].max() < 0.05 * exact.abs().max()  # so that a wrong one would be found
    assert sum(paid) / len(paid) == pytest.approx(j.item(), abs=0.1)


@given(
    st.lists(
        st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3), min_size=1, max_size=4
    ),
    st.floats(-50, 50, width=32),
)
def test_advantages_compare_with_the_others(rows: list[list[float]], more: float) -> None:
    r = torch.tensor(rows, dtype=torch.float64)
    a = advantages(r)
    for own, found in zip(rows, a.tolist(), strict=True):
        for k, value in enumerate(found):
            others = [x for i, x in enumerate(own) if i != k]
            assert value == pytest.approx(own[k] - sum(others) / 2, abs=1e-9)
    assert a.sum(1).abs().max() < 1e-9
    assert torch.allclose(advantages(r + more), a, atol=1e-9)  # who pays all more teaches nothing


@pytest.mark.parametrize("shape", [(4,), (4, 1), (2, 2, 2)])
def test_one_caption_has_nothing_to_be_compared_with(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least two captions"):
        advantages(torch.zeros(shape))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        advantages(torch.tensor([[0.0, bad]]))


def test_captions_as_the_model_reads_them() -> None:
    said = [
        decoding.Hypothesis((CAT, DOG), 0.0, 0.0, True),
        decoding.Hypothesis((), 0.0, 0.0, True),
        decoding.Hypothesis((DOG, DOG), 0.0, 0.0, False),  # cut off: no end
    ]
    assert as_captions(said).tolist() == [
        [BOS, CAT, DOG, EOS],
        [BOS, EOS, PAD, PAD],
        [BOS, DOG, DOG, PAD],
    ]
    assert as_captions(said[1:2]).tolist() == [[BOS, EOS]]
    cut = decoding.Hypothesis((), 0.0, 0.0, False)
    assert as_captions([cut]).tolist() == [[BOS, PAD]]


def test_log_probabilities_are_those_of_the_search() -> None:
    model, features = Pair().eval(), torch.randn(3, 2, generator=torch.Generator().manual_seed(2))
    said = [one for own in decoding.sample(model, features, n=4, seed=3) for one in own]
    found = log_probabilities(model, features.repeat_interleave(4, 0), as_captions(said))
    assert found.tolist() == pytest.approx([one.logprob for one in said], abs=1e-4)


# --- training -------------------------------------------------------------------------------------


def data(n: int = 32) -> dict[str, Tensor]:
    features = torch.randn(n, 2, generator=torch.Generator().manual_seed(4))
    captions = torch.tensor([[BOS, CAT, EOS, PAD], [BOS, DOG, CAT, EOS]]).repeat(n // 2, 1)
    return {"features": features, "captions": captions, "numbers": torch.arange(n)}


def test_the_loss_is_the_given_one_less_the_weighted_reward() -> None:
    model, batch = Pair(), data()
    own = model.loss(batch)["loss"]
    for weight in (0.0, 0.5, 2.0):
        trainer = SelfCritical(model, judge, weight=weight)
        torch.manual_seed(5)
        terms = trainer.loss(batch)
        torch.manual_seed(5)
        paid, mean = trainer.own(batch["features"], batch["numbers"])
        assert torch.equal(terms["loss"], own + weight * paid)
        assert torch.equal(terms["given"], own)
        assert torch.equal(terms["reward"], mean)
        assert not terms["given"].requires_grad


def test_the_judge_is_asked_about_the_right_pictures() -> None:
    asked: list[list[int]] = []

    def remember(said: list[tuple[int, ...]], numbers: Tensor) -> Tensor:
        asked.append(numbers.tolist())
        assert len(said) == len(numbers)
        return torch.zeros(len(said))

    features = torch.tensor([[50.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    SelfCritical(Pair(), remember, samples=2).own(features, torch.tensor([7, 3, 7]))
    assert asked == [[7, 7, 3, 3, 7, 7]]


def test_where_all_are_paid_alike_nothing_is_learnt() -> None:
    model, batch = Pair(), data()
    trainer = SelfCritical(model, lambda said, numbers: torch.full((len(said),), 3.0), weight=10.0)
    terms = trainer.loss(batch)
    terms["loss"].backward()
    found = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model.loss(batch)["loss"].backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(found, model.parameters(), strict=True))
    assert float(terms["reward"]) == 3.0


def test_it_writes_and_scores_as_in_use_and_comes_back_to_training() -> None:
    model = Pair(noisy=0.5).train()
    torch.manual_seed(6)
    torch.randint(2**31, ())  # the seed of the draws is all that it takes of the run's dice
    expected_dice = torch.get_rng_state()
    torch.manual_seed(6)
    SelfCritical(model, judge).own(data()["features"], data()["numbers"])
    assert torch.equal(torch.get_rng_state(), expected_dice)
    assert model.training
    assert len(model.modes) > 2
    assert not any(model.modes)


def test_a_judge_that_is_a_network_is_not_trained() -> None:
    network = nn.Linear(1, 1)

    def likes(said: list[tuple[int, ...]], numbers: Tensor) -> Tensor:
        return network(torch.tensor([[float(len(words))] for words in said]))[:, 0]

    model = Pair()
    terms = SelfCritical(model, likes, weight=5.0).loss(data())
    assert not terms["reward"].requires_grad
    terms["loss"].backward()
    assert network.weight.grad is None
    assert model.after.grad is not None


def test_a_judge_that_fails_leaves_the_model_in_training() -> None:
    def fails(said: list[tuple[int, ...]], numbers: Tensor) -> Tensor:
        raise RuntimeError("no judge")

    model = Pair().train()
    with pytest.raises(RuntimeError, match="no judge"):
        SelfCritical(model, fails).loss(data())
    assert model.training


def run(seed: int = 0, weight: float = 1.0, **how: object) -> tuple[Pair, training.History]:
    model = Pair()
    trainer = SelfCritical(model, judge, weight=weight, samples=4)
    how = {"epochs": 12, "batch_size": 16, "lr": 5e-2, "progress": False, **how}
    return model, training.fit(trainer, data(), seed=seed, log_every=1, **how)


def test_pay_makes_what_is_paid_for_likely() -> None:
    """Nobody is given the caption *dog*; the judge pays for it alone."""

    def only_dog(said: list[tuple[int, ...]], numbers: Tensor) -> Tensor:
        return torch.tensor([float(words == (DOG,)) for words in said])

    likely = {}
    for weight in (0.0, 20.0):
        model, batch = Pair(), data()
        trainer = SelfCritical(model, only_dog, weight=weight)
        training.fit(trainer, batch, epochs=8, batch_size=16, lr=2e-1, progress=False)
        dog = torch.tensor([[BOS, DOG, EOS]]).repeat(32, 1)
        with torch.no_grad():
            likely[weight] = log_probabilities(model, batch["features"], dog).exp().mean().item()
    assert likely[0.0] < 0.2
    assert likely[20.0] > 0.8


def test_the_same_seed_gives_the_same_model() -> None:
    first, again, other = run(0)[0], run(0)[0], run(1)[0]
    assert torch.equal(first.after, again.after)
    assert not torch.equal(first.after, other.after)


def test_a_stopped_run_goes_on_exactly(tmp_path) -> None:
    whole, _ = run(epochs=6)
    model = Pair()

    class Stop(Exception):
        pass

    def stops(said: list[tuple[int, ...]], numbers: Tensor) -> Tensor:
        stops.calls += 1
        if stops.calls > 7:
            raise Stop
        return judge(said, numbers)

    stops.calls = 0
    how = dict(epochs=6, batch_size=16, lr=5e-2, progress=False, log_every=1, seed=0)
    how |= dict(checkpoint=tmp_path / "stopped.pt", checkpoint_every=2)
    with pytest.raises(Stop):
        training.fit(SelfCritical(model, stops, weight=1.0, samples=4), data(), **how)
    after = Pair()
    training.fit(SelfCritical(after, judge, weight=1.0, samples=4), data(), **how)
    assert torch.equal(after.after, whole.after)
    assert torch.equal(after.seen, whole.seen)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"samples": 1}, "samples must be at least 2"),
        ({"weight": -1.0}, "not negative"),
        ({"weight": math.nan}, "finite"),
    ],
)
def test_settings_that_make_no_sense_are_refused(how: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SelfCritical(Pair(), judge, **how)


def test_a_batch_without_numbers_is_refused() -> None:
    batch = data()
    del batch["numbers"]
    with pytest.raises(ValueError, match="numbers"):
        SelfCritical(Pair(), judge).loss(batch)
    with pytest.raises(ValueError, match="numbers"):
        SelfCritical(Pair(), judge).loss({**batch, "numbers": torch.arange(3)})


def test_a_judge_that_returns_too_few_is_told_so() -> None:
    with pytest.raises(ValueError, match=r"must be \(128,\), got \(32,\)"):
        SelfCritical(Pair(), lambda said, numbers: torch.zeros(32)).loss(data())
