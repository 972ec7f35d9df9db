"""The layers of BERT, from which VL-BERT and ViLBERT are wired.

A layer has two halves: every element looks at elements (*attention*), then each is worked on by
itself (*feed-forward*). Each half adds what it found to what was there, and the sum is brought to
mean 0 and variance 1 *afterwards* (Vaswani et al. 2017, Devlin et al. 2019)::

    x = norm(x + dropout(attention(x, x)))
    x = norm(x + dropout(contract(gelu(expand(x)))))

The elements that look and those that are looked at need not be the same: in ViLBERT words look at
regions, and regions at words. So :class:`Attention` takes both.

**Who is there.** Masks are True where there is an element. A place that holds none gets −10,000
added to its score, as in the authors' programs: its weight is then exactly 0, whatever the number
type. Where there is nothing at all to look at, attention adds 0, so a row without elements is never
NaN.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-12  # of the layer norms, as in BERT
FAR = -10_000.0  # added to the score of a place that holds nothing


def sizes(**given: int) -> None:
    """Raise a ValueError unless all are whole numbers, at least 1."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number, at least 1, got {value!r}")


class Attention(nn.Module):
    """Each of N elements x asks, all of M elements y answer: softmax(Q(x) K(y)ᵀ / √d) V(y), in
    several heads of d numbers, side by side; then one layer.

    It has (width + 1)·inner weights for Q, (other + 1)·inner each for K and V, and (inner +
    1)·width for the layer.

    Args:
        width: numbers of an element that asks.
        heads: how many questions each element asks at once.
        dropout: of the weights, in training.
        other: numbers of an element that answers; by default ``width``.
        inner: numbers of all heads together; by default ``width``.

    Raises:
        ValueError: sizes below 1, ``inner`` that is no multiple of ``heads``, or a dropout out of
            range.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        dropout: float = 0.0,
        other: int | None = None,
        inner: int | None = None,
    ) -> None:
        super().__init__()
        other, inner = other or width, inner or width
        sizes(width=width, heads=heads, other=other, inner=inner)
        if inner % heads:
            raise ValueError(f"{inner} numbers cannot be shared out among {heads} heads")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(other, inner)
        self.value = nn.Linear(other, inner)
        self.output = nn.Linear(inner, width)

    def split(self, x: Tensor) -> Tensor:
        """(B, N, inner) as heads: (B, heads, N, d)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, y: Tensor, there: Tensor) -> Tensor:
        """What each element found.

        Args:
            x: (B, N, width), who asks.
            y: (B, M, other), who answers.
            there: (B, M), True where y holds an element. Where a row holds none, nothing is found.

        Returns:
            (B, N, width).
        """
        q, k, v = self.split(self.query(x)), self.split(self.key(y)), self.split(self.value(y))
        dropout = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(q, k, v, far(there, q), dropout)
        found = self.output(found.transpose(1, 2).flatten(2))  # (B, N, width)
        return found * there.any(1)[:, None, None]

    def weights(self, x: Tensor, y: Tensor, there: Tensor) -> Tensor:
        """Where each element looks: (B, heads, N, M), each row of sum 1 (without dropout); 0 where
        there is nothing to look at. :meth:`forward` is these weights, times V(y)."""
        q, k = self.split(self.query(x)), self.split(self.key(y))
        scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5 + far(there, q)
        return scores.softmax(-1) * there.any(1)[:, None, None, None]


def far(there: Tensor, like: Tensor) -> Tensor:
    """What is added to the scores (B, heads, N, M): 0 where ``there`` (B, M) holds an element, and
    −10,000 elsewhere; (B, 1, 1, M)."""
    return torch.where(there, 0.0, FAR).to(like.dtype)[:, None, None]


class FeedForward(nn.Module):
    """Each element by itself, through one wide layer and back; added to what was there, and
    normalised: (B, N, width) to (B, N, width)."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        sizes(width=width, hidden=hidden)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width, EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.dropout(self.contract(F.gelu(self.expand(x)))))


class Layer(nn.Module):
    """One layer of BERT: the elements of a sequence look at one another, then each works by itself.

    Args:
        width: numbers of an element.
        heads: of attention.
        hidden: width of the feed-forward half.
        dropout: in three places: the weights of attention, and what each half adds.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.norm = nn.LayerNorm(width, EPS)
        self.dropout = nn.Dropout(dropout)
        self.feed_forward = FeedForward(width, hidden, dropout)

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """(B, N, width) to (B, N, width); ``there`` (B, N) is True where x holds an element."""
        x = self.norm(x + self.dropout(self.attention(x, x, there)))
        return self.feed_forward(x)


class Transform(nn.Sequential):
    """What BERT puts before it names a word: a layer, GELU, a layer norm; (…, width) as before."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width, EPS))


class WordHead(nn.Module):
    """Which word was hidden? A score for each: its vector of the table, times what stands there.

    The table is the one that the words were read with (*tied*), so it has only a bias of its own.
    """

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.transform = Transform(width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        """(B, T, width) and the table (V, width) to scores (B, T, V)."""
        return F.linear(self.transform(x), table, self.bias)


@torch.no_grad()
def first_weights(model: nn.Module, spread: float) -> None:
    """BERT's first weights: drawn from a normal distribution of standard deviation ``spread``,
    biases 0. Layer norms, and parameters that belong to no such layer, stay as they are."""
    for part in model.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            part.weight.normal_(std=spread)
            if isinstance(part, nn.Linear):
                part.bias.zero_()
