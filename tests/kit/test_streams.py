"""Rows that come one after another: their order, exact resumption, two processes, workers, and a memory that stays flat."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from itertools import chain
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from launching import launch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmtutor.kit.streams import Stream
from mmtutor.kit.training import fit


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMTUTOR_PROGRESS", "0")


class Line(nn.Module):
    """Learns from numbers, and remembers which ones it saw."""

    def __init__(self, stop: int | None = None) -> None:
        super().__init__()
        self.w, self.stop = nn.Parameter(torch.tensor([0.5, -0.5])), stop
        self.seen: list[list[int]] = []

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        if len(self.seen) == self.stop:
            raise KeyboardInterrupt
        self.seen.append(batch["number"].tolist())
        x = batch["number"] / 20
        return (self.w[0] * x + self.w[1] - x.sin()).square().mean()


def rows(n: int):
    return lambda: ({"number": i} for i in range(n))


def drawn(stream: Stream, epoch: int = 0) -> list:
    n = len(stream)
    return [row["number"] for row in stream.__getitems__(list(range(epoch * n, (epoch + 1) * n)))]


# --- the order ------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 80), st.integers(0, 9), st.integers(0, 5))
def test_every_row_comes_once(n: int, buffer: int, seed: int, epoch: int) -> None:
    order = drawn(Stream(rows(n + 3), n, buffer=buffer, seed=seed), epoch)
    assert sorted(order) == list(range(n))
    assert all(row < place + buffer for place, row in enumerate(order))  # it had come by then
    assert order == drawn(Stream(rows(n), n, buffer=buffer, seed=seed), epoch)
    if buffer == 1:
        assert order == list(range(n))


def test_epochs_and_seeds_differ_and_a_large_buffer_mixes_well() -> None:
    stream = Stream(rows(10_000), 10_000, buffer=5_000)
    first, second = drawn(stream), drawn(stream, 1)
    assert first != second
    assert first != drawn(Stream(rows(10_000), 10_000, buffer=5_000, seed=1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.6
    assert drawn(stream) == first  # and back again


@pytest.mark.parametrize("buffer", [1, 2, 7, 60])
def test_no_more_rows_than_the_buffer_are_held(buffer: int) -> None:
    opened = []

    def source():
        for number in range(50):
            opened.append(number)
            yield {"number": number}

    stream = Stream(source, 50, buffer=buffer, seed=3)
    for place in range(20):
        stream[place]
        assert len(opened) - place <= buffer + 1


def test_the_order_is_what_it_was() -> None:
    """Drawn one by one or many at a time, NumPy's numbers are the same."""
    dice, held, expected = np.random.default_rng([3, 1]), list(range(7)), []
    for place, row in zip(dice.integers(7, size=43).tolist(), range(7, 50)):
        expected.append(held[place])
        held[place] = row
    expected += [held[place] for place in dice.permutation(7).tolist()]
    assert drawn(Stream(rows(50), 50, buffer=7, seed=3), 1) == expected


def test_only_the_rows_that_are_asked_for_are_converted() -> None:
    asked = []
    stream = Stream(rows(100), 100, buffer=1, convert=lambda row: asked.append(row["number"]))
    stream.__getitems__([3, 4, 50, 99])
    assert asked == [3, 4, 50, 99]


# --- training -------------------------------------------------------------------------------------

RUN = dict(epochs=3, batch_size=5, lr=0.05, log_every=1)


@pytest.mark.parametrize("make", [rows, lambda n: datasets.Dataset.from_dict({"number": range(n)}).to_iterable_dataset()])  # fmt: skip
def test_in_order_it_is_what_a_loader_in_order_gives(make) -> None:
    streamed, plain = Line(), Line()
    history = fit(streamed, Stream(make(23), 23, buffer=1), **RUN)
    at_hand = datasets.Dataset.from_dict({"number": range(23)})
    assert history == fit(plain, DataLoader(at_hand, batch_size=5), **RUN)
    assert torch.equal(streamed.w, plain.w)


def test_every_epoch_sees_every_row_in_another_order() -> None:
    model = Line()
    fit(model, Stream(rows(23), 23, buffer=8), **RUN)
    epochs = [[*chain(*model.seen[i : i + 5])] for i in (0, 5, 10)]
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize("stop", [2, 5, 8])
def test_a_run_that_was_broken_off_goes_on_exactly(tmp_path: Path, stop: int) -> None:
    whole, resumed = Line(), Line()
    history = fit(whole, Stream(rows(23), 23, buffer=8), **RUN)
    options = RUN | {"checkpoint": tmp_path / "c.pt", "checkpoint_every": 1}
    with pytest.raises(KeyboardInterrupt):
        fit(Line(stop), Stream(rows(23), 23, buffer=8), **options)
    assert fit(resumed, Stream(rows(23), 23, buffer=8), **options) == history
    assert torch.equal(whole.w, resumed.w)
    assert resumed.seen == whole.seen[stop:]
    for other in (
        Stream(rows(23), 23, buffer=9),
        Stream(rows(23), 23, buffer=8, identity="x"),
        Stream(rows(23), 23, buffer=8, seed=1),
    ):
        with pytest.raises(ValueError, match="belongs to another run"):
            fit(Line(), other, **options)


def test_workers_lose_no_row_and_see_none_twice() -> None:
    model = Line()
    stream = Stream(rows(23), 23, buffer=8)
    fit(model, DataLoader(stream, batch_size=5, num_workers=2), epochs=2)
    assert sorted(chain(*model.seen[:5])) == list(range(23))
    assert [*chain(*model.seen[:5])] == drawn(stream)


# --- what is no stream ----------------------------------------------------------------------------


def test_a_source_that_ends_too_early_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="has no row 20, but its length was said to be 23"):
        fit(Line(), Stream(rows(20), 23, buffer=1), **RUN)


def test_rows_that_can_be_read_only_once_are_refused() -> None:
    for wrong in (rows(3)(), 3):
        with pytest.raises(TypeError, match="again and again"):
            Stream(wrong, 3)
    for name, value in (("length", 0), ("buffer", 0), ("length", 2.0), ("buffer", True)):
        with pytest.raises(ValueError, match=f"{name} must be a whole number"):
            Stream(rows(3), **{"length": 3, name: value})
    with pytest.raises(TypeError, match=r"rows that only come one after another: kit\.streams"):
        fit(Line(), rows(3)())


def test_a_shuffling_loader_is_warned_of() -> None:
    stream = Stream(rows(50), 50)
    with pytest.warns(UserWarning, match="out of their order"):
        fit(Line(), DataLoader(stream, batch_size=5, shuffle=True))


# --- memory ---------------------------------------------------------------------------------------

MEMORY = """
import os, sys, torch
sys.path[:0] = [{tests!r}, os.path.dirname({tests!r})]
import test_streams as t
def peak():  # MB; getrusage's is that of the process that started this one, where it was larger
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
def run(n):
    model = t.Line()
    model.seen = t.Few()
    t.fit(model, t.Stream(t.rows(n), n), batch_size=2_000, collate=t.numbers)
    assert model.seen.count == n and model.seen.total == n * (n - 1) // 2
    return peak()
found = [run(1_000), run(1_000), run(1_000_000)]
at_hand = list(t.rows(1_000_000)())
print(*found, peak())
"""


class Few(list):
    """Counts what would otherwise fill the memory."""

    count = total = 0

    def append(self, batch: list[int]) -> None:
        self.count += len(batch)
        self.total += sum(batch)


def numbers(batch: list[dict[str, int]]) -> dict[str, Tensor]:
    return {"number": torch.tensor([row["number"] for row in batch])}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux counts the memory")
def test_the_memory_stays_flat_from_a_thousand_rows_to_a_million() -> None:
    code = MEMORY.format(tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"MMTUTOR_DEVICE": "cpu", "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[:6000]
    _, before, streamed, at_hand = map(float, done.stdout.split())
    assert streamed - before < 10, done.stdout  # MB
    assert at_hand - before > 100, done.stdout  # and this would have been seen


# --- two processes --------------------------------------------------------------------------------

TWO = """
import os, sys, torch
sys.path[:0] = [{tests!r}, os.path.dirname({tests!r})]
import test_streams as t
rank = int(os.environ["RANK"])
done = {{}}
for n in t.SIZES:
    model, converted = t.Line(), []
    stream = t.Stream(t.rows(n), n, buffer=8, convert=lambda row: converted.append(row["number"]) or row)
    history = t.fit(model, stream, **t.RUN)
    done[n] = dict(w=model.w.detach(), seen=model.seen, losses=history.losses["loss"], converted=len(converted))
workers = t.Line()
t.fit(workers, t.DataLoader(t.Stream(t.rows(40), 40, buffer=8), batch_size=5, num_workers=2))
torch.save(done | {{"workers": workers.seen}}, f"{{sys.argv[1]}}/{{rank}}.pt")
torch.distributed.barrier()
os._exit(0)  # torch itself aborts now and then when it takes gloo down, even where nothing was sent
"""
SIZES = (40, 43, 47)


def test_two_processes_share_the_rows_and_do_what_one_does(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO.format(tests=str(Path(__file__).parent)))
    done = launch(script, tmp_path)
    assert done.returncode == 0, done.stderr[:6000]
    two = [torch.load(tmp_path / f"{i}.pt", weights_only=True) for i in (0, 1)]
    for n in SIZES:
        alone = Line()
        history = fit(
            alone, Stream(rows(n), n, buffer=8), **{**RUN, "batch_size": 2 * RUN["batch_size"]}
        )
        first, second = (t[n] for t in two)
        assert torch.equal(first["w"], second["w"])
        torch.testing.assert_close(first["w"], alone.w.detach(), atol=1e-6, rtol=1e-5)
        assert first["losses"] == pytest.approx(history.losses["loss"], rel=1e-5)
        together = [a + b for a, b in zip(first["seen"], second["seen"], strict=True)]
        assert together == alone.seen
        per_epoch = len(together) // 3
        for start in range(0, len(together), per_epoch):
            seen = Counter(chain(*together[start : start + per_epoch]))
            assert seen == Counter(range(n))
        assert first["converted"] + second["converted"] == 3 * n  # only its own
    assert sorted(chain(*two[0]["workers"], *two[1]["workers"])) == list(range(40))
