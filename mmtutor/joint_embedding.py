"""Joint embedding: pictures and texts as points of one sphere, a matching pair close together.

Two towers, one sphere. The picture's features go through one linear layer (a map may first go
through detectors, the same at each place), the words of a text through a recurrent network (or are
simply added up); both vectors are scaled to length 1. Then one matrix product compares every
picture of a batch with every text: a table of cosines S (B, B), whose diagonal holds the true
pairs. All that is learned is that the diagonal shall be high and the rest low. How to say that is a
choice of four losses:

- :func:`ranking_hinge`: a wrong pair must score less than the true one by a margin; the **sum**
  over all wrong pairs (Kiros et al. 2014), or the **hardest** one only (VSE++: Faghri et al. 2018).
- :func:`binary_nce`: is this pair true, or was it drawn? (Gutmann and Hyvärinen 2010; word2vec's
  negative sampling)
- :func:`info_nce`: which of the batch's texts belongs to this picture, and which picture to this
  text? (van den Oord et al. 2018; symmetric with a learned temperature as in CLIP, Radford et al.
  2021)

Wrong is only what was written for another picture. It may be true all the same: *there is a dog* is
true of many. Such **false negatives** can be kept, as the papers do, or masked
(:func:`known_true`).

Read from top to bottom: the settings, the losses, what is known to be true, the towers, the data,
the arithmetic.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmtutor.kit.processes import gathered, of_the_first, several
from mmtutor.kit.retrieval import check_vectors
from mmtutor.kit.text import SPECIALS, Vocabulary, pad, tokenize
from mmtutor.kit.vision import check_features, finite

PAD = SPECIALS.index("<pad>")
TEXTS = ("gru", "sum")
LOSSES = ("ranking", "hardest", "nce", "info_nce")
FALSE_NEGATIVES = ("keep", "mask")
PAPERS = ("vse++", "kiros", "clip")
LARGEST_SCALE = 100.0  # of the cosines: CLIP's limit for γ, that is a temperature of 0.01
TINY = 1e-12  # a vector shorter than that has no direction
#: Settings that a choice does not read. To set one would promise what does not happen.
UNREAD = {
    ("text", "sum"): ("words",),
    ("loss", "ranking"): ("negatives", "temperature"),
    ("loss", "hardest"): ("negatives", "temperature"),
    ("loss", "nce"): ("margin",),
    ("loss", "info_nce"): ("margin", "negatives"),
}


@dataclass(frozen=True)
class Config:
    """Sizes and choices of a :class:`JointEmbedding`.

    Args:
        vocabulary: V, words with the specials, ``<pad>`` first.
        image: D, numbers in a picture's features; or (C, h, w), a map that has so many numbers at
            each of its places.
        joint: E, dimensions of the common space.
        text: ``"gru"``: the state of a recurrent network behind the last word; ``"sum"``: the sum
            of the words' vectors, whose order does not matter: for tags, and for arithmetic.
        words: length W of a word vector that the GRU reads. (The sum adds vectors of length E.)
        loss: ``"ranking"``, ``"hardest"``, ``"nce"`` or ``"info_nce"``; see the functions below.
        margin: α of the two hinges, in cosines.
        negatives: k, wrong texts drawn for each picture by ``"nce"``.
        temperature: 1/γ as training begins, for ``"nce"`` and ``"info_nce"``; γ is learned.
        false_negatives: pairs beside the diagonal that are known to be true: ``"keep"`` them among
            the wrong ones, as the papers do, or ``"mask"`` them out.
        dropout: on the features, on what the detectors find, and on the word vectors.
        detectors: K. A first layer looks for K things at each place of a map, everywhere with the
            same weights, before the map is laid out flat; 0: no such layer.
    """

    vocabulary: int
    image: int | tuple[int, int, int] = 1280
    joint: int = 128
    text: str = "gru"
    words: int = 64
    loss: str = "info_nce"
    margin: float = 0.2
    negatives: int = 8
    temperature: float = 0.07
    false_negatives: str = "keep"
    dropout: float = 0.0
    detectors: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.image, tuple | list):
            object.__setattr__(self, "image", tuple(self.image))  # a list, if read from a file
            if len(self.image) != 3 or min(self.image) < 1:
                raise ValueError(f"the map of a picture must be (C, h, w), got image {self.image}")
        elif self.image < 1:
            raise ValueError(f"image must be at least 1, got {self.image}")
        for name in ("vocabulary", "joint", "words", "negatives"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.detectors < 0 or (self.detectors and not isinstance(self.image, tuple)):
            raise ValueError(
                "detectors look at the places of a map: at least 0 of them, and image = (C, h, w); "
                f"got {self.detectors} and image {self.image}"
            )
        for name, known in (
            ("text", TEXTS),
            ("loss", LOSSES),
            ("false_negatives", FALSE_NEGATIVES),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        if not 0 < self.margin <= 2:
            raise ValueError(
                f"margin must lie in (0, 2], as cosines differ by 2 at most, got {self.margin}"
            )
        if not 1 / LARGEST_SCALE <= self.temperature < math.inf:
            raise ValueError(
                f"temperature must be finite and at least {1 / LARGEST_SCALE}, "
                f"got {self.temperature}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        default = {f.name: f.default for f in fields(self)}
        for (choice, made), names in UNREAD.items():
            for name in names:
                if getattr(self, choice) == made and getattr(self, name) != default[name]:
                    raise ValueError(
                        f"{name} = {getattr(self, name)} has no effect with {choice} = {made!r}; "
                        f"leave it at {default[name]}"
                    )

    @classmethod
    def world(cls, vocabulary: int, **changes: Any) -> Config:
        """Trains on two CPU cores in less than a minute."""
        return cls(vocabulary=vocabulary, **{"dropout": 0.3, **changes})

    @classmethod
    def small(cls, vocabulary: int, **changes: Any) -> Config:
        """For some hundred pairs of one's own, with pieces of words as vocabulary
        (:func:`mmtutor.kit.text.ngrams`). The text is a sum; half of what both towers read is
        dropped; pictures with equal texts are no negatives of each other."""
        made: dict[str, Any] = {"joint": 256, "text": "sum", "temperature": 0.1, "dropout": 0.5}
        return cls(vocabulary=vocabulary, **{**made, "false_negatives": "mask", **changes})

    @classmethod
    def paper(cls, which: str = "vse++", **changes: Any) -> Config:
        """The sizes and the loss of a paper.

        ``"vse++"``: VGG's 4,096 features, words of 300, a GRU of 1,024, the hardest negative.
        ``"kiros"``: the same sizes, as in the authors' program, and the sum of hinges; with
        ``text="sum"`` the linear encoder of their arithmetic. ``"clip"``: the joint space, the word
        table and the loss of CLIP ViT-B/32 on its picture vectors of 768; its two Transformers are
        not here.
        """
        if which not in PAPERS:
            raise ValueError(f"paper must be one of {PAPERS}, got {which!r}")
        if which == "clip":
            sizes = dict(vocabulary=49_408, image=768, joint=512, words=512, loss="info_nce")
        else:
            loss = "hardest" if which == "vse++" else "ranking"
            sizes = dict(vocabulary=10_000, image=4096, joint=1024, words=300, loss=loss)
        if changes.get("text") == "sum":
            del sizes["words"]
        return cls(**{**sizes, **changes})


# --- Four losses on one table of scores -----------------------------------------------------------
# Rows are pictures, columns are texts, the diagonal holds the true pairs. ``also_true`` (B, B)
# marks pairs beside the diagonal that are true as well: they are no negatives. Where nothing is
# left to compare with (a batch of one, a row in which all is true) a hinge and InfoNCE are 0,
# without a gradient; binary NCE then has its true pair only.


def ranking_hinge(
    scores: Tensor, margin: float = 0.2, hardest: bool = False, also_true: Tensor | None = None
) -> Tensor:
    """Every wrong pair must score ``margin`` less than the true one; what it lacks is the price.

    Σ_i Σ_{j≠i} [α − S_ii + S_ij]₊ + [α − S_ii + S_ji]₊ (Kiros et al. 2014, the pairwise ranking
    loss): a wrong text j for each picture i, and a wrong picture j for each text i. With
    ``hardest`` the sum over j becomes the maximum (VSE++, the max of hinges). **Summed** over the
    batch, as in the papers' programs: the mean would divide the step by B or B².

    Args:
        scores: (B, B) cosines.
        margin: α > 0.
        hardest: only the wrong pair with the highest score, in each row and each column.
        also_true: (B, B) boolean; see above.

    Returns:
        A scalar. If everything has the same vector it is 2·B·(B − 1)·α, and 2·B·α with ``hardest``:
        a plateau on which training with the hardest negative may stay. To train with the sum first
        helps.

    Raises:
        TypeError, ValueError: as :func:`check_scores`.
    """
    wrong = check_scores(scores, also_true)  # (B, B)
    true = scores.diagonal()
    texts = (margin - true[:, None] + scores).clamp(min=0) * wrong  # wrong texts of each picture
    images = (margin - true[None, :] + scores).clamp(min=0) * wrong  # wrong pictures of each text
    if hardest:
        return texts.amax(1).sum() + images.amax(0).sum()
    return texts.sum() + images.sum()


def info_nce(scores: Tensor, log_scale: Tensor, also_true: Tensor | None = None) -> Tensor:
    """Which text belongs to this picture, and which picture to this text? Two cross-entropies over
    the batch, averaged.

    −½ mean_i [log softmax_j(γ S_ij)]_{j=i} − ½ mean_i [log softmax_j(γ S_ji)]_{j=i} (CLIP, figure
    3). log B − the loss is at most the mutual information of picture and text (van den Oord et al.
    2018), if no wrong pair is masked.

    Args:
        scores: (B, B) cosines.
        log_scale: τ = log γ, a scalar: so γ stays positive, and a step changes it by a factor. γ is
            cut at 100.
        also_true: (B, B) boolean; see above. It leaves the softmax.

    Returns:
        A scalar ≥ 0, about log B before training.

    Raises:
        TypeError, ValueError: as :func:`check_scores`.
    """
    wrong = check_scores(scores, also_true)
    logits = scores * log_scale.clamp(max=math.log(LARGEST_SCALE)).exp()
    if also_true is not None:
        logits = logits.masked_fill(~wrong & ~_diagonal(scores), -math.inf)
    target = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def binary_nce(
    scores: Tensor,
    log_scale: Tensor,
    bias: Tensor,
    drawn: Tensor | None = None,
    also_true: Tensor | None = None,
) -> Tensor:
    """Is this pair true, or was it drawn? A logistic regression on γ S_ij + b.

    −mean_i [log σ(γ S_ii + b) + Σ_{j drawn} log σ(−γ S_ij − b)]. Where k texts are drawn for each
    picture, the best γ S + b is log p(text | picture) / p(text) − log k.

    Args:
        scores: (B, B) cosines.
        log_scale: τ = log γ, a scalar; γ is cut at 100.
        bias: b, a scalar.
        drawn: (B, B) boolean, the wrong pairs that were drawn (:func:`draw_wrong`); all of them if
            not given, as in SigLIP (Zhai et al. 2023).
        also_true: (B, B) boolean; see above. Drawn or not, they do not count.

    Returns:
        A scalar ≥ 0.

    Raises:
        TypeError, ValueError: as :func:`check_scores`; or a true pair among those that were drawn.
    """
    wrong = check_scores(scores, also_true)
    if drawn is not None:
        check_marks(drawn, scores, "drawn")
        wrong = wrong & drawn
    logits = scores * log_scale.clamp(max=math.log(LARGEST_SCALE)).exp() + bias
    told = F.logsigmoid(logits.diagonal()).sum() + (F.logsigmoid(-logits) * wrong).sum()
    return -told / len(scores)


def draw_wrong(wrong: Tensor, negatives: int) -> Tensor:
    """Draw so many different wrong texts for each picture of a batch, all equally likely.

    Args:
        wrong: (B, B) boolean, the pairs that may be drawn.
        negatives: k; fewer where there are not so many.

    Returns:
        (B, B) boolean, at most k a row.
    """
    order = torch.rand(wrong.shape, device=wrong.device).masked_fill(~wrong, -1.0)
    value, place = order.topk(min(negatives, len(wrong)), dim=1)
    return torch.zeros_like(wrong).scatter(1, place, value >= 0)


def _diagonal(scores: Tensor) -> Tensor:
    return torch.eye(len(scores), dtype=torch.bool, device=scores.device)


def check_scores(scores: Tensor, also_true: Tensor | None = None) -> Tensor:
    """Check a table of scores and what is marked as true; returns the wrong pairs, (B, B) boolean.

    Raises:
        TypeError: no tensor of floating point, or marks that are not boolean.
        ValueError: not square, empty, or marks of another shape; or (on the CPU, where a look is
            cheap) NaN or infinity, or a mark on the diagonal.
    """
    if not isinstance(scores, Tensor) or not scores.is_floating_point():
        got = scores.dtype if isinstance(scores, Tensor) else type(scores).__name__
        raise TypeError(f"scores must be a tensor of floating point (B, B), got {got}")
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1] or len(scores) < 1:
        raise ValueError(
            f"scores must be (B, B), B at least 1, pictures by texts, got {tuple(scores.shape)}"
        )
    if scores.device.type == "cpu" and not finite(scores.detach()):
        raise ValueError("the scores hold NaN or infinity")
    wrong = ~_diagonal(scores)
    if also_true is not None:
        check_marks(also_true, scores, "also_true")
        wrong = wrong & ~also_true
    return wrong


def check_marks(marks: Tensor, scores: Tensor, name: str) -> None:
    """Raise a TypeError or a ValueError unless ``marks`` is boolean, (B, B), and nowhere True on
    the diagonal (looked at on the CPU)."""
    if not isinstance(marks, Tensor) or marks.dtype != torch.bool:
        got = marks.dtype if isinstance(marks, Tensor) else type(marks).__name__
        raise TypeError(f"{name} must be a boolean tensor (B, B), got {got}")
    if marks.shape != scores.shape:
        raise ValueError(f"{name} must be {tuple(scores.shape)}, got {tuple(marks.shape)}")
    if marks.device.type == "cpu" and bool(marks.diagonal().any()):
        row = int(marks.diagonal().nonzero()[0, 0])
        raise ValueError(
            f"{name} marks the pair {row} itself; it is for pairs beside the diagonal only"
        )


# --- What is known to be true ---------------------------------------------------------------------


def known_true(picture: Tensor, code: Tensor, true_of: Tensor | None = None) -> Tensor:
    """The pairs of a batch beside the diagonal that are known to be true.

    A text is true of a picture if the batch has an equal text of the same picture, or if the truth
    says so.

    Args:
        picture: (B,) whole numbers, which picture each row shows.
        code: (B,) whole numbers, equal for equal texts (:func:`code_of`).
        true_of: (B, ⌈N/8⌉) uint8: which of N pictures each text is true of, a bit each
            (:func:`packed`).

    Returns:
        (B, B) boolean, pictures by texts.
    """
    same_picture = (picture[:, None] == picture[None, :]).float()
    same_text = (code[:, None] == code[None, :]).float()
    known = same_picture @ same_text > 0
    if true_of is not None:
        byte = true_of[:, picture // 8].long()  # (B, B), texts by pictures
        known = known | (byte >> (picture % 8) & 1).bool().T
    return known & ~_diagonal(known)


def code_of(ids: Tensor, mask: Tensor) -> Tensor:
    """A number for each text (B, L), equal for equal words: Σ_t id_t·aᵗ modulo 2⁶⁴, (B,).
    Different texts differ but for one case in some 10¹⁹."""
    power = torch.full((ids.shape[1],), 6364136223846793005, device=ids.device).cumprod(0)
    return (ids * mask * power).sum(1)


def packed(true: Tensor | np.ndarray) -> Tensor:
    """The truth about N pictures and M texts, (N, M) boolean, as bits: (M, ⌈N/8⌉) uint8, an eighth
    of its memory."""
    true = np.asarray(true)
    if true.dtype != bool or true.ndim != 2:
        raise TypeError(f"the truth must be boolean (N, M), got {true.dtype} {true.shape}")
    return torch.from_numpy(np.packbits(true, axis=0, bitorder="little").T.copy())


# --- The towers -----------------------------------------------------------------------------------


def unit(x: Tensor) -> Tensor:
    """Vectors (…, E) at length 1. Half precision becomes float32.

    One of (nearly) no length has no direction. It stays as it is, and so does its gradient; a
    vector of zeros has cosine 0 with everything.
    """
    x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    square = x.square().sum(-1, keepdim=True)
    return x * torch.where(square > TINY**2, square, torch.ones_like(square)).rsqrt()


def cosines(pictures: Tensor, texts: Tensor) -> Tensor:
    """All pictures (B, E) with all texts (C, E), unit vectors: (B, C), never in half precision. γ
    makes a cosine a hundred times larger, and its rounding too."""
    with torch.autocast(pictures.device.type, enabled=False):
        return pictures @ texts.T


class JointEmbedding(nn.Module):
    """Pictures and texts on one sphere.

    Left to the caller: the network that makes the features (:mod:`mmtutor.kit.vision`). They are
    best standardized; the programs of the papers scale them to length 1.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = c = config
        size, self.detectors = c.image, None
        if isinstance(size, tuple):
            channels, high, wide = size
            if c.detectors:
                self.detectors = nn.Conv2d(channels, c.detectors, 1)  # the same at each place
            size = (c.detectors or channels) * high * wide
        self.image = nn.Linear(size, c.joint)
        gru = c.text == "gru"
        self.words = nn.Embedding(c.vocabulary, c.words if gru else c.joint, padding_idx=PAD)
        self.sentence = nn.GRU(c.words, c.joint, batch_first=True) if gru else None
        self.dropout = nn.Dropout(c.dropout)
        scaled = c.loss in ("nce", "info_nce")
        self.log_scale = nn.Parameter(torch.tensor(-math.log(c.temperature))) if scaled else None
        # of k + 1 pairs one is true: what binary NCE says before it has seen anything
        self.bias = nn.Parameter(torch.tensor(-math.log(c.negatives))) if c.loss == "nce" else None
        # the start of VSE++
        nn.init.xavier_uniform_(self.image.weight)
        nn.init.zeros_(self.image.bias)
        with torch.no_grad():
            nn.init.uniform_(self.words.weight, -0.1, 0.1)[PAD] = 0

    def embed_pictures(self, features: Tensor) -> Tensor:
        """Features (B, D), or a map (B, C, h, w), as unit vectors (B, E). Where the settings say D
        and not the shape of a map, a map with D numbers is laid out flat.

        Raises:
            ValueError: another shape, an empty batch, NaN or infinity (looked at on the CPU).
        """
        size = self.config.image
        if not isinstance(size, tuple):
            size = (size,)
            if isinstance(features, Tensor) and features.ndim > 2:
                features = features.flatten(1)
        x = self.dropout(check_features(features, size))
        if self.detectors is not None:
            x = self.dropout(self.detectors(x).relu())  # (B, K, h, w)
        return unit(self.image(x.flatten(1)))

    def embed_texts(self, texts: Tensor, mask: Tensor | None = None) -> Tensor:
        """Texts as unit vectors (B, E).

        Args:
            texts: (B, L) ids of words or tags, padding at the end (:func:`encode_texts`).
            mask: (B, L) boolean, True where an id is valid; not ``<pad>`` if not given.

        Raises:
            TypeError, ValueError: as :func:`check_texts`.
        """
        mask = check_texts(texts, mask, self.config.vocabulary)
        x = self.dropout(self.words(texts))  # (B, L, W)
        if self.sentence is None:
            return unit((x * mask[:, :, None]).sum(1))
        states, _ = self.sentence(x)  # (B, L, E)
        last = (mask.sum(1) - 1).clamp(min=0)  # (B,)
        return unit(states.gather(1, last[:, None, None].expand(-1, 1, states.shape[2]))[:, 0])

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The cosines (B, B) of all pictures with all texts of a batch; see :meth:`loss`."""
        pictures, texts = self.embed_pair(batch)
        return cosines(pictures, texts)

    def embed_pair(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Both towers: (B, E) and (B, E)."""
        pictures = self.embed_pictures(batch["features"])
        texts = self.embed_texts(batch["texts"], batch.get("mask"))
        if len(pictures) != len(texts):
            raise ValueError(f"{len(pictures)} pictures but {len(texts)} texts; they must be pairs")
        return pictures, texts

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss of the settings, over the batches of all processes together.

        Args:
            batch: B pairs: ``"features"`` and ``"texts"`` as in :meth:`embed_pictures` and
                :meth:`embed_texts`, and ``"mask"`` if not all but ``<pad>`` is valid. To mask false
                negatives also ``"picture"`` (B,), the number of each picture, and ``"true_of"`` if
                more is known (:func:`known_true`); or else ``"also_true"`` (B, B) itself.

        Returns:
            ``"loss"``; ``"first"``, for the eye: the share of pictures whose own text scores
            higher than all that are not known to be true; ``"scale"``, γ, where there is one.

        Raises:
            TypeError, ValueError: bad parts of the batch, or nothing that says what is true where
                false negatives shall be masked.
        """
        c = self.config
        pictures, texts = self.embed_pair(batch)
        together = self.training and several()
        also_true = self._also_true(batch, together) if c.false_negatives == "mask" else None
        if together:
            pictures, texts = gathered(pictures), gathered(texts)
        scores = cosines(pictures, texts)  # (B, B)
        terms = {"loss": self._loss(scores, also_true, together)}
        with torch.no_grad():
            left_out = _diagonal(scores) if also_true is None else also_true | _diagonal(scores)
            best = scores.masked_fill(left_out, -math.inf).amax(1)  # (B,), of the wrong texts
            terms["first"] = (best < scores.diagonal()).float().mean()
            if self.log_scale is not None:
                terms["scale"] = self.log_scale.exp()
        return terms

    def _loss(self, scores: Tensor, also_true: Tensor | None, together: bool) -> Tensor:
        c = self.config
        if c.loss in ("ranking", "hardest"):
            return ranking_hinge(scores, c.margin, c.loss == "hardest", also_true)
        if self.training:
            with torch.no_grad():  # a cut in the loss alone would have no gradient to come back by
                self.log_scale.clamp_(max=math.log(LARGEST_SCALE))
        if c.loss == "info_nce":
            return info_nce(scores, self.log_scale, also_true)
        drawn = draw_wrong(check_scores(scores, also_true), c.negatives)
        drawn = of_the_first(drawn) if together else drawn
        return binary_nce(scores, self.log_scale, self.bias, drawn, also_true)

    def _also_true(self, batch: Mapping[str, Tensor], together: bool) -> Tensor:
        """The pairs of the batch (of all processes) that are known to be true, (B, B)."""
        if "also_true" in batch:
            if together:
                raise ValueError(
                    "also_true (B, B) knows one process only; give 'picture' and 'true_of' instead"
                )
            return batch["also_true"]
        if "picture" not in batch:
            raise ValueError(
                "false_negatives = 'mask' needs to know what is true: give 'picture' (and "
                "'true_of') or 'also_true' in the batch, or keep false negatives"
            )
        texts, picture, true_of = batch["texts"], batch["picture"], batch.get("true_of")
        check_numbers(picture, true_of, len(texts))
        mask = batch.get("mask")
        known = [picture, code_of(texts, texts != PAD if mask is None else mask)]
        known += [] if true_of is None else [true_of]
        return known_true(*(map(gathered, known) if together else known))


# --- The data -------------------------------------------------------------------------------------


def words_of(text: str | Sequence[str], split: Callable[[str], list[str]] = tokenize) -> list[str]:
    """The words of a sentence; a list of tags is taken as it is, so that *ice cream* can be one."""
    return split(text) if isinstance(text, str) else list(text)


def encode_texts(
    texts: Sequence[str | Sequence[str]],
    vocabulary: Vocabulary,
    split: Callable[[str], list[str]] = tokenize,
) -> Tensor:
    """Sentences, or lists of tags, as ids.

    Args:
        texts: M of them.
        vocabulary: ``<pad>`` must be its first word. Without ``<unk>`` an unknown word is an error
            that names near spellings: right for a search box.
        split: parts a sentence; character n-grams, say, for small data or for languages that glue
            words together.

    Returns:
        (M, L) int64, ``<pad>`` behind the words.

    Raises:
        TypeError: one string.
        ValueError: no texts, one without a word (it is named), or another vocabulary.
        KeyError: an unknown word, where the vocabulary has no ``<unk>``.
    """
    if isinstance(texts, str | bytes):
        raise TypeError(f"encode_texts needs a sequence of texts, got one {type(texts).__name__}")
    if vocabulary.words[PAD] != SPECIALS[PAD]:
        raise ValueError(
            f"the vocabulary must begin with {SPECIALS[PAD]}, got {vocabulary.words[PAD]!r}"
        )
    words = [words_of(text, split) for text in texts]
    for number, own in enumerate(words):
        if not own:
            raise ValueError(f"text {number} has no word: {texts[number]!r}")
    return pad([vocabulary.encode(own) for own in words], PAD)[0]


class Pairs(Dataset):
    """Pictures and their texts for :func:`mmtutor.kit.training.fit`, which must be given
    ``collate=dict``: a whole batch is cut out at once.

    Args:
        features: (N, …), of N pictures; half precision is handed out as float32.
        texts: (M, L) ids.
        owner: (M,) whole numbers, the picture of each text; not needed if M = N.
        true: (N, M) boolean, which text is true of which picture, if the world knows.

    Raises:
        TypeError, ValueError: sizes that do not fit, an owner out of range, or a text that is not
            true of its own picture.
    """

    def __init__(
        self,
        features: Tensor,
        texts: Tensor,
        owner: Tensor | None = None,
        true: Tensor | np.ndarray | None = None,
    ) -> None:
        check_texts(texts, None, sys.maxsize)
        owner = torch.arange(len(texts)) if owner is None else torch.as_tensor(owner)
        check_numbers(owner, None, len(texts))
        if not 0 <= int(owner.min()) <= int(owner.max()) < len(features):
            raise ValueError(
                f"there are {len(features)} pictures, "
                f"but owners {int(owner.min())}..{int(owner.max())}"
            )
        self.features, self.texts, self.owner, self.true_of = features, texts, owner, None
        self.lengths = (texts != PAD).sum(1)
        if true is not None:
            if tuple(true.shape) != (len(features), len(texts)):
                raise ValueError(
                    f"the truth must be {(len(features), len(texts))}, pictures by texts, "
                    f"got {tuple(true.shape)}"
                )
            self.true_of = packed(true)
            false = ~np.asarray(true)[owner.numpy(), np.arange(len(texts))]
            if false.any():
                raise ValueError(f"text {int(false.argmax())} is not true of its own picture")

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        rows = torch.as_tensor(indices)
        picture = self.owner[rows]
        batch = {
            "features": self.features[picture].float(),  # (B, …)
            "texts": self.texts[rows, : int(self.lengths[rows].max())],  # (B, L)
            "picture": picture,  # (B,)
        }
        return batch if self.true_of is None else {**batch, "true_of": self.true_of[rows]}


# --- Arithmetic -----------------------------------------------------------------------------------


def arithmetic(pictures: Tensor, minus: Tensor, plus: Tensor, weight: float = 1.0) -> Tensor:
    """A picture with one thing exchanged for another: picture − word + word, back on the sphere
    (Kiros et al. 2014).

    It presupposes that a picture's vector is about the sum of its words' vectors; that is why the
    paper shows it with the sum as text tower. :func:`mmtutor.kit.retrieval.nearest` then finds the
    pictures.

    Args:
        pictures: (Q, E) unit vectors.
        minus: (Q, E) or (E,), unit vectors of what goes.
        plus: (Q, E) or (E,), unit vectors of what comes.
        weight: how much the words count. A picture of n words is their sum over its length, so one
            word's share of a picture's unit vector is less than 1.

    Returns:
        (Q, E) unit vectors.

    Raises:
        TypeError, ValueError: no tensors of floating point, shapes that do not fit, NaN or
            infinity, or a weight that is not finite.
    """
    for name, x in (("pictures", pictures), ("minus", minus), ("plus", plus)):
        vector = isinstance(x, Tensor) and x.ndim == 1 and name != "pictures"
        size = check_vectors(x[None] if vector else x, name).shape
        if size[1] != pictures.shape[1] or size[0] not in (len(pictures), 1 if vector else -1):
            raise ValueError(
                f"pictures are (Q, E) = {tuple(pictures.shape)}, so {name} must be that or (E,), "
                f"got {tuple(x.shape)}"
            )
    if not math.isfinite(weight):
        raise ValueError(f"weight must be finite, got {weight}")
    return unit(pictures + weight * (plus - minus))


# --- Checks ---------------------------------------------------------------------------------------


def check_texts(texts: Tensor, mask: Tensor | None, size: int) -> Tensor:
    """Check texts (B, L) and return their mask.

    Raises:
        TypeError: ids that are not int64, a mask that is not boolean.
        ValueError: another shape, an empty batch; or (on the CPU) ids outside 0..size − 1, a text
            without a word, or padding before a word. The message names the text.
    """
    if not isinstance(texts, Tensor) or texts.dtype != torch.int64:
        got = texts.dtype if isinstance(texts, Tensor) else type(texts).__name__
        raise TypeError(f"texts must be ids (B, L) of type int64, got {got}")
    if texts.ndim != 2 or min(texts.shape) < 1:
        raise ValueError(f"texts must be ids (B, L), B and L at least 1, got {tuple(texts.shape)}")
    mask = texts != PAD if mask is None else mask
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"the mask must be boolean, True where a word is valid, got {got}")
    if mask.shape != texts.shape:
        raise ValueError(f"the mask must be {tuple(texts.shape)}, got {tuple(mask.shape)}")
    if texts.device.type == "cpu":
        low, high = int(texts.min()), int(texts.max())
        if low < 0 or high >= size:
            raise ValueError(f"ids of words must lie in 0..{size - 1}, got {low}..{high}")
        empty = ~mask.any(1)
        if bool(empty.any()):
            raise ValueError(f"text {int(empty.nonzero()[0, 0])} has no word")
        gap = (mask[:, 1:] & ~mask[:, :-1]).any(1)
        if bool(gap.any()):
            raise ValueError(
                f"text {int(gap.nonzero()[0, 0])} has padding before a word; it belongs at the end"
            )
    return mask


def check_numbers(picture: Tensor, true_of: Tensor | None, size: int) -> None:
    """Raise a TypeError or a ValueError unless ``picture`` is (B,) whole numbers and ``true_of``
    (B, bytes) uint8 with a bit for each of them."""
    if (
        not isinstance(picture, Tensor)
        or picture.is_floating_point()
        or picture.dtype == torch.bool
    ):
        got = picture.dtype if isinstance(picture, Tensor) else type(picture).__name__
        raise TypeError(f"picture must be whole numbers (B,), got {got}")
    if picture.shape != (size,):
        raise ValueError(f"picture must be ({size},), got {tuple(picture.shape)}")
    if true_of is None:
        return
    if not isinstance(true_of, Tensor) or true_of.dtype != torch.uint8:
        got = true_of.dtype if isinstance(true_of, Tensor) else type(true_of).__name__
        raise TypeError(f"true_of must be bits in uint8 (see packed), got {got}")
    if true_of.ndim != 2 or len(true_of) != size:
        raise ValueError(f"true_of must be ({size}, bytes), got {tuple(true_of.shape)}")
    most = 8 * true_of.shape[1] - 1
    if picture.device.type == "cpu" and not 0 <= int(picture.min()) <= int(picture.max()) <= most:
        raise ValueError(
            f"true_of knows the pictures 0..{most}, got {int(picture.min())}..{int(picture.max())}"
        )
