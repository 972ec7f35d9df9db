"""word2vec: skip-gram with full softmax, noise-contrastive estimation and negative sampling.

Read from top to bottom: the configuration, the two distributions that make it work (which words to
keep, which words to draw as noise), the three losses, the model, a trainer that is fast because it
shares work, and the vectors in use.

Sources: Mikolov et al. 2013a (skip-gram) and 2013b (negative sampling, subsampling); Gutmann and
Hyvärinen 2010 and Mnih and Teh 2012 (noise-contrastive estimation); Levy and Goldberg 2014 (what
negative sampling converges to).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import operator
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtutor.kit.text import Vocabulary

OBJECTIVES = ("softmax", "nce", "negative_sampling")


@dataclass(frozen=True)
class Config:
    """Settings of one skip-gram model. All numbers are finite.

    Args:
        dim: length d of a word vector.
        window: the largest distance C between centre and context; each centre draws its own radius
            from 1…C.
        negatives: noise words k for each real pair.
        objective: ``"negative_sampling"``, ``"nce"`` or ``"softmax"``.
        learn_normalizer: NCE only. Learn log Z for each centre word instead of fixing it to 0.
        noise_power: noise words are drawn with probability ∝ count ** noise_power; mostly in [0,
            1].
        subsample: threshold t of the subsampling of frequent words, as a relative frequency; 0
            keeps all.
        min_count: rarer words are dropped from the corpus before anything else.
        epochs: passes over the corpus.
        lr: peak step of the row-wise AdaGrad update; it falls linearly to 0.
        batch: centre words a step.
        shared_noise: noise words a step; all pairs of the step share them, each with weight k /
            shared_noise.
    """

    dim: int = 100
    window: int = 5
    negatives: int = 5
    objective: str = "negative_sampling"
    learn_normalizer: bool = False
    noise_power: float = 0.75
    subsample: float = 1e-3
    min_count: int = 10
    epochs: int = 5
    lr: float = 0.2
    batch: int = 512
    shared_noise: int = 128

    def __post_init__(self) -> None:
        for name in ("dim", "window", "negatives", "min_count", "epochs", "batch", "shared_noise"):
            object.__setattr__(self, name, _whole(name, getattr(self, name), 1))
        for name in ("noise_power", "subsample", "lr"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, got {value!r}")
            object.__setattr__(self, name, float(value))
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {OBJECTIVES}, got {self.objective!r}")
        if not isinstance(self.learn_normalizer, bool):
            raise ValueError(
                f"learn_normalizer must be True or False, got {self.learn_normalizer!r}"
            )
        if self.learn_normalizer and self.objective != "nce":
            raise ValueError(
                f"learn_normalizer is for objective = 'nce', got objective = {self.objective!r}"
            )
        if self.subsample < 0 or not self.lr > 0:
            raise ValueError(
                f"subsample must be ≥ 0 and lr > 0, got {self.subsample} and {self.lr}"
            )

    @classmethod
    def world(cls, **changes: object) -> Config:
        """For corpora of about a million words on two CPU cores."""
        return replace(cls(), **changes)

    @classmethod
    def paper(cls, **changes: object) -> Config:
        """The sizes of Mikolov et al. 2013b, Table 1: 300 dimensions, window 5, 5 negatives, t =
        1e-5, for a billion words."""
        return replace(
            cls(dim=300, subsample=1e-5, min_count=5, epochs=3, batch=4096, shared_noise=1024),
            **changes,
        )


def _whole(name: str, number: Any, least: int, most: float = math.inf) -> int:
    """A whole number of Python, NumPy or torch as an ``int``; truth values are none."""
    truth = isinstance(number, bool) or getattr(number, "dtype", None) in (bool, torch.bool)
    try:
        found = None if truth else operator.index(number)
    except TypeError:
        found = None
    if found is None or not least <= found <= most:
        limits = f"of at least {least}" if most == math.inf else f"in {least}…{most}"
        raise ValueError(f"{name} must be a whole number {limits}, got {number!r}")
    return found


# --- Which words to keep, and which to draw as noise ----------------------------------------------


def keep_probability(counts: Tensor, threshold: float) -> Tensor:
    """With which probability an occurrence of each word is kept: min(1, √(t/f) + t/f), f its
    relative frequency.

    This is the formula of the published C program; the paper (2013b, section 2.3) prints √(t/f)
    alone.

    Args:
        counts: occurrences of each word, (V,), all ≥ 1.
        threshold: t, a relative frequency; 0 keeps everything.

    Returns:
        (V,) in (0, 1].

    Raises:
        ValueError: a threshold that is negative or not finite.
    """
    if not 0 <= threshold < math.inf:
        raise ValueError(f"the threshold must be finite and at least 0, got {threshold}")
    if threshold == 0:
        return torch.ones_like(counts, dtype=torch.float32)
    ratio = threshold * counts.sum() / counts.double()
    return (ratio.sqrt() + ratio).clamp(max=1.0).float()


def noise_distribution(counts: Tensor, power: float = 0.75) -> Tensor:
    """The distribution P_n(w) ∝ count(w) ** power from which noise words are drawn, (V,), in
    float64 (2013b, section 2.2).

    Raises:
        ValueError: a power that leaves a word without a probability above 0 in float32, NaN among
            them.
    """
    weights = counts.double() ** power
    noise = weights / weights.sum()
    if not bool((noise.float() > 0).all()):
        raise ValueError(
            f"count ** noise_power leaves the range of numbers with noise_power = {power}; try 0 to 1"
        )
    return noise


def skip_gram_pairs(ids: Tensor, window: int, radius: Tensor | None = None) -> Tensor:
    """All (centre, context) pairs of one sentence, written plainly; the trainer below never lists
    them.

    Args:
        ids: the sentence, (T,).
        window: the largest distance C.
        radius: the radius of each centre in 1…C, (T,); C everywhere if not given.

    Returns:
        (P, 2) ids: a centre and one of its neighbours.
    """
    length = len(ids)
    radius = torch.full((length,), window) if radius is None else radius
    at = torch.arange(length)
    distance = (at[:, None] - at[None, :]).abs()  # (T, T)
    centre, context = torch.nonzero((distance > 0) & (distance <= radius[:, None]), as_tuple=True)
    return torch.stack([ids[centre], ids[context]], dim=1)


# --- Three losses ---------------------------------------------------------------------------------


def softmax_loss(scores: Tensor, context: Tensor) -> Tensor:
    """−log p(o | c) with p = softmax over the whole vocabulary; scores (B, V), context (B,);
    returns (B,)."""
    return F.cross_entropy(scores, context, reduction="none")


def nce_loss(
    positive: Tensor, noise: Tensor, log_k_noise_positive: Tensor, log_k_noise: Tensor
) -> Tensor:
    """Noise-contrastive estimation: is this pair real, or did the noise make it? (Mnih and Teh
    2012, section 3)

    The classifier's logit is s(w, c) − log(k·P_n(w)). With that correction the best s is log p(w |
    c): a probability, although nobody summed over the vocabulary.

    Args:
        positive: scores s(o, c) − log Z of real pairs, (B,).
        noise: scores of noise words, (B, k).
        log_k_noise_positive: log(k·P_n(o)) of the real context words, (B,).
        log_k_noise: log(k·P_n(n)) of the noise words, (B, k).

    Returns:
        (B,).
    """
    real = F.logsigmoid(positive - log_k_noise_positive)
    fake = F.logsigmoid(-(noise - log_k_noise)).sum(-1)
    return -(real + fake)


def negative_sampling_loss(positive: Tensor, noise: Tensor) -> Tensor:
    """NCE without the correction (2013b, equation 4): −log σ(s(o, c)) − Σ log σ(−s(n, c)); (B,),
    (B, k) → (B,).

    The best s is then log p(w | c) − log(k·P_n(w)): good vectors, but no longer a probability.
    """
    return -(F.logsigmoid(positive) + F.logsigmoid(-noise).sum(-1))


# --- The model ------------------------------------------------------------------------------------


class SkipGram(nn.Module):
    """Two tables of vectors and a dot product.

    Args:
        config: the settings.
        counts: how often each word occurs, (V,), all ≥ 1.

    Attributes:
        centre: vectors of words as centres, (V, d): the embeddings that one keeps.
        context: vectors of words as contexts, (V, d).
        bias: one number a context word, (V,); log of its frequency at first. Softmax and NCE model
            probabilities and need it, negative sampling has none (it stays 0).
        log_z: log Z of each centre word, (V,); all 0 unless ``learn_normalizer``.
    """

    def __init__(self, config: Config, counts: Tensor) -> None:
        super().__init__()
        if counts.dim() != 1 or len(counts) < 2 or int(counts.min()) < 1:
            raise ValueError(
                "counts must be a vector of at least two words, each with a count of 1 or more"
            )
        if config.negatives > len(counts):
            raise ValueError(
                f"negatives = {config.negatives} is larger than the vocabulary of {len(counts)} words"
            )
        self.config = config
        size = (len(counts), config.dim)
        # The C program's start: small random centres, zero contexts: every score starts at 0.
        self.centre = nn.Parameter((torch.rand(size) - 0.5) / config.dim)
        self.context = nn.Parameter(torch.zeros(size))
        probabilistic = config.objective != "negative_sampling"
        # What the model sees of each word, after subsampling.
        kept = counts * keep_probability(counts, config.subsample)
        start = (kept / kept.sum()).log().float() if probabilistic else torch.zeros(len(counts))
        self.bias = nn.Parameter(start, requires_grad=probabilistic)
        self.log_z = nn.Parameter(torch.zeros(len(counts)), requires_grad=config.learn_normalizer)
        noise = noise_distribution(counts, config.noise_power)
        self.register_buffer("noise", noise.float())
        self.register_buffer("log_k_noise", (config.negatives * noise).log().float())

    def scores(self, centre: Tensor, context: Tensor) -> Tensor:
        """s(w, c) = u_w · v_c + b_w − log Z_c for centres (B,) and context words (B,) or (B, k)."""
        v, u = self.centre[centre], self.context[context]  # (B, d), (B, d) or (B, k, d)
        if context.dim() == 1:
            return (u * v).sum(-1) + self.bias[context] - self.log_z[centre]
        return torch.bmm(u, v[:, :, None])[:, :, 0] + self.bias[context] - self.log_z[centre, None]

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Mean loss of the pairs in a batch, the plain way: ``centre`` (B,), ``context`` (B,), and
        ``noise`` (B, k) where needed."""
        centre, context = batch["centre"], batch["context"]
        if self.config.objective == "softmax":
            # (B, V) inside
            return softmax_loss(self.centre[centre] @ self.context.T + self.bias, context).mean()
        noise = batch["noise"]
        # (B,), (B, k)
        positive, negative = self.scores(centre, context), self.scores(centre, noise)
        if self.config.objective == "nce":
            return nce_loss(
                positive, negative, self.log_k_noise[context], self.log_k_noise[noise]
            ).mean()
        return negative_sampling_loss(positive, negative).mean()

    @torch.no_grad()
    def log_normalizer(self, centre: Tensor) -> Tensor:
        """log Σ_w exp s(w, c) over the whole vocabulary for centres (B,): 0 where the model
        normalizes itself."""
        return (
            torch.logsumexp(self.centre[centre] @ self.context.T + self.bias, dim=1)
            - self.log_z[centre]
        )


# --- The trainer ----------------------------------------------------------------------------------
# Three ideas make it fast. (1) Neighbouring centres have the same neighbours, so a block of text is
# two small matrices and all its pairs are one product under a band-shaped mask. (2) All pairs of a
# step share their noise words: one more product. (3) Only the rows that occur in a step are
# touched, so a step costs the same for 5,000 words and for 500,000.

BLOCK = 32  # centres in one block


def bands(
    stream: Tensor, sentence: Tensor, radius: Tensor, window: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Cut a stretch of text into blocks of centres with their contexts.

    Args:
        stream: word ids, (B + 2·window,), B a multiple of the block's 32; the first and last
            ``window`` are context only.
        sentence: the number of the sentence of each word, (B + 2·window,); pairs do not cross
            sentences, and a negative number marks padding.
        radius: how far each centre looks, (B,), in 1…window.

    Returns:
        centre ids (R, 32), positions of the contexts in ``stream`` (R, 32 + 2·window), and a mask
        (R, 32, 32 + 2·window) that is True for a real pair.
    """
    position, offset = _layout(len(stream), window, stream.device)
    inside = slice(window, len(stream) - window)
    mask = offset.abs() <= radius.view(-1, BLOCK, 1)  # (R, 32, width)
    mask &= offset != 0
    home = sentence[inside].view(-1, BLOCK, 1)
    mask &= (overlapping(sentence, window)[:, None, :] == home) & (home >= 0)
    return stream[inside].view(-1, BLOCK), position, mask


def overlapping(x: Tensor, window: int) -> Tensor:
    """The contexts of every block as a view, not a copy: (B + 2·window, …) → (R, …, 32 +
    2·window)."""
    return x.unfold(0, BLOCK + 2 * window, BLOCK)


def overlap_add(parts: Tensor, length: int) -> Tensor:
    """The way back: add up what each block has for the same place, (R, 32 + 2·window, d) → (length,
    d)."""
    rows, width, dim = parts.shape
    out = parts.new_zeros(-(-width // BLOCK) * BLOCK + (rows - 1) * BLOCK, dim)
    for start in range(0, width, BLOCK):  # 32 columns at a time: within these no two blocks overlap
        piece = parts[:, start : start + BLOCK]
        out[start : start + rows * BLOCK].view(rows, BLOCK, dim)[:, : piece.shape[1]] += piece
    return out[:length]


@functools.lru_cache(maxsize=8)
def _layout(length: int, window: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Positions of the contexts of each block, (R, width), and their distance from each centre,
    (32, width)."""
    place = torch.arange(BLOCK + 2 * window, device=device)
    offset = place - window - torch.arange(BLOCK, device=device)[:, None]
    return overlapping(torch.arange(length, device=device), window), offset


def pair_gradients(
    v: Tensor, u: Tensor, u_shift: Tensor, mask: Tensor, n: Tensor, n_shift: Tensor, k: int
) -> dict[str, Any]:
    """Gradients of all pairs in R blocks, for NCE and negative sampling.

    With x = u · v + shift the loss is Σ −log σ(x) over real pairs plus (k/N) Σ −log σ(−x) over
    (real pair, noise word), and the derivative of −log σ(x) is σ(x) − 1, that of −log σ(−x) is
    σ(x). The rest is the chain rule, as matrix products.

    Args:
        v: centre vectors, (R, S, d).
        u: context vectors, (R, W, d).
        u_shift: what is added to each context word's score: b_w − log(k·P_n(w)) for NCE, 0 for
            negative sampling, broadcast to (R, S, W).
        mask: True for a real pair, (R, S, W).
        n: noise vectors, (N, d).
        n_shift: the same for noise words, broadcast to (R·S, N).
        k: noise words a real pair; N shared ones each weigh k/N.

    Returns:
        gradients ``v`` (R·S, d), ``u`` (R, W, d), ``n`` (N, d); the score gradients ``real`` (R, S,
        W) and ``fake`` (R·S, N), from which those of biases and normalizers are sums; and a
        function ``loss`` that gives the summed loss when asked.
    """
    rows, size, dim = v.shape
    flat = v.reshape(rows * size, dim)
    # How much each noise word weighs for each centre, (R·S, 1).
    pairs = mask.sum(2, dtype=v.dtype).view(-1, 1) * (k / len(n))
    x, y = torch.bmm(v, u.transpose(1, 2)) + u_shift, flat @ n.T + n_shift  # (R, S, W), (R·S, N)
    real = (torch.sigmoid(x) - 1) * mask
    fake = torch.sigmoid(y) * pairs
    return {
        "v": torch.bmm(real, u).view(-1, dim).addmm(fake, n),
        "u": torch.bmm(real.transpose(1, 2), v),
        "n": fake.T @ flat,
        "real": real,
        "fake": fake,
        "loss": lambda: -(F.logsigmoid(x) * mask).sum() - (F.logsigmoid(-y) * pairs).sum(),
    }


class RowAdaGrad:
    """AdaGrad with one step size a row: row ← row − lr · g / √(Σ ‖g‖²/d), and only rows that have a
    gradient are touched.

    Plain SGD adds up the hundreds of gradients that a frequent word gets in one step, and
    overshoots. Dividing by the running norm of the row's own gradients bounds the step of frequent
    words and keeps it large for rare ones.
    """

    def __init__(self, table: Tensor) -> None:
        self.table = table
        self.sum = torch.zeros(len(table), device=table.device)

    def step(self, ids: Tensor, gradients: Tensor, lr: float) -> None:
        """Update rows ``ids`` (M,), which may repeat, with their gradients (M, d) or (M,)."""
        rows, inverse = torch.unique(ids, return_inverse=True)
        total = gradients.new_zeros((len(rows), *gradients.shape[1:])).index_add_(
            0, inverse, gradients
        )
        self.rows(rows, total, lr)

    def rows(self, rows: Tensor, total: Tensor, lr: float) -> None:
        """Update distinct rows with the sum of their gradients."""
        seen = self.sum[rows] + total.square().view(len(rows), -1).mean(1)
        self.sum[rows] = seen
        scale = (seen + 1e-10).rsqrt_()
        self.table.index_add_(
            0, rows, total * (scale[:, None] if total.dim() > 1 else scale), alpha=-lr
        )


@dataclass
class Trained:
    """What :func:`train` returns: the vectors, the model, and the loss a pair over time."""

    vectors: WordVectors
    model: SkipGram
    pairs: int = 0
    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


def encode(
    sentences: Iterable[Iterable[str]] | Iterable[str], min_count: int
) -> tuple[Vocabulary, Tensor, Tensor]:
    """Vocabulary, word ids (T,) and sentence numbers (T,) of a corpus; words under ``min_count``
    are dropped.

    Args:
        sentences: rows of words: lists, tuples, arrays or generators, in any of the same. A flat
            row of words counts as one sentence.
        min_count: the least number of times that a word must occur.

    Raises:
        ValueError: the corpus is empty, has fewer than two distinct words that occur often enough,
            or is flat and of whole sentences.
        TypeError: a string or bytes where a row of words belongs (it would fall apart into
            letters), a set or a dictionary (they have no order), or words that are not strings.
    """
    corpus = _sentences(sentences)
    try:
        counts = Counter(itertools.chain.from_iterable(corpus))
        strange = any(not isinstance(word, str) for word in counts)
    except TypeError:  # a list among the words
        strange = True
    if strange:
        i, word = next(
            (i, w) for i, words in enumerate(corpus) for w in words if not isinstance(w, str)
        )
        raise TypeError(f"sentence {i} holds {word!r}, which is no word: words are strings")
    if not counts:
        raise ValueError("the corpus is empty: there is no word to learn from")
    if sum(c >= min_count for c in counts.values()) < 2:
        raise ValueError(
            f"skip-gram needs two distinct words that occur at least {min_count} times (min_count); "
            f"this corpus has {len(counts)} distinct words in all"
        )
    vocabulary = Vocabulary(counts, min_count=min_count, specials=())
    lookup = vocabulary.ids
    coded = [[lookup[w] for w in words if w in lookup] for words in corpus]
    ids = torch.tensor([i for words in coded for i in words])
    sentence = torch.repeat_interleave(
        torch.arange(len(coded)), torch.tensor([len(words) for words in coded])
    )
    return vocabulary, ids, sentence


def _sentences(corpus: Any) -> list[Sequence[Any]]:
    """The corpus as a list of rows that can be read twice; words themselves are not looked at if
    there are sentences."""
    advice = "split text into words with mmtutor.kit.text.tokenize"
    if isinstance(corpus, str | bytes | Mapping | Set) or not isinstance(corpus, Iterable):
        got = f"{'one ' if isinstance(corpus, str | bytes) else ''}{type(corpus).__name__}"
        raise TypeError(f"the corpus must be a list of words or of sentences, not {got}; {advice}")
    rows = list(corpus)
    if rows and isinstance(rows[0], str):
        if not all(issubclass(kind, str) for kind in set(map(type, rows))):
            i, word = next((i, w) for i, w in enumerate(rows) if not isinstance(w, str))
            raise TypeError(
                f"word {i} of a flat list of words is a {type(word).__name__}: {word!r}"
            )
        several = next((w for w in dict.fromkeys(rows) if len(w.split()) > 1), None)
        if several is not None:
            raise ValueError(f"in a flat list of words {several!r} holds several words; {advice}")
        return [rows]
    for i, words in enumerate(rows):
        if isinstance(words, list | tuple):
            continue
        kind = type(words).__name__
        if isinstance(words, str | bytes):
            raise TypeError(
                f"sentence {i} is one {kind}, {words!r}, and would fall apart into letters; {advice}"
            )
        if isinstance(words, Mapping | Set):
            raise TypeError(f"sentence {i} is a {kind}, which has no order of words")
        if not isinstance(words, Iterable):
            raise TypeError(f"sentence {i} is no list of words but {kind}")
        rows[i] = list(words)
    return rows


def train(
    sentences: Iterable[Iterable[str]] | Iterable[str],
    config: Config | None = None,
    *,
    seed: int = 0,
    workers: int = 1,
    device: torch.device | str | None = None,
    progress: bool | None = None,
) -> Trained:
    """Train skip-gram on a corpus.

    Args:
        sentences: rows of words, or one flat row of words, which is one sentence; see
            :func:`encode`.
        config: the settings; ``Config.world()`` if not given.
        seed: a whole number that decides the start, the kept words, the radii and the noise. Same
            seed, same device, one worker: same vectors.
        workers: threads that take steps in turn and change the same tables without waiting for each
            other, 1 to 8, on the CPU (Hogwild; Recht et al. 2011). Where two steps change the same
            row at once a change may be lost; the tests hold the quality against that of one worker.
            Who comes first is left to chance: with more than one worker the vectors are not
            repeatable to the bit, as in gensim. Not for the full softmax: its steps change all rows.
        device: where to train; :func:`mmtutor.device` if not given.
        progress: show a tqdm bar; by default unless ``MMTUTOR_PROGRESS=0``.

    Raises:
        ValueError: a corpus without two frequent enough words, or without two of them in one
            sentence (after subsampling, in any epoch): there is no pair to learn from; or k larger
            than the vocabulary; or more workers than one with the full softmax or on a GPU.
        TypeError: see :func:`encode`; or ``config`` is no :class:`Config`.
        FloatingPointError: the loss is not finite, which means that ``lr`` is too high.
    """
    from tqdm.auto import tqdm

    from mmtutor.kit.runtime import cpu_threads
    from mmtutor.kit.runtime import device as default_device

    config = Config.world() if config is None else config
    if not isinstance(config, Config):
        raise TypeError(f"config must be a word2vec.Config, got {type(config).__name__}")
    seed = _whole("seed", seed, -(2**63), 2**64 - 1)
    workers = _whole("workers", workers, 1, 8)
    where = torch.device(device) if device is not None else default_device()
    if workers > 1 and config.objective == "softmax":
        raise ValueError(
            f"workers = {workers} is for 'nce' and 'negative_sampling', whose steps change the rows "
            "that occur; a step of the full softmax changes all"
        )
    if workers > 1 and where.type != "cpu":
        raise ValueError(f"workers = {workers} is for the CPU, got device = {str(where)!r}")
    vocabulary, ids, sentence = encode(sentences, config.min_count)
    if not bool((sentence[1:] == sentence[:-1]).any()):
        raise ValueError(
            "no sentence has two words left that could be a pair: the longest of "
            f"{int(sentence[-1]) + 1} has 1, without words rarer than min_count = {config.min_count}"
        )
    counts = torch.tensor(vocabulary.counts)
    draw = torch.Generator().manual_seed(seed)  # on the CPU: every device sees the same draws
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SkipGram(config, counts).to(where)
    updates = {
        name: RowAdaGrad(table.data)
        for name, table in model.named_parameters()
        if table.requires_grad
    }
    trained = Trained(WordVectors(vocabulary, model.centre.data.cpu()), model)

    keep, law = keep_probability(counts, config.subsample), model.noise.cpu()
    epochs = (steps(ids, sentence, keep, law, config, draw) for _ in range(config.epochs))
    every = enumerate(itertools.chain.from_iterable(epochs))
    expected = float(keep[ids].double().sum())
    total = max(1, math.ceil(expected / _centres(config, len(ids)))) * config.epochs
    take = softmax_step if config.objective == "softmax" else sampled_step
    shown = progress if progress is not None else os.environ.get("MMTUTOR_PROGRESS", "1") != "0"
    one_at_a_time = threading.Lock()
    bar = tqdm(total=total, disable=not shown, file=sys.stdout)

    def take_next() -> bool:
        """Take one step; False if none is left."""
        with one_at_a_time:
            number, step = next(every, (None, None))
        if step is None:
            return False
        lr = config.lr * max(1e-3, 1 - number / total)
        with torch.no_grad():
            loss, pairs = take(model, updates, step.to(where), lr)
            pairs = int(pairs)
            mean = float(loss()) / pairs if number % 100 == 0 and pairs else None
        if mean is not None and not math.isfinite(mean):
            raise FloatingPointError(
                f"the loss is {mean} at step {number}: lr = {config.lr} is too high"
            )
        with one_at_a_time:
            trained.pairs += pairs
            if mean is not None:
                trained.steps.append(number)
                trained.losses.append(mean)
            bar.update()
        return True

    small = config.objective != "softmax"  # steps of under two milliseconds: see cpu_threads
    with bar, cpu_threads(1) if small else contextlib.nullcontext():
        _side_by_side(take_next, workers)
    if workers > 1:  # the loss of a step may have been noted after that of a later one
        order = sorted(range(len(trained.steps)), key=trained.steps.__getitem__)
        trained.steps = [trained.steps[i] for i in order]
        trained.losses = [trained.losses[i] for i in order]
    if trained.pairs == 0:
        raise ValueError(
            f"subsample = {config.subsample} left no pair in {config.epochs} epochs: nearly all "
            "words were dropped; raise it, or keep all with 0"
        )
    if not bool(torch.isfinite(model.centre).all()):
        raise FloatingPointError(
            f"the vectors are not finite after training: lr = {config.lr} is too high"
        )
    trained.vectors = WordVectors(vocabulary, model.centre.data.cpu())
    return trained


def _side_by_side(take_next: Callable[[], bool], workers: int) -> None:
    """Call ``take_next`` until it is False, in this thread and in ``workers − 1`` more. What one of
    them raises ends all of them and is raised here, and no thread is left behind."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            while not raised and take_next():
                pass
        except BaseException as error:
            raised.append(error)

    others = [threading.Thread(target=work, daemon=True) for _ in range(workers - 1)]
    for thread in others:
        thread.start()
    work()
    for thread in others:
        thread.join()
    if raised:
        raise raised[0]


class Step(NamedTuple):
    """What one step of training looks at: B centres, their surroundings, and N noise words."""

    words: Tensor  # ids, (B + 2·window,): the centres, with ``window`` words more on either side
    sentence: Tensor  # the number of the sentence of each word, (B + 2·window,); −1 is padding
    radius: Tensor  # how far each centre looks, (B,), in 1…window
    noise: Tensor  # ids, (N,), drawn from the noise distribution

    def to(self, device: torch.device) -> Step:
        return Step(*(part.to(device) for part in self))


def _centres(config: Config, words: int) -> int:
    """Centres a step, B: whole blocks, and no more of them than a corpus of so many words has."""
    return min(config.batch, -(-words // BLOCK) * BLOCK) // BLOCK * BLOCK or BLOCK


def steps(
    ids: Tensor,
    sentence: Tensor,
    keep: Tensor,
    noise: Tensor,
    config: Config,
    draw: torch.Generator,
) -> Iterator[Step]:
    """One epoch of steps: subsample first (so that windows widen over dropped words), then cut the
    stream into stretches.

    Args:
        ids: the corpus, (T,).
        sentence: the number of the sentence of each word, (T,).
        keep: with which probability an occurrence of each word is kept, (V,).
        noise: the distribution of the noise words, (V,).
        config: the settings.
        draw: decides the kept words, the radii and the noise.
    """
    batch = _centres(config, len(ids))
    kept = torch.rand(len(ids), generator=draw) < keep[ids]
    stream, home = ids[kept], sentence[kept]
    count = max(1, -(-len(stream) // batch))
    fill = (config.window, config.window + count * batch - len(stream))
    stream, home = F.pad(stream, fill), F.pad(home, fill, value=-1)
    radius = torch.randint(1, config.window + 1, (count, batch), generator=draw)
    # Inverse of the cumulative distribution: exact, and O(log V) a draw.
    cumulative = noise.double().cumsum(0)
    size = (count, config.shared_noise)
    draws = torch.rand(size, generator=draw, dtype=torch.float64) * cumulative[-1]
    drawn = torch.searchsorted(cumulative, draws, right=True).clamp_(max=len(noise) - 1)
    for i in range(count):
        stretch = slice(i * batch, (i + 1) * batch + 2 * config.window)
        yield Step(stream[stretch], home[stretch], radius[i], drawn[i])


def sampled_step(
    model: SkipGram, updates: dict[str, RowAdaGrad], step: Step, lr: float
) -> tuple[Callable[[], Tensor], Tensor]:
    """One step of NCE or negative sampling on B centres; returns the summed loss, to be called, and
    the pairs."""
    window, noise = model.config.window, step.noise
    centre, _, mask = bands(step.words, step.sentence, step.radius, window)
    context = overlapping(step.words, window)  # (R, W)
    u_shift, n_shift = 0.0, 0.0
    if model.config.objective == "nce":
        log_z = model.log_z[centre]  # (R, S)
        u_shift = (model.bias[context] - model.log_k_noise[context])[:, None, :] - log_z[:, :, None]
        n_shift = model.bias[noise] - model.log_k_noise[noise] - log_z.view(-1, 1)
    stretch = model.context[step.words]  # (B + 2·window, d): each row once; blocks share some
    u = overlapping(stretch, window).transpose(1, 2)  # (R, W, d)
    v, n, k = model.centre[centre], model.context[noise], model.config.negatives
    g = pair_gradients(v, u, u_shift, mask, n, n_shift, k)
    to_stretch = overlap_add(g["u"], len(step.words))  # (B + 2·window, d)
    updates["centre"].step(centre.flatten(), g["v"], lr)
    updates["context"].step(torch.cat([step.words, noise]), torch.cat([to_stretch, g["n"]]), lr)
    if "bias" in updates:
        slopes = torch.cat([g["real"].sum(1).flatten(), g["fake"].sum(0)])
        updates["bias"].step(torch.cat([context.flatten(), noise]), slopes, lr)
    if "log_z" in updates:
        slopes = -(g["real"].sum(2).flatten() + g["fake"].sum(1))
        updates["log_z"].step(centre.flatten(), slopes, lr)
    return g["loss"], mask.sum()


def softmax_step(
    model: SkipGram, updates: dict[str, RowAdaGrad], step: Step, lr: float
) -> tuple[Callable[[], Tensor], Tensor]:
    """One step of the full softmax: every centre scores every word. The gradient over contexts is
    dense, (V, d)."""
    centre, position, mask = bands(step.words, step.sentence, step.radius, model.config.window)
    context = step.words[position]
    v, u = model.centre[centre], model.context[context]
    flat, pairs = v.view(-1, v.shape[-1]), mask.sum(2, dtype=v.dtype)
    scores = flat @ model.context.T + model.bias  # (B, V)
    log_sum = torch.logsumexp(scores, dim=1)
    real = mask.to(v.dtype)
    total = (log_sum * pairs.flatten()).sum()
    total = total - ((torch.bmm(v, u.transpose(1, 2)) + model.bias[context][:, None]) * real).sum()
    weight = (scores - log_sum[:, None]).exp_() * pairs.view(-1, 1)  # (B, V)
    every = torch.arange(len(model.context), device=step.words.device)
    dense = (weight.T @ flat).index_add_(
        0, context.flatten(), torch.bmm(real.transpose(1, 2), v).flatten(0, 1), alpha=-1
    )
    slope = weight.sum(0).index_add_(0, context.flatten(), real.sum(1).flatten(), alpha=-1)
    updates["centre"].step(
        centre.flatten(), weight @ model.context - torch.bmm(real, u).flatten(0, 1), lr
    )
    updates["context"].rows(every, dense, lr)
    updates["bias"].rows(every, slope, lr)
    return (lambda: total), mask.sum()


# --- The vectors in use ---------------------------------------------------------------------------


class WordVectors:
    """Unit vectors of words: neighbours, similarity, analogies.

    Args:
        vocabulary: V words, without specials.
        matrix: their vectors, (V, d); they are scaled to unit length here.

    Raises:
        ValueError: the sizes differ, or a vector is not finite.
    """

    def __init__(self, vocabulary: Vocabulary, matrix: Tensor) -> None:
        if matrix.dim() != 2 or len(matrix) != len(vocabulary):
            raise ValueError(
                f"{len(vocabulary)} words need a ({len(vocabulary)}, d) matrix, got {tuple(matrix.shape)}"
            )
        finite = torch.isfinite(matrix).all(1)  # (V,)
        if not bool(finite.all()):
            word = vocabulary.words[int((~finite).nonzero()[0])]
            raise ValueError(f"the vector of {word!r} holds NaN or infinity")
        self.vocabulary = vocabulary
        self.matrix = F.normalize(matrix.detach().float(), dim=1)

    def __getitem__(self, word: str) -> Tensor:
        """The unit vector of a word, (d,). An unknown word is a KeyError that names near
        spellings."""
        return self.matrix[self.vocabulary.id(word)]

    def __contains__(self, word: object) -> bool:
        return word in self.vocabulary

    def similarity(self, a: str, b: str) -> float:
        """Cosine of two words, in [−1, 1]."""
        return float(self[a] @ self[b])

    def nearest(
        self, query: Tensor, k: int = 10, exclude: Iterable[str] = ()
    ) -> list[tuple[str, float]]:
        """The k words whose vectors have the highest cosine with a query (d,), without the excluded
        words.

        Raises:
            ValueError: k out of range, or a query of another size or with NaN or infinity.
            KeyError: an excluded word that is unknown.
        """
        if query.shape != self.matrix.shape[1:] or not bool(torch.isfinite(query).all()):
            raise ValueError(
                f"a query must be {self.matrix.shape[1]} finite numbers, got shape {tuple(query.shape)}"
            )
        excluded = [self.vocabulary.id(w) for w in exclude]
        if not 1 <= k <= len(self.vocabulary) - len(excluded):
            raise ValueError(f"k must lie in 1…{len(self.vocabulary) - len(excluded)}, got {k}")
        scores = self.matrix @ F.normalize(query, dim=0)
        scores[excluded] = -2.0
        values, ids = scores.topk(k)
        return [(self.vocabulary.words[int(i)], float(s)) for i, s in zip(ids, values)]

    def neighbours(self, word: str, k: int = 10) -> list[tuple[str, float]]:
        """The k nearest other words and their cosines."""
        return self.nearest(self[word], k, exclude=[word])

    def analogy(self, a: str, b: str, c: str, k: int = 10) -> list[tuple[str, float]]:
        """a is to b as c is to …? The words nearest to b − a + c; a, b and c themselves do not
        count (2013a, section 4)."""
        return self.nearest(self[b] - self[a] + self[c], k, exclude=dict.fromkeys([a, b, c]))
