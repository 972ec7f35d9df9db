"""Fusion: several modalities, one answer.

Each modality comes as a vector. Where do they meet?

- ``"early"``: before anything was learned. The inputs are laid side by side, one encoder reads all.
- ``"late"``: behind an encoder each. Their features are laid side by side, a classifier reads all.
- ``"product"``: behind an encoder each, element by element: a unit speaks where all of them speak.
- or the name of a modality: it alone. Whoever fuses must beat the best of these.

Trained together, modalities share one loss. The one that fits the training data first takes the
gradient away from the others, even if what it fits is noise (Wang, Tran and Feiszli, "What makes
training multi-modal classification networks hard?", CVPR 2020). Two remedies are here:

- **modality dropout** (Neverova, Wolf, Taylor and Nebout, "ModDrop", TPAMI 2016): in training a
  modality is sometimes missing, so that the others must do without it;
- **gradient blending** (Wang et al.): each modality gets a head and a loss of its own, weighted by
  how much it generalises for how much it overfits (:func:`progress`, :func:`blend_weights`).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtutor.kit.vision import check_features

WAYS = ("early", "late", "product")
JOINT = "joint"  # what the loss of all modalities together is called
LABEL = "label"
#: An overfitting smaller than this counts as this, or it would take all the weight.
LEAST = 1e-2


@dataclass(frozen=True)
class Config:
    """Sizes and choices of a :class:`Fusion`.

    Args:
        inputs: the modalities: pairs of a name and the length of its vector.
        classes: K, answers to choose from.
        fusion: where they meet: ``"early"``, ``"late"``, ``"product"``, or the name of one
            modality, which is then read alone.
        encoder: widths of the layers of each encoder; ``()`` takes the vectors as they are.
        mlp: widths of the hidden layers of the classifier.
        modality_dropout: for each modality, in their order, how often it is missing in training;
            ``()`` for never.
        blend: gradient blending: the weight of each modality's own loss, in their order, and last
            that of the joint loss; they sum to 1. ``()`` for the joint loss alone, with no heads.
        dropout: of single numbers, behind every hidden layer.
    """

    inputs: tuple[tuple[str, int], ...]
    classes: int
    fusion: str = "late"
    encoder: tuple[int, ...] = (128,)
    mlp: tuple[int, ...] = (128,)
    modality_dropout: tuple[float, ...] = ()
    blend: tuple[float, ...] = ()
    dropout: float = 0.0

    def __post_init__(self) -> None:
        names = self.names
        if not names or len(set(names)) < len(names) or {JOINT, LABEL, "loss"} & set(names):
            raise ValueError(
                f"inputs must be pairs of a name and a length, with different names, none of them "
                f"{JOINT!r}, {LABEL!r} or 'loss'; got {self.inputs}"
            )
        if not all(name.isidentifier() for name in names):
            raise ValueError(f"names of modalities must be plain words, got {names}")
        widths = [("inputs", size) for _, size in self.inputs] + [("classes", self.classes)]
        widths += [(name, n) for name in ("encoder", "mlp") for n in getattr(self, name)]
        for name, width in widths:
            if width < 1:
                raise ValueError(f"{name}: every size must be at least 1, got {width}")
        if self.fusion not in (*WAYS, *names):
            raise ValueError(f"fusion must be one of {(*WAYS, *names)}, got {self.fusion!r}")
        for name in ("modality_dropout", "blend"):
            if getattr(self, name) and self.fusion in names:
                raise ValueError(f"{name} has no effect where one modality is read; leave it at ()")
        if self.fusion in WAYS and len(names) < 2:
            raise ValueError(f"{self.fusion!r} needs two modalities or more, got {names}")
        if self.fusion == "product" and not self.encoder:
            raise ValueError("a product needs vectors of one length: give the encoder a layer")
        if self.blend and self.fusion == "early":
            raise ValueError("blend needs an encoder for each modality: 'early' has one for all")
        if self.dropout and not (self.encoder or self.mlp):
            raise ValueError("dropout has no effect without a hidden layer; leave it at 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        rates, weights = self.modality_dropout, self.blend
        if rates and (len(rates) != len(names) or not all(0 <= r < 1 for r in rates)):
            raise ValueError(
                f"modality_dropout must be () or a rate in [0, 1) for each of {names}, got {rates}"
            )
        if weights and (
            len(weights) != len(names) + 1
            or not all(w >= 0 for w in weights)
            or not math.isclose(sum(weights), 1, abs_tol=1e-6)
            or not weights[-1]
        ):
            raise ValueError(
                f"blend must be () or weights of {(*names, JOINT)} that are not negative and sum "
                f"to 1, the last above 0; got {weights}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities, in their order."""
        return tuple(name for name, _ in self.inputs)

    @property
    def read(self) -> dict[str, int]:
        """The modalities that are read, with their lengths: all, or the one."""
        return {name: n for name, n in self.inputs if self.fusion in (*WAYS, name)}

    @classmethod
    def world(cls, inputs: Sequence[tuple[str, int]], classes: int, **changes: Any) -> Config:
        """Trains in seconds on one CPU core."""
        return cls(inputs=tuple(inputs), classes=classes, **changes)

    @classmethod
    def paper(cls, classes: int = 400, **changes: Any) -> Config:
        """The late-fusion head of Wang et al. for video with sound, as their program (VMZ) has it
        for Kinetics-400: 2,048 numbers from each of two residual networks of 50 layers, which are
        left to the caller; two layers of 2,048; a head for each modality in blending."""
        inputs = (("picture", 2048), ("sound", 2048))
        return cls(
            **{"inputs": inputs, "classes": classes, "encoder": (), "mlp": (2048, 2048)} | changes
        )


class Fusion(nn.Module):
    """Reads one modality or several, and gives each of K answers a score."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = c = config
        sizes = c.read  # the length of each modality's vector
        if c.fusion == "early":
            self.together = hidden_layers([sum(sizes.values()), *c.encoder], c.dropout)
            meeting = [sum(sizes.values()), *c.encoder][-1]
        else:
            self.encoders = nn.ModuleDict(
                {name: hidden_layers([n, *c.encoder], c.dropout) for name, n in sizes.items()}
            )
            features = {name: [n, *c.encoder][-1] for name, n in sizes.items()}
            meeting = c.encoder[-1] if c.fusion == "product" else sum(features.values())
        self.classifier = nn.Sequential(
            hidden_layers([meeting, *c.mlp], c.dropout),
            nn.Linear([meeting, *c.mlp][-1], c.classes),
        )
        if c.blend:
            self.heads = nn.ModuleDict(
                {name: nn.Linear(n, c.classes) for name, n in features.items()}
            )

    def forward(self, inputs: Mapping[str, Tensor], without: Collection[str] = ()) -> Tensor:
        """Scores of the answers, (B, K).

        Args:
            inputs: for each modality that is read its vectors, (B, length).
            without: modalities to take away, all but one at most: how much does the model lean on
                them? They must still be in ``inputs``.
        """
        unknown = set(without) - set(self.config.read)
        if unknown or len(set(without)) >= len(self.config.read):
            raise ValueError(
                f"without must name some of {tuple(self.config.read)}, not all, got {without}"
            )
        return self.decide(self.encode(inputs), without)

    def encode(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is to meet, for each modality: its features (B, F); with early fusion its vector."""
        vectors = check_inputs(inputs, self.config.read)
        if self.config.fusion == "early":
            return vectors
        return {name: self.encoders[name](x) for name, x in vectors.items()}

    def decide(self, parts: Mapping[str, Tensor], without: Collection[str] = ()) -> Tensor:
        """Let the modalities meet, and score the answers, (B, K)."""
        c = self.config
        product = c.fusion == "product"
        nothing = 1.0 if product else 0.0  # what leaves a product, or a sum, as it is
        rates = dict(zip(c.names, c.modality_dropout))
        met = []
        for name, part in parts.items():  # (B, F) each
            rate = rates.get(name, 0.0)
            if name in without:
                part = torch.full_like(part, nothing)
            elif self.training and rate:
                there = torch.rand(len(part), 1, device=part.device) >= rate  # (B, 1)
                louder = part if product else part / (1 - rate)  # the mean stays what it was
                part = torch.where(there, louder, nothing)
            met.append(part)
        x = multiplied(met) if product else torch.cat(met, 1)  # (B, F) or (B, sum of F)
        return self.classifier(self.together(x) if c.fusion == "early" else x)

    def each(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scores of each modality's own head, (B, K), and of all together under ``"joint"``.

        Raises:
            ValueError: the model has no heads (``blend`` is ``()``).
        """
        if not self.config.blend:
            raise ValueError("this model has no heads: they come with gradient blending (blend)")
        return self._each(self.encode(inputs))

    def _each(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own = {name: self.heads[name](x) for name, x in features.items()}
        return {**own, JOINT: self.decide(features)}

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy of the right answer; with blending Σ w_k · cross-entropy of head k.

        Args:
            batch: the modalities, and ``"label"`` (B,), the right answers.

        Returns:
            ``"loss"``; with blending, for the eye, the losses of each head and ``"joint"``.
        """
        c = self.config
        parts = self.encode(batch)
        label = check_labels(batch, len(next(iter(parts.values()))), c.classes)
        if not c.blend:
            return {"loss": F.cross_entropy(self.decide(parts), label)}
        own = {name: F.cross_entropy(y, label) for name, y in self._each(parts).items()}
        total = sum(weight * own[name] for weight, name in zip(c.blend, (*c.names, JOINT)))
        return {"loss": total, **{name: one.detach() for name, one in own.items()}}


def multiplied(parts: Sequence[Tensor]) -> Tensor:
    """The product of tensors of one shape, element by element."""
    if parts[0].device.type == "cpu":
        return torch.stack(parts).prod(0)
    # The gradient of torch's product looks for zeros first, which a GPU would have to wait for.
    return functools.reduce(torch.mul, parts)


def hidden_layers(widths: Sequence[int], dropout: float) -> nn.Sequential:
    """Linear layers from width to width, each followed by ReLU (and dropout); none for one
    width."""
    layers: list[nn.Module] = []
    for pair in itertools.pairwise(widths):
        layers += [nn.Linear(*pair), nn.ReLU()] + ([nn.Dropout(dropout)] if dropout else [])
    return nn.Sequential(*layers)


# --- Gradient blending ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Progress:
    """What training did between two checkpoints.

    Attributes:
        generalization: G, by how much the loss on held-out data fell.
        overfitting: O, by how much the gap between held-out and training loss grew.
    """

    generalization: float
    overfitting: float

    @property
    def ratio(self) -> float:
        """The overfitting-to-generalization ratio |O / G|; infinite where nothing generalised."""
        return abs(self.overfitting / self.generalization) if self.generalization else math.inf


def progress(before: tuple[float, float], after: tuple[float, float]) -> Progress:
    """G and O between two checkpoints (section 3 of the paper).

    Args:
        before: the losses on the training data and on held-out data at the first checkpoint.
        after: the same at the second.

    Raises:
        ValueError: not two finite numbers each.
    """
    if not all(len(pair) == 2 and all(map(math.isfinite, pair)) for pair in (before, after)):
        raise ValueError(f"a checkpoint has two finite losses, got {before} and {after}")
    (train, held), (train_after, held_after) = before, after
    return Progress(held - held_after, (held_after - train_after) - (held - train))


def blend_weights(found: Mapping[str, Progress], least: float = LEAST) -> dict[str, float]:
    """The weight of each loss: w_k = G_k / O_k², divided by their sum (algorithm 1 of the paper).

    A modality whose held-out loss did not fall (G ≤ 0) gets the weight 0.

    Args:
        found: for each modality, and for all together, what training did to it alone.
        least: an overfitting smaller than this counts as this.

    Raises:
        ValueError: none of them generalised, or ``least`` is not above 0.
    """
    if not least > 0:
        raise ValueError(f"least must be above 0, got {least}")
    raw = {
        name: max(0.0, one.generalization) / max(least, abs(one.overfitting)) ** 2
        for name, one in found.items()
    }
    if not sum(raw.values()) > 0:
        raise ValueError(f"nothing to blend: the held-out loss of none of {tuple(raw)} has fallen")
    return {name: weight / sum(raw.values()) for name, weight in raw.items()}


# --- Checks ---------------------------------------------------------------------------------------


def check_inputs(inputs: Mapping[str, Tensor], read: Mapping[str, int]) -> dict[str, Tensor]:
    """The vectors of the modalities that are read, checked.

    Raises:
        ValueError: one is missing, has another shape or number of rows, or (on the CPU) holds NaN.
            The message names it.
    """
    missing = [name for name in read if name not in inputs]
    if missing:
        raise ValueError(
            f"the batch has no {' and no '.join(missing)}; this model reads {tuple(read)}. To see "
            "what it does without a modality, call it with without=(name,)"
        )
    vectors = {}
    for name, length in read.items():
        try:
            vectors[name] = check_features(inputs[name], (length,))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    rows = {name: len(x) for name, x in vectors.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"every modality needs as many rows as the others, got {rows}")
    return vectors


def check_labels(batch: Mapping[str, Tensor], size: int, classes: int) -> Tensor:
    """The right answers (B,), checked.

    Raises:
        ValueError: missing, another shape or type, or (on the CPU) outside 0..K − 1.
    """
    label = batch.get(LABEL)
    if not isinstance(label, Tensor) or label.dtype != torch.int64 or label.shape != (size,):
        got = (
            f"{label.dtype} {tuple(label.shape)}"
            if isinstance(label, Tensor)
            else type(label).__name__
        )
        raise ValueError(f"{LABEL} must be answers ({size},) of type int64, got {got}")
    if label.device.type == "cpu" and (int(label.min()) < 0 or int(label.max()) >= classes):
        raise ValueError(
            f"answers must lie in 0..{classes - 1}, got {int(label.min())}..{int(label.max())}"
        )
    return label
