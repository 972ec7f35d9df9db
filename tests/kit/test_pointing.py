"""Pointing: the weights and the naming of cells by loops and by known answers, and a toy world whose names are learnt."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmtutor.kit import pointing, training
from mmtutor.kit.pointing import Labeller, Pointer

C, M, K, L = 3, 4, 5, 6  # content, words, width, cells


def build(seed: int = 0, dtype: torch.dtype = torch.float64, **sizes: int) -> Pointer:
    torch.manual_seed(seed)
    return Pointer(**{"content": C, "words": M, "width": K, **sizes}).to(dtype)


def drawn(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# --- the weights ----------------------------------------------------------------------------------


def slow(model: Pointer, words: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    """π of one picture: words (T, m), content (L, C); from the formula of the docstring."""
    width, rows = model.key.out_features, []
    for y in words:
        q = model.query.weight @ y
        above = []
        for c in content:
            k = model.key.weight @ c + model.key.bias
            score = model.log_scale.exp() * sum(k[d] * q[d] for d in range(width))
            above.append((score / math.sqrt(width)).exp())
        nothing = (model.nothing.weight[0] @ y + model.nothing.bias[0]).exp()
        rows.append(torch.stack([x / (nothing + sum(above)) for x in above]))
    return torch.stack(rows)


@pytest.mark.parametrize("width", [1, 5, 32])
def test_the_weights_equal_a_loop(width):
    model, words, content = build(width=width), drawn(2, 7, M), drawn(2, L, C, seed=2)
    found = model(words, model.key(content))
    assert found.shape == (2, 7, L)
    for b in range(2):
        torch.testing.assert_close(found[b], slow(model, words[b], content[b]))
    # a word alone, and a picture alone, have the same weights
    alone = model(words[1:, 3:4], model.key(content[1:]))
    torch.testing.assert_close(alone[0, 0], found[1, 3])


def test_torch_s_own_attention_with_one_place_for_nothing():
    """A Transformer's cross-attention whose values are the unit vectors of the places; nothing is one more
    place, with a key that gives its score."""
    model, words, content = build(), drawn(2, 7, M), drawn(2, L, C, seed=2)
    keys = model.key(content)
    q = model.log_scale.exp() * model.query(words)
    q = torch.cat([q, model.nothing(words) * math.sqrt(K)], -1)  # (2, 7, k + 1)
    keys_ = F.pad(F.pad(keys, (0, 1)), (0, 0, 0, 1))
    keys_[:, -1, -1] = 1
    values = torch.eye(L + 1, dtype=torch.float64).expand(2, -1, -1)
    wanted = F.scaled_dot_product_attention(q, keys_, values, scale=K**-0.5)
    torch.testing.assert_close(model(words, keys), wanted[..., :-1])
    torch.testing.assert_close(wanted.sum(-1), torch.ones(2, 7, dtype=torch.float64))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    scale=st.floats(0, 1e6),
    cells=st.integers(1, 9),
    kind=st.sampled_from([torch.float32, torch.float64]),
)
def test_weights_and_nothing_sum_to_one(seed, scale, cells, kind):
    model = build(seed, kind)
    words = drawn(2, 3, M, seed=seed, dtype=kind) * scale
    keys = model.key(drawn(2, cells, C, seed=seed + 1, dtype=kind) * scale)
    found = model(words, keys)
    assert found.dtype == kind
    assert (found >= 0).all()
    assert torch.isfinite(found).all()
    tiny = 1e-5 if kind == torch.float32 else 1e-12
    assert (found.sum(-1) <= 1 + tiny).all()
    all_scores = torch.cat([model.scores(words, keys), model.nothing(words)], -1)
    nothing = all_scores.softmax(-1)[..., -1]
    assert (found.sum(-1) + nothing - 1).abs().max() < tiny


def test_cells_may_come_in_any_order():
    model, words, content = build(), drawn(2, 7, M), drawn(2, L, C, seed=2)
    order = torch.randperm(L, generator=torch.Generator().manual_seed(3))
    one = model(words, model.key(content))
    torch.testing.assert_close(model(words, model.key(content[:, order])), one[..., order])
    turned = model(words.flip(1), model.key(content))
    torch.testing.assert_close(turned, one.flip(1))


def orthogonal(sharp: float = 1.0) -> tuple[Pointer, torch.Tensor, torch.Tensor]:
    """Four words and four contents, each the unit vector of a name; K and Q are the identity."""
    model = build(content=4, words=4, width=4)
    with torch.no_grad():
        for layer in (model.key, model.query):
            layer.weight.copy_(torch.eye(4))
        model.key.bias.zero_()
        model.nothing.weight.zero_()
        model.nothing.bias.zero_()
        model.log_scale.fill_(math.log(sharp))
    return model, torch.eye(4, dtype=torch.float64)[None], torch.eye(4, dtype=torch.float64)[None]


def test_with_orthogonal_keys_each_word_finds_its_cell():
    model, words, content = orthogonal(sharp=100.0)
    place = torch.tensor([2, 0, 3, 1])  # which name is in which cell
    found = model(words, model.key(content[:, place]))[0]
    wanted = F.one_hot(place.argsort(), 4).double()
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)
    # a mild scale, by hand: e^{s/2} for its own cell, 1 for each of three others and for nothing
    model, *_ = orthogonal(sharp=3.0)
    own = math.exp(1.5) / (math.exp(1.5) + 4)
    other = 1 / (math.exp(1.5) + 4)
    found = model(words, model.key(content))[0]
    wanted = torch.full((4, 4), other).double().fill_diagonal_(own)
    torch.testing.assert_close(found, wanted)


def test_a_word_that_is_in_two_cells_lies_on_both_and_one_that_is_nowhere_on_none():
    model, words, content = orthogonal(sharp=60.0)
    with torch.no_grad():
        model.nothing.bias.fill_(15.0)  # half way: a cell that fits has 30, another 0
    found = model(words, model.key(content[:, [0, 0, 1]]))[0]
    half = torch.tensor([0.5, 0.5, 0.0]).double()
    torch.testing.assert_close(found[0], half, atol=1e-6, rtol=0)
    torch.testing.assert_close(found[1], half.new_tensor([0, 0, 1]), atol=1e-6, rtol=0)
    torch.testing.assert_close(found[2:], torch.zeros(2, 3).double(), atol=1e-5, rtol=0)


def test_nothing_takes_all_or_leaves_all():
    model, words, content = build(), drawn(2, 7, M), drawn(2, L, C, seed=2)
    keys = model.key(content)
    for bias, total in ((1e5, 0.0), (-1e5, 1.0)):
        with torch.no_grad():
            model.nothing.bias.fill_(bias)
        found = model(words, keys)
        torch.testing.assert_close(found.sum(-1), torch.full((2, 7), total).double())
    torch.testing.assert_close(found, model.scores(words, keys).softmax(-1))


def test_parameter_count_and_the_start():
    model = build()
    count = training.parameter_count(model)
    assert count == (C * K + K) + M * K + (M + 1) + 1
    assert model.log_scale.item() == pytest.approx(1.0)
    assert model.query.bias is None
    same, other = build(0).state_dict(), build(1).state_dict()
    assert all(torch.equal(v, same[k]) for k, v in model.state_dict().items())
    assert not torch.equal(model.key.weight, other["key.weight"])


# --- naming ---------------------------------------------------------------------------------------

CELLS = torch.tensor([[0, 2, -1, 1, 1, -1], [2, 2, 0, -1, 0, 1]])


def named_by_hand(
    model: Pointer, names: torch.Tensor, content: torch.Tensor, cells: torch.Tensor
) -> torch.Tensor:
    total, count = 0.0, 0
    for b, i in itertools.product(*map(range, cells.shape)):
        k = model.key.weight @ content[b, i] + model.key.bias
        scores = [
            model.log_scale.exp() * (k * (model.query.weight @ y)).sum() / math.sqrt(K)
            for y in names
        ]
        scores.append(torch.zeros((), dtype=names.dtype))  # none
        own = int(cells[b, i])
        total = total - (scores[own].exp() / sum(s.exp() for s in scores)).log()  # -1: the last
        count += 1
    return total / count


def test_naming_equals_a_loop_and_torch_s_cross_entropy():
    model, names, content = build(), drawn(3, M), drawn(2, L, C, seed=2)
    keys = model.key(content)
    found = model.naming(names, keys, CELLS)
    assert found.shape == ()
    torch.testing.assert_close(found, named_by_hand(model, names, content, CELLS))
    scores = torch.zeros(2, L, 4, dtype=torch.float64)  # of the three names, and of none
    scores[..., :3] = model.log_scale.exp() * keys @ model.query(names).T / math.sqrt(K)
    goal = CELLS.clone()
    goal[goal < 0] = 3
    wanted = nn.CrossEntropyLoss()(scores.reshape(-1, 4), goal.reshape(-1))
    torch.testing.assert_close(found, wanted)


def test_naming_of_some_pictures_only():
    model, names, content = build(), drawn(3, M), drawn(4, L, C, seed=2)
    keys, cells = model.key(content), CELLS.repeat(2, 1)
    counted = torch.tensor([True, False, False, True])
    found = model.naming(names, keys, cells, counted)
    wanted = model.naming(names, keys[counted], cells[counted])
    torch.testing.assert_close(found, wanted)
    assert not torch.isclose(found, model.naming(names, keys, cells))
    weights = [*model.key.parameters()]
    slopes = [torch.autograd.grad(x, weights, retain_graph=True) for x in (found, wanted)]
    torch.testing.assert_close(*slopes)


def test_naming_asks_by_the_scores_that_point():
    model, names, content = build(), drawn(3, M), drawn(2, L, C, seed=2)
    keys = model.key(content)
    one = model.scores(names, keys)  # (2, V, L), words for all pictures
    both = model.scores(names.expand(2, -1, -1), keys)
    assert one.shape == (2, 3, L)
    torch.testing.assert_close(one, both)


def test_naming_known_answers():
    model, names, content = orthogonal(sharp=100.0)
    keys = model.key(content)
    right, wrong = torch.arange(4)[None], torch.arange(4)[None].roll(1)
    assert model.naming(names[0], keys, right).item() < 1e-12
    assert model.naming(names[0], keys, wrong).item() == pytest.approx(50.0)
    # where nothing is known, all names and none are equally likely
    assert model.naming(names[0] * 0, keys, right).item() == pytest.approx(math.log(5))


@pytest.mark.parametrize("kind", [torch.int8, torch.int16, torch.int32, torch.int64])
def test_cells_of_any_whole_type(kind):
    model, names, keys = build(), drawn(3, M), build().key(drawn(2, L, C, seed=2))
    wanted = model.naming(names, keys, CELLS)
    assert torch.equal(model.naming(names, keys, CELLS.to(kind)), wanted)


def test_naming_alone_learns_a_toy_world():
    """Five kinds of things, each with a content of its own and noise on it, in maps of six cells; some cells
    are empty. In two hundred steps all cells have their names, and each name points at its cells."""
    g = torch.Generator().manual_seed(5)
    kinds = torch.randn(6, 8, generator=g)  # the last is the empty cell

    def world(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        cells = torch.randint(-1, 5, (n, L), generator=g)
        return kinds[cells] + 0.1 * torch.randn(n, L, 8, generator=g), cells

    torch.manual_seed(0)
    model, words = Pointer(8, 6, 16), nn.Embedding(5, 6)
    steps = torch.optim.Adam([*model.parameters(), *words.parameters()], lr=0.02)
    losses = []
    for _ in range(200):
        content, cells = world(16)
        loss = model.naming(words.weight, model.key(content), cells)
        steps.zero_grad()
        loss.backward()
        steps.step()
        losses.append(loss.item())
    assert losses[0] > 1.0
    assert losses[-1] < 0.02
    content, cells = world(500)
    with torch.no_grad():
        keys = model.key(content)
        scores = F.pad(model.scores(words.weight, keys), (0, 0, 0, 1))  # none has 0
        said = scores.argmax(1)
        assert ((said == cells) | ((said == 5) & (cells < 0))).all()  # 100 %
        # naming has not taught what nothing's own score is: it is left out here
        model.nothing.bias.fill_(-1e4)
        found = model(words.weight.expand(500, -1, -1), keys)  # (500, 5, L)
    for name in range(5):
        there = cells == name
        some = there.any(1)
        right = (found[some, name] * there[some]).sum(-1)
        assert right.min() > 0.5
        assert right.mean() > 0.95


# --- gradients, devices, precision ----------------------------------------------------------------


def test_gradients_against_finite_differences():
    model, words, content = build(), drawn(2, 3, M), drawn(2, L, C, seed=2)
    names, values = zip(*((n, p.detach().requires_grad_()) for n, p in model.named_parameters()))

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, words: torch.Tensor, content: torch.Tensor) -> tuple[torch.Tensor, ...]:
            keys = self.model.key(content)
            return self.model(words, keys), self.model.naming(words[0], keys, CELLS)

    def call(words, content, *values):
        weights = {f"model.{n}": v for n, v in zip(names, values)}
        return torch.func.functional_call(Both(), weights, (words, content))

    inputs = words.requires_grad_(), content.requires_grad_()
    assert torch.autograd.gradcheck(call, (*inputs, *values))


def test_every_weight_gets_a_gradient():
    model, keys = build(), None
    keys = model.key(drawn(2, L, C, seed=2))
    model(drawn(2, 3, M), keys).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-6, 1e6, 1e15])
def test_no_nan_at_extreme_scales(scale, kind):
    model = build(dtype=kind)
    words = (drawn(2, 3, M, dtype=kind) * scale).requires_grad_()
    content = (drawn(2, L, C, seed=2, dtype=kind) * scale).requires_grad_()
    keys = model.key(content)
    found, named = model(words, keys), model.naming(words[0], keys, CELLS)
    assert torch.isfinite(found).all()
    assert torch.isfinite(named)
    assert (found.dtype, named.dtype) == (kind, kind)
    slopes = torch.autograd.grad(found.sum() + named, [words, content, *model.parameters()])
    assert all(torch.isfinite(g).all() for g in slopes)


def test_single_precision_and_mixed_stay_near_double():
    model, words, content = build(), drawn(2, 3, M), drawn(2, L, C, seed=2)
    wanted = model(words, model.key(content)), model.naming(words[0], model.key(content), CELLS)
    model, words, content = model.float(), words.float(), content.float()
    found = model(words, model.key(content)), model.naming(words[0], model.key(content), CELLS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        keys = model.key(content)
        mixed = model(words, keys), model.naming(words[0], keys, CELLS)
    for a, b, c in zip(found, wanted, mixed):
        torch.testing.assert_close(a.double(), b, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(c.double(), b, atol=0.02, rtol=0.02)


def test_on_a_pretended_gpu():
    with FakeTensorMode(), torch.device("cuda"):
        model = Pointer(C, M, K)
        keys = model.key(torch.zeros(2, L, C))
        found = model(torch.zeros(2, 3, M), keys)
        named = model.naming(torch.zeros(3, M), keys, torch.zeros(2, L, dtype=torch.long))
    assert (found.device.type, found.shape) == ("cuda", (2, 3, L))
    assert (named.device.type, named.shape) == ("cuda", ())


def test_no_picture_and_no_word_and_one_cell():
    model = build()
    assert model(drawn(0, 3, M), model.key(drawn(0, L, C))).shape == (0, 3, L)
    assert model(drawn(2, 0, M), model.key(drawn(2, L, C))).shape == (2, 0, L)
    assert model(drawn(2, 3, M), model.key(drawn(2, 1, C))).shape == (2, 3, 1)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["content", "words", "width"])
@pytest.mark.parametrize("value", [0, -1])
def test_bad_sizes(name, value):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got {value}"):
        Pointer(**{"content": C, "words": M, "width": K, name: value})


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (CELLS[0], r"cells must be \(2, 6\), got \(6,\)"),
        (CELLS[:, :5], r"cells must be \(2, 6\), got \(2, 5\)"),
        (CELLS[:1], r"got \(1, 6\)"),
        (CELLS[..., None], r"got \(2, 6, 1\)"),
        (CELLS + 1, r"cells must lie in -1\.\.2, got 0\.\.3"),
        (CELLS - 1, r"cells must lie in -1\.\.2, got -2\.\.1"),
        (CELLS.float(), r"cells must be whole numbers, got torch\.float32"),
    ],
)
def test_bad_cells(cells, message):
    model = build()
    with pytest.raises(ValueError, match=message):
        model.naming(drawn(3, M), model.key(drawn(2, L, C)), cells)


def test_it_is_a_module_of_the_kit():
    from mmtutor import kit

    assert kit.pointing is pointing
    assert "pointing" in dir(kit)


# --- several words for one cell -------------------------------------------------------------------


def labeller(seed: int = 0) -> Labeller:
    torch.manual_seed(seed)
    return Labeller(C, M, K).double()


def test_how_well_a_word_fits_is_what_both_readings_are_made_of():
    """The softmax of the fits and 0 is π; each fit by itself is a score less that of nothing."""
    model, words, keys = labeller(), drawn(2, 3, M), drawn(2, L, C, seed=2)
    keys = model.key(keys)
    fits = model.fits(words, keys)
    torch.testing.assert_close(
        F.pad(fits, (0, 1)).softmax(-1)[..., :-1], model(words, keys), atol=1e-12, rtol=1e-9
    )
    for b, t, i in itertools.product(range(2), range(3), range(L)):
        scale = model.log_scale.exp() / math.sqrt(K)
        want = scale * keys[b, i] @ (model.query.weight @ words[b, t])
        want = want - model.nothing.weight[0] @ words[b, t] - model.nothing.bias[0]
        torch.testing.assert_close(fits[b, t, i], want)


def test_labelling_by_loops():
    model, words, keys = labeller(), drawn(4, M), drawn(2, L, K, seed=3)
    applies = (drawn(2, L, 4, seed=4) > 0).long()
    loss = 0.0
    for b, i, v in itertools.product(range(2), range(L), range(4)):
        fit = model.fits(words[v][None, None].expand(2, 1, M), keys)[b, 0, i]
        p = fit.sigmoid().item()
        loss -= math.log(p if applies[b, i, v] else 1 - p)
    assert model.labelling(words, keys, applies).item() == pytest.approx(loss / (2 * L))


def test_a_cell_may_have_many_names_and_none():
    """A toy world: cell kinds 0 and 1 are both named by word 2; kind 2 by nothing."""
    torch.manual_seed(0)
    model = Labeller(3, 3, 4)
    words = torch.nn.Parameter(torch.randn(3, 3))
    kinds = torch.randint(0, 3, (4, L), generator=torch.Generator().manual_seed(0))
    content = F.one_hot(kinds, 3).float()
    applies = torch.tensor([[1, 0, 1], [0, 1, 1], [0, 0, 0]])[kinds]
    optimizer = torch.optim.Adam([*model.parameters(), words], 0.05)
    for _ in range(300):
        loss = model.labelling(words, model.key(content), applies)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    fits = model.fits(words.expand(4, 3, 3), model.key(content)).sigmoid().transpose(1, 2)
    assert (fits - applies).abs().max() < 0.1


@pytest.mark.parametrize("shape", [(2, L), (2, L, 3), (1, L, 4), (2, 4, L)])
def test_bad_applies(shape):
    model = labeller()
    with pytest.raises(ValueError, match=r"applies must be \(2, 6, 4\), got"):
        model.labelling(drawn(4, M), drawn(2, L, K), torch.zeros(shape))
