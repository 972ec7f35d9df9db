"""What the world costs: ``python benchmarks/world.py`` builds every data set anew and prints one table.

Each data set is built in a fresh process into an empty cache directory, at its default sizes (train and test), then
loaded again in another fresh process. Seconds are of the wall clock, beyond Python's start and the import of
``datasets`` (about a second, once a process). Memory is the peak of the building process and, added to it, of its
helper. A machine that does other work meanwhile shows longer times: the seconds of processor time tell.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from mmtutor import world

# What the world was meant to cost on two cores: (rows, seconds to build, seconds to load again)
AIMS = {
    "scenes": (6000, 10.0, 0.5),
    "speech": (3000, 15.0, None),
    "clips": (2400, 20.0, None),
    "sounds": (3000, 20.0, None),
    "ambience": (3000, 20.0, None),
    "sounding_scenes": (2400, 20.0, None),
    "talking_faces": (1440, 20.0, None),  # what the chapter on the cocktail party learns from
}
PEAK_AIM = 1024  # MB

MEASURE = """
import json, resource, sys, time
name, rounds = sys.argv[1], json.loads(sys.argv[2])
import datasets, pyarrow, xxhash, filelock
from mmtutor import world
if name in world.corpus_names():
    began = time.perf_counter()
    rows = len(world.corpus(name, sentences=True))
    seconds, columns = time.perf_counter() - began, 1
    rows = {"all": rows}
else:
    rows, seconds = {}, 0.0
    for split in rounds:
        began = time.perf_counter()
        data = world.load(name, split)
        seconds += time.perf_counter() - began
        rows[split] = len(data)
own, child = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(json.dumps({
    "rows": rows, "seconds": seconds,
    "processor": own.ru_utime + own.ru_stime + child.ru_utime + child.ru_stime,
    "peak": (own.ru_maxrss + child.ru_maxrss) / 1024,
}))
"""


def measure(name: str, splits: list[str], cache: Path) -> dict:
    """Load one data set in a fresh process and return what it took."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, name, json.dumps(splits)],
        env={**os.environ, "MMTUTOR_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise SystemExit(f"{name} could not be built:\n{run.stderr}")
    return json.loads(run.stdout.splitlines()[-1])


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def benchmark(name: str) -> dict:
    """Build a data set into an empty cache, load it again, and return both measurements and its size."""
    text = name in world.corpus_names()
    splits = (
        []
        if text
        else [split for split in world.info(name)["default_size"] if split in ("train", "test")]
    )
    with tempfile.TemporaryDirectory(prefix="mmtutor-bench-") as folder:
        built = measure(name, splits, Path(folder))
        again = measure(name, splits, Path(folder))
        return {
            **built,
            "again": again["seconds"],
            "megabytes": megabytes(Path(folder)),
            "name": name,
        }


def report(row: dict) -> str:
    sizes = " + ".join(f"{count:,}" for count in row["rows"].values())
    cells = [
        f"{row['name']:<16}",
        f"{sizes:>15}",
        f"{row['seconds']:>9.1f}",
        f"{row['processor']:>9.1f}",
        f"{row['again']:>9.3f}",
        f"{row['megabytes']:>7.0f}",
        f"{row['peak']:>7.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def verdicts(rows: list[dict]) -> list[str]:
    """Compare with what the world was meant to cost."""
    lines = []
    for row in rows:
        if row["name"] in AIMS:
            count, build, again = AIMS[row["name"]]
            total = sum(row["rows"].values())
            scaled = row["seconds"] * count / total
            lines.append(
                f"{row['name']}: {count:,} in {scaled:.1f} s, meant {build:.0f} s {_mark(scaled <= build)}"
            )
            if again:
                lines.append(
                    f"{row['name']}: again in {row['again']:.3f} s, meant {again} s {_mark(row['again'] <= again)}"
                )
    most = max(row["peak"] for row in rows)
    return [*lines, f"peak memory {most:.0f} MB, meant {PEAK_AIM} MB {_mark(most <= PEAK_AIM)}"]


def _mark(holds: bool) -> str:
    return "✓" if holds else "✗"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    everything = [*world.names(), *world.corpus_names()]
    parser.add_argument(
        "names", nargs="*", default=everything, help="which data sets (default: all)"
    )
    chosen = parser.parse_args().names
    unknown = sorted(set(chosen) - set(everything))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(everything)}")

    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}, {platform.system()}\n"
    )
    print(
        "| data set         | train + test    | build, s  | CPU, s    | again, s  | MB      | peak MB |"
    )
    print(
        "|------------------|-----------------|-----------|-----------|-----------|---------|---------|"
    )
    rows = []
    for name in chosen:
        rows.append(benchmark(name))
        print(report(rows[-1]), flush=True)
    print()
    print("\n".join(verdicts(rows)))


if __name__ == "__main__":
    main()
