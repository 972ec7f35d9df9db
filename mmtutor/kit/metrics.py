"""How good is a caption? Scores against references, truth against the scene, attention against the
object's mask.

Four kinds of answer, from the most common to the most honest:

- **Overlap with reference captions**: :func:`bleu`, :func:`rouge_l`, :func:`meteor`, :func:`cider`,
and all of them at once by
  :func:`caption_scores`. They are computed by the packages whose numbers papers report
  (pycocoevalcap, nltk). Only the splitting into words is ours: :func:`mmtutor.kit.text.tokenize`
  for candidates and references alike (lower case, no punctuation) in place of the Penn Treebank
  tokenizer, which needs Java. On plain captions the words are the same; elsewhere a score can
  differ from a paper's in the last digits.
- **Truth**: :func:`truth_rate` asks a judge, who knows the scene, whether what the caption says is
so. A caption can share most of
  its words with a reference and be false, and be true without sharing any.
- **Agreement with people**: :func:`vqa_accuracy` judges a short answer by those of ten humans.
- **Grounding**: :func:`attention_mass` and :func:`pointing_game` ask whether the model looked at
the thing it named, and
  :func:`area_share` says what looking nowhere in particular would score.

:func:`distinct` counts how varied the captions are: a model that says the same thing about every
image scores low.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmtutor.kit.text import tokenize

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

# --- Overlap with references ----------------------------------------------------------------------


def bleu(candidates: Sequence[str], references: Sequence[Sequence[str]], n: int = 4) -> list[float]:
    """BLEU-1 … BLEU-n of a whole corpus (Papineni et al. 2002), as pycocoevalcap computes them.

    BLEU-k is the geometric mean of the shares of a candidate's 1- to k-grams that occur in one of
    its references (an n-gram counts at most as often as in the reference that has most of it),
    summed over the corpus before dividing, times a penalty exp(1 − r/c) if the candidates are
    shorter in all (c words) than the references closest to them in length (r words).

    Args:
        candidates: N captions. An empty one is allowed and matches nothing.
        references: for each candidate at least one reference caption with at least one word.
        n: 1 to 4.

    Returns:
        n numbers from 0 to 1. If no candidate has k words or more, BLEU-k is a small number without
        a meaning.

    Raises:
        TypeError: one string where a list of strings is needed, or something that is not a string.
        ValueError: no candidates, not as many lists of references, an image without a reference, or
            a reference without a word.
    """
    if n not in (1, 2, 3, 4):
        raise ValueError(f"n must be 1, 2, 3 or 4, got {n!r}")
    return _bleu(_words(candidates, references), n)


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """ROUGE-L (Lin 2004), the mean over candidates, as pycocoevalcap computes it.

    The longest common subsequence of candidate and reference, divided by the length of either,
    gives precision P and recall R; each is taken at its best reference, and the score is F = (1 +
    β²)PR / (R + β²P) with β = 1.2. From 0 to 1.

    Args and errors: as :func:`bleu`.
    """
    return _rouge_l(_words(candidates, references))


def meteor(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """METEOR with exact and stem matches only, the mean over candidates of the best reference's
    score, from nltk.

    Words are aligned if they are equal or have the same Porter stem. With precision P and recall R
    of the m aligned words, lying in c unbroken chunks, the score is PR / (0.9 P + 0.1 R) · (1 − 0.5
    (c/m)³) (Lavie and Agarwal 2007). Even a perfect match scores a little below 1: 1 − 0.5/m³.

    Synonyms do not match: WordNet would have to be downloaded. Papers on COCO report METEOR 1.5, a
    Java program with synonyms, paraphrases, other weights and lower numbers on the whole: compare
    this one only with itself.

    Args and errors: as :func:`bleu`.
    """
    return _meteor(_words(candidates, references))


def cider(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """CIDEr-D (Vedantam et al. 2015), the mean over candidates, as pycocoevalcap computes it.

    The cosine similarity of candidate and reference as vectors of n-gram counts (n = 1 … 4, then
    the mean), each n-gram weighted by log(N / number of images whose references hold it): what is
    said about every image counts nothing. A candidate gains nothing by repetition (counts are
    clipped to the reference's) and loses by a length that differs from the reference's (Gaussian, σ
    = 6). Averaged over references, times 10; so from 0 to 10.

    The weights come from the references given here: scores of different image sets cannot be
    compared, and for one image alone the score is 0, since nothing sets it apart.

    Args and errors: as :func:`bleu`.
    """
    return _cider(_words(candidates, references))


def caption_scores(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """All scores at once: ``BLEU-1`` … ``BLEU-4``, ``METEOR`` (exact and stem matches only),
    ``ROUGE-L`` and ``CIDEr``.

    Args and errors: as :func:`bleu`.
    """
    words = _words(candidates, references)
    scores = {f"BLEU-{k}": value for k, value in enumerate(_bleu(words, 4), start=1)}
    return scores | {"METEOR": _meteor(words), "ROUGE-L": _rouge_l(words), "CIDEr": _cider(words)}


# Per image the words of the candidate and of each reference.
_Words = list[tuple[list[str], list[list[str]]]]


def _words(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> _Words:
    if isinstance(candidates, str) or isinstance(references, str):
        raise TypeError(
            "candidates must be a list of strings and references a list of lists of strings, got one string"
        )
    if len(candidates) != len(references):
        raise ValueError(
            f"each candidate needs its own list of references: got {len(candidates)} candidates and {len(references)} lists"
        )
    if len(candidates) == 0:
        raise ValueError("there is no caption to score")
    split = functools.cache(tokenize)
    words: _Words = []
    for i, (candidate, own) in enumerate(zip(candidates, references)):
        if isinstance(own, str):
            raise TypeError(
                f"references[{i}] must be a list of strings, got one string; put it in a list"
            )
        if len(own) == 0:
            raise ValueError(
                f"references[{i}] is empty; each candidate needs at least one reference"
            )
        for caption in (candidate, *own):
            if not isinstance(caption, str):
                raise TypeError(
                    f"captions must be strings, got {type(caption).__name__} for image {i}"
                )
        words.append((split(candidate), [split(reference) for reference in own]))
        if not all(words[-1][1]):
            raise ValueError(f"references[{i}] holds a caption without a word: {list(own)}")
    return words


def _for_coco(words: _Words) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """References and candidates as pycocoevalcap wants them: by image, words joined by spaces."""
    references = {i: [" ".join(reference) for reference in own] for i, (_, own) in enumerate(words)}
    return references, {i: [" ".join(candidate)] for i, (candidate, _) in enumerate(words)}


def _bleu(words: _Words, n: int) -> list[float]:
    from pycocoevalcap.bleu.bleu import Bleu

    return [float(score) for score in Bleu(n).compute_score(*_for_coco(words), verbose=0)[0]]


def _rouge_l(words: _Words) -> float:
    from pycocoevalcap.rouge.rouge import Rouge

    return float(Rouge().compute_score(*_for_coco(words))[0])


def _cider(words: _Words) -> float:
    from pycocoevalcap.cider.cider import Cider

    return float(Cider().compute_score(*_for_coco(words))[0])


def _meteor(words: _Words) -> float:
    from nltk.stem.porter import PorterStemmer
    from nltk.translate.meteor_score import meteor_score

    class Stems:
        stem = staticmethod(functools.cache(PorterStemmer().stem))

    class NoSynonyms:
        def synsets(self, word: str) -> tuple[()]:
            return ()

    options = {"stemmer": Stems(), "wordnet": NoSynonyms()}
    return math.fsum(meteor_score(own, candidate, **options) for candidate, own in words) / len(
        words
    )


def distinct(captions: Sequence[str], n: int = 1) -> float:
    """Distinct-n (Li et al. 2016): how many different n-grams there are among all n-grams of all
    captions, from 0 to 1.

    Args:
        captions: at least one.
        n: at least 1.

    Returns:
        the share; 0 if no caption has n words.

    Raises:
        TypeError: one string instead of a list.
        ValueError: no captions, or n below 1.
    """
    if isinstance(captions, str):
        raise TypeError("captions must be a list of strings, got one string")
    if len(captions) == 0:
        raise ValueError("there is no caption to count in")
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    grams = [
        tuple(words[i : i + n])
        for words in map(tokenize, captions)
        for i in range(len(words) - n + 1)
    ]
    return len(set(grams)) / max(1, len(grams))


# --- Truth ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """Which shares of captions are true, false, or cannot be understood (they sum to 1), and how
    many captions there were."""

    true: float
    false: float
    unparsable: float
    count: int


def truth_shares(
    captions: Sequence[str], scenes: Iterable[Any], is_true: Callable[[str, Any], Any]
) -> Truth:
    """Judge every caption by its scene.

    Args:
        captions: N captions, at least one.
        scenes: the N scenes that they are about, in whatever form the judge takes.
        is_true: the judge: takes a caption and a scene, and returns ``"true"``, ``"false"`` or
            ``"unparsable"`` (a string or an enum of strings, as
            :func:`mmtutor.world.captions.is_true`), or a bool.

    Raises:
        TypeError: one string instead of a list.
        ValueError: no captions, not as many scenes, or a verdict that is none of these.
    """
    if isinstance(captions, str):
        raise TypeError("captions must be a list of strings, got one string")
    scenes = list(scenes)
    if len(captions) != len(scenes):
        raise ValueError(
            f"each caption needs its scene: got {len(captions)} captions and {len(scenes)} scenes"
        )
    if not scenes:
        raise ValueError("there is no caption to judge")
    counts = {"true": 0, "false": 0, "unparsable": 0}
    for caption, scene in zip(captions, scenes):
        verdict = is_true(caption, scene)
        name = str(verdict).lower()
        if name not in counts:
            raise ValueError(
                f"is_true must return 'true', 'false', 'unparsable' or a bool, got {verdict!r}"
            )
        counts[name] += 1
    return Truth(**{name: count / len(scenes) for name, count in counts.items()}, count=len(scenes))


def truth_rate(
    captions: Sequence[str], scenes: Iterable[Any], is_true: Callable[[str, Any], Any]
) -> float:
    """The share of captions that are true of their scenes; what cannot be understood counts as not
    true.

    Args and errors: as :func:`truth_shares`.
    """
    return truth_shares(captions, scenes, is_true).true


# --- Answers to questions -------------------------------------------------------------------------

_ARTICLES = ("a", "an", "the")
_NUMBERS = {
    word: str(number)
    for number, words in enumerate(
        ("none zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
    for word in words.split()
}
_MARKS = '-_/\\,;?!()[]{}<>=+@`"'  # an apostrophe, a colon and others stay
#: The contractions that the script knows: what is appended, and to what. "hell" or "its" could be
#: something else; so he'll and it's are not among them.
_APPENDED = {
    "n't": "ai are ca could did does do had has have is might must need ought sha should was were "
    "wo would",
    "n't've": "could had might should would",
    "'d": "he how it someone something there they where who you",
    "'d've": "he it she somebody someone something there they we who y'all you",
    "'ll": "how it somebody someone something they what who why y'all you",
    "'re": "there they what why you",
    "'s": "he how somebody someone that there what when where who why",
    "'ve": "could might must not should they we what where who would you",
    "": "ma'am o'clock 'ow's'at 'twas y'all",
}


@functools.cache
def _contractions() -> dict[str, str]:
    """A contraction that lacks one of its apostrophes → the contraction."""
    whole = [start + end for end, starts in _APPENDED.items() for start in starts.split()]
    short = {
        word[:i] + word[i + 1 :]: word
        for word in whole
        for i, letter in enumerate(word)
        if letter == "'"
    }
    return short | {"somebody'd": "somebodyd"}  # in the script it stands the wrong way round


def normalize_answer(answer: str) -> str:
    """A short answer as the official VQA script compares it (Antol et al. 2015).

    Line breaks and tabs become spaces. Punctuation becomes a space, and is left out where a space
    stands beside it; apostrophes and colons stay (*girl's*, *2:50*), and a period before a digit
    does (*0.5*). A comma between digits is left out (*100,978*), and with it all punctuation of
    that answer. Then: lower case; number words to ten become digits, *none* becomes 0; the articles
    *a*, *an*, *the* go; a contraction gets back a missing apostrophe (*dont*).

    Where the script is odd, so is this: *t-shirt, red* becomes *t shirt red*, but *t-shirt - red*
    becomes *tshirt red*, because one of its hyphens has a space beside it.

    Raises:
        TypeError: no string.
    """
    if not isinstance(answer, str):
        raise TypeError(f"an answer must be a string, got {type(answer).__name__}")
    answer = _trimmed(answer)
    number = re.search(r"\d,\d", answer) is not None
    answer = answer.translate(
        {
            ord(mark): "" if number or f"{mark} " in answer or f" {mark}" in answer else " "
            for mark in _MARKS
        }
    )
    answer = re.sub(r"\.(?!\d)", "", answer, count=32)  # the script's limit
    words = (_NUMBERS.get(word, word) for word in answer.lower().split())
    return " ".join(_contractions().get(w, w) for w in words if w not in _ARTICLES)


def _trimmed(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()


def vqa_accuracy(answers: Sequence[str], humans: Sequence[Sequence[str]]) -> list[float]:
    """The accuracy of answers to open questions, each judged by several humans' answers (Antol et
    al. 2015), as the official VQA script computes it.

    An answer is right if three humans gave it: min(m / 3, 1), if m did. The human is measured with
    the same rule, against the others; to be comparable, so is the machine: the score is the mean
    over all ways to leave one human out. With ten humans that is min(0.3 m, 1).

    All answers are normalized first (:func:`normalize_answer`). But where all humans wrote the
    same, the script compares letter by letter: then *Yes* is not *yes*. So is it here.

    Args:
        answers: N answers.
        humans: for each question the answers of at least four humans, since with fewer none would
            be quite right; ten in the data set.

    Returns:
        N numbers from 0 to 1. Their mean is what papers report, in percent.

    Raises:
        TypeError: one string where a list of strings is needed, or something that is not a string.
        ValueError: no answers, not as many lists of human answers, or fewer than four in one.
    """
    if isinstance(answers, str) or isinstance(humans, str):
        raise TypeError(
            "answers must be a list of strings and humans a list of lists of strings, got one string"
        )
    if len(answers) != len(humans):
        raise ValueError(
            f"each answer needs its own humans: got {len(answers)} answers and {len(humans)} lists"
        )
    if len(answers) == 0:
        raise ValueError("there is no answer to score")
    scores = []
    for i, (answer, own) in enumerate(zip(answers, humans)):
        if isinstance(own, str):
            raise TypeError(f"humans[{i}] must be a list of strings, got one string")
        if len(own) < 4:
            raise ValueError(f"humans[{i}] holds {len(own)} answers; at least 4 are needed")
        for one in (answer, *own):
            if not isinstance(one, str):
                raise TypeError(
                    f"answers must be strings, got {type(one).__name__} for question {i}"
                )
        tidy = _trimmed if len(set(map(_trimmed, own))) == 1 else normalize_answer
        said = tidy(answer)
        agrees = [tidy(human) == said for human in own]
        scores.append(
            math.fsum(min((sum(agrees) - left_out) / 3, 1) for left_out in agrees) / len(own)
        )
    return scores


# --- Where the model looked -----------------------------------------------------------------------


def attention_mass(attention: Tensor | np.ndarray, masks: Tensor | np.ndarray) -> Tensor:
    """How much of the attention lies on the object.

    A cell of the attention map is a rectangle of the image, and its weight is spread evenly over
    it; it counts in proportion to the part of its area that the mask covers. The areas are exact
    whatever the two sizes are, also where cells cut through pixels. Even attention scores exactly
    :func:`area_share`.

    Args:
        attention: (N, h, w), each map ≥ 0 and of sum 1.
        masks: (N, H, W) bool, True on the object, over the same field of view.

    Returns:
        (N,) float64 in [0, 1]; 0 where the mask is empty.

    Raises:
        TypeError: masks are not boolean.
        ValueError: shapes that do not fit, or attention that is negative, NaN or does not sum to 1.
    """
    attention, masks = _maps(attention, masks)
    (_, h, w), (_, height, width) = attention.shape, masks.shape
    # (h, H) @ (N, H, W) @ (W, w): a cell's covered area, counted in units of 1/h by 1/w of a pixel,
    # so in whole numbers.
    covered = _overlap(h, height, masks) @ masks @ _overlap(w, width, masks).T  # (N, h, w)
    return (attention * covered).sum((1, 2)) / (height * width)


def pointing_game(
    attention: Tensor | np.ndarray, masks: Tensor | np.ndarray, tolerance: float = 0
) -> Tensor:
    """Whether the strongest point of the attention lies on the object (the pointing game; Zhang et
    al. 2016).

    The paper scales the map up to the image and takes the maximum. A map that is interpolated
    linearly between the centres of its cells has its maximum at the centre of its strongest cell,
    so the point is the pixel which holds that centre (where four pixels meet there, the lower right
    one). Of equally strong cells the first in reading order counts.

    Args:
        attention: (N, h, w), each map ≥ 0 and of sum 1.
        masks: (N, H, W) bool, True on the object, over the same field of view.
        tolerance: in pixels of the mask: a point is a hit if any pixel of the object is so near.
            The paper allows 15 in photographs; 0 asks for the object itself.

    Returns:
        (N,) bool; False where the mask is empty. Their mean is the pointing-game accuracy; by
        chance it is :func:`area_share`.

    Raises:
        TypeError, ValueError: as :func:`attention_mass`; or ``tolerance`` below 0.
    """
    import torch

    if not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance must be a number of pixels of at least 0, got {tolerance}")
    attention, masks = _maps(attention, masks)
    (_, h, w), (_, height, width) = attention.shape, masks.shape
    cell = attention.flatten(1).argmax(1)  # (N,)
    y = (2 * (cell // w) + 1) * height // (2 * h)  # the pixel that holds the cell's centre
    x = (2 * (cell % w) + 1) * width // (2 * w)
    rows = torch.arange(height, device=masks.device)
    columns = torch.arange(width, device=masks.device)
    away = (rows - y[:, None])[:, :, None] ** 2 + (columns - x[:, None])[
        :, None, :
    ] ** 2  # (N, H, W) squared distances
    return ((away <= tolerance**2) & (masks > 0)).flatten(1).any(1)


def area_share(masks: Tensor | np.ndarray) -> Tensor:
    """The share of the image that the object covers: what :func:`attention_mass` is for even
    attention, and the chance to hit it with a random point.

    Args:
        masks: (N, H, W) bool.

    Returns:
        (N,) float64 in [0, 1].

    Raises:
        TypeError, ValueError: not boolean, or not (N, H, W).
    """
    return _masks(masks).mean((1, 2))


def _overlap(cells: int, pixels: int, like: Tensor) -> Tensor:
    """(cells, pixels): how far cell i and pixel j overlap on one axis, in units of 1/cells of a
    pixel: whole numbers."""
    import torch

    i = torch.arange(cells, device=like.device)[:, None]
    j = torch.arange(pixels, device=like.device)[None, :]
    # On an axis of cells · pixels units a cell is `pixels` units long, and a pixel `cells` units.
    shared = torch.minimum((i + 1) * pixels, (j + 1) * cells) - torch.maximum(i * pixels, j * cells)
    return shared.clamp(min=0).to(like.dtype)


def _masks(masks: Tensor | np.ndarray) -> Tensor:
    import torch

    masks = torch.as_tensor(masks)
    if masks.dtype != torch.bool:
        raise TypeError(
            f"masks must be boolean, got {masks.dtype}; compare them with the object's number first"
        )
    if masks.dim() != 3 or 0 in masks.shape[1:]:
        raise ValueError(f"masks must have the shape (N, H, W), got {tuple(masks.shape)}")
    return masks.double()


def _maps(attention: Tensor | np.ndarray, masks: Tensor | np.ndarray) -> tuple[Tensor, Tensor]:
    """Both as float64, checked."""
    import torch

    masks = _masks(masks)
    attention = torch.as_tensor(attention, device=masks.device).detach().double()
    if attention.dim() != 3 or len(attention) != len(masks) or 0 in attention.shape[1:]:
        raise ValueError(
            f"attention must have the shape (N, h, w) with N = {len(masks)} as the masks, got {tuple(attention.shape)}"
        )
    fine = (attention >= 0).flatten(1).all(1) & ((attention.sum((1, 2)) - 1).abs() < 1e-3)
    if not fine.all():
        i = int((~fine).nonzero()[0])
        raise ValueError(
            f"every attention map must be ≥ 0 and sum to 1, but map {i} has the minimum {float(attention[i].min()):.3g} "
            f"and the sum {float(attention[i].sum()):.3g}"
        )
    return attention, masks
