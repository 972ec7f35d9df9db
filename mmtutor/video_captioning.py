"""Video captioning: the mean of the frames, or attention over time.

A clip is a row of frame vectors. Both captioners here write the same way, with one LSTM and one
readout. They differ in a single line: what they see of the clip when they choose a word.
``pooling="mean"`` gives the mean of all frames at every step; ``pooling="attention"`` weighs the
frames anew for each word. Read from top to bottom: the configuration, pooling and attention, the
model, its checks.

Sources: Venugopalan et al. 2015 (mean of the frames); Yao et al. 2015 (temporal attention), with
the scalar gate, the tanh readout and the layer sizes of the program that its authors published; the
penalty is that of Xu et al. 2015, section 4.2.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtutor.kit.text import PAD, SPECIALS, check_captions, check_ended
from mmtutor.kit.vision import finite

POOLINGS = ("attention", "mean")
TIMES = ("add", "multiply", "none")
PAD_ID = SPECIALS.index(PAD)
#: Settings that a choice does not read. To set one would promise what does not happen.
UNREAD = {("pooling", "mean"): ("attention", "penalty"), ("time", "none"): ("frames",)}


@dataclass(frozen=True)
class Config:
    """Settings of a video captioner.

    Args:
        vocabulary: number of words V, special words included.
        features: length D of the vector that comes for each frame.
        pooling: ``"attention"`` weighs the frames anew for each word, ``"mean"`` gives their mean
            at every step.
        width: frames are first projected to this length P by a linear layer; 0: they stay as they
            are (P = D).
        embedding: length E of a word vector.
        hidden: LSTM units H.
        attention: units A of the additive attention (not used by the mean).
        time: what a frame v_i is told of its place in the clip, by a learned vector p_i: ``"add"``
            makes it v_i + p_i, ``"multiply"`` v_i ⊙ (1 + p_i), ``"none"`` leaves it as it is.
        frames: most frames a clip may have; not used without ``time``.
        dropout: of the LSTM's output and of the readout, in training.
        penalty: weight of Σ_i (1 − Σ_t α_ti)², which asks that every frame be looked at (not for
            the mean, which always looks at all alike).
    """

    vocabulary: int
    features: int
    pooling: str = "attention"
    width: int = 192
    embedding: int = 128
    hidden: int = 256
    attention: int = 128
    time: str = "add"
    frames: int = 16
    dropout: float = 0.2
    penalty: float = 0.0

    def __post_init__(self) -> None:
        for name, least in [
            ("features", 1),
            ("width", 0),
            ("embedding", 1),
            ("hidden", 1),
            ("attention", 1),
            ("frames", 1),
        ]:
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.vocabulary <= len(SPECIALS):
            raise ValueError(
                f"vocabulary counts {len(SPECIALS)} special words, so it must exceed that, got {self.vocabulary}"
            )
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {POOLINGS}, got {self.pooling!r}")
        if self.time not in TIMES:
            raise ValueError(f"time must be one of {TIMES}, got {self.time!r}")
        if not 0 <= self.dropout < 1 or not 0 <= self.penalty < math.inf:
            raise ValueError(
                f"dropout must lie in [0, 1) and penalty be finite and ≥ 0, got {self.dropout} and {self.penalty}"
            )
        default = {f.name: f.default for f in fields(self)}
        for (choice, made), names in UNREAD.items():
            for name in names:
                if getattr(self, choice) == made and getattr(self, name) != default[name]:
                    raise ValueError(
                        f"{name} = {getattr(self, name)} has no effect with {choice} = {made!r}; leave it at {default[name]}"
                    )

    @classmethod
    def world(cls, vocabulary: int, features: int, **changes: object) -> Config:
        """For clips of the world on two CPU cores."""
        return cls(**{"vocabulary": vocabulary, "features": features, **changes})

    @classmethod
    def paper(cls, **changes: object) -> Config:
        """The sizes of the program of Yao et al. 2015: GoogLeNet vectors of 28 frames, 3,518 units,
        20,000 words.

        Their program weighs the penalty with 0.70602, but sums it over the batch and averages it
        over frames; here it is summed over frames and averaged over captions, as the formula says.
        """
        sizes = dict(
            vocabulary=20_000,
            features=1024,
            width=0,
            embedding=468,
            hidden=3518,
            time="none",
            dropout=0.5,
        )
        if changes.get("pooling") != "mean":
            sizes |= dict(attention=1024, penalty=0.70602)
        if changes.get("time", "none") != "none":
            sizes |= dict(frames=28)  # without time there is no limit
        return cls(**{**sizes, **changes})


# --- Pooling --------------------------------------------------------------------------------------


def masked_mean(frames: Tensor, mask: Tensor) -> Tensor:
    """The mean over real frames: frames (B, F, P), mask (B, F), True where real; returns (B, P)."""
    weight = mask.to(frames.dtype)
    return torch.einsum("bf,bfp->bp", weight, frames) / weight.sum(1, keepdim=True)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the real frames, exactly 0 on padding: scores (B, F), mask (B, F) with a True in
    each row."""
    return scores.masked_fill(~mask, -torch.inf).softmax(1)


class TemporalAttention(nn.Module):
    """How much each frame counts for the next word (Yao et al. 2015, section 4.1).

    The score of frame i is e_i = wᵀ tanh(W_a h + U_a v_i + b_a). Only W_a h changes from word to
    word, so U_a v_i + b_a, the ``keys``, are computed once a clip.

    Args:
        frame: length P of a frame vector.
        hidden: length H of the LSTM's state.
        units: A.
    """

    def __init__(self, frame: int, hidden: int, units: int) -> None:
        super().__init__()
        self.key = nn.Linear(frame, units)  # U_a and b_a
        self.query = nn.Linear(hidden, units, bias=False)  # W_a
        # w. Its bias shifts all scores alike and so changes nothing; it is here because the
        # authors' program has it.
        self.score = nn.Linear(units, 1)

    def forward(self, h: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """h (B, H), keys (B, F, A), mask (B, F) -> weights (B, F)."""
        scores = self.score(torch.tanh(self.query(h)[:, None] + keys))  # (B, F, 1)
        return masked_softmax(scores[:, :, 0], mask)


# --- The model ------------------------------------------------------------------------------------


class Memory(NamedTuple):
    """What does not change while a caption is written."""

    frames: Tensor  # (B, F, P)
    keys: Tensor  # (B, F, A): U_a v_i + b_a; (B, F, 0) for the mean
    mean: Tensor  # (B, P)
    mask: Tensor  # (B, F)


State = tuple[Tensor, Tensor]  # h and c of the LSTM, (B, H) each


class VideoCaptioner(nn.Module):
    """Frames in, words out.

    Args:
        config: the settings.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        frame, words, hidden = config.width or config.features, config.embedding, config.hidden
        self.project = nn.Linear(config.features, frame) if config.width else nn.Identity()
        self.time = (
            None if config.time == "none" else nn.Parameter(self._time_line(config.frames, frame))
        )
        self.embed = nn.Embedding(config.vocabulary, words)
        self.start_h, self.start_c = nn.Linear(frame, hidden), nn.Linear(frame, hidden)
        self.attention = (
            TemporalAttention(frame, hidden, config.attention)
            if config.pooling == "attention"
            else None
        )
        self.gate = nn.Linear(hidden, 1)
        # The LSTM's four gates (input, forget, candidate, output) from the word, the state and the
        # context.
        self.from_word = nn.Linear(words, 4 * hidden)
        self.from_state = nn.Linear(hidden, 4 * hidden, bias=False)
        self.from_context = nn.Linear(frame, 4 * hidden, bias=False)
        self.read_state, self.read_context = nn.Linear(hidden, words), nn.Linear(frame, words)
        self.output = nn.Linear(words, config.vocabulary)
        self.dropout = nn.Dropout(config.dropout)
        with torch.no_grad():
            self.from_word.bias[hidden : 2 * hidden] += 1  # remember by default

    def _time_line(self, frames: int, size: int) -> Tensor:
        """Where the time vectors start: along a straight line through time, (frames, size).

        Added, they must be louder than what the frames show, or the attention takes long to notice
        them.
        """
        scale = 3.0 if self.config.time == "add" else 1.0
        return scale * torch.linspace(-1, 1, frames)[:, None] * torch.randn(size)

    def begin(self, inputs: Tensor | Sequence[Tensor | None]) -> tuple[Memory, State]:
        """Look at the clips once, before the first word.

        Args:
            inputs: features (B, F, D), or a pair of features and a mask (B, F) that is True where a
                frame is real. What padded frames hold does not matter.

        Returns:
            what stays the same for all words, and the LSTM's first state.

        Raises:
            TypeError, ValueError: wrong types or sizes, no frame, a clip of padding only, more than
                ``config.frames`` frames with ``time``, or (on a CPU) NaN or infinity in a real
                frame.
        """
        x, mask = self._checked(*((inputs, None) if isinstance(inputs, Tensor) else inputs))
        v = self.project(x)  # (B, F, P)
        if self.time is not None:
            p = self.time[: v.shape[1]]  # (F, P)
            v = v + p if self.config.time == "add" else v * (1 + p)
        mean = masked_mean(v, mask)
        keys = v[:, :, :0] if self.attention is None else self.attention.key(v)
        return Memory(v, keys, mean, mask), (
            torch.tanh(self.start_h(mean)),
            torch.tanh(self.start_c(mean)),
        )

    def weigh(self, h: Tensor, memory: Memory) -> Tensor:
        """How much each frame counts, (B, F): the attention of the state h (B, H), or the same for
        all real frames."""
        if self.attention is None:
            return memory.mask / memory.mask.sum(1, keepdim=True)
        return self.attention(h, memory.keys, memory.mask)

    def _cell(self, gates: Tensor, state: State, memory: Memory) -> tuple[Tensor, Tensor, State]:
        """One step of the LSTM. ``gates`` (B, 4H) is the word's part. Returns weights (B, F),
        context (B, P) and state."""
        h, c = state
        weights = self.weigh(h, memory)
        if self.attention is None:
            context = memory.mean
        else:
            context = torch.einsum("bf,bfp->bp", weights, memory.frames)
        context = torch.sigmoid(self.gate(h)) * context  # (B, 1) * (B, P): how much to look at all
        i, f, g, o = (gates + self.from_state(h) + self.from_context(context)).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return weights, context, (h, c)

    def _read(self, h: Tensor, context: Tensor, word: Tensor) -> Tensor:
        """Logits from the state, the context and the previous word, each of any leading shape."""
        readout = torch.tanh(self.read_state(self.dropout(h)) + self.read_context(context) + word)
        return self.output(self.dropout(readout))

    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        """The next word's logits: tokens (B,), state and memory of :meth:`begin` -> logits (B, V)
        and the new state."""
        word = self.embed(tokens)  # (B, E)
        _, context, state = self._cell(self.from_word(word), state, memory)
        return self._read(state[0], context, word), state

    def _teach(
        self, features: Tensor, captions: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Read whole captions: logits (B, T − 1, V) and weights (B, T − 1, F)."""
        memory, state = self.begin((features, mask))
        check_captions(captions, self.config.vocabulary, len(features), "clip")
        words = self.embed(captions[:, :-1])  # (B, T - 1, E)
        gates = self.from_word(
            words
        )  # all words at once; only what depends on h must wait for its turn
        steps = []
        for word_gates in gates.unbind(1):
            weights, context, state = self._cell(word_gates, state, memory)
            steps.append((weights, context, state[0]))
        weights, contexts, states = (torch.stack(part, dim=1) for part in zip(*steps, strict=True))
        return self._read(states, contexts, words), weights

    def forward(self, features: Tensor, captions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Teacher forcing.

        Args:
            features: (B, F, D).
            captions: ids (B, T), ``<bos>`` first, padded with ``<pad>``; T at least 2.
            mask: (B, F), True where a frame is real; all are if not given.

        Returns:
            logits (B, T − 1, V); row t predicts ``captions[:, t + 1]``.

        Raises:
            TypeError, ValueError: see :meth:`begin` and :func:`mmtutor.kit.text.check_captions`.
        """
        return self._teach(features, captions, mask)[0]

    def attend(self, features: Tensor, captions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Where it looked: (B, T − 1, F); row t holds the weights with which ``captions[:, t + 1]``
        was predicted."""
        return self._teach(features, captions, mask)[1]

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor | dict[str, Tensor]:
        """−log p of a caption, summed over its words and averaged over captions; and the penalty,
        if it has a weight.

        The captions must be whole, ``<eos>`` included.

        Args:
            batch: ``features`` (B, F, D), ``captions`` (B, T), and ``mask`` (B, F) where clips are
                padded. For N captions of each clip, ``captions`` may be (B, N, T).
        """
        features, captions, mask = batch["features"], batch["captions"], batch.get("mask")
        if captions.ndim == 3:
            features, mask = (
                None if x is None else x.repeat_interleave(captions.shape[1], 0)
                for x in (features, mask)
            )
            captions = captions.flatten(0, 1)
        logits, weights = self._teach(features, captions, mask)
        check_ended(captions)
        target = captions[:, 1:]
        words = F.cross_entropy(
            logits.flatten(0, 1), target.flatten(), ignore_index=PAD_ID, reduction="sum"
        )
        words = words / len(captions)
        if not self.config.penalty:
            return words
        real = torch.ones_like(weights[:, 0], dtype=torch.bool) if mask is None else mask
        looked = (weights * (target != PAD_ID)[:, :, None]).sum(1)  # (B, F)
        unseen = ((1 - looked).square() * real).sum(1).mean()
        return {"words": words, "penalty": self.config.penalty * unseen}

    # --- Checks. What needs the values is looked at on a CPU only: a GPU would have to wait for the answer.

    def _checked(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features with zeros on padding, and the mask."""
        if not isinstance(x, Tensor) or not x.is_floating_point():
            got = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"features must be a tensor of floats (B, F, D), got {got}")
        if x.ndim != 3 or x.shape[2] != self.config.features:
            raise ValueError(
                f"features must have shape (B, F, {self.config.features}), got {tuple(x.shape)}"
            )
        if 0 in x.shape:
            raise ValueError(
                f"a clip needs at least one frame, and a batch one clip; got features {tuple(x.shape)}"
            )
        if self.time is not None and x.shape[1] > self.config.frames:
            raise ValueError(
                f"{x.shape[1]} frames, but config.frames, the number of places in time, is {self.config.frames}"
            )
        if mask is None:
            mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        elif not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != x.shape[:2]:
            got = (
                f"{mask.dtype} {tuple(mask.shape)}"
                if isinstance(mask, Tensor)
                else type(mask).__name__
            )
            raise ValueError(
                f"mask must be a bool tensor {tuple(x.shape[:2])}, True where a frame is real, got {got}"
            )
        else:
            x = x.masked_fill(~mask[:, :, None], 0)  # NaN on padding would survive a weight of 0
        if x.device.type == "cpu":
            if not mask.any(1).all():
                raise ValueError(
                    f"clip {int((~mask.any(1)).nonzero()[0])} has no real frame: its mask is False throughout"
                )
            if not finite(x):
                raise ValueError("features hold NaN or infinity in a real frame")
        return x, mask
