"""Show, Attend and Tell: look at one place of the picture for each word (Xu et al., ICML 2015).

The picture is a map of L places, each with an *annotation* vector a_i of D numbers
(:mod:`mmtutor.kit.vision`). Before each word the decoder's state asks; every place answers with a
score; a softmax turns the scores into weights α that sum to one. What the decoder reads, the
*context* z, is

- **soft** attention: the mean of all annotations, weighted by α. A smooth function: it trains by
  back-propagation.
- **hard** attention: the annotation of *one* place, drawn with probability α. A draw has no slope,
  so the gradient must be estimated: REINFORCE (equation 11 of the paper) makes the draws that led
  to a likely caption more likely.

Both share every weight; they differ in one line of :meth:`ShowAttendTell.look` and in the loss.

Three things that the paper does not have, each a switch, bind words to places (:meth:`Config.bound`):
annotations that know where they lie (:mod:`mmtutor.kit.places`); a second look, for the word that has
just been said (:mod:`mmtutor.kit.pointing`), which is taught by the names of the cells; and a list of
what has been pointed at, which attention reads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmtutor.kit.places import Places
from mmtutor.kit.pointing import Pointer
from mmtutor.kit.text import SPECIALS, check_captions, check_ended
from mmtutor.kit.vision import check_features

PAD = SPECIALS.index("<pad>")
MODES = ("soft", "hard")
SCORES = ("additive", "dot")
QUERIES = ("state", "pooled", "both")
STARTS = ("mean", "zero")
PLACES = ("sum", "product")
#: Settings that a mode does not read. To set one would promise what does not happen.
UNREAD = {
    "soft": ("reinforce", "entropy", "expected", "baseline_decay"),
    "hard": ("doubly_stochastic", "hedging"),
}


@dataclass(frozen=True)
class Config:
    """Sizes and choices of a :class:`ShowAttendTell`.

    Args:
        vocabulary: K, words with the specials.
        annotation: D, channels of the map.
        grid: height and width of the map; L = height × width.
        embedding: m, length of a word's vector.
        hidden: n, length of the LSTM's state.
        attention: A, length of queries and keys.
        mode: ``"soft"`` or ``"hard"``.
        score: ``"additive"``: w · tanh(query + key), the paper's; ``"dot"``: query · key / √A, as
            in Transformers.
        query: who asks: the ``"state"`` h (the paper), the ``"pooled"`` map, or ``"both"``.
        start: the first state: ``"mean"``, from the mean annotation (the paper), or ``"zero"``:
            then the decoder knows nothing of the picture but what it looks at.
        prepare: units of a layer that makes the annotations from the map and its places; 0 leaves
            the map alone (the paper).
        places: how this layer is told of the places: ``"sum"``, as Transformers do, or
            ``"product"``; see :mod:`mmtutor.kit.places`.
        beside: numbers of the position alone that follow each annotation.
        point: k, length of the keys and queries with which the word just said is looked for; 0:
            there is no second look (the paper).
        naming: weight of naming the cells, which teaches pointing. The batch then has ``"cells"``.
        names: ids of the words that can name a cell.
        cross_off: attention is told what has been pointed at.
        word_asks: the word just said is a part of the query of attention, too; in the paper only
            the state is, which has not read it yet.
        dropout: on word vectors and before the output.
        doubly_stochastic: weight of Σ_i (1 − Σ_t α_ti)² in soft attention, which wants every place
            looked at once (equation 14).
        hedging: price of the entropy of α in soft attention, Σ_t H(α_t): what it costs to look at
            many places at once (not in the paper).
        reinforce: λ_r, weight of the REINFORCE term of hard attention.
        entropy: λ_e, weight of the entropy of α in hard attention, which keeps the draws varied.
        expected: how often a caption of a hard batch uses the mean in place of a draw (the paper:
            one half).
        baseline_decay: of the moving average of log p(caption), which is subtracted from the reward
            (the paper: 0.9).
    """

    vocabulary: int
    annotation: int = 112
    grid: tuple[int, int] = (6, 6)
    embedding: int = 128
    hidden: int = 128
    attention: int = 32
    mode: str = "soft"
    score: str = "additive"
    query: str = "state"
    start: str = "zero"
    prepare: int = 96
    places: str = "sum"
    beside: int = 0
    point: int = 0
    naming: float = 0.0
    names: tuple[int, ...] = ()
    cross_off: bool = False
    word_asks: bool = False
    dropout: float = 0.0
    doubly_stochastic: float = 0.0
    hedging: float = 0.0
    reinforce: float = 1.0
    entropy: float = 0.01
    expected: float = 0.5
    baseline_decay: float = 0.9

    def __post_init__(self) -> None:
        for name in ("vocabulary", "annotation", "embedding", "hidden", "attention"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if len(self.grid) != 2 or min(self.grid) < 1:
            raise ValueError(f"grid must be (height, width), each at least 1, got {self.grid}")
        for name, known in (
            ("mode", MODES),
            ("score", SCORES),
            ("query", QUERIES),
            ("start", STARTS),
            ("places", PLACES),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        object.__setattr__(self, "names", tuple(self.names))  # a list, if read from a file
        for name in ("prepare", "beside", "point", "naming", "doubly_stochastic", "hedging") + (
            "reinforce",
            "entropy",
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} must be finite and not negative, got {getattr(self, name)}"
                )
        for name in ("expected", "baseline_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if not self.prepare and (self.places != "sum" or self.beside):
            raise ValueError(
                "places and beside are for the layer that prepares annotations; with prepare = 0 "
                f"leave them at 'sum' and 0, got {self.places!r} and {self.beside}"
            )
        if not self.point and (self.naming or self.cross_off):
            raise ValueError("naming and cross_off have no effect without pointing: set point")
        if bool(self.names) != bool(self.naming) or len(set(self.names)) < len(self.names):
            raise ValueError(
                "naming needs the ids of the names, each once, and they have no effect without it; "
                f"got naming = {self.naming} and {len(self.names)} names"
            )
        if self.names and not 0 < min(self.names) <= max(self.names) < self.vocabulary:
            raise ValueError(f"names must be ids in 1..{self.vocabulary - 1}, got {self.names}")
        for f in fields(self):
            if f.name in UNREAD[self.mode] and getattr(self, f.name) != f.default:
                raise ValueError(
                    f"{f.name} = {getattr(self, f.name)} has no effect with mode = {self.mode!r}; "
                    f"leave it at {f.default}"
                )

    @classmethod
    def world(cls, vocabulary: int, **changes: Any) -> Config:
        """Trains on two CPU cores in about a minute."""
        return cls(vocabulary=vocabulary, **changes)

    @classmethod
    def bound(cls, vocabulary: int, names: tuple[int, ...], **changes: Any) -> Config:
        """The world's sizes, with all that binds words to places; ``names`` are the ids of the
        words that can name a cell."""
        made = dict(places="product", beside=16, point=32, cross_off=True, word_asks=True)
        return cls(vocabulary, **{**made, "naming": 1.0, "names": names, **changes})

    @classmethod
    def paper(cls, vocabulary: int = 10_000, **changes: Any) -> Config:
        """COCO: 196 annotations of 512 from VGG; words of 512 and a state of 1,800, as in the
        authors' script.

        Soft attention has the doubly stochastic penalty, hard attention (``mode="hard"``) the
        weight of the entropy.
        """
        sizes = dict(
            annotation=512,
            grid=(14, 14),
            embedding=512,
            hidden=1800,
            attention=512,
            start="mean",
            prepare=0,
            dropout=0.5,
        )
        own = {"entropy": 0.002} if changes.get("mode") == "hard" else {"doubly_stochastic": 1.0}
        return cls(vocabulary=vocabulary, **{**sizes, **own, **changes})


class Memory(NamedTuple):
    """What stays the same while a caption is written."""

    annotations: Tensor  # (B, L, D)
    keys: Tensor  # (B, L, A), their projection: computed once, not at each step
    pooled: Tensor  # (B, A), the pooled map's part of the query
    found_by: Tensor  # (B, L, k), the keys by which words find cells; k = 0 without pointing


class State(NamedTuple):
    """What changes with each word."""

    h: Tensor  # (B, n)
    c: Tensor  # (B, n)
    said: Tensor  # (B, L), how often each place has been pointed at; (B, 0) without pointing


class Second(NamedTuple):
    """The second look, for given words: all that does not need the state."""

    points: Tensor  # (B, T, L), π
    found: Tensor  # (B, T, D), the mean annotation under π
    said: Tensor  # (B, T, L), the sum of π up to here, at most 2


class Written(NamedTuple):
    """One pass over given captions.

    At padding the weights are even, and the rest has no meaning.
    """

    logits: Tensor  # (B, T-1, K)
    log_weights: Tensor  # (B, T-1, L), log α
    draws: Tensor | None  # (B, T-1), the places drawn by hard attention, in training
    points: Tensor | None  # (B, T-1, L), π: where the word just read was found
    keys: Tensor  # (B, L, k), what naming the cells needs


def longest_first(captions: Tensor) -> tuple[Tensor, list[int]]:
    """How to walk through captions (B, T) without reading padding: their order, and how many have a
    word at each step.

    Away from the CPU everything stays as it is, padding included: to ask for the lengths would make
    the device wait.
    """
    steps = captions.shape[1] - 1
    if captions.device.type != "cpu":
        return torch.arange(len(captions), device=captions.device), [len(captions)] * steps
    place = torch.arange(1, steps + 1)
    lengths, order = (
        ((captions[:, 1:] != PAD) * place).amax(1).sort(descending=True, stable=True)
    )  # (B,)
    return order, (lengths[:, None] >= place).sum(0).clamp(min=1).tolist()


def entropy(log_alpha: Tensor, valid: Tensor) -> Tensor:
    """Σ_t H(α_t) over the words of each caption, (B,): log α (B, T - 1, L), and which steps have a
    word (B, T - 1)."""
    return -((log_alpha.exp() * log_alpha).sum(2) * valid).sum(1)


class ShowAttendTell(nn.Module):
    """The captioner with attention.

    From the paper: an MLP for the first state (a single tanh layer here), the additive score, the
    scalar gate β, the deep output with word, state and context. Left to the caller: the network
    that makes the annotations.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = c = config
        cells, depth = c.grid[0] * c.grid[1], (c.prepare or c.annotation) + c.beside  # L, D
        how = dict(bound="tanh") if c.places == "product" else dict(bound="relu", spread=0.0)
        self.prepare = (
            Places(c.annotation, c.prepare, cells, c.places, beside=c.beside, **how)
            if c.prepare
            else None
        )
        self.words = nn.Embedding(c.vocabulary, c.embedding, padding_idx=PAD)
        # f_init,h and f_init,c
        self.first = nn.Linear(depth, 2 * c.hidden) if c.start == "mean" else None
        # attention
        self.key = nn.Linear(depth, c.attention)
        self.ask_state = (
            nn.Linear(c.hidden, c.attention, bias=False) if c.query != "pooled" else None
        )
        self.ask_pooled = nn.Linear(depth, c.attention, bias=False) if c.query != "state" else None
        self.ask_word = nn.Linear(c.embedding, c.attention, bias=False) if c.word_asks else None
        self.mark_said = nn.Linear(1, c.attention, bias=False) if c.cross_off else None
        self.score = nn.Linear(c.attention, 1, bias=False) if c.score == "additive" else None
        self.gate = nn.Linear(c.hidden, 1)  # f_β, a scalar for each step
        # LSTM: one matrix for each thing that it reads
        self.word_gates = nn.Linear(c.embedding, 4 * c.hidden)
        self.state_gates = nn.Linear(c.hidden + depth, 4 * c.hidden, bias=False)
        # deep output: L_o (E y + L_h h + L_z z)
        self.out_h = nn.Linear(c.hidden, c.embedding)
        self.out_z = nn.Linear(depth, c.embedding, bias=False)
        self.output = nn.Linear(c.embedding, c.vocabulary)
        # the second look: for the word just said
        self.pointer = Pointer(c.annotation, c.embedding, c.point) if c.point else None
        if c.point:
            self.found_gates = nn.Linear(depth, 4 * c.hidden, bias=False)
            self.out_found = nn.Linear(depth, c.embedding, bias=False)
        self.register_buffer("names", torch.tensor(c.names, dtype=torch.long), persistent=False)
        self.dropout = nn.Dropout(c.dropout)
        # b of equation 11, NaN until the first batch; a buffer: a checkpoint resumes exactly
        self.register_buffer("baseline", torch.tensor(float("nan")))
        nn.init.orthogonal_(self.state_gates.weight[:, : c.hidden])
        with torch.no_grad():
            # softer than torch's own start, so that the picture is heard
            self.words.weight.mul_(0.3)

    # -- the four parts of a step ----------------------------------------------------------------

    def annotate(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The annotations (B, L, D) of a map (B, channels, height, width), and the keys (B, L, k)
        by which words find its cells."""
        c = self.config
        # (B, L, channels)
        a = check_features(features, (c.annotation, *c.grid)).flatten(2).transpose(1, 2)
        keys = a[:, :, :0] if self.pointer is None else self.pointer.key(a)
        return a if self.prepare is None else self.prepare(a), keys

    def begin(self, features: Tensor) -> tuple[Memory, State]:
        """Look at whole pictures: what every step reads, and the state before the first word."""
        a, found_by = self.annotate(features)
        mean = a.mean(1)  # (B, D)
        zero = mean.new_zeros(len(a), 2 * self.config.hidden)
        h, c = (zero if self.first is None else torch.tanh(self.first(mean))).chunk(2, -1)
        keys = self.key(a)
        pooled = (
            self.ask_pooled(mean)
            if self.ask_pooled is not None
            else keys.new_zeros(len(a), keys.shape[-1])
        )
        said = mean.new_zeros(len(a), 0 if self.pointer is None else a.shape[1])
        return Memory(a, keys, pooled, found_by), State(h, c, said)

    def point(self, words: Tensor, memory: Memory, said: Tensor) -> Second | None:
        """Look for words (B, T, m) that have just been said; ``said`` (B, L): what had been pointed
        at before."""
        if self.pointer is None:
            return None
        points = self.pointer(words, memory.found_by)  # (B, T, L)
        return Second(
            points,
            torch.bmm(points, memory.annotations),
            (said[:, None] + points.cumsum(1)).clamp(max=2),
        )

    def attend(
        self, h: Tensor, memory: Memory, word: Tensor | float = 0.0, said: Tensor | None = None
    ) -> Tensor:
        """The logarithm of the weights α (B, L).

        Args:
            h: (B, n), the state *before* the word.
            memory: of the pictures.
            word: (B, A), the word's own part of the query (:meth:`asked_by`), if it has one.
            said: (B, L), how often each place has been pointed at, if attention crosses off.
        """
        query = memory.pooled + word  # (B, A)
        if self.ask_state is not None:
            query = query + self.ask_state(h)
        keys = memory.keys  # (B, L, A)
        if self.mark_said is not None:
            keys = keys + self.mark_said(said[:, :, None])
        if self.score is None:
            e = torch.bmm(keys, query[:, :, None])[:, :, 0] * query.shape[-1] ** -0.5
        else:
            # Without gradients a few pictures at a time: the sums (B, L, A) stay in the cache.
            size = len(query) if torch.is_grad_enabled() or query.is_cuda else 8
            parts = zip(keys.split(size), query.split(size))
            e = torch.cat([self.score((k + q[:, None]).tanh_()) for k, q in parts])[:, :, 0]
        return F.log_softmax(e, -1)

    def asked_by(self, words: Tensor) -> Tensor:
        """The part of the query that the words (B, T, m) just said have, (B, T, A)."""
        if self.ask_word is None:
            return words.new_zeros(*words.shape[:2], 1)
        return self.ask_word(words)

    def look(self, log_alpha: Tensor, memory: Memory, drawn: Tensor | None) -> Tensor:
        """The context z (B, D): the weighted mean, or the annotations of the places drawn."""
        weights = log_alpha.exp() if drawn is None else drawn
        return torch.bmm(weights[:, None], memory.annotations)[:, 0]

    def recur(self, words: Tensor, state: State, z: Tensor) -> State:
        """One step of the LSTM; ``words`` (B, 4n) is the share of the gates of the word, and of
        what was found where it points."""
        gates = words + self.state_gates(torch.cat([state.h, z], -1))
        i, f, g, o = gates.chunk(4, -1)
        c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(g)
        return State(torch.sigmoid(o) * torch.tanh(c), c, state.said)

    def read_out(self, y: Tensor, h: Tensor, z: Tensor, found: Tensor | None = None) -> Tensor:
        """Scores of the next word, from the last word's vector, the state, the context and what was
        found where the word points; any leading dimensions."""
        x = y + self.out_h(h) + self.out_z(z)
        if found is not None:
            x = x + self.out_found(found)
        return self.output(self.dropout(torch.tanh(x)))

    # -- training: given captions ----------------------------------------------------------------

    def write(self, features: Tensor, captions: Tensor, places: Tensor | None = None) -> Written:
        """Walk through given captions (teacher forcing); what does not need the state is computed
        for all words at once.

        Args:
            features: (B, channels, height, width), the map.
            captions: (B, T) ids, ``<bos>`` first, then the words and ``<eos>``, then ``<pad>``.
            places: (B, T - 1), where hard attention shall look, in place of its own draws; for
                enumeration.

        Returns:
            scores of the next words, the weights of each step, and in hard training the places that
            were drawn.

        Raises:
            ValueError: features, captions or places of a wrong shape or out of range, or places for
                soft attention.
        """
        check_captions(captions, self.config.vocabulary, len(features))
        if places is not None:
            self.check_places(places, captions)
        order, sizes = longest_first(captions)
        memory, state = self.begin(features[order])
        y = self.dropout(self.words(captions[order, :-1]))  # (B, T-1, m)
        found_by = memory.found_by  # of all captions: those that have ended leave the memory
        words, asked = self.word_gates(y), self.asked_by(y)  # (B, T-1, 4n), (B, T-1, A)
        second = self.point(y, memory, state.said)
        if second is not None:
            words = words + self.found_gates(second.found)
        hard = self.config.mode == "hard"
        # half of the captions of a hard batch see the mean, to lower the variance (section 4.1)
        trick = hard and self.training and places is None
        mean = torch.rand(len(y), 1, device=y.device) < self.config.expected if trick else None
        hs, zs, logs, draws = [], [], [], []
        # the first ``size`` captions still have a word
        for t, (size, word) in enumerate(zip(sizes, words.unbind(1))):
            if size < len(state.h):
                memory, state = (
                    Memory(*(x[:size] for x in memory)),
                    State(*(x[:size] for x in state)),
                )
            said = None if second is None else second.said[:size, t]
            log_alpha = self.attend(state.h, memory, asked[:size, t], said)  # (size, L)
            drawn = None
            if hard:
                # (size,)
                place = self.draw(log_alpha) if places is None else places[order[:size], t]
                drawn = F.one_hot(place, log_alpha.shape[-1]).to(log_alpha.dtype)
                drawn = drawn if mean is None else torch.where(mean[:size], log_alpha.exp(), drawn)
                draws.append(place if mean is None else place.masked_fill(mean[:size, 0], -1))
            z = torch.sigmoid(self.gate(state.h)) * self.look(log_alpha, memory, drawn)
            state = self.recur(word[:size], state, z)
            hs.append(state.h), zs.append(z), logs.append(log_alpha)
        back = order.argsort()
        # rows of each step (size, ...) to (B, T-1, ...), in the order in which the captions came
        hs, zs, draws = (pad_sequence(x)[back] if x else None for x in (hs, zs, draws))
        logs = pad_sequence(logs, padding_value=-math.log(memory.keys.shape[1]))[back]
        found, points = (
            (None, None) if second is None else (second.found[back], second.points[back])
        )
        logits = self.read_out(y[back], hs, zs, found)
        return Written(logits, logs, draws, points, found_by[back])

    def check_places(self, places: Tensor, captions: Tensor) -> None:
        """Raise a ValueError unless ``places`` holds a place for every step of the captions, and
        attention is hard."""
        (height, width), wanted = self.config.grid, (len(captions), captions.shape[1] - 1)
        if self.config.mode != "hard":
            raise ValueError("places are for hard attention; soft attention looks everywhere")
        if tuple(places.shape) != wanted:
            raise ValueError(f"places must be (B, T - 1) = {wanted}, got {tuple(places.shape)}")
        if (
            places.device.type == "cpu"
            and not 0 <= int(places.min()) <= int(places.max()) < height * width
        ):
            raise ValueError(
                f"places must lie in 0..{height * width - 1}, "
                f"got {int(places.min())}..{int(places.max())}"
            )

    def draw(self, log_alpha: Tensor) -> Tensor:
        """One place for each picture (B,): drawn from α in training, the most probable one when the
        model is in use."""
        if not self.training:
            return log_alpha.argmax(-1)
        return torch.multinomial(log_alpha.detach().exp(), 1)[:, 0]

    def forward(self, features: Tensor, captions: Tensor) -> Tensor:
        """Scores (B, T - 1, K) of each next word of given captions; see :meth:`write`."""
        return self.write(features, captions).logits

    def weights(self, features: Tensor, captions: Tensor) -> Tensor:
        """Where the model looks before each word of given captions: α (B, T - 1, L); row t belongs
        to ``captions[:, t + 1]``."""
        return self.write(features, captions).log_weights.exp()

    def pointed(self, features: Tensor, captions: Tensor) -> Tensor:
        """Where each word of given captions was found when it had been said: π (B, T - 1, L); row t
        belongs to ``captions[:, t]``.

        Raises:
            ValueError: without pointing, and as :meth:`write`.
        """
        if self.pointer is None:
            raise ValueError("this model does not point: its settings have point = 0")
        return self.write(features, captions).points

    def naming(self, batch: dict[str, Tensor]) -> Tensor:
        """How badly the cells find their names (:meth:`mmtutor.kit.pointing.Pointer.naming`).

        Args:
            batch: ``"features"`` (B, channels, height, width), and ``"cells"`` (B, L): which of the
                names of the settings is in each cell, −1 for none.

        Raises:
            ValueError: settings without names, or a batch without cells.
        """
        if not self.config.names:
            raise ValueError("this model knows no names: its settings have naming = 0")
        _, keys = self.annotate(batch["features"])
        return self._naming(keys, batch)

    def _naming(self, keys: Tensor, batch: dict[str, Tensor]) -> Tensor:
        if "cells" not in batch:
            raise ValueError("to learn naming, the batch needs 'cells' (B, L); see naming()")
        return self.pointer.naming(self.words(self.names), keys, batch["cells"])

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The loss of the mode, mean over captions, with its parts; see :meth:`soft_loss` and
        :meth:`hard_loss`.

        The captions must be whole, ``<eos>`` included. In training with ``naming`` the batch has
        ``"cells"`` as well, and naming them is a part of the loss.
        """
        written = self.write(batch["features"], batch["captions"])
        check_ended(batch["captions"])
        targets = batch["captions"][:, 1:]
        valid = targets != PAD  # (B, T-1)
        nll = F.cross_entropy(
            written.logits.flatten(0, 1), targets.flatten(), ignore_index=PAD, reduction="none"
        )
        nll = nll.view(targets.shape)  # (B, T-1), 0 for padding
        terms = (self.hard_loss if self.config.mode == "hard" else self.soft_loss)(
            nll.sum(1), written, valid
        )
        if self.config.naming and self.training:
            named = self._naming(written.keys, batch)
            terms["loss"] = terms["loss"] + self.config.naming * named
            terms["naming"] = named.detach()
        return {**terms, "per_word": (nll.sum() / valid.sum()).detach()}

    def soft_loss(self, nll: Tensor, written: Written, valid: Tensor) -> dict[str, Tensor]:
        """Equation 14: −log p(y | x) + λ Σ_i (1 − Σ_t α_ti)², over the steps that have a word; and
        the price of hedging."""
        loss = nll.mean()
        if self.config.hedging:
            loss = loss + self.config.hedging * entropy(written.log_weights, valid).mean()
        if self.config.doubly_stochastic:
            # (B, L), how often each place was looked at
            seen = (written.log_weights.exp() * valid[:, :, None]).sum(1)
            loss = loss + self.config.doubly_stochastic * (1 - seen).square().sum(1).mean()
        return {"loss": loss}

    def hard_loss(self, nll: Tensor, written: Written, valid: Tensor) -> dict[str, Tensor]:
        """A loss whose gradient is equation 11 with its baseline, with the sign turned: the reward
        is log p(y | s, a).

        ∂ = ∂ log p(y | s) + λ_r (log p(y | s) − b) ∂ log p(s) + λ_e ∂ H[s]. The bracket is a
        number, not a function: no gradient flows through it. Captions that saw the mean add nothing
        to the middle term.
        """
        c, log_alpha = self.config, written.log_weights
        drawn = (written.draws >= 0) & valid
        log_s = log_alpha.gather(2, written.draws.clamp(min=0)[:, :, None])[:, :, 0]  # (B, T-1)
        log_s = (log_s * drawn).sum(1)  # (B,), log p(s)
        spread = entropy(log_alpha, valid)  # (B,)
        reward = -nll.detach()
        if self.training:
            with torch.no_grad():
                now = reward.mean()
                b = torch.where(self.baseline.isnan(), now, self.baseline)
                self.baseline.copy_(c.baseline_decay * b + (1 - c.baseline_decay) * now)
        else:
            b = torch.where(self.baseline.isnan(), reward.mean(), self.baseline)
        loss = nll - c.reinforce * (reward - b) * log_s - c.entropy * spread
        return {"loss": loss.mean(), "nll": nll.mean().detach(), "entropy": spread.mean().detach()}

    # -- writing: one step at a time (the protocol of mmtutor.kit.decoding) -----------------------

    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        """Read one word (B,), look, give the scores of the next (B, K) and the new state."""
        y = self.dropout(self.words(tokens))  # (B, m)
        words, found = self.word_gates(y), None
        second = self.point(y[:, None], memory, state.said)
        if second is not None:
            found = second.found[:, 0]
            words, state = words + self.found_gates(found), state._replace(said=second.said[:, 0])
        log_alpha = self.attend(state.h, memory, self.asked_by(y[:, None])[:, 0], state.said)
        drawn = None
        if self.config.mode == "hard":
            drawn = F.one_hot(self.draw(log_alpha), log_alpha.shape[-1]).to(log_alpha.dtype)
        z = torch.sigmoid(self.gate(state.h)) * self.look(log_alpha, memory, drawn)
        state = self.recur(words, state, z)
        return self.read_out(y, state.h, z, found), state
