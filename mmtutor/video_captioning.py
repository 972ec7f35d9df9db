"""Video captioning: the mean of the frames, or attention over time.

A clip is a row of frame vectors. Both captioners here write the same way, with one LSTM and one
readout. They differ in a single line: what they see of the clip when they choose a word.
``pooling="mean"`` gives the mean of all frames at every step; ``pooling="attention"`` weighs the
frames anew for each word.

A frame may also come as a map (:mod:`mmtutor.kit.vision`), so that what is seen can be told from
where it is. Then three things that the papers do not have bind verbs to things, each a switch
(:meth:`Config.bound`): the cells of the map know where they lie (:mod:`mmtutor.kit.places`); a frame
lists what is in it (:func:`present`); and the word that has just been said is looked for in *every*
frame (:meth:`VideoCaptioner.follow`). What is found there, frame after frame, is the *track* of the
thing: after "the dog" the captioner knows how the dog moves, whatever else is in the clip.

Read from top to bottom: the configuration, pooling and attention, the model, its checks.

Sources: Venugopalan et al. 2015 (mean of the frames); Yao et al. 2015 (temporal attention), with
the scalar gate, the tanh readout and the layer sizes of the program that its authors published; the
penalty is that of Xu et al. 2015, section 4.2.1. Maps and tracks are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtutor.kit.places import Places
from mmtutor.kit.pointing import Pointer
from mmtutor.kit.text import PAD, SPECIALS, check_captions, check_ended
from mmtutor.kit.vision import finite

POOLINGS = ("attention", "mean")
TIMES = ("add", "multiply", "none")
PLACES = ("product", "sum")
PAD_ID = SPECIALS.index(PAD)
#: Settings that a choice does not read. To set one would promise what does not happen.
UNREAD = {
    ("pooling", "mean"): ("attention", "penalty"),
    ("grid", None): ("content", "places", "beside", "point"),
    ("point", 0): ("listing", "track", "naming", "names"),
}


@dataclass(frozen=True)
class Config:
    """Settings of a video captioner.

    Args:
        vocabulary: number of words V, special words included.
        features: length D of the vector that comes for each frame; with a ``grid`` the channels of
            its map.
        pooling: ``"attention"`` weighs the frames anew for each word, ``"mean"`` gives their mean
            at every step.
        width: frames are first projected to this length P by a linear layer; 0: they stay as they
            are (P = D).
        embedding: length E of a word vector.
        hidden: LSTM units H.
        attention: units A of the additive attention (not used by the mean).
        time: what a frame v_i is told of its place in the clip, by a learned vector p_i: ``"add"``
            makes it v_i + p_i, ``"multiply"`` v_i ⊙ (1 + p_i), ``"none"`` leaves it as it is.
        frames: most frames a clip may have; not used without ``time`` and ``track``.
        dropout: of the LSTM's output and of the readout, in training.
        penalty: weight of Σ_i (1 − Σ_t α_ti)², which asks that every frame be looked at (not for
            the mean, which always looks at all alike).
        grid: height and width of a frame's map, L = height × width cells; ``None``: a frame comes
            as a vector (the papers).
        content: numbers of a cell's annotation that say what is in it; see
            :mod:`mmtutor.kit.places`.
        places: how they are told of the place: by the ``"product"``, or by the ``"sum"``.
        beside: numbers of the position alone that follow them.
        point: k, length of the keys and queries with which words are looked for in the cells; 0:
            they are not.
        listing: a frame tells which of the names are to be seen in it; without, the mean of its
            cells has to.
        track: the word that has just been said is followed through the frames.
        naming: weight of naming the cells, which teaches to find words. The batch then has
            ``"cells"``.
        names: ids of the words that can name a cell.
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
    grid: tuple[int, int] | None = None
    content: int = 16
    places: str = "product"
    beside: int = 0
    point: int = 0
    listing: bool = False
    track: bool = False
    naming: float = 0.0
    names: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("grid", "names"):  # lists, if read from a file
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, least in [
            ("features", 1),
            ("width", 0),
            ("embedding", 1),
            ("hidden", 1),
            ("attention", 1),
            ("frames", 1),
            ("content", 1),
            ("beside", 0),
            ("point", 0),
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
        if self.places not in PLACES:
            raise ValueError(f"places must be one of {PLACES}, got {self.places!r}")
        if not 0 <= self.naming < math.inf:
            raise ValueError(f"naming must be finite and not negative, got {self.naming}")
        unread = dict(UNREAD)
        if not self.track:
            unread["time", "none"] = ("frames",)
        default = {f.name: f.default for f in fields(self)}
        for (choice, made), names in unread.items():
            for name in names:
                if getattr(self, choice) == made and getattr(self, name) != default[name]:
                    raise ValueError(
                        f"{name} = {getattr(self, name)} has no effect with {choice} = {made!r}; leave it at {default[name]}"
                    )
        if self.grid is not None and (len(self.grid) != 2 or min(self.grid) < 1):
            raise ValueError(f"grid must be (height, width), each at least 1, got {self.grid}")
        if self.grid is not None and not self.width:
            raise ValueError("with a grid a frame is made of the mean of its cells: set width")
        if self.point and not (self.listing or self.track or self.naming):
            raise ValueError("point has no effect without listing, track or naming; leave it at 0")
        if bool(self.names) != bool(self.naming or self.listing):
            raise ValueError(
                "listing and naming need the ids of the names, and these have no effect without them; "
                f"got listing = {self.listing}, naming = {self.naming} and {len(self.names)} names"
            )
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"names must hold each id once, got {self.names}")
        if self.names and not 0 < min(self.names) <= max(self.names) < self.vocabulary:
            raise ValueError(f"names must be ids in 1..{self.vocabulary - 1}, got {self.names}")

    @classmethod
    def world(cls, vocabulary: int, features: int, **changes: object) -> Config:
        """For clips of the world on two CPU cores."""
        return cls(**{"vocabulary": vocabulary, "features": features, **changes})

    @classmethod
    def bound(
        cls, vocabulary: int, features: int, names: tuple[int, ...], **changes: Any
    ) -> Config:
        """The world's sizes, for frames that come as maps, with all that binds verbs to things;
        ``names`` are the ids of the words that can name a cell."""
        made = dict(grid=(6, 6), beside=24, point=32, listing=True, track=True, naming=1.0)
        return cls(vocabulary, features, **{**made, "names": names, **changes})

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


# --- What is in a frame ---------------------------------------------------------------------------


def present(pointer: Pointer, names: Tensor, keys: Tensor) -> Tensor:
    """How surely each name is to be seen in a frame: the probability of the name in the cell that
    shows it most surely. (A mean over cells would drown a small thing in its background.)

    Args:
        pointer: what names cells.
        names: (N, E), the vectors of the words that can name a cell.
        keys: (B, L, k), of the cells of B frames.

    Returns:
        (B, N), from 0 to 1.
    """
    scores = pointer.scores(names, keys)  # (B, N, L)
    none = torch.zeros_like(scores[:, :1])
    return torch.cat([scores, none], 1).softmax(1)[:, :-1].amax(2)


# --- The model ------------------------------------------------------------------------------------


class Memory(NamedTuple):
    """What does not change while a caption is written."""

    frames: Tensor  # (B, F, P)
    keys: Tensor  # (B, F, A): U_a v_i + b_a; (B, F, 0) for the mean
    mean: Tensor  # (B, P)
    mask: Tensor  # (B, F)
    cells: Tensor  # (B, F, L, D'), the annotations; L = 0 without a grid
    found_by: Tensor  # (B, F, L, k), the keys by which words find cells; k = 0 without pointing


State = tuple[Tensor, Tensor]  # h and c of the LSTM, (B, H) each


class Taught(NamedTuple):
    """One pass over given captions."""

    logits: Tensor  # (B, T − 1, V)
    weights: Tensor  # (B, T − 1, F)
    points: Tensor | None  # (B, T − 1, F, L), where the word just read was found
    found_by: Tensor  # (B, F, L, k), what naming the cells needs


class VideoCaptioner(nn.Module):
    """Frames in, words out.

    Args:
        config: the settings.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        frame, words, hidden = config.width or config.features, config.embedding, config.hidden
        depth = config.content + config.beside  # D', of an annotation
        seen = depth if config.grid else config.features
        self.project = nn.Linear(seen, frame) if config.width else nn.Identity()
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
        # For frames that come as maps.
        self.places = (
            Places(
                config.features,
                config.content,
                math.prod(config.grid),
                config.places,
                beside=config.beside,
            )
            if config.grid
            else None
        )
        self.pointer = Pointer(config.features, words, config.point) if config.point else None
        self.list = nn.Linear(len(config.names), frame, bias=False) if config.listing else None
        if config.track:
            self.from_track = nn.Linear(config.frames * depth, 4 * hidden, bias=False)
            self.read_track = nn.Linear(config.frames * depth, words, bias=False)
        names = torch.tensor(config.names, dtype=torch.long)
        self.register_buffer("names", names, persistent=False)
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
            inputs: features (B, F, D), with a grid (B, F, D, height, width), or a pair of features
                and a mask (B, F) that is True where a frame is real. What padded frames hold does
                not matter.

        Returns:
            what stays the same for all words, and the LSTM's first state.

        Raises:
            TypeError, ValueError: wrong types or sizes, no frame, a clip of padding only, more than
                ``config.frames`` frames with ``time`` or ``track``, or (on a CPU) NaN or infinity
                in a real frame.
        """
        x, mask = self._checked(*((inputs, None) if isinstance(inputs, Tensor) else inputs))
        v, cells, found_by = self._frames(x)  # v: (B, F, P)
        if self.time is not None:
            p = self.time[: v.shape[1]]  # (F, P)
            v = v + p if self.config.time == "add" else v * (1 + p)
        mean = masked_mean(v, mask)
        keys = v[:, :, :0] if self.attention is None else self.attention.key(v)
        return Memory(v, keys, mean, mask, cells, found_by), (
            torch.tanh(self.start_h(mean)),
            torch.tanh(self.start_c(mean)),
        )

    def _frames(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The frames (B, F, P), without their time; the annotations of their cells (B, F, L, D');
        and the keys by which words find the cells (B, F, L, k)."""
        if self.places is None:
            nothing = x[:, :, None, :0]
            return self.project(x), nothing[:, :, :0], nothing[:, :, :0]
        c = x.flatten(0, 1).flatten(2).transpose(1, 2)  # (B · F, L, D), what is in each cell
        a = self.places(c)  # (B · F, L, D')
        keys = c[:, :, :0] if self.pointer is None else self.pointer.key(c)  # (B · F, L, k)
        v = self.project(a.mean(1))
        if self.list is not None:
            v = v + self.list(present(self.pointer, self.embed(self.names), keys))
        return tuple(each.unflatten(0, x.shape[:2]) for each in (v, a, keys))

    def follow(self, words: Tensor, memory: Memory) -> tuple[Tensor, Tensor] | None:
        """Follow words that have just been said through the frames.

        In each frame a word is looked for by itself (:class:`mmtutor.kit.pointing.Pointer`); where
        it is not to be seen, the weights sum to nearly 0. Found is the weighted mean of the
        annotations: what is there, and where. One after the other, frame by frame, that is the
        word's track. It does not depend on the LSTM's state, so in training it is made for all
        words at once.

        Args:
            words: (B, T, E), vectors of words.
            memory: of the clips.

        Returns:
            the weights (B, T, F, L), and the tracks (B, T, frames · D'), with zeros where a clip
            has fewer frames than ``config.frames``; ``None`` without ``track``.
        """
        if not self.config.track:
            return None
        count = memory.mask.shape[1]  # F
        each = words.repeat_interleave(
            count, 0
        )  # (B · F, T, E): every frame is asked for every word
        points = self.pointer(each, memory.found_by.flatten(0, 1))  # (B · F, T, L)
        points = points * memory.mask.flatten()[:, None, None]
        found = torch.bmm(points, memory.cells.flatten(0, 1))  # (B · F, T, D')
        points, found = (
            x.unflatten(0, (-1, count)).transpose(1, 2) for x in (points, found)
        )  # (B, T, F, ...)
        return points, F.pad(found.flatten(2), (0, (self.config.frames - count) * found.shape[3]))

    def weigh(self, h: Tensor, memory: Memory) -> Tensor:
        """How much each frame counts, (B, F): the attention of the state h (B, H), or the same for
        all real frames."""
        if self.attention is None:
            return memory.mask / memory.mask.sum(1, keepdim=True)
        return self.attention(h, memory.keys, memory.mask)

    def _cell(self, gates: Tensor, state: State, memory: Memory) -> tuple[Tensor, Tensor, State]:
        """One step of the LSTM. ``gates`` (B, 4H) is the part of the word, and of its track.
        Returns weights (B, F), context (B, P) and state."""
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

    def _read(
        self, h: Tensor, context: Tensor, word: Tensor, track: Tensor | None = None
    ) -> Tensor:
        """Logits from the state, the context, the previous word and its track, each of any leading
        shape."""
        readout = self.read_state(self.dropout(h)) + self.read_context(context) + word
        if track is not None:
            readout = readout + self.read_track(track)
        return self.output(self.dropout(torch.tanh(readout)))

    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        """The next word's logits: tokens (B,), state and memory of :meth:`begin` -> logits (B, V)
        and the new state."""
        word = self.embed(tokens)  # (B, E)
        gates, track = self.from_word(word), None
        followed = self.follow(word[:, None], memory)
        if followed is not None:
            track = followed[1][:, 0]  # (B, frames · D')
            gates = gates + self.from_track(track)
        _, context, state = self._cell(gates, state, memory)
        return self._read(state[0], context, word, track), state

    def _teach(self, features: Tensor, captions: Tensor, mask: Tensor | None) -> Taught:
        """Read whole captions."""
        memory, state = self.begin((features, mask))
        check_captions(captions, self.config.vocabulary, len(features), "clip")
        words = self.embed(captions[:, :-1])  # (B, T - 1, E)
        gates = self.from_word(
            words
        )  # all words at once; only what depends on h must wait for its turn
        points, track = self.follow(words, memory) or (None, None)
        if track is not None:
            gates = gates + self.from_track(track)
        steps = []
        for word_gates in gates.unbind(1):
            weights, context, state = self._cell(word_gates, state, memory)
            steps.append((weights, context, state[0]))
        weights, contexts, states = (torch.stack(part, dim=1) for part in zip(*steps, strict=True))
        logits = self._read(states, contexts, words, track)
        return Taught(logits, weights, points, memory.found_by)

    def forward(self, features: Tensor, captions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Teacher forcing.

        Args:
            features: (B, F, D), or with a grid (B, F, D, height, width).
            captions: ids (B, T), ``<bos>`` first, padded with ``<pad>``; T at least 2.
            mask: (B, F), True where a frame is real; all are if not given.

        Returns:
            logits (B, T − 1, V); row t predicts ``captions[:, t + 1]``.

        Raises:
            TypeError, ValueError: see :meth:`begin` and :func:`mmtutor.kit.text.check_captions`.
        """
        return self._teach(features, captions, mask).logits

    def attend(self, features: Tensor, captions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Where it looked: (B, T − 1, F); row t holds the weights with which ``captions[:, t + 1]``
        was predicted."""
        return self._teach(features, captions, mask).weights

    def followed(self, features: Tensor, captions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Where each word was found when it had been said: (B, T − 1, F, L); row t belongs to
        ``captions[:, t]``.

        Raises:
            ValueError: without ``track``, and as :meth:`forward`.
        """
        if not self.config.track:
            raise ValueError("this model follows no word: its settings have track = False")
        return self._teach(features, captions, mask).points

    def naming(self, batch: Mapping[str, Tensor]) -> Tensor:
        """How badly the cells find their names (:meth:`mmtutor.kit.pointing.Pointer.naming`).

        Args:
            batch: ``features`` (B, F, D, height, width), ``cells`` (B, F, L): which of the names of
                the settings is in each cell, −1 for none; and ``mask`` (B, F) where clips are
                padded.

        Raises:
            ValueError: settings without naming, or a batch without cells.
        """
        if not self.config.naming:
            raise ValueError("this model learns no names: its settings have naming = 0")
        x, mask = self._checked(batch["features"], batch.get("mask"))
        return self._naming(self._frames(x)[2], batch, mask)

    def _naming(self, keys: Tensor, batch: Mapping[str, Tensor], mask: Tensor | None) -> Tensor:
        """Mean over the cells of real frames; ``keys`` (B, F, L, k)."""
        if "cells" not in batch:
            raise ValueError("to learn naming, the batch needs 'cells' (B, F, L); see naming()")
        cells = batch["cells"]
        if cells.shape != keys.shape[:3]:
            raise ValueError(f"cells must be {tuple(keys.shape[:3])}, got {tuple(cells.shape)}")
        names, counted = self.embed(self.names), None
        if mask is not None and mask.device.type == "cpu":
            keys, cells = keys[mask], cells[mask]  # (real frames, L, ...)
        else:  # how many are real, a GPU would have to wait for
            counted = None if mask is None else mask.flatten()  # (B · F,)
            keys, cells = keys.flatten(0, 1), cells.flatten(0, 1)  # (B · F, L, ...)
        return self.pointer.naming(names, keys, cells, counted)

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor | dict[str, Tensor]:
        """−log p of a caption, summed over its words and averaged over captions; and the penalty,
        if it has a weight; in training with ``naming`` that as well.

        The captions must be whole, ``<eos>`` included.

        Args:
            batch: ``features`` (B, F, D) or (B, F, D, height, width), ``captions`` (B, T), and
                ``mask`` (B, F) where clips are padded. For N captions of each clip, ``captions``
                may be (B, N, T). In training with ``naming`` also ``cells`` (B, F, L); see
                :meth:`naming`.
        """
        captions, mask = batch["captions"], batch.get("mask")
        if captions.ndim == 3:
            batch = {
                name: x.repeat_interleave(captions.shape[1], 0)
                for name, x in batch.items()
                if name != "captions"
            }
            captions, mask = captions.flatten(0, 1), batch.get("mask")
        logits, weights, _, keys = self._teach(batch["features"], captions, mask)
        check_ended(captions)
        target = captions[:, 1:]
        words = F.cross_entropy(
            logits.flatten(0, 1), target.flatten(), ignore_index=PAD_ID, reduction="sum"
        )
        words = words / len(captions)
        terms = {"words": words}
        if self.config.penalty:
            real = torch.ones_like(weights[:, 0], dtype=torch.bool) if mask is None else mask
            looked = (weights * (target != PAD_ID)[:, :, None]).sum(1)  # (B, F)
            unseen = ((1 - looked).square() * real).sum(1).mean()
            terms["penalty"] = self.config.penalty * unseen
        if self.config.naming and self.training:
            terms["naming"] = self.config.naming * self._naming(keys, batch, mask)
        return terms if len(terms) > 1 else words

    # --- Checks. What needs the values is looked at on a CPU only: a GPU would have to wait for the answer.

    def _checked(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features with zeros on padding, and the mask."""
        if not isinstance(x, Tensor) or not x.is_floating_point():
            got = x.dtype if isinstance(x, Tensor) else type(x).__name__
            form = "(B, F, D, height, width)" if self.config.grid else "(B, F, D)"
            raise TypeError(f"features must be a tensor of floats {form}, got {got}")
        frame = (self.config.features, *(self.config.grid or ()))
        if x.shape[2:] != frame or x.ndim < 3:
            wanted = ", ".join(map(str, frame))
            raise ValueError(f"features must have shape (B, F, {wanted}), got {tuple(x.shape)}")
        if 0 in x.shape:
            raise ValueError(
                f"a clip needs at least one frame, and a batch one clip; got features {tuple(x.shape)}"
            )
        timed = self.time is not None or self.config.track
        if timed and x.shape[1] > self.config.frames:
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
            padding = ~mask[(..., *[None] * (x.ndim - 2))]
            x = x.masked_fill(padding, 0)  # NaN on padding would survive a weight of 0
        if x.device.type == "cpu":
            if not mask.any(1).all():
                raise ValueError(
                    f"clip {int((~mask.any(1)).nonzero()[0])} has no real frame: its mask is False throughout"
                )
            if not finite(x):
                raise ValueError("features hold NaN or infinity in a real frame")
        return x, mask
