"""Rows of two processes (gloo): the same batch in both, and the gradients of one process with all of it."""

import subprocess
import sys

import pytest
import torch

from mmtutor.kit import processes

TWO = """
import os, sys, torch
from mmtutor.kit.processes import gathered, of_the_first, several
folder, rank = sys.argv[1], int(sys.argv[2])
alone = several()
torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
both = torch.load(folder + "/both.pt", weights_only=True)
weight = both["weight"].requires_grad_()
mine = slice(0, 5) if rank == 0 else slice(5, 7)  # five rows and two
x, y = (gathered(both[name][mine] @ weight) for name in ("x", "y"))
table = x @ y.T
loss = -(7 * table).log_softmax(1).diagonal().mean()
share = {0: 2 * 5 / 7, 1: 2 * 2 / 7}[rank]  # what fit multiplies the loss of a short batch with
(loss * share).backward()
torch.distributed.all_reduce(weight.grad)
found = dict(loss=loss.detach(), grad=weight.grad / 2, numbers=gathered(both["numbers"][mine]))
found |= dict(bits=gathered(both["numbers"][mine] > 3), bytes=gathered(both["numbers"][mine].to(torch.uint8)))
found |= dict(first=of_the_first(both["numbers"] + 10 * rank), told=of_the_first(torch.tensor([rank == 0])))
found |= dict(alone=alone, several=several(), fixed=gathered(both["x"][mine]))
torch.save(found, f"{folder}/{rank}.pt")
torch.distributed.barrier()
os._exit(0)  # torch itself aborts now and then when it takes gloo down, even where nothing was sent
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without processes")
def test_two_processes_are_one_with_all_rows(tmp_path):
    dice = torch.Generator().manual_seed(0)
    x, y = (torch.randn(7, 4, generator=dice, dtype=torch.float64) for _ in range(2))
    weight, numbers = (
        torch.randn(4, 3, generator=dice, dtype=torch.float64),
        torch.arange(14).view(7, 2),
    )
    torch.save({"x": x, "y": y, "weight": weight, "numbers": numbers}, tmp_path / "both.pt")
    script = tmp_path / "two.py"
    script.write_text(TWO)
    runs = [
        subprocess.Popen(
            [sys.executable, script, tmp_path, str(rank)], stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    for run in runs:
        _, wrong = run.communicate(timeout=400)
        assert run.returncode == 0, wrong

    weight.requires_grad_()
    loss = -(7 * (x @ weight) @ (y @ weight).T).log_softmax(1).diagonal().mean()
    loss.backward()
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(found["loss"], loss.detach())
        torch.testing.assert_close(found["grad"], weight.grad)
        assert torch.equal(found["fixed"], x)
        assert torch.equal(found["numbers"], numbers)
        assert torch.equal(found["bits"], numbers > 3)
        assert torch.equal(found["bytes"], numbers.to(torch.uint8))
        assert torch.equal(found["first"], numbers)
        assert found["told"].tolist() == [True]
        assert (found["alone"], found["several"]) == (False, True)


def test_one_process_is_not_several():
    assert not processes.several()
