"""Run chapters on a pretended GPU: python scripts/on_pretended_gpu.py [book/05_recipes.ipynb …]

Numbers are computed on the CPU. But a tensor that was brought to "cuda" carries a mark, what is made
of it carries it too, and an operation on tensors with and without it is an error, as on a real GPU.
So a chapter that forgets to bring a tensor to the model stops here, where CI has no GPU to stop it.
A mark is an attribute of a tensor's Python object; a ``TorchFunctionMode`` sees each call of torch.

It is near to a GPU and none: what C++ does inside of one call is not looked at (cuDNN's wish for
contiguous states, say), a module that is made with ``device="cuda"`` begins on the CPU, and times say nothing. Prints one line a chapter, and what failed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

GPU = torch.device("cuda", 0)
#: What a GPU lets cross: copies, numbers read out, places to write to.
CROSSING = {"copy_", "__setitem__", "item", "tolist", "__float__", "__int__", "__bool__", "set_"}
#: These take lengths or indices from the CPU.
CROSSING |= {"_pack_padded_sequence", "pack_padded_sequence", "ctc_loss", "index_put", "index_put_"}
#: Python that may look at a tensor without computing with it.
READS_CPU_ONLY = {"numpy", "__array__"}


def marked(x: Tensor) -> bool:
    return "_on_gpu" in x.__dict__


def mark(x: Any, yes: bool) -> Any:
    """The same with the mark set or taken away, in lists and dictionaries too."""
    for one in tensors(x):
        if yes:
            one._on_gpu = True
        else:
            one.__dict__.pop("_on_gpu", None)
    return x


def tensors(x: Any) -> Iterator[Tensor]:
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, dict):
        for one in x.values():
            yield from tensors(one)
    elif isinstance(x, (list, tuple, set)):
        for one in x:
            yield from tensors(one)


def is_gpu(device: Any) -> bool | None:
    """Whether a device is the pretended one; None if it is no device."""
    if isinstance(device, torch.device):
        return device.type == "cuda"
    if isinstance(device, str):
        return device.partition(":")[0] == "cuda"
    return None


class Pretended(TorchFunctionMode):
    """While it is on, "cuda" is a device."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        given = [*tensors(args), *tensors(kwargs)]
        if name == "__get__":  # a property
            what = (resolve_name(func) or "").split(".")[-2]
            if what == "device":
                return GPU if given and marked(given[0]) else func(*args, **kwargs)
            if what == "is_cuda":
                return bool(given) and marked(given[0])
        if name in READS_CPU_ONLY and given and marked(given[0]):
            raise TypeError(
                "can't convert a tensor of the (pretended) GPU to numpy: call .cpu() first"
            )
        if name == "__set__":  # x.data = y, x.grad = y
            out = func(*args, **kwargs)
            if len(given) == 2 and (resolve_name(func) or "").split(".")[-2] == "data":
                mark(given[0], marked(given[1]))
            return out

        # Where the result shall lie: said by an argument, else by what it is made of.
        wanted = None
        if name in ("cuda", "cpu"):
            wanted = name == "cuda"
            if name == "cuda":
                return mark(args[0].clone(), True) if not marked(args[0]) else args[0]
        args = list(args)
        for place in [*range(len(args)), *kwargs]:
            holder = kwargs if isinstance(place, str) else args
            here = (
                is_gpu(holder[place])
                if name == "to" or place == "device" or isinstance(holder[place], torch.device)
                else None
            )
            if here is not None:
                wanted = here
                holder[place] = torch.device("cpu") if here else holder[place]
        if name in ("to", "type_as") and len(given) == 2:  # x.to(other)
            wanted = marked(given[1])
        moves = name in ("to", "cuda", "cpu", "type_as")
        if not moves and name not in CROSSING:
            self.check(name, args, given)
        drawn = kwargs.get("generator")
        if drawn is not None and (wanted or any(map(marked, given))):
            raise RuntimeError(f"{name} on the (pretended) GPU expected a 'cuda' generator")
        out = func(*args, **kwargs)
        if name == "_pack_padded_sequence":
            return mark(out[0], marked(args[0])), *out[
                1:
            ]  # the sizes of its batches stay on the CPU
        if wanted is None:
            wanted = any(map(marked, given if name != "copy_" else given[:1]))
        if moves and wanted != marked(args[0]) and out is args[0]:
            out = out.clone()  # on a real GPU it is another tensor
        if isinstance(out, Tensor) and any(out is one for one in given):
            return out  # in place, or nothing to do
        return mark(out, wanted)

    @staticmethod
    def check(name: str, args: list, given: list[Tensor]) -> None:
        if name == "__getitem__" and given and marked(given[0]):
            return  # an index may lie on the CPU
        there = {marked(x) for x in given if x.dim() or marked(x)}
        if len(there) == 2:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but {name} got some from the CPU and some from the (pretended) GPU"
            )


def pretend() -> None:
    """From here on this process has a GPU, as far as it can see."""
    from mmtutor.kit import runtime, training

    runtime.device = lambda: GPU
    import mmtutor

    mmtutor.device = runtime.device
    module_to = nn.Module.to

    def to(self: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        _, dtype, _, form = torch._C._nn._parse_to(
            *["cpu" if is_gpu(a) else a for a in args],
            **{k: "cpu" if is_gpu(a) else a for k, a in kwargs.items()},
        )
        asked = [is_gpu(a) for a in (*args, *kwargs.values()) if is_gpu(a) is not None]
        own = [*self.parameters(), *self.buffers()]
        before = [marked(x) for x in own]
        if dtype is not None or form is not None:
            more = {} if form is None else {"memory_format": form}
            module_to(self, dtype=dtype, **more)
        now = [*self.parameters(), *self.buffers()]
        whole = getattr(getattr(self, "loss", None), "__self__", None)  # runtime.takes_along
        if "takes_along" in getattr(type(self)._apply, "__qualname__", "") and whole is not self:
            now, before = (
                [*whole.parameters(), *whole.buffers()],
                [marked(x) for x in own][:1] * 999,
            )
        for x, was in zip(now, before):
            mark(x, asked[0] if asked else was)
            if x.grad is not None:
                mark(x.grad, marked(x))
        return self

    nn.Module.to = to
    nn.Module.cuda = lambda self, device=None: to(self, GPU)
    nn.Module.cpu = lambda self: to(self, torch.device("cpu"))
    accelerator_of = training._accelerator

    def accelerator(*args: Any, **kwargs: Any) -> Any:
        runtime.device = lambda: torch.device("cpu")
        try:
            made = accelerator_of(*args, **kwargs)
        finally:
            runtime.device = lambda: GPU
        prepare = made.prepare

        def prepared(model: nn.Module, optimizer: Any, loader: Any) -> Any:
            model, optimizer, loader = prepare(model, optimizer, loader)
            model.model.to(GPU)
            loader.device = GPU
            return model, optimizer, loader

        made.prepare = prepared
        return made

    training._accelerator = accelerator
    torch.cuda.get_device_name = lambda device=None: "a pretended GPU"
    torch.backends.cudnn.is_acceptable = lambda tensor: False
    torch.cuda.mem_get_info = lambda device=None: (8 * 2**30, 8 * 2**30)
    torch.cuda.get_rng_state = lambda device=None: torch.get_rng_state()
    torch.cuda.set_rng_state = lambda state, device=None: None
    Pretended().__enter__()


def execute(path: Path) -> tuple[float, list[tuple[int, str, str]]]:
    """Seconds, and the errors by cell. A cell that failed does not stop the others."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    here = Path(__file__).resolve().parent
    code = (
        f"import sys; sys.path.insert(0, {str(here)!r}); import on_pretended_gpu as g; g.pretend()"
    )
    notebook.cells.insert(0, nbformat.v4.new_code_cell(code))
    notebook.cells.append(
        nbformat.v4.new_code_cell("import mmtutor; assert mmtutor.device().type == 'cuda'")
    )
    start = time.perf_counter()
    NotebookClient(
        notebook,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        timeout=1800,
        startup_timeout=180,
        allow_errors=True,
        store_widget_state=False,
    ).execute()
    found = [
        (k - 1, output.ename, output.evalue)
        for k, cell in enumerate(notebook.cells)
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]
    return time.perf_counter() - start, found


def main(names: list[str]) -> int:
    book = Path(__file__).resolve().parent.parent / "book"
    failed = 0
    for path in map(Path, names) if names else sorted(book.glob("*.ipynb")):
        seconds, errors = execute(path.resolve())
        failed += bool(errors)
        print(f"{path.stem:<24}{seconds:6.0f} s  {'ok' if not errors else ''}", flush=True)
        for cell, kind, told in errors:
            print(f"    cell {cell}: {kind}: {told[:300]}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
