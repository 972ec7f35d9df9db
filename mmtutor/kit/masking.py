"""What is hidden from a model so that it learns to fill it in: words of a sentence, regions of a
picture.

To say a hidden word, one must understand what stands around it, and what the picture shows. So a
pair of a picture and its caption is a lesson that nobody had to label (BERT, Devlin et al. 2019;
with pictures VL-BERT and ViLBERT). Hiding takes two steps:

1. **Choose** (:func:`choose`): each word with probability 0.15; all pieces of a word together. Only
   what was chosen enters the loss.
2. **Corrupt.** Of the chosen words (:func:`corrupt_words`) 80 % become ``<mask>``, 10 % another word
   drawn at random, 10 % stay. Of the chosen regions (:func:`corrupt_regions`) 90 % are hidden, 10 %
   stay. What stays must be said all the same: the model, which never sees ``<mask>`` later, cannot
   rely on it.

A batch in which nothing was chosen has a loss, which is 0 (:mod:`mmtutor.kit.regions`).

Draws come from the generator that is given, or from torch's own, which
:func:`mmtutor.kit.training.fit` seeds at each step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmtutor.kit import text

#: The special words of the house, and three that a transformer needs; give them to a
#: :class:`~mmtutor.kit.text.Vocabulary` as its ``specials``.
SPECIALS = (*text.SPECIALS, "<cls>", "<sep>", "<mask>")
PAD, CLS, SEP, MASK = (SPECIALS.index(word) for word in ("<pad>", "<cls>", "<sep>", "<mask>"))
NOT_CHOSEN = -1  # the target of a word that need not be said


def choose(
    there: Tensor,
    share: float = 0.15,
    generator: torch.Generator | None = None,
    *,
    whole: Tensor | None = None,
    one: bool = False,
) -> Tensor:
    """Choose what shall be said: each element with probability ``share``.

    Args:
        there: (B, N), True where an element may be chosen.
        share: in [0, 1].
        generator: on the device of ``there``.
        whole: (B, N) int64 in 0..N − 1: which word a piece belongs to. Pieces of one number in one
            row are chosen together. By default each is a word of its own.
        one: choose at least one in each row that has any. (In sentences of five words 15 % would
            leave two of five with nothing to learn.)

    Returns:
        (B, N) bool.

    Raises:
        ValueError: a share out of range, or shapes that do not fit.
    """
    check_there(there)
    check_share(share)
    draws = torch.rand(there.shape, generator=generator, device=there.device)
    if whole is not None:
        draws = by_word(draws, whole)
    chosen = draws < share
    if one:  # the smallest draw of a row: if any lies below the share, that one does too
        smallest = draws.masked_fill(~there, 2.0).amin(1, keepdim=True)
        chosen = chosen | (draws == smallest)
    return chosen & there


def by_word(draws: Tensor, whole: Tensor) -> Tensor:
    """One draw for all pieces of a word: (B, N) draws, and the word (B, N) of each piece."""
    if whole.shape != draws.shape or whole.dtype != torch.int64:
        raise ValueError(
            f"whole must be int64 of shape {tuple(draws.shape)}, "
            f"got {whole.dtype} of {tuple(whole.shape)}"
        )
    return draws.gather(1, whole)


def corrupt_words(
    words: Tensor,
    chosen: Tensor,
    vocabulary: int,
    generator: torch.Generator | None = None,
    *,
    whole: Tensor | None = None,
    mask: int = MASK,
    first: int = len(SPECIALS),
) -> Tensor:
    """The sentences as the model sees them: 80 % of the chosen words are ``<mask>``, 10 % another,
    10 % as they were.

    Args:
        words: (B, T) ids.
        chosen: (B, T), of :func:`choose`.
        vocabulary: V; what stands in a word's place is drawn from ``first``..V − 1.
        generator: on the device of the words.
        whole: as for :func:`choose`: all pieces of a word meet the same fate.
        mask: the id of ``<mask>``.
        first: the first id that is no special word. (BERT draws from all: 0.)

    Returns:
        (B, T) ids.

    Raises:
        ValueError: no word to draw, or shapes that do not fit.
    """
    if chosen.shape != words.shape:
        raise ValueError(
            f"chosen must be {tuple(words.shape)} as the words, got {tuple(chosen.shape)}"
        )
    if not 0 <= first < vocabulary:
        raise ValueError(f"no word to draw: first is {first}, the vocabulary has {vocabulary}")
    fate = torch.rand(words.shape, generator=generator, device=words.device)
    if whole is not None:
        fate = by_word(fate, whole)
    drawn = torch.randint(first, vocabulary, words.shape, generator=generator, device=words.device)
    words = torch.where(chosen & (fate < 0.8), mask, words)
    return torch.where(chosen & (fate >= 0.8) & (fate < 0.9), drawn, words)


def corrupt_regions(chosen: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Which of the chosen regions (B, R) the model does not see: 90 % of them, (B, R) bool."""
    check_there(chosen)
    return chosen & (torch.rand(chosen.shape, generator=generator, device=chosen.device) < 0.9)


def hide_words(
    words: Tensor,
    vocabulary: int,
    share: float = 0.15,
    generator: torch.Generator | None = None,
    *,
    whole: Tensor | None = None,
    one: bool = False,
    mask: int = MASK,
    first: int = len(SPECIALS),
) -> tuple[Tensor, Tensor]:
    """Choose and corrupt words (B, T), of which 0 is ``<pad>``; see :func:`choose` and
    :func:`corrupt_words`.

    Returns:
        the sentences as the model sees them (B, T); and the words to say (B, T),
        :data:`NOT_CHOSEN` elsewhere.
    """
    chosen = choose(words != PAD, share, generator, whole=whole, one=one)
    seen = corrupt_words(words, chosen, vocabulary, generator, whole=whole, mask=mask, first=first)
    return seen, words.masked_fill(~chosen, NOT_CHOSEN)


def hide_regions(
    there: Tensor,
    share: float = 0.15,
    generator: torch.Generator | None = None,
    *,
    one: bool = False,
) -> tuple[Tensor, Tensor]:
    """Choose and corrupt regions, ``there`` (B, R); region 0, the whole picture, is never chosen.

    Returns:
        the regions to name (B, R) bool, and those of them that the model does not see.
    """
    check_there(there)
    own = there & (torch.arange(there.shape[1], device=there.device) > 0)
    chosen = choose(own, share, generator, one=one)
    return chosen, corrupt_regions(chosen, generator)


class Hidden(NamedTuple):
    """Pairs of a sentence and a picture, in which something is hidden."""

    words: Tensor  # (B, T), as the model sees them
    targets: Tensor  # (B, T), the words to say, NOT_CHOSEN elsewhere
    asked: Tensor  # (B, R) bool, the regions to name
    gone: Tensor  # (B, R) bool, those that the model does not see


def hide(
    batch: Mapping[str, Tensor],
    *,
    vocabulary: int,
    mask: int,
    first: int,
    words: float,
    regions: float | None,
    one: bool,
) -> Hidden:
    """What is hidden in a batch; what the batch does not say is drawn, by torch's own generator.

    Args:
        batch: ``"words"`` (B, T) and ``"there"`` (B, R). Optional: ``"whole"`` (B, T), see
            :func:`choose`; ``"word_targets"`` (B, T), then the words are hidden already;
            ``"masked"`` (B, R), the regions to name, and ``"replaced"`` (B, R), those of them
            that are not seen (by default all).
        vocabulary, mask, first: see :func:`corrupt_words`.
        words: the share of words to choose.
        regions: the share of regions; None: regions are hidden only where the batch says so.
        one: see :func:`choose`.

    Raises:
        ValueError: a region that is not seen and need not be named.
    """
    seen, there = batch["words"], batch["there"]
    if "word_targets" in batch:
        targets = batch["word_targets"]
    else:
        seen, targets = hide_words(
            seen, vocabulary, words, whole=batch.get("whole"), one=one, mask=mask, first=first
        )
    if "masked" in batch:
        asked = batch["masked"]
        gone = batch.get("replaced", asked)
        if gone.device.type == "cpu" and bool((gone & ~asked).any()):
            raise ValueError("what is 'replaced' must be 'masked': nobody asks for it otherwise")
    elif regions is None:
        asked = gone = torch.zeros_like(there)
    else:
        asked, gone = hide_regions(there, regions, one=one)
    return Hidden(seen, targets, asked, gone)


def mismatch(
    rows: Tensor, share: float = 0.5, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Give some pictures of a batch the caption of another.

    Which ones is drawn, and so is how far the captions move on: the other caption is that of
    another picture of the batch, though it may by chance be true of this one too. A batch of one
    has no other caption and stays as it is.

    Args:
        rows: (B, …), the captions, or their numbers.
        share: of pictures that get another caption, in [0, 1].
        generator: on the device of the captions.

    Returns:
        the captions (B, …); and ``aligned`` (B,) bool, True where they are the picture's own.

    Raises:
        ValueError: a share out of range.
    """
    check_share(share)
    n, device = len(rows), rows.device
    aligned = torch.rand(n, generator=generator, device=device) >= share
    if n == 1:
        return rows, torch.ones_like(aligned)
    step = torch.randint(1, n, (1,), generator=generator, device=device)
    other = rows[(torch.arange(n, device=device) + step) % n]
    keep = aligned.view(-1, *(1 for _ in rows.shape[1:]))
    return torch.where(keep, rows, other), aligned


class Pretraining(nn.Module):
    """A model whose loss is its ``pretrain_loss``, so that :func:`mmtutor.kit.training.fit` can
    pre-train it: ``fit(Pretraining(model), pairs, …)``, then ``fit(model, questions, …)``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        return self.model.pretrain_loss(batch)


def check_share(share: float) -> None:
    """Raise an error unless ``share`` is in [0, 1]."""
    if not 0 <= share <= 1:
        raise ValueError(f"a share must be in [0, 1], got {share}")


def check_there(there: Tensor) -> None:
    """Raise an error unless ``there`` is (B, N) bool."""
    if not isinstance(there, Tensor) or there.dtype != torch.bool or there.ndim != 2:
        got = f"{there.dtype} {tuple(there.shape)}" if isinstance(there, Tensor) else type(there)
        raise ValueError(f"a mask must be (B, N) of type bool, got {got}")
