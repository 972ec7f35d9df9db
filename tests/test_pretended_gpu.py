"""The pretended GPU finds what a GPU would find: tensors of two devices in one operation."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BEGIN = f"""
import sys
sys.path.insert(0, {str(ROOT / "scripts")!r})
import numpy as np
import torch
from torch import nn
import on_pretended_gpu
on_pretended_gpu.pretend()
import mmtutor
from mmtutor.kit import runtime, training

def on(x):
    return x.device.type

def fails(call, *told):
    try:
        call()
    except (RuntimeError, TypeError) as error:
        assert any(t in str(error) for t in told), error
        return
    raise AssertionError("no error")

here = torch.arange(12.0).view(3, 4)
there = here.to("cuda")
"""
CASES = {
    "what is made of a marked tensor is marked": """
        assert on(here) == "cpu" and on(there) == "cuda" and there.is_cuda and not here.is_cuda
        assert mmtutor.device().type == "cuda"
        made = [there + 1, there[0], there.T, there.max(0).values, *there.split(1), there.double(), there.to(here.dtype),
                torch.zeros_like(there), there.new_zeros(2), torch.stack([there, there]), nn.functional.pad(there, (1, 1)),
                torch.zeros(2, device=there.device), torch.arange(3, device="cuda"), there * torch.tensor(2.0), here.to(there)]
        assert {on(x) for x in made} == {"cuda"}
        assert {on(x) for x in (there.cpu(), there.to("cpu"), there.to(here), torch.zeros(2), here + 1)} == {"cpu"}
        assert float(there.sum()) == 66 and there.tolist() == here.tolist() and there[0, 1].item() == 1
    """,
    "two devices in one operation": """
        for call in (lambda: here + there, lambda: torch.cat([here, there]), lambda: torch.where(there > 0, there, here),
                     lambda: nn.Linear(4, 2)(there), lambda: nn.LSTM(4, 2)(there), lambda: here[torch.arange(2, device="cuda")],
                     lambda: there.index_select(0, torch.tensor([0])), lambda: nn.functional.embedding(torch.tensor([1]), there)):
            fails(call, "same device")
        for call in (there.numpy, lambda: np.asarray(there)):
            fails(call, "call .cpu() first")
    """,
    "what a GPU allows": """
        assert on(there[torch.tensor([0, 1])]) == "cuda"
        there[0] = torch.ones(4)
        here[0] = there[1]
        assert on(there) == "cuda" and on(here) == "cpu"
        assert there[0].tolist() == [1, 1, 1, 1]
        here.copy_(there)
        assert on(here) == "cpu"
        packed = nn.utils.rnn.pack_padded_sequence(there[None], torch.tensor([3]), batch_first=True)
        assert on(packed.data) == "cuda" and on(here.type_as(there)) == "cuda"
        there.index_put_((torch.tensor([0]),), torch.zeros(4, device="cuda"))
        fails(lambda: torch.rand(2, generator=torch.Generator(), device="cuda"), "generator")
        fails(lambda: there.uniform_(generator=torch.Generator()), "generator")
        torch.rand(2, generator=torch.Generator())
    """,
    "modules go there and come back": """
        model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        model.to("cuda")
        assert {on(x) for x in (*model.parameters(), *model.buffers())} == {"cuda"}
        fails(lambda: model(here), "same device")
        model(there).sum().backward()
        assert on(model[0].weight.grad) == "cuda"
        torch.optim.AdamW(model.parameters()).step()
        model.double()
        assert {on(x) for x in model.parameters()} == {"cuda"}
        model.float().cpu()
        model(here)
    """,
    "fit trains there, and the model comes home": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.out = nn.Linear(4, 1)
            def loss(self, batch):
                assert on(batch["x"]) == on(self.out.weight) == "cuda"
                return self.out(batch["x"]).square().mean()
        model = Model()
        score = lambda model: {"score": float(model.out(here).sum())}
        training.fit(model, {"x": torch.randn(40, 4)}, validate=score, progress=False)
        assert on(model.out.weight) == on(model.out(here)) == "cpu"
        model.to("cuda")
        training.fit(model, {"x": torch.randn(40, 4)}, progress=False)
        assert on(model.out.weight) == "cuda"
    """,
    "a fit that leaves the model there would be found": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.out = nn.Linear(4, 1)
            def loss(self, batch):
                return self.out(batch["x"]).square().mean()
        model = Model()
        training.fit.__wrapped__(model, {"x": torch.randn(40, 4)}, progress=False)
        fails(lambda: model.out(here), "same device")
    """,
    "a loop of one's own brings model, batches and optimizers": """
        class Players:
            def __init__(self, model):
                self.one, self.steps = torch.optim.AdamW(model.parameters()), 0
            def where(self):
                return {on(s["exp_avg"]) for s in self.one.state.values()}
        @runtime.brings
        def train(model, batches, both=None, watch=None):
            both = both or Players(model)
            assert both.where() <= {"cuda"}
            for batch in batches:
                assert on(batch["x"]) == on(model.weight) == "cuda"
                model(batch["x"]).square().mean().backward()
                both.one.step()
                both.steps += 1
                watch and watch(both.steps)
            return both
        model, seen = nn.Linear(4, 2), []
        watch = lambda step: seen.append((step, on(model.weight), on(model(here))))
        both = train(model, [{"x": here}] * 3, watch=watch)
        assert seen == [(k, "cpu", "cpu") for k in (1, 2, 3)]
        assert on(model.weight) == "cpu" and both.where() == {"cpu"}
        assert train(model, [{"x": here}] * 2, both) is both and both.steps == 5
        assert on(model.weight) == "cpu" and both.where() == {"cpu"}
        model.to("cuda")
        train(model, [{"x": there}], Players(model))
        assert on(model.weight) == "cuda"
    """,
    "what is computed otherwise on a GPU, so that it need not wait, is the same": """
        sys.path.insert(0, {tests!r})
        import test_cuda as cases
        for name in ("video_captioning, bound", "video_captioning, bound, mean", "fusion, product", "cocktail_party"):
            case, wide = cases.WORLD[name], torch.float64
            batch = cases.moved(case.data(5), torch.device("cpu"), wide)
            one, other = (case.model(plain=True).to(wide) for _ in range(2))
            other.to("cuda")
            terms, slopes = cases.learned(one, batch)
            found, gpu = cases.learned(other, {n: x.to("cuda") for n, x in batch.items()})
            assert {on(x) for x in found.values()} == {"cuda"}
            torch.testing.assert_close([found[n].cpu() for n in terms], list(terms.values()))
            torch.testing.assert_close([gpu[n].cpu() for n in slopes], list(slopes.values()))
    """.replace("{tests!r}", repr(str(ROOT / "tests"))),
    "a captioner writes there, a judge is paid here": """
        from mmtutor.kit.rewards import SelfCritical
        from mmtutor.show_attend_tell import Config, ShowAttendTell
        torch.manual_seed(0)
        small = dict(annotation=4, grid=(2, 3), embedding=6, hidden=5, attention=4, prepare=5)
        captions = torch.tensor([[1, 5, 6, 2], [1, 7, 2, 0]])
        features = torch.randn(2, 4, 2, 3)
        asked = []
        def pay(said, numbers):
            asked.append((len(said), on(numbers), numbers.tolist()))
            return torch.tensor([float(len(ids)) for ids in said])
        class Two(torch.utils.data.Dataset):
            def __len__(self):
                return 2
            def __getitem__(self, i):
                return {"features": features[i], "captions": captions[i], "numbers": torch.tensor(i)}
        for mode in ("soft", "hard"):
            model = ShowAttendTell(Config(vocabulary=9, mode=mode, **small))
            before = {k: v.clone() for k, v in model.state_dict().items()}
            watched = SelfCritical(model, pay, samples=3, limit=6)
            loss = watched.own
            watched.own = lambda features, numbers: (asked.append(on(features)), loss(features, numbers))[1]
            history = training.fit(watched, Two(), batch_size=2, epochs=3, lr=1e-2, progress=False, log_every=1)
            assert asked[-2] == "cuda" and asked[-1][:2] == (6, "cpu")
            assert asked[-1][2] in ([0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0])
            assert all(np.isfinite(x).all() for x in map(np.array, history.losses.values()))
            assert {on(x) for x in model.state_dict().values()} == {"cpu"}
            assert not torch.equal(before["output.weight"], model.output.weight)
    """,
    "a part that leaves the rest behind would be found": """
        class Whole(nn.Module):
            def __init__(self):
                super().__init__()
                self.own, self.rest = nn.Linear(4, 4), nn.Linear(4, 1)
            def loss(self, batch):
                return self.rest(self.own(batch["x"])).square().mean()
        class Part(nn.Module):
            def __init__(self, whole):
                super().__init__()
                self.own, self.loss = whole.own, whole.loss
        fails(lambda: training.fit(Part(Whole()), {"x": torch.randn(40, 4)}, progress=False), "same device")
        whole = Whole()
        training.fit(runtime.takes_along(Part)(whole), {"x": torch.randn(40, 4)}, progress=False)
        assert on(whole.rest.weight) == "cpu"
        whole.rest(whole.own(here))
    """,
}


@pytest.mark.parametrize("case", CASES)
def test_pretended_gpu(case: str) -> None:
    code = BEGIN + textwrap.dedent(CASES[case])
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr[-2000:]


@pytest.mark.parametrize(
    ("systems", "size"),
    [
        (["joint_embedding"], 60),
        (["text_to_image"], 60),
        (["fusion"], 60),
        (["vlbert", "vilbert"], 60),
        (["recipes", "video_captioning", "speech2face"], 12),
    ],
)
def test_the_command_trains_and_evaluates_there(
    systems: list[str], size: int, tmp_path: Path
) -> None:
    code = BEGIN + textwrap.dedent(
        f"""
        from click.testing import CliRunner
        from mmtutor import cli
        for system in {systems!r}:
            out = {str(tmp_path)!r} + "/" + system
            made = ["train", system, "--out", out, "--steps", "2", "--size", "{size}"]
            for told in (made, ["evaluate", out, "--size", "{size // 3}"]):
                ran = CliRunner().invoke(cli.main, told)
                assert ran.exit_code == 0, ran.output
                assert told[0] != "train" or "pretended GPU" in ran.output
        """
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr[-2000:]
