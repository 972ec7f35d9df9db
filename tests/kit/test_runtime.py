"""Device, seeds, the check of the environment, and how cheap it is to import the package."""

import functools
import importlib
import os
import random
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

import mmtutor
from mmtutor.kit import runtime


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that torch finds so many GPUs."""

    def pretend(n: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: n > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: n)

    return pretend


@pytest.mark.parametrize(
    ("wanted", "found", "expected"),
    [
        (None, 0, "cpu"),
        (None, 2, "cuda"),
        ("", 2, "cuda"),
        (" cpu ", 2, "cpu"),
        ("cuda", 1, "cuda"),
        ("cuda:1", 2, "cuda:1"),
    ],
)
def test_device(monkeypatch, gpus, wanted, found, expected):
    gpus(found)
    monkeypatch.delenv("MMTUTOR_DEVICE", raising=False)
    if wanted is not None:
        monkeypatch.setenv("MMTUTOR_DEVICE", wanted)
    assert mmtutor.device() == torch.device(expected)


@pytest.mark.parametrize(
    ("wanted", "found", "said"),
    [
        ("gpu", 1, "'gpu' is not a torch device; use 'cpu', 'cuda'"),
        ("cuda:one", 1, "is not a torch device"),
        ("cuda", 0, "finds no CUDA device here; use 'cpu' or unset it"),
        ("cuda:2", 2, r"finds 2 CUDA device\(s\) here"),
        ("mps", 0, "finds no MPS device here"),
    ],
)
def test_a_device_that_is_not_there(monkeypatch, gpus, wanted, found, said):
    gpus(found)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setenv("MMTUTOR_DEVICE", wanted)
    with pytest.raises(ValueError, match=said):
        mmtutor.device()


def test_mps_is_used_only_when_asked_for(monkeypatch, gpus):
    gpus(0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.delenv("MMTUTOR_DEVICE", raising=False)
    assert mmtutor.device().type == "cpu"
    monkeypatch.setenv("MMTUTOR_DEVICE", "mps")
    assert mmtutor.device().type == "mps"


def draws() -> list[list[float]]:
    return [[random.random() for _ in range(3)], np.random.rand(3).tolist(), torch.rand(3).tolist()]  # noqa: NPY002


@pytest.mark.parametrize("missing", [True, False])
def test_the_set_up_cell_of_colab(monkeypatch, capsys, missing):
    """Run as a cell, pip taken away: it installs what is missing, from the repository, and says
    what the chapter runs on; outside Colab it does nothing."""
    from IPython.core.inputtransformer2 import TransformerManager

    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "scripts"))
    from check_notebooks import repository_address, setup_source

    asked = []

    class Shell:
        def run_line_magic(self, name, line):
            asked.append((name, line))

    code = TransformerManager().transform_cell(setup_source())
    exec(code, {"get_ipython": Shell})
    assert (asked, capsys.readouterr().out) == ([], "")
    find = importlib.util.find_spec
    hidden = ("mmtutor",) if missing else ()
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n in hidden else find(n))
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    monkeypatch.setenv("MMTUTOR_DEVICE", "cpu")
    exec(code, {"get_ipython": Shell})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(asked) + 1 == missing + 1
    for name, line in asked:
        assert name == "pip"
        assert line.startswith("install -q ")
        assert f"git+{repository_address()}" in line
    assert lines[-1] == runtime.where()


def test_where_it_runs(monkeypatch, gpus):
    monkeypatch.delenv("MMTUTOR_DEVICE", raising=False)
    gpus(0)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert "the CPU (1 thread);" in runtime.where()
        assert "Change runtime type" in runtime.where()
    finally:
        torch.set_num_threads(threads)
    gpus(1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda d: f"Big Card on {d}")
    assert runtime.where().endswith("is installed. Models train on: Big Card on cuda.")
    assert mmtutor.__version__ in runtime.where()
    monkeypatch.setenv("MMTUTOR_DEVICE", "cpu")
    assert "though there is a GPU" in runtime.where()


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1, np.int64(5)])
def test_seed_everything_reaches_all_three_libraries(seed):
    assert mmtutor.seed_everything(seed) == seed
    first = draws()
    others = draws()
    mmtutor.seed_everything(seed)
    assert draws() == first
    assert all(a != b for a, b in zip(first, others))
    assert first[0] == [random.Random(int(seed)).random(), *first[0][1:]]
    assert first[1] == np.random.RandomState(int(seed)).rand(3).tolist()
    assert first[2] == torch.rand(3, generator=torch.Generator().manual_seed(int(seed))).tolist()


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, "1", None, True])
def test_seeds_that_are_none(seed):
    before = random.getstate()
    with pytest.raises(ValueError, match=r"seed must be an integer in \[0, 2\*\*32\)"):
        mmtutor.seed_everything(seed)
    assert random.getstate() == before


# --- the environment ------------------------------------------------------------------------------


def test_the_check_is_silent_here(capsys):
    runtime.check_environment()
    assert capsys.readouterr() == ("", "")


def test_the_check_names_what_is_missing_and_what_is_old(monkeypatch, capsys):
    lines = [
        "torch>=2.6",
        "absent-package>=3",
        "numpy>=1.26",
        "optional>=9; extra == 'book'",
        "dev-of-it>=2.0",
        "?broken",
    ]
    versions = {"torch": "2.1.0+cu121", "numpy": "2.0", "dev-of-it": "2.1.dev1"}

    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    monkeypatch.setattr(metadata, "version", version)
    runtime.check_environment()
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 2
    assert out[0].startswith("too old: torch 2.1.0+cu121, needs >=2.6")
    assert out[1] == "missing: absent-package>=3 (pip install 'absent-package>=3')"


def test_the_check_says_so_where_the_package_is_not_installed(monkeypatch, capsys):
    def requires(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    runtime.check_environment()
    assert "not installed; run `pip install -e .`" in capsys.readouterr().out


def test_the_check_works_without_the_library_that_reads_versions(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    runtime.check_environment()
    assert capsys.readouterr().out == "missing: packaging (pip install packaging)\n"


# --- importing ------------------------------------------------------------------------------------

FRESH = """
import sys
import mmtutor
heavy = {"torch", "numpy", "PIL", "matplotlib", "IPython", "datasets", "accelerate", "pandas", "scipy", "packaging"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
print(sorted(name for name in sys.modules if name.startswith("mmtutor")))
mmtutor.show_source, mmtutor.check_environment
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""


def test_importing_the_package_loads_nothing_heavy():
    root = Path(mmtutor.__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-c", FRESH],
        cwd=root,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert run.stderr == ""
    assert run.stdout.splitlines() == ["[]", "['mmtutor']", "[]"]


def test_the_package_lists_and_loads_its_names():
    names = dir(mmtutor)
    assert names == sorted(names)
    assert set(mmtutor.__all__) <= set(names)
    assert {"kit", "page", "sound", "world", "hub", "word2vec"} <= set(names)
    assert {"text", "training", "vision", "cache"} <= set(dir(mmtutor.kit))
    assert {"plotting", "ledger", "widgets"} <= set(dir(mmtutor.page))
    assert mmtutor.device is runtime.device
    assert mmtutor.kit.text.tokenize("A b") == ["a", "b"]


def test_an_unknown_attribute_is_an_error():
    with pytest.raises(AttributeError, match="module 'mmtutor' has no attribute 'sounds'"):
        _ = mmtutor.sounds
    assert not hasattr(mmtutor, "__wrapped__")


@pytest.mark.parametrize("old", ["text", "vision", "training", "ledger", "widgets", "world._cache"])
def test_there_is_one_path_to_each_module(old):
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"mmtutor.{old}")
    with pytest.raises(AttributeError, match="has no attribute"):
        functools.reduce(getattr, old.split("."), mmtutor)
