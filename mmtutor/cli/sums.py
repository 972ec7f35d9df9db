"""Sums of words as one types them: ``king - man + woman``."""

from __future__ import annotations

import re


def parse(text: str) -> list[tuple[int, str]]:
    """The words of a sum with their signs.

    >>> parse("king - man + woman")
    [(1, 'king'), (-1, 'man'), (1, 'woman')]

    A minus within a word belongs to it: *well-known*.

    Raises:
        ValueError: no word, two words without a sign between them, or a sign without a word.
    """
    pieces = re.findall(r"(?:(?<=\s)|^)[+\-−–](?=\s|\w|$)|[^\s+]+|\+", text.strip())
    terms: list[tuple[int, str]] = []
    sign: int | None = 1
    for piece in pieces:
        if piece in "+-−–":
            if sign is not None and terms:
                raise ValueError(f"two signs stand side by side in {text!r}")
            sign = 1 if piece == "+" else -1
        elif sign is None:
            raise ValueError(f"put a + or a - between {terms[-1][1]!r} and {piece!r}")
        else:
            terms.append((sign, piece.lower()))
            sign = None
    if not terms or sign is not None:
        raise ValueError(f"a sum looks like: king - man + woman; got {text!r}")
    return terms
