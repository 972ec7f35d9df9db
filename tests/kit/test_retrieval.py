"""Retrieval: against all orders of ties, against the papers' program, in blocks of every size; search and index against sorting."""

import itertools
import math
import sys

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import hypergeom
from torch.profiler import ProfilerActivity, profile

from mmtutor.kit import retrieval
from mmtutor.kit.retrieval import Index, Ranks, Table, both_ways, ceiling, nearest, ranks, same


def vectors(n: int, d: int = 8, seed: int = 0, **kind: object) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), **kind)


# --- Ranks ----------------------------------------------------------------------------------------


def all_orders(scores: list[int], right: list[bool]) -> list[int]:
    """The rank of the first right item, from 1, in every order of the items that falls by score."""
    found = []
    for order in itertools.permutations(range(len(scores))):
        falling = [scores[i] for i in order]
        if falling == sorted(scores, reverse=True):
            found.append(1 + [right[i] for i in order].index(True))
    return found


@pytest.mark.parametrize("seed", range(60))
def test_ties_are_the_mean_over_all_their_orders(seed):
    dice = np.random.default_rng(seed)
    n = int(dice.integers(1, 7))
    scores = dice.integers(0, int(dice.integers(1, 4)), n)
    right = dice.random(n) < 0.4
    right[dice.integers(n)] = True
    orders = all_orders(scores.tolist(), right.tolist())
    r = ranks(torch.tensor(scores)[None].double(), torch.tensor(right)[None])
    assert float(r.rank) == pytest.approx(np.mean(orders))
    for k in range(1, n + 2):
        assert float(r.hit(k)) == pytest.approx(np.mean([rank <= k for rank in orders]))


def test_by_hand():
    scores = torch.tensor([[3.0, 2, 1, 0], [3, 2, 1, 0], [0, 1, 2, 3], [1, 1, 1, 1]])
    right = torch.tensor([[1, 0, 0, 0], [0, 0, 1, 0], [1, 1, 0, 0], [0, 1, 0, 0]]).bool()
    r = ranks(scores, right)
    assert (r.above.tolist(), r.wrong.tolist(), r.right.tolist()) == (
        [0, 2, 2, 0],
        [0, 0, 0, 3],
        [1, 1, 1, 1],
    )
    assert r.rank.tolist() == [1, 3, 3, 2.5]
    assert r.hit(1).tolist() == [1, 0, 0, 0.25]
    assert r.hit(2).tolist() == [1, 0, 0, 0.5]
    assert r.hit(3).tolist() == [1, 1, 1, 0.75]
    # ranks from 0 are 0, 2, 2 and 1.5; their median is 1.75, and ⌊1.75⌋ + 1 = 2
    assert r.median == 2
    assert r.scores((1, 3)) == {"R@1": 0.3125, "R@3": 0.9375, "median rank": 2}
    assert len(r) == 4


def vse_program(images: np.ndarray, captions: np.ndarray) -> tuple[list[float], list[float]]:
    """How the program of VSE++ evaluates (five captions an image), written from its description."""
    n = len(images)
    to_text, to_image = np.zeros(n), np.zeros(5 * n)
    for i in range(n):
        order = np.argsort(images[i] @ captions.T)[::-1]
        to_text[i] = min(np.where(order == j)[0][0] for j in range(5 * i, 5 * i + 5))
        for j in range(5 * i, 5 * i + 5):
            to_image[j] = np.where(np.argsort(captions[j] @ images.T)[::-1] == i)[0][0]

    def score(found):
        recalls = [float(np.mean(found < k)) for k in (1, 5, 10)]
        return recalls + [float(np.floor(np.median(found)) + 1)]

    return score(to_text), score(to_image)


@pytest.mark.parametrize("seed", range(5))
def test_the_papers_protocol(seed):
    images = vectors(40, seed=seed, dtype=torch.float64)
    captions = images.repeat_interleave(5, 0) + 1.5 * vectors(200, seed=seed + 100).double()
    images, captions = (torch.nn.functional.normalize(x, dim=1) for x in (images, captions))
    there, back = both_ways(images, captions, torch.arange(40).repeat_interleave(5))
    wanted = vse_program(images.numpy(), captions.numpy())
    for found, numbers in zip((there, back), wanted):
        assert list(found.scores().values()) == pytest.approx(numbers)
    assert there.recall(1) > back.recall(1) > 0.05  # a best of five; and no chance of 1 in 40


def test_pairs_need_no_owner_and_the_order_of_the_owners_does_not_matter():
    a, b = vectors(20), vectors(20, seed=1)
    for x, y in zip(both_ways(a, b), both_ways(a, b, range(20))):
        assert torch.equal(x.rank, y.rank)
    shuffled = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    there, back = both_ways(a, b[shuffled], shuffled)
    assert torch.equal(there.rank, both_ways(a, b)[0].rank)
    assert torch.equal(back.rank, both_ways(a, b)[1].rank[shuffled])


@pytest.mark.parametrize("n", [1, 2, 7, 50])
def test_a_model_that_gives_everything_one_vector_scores_chance(n):
    for r in both_ways(torch.ones(n, 3), torch.ones(n, 3) * 5):
        for k in (1, 5, 10):
            assert r.recall(k) == pytest.approx(min(1, k / n))
        assert r.median == math.floor((n - 1) / 2) + 1
        assert r.rank.tolist() == [(n + 1) / 2] * n


def test_equal_vectors_are_tied_whatever_rounding_does_and_vectors_of_zeros_are_too():
    base = vectors(1, 1000)
    lengths = torch.linspace(0.1, 9, 301)[:, None]
    r = ranks(retrieval.similarity(base, base * lengths), same([0], [0] * 1 + [1] * 300))
    assert (int(r.above), int(r.wrong), int(r.right)) == (0, 300, 1)
    there, _ = both_ways(torch.zeros(4, 3), vectors(4, 3))
    assert there.recall(1) == 0.25
    exact = ranks(torch.tensor([[0.5, 0.5 + 1e-6]]), torch.tensor([[True, False]]), tie=0)
    assert (int(exact.above), int(exact.wrong)) == (1, 0)
    # beyond 1 the tolerance is a share
    r = ranks(torch.tensor([[5000.0, 5000.002, 5000.02]]), torch.tensor([[True, False, False]]))
    assert (int(r.above), int(r.wrong)) == (1, 1)


def test_very_long_and_very_short_vectors_have_their_cosine():
    q, x = vectors(3).double(), vectors(5, seed=1).double()
    plain = retrieval.similarity(q, x).block(slice(0, 3), slice(0, 5))
    for scale in (1e-300, 1e-30, 1e30, 1e300):
        scaled = retrieval.similarity(q * scale, x).block(slice(0, 3), slice(0, 5))
        torch.testing.assert_close(scaled, plain)


# --- In blocks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cells", [1, 37, 38, 100, 10**9])
def test_blocks_of_every_size_give_the_same(cells):
    """On whole numbers, where sums are exact in any order."""
    a, b = (vectors(n, seed=n).mul(2).round() for n in (23, 37))
    owner = torch.arange(37) % 23
    known = vectors(23, 37) > 1
    scores = retrieval.similarity(a, b, "dot")
    asked = []

    def block(rows, columns):
        asked.append((rows.stop - rows.start) * (columns.stop - columns.start))
        return scores.block(rows, columns)

    right = retrieval.either(retrieval.own((23, 37), owner), known)
    for table, truth in ((Table((23, 37), block), right), (Table((23, 37), block).T, right.T)):
        whole, parts = (
            ranks(scores if table.shape[0] == 23 else scores.T, truth),
            ranks(table, truth, cells=cells),
        )
        for x, y in zip(
            (whole.above, whole.wrong, whole.right), (parts.above, parts.wrong, parts.right)
        ):
            assert torch.equal(x, y)
    assert max(asked) <= max(cells, 37)
    assert sum(asked) == 2 * 23 * 37
    for x, y in zip(
        both_ways(a, b, owner, true=known), both_ways(a, b, owner, true=known, cells=cells)
    ):
        assert torch.equal(x.rank, y.rank)
    found, again = (nearest(a, b, 4, measure="dot", cells=c) for c in (retrieval.CELLS, cells))
    assert torch.equal(found.items, again.items)


def test_a_hundred_thousand_squared_fits():
    """The table would have 40 GB. Blocks of it have no more than CELLS values, whatever its size, and the measured
    memory does not grow with the number of queries."""
    n = 100_000
    asked = []

    def block(rows, columns):
        asked.append((rows.stop - rows.start, columns.stop - columns.start))
        return torch.empty(0).expand(0)  # stop here

    with pytest.raises(ValueError, match="a block of rows"):
        ranks(Table((n, n), block), Table((n, n), block))
    ((height, width),) = asked
    assert (width, height) == (n, retrieval.CELLS // n)
    assert height * width * 4 < 20e6  # bytes of the scores in a block

    items, peaks = vectors(n, 4), []
    for queries in (100, 300):
        scores = retrieval.similarity(vectors(queries, 4, seed=1), items)
        with profile(
            activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True
        ) as seen:
            ranks(scores, same(torch.arange(queries), torch.arange(n)))
        held, most = 0, 0
        for event in seen.profiler.kineto_results.events():
            if event.name() == "[memory]":
                held += event.nbytes()
                most = max(most, held)
        peaks.append(most)
    assert peaks[0] < 40e6
    assert peaks[1] < 1.05 * peaks[0]


# --- What is right, and the ceiling ---------------------------------------------------------------


def test_all_that_is_true_counts_as_right():
    a, b = vectors(30), vectors(60, seed=1)
    owner = torch.arange(60) % 30
    known = torch.rand(30, 60, generator=torch.Generator().manual_seed(0)) < 0.1
    known |= owner == torch.arange(30)[:, None]
    plain = both_ways(a, b, owner)
    by_matrix = both_ways(a, b, owner, true=known)
    by_function = both_ways(
        a, b, owner, true=Table((30, 60), lambda rows, columns: known[rows, columns])
    )
    scores = torch.nn.functional.normalize(a, dim=1) @ torch.nn.functional.normalize(b, dim=1).T
    for way, (p, m, f) in enumerate(zip(plain, by_matrix, by_function)):
        assert torch.equal(m.rank, f.rank)
        assert bool((m.rank <= p.rank).all())
        assert m.recall(1) > p.recall(1)
        s, t = (scores, known) if way == 0 else (scores.T, known.T)
        order = s.argsort(1, descending=True)
        first = t.gather(1, order).float().argmax(1) + 1  # by sorting
        assert torch.equal(m.rank, first.double())


def test_the_ceiling_is_a_draw_among_what_is_true():
    n = 40
    known = torch.rand(n, n, generator=torch.Generator().manual_seed(0)) < 0.1
    known |= torch.eye(n, dtype=torch.bool)
    top = ceiling(known, torch.eye(n, dtype=torch.bool))
    true = known.sum(1)
    for k in (1, 3, 10):
        assert top.recall(k) == pytest.approx(float((k / true).clamp(max=1).mean()))
    assert top.rank.tolist() == pytest.approx(((true + 1) / 2).tolist())
    # with several right ones: the hypergeometric distribution
    right = known & (torch.rand(n, n, generator=torch.Generator().manual_seed(1)) < 0.5)
    right |= torch.eye(n, dtype=torch.bool)
    top = ceiling(known, right)
    for k in (1, 2, 5):
        wanted = [
            1 - hypergeom(int(t), int(r), min(k, int(t))).pmf(0)
            for t, r in zip(known.sum(1), right.sum(1))
        ]
        assert top.hit(k).tolist() == pytest.approx(wanted)
    assert ceiling(known, known).recall(1) == 1


def test_a_judge_who_prefers_the_specific_does_better():
    """Text 0 is true of picture 0 only, text 1 of 0 and 1, text 2 of all three."""
    true = torch.tensor([[1, 1, 1], [0, 1, 1], [0, 0, 1]]).bool()
    eye = torch.eye(3, dtype=torch.bool)
    assert ceiling(true, eye).recall(1) == pytest.approx((1 / 3 + 1 / 2 + 1) / 3)
    assert ceiling(true, eye, specific=True).recall(1) == 1
    # two texts that are equally specific are still a draw
    true = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 0, 1]]).bool()
    first = ceiling(true, eye, specific=True)
    assert first.hit(1).tolist() == pytest.approx([1 / 2, 1 / 3, 1])
    assert torch.equal(first.rank, ceiling(true, eye, specific=True, cells=1).rank)


def test_the_ceiling_needs_what_is_right_to_be_true():
    n = 40
    wrong = torch.eye(n, dtype=torch.bool)
    wrong[3, 5] = True
    with pytest.raises(ValueError, match="the item 5 counts as right for query 3, but is not true"):
        ceiling(torch.eye(n, dtype=torch.bool), wrong)


# --- Search ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", sorted(retrieval.MEASURES))
def test_nearest_sorts_by_the_measure(measure):
    q, x = vectors(6, 5), vectors(90, 5, seed=1)
    name = {"cosine": "cosine", "l2": "euclidean", "l1": "cityblock"}.get(measure)
    scores = q.numpy() @ x.numpy().T if name is None else -cdist(q.numpy(), x.numpy(), name)
    scores = scores + 1 if measure == "cosine" else scores
    found = nearest(q, x, 7, measure=measure, cells=200)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :7]
    assert found.items.tolist() == order.tolist()
    np.testing.assert_allclose(
        found.scores, np.take_along_axis(scores, order, 1), rtol=1e-5, atol=1e-6
    )
    right = torch.zeros(6, 90, dtype=torch.bool).scatter(1, torch.from_numpy(order[:, 3:4]), True)
    assert ranks(retrieval.similarity(q, x, measure), right).rank.tolist() == [4] * 6


def test_small_distances_keep_their_digits():
    x = torch.tensor([[100.0, 100.0], [100.01, 100.0], [100.02, 100.0]])
    found = nearest(x[:1].repeat(1, 1), x.repeat(50, 1), 150, measure="l2")
    assert found.scores[0, 49].item() == 0
    assert found.scores[0, 50].item() == pytest.approx(-0.01, rel=1e-2)


@pytest.mark.parametrize("n", [10, 300])
def test_equals_come_in_the_order_of_their_numbers(n):
    x = torch.ones(n, 2)
    x[n // 2] = torch.tensor([1.0, 0.0])
    rest = [i for i in range(n) if i != n // 2]
    assert nearest(torch.tensor([[1.0, 0.0]]), x, 6).items[0].tolist() == [n // 2, *rest[:5]]


def test_nearest_leaves_out_what_it_must_not_find():
    x = vectors(30)
    itself = torch.arange(30)[:, None]
    assert nearest(x, x, 1).items.tolist() == itself.tolist()
    found = nearest(x, x, 29, exclude=itself)
    assert torch.equal(found.items[:, :5], nearest(x, x, 6).items[:, 1:])
    assert bool((found.items != itself).all())
    assert bool(torch.isfinite(found.scores).all())


def test_the_index_finds_what_the_exact_search_finds():
    """On points that lie in bunches, as those of a trained model do."""
    pytest.importorskip("faiss")
    bunches = vectors(100, 32)
    x = bunches.repeat(30, 1) + 0.3 * vectors(3000, 32, seed=1)
    q = bunches + 0.3 * vectors(100, 32, seed=2)
    index = Index(x)
    exact, found = nearest(q, x, 10), index.nearest(q, 10)
    assert index.agreement(q, 10) > 0.95
    assert index.agreement(q, 10) == pytest.approx(
        np.mean([len({*a} & {*b}) / 10 for a, b in zip(exact.items.tolist(), found.items.tolist())])
    )
    assert bool((found.scores.diff(dim=1) <= 1e-6).all())
    cosine = torch.nn.functional.cosine_similarity(q[:, None], x[found.items], dim=2)
    torch.testing.assert_close(found.scores, cosine)
    assert torch.equal(found.items, Index(x).nearest(q, 10).items)  # the same graph again
    assert Index(x, links=2, effort=1).agreement(q, 10) < index.agreement(q, 10)
    assert len(index) == 3000


def test_the_index_is_never_short():
    """Equal points may be out of reach in the graph; then the exact search helps out."""
    pytest.importorskip("faiss")
    x = torch.cat([torch.ones(300, 4), vectors(20, 4), torch.zeros(2, 4)])
    index = Index(x, links=2, effort=1)
    found = index.nearest(torch.cat([torch.ones(1, 4), torch.zeros(1, 4)]), 322)
    assert [sorted(row) for row in found.items.tolist()] == [list(range(322))] * 2
    torch.testing.assert_close(found.scores[0, :300], torch.ones(300))
    assert index.agreement(torch.ones(1, 4), 5) == 1  # any five of the equal ones


def test_without_faiss_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"pip install faiss-cpu .*retrieval\.nearest"):
        Index(vectors(5))


# --- Bad input ------------------------------------------------------------------------------------

NAN = vectors(5)
NAN[3, 2] = math.nan


@pytest.mark.parametrize("use", [lambda q, x: both_ways(q, x), lambda q, x: nearest(q, x, 2)])
@pytest.mark.parametrize(
    ("q", "x", "error", "message"),
    [
        (NAN, vectors(5), ValueError, "the vector 3 holds NaN or infinity"),
        (vectors(5), NAN / 0, ValueError, "items: the vector 0 holds NaN or infinity"),
        (vectors(5), vectors(5, 7), ValueError, "differ in D: 8 and 7"),
        (vectors(5)[0], vectors(5), ValueError, r"queries must be vectors \(N, D\)"),
        (vectors(5)[:0], vectors(5), ValueError, "both at least 1"),
        (vectors(5), vectors(5)[:0], ValueError, "items must be vectors"),
        (vectors(5).long(), vectors(5), TypeError, "floating point, got torch.int64"),
        (vectors(5).tolist(), vectors(5), TypeError, "floating point, got list"),
    ],
)
def test_bad_vectors(use, q, x, error, message):
    if "items" in message and use.__code__.co_names == ("both_ways",):
        message = message.replace("items", "(items|queries)")
    with pytest.raises(error, match=message):
        use(q, x)


def test_half_precision_is_computed_in_single():
    a, b = vectors(20).half(), vectors(20, seed=1).bfloat16()
    assert nearest(a, b, 3).scores.dtype == torch.float32
    assert torch.equal(nearest(a, b, 3).items, nearest(a.float(), b.float(), 3).items)
    s = vectors(20, 20)
    r = ranks(s.half(), torch.eye(20, dtype=torch.bool))
    assert torch.equal(r.rank, ranks(s.half().float(), torch.eye(20, dtype=torch.bool)).rank)


EYE = torch.eye(3, dtype=torch.bool)


@pytest.mark.parametrize(
    ("scores", "right", "error", "message"),
    [
        (
            torch.ones(3, 3),
            EYE[:2],
            ValueError,
            r"scores are \(3, 3\), but what is right is \(2, 3\)",
        ),
        (torch.ones(3, 3), EYE.float(), TypeError, "must be boolean, got torch.float32"),
        (torch.ones(3, 3), EYE & ~EYE[1], ValueError, "query 1 has no right item"),
        (torch.ones(3, 3) / EYE[2], EYE, ValueError, "the scores of query 0 hold NaN"),
        (torch.ones(0, 3), EYE[:0], ValueError, "both at least 1"),
        (torch.ones(3), EYE[0], ValueError, r"must be \(Q, N\)"),
        ([[1.0]], EYE, TypeError, "a tensor .* or a Table is needed, got list"),
        (
            Table((3, 3), lambda rows, columns: torch.ones(2, 3)),
            EYE,
            ValueError,
            r"must be \(3, 3\), got \(2, 3\)",
        ),
        (Table((3, 3), lambda rows, columns: 1.0), EYE, ValueError, "got float"),
        (
            torch.ones(3, 3),
            Table((3, 3), lambda rows, columns: EYE[:1]),
            ValueError,
            "what is right must be",
        ),
        (
            torch.ones(3, 3),
            Table((3, 3), lambda rows, columns: None),
            TypeError,
            "boolean, got NoneType",
        ),
    ],
)
def test_bad_tables(scores, right, error, message):
    with pytest.raises(error, match=message):
        ranks(scores, right)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ranks(torch.ones(3, 3), EYE, tie=-1), ValueError, "tie must be finite"),
        (lambda: ranks(torch.ones(3, 3), EYE, tie=math.nan), ValueError, "tie must be finite"),
        (lambda: ranks(torch.ones(3, 3), EYE, cells=0), ValueError, "cells must be a whole number"),
        (lambda: ranks(torch.ones(3, 3), EYE).recall(0), ValueError, "k must be a whole number"),
        (lambda: ranks(torch.ones(3, 3), EYE).recall(True), ValueError, "k must be a whole number"),
        (
            lambda: retrieval.similarity(vectors(2), vectors(2), "L2"),
            ValueError,
            "measure must be one of",
        ),
        (lambda: both_ways(vectors(2), vectors(3)), ValueError, "2 and 3 are no pairs"),
        (
            lambda: both_ways(vectors(2), vectors(3), [0, 1]),
            ValueError,
            "owner must hold 3 numbers in 0..1",
        ),
        (lambda: both_ways(vectors(2), vectors(3), [0, 1, 2]), ValueError, "got 3 in 0..2"),
        (
            lambda: both_ways(vectors(2), vectors(3), [0, 0, 0]),
            ValueError,
            "query 1 has no right item",
        ),
        (
            lambda: both_ways(vectors(2), vectors(2), [0.0, 1.0]),
            TypeError,
            "must be whole, got torch.float",
        ),
        (lambda: same([], [1]), (TypeError, ValueError), "."),
        (lambda: same([[1]], [1]), ValueError, "one row"),
        (lambda: retrieval.either(EYE, EYE[:2]), ValueError, "differ in shape"),
        (
            lambda: nearest(vectors(2), vectors(3), 4),
            ValueError,
            r"k must be a whole number in 1\.\.3, got 4",
        ),
        (lambda: nearest(vectors(2), vectors(3), 0), ValueError, "got 0"),
        (
            lambda: nearest(vectors(2), vectors(3), 3, exclude=torch.zeros(2, 1).long()),
            ValueError,
            "1..2",
        ),
        (
            lambda: nearest(vectors(2), vectors(3), 1, exclude=torch.zeros(1, 1).long()),
            ValueError,
            "a row for each of 2",
        ),
        (
            lambda: nearest(vectors(2), vectors(3), 1, exclude=torch.full((2, 1), 3)),
            ValueError,
            r"0\.\.2, got 3\.\.3",
        ),
        (lambda: nearest(vectors(2), vectors(3), 1, exclude=torch.zeros(2, 1)), TypeError, "int64"),
        (lambda: nearest(vectors(2), vectors(3), 1, exclude=[[0], [1]]), TypeError, "got list"),
        (
            lambda: Index(vectors(5), links=1),
            ValueError,
            "links must be a whole number of at least 2",
        ),
        (lambda: Index(vectors(5), effort=0), ValueError, "effort must be"),
        (lambda: Index(NAN), ValueError, "the vector 3 holds NaN"),
        (
            lambda: Index(vectors(5)).nearest(vectors(2, 7)),
            ValueError,
            "must have 8 numbers, got 7",
        ),
        (lambda: Index(vectors(5)).nearest(vectors(2), 6), ValueError, r"1\.\.5, got 6"),
    ],
)
def test_bad_arguments(call, error, message):
    if "Index" in call.__code__.co_names:
        pytest.importorskip("faiss")
    with pytest.raises(error, match=message):
        call()


def test_gradients_are_not_kept():
    a = vectors(5).requires_grad_()
    assert not nearest(a, a, 2).scores.requires_grad
    assert isinstance(both_ways(a, a)[0], Ranks)
