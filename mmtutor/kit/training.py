"""One short training loop for every system, on Hugging Face Accelerate.

A model brings ``model.loss(batch)``; the loop brings the rest: device placement, mixed precision,
gradient accumulation and clipping, a learning-rate schedule, checkpoints that resume exactly,
several processes, a progress bar, and a history to plot. The parts of ``fit`` stand below it, in
the order in which it uses them.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import inspect
import math
import os
import random
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from mmtutor.kit._identity import digest, without_addresses
from mmtutor.kit.cache import why_not_written
from mmtutor.kit.runtime import comes_home


@dataclass
class History:
    """What happened, for plots: one entry a logged step, one an epoch.

    ``losses`` maps a term's name to its values at ``steps`` (NaN where a step had no such term);
    ``"loss"`` is the total. ``learning_rate`` is the one of the first parameter group.
    ``validation`` maps a score's name to its values at the end of each epoch (NaN where an epoch
    had no such score).
    """

    steps: list[int] = field(default_factory=list)
    losses: dict[str, list[float]] = field(default_factory=dict)
    learning_rate: list[float] = field(default_factory=list)
    validation: dict[str, list[float]] = field(default_factory=dict)

    def log(self, step: int, learning_rate: float, terms: Mapping[str, float | Tensor]) -> None:
        """Add one step."""
        for name in {**self.losses, **terms}:
            values = self.losses.setdefault(name, [math.nan] * len(self.steps))
            values.append(float(terms[name]) if name in terms else math.nan)
        self.steps.append(step)
        self.learning_rate.append(learning_rate)

    def log_scores(self, epoch: int, scores: Mapping[str, float]) -> None:
        """Add the scores after an epoch (from 0)."""
        for name in {**self.validation, **scores}:
            values = self.validation.setdefault(name, [])
            values += [math.nan] * (epoch - len(values)) + [scores.get(name, math.nan)]

    def plot(self, ax: Any = None) -> Any:
        """Draw every loss term over steps on a matplotlib axis (a new one if none) and return the
        axis."""
        import matplotlib.pyplot as plt

        ax = ax or plt.subplots(figsize=(6, 3))[1]
        for name, values in self.losses.items():
            ax.plot(self.steps, values, label=name)
        ax.set(xlabel="step", ylabel="loss")
        if len(self.losses) > 1:
            ax.legend()
        return ax


class _TensorData(Dataset):
    """A dictionary of tensors with the same first dimension; a whole batch is cut out in one
    indexing step a tensor."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        for name, t in tensors.items():
            if not isinstance(t, Tensor) or t.ndim == 0:
                raise TypeError(
                    f"data[{name!r}] must be a tensor with a first dimension of samples, got {_kind(t)}"
                )
        sizes = {name: len(t) for name, t in tensors.items()}
        if not sizes or len(set(sizes.values())) != 1:
            raise ValueError(
                f"all tensors need the same first dimension, got {sizes or 'no tensor'}"
            )
        self.tensors = dict(tensors)

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: t[index] for name, t in self.tensors.items()}

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        rows = torch.as_tensor(indices)
        return {name: t[rows] for name, t in self.tensors.items()}


class ShuffledBatches:
    """A batch sampler whose order depends on (seed, epoch) alone, so that a resumed run sees the
    same batches.

    It also seeds every generator before it hands out a batch: what a dataset or a collate function
    draws at random to build that batch is then the same too, whatever happened before.

    With several processes it hands out rounds of one batch for each of them, as Accelerate deals
    them out. A last round that is not full is shared out as evenly as it goes; if it has fewer
    samples than there are processes, some batches hold a sample that another process has too, and
    :meth:`weights` gives them none.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        seed: int,
        drop_last: bool = False,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.n, self.batch_size, self.seed, self.drop_last, self.process = (
            n,
            batch_size,
            seed,
            drop_last,
            process,
        )
        self.processes, self.epoch = processes, 0

    def __len__(self) -> int:
        full, rest = divmod(self.n, self.batch_size * self.processes)
        return self.processes * (full + (rest > 0 and not self.drop_last))

    def sizes(self, turn: int) -> list[int]:
        """How many samples each process has in a round (from 0)."""
        whole = self.batch_size * self.processes
        each, more = divmod(min(whole, self.n - turn * whole), self.processes)
        return [each + (process < more) for process in range(self.processes)]

    def weights(self, first: int, count: int) -> list[float]:
        """What this process must multiply its mean losses of ``count`` rounds from ``first`` on
        with.

        The mean over processes of the sum over rounds is then the mean over all their samples.
        """
        rounds = [self.sizes(turn) for turn in range(first, first + count)]
        samples = sum(map(sum, rounds))
        return [self.processes * sizes[self.process] / samples for sizes in rounds]

    def order(self) -> Sequence[int]:
        """The samples of the epoch in their order."""
        return np.random.default_rng([self.seed, self.epoch]).permutation(self.n)

    def __iter__(self) -> Iterator[list[int]]:
        order = self.order()
        for i in range(len(self)):
            turn, process = divmod(i, self.processes)
            sizes = self.sizes(turn)
            start = turn * self.batch_size * self.processes + sum(sizes[:process])
            _seed_all(self.seed, _BATCH, self.epoch, i, self.process)
            # Never an empty batch, on which the model could not run.
            own = order[start : start + sizes[process]] if sizes[process] else order[-1:]
            yield np.asarray(own).tolist()


class OrderedBatches(ShuffledBatches):
    """The same rounds of a :class:`mmtutor.kit.streams.Stream`, which shuffles its rows itself: they
    are asked for by ``epoch × n + place``."""

    def order(self) -> Sequence[int]:
        return range(self.epoch * self.n, (self.epoch + 1) * self.n)


class _Loss(nn.Module):
    """Calls ``model.loss`` from ``forward``, where autocast and distributed wrappers look;
    ``"loss"`` becomes the total."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any) -> dict[str, Tensor]:
        terms = self.model.loss(batch)
        terms = dict(terms) if isinstance(terms, Mapping) else {"loss": terms}
        if not terms:
            raise ValueError("model.loss returned no term")
        for name, term in terms.items():
            if not isinstance(term, Tensor) or term.numel() != 1:
                raise ValueError(
                    f"model.loss must return scalar tensors, but {name!r} is {_kind(term)}; take its mean"
                )
        return terms if "loss" in terms else {"loss": sum(terms.values()), **terms}


def schedule_factor(
    kind: str | Callable[[int, int], float], step: int, total: int, warmup: int = 0
) -> float:
    """The learning rate at ``step`` as a factor of its peak.

    Args:
        kind: ``"constant"``, ``"linear"`` (to 0), ``"cosine"`` (to 0), or a function of (step,
            total).
        step: the step, from 0.
        total: how many steps the run has.
        warmup: steps of linear rise from ``1 / warmup`` to 1 before the schedule proper, which
            shares the steps that are left.

    Raises:
        ValueError: ``kind`` is none of these, or the function's value is negative or not finite.
    """
    done = min(1.0, max(0, step - warmup) / max(1, total - warmup))
    factors = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}
    if not callable(kind) and kind not in factors:
        raise ValueError(
            f"schedule must be one of {sorted(factors)} or a function of (step, total), got {kind!r}"
        )
    if step < warmup:
        return (step + 1) / warmup
    factor = float(kind(step, total)) if callable(kind) else factors[kind]
    if not 0 <= factor < math.inf:
        raise ValueError(
            f"schedule must give a factor that is finite and not negative, got {factor} at step {step}"
        )
    return factor


@comes_home
def fit(
    model: nn.Module,
    data: Mapping[str, Tensor] | Dataset | DataLoader,
    *,
    epochs: int = 1,
    batch_size: int = 64,
    lr: float = 1e-3,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
    weight_decay: float = 0.0,
    schedule: str | Callable[[int, int], float] = "cosine",
    warmup: int = 0,
    clip: float | None = 1.0,
    precision: str | None = None,
    max_steps: int | None = None,
    seed: int = 0,
    collate: Callable[[list[Any]], Any] | None = None,
    drop_last: bool = False,
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int | None = None,
    log_every: int = 10,
    progress: bool | None = None,
    accumulate: int = 1,
) -> History:
    """Train ``model`` in place by minimizing ``model.loss(batch)``, and leave it in ``eval`` mode.

    Training runs on :func:`mmtutor.device`, a GPU where there is one. Afterwards the model is back on
    the device that it came from, so that what it was asked before it can be asked again; a model
    that should stay on the GPU is moved there first. (Of several processes each keeps it on its own device.)

    A step is one update of the weights. It sees ``accumulate`` batches in each of ``n`` processes
    (``accelerate launch``), and does what one process would do with a single batch of ``n *
    accumulate * batch_size`` samples, up to rounding; at the end of an epoch too, where fewer
    samples are left: every sample of a step counts alike, wherever it was computed. This holds if
    the loss is a mean over samples. A mean over words is then weighted by samples; batch
    normalisation, or a loss that compares the samples of a batch with one another, sees only
    ``batch_size`` of them; and each batch draws its own dropout. (A ``DataLoader`` of your own is
    dealt out by Accelerate: where the last round of batches is not full, it is filled up with
    samples from the beginning of the epoch, and all processes count alike.)

    On GPUs processes may share the model out (FSDP, version 2, ``NO_WRAP``; see ``book/gpu.md``): each
    then holds its shard of the weights and of what the optimizer keeps, and all of the weights only
    while it computes. Checkpoints and the trained model are whole as ever.

    Of Accelerate's environment variables only those of precision and of FSDP are followed. Others
    that would change the result are an error, but for the one for gradient accumulation, which is
    ignored with a warning.

    Args:
        model: brings ``loss(batch) -> Tensor``, or a dictionary of named terms that are summed; if
            one of them is called ``"loss"`` it is the total, and the others are only recorded. A
            frozen part that must stay in ``eval`` mode sees to that itself, by overriding
            ``train``.
        data: a dictionary of tensors (fastest), a map-style dataset (a Hugging Face one in torch
            format too), a :class:`mmtutor.kit.streams.Stream` of a set that does not fit into
            memory, or a ready ``DataLoader``, which then decides batches and order (a
            generator that it brings is seeded anew each epoch).
        epochs: passes over the data, at least 1.
        batch_size: samples in a batch.
        lr: the peak learning rate.
        optimizer: anything that returns a ``torch.optim.Optimizer`` when called with the trainable
            parameters, ``lr`` and ``weight_decay`` (which it need not take if it is 0): a class, a
            function, or a ``functools.partial``, in which these two must not be preset. Parameter
            groups with learning rates of their own keep the ratio.
        weight_decay: passed on to the optimizer.
        schedule: see :func:`schedule_factor`.
        warmup: steps of linear warm-up.
        clip: the largest gradient norm, or ``None``.
        precision: ``"no"``, ``"bf16"`` or ``"fp16"`` (not on a CPU); by default what
            ``accelerate launch --mixed_precision`` says, else ``"no"``.
        max_steps: stop after so many steps, even within an epoch; the schedule ends there.
        seed: decides the order of the batches and everything drawn at random during training.
        collate: makes a batch from a list of samples of a dataset.
        drop_last: leave out a last batch that is not full.
        validate: called after each epoch, and at the end, with the model in ``eval`` mode, without
            gradients, and on the device that it came from; returns named scores: numbers, or tensors of one. A score of NaN is
            recorded with a warning.
        checkpoint: a file. If it exists the run goes on from there, to the same result as an
            unbroken run; it is written after each epoch, every ``checkpoint_every`` steps, and
            always whole. (With a ``DataLoader`` of your own the result is the same if nothing but
            its order is random.) A checkpoint of another run is an error that names what
            differs: sizes and settings, the optimizer and the schedule (functions with their code
                and what they refer
            to), dropout and the like in the model, and the data. Of those it knows all bytes of
            tensors, the fingerprint of a Hugging Face dataset, and of other datasets the type, the
            length and the first batch, as far as this is not drawn at random outside of torch's,
            NumPy's and Python's global generators.
        checkpoint_every: see ``checkpoint``.
        log_every: every how many steps a loss enters the history: its mean over all samples of that
            step.
        progress: show a tqdm bar; by default unless ``MMTUTOR_PROGRESS=0``, as in the stored
            notebooks.
        accumulate: how many batches make a step; more of them make a large batch fit into a small
            memory.

    Returns:
        The :class:`History`.

    Raises:
        TypeError: the model has no ``loss``, the data is none of the kinds above, the optimizer is
            none, or ``validate`` returns something else.
        ValueError: no data, no trainable parameter, a setting out of range, a loss that is not a
            scalar, or a checkpoint that is damaged, of another version or of another run (the model
            is then as before).
        OSError: the checkpoint must not be read, or cannot be written, which is known before the
            first step; or the disk is full when it is written, and then the one before it is whole.
        FloatingPointError: the loss or its gradient is not finite; the message names the step and
            the terms. The weights are those from before that step.
    """
    _check_counts(epochs=epochs, batch_size=batch_size, log_every=log_every, accumulate=accumulate)
    _check_counts(optional=True, max_steps=max_steps, checkpoint_every=checkpoint_every)
    _check_numbers(lr, weight_decay, clip, schedule, warmup, seed)
    precision, parameters, path = (
        _precision(precision),
        _trainable(model),
        _checkpoint_path(checkpoint),
    )

    accelerator = _accelerator(precision, accumulate, even_batches=isinstance(data, DataLoader))
    batches, sampler = _batches(data, batch_size, seed, collate, drop_last, accelerator)
    opt = _optimizer(optimizer, parameters, lr, weight_decay)
    peaks = [float(group["lr"]) for group in opt.param_groups]
    if _shares_out(accelerator):
        _check_shardable(model)
    wrapped, opt, loader = accelerator.prepare(_Loss(model), opt, batches)
    parameters = _trainable(model)  # FSDP has put shards in the place of those of before
    per_epoch = _steps_per_epoch(loader, accumulate)
    total = min(epochs * per_epoch, max_steps or math.inf)

    saved = _Checkpoint(path, model, opt, accelerator)
    if path is not None:
        saved.rounds = isinstance(sampler, ShuffledBatches)
        settings = dict(
            steps=total,
            accumulate=accumulate,
            warmup=warmup,
            clip=clip,
            precision=precision,
            lr=peaks,
        )
        saved.run = _identity(
            model, opt, optimizer, schedule, batches, sampler, seed, accelerator, settings
        )
    history, step = saved.load()

    with (
        _bar(progress, accelerator, step, total) as bar,
        _put_together(accelerator, wrapped, model),
    ):
        while step < total:
            epoch, done = divmod(step, per_epoch)
            _start_epoch(loader, sampler, seed, epoch)
            wrapped.train()
            rest = accelerator.skip_first_batches(loader, done * accumulate) if done else loader
            for group in _groups(rest, accumulate, len(loader) - done * accumulate):
                _seed_all(
                    seed, _STEP, step, accelerator.process_index
                )  # the same draws, whether resumed or not
                _set_rates(opt, peaks, schedule_factor(schedule, step, total, warmup))
                opt.zero_grad()
                parts = _backward(
                    accelerator,
                    wrapped,
                    group,
                    _weights(sampler, group, step % per_epoch * accumulate),
                )
                norm = _whole(
                    accelerator.clip_grad_norm_(parameters, clip if clip is not None else math.inf)
                )
                _check_finite(step, parts, norm, accelerator)
                opt.step()

                if step % log_every == 0 or step == total - 1:
                    history.log(step, opt.param_groups[0]["lr"], _means(parts))
                    bar.set_postfix(loss=f"{history.losses['loss'][-1]:.3f}", refresh=False)
                step += 1
                bar.update()
                ended = step % per_epoch == 0 or step == total
                if ended and validate is not None:
                    with _gathered(wrapped):
                        scores = _scores(validate, model)
                    history.log_scores(epoch, scores)
                if ended or (checkpoint_every and step % checkpoint_every == 0):
                    saved.save(history, step)
                if step == total:
                    break
    model.eval()
    return history


# --- Settings -------------------------------------------------------------------------------------


def _check_counts(least: int = 1, optional: bool = False, **counts: int | None) -> None:
    for name, value in counts.items():
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not (whole and value >= least) and not (optional and value is None):
            raise ValueError(f"{name} must be a whole number, at least {least}, got {value!r}")


def _check_numbers(
    lr: float, weight_decay: float, clip: float | None, schedule: Any, warmup: int, seed: int
) -> None:
    _check_counts(0, warmup=warmup, seed=seed)
    for name, value in [("lr", lr), ("clip", 1 if clip is None else clip)]:
        if not (_is_number(value) and 0 < value < math.inf):
            raise ValueError(f"{name} must be positive and finite, got {value!r}")
    if not (_is_number(weight_decay) and 0 <= weight_decay < math.inf):
        raise ValueError(f"weight_decay must be finite and not negative, got {weight_decay!r}")
    if not callable(schedule):
        schedule_factor(schedule, 0, 1)  # an unknown name is an error now, not after the warm-up


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    """What a value is, for messages."""
    return (
        f"a tensor of shape {tuple(value.shape)}"
        if isinstance(value, Tensor)
        else f"a {type(value).__name__}"
    )


def _precision(precision: str | None) -> str:
    precision = precision or os.environ.get("ACCELERATE_MIXED_PRECISION", "").lower() or "no"
    if precision not in ("no", "bf16", "fp16"):
        raise ValueError(f"precision must be 'no', 'bf16' or 'fp16', got {precision!r}")
    return precision


def _trainable(model: nn.Module) -> list[nn.Parameter]:
    if not callable(getattr(model, "loss", None)):
        raise TypeError(f"{type(model).__name__} has no method loss(batch)")
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("the model has no trainable parameter")
    return parameters


def _optimizer(
    make: Any, parameters: list[nn.Parameter], lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    if not callable(make):
        raise TypeError(
            f"optimizer must be called to make one, such as torch.optim.AdamW, got {_kind(make)}"
        )
    settings, inner = {"lr": float(lr), "weight_decay": float(weight_decay)}, make
    while isinstance(inner, functools.partial):
        for name in (
            settings.keys() & inner.keywords.keys()
        ):  # one of the two would be ignored without a word
            raise ValueError(
                f"the optimizer has {name}={inner.keywords[name]} preset; give it as fit(..., {name}=...)"
            )
        inner = inner.func
    takes = inspect.signature(make).parameters.values()
    decays = any(p.name == "weight_decay" or p.kind is p.VAR_KEYWORD for p in takes)
    if not decays and settings.pop("weight_decay") > 0:
        raise TypeError(f"the optimizer takes no weight_decay, but fit was given {weight_decay}")
    opt = make(parameters, **settings)
    if not isinstance(opt, torch.optim.Optimizer):
        raise TypeError(f"optimizer must return a torch.optim.Optimizer, got {_kind(opt)}")
    if not all("lr" in group for group in opt.param_groups):
        raise TypeError(f"{type(opt).__name__} has a parameter group without a learning rate 'lr'")
    closure = inspect.signature(opt.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise TypeError(
            f"{type(opt).__name__} computes the loss many times a step (it needs a closure); fit does it once"
        )
    return opt


# --- Accelerate and the data ----------------------------------------------------------------------

_OFF = {"", "0", "no", "none", "false", "off", "n", "f"}


def _check_environment(device: torch.device, accumulate: int) -> None:
    """Accelerate reads environment variables (those of another project's launcher, say) that change
    what training does."""
    for name, value in os.environ.items():
        if value.lower() in _OFF:
            continue
        if name == "ACCELERATE_GRADIENT_ACCUMULATION_STEPS" and value != str(accumulate):
            warnings.warn(
                f"{name}={value} is ignored; fit(..., accumulate={value}) does it", stacklevel=4
            )
        elif name in ("ACCELERATE_USE_CPU", "ACCELERATE_TORCH_DEVICE"):
            wanted = "cpu" if name == "ACCELERATE_USE_CPU" else value
            if wanted != str(device):
                raise ValueError(
                    f"{name}={value}, but the device is {device}; set MMTUTOR_DEVICE={wanted} instead"
                )
        elif name == "ACCELERATE_USE_FSDP":
            pass  # _check_shards sees what became of it
        elif name.startswith("ACCELERATE_USE_") or name in (
            "ACCELERATE_DYNAMO_BACKEND",
            "ACCELERATE_FP8_BACKEND",
        ):
            raise ValueError(
                f"{name}={value} would train in a way that fit was not made for; unset it"
            )


def _accelerator(precision: str, accumulate: int, even_batches: bool) -> Any:
    """An ``Accelerator`` on the book's device. Accelerate keeps one state a process, which must not
    refuse a second setting."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DataLoaderConfiguration, GradientAccumulationPlugin

    from mmtutor.kit.runtime import device

    wanted, alone = device(), not torch.distributed.is_initialized()
    if (
        precision == "fp16" and wanted.type == "cpu"
    ):  # Accelerate would compute in float32 without a word
        raise ValueError("precision 'fp16' needs a GPU; use 'bf16' or 'no' on a CPU")
    _check_environment(wanted, accumulate)
    known = {**PartialState._shared_state, **AcceleratorState._shared_state}
    compiles = getattr(known.get("dynamo_plugin"), "backend", "NO") != "NO"
    if known and (
        compiles
        or (known.get("_mixed_precision"), known["device"].type) != (precision, wanted.type)
    ):
        AcceleratorState._reset_state(reset_partial_state=alone)
    if alone and wanted.type == "cuda" and wanted.index is not None:
        torch.cuda.set_device(wanted)  # Accelerate takes the current one
    accelerator = Accelerator(
        mixed_precision=precision,
        cpu=wanted.type == "cpu",
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=1
        ),  # _backward accumulates
        dataloader_config=DataLoaderConfiguration(even_batches=even_batches),
    )
    _check_shards(accelerator)
    accelerator.sync_gradients = (
        True  # another loop may have stopped while it accumulated; no step would be taken
    )
    return accelerator


def _batches(
    data: Any, batch_size: int, seed: int, collate: Any, drop_last: bool, accelerator: Any
) -> tuple[DataLoader, Any]:
    """A loader, and the sampler that decides its order."""
    whole = isinstance(data, Mapping)
    dataset = data.dataset if isinstance(data, DataLoader) else _TensorData(data) if whole else data
    mapped = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    if not mapped or isinstance(data, IterableDataset):
        raise TypeError(
            "data must be a dictionary of tensors, a dataset with a length and an index, or a DataLoader of one, "
            f"got {_kind(dataset)}; rows that only come one after another: kit.streams.Stream"
        )
    if len(dataset) == 0:
        raise ValueError("no batch to train on: the data is empty")
    if isinstance(data, DataLoader):
        loader, sampler = data, data.sampler
        if not hasattr(loader.batch_sampler or sampler, "__len__"):
            raise TypeError(
                "the DataLoader must know how many batches an epoch has, but its sampler has no length"
            )
    else:
        process, processes = accelerator.process_index, accelerator.num_processes
        kind = OrderedBatches if getattr(dataset, "in_order", False) else ShuffledBatches
        sampler = kind(len(dataset), int(batch_size), int(seed), drop_last, process, processes)
        loader = DataLoader(
            dataset, batch_sampler=sampler, collate_fn=(lambda b: b) if whole else collate
        )
    return loader, sampler


def _steps_per_epoch(loader: Any, accumulate: int) -> int:
    if len(loader) == 0:
        raise ValueError(
            "no batch to train on: the data is empty, or smaller than one batch with drop_last"
        )
    return math.ceil(len(loader) / accumulate)


_EPOCH, _BATCH, _STEP = 1, 2, 3  # what is seeded; the numbers keep the three apart


def _seed_all(*key: int) -> int:
    """Seed every generator from a key of whole numbers; some 20 microseconds, so that every step
    can afford it."""
    words = (
        np.array(key, np.uint32) if max(key) < 2**32 else key
    )  # NumPy takes ready words three times as fast
    mixed = int(np.random.SeedSequence(words).generate_state(1)[0])
    random.seed(mixed)
    np.random.seed(mixed)  # noqa: NPY002  a collate function may read the global state
    torch.default_generator.manual_seed(
        mixed
    )  # torch.manual_seed takes a millisecond where CUDA sleeps
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(mixed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(mixed)
    return mixed


def _start_epoch(loader: Any, sampler: Any, seed: int, epoch: int) -> None:
    """Make the order of the coming epoch a function of (seed, epoch)."""
    mixed = _seed_all(seed, _EPOCH, epoch)
    loader.iteration = epoch  # Accelerate passes it to samplers that have ``set_epoch``
    if isinstance(sampler, ShuffledBatches):
        sampler.epoch = epoch
    for owner in (loader, sampler):
        if isinstance(getattr(owner, "generator", None), torch.Generator):
            owner.generator.manual_seed(mixed)


def _groups(loader: Iterable[Any], size: int, count: int) -> Iterator[list[Any]]:
    """The batches of each step; ``count`` of them are promised."""
    batches, given = iter(loader), 0
    while group := list(islice(batches, size)):
        given += len(group)
        if given > count:
            break
        yield group
    if given != count:  # else fit would wait for batches for ever, or not see where an epoch ends
        raise ValueError("the DataLoader does not give as many batches as its length says")


# --- One step -------------------------------------------------------------------------------------

_Parts = list[
    tuple[float, dict[str, Tensor]]
]  # for each batch its weight and the terms of its loss


def _set_rates(opt: Any, peaks: list[float], factor: float) -> None:
    for group, peak in zip(opt.param_groups, peaks):
        group["lr"] = peak * factor


def _weights(sampler: Any, group: list[Any], first: int) -> list[float]:
    """The weight of each batch of a step, so that all its samples count alike; ``first`` is the
    first one's place."""
    if isinstance(sampler, ShuffledBatches):
        return sampler.weights(first, len(group))
    if len(group) == 1:
        return [1.0]
    from accelerate.utils import find_batch_size

    try:
        sizes = [find_batch_size(batch) for batch in group]
    except (TypeError, ValueError) as error:
        raise TypeError(
            "accumulate needs batches whose first entry is a tensor: its length is the weight"
        ) from error
    return [size / sum(sizes) for size in sizes]


def _backward(
    accelerator: Any, wrapped: nn.Module, group: list[Any], weights: list[float]
) -> _Parts:
    """Add up the gradients of the batches of a step. Processes exchange them once, after the last
    batch."""
    parts = []
    for batch, weight in zip(group, weights):
        last = len(parts) == len(group) - 1
        with contextlib.nullcontext() if last else accelerator.no_sync(wrapped):
            terms = wrapped(batch)
            accelerator.backward(terms["loss"] if weight == 1 else terms["loss"] * weight)
        parts.append((weight, {name: term.detach() for name, term in terms.items()}))
    return parts


def _check_finite(step: int, parts: _Parts, norm: Tensor, accelerator: Any) -> None:
    """Stop before a step would spoil the weights, in all processes alike: one that went on would wait
    for the others. A loss scaler (fp16) meets infinite gradients in passing and skips them."""
    finite = torch.isfinite(norm) if accelerator.scaler is None else True
    for _, terms in parts:
        finite = torch.isfinite(terms["loss"]) & finite
    everywhere = finite
    if accelerator.num_processes > 1:
        everywhere = finite.int()
        torch.distributed.all_reduce(everywhere, torch.distributed.ReduceOp.MIN)
    if bool(everywhere):
        return
    elsewhere = " in another process; here" if bool(finite) else ""
    terms = next((t for _, t in parts if not bool(torch.isfinite(t["loss"]))), parts[-1][1])
    values = ", ".join(f"{name} = {float(term):g}" for name, term in terms.items())
    error = FloatingPointError(
        f"the loss or its gradient is not finite at step {step}{elsewhere}: {values}, "
        f"gradient norm = {float(norm):g}; "
        "look for a learning rate that is too high, an empty target or NaN in the data"
    )
    error.everywhere = True  # see _put_together
    raise error


# --- Models that processes share out (FSDP) -------------------------------------------------------


def _check_shards(accelerator: Any) -> None:
    """Refuse FSDP where Accelerate would do something else without a word, or in a way that fit was
    not made for."""
    asked = os.environ.get("ACCELERATE_USE_FSDP", "").lower() not in _OFF
    if not asked and accelerator.distributed_type != "FSDP":
        return
    if not _shares_out(accelerator):
        raise ValueError(
            "ACCELERATE_USE_FSDP=true: fit takes FSDP of version 2 (accelerate launch --use_fsdp "
            "--fsdp_version 2), which Accelerate offers on GPUs, in processes that it launched; here it "
            f"is {accelerator.distributed_type} on {accelerator.device}. Unset it to train without"
        )
    if accelerator.state.fsdp_plugin.auto_wrap_policy is not None:
        raise ValueError(
            "FSDP would wrap parts of the model for good; fit wraps the whole for as long as it trains: "
            "accelerate launch --fsdp_auto_wrap_policy NO_WRAP"
        )


def _check_shardable(model: nn.Module) -> None:
    single = [name for name, p in model.named_parameters() if p.ndim == 0]
    if single:
        raise ValueError(
            f"FSDP cannot share out a weight that is a single number: {', '.join(single)}; train "
            f"{type(model).__name__} in several processes without FSDP"
        )


def _shares_out(accelerator: Any) -> bool:
    """Whether each process holds a shard of every weight."""
    return bool(getattr(accelerator, "is_fsdp2", False))


def _whole(value: Any) -> Any:
    """A tensor as a whole, also within containers, where each process holds a shard of it. All
    processes must ask for it."""
    if isinstance(value, Mapping):
        return {name: _whole(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_whole, value))
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def _shard(whole: Any, like: Any) -> Any:
    """This process's shard of what belongs to a weight that is shared out."""
    if not (hasattr(like, "full_tensor") and getattr(whole, "shape", None) == like.shape):
        return whole
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements)


def _kept(value: Any, keeps: bool) -> Any:
    """What :func:`_whole` gives, on the CPU, one tensor after another: the GPU never holds two. It is
    only for a process that ``keeps`` it; the others do their part of the gathering."""
    if isinstance(value, Mapping):
        return {name: _kept(one, keeps) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_kept(one, keeps) for one in value)
    if not hasattr(value, "full_tensor"):
        return value
    whole = value.full_tensor()
    return whole.cpu() if keeps else None


@contextlib.contextmanager
def _gathered(wrapped: nn.Module) -> Iterator[None]:
    """Every process holds all weights meanwhile; after an error too, and :func:`_put_together` keeps
    them."""
    if hasattr(wrapped, "unshard"):
        wrapped.unshard()
    yield
    if hasattr(wrapped, "reshard"):
        wrapped.reshard()


@contextlib.contextmanager
def _put_together(accelerator: Any, wrapped: nn.Module, model: nn.Module) -> Iterator[None]:
    """Whole weights in the place of shards at the end, so that a model can be used and saved as any
    other; after an error too, wherever that needs no other process.

    A process that fails alone must not ask the others for their shards: they would never come to it.
    It keeps the weights if it holds all of them at that moment, as in ``loss`` and in ``validate``.
    """
    if not _shares_out(accelerator):
        yield
        return
    types = {name: p.dtype for name, p in model.named_parameters(remove_duplicate=False)}
    try:
        yield
    except BaseException as error:
        own = {}
        if not (accelerator.num_processes == 1 or getattr(error, "everywhere", False)):
            own = dict(model.named_parameters(remove_duplicate=False))
            # With mixed precision the gathered ones are rounded: better shards than those.
            if any(hasattr(p, "full_tensor") or p.dtype != types[name] for name, p in own.items()):
                wrapped.reshard()
                raise
            copies = {id(p): p.detach().clone() for p in own.values()}
            own = {name: copies[id(p)] for name, p in own.items()}
        wrapped.reshard()
        _replace_shards(model, own)
        raise
    _replace_shards(model, {})


def _replace_shards(model: nn.Module, own: Mapping[str, Tensor]) -> None:
    """Put whole weights in the place of shards: ``own``, or those gathered from all processes."""
    made: dict[int, nn.Parameter] = {}  # weights that several parts share are one afterwards too
    for place, part in model.named_modules():
        for name, shard in part._parameters.items():
            if hasattr(shard, "full_tensor"):
                if id(shard) not in made:
                    whole = own.get(f"{place}.{name}" if place else name)
                    whole = shard.detach().full_tensor() if whole is None else whole
                    made[id(shard)] = nn.Parameter(whole, requires_grad=shard.requires_grad)
                part._parameters[name] = made[id(shard)]


# --- Logging and validation -----------------------------------------------------------------------


def _bar(progress: bool | None, accelerator: Any, step: int, total: int) -> Any:
    from tqdm.auto import tqdm

    shown = progress if progress is not None else os.environ.get("MMTUTOR_PROGRESS", "1") != "0"
    return tqdm(
        total=total,
        initial=step,
        disable=not (shown and accelerator.is_main_process),
        file=sys.stdout,
    )


def _means(parts: _Parts) -> dict[str, float]:
    """The mean of each term over the samples of a step that have it, in all batches and
    processes."""
    from accelerate.utils import gather_object

    everywhere = gather_object(
        [(weight, {name: float(term) for name, term in terms.items()}) for weight, terms in parts]
    )
    sums: dict[str, tuple[float, float]] = {}
    for weight, terms in everywhere:
        for name, value in terms.items() if weight else ():
            total, weights = sums.get(name, (0.0, 0.0))
            sums[name] = total + weight * value, weights + weight
    return {name: total / weights for name, (total, weights) in sums.items()}


def _scores(
    validate: Callable[[nn.Module], Mapping[str, float]], model: nn.Module
) -> dict[str, float]:
    model.eval()
    with torch.no_grad():
        found = validate(model)
    if not isinstance(found, Mapping):
        raise TypeError(
            f"validate must return named scores such as {{'accuracy': 0.5}}, got {_kind(found)}"
        )
    scores = {}
    for name, score in found.items():
        try:
            scores[name] = float(score)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"validate must return numbers, but {name!r} is {_kind(score)}"
            ) from error
        if math.isnan(scores[name]):
            warnings.warn(f"validate returned NaN for {name!r}", stacklevel=3)
    return scores


# --- Checkpoints ----------------------------------------------------------------------------------

_VERSION = 2  # of what stands in a checkpoint


def _checkpoint_path(checkpoint: str | Path | None) -> Path | None:
    if checkpoint is None:
        return None
    if not isinstance(checkpoint, (str, os.PathLike)) or not os.fspath(checkpoint):
        raise ValueError(f"checkpoint must be the name of a file or None, got {checkpoint!r}")
    path = Path(checkpoint).expanduser()
    if path.is_dir():
        raise ValueError(
            f"checkpoint must be a file, but {path} is a folder; give {path / 'checkpoint.pt'}, say"
        )
    return path


class _Checkpoint:
    """The file of a run, or nothing where ``path`` is None. ``run`` is what another run would
    differ in."""

    def __init__(self, path: Path | None, model: nn.Module, opt: Any, accelerator: Any) -> None:
        self.path, self.model, self.opt, self.accelerator = path, model, opt, accelerator
        self.run: dict[str, Any] = {}
        self.rounds = False  # whether ShuffledBatches deals the data out

    def load(self) -> tuple[History, int]:
        """Put the file, if there is one, into model, optimizer and scaler; return the history and
        the next step."""
        history, step = History(), 0
        if self.path is not None and self.path.exists():
            saved, history, step = self._read()
            try:
                self.model.load_state_dict(self._model_state(saved["model"]))
                self.opt.load_state_dict(self._optimizer_state(saved["optimizer"]))
                if self.accelerator.scaler is not None:
                    self.accelerator.scaler.load_state_dict(saved["scaler"])
            except Exception as error:
                raise ValueError(self._belongs("model", " ".join(str(error).split()))) from error
        if self.path is not None and step < self.run["steps"]:
            self._check_folder()
        return history, step

    def _model_state(self, whole: dict[str, Any]) -> dict[str, Any]:
        if not _shares_out(self.accelerator):
            return whole
        here = self.model.state_dict()
        return {name: _shard(value, here[name]) for name, value in whole.items()}

    def _optimizer_state(self, whole: dict[str, Any]) -> dict[str, Any]:
        if not _shares_out(self.accelerator):
            return whole
        trained = [p for group in self.opt.param_groups for p in group["params"]]
        state = {
            i: {name: _shard(value, trained[i]) for name, value in own.items()}
            for i, own in whole["state"].items()
        }
        return {**whole, "state": state}

    def _read(self) -> tuple[dict[str, Any], History, int]:
        try:
            with zipfile.ZipFile(
                self.path
            ) as file:  # torch does not check the checksums that it writes
                damaged = file.testzip()
            if damaged:
                raise zipfile.BadZipFile(f"{damaged} is damaged")
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            if saved.get("version") == _VERSION:
                shapes, history, step = (
                    _shapes(saved["model"]),
                    History(**saved["history"]),
                    int(saved["step"]),
                )
                found = dict(saved["run"])
        except PermissionError:  # the file may be sound: never say that it should be deleted
            raise
        except Exception as error:
            reason = type(error).__name__
            raise ValueError(
                f"{self.path} is not a readable checkpoint ({reason}); delete it to start anew"
            ) from error
        if saved.get("version") != _VERSION:
            raise ValueError(
                f"{self.path} is a checkpoint of another version of mmtutor; delete it to start anew"
            )
        here = _shapes(self.model.state_dict())
        differing = [
            f"{k} was {shapes.get(k)}, is {here.get(k)}"
            for k in {**here, **shapes}
            if shapes.get(k) != here.get(k)
        ]
        if differing:
            raise ValueError(self._belongs("model", "; ".join(differing[:5])))
        dealt = self._dealt_otherwise(found)
        differing = [
            f"{k} was {found[k]}, is {v}"
            for k, v in self.run.items()
            if k in found and found[k] != v and k not in dealt
        ]
        if differing:
            raise ValueError(self._belongs("run", "; ".join(differing)))
        return saved, history, step

    def _dealt_otherwise(self, found: Mapping[str, Any]) -> tuple[str, ...]:
        """What may differ where other processes, more or fewer, share the same steps."""
        names = ("processes", "batch_size", "accumulate")
        was, now = ([run.get(name) for name in names] for run in (found, self.run))
        whole = all(isinstance(size, int) for size in [*was, *now])
        if not (self.rounds and whole and was[0] != now[0] and math.prod(was) == math.prod(now)):
            return ()
        if _steps_of(found) != _steps_of(self.run):  # with drop_last: at another place of the data
            return ()
        if self.accelerator.is_main_process:
            warnings.warn(
                f"{self.path} was written by {was[0]} process(es); {now[0]} go on: what a single run gives, "
                "up to rounding and what is drawn at random",
                stacklevel=5,
            )
        return (*names, "batches", "first batch")

    def _belongs(self, to: str, reason: str) -> str:
        return (
            f"{self.path} belongs to another {to} ({reason}); delete it or give another checkpoint"
        )

    def _temporary(self) -> Path:
        return self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")

    def _check_folder(self) -> None:
        """Know now, not after an hour, that nothing can be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._temporary().touch()
            self._temporary().unlink()
        except OSError as error:
            reason = (
                f"no checkpoint can be written to {self.path.parent} ({error.strerror or error})"
            )
            raise OSError(error.errno or errno.EIO, reason, str(self.path)) from error

    def save(self, history: History, step: int) -> None:
        """Write the file, whole or not at all. The main process does it; the others wait."""
        if self.path is None:
            return
        content = self._content(history, step)
        if self.accelerator.is_main_process:
            temporary = self._temporary()
            try:
                with temporary.open("wb") as file:
                    torch.save(content, file)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, self.path)
            except Exception as error:
                temporary.unlink(missing_ok=True)
                told = self._not_written(error, content, step)
                if told is None:
                    raise
                raise told from error
            finally:
                temporary.unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()

    def _content(self, history: History, step: int) -> dict[str, Any]:
        scaler = self.accelerator.scaler
        content = {
            "version": _VERSION,
            "run": self.run,
            "step": step,
            "model": self.model.state_dict(),
            "optimizer": self.opt.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
            "history": asdict(history),
        }
        if not _shares_out(self.accelerator):
            return content
        return _kept(content, self.accelerator.is_main_process)

    def _not_written(self, error: Exception, content: Any, step: int) -> OSError | None:
        rest = f"there is no checkpoint before it: make room, and start the run again (step {step} was done)"
        if self.path.exists():
            rest = (
                "the checkpoint before it is whole: make room, start the same run again, and it goes on "
                f"from there (this one would have been that of step {step})"
            )
        return why_not_written(error, self.path, _size(content), rest)


def _steps_of(run: Mapping[str, Any]) -> int:
    """How many steps an epoch of a run has in which rounds are dealt out."""
    return math.ceil(run["batches"] // run["processes"] / run["accumulate"])


def _size(content: Any) -> int:
    """The bytes of all tensors in a checkpoint."""
    if isinstance(content, Tensor):
        return content.numel() * content.element_size()
    if isinstance(content, Mapping):
        content = list(content.values())
    return sum(map(_size, content)) if isinstance(content, (list, tuple)) else 0


def _shapes(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(getattr(value, "shape", ())) for name, value in state.items()}


# --- What makes a run this run and no other -------------------------------------------------------


def _identity(
    model: nn.Module,
    opt: Any,
    optimizer: Any,
    schedule: Any,
    batches: DataLoader,
    sampler: Any,
    seed: int,
    accelerator: Any,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Whatever changes the result, as plain numbers and strings: it is stored, and a checkpoint
    must agree."""
    groups = [
        {k: v for k, v in group.items() if k not in ("params", "lr", "initial_lr")}
        for group in opt.param_groups
    ]
    parts = [(name, without_addresses(repr(part))) for name, part in model.named_children()]
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    run = {
        "samples": len(batches.dataset),
        "batches": len(batches),
        "batch_size": batches.batch_size or getattr(batches.batch_sampler, "batch_size", None),
        "processes": accelerator.num_processes,
        "seed": seed,
        **settings,
        "optimizer": _label(optimizer),
        **{
            f"optimizer {k}": [group.get(k) for group in groups]
            for k in sorted({k for g in groups for k in g})
        },
        "schedule": _label(schedule),
        "model": f"#{digest([parts, trained, getattr(model, 'config', None)])}",
        "data": _data(batches.dataset),
        "first batch": _first_batch(batches, sampler, seed),
    }
    return {name: _plain(value) for name, value in run.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (np.generic, Tensor)):
        return value.tolist()
    return (
        value
        if value is None or isinstance(value, (bool, int, float, str))
        else f"#{digest(value)}"
    )


def _label(value: Any) -> str:
    """The name of a schedule or an optimizer, and what else tells it from another one of that
    name."""
    if isinstance(value, str):
        return value
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    return f"{getattr(value, '__qualname__', type(value).__name__)} #{digest(value)}"


def _data(dataset: Any) -> str:
    """All bytes of tensors; the fingerprint that Hugging Face keeps; else the type and the length
    alone."""
    content = getattr(dataset, "_fingerprint", None)
    if isinstance(dataset, (_TensorData, TensorDataset)):
        content = dataset.tensors
    return f"{type(dataset).__name__} #{digest([len(dataset), content])}"


def _first_batch(batches: DataLoader, sampler: Any, seed: int) -> str:
    """The main process's first batch. It is read twice: what differs then can tell nothing of the
    data."""
    from accelerate.utils import broadcast_object_list

    def read() -> str:
        _start_epoch(batches, sampler, seed, 0)
        return f"#{digest(next(iter(batches), None))}"

    first, again = read(), read()
    return broadcast_object_list([first if first == again else "random"])[0]


def parameter_count(model: nn.Module, trainable: bool = False) -> int:
    """How many parameters a model has, or how many of them are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


def batches_of(n: int, batch_size: int) -> list[slice]:
    """Slices that cut ``n`` samples into batches in order, for evaluation."""
    _check_counts(batch_size=batch_size)
    return [slice(i, min(n, i + batch_size)) for i in range(0, n, batch_size)]
