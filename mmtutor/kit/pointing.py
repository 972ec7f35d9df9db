"""Pointing: a word that has just been said is looked for in the picture.

A captioner with attention looks *before* it says a word, at what might come next. To go on with "the
sun is to the left of", it must know where the sun is that it has just named. Among several things
the look that led to the word does not tell: it was spread over all that could have been named. So
the word itself asks. A cell i of the map has a *key* k_i = K c_i, made of its content c_i, and a word
with vector y has a query q = Q y. The weights are

    π_i = exp(s k_i · q / √k) / (exp(b · y + b₀) + Σ_j exp(s k_j · q / √k)).

The first term below the line is *nothing*: a word such as "the" is nowhere, and then the weights sum
to (nearly) 0. Otherwise they lie on the cells that show what the word says: the word is *bound* to
its place.

**How keys and queries find each other.** The sentences alone teach it slowly: that "sun" means these
cells pays only some words later, and only if all between is learnt already. Told what is in each
cell, it is a matter of seconds. :meth:`Pointer.naming` asks each cell for its name, by the very scores
k_i · q that point: a softmax over the names, and nothing.

**It costs no recurrence.** The weights depend on the words and the picture, not on the decoder's
state. In training, where all words are known, they are computed for all steps at once.

Sources: ours. A word that looks at a map is the cross-attention of a Transformer (Vaswani et al. 2017,
section 3.2.3), with one more place for nothing. That attention be told what has been covered is Tu et
al. 2016, for translation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Pointer(nn.Module):
    """Finds words in a map.

    Args:
        content: C, numbers that say what is in a cell (channels of the map).
        words: m, length of a word's vector.
        width: k, length of keys and queries.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(self, content: int, words: int, width: int = 32) -> None:
        super().__init__()
        for name, value in (("content", content), ("words", words), ("width", width)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.key = nn.Linear(content, width)  # K
        self.query = nn.Linear(words, width, bias=False)  # Q
        self.nothing = nn.Linear(words, 1)  # b, b₀
        self.log_scale = nn.Parameter(torch.tensor(1.0))  # ln s

    def scores(self, words: Tensor, keys: Tensor) -> Tensor:
        """s k_i · q / √k: words (B, T, m) and keys (B, L, k), or words (V, m) for all; (B, T, L)."""
        scale = self.log_scale.exp() * keys.shape[-1] ** -0.5
        return scale * self.query(words) @ keys.transpose(1, 2)

    def forward(self, words: Tensor, keys: Tensor) -> Tensor:
        """The weights π: where each word is.

        Args:
            words: (B, T, m), vectors of words.
            keys: (B, L, k), ``self.key(content)``: made once a picture, not once a word.

        Returns:
            (B, T, L), not negative; a row sums to at most 1. What is missing to 1 is *nothing*.
        """
        cells = self.scores(words, keys)  # (B, T, L)
        return torch.cat([cells, self.nothing(words)], -1).softmax(-1)[..., :-1]

    def naming(
        self, names: Tensor, keys: Tensor, cells: Tensor, counted: Tensor | None = None
    ) -> Tensor:
        """How badly the cells find their names: −log p(name of a cell), mean over cells.

        Args:
            names: (V, m), the vectors of the words that can name a cell.
            keys: (B, L, k).
            cells: (B, L) whole numbers, which of the names is in a cell; −1: none.
            counted: (B,) bool, whose cells count; all if not given.

        Returns:
            a number. p is the softmax of the scores over all names and none, whose score is 0.

        Raises:
            ValueError: cells of another shape, no whole numbers, or (looked at on the CPU) out of
                range.
        """
        if cells.shape != keys.shape[:2]:
            raise ValueError(f"cells must be {tuple(keys.shape[:2])}, got {tuple(cells.shape)}")
        if cells.is_floating_point():
            raise ValueError(f"cells must be whole numbers, got {cells.dtype}")
        if cells.device.type == "cpu" and not -1 <= int(cells.min()) <= int(cells.max()) < len(
            names
        ):
            raise ValueError(
                f"cells must lie in -1..{len(names) - 1}, "
                f"got {int(cells.min())}..{int(cells.max())}"
            )
        scores = self.scores(names, keys).transpose(1, 2)  # (B, L, V)
        scores = torch.cat([scores, torch.zeros_like(scores[..., :1])], -1)
        goal = torch.where(cells < 0, len(names), cells).long()
        if counted is not None:
            goal = goal.masked_fill(~counted[:, None], -100)  # what cross_entropy leaves out
        return F.cross_entropy(scores.flatten(0, 1), goal.flatten())


class Labeller(Pointer):
    """A pointer that also says of each cell, by itself, whether a word names what is in it.

    The weights of a pointer sum to at most 1 for each word: they tell where a thing is, but not
    whether there are two. And :meth:`Pointer.naming` gives a cell one name. Here several words may
    name it: *dog*, *dogs*, *animal*, *animals*.
    """

    def fits(self, words: Tensor, keys: Tensor) -> Tensor:
        """How well words fit cells, beside *nothing*: s k_i · q / √k − b · y − b₀, (B, T, L).

        The softmax of these and of 0 is π, their logistic function the probability that a word
        names what is in a cell, whatever the other cells hold.
        """
        return self.scores(words, keys) - self.nothing(words)

    def labelling(self, words: Tensor, keys: Tensor, applies: Tensor) -> Tensor:
        """How badly words find all cells that they name, several of them naming one cell ("dog",
        "animals"): the binary cross-entropy of :meth:`fits`, summed over words, mean over cells.

        Args:
            words: (V, m), the vectors of the words that can name a cell.
            keys: (B, L, k).
            applies: (B, L, V), 1 where the word names the cell, else 0.

        Returns:
            a number.

        Raises:
            ValueError: ``applies`` of another shape.
        """
        fits = self.fits(words, keys).transpose(1, 2)  # (B, L, V)
        if applies.shape != fits.shape:
            raise ValueError(f"applies must be {tuple(fits.shape)}, got {tuple(applies.shape)}")
        loss = F.binary_cross_entropy_with_logits(fits, applies.to(fits.dtype), reduction="none")
        return loss.sum(-1).mean()
