"""VQA: against a slow loop written from the papers' equations, against torch's LSTM, against the papers' sizes."""

import itertools
import math
from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils.rnn import pack_padded_sequence

from mmtutor import vqa
from mmtutor.kit import metrics, saving, training
from mmtutor.kit.text import Vocabulary
from mmtutor.vqa import (
    ATTENTION,
    FUSIONS,
    OUTSIDE,
    PAPERS,
    VQA,
    Config,
    Copying,
    CopyingConfig,
    consensus,
    copies_of,
    encode_answers,
    encode_questions,
)

V, K = 11, 5
SMALL = Config(
    vocabulary=V,
    answers=K,
    image=(3, 2, 3),
    word=4,
    hidden=5,
    joint=6,
    mlp=(7,),
)
#: Questions of three lengths.
QUESTIONS = torch.tensor([[4, 5, 6, 7], [8, 9, 0, 0], [10, 0, 0, 0]])
ANSWERS = torch.tensor([3, 0, 4])
#: Which of two things is in each of the six cells of three pictures, or none.
CELLS = torch.tensor([[0, 0, -1, -1, 1, -1], [-1, 1, 1, 1, -1, 0], [-1] * 6])
NAMES = ((4, 8), (5, 8, 9))  # the words of two things; both are an 8
HUMANS = torch.tensor([[3] * 6 + [1] * 2 + [OUTSIDE] * 2, [0] * 10, [2, 4] * 5])
#: Every way to meet, and what else makes a difference there.
WAYS = {
    **{way: {"fusion": way} for way in ("product", "sum", "concatenation", "picture", "question")},
    "hidden": {"state": "hidden", "layers": 3},
    "cell": {"state": "cell", "unit": False},
    "no layer": {"mlp": (), "fusion": "sum"},
    **{f"stacked {p}": {"fusion": "stacked", "places": p} for p in ("product", "sum", "none")},
    "stacked thrice": {"fusion": "stacked", "attention": 3, "looks": 3, "bound": "relu"},
    "glimpses": {"fusion": "glimpses", "attention": 3, "looks": 3},
    "grounded": {
        "fusion": "stacked",
        "state": "mean",
        "layers": 1,
        "beside": 2,
        "point": 3,
        "counts": 2,
    },
    "grounded, set": {
        "fusion": "stacked",
        "state": "hidden",
        "places": "none",
        "point": 2,
        "unit": False,
    },
    "kazemi": {
        "fusion": "glimpses",
        "joint": 0,
        "places": "none",
        "bound": "relu",
        "state": "cell",
        "layers": 1,
    },
}
EVERY = pytest.mark.parametrize("way", WAYS)


def small(way: str = "product", **changes: object) -> Config:
    """The small settings; what a way does not read stays as it is by default."""
    given = {f.name: getattr(SMALL, f.name) for f in fields(Config)} | WAYS[way]
    read = {name: x for name, x in given.items() if name not in vqa.UNREAD[given["fusion"]]}
    return Config(**{**read, **changes})


def build(way: str = "product", seed: int = 0, scale: float = 2.0, **changes: object) -> VQA:
    """A model whose answers differ: at the usual start many mistakes would not show."""
    torch.manual_seed(seed)
    model = VQA(small(way, **changes)).double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.mul_(scale)
            if p.ndim == 1:
                p.normal_()  # biases begin at zero
            if name == "words.weight":
                p[0] = 0
    return model


def pictures(n: int = 3, shape: tuple[int, ...] = (3, 2, 3), seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *shape, generator=generator, dtype=torch.float64)


def batch(humans: bool = False) -> dict[str, torch.Tensor]:
    return {
        "features": pictures(),
        "questions": QUESTIONS,
        "answers": HUMANS if humans else ANSWERS,
        "cells": CELLS,
    }


# --- the equations --------------------------------------------------------------------------------


def slow(model: VQA, picture: torch.Tensor, question: list[int]) -> torch.Tensor:
    """The scores of one question about one picture (C, H, W), word by word and cell by cell."""
    w, c = dict(model.named_parameters()), model.config
    bound = torch.tanh if c.bound == "tanh" else torch.relu

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        y = w[f"{name}.weight"] @ x
        return y + w[f"{name}.bias"] if f"{name}.bias" in w else y

    def length_one(x: torch.Tensor) -> torch.Tensor:
        return x / x.square().sum().sqrt() if c.unit else x

    def annotations() -> list[torch.Tensor]:
        cells = []
        for row, column in itertools.product(range(2), range(3)):
            a = length_one(picture[:, row, column])
            if c.joint:
                a = linear("cells.content", a)
                if c.places == "product":
                    a = a * (0.3 + w["cells.places"][len(cells)])
                elif c.places == "sum":
                    a = a + w["cells.places"][len(cells)]
                a = a.tanh()
            if c.beside:
                a = torch.cat([a, w["cells.beside"][len(cells)]])
            cells.append(a)
        return cells

    def found(y: torch.Tensor) -> torch.Tensor:
        """What a word finds: Σ π a, max σ(s), Σ σ(s) σ(g)."""
        contents = [
            length_one(picture[:, row, column])
            for row, column in itertools.product(range(2), range(3))
        ]
        scale = w["grounding.pointer.log_scale"].exp() / math.sqrt(c.point)
        query = linear("grounding.pointer.query", y)
        s = [
            scale * linear("grounding.pointer.key", x) @ query
            - linear("grounding.pointer.nothing", y)[0]
            for x in contents
        ]
        below = 1 + sum(e.exp() for e in s)
        out = [
            sum(e.exp() / below * a for e, a in zip(s, annotations())),
            max(e.sigmoid() for e in s)[None],
        ]
        if c.counts:
            gates = [linear("grounding.gates", x).sigmoid() for x in contents]
            out.append(sum(e.sigmoid() * g for e, g in zip(s, gates)))
        return torch.cat(out)

    q = v = None
    if c.fusion != "picture":
        h = [torch.zeros(c.hidden).double() for _ in range(c.layers)]
        cell = [torch.zeros(c.hidden).double() for _ in range(c.layers)]
        outputs = []
        for word in question:
            x = w["words.weight"][word].tanh()
            if c.point:
                x = torch.cat([x, found(w["words.weight"][word])])
            for k in range(c.layers):
                gates = w[f"lstm.{k}.weight_ih_l0"] @ x + w[f"lstm.{k}.bias_ih_l0"]
                gates = gates + w[f"lstm.{k}.weight_hh_l0"] @ h[k] + w[f"lstm.{k}.bias_hh_l0"]
                i, f, g, o = gates.split(c.hidden)  # torch's order
                cell[k] = f.sigmoid() * cell[k] + i.sigmoid() * g.tanh()
                x = h[k] = o.sigmoid() * cell[k].tanh()
            outputs.append(h[-1])
        held = {
            "all": torch.cat([x for pair in zip(cell, h) for x in pair]),
            "hidden": h[-1],
            "cell": cell[-1],
            "mean": torch.cat([h[-1], sum(outputs) / len(outputs)]),
        }[c.state]
        q = linear("question", held).tanh() if c.joint else held
    if c.fusion in ATTENTION:
        cells = annotations()

        def looked(name: str, glimpse: int, asks: torch.Tensor) -> torch.Tensor:
            scores = [
                w[f"{name}.score.weight"][glimpse]
                @ bound(linear(f"{name}.key", a) + linear(f"{name}.ask", asks))
                for a in cells
            ]
            powers = [s.exp() for s in scores]
            return sum(p / sum(powers) * a for p, a in zip(powers, cells))

        if c.fusion == "stacked":
            for look in range(c.looks):
                q = q + looked(f"look.{look}", 0, q)
            x = q
        else:
            x = torch.cat([*(looked("look", g, q) for g in range(c.looks)), q])
    else:
        if c.fusion != "question":
            v = linear("picture", length_one(picture.flatten())).tanh()
        x = {
            "product": lambda: q * v,
            "sum": lambda: q + v,
            "concatenation": lambda: torch.cat([q, v]),
            "question": lambda: q,
            "picture": lambda: v,
        }[c.fusion]()
    for layer in range(len(c.mlp)):
        x = bound(linear(f"hidden.{layer}", x))
    return linear("output", x)


@EVERY
def test_scores_equal_the_slow_loop(way):
    model, x = build(way), pictures()
    found = model(x, QUESTIONS)
    assert found.shape == (3, K)
    for b, question in enumerate(QUESTIONS.tolist()):
        wanted = slow(model, x[b], [i for i in question if i])
        torch.testing.assert_close(found[b], wanted, atol=1e-10, rtol=1e-8)
    assert model.answer(x, QUESTIONS).tolist() == found.argmax(1).tolist()


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_what_is_read_of_the_lstm_equals_torchs_on_packed_questions(layers):
    """Whatever padding follows: cell and output of every layer behind the last word, [c1, h1, c2, h2]."""
    model = build(layers=layers)
    model.question = None
    torchs = nn.LSTM(4, 5, layers, batch_first=True).double()
    for k, cell in enumerate(model.lstm):
        for name, p in cell.named_parameters():
            getattr(torchs, f"{name[:-1]}{k}").data.copy_(p)
    packed = pack_padded_sequence(
        model.words(QUESTIONS).tanh(), [4, 2, 1], batch_first=True, enforce_sorted=False
    )
    _, (h, c) = torchs(packed)
    wanted = torch.stack([c, h], 1).flatten(0, 1).transpose(0, 1).flatten(1)
    torch.testing.assert_close(model.read(QUESTIONS), wanted)
    outputs = torchs(model.words(QUESTIONS).tanh())[0]
    mean = torch.stack([own[:n].mean(0) for own, n in zip(outputs, (4, 2, 1))])
    for state, want in (("hidden", h[-1]), ("cell", c[-1]), ("mean", torch.cat([h[-1], mean], -1))):
        model.config = replace(model.config, state=state)
        torch.testing.assert_close(model.read(QUESTIONS), want)


@pytest.mark.parametrize("way", [way for way in WAYS if way.split()[0] in (*ATTENTION, "kazemi")])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), size=st.floats(0, 1e3))
def test_where_it_looks_is_a_distribution(way, seed, size):
    model, x = build(way, seed), pictures(seed=seed) * size
    alpha = model.weights(x, QUESTIONS)
    assert alpha.shape == (3, model.config.looks, 6)
    assert bool((alpha >= 0).all())
    assert (alpha.sum(-1) - 1).abs().max() < 1e-9


def test_a_model_that_does_not_look_says_so():
    with pytest.raises(ValueError, match="fusion = 'product' does not look"):
        build().weights(pictures(), QUESTIONS)


# --- what may not matter, and what must ------------------------------------------------------------


@EVERY
def test_padding_changes_nothing(way):
    model, x = build(way), pictures()
    longer = F.pad(QUESTIONS, (0, 9))
    if model.config.point:  # matrices of other shapes: equal but for rounding
        torch.testing.assert_close(model(x, longer), model(x, QUESTIONS))
    else:
        assert torch.equal(model(x, longer), model(x, QUESTIONS))
    for b, question in enumerate(QUESTIONS.tolist()):
        alone = torch.tensor([[i for i in question if i]])
        torch.testing.assert_close(model(x[b : b + 1], alone)[0], model(x, QUESTIONS)[b])


@EVERY
def test_padding_gets_no_gradient(way):
    if way == "picture":
        pytest.skip("reads no question")
    model = build(way)
    model.loss({**batch(), "questions": F.pad(QUESTIONS, (0, 3))})["loss"].backward()
    assert not model.words.weight.grad[0].any()
    assert model.words.weight.grad[[4, 8, 10]].any()


@EVERY
def test_the_order_of_a_batch_does_not_matter(way):
    model, x, mixed = build(way), pictures(), torch.tensor([2, 0, 1])
    torch.testing.assert_close(model(x[mixed], QUESTIONS[mixed]), model(x, QUESTIONS)[mixed])


@EVERY
def test_each_stream_is_heard_where_it_should_be(way):
    model, x = build(way), pictures()
    scores = model(x, QUESTIONS)
    heard = [
        not torch.allclose(model(x + 1, QUESTIONS), scores),
        not torch.allclose(model(x, QUESTIONS.roll(1, 0)), scores),
    ]
    assert heard == [way != "question", way != "picture"]
    if way == "question":
        assert torch.equal(model(None, QUESTIONS), scores)
    if way == "picture":
        assert torch.equal(model(x, None), scores)


def test_the_order_of_words_matters():
    model, turned = build(), torch.tensor([[7, 6, 5, 4]])
    assert not torch.allclose(model(pictures(1), QUESTIONS[:1]), model(pictures(1), turned))


@pytest.mark.parametrize(
    ("way", "matters"),
    [
        ("product", True),
        ("stacked product", True),
        ("stacked sum", True),
        ("stacked none", False),
        ("kazemi", False),
    ],
)
def test_without_places_attention_reads_a_set(way, matters):
    model, x = build(way), pictures()
    turned = x.flatten(2)[:, :, [3, 0, 5, 1, 4, 2]].view_as(x)
    assert torch.allclose(model(turned, QUESTIONS), model(x, QUESTIONS)) != matters


@pytest.mark.parametrize("way", ["product", "stacked product", "kazemi"])
def test_at_length_one_the_scale_of_a_picture_does_not_matter(way):
    model, x = build(way, unit=True), pictures()
    torch.testing.assert_close(model(7 * x, QUESTIONS), model(x, QUESTIONS))
    other = build(way, unit=False)
    assert not torch.allclose(other(7 * x, QUESTIONS), other(x, QUESTIONS))
    assert bool(model(0 * x, QUESTIONS).isfinite().all())  # nothing has no direction


# --- the loss -------------------------------------------------------------------------------------


@EVERY
def test_the_loss_by_hand(way):
    model = build(way)
    p = model(pictures(), QUESTIONS).softmax(1).tolist()
    terms = model.loss(batch())
    wanted = -sum(math.log(p[b][a]) for b, a in enumerate(ANSWERS.tolist())) / 3
    assert terms["loss"].item() == pytest.approx(wanted)
    best = [row.index(max(row)) for row in p]
    right = sum(a == b for a, b in zip(best, ANSWERS.tolist())) / 3
    assert terms["right"].item() == pytest.approx(right)


def test_the_loss_of_ten_humans_by_hand():
    """−1/10 Σ n_a log p_a; what is outside the answers adds nothing, and its share is not made up for."""
    model = build()
    logs = model(pictures(), QUESTIONS).log_softmax(1)
    wanted = -(6 * logs[0, 3] + 2 * logs[0, 1]) / 10
    wanted = wanted - logs[1, 0] - (5 * logs[2, 2] + 5 * logs[2, 4]) / 10
    torch.testing.assert_close(model.loss(batch(humans=True))["loss"], wanted / 3)
    # equals torch's cross-entropy with soft targets
    soft = torch.zeros(3, K).double()
    for b, h in itertools.product(range(3), range(10)):
        if HUMANS[b, h] != OUTSIDE:
            soft[b, HUMANS[b, h]] += 0.1
    torch.testing.assert_close(
        model.loss(batch(humans=True))["loss"],
        F.cross_entropy(model(pictures(), QUESTIONS), soft),
    )


def test_ten_humans_who_agree_are_one_label():
    model = build()
    ten = {**batch(), "answers": ANSWERS[:, None].expand(3, 10)}
    found, one = model.loss(ten), model.loss(batch())
    torch.testing.assert_close(found["loss"], one["loss"])
    assert found["right"].item() == pytest.approx(one["right"].item())


@given(
    st.lists(st.sampled_from([OUTSIDE, 0, 1, 2, 3]), min_size=10, max_size=10), st.integers(0, 3)
)
def test_the_order_of_humans_does_not_matter_and_consensus_is_the_fields_score(humans, found):
    own = torch.tensor([humans])
    score = consensus(torch.tensor([found]), own).item()
    assert score == pytest.approx(min(0.3 * humans.count(found), 1))
    assert consensus(torch.tensor([found]), own.flip(1)).item() == pytest.approx(score)
    words = ["red", "blue", "left", "dog", "other"]  # OUTSIDE is the last
    if len(set(humans)) > 1:
        wanted = metrics.vqa_accuracy([words[found]], [[words[h] for h in humans]])
        assert wanted == [pytest.approx(score, abs=1e-6)]


@pytest.mark.parametrize("humans", [4, 5, 7, 10])
def test_consensus_of_fewer_humans(humans):
    for agree in range(humans + 1):
        own = ["a dog"] * agree + ["cat"] * (humans - agree)
        ids = torch.tensor([[0] * agree + [1] * (humans - agree)])
        wanted = metrics.vqa_accuracy(["dog" if agree < humans else "a dog"], [own])
        assert [consensus(torch.tensor([0]), ids).item()] == [pytest.approx(wanted[0], abs=1e-6)]


@EVERY
def test_gradients_against_finite_differences(way):
    model = build(way, scale=1.0)
    names, values = zip(*((n, p.detach().requires_grad_()) for n, p in model.named_parameters()))
    x = pictures().requires_grad_(way != "question")

    def loss(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        weights = {f"model.{n}": v for n, v in zip(names, values)}
        given = {**batch(humans=True), "features": x}
        return torch.func.functional_call(_Loss(model), weights, (given,))

    assert torch.autograd.gradcheck(loss, (x, *values), fast_mode=True)


class _Loss(nn.Module):
    def __init__(self, model: VQA) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.model.loss(batch)["loss"]


@EVERY
def test_every_weight_gets_a_gradient(way):
    """C30: all of it is differentiable."""
    model = build(way)
    x = pictures().requires_grad_()
    model.loss({**batch(), "features": x})["loss"].backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().sum() > 0, name
    assert (x.grad is None) == (way == "question")


# --- words that find their cells ------------------------------------------------------------------


def naming_model() -> VQA:
    return build("grounded", naming=0.5, names=NAMES)


def test_naming_by_hand():
    """Of each cell and each word that names anything: does it name what is in the cell?"""
    model = naming_model()
    found = model.naming(batch())
    w, pointer = model.words.weight, model.grounding.pointer
    loss = 0.0
    for picture, cells in zip(pictures(), CELLS.tolist()):
        for i, thing in enumerate(cells):
            x = picture.flatten(1)[:, i]
            key = pointer.key(x / x.norm())
            for word in (4, 5, 8, 9):
                s = (
                    pointer.log_scale.exp() / math.sqrt(3) * key @ pointer.query(w[word])
                    - pointer.nothing(w[word])[0]
                )
                named = thing >= 0 and word in NAMES[thing]
                loss -= F.logsigmoid(s if named else -s).item()
    assert found.item() == pytest.approx(loss / CELLS.numel())


def test_naming_is_a_part_of_the_loss_in_training_alone():
    model = naming_model()
    terms = model.loss(batch())
    assert set(terms) == {"loss", "right", "naming"}
    plain = model.eval().loss(batch())
    assert set(plain) == {"loss", "right"}
    torch.testing.assert_close(terms["loss"], plain["loss"] + 0.5 * terms["naming"])
    assert "naming" not in build("grounded").loss(batch())


def test_a_word_that_has_learnt_its_cells_points_there():
    torch.manual_seed(0)
    model = VQA(replace(small("grounded"), naming=1.0, names=NAMES, unit=False))
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    x = F.one_hot(CELLS + 1, 3).transpose(1, 2).unflatten(2, (2, 3)).float()  # what is in a cell
    for _ in range(200):
        loss = model.naming({"features": x, "cells": CELLS})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    where = model.pointing(x, torch.tensor([[4, 5], [4, 5], [4, 5]]))  # (3, 2, 6)
    for b, t in itertools.product(range(3), range(2)):
        mass = where[b, t][t == CELLS[b]].sum()
        assert mass > 0.9 if bool((CELLS[b] == t).any()) else where[b, t].sum() < 0.2
    assert bool((where >= 0).all())
    assert bool((where.sum(-1) <= 1 + 1e-6).all())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"cells": None}, ValueError, r"cells must be whole numbers \(3, 6\), got NoneType"),
        ({"cells": CELLS[:2]}, ValueError, r"got torch.int64 \(2, 6\)"),
        ({"cells": CELLS.float()}, ValueError, "got torch.float32"),
        ({"cells": CELLS - 1}, ValueError, r"cells must lie in -1\.\.1, got -2\.\.0"),
        ({"cells": CELLS + 1}, ValueError, r"got 0\.\.2"),
    ],
)
def test_bad_cells(change, error, message):
    with pytest.raises(error, match=message):
        naming_model().loss({**batch(), **change})


def test_what_a_model_does_not_know_it_says():
    with pytest.raises(ValueError, match="the batch needs 'cells'"):
        naming_model().loss({k: x for k, x in batch().items() if k != "cells"})
    with pytest.raises(ValueError, match="this model knows no names"):
        build("grounded").naming(batch())
    with pytest.raises(ValueError, match="do not point: its settings have point = 0"):
        build("stacked product").pointing(pictures(), QUESTIONS)
    with pytest.raises(ValueError, match="a question needs its picture"):
        build("grounded").read(QUESTIONS)
    with pytest.raises(ValueError, match="2 pictures but 3 questions"):
        build("grounded").read(QUESTIONS, pictures(2))
    with pytest.raises(ValueError, match="2 pictures but 3 questions"):
        build("grounded").pointing(pictures(2), QUESTIONS)


def test_grounded_settings_read_from_a_file_are_the_same(tmp_path):
    config = Config.grounded(50, 20, ((4, 5), (6,)))
    assert config.names == ((4, 5), (6,))
    listed = replace(config, names=[[4, 5], [6]])
    assert listed == config
    torch.manual_seed(0)
    model = VQA(config)
    saving.save(model, tmp_path)
    again, _ = saving.load(VQA, tmp_path)
    assert again.config == config
    x, q = torch.randn(2, 112, 6, 6), torch.tensor([[4, 7], [6, 0]])
    assert torch.equal(model.eval()(x, q), again.eval()(x, q))


# --- sizes ----------------------------------------------------------------------------------------


def parts(model: VQA) -> dict[str, int]:
    return {name: training.parameter_count(part) for name, part in model.named_children()}


def test_the_papers_parameters():
    """Antol et al. as the text has it, part by part; without the 300 biases of the words."""
    with torch.device("meta"):
        count = parts(VQA(Config.paper(vocabulary=100)))
    assert count == {
        "words": 300 * 100,
        "lstm": 3_768_320,
        "question": 2_098_176,
        "picture": 4_195_328,
        "hidden": 1_025_000 + 1_001_000,
        "output": 1_001_000,
        "dropout": 0,
    }
    assert count["hidden"] + count["output"] == 3_027_000


def test_the_programs_parameters():
    """10,882,537 without the words, of which 513 lead to an output that nobody reads."""
    with torch.device("meta"):
        count = parts(VQA(Config.paper("antol-program", vocabulary=100)))
    assert count["lstm"] == 3_563_520
    assert count["question"] + count["picture"] + count["output"] == 7_318_504
    assert sum(count.values()) - count["words"] == 10_882_537 - 513
    assert count["words"] == 200 * 100  # and a bias of 200 there, which is not here
    assert count["hidden"] == 0


def test_kazemis_parameters():
    """15,324,602 without the words, of which 2 are biases that a softmax takes out."""
    with torch.device("meta"):
        model = VQA(Config.paper("kazemi", vocabulary=100))
    assert training.parameter_count(model) == 15_324_602 - 2 + 300 * 100


@pytest.mark.parametrize("which", PAPERS)
def test_paper_scale_shapes(which):
    config = Config.paper(which)
    shape = config.image if isinstance(config.image, tuple) else (config.image,)
    with torch.device("meta"):
        model = VQA(config)
        x, q = torch.empty(2, *shape), torch.empty(2, 26, dtype=torch.long)
        assert model(x, q).shape == (2, 3000 if which == "kazemi" else 1000)
        if which == "kazemi":
            assert model.see(x).shape == (2, 196, 2048)
            assert model.read(q).shape == (2, 1024)
            assert model.meet(x, q).shape == (2, 5120)
            assert model.weights(x, q).shape == (2, 2, 196)
        else:
            assert model.see(x).shape == model.read(q).shape == model.meet(x, q).shape == (2, 1024)
            assert model.question.in_features == 2048  # cell and output of both layers


def test_the_papers_and_the_program_differ_where_the_notes_say():
    text, program = Config.paper(), Config.paper("antol-program")
    differ = {f.name for f in fields(Config) if getattr(text, f.name) != getattr(program, f.name)}
    assert differ == {"word", "mlp"}
    assert Config.paper(answers=2000).answers == 2000  # the paper tries 500, 1,000 and 2,000
    for way in FUSIONS[:5]:  # the paper's other rows: language alone, picture alone, concatenation
        config = Config.paper(fusion=way)
        assert config.fusion == way
        assert (config.image == 4096) == (way != "question")
        assert (config.layers, config.hidden == 512) == (2, way != "picture")


def test_the_first_weights():
    torch.manual_seed(0)
    model = VQA(Config.world(50, 20, start="uniform", fusion="stacked"))
    for name, p in model.named_parameters():
        if name == "cells.places":
            assert p.std().item() == pytest.approx(0.7, rel=0.05)
        elif p.numel() > 500:
            assert p.abs().max() <= 0.08, name
            assert p.std().item() == pytest.approx(0.08 / 3**0.5, rel=0.1), name
    model = VQA(Config.world(50, 20, layers=2))
    gate = model.lstm[0].weight_ih_l0[:128]  # (H, word): each gate by itself
    assert gate.abs().max().item() == pytest.approx((6 / (128 + 64)) ** 0.5, rel=0.01)
    assert not model.lstm[1].bias_hh_l0.any()
    assert not model.words.weight[0].any()
    assert not model.output.bias.any()
    model = VQA(Config.world(50, 20, start="torch"))
    assert model.words.weight[1:].std().item() == pytest.approx(1, rel=0.05)
    assert model.output.bias.any()


# --- training -------------------------------------------------------------------------------------

LEARN = {"hidden": 12, "word": 8, "joint": 16, "mlp": (16,)}


def fresh(way: str, seed: int = 0, **changes: object) -> VQA:
    torch.manual_seed(seed)
    read = {k: v for k, v in LEARN.items() if k not in vqa.UNREAD[small(way).fusion]}
    return VQA(small(way, **{**read, **WAYS[way], **changes}))


def twins() -> dict[str, torch.Tensor]:
    """Four questions of each of two pictures: neither the picture alone nor the question alone can tell."""
    x = pictures(2).float()
    return {
        "features": x.repeat_interleave(4, 0),
        "questions": torch.tensor([[4, 5, 0], [6, 7, 8], [9, 0, 0], [10, 4, 6]]).repeat(2, 1),
        "answers": torch.tensor([0, 1, 2, 3, 1, 0, 3, 2]),
    }


@pytest.mark.parametrize("way", [*FUSIONS[:5], "cell", "stacked product", "kazemi"])
def test_overfits_one_batch_if_it_reads_both(way):
    model, data = fresh(way), twins()
    training.fit(model, data, epochs=100, batch_size=8, lr=2e-2, progress=False)
    right = (model.eval().answer(data["features"], data["questions"]) == data["answers"]).float()
    if way in ("picture", "question"):
        assert right.mean() <= 0.5
    else:
        assert right.mean() == 1


def test_learns_from_ten_humans():
    data = twins()
    data["answers"] = F.pad(data["answers"][:, None].expand(8, 7), (0, 3), value=OUTSIDE)
    model = fresh("product")
    training.fit(model, data, epochs=60, batch_size=8, lr=2e-2, progress=False)
    assert model.loss(data)["right"].item() == 1


@pytest.mark.parametrize("way", ["product", "stacked product"])
def test_same_seed_same_result(way):
    def run(seed: int) -> torch.Tensor:
        model = fresh(way, seed, dropout=0.3)
        training.fit(model, twins(), epochs=3, batch_size=3, seed=seed, progress=False)
        return torch.cat([p.flatten() for p in model.parameters()])

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_a_checkpoint_resumes_exactly(tmp_path):
    options = {"epochs": 3, "batch_size": 3, "progress": False, "checkpoint_every": 1}

    class Off(Exception):
        pass

    class Cut(nn.Module):
        """The same model, which dies at a step."""

        def __init__(self, left: int) -> None:
            super().__init__()
            self.model, self.left = fresh("stacked product", dropout=0.3), left

        def loss(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            if self.left == 0:
                raise Off
            self.left -= 1
            return self.model.loss(batch)

    whole, again = Cut(-1), Cut(-1)
    training.fit(whole, twins(), **options)
    with pytest.raises(Off):
        training.fit(Cut(5), twins(), checkpoint=tmp_path / "c", **options)
    training.fit(again, twins(), checkpoint=tmp_path / "c", **options)
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_saved_model_answers_as_before(tmp_path):
    model = fresh("stacked product", mlp=(7, 3)).eval()
    saving.save(model, tmp_path, answers=["yes", "no"])
    again, more = saving.load(VQA, tmp_path)
    assert (again.config, more) == (model.config, {"answers": ["yes", "no"]})
    x = pictures().float()
    assert torch.equal(again(x, QUESTIONS), model(x, QUESTIONS))


@pytest.mark.parametrize("way", ["product", "stacked product", "kazemi"])
def test_dropout_only_in_training(way):
    model, b = fresh(way, dropout=0.5).double(), batch()
    torch.manual_seed(0)
    first, second = (model.train()(b["features"], QUESTIONS) for _ in range(2))
    assert not torch.equal(first, second)
    model.eval()
    assert torch.equal(*(model(b["features"], QUESTIONS) for _ in range(2)))


# --- words that are copied ------------------------------------------------------------------------

#: Words 4 and 10 say answer 2, word 5 says answer 0.
COPIES = (-1, -1, -1, -1, 2, 0, -1, -1, -1, -1, 2)


def copier(seed: int = 0, **changes: object) -> Copying:
    own = small("grounded", **changes)
    config = CopyingConfig(**{f.name: getattr(own, f.name) for f in fields(Config)}, copies=COPIES)
    torch.manual_seed(seed)
    return Copying(config)


def test_copying_by_hand():
    """Word by word: r = n · (U q + b) on top of what the classifier says."""
    model, x = copier().double().eval(), pictures()
    plain = VQA(small("grounded")).double().eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    expected = plain(x, QUESTIONS)
    asked = model.read(QUESTIONS, x) @ model.asks.weight.T + model.asks.bias  # (B, 1 + counts)
    found = plain.ground(QUESTIONS, x)
    for row, question in enumerate(QUESTIONS.tolist()):
        for t, word in enumerate(question):
            if COPIES[word] >= 0:
                counted = found[row, t, -1 - plain.config.counts :]
                expected[row, COPIES[word]] += sum(
                    a * b for a, b in zip(counted, asked[row], strict=True)
                )
    assert torch.allclose(model(x, QUESTIONS), expected, atol=1e-12)
    assert not torch.allclose(plain(x, QUESTIONS), expected, atol=1e-3)


def test_a_word_that_is_said_twice_votes_twice():
    model, x = copier().double().eval(), pictures(1)
    plain = VQA(small("grounded")).double().eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    for question in ([5, 6, 5], [4, 6, 10]):  # 4 and 10 are one answer
        asked = torch.tensor([question])
        gain = (model(x, asked) - plain(x, asked))[0]
        own = model.votes(model.read(asked, x), model.ground(asked, x))[0]
        assert gain[COPIES[question[0]]].item() == pytest.approx((own[0] + own[2]).item())
        assert (gain != 0).sum() == 1


def test_copying_learns_to_compare_what_no_word_before_it_named():
    """Which of two words has more cells? Three pairs of words in training, others in the test."""
    things = tuple(range(4, 10))  # words of six things; word 10 asks for less, not for more
    generator = torch.Generator().manual_seed(0)

    def questions(pairs, n):
        rows = torch.randint(len(pairs), (n,), generator=generator)
        own = torch.tensor(pairs)[rows]  # (n, 2)
        own = own.gather(1, torch.rand(n, 2, generator=generator).argsort(1))
        less = torch.rand(n, generator=generator) < 0.5
        large = torch.rand(n, generator=generator) < 0.5  # is the first the larger one?
        cells = torch.full((n, 6), -1)
        cells[:, :4] = torch.where(large[:, None], own[:, :1], own[:, 1:]) - 4
        cells[:, 5] = torch.where(large, own[:, 1], own[:, 0]) - 4
        seen = torch.nn.functional.one_hot(cells + 1, 7).double()  # (n, L, C)
        asked = torch.cat([torch.where(less, 10, 3)[:, None], own], 1)
        told = torch.where(large ^ less, own[:, 0], own[:, 1]) - 4
        return {
            "features": seen.transpose(1, 2).reshape(n, 7, 2, 3),
            "questions": asked,
            "answers": told,
            "cells": cells,
        }

    known, other = [(4, 5), (6, 7), (8, 9)], [(4, 6), (5, 8), (7, 9)]
    train, test = questions(known, 512), questions(other, 256)
    own = dict(image=(7, 2, 3), joint=16, hidden=16, word=8, point=8, naming=1.0, answers=6)
    more = dict(unit=False, start="torch", beside=0, names=tuple((word,) for word in things))
    copies = tuple(word - 4 if word in things else -1 for word in range(V))
    scores = {}
    for kind in (VQA, Copying):
        config = small("grounded", **own, **more)
        if kind is Copying:
            given = {f.name: getattr(config, f.name) for f in fields(Config)}
            config = CopyingConfig(**given, copies=copies)
        torch.manual_seed(0)
        model = kind(config).double()
        opt = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(150):
            opt.zero_grad()
            model.loss(train)["loss"].backward()
            opt.step()
        model.eval()
        scores[kind] = float(model.loss(test)["right"])
    assert scores[Copying] > 0.95
    assert scores[VQA] < 0.8


def test_every_weight_of_copying_gets_a_gradient_and_padding_none():
    model, b = copier(naming=0.5, names=NAMES).double(), batch()
    model.loss(b)["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    longer = torch.nn.functional.pad(QUESTIONS, (0, 3))
    model.eval()
    assert torch.allclose(model(b["features"], longer), model(b["features"], QUESTIONS))


def test_a_saved_copier_answers_as_before(tmp_path):
    model = copier(naming=0.5, names=NAMES).eval()
    saving.save(model, tmp_path)
    again, _ = saving.load(Copying, tmp_path)
    assert again.config == model.config
    x = pictures().float()
    assert torch.equal(again(x, QUESTIONS), model(x, QUESTIONS))


def test_copying_on_a_pretended_gpu():
    with FakeTensorMode(), torch.backends.cudnn.flags(enabled=False):
        with torch.device("cuda"):
            model = copier()
        asked = torch.ones(4, 7, dtype=torch.int64, device="cuda")
        found = model(torch.zeros(4, 3, 2, 3, device="cuda"), asked)
    assert (found.device.type, found.shape) == ("cuda", (4, K))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"copies": ()}, "for each of the 11 words"),
        ({"copies": (-1,) * 10 + (5,)}, "-1..4"),
        ({"copies": (-1,) * 10 + (-2,)}, "-1..4"),
        ({"copies": (-1,) * 11}, "one word at least"),
        ({"counts": 0}, "counts"),
    ],
)
def test_bad_settings_of_copying(change, message):
    own = small("grounded")
    given = {f.name: getattr(own, f.name) for f in fields(Config)} | {"copies": COPIES} | change
    with pytest.raises(ValueError, match=message):
        CopyingConfig(**given)


def test_what_can_be_copied():
    words = Vocabulary(["which", "is", "bigger", "the", "dog", "or", "the", "car"])
    told = Vocabulary(["car", "dog", "yes"], specials=())
    found = dict(zip(words.words, copies_of(words, told), strict=True))
    assert found["dog"] == told.ids["dog"]
    assert found["car"] == told.ids["car"]
    assert {k for w, k in found.items() if w not in ("dog", "car")} == {-1}


# --- devices, precision ---------------------------------------------------------------------------


@EVERY
def test_on_a_pretended_gpu(way):
    with FakeTensorMode(), torch.backends.cudnn.flags(enabled=False):
        with torch.device("cuda"):
            model = VQA(small(way, dropout=0.5))
        b = {
            "features": torch.zeros(4, 3, 2, 3, device="cuda"),
            "questions": torch.ones(4, 7, dtype=torch.int64, device="cuda"),
            "answers": torch.zeros(4, dtype=torch.int64, device="cuda"),
        }
        ten = {**b, "answers": torch.zeros(4, 10, dtype=torch.int64, device="cuda")}
        found = [model(b["features"], b["questions"]), *model.loss(b).values()]
        found += [*model.loss(ten).values(), model.answer(b["features"], b["questions"])]
    assert {t.device.type for t in found} == {"cuda"}
    assert found[0].shape == (4, K)


@pytest.mark.parametrize("which", PAPERS)
def test_paper_scale_on_a_pretended_gpu(which):
    config = Config.paper(which)
    shape = config.image if isinstance(config.image, tuple) else (config.image,)
    with FakeTensorMode(), torch.backends.cudnn.flags(enabled=False):
        with torch.device("cuda"):
            model = VQA(config)
        b = {
            "features": torch.zeros(500, *shape, device="cuda"),
            "questions": torch.ones(500, 26, dtype=torch.int64, device="cuda"),
            "answers": torch.zeros(500, 10, dtype=torch.int64, device="cuda"),
        }
        terms = model.loss(b)
    assert {t.device.type for t in terms.values()} == {"cuda"}


@EVERY
def test_mixed_precision_stays_near_the_full(way):
    model = build(way, scale=1.0).float()
    b = {**batch(), "features": pictures().float()}
    full = model.loss(b)["loss"].item()
    # oneDNN has no LSTM in bfloat16 where the processor does not compute in it; torch has one
    one_dnn = torch.backends.mkldnn.flags(enabled=torch.ops.mkldnn._is_mkldnn_bf16_supported())
    with torch.autocast("cpu", dtype=torch.bfloat16), one_dnn:
        mixed = model.loss(b)["loss"].item()
    assert mixed == pytest.approx(full, rel=0.03)


@EVERY
def test_half_precision_features_and_a_batch_of_one(way):
    model = build(way).float()
    x = pictures().half()
    assert torch.equal(model(x, QUESTIONS), model(x.float(), QUESTIONS))
    one = model(x[:1], QUESTIONS[:1])
    torch.testing.assert_close(one, model(x, QUESTIONS)[:1])
    terms = model.train().loss(
        {"features": x[:1], "questions": QUESTIONS[:1], "answers": ANSWERS[:1]}
    )
    assert terms["loss"].isfinite()


# --- data -----------------------------------------------------------------------------------------


def test_questions_become_ids():
    vocabulary = Vocabulary(["is", "there", "a", "dog", "what"])
    ids = encode_questions(["Is there a dog?", "what"], vocabulary)
    words = [[vocabulary.words[i] for i in row if i] for row in ids]
    assert words == [["is", "there", "a", "dog"], ["what"]]
    assert encode_questions(["is there a dog"], vocabulary, limit=4).shape == (1, 4)
    # only unknown words: a question all the same, and the model answers it
    unknown = encode_questions(["qué hora?"], vocabulary)
    assert unknown.tolist() == [[vocabulary.ids["<unk>"]] * 2]
    assert build(vocabulary=len(vocabulary))(pictures(1), unknown).isfinite().all()
    strict = Vocabulary(["dog", "<pad>"], specials=("<pad>",))
    with pytest.raises(KeyError, match=r"'dgo' is not among .* did you mean 'dog'"):
        encode_questions(["dgo"], strict)


@pytest.mark.parametrize(
    ("questions", "error", "message"),
    [
        ("is there a dog", TypeError, "a sequence of questions, got one str"),
        (["dog", "?!"], ValueError, r"a question has no word: '\?!'"),
        ([""], ValueError, "a question has no word: ''"),
        (["is there a big dog"], ValueError, "has 5 words, the limit is 4: 'is there a big dog'"),
        ([], ValueError, "at least one sequence"),
        ([3], TypeError, "needs a string, got int"),
    ],
)
def test_bad_questions(questions, error, message):
    with pytest.raises(error, match=message):
        encode_questions(questions, Vocabulary(["dog"]), limit=4)
    with pytest.raises(ValueError, match="must begin with <pad>, got 'dog'"):
        encode_questions(["dog"], Vocabulary(["dog"], specials=()))


def test_answers_become_ids():
    """The most frequent come first; the rest is outside."""
    given = ["red", "dog", "red", "2", "dog", "red", "cat"]
    vocabulary = Vocabulary(given, max_size=2, specials=())
    assert vocabulary.words == ["red", "dog"]
    ids = encode_answers(given, vocabulary)
    assert ids.tolist() == [0, 1, 0, OUTSIDE, 1, 0, OUTSIDE]
    assert ids.dtype == torch.int64
    several = encode_answers([["red", "cat"], ("dog", "dog")], vocabulary)
    assert several.tolist() == [[0, OUTSIDE], [1, 1]]


@pytest.mark.parametrize(
    ("answers", "error", "message"),
    [
        ("yes", TypeError, "a sequence of answers, got one str"),
        ([], ValueError, "there is no answer"),
        ([["yes"], ["yes", "no"]], ValueError, "equally many answers"),
        ([[], []], ValueError, "at least one"),
        (["yes", 3], TypeError, "answers must be strings, got int"),
        ([["yes", None]], TypeError, "answers must be strings, got NoneType"),
    ],
)
def test_bad_answers_to_encode(answers, error, message):
    with pytest.raises(error, match=message):
        encode_answers(answers, Vocabulary(["yes"], specials=()))
    with pytest.raises(ValueError, match="no answer is <pad>; give"):
        encode_answers(["yes"], Vocabulary(["yes"]))


def test_the_worlds_questions_fit():
    from mmtutor import world

    rows = world.load("questions", "train", 8, things=12)
    words = Vocabulary(w for q in rows["question"][:] for w in q.split())
    answers = Vocabulary(rows["answer"][:], specials=())
    questions = encode_questions(rows["question"][:], words)
    model = VQA(Config.world(len(words), len(answers)))
    ids = encode_answers(rows["answer"][:], answers)
    terms = model.loss(
        {"features": torch.randn(8, 112, 6, 6), "questions": questions, "answers": ids}
    )
    assert terms["loss"].isfinite()


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({name: 0}, f"{name} must be at least 1") for name in ("vocabulary", "answers", "word", "hidden", "layers")),
        ({"fusion": "stacked", "attention": 0}, "attention must be at least 1"),
        ({"fusion": "glimpses", "looks": 0}, "looks must be at least 1"),
        ({"image": (3, 2)}, r"image must be a length or \(channels, height, width\), got \(3, 2\)"),
        ({"image": 0}, "image must be a length"),
        ({"image": (3, 0, 2)}, "image must be a length"),
        ({"fusion": "bilinear"}, "fusion must be one of"),
        ({"state": "last"}, "state must be one of"),
        ({"fusion": "stacked", "places": "learnt"}, "places must be one of"),
        ({"bound": "gelu"}, "bound must be one of"),
        ({"start": "zero"}, "start must be one of"),
        ({"mlp": [7]}, "mlp must be a tuple of widths"),
        ({"mlp": (7, 0)}, "mlp must be a tuple of widths"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"joint": 0}, "joint must be at least 1, or 0 with fusion = 'glimpses'"),
        ({"joint": -1, "fusion": "glimpses"}, "joint must be at least 1"),
        ({"joint": 0, "fusion": "glimpses"}, "set places = 'none'"),
        ({"fusion": "stacked", "image": 18}, r"'stacked' looks at a map \(channels"),
        ({"fusion": "glimpses", "image": 18}, "'glimpses' looks at a map"),
        ({"looks": 3}, "looks = 3 has no effect with fusion = 'product'"),
        ({"fusion": "sum", "attention": 3}, "attention = 3 has no effect with fusion = 'sum'"),
        ({"fusion": "concatenation", "places": "none"}, "places = none has no effect"),
        ({"fusion": "question"}, "image = .* has no effect with fusion = 'question'"),
        ({"fusion": "picture"}, "word = 4 has no effect with fusion = 'picture'"),
        ({"fusion": "stacked", "beside": -1}, "beside must be finite and not negative, got -1"),
        ({"fusion": "stacked", "naming": math.nan}, "naming must be finite"),
        ({"fusion": "stacked", "beside": 6}, "beside must be below joint = 6"),
        ({"fusion": "stacked", "beside": 1, "places": "none"}, "0 with places = 'none'; got 1"),
        ({"fusion": "stacked", "counts": 1}, "no effect without pointing: set point"),
        ({"fusion": "stacked", "naming": 1.0}, "no effect without pointing"),
        ({"fusion": "stacked", "point": 2, "naming": 1.0}, r"naming = 1.0 and names of 0 things"),
        ({"fusion": "stacked", "point": 2, "names": ((4,),)}, r"naming = 0.0 and names of 1 things"),
        ({"fusion": "stacked", "point": 2, "naming": 1.0, "names": ((4,), ())}, "at least one"),
        ({"fusion": "stacked", "point": 2, "naming": 1.0, "names": ((4, 11),)}, r"ids in 1\.\.10"),
        ({"fusion": "stacked", "point": 2, "naming": 1.0, "names": ((0,),)}, r"ids in 1\.\.10"),
        ({"point": 2}, "point = 2 has no effect with fusion = 'product'"),
        ({"mlp": (), "bound": "relu"}, r"bound = relu has no effect with mlp = \(\)"),
    ],
)  # fmt: skip
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


@pytest.mark.parametrize("way", FUSIONS)
def test_the_worlds_settings_hold_for_every_way(way):
    config = Config.world(50, 20, fusion=way)
    assert (config.fusion, config.unit) == (way, way == "question")
    if way != "question":
        assert Config.world(50, 20, fusion=way, unit=True).unit


def test_no_such_paper():
    with pytest.raises(ValueError, match="paper must be one of"):
        Config.paper("yang")


CHANGES = {
    "vocabulary": 12,
    "answers": 6,
    "image": (3, 3, 2),
    "unit": False,
    "word": 3,
    "hidden": 4,
    "layers": 1,
    "state": "hidden",
    "joint": 5,
    "attention": 9,
    "looks": 1,
    "places": "sum",
    "beside": 2,
    "point": 3,
    "counts": 2,
    "naming": 0.5,
    "names": ((4,), (8, 9)),
    "mlp": (6,),
    "bound": "relu",
    "start": "uniform",
    "dropout": 0.5,
}


@pytest.mark.parametrize("way", FUSIONS)
@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_has_an_effect_or_is_refused(way, name):
    assert set(CHANGES) == {f.name for f in fields(Config)} - {"fusion"}
    bound = (
        {"point": 4, "naming": 1.0, "names": NAMES} if name in ("counts", "naming", "names") else {}
    )
    config = Config(V, K, fusion=way, **(bound if way == "stacked" else {}))
    if name in vqa.UNREAD[way]:
        with pytest.raises(ValueError, match=f"{name} = .* has no effect with fusion = '{way}'"):
            replace(config, **{name: CHANGES[name]})
        return
    if way == "picture" and name == "vocabulary":
        return  # it must be given, whether questions are read or not
    found = []
    for c in (config, replace(config, **{name: CHANGES[name]})):
        torch.manual_seed(0)
        model = VQA(c)
        torch.manual_seed(0)
        b = {**batch(), "features": torch.randn(3, *c.image)}
        b["cells"] = CELLS.repeat(1, 6) if c.image == (112, 6, 6) else CELLS
        found.append((training.parameter_count(model), model.loss(b)["loss"].item()))
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"features": pictures(2)}, ValueError, "2 pictures but 3 questions"),
        ({"features": pictures(0)}, ValueError, "none of them 0"),
        ({"features": pictures(3, (3, 3, 2))}, ValueError, r"features must be a tensor \(B, 3, 2, 3\)"),
        ({"features": pictures() * math.nan}, ValueError, "the features hold NaN or infinity"),
        ({"features": None}, ValueError, "features must be a tensor .* got NoneType"),
        ({"questions": None}, TypeError, "questions must be ids .* got NoneType"),
        ({"questions": QUESTIONS[0]}, ValueError, r"questions must be ids .* got \(4,\)"),
        ({"questions": QUESTIONS[:0]}, ValueError, r"B and T at least 1, got \(0, 4\)"),
        ({"questions": QUESTIONS.float()}, TypeError, "int64, got torch.float32"),
        ({"questions": QUESTIONS + 1}, ValueError, r"ids of words must lie in 0\.\.10, got 1\.\.11"),
        ({"questions": QUESTIONS - 1}, ValueError, r"got -1\.\.9"),
        ({"questions": QUESTIONS * (torch.arange(3) != 1)[:, None]}, ValueError, "question 1 has no word"),
        ({"questions": QUESTIONS.flip(1)}, ValueError, "question 1 has padding before a word"),
        ({"answers": ANSWERS[:2]}, ValueError, r"answers must be ids \(3,\), or \(3, H\).* got \(2,\)"),
        ({"answers": ANSWERS.float()}, TypeError, "answers must be ids of type int64, got torch.float32"),
        ({"answers": ANSWERS.tolist()}, TypeError, "got list"),
        ({"answers": HUMANS[:, :0]}, ValueError, r"got \(3, 0\)"),
        ({"answers": ANSWERS + 1}, ValueError, r"answers must lie in 0\.\.4, or be -1, got 1\.\.5"),
        ({"answers": ANSWERS - 2}, ValueError, r"got -2\.\.2"),
        ({"answers": ANSWERS - 1}, ValueError, "the answer to question 1 is not among the K answers"),
        ({"answers": HUMANS + 1}, ValueError, r"got 0\.\.5"),
    ],
)  # fmt: skip
def test_bad_batches(change, error, message):
    for way in ("product", "stacked product", "grounded", "kazemi"):
        model = build(way)
        model.loss(batch())
        with pytest.raises(error, match=message):
            model.loss({**batch(), **change})
