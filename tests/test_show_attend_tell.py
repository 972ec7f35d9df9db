"""Show, Attend and Tell: against a slow loop written from the paper's equations, and REINFORCE against counting every way to look."""

import copy
import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmtutor.kit import decoding, training
from mmtutor.kit.text import caption_batches
from mmtutor.show_attend_tell import (
    MODES,
    QUERIES,
    SCORES,
    STARTS,
    Config,
    ShowAttendTell,
    longest_first,
)

BOS, EOS, PAD = 1, 2, 0
SMALL = Config(
    vocabulary=9,
    annotation=3,
    grid=(2, 3),
    embedding=4,
    hidden=5,
    attention=6,
    start="mean",
    prepare=0,
)
WAYS = list(itertools.product(SCORES, QUERIES, (0, 7)))  # score, query, prepare
#: All that binds words to places, but for naming, which needs a batch with cells.
BINDS = dict(places="product", prepare=7, beside=2, point=3, cross_off=True, word_asks=True)
NAMES = dict(BINDS, naming=0.5, names=(4, 6, 8))
both_kinds = pytest.mark.parametrize("binds", [{}, BINDS], ids=["paper", "bound"])


def build(
    seed: int = 0, scale: float = 2.0, dtype: torch.dtype = torch.float64, **changes: object
) -> ShowAttendTell:
    """A model whose places differ: at the usual start all weights are nearly equal and many mistakes would not show."""
    torch.manual_seed(seed)
    model = ShowAttendTell(replace(SMALL, **changes)).to(dtype)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(scale)
        if model.config.prepare:
            model.prepare.places.normal_()
    return model


def pictures(
    n: int, config: Config = SMALL, seed: int = 1, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, config.annotation, *config.grid, generator=generator, dtype=dtype)


#: Captions of three lengths; the middle one is empty.
CAPTIONS = torch.tensor([[1, 4, 5, 6, 2], [1, 2, 0, 0, 0], [1, 8, 7, 2, 0]])


def slow(
    model: ShowAttendTell,
    picture: torch.Tensor,
    caption: list[int],
    places: list[int | None] | None = None,
):
    """One caption of one picture (C, H, W), place by place and step by step, from the equations of the paper.

    ``places`` says for each step where to look; ``None`` is the mean of all places.
    Returns the scores (T - 1, K) and the weights (T - 1, L).
    """
    return slow_with_points(model, picture, caption, places)[:2]


def slow_with_points(
    model: ShowAttendTell,
    picture: torch.Tensor,
    caption: list[int],
    places: list[int | None] | None = None,
):
    """As :func:`slow`, with what binds words to places from the formulas of kit/pointing.py and of the
    settings; returns where each word was found, too, (T - 1, L)."""
    w, c = dict(model.named_parameters()), model.config
    annotations, contents = [], []
    for row in range(c.grid[0]):  # places are numbered row by row
        for column in range(c.grid[1]):
            a, n = picture[:, row, column], len(annotations)
            contents.append(a)
            if c.prepare:
                a = w["prepare.content.weight"] @ a + w["prepare.content.bias"]
                if c.places == "sum":
                    a = a + w["prepare.places"][n]
                    a = torch.maximum(a, torch.zeros_like(a))
                else:
                    a = torch.tanh(a * (0.3 + w["prepare.places"][n]))
            if c.beside:
                a = torch.cat([a, w["prepare.beside"][n]])
            annotations.append(a)
    mean = sum(annotations) / len(annotations)
    h = cell = torch.zeros(c.hidden, dtype=mean.dtype)
    if "first.weight" in w:
        start = w["first.weight"] @ mean + w["first.bias"]
        h, cell = torch.tanh(start[: c.hidden]), torch.tanh(start[c.hidden :])
    logits, weights, points = [], [], []
    pointed = [torch.zeros((), dtype=mean.dtype) for _ in annotations]  # summed up, place by place
    for t in range(len(caption) - 1):
        word = w["words.weight"][caption[t]]
        found = None
        if c.point:
            asks = w["pointer.query.weight"] @ word
            above = []
            for content in contents:
                k = w["pointer.key.weight"] @ content + w["pointer.key.bias"]
                s = w["pointer.log_scale"].exp()
                above.append((s * (k * asks).sum() / math.sqrt(c.point)).exp())
            nothing = (w["pointer.nothing.weight"][0] * word).sum() + w["pointer.nothing.bias"][0]
            pi = [x / (nothing.exp() + sum(above)) for x in above]
            pointed = [x + p for x, p in zip(pointed, pi)]
            found = sum(p * a for p, a in zip(pi, annotations))
            points.append(torch.stack(pi))
        query = torch.zeros(c.attention, dtype=word.dtype)
        if c.query in ("state", "both"):
            query = query + w["ask_state.weight"] @ h  # h of the step before
        if c.query in ("pooled", "both"):
            query = query + w["ask_pooled.weight"] @ mean
        if c.word_asks:
            query = query + w["ask_word.weight"] @ word
        scores = []
        for a, often in zip(annotations, pointed):
            key = w["key.weight"] @ a + w["key.bias"]
            if c.cross_off:
                key = key + w["mark_said.weight"][:, 0] * torch.clamp(often, max=2.0)
            if c.score == "additive":
                scores.append((w["score.weight"][0] * torch.tanh(key + query)).sum())
            else:
                scores.append((key * query).sum() / math.sqrt(c.attention))
        powers = [(e - max(scores).detach()).exp() for e in scores]
        alpha = [p / sum(powers) for p in powers]
        place = places[t] if places is not None else None
        z = sum(x * a for x, a in zip(alpha, annotations)) if place is None else annotations[place]
        beta = 1 / (1 + (-(w["gate.weight"][0] @ h + w["gate.bias"][0])).exp())
        z = beta * z
        n, state = c.hidden, w["state_gates.weight"]
        total = (
            w["word_gates.weight"] @ word
            + w["word_gates.bias"]
            + state[:, :n] @ h
            + state[:, n:] @ z
        )
        if c.point:
            total = total + w["found_gates.weight"] @ found
        i, f, g, o = (total[k * n : (k + 1) * n] for k in range(4))
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        h = o.sigmoid() * cell.tanh()
        deep = word + w["out_h.weight"] @ h + w["out_h.bias"] + w["out_z.weight"] @ z
        if c.point:
            deep = deep + w["out_found.weight"] @ found
        logits.append(w["output.weight"] @ deep.tanh() + w["output.bias"])
        weights.append(torch.stack(alpha))
    return torch.stack(logits), torch.stack(weights), torch.stack(points) if points else None


def log_p(logits: torch.Tensor, caption: list[int]) -> torch.Tensor:
    """The log-probability of a caption without padding, word by word."""
    return sum(logits[t, word] - logits[t].exp().sum().log() for t, word in enumerate(caption[1:]))


def gradients(value: torch.Tensor, model: nn.Module) -> torch.Tensor:
    """The gradient in all weights, as one vector."""
    found = torch.autograd.grad(value, list(model.parameters()), materialize_grads=True)
    return torch.cat([g.flatten() for g in found])


def unpadded(captions: torch.Tensor) -> list[list[int]]:
    return [[i for i in row if i != PAD] for row in captions.tolist()]


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-10) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance)


# --- sizes ----------------------------------------------------------------------------------------


def parts(model: ShowAttendTell) -> dict[str, int]:
    """Weights of the parts, named as in the count of the authors' network."""
    names = {
        "embedding": ["words"],
        "init": ["first"],
        "lstm": ["word_gates", "state_gates"],
        "attention": ["key", "ask_state", "score"],
        "gate": ["gate"],
        "readout": ["out_h", "out_z"],
        "output": ["output"],
    }
    counts = {
        part: sum(training.parameter_count(getattr(model, n)) for n in ns)
        for part, ns in names.items()
    }
    assert sum(counts.values()) == training.parameter_count(model)  # no weight is forgotten
    return counts


def authors(n: int, m: int, d: int, k: int, layers: int) -> dict[str, int]:
    """The authors' network, part by part, from their equations; ``layers`` of attention and of the initial state."""
    extra = (layers - 1) * (d * d + d)  # a layer on the annotations, and one on their mean
    return {
        "embedding": k * m,
        "init": extra + 2 * (d * n + n),
        "lstm": (m + n + d) * 4 * n + 4 * n,
        "attention": extra + (d * d + d) + n * d + d + 1,  # W_c with b, W_d, U with c
        "gate": n + 1,
        "readout": (n * m + m) + (d * m + m),  # L_h and L_z, each with a bias
        "output": m * k + k,
    }


def test_parameters_match_the_authors_part_by_part():
    assert (
        sum(authors(1800, 512, 512, 10_000, layers=2).values()) == 35_333_450
    )  # their script's choice for COCO
    single = authors(512, 512, 512, 10_000, layers=1)
    assert sum(single.values()) == 14_974_226
    with torch.device("meta"):
        ours = parts(ShowAttendTell(Config.paper(hidden=512)))
    # One number less in the attention: the score's bias, which the softmax takes out. One vector less in the output: the sum of
    # two biases is one bias.
    assert {k: single[k] - ours[k] for k in ours if single[k] != ours[k]} == {
        "attention": 1,
        "readout": 512,
    }
    assert sum(ours.values()) == 14_974_226 - 1 - 512


def test_paper_scale_sizes():
    config = Config.paper()
    assert (config.grid[0] * config.grid[1], config.annotation) == (196, 512)
    with torch.device("meta"):
        model = ShowAttendTell(config)
        written = model.write(torch.empty(2, 512, 14, 14), torch.empty(2, 12, dtype=torch.long))
        memory, state = model.begin(torch.empty(2, 512, 14, 14))
    assert written.logits.shape == (2, 11, 10_000)
    assert written.log_weights.shape == (2, 11, 196)
    assert memory.annotations.shape == (2, 196, 512)
    assert memory.keys.shape == (2, 196, 512)
    assert state.h.shape == state.c.shape == (2, 1800)
    assert model.gate.weight.shape == (1, 1800)  # a scalar for each step, not a vector
    assert model.output.weight.shape == (10_000, 512)
    # two layers less than the authors' (init, attention), the score's bias and one bias of the output
    assert sum(parts(model).values()) == 35_333_450 - 2 * (512 * 512 + 512) - 1 - 512


def test_the_states_matrix_starts_orthogonal():
    model = ShowAttendTell(SMALL)
    w = model.state_gates.weight[:, : SMALL.hidden].detach()  # (4n, n)
    assert close(w.T @ w, torch.eye(SMALL.hidden), 1e-5)


# --- the equations --------------------------------------------------------------------------------


@pytest.mark.parametrize(("score", "query", "prepare"), WAYS)
@pytest.mark.parametrize("mode", MODES)
def test_forward_equals_the_slow_loop(mode, score, query, prepare):
    model = build(mode=mode, score=score, query=query, prepare=prepare)
    x = pictures(3)
    places = torch.tensor([[5, 0, 2, 3], [1, 1, 1, 1], [4, 4, 0, 2]]) if mode == "hard" else None
    written = model.write(x, CAPTIONS, places)
    assert (
        written.log_weights.exp().amax(-1) < 0.999
    ).all()  # not all on one place: a mean is a mean
    for b, caption in enumerate(unpadded(CAPTIONS)):
        logits, weights = slow(model, x[b], caption, None if places is None else places[b].tolist())
        n = len(caption) - 1
        assert close(written.logits[b, :n], logits)
        assert close(written.log_weights[b, :n].exp(), weights)


@pytest.mark.parametrize("mode", MODES)
def test_a_start_from_zero_knows_nothing_of_the_picture(mode):
    model, x = build(mode=mode, start="zero").eval(), pictures(3)
    assert model.first is None
    _, state = model.begin(x)
    assert not any(part.any() for part in state)
    written = model.write(x, CAPTIONS)
    places = None if mode == "soft" else written.draws[0].tolist()
    logits, weights = slow(model, x[0], CAPTIONS[0].tolist(), places)
    assert close(written.logits[0], logits)
    assert close(written.log_weights[0].exp(), weights)


@pytest.mark.parametrize(("score", "query"), itertools.product(SCORES, QUERIES))
def test_what_asks_is_what_the_query_says(score, query):
    """Another word changes where the model looks next if the state asks, and does not if only the map asks."""
    model = build(score=score, query=query)
    other = CAPTIONS.clone()
    other[0, 1] = 7
    one, two = (model.weights(pictures(3), c)[0] for c in (CAPTIONS, other))
    assert close(one[:2], two[:2])  # the weights of a step come from the state before it
    assert close(one, two) == (query == "pooled")


@pytest.mark.parametrize(("score", "query"), itertools.product(SCORES, QUERIES))
@settings(max_examples=12, deadline=None)
@given(scale=st.floats(0, 1e3), seed=st.integers(0, 1000))
def test_weights_are_a_distribution(score, query, scale, seed):
    model = build(seed, score=score, query=query)
    x = pictures(3, seed=seed) * scale
    alpha = model.weights(x, CAPTIONS)
    assert alpha.shape == (3, 4, 6)
    assert ((alpha >= 0) & (alpha <= 1)).all()
    assert (alpha.sum(-1) - 1).abs().max() < 1e-9
    assert torch.equal(alpha, model.weights(x, CAPTIONS))


@pytest.mark.parametrize("score", SCORES)
@both_kinds
def test_weights_are_the_same_without_gradients(score, binds):
    """Without gradients pictures are scored a few at a time; 19 is no multiple of anything."""
    model = build(score=score, query="both", **binds)
    x, captions = pictures(19), torch.randint(3, 9, (19, 4))
    captions[:, 0] = BOS
    with torch.no_grad():
        alpha = model.weights(x, captions)
    assert close(alpha, model.weights(x, captions))


def test_keys_are_computed_once():
    model, calls = build(), []
    model.key.register_forward_hook(lambda *args: calls.append(1))
    model.loss({"features": pictures(3), "captions": CAPTIONS})
    assert len(calls) == 1


def test_soft_gradient_against_finite_differences():
    model = build(doubly_stochastic=0.5, query="both", prepare=4)
    names, weights = zip(*((n, p.detach().requires_grad_()) for n, p in model.named_parameters()))
    captions = CAPTIONS[[0, 2]]

    def loss(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(
            _Loss(model), {f"model.{n}": v for n, v in zip(names, values)}, (x, captions)
        )

    # random directions in place of each weight on its own
    assert torch.autograd.gradcheck(loss, (pictures(2).requires_grad_(), *weights), fast_mode=True)
    assert torch.autograd.gradcheck(
        lambda x: model.weights(x, captions), (pictures(2).requires_grad_(),)
    )


class _Loss(nn.Module):
    def __init__(self, model: ShowAttendTell) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor, captions: torch.Tensor) -> torch.Tensor:
        return self.model.loss({"features": x, "captions": captions})["loss"]


# --- hard attention: where it looks ---------------------------------------------------------------


@pytest.mark.parametrize("score", SCORES)
@both_kinds
def test_hard_in_use_looks_at_the_most_probable_place(score, binds):
    model = build(mode="hard", score=score, **binds).eval()
    x = pictures(3)
    written = model.write(x, CAPTIONS)
    assert torch.equal(written.draws, written.log_weights.argmax(-1))
    for b, caption in enumerate(unpadded(CAPTIONS)):
        logits, weights = slow(model, x[b], caption, written.draws[b].tolist())
        assert close(written.logits[b, : len(logits)], logits)
        assert weights.argmax(-1).tolist() == written.draws[b, : len(weights)].tolist()
    assert torch.equal(written.logits, model(x, CAPTIONS))  # no dice


def test_soft_equals_hard_when_all_weight_is_on_one_place():
    soft = build()
    with torch.no_grad():
        soft.score.weight.mul_(1e5)
    hard = build(mode="hard", expected=0.0)
    hard.load_state_dict(soft.state_dict())
    x = pictures(3)
    alpha = soft.weights(x, CAPTIONS)
    assert alpha[CAPTIONS[:, 1:] != PAD].amax(-1).min() > 1 - 1e-12
    for mode in (True, False):  # where there is no choice, a draw is no surprise
        assert close(soft.train(mode)(x, CAPTIONS), hard.train(mode)(x, CAPTIONS))


def test_hard_differs_from_soft_otherwise():
    soft, hard = build(), build(mode="hard").eval()
    assert not close(soft(pictures(3), CAPTIONS), hard(pictures(3), CAPTIONS), 1e-3)


def test_draws_follow_the_weights_and_their_mean_tends_to_the_soft_context():
    model, n = build(mode="hard"), 20_000
    memory, state = model.begin(pictures(1))
    log_alpha = model.attend(state.h, memory).detach()
    alpha, a = log_alpha[0].exp(), memory.annotations[0].detach()
    torch.manual_seed(3)
    places = model.draw(log_alpha.expand(n, -1))
    share = torch.bincount(places, minlength=6) / n
    assert ((share - alpha).abs() < 4.5 * (alpha * (1 - alpha) / n).sqrt()).all()
    one_hot = nn.functional.one_hot(places, 6).to(a.dtype)
    seen = model.look(
        log_alpha.expand(n, -1), type(memory)(*(m.expand(n, *m.shape[1:]) for m in memory)), one_hot
    )
    assert torch.equal(seen, a[places])
    soft = model.look(log_alpha, memory, None)[0]
    assert close(soft, sum(alpha[i] * a[i] for i in range(6)))
    spread = sum(alpha[i] * (a[i] - soft) ** 2 for i in range(6))  # variance of one draw
    assert ((seen.mean(0) - soft).abs() < 4.5 * (spread / n).sqrt()).all()


def test_expected_decides_how_many_captions_see_the_mean():
    x, captions = pictures(1).expand(2000, -1, -1, -1), CAPTIONS[:1].expand(2000, -1)
    for expected in (0.0, 0.3, 1.0):
        model = build(mode="hard", expected=expected)
        torch.manual_seed(0)
        draws = model.write(x, captions).draws
        mean = (draws < 0).all(1)
        assert torch.equal(mean, (draws < 0).any(1))  # all steps of a caption, or none
        assert abs(float(mean.double().mean()) - expected) <= 4.5 * math.sqrt(
            expected * (1 - expected) / 2000
        )


# --- the losses, by hand --------------------------------------------------------------------------


@pytest.mark.parametrize(("penalty", "price"), [(0.0, 0.0), (0.7, 0.0), (0.0, 0.4), (0.7, 0.4)])
@both_kinds
def test_soft_loss_by_hand(penalty, price, binds):
    model, x = build(doubly_stochastic=penalty, hedging=price, **binds), pictures(3)
    total, words = 0.0, 0
    for b, caption in enumerate(unpadded(CAPTIONS)):
        logits, alpha = slow(model, x[b], caption)
        total -= log_p(logits, caption)  # a sum over the words
        words += len(caption) - 1
        if b == 1:
            assert len(alpha) == 1  # only <eos>: three steps of padding that must not count
        for i in range(6):
            looked = 0.0
            for t in range(len(alpha)):
                looked = looked + alpha[t][i]
            total = total + penalty * (1 - looked) ** 2
        for row in alpha:
            total = total - price * sum(a * a.log() for a in row)
    terms = model.loss({"features": x, "captions": CAPTIONS})
    assert close(terms["loss"], total / 3)  # mean over captions
    assert close(gradients(terms["loss"], model), gradients(total / 3, model))
    if not penalty and not price:
        total = total.detach()
        assert terms["per_word"].item() == pytest.approx(float(total) / words)


def drawn_batch(
    model: ShowAttendTell, seed: int, copies: int = 1
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """A batch, and where hard attention looks in it after ``torch.manual_seed(seed)``."""
    batch = {
        "features": pictures(3).repeat(copies, 1, 1, 1),
        "captions": CAPTIONS.repeat(copies, 1),
    }
    torch.manual_seed(seed)
    return batch, model.write(batch["features"], batch["captions"]).draws


def hard_by_hand(
    model: ShowAttendTell,
    batch: dict[str, torch.Tensor],
    draws: torch.Tensor,
    baseline: float | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss whose slope is the paper's hard gradient with the sign turned, and the mean reward."""
    c, nlls, log_ss, entropies = model.config, [], [], []
    for x, caption, places in zip(batch["features"], unpadded(batch["captions"]), draws.tolist()):
        logits, alpha = slow(model, x, caption, [None if s < 0 else s for s in places])
        nlls.append(-log_p(logits, caption))
        log_ss.append(
            sum(alpha[t, s].log() if s >= 0 else 0 for t, s in enumerate(places[: len(alpha)]))
        )
        entropies.append(-sum((a * a.log()).sum() for a in alpha))
    rewards = [-float(nll.detach()) for nll in nlls]  # numbers: no gradient can flow
    mean = sum(rewards) / len(rewards)
    b = mean if baseline is None else baseline
    terms = [
        nll - c.reinforce * (reward - b) * log_s - c.entropy * entropy
        for nll, reward, log_s, entropy in zip(nlls, rewards, log_ss, entropies)
    ]
    return sum(terms) / len(terms), torch.tensor(mean, dtype=torch.float64)


@pytest.mark.parametrize("expected", [0.0, 0.5])
@pytest.mark.parametrize("baseline", [None, -1.5])
@both_kinds
def test_hard_loss_and_gradient_by_hand(expected, baseline, binds):
    model = build(mode="hard", expected=expected, reinforce=0.8, entropy=0.3, **binds)
    if baseline is not None:
        model.baseline.fill_(baseline)
    batch, draws = drawn_batch(model, seed=0, copies=3)
    if expected:
        assert {True, False} == set((draws[:, 0] < 0).tolist())  # both kinds are there
    wanted, reward = hard_by_hand(model, batch, draws, baseline)
    torch.manual_seed(0)
    terms = model.loss(batch)
    assert close(terms["loss"], wanted)
    assert close(gradients(terms["loss"], model), gradients(wanted, model))
    assert close(terms["nll"], -reward)
    assert not any(terms[name].requires_grad for name in ("nll", "entropy", "per_word"))


def test_entropy_by_hand():
    model, x = build(mode="hard").eval(), pictures(3)
    total = 0.0
    for b, caption in enumerate(unpadded(CAPTIONS)):
        _, alpha = slow(model, x[b], caption, model.write(x, CAPTIONS).draws[b].tolist())
        total -= sum(a * math.log(a) for row in alpha.tolist() for a in row)
    assert model.loss({"features": x, "captions": CAPTIONS})["entropy"].item() == pytest.approx(
        total / 3
    )


@both_kinds
def test_with_the_mean_always_hard_is_soft_with_the_entropy(binds):
    soft = build(**binds)
    hard = build(mode="hard", expected=1.0, entropy=0.4, **binds)
    batch = {"features": pictures(3), "captions": CAPTIONS}
    log_alpha = soft.write(pictures(3), CAPTIONS).log_weights
    valid = (CAPTIONS[:, 1:] != PAD)[:, :, None]
    entropy = -(log_alpha.exp() * log_alpha * valid).sum() / 3
    wanted = gradients(soft.loss(batch)["loss"] - 0.4 * entropy, soft)
    assert close(gradients(hard.loss(batch)["loss"], hard), wanted)


# --- the baseline ---------------------------------------------------------------------------------


def test_baseline_is_a_moving_average_that_starts_at_the_first_batch():
    model, means = build(mode="hard"), []
    assert model.baseline.isnan()
    for seed in range(4):
        batch, draws = drawn_batch(model, seed)
        _, reward = hard_by_hand(model, batch, draws, 0.0)
        torch.manual_seed(seed)
        model.loss(batch)
        means.append(float(reward))
        expected = means[0]
        for r in means[1:]:
            expected = 0.9 * expected + 0.1 * r
        assert model.baseline.item() == pytest.approx(expected)
    assert len({round(m, 6) for m in means}) == 4  # the draws differ, or nothing was tested
    before = model.baseline.clone()
    model.eval().loss(batch)
    assert torch.equal(model.baseline, before)  # an evaluation leaves no trace
    other = build(seed=5, mode="hard")
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.baseline, before)


def test_baseline_decay_is_the_configs():
    model = build(mode="hard", baseline_decay=0.25, expected=1.0)
    model.baseline.fill_(-2.0)
    nll = model.loss({"features": pictures(3), "captions": CAPTIONS})["nll"]
    assert model.baseline.item() == pytest.approx(0.25 * -2.0 - 0.75 * float(nll))


# --- REINFORCE against counting -------------------------------------------------------------------


@pytest.fixture(scope="module")
def counted():
    """A tiny model, its batch, and the exact gradient of the lower bound: all 4³ ways to look, each with its probability."""
    tiny = dict(
        annotation=2, grid=(2, 2), embedding=3, hidden=3, attention=3, expected=0.0, entropy=0.0
    )
    model = build(seed=4, scale=3.0, mode="hard", **tiny)
    picture, caption = pictures(1, model.config, seed=2), [BOS, 4, 5, EOS]
    bound = 0.0
    for way in itertools.product(range(4), repeat=3):
        logits, alpha = slow(model, picture[0], caption, list(way))
        p = alpha[0, way[0]] * alpha[1, way[1]] * alpha[2, way[2]]
        bound = bound + p * log_p(logits, caption)
    return model, picture, torch.tensor([caption]), float(bound.detach()), gradients(-bound, model)


def estimates(
    counted: tuple, baseline: float, batches: int = 150, copies: int = 100
) -> torch.Tensor:
    """Gradients of many batches of draws (batches, P), with a baseline that stays."""
    model, picture, caption, *_ = counted
    model = copy.deepcopy(model)
    model.config = replace(model.config, baseline_decay=1.0)
    model.baseline.fill_(baseline)
    batch = {"features": picture.expand(copies, -1, -1, -1), "captions": caption.expand(copies, -1)}
    torch.manual_seed(11)
    return torch.stack([gradients(model.loss(batch)["loss"], model) for _ in range(batches)])


def test_reinforce_is_unbiased_and_the_baseline_lowers_its_variance(counted):
    *_, bound, exact = counted
    found = {name: estimates(counted, b) for name, b in (("with", bound), ("without", 0.0))}
    for g in found.values():
        error, spread = g.mean(0) - exact, g.std(0) / math.sqrt(len(g))
        drawn = spread > 1e-9  # embeddings of other words have no gradient at all
        assert error[~drawn].abs().max() < 1e-9
        z = error[drawn] / spread[drawn]
        assert z.abs().max() < 4.5
        assert z.square().mean().sqrt() < 1.5
        along = exact / exact.norm()
        assert abs(float(error @ along)) < 4 * float((g @ along).std()) / math.sqrt(len(g))
        assert float(exact.norm()) > 20 * float((g @ along).std()) / math.sqrt(
            len(g)
        )  # fine enough to see a mistake
    assert float(found["with"].var(0).sum()) < 0.5 * float(found["without"].var(0).sum())


def test_without_the_score_function_the_gradient_is_wrong(counted):
    """What equation 11 is for: back-propagation alone misses the draws' share."""
    model, *rest = counted
    model = copy.deepcopy(model)
    model.config = replace(model.config, reinforce=0.0)
    exact = rest[-1]
    g = estimates((model, *rest), 0.0, batches=60)
    z = (g.mean(0) - exact).abs() / (g.std(0) / math.sqrt(len(g)) + 1e-12)
    assert z.max() > 20


# --- padding, steps, decoding ---------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@both_kinds
def test_a_padded_batch_equals_its_captions_alone(mode, binds):
    model = build(
        mode=mode,
        **({"entropy": 0.2} if mode == "hard" else {"doubly_stochastic": 0.6}),
        query="both",
        **binds,
    ).eval()
    model.baseline.fill_(-3.0)
    x = pictures(3)
    together = model.loss({"features": x, "captions": CAPTIONS})["loss"]
    alone = [
        model.loss({"features": x[b : b + 1], "captions": torch.tensor([caption])})["loss"]
        for b, caption in enumerate(unpadded(CAPTIONS))
    ]
    assert close(together, sum(alone) / 3)
    assert close(gradients(together, model), gradients(sum(alone) / 3, model))


def test_longest_first_leaves_padding_out():
    order, sizes = longest_first(CAPTIONS)
    assert (order.tolist(), sizes) == ([0, 2, 1], [3, 2, 2, 1])
    wide = torch.nn.functional.pad(
        CAPTIONS[1:], (0, 1)
    )  # two columns more than anybody needs: a step is there, but narrow
    assert (longest_first(wide)[0].tolist(), longest_first(wide)[1]) == ([1, 0], [2, 1, 1, 1, 1])
    same = torch.tensor([[1, 4, 2], [1, 5, 2], [1, 6, 2]])
    assert (longest_first(same)[0].tolist(), longest_first(same)[1]) == ([0, 1, 2], [3, 3])


def test_longest_first_does_not_ask_another_device_for_lengths():
    with FakeTensorMode():
        order, sizes = longest_first(torch.zeros(3, 5, dtype=torch.long, device="cuda"))
    assert (order.shape, order.device.type, sizes) == ((3,), "cuda", [3, 3, 3, 3])


@pytest.mark.parametrize("mode", MODES)
@both_kinds
def test_the_order_of_a_batch_does_not_matter(mode, binds):
    model, x, mixed = build(mode=mode, **binds).eval(), pictures(3), torch.tensor([2, 0, 1])
    for name in ("logits", "log_weights"):
        here, there = (
            getattr(model.write(f, c), name)
            for f, c in ((x, CAPTIONS), (x[mixed], CAPTIONS[mixed]))
        )
        assert close(here[mixed], there)
    even = model.weights(x, CAPTIONS)[CAPTIONS[:, 1:] == PAD]
    assert close(even, torch.full_like(even, 1 / 6))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("score", "query"), itertools.product(SCORES, QUERIES))
@both_kinds
def test_step_by_step_equals_teacher_forcing(mode, score, query, binds):
    model = build(mode=mode, score=score, query=query, **binds).eval()
    x = pictures(3)
    logits = model(x, CAPTIONS)
    memory, state = model.begin(x)
    for t in range(4):
        found, state = model.step(CAPTIONS[:, t], state, memory)
        word = CAPTIONS[:, t + 1] != PAD
        assert close(found[word], logits[word, t])


@pytest.mark.parametrize("mode", MODES)
@both_kinds
def test_decoders_logprob_is_the_models(mode, binds):
    model, x = build(mode=mode, **binds).eval(), pictures(4)
    for b, found in enumerate(decoding.beam_search(model, x, width=3, limit=6)):
        for hypothesis in found:
            caption = [BOS, *hypothesis.ids] + [EOS] * hypothesis.finished
            logits = model(x[b : b + 1], torch.tensor([caption]))[0]
            assert hypothesis.logprob == pytest.approx(log_p(logits, caption).item(), abs=1e-5)


# --- training -------------------------------------------------------------------------------------


LEARN = dict(hidden=24, embedding=12, attention=12, prepare=12)
SAID = torch.tensor(
    [[1, 4, 5, 6, 2, 0], [1, 6, 4, 2, 0, 0], [1, 5, 7, 8, 4, 2], [1, 8, 2, 0, 0, 0]]
)


@pytest.mark.parametrize("mode", MODES)
def test_overfits_one_batch(mode):
    model, x = (
        build(scale=1.0, dtype=torch.float32, mode=mode, **LEARN),
        pictures(4, dtype=torch.float32),
    )
    data = {"features": x, "captions": SAID}
    history = training.fit(model, data, epochs=120, batch_size=4, lr=0.02, clip=5.0, progress=False)
    assert history.losses["per_word"][0] > 1
    assert history.losses["per_word"][-1] < 0.1
    found = decoding.greedy(model, x, limit=8)
    assert [[BOS, *h.ids, EOS] for h in found] == unpadded(SAID)


def run(
    seed: int, path=None, broken: int | None = None, **changes: object
) -> tuple[ShowAttendTell, training.History]:
    """A short run over captions of several lengths, broken off before step ``broken``."""
    model = build(scale=1.0, dtype=torch.float32, dropout=0.2, **{**changes, **LEARN})
    inner, steps = model.loss, itertools.count()

    def loss(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if next(steps) == broken:
            raise InterruptedError
        return inner(batch)

    model.loss = loss
    x = pictures(4, dtype=torch.float16)
    batches = caption_batches(x, SAID.repeat(4, 1), torch.arange(4).repeat(4), batch_size=3)
    if model.config.naming:  # a batch brings the cells of its pictures, too
        inner_collate, cells = batches.collate_fn, torch.cat([CELLS, CELLS[:1].flip(1)])

        def collate(batch):
            made = inner_collate(batch)
            same = (made["features"][:, None] == x.float()).flatten(2).all(2)  # (B, pictures)
            return {**made, "cells": cells[same.long().argmax(1)]}

        batches.collate_fn = collate
    settings = dict(checkpoint=path, checkpoint_every=1, log_every=1, progress=False)
    history = training.fit(model, batches, epochs=2, lr=0.01, seed=seed, **settings)
    return model, history


def same(a: nn.Module, b: nn.Module) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return one.keys() == two.keys() and all(
        torch.equal(one[k], two[k]) for k in one if k != "baseline"
    )


@pytest.mark.parametrize("mode", MODES)
def test_same_seed_same_result_and_a_checkpoint_resumes_exactly(tmp_path, mode):
    whole, history = run(3, mode=mode)
    again, _ = run(3, mode=mode)
    assert same(whole, again)
    assert not same(whole, run(4, mode=mode)[0])
    path = tmp_path / "run.pt"
    with pytest.raises(InterruptedError):
        run(3, path, broken=9, mode=mode)
    resumed, its_history = run(3, path, mode=mode)
    assert len(history.steps) > 12
    assert same(whole, resumed)
    assert its_history.losses == history.losses
    assert torch.equal(whole.baseline, resumed.baseline) or (
        mode == "soft" and resumed.baseline.isnan()
    )


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("start", STARTS)
def test_every_weight_gets_a_gradient(mode, query, start):
    """A weight without one is dead, and stops training on several processes with an error."""
    model = build(mode=mode, query=query, prepare=4, start=start)
    model.loss({"features": pictures(3), "captions": CAPTIONS})["loss"].backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


# --- devices and precisions -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("score", "query", "prepare"), [("additive", "state", 7), ("dot", "both", 0)]
)
def test_runs_on_a_pretended_gpu(mode, score, query, prepare):
    own = {"entropy": 0.1} if mode == "hard" else {"doubly_stochastic": 1.0, "hedging": 0.1}
    model = build(
        dtype=torch.float32,
        mode=mode,
        score=score,
        query=query,
        prepare=prepare,
        dropout=0.1,
        **own,
    )
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        for module in model.modules():
            for kind in (module._parameters, module._buffers):
                kind.update(
                    {n: fake.from_tensor(t).to("cuda") for n, t in kind.items() if t is not None}
                )
        x, captions = (
            torch.randn(3, 3, 2, 3, device="cuda"),
            torch.ones(3, 5, dtype=torch.long, device="cuda"),
        )
        for train in (True, False):
            model.train(train)
            logits = model(x, captions)
            assert (logits.device.type, logits.shape) == ("cuda", (3, 4, 9))
            terms = model.loss({"features": x, "captions": captions})
            assert {t.device.type for t in terms.values()} == {"cuda"}
            assert {tuple(t.shape) for t in terms.values()} == {()}
            memory, state = model.begin(x)
            logits, state = model.step(captions[:, 0], state, memory)
            assert {t.device.type for t in (logits, *state, *memory)} == {"cuda"}


@pytest.mark.parametrize("mode", MODES)
def test_mixed_precision_stays_near_the_full(mode):
    model = build(
        scale=1.0, dtype=torch.float32, mode=mode, **({"expected": 1.0} if mode == "hard" else {})
    )
    batch = {"features": pictures(3, dtype=torch.float32), "captions": CAPTIONS}
    full = model.loss(batch)["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model.loss(batch)["loss"]
    assert mixed.item() == pytest.approx(full.item(), rel=0.02)


@both_kinds
def test_half_precision_features(binds):
    model = build(dtype=torch.float32, **binds)
    x = pictures(3, dtype=torch.float16)
    assert torch.equal(model(x, CAPTIONS), model(x.float(), CAPTIONS))


# --- bad and small input --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_map_one_pixel_high_and_a_batch_of_one(mode):
    model = build(mode=mode, grid=(1, 7), prepare=3)
    batch = {"features": pictures(1, model.config), "captions": torch.tensor([[BOS, 4, EOS]])}
    assert model.weights(*batch.values()).shape == (1, 2, 7)
    assert torch.isfinite(gradients(model.loss(batch)["loss"], model)).all()
    assert len(decoding.beam_search(model, batch["features"], width=2)) == 1


def test_a_map_of_one_place_leaves_no_choice():
    model = build(grid=(1, 1))
    assert torch.equal(
        model.weights(pictures(3, model.config), CAPTIONS), torch.ones(3, 4, 1, dtype=torch.float64)
    )


@pytest.mark.parametrize("mode", MODES)
@both_kinds
def test_an_empty_caption_is_one_step(mode, binds):
    model = build(mode=mode, **binds).eval()
    terms = model.loss({"features": pictures(1), "captions": torch.tensor([[BOS, EOS]])})
    assert torch.isfinite(terms["loss"])
    assert model(pictures(1), torch.tensor([[BOS, EOS]])).shape == (1, 1, 9)


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        ([], "at least 1"),
        ([[1, 0, 0]], "all padding"),
        ([[0, 0, 0]], "all padding"),
        ([[1]], "at least 2"),
        ([1, 4, 2], "at least 2"),
        ([[1, 9, 2]], r"0\.\.8"),
        ([[1, -1, 2]], r"0\.\.8"),
        ([[1, 4, 2]] * 2, "1 pictures but 2 captions"),
        ([[4, 5, 2]], "caption 0 begins with the id 4, not with <bos>"),
        ([[1, 0, 4, 2]], "caption 0 has <pad> before a word"),
        ([[1, 4, 5]], "caption 0 must end in its only <eos>"),
        ([[1, 2, 5]], "caption 0 must end in its only <eos>"),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_bad_captions(mode, captions, message):
    with pytest.raises(ValueError, match=message):
        build(mode=mode).loss(
            {"features": pictures(1), "captions": torch.tensor(captions, dtype=torch.long)}
        )


def test_a_batch_of_none():
    for call in ("loss", "weights"):
        model, batch = build(), {"features": pictures(0), "captions": CAPTIONS[:0]}
        with pytest.raises(ValueError, match="B at least 1"):
            model.loss(batch) if call == "loss" else model.weights(*batch.values())
    with pytest.raises(ValueError, match="none of them 0"):
        build().begin(pictures(0))


@pytest.mark.parametrize("kind", [torch.int32, torch.float32])
def test_ids_of_another_type(kind):
    with pytest.raises(TypeError, match="int64"):
        build().loss({"features": pictures(3), "captions": CAPTIONS.to(kind)})


@pytest.mark.parametrize(
    ("mode", "places", "message"),
    [
        ("soft", torch.zeros(3, 4, dtype=torch.long), "hard attention"),
        ("hard", torch.zeros(1, 4, dtype=torch.long), r"\(3, 4\)"),
        ("hard", torch.zeros(3, 5, dtype=torch.long), r"\(3, 4\)"),
        ("hard", torch.full((3, 4), 6), r"0\.\.5"),
        ("hard", torch.full((3, 4), -1), r"0\.\.5"),
    ],
)
def test_bad_places(mode, places, message):
    with pytest.raises(ValueError, match=message):
        build(mode=mode).write(pictures(3), CAPTIONS, places)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@both_kinds
def test_features_that_are_no_numbers(value, binds):
    x = pictures(3)
    x[2, 1, 0, 0] = value
    for call in (lambda m: m(x, CAPTIONS), lambda m: m.begin(x)):
        with pytest.raises(ValueError, match="NaN or infinity"):
            call(build(**binds))


@pytest.mark.parametrize(
    "shape", [(3, 3, 3, 2), (3, 4, 2, 3), (3, 3, 6), (3, 6, 3), (3, 3, 2, 3, 1)]
)
def test_features_of_another_size(shape):
    with pytest.raises(ValueError, match=r"features must be a tensor \(B, 3, 2, 3\)"):
        build()(torch.zeros(shape, dtype=torch.float64), CAPTIONS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocabulary": 0}, "vocabulary"),
        ({"annotation": 0}, "annotation"),
        ({"hidden": -1}, "hidden"),
        ({"embedding": 0}, "embedding"),
        ({"attention": 0}, "attention"),
        ({"grid": (0, 7)}, "grid"),
        ({"grid": (7,)}, "grid"),
        ({"mode": "medium"}, "mode"),
        ({"score": "cosine"}, "score"),
        ({"query": "me"}, "query"),
        ({"start": "maximum"}, "start"),
        ({"prepare": -1}, "prepare"),
        ({"doubly_stochastic": -0.1}, "doubly_stochastic"),
        ({"hedging": -0.1}, "hedging"),
        ({"entropy": math.nan}, "entropy"),
        ({"reinforce": -1.0}, "reinforce"),
        ({"expected": 1.1}, "expected"),
        ({"baseline_decay": -0.1}, "baseline_decay"),
        ({"baseline_decay": math.nan}, "baseline_decay"),
        ({"dropout": 1.0}, "dropout"),
        ({"doubly_stochastic": math.inf}, "doubly_stochastic"),
        ({"hedging": math.inf}, "hedging"),
        ({"mode": "hard", "reinforce": math.inf}, "reinforce"),
        ({"mode": "hard", "entropy": math.inf}, "entropy"),
    ],
)
def test_bad_configs(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


OTHER = {
    "score": "dot",
    "query": "both",
    "start": "zero",
    "prepare": 4,
    "dropout": 0.5,
    "attention": 7,
    "hidden": 6,
}
OTHER |= {
    "doubly_stochastic": 0.7,
    "hedging": 0.7,
    "reinforce": 0.7,
    "entropy": 0.7,
    "expected": 0.0,
    "baseline_decay": 0.1,
}


@pytest.mark.parametrize("name", [*OTHER, "embedding", "annotation", "grid", "vocabulary"])
@pytest.mark.parametrize("mode", MODES)
def test_every_setting_has_an_effect_or_is_refused(mode, name):
    """Other weights, another loss or another baseline; or an error that names the setting and the mode."""
    value = OTHER.get(
        name, {"embedding": 5, "annotation": 4, "grid": (3, 3), "vocabulary": 10}.get(name)
    )
    assert value != getattr(SMALL, name)
    own = {"doubly_stochastic": "soft", "hedging": "soft", "reinforce": "hard", "entropy": "hard"}
    own |= {"expected": "hard", "baseline_decay": "hard"}
    if own.get(name, mode) != mode:
        with pytest.raises(ValueError, match=f"{name} = {value} .* mode = '{mode}'"):
            replace(SMALL, mode=mode, **{name: value})
        return
    configs = replace(SMALL, mode=mode), replace(SMALL, mode=mode, **{name: value})
    found = []
    for c in configs:
        torch.manual_seed(0)
        model = ShowAttendTell(c)
        for seed in (1, 2):
            torch.manual_seed(seed)
            terms = model.loss(
                {"features": pictures(3, c, dtype=torch.float32), "captions": CAPTIONS}
            )
        found.append(
            (
                training.parameter_count(model),
                float(terms["loss"].detach()),
                str(float(model.baseline)),
            )
        )
    assert found[0] != found[1]


def test_the_papers_two_modes():
    """Equation 14's penalty belongs to soft attention, the entropy of equation 11 to hard attention."""
    soft, hard = Config.paper(), Config.paper(mode="hard")
    assert (soft.doubly_stochastic, hard.doubly_stochastic) == (1.0, 0.0)
    assert hard.entropy == 0.002
    assert (hard.expected, hard.baseline_decay) == (0.5, 0.9)
    shared = (
        "vocabulary",
        "annotation",
        "grid",
        "embedding",
        "hidden",
        "attention",
        "start",
        "prepare",
        "dropout",
    )
    assert [getattr(soft, name) for name in shared] == [getattr(hard, name) for name in shared]
    assert Config.paper(mode="hard", entropy=0.1).entropy == 0.1
    with torch.device("meta"):
        counts = {training.parameter_count(ShowAttendTell(c)) for c in (soft, hard)}
    assert len(counts) == 1


def test_scores_and_weights_may_be_asked_of_a_beginning():
    model, begun = build(), torch.tensor([[BOS, 4, 5]])
    assert close(
        model(pictures(1), begun), model(pictures(1), torch.tensor([[BOS, 4, 5, EOS]]))[:, :2]
    )
    assert model.weights(pictures(1), begun).shape == (1, 2, 6)


# --- words bound to places ------------------------------------------------------------------------

#: Each switch alone, and some together.
SWITCHES = {
    "all": BINDS,
    "product": dict(prepare=7, places="product"),
    "beside": dict(prepare=7, beside=2),
    "product and beside": dict(prepare=7, places="product", beside=2),
    "word asks": dict(word_asks=True),
    "points": dict(point=3),
    "points in a prepared map": dict(prepare=7, point=3),
    "crosses off": dict(point=3, cross_off=True),
    "the map asks": dict(BINDS, query="pooled"),
    "both ask": dict(BINDS, query="both"),
    "starts from zero": dict(BINDS, start="zero"),
}
#: Which name is in which cell of three pictures; the second has none.
CELLS = torch.tensor([[0, 2, -1, 1, 1, -1], [-1] * 6, [2, 2, 0, -1, 0, 1]])


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=list(SWITCHES))
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("mode", MODES)
def test_what_binds_equals_the_slow_loop(mode, score, switches):
    model, x = build(mode=mode, score=score, **switches), pictures(3)
    places = torch.tensor([[5, 0, 2, 3], [1, 1, 1, 1], [4, 4, 0, 2]]) if mode == "hard" else None
    written = model.write(x, CAPTIONS, places)
    assert written.log_weights.exp().amax(-1).min() < 0.999
    for b, caption in enumerate(unpadded(CAPTIONS)):
        way, n = None if places is None else places[b].tolist(), len(caption) - 1
        logits, weights, points = slow_with_points(model, x[b], caption, way)
        assert close(written.logits[b, :n], logits)
        assert close(written.log_weights[b, :n].exp(), weights)
        if points is None:
            assert written.points is None
        else:
            assert close(written.points[b, :n], points)
            assert close(model.pointed(x, CAPTIONS)[b, :n], points) or mode == "hard"


def test_a_long_caption_crosses_off_at_most_twice():
    """The word with its place said ten times: the list of what has been pointed at stops at 2."""
    model, x = build(**BINDS), pictures(1)
    with torch.no_grad():
        model.pointer.nothing.bias.fill_(-4.0)
        model.pointer.log_scale.fill_(4.0)
    caption = [BOS, *[4] * 10, 5, EOS]
    written = model.write(x, torch.tensor([caption]))
    assert written.points.sum(1).max() > 5
    logits, weights, points = slow_with_points(model, x[0], caption)
    assert close(written.logits[0], logits)
    assert close(written.log_weights[0].exp(), weights)
    assert close(written.points[0], points)
    memory, state = model.eval().begin(x)
    for t, word in enumerate(caption[:-1]):
        found, state = model.step(torch.tensor([word]), state, memory)
        assert close(found[0], logits[t])
    assert state.said.max() == 2


@pytest.mark.parametrize("mode", MODES)
def test_what_binds_is_asked_of_the_word_just_read(mode):
    """Another word at t changes π_t and where the model looks at t; without pointing and asking, α_t
    comes from the state before it."""
    other = CAPTIONS.clone()
    other[0, 2] = 7
    for binds, changed in (({}, False), (BINDS, True)):
        model = build(mode=mode, **binds).eval()
        one, two = (model.write(pictures(3), c) for c in (CAPTIONS, other))
        assert close(one.log_weights[0, :2], two.log_weights[0, :2])
        assert close(one.log_weights[0, 2], two.log_weights[0, 2]) != changed
        if changed:
            assert close(one.points[0, [0, 1, 3]], two.points[0, [0, 1, 3]])
            assert not close(one.points[0, 2], two.points[0, 2])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    mode=st.sampled_from(MODES),
    score=st.sampled_from(SCORES),
    query=st.sampled_from(QUERIES),
    cross_off=st.booleans(),
    word_asks=st.booleans(),
    layer=st.sampled_from([{}, dict(prepare=4), dict(prepare=4, places="product", beside=2)]),
)
def test_where_nothing_is_ever_found_it_is_the_model_without_pointing(
    seed, mode, score, query, cross_off, word_asks, layer
):
    alike = dict(mode=mode, score=score, query=query, word_asks=word_asks, **layer)
    model = build(seed, point=3, cross_off=cross_off, **alike).eval()
    with torch.no_grad():
        model.pointer.nothing.bias.fill_(1e5)
    plain = build(seed + 1, **alike).eval()
    left = plain.load_state_dict(model.state_dict(), strict=False)
    assert left.missing_keys == []
    assert {key.split(".")[0] for key in left.unexpected_keys} == {
        "pointer",
        "found_gates",
        "out_found",
        *(["mark_said"] if cross_off else []),
    }
    x = pictures(3, seed=seed)
    one, two = model.write(x, CAPTIONS), plain.write(x, CAPTIONS)
    assert not one.points.any()
    assert close(one.logits, two.logits)
    assert close(one.log_weights, two.log_weights)
    batch = {"features": x, "captions": CAPTIONS}
    assert close(model.loss(batch)["loss"], plain.loss(batch)["loss"])
    found = [decoding.beam_search(m, x, width=3, limit=5) for m in (model, plain)]
    assert [[h.ids for h in row] for row in found[0]] == [[h.ids for h in row] for row in found[1]]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), mixed=st.permutations(range(3)), more=st.integers(0, 3))
def test_neither_order_nor_padding_nor_neighbours_matter_to_a_bound_model(seed, mixed, more):
    model, x = build(seed, **NAMES).eval(), pictures(3, seed=seed)
    whole = model.write(x, CAPTIONS)
    padded = nn.functional.pad(CAPTIONS, (0, more))[mixed]
    other = model.write(x[mixed], padded)
    for b, caption in enumerate(unpadded(CAPTIONS)):
        at, n = mixed.index(b), len(caption) - 1
        alone = model.write(x[b : b + 1], torch.tensor([caption]))
        for name in ("logits", "log_weights", "points"):
            here = getattr(whole, name)[b, :n]
            assert close(getattr(other, name)[at, :n], here)
            assert close(getattr(alone, name)[0], here)
        assert close(other.keys[at], whole.keys[b])
        assert close(alone.keys[0], whole.keys[b])


def test_padding_that_is_walked_through_changes_nothing(monkeypatch):
    """Away from the CPU captions that have ended are walked on with."""
    model, x = build(**NAMES), pictures(3)
    batch = {"features": x, "captions": CAPTIONS, "cells": CELLS}
    here = model.loss(batch)
    module = "mmtutor.show_attend_tell.longest_first"
    monkeypatch.setattr(module, lambda c: (torch.arange(len(c)), [len(c)] * (c.shape[1] - 1)))
    there = model.loss(batch)
    assert here.keys() == there.keys()
    assert all(close(here[name], there[name]) for name in here)
    assert close(gradients(here["loss"], model), gradients(there["loss"], model))


@both_kinds
@pytest.mark.parametrize("mode", MODES)
def test_beam_search_finds_what_counting_finds(mode, binds):
    """With as many paths as there are captions, the best of all captions of at most two words."""
    model, x = build(mode=mode, **binds).eval(), pictures(2)
    words = [w for w in range(9) if w not in (PAD, BOS, EOS)]
    for b in range(2):
        every = [(), *((w,) for w in words), *itertools.product(words, words)]
        values = {}
        for ids in every:
            caption = [BOS, *ids, EOS]
            logits = model(x[b : b + 1], torch.tensor([caption]))[0]
            values[ids] = log_p(logits, caption).item()
        found = decoding.beam_search(model, x[b : b + 1], width=60, limit=2, banned=(PAD, BOS))
        best = max((h for h in found[0] if h.finished), key=lambda h: h.logprob)
        assert best.ids == max(values, key=values.get)
        assert len(best.ids) <= 2


def test_the_naming_of_cells_by_hand():
    """−log p of each cell's name among the names and none, mean over all cells; it is added with its weight."""
    model, x = build(**NAMES), pictures(3)
    batch = {"features": x, "captions": CAPTIONS, "cells": CELLS}
    total = 0.0
    for b, i in itertools.product(range(3), range(6)):
        content = x[b].flatten(1)[:, i]
        key = model.pointer.key.weight @ content + model.pointer.key.bias
        scores = []
        for name in NAMES["names"]:
            asks = model.pointer.query.weight @ model.words.weight[name]
            scores.append(model.pointer.log_scale.exp() * (key * asks).sum() / math.sqrt(3))
        own = int(CELLS[b, i])
        right = scores[own] if own >= 0 else torch.zeros(())
        total = total - right + (1 + sum(s.exp() for s in scores)).log()
    named = model.naming(batch)
    assert close(named, total / 18)
    terms = model.loss(batch)
    assert close(terms["naming"], total.detach() / 18)
    assert not terms["naming"].requires_grad
    without = build(**BINDS).loss(batch)
    assert "naming" not in without
    assert close(terms["loss"], without["loss"] + 0.5 * named)
    assert close(terms["per_word"], without["per_word"])
    parts = gradients(terms["loss"], model) - 0.5 * gradients(named, model)
    other = build(**BINDS)
    assert close(parts, gradients(other.loss(batch)["loss"], other))


@pytest.mark.parametrize("mode", MODES)
def test_in_use_nothing_is_named(mode):
    model = build(mode=mode, **NAMES).eval()
    model.baseline.fill_(-1.0)
    terms = model.loss({"features": pictures(3), "captions": CAPTIONS})  # no cells
    assert "naming" not in terms
    plain = build(mode=mode, **BINDS).eval()
    plain.baseline.fill_(-1.0)
    assert close(terms["loss"], plain.loss({"features": pictures(3), "captions": CAPTIONS})["loss"])


def test_gradient_of_a_bound_model_against_finite_differences():
    for mode in (dict(mode="soft", doubly_stochastic=0.5), dict(mode="hard", expected=1.0)):
        model = build(query="both", **NAMES, **mode)
        names, weights = zip(
            *((n, p.detach().requires_grad_()) for n, p in model.named_parameters())
        )
        batch = {"captions": CAPTIONS[[0, 2]], "cells": CELLS[[0, 2]]}

        def loss(x, *values, model=model, names=names, batch=batch):
            values = {f"model.{n}": v for n, v in zip(names, values)}
            return torch.func.functional_call(_Batch(model), values, ({"features": x, **batch},))

        # the reward of hard attention is a number: where all see the mean, it multiplies nothing
        assert torch.autograd.gradcheck(
            loss, (pictures(2).requires_grad_(), *weights), fast_mode=True
        )


class _Batch(nn.Module):
    def __init__(self, model: ShowAttendTell) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.model.loss(batch)["loss"]


def test_hard_gradient_of_a_bound_model_with_given_places():
    """Through what was found and crossed off, as the slow loop's."""
    model, x = build(mode="hard", **BINDS), pictures(3)
    places = torch.tensor([[5, 0, 2, 3], [1, 1, 1, 1], [4, 4, 0, 2]])
    written = model.write(x, CAPTIONS, places)
    fast = total = 0.0
    for b, caption in enumerate(unpadded(CAPTIONS)):
        fast = fast + log_p(written.logits[b], caption)
        total = total + log_p(slow(model, x[b], caption, places[b].tolist())[0], caption)
    assert close(gradients(fast, model), gradients(total, model))


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=list(SWITCHES))
@pytest.mark.parametrize("mode", MODES)
def test_every_weight_that_binds_gets_a_gradient(mode, switches):
    model = build(mode=mode, **switches)
    model.loss({"features": pictures(3), "captions": CAPTIONS})["loss"].backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("mode", MODES)
def test_a_bound_model_overfits_one_batch(mode):
    model = build(scale=1.0, dtype=torch.float32, mode=mode, **{**NAMES, **LEARN})
    with torch.no_grad():
        model.prepare.places.mul_(0.7)  # as it is drawn
    cells = torch.cat([CELLS, CELLS[:1].flip(1)])
    # the map shows what is in a cell: there is a channel for each name
    shown = nn.functional.one_hot(cells + 1, 4)[..., 1:].transpose(1, 2).unflatten(2, (2, 3))
    x = 0.3 * pictures(4, dtype=torch.float32) + 2 * shown
    data = {"features": x, "captions": SAID, "cells": cells}
    history = training.fit(model, data, epochs=120, batch_size=4, lr=0.02, clip=5.0, progress=False)
    assert history.losses["per_word"][0] > 1
    assert history.losses["per_word"][-1] < 0.1
    assert history.losses["naming"][0] > 0.5
    assert history.losses["naming"][-1] < 0.1
    found = decoding.greedy(model, x, limit=8)
    assert [[BOS, *h.ids, EOS] for h in found] == unpadded(SAID)
    # and each cell has its name
    with torch.no_grad():
        _, keys = model.annotate(x)
        scores = model.pointer.scores(model.words(model.names), keys)  # (B, names, L)
    none = torch.zeros_like(scores[:, :1])  # its score is 0
    assert torch.equal(torch.cat([none, scores], 1).argmax(1) - 1, cells)


@pytest.mark.parametrize("mode", MODES)
def test_a_bound_run_repeats_itself_and_resumes_exactly(tmp_path, mode):
    whole, history = run(3, mode=mode, **NAMES)
    assert len(history.losses["naming"]) == len(history.losses["loss"])
    again, _ = run(3, mode=mode, **NAMES)
    assert same(whole, again)
    assert not same(whole, run(4, mode=mode, **NAMES)[0])
    path = tmp_path / "run.pt"
    with pytest.raises(InterruptedError):
        run(3, path, broken=9, mode=mode, **NAMES)
    resumed, its_history = run(3, path, mode=mode, **NAMES)
    assert same(whole, resumed)
    assert its_history.losses == history.losses


def test_the_same_seed_builds_the_same_bound_model():
    one, two, other = (build(seed, **NAMES) for seed in (3, 3, 4))
    assert same(one, two)
    assert not same(one, other)
    assert "names" not in one.state_dict()  # they are settings, not weights
    assert one.names.tolist() == [4, 6, 8]


def test_dropout_reaches_pointing_in_training_only():
    model = build(dropout=0.5, **BINDS)
    torch.manual_seed(0)
    one, two = (model.pointed(pictures(3), CAPTIONS) for _ in range(2))
    assert not close(one, two)
    one, two = (model.eval().pointed(pictures(3), CAPTIONS) for _ in range(2))
    assert torch.equal(one, two)


# --- sizes of a bound model -----------------------------------------------------------------------


def bound_parts(c: Config) -> dict[str, int]:
    """Weights of each part, counted by hand from the settings."""
    cells, depth = c.grid[0] * c.grid[1], c.prepare + c.beside
    n, m, a = c.hidden, c.embedding, c.attention
    return {
        "prepare": c.annotation * c.prepare + c.prepare + cells * (c.prepare + c.beside),
        "words": c.vocabulary * m,
        "key": depth * a + a,
        "ask_state": n * a,
        "ask_word": m * a,
        "mark_said": a,
        "score": a,
        "gate": n + 1,
        "word_gates": m * 4 * n + 4 * n,
        "state_gates": (n + depth) * 4 * n,
        "out_h": n * m + m,
        "out_z": depth * m,
        "output": m * c.vocabulary + c.vocabulary,
        "pointer": c.annotation * c.point + c.point + m * c.point + m + 1 + 1,
        "found_gates": depth * 4 * n,
        "out_found": depth * m,
    }


def test_parameters_of_a_bound_model_by_hand():
    config = Config.bound(60, (4, 5, 6))
    model, wanted = ShowAttendTell(config), bound_parts(config)
    assert {n: training.parameter_count(m) for n, m in model.named_children() if n in wanted} == (
        wanted
    )
    assert training.parameter_count(model) == sum(wanted.values())
    assert config.places == "product"
    assert (config.beside, config.point, config.naming) == (16, 32, 1.0)
    assert config.cross_off
    assert config.word_asks
    assert config.names == (4, 5, 6)
    assert Config.bound(60, (4,), naming=0.3, hidden=7).naming == 0.3
    assert Config.bound(60, (), naming=0.0).names == ()  # bound, and not taught by names


def test_with_all_switches_off_nothing_of_it_is_there():
    wanted = {
        f"{name}.{kind}"
        for name in (
            *("first", "word_gates", "out_h", "output", "gate", "key"),
            *("ask_state", "state_gates", "out_z", "score", "words"),
        )
        for kind in ("weight", "bias")
    }
    wanted -= {f"{n}.bias" for n in ("ask_state", "state_gates", "out_z", "score", "words")}
    for config in (Config.paper(), Config.paper(mode="hard")):
        with torch.device("meta"):
            model = ShowAttendTell(config)
        assert {n for n, _ in model.named_parameters()} == wanted
        assert set(model.state_dict()) == wanted | {"baseline"}
    model = build()
    memory, state = model.begin(pictures(3))
    assert memory.found_by.shape == (3, 6, 0)
    assert state.said.shape == (3, 0)
    written = model.write(pictures(3), CAPTIONS)
    assert written.points is None
    assert written.keys.shape == (3, 6, 0)
    assert model.point(torch.zeros(3, 1, 4), memory, state.said) is None
    assert not model.asked_by(torch.zeros(3, 2, 4)).any()


# --- devices and precisions of a bound model ------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("score", SCORES)
def test_a_bound_model_on_a_pretended_gpu(mode, score):
    own = {"entropy": 0.1} if mode == "hard" else {"doubly_stochastic": 1.0, "hedging": 0.1}
    model = build(dtype=torch.float32, mode=mode, score=score, dropout=0.1, **NAMES, **own)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        for module in model.modules():
            for kind in (module._parameters, module._buffers):
                kind.update(
                    {n: fake.from_tensor(t).to("cuda") for n, t in kind.items() if t is not None}
                )
        x = torch.randn(3, 3, 2, 3, device="cuda")
        captions = torch.ones(3, 5, dtype=torch.long, device="cuda")
        batch = {"features": x, "captions": captions}
        batch["cells"] = torch.zeros(3, 6, dtype=torch.long, device="cuda")
        terms = model.train().loss(batch)
        assert "naming" in terms
        named = model.naming(batch)
        points = model.eval().pointed(x, captions)
        assert (points.device.type, points.shape) == ("cuda", (3, 4, 6))
        others = model.loss(batch)
        assert {t.device.type for t in (*terms.values(), *others.values(), named)} == {"cuda"}
        memory, state = model.begin(x)
        logits, state = model.step(captions[:, 0], state, memory)
        assert {t.device.type for t in (logits, *state, *memory)} == {"cuda"}


@pytest.mark.parametrize("mode", MODES)
def test_a_bound_model_in_mixed_precision_and_in_single(mode):
    own = {"expected": 1.0} if mode == "hard" else {}
    model = build(scale=1.0, dtype=torch.float32, mode=mode, **NAMES, **own)
    batch = {"features": pictures(3, dtype=torch.float32), "captions": CAPTIONS, "cells": CELLS}
    full = model.loss(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model.loss(batch)
        memory, state = model.begin(batch["features"])
        for t in range(3):
            logits, state = model.step(CAPTIONS[:, t], state, memory)
    assert torch.isfinite(logits).all()
    double = model.double().loss({**batch, "features": batch["features"].double()})
    for name in ("loss", "naming"):
        assert mixed[name].item() == pytest.approx(full[name].item(), rel=0.02)
        assert full[name].item() == pytest.approx(double[name].item(), rel=1e-4)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e3, 1e6, 1e12])
def test_a_bound_model_at_extreme_scales(scale):
    model = build(dtype=torch.float32, scale=1.0, **NAMES)
    batch = {
        "features": pictures(3, dtype=torch.float32) * scale,
        "captions": CAPTIONS,
        "cells": CELLS,
    }
    loss = model.loss(batch)["loss"]
    assert torch.isfinite(loss)
    assert torch.isfinite(gradients(loss, model)).all()
    points = model.eval().pointed(batch["features"], CAPTIONS)
    assert ((points >= 0) & (points.sum(-1, keepdim=True) <= 1 + 1e-5)).all()


# --- bad and small input of a bound model ---------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_bound_model_with_one_picture_one_word_one_cell(mode):
    for grid in ((1, 1), (1, 7)):
        model = build(mode=mode, grid=grid, **NAMES)
        x, cells = pictures(1, model.config), torch.zeros(1, grid[1], dtype=torch.long)
        for caption in ([BOS, EOS], [BOS, 4, EOS]):
            batch = {"features": x, "captions": torch.tensor([caption]), "cells": cells}
            loss = model.train().loss(batch)["loss"]
            assert torch.isfinite(gradients(loss, model)).all()
            model.eval()
            points = model.pointed(x, batch["captions"])
            assert points.shape == (1, len(caption) - 1, grid[1])
            memory, state = model.begin(x)
            for t, word in enumerate(caption[:-1]):
                logits, state = model.step(torch.tensor([word]), state, memory)
                assert close(logits[0], model(x, batch["captions"])[0, t])
        assert len(decoding.beam_search(model, x, width=2)) == 1


def test_one_name_is_enough():
    model = build(**{**NAMES, "names": (5,)})
    batch = {"features": pictures(3), "captions": CAPTIONS, "cells": CELLS.clamp(max=0)}
    assert torch.isfinite(model.loss(batch)["loss"])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (None, r"the batch needs 'cells' \(B, L\)"),
        (CELLS[:, :5], r"cells must be \(3, 6\), got \(3, 5\)"),
        (CELLS[:2], r"cells must be \(3, 6\), got \(2, 6\)"),
        (CELLS.view(3, 2, 3), r"got \(3, 2, 3\)"),
        (CELLS + 1, r"cells must lie in -1\.\.2, got 0\.\.3"),
        (CELLS - 1, r"cells must lie in -1\.\.2, got -2\.\.1"),
        (CELLS.double(), "cells must be whole numbers, got torch.float64"),
    ],
)
def test_bad_cells(cells, message):
    model, batch = build(**NAMES), {"features": pictures(3), "captions": CAPTIONS}
    if cells is not None:
        batch["cells"] = cells
    for call in (model.loss, model.naming):
        with pytest.raises(ValueError, match=message):
            call(batch)


@pytest.mark.parametrize("kind", [torch.int8, torch.int16, torch.int32])
def test_cells_may_be_small_numbers(kind):
    model, batch = build(**NAMES), {"features": pictures(3), "captions": CAPTIONS}
    wanted = model.naming({**batch, "cells": CELLS})
    assert torch.equal(model.naming({**batch, "cells": CELLS.to(kind)}), wanted)


def test_what_a_model_without_pointing_or_names_cannot_do():
    with pytest.raises(ValueError, match="does not point: its settings have point = 0"):
        build().pointed(pictures(3), CAPTIONS)
    for switches in ({}, BINDS):
        with pytest.raises(ValueError, match="knows no names: its settings have naming = 0"):
            build(**switches).naming({"features": pictures(3), "cells": CELLS})
    with pytest.raises(ValueError, match="caption 0 begins with the id 4"):
        build(**BINDS).pointed(pictures(3)[:1], CAPTIONS[:1, 1:])


NAMED = {"point": 3, "naming": 1.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"places": "none"}, "places must be one of"),
        ({"places": "product"}, "with prepare = 0 leave them at 'sum' and 0, got 'product' and 0"),
        ({"beside": 1}, "with prepare = 0 leave them at 'sum' and 0, got 'sum' and 1"),
        ({"prepare": 4, "beside": -1}, "beside must be finite and not negative"),
        ({"point": -1}, "point must be finite and not negative"),
        ({"point": math.nan}, "point must be finite"),
        ({**NAMED, "names": (4,), "naming": -1.0}, "naming must be finite and not negative"),
        ({**NAMED, "names": (4,), "naming": math.inf}, "naming must be finite"),
        ({"naming": 1.0, "names": (4,)}, "no effect without pointing: set point"),
        ({"cross_off": True}, "no effect without pointing: set point"),
        (NAMED, "naming needs the ids of the names, .* got naming = 1.0 and 0 names"),
        ({"point": 3, "names": (4,)}, "got naming = 0.0 and 1 names"),
        ({"names": (4,)}, "got naming = 0.0 and 1 names"),
        ({**NAMED, "names": (4, 5, 4)}, "each once"),
        ({**NAMED, "names": (0, 4)}, r"names must be ids in 1\.\.8, got \(0, 4\)"),
        ({**NAMED, "names": (4, 9)}, r"names must be ids in 1\.\.8"),
        ({**NAMED, "names": (-1,)}, r"names must be ids in 1\.\.8"),
    ],
)
def test_bad_configs_of_what_binds(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        ((), {}, "naming needs the ids"),
        ((4,), {"naming": 0.0}, "naming needs the ids"),
        ((4,), {"prepare": 0}, "with prepare = 0"),
        ((4,), {"point": 0}, "set point"),
        ((99,), {}, r"names must be ids in 1\.\.59"),
    ],
)
def test_bad_bound_configs(names, changes, message):
    with pytest.raises(ValueError, match=message):
        Config.bound(60, names, **changes)


def test_names_may_be_a_list():
    assert Config.bound(60, [4, 5]) == Config.bound(60, (4, 5))
    assert hash(Config.bound(60, [4, 5])) == hash(Config.bound(60, (4, 5)))


@pytest.mark.parametrize(
    "changes",
    [
        {"places": "sum"},
        {"beside": 3},
        {"point": 4},
        {"naming": 0.7},
        {"names": (4, 8, 6)},
        {"cross_off": False},
        {"word_asks": False},
    ],
    ids=lambda changes: next(iter(changes)),
)
@pytest.mark.parametrize("mode", MODES)
def test_every_setting_of_what_binds_has_an_effect(mode, changes):
    found = []
    for c in (
        replace(SMALL, mode=mode, **NAMES),
        replace(SMALL, mode=mode, **{**NAMES, **changes}),
    ):
        torch.manual_seed(0)
        model = ShowAttendTell(c)
        torch.manual_seed(1)
        batch = {"features": pictures(3, dtype=torch.float32), "captions": CAPTIONS, "cells": CELLS}
        loss = float(model.loss(batch)["loss"].detach())
        found.append((training.parameter_count(model), loss))
    assert found[0] != found[1]
