"""VL-BERT: words and regions of a picture in one sequence, and a transformer that does not ask which
is which.

Every element, word or region, may look at every other from the first layer on (Su et al., ICLR
2020)::

    [CLS] is there a dog [SEP] region 0, region 1, … [END]                      a caption
    [CLS] where is the dog [SEP] [MASK] [SEP] region 0, region 1, … [END]       a question

What an element is, is said by four vectors, which are added:

==========  ========================  =======================  ===========  ====================
embedding   a word                    a region                 ``[END]``    what it says
==========  ========================  =======================  ===========  ====================
token       one for each word         one for all regions      one          which word
visual      of the whole picture      of the region            none         what can be seen
segment     A; B behind the [SEP]     C                        C            of which part
position    0, 1, 2, …                one for all regions      one more     which comes first
==========  ========================  =======================  ===========  ====================

So regions are a *set*: nothing but its own box says where a region lies. The model learns from
pairs of a caption and a picture, by saying what was hidden: words *with visual clues*, regions *with
linguistic clues*. A question is then a caption with a hole: the answer is read off at [MASK].

Read from top to bottom: the settings, the elements, the sequence, what is said about it, the losses.
The layers are BERT's (:mod:`mmtutor.kit.transformer`), what is hidden is chosen in
:mod:`mmtutor.kit.masking`, and what comes in is checked in :mod:`mmtutor.kit.regions`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtutor.kit import masking
from mmtutor.kit.places import Places
from mmtutor.kit.regions import (
    ANSWER_LOSSES,
    Picture,
    answer_loss,
    centred,
    check_answers,
    check_classes,
    check_mask,
    check_picture,
    check_targets,
    check_words,
    mean_of,
    region_losses,
    waves,
    whole_from_parts,
    word_losses,
)
from mmtutor.kit.transformer import EPS, Layer, Transform, WordHead, first_weights, sizes

GEOMETRY = ("product", "sum", "sines")
A, B, C = 0, 1, 2  # the segments
SIZES = {
    "base": dict(width=768, heads=12, layers=12, hidden=3072),
    "large": dict(width=1024, heads=16, layers=24, hidden=4096),
}


@dataclass(frozen=True)
class Config:
    """Sizes and choices of a :class:`VLBert`.

    Args:
        vocabulary: V, words with the specials, ``<pad>`` first (:data:`mmtutor.kit.masking.SPECIALS`).
        answers: K, answers to choose from.
        region: D, numbers that say what is in a region.
        classes: C, what a region may be.
        width: H, numbers of an element.
        heads: of attention; ``width`` is a multiple.
        layers: of the transformer.
        hidden: width of the feed-forward half of a layer.
        positions: of words, [CLS] and [SEP], and two more: a caption has T + 4, a question T + 6.
        geometry: how a region is told where it lies: ``"sines"`` beside its features (the paper);
            ``"product"`` or ``"sum"`` of content and position (:mod:`mmtutor.kit.places`).
        waves: sines of each of the four numbers of a box, with ``"sines"``.
        mask_vector: a learned vector stands for a region that is hidden, and the whole picture is
            the mean of the others; for features made beforehand. Otherwise the vectors of a batch
            are read as they are: its pixels were hidden before (end to end).
        visual_gain: with which gain the visual vectors of regions start. The paper has 0: it begins
            as a BERT that has read much and sees nothing.
        word_gain: the same for the picture that words carry. Above 0 it makes all words of a
            sentence alike, before the model can tell them from one another.
        answer_loss: ``"softmax"``: one answer is right; ``"sigmoid"``: each may be, to a degree
            (the paper).
        mask_words: share of words to say.
        mask_regions: share of regions to name, with ``mask_vector``; else the batch says which.
        at_least_one: in each sentence and picture at least one is chosen (the paper: no).
        cls, sep, mask: ids of these words.
        first: the lowest id that may be put in a hidden word's place.
        start: standard deviation of the first weights.
        dropout: of every layer.
    """

    vocabulary: int
    answers: int
    region: int = 112
    classes: int = 12
    width: int = 128
    heads: int = 4
    layers: int = 3
    hidden: int = 256
    positions: int = 40
    geometry: str = "product"
    waves: int = 16
    mask_vector: bool = False
    visual_gain: float = 1.0
    word_gain: float = 0.0
    answer_loss: str = "softmax"
    mask_words: float = 0.15
    mask_regions: float = 0.15
    at_least_one: bool = True
    cls: int = masking.CLS
    sep: int = masking.SEP
    mask: int = masking.MASK
    first: int = len(masking.SPECIALS)
    start: float = 0.05
    dropout: float = 0.1

    def __post_init__(self) -> None:
        names = ("vocabulary", "answers", "region", "classes", "width", "heads", "layers")
        names += ("hidden", "positions", "waves")
        sizes(**{name: getattr(self, name) for name in names})
        for name, known in (("geometry", GEOMETRY), ("answer_loss", ANSWER_LOSSES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of {self.heads} heads")
        if self.positions < 7:
            raise ValueError(f"a question of one word has 7 positions, got {self.positions}")
        for name in ("mask_words", "mask_regions"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if not 0 < self.start < math.inf:
            raise ValueError(f"start must be above 0, and finite, got {self.start}")
        for name in ("visual_gain", "word_gain"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, got {getattr(self, name)}")
        ids = (self.cls, self.sep, self.mask)
        if len(set(ids)) < 3 or min(ids) < 1 or max(*ids, self.first) >= self.vocabulary:
            raise ValueError(
                f"cls, sep, mask and first must be ids of words in 1..{self.vocabulary - 1}, "
                f"got {ids} and {self.first}; give masking.SPECIALS to the vocabulary"
            )
        unread = {}
        if self.geometry != "sines":
            unread["waves"] = f"geometry = {self.geometry!r}"
        if not self.mask_vector:
            unread["mask_regions"] = "mask_vector = False"
        default = {f.name: f.default for f in fields(self)}
        for name, choice in unread.items():
            if getattr(self, name) != default[name]:
                raise ValueError(
                    f"{name} = {getattr(self, name)} has no effect with {choice}; "
                    f"leave it at {default[name]}"
                )

    @classmethod
    def world(cls, /, vocabulary: int, answers: int, **changes: Any) -> Config:
        """Trains on two CPU cores in about a minute."""
        return cls(**{"vocabulary": vocabulary, "answers": answers, **changes})

    @classmethod
    def paper(cls, /, which: str = "base", vocabulary: int = 30_522, **changes: Any) -> Config:
        """The sizes of the paper: ``"base"`` or ``"large"``; the words of BERT (their pieces), 2,048
        features, 1,601 classes, 3,129 answers."""
        if which not in SIZES:
            raise ValueError(f"paper must be one of {tuple(SIZES)}, got {which!r}")
        given = dict(
            vocabulary=vocabulary,
            answers=3129,
            region=2048,
            classes=1601,
            **SIZES[which],
            positions=512,
            geometry="sines",
            waves=256,
            visual_gain=0.0,
            answer_loss="sigmoid",
            at_least_one=False,
            cls=101,
            sep=102,
            mask=103,
            first=0,
            start=0.02,
        )
        if changes.get("geometry", "sines") != "sines":
            del given["waves"]
        return cls(**{**given, **changes})


class Layout(NamedTuple):
    """Where the elements stand in a sequence of S."""

    words: slice
    second: slice | None  # the second sentence; of a question it is [MASK]
    regions: slice


class Looks(NamedTuple):
    """Where each element looks, in all layers and heads; and where the elements stand."""

    weights: Tensor  # (B, layers, heads, S, S), each row of sum 1
    layout: Layout


# --- The model ------------------------------------------------------------------------------------


class VLBert(nn.Module):
    """Reads a sentence and a picture as one sequence; says hidden words, names hidden regions,
    answers questions.

    Left to the caller: the network that makes the features of regions. Not here is the layer
    (*pooler*) that BERT puts behind [CLS]: neither pre-training nor questions read it. The authors'
    program packs a sequence densely; here padding stays where it is, which nothing sees, and
    positions are counted without it.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = c = config
        # the four embeddings
        self.words = nn.Embedding(c.vocabulary, c.width)
        self.segments = nn.Embedding(3, c.width)
        self.positions = nn.Embedding(c.positions, c.width)
        if c.geometry == "sines":
            self.project = nn.Linear(c.region + 8 * c.waves, c.width)
        else:
            self.project = Places(c.region, c.width, 4, c.geometry, "relu")
        self.norm_of_words = nn.LayerNorm(c.width, EPS)  # of the picture that words carry
        self.norm_of_regions = nn.LayerNorm(c.width, EPS)
        # vectors of elements that are no words: any region, a hidden one, [END]; and what stands
        # for the picture where there is none
        self.image, self.hidden_image, self.end, self.no_picture = (
            nn.Parameter(torch.empty(c.width)) for _ in range(4)
        )
        self.hidden_region = nn.Parameter(torch.zeros(c.region)) if c.mask_vector else None
        self.norm = nn.LayerNorm(c.width, EPS)
        self.dropout = nn.Dropout(c.dropout)

        self.layers = nn.ModuleList(
            Layer(c.width, c.heads, c.hidden, c.dropout) for _ in range(c.layers)
        )

        self.word_head = WordHead(c.width, c.vocabulary)
        self.region_head = nn.Sequential(
            nn.Linear(c.width, c.width), nn.GELU(), nn.Linear(c.width, c.classes)
        )
        self.answer_head = nn.Sequential(
            Transform(c.width), nn.Dropout(c.dropout), nn.Linear(c.width, c.answers)
        )
        first_weights(self, c.start)
        with torch.no_grad():
            for vector in (self.image, self.hidden_image, self.end, self.no_picture):
                vector.normal_(std=c.start)
            self.norm_of_words.weight.fill_(c.word_gain)
            self.norm_of_regions.weight.fill_(c.visual_gain)

    # -- the elements

    def see(self, picture: Picture, gone: Tensor) -> Tensor:
        """The visual vectors of regions (B, R, H): what is there, and where.

        Args:
            picture: B of them.
            gone: (B, R), the regions that are hidden.
        """
        x, boxes, there = picture  # (B, R, D), (B, R, 4), (B, R)
        if self.hidden_region is not None:
            x = torch.where(gone[..., None], self.hidden_region, x)
            x = whole_from_parts(x, there, gone)
        if self.config.geometry == "sines":
            x = torch.cat([x, waves(boxes, self.config.waves)], -1)
            return F.relu(self.project(self.dropout(x)))
        return self.project(self.dropout(x), centred(boxes))

    def embed(
        self, words: Tensor, picture: Picture, second: Tensor | None, gone: Tensor
    ) -> tuple[Tensor, Tensor, Layout]:
        """The sequence: elements (B, S, H); (B, S), True where there is one; where they stand."""
        c, (b, t) = self.config, words.shape
        cls, sep = (words.new_full((b, 1), i) for i in (c.cls, c.sep))
        ids = [cls, words, sep] if second is None else [cls, words, sep, second, sep]
        ids = torch.cat(ids, 1)  # (B, L)
        length, r = ids.shape[1], picture.there.shape[1]
        layout = Layout(
            slice(1, 1 + t),
            None if second is None else slice(2 + t, length - 1),
            slice(length, length + r),
        )
        real = ids != masking.PAD
        there = torch.cat([real, picture.there, torch.ones_like(real[:, :1])], 1)  # (B, S)

        visual = self.see(picture, gone)  # (B, R, H)
        has = picture.there[:, :1]  # (B, 1), a picture at all
        whole = self.norm_of_words(torch.where(has, visual[:, 0], self.no_picture))  # (B, H)
        image = torch.where(gone[..., None], self.hidden_image, self.image)  # (B, R, H)
        x = torch.cat(
            [
                self.words(ids) + whole[:, None],
                image + self.norm_of_regions(visual),
                self.end.expand(b, 1, -1),
            ],
            1,
        )  # (B, S, H)

        count = real.sum(1, keepdim=True)  # (B, 1), positions of the text
        at = (real.cumsum(1) - 1).clamp(min=0)
        at = torch.cat([at, count.expand(b, r), count + 1], 1)  # (B, S)
        segment = torch.full((at.shape[1],), C, device=at.device)
        segment[:length] = B
        segment[: t + 2] = A
        x = x + self.segments(segment) + self.positions(at)
        return self.dropout(self.norm(x)), there, layout

    # -- the sequence

    def read(
        self,
        words: Tensor,
        regions: Tensor | None,
        boxes: Tensor | None,
        there: Tensor | None,
        second: Tensor | None = None,
        gone: Tensor | None = None,
        looks: list[Tensor] | None = None,
    ) -> tuple[Tensor, Layout]:
        """What each element of a sequence has become.

        Args:
            words: (B, T) ids, ``<pad>`` at the end.
            regions: (B, R, D), features; region 0 is the whole picture. None: no pictures.
            boxes: (B, R, 4), corners x1, y1, x2, y2 in [0, 1].
            there: (B, R), True where there is a region. A row of False is no picture.
            second: (B, T2) ids, a second sentence.
            gone: (B, R), regions that are hidden.
            looks: a list that takes where each layer looks, (B, heads, S, S).

        Returns:
            (B, S, H), and where the elements stand.

        Raises:
            TypeError, ValueError: what does not fit; see :mod:`mmtutor.kit.regions`.
        """
        c = self.config
        more = 0 if second is None else second.shape[1] + 1
        check_words(words, c.vocabulary, c.positions - 4 - more)
        if regions is None:
            b, like = len(words), self.norm.weight
            regions, boxes = like.new_zeros(b, 1, c.region), like.new_zeros(b, 1, 4)
            there = torch.zeros(b, 1, dtype=torch.bool, device=words.device)
        picture = check_picture(regions, boxes, there, c.region, len(words), self.norm.weight.dtype)
        gone = torch.zeros_like(there) if gone is None else check_mask(gone, there, "replaced")
        x, real, layout = self.embed(words, picture, second, gone)
        for layer in self.layers:
            if looks is not None:
                looks.append(layer.attention.weights(x, x, real))
            x = layer(x, real)
        return x, layout

    def hole(self, questions: Tensor) -> Tensor:
        """The second sentence of a question: [MASK], where the answer belongs, (B, 1)."""
        return questions.new_full((len(questions), 1), self.config.mask)

    def forward(self, questions: Tensor, regions: Tensor, boxes: Tensor, there: Tensor) -> Tensor:
        """Scores (B, K) of the answers; see :meth:`read`."""
        x, layout = self.read(questions, regions, boxes, there, self.hole(questions))
        return self.answer_head(x[:, layout.second][:, 0])

    @torch.no_grad()
    def answer(self, questions: Tensor, regions: Tensor, boxes: Tensor, there: Tensor) -> Tensor:
        """The most probable answers, (B,) ids."""
        return self(questions, regions, boxes, there).argmax(1)

    @torch.no_grad()
    def attention(
        self,
        words: Tensor,
        regions: Tensor,
        boxes: Tensor,
        there: Tensor,
        question: bool = True,
    ) -> Looks:
        """Where each element looks, in every layer and head (B, layers, heads, S, S); a ``question``
        has its [MASK], a caption has none. See :meth:`read`."""
        looks: list[Tensor] = []
        second = self.hole(words) if question else None
        layout = self.read(words, regions, boxes, there, second, looks=looks)[1]
        return Looks(torch.stack(looks, 1), layout)

    # -- learning

    def pretrain_loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Say the hidden words, name the hidden regions.

        L = L_words + L_regions + L_text: −log p of each chosen word, its mean over those that have
        a picture, and over those that have none; −Σ_c p_c log q_c of each chosen region, against
        what a detector says, its mean. A mean of nothing is 0.

        Args:
            batch: ``"words"`` (B, T), ``"regions"``, ``"boxes"``, ``"there"`` (see :meth:`read`),
                and ``"classes"`` (B, R, C), distributions; without, no region is named. What is
                hidden stands in ``"word_targets"``, ``"masked"`` and ``"replaced"``, or is drawn
                (:func:`mmtutor.kit.masking.hide`); without ``mask_vector`` the regions that are
                ``"masked"`` must come with their pixels hidden.

        Returns:
            ``"loss"``, ``"words"``, ``"regions"``, ``"text"``; for the eye ``"words right"`` and
            ``"regions right"``, shares.
        """
        c = self.config
        hidden = masking.hide(
            batch,
            vocabulary=c.vocabulary,
            mask=c.mask,
            first=c.first,
            words=c.mask_words,
            regions=c.mask_regions if c.mask_vector and "classes" in batch else None,
            one=c.at_least_one,
        )
        targets = check_targets(hidden.targets, hidden.words, c.vocabulary)
        there = batch["there"]
        x, layout = self.read(
            hidden.words, batch["regions"], batch["boxes"], there, gone=hidden.gone
        )
        losses, right = word_losses(
            self.word_head(x[:, layout.words], self.words.weight), targets
        )  # (B, T)
        chosen, seen = targets != masking.NOT_CHOSEN, there[:, :1]
        terms = {
            "words": mean_of(losses, chosen & seen),
            "text": mean_of(losses, chosen & ~seen),
            "words right": mean_of(right, chosen),
        }
        if "classes" in batch:
            asked = check_mask(hidden.asked, there, "masked")
            classes = check_classes(batch["classes"], there, c.classes)
            losses, right = region_losses(self.region_head(x[:, layout.regions]), classes)
            terms["regions"] = mean_of(losses, asked)
            terms["regions right"] = mean_of(right, asked)
        loss = sum(terms[name] for name in ("words", "text", "regions") if name in terms)
        return {"loss": loss, **terms}

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss of questions; see :func:`mmtutor.kit.regions.answer_loss`.

        Args:
            batch: ``"questions"`` (B, T), ``"regions"``, ``"boxes"``, ``"there"``, and
                ``"answers"``.

        Returns:
            ``"loss"``; for the eye ``"right"``, the share of questions that are answered rightly.
        """
        c = self.config
        scores = self(batch["questions"], batch["regions"], batch["boxes"], batch["there"])
        answers = check_answers(batch["answers"], len(scores), c.answers, c.answer_loss)
        return answer_loss(scores, answers, c.answer_loss)
