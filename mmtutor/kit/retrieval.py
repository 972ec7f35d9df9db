"""Who finds whom? Scores of retrieval, the nearest of a collection, and an index of it.

Queries look for items: pictures for texts and texts for pictures, voices for faces, dishes for
recipes. Everything here rests on a table of scores (Q, N), a row a query and a column an item. A
table of 100,000 × 100,000 has 40 GB. So it is never held: a :class:`Table` says what is in it, and
blocks of rows are made, used and forgotten.

- :func:`ranks` asks at which place of its list a query finds its first right item; R@1, R@5, R@10
  and the median rank are read off (:class:`Ranks`). What is right is a table too: the query's own
  partner as in the papers, or everything that is true.
- :func:`ceiling` asks what a judge would reach who knows what is true, and nothing else.
- :func:`nearest` finds the best items, exactly; :class:`Index` finds nearly the same without
  looking at all of them.

**Ties.** Several items may have the same score: equal captions have equal vectors. Then every order
among them is equally likely, and the scores are the expectation over these orders. So a model that
gives everything the same vector scores what chance gives, and not what the order of the file gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmtutor.kit.decoding import _best as best_of_rows
from mmtutor.kit.vision import finite

KS = (1, 5, 10)
CELLS = 2**21  # scores at a time; with what is computed from them some 30 MB

# --- Tables ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """Q × N values that need not all exist at once.

    Args:
        shape: (Q, N).
        block: a function of two slices, rows and columns, that makes this part: (q, n).
    """

    shape: tuple[int, int]
    block: Callable[[slice, slice], Tensor]

    @property
    def T(self) -> Table:
        """The same table with rows and columns exchanged."""
        return Table(self.shape[::-1], lambda rows, columns: self.block(columns, rows).T)

    def rows(self, cells: int = CELLS) -> Iterator[tuple[slice, Tensor]]:
        """Blocks of whole rows from top to bottom, of at most ``cells`` values (at least one row)
        each.

        Raises:
            ValueError: ``cells`` below 1, or a block that is not of the size that was asked for.
        """
        if isinstance(cells, bool) or not isinstance(cells, int) or cells < 1:
            raise ValueError(f"cells must be a whole number of at least 1, got {cells!r}")
        (q, n), step = self.shape, max(1, cells // self.shape[1])
        for start in range(0, q, step):
            part = slice(start, min(start + step, q))
            values = self.block(part, slice(0, n))
            if not isinstance(values, Tensor) or values.shape != (part.stop - start, n):
                got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
                raise ValueError(
                    f"a block of rows {start}..{part.stop - 1} must be "
                    f"{(part.stop - start, n)}, got {got}"
                )
            yield part, values


def table(values: Tensor | Table) -> Table:
    """A matrix (Q, N), Q and N at least 1, as a :class:`Table`; a table stays as it is.

    Raises:
        TypeError: neither of them.
        ValueError: another shape.
    """
    if not isinstance(values, (Tensor, Table)):
        raise TypeError(f"a tensor (Q, N) or a Table is needed, got {type(values).__name__}")
    if len(values.shape) != 2 or min(values.shape) < 1:
        raise ValueError(
            f"a table must be (Q, N), both at least 1, got the shape {tuple(values.shape)}"
        )
    if isinstance(values, Table):
        return values
    return Table(tuple(values.shape), lambda rows, columns: values[rows, columns])


def _dot(q: Tensor, x: Tensor) -> Tensor:
    return q @ x.T


def _l2(q: Tensor, x: Tensor) -> Tensor:
    # The fast way by a product of matrices loses the digits of small distances.
    return -torch.cdist(q, x, compute_mode="donot_use_mm_for_euclid_dist")


def _l1(q: Tensor, x: Tensor) -> Tensor:
    return -torch.cdist(q, x, p=1)


#: How alike two vectors are; more is nearer, so distances have a minus.
MEASURES = {"cosine": _dot, "dot": _dot, "l2": _l2, "l1": _l1}  # cosine: of unit vectors


def similarity(queries: Tensor, items: Tensor, measure: str = "cosine") -> Table:
    """How alike queries and items are.

    Args:
        queries: (Q, D), floating point, finite.
        items: (N, D), on the same device.
        measure: ``"cosine"`` (a vector of zeros has 0 with everything), ``"dot"``, or a distance
            with its sign turned, ``"l2"`` or ``"l1"``.

    Returns:
        A :class:`Table` (Q, N). Half precision is computed in float32.

    Raises:
        TypeError: no tensors of floating point.
        ValueError: shapes that do not fit, NaN or infinity, or an unknown measure.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure must be one of {tuple(MEASURES)}, got {measure!r}")
    queries, items = check_vectors(queries, "queries"), check_vectors(items, "items")
    if queries.shape[1] != items.shape[1]:
        raise ValueError(
            f"queries (Q, D) and items (N, D) differ in D: {queries.shape[1]} and {items.shape[1]}"
        )
    if measure == "cosine":
        queries, items = _unit(queries), _unit(items)
    score = MEASURES[measure]
    return Table(
        (len(queries), len(items)), lambda rows, columns: score(queries[rows], items[columns])
    )


def _unit(x: Tensor) -> Tensor:
    """Rows (N, D) at length 1, however long or short; a row of zeros stays one."""
    length = torch.linalg.vector_norm(x, dim=1)
    if bool(((length - 1).abs() < 1e-6).all()):  # as a model's are
        return x
    return F.normalize(
        x / x.abs().amax(1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny), dim=1
    )


def check_vectors(vectors: Tensor, name: str) -> Tensor:
    """Vectors (N, D), N and D at least 1, without gradients, in float32 or float64.

    Raises:
        TypeError: no tensor of floating point.
        ValueError: another shape, or NaN or infinity; the message names the first such row.
    """
    if not isinstance(vectors, Tensor) or not vectors.is_floating_point():
        got = vectors.dtype if isinstance(vectors, Tensor) else type(vectors).__name__
        raise TypeError(f"{name} must be a tensor of floating point, got {got}")
    if vectors.ndim != 2 or min(vectors.shape) < 1:
        raise ValueError(
            f"{name} must be vectors (N, D), both at least 1, got {tuple(vectors.shape)}"
        )
    vectors = vectors.detach()
    vectors = vectors.float() if vectors.dtype in (torch.float16, torch.bfloat16) else vectors
    if not finite(vectors):
        row = int((~torch.isfinite(vectors).all(1)).nonzero()[0, 0])
        raise ValueError(f"{name}: the vector {row} holds NaN or infinity")
    return vectors


def same(queries: Tensor | Sequence[int], items: Tensor | Sequence[int]) -> Table:
    """True where a query and an item have the same number: of a picture, a speaker, a class.

    Args:
        queries: (Q,) whole numbers.
        items: (N,).

    Returns:
        A boolean :class:`Table` (Q, N).

    Raises:
        TypeError: what is not whole numbers.
        ValueError: not one row of at least one number.
    """
    a, b = _numbers(queries, "queries"), _numbers(items, "items")
    return Table((len(a), len(b)), lambda rows, columns: a[rows, None] == b[None, columns])


def _numbers(numbers: Any, name: str) -> Tensor:
    numbers = torch.as_tensor(numbers)
    if numbers.is_floating_point() or numbers.dtype == torch.bool:
        raise TypeError(f"the numbers of the {name} must be whole, got {numbers.dtype}")
    if numbers.ndim != 1 or len(numbers) < 1:
        raise ValueError(
            f"the numbers of the {name} must be one row of at least one, "
            f"got the shape {tuple(numbers.shape)}"
        )
    return numbers


# --- Ranks ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ranks:
    """Where each query finds its first right item. Three counts say all, ties included.

    Args:
        above: (Q,) wrong items with a higher score than the best right one.
        wrong: (Q,) wrong items with the same score as the best right one.
        right: (Q,) right items with that score, at least 1.
    """

    above: Tensor
    wrong: Tensor
    right: Tensor

    def __len__(self) -> int:
        return len(self.above)

    @property
    def rank(self) -> Tensor:
        """The rank of the first right item, from 1, (Q,) float64; with ties its expectation.

        In a random order of w wrong and r right items w / (r + 1) wrong ones stand before the first
        right one.
        """
        return 1 + self.above + self.wrong.double() / (self.right + 1)

    def hit(self, k: int) -> Tensor:
        """With which probability a right item is among a query's first k, (Q,) float64; 0 or 1
        where there is no tie.

        Of the k places ``above`` are taken. The j that are left miss with probability C(w, j) /
        C(w + r, j).
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"k must be a whole number of at least 1, got {k!r}")
        wrong, right, left = self.wrong.double(), self.right.double(), k - self.above
        miss = torch.ones_like(wrong)
        for t in range(int(left.clamp(max=int(self.wrong.max()) + 1).max())):
            miss = torch.where(
                t < left, miss * (wrong - t).clamp(min=0) / (wrong + right - t).clamp(min=1), miss
            )
        return 1 - miss

    def recall(self, k: int) -> float:
        """R@k, in [0, 1]: the share of queries with a right item among the first k."""
        return float(self.hit(k).mean())

    @property
    def median(self) -> int:
        """The median rank as the papers compute it: ⌊median of the ranks from 0⌋ + 1."""
        return math.floor(np.median(self.rank.cpu().numpy() - 1)) + 1

    def scores(self, ks: Sequence[int] = KS) -> dict[str, float]:
        """``{"R@1": …, "R@5": …, "R@10": …, "median rank": …}``."""
        return {f"R@{k}": self.recall(k) for k in ks} | {"median rank": self.median}


@torch.no_grad()
def ranks(
    scores: Tensor | Table, right: Tensor | Table, *, tie: float = 1e-6, cells: int = CELLS
) -> Ranks:
    """Rank the items of every query by their scores, and find the first right one. Exact.

    Papers call it the best rank: where a picture has five captions, the best placed of them counts.

    Args:
        scores: (Q, N), more is better; a matrix, or a :class:`Table` such as :func:`similarity`.
        right: (Q, N) boolean, on the same device.
        tie: scores that differ from the best right one by no more than this are equal to it; where
            that is beyond ±1, by no more than this share of it. A product of matrices rounds, and
            equal vectors need not get equal scores.
        cells: how many scores there are at a time. Memory grows with it, and not with Q × N.

    Raises:
        TypeError: ``right`` is not boolean.
        ValueError: shapes that do not fit, NaN or infinity among the scores, ``tie`` negative, or a
            query without a right item (it is named).
    """
    scores, right = table(scores), table(right)
    if scores.shape != right.shape:
        raise ValueError(f"scores are {scores.shape}, but what is right is {right.shape}")
    if not 0 <= tie < math.inf:
        raise ValueError(f"tie must be finite and not negative, got {tie}")
    counts = []
    for part, s in scores.rows(cells):
        r = right.block(part, slice(0, right.shape[1]))
        _check_block(s, r, part)
        s = s.float() if s.dtype in (torch.float16, torch.bfloat16) else s
        best = torch.where(r, s, -math.inf).amax(1, keepdim=True)  # (b, 1)
        _check_found(best, part)
        margin = tie * best.abs().clamp(min=1)
        above, reach = s > best + margin, s >= best - margin  # (b, N)
        above, reach, tied = (x.sum(1, dtype=torch.int32) for x in (above, reach, reach & r))
        counts.append(torch.stack([above, reach - above - tied, tied]).long().cpu())
    return Ranks(*torch.cat(counts, 1))


def _check_block(scores: Tensor, right: Tensor, part: slice) -> None:
    if not isinstance(right, Tensor) or right.dtype != torch.bool:
        got = right.dtype if isinstance(right, Tensor) else type(right).__name__
        raise TypeError(f"what is right must be boolean, got {got}")
    if right.shape != scores.shape:
        raise ValueError(
            f"a block of what is right must be {tuple(scores.shape)}, got {tuple(right.shape)}"
        )
    if not finite(scores):
        row = int((~torch.isfinite(scores).all(1)).nonzero()[0, 0])
        raise ValueError(f"the scores of query {part.start + row} hold NaN or infinity")


def _check_found(best: Tensor, part: slice) -> None:
    none = best[:, 0] == -math.inf
    if bool(none.any()):
        raise ValueError(
            f"query {part.start + int(none.nonzero()[0, 0])} has no right item; leave it out"
        )


def both_ways(
    first: Tensor,
    second: Tensor,
    owner: Tensor | Sequence[int] | None = None,
    *,
    true: Tensor | Table | None = None,
    measure: str = "cosine",
    tie: float = 1e-6,
    cells: int = CELLS,
) -> tuple[Ranks, Ranks]:
    """Retrieval in both directions, as papers report it: pictures look for texts, texts for
    pictures.

    Args:
        first: (N, D), say the pictures.
        second: (M, D), say their texts.
        owner: (M,), to which of the N each of the M belongs; not needed where M = N and they are
            pairs. A picture then has several right texts, of which the best placed counts, and a
            text one right picture.
        true: (N, M) boolean, or a :class:`Table`: count these as right too. Without it an item
            counts as wrong although it is true, if it was made for another query.
        measure: see :func:`similarity`.
        tie: see :func:`ranks`.
        cells: see :func:`ranks`.

    Returns:
        :class:`Ranks` of the first in the second, and of the second in the first.

    Raises:
        TypeError, ValueError: as :func:`similarity` and :func:`ranks`; an owner out of range, or
            one of the first to whom nothing belongs.
    """
    there, back = similarity(first, second, measure), similarity(second, first, measure)
    right = own(there.shape, owner, first.device)
    if true is not None:
        right = either(right, true)
    return (
        ranks(there, right, tie=tie, cells=cells),
        ranks(back, right.T, tie=tie, cells=cells),
    )


def own(
    shape: tuple[int, int],
    owner: Tensor | Sequence[int] | None = None,
    device: torch.device | str | None = None,
) -> Table:
    """What belongs to whom, a boolean :class:`Table` (N, M): ``owner`` (M,) is as in
    :func:`both_ways`."""
    n, m = shape
    if owner is None and n != m:
        raise ValueError(f"{n} and {m} are no pairs; say in owner (M,) whose each of the {m} is")
    owner = torch.arange(n) if owner is None else _numbers(owner, "owners")
    if len(owner) != m or not 0 <= int(owner.min()) <= int(owner.max()) < n:
        raise ValueError(
            f"owner must hold {m} numbers in 0..{n - 1}, "
            f"got {len(owner)} in {int(owner.min())}..{int(owner.max())}"
        )
    return same(torch.arange(n, device=device), owner.to(device))


def either(a: Tensor | Table, b: Tensor | Table) -> Table:
    """True where one of two boolean tables (Q, N) is."""
    a, b = table(a), table(b)
    if a.shape != b.shape:
        raise ValueError(f"the tables differ in shape: {a.shape} and {b.shape}")
    return Table(a.shape, lambda rows, columns: a.block(rows, columns) | b.block(rows, columns))


def ceiling(
    true: Tensor | Table, right: Tensor | Table, *, specific: bool = False, cells: int = CELLS
) -> Ranks:
    """What a judge reaches who knows what is true, and nothing else.

    All t true items of a query stand on top, in a random order. If r of them count as right, the
    expected R@k is 1 − C(t − r, k) / C(t, k); with r = 1 it is k / t, at most 1. That is no bound:
    of several true texts the one that fits few other pictures is the likelier to have been written
    for this one. With ``specific`` the judge puts the true items in that order.

    Args:
        true: (Q, N) boolean.
        right: (Q, N) boolean, what counts as right; all of it must be true.
        specific: prefer items that are true of few queries.
        cells: see :func:`ranks`.

    Raises:
        ValueError: something counts as right that is not true; or as :func:`ranks`.
    """
    true, right = table(true), table(right)
    fits = sum(t.sum(0) for _, t in true.rows(cells)) if specific else None  # (N,)

    def block(rows: slice, columns: slice) -> Tensor:
        t, r = true.block(rows, columns), right.block(rows, columns)
        wrong = r & ~t
        if bool(wrong.any()):
            row, column = (wrong.nonzero()[0]).tolist()
            raise ValueError(
                f"the item {column} counts as right for query {rows.start + row}, "
                "but is not true of it"
            )
        return t.double() if fits is None else t / fits[columns].clamp(min=1).double()

    return ranks(Table(true.shape, block), right, tie=0.0, cells=cells)


# --- Search ---------------------------------------------------------------------------------------


class Found(NamedTuple):
    """The k best items of each query, best first."""

    scores: Tensor  # (Q, k)
    items: Tensor  # (Q, k) int64, their numbers


@torch.no_grad()
def nearest(
    queries: Tensor,
    items: Tensor,
    k: int = 5,
    *,
    measure: str = "cosine",
    exclude: Tensor | None = None,
    cells: int = CELLS,
) -> Found:
    """The k items nearest to each query. Exact; items with equal scores stand in the order of their
    numbers (where rounding does not part them).

    Args:
        queries: (Q, D).
        items: (N, D).
        k: how many.
        measure: see :func:`similarity`.
        exclude: (Q, e) numbers of items that a query shall not find: itself, say.
        cells: see :func:`ranks`.

    Raises:
        TypeError, ValueError: as :func:`similarity`; k or an excluded number out of range.
    """
    scores = similarity(queries, items, measure)
    q, n = scores.shape
    if exclude is not None:
        exclude = _check_exclude(exclude, q, n).to(queries.device)
    _check_k(k, n if exclude is None else n - exclude.shape[1])
    parts = []
    for part, s in scores.rows(cells):
        s = s if exclude is None else s.scatter(1, exclude[part], -math.inf)
        parts.append(best_of_rows(s, k))
    return Found(*map(torch.cat, zip(*parts)))


def _check_exclude(exclude: Tensor, q: int, n: int) -> Tensor:
    if not isinstance(exclude, Tensor) or exclude.dtype != torch.int64 or exclude.ndim != 2:
        got = (
            f"{exclude.dtype} {tuple(exclude.shape)}"
            if isinstance(exclude, Tensor)
            else type(exclude).__name__
        )
        raise TypeError(f"exclude must be an int64 tensor ({q}, e), got {got}")
    if len(exclude) != q:
        raise ValueError(f"exclude must have a row for each of {q} queries, got {len(exclude)}")
    if exclude.numel() and not 0 <= int(exclude.min()) <= int(exclude.max()) < n:
        raise ValueError(
            f"exclude must lie in 0..{n - 1}, got {int(exclude.min())}..{int(exclude.max())}"
        )
    return exclude


def _check_k(k: int, most: int) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= most:
        raise ValueError(f"k must be a whole number in 1..{most}, got {k!r}")


class Index:
    """The nearest of a collection without a look at all of it: a graph of neighbours, walked from
    far to near (HNSW: Malkov and Yashunin 2018), by the library faiss. By cosine.

    It finds nearly what :func:`nearest` finds; :meth:`agreement` says how nearly. Up to some
    hundred thousand items the exact search is fast enough, and needs no library beside torch. The
    graph is built on one thread, so that the same vectors give the same graph.

    Args:
        vectors: (N, D), finite.
        links: neighbours that an item keeps in the graph; more are slower and find more.
        effort: candidates that are looked at, for a query as for a new item; for a query at
            least k.

    Raises:
        ImportError: faiss is not installed; the message says how to get it.
        TypeError, ValueError: no such vectors, or settings below 2 and 1.
    """

    def __init__(self, vectors: Tensor, *, links: int = 32, effort: int = 64) -> None:
        faiss = _faiss()
        for name, value, least in (("links", links, 2), ("effort", effort, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(
                    f"{name} must be a whole number of at least {least}, got {value!r}"
                )
        self.vectors = _unit(check_vectors(vectors, "vectors").cpu().float())
        self.effort = effort
        self.graph = faiss.IndexHNSWFlat(self.vectors.shape[1], links, faiss.METRIC_INNER_PRODUCT)
        self.graph.hnsw.efConstruction = effort
        with _one_thread(faiss):
            self.graph.add(self.vectors.numpy())

    def __len__(self) -> int:
        return len(self.vectors)

    def nearest(self, queries: Tensor, k: int = 5) -> Found:
        """Nearly the k nearest items of each query (Q, D), with their cosines, on the CPU.

        A query for which the walk ends with fewer than k is answered exactly.

        Raises:
            TypeError, ValueError: no such queries, or k out of range.
        """
        queries = check_vectors(queries, "queries").cpu().float()
        if queries.shape[1] != self.vectors.shape[1]:
            raise ValueError(
                f"a query must have {self.vectors.shape[1]} numbers, got {queries.shape[1]}"
            )
        _check_k(k, len(self))
        self.graph.hnsw.efSearch = max(self.effort, k)
        queries = _unit(queries)
        scores, items = map(torch.from_numpy, self.graph.search(queries.numpy(), k))
        short = (items < 0).any(1)
        if bool(short.any()):
            scores[short], items[short] = nearest(queries[short], self.vectors, k)
        return Found(scores, items)

    def agreement(self, queries: Tensor, k: int = 5) -> float:
        """The share of the k truly nearest items that the index finds, in [0, 1]. Of items that are
        equally near any will do."""
        exact, found = nearest(queries.cpu(), self.vectors, k), self.nearest(queries, k)
        return float((found.scores >= exact.scores[:, -1:] - 1e-6).double().mean())


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "an Index needs the library faiss: pip install faiss-cpu (or mmtutor[search]); "
            "mmtutor.kit.retrieval.nearest finds the same items without it"
        ) from error
    return faiss


class _one_thread:
    """faiss on one thread inside a ``with`` block."""

    def __init__(self, faiss: Any) -> None:
        self.faiss, self.before = faiss, faiss.omp_get_max_threads()

    def __enter__(self) -> None:
        self.faiss.omp_set_num_threads(1)

    def __exit__(self, *error: object) -> None:
        self.faiss.omp_set_num_threads(self.before)
