"""From a picture to speech, with no text in between (Hsu, Harwath, Miller, Song and Glass, ACL 2021).

Most languages are spoken and hardly written. A system that describes pictures in such a language
cannot learn from captions; it has pictures, and people who talk about them. So it first finds its own
letters: short pieces of sound that come back, the *units*. Then it learns two trades apart from one
another, and the units are all that passes between them:

- **picture → units**: a captioner with attention, whose words are units (:class:`ImageToUnits`);
- **units → speech**: how long each unit lasts, how high the voice is, which sound it makes
  (:class:`UnitsToSpeech`), and a vocoder that makes the wave (:func:`vocode`).

Read from top to bottom: the settings, the units (:class:`UnitDiscovery`), the captioner, the voice.

Sources: the paper for the whole and its interface, run-length merging included; its captioner is that
of Xu et al. 2015. Ours in small: its units come from a network that was also shown pictures (Harwath et
al. 2020), ours from masked prediction of sound alone (Hsu et al. 2021, HuBERT); its voice is Tacotron 2
with WaveGlow, ours says durations and pitch openly (Ren et al. 2021, FastSpeech 2) and ends in a
channel vocoder (Dudley 1939).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmtutor.kit.places import Places
from mmtutor.kit.text import SPECIALS, check_captions, check_ended
from mmtutor.kit.vision import check_features, finite
from mmtutor.kit.waves import check_waves
from mmtutor.sound import (
    MelSpectrogram,
    dct_matrix,
    griffin_lim,
    istft,
    mel_to_power,
    stft,
)

PAD, BOS, EOS = (SPECIALS.index(word) for word in ("<pad>", "<bos>", "<eos>"))
RECURRENCES = ("stacked", "fed")
VOCODERS = ("channel", "griffin-lim")
FLOOR = 1e-8  # of mel power: -80 dB
CHUNK = 2000  # frames that are looked at in one piece: memory stays bounded
LOWEST, HIGHEST = 60.0, 300.0  # hertz, of the voice


@dataclass(frozen=True)
class Config:
    """Sizes and choices of the three modules.

    Args:
        rate: samples a second.
        hop: samples from one frame to the next.
        bands: of the mel spectrogram that units are found in.
        widths: channels of the encoder, of its first layer and of each stage.
        strides: of the stages: frames of one stage that become one frame of the next.
        dilations: of the stages' convolutions: 2 looks at every other frame.
        blocks: residual blocks a stage, of two convolutions each.
        kernel: frames that a convolution looks at.
        first: the same for the first layer.
        teachers: clusters of the raw sound that the encoder learns to restore where it is masked.
        units: K, size of the codebook.
        patience: price of going from one unit to another, in median squared distances to the code.
        hide: share of frames where a mask begins.
        span: frames that a mask is long.
        told: weight of the frames that are not masked.
        annotation: channels of the picture's map.
        grid: height and width of the map.
        prepare: units of the layer that makes annotations from the map and its places
            (:mod:`mmtutor.kit.places`); 0 leaves the map alone (the paper).
        embedding: numbers of a unit's vector in the captioner.
        hidden: of the captioner's state.
        attention: numbers of queries and keys.
        recurrence: ``"stacked"``: a first LSTM reads the units and asks, a second one reads what was
            found; both run over a whole caption at once. ``"fed"``: one LSTM, which reads what was
            found with each unit (the paper).
        dropout: on the vectors of the units and before the captioner's output.
        voice: channels of the network that speaks.
        voice_bands: of the mel spectrogram that it makes.
        window: samples of a frame of that spectrogram.
    """

    rate: int = 16000
    hop: int = 160
    bands: int = 40
    widths: tuple[int, ...] = (64, 64, 64, 64)
    strides: tuple[int, ...] = (1, 1, 1)
    dilations: tuple[int, ...] = (1, 2, 4)
    blocks: int = 1
    kernel: int = 3
    first: int = 5
    teachers: int = 64
    units: int = 64
    patience: float = 6.0
    hide: float = 0.05
    span: int = 7
    told: float = 0.5
    annotation: int = 112
    grid: tuple[int, int] = (6, 6)
    prepare: int = 96
    embedding: int = 96
    hidden: int = 128
    attention: int = 48
    recurrence: str = "stacked"
    dropout: float = 0.0
    voice: int = 64
    voice_bands: int = 64
    window: int = 512

    def __post_init__(self) -> None:
        for f in fields(self):
            own = getattr(self, f.name)
            if isinstance(own, (tuple, list)):
                object.__setattr__(self, f.name, tuple(own))  # a list, if read from a file
                if not own or min(own) < 1:
                    raise ValueError(f"{f.name} must hold numbers of at least 1, got {own}")
            elif isinstance(own, int) and own < (f.name != "prepare"):  # 0: the map as it is
                raise ValueError(f"{f.name} must be at least {int(f.name != 'prepare')}, got {own}")
        if not len(self.widths) - 1 == len(self.strides) == len(self.dilations):
            raise ValueError(
                "widths has one number more than strides and dilations, got "
                f"{self.widths}, {self.strides}, {self.dilations}"
            )
        if self.kernel % 2 == 0 or self.first % 2 == 0 or self.span % 2 == 0:
            raise ValueError(
                "kernel, first and span must be odd: they have a middle; got "
                f"{self.kernel}, {self.first}, {self.span}"
            )
        if self.units < 2 or self.teachers < 2:
            raise ValueError(f"two units or more, got {self.units} and {self.teachers} teachers")
        if not 0 <= self.patience < math.inf or not 0 <= self.told < math.inf:
            raise ValueError(
                f"patience and told must be finite and not negative, got {self.patience}, {self.told}"
            )
        if not 0 < self.hide < 1 or not 0 <= self.dropout < 1:
            raise ValueError(f"hide and dropout are shares, got {self.hide} and {self.dropout}")
        if len(self.grid) != 2:
            raise ValueError(f"grid must be (height, width), got {self.grid}")
        if self.recurrence not in RECURRENCES:
            raise ValueError(f"recurrence must be one of {RECURRENCES}, got {self.recurrence!r}")
        if self.window < 2 * self.hop:
            raise ValueError(
                f"window must be two hops or more, got {self.window} and a hop of {self.hop}"
            )

    @classmethod
    def world(cls, **changes: Any) -> Config:
        """All three train on one CPU core in about two minutes."""
        return cls(**changes)

    @classmethod
    def paper(cls, **changes: Any) -> Config:
        """The published sizes of the unit network up to its last stage and of the captioner, and a
        voice of about Tacotron 2's size: 1,024 units, a map of 14 × 14 places of 2,048 numbers."""
        sizes = dict(
            widths=(128, 256, 256, 512, 1024),
            strides=(2, 2, 2, 2),
            dilations=(1, 1, 1, 1),
            blocks=2,
            kernel=9,
            first=1,
            teachers=1024,
            units=1024,
            annotation=2048,
            grid=(14, 14),
            prepare=0,
            embedding=512,
            hidden=512,
            attention=512,
            recurrence="fed",
            dropout=0.5,
            voice=512,
            voice_bands=80,
            window=1024,
        )
        return cls(**{**sizes, **changes})

    @property
    def vocabulary(self) -> int:
        """Units and the four special words of :mod:`mmtutor.kit.text`."""
        return self.units + len(SPECIALS)

    @property
    def period(self) -> float:
        """Seconds of one frame of the encoder's last stage: what durations are counted in."""
        return self.hop * math.prod(self.strides) / self.rate


# --- Units ----------------------------------------------------------------------------------------


class Heard(NamedTuple):
    """A recording as a string of units, each one different from the one before.

    Attributes:
        units: (N,) whole numbers below ``config.units``.
        frames: (N,), how many frames each lasts; ``config.period`` seconds a frame.
    """

    units: Tensor
    frames: Tensor


def run_lengths(codes: Tensor) -> Heard:
    """Neighbours alike become one: [5, 5, 5, 9, 9, 5] → [5, 9, 5], and how long each was."""
    units, frames = torch.unique_consecutive(codes, return_counts=True)
    return Heard(units, frames)


class Block(nn.Module):
    """Two convolutions over time and a way round them, as in ResNet."""

    def __init__(self, below: int, width: int, kernel: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(
            below, width, kernel, stride, dilation * (kernel // 2), dilation, bias=False
        )
        self.conv2 = nn.Conv1d(
            width, width, kernel, 1, dilation * (kernel // 2), dilation, bias=False
        )
        self.norm1, self.norm2 = nn.BatchNorm1d(width), nn.BatchNorm1d(width)
        self.around = nn.Sequential()
        if stride > 1 or below != width:
            self.around = nn.Sequential(
                nn.Conv1d(below, width, 1, stride, bias=False), nn.BatchNorm1d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(y + self.around(x))


def nearest(x: Tensor, codes: Tensor) -> Tensor:
    """Which code (K, D) is nearest to each vector (..., D)."""
    return (codes.square().sum(1) - 2 * x @ codes.T).argmin(-1)


def k_means(x: Tensor, count: int, rounds: int = 25, seed: int = 0) -> Tensor:
    """Centres (K, D) of vectors (N, D), by Lloyd's two steps in turn.

    The first centres are drawn one after another, far ones more probably (k-means++; Arthur and
    Vassilvitskii 2007). A centre that nobody is nearest to stays where it is.

    Raises:
        ValueError: fewer vectors than centres, or vectors that are not finite.
    """
    if x.ndim != 2 or len(x) < count:
        raise ValueError(f"{count} centres need as many vectors (N, D), got {tuple(x.shape)}")
    if not finite(x):
        raise ValueError("the vectors hold NaN or infinity")
    dice = torch.Generator().manual_seed(seed)
    centres = x[torch.randint(len(x), (1,), generator=dice)]
    far = (x - centres).square().sum(1)
    for _ in range(count - 1):
        share = far.double().cumsum(0)
        point = torch.rand(1, generator=dice, dtype=torch.float64) * share[-1]
        new = x[torch.searchsorted(share, point).clamp(max=len(x) - 1)]
        centres = torch.cat([centres, new])
        far = torch.minimum(far, (x - new).square().sum(1))
    for _ in range(rounds):
        own = nearest(x, centres)
        sums = torch.zeros_like(centres).index_add_(0, own, x)
        sizes = torch.bincount(own, minlength=count)[:, None]
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
    return centres


def patient_codes(distance: Tensor, price: float | Tensor) -> Tensor:
    """The codes k_1 … k_T of least Σ_t d(t, k_t) + price · (how often the code changes).

    Dynamic programming: S_t(k) = d(t, k) + min(S_{t−1}(k), min_j S_{t−1}(j) + price). With a price
    of 0 each frame takes its nearest code (the paper); with more, a frame that lies between two codes
    stays with its neighbours.

    Args:
        distance: (B, T, K), not negative.
        price: at least 0.

    Returns:
        (B, T) whole numbers.
    """
    batch, time, count = distance.shape
    total, came = distance[:, 0], []
    stay = torch.arange(count, device=distance.device).expand(batch, -1)
    for t in range(1, time):
        best, where = total.min(1, keepdim=True)
        change = best + price
        came.append(torch.where(total <= change, stay, where))
        total = torch.minimum(total, change) + distance[:, t]
    path = [total.argmin(1, keepdim=True)]
    for back in reversed(came):
        path.append(back.gather(1, path[-1]))
    return torch.cat(path[::-1], 1)


class UnitDiscovery(nn.Module):
    """Finds the letters of a language that nobody has written down, from recordings alone.

    1. **A rough guess.** Frames of the raw sound (MFCC) are put into clusters: :meth:`teach`.
    2. **A riddle.** Stretches of the sound are blanked out, and the encoder has to say which cluster
       lies under them (:meth:`loss`). It can only do so if it learns what follows what.
    3. **The units.** What the encoder makes of each frame is put into clusters again:
       :meth:`learn_codes`. :meth:`units` gives a recording's string.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = c = config
        self.mel = MelSpectrogram(
            c.rate, n_fft=512, win_length=400, hop_length=c.hop, n_mels=c.bands, window="hamming"
        )
        self.conv1 = nn.Sequential(
            nn.Conv1d(c.bands, c.widths[0], c.first, padding=c.first // 2, bias=False),
            nn.BatchNorm1d(c.widths[0]),
            nn.ReLU(),
        )
        self.stages = nn.ModuleList()
        for below, width, stride, dilation in zip(c.widths, c.widths[1:], c.strides, c.dilations):
            first = Block(below, width, c.kernel, stride, dilation)
            more = [Block(width, width, c.kernel, 1, dilation) for _ in range(c.blocks - 1)]
            self.stages.append(nn.Sequential(first, *more))
        self.answer = nn.Conv1d(c.widths[-1], c.teachers, 1)  # only for the riddle
        self.register_buffer("cepstra", dct_matrix(13, c.bands), persistent=False)
        self.register_buffer("teacher", torch.zeros(c.teachers, 13))
        # mean and spread of the features, the codes, and what a change of code costs
        self.register_buffer("mean", torch.zeros(c.widths[-1]))
        self.register_buffer("spread", torch.zeros(c.widths[-1]))
        self.register_buffer("codes", torch.zeros(c.units, c.widths[-1]))
        self.register_buffer("price", torch.tensor(float("nan")))

    def frames(self, waves: Tensor, rate: int | None = None) -> Tensor:
        """Waves as log mel frames.

        Args:
            waves: (B, L), numbers in [−1, 1] or 16-bit integers.
            rate: samples a second, if known: another one than the settings' is an error.

        Returns:
            (B, bands, 1 + L // hop), about 0 for speech, −2 for silence.

        Raises:
            ValueError: another rate, NaN, no sample (:func:`mmtutor.kit.waves.check_waves`).
        """
        check_rate(self.config, rate)
        x = check_waves(waves)
        x = F.pad(x, (0, max(0, 257 - x.shape[1])))  # shorter than a window: silence follows
        return (10 * torch.log10(self.mel(x) + FLOOR) + 40) / 20

    def encode(self, frames: Tensor) -> Tensor:
        """What the encoder makes of log mel frames (B, bands, T): (B, D, ⌈T / stride⌉)."""
        x = self.conv1(frames)
        for stage in self.stages:
            x = stage(x)
        return x

    @torch.no_grad()
    def teach(self, frames: Tensor, seed: int = 0) -> None:
        """Find the clusters that the riddle asks for, in log mel frames (N, bands)."""
        self.teacher.copy_(k_means(frames @ self.cepstra.T, self.config.teachers, seed=seed))

    def answers(self, frames: Tensor) -> Tensor:
        """The cluster of each log mel frame (B, bands, T), at the encoder's pace: (B, ⌈T / stride⌉)."""
        steps = frames[:, :, :: math.prod(self.config.strides)].transpose(1, 2)
        return nearest(steps @ self.cepstra.T, self.teacher)

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """How badly the encoder says which clusters lie under the masks.

        Args:
            batch: ``"frames"`` (B, bands, T), log mel.

        Returns:
            ``"loss"``: cross-entropy of the masked frames + ``told`` · that of the others; and both,
            ``"masked"`` and ``"open"``.

        Raises:
            ValueError: another shape, NaN, or no teacher yet.
        """
        c, x = self.config, batch["frames"]
        x = check_features(x, (c.bands, None))
        if x.device.type == "cpu" and not bool(self.teacher.any()):
            raise ValueError("there are no clusters to ask for yet: call teach() first")
        begin = torch.rand(len(x), 1, x.shape[2], device=x.device) < c.hide
        hidden = F.max_pool1d(begin.float(), c.span, 1, c.span // 2) > 0  # (B, 1, T)
        scores = self.answer(self.encode(x.masked_fill(hidden, 0.0)))
        loss = F.cross_entropy(scores, self.answers(x), reduction="none")
        weight = hidden[:, 0, :: math.prod(c.strides)].to(loss.dtype)
        masked = (loss * weight).sum() / weight.sum().clamp(min=1)
        told = (loss * (1 - weight)).sum() / (1 - weight).sum().clamp(min=1)
        return {
            "loss": masked + c.told * told,
            "masked": masked.detach(),
            "open": told.detach(),
        }

    @torch.no_grad()
    def learn_codes(self, frames: Sequence[Tensor], seed: int = 0) -> None:
        """Find the units: clusters of the encoder's features of recordings, log mel (bands, T) each;
        each feature is brought to mean 0 and deviation 1 before."""
        z = torch.cat([self.encode(x[None])[0].T for x in frames])
        self.spread.copy_(z.std(0).clamp(min=1e-3)), self.mean.copy_(z.mean(0))
        z = (z - self.mean) / self.spread
        self.codes.copy_(k_means(z, self.config.units, seed=seed))
        own = (z - self.codes[nearest(z, self.codes)]).square().sum(1)
        self.price.copy_(self.config.patience * own.median())

    @torch.no_grad()
    def strings(self, frames: Tensor, lengths: Sequence[int]) -> list[Heard]:
        """The units of recordings as log mel frames (B, bands, T), of which so many count."""
        if bool(self.price.isnan()):
            raise ValueError("there are no units yet: train, then call learn_codes()")
        if self.training:
            raise ValueError("the encoder is in training: call eval() first")
        z = (self.encode(frames).transpose(1, 2) - self.mean) / self.spread  # (B, T, D)
        near = z.square().sum(-1, keepdim=True) - 2 * z @ self.codes.T + self.codes.square().sum(1)
        stride, found = math.prod(self.config.strides), []
        ends = [-(-n // stride) for n in lengths]
        for t, end in enumerate(ends):  # beyond the end no code is nearer than another
            near[t, end:] = 0
        for row, end in zip(patient_codes(near.clamp(min=0), self.price), ends):
            found.append(run_lengths(row[:end]))
        return found

    @torch.no_grad()
    def units(self, wave: Tensor, rate: int | None = None) -> Heard:
        """The units of one recording (L,) of any length, in pieces of 20 seconds: an hour takes no
        more memory than a minute.

        Silence is a unit like others. A recording shorter than a frame is one unit.

        Raises:
            ValueError: as :meth:`frames`, and before there are units.
        """
        if not isinstance(wave, Tensor) or wave.ndim != 1:
            got = tuple(wave.shape) if isinstance(wave, Tensor) else type(wave).__name__
            raise ValueError(f"a recording is one wave (L,), got {got}")
        stride = math.prod(self.config.strides)
        piece, around = CHUNK * self.config.hop, 64 * stride  # frames of context on either side
        margin, codes = around * self.config.hop, []
        for start in range(0, max(1, len(wave)), piece):
            first = max(0, start - margin)
            part = self.frames(wave[None, first : start + piece + margin], rate)
            found = self.strings(part, [part.shape[2]])[0]
            row = found.units.repeat_interleave(found.frames)
            skip = (start - first) // self.config.hop // stride
            last = start + piece >= len(wave)
            codes.append(row[skip:] if last else row[skip : skip + CHUNK // stride])
        return run_lengths(torch.cat(codes))


def check_rate(config: Config, rate: int | None) -> None:
    """Raise a ValueError if a rate is given that is not the settings'."""
    if rate is not None and rate != config.rate:
        raise ValueError(
            f"the wave has {rate} samples a second, and {config.rate} are read: bring it there with "
            "mmtutor.sound.resample"
        )


# --- Picture → units ------------------------------------------------------------------------------


def as_captions(strings: Sequence[Tensor]) -> Tensor:
    """Strings of units as captions (M, T) for a captioner: ``<bos>``, units moved up by the number of
    special words, ``<eos>``, ``<pad>``."""
    own = [F.pad(F.pad(s + len(SPECIALS), (1, 0), value=BOS), (0, 1), value=EOS) for s in strings]
    return pad_sequence(own, batch_first=True, padding_value=PAD)


def as_units(ids: Sequence[int]) -> Tensor:
    """What a captioner wrote (without ``<bos>`` and ``<eos>``) as units; neighbours alike are merged,
    as in every string that the voice has learnt from."""
    own = torch.tensor([i - len(SPECIALS) for i in ids if i >= len(SPECIALS)], dtype=torch.long)
    return torch.unique_consecutive(own)


class Memory(NamedTuple):
    """What stays the same while a caption is written."""

    annotations: Tensor  # (B, L, D)
    keys: Tensor  # (B, L, A)


class State(NamedTuple):
    """What changes with each unit; with ``"fed"`` the second pair is empty."""

    h: Tensor  # (B, n)
    c: Tensor  # (B, n)
    h2: Tensor
    c2: Tensor


class ImageToUnits(nn.Module):
    """A captioner with attention whose words are units. It follows the protocol of
    :class:`mmtutor.kit.decoding.CaptionModel`.

    It knows nothing of units but their numbers: with a vocabulary of words (``words``) the same
    network writes text.

    Args:
        config: the settings.
        words: size of another vocabulary than the units', the four special words included.
    """

    def __init__(self, config: Config, words: int | None = None) -> None:
        super().__init__()
        self.config = c = config
        self.vocabulary = c.vocabulary if words is None else words
        cells, depth = c.grid[0] * c.grid[1], c.prepare or c.annotation
        fed = c.recurrence == "fed"
        self.prepare = Places(c.annotation, c.prepare, cells) if c.prepare else None
        self.words = nn.Embedding(self.vocabulary, c.embedding, padding_idx=PAD)
        self.first = nn.Linear(depth, 2 * c.hidden)
        self.key, self.ask = nn.Linear(depth, c.attention), nn.Linear(c.hidden, c.attention)
        if fed:
            self.score = nn.Linear(c.attention, 1)
            self.gate = nn.Linear(c.hidden, depth)
            self.lstm = nn.LSTM(c.embedding + depth, c.hidden, batch_first=True)
        else:
            self.lstm = nn.LSTM(c.embedding, c.hidden, batch_first=True)
            self.second = nn.LSTM(c.hidden + depth, c.hidden, batch_first=True)
        self.output = nn.Linear(c.hidden, self.vocabulary)
        self.dropout = nn.Dropout(c.dropout)

    def begin(self, features: Tensor) -> tuple[Memory, State]:
        """Look at maps (B, channels, height, width): what every step reads, and the first state."""
        c = self.config
        a = check_features(features, (c.annotation, *c.grid)).flatten(2).transpose(1, 2)
        a = a if self.prepare is None else self.prepare(a)  # (B, L, D)
        h, cell = self.first(a.mean(1)).chunk(2, -1)
        zero = torch.zeros_like(h if c.recurrence == "stacked" else h[:, :0])
        return Memory(a, self.key(a)), State(h, cell, zero, zero)

    def weights(self, asked: Tensor, memory: Memory) -> Tensor:
        """Where states (B, T, n) look: α (B, T, L), each row of sum 1."""
        query = self.ask(asked)  # (B, T, A)
        if self.config.recurrence == "stacked":
            scores = query @ memory.keys.transpose(1, 2) * query.shape[-1] ** -0.5
        else:
            scores = self.score(torch.relu(memory.keys[:, None] + query[:, :, None]))[..., 0]
        return scores.softmax(-1)

    def walk(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, Tensor, State]:
        """Read tokens (B, T): scores of the next ones (B, T, V), the weights α, the new state."""
        y = self.dropout(self.words(tokens))  # (B, T, m)
        pair = tuple(s[None].contiguous() for s in (state.h, state.c))  # cuDNN asks for it
        if self.config.recurrence == "stacked":
            h, pair = self.lstm(y, pair)
            alpha = self.weights(h, memory)
            z = alpha @ memory.annotations  # (B, T, D)
            h, more = self.second(torch.cat([h, z], -1), (state.h2[None], state.c2[None]))
            new = State(pair[0][0], pair[1][0], more[0][0], more[1][0])
            return self.output(self.dropout(h)), alpha, new
        hs, alphas = [], []
        for word in y.split(1, 1):
            alpha = self.weights(pair[0].transpose(0, 1), memory)
            z = torch.sigmoid(self.gate(pair[0].transpose(0, 1))) * (alpha @ memory.annotations)
            h, pair = self.lstm(torch.cat([word, z], -1), pair)
            hs.append(h), alphas.append(alpha)
        new = State(pair[0][0], pair[1][0], state.h2, state.c2)
        return self.output(self.dropout(torch.cat(hs, 1))), torch.cat(alphas, 1), new

    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        """Read one token (B,): the scores of the next one (B, V), and the new state."""
        scores, _, state = self.walk(tokens[:, None], state, memory)
        return scores[:, 0], state

    def forward(self, features: Tensor, captions: Tensor) -> Tensor:
        """Scores (B, T − 1, V) of each next token of given captions (B, T)."""
        check_captions(captions, self.vocabulary, len(features))
        memory, state = self.begin(features)
        return self.walk(captions[:, :-1], state, memory)[0]

    @torch.no_grad()
    def looks(self, features: Tensor, captions: Tensor) -> Tensor:
        """Where it looks before each token of given captions: α (B, T − 1, L)."""
        check_captions(captions, self.vocabulary, len(features))
        memory, state = self.begin(features)
        return self.walk(captions[:, :-1], state, memory)[1]

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """−log p(u_1 … u_T | picture), a token; with ``"fed"`` also Σ_l (1 − Σ_t α_tl)², mean over
        places (the paper's captioner, weight 1).

        Args:
            batch: ``"features"`` (B, channels, height, width) and ``"captions"`` (B, T).
        """
        captions = batch["captions"]
        check_captions(captions, self.vocabulary, len(batch["features"]))
        check_ended(captions)
        memory, state = self.begin(batch["features"])
        scores, alpha, _ = self.walk(captions[:, :-1], state, memory)
        goal = captions[:, 1:]
        nll = F.cross_entropy(scores.flatten(0, 1), goal.flatten(), ignore_index=PAD)
        if self.config.recurrence == "stacked":
            return {"loss": nll}
        seen = (alpha * (goal != PAD)[:, :, None]).sum(1)  # (B, L)
        return {"loss": nll + (1 - seen).square().mean(), "per_unit": nll.detach()}


# --- Units → speech -------------------------------------------------------------------------------


def pitch(waves: Tensor, rate: int = 16000, hop: int = 160) -> Tensor:
    """How high a voice is: hertz of each frame, 0 where it is not voiced.

    A voiced sound repeats itself after 1 / f₀ seconds. So it is compared with itself, moved by each
    lag: the autocorrelation, normalised by the energies of both parts. The first lag whose peak
    comes near the highest one counts, if that is above one half.

    Args:
        waves: (B, L), in [−1, 1].
        rate: samples a second.
        hop: samples from frame to frame.

    Returns:
        (B, 1 + L // hop), from 60 to 300 Hz, or 0.
    """
    x, _count = check_waves(waves), 1 + waves.shape[1] // hop
    if rate >= 8000 and hop % 2 == 0:  # every second sample is enough, and four times as fast
        x = F.avg_pool1d(F.pad(x, (0, 1))[:, None], 2)[:, 0]
        rate, hop = rate / 2, hop // 2
    shortest, longest = int(rate / HIGHEST), math.ceil(rate / LOWEST)
    size = 2 * longest  # two periods of the lowest voice
    x = F.pad(x, (size // 2, size - size // 2))
    own = x.unfold(1, size, hop)  # (B, M, size)
    own = own - own.mean(-1, keepdim=True)
    length = 2 ** math.ceil(math.log2(size + longest + 2))  # no lag comes round from the end
    power = torch.fft.rfft(own, length).abs().square()
    auto = torch.fft.irfft(power, length)[..., : longest + 2]  # (B, M, lags)
    energy = own.square().cumsum(-1)
    lags = torch.arange(longest + 2, device=x.device)
    head = energy[..., size - 1 - lags]  # of the samples that have a partner later
    tail = energy[..., -1:] - F.pad(energy, (1, 0))[..., lags]
    r = auto / (head * tail).clamp(min=1e-12).sqrt()
    inner = r[..., shortest : longest + 1]
    peak = (inner >= r[..., shortest - 1 : longest]) & (inner >= r[..., shortest + 1 : longest + 2])
    inner = inner.masked_fill(~peak, -1.0)
    best = inner.amax(-1, keepdim=True)
    lag = (inner >= 0.9 * best).to(torch.uint8).argmax(-1) + shortest  # (B, M), the first good one
    a, b, c = (r.gather(-1, (lag + d)[..., None])[..., 0] for d in (-1, 0, 1))
    bend = (a - 2 * b + c).clamp(max=-1e-6)  # a parabola through three points: its top
    exact = lag + (0.5 * (a - c) / bend).clamp(-0.5, 0.5)
    voiced = (best[..., 0] > 0.5) & (energy[..., -1] / size > 1e-5)
    return torch.where(voiced, rate / exact, torch.zeros_like(exact))[
        :, : 1 + waves.shape[1] // hop
    ]


def join_pitch(hertz: Tensor) -> tuple[Tensor, Tensor]:
    """Pitch (T,) as ln hertz without gaps, and where it is voiced (T,): straight lines across what has
    no pitch; the middle of the voice where there is none at all."""
    voiced = hertz > 0
    if not bool(voiced.any()):
        return torch.full_like(hertz, math.log(110.0)), voiced.to(hertz.dtype)
    at = voiced.nonzero()[:, 0]
    t = torch.arange(len(hertz), device=hertz.device)
    right = torch.searchsorted(at, t).clamp(max=len(at) - 1)
    left = (right - 1).clamp(min=0)
    left = torch.where(at[right] <= t, right, left)
    log = hertz[at].log()
    share = (t - at[left]) / (at[right] - at[left]).clamp(min=1)
    return torch.lerp(log[left], log[right], share.clamp(0, 1)), voiced.to(hertz.dtype)


class Spoken(NamedTuple):
    """What the voice makes of units, frame by frame."""

    mel: Tensor  # (B, bands, T), log mel
    pitch: Tensor  # (B, T), ln hertz
    voiced: Tensor  # (B, T), from 0 to 1
    frames: Tensor  # (B, N), how long each unit lasts


class Residual(nn.Module):
    """A convolution over time beside what was there; padding stays 0."""

    def __init__(self, width: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, kernel, 1, dilation * (kernel // 2), dilation)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        y = self.norm(torch.relu(self.conv(x)).transpose(1, 2)).transpose(1, 2)
        return (x + y) * there


class UnitsToSpeech(nn.Module):
    """Says units: how long each lasts and how high the voice is there, then frame by frame which
    sound.

    Durations are thrown away when units are merged, so the voice has to know them: from the unit and
    its neighbours. So it is with pitch. Told both of a recording, it speaks with that recording's
    rhythm and melody.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = c = config
        w = c.voice
        self.words = nn.Embedding(c.units + 1, w, padding_idx=c.units)  # the last: padding
        self.place = nn.Linear(2, w)  # where in the sentence: its melody falls
        self.around = nn.ModuleList(Residual(w, 5, d) for d in (1, 2, 1))
        self.plan = nn.Conv1d(w, 3, 1)  # ln frames, ln hertz, voiced or not
        self.tell = nn.Conv1d(5, w, 3, padding=1)
        self.body = nn.ModuleList(Residual(w, 5, d) for d in (1, 2, 4, 1))
        self.paint = nn.Conv1d(w, c.voice_bands, 1)
        self.mel = MelSpectrogram(
            c.rate, n_fft=c.window, hop_length=c.hop * math.prod(c.strides), n_mels=c.voice_bands
        )
        # middle and range of ln hertz and ln frames: of the voice that it learns from
        self.register_buffer("usual", torch.tensor([1.0, 4.7]))
        self.register_buffer("range", torch.tensor([0.7, 0.2]))

    @property
    def hop(self) -> int:
        """Samples of one frame."""
        return self.config.hop * math.prod(self.config.strides)

    def measure(self, waves: Tensor, rate: int | None = None) -> tuple[Tensor, Tensor]:
        """What it learns to make of waves (B, L): log mel (B, bands, T), and hertz (B, T)."""
        check_rate(self.config, rate)
        x = check_waves(waves)
        x = F.pad(x, (0, max(0, self.config.window // 2 + 1 - x.shape[1])))
        mel = (10 * torch.log10(self.mel(x) + FLOOR) + 40) / 20
        return mel, pitch(x, self.config.rate, self.hop)[:, : mel.shape[2]]

    def get_used_to(self, hertz: Tensor, frames: Tensor) -> None:
        """Learn the middle and the range of a voice from its pitch and of its units' durations, any
        number of both."""
        for k, own in enumerate((frames.double(), hertz[hertz > 0].double())):
            log = own.log()
            self.usual[k], self.range[k] = log.mean(), log.std().clamp(min=0.01)

    def check(self, units: Tensor, frames: Tensor | None = None) -> None:
        """Raise a ValueError unless units (B, N) are whole numbers from 0, −1 for padding at the end,
        and below the size of the codebook."""
        if not isinstance(units, Tensor) or units.ndim != 2 or 0 in units.shape:
            got = tuple(units.shape) if isinstance(units, Tensor) else type(units).__name__
            raise ValueError(f"units must be a tensor (B, N), none of them 0, got {got}")
        if units.dtype != torch.int64:
            raise ValueError(f"units must be whole numbers (int64), got {units.dtype}")
        if frames is not None and (frames.shape != units.shape or frames.is_floating_point()):
            raise ValueError(
                f"frames must be whole numbers {tuple(units.shape)}, got {tuple(frames.shape)} of "
                f"{frames.dtype}"
            )
        if units.device.type != "cpu":
            return
        if not -1 <= int(units.min()) <= int(units.max()) < self.config.units:
            raise ValueError(
                f"units lie in 0..{self.config.units - 1} (−1: padding), got {int(units.min())}.."
                f"{int(units.max())}: a unit that was never seen has no sound"
            )
        if bool(((units[:, 1:] >= 0) & (units[:, :-1] < 0)).any()) or bool((units[:, 0] < 0).any()):
            raise ValueError(
                "padding (−1) comes after the units, and every row has one unit or more"
            )
        if frames is not None and bool((frames[units >= 0] < 1).any()):
            raise ValueError("every unit lasts one frame or more")

    def plans(self, units: Tensor) -> tuple[Tensor, Tensor]:
        """What each unit means among its neighbours, (B, w, N), and the plan for it, (B, 3, N): ln
        frames and ln hertz in the ranges of the voice, and the logit of being voiced."""
        there = (units >= 0)[:, None].to(self.paint.weight.dtype)  # (B, 1, N)
        x = self.words(torch.where(units < 0, self.config.units, units))
        count = there.sum(2)  # (B, 1)
        k = torch.arange(units.shape[1], device=units.device)
        place = torch.stack([(k / count).clamp(max=1), (count - k).clamp(0, 8) / 8], -1)
        x = (x + self.place(place)).transpose(1, 2) * there  # (B, w, N)
        for layer in self.around:
            x = layer(x, there)
        return x, self.plan(x)

    def paint_frames(
        self, x: Tensor, frames: Tensor, log_hertz: Tensor, voiced: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Log mel (B, bands, T) of units (B, w, N) that last so many frames (B, N), at a pitch (B, T);
        and where there are frames (B, 1, T)."""
        time = log_hertz.shape[1]
        ends = frames.cumsum(1)  # (B, N)
        t = torch.arange(time, device=x.device).expand(len(x), -1).contiguous()
        own = torch.searchsorted(ends, t, right=True)  # which unit is at each frame
        there = (t < ends[:, -1:])[:, None].to(x.dtype)
        own = own.clamp(max=frames.shape[1] - 1)
        last, long = ends.gather(1, own), frames.gather(1, own).clamp(min=1)
        since = t - (last - long)
        how = torch.stack(
            [
                since / long,
                (since.clamp(max=10) + 1) / 10,
                (last - t).clamp(max=10) / 10,
                (log_hertz - self.usual[1]) / self.range[1] * voiced,
                voiced,
            ],
            1,
        )  # (B, 5, T)
        x = x.gather(2, own[:, None].expand(-1, x.shape[1], -1))
        x = (x + self.tell(how * there)) * there
        for layer in self.body:
            x = layer(x, there)
        return self.paint(x), there

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """How far mel, durations and pitch are from those of recordings.

        Args:
            batch: ``"units"`` (B, N), −1 after the end; ``"frames"`` (B, N), 0 after the end;
                ``"mel"`` (B, bands, T); ``"pitch"`` (B, T), ln hertz without gaps; ``"voiced"``
                (B, T).

        Returns:
            ``"loss"``: mean absolute error of log mel, + squared errors of the ln durations and, where
            voiced, ln hertz of units, both in the voice's range, + cross-entropy of voiced or not.
        """
        units, frames = batch["units"], batch["frames"]
        self.check(units, frames)
        x, plan = self.plans(units)
        mel, there = self.paint_frames(x, frames, batch["pitch"], batch["voiced"])
        painted = ((mel - batch["mel"]).abs() * there).sum() / there.sum() / mel.shape[1]
        known = (units >= 0).to(mel.dtype)
        long = (frames.clamp(min=1).to(mel.dtype).log() - self.usual[0]) / self.range[0]
        loud = unit_means(batch["voiced"], frames)  # (B, N), share of a unit that is voiced
        high = unit_means(batch["pitch"] * batch["voiced"], frames) / loud.clamp(min=1e-3)
        high = (high - self.usual[1]) / self.range[1]
        timing = ((plan[:, 0] - long).square() * known).sum() / known.sum()
        tune = ((plan[:, 1] - high).square() * loud * known).sum() / (loud * known).sum().clamp(
            min=1
        )
        breath = F.binary_cross_entropy_with_logits(plan[:, 2], loud.clamp(0, 1), weight=known)
        return {
            "loss": painted + 0.2 * timing + 0.2 * tune + 0.2 * breath,
            "mel": painted.detach(),
            "timing": timing.detach(),
            "tune": tune.detach(),
        }

    @torch.no_grad()
    def say(
        self,
        units: Tensor,
        frames: Tensor | None = None,
        log_hertz: Tensor | None = None,
        voiced: Tensor | None = None,
    ) -> Spoken:
        """Units (B, N), −1 after the end, as mel frames; with durations (B, N) or pitch and voicing
        (B, T) of somebody else if given.

        The pitch of a unit holds in its middle; between them go straight lines.
        """
        self.check(units, frames)
        x, plan = self.plans(units)
        there = units >= 0
        if frames is None:
            long = (plan[:, 0] * self.range[0] + self.usual[0]).exp()
            # a unit is never much longer than the longest that the voice has learnt from
            longest = (self.usual[0] + 4 * self.range[0]).exp()
            frames = long.clamp(max=longest).round().clamp(min=1).long()
        frames = torch.where(there, frames, 0)
        if log_hertz is None or voiced is None:
            middle = frames.cumsum(1) - (frames + 1) / 2  # (B, N)
            high = plan[:, 1] * self.range[1] + self.usual[1]
            time = int(frames.sum(1).max())
            t = torch.arange(time, device=x.device, dtype=middle.dtype).expand(len(x), -1)
            loud = torch.sigmoid(plan[:, 2])
            # what is not voiced has no pitch of its own: it leans on its neighbours
            high = smooth(high, (loud + 0.02) * there)
            log_hertz = between(t, middle, high, there)
            own = torch.searchsorted(frames.cumsum(1), t.long().contiguous(), right=True)
            voiced = (loud > 0.5).to(x.dtype).gather(1, own.clamp(max=units.shape[1] - 1))
        mel, known = self.paint_frames(x, frames, log_hertz, voiced)
        return Spoken(mel.masked_fill(known == 0, -2.0), log_hertz, voiced * known[:, 0], frames)

    @torch.no_grad()
    def speak(
        self, units: Tensor, vocoder: str = "channel", how: Spoken | None = None
    ) -> list[Tensor]:
        """Units (B, N), −1 after the end, as waves (L,) at ``config.rate``; ``how`` may say them
        already."""
        spoken = self.say(units) if how is None else how
        lengths = spoken.frames.sum(1).tolist()
        waves = vocode(self, spoken, vocoder)
        return [wave[: n * self.hop] for wave, n in zip(waves, lengths)]


def unit_means(x: Tensor, frames: Tensor) -> Tensor:
    """The mean of what frames (B, T) hold, for each unit that lasts so many of them (B, N)."""
    sums = F.pad(x.cumsum(1), (1, 0))
    ends = frames.cumsum(1).clamp(max=x.shape[1])
    starts = (ends - frames).clamp(min=0)
    return (sums.gather(1, ends) - sums.gather(1, starts)) / frames.clamp(min=1)


def smooth(x: Tensor, weight: Tensor) -> Tensor:
    """The weighted mean of each place (B, N) and its neighbours; 0 where all weights are 0."""
    kernel = x.new_tensor([0.25, 0.5, 0.25])[None, None]
    sums = F.conv1d(
        F.pad(torch.stack([x * weight, weight], 0).flatten(0, 1)[:, None], (1, 1)), kernel
    )
    top, bottom = sums[:, 0].chunk(2)
    return top / bottom.clamp(min=1e-6)


def between(t: Tensor, at: Tensor, values: Tensor, there: Tensor) -> Tensor:
    """Values (B, N) that hold at times (B, N), at other times (B, T): straight lines between."""
    big = torch.finfo(at.dtype).max / 4
    right = torch.searchsorted(torch.where(there, at, big).contiguous(), t.contiguous())
    last = there.sum(1, keepdim=True) - 1
    right = torch.minimum(right, last)
    left = (right - 1).clamp(min=0)
    a, b = at.gather(1, left), at.gather(1, right)
    share = ((t - a) / (b - a).clamp(min=1e-6)).clamp(0, 1)
    return torch.lerp(values.gather(1, left), values.gather(1, right), share)


def excitation(log_hertz: Tensor, voiced: Tensor, rate: int, hop: int, seed: int = 0) -> Tensor:
    """What the throat gives: a pulse at each period where there is a voice, noise elsewhere; frames
    (B, T) to samples (B, T · hop)."""
    hertz = F.interpolate(log_hertz[:, None], scale_factor=hop, mode="linear")[:, 0].exp()
    loud = F.interpolate(voiced[:, None], scale_factor=hop, mode="linear")[:, 0]
    turns = (hertz.double() / rate).cumsum(1)
    pulse = (turns.floor().diff(dim=1, prepend=turns.new_zeros(len(turns), 1)) > 0).to(hertz.dtype)
    dice = torch.Generator().manual_seed(seed)
    noise = torch.randn(hertz.shape, generator=dice).to(hertz)
    # a pulse each P samples is as loud as noise of deviation 1 / √P
    pulse = pulse * (rate / hertz).sqrt()
    return loud * (pulse + 0.02 * noise) + (1 - loud) * noise


def vocode(voice: UnitsToSpeech, spoken: Spoken, how: str = "channel") -> Tensor:
    """Waves (B, T · hop) of what the voice says.

    ``"channel"``: the channel vocoder. Pulses and noise (:func:`excitation`) go through as many
    filters as there are mel bands, and each band is made as loud as the voice says. ``"griffin-lim"``:
    the power is guessed from the mel bands, then a phase that fits it; pitch is what mel has of it.
    """
    if how not in VOCODERS:
        raise ValueError(f"vocoder must be one of {VOCODERS}, got {how!r}")
    c, bank = voice.config, voice.mel.filterbank  # (bands, F)
    power = (10 ** ((20 * spoken.mel - 40) / 10) - FLOOR).clamp(min=0)
    length = spoken.mel.shape[2] * voice.hop
    if how == "griffin-lim":
        magnitude = mel_to_power(power, bank).sqrt()
        return griffin_lim(F.pad(magnitude, (0, 1)), c.window, voice.hop, length=length)
    raw = excitation(spoken.pitch, spoken.voiced, c.rate, voice.hop)
    X = stft(raw, c.window, voice.hop)[..., : power.shape[-1]]
    share = bank / bank.sum(0).clamp(min=1e-8)  # how much of each frequency is which band's
    gain = (power / (bank @ X.abs().square()).clamp(min=1e-6)).sqrt()  # (B, bands, T)
    X = F.pad(X * (share.T @ gain), (0, 1))
    return istft(X, c.window, voice.hop, length=length).clamp(-1, 1)
