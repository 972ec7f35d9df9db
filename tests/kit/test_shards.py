"""Two processes that share the data (DDP), or the model too (FSDP): systems of each kind do what one process does.

Accelerate offers FSDP on GPUs only; torch's own also runs on a CPU (gloo). So the tests tell Accelerate
that the CPU is a device on which it may share out, and all else is what ``accelerate launch`` would do.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import test_cuda as cases
import torch
from launching import launch
from torch import Tensor, nn

from mmtutor.kit.training import History, fit


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMTUTOR_PROGRESS", "0")
    monkeypatch.setenv("MMTUTOR_DEVICE", "cpu")


#: A captioner, one whose negatives are gathered from all processes, a transformer.
NAMES = ("show_and_tell", "joint_embedding, ranking", "vlbert")


class Answers(cases.OneStream):
    """The transformer with the loss of answers alone, which is a mean over samples; the heads that
    it does not use are frozen, as in fine-tuning."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        case = cases.WORLD["vlbert"]
        self.model.loss(case.data(3))["loss"].backward()
        for p in self.parameters():
            p.requires_grad_(p.grad is not None)
            p.grad = None

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": self.model.loss(batch)["loss"]}


RUN = dict(epochs=2, lr=0.01, clip=0.5, log_every=1, optimizer=torch.optim.AdamW)
N = 23  # rounds of 5 and 5, 5 and 5, 2 and 1


class Net(nn.Module):
    """A frozen part, a buffer, weights that two parts share, and a sum that is not trained on."""

    def __init__(self, stop: int | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.second = nn.Linear(3, 5), nn.Linear(5, 1)
            self.frozen, self.again = nn.Linear(5, 5).requires_grad_(False), nn.Linear(5, 1)
        self.again.weight = self.second.weight
        self.register_buffer("seen", torch.zeros(()))
        self.calls, self.stop = 0, stop

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.frozen(torch.tanh(self.first(x))))
        return self.second(h) + self.again(h.square())

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.calls == self.stop:
            raise KeyboardInterrupt
        self.calls += 1
        self.seen += 1
        return {"fit": (self(batch["x"]) - batch["y"]).square().mean()}


def table(n: int = N) -> dict[str, Tensor]:
    dice = torch.Generator().manual_seed(1)
    return {"x": torch.randn(n, 3, generator=dice), "y": torch.randn(n, 1, generator=dice)}


def share_out() -> None:
    """Let Accelerate do on the CPU what it does on GPUs with ``--use_fsdp --fsdp_version 2``."""
    from accelerate import Accelerator, FullyShardedDataParallelPlugin
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    os.environ["ACCELERATE_USE_FSDP"] = "true"
    state = Accelerator(cpu=True, mixed_precision="no").state
    state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="no_wrap", cpu_ram_efficient_loading=False
    )
    state.distributed_type = DistributedType.FSDP
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP


def told(model: nn.Module, history: Any) -> dict[str, Any]:
    weights = {name: p.detach() for name, p in model.named_parameters()}
    assert {type(p) for p in weights.values()} == {Tensor}
    of = history or History()
    return {"weights": weights, "losses": of.losses, "validation": of.validation}


def trained(name: str, processes: int = 2, **settings: Any) -> dict[str, Any]:
    case = cases.WORLD[name]
    if name == "vlbert":
        case = dataclasses.replace(case, make=Answers)
    model = case.model(plain=True)
    size = 5 if processes == 2 else 10
    settings = {**RUN, "optimizer": torch.optim.SGD, "lr": 0.05, **settings}  # Adam swells rounding
    return told(model, fit(model, case.data(N), batch_size=size, **settings))


def score(model: Net) -> dict[str, float]:
    return {"error": float((model(table()["x"]) - table()["y"]).square().mean())}


def net(stop: int | None = None, batch_size: int = 5, **settings: Any) -> dict[str, Any]:
    model = Net(stop)
    settings = {**RUN, "validate": score, "batch_size": batch_size, **settings}
    found = told(model, fit(model, table(), **settings))
    assert model.again.weight is model.second.weight
    assert not model.frozen.weight.requires_grad
    return found | {"calls": model.calls, "forward": model(table()["x"]).detach()}


class Lost(Net):
    """Its loss, not the gradient, is infinite in one of two processes."""

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        alone = os.environ["RANK"] == "1"
        return {"fit": super().loss(batch)["fit"] + (float("inf") if alone else 0.0)}


def fails(model: Net) -> dict[str, float]:
    return {"error": 1 / 0}


def ended(make: type[Net], **settings: Any) -> dict[str, Any]:
    """A run of one epoch that ends with an error: its message, and that the model can be used."""
    model = make()
    try:
        fit(model, table(), **{**RUN, "epochs": 1, "batch_size": 5, **settings})
    except (ZeroDivisionError, FloatingPointError) as error:
        return told(model, None) | {"error": str(error), "forward": model(table()["x"]).detach()}
    raise AssertionError("no error")


TWO = """
import os, sys, torch
sys.path[:0] = [{tests!r}, os.path.dirname({tests!r})]
import test_shards as t
folder, how = sys.argv[1:]
if how == "FSDP":
    t.share_out()
rank = os.environ["RANK"]
done = {{name: t.trained(name) for name in t.NAMES}}
if how == "FSDP":
    try:
        t.trained("joint_embedding")
    except ValueError as error:
        done["refused"] = str(error)
done["net"], done["accumulated"] = t.net(), t.net(accumulate=2, batch_size=3)
file = dict(checkpoint=f"{{folder}}/c.pt", checkpoint_every=1)
model = t.Net(4)
try:
    t.fit(model, t.table(), **t.RUN, batch_size=5, validate=t.score, **file)
except KeyboardInterrupt:
    done["halted"] = t.told(model, None)
    done["stopped"] = torch.load(f"{{folder}}/c.pt", weights_only=True)["step"]
torch.distributed.barrier()
if rank == "0":
    os.link(f"{{folder}}/c.pt", f"{{folder}}/half.pt")
torch.distributed.barrier()
done["resumed"] = t.net(**file)
done["failed"], done["infinite"] = t.ended(t.Net, validate=t.fails), t.ended(t.Lost)
torch.save(done, f"{{folder}}/{{rank}}.pt")
torch.distributed.barrier()
print(end="", flush=True)
os._exit(0)  # torch itself aborts now and then when it takes gloo down, even where nothing was sent
"""


def same(a: dict[str, Any], b: dict[str, Any], exactly: bool = False) -> None:
    assert a["weights"].keys() == b["weights"].keys()
    for name, weight in a["weights"].items():
        if exactly:
            assert torch.equal(weight, b["weights"][name]), name
        torch.testing.assert_close(weight, b["weights"][name], atol=2e-5, rtol=1e-4, msg=name)
    for place in ("losses", "validation"):
        assert a[place].keys() == b[place].keys()
        for name, values in a[place].items():
            if name == "per_word":  # a mean over words; fit weighs it by samples, and says so
                continue
            assert values == pytest.approx(b[place][name], rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize("how", ["DDP", "FSDP"])
def test_two_processes_do_what_one_does_with_the_double_batch(tmp_path: Path, how: str) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO.format(tests=str(Path(__file__).parent)))
    done = launch(script, tmp_path, how)
    assert done.returncode == 0, done.stderr[:8000]
    first, second = (torch.load(tmp_path / f"{i}.pt", weights_only=True) for i in (0, 1))
    for name in NAMES:
        same(first[name], second[name], exactly=True)
        same(first[name], trained(name, processes=1))
        assert len(first[name]["losses"]["loss"]) == 6
    if how == "FSDP":  # its temperature is learned
        assert "a weight that is a single number: log_scale; train Joint" in first["refused"]
    alone = net(batch_size=10)
    same(first["net"], alone)
    torch.testing.assert_close(first["net"]["forward"], alone["forward"], atol=1e-4, rtol=1e-4)
    same(first["accumulated"], net(batch_size=12))
    # broken off after four of six steps, and on to the same end
    assert first["stopped"] == 4
    same(first["halted"], second["halted"], exactly=True)
    written = torch.load(tmp_path / "half.pt", weights_only=True)["model"]
    for name, weight in first["halted"]["weights"].items():
        assert torch.equal(weight, written[name]), name
    assert first["resumed"]["calls"] == 2
    same(first["resumed"], first["net"], exactly=True)
    same(second["resumed"], first["net"], exactly=True)
    # the model can be used after an error too, and one process does not wait for the other
    model = Net()
    fit(model, table(), **{**RUN, "batch_size": 10, "epochs": 1})
    same(first["failed"], second["failed"], exactly=True)
    same(first["failed"], told(model, None))
    same(first["infinite"], told(Net(), None))
    assert "at step 0 in another process; here: loss = " in first["infinite"]["error"]
    assert "at step 0: loss = inf" in second["infinite"]["error"]
    # what two wrote, one reads, and goes on from it
    for more in ({"batch_size": 10}, {"batch_size": 5, "accumulate": 2}):
        (tmp_path / "one.pt").write_bytes((tmp_path / "half.pt").read_bytes())
        with pytest.warns(UserWarning, match=r"was written by 2 process\(es\); 1 go on"):
            one = net(checkpoint=tmp_path / "one.pt", **more)
        assert one["calls"] == (3 if "accumulate" in more else 2)  # the last step has 3 samples
        same(one, alone)
    for more in ({"batch_size": 5}, {"batch_size": 10, "seed": 1}, {"batch_size": 10, "lr": 0.1}):
        (tmp_path / "one.pt").write_bytes((tmp_path / "half.pt").read_bytes())
        with pytest.raises(ValueError, match="belongs to another run"):
            net(checkpoint=tmp_path / "one.pt", **more)


def test_a_cpu_refuses_to_share_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match=r"ACCELERATE_USE_FSDP=true: .* offers on GPUs"):
        fit(Net(), table())
