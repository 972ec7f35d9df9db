"""Sound localisation: against slow loops, the authors' losses, maps scored by hand, and the papers' sizes."""

import itertools
import math
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmtutor import sound_localization
from mmtutor.kit import saving, training
from mmtutor.sound_localization import (
    Config,
    SoundLocalizer,
    auc,
    ciou,
    consensus,
    heat,
    metric_loss,
    on_cells,
    success,
    supervised_loss,
)

SMALL = Config((3, 2, 4), hears="vector", sound=5, sharpness=3.0)
#: Every kind of model there is.
WAYS = {
    "paper": {"sharpness": 1.0},
    "sharp": {},
    "signed": {"rectify": False},
    "product": {"width": 6, "places": "product"},
    "sum": {"width": 6, "places": "sum"},
    "set": {"width": 6},
    "all": {"negatives": "all"},
    "log": {"negatives": "all", "objective": "log"},
    "each": {"negatives": "all", "objective": "log", "asks": "each"},
    "each, one": {"asks": "each"},
    "supervised": {"metric": 0.0, "supervision": 2.0},
    "unsupervised": {"supervision": 0.0},
    "spectrogram": {"hears": "spectrogram"},
    "wave": {"hears": "wave"},
}
EVERY = pytest.mark.parametrize("way", WAYS)
KINDS = 8  # of things that are learnt


def build(way: str = "sharp", seed: int = 0, **changes: object) -> SoundLocalizer:
    torch.manual_seed(seed)
    model = SoundLocalizer(replace(SMALL, **{**WAYS[way], **changes})).double().eval()
    with torch.no_grad():
        for p in [*model.query.parameters(), *model.video.parameters()]:
            p.mul_(2)
    return model


def data(way: str = "sharp", size: int = 3, seed: int = 1) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    draw = {"generator": g, "dtype": torch.float64}
    heard = WAYS[way].get("hears", "vector") != "vector"
    annotation = torch.rand(size, 2, 4, **draw) * (torch.rand(size, 2, 4, **draw) < 0.6)
    annotation[1] = 0  # nobody looked
    return {
        "features": torch.randn(size, 3, 2, 4, **draw),
        "sound": 2 * torch.rand(size, 1600, **draw) - 1 if heard else torch.randn(size, 5, **draw),
        "annotation": annotation,
    }


# --- the equations --------------------------------------------------------------------------------


def slow(model: SoundLocalizer, picture: torch.Tensor, f_s: torch.Tensor):
    """α (L,) and f_v (S,) of one picture (C, H, W) and one sound, cell by cell."""
    w, c = dict(model.named_parameters()), model.config

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return w[f"{name}.weight"] @ x + w[f"{name}.bias"]

    cells = []
    for row, column in itertools.product(range(2), range(4)):
        v = picture[:, row, column]
        if c.width:
            v = linear("cells.content", v)
            if c.places == "product":
                v = v * (0.3 + w["cells.places"][len(cells)])
            elif c.places == "sum":
                v = v + w["cells.places"][len(cells)]
            v = v.tanh()
        cells.append(v)
    h = linear("query.3", linear("query.1", f_s.clamp(min=0)).clamp(min=0))
    scores = []
    for v in cells:
        cosine = (v * h).sum() / (v.square().sum().sqrt() * h.square().sum().sqrt())
        scores.append(c.sharpness * (cosine.clamp(min=0) if c.rectify else cosine))
    powers = [s.exp() for s in scores]
    alpha = [p / sum(powers) for p in powers]
    z = sum(a * v for a, v in zip(alpha, cells))
    f_v = linear("video.3", linear("video.1", z.clamp(min=0)).clamp(min=0))
    return torch.stack(alpha), f_v


@EVERY
def test_attention_equals_the_slow_loop(way):
    model, b = build(way), data(way)
    found = model(b["features"], b["sound"])
    assert found.attention.shape == (3, 2, 4)
    torch.testing.assert_close(found.attention.sum((1, 2)), torch.ones(3).double())
    for k in range(3):
        alpha, f_v = slow(model, b["features"][k], found.sound[k])
        torch.testing.assert_close(found.attention[k].flatten(), alpha)
        torch.testing.assert_close(found.video[k], f_v)
    if model.config.hears == "vector":
        assert torch.equal(found.sound, b["sound"])
    torch.testing.assert_close(model.where(b["features"], b["sound"]), found.attention)


@EVERY
def test_any_sound_with_any_picture(way):
    """One picture and many sounds, and the other way about: as each pair by itself."""
    model, b = build(way), data(way)
    x, s = b["features"], b["sound"]
    many = model(x[:1], s)
    moved = 0
    for k in range(3):
        one = model(x[:1], s[k : k + 1])
        torch.testing.assert_close(many.attention[k], one.attention[0])
        torch.testing.assert_close(many.video[k], one.video[0])
        moved += not torch.allclose(many.attention[k], many.attention[0])
    assert moved > 0 or way == "spectrogram"  # the map moves as the sound changes
    other = model(x, s[:1])
    for k in range(3):
        torch.testing.assert_close(other.attention[k], model.where(x[k : k + 1], s[:1])[0])


@pytest.mark.parametrize(("way", "matters"), [("product", True), ("sum", True), ("set", False), ("sharp", False)])  # fmt: skip
def test_without_places_a_map_is_a_set(way, matters):
    model, b = build(way), data()
    order = torch.tensor([3, 0, 5, 1, 7, 4, 2, 6])
    turned = b["features"].flatten(2)[:, :, order].view(3, 3, 2, 4)
    before, after = (model(x, b["sound"]) for x in (b["features"], turned))
    same = torch.allclose(before.attention.flatten(1)[:, order], after.attention.flatten(1))
    assert (same and torch.allclose(before.video, after.video)) != matters


def test_the_scale_of_a_cell_does_not_matter_to_the_cosine_but_to_what_is_seen():
    model, b = build(), data()
    found, louder = (model(k * b["features"], b["sound"]) for k in (1, 3))
    torch.testing.assert_close(found.attention, louder.attention)
    assert not torch.allclose(found.video, louder.video)
    nothing = model(0 * b["features"], b["sound"])  # no cell is nearer than another
    torch.testing.assert_close(nothing.attention, torch.full((3, 2, 4), 1 / 8).double())


def test_the_papers_attention_can_hardly_be_but_even():
    """Cosines from 0 to 1 and no sharpness: of 400 cells none gets more than 0.00677, or less than 0.00092."""
    model = SoundLocalizer(replace(SMALL, image=(3, 20, 20), sharpness=1.0)).eval()
    query = model.query(torch.ones(1, 5))[0]
    x = torch.randn(1, 3, 400) * 0 - query[:, None]  # all cells look away but for one
    x[0, :, 7] = query
    alpha = model.where(x.view(1, 3, 20, 20), torch.ones(1, 5)).flatten()
    assert alpha[7].item() == pytest.approx(math.e / (math.e + 399))
    assert alpha.max().item() <= 0.00677
    x = -x
    least = model.where(x.view(1, 3, 20, 20), torch.ones(1, 5)).flatten()
    assert least.min().item() == pytest.approx(1 / (1 + 399 * math.e))
    assert least.min().item() >= 0.00092


# --- the losses -----------------------------------------------------------------------------------


def the_authors(near: torch.Tensor, far: torch.Tensor) -> tuple[float, float]:
    """The paper's ‖[p⁺, p⁻] − [0, 1]‖², and the mean of the two squares, as the program has it."""
    sums, means = [], []
    for d, e in zip(near.tolist(), far.tolist()):
        p = math.exp(d) / (math.exp(d) + math.exp(e))
        squares = [(p - 0) ** 2, (1 - p - 1) ** 2]
        assert sum(squares) == pytest.approx(2 * p**2)
        sums.append(sum(squares))
        means.append(sum(squares) / 2)
    return sum(sums) / len(sums), sum(means) / len(means)


def test_the_metric_loss_is_the_authors():
    g = torch.Generator().manual_seed(0)
    d = 3 * torch.rand(6, 2, generator=g, dtype=torch.float64)
    paper, program = the_authors(d[:, 0], d[:, 1])
    assert metric_loss(d).item() == pytest.approx(paper)
    assert Config.paper(program=True).metric * metric_loss(d).item() == pytest.approx(program)
    assert Config.paper().metric == 1
    wanted = -sum(math.log(math.exp(-a) / (math.exp(-a) + math.exp(-b))) for a, b in d.tolist()) / 6
    assert metric_loss(d, "log").item() == pytest.approx(wanted)


def test_the_metric_loss_by_hand():
    # the own sound as far as both others: q = ⅓ each
    assert metric_loss(torch.ones(1, 3)).item() == pytest.approx((2 / 3) ** 2 + 2 / 9)
    assert metric_loss(torch.ones(1, 3), "log").item() == pytest.approx(math.log(3))
    near, far = torch.tensor([[0.0, 50.0, 60.0]]), torch.tensor([[50.0, 0.0, 60.0]])
    assert metric_loss(near).item() == pytest.approx(0, abs=1e-6)
    assert metric_loss(far).item() == pytest.approx(2)
    assert metric_loss(far).isfinite()


@EVERY
def test_the_loss_by_hand(way):
    model, b = build(way), data(way)
    c = model.config
    terms = model.loss(b)
    total, sounds = 0.0, model.hear(b["sound"])
    pairs = [slow(model, b["features"][k], sounds[k]) for k in range(3)]
    if c.metric:
        rows, nearest = [], []
        for k, (_, f_v) in enumerate(pairs):
            others = [(k + 1) % 3] if c.negatives == "one" else [(k + 1) % 3, (k + 2) % 3]
            d = []
            for j in (k, *others):
                if c.asks == "each":  # sound j looks for itself
                    f_v = slow(model, b["features"][k], sounds[j])[1]
                d.append((f_v - sounds[j]).square().sum().sqrt())
            q = [x.neg().exp() / sum(y.neg().exp() for y in d) for x in d]
            squares = (1 - q[0]) ** 2 + sum(x**2 for x in q[1:])
            rows.append(-q[0].log() if c.objective == "log" else squares)
            nearest.append(float(all(d[0] < x for x in d[1:])))
        torch.testing.assert_close(terms["metric"], sum(rows) / 3)
        assert terms["nearest"].item() == pytest.approx(sum(nearest) / 3)
        total = total + c.metric * sum(rows) / 3
    if c.supervision:
        rows = []
        for (alpha, _), drawn in zip(pairs, b["annotation"].flatten(1)):
            drawn = drawn / drawn.sum() if drawn.any() else drawn
            rows.append(-sum(g * a.log() for g, a in zip(drawn, alpha)))
        assert rows[1] == 0  # nobody looked
        torch.testing.assert_close(terms["supervised"], sum(rows) / 3)
        total = total + c.supervision * sum(rows) / 3
    torch.testing.assert_close(terms["loss"], total)
    assert {"metric": bool(c.metric), "supervised": bool(c.supervision)} == {
        name: name in terms for name in ("metric", "supervised")
    }
    assert not any(term.requires_grad for name, term in terms.items() if name != "loss")


def test_without_maps_it_is_the_unsupervised_loss():
    model, b = build(), data()
    none = {**b, "annotation": 0 * b["annotation"]}
    bare = {n: x for n, x in b.items() if n != "annotation"}
    torch.testing.assert_close(model.loss(none)["loss"], model.loss(bare)["loss"])
    assert "supervised" not in model.loss(bare)
    with pytest.raises(ValueError, match="without the metric loss the batch needs 'annotation'"):
        build("supervised").loss(bare)


def test_the_supervised_loss_is_least_where_somebody_drew():
    drawn = torch.tensor([[0.5, 0.5, 0, 0]])
    right, wrong = torch.tensor([[0.5, 0.5, 1e-30, 1e-30]]), torch.tensor([[0.1, 0.1, 0.4, 0.4]])
    assert supervised_loss(right.log(), drawn).item() == pytest.approx(math.log(2))
    assert supervised_loss(wrong.log(), drawn).item() == pytest.approx(math.log(10))


def test_negatives_are_any_other_clip_or_the_callers():
    model, b = build("unsupervised"), data(size=6)
    heard = model.hear(b["sound"])
    video, cells = model(b["features"], b["sound"]).video, model.see(b["features"])
    wanted = torch.cdist(video, heard, compute_mode="donot_use_mm_for_euclid_dist")
    torch.manual_seed(0)
    drawn = torch.zeros(6, 6)
    for _ in range(300):
        d = model.train().distances(cells, heard)
        torch.testing.assert_close(d[:, 0], wanted.diagonal())
        which = (d[:, 1:] - wanted).abs().argmin(1)
        assert (d[:, 1] - wanted[torch.arange(6), which]).abs().max() < 1e-12
        drawn[torch.arange(6), which] += 1
    assert not drawn.diagonal().any()  # never its own
    assert (drawn[~torch.eye(6, dtype=torch.bool)] > 30).all()  # 60 expected, deviation 7
    given = model.distances(cells, heard, b["sound"].roll(2, 0))
    torch.testing.assert_close(given[:, 1], wanted[torch.arange(6), (torch.arange(6) - 2) % 6])
    one = model.distances(cells, heard, b["sound"][:1])
    torch.testing.assert_close(one[:, 1], wanted[:, 0])
    torch.testing.assert_close(
        model.loss({**b, "negative": b["sound"].roll(2, 0)})["metric"], metric_loss(given)
    )


def test_one_of_several_people_is_drawn():
    model, b = build("supervised"), data()
    g = torch.Generator().manual_seed(3)
    people = torch.rand(3, 3, 2, 4, generator=g, dtype=torch.float64)
    people[0, 1] = 0  # one of them did not look
    people[1] = 0
    each = people.flatten(2) / people.flatten(2).sum(-1, keepdim=True).clamp(min=1e-9)
    mean = model.drawn(people.flatten(2))
    torch.testing.assert_close(mean[0], (each[0, 0] + each[0, 2]) / 2)
    torch.testing.assert_close(mean[2], each[2].mean(0))
    assert not mean[1].any()
    torch.manual_seed(0)
    drawn = torch.zeros(3, 3)
    for _ in range(90):
        found = model.train().drawn(people.flatten(2))
        distance = (found[:, None] - each).abs().amax(-1)
        assert distance.amin(1).max() < 1e-12
        drawn[torch.arange(3), distance.argmin(1)] += 1
    assert drawn[0, 1] == 0
    assert (drawn[0, [0, 2]] > 20).all()
    assert (drawn[2] > 15).all()
    one = model.loss({**b, "annotation": people[:, :1]})
    torch.testing.assert_close(one["loss"], model.loss({**b, "annotation": people[:, 0]})["loss"])
    counted = model.loss({**b, "annotation": (people[:, 0] > 0.5)})
    as_numbers = model.loss({**b, "annotation": (people[:, 0] > 0.5).double()})
    torch.testing.assert_close(counted["loss"], as_numbers["loss"])


@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("spectrogram", "wave")])
def test_gradients_against_finite_differences(way):
    model, b = build(way), data(way)
    names, values = zip(*((n, p.detach().requires_grad_()) for n, p in model.named_parameters()))

    class Total(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, batch):
            return self.model.loss(batch)["loss"]

    def loss(x, s, *values):
        weights = {f"model.{n}": v for n, v in zip(names, values)}
        given = {**b, "features": x, "sound": s}
        return torch.func.functional_call(Total(), weights, (given,))

    x, s = b["features"].requires_grad_(), b["sound"].requires_grad_()
    assert torch.autograd.gradcheck(loss, (x, s, *values), fast_mode=True)


@EVERY
def test_every_weight_gets_a_gradient(way):
    model, b = build(way), data(way, size=8)
    b["annotation"][0, 0, 0] = 1
    model.loss(b)["loss"].backward()
    for name, p in model.named_parameters():
        if way == "supervised" and name.startswith("video."):
            assert p.grad is None  # what is seen is not asked for
        else:
            assert bool(p.grad.abs().sum() > 0), name


def test_no_gradient_is_lost_where_f_v_is_the_sound():
    """A distance of 0 has no slope, and must not be NaN."""
    model, b = build("unsupervised"), data()
    sound = model(b["features"], b["sound"]).video.detach().requires_grad_()
    model.video.requires_grad_(False)
    with torch.no_grad():
        for p in model.query.parameters():
            p.zero_()  # even attention, whatever the sound
        sound.copy_(model(b["features"], sound).video)
    model.loss({**b, "sound": sound})["loss"].backward()
    assert bool(sound.grad.isfinite().all())


# --- how maps are scored --------------------------------------------------------------------------


def test_consensus_by_hand():
    drawn = torch.tensor([[[[1, 1, 0, 0]], [[0, 1, 1, 0]], [[0, 1, 0, 0]]]])
    assert consensus(drawn).tolist() == [[[0.5, 1, 0.5, 0]]]
    assert consensus(drawn, agree=1).tolist() == [[[1, 1, 1, 0]]]
    assert consensus(drawn > 0, agree=3).flatten().tolist() == pytest.approx([1 / 3, 1, 1 / 3, 0])


def test_ciou_by_hand():
    g = torch.tensor([[[0.5, 1, 0.5, 0, 0, 0]]])
    for hot, wanted in (
        ([1, 1, 1, 0, 0, 0], 1),  # 2 / (2 + 0)
        ([0, 1, 0, 0, 0, 0], 1 / 2),
        ([0, 1, 1, 1, 0, 0], 1.5 / 3),
        ([1, 1, 1, 1, 1, 1], 2 / 5),  # the whole picture
        ([0, 0, 0, 0, 0, 0], 0),
        ([0, 0, 0, 1, 1, 1], 0),
        ([0, 0.5, 0.51, 0, 0, 0], 0.5 / 2),  # hotter than 0.5, not as hot
    ):
        assert ciou(torch.tensor([[hot]]), g).tolist() == [pytest.approx(wanted)]
    ramp = torch.arange(6).view(1, 1, 6) / 5
    assert ciou(ramp, g, 0.15).tolist() == [pytest.approx(1.5 / (2 + 3))]
    assert ciou(ramp, g, "median").tolist() == [0]  # 0.8 and 1 are above the fourth of six
    assert ciou(ramp.flip(2), g, "median").tolist() == [pytest.approx(1.5 / 2)]


@given(
    hnp.arrays("float64", (2, 3, 4), elements=st.floats(0, 1, width=16)),
    hnp.arrays("int8", (2, 3, 3, 4), elements=st.integers(0, 1)),
    st.sampled_from([0.0, 0.25, 0.5, 0.9]),
)
def test_ciou_is_the_loop(hot, drawn, threshold):
    drawn[:, 0, 0, 0] = 1
    g = consensus(torch.from_numpy(drawn))
    for found, h, own in zip(ciou(torch.from_numpy(hot), g, threshold), hot, g):
        above = below = 0.0
        for row, column in itertools.product(range(3), range(4)):
            truth = own[row, column].item()
            above += truth * (h[row, column] > threshold)
            below += truth + (h[row, column] > threshold and truth == 0)
        assert found.item() == pytest.approx(above / below)
        assert 0 <= found <= 1


def test_success_and_auc_by_hand():
    overlaps = torch.tensor([0.0, 0.5, 0.15, 1.0])
    assert success(overlaps) == 0.5
    assert success(overlaps, 0.15) == 0.75
    # 1 at 0; ¾ up to 0.15; ½ up to 0.5; ¼ up to 1
    rates = [1.0] + [0.75] * 3 + [0.5] * 7 + [0.25] * 10
    wanted = sum(0.05 * (a + b) / 2 for a, b in itertools.pairwise(rates))
    assert auc(overlaps) == pytest.approx(wanted)
    assert auc(torch.ones(3)) == pytest.approx(1)
    assert auc(torch.zeros(3)) == pytest.approx(0.025)  # all succeed where nothing is asked for


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_auc_is_the_fields(found):
    import numpy as np
    from sklearn.metrics import auc as trapezoid

    own = np.array(found)
    x = [0.05 * i for i in range(21)]
    rates = [float((own >= i / 20).mean()) for i in range(21)]
    assert auc(torch.tensor(found, dtype=torch.float64)) == pytest.approx(trapezoid(x, rates))


def test_heat_by_hand():
    alpha = torch.tensor([[[0.1, 0.3], [0.1, 0.5]]])
    assert heat(alpha, (2, 2)).flatten().tolist() == pytest.approx([0, 0.5, 0, 1])
    warm = heat(alpha, (8, 8))[0]
    assert warm.min() == 0
    assert warm.max() == 1
    assert warm[-1, -1] == 1
    assert bool((warm[:, 1:] >= warm[:, :-1]).all())
    even = torch.full((2, 6, 6), 1 / 36)
    even[1] += 1e-9 * torch.rand(6, 6)
    assert not heat(even, (96, 96)).any()
    assert ciou(heat(even, (6, 6)), torch.ones(2, 6, 6)).tolist() == [0, 0]


def test_masks_on_cells():
    mask = torch.zeros(2, 4, 6, dtype=torch.bool)
    mask[0, :2, :3] = True
    mask[1, 1:3, 2] = True
    found = on_cells(mask, (2, 2))
    assert found.tolist() == [
        [[1, 0], [0, 0]],
        [[pytest.approx(1 / 6), 0], [pytest.approx(1 / 6), 0]],
    ]
    several = torch.stack([mask, mask.flip(0)], 1)  # (N, people, H, W)
    assert torch.equal(on_cells(several, (2, 2))[:, 0], found)
    with pytest.raises(ValueError, match=r"\(4, 6\) pixels do not make \(3, 2\) equal cells"):
        on_cells(mask, (3, 2))


def test_the_right_map_scores_one_and_the_whole_picture_its_share():
    """What a perfect map on 6 × 6 cells reaches, and the baselines that must stand beside."""
    mask = torch.zeros(1, 96, 96, dtype=torch.bool)
    mask[:, 16:48, 32:80] = True
    g = consensus(mask[:, None], agree=1)
    perfect = on_cells(mask, (6, 6))
    assert ciou(heat(perfect, (96, 96)), g).item() > 0.85
    assert ciou(torch.ones(1, 96, 96), g).item() == pytest.approx(32 * 48 / 96**2)


# --- sizes ----------------------------------------------------------------------------------------


def test_the_papers_parameters():
    with torch.device("meta"):
        model = SoundLocalizer(Config.paper())
    parts = [sum(p.numel() for p in part.parameters()) for part in (*model.query, *model.video)]
    assert parts == [0, 1_001_000, 0, 512_512, 0, 262_656, 0, 513_000]
    assert training.parameter_count(model) == 2_289_168


def test_paper_scale_shapes():
    with torch.device("meta"):
        model = SoundLocalizer(Config.paper())
        x, s = torch.empty(2, 512, 20, 20), torch.empty(2, 1000)
        found = model(x, s)
        assert model.see(x).shape == (2, 400, 512)
        assert model.scores(model.see(x), model.query(s)[:, None]).shape == (2, 1, 400)
    assert (found.video.shape, found.sound.shape) == ((2, 1000), (2, 1000))
    assert found.attention.shape == (2, 20, 20)


def test_the_papers_settings():
    paper = Config.paper()
    assert (paper.sharpness, paper.width, paper.places) == (1, 0, "none")
    assert (paper.negatives, paper.objective, paper.asks) == ("one", "ratio", "own")
    assert paper.rectify
    program = Config.paper(program=True)
    assert {
        f.name for f in fields(Config) if getattr(program, f.name) != getattr(paper, f.name)
    } == {"metric"}


@pytest.mark.parametrize("hears", ["spectrogram", "wave"])
@pytest.mark.parametrize("rate", [8000, 16_000])
def test_the_worlds_model_is_small(hears, rate, recwarn):
    model = SoundLocalizer(Config.world(hears=hears, rate=rate))
    assert not recwarn.list  # no band of the spectrogram is empty
    assert training.parameter_count(model) < 300_000
    found = model(torch.randn(2, 112, 6, 6), 0.1 * torch.randn(2, 2 * rate).clamp(-9, 9))
    assert found.attention.shape == (2, 6, 6)
    assert Config.world(metric=0).metric == 0


# --- training -------------------------------------------------------------------------------------


def fresh(way: str, seed: int = 0, **changes: object) -> SoundLocalizer:
    torch.manual_seed(seed)
    sizes = {"image": (KINDS, 2, 4), "sound": KINDS}
    return SoundLocalizer(replace(SMALL, **{**sizes, **WAYS[way], **changes}))


def scenes(way: str = "sharp", size: int = 12, seed: int = 5) -> dict[str, torch.Tensor]:
    """Two of eight kinds of things lie in cells; the first is heard, each kind with its own sound."""
    g = torch.Generator().manual_seed(seed)
    x = 0.1 * torch.randn(size, KINDS, 8, generator=g)
    things = torch.stack([torch.randperm(KINDS, generator=g)[:2] for _ in range(size)])
    cells = torch.stack([torch.randperm(8, generator=g)[:2] for _ in range(size)])
    rows = torch.arange(size)
    for k in range(2):
        x[rows, things[:, k], cells[:, k]] += 2
    if WAYS[way].get("hears", "vector") == "vector":
        sounds = 2 * torch.eye(KINDS)
    else:
        pitch = 200.0 * 1.4 ** torch.arange(KINDS)[:, None]
        sounds = 0.5 * torch.sin(2 * math.pi * pitch * torch.arange(1600) / 8000)
    where = [F.one_hot(cells[:, k], 8).float().view(size, 2, 4) for k in range(2)]
    return {
        "features": x.view(size, KINDS, 2, 4),
        "sound": sounds[things[:, 0]],
        "annotation": where[0],
        "other": sounds[things[:, 1]],
        "elsewhere": where[1],
    }


@EVERY
def test_overfits_one_batch(way):
    model, b = fresh(way), scenes(way)
    before = model.eval().loss(b)
    training.fit(model, b, epochs=100, batch_size=12, lr=2e-2, progress=False)
    after = model.eval().loss(b)
    for name, share in (("metric", 0.7), ("supervised", 0.7)):
        assert name not in before or after[name] < share * before[name], name
    inside = (model.where(b["features"], b["sound"]) * b["annotation"]).sum((1, 2))
    # even: 0.125; the paper's attention cannot be sharp
    assert inside.mean() > (0.2 if way == "paper" else 0.4)


@pytest.mark.parametrize("way", ["paper", "sharp", "log"])
def test_sound_alone_finds_its_thing(way):
    """No map is drawn, and the attention goes to what sounds; and to the other as that sounds."""
    model, b = fresh(way, supervision=0.0), scenes(way, 200)
    training.fit(model, b, epochs=40, batch_size=20, lr=1e-2, progress=False)
    b = scenes(way, 100, seed=6)
    for sound in ("sound", "other"):
        alpha = model.where(b["features"], b[sound])
        first, second = ((alpha * b[name]).sum((1, 2)) for name in ("annotation", "elsewhere"))
        assert ((first > second) == (sound == "sound")).float().mean() > 0.85


@pytest.mark.parametrize(("asks", "tells"), [("own", True), ("each", False)])
def test_where_one_looks_gives_away_who_asked(asks, tells):
    """Pictures of nothing: whoever tells sounds apart by them has read the question, not the picture."""

    def nothing(seed: int) -> dict[str, torch.Tensor]:
        g = torch.Generator().manual_seed(seed)
        return {
            "features": torch.randn(KINDS, KINDS, 2, 4, generator=g),
            "sound": 2 * torch.eye(KINDS),
        }

    model = fresh("log", asks=asks)
    optimizer = torch.optim.Adam(model.train().parameters(), 1e-2)
    for step in range(200):
        loss = model.loss(nothing(step))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    fresh_ones = [model.loss(nothing(1000 + k)) for k in range(60)]
    loss, nearest = (sum(own[n].item() for own in fresh_ones) / 60 for n in ("loss", "nearest"))
    if tells:
        assert loss < math.log(KINDS) - 0.2
        assert nearest > 0.25
    else:  # by chance 0.125; deviation 0.015
        assert loss > math.log(KINDS) - 0.03
        assert nearest < 0.2


@pytest.mark.parametrize("way", ["sharp", "spectrogram"])
def test_same_seed_same_result(way):
    def run(seed: int) -> torch.Tensor:
        model = fresh(way, seed)
        training.fit(model, scenes(way), epochs=3, batch_size=5, seed=seed, progress=False)
        return torch.cat([x.flatten() for x in model.state_dict().values()])

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_a_checkpoint_resumes_exactly(tmp_path):
    options = {"epochs": 3, "batch_size": 5, "progress": False, "checkpoint_every": 1}

    class Off(Exception):
        pass

    class Cut(nn.Module):
        """The same model, which dies at a step."""

        def __init__(self, left: int) -> None:
            super().__init__()
            self.model, self.left = fresh("spectrogram"), left

        def loss(self, batch):
            if self.left == 0:
                raise Off
            self.left -= 1
            return self.model.loss(batch)

    b = scenes("spectrogram")
    whole, again = Cut(-1), Cut(-1)
    training.fit(whole, b, **options)
    with pytest.raises(Off):
        training.fit(Cut(5), b, checkpoint=tmp_path / "c", **options)
    training.fit(again, b, checkpoint=tmp_path / "c", **options)
    for a, c in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, c)


@EVERY
def test_a_saved_model_points_as_before(way, tmp_path):
    model, b = build(way).float(), {n: x.float() for n, x in data(way).items()}
    saving.save(model, tmp_path)
    again, _ = saving.load(SoundLocalizer, tmp_path)
    assert again.config == model.config
    for x, y in zip(again(b["features"], b["sound"]), model(b["features"], b["sound"])):
        assert torch.equal(x, y)


# --- devices, precision, what is no mistake -------------------------------------------------------


def moved(model: SoundLocalizer) -> SoundLocalizer:
    """The model on the pretended GPU: made on the CPU, since a filterbank of pretended numbers cannot be checked."""
    for part in model.modules():
        for name, x in [
            *part.named_parameters(recurse=False),
            *part.named_buffers(recurse=False),
        ]:
            there = torch.zeros(x.shape, dtype=x.dtype, device="cuda")
            setattr(part, name, nn.Parameter(there) if isinstance(x, nn.Parameter) else there)
    return model


@pytest.mark.parametrize("way", [*WAYS, "the paper"])
def test_on_a_pretended_gpu(way):
    config = Config.paper() if way == "the paper" else replace(SMALL, **WAYS[way])
    model = SoundLocalizer(config)
    with FakeTensorMode(), torch.backends.cudnn.flags(enabled=False):
        model = moved(model)
        numbers = config.sound if config.hears == "vector" else 16_000
        b = {
            "features": torch.zeros(4, *config.image, device="cuda", dtype=torch.float16),
            "sound": torch.zeros(4, numbers, device="cuda"),
            "annotation": torch.ones(4, 3, *config.image[1:], device="cuda"),
        }
        found = [*model.loss(b).values(), *model(b["features"], b["sound"])]
        found.append(model.where(b["features"][:1], b["sound"]))
        if config.negatives == "one" and config.metric:
            found += model.loss({**b, "negative": b["sound"]}).values()
    assert {t.device.type for t in found} == {"cuda"}
    assert found[-1].numel() in (1, 4 * math.prod(config.image[1:]))


@EVERY
def test_mixed_and_half_precision_stay_near_the_full(way):
    model, b = build(way).float(), {n: x.float() for n, x in data(way).items()}
    full = model.loss(b)["loss"].item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.loss(b)["loss"].item() == pytest.approx(full, rel=0.05)
    half = {**b, "features": b["features"].half()}
    assert model.loss(half)["loss"].item() == pytest.approx(full, rel=0.01)


@pytest.mark.parametrize("way", ["sharp", "spectrogram", "wave"])
def test_silence_is_heard(way):
    model, b = build(way).train(), data(way)
    terms = model.loss({**b, "sound": 0 * b["sound"]})
    terms["loss"].backward()
    assert bool(terms["loss"].isfinite())
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("way", ["spectrogram", "wave"])
def test_integers_and_clipping(way):
    model, b = build(way).float(), data(way)
    x = b["features"].float()
    whole = (b["sound"] * 32767).to(torch.int16)
    torch.testing.assert_close(model.where(x, whole), model.where(x, whole.float() / 32768))
    assert bool(model.where(x, (9 * b["sound"].float()).clamp(-1, 1)).isfinite().all())
    least = model.stream.least
    assert bool(model.where(x[:1], b["sound"][:1, :least].float()).isfinite().all())
    with pytest.raises(
        ValueError, match=f"of {least - 1} samples is too short, the least is {least}"
    ):
        model.where(x[:1], b["sound"][:1, : least - 1].float())
    with pytest.raises((RuntimeError, ValueError)):  # torch, or the spectrogram, cannot either
        model.stream(b["sound"][:1, : least - 1].float())


#: In a process of its own: how much memory ten minutes take beside the wave, in GiB.
TEN_MINUTES = """
import sys
import torch
from mmtutor.sound_localization import Config, SoundLocalizer

def held(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name)) / 2**20

torch.set_num_threads(1)
model = SoundLocalizer(Config.world(hears=sys.argv[1])).eval()
x = 2 * torch.rand(1, 600 * 8000) - 1
with torch.no_grad():
    model.hear(x[:, :16_000])  # what torch itself loads at its first use
    before = held("VmRSS")
    assert model.hear(x).isfinite().all()
print(held("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the memory there")
@pytest.mark.parametrize(("hears", "place"), [("spectrogram", 0), ("wave", 1)])
def test_ten_minutes_take_the_memory_that_is_told(hears, place):
    told = re.findall(r"(\d\.\d) GiB", SoundLocalizer.hear.__doc__)[place]
    asked = [sys.executable, "-c", TEN_MINUTES, hears]
    found = float(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    assert 0 < found < float(told) + 0.2


def test_the_worlds_scenes_fit():
    import numpy as np

    from mmtutor import world
    from mmtutor.kit.arrays import column

    rows = world.load("sounding_scenes", "train", 3, pixels=96, sample_rate=8000)
    mask = torch.from_numpy(np.stack(column(rows, "mask")))
    b = {
        "features": torch.randn(3, 112, 6, 6),
        "sound": torch.from_numpy(np.stack(column(rows, "wave"))),
        "annotation": on_cells(mask, (6, 6)),
    }
    model = SoundLocalizer(Config.world(hears="spectrogram"))
    assert bool(model.loss(b)["loss"].isfinite())
    model = SoundLocalizer(Config.world())
    assert bool(model.loss({**b, "sound": torch.randn(3, 256)})["loss"].isfinite())
    overlaps = ciou(heat(b["annotation"], (96, 96)), consensus(mask[:, None], agree=1))
    assert overlaps.min() > 0.3


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": (3, 2)}, r"image must be \(channels, height, width\)"),
        ({"image": (3, 0, 2)}, "image must be"),
        ({"hears": "tones"}, "hears must be one of"),
        ({"places": "learnt"}, "places must be one of"),
        ({"negatives": "two"}, "negatives must be one of"),
        ({"objective": "hinge"}, "objective must be one of"),
        ({"sound": 0}, "sound and rate must be at least 1"),
        ({"given": -1}, "given must be at least 0"),
        ({"hears": "wave", "given": 4}, "given = 4 has no effect with hears = 'wave'"),
        ({"width": -1}, "width at least 0"),
        ({"sharpness": 0.0}, "sharpness must be above 0"),
        ({"sharpness": math.inf}, "sharpness must be above 0 and finite"),
        ({"metric": -1.0}, "metric and supervision must be finite, not negative"),
        ({"metric": 0.0, "supervision": 0.0}, "not both 0"),
        ({"supervision": math.nan}, "must be finite"),
        ({"places": "product"}, "set places = 'none'"),
        ({"rate": 16_000}, "rate = 16000 has no effect with hears = 'vector'"),
        ({"metric": 0.0, "negatives": "all"}, "negatives = all has no effect with metric = 0"),
        ({"metric": 0.0, "objective": "log"}, "objective = log has no effect with metric = 0"),
        ({"metric": 0.0, "asks": "each"}, "asks = each has no effect with metric = 0"),
        ({"asks": "none"}, "asks must be one of"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


CHANGES = {
    "image": (3, 2, 3),
    "hears": "wave",
    "sound": 4,
    "given": 3,
    "width": 6,
    "places": "product",
    "sharpness": 2.0,
    "rectify": False,
    "negatives": "all",
    "objective": "log",
    "asks": "each",
    "metric": 2.0,
    "supervision": 2.0,
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_has_an_effect(name):
    assert {*CHANGES, "rate"} == {f.name for f in fields(Config)}
    start = replace(SMALL, width=5) if name == "places" else SMALL
    found = []
    for config in (start, replace(start, **{name: CHANGES[name]})):
        torch.manual_seed(1)
        model = SoundLocalizer(config).eval()
        b = data("wave" if config.hears == "wave" else "sharp")
        b = {n: x.float() for n, x in b.items()}
        b |= {n: b[n][..., : config.image[2]] for n in ("features", "annotation")}
        if config.hears == "vector":
            b["sound"] = b["sound"][:, : config.given or config.sound]
        found.append(model.loss(b)["loss"].item())
    assert found[0] != found[1]


def test_a_given_vector_passes_a_layer_that_learns():
    model, b = SoundLocalizer(replace(SMALL, given=3)).double(), data()
    norm, line = model.stream
    x = b["sound"][:, :3]
    by_hand = (x - x.mean(0)) / (x.var(0, unbiased=False) + norm.eps).sqrt() @ line.weight.T
    torch.testing.assert_close(model.hear(x), by_hand + line.bias)
    model.loss({**b, "sound": x})["loss"].backward()
    assert all(p.grad is not None for p in model.stream.parameters())
    with pytest.raises(ValueError, match=r"sound: features must be a tensor \(B, 3\)"):
        model.hear(b["sound"])


def test_the_rate_has_an_effect():
    b = {n: x.float() for n, x in data("spectrogram").items()}
    found = []
    for rate in (8000, 16_000):
        torch.manual_seed(0)
        model = SoundLocalizer(replace(SMALL, hears="spectrogram", rate=rate)).eval()
        found.append(model.loss(b)["loss"].item())
    assert found[0] != found[1]


def test_bad_batches():
    model, b = build(), data()
    x, s, g = b["features"], b["sound"], b["annotation"]
    model.loss(b)
    for change, error, message in (
        ({"features": x[:2]}, ValueError, "2 pictures but 3 sounds; each needs its own"),
        ({"features": x[:, :2]}, ValueError, r"features must be a tensor \(B, 3, 2, 4\)"),
        ({"features": x * math.nan}, ValueError, "NaN or infinity"),
        ({"features": None}, ValueError, "got NoneType"),
        ({"sound": s[:, :4]}, ValueError, r"sound: features must be a tensor \(B, 5\)"),
        ({"sound": s * math.inf}, ValueError, "sound: .*NaN or infinity"),
        ({"negative": s[:2]}, ValueError, "3 pictures but 2 sounds; as many, or one for all"),
        ({"annotation": g[:, :1]}, ValueError, r"annotation must be \(3, 2, 4\) or \(3, 'N', 2, 4\), got \(3, 1, 4\)"),
        ({"annotation": g[:2]}, ValueError, r"annotation must be .* got \(2, 2, 4\)"),
        ({"annotation": -g}, ValueError, "finite and not negative"),
        ({"annotation": g * math.nan}, ValueError, "finite and not negative"),
        ({"annotation": None}, ValueError, "got NoneType"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            model.loss({**b, **change})
    with pytest.raises(ValueError, match="one clip alone has no other sound"):
        model.loss({n: y[:1] for n, y in b.items()})
    one = {**{n: y[:1] for n, y in b.items()}, "negative": s[1:2]}
    assert bool(model.loss(one)["loss"].isfinite())
    with pytest.raises(ValueError, match="leave out 'negative'"):
        build("all").loss({**b, "negative": s})
    with pytest.raises(ValueError, match="2 pictures but 3 sounds; as many, or one for all"):
        model(x[:2], s)
    for way in ("spectrogram", "wave"):
        heard, own = build(way), data(way)
        for wave, error, message in (
            (own["sound"][:, None], ValueError, "to_wave"),
            (own["sound"] * 3, ValueError, r"lies in \[-1, 1\]"),
            (own["sound"] * math.nan, ValueError, "NaN"),
            (own["sound"].long(), TypeError, "PCM"),
        ):
            with pytest.raises(error, match=message):
                heard.loss({**own, "sound": wave})
    with pytest.raises(ValueError, match=r"distances must be \(B, 1 \+ N\)"):
        metric_loss(torch.zeros(3, 1))


def test_bad_maps():
    good = torch.full((2, 3, 4), 0.5)
    for call, message in (
        (lambda: consensus(good), r"drawn must be \(N, J, H, W\)"),
        (lambda: consensus(good[:, None]), r"at least agree = 2 people, got \(2, 1, 3, 4\)"),
        (lambda: consensus(3 * good[:, None], 1), r"drawn must lie in \[0, 1\]"),
        (lambda: heat(good[0], (6, 6)), r"attention must be finite \(N, h, w\)"),
        (lambda: heat(good * math.nan, (6, 6)), "must be finite"),
        (lambda: ciou(good, good[:, :2]), r"\(N, H, W\) alike, got \(2, 3, 4\) and \(2, 2, 4\)"),
        (lambda: ciou(good, good * torch.tensor([1, 0])[:, None, None]), "truth of map 1 is empty"),
        (lambda: ciou(3 * good, good), r"heat must lie in \[0, 1\]"),
        (lambda: ciou(good, math.nan * good), r"truth must lie in \[0, 1\]"),
        (lambda: ciou(good, good, 1.0), r"threshold must be in \[0, 1\), or 'median', got 1.0"),
        (lambda: ciou(good, good, "mean"), "or 'median', got 'mean'"),
        (lambda: success(torch.zeros(0)), r"overlaps must be \(N,\), at least one"),
        (lambda: auc(torch.tensor([1.5])), r"overlaps must lie in \[0, 1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert sound_localization.OVERLAPS[10] == 0.5
