"""Recipes and dishes on one sphere: against loops, enumeration, torch's own loss and the paper's counts."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from launching import launch
from torch._subclasses.fake_tensor import FakeTensorMode

from mmtutor import recipes
from mmtutor.kit import training
from mmtutor.recipes import Config, RecipeEmbedding

I, W, K = 9, 13, 4  # ingredients, words, classes
VARIANTS = pytest.mark.parametrize(
    ("reader", "words"), list(itertools.product(recipes.READERS, (True, False)))
)


def build(reader: str = "rnn", words: bool = True, seed: int = 0, **changes) -> RecipeEmbedding:
    sizes = dict(image=(3, 2, 2), filters=5, ingredient=4, word=6, sentence=5, instruction=7)
    sizes |= {"joint": 8, "reader": reader}
    sizes |= {"ingredients": I, "words": W, "classes": K}
    if not words:
        sizes |= {"words": 0, "word": 0}
    if reader == "bag":  # it reads neither
        del sizes["instruction"]
        if words:
            del sizes["sentence"]
    torch.manual_seed(seed)
    return RecipeEmbedding(Config(**(sizes | changes)))


def batch(size: int = 6, words: bool = True, seed: int = 0) -> dict[str, torch.Tensor]:
    """Recipes of different lengths: row i has 1 + i % 3 ingredients and 1 + i % 4 sentences."""
    g = torch.Generator().manual_seed(seed)
    ingredients = torch.randint(1, I, (size, 3), generator=g)
    for i in range(size):
        ingredients[i, 1 + i % 3 :] = 0
    if words:
        told = torch.randint(1, W, (size, 4, 5), generator=g)
        for i, s in itertools.product(range(size), range(4)):
            told[i, s, 1 + (i + s) % 5 :] = 0
    else:
        told = torch.randn(size, 4, 5, generator=g)
    for i in range(size):
        told[i, 1 + i % 4 :] = 0
    image = torch.randn(size, 3, 2, 2, generator=g)
    label = torch.arange(size) % K
    return {"image": image, "ingredients": ingredients, "instructions": told, "label": label}


def numpy_lstm(lstm: torch.nn.LSTM, rows: torch.Tensor) -> torch.Tensor:
    """The last state of one sequence (T, D), by the equations, gate by gate."""
    h, c = torch.zeros(lstm.hidden_size), torch.zeros(lstm.hidden_size)
    for x in rows:
        gates = lstm.weight_ih_l0 @ x + lstm.bias_ih_l0 + lstm.weight_hh_l0 @ h + lstm.bias_hh_l0
        i, f, g, o = gates.chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
    return h


@pytest.mark.parametrize("words", [True, False])
def test_the_recipe_is_read_as_a_loop_over_each_one_alone_would_read_it(words):
    model, b = build(words=words), batch(words=words)
    expected = []
    with torch.no_grad():
        for things, told in zip(b["ingredients"], b["instructions"]):
            things = model.ingredients(things[things != 0])
            ahead, back = (
                numpy_lstm(cell, rows)
                for cell, rows in ((model.forwards, things), (model.backwards, things.flip(0)))
            )
            told = [s for s in told if bool((s != 0).any())]
            if words:
                told = [numpy_lstm(model.sentences, model.words(s[s != 0])) for s in told]
            read = numpy_lstm(model.instructions, torch.stack(told))
            joined = torch.tanh(model.recipe(torch.cat([read, ahead, back])))
            expected.append(joined / joined.norm())
        found = model.embed_recipe(b["ingredients"], b["instructions"])
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=2e-6)


@pytest.mark.parametrize("words", [True, False])
def test_the_bag_is_the_mean_of_what_is_there(words):
    model, b = build("bag", words), batch(words=words)
    expected = []
    with torch.no_grad():
        for things, told in zip(b["ingredients"], b["instructions"]):
            held = model.ingredients(things[things != 0]).mean(0)
            if words:
                read = model.words(told[told != 0]).mean(0)
            else:
                read = told[(told != 0).any(1)].mean(0)
            joined = torch.tanh(model.recipe(torch.cat([read, held])))
            expected.append(joined / joined.norm())
        found = model.embed_recipe(b["ingredients"], b["instructions"])
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=2e-6)


def test_order_is_all_that_the_bag_misses():
    b = batch()
    row = b["instructions"][3:4]
    assert int((row != 0).any(2).sum()) == 4
    swapped = row[:, [1, 0, 2, 3]]
    ingredients = b["ingredients"][3:4]
    for reader, same in (("bag", True), ("rnn", False)):
        model = build(reader)
        one, other = model.embed_recipe(ingredients, row), model.embed_recipe(ingredients, swapped)
        assert bool(torch.allclose(one, other, atol=1e-6)) == same


@VARIANTS
def test_padding_changes_nothing(reader, words):
    model, b = build(reader, words), batch(words=words)
    wider = {
        "ingredients": F.pad(b["ingredients"], (0, 2)),
        "instructions": F.pad(b["instructions"], (0, 3, 0, 2) if words else (0, 0, 0, 2)),
    }
    torch.testing.assert_close(
        model.embed_recipe(**wider),
        model.embed_recipe(b["ingredients"], b["instructions"]),
        rtol=0,
        atol=1e-6,
    )


@VARIANTS
def test_everything_lands_on_the_sphere(reader, words):
    model, b = build(reader, words), batch(words=words)
    for points in model(b):
        torch.testing.assert_close(points.norm(dim=1), torch.ones(6))


def test_a_vector_without_direction_stays_zero_and_its_gradient_finite():
    x = torch.zeros(2, 3, requires_grad=True)
    y = recipes.on_sphere(x)
    y.sum().backward()
    assert torch.equal(y, torch.zeros(2, 3))
    assert bool(torch.isfinite(x.grad).all())


# --- The loss -------------------------------------------------------------------------------------


def test_a_drawn_pair_costs_what_torch_says():
    g = torch.Generator().manual_seed(1)
    dish, recipe = (F.normalize(torch.randn(40, 8, generator=g), dim=1) for _ in range(2))
    torch.manual_seed(3)
    whose, own = recipes.draw_pairs(40, 0.8, "cpu")
    expected = F.cosine_embedding_loss(recipe, dish[whose], torch.where(own, 1.0, -1.0), margin=0.1)
    model = build(pairs="drawn", semantic=0.0, classes=0)
    model.forward = lambda _: (dish, recipe)
    torch.manual_seed(3)
    torch.testing.assert_close(model.loss({})["loss"], expected)


def test_pairs_are_drawn_as_asked():
    torch.manual_seed(0)
    counts = torch.zeros(5, 5)
    owns = []
    for _ in range(4000):
        whose, own = recipes.draw_pairs(5, 0.8, "cpu")
        assert torch.equal(whose == torch.arange(5), own)
        counts[torch.arange(5), whose] += 1
        owns.append(own.float().mean())
    assert abs(float(torch.stack(owns).mean()) - 0.2) < 0.01
    others = counts[~torch.eye(5, dtype=torch.bool)] / 4000
    assert float((others - 0.2).abs().max()) < 0.03  # each of four others equally often


def test_all_pairs_are_the_mean_over_the_draws():
    cosine = torch.rand(5, 5, generator=torch.Generator().manual_seed(2)) * 2 - 1
    whole = recipes.cosine_embedding_loss(cosine, 0.1, 0.8)
    by_hand = sum(
        0.2 * (1 - cosine[i, i])
        + 0.8 / 4 * sum(max(0.0, float(cosine[i, j]) - 0.1) for j in range(5) if j != i)
        for i in range(5)
    )
    torch.testing.assert_close(whole, by_hand / 5)
    torch.manual_seed(0)
    drawn = []
    for _ in range(20_000):
        whose, own = recipes.draw_pairs(5, 0.8, "cpu")
        picked = cosine[torch.arange(5), whose]
        drawn.append(torch.where(own, 1 - picked, (picked - 0.1).clamp(min=0)).mean())
    drawn = torch.stack(drawn)
    assert abs(float(drawn.mean() - whole)) < 4 * float(drawn.std()) / math.sqrt(20_000)


def test_the_loss_is_weighted_as_in_the_paper():
    model, b = build(semantic=0.02), batch()
    terms = model.loss(b)
    dish, recipe = model(b)
    two = sum(F.cross_entropy(model.classify(x), b["label"]) for x in (dish, recipe))
    cosine = recipes.cosine_embedding_loss(recipe @ dish.T, 0.1, 0.8)
    torch.testing.assert_close(terms["loss"], 0.98 * cosine + 0.01 * two)
    torch.testing.assert_close(terms["semantic"], two.detach() / 2)


def test_one_classifier_serves_both():
    model, b = build(), batch()
    gradients = []
    for i in (0, 1):
        model.zero_grad()
        F.cross_entropy(model.classify(model(b)[i]), b["label"]).backward()
        gradients.append(model.classify.weight.grad.clone())
    assert not torch.equal(*gradients)
    assert sum(name.startswith("classify") for name, _ in model.named_parameters()) == 2


def test_unknown_classes_count_for_nothing():
    model, b = build(), batch()
    b["label"][2:] = -1
    few = model.loss(b)["semantic"]
    dish, recipe = model(b)
    expected = sum(F.cross_entropy(model.classify(x)[:2], b["label"][:2]) for x in (dish, recipe))
    torch.testing.assert_close(few, expected.detach() / 2)
    b["label"][:] = -1
    assert float(model.loss(b)["semantic"]) == 0.0
    assert bool(torch.isfinite(model.loss(b)["loss"]))


def test_gradients_of_the_loss():
    cosine = (torch.rand(4, 4, dtype=torch.float64) * 1.8 - 0.9).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: recipes.cosine_embedding_loss(x, 0.1, 0.7), cosine)


def test_info_nce_is_what_enumeration_gives():
    """Two recipes, two dishes: four probabilities, written out."""
    cosine = torch.tensor([[0.9, 0.5], [-0.2, 0.3]], dtype=torch.float64)
    e = [[math.exp(2 * float(x)) for x in row] for row in cosine]  # γ = 2
    dishes = [e[0][0] / (e[0][0] + e[0][1]), e[1][1] / (e[1][0] + e[1][1])]
    told = [e[0][0] / (e[0][0] + e[1][0]), e[1][1] / (e[0][1] + e[1][1])]
    by_hand = -sum(math.log(p) for p in dishes + told) / 4
    found = recipes.info_nce(cosine, torch.tensor(math.log(2.0), dtype=torch.float64))
    assert float(found) == pytest.approx(by_hand, rel=1e-12)


def test_info_nce_is_what_the_joint_embedding_says():
    from mmtutor import joint_embedding

    cosine = torch.rand(7, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for scale in (0.0, 2.7, 9.0):  # the last one is cut
        scale = torch.tensor(scale)
        torch.testing.assert_close(
            recipes.info_nce(cosine, scale), joint_embedding.info_nce(cosine, scale)
        )


def test_info_nce_begins_at_log_b_and_pushes_where_it_is_hard():
    alike = torch.full((5, 5), 0.3)
    assert float(recipes.info_nce(alike, torch.tensor(2.0))) == pytest.approx(math.log(5))
    cosine = torch.full((5, 5), -0.5).fill_diagonal_(0.8)
    cosine[0, 1] = cosine[1, 0] = 0.79  # nearly as near as one's own
    cosine.requires_grad_()
    recipes.info_nce(cosine, torch.tensor(3.0)).backward()
    push = cosine.grad[0, 1:]
    assert float(push[0]) > 100 * float(push[1:].max()) > 0
    equal = cosine.detach().clone().requires_grad_()
    recipes.cosine_embedding_loss(equal, -0.9).backward()  # all are beyond this margin
    assert float(equal.grad[0, 1]) == float(equal.grad[0, 2]) > 0


def test_gradients_of_info_nce():
    g = torch.Generator().manual_seed(4)
    cosine = (torch.rand(4, 4, dtype=torch.float64, generator=g) * 1.8 - 0.9).requires_grad_()
    scale = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(recipes.info_nce, (cosine, scale))


def test_the_models_info_nce_is_that_of_its_points():
    model, b = build(loss="info_nce", semantic=0.02), batch()
    terms = model.loss(b)
    dish, recipe = model(b)
    nce = recipes.info_nce(recipe @ dish.T, model.log_scale)
    two = sum(F.cross_entropy(model.classify(x), b["label"]) for x in (dish, recipe))
    torch.testing.assert_close(terms["loss"], 0.98 * nce + 0.01 * two)
    torch.testing.assert_close(terms["info_nce"], nce.detach())
    assert float(terms["scale"]) == pytest.approx(1 / 0.07)
    assert "cosine" not in terms
    assert not terms["scale"].requires_grad


def test_the_temperature_is_learned_and_comes_back_from_the_limit():
    model, b = build(loss="info_nce").train(), batch()
    with torch.no_grad():
        model.log_scale.fill_(9.0)
    terms = model.loss(b)
    assert float(terms["scale"]) == pytest.approx(recipes.LARGEST_SCALE)
    terms["loss"].backward()
    assert float(model.log_scale.grad.abs()) > 0
    assert not hasattr(build(), "log_scale")


# --- Sizes ----------------------------------------------------------------------------------------


def test_the_papers_parameters():
    """Of im2recipe's code, without ResNet-50 (23,508,032) and the table of ingredients: 14,677,976."""
    with torch.device("meta"):
        model = RecipeEmbedding(Config.paper(ingredients=100))
    count = {name: training.parameter_count(part) for name, part in model.named_children()}
    assert count["instructions"] == 8_396_800
    assert count["forwards"] + count["backwards"] == 1_444_800
    assert count["picture"] == 2_098_176
    assert count["recipe"] == 1_664_000
    assert count["classify"] == 1_074_200
    assert training.parameter_count(model) - 100 * 300 == 38_186_008 - 23_508_032


def test_paper_scale_on_a_pretended_gpu():
    with FakeTensorMode(), torch.backends.cudnn.flags(enabled=False):
        with torch.device("cuda"):
            model = RecipeEmbedding(Config.paper())
        b = {
            "image": torch.zeros(160, 2048, device="cuda"),
            "ingredients": torch.ones(160, 20, dtype=torch.int64, device="cuda"),
            "instructions": torch.zeros(160, 20, 1024, device="cuda"),
            "label": torch.zeros(160, dtype=torch.int64, device="cuda"),
        }
        dish, recipe = model(b)
        terms = model.loss(b)
    assert dish.shape == recipe.shape == (160, 1024)
    assert {t.device.type for t in (dish, recipe, *terms.values())} == {"cuda"}


@pytest.mark.parametrize("changes", [{}, {"pairs": "drawn"}, {"loss": "info_nce"}])
def test_world_on_a_pretended_gpu(changes):
    with FakeTensorMode(), torch.backends.cudnn.flags(enabled=False):
        with torch.device("cuda"):
            model = RecipeEmbedding(Config.world(60, 90, 8, **changes))
        b = {
            "image": torch.zeros(32, 112, 6, 6, device="cuda"),
            "ingredients": torch.ones(32, 6, dtype=torch.int64, device="cuda"),
            "instructions": torch.ones(32, 7, 8, dtype=torch.int64, device="cuda"),
            "label": torch.zeros(32, dtype=torch.int64, device="cuda"),
        }
        terms = model.loss(b)
    assert {t.device.type for t in terms.values()} == {"cuda"}


# --- Training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", recipes.LOSSES)
@VARIANTS
def test_overfits_one_batch(reader, words, loss):
    model, b = build(reader, words, semantic=0.02, loss=loss), batch(words=words)
    training.fit(model, b, epochs=150, batch_size=6, lr=2e-2, progress=False)
    with torch.no_grad():
        dish, recipe = model(b)
    assert (recipe @ dish.T).argmax(1).tolist() == list(range(6))
    assert float(model.loss(b)[loss]) < 0.05


def test_same_seed_same_result_and_another_one():
    def run(seed):
        model = build(pairs="drawn", seed=seed)
        training.fit(model, batch(), epochs=3, batch_size=3, seed=seed, progress=False)
        return torch.cat([p.flatten() for p in model.parameters()])

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_resumes_exactly(tmp_path):
    data = batch(12)
    whole = build(pairs="drawn")
    training.fit(whole, data, epochs=4, batch_size=4, progress=False)
    first = build(pairs="drawn")
    path = tmp_path / "run.pt"
    settings = dict(epochs=4, batch_size=4, progress=False, checkpoint=path, checkpoint_every=2)

    class Stop(Exception):
        pass

    calls = itertools.count()
    loss = first.loss

    def breaks(b):
        if next(calls) == 7:
            raise Stop
        return loss(b)

    first.loss = breaks
    with pytest.raises(Stop):
        training.fit(first, data, **settings)
    second = build(pairs="drawn", seed=9)
    training.fit(second, data, **settings)
    for a, b in zip(whole.parameters(), second.parameters()):
        assert torch.equal(a, b)


# --- Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ingredients": 0}, "ingredients must be at least 1"),
        ({"joint": 0}, "joint must be at least 1"),
        ({"words": 0}, "words and word go together"),
        ({"word": 0}, "words and word go together"),
        ({"image": (3, 2)}, "image must be a length or"),
        ({"image": 7}, "filters are of the convolution"),
        ({"filters": 0}, "filters are of the convolution"),
        ({"reader": "gru"}, "reader must be one of"),
        ({"pairs": "some"}, "pairs must be one of"),
        ({"loss": "triplet"}, "loss must be one of"),
        ({"loss": "info_nce", "pairs": "drawn"}, "pairs = 'drawn' has no effect with loss"),
        ({"loss": "info_nce", "other": 0.5}, "other = 0.5 has no effect with loss"),
        ({"loss": "info_nce", "margin": 0.2}, "margin = 0.2 has no effect with loss"),
        ({"temperature": 0.2}, "temperature = 0.2 has no effect with loss = 'cosine'"),
        ({"loss": "info_nce", "temperature": 0.001}, "temperature must be finite and at least"),
        ({"loss": "info_nce", "temperature": math.inf}, "temperature must be finite and at least"),
        ({"loss": "info_nce", "temperature": math.nan}, "temperature must be finite and at least"),
        ({"other": 0.0}, "other must lie in"),
        ({"other": 1.0}, "other must lie in"),
        ({"margin": 1.0}, "margin is a cosine"),
        ({"semantic": 1.0}, "semantic must be in"),
        ({"semantic": 0.0}, "classes are what semantic"),
        ({"classes": 0}, "classes are what semantic"),
        ({"reader": "bag", "instruction": 7}, "instruction = 7 has no effect"),
        ({"reader": "bag", "sentence": 7}, "sentence = 7 has no effect"),
    ],
)
def test_bad_settings_are_refused_by_name(changes, words):
    with pytest.raises(ValueError, match=words):
        Config(**(dict(ingredients=5, words=5, classes=3) | changes))


def broken(**changes):
    return {**batch(), **changes}


FAULTS = {
    "image shape": (broken(image=torch.zeros(6, 3, 2, 3)), "features must be a tensor"),
    "image nan": (broken(image=torch.full((6, 3, 2, 2), math.nan)), "NaN or infinity"),
    "ingredients shape": (broken(ingredients=torch.ones(6, dtype=torch.int64)), r"\(B, I\)"),
    "ingredients type": (broken(ingredients=torch.ones(6, 2)), "type int64"),
    "ingredient out": (broken(ingredients=torch.full((6, 2), I)), f"0..{I - 1}"),
    "ingredient below": (broken(ingredients=torch.full((6, 2), -1)), f"0..{I - 1}"),
    "no ingredient": (
        broken(ingredients=torch.tensor([[1, 2]] * 5 + [[0, 0]])),
        "row 5 has no ingredients",
    ),
    "padding before": (
        broken(ingredients=torch.tensor([[1, 2]] * 4 + [[0, 2]] * 2)),
        "row 4: ingredients have padding before",
    ),
    "word out": (broken(instructions=torch.full((6, 2, 2), W)), f"0..{W - 1}"),
    "instructions shape": (
        broken(instructions=torch.ones(6, 4, dtype=torch.int64)),
        r"\(B, S, W\)",
    ),
    "hole in a sentence": (
        broken(instructions=torch.tensor([[[1, 0, 2]]] * 6)),
        "words of a sentence have padding before",
    ),
    "hole among sentences": (
        broken(instructions=torch.tensor([[[1], [0], [2]]] * 6)),
        "instructions have padding before",
    ),
    "no instruction": (
        broken(instructions=torch.zeros(6, 2, 2, dtype=torch.int64)),
        "row 0 has no instructions",
    ),
    "too few": (
        broken(instructions=torch.ones(5, 2, 2, dtype=torch.int64)),
        "6 lists of ingredients, but 5",
    ),
    "label shape": (broken(label=torch.zeros(5, dtype=torch.int64)), r"label must be \(6,\)"),
    "label type": (broken(label=torch.zeros(6)), "int64"),
    "label out": (broken(label=torch.full((6,), K)), f"0..{K - 1}"),
}


@pytest.mark.parametrize("loss", recipes.LOSSES)
@pytest.mark.parametrize("name", FAULTS)
def test_bad_input_is_refused_by_name(name, loss):
    b, words = FAULTS[name]
    with pytest.raises(ValueError, match=words):
        build(loss=loss).loss(b)


def test_bad_sentence_vectors_are_refused():
    model, b = build(words=False), batch(words=False)
    b["instructions"][2, 0, 0] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        model.loss(b)
    b = batch(words=False)
    b["instructions"][3, 1] = 0
    with pytest.raises(ValueError, match="row 3: instructions have padding before"):
        model.loss(b)


@pytest.mark.parametrize("loss", recipes.LOSSES)
def test_a_batch_of_one_has_nobody_to_be_pushed_from(loss):
    with pytest.raises(ValueError, match="at least 2 in a batch"):
        build(loss=loss).loss({name: x[:1] for name, x in batch().items()})


@pytest.mark.parametrize(
    "change", [{"pairs": "drawn"}, {"other": 0.5}, {"margin": 0.3}, {"temperature": 0.3}]
)
@pytest.mark.parametrize("loss", recipes.LOSSES)
def test_every_setting_of_a_loss_has_an_effect_or_is_refused(loss, change):
    config = build(loss=loss).config
    name = next(iter(change))
    if (name == "temperature") != (loss == "info_nce"):
        with pytest.raises(ValueError, match=f"{name} = .* has no effect with loss"):
            replace(config, **change)
        return
    found = []
    for changes in ({}, change):
        model = build(loss=loss, **changes)
        torch.manual_seed(1)
        found.append(float(model.loss(batch())["loss"].detach()))
    assert found[0] != found[1]


def test_the_paper_has_the_cosine_loss_of_drawn_pairs():
    paper = Config.paper()
    assert (paper.loss, paper.pairs, paper.margin, paper.other) == ("cosine", "drawn", 0.1, 0.8)
    assert paper.semantic == 0.02


# --- Two processes --------------------------------------------------------------------------------

TWO = """
import os, sys, torch
sys.path.insert(0, {tests!r})
import test_recipes as t
done = {{name: t.in_processes(**t.SPREAD[name]) for name in t.SPREAD}}
torch.save(done, f"{{sys.argv[1]}}/{{torch.distributed.get_rank()}}.pt")
torch.distributed.barrier()
os._exit(0)  # torch itself aborts now and then when it takes gloo down, even where nothing was sent
"""

SPREAD = {
    "cosine": {},
    "cosine, no classes": {"semantic": 0.0, "classes": 0},
    "info_nce": {"loss": "info_nce"},
    "drawn": {"pairs": "drawn"},
}


def in_processes(batch_size: int = 5, **changes):
    """Train on 23 dishes: rounds of 5 and 5, 5 and 5, 2 and 1. Every third has no known class."""
    data = batch(23)
    data["label"][::3] = -1
    model = build(**changes)
    history = training.fit(
        model,
        data,
        epochs=2,
        batch_size=batch_size,
        lr=0.05,
        clip=0.5,
        optimizer=torch.optim.SGD,
        log_every=1,
        progress=False,
    )
    return {"weights": [p.detach() for p in model.parameters()], "losses": history.losses}


def test_two_processes_do_what_one_does_with_the_double_batch(tmp_path):
    """Every dish of the step is compared with every recipe, wherever they are, and all gradients are
    right. Drawn pairs are other draws; both processes then have the same ones."""
    script = tmp_path / "two.py"
    script.write_text(TWO.format(tests=str(Path(__file__).parent)))
    done = launch(script, tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"{i}.pt", weights_only=True) for i in (0, 1))
    for name, settings in SPREAD.items():
        for a, b in zip(first[name]["weights"], second[name]["weights"], strict=True):
            assert torch.equal(a, b), name
        assert len(first[name]["losses"]["loss"]) == 6
        assert first[name]["losses"] == second[name]["losses"]
        if name == "drawn":
            continue
        alone = in_processes(batch_size=10, **settings)
        small = in_processes(batch_size=5, **settings)  # what would come out without the others
        for a, wanted in zip(first[name]["weights"], alone["weights"], strict=True):
            torch.testing.assert_close(a, wanted, atol=2e-6, rtol=1e-5, msg=name)
        for term, values in alone["losses"].items():
            assert first[name]["losses"][term] == pytest.approx(values, rel=1e-4), (name, term)
        assert small["losses"]["loss"][0] != pytest.approx(alone["losses"]["loss"][0], rel=1e-2)
