"""Training: against a closed form, a loop written by hand and torch's schedulers; runs that are broken off; two processes."""

import functools
import json
import math
import os
import pickle
import signal
import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from launching import launch
from small_disk import fill, small_disk
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from mmtutor.kit import training
from mmtutor.kit.training import (
    History,
    ShuffledBatches,
    _kept,
    _TensorData,
    fit,
    schedule_factor,
)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("MMTUTOR_PROGRESS", "0")
    for name in [*os.environ]:
        if name == "MMTUTOR_DEVICE" or name.startswith("ACCELERATE_"):
            monkeypatch.delenv(name)


class Stop(Exception):
    """Breaks a run off, as a kill would."""


class Net(nn.Module):
    """Two layers with dropout between them; it counts its steps, and can break off after some."""

    def __init__(self, dropout: float = 0.3, stop: int | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.second = nn.Linear(3, 5), nn.Linear(5, 1)
        self.dropout, self.stop, self.calls = nn.Dropout(dropout), stop, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.dropout(torch.tanh(self.first(x))))

    def loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        if self.stop is not None and self.calls == self.stop:
            raise Stop
        self.calls += 1
        return (self(batch["x"]) - batch["y"]).square().mean()


class Line(nn.Module):
    """Least squares."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(n, 1, dtype=torch.float64))

    def loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return (batch["x"] @ self.w - batch["y"]).square().mean()


def points(n: int = 22, seed: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, generator=generator)
    return {"x": x, "y": x.sum(1, keepdim=True) + 0.1 * torch.randn(n, 1, generator=generator)}


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


# --- what is learnt -------------------------------------------------------------------------------


def test_least_squares_reaches_the_closed_form():
    data = {k: v.double() for k, v in points(40).items()}
    model = Line(3)
    fit(model, data, epochs=150, batch_size=40, lr=0.1, clip=None, optimizer=torch.optim.Adam)
    best = torch.linalg.lstsq(data["x"], data["y"]).solution
    assert torch.allclose(model.w, best, atol=1e-3)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_equals_a_plain_loop_step_by_step(schedule):
    data, model, plain = points(22), Net(dropout=0), Net(dropout=0)
    seen = []
    options = dict(
        epochs=3, batch_size=5, lr=0.05, weight_decay=0.1, clip=0.2, warmup=4, seed=7, log_every=1
    )
    history = fit(model, data, schedule=schedule, **options)

    opt = torch.optim.AdamW(plain.parameters(), lr=0.05, weight_decay=0.1)
    batches, total, step = ShuffledBatches(22, 5, seed=7), 15, 0
    for epoch in range(3):
        batches.epoch = epoch
        for rows in batches:
            if step < 4:
                factor = (step + 1) / 4
            else:
                done = (step - 4) / (total - 4)
                factor = {
                    "constant": 1,
                    "linear": 1 - done,
                    "cosine": (1 + math.cos(math.pi * done)) / 2,
                }[schedule]
            opt.param_groups[0]["lr"] = 0.05 * factor
            loss = (plain(data["x"][rows]) - data["y"][rows]).square().mean()
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(plain.parameters(), 0.2)
            opt.step()
            seen.append(loss.item())
            step += 1
    assert step == total
    assert history.losses["loss"] == seen
    assert same(model, plain)


def test_named_terms_are_summed_and_recorded():
    class Two(Net):
        def loss(self, batch):
            return {
                "fit": super().loss(batch),
                "size": 0.1 * sum(p.square().sum() for p in self.parameters()),
            }

    class Summed(Two):
        def loss(self, batch):
            return sum(super().loss(batch).values())

    two, summed = Two(), Summed()
    history = fit(two, points(), epochs=2, log_every=1)
    total = fit(summed, points(), epochs=2, log_every=1)
    assert same(two, summed)
    assert list(history.losses) == ["loss", "fit", "size"]
    assert history.losses["loss"] == total.losses["loss"]
    assert history.losses["loss"] == pytest.approx(
        np.add(history.losses["fit"], history.losses["size"]).tolist()
    )


def test_a_term_called_loss_is_the_total_and_the_others_are_only_recorded():
    class Watched(Net):
        def loss(self, batch):
            return {"norm": 1e6 * self.first.weight.norm(), "loss": super().loss(batch)}

    watched, plain = Watched(), Net()
    history = fit(watched, points(), epochs=2)
    fit(plain, points(), epochs=2)
    assert same(watched, plain)
    assert history.losses["norm"][0] > 1e5 > history.losses["loss"][0]


@pytest.mark.parametrize(("clip", "bound"), [(0.01, 0.01), (None, math.inf)])
def test_clipping_bounds_the_norm_of_the_gradient(clip, bound):
    norms = []

    class Watching(torch.optim.SGD):
        def step(self, closure=None):
            gradients = [p.grad for group in self.param_groups for p in group["params"]]
            norms.append(
                torch.linalg.vector_norm(torch.cat([g.flatten() for g in gradients])).item()
            )
            return super().step(closure)

    fit(Net(), points(), epochs=3, batch_size=4, clip=clip, optimizer=Watching)
    assert len(norms) == 18
    assert max(norms) <= bound * (1 + 1e-5)
    assert max(norms) > 0.1 if clip is None else min(norms) == pytest.approx(0.01, rel=1e-3)


def test_frozen_parameters_do_not_move():
    model = Net()
    model.first.requires_grad_(False)
    before = weights(model)
    fit(model, points(), epochs=3, weight_decay=0.5)
    assert torch.equal(model.first.weight, before[0])
    assert torch.equal(model.first.bias, before[1])
    assert not torch.equal(model.second.weight, before[2])


def test_parameter_groups_keep_the_ratio_of_their_rates():
    rates = []

    class Watching(torch.optim.SGD):
        def step(self, closure=None):
            rates.append([group["lr"] for group in self.param_groups])
            return super().step(closure)

    def groups(parameters, lr, weight_decay):
        return Watching(
            [{"params": parameters[:2], "lr": lr / 10}, {"params": parameters[2:]}], lr=lr
        )

    fit(Net(), points(), batch_size=4, lr=0.5, schedule="linear", optimizer=groups)
    assert np.allclose(rates, [[0.05 * f, 0.5 * f] for f in (1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6)])


def test_same_seed_same_weights_and_another_seed_others():
    a, b, c = Net(), Net(), Net()
    ours = fit(a, points(), epochs=2, batch_size=4, seed=3)
    torch.manual_seed(99)  # what happened before does not matter
    assert fit(b, points(), epochs=2, batch_size=4, seed=3) == ours
    fit(c, points(), epochs=2, batch_size=4, seed=4)
    assert same(a, b)
    assert not same(a, c)


def test_dropout_draws_another_mask_in_every_step():
    masks = []

    class Masks(Net):
        def loss(self, batch):
            masks.append(self.dropout(torch.ones(64)).tolist())
            return super().loss(batch)

    fit(Masks(0.5), points(), epochs=2, batch_size=11)
    assert len({tuple(m) for m in masks}) == len(masks) == 4


# --- schedules ------------------------------------------------------------------------------------


def by_torch(make, total: int) -> list[float]:
    opt = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = make(opt), []
    for _ in range(total):
        rates.append(opt.param_groups[0]["lr"])
        opt.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("cosine", lambda opt: torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=17)),
        ("linear", lambda opt: torch.optim.lr_scheduler.LinearLR(opt, 1.0, 0.0, total_iters=17)),
        ("constant", lambda opt: torch.optim.lr_scheduler.ConstantLR(opt, 1.0)),
    ],
)
def test_schedules_equal_those_of_torch(kind, make):
    assert np.allclose(
        [schedule_factor(kind, step, 17) for step in range(17)], by_torch(make, 17), atol=1e-12
    )


def test_warmup_equals_torchs_sequence():
    def make(opt):
        warm = torch.optim.lr_scheduler.LinearLR(
            opt, start_factor=1 / 5, end_factor=1.0, total_iters=4
        )
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=12)
        return torch.optim.lr_scheduler.SequentialLR(opt, [warm, cosine], milestones=[5])

    ours = [schedule_factor("cosine", step, 17, warmup=5) for step in range(17)]
    assert np.allclose(ours, by_torch(make, 17), atol=1e-12)


@given(
    st.sampled_from(["constant", "linear", "cosine"]),
    st.integers(1, 60),
    st.integers(0, 70),
    st.integers(0, 200),
)
def test_factors_stay_between_zero_and_one(kind, total, warmup, step):
    assert 0 <= schedule_factor(kind, step, total, warmup) <= 1


def test_a_schedule_may_be_a_function_and_a_checkpoint_of_it_can_be_read(tmp_path):
    file = tmp_path / "c.pt"
    options = dict(
        schedule=lambda step, total: np.float64(0.5**step),
        lr=np.float32(0.5),
        batch_size=np.int64(11),
    )
    history = fit(Net(), points(), log_every=1, checkpoint=file, **options)
    assert history.learning_rate == [0.5, 0.25]
    assert fit(Net(), points(), log_every=1, checkpoint=file, **options) == history


def test_an_unknown_schedule_is_named_at_once():
    with pytest.raises(ValueError, match=r"'constant', 'cosine', 'linear'.*'kosinus'"):
        schedule_factor("kosinus", 0, 10, warmup=5)
    with pytest.raises(ValueError, match="kosinus"):
        fit(Net(), points(), schedule="kosinus", warmup=5)


# --- runs that are broken off ---------------------------------------------------------------------

RUN = dict(
    epochs=3, batch_size=5, lr=0.05, warmup=2, log_every=2, checkpoint_every=1
)  # 5 batches an epoch, the last of 2


def score(model: nn.Module) -> dict[str, float]:
    torch.rand(3)  # a validation that draws must not change the training
    return {"size": float(model.first.weight.norm())}


@pytest.fixture(scope="module")
def unbroken():
    os.environ["MMTUTOR_PROGRESS"] = "0"
    model = Net()
    return model, fit(model, points(), validate=score, **RUN)


@pytest.mark.parametrize("stop", [1, 3, 5, 7, 10, 14])
def test_a_resumed_run_equals_an_unbroken_one_bit_by_bit(tmp_path, unbroken, stop):
    model, history = unbroken
    file = tmp_path / "deep" / "c.pt"
    with pytest.raises(Stop):
        fit(Net(stop=stop), points(), validate=score, checkpoint=file, **RUN)
    torch.manual_seed(123)
    resumed = Net()
    assert fit(resumed, points(), validate=score, checkpoint=file, **RUN) == history
    assert resumed.calls == 15 - stop
    assert same(resumed, model)
    assert sorted(p.name for p in file.parent.iterdir()) == ["c.pt"]


def test_a_run_broken_twice_and_between_checkpoints(tmp_path, unbroken):
    model, history = unbroken
    file, options = tmp_path / "c.pt", RUN | {"checkpoint_every": 3}
    for stop in (4, 6):  # steps 0 to 3, kept are 3 of them; then 3 to 8, kept are all
        with pytest.raises(Stop):
            fit(Net(stop=stop), points(), validate=score, checkpoint=file, **options)
    resumed = Net()
    assert fit(resumed, points(), validate=score, checkpoint=file, **options) == history
    assert resumed.calls == 6
    assert same(resumed, model)


def test_a_checkpoint_is_replaced_and_never_written_over(tmp_path):
    file, old = tmp_path / "c.pt", tmp_path / "old.pt"
    with pytest.raises(Stop):
        fit(Net(stop=4), points(), checkpoint=file, **RUN)
    os.link(file, old)  # a second name for the same bytes: a write in place would change them
    before = old.read_bytes()
    fit(Net(), points(), checkpoint=file, **RUN)
    assert old.read_bytes() == before != file.read_bytes()


def test_a_validation_that_fails_is_made_up_for(tmp_path, unbroken):
    model, history = unbroken

    def fails(_):
        raise Stop

    with pytest.raises(Stop):
        fit(Net(), points(), validate=fails, checkpoint=tmp_path / "c.pt", **RUN)
    resumed = Net()
    assert fit(resumed, points(), validate=score, checkpoint=tmp_path / "c.pt", **RUN) == history
    assert same(resumed, model)


def test_a_finished_run_is_only_read_back(tmp_path, unbroken):
    model, history = unbroken
    fit(Net(), points(), validate=score, checkpoint=tmp_path / "c.pt", **RUN)
    again = Net(stop=0)
    assert fit(again, points(), validate=score, checkpoint=str(tmp_path / "c.pt"), **RUN) == history
    assert same(again, model)
    assert not again.training


def test_max_steps_ends_within_an_epoch_and_the_schedule_with_it(tmp_path):
    model = Net()
    history = fit(
        model, points(), epochs=3, batch_size=5, max_steps=7, log_every=1, schedule="linear", lr=0.7
    )
    assert model.calls == 7
    assert history.steps == list(range(7))
    assert history.learning_rate == pytest.approx([0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


class Noisy(Dataset):
    """Draws at random, from all three libraries, whenever a sample is read."""

    def __len__(self) -> int:
        return 13

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        import random

        x = torch.randn(3) + random.random() + float(np.random.rand())  # noqa: NPY002
        return {"x": x, "y": torch.tensor([float(index)])}


def test_a_dataset_that_draws_at_random_resumes_exactly_too(tmp_path):
    options = dict(epochs=2, batch_size=4, checkpoint_every=1, log_every=1)
    whole, resumed = Net(), Net()
    history = fit(whole, Noisy(), **options)
    with pytest.raises(Stop):
        fit(Net(stop=6), Noisy(), checkpoint=tmp_path / "c.pt", **options)
    assert fit(resumed, Noisy(), checkpoint=tmp_path / "c.pt", **options) == history
    assert same(whole, resumed)


@pytest.mark.parametrize("own_generator", [False, True])
def test_a_shuffling_dataloader_resumes_exactly(tmp_path, own_generator):
    def loader():
        generator = torch.Generator().manual_seed(5) if own_generator else None
        return DataLoader(Plain(), batch_size=5, shuffle=True, generator=generator)

    orders = []

    class Seen(Net):
        def loss(self, batch):
            value = super().loss(batch)
            orders.append(batch["y"].flatten().tolist())
            return value

    whole, resumed = Seen(), Seen()
    history = fit(whole, loader(), **RUN)
    seen = orders.copy()
    orders.clear()
    with pytest.raises(Stop):
        fit(Seen(stop=7), loader(), checkpoint=tmp_path / "c.pt", **RUN)
    assert fit(resumed, loader(), checkpoint=tmp_path / "c.pt", **RUN) == history
    assert same(whole, resumed)
    assert orders == seen
    assert sorted(chain(*seen[:5])) == sorted(chain(*seen[5:10]))  # every epoch sees all
    assert seen[:5] != seen[5:10]  # in another order


def test_a_loader_in_order_gives_its_batches_in_order():
    got = []

    class Seen(Net):
        def loss(self, batch):
            got.extend(batch["y"].flatten().tolist())
            return super().loss(batch)

    fit(Seen(), DataLoader(Plain(), batch_size=5))
    assert got == points()["y"].flatten().tolist()


SCRIPT = """
import os, signal, sys, torch
sys.path[:0] = [{tests!r}, os.path.dirname({tests!r})]
import test_training as t
file, die_at, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
class Dies(t.Net):
    def loss(self, batch):
        if how == "step" and self.calls == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(batch)
real, saves = torch.save, 0
def save(content, target):
    global saves
    saves += 1
    if how == "save" and saves == die_at:
        target.write(b"half a checkpoint"); target.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return real(content, target)
torch.save = save
t.fit(Dies(), t.points(), validate=t.score, checkpoint=file, **t.RUN)
"""


@pytest.mark.parametrize(("die_at", "how"), [(8, "step"), (4, "save")])
def test_a_killed_process_resumes_to_the_same_weights(tmp_path, unbroken, die_at, how):
    model, history = unbroken
    file = tmp_path / "c.pt"
    code = SCRIPT.format(tests=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", code, str(file), str(die_at), how], timeout=240)
    assert done.returncode == -signal.SIGKILL
    resumed = Net()
    assert fit(resumed, points(), validate=score, checkpoint=file, **RUN) == history
    assert resumed.calls == 15 - (die_at if how == "step" else die_at - 1)
    assert same(resumed, model)


@pytest.mark.parametrize("when", ["step", "save"])
def test_told_to_stop_within_a_step_or_a_save_it_leaves_a_whole_checkpoint(
    tmp_path, monkeypatch, unbroken, when
):
    """SIGTERM, as the command line takes it: what a machine sends that is about to be taken away."""
    file, real, saves = tmp_path / "c.pt", torch.save, []

    def stop(*_):
        raise KeyboardInterrupt

    class Told(Net):
        def loss(self, batch):
            if when == "step" and self.calls == 8:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().loss(batch)

    def save(content, target):
        saves.append(1)
        real(content, target)
        if when == "save" and len(saves) == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(torch, "save", save)
    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(Told(), points(), validate=score, checkpoint=file, **RUN)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]
    assert torch.load(file, weights_only=True)["step"] == 8
    resumed = Net()
    assert fit(resumed, points(), validate=score, checkpoint=file, **RUN) == unbroken[1]
    assert resumed.calls == 15 - 8
    assert same(resumed, unbroken[0])


# --- checkpoints that cannot be used --------------------------------------------------------------


@pytest.fixture
def stored(tmp_path):
    file = tmp_path / "c.pt"
    fit(Net(), points(), checkpoint=file, **RUN)
    return file


def test_a_pickle_that_runs_code_does_not_run(tmp_path):
    file, trace = tmp_path / "c.pt", tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (Path.touch, (trace,))

    for write in (
        lambda: torch.save({"run": Evil()}, file),
        lambda: file.write_bytes(pickle.dumps(Evil())),
    ):
        write()
        with pytest.raises(ValueError, match=r"c\.pt is not a readable checkpoint .*; delete it"):
            fit(Net(), points(), checkpoint=file, **RUN)
        assert not trace.exists()
    torch.save({"run": Evil()}, file)
    torch.load(file, weights_only=False)  # the trap is real
    assert trace.exists()


@pytest.mark.parametrize("content", [b"", b"\x00" * 5000, b"no checkpoint"])
def test_a_file_of_something_else(tmp_path, content):
    (tmp_path / "c.pt").write_bytes(content)
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        fit(Net(), points(), checkpoint=tmp_path / "c.pt", **RUN)
    assert (tmp_path / "c.pt").read_bytes() == content


def test_a_checkpoint_with_other_contents(tmp_path):
    for content in (
        {},
        [1],
        {"run": 3, "history": {}, "step": 1},
        {"run": {}, "history": {"steps": []}, "step": 2},
    ):
        torch.save(content, tmp_path / "c.pt")
        with pytest.raises(ValueError, match=r"not a readable checkpoint|of another version"):
            fit(Net(), points(), checkpoint=tmp_path / "c.pt", **RUN)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_checkpoint(stored, share):
    whole = stored.read_bytes()
    stored.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        fit(Net(), points(), checkpoint=stored, **RUN)


def test_a_flipped_bit_is_noticed_or_harmless(stored):
    whole, good = bytearray(stored.read_bytes()), Net()
    history = fit(good, points(), checkpoint=stored, **RUN)
    rng, noticed = np.random.default_rng(0), 0
    for _ in range(40):
        noisy = whole.copy()
        noisy[rng.integers(len(noisy))] ^= 1 << rng.integers(8)
        stored.write_bytes(noisy)
        model = Net()
        try:
            assert fit(model, points(), checkpoint=stored, **RUN) == history
            assert same(model, good)
        except ValueError as error:
            assert "not a readable checkpoint" in str(error)  # noqa: PT017  either outcome is right
            noticed += 1
    assert noticed > 0


def test_every_flipped_bit_in_the_weights_is_noticed(stored):
    whole = stored.read_bytes()
    weight = torch.load(stored, weights_only=True)["model"]["first.weight"].numpy().tobytes()
    at = whole.index(weight)
    for offset in range(0, len(weight), 7):
        noisy = bytearray(whole)
        noisy[at + offset] ^= 1
        stored.write_bytes(noisy)
        with pytest.raises(ValueError, match="not a readable checkpoint"):
            fit(Net(), points(), checkpoint=stored, **RUN)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 5}, "seed was 0, is 5"),
        ({"epochs": 4}, "steps was 15, is 20"),
        ({"lr": 0.1}, r"lr was \[0.05\], is \[0.1\]"),
        ({"clip": None}, "clip was 1.0, is None"),
        ({"schedule": "linear"}, "schedule was cosine, is linear"),
        (
            {"optimizer": torch.optim.SGD},
            r"optimizer was torch\.optim\.adamw\.AdamW, is torch\.optim\.sgd\.SGD",
        ),
        ({"weight_decay": 0.1}, r"optimizer weight_decay was \[0.0\], is \[0.1\]"),
        ({"precision": "bf16"}, "precision was no, is bf16"),
    ],
)
def test_a_checkpoint_of_another_run_names_the_difference(stored, change, said):
    before = stored.read_bytes()
    with pytest.raises(
        ValueError, match=f"belongs to another run .*{said}.*give another checkpoint"
    ):
        fit(Net(), points(), checkpoint=stored, **(RUN | change))
    assert stored.read_bytes() == before


def test_a_checkpoint_of_other_data_or_of_another_model(stored):
    with pytest.raises(ValueError, match="samples was 22, is 21"):
        fit(Net(), points(21), checkpoint=stored, **RUN)
    model = Net()
    model.first = nn.Linear(3, 5, bias=False)
    with pytest.raises(ValueError, match=r"belongs to another model .*first\.bias"):
        fit(model, points(), checkpoint=stored, **RUN)


def test_a_disk_that_is_full_leaves_the_old_checkpoint(tmp_path, monkeypatch, unbroken):
    file, real, saves = tmp_path / "c.pt", torch.save, []

    def save(content, target):
        saves.append(1)
        if len(saves) == 4:
            target.write(b"half")
            raise OSError(28, "No space left on device")
        real(content, target)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match="No space left"):
        fit(Net(), points(), validate=score, checkpoint=file, **RUN)
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]
    resumed = Net()
    assert fit(resumed, points(), validate=score, checkpoint=file, **RUN) == unbroken[1]
    assert resumed.calls == 12


class Wide(Net):
    """Its checkpoint takes some 600 kB."""

    def __init__(self, hook=lambda calls: None) -> None:
        super().__init__()
        self.wide, self.hook = nn.Parameter(torch.zeros(50_000)), hook

    def loss(self, batch):
        self.hook(self.calls)
        return super().loss(batch) + (self.wide - 1).square().mean()


class Narrow:
    """A file on a disk that has room for so many bytes."""

    def __init__(self, file, room: int) -> None:
        self.file, self.room = file, room

    def write(self, data) -> int:
        if len(data) > self.room:
            raise OSError(28, "No space left on device")
        self.room -= len(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


FULL = r"the disk is full \(No space left on device\): c.pt takes about 600.* kB, and .* are free; "


@pytest.mark.parametrize("room", [0, 5_000, 300_000, 600_000])
@pytest.mark.parametrize("first", [True, False])
def test_a_full_disk_is_named_though_torch_hides_it(tmp_path, monkeypatch, room, first):
    """torch raises a RuntimeError that does not speak of a disk."""
    file, real, saves = tmp_path / "c.pt", torch.save, []

    def save(content, target):
        saves.append(1)
        real(content, Narrow(target, room) if len(saves) == (1 if first else 3) else target)

    monkeypatch.setattr(torch, "save", save)
    rest = "there is no checkpoint before it" if first else "the checkpoint before it is whole"
    with pytest.raises(OSError, match=FULL + rest) as caught:
        fit(Wide(), points(), checkpoint=file, **RUN)
    assert (caught.value.errno, caught.value.filename) == (28, str(file))
    assert [p.name for p in tmp_path.iterdir()] == ([] if first else ["c.pt"])
    if not first:
        assert torch.load(file, weights_only=True)["step"] == 2


def test_what_is_no_fault_of_a_disk_is_not_called_one(tmp_path, monkeypatch):
    def save(content, target):
        raise RuntimeError("something else")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(RuntimeError, match="something else"):
        fit(Net(), points(), checkpoint=tmp_path / "c.pt", **RUN)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("left", [0, 100_000, 580_000])
def test_a_really_full_disk_leaves_the_checkpoint_from_which_the_run_goes_on(tmp_path, left):
    whole = Wide()
    history = fit(whole, points(), **RUN)
    with small_disk(tmp_path / "disk", 4_000_000) as disk:

        def hook(calls: int) -> None:
            if calls == 7:  # after the checkpoint of step 7
                fill(disk, left)

        with pytest.raises(OSError, match=FULL + "the checkpoint before it is whole") as caught:
            fit(Wide(hook), points(), checkpoint=disk / "c.pt", **RUN)
        assert "that of step 8" in str(caught.value)
        assert {p.name for p in disk.iterdir()} == {"c.pt", "somebody else's"}
        (disk / "somebody else's").unlink()
        resumed = Wide()
        assert fit(resumed, points(), checkpoint=disk / "c.pt", **RUN) == history
        assert resumed.calls == 15 - 7
        assert same(resumed, whole)


# --- precision and device -------------------------------------------------------------------------


def test_bf16_computes_in_bf16_and_two_precisions_live_in_one_process():
    kinds = []

    class Kinds(Net):
        def loss(self, batch):
            kinds.append(self.first(batch["x"]).dtype)
            return super().loss(batch)

    exact = {}
    for precision in ("no", "bf16", "no"):
        kinds.clear()
        model = Kinds()
        history = fit(model, points(), epochs=8, batch_size=5, lr=0.05, precision=precision)
        assert set(kinds) == {torch.bfloat16 if precision == "bf16" else torch.float32}
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert history.losses["loss"][-1] < 0.5 * history.losses["loss"][0]
        if precision == "no":
            assert exact.setdefault("no", history) == history


def test_precision_is_what_the_launcher_says_unless_given(monkeypatch):
    kinds = []

    class Kinds(Net):
        def loss(self, batch):
            kinds.append(self.first(batch["x"]).dtype)
            return super().loss(batch)

    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    fit(Kinds(), points(), max_steps=1)
    fit(Kinds(), points(), max_steps=1, precision="no")
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
    fit(Kinds(), points(), max_steps=1)
    assert kinds == [torch.bfloat16, torch.float32, torch.float32]


def test_fp16_needs_a_gpu_and_does_no_harm():
    if torch.cuda.is_available():
        pytest.skip("fp16 works here")
    with pytest.raises(ValueError, match="'fp16' needs a GPU"):
        fit(Net(), points(), precision="fp16")
    fit(Net(), points())


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    monkeypatch.setenv("MMTUTOR_DEVICE", "cuda")
    with pytest.raises(ValueError, match="no CUDA device"):
        fit(Net(), points())


def test_batches_and_loss_stay_on_a_pretended_gpu():
    with FakeTensorMode(), torch.device("cuda"):
        model = nn.Linear(3, 1)
        data = _TensorData({name: torch.empty(tuple(t.shape)) for name, t in points().items()})

        def loss(batch):  # a constant that was forgotten on the CPU does no harm
            return {
                "fit": (model(batch["x"]) - batch["y"]).square().mean(),
                "bias": torch.tensor(0.5, device="cpu"),
            }

        model.loss = loss
        batch = data.__getitems__([3, 1, 4])
        assert batch["x"].shape == (3, 3)
        assert batch["x"].device.type == "cuda"
        assert training._Loss(model)(batch)["loss"].device.type == "cuda"


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": 0}, "epochs must be a whole number, at least 1, got 0"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"batch_size": 0}, "batch_size must be a whole number, at least 1, got 0"),
        ({"log_every": 0}, "log_every"),
        ({"max_steps": 0}, "max_steps"),
        ({"checkpoint_every": -1}, "checkpoint_every"),
        ({"lr": 0}, "lr must be positive"),
        ({"lr": math.nan}, "lr must be positive"),
        ({"lr": math.inf}, "lr must be positive"),
        ({"clip": 0.0}, "clip must be positive"),
        ({"clip": math.nan}, "clip must be positive"),
        ({"lr": None}, "lr must be positive and finite, got None"),
        ({"lr": "0.1"}, "lr must be positive and finite, got '0.1'"),
        ({"epochs": None}, "epochs must be a whole number, at least 1, got None"),
        ({"epochs": True}, "epochs must be a whole number, at least 1, got True"),
        ({"accumulate": 0}, "accumulate must be a whole number, at least 1, got 0"),
        ({"warmup": -1}, "warmup must be a whole number, at least 0, got -1"),
        (
            {"warmup": 0.1},
            "warmup must be a whole number, at least 0, got 0.1",
        ),  # a fraction raised the rate tenfold
        ({"seed": -1}, "seed must be a whole number, at least 0, got -1"),
        ({"seed": 1.5}, "seed must be a whole number, at least 0, got 1.5"),
        ({"weight_decay": math.inf}, "weight_decay must be finite and not negative, got inf"),
        ({"weight_decay": -0.1}, "weight_decay must be finite and not negative, got -0.1"),
        (
            {"schedule": lambda step, total: math.nan},
            "schedule must give a factor.* got nan at step 0",
        ),
        (
            {"schedule": lambda step, total: -1.0},
            "schedule must give a factor.* got -1.0 at step 0",
        ),
        ({"precision": "fp8"}, "'no', 'bf16' or 'fp16', got 'fp8'"),
        ({"batch_size": 23, "drop_last": True}, "smaller than one batch with drop_last"),
    ],
)
def test_settings_out_of_range(change, said):
    model = Net()
    before = weights(model)
    with pytest.raises(ValueError, match=said):
        fit(model, points(), **change)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))


class Stream(IterableDataset):
    def __iter__(self):
        yield from ()


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        ({}, ValueError, "no tensor"),
        ({"x": torch.zeros(0, 3), "y": torch.zeros(0, 1)}, ValueError, "the data is empty"),
        ([], ValueError, "the data is empty"),
        (DataLoader(_TensorData({"x": torch.zeros(0, 3)})), ValueError, "the data is empty"),
        ({"x": torch.zeros(3, 3), "y": torch.zeros(2, 1)}, ValueError, "'x': 3, 'y': 2"),
        (
            {"x": torch.zeros(3, 3), "y": [1, 2, 3]},
            TypeError,
            r"data\['y'\] must be a tensor.*got a list",
        ),
        ({"x": torch.tensor(1.0)}, TypeError, r"a tensor of shape \(\)"),
        (Stream(), TypeError, "a dataset with a length and an index.*got a Stream"),
        (DataLoader(Stream()), TypeError, "got a Stream"),
        (None, TypeError, "got a NoneType"),
        (3, TypeError, "got a int"),
    ],
)
def test_data_that_is_none(data, error, said):
    with pytest.raises(error, match=said):
        fit(Net(), data)


def test_models_that_cannot_be_trained():
    with pytest.raises(TypeError, match=r"Linear has no method loss\(batch\)"):
        fit(nn.Linear(3, 1), points())
    with pytest.raises(ValueError, match="no trainable parameter"):
        fit(Net().requires_grad_(False), points())


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (lambda out: {}, "returned no term"),
        (lambda out: out.square(), r"'loss' is a tensor of shape \(22, 1\); take its mean"),
        (lambda out: {"a": out.sum(), "b": out.flatten()}, r"'b' is a tensor of shape \(22,\)"),
        (lambda out: 0.5, "'loss' is a float"),
        (lambda out: None, "'loss' is a NoneType"),
    ],
)
def test_a_loss_that_is_not_a_scalar(value, said):
    model = Net()
    model.loss = lambda batch: value(model(batch["x"]))
    with pytest.raises(ValueError, match=said):
        fit(model, points())


def test_a_loss_that_is_not_finite_names_step_and_term_and_keeps_the_weights():
    class Breaks(Net):
        kept: list

        def loss(self, batch):
            value = super().loss(batch)
            self.kept = weights(self)
            return {"fit": value, "log": value * (math.nan if self.calls == 4 else 0.0)}

    model = Breaks()
    with pytest.raises(
        FloatingPointError, match=r"not finite at step 3: loss = nan, fit = [\d.e-]+, log = nan"
    ):
        fit(model, points(), batch_size=5)
    assert all(torch.equal(a, b) for a, b in zip(model.kept, model.parameters()))


@pytest.mark.parametrize("clip", [1.0, None])
def test_a_gradient_that_is_not_finite_is_named_though_the_loss_is(clip):
    class Root(Net):
        def loss(self, batch):
            return (
                super().loss(batch) + (0 * self.first.weight).square().sum().sqrt()
            )  # derivative of sqrt at 0

    model = Root()
    before = weights(model)
    with pytest.raises(
        FloatingPointError, match=r"at step 0: loss = [\d.e-]+, gradient norm = (nan|inf)"
    ):
        fit(model, points(), clip=clip)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))


def test_nan_in_the_data_is_found():
    data = points()
    data["x"][7, 1] = math.nan
    with pytest.raises(FloatingPointError, match="NaN in the data"):
        fit(Net(), data, batch_size=5)


# --- kinds of data --------------------------------------------------------------------------------


class Plain(Dataset):
    def __len__(self) -> int:
        return 22

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {name: t[index] for name, t in points().items()}


def hugging_face():
    import datasets

    rows = {name: t.numpy() for name, t in points().items()}
    return datasets.Dataset.from_dict(rows).with_format("torch")


def as_lists():
    return [{name: t[i] for name, t in points().items()} for i in range(22)]


def own_batches():
    batches = ShuffledBatches(22, 5, seed=0)
    return DataLoader(Plain(), batch_sampler=batches)


@pytest.mark.parametrize("make", [Plain, hugging_face, as_lists, own_batches])
def test_every_kind_of_data_gives_the_same_run(make):
    ours, other = Net(), Net()
    history = fit(ours, points(), batch_size=5, log_every=1)
    assert fit(other, make(), batch_size=5, log_every=1) == history
    assert same(ours, other)


def test_collate_makes_the_batches():
    words = [[1.0], [1.0, 2.0], [1.0, 2.0, 3.0]]

    def collate(samples):
        x = torch.zeros(len(samples), 3)
        for row, sample in zip(x, samples):
            row[: len(sample)] = torch.tensor(sample)
        return {"x": x, "y": x.sum(1, keepdim=True)}

    history = fit(Net(), words, batch_size=2, epochs=2, log_every=1, collate=collate)
    assert len(history.steps) == 4


@given(
    st.integers(1, 40), st.integers(1, 12), st.booleans(), st.integers(0, 2**40), st.integers(0, 3)
)
def test_shuffled_batches_cut_every_sample_once(n, size, drop_last, seed, epoch):
    batches = ShuffledBatches(n, size, seed, drop_last)
    batches.epoch = epoch
    got = list(batches)
    assert got == list(batches)
    assert len(got) == len(batches) == (n // size if drop_last else -(-n // size))
    flat = list(chain(*got))
    assert len(set(flat)) == len(flat) == (n - n % size if drop_last else n)
    assert set(flat) <= set(range(n))
    assert all(len(b) == size for b in got[:-1])


def test_order_differs_between_epochs_and_seeds():
    a, b, c = ShuffledBatches(50, 50, 0), ShuffledBatches(50, 50, 0), ShuffledBatches(50, 50, 1)
    b.epoch = 1
    assert len({str(list(x)) for x in (a, b, c)}) == 3


def test_tensor_data_one_sample_and_many():
    data = _TensorData(points())
    many = data.__getitems__([4, 0])
    assert torch.equal(many["x"][1], data[0]["x"])
    assert torch.equal(many["y"][0], data[4]["y"])


# --- validation, history, progress ----------------------------------------------------------------


def test_validation_sees_eval_mode_without_gradients_and_training_goes_on():
    modes, scores = [], []

    class Modes(Net):
        def loss(self, batch):
            modes.append((self.training, torch.is_grad_enabled()))
            return super().loss(batch)

    def validate(model):
        modes.append((model.training, model.dropout.training, torch.is_grad_enabled()))
        scores.append(len(scores))
        return {"score": torch.tensor(float(len(scores)))}

    model = Modes()
    history = fit(model, points(), epochs=3, batch_size=11, max_steps=5, validate=validate)
    train, seen = (True, True), (False, False, False)
    assert modes == [train, train, seen, train, train, seen, train, seen]
    assert history.validation == {"score": [1.0, 2.0, 3.0]}
    assert not model.training
    json.dumps(history.validation)


def test_history_logs_every_few_steps_and_the_last():
    history = fit(Net(), points(), epochs=3, batch_size=5, log_every=4)
    assert history.steps == [0, 4, 8, 12, 14]
    assert len(history.losses["loss"]) == len(history.learning_rate) == 5


def test_a_term_that_comes_and_goes_keeps_its_place():
    class Sometimes(Net):
        def loss(self, batch):
            value = super().loss(batch)
            return {"fit": value, **({"odd": value} if self.calls % 2 == 0 else {})}

    history = fit(Sometimes(), points(), batch_size=6, log_every=1)
    assert [math.isnan(v) for v in history.losses["odd"]] == [True, False, True, False]
    assert len(history.losses["fit"]) == 4


def test_history_draws_every_term():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    history = History([0, 5], {"loss": [2.0, 1.0], "part": [1.5, 0.5]}, [0.1, 0.1])
    ax = history.plot()
    assert [line.get_label() for line in ax.lines] == ["loss", "part"]
    assert ax.lines[1].get_xydata().tolist() == [[0, 1.5], [5, 0.5]]
    assert history.plot(ax) is ax
    plt.close("all")


def test_progress_is_silent_when_told_and_never_on_stderr(capfd, monkeypatch):
    fit(Net(), points())
    assert capfd.readouterr() == ("", "")
    monkeypatch.delenv("MMTUTOR_PROGRESS")
    fit(Net(), points(), progress=False)
    assert capfd.readouterr() == ("", "")
    fit(Net(), points(), epochs=2)
    out, err = capfd.readouterr()
    assert "2/2" in out
    assert err == ""


def test_parameter_count_and_batches():
    model = Net()
    model.first.requires_grad_(False)
    assert training.parameter_count(model) == 3 * 5 + 5 + 5 + 1
    assert training.parameter_count(model, trainable=True) == 6
    assert training.batches_of(7, 3) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert training.batches_of(0, 3) == []
    with pytest.raises(ValueError, match="batch_size"):
        training.batches_of(7, 0)


@settings(max_examples=30)
@given(
    st.lists(st.integers(0, 2**32), min_size=1, max_size=4),
    st.lists(st.integers(0, 2**32), min_size=1, max_size=4),
)
def test_seeding_is_a_function_of_its_key(a, b):
    def draws(key):
        import random

        training._seed_all(*key)
        return random.random(), float(np.random.rand()), torch.rand(2).tolist()  # noqa: NPY002

    assert draws(a) == draws(a)
    trimmed = [
        tuple(np.trim_zeros(k, "b")) for k in (a, b)
    ]  # NumPy pads keys with zeros; ours never end in one by purpose
    if trimmed[0] != trimmed[1] and max(a + b) < 2**32:
        assert draws(a) != draws(b)


# --- gradient accumulation ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "size", "count"), [(24, 4, 3), (22, 4, 3), (22, 5, 2), (21, 5, 4), (7, 2, 9)]
)
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_accumulation_equals_one_large_batch(n, size, count, optimizer):
    """In the second case the last step has batches of 4, 4 and 2; in the third one of 2 alone, in the last one of 1."""
    small, large = Net(dropout=0), Net(dropout=0)
    options = dict(epochs=3, lr=0.05, log_every=1, warmup=2, clip=0.3, optimizer=optimizer)
    history = fit(small, points(n), batch_size=size, accumulate=count, **options)
    expected = fit(large, points(n), batch_size=size * count, **options)
    assert small.calls == 3 * -(-n // size)
    assert history.steps == expected.steps
    assert history.learning_rate == expected.learning_rate
    assert history.losses["loss"] == pytest.approx(expected.losses["loss"], rel=1e-5)
    assert all(
        torch.allclose(a, b, atol=2e-6) for a, b in zip(small.parameters(), large.parameters())
    )
    assert not same(large, Net())


def test_accumulation_over_a_loader_of_ones_own_weighs_its_batches_by_their_samples():
    small, large = Net(dropout=0), Net(dropout=0)
    fit(small, DataLoader(Plain(), batch_size=4), accumulate=3, lr=0.05)
    fit(large, DataLoader(Plain(), batch_size=12), lr=0.05)
    assert all(
        torch.allclose(a, b, atol=1e-6) for a, b in zip(small.parameters(), large.parameters())
    )
    with pytest.raises(TypeError, match="accumulate needs batches whose first entry is a tensor"):
        fit(
            Net(),
            DataLoader(Plain(), batch_size=4, collate_fn=lambda rows: {"names": ["a"]}),
            accumulate=2,
        )


def test_accumulation_counts_steps_and_resumes_exactly(tmp_path):
    """Batches 5 5 | 5 5 | 2: three steps an epoch."""
    options = RUN | {"accumulate": 2, "checkpoint_every": 1, "log_every": 1, "max_steps": 8}
    whole = Net()
    history = fit(whole, points(), validate=score, **options)
    assert history.steps == list(range(8))
    assert len(history.validation["size"]) == 3
    for stop in (2, 3, 5, 9):  # within a step too: its first batch is lost
        file, resumed = tmp_path / f"{stop}.pt", Net()
        with pytest.raises(Stop):
            fit(Net(stop=stop), points(), validate=score, checkpoint=file, **options)
        kept = torch.load(file, weights_only=True)["step"]
        assert kept == {2: 1, 3: 1, 5: 3, 9: 5}[stop]
        assert fit(resumed, points(), validate=score, checkpoint=file, **options) == history
        assert same(resumed, whole)
    with pytest.raises(ValueError, match=r"accumulate was 2, is 1\b"):
        fit(Net(), points(), checkpoint=file, **(options | {"accumulate": 1}))


def test_dropout_differs_between_the_batches_of_a_step():
    masks = []

    class Masks(Net):
        def loss(self, batch):
            masks.append(self.dropout(torch.ones(64)).tolist())
            return super().loss(batch)

    fit(Masks(0.5), points(), batch_size=6, accumulate=4)
    assert len({tuple(m) for m in masks}) == len(masks) == 4


def test_a_logged_term_is_the_mean_over_the_samples_that_have_it():
    class Odd(Net):
        def loss(self, batch):
            value = super().loss(batch)
            return {"loss": value, **({"first": batch["y"].mean()} if self.calls % 2 else {})}

    history = fit(
        Odd(), DataLoader(Plain(), batch_size=8), accumulate=3
    )  # 8, 8 and 6; the second has no such term
    y = points()["y"].flatten()
    assert history.losses["first"] == pytest.approx(
        [float(torch.cat([y[:8], y[16:]]).mean())], rel=1e-6
    )


@given(st.integers(1, 60), st.integers(1, 7), st.integers(1, 5), st.integers(1, 4), st.booleans())
def test_rounds_for_several_processes_are_the_large_batch(n, size, processes, count, drop_last):
    values = np.random.default_rng(0).normal(size=n)
    samplers = [ShuffledBatches(n, size, 3, drop_last, p, processes) for p in range(processes)]
    large = list(ShuffledBatches(n, size * processes, 3, drop_last))
    dealt = [list(s)[s.process :: processes] for s in samplers]
    assert all(len(s) == processes * len(large) for s in samplers)
    assert all(0 < len(batch) <= size for batches in dealt for batch in batches)
    for first in range(0, len(large), count):
        rows = list(chain(*large[first : first + count]))
        many = len(large[first : first + count])
        parts = [s.weights(first, many) for s in samplers]
        got = sum(
            w * values[batch].mean()
            for weights, batches in zip(parts, dealt)
            for w, batch in zip(weights, batches[first : first + many], strict=True)
        )
        assert got / processes == pytest.approx(values[rows].mean())
        seen = [
            i
            for ws, bs in zip(parts, dealt)
            for w, b in zip(ws, bs[first : first + many])
            if w
            for i in b
        ]
        assert sorted(seen) == sorted(rows)


# --- Accelerate's environment ---------------------------------------------------------------------


def test_accelerates_variable_for_accumulation_changes_nothing(monkeypatch):
    options = dict(batch_size=5, optimizer=torch.optim.SGD, clip=None, lr=0.1)
    plain, told = Net(), Net()
    history = fit(plain, points(), **options)
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    with pytest.warns(
        UserWarning,
        match=r"ACCELERATE_GRADIENT_ACCUMULATION_STEPS=4 is ignored; fit\(.*accumulate=4\)",
    ):
        assert fit(told, points(), **options) == history
    assert same(plain, told)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACCELERATE_USE_DEEPSPEED", "true"),
        ("ACCELERATE_USE_FSDP", "true"),
        ("ACCELERATE_USE_MEGATRON_LM", "True"),
        ("ACCELERATE_USE_PARALLELISM_CONFIG", "true"),
        ("ACCELERATE_DYNAMO_BACKEND", "EAGER"),
        ("ACCELERATE_FP8_BACKEND", "MSAMP"),
        ("ACCELERATE_TORCH_DEVICE", "meta"),
        ("ACCELERATE_MIXED_PRECISION", "fp8"),
    ],
)
def test_accelerates_variables_that_change_training_are_refused_by_name(monkeypatch, name, value):
    monkeypatch.setenv("MMTUTOR_DEVICE", "cpu")
    monkeypatch.setenv(name, value)
    model = Net()
    before = weights(model)
    with pytest.raises(ValueError, match="fp8" if value == "fp8" else f"{name}={value}"):
        fit(model, points())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))


def test_what_a_launcher_always_sets_does_no_harm(monkeypatch):
    plain, launched = Net(), Net()
    fit(plain, points())
    monkeypatch.setenv("MMTUTOR_DEVICE", "cpu")
    for name, value in {
        "ACCELERATE_USE_CPU": "True",
        "ACCELERATE_USE_FSDP": "false",
        "ACCELERATE_DYNAMO_BACKEND": "NO",
        "ACCELERATE_DYNAMO_MODE": "default",
        "ACCELERATE_MIXED_PRECISION": "NO",
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1",
        "ACCELERATE_DEBUG_MODE": "true",
    }.items():
        monkeypatch.setenv(name, value)
    fit(launched, points())
    assert same(plain, launched)


def test_a_loop_that_stopped_while_it_accumulated_does_not_stop_ours():
    from accelerate import Accelerator

    fit(Net(), points())  # the state of this process
    Accelerator(
        cpu=training._accelerator("no", 1, True).device.type == "cpu"
    ).gradient_state.sync_gradients = False
    model = Net()
    fit(model, points())
    assert not same(model, Net())


def test_an_accelerator_that_compiles_is_not_taken_over():
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    Accelerator(cpu=True, dynamo_backend="eager")
    assert AcceleratorState().dynamo_plugin.backend == "EAGER"
    model, plain = Net(), Net()
    fit(model, points())
    assert AcceleratorState().dynamo_plugin.backend == "NO"
    fit(plain, points())
    assert same(model, plain)


# --- optimizers -----------------------------------------------------------------------------------


class Make:
    """Makes an optimizer when it is called."""

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum

    def __call__(self, parameters, lr, weight_decay):
        return torch.optim.SGD(parameters, lr=lr, momentum=self.momentum, weight_decay=weight_decay)

    def method(self, parameters, **settings):
        return self(parameters, **settings)


def by_function(parameters, lr, weight_decay):
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=weight_decay)


class Momentum(torch.optim.SGD):
    def __init__(self, params, lr, weight_decay) -> None:
        super().__init__(params, lr=lr, momentum=0.9, weight_decay=weight_decay)


MAKERS = {
    "partial": functools.partial(torch.optim.SGD, momentum=0.9),
    "partial of partial": functools.partial(
        functools.partial(torch.optim.SGD, momentum=0.1), momentum=0.9
    ),
    "lambda": lambda p, **settings: torch.optim.SGD(p, momentum=0.9, **settings),
    "instance": Make(0.9),
    "method": Make(0.9).method,
    "function": by_function,
    "class": Momentum,
}


@pytest.mark.parametrize("name", MAKERS)
def test_every_callable_that_returns_an_optimizer_works_and_resumes(tmp_path, name):
    plain, other, file = Net(), Net(), tmp_path / "c.pt"
    options = RUN | {"weight_decay": 0.1}
    history = fit(plain, points(), optimizer=by_function, **options)
    with pytest.raises(Stop):
        fit(Net(stop=7), points(), optimizer=MAKERS[name], checkpoint=file, **options)
    assert fit(other, points(), optimizer=MAKERS[name], checkpoint=file, **options) == history
    assert other.calls == 8
    assert same(plain, other)


def test_an_optimizer_without_weight_decay_works_without_it():
    model = Net()
    fit(model, points(), optimizer=torch.optim.Rprop)
    assert not same(model, Net())
    fit(Net(), points(), optimizer=lambda p, lr: torch.optim.SGD(p, lr))
    with pytest.raises(TypeError, match=r"takes no weight_decay, but fit was given 0\.1"):
        fit(Net(), points(), optimizer=torch.optim.Rprop, weight_decay=0.1)


class NoRate(torch.optim.Optimizer):
    def __init__(self, params, lr, weight_decay) -> None:
        super().__init__(params, {})


@pytest.mark.parametrize(
    ("optimizer", "error", "said"),
    [
        (
            lambda p, **settings: None,
            TypeError,
            r"must return a torch\.optim\.Optimizer, got a NoneType",
        ),
        (lambda p, **settings: p, TypeError, r"must return a torch\.optim\.Optimizer, got a list"),
        ("adam", TypeError, r"optimizer must be called .* got a str"),
        (NoRate, TypeError, "NoRate has a parameter group without a learning rate"),
        (torch.optim.LBFGS, TypeError, "LBFGS .*needs a closure"),
        (
            functools.partial(torch.optim.SGD, lr=9.0),
            ValueError,
            r"lr=9\.0 preset; give it as fit\(\.\.\., lr=\.\.\.\)",
        ),
        (
            functools.partial(torch.optim.AdamW, weight_decay=0.3),
            ValueError,
            r"weight_decay=0\.3 preset",
        ),
        (
            functools.partial(functools.partial(torch.optim.SGD, lr=9.0), momentum=0.1),
            ValueError,
            r"lr=9\.0 preset",
        ),
    ],
)
def test_optimizers_that_are_none(optimizer, error, said):
    model = Net()
    with pytest.raises(error, match=said):
        fit(model, points(), optimizer=optimizer)
    assert same(model, Net())


# --- what makes a run another run -----------------------------------------------------------------

FACTOR, SCALE = 0.5, 2.0


def rate(step, total):
    return scaled(step) * FACTOR


def scaled(step):
    return 1 / (SCALE + step)


def decay(base):
    return lambda step, total: base**step


class Decay:
    def __init__(self, base: float) -> None:
        self.table = {"base": torch.tensor(base)}

    def __call__(self, step, total):
        return float(self.table["base"]) ** step


OTHERS = {  # the run that is stored, another one, and what the message names
    "lambda": (
        dict(schedule=lambda s, n: 0.9**s),
        dict(schedule=lambda s, n: 0.8**s),
        r"schedule was .*lambda.* is ",
    ),
    "closure": (dict(schedule=decay(0.9)), dict(schedule=decay(0.8)), "schedule was decay.*lambda"),
    "partial schedule": (
        dict(schedule=functools.partial(lambda b, s, n: b**s, 0.9)),
        dict(schedule=functools.partial(lambda b, s, n: b**s, 0.8)),
        "schedule was partial #",
    ),
    "instance": (dict(schedule=Decay(0.9)), dict(schedule=Decay(0.8)), "schedule was Decay #"),
    "default": (
        dict(schedule=lambda s, n, b=0.9: b**s),
        dict(schedule=lambda s, n, b=0.8: b**s),
        "schedule was",
    ),
    "accumulate": ({}, dict(accumulate=2), "accumulate was 1, is 2"),
    "warmup": ({}, dict(warmup=3), "warmup was 2, is 3"),
    "betas": (
        dict(optimizer=functools.partial(torch.optim.AdamW, betas=(0.9, 0.99))),
        dict(optimizer=functools.partial(torch.optim.AdamW, betas=(0.8, 0.99))),
        r"optimizer betas was \[\[0\.9, 0\.99\]\], is \[\[0\.8, 0\.99\]\]",
    ),
    "two partials": (
        dict(optimizer=functools.partial(torch.optim.AdamW, amsgrad=False)),
        dict(optimizer=functools.partial(torch.optim.SGD, momentum=0.9)),
        "optimizer was partial #.*, is partial #",
    ),
    "momentum": (
        dict(optimizer=Make(0.9)),
        dict(optimizer=Make(0.8)),
        r"optimizer momentum was \[0\.9\], is \[0\.8\]",
    ),
    "one of two lambdas": (
        dict(optimizer=lambda p, **s: torch.optim.Adam(p, **s)),
        dict(optimizer=lambda p, **s: torch.optim.AdamW(p, **s)),
        "optimizer was .*lambda",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_schedule_or_optimizer_is_named(tmp_path, name):
    first, other, said = OTHERS[name]
    file = tmp_path / "c.pt"
    with pytest.raises(Stop):
        fit(Net(stop=7), points(), checkpoint=file, **(RUN | first))
    model = Net()
    with pytest.raises(ValueError, match=f"belongs to another run .*{said}"):
        fit(model, points(), checkpoint=file, **(RUN | other))
    assert same(model, Net())  # nothing was loaded
    fit(model, points(), checkpoint=file, **(RUN | first))
    assert model.calls == 8


def test_what_a_schedule_reads_belongs_to_it(tmp_path, monkeypatch):
    file = tmp_path / "c.pt"
    with pytest.raises(Stop):
        fit(Net(stop=7), points(), checkpoint=file, schedule=rate, **RUN)
    for name, value in [
        ("FACTOR", 0.6),
        ("SCALE", 3.0),
    ]:  # the second is read by a function that it calls
        with monkeypatch.context() as patch:
            patch.setitem(globals(), name, value)
            with pytest.raises(ValueError, match="schedule was rate #"):
                fit(Net(), points(), checkpoint=file, schedule=rate, **RUN)
    fit(Net(), points(), checkpoint=file, schedule=rate, **RUN)


def test_another_dropout_or_another_frozen_part_is_another_run(tmp_path):
    file = tmp_path / "c.pt"
    fit(Net(0.3), points(), checkpoint=file, **RUN)
    with pytest.raises(ValueError, match=r"belongs to another run .*model was #.*, is #"):
        fit(Net(0.2), points(), checkpoint=file, **RUN)
    frozen = Net(0.3)
    frozen.first.bias.requires_grad_(False)
    with pytest.raises(ValueError, match=r"belongs to another run .*model was #.*, is #"):
        fit(frozen, points(), checkpoint=file, **RUN)


def test_a_model_of_another_shape_stays_as_it_was(stored):
    model = Net()
    model.second = nn.Linear(5, 2)  # ``first`` fits, and would be overwritten before the error
    before = weights(model)
    with pytest.raises(
        ValueError, match=r"another model \(second\.weight was \(1, 5\), is \(2, 5\); second\.bias"
    ):
        fit(model, points(), checkpoint=stored, **RUN)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))


def data_of(kind: str, table: dict[str, torch.Tensor]):
    rows = [{name: t[i] for name, t in table.items()} for i in range(len(table["x"]))]
    if kind == "tensors":
        return table
    if kind == "TensorDataset":
        collate = torch.utils.data.default_collate
        return DataLoader(
            TensorDataset(*table.values()), 5, collate_fn=lambda b: dict(zip(table, collate(b)))
        )
    if kind == "Hugging Face":
        import datasets

        return datasets.Dataset.from_dict(
            {name: t.numpy() for name, t in table.items()}
        ).with_format("torch")
    return rows if kind == "list" else DataLoader(rows, batch_size=5, shuffle=True)


@pytest.mark.parametrize("kind", ["tensors", "TensorDataset", "Hugging Face", "list", "DataLoader"])
def test_other_data_of_equal_size_is_another_run(tmp_path, kind):
    file = tmp_path / "c.pt"
    with pytest.raises(Stop):
        fit(Net(stop=7), data_of(kind, points()), checkpoint=file, **RUN)
    with pytest.raises(
        ValueError, match=r"belongs to another run .*(data|first batch) was .*#.*, is .*#"
    ):
        fit(Net(), data_of(kind, points(seed=2)), checkpoint=file, **RUN)
    model = Net()
    fit(model, data_of(kind, points()), checkpoint=file, **RUN)  # equal data, made anew
    assert model.calls == 8


@pytest.mark.parametrize("kind", ["tensors", "TensorDataset", "Hugging Face"])
def test_one_other_number_anywhere_is_other_data(tmp_path, kind):
    file = tmp_path / "c.pt"
    fit(Net(), data_of(kind, points()), checkpoint=file, **RUN)
    for row in range(22):
        table = points()
        table["x"][row, row % 3] += 1e-3
        with pytest.raises(ValueError, match="data was"):
            fit(Net(), data_of(kind, table), checkpoint=file, **RUN)


def test_another_order_or_another_collate_function_is_another_run(tmp_path):
    file = tmp_path / "c.pt"
    fit(Net(), DataLoader(Plain(), batch_size=5, shuffle=True), checkpoint=file, **RUN)
    with pytest.raises(ValueError, match="first batch was #"):
        fit(Net(), DataLoader(Plain(), batch_size=5), checkpoint=file, **RUN)
    with pytest.raises(ValueError, match="batch_size was 5, is 4"):
        fit(Net(), DataLoader(Plain(), batch_size=4, shuffle=True), checkpoint=file, **RUN)
    file.unlink()
    collate = torch.utils.data.default_collate
    fit(Net(), as_lists(), checkpoint=file, collate=collate, **RUN)
    with pytest.raises(ValueError, match="first batch was #"):
        fit(
            Net(),
            as_lists(),
            checkpoint=file,
            collate=lambda b: {k: 2 * v for k, v in collate(b).items()},
            **RUN,
        )


def test_a_dataset_with_a_generator_of_its_own_may_go_on(tmp_path):
    """Its samples differ at every reading, so they cannot tell whether the data is the same."""

    class Private(Plain):
        def __init__(self) -> None:
            self.rng = np.random.default_rng()

        def __getitem__(self, index):
            return {
                name: t + float(self.rng.normal()) for name, t in super().__getitem__(index).items()
            }

    file, model = tmp_path / "c.pt", Net()
    with pytest.raises(Stop):
        fit(Net(stop=7), Private(), checkpoint=file, **RUN)
    fit(model, Private(), checkpoint=file, **RUN)
    assert model.calls == 8


DIGEST = """
import collections, enum, functools, sys, torch, numpy as np
from pathlib import Path
from mmtutor.kit._identity import digest
words = {"one", "two", "three", "four", "five"}
class Kind(enum.Enum):
    A = 1
class Slots:
    __slots__ = ("x",)
class Holder:
    def __init__(self): self.words, self.me, self.slots = words, self, Slots()
    def __call__(self, step, total): return step in {"a", "b", "c", "d"}
values = [words, {"b": 1, "a": words}, lambda s, n: s in {"x", "y", "z", "u"} and len(words), Holder(), Holder().__call__,
          functools.partial(max, 3), Kind.A, Path("x"), range(3), slice(1, 2), np.arange(6).reshape(2, 3)[:, ::2],
          np.array([words, None], dtype=object), torch.arange(6.0).view(2, 3).t(), torch.zeros(3, dtype=torch.bfloat16),
          torch.zeros(()), torch.zeros(0, 3), torch.tensor([1 + 2j]).conj(), torch.eye(2).to_sparse(), [1, 2].append, str.upper, object(),
          torch.Generator(), torch.device("cpu"), torch.float16, b"x", 1.5, np.float32(1.5), None, float("nan"), chr(0xd800)]
import datasets
from mmtutor.kit.training import _data
rows = datasets.Dataset.from_dict({"x": [1.0, 2.0], "word": ["a", "b"]})
made = [rows, rows.with_format("torch"), rows.map(lambda r: {"y": 2 * r["x"]}, keep_in_memory=True)]
print(*[digest(v) for v in values], *[_data(m).split("#")[1] for m in made])
"""


def test_a_digest_is_the_same_in_every_process():
    runs = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", DIGEST],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        runs.append(done.stdout.split())
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == len(runs[0]) > 25  # and different values have different ones


def test_a_digest_of_a_large_tensor_covers_every_piece_of_it():
    from mmtutor.kit._identity import digest

    large = torch.zeros(3, 2**23)  # read in pieces of 2**24 numbers
    first = digest(large)
    assert digest(large.clone()) == first
    for row in range(3):
        other = large.clone()
        other[row, -1] = 1
        assert digest(other) != first
    assert digest(torch.zeros(1, 1).expand(3, 2**23)) == first


def test_a_checkpoint_of_another_version_says_so(stored):
    content = torch.load(stored, weights_only=True)
    for other in ({k: v for k, v in content.items() if k != "version"}, content | {"version": 99}):
        torch.save(other, stored)
        with pytest.raises(
            ValueError, match=r"c\.pt is a checkpoint of another version of mmtutor; delete it"
        ):
            fit(Net(), points(), checkpoint=stored, **RUN)


# --- where a checkpoint can stand -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["", b"", 3, True])
def test_a_checkpoint_needs_a_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="checkpoint must be the name of a file or None"):
        fit(Net(), points(), checkpoint=name)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match=r"is a folder; give .*checkpoint\.pt, say"):
        fit(Net(), points(), checkpoint=tmp_path)


def test_a_tilde_is_the_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    fit(Net(), points(), checkpoint="~/runs/c.pt")
    assert [p.name for p in tmp_path.iterdir()] == ["home"]
    assert (tmp_path / "home" / "runs" / "c.pt").is_file()


def test_a_folder_that_cannot_be_written_is_known_before_the_first_step(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file" / "c.pt", tmp_path / ("x" * 250)):
        model = Net()
        with pytest.raises(OSError, match="no checkpoint can be written to"):
            fit(model, points(), checkpoint=path)
        assert model.calls == 0

    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    model = Net()
    with monkeypatch.context() as patch:  # the tests may run as root, who may write everywhere
        for name in ("open", "touch"):
            patch.setattr(Path, name, refuse)
        with pytest.raises(
            PermissionError, match=r"no checkpoint can be written to .* \(Permission denied\)"
        ):
            fit(model, points(), checkpoint=tmp_path / "c.pt")
    assert model.calls == 0
    fit(model, points(), checkpoint=tmp_path / "c.pt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.pt", "file"]


def test_a_checkpoint_that_must_not_be_read_is_not_called_damaged(stored, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("zipfile.ZipFile", refuse)
    with pytest.raises(PermissionError, match="Permission denied"):
        fit(Net(), points(), checkpoint=stored, **RUN)


# --- scores, schedules and loaders that are not as they should be ---------------------------------


def test_a_score_of_nan_is_recorded_with_a_warning():
    scores = iter([math.nan, 0.5])
    with pytest.warns(UserWarning, match="validate returned NaN for 'bleu'"):
        history = fit(Net(), points(), epochs=2, validate=lambda model: {"bleu": next(scores)})
    assert math.isnan(history.validation["bleu"][0])
    assert history.validation["bleu"][1] == 0.5


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            torch.tensor(0.5),
            r"validate must return named scores such as .*, got a tensor of shape \(\)",
        ),
        (0.5, "named scores .* got a float"),
        (None, "named scores .* got a NoneType"),
        ({"a": 0.5, "b": torch.zeros(3)}, r"'b' is a tensor of shape \(3,\)"),
        ({"a": "high"}, "'a' is a str"),
        ({"a": None}, "'a' is a NoneType"),
    ],
)
def test_a_validation_without_scores_is_named(value, said):
    with pytest.raises(TypeError, match=said):
        fit(Net(), points(), validate=lambda model: value)


def test_scores_may_be_tensors_and_keep_their_epoch(tmp_path):
    def validate(model):
        epoch = model.calls // 5
        return {
            "all": torch.tensor([0.5 * epoch]),
            **({"late": np.float32(epoch)} if epoch in (2, 4) else {}),
        }

    options = RUN | {"epochs": 5}
    history = fit(Net(), points(), validate=validate, **options)
    assert history.validation["all"] == [0.5, 1.0, 1.5, 2.0, 2.5]
    assert str(history.validation["late"]) == "[nan, 2.0, nan, 4.0, nan]"


def test_a_schedule_is_asked_about_its_own_run_only():
    asked = []

    def schedule(step, total):
        asked.append((step, total))
        return 1 - step / (total - 1)  # cannot answer for a run of one step

    fit(Net(), points(), batch_size=11, schedule=schedule)
    assert set(asked) == {(0, 2), (1, 2)}


class Promise:
    """A batch sampler whose length is not how many batches it gives."""

    def __init__(self, promised: int, given: int) -> None:
        self.promised, self.given = promised, given

    def __len__(self) -> int:
        return self.promised

    def __iter__(self):
        yield from [[i] for i in range(self.given)]


@pytest.mark.parametrize(("promised", "given"), [(4, 3), (3, 4), (4, 0)])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loader_that_gives_other_than_it_promises_is_an_error_and_no_hang(
    promised, given, accumulate
):
    with pytest.raises(ValueError, match="does not give as many batches as its length says"):
        fit(
            Net(),
            DataLoader(Plain(), batch_sampler=Promise(promised, given)),
            epochs=2,
            accumulate=accumulate,
        )


def test_loaders_and_datasets_that_cannot_be_counted():
    class Sized(Stream):
        def __len__(self):
            return 3

    with pytest.raises(TypeError, match=r"a dataset with a length and an index.*got a Sized"):
        fit(Net(), Sized())
    with pytest.raises(TypeError, match="its sampler has no length"):
        fit(Net(), DataLoader(Plain(), batch_sampler=([i] for i in range(22))))


@given(st.lists(st.integers(0, 2**70), min_size=1, max_size=6))
def test_a_seed_is_that_of_numpys_sequence(key):
    assert training._seed_all(*key) == np.random.SeedSequence(key).generate_state(1)[0]


# --- two processes --------------------------------------------------------------------------------

TWO = """
import os, sys, torch
sys.path[:0] = [{tests!r}, os.path.dirname({tests!r})]
import test_training as t
from accelerate.state import PartialState
folder = sys.argv[1]
options = dict(epochs=3, batch_size=5, lr=0.05, log_every=1, checkpoint=folder + "/c.pt", checkpoint_every=1)
try:  # broken off in the second of three epochs of four steps
    t.fit(t.Net(dropout=0, stop=6), t.points(40), **options)
except t.Stop:
    steps = torch.load(folder + "/c.pt", weights_only=True)["step"]
model = t.Net(dropout=0)
history = t.fit(model, t.points(40), **options)
noisy = t.Net(dropout=0.5)  # each process draws its own masks; the weights stay the same
t.fit(noisy, t.points(40), batch_size=5, precision="bf16", progress=True)
state = PartialState()
uneven = [t.uneven(n, **more) for n, more in t.UNEVEN]
dealt = t.Dealt()  # a loader of one's own
t.fit(dealt, t.DataLoader(t.Plain(), batch_size=5))
result = dict(weights=t.weights(model), noisy=t.weights(noisy), losses=history.losses["loss"], draw=torch.rand(2))
result |= dict(uneven=uneven, dealt=dealt.seen, file=torch.load(folder + "/c.pt", weights_only=True)["run"])
torch.save(result | dict(processes=state.num_processes, steps=steps, calls=model.calls), f"{{folder}}/{{state.process_index}}.pt")
torch.distributed.barrier()
print(end="", flush=True)
os._exit(0)  # torch itself aborts now and then when it takes gloo down, even where nothing was sent
"""


UNEVEN = [  # samples, and other settings: a last round of 3, of 1 (fewer than processes), and steps of several batches
    (43, {}),
    (41, {}),
    (1, {}),
    (43, {"drop_last": True}),
    (47, {"accumulate": 3}),
    (41, {"accumulate": 2, "optimizer": torch.optim.SGD, "clip": 0.3}),
]


def uneven(n: int, processes: int = 2, accumulate: int = 1, **settings):
    """Train on ``n`` samples in two processes (or, to compare, in one with a batch as large as theirs together)."""
    model, batch = Net(dropout=0), 5 if processes == 2 else 10 * accumulate
    accumulate = accumulate if processes == 2 else 1
    options = dict(epochs=2, lr=0.05, log_every=1, batch_size=batch) | settings
    history = fit(
        model, points(n), **options, **({"accumulate": accumulate} if accumulate > 1 else {})
    )
    return weights(model), history.losses["loss"], history.steps


class Dealt(Net):
    """Remembers which samples it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[float]] = []

    def loss(self, batch):
        self.seen.append(batch["y"].flatten().tolist())
        return super().loss(batch)


@pytest.mark.parametrize("drop_last", [False, True])
def test_where_an_epoch_has_other_steps_a_run_of_two_processes_does_not_go_on(tmp_path, drop_last):
    """Of 23 samples two processes make 3 whole rounds of 6, so two steps of up to 12; one makes a
    single step of 12."""
    path = tmp_path / "c.pt"
    options = dict(epochs=9, max_steps=4, batch_size=12, drop_last=drop_last, checkpoint=path)
    fit(Net(), points(23), **options)
    saved = torch.load(path, weights_only=True)
    saved["run"] |= dict(processes=2, batch_size=3, accumulate=2, batches=6 if drop_last else 8)
    torch.save(saved, path)
    if drop_last:
        with pytest.raises(ValueError, match=r"belongs to another run .*batches was 6, is 1"):
            fit(Net(), points(23), **options)
    else:
        with pytest.warns(UserWarning, match=r"was written by 2 process\(es\); 1 go on"):
            fit(Net(), points(23), **options)


def test_of_shards_only_a_process_that_writes_keeps_the_whole():
    class Shard:
        def full_tensor(self):
            asked.append(self)
            return torch.ones(2)

    asked, number = [], torch.tensor(3.0)
    content = {"model": {"w": Shard(), "n": number}, "groups": [(1, Shard())], "step": 4}
    other = _kept(content, keeps=False)
    assert other == {"model": {"w": None, "n": number}, "groups": [(1, None)], "step": 4}
    assert len(asked) == 2  # it takes part in both gatherings
    mine = _kept(content, keeps=True)
    assert mine["model"]["w"].tolist() == mine["groups"][0][1].tolist() == [1.0, 1.0]


def test_two_processes_do_what_one_does_with_the_double_batch(tmp_path):
    one = Net(dropout=0)
    history = fit(one, points(40), epochs=3, batch_size=10, lr=0.05, log_every=1)

    script = tmp_path / "two.py"
    script.write_text(TWO.format(tests=str(Path(__file__).parent)))
    done = launch(script, tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"{i}.pt", weights_only=True) for i in (0, 1))
    for mine, other, single in zip(first["weights"], second["weights"], weights(one), strict=True):
        assert torch.equal(mine, other)
        assert torch.allclose(mine, single, atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(first["noisy"], second["noisy"], strict=True))
    assert not torch.equal(first["draw"], second["draw"])
    for result in (first, second):
        assert (result["processes"], result["steps"], result["calls"]) == (2, 6, 6)
        assert result["losses"] == pytest.approx(history.losses["loss"], rel=1e-5)
    assert done.stdout.count("4/4") == 1  # one bar, not two
    assert first["file"]["processes"] == 2
    for (n, more), a, b in zip(UNEVEN, first["uneven"], second["uneven"], strict=True):
        alone, losses, steps = uneven(n, processes=1, **more)
        assert a[2] == b[2] == steps
        assert a[1] == b[1] == pytest.approx(losses, rel=1e-5)
        for mine, other, single in zip(a[0], b[0], alone, strict=True):
            assert torch.equal(mine, other)
            assert torch.allclose(mine, single, atol=1e-6), (n, more)
    y = points()["y"].flatten().tolist()  # 5, 5 | 5, 5 | 2 and 3 from the beginning, the next 5
    assert first["dealt"] == [y[0:5], y[10:15], y[20:22] + y[0:3]]
    assert second["dealt"] == [y[5:10], y[15:20], y[3:8]]
    assert torch.load(tmp_path / "c.pt", weights_only=True)["step"] == 12
    assert not list(tmp_path.glob(".*tmp"))
