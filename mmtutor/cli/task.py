"""What the tasks of the command line share: a recipe, the one call of the trainer, texts and words."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmtutor import finder
from mmtutor.cli import runs
from mmtutor.cli.data import Eyes, Source, told, with_eyes
from mmtutor.cli.files import say
from mmtutor.kit import training
from mmtutor.kit.runtime import cpu_threads, device
from mmtutor.kit.text import Vocabulary, tokenize

EVERY = 50  # steps from one checkpoint to the next
#: What a folder of pictures with texts holds.
CAPTIONED = 'pictures; metadata.jsonl: {"file_name": "rex.png", "captions": ["a dog"]}'


@dataclass(frozen=True)
class Recipe:
    """How a run trains, unless one says otherwise: steps, samples in a batch, peak rate."""

    steps: int
    batch: int
    lr: float


class Task:
    """What all tasks share.

    Attributes:
        system: the file in ``mmtutor``.
        says: what it is, in a line.
        then: the command that uses a trained model.
        sets: names of the sets on the Hub that it can learn from.
        folders: whether it learns from a folder of one's own.
        holds: what such a folder holds, in a line.
        config: its settings; ``fixed``: those that the data decide.
        recipes: how it trains, by scale.
        small: the sizes between the world's and the paper's, as changes of the world's; for real
            photographs and sounds, on one small GPU or with patience. A system may have its own.
        lacks: why there is no recipe for a scale, where that is not plain.
        takes: the options of ``train`` that it reads, beside those that all read.
        instead: what to give in place of one that it does not.
        accumulates: whether a batch can be taken in parts whose gradients are added up.
    """

    system: ClassVar[str]
    says: ClassVar[str]
    then: ClassVar[str]
    sets: ClassVar[tuple[str, ...]] = ()
    folders: ClassVar[bool] = False
    holds: ClassVar[str] = ""
    config: ClassVar[type]
    model: ClassVar[type]
    fixed: ClassVar[tuple[str, ...]] = ()
    recipes: ClassVar[dict[str, Recipe]]
    small: ClassVar[dict[str, Any]] = {}
    lacks: ClassVar[dict[str, str]] = {}
    takes: ClassVar[tuple[str, ...]] = ("steps", "batch", "lr", "pixels", "encoder")
    instead: ClassVar[str] = "leave it out"
    accumulates: ClassVar[bool] = True

    def maker(self, scale: str) -> Callable[..., Any]:
        """What makes the settings of a scale."""
        if scale == "small" and not hasattr(self.config, "small"):
            return functools.partial(self.config.world, **self.small)
        return getattr(self.config, scale)

    def settings(self, run: dict[str, Any]) -> Any:
        """The settings of a run, with some size for what only the data will tell."""
        raise NotImplementedError

    def check(self, run: dict[str, Any]) -> None:
        """Know now, not after the pictures have been looked at, what cannot be.

        Raises:
            ValueError: a setting out of range, or weights that no memory here holds.
        """
        settings = self.settings(run)
        if not hasattr(self, "model"):
            return
        try:
            weights = training.parameter_count(self.hollow(settings))
        except RuntimeError as error:  # a size beyond what torch can count
            raise ValueError(f"no memory holds such a model; lower {sizes_of(run)}") from error
        need, there = 16 * weights / 1e9, memory() / 1e9  # with gradients and AdamW's two moments
        if need > there:
            raise ValueError(
                f"{weights:,} weights need {need:,.0f} GB to be trained, and this machine has "
                f"{there:,.0f}; lower {sizes_of(run)}"
            )

    def hollow(self, settings: Any) -> nn.Module:
        """The model without memory for its weights."""
        with torch.device("meta"):
            return self.model(settings)

    def train(self, folder: Path, run: dict[str, Any]) -> training.History:
        """Train, or go on, and save the model to the folder."""
        raise NotImplementedError

    def evaluate(
        self, folder: Path, run: dict[str, Any], size: int | None = None
    ) -> dict[str, float]:
        """Scores on what was kept back, or on the first ``size`` of it."""
        raise NotImplementedError

    def fit(
        self, model: nn.Module, data: Any, folder: Path, run: dict[str, Any], **more: Any
    ) -> training.History:
        """The one call of the trainer; the recipe of ``run.json`` and a checkpoint.

        Args:
            more: of :func:`mmtutor.kit.training.fit`, in place of what the recipe says. A system
                that trains in several parts gives each its ``checkpoint``.
        """
        steps = more.get("max_steps", run["steps"])
        made = dict(
            max_steps=steps,
            lr=run.get("lr"),
            seed=run["seed"],
            warmup=min(50, steps // 10),
            epochs=10**6,
            checkpoint=folder / runs.CHECKPOINT,
            checkpoint_every=EVERY,
            accumulate=run.get("accumulate", 1),
        )
        return training.fit(model, data, **{**made, **more})


def threads_of(run: dict[str, Any]) -> contextlib.AbstractContextManager[None]:
    """One CPU thread in the world, whose operations are small; all of them for larger models."""
    return cpu_threads(1) if run["scale"] == "world" else contextlib.nullcontext()


@contextlib.contextmanager
def mel_in_memory(module: Any) -> Iterator[None]:
    """Filterbanks of a system's file are real ones, though the model around them is hollow: they look
    at their own numbers while they are made."""
    made = module.MelSpectrogram

    def on_cpu(*sizes: Any, **more: Any) -> nn.Module:
        with torch.device("cpu"):
            return made(*sizes, **more)

    module.MelSpectrogram = on_cpu
    try:
        yield
    finally:
        module.MelSpectrogram = made


def memory() -> float:
    """Bytes of the memory that a model is trained in."""
    if device().type == "cuda":
        return float(torch.cuda.mem_get_info(device())[1])
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):  # not on Windows
        return float("inf")


def sizes_of(run: dict[str, Any]) -> str:
    """Whole numbers that were set: one of them is too large."""
    large = [f"--set {name}" for name, value in run["set"].items() if type(value) is int]
    return " or ".join(large) or "the sizes with --set, or take another --scale"


def told_texts(rows: Any) -> tuple[list[str], Tensor]:
    """The texts of pictures and the picture of each; those without a word are left out, and named."""
    with told():
        return finder.pairs(rows, wordless="skip")


def worded(rows: Any) -> Any:
    """The pictures that have a text with a word in it, by which they can be judged."""
    own = finder.captions_of(rows)
    kept = [row for row, texts in enumerate(own) if any(map(tokenize, texts))]
    if not kept:
        raise ValueError(none_kept("picture with a text"))
    return rows if len(kept) == len(own) else rows.select(kept)


def none_kept(what: str) -> str:
    """Why there is nothing to measure on, in words; ``what``: one of those that are counted."""
    thing, _, kind = what.partition(" ")
    return (
        f"no {thing} was kept back: ten {thing}s {kind} are the least, or some in a folder 'test' "
        "beside those in 'train'"
    )


def source(run: dict[str, Any]) -> Source:
    """Where the data of a run come from."""
    return Source(**run["data"])


def asked_of(rows: Any) -> tuple[list[str], list[str], Tensor]:
    """Questions, answers and the picture of each; questions without a word are left out, and
    counted."""
    if "question" in rows.column_names:
        return list(rows["question"]), list(rows["answer"]), torch.arange(len(rows))
    found = [
        (question, answer, row)
        for row, (own, said) in enumerate(zip(rows["questions"], rows["answers"]))
        for question, answer in zip(own, said)
    ]
    kept = [one for one in found if tokenize(one[0])]
    if len(kept) < len(found):
        say(f"questions without a word are left out: {len(found) - len(kept)} of {len(found)}")
    if not kept:
        raise ValueError("no question has a word")
    questions, answers, owner = zip(*kept)
    return list(questions), list(answers), torch.tensor(owner)


def words_of(vocabulary: Vocabulary) -> dict[str, Any]:
    """What is saved of a vocabulary."""
    return {
        "words": vocabulary.words,
        "counts": vocabulary.counts,
        "specials": list(vocabulary.specials),
    }


def vocabulary_of(note: dict[str, Any]) -> Vocabulary:
    """Read what :func:`words_of` noted: the order is the order of ids."""
    made = Vocabulary(dict(zip(note["words"], note["counts"])), specials=note["specials"])
    if made.words != note["words"]:
        raise ValueError("the vocabulary beside the model is damaged; train it again")
    return made


def batches(count: int, size: int = 64) -> Iterator[slice]:
    """Slices of at most so many."""
    return (slice(at, at + size) for at in range(0, count, size))


def answerer(kind: type[nn.Module], folder: Path) -> tuple[nn.Module, Eyes, Vocabulary, Vocabulary]:
    """A trained model that answers questions, with its eyes, its words and its answers."""
    model, eyes, more = with_eyes(kind, folder)
    return model, eyes, vocabulary_of(more["vocabulary"]), vocabulary_of(more["answers"])
