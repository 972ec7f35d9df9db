"""Retrieval: our exact ranks in blocks and the papers' loop over queries; our exact search and the index of faiss.

    python benchmarks/joint_embedding.py [--pictures 2000] [--rounds 3] [--threads 1] [--quick]

The loop is that of the programs of Kiros et al. and of VSE++: for each query one product, one full sort, and a look for the right
item. Pictures have five texts each. The scores of both are compared in the same run. Memory is the most that is allocated at once. At the
size of a large collection (100,000 by 100,000) some queries are run and their time is multiplied. The index is compared with the exact
search on points that lie in bunches: how long it takes to build, to answer one query, and how much of the truth it finds.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable

os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # the profiler need not say that there is no GPU

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmtutor.kit.retrieval import Index, Ranks, both_ways, nearest, ranks, same, similarity

DIM = 256


def program(pictures: np.ndarray, texts: np.ndarray) -> tuple[list[float], list[float]]:
    """R@1, R@5, R@10 and the median rank in both directions, query by query."""
    n = len(pictures)
    to_text, to_picture = np.zeros(n), np.zeros(5 * n)
    for i in range(n):
        order = np.argsort(pictures[i] @ texts.T)[::-1]
        to_text[i] = min(np.where(order == j)[0][0] for j in range(5 * i, 5 * i + 5))
    for j in range(5 * n):
        order = np.argsort(texts[j] @ pictures.T)[::-1]
        to_picture[j] = np.where(order == j // 5)[0][0]
    return tuple(
        [*(float((found < k).mean()) for k in (1, 5, 10)), np.floor(np.median(found)) + 1]
        for found in (to_text, to_picture)
    )


def points(n: int, bunches: int, seed: int) -> Tensor:
    """Unit vectors (n, DIM) in bunches."""
    draw = torch.Generator().manual_seed(seed)
    middle = torch.randn(bunches, DIM, generator=torch.Generator().manual_seed(bunches))
    own = torch.randint(bunches, (n,), generator=draw)
    return F.normalize(middle[own] + 0.5 * torch.randn(n, DIM, generator=draw), dim=1)


def seconds(run: Callable[[], object], rounds: int) -> float:
    """The median of some runs."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def peak(run: Callable[[], object]) -> float:
    """The most memory that torch and NumPy hold at once for what a run allocates, in MB."""
    from torch.profiler import ProfilerActivity, profile

    tracemalloc.start()
    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as recorded:
        run()
    of_numpy = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = itertools.accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns()))
    return (max(held, default=0) + of_numpy) / 2**20


def compare_ranks(n: int, rounds: int) -> None:
    pictures = points(n, n, 0)
    texts = F.normalize(pictures.repeat_interleave(5, 0) + 0.14 * torch.randn(5 * n, DIM), dim=1)
    owner = torch.arange(n).repeat_interleave(5)

    def ours() -> tuple[Ranks, Ranks]:
        return both_ways(pictures, texts, owner)

    def theirs() -> tuple[list[float], list[float]]:
        return program(pictures.numpy(), texts.numpy())

    for found, wanted in zip(ours(), theirs()):
        np.testing.assert_allclose(list(found.scores().values()), wanted)
    ratios, times = [], {ours: [], theirs: []}
    for i in range(rounds):  # in turn, in changing order
        for run in (ours, theirs)[:: 1 if i % 2 == 0 else -1]:
            times[run].append(seconds(run, 1))
        ratios.append(times[theirs][-1] / times[ours][-1])
    print(f"\nboth directions, {n:,} pictures by {5 * n:,} texts, {DIM} dimensions\n")
    print(f"{'':<34}{'seconds':>9}{'memory, MB':>12}")
    for name, run in (("ours", ours), ("one sort a query, NumPy", theirs)):
        print(f"{name:<34}{statistics.median(times[run]):>9.2f}{peak(run):>12.0f}")
    ratio = statistics.median(ratios)
    print(f"ours takes 1/{ratio:.1f} of its time; the scores are the same: {ours()[0].scores()}")


def large(n: int, queries: int) -> None:
    items = points(n, 1000, 1)
    scores = similarity(items[:queries], items)
    right = same(torch.arange(queries), torch.arange(n))
    taken = seconds(lambda: ranks(scores, right), 1)
    print(
        f"\n{n:,} by {n:,}, one direction: {taken * n / queries / 60:.1f} minutes ({queries} queries timed and multiplied), "
        f"{peak(lambda: ranks(scores, right)):.0f} MB beside the vectors; the whole table would have {n * n * 4 / 2**30:.0f} GB"
    )


def compare_search(sizes: list[int], rounds: int) -> None:
    print(
        f"\n10 nearest of N, {DIM} dimensions, one query at a time\n\n{'N':>9}{'exact, ms':>12}{'index, ms':>12}"
        f"{'build, s':>11}{'found':>9}"
    )
    for n in sizes:
        items, queries = points(n, 1000, 2), points(100, 1000, 3)
        start = time.perf_counter()
        index = Index(items)
        build = time.perf_counter() - start
        times = [
            seconds(functools.partial(one_by_one, search, queries), rounds) / len(queries) * 1e3
            for search in (
                functools.partial(nearest, items=items, k=10),
                functools.partial(index.nearest, k=10),
            )
        ]
        found = index.agreement(queries, 10)
        print(f"{n:>9,}{times[0]:>12.2f}{times[1]:>12.2f}{build:>11.1f}{found:>9.3f}")


def one_by_one(search: Callable[[Tensor], object], queries: Tensor) -> None:
    for query in queries.split(1):
        search(query)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="small and once: does it run?")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    small = given.quick
    print(f"torch {torch.__version__}, {platform.machine()}, {given.threads} thread(s)")
    compare_ranks(200 if small else given.pictures, 1 if small else given.rounds)
    large(10_000 if small else 100_000, 100 if small else 500)
    try:
        compare_search([2000] if small else [10_000, 50_000], 1 if small else given.rounds)
    except ImportError as error:
        print(f"\nno index: {error}")


if __name__ == "__main__":
    main()
