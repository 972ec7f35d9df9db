"""Looking to listen: tell voices that speak at once apart, by watching the lips.

One microphone hears the sum of several voices. A network looks at the spectrogram of that sum, and
at the face of everybody whose voice is wanted (Ephrat et al., SIGGRAPH 2018). It answers with a
*mask* for each: one number for each frequency and moment, what to multiply the spectrogram with. A
face says when its lips open and close, and so which sounds are its own; and it says whose voice
comes out where. A network that only hears must guess the order, and its loss must not mind.

Nobody can take a true mixture apart, so training mixes clean voices itself, and knows the answer.

A network that sees lips leans on them alone, and does not learn what hearing by itself is good at:
to tell a high voice from a low one. So ours first takes the voices apart by ear, in any order, then
asks the faces whose is whose, and then watches the lips.

Read from top to bottom: the settings, the spectrogram and back, the two streams and the trunk, whose
voice is whose, the model, its losses, masks that know the answer, mixtures, mouths, the score, the checks.

Sources: the paper; the tables of its layers, which programs of others agree on. Where it is silent
(how a compressed mask is decompressed, what it multiplies, whether its BLSTM has 400 units or 400
in each direction) the choice is in the docstring of :class:`Config`. Ours are the small network,
bounded masks, a last voice that is what the others leave, the loss in decibels, and the first
separation by ear.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmtutor.kit.vision import finite
from mmtutor.kit.waves import check_waves, numbers
from mmtutor.sound import get_window, overlap_add, stft

HEARS = ("magnitude", "complex")
MASKS = ("real", "complex")
OBJECTIVES = ("ratio", "compressed")
#: Masks that know the answer; see :func:`oracle`.
ORACLES = ("binary", "ratio", "Wiener", "phase-sensitive", "complex")
#: As many orders are compared as there are permutations.
MOST_VOICES = 5
#: Of the mixture's energy: an error below it is as good as none, and a voice below it is silent.
FLOOR = 1e-3
#: Added to |X|² before a root is taken of it, or silence had no gradient.
TINY = 1e-8
#: The same where a voice is summed up in bands.
LEAST = 1e-6
#: Where in a picture of a face the mouth is: top, bottom, left and right, as shares of its sides.
MOUTH = (28 / 48, 44 / 48, 12 / 48, 36 / 48)


class Layer(NamedTuple):
    """A convolution, behind it batch normalisation and ReLU. As much comes out as goes in: zeros at
    both ends.

    Attributes:
        channels: of its output.
        kernel: frames that it looks at; or (frames, frequency bins), if it runs over both.
        dilation: from one of them to the next.
    """

    channels: int
    kernel: int | tuple[int, int]
    dilation: int | tuple[int, int] = 1


#: The paper's table of the visual stream.
VISUAL = (Layer(256, 7), *(Layer(256, 5, d) for d in (1, 2, 4, 8, 16)))
#: The paper's table of the audio stream: frames × bins.
AUDIO = (
    Layer(96, (1, 7), (1, 1)),
    Layer(96, (7, 1), (1, 1)),
    *(Layer(96, (5, 5), (d, 1)) for d in (1, 2, 4, 8, 16, 32)),
    *(Layer(96, (5, 5), (d, d)) for d in (1, 2, 4, 8, 16, 32)),
    Layer(8, (1, 1), (1, 1)),
)


@dataclass(frozen=True)
class Config:
    """Sizes and choices of a :class:`CocktailParty`. The defaults are :meth:`world`'s.

    Args:
        voices: N, how many voices come out at once, each with its face; the paper trains a network
            for each N. 1: one face goes in and one voice comes out, and whoever else is heard is
            noise. One such network serves any number of faces, one after another.
        rate: samples a second.
        fps: pictures a second.
        window: samples of a frame of the spectrogram (Hann).
        hop: samples from one frame to the next.
        n_fft: samples of its DFT, zeros around the window; F = n_fft // 2 + 1 bins.
        pad: zeros before and behind the wave. (window − hop) / 2 makes L / hop frames.
        hears: the input: the ``"magnitude"`` of the spectrogram, or both parts of the
            ``"complex"`` numbers (the paper). Either is compressed.
        compression: p, what magnitudes are raised to, so that the loud do not drown the faint.
        standard: (mean, factor): the mean is taken off the input, the rest is multiplied.
        face: size of one picture of a face: a grey mouth (height, width), or the vector of a frozen
            network (the paper: 1,024 numbers of one that recognises faces).
        visual: layers over a face's pictures in time, the same for every face; (): no face is
            looked at, and the order of the voices is not told. ``face`` must be () too.
        audio: layers over the sound; with kernels of one number each frequency is a channel.
        by_ear: dilations of residual convolutions that take the voices apart before a face is looked
            at, in any order; :class:`Match` then finds whose is whose, and the trunk begins with that.
            (): sound and faces are joined at once (the paper).
        by_ear_weight: of the two losses that this adds: of the voices by ear, in their best order,
            and of the same voices in the order that the faces gave them.
        dilations: of the residual convolutions of the trunk; (): a BiLSTM in their place.
        dense: widths of the layers behind the BiLSTM, each with a ReLU.
        width: channels of the convolutions; or of the BiLSTM's output, half from either direction.
            (The paper's figure says 400. Programs of others have 400 in each direction: 800 here.)
        mask: ``"real"``: the mixture keeps its phase; ``"complex"`` turns it too (the paper).
        bounds: (low, high) of the mask, kept by a tanh; of the imaginary part as wide, around 0.
            ``None``: any number. (The paper compresses masks by a sigmoid and does not say how that
            is undone; undone exactly, the mask is what came before the sigmoid.)
        remainder: the last voice's mask is what the others leave of 1. Only where nothing but these
            voices is heard.
        objective: what is made small: the error of ``"compressed"`` spectrograms (the paper), or
            the ``"ratio"`` of error to voice in decibels, which is the same in the signal.
    """

    voices: int = 2
    rate: int = 8000
    fps: int = 25
    window: int = 640
    hop: int = 320
    n_fft: int = 640
    pad: int = 160
    hears: str = "magnitude"
    compression: float = 0.3
    standard: tuple[float, float] = (0.4, 2.5)
    face: tuple[int, ...] = (16, 24)
    visual: tuple[Layer, ...] = (Layer(64, 1), Layer(48, 5), Layer(48, 5))
    audio: tuple[Layer, ...] = (Layer(128, 3),)
    by_ear: tuple[int, ...] = (1, 2, 4)
    by_ear_weight: float = 0.5
    dilations: tuple[int, ...] = (1, 2, 4)
    dense: tuple[int, ...] = ()
    width: int = 128
    mask: str = "real"
    bounds: tuple[float, float] | None = (-0.5, 1.5)
    remainder: bool = True
    objective: str = "ratio"

    def __post_init__(self) -> None:
        for name in ("visual", "audio"):  # plain tuples, if read from a file
            object.__setattr__(self, name, tuple(Layer(*own) for own in getattr(self, name)))
        for name, known in (("hears", HEARS), ("mask", MASKS), ("objective", OBJECTIVES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        if not 1 <= self.voices <= MOST_VOICES:
            raise ValueError(f"voices must be 1 to {MOST_VOICES}, got {self.voices}")
        if self.remainder and self.voices == 1:
            raise ValueError("one voice leaves no other: set remainder = False")
        if min(self.rate, self.fps, self.hop, self.width) < 1:
            raise ValueError(
                "rate, fps, hop and width must be at least 1, got "
                f"{self.rate}, {self.fps}, {self.hop} and {self.width}"
            )
        if not self.hop < self.window <= self.n_fft or not 0 <= self.pad <= self.window // 2:
            raise ValueError(
                "need hop < window <= n_fft and 0 <= pad <= window / 2, got "
                f"{self.hop}, {self.window}, {self.n_fft} and {self.pad}"
            )
        if self.window % 2 or self.n_fft % 2:
            raise ValueError(f"window and n_fft must be even, got {self.window} and {self.n_fft}")
        if not 0 < self.compression <= 1:
            raise ValueError(f"compression must be in (0, 1], got {self.compression}")
        if not all(map(math.isfinite, self.standard)) or not self.standard[1]:
            raise ValueError(f"standard must be finite, its factor not 0, got {self.standard}")
        if bool(self.visual) != bool(self.face) or min(self.face, default=1) < 1:
            raise ValueError(
                "face must have a size if there are visual layers, and be () if there are none, got "
                f"{self.face} and {len(self.visual)} layers"
            )
        if not self.audio or any(isinstance(own.kernel, tuple) for own in self.visual):
            raise ValueError("audio needs a layer, and visual kernels are one number, of frames")
        if len({isinstance(own.kernel, tuple) for own in self.audio}) > 1:
            raise ValueError("audio kernels must all be numbers of frames, or all (frames, bins)")
        for own in (*self.visual, *self.audio):
            if own.channels < 1 or any(k < 1 or k % 2 == 0 or d < 1 for k, d in sides(own)):
                raise ValueError(
                    f"channels and dilations must be at least 1 and kernels odd, got {own}"
                )
        if min((*self.dilations, *self.by_ear, *self.dense), default=1) < 1:
            raise ValueError(f"dilations, by_ear and dense must be at least 1, got {self}")
        if self.by_ear and (not self.visual or not self.dilations or self.voices == 1):
            raise ValueError(
                "voices that are taken apart by ear are given to faces, several of them, and to a trunk "
                "of convolutions: with voices = 1, visual = () or dilations = () set by_ear = ()"
            )
        if not 0 < self.by_ear_weight < math.inf:
            raise ValueError(f"by_ear_weight must be above 0, got {self.by_ear_weight}")
        if self.dilations and self.dense:
            raise ValueError("dense layers stand behind the BiLSTM: with dilations set dense = ()")
        if not self.dilations and self.width % 2:
            raise ValueError(f"the BiLSTM has two directions: width must be even, got {self.width}")
        if self.bounds is not None and not -math.inf < self.bounds[0] < self.bounds[1] < math.inf:
            raise ValueError(f"bounds must be (low, high), finite, or None, got {self.bounds}")

    @classmethod
    def world(cls, **changes: Any) -> Config:
        """700,000 weights that train on two CPU cores in two minutes, on clips of two seconds: a
        frame of the spectrogram a picture, each frequency a channel, dense convolutions in time. A
        network of one voice, one that only hears and one with a BiLSTM have no separation by ear
        before them."""
        if changes.get("voices", 2) == 1:
            changes = {"remainder": False, **changes}
        if changes.get("voices", 2) == 1 or () in (changes.get("visual"), changes.get("dilations")):
            changes = {"by_ear": (), **changes}
        return cls(**changes)

    @classmethod
    def paper(cls, voices: int = 2, **changes: Any) -> Config:
        """The published sizes: three seconds at 16,000 samples a second are 298 frames of 257 bins,
        and 75 vectors of each face.

        Args:
            voices: N; the paper has networks for 1 (beside noise), 2 and 3.
        """
        sizes: dict[str, Any] = dict(
            **dict(rate=16000, window=400, hop=160, n_fft=512, pad=0),
            **dict(hears="complex", standard=(0.0, 1.0), face=(1024,), visual=VISUAL, audio=AUDIO),
            **dict(by_ear=(), dilations=(), dense=(600, 600, 600), width=400),
            **dict(mask="complex", bounds=None, remainder=False, objective="compressed"),
        )
        return cls(**{**sizes, "voices": voices, **changes})

    @property
    def bins(self) -> int:
        """F, frequencies of the spectrogram."""
        return self.n_fft // 2 + 1


# --- The spectrogram, and back --------------------------------------------------------------------


def frames(config: Config, length: int) -> int:
    """M, how many frames the spectrogram of a wave has. Samples behind the last whole one, fewer
    than a hop, are in none.

    Raises:
        ValueError: a wave that is shorter than one frame.
    """
    if length + 2 * config.pad < config.window:
        raise ValueError(
            f"a wave of {length} samples is too short, the least is "
            f"{config.window - 2 * config.pad}"
        )
    return (length + 2 * config.pad - config.window) // config.hop + 1


def padded(config: Config, waves: Tensor) -> Tensor:
    """Waves (…, L) with zeros around them: frame m begins at sample m · hop."""
    before = config.pad + (config.n_fft - config.window) // 2
    total = (frames(config, waves.shape[-1]) - 1) * config.hop + config.n_fft
    behind = total - before - waves.shape[-1]
    return F.pad(waves, (before, behind))  # less than nothing behind: cut off


def hann(config: Config, like: Tensor) -> Tensor:
    """The window (n_fft,), zeros at both sides."""
    around = (config.n_fft - config.window) // 2
    window = get_window("hann", config.window, dtype=like.dtype, device=like.device)
    return F.pad(window, (around, around))


def transform(config: Config, waves: Tensor) -> Tensor:
    """The spectrogram of waves (…, L): complex (…, F, M)."""
    return frames_of(config, padded(config, waves))


def frames_of(config: Config, x: Tensor) -> Tensor:
    """The spectrogram of a stretch of padded waves: its whole frames."""
    X = stft(x, config.n_fft, config.hop, window=hann(config, x), center=False)
    return X.contiguous()  # what is computed with it is twice as fast


def inverse(config: Config, X: Tensor, length: int) -> Tensor:
    """The waves (…, length) whose spectrogram is nearest to X (…, F, M): overlap and add.

    Where hardly any window reaches (with ``pad = 0`` the first and last millisecond) waves fade
    out, and where none reaches there is silence.
    """
    return unpadded(config, synthesis(config, X), length)


def synthesis(config: Config, X: Tensor) -> Tensor:
    """Frames put back where they came from and added up, not yet divided by the windows' sum."""
    pieces = torch.fft.irfft(X.transpose(-1, -2), n=config.n_fft)  # (…, M, n_fft)
    return overlap_add(pieces * hann(config, pieces), config.hop)


def unpadded(config: Config, x: Tensor, length: int) -> Tensor:
    """What :func:`synthesis` gave, divided by Σ_m w²[n − m · hop], without the zeros around."""
    once = x.new_ones(1, 1, (x.shape[-1] - config.n_fft) // config.hop + 1)
    weight = F.conv_transpose1d(once, hann(config, x).square()[None, None], stride=config.hop)
    before = config.pad + (config.n_fft - config.window) // 2
    x = (x / weight[0, 0].clamp(min=1e-3))[..., before:][..., :length]
    return F.pad(x, (0, length - x.shape[-1]))


def compressed(X: Tensor, power: float) -> Tensor:
    """The power-law compression of complex numbers: |X|^p in place of |X|; the phase stays."""
    return X * (X.real.square() + X.imag.square() + TINY) ** ((power - 1) / 2)


def picture_of(config: Config, frame: Tensor) -> Tensor:
    """The number of the picture that is shown in the middle of frames of the spectrogram."""
    middle = frame * config.hop + config.window // 2 - config.pad  # in samples
    return middle * config.fps // config.rate


# --- The streams and the trunk --------------------------------------------------------------------


def sides(layer: Layer) -> list[tuple[int, int]]:
    """(kernel, dilation) over frames, and over bins if it runs over both."""
    kernel = layer.kernel if isinstance(layer.kernel, tuple) else (layer.kernel,)
    dilation = layer.dilation if isinstance(layer.dilation, tuple) else (layer.dilation,)
    return list(zip(kernel, dilation * len(kernel) if len(dilation) == 1 else dilation))


def block(below: int, layer: Layer) -> nn.Sequential:
    """A convolution, batch normalisation and ReLU."""
    over = sides(layer)
    kernel, dilation = zip(*over)
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if len(over) == 2 else (nn.Conv1d, nn.BatchNorm1d)
    padding = tuple((k - 1) // 2 * d for k, d in over)
    return nn.Sequential(
        conv(below, layer.channels, kernel, padding=padding, dilation=dilation),
        norm(layer.channels),
        nn.ReLU(),
    )


def stack(below: int, layers: tuple[Layer, ...]) -> nn.Sequential:
    """Layers on top of each other."""
    channels = [below, *(own.channels for own in layers)]
    return nn.Sequential(*(block(n, own) for n, own in zip(channels, layers)))


class Watch(nn.Module):
    """Faces (B, T, …) as (B, C, T): what lips do, seen over some time."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.layers = stack(math.prod(config.face), config.visual)
        self.channels = config.visual[-1].channels

    def forward(self, faces: Tensor) -> Tensor:
        return self.layers(faces.flatten(2).transpose(1, 2))


class Hear(nn.Module):
    """A spectrogram (B, F, M) as (B, C, M)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = c = config
        parts = 2 if c.hears == "complex" else 1
        self.over_both = isinstance(c.audio[0].kernel, tuple)
        self.layers = stack(parts if self.over_both else parts * c.bins, c.audio)
        self.channels = c.audio[-1].channels * (c.bins if self.over_both else 1)

    def forward(self, Y: Tensor) -> Tensor:
        c = self.config
        if c.hears == "complex":
            x = torch.view_as_real(compressed(Y, c.compression)).movedim(-1, 1)  # (B, 2, F, M)
        else:
            x = Y.abs()[:, None] ** c.compression  # (B, 1, F, M)
        x = (x - c.standard[0]) * c.standard[1]
        if not self.over_both:
            return self.layers(x.flatten(1, 2))
        return self.layers(x.transpose(2, 3)).transpose(2, 3).flatten(1, 2)


class Recurrent(nn.Module):
    """The paper's trunk: a bidirectional LSTM, and fully connected layers for each frame."""

    def __init__(self, config: Config, below: int, outputs: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(below, config.width // 2, batch_first=True, bidirectional=True)
        layers: list[nn.Module] = []
        sizes = (config.width, *config.dense)
        for n, more in zip(sizes, config.dense):
            layers += [nn.Linear(n, more), nn.ReLU()]
        self.dense = nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.lstm(x.transpose(1, 2))[0]).transpose(1, 2)


class Convolutional(nn.Module):
    """Ours: residual convolutions over time, all channels of a frame with all of the next.

    Args:
        config: its ``width``.
        below: channels that come in. ``None``: as many as ``width``, and no first layer.
        outputs: channels that go out.
        dilations: of the residual convolutions.
    """

    def __init__(
        self, config: Config, below: int | None, outputs: int, dilations: tuple[int, ...]
    ) -> None:
        super().__init__()
        width = config.width

        def step(channels: int, kernel: int, dilation: int = 1) -> nn.Sequential:
            conv = nn.Conv1d(
                width, channels, kernel, padding=kernel // 2 * dilation, dilation=dilation
            )
            return nn.Sequential(nn.BatchNorm1d(width), nn.ReLU(), conv)

        self.first = nn.Identity() if below is None else nn.Conv1d(below, width, 3, padding=1)
        self.steps = nn.ModuleList(step(width, 3, d) for d in dilations)
        self.last = step(outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.residual(self.first(x)))

    def residual(self, x: Tensor) -> Tensor:
        """(B, width, M), from the first layer to the last."""
        for step in self.steps:
            x = x + step(x)
        return x


# --- Whose voice is whose -------------------------------------------------------------------------

#: Seconds before and behind a moment that count for whose voice is whose.
AROUND = 1.6
#: Into how many bands of frequencies a voice is summed up for that, and channels of what is compared.
BANDS, COMPARED = 16, 32


class Match(nn.Module):
    """Gives voices that were taken apart by ear to the faces.

    A voice is loud when its lips are open. Each voice is compared with each face, at every moment,
    and the evidence is averaged over a few seconds. An order of the voices is as likely as what it
    has for itself in sum; the voice of a face is then the mean over all orders. That has a gradient,
    so the losses of the voices teach it, and no label.
    """

    def __init__(self, config: Config, seen: int) -> None:
        super().__init__()
        self.config = c = config
        # a convolution over voice and face together, in its two halves: each is computed once
        self.voice = nn.Conv1d(BANDS, COMPARED, 3, padding=1)
        self.face = nn.Conv1d(seen, COMPARED, 3, padding=1)
        self.compare = nn.Sequential(
            nn.BatchNorm1d(COMPARED), nn.ReLU(), block(COMPARED, Layer(COMPARED, 3))
        )
        self.evidence = nn.Conv1d(COMPARED, 1, 1)
        orders = torch.tensor([*itertools.permutations(range(c.voices))])  # (N!, N)
        self.register_buffer(
            "orders", torch.eye(c.voices)[orders].mT.contiguous(), persistent=False
        )
        self.around = round(AROUND * c.rate / c.hop)  # frames

    def forward(self, heard: Tensor, Y: Tensor, seen: Tensor) -> Tensor:
        """The masks of voices in the order of the faces.

        Args:
            heard: masks (B, N, F, M) in any order.
            Y: the mixture's spectrogram (B, F, M).
            seen: what the faces do, (B, N, C, M).
        """
        n = self.config.voices
        likely = self.scores(heard, Y, seen)  # (B, N voices, N faces, M)
        orders = self.orders.to(likely.dtype)  # (N!, N voices, N faces)
        likely = torch.einsum("ovf,bvfm->bom", orders, likely).softmax(1)
        share = torch.einsum("ovf,bom->bvfm", orders, likely)  # of each voice, in each face's mask
        if heard.is_complex():
            share = share.to(heard.dtype)
        return sum(share[:, v, :, None] * heard[:, v, None] for v in range(n))

    def scores(self, heard: Tensor, Y: Tensor, seen: Tensor) -> Tensor:
        """How well each voice goes with each face, (B, N voices, N faces, M)."""
        c, n = self.config, self.config.voices
        power = power_of(heard) * power_of(Y)[:, None]  # (B, N, F, M)
        power = F.adaptive_avg_pool2d(power, (BANDS, power.shape[-1]))  # (B, N, BANDS, M)
        loud = ((power + LEAST) ** (c.compression / 2) - c.standard[0]) * c.standard[1]
        voice = self.voice(loud.flatten(0, 1)).unflatten(0, (-1, n))  # (B, N, COMPARED, M)
        face = self.face(seen.flatten(0, 1)).unflatten(0, (-1, n))
        pairs = voice[:, :, None] + face[:, None]  # (B, N voices, N faces, COMPARED, M)
        x = self.evidence(self.compare(pairs.flatten(0, 2)))  # (B · N · N, 1, M)
        wide = 2 * self.around + 1
        x = F.avg_pool1d(x, wide, 1, self.around, count_include_pad=False)
        return x.view(len(Y), n, n, -1)


# --- The model ------------------------------------------------------------------------------------


class Stages(NamedTuple):
    """The masks (B, N, F, M) on the way.

    Attributes:
        masks: the result, in the order of the faces.
        named: by ear, in the order that the faces gave them; ``None`` without :attr:`Config.by_ear`.
        heard: by ear, in any order.
    """

    masks: Tensor
    named: Tensor | None = None
    heard: Tensor | None = None


class CocktailParty(nn.Module):
    """Hears a mixture, looks at faces, and says what to multiply the spectrogram with to get each
    voice. Left to the caller: what finds the faces, and at the paper's scale what makes a vector of
    each."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = c = config
        self.hear = Hear(c)
        self.watch = Watch(c) if c.visual else None
        outputs = (c.voices - c.remainder) * (2 if c.mask == "complex" else 1) * c.bins
        below = self.hear.channels
        if c.by_ear:
            self.ear = Convolutional(c, None if below == c.width else below, outputs, c.by_ear)
            self.match = Match(c, self.watch.channels)
            self.told = nn.Conv1d(outputs, c.width, 1)
            below = c.width
        below += c.voices * self.watch.channels if self.watch else 0
        self.trunk: nn.Module = (
            Convolutional(c, below, outputs, c.dilations)
            if c.dilations
            else Recurrent(c, below, outputs)
        )

    def masks(
        self,
        Y: Tensor,
        faces: Tensor | None = None,
        there: Tensor | None = None,
        first: tuple[int, int] = (0, 0),
    ) -> Tensor:
        """The masks (B, K, F, M) of the spectrogram Y (B, F, M) of mixtures, real or complex.

        Args:
            Y: of :func:`transform`.
            faces: (B, K, T, *face), K = ``voices``; any K where that is 1.
            there: (B, K, T) bool, False where a picture is missing. All of it is 0 then (the
                paper), which in :func:`mouths` is the face's mean.
            first: the numbers of the first frame and of the first picture, in a longer recording.
        """
        return self.stages(Y, faces, there, first).masks

    def stages(
        self,
        Y: Tensor,
        faces: Tensor | None = None,
        there: Tensor | None = None,
        first: tuple[int, int] = (0, 0),
    ) -> Stages:
        """The same, with the masks by ear before."""
        x, many = self.hear(Y), 1
        if self.watch is not None:
            faces = check_faces(faces, there, self.config, len(Y)).to(x.dtype)
            many = faces.shape[1]
            seen = self.watch(faces.flatten(0, 1)).unflatten(0, (len(Y), many))  # (B, K, C, T)
            frame = torch.arange(first[0], first[0] + Y.shape[-1], device=Y.device)
            at = (picture_of(self.config, frame) - first[1]).clamp(0, seen.shape[-1] - 1)
            seen = seen[..., at]  # (B, K, C, M)
            if self.config.voices == 1:  # each face by itself, with the same sound
                x, seen = x.repeat_interleave(many, 0), seen.flatten(0, 1)[:, None]
            if self.config.by_ear:
                return self.by_ear(x, Y, seen)
            x = torch.cat([x, seen.flatten(1, 2)], 1)
        elif faces is not None:
            raise ValueError("this network only hears (visual = ()): leave the faces out")
        mask = self.mask(self.trunk(x).to(Y.real.dtype))  # (B, N, F, M)
        return Stages(mask if self.config.voices > 1 else mask.view(len(Y), -1, *mask.shape[2:]))

    def by_ear(self, x: Tensor, Y: Tensor, seen: Tensor) -> Stages:
        """First by ear, then whose is whose, then by the lips.

        Args:
            x: of the audio stream (B, C, M).
            Y: the spectrogram (B, F, M).
            seen: of the visual stream (B, N, C, M).
        """
        x = self.ear.residual(self.ear.first(x))  # (B, width, M)
        heard = self.mask(self.ear.last(x).to(Y.real.dtype))
        named = self.match(heard, Y, seen)
        start = self.start(named)
        x = x + self.trunk.first(torch.cat([x.relu(), seen.flatten(1, 2)], 1)) + self.told(start)
        z = self.trunk.last(self.trunk.residual(x)).to(Y.real.dtype)
        return Stages(self.mask(z + start), named, heard)

    def start(self, named: Tensor) -> Tensor:
        """Masks (B, N, F, M) as what the trunk adds to, (B, n · F, M): the inverse of :meth:`mask`,
        in its middle."""
        c = self.config
        parts = (
            torch.view_as_real(named).movedim(-1, 2) if c.mask == "complex" else named[:, :, None]
        )
        parts = parts[:, : c.voices - c.remainder]
        middle = 0.0 if c.bounds is None else sum(c.bounds) / 2
        return torch.cat([parts[:, :, :1] - middle, parts[:, :, 1:]], 2).flatten(1, 3)

    def mask(self, z: Tensor) -> Tensor:
        """What the trunk says, (B, n · F, M), as masks (B, N, F, M)."""
        c = self.config
        parts = 2 if c.mask == "complex" else 1
        z = z.unflatten(1, (-1, parts, c.bins))  # (B, voices, parts, F, M)
        real, turned = z[:, :, 0], z[:, :, -1]
        if c.bounds is not None:
            low, high = c.bounds
            half = (high - low) / 2
            real = (low + high) / 2 + half * (real / half).tanh()  # low to high, of slope 1 between
            turned = half * (turned / half).tanh()
        mask = torch.complex(real, turned) if c.mask == "complex" else real
        return torch.cat([mask, 1 - mask.sum(1, keepdim=True)], 1) if c.remainder else mask

    def forward(
        self, mixture: Tensor, faces: Tensor | None = None, there: Tensor | None = None
    ) -> Tensor:
        """The voices (B, K, L) of mixtures (B, L), in the order of the faces; without faces in an
        order that nobody knows. See :meth:`masks`; long recordings: :meth:`separate`."""
        x = check_waves(mixture)
        check_pace(self.config, x.shape[1], faces)
        Y = transform(self.config, x)
        return inverse(self.config, self.masks(Y, faces, there) * Y[:, None], x.shape[1])

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """How far the voices are from the clean ones; without faces, in the best order.

        Args:
            batch: ``"sources"`` (B, K, L), the clean voices, as loud as in the mixture; one may be
                silent. ``"mixture"`` (B, L), if more is heard than their sum. ``"faces"``
                (B, K, T, *face) and perhaps ``"there"`` (B, K, T), if the network sees.

        Returns:
            ``"loss"``, the mean over mixtures and voices, with those of the voices by ear; for the
            eye ``"snr"``, the ratio of voice to error, dB, at most 30 of a voice that is all there
            is; and with :attr:`Config.by_ear` the same of the voices by ear, ``"heard"`` in the
            order that is best for them, ``"named"`` in the one that the faces gave them.
        """
        c = self.config
        sources = check_sources(batch["sources"], c)
        mixture = batch.get("mixture")
        mixture = sources.sum(1) if mixture is None else check_mixture(mixture, sources)
        seen = (batch.get("faces"), batch.get("there")) if self.watch else (None, None)
        check_pace(c, sources.shape[2], seen[0])
        S, Y = transform(c, sources), transform(c, mixture)
        masks, named, heard = self.stages(Y, *seen)
        if masks.shape != S.shape:
            raise ValueError(f"{S.shape[1]} sources but {masks.shape[1]} faces; each needs its own")
        costs_of, total, told = costs(c, S, Y), 0.0, {}
        for name, M, given in (
            ("snr", masks, self.watch is not None or c.voices == 1),
            ("heard", heard, False),
            ("named", named, True),
        ):
            if M is None:
                continue
            every = costs_of(M)  # (B, N masks, N voices)
            each, order = (every.diagonal(dim1=1, dim2=2), None) if given else best_order(every)
            total = total + (1 if name == "snr" else c.by_ear_weight) * each.mean()
            if c.objective != "ratio":  # for the eye: decibels
                M = M if order is None else M.take_along_dim(order[..., None, None], 1)
                each = ratio(M.detach() * Y[:, None], S, Y[:, None])
            told[name] = -each.detach().mean()
        return {"loss": total, **told}

    # -- recordings of any length

    @torch.no_grad()
    def separate(
        self,
        mixture: Tensor,
        faces: Tensor | None = None,
        there: Tensor | None = None,
        *,
        rate: int | None = None,
        fps: int | None = None,
        seconds: float = 8.0,
        margin: float | None = None,
    ) -> Tensor:
        """The same as calling the model, of long recordings in little memory.

        They are read in windows that overlap, and only the middle of each is kept. With a trunk of
        convolutions, which see so far and no farther, this changes nothing. A BiLSTM remembers
        without end: near the seams its result differs a little from that of the whole. Beside the
        recording and the result it takes the memory of one window.

        Args:
            mixture: (B, L) in [−1, 1] or 16-bit integers.
            faces, there: as for :meth:`masks`.
            rate: samples a second of the recording, to be sure.
            fps: pictures a second of the recording, to be sure.
            seconds: of a window, what is kept.
            margin: seconds before and behind that are heard and seen beside; by default what the
                convolutions see (:func:`reach`), and a second more for a BiLSTM.

        Returns:
            (B, K, L).

        Raises:
            ValueError: a model in training; another rate; sound and faces of different lengths; NaN;
                not as many faces as voices.
        """
        if self.training:
            raise ValueError("separate() is for a trained model: call eval() first")
        c = self.config
        for name, got, wanted in (("samples", rate, c.rate), ("pictures", fps, c.fps)):
            if got is not None and got != wanted:
                raise ValueError(f"{got} {name} a second, but the network knows {wanted}: resample")
        x = check_waves(mixture)
        count, length = frames(c, x.shape[1]), x.shape[1]
        check_pace(c, length, faces)
        if self.watch is not None:
            check_faces(faces, there, c, len(x))
        frame_reach, picture_reach = reach(c)
        if margin is None:
            margin = frame_reach * c.hop / c.rate + (0 if c.dilations else 1)
        if not (seconds > 0 and margin >= 0 and math.isfinite(seconds + margin)):
            raise ValueError(
                f"seconds must be above 0 and margin at least 0, got {seconds} and {margin}"
            )
        keep, around = (math.ceil(s * c.rate / c.hop) for s in (seconds, margin))
        x, total = padded(c, x), None
        for start in range(0, count, keep):
            end = min(start + keep, count)
            low, high = max(0, start - around), min(count, end + around)
            Y = frames_of(c, x[:, low * c.hop : (high - 1) * c.hop + c.n_fft])
            seen, first = (None, None), 0
            if self.watch is not None:
                first = max(0, picture_of(c, low) - picture_reach)
                own = slice(first, picture_of(c, high) + picture_reach + 1)
                seen = (faces[:, :, own], None if there is None else there[:, :, own])
            part = self.masks(Y, *seen, first=(low, first)) * Y[:, None]
            part = synthesis(c, part[..., start - low : end - low])
            if total is None:
                total = part.new_zeros(*part.shape[:2], x.shape[1])
            total[..., start * c.hop :][..., : part.shape[-1]] += part
        return unpadded(c, total, length)


def reach(config: Config) -> tuple[int, int]:
    """How far the convolutions see to either side: frames of the spectrogram, through the audio
    stream and the trunk; and pictures, through the visual stream."""

    def far(layers: tuple[Layer, ...]) -> int:
        return sum((k - 1) // 2 * d for k, d in (sides(own)[0] for own in layers))

    trunk = 1 + sum(config.dilations) if config.dilations else 0
    if config.by_ear:  # and behind that a match of voices and faces, with which the trunk begins
        match = 2 + round(AROUND * config.rate / config.hop)
        trunk = 1 + sum(config.by_ear) + match + sum(config.dilations)
    return far(config.audio) + trunk, far(config.visual)


def twin(config: Config) -> Config:
    """A network that only hears, as large and as deep: without the visual stream, its trunk has the
    convolutions by ear too and is so much wider that it has as many weights."""

    def weights(c: Config) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in CocktailParty(c).parameters())

    wanted, step = weights(config), 1 if config.dilations else 2
    deep = (*config.by_ear, *config.dilations)
    deaf_to_faces = replace(config, visual=(), face=(), by_ear=(), dilations=deep)
    widths = range(config.width, 8 * config.width, step)
    low, high = 0, len(widths) - 1
    while low < high:  # the first that is not smaller
        middle = (low + high) // 2
        if weights(replace(deaf_to_faces, width=widths[middle])) < wanted:
            low = middle + 1
        else:
            high = middle
    near = [replace(deaf_to_faces, width=w) for w in widths[max(0, low - 1) : low + 1]]
    return min(near, key=lambda c: abs(weights(c) - wanted))


# --- The losses -----------------------------------------------------------------------------------


def error(config: Config, guess: Tensor, source: Tensor, mixture: Tensor) -> Tensor:
    """How far guessed spectrograms (…, F, M) are from the clean ones: (…).

    ``"compressed"``: the mean over frequencies and frames of |Ŝ^p − S^p|², both compressed (the
    paper has the sum). ``"ratio"``: see :func:`ratio`.
    """
    if config.objective == "ratio":
        return ratio(guess, source, mixture)
    p = config.compression
    return energy(compressed(guess, p) - compressed(source, p)) / source.shape[-2:].numel()


def power_of(X: Tensor) -> Tensor:
    """|X|² of real or complex numbers."""
    return X.square() if not X.is_complex() else X.real.square() + X.imag.square()


def ratio(guess: Tensor, source: Tensor, mixture: Tensor) -> Tensor:
    """The ratio of error to voice, in decibels: 10 log10((‖Ŝ − S‖² + τ) / (‖S‖² + τ)), with τ a
    thousandth of the mixture's energy. Nothing at all as the guess gives 0. Because of τ a voice
    that is silent has a finite ratio too: what is left in it is compared with the mixture."""
    floor = FLOOR * energy(mixture) + TINY
    return 10 * torch.log10((energy(guess - source) + floor) / (energy(source) + floor))


def costs(config: Config, sources: Tensor, mixture: Tensor) -> Callable[[Tensor], Tensor]:
    """What the error of each mask would be as each voice: a function of masks.

    Where the error is counted in the signal, guesses need not be made for that: with D = Y* S_n,
    ‖M_k Y − S_n‖² = Σ |M_k|² |Y|² − 2 Σ Re(M_k* D) + ‖S_n‖². All but the masks is computed once,
    and the second sum is a matrix product for all masks and voices.

    Args:
        sources: S (B, N, F, M).
        mixture: Y (B, F, M).

    Returns:
        A function from masks (B, K, F, M), real or complex, to (B, K, N), as :func:`error` has it.
    """
    S, Y = sources, mixture[:, None]
    if config.objective != "ratio":
        return lambda masks: error(config, (masks * Y)[:, :, None], S[:, None], Y[:, :, None])
    both, power = Y.conj() * S, power_of(Y)  # (B, N, F, M), (B, 1, F, M)
    loud = power_of(S).sum((2, 3))[:, None]  # (B, 1, N)
    floor = FLOOR * power.sum((2, 3))[..., None] + TINY  # (B, 1, 1)

    def of(masks: Tensor) -> Tensor:
        parts = torch.view_as_real if masks.is_complex() else torch.real
        shared = parts(masks).flatten(2) @ parts(both).flatten(2).mT  # (B, K, N)
        own = (power_of(masks) * power).sum((2, 3))[..., None]  # (B, K, 1)
        return 10 * torch.log10(((own - 2 * shared + loud).clamp(min=0) + floor) / (loud + floor))

    return of


def energy(X: Tensor) -> Tensor:
    """|X|² of complex numbers (…, F, M), summed: (…)."""
    return torch.view_as_real(X).square().sum((-3, -2, -1))


def best_order(costs: Tensor) -> tuple[Tensor, Tensor]:
    """The order of outputs that costs least, of all orders.

    Args:
        costs: (B, N, N), of output i (rows) as voice j (columns).

    Returns:
        What each voice costs in that order, (B, N), and the order (B, N): which output is voice j.
        ``outputs.take_along_dim(order[..., None], 1)`` puts them in the voices' order.
    """
    if costs.ndim != 3 or not 1 <= costs.shape[1] == costs.shape[2] <= MOST_VOICES:
        raise ValueError(
            f"costs must be (B, N, N), N at most {MOST_VOICES}, got {tuple(costs.shape)}"
        )
    n = costs.shape[1]
    orders = torch.tensor([*itertools.permutations(range(n))])  # (N!, N)
    orders = orders.to(costs.device, non_blocking=True)  # a GPU's step need not wait for it
    each = costs[:, orders, torch.arange(n, device=costs.device)]  # (B, N!, N)
    best = each.sum(-1).argmin(1)  # (B,)
    return each.take_along_dim(best[:, None, None], 1)[:, 0], orders[best]


# --- Masks that know the answer -------------------------------------------------------------------


def oracle(
    kind: str, sources: Tensor, mixture: Tensor | None = None, bounds: tuple | None = None
) -> Tensor:
    """The mask that each kind would have if the clean voices were known: what it can do at best.

    - ``"binary"``: 1 where the voice is the loudest, else 0.
    - ``"ratio"``: |S_n| / Σ_k |S_k|.
    - ``"Wiener"``: |S_n|² / Σ_k |S_k|².
    - ``"phase-sensitive"``: the real part of S_n / Y, the best of all real masks.
    - ``"complex"``: S_n / Y itself, which gives the voice back.

    Args:
        sources: S, complex (B, N, F, M): all that is heard, noise too.
        mixture: Y (B, F, M), by default their sum.
        bounds: what the last two kinds are cut off to, real and imaginary part alike: (0, 1) for a
            mask that can only take away. ``None``: not at all.

    Returns:
        (B, N, F, M), real or complex. Where all is silent, 0.
    """
    if kind not in ORACLES:
        raise ValueError(f"kind must be one of {ORACLES}, got {kind!r}")
    if sources.ndim != 4 or not sources.is_complex() or 0 in sources.shape:
        raise ValueError(f"sources must be complex (B, N, F, M), got {tuple(sources.shape)}")
    loud = sources.abs()
    if kind in ("phase-sensitive", "complex"):
        Y = (sources.sum(1) if mixture is None else mixture)[:, None]
        silent = Y == 0
        mask = torch.where(silent, 0, sources / torch.where(silent, 1, Y))
        mask = mask.real if kind == "phase-sensitive" else mask
        if bounds is None:
            return mask
        if kind == "phase-sensitive":
            return mask.clamp(*bounds)
        return torch.complex(mask.real.clamp(*bounds), mask.imag.clamp(*bounds))
    if bounds is not None:
        raise ValueError(f"a {kind} mask lies in [0, 1] by itself: leave bounds out")
    if kind == "binary":
        index = torch.arange(loud.shape[1], device=loud.device)[:, None, None]
        return ((loud.argmax(1, keepdim=True) == index) & (loud > 0)).to(loud.dtype)
    strength = loud if kind == "ratio" else loud.square()
    return strength / strength.sum(1, keepdim=True).clamp(min=torch.finfo(loud.dtype).tiny)


# --- Mixtures -------------------------------------------------------------------------------------


class Mixed(NamedTuple):
    """What is heard together.

    Attributes:
        mixture: (B, L).
        sources: (B, N, L), the voices as loud as they are in it.
    """

    mixture: Tensor
    sources: Tensor


def mix(
    sources: Tensor,
    db: Tensor | float | None = None,
    noise: Tensor | None = None,
    noise_db: Tensor | float | None = None,
) -> Mixed:
    """Let voices be heard together, and perhaps something else.

    Args:
        sources: (B, N, L) clean waves.
        db: by how many decibels the first voice is louder than each other (a number, or (B, N − 1)).
            ``None``: they are added up as they are (the paper).
        noise: (B, L), what is heard besides; the paper adds 0.3 times a noise.
        noise_db: by how many decibels the first voice is louder than that, a number or (B,).

    Returns:
        The mixture and the voices in it. If a peak passes 1, all of them are made fainter together.
        A silent voice stays silent, and beside a silent first voice the others stay as they are.
    """
    if not isinstance(sources, Tensor) or sources.ndim != 3 or 0 in sources.shape:
        raise ValueError(f"sources must be (B, N, L), got {getattr(sources, 'shape', sources)}")
    voices = check_waves(sources.flatten(0, 1)).view_as(sources)
    if noise is None and noise_db is not None:
        raise ValueError("noise_db without noise")
    parts = voices
    if noise is not None:
        noise = check_waves(noise)
        if noise.shape != sources[:, 0].shape:
            raise ValueError(
                f"noise must be {tuple(sources[:, 0].shape)}, got {tuple(noise.shape)}"
            )
        parts = torch.cat([voices, noise[:, None].to(voices.dtype)], 1)
    loud = parts.square().mean(-1).sqrt()  # (B, P)
    gain = torch.ones_like(loud)
    n = sources.shape[1]
    for own, level in ((slice(1, n), db), (slice(n, None), noise_db)):
        if level is None or not gain[:, own].numel():
            continue
        level = torch.as_tensor(level, dtype=loud.dtype, device=loud.device)
        level = level[:, None] if level.ndim == 1 else level  # (B,) is one for each mixture
        wanted = loud[:, :1] * 10 ** (-level / 20) / loud[:, own].clamp(min=1e-12)
        gain[:, own] = torch.where((loud[:, :1] > 0) & (loud[:, own] > 0), wanted, 1.0)
    parts = parts * gain[..., None]
    whole = parts.sum(1)
    peak = torch.maximum(whole.abs().amax(-1), parts.abs().amax((1, 2)))
    fainter = peak.clamp(min=1).reciprocal()
    return Mixed(whole * fainter[:, None], parts[:, :n] * fainter[:, None, None])


class Mixtures(Dataset):
    """Clips of people who speak, mixed anew each time somebody asks: every clip in turn is the
    first voice; the others are drawn from clips of other speakers, each begins anywhere in its clip.

    Draws come from torch's global generator; :func:`mmtutor.kit.training.fit` seeds it for every
    batch.

    Args:
        config: of the model.
        waves: (C, L), numbers or 16-bit integers.
        faces: (C, T, *face), as long; ``None`` for a network that only hears.
        speaker: (C,) whole numbers, who it is.
        voices: how many are heard together, by default ``config.voices``.
        seconds: of a mixture, a whole number of pictures.
        db: by how much the first voice is louder: a number, (low, high) to draw from, or ``None``:
            as they are.
        noise: (J, at least seconds · rate), what is heard besides, or ``None``.
        noise_db: the same of the first voice and the noise.
    """

    def __init__(
        self,
        config: Config,
        waves: Tensor,
        faces: Tensor | None,
        speaker: Tensor,
        *,
        voices: int | None = None,
        seconds: float = 1.6,
        db: float | tuple[float, float] | None = 0.0,
        noise: Tensor | None = None,
        noise_db: float | tuple[float, float] | None = 0.0,
    ) -> None:
        c, count = config, len(waves)
        self.voices = c.voices if voices is None else voices
        if c.rate % c.fps:
            raise ValueError(f"{c.rate} samples a second do not fall evenly on {c.fps} pictures")
        self.each = c.rate // c.fps  # samples a picture
        self.pictures = round(seconds * c.fps)
        if waves.ndim != 2 or speaker.shape != (count,) or speaker.is_floating_point():
            raise ValueError(
                "waves must be (C, L) and speaker (C,) whole numbers, got "
                f"{tuple(waves.shape)} and {tuple(speaker.shape)}"
            )
        whole = waves.shape[1] // self.each
        if faces is not None and (len(faces), *faces.shape[1:]) != (count, whole, *c.face):
            raise ValueError(f"faces must be {(count, whole, *c.face)}, got {tuple(faces.shape)}")
        if c.visual and faces is None:
            raise ValueError("the network looks at faces: give them")
        if not 1 <= self.pictures <= whole or abs(self.pictures - seconds * c.fps) > 1e-6:
            raise ValueError(
                f"seconds must be a whole number of pictures, at most {whole} / {c.fps}, got "
                f"{seconds}"
            )
        known = len(speaker.unique())
        if not 1 <= self.voices <= known:
            raise ValueError(f"{self.voices} voices need as many speakers, got {known}")
        if noise is not None and (noise.ndim != 2 or noise.shape[1] < self.pictures * self.each):
            raise ValueError(
                f"noise must be (J, {self.pictures * self.each} or more), got {tuple(noise.shape)}"
            )
        self.waves, self.faces, self.speaker, self.noise = waves, faces, speaker, noise
        self.db, self.noise_db = db, noise_db

    def __len__(self) -> int:
        return len(self.waves)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[dict[str, Tensor]]:
        """A mixture for each of these first voices: ``"sources"`` (N, L), ``"mixture"`` (L,) and
        ``"faces"`` (N, T, *face)."""
        who = self.partners(torch.as_tensor(indices))  # (B, N)
        last = self.waves.shape[1] // self.each - self.pictures
        start = torch.randint(last + 1, (*who.shape, 1))  # in pictures
        length = self.pictures * self.each
        at = start * self.each + torch.arange(length)
        sources = numbers(self.waves[who[..., None], at])  # (B, N, L)
        noise = None
        if self.noise is not None:
            row = torch.randint(len(self.noise), (len(who), 1))
            begin = torch.randint(self.noise.shape[1] - length + 1, (len(who), 1))
            noise = numbers(self.noise[row, begin + torch.arange(length)])
        db = self.draw(self.db, (len(who), self.voices - 1))
        noise_db = None if noise is None else self.draw(self.noise_db, (len(who),))
        mixture, sources = mix(sources, db, noise, noise_db)
        batch = {"sources": sources, "mixture": mixture}
        if self.faces is not None:
            batch["faces"] = self.faces[who[..., None], start + torch.arange(self.pictures)]
        return [{name: x[b] for name, x in batch.items()} for b in range(len(who))]

    def partners(self, first: Tensor) -> Tensor:
        """Clips (B, N) of different speakers, the first of them given (B,)."""
        who = first[:, None]
        for _ in range(self.voices - 1):
            taken = (self.speaker == self.speaker[who][..., None]).any(1)  # (B, C)
            other = torch.rand(taken.shape).masked_fill(taken, -1).argmax(1, keepdim=True)
            who = torch.cat([who, other], 1)
        return who

    @staticmethod
    def draw(level: float | tuple[float, float] | None, shape: tuple[int, ...]) -> Tensor | None:
        if level is None:
            return None
        low, high = level if isinstance(level, tuple) else (level, level)
        return low + (high - low) * torch.rand(shape)


# --- Mouths ---------------------------------------------------------------------------------------


def mouths(
    pictures: Tensor,
    there: Tensor | None = None,
    size: tuple[int, int] = (16, 24),
    box: tuple[float, float, float, float] = MOUTH,
) -> Tensor:
    """The grey mouths of faces in film, without their mean: how they differ from themselves.

    Args:
        pictures: uint8 (…, T, H, W, 3): the face fills the picture.
        there: (…, T) bool, False where a picture is missing; its mouth is 0, which is the mean one.
        size: (height, width) of the result; a box of more pixels is averaged.
        box: top, bottom, left and right of the mouth, as shares of the picture's sides.

    Returns:
        float32 (…, T, *size); black to white is 1.

    Raises:
        ValueError: another shape or type, a box of fewer pixels than wanted.
    """
    if (
        not isinstance(pictures, Tensor)
        or pictures.dtype != torch.uint8
        or pictures.ndim < 4
        or pictures.shape[-1] != 3
        or 0 in pictures.shape
    ):
        got = (tuple(pictures.shape), pictures.dtype) if isinstance(pictures, Tensor) else pictures
        raise ValueError(f"pictures must be uint8 (…, T, H, W, 3), got {got}")
    high, wide = pictures.shape[-3:-1]
    top, bottom, left, right = (round(b * n) for b, n in zip(box, (high, high, wide, wide)))
    if not (0 <= top < bottom <= high and 0 <= left < right <= wide) or (
        bottom - top < size[0] or right - left < size[1]
    ):
        raise ValueError(
            f"the box {box} of {high} × {wide} pixels must lie within and hold at least {size}, got "
            f"{(bottom - top, right - left)}"
        )
    if there is not None and (there.dtype != torch.bool or there.shape != pictures.shape[:-3]):
        raise ValueError(
            f"there must be bool {tuple(pictures.shape[:-3])}, got {tuple(there.shape)}"
        )
    cut = pictures[..., top:bottom, left:right, :].float()
    grey = cut @ cut.new_tensor([0.299, 0.587, 0.114]) / 255  # (…, T, h, w)
    if grey.shape[-2:] != tuple(size):
        flat = F.adaptive_avg_pool2d(grey.flatten(0, -3)[:, None], size)
        grey = flat.view(*grey.shape[:-2], *size)
    if there is None:
        return grey - grey.mean(-3, keepdim=True)
    known = there[..., None, None].to(grey.dtype)
    mean = (grey * known).sum(-3, keepdim=True) / known.sum(-3, keepdim=True).clamp(min=1)
    return (grey - mean) * known


# --- The score ------------------------------------------------------------------------------------


def si_sdr(guess: Tensor, voice: Tensor) -> Tensor:
    """The scale-invariant signal-to-distortion ratio, in decibels.

    How much of the guess is the voice: with β = ŝᵀs / ‖s‖², 10 log10(‖βs‖² / ‖βs − ŝ‖²), both
    without their mean. Louder or fainter is the same. From −100 (none of it, or silence) to 100.

    Args:
        guess: ŝ (…, L).
        voice: s, clean; the two may be broadcast: (B, N, 1, L) and (B, 1, N, L) give all pairs.

    Returns:
        float64 (…).

    Raises:
        ValueError: lengths that differ; or (on the CPU) NaN, or a silent voice, which has none.
    """
    if guess.shape[-1] != voice.shape[-1] or not guess.shape[-1]:
        raise ValueError(f"guess and voice differ in length: {guess.shape} and {voice.shape}")
    x, s = (
        y.detach().double() - y.detach().double().mean(-1, keepdim=True) for y in (guess, voice)
    )
    loud = s.square().sum(-1, keepdim=True)
    if x.device.type == "cpu":
        if not finite(x) or not finite(s):
            raise ValueError("guess or voice holds NaN or infinity")
        if bool((loud <= 1e-20).any()):
            raise ValueError("a silent voice has no SI-SDR: leave it out")
    own = (x * s).sum(-1, keepdim=True) / loud * s
    good, bad = own.square().sum(-1), (x - own).square().sum(-1)
    least = 1e-10 * (good + bad)
    both = (good + least) / (bad + least).clamp(min=1e-300)
    return torch.where(good + bad > 0, 10 * torch.log10(both.clamp(min=1e-10)), -100.0)


def improvement(guess: Tensor, voice: Tensor, mixture: Tensor) -> Tensor:
    """By how many decibels the SI-SDR of guesses (B, N, L) is better than that of the mixture
    (B, L) itself: (B, N)."""
    return si_sdr(guess, voice) - si_sdr(mixture[:, None], voice)


# --- Checks ---------------------------------------------------------------------------------------


def check_sources(sources: Tensor, config: Config) -> Tensor:
    """Clean voices (B, K, L) as numbers.

    Raises:
        ValueError: another shape, or not as many as the network gives.
    """
    if not isinstance(sources, Tensor) or sources.ndim != 3 or 0 in sources.shape:
        got = tuple(sources.shape) if isinstance(sources, Tensor) else type(sources).__name__
        raise ValueError(f"sources must be (B, K, L), got {got}")
    if config.voices > 1 and sources.shape[1] != config.voices:
        raise ValueError(
            f"the network gives {config.voices} voices, got {sources.shape[1]} sources: add a silent "
            "one, or take a network of another number"
        )
    if config.voices == 1 and not config.visual and sources.shape[1] != 1:
        raise ValueError(f"a network of one voice without faces learns one, got {sources.shape[1]}")
    return check_waves(sources.flatten(0, 1)).view(sources.shape)


def check_mixture(mixture: Tensor, sources: Tensor) -> Tensor:
    """A mixture (B, L) that fits its sources."""
    x = check_waves(mixture).to(sources.dtype)
    if x.shape != sources[:, 0].shape:
        raise ValueError(
            f"mixture must be {tuple(sources[:, 0].shape)} like the sources, got {tuple(x.shape)}"
        )
    return x


def check_faces(faces: Tensor | None, there: Tensor | None, config: Config, size: int) -> Tensor:
    """Faces (B, K, T, *face), 0 where a picture is missing.

    Raises:
        ValueError: no faces, more or fewer of them than voices, another shape; or (on the CPU) NaN
            in a picture that is there.
    """
    if faces is None:
        raise ValueError(
            "the network looks at faces, and there are none: give faces, or take a network that only "
            "hears (visual = ())"
        )
    shape = tuple(faces.shape) if isinstance(faces, Tensor) else type(faces).__name__
    n = config.voices if config.voices > 1 else "K"
    wanted = f"({size}, {n}, T, {', '.join(map(str, config.face))})"
    if not isinstance(faces, Tensor) or not faces.is_floating_point():
        got = faces.dtype if isinstance(faces, Tensor) else shape
        raise ValueError(f"faces must be numbers {wanted}, got {got}; mouths() makes them")
    fits = len(shape) == 3 + len(config.face) and 0 not in shape and shape[0] == size
    if fits and shape[3:] == config.face and n not in ("K", shape[1]):
        more = "choose whose voices you want" if shape[1] > n else "a voice without a face"
        raise ValueError(
            f"{shape[1]} faces, but the network gives {n} voices: {more}, or take a network of one "
            "voice, which serves any number of faces"
        )
    if not fits or shape[3:] != config.face:
        raise ValueError(f"faces must be {wanted}, got {shape}")
    if there is not None:
        if there.dtype != torch.bool or there.shape != faces.shape[:3]:
            raise ValueError(f"there must be bool {shape[:3]}, got {tuple(there.shape)}")
        faces = torch.where(there.view(*there.shape, *(1 for _ in config.face)), faces, 0)
    if faces.device.type == "cpu" and not finite(faces):
        raise ValueError(
            "the faces hold NaN or infinity; if pictures are missing, say so with there"
        )
    return faces


def check_pace(config: Config, length: int, faces: Tensor | None) -> None:
    """Raise a ValueError unless faces last as long as the sound, to a picture."""
    if faces is None or not isinstance(faces, Tensor) or faces.ndim != 3 + len(config.face):
        return
    wanted = length * config.fps / config.rate
    if abs(faces.shape[2] - wanted) > 1:
        raise ValueError(
            f"{faces.shape[2]} pictures last {faces.shape[2] / config.fps:.3g} s, but {length} samples "
            f"{length / config.rate:.3g} s: cut the longer; or they have other rates than {config.fps} "
            f"pictures and {config.rate} samples a second"
        )
