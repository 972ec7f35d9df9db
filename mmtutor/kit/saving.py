"""A trained model in a folder, and back again.

What a model has learned are its weights; what it is are its class and its settings. A folder holds
both: the weights as `safetensors <https://huggingface.co/docs/safetensors>`_, a format that is
nothing but numbers with their names (to read it runs no foreign code, as to read a pickle would),
and everything else as one JSON file that can be read with the eye::

    save(model, "my/model", words=vocabulary.words)       # more: whatever JSON can say, and tensors
    model, more = load(ShowAndTell, "my/model")

**Whole or not at all.** The weights are written first, under a name that holds a digest of their
bytes. Then ``model.json``, which names them, takes the place of the old one in one move. Whatever
happens in between, the folder holds the old model or the new one, and never half of each. Who saves
to the same folder at the same time, on the same machine, waits; who reads meanwhile need not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from mmtutor.kit.cache import cache_dir, digest, locked, replacing, why_not_written

FORMAT = 1  # of what is written; a reader refuses a higher one
ABOUT = "model.json"
_WEIGHTS, _MORE = "model", "more"  # names in the file of tensors begin with one of them and a dot
_FILE = re.compile(r"model-[0-9a-f]{16}\.safetensors")

Model = TypeVar("Model", bound=nn.Module)


class Loaded(NamedTuple):
    """What :func:`load` returns: the model, and what was saved beside it."""

    model: Any
    more: dict[str, Any]


# --- To save --------------------------------------------------------------------------------------


def save(model: nn.Module, folder: str | Path, **more: Any) -> Path:
    """Write a model to a folder, which is made if need be. A model that was there is replaced;
    files of other names stay.

    Args:
        model: of a class of the house: its ``config`` is a dataclass, and its constructor takes
            that config.
        folder: where to.
        more: what else belongs to it: tensors, and what JSON can say: strings, numbers, booleans,
            None, lists, dictionaries with strings as keys. (A tuple comes back as a list.)

    Returns:
        The folder.

    Raises:
        TypeError: no such model, or something in ``more`` that neither JSON nor safetensors holds;
            the message names it.
        ValueError: what no file could give back: numbers in ``more`` that are not finite, half of
            a surrogate pair, something that contains itself; or weights that hold no data. What was
            in the folder is then as it was.
        OSError: the folder cannot be written, or is a file; or the disk is full, and then what was
            in the folder is as it was.
    """
    from safetensors.torch import save as encoded

    config = _plain_config(model)
    tensors, same = _tensors(model.state_dict())
    for name in (*tensors, *more):
        _check_text(name, "a name")
    extra = {name: value for name, value in more.items() if isinstance(value, Tensor)}
    for name, value in extra.items():
        tensors[f"{_MORE}.{name}"] = _whole(f"more: {name}", value)
    plain = {name: value for name, value in more.items() if name not in extra}
    for name, value in plain.items():
        try:
            _check_plain(value, name)
        except RecursionError:
            raise ValueError(f"{name} is nested too deep, or contains itself") from None

    folder = Path(folder).expanduser()
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{str(folder)!r} is a file; a model is saved to a folder")
    content = encoded(tensors)
    told = _digest(content)
    weights = folder / f"model-{told[:16]}.safetensors"
    about = {
        "format": FORMAT,
        "class": _name(type(model)),
        "config": config,
        "weights": weights.name,
        "digest": told,
        "same": same,
        "more": plain,
    }
    text = json.dumps(about, ensure_ascii=False, allow_nan=False, indent=1)
    with _alone(folder):
        before = _weights_of(folder)
        there = weights.exists()
        _write(weights, content)
        try:
            _write(folder / ABOUT, text.encode("utf-8"))
        except OSError:
            if not there:  # nothing names it, and where the disk is full its room is needed
                weights.unlink(missing_ok=True)
            raise
        if before is not None and before != weights:
            with contextlib.suppress(OSError):
                before.unlink()
    return folder


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else on this machine saves to the folder meanwhile: one might remove as old what the
    other has just named. The lock lies in the cache; where there can be none, it goes without."""
    place = cache_dir() / "locks" / digest(os.fsencode(folder.resolve()))
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            held.enter_context(locked(place))
        yield


def _plain_config(model: nn.Module) -> dict[str, Any]:
    """A model's settings as what JSON can say."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"save needs a model (nn.Module), got {type(model).__name__}")
    config = getattr(model, "config", None)
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(
            f"{type(model).__name__} has no config that is a dataclass, so nothing says how to "
            "make it again"
        )
    if type(config) is not _config_class(type(model)):
        raise TypeError(
            f"the config of {type(model).__name__} is a {_name(type(config))}, which is not what "
            "load would make"
        )
    settings = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.init}
    for name, value in settings.items():
        _check_plain(value, f"config.{name}")
    return settings


def _tensors(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a state, each one once, and the names that stand for another's."""
    tensors: dict[str, Tensor] = {}
    same: dict[str, str] = {}
    first: dict[tuple, str] = {}
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} of the model's state is no tensor: {type(value).__name__}")
        value = _whole(name, value, copy=False)
        # two names of one tensor: the same numbers, read in the same way
        place = (value.data_ptr(), value.dtype, tuple(value.shape), value.stride())
        if value.numel() and place in first:
            same[name] = first[place]
            continue
        first[place] = name
        tensors[f"{_WEIGHTS}.{name}"] = _whole(name, value)
    return tensors, same


def _whole(name: str, value: Tensor, copy: bool = True) -> Tensor:
    """A tensor as safetensors wants it: on the CPU, dense, with memory of its own."""
    if isinstance(value, nn.parameter.UninitializedTensorMixin) or value.is_meta:
        raise ValueError(f"{name} holds no data yet; run the model once before it is saved")
    if value.layout is not torch.strided or value.is_quantized or value.is_complex():
        raise TypeError(f"{name} is no dense tensor of real numbers, which is what can be saved")
    value = value.detach()
    return value.cpu().clone(memory_format=torch.contiguous_format) if copy else value


def _check_plain(value: Any, name: str) -> None:
    """Raise an error unless JSON can say a value, and say it back."""
    if value is None or isinstance(value, (bool, int)):
        return
    if isinstance(value, str):
        _check_text(value, name)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, got {value}")
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            _check_plain(item, f"{name}[{place}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{name} has the key {key!r}; keys must be strings")
            _check_text(key, f"a key of {name}")
            _check_plain(item, f"{name}[{key!r}]")
    else:
        raise TypeError(
            f"{name} cannot be saved: {type(value).__name__} is neither a tensor (at the top of "
            "more) nor anything that JSON can say"
        )


def _check_text(text: str, name: str) -> None:
    """Raise a ValueError unless a file can hold a text."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} holds half of a surrogate pair: {text!r:.80}") from error


def _write(path: Path, content: bytes) -> None:
    """Write all of a file or nothing, and have it on the disk before it gets its name."""
    try:
        with replacing(path) as partial, open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        rest = f"what was in {str(path.parent)!r} before is as it was"
        told = why_not_written(error, path, len(content), rest)
        if told is None:
            raise
        raise told from error


def _weights_of(folder: Path) -> Path | None:
    """The file of weights that a folder's ``model.json`` names; None where nothing is sure."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        name = json.loads((folder / ABOUT).read_text("utf-8"))["weights"]
        if _FILE.fullmatch(name):
            return folder / name
    return None


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _digest(content: bytes) -> str:
    import xxhash

    return xxhash.xxh3_128_hexdigest(content)


# --- To load --------------------------------------------------------------------------------------


def load(kind: type[Model], folder: str | Path, **arguments: Any) -> Loaded:
    """Read a model that :func:`save` wrote.

    Args:
        kind: its class, ``JointEmbedding``, say.
        folder: where it lies.
        arguments: what the constructor needs beside the config (``SkipGram``'s ``counts``). What
            it makes of them is replaced by what was saved, where that is part of the model's state.

    Returns:
        The model on the CPU, in ``eval`` mode, and the rest as a dictionary. Nothing is drawn from
        torch's generator.

    Raises:
        FileNotFoundError: there is no such folder, or no model in it, or no file of weights.
        ValueError: a model of another class, a file that is damaged, weights of another shape,
            settings that this class does not know, or a newer format; the message says which file
            and what to do.
    """
    folder = Path(folder).expanduser()
    about, tensors = _whole_one(kind, folder)
    state = {n[len(_WEIGHTS) + 1 :]: t for n, t in tensors.items() if n.startswith(f"{_WEIGHTS}.")}
    more = {n[len(_MORE) + 1 :]: t for n, t in tensors.items() if n.startswith(f"{_MORE}.")}
    for name, other in about["same"].items():
        if not isinstance(other, str) or other not in state:
            raise ValueError(f"{str(folder / ABOUT)!r} is damaged: there is no {other!r}")
        state[name] = state[other]
    model = _made(kind, folder, about["config"], arguments)
    _put(model, state, folder)
    return Loaded(model.eval(), {**about["more"], **more})


def _whole_one(kind: type, folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A folder's note and its tensors, of one and the same model: another process may replace the
    model between the two looks."""
    about = _about(folder)
    while True:
        if about["class"] != _name(kind):
            raise ValueError(
                f"{str(folder)!r} holds a {about['class']}, not a {_name(kind)}; load it as that"
            )
        try:
            return about, _read_tensors(folder, about)
        except FileNotFoundError:
            before, about = about, _about(folder)
            if about["weights"] == before["weights"]:
                raise


def class_of(folder: str | Path) -> str:
    """The class of the model in a folder, ``"mmtutor.joint_embedding.JointEmbedding"``, say; the
    rest is not read.

    Raises:
        FileNotFoundError, ValueError: as :func:`load`.
    """
    return _about(Path(folder).expanduser())["class"]


def _about(folder: Path) -> dict[str, Any]:
    path = folder / ABOUT
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {str(folder)!r}")
    if not path.is_file():
        raise FileNotFoundError(f"{str(folder)!r} holds no model: there is no {ABOUT}")
    try:
        about = json.loads(path.read_bytes().decode("utf-8"))
        version = about["format"]
        if isinstance(version, bool) or not isinstance(version, int):
            raise ValueError("its format is no number")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(_damaged(path, str(error))) from error
    if version > FORMAT:
        raise ValueError(
            f"{str(path)!r} has the format {version}, and this mmtutor reads up to {FORMAT}; "
            "a newer one wrote it: pip install --upgrade mmtutor"
        )
    kinds = {"class": str, "config": dict, "weights": str, "digest": str, "same": dict}
    kinds["more"] = dict
    for name, wanted in kinds.items():
        if not isinstance(about.get(name), wanted):
            raise ValueError(_damaged(path, f"{name!r} is missing or no {wanted.__name__}"))
    if not _FILE.fullmatch(about["weights"]):  # never a path out of the folder
        raise ValueError(_damaged(path, f"{about['weights']!r} is no name of a file of weights"))
    return about


def _damaged(path: Path, reason: str) -> str:
    return f"{str(path)!r} is damaged ({reason}); save the model again"


def _read_tensors(folder: Path, about: Mapping[str, Any]) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load as decoded

    path = folder / about["weights"]
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{ABOUT} of {str(folder)!r} names {path.name}, and there is no such file; "
            "copy the whole folder"
        ) from None
    if _digest(content) != about["digest"]:
        raise ValueError(_damaged(path, "its bytes are not those that were written"))
    try:
        return decoded(content)
    except SafetensorError as error:
        raise ValueError(_damaged(path, str(error))) from error


def _made(
    kind: type[Model], folder: Path, config: Mapping[str, Any], arguments: Mapping[str, Any]
) -> Model:
    """The model with fresh weights."""
    made = _config_class(kind)
    known = {f.name: f for f in dataclasses.fields(made) if f.init}
    strange = [name for name in config if name not in known]
    if strange:
        raise ValueError(
            f"{str(folder / ABOUT)!r} has settings that {kind.__name__} does not know: "
            f"{', '.join(strange)}; another version of mmtutor wrote it"
        )
    try:
        settings = made(**{name: _tuples(value) for name, value in config.items()})
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the settings in {str(folder / ABOUT)!r} are none for {kind.__name__}: {error}"
        ) from error
    with torch.random.fork_rng(devices=[]):
        return kind(settings, **arguments)


def _config_class(kind: type) -> type:
    """The dataclass beside a model's class that its constructor takes: ``Config`` of its module,
    or what the class itself calls ``Config``."""
    found = getattr(kind, "Config", None) or getattr(sys.modules[kind.__module__], "Config", None)
    if not dataclasses.is_dataclass(found):
        raise TypeError(f"{_name(kind)} has no dataclass Config beside it or in it")
    return found


def _tuples(value: Any) -> Any:
    """Lists as tuples, which is what a frozen config holds."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _put(model: nn.Module, state: Mapping[str, Tensor], folder: Path) -> None:
    """Put saved tensors into a model, in the precision in which they were saved."""
    here = model.state_dict()
    wrong = [
        f"{name} is {_shape(here.get(name))}, was saved as {_shape(state.get(name))}"
        for name in {**here, **state}
        if _shape(here.get(name)) != _shape(state.get(name))
    ]
    if wrong:
        raise ValueError(
            f"the weights in {str(folder)!r} do not fit {type(model).__name__} with these "
            f"settings: {'; '.join(wrong[:5])}{' …' if len(wrong) > 5 else ''}"
        )
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, tensor in tensors.items():
        if name in state and tensor.dtype != state[name].dtype:
            tensor.data = tensor.data.to(state[name].dtype)
    model.load_state_dict(state)


def _shape(tensor: Tensor | None) -> str:
    return "nothing" if tensor is None else str(tuple(tensor.shape))
