"""Speech2Face: what does a voice tell of the face behind it?

A video of somebody who talks has a face and a voice at the same time, and nobody need label it. A
face network, trained long ago and frozen, makes a vector of the face. A voice network hears a few
seconds of speech and has to say the same vector. A second frozen network draws a face from such a
vector: from the front, with no expression. So one can look at what was heard (Oh, Dekel, Kim,
Mosseri, Freeman, Rubinstein and Matusik, CVPR 2019).

Three networks, and only one of them learns from voices:

=====================  ======================================  ================
network                from → to                               learns
=====================  ======================================  ================
:class:`FaceEncoder`   picture → face vector → whose face      before, on faces
:class:`FaceDecoder`   face vector → picture from the front    before, on faces
:class:`VoiceEncoder`  speech → face vector                    now
=====================  ======================================  ================

What comes out is no portrait of the speaker. It is the mean of the faces that go with such voices
in the training data, and it is blind to everything that no voice tells.

Read from top to bottom: the settings, what the voice encoder reads, the table of its layers, the
three networks, the loss, what one asks of the trained system.

Sources: sections 3 and 3.1 of the paper, its table 1; where they leave a choice open (padding, how
the frequencies enter the last layers) the layer sizes of a public re-implementation's log.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtutor import sound
from mmtutor.kit.vision import check_features, rgb
from mmtutor.kit.waves import check_waves, to_wave


class Layer(NamedTuple):
    """A convolution over time and frequency without padding, and the pool behind it.

    Attributes:
        channels: of its output.
        kernel: steps of time and of frequency that it looks at.
        stride: from one to the next, in time and in frequency.
        pool: maximum over so many steps of time, without overlap; 0 for none.
    """

    channels: int
    kernel: tuple[int, int] = (4, 4)
    stride: tuple[int, int] = (1, 1)
    pool: int = 0


#: Table 1 of the paper, up to the mean over time.
PAPER = (
    Layer(64),
    Layer(64),
    Layer(128, pool=2),
    Layer(128, pool=2),
    Layer(128, pool=2),
    Layer(256, pool=2),
    Layer(512),
    Layer(512, stride=(2, 2)),
    Layer(512, stride=(2, 2)),
)
#: For five seconds at 8,000 samples a second, 129 frequencies.
SMALL = (
    Layer(8, (4, 4), (2, 2)),
    Layer(24, (4, 4), (1, 2), pool=2),
    Layer(32, (4, 4), (1, 2)),
    Layer(64, (4, 4), (1, 2)),
)
#: The same for 257 frequencies, of frames twice as long: what is left of them are the same bands.
FINE = (*SMALL[:-1], Layer(64, (4, 4), (1, 3)))


@dataclass(frozen=True)
class Config:
    """Sizes and choices of the three networks.

    Args:
        rate: samples a second of the waves.
        seconds: of speech that the voice encoder reads at once.
        window: samples in a frame (a Hann window).
        hop: samples from one frame to the next.
        n_fft: samples of the Fourier transform; a frame is filled up with zeros.
        power: to which the magnitude is raised; without ``smooth`` the real and the imaginary part
            each, the sign kept.
        smooth: so many frequencies, an odd number from 3 on, over which the magnitude, raised to ``power``,
            is averaged: that speaks of the throat. What is left are the stripes of the pitch. The
            voice encoder reads these two. 0: real and imaginary part, as in the paper.
        stack: the convolutions of the voice encoder.
        spread: whether the layers behind the convolutions get the standard deviation over time
            beside the mean. The paper takes the mean alone.
        hidden: width of its layer between the convolutions and the face vector.
        dropout: on that layer's input, while training; 0 in the paper.
        piece: while training, so many seconds from anywhere in the wave are heard; 0 for all of it.
        feature: numbers in a face vector, D.
        pixels: side of a face's picture.
        shrink: the face encoder reads the picture's means over so many pixels a side.
        blocks: of the face encoder: pairs (convolutions, channels), each followed by a pool of 2.
        face_hidden: width of its layer before the face vector; 0 for none.
        normed: whether batch normalisation stands behind its convolutions.
        people: K, whose faces its last layer tells apart.
        points: numbers that tell the decoder's shape of a face: where its eyes, ears, … lie.
        decoder_first: width of the decoder's first layer.
        decoder_side: side of the decoder's first map.
        decoder_channels: of its maps, from the first to the last; the side doubles from one to the
            next, and from the last to the picture.
        weights: λ₁ of the distance between face vectors of length 1, λ₂ of the distillation. The
            distance in the decoder's first layer has 1.
        shape: λ₃, of the distance between the points of the two faces, as the decoder places them
            (see :meth:`Speech2Face.gauge`); 0 in the paper. (Its decoder has such points, too.)
        temperature: T of the distillation.
    """

    rate: int = 8000
    seconds: float = 5.0
    window: int = 200
    hop: int = 100
    n_fft: int = 256
    power: float = 0.3
    smooth: int = 0
    stack: tuple[Layer, ...] = SMALL
    spread: bool = True
    hidden: int = 64
    dropout: float = 0.2
    piece: float = 2.5
    feature: int = 64
    pixels: int = 64
    shrink: int = 2
    blocks: tuple[tuple[int, int], ...] = ((1, 16), (1, 32), (1, 64))
    face_hidden: int = 0
    normed: bool = True
    people: int = 480
    points: int = 14
    decoder_first: int = 128
    decoder_side: int = 32
    decoder_channels: tuple[int, ...] = (12,)
    weights: tuple[float, float] = (150.0, 10.0)
    shape: float = 0.0
    temperature: float = 2.0

    def __post_init__(self) -> None:
        # plain tuples, if read from a file
        stack = tuple(Layer(own[0], *map(tuple, own[1:3]), *own[3:]) for own in self.stack)
        object.__setattr__(self, "stack", stack)
        for name in ("blocks", "decoder_channels", "weights"):
            own = (tuple(x) if isinstance(x, list) else x for x in getattr(self, name))
            object.__setattr__(self, name, tuple(own))
        if not stack or not self.blocks or not self.decoder_channels:
            raise ValueError("stack, blocks and decoder_channels must each have an entry")
        whole = ("rate", "window", "hop", "n_fft", "hidden", "feature", "pixels", "people")
        whole += ("shrink", "points", "decoder_first", "decoder_side")
        for name in whole:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if self.n_fft < self.window:
            raise ValueError(
                f"n_fft must hold the window of {self.window} samples, got {self.n_fft}"
            )
        if isinstance(self.smooth, bool) or not isinstance(self.smooth, int) or self.smooth < 0:
            raise ValueError(f"smooth must be a whole number of at least 0, got {self.smooth!r}")
        most = self.n_fft // 2 + 1
        if self.smooth and (self.smooth % 2 == 0 or not 3 <= self.smooth <= most):
            raise ValueError(
                f"smooth must be 0, or odd and from 3 to all {most} frequencies (with 1 nothing "
                f"would be left beside the mean), got {self.smooth}"
            )
        if not 0 < self.power <= 1:
            raise ValueError(f"power must lie in (0, 1], got {self.power}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")
        if len(self.weights) != 2 or not all(0 <= w < math.inf for w in self.weights):
            raise ValueError(
                f"weights must be two finite numbers, none negative, got {self.weights}"
            )
        if not 0 <= self.shape < math.inf:
            raise ValueError(f"shape must be a finite weight of at least 0, got {self.shape}")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")
        unit = self.shrink * 2 ** len(self.blocks)
        if self.pixels % unit:
            raise ValueError(
                f"a shrink of {self.shrink} and {len(self.blocks)} blocks, each of which halves the "
                f"picture: pixels must be a multiple of {unit}, got {self.pixels}"
            )
        drawn = self.decoder_side * 2 ** len(self.decoder_channels)
        if drawn != self.pixels:
            raise ValueError(
                f"the decoder would draw {drawn} pixels ({self.decoder_side}, doubled "
                f"{len(self.decoder_channels)} times), but pixels is {self.pixels}"
            )
        if not 0 <= self.piece <= self.seconds:
            raise ValueError(f"piece must lie in 0 to {self.seconds} seconds, got {self.piece}")
        if self.piece:
            table(self, self.piece)
        table(self)  # raises if the speech is too short for the stack

    @classmethod
    def world(cls, **changes: Any) -> Config:
        """Trains on two CPU cores in about three minutes, faces and voices together.

        It hears otherwise than the paper: in frames of 50 ms, in which the stripes of a low pitch
        stand apart, without the phase, throat and pitch apart (Fant 1960). Its middle is narrow,
        and its loss pays for the points of a face by themselves.
        """
        return cls(
            **{
                **dict(window=400, n_fft=512, smooth=17, stack=FINE),
                **dict(hidden=32, dropout=0.4, shape=40.0),
                **changes,
            }
        )

    @classmethod
    def paper(cls, **changes: Any) -> Config:
        """The published sizes: six seconds at 16,000 samples a second; VGG-Face, whose layers
        before the last but one have 4,096 numbers and whose last tells 2,622 people apart.

        The decoder's weights and sizes were never published but for its first layer, of 1,000; the
        rest here is a plain one of that kind, with 68 points in the plane.
        """
        return cls(
            **{
                **dict(rate=16000, seconds=6.0, window=400, hop=160, n_fft=512, stack=PAPER),
                **dict(spread=False, dropout=0.0, piece=0.0),
                **dict(hidden=4096, feature=4096, pixels=224, people=2622, normed=False),
                **dict(shrink=1, weights=(0.025, 200.0)),
                **dict(blocks=((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))),
                **dict(face_hidden=4096, points=136, decoder_first=1000, decoder_side=14),
                **dict(decoder_channels=(256, 128, 64, 32)),
                **changes,
            }
        )

    @property
    def samples(self) -> int:
        """Samples of speech that the voice encoder reads at once."""
        return round(self.rate * self.seconds)


# --- What the voice encoder reads -----------------------------------------------------------------


def compressed(waves: Tensor, config: Config) -> Tensor:
    """The complex spectrogram of waves, its real and its imaginary part compressed, each by itself:
    sgn(s) |s|^0.3. With ``config.smooth`` the magnitude, compressed likewise, in two parts: its mean
    over neighbouring frequencies, and what is left.

    Speech has few loud numbers and many small ones; the power brings them nearer to one another.
    (Each part by itself turns the phase a little, by at most 0.37 rad: so does the paper.)

    Args:
        waves: (B, L) numbers in [−1, 1] or 16-bit integers, L at least a window.

    Returns:
        (B, 2, T, F): real and imaginary, or smooth and rest; T = 1 + ⌊(L − window) / hop⌋ frames; F = n_fft / 2 + 1
        frequencies, from 0 to half the rate.
    """
    x = check_waves(waves)
    frames = sound.frame(x, config.window, config.hop)  # (B, T, window)
    hann = sound.get_window("hann", config.window, dtype=x.dtype, device=x.device)
    s = torch.fft.rfft(frames * hann, n=config.n_fft)  # (B, T, F)
    if config.smooth:
        loud = s.abs() ** config.power
        sides = dict(padding=config.smooth // 2, count_include_pad=False)  # fewer at the edges
        smooth = F.avg_pool1d(loud, config.smooth, stride=1, **sides)  # along F
        return torch.stack([smooth, loud - smooth], 1)
    s = torch.stack([s.real, s.imag], 1)  # (B, 2, T, F)
    return s.sign() * s.abs() ** config.power


class Row(NamedTuple):
    """A layer as it stands in the paper's table: its name, channels, size of its output in time and
    frequency, and parameters (those of the batch normalisation behind it included)."""

    name: str
    channels: int
    time: int
    frequency: int
    weights: int


def table(config: Config, seconds: float | None = None) -> list[Row]:
    """The layers of the voice encoder, from the spectrogram to the face vector.

    Args:
        seconds: of speech; by default what the config reads. The mean over time takes any length
            that leaves a step.

    Raises:
        ValueError: the speech is too short; the message has the least number of frames.
    """
    samples = config.samples if seconds is None else round(config.rate * seconds)
    least = least_frames(config)
    time = max(0, 1 + (samples - config.window) // config.hop)
    if time < least:
        raise ValueError(
            f"{samples} samples make {time} frames, and the stack needs at least {least} "
            f"({((least - 1) * config.hop + config.window) / config.rate:.3g} s)"
        )
    rows, below = [], 2
    frequency = config.n_fft // 2 + 1
    rows.append(Row("spectrogram", 2, time, frequency, 0))
    for i, own in enumerate(config.stack, 1):
        time = (time - own.kernel[0]) // own.stride[0] + 1
        frequency = (frequency - own.kernel[1]) // own.stride[1] + 1
        if frequency < 1:
            raise ValueError(f"no frequency is left after convolution {i} of the stack")
        last = i == len(config.stack)  # its batch normalisation stands behind the mean
        weights = own.channels * (below * math.prod(own.kernel) + (1 if last else 3))
        rows.append(Row(f"conv{i}", own.channels, time, frequency, weights))
        if own.pool:
            time //= own.pool
            rows.append(Row(f"pool{i}", own.channels, time, frequency, 0))
        below = own.channels
    below *= 1 + config.spread
    rows.append(Row("mean and spread" if config.spread else "mean", below, 1, frequency, 2 * below))
    rows.append(Row("fc1", config.hidden, 1, 1, config.hidden * (below * frequency + 1)))
    rows.append(Row("fc2", config.feature, 1, 1, config.feature * (config.hidden + 1)))
    return rows


def least_frames(config: Config) -> int:
    """The fewest frames of which the last convolution makes one step."""
    frames = 1
    for own in reversed(config.stack):
        frames = (frames * (own.pool or 1) - 1) * own.stride[0] + own.kernel[0]
    return frames


# --- The three networks ---------------------------------------------------------------------------


class VoiceEncoder(nn.Module):
    """Speech → face vector: the only network that learns from voices.

    Convolution, ReLU, batch normalisation, in this order; pools shorten time only, so that the
    frequencies, which tell of the throat, are kept apart. Then the mean over all time: speech of
    any length gives one vector.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = c = config
        channels = [2, *(own.channels for own in c.stack)]
        self.conv = nn.ModuleList(
            nn.Conv2d(below, own.channels, own.kernel, own.stride)
            for below, own in zip(channels, c.stack)
        )
        told = channels[-1] * (1 + c.spread)
        self.norm = nn.ModuleList(nn.BatchNorm2d(n) for n in (*channels[1:-1], told))
        self.drop = nn.Dropout(c.dropout)
        self.fc1 = nn.Linear(told * table(c)[-3].frequency, c.hidden)
        self.fc2 = nn.Linear(c.hidden, c.feature)

    def read(self, spectrogram: Tensor) -> Tensor:
        """Compressed spectrograms (B, 2, T, F) → face vectors (B, D)."""
        # the same numbers in another order in memory, with which convolutions on a CPU are faster
        x = spectrogram.contiguous(memory_format=torch.channels_last)
        for own, conv, norm in zip(self.config.stack[:-1], self.conv, self.norm):
            x = norm(torch.relu(conv(x)))  # (B, C, T, F)
            if own.pool:
                x = F.max_pool2d(x, (own.pool, 1))
        # the mean over time comes before the last ReLU
        x = self.conv[-1](x)  # (B, C, T, F)
        mean = x.mean(2, keepdim=True)  # (B, C, 1, F)
        if self.config.spread:  # of a single step it is 0; the root has no slope there
            spread = ((x - mean).square().mean(2, keepdim=True) + 1e-5).sqrt()
            mean = torch.cat([mean, spread], 1)  # (B, 2 C, 1, F)
        x = self.norm[-1](torch.relu(mean)).flatten(1)  # (B, C · F)
        return self.fc2(torch.relu(self.fc1(self.drop(x))))

    def forward(self, waves: Tensor) -> Tensor:
        """Speech (B, L) → face vectors (B, D).

        Silence gives the vector of an empty spectrogram, which means nothing, and two voices at
        once give one vector for both: the network cannot know. :meth:`Speech2Face.hear` refuses
        silence.

        Raises:
            TypeError, ValueError: no waves as :func:`mmtutor.kit.waves.check_waves` wants them, or
                too short for the stack; the message has the least length.
        """
        x = check_waves(waves)
        table(self.config, x.shape[1] / self.config.rate)  # long enough?
        return self.read(compressed(x, self.config))


class FaceEncoder(nn.Module):
    """A picture of a face → face vector → whose face it is.

    Trained to tell people apart in whatever pose and light; its vector is what it knows of a face
    just before it decides. At the paper's scale it is VGG-Face (VGG-16).
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = c = config
        parts: list[nn.Module] = []
        below = 3
        for count, channels in c.blocks:
            for _ in range(count):
                parts += [nn.Conv2d(below, channels, 3, padding=1)]
                parts += [nn.BatchNorm2d(channels)] if c.normed else []
                parts += [nn.ReLU()]
                below = channels
            parts.append(nn.MaxPool2d(2))
        self.body = nn.Sequential(*parts, nn.Flatten())
        width = below * (c.pixels // c.shrink // 2 ** len(c.blocks)) ** 2
        self.hidden = nn.Linear(width, c.face_hidden) if c.face_hidden else None
        self.vector = nn.Linear(c.face_hidden or width, c.feature)
        self.person = nn.Linear(c.feature, c.people)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, S, S), uint8 or floats in [0, 1] → face vectors (B, D).

        Raises:
            TypeError, ValueError: not pictures, NaN, or of another size.
        """
        x = rgb(pictures, waits=not self.training)
        side = self.config.pixels
        if x.shape[2:] != (side, side):
            raise ValueError(
                f"the face encoder reads {side} × {side} pixels, got {x.shape[3]} × {x.shape[2]}"
            )
        if self.config.shrink > 1:
            x = F.avg_pool2d(x, self.config.shrink)
        x = self.body((2 * x - 1).to(self.vector.weight.dtype))
        if self.hidden is not None:
            x = torch.relu(self.hidden(x))
        return self.vector(x)

    def people(self, vectors: Tensor) -> Tensor:
        """Face vectors (B, D) → logits of whose face it is (B, K): the last layer."""
        return self.person(torch.relu(vectors))


class FaceDecoder(nn.Module):
    """Face vector → the face from the front, with no expression, in even light; and its shape.

    The paper's decoder (of Cole et al., CVPR 2017) draws a texture, says where the points of the
    face lie, and bends the one to the other. Ours draws the picture itself, and says the points
    beside it.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = c = config
        self.start = nn.Linear(c.feature, c.decoder_first)
        self.place = nn.Linear(c.decoder_first, c.points)
        side, channels = c.decoder_side, c.decoder_channels
        self.spread = nn.Linear(c.decoder_first, channels[0] * side * side)
        self.maps = nn.ModuleList(
            nn.Conv2d(below, own, 3, padding=1) for below, own in pairwise(channels)
        )
        self.colour = nn.Conv2d(channels[-1], 12, 3, padding=1)

    def first(self, vectors: Tensor) -> Tensor:
        """What the decoder's first layer makes of face vectors: (B, D) → (B, decoder_first)."""
        return torch.relu(self.start(vectors))

    def shape(self, vectors: Tensor) -> Tensor:
        """Face vectors (B, D) → where the points of the face lie, (B, P), each in standard
        deviations from the mean face's."""
        return self.place(self.first(vectors))

    def forward(self, vectors: Tensor) -> Tensor:
        """Face vectors (B, D) → pictures (B, 3, S, S) in [0, 1]."""
        vectors = check_features(vectors, (self.config.feature,))
        side = self.config.decoder_side
        x = torch.relu(self.spread(self.first(vectors))).view(len(vectors), -1, side, side)
        for conv in self.maps:
            x = torch.relu(conv(F.interpolate(x, scale_factor=2.0, mode="bilinear")))
        return torch.sigmoid(F.pixel_shuffle(self.colour(x), 2))


class Faces(nn.Module):
    """The face encoder and the face decoder while they learn, on faces alone and once.

    Three terms: whose face it is, the same face from the front, and its shape. (In the paper the encoder learned
    the first, the decoder then the others on the frozen encoder. Here both learn together: with few
    people a hat and a colour tell who it is, and the shape of the head would be forgotten.)
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = FaceEncoder(config)
        self.decoder = FaceDecoder(config)

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``"person"``, the cross-entropy of whose face it is, in nats; ``"picture"``, the mean
        squared error of the drawn face, times 500, so that both weigh alike; ``"shape"``, that of the points, times 5.

        Args:
            batch: ``"image"`` (B, 3, S, S) in any pose, ``"front"`` (B, 3, S, S) the same face from
                the front, ``"person"`` (B,) its number, ``"shape"`` (B, P) where its points lie, in
                standard deviations from the mean face's.
        """
        vectors = self.encoder(batch["image"])
        person = F.cross_entropy(self.encoder.people(vectors), batch["person"])
        picture = F.mse_loss(
            self.decoder(vectors), rgb(batch["front"], waits=not self.training).to(vectors.dtype)
        )
        shape = F.mse_loss(self.decoder.shape(vectors), batch["shape"])
        return {"person": person, "picture": 500 * picture, "shape": 5 * shape}


class Speech2Face(nn.Module):
    """The whole system: a voice encoder that learns, a face encoder and a face decoder that do
    not."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.voice = VoiceEncoder(config)
        self.face = FaceEncoder(config)
        self.decoder = FaceDecoder(config)
        if config.shape:
            self.register_buffer("units", torch.eye(config.points))
        self.freeze()

    def freeze(self, faces: Faces | None = None) -> Speech2Face:
        """Take over the weights of trained face networks, if given, and keep them as they are."""
        if faces is not None:
            self.face.load_state_dict(faces.encoder.state_dict())
            self.decoder.load_state_dict(faces.decoder.state_dict())
        for part in (self.face, self.decoder):
            part.requires_grad_(False)
        return self.train(self.training)

    @torch.no_grad()
    def gauge(self, vectors: Tensor, shrink: float = 0.1) -> Speech2Face:
        """From now on measure the distance between the points of two faces in standard deviations
        of known faces, each direction in its own.

        Without it a large head counts most, since most points move with it, and ears next to
        nothing. See ``Config.shape``, without which there is nothing to measure.

        Args:
            vectors: of known faces, (N, D), two or more.
            shrink: as for :func:`fit_match`.

        Raises:
            ValueError: vectors of another shape, fewer than two, not finite, or all alike; or a
                shrink out of range.
            TypeError: a model in half precision.
        """
        check_shrink(shrink)
        check_known(vectors, "vectors", self.config.feature)
        if self.config.shape:
            weight = self.decoder.start.weight
            if weight.dtype not in (torch.float32, torch.float64):
                raise TypeError(
                    f"gauge a model in float32, and cast it afterwards; got {weight.dtype}"
                )
            points = self.decoder.shape(vectors.to(weight))
            check_known(points, "the points of the faces", self.config.points)
            self.units.copy_(torch.linalg.cholesky(inverse(points - points.mean(0), shrink)))
        return self

    @torch.no_grad()
    def settle(
        self, heard: Tensor, seen: Tensor, directions: int = 5, shrink: float = 0.03
    ) -> Speech2Face:
        """After the training: put the voice encoder's last layer right, in closed form.

        A trained network has learned by heart a little of what no voice tells, and its answers are
        too bold. Of them, only a few directions are kept, and in these the answer becomes the best
        linear guess of the face vector.

        Args:
            heard: vectors of the training clips, (N, D), by this network.
            seen: vectors of their speakers' faces, (N, D).
            directions: how many are kept, of the D.
            shrink: as for :func:`fit_match`.

        Raises:
            ValueError: shapes that differ, fewer than two clips, vectors that are not finite or all
                alike, no direction, or a shrink out of range.
            TypeError: directions that are no whole number, or a model in half precision.
        """
        if heard.shape != seen.shape or heard.ndim != 2 or len(heard) < 2:
            raise ValueError(
                "heard and seen must both be (N, D), of two clips or more, got "
                f"{tuple(heard.shape)} and {tuple(seen.shape)}"
            )
        check_shrink(shrink)
        for name, own in (("heard", heard), ("seen", seen)):
            check_known(own, name, self.config.feature)
        if isinstance(directions, bool) or not isinstance(directions, int):
            raise TypeError(f"directions must be a whole number, got {directions!r}")
        if not 1 <= directions <= heard.shape[1]:
            raise ValueError(f"directions must lie in 1 to {heard.shape[1]}, got {directions}")
        last = self.voice.fc2
        if last.weight.dtype not in (torch.float32, torch.float64):
            raise TypeError(
                f"settle a model in float32, and cast it afterwards; got {last.weight.dtype}"
            )
        heard, seen = heard.to(last.weight), seen.to(last.weight)
        mean, usual = heard.mean(0), seen.mean(0)
        line = few_directions(heard - mean, seen - usual, directions, shrink)
        last.weight.copy_(line.T @ last.weight)
        last.bias.copy_((last.bias - mean) @ line + usual)
        return self

    def train(self, mode: bool = True) -> Speech2Face:
        """As of any module; the face networks stay in ``eval`` mode."""
        super().train(mode)
        self.face.eval()
        self.decoder.eval()
        return self

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """How far the heard face vector is from the seen one; see :func:`face_loss`.

        Args:
            batch: ``"wave"`` (B, L), speech; and of the speaker's face ``"vector"`` (B, D), or
                ``"image"`` (B, 3, S, S).
        """
        if "vector" in batch:
            seen = check_features(batch["vector"], (self.config.feature,))
        else:
            with torch.no_grad():
                seen = self.face(batch["image"])
        return face_loss(self, seen, self.voice(self.piece_of(batch["wave"])))

    def piece_of(self, waves: Tensor) -> Tensor:
        """While training, the same piece of each wave, from anywhere: (B, L) → (B, piece)."""
        length = round(self.config.piece * self.config.rate)
        if not self.training or not length or waves.shape[1] <= length:
            return waves
        first = random.randrange(waves.shape[1] - length + 1)  # on no device
        return waves[:, first : first + length]

    # -- what one asks of the trained system

    @torch.no_grad()
    def hear(
        self, samples: Tensor | np.ndarray, rate: int, *, resampled: bool = False, at_once: int = 8
    ) -> Tensor:
        """The face vector (D,) of a recording of any length: the mean over windows that do not
        overlap. Beside the recording it takes the memory of ``at_once`` windows.

        A recording shorter than a window is repeated until it fills one, as in the paper. Two
        voices at once are no error: nothing in the network counts speakers, and it gives the one
        vector that it would give for a single voice of that sound.

        Args:
            samples: (T,) or (1, T), numbers in [−1, 1] or PCM integers.
            rate: samples a second of the recording.
            resampled: bring another rate to the config's; without it, another rate is an error.
            at_once: windows in one batch.

        Raises:
            TypeError, ValueError: no wave (:func:`mmtutor.kit.waves.to_wave`), another rate, less
                than a second, or silence; or a model in training.
        """
        if self.training:
            raise ValueError("hear() is for a trained model: call eval() first")
        c = self.config
        wave = to_wave(samples, rate, c.rate, resampled=resampled)
        if len(wave) < c.rate * LEAST:
            raise ValueError(
                f"{len(wave)} samples are {len(wave) / c.rate:.3g} s, and a voice needs at least "
                f"{LEAST:g} s of speech"
            )
        if float(wave.abs().max()) < SILENT:
            raise ValueError("the recording is silent: there is no voice in it")
        wave = wave.repeat(math.ceil(c.samples / len(wave)))  # once, unless it is short
        windows = wave.unfold(0, c.samples, c.samples)  # (N, samples), a view
        sums = [self.voice(own).sum(0) for own in windows.split(at_once)]
        return torch.stack(sums).sum(0) / len(windows)

    @torch.no_grad()
    def see(self, pictures: Tensor) -> Tensor:
        """The face vectors (B, D) of pictures (B, 3, S, S)."""
        return self.face(pictures)

    @torch.no_grad()
    def draw(self, vectors: Tensor) -> Tensor:
        """Faces (B, 3, S, S) in [0, 1] of face vectors (B, D), heard or seen."""
        return self.decoder(vectors)


#: Seconds of speech that :meth:`Speech2Face.hear` asks for at least.
LEAST = 1.0
#: The loudest sample of what it calls silence.
SILENT = 1e-4


# --- The loss -------------------------------------------------------------------------------------


def face_loss(model: Speech2Face, seen: Tensor, heard: Tensor) -> dict[str, Tensor]:
    """The terms that compare a heard face vector with the seen one, and their sum:

    L = ‖f_dec(v_f) − f_dec(v_s)‖₁ + λ₁ ‖v_f / |v_f| − v_s / |v_s|‖₂² + λ₂ L_dist(p_f, p_s)
        + λ₃ ‖s(v_f) − s(v_s)‖₂²

    The last is not in the paper, and is left out where λ₃ is 0: s are the points of the face that
    the decoder places, measured as :meth:`Speech2Face.gauge` has set. f_dec is the decoder's first layer; p are the distributions over people of the face encoder's
    last layer at temperature T. The sums are over the numbers of a vector, the mean over the batch.

    Args:
        model: with the frozen networks.
        seen: v_f, (B, D).
        heard: v_s, (B, D).

    Returns:
        ``"loss"``; for the eye, ``"decoder"``, ``"vector"`` and ``"person"``, without weights, and
        ``"shape"`` if it counts.
    """
    first = (model.decoder.first(seen) - model.decoder.first(heard)).abs().sum(1).mean()
    between = F.normalize(seen, dim=1) - F.normalize(heard, dim=1)
    vector = between.square().sum(1).mean()
    person = distil_loss(
        model.face.people(seen), model.face.people(heard), model.config.temperature
    )
    one, two = model.config.weights
    total = first + one * vector + two * person
    terms = {"decoder": first, "vector": vector, "person": person}
    if model.config.shape:
        apart = model.decoder.shape(seen) - model.decoder.shape(heard)
        terms["shape"] = (apart @ model.units).square().sum(1).mean()
        total = total + model.config.shape * terms["shape"]
    return {"loss": total, **{name: term.detach() for name, term in terms.items()}}


def distil_loss(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """L_dist(a, b) = −Σ_i p_i(a) log p_i(b) with p_i(a) = e^(a_i / T) / Σ_j e^(a_j / T), the mean
    over the batch; logits (B, K) both."""
    p = (teacher / temperature).softmax(1)
    return -(p * (student / temperature).log_softmax(1)).sum(1).mean()


@torch.enable_grad()
def pulls(model: Speech2Face, seen: Tensor, heard: Tensor) -> dict[str, float]:
    """How hard each term of :func:`face_loss`, without its weight, pulls at the heard vectors: the
    mean length of its gradient. The paper chose λ₁ and λ₂ such that its weighted terms pull alike;
    ``"shape"`` is among them if it counts.
    """
    found = {}
    heard = heard.detach()
    for name in ("decoder", "vector", "person", "shape")[: 3 + (model.config.shape > 0)]:
        v = heard.clone().requires_grad_()
        if name == "decoder":
            term = (model.decoder.first(seen) - model.decoder.first(v)).abs().sum()
        elif name == "vector":
            term = (F.normalize(seen, dim=1) - F.normalize(v, dim=1)).square().sum()
        elif name == "shape":
            apart = model.decoder.shape(seen) - model.decoder.shape(v)
            term = (apart @ model.units).square().sum()
        else:
            logits = model.face.people(seen), model.face.people(v)
            term = len(v) * distil_loss(*logits, model.config.temperature)
        found[name] = float(torch.autograd.grad(term, v)[0].norm(dim=1).mean())
    return found


# --- Whose voice is it? ---------------------------------------------------------------------------


class Match(NamedTuple):
    """How much more probable a face is for a voice than for anybody: a score with which faces are
    sought by voice. See :func:`fit_match`.

    Attributes:
        mean: of all face vectors, (D,).
        error: inverse covariance of what the voice leaves open, v_f − v_s, (D, D).
        face: inverse covariance of face vectors, (D, D).
    """

    mean: Tensor
    error: Tensor
    face: Tensor

    def __call__(self, heard: Tensor, gallery: Tensor) -> Tensor:
        """Scores (Q, N) in nats, but for a constant, of heard vectors (Q, D) and seen ones (N, D).

        log p(v_f | v_s) − log p(v_f), both normal distributions. A hat, of which the voice knows
        nothing, is as improbable in the one as in the other, and drops out; the distance between
        the two vectors, which the paper sorts by, counts it in full.
        """
        between = gallery[None] - heard[:, None]  # (Q, N, D)
        own = gallery - self.mean
        explained = torch.einsum("qnd,de,qne->qn", between, self.error, between)
        usual = torch.einsum("nd,de,ne->n", own, self.face, own)
        return (usual - explained) / 2


def fit_match(heard: Tensor, seen: Tensor, shrink: float = 0.03) -> Match:
    """The :class:`Match` of training speakers' vectors, heard and seen, (N, D) both.

    Args:
        shrink: the share of the mean variance that is added to each direction, in [0, 1], so that
            few speakers suffice.

    Raises:
        ValueError: shapes that differ, fewer than two speakers, or a share out of range.
    """
    if heard.shape != seen.shape or heard.ndim != 2 or len(heard) < 2:
        raise ValueError(
            "heard and seen must both be (N, D), with two speakers or more, got "
            f"{tuple(heard.shape)} and {tuple(seen.shape)}"
        )
    if not 0 <= shrink <= 1:
        raise ValueError(f"shrink must lie in [0, 1], got {shrink}")
    if not ((seen - heard).any() and (seen - seen[0]).any()):
        raise ValueError("heard and seen vectors are the same, or all seen ones are: no covariance")

    mean = seen.mean(0)
    return Match(mean, inverse(seen - heard, shrink), inverse(seen - mean, shrink))


def few_directions(x: Tensor, y: Tensor, directions: int, shrink: float) -> Tensor:
    """The linear map (D, D) from x (N, D) to y (N, D), both of mean 0, that speaks of y in a few
    directions only: those in which x tells most of it, each direction of y measured in standard
    deviations of what x leaves open (reduced-rank regression, Izenman 1975)."""
    line = inverse(x, shrink) @ x.T @ y / len(x)  # in all directions
    units = torch.linalg.cholesky(inverse(y - x @ line, shrink))
    *_, axes = torch.linalg.svd(x @ line @ units, full_matrices=False)  # the most telling first
    few = axes[:directions].T @ axes[:directions]  # onto them
    return line @ units @ few @ torch.linalg.inv(units)


def check_shrink(shrink: float) -> None:
    """Raise a ValueError unless this is a share."""
    if not 0 <= shrink <= 1:
        raise ValueError(f"shrink must be a share, from 0 to 1, got {shrink}")


def check_known(x: Tensor, name: str, size: int) -> None:
    """Raise a ValueError unless these are (N, size) for two faces or more, finite and not all
    alike: what is measured against them is measured in their spread."""
    if x.ndim != 2 or len(x) < 2 or x.shape[1] != size:
        raise ValueError(f"{name} must be (N, {size}), of two or more, got {tuple(x.shape)}")
    if not x.isfinite().all():
        raise ValueError(f"{name} must be finite, but there is NaN or infinity in them")
    x = x.double()
    if float(x.std(0).amax()) <= 1e-5 * float(x.abs().amax()):
        raise ValueError(f"{name} are all alike, so they have no spread to measure in")


def inverse(x: Tensor, shrink: float) -> Tensor:
    """The inverse covariance (D, D) of vectors (N, D) of mean 0, each direction widened a
    little."""
    own = x.T @ x / len(x)
    even = own.diagonal().mean() * torch.eye(len(own), dtype=x.dtype, device=x.device)
    return torch.linalg.inv((1 - shrink) * own + shrink * even)


def strangeness(vectors: Tensor, known: Tensor, shrink: float = 0.03) -> Tensor:
    """How unlike known faces these are, (B,): 0 or more, the same for all usual ones.

    The face encoder has a vector for any picture, a landscape or a wall; only, it lies where no
    face does. This is its distance from the mean of known face vectors, each direction measured in
    its own standard deviations, and divided by √D.

    Args:
        vectors: (B, D), of pictures that may show no face.
        known: (N, D), of faces, two or more.
        shrink: as for :func:`fit_match`.
    """
    if known.ndim != 2 or len(known) < 2 or vectors.shape[1:] != known.shape[1:]:
        raise ValueError(
            "known must be vectors (N, D) of two faces or more, and vectors (B, D), got "
            f"{tuple(known.shape)} and {tuple(vectors.shape)}"
        )
    mean = known.mean(0)
    away, unit = vectors - mean, inverse(known - mean, shrink)
    return (torch.einsum("bd,de,be->b", away, unit, away) / known.shape[1]).clamp(min=0).sqrt()
