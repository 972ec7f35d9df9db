"""A digest of a value: the same for equal values in every process and on every day, as far as a
value can be looked into.

Of a function it covers the code, the defaults, and what the code refers to; so two runs that differ
in a schedule written as a ``lambda`` are told apart. (Another version of Python compiles to other
code, and then the digest is another too.)
"""

from __future__ import annotations

import dis
import functools
import re
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xxhash
from torch import Tensor

_DATA = (bool, int, float, complex, str, bytes, tuple, list, dict, Tensor, np.ndarray, np.generic)


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits (xxHash3) that stand for a value: numbers, tensors, containers,
    functions, objects."""
    return xxhash.xxh3_64_hexdigest(repr(_describe(value)).encode("utf-8", "surrogatepass"))


def without_addresses(text: str) -> str:
    """The ``repr`` of an object, without the places in memory, which differ from process to
    process."""
    return re.sub(r" at 0x[0-9A-Fa-f]+", "", text)


def _describe(value: Any, within: tuple[int, ...] = ()) -> Any:
    """A value as nested lists of strings; ``within`` are the containers around it, lest one that
    holds itself never end."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, Tensor):
        return _tensor(value)
    if hasattr(value, "__array_interface__"):  # NumPy, and pictures of Pillow
        array = np.asarray(value)
        if not array.dtype.hasobject:
            return [str(array.dtype), array.shape, xxhash.xxh3_64_hexdigest(array.tobytes())]
        value = array.tolist()
    if isinstance(value, types.ModuleType):
        return value.__name__
    if id(value) in within:
        return "itself"

    def inside(*values: Any) -> list[Any]:
        return [_describe(v, (*within, id(value))) for v in values]

    if isinstance(value, Mapping):
        return sorted((inside(*item) for item in value.items()), key=repr)
    if isinstance(value, (set, frozenset)):
        return ["set", sorted(inside(*value), key=repr)]
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, inside(*value)]
    if isinstance(value, functools.partial):
        return ["partial", inside(value.func, value.args, value.keywords)]
    if isinstance(value, types.CodeType):
        return [value.co_code.hex(), value.co_names, inside(*value.co_consts)]
    if isinstance(value, types.MethodType):
        return ["method", inside(value.__func__, value.__self__)]
    if isinstance(value, types.FunctionType):
        parts = [
            value.__code__,
            value.__defaults__,
            value.__kwdefaults__,
            _closure(value),
            _globals(value),
        ]
        return [value.__qualname__, inside(*parts)]
    if hasattr(
        value, "__qualname__"
    ):  # a class or something built in, which may be bound to an object
        return [
            getattr(value, "__module__", None),
            value.__qualname__,
            inside(getattr(value, "__self__", None)),
        ]
    call = next((vars(c)["__call__"] for c in type(value).__mro__ if "__call__" in vars(c)), None)
    if hasattr(value, "__dict__"):
        return inside(type(value), call, vars(value))
    return [*inside(type(value)), without_addresses(repr(value))]


def _tensor(t: Tensor) -> Any:
    if t.layout is not torch.strided or t.is_nested or t.is_quantized:
        return [str(t.dtype), str(t.layout)]
    total, rows = xxhash.xxh3_64(), t.detach().reshape(1) if t.ndim == 0 else t.detach()
    for piece in rows.split(
        max(1, 2**24 * len(rows) // max(1, rows.numel()))
    ):  # a copy of all might not fit
        piece = piece.cpu().resolve_conj().resolve_neg().contiguous()
        total.update(piece.reshape(-1).view(torch.uint8).numpy())
    return [str(t.dtype), tuple(t.shape), total.hexdigest()]


def _closure(function: types.FunctionType) -> dict[str, Any]:
    empty = types.CellType()
    cells = zip(function.__code__.co_freevars, function.__closure__ or ())
    return {name: cell.cell_contents for name, cell in cells if cell != empty}


def _globals(function: types.FunctionType) -> dict[str, Any]:
    """The global names that a function reads: data, and functions that stand beside it, whole; of
    others the name."""
    codes, found = [function.__code__], {}
    for code in codes:
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]
        for name in sorted(
            {
                i.argval
                for i in dis.get_instructions(code)
                if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")
            }
        ):
            value = function.__globals__.get(name)
            beside = (
                isinstance(value, types.FunctionType) and value.__globals__ is function.__globals__
            )
            whole = beside or isinstance(value, _DATA)
            found[name] = value if whole else getattr(value, "__qualname__", type(value).__name__)
    return found
