"""What each part of a model is worth: single runs that leave one part out, kept in a file.

They are no claim: few seeds, no interval, no replication. ``python scripts/parts.py show_attend_tell 0 1``
measures what is missing for these seeds and writes ``book/results/parts/show_attend_tell.json``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("system", help="an experiment with PARTS and without(name, seed)")
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--only", metavar="PART", nargs="+", help="these parts (default: all)")
    asked = parser.parse_args()
    experiment = importlib.import_module(f"mmtutor.experiments.{asked.system}")
    unknown = set(asked.only or ()) - set(experiment.PARTS)
    if unknown:
        parser.error(f"--only: no part {sorted(unknown)}; there are {list(experiment.PARTS)}")
    path = ROOT / "book" / "results" / "parts" / f"{asked.system}.json"
    path.parent.mkdir(exist_ok=True)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT
    ).stdout.strip()
    for seed in asked.seeds:
        for name in asked.only or experiment.PARTS:
            stored = json.loads(path.read_text("utf-8")) if path.exists() else []
            if any(run["part"] == name and run["seed"] == seed for run in stored):
                continue
            begin = time.perf_counter()
            values = experiment.without(name, seed)
            run = {"part": name, "seed": seed, "values": values}
            run |= {"seconds": round(time.perf_counter() - begin, 1), "torch": torch.__version__}
            run |= {"commit": commit}
            # another process may have written meanwhile
            stored = json.loads(path.read_text("utf-8")) if path.exists() else []
            order = {one: i for i, one in enumerate(experiment.PARTS)}
            stored = sorted([*stored, run], key=lambda r: (r["seed"], order[r["part"]]))
            mine = path.with_suffix(f".{os.getpid()}.tmp")
            mine.write_text(json.dumps(stored, indent=1) + "\n", "utf-8")
            mine.replace(path)
            print(name, seed, {k: round(v, 3) for k, v in values.items()}, flush=True)


if __name__ == "__main__":
    main()
