"""What a GPU asks of a training step, shown without one: it never waits for a number, is one graph to a
compiler, and hands cuDNN what cuDNN takes.

On the device ``meta`` tensors have shapes and no numbers. Code that looks at a number fails there; on
a GPU the same look would make the step wait until all earlier work is done.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("MMTUTOR_TEST_DEVICE", "cpu")

import pytest
import test_cuda as cases
import torch
from torch import nn

from mmtutor.kit import runtime, training

META = torch.device("meta")
#: Autocast does not know ``meta``, and the cosines are computed outside of it.
NOT_HERE = [name for name in cases.WORLD if name.startswith("joint_embedding")]
#: One of each kind; the others differ in settings.
COMPILED = [
    "show_and_tell, init",
    "show_attend_tell, soft",
    "video_captioning",
    "text_to_image",
    "vlbert",
    "vilbert",
    "recipes, bag",
    "vqa, glimpses",
    "fusion, blending",
    "soundnet",
    "sound_localization, spectrogram",
    "speech2face",
    "image_to_speech, voice",
    "word2vec, nce",
]


def loss_of(name: str) -> tuple[nn.Module, Any]:
    case = cases.WORLD[name]
    return training._Loss(case.model().to(META).train()), cases.moved(case.data(4), META)


@pytest.mark.parametrize("name", [n for n in cases.WORLD if n not in NOT_HERE])
def test_a_step_never_waits_for_a_number(name: str) -> None:
    loss, batch = loss_of(name)
    if name in cases.WAITS:
        with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
            loss(batch)
        return
    value = loss(batch)["loss"]
    value.backward()
    assert value.device == META
    assert all(p.grad is not None for p in loss.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", COMPILED)
def test_a_loss_is_one_graph(name: str) -> None:
    torch._dynamo.reset()
    loss, batch = loss_of(name)
    graphs = []

    def count(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable:
        graphs.append(graph)
        return graph.forward

    with torch._dynamo.config.patch(allow_rnn=True):  # on a GPU an LSTM is one operation
        torch.compile(loss, backend=count, fullgraph=True)(batch)["loss"].backward()
    assert len(graphs) == 1


@pytest.mark.parametrize("name", cases.WORLD)
def test_states_of_recurrent_networks_are_contiguous(name: str) -> None:
    """cuDNN refuses others; the CPU takes them."""
    case, states = cases.WORLD[name], []

    def note(module: nn.Module, inputs: tuple) -> None:
        given = inputs[1] if len(inputs) > 1 else None
        states.extend(s for s in (given if isinstance(given, tuple) else (given,)) if s is not None)

    model = case.model(plain=True)
    for part in model.modules():
        if isinstance(part, nn.RNNBase):
            part.register_forward_pre_hook(note)
    if not any(isinstance(part, nn.RNNBase) for part in model.modules()):
        pytest.skip("no recurrent network of torch's in it")
    training._Loss(model)(case.data(9))  # odd: what is made for it leaves one out
    if not states:
        pytest.skip("its recurrent networks begin with nothing")
    assert all(s.is_contiguous() for s in states)


@pytest.mark.parametrize(
    ("system", "name"),
    [
        ("show_attend_tell", "show_attend_tell, bound"),
        ("video_captioning", "video_captioning, bound"),
        ("vqa", "vqa, grounded"),
    ],
)
def test_what_trains_a_part_takes_the_rest_along(system: str, name: str) -> None:
    """Naming learns by two parts of a model, and computes with others."""
    experiment, case = importlib.import_module(f"mmtutor.experiments.{system}"), cases.WORLD[name]
    part = experiment.Naming(case.model())
    learning = sum(1 for _ in part.parameters())
    wide = torch.float64  # in place of another device: what stays behind does not fit either
    batch = cases.moved(case.data(4), torch.device("cpu"), wide)
    part.to(wide)
    assert part.loss(batch).dtype == wide
    assert sum(1 for _ in part.parameters()) == learning < sum(1 for _ in case.model().parameters())
    assert {p.dtype for p in part.loss.__self__.parameters()} == {wide}


# --- Home from training -----------------------------------------------------------------------------

HOME, AWAY = "meta", "cpu"  # two devices that are everywhere


class Traveller(nn.Linear):
    """Takes no numbers along, so that it can leave ``meta``."""

    def to(self, device: torch.device) -> nn.Module:
        return self.to_empty(device=device)


def travels(
    model: nn.Module,
    validate: Callable[[nn.Module], Any] | None = None,
    watch: Callable[[], None] | None = None,
) -> list[str]:
    """A training that brings the model away; where it was meanwhile."""
    model.to(AWAY)
    seen = [where(model)]
    if validate is not None:
        seen += [validate(model), where(model)]
    if watch is not None:
        watch()
        seen.append(where(model))
    return seen


def where(model: nn.Module) -> str:
    (place,) = {p.device.type for p in model.parameters()}
    return place


def test_a_model_comes_home_and_is_validated_there() -> None:
    train, model = runtime.comes_home(travels), Traveller(3, 2, device=HOME)
    assert train(model, validate=where) == [AWAY, HOME, AWAY]
    assert where(model) == HOME
    assert train(model) == [AWAY]
    assert where(model) == HOME
    seen = []
    assert train(model, None, lambda: seen.append(where(model))) == [AWAY] * 2
    assert seen == [where(model)] == [HOME]
    there = Traveller(3, 2, device=AWAY)
    assert train(there, validate=where) == [AWAY] * 3
    assert where(there) == AWAY


def test_a_model_comes_home_from_a_training_that_broke() -> None:
    @runtime.comes_home
    def breaks(model: nn.Module) -> None:
        model.to(AWAY)
        raise FloatingPointError("NaN")

    model = Traveller(3, 2, device=HOME)
    with pytest.raises(FloatingPointError):
        breaks(model)
    assert where(model) == HOME


def test_a_model_comes_back_from_a_validation_that_broke() -> None:
    def fails(model: nn.Module) -> None:
        assert where(model) == HOME
        raise KeyError("score")

    seen = []

    @runtime.comes_home
    def train(model: nn.Module, validate: Callable) -> None:
        model.to(AWAY)
        with pytest.raises(KeyError):
            validate(model)
        seen.append(where(model))

    train(Traveller(3, 2, device=HOME), validate=fails)
    assert seen == [AWAY]


def test_who_lies_on_two_devices_stays_there() -> None:
    model = nn.Sequential(nn.Linear(3, 3, device=HOME), nn.Linear(3, 2, device=AWAY))
    runtime.comes_home(lambda model: model.to(HOME))(model)
    assert [part.weight.device.type for part in model] == [HOME, HOME]


def test_what_several_processes_share_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """They find one another within the training, not before."""

    @runtime.comes_home
    def train(model: nn.Module, validate: Callable) -> str:
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        model.to(AWAY)
        return validate(model)

    model = Traveller(3, 2, device=HOME)
    assert train(model, validate=where) == AWAY
    assert where(model) == AWAY


def test_the_decorated_function_keeps_its_name_and_arguments() -> None:
    assert training.fit.__name__ == "fit"
    assert "brings" in training.fit.__doc__
    with pytest.raises(TypeError, match="has no method loss"):
        training.fit(3, {})
