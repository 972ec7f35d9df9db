"""Content × position: the forms by loops, and the saddle of the sum counted out in a world of a few cells."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmtutor import show_attend_tell
from mmtutor.kit import training
from mmtutor.kit.places import BOUNDS, HOW, Places

C, D, L = 3, 4, 6
FORMS = list(itertools.product(HOW, BOUNDS))


def build(how: str = "product", bound: str = "tanh", seed: int = 0, **changes: object) -> Places:
    torch.manual_seed(seed)
    sizes = {"content": C, "width": D, "places": 0 if how == "none" else L}
    return Places(**{**sizes, "how": how, "bound": bound, **changes}).double()


def content(n: int = 2, cells: int = L, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, cells, C, generator=generator, dtype=torch.float64)


# --- the forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "bound"), FORMS)
def test_every_form_equals_a_loop(how, bound):
    model, c = build(how, bound), content()
    w, b, found = model.content.weight, model.content.bias, model(c)
    assert found.shape == (2, L, D)
    for n, i, d in itertools.product(range(2), range(L), range(D)):
        a = sum(w[d, k] * c[n, i, k] for k in range(C)) + b[d]
        if how == "product":
            a = a * (0.3 + model.places[i, d])
        elif how == "sum":
            a = a + model.places[i, d]
        a = {"tanh": math.tanh, "relu": lambda x: max(x, 0.0), "none": lambda x: x}[bound](a.item())
        assert found[n, i, d].item() == pytest.approx(a, abs=1e-12)


def test_the_sum_is_what_show_attend_and_tell_adds():
    """Its layer is W a + b + p: the form before, W (a + v) + b, with p = W v."""
    config = show_attend_tell.Config(vocabulary=9, annotation=C, grid=(2, 3), prepare=D)
    captioner = show_attend_tell.ShowAttendTell(config).double()
    assert not captioner.prepare.places.any()  # it begins without places
    x, v = content(), torch.randn(L, C, dtype=torch.float64)
    with torch.no_grad():
        w, b = captioner.prepare.content.weight, captioner.prepare.content.bias
        captioner.prepare.places.copy_(v @ w.T)
    found, _ = captioner.annotate(x.transpose(1, 2).reshape(2, C, 2, 3))
    torch.testing.assert_close(found, torch.relu((x + v) @ w.T + b))
    ours = build("sum", "relu")
    ours.load_state_dict(captioner.prepare.state_dict())
    torch.testing.assert_close(ours(x), found)


def test_a_floor_of_one_and_small_positions_are_the_product_of_video_captioning():
    """v ⊙ (1 + p)"""
    model, x = build("product", "none", floor=1.0), content()
    v = model.content(x)
    torch.testing.assert_close(model(x), v * (1 + model.places))


@pytest.mark.parametrize("how", ["product", "sum"])
def test_a_position_may_be_given(how):
    model, x = build(how), content()
    torch.testing.assert_close(model(x, torch.eye(L).double()), model(x))
    torch.testing.assert_close(model(x, torch.eye(L).double().expand(2, L, L)), model(x))
    # some of the places, in another order
    order = [4, 0, 3]
    found = model(x[:, order], torch.eye(L).double()[order])
    torch.testing.assert_close(found, model(x)[:, order])
    # the corners of regions, in place of a table of cells
    model, corners = build(how, places=2), torch.rand(2, L, 2, dtype=torch.float64)
    p = torch.stack([torch.stack([model.places.T @ corner for corner in row]) for row in corners])
    w = model.content(x)
    torch.testing.assert_close(
        model(x, corners), torch.tanh(w * (0.3 + p) if how == "product" else w + p)
    )


@pytest.mark.parametrize("how", HOW)
def test_the_order_of_cells_matters_where_there_are_places(how):
    model, x = build(how), content()
    turned = model(x.flip(1)).flip(1)
    assert torch.allclose(turned, model(x)) == (how == "none")
    # either way a cell says what it says whatever the others hold
    other = x.clone()
    other[:, 2:] += 1
    torch.testing.assert_close(model(other)[:, :2], model(x)[:, :2])


def test_parameter_counts():
    assert training.parameter_count(build("none")) == C * D + D
    for how in ("product", "sum"):
        assert training.parameter_count(build(how)) == C * D + D + L * D
    with torch.device("meta"):
        paper = Places(512, 512, 196)  # the map of Show, Attend and Tell
    assert training.parameter_count(paper) == 512 * 512 + 512 + 196 * 512


def test_positions_begin_with_their_spread():
    torch.manual_seed(0)
    assert Places(4, 400, 100).places.std().item() == pytest.approx(0.7, rel=0.02)
    assert Places(4, 400, 100).places.mean().item() == pytest.approx(0, abs=0.02)
    assert Places(4, 400, 100, spread=0.1).places.std().item() == pytest.approx(0.1, rel=0.02)
    assert not Places(4, 4, 5, how="sum", spread=0).places.any()


# --- the derivation, in a world of a few cells ----------------------------------------------------
# Four cells in a row, one thing of three kinds in one of them: twelve pictures. Is it on the right?

CELLS, KINDS = 4, 3


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """What is in the cells (12, 4, 3), and whether the thing lies on the right (12,)."""
    x = torch.zeros(KINDS * CELLS, CELLS, KINDS, dtype=torch.float64)
    y = torch.zeros(KINDS * CELLS, dtype=torch.float64)
    for n, (kind, cell) in enumerate(itertools.product(range(KINDS), range(CELLS))):
        x[n, cell, kind], y[n] = 1, cell >= CELLS // 2
    return x, y


class Reader(nn.Module):
    """What looks and reads in the derivation: scores e = k · a, z = Σ softmax(e) a, ŷ = σ(r · z)."""

    def __init__(self, how: str, bound: str = "none", seed: int = 0, **changes: object) -> None:
        super().__init__()
        self.cells = build(how, bound, seed, content=KINDS, places=CELLS, **changes)
        if bound == "none":
            nn.init.zeros_(self.cells.content.bias)  # an empty cell is empty
        self.look = nn.Parameter(torch.zeros(D, dtype=torch.float64))  # k: even attention
        self.read = nn.Parameter(torch.zeros(D, dtype=torch.float64))  # r

    def loss(self, look: torch.Tensor | None = None, read: torch.Tensor | None = None):
        x, y = pictures()
        a = self.cells(x)
        alpha = (a @ (self.look if look is None else look)).softmax(1)
        z = (alpha[:, :, None] * a).sum(1)
        logit = z @ (self.read if read is None else read)
        return F.binary_cross_entropy_with_logits(logit, y)

    def slopes(self) -> list[torch.Tensor]:
        """The gradients of where it looks and of how it reads."""
        return list(torch.autograd.grad(self.loss(), [self.look, self.read]))


@pytest.mark.parametrize("seed", range(5))
def test_at_even_attention_the_sum_has_no_slope_and_the_product_has(seed):
    look, read = Reader("sum", seed=seed).slopes()
    assert read.abs().max() < 1e-14
    assert look.abs().max() < 1e-14
    model = Reader("product", seed=seed)
    look, read = model.slopes()
    assert read.norm() > 1e-3
    assert look.abs().max() < 1e-14  # nothing is read yet
    # the gradient of the docstring: the mean of (½ − y) W c ⊙ P p / L over things and their cells
    w, wanted = model.cells.content.weight, torch.zeros(D, dtype=torch.float64)
    for kind, cell in itertools.product(range(KINDS), range(CELLS)):
        y = float(cell >= CELLS // 2)
        wanted += (0.5 - y) * w[:, kind] * model.cells.places[cell] / CELLS
    torch.testing.assert_close(read, wanted.detach() / (KINDS * CELLS))
    # one step, and attention has its slope
    with torch.no_grad():
        model.read -= read
    assert model.slopes()[0].norm() > 1e-6


@pytest.mark.parametrize(("how", "alike"), [("none", True), ("sum", True), ("product", False)])
def test_the_mean_of_sums_is_the_same_on_the_left_and_on_the_right(how, alike):
    model = build(how, "none", content=KINDS, places=0 if how == "none" else CELLS)
    z = model(pictures()[0]).mean(1).unflatten(0, (KINDS, CELLS))  # one thing, cell by cell
    assert torch.allclose(z, z[:, :1].expand_as(z)) == alike


def test_where_all_places_begin_alike_both_are_blind():
    """The bound does not matter then. This is how Show, Attend and Tell begins: its places are zeros."""
    for bound in BOUNDS:
        look, read = Reader("sum", bound, spread=0.0).slopes()
        assert max(look.abs().max(), read.abs().max()) < 1e-14
        model = Reader("product", bound)
        with torch.no_grad():
            model.cells.places.zero_()
        assert max(s.abs().max() for s in model.slopes()) < 1e-14


def test_it_is_a_saddle():
    """Where the sum stands without a slope, together the two could go down: the curvature has both signs."""
    for seed in range(5):
        model = Reader("sum", seed=seed)

        def joint(both: torch.Tensor, model=model) -> torch.Tensor:
            return model.loss(*both.chunk(2))

        bend = torch.autograd.functional.hessian(joint, torch.zeros(2 * D, dtype=torch.float64))
        assert torch.linalg.eigvalsh(bend).min() < -1e-4
        alone = bend[:D, :D], bend[D:, D:]  # of looking alone, and of reading alone
        assert all(torch.linalg.eigvalsh(part).min() > -1e-12 for part in alone)


@pytest.mark.parametrize("seed", range(3))
def test_gradient_descent_leaves_the_saddle_with_the_product_only(seed):
    ends = {}
    for how in ("sum", "product"):
        model = Reader(how, seed=seed)
        steps = torch.optim.Adam([model.look, model.read, *model.cells.parameters()], lr=0.05)
        for _ in range(150):
            steps.zero_grad()
            model.loss().backward()
            for p in model.parameters():  # rounding alone is no slope; Adam would blow it up
                p.grad.masked_fill_(p.grad.abs() < 1e-12, 0)
            steps.step()
        ends[how] = model.loss().item()
    assert ends["sum"] == pytest.approx(math.log(2), abs=1e-12)
    assert ends["product"] < 0.05


def test_a_curved_bound_lets_a_little_through():
    """tanh(u + p) − tanh(p) is about u (1 − p²): much less than the product's, and alike for p and −p."""
    u, p = torch.tensor(0.05).double(), torch.linspace(-1, 1, 21).double()
    told = torch.tanh(u + p) - torch.tanh(p)
    torch.testing.assert_close(told, u * (1 - torch.tanh(p) ** 2), rtol=0.06, atol=0)
    torch.testing.assert_close(told, told.flip(0), rtol=0.15, atol=0)
    norms = {
        how: [Reader(how, "tanh", seed).slopes()[1].norm().item() for seed in range(20)]
        for how in ("sum", "product")
    }
    assert 0 < sum(norms["sum"]) < sum(norms["product"])


def test_without_a_floor_a_mean_names_less():
    """The mean over all places of one thing is its content times the floor, if the positions have mean 0."""
    with torch.no_grad():
        for floor in (0.3, 0.0):
            model = Reader("product", floor=floor).cells
            model.places -= model.places.mean(0)
            x, _ = pictures()
            said = model(x).mean(1).unflatten(0, (KINDS, CELLS)).mean(1)  # (kinds, D)
            torch.testing.assert_close(said, floor * model.content.weight.T / CELLS)


# --- what stands beside ---------------------------------------------------------------------------

PLACED = ("product", "sum")


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("how", PLACED)
@pytest.mark.parametrize("given", [False, True])
def test_what_stands_beside_follows_the_annotation(how, bound, given):
    """The D numbers are those without it, whatever the place; Q p comes after them, by a loop, and the bound
    does not reach it."""
    model, plain, x = build(how, bound, beside=5), build(how, bound), content()
    with torch.no_grad():
        model.beside.mul_(10)
    plain.load_state_dict(model.state_dict(), strict=False)
    p = torch.rand(2, L, L, dtype=torch.float64) if given else None
    found = model(x, p)
    assert found.shape == (2, L, D + 5)
    torch.testing.assert_close(found[..., :D], plain(x, p))
    place = p if given else torch.eye(L).double().expand(2, L, L)
    for n, i, d in itertools.product(range(2), range(L), range(5)):
        wanted = sum(place[n, i, j] * model.beside[j, d] for j in range(L))
        assert found[n, i, D + d].item() == pytest.approx(wanted.item(), abs=1e-12)
    assert found[..., D:].abs().max() > 1
    if not given:
        torch.testing.assert_close(
            found, torch.cat([plain(x), model.beside.expand(2, -1, -1)], -1), rtol=0, atol=0
        )


@pytest.mark.parametrize("how", PLACED)
def test_a_position_given_for_all_pictures_or_for_each(how):
    model, x = build(how, beside=2), content()
    torch.testing.assert_close(model(x, torch.eye(L).double()), model(x))
    torch.testing.assert_close(model(x, torch.eye(L).double().expand(2, L, L)), model(x))
    order = [4, 0, 3]
    some = torch.eye(L).double()[order]
    torch.testing.assert_close(model(x[:, order], some), model(x)[:, order])
    corners, model = torch.rand(2, 9, 2, dtype=torch.float64), build(how, places=2, beside=3)
    found = model(content(2, 9), corners)
    torch.testing.assert_close(found[..., D:], corners @ model.beside)
    assert model(x[:0], torch.rand(0, L, 2, dtype=torch.float64)).shape == (0, L, D + 3)


def test_what_stands_beside_does_not_depend_on_the_content():
    model = build(beside=2)
    one, two = (model(content(seed=seed))[..., D:] for seed in (1, 2))
    assert torch.equal(one, two)
    # the mean over cells under weights on one cell is the place of that cell
    weights = torch.eye(L).double()[3]
    torch.testing.assert_close((weights @ model(content()))[:, D:], model.beside[3].expand(2, -1))


def test_how_it_begins_and_what_it_weighs():
    torch.manual_seed(0)
    assert Places(4, 4, 100, beside=400).beside.std().item() == pytest.approx(0.7, rel=0.02)
    for how, spread, wanted in (("product", 0.1, 0.1), ("sum", 2.0, 2.0), ("sum", 0.0, 0.7)):
        made = Places(4, 4, 100, how, spread=spread, beside=400)
        assert made.beside.std().item() == pytest.approx(wanted, rel=0.02)
    for how in PLACED:
        assert training.parameter_count(build(how, beside=5)) == C * D + D + L * (D + 5)
        assert build(how).beside is None
        assert "beside" not in build(how).state_dict()
    # what was there before is drawn as without it
    one, two = build(beside=5), build()
    assert torch.equal(one.places, two.places)
    assert torch.equal(one.content.weight, two.content.weight)
    assert "beside=5" in repr(one)
    assert "beside" not in repr(two)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("how", PLACED)
def test_the_gradient_reaches_what_stands_beside(how, bound):
    model, x = build(how, bound, beside=2), content().requires_grad_()
    names, values = zip(*((n, p.detach().requires_grad_()) for n, p in model.named_parameters()))
    assert "beside" in names

    def call(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(model, dict(zip(names, values)), (x,))

    assert torch.autograd.gradcheck(call, (x, *values))
    p = torch.rand(2, L, L, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, p: model(x, p), (x, p))
    (slope,) = torch.autograd.grad(model(x)[..., D:].sum(), [model.beside])
    torch.testing.assert_close(slope, torch.full((L, 2), 2.0).double())  # once a picture


def test_with_even_attention_what_stands_beside_is_blind_and_with_a_peak_it_is_not():
    """The derivation: the mean of the positions beside is the same for every picture while attention is even."""
    a = build(content=KINDS, places=CELLS, beside=2)(pictures()[0])[..., D:]  # (12, 4, 2)
    even = a.mean(1)
    torch.testing.assert_close(even, even[:1].expand_as(even))
    looked = pictures()[0].sum(2)  # (12, 4), all weight on the thing
    at = (looked[:, :, None] * a).sum(1).unflatten(0, (KINDS, CELLS))
    torch.testing.assert_close(at, at[:1].expand_as(at))  # alike for every thing
    assert (at[:, 0] - at[:, 1]).abs().max() > 0.1  # another in another cell


def test_beside_saves_and_loads(tmp_path):
    model, other = build(beside=3, seed=1), build(beside=3, seed=2)
    torch.save(model.state_dict(), tmp_path / "places.pt")
    other.load_state_dict(torch.load(tmp_path / "places.pt", weights_only=True))
    assert torch.equal(other(content()), model(content()))
    for wrong in (build(), build(beside=2)):
        with pytest.raises(RuntimeError, match="beside"):
            wrong.load_state_dict(model.state_dict())


@pytest.mark.parametrize("how", PLACED)
def test_beside_on_a_pretended_gpu_and_in_half_precision(how):
    with FakeTensorMode(), torch.device("cuda"):
        model = Places(C, D, L, how, beside=2)
        found = [model(torch.zeros(5, L, C), p) for p in (None, torch.zeros(5, L, L))]
    assert all(a.device.type == "cuda" and a.shape == (5, L, D + 2) for a in found)
    model, x = build(how, beside=2).float(), content(1).float()
    for position in (None, torch.eye(L)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = model(x, position)
        torch.testing.assert_close(mixed.float(), model(x), atol=0.03, rtol=0.03)


# --- gradients, devices, precision ----------------------------------------------------------------


@pytest.mark.parametrize(("how", "bound"), FORMS)
def test_gradients_against_finite_differences(how, bound):
    model, x = build(how, bound), content().requires_grad_()
    names, values = zip(*((n, p.detach().requires_grad_()) for n, p in model.named_parameters()))

    def call(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(model, dict(zip(names, values)), (x,))

    assert torch.autograd.gradcheck(call, (x, *values))
    if how != "none":
        p = torch.rand(2, L, L, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x, p: model(x, p), (x, p))


@pytest.mark.parametrize(("how", "bound"), FORMS)
def test_on_a_pretended_gpu(how, bound):
    with FakeTensorMode(), torch.device("cuda"):
        model = Places(C, D, 0 if how == "none" else L, how, bound)
        x = torch.zeros(5, L, C)
        found = [model(x)] + ([] if how == "none" else [model(x, torch.zeros(5, L, L))])
    assert all(a.device.type == "cuda" and a.shape == (5, L, D) for a in found)


@pytest.mark.parametrize("how", HOW)
def test_in_half_precision_and_a_batch_of_one(how):
    model = build(how).float()
    x = content(1).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(x)
    torch.testing.assert_close(mixed.float(), model(x), atol=0.03, rtol=0.03)
    assert model(x[:0]).shape == (0, L, D)


def test_same_seed_same_places():
    assert torch.equal(build(seed=3).places, build(seed=3).places)
    assert not torch.equal(build(seed=3).places, build(seed=4).places)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"how": "add"}, "how must be one of .* got 'add'"),
        ({"bound": "gelu"}, "bound must be one of"),
        ({"content": 0}, "content must be at least 1"),
        ({"width": 0}, "width must be at least 1"),
        ({"places": 0}, "places must be at least 1, or 0 with how = 'none'; got 0 and 'product'"),
        ({"how": "none"}, "got 6 and 'none'"),
        ({"how": "sum", "floor": 1.0}, "floor = 1.0 has no effect with how = 'sum'"),
        ({"how": "none", "places": 0, "floor": 1.0}, "floor = 1.0 has no effect"),
        ({"how": "none", "places": 0, "spread": 1.0}, "spread = 1.0 has no effect"),
        ({"floor": math.nan}, "floor must be finite"),
        ({"spread": 0.0}, "spread must be finite and above 0"),
        ({"spread": math.inf}, "spread must be finite"),
        ({"how": "sum", "spread": -1.0}, "spread must be finite and not negative"),
        (
            {"beside": -1},
            "beside must be at least 0, and 0 with how = 'none'; got -1 and 'product'",
        ),
        ({"how": "sum", "beside": -2}, "beside must be at least 0"),
        ({"how": "none", "places": 0, "beside": 1}, "got 1 and 'none'"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        Places(**{"content": C, "width": D, "places": L, **changes})


@pytest.mark.parametrize("beside", [0, 2])
@pytest.mark.parametrize(
    ("how", "x", "position", "message"),
    [
        ("product", content()[0], None, r"content must be a tensor \(B, L, 3\), got \(6, 3\)"),
        ("product", content()[..., :2], None, r"got \(2, 6, 2\)"),
        ("product", [[1.0]], None, "got list"),
        ("product", content(2, 5), None, "there are 6 places but 5 cells"),
        ("sum", content(2, 7), None, "there are 6 places but 7 cells"),
        ("none", content(), torch.eye(L), "has no effect with how = 'none'"),
        ("sum", content(), torch.eye(5), r"position must be \(6, 6\) or \(2, 6, 6\), got \(5, 5\)"),
        ("product", content(), torch.zeros(3, 6, 6), r"got \(3, 6, 6\)"),
        ("product", content(), torch.zeros(6), r"got \(6,\)"),
        ("product", content(), [0, 1], "got list"),
    ],
)
def test_bad_input(how, x, position, message, beside):
    with pytest.raises(ValueError, match=message):
        build(how, beside=0 if how == "none" else beside)(x, position)
