"""The ledger of claims: what the lectures assert, the rule that decides it, and what was measured.

1. ``mmtutor/page/claims.json`` holds the text of each claim, and nothing else does.
2. ``experiments/<system>.py`` lists one :class:`Experiment` a claim: a rule made of :class:`Part`
s, and a function that measures
   them for one seed.
3. ``python -m mmtutor.page.ledger run`` measures every claim over its seeds and writes
``book/results/<system>.json`` after each
   run, so that a killed sweep goes on where it stopped. With ``--replicate`` it measures each claim
   on as many fresh seeds.
4. The chapter and the ledger page print the same file, and :func:`live` asserts that a run made
just now lies where it says.

A part is decided by an interval, never by a mean: ✓ if the whole interval lies on the right side of
the threshold, ✗ if it lies on the wrong side, ◌ (undecided) if it contains the threshold. A rule's
verdict is that of its weakest part.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmtutor.page.fingerprint import fingerprint

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


VERDICTS = ("fails", "open", "holds")  # from the weakest
MARKS = {"holds": "✓", "fails": "✗", "open": "◌"}
WORDS = {"holds": "holds", "fails": "does not hold", "open": "undecided"}
COMPARISONS = (">", ">=", "<", "<=", "==", "within")


@dataclass(frozen=True)
class Part:
    """One part of a rule: what is compared with what.

    Args:
        words: the part in words, unit included, for example ``"truth rate, attention − one
            vector"``.
        name: the measured name that decides.
        comparison: one of :data:`COMPARISONS`. ``"=="`` asks that every single run equals the
            threshold.
        threshold: a number; for ``"within"`` a pair (low, high).
        minus: another measured name, which is subtracted run by run: what two settings differ by on
            the same seed.
        at: which entry, where the measured name is a list.
    """

    words: str
    name: str
    comparison: str
    threshold: float | tuple[float, float]
    minus: str | None = None
    at: int | None = None

    def __post_init__(self) -> None:
        if self.comparison not in COMPARISONS:
            raise ValueError(
                f"a part compares by one of {', '.join(COMPARISONS)}, not by {self.comparison!r}"
            )
        pair = isinstance(self.threshold, (tuple, list))
        if pair != (self.comparison == "within"):
            raise ValueError(
                f"{self.comparison!r} takes {'one number' if pair else 'a pair (low, high)'} as threshold"
            )
        if pair:
            object.__setattr__(self, "threshold", tuple(float(x) for x in self.threshold))

    def samples(self, runs: Sequence[Mapping[str, Any]]) -> list[float]:
        """The number of each run that this part looks at."""

        def of(run: Mapping[str, Any], name: str) -> float:
            if name not in run["values"]:
                raise KeyError(
                    f"the part {self.words!r} asks for {name!r}, but measured were {sorted(run['values'])}"
                )
            value = run["values"][name]
            return value if self.at is None else value[self.at]

        return [of(run, self.name) - (of(run, self.minus) if self.minus else 0.0) for run in runs]

    def judge(self, runs: Sequence[Mapping[str, Any]]) -> Judged:
        """Decide this part by the 95 % interval over the runs."""
        samples = self.samples(runs)
        summary = summarize(samples)
        low, high, aim = summary.low, summary.high, self.threshold
        if self.comparison == "==":
            verdict = "holds" if all(x == aim for x in samples) else "fails"
        elif self.comparison == "within":
            inside, outside = aim[0] <= low and high <= aim[1], high < aim[0] or low > aim[1]
            verdict = "holds" if inside else "fails" if outside else "open"
        else:
            right = {">": low > aim, ">=": low >= aim, "<": high < aim, "<=": high <= aim}[
                self.comparison
            ]
            wrong = {">": high <= aim, ">=": high < aim, "<": low >= aim, "<=": low > aim}[
                self.comparison
            ]
            verdict = "holds" if right else "fails" if wrong else "open"
        return Judged(
            self,
            summary,
            verdict,
            seeds_needed(samples, self.threshold) if verdict == "open" else None,
        )

    @property
    def asked(self) -> str:
        """The comparison in signs, for example ``≥ 3``."""
        if self.comparison == "within":
            return f"from {number(self.threshold[0])} to {number(self.threshold[1])}"
        signs = {">=": "≥", "<=": "≤", "==": "="}
        return f"{signs.get(self.comparison, self.comparison)} {number(self.threshold)}"


@dataclass(frozen=True)
class Judged:
    """A part with its number and its verdict; ``needed`` says how many seeds would decide an open
    one, if they go on like these."""

    part: Part
    summary: Summary
    verdict: str
    needed: int | None = None

    def __str__(self) -> str:
        text = f"{MARKS[self.verdict]} {self.part.words}: {self.summary}, asked {self.part.asked}"
        return text if self.verdict != "open" else f"{text}; {self.hope}"

    @property
    def hope(self) -> str:
        """What it would take to decide an open part."""
        if self.needed is None:
            return "no number of seeds would decide it if they go on like these"
        return f"about {self.needed:,} seeds would decide it if they go on like these"


def weakest(verdicts: Iterable[str]) -> str:
    """The verdict of a rule from those of its parts: one that fails decides, then one that is
    open."""
    return min(verdicts, key=VERDICTS.index)


@dataclass(frozen=True)
class Experiment:
    """How one claim is measured and judged.

    Args:
        id: the claim, for example ``"C05"``.
        rule: the rule in words, as one reads it. It is written before the number is known.
        parts: the same rule, part by part. The first is the one that a list of claims prints.
        measure: ``measure(seed, **settings)`` returns ``{name: number or list of numbers}`` for one
            seed.
        limits: one sentence: what the controls say of the reason, or what the verdict does not
            cover.
        seeds: how many seeds, counted from 0; five are the least. Use 1 where nothing is random,
            and say so in the rule.
        settings: keyword arguments for ``measure``, stored beside the numbers.
        note: what happened to the rule after it was first measured, and the verdict before.
    """

    id: str
    rule: str
    parts: Sequence[Part]
    measure: Callable[..., Values]
    limits: str
    seeds: int = 5
    settings: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    # A hash of the code that the measurement runs through, and of its settings: runs with another
    # one are stale. It is taken when the experiment is made, because the source is read from disk,
    # where it may be edited during a long sweep.
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        if not self.parts or not all(isinstance(part, Part) for part in self.parts):
            raise ValueError(f"{self.id}: a rule has one Part or more")
        if not self.limits.strip():
            raise ValueError(f"{self.id}: say in a sentence what the verdict does not cover")
        if self.seeds != 1 and self.seeds < 5:
            raise ValueError(
                f"{self.id}: five seeds are the least (or 1 where nothing is random), got {self.seeds}"
            )
        object.__setattr__(self, "parts", tuple(self.parts))
        object.__setattr__(self, "fingerprint", fingerprint(self.measure, self.settings))

    def judge(self, runs: Sequence[Mapping[str, Any]]) -> list[Judged]:
        """Each part with its number and verdict over these runs."""
        return [part.judge(runs) for part in self.parts]


# --- Claim texts ----------------------------------------------------------------------------------


def all_claims() -> dict[str, Claim]:
    """Every claim by its id, in the order of the ids."""
    path = Path(__file__).parent / "claims.json"
    return {
        key: Claim(id=key, **fields)
        for key, fields in json.loads(path.read_text(encoding="utf-8")).items()
    }


def claim_text(id: str) -> Claim:
    """The claim with this id.

    Raises:
        KeyError: no such claim; the message names the range of ids.
    """
    claims = all_claims()
    if id not in claims:
        raise KeyError(
            f"unknown claim {id!r}; the ledger knows {next(iter(claims))} to {list(claims)[-1]}"
        )
    return claims[id]


# --- Numbers --------------------------------------------------------------------------------------


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


def seeds_needed(
    samples: Sequence[float], threshold: float | tuple[float, float], most: int = 100_000
) -> int | None:
    """How many seeds it takes until the interval no longer contains the threshold, if mean and
    spread stay as they are.

    Returns:
        the number, more than there are now; or None where the mean lies on the threshold or it
        would take more than ``most``.
    """
    from scipy.stats import t

    n, mean = len(samples), math.fsum(samples) / len(samples)
    distance = min(
        abs(mean - aim) for aim in (threshold if isinstance(threshold, tuple) else (threshold,))
    )
    if n < 2 or distance == 0:
        return None
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in samples) / (n - 1))

    def decides(count: int) -> bool:
        return float(t.ppf(0.975, count - 1)) * deviation / math.sqrt(count) < distance

    if not decides(most):
        return None
    low, high = n, most  # the half-width falls with the count: bisect
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


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


# --- Files ----------------------------------------------------------------------------------------


def results_dir() -> Path:
    """The folder of the result files: inside an installed package, else ``book/results`` of the
    checkout."""
    installed = _PACKAGE / "results"
    return installed if installed.is_dir() else _PACKAGE.parent / "book" / "results"


@dataclass(frozen=True)
class Result:
    """The stored measurement of one claim."""

    id: str
    system: str
    rule: str
    parts: list[Judged]
    limits: str
    note: str
    summary: dict[str, Any]
    runs: list[dict[str, Any]]
    replication: list[Judged]  # the same parts on fresh seeds; empty while there are none
    replicated_on: list[int]  # those seeds

    def __getitem__(self, name: str) -> Any:
        if name not in self.summary:
            raise KeyError(f"{self.id} measured {sorted(self.summary)}, not {name!r}")
        return self.summary[name]

    @property
    def verdict(self) -> str:
        """``"holds"``, ``"fails"`` or ``"open"``: decided by the first set of seeds alone."""
        return weakest(part.verdict for part in self.parts)

    @property
    def replicated(self) -> str | None:
        """The verdict of the fresh seeds, or None while there are none."""
        return weakest(part.verdict for part in self.replication) if self.replication else None

    def stale(self, experiment: Experiment) -> bool:
        """Whether some of its runs came from other code than the experiment's."""
        return any(run["fingerprint"] != experiment.fingerprint for run in self.runs)


def result_files(folder: str | Path) -> list[Path]:
    """The result files of a folder, in the order of their names. Hidden ones (a Mac's ``._``
    side-car files) are none."""
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
            parts = [Part(**part) for part in entry["parts"]]
            fresh = entry.get("replication", [])
            found[id] = Result(
                id,
                path.stem,
                entry["rule"],
                [part.judge(entry["runs"]) for part in parts],
                entry["limits"],
                entry.get("note", ""),
                _summaries(entry["runs"]),
                entry["runs"],
                [part.judge(fresh) for part in parts] if fresh else [],
                [run["seed"] for run in fresh],
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
        raise KeyError(
            f"{id} is not measured yet; run `python -m mmtutor.page.ledger run {system}`"
        )
    return found[id]


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise FileNotFoundError(
            f"no results at {path}; run `python -m mmtutor.page.ledger run {path.stem}`"
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data["claims"], dict):
            raise TypeError("claims is not an object")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); restore it from version control or delete it"
        ) from error
    return data


def _write(path: Path, data: Mapping[str, Any]) -> None:
    """Replace the file in one step: a reader or a kill sees the old file or the new one, never half
    of one."""
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


# --- Running --------------------------------------------------------------------------------------


FRESH = (
    100  # the first seed of a replication; nobody chooses settings on these or looks at them before
)


def run(
    system: str,
    experiments: Iterable[Experiment],
    *,
    only: Sequence[str] = (),
    seeds: int | None = None,
    replicate: bool = False,
    again: bool = False,
    folder: str | Path | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Result]:
    """Measure every experiment over its seeds and write ``<folder>/<system>.json`` after each run.

    A run that the file already holds with the same fingerprint is not measured again, so a killed
    sweep goes on where it stopped. One with another fingerprint is stale: that is reported, and it
    is measured again.

    Args:
        system: the file's name, for example ``"word2vec"``.
        experiments: what to measure.
        only: ids to measure; all if empty.
        seeds: overrides the number of seeds of experiments that use more than one.
        replicate: measure on as many fresh seeds (100, 101, …) instead, and store them beside.
        again: measure again what is stored.
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
    place, first = ("replication", FRESH) if replicate else ("runs", 0)
    wanted = {
        e.id: range(first, first + (e.seeds if e.seeds == 1 or seeds is None else seeds))
        for e in chosen
    }
    done: dict[str, list[dict[str, Any]]] = {}
    for e in chosen:
        stored = data["claims"].get(e.id, {}).get(place, [])
        done[e.id] = [] if again else [r for r in stored if r["fingerprint"] == e.fingerprint]
        stale = [r["seed"] for r in stored if r["fingerprint"] != e.fingerprint]
        if stale:
            report(
                f"{e.id}: {len(stale)} stale run(s), from other code or settings, are measured again"
            )
    # Seeds outside, claims inside: claims that share a trained model find it still in memory.
    for seed in sorted({seed for own in wanted.values() for seed in own}):
        for e in chosen:
            if seed not in wanted[e.id]:
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
            _store(path, system, e, place, done[e.id])
            shown = "; ".join(
                f"{part.words} {number(part.samples(done[e.id][-1:])[0])}" for part in e.parts
            )
            report(f"{e.id} seed {seed}: {shown} ({seconds:.1f} s)")
    for e in chosen:  # a rule or a number of seeds may have changed although every run is stored
        _store(path, system, e, place, [r for r in done[e.id] if r["seed"] in wanted[e.id]])
    return results(system, path.parent)


def confirm(
    system: str,
    experiments: Iterable[Experiment],
    because: str,
    *,
    only: Sequence[str] = (),
    folder: str | Path | None = None,
    report: Callable[[str], None] = print,
) -> bool:
    """Keep stored runs after a change of code that can move no number, such as a tensor's device.

    One stored run of each stale claim, those of the seed that took least time, is measured again. Only if every
    number of it is the same to the last digit do the claim's runs, fresh seeds too, get the
    fingerprint of the code as it is now. The file keeps what was compared, and why no other run can differ.
    That reason is the author's: one run that repeats is evidence for it and no proof.

    Args:
        system: the file's name.
        experiments: those of the system.
        because: why no number can move.
        only: ids; all if empty.
        folder: where the file lies; the book's results if not given.
        report: called with one line a claim.

    Returns:
        Whether no claim that was asked for is stale any more.

    Raises:
        KeyError: an ``only`` id that the system does not have.
        ValueError: no reason; the settings changed, which are there to move numbers; or a claim's stale
            runs come from several versions of the code, of which one run can tell of one only.
        FileNotFoundError: the system has no result file.
    """
    from filelock import FileLock

    if not because.strip():
        raise ValueError("say in a sentence why the change can move no number")
    path, fresh = Path(folder or results_dir()) / f"{system}.json", True
    experiments = list(experiments)
    for id in only:
        if id not in {e.id for e in experiments}:
            raise KeyError(
                f"{system} has no experiment {id}; there are {[e.id for e in experiments]}"
            )
    data, waiting = _read(path), []
    for e in experiments:
        entry = data["claims"].get(e.id)
        if (only and e.id not in only) or entry is None:
            continue
        runs = [*entry["runs"], *entry.get("replication", [])]
        stale = {run["seed"]: run for run in runs if run["fingerprint"] != e.fingerprint}
        if any(run["settings"] != _as_stored(e.settings) for run in stale.values()):
            raise ValueError(f"{e.id}: the settings changed too; measure it again")
        if len({run["fingerprint"] for run in stale.values()}) > 1:
            raise ValueError(f"{e.id}: its stale runs come from several codes; measure it again")
        if stale:
            waiting.append((e, stale))
        else:
            report(f"{e.id}: not stale")
    # One seed for all, if there is one: claims that share a trained model find it still in memory.
    common = set.intersection(*(set(stale) for _, stale in waiting)) if waiting else set()
    for e, stale in waiting:
        seed = min(
            common or stale,
            key=lambda seed: sum(own[seed]["seconds"] for _, own in waiting if seed in own),
        )
        chosen = stale[seed]
        values = _plain(e.measure(chosen["seed"], **e.settings))
        other = [
            n for n in {**values, **chosen["values"]} if values.get(n) != chosen["values"].get(n)
        ]
        if other:
            fresh = False
            told = (
                f"{other[0]}: {values.get(other[0])} now, stored {chosen['values'].get(other[0])}"
            )
            report(
                f"{e.id} seed {chosen['seed']}: {len(other)} other number(s), {told}; stays stale"
            )
            continue
        note = {"seed": chosen["seed"], "because": because, "commit": _commit()}
        with FileLock(path.with_suffix(".lock")):
            data = _read(path)
            for place in ("runs", "replication"):
                for run in data["claims"][e.id].get(place, []):
                    if run["fingerprint"] in {one["fingerprint"] for one in stale.values()}:
                        told = {**note, "from": run["fingerprint"]}
                        run["confirmed"] = [*run.get("confirmed", []), told]
                        run["fingerprint"] = e.fingerprint
            _write(path, data)
        report(
            f"{e.id} seed {chosen['seed']}: the same to the last digit; {len(stale)} run(s) kept"
        )
    return fresh


def _as_stored(settings: Mapping[str, Any]) -> Any:
    """Settings as a result file gives them back: tuples are lists there."""
    return json.loads(json.dumps(dict(settings)))


def _store(
    path: Path, system: str, experiment: Experiment, place: str, runs: list[dict[str, Any]]
) -> None:
    """Put one claim's rule and runs into the file, under a lock: another process may measure other
    claims."""
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        data = _read(path) if path.exists() else {"system": system, "claims": {}}
        before = data["claims"].get(experiment.id, {})
        entry = {
            "rule": experiment.rule,
            "parts": [
                {key: value for key, value in asdict(part).items() if value is not None}
                for part in experiment.parts
            ],
            "limits": experiment.limits,
            "note": experiment.note,
            "runs": before.get("runs", []),
            "replication": before.get("replication", []),
        }
        entry[place] = sorted(runs, key=lambda run: run["seed"])
        judged = experiment.judge(entry["runs"]) if entry["runs"] else []
        entry["verdict"] = weakest(part.verdict for part in judged) if judged else "open"
        data["claims"] = dict(sorted({**data["claims"], experiment.id: entry}.items()))
        _write(path, data)


def _plain(values: Values) -> dict[str, Any]:
    """Numbers as plain Python floats, and an error for what is not finite."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        if hasattr(value, "tolist"):
            value = value.tolist()
        out[name] = [float(v) for v in value] if isinstance(value, (list, tuple)) else float(value)
        if not all(
            math.isfinite(v) for v in (out[name] if isinstance(out[name], list) else [out[name]])
        ):
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
        head = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=_PACKAGE, capture_output=True, text=True
        )
        if head.returncode:
            return "unknown"
        paths = [".", "../experiments"]
        changed = subprocess.run(
            ["git", "status", "--porcelain", *paths], cwd=_PACKAGE, capture_output=True, text=True
        )
        return head.stdout.strip() + ("+changes" if changed.stdout.strip() else "")
    except OSError:
        return "unknown"


# --- In a chapter ---------------------------------------------------------------------------------


def show(id: str) -> None:
    """Print a claim from its result file, part by part: what the ledger page shows, in the
    chapter."""
    stored = result(id)
    print(id, MARKS[stored.verdict], WORDS[stored.verdict] + told_replication(stored))
    lines = [("claim", claim_text(id).text), ("rule", stored.rule)]
    lines += [("part" if len(stored.parts) > 1 else "measured", str(part)) for part in stored.parts]
    lines += [("seeds", told_seeds(stored))]
    lines += [("limits", stored.limits)] + ([("note", stored.note)] if stored.note else [])
    for name, text in lines:
        print(textwrap.fill(text, 80, initial_indent=f"  {name:<9} ", subsequent_indent=" " * 12))


def told_seeds(stored: Result) -> str:
    """How many seeds, and what the brackets are."""
    n = len(stored.runs)
    return "one run: nothing is random" if n == 1 else f"{n}; numbers are means with 95 % intervals"


def told_replication(stored: Result) -> str:
    """What the fresh seeds say, for behind the mark."""
    if stored.replicated is None:
        return ""
    mark, n = MARKS[stored.replicated], len(stored.replicated_on)
    return f", again {mark}" + (f" on {n} fresh seeds" if n > 1 else "")


def live(id: str, values: Values, *, slack: float = 0.02, grain: float = 0.0) -> None:
    """Check that a run made just now lies where the stored runs say, and print how it compares.

    Each number must lie in the 99 % prediction interval of the stored seeds, mean ± t·s·√(1 + 1/n),
    widened by ``slack`` times the mean, because another processor rounds otherwise, and by
    ``grain``.

    Args:
        id: the claim.
        values: what the experiment measured just now; names may be left out.
        slack: a share of the mean.
        grain: the smallest step that the measured numbers can take, for example 1/600 for a rate
            over 600 scenes. Without it five seeds that happen to agree would leave no room at all.

    Raises:
        AssertionError: a number lies outside; the message names it. It is raised, not asserted:
            ``python -O`` checks too.
    """
    stored = result(id)
    for name, value in _plain(values).items():
        samples = [run["values"][name] for run in stored.runs]
        pairs = (
            zip(value, zip(*samples, strict=True), strict=True)
            if isinstance(value, list)
            else [(value, samples)]
        )
        for fresh, seen in pairs:
            low, high = prediction_interval(seen, slack, grain)
            if not low <= fresh <= high:
                raise AssertionError(
                    f"{id}: {name} is {number(fresh)} now, and the stored runs predict {number(low)} to {number(high)}"
                )
    run_now = [{"values": _plain(values)}]
    told = [
        f"{part.part.words} {number(part.part.samples(run_now)[0])}"
        for part in stored.parts
        if _has(part.part, values)
    ]
    lie = "It lies" if len(told or values) == 1 else "They lie"
    said = "; ".join(told) or ", ".join(values)
    text = f"{id}, run here: {said}. {lie} where the stored runs say."
    print(textwrap.fill(text, 96, subsequent_indent="  "))


def _has(part: Part, values: Values) -> bool:
    return part.name in values and (part.minus is None or part.minus in values)


def prediction_interval(
    samples: Sequence[float], slack: float = 0.02, grain: float = 0.0
) -> tuple[float, float]:
    """Where the next sample falls with 99 % probability if it is drawn like these, widened by
    ``slack`` × |mean| + ``grain``."""
    n, mean = len(samples), math.fsum(samples) / len(samples)
    half = slack * abs(mean) + grain
    if n > 1 and min(samples) < max(samples):
        from scipy.stats import t

        deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in samples) / (n - 1))
        half += float(t.ppf(0.995, n - 1)) * deviation * math.sqrt(1 + 1 / n)
    return mean - half, mean + half


# --- Command line ---------------------------------------------------------------------------------


def experiments_at_hand() -> dict[str, Experiment]:
    """Every experiment of the checkout by its claim; none where the experiments are not at hand."""
    folder = _PACKAGE.parent / "experiments"
    modules = [
        importlib.import_module(f"mmtutor.experiments.{p.stem}")
        for p in sorted(folder.glob("[!._]*.py"))
    ]
    return {e.id: e for module in modules for e in module.EXPERIMENTS}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m mmtutor.page.ledger", description="Measure the book's claims."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser(
        "run", help="measure what is not stored yet, and write book/results/<system>.json"
    )
    runner.add_argument(
        "systems", nargs="*", help="for example word2vec; all that have an experiments file if none"
    )
    runner.add_argument("--claims", nargs="*", default=[], metavar="ID", help="only these claims")
    runner.add_argument("--seeds", type=int, help="another number of seeds")
    runner.add_argument(
        "--replicate",
        action="store_true",
        help="measure on as many fresh seeds, stored beside the first",
    )
    runner.add_argument("--again", action="store_true", help="measure again what is stored")
    confirmer = commands.add_parser(
        "confirm",
        help="keep stored runs after a change that moves no number: one run must repeat to the last digit",
    )
    confirmer.add_argument("systems", nargs="+", help="for example word2vec")
    confirmer.add_argument(
        "--claims", nargs="*", default=[], metavar="ID", help="only these claims"
    )
    confirmer.add_argument("--because", required=True, help="why no number can move; is stored")
    commands.add_parser("table", help="print the ledger: verdicts, replications, what is stale")
    options = parser.parse_args(arguments)
    if options.command == "table":
        stored, known = results(), experiments_at_hand()
        for claim_ in all_claims().values():
            entry = stored.get(claim_.id)
            mark = "…" if entry is None else MARKS[entry.verdict]
            again = MARKS.get(entry.replicated, " ") if entry else " "
            stale = (
                "stale" if entry and claim_.id in known and entry.stale(known[claim_.id]) else ""
            )
            print(f"{claim_.id} {mark} {again} {stale:<5} {claim_.chapter:<18} {claim_.text}")
        return
    folder = _PACKAGE.parent / "experiments"
    known = sorted(
        p.stem for p in folder.glob("[!._]*.py")
    )  # _ marks a helper, ._ a side-car file of a Mac
    systems, same = options.systems or known, True
    for system in systems:
        try:
            module = importlib.import_module(f"mmtutor.experiments.{system}")
        except ModuleNotFoundError as error:
            if error.name != f"mmtutor.experiments.{system}":
                raise
            parser.error(f"no experiments/{system}.py; there are {', '.join(known)}")
        print(f"== {system}")
        if options.command == "confirm":
            about = (system, module.EXPERIMENTS, options.because)
            same &= confirm(*about, only=options.claims)
            continue
        run(
            system,
            module.EXPERIMENTS,
            only=options.claims,
            seeds=options.seeds,
            replicate=options.replicate,
            again=options.again,
        )
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    main()
