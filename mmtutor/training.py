"""One short training loop for every system, on Hugging Face Accelerate.

A model brings ``model.loss(batch)``; the loop brings the rest: device placement, mixed precision, gradient clipping, a
learning-rate schedule, checkpoints that resume exactly, several processes, a progress bar, and a history to plot.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
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

    ``losses`` maps a term's name to its values at ``steps``; ``"loss"`` is the total. ``validation`` maps a score's name to its
    values at the end of each epoch.
    """

    steps: list[int] = field(default_factory=list)
    losses: dict[str, list[float]] = field(default_factory=dict)
    learning_rate: list[float] = field(default_factory=list)
    validation: dict[str, list[float]] = field(default_factory=dict)

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


class TensorData(Dataset):
    """A dictionary of tensors with the same first dimension; a whole batch is cut out in one indexing step a tensor."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
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
    """A batch sampler whose order depends on (seed, epoch) alone, so that a resumed run sees the same batches."""

    def __init__(self, n: int, batch_size: int, seed: int, drop_last: bool = False) -> None:
        self.n, self.batch_size, self.seed, self.drop_last, self.epoch = n, batch_size, seed, drop_last, 0

    def __len__(self) -> int:
        return self.n // self.batch_size if self.drop_last else math.ceil(self.n / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.n)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield order[start : start + self.batch_size].tolist()


class _Loss(nn.Module):
    """Calls ``model.loss`` from ``forward``, where autocast and distributed wrappers look."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any) -> dict[str, Tensor]:
        terms = self.model.loss(batch)
        return terms if isinstance(terms, Mapping) else {"loss": terms}


def schedule_factor(kind: str | Callable[[int, int], float], step: int, total: int, warmup: int = 0) -> float:
    """The learning rate at ``step`` as a factor of its peak.

    Args:
        kind: ``"constant"``, ``"linear"`` (to 0), ``"cosine"`` (to 0), or a function of (step, total).
        step: the step, from 0.
        total: how many steps the run has.
        warmup: steps of linear rise from ``1 / warmup`` before the schedule proper.
    """
    if warmup and step < warmup:
        return (step + 1) / warmup
    if callable(kind):
        return kind(step, total)
    done = (step - warmup) / max(1, total - warmup)
    factors = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * min(1.0, done)))}
    if kind not in factors:
        raise ValueError(f"schedule must be one of {sorted(factors)} or a function of (step, total), got {kind!r}")
    return max(0.0, factors[kind])


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
    precision: str = "no",
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
    """Train ``model`` in place by minimizing ``model.loss(batch)``.

    Args:
        model: brings ``loss(batch) -> Tensor``, or a dictionary of named terms that are summed.
        data: a dictionary of tensors (fastest), a map-style dataset (a Hugging Face one in torch format too), or a ready
            ``DataLoader``, which then decides batches and order.
        epochs: passes over the data, at least 1.
        batch_size: samples a step and process.
        lr: the peak learning rate.
        optimizer: called with the trainable parameters, ``lr`` and ``weight_decay``.
        schedule: see :func:`schedule_factor`.
        warmup: steps of linear warm-up.
        clip: the largest gradient norm, or ``None``.
        precision: ``"no"``, ``"bf16"`` or ``"fp16"``.
        max_steps: stop after so many steps, even within an epoch; the schedule ends there.
        seed: decides the order of the batches and everything drawn at random during training.
        collate: makes a batch from a list of samples of a dataset.
        drop_last: leave out a last batch that is not full.
        validate: called after each epoch with the model in ``eval`` mode and without gradients; returns named scores.
        checkpoint: a file. If it exists the run goes on from there, to the same result as an unbroken run; it is written
            after each epoch, every ``checkpoint_every`` steps, and always whole.
        log_every: how often a loss enters the history.
        progress: show a tqdm bar; by default unless ``MMTUTOR_PROGRESS=0``, as in the stored notebooks.

    Returns:
        The :class:`History`.

    Raises:
        ValueError: no data, no trainable parameter, a setting out of range, or a checkpoint of another run.
        FloatingPointError: the loss is not finite; the message names the step and the terms.
    """
    for name, value, least in [("epochs", epochs, 1), ("batch_size", batch_size, 1), ("log_every", log_every, 1)]:
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if precision not in ("no", "bf16", "fp16"):
        raise ValueError(f"precision must be 'no', 'bf16' or 'fp16', got {precision!r}")
    if not math.isfinite(lr) or lr <= 0:
        raise ValueError(f"lr must be positive, got {lr}")
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("the model has no trainable parameter")

    from accelerate import Accelerator

    from mmtutor.runtime import device

    accelerator = Accelerator(mixed_precision=precision, cpu=device().type == "cpu")
    loader, batches = _loader(data, batch_size, seed, collate, drop_last)
    if len(loader) == 0:
        raise ValueError("no batch to train on: the data is empty, or smaller than one batch with drop_last")
    opt = optimizer(parameters, lr=lr, weight_decay=weight_decay)
    wrapped, opt, loader = accelerator.prepare(_Loss(model), opt, loader)
    per_epoch = len(loader)
    total = epochs * per_epoch if max_steps is None else min(max_steps, epochs * per_epoch)
    settings = dict(
        batches=per_epoch, batch_size=batch_size, seed=seed, total=total, lr=lr, processes=accelerator.num_processes
    )

    history, step = History(), 0
    path = Path(checkpoint) if checkpoint else None
    saved = _load_checkpoint(path, settings) if path and path.exists() else None
    if saved:
        accelerator.unwrap_model(wrapped).model.load_state_dict(saved["model"])
        opt.load_state_dict(saved["optimizer"])
        if accelerator.scaler is not None and saved["scaler"]:
            accelerator.scaler.load_state_dict(saved["scaler"])
        history, step = History(**saved["history"]), saved["step"]

    shown = progress if progress is not None else os.environ.get("MMTUTOR_PROGRESS", "1") != "0"
    from tqdm.auto import tqdm

    bar = tqdm(total=total, initial=step, disable=not (shown and accelerator.is_main_process), file=sys.stdout)
    with contextlib.closing(bar):
        while step < total:
            epoch, skip = divmod(step, per_epoch)
            if batches is not None:
                batches.epoch = epoch
            _seed_all(seed, epoch, accelerator.process_index)
            source = accelerator.skip_first_batches(loader, skip) if skip else loader
            if saved:  # what was drawn before the break has been drawn
                _set_random_state(saved["random"][accelerator.process_index])
                saved = None
            wrapped.train()
            for batch in source:
                for group in opt.param_groups:
                    group["lr"] = lr * schedule_factor(schedule, step, total, warmup)
                terms = wrapped(batch)
                loss = terms["loss"] if "loss" in terms else torch.stack(list(terms.values())).sum()
                if not bool(torch.isfinite(loss)):
                    raise FloatingPointError(
                        f"the loss is not finite at step {step}: "
                        + ", ".join(f"{name} = {float(term.detach()):g}" for name, term in terms.items())
                        + "; look for a learning rate that is too high, an empty target or NaN in the data"
                    )
                opt.zero_grad()
                accelerator.backward(loss)
                if clip is not None:
                    accelerator.clip_grad_norm_(wrapped.parameters(), clip)
                opt.step()
                if step % log_every == 0 or step == total - 1:
                    history.steps.append(step)
                    history.learning_rate.append(opt.param_groups[0]["lr"])
                    for name, term in ({"loss": loss} | dict(terms)).items():
                        history.losses.setdefault(name, []).append(float(term.detach()))
                    bar.set_postfix(loss=f"{history.losses['loss'][-1]:.3f}", refresh=False)
                step += 1
                bar.update()
                ended = step % per_epoch == 0 or step == total
                if ended and validate is not None:
                    wrapped.eval()
                    with torch.no_grad():
                        for name, score in validate(accelerator.unwrap_model(wrapped).model).items():
                            history.validation.setdefault(name, []).append(float(score))
                    wrapped.train()
                if path and (ended or (checkpoint_every and step % checkpoint_every == 0)):
                    _save_checkpoint(path, accelerator, wrapped, opt, history, step, settings)
                if step == total:
                    break
    model.eval()
    return history


def _loader(
    data: Any, batch_size: int, seed: int, collate: Any, drop_last: bool
) -> tuple[DataLoader, ShuffledBatches | None]:
    if isinstance(data, DataLoader):
        return data, None
    whole = isinstance(data, Mapping)
    dataset = TensorData(data) if whole else data
    if len(dataset) == 0:
        raise ValueError("no batch to train on: the data is empty")
    batches = ShuffledBatches(len(dataset), batch_size, seed, drop_last)
    return DataLoader(dataset, batch_sampler=batches, collate_fn=(lambda b: b) if whole else collate), batches


def _seed_all(seed: int, epoch: int, process: int) -> None:
    mixed = int(np.random.SeedSequence([seed, epoch, process]).generate_state(1)[0])
    random.seed(mixed)
    np.random.seed(mixed)  # noqa: NPY002  a collate function may read the global state
    torch.manual_seed(mixed)


def _random_state() -> dict[str, Any]:
    """The state of every generator, as plain values and tensors that ``torch.load(weights_only=True)`` accepts."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    return {
        "python": [version, list(words), gauss],
        "numpy": [name, keys.tolist(), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random_state(state: Mapping[str, Any]) -> None:
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(tuple(state["numpy"]))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def _save_checkpoint(
    path: Path, accelerator: Any, wrapped: Any, opt: Any, history: History, step: int, settings: dict
) -> None:
    from accelerate.utils import gather_object

    states = gather_object([_random_state()])
    if accelerator.is_main_process:
        content = {
            "model": accelerator.unwrap_model(wrapped).model.state_dict(),
            "optimizer": opt.state_dict(),
            "scaler": accelerator.scaler.state_dict() if accelerator.scaler is not None else {},
            "history": asdict(history),
            "step": step,
            "random": states,
            "settings": settings,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            torch.save(content, temporary)
            os.replace(temporary, path)  # whole or not at all
        finally:
            temporary.unlink(missing_ok=True)
    accelerator.wait_for_everyone()


def _load_checkpoint(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        found = saved["settings"]
    except Exception as error:
        raise ValueError(
            f"{path} is not a readable checkpoint ({type(error).__name__}); delete it to start anew"
        ) from error
    different = {k: (found.get(k), v) for k, v in settings.items() if found.get(k) != v}
    if different:
        listed = "; ".join(f"{k} was {old}, is {new}" for k, (old, new) in different.items())
        raise ValueError(f"{path} belongs to another run ({listed}); delete it or give another checkpoint")
    return saved


def parameter_count(model: nn.Module, trainable: bool = False) -> int:
    """How many parameters a model has, or how many of them are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


def batches_of(n: int, batch_size: int) -> Sequence[slice]:
    """Slices that cut ``n`` samples into batches in order, for evaluation."""
    return [slice(i, min(n, i + batch_size)) for i in range(0, n, batch_size)]
