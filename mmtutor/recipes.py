"""Recipes and the pictures of what they make, on one sphere (Salvador, Hynes, Aytar, Marin, Ofli,
Weber and Torralba, CVPR 2017: "im2recipe").

A recipe is two sequences. Its *ingredients* are read by an LSTM in both directions. Its
*instructions* are a sequence of sequences: one LSTM reads the words of a sentence, a second one
reads the sentences. Both ends, joined, pass one linear layer and land on a sphere. So does the
picture, behind a convolutional network.

The paper's loss pulls a recipe and its own dish together, and pushes it away from another dish until
their cosine is below a margin (section 3.2). ``loss="info_nce"`` asks instead which dish of the
batch belongs to the recipe, and which recipe to the dish (van den Oord et al. 2018; symmetric with
a learned temperature as in CLIP, Radford et al. 2021): so it pushes hardest where it is hardest to
tell. A classifier that both share names the kind of dish from either point of the sphere:
**semantic regularisation** (section 3.3).

The twin that reads a *bag of words* (``reader="bag"``) has the same sphere and the same loss, and
no order: what it cannot tell apart, only order tells apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtutor.kit.processes import gathered, of_the_first, several
from mmtutor.kit.vision import check_features

PAD = 0
READERS = ("rnn", "bag")
LOSSES = ("cosine", "info_nce")
PAIRS = ("drawn", "all")
LARGEST_SCALE = 100.0  # of the cosines: CLIP's limit for γ, that is a temperature of 0.01
TINY = 1e-12  # below this length a vector has no direction, and stays where it is


@dataclass(frozen=True)
class Config:
    """Sizes and choices of a :class:`RecipeEmbedding`.

    Args:
        ingredients: how many ingredients there are, ``<pad>`` (id 0) included.
        words: how many words instructions are written with, ``<pad>`` included; 0: sentences come
            as ready vectors of ``sentence`` numbers (the paper's skip-instructions).
        classes: kinds of dish that the shared classifier tells apart; 0 for no classifier.
        image: what is seen of a dish: the length of a vector, or (channels, height, width) of a
            picture or a map, which then passes one convolution.
        filters: of that convolution; 0 where ``image`` is a vector.
        ingredient: length of an ingredient's vector, and of the state of each direction.
        word: length of a word's vector; 0 where sentences come as vectors.
        sentence: state of the LSTM that reads words, or length of the ready sentence vectors.
        instruction: state of the LSTM that reads sentences.
        joint: dimension of the sphere's space.
        reader: ``"rnn"`` (the paper) or ``"bag"``: means of word vectors, the control without
            order.
        loss: ``"cosine"`` (the paper) or ``"info_nce"``.
        pairs: of the cosine loss. ``"drawn"``: a share of the recipes of a batch gets another dish, as in the paper;
            ``"all"``: every recipe with every dish of the batch, weighted to the same shares (the
            mean over all draws).
        other: of the cosine loss, share of pairs that do not belong together (the paper: 0.8).
        margin: α of the cosine loss, the cosine up to which pairs that do not belong together are
            left alone (the paper: 0.1).
        temperature: 1/γ of InfoNCE as training begins; γ is learned.
        semantic: λ, weight of the two classification losses, together (the paper: 0.02).
    """

    ingredients: int
    words: int
    classes: int
    image: int | tuple[int, int, int] = (112, 6, 6)
    filters: int = 32
    ingredient: int = 32
    word: int = 32
    sentence: int = 64
    instruction: int = 128
    joint: int = 128
    reader: str = "rnn"
    loss: str = "cosine"
    pairs: str = "all"
    other: float = 0.8
    margin: float = 0.1
    temperature: float = 0.07
    semantic: float = 0.02

    def __post_init__(self) -> None:
        for name in ("ingredients", "ingredient", "sentence", "instruction", "joint"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.words < 0 or self.word < 0 or (self.words == 0) != (self.word == 0):
            raise ValueError(
                "words and word go together: both at least 1, or both 0 where sentences come as "
                f"vectors; got words = {self.words}, word = {self.word}"
            )
        picture = self.image if isinstance(self.image, tuple) else (self.image,)
        if len(picture) not in (1, 3) or min(picture) < 1:
            raise ValueError(f"image must be a length or (channels, height, width), got {picture}")
        if self.filters < 0 or (self.filters > 0) != (len(picture) == 3):
            raise ValueError(
                "filters are of the convolution over a picture or a map: at least 1 there, and 0 "
                f"where image is a vector; got image = {self.image}, filters = {self.filters}"
            )
        for name, choices in (("reader", READERS), ("loss", LOSSES), ("pairs", PAIRS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")
        unread = {
            "reader": ()
            if self.reader == "rnn"
            else ("instruction", *(("sentence",) if self.words else ())),
            "loss": ("temperature",) if self.loss == "cosine" else ("pairs", "other", "margin"),
        }
        default = {f.name: f.default for f in fields(self)}
        for choice, names in unread.items():
            for name in names:
                if getattr(self, name) != default[name]:
                    raise ValueError(
                        f"{name} = {getattr(self, name)!r} has no effect with {choice} = "
                        f"{getattr(self, choice)!r}; leave it at {default[name]!r}"
                    )
        if not 0 < self.other < 1:
            raise ValueError(
                f"other must lie in (0, 1), got {self.other}: with no other pair all points fall "
                "together, with no own pair nothing is learnt"
            )
        if not -1 <= self.margin < 1:
            raise ValueError(f"margin is a cosine in [-1, 1), got {self.margin}")
        if not 1 / LARGEST_SCALE <= self.temperature < math.inf:
            raise ValueError(
                f"temperature must be finite and at least {1 / LARGEST_SCALE}, "
                f"got {self.temperature}"
            )
        if not 0 <= self.semantic < 1:
            raise ValueError(f"semantic must be in [0, 1), got {self.semantic}")
        if self.classes < 0 or (self.classes > 0) != (self.semantic > 0):
            raise ValueError(
                "classes are what semantic regularisation tells apart: both above 0, or both 0; got "
                f"classes = {self.classes}, semantic = {self.semantic}"
            )

    @classmethod
    def world(cls, ingredients: int, words: int, classes: int, **changes: Any) -> Config:
        """Trains on two CPU cores in about a minute, on the map of the frozen image network."""
        return cls(ingredients=ingredients, words=words, classes=classes, **changes)

    @classmethod
    def paper(cls, ingredients: int = 30_167, **changes: Any) -> Config:
        """The sizes of the paper and its code: ResNet-50's vector of 2048, skip-instructions of
        1024, ingredients of 300 in both directions, 1,048 classes, a space of 1024."""
        sizes = dict(
            words=0,
            classes=1048,
            image=2048,
            filters=0,
            ingredient=300,
            word=0,
            sentence=1024,
            instruction=1024,
            joint=1024,
            pairs="drawn",
        )
        return cls(ingredients=ingredients, **{**sizes, **changes})


class RecipeEmbedding(nn.Module):
    """Two towers, one sphere, and a classifier that both share."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = c = config
        self.ingredients = nn.Embedding(c.ingredients, c.ingredient, padding_idx=PAD)
        if c.words:
            self.words = nn.Embedding(c.words, c.word, padding_idx=PAD)
        if c.reader == "rnn":
            self.forwards = nn.LSTM(c.ingredient, c.ingredient, batch_first=True)
            self.backwards = nn.LSTM(c.ingredient, c.ingredient, batch_first=True)
            if c.words:
                self.sentences = nn.LSTM(c.word, c.sentence, batch_first=True)
            self.instructions = nn.LSTM(c.sentence, c.instruction, batch_first=True)
            size = c.instruction + 2 * c.ingredient
        else:
            size = (c.word if c.words else c.sentence) + c.ingredient
        self.recipe = nn.Linear(size, c.joint)
        if isinstance(c.image, tuple):
            channels, height, width = c.image
            self.look = nn.Conv2d(channels, c.filters, 3, padding=1)
            self.picture = nn.Linear(c.filters * height * width, c.joint)
        else:
            self.picture = nn.Linear(c.image, c.joint)
        if c.loss == "info_nce":
            self.log_scale = nn.Parameter(torch.tensor(-math.log(c.temperature)))  # log γ
        if c.semantic:
            self.classify = nn.Linear(c.joint, c.classes)

    # -- the two towers

    def embed_picture(self, images: Tensor) -> Tensor:
        """Points of dishes on the sphere.

        Args:
            images: (B, D) vectors, or (B, C, H, W) pictures or maps, whatever the config says;
                standardized features learn best.

        Returns:
            (B, joint), of length 1.
        """
        c = self.config
        shape = c.image if isinstance(c.image, tuple) else (c.image,)
        v = check_features(images, shape)
        if isinstance(c.image, tuple):
            v = F.relu(self.look(v)).flatten(1)  # (B, filters · H · W)
        return on_sphere(torch.tanh(self.picture(v)))

    def embed_recipe(self, ingredients: Tensor, instructions: Tensor) -> Tensor:
        """Points of recipes on the sphere.

        Args:
            ingredients: (B, I) ids, ``<pad>`` behind.
            instructions: (B, S, W) ids, ``<pad>`` behind in a sentence, and whole sentences of
                ``<pad>`` behind the last; or (B, S, sentence) ready vectors, zeros behind the last.

        Returns:
            (B, joint), of length 1.

        Raises:
            ValueError: shapes that do not fit, ids out of range, ``<pad>`` before something else, a
                recipe without an ingredient or an instruction, NaN. Values are only looked at on
                the CPU: on a GPU it would make every step wait.
        """
        c = self.config
        self._check_recipe(ingredients, instructions)
        things = self.ingredients(ingredients)  # (B, I, D)
        has = ingredients != PAD  # (B, I)
        steps = instructions if not c.words else self.words(instructions)  # (B, S, W, E)
        if c.reader == "bag":
            used = (instructions != (PAD if c.words else 0.0)).unsqueeze(-1).to(things.dtype)
            if not c.words:  # a sentence that is there counts whole
                used = used.amax(2)  # (B, S, 1)
            told = (steps * used).flatten(1, -2).sum(1) / used.flatten(1, -2).sum(1)
            held = things.sum(1) / has.sum(1, keepdim=True)
            return on_sphere(torch.tanh(self.recipe(torch.cat([told, held], 1))))

        if c.words:
            spoken = instructions != PAD  # (B, S, W)
            said = last_state(self.sentences, steps.flatten(0, 1), spoken.flatten(0, 1).sum(1))
            steps, length = said.unflatten(0, spoken.shape[:2]), spoken.any(2).sum(1)
        else:
            length = (instructions != 0).any(2).sum(1)
        told = last_state(self.instructions, steps, length)  # (B, instruction)
        count = has.sum(1)
        there = last_state(self.forwards, things, count)
        back = last_state(self.backwards, turned(things, count), count)
        return on_sphere(torch.tanh(self.recipe(torch.cat([told, there, back], 1))))

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Points of the dishes and of the recipes of a batch, (B, joint) each; see :meth:`loss`."""
        return (
            self.embed_picture(batch["image"]),
            self.embed_recipe(batch["ingredients"], batch["instructions"]),
        )

    # -- the loss

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """(1 − λ) · matching + λ/2 · (cross-entropy of the dish + cross-entropy of the recipe), over
        the batches of all processes together.

        Args:
            batch: ``image``, ``ingredients``, ``instructions`` of B recipes with their own dishes,
                B at least 2; with a classifier ``label`` (B,), their classes, −1 where unknown.

        Returns:
            ``"loss"``, and for the eye ``"cosine"`` or ``"info_nce"`` (with its ``"scale"``, γ) and
            ``"semantic"``.

        Raises:
            ValueError: as :meth:`embed_recipe`; a batch of one; labels out of range.
        """
        c = self.config
        dish, recipe = self(batch)  # (B, joint)
        label = check_labels(batch["label"], len(dish), c.classes) if c.semantic else None
        together = self.training and several()
        if together:  # a recipe is compared with the dishes of every process
            dish, recipe = gathered(dish), gathered(recipe)
            label = gathered(label) if c.semantic else None
        if len(dish) < 2:
            raise ValueError("a recipe needs another dish to be pushed from: at least 2 in a batch")
        matching = self.match(recipe @ dish.T, together)
        terms = {"loss": matching, c.loss: matching.detach()}
        if c.loss == "info_nce":
            terms["scale"] = self.log_scale.detach().exp()
        if c.semantic:
            kinds = [self.classify(points) for points in (dish, recipe)]
            semantic = sum(_cross_entropy(logits, label) for logits in kinds) / 2
            terms["loss"] = (1 - c.semantic) * matching + c.semantic * semantic
            terms["semantic"] = semantic.detach()
        return terms

    def match(self, cosine: Tensor, together: bool = False) -> Tensor:
        """What the cosines of all recipes with all dishes of a batch, (B, B), cost by the settings;
        a scalar. ``together``: several processes have the same table and must draw alike."""
        c = self.config
        if c.loss == "info_nce":
            if self.training:
                with torch.no_grad():  # a cut in the loss alone would leave no gradient to return
                    self.log_scale.clamp_(max=math.log(LARGEST_SCALE))
            return info_nce(cosine, self.log_scale)
        if c.pairs == "all":
            return cosine_embedding_loss(cosine, c.margin, c.other)
        whose, own = draw_pairs(len(cosine), c.other, cosine.device)
        if together:
            whose, own = of_the_first(whose), of_the_first(own)
        drawn = cosine.gather(1, whose[:, None])[:, 0]  # (B,)
        return torch.where(own, 1 - drawn, (drawn - c.margin).clamp(min=0)).mean()

    def _check_recipe(self, ingredients: Tensor, instructions: Tensor) -> None:
        c = self.config
        _check_ids("ingredients", ingredients, 2, c.ingredients)
        if c.words:
            _check_ids("instructions", instructions, 3, c.words)
        else:
            check_features(instructions, (None, c.sentence))
        if len(ingredients) != len(instructions):
            raise ValueError(
                f"{len(ingredients)} lists of ingredients, but {len(instructions)} of instructions"
            )
        if ingredients.device.type != "cpu":
            return
        _check_behind("ingredients", ingredients != PAD)
        if c.words:
            _check_behind("the words of a sentence", (instructions != PAD).flatten(0, 1), False)
        _check_behind("instructions", (instructions != 0).any(2))


# --- Parts ----------------------------------------------------------------------------------------


def on_sphere(x: Tensor) -> Tensor:
    """Vectors (…, D) at length 1; a vector of zeros, which has no direction, stays zero."""
    return x / x.norm(dim=-1, keepdim=True).clamp(min=TINY)


def last_state(lstm: nn.LSTM, x: Tensor, length: Tensor) -> Tensor:
    """The state of an LSTM behind the last valid step of each row.

    Args:
        lstm: batch first, one layer, one direction.
        x: (N, T, D).
        length: (N,), valid steps of each row, 0 to T.

    Returns:
        (N, H); zeros for a row of length 0. (To take the output at T would read the padding.)
    """
    states, _ = lstm(x)  # (N, T, H)
    last = (length - 1).clamp(min=0)[:, None, None].expand(-1, 1, states.shape[2])
    return states.gather(1, last)[:, 0] * (length > 0)[:, None].to(states.dtype)


def turned(x: Tensor, length: Tensor) -> Tensor:
    """The valid steps of each row of (N, T, D) in the opposite order, still in front."""
    steps = torch.arange(x.shape[1], device=x.device)  # (T,)
    source = torch.where(steps < length[:, None], length[:, None] - 1 - steps, steps)  # (N, T)
    return x.gather(1, source[..., None].expand_as(x))


def cosine_embedding_loss(cosine: Tensor, margin: float = 0.1, other: float = 0.8) -> Tensor:
    """The expected loss of a drawn pair, over all pairs of a batch (section 3.2, equation 1).

    A pair that belongs together costs 1 − cos, another one max(0, cos − α). Pairs are drawn so that
    a share ``other`` does not belong together; the mean over all such draws is this sum.

    Args:
        cosine: (B, B), recipe i with dish j; the diagonal belongs together. B at least 2.
        margin: α.
        other: share of pairs that do not belong together.

    Returns:
        a scalar.
    """
    size = len(cosine)
    own = (1 - cosine.diagonal()).mean()
    apart = (cosine - margin).clamp(min=0)
    return (1 - other) * own + other * (apart.sum() - apart.diagonal().sum()) / (size * (size - 1))


def info_nce(cosine: Tensor, log_scale: Tensor) -> Tensor:
    """Which dish of the batch belongs to this recipe, and which recipe to this dish?

    −½ mean_i [log softmax_j(γ S_ij)]_{j=i} − ½ mean_i [log softmax_j(γ S_ji)]_{j=i}: two
    cross-entropies over the batch. What it pushes away, it pushes in proportion to the probability
    that it still gives it.

    Args:
        cosine: S (B, B), recipe i with dish j; the diagonal belongs together. B at least 2.
        log_scale: log γ, a scalar; γ is cut at 100.

    Returns:
        a scalar, about log B before training.
    """
    logits = cosine * log_scale.clamp(max=math.log(LARGEST_SCALE)).exp()
    own = torch.arange(len(cosine), device=cosine.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def draw_pairs(size: int, other: float, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Which dish each of ``size`` recipes is shown, (B,), and whether it is its own, (B,) bool.

    With probability ``other`` it is another one of the batch, each equally likely. Drawn by torch's
    generator of the CPU, so that every device sees the same draws.
    """
    own = torch.rand(size) >= other
    shift = torch.randint(1, size, (size,))  # another one: never one's own
    whose = (torch.arange(size) + torch.where(own, 0, shift)) % size
    # a GPU's step need not wait for them
    return whose.to(device, non_blocking=True), own.to(device, non_blocking=True)


def check_labels(label: Tensor, size: int, classes: int) -> Tensor:
    """Check classes (B,) of type int64, −1 where unknown."""
    if label.shape != (size,) or label.dtype != torch.int64:
        raise ValueError(
            f"label must be ({size},) of type int64, got {tuple(label.shape)} of {label.dtype}"
        )
    if label.device.type == "cpu" and not (int(label.min()) >= -1 and int(label.max()) < classes):
        raise ValueError(
            f"labels must lie in 0..{classes - 1}, or be -1 where the kind is unknown, got "
            f"{int(label.min())}..{int(label.max())}"
        )
    return label


def _cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Mean over those whose class is known; 0 where nobody's is."""
    total = F.cross_entropy(logits, label, ignore_index=-1, reduction="sum")
    return total / (label >= 0).sum().clamp(min=1)


def _check_ids(name: str, ids: Tensor, dimensions: int, size: int) -> None:
    if not isinstance(ids, Tensor) or ids.ndim != dimensions or 0 in ids.shape:
        shape = tuple(ids.shape) if isinstance(ids, Tensor) else type(ids).__name__
        wanted = "(B, I)" if dimensions == 2 else "(B, S, W)"
        raise ValueError(f"{name} must be ids {wanted}, none of them 0, got {shape}")
    if ids.dtype != torch.int64:
        raise ValueError(f"{name} must be ids of type int64, got {ids.dtype}")
    if ids.device.type == "cpu" and not (int(ids.min()) >= 0 and int(ids.max()) < size):
        raise ValueError(
            f"{name} must be ids in 0..{size - 1}, got {int(ids.min())}..{int(ids.max())}"
        )


def _check_behind(name: str, valid: Tensor, needed: bool = True) -> None:
    """Padding stands behind, and (if needed) something is there."""
    broken = (valid[:, 1:] & ~valid[:, :-1]).any(1)
    if bool(broken.any()):
        raise ValueError(f"row {int(broken.nonzero()[0])}: {name} have padding before the last one")
    if needed and not bool(valid[:, 0].all()):
        raise ValueError(f"row {int((~valid[:, 0]).nonzero()[0])} has no {name}")
