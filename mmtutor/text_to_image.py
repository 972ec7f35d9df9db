"""Text to image: a game of two networks that both read the sentence (GAN-CLS).

Reed, Akata, Yan, Logeswaran, Schiele and Lee, "Generative adversarial text to image synthesis",
ICML 2016. A sentence t becomes a vector h = φ(t) (:class:`TextEncoder`). The generator draws a
picture G(z, h) from it and from random numbers z (:class:`Generator`). The discriminator sees a
picture together with a sentence and says how true the pair is (:class:`Discriminator`). It meets
three kinds of pairs (:func:`discriminator_loss`)::

    a real picture and its sentence     → true
    a real picture and another one's    → false, or it would never learn to read
    a drawn picture and its sentence    → false

φ learns first, so that a sentence and its picture get vectors that fit (:func:`joint_loss`; Reed,
Akata, Lee and Schiele, CVPR 2016), and is frozen. Then :func:`fit` plays the game.

What one adds today to keep such a game stable is here as an option of :class:`Config`, and off in
:meth:`Config.paper`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from mmtutor.kit.runtime import brings

SLOPE = 0.2  # of the leaky rectifiers
SPREAD = 0.02  # of the first weights (DCGAN)
#: A drawing that does not move at all with z costs 1 / FLOOR (see :func:`seeking_loss`).
FLOOR = 0.02
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+-=<>()[]{} "


@dataclass(frozen=True)
class Config:
    """Sizes and choices of a :class:`TextToImage`.

    Args:
        vocabulary: how many words (or letters) there are, with 0 for padding.
        size: S, pixels of a side: 8, 16, 32, 64 ...
        words: length of a word's vector; 0 reads letters as they are (one number for each).
        convolutions: in front of the recurrence: (channels, kernel, pool, stride of the pool) each.
        recurrence: units of the recurrence: ``"gru"`` or ``"relu"``, as the paper's.
        hidden: how many of them.
        sentence: H, length of h.
        projection: what G and D each make of h, by a layer of their own.
        code: Z, length of z; 0 for a generator without chance.
        generator: channels of G's last map; each map before has twice as many.
        discriminator: channels of D's first map; each one after has twice as many.
        matching: D also sees real pictures with wrong sentences, and must say no (GAN-CLS).
        interpolation: weight of the loss on sentences half-way between two (GAN-INT); 0 for none.
        rates: learning rates of G and of D.
        beta2: Adam's second decay; the first is 0.5.
        falling: the part of the steps from which on the rates fall, in a straight line, to 0;
            ``1.0`` for never.
        average: how slowly an average of G's weights follows them (EMA); 0 for none.
        seeking: weight of the mode-seeking loss (:func:`seeking_loss`); 0 for none.
        pairs: weight of a second judgement of D, on two pictures of one sentence at once (PacGAN,
            Lin et al. 2018); rows 0 and 1 of a batch, rows 2 and 3, … then share a meaning. 0 for
            none.
        spectral: each layer of D is kept from stretching by more than 1 (Miyato et al. 2018).
        r1: weight of the penalty on D's slope at real pictures (Mescheder et al. 2018); 0 for none.
        augment: D sees all pictures moved, cut and tinted at random, drawn ones too
            (Zhao et al. 2020).
    """

    vocabulary: int
    size: int = 32
    words: int = 32
    convolutions: tuple[tuple[int, int, int, int], ...] = ()
    recurrence: str = "gru"
    hidden: int = 64
    sentence: int = 64
    projection: int = 64
    code: int = 32
    generator: int = 32
    discriminator: int = 32
    matching: bool = True
    interpolation: float = 0.0
    rates: tuple[float, float] = (6e-4, 4e-4)
    beta2: float = 0.99
    falling: float = 0.6
    average: float = 0.995
    seeking: float = 0.1
    pairs: float = 0.0
    spectral: bool = False
    r1: float = 0.0
    augment: bool = False

    def __post_init__(self) -> None:
        for name in ("vocabulary", "size", "words", "hidden", "sentence", "projection", "code"):
            if not isinstance(getattr(self, name), int):
                raise TypeError(f"{name} must be a whole number, got {getattr(self, name)!r}")
        if self.size < 8 or self.size & (self.size - 1):
            raise ValueError(f"size must be 8, 16, 32, 64 or another power of two, got {self.size}")
        for name in ("hidden", "sentence", "projection", "generator", "discriminator"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.vocabulary < 2:
            raise ValueError(f"vocabulary must be at least 2 (0 is padding), got {self.vocabulary}")
        if self.recurrence not in ("gru", "relu"):
            raise ValueError(f"recurrence must be 'gru' or 'relu', got {self.recurrence!r}")
        if self.code < 0 or self.words < 0:
            raise ValueError(f"code and words must be 0 or more, got {self.code}, {self.words}")
        for name in ("interpolation", "seeking", "pairs", "r1"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or more, and finite, got {getattr(self, name)}")
        if not 0 <= self.average < 1 or not 0 < self.falling <= 1:
            raise ValueError(
                f"average must be in [0, 1) and falling in (0, 1], got {self.average}, {self.falling}"
            )
        if len(self.rates) != 2 or not all(0 < rate < math.inf for rate in self.rates):
            raise ValueError(
                f"rates must be two learning rates above 0, and finite, got {self.rates}"
            )
        if not 0 <= self.beta2 < 1:
            raise ValueError(f"beta2 must be in [0, 1), got {self.beta2}")
        for own in self.convolutions:
            if len(own) != 4 or min(own) < 1:
                raise ValueError(
                    "convolutions must be (channels, kernel, pool, stride) each, at least 1, got "
                    f"{self.convolutions}"
                )
        if self.seeking and not self.code:
            raise ValueError(
                "seeking compares drawings of different codes; without one set it to 0"
            )

    @property
    def steps(self) -> int:
        """How often G doubles the side of its first map, 4 × 4."""
        return int(math.log2(self.size)) - 2

    @classmethod
    def world(cls, vocabulary: int, **changes: Any) -> Config:
        """Trains in two minutes on one CPU core."""
        return cls(vocabulary=vocabulary, **changes)

    @classmethod
    def paper(cls, **changes: Any) -> Config:
        """As published (ICML 2016, sections 4 and 5): pictures of 64 × 64, 1,024 numbers from a
        network over letters, 128 of them after the projection, 100 random ones; no stabiliser."""
        published = {
            "vocabulary": len(ALPHABET) + 1,
            "size": 64,
            "words": 0,
            "convolutions": ((384, 4, 3, 3), (512, 4, 3, 3), (512, 4, 3, 2)),
            "recurrence": "relu",
            "hidden": 512,
            "sentence": 1024,
            "projection": 128,
            "code": 100,
            "generator": 64,
            "discriminator": 64,
            "rates": (2e-4, 2e-4),
            "beta2": 0.999,
            "falling": 1.0,
            "average": 0.0,
            "seeking": 0.0,
        }
        return cls(**published | changes)


# --- A sentence as a vector -----------------------------------------------------------------------


class TextEncoder(nn.Module):
    """φ: a sentence as a vector h. A recurrence reads it, and the mean of its states is read out."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, c = config, config
        self.embed = nn.Embedding(c.vocabulary, c.words, padding_idx=0) if c.words else None
        width, layers = c.words or c.vocabulary - 1, []
        for channels, kernel, pool, stride in c.convolutions:
            layers += [nn.Conv1d(width, channels, kernel), nn.ReLU(), nn.MaxPool1d(pool, stride)]
            width = channels
        self.convolve = nn.Sequential(*layers)
        kind = {"gru": nn.GRU, "relu": nn.RNN}[c.recurrence]
        more = {"nonlinearity": "relu"} if c.recurrence == "relu" else {}
        self.recur = kind(width, c.hidden, batch_first=True, **more)
        self.out = nn.Linear(c.hidden, c.sentence)

    def forward(self, sentences: Tensor) -> Tensor:
        """The vectors of sentences.

        Args:
            sentences: ids (B, T), from 1, padded at the end with 0.

        Returns:
            h (B, H).

        Raises:
            ValueError: for ids out of range, an empty sentence, or one that is too short for the
                convolutions.
        """
        check_sentences(sentences, self.config)
        if self.embed is None:
            x = F.one_hot(sentences.long(), self.config.vocabulary)[..., 1:]  # padding: all 0
            x = x.to(self.out.weight.dtype)  # (B, T, V - 1)
        else:
            x = self.embed(sentences)  # (B, T, words)
        x = self.convolve(x.transpose(1, 2)).transpose(1, 2)  # (B, T', channels)
        states, _ = self.recur(x)  # (B, T', hidden)
        if self.config.convolutions:
            return self.out(states.mean(1))  # a text has a fixed length there, as in the paper
        real = (sentences > 0)[..., None].to(states)
        return self.out((states * real).sum(1) / real.sum(1))  # (B, H)


class PictureEncoder(nn.Module):
    """What a sentence is fitted to while φ learns: a picture as a vector of the same length."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.body = _downwards(config, spectral=False)
        self.out = nn.Linear(_widths(config)[-1] * 16, config.sentence)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in [−1, 1] as vectors (B, H)."""
        check_pictures(pictures, self.config)
        return self.out(self.body(pictures).flatten(1))


def joint_loss(pictures: Tensor, sentences: Tensor, same: Tensor | None = None) -> Tensor:
    """How far sentences and pictures are from fitting (Reed et al., CVPR 2016, equations 1 to 5,
    as their program has it).

    A pair's product must be larger, by 1, than the product of the picture with any other sentence,
    and of the sentence with any other picture:
    mean over (i, j) of max(0, 1 + x_i·h_j − x_i·h_i) + max(0, 1 + x_j·h_i − x_i·h_i), j ≠ i.

    Args:
        pictures: x (B, H); row i belongs to row i of ``sentences``.
        sentences: h (B, H).
        same: (B, B), bool: pairs that mean the same (the paper's classes) and so are no mistake.

    Returns:
        A scalar, ≥ 0.

    Raises:
        ValueError: if the shapes do not fit.
    """
    _check_fit(pictures, sentences, same)
    b = len(pictures)
    alike = torch.eye(b, dtype=torch.bool, device=pictures.device)
    if same is not None:
        alike = alike | same
    score = pictures @ sentences.T  # (B, B)
    right = score.diagonal()
    wrong_sentence = F.relu(1 + score - right[:, None])  # picture i, sentence j
    wrong_picture = F.relu(1 + score - right[None, :])  # picture i, sentence j, seen from j
    return (wrong_sentence + wrong_picture).masked_fill(alike, 0).sum() / b**2


def _check_fit(pictures: Tensor, sentences: Tensor, same: Tensor | None) -> None:
    if pictures.ndim != 2 or pictures.shape != sentences.shape or not len(pictures):
        raise ValueError(
            f"pictures and sentences must be (B, H) both, got {tuple(pictures.shape)} and "
            f"{tuple(sentences.shape)}"
        )
    b = len(pictures)
    if same is not None and same.shape != (b, b):
        raise ValueError(f"same must be ({b}, {b}), got {tuple(same.shape)}")


def contrastive_loss(
    pictures: Tensor, sentences: Tensor, scale: Tensor | float, same: Tensor | None = None
) -> Tensor:
    """The same wish as a choice (InfoNCE): among all sentences, which one belongs to the picture,
    and the other way round? Vectors are brought to length 1 first.

    The hinge of :func:`joint_loss` is content once a right pair is ahead by 1; this one never is.

    Args:
        pictures: x (B, H); row i belongs to row i of ``sentences``.
        sentences: h (B, H).
        scale: what cosines are multiplied by, > 0.
        same: (B, B), bool: pairs that mean the same, which are no mistake.
    """
    _check_fit(pictures, sentences, same)
    score = scale * F.normalize(pictures, dim=1) @ F.normalize(sentences, dim=1).T  # (B, B)
    own = torch.arange(len(score), device=score.device)
    if same is not None:
        other = own[:, None] != own
        score = score.masked_fill(same & other, -torch.inf)
    return (F.cross_entropy(score, own) + F.cross_entropy(score.T, own)) / 2


class Fitting(nn.Module):
    """A sentence's and a picture's encoder that learn to fit each other.

    Args:
        config: sizes.
        loss: ``"contrastive"``, or ``"hinge"`` as in the paper.
    """

    def __init__(self, config: Config, loss: str = "contrastive") -> None:
        super().__init__()
        if loss not in ("contrastive", "hinge"):
            raise ValueError(f"loss must be 'contrastive' or 'hinge', got {loss!r}")
        self.kind = loss
        self.sentences, self.pictures = TextEncoder(config), PictureEncoder(config)
        self.log_scale = nn.Parameter(torch.tensor(2.0)) if loss == "contrastive" else None

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Of a batch: ``pictures`` (B, 3, S, S), ``sentences`` as ids (B, T), and ``meaning`` (B,),
        a number that two rows share if a sentence of one is true of the other."""
        x, h = self.pictures(batch["pictures"]), self.sentences(batch["sentences"])
        same = batch["meaning"][:, None] == batch["meaning"]  # (B, B)
        if self.kind == "hinge":
            return joint_loss(x, h, same)
        return contrastive_loss(x, h, self.log_scale.exp(), same)


# --- The two players ------------------------------------------------------------------------------


class Listener(nn.Sequential):
    """What a player makes of h: each has a projection of its own."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            nn.Linear(config.sentence, config.projection),
            nn.BatchNorm1d(config.projection),
            nn.LeakyReLU(SLOPE),
        )


class Generator(nn.Module):
    """G: draws a picture from a sentence's vector and random numbers."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, n = config, config.steps
        self.listen = Listener(config)
        widths = [config.generator * 2 ** (n - 1 - k) for k in range(n)]
        before, layers = config.projection + config.code, []
        for k, width in enumerate(widths):
            step = (4, 1, 0) if k == 0 else (4, 2, 1)  # kernel, stride, padding
            layers += [
                nn.ConvTranspose2d(before, width, *step, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            before = width
        self.draw = nn.Sequential(
            *layers, nn.ConvTranspose2d(before, 3, 4, 2, 1, bias=False), nn.Tanh()
        )
        self.apply(_first_weights)

    def forward(self, sentence: Tensor, code: Tensor) -> Tensor:
        """Draw.

        Args:
            sentence: h (B, H).
            code: z (B, Z), from a normal distribution.

        Returns:
            Pictures (B, 3, S, S) in (−1, 1).

        Raises:
            ValueError: if the shapes do not fit, or in training with a batch of one.
        """
        c = self.config
        _check_vectors(sentence, c.sentence, "sentence")
        _check_vectors(code, c.code, "code")
        if len(code) != len(sentence):
            raise ValueError(f"{len(sentence)} sentences need as many codes, got {len(code)}")
        _check_batch(self, len(sentence))
        x = torch.cat([self.listen(sentence), code], 1)  # (B, projection + Z)
        return self.draw(x[:, :, None, None])  # 1 × 1 → 4 × 4 → … → S × S


class Discriminator(nn.Module):
    """D: how true a picture and a sentence are together."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.look = _downwards(config, config.spectral)
        self.listen = Listener(config)
        width = _widths(config)[-1]
        norm = spectral_norm if config.spectral else (lambda layer: layer)

        def head(before: int) -> nn.Sequential:
            return nn.Sequential(
                norm(nn.Conv2d(before, width, 1, bias=False)),
                nn.Identity() if config.spectral else nn.BatchNorm2d(width),
                nn.LeakyReLU(SLOPE),
                norm(nn.Conv2d(width, 1, 4, bias=False)),
            )

        self.join = head(width + config.projection)
        self.compare = head(2 * width + config.projection) if config.pairs else None
        self.apply(_first_weights)

    def forward(self, pictures: Tensor, sentence: Tensor) -> Tensor:
        """The scores of pairs: above 0 for true.

        Args:
            pictures: (B, 3, S, S) in [−1, 1].
            sentence: h (B, H).

        Returns:
            (B,), the logits of the paper's probabilities.

        Raises:
            ValueError: if the shapes do not fit, or in training with a batch of one.
        """
        check_pictures(pictures, self.config)
        return self.judge(self.look(pictures), sentence)

    def judge(self, seen: Tensor, sentence: Tensor) -> Tensor:
        """The scores (B,) of maps (B, C, 4, 4) that :attr:`look` made, with sentences (B, H)."""
        _check_vectors(sentence, self.config.sentence, "sentence")
        if len(seen) != len(sentence):
            raise ValueError(f"{len(seen)} pictures need as many sentences, got {len(sentence)}")
        _check_batch(self, len(seen))
        return self.join(torch.cat([seen, self.tell(sentence, seen)], 1)).flatten()  # (B,)

    def judge_pairs(self, seen: Tensor, sentence: Tensor) -> Tensor:
        """The scores (B / 2,) of two pictures of one meaning: rows 0 and 1, rows 2 and 3, …"""
        if self.compare is None:
            raise ValueError("this discriminator judges no pairs; set Config.pairs above 0")
        if len(seen) % 2:
            raise ValueError(f"pairs needs an even number of pictures, got {len(seen)}")
        if len(seen) != len(sentence):
            raise ValueError(f"{len(seen)} pictures need as many sentences, got {len(sentence)}")
        one, two = seen[::2], seen[1::2]
        both = torch.cat([(one + two) / 2, (one - two).abs()], 1)  # their order tells nothing
        _check_batch(self, len(both))
        return self.compare(torch.cat([both, self.tell(sentence[::2], both)], 1)).flatten()

    def tell(self, sentence: Tensor, seen: Tensor) -> Tensor:
        """The projected sentence, the same in every cell: (B, H) → (B, projection, 4, 4)."""
        return self.listen(sentence)[:, :, None, None].expand(-1, -1, *seen.shape[2:])


def _widths(config: Config) -> list[int]:
    return [config.discriminator * 2**k for k in range(config.steps)]


def _downwards(config: Config, spectral: bool) -> nn.Sequential:
    """Halves the side until it is 4: (B, 3, S, S) → (B, C, 4, 4)."""
    before, layers = 3, []
    for k, width in enumerate(_widths(config)):
        convolution = nn.Conv2d(before, width, 4, 2, 1, bias=False)
        layers.append(spectral_norm(convolution) if spectral else convolution)
        if k and not spectral:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.LeakyReLU(SLOPE))
        before = width
    return nn.Sequential(*layers)


def _first_weights(part: nn.Module) -> None:
    if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
        if not nn.utils.parametrize.is_parametrized(part):
            nn.init.normal_(part.weight, 0, SPREAD)
    elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
        nn.init.normal_(part.weight, 1, SPREAD)
        nn.init.zeros_(part.bias)


class TextToImage(nn.Module):
    """A text encoder, a generator and a discriminator.

    Attributes:
        encoder: φ; :func:`fit` does not change it.
        generator: G.
        discriminator: D.
        averaged: an average of G over the last steps, which draws (``Config.average``), or None.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = TextEncoder(config)
        self.generator = Generator(config)
        self.discriminator = Discriminator(config)
        self.averaged = copy.deepcopy(self.generator) if config.average else None
        if self.averaged is not None:
            self.averaged.requires_grad_(False)

    def codes(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """So many random codes z (N, Z), from a normal distribution."""
        where = self.encoder.out.weight.device
        return torch.randn(count, self.config.code, generator=generator).to(where)

    @torch.no_grad()
    def draw(self, sentences: Tensor, codes: Tensor | None = None) -> Tensor:
        """Draw sentences as ids (B, T), or as vectors (B, H), with codes (B, Z) or random ones.

        Returns:
            Pictures (B, 3, S, S) in (−1, 1).
        """
        h = sentences if sentences.is_floating_point() else self.encoder(sentences)
        painter = (self.averaged or self.generator).eval()
        return painter(h, self.codes(len(h)) if codes is None else codes)


# --- The rules of the game ------------------------------------------------------------------------


def discriminator_loss(right: Tensor, drawn: Tensor, wrong: Tensor | None = None) -> Tensor:
    """What D pays (Reed et al., algorithm 1): −log s_r − ½ (log(1 − s_w) + log(1 − s_f)), in the
    mean, with s the sigmoid of a score.

    Args:
        right: scores of real pictures with their sentences (B,).
        drawn: scores of drawn pictures with their sentences (B,).
        wrong: scores of real pictures with wrong sentences (B,); None for an ordinary conditional
            GAN, where the drawn pictures count whole.

    Returns:
        A scalar, ≥ 0; 2 log 2 for scores of 0.
    """
    false = F.softplus(drawn).mean()  # −log(1 − sigmoid(s)) = softplus(s)
    if wrong is not None:
        false = (false + F.softplus(wrong).mean()) / 2
    return F.softplus(-right).mean() + false


def generator_loss(drawn: Tensor) -> Tensor:
    """What G pays: −log s_f in the mean; it wants its drawings to be held true."""
    return F.softplus(-drawn).mean()


def seeking_loss(one: Tensor, two: Tensor, code_one: Tensor, code_two: Tensor) -> Tensor:
    """High where two codes give one picture: the mean of 1 / (|ΔG| / |Δz| + 0.02) (mode seeking,
    Mao et al., CVPR 2019, equation 4), with | | the mean absolute difference.

    Args:
        one: drawings (B, 3, S, S) of sentences with ``code_one``.
        two: drawings of the same sentences with ``code_two``.
        code_one: (B, Z).
        code_two: (B, Z).
    """
    moved = (one - two).abs().flatten(1).mean(1)
    asked = (code_one - code_two).abs().mean(1)
    return (1 / (moved / asked.clamp_min(1e-6) + FLOOR)).mean()


def r1_penalty(right: Tensor, pictures: Tensor) -> Tensor:
    """Half the squared slope of D at real pictures (Mescheder et al. 2018, equation 9): a scalar."""
    (slope,) = torch.autograd.grad(right.sum(), pictures, create_graph=True)
    return slope.square().flatten(1).sum(1).mean() / 2


def augmented(pictures: Tensor, alike: int = 1) -> Tensor:
    """Pictures as D sees them under ``Config.augment``: each a little lighter or darker, more or
    less colourful, moved by up to an eighth, and with a square cut out, at random (DiffAugment,
    Zhao et al., NeurIPS 2020). Slopes pass through, so that G learns from it, too.

    Args:
        pictures: (B, 3, S, S).
        alike: so many neighbours are changed in the same way.

    Returns:
        (B, 3, S, S).
    """
    b, _, s, _ = pictures.shape
    if b % alike:
        raise ValueError(f"{b} pictures cannot be shared out in groups of {alike}")
    grid = torch.arange(s, device=pictures.device)

    def chance(low: float, high: float) -> Tensor:  # (B, 1, 1, 1)
        drawn = torch.empty(b // alike, 1, 1, 1, device=pictures.device).uniform_(low, high)
        return drawn.repeat_interleave(alike, 0)

    x = pictures + chance(-0.25, 0.25).to(pictures.dtype)
    x = torch.lerp(x.mean(1, keepdim=True), x, chance(0.5, 1.5).to(x.dtype))  # to grey, or from it
    most = s // 8
    top, left = (chance(0, 2 * most + 1).long().view(b, 1, 1) for _ in range(2))
    index = (top + grid[:, None]) * (s + 2 * most) + left + grid  # (B, S, S)
    x = F.pad(x, (most,) * 4).contiguous().flatten(2)
    x = x.gather(2, index.flatten(1)[:, None].expand(-1, 3, -1)).view(b, 3, s, s)
    y, x0 = (chance(0, s).long() for _ in range(2))
    hole = ((grid[:, None] - y).abs() < s // 4) & ((grid - x0).abs() < s // 4)
    return x * ~hole


@dataclass
class Players:
    """The two optimizers, and how far the game is.

    Attributes:
        generator: G's Adam.
        discriminator: D's Adam.
        step: how many steps are done.
        losses: the values that :func:`play` returned, by name, one a step.
    """

    generator: torch.optim.Optimizer
    discriminator: torch.optim.Optimizer
    step: int = 0
    losses: dict[str, list[float]] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        """What is needed, beside the model's weights and the batches to come, to go on exactly."""
        return {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "step": self.step,
            "losses": {name: list(values) for name, values in self.losses.items()},
            "random": torch.get_rng_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state; the random numbers of the CPU, too."""
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.step = state["step"]
        self.losses = {name: list(values) for name, values in state["losses"].items()}
        torch.set_rng_state(state["random"])


def players(model: TextToImage) -> Players:
    """An Adam for each player, at the beginning."""
    c = model.config
    parts = (model.generator, model.discriminator)
    return Players(
        *(
            torch.optim.Adam(part.parameters(), rate, betas=(0.5, c.beta2))
            for part, rate in zip(parts, c.rates, strict=True)
        )
    )


def play(model: TextToImage, batch: Mapping[str, Tensor], both: Players) -> dict[str, float]:
    """One step of the game (Reed et al., algorithm 1): D learns, then G.

    Args:
        model: the players; in training mode.
        batch: ``pictures`` (B, 3, S, S) in [−1, 1]; ``sentence``, their h (B, H); ``wrong``, the h
            of sentences that mean something else (B, H), needed for ``Config.matching``.
        both: their optimizers.

    Returns:
        The losses, and the shares of real, wrong and drawn pairs that D held true.

    Raises:
        ValueError: for pictures outside [−1, 1], or without the wrong sentences that are needed.
        FloatingPointError: if a loss or a slope is not finite. Weights and statistics are then the
            last good ones: those before the step, or, where G fails, those with which D learnt.
    """
    c, G, D = model.config, model.generator, model.discriminator
    x, h = batch["pictures"].detach(), batch["sentence"].detach()
    check_pictures(x, c)
    check_range(x)
    if c.pairs and len(x) % 2:
        raise ValueError(f"pairs needs an even number of pictures, got {len(x)}")
    if c.matching and "wrong" not in batch:
        raise ValueError("matching needs wrong sentences: batch['wrong'] (B, H)")
    statistics = [*G.buffers(), *D.buffers()]
    before = [one.clone() for one in statistics]
    try:
        held = _turns(model, x, h, batch.get("wrong"), both)
    except Exception:
        with torch.no_grad():
            for one, good in zip(statistics, before, strict=True):
                one.copy_(good)
        raise
    finally:
        D.requires_grad_(True)
    both.step += 1
    if model.averaged is not None:
        slow = min(c.average, both.step / (both.step + 10))  # at first it forgets quickly
        with torch.no_grad():
            for kept, now in zip(model.averaged.parameters(), G.parameters(), strict=True):
                kept.lerp_(now, 1 - slow)
            for kept, now in zip(model.averaged.buffers(), G.buffers(), strict=True):
                kept.copy_(now)
    return held


def _turns(
    model: TextToImage, x: Tensor, h: Tensor, other: Tensor | None, both: Players
) -> dict[str, float]:
    """D's turn, then G's, on pictures x (B, 3, S, S) with sentences h (B, H), wrong ones ``other``."""
    c, G, D = model.config, model.generator, model.discriminator
    alike = 2 if c.pairs else 1
    seen = (lambda x: augmented(x, alike)) if c.augment else (lambda x: x)
    z = model.codes(len(x))
    fake = G(h, z)  # one drawing serves both

    real = seen(x).detach().requires_grad_(c.r1 > 0)
    features = D.look(real)
    right = D.judge(features, h)
    wrong = D.judge(features, other.detach()) if c.matching and other is not None else None
    imagined = D.look(seen(fake.detach()))
    drawn = D.judge(imagined, h)
    loss_d = told = discriminator_loss(right, drawn, wrong)
    if c.pairs:
        two_right, two_drawn = D.judge_pairs(features, h), D.judge_pairs(imagined, h)
        loss_d = loss_d + c.pairs * discriminator_loss(two_right, two_drawn)
    if c.r1:
        loss_d = loss_d + c.r1 * r1_penalty(right, real)
    _learn(both.discriminator, D, loss_d, "discriminator", both.step)

    D.requires_grad_(False)  # it only passes the slope on to G
    imagined = D.look(seen(fake))
    loss_g = fooled = generator_loss(D.judge(imagined, h))
    if c.pairs:
        loss_g = loss_g + c.pairs * generator_loss(D.judge_pairs(imagined, h))
    if c.interpolation:
        between = (h + h.roll(1 if not c.pairs else 2, 0)) / 2
        loss_g = loss_g + c.interpolation * generator_loss(
            D.judge(D.look(seen(G(between, model.codes(len(h))))), between)
        )
    if c.seeking:
        if c.pairs:  # neighbours are two drawings of one meaning
            loss_g = loss_g + c.seeking * seeking_loss(fake[::2], fake[1::2], z[::2], z[1::2])
        else:
            again = model.codes(len(x))
            loss_g = loss_g + c.seeking * seeking_loss(fake, G(h, again), z, again)
    _learn(both.generator, G, loss_g, "generator", both.step)
    scores = {"real": right, "drawn": drawn} | ({} if wrong is None else {"wrong": wrong})
    held = {name: float((score > 0).float().mean()) for name, score in scores.items()}
    return {"discriminator": told.item(), "generator": fooled.item()} | held


def _learn(opt: torch.optim.Optimizer, part: nn.Module, loss: Tensor, name: str, step: int) -> None:
    opt.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.get_total_norm([p.grad for p in part.parameters() if p.grad is not None])
    if not bool(torch.isfinite(loss.detach() + norm)):
        raise FloatingPointError(
            f"step {step}: the {name}'s loss is {loss.item():.4g}, its slope {norm.item():.4g}; "
            f"training stops, and the last good weights are kept. Try a smaller rate"
        )
    opt.step()


@brings
def fit(
    model: TextToImage,
    batches: Iterable[Mapping[str, Tensor]],
    steps: int,
    both: Players | None = None,
    watch: Callable[[int], None] | None = None,
    every: int = 100,
) -> Players:
    """Play.

    A model on the CPU plays on :func:`mmtutor.device`, a GPU where there is one, and comes home; one that was
    moved to a GPU stays there, and its batches must lie there too.

    Args:
        model: is trained in place.
        batches: those of :func:`play`, as many as there are steps to go.
        steps: of the whole game; the falling of the rates is planned by it.
        both: where an earlier call ended, to go on from there.
        watch: is called with the number of steps done, at the start, after each ``every`` steps,
            and at the end.
        every: see ``watch``.

    Returns:
        The optimizers with the losses of every step: hand them to the next call to go on.

    Raises:
        ValueError: if the batches end too early.
        FloatingPointError: see :func:`play`.
    """
    if every < 1 or steps < 0:
        raise ValueError(f"every must be at least 1 and steps 0 or more, got {every}, {steps}")
    both = both or players(model)
    model.encoder.requires_grad_(False)
    model.generator.train()
    model.discriminator.train()
    start = int(steps * model.config.falling)
    source: Iterator = iter(batches)
    if watch and both.step == 0:
        watch(0)
        model.generator.train()  # who watches draws
    while both.step < steps:
        factor = 1.0 if both.step < start else (steps - both.step) / max(1, steps - start)
        rates = zip((both.generator, both.discriminator), model.config.rates, strict=True)
        for opt, rate in rates:
            for group in opt.param_groups:
                group["lr"] = rate * factor
        batch = next(source, None)
        if batch is None:
            raise ValueError(f"the batches ended after {both.step} of {steps} steps")
        for name, value in play(model, batch, both).items():
            both.losses.setdefault(name, []).append(value)
        if watch and (both.step % every == 0 or both.step == steps):
            watch(both.step)
            model.generator.train()
    return both


@torch.no_grad()
def settle(model: TextToImage, sentences: Tensor, rounds: int = 20, size: int = 128) -> None:
    """Count the batch statistics of the averaged generator anew: those that it has were counted by
    the generator that it averages.

    Args:
        model: with ``Config.average``; else nothing happens.
        sentences: h (N, H), of which batches are drawn at random.
        rounds: how many batches.
        size: sentences in a batch.
    """
    _check_vectors(sentences, model.config.sentence, "sentences")
    if rounds < 1 or size < 2:
        raise ValueError(f"settle needs a round of two sentences or more, got {rounds} of {size}")
    if model.averaged is None:
        return
    for part in model.averaged.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.reset_running_stats()
            part.momentum = None  # the plain mean of all batches
    model.averaged.train()
    for _ in range(rounds):
        rows = torch.randint(len(sentences), (size,)).to(sentences.device)
        model.averaged(sentences[rows], model.codes(size))
    model.averaged.eval()


# --- What, and where ------------------------------------------------------------------------------


@dataclass(frozen=True)
class PlacedConfig(Config):
    """Sizes and choices of a :class:`PlacedTextToImage`: those of :class:`Config` (without ``pairs``,
    ``interpolation`` and ``r1``), and

    Args:
        patch: pixels of a side of the thing by itself, as G draws it and D looks at it: 8, 16 …
        margin: the square that is drawn and looked at, with the thing's side as 1.
        cells: into so many parts a picture's side is cut to say where things stand.
        changed: D sees the picture and the square, each changed at random (:func:`augmented`), the
            square after it was cut out. ``augment`` would move the picture first, and the square
            would no longer lie where the thing is; so it must be off.
    """

    patch: int = 16
    margin: float = 1.25
    cells: int = 32
    changed: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.patch, int) or self.patch < 8 or self.patch & (self.patch - 1):
            raise ValueError(f"patch must be 8, 16 or another power of two, got {self.patch!r}")
        if not 0 < self.margin < math.inf:
            raise ValueError(f"margin must be above 0, and finite, got {self.margin}")
        if not isinstance(self.cells, int) or self.cells < 2:
            raise ValueError(f"cells must be a whole number from 2 on, got {self.cells!r}")
        if self.augment:
            raise ValueError("augment would move the picture before the cut; set changed instead")
        for name in ("pairs", "interpolation", "r1"):  # r1: a cut-out square has no second slope
            if getattr(self, name):
                raise ValueError(f"{name} must be 0 where the players are told a place")


class Places(nn.Module):
    """Where a thing may stand if a sentence is true: for across, down and side a choice among cells
    each, by themselves. It learns from pictures whose things' places are known."""

    def __init__(self, config: PlacedConfig) -> None:
        super().__init__()
        self.config = config
        self.out = nn.Linear(config.sentence, 3 * config.cells)

    def scores(self, sentence: Tensor) -> Tensor:
        """Of sentences (B, H), the logits of the cells (B, 3, cells)."""
        _check_vectors(sentence, self.config.sentence, "sentence")
        return self.out(sentence).unflatten(1, (3, self.config.cells))

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross entropy of the cells in which the things of a batch stand: ``sentence``, h (B, H),
        and ``place`` (B, 3): the thing's centre, across and down, and its side, the picture's side
        being 1."""
        place = check_places(batch["place"])
        cell = (place * self.config.cells).long().clamp(0, self.config.cells - 1)
        return F.cross_entropy(self.scores(batch["sentence"]).flatten(0, 1), cell.flatten())

    @torch.no_grad()
    def forward(self, sentence: Tensor, code: Tensor) -> Tensor:
        """Choose places (B, 3) for sentences h (B, H). What is chosen depends on the first three
        numbers of z (B, Z) alone: each, as a part of the normal distribution, says how far to go
        through the probabilities of the cells, and so how far into one. Without z it is the middle.
        """
        p = self.scores(sentence).softmax(-1)  # (B, 3, cells)
        z = F.pad(code[:, :3], (0, max(0, 3 - code.shape[1])))
        far = torch.special.ndtr(z)[..., None]  # (B, 3, 1), from 0 to 1
        upto = p.cumsum(-1)
        cell = (upto < far).sum(-1, keepdim=True).clamp_max(self.config.cells - 1)
        own = p.gather(-1, cell)
        into = (far - (upto.gather(-1, cell) - own)) / own.clamp_min(1e-9)
        # never 0, however far out z lies: a square without a side could not be pasted into
        return ((cell + into.clamp(0, 1)) / self.config.cells)[..., 0].clamp_min(1e-3)


def pasted(patches: Tensor, place: Tensor, size: int, margin: float = 1.0) -> Tensor:
    """Patches, each at its place of an empty map (spatial transformers, Jaderberg et al., NIPS 2015,
    section 3).

    Args:
        patches: (B, C, P, P).
        place: (B, 3): the centre, across and down, and the side, the map's side being 1.
        size: pixels of the map's side.
        margin: the patch's side, with that of ``place`` as 1.

    Returns:
        (B, C, size, size), 0 outside.
    """
    side, shift = place[:, 2:] * margin, 2 * place[:, :2] - 1
    grid = _grid(1 / side, -shift / side, size)
    return F.grid_sample(patches, grid, align_corners=False)


def cut_out(pictures: Tensor, place: Tensor, size: int, margin: float = 1.0) -> Tensor:
    """The other way round: the square at a place of each picture (B, C, S, S), as a patch
    (B, C, size, size). What lies outside the picture is like its edge. See :func:`pasted`."""
    grid = _grid(place[:, 2:] * margin, 2 * place[:, :2] - 1, size)
    return F.grid_sample(pictures, grid, align_corners=False, padding_mode="border")


def _grid(scale: Tensor, shift: Tensor, size: int) -> Tensor:
    """Where to look (B, size, size, 2): at scale · pixel + shift, both in [−1, 1]."""
    turn = torch.diag_embed(scale.expand(-1, 2))  # (B, 2, 2)
    return F.affine_grid(
        torch.cat([turn, shift[:, :, None]], 2), [len(scale), 1, size, size], align_corners=False
    )


class PlacedGenerator(Generator):
    """G that draws the ground, and by itself the thing, and pastes the thing in where it is told.

    Two paths as of Reed et al., "Learning what and where to draw", NIPS 2016, section 4.1. There
    their maps are joined; here the thing has a mask and covers the ground, as in LR-GAN (Yang et al.,
    ICLR 2017): m · thing + (1 − m) · ground.
    """

    config: PlacedConfig

    def __init__(self, config: PlacedConfig) -> None:
        super().__init__(config)
        self.places, self.hear = Places(config), Listener(config)
        doublings = int(math.log2(config.patch)) - 2
        before, layers = config.projection + config.code, []
        for k in range(doublings + 1):
            width = config.generator * 2 ** (doublings - k)
            step = (4, 1, 0) if k == 0 else (4, 2, 1)  # kernel, stride, padding
            layers += [
                nn.ConvTranspose2d(before, width, *step, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            before = width
        self.thing = nn.Sequential(*layers, nn.Conv2d(before, 4, 3, padding=1))
        self.hear.apply(_first_weights)
        self.thing.apply(_first_weights)

    def patch(self, sentence: Tensor, code: Tensor) -> Tensor:
        """The thing by itself (B, 4, P, P): three colours in (−1, 1), times the mask, and the mask."""
        x = self.thing(torch.cat([self.hear(sentence), code], 1)[:, :, None, None])
        mask = x[:, 3:].sigmoid()
        return torch.cat([x[:, :3].tanh() * mask, mask], 1)

    def forward(self, sentence: Tensor, code: Tensor) -> Tensor:
        """Draw.

        Args:
            sentence: h (B, H), and z chooses a place; or h and the place (B, H + 3), see
                :func:`with_place`.
            code: z (B, Z), from a normal distribution.

        Returns:
            Pictures (B, 3, S, S) in (−1, 1).

        Raises:
            ValueError: if the shapes do not fit, or in training with a batch of one.
        """
        c = self.config
        if sentence.ndim == 2 and sentence.shape[1] == c.sentence:
            place = None
        else:
            sentence, place = _apart(sentence, c)
        ground = super().forward(sentence, code)
        if place is None:
            place = self.places(sentence, code)
        thing = pasted(self.patch(sentence, code), place, c.size, c.margin)
        return thing[:, :3] + (1 - thing[:, 3:]) * ground


@dataclass
class _Seen:
    map: Tensor  # (B, C, 4, 4)
    pictures: Tensor  # (B, 3, S, S)
    near: Tensor | None = None  # (B, C, 4, 4): of the squares, as soon as a place was told


class _Kept(nn.Module):
    """What D keeps of a picture until it is told a sentence and a place: its map, and itself."""

    def __init__(self, body: nn.Module, config: PlacedConfig) -> None:
        super().__init__()
        self.body, self.config = body, config

    def forward(self, pictures: Tensor) -> _Seen:
        changes = self.config.changed and self.training
        return _Seen(self.body(augmented(pictures) if changes else pictures), pictures)


class PlacedDiscriminator(Discriminator):
    """D that looks at the picture, and once more at the square in which the thing stands (Reed et
    al., "Learning what and where to draw", section 4.1). Each look has a score of its own, so that
    neither can leave the reading to the other."""

    config: PlacedConfig

    def __init__(self, config: PlacedConfig) -> None:
        super().__init__(config)
        self.look = _Kept(self.look, config)
        norm = spectral_norm if config.spectral else (lambda layer: layer)
        width = config.discriminator
        layers = [norm(nn.Conv2d(3, width, 3, padding=1, bias=False)), nn.LeakyReLU(SLOPE)]
        for _ in range(int(math.log2(config.patch)) - 2):
            layers.append(norm(nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False)))
            width *= 2
            layers += [*([] if config.spectral else [nn.BatchNorm2d(width)]), nn.LeakyReLU(SLOPE)]
        self.close, self.hear = nn.Sequential(*layers), Listener(config)
        self.join_close = nn.Sequential(
            norm(nn.Conv2d(width + config.projection, width, 1, bias=False)),
            nn.Identity() if config.spectral else nn.BatchNorm2d(width),
            nn.LeakyReLU(SLOPE),
            norm(nn.Conv2d(width, 1, 4, bias=False)),
        )
        for part in (self.close, self.hear, self.join_close):
            part.apply(_first_weights)

    def judge(self, seen: _Seen, sentence: Tensor) -> Tensor:
        """The scores (2 B,) of what :attr:`look` kept with sentences and places (B, H + 3), see
        :func:`with_place`: of whole pictures, then of the squares. Whoever was told the places once
        can be asked about other sentences (B, H): it looks at the squares only once."""
        c = self.config
        again = seen.near is not None and sentence.shape[-1] == c.sentence
        h, place = (sentence, None) if again else _apart(sentence, c)
        whole = super().judge(seen.map, h)
        if place is not None:
            near = cut_out(seen.pictures, place, c.patch, c.margin)
            seen.near = self.close(augmented(near) if c.changed and self.training else near)
        told = self.hear(h)[:, :, None, None].expand(-1, -1, *seen.near.shape[2:])
        return torch.cat([whole, self.join_close(torch.cat([seen.near, told], 1)).flatten()])


class PlacedTextToImage(TextToImage):
    """A :class:`TextToImage` whose players are told where the thing stands, too.

    In training every sentence comes with its place (:func:`with_place`). The wrong one (B, H) comes
    without: it is judged on the square of the right one. To draw, a sentence is enough: ``places``, which learnt beforehand where
    things stand of which such sentences are true, and z choose a place. The game is that of
    :func:`play`, :func:`fit` and :func:`settle`.
    """

    config: PlacedConfig

    def __init__(self, config: PlacedConfig) -> None:
        super().__init__(config)
        self.generator, self.discriminator = PlacedGenerator(config), PlacedDiscriminator(config)
        self.averaged = copy.deepcopy(self.generator) if config.average else None
        if self.averaged is not None:
            self.averaged.requires_grad_(False)
            self.averaged.places = self.generator.places  # it does not play, there is one of it

    @property
    def places(self) -> Places:
        """What chooses a place."""
        return self.generator.places


def with_place(sentence: Tensor, place: Tensor) -> Tensor:
    """What the players of a :class:`PlacedTextToImage` are told: h (B, H) and the place (B, 3), the
    thing's centre, across and down, and its side, the picture's side being 1. → (B, H + 3)

    Raises:
        ValueError: for shapes that do not fit, a centre outside the picture, or a side of 0.
    """
    if sentence.ndim != 2 or len(sentence) != len(place):
        raise ValueError(
            f"{len(place)} places need as many sentences (B, H), got {tuple(sentence.shape)}"
        )
    return torch.cat([sentence, check_places(place).to(sentence)], 1)


def _apart(told: Tensor, config: PlacedConfig) -> tuple[Tensor, Tensor]:
    _check_vectors(told, config.sentence + 3, "sentences with places")
    return told[:, : config.sentence], told[:, config.sentence :]


def check_places(place: Tensor) -> Tensor:
    """The places (B, 3), or a ValueError that says what is wrong with them."""
    if place.ndim != 2 or place.shape[1] != 3 or not place.is_floating_point():
        raise ValueError(
            f"places must be (B, 3): across, down and side, got {tuple(place.shape)}, {place.dtype}"
        )
    inside = (place >= 0) & (place <= 1)
    if not bool((inside.all(1) & (place[:, 2] > 0)).all()):
        raise ValueError(
            "a place's numbers must be from 0 to 1, the picture's side being 1, and its side above 0"
        )
    return place


# --- What goes in ---------------------------------------------------------------------------------


def check_sentences(sentences: Tensor, config: Config) -> None:
    """Raise a ValueError that says what is wrong with ids (B, T), or nothing. The ids themselves are
    looked at on the CPU only: on a GPU the step would wait for them."""
    kinds = (torch.int64, torch.int32, torch.int16, torch.uint8)
    if sentences.ndim != 2 or sentences.dtype not in kinds:
        raise ValueError(
            f"sentences must be whole numbers (B, T), got {tuple(sentences.shape)}, {sentences.dtype}"
        )
    if sentences.numel() == 0:
        raise ValueError(f"there must be a sentence with a word, got {tuple(sentences.shape)}")
    if sentences.device.type == "cpu":
        _check_ids(sentences, config)
    length = sentences.shape[1]
    for _, kernel, pool, stride in config.convolutions:
        length = (length - kernel + 1 - pool) // stride + 1
        if length < 1:
            raise ValueError(
                f"sentences of {sentences.shape[1]} are too short for the convolutions; pad them, "
                "as letters() does"
            )


def _check_ids(sentences: Tensor, config: Config) -> None:
    least, most = int(sentences.min()), int(sentences.max())
    if least < 0 or most >= config.vocabulary:
        raise ValueError(f"ids must be from 0 to {config.vocabulary - 1}, got {least} to {most}")
    empty = (sentences != 0).sum(1) == 0
    if bool(empty.any()):
        raise ValueError(f"sentence {int(empty.nonzero()[0])} is empty; it must have a word")
    if bool(((sentences[:, 1:] != 0) & (sentences[:, :-1] == 0)).any()):
        raise ValueError("padding (0) must stand at the end of a sentence, not before a word")


def check_pictures(pictures: Tensor, config: Config) -> None:
    """Raise a ValueError that says what is wrong with pictures (B, 3, S, S), or nothing."""
    s = config.size
    if pictures.ndim != 4 or pictures.shape[1:] != (3, s, s) or not pictures.is_floating_point():
        raise ValueError(
            f"pictures must be (B, 3, {s}, {s}) in [-1, 1], got {tuple(pictures.shape)}, "
            f"{pictures.dtype}; bytes become so by x / 127.5 - 1"
        )
    _check_some(len(pictures), "picture")


def check_range(pictures: Tensor) -> None:
    """Raise a ValueError unless all numbers are in [−1, 1]."""
    least, most = map(float, pictures.aminmax())
    if not (least >= -1 and most <= 1):  # NaN too
        raise ValueError(
            f"pictures must be in [-1, 1], got {least:.4g} to {most:.4g}; bytes become so by "
            "x / 127.5 - 1"
        )


def _check_vectors(x: Tensor, width: int, name: str) -> None:
    if x.ndim != 2 or x.shape[1] != width:
        raise ValueError(f"{name} must be (B, {width}), got {tuple(x.shape)}")
    _check_some(len(x), name)


def _check_some(count: int, name: str) -> None:
    if not count:
        raise ValueError(f"there must be at least one {name}, got none")


def _check_batch(part: nn.Module, count: int) -> None:
    if part.training and count < 2:
        raise ValueError(
            "batch normalization learns from a batch of two or more, got one; to draw, call draw() "
            "or eval() first"
        )


def letters(texts: Sequence[str], length: int = 201) -> Tensor:
    """Sentences as ids of letters (B, ``length``), for :meth:`Config.paper`: cut or padded, in small
    letters; what :data:`ALPHABET` lacks is left out.

    Raises:
        ValueError: for an empty sentence.
    """
    ids = torch.zeros(len(texts), length, dtype=torch.long)
    for row, text in enumerate(texts):
        known = [ALPHABET.index(letter) + 1 for letter in text.lower() if letter in ALPHABET]
        known = known[:length]
        if not text.strip() or not known:
            raise ValueError(f"sentence {row}, {text!r}, has no letter that is known")
        ids[row, : len(known)] = torch.tensor(known)
    return ids
