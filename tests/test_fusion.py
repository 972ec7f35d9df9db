"""Fusion: against steps by hand, enumeration, the paper's algorithm and its program's sizes."""

import itertools
import math
from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from mmtutor.fusion import (
    JOINT,
    LEAST,
    WAYS,
    Config,
    Fusion,
    Progress,
    blend_weights,
    hidden_layers,
    progress,
)
from mmtutor.kit import training

INPUTS = (("picture", 5), ("sound", 3))
SMALL = Config(INPUTS, classes=4, encoder=(6,), mlp=(7,))
EVERY = pytest.mark.parametrize("fusion", [*WAYS, "picture", "sound"])
TOGETHER = pytest.mark.parametrize("fusion", WAYS)
BLEND = (0.2, 0.5, 0.3)


def build(fusion: str = "late", seed: int = 0, **changes) -> Fusion:
    torch.manual_seed(seed)
    return Fusion(replace(SMALL, fusion=fusion, **changes))


def batch(size: int = 8, seed: int = 0) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    made = {name: torch.randn(size, n, generator=g) for name, n in INPUTS}
    return {**made, "label": torch.arange(size) % 4}


# --- The equations --------------------------------------------------------------------------------


def layer(w: dict[str, torch.Tensor], name: str, x: torch.Tensor, relu: bool = True):
    """One row through one layer, number by number."""
    rows, bias = w[f"{name}.weight"], w[f"{name}.bias"]
    out = [sum(a * b for a, b in zip(row, x)) + c for row, c in zip(rows, bias)]
    return torch.stack([o.clamp(min=0) if relu else o for o in out])


@EVERY
def test_scores_are_those_of_a_row_by_hand(fusion):
    model, b = build(fusion), batch(3)
    w = dict(model.named_parameters())
    with torch.no_grad():
        found = model(b)
        for k in range(3):
            picture, sound = b["picture"][k], b["sound"][k]
            if fusion == "early":
                met = layer(w, "together.0", torch.cat([picture, sound]))
            else:
                rows = {"picture": picture, "sound": sound}
                read = rows if fusion in WAYS else {fusion: rows[fusion]}
                own = [layer(w, f"encoders.{name}.0", x) for name, x in read.items()]
                if fusion == "product":
                    met = torch.stack([a * c for a, c in zip(*own)])
                else:
                    met = torch.cat(own)
            hidden = layer(w, "classifier.0.0", met)
            torch.testing.assert_close(found[k], layer(w, "classifier.1", hidden, relu=False))


@EVERY
def test_the_loss_is_the_mean_cross_entropy(fusion):
    model, b = build(fusion), batch()
    p = model(b).softmax(1)
    expected = -torch.stack([p[k, b["label"][k]].log() for k in range(8)]).mean()
    terms = model.loss(b)
    assert list(terms) == ["loss"]
    torch.testing.assert_close(terms["loss"], expected)


@pytest.mark.parametrize("fusion", ["late", "product"])
def test_blending_weighs_the_losses_of_the_heads(fusion):
    model, b = build(fusion, blend=BLEND), batch()
    each = model.each(b)
    assert list(each) == ["picture", "sound", JOINT]
    features = model.encode(b)
    for name in ("picture", "sound"):
        head = model.heads[name]
        torch.testing.assert_close(each[name], features[name] @ head.weight.T + head.bias)
    torch.testing.assert_close(each[JOINT], model(b))
    own = [F.cross_entropy(scores, b["label"]) for scores in each.values()]
    terms = model.loss(b)
    torch.testing.assert_close(terms["loss"], sum(w * x for w, x in zip(BLEND, own)))
    for name, one in zip(each, own):
        torch.testing.assert_close(terms[name], one)
        assert not terms[name].requires_grad


def test_a_head_of_weight_zero_teaches_its_encoder_nothing():
    b = batch()
    for weights, moved in (((0.0, 0.5, 0.5), False), ((0.5, 0.0, 0.5), True)):
        model = build(blend=weights)
        model.loss(b)["loss"].backward()
        assert bool(model.heads["picture"].weight.grad.abs().sum() > 0) is moved


# --- Modality dropout -----------------------------------------------------------------------------


def met(model: Fusion, parts: dict[str, torch.Tensor]) -> torch.Tensor:
    """What reaches the classifier of a model without hidden layers: its weights are the identity."""
    size = model.classifier[1].in_features
    assert model.classifier[1].out_features == size
    with torch.no_grad():
        model.classifier[1].weight.copy_(torch.eye(size))
        model.classifier[1].bias.zero_()
        return model.decide(parts)


def bare(fusion: str, rates: tuple[float, ...], classes: int) -> Fusion:
    return build(fusion, mlp=(), classes=classes, modality_dropout=rates)


def test_the_mean_of_what_meets_is_what_it_was():
    model = bare("late", (0.5, 0.2), 12).train()
    parts = {"picture": torch.full((20_000, 6), 2.0), "sound": torch.full((20_000, 6), -1.0)}
    torch.manual_seed(0)
    x = met(model, parts)
    # standard errors: 2 / sqrt(20000) = 0.014, and 0.5 / sqrt(20000) = 0.0035
    torch.testing.assert_close(x[:, :6].mean(0), torch.full((6,), 2.0), rtol=0, atol=0.06)
    torch.testing.assert_close(x[:, 6:].mean(0), torch.full((6,), -1.0), rtol=0, atol=0.015)
    for own, rate, value in ((x[:, :6], 0.5, 2.0), (x[:, 6:], 0.2, -1.0)):
        assert bool((own == own[:, :1]).all())  # a whole modality, never a part of it
        assert set(own[:, 0].tolist()) == {0.0, value / (1 - rate)}
        assert abs(float((own[:, 0] == 0).double().mean()) - rate) < 0.02
    gone = [x[:, 0] == 0, x[:, 6] == 0]
    assert abs(float((gone[0] & gone[1]).double().mean()) - 0.1) < 0.015  # each by itself


def test_in_a_product_a_missing_modality_is_one():
    model = bare("product", (0.5, 0.0), 6).train()
    parts = {"picture": torch.full((1000, 6), 3.0), "sound": torch.full((1000, 6), 2.0)}
    torch.manual_seed(0)
    assert set(met(model, parts).flatten().tolist()) == {6.0, 2.0}


def test_early_fusion_drops_inputs():
    model = build("early", modality_dropout=(0.5, 0.0)).train()
    seen = []
    model.together.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    b = batch(400)
    model(b)
    gone = (seen[0][:, :5] == 0).all(1)
    assert 100 < int(gone.sum()) < 300
    torch.testing.assert_close(seen[0][~gone, :5], 2 * b["picture"][~gone])
    assert torch.equal(seen[0][:, 5:], b["sound"])


@TOGETHER
def test_nothing_is_dropped_in_use(fusion):
    b = batch()
    dropping, plain = build(fusion, modality_dropout=(0.9, 0.9)), build(fusion)
    assert not torch.equal(dropping.train()(b), plain.train()(b))
    assert torch.equal(dropping.eval()(b), plain.eval()(b))


@TOGETHER
def test_without_a_modality_its_numbers_do_not_matter(fusion):
    model, b = build(fusion).eval(), batch()
    other = {**b, "picture": torch.randn(8, 5)}
    assert torch.equal(model(b, ("picture",)), model(other, ("picture",)))
    assert not torch.equal(model(b), model(other))
    assert not torch.equal(model(b), model(b, ("picture",)))
    parts = model.encode(b)
    parts["picture"] = torch.full_like(parts["picture"], 1.0 if fusion == "product" else 0.0)
    assert torch.equal(model(b, ("picture",)), model.decide(parts))


# --- Gradient blending ----------------------------------------------------------------------------


def test_the_weights_by_hand():
    """Training losses 3 → 1 and held-out losses 3 → 2: G = 1, O = 1. And so on."""
    found = {
        "picture": progress((3.0, 3.0), (1.0, 2.0)),
        "sound": progress((3.0, 3.1), (0.5, 1.1)),
        JOINT: progress((3.0, 3.0), (0.0, 1.5)),
    }
    assert found["picture"] == Progress(1.0, 1.0)
    assert found["sound"].generalization == pytest.approx(2.0)
    assert found["sound"].overfitting == pytest.approx(0.5)
    assert found[JOINT] == Progress(1.5, 1.5)
    assert [one.ratio for one in found.values()] == pytest.approx([1.0, 0.25, 1.0])
    raw = [1 / 1**2, 2 / 0.5**2, 1.5 / 1.5**2]
    assert list(blend_weights(found).values()) == pytest.approx([x / sum(raw) for x in raw])


losses = st.floats(0, 10)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(losses, losses, losses, losses), min_size=1, max_size=4))
def test_weights_are_shares(rows):
    found = {str(k): progress(row[:2], row[2:]) for k, row in enumerate(rows)}
    if all(one.generalization <= 0 for one in found.values()):
        with pytest.raises(ValueError, match="nothing to blend"):
            blend_weights(found)
        return
    weights = blend_weights(found)
    assert sum(weights.values()) == pytest.approx(1)
    for name, one in found.items():
        assert (weights[name] > 0) == (one.generalization > 0)
        gap = (one.generalization, one.overfitting)
        before, after = rows[int(name)][:2], rows[int(name)][2:]
        assert gap[0] + after[1] == pytest.approx(before[1])
        assert gap[1] == pytest.approx((after[1] - after[0]) - (before[1] - before[0]))


def test_what_learnt_nothing_gets_nothing_and_no_overfitting_is_not_infinite():
    found = {"a": Progress(-1.0, 0.5), "b": Progress(1.0, 0.0), "c": Progress(1.0, LEAST)}
    assert blend_weights(found) == pytest.approx({"a": 0, "b": 0.5, "c": 0.5})
    assert Progress(0.0, 1.0).ratio == math.inf
    with pytest.raises(ValueError, match="least must be above 0"):
        blend_weights(found, least=0)
    for pair in ((math.nan, 1.0), (1.0,), (1.0, math.inf)):
        with pytest.raises(ValueError, match="two finite losses"):
            progress((1.0, 1.0), pair)


def test_the_weights_are_the_best_of_uncorrelated_estimates():
    """What the formula is for: gradients G_k g + noise of deviation O_k, blended by weights that
    sum to 1 after scaling, reach the largest mean progress for their noise (proposition 1)."""
    G, O = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([1.0, 0.7, 0.4])

    def merit(w):
        return float((w * G).sum() / (w * O).square().sum().sqrt())

    found = {str(k): Progress(float(g), float(o)) for k, (g, o) in enumerate(zip(G, O))}
    best = merit(torch.tensor(list(blend_weights(found).values())))
    draw = torch.Generator().manual_seed(0)
    for _ in range(300):
        assert merit(torch.rand(3, generator=draw)) <= best + 1e-6


# --- Sizes ----------------------------------------------------------------------------------------


def test_the_papers_head_has_as_many_weights_as_its_program():
    """VMZ, audio_visual_model.py: 4096 → 2048 → 2048 → 400, and with blending 2048 → 400 twice."""
    with torch.device("meta"):
        plain, blended = Fusion(Config.paper()), Fusion(Config.paper(blend=BLEND))
    joint = 4096 * 2048 + 2048 + 2048 * 2048 + 2048 + 2048 * 400 + 400
    assert training.parameter_count(plain) == joint
    assert training.parameter_count(blended) == joint + 2 * (2048 * 400 + 400)


def test_the_worlds_sizes():
    model = Fusion(Config.world([("picture", 1280), ("sound", 480)], 35))
    encoders = 1280 * 128 + 128 + 480 * 128 + 128
    assert training.parameter_count(model) == encoders + 256 * 128 + 128 + 128 * 35 + 35


@pytest.mark.parametrize("changes", [{}, {"blend": BLEND, "modality_dropout": (0.5, 0.0)}])
def test_the_paper_on_a_pretended_gpu(changes):
    with FakeTensorMode():
        with torch.device("cuda"):
            model = Fusion(Config.paper(**changes))
        b = {name: torch.zeros(6, n, device="cuda") for name, n in model.config.inputs}
        b["label"] = torch.zeros(6, dtype=torch.int64, device="cuda")
        scores, terms = model(b, ("sound",)), model.loss(b)
    assert scores.shape == (6, 400)
    assert {t.device.type for t in (scores, *terms.values())} == {"cuda"}


@EVERY
def test_the_world_on_a_pretended_gpu(fusion):
    with FakeTensorMode():
        with torch.device("cuda"):
            model = Fusion(Config.world(INPUTS, 4, fusion=fusion))
        b = {name: torch.zeros(6, n, device="cuda", dtype=torch.float16) for name, n in INPUTS}
        b["label"] = torch.zeros(6, dtype=torch.int64, device="cuda")
        assert model.loss(b)["loss"].device.type == "cuda"


# --- Training -------------------------------------------------------------------------------------

VARIANTS = pytest.mark.parametrize(
    ("fusion", "changes"),
    [
        *((fusion, {}) for fusion in (*WAYS, "picture", "sound")),
        ("late", {"blend": BLEND}),
        ("late", {"modality_dropout": (0.3, 0.0)}),
        ("late", {"encoder": (), "mlp": (32,)}),
        ("product", {"encoder": (32, 24), "mlp": (32, 32)}),
    ],
)


@VARIANTS
def test_overfits_one_batch(fusion, changes):
    model = build(fusion, **({"encoder": (32,), "mlp": (32,)} | changes))
    training.fit(model, batch(), epochs=300, lr=1e-2, progress=False)
    assert float(model.loss(batch())["loss"].detach()) < 0.1


@VARIANTS
def test_the_same_seed_gives_the_same_weights(fusion, changes):
    def trained(seed):
        model = build(
            fusion, seed, **({"dropout": 0.2} | changes if changes.get("mlp", 1) else changes)
        )
        training.fit(model, batch(), epochs=3, batch_size=4, seed=seed, progress=False)
        return torch.cat([p.flatten() for p in model.parameters()])

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))


@VARIANTS
def test_every_weight_gets_a_gradient(fusion, changes):
    model = build(fusion, **({"encoder": (32,), "mlp": (32,)} | changes)).train()
    model.loss(batch(64))["loss"].backward()
    for name, p in model.named_parameters():
        assert bool(p.grad.abs().sum() > 0), name


def test_a_batch_of_one_is_a_batch():
    b = batch()
    for fusion in (*WAYS, "picture"):
        model = build(fusion).eval()
        one = {name: x[:1] for name, x in b.items()}
        torch.testing.assert_close(model(one), model(b)[:1])
        assert bool(torch.isfinite(model.loss(one)["loss"]))


def test_half_precision_from_a_cache_is_read():
    b = batch()
    half = {**b, "picture": b["picture"].half(), "sound": b["sound"].half()}
    torch.testing.assert_close(build()(half), build()(b), rtol=0, atol=2e-2)


# --- Every setting counts, or is refused ----------------------------------------------------------

OTHER = {
    "inputs": (("picture", 5), ("sound", 4)),
    "classes": 5,
    "encoder": (9,),
    "mlp": (9,),
    "modality_dropout": (0.5, 0.5),
    "blend": BLEND,
    "dropout": 0.5,
}


@pytest.mark.parametrize("name", [f.name for f in fields(Config) if f.name != "fusion"])
@EVERY
def test_every_setting_has_an_effect_or_is_refused(fusion, name):
    config = replace(SMALL, fusion=fusion)
    refused = (name == "blend" and fusion not in ("late", "product")) or (
        name == "modality_dropout" and fusion not in WAYS
    )
    if refused:
        with pytest.raises(ValueError, match=name):
            replace(config, **{name: OTHER[name]})
        return
    models = []
    for c in (config, replace(config, **{name: OTHER[name]})):
        torch.manual_seed(0)
        models.append(Fusion(c).train())
    if name == "inputs" and fusion == "picture":  # nor does it read the sound
        assert models[0].config.read == models[1].config.read
        return
    shapes = [[p.shape for p in model.parameters()] for model in models]
    if shapes[0] == shapes[1]:
        assert not torch.equal(*(model(batch()) for model in models))


@EVERY
def test_the_ways_differ(fusion):
    for other in (*WAYS, "picture", "sound"):
        if other != fusion:
            pair = build(fusion), build(other)
            assert not torch.equal(pair[0](batch()), pair[1](batch()))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inputs": ()}, "inputs must be pairs"),
        ({"inputs": (("picture", 5), ("picture", 3))}, "different names"),
        ({"inputs": (("picture", 5), ("joint", 3))}, "none of them"),
        ({"inputs": (("picture", 5), ("label", 3))}, "none of them"),
        ({"inputs": (("a picture", 5), ("sound", 3))}, "plain words"),
        ({"inputs": (("picture", 0), ("sound", 3))}, "at least 1"),
        ({"inputs": (("picture", 5),)}, "two modalities"),
        ({"classes": 0}, "at least 1"),
        ({"encoder": (0,)}, "encoder"),
        ({"mlp": (3, -1)}, "mlp"),
        ({"fusion": "middle"}, "fusion must be one of"),
        ({"fusion": "product", "encoder": ()}, "product"),
        ({"fusion": "sound", "modality_dropout": (0.5, 0.5)}, "no effect"),
        ({"fusion": "sound", "blend": BLEND}, "no effect"),
        ({"fusion": "early", "blend": BLEND}, "one for all"),
        ({"modality_dropout": (0.5,)}, "modality_dropout"),
        ({"modality_dropout": (0.5, 1.0)}, "modality_dropout"),
        ({"modality_dropout": (math.nan, 0.0)}, "modality_dropout"),
        ({"blend": (0.5, 0.5)}, "blend"),
        ({"blend": (0.5, 0.6, 0.2)}, "sum to 1"),
        ({"blend": (-0.1, 0.6, 0.5)}, "not negative"),
        ({"blend": (0.5, 0.5, 0.0)}, "last above 0"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": 0.5, "encoder": (), "mlp": ()}, "no effect"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(SMALL, **changes)


# --- Bad input ------------------------------------------------------------------------------------


def without_sound(b):
    del b["sound"]


def narrow(b):
    b["sound"] = b["sound"][:, :2]


def nan(b):
    b["picture"][2, 1] = math.nan


def fewer(b):
    b["sound"] = b["sound"][:3]


def empty(b):
    for name in b:
        b[name] = b[name][:0]


def a_list(b):
    b["picture"] = b["picture"].tolist()


def unlabelled(b):
    del b["label"]


def floats(b):
    b["label"] = b["label"].float()


def outside(b):
    b["label"][0] = 4


def column(b):
    b["label"] = b["label"][:, None]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (without_sound, "the batch has no sound"),
        (narrow, r"sound: features must be a tensor \(B, 3\)"),
        (nan, "picture: the features hold NaN"),
        (fewer, "as many rows"),
        (empty, "picture: features must be"),
        (a_list, "picture: features must be"),
        (unlabelled, "label must be answers"),
        (floats, "int64"),
        (outside, r"answers must lie in 0\.\.3"),
        (column, "label must be answers"),
    ],
)
def test_bad_batches_are_named(fault, words):
    b = batch()
    fault(b)
    with pytest.raises(ValueError, match=words):
        build().loss(b)


def test_a_modality_that_is_not_read_may_be_missing():
    b = batch()
    del b["sound"]
    assert build("picture")(b).shape == (8, 4)


@pytest.mark.parametrize("without", [("taste",), ("picture", "sound")])
def test_only_some_modalities_can_be_taken_away(without):
    with pytest.raises(ValueError, match="without must name some"):
        build()(batch(), without)


def test_there_are_no_heads_without_blending():
    with pytest.raises(ValueError, match="no heads"):
        build().each(batch())


def test_layers_are_as_wide_as_said():
    for widths, dropout in itertools.product(([5], [5, 4], [5, 4, 3]), (0.0, 0.5)):
        layers = hidden_layers(widths, dropout)
        linear = [x for x in layers if isinstance(x, torch.nn.Linear)]
        assert [(x.in_features, x.out_features) for x in linear] == list(itertools.pairwise(widths))
        assert len(layers) == len(linear) * (3 if dropout else 2)
