"""Sound source localisation: where in the picture does the sound come from?

Nobody says where. A picture and the sound of the same moment are all there is, and from many such
pairs a network learns to point (Senocak et al., CVPR 2018). It has two streams:

- **sound**: a vector f_s of the whole clip, and from it a *query* h, which asks for a place;
- **vision**: a map of a frozen image network, which still knows where things are.

The query is compared with each cell of the map, by the cosine. A softmax makes weights of the
cosines, and what is seen is the mean of the cells under these weights. A vector f_v is made of it.
It must lie near the sound of its own clip, and far from another's; for that, it helps to look at
what makes *this* sound. That is all the teaching there is.

A map that somebody drew can be learnt from too, alone or beside. The paper reports that a few of
them set right what sound alone gets wrong: it finds what is there whenever the sound is, the road
for the car.

Read from top to bottom: the settings, the streams of sound, the model, the two losses, how the
field scores maps, the checks.

Sources: the paper, and the authors' program where the paper is silent: cosines below 0 count as 0,
the query hears f_s without its negative part, and what is compared with f_s has passed two layers.
Ours are sharper softmaxes, more negatives than one, sounds that each look for themselves, places,
and streams of sound that are learnt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtutor.kit.places import HOW, Places
from mmtutor.kit.vision import check_features
from mmtutor.kit.waves import check_waves
from mmtutor.sound import MelSpectrogram

HEARS = ("vector", "spectrogram", "wave")
NEGATIVES = ("one", "all")
OBJECTIVES = ("ratio", "log")
ASKS = ("own", "each")
#: Settings that a choice does not read. To set one would promise what does not happen.
UNREAD = {
    ("hears", "vector"): ("rate",),
    ("hears", "spectrogram"): ("given",),
    ("hears", "wave"): ("given",),
    ("metric", 0): ("negatives", "objective", "asks"),
}
#: Of the spectrogram: mel bands, and seconds of a frame; each begins half a frame after the last.
BANDS, FRAME = 64, 0.032
#: The layers that hear the wave: channels, kernel, stride, padding, and the pool behind.
WAVE = ((32, 64, 4, 32, 4), (64, 16, 2, 8, 4), (128, 8, 2, 4, 2))
#: AUC reads the rate of success at these overlaps: 0, 0.05, …, 1.
OVERLAPS = tuple(i / 20 for i in range(21))


@dataclass(frozen=True)
class Config:
    """Sizes and choices of a :class:`SoundLocalizer`.

    Args:
        image: (channels C, height, width) of the map; L = height · width cells.
        hears: what comes as the sound: a ``"vector"`` that a frozen network made of it (the paper:
            SoundNet's scores of 1,000 objects, their mean over time); or the wave, which is heard
            by a small network that learns with the rest, through a mel ``"spectrogram"`` or as the
            raw ``"wave"``.
        sound: S, length of f_s, and of f_v.
        given: length of the vector that comes as the sound; a layer that learns makes f_s of it.
            What no picture can show (the room, the loudness) need not stay in it. 0: the vector is
            f_s (the paper).
        width: D, length of a cell's annotation, which is learnt; 0: the cells stay as they are
            (the paper: D = C).
        places: how annotations are told where they lie; see :mod:`mmtutor.kit.places`.
        sharpness: β, what cosines are multiplied by before the softmax; 1 in the paper, where α
            can hardly be anything but even.
        rectify: cosines below 0 count as 0.
        negatives: the sounds that f_v must be far from: ``"one"`` of another clip (the paper), or
            ``"all"`` others of the batch.
        objective: ``"ratio"``: the squared error of the distance ratio (the paper); ``"log"``: its
            logarithm, which is steep where the ratio is all wrong.
        asks: whose query decides what is seen when it is compared with another's sound: still the
            ``"own"`` (the paper), or that other's: ``"each"`` looks for itself. With the own, where
            one looked gives away who asked, and f_v may tell sounds apart by that alone. If each
            looks, only what is in the picture can tell them apart.
        metric: weight of that loss; 0: supervised only.
        supervision: weight λ of the loss of maps that somebody drew.
        rate: samples a second of waves.
    """

    image: tuple[int, int, int] = (112, 6, 6)
    hears: str = "spectrogram"
    sound: int = 128
    given: int = 0
    width: int = 0
    places: str = "none"
    sharpness: float = 1.0
    rectify: bool = True
    negatives: str = "one"
    objective: str = "ratio"
    asks: str = "own"
    metric: float = 1.0
    supervision: float = 1.0
    rate: int = 8000

    def __post_init__(self) -> None:
        if len(self.image) != 3 or min(self.image) < 1:
            raise ValueError(f"image must be (channels, height, width), got {self.image}")
        for name, known in (
            ("hears", HEARS),
            ("places", HOW),
            ("negatives", NEGATIVES),
            ("objective", OBJECTIVES),
            ("asks", ASKS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        if self.sound < 1 or self.rate < 1 or self.width < 0:
            raise ValueError(
                "sound and rate must be at least 1 and width at least 0, got "
                f"{self.sound}, {self.rate} and {self.width}"
            )
        if self.given < 0:
            raise ValueError(f"given must be at least 0, got {self.given}")
        if not 0 < self.sharpness < math.inf:
            raise ValueError(f"sharpness must be above 0 and finite, got {self.sharpness}")
        if not all(0 <= w < math.inf for w in (self.metric, self.supervision)) or not (
            self.metric + self.supervision
        ):
            raise ValueError(
                "metric and supervision must be finite, not negative and not both 0, got "
                f"{self.metric} and {self.supervision}"
            )
        if not self.width and self.places != "none":
            raise ValueError("with width = 0 the cells stay as they are: set places = 'none'")
        default = {f.name: f.default for f in fields(self)}
        for (name, choice), unread in UNREAD.items():
            for other in unread if getattr(self, name) == choice else ():
                if getattr(self, other) != default[other]:
                    raise ValueError(
                        f"{other} = {getattr(self, other)} has no effect with {name} = "
                        f"{choice!r}; leave it at {default[other]}"
                    )

    @classmethod
    def world(cls, **changes: Any) -> Config:
        """Trains on two CPU cores in seconds, on the map of the frozen image network and the mean
        over time of the 256 channels of a SoundNet's last layer."""
        sizes: dict[str, Any] = dict(hears="vector", sound=256, sharpness=2.0)
        if changes.get("metric", 1):
            sizes |= dict(negatives="all", objective="log", asks="each")
        return cls(**{**sizes, **changes})

    @classmethod
    def paper(cls, *, program: bool = False, **changes: Any) -> Config:
        """The published sizes: the map of 20 × 20 × 512 of VGG-16's layer conv5_3, before its
        ReLU, of pictures of 320 pixels; 1,000 numbers from SoundNet.

        Args:
            program: weigh the metric loss as the authors' program does, which takes the mean of the
                two squares, where the paper has their sum.
        """
        sizes = dict(image=(512, 20, 20), hears="vector", sound=1000)
        if program:
            sizes["metric"] = 0.5
        return cls(**{**sizes, **changes})


# --- The streams of sound -------------------------------------------------------------------------


class Spectrogram(nn.Module):
    """A wave (B, L) as a vector (B, S): the logarithms of a mel spectrogram, its bands as channels,
    two convolutions over time, the mean over time."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        frame = round(FRAME * config.rate)
        self.mel = MelSpectrogram(config.rate, frame, frame // 2, n_mels=BANDS, log="ln")
        self.layers = nn.Sequential(
            nn.BatchNorm1d(BANDS),
            *(nn.Conv1d(BANDS, 128, 5, padding=2), nn.BatchNorm1d(128), nn.ReLU()),
            nn.MaxPool1d(2),
            *(nn.Conv1d(128, 128, 5, padding=2), nn.BatchNorm1d(128), nn.ReLU()),
        )
        self.last = nn.Linear(128, config.sound)
        self.least = frame // 2 + 1  # samples: enough to mirror the ends, and two frames to pool

    def forward(self, waves: Tensor) -> Tensor:
        x = self.mel(waves.to(self.mel.filterbank.dtype))  # (B, bands, M)
        return self.last(self.layers(x.to(self.last.weight.dtype)).mean(-1))


class Wave(nn.Module):
    """A wave (B, L) as a vector (B, S), in the manner of SoundNet: convolutions over the raw wave,
    the mean over time."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.least, below = 1, 1
        for channels, kernel, stride, padding, pool in WAVE:
            layers += [nn.Conv1d(below, channels, kernel, stride, padding)]
            layers += [nn.BatchNorm1d(channels), nn.ReLU(), nn.MaxPool1d(pool)]
            below = channels
        for _, kernel, stride, padding, pool in reversed(WAVE):
            self.least = max(1, (self.least * pool - 1) * stride + kernel - 2 * padding)
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(below, config.sound)

    def forward(self, waves: Tensor) -> Tensor:
        return self.last(self.layers(256 * waves[:, None]).mean(-1))  # 256: as SoundNet hears


def vector(config: Config) -> nn.Module:
    """A vector that a frozen network made: as it is, or through a layer that learns."""
    if not config.given:
        return nn.Identity()
    return nn.Sequential(nn.BatchNorm1d(config.given), nn.Linear(config.given, config.sound))


# --- The model ------------------------------------------------------------------------------------


class Heard(NamedTuple):
    """What a picture is to a sound.

    Attributes:
        video: f_v (B, S), what is seen where the sound made one look.
        sound: f_s (B, S).
        attention: α (B, H, W), each of sum 1.
    """

    video: Tensor
    sound: Tensor
    attention: Tensor


class SoundLocalizer(nn.Module):
    """Looks at a picture for what makes a sound.

    Left to the caller: the frozen network that makes the map, and with ``hears = "vector"`` the one
    that hears.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = c = config
        depth = c.width or c.image[0]  # D
        streams = {"vector": vector, "spectrogram": Spectrogram, "wave": Wave}
        self.stream = streams[c.hears](c)
        self.query = nn.Sequential(
            nn.ReLU(), nn.Linear(c.sound, c.sound), nn.ReLU(), nn.Linear(c.sound, depth)
        )
        cells = 0 if c.places == "none" else c.image[1] * c.image[2]
        self.cells = Places(c.image[0], c.width, cells, c.places) if c.width else None
        self.video = nn.Sequential(
            nn.ReLU(), nn.Linear(depth, depth), nn.ReLU(), nn.Linear(depth, c.sound)
        )

    def hear(self, sound: Tensor) -> Tensor:
        """f_s of sounds, (B, S).

        A wave is heard in one piece: ten minutes at 8,000 samples a second take 0.1 GiB as a
        spectrogram and 0.5 GiB raw, beside the wave. As vectors of a SoundNet, whose ``listen``
        reads in windows, they take next to nothing here.

        Args:
            sound: (B, S) vectors (or of the length that is given), or (B, L) waves in [−1, 1] or
                of 16-bit integers, whatever the config says.

        Raises:
            TypeError, ValueError: another shape, NaN, a wave beyond [−1, 1], or one that is too
                short (the least length is in the message).
        """
        if self.config.hears == "vector":
            try:
                x = check_features(sound, (self.config.given or self.config.sound,))
            except ValueError as error:
                raise ValueError(f"sound: {error}") from None
            return self.stream(x)
        x = check_waves(sound)
        if x.shape[1] < self.stream.least:
            raise ValueError(
                f"a wave of {x.shape[1]} samples is too short, the least is {self.stream.least}"
            )
        return self.stream(x)

    def see(self, features: Tensor) -> Tensor:
        """The cells of maps (B, C, H, W): v (B, L, D), as they are, or as annotations."""
        x = check_features(features, self.config.image).flatten(2).transpose(1, 2)
        return x if self.cells is None else self.cells(x)

    def scores(self, cells: Tensor, queries: Tensor) -> Tensor:
        """What the softmax of the attention gets, (B, N, L): β max(0, cos(v_i, h)).

        Args:
            cells: v (B, L, D) of :meth:`see`.
            queries: h (B, N, D), N for each picture. One picture may meet many sounds, and one
                sound many pictures: the B of either may be 1.
        """
        check_pairs(len(cells), len(queries))
        cosine = F.normalize(queries, dim=-1) @ F.normalize(cells, dim=-1).transpose(1, 2)
        return self.config.sharpness * (torch.relu(cosine) if self.config.rectify else cosine)

    def attended(self, cells: Tensor, scores: Tensor) -> Tensor:
        """f_v (B, N, S), from what is seen: z = Σ_i α_i v_i, α the softmax of scores (B, N, L)."""
        return self.video(scores.softmax(-1) @ cells)

    def forward(self, features: Tensor, sound: Tensor) -> Heard:
        """Look where the sound comes from; of pictures or of sounds there may be just one for all
        of the others."""
        cells, heard = self.see(features), self.hear(sound)
        scores = self.scores(cells, self.query(heard)[:, None])  # (B, 1, L)
        attention = scores[:, 0].softmax(-1).unflatten(1, self.config.image[1:])
        return Heard(self.attended(cells, scores)[:, 0], heard, attention)

    @torch.no_grad()
    def where(self, features: Tensor, sound: Tensor) -> Tensor:
        """The map α (B, H, W) alone: any sound with any picture."""
        return self(features, sound).attention

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """metric · L_U + supervision · L_S: unsupervised, supervised (metric 0), or both.

        Args:
            batch: ``"features"`` (B, C, H, W); ``"sound"``, as for :meth:`hear`; if the caller
                chooses, ``"negative"``, the sound of another clip for each (or one for all), else
                another of the batch is drawn (in ``eval`` mode the next one is taken);
                ``"annotation"`` (B, H, W), where people saw the source, all 0 where nobody looked,
                or (B, N, H, W) of N people, of whom one is drawn (in ``eval`` mode their mean).

        Returns:
            ``"loss"``; for the eye ``"metric"`` and ``"supervised"``, where they are a part of it,
            and ``"nearest"``: how often the own sound is the nearest.
        """
        c, terms = self.config, {}
        cells, heard = self.see(batch["features"]), self.hear(batch["sound"])
        if len(cells) != len(heard):
            raise ValueError(f"{len(cells)} pictures but {len(heard)} sounds; each needs its own")
        loss = cells.new_zeros(())
        if c.metric:
            distances = self.distances(cells, heard, batch.get("negative"))
            terms["metric"] = metric_loss(distances, c.objective)
            loss = loss + c.metric * terms["metric"]
            terms["nearest"] = (distances[:, :1] < distances[:, 1:]).all(1).float().mean()
        if c.supervision and "annotation" in batch:
            drawn = self.drawn(check_annotation(batch["annotation"], len(cells), c.image[1:]))
            scores = self.scores(cells, self.query(heard)[:, None])[:, 0]  # (B, L)
            terms["supervised"] = supervised_loss(scores.log_softmax(-1), drawn)
            loss = loss + c.supervision * terms["supervised"]
        elif not c.metric:
            raise ValueError("without the metric loss the batch needs 'annotation'")
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}

    def distances(self, cells: Tensor, heard: Tensor, negative: Tensor | None = None) -> Tensor:
        """How far what is seen lies from the own sound, and then from others: (B, 1 + N).

        Args:
            cells: v (B, L, D) of :meth:`see`.
            heard: f_s (B, S) of :meth:`hear`.
            negative: sounds of others, if the caller chooses; see :meth:`loss`.
        """
        c, size = self.config, len(heard)
        here = torch.arange(size, device=heard.device)[:, None]  # (B, 1)
        if negative is not None:
            if c.negatives == "all":
                raise ValueError("negatives = 'all' takes those of the batch: leave out 'negative'")
            other = self.hear(negative)
            check_pairs(size, len(other))
            heard = torch.cat([heard, other.expand(size, -1)])
            which = torch.cat([here, here + size], 1)
        elif size < 2:
            raise ValueError("one clip alone has no other sound: give 'negative' or a larger batch")
        else:
            steps = here[1:].T  # to the next, to the one behind it, …
            if c.negatives == "one":
                steps = steps[:, :1]
                if self.training:
                    steps = torch.randint(1, size, (size, 1), device=heard.device)
            which = torch.cat([here, (here + steps) % size], 1)  # (B, 1 + N)
        asking = which if c.asks == "each" else here
        video = self.attended(cells, self.scores(cells, self.query(heard)[asking]))
        return torch.linalg.vector_norm(video - heard[which], dim=-1)

    def drawn(self, annotation: Tensor) -> Tensor:
        """What people drew (B, N, L), as distributions over the cells (B, L): of one of them in
        training, else of all; 0 where nobody drew."""
        maps = annotation / annotation.sum(-1, keepdim=True).clamp(min=1e-12)
        there = maps.sum(-1)  # (B, N), 1 or 0
        if self.training and maps.shape[1] > 1:
            # nobody drew: anyone will do
            one = torch.multinomial(there + (there.sum(1, keepdim=True) == 0), 1)
            return maps.take_along_dim(one[..., None], 1)[:, 0]
        return maps.sum(1) / there.sum(1, keepdim=True).clamp(min=1)


# --- The losses -----------------------------------------------------------------------------------


def metric_loss(distances: Tensor, objective: str = "ratio") -> Tensor:
    """Near its own sound, far from others.

    With d⁺ the distance from the own sound and d⁻ from another's, the paper's ratios are
    [p⁺, p⁻] = softmax(d⁺, d⁻), and its loss is ‖[p⁺, p⁻] − [0, 1]‖² = 2 (p⁺)². The same with any
    number of others: q = softmax(−d) should be 1 at the own sound and 0 at all others, and the loss
    is the squared distance from that. For one other sound q = [p⁻, p⁺].

    Args:
        distances: (B, 1 + N), the own sound's first.
        objective: ``"ratio"``, or ``"log"``: −log q at the own sound.

    Returns:
        the mean over the batch.
    """
    if distances.ndim != 2 or distances.shape[1] < 2:
        raise ValueError(
            f"distances must be (B, 1 + N), N at least 1, got {tuple(distances.shape)}"
        )
    if objective == "log":
        return -(-distances).log_softmax(1)[:, 0].mean()
    q = (-distances).softmax(1)
    return (q[:, 1:].square().sum(1) + (1 - q[:, 0]).square()).mean()


def supervised_loss(log_attention: Tensor, drawn: Tensor) -> Tensor:
    """The cross-entropy −Σ_i α_i^GT log α_i, mean over the batch; a row without a drawn map adds 0
    (the paper's λ).

    Args:
        log_attention: log α (B, L).
        drawn: α^GT (B, L), rows of sum 1, or 0.
    """
    return -(drawn * log_attention).sum(1).mean()


# --- How the field scores maps --------------------------------------------------------------------


def on_cells(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """How much of each cell of a grid masks (…, H, W) cover, (…, h, w) in [0, 1].

    Raises:
        ValueError: pixels that cannot be shared out evenly.
    """
    if masks.shape[-2] % grid[0] or masks.shape[-1] % grid[1]:
        raise ValueError(f"{tuple(masks.shape[-2:])} pixels do not make {grid} equal cells")
    flat = masks.reshape(-1, 1, *masks.shape[-2:]).to(torch.get_default_dtype())
    return F.adaptive_avg_pool2d(flat, grid).view(*masks.shape[:-2], *grid)


def consensus(drawn: Tensor, agree: int = 2) -> Tensor:
    """What several people drew, as one map g = min(Σ_j b_j / agree, 1), float64 (N, H, W).

    Args:
        drawn: (N, J, H, W) of J people, bool or numbers in [0, 1].
        agree: how many people must agree for a full score; the paper has three people and 2.
    """
    if drawn.ndim != 4 or 0 in drawn.shape or not 1 <= agree <= drawn.shape[1]:
        raise ValueError(
            f"drawn must be (N, J, H, W) with at least agree = {agree} people, got "
            f"{tuple(drawn.shape)}"
        )
    return (check_range("drawn", drawn).sum(1) / agree).clamp(max=1)


def heat(attention: Tensor, size: tuple[int, int]) -> Tensor:
    """Attention (N, h, w) as a heat map of the picture, float64 (N, H, W): interpolated, and then
    stretched to [0, 1]. An even map has no warm place: all 0."""
    if attention.ndim != 3 or 0 in attention.shape or not bool(attention.isfinite().all()):
        raise ValueError(f"attention must be finite (N, h, w), got {tuple(attention.shape)}")
    x = F.interpolate(attention.detach().double()[:, None], size, mode="bilinear")[:, 0]
    low, high = x.amin((1, 2), keepdim=True), x.amax((1, 2), keepdim=True)
    uneven = high - low > 1e-6 * high.abs()
    return torch.where(uneven, (x - low) / (high - low).clamp(min=1e-300), 0.0)


def ciou(heat: Tensor, truth: Tensor, threshold: float | str = 0.5) -> Tensor:
    """The consensus intersection over union of heat maps with what people agree on.

    With A the pixels hotter than a threshold and g the consensus: Σ_{i∈A} g_i, divided by
    Σ_i g_i + |{i ∈ A: g_i = 0}|.

    Args:
        heat: (N, H, W) in [0, 1].
        truth: g (N, H, W) in [0, 1]; see :func:`consensus`.
        threshold: a number, 0.5 in the paper; or ``"median"``: A is the hotter half of each map
            (what some later programs compute under the same name).

    Returns:
        float64 (N,) in [0, 1].

    Raises:
        ValueError: shapes that differ, numbers outside [0, 1], or a truth without any pixel.
    """
    heat, truth = check_range("heat", heat), check_range("truth", truth)
    if heat.ndim != 3 or heat.shape != truth.shape or 0 in heat.shape:
        raise ValueError(
            f"heat and truth must be (N, H, W) alike, got {tuple(heat.shape)} and "
            f"{tuple(truth.shape)}"
        )
    if bool((empty := truth.sum((1, 2)) == 0).any()):
        raise ValueError(f"the truth of map {int(empty.nonzero()[0])} is empty: leave it out")
    if threshold == "median":
        middle = heat[0].numel() // 2
        hot = heat > heat.flatten(1).sort().values[:, middle, None, None]
    elif isinstance(threshold, str) or not 0 <= threshold < 1:
        raise ValueError(f"threshold must be in [0, 1), or 'median', got {threshold!r}")
    else:
        hot = heat > threshold
    outside = (hot & (truth == 0)).sum((1, 2))
    return (truth * hot).sum((1, 2)) / (truth.sum((1, 2)) + outside)


def success(overlaps: Tensor, least: float = 0.5) -> float:
    """The share of maps whose cIoU is at least so large: cIoU@0.5."""
    return float((check_overlaps(overlaps) >= least).double().mean())


def auc(overlaps: Tensor) -> float:
    """The area under the rate of success over the overlap that is asked for, from 0 to 1 in steps
    of 0.05 (the trapezoid rule, as the field's programs have it)."""
    rates = torch.tensor([success(overlaps, least) for least in OVERLAPS], dtype=torch.float64)
    return float(torch.trapezoid(rates, torch.tensor(OVERLAPS, dtype=torch.float64)))


# --- Checks ---------------------------------------------------------------------------------------


def check_pairs(pictures: int, sounds: int) -> None:
    """Raise a ValueError unless there are as many pictures as sounds, or one of either."""
    if pictures != sounds and 1 not in (pictures, sounds):
        raise ValueError(f"{pictures} pictures but {sounds} sounds; as many, or one for all")


def check_annotation(annotation: Tensor, size: int, grid: tuple[int, int]) -> Tensor:
    """What people drew, (B, N, L) numbers.

    Raises:
        ValueError: another shape; or (on the CPU) negative numbers, NaN or infinity.
    """
    shape = tuple(annotation.shape) if isinstance(annotation, Tensor) else type(annotation).__name__
    if (
        not isinstance(annotation, Tensor)
        or len(shape) not in (3, 4)
        or (shape[0], *shape[-2:]) != (size, *grid)
        or 0 in shape
    ):
        raise ValueError(f"annotation must be {(size, *grid)} or {(size, 'N', *grid)}, got {shape}")
    if not annotation.is_floating_point():
        annotation = annotation.to(torch.get_default_dtype())
    if annotation.device.type == "cpu" and not bool(
        ((annotation >= 0) & annotation.isfinite()).all()
    ):
        raise ValueError("annotation must be finite and not negative")
    return annotation.reshape(size, -1, grid[0] * grid[1])


def check_range(name: str, x: Tensor) -> Tensor:
    """Numbers in [0, 1], or bool, as float64."""
    x = torch.as_tensor(x).detach().double()
    if not bool(((x >= 0) & (x <= 1)).all()):  # false for NaN too
        raise ValueError(f"{name} must lie in [0, 1] without NaN")
    return x


def check_overlaps(overlaps: Tensor) -> Tensor:
    """cIoU (N,), at least one."""
    x = check_range("overlaps", overlaps)
    if x.ndim != 1 or not len(x):
        raise ValueError(f"overlaps must be (N,), at least one, got {tuple(x.shape)}")
    return x
