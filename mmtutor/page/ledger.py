"""The claims ledger: one path from a measurement to every page that shows it.

1. ``mmtutor/page/claims.json`` holds the text of each claim, and nothing else does.
2. ``experiments/<system>.py`` lists one :class:`Experiment` a claim: a rule in words, the same rule as a function, and a
   function that measures one seed.
3. ``python -m mmtutor.page.ledger run`` measures every claim over its seeds and writes ``book/results/<system>.json`` after each
   single run, so that a kill at any point loses one run at most.
4. A chapter prints a claim from that file (:func:`show`), measures one seed afresh and asserts that the number lies where
   the file says (:func:`live`). The ledger page reads the same files.

An interval is a Student t interval at 95 % for the mean over seeds. A rule is written before its number, and the ledger
prints ✗ where it does not hold.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import inspect
import json
import math
import os
import platform
import subprocess
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parent.parent
Values = Mapping[str, float | Sequence[float]]  # what one run of an experiment measures


@dataclass(frozen=True)
class Claim:
    """The words of a claim, as the lectures assert it."""

    id: str
    text: str
    part: str
    chapter: str
    measure: str
    expected: str


@dataclass(frozen=True)
class Summary:
    """The mean of one measured number over seeds, with its 95 % Student t interval."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if self.n == 1 or self.low == self.high:
            return f"{number(self.mean)}"
        return f"{number(self.mean)} [{number(self.low)}, {number(self.high)}]"


@dataclass(frozen=True)
class Experiment:
    """How one claim is measured and judged.

    Args:
        id: the claim, for example ``"C05"``.
        rule: the rule in words. It is written before the number is known.
        measure: ``measure(seed, **settings)`` returns ``{name: number or list of numbers}`` for one seed.
        holds: the rule as a function of ``{name: Summary or list of Summary}``.
        headline: which measured name the ledger prints.
        unit: what the headline number is, in two or three words.
        seeds: how many seeds, counted from 0. Use 1 where nothing is random, and say so in the rule.
        settings: keyword arguments for ``measure``, stored beside the numbers.
    """

    id: str
    rule: str
    measure: Callable[..., Values]
    holds: Callable[[dict[str, Any]], bool]
    headline: str
    unit: str = ""
    seeds: int = 5
    settings: Mapping[str, Any] = field(default_factory=dict)

    # A hash of the measuring function's source and its settings: runs with another one are measured anew. It is taken
    # when the experiment is made, because Python reads the source from disk, where it may be edited during a long sweep.
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        text = textwrap.dedent(inspect.getsource(self.measure)) + json.dumps(dict(self.settings), sort_keys=True)
        object.__setattr__(self, "fingerprint", hashlib.sha256(text.encode()).hexdigest()[:16])


# --- Claim texts -------------------------------------------------------------------------------------------------------


def all_claims() -> dict[str, Claim]:
    """Every claim by its id, in the order of the ids."""
    path = Path(__file__).parent / "claims.json"
    return {key: Claim(id=key, **fields) for key, fields in json.loads(path.read_text(encoding="utf-8")).items()}


def claim_text(id: str) -> Claim:
    """The claim with this id.

    Raises:
        KeyError: no such claim; the message names the range of ids.
    """
    claims = all_claims()
    if id not in claims:
        raise KeyError(f"unknown claim {id!r}; the ledger knows {next(iter(claims))} to {list(claims)[-1]}")
    return claims[id]


# --- Numbers -----------------------------------------------------------------------------------------------------------


def number(x: float) -> str:
    """A number to three significant digits, without an exponent where one can read it."""
    if x == 0 or not math.isfinite(x):
        return f"{x:g}"
    if abs(x) >= 1000:
        return f"{x:,.0f}"
    if abs(x) < 1e-3:
        return f"{x:.1e}"
    return f"{x:.3g}"


def summarize(samples: Sequence[float]) -> Summary:
    """Mean and 95 % Student t interval of a few samples, one a seed.

    Raises:
        ValueError: no sample, or one that is not finite.
    """
    values = [float(v) for v in samples]
    if not values or not all(math.isfinite(v) for v in values):
        raise ValueError(f"summarize needs at least one finite number, got {values}")
    n, mean = len(values), math.fsum(values) / len(values)
    if n == 1 or min(values) == max(values):
        return Summary(mean, mean, mean, n)
    from scipy.stats import t

    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = float(t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
    return Summary(mean, mean - half, mean + half, n)


def _summaries(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Summary of every measured name over the runs; lists are summarized place by place."""
    out: dict[str, Any] = {}
    for name, first in runs[0]["values"].items():
        columns = [run["values"][name] for run in runs]
        if isinstance(first, list):
            out[name] = [summarize(column) for column in zip(*columns, strict=True)]
        else:
            out[name] = summarize(columns)
    return out


# --- Files -------------------------------------------------------------------------------------------------------------


def results_dir() -> Path:
    """The folder of the result files: inside an installed package, else ``book/results`` of the checkout."""
    installed = _PACKAGE / "results"
    return installed if installed.is_dir() else _PACKAGE.parent / "book" / "results"


@dataclass(frozen=True)
class Result:
    """The stored measurement of one claim."""

    id: str
    system: str
    rule: str
    headline: str
    unit: str
    holds: bool
    summary: dict[str, Any]
    runs: list[dict[str, Any]]

    def __getitem__(self, name: str) -> Any:
        if name not in self.summary:
            raise KeyError(f"{self.id} measured {sorted(self.summary)}, not {name!r}")
        return self.summary[name]


def result_files(folder: str | Path) -> list[Path]:
    """The result files of a folder, in the order of their names. Hidden ones (a Mac's ``._`` side-car files) are none."""
    return sorted(Path(folder).glob("[!.]*.json"))


def results(system: str | None = None, folder: str | Path | None = None) -> dict[str, Result]:
    """The stored results of one system, or of all, by claim id.

    Raises:
        FileNotFoundError: the system has no result file.
        ValueError: a file is damaged.
    """
    folder = Path(folder or results_dir())
    paths = result_files(folder) if system is None else [folder / f"{system}.json"]
    found: dict[str, Result] = {}
    for path in paths:
        for id, entry in _read(path)["claims"].items():
            if not entry["runs"]:
                continue
            found[id] = Result(
                id,
                path.stem,
                entry["rule"],
                entry["headline"],
                entry["unit"],
                entry["holds"],
                _summaries(entry["runs"]),
                entry["runs"],
            )
    return dict(sorted(found.items()))


def result(id: str, folder: str | Path | None = None) -> Result:
    """The stored result of one claim.

    Raises:
        KeyError: the claim is unknown, or known and not yet measured.
    """
    system = claim_text(id).chapter
    path = Path(folder or results_dir()) / f"{system}.json"
    found = results(system, folder) if path.exists() else {}
    if id not in found:
        raise KeyError(f"{id} is not measured yet; run `python -m mmtutor.page.ledger run {system}`")
    return found[id]


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise FileNotFoundError(f"no results at {path}; run `python -m mmtutor.page.ledger run {path.stem}`")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data["claims"], dict):
            raise TypeError("claims is not an object")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); restore it from version control or delete it") from error
    return data


def _write(path: Path, data: Mapping[str, Any]) -> None:
    """Replace the file in one step: a reader or a kill sees the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1, ensure_ascii=False, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes files that only their owner may read
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


# --- Running -----------------------------------------------------------------------------------------------------------


def run(
    system: str,
    experiments: Iterable[Experiment],
    *,
    only: Sequence[str] = (),
    seeds: int | None = None,
    fresh: bool = False,
    folder: str | Path | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Result]:
    """Measure every experiment over its seeds and write ``<folder>/<system>.json`` after each run.

    A run that the file already holds with the same fingerprint is not measured again, so a killed sweep goes on
    where it stopped.

    Args:
        system: the file's name, for example ``"word2vec"``.
        experiments: what to measure.
        only: ids to measure; all if empty.
        seeds: overrides the number of seeds of experiments that use more than one.
        fresh: measure again what is stored.
        folder: where the file goes; the book's results if not given.
        report: called with one line a run.

    Raises:
        KeyError: an experiment's or an ``only`` id is unknown.
    """
    chosen = list(experiments)
    for id in [e.id for e in chosen] + list(only):
        claim_text(id)
    path = Path(folder or results_dir()) / f"{system}.json"
    data = _read(path) if path.exists() else {"system": system, "claims": {}}
    chosen = [e for e in chosen if not only or e.id in only]
    counts = {e.id: e.seeds if e.seeds == 1 or seeds is None else seeds for e in chosen}
    done: dict[str, list[dict[str, Any]]] = {}
    for e in chosen:
        stored = data["claims"].get(e.id, {}).get("runs", [])
        done[e.id] = [] if fresh else [r for r in stored if r["fingerprint"] == e.fingerprint]
    # Seeds outside, claims inside: claims that share a trained model find it still in memory.
    for seed in range(max(counts.values(), default=0)):
        for e in chosen:
            if seed >= counts[e.id]:
                continue
            if any(r["seed"] == seed for r in done[e.id]):
                report(f"{e.id} seed {seed}: stored")
                continue
            start = time.perf_counter()
            values = _plain(e.measure(seed, **e.settings))
            seconds = time.perf_counter() - start
            done[e.id].append(
                {
                    "seed": seed,
                    "values": values,
                    "seconds": round(seconds, 2),
                    "settings": dict(e.settings),
                    "fingerprint": e.fingerprint,
                    "versions": _versions(),
                    "machine": f"{platform.machine()}, {os.cpu_count()} cores, {'CUDA' if _cuda() else 'no GPU'}",
                    "commit": _commit(),
                }
            )
            _store(path, system, e, done[e.id])
            shown = values[e.headline]
            shown = number(shown) if not isinstance(shown, list) else "[" + ", ".join(map(number, shown)) + "]"
            report(f"{e.id} seed {seed}: {e.headline} = {shown} ({seconds:.1f} s)")
    for e in chosen:  # a rule or a number of seeds may have changed although every run is stored
        _store(path, system, e, [r for r in done[e.id] if r["seed"] < counts[e.id]])
    return results(system, path.parent)


def _store(path: Path, system: str, experiment: Experiment, runs: list[dict[str, Any]]) -> None:
    """Put one claim's runs and verdict into the file, under a lock: another process may measure other claims."""
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    runs = sorted(runs, key=lambda r: r["seed"])
    entry = {
        "rule": experiment.rule,
        "headline": experiment.headline,
        "unit": experiment.unit,
        "holds": bool(experiment.holds(_summaries(runs))),
        "runs": runs,
    }
    with FileLock(path.with_suffix(".lock")):
        data = _read(path) if path.exists() else {"system": system, "claims": {}}
        data["claims"] = dict(sorted({**data["claims"], experiment.id: entry}.items()))
        _write(path, data)


def _plain(values: Values) -> dict[str, Any]:
    """Numbers as plain Python floats, and an error for what is not finite."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        if hasattr(value, "tolist"):
            value = value.tolist()
        out[name] = [float(v) for v in value] if isinstance(value, (list, tuple)) else float(value)
        if not all(math.isfinite(v) for v in (out[name] if isinstance(out[name], list) else [out[name]])):
            raise ValueError(f"the experiment measured {name} = {out[name]}, which is not finite")
    return out


def _versions() -> dict[str, str]:
    from importlib import metadata

    versions = {"python": platform.python_version()}
    for name in ("mmtutor", "torch", "torchaudio", "numpy", "datasets", "scikit-learn"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "none"
    return versions


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _commit() -> str:
    try:
        head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=_PACKAGE, capture_output=True, text=True)
        if head.returncode:
            return "unknown"
        paths = [".", "../experiments"]
        changed = subprocess.run(["git", "status", "--porcelain", *paths], cwd=_PACKAGE, capture_output=True, text=True)
        return head.stdout.strip() + ("+changes" if changed.stdout.strip() else "")
    except OSError:
        return "unknown"


# --- In a chapter --------------------------------------------------------------------------------------------------------


def claim(id: str, rule: str, measured: float | str | Summary, holds: bool) -> None:
    """Print a claim's text, the rule, the number with its interval, and ✓ or ✗.

    Args:
        id: the claim, for example ``"C05"``. Its text comes from the claims file.
        rule: the rule that was written before the number.
        measured: a number, a :class:`Summary`, or words.
        holds: whether the rule is met.

    Raises:
        KeyError: an unknown id.
    """
    shown = number(measured) if isinstance(measured, (int, float)) else str(measured)
    if isinstance(measured, Summary) and measured.n > 1:
        shown += f" (mean and 95 % interval over {measured.n} seeds)"
    lines = [("claim", claim_text(id).text), ("rule", rule), ("measured", shown)]
    print(id, "✓ holds" if holds else "✗ does not hold")
    for name, text in lines:
        print(textwrap.fill(text, 80, initial_indent=f"  {name:<9} ", subsequent_indent=" " * 12))


def show(id: str) -> None:
    """Print a claim from its result file: what the ledger page shows, in the chapter."""
    stored = result(id)
    summary = stored[stored.headline]
    if isinstance(summary, list):
        summary = "; ".join(str(s) for s in summary)
        shown: Any = f"{stored.unit}: {summary} ({len(stored.runs)} seeds)"
    elif summary.n == 1:
        shown = f"{stored.unit} {summary}".strip()
    else:
        shown = f"{stored.unit} {summary} (mean and 95 % interval over {summary.n} seeds)".strip()
    claim(id, stored.rule, shown, stored.holds)


def live(id: str, values: Values, *, slack: float = 0.02) -> None:
    """Assert that a run made just now lies where the stored runs say, and print how it compares.

    Each number must lie in the 99 % prediction interval of the stored seeds, mean ± t·s·√(1 + 1/n), widened by ``slack``
    times the mean, because another processor rounds otherwise.

    Raises:
        AssertionError: a number lies outside; the message names it.
    """
    stored = result(id)
    for name, value in _plain(values).items():
        samples = [run["values"][name] for run in stored.runs]
        pairs = zip(value, zip(*samples, strict=True), strict=True) if isinstance(value, list) else [(value, samples)]
        for fresh, seen in pairs:
            low, high = prediction_interval(seen, slack)
            assert low <= fresh <= high, (
                f"{id}: {name} is {number(fresh)} now, and the stored runs predict {number(low)} to {number(high)}"
            )
    fresh = values[stored.headline]
    text = ", ".join(number(float(v)) for v in fresh) if isinstance(fresh, (list, tuple)) else number(float(fresh))
    print(f"{id} live: {stored.headline} = {text}, where the stored runs say")


def prediction_interval(samples: Sequence[float], slack: float = 0.02) -> tuple[float, float]:
    """Where the next sample falls with 99 % probability if it is drawn like these, widened by ``slack`` × |mean|."""
    n, mean = len(samples), math.fsum(samples) / len(samples)
    half = slack * abs(mean)
    if n > 1 and min(samples) < max(samples):
        from scipy.stats import t

        deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in samples) / (n - 1))
        half += float(t.ppf(0.995, n - 1)) * deviation * math.sqrt(1 + 1 / n)
    return mean - half, mean + half


# --- Command line --------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m mmtutor.page.ledger", description="Measure the book's claims.")
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run", help="measure what is not stored yet, and write book/results/<system>.json")
    runner.add_argument("systems", nargs="*", help="for example word2vec; all that have an experiments file if none")
    runner.add_argument("--claims", nargs="*", default=[], metavar="ID", help="only these claims")
    runner.add_argument("--seeds", type=int, help="another number of seeds")
    runner.add_argument("--fresh", action="store_true", help="measure again what is stored")
    commands.add_parser("table", help="print the ledger")
    options = parser.parse_args(arguments)
    if options.command == "table":
        stored = results()
        for claim_ in all_claims().values():
            entry = stored.get(claim_.id)
            status = "…" if entry is None else "✓" if entry.holds else "✗"
            print(f"{claim_.id} {status} {claim_.chapter:<18} {claim_.text}")
        return
    folder = _PACKAGE.parent / "experiments"
    known = sorted(p.stem for p in folder.glob("[!._]*.py"))  # _ marks a helper, ._ a side-car file of a Mac
    systems = options.systems or known
    for system in systems:
        try:
            module = importlib.import_module(f"mmtutor.experiments.{system}")
        except ModuleNotFoundError as error:
            if error.name != f"mmtutor.experiments.{system}":
                raise
            parser.error(f"no experiments/{system}.py; there are {', '.join(known)}")
        print(f"== {system}")
        run(system, module.EXPERIMENTS, only=options.claims, seeds=options.seeds, fresh=options.fresh)


if __name__ == "__main__":
    main()
