"""How long a step of training takes on the CPU and on a GPU, for each system: python scripts/on_gpu.py FILE.json

Prints one table in Markdown and writes the same as JSON. It needs no data: the models and the drawn
batches are those of ``tests/test_cuda.py``. The CPU has one thread. A time is the median of several
steps (forward, backward, clipping, AdamW; for word2vec a step of its own trainer) after some that
warm up. At the papers' sizes the CPU's time is one step's, and "—" where that takes five seconds or more.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

import test_cuda as cases  # noqa: E402

from mmtutor import sound, word2vec  # noqa: E402

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SYSTEMS = {
    "show_and_tell": "show_and_tell",
    "show_attend_tell, soft": "show_attend_tell, soft",
    "show_attend_tell, hard": "show_attend_tell, hard",
    "video_captioning": "video_captioning",
    "joint_embedding": "joint_embedding",
    "recipes": "recipes",
    "vqa": "vqa",
    "vqa, glimpses": "vqa, kazemi",
    "fusion, blending": "fusion, blending",
}
BATCH = 64
PATIENCE = 5.0  # seconds that a step may take


def steps_of(case: cases.Case, size: int, device: torch.device) -> Callable[[], Any]:
    """What takes one step on a batch that lies on the device."""
    model, batch = case.model().to(device).train(), cases.moved(case.data(size), device)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-4)
    return lambda: cases.step(model, batch, optimizer)


def word2vec_steps(config: word2vec.Config, words: int, device: torch.device) -> Callable[[], Any]:
    """A step of word2vec's trainer on one stretch of text, which it brings to the device."""
    model = cases.skip_gram(config, words).to(device)
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(0, words, (config.batch,), generator=g)
    noise = word2vec.noise_distribution(10 + 5000 // torch.arange(1, words + 1))
    made = next(word2vec.steps(ids, ids * 0, torch.ones(words), noise, config, g))
    trained = {n: p.data for n, p in model.named_parameters() if p.requires_grad}
    updates = {n: word2vec.RowAdaGrad(p) for n, p in trained.items()}

    @torch.no_grad()
    def step() -> None:
        word2vec.sampled_step(model, updates, made.to(device), 0.01)

    return step


def hear(device: torch.device) -> Callable[[], Any]:
    """64 seconds of sound as log-mel spectrograms."""
    wave = 0.1 * torch.randn(BATCH, 16000, generator=torch.Generator().manual_seed(0))
    wave, mel = wave.to(device), sound.MelSpectrogram(log="db").to(device)
    return lambda: mel(wave)


def seconds(step: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def milliseconds(make: Callable[[torch.device], Callable[[], Any]], device: torch.device) -> float:
    """The median step; fewer steps on the CPU, none beyond the first where it is slow."""
    step = make(device)
    first = seconds(step, device)
    if device.type == "cuda":
        times = [seconds(step, device) for _ in range(15)][3:]
    elif first > 1:
        times = [seconds(step, device)] if first < PATIENCE else [first]
    else:
        times = [seconds(step, device) for _ in range(6)][1:]
    return 1000 * statistics.median(times)


def measured(make: Callable[[torch.device], Callable[[], Any]]) -> dict[str, float | None]:
    """Both times, and the GPU's peak memory in MiB; None for what is not there."""
    gc.collect()
    found: dict[str, float | None] = {"cpu": milliseconds(make, CPU), "gpu": None, "peak MiB": None}
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        found["gpu"] = milliseconds(make, GPU)
        found["peak MiB"] = torch.cuda.max_memory_allocated() / 2**20
    return found


def rows() -> list[dict[str, Any]]:
    made = []
    for world, paper in SYSTEMS.items():
        name = world if world == paper else f"{world} / {paper.partition(', ')[2]}"
        case = cases.WORLD[world]
        row = {"system": name, "batch": BATCH}
        row["world"] = measured(lambda device, case=case: steps_of(case, BATCH, device))
        case = cases.PAPER[paper]()
        row["paper"] = measured(lambda device, case=case: steps_of(case, BATCH, device))
        made.append(row)
        print(f"… {name}", file=sys.stderr, flush=True)
    world, paper = word2vec.Config.world(), word2vec.Config.paper()
    made.append(
        {
            "system": "word2vec",
            "batch": f"{world.batch} / {paper.batch} centres",
            "world": measured(lambda device: word2vec_steps(world, 5_000, device)),
            "paper": measured(lambda device: word2vec_steps(paper, 100_000, device)),
        }
    )
    about = {"system": "sound: log-mel, forward", "batch": f"{BATCH} s"}
    made.append({**about, "world": measured(hear), "paper": None})
    return made


def shown(value: float | None, none: str) -> str:
    return none if value is None else f"{value:,.2f}" if value < 10 else f"{value:,.0f}"


def table(made: list[dict[str, Any]]) -> str:
    here = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if here else "no GPU here"
    lines = [
        f"Milliseconds a step of training; CPU: one thread; GPU: {device}; torch {torch.__version__}",
        "",
        "| system | batch | world, CPU | world, GPU | paper, CPU | paper, GPU | paper, peak GPU memory |",
        "|:--|:--|--:|--:|--:|--:|--:|",
    ]
    none = "—" if here else "no GPU here"
    for row in made:
        cells = [row["system"], str(row["batch"])]
        for scale in ("world", "paper"):
            found = row[scale]
            if found is None:
                cells += ["—", "—"]
                continue
            slow = scale == "paper" and found["cpu"] >= 1000 * PATIENCE
            cells += ["—" if slow else shown(found["cpu"], "—"), shown(found["gpu"], none)]
        paper = row["paper"]
        peak = None if paper is None else paper["peak MiB"]
        cells.append("—" if paper is None else none if peak is None else f"{peak:,.0f} MiB")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(f"usage: {Path(sys.argv[0]).name} FILE.json")
    torch.set_num_threads(1)
    made = rows()
    print(table(made))
    about = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "milliseconds": made,
    }
    Path(sys.argv[1]).write_text(json.dumps(about, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
