"""A run's folder: what it is, how far it is, what came of it.

- ``run.json``: which system, which data, which settings. A run goes on only as what it was.
- ``checkpoint.pt``: how far the training is; gone when it has ended. A system that trains in several
  parts has one for each: ``checkpoint-reading.pt``, say.
- ``model.json`` and ``model-….safetensors``: the trained model with all that it needs.
- ``history.csv``, and TensorBoard's files where it is installed: the curves.
- ``scores.json``: what ``evaluate`` found.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import difflib
import json
import os
import typing
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from mmtutor import __version__
from mmtutor.kit.cache import cache_dir, digest, locked
from mmtutor.kit.training import History

RUN, CHECKPOINT, HISTORY, SCORES = "run.json", "checkpoint.pt", "history.csv", "scores.json"


def part(name: str) -> str:
    """The file of the checkpoint of a part of a training."""
    return f"checkpoint-{name}.pt"


def checkpoints(folder: Path) -> list[Path]:
    """Those that are there."""
    return [path for path in (folder / CHECKPOINT, *folder.glob(part("*"))) if path.exists()]


def write(path: Path, text: str) -> None:
    """Whole or not at all: a full disk leaves what was there."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else on this machine trains into the folder meanwhile. The lock lies in the cache, and
    ends with its process; where there can be none, it goes without.

    Raises:
        ValueError: somebody else does.
    """
    place = cache_dir() / "locks" / f"train-{digest(os.fsencode(folder.resolve()))}"
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(place, wait=False))
        except TimeoutError:
            raise ValueError(
                f"another process is training into {str(folder)!r}; wait until it ends, or choose "
                "another folder with --out"
            ) from None
        except OSError:
            pass
        yield


def left_over(folder: Path) -> Iterator[Path]:
    """What a run that was killed while it wrote has left: files that nobody will read."""
    yield from (p for name in (RUN, HISTORY, SCORES) if (p := folder / f"{name}.tmp").exists())
    yield from folder.glob(".checkpoint*.pt.*.tmp")


def begun(folder: Path) -> bool:
    """Whether a run is there, and something of it has been learned."""
    return (folder / RUN).exists() and bool(checkpoints(folder) or (folder / "model.json").exists())


def begin(folder: Path, run: dict[str, Any]) -> bool:
    """Write down what a run is, or find that it was begun. A run that was stopped before its first
    checkpoint was not: nothing of it would be lost.

    Returns:
        Whether it was begun before.

    Raises:
        ValueError: the folder holds another run (the message says what differs), or something else.
        OSError: it is a file, or cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"--out must be a folder, and {str(folder)!r} is a file")
    run = json.loads(json.dumps({**run, "version": __version__}))
    if folder.is_dir():
        for path in left_over(folder):
            path.unlink()
    if not begun(folder):
        if folder.exists() and not (folder / RUN).exists() and any(folder.iterdir()):
            raise ValueError(
                f"{str(folder)!r} is not empty and holds no run; choose a new folder with --out"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"--out {str(folder)!r} cannot be made ({error.strerror}); choose another one"
            raise type(error)(reason) from error
        write(folder / RUN, json.dumps(run, indent=1, ensure_ascii=False) + "\n")
        return False
    before = read(folder)
    if before.get("version") != run["version"]:
        raise ValueError(
            f"{str(folder)!r} holds a run of mmtutor {before.get('version')}, and this is "
            f"{run['version']}, which may not go on to the same result; choose another folder with "
            "--out (a run that has ended can still be used)"
        )
    wrong = [
        f"{name} was {_short(before.get(name))}, now {_short(run.get(name))}"
        for name in (["system"] if before["system"] != run["system"] else {**before, **run})
        if before.get(name) != run.get(name)
    ]
    if wrong:
        raise ValueError(
            f"{str(folder)!r} holds another run: {'; '.join(wrong)}. "
            "Choose another folder with --out, or the settings of then to go on with it"
        )
    return True


def _short(value: Any) -> str:
    """A setting in words; of data the name."""
    if isinstance(value, dict) and "name" in value:
        return " ".join(filter(None, (f"{value['name']!r}", value.get("path"))))
    return repr(value)


def check(run: dict[str, Any], folder: Path, takes: tuple[str, ...] = ()) -> None:
    """Raise a ValueError unless a note is one that :func:`begin` writes, with what the system
    takes."""
    kinds = {"data": dict, "scale": str, "seed": int, "set": dict}
    more = {"steps": int, "batch": int, "lr": float, "pixels": int, "encoder": str}
    kinds |= {name: more[name] for name in takes}
    wrong = [name for name, kind in kinds.items() if not isinstance(run.get(name), kind)]
    data = run.get("data")
    if isinstance(data, dict) and not {"kind", "name"} <= set(data) <= {"kind", "name", "path"}:
        wrong.append("data")
    if wrong:
        raise ValueError(
            f"{str(folder / RUN)!r} is damaged, or of another version: {', '.join(wrong)} missing "
            "or not as `mmtutor train` writes it; train it again with another --out"
        )


def read(folder: Path) -> dict[str, Any]:
    """What a run is.

    Raises:
        FileNotFoundError: no run there.
        ValueError: the note cannot be read, or is of a system that this version does not know.
    """
    path = folder / RUN
    if not path.exists():
        do = f"train one with `mmtutor train SYSTEM --out {folder}`"
        if folder.is_dir() and any(folder.iterdir()):  # photographs, say
            do = "name the folder that `mmtutor train` was given as --out"
        raise FileNotFoundError(f"{str(folder)!r} holds no run: {do}")
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{str(path)!r} cannot be read: {error}") from error
    if not isinstance(run, dict) or not isinstance(run.get("system"), str):
        raise ValueError(f"{str(path)!r} is not what `mmtutor train` writes")
    return run


def keep_history(folder: Path, history: History) -> bool:
    """Write the curves as a table, and for TensorBoard where it is installed.

    Returns:
        Whether TensorBoard was there.
    """
    names = list(history.losses)
    with (folder / f"{HISTORY}.tmp").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["step", "learning_rate", *names])
        for at, step in enumerate(history.steps):
            values = [history.losses[name][at] for name in names]
            out.writerow([step, history.learning_rate[at], *values])
    os.replace(folder / f"{HISTORY}.tmp", folder / HISTORY)
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return False
    with SummaryWriter(str(folder / "tensorboard")) as board:
        for at, step in enumerate(history.steps):
            for name in names:
                board.add_scalar(f"train/{name}", history.losses[name][at], step)
    return True


# --- --set key=value ------------------------------------------------------------------------------

LARGEST = 10**9  # of a size, a count or a rate: what is larger is a slip, and overflows


def changes(pairs: tuple[str, ...], config: type, fixed: tuple[str, ...] = ()) -> dict[str, Any]:
    """What ``--set key=value`` says, checked against a system's settings.

    Args:
        pairs: as typed.
        config: the dataclass of the settings; it checks the values itself when it is made.
        fixed: settings that the data decide.

    Raises:
        ValueError: no such setting, none that can be set, or a value of another kind.
    """
    kinds = typing.get_type_hints(config)
    known = [f.name for f in fields(config) if f.name not in fixed]
    out: dict[str, Any] = {}
    for pair in pairs:
        name, given, text = pair.partition("=")
        name = name.strip()
        if not given:
            raise ValueError(f"--set wants key=value, got {pair!r}")
        if name in fixed:
            raise ValueError(f"{name} follows from the data and cannot be set")
        if name not in known:
            near = difflib.get_close_matches(name, known, 2)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            raise ValueError(f"there is no setting {name!r}; {hint}there are: {', '.join(known)}")
        if name in out:
            raise ValueError(f"{name} is set twice")
        out[name] = value(name, text.strip(), kinds[name])
    return out


def value(name: str, text: str, kind: Any) -> Any:
    """A value as its setting's kind.

    >>> value("lr", "3", float), value("cell", "gru", str), value("mlp", "8, 8", tuple[int, ...])
    (3.0, 'gru', (8, 8))
    """
    options = typing.get_args(kind)
    if type(None) in options:
        if text.lower() == "none":
            return None
        kind = next(one for one in options if one is not type(None))
    plain = typing.get_origin(kind) or kind
    if plain is str:
        return text
    if plain is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        found = text
    if type(found) in (int, float) and abs(found) > LARGEST:
        raise ValueError(f"{name} must be a number of at most {LARGEST:,}, got {text!r}")
    if plain is float and type(found) in (int, float):
        return float(found)
    if plain is int and type(found) is int:
        return found
    if plain is tuple and isinstance(found, (tuple, list, int, float)):
        return tuple(found) if isinstance(found, (tuple, list)) else (found,)
    wanted = {bool: "true or false", int: "a whole number", float: "a number", tuple: "numbers"}
    raise ValueError(f"{name} must be {wanted.get(plain, plain)}, got {text!r}")
