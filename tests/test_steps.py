"""What a GPU asks of a training step, shown without one: it never waits for a number, is one graph to a
compiler, and hands cuDNN what cuDNN takes.

On the device ``meta`` tensors have shapes and no numbers. Code that looks at a number fails there; on
a GPU the same look would make the step wait until all earlier work is done.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("MMTUTOR_TEST_DEVICE", "cpu")

import pytest
import test_cuda as cases
import torch
from torch import Tensor, nn
from torch._decomp import decompositions
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmtutor.kit import runtime, training

META = torch.device("meta")
#: What is compiled here: one of each kind, and where a setting has code of its own. (All 65 take a minute.)
COMPILED = [
    "show_and_tell",
    "show_and_tell, init",
    "show_attend_tell, soft",
    "show_attend_tell, bound, hard",
    "video_captioning",
    "video_captioning, bound",
    "joint_embedding",
    "joint_embedding, ranking",
    "joint_embedding, map",
    "text_to_image",
    "vlbert",
    "vilbert",
    "recipes, bag",
    "recipes, drawn",
    "vqa, glimpses",
    "fusion, product",
    "fusion, blending",
    "soundnet",
    "sound_localization, spectrogram",
    "cocktail_party",
    "cocktail_party, one face",
    "cocktail_party, blstm",
    "speech2face",
    "speech2face, faces",
    "image_to_speech, fed",
    "image_to_speech, voice",
    "word2vec, nce",
]
#: Of the others this one is not: its loss holds the gradient of a judge, which a compiler does not take.
NOT_ONE = "text_to_image, pairs"


@pytest.fixture(autouse=True)
def _autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autocast does not know ``meta``; where it is switched off there, it is off."""
    known = torch.autocast

    def autocast(device: str, enabled: bool = True, **more: Any) -> Any:
        if device == META.type and not enabled:
            return contextlib.nullcontext()
        return known(device, enabled=enabled, **more)

    monkeypatch.setattr(torch, "autocast", autocast)


def loss_of(name: str) -> tuple[nn.Module, Any]:
    case = cases.WORLD[name]
    return training._Loss(case.model().to(META).train()), cases.moved(case.data(4), META)


class Waits(TorchDispatchMode):
    """Notes where a GPU would be waited for although ``meta`` is not: for numbers that the CPU made, and
    for a look within torch on the way back."""

    def __init__(self, back: bool) -> None:
        super().__init__()
        self.back, self.found = back, set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        given, made = (
            [x for x in tree_leaves(tree) if isinstance(x, Tensor)]
            for tree in ((args, kwargs), out)
        )
        name, copies = func.overloadpacket.__name__, func is torch.ops.aten._to_copy.default
        brought = [x for x in given if x.device.type == "cpu" and (x.ndim or copies)]
        if (
            brought
            and any(x.device == META for x in made)
            and not (kwargs or {}).get("non_blocking")
        ):
            self.found.add(f"{name} of a tensor from the CPU")
        if self.back and name == "cumprod":  # the gradient of a product, which looks for zeros
            self.found.add("the gradient of a product")
        return out


class Makes(TorchFunctionMode):
    """Notes where numbers of Python's are sent to the device, which ``Waits`` cannot see."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        out, name = func(*args, **(kwargs or {})), getattr(func, "__name__", "")
        if name in ("tensor", "as_tensor", "new_tensor") and out.device == META:
            self.found.add(name)
        return out


def waited(call: Callable[[], Tensor]) -> set[str]:
    with Makes() as makes, Waits(back=False) as there:
        value = call()
    with Waits(back=True) as back:
        value.backward()
    return makes.found | there.found | back.found


@pytest.mark.parametrize("name", cases.WORLD)
def test_a_step_never_waits_for_a_number(name: str) -> None:
    loss, batch = loss_of(name)
    assert not waited(lambda: loss(batch)["loss"])
    assert all(p.grad is not None for p in loss.parameters() if p.requires_grad)


def test_what_waits_is_found() -> None:
    x, here = torch.ones(2, 3, device=META, requires_grad=True), torch.ones(3)
    assert not waited(lambda: (x * here.to(META, non_blocking=True)).sum())
    for call in (
        lambda: x.prod(0).sum(),
        lambda: (x * torch.tensor([1.0, 2.0, 3.0], device=META)).sum(),
        lambda: (x * x.new_tensor([1.0, 2.0, 3.0])).sum(),
        lambda: (x * here.to(META)).sum(),
        lambda: x[:, torch.tensor([0, 2])].sum(),
    ):
        assert waited(call)
    for call in (lambda: x.max().item() * x.sum(), lambda: x[x > 0].sum()):
        with pytest.raises((RuntimeError, NotImplementedError), match=r"meta|item"):
            waited(call)


def graphs_of(call: Callable[[Any], Any], batch: Any) -> int:
    """Into how many graphs a compiler puts a loss; it may not break."""
    torch._dynamo.reset()
    graphs = []

    def count(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable:
        graphs.append(graph)
        return graph.forward

    with torch._dynamo.config.patch(allow_rnn=True):  # on a GPU an LSTM is one operation
        torch.compile(call, backend=count, fullgraph=True)(batch)["loss"].sum().backward()
    return len(graphs)


@pytest.mark.parametrize("name", COMPILED)
def test_a_loss_is_one_graph(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Within a compiler, torch 2.11's LSTM on ``meta`` gives its states a dimension too many.
    one_layer = decompositions.one_layer_lstm

    def mended(*args: Any, **kwargs: Any) -> Any:
        out, states = one_layer(*args, **kwargs)
        return out, tuple(x.squeeze(0) for x in states)

    monkeypatch.setattr(decompositions, "one_layer_lstm", mended)
    assert graphs_of(*loss_of(name)) == 1


def test_every_system_is_compiled() -> None:
    systems = {name.partition(",")[0] for name in cases.WORLD}
    assert systems == {name.partition(",")[0] for name in COMPILED}
    assert {*COMPILED, NOT_ONE} <= set(cases.WORLD)


@pytest.mark.parametrize(
    "look",
    [
        lambda x: x * x.max().item(),
        lambda x: x if x.amax() > 0 else -x,
        lambda x: x[x > 0],
    ],
    ids=["item", "if", "mask"],
)
def test_a_look_at_a_number_is_not_one_graph(look: Callable[[Tensor], Tensor]) -> None:
    x = torch.ones(3, device=META, requires_grad=True)
    assert graphs_of(lambda batch: {"loss": 2 * batch["x"]}, {"x": x}) == 1
    with pytest.raises((torch._dynamo.exc.TorchDynamoException, RuntimeError)):
        graphs_of(lambda batch: {"loss": look(batch["x"])}, {"x": x})


def test_what_is_not_one_graph() -> None:
    with pytest.raises(torch._dynamo.exc.Unsupported, match="requires_grad_"):
        graphs_of(*loss_of(NOT_ONE))


def moves(name: str) -> list[float]:
    return cases.kinks(cases.WORLD[name], cases.WORLD[name].data(9))


def test_rounding_moves_a_gradient_far_or_hardly() -> None:
    """Why ``tests/test_cuda.py`` asks how far before it blames a GPU."""
    seen = moves("text_to_image, fitting")
    assert min(seen) < 1e-4
    assert max(seen) > 1e-2  # another piece of a rectifier or a maximum
    assert max(moves("fusion")) < 1e-4


def test_rounding_is_measured() -> None:
    case = cases.WORLD["recipes"]
    found = cases.rounding(case, case.data(9))
    assert found
    assert all(0 <= x < 1e-6 for x in found.values())
    assert max(found.values()) > 1e-8


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
