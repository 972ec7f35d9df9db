"""VL-BERT: its embedding sum and its losses against slow loops, its sizes against the published ones."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmtutor.kit import saving, training
from mmtutor.kit.masking import NOT_CHOSEN, SPECIALS, Pretraining
from mmtutor.kit.regions import Picture, check_picture, waves
from mmtutor.kit.text import Vocabulary
from mmtutor.vlbert import A, B, C, Config, VLBert

V, K, D, CLASSES, H, R = 17, 5, 3, 4, 8, 4
SMALL = Config(
    vocabulary=V,
    answers=K,
    region=D,
    classes=CLASSES,
    width=H,
    heads=2,
    layers=2,
    hidden=9,
    positions=13,
    dropout=0.0,
    start=0.5,
)
WAYS = {
    "product": {},
    "sum": {"geometry": "sum"},
    "sines": {"geometry": "sines", "waves": 3},
    "mask vector": {"mask_vector": True, "mask_regions": 0.4},
    "paper": {"geometry": "sines", "answer_loss": "sigmoid", "visual_gain": 0.0},
}
EVERY = pytest.mark.parametrize("way", WAYS)
#: Sentences of three lengths; pictures with three, one and no region beside the whole.
WORDS = torch.tensor([[7, 8, 9, 10], [11, 12, 0, 0], [13, 0, 0, 0]])
TARGETS = torch.tensor([[-1, 8, -1, 14], [11, -1, -1, -1], [-1, -1, -1, -1]])
THERE = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]).bool()
MASKED = torch.tensor([[0, 1, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]).bool()
REPLACED = torch.tensor([[0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]).bool()


def build(way: str = "product", seed: int = 0, **changes: object) -> VLBert:
    """A model in which every part speaks: at the usual start many mistakes would not show."""
    torch.manual_seed(seed)
    model = VLBert(replace(SMALL, **{**WAYS[way], **changes})).double()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p.normal_()
    return model


def picture(n: int = 3, seed: int = 1) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    low = torch.rand(n, R, 2, generator=g, dtype=torch.float64) * 0.5
    size = 0.1 + torch.rand(n, R, 2, generator=g, dtype=torch.float64) * 0.4
    boxes = torch.cat([low, low + size], -1)
    boxes[:, 0] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    regions = torch.randn(n, R, D, generator=g, dtype=torch.float64)
    return {"regions": regions, "boxes": boxes, "there": THERE[:n]}


def asked(**changes: object) -> dict[str, torch.Tensor]:
    return {"questions": WORDS, **picture(), "answers": torch.tensor([3, 0, 4]), **changes}


def told(**changes: object) -> dict[str, torch.Tensor]:
    """Captions in which something is hidden."""
    g = torch.Generator().manual_seed(2)
    classes = torch.randn(3, R, CLASSES, generator=g, dtype=torch.float64).softmax(-1)
    given = {"words": WORDS, "word_targets": TARGETS, "masked": MASKED, "replaced": REPLACED}
    return {**given, **picture(), "classes": classes, **changes}


def scores(model: VLBert, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return model(*(batch[name] for name in ("questions", "regions", "boxes", "there")))


# --- the sum --------------------------------------------------------------------------------------


def normal(x: torch.Tensor, norm: nn.LayerNorm) -> torch.Tensor:
    y = (x - x.mean()) / (x.var(unbiased=False) + 1e-12).sqrt()
    return y * norm.weight + norm.bias


def seen(model: VLBert, x: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    """The visual vector of one region, by hand."""
    p = model.project
    if model.config.geometry == "sines":
        where = waves(box[None, None], model.config.waves)[0, 0]
        return (p.weight @ torch.cat([x, where]) + p.bias).relu()
    x1, y1, x2, y2 = box.tolist()
    where = [x1 + x2 - 1, y1 + y2 - 1, x2 - x1, y2 - y1] @ p.places.detach().numpy()
    a, where = p.content.weight @ x + p.content.bias, torch.from_numpy(where)
    bound = {"relu": torch.relu, "tanh": torch.tanh, "none": lambda x: x}[p.bound]
    return bound(a * (0.3 + where) if model.config.geometry == "product" else a + where)


def naive(
    model: VLBert,
    words: list[int],
    regions: torch.Tensor,
    boxes: torch.Tensor,
    second: list[int] | None = None,
    gone: tuple[int, ...] = (),
) -> torch.Tensor:
    """The elements of one sequence, as dense as it comes: (S, H)."""
    c = model.config
    regions = regions.clone()
    if c.mask_vector:
        for r in gone:
            regions[r] = model.hidden_region
        left = [regions[r] for r in range(1, len(regions)) if r not in gone]
        if len(regions) > 1:
            regions[0] = sum(left, torch.zeros(D).double()) / max(len(left), 1)
    visual = [seen(model, x, box) for x, box in zip(regions, boxes)]
    image = visual[0] if visual else model.no_picture
    text = [(c.cls, A), *((w, A) for w in words), (c.sep, A)]
    if second is not None:
        text += [*((w, B) for w in second), (c.sep, B)]
    rows = []
    for position, (word, segment) in enumerate(text):
        token = model.words.weight[word] + normal(image, model.norm_of_words)
        rows.append(token + model.segments.weight[segment] + model.positions.weight[position])
    for r, v in enumerate(visual):
        token = model.hidden_image if r in gone else model.image
        token = token + normal(v, model.norm_of_regions)
        rows.append(token + model.segments.weight[C] + model.positions.weight[len(text)])
    rows.append(model.end + model.segments.weight[C] + model.positions.weight[len(text) + 1])
    return torch.stack([normal(row, model.norm) for row in rows])


@EVERY
@pytest.mark.parametrize("question", [False, True])
def test_the_embedding_is_the_sum_of_four(way, question):
    model, p = build(way), picture()
    second = torch.full((3, 1), SMALL.mask) if question else None
    p["regions"], p["boxes"] = (p[k] * THERE[..., None] for k in ("regions", "boxes"))
    x, real, layout = model.embed(WORDS, Picture(**p), second, REPLACED)
    assert x.shape == (3, 4 + 3 + (2 if question else 0) + R, H)
    for b in range(3):
        count = int(THERE[b].sum())
        wanted = naive(
            model,
            [i for i in WORDS[b].tolist() if i],
            p["regions"][b, :count],
            p["boxes"][b, :count],
            [SMALL.mask] if question else None,
            tuple(REPLACED[b].nonzero()[:, 0].tolist()),
        )
        torch.testing.assert_close(x[b, real[b]], wanted)
    assert layout.words == slice(1, 5)
    assert layout.regions == (slice(8, 12) if question else slice(6, 10))
    assert layout.second == (slice(6, 7) if question else None)


def test_a_sentence_without_a_picture_has_a_vector_in_its_place():
    model, p = build(), picture()
    x, layout = model.read(WORDS, None, None, None)
    for b in range(3):
        elements = naive(
            model, [i for i in WORDS[b].tolist() if i], p["regions"][b, :0], p["boxes"][b, :0]
        )
        for layer in model.layers:
            elements = layer(elements[None], torch.ones(1, len(elements), dtype=torch.bool))[0]
        n = int((WORDS[b] != 0).sum())
        torch.testing.assert_close(x[b, layout.words][:n], elements[1 : 1 + n])
    # the same in a batch in which others have pictures
    some = {**p, "there": THERE & torch.tensor([True, False, True])[:, None]}
    mixed, _ = model.read(WORDS, *some.values())
    torch.testing.assert_close(mixed[1, layout.words], x[1, layout.words])
    whole, _ = model.read(WORDS, *p.values())
    torch.testing.assert_close(mixed[::2], whole[::2])


# --- what may not matter, and what must -----------------------------------------------------------


@EVERY
def test_padding_changes_nothing(way):
    model, b = build(way), asked()
    wanted = scores(model, b)
    longer = asked(
        questions=F.pad(WORDS, (0, 3)),
        regions=F.pad(b["regions"], (0, 0, 0, 5), value=math.nan),
        boxes=F.pad(b["boxes"], (0, 0, 0, 5), value=7.0),
        there=F.pad(THERE, (0, 5)),
    )
    torch.testing.assert_close(scores(model, longer), wanted)
    for i in range(3):
        alone = {k: v[i : i + 1] for k, v in b.items()}
        alone["questions"] = alone["questions"][:, : int((WORDS[i] != 0).sum())]
        count = int(THERE[i].sum())
        alone |= {k: alone[k][:, :count] for k in ("regions", "boxes", "there")}
        torch.testing.assert_close(scores(model, alone)[0], wanted[i])


@EVERY
def test_padding_changes_no_loss(way):
    model, b = build(way), told()
    longer = {k: F.pad(b[k], (0, 0, 0, 5), value=0.5) for k in ("regions", "boxes", "classes")}
    longer |= {k: F.pad(b[k], (0, 5)) for k in ("there", "masked", "replaced")}
    longer |= {"words": F.pad(WORDS, (0, 3)), "word_targets": F.pad(TARGETS, (0, 3), value=-1)}
    found, wanted = model.pretrain_loss(longer), model.pretrain_loss(b)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name])


@EVERY
def test_the_order_of_regions_carries_no_meaning(way):
    model, p, mixed = build(way), picture(), torch.tensor([0, 3, 1, 2])
    x, layout = model.read(WORDS, *p.values(), gone=REPLACED)
    y, _ = model.read(WORDS, *(v[:, mixed] for v in p.values()), gone=REPLACED[:, mixed])
    torch.testing.assert_close(y[:, layout.words], x[:, layout.words])
    torch.testing.assert_close(y[:, layout.regions], x[:, layout.regions][:, mixed])


@EVERY
def test_everything_is_heard(way):
    model, b = build(way), asked()
    wanted = scores(model, b)
    other = picture(seed=5)
    boxes = torch.where(torch.arange(R)[:, None] > 0, other["boxes"], b["boxes"])
    for change in (
        {"questions": WORDS.flip(0)},
        {"questions": torch.tensor([[10, 9, 8, 7], [12, 11, 0, 0], [14, 0, 0, 0]])},
        {"regions": other["regions"]},
        {"boxes": boxes},
        {"there": torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]).bool()},
    ):
        found = scores(model, asked(**change))
        assert not torch.allclose(found[0], wanted[0]), change
    swapped = torch.tensor([[10, 9, 8, 7]])  # the order of words matters
    one = {k: v[:1] for k, v in b.items()}
    assert not torch.allclose(scores(model, {**one, "questions": swapped}), wanted[:1])


def test_with_a_gain_of_zero_it_begins_blind():
    torch.manual_seed(0)
    model = VLBert(replace(SMALL, visual_gain=0.0)).double()
    assert torch.equal(
        scores(model, asked()), scores(model, asked(**{"regions": picture(seed=5)["regions"]}))
    )
    seeing = VLBert(SMALL).double()
    assert not torch.equal(
        scores(seeing, asked()), scores(seeing, asked(**{"regions": picture(seed=5)["regions"]}))
    )


def test_a_hidden_region_is_not_seen():
    """With a vector in its place neither its features nor the whole picture tell of it."""
    model, b = build("mask vector"), told()
    other = b["regions"].clone()
    other[REPLACED] += 3
    other[:2, 0] -= 5  # the whole is made anew of what can be seen
    found, wanted = model.pretrain_loss({**b, "regions": other}), model.pretrain_loss(b)
    assert found["loss"].item() == pytest.approx(wanted["loss"].item(), rel=1e-12)
    # without it the vectors are read as they come: their pixels are hidden already
    plain = build()
    assert plain.pretrain_loss({**b, "regions": other})["loss"] != plain.pretrain_loss(b)["loss"]


# --- the losses -----------------------------------------------------------------------------------


def through(model: VLBert, elements: torch.Tensor) -> torch.Tensor:
    x = elements[None]
    for layer in model.layers:
        x = layer(x, torch.ones(x.shape[:2], dtype=torch.bool))
    return x[0]


@EVERY
def test_the_losses_of_pretraining_equal_a_slow_loop(way):
    """Each pair by itself, as dense as it comes; then the means over what was chosen."""
    model, b = build(way), told()
    said, named, right = [], [], []
    for i in range(3):
        words, count = [w for w in WORDS[i].tolist() if w], int(THERE[i].sum())
        gone = tuple(REPLACED[i].nonzero()[:, 0].tolist())
        x = naive(model, words, b["regions"][i, :count], b["boxes"][i, :count], gone=gone)
        x = through(model, x)
        for t in range(len(words)):
            if TARGETS[i, t] >= 0:
                y = model.word_head.transform(x[1 + t])
                p = (model.words.weight @ y + model.word_head.bias).softmax(0)
                said.append(-p[TARGETS[i, t]].log())
                right.append(float(p.argmax() == TARGETS[i, t]))
        for r in range(count):
            if MASKED[i, r]:
                q = model.region_head(x[len(words) + 2 + r]).softmax(0)
                named.append(-sum(p * q.log() for p, q in zip(b["classes"][i, r], q)))
    terms = model.pretrain_loss(b)
    assert (len(said), len(named)) == (3, 3)
    torch.testing.assert_close(terms["words"], sum(said) / 3)
    torch.testing.assert_close(terms["regions"], sum(named) / 3)
    torch.testing.assert_close(terms["loss"], sum(said) / 3 + sum(named) / 3)
    assert terms["words right"].item() == pytest.approx(sum(right) / 3)
    assert terms["text"].item() == 0


def test_sentences_without_a_picture_have_a_mean_of_their_own():
    model, b = build(), told()
    b["there"] = THERE & torch.tensor([True, False, True])[:, None]
    terms = model.pretrain_loss(b)
    first = {k: v[:1] for k, v in b.items()}
    second = {k: v[1:2] for k, v in b.items()}
    torch.testing.assert_close(terms["words"], model.pretrain_loss(first)["words"])
    torch.testing.assert_close(terms["text"], model.pretrain_loss(second)["text"])
    torch.testing.assert_close(terms["loss"], terms["words"] + terms["text"] + terms["regions"])


@EVERY
def test_the_loss_of_questions_equals_a_slow_loop(way):
    model, b = build(way), asked()
    found = []
    for i in range(3):
        words, count = [w for w in WORDS[i].tolist() if w], int(THERE[i].sum())
        x = naive(model, words, b["regions"][i, :count], b["boxes"][i, :count], [SMALL.mask])
        y = model.answer_head(through(model, x)[len(words) + 2])
        target = F.one_hot(b["answers"][i], K).double()
        if model.config.answer_loss == "sigmoid":
            p = torch.sigmoid(y)
            found.append(-(target * p.log() + (1 - target) * (1 - p).log()).sum())
        else:
            found.append(-y.softmax(0)[b["answers"][i]].log())
    torch.testing.assert_close(model.loss(b)["loss"], sum(found) / 3)
    right = (model.answer(*itertools.islice(b.values(), 4)) == b["answers"]).float().mean()
    assert model.loss(b)["right"].item() == pytest.approx(right.item())


def test_soft_answers():
    model = build("paper")
    soft = torch.tensor([[0.3, 0, 1, 0, 0], [0] * 5, [0, 0, 0, 0.6, 0.9]]).double()
    wanted = F.binary_cross_entropy_with_logits(scores(model, asked()), soft) * K
    torch.testing.assert_close(model.loss(asked(answers=soft))["loss"], wanted)


def test_a_batch_in_which_nothing_is_hidden_has_a_loss_of_zero():
    model = build()
    nothing = told(
        word_targets=torch.full_like(TARGETS, NOT_CHOSEN), masked=torch.zeros_like(MASKED)
    )
    nothing.pop("replaced")
    terms = model.pretrain_loss(nothing)
    assert {name: t.item() for name, t in terms.items()} == dict.fromkeys(terms, 0.0)
    terms["loss"].backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("way", ["product", "mask vector"])
def test_everything_hidden(way):
    model, all_words = build(way), torch.where(WORDS != 0, SMALL.mask, 0)
    regions = THERE & (torch.arange(R) > 0)
    b = told(
        words=all_words,
        word_targets=WORDS.masked_fill(WORDS == 0, -1),
        masked=regions,
        replaced=regions,
    )
    terms = model.pretrain_loss(b)
    terms["loss"].backward()
    assert all(t.isfinite() for t in terms.values())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@EVERY
def test_gradients_against_finite_differences(way):
    model = build(way, start=0.3)
    names, values = zip(*((n, p.detach().requires_grad_()) for n, p in model.named_parameters()))
    x = picture()["regions"].requires_grad_()

    def loss(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        weights = {f"model.{n}": v for n, v in zip(names, values)}
        return torch.func.functional_call(Both(model), weights, (x,))

    assert torch.autograd.gradcheck(loss, (x, *values), fast_mode=True)


class Both(nn.Module):
    """The losses of captions and of questions together."""

    def __init__(self, model: VLBert) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        told_, asked_ = told(regions=x), asked(regions=x)
        told_["there"] = THERE & torch.tensor([True, True, False])[:, None]  # a text alone
        told_["word_targets"] = TARGETS.index_fill(0, torch.tensor([2]), 13)
        return self.model.pretrain_loss(told_)["loss"] + self.model.loss(asked_)["loss"]


@EVERY
def test_every_weight_gets_a_gradient(way):
    model, x = build(way), picture()["regions"].requires_grad_()
    Both(model)(x).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().sum() > 0, name
    assert not x.grad[~THERE].any()


# --- where it looks -------------------------------------------------------------------------------


def test_attention_of_all_layers():
    model, p = build(), picture()
    for question in (True, False):
        looks = model.attention(WORDS, *p.values(), question=question)
        s = 4 + 3 + R + 2 * question
        assert looks.weights.shape == (3, 2, 2, s, s)
        torch.testing.assert_close(looks.weights.sum(-1), torch.ones(3, 2, 2, s).double())
        to_words = looks.weights[..., looks.layout.words]
        assert not to_words[..., :, :][
            WORDS[:, None, None, None].expand(*to_words.shape[:3], s, 4) == 0
        ].any()
        to_regions = looks.weights[..., looks.layout.regions]
        assert not to_regions[~THERE[:, None, None, None].expand_as(to_regions)].any()
        assert (looks.layout.second is not None) == question
    # the first layer by hand
    x, real, _ = model.embed(
        WORDS, check_picture(*p.values(), D, 3, torch.float64), None, MASKED & False
    )
    torch.testing.assert_close(looks.weights[:, 0], model.layers[0].attention.weights(x, x, real))


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "width", "trunk", "pretraining", "with_regions"),
    [
        ("base", 768, 109_486_848, 111_340_667, 114_491_515),
        ("large", 1024, 335_148_032, 337_871_227, 342_071_675),
    ],
)
def test_the_published_parameters(which, width, trunk, pretraining, with_regions):
    with torch.device("meta"):
        model = VLBert(Config.paper(which, mask_vector=True))
    part = {name: training.parameter_count(child) for name, child in model.named_children()}
    names = ("words", "positions", "segments", "norm_of_words", "norm_of_regions", "norm", "layers")
    own = sum(part[name] for name in names) + model.end.numel()
    pooler = width * width + width  # behind [CLS]: nothing here reads it
    assert own + pooler == trunk
    assert own + part["word_head"] + part["region_head"] == pretraining
    vectors = (model.image, model.hidden_image, model.no_picture, model.hidden_region)
    total = pretraining + part["project"] + sum(v.numel() for v in vectors)
    assert total == with_regions
    assert total == training.parameter_count(model) - part["answer_head"]
    if which == "base":
        assert (part["layers"], part["project"]) == (85_054_464, 3_146_496)


def test_a_setting_may_be_called_as_the_first_argument_of_a_method():
    assert Config.paper(cls=7).cls == 7
    assert Config.world(30, 5, cls=7).cls == 7


def test_paper_scale_shapes():
    config = Config.paper()
    with torch.device("meta"):
        model = VLBert(config)
        words = torch.empty(2, 20, dtype=torch.long)
        shown = torch.empty(2, 37, 2048), torch.empty(2, 37, 4), torch.empty(2, 37).bool()
        x, layout = model.read(words, *shown)
        assert x.shape == (2, 1 + 20 + 1 + 37 + 1, 768)
        assert layout.regions == slice(22, 59)
        assert model(words, *shown).shape == (2, 3129)
        assert model.word_head(x, model.words.weight).shape == (2, 60, 30_522)
        assert model.region_head(x).shape == (2, 60, 1601)
    assert (config.cls, config.sep, config.mask) == (101, 102, 103)
    assert (config.visual_gain, config.word_gain) == (0.0, 0.0)
    assert (config.answer_loss, config.geometry) == ("sigmoid", "sines")
    assert Config.paper(geometry="product").geometry == "product"


def test_the_first_weights():
    torch.manual_seed(0)
    model = VLBert(
        Config.world(500, 30, visual_gain=0.25, word_gain=0.5, mask_vector=True, start=0.02)
    )
    assert model.words.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert model.project.places.std().item() == pytest.approx(0.7, rel=0.1)
    for vector in (model.image, model.hidden_image, model.end, model.no_picture):
        assert vector.std().item() == pytest.approx(0.02, rel=0.3)
    assert not model.hidden_region.any()
    assert bool((model.norm_of_words.weight == 0.5).all())
    assert bool((model.norm_of_regions.weight == 0.25).all())
    assert bool((model.norm.weight == 1).all())


# --- training -------------------------------------------------------------------------------------


def fresh(seed: int = 0, **changes: object) -> VLBert:
    torch.manual_seed(seed)
    return VLBert(replace(SMALL, width=32, hidden=32, start=0.2, **changes))


def twins() -> dict[str, torch.Tensor]:
    """Four questions of each of two pictures: neither the picture alone nor the question alone can tell."""
    p = {k: v.repeat_interleave(4, 0) for k, v in picture(2).items()}
    p = {k: v.float() if v.is_floating_point() else v for k, v in p.items()}
    questions = torch.tensor([[8, 9, 0], [10, 7, 11], [13, 0, 0], [14, 8, 10]]).repeat(2, 1)
    return {"questions": questions, **p, "answers": torch.tensor([0, 1, 2, 3, 1, 0, 3, 2])}


def lessons() -> dict[str, torch.Tensor]:
    """Captions of which words and regions are drawn to be hidden."""
    data = twins()
    data["words"] = data.pop("questions")
    data["classes"] = F.one_hot(torch.arange(8 * R).view(8, R) % CLASSES, CLASSES).float()
    del data["answers"]
    return data


@pytest.mark.parametrize("way", WAYS)
def test_overfits_one_batch(way):
    model, data = fresh(**WAYS[way]), twins()
    training.fit(model, data, epochs=150, batch_size=8, lr=5e-3, progress=False)
    assert model.loss(data)["right"].item() == 1


def test_overfits_what_is_hidden():
    data = lessons() | {"masked": torch.zeros(8, R, dtype=torch.bool)}
    data["masked"][:, 1] = True
    data["word_targets"] = torch.full_like(data["words"], NOT_CHOSEN)
    data["word_targets"][:, 0] = torch.arange(8) + 7
    data["words"][:, 0] = SMALL.mask
    model = fresh(mask_vector=True)
    training.fit(Pretraining(model), data, epochs=200, batch_size=8, lr=5e-3, progress=False)
    terms = model.pretrain_loss(data)
    assert terms["words right"].item() == 1
    assert terms["regions right"].item() == 1


@pytest.mark.parametrize("what", ["questions", "captions"])
def test_same_seed_same_result(what):
    def run(seed: int) -> torch.Tensor:
        model = fresh(seed, dropout=0.2, mask_vector=True)
        pair = (Pretraining(model), lessons()) if what == "captions" else (model, twins())
        training.fit(*pair, epochs=3, batch_size=3, seed=seed, progress=False)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_a_checkpoint_resumes_exactly(tmp_path):
    """Pre-training too: what is hidden is drawn anew at each step, and the same after a break."""
    options = {"epochs": 3, "batch_size": 3, "progress": False, "checkpoint_every": 1}

    class Off(Exception):
        pass

    class Cut(nn.Module):
        """The same model, which dies at a step."""

        def __init__(self, left: int) -> None:
            super().__init__()
            self.model, self.left = fresh(dropout=0.2, mask_vector=True), left

        def loss(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            if self.left == 0:
                raise Off
            self.left -= 1
            return self.model.pretrain_loss(batch)

    whole, again = Cut(-1), Cut(-1)
    training.fit(whole, lessons(), **options)
    with pytest.raises(Off):
        training.fit(Cut(5), lessons(), checkpoint=tmp_path / "c", **options)
    training.fit(again, lessons(), checkpoint=tmp_path / "c", **options)
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("way", ["product", "paper"])
def test_a_saved_model_answers_as_before(tmp_path, way):
    model = fresh(**WAYS[way]).eval()
    saving.save(model, tmp_path, answers=["yes", "no"])
    again, more = saving.load(VLBert, tmp_path)
    assert (again.config, more) == (model.config, {"answers": ["yes", "no"]})
    assert torch.equal(scores(again, twins()), scores(model, twins()))


def test_dropout_only_in_training():
    model, b = fresh(dropout=0.5), twins()
    assert not torch.equal(scores(model.train(), b), scores(model, b))
    assert torch.equal(scores(model.eval(), b), scores(model, b))


def test_at_least_one_is_a_switch():
    torch.manual_seed(0)
    never = fresh(mask_words=0.0, mask_regions=0.0, mask_vector=True, at_least_one=False)
    assert never.pretrain_loss(lessons())["loss"].item() == 0
    always = fresh(mask_words=0.0, mask_regions=0.0, mask_vector=True)
    terms = always.pretrain_loss(lessons())
    assert terms["words"].item() > 0
    assert terms["regions"].item() > 0


# --- devices, precision ---------------------------------------------------------------------------


def fakes(config: Config, n: int, t: int, r: int) -> dict[str, torch.Tensor]:
    """Zeros of every kind, on the default device."""
    return {
        "words": torch.ones(n, t, dtype=torch.int64),
        "questions": torch.ones(n, t, dtype=torch.int64),
        "regions": torch.zeros(n, r, config.region),
        "boxes": torch.zeros(n, r, 4),
        "there": torch.ones(n, r, dtype=torch.bool),
        "classes": torch.zeros(n, r, config.classes),
        "answers": torch.zeros(n, dtype=torch.int64),
    }


@EVERY
def test_on_a_pretended_gpu(way):
    with FakeTensorMode():
        with torch.device("cuda"):
            model = VLBert(replace(SMALL, **WAYS[way], dropout=0.1))
            b = fakes(model.config, 4, 5, 3)
        found = [scores(model, b), *model.loss(b).values(), *model.pretrain_loss(b).values()]
        shown = b["regions"], b["boxes"], b["there"]
        found += [model.answer(b["words"], *shown), model.attention(b["words"], *shown).weights]
        found += [model.read(b["words"], None, None, None)[0]]
    assert {t.device.type for t in found} == {"cuda"}
    assert found[0].shape == (4, K)


def test_paper_scale_on_a_pretended_gpu():
    with FakeTensorMode():
        with torch.device("cuda"):
            model = VLBert(Config.paper())
            b = fakes(model.config, 16, 20, 37)
        terms = {**model.loss(b), **model.pretrain_loss(b)}
    assert {t.device.type for t in terms.values()} == {"cuda"}


def test_mixed_precision_stays_near_the_full():
    model = fresh()
    b = {k: v.float() if v.is_floating_point() else v for k, v in told().items()}
    full = model.pretrain_loss(b)["loss"].item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model.pretrain_loss(b)["loss"].item()
    assert mixed == pytest.approx(full, rel=0.03)


def test_half_precision_features_and_a_batch_of_one():
    model, b = fresh(), twins()
    half = b | {"regions": b["regions"].half(), "boxes": b["boxes"].half()}
    full = b | {"regions": half["regions"].float(), "boxes": half["boxes"].float()}
    assert torch.equal(scores(model, half), scores(model, full))
    one = {k: v[:1] for k, v in b.items()}
    torch.testing.assert_close(scores(model, one), scores(model, b)[:1])
    lesson = {k: v[:1] for k, v in lessons().items()}
    for terms in (model.train().loss(one), model.pretrain_loss(lesson)):
        assert terms["loss"].isfinite()


# --- bad input ------------------------------------------------------------------------------------


def test_unknown_words_only_are_a_question_all_the_same():
    words = Vocabulary(["is", "there", "a", "dog"] * 3, specials=SPECIALS)
    ids = torch.tensor([words.encode("qué hora")])
    assert ids.tolist() == [[words.id("<unk>")] * 2]
    one = {k: v[:1] for k, v in asked(questions=ids).items()}
    assert scores(build(), one | {"questions": ids}).isfinite().all()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"questions": WORDS * 0}, ValueError, "sentence 0 has no word"),
        ({"questions": WORDS[:, :0]}, ValueError, r"got \(3, 0\)"),
        ({"questions": WORDS.float()}, TypeError, "int64"),
        ({"questions": WORDS + 10}, ValueError, r"must lie in 0..16"),
        ({"questions": WORDS.repeat(1, 2).clamp(min=1)}, ValueError, "up to 8 words are too long: there are positions for 7"),
        ({"questions": WORDS[:2]}, ValueError, "3 pictures but 2 sentences"),
        ({"regions": picture()["regions"][..., :2]}, ValueError, r"regions must be \(B, R, 3\)"),
        ({"regions": picture()["regions"][:, :0]}, ValueError, "the whole picture first"),
        ({"boxes": picture()["boxes"] * 96}, ValueError, "picture 0 has a box that leaves it"),
        ({"there": ~THERE}, ValueError, "picture 1 has regions, but no whole"),
        ({"answers": torch.tensor([0, 1, 5])}, ValueError, "question 2 is not among the 5"),
        ({"answers": torch.tensor([0, -1, 1])}, ValueError, "question 1 is not among the 5"),
        ({"answers": torch.zeros(3, 5)}, TypeError, "'softmax'"),
        ({"answers": torch.tensor([0, 1])}, ValueError, r"answers must be \(3,\)"),
    ],
)  # fmt: skip
def test_bad_questions(changes, error, message):
    with pytest.raises(error, match=message):
        build().loss(asked(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"word_targets": TARGETS[:, :2]}, "word_targets must be"),
        ({"word_targets": TARGETS + 10}, "word_targets must lie in"),
        ({"masked": THERE, "replaced": THERE}, "hides region 0"),
        ({"masked": REPLACED, "replaced": MASKED}, "'replaced' must be 'masked'"),
        ({"classes": torch.ones(3, R, CLASSES)}, "picture 0 has a region whose classes"),
        ({"classes": torch.ones(3, R, 2)}, "classes must be distributions"),
        ({"words": WORDS.repeat(1, 3).clamp(min=1), "word_targets": TARGETS.repeat(1, 3)}, "up to 12 words .* for 9"),
    ],
)  # fmt: skip
def test_bad_captions(changes, message):
    with pytest.raises(ValueError, match=message):
        build().pretrain_loss(told(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({n: 0}, f"{n} must be") for n in ("vocabulary", "answers", "region", "classes", "width", "heads", "layers", "hidden", "positions")),
        ({"heads": 3}, "width 8 must be a multiple of 3 heads"),
        ({"positions": 6}, "a question of one word has 7 positions"),
        ({"geometry": "corners"}, "geometry must be one of"),
        ({"answer_loss": "hinge"}, "answer_loss must be one of"),
        ({"waves": 4}, "waves = 4 has no effect with geometry = 'product'"),
        ({"mask_regions": 0.3}, "mask_regions = 0.3 has no effect with mask_vector = False"),
        ({"mask_words": 1.5}, "mask_words must be in"),
        ({"mask_regions": -0.1, "mask_vector": True}, "mask_regions must be in"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"start": 0.0}, "start must be above 0"),
        ({"visual_gain": math.inf}, "visual_gain must be finite"),
        ({"word_gain": math.nan}, "word_gain must be finite"),
        ({"mask": 5}, "must be ids of words"),
        ({"cls": 0}, "must be ids of words"),
        ({"mask": V}, "must be ids of words"),
        ({"first": V}, "give masking.SPECIALS to the vocabulary"),
    ],
)  # fmt: skip
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


def test_bad_papers():
    with pytest.raises(ValueError, match="paper must be one of"):
        Config.paper("huge")
