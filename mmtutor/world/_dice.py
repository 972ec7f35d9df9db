"""Sources of chance that give the same on every machine, and depend on the sample's address alone.

:class:`Dice` gives whole numbers, for ever the same: they are drawn from a hash (BLAKE2) of the
address. No library's generator, whose streams may change between versions, no floating point, and
no order in which samples must be made. :func:`rng` gives a NumPy generator, where real numbers or
many of them are wanted.
"""

from __future__ import annotations

import json
from collections.abc import MutableSequence, Sequence
from hashlib import blake2b
from typing import TypeVar

import numpy as np

from mmtutor.kit import cache

T = TypeVar("T")


class Dice:
    """Random numbers for one sample.

    Args:
        address: what the sample is, for example ``("scenes", "train", 0, 17)``: strings and whole
            numbers.
    """

    __slots__ = ("_block", "_count", "_left", "_pool")

    def __init__(self, *address: str | int) -> None:
        text = "\x1f".join(f"{type(part).__name__}:{part}" for part in address)
        self._block = blake2b(text.encode(), digest_size=32).digest()
        self._count = 0
        self._pool = 0
        self._left = 0

    def below(self, n: int) -> int:
        """A number from 0 to n - 1, all equally likely (to one part in 4 billion; n up to a
        million)."""
        if not self._left:
            self._pool = int.from_bytes(
                blake2b(self._block + self._count.to_bytes(8, "little")).digest(), "little"
            )
            self._count += 1
            self._left = 16
        word = self._pool & 0xFFFFFFFF
        self._pool >>= 32
        self._left -= 1
        return word * n >> 32

    def between(self, low: int, high: int) -> int:
        """A number from low to high, both included."""
        return low + self.below(high - low + 1)

    def chance(self, percent: int) -> bool:
        """True in that many cases of a hundred."""
        return self.below(100) < percent

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def weighted(self, items: Sequence[T], weights: Sequence[int]) -> T:
        """One of the items, in proportion to whole-number weights."""
        ticket = self.below(sum(weights))
        for item, weight in zip(items, weights, strict=True):
            ticket -= weight
            if ticket < 0:
                return item
        raise AssertionError("the weights are not positive")

    def shuffle(self, items: MutableSequence[T]) -> None:
        """Shuffle a list in place."""
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]


def rng(*key: str | int) -> np.random.Generator:
    """Return a generator that depends on the key alone: ``rng(name, split, seed, index)``.

    The key's parts are strings and integers; different keys give independent streams, on every
    machine the same.

    Raises:
        TypeError: a part of the key is neither.
    """
    for part in key:
        if isinstance(part, bool) or not isinstance(part, (str, int, np.integer)):
            raise TypeError(f"a key is made of strings and integers, not of {type(part).__name__}")
    canonical = [part if isinstance(part, str) else int(part) for part in key]
    seed = int(cache.digest(json.dumps(canonical)), 16)
    return np.random.Generator(np.random.PCG64(seed))
