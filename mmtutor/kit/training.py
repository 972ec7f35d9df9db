"""One short training loop for every system, on Hugging Face Accelerate.

A model brings ``model.loss(batch)``; the loop brings the rest: device placement, mixed precision, gradient clipping, a
learning-rate schedule, checkpoints that resume exactly, several processes, a progress bar, and a history to plot.
"""

from __future__ import annotations

import math
import os
import random
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


@dataclass
class History:
    """What happened, for plots: one entry a logged step, one an epoch.

    ``losses`` maps a term's name to its values at ``steps`` (NaN where a step had no such term); ``"loss"`` is the total.
    ``learning_rate`` is the one of the first parameter group. ``validation`` maps a score's name to its values at the end of
    each epoch.
    """

    steps: list[int] = field(default_factory=list)
    losses: dict[str, list[float]] = field(default_factory=dict)
    learning_rate: list[float] = field(default_factory=list)
    validation: dict[str, list[float]] = field(default_factory=dict)

    def log(self, step: int, learning_rate: float, terms: Mapping[str, Tensor]) -> None:
        """Add one step."""
        for name in {**self.losses, **terms}:
            values = self.losses.setdefault(name, [math.nan] * len(self.steps))
            values.append(float(terms[name]) if name in terms else math.nan)
        self.steps.append(step)
        self.learning_rate.append(learning_rate)

    def plot(self, ax: Any = None) -> Any:
        """Draw every loss term over steps on a matplotlib axis (a new one if none) and return the axis."""
        import matplotlib.pyplot as plt

        ax = ax or plt.subplots(figsize=(6, 3))[1]
        for name, values in self.losses.items():
            ax.plot(self.steps, values, label=name)
        ax.set(xlabel="step", ylabel="loss")
        if len(self.losses) > 1:
            ax.legend()
        return ax


class _TensorData(Dataset):
    """A dictionary of tensors with the same first dimension; a whole batch is cut out in one indexing step a tensor."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        for name, t in tensors.items():
            if not isinstance(t, Tensor) or t.ndim == 0:
                raise TypeError(f"data[{name!r}] must be a tensor with a first dimension of samples, got {_kind(t)}")
        sizes = {name: len(t) for name, t in tensors.items()}
        if not sizes or len(set(sizes.values())) != 1:
            raise ValueError(f"all tensors need the same first dimension, got {sizes or 'no tensor'}")
        self.tensors = dict(tensors)

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: t[index] for name, t in self.tensors.items()}

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        rows = torch.as_tensor(indices)
        return {name: t[rows] for name, t in self.tensors.items()}


class ShuffledBatches:
    """A batch sampler whose order depends on (seed, epoch) alone, so that a resumed run sees the same batches.

    It also seeds every generator before it hands out a batch: what a dataset or a collate function draws at random to build
    that batch is then the same too, whatever happened before.
    """

    def __init__(self, n: int, batch_size: int, seed: int, drop_last: bool = False, process: int = 0) -> None:
        self.n, self.batch_size, self.seed, self.drop_last, self.process = n, batch_size, seed, drop_last, process
        self.epoch = 0

    def __len__(self) -> int:
        return self.n // self.batch_size if self.drop_last else math.ceil(self.n / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.n)
        for i in range(len(self)):
            _seed_all(self.seed, _BATCH, self.epoch, i, self.process)
            yield order[i * self.batch_size : (i + 1) * self.batch_size].tolist()


class _Loss(nn.Module):
    """Calls ``model.loss`` from ``forward``, where autocast and distributed wrappers look; ``"loss"`` becomes the total."""

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
                raise ValueError(f"model.loss must return scalar tensors, but {name!r} is {_kind(term)}; take its mean")
        return terms if "loss" in terms else {"loss": sum(terms.values()), **terms}


def schedule_factor(kind: str | Callable[[int, int], float], step: int, total: int, warmup: int = 0) -> float:
    """The learning rate at ``step`` as a factor of its peak.

    Args:
        kind: ``"constant"``, ``"linear"`` (to 0), ``"cosine"`` (to 0), or a function of (step, total).
        step: the step, from 0.
        total: how many steps the run has.
        warmup: steps of linear rise from ``1 / warmup`` to 1 before the schedule proper, which shares the steps that are left.

    Raises:
        ValueError: ``kind`` is none of these.
    """
    done = min(1.0, max(0, step - warmup) / max(1, total - warmup))
    factors = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}
    if not callable(kind) and kind not in factors:
        raise ValueError(f"schedule must be one of {sorted(factors)} or a function of (step, total), got {kind!r}")
    if step < warmup:
        return (step + 1) / warmup
    return float(kind(step, total)) if callable(kind) else factors[kind]


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
) -> History:
    """Train ``model`` in place by minimizing ``model.loss(batch)``, and leave it in ``eval`` mode.

    Several processes (``accelerate launch``) share the batches and average their gradients: ``n`` of them do what one would
    with ``n * batch_size``.

    Args:
        model: brings ``loss(batch) -> Tensor``, or a dictionary of named terms that are summed; if one of them is called
            ``"loss"`` it is the total, and the others are only recorded. A frozen part that must stay in ``eval`` mode sees
            to that itself, by overriding ``train``.
        data: a dictionary of tensors (fastest), a map-style dataset (a Hugging Face one in torch format too), or a ready
            ``DataLoader``, which then decides batches and order (a generator that it brings is seeded anew each epoch).
        epochs: passes over the data, at least 1.
        batch_size: samples a step and process.
        lr: the peak learning rate.
        optimizer: called with the trainable parameters, ``lr`` and ``weight_decay``. Parameter groups with learning rates of
            their own keep the ratio.
        weight_decay: passed on to the optimizer.
        schedule: see :func:`schedule_factor`.
        warmup: steps of linear warm-up.
        clip: the largest gradient norm, or ``None``.
        precision: ``"no"``, ``"bf16"`` or ``"fp16"`` (not on a CPU); by default what ``accelerate launch
            --mixed_precision`` says, else ``"no"``.
        max_steps: stop after so many steps, even within an epoch; the schedule ends there.
        seed: decides the order of the batches and everything drawn at random during training.
        collate: makes a batch from a list of samples of a dataset.
        drop_last: leave out a last batch that is not full.
        validate: called after each epoch, and at the end, with the model in ``eval`` mode and without gradients; returns
            named scores.
        checkpoint: a file. If it exists the run goes on from there, to the same result as an unbroken run; it is written
            after each epoch, every ``checkpoint_every`` steps, and always whole. (With a ``DataLoader`` of your own the
            result is the same if nothing but its order is random.)
        checkpoint_every: see ``checkpoint``.
        log_every: how often a loss enters the history. With several processes it is their mean.
        progress: show a tqdm bar; by default unless ``MMTUTOR_PROGRESS=0``, as in the stored notebooks.

    Returns:
        The :class:`History`.

    Raises:
        TypeError: the model has no ``loss``, or the data is none of the kinds above.
        ValueError: no data, no trainable parameter, a setting out of range, a loss that is not a scalar, or a checkpoint that
            is damaged or of another run.
        FloatingPointError: the loss or its gradient is not finite; the message names the step and the terms. The weights
            are those from before that step.
    """
    _check(
        epochs=epochs,
        batch_size=batch_size,
        log_every=log_every,
        max_steps=max_steps,
        checkpoint_every=checkpoint_every,
    )
    for name, value in [("lr", lr), ("clip", clip)]:
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive, got {value}")
    if warmup < 0 or seed < 0:
        raise ValueError(f"warmup and seed must not be negative, got {warmup} and {seed}")
    precision = precision or os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision not in ("no", "bf16", "fp16"):
        raise ValueError(f"precision must be 'no', 'bf16' or 'fp16', got {precision!r}")
    schedule_factor(schedule, 0, 1)  # an unknown name is an error now, not after the warm-up
    if not callable(getattr(model, "loss", None)):
        raise TypeError(f"{type(model).__name__} has no method loss(batch)")
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("the model has no trainable parameter")

    accelerator = _accelerator(precision)
    process = accelerator.process_index
    loader, sampler = _loader(data, batch_size, seed, collate, drop_last, process)
    opt = optimizer(parameters, lr=float(lr), weight_decay=float(weight_decay))
    peaks = [float(group["lr"]) for group in opt.param_groups]
    wrapped, opt, loader = accelerator.prepare(_Loss(model), opt, loader)
    per_epoch = len(loader)
    if per_epoch == 0:
        raise ValueError("no batch to train on: the data is empty, or smaller than one batch with drop_last")
    total = min(epochs * per_epoch, max_steps or math.inf)

    history, step = History(), 0
    path = Path(checkpoint) if checkpoint is not None else None
    run = dict(  # whatever changes the result; a checkpoint must agree. Plain numbers and strings only: it is stored
        samples=len(loader.dataset),
        batches=per_epoch,
        batch_size=int(batch_size),
        steps=int(total),
        processes=accelerator.num_processes,
        seed=int(seed),
        lr=peaks,
        weight_decay=float(weight_decay),
        optimizer=_name(optimizer),
        schedule=_name(schedule),
        warmup=int(warmup),
        clip=None if clip is None else float(clip),
        precision=precision,
    )
    if path is not None and path.exists():
        history, step = _load_checkpoint(path, run, model, opt, accelerator.scaler)
    elif path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)

    from tqdm.auto import tqdm

    shown = progress if progress is not None else os.environ.get("MMTUTOR_PROGRESS", "1") != "0"
    hidden = not (shown and accelerator.is_main_process)
    with tqdm(total=total, initial=step, disable=hidden, file=sys.stdout) as bar:
        while step < total:
            epoch, skip = divmod(step, per_epoch)
            _start_epoch(loader, sampler, seed, epoch)
            wrapped.train()
            for batch in accelerator.skip_first_batches(loader, skip) if skip else loader:
                _seed_all(seed, _STEP, step, process)  # the same draws, whether the run was broken off before or not
                for group, peak in zip(opt.param_groups, peaks):
                    group["lr"] = peak * schedule_factor(schedule, step, total, warmup)
                terms = wrapped(batch)
                opt.zero_grad()
                accelerator.backward(terms["loss"])
                norm = accelerator.clip_grad_norm_(parameters, clip if clip is not None else math.inf)
                _check_finite(step, terms, norm, scaled=accelerator.scaler is not None)
                opt.step()

                if step % log_every == 0 or step == total - 1:
                    means = accelerator.reduce({name: term.detach() for name, term in terms.items()}, "mean")
                    history.log(step, opt.param_groups[0]["lr"], means)
                    bar.set_postfix(loss=f"{history.losses['loss'][-1]:.3f}", refresh=False)
                step += 1
                bar.update()
                ended = step % per_epoch == 0 or step == total
                if ended and validate is not None:
                    wrapped.eval()
                    with torch.no_grad():
                        for name, score in validate(model).items():
                            history.validation.setdefault(name, []).append(float(score))
                if path is not None and (ended or (checkpoint_every and step % checkpoint_every == 0)):
                    if accelerator.is_main_process:
                        _save_checkpoint(path, run, model, opt, accelerator.scaler, history, step)
                    accelerator.wait_for_everyone()
                if step == total:
                    break
    model.eval()
    return history


def _check(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and (not isinstance(value, (int, np.integer)) or value < 1):
            raise ValueError(f"{name} must be a whole number, at least 1, got {value!r}")


def _kind(value: Any) -> str:
    """What a value is, for messages."""
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _name(value: Any) -> str:
    return value if isinstance(value, str) else getattr(value, "__qualname__", type(value).__name__)


def _accelerator(precision: str) -> Any:
    """An ``Accelerator`` on the book's device. Accelerate keeps one state a process, which must not refuse a second setting."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState

    from mmtutor.kit.runtime import device

    wanted, alone = device(), not torch.distributed.is_initialized()
    if precision == "fp16" and wanted.type == "cpu":  # Accelerate would compute in float32 without a word
        raise ValueError("precision 'fp16' needs a GPU; use 'bf16' or 'no' on a CPU")
    known = {**PartialState._shared_state, **AcceleratorState._shared_state}
    if known and (known.get("_mixed_precision"), known["device"].type) != (precision, wanted.type):
        AcceleratorState._reset_state(reset_partial_state=alone)
    if alone and wanted.type == "cuda" and wanted.index is not None:
        torch.cuda.set_device(wanted)  # Accelerate takes the current one
    return Accelerator(mixed_precision=precision, cpu=wanted.type == "cpu")


def _loader(
    data: Any, batch_size: int, seed: int, collate: Any, drop_last: bool, process: int
) -> tuple[DataLoader, Any]:
    """A loader, and the sampler that decides its order."""
    whole = isinstance(data, Mapping)
    dataset = data.dataset if isinstance(data, DataLoader) else _TensorData(data) if whole else data
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise TypeError(
            "data must be a dictionary of tensors, a dataset with a length and an index, or a DataLoader of one, "
            f"got {_kind(dataset)}"
        )
    if len(dataset) == 0:
        raise ValueError("no batch to train on: the data is empty")
    if isinstance(data, DataLoader):
        return data, data.sampler
    batches = ShuffledBatches(len(dataset), int(batch_size), int(seed), drop_last, process)
    return DataLoader(dataset, batch_sampler=batches, collate_fn=(lambda b: b) if whole else collate), batches


_EPOCH, _BATCH, _STEP = 1, 2, 3  # what is seeded; the numbers keep the three apart


def _seed_all(*key: int) -> int:
    """Seed every generator from a key of whole numbers; some 50 microseconds, so that every step can afford it."""
    mixed = int(np.random.SeedSequence(key).generate_state(1)[0])
    random.seed(mixed)
    np.random.seed(mixed)  # noqa: NPY002  a collate function may read the global state
    torch.default_generator.manual_seed(mixed)  # torch.manual_seed takes a millisecond where CUDA sleeps
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


def _check_finite(step: int, terms: Mapping[str, Tensor], norm: Tensor, scaled: bool) -> None:
    """Stop before a step would spoil the weights. A loss scaler (fp16) meets infinite gradients in passing and skips them."""
    if bool(torch.isfinite(terms["loss"]) & (torch.isfinite(norm) | scaled)):
        return
    values = ", ".join(f"{name} = {float(term.detach()):g}" for name, term in terms.items())
    raise FloatingPointError(
        f"the loss or its gradient is not finite at step {step}: {values}, gradient norm = {float(norm):g}; "
        "look for a learning rate that is too high, an empty target or NaN in the data"
    )


def _save_checkpoint(
    path: Path, run: Mapping[str, Any], model: nn.Module, opt: Any, scaler: Any, history: History, step: int
) -> None:
    content = {
        "run": run,
        "step": step,
        "model": model.state_dict(),
        "optimizer": opt.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else {},
        "history": asdict(history),
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # whole or not at all
    finally:
        temporary.unlink(missing_ok=True)


def _load_checkpoint(
    path: Path, run: Mapping[str, Any], model: nn.Module, opt: Any, scaler: Any
) -> tuple[History, int]:
    """Put a checkpoint into model, optimizer and scaler; return the history and the next step."""
    try:
        with zipfile.ZipFile(path) as file:  # torch does not check the checksums that it writes
            damaged = file.testzip()
        if damaged:
            raise zipfile.BadZipFile(f"{damaged} is damaged")
        saved = torch.load(path, map_location="cpu", weights_only=True)
        found, history, step = dict(saved["run"]), History(**saved["history"]), saved["step"]
    except Exception as error:
        raise ValueError(
            f"{path} is not a readable checkpoint ({type(error).__name__}); delete it to start anew"
        ) from error
    different = [f"{k} was {found.get(k)}, is {v}" for k, v in run.items() if found.get(k) != v]
    if different:
        raise ValueError(
            f"{path} belongs to another run ({'; '.join(different)}); delete it or give another checkpoint"
        )
    try:
        model.load_state_dict(saved["model"])
        opt.load_state_dict(saved["optimizer"])
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} belongs to another model ({reason}); delete it or give another checkpoint") from error
    if scaler is not None:
        scaler.load_state_dict(saved["scaler"])
    return history, step


def parameter_count(model: nn.Module, trainable: bool = False) -> int:
    """How many parameters a model has, or how many of them are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


def batches_of(n: int, batch_size: int) -> list[slice]:
    """Slices that cut ``n`` samples into batches in order, for evaluation."""
    _check(batch_size=batch_size)
    return [slice(i, min(n, i + batch_size)) for i in range(0, n, batch_size)]
