"""Decoding: from a model that rates the next word to a whole caption.

A caption model does not hold captions. It holds p(word | image, words so far), and a caption's
probability is the product of its words' probabilities, the closing ``<eos>`` included. To write a
caption is to search a tree: the root is ``<bos>``, every node branches into the whole vocabulary,
and a path from the root to an ``<eos>`` is one caption. Read from top to bottom, the ways through
that tree, from the simplest on:

- :func:`greedy` takes the most probable word at every node and never looks back;
- :func:`sample` throws dice with the model's probabilities (tempered or truncated, if asked);
- :func:`beam_search` walks ``width`` paths at once and drops the worse ones at every step;
:func:`beam_tree` and
  :func:`mmtutor.page.plotting.draw_beam_tree` show what it did.

All of them work on whole batches and on any model with two methods, ``begin`` and ``step``
(:class:`CaptionModel`). All return :class:`Hypothesis` objects, whose ``logprob`` is always the
model's own log-probability of the caption, whichever way it was found, so that captions from
different decoders can be compared. Ties are broken alike on every device: of two equally probable
words the one with the lower id comes first.

Sources: Vinyals et al. 2015, section 3.1 (beam search for captions); Wu et al. 2016, section 7
(length normalisation, there with (5 + length) / 6 for length); Fan et al. 2018 (top-k sampling);
Holtzman et al. 2020, section 3.1 (nucleus sampling).
"""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mmtutor.kit import text

PAD, BOS, EOS, UNK = (
    text.SPECIALS.index(word) for word in (text.PAD, text.BOS, text.EOS, text.UNK)
)
#  What a caption must not contain: padding, a second start, and the word for words that are not
# known.
BANNED = (PAD, BOS, UNK)


class CaptionModel(Protocol):
    """What a model must be able to do so that everything in this file can write with it.

    ``memory`` is what stays the same while a caption is written (an image's annotations and their
    projection, a mask); ``state`` is what changes with every word (the hidden vectors). Both are a
    tensor, a (named) tuple, a list or a dictionary of these, or None, and every tensor in them has
    the batch as its first dimension. A decoder may repeat, drop and reorder rows: a model must not
    mix the rows of a batch.
    """

    def begin(self, inputs: Any) -> tuple[Any, Any]:
        """Encode B inputs; return memory and the first state."""

    def step(self, tokens: Tensor, state: Any, memory: Any) -> tuple[Tensor, Any]:
        """Read the words ``tokens`` (B,); return logits (B, V) of the next words and the new
        state."""


@dataclass(frozen=True)
class Hypothesis:
    """One caption.

    Args:
        ids: its words, without ``<bos>`` and ``<eos>``.
        logprob: natural logarithm of its probability under the model: the sum over its words, and
            over ``<eos>`` if finished.
        score: what it was ranked by: ``logprob``, or after length normalisation ``logprob / length
            ** length_penalty``.
        finished: the model ended it; otherwise it was cut off at the limit.
    """

    ids: tuple[int, ...]
    logprob: float
    score: float
    finished: bool


# --- One path at a time: greedy search and sampling -----------------------------------------------


def greedy(
    model: CaptionModel,
    inputs: Any,
    *,
    limit: int = 20,
    banned: Iterable[int] = BANNED,
    bos: int = BOS,
    eos: int = EOS,
) -> list[Hypothesis]:
    """The most probable next word, again and again, until it is ``<eos>``. Of equals, the one with
    the lowest id.

    Args:
        model: see :class:`CaptionModel`. It runs without gradients and in ``eval`` mode; its mode
            is restored.
        inputs: what ``model.begin`` takes, B of them.
        limit: the largest number of words, ``<eos>`` not counted.
        banned: ids that are never written, any iterable of them. If ``eos`` is among them every
            caption is cut off at the limit.
        bos: the id that opens a caption.
        eos: the id that closes it.

    Returns:
        one hypothesis an input; none for none.

    Raises:
        ValueError: a bad argument, every word banned, or logits that are no numbers; the message
            names the step.
        TypeError: logits that are no tensor.
    """

    def choose(logp: Tensor) -> Tensor:
        return logp.argmax(1)  # the first of equals, on every device

    return [h for (h,) in _write(model, inputs, choose, 1, limit, banned, bos, eos)]


def sample(
    model: CaptionModel,
    inputs: Any,
    *,
    n: int = 1,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    limit: int = 20,
    banned: Iterable[int] = BANNED,
    bos: int = BOS,
    eos: int = EOS,
) -> list[list[Hypothesis]]:
    """Captions drawn at random, word by word, from :func:`sampling_distribution`.

    With the defaults a caption comes up as often as the model finds it probable (banned words
    aside). The random numbers come from a generator of the call's own, on the CPU: the same seed,
    batch and n give the same captions, on any device.

    Args:
        n: captions an input.
        temperature, top_k, top_p: see :func:`sampling_distribution`.
        seed: of the generator.
        model, inputs, limit, banned, bos, eos: as in :func:`greedy`.

    Returns:
        for each input a list of n hypotheses in the order drawn. ``logprob`` is that of the model
        itself, not of the tempered or truncated distribution.

    Raises:
        ValueError: as :func:`greedy` and :func:`sampling_distribution`.
    """
    n = _whole("n", n)
    temperature, top_k, top_p = _sampling(temperature, top_k, top_p)
    generator = torch.Generator().manual_seed(_seed(seed))

    def choose(logp: Tensor) -> Tensor:
        # A word's share of the interval [0, total) is its probability; throw a point and see in
        # whose share it falls.
        shares = _distribution(logp.double(), temperature, top_k, top_p).cumsum(1)
        point = (
            torch.rand(len(logp), 1, generator=generator, dtype=torch.float64).to(logp.device)
            * shares[:, -1:]
        )
        # right=True: the first share that ends beyond the point, so never one of size 0.
        return torch.searchsorted(shares, point, right=True)[:, 0].clamp(max=logp.shape[1] - 1)

    return _write(model, inputs, choose, n, limit, banned, bos, eos)


def sampling_distribution(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Tensor:
    """The distribution that :func:`sample` draws from, in the usual order: temper, keep the top k,
    keep the nucleus.

    Temperature T divides the logits: p ∝ p_model ** (1/T). Below 1 it favours the probable words
    (towards 0 only the most probable one is left), above 1 it evens them out. Top-k keeps the k
    most probable words. Nucleus sampling (top-p) keeps the fewest words that together have at least
    probability p: it walks down the ranking and keeps a word as long as those before it have less
    than p. Ties go to the lower id. What is kept is scaled to sum to 1, after each of the steps.

    Args:
        logits: (..., V); log-probabilities will do; −inf for what must not be drawn.
        temperature: T > 0.
        top_k: at least 1; more than V keeps all.
        top_p: in (0, 1].

    Returns:
        probabilities (..., V).

    Raises:
        ValueError: an argument outside its range, or a row of logits without a finite maximum (NaN,
            +∞, or nothing but −∞).
    """
    if logits.dim() == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits must be (..., V) with V at least 1, got {tuple(logits.shape)}")
    broken = ~logits.amax(-1).isfinite()
    if broken.any():
        which = tuple(broken.nonzero()[0].tolist())
        raise ValueError(
            f"the row{f' {which} of logits' if which else ''} has no finite maximum (NaN or ±inf)"
        )
    return _distribution(logits, *_sampling(temperature, top_k, top_p))


def _distribution(
    logits: Tensor, temperature: float, top_k: int | None, top_p: float | None
) -> Tensor:
    """:func:`sampling_distribution` without checks; a row without a finite maximum comes out as
    NaN."""
    # The largest logit is moved to 0 first: a tiny temperature must not turn it into ∞.
    p = ((logits - logits.amax(-1, keepdim=True)) / temperature).softmax(-1)
    if top_k is None and top_p is None:
        return p
    ranked, word = p.sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        ranked[..., top_k:] = 0
        ranked /= ranked.sum(-1, keepdim=True)
    if top_p is not None and top_p < 1:
        above = F.pad(
            ranked.cumsum(-1)[..., :-1], (1, 0)
        )  # the probability of all words ranked higher
        ranked = ranked.masked_fill(above >= top_p, 0)
        ranked /= ranked.sum(-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, word, ranked)


def _write(
    model: CaptionModel,
    inputs: Any,
    choose: Callable[[Tensor], Tensor],
    n: int,
    limit: int,
    banned: Iterable[int],
    bos: int,
    eos: int,
) -> list[list[Hypothesis]]:
    """Write n captions an input, word by word; ``choose`` takes log-probabilities (B·n, V) and
    returns words (B·n,)."""
    limit = _whole("limit", limit)
    banned, bos, eos = _ids(banned), _whole("bos", bos, 0), _whole("eos", eos, 0)
    if _none(inputs):
        return []
    with _reading(model):
        memory, state, batch, device = _begin(model, inputs, n)
        tokens = torch.full((batch * n,), bos, device=device)
        open_ = torch.ones(
            batch * n, dtype=torch.bool, device=device
        )  # captions that are still being written
        length = torch.zeros(batch * n, dtype=torch.int64, device=device)
        logprob = torch.zeros(batch * n, dtype=torch.float64, device=device)
        written = []
        for t in range(
            limit + 1
        ):  # one step more than words: it asks whether the caption ends at the limit
            logits, state = model.step(tokens, state, memory)
            logp = _log_probabilities(logits, t, open_, range(batch), banned, eos)  # (B·n, V)
            tokens = choose(logp)
            gain = logp.gather(1, tokens[:, None])[:, 0]
            possible = gain > -math.inf
            if t < limit:
                stuck = (open_ & ~possible).nonzero()
                _check_way_out(len(stuck) > 0, stuck.flatten()[:1] // n, t)
            ends = (tokens == eos) & possible
            counts = open_ & ends if t == limit else open_
            logprob += torch.where(counts, gain.double(), 0.0)
            open_ = open_ & ~ends
            if t == limit or not open_.any():
                break
            length += open_
            written.append(tokens)
        ids = torch.stack(written, 1).tolist() if written else [[]] * (batch * n)  # (B·n, T)
    rows = zip(ids, length.tolist(), logprob.tolist(), open_.tolist())
    made = [
        Hypothesis(tuple(words[:size]), score, score, not cut) for words, size, score, cut in rows
    ]
    return [made[i : i + n] for i in range(0, len(made), n)]


# --- Many paths at once: beam search --------------------------------------------------------------


def beam_search(
    model: CaptionModel,
    inputs: Any,
    *,
    width: int = 5,
    length_penalty: float = 0.0,
    limit: int = 20,
    n_best: int | None = None,
    banned: Iterable[int] = BANNED,
    bos: int = BOS,
    eos: int = EOS,
) -> list[list[Hypothesis]]:
    """Walk down the tree of captions with ``width`` paths at once, and keep the best ends.

    Greedy search can be led astray: the best first word need not begin the best caption. Beam
    search keeps ``width`` unfinished captions alive, the *beam*. At every step each of them is
    continued by every word, and of all these candidates

    1. those that end in ``<eos>`` *and* are among the ``width`` best leave the beam for the list of
    finished captions. They
       are never expanded again, and they take no place from the living;
    2. the ``width`` best of the others are the new beam; the rest is pruned for good.

    Equally probable candidates stand in the order of the paths they come from, and of one path in
    the order of their ids; of equally good finished captions the one that was finished earlier
    comes first.

    Because of "among the ``width`` best" the search with ``width=1`` and no length penalty *is*
    greedy search: a caption ends only where ending is the most probable thing to do, and no living
    path can then overtake it.

    **Ranking.** Every further word makes a caption less probable, so plain log-probabilities favour
    short captions. Finished captions are ranked by ``logprob / length ** length_penalty``, where
    length counts ``<eos>``: 0 ranks by probability, 1 by the mean log-probability of a word. Within
    the beam all captions have the same length, so there it makes no difference.

    **Stopping.** Let l ≤ 0 be the log-probability of an image's best living path. Its continuations
    cannot gain any, and they have at most ``limit + 1`` words, so none of them scores above ``l /
    (limit + 1) ** length_penalty`` (l itself without a penalty). As soon as all ``n_best`` finished
    captions score at least that, nothing that is still alive can enter the list, and the image is
    done. This bound is exact: stopping early never changes the result. Images that are done are
    taken out of the batch, and the loop stops when all are.

    A beam that is wider than the vocabulary fills up as the tree branches out. With a width of at
    least the number of all captions of up to ``limit + 1`` words (the last question, whether a
    caption of ``limit`` words ends, weighs ending against one more word) nothing is ever pruned:
    the search is exhaustive.

    Args:
        width: paths kept alive for each input. Time and memory grow in proportion.
        length_penalty: at least 0.
        n_best: how many captions to return for each input, at most and by default ``width``. 1
            stops soonest, and gives the same best caption.
        model, inputs, limit, banned, bos, eos: as in :func:`greedy`.

    Returns:
        for each input its best finished captions, best first. If there are fewer than ``n_best``,
        paths that were cut off at the limit follow, with ``finished=False``; fewer than ``n_best``
        come back only if the tree has no more.

    Raises:
        ValueError: as :func:`greedy`; or ``width``, ``length_penalty`` or ``n_best`` outside its
            range.
    """
    return _search(model, inputs, width, length_penalty, limit, n_best, banned, bos, eos)


class _Step(NamedTuple):
    """What one step of the search saw, for B inputs, K paths and the k best words after each."""

    grown: Tensor  # (B, K, k) log-probability of each path with each of its best words; −inf for ``<eos>``
    word: Tensor  # (B, K, k) these words
    kept: Tensor  # (B, width) which of the K·k candidates are the new beam
    ending: Tensor  # (B, K) log-probability of each path with <eos>; −inf unless it was among the best candidates


def _search(
    model: CaptionModel,
    inputs: Any,
    width: int,
    length_penalty: float,
    limit: int,
    n_best: int | None,
    banned: Iterable[int],
    bos: int,
    eos: int,
    trace: list[_Step] | None = None,
) -> list[list[Hypothesis]]:
    """Beam search; every step is appended to ``trace`` if there is one."""
    width, limit = _whole("width", width), _whole("limit", limit)
    n_best = width if n_best is None else _whole("n_best", n_best)
    if n_best > width:
        raise ValueError(
            f"n_best must be at most the width of the beam, got n_best={n_best} and width={width}"
        )
    if not _is_number(length_penalty) or not 0 <= length_penalty < math.inf:
        raise ValueError(f"length_penalty must be a number of at least 0, got {length_penalty!r}")
    banned, bos, eos = _ids(banned), _whole("bos", bos, 0), _whole("eos", eos, 0)
    if _none(inputs):
        return []
    with _reading(model):
        memory, state, batch, device = _begin(model, inputs, 1)
        running = torch.arange(
            batch, device=device
        )  # (R,) the inputs that are still searched, R = B at first
        # Living paths: log-probabilities and words. There is one at first, K = width later; −inf
        # marks an empty place.
        live = torch.zeros((batch, 1), dtype=torch.float64, device=device)
        words = torch.empty((batch, 1, 0), dtype=torch.int64, device=device)
        tokens = torch.full((batch,), bos, device=device)
        finished, cut = (
            _Ranking(batch, n_best, limit, device),
            _Ranking(batch, n_best, limit, device),
        )
        for t in range(
            limit + 1
        ):  # one step more than words: it asks whether the paths end at the limit
            logits, state = model.step(tokens, state, memory)
            paths = live.shape[1]  # K
            alive = live > -math.inf  # (R, K); the model may say anything about an empty place
            logp = _log_probabilities(logits, t, alive.flatten(), running, banned, eos)  # (R·K, V)

            # Candidates: the ``width`` best of all are among the ``width`` best words of each path,
            # or they are its <eos>.
            gain, word = (
                x.view(len(running), paths, -1) for x in _best(logp, width + 1)
            )  # (R, K, k)
            total = (live[:, :, None] + gain).where(alive[:, :, None], -math.inf)
            ends = word == eos
            grown = total.masked_fill(ends | ((~ends).cumsum(2) > width), -math.inf)
            survivors, kept = _best(grown.flatten(1), width)  # (R, width or, at first, k)
            empty = (0, width - survivors.shape[1])
            survivors, kept = (
                F.pad(survivors, empty, value=-math.inf),
                F.pad(kept, empty),
            )  # (R, width)

            # An ending counts if it is among the ``width`` best candidates of both kinds.
            among = (
                torch.zeros_like(ends)
                .flatten(1)
                .scatter(1, _best(total.flatten(1), width)[1], True)
                .view_as(ends)
            )
            ending = total.where(ends & among, -math.inf).amax(2)  # (R, K)
            finished.add(running, ending, words, ending / (t + 1) ** length_penalty)
            if trace is not None:
                trace.append(_Step(grown, word, kept, ending))
            if t == limit:
                live = live.masked_fill(ending > -math.inf, -math.inf)
                cut.add(running, live, words, live / limit**length_penalty)
                break

            # The survivors become the beam, each with the words and the state of the path it came
            # from.
            parent = kept // word.shape[2]  # (R, width)
            tokens = word.flatten(1).gather(1, kept)  # (R, width)
            words = torch.cat(
                [words.gather(1, parent[:, :, None].expand(-1, -1, t)), tokens[:, :, None]], 2
            )
            done = (
                finished.score[running, -1] >= survivors[:, 0] / (limit + 1) ** length_penalty
            )  # (R,)
            live = survivors.masked_fill(done[:, None], -math.inf)
            rows = torch.arange(len(running), device=device)[:, None] * paths + parent  # (R, width)

            # Inputs that are done leave the batch as soon as there are enough of them to be worth
            # copying the memory.
            stay = (live > -math.inf).any(1)  # (R,)
            left = int(stay.sum())
            if left < len(running):
                stuck = running[~stay & (finished.score[running, 0] == -math.inf)]
                _check_way_out(len(stuck) > 0, stuck[:1], t)
            if left == 0:
                break
            if left < 0.9 * len(running):
                running, live, words, tokens, rows = (
                    x[stay] for x in (running, live, words, tokens, rows)
                )
                memory = _map(lambda x: x[stay.repeat_interleave(paths)], memory)  # noqa: B023  called at once
            # All paths of an input share its memory: it is repeated once and never reordered. The
            # state follows the paths.
            if t == 0:
                memory = _map(lambda x: x.repeat_interleave(width, 0), memory)
            state = _map(lambda x: x[rows.flatten()], state)  # noqa: B023
            tokens = tokens.flatten()

        both = zip(finished.lists(True), cut.lists(False))
        return [(made + unfinished)[:n_best] for made, unfinished in both]


def _best(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest numbers of each row, best first, and their places, equals in the order of their
    places: (N, k) each, or all.

    A stable sort of long rows is slow, and ``topk`` breaks ties as it likes; so it sorts only the
    rows with a tie among the best.
    """
    if x.shape[1] <= 64:
        values, places = x.sort(descending=True, stable=True)
    else:
        values, places = x.topk(
            min(k + 1, x.shape[1])
        )  # one more, for a tie between the last and the first left out
        tied = (values.diff() == 0).any(1)  # not so for two of −∞, which are never chosen
        if tied.any():
            places[tied] = x[tied].sort(descending=True, stable=True).indices[:, : places.shape[1]]
    return values[:, :k].contiguous(), places[:, :k].contiguous()


class _Ranking:
    """The N best captions of each of B inputs, best first; a score of −inf marks an empty place."""

    def __init__(self, batch: int, n: int, limit: int, device: torch.device) -> None:
        self.score = torch.full((batch, n), -math.inf, dtype=torch.float64, device=device)
        self.logprob = self.score.clone()
        self.length = torch.zeros((batch, n), dtype=torch.int64, device=device)
        self.words = torch.zeros((batch, n, limit), dtype=torch.int64, device=device)

    def add(self, inputs: Tensor, logprob: Tensor, words: Tensor, score: Tensor) -> None:
        """Let captions of some ``inputs`` (R,) compete for their places: ``logprob`` and ``score``
        (R, K), ``words`` (R, K, t)."""
        t = words.shape[2]
        words = F.pad(words, (0, self.words.shape[2] - t))
        best, place = _best(
            torch.cat([self.score[inputs], score], 1), self.score.shape[1]
        )  # (R, N)
        self.score[inputs] = best
        for mine, new in (
            (self.logprob, logprob),
            (self.length, torch.full_like(score, t, dtype=torch.int64)),
            (self.words, words),
        ):
            at = place if mine.dim() == 2 else place[:, :, None].expand(-1, -1, mine.shape[2])
            mine[inputs] = torch.cat([mine[inputs], new], 1).gather(1, at)

    def lists(self, finished: bool) -> Iterator[list[Hypothesis]]:
        """The captions of each input."""
        columns = (self.words, self.length, self.logprob, self.score)
        for rows in zip(*(column.tolist() for column in columns)):
            yield [
                Hypothesis(tuple(w[:n]), p, s, finished)
                for w, n, p, s in zip(*rows)
                if s > -math.inf
            ]


# --- The search as a picture ----------------------------------------------------------------------


@dataclass(frozen=True)
class Node:
    """A place in the tree that a beam search walked through.

    Args:
        parent: the index of the node before it; −1 for the root.
        ids: the words that lead to it from the root, its own last, ``<eos>`` included; empty for
            the root.
        logprob: log-probability of that path.
        kept: it stayed in the beam, or became a finished caption; otherwise it was pruned.
        rank: the place, from 1, of the caption that ends here among those that were returned.
    """

    parent: int
    ids: tuple[int, ...]
    logprob: float
    kept: bool
    rank: int | None = None


@dataclass(frozen=True)
class BeamTree:
    """A beam search for one image: its nodes, the root first and parents before children, and what
    it returned."""

    nodes: tuple[Node, ...]
    hypotheses: tuple[Hypothesis, ...]
    bos: int
    eos: int


def beam_tree(
    model: CaptionModel,
    inputs: Any,
    *,
    width: int = 3,
    length_penalty: float = 0.0,
    limit: int = 20,
    n_best: int | None = None,
    banned: Iterable[int] = BANNED,
    bos: int = BOS,
    eos: int = EOS,
    pruned: int | None = None,
) -> BeamTree:
    """Run :func:`beam_search` on one input and write down the tree it walked through.

    Args:
        pruned: how many of the best pruned candidates to record at each step; ``width`` if not
            given.
        inputs: a batch of exactly one.
        model, width, length_penalty, limit, n_best, banned, bos, eos: as in :func:`beam_search`.

    Raises:
        ValueError: as :func:`beam_search`; or not exactly one input.
    """
    pruned = width if pruned is None else _whole("pruned", pruned, 0)
    eos, trace = _whole("eos", eos, 0), []
    found = _search(model, inputs, width, length_penalty, limit, n_best, banned, bos, eos, trace)
    if len(found) != 1:
        raise ValueError(
            f"beam_tree shows the search for one input, got {len(found)}; give a batch of one"
        )
    ranks = {h.ids + (eos,) * h.finished: rank for rank, h in enumerate(found[0], start=1)}
    nodes = [Node(-1, (), 0.0, True)]
    beam = [0]  # the node at which each living path stands

    def grow(path: int, token: int, logprob: float, kept: bool) -> int:
        ids = (*nodes[beam[path]].ids, token)
        nodes.append(Node(beam[path], ids, logprob, kept, ranks.get(ids) if kept else None))
        return len(nodes) - 1

    for t, step in enumerate(trace):
        grown, word, kept, ending = (part[0].flatten().tolist() for part in step)
        k = step.word.shape[2]
        possible = [i for i in range(len(word)) if grown[i] > -math.inf and t < limit]
        chosen = [i for i in dict.fromkeys(kept) if i in possible]
        others = sorted(set(possible) - set(chosen), key=lambda i: (-grown[i], i))[:pruned]
        for path, logprob in enumerate(ending):
            if logprob > -math.inf:
                grow(path, eos, logprob, True)
        for i in others:
            grow(i // k, word[i], grown[i], False)
        beam = [grow(i // k, word[i], grown[i], True) for i in chosen]
    return BeamTree(tuple(nodes), tuple(found[0]), bos, eos)


# --- Common to all --------------------------------------------------------------------------------


@contextlib.contextmanager
def _reading(model: Any) -> Iterator[None]:
    """No gradients and ``eval`` mode within; afterwards each part of the model is in the mode it
    was in."""
    parts = list(model.modules()) if isinstance(model, torch.nn.Module) else []
    modes = [part.training for part in parts]
    try:
        if parts:
            model.eval()
        with torch.no_grad():
            yield
    finally:
        for part, mode in zip(parts, modes):
            part.training = mode


def _begin(model: CaptionModel, inputs: Any, copies: int) -> tuple[Any, Any, int, torch.device]:
    """Memory and state with every row ``copies`` times in a run, the batch size before that, and
    the device."""
    memory, state = model.begin(inputs)
    tensors = [*_tensors(memory), *_tensors(state)] or list(_tensors(inputs))
    sizes = {x.shape[0] if x.dim() else 0 for x in tensors}
    if len(sizes) != 1:
        shapes = [tuple(x.shape) for x in tensors]
        raise ValueError(
            f"memory and state need tensors with the batch as their first dimension, got shapes {shapes}"
        )
    if copies > 1:
        memory, state = (
            _map(lambda x: x.repeat_interleave(copies, 0), part) for part in (memory, state)
        )
    return memory, state, sizes.pop(), tensors[0].device


def _log_probabilities(
    logits: Tensor,
    t: int,
    in_use: Tensor,
    inputs: Sequence[int] | Tensor,
    banned: tuple[int, ...],
    eos: int,
) -> Tensor:
    """The model's log-probabilities (rows, V), −inf for banned words; rows not ``in_use`` (rows,)
    may hold anything. Each of ``inputs`` has the same number of rows.

    Banned words keep their probability and are only never chosen, so that ``logprob`` stays that of
    the model.
    """
    if not isinstance(logits, Tensor):
        raise TypeError(
            f"model.step must return logits as a tensor, got {type(logits).__name__} at step {t}"
        )
    if logits.dim() != 2 or len(logits) != len(in_use):
        raise ValueError(
            f"model.step must return logits ({len(in_use)}, V), got {tuple(logits.shape)} at step {t}"
        )
    size = logits.shape[1]
    outside = [i for i in (eos, *banned) if i >= size]
    if outside:
        raise ValueError(
            f"the model knows {size} words, but eos or banned holds the id {outside[0]}"
        )
    if len(banned) == size:
        raise ValueError(f"all {size} words are banned; nothing is left to write")
    broken = in_use & ~logits.amax(1).isfinite()  # NaN, +∞, or nothing but −∞
    if broken.any():
        which = int(inputs[int(broken.nonzero()[0]) * len(inputs) // len(broken)])
        raise ValueError(
            f"the model gave logits without a finite maximum (NaN or ±inf) at step {t} for input {which}"
        )
    logp = (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(1)
    return logp.index_fill_(
        1, torch.tensor(banned, dtype=torch.int64, device=logp.device), -math.inf
    )


def _check_way_out(stuck: bool, which: Tensor, t: int) -> None:
    if stuck:
        raise ValueError(
            f"no caption for input {int(which)}: the model gave probability 0 to every word that is not banned, at step {t}"
        )


def _map(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Apply a function to every tensor of a nested structure."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {name: _map(change, part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [_map(change, part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor of a nested structure."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | tuple | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def _none(inputs: Any) -> bool:
    """Whether there is nothing to caption."""
    first = next(_tensors(inputs), None)
    return (
        len(inputs) == 0
        if first is None and hasattr(inputs, "__len__")
        else first is not None and len(first) == 0
    )


def _ids(banned: Iterable[int]) -> tuple[int, ...]:
    """The banned ids, sorted, each once."""
    try:
        ids = None if isinstance(banned, str | bytes) else list(banned)
    except TypeError:
        ids = None
    if ids is None:
        raise ValueError(
            f"banned must be a row of ids such as {BANNED}, () for none, got {banned!r}"
        )
    found = [_index(i) for i in ids]
    wrong = [i for i, n in zip(ids, found) if n is None or n < 0]
    if wrong:
        raise ValueError(f"banned must hold ids, whole numbers of at least 0, got {wrong[0]!r}")
    return tuple(sorted(set(found)))


def _index(number: Any) -> int | None:
    """A whole number of Python, NumPy or torch as an ``int``; None for anything else, truth values
    too."""
    truth = isinstance(number, bool) or getattr(number, "dtype", None) in (torch.bool, bool)
    try:
        return None if truth else operator.index(number)
    except TypeError:
        return None


def _whole(name: str, number: Any, least: int = 1) -> int:
    found = _index(number)
    if found is None or found < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {number!r}")
    return found


def _seed(number: Any) -> int:
    found = _index(number)
    if found is None or not -(2**63) <= found < 2**64:
        raise ValueError(f"seed must be a whole number from -2**63 to 2**64 - 1, got {number!r}")
    return found


def _is_number(x: Any) -> bool:
    return isinstance(x, Real) and not isinstance(x, bool)


def _sampling(
    temperature: float, top_k: int | None, top_p: float | None
) -> tuple[float, int | None, float | None]:
    """The three settings, checked."""
    if not _is_number(temperature) or not 0 < temperature < math.inf:
        raise ValueError(
            f"temperature must be a number above 0, got {temperature!r}; for the most probable word every time use greedy"
        )
    if top_p is not None and (not _is_number(top_p) or not 0 < top_p <= 1):
        raise ValueError(f"top_p must be a number above 0 and at most 1, got {top_p!r}")
    return temperature, None if top_k is None else _whole("top_k", top_k), top_p
