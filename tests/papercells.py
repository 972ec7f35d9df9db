"""The cell of a chapter that works at the paper's sizes, run on a tiny local data set.

A chapter's paper cell (tagged ``paper-scale``) needs the parameters cell and the cell of imports
before it, and nothing else. :func:`run_paper` runs these three as a reader would who has set
``scale = "paper"``. What a reader waits hours for is cut: the data (``hub`` reads small files of the
real columns), the networks whose weights would be downloaded (of the same shapes, and blind), and
the number of steps. The code of the cell, and the sizes of the model, are the real ones.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import math
import re
import socket
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
#: Channels of the map and of the vector of the networks that torchvision would download.
CHANNELS = {
    "vgg19": (512, 512),
    "vgg16": (512, 512),
    "googlenet": (832, 1024),
    "resnet18": (256, 512),
    "resnet50": (1024, 2048),
    "resnet101": (1024, 2048),
}


def chapters() -> list[str]:
    """The numbered chapters in the table of contents: ``["01_fusion", …]``."""
    return re.findall(r"book/(\d\d_\w+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))


def tagged(chapter: str, tag: str) -> list[str]:
    """The code cells of a chapter that carry a tag."""
    return [c["source"] for c in _code(chapter) if tag in c["tags"]]


def _code(chapter: str) -> list[dict[str, Any]]:
    text = (ROOT / "book" / f"{chapter}.ipynb").read_text(encoding="utf-8")
    return [
        {"source": "".join(cell["source"]), "tags": cell["metadata"].get("tags", [])}
        for cell in json.loads(text)["cells"]
        if cell["cell_type"] == "code"
    ]


def paper_branch(source: str) -> list[ast.stmt]:
    """What stands under ``if scale == "paper":`` in a cell; empty if nothing does."""
    wanted = ast.dump(ast.parse('scale == "paper"', mode="eval").body)
    for node in ast.parse(source).body:
        if isinstance(node, ast.If) and ast.dump(node.test) == wanted:
            return node.body
    return []


def calls(branch: list[ast.stmt]) -> set[str]:
    """The last names of all functions that are called: ``fit`` of ``training.fit(…)``."""
    functions = [n.func for s in branch for n in ast.walk(s) if isinstance(n, ast.Call)]
    return {getattr(f, "attr", getattr(f, "id", "")) for f in functions}


def left_at_home(branch: list[ast.stmt]) -> int:
    """How many frozen networks the branch makes and does not bring to the device: a GPU would be idle
    while they look at the pictures, which takes longer than all else."""
    nodes = [n for s in branch for n in ast.walk(s) if isinstance(n, ast.Call)]
    made = [n for n in nodes if ast.unparse(n.func).split(".")[-1] == "ImageEncoder"]
    brought = [
        n for n in nodes if ast.unparse(n).endswith(".to(device())") and n.func.value in made
    ]
    return len(made) - len(brought)


@dataclass
class Run:
    """One training that the cell began.

    Args:
        model: what was trained.
        settings: what the cell asked for, before it was cut.
        losses: of the few steps that were made.
        moved: the names of the trainable parameters that changed.
    """

    model: nn.Module
    settings: dict[str, Any]
    losses: list[float]
    moved: set[str]


@dataclass
class Paper:
    """What the cell left behind: its names, its trainings, what it printed, who asked for the network."""

    names: dict[str, Any]
    runs: list[Run] = field(default_factory=list)
    printed: str = ""
    calls_out: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> Any:
        return self.names[name]

    def check(self, trainings: int = 1) -> None:
        """So many trainings, each with finite losses and moved weights, and nobody used a network."""
        assert self.calls_out == []
        assert len(self.runs) == trainings
        for run in self.runs:
            assert run.losses
            assert all(map(math.isfinite, run.losses))
            assert run.moved


def blind(name: str, layer: str, pretrained: bool) -> tuple[nn.Module, int, tuple, tuple]:
    """Stands in for a network of torchvision: the same grid and channels from one convolution."""
    assert pretrained, "a paper's encoder is a trained one"
    channels = CHANNELS[name][layer != "map"]
    stride = 16 if layer == "map" or name.startswith("vgg") else 32
    body = nn.Sequential(nn.Conv2d(3, channels, stride, stride), nn.ReLU())
    return body, channels, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def cut(fit: Callable[..., Any], runs: list[Run], changes: Mapping[str, Any]) -> Callable[..., Any]:
    """``training.fit`` for a few steps. All other settings of the cell go to the real function."""

    def short(model: nn.Module, data: Any, **settings: Any) -> Any:
        before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        history = fit(model, data, **{**settings, "epochs": 1, "log_every": 1, **changes})
        after = dict(model.named_parameters())
        moved = {n for n, old in before.items() if not _same(old, after[n])}
        runs.append(Run(model, settings, list(history.losses["loss"]), moved))
        return history

    return short


def _same(old: Tensor, new: Tensor) -> bool:
    return torch.equal(old, new.detach().to(old.device))


def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nobody reaches another machine; returns the list that names who tries."""
    tried: list[str] = []

    def refuse(*where: Any, **_: Any) -> None:
        tried.append(str(where))
        raise OSError("a test does without a network")

    # Reading a local file, too, `datasets` reports its use.
    monkeypatch.setattr("datasets.config.HF_UPDATE_DOWNLOAD_COUNTS", False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    return tried


def run_paper(
    chapter: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    steps: int = 2,
    fits: tuple[str, ...] = ("mmtutor.kit.training.fit",),
    prepare: Callable[[dict[str, Any]], None] | None = None,
    replace: Mapping[str, str] | None = None,
    **changes: Any,
) -> Paper:
    """Run a chapter's parameters, imports and paper cell with ``scale = "paper"``.

    Args:
        chapter: its file's name without the ending, such as ``"08_show_and_tell"``.
        monkeypatch: undoes at the end of the test what is replaced here.
        steps: of each training.
        fits: the functions that train, by their full names; each takes ``training.fit``'s settings.
        prepare: called with the chapter's names before the paper cell; replaces what is too large
            for a test. The test says what and why.
        replace: texts of the cell and what stands for them, such as the path of a folder; each must
            occur exactly once.
        changes: further settings of the training, such as ``batch_size=4``.

    Returns:
        What the cell left behind.
    """
    code = _code(chapter)
    (first,) = (k for k, cell in enumerate(code) if "parameters" in cell["tags"])
    (paper,) = (cell["source"] for cell in code if "paper-scale" in cell["tags"])
    for old, new in (replace or {}).items():
        assert paper.count(old) == 1, f"{old!r} must stand in the cell once"
        paper = paper.replace(old, new)

    left = Paper({"__name__": "__main__"}, calls_out=no_network(monkeypatch))
    monkeypatch.setenv("MMTUTOR_PROGRESS", "0")
    monkeypatch.setattr("mmtutor.kit.vision._torchvision", blind)
    for name in fits:
        module, _, function = name.rpartition(".")
        real = getattr(__import__(module, fromlist=[function]), function)
        monkeypatch.setattr(name, cut(real, left.runs, {"max_steps": steps, **changes}))
    out = io.StringIO()
    # the cell's checkpoints (my/…) lie in a folder of the test
    with (
        tempfile.TemporaryDirectory() as own,
        contextlib.chdir(own),
        contextlib.redirect_stdout(out),
    ):
        exec(compile(code[first]["source"], f"{chapter} parameters", "exec"), left.names)
        assert left.names["scale"] == "world"
        left.names["scale"] = "paper"
        exec(compile(code[first + 1]["source"], f"{chapter} imports", "exec"), left.names)
        if prepare is not None:
            prepare(left.names)
        out.seek(out.truncate(0))
        exec(compile(paper, f"{chapter} paper", "exec"), left.names)
    left.printed = out.getvalue()
    return left
