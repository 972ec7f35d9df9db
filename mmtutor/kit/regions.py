"""Words and regions: where a region lies, what a model that reads both is scored by, and what it
refuses.

A picture is a set of regions. Each has a vector of *features* (what is there) and a *box*: the
corners x1, y1, x2, y2 as fractions of the picture, from its upper left, in [0, 1]. Region 0 is the
whole picture. ``there`` (B, R) is True where there is a region, so that pictures of a batch may have
different numbers of them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmtutor.kit.masking import NOT_CHOSEN, PAD

ANSWER_LOSSES = ("softmax", "sigmoid")
WAVELENGTH = 1000.0  # of the longest sine, in hundredths of a picture over 2π


class Picture(NamedTuple):
    """What is seen of B pictures, checked."""

    regions: Tensor  # (B, R, D)
    boxes: Tensor  # (B, R, 4)
    there: Tensor  # (B, R)


# --- Where a region lies --------------------------------------------------------------------------


def centred(boxes: Tensor) -> Tensor:
    """Corners (B, R, 4) as the centre, from −1 (left, top) to 1, and width and height in [0, 1]:
    (B, R, 4)."""
    low, high = boxes.split(2, -1)
    return torch.cat([low + high - 1, high - low], -1)


def waves(boxes: Tensor, count: int) -> Tensor:
    """Centre x, centre y, width and height of boxes (B, R, 4), in hundredths of the picture, each
    by ``count`` sines and as many cosines: (B, R, 8·count).

    The k-th has sin(100 z / 1000^(k/count)): fast ones tell near places apart, slow ones far ones
    (VL-BERT, section 3.2, as in Hu et al. 2018).
    """
    low, high = boxes.split(2, -1)
    at = 100 * torch.cat([(low + high) / 2, high - low], -1)  # (B, R, 4)
    k = torch.arange(count, device=boxes.device, dtype=boxes.dtype)
    angle = at[..., None] / WAVELENGTH ** (k / count)  # (B, R, 4, count)
    return torch.cat([angle.sin(), angle.cos()], -1).flatten(2)


def with_area(boxes: Tensor) -> Tensor:
    """Corners (B, R, 4) and the share of the picture that they hold: (B, R, 5), as ViLBERT has
    it."""
    low, high = boxes.split(2, -1)
    return torch.cat([boxes, (high - low).prod(-1, keepdim=True)], -1)


def whole_from_parts(regions: Tensor, there: Tensor, hidden: Tensor) -> Tensor:
    """The regions (B, R, D) with region 0, the whole picture, as the mean of the others that are
    there and not ``hidden`` (B, R); zeros if all are hidden. A picture without others keeps its
    own.

    The vector of a whole picture shows what is hidden in it. Where a vector stands for each region
    and no pixels are at hand, the whole is made anew of what can be seen.
    """
    others, seen = there[:, 1:], (there & ~hidden)[:, 1:, None].to(regions.dtype)
    mean = (regions[:, 1:] * seen).sum(1) / seen.sum(1).clamp(min=1)  # (B, D)
    whole = torch.where(others.any(1, keepdim=True), mean, regions[:, 0])
    return torch.cat([whole[:, None], regions[:, 1:]], 1)


# --- Scores and losses ----------------------------------------------------------------------------


def mean_of(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean of the values where ``chosen``; 0, not NaN, where nothing is."""
    values = torch.where(chosen, values, values.new_zeros(()))
    return values.sum() / chosen.sum().clamp(min=1)


def word_losses(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """−log p of hidden words, and whether the most probable one is right.

    Args:
        scores: (B, T, V).
        targets: (B, T) ids, :data:`~mmtutor.kit.masking.NOT_CHOSEN` where nothing is asked.

    Returns:
        (B, T) losses, 0 where nothing is asked; and (B, T) of 0 and 1.
    """
    losses = F.cross_entropy(
        scores.transpose(1, 2), targets, ignore_index=NOT_CHOSEN, reduction="none"
    )
    return losses, (scores.argmax(-1) == targets).float()


def region_losses(scores: Tensor, classes: Tensor, kl: bool = False) -> tuple[Tensor, Tensor]:
    """How far what is said of each region is from what a detector said, and whether the most
    probable class is the detector's.

    Args:
        scores: (B, R, C).
        classes: (B, R, C), distributions p.
        kl: Σ p (log p − log q), as ViLBERT has it; otherwise −Σ p log q, as VL-BERT. The two differ
            by the entropy of p, which no weight can change: they have the same gradients. But only
            the first is 0 when all is learnt.

    Returns:
        (B, R) losses, and (B, R) of 0 and 1.
    """
    losses = -(classes * scores.log_softmax(-1)).sum(-1)
    if kl:
        losses = losses + torch.special.xlogy(classes, classes).sum(-1)
    return losses, (scores.argmax(-1) == classes.argmax(-1)).float()


def answer_loss(scores: Tensor, answers: Tensor, how: str) -> dict[str, Tensor]:
    """The loss of questions.

    Args:
        scores: (B, K).
        answers: (B,) ids. With ``"sigmoid"`` also (B, K) in [0, 1], how right each answer is.
        how: ``"softmax"``: −log p of the one answer. ``"sigmoid"``: each answer is right or wrong
            by itself; the binary cross-entropy, summed over the K answers, as in both papers. Mean
            over the batch.

    Returns:
        ``"loss"``; for the eye ``"right"``: the mean of how right the most probable answer is.
    """
    found = scores.argmax(1)
    if answers.ndim == 1 and how == "softmax":
        loss = F.cross_entropy(scores, answers)
        return {"loss": loss, "right": (found == answers).float().mean()}
    targets = F.one_hot(answers, scores.shape[1]) if answers.ndim == 1 else answers
    targets = targets.to(scores.dtype)
    loss = F.binary_cross_entropy_with_logits(scores, targets) * scores.shape[1]
    return {"loss": loss, "right": targets.gather(1, found[:, None]).mean()}


# --- Checks ---------------------------------------------------------------------------------------
# Values are looked at on the CPU only: on a GPU it would make every step wait.


def check_words(words: Tensor, size: int, columns: int) -> Tensor:
    """Check sentences (B, T) and return where there are words.

    Args:
        words: ids, ``<pad>`` at the end.
        size: V.
        columns: the most words for which there are positions.

    Raises:
        TypeError: ids that are not int64.
        ValueError: another shape, an empty batch, a sentence that is too long; or (on the CPU) ids
            outside 0..V − 1, a sentence without a word, or padding before a word. The message names
            the sentence.
    """
    if not isinstance(words, Tensor) or words.dtype != torch.int64:
        got = words.dtype if isinstance(words, Tensor) else type(words).__name__
        raise TypeError(f"words must be ids (B, T) of type int64, got {got}")
    if words.ndim != 2 or min(words.shape) < 1:
        raise ValueError(f"words must be ids (B, T), B and T at least 1, got {tuple(words.shape)}")
    if words.shape[1] > columns:
        raise ValueError(
            f"sentences of up to {words.shape[1]} words are too long: there are positions for "
            f"{columns}; cut them, or set positions higher"
        )
    real = words != PAD
    if words.device.type == "cpu":
        low, high = int(words.min()), int(words.max())
        if low < 0 or high >= size:
            raise ValueError(f"ids of words must lie in 0..{size - 1}, got {low}..{high}")
        _first(~real.any(1), "sentence {} has no word")
        wrong = (real[:, 1:] & ~real[:, :-1]).any(1)
        _first(wrong, "sentence {} has padding before a word; it belongs at the end")
    return real


def check_picture(
    regions: Tensor, boxes: Tensor, there: Tensor, features: int, pictures: int, dtype: torch.dtype
) -> Picture:
    """Check the regions of as many pictures as there are sentences; see the head of this file.

    A picture has region 0, and may have others; a row of ``there`` that is all False is no picture.

    Raises:
        TypeError: no tensors, or of wrong types.
        ValueError: shapes that do not fit; or (on the CPU) numbers that are not finite, boxes that
            do not lie in [0, 1] or are turned round, regions without a whole picture. The message
            names the picture.
    """
    for name, x, kind in (
        ("regions", regions, "floating"),
        ("boxes", boxes, "floating"),
        ("there", there, "bool"),
    ):
        ok = isinstance(x, Tensor) and (
            x.dtype == torch.bool if kind == "bool" else x.is_floating_point()
        )
        if not ok:
            got = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"{name} must be a tensor of type {kind}, got {got}")
    shape = tuple(regions.shape)
    if len(shape) != 3 or shape[2] != features or shape[1] < 1:
        raise ValueError(
            f"regions must be (B, R, {features}), the whole picture first, got {shape}"
        )
    if shape[0] != pictures:
        raise ValueError(f"{shape[0]} pictures but {pictures} sentences; each needs one")
    for name, x, wanted in (("boxes", boxes, (*shape[:2], 4)), ("there", there, shape[:2])):
        if tuple(x.shape) != wanted:
            raise ValueError(f"{name} must be {wanted}, got {tuple(x.shape)}")
    if there.device.type == "cpu":
        _first(there[:, 1:].any(1) & ~there[:, 0], "picture {} has regions, but no whole: region 0")
        finite = regions.isfinite().all(-1) & boxes.isfinite().all(-1)
        _first((there & ~finite).any(1), "picture {} has numbers that are not finite")
        out = ((boxes < -1e-4) | (boxes > 1 + 1e-4)).any(-1)
        _first((there & out).any(1), "picture {} has a box that leaves it: corners lie in [0, 1]")
        turned = (boxes[..., 2:] < boxes[..., :2]).any(-1)
        _first((there & turned).any(1), "picture {} has a box with x2 < x1 or y2 < y1")
    # what stands where no region is must not matter, whatever it is
    gone = ~there[..., None]
    regions, boxes = (x.to(dtype).masked_fill(gone, 0.0) for x in (regions, boxes))
    return Picture(regions, boxes, there)


def check_mask(mask: Tensor, there: Tensor, name: str) -> Tensor:
    """Check a mask of regions (B, R) and return it without regions that are not there.

    Raises:
        ValueError: not bool, another shape; or (on the CPU) region 0, which is never hidden.
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != there.shape:
        got = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask)
        raise ValueError(f"{name} must be bool of shape {tuple(there.shape)}, got {got}")
    if mask.device.type == "cpu":
        _first(mask[:, 0], f"{name}: picture {{}} hides region 0, the whole picture")
    return mask & there


def check_targets(targets: Tensor, words: Tensor, size: int) -> Tensor:
    """Check the words to say (B, T): ids, or −1 where nothing is asked.

    Raises:
        ValueError: another type or shape; or (on the CPU) ids that are no words.
    """
    if not isinstance(targets, Tensor) or targets.dtype != torch.int64:
        got = targets.dtype if isinstance(targets, Tensor) else type(targets).__name__
        raise ValueError(f"word_targets must be ids (B, T) of type int64, got {got}")
    if targets.shape != words.shape:
        raise ValueError(
            f"word_targets must be {tuple(words.shape)} as the words, got {tuple(targets.shape)}"
        )
    if targets.device.type == "cpu":
        low, high = int(targets.min()), int(targets.max())
        if low < NOT_CHOSEN or high >= size:
            raise ValueError(
                f"word_targets must lie in 0..{size - 1}, or be {NOT_CHOSEN}, got {low}..{high}"
            )
    return targets


def check_aligned(aligned: Tensor, pairs: int) -> Tensor:
    """Check which captions belong to their pictures, (B,) bool.

    Raises:
        ValueError: another type or shape.
    """
    if (
        not isinstance(aligned, Tensor)
        or aligned.dtype != torch.bool
        or tuple(aligned.shape) != (pairs,)
    ):
        got = (
            f"{aligned.dtype} {tuple(aligned.shape)}"
            if isinstance(aligned, Tensor)
            else type(aligned).__name__
        )
        raise ValueError(f"aligned must be bool of shape ({pairs},), got {got}")
    return aligned


def check_classes(classes: Tensor, there: Tensor, count: int) -> Tensor:
    """Check the distributions of a detector (B, R, C).

    Raises:
        ValueError: another shape; or (on the CPU) a region that is there whose numbers are negative
            or do not add up to 1.
    """
    wanted = (*there.shape, count)
    if not isinstance(classes, Tensor) or tuple(classes.shape) != wanted:
        got = tuple(classes.shape) if isinstance(classes, Tensor) else type(classes).__name__
        raise ValueError(f"classes must be distributions {wanted}, got {got}")
    if classes.device.type == "cpu":
        wrong = (classes < 0).any(-1) | ~((classes.sum(-1) - 1).abs() < 1e-2)
        wrong[:, 0] = False  # the whole picture is never asked for
        _first((wrong & there).any(1), "picture {} has a region whose classes do not add up to 1")
    return classes


def check_answers(answers: Tensor, questions: int, size: int, how: str) -> Tensor:
    """Check answers; see :func:`answer_loss`.

    Raises:
        TypeError: of another type.
        ValueError: another shape or number; or (on the CPU) ids that are no answers, or numbers out
            of [0, 1]. The message names the question.
    """
    soft = isinstance(answers, Tensor) and answers.is_floating_point()
    if not isinstance(answers, Tensor) or not (answers.dtype == torch.int64 or soft):
        got = answers.dtype if isinstance(answers, Tensor) else type(answers).__name__
        raise TypeError(f"answers must be ids of type int64, or shares of each answer, got {got}")
    if soft and how == "softmax":
        raise TypeError("with answer_loss = 'softmax' the answers must be ids of type int64")
    wanted = (questions, size) if soft else (questions,)
    if tuple(answers.shape) != wanted:
        raise ValueError(f"answers must be {wanted}, got {tuple(answers.shape)}")
    if answers.device.type == "cpu":
        if soft:
            wrong = ~((answers >= 0) & (answers <= 1)).all(1)
            _first(wrong, "question {} has shares of answers out of [0, 1]")
        else:
            wrong = (answers < 0) | (answers >= size)
            _first(
                wrong,
                f"the answer to question {{}} is not among the {size}: ids lie in 0..{size - 1}; "
                "leave such questions out, as the papers do",
            )
    return answers


def _first(wrong: Tensor, message: str) -> None:
    """Raise a ValueError that names the first row that is wrong."""
    if bool(wrong.any()):
        raise ValueError(message.format(int(wrong.nonzero()[0, 0])))
