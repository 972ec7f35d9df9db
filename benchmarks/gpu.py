"""How long a training step takes on a GPU, for every system, beside a CPU and beside what the card could do.

    python benchmarks/gpu.py [SYSTEM …] [--jobs 6] [--json FILE]

The first table has the world's sizes: a batch of 64, one CPU thread and the GPU, float32. The second has
the papers' sizes: float32, TF32 and bf16 (autocast), as PyTorch runs it and compiled
(``torch.compile``; ``*`` where the loss is not one graph). A time is the median of twenty steps after some
that warm up; a step is forward, backward, clipping and AdamW. The data are drawn and lie on the card, so that nothing is loaded.

The last columns say what the card allows. The products of a step are counted (FLOPs of matrix products and convolutions, forward
and backward), and so are the bytes that the weights alone move: 40 for each, since in float32 one is read
forward and backward, its gradient written and read, and AdamW reads and writes the weight and two
averages. Both are divided by what this card did when it was asked for nothing else: a product of
two 8,192 × 8,192 matrices, and a copy. The longer of the two is the limit, and its share of the
measured time is what the step makes of the card. Activations are not counted, so no step reaches it.

Each system runs in a process of its own, several at once, because compiling takes a CPU a minute; a file lock
leaves the card to one of them while it is timed. The models and batches are those of
``tests/test_cuda.py``. Without a GPU only the counts are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch.utils.flop_counter import FlopCounterMode

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / name) for name in ("", "tests", "scripts")]

import test_cuda as cases  # noqa: E402
from on_gpu import hear, word2vec_steps  # noqa: E402

from mmtutor import word2vec  # noqa: E402
from mmtutor.kit import training  # noqa: E402

CPU, GPU = torch.device("cpu"), torch.device("cuda")
#: What stands in ``cases.WORLD`` and ``cases.PAPER`` for each row; None: not measured at that size.
SYSTEMS = {
    "Show and Tell": ("show_and_tell",) * 2,
    "Show, Attend and Tell, soft": ("show_attend_tell, soft",) * 2,
    "Show, Attend and Tell, hard": ("show_attend_tell, hard",) * 2,
    "the same, words bound to places": ("show_attend_tell, bound", None),
    "video captioning": ("video_captioning",) * 2,
    "the same, words followed": ("video_captioning, bound", None),
    "joint embedding": ("joint_embedding",) * 2,
    "recipes": ("recipes",) * 2,
    "questions about pictures": ("vqa",) * 2,
    "the same, with two glimpses": ("vqa, glimpses", "vqa, kazemi"),
    "VL-BERT": ("vlbert",) * 2,
    "ViLBERT": ("vilbert",) * 2,
    "fusion, with blending": ("fusion, blending",) * 2,
    "SoundNet": ("soundnet",) * 2,
    "sound localisation": ("sound_localization",) * 2,
    "cocktail party": ("cocktail_party",) * 2,
    "Speech2Face": ("speech2face",) * 2,
    "image to speech": ("image_to_speech",) * 2,
    "image to speech, the voice": ("image_to_speech, voice",) * 2,
    "text to image": ("text_to_image",) * 2,
}
BATCH = 64
MOST = {"cocktail party": 8}  # its maps have 96 channels of 298 × 257
STEPS, WARM, PATIENCE = 20, 3, 400.0
PRECISIONS = ("float32", "TF32", "bf16")
BYTES_A_WEIGHT = 40


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """The card for this process only, among those that this benchmark started."""
    with (
        FileLock(os.environ["MMTUTOR_BENCH_LOCK"])
        if "MMTUTOR_BENCH_LOCK" in os.environ
        else contextlib.nullcontext()
    ):
        yield


def precision(name: str) -> contextlib.AbstractContextManager:
    """Sets how float32 products are computed; the context is for the loss."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "TF32"
    return torch.autocast("cuda", torch.bfloat16, enabled=name == "bf16")


def milliseconds(step: Callable[[], Any], device: torch.device = GPU) -> float:
    """The median step. On a CPU fewer are taken."""
    if device.type == "cuda":
        for _ in range(WARM):
            step()
        times = []
        for _ in range(STEPS):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            step()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end))
        return statistics.median(times)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def stepper(
    case: cases.Case, size: int, device: torch.device, of: Callable = lambda loss: loss
) -> Callable[[contextlib.AbstractContextManager], None]:
    """A function that takes one step; ``of`` may compile the loss."""
    model, batch = case.model().to(device).train(), cases.moved(case.data(size), device)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, 1e-4)
    loss = of(training._Loss(model))

    def step(context: contextlib.AbstractContextManager) -> None:
        optimizer.zero_grad()
        with context:
            value = loss(batch)["loss"]
        value.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()

    return step


def counted(case: cases.Case, size: int) -> tuple[float, int]:
    """FLOPs of forward and backward for a batch, and the number of trained weights.

    Tensors without numbers (``meta``) carry the shapes. Where a model must look at numbers, two
    samples are computed on the CPU; without oneDNN, whose LSTM is one operation that is not counted.
    """
    try:
        device, few = torch.device("meta"), size
        model, batch = case.model().to(device).train(), cases.moved(case.data(size), device)
        with FlopCounterMode(display=False) as count:
            training._Loss(model)(batch)["loss"].backward()
    except (RuntimeError, NotImplementedError):
        few, model = 2, case.model().train()
        batch = case.data(few)
        with FlopCounterMode(display=False) as count, torch.backends.mkldnn.flags(enabled=False):
            training._Loss(model)(batch)["loss"].backward()
    weights = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return count.get_total_flops() * size / few, weights


def at_the_papers_size(case: cases.Case, size: int, compiles: bool = True) -> dict[str, Any]:
    """Times by precision, eager and compiled; halves the batch where it does not fit."""
    import torch._dynamo

    torch._dynamo.config.allow_rnn = True  # nn.LSTM is one operation on a GPU
    found: dict[str, Any] = {"eager": {}, "compiled": {}, "breaks": {}}
    while True:
        try:
            step = stepper(case, size, GPU)
            with alone():
                torch.cuda.reset_peak_memory_stats()
                for name in PRECISIONS:
                    context = precision(name)
                    found["eager"][name] = milliseconds(functools.partial(step, context))
                    if name == "float32":
                        found["peak MiB"] = torch.cuda.max_memory_allocated() / 2**20
            break
        except torch.OutOfMemoryError:
            step = None
            torch.cuda.empty_cache()
            if size == 1:
                raise
            size //= 2
    del step
    found["batch"] = size
    found["FLOP"], found["weights"] = counted(case, size)
    for name in ("float32", "bf16") if compiles else ():
        for whole in (True, False):
            torch._dynamo.reset()
            torch.cuda.empty_cache()
            try:
                context = precision(name)
                step = stepper(case, size, GPU, functools.partial(torch.compile, fullgraph=whole))
                step(context)  # compiles
                with alone():
                    found["compiled"][name] = milliseconds(functools.partial(step, context))
                break
            except Exception as error:  # whatever the compiler says is the finding
                found["breaks"][f"{name}, {'one graph' if whole else 'pieces'}"] = (
                    f"{type(error).__name__}: {str(error)[:1500]}"
                )
    return found


def measured(name: str, compiles: bool = True) -> dict[str, Any]:
    """One row of both tables, in this process."""
    torch.set_num_threads(1)
    world, paper = SYSTEMS[name]
    row: dict[str, Any] = {"system": name}
    size = MOST.get(name, BATCH)
    if not torch.cuda.is_available():
        if paper is not None:
            flop, weights = counted(cases.PAPER[paper](), size)
            row["paper"] = {"batch": size, "FLOP": flop, "weights": weights}
        return row
    precision("float32")
    none = contextlib.nullcontext()
    row["world"] = {}
    for device in (CPU, GPU):
        step = functools.partial(stepper(cases.WORLD[world], BATCH, device), none)
        with alone():
            row["world"][device.type] = milliseconds(step, device)
        del step
    if paper is not None:
        row["paper"] = at_the_papers_size(cases.PAPER[paper](), size, compiles)
    return row


def word2vec_row() -> dict[str, Any]:
    """Word2vec has a trainer of its own: a step on one stretch of text, which it brings to the device."""
    world, paper = word2vec.Config.world(), word2vec.Config.paper()
    small = {d.type: milliseconds(word2vec_steps(world, 5_000, d), d) for d in (CPU, GPU)}
    large = {"float32": milliseconds(word2vec_steps(paper, 100_000, GPU))}
    return {
        "system": f"word2vec, {world.batch} centres",
        "world": small,
        "paper": {"batch": paper.batch, "eager": large},
    }


def hearing_row() -> dict[str, Any]:
    times = {d.type: milliseconds(hear(d), d) for d in (CPU, GPU)}
    return {"system": "log-mel of 64 seconds, forward", "world": times}


def card() -> dict[str, float]:
    """What the card does when asked for one thing: FLOP/s by precision, bytes/s of a copy."""
    n, found = 8192, {}
    a, b = (torch.randn(n, n, device=GPU) for _ in range(2))
    for name in PRECISIONS:
        with precision(name):
            found[name] = 2 * n**3 / milliseconds(lambda: a @ b) * 1000
    x = torch.empty(2**30, dtype=torch.float32, device=GPU)
    y = torch.empty_like(x)
    found["bytes"] = 2 * x.numel() * 4 / milliseconds(lambda: y.copy_(x)) * 1000
    precision("float32")
    return found


def child(name: str, lock: str, compiles: bool) -> dict[str, Any]:
    """A row, from a process of its own; a failure or a hang costs one row."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "row.json"
        command = [sys.executable, __file__, "--row", name, "--json", str(path)]
        command += [] if compiles else ["--eager"]
        try:
            ran = subprocess.run(
                command,
                env={**os.environ, "MMTUTOR_BENCH_LOCK": lock, "MMTUTOR_TEST_DEVICE": "cpu"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=PATIENCE,
            )
            if ran.returncode == 0:
                return json.loads(path.read_text(encoding="utf-8"))
            return {"system": name, "failed": ran.stderr.strip()[-1500:]}
        except subprocess.TimeoutExpired:
            return {"system": name, "failed": f"took over {PATIENCE:.0f} s"}


def shown(value: float | None) -> str:
    return "—" if value is None else f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


def tables(rows: list[dict[str, Any]], limits: dict[str, float] | None) -> str:
    lines: list[str] = []
    if limits is not None:
        lines += [
            f"{torch.cuda.get_device_name()}, torch {torch.__version__}: "
            + ", ".join(f"{name} {limits[name] / 1e12:,.0f} TFLOP/s" for name in PRECISIONS)
            + f", memory {limits['bytes'] / 1e12:.1f} TB/s",
            "",
            "| system (world's size, batch 64) | CPU, one thread, ms | GPU, ms |",
            "|:--|--:|--:|",
        ]
        lines += [
            f"| {r['system']} | {shown(r['world']['cpu'])} | {shown(r['world']['cuda'])} |"
            for r in rows
            if "world" in r
        ]
        lines += [""]
    head = "| system (paper's size) | batch | million weights | TFLOP a step |"
    if limits is None:
        lines += ["No GPU here: only counts.", "", head, "|:--|--:|--:|--:|"]
    else:
        lines += [
            head[:-1]
            + "| float32 | TF32 | bf16 | float32, compiled | bf16, compiled | memory, MiB | limit, bf16 | share |",
            "|:--|--:|--:|--:|" + "--:|" * 8,
        ]
    for r in rows:
        p = r.get("paper")
        if p is None:
            lines += (
                [f"| {r['system']} | failed: {r['failed'].splitlines()[-1]} |"]
                if "failed" in r
                else []
            )
            continue
        cells = [r["system"], str(p["batch"])]
        cells += (
            [f"{p['weights'] / 1e6:,.1f}", f"{p['FLOP'] / 1e12:,.2f}"]
            if "FLOP" in p
            else ["—", "—"]
        )
        if limits is not None:
            cells += [shown(p["eager"].get(name)) for name in PRECISIONS]
            for name in ("float32", "bf16"):
                whole = f"{name}, one graph" not in p.get("breaks", {})
                value = p.get("compiled", {}).get(name)
                cells.append(shown(value) + ("" if whole or value is None else "*"))
            cells.append(shown(p.get("peak MiB")))
            if "FLOP" in p:
                limit = 1000 * max(
                    p["FLOP"] / limits["bf16"], BYTES_A_WEIGHT * p["weights"] / limits["bytes"]
                )
                times = [p["eager"].get("bf16"), p["compiled"].get("bf16")]
                best = min((t for t in times if t is not None), default=None)
                cells += [shown(limit), "—" if best is None else f"{limit / best:.0%}"]
            else:
                cells += ["—", "—"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("systems", nargs="*", help=f"some of: {', '.join(SYSTEMS)}")
    parser.add_argument("--jobs", type=int, default=6, help="processes at once")
    parser.add_argument("--json", type=Path, help="write the same there")
    parser.add_argument("--eager", action="store_true", help="compile nothing: a minute in all")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.row:
        asked.json.write_text(json.dumps(measured(asked.row, not asked.eager)), encoding="utf-8")
        return
    for name in asked.systems:
        if name not in SYSTEMS:
            parser.error(f"no system {name!r}; there are {', '.join(SYSTEMS)}")
    names = asked.systems or list(SYSTEMS)
    here, limits, more = torch.cuda.is_available(), None, []
    if here:
        limits = card()
        torch.cuda.empty_cache()
        more = [] if asked.systems else [word2vec_row(), hearing_row()]
    if here:
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(asked.jobs) as pool:
            lock = str(Path(folder) / "lock")
            rows = [*pool.map(lambda name: child(name, lock, not asked.eager), names), *more]
    else:
        rows = [measured(name) for name in names]
    print(tables(rows, limits))
    for r in rows:
        for name, why in {"": r.get("failed"), **r.get("paper", {}).get("breaks", {})}.items():
            if why:
                print(f"\n{r['system']}, {name}\n{why}", file=sys.stderr)
    if asked.json:
        device = torch.cuda.get_device_name() if here else None
        about = {"device": device, "torch": torch.__version__, "card": limits, "rows": rows}
        asked.json.write_text(json.dumps(about, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
