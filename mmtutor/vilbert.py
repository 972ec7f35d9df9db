"""ViLBERT: one transformer reads the words, another the regions of the picture, and now and then
they look at each other.

Words need more layers than regions, which a detector has worked on already. So each stream has its
own width and depth, and they exchange only in *co-attention* (Lu et al., NeurIPS 2019)::

    words    layer … layer ─ connect ─ layer ─ connect ─ layer ─ …  → h of [CLS]
                                ╳                 ╳                       ⊙  → answer, aligned?
    regions  ────────────────connect ─ layer ─ connect ─ layer ─ …  → h of the whole picture

In a connection each stream asks, and the *other* answers: queries from one, keys and values from the
other::

    words   ← softmax(Q_w K_rᵀ / √d) V_r          regions ← softmax(Q_r K_wᵀ / √d) V_w

Places that hold nothing are those of the stream that answers. What a stream found is added to what
it was, and worked on (*feed-forward*), each stream by its own weights.

It learns from pairs of a caption and a picture: it says hidden words, says of hidden regions how
probable each class is, and tells whether the caption belongs to the picture.

Read from top to bottom: the settings, a connection, the two streams, what is said about them, the
losses. The layers are BERT's (:mod:`mmtutor.kit.transformer`), what is hidden is chosen in
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
    check_aligned,
    check_answers,
    check_classes,
    check_mask,
    check_picture,
    check_targets,
    check_words,
    mean_of,
    region_losses,
    whole_from_parts,
    with_area,
    word_losses,
)
from mmtutor.kit.transformer import (
    EPS,
    Attention,
    FeedForward,
    Layer,
    Transform,
    WordHead,
    first_weights,
    sizes,
)

GEOMETRY = ("product", "sum")
ALIGNED, RANDOM = 0, 1  # the labels of the authors' program: 0 where the caption belongs


@dataclass(frozen=True)
class Config:
    """Sizes and choices of a :class:`ViLBert`.

    Args:
        vocabulary: V, words with the specials, ``<pad>`` first (:data:`mmtutor.kit.masking.SPECIALS`).
        answers: K, answers to choose from.
        region: D, numbers that say what is in a region.
        classes: C, what a region may be.
        width: numbers of a word.
        heads: of a word's attention.
        hidden: width of the feed-forward half of a word's layer.
        layers: of the words, those behind connections included.
        region_width: numbers of a region.
        region_heads: of a region's attention.
        region_hidden: width of the feed-forward half of a region's layer.
        connections: how often the streams meet; after each, both have one layer.
        shared: numbers of all heads of co-attention together.
        shared_heads: of co-attention.
        pooled: numbers of the vectors that speak for a whole stream.
        answer_hidden: width of the layer before the answers.
        answer_dropout: behind that layer.
        positions: of words, [CLS] and [SEP]: a sentence of T words has T + 2.
        segments: kinds of sentences; all here are of kind 0, the paper's table has 2.
        geometry: how a region is told where it lies: a layer of corners and area is added to a
            layer of its features (``"sum"``, the paper), or to content × position
            (``"product"``, see :mod:`mmtutor.kit.places`).
        mask_vector: the features of a region that is hidden are read as zeros (the paper), and the
            whole picture is the mean of the others. Otherwise the vectors of a batch are read as
            they are: its pixels were hidden before.
        swapped: share of captions that are swapped for another picture's, where a batch does not
            say which belong.
        aligned_only: words and regions are asked for only where the caption belongs to the picture.
            The authors' first program asks everywhere, and so teaches that a picture says nothing
            about its caption half of the time; its successor can leave that out.
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
    hidden: int = 256
    layers: int = 3
    region_width: int = 128
    region_heads: int = 4
    region_hidden: int = 128
    connections: int = 2
    shared: int = 128
    shared_heads: int = 4
    pooled: int = 128
    answer_hidden: int = 256
    answer_dropout: float = 0.1
    positions: int = 40
    segments: int = 1
    geometry: str = "product"
    mask_vector: bool = False
    swapped: float = 0.5
    aligned_only: bool = True
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
        names = ("vocabulary", "answers", "region", "classes", "width", "heads", "hidden", "layers")
        names += ("region_width", "region_heads", "region_hidden", "connections", "shared")
        names += ("shared_heads", "pooled", "answer_hidden", "positions", "segments")
        sizes(**{name: getattr(self, name) for name in names})
        for name, known in (("geometry", GEOMETRY), ("answer_loss", ANSWER_LOSSES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        for name, heads in (
            ("width", self.heads),
            ("region_width", self.region_heads),
            ("shared", self.shared_heads),
        ):
            if getattr(self, name) % heads:
                raise ValueError(
                    f"{name} {getattr(self, name)} must be a multiple of {heads} heads"
                )
        if self.connections > self.layers:
            raise ValueError(
                f"each connection has a layer of words behind it: {self.connections} connections "
                f"need as many layers, got {self.layers}"
            )
        if self.positions < 3:
            raise ValueError(f"a sentence of one word has 3 positions, got {self.positions}")
        for name in ("mask_words", "mask_regions", "swapped"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        for name in ("dropout", "answer_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if not 0 < self.start < math.inf:
            raise ValueError(f"start must be above 0, and finite, got {self.start}")
        ids = (self.cls, self.sep, self.mask)
        if len(set(ids)) < 3 or min(ids) < 1 or max(*ids, self.first) >= self.vocabulary:
            raise ValueError(
                f"cls, sep, mask and first must be ids of words in 1..{self.vocabulary - 1}, "
                f"got {ids} and {self.first}; give masking.SPECIALS to the vocabulary"
            )
        default = {f.name: f.default for f in fields(self)}["mask_regions"]
        if not self.mask_vector and self.mask_regions != default:
            raise ValueError(
                f"mask_regions = {self.mask_regions} has no effect with mask_vector = False; "
                f"leave it at {default}"
            )

    @classmethod
    def world(cls, /, vocabulary: int, answers: int, **changes: Any) -> Config:
        """Trains on two CPU cores in about a minute."""
        return cls(**{"vocabulary": vocabulary, "answers": answers, **changes})

    @classmethod
    def paper(cls, /, connections: int = 6, vocabulary: int = 30_522, **changes: Any) -> Config:
        """The sizes of the paper (6 connections; it tries 2, 4 and 8 as well): BERT's 12 layers and
        pieces of words; regions of 1,024 with 8 heads and a feed-forward half as wide, 1,601
        classes; 3,129 answers."""
        given = dict(
            vocabulary=vocabulary,
            answers=3129,
            region=2048,
            classes=1601,
            width=768,
            heads=12,
            hidden=3072,
            layers=12,
            region_width=1024,
            region_heads=8,
            region_hidden=1024,
            connections=connections,
            shared=1024,
            shared_heads=8,
            pooled=1024,
            answer_hidden=2048,
            answer_dropout=0.5,
            positions=512,
            segments=2,
            geometry="sum",
            mask_vector=True,
            aligned_only=False,
            answer_loss="sigmoid",
            at_least_one=False,
            cls=101,
            sep=102,
            mask=103,
            first=0,
            start=0.02,
        )
        return cls(**{**given, **changes})


class Streams(NamedTuple):
    """What each element has become."""

    text: Tensor  # (B, T + 2, width): [CLS], the words, [SEP]
    regions: Tensor  # (B, R, region_width)


class Looks(NamedTuple):
    """Where the streams look in co-attention, in all connections and heads."""

    to_regions: Tensor  # (B, connections, heads, T + 2, R), text → regions, each row of sum 1
    to_words: Tensor  # (B, connections, heads, R, T + 2), regions → text
    words: slice  # which of T + 2 are words


# --- Where the streams meet -----------------------------------------------------------------------


class Connection(nn.Module):
    """Each stream looks at the other, adds what it found, and is worked on by itself.

    Six matrices make the queries, keys and values of both. (The authors' program has two layers
    more in each connection, ``q_dense``, that nothing reads.)
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        c = config
        t, r = c.width, c.region_width
        # who asks; the other answers
        self.text = Attention(t, c.shared_heads, c.dropout, other=r, inner=c.shared)
        self.regions = Attention(r, c.shared_heads, c.dropout, other=t, inner=c.shared)
        self.text_norm, self.regions_norm = nn.LayerNorm(t, EPS), nn.LayerNorm(r, EPS)
        self.dropout = nn.Dropout(c.dropout)
        self.text_forward = FeedForward(t, c.hidden, c.dropout)
        self.regions_forward = FeedForward(r, c.region_hidden, c.dropout)

    def forward(self, text: Tensor, regions: Tensor, words: Tensor, there: Tensor) -> Streams:
        """Both streams, each after it has looked at the other as it was.

        Args:
            text: (B, T + 2, width).
            regions: (B, R, region_width).
            words: (B, T + 2), True where the text has an element that regions may look at.
            there: (B, R), True where there is a region that words may look at.
        """
        seen = self.dropout(self.text(text, regions, there))  # (B, T + 2, width)
        read = self.dropout(self.regions(regions, text, words))  # (B, R, region_width)
        return Streams(
            self.text_forward(self.text_norm(text + seen)),
            self.regions_forward(self.regions_norm(regions + read)),
        )


# --- The model ------------------------------------------------------------------------------------


class ViLBert(nn.Module):
    """Reads a sentence and a picture in two streams; says hidden words, names hidden regions, tells
    whether they belong together, answers questions.

    Left to the caller: the network that makes the features of regions.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = c = config
        self.words = nn.Embedding(c.vocabulary, c.width)
        self.segments = nn.Embedding(c.segments, c.width)
        self.positions = nn.Embedding(c.positions, c.width)
        self.text_norm = nn.LayerNorm(c.width, EPS)

        product = c.geometry == "product"
        self.features = (
            Places(c.region, c.region_width, 4, "product", "none")
            if product
            else nn.Linear(c.region, c.region_width)
        )
        self.boxes = nn.Linear(5, c.region_width)
        self.regions_norm = nn.LayerNorm(c.region_width, EPS)
        self.dropout = nn.Dropout(c.dropout)

        self.text_layers = nn.ModuleList(
            Layer(c.width, c.heads, c.hidden, c.dropout) for _ in range(c.layers)
        )
        self.region_layers = nn.ModuleList(
            Layer(c.region_width, c.region_heads, c.region_hidden, c.dropout)
            for _ in range(c.connections)
        )
        self.connections = nn.ModuleList(Connection(c) for _ in range(c.connections))
        self.text_pooler = nn.Linear(c.width, c.pooled)
        self.region_pooler = nn.Linear(c.region_width, c.pooled)

        self.word_head = WordHead(c.width, c.vocabulary)
        self.region_head = nn.Sequential(
            Transform(c.region_width), nn.Linear(c.region_width, c.classes)
        )
        self.align_head = nn.Linear(c.pooled, 2)
        self.answer_head = nn.Sequential(
            nn.Linear(c.pooled, c.answer_hidden),
            nn.ReLU(),
            nn.Dropout(c.answer_dropout),
            nn.Linear(c.answer_hidden, c.answers),
        )
        first_weights(self, c.start)
        for i in (0, 3):  # length and direction of its weights are learnt apart
            nn.utils.parametrizations.weight_norm(self.answer_head[i], dim=None)

    # -- the elements

    def embed_text(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """[CLS], words (B, T), [SEP] as vectors (B, T + 2, width); and where there is one.

        The [SEP] stands at the end, behind padding, and its position is that behind the last word.
        """
        c = self.config
        cls, sep = (words.new_full((len(words), 1), i) for i in (c.cls, c.sep))
        ids = torch.cat([cls, words, sep], 1)
        real = ids != masking.PAD
        at = (real.cumsum(1) - 1).clamp(min=0)
        x = self.words(ids) + self.positions(at) + self.segments.weight[0]
        return self.dropout(self.text_norm(x)), real

    def embed_regions(self, picture: Picture, gone: Tensor) -> Tensor:
        """Regions as vectors (B, R, region_width): what is there, and where.

        Args:
            picture: B of them.
            gone: (B, R), the regions that are hidden.
        """
        x, boxes, there = picture
        if self.config.mask_vector:
            x = x.masked_fill(gone[..., None], 0.0)
            x = whole_from_parts(x, there, gone)
        product = self.config.geometry == "product"
        content = self.features(x, centred(boxes)) if product else self.features(x)
        return self.dropout(self.regions_norm(content + self.boxes(with_area(boxes))))

    # -- the two streams

    def read(
        self,
        words: Tensor,
        regions: Tensor,
        boxes: Tensor,
        there: Tensor,
        gone: Tensor | None = None,
        *,
        meet: bool = True,
        looks: list[tuple[Tensor, Tensor]] | None = None,
    ) -> Streams:
        """What each element of both streams has become.

        Args:
            words: (B, T) ids, ``<pad>`` at the end.
            regions: (B, R, D), features; region 0 is the whole picture.
            boxes: (B, R, 4), corners x1, y1, x2, y2 in [0, 1].
            there: (B, R), True where there is a region.
            gone: (B, R), regions that are hidden.
            meet: False: in each connection the other stream is masked out. Nothing is found there,
                and the streams are two transformers that know nothing of each other.
            looks: a list that takes where each connection looks, (B, heads, T + 2, R) and (B,
                heads, R, T + 2).

        Raises:
            TypeError, ValueError: what does not fit; see :mod:`mmtutor.kit.regions`.
        """
        c = self.config
        check_words(words, c.vocabulary, c.positions - 2)
        picture = check_picture(
            regions, boxes, there, c.region, len(words), self.text_norm.weight.dtype
        )
        gone = torch.zeros_like(there) if gone is None else check_mask(gone, there, "replaced")
        text, real = self.embed_text(words)
        seen = self.embed_regions(picture, gone)
        # whom the other stream may look at
        open_text, open_regions = (
            mask if meet else torch.zeros_like(mask) for mask in (real, there)
        )

        alone = c.layers - c.connections
        for layer in self.text_layers[:alone]:
            text = layer(text, real)
        pairs = zip(self.connections, self.text_layers[alone:], self.region_layers)
        for connection, text_layer, region_layer in pairs:
            if looks is not None:
                looks.append(
                    (
                        connection.text.weights(text, seen, open_regions),
                        connection.regions.weights(seen, text, open_text),
                    )
                )
            text, seen = connection(text, seen, open_text, open_regions)
            text, seen = text_layer(text, real), region_layer(seen, there)
        return Streams(text, seen)

    def fuse(self, streams: Streams) -> Tensor:
        """One vector for sentence and picture (B, pooled): relu of [CLS] ⊙ relu of the whole."""
        text = F.relu(self.text_pooler(streams.text[:, 0]))
        picture = F.relu(self.region_pooler(streams.regions[:, 0]))
        return self.dropout(text * picture)

    def forward(
        self,
        questions: Tensor,
        regions: Tensor,
        boxes: Tensor,
        there: Tensor,
        *,
        meet: bool = True,
    ) -> Tensor:
        """Scores (B, K) of the answers; see :meth:`read`."""
        return self.answer_head(self.fuse(self.read(questions, regions, boxes, there, meet=meet)))

    @torch.no_grad()
    def answer(self, questions: Tensor, regions: Tensor, boxes: Tensor, there: Tensor) -> Tensor:
        """The most probable answers, (B,) ids."""
        return self(questions, regions, boxes, there).argmax(1)

    @torch.no_grad()
    def attention(self, words: Tensor, regions: Tensor, boxes: Tensor, there: Tensor) -> Looks:
        """Where the streams look at each other, in all connections and heads; see :meth:`read`."""
        looks: list[tuple[Tensor, Tensor]] = []
        self.read(words, regions, boxes, there, looks=looks)
        to_regions, to_words = (torch.stack(side, 1) for side in zip(*looks))
        return Looks(to_regions, to_words, slice(1, 1 + words.shape[1]))

    # -- learning

    def pretrain_loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Say the hidden words, name the hidden regions, tell whether they belong together.

        L = L_words + L_regions + L_align: −log p of each chosen word, their mean; Σ_c p_c log(p_c /
        q_c) of each chosen region, against what a detector says, their mean; −log p of the label,
        which is 0 where the caption belongs to the picture and 1 where it is another's. A mean of
        nothing is 0.

        Args:
            batch: ``"words"`` (B, T), ``"regions"``, ``"boxes"``, ``"there"`` (see :meth:`read`),
                and ``"classes"`` (B, R, C), distributions; without, no region is named.
                ``"aligned"`` (B,) bool; without, some captions are swapped here. What is
                hidden stands in ``"word_targets"``, ``"masked"`` and ``"replaced"``, or is drawn
                (:func:`mmtutor.kit.masking.hide`); without ``mask_vector`` the regions that are
                ``"masked"`` must come with their pixels hidden.

        Returns:
            ``"loss"``, ``"words"``, ``"regions"``, ``"align"``; for the eye ``"words right"``,
            ``"regions right"``, ``"align right"``, shares.

        Raises:
            ValueError: captions whose words are hidden already, and no ``"aligned"``.
        """
        c, batch = self.config, dict(batch)
        if "aligned" not in batch:
            if "word_targets" in batch:
                raise ValueError("a batch with 'word_targets' must say which are 'aligned' (B,)")
            rows = torch.arange(len(batch["words"]), device=batch["words"].device)
            rows, batch["aligned"] = masking.mismatch(rows, c.swapped)
            for name in {"words", "whole"} & batch.keys():
                batch[name] = batch[name][rows]
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
        there, aligned = batch["there"], check_aligned(batch["aligned"], len(targets))
        streams = self.read(hidden.words, batch["regions"], batch["boxes"], there, gone=hidden.gone)
        scored = aligned if c.aligned_only else torch.ones_like(aligned)  # (B,)

        scores = self.word_head(streams.text[:, 1:-1], self.words.weight)
        losses, right = word_losses(scores, targets)  # (B, T)
        chosen = (targets != masking.NOT_CHOSEN) & scored[:, None]
        terms = {
            "words": mean_of(losses, chosen),
            "words right": mean_of(right, chosen),
        }
        if "classes" in batch:
            asked = check_mask(hidden.asked, there, "masked") & scored[:, None]
            classes = check_classes(batch["classes"], there, c.classes)
            losses, right = region_losses(self.region_head(streams.regions), classes, kl=True)
            terms["regions"] = mean_of(losses, asked)
            terms["regions right"] = mean_of(right, asked)
        scores = self.align_head(self.fuse(streams))  # (B, 2)
        label = torch.where(aligned, ALIGNED, RANDOM)
        terms["align"] = F.cross_entropy(scores, label)
        terms["align right"] = (scores.argmax(1) == label).float().mean()
        loss = sum(terms[name] for name in ("words", "regions", "align") if name in terms)
        return {"loss": loss, **terms}

    def aligned(self, words: Tensor, regions: Tensor, boxes: Tensor, there: Tensor) -> Tensor:
        """The probability that each caption belongs to its picture, (B,)."""
        streams = self.read(words, regions, boxes, there)
        return self.align_head(self.fuse(streams)).softmax(1)[:, ALIGNED]

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
