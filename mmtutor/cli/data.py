"""Where a run's data come from: the world, a set on the Hub, or a folder of one's own; and what a
frozen network sees in pictures, as the models of the command line read it."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mmtutor import finder, hub, world
from mmtutor.kit import saving, vision

Model = TypeVar("Model", bound=nn.Module)

HELD_BACK = 10  # without a split of its own, each tenth picture of a folder is kept back
WORLD_PIXELS, PIXELS = 96, 224  # the side of pictures, if nobody says
NO_THINGS = ("dishes", "clips")  # the world's data sets that have no such option


@dataclass(frozen=True)
class Source:
    """What ``--data`` names.

    Attributes:
        kind: ``"world"``, ``"hub"`` or ``"folder"``.
        name: the word that was given, a folder as an absolute path.
        path: of a set on the Hub, a copy on disk.
    """

    kind: str
    name: str
    path: str | None = None

    @classmethod
    def of(cls, text: str, sets: tuple[str, ...], *, folders: bool, path: str | None) -> Source:
        """Read ``--data``.

        Args:
            text: what was typed.
            sets: names of the sets on the Hub that the system can learn from.
            folders: whether it can learn from a folder.
            path: what was typed behind ``--path``.

        Raises:
            ValueError: none of these; the message lists what there is.
        """
        if path is not None and text not in sets:
            raise ValueError("--path is a copy of a set on the Hub; name the set with --data")
        if text == "world":
            return cls("world", text)
        if text in sets:
            whole = None if path is None else str(Path(path).expanduser().absolute())
            return cls("hub", text, whole)
        folder = Path(text).expanduser()
        if folders and text and folder.is_dir():
            return cls("folder", str(folder.absolute()))
        if folders and folder.is_file():
            raise ValueError(f"--data must be a folder, and {text!r} is a file: name its folder")
        known = ["world", *sets, *(["a folder of your own"] if folders else [])]
        missing = "there is no folder" if folders else "it does not learn from"
        raise ValueError(f"--data must be one of: {', '.join(known)}; {missing} {text!r}")

    def rows(
        self, name: str, split: str, size: int | None, pixels: int | None, usual: int, **more: Any
    ) -> Any:
        """Rows of a split, ``"train"`` or ``"test"``.

        Args:
            name: of the world's data set.
            split: ``"train"`` or ``"test"``.
            size: at most so many; None: ``usual`` of the world, all of the others.
            pixels: side of the pictures; None: there are none.
            usual: how many the world makes if nobody says.
            more: other options of the world's data set, by default 24 things; of a folder's films
                the number of pictures.
        """
        if self.kind == "world":
            sides = {} if pixels is None else {"pixels": pixels}
            if name not in NO_THINGS:
                more = more or {"things": 24}
            return world.load(name, split, size or usual, **sides, **more)
        if self.kind == "hub":
            return hub.load(self.name, split, size, path=self.path, pixels=pixels)
        read = {"questions": hub.asked, "dishes": hub.recipes}.get(name)
        if read is None:
            films = functools.partial(hub.films, **more)
            read = films if name == "clips" else hub.folder
            read = functools.partial(read, uncaptioned="skip")
        return self._folder(functools.partial(read, pixels=pixels, damaged="skip"), split, size)

    def _folder(self, read: Callable[..., Any], split: str, size: int | None) -> Any:
        """A folder's own test pictures; where it has none, each tenth of all is kept back."""
        with contextlib.suppress(_NoSplit), told():
            own = _split(read, self.name, "test")
            train = _split(read, self.name, "train") if split == "train" else None
            return first(own if train is None else train, size)
        with told():
            whole = read(self.name)
        kept = [row for row in range(len(whole)) if row % HELD_BACK == HELD_BACK - 1]
        rows = kept if split == "test" else sorted(set(range(len(whole))) - set(kept))
        return first(whole.select(rows), size)


class _NoSplit(Exception):
    pass


def _split(read: Callable[..., Any], folder: str, split: str) -> Any:
    if not (Path(folder) / split).is_dir():
        raise _NoSplit
    return read(folder, split)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Warnings about a folder as plain lines: a reader has no use for the line of code."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", hub.FolderWarning)
        try:
            yield
        finally:
            lines = dict.fromkeys(str(w.message) for w in caught)
    import click

    for line in lines:
        click.echo(f"note: {line}", err=True)


def first(rows: Any, size: int | None) -> Any:
    """At most the first so many rows; if there are fewer, it is said."""
    if size is not None and size > len(rows):
        import click

        click.echo(f"note: --size is {size:,}, and there are {len(rows):,}", err=True)
    return rows if size is None or size >= len(rows) else rows.select(range(size))


# --- What a frozen network sees -------------------------------------------------------------------


@dataclass(frozen=True)
class Eyes:
    """A frozen network, and how what it sees is standardized.

    Attributes:
        name: see :class:`mmtutor.kit.vision.ImageEncoder`.
        layer: ``"map"`` or ``"vector"``.
        pixels: side of the pictures that it looks at.
        mean, scale: (C,), of the training pictures: x becomes (x − mean) · scale.
    """

    name: str
    layer: str
    pixels: int
    mean: Tensor
    scale: Tensor

    @classmethod
    def fitted(cls, name: str, layer: str, pixels: int, seen: Tensor) -> Eyes:
        """Take mean and deviation from what was seen in training pictures, (N, C, …)."""
        across = [0, *range(2, seen.ndim)]
        deviation, mean = torch.std_mean(seen.float(), dim=across, correction=0)
        scale = torch.where(deviation > 1e-6, 1 / deviation.clamp(min=1e-6), 0.0)
        return cls(name, layer, pixels, mean, scale)

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> Eyes:
        """Those that were saved beside a model: its ``eyes`` (a :meth:`note`), ``mean`` and ``scale``."""
        return cls(**saved["eyes"], mean=saved["mean"], scale=saved["scale"])

    def standardized(self, seen: Tensor) -> Tensor:
        """Of what the network saw (N, C, …): every channel with mean 0 and deviation 1 on the
        training pictures; float16, as features are kept."""
        shape = (1, -1, *[1] * (seen.ndim - 2))
        return ((seen.float() - self.mean.view(shape)) * self.scale.view(shape)).half()

    def note(self) -> dict[str, Any]:
        """What is saved beside a model; the tensors go beside it too."""
        return {"name": self.name, "layer": self.layer, "pixels": self.pixels}


def with_eyes(kind: type[Model], folder: Path) -> tuple[Model, Eyes, dict[str, Any]]:
    """A trained model, ready for use on the device; its eyes; and all that was saved beside it."""
    from mmtutor.kit.runtime import device

    model, more = saving.load(kind, folder)
    return model.to(device()).eval(), Eyes.of(more), more


def encoder_of(name: str, layer: str) -> vision.ImageEncoder:
    """The frozen network, on the GPU if there is one."""
    from mmtutor.kit.runtime import device

    return vision.ImageEncoder(name, layer=layer).to(device())


def seen_in(rows: Any, encoder: vision.ImageEncoder, cache: bool = True) -> Tensor:
    """What the network sees in the pictures of a data set or of an array, (N, C, …), float16; some
    hundred pictures are in memory at a time."""
    parts = [
        vision.features(
            finder.images_of(rows, start, min(start + finder.CHUNK, len(rows))),
            encoder,
            cache=cache,
        )
        for start in range(0, len(rows), finder.CHUNK)
    ]
    return torch.cat(parts)


def a_file(name: str) -> str:
    """A name that is typed where one picture belongs; a folder is no picture."""
    if name and Path(name).is_dir():
        raise IsADirectoryError(f"{name!r} is a folder; name a picture in it")
    return name


def seen_of(
    files: list[str], eyes: Eyes, encoder: vision.ImageEncoder
) -> Iterator[tuple[str, Tensor | str]]:
    """Each file with what is seen in it, standardized, (1, C, …), or with what is wrong with it."""
    for file in files:
        try:
            picture: np.ndarray = hub.picture(a_file(file), eyes.pixels)
        except (OSError, ValueError) as error:
            yield file, str(error)
            continue
        yield file, eyes.standardized(seen_in(picture[None], encoder, cache=False))
