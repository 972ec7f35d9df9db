"""Words: a tokenizer, pieces of words, a vocabulary with special words, padding."""

from __future__ import annotations

import functools
import operator
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import DataLoader

PAD, BOS, EOS, UNK = "<pad>", "<bos>", "<eos>", "<unk>"
SPECIALS = (PAD, BOS, EOS, UNK)

_JOINERS = "[\u200c\u200d]"  # invisible, but they belong to the spelling of Persian and Indic words
_OF_EMOJI = (
    "\ufe0e\ufe0f\u20e3"  # variation selectors and the key cap: marks of a picture, not of a word
)


@functools.cache
def _token() -> re.Pattern[str]:
    """A run of letters, digits and their marks, with apostrophes and hyphens inside it; or one
    other visible character.

    Marks are accents, vowel signs, tones, points (Unicode's category M). Python's ``\\w`` leaves
    them out.
    """
    marks = "".join(
        c
        for c in map(chr, [*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)])
        if unicodedata.category(c)[0] == "M" and c not in _OF_EMOJI
    )
    # The look-ahead spares Latin text the search among 2,400 marks.
    more = rf"(?![\0-\u02ff])(?:{_JOINERS}*[{marks}]+[^\W_]*|{_JOINERS}+[^\W_]+)"
    run = rf"[^\W_]+(?:{more})*"
    return re.compile(rf"{run}(?:['’\-]{run})*|[^\w\s]|_")


def tokenize(text: str, *, lower: bool = True, punctuation: bool = False) -> list[str]:
    """Split a text into words.

    ``"Don't stop: the mother-in-law's here."`` gives ``don't stop the mother-in-law's here``. All
    scripts are split at spaces and punctuation, and a letter keeps its marks: Indic vowel signs,
    Thai tones, Arabic and Hebrew points, and the joiners ZWJ and ZWNJ between letters. Thai,
    Chinese and Japanese put no space between words: there a token is what stands between two marks
    of punctuation, often a whole sentence; part it with a segmenter of that language first.

    Two ways to write one word are one: an accent or a Hangul syllable in parts is composed (Unicode
    NFC), and the curved apostrophe within a word becomes the straight one.

    Args:
        text: any string.
        lower: fold to lower case.
        punctuation: keep each punctuation mark as a token of its own.

    Raises:
        TypeError: ``text`` is not a string.
    """
    if not isinstance(text, str):
        raise TypeError(f"tokenize needs a string, got {type(text).__name__}")
    tokens = _token().findall(unicodedata.normalize("NFC", text.lower() if lower else text))
    return [
        t.replace("’", "'") if t[0].isalnum() else t
        for t in tokens
        if punctuation or t[0].isalnum()
    ]


EDGE = "_"  # where a word begins and ends; no word of :func:`tokenize` holds it


def ngrams(text: str, shortest: int = 3, longest: int = 5) -> list[str]:
    """The pieces of the words of a text: all runs of ``shortest`` to ``longest`` characters of each
    word between its edges, and the word as a whole. (An edge alone is no piece: all words have it.)

    ``"Dogs"`` gives ``_do dog ogs gs_ _dog dogs ogs_ _dogs dogs_ _dogs_``. Small data have seen few
    words, and most of them once. Pieces are seen more often, and a new word shares some with known
    ones: *dog* with *dogs*, a misspelt *mountian* with *mountain*, the German *Schneemann* with
    *Schnee*, the Korean 강아지가 with 강아지를 (Bojanowski et al. 2017, fastText).

    The words are those of :func:`tokenize`, folded to lower case. One text gives the same pieces
    whichever of Unicode's forms (NFC, NFD) it is written in.

    Args:
        text: any string.
        shortest: characters of the shortest pieces, edges included; at least 1. 2 suits scripts
            that write a syllable as one character; 1 those that write a word as one, without
            spaces: so 狗 is found in 一只狗在海滩上.
        longest: of the longest pieces that are not whole words.

    Returns:
        The pieces of each word, short ones first, from left to right; none where there is no word.

    Raises:
        TypeError: ``text`` is not a string, or a length is not a whole number.
        ValueError: lengths below 1, or the shortest beyond the longest.
    """
    shortest, longest = _whole(shortest, "shortest"), _whole(longest, "longest")
    if not 1 <= shortest <= longest:
        raise ValueError(f"lengths must be 1 <= shortest <= longest, got {shortest} and {longest}")
    pieces = []
    for word in tokenize(text):
        word = f"{EDGE}{word}{EDGE}"
        for n in range(shortest, min(longest, len(word) - 1) + 1):
            runs = [word[start : start + n] for start in range(len(word) - n + 1)]
            pieces += runs[1:-1] if n == 1 else runs
        pieces.append(word)
    return pieces


class Vocabulary:
    """A two-way map between words and ids. Special words come first, then words by falling count,
    ties in A–Z order.

    Args:
        counts: how often each word occurs: a mapping, or an iterable of words to count.
        min_count: leave out words that occur less often.
        max_size: keep at most so many words, specials not counted.
        specials: words with a meaning of their own; they get the ids 0, 1, 2, …
            With ``"<unk>"`` among them unknown words map to it, without it they are an error.

    Raises:
        TypeError: one string, or words that are not strings.
        ValueError: nothing to count, no word is left, ``max_size`` below 1, or a special word
            twice.
    """

    def __init__(
        self,
        counts: Iterable[str] | Mapping[str, int],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        specials: Sequence[str] = SPECIALS,
    ) -> None:
        if isinstance(counts, str):
            raise TypeError(
                "Vocabulary needs words or counts, got one string; split it with tokenize first"
            )
        if max_size is not None and max_size < 1:
            raise ValueError(f"max_size must be at least 1, got {max_size}")
        if len(set(specials)) < len(specials):
            raise ValueError(f"a special word occurs twice in {tuple(specials)}")
        counts = counts if isinstance(counts, Mapping) else list(counts)
        strange = {type(w).__name__ for w in counts if not isinstance(w, str)}
        if strange:
            raise TypeError(
                f"Vocabulary needs words, got {min(strange)}; chain sentences into one list of words"
            )
        tally = Counter(counts)
        for special in specials:
            tally.pop(special, None)
        kept = [w for w in sorted(tally, key=lambda w: (-tally[w], w)) if tally[w] >= min_count][
            :max_size
        ]
        if not kept:
            raise ValueError(
                f"no word is left for the vocabulary: {len(tally)} distinct words, none occurs {min_count} times or more"
            )
        self.specials = tuple(specials)
        self.words = list(self.specials) + kept
        self.counts = [0] * len(self.specials) + [tally[w] for w in kept]
        self.ids = {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.ids

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def id(self, word: str) -> int:
        """The id of a word; of ``<unk>`` if it is unknown and the vocabulary has one.

        Raises:
            KeyError: the word is unknown and there is no ``<unk>``; the message names near
                spellings.
        """
        if word in self.ids:
            return self.ids[word]
        if UNK in self.specials:
            return self.ids[UNK]
        import difflib

        near = difflib.get_close_matches(word, self.words, 3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise KeyError(f"{word!r} is not among the {len(self)} words of the vocabulary{hint}")

    def encode(
        self, words: str | Iterable[str], *, bos: bool = False, eos: bool = False
    ) -> list[int]:
        """Ids of words; a string is tokenized first. ``bos`` and ``eos`` add the start and the end
        word.

        Raises:
            KeyError: an unknown word (see :meth:`id`), or no such special word.
        """
        for special in [BOS] * bos + [EOS] * eos:
            if special not in self.specials:
                raise KeyError(
                    f"this vocabulary has no {special}; its special words are {self.specials}"
                )
        words = tokenize(words) if isinstance(words, str) else words
        out = [self.ids[BOS]] if bos else []
        out += [self.id(w) for w in words]
        return out + [self.ids[EOS]] if eos else out

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Words of ids, up to the first ``<eos>``, without ``<pad>`` and ``<bos>``.

        Raises:
            IndexError: an id outside the vocabulary.
        """
        out: list[str] = []
        for i in map(operator.index, ids):
            if not 0 <= i < len(self):
                raise IndexError(f"id {i} is outside the vocabulary of {len(self)} words")
            if self.words[i] == EOS and EOS in self.specials:
                break
            if self.words[i] not in (PAD, BOS) or self.words[i] not in self.specials:
                out.append(self.words[i])
        return out


def _whole(number: Any, name: str = "an id") -> int:
    """A whole number of Python, NumPy or torch as an ``int``."""
    try:
        return operator.index(number)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {number!r}") from None


def pad(
    sequences: Sequence[Sequence[int]], value: int = 0, length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Stack id sequences of different lengths.

    Args:
        sequences: B lists of ids; one may be empty.
        value: what fills the rest.
        length: the common length; the longest sequence's if not given. Longer sequences are an
            error, never cut.

    Returns:
        ids (B, L) int64, and a mask (B, L) that is True where an id is valid.

    Raises:
        ValueError: no sequence, or one longer than ``length``.
        TypeError: what is not a whole number.
    """
    import torch

    value, length = _whole(value, "value"), None if length is None else _whole(length, "length")
    sequences = [s if hasattr(s, "__len__") else list(s) for s in sequences]
    if len(sequences) == 0:
        raise ValueError("pad needs at least one sequence")
    lengths = torch.tensor([len(s) for s in sequences])
    longest = int(lengths.max())
    length = longest if length is None else length
    if longest > length:
        raise ValueError(
            f"a sequence of {longest} ids does not fit the length {length}; cut it first"
        )
    mask = torch.arange(length) < lengths[:, None]  # (B, L)
    ids = torch.full((len(sequences), length), value, dtype=torch.int64)
    flat = [i for s in sequences for i in s]
    if set(map(type, flat)) - {int}:  # those of NumPy or torch, or none at all
        flat = [_whole(i) for i in flat]
    ids[mask] = torch.tensor(flat, dtype=torch.int64)
    return ids, mask


def encode_captions(
    captions: Sequence[str], vocabulary: Vocabulary, limit: int | None = None
) -> Tensor:
    """Captions as ids, ready for a captioning system: ``<bos>``, the words, ``<eos>``, then
    ``<pad>``.

    Args:
        captions: N sentences.
        vocabulary: its first words must be ``<pad>``, ``<bos>`` and ``<eos>``, as captioning
            systems count on it.
        limit: the most words that a caption may have; longer ones are an error, never cut.

    Returns:
        (N, T) int64, T = the longest caption's words + 2.

    Raises:
        ValueError: no captions, one without a word, or one beyond the limit; the message quotes it.
            Or other special words.
        KeyError: an unknown word, where the vocabulary has no ``<unk>``.
        TypeError: captions that are not strings.
    """
    if isinstance(captions, str | bytes):
        raise TypeError(
            f"encode_captions needs a sequence of captions, got one {type(captions).__name__}"
        )
    if vocabulary.specials[:3] != SPECIALS[:3]:
        raise ValueError(
            f"the vocabulary must begin with {PAD}, {BOS} and {EOS}, got {vocabulary.specials}"
        )
    captions = list(captions)
    words = [tokenize(c) for c in captions]
    for caption, w in zip(captions, words):
        if not w:
            raise ValueError(f"a caption has no word: {caption!r}")
        if limit is not None and len(w) > limit:
            raise ValueError(f"a caption has {len(w)} words, the limit is {limit}: {caption!r}")
    return pad([vocabulary.encode(w, bos=True, eos=True) for w in words], vocabulary.ids[PAD])[0]


def check_captions(captions: Tensor, size: int, pictures: int, kind: str = "picture") -> None:
    """Check ids of captions, as a captioning system reads them. Their end may be missing: see
    :func:`check_ended`.

    Args:
        captions: (B, T) int64: ``<bos>``, words, ``<eos>``, ``<pad>``.
        size: of the vocabulary.
        pictures: how many pictures (or clips) there are; one caption each.
        kind: what to call them in messages.

    Raises:
        TypeError: no tensor, or ids that are not int64.
        ValueError: the shape or number is wrong, an id is outside the vocabulary, a caption is all
            padding, does not begin with ``<bos>``, or has padding inside; the message names its
            row. Values are only looked at on the CPU: on a GPU it would make every training step
                wait.
    """
    import torch

    if not isinstance(captions, torch.Tensor):
        raise TypeError(f"captions must be a tensor of ids (B, T), got {type(captions).__name__}")
    if captions.ndim != 2 or len(captions) < 1 or captions.shape[1] < 2:
        raise ValueError(
            f"captions must be ids (B, T), B at least 1 and T at least 2 (<bos> and <eos>), got {tuple(captions.shape)}"
        )
    if captions.dtype != torch.int64:
        raise TypeError(f"captions must be ids of type int64, got {captions.dtype}")
    if len(captions) != pictures:
        raise ValueError(
            f"there are {pictures} {kind}s but {len(captions)} captions; each {kind} needs one"
        )
    if captions.device.type == "cpu":
        low, high = int(captions.min()), int(captions.max())
        if low < 0 or high >= size:
            raise ValueError(f"caption ids must lie in 0..{size - 1}, got {low}..{high}")
        _check_padding(captions, first=1)
        row = _first_row(captions[:, :1] != SPECIALS.index(BOS))
        if row is not None:
            raise ValueError(
                f"caption {row} begins with the id {int(captions[row, 0])}, not with {BOS}"
            )


def check_ended(captions: Tensor) -> None:
    """Check that captions (B, T) which passed :func:`check_captions` are whole: a loss teaches when
    to stop.

    Raises:
        ValueError: a caption does not end in ``<eos>``, or has one before its end; the message
            names its row.
    """
    if captions.device.type == "cpu":
        real = captions != SPECIALS.index(PAD)
        last = real.clone()
        last[:, :-1] &= ~real[:, 1:]  # (B, T), True at the last id of each caption
        row = _first_row((captions == SPECIALS.index(EOS)) != last)
        if row is not None:
            raise ValueError(
                f"caption {row} must end in its only {EOS}, got the ids {captions[row][real[row]].tolist()}"
            )


def _check_padding(captions: Tensor, first: int) -> None:
    """Raise a ValueError unless each caption has an id from place ``first`` on, and padding only at
    its end."""
    real = captions != SPECIALS.index(PAD)
    row = _first_row(~real[:, first:].any(1, keepdim=True))
    if row is not None:
        raise ValueError(
            f"caption {row} is all padding: after {BOS} it needs words or at least {EOS}"
        )
    row = _first_row(real[:, 1:] & ~real[:, :-1])
    if row is not None:
        raise ValueError(f"caption {row} has {PAD} before a word; padding belongs at the end")


def _first_row(wrong: Tensor) -> int | None:
    """The first row (of B) with a True in it, if there is one."""
    return int(wrong.nonzero()[0, 0]) if wrong.any() else None


def caption_batches(
    features: Tensor, captions: Tensor, owner: Tensor | None = None, batch_size: int = 128
) -> DataLoader:
    """Batches for a captioning system in which all captions are of one length: no step is spent on
    padding.

    Show, Attend and Tell trains this way (section 4.3 of the paper).

    Args:
        features: (N, ...), of N pictures or clips; half precision is handed out as float32.
        captions: (M, T) ids from :func:`encode_captions`.
        owner: (M,) whole numbers, the picture of each caption; not needed if M = N.
        batch_size: captions in a batch; the last batch of each length may be smaller.

    Returns:
        A ``DataLoader`` of ``{"features": (B, ...), "captions": (B, t)}`` for
        :func:`mmtutor.kit.training.fit`, in an order that its seed decides.

    Raises:
        ValueError: sizes that do not fit, an owner out of range, or a caption with padding before a
            word, which would be lost.
        TypeError: captions or owners that are not whole numbers.
    """
    import torch
    from torch.utils.data import DataLoader, Dataset

    if not isinstance(captions, torch.Tensor):
        raise TypeError(f"captions must be a tensor of ids (M, T), got {type(captions).__name__}")
    if captions.dtype != torch.int64:
        raise TypeError(f"captions must be ids of type int64, got {captions.dtype}")
    if captions.ndim != 2:
        raise ValueError(f"captions must be ids (M, T), got {tuple(captions.shape)}")
    owner = torch.arange(len(captions)) if owner is None else torch.as_tensor(owner)
    if owner.is_floating_point() or owner.dtype == torch.bool:
        raise TypeError(f"owner must be whole numbers, got {owner.dtype}")
    if (
        owner.shape != captions.shape[:1]
        or len(captions) == 0
        or not 0 <= int(owner.min()) <= int(owner.max()) < len(features)
    ):
        raise ValueError(
            f"{len(captions)} captions, {len(owner)} owners and {len(features)} features do not fit together"
        )
    if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number of at least 1, got {batch_size!r}")
    batch_size = operator.index(batch_size)
    _check_padding(captions, first=0)
    lengths = (captions != SPECIALS.index(PAD)).sum(1)
    groups = [(lengths == n).nonzero()[:, 0] for n in lengths.unique()]

    class Pairs(Dataset):
        def __len__(self) -> int:
            return len(captions)

        def __getitem__(self, index: int) -> dict[str, Tensor]:
            return self.__getitems__([index])

        def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
            rows = torch.as_tensor(indices)
            return {
                "features": features[owner[rows]].float(),
                "captions": captions[rows, : int(lengths[rows].max())],
            }

    class SameLength:
        def __len__(self) -> int:
            return sum(-(-len(g) // batch_size) for g in groups)

        def __iter__(self) -> Iterator[list[int]]:
            batches = [
                b
                for g in groups
                for b in g[torch.randperm(len(g), generator=order)].split(batch_size)
            ]
            yield from (batches[i].tolist() for i in torch.randperm(len(batches), generator=order))

    order = torch.Generator()
    return DataLoader(
        Pairs(), batch_sampler=SameLength(), collate_fn=lambda batch: batch, generator=order
    )
