"""Runs that leave a part out: kept one by one, and not measured twice."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "book" / "results" / "parts").glob("*.json"))


def script(folder: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The script, which believes that the repository is in ``folder``."""
    found = importlib.util.spec_from_file_location("parts_script", ROOT / "scripts" / "parts.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    (folder / "book" / "results").mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(module, "ROOT", folder)
    return module


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """An experiment of two parts, and what has been measured."""
    calls: list[tuple[str, int]] = []

    def without(name: str, seed: int) -> dict[str, float]:
        calls.append((name, seed))
        if (name, seed) == ("half", 13):
            raise RuntimeError("power cut")
        return {"score": float(seed) + (name == "all")}

    one = types.SimpleNamespace(PARTS={"all": {}, "half": {}}, without=without)
    monkeypatch.setitem(sys.modules, "mmtutor.experiments.pretended", one)
    return calls


def test_runs_are_kept_and_not_measured_twice(tmp_path, monkeypatch, measured):
    program = script(tmp_path, monkeypatch)
    for seeds in (["2", "1"], ["1", "3"]):
        monkeypatch.setattr(sys, "argv", ["parts.py", "pretended", *seeds])
        program.main()
    assert measured == [(name, seed) for seed in (2, 1, 3) for name in ("all", "half")]
    path = tmp_path / "book" / "results" / "parts" / "pretended.json"
    stored = json.loads(path.read_text("utf-8"))
    assert [(run["part"], run["seed"]) for run in stored] == [
        (name, seed) for seed in (1, 2, 3) for name in ("all", "half")
    ]
    assert [run["values"]["score"] for run in stored] == [2, 1, 3, 2, 4, 3]
    assert [p.name for p in path.parent.iterdir()] == ["pretended.json"]  # nothing half written


def test_some_parts_of_a_seed(tmp_path, monkeypatch, measured, capsys):
    program = script(tmp_path, monkeypatch)
    monkeypatch.setattr(sys, "argv", ["parts.py", "pretended", "1", "--only", "half"])
    program.main()
    assert measured == [("half", 1)]
    monkeypatch.setattr(sys, "argv", ["parts.py", "pretended", "1", "--only", "whole"])
    with pytest.raises(SystemExit):
        program.main()
    assert "no part ['whole']; there are ['all', 'half']" in capsys.readouterr().err
    assert measured == [("half", 1)]


def test_what_was_measured_before_a_failure_stays(tmp_path, monkeypatch, measured):
    program = script(tmp_path, monkeypatch)
    monkeypatch.setattr(sys, "argv", ["parts.py", "pretended", "13"])
    with pytest.raises(RuntimeError, match="power cut"):
        program.main()
    path = tmp_path / "book" / "results" / "parts" / "pretended.json"
    assert [run["part"] for run in json.loads(path.read_text("utf-8"))] == ["all"]


@pytest.mark.parametrize("path", FILES, ids=[p.stem for p in FILES])
def test_stored_parts_are_those_of_the_experiment(path: Path):
    """All parts for the first seed, all or some of them for others, in their order, with the same scores."""
    experiment = importlib.import_module(f"mmtutor.experiments.{path.stem}")
    stored = json.loads(path.read_text("utf-8"))
    seeds = sorted({run["seed"] for run in stored})
    found = {seed: [run["part"] for run in stored if run["seed"] == seed] for seed in seeds}
    assert [run["seed"] for run in stored] == sorted(run["seed"] for run in stored)
    assert found[seeds[0]] == list(experiment.PARTS)
    some = {tuple(parts) for parts in found.values()} - {tuple(experiment.PARTS)}
    assert (
        len(some) <= 1
    )  # further seeds: all parts, or the same few; a run that broke off is neither
    assert all(list(few) == [name for name in experiment.PARTS if name in few] for few in some)
    assert len({tuple(run["values"]) for run in stored}) == 1
    assert all({"seconds", "torch", "commit"} <= run.keys() for run in stored)
