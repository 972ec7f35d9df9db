"""Where the code runs: the device, the seed, and a check of the environment."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import random
import sys
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def device() -> torch.device:
    """The device that chapters use: the GPU where there is one, else the CPU.

    ``MMTUTOR_DEVICE`` (``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, …) overrides the choice.
    Apple's ``mps`` is never chosen by itself, because it has no float64.

    Raises:
        ValueError: ``MMTUTOR_DEVICE`` is not a device that torch knows, or asks for a GPU that is
            not there.
    """
    import torch

    wanted = os.environ.get("MMTUTOR_DEVICE", "").strip()
    if not wanted:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(wanted)
    except RuntimeError as error:
        raise ValueError(
            f"MMTUTOR_DEVICE={wanted!r} is not a torch device; use 'cpu', 'cuda' or 'cuda:0'"
        ) from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"MMTUTOR_DEVICE={wanted!r}, but torch finds no CUDA device here; use 'cpu' or unset it"
        )
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"MMTUTOR_DEVICE={wanted!r}, but torch finds {torch.cuda.device_count()} CUDA device(s) here"
        )
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(
            f"MMTUTOR_DEVICE={wanted!r}, but torch finds no MPS device here; use 'cpu' or unset it"
        )
    return chosen


def where() -> str:
    """One line for whoever opens a chapter: the version of the package, and what :func:`device`
    chose. Where there is no GPU it says how one gets one in Colab."""
    import torch

    from mmtutor import __version__

    chosen = device()
    if chosen.type == "cuda":
        runs = torch.cuda.get_device_name(chosen)
    elif chosen.type == "cpu":
        cores = torch.get_num_threads()
        runs = f"the CPU ({cores} thread{'s' if cores > 1 else ''}); "
        if torch.cuda.is_available():
            runs += "MMTUTOR_DEVICE asks for it, though there is a GPU"
        else:
            runs += "no GPU here. In Colab: Runtime, Change runtime type"
    else:
        runs = f"{chosen}"
    return f"mmtutor {__version__} is installed. Models train on: {runs}."


def comes_home(train: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of ``train(model, ...)``, which brings the model to a GPU: afterwards it is back on
    the device that it came from.

    So what worked on the model before training works after it, with the same tensors: a reader who
    never thinks of devices meets none. Whoever wants the model to stay on the GPU moves it there
    before, and what it is asked about too. The functions ``validate`` and ``watch`` among the
    arguments find the model where it came from. A model whose parts lie on several devices, and one
    that several processes share, stay where they are.
    """
    import torch

    names = inspect.signature(train)

    def shared() -> bool:
        """Asked when it matters: a launcher's processes find one another only within ``train``."""
        return torch.distributed.is_available() and torch.distributed.is_initialized()

    @functools.wraps(train)
    def training(model: Any, *args: Any, **settings: Any) -> Any:
        home = _place(model)
        if home is None:
            return train(model, *args, **settings)

        def at_home(call: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(call)
            def called(*args: Any) -> Any:
                away = _place(model)
                if away in (None, home) or shared():
                    return call(*args)
                model.to(home)
                try:
                    return call(*args)
                finally:
                    model.to(away)

            return called

        given = names.bind(model, *args, **settings)
        for name in ("validate", "watch"):
            if callable(given.arguments.get(name)):
                given.arguments[name] = at_home(given.arguments[name])
        try:
            return train(*given.args, **given.kwargs)
        finally:
            if _place(model) != home and not shared():
                model.to(home)

    return training


def brings(train: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of ``train(model, batches, ...)``, which computes where the model is: a model on the
    CPU is brought to :func:`device`, each batch follows, and the model comes home
    (:func:`comes_home`). So do the averages of optimizers that an argument or the result holds."""
    import torch

    def send(holder: Any, target: torch.device) -> None:
        for value in getattr(holder, "__dict__", {}).values():
            for state in value.state.values() if isinstance(value, torch.optim.Optimizer) else ():
                for name, x in state.items():
                    if isinstance(x, torch.Tensor) and x.dim():  # a count of steps stays
                        state[name] = x.to(target)

    @comes_home
    @functools.wraps(train)
    def training(model: Any, batches: Any, *args: Any, **settings: Any) -> Any:
        home, target = _place(model), device()
        if home is None or home.type != "cpu" or target.type == "cpu":
            return train(model, batches, *args, **settings)
        from accelerate.utils import send_to_device

        model.to(target)
        holders = [*args, *settings.values()]
        for holder in holders:
            send(holder, target)
        try:
            out = train(model, (send_to_device(b, target) for b in batches), *args, **settings)
            holders.append(out)
            return out
        finally:
            for holder in holders:
                send(holder, home)

    return training


def takes_along(part: type) -> type:
    """Decorator of a module that trains a part of a model by ``self.loss``, a method of the model:
    where the part goes, the whole model goes.

    What the method needs beside the part learns nothing, and must lie on the same device.
    """

    def _apply(self: Any, fn: Callable[..., Any], recurse: bool = True) -> Any:
        self.loss.__self__._apply(fn, recurse)  # the part lies in it
        return self

    part._apply = _apply
    return part


def _place(model: Any) -> torch.device | None:
    """The device of a model; None if there are several, or it is no model (its trainer will say so)."""
    import torch

    if not isinstance(model, torch.nn.Module):
        return None
    places = {p.device for p in (*model.parameters(), *model.buffers())}
    return places.pop() if len(places) == 1 else None


@contextlib.contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use so many CPU threads inside a ``with`` block, and as many as before after it.

    Work made of many small operations runs best on one thread: a second one brings little, and if
    another program wants the same core the two wait for each other at every operation.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seed_everything(seed: int) -> int:
    """Seed Python, NumPy and torch (all devices) and return the seed.

    Args:
        seed: an integer in [0, 2**32).

    Raises:
        ValueError: the seed is not an integer in that range.
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be an integer in [0, 2**32), got {seed!r}")
    seed = int(seed)
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed)  # noqa: NPY002  libraries that we call still read the global state
    torch.manual_seed(seed)
    return seed


def check_environment() -> None:
    """Print one line for each dependency that is missing or older than the floor in the package's
    metadata.

    Prints nothing where all floors are met, so a notebook's set-up cell stays silent.
    """
    from importlib import metadata

    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError:
        print("missing: packaging (pip install packaging)")
        return
    try:
        wanted = metadata.requires("mmtutor") or []
    except metadata.PackageNotFoundError:
        print(
            "mmtutor is imported from a folder and not installed; run `pip install -e .` in its checkout"
        )
        return
    for line in wanted:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            print(
                f"missing: {requirement.name}{requirement.specifier} (pip install '{requirement}')"
            )
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            print(
                f"too old: {requirement.name} {found}, needs {requirement.specifier} ({sys.executable})"
            )
