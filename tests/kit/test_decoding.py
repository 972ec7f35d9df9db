"""Decoding against brute force: every caption of a small vocabulary is listed, scored one by one, and ranked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from mmtutor.kit import decoding
from mmtutor.kit.decoding import BANNED, BOS, EOS, beam_search, beam_tree, greedy, sample
from mmtutor.page import plotting

SEEDS = st.integers(0, 2**31)


class Hidden(NamedTuple):
    h: torch.Tensor
    extra: dict


class Recurrent(torch.nn.Module):
    """A small random network whose state is nested (a named tuple with a dictionary and None) and remembers all words."""

    def __init__(self, seed: int, words: int = 7, size: int = 6, sharpness: float = 3.0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.words, self.steps = words, []

        def normal(*shape: int) -> torch.nn.Parameter:
            return torch.nn.Parameter(torch.randn(*shape, generator=draw, dtype=torch.float64))

        self.embed, self.w, self.image = normal(words, size), normal(size, size), normal(3, size)
        self.out = torch.nn.Parameter(sharpness * normal(size, words).detach())
        self.dropout = torch.nn.Dropout(0.5)

    def begin(self, inputs):
        state = Hidden(
            torch.tanh(inputs @ self.image), {"count": torch.zeros(len(inputs)), "none": None}
        )
        return {"image": inputs @ self.image, "none": None}, state

    def step(self, tokens, state, memory):
        self.steps.append(tokens.clone())
        h = torch.tanh(self.embed[tokens] + state.h @ self.w + memory["image"])
        count = state.extra["count"] + 1
        logits = self.dropout(h) @ self.out + 0.3 * count[:, None]
        return logits, Hidden(h, {"count": count, "none": None})


class Table:
    """Next-word probabilities by the number of words so far: no module, no memory, and a bare tensor as its state."""

    def __init__(self, *rows: list[float]) -> None:
        self.logits = torch.tensor(rows, dtype=torch.float64).log()

    def begin(self, inputs):
        return None, torch.zeros(len(inputs), dtype=torch.int64)

    def step(self, tokens, state, memory):
        return self.logits[state.clamp(max=len(self.logits) - 1)], state + 1


def images(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def walk(model, image, ids):
    """Log-probabilities of all next words after each prefix of ids, one word and one image at a time."""
    model.eval()
    with torch.no_grad():
        memory, state = model.begin(image[None])
        rows = []
        for token in (BOS, *ids):
            logits, state = model.step(torch.tensor([token]), state, memory)
            rows.append(logits[0].log_softmax(0))
    return rows


def logprob(model, image, ids, finished=True):
    rows = walk(model, image, ids)
    return sum(float(row[i]) for row, i in zip(rows, ids)) + (
        float(rows[-1][EOS]) if finished else 0.0
    )


def enumerate_all(model, image, limit, penalty=0.0):
    """All captions of at most ``limit`` words that are not banned, best first: (score, ids)."""
    free = [i for i in range(model.words) if i not in BANNED and i != EOS]
    found = []

    def visit(token, state, ids, logp):
        logits, state = model.step(torch.tensor([token]), state, memory)
        row = logits[0].log_softmax(0).tolist()
        found.append(((logp + row[EOS]) / (len(ids) + 1) ** penalty, ids))
        for i in free if len(ids) < limit else ():
            visit(i, state, (*ids, i), logp + row[i])

    model.eval()
    with torch.no_grad():
        memory, state = model.begin(image[None])
        visit(BOS, state, (), 0.0)
    return sorted(found, reverse=True)


def plain_beam(model, image, width, penalty, limit):
    """Beam search with Python lists and without early stopping; finished captions best first."""
    beam, finished = [((), 0.0)], []
    for t in range(limit + 1):
        candidates = []
        for ids, score in beam:
            row = walk(model, image, ids)[-1]
            candidates += [
                (score + float(p), (*ids, i)) for i, p in enumerate(row) if i not in BANNED
            ]
        candidates.sort(reverse=True)
        finished += [
            (s / (t + 1) ** penalty, ids[:-1]) for s, ids in candidates[:width] if ids[-1] == EOS
        ]
        beam = [(ids, s) for s, ids in candidates if ids[-1] != EOS][:width]
    return sorted(finished, reverse=True)


def ids_of(hypotheses):
    return [h.ids for h in hypotheses]


# --- beam search ----------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    seed=SEEDS, penalty=st.sampled_from([0.0, 0.7, 1.0, 2.0]), sharpness=st.sampled_from([0.3, 3.0])
)
def test_wide_beam_lists_every_caption_in_order(seed, penalty, sharpness):
    model, x = Recurrent(seed, sharpness=sharpness), images(2, seed)
    want = [enumerate_all(model, image, 3, penalty) for image in x]
    assert len(want[0]) == 1 + 3 + 9 + 27
    # 121 = 40 and the 81 captions of four words, which compete with the ends of those of three
    found = beam_search(model, x, width=121, n_best=50, length_penalty=penalty, limit=3)
    for hypotheses, captions in zip(found, want):
        assert all(h.finished for h in hypotheses)
        assert sorted(ids_of(hypotheses)) == sorted(ids for _, ids in captions)
        assert [h.score for h in hypotheses] == pytest.approx([s for s, _ in captions], abs=1e-9)
        by_ids = dict((ids, s) for s, ids in captions)
        assert [h.score for h in hypotheses] == pytest.approx(
            [by_ids[h.ids] for h in hypotheses], abs=1e-9
        )


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_wide_beam_finds_the_best_caption_and_stops_early(seed):
    model, x = Recurrent(seed), images(1, seed)
    for penalty in (0.0, 1.0):
        ((best,),) = beam_search(model, x, width=121, length_penalty=penalty, limit=3, n_best=1)
        score, ids = enumerate_all(model, x[0], 3, penalty)[0]
        assert best.ids == ids
        assert best.score == pytest.approx(score)


@settings(max_examples=25, deadline=None)
@given(
    seed=SEEDS,
    width=st.integers(1, 6),
    penalty=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    limit=st.integers(1, 6),
    sharpness=st.sampled_from([0.5, 2.0, 5.0]),
)
def test_beam_equals_a_plain_search_that_never_stops_early(seed, width, penalty, limit, sharpness):
    model, x = Recurrent(seed, words=8, sharpness=sharpness), images(2, seed)
    found = beam_search(model, x, width=width, length_penalty=penalty, limit=limit)
    short = beam_search(model, x, width=width, length_penalty=penalty, limit=limit, n_best=1)
    for hypotheses, first, image in zip(found, short, x):
        want = plain_beam(model, image, width, penalty, limit)[:width]
        finished = [h for h in hypotheses if h.finished]
        assert ids_of(finished) == [ids for _, ids in want]
        assert [h.score for h in finished] == pytest.approx([s for s, _ in want])
        assert first[0].ids == hypotheses[0].ids
        assert len(first) == 1


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, limit=st.integers(1, 7), sharpness=st.sampled_from([0.2, 1.0, 4.0]))
def test_beam_of_width_one_is_greedy(seed, limit, sharpness):
    model, x = Recurrent(seed, sharpness=sharpness), images(4, seed)
    for (beam,), walked in zip(
        beam_search(model, x, width=1, limit=limit), greedy(model, x, limit=limit)
    ):
        assert (beam.ids, beam.finished) == (walked.ids, walked.finished)
        assert beam.logprob == pytest.approx(walked.logprob)


# --- ties -----------------------------------------------------------------------------------------

TIED = st.lists(st.sampled_from([-math.inf, 0.0, 1.0, 2.0]), min_size=7, max_size=7).filter(
    lambda row: max(row[3:]) > -9
)

TIMES = st.sampled_from([1, 10])


class Tied(Table):
    """Logits from a few values only, so that nearly every choice is a tie; the row depends on the words so far.

    ``times`` repeats the words: long rows are searched in another way than short ones.
    """

    def __init__(self, rows: list[list[float]], times: int = 1) -> None:
        self.logits = torch.tensor(rows, dtype=torch.float64).repeat(1, times)

    def step(self, tokens, state, memory):
        state = 3 * state + tokens + 1
        return self.logits[state % len(self.logits)], state


@pytest.fixture(params=["cpu", "pretended cuda"])
def topk(request, monkeypatch) -> None:
    """``topk`` breaks ties as it likes, and otherwise on each device: here also as a device may that prefers the last."""
    if request.param == "cpu":
        return

    def last_first(x, k, dim=-1, largest=True, sorted=True):
        assert largest
        assert dim in (-1, x.dim() - 1)
        values, places = x.flip(-1).sort(dim=-1, descending=True, stable=True)
        return torch.return_types.topk((values[..., :k], x.shape[-1] - 1 - places[..., :k]))

    monkeypatch.setattr(torch.Tensor, "topk", last_first)


def tied_walk(model, limit: int, banned: set[int], eos: int) -> tuple[tuple[int, ...], bool]:
    """Greedy search in plain Python: the first of the best words."""
    ids, state, token = (), torch.zeros(1, dtype=torch.int64), BOS
    for _ in range(limit + 1):
        logits, state = model.step(torch.tensor([token]), state, None)
        row = [-math.inf if i in banned else x for i, x in enumerate(logits[0].tolist())]
        token = row.index(max(row))
        if token == eos or len(ids) == limit:
            return ids, token == eos
        ids = (*ids, token)
    raise AssertionError


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(TIED, min_size=1, max_size=5),
    times=TIMES,
    limit=st.integers(1, 5),
    eos=st.sampled_from([2, 5, 6]),
)
def test_ties_go_to_the_lowest_id_in_greedy_and_in_a_beam_of_one(topk, rows, times, limit, eos):
    model, options = Tied(rows, times), {"limit": limit, "banned": (0, 1), "eos": eos}
    want = tied_walk(model, limit, {0, 1}, eos)
    (walked,) = greedy(model, torch.zeros(1), **options)
    ((beam,),) = beam_search(model, torch.zeros(1), width=1, **options)
    assert (walked.ids, walked.finished) == want
    assert (beam.ids, beam.finished) == want
    assert beam.logprob == pytest.approx(walked.logprob)


def tied_beam(
    model, width: int, penalty: float, limit: int, banned: set[int]
) -> list[tuple[int, ...]]:
    """Beam search in plain Python, without early stopping: equals stay in the order of their paths and of their ids."""
    beam, finished = [((), 0.0, torch.zeros(1, dtype=torch.int64))], []
    for t in range(limit + 1):
        candidates = []
        for ids, score, state in beam:
            logits, after = model.step(torch.tensor([ids[-1] if ids else BOS]), state, None)
            row = logits[0].log_softmax(0).tolist()
            ranked = sorted((i for i in range(len(row)) if i not in banned), key=lambda i: -row[i])
            candidates += [(score + row[i], (*ids, i), after) for i in ranked if row[i] > -math.inf]
        candidates.sort(key=lambda c: -c[0])
        finished += [
            (s / (t + 1) ** penalty, ids[:-1]) for s, ids, _ in candidates[:width] if ids[-1] == EOS
        ]
        beam = [(ids, s, state) for s, ids, state in candidates if ids[-1] != EOS][:width]
    return [ids for _, ids in sorted(finished, key=lambda f: -f[0])][:width]


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(TIED, min_size=1, max_size=4),
    times=TIMES,
    width=st.integers(1, 5),
    penalty=st.sampled_from([0.0, 1.0]),
    limit=st.integers(1, 4),
)
def test_a_wider_beam_breaks_ties_by_path_and_then_by_id(topk, rows, times, width, penalty, limit):
    rows = [
        [x if i != EOS else max(x, 0.0) for i, x in enumerate(row)] for row in rows
    ]  # there is always a way out
    model = Tied(rows, times)
    want = tied_beam(model, width, penalty, limit, set(BANNED))
    options = {"width": width, "length_penalty": penalty, "limit": limit}
    (found,) = beam_search(model, torch.zeros(1), **options)
    assert ids_of([h for h in found if h.finished]) == want
    (first,) = beam_search(model, torch.zeros(1), **options, n_best=1)
    assert first[0] == found[0]
    tree = beam_tree(model, torch.zeros(1), **options)
    assert list(tree.hypotheses) == found


@pytest.mark.parametrize("unlikely", [0, 90])
def test_a_tie_by_hand(topk, unlikely):
    rest = [0.0] * unlikely
    model = Table([0, 0, 0.2, 0, 0.2, 0.2, 0.2, 0.2, *rest], [0, 0, 1.0, 0, 0, 0, 0, 0, *rest])
    assert greedy(model, torch.zeros(1))[0].ids == ()  # <eos> has the lowest id
    (found,) = beam_search(model, torch.zeros(1), width=4)
    assert ids_of(found) == [(), (4,), (5,), (6,)]
    assert greedy(model, torch.zeros(1), banned=(*BANNED, EOS), limit=1)[0].ids == (4,)


def test_beam_beats_greedy_where_greedy_is_led_astray():
    # After the likelier first word everything is uncertain; after the other one the end is sure.
    class Trap(Table):
        def step(self, tokens, state, memory):
            rows = {
                BOS: [0, 0, 0, 0, 0.6, 0.4],
                4: [0, 0, 0.2, 0, 0.4, 0.4],
                5: [0, 0, 1.0, 0, 0, 0],
            }
            return torch.tensor([rows[int(t)] for t in tokens], dtype=torch.float64).log(), state

    model = Trap([1.0])
    (walked,) = greedy(model, torch.zeros(1), limit=2)
    ((best, *_),) = beam_search(model, torch.zeros(1), width=2, limit=2)
    assert best.ids == (5,)
    assert best.logprob == pytest.approx(math.log(0.4))
    assert walked.ids[0] == 4
    assert best.logprob > walked.logprob


def test_length_penalty_by_hand():
    # Ends at once with 0.5, or writes two sure words: log 0.5 / 1 against log 0.5 / 3 ** penalty.
    model = Table([0, 0, 0.5, 0, 0.5], [0, 0, 0.001, 0, 0.999], [0, 0, 0.999, 0, 0.001])
    for penalty, first in [(0.0, ()), (1.0, (4, 4))]:
        ((best, *_),) = beam_search(model, torch.zeros(1), width=3, limit=4, length_penalty=penalty)
        assert best.ids == first
    assert best.score == pytest.approx((math.log(0.5) + 2 * math.log(0.999)) / 3)
    assert best.logprob == pytest.approx(math.log(0.5) + 2 * math.log(0.999))


@pytest.mark.parametrize("width", [1, 2, 5, 12])
def test_batch_equals_one_at_a_time(width):
    model, x = Recurrent(3, words=12, sharpness=1.5), images(9, 1)
    whole = beam_search(model, x, width=width, limit=8, length_penalty=0.6)
    walked = greedy(model, x, limit=8)
    for i in range(9):
        (alone,) = beam_search(model, x[i : i + 1], width=width, limit=8, length_penalty=0.6)
        assert ids_of(alone) == ids_of(whole[i])
        assert [h.logprob for h in alone] == pytest.approx([h.logprob for h in whole[i]])
        assert [h.finished for h in alone] == [h.finished for h in whole[i]]
        assert greedy(model, x[i : i + 1], limit=8)[0].ids == walked[i].ids


def every_decoder(model, x, **kw):
    yield [[h] for h in greedy(model, x, **kw)]
    yield sample(model, x, n=8, **kw)
    yield sample(model, x, n=8, temperature=2.0, top_k=3, top_p=0.9, **kw)
    for width in (1, 4, 9):
        yield beam_search(model, x, width=width, **kw)
    yield beam_search(model, x, width=4, length_penalty=1.0, n_best=2, **kw)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, limit=st.integers(1, 6), sharpness=st.sampled_from([0.1, 1.0, 5.0]))
def test_every_caption_is_clean_and_its_logprob_is_the_models_own(seed, limit, sharpness):
    model, x = Recurrent(seed, words=9, sharpness=sharpness), images(3, seed)
    for found in every_decoder(model, x, limit=limit):
        assert len(found) == 3
        for image, hypotheses in zip(x, found):
            for h in hypotheses:
                assert not {*BANNED, EOS} & set(h.ids)
                assert len(h.ids) <= limit
                assert h.finished or len(h.ids) == limit
                assert h.logprob == pytest.approx(
                    logprob(model, image, h.ids, h.finished), abs=1e-6
                )
                assert all(type(i) is int for i in h.ids)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, width=st.integers(1, 6), penalty=st.sampled_from([0.0, 1.0]))
def test_beam_results_are_distinct_and_ranked_finished_first(seed, width, penalty):
    model, x = Recurrent(seed, words=8, sharpness=0.5), images(3, seed)
    for hypotheses in beam_search(model, x, width=width, limit=2, length_penalty=penalty):
        assert len(hypotheses) == width
        assert len(set(ids_of(hypotheses))) == width
        order = [(not h.finished, -h.score) for h in hypotheses]
        assert order == sorted(order)
        assert all(
            h.score == pytest.approx(h.logprob / (len(h.ids) + h.finished) ** penalty)
            for h in hypotheses
        )


def test_finished_images_do_not_change_while_others_are_written():
    # Image 0 ends at once and for sure; image 1 needs four words.
    class Two(Table):
        def begin(self, inputs):
            return inputs, torch.zeros(len(inputs), dtype=torch.int64)

        def step(self, tokens, state, memory):
            sure = torch.tensor([0, 0, 1.0, 0, 0, 0], dtype=torch.float64)
            slow = torch.tensor([0, 0, 0.1, 0, 0.6, 0.3], dtype=torch.float64)
            p = torch.where((memory[:, None] == 0) | (state[:, None] >= 4), sure, slow)
            # What the model says about a caption that is over does not matter, not even nonsense.
            p = torch.where((memory[:, None] == 0) & (state[:, None] > 1), torch.nan, p)
            return p.log(), state + 1

    model, x = Two([1.0]), torch.tensor([0, 1])
    found = beam_search(model, x, width=2, limit=6, n_best=1)
    assert found[0] == [decoding.Hypothesis((), 0.0, 0.0, True)]
    # four likeliest words and a sure end (0.6⁴ ≈ 0.13) beat ending at once (0.1)
    assert found[1][0].ids == (4, 4, 4, 4)
    assert [h.ids for h in greedy(model, x, limit=6)] == [(), (4, 4, 4, 4)]


def test_images_that_are_done_leave_the_batch():
    # Image i ends after i words (mod 12), in every state and memory of its own.
    class Ends(Recurrent):
        def begin(self, inputs):
            memory, state = super().begin(inputs[:, :3])
            return (memory, inputs[:, 3]), state

        def step(self, tokens, state, memory):
            logits, state = super().step(tokens, state, memory[0])
            count = state.extra["count"]
            logits[:, EOS] = logits.amax(1) + 3 * (count - 1 - memory[1])
            return logits, state

    model = Ends(4, words=12, sharpness=1.5)
    x = torch.cat([images(30, 4), torch.arange(30, dtype=torch.float64)[:, None] % 12], 1)
    model.steps = []
    together = beam_search(model, x, width=4, limit=15, n_best=2)
    rows = [len(tokens) for tokens in model.steps]
    assert rows[0] == 30  # one path for each at first
    assert max(rows) <= 120
    assert rows[1:] == sorted(rows[1:], reverse=True)
    assert rows[-1] < 30
    for i in range(30):
        (alone,) = beam_search(model, x[i : i + 1], width=4, limit=15, n_best=2)
        assert ids_of(alone) == ids_of(together[i])
        assert [h.logprob for h in alone] == pytest.approx([h.logprob for h in together[i]])


def test_beam_stops_when_nothing_can_win_any_more():
    model = Table([0, 0, 0.9, 0, 0.06, 0.04])
    calls = []
    step = model.step
    model.step = lambda *a: (calls.append(1), step(*a))[1]
    beam_search(model, torch.zeros(2), width=3, limit=50, n_best=1)
    assert len(calls) == 1  # <eos> has 0.9, all living paths together 0.1
    calls.clear()
    beam_search(model, torch.zeros(2), width=3, limit=50, n_best=3)
    assert 1 < len(calls) < 8


# --- sampling -------------------------------------------------------------------------------------


def test_samples_are_as_frequent_as_the_model_says():
    model, x = Recurrent(5, words=6, sharpness=0.6), images(1, 5)
    n = 20_000
    (drawn,) = sample(model, x, n=n, limit=2, banned=(0, 1, 3))
    # Brute force: banned words are never drawn, the others keep their proportions.
    want: dict[tuple[tuple[int, ...], bool], float] = {}
    for length in range(3):
        for ids in itertools.product((4, 5), repeat=length):
            rows = [row.exp() for row in walk(model, x[0], ids)]
            share = [row / row[[EOS, 4, 5]].sum() for row in rows]
            p = math.prod(float(row[i]) for row, i in zip(share, ids))
            want[ids, True] = p * float(share[-1][EOS])
            if length == 2:
                want[ids, False] = p * (1 - float(share[-1][EOS]))
    assert sum(want.values()) == pytest.approx(1)
    counts = dict.fromkeys(want, 0)
    for h in drawn:
        counts[h.ids, h.finished] += 1
    assert chisquare(list(counts.values()), [n * p for p in want.values()]).pvalue > 0.001


@pytest.mark.parametrize(
    "options", [{"temperature": 0.5}, {"temperature": 3.0}, {"top_k": 3}, {"top_p": 0.6}]
)
def test_tempered_and_truncated_samples_follow_their_distribution(options):
    p = torch.tensor([0.0, 0.0, 0.3, 0.0, 0.3 - 0.02, 0.22, 0.15, 0.05], dtype=torch.float64)
    model = Table(p.tolist(), [0, 0, 1.0, 0, 0, 0, 0, 0])
    n = 20_000
    (drawn,) = sample(model, torch.zeros(1), n=n, seed=1, **options)
    want = p.clone()
    if "temperature" in options:
        want = p ** (1 / options["temperature"])
    if "top_k" in options:
        want[[6, 7]] = 0
    if "top_p" in options:  # 0.3 + 0.28 < 0.6, so the third is needed too
        want[[6, 7]] = 0
    want = want / want.sum()
    counts = [0] * 8
    for h in drawn:
        counts[h.ids[0] if h.ids else EOS] += 1
    kept = [i for i in range(8) if want[i] > 0]
    assert sum(counts[i] for i in kept) == n
    assert chisquare([counts[i] for i in kept], [n * float(want[i]) for i in kept]).pvalue > 0.001


@settings(max_examples=60, deadline=None)
@given(
    seed=SEEDS,
    size=st.integers(1, 30),
    temperature=st.sampled_from([0.1, 0.7, 1.0, 2.5]),
    k=st.one_of(st.none(), st.integers(1, 40)),
    p=st.one_of(st.none(), st.floats(0.01, 1.0)),
)
def test_truncation_keeps_exactly_the_right_words(seed, size, temperature, k, p):
    logits = torch.randn(
        2, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    got = decoding.sampling_distribution(logits, temperature=temperature, top_k=k, top_p=p)
    for row, out in zip(logits.tolist(), got.tolist()):
        # the same in plain Python
        weight = {i: math.exp(value / temperature) for i, value in enumerate(row)}
        ranking = sorted(weight, key=weight.get, reverse=True)[: k or size]
        total, kept, mass = sum(weight[i] for i in ranking), [], 0.0
        for i in ranking:
            kept.append(i)
            mass += weight[i] / total
            if p is not None and mass >= p:
                break
        total = sum(weight[i] for i in kept)
        assert out == pytest.approx(
            [weight[i] / total if i in kept else 0.0 for i in range(size)], abs=1e-12
        )
        assert [i for i in range(size) if out[i] > 0] == sorted(kept)


def test_truncation_by_hand():
    logits = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log()
    narrow = decoding.sampling_distribution
    assert narrow(logits, top_p=0.4).tolist() == [[0, 1, 0, 0]]  # 0.4 is already enough
    torch.testing.assert_close(narrow(logits, top_p=0.41), torch.tensor([[0, 4 / 7, 0, 3 / 7]]))
    torch.testing.assert_close(narrow(logits, top_k=2), torch.tensor([[0, 4 / 7, 0, 3 / 7]]))
    # top-k first: 4/7 of what it left is enough for p = 0.5
    assert narrow(logits, top_k=2, top_p=0.5).tolist() == [[0, 1, 0, 0]]
    torch.testing.assert_close(narrow(logits, top_k=99, top_p=1.0), logits.exp())
    assert narrow(torch.zeros(1, 4), top_k=2).tolist() == [
        [0.5, 0.5, 0, 0]
    ]  # a tie goes to the lower ids
    assert narrow(1e4 * logits, temperature=1e-30).tolist() == [[0, 1, 0, 0]]


def test_same_seed_same_samples_and_another_seed_others():
    model, x = Recurrent(1, words=30, sharpness=0.3), images(3)
    first, again, other = ([ids_of(h) for h in sample(model, x, n=5, seed=s)] for s in (7, 7, 8))
    assert first == again
    assert first != other
    before = torch.get_rng_state()
    sample(model, x)
    assert torch.equal(torch.get_rng_state(), before)


def test_cold_samples_are_greedy():
    model, x = Recurrent(2, words=9), images(5)
    for (drawn,), walked in zip(sample(model, x, temperature=1e-9), greedy(model, x)):
        assert drawn.ids == walked.ids


# --- the model's side -----------------------------------------------------------------------------


def test_mode_of_every_part_is_restored_and_no_gradient_is_kept():
    model, x = Recurrent(1), images(2)
    model.frozen = torch.nn.Dropout()
    model.train()
    model.frozen.eval()
    seen = []
    model.dropout.register_forward_hook(
        lambda part, *_: seen.append((part.training, torch.is_grad_enabled()))
    )
    for _ in every_decoder(model, x):
        assert model.training
        assert model.dropout.training
        assert not model.frozen.training
    assert set(seen) == {(False, False)}
    with pytest.raises(IndexError):
        greedy(model, x, bos=99)
    assert model.training
    assert torch.is_grad_enabled()


def test_first_word_read_is_bos():
    model = Recurrent(1)
    beam_search(model, images(2), width=3)
    assert model.steps[0].tolist() == [BOS] * 2


def test_other_special_ids():
    model = Table(
        [0.1, 0.2, 0.0, 0.7], [0.8, 0.1, 0.1, 0.0]
    )  # here 0 closes a caption and 3 is an ordinary word
    assert greedy(model, torch.zeros(1), banned=(), bos=1, eos=0)[0].ids == (3,)
    assert beam_search(model, torch.zeros(1), banned=(), bos=1, eos=0)[0][0].ids == (3,)


def test_half_precision_logits():
    model, x = Recurrent(1), images(2)
    step = model.step
    want = [h.ids for h in greedy(model, x)]

    def half(*a):
        logits, state = step(*a)
        return logits.to(torch.bfloat16), state

    model.step = half
    assert len(want) == len(greedy(model, x)) == len(beam_search(model, x))


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0, 0.0, -1.0, math.nan, math.inf])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="temperature must be a number above 0"):
        sample(Recurrent(0), images(1), temperature=temperature)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m, x: beam_search(m, x, width=0),
            "width must be a whole number of at least 1, got 0",
        ),
        (lambda m, x: beam_search(m, x, width=2.5), "width must be a whole number"),
        (lambda m, x: beam_search(m, x, limit=0), "limit must be"),
        (lambda m, x: greedy(m, x, limit=0), "limit must be"),
        (lambda m, x: greedy(m, x, limit=True), "limit must be"),
        (lambda m, x: sample(m, x, n=0), "n must be"),
        (lambda m, x: sample(m, x, top_k=0), "top_k must be"),
        (lambda m, x: sample(m, x, top_p=0), "top_p must be a number above 0"),
        (lambda m, x: sample(m, x, top_p=1.1), "top_p must be a number above 0 and at most 1"),
        (lambda m, x: sample(m, x, top_p=math.nan), "top_p must be"),
        (lambda m, x: beam_search(m, x, n_best=6), "n_best=6 and width=5"),
        (lambda m, x: beam_search(m, x, n_best=0), "n_best must be"),
        (lambda m, x: beam_search(m, x, length_penalty=-1), "length_penalty must be"),
        (lambda m, x: beam_search(m, x, length_penalty=math.nan), "length_penalty must be"),
        (lambda m, x: greedy(m, x, banned=range(7)), "all 7 words are banned"),
        (lambda m, x: beam_search(m, x, banned=range(7)), "all 7 words are banned"),
        (lambda m, x: greedy(m, x, banned=(7,)), "knows 7 words, but eos or banned holds the id 7"),
        (
            lambda m, x: greedy(m, x, banned=(-1,)),
            "banned must hold ids, whole numbers of at least 0, got -1",
        ),
        (lambda m, x: greedy(m, x, eos=9), "holds the id 9"),
        (lambda m, x: beam_tree(m, x), "a batch of one"),
        (lambda m, x: beam_tree(m, x[:1], pruned=-1), "pruned must be"),
        (
            lambda m, x: beam_tree(m, x[:1], pruned=1.5),
            "pruned must be a whole number of at least 0, got 1.5",
        ),
        (
            lambda m, x: greedy(m, x, banned=(1.7,)),
            "banned must hold ids, whole numbers of at least 0, got 1.7",
        ),
        (lambda m, x: greedy(m, x, banned=(True,)), "banned must hold ids, .* got True"),
        (lambda m, x: greedy(m, x, banned=4), "banned must be a row of ids .* got 4"),
        (lambda m, x: greedy(m, x, banned=None), "banned must be a row of ids .* got None"),
        (lambda m, x: greedy(m, x, banned="45"), "banned must be a row of ids .* got '45'"),
        (lambda m, x: greedy(m, x, eos=2.0), "eos must be a whole number of at least 0, got 2.0"),
        (
            lambda m, x: beam_search(m, x, bos=None),
            "bos must be a whole number of at least 0, got None",
        ),
        (lambda m, x: greedy(m, x, bos=-1), "bos must be .* got -1"),
        (lambda m, x: beam_search(m, x, width=np.float64(2)), "width must be a whole number"),
        (
            lambda m, x: beam_search(m, x, width=torch.tensor([2, 3])),
            "width must be a whole number",
        ),
        (lambda m, x: beam_search(m, x, width=torch.tensor(True)), "width must be a whole number"),
        (lambda m, x: greedy(m, x, limit=np.bool_(True)), "limit must be a whole number"),
        (
            lambda m, x: beam_search(m, x, length_penalty="1"),
            "length_penalty must be a number .* got '1'",
        ),
        (
            lambda m, x: beam_search(m, x, length_penalty=True),
            "length_penalty must be a number .* got True",
        ),
        (
            lambda m, x: sample(m, x, temperature="1"),
            "temperature must be a number above 0, got '1'",
        ),
        (
            lambda m, x: sample(m, x, top_p=True),
            "top_p must be a number above 0 and at most 1, got True",
        ),
        (lambda m, x: sample(m, x, top_p="1"), "top_p must be a number above 0"),
        (lambda m, x: sample(m, x, seed=1.5), "seed must be a whole number .* got 1.5"),
        (lambda m, x: sample(m, x, seed=True), "seed must be a whole number .* got True"),
        (lambda m, x: sample(m, x, seed=2**64), "seed must be a whole number from"),
        (
            lambda m, x: sample(m, x, seed=torch.Generator()),
            "seed must be a whole number .* got <torch",
        ),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(Recurrent(0), images(2))


@pytest.mark.parametrize(
    "kind", [np.int64, np.int32, np.uint8, torch.tensor], ids=lambda k: k.__name__
)
def test_whole_numbers_of_other_libraries_are_whole_numbers(kind):
    model, x = Recurrent(0, sharpness=0.5), images(2)
    numbers = {"limit": 4, "bos": 1, "eos": 2}
    same = {name: kind(n) for name, n in numbers.items()}

    def ids() -> Iterator:
        return (kind(i) for i in BANNED)

    assert greedy(model, x, **same, banned=ids()) == greedy(model, x, **numbers)
    want = sample(model, x, n=3, top_k=2, seed=5, **numbers)
    assert sample(model, x, n=kind(3), top_k=kind(2), seed=kind(5), **same, banned=ids()) == want
    want = beam_search(model, x, width=3, n_best=2, length_penalty=1.0, **numbers)
    options = {"width": kind(3), "n_best": kind(2), "length_penalty": np.float32(1)}
    assert beam_search(model, x, **options, **same, banned=ids()) == want
    tree = beam_tree(model, x[:1], width=kind(3), pruned=kind(1), **same, banned=ids())
    assert tree == beam_tree(model, x[:1], width=3, pruned=1, **numbers)


@pytest.mark.parametrize(
    "banned", [np.array([0, 1, 3]), torch.tensor([3, 1, 0]), {0, 1, 3}, range(0), iter([4])]
)
def test_banned_ids_of_any_kind(banned):
    model, x = Recurrent(0), images(2)
    forbidden = {4} if not hasattr(banned, "__len__") else {int(i) for i in banned}
    for h in greedy(model, x, banned=banned):
        assert not forbidden & set(h.ids)


def test_beam_wider_than_the_vocabulary():
    model, x = Recurrent(0), images(2)
    (found, _) = beam_search(model, x, width=20, limit=2)
    assert len(found) == 13  # all there are: 1 + 3 + 9
    (found, _) = beam_search(model, x, width=20, limit=6)
    assert len(found) == 20


def test_empty_batch():
    for found in every_decoder(Recurrent(0), images(0)):
        assert found == []
    assert greedy(Recurrent(0), []) == []


@pytest.mark.parametrize("row", [[-math.inf] * 3, [math.nan, 0, 1], [math.inf, 0, 1]])
@pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"top_p": 0.5}, {"temperature": 0.1}])
def test_a_distribution_from_logits_without_a_finite_maximum_is_an_error(row, options):
    logits = torch.tensor([[[0.0, 1, 2], row]])  # (1, 2, V)
    with pytest.raises(ValueError, match=r"row \(0, 1\) of logits has no finite maximum"):
        decoding.sampling_distribution(logits, **options)
    with pytest.raises(ValueError, match="the row has no finite maximum"):
        decoding.sampling_distribution(logits[0, 1], **options)


def test_a_distribution_needs_logits_of_at_least_one_word():
    with pytest.raises(ValueError, match=r"logits must be \(\.\.\., V\)"):
        decoding.sampling_distribution(torch.zeros(2, 0))
    with pytest.raises(ValueError, match=r"logits must be \(\.\.\., V\)"):
        decoding.sampling_distribution(torch.tensor(1.0))


@pytest.mark.parametrize("decode", [greedy, sample, beam_search])
def test_every_row_of_minus_infinity_is_named_with_its_step(decode):
    model = Table([0, 0, 0, 0, 0.5, 0.5], [0, 0, 0, 0, 0, 0])
    with pytest.raises(ValueError, match=r"without a finite maximum .* at step 1 for input 0"):
        decode(model, torch.zeros(2))


@pytest.mark.parametrize("eos", [0, 2, 5])
@pytest.mark.parametrize("decode", [greedy, sample, beam_search])
def test_a_caption_at_the_limit_that_cannot_end_is_cut_off(decode, eos):
    """After two words only banned words are possible; with a limit of two nobody has to write a third."""
    word = 3 if eos == 0 else 4
    rows = [[0.0] * 6 for _ in range(3)]
    rows[0][word], rows[1][word], rows[2][1] = 1.0, 1.0, 1.0
    found = decode(Table(*rows), torch.zeros(1), limit=2, banned=(1,), eos=eos)[0]
    h = found if decode is greedy else found[0]
    assert h == decoding.Hypothesis((word, word), 0.0, 0.0, False)


@pytest.mark.parametrize("decode", [greedy, sample, beam_search])
def test_logits_that_are_no_tensor(decode):
    model = Table([0, 0, 0.5, 0, 0.5])
    model.step = lambda tokens, state, memory: ([[0.0] * 5] * len(tokens), state)
    with pytest.raises(
        TypeError, match=r"model\.step must return logits as a tensor, got list at step 0"
    ):
        decode(model, torch.zeros(2))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("decode", [greedy, sample, beam_search])
def test_logits_that_are_no_numbers(decode, bad):
    model, x = Recurrent(0), images(3)
    step, calls = model.step, []

    def broken(tokens, state, memory):
        logits, state = step(tokens, state, memory)
        logits[:, EOS] = -50.0
        if len(calls) == 2:
            logits[-1, 5] = bad
        calls.append(1)
        return logits, state

    model.step = broken
    with pytest.raises(ValueError, match=r"NaN or ±inf\) at step 2 for input 2"):
        decode(model, x)


@pytest.mark.parametrize("decode", [greedy, sample, beam_search])
def test_no_way_out_is_an_error_and_not_padding(decode):
    model = Table(
        [0, 0, 0, 0, 0.5, 0.5], [0.5, 0.5, 0, 0, 0, 0]
    )  # after one word only banned words are possible
    with pytest.raises(ValueError, match=r"no caption for input 0: .* at step 1"):
        decode(model, torch.zeros(2))


def test_eos_banned_cuts_every_caption_at_the_limit():
    model, x = Recurrent(0), images(2)
    for found in every_decoder(model, x, limit=4, banned=(*BANNED, EOS)):
        for h in itertools.chain(*found):
            assert len(h.ids) == 4
            assert not h.finished
            assert EOS not in h.ids


def test_only_eos_left_gives_the_empty_caption():
    for found in every_decoder(Recurrent(0), images(2), banned=(0, 1, 3, 4, 5, 6)):
        assert {h.ids for h in itertools.chain(*found)} == {()}
        assert all(h.finished for h in itertools.chain(*found))


def test_logits_and_rows_of_a_wrong_shape():
    model = Table([0, 0, 0.5, 0, 0.5])
    model.step = lambda tokens, state, memory: (torch.zeros(5), state)
    with pytest.raises(ValueError, match=r"must return logits \(2, V\), got \(5,\)"):
        greedy(model, torch.zeros(2))
    model.begin = lambda inputs: (torch.zeros(1, 2), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="batch as their first dimension"):
        greedy(model, torch.zeros(2))


# --- the tree -------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(
    seed=SEEDS,
    width=st.integers(1, 4),
    sharpness=st.sampled_from([0.3, 2.0]),
    limit=st.integers(1, 5),
)
def test_tree_is_the_search(seed, width, sharpness, limit):
    model, x = Recurrent(seed, words=9, sharpness=sharpness), images(1, seed)
    tree = beam_tree(model, x, width=width, limit=limit)
    assert list(tree.hypotheses) == beam_search(model, x, width=width, limit=limit)[0]
    assert tree.nodes[0] == decoding.Node(-1, (), 0.0, True)
    children, depths = {}, {}
    for i, node in enumerate(tree.nodes[1:], start=1):
        parent = tree.nodes[node.parent]
        assert node.parent < i
        assert node.ids[:-1] == parent.ids
        assert parent.kept
        assert parent.ids[-1:] != (EOS,)
        assert node.logprob <= parent.logprob
        words, finished = (node.ids[:-1], True) if node.ids[-1] == EOS else (node.ids, False)
        assert node.logprob == pytest.approx(logprob(model, x[0], words, finished))
        children.setdefault(node.parent, set()).add(node.ids)
        depths.setdefault(len(node.ids), []).append(node)
    assert sum(map(len, children.values())) == len(tree.nodes) - 1
    for nodes in depths.values():
        kept = [n.logprob for n in nodes if n.kept and n.ids[-1] != EOS]
        dropped = [n.logprob for n in nodes if not n.kept]
        assert len(kept) <= width
        assert len(dropped) <= width
        assert not kept or not dropped or min(kept) >= max(dropped)
    ranked = {n.rank: n for n in tree.nodes if n.rank}
    for rank, h in enumerate(tree.hypotheses, start=1):
        assert ranked[rank].ids == h.ids + (EOS,) * h.finished
        assert ranked[rank].logprob == pytest.approx(h.logprob)
    assert len(ranked) == len(tree.hypotheses)


def test_lines_of_the_drawing_never_cross():
    tree = beam_tree(Recurrent(8, words=9, sharpness=0.7), images(1), width=4, limit=6)
    x, y = plotting._tree_layout(tree.nodes)
    assert len(set(zip(x, y))) == len(tree.nodes)
    lines = [(x[i], y[n.parent], y[i]) for i, n in enumerate(tree.nodes) if n.ids]
    for a, b in itertools.combinations(lines, 2):
        if a[0] == b[0]:
            assert (a[1] - b[1]) * (a[2] - b[2]) >= 0


def test_drawing_shows_every_word_and_rank():
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    tree = beam_tree(Recurrent(8, words=9, sharpness=0.7), images(1), width=3, limit=4)
    words = ["<pad>", "<bos>", "<eos>", "<unk>", *"abcde"]
    ax = plotting.draw_beam_tree(tree, words)
    ax.figure.canvas.draw()
    shown = [t.get_text() for t in ax.texts]
    for i in {n.ids[-1] for n in tree.nodes if n.ids}:
        assert words[i] in shown
    assert sum(t[0].isdigit() and t[1] == "." and t[2:3] in ("", " ") for t in shown if t) == 3
    own = plt.subplots()[1]
    assert plotting.draw_beam_tree(tree, words, ax=own) is own
    with pytest.raises(ValueError, match="only 3 words"):
        plotting.draw_beam_tree(tree, words[:3])
    plt.close("all")
