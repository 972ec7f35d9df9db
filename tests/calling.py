"""The command line as the tests call it, within this process."""

from __future__ import annotations

from pathlib import Path

import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from mmtutor.cli import main

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220)}


def call(*words: object, code: int = 0) -> Result:
    """Give the command these words; it must end with this code."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def refused(*words: object, notes: bool = True) -> str:
    """The last line of a call that must fail; unless ``notes``, nothing may stand above it."""
    lines = call(*words, code=1).stderr.strip().splitlines()
    assert lines[-1].startswith("Error: "), lines
    assert notes or len(lines) == 1, lines
    return lines[-1]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """What a run has learned."""
    (file,) = folder.glob("model-*.safetensors")
    return load_file(file)
