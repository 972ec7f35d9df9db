"""Rows that come one after another: training on a set that fits into no memory and on no disk.

A :class:`Stream` is what :func:`mmtutor.kit.training.fit` takes in place of a data set that lies at
hand. Of all rows it holds no more than a buffer, out of which it draws them in a shuffled order::

    rows = Stream(lambda: open_my_rows(), length=1_000_000, buffer=1_000)
    fit(model, rows, batch_size=64)

An order that is drawn from a buffer is less mixed than a whole shuffle: a row comes at most about a
buffer's length too early. Where a set is sorted (by class, say), take a buffer that is larger than a
run of equal ones.

Everything else is as with a set at hand. The order depends on the seed and the epoch alone. Several
processes (and a ``DataLoader``'s workers) read the same rows, and each converts those that are its
own; so no row is lost or seen twice, the last uneven round included, and two processes do what one
does with the double batch. A run that was broken off goes on exactly; it passes over the rows that
were seen. (A ``DataLoader`` of your own asks for the same order in every epoch.)
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from torch.utils.data import Dataset


class Stream(Dataset):
    """A set of which each row is read when its turn comes.

    Args:
        rows: called without an argument it returns the rows anew, always the same ones in the same
            order; or something that can be iterated over again and again, such as a
            ``datasets.IterableDataset``.
        length: how many rows an epoch has: the first so many.
        convert: what makes a sample of a row, for example decodes its picture; the rows that only
            pass by are spared it.
        buffer: how many rows are held, out of which the next one is drawn; 1 keeps the order.
        seed: of the drawing.
        identity: names the source: a checkpoint of a run on one is none for a run on another.

    Raises:
        ValueError: ``length`` or ``buffer`` below 1.
        TypeError: ``rows`` can be read only once, or not at all.
        RuntimeError: (while it is read) the source ends before ``length`` rows.
    """

    in_order = True  # fit asks for the rows in the order in which they come

    def __init__(
        self,
        rows: Callable[[], Iterable[Any]] | Iterable[Any],
        length: int,
        *,
        convert: Callable[[Any], Any] | None = None,
        buffer: int = 1000,
        seed: int = 0,
        identity: str = "",
    ) -> None:
        for name, value in (("length", length), ("buffer", buffer)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name} must be a whole number, at least 1, got {value!r}")
        if isinstance(rows, Iterator) or not (callable(rows) or isinstance(rows, Iterable)):
            raise TypeError(
                "rows must be a function that returns the rows anew, or something that can be read "
                f"again and again, got a {type(rows).__name__}"
            )
        self.rows, self.length, self.convert = rows, int(length), convert
        self.buffer, self.seed = int(buffer), int(seed)
        self._fingerprint = f"{identity} {length} {buffer} {seed}"
        self._at: tuple[int, int, int] | None = None  # process, epoch, the place of the next row
        self._rest: Iterator[Any] = iter(())
        self._back = 0

    def __len__(self) -> int:
        return self.length

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_at": None, "_rest": iter(())}

    def __getitem__(self, index: int) -> Any:
        """The row at ``epoch × length + place``."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        found = [self._row(*divmod(int(index), self.length)) for index in indices]
        return found if self.convert is None else [self.convert(row) for row in found]

    def _row(self, epoch: int, place: int) -> Any:
        if self._at is None or self._at[:2] != (os.getpid(), epoch) or self._at[2] > place:
            self._reopen(epoch)
        row = next(islice(self._rest, place - self._at[2], None), _END)
        if row is _END:
            self._at = None
            raise RuntimeError(
                f"the stream has no row {place:,}, but its length was said to be {self.length:,}"
            )
        self._at = (*self._at[:2], place + 1)
        return row

    def _reopen(self, epoch: int) -> None:
        here = (os.getpid(), epoch)
        self._back = self._back + 1 if self._at is not None and self._at[:2] == here else 0
        if self._back == 10:
            warnings.warn(
                "the rows of a stream are asked for out of their order, and each time it is read "
                "from its beginning; give the Stream itself to fit, or a DataLoader without shuffle",
                stacklevel=5,
            )
        rows = self.rows() if callable(self.rows) else self.rows
        dice = np.random.default_rng([self.seed, epoch])
        self._rest = _shuffled(islice(rows, self.length), self.buffer, dice)
        self._at = (*here, 0)


_END = object()


def _shuffled(rows: Iterator[Any], buffer: int, dice: np.random.Generator) -> Iterator[Any]:
    """Each row once: one out of a full buffer makes room for the next one that comes."""
    held = list(islice(rows, buffer))
    for row in rows:
        place = int(dice.integers(buffer))
        held[place], row = row, held[place]
        yield row
    yield from (held[place] for place in dice.permutation(len(held)).tolist())
