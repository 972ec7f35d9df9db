"""Whether training gives the same numbers before and after a change: python scripts/same_numbers.py COMMIT

Systems of every kind and the settings of ``kit.training.fit`` are trained with the package of COMMIT
and with that of this checkout, each in a process of its own: on the same drawn batches, whole, and
in two processes. Weights, histories and everything in the checkpoints must be equal to the last bit. Then
each code goes on from the checkpoint that the other one wrote half-way, to the same end. What some
experiments measure, of drawn vectors, must be equal too.

With ``--write`` and ``--because`` the script then enters the named definitions in
``mmtutor/page/equal_code.json``: their present text counts as that of COMMIT, and stored results
keep their fingerprints (see ``mmtutor/page/fingerprint.py``)::

    python scripts/same_numbers.py bc33b89 --write mmtutor.kit.training:fit --because "only a clearer error"

A definition that the runs did not come to, of either package, is refused: equal results say nothing of it.

It takes some minutes on one thread of a CPU. The models and batches are those of COMMIT's
``tests/test_cuda.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import importlib.util
import inspect
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
SEVERAL = "two processes"
# Beside those that the tests train: the paper's way to draw pairs, a product, faces.
MORE = ("recipes, drawn", "fusion, product", "speech2face, faces")
# Of the systems, those that are trained in two processes too; the settings of fit all are.
SPREAD = ("show_and_tell", "joint_embedding", "vqa", "fusion, modality dropout")


# --- In a process with one of the two packages ----------------------------------------------------


def runs() -> dict[str, tuple[Callable[[], Any], Any, dict[str, Any]]]:
    """Name → how to make the model, the data, the settings of ``fit``."""
    import test_cuda as cases
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, Dataset

    torch.manual_seed(0)
    common = {"epochs": 2, "batch_size": 4, "lr": 1e-3, "log_every": 1, "checkpoint_every": 1}
    made: dict[str, Any] = {}
    for name in SPREAD if _several() else (*cases.FITTED, *MORE):
        case = cases.WORLD[name]
        made[name] = (functools.partial(remade, case), case.data(11), common)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second = nn.Linear(3, 5), nn.Linear(5, 1)
            self.frozen, self.dropout = nn.Linear(5, 5).requires_grad_(False), nn.Dropout(0.3)
            self.register_buffer("seen", torch.zeros(()))

        def loss(self, batch: dict[str, Any]) -> dict[str, Any]:
            self.seen += len(batch["x"])
            h = self.dropout(torch.tanh(self.first(batch["x"])))
            error = (self.second(self.frozen(h)) - batch["y"]).square().mean()
            return {"fit": error, "size": 0.1 * self.first.weight.square().sum()}

    class Rows(Dataset):
        def __init__(self, noise: float = 0.0) -> None:
            self.noise = noise

        def __len__(self) -> int:
            return 23

        def __getitem__(self, i: int) -> dict[str, Any]:
            return {"x": x[i] + self.noise * torch.rand(3), "y": y[i]}

    x, y = torch.randn(23, 3), torch.randn(23, 1)
    table = {"x": x, "y": y}
    settings: dict[str, tuple[Any, dict[str, Any]]] = {
        "plain": (table, {}),
        "accumulated": (table, {"accumulate": 3}),
        "SGD, no clipping, warm-up": (table, {"clip": None, "warmup": 3, "optimizer": _sgd}),
        "clipped, decayed, linear": (
            table,
            {"clip": 0.1, "weight_decay": 0.1, "schedule": "linear"},
        ),
        "a schedule of one's own": (table, {"schedule": _half}),
        "bf16": (table, {"precision": "bf16"}),
        "stopped early, drop_last": (table, {"max_steps": 7, "drop_last": True}),
        "validated": (table, {"validate": _score, "seed": 7, "log_every": 3}),
        "a dataset that draws at random": (Rows(0.1), {}),
        "a loader": (DataLoader(Rows(), batch_size=5), {"accumulate": 2}),
        "a shuffled loader": (DataLoader(Rows(), batch_size=5, shuffle=True), {}),
    }
    for name, (data, more) in settings.items():
        made[name] = (Net, data, common | {"lr": 0.05, "batch_size": 5} | more)
    return made


def remade(case: Any) -> Any:
    """The model of a case, of settings that are made anew, so that their code runs too."""
    return dataclasses.replace(case, config=dataclasses.replace(case.config)).model()


def _several() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _sgd(parameters: Any, lr: float, weight_decay: float) -> Any:
    import torch

    return torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay, momentum=0.9)


def _half(step: int, total: int) -> float:
    return 0.5 + 0.5 * step / total


def _score(model: Any) -> dict[str, float]:
    return {"sum": float(sum(p.sum() for p in model.parameters()))}


class _Halt(Exception):
    pass


@contextlib.contextmanager
def executed() -> Iterator[set[str]]:
    """The functions and classes of the package, as MODULE:NAME, of which something runs meanwhile: of
    a class a method that stands in its text, not what a dataclass is given."""
    seen: dict[Any, str] = {}
    found: set[str] = set()

    def notes(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code not in seen:
            seen[frame.f_code] = str(frame.f_globals.get("__name__"))

    before = sys.getprofile()
    sys.setprofile(notes)
    try:
        yield found
    finally:
        sys.setprofile(before)
        for code, module in seen.items():
            # The bodies of modules and classes run when they are imported.
            body = not code.co_flags & inspect.CO_OPTIMIZED
            if body or code.co_filename.startswith("<") or module.split(".")[0] != "mmtutor":
                continue
            name, *inner = code.co_qualname.split(".")
            if not name.startswith("<") and inner[:1] not in (["<lambda>"], ["<listcomp>"]):
                found.add(f"{module}:{name}")


def inside(folder: Path, go_on: Path | None) -> None:
    """Train everything into ``folder``: with ``go_on``, from the checkpoints that lie there half-way.
    Beside it goes what was executed."""
    import torch

    rank, wanted = os.environ.get("RANK", "0"), runs()
    with executed() as found:
        train_all(wanted, folder, go_on, rank)
        if not _several():
            torch.save(measured(), folder / "measured.pt")
    told = json.dumps(sorted(found))
    folder.with_name(f"{folder.name} executed {rank}.json").write_text(told, encoding="utf-8")
    if _several():
        torch.distributed.barrier()
        print(end="", flush=True)
        os._exit(0)  # torch itself aborts now and then when it takes gloo down


def measured() -> dict[str, Any]:
    """What experiments ask of vectors that are drawn, not trained."""
    import torch

    from mmtutor.experiments import word2vec as experiment
    from mmtutor.kit.text import Vocabulary
    from mmtutor.word2vec import WordVectors

    g = torch.Generator().manual_seed(0)
    found: dict[str, Any] = {}
    for count in (3, 1000):  # of each relation three pairs, and all
        pairs = [pair for known in experiment.RELATIONS.values() for pair in known[:count]]
        vocabulary = Vocabulary([word for pair in pairs for word in pair], specials=())
        vectors = WordVectors(vocabulary, torch.randn(len(vocabulary), 8, generator=g))
        found[f"questions, {count}"] = experiment.questions(vectors)
        for method in ("offset", "only c", "frequency"):
            share = experiment.analogy_accuracy(vectors, 5, method)
            found[f"analogies, {count}, {method}"] = share
    return {**found, "a voice that is settled": settled(g)}


def settled(g: Any) -> dict[str, Any]:
    """A voice encoder in units of drawn faces, trained a little, and its last layer put right."""
    import torch

    from mmtutor.kit.training import fit
    from mmtutor.speech2face import Config, Speech2Face, pulls

    torch.manual_seed(0)
    model = Speech2Face(Config.world())
    seen = torch.randn(90, model.config.feature, generator=g)
    heard = seen + torch.randn(90, model.config.feature, generator=g)
    model.gauge(seen)
    batch = {"wave": 0.1 * torch.randn(8, 40_000, generator=g), "vector": seen[:8]}
    history = fit(model, batch, batch_size=4, epochs=2, log_every=1, progress=False)
    pull = {k: pulls(model, seen, heard)[k] for k in ("decoder", "vector", "person")}
    model.settle(heard, seen)
    return {"weights": dict(model.state_dict()), "history": vars(history), "pull": pull}


def train_all(wanted: dict[str, Any], folder: Path, go_on: Path | None, rank: str) -> None:
    """Train whatever :func:`runs` names."""
    import torch

    from mmtutor.kit.training import fit

    for number, (name, (make, data, settings)) in enumerate(wanted.items()):
        checkpoint = folder / f"{number}.pt"
        whole = {**settings, "checkpoint": checkpoint}
        if go_on is not None:
            shutil.copy(go_on / f"{number} half.pt", checkpoint)
        elif not _several():  # the same run, broken off after some steps
            half, loss, calls = make(), None, 0
            loss = half.loss

            def stops(batch: Any, loss: Any = loss) -> Any:
                nonlocal calls
                calls += 1
                if calls > 5 if settings.get("accumulate", 1) > 1 else calls > 3:  # noqa: B023
                    raise _Halt
                return loss(batch)

            half.loss = stops
            try:
                fit(half, data, **{**whole, "checkpoint": folder / f"{number} half.pt"})
                raise AssertionError(f"{name} was not broken off")
            except _Halt:
                pass
        model = make()
        history = fit(model, data, **whole)
        told = {"name": name, "weights": dict(model.state_dict()), "history": vars(history)}
        torch.save(told, folder / f"{number} end {rank}.pt")


def differing(a: Any, b: Any, where: str = "") -> Iterator[str]:
    """Where two values are not the same to the last bit."""
    import torch

    if type(a) is not type(b):
        yield f"{where}: {type(a).__name__} and {type(b).__name__}"
    elif isinstance(a, torch.Tensor):
        if a.dtype != b.dtype or a.shape != b.shape or a.stride() != b.stride():
            yield f"{where}: {a.dtype} {tuple(a.shape)} and {b.dtype} {tuple(b.shape)}"
        elif a.contiguous().numpy().tobytes() != b.contiguous().numpy().tobytes():
            yield f"{where}: other numbers"
    elif isinstance(a, dict):
        if list(a) != list(b):
            yield f"{where}: the names {list(a)} and {list(b)}"
        for key in a.keys() & b.keys():
            yield from differing(a[key], b[key], f"{where} {key}")
    elif isinstance(a, (list, tuple)):
        if len(a) != len(b):
            yield f"{where}: {len(a)} and {len(b)} values"
        for i, (one, other) in enumerate(zip(a, b)):
            yield from differing(one, other, f"{where} {i}")
    elif repr(a) != repr(b):  # NaN is itself here
        yield f"{where}: {a!r} and {b!r}"


# --- Outside --------------------------------------------------------------------------------------


def unpacked(commit: str, folder: Path) -> Path:
    """The package, with its experiments, and the tests of a commit."""
    command = ["git", "archive", commit, "mmtutor", "experiments", "tests"]
    packed = subprocess.run(command, cwd=HERE, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as file:
        file.extractall(folder, filter="data")
    (folder / "experiments").rename(folder / "mmtutor" / "experiments")  # as it is installed
    return folder


def train(package: Path, tests: Path, folder: Path, go_on: Path | None, several: bool) -> None:
    folder.mkdir()
    paths = os.pathsep.join([str(package), str(tests)])
    told = {"PYTHONPATH": paths, "MMTUTOR_DEVICE": "cpu", "MMTUTOR_PROGRESS": "0"}
    command = [sys.executable]
    if several:
        options = "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no"
        command += ["-m", "accelerate.commands.launch", *options.split()]
        command += ["--dynamo_backend", "no", "--main_process_port", "0"]
    command += [str(Path(__file__).resolve()), "--inside", str(folder), "--package", str(package)]
    command += ["--go-on", str(go_on)] if go_on else []
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ACCELERATE_", "MMTUTOR_"))}
    done = subprocess.run(
        command, env=kept | told | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-3000:]}")


def compare(before: Path, after: Path, work: Path) -> tuple[int, list[str], set[str]]:
    """How many files were compared, what differs, and what was executed of both packages."""
    import torch

    tests, folders = before / "tests", {}
    for name, package in (("before", before), ("after", after)):
        folders[name] = work / name
        train(package, tests, folders[name], None, several=False)
        folders[f"{name} {SEVERAL}"] = work / f"{name} several"
        train(package, tests, folders[f"{name} {SEVERAL}"], None, several=True)
    for name, package, other in (("before", before, "after"), ("after", after, "before")):
        folders[f"{name} goes on"] = work / f"{name} goes on"
        train(package, tests, folders[f"{name} goes on"], folders[other], several=False)
    found, count = [], 0
    pairs = [("before", "after"), (f"before {SEVERAL}", f"after {SEVERAL}")]
    pairs += [("before", "after goes on"), ("before", "before goes on")]
    for one, other in pairs:
        files, there = ({path.name for path in folders[f].iterdir()} for f in (one, other))
        if "goes on" in other:  # it begins half-way
            files = {name for name in files if "half" not in name}
        if files != there:
            found.append(f"{one} and {other} wrote other files: {sorted(files ^ there)}")
        for name in sorted(files & there):
            a, b = (torch.load(folders[f] / name, weights_only=True) for f in (one, other))
            found += [f"{one} / {other}: {name}{x}" for x in list(differing(a, b))[:3]]
            count += 1
    ran: dict[str, set[str]] = {"before": set(), "after": set()}
    for path in work.glob("* executed *.json"):
        ran[path.name.split()[0]].update(json.loads(path.read_text(encoding="utf-8")))
    return count, found, ran["before"] & ran["after"]


def fingerprints(package: Path) -> Any:
    """This checkout's ``fingerprint.py``, looking at a package."""
    code = HERE / "mmtutor" / "page" / "fingerprint.py"
    spec = importlib.util.spec_from_file_location("fingerprint_of_another_package", code)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def earlier(place: str) -> dict[str, Any]:
    """A definition of the package at hand, as an entry keeps it: as its own entry says, if it has one."""
    found = fingerprints(HERE)
    module, name = place.split(":")
    entry = found.entries().get(place)
    if entry is not None and found.holds(place):
        return {key: entry[key] for key in ("earlier", "reaches", "before")}
    lines = found._file(module).read_text(encoding="utf-8").splitlines()
    source = []
    for node in found._module(module).definitions[name]:
        first = min(n.lineno for n in [node, *getattr(node, "decorator_list", [])])
        source += textwrap.dedent("\n".join(lines[first - 1 : node.end_lineno])).splitlines()
    reaches = {f"{m}{' ' if m == 'data' else ':'}{n}" for m, n in found._present(module, name)[1]}
    return {"earlier": source, "reaches": sorted(reaches)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit", nargs="?", help="the code before")
    parser.add_argument("--write", nargs="+", default=[], metavar="MODULE:NAME")
    parser.add_argument("--because", help="why no number can move")
    for name in ("--inside", "--package", "--go-on"):
        parser.add_argument(name, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--earlier", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.earlier:
        print(json.dumps(earlier(options.earlier)))
        return
    if options.inside:
        import mmtutor

        assert Path(mmtutor.__file__).resolve().is_relative_to(options.package.resolve())
        inside(options.inside, options.go_on)
        return
    if not options.commit or (options.write and not (options.because or "").strip()):
        parser.error("name the commit before; and with --write, say --because of what")
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", f"{options.commit}^{{commit}}"],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    with tempfile.TemporaryDirectory() as work:
        before = unpacked(commit, Path(work) / "code before")
        after = Path(work) / "code after"  # a copy: nobody may edit it meanwhile
        shutil.copytree(HERE / "mmtutor", after / "mmtutor")
        if not (after / "mmtutor" / "experiments").exists():
            shutil.copytree(HERE / "experiments", after / "mmtutor" / "experiments")
        count, found, ran = compare(before, after, Path(work))
        print(*found or [f"{count} files are the same to the last bit"], sep="\n")
        if found:
            sys.exit(1)
        if options.write:
            refuse(options.write, ran)
            register(options.write, options.because, commit, count, before)


def refuse(places: list[str], ran: set[str]) -> None:
    """End here where equal results say nothing of a definition."""
    if missed := sorted(set(places) - ran):
        sys.exit(f"no run, of before and of after, came to {', '.join(missed)}: nothing is entered")


def register(places: list[str], because: str, commit: str, count: int, before: Path) -> None:
    """Enter definitions in the list of equal code."""
    import torch

    path = HERE / "mmtutor" / "page" / "equal_code.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    for place in places:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).resolve()), "--earlier", place],
            env=os.environ | {"PYTHONPATH": str(before)},
            capture_output=True,
            text=True,
            check=True,
        )
        told[place] = {
            "because": because,
            "compared": f"scripts/same_numbers.py {commit}: {count} files of weights, histories and "
            f"checkpoints the same to the last bit (torch {torch.__version__}, CPU)",
            "before": commit,
            "present": "",
            **json.loads(done.stdout),
        }
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.path.insert(0, str(HERE))
    for place in places:
        now = fingerprints(HERE)
        assert Path(now._file(place.split(":")[0])).is_relative_to(HERE)
        told[place]["present"] = now.standing(place)
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
