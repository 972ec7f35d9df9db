"""ViLBERT: co-attention against a slow loop, both streams against two transformers that never met, its published sizes."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmtutor import vilbert
from mmtutor.kit import saving, training
from mmtutor.kit.masking import NOT_CHOSEN, Pretraining
from mmtutor.kit.regions import Picture, check_picture
from mmtutor.vilbert import Config, Connection, ViLBert

V, K, D, CLASSES, R = 17, 5, 3, 4, 4
WIDTH, REGION, SHARED, HEADS = 6, 10, 8, 2
SMALL = Config(
    vocabulary=V,
    answers=K,
    region=D,
    classes=CLASSES,
    width=WIDTH,
    heads=3,
    hidden=9,
    layers=3,
    region_width=REGION,
    region_heads=5,
    region_hidden=7,
    connections=2,
    shared=SHARED,
    shared_heads=HEADS,
    pooled=40,
    answer_hidden=12,
    answer_dropout=0.0,
    positions=9,
    dropout=0.0,
    start=0.5,
)
WAYS = {
    "product": {},
    "sum": {"geometry": "sum"},
    "hidden": {"mask_vector": True, "mask_regions": 0.4},
    "no layer alone": {"layers": 2},
    "paper": {
        "geometry": "sum",
        "answer_loss": "sigmoid",
        "aligned_only": False,
        "mask_vector": True,
        "segments": 2,
    },
}
EVERY = pytest.mark.parametrize("way", WAYS)
#: Sentences of three lengths; pictures with three, one and no region beside the whole.
WORDS = torch.tensor([[7, 8, 9, 10], [11, 12, 0, 0], [13, 0, 0, 0]])
TARGETS = torch.tensor([[-1, 8, -1, 14], [11, -1, -1, -1], [-1, -1, -1, -1]])
THERE = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]).bool()
MASKED = torch.tensor([[0, 1, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]).bool()
REPLACED = torch.tensor([[0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]).bool()


def loud(model: nn.Module) -> nn.Module:
    """Biases and norms that are not 0 and 1: at the usual start many mistakes would not show."""
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p.normal_()
    return model.double()


def build(way: str = "product", seed: int = 0, **changes: object) -> ViLBert:
    torch.manual_seed(seed)
    return loud(ViLBert(replace(SMALL, **{**WAYS[way], **changes})))


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
    """Captions in which something is hidden; the second is another picture's."""
    g = torch.Generator().manual_seed(2)
    classes = torch.randn(3, R, CLASSES, generator=g, dtype=torch.float64).softmax(-1)
    given = {"words": WORDS, "word_targets": TARGETS, "masked": MASKED, "replaced": REPLACED}
    given |= {"aligned": torch.tensor([True, False, True]), "classes": classes}
    return {**given, **picture(), **changes}


def scores(model: ViLBert, batch: dict[str, torch.Tensor], **options: object) -> torch.Tensor:
    return model(*(batch[k] for k in ("questions", "regions", "boxes", "there")), **options)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


# --- co-attention ---------------------------------------------------------------------------------


def normal(x: torch.Tensor, norm: nn.LayerNorm) -> torch.Tensor:
    y = (x - x.mean()) / (x.var(unbiased=False) + 1e-12).sqrt()
    return y * norm.weight + norm.bias


def linear(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    return layer.weight @ x + layer.bias


def slow_side(attention, norm, forward, own, other, there):
    """One stream of one sample: own (N, ·) asks, other (M, ·) answers, element by element."""
    out, d = [], SHARED // HEADS
    for x in own:
        found = []
        for head in range(HEADS):
            part = slice(head * d, (head + 1) * d)
            q = linear(attention.query, x)[part]
            pairs = [
                (
                    (q @ linear(attention.key, y)[part] / math.sqrt(d)).exp(),
                    linear(attention.value, y)[part],
                )
                for y, real in zip(other, there)
                if real
            ]
            found.append(sum(p * v for p, v in pairs) / sum(p for p, _ in pairs))
        x = normal(x + linear(attention.output, torch.cat(found)), norm)
        hidden = F.gelu(linear(forward.expand, x))
        out.append(normal(x + linear(forward.contract, hidden), forward.norm))
    return torch.stack(out)


@pytest.mark.parametrize("seed", range(3))
def test_a_connection_equals_a_slow_loop(seed):
    torch.manual_seed(seed)
    connection = loud(Connection(SMALL))
    text, regions = numbers(3, 5, WIDTH, seed=seed), numbers(3, R, REGION, seed=seed + 9)
    words = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 1], [1, 0, 0, 0, 0]]).bool()
    found = connection(text, regions, words, THERE)
    for b in range(3):
        c = connection
        wanted_text = slow_side(c.text, c.text_norm, c.text_forward, text[b], regions[b], THERE[b])
        wanted_regions = slow_side(
            c.regions, c.regions_norm, c.regions_forward, regions[b], text[b], words[b]
        )
        torch.testing.assert_close(found.text[b], wanted_text)
        torch.testing.assert_close(found.regions[b], wanted_regions)


def test_each_stream_hears_the_other_as_it_was():
    """Neither waits for what the other has found in the same connection."""
    torch.manual_seed(0)
    connection = loud(Connection(SMALL))
    text, regions = numbers(1, 3, WIDTH), numbers(1, R, REGION, seed=1)
    words, there = torch.ones(1, 3, dtype=torch.bool), torch.ones(1, R, dtype=torch.bool)
    own = connection(text, regions, words, there)
    nothing = connection(text, regions, words & False, there)
    torch.testing.assert_close(nothing.text, own.text)  # who is heard does not depend on who hears
    assert not torch.allclose(nothing.regions, own.regions)
    nothing = connection(text, regions, words, there & False)
    torch.testing.assert_close(nothing.regions, own.regions)
    assert not torch.allclose(nothing.text, own.text)


def alone(model: ViLBert, words: torch.Tensor, p: dict[str, torch.Tensor]) -> tuple:
    """Two transformers of torch's own layers, which know nothing of each other: where a connection
    stood, each has a norm and a feed-forward of its own."""

    def torchs(layer, width: int, heads: int, hidden: int):
        own = nn.TransformerEncoderLayer(
            width, heads, hidden, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True
        ).double()
        a = layer.attention
        for kind in ("weight", "bias"):
            qkv = torch.cat([getattr(x, kind) for x in (a.query, a.key, a.value)])
            getattr(own.self_attn, f"in_proj_{kind}").data.copy_(qkv)
            for mine, theirs in (
                (a.output, own.self_attn.out_proj),
                (layer.norm, own.norm1),
                (layer.feed_forward.expand, own.linear1),
                (layer.feed_forward.contract, own.linear2),
                (layer.feed_forward.norm, own.norm2),
            ):
                getattr(theirs, kind).data.copy_(getattr(mine, kind))
        return own.train()

    c = model.config
    first = c.layers - c.connections
    text, real = model.embed_text(words)
    for i, layer in enumerate(model.text_layers):
        if i >= first:
            connection = model.connections[i - first]
            text = connection.text_forward(connection.text_norm(text))
        text = torchs(layer, c.width, c.heads, c.hidden)(text, src_key_padding_mask=~real)
    gone = torch.zeros_like(p["there"])
    regions = model.embed_regions(Picture(**p), gone)
    for connection, layer in zip(model.connections, model.region_layers):
        regions = connection.regions_forward(connection.regions_norm(regions))
        own = torchs(layer, c.region_width, c.region_heads, c.region_hidden)
        regions = own(regions, src_key_padding_mask=~p["there"])
    return text, regions, real


@EVERY
def test_with_the_other_stream_masked_out_it_is_two_transformers(way):
    model, p = build(way), picture()
    p["regions"], p["boxes"] = (p[k] * THERE[..., None] for k in ("regions", "boxes"))
    streams = model.read(WORDS, *p.values(), meet=False)
    text, regions, real = alone(model, WORDS, p)
    torch.testing.assert_close(streams.text[real], text[real])
    torch.testing.assert_close(streams.regions[THERE], regions[THERE])
    # and what the other stream holds does not matter at all
    other = model.read(WORDS, *picture(seed=7).values(), meet=False)
    assert torch.equal(other.text, streams.text)
    other = model.read(WORDS.flip(0), *p.values(), meet=False)
    assert torch.equal(other.regions, streams.regions)
    # but it does where they meet
    met = model.read(WORDS, *p.values())
    assert not torch.allclose(met.text, streams.text)
    assert not torch.allclose(met.regions, streams.regions)


def test_the_order_of_layers():
    """Text layers alone; then in turn a connection, a region layer and a text layer."""
    model, order = build(), []
    for name, part in model.named_modules():
        if name.count(".") == 1 and name.split(".")[0] in (
            "text_layers",
            "region_layers",
            "connections",
        ):
            part.register_forward_hook(lambda *_, name=name: order.append(name))
    model.read(WORDS, *picture().values())
    assert order == [
        "text_layers.0",
        "connections.0",
        "text_layers.1",
        "region_layers.0",
        "connections.1",
        "text_layers.2",
        "region_layers.1",
    ]


def test_where_the_streams_look():
    model, p = build(), picture()
    looks = model.attention(WORDS, *p.values())
    assert looks.to_regions.shape == (3, 2, HEADS, 6, R)
    assert looks.to_words.shape == (3, 2, HEADS, R, 6)
    for weights in looks[:2]:
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert not looks.to_regions[~THERE[:, None, None, None].expand_as(looks.to_regions)].any()
    real = F.pad(WORDS, (1, 1), value=1) != 0
    assert not looks.to_words[~real[:, None, None, None].expand_as(looks.to_words)].any()
    assert looks.words == slice(1, 5)
    # the first connection by hand
    text, mask = model.embed_text(WORDS)
    text = model.text_layers[0](text, mask)
    seen = model.embed_regions(check_picture(*p.values(), D, 3, torch.float64), MASKED & False)
    c = model.connections[0]
    torch.testing.assert_close(looks.to_regions[:, 0], c.text.weights(text, seen, THERE))
    torch.testing.assert_close(looks.to_words[:, 0], c.regions.weights(seen, text, mask))


# --- the elements ---------------------------------------------------------------------------------


@EVERY
def test_the_elements_by_hand(way):
    model, p = build(way), picture()
    x, real = model.embed_text(WORDS)
    for b in range(3):
        ids = [SMALL.cls, *(w for w in WORDS[b].tolist() if w), SMALL.sep]
        for i, (word, at) in enumerate(zip(ids, real[b].nonzero()[:, 0])):
            total = model.words.weight[word] + model.positions.weight[i] + model.segments.weight[0]
            torch.testing.assert_close(x[b, at], normal(total, model.text_norm))
    seen = model.embed_regions(Picture(**p), REPLACED)
    for b, r in THERE.nonzero().tolist():
        v = p["regions"][b, r]
        if model.config.mask_vector:
            if REPLACED[b, r]:
                v = torch.zeros(D).double()
            elif r == 0 and THERE[b, 1:].any():
                left = [
                    p["regions"][b, i] for i in range(1, R) if THERE[b, i] and not REPLACED[b, i]
                ]
                v = sum(left, torch.zeros(D).double()) / max(len(left), 1)
        x1, y1, x2, y2 = p["boxes"][b, r].tolist()
        box = torch.tensor([x1, y1, x2, y2, (x2 - x1) * (y2 - y1)]).double()
        if model.config.geometry == "product":
            where = torch.tensor([x1 + x2 - 1, y1 + y2 - 1, x2 - x1, y2 - y1]).double()
            content = linear(model.features.content, v) * (0.3 + where @ model.features.places)
        else:
            content = linear(model.features, v)
        wanted = normal(content + linear(model.boxes, box), model.regions_norm)
        torch.testing.assert_close(seen[b, r], wanted)


def test_pooling_is_relu_and_the_product():
    model = build()
    streams = model.read(WORDS, *picture().values())
    for b in range(3):
        text = linear(model.text_pooler, streams.text[b, 0]).relu()
        whole = linear(model.region_pooler, streams.regions[b, 0]).relu()
        torch.testing.assert_close(model.fuse(streams)[b], text * whole)


# --- what may not matter, and what must -----------------------------------------------------------


def padded(b: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    longer = dict(b)
    for name in {"regions", "boxes", "classes"} & b.keys():
        longer[name] = F.pad(b[name], (0, 0, 0, 5), value=0.5)
    for name in {"there", "masked", "replaced", "questions", "words"} & b.keys():
        longer[name] = F.pad(b[name], (0, 3 if name in ("questions", "words") else 5))
    if "word_targets" in b:
        longer["word_targets"] = F.pad(b["word_targets"], (0, 3), value=NOT_CHOSEN)
    return longer


@EVERY
def test_padding_changes_nothing(way):
    model, b = build(way), asked()
    wanted = scores(model, b)
    torch.testing.assert_close(scores(model, padded(b)), wanted)
    for i in range(3):
        one = {k: v[i : i + 1] for k, v in b.items()}
        one["questions"] = one["questions"][:, : int((WORDS[i] != 0).sum())]
        count = int(THERE[i].sum())
        one |= {k: one[k][:, :count] for k in ("regions", "boxes", "there")}
        torch.testing.assert_close(scores(model, one)[0], wanted[i])
    found, terms = model.pretrain_loss(padded(told())), model.pretrain_loss(told())
    for name in terms:
        torch.testing.assert_close(found[name], terms[name])


@EVERY
def test_the_order_of_regions_carries_no_meaning(way):
    model, p, mixed = build(way), picture(), torch.tensor([0, 3, 1, 2])
    x = model.read(WORDS, *p.values(), REPLACED)
    y = model.read(WORDS, *(v[:, mixed] for v in p.values()), REPLACED[:, mixed])
    torch.testing.assert_close(y.text, x.text)
    torch.testing.assert_close(y.regions, x.regions[:, mixed])


@EVERY
def test_everything_is_heard(way):
    model, b = build(way), asked()
    wanted, other = scores(model, b), picture(seed=5)
    boxes = torch.where(torch.arange(R)[:, None] > 0, other["boxes"], b["boxes"])
    for change in (
        {"questions": WORDS.flip(0)},
        {"questions": torch.tensor([[10, 9, 8, 7], [12, 11, 0, 0], [14, 0, 0, 0]])},
        {"regions": other["regions"]},
        {"boxes": boxes},
        {"there": torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]).bool()},
    ):
        assert not torch.allclose(scores(model, asked(**change))[0], wanted[0]), change


@pytest.mark.parametrize("way", ["hidden", "paper"])
def test_a_hidden_region_is_not_seen(way):
    model, b = build(way), told()
    other = b["regions"].clone()
    other[REPLACED] += 3
    other[:2, 0] -= 5  # the whole is made anew of what can be seen
    found, wanted = model.pretrain_loss({**b, "regions": other}), model.pretrain_loss(b)
    assert found["loss"].item() == pytest.approx(wanted["loss"].item(), rel=1e-12)
    plain = build()  # its vectors are read as they come: their pixels are hidden already
    assert plain.pretrain_loss({**b, "regions": other})["loss"] != plain.pretrain_loss(b)["loss"]


# --- the losses -----------------------------------------------------------------------------------


@EVERY
def test_the_losses_of_pretraining_by_hand(way):
    model, b = build(way), told()
    streams = model.read(WORDS, b["regions"], b["boxes"], THERE, REPLACED)
    said, named, matched = [], [], []
    for i in range(3):
        if b["aligned"][i] or not model.config.aligned_only:
            for t in range(4):
                if TARGETS[i, t] >= 0:
                    y = model.word_head.transform(streams.text[i, 1 + t])
                    p = (model.words.weight @ y + model.word_head.bias).softmax(0)
                    said.append(-p[TARGETS[i, t]].log())
            for r in range(R):
                if MASKED[i, r]:
                    q = model.region_head(streams.regions[i, r]).softmax(0)
                    named.append(sum(p * (p / q).log() for p, q in zip(b["classes"][i, r], q)))
        label = 0 if b["aligned"][i] else 1
        matched.append(-model.align_head(model.fuse(streams)[i]).softmax(0)[label].log())
    terms = model.pretrain_loss(b)
    assert (len(said), len(named)) == ((2, 2) if model.config.aligned_only else (3, 3))
    wanted = [sum(x) / len(x) for x in (said, named, matched)]
    for name, value in zip(("words", "regions", "align"), wanted):
        torch.testing.assert_close(terms[name], value)
    torch.testing.assert_close(terms["loss"], sum(wanted))
    told_so = model.aligned(WORDS, b["regions"], b["boxes"], THERE)
    assert bool(((told_so > 0) & (told_so < 1)).all())


@EVERY
def test_the_loss_of_questions(way):
    model, b = build(way), asked()
    found = scores(model, b)
    by_softmax = F.cross_entropy(found, b["answers"])
    hot = F.one_hot(b["answers"], K).double()
    by_sigmoid = F.binary_cross_entropy_with_logits(found, hot) * K
    wanted = by_sigmoid if model.config.answer_loss == "sigmoid" else by_softmax
    torch.testing.assert_close(model.loss(b)["loss"], wanted)
    answers = model.answer(*itertools.islice(b.values(), 4))
    assert torch.equal(answers, found.argmax(1))
    assert model.loss(b)["right"].item() == pytest.approx(
        (answers == b["answers"]).float().mean().item()
    )


def test_swapped_captions_keep_their_words_and_lose_their_picture():
    """Without 'aligned' the model swaps half of them; over many draws half are its own."""
    model, b = build(), told()
    for name in ("aligned", "word_targets", "masked", "replaced", "classes"):
        b.pop(name)
    seen = []
    inner = model.read

    def watched(words, *args, **options):
        seen.append(words)
        return inner(words, *args, **options)

    model.read = watched
    model.config = replace(model.config, mask_words=0.0, at_least_one=False)
    for seed in range(60):
        torch.manual_seed(seed)
        model.pretrain_loss(b)
    own = torch.stack([(words == WORDS).all(1) for words in seen]).float().mean()
    assert 0.4 < own.item() < 0.6
    model.config = replace(model.config, swapped=0.0)
    model.pretrain_loss(b)
    assert torch.equal(seen.pop(), WORDS)
    rows = {tuple(row) for words in seen for row in words.tolist()}
    assert rows == {tuple(row) for row in WORDS.tolist()}


def test_hidden_words_must_say_whose_they_are():
    b = told()
    b.pop("aligned")
    with pytest.raises(ValueError, match="must say which are 'aligned'"):
        build().pretrain_loss(b)


@pytest.mark.parametrize("way", ["product", "paper"])
def test_a_batch_in_which_nothing_is_hidden_is_never_nan(way):
    """The authors' program divides by zero here."""
    model = build(way)
    nothing = told(
        word_targets=torch.full_like(TARGETS, NOT_CHOSEN), masked=torch.zeros_like(MASKED)
    )
    nothing.pop("replaced")
    terms = model.pretrain_loss(nothing)
    assert [terms[n].item() for n in ("words", "regions", "words right", "regions right")] == [
        0.0
    ] * 4
    torch.testing.assert_close(terms["loss"], terms["align"])
    none_aligned = build().pretrain_loss(told(aligned=torch.zeros(3, dtype=torch.bool)))
    assert none_aligned["words"].item() == none_aligned["regions"].item() == 0
    assert none_aligned["loss"].isfinite()


@EVERY
def test_everything_hidden(way):
    model, every = build(way), THERE & (torch.arange(R) > 0)
    hidden = told(
        words=torch.where(WORDS != 0, SMALL.mask, 0),
        word_targets=WORDS.masked_fill(WORDS == 0, NOT_CHOSEN),
        masked=every,
        replaced=every,
    )
    terms = model.pretrain_loss(hidden)
    terms["loss"].backward()
    assert all(t.isfinite() for t in terms.values())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@EVERY
def test_no_picture_at_all_is_never_nan(way):
    model = build(way)
    blind = torch.zeros_like(THERE)
    found = scores(model, asked(there=blind))
    assert found.isfinite().all()
    terms = model.pretrain_loss(told(there=blind))
    terms["loss"].backward()
    assert terms["regions"].item() == 0
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    streams = model.read(WORDS, *{**picture(), "there": blind}.values())
    apart = model.read(WORDS, *picture().values(), meet=False)
    torch.testing.assert_close(streams.text, apart.text)


class Both(nn.Module):
    """The losses of captions and of questions together."""

    def __init__(self, model: ViLBert) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.model.pretrain_loss(told(regions=x))["loss"]
        return found + self.model.loss(asked(regions=x))["loss"]


@EVERY
def test_gradients_against_finite_differences(way):
    model = build(way)
    names, values = zip(*((n, p.detach().requires_grad_()) for n, p in model.named_parameters()))
    x = picture()["regions"].requires_grad_()

    def loss(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        weights = {f"model.{n}": v for n, v in zip(names, values)}
        return torch.func.functional_call(Both(model), weights, (x,))

    assert torch.autograd.gradcheck(loss, (x, *values), fast_mode=True)


@EVERY
def test_every_weight_gets_a_gradient(way):
    model, x = build(way), picture()["regions"].requires_grad_()
    Both(model)(x).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().sum() > 0, name
    assert not x.grad[~THERE].any()


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("connections", "trunk"),
    [(2, 157_465_600), (4, 202_096_128), (6, 246_726_656), (8, 291_357_184)],
)
def test_the_published_parameters(connections, trunk):
    """The authors' connection has two layers (1024 → 1024 and 1024 → 768) that nothing reads."""
    with torch.device("meta"):
        model = ViLBert(Config.paper(connections))
    part = {name: training.parameter_count(child) for name, child in model.named_children()}
    unread = connections * (1024 * 1024 + 1024 + 1024 * 768 + 768)
    own = sum(count for name, count in part.items() if not name.endswith("head"))
    assert own + unread == trunk
    assert part["connections"] + unread == connections * 16_013_568
    assert part["text_layers"] == 12 * 7_087_872
    assert part["region_layers"] == connections * 6_301_696
    if connections == 6:
        assert unread == 11_020_800
        heads = part["word_head"] + part["region_head"] + part["align_head"]
        assert trunk + heads == 250_044_029
        poolers = part["text_pooler"] + part["region_pooler"]
        assert trunk - part["words"] - poolers == 221_448_704
        # two layers, each with one length for all of its weights
        assert part["answer_head"] == 1024 * 2048 + 2048 + 2048 * 3129 + 3129 + 2


def test_a_setting_may_be_called_as_the_first_argument_of_a_method():
    assert Config.paper(cls=7).cls == 7
    assert Config.world(30, 5, cls=7).cls == 7


def test_paper_scale_shapes():
    config = Config.paper()
    with torch.device("meta"):
        model = ViLBert(config)
        words = torch.empty(2, 20, dtype=torch.long)
        shown = torch.empty(2, 37, 2048), torch.empty(2, 37, 4), torch.empty(2, 37).bool()
        streams = model.read(words, *shown)
        assert streams.text.shape == (2, 22, 768)
        assert streams.regions.shape == (2, 37, 1024)
        assert model.fuse(streams).shape == (2, 1024)
        assert model(words, *shown).shape == (2, 3129)
        assert model.word_head(streams.text, model.words.weight).shape == (2, 22, 30_522)
        assert model.region_head(streams.regions).shape == (2, 37, 1601)
        looks = model.attention(words, *shown)
        assert looks.to_regions.shape == (2, 6, 8, 22, 37)
        assert looks.to_words.shape == (2, 6, 8, 37, 22)
    assert (config.cls, config.sep, config.mask, config.first) == (101, 102, 103, 0)
    assert (config.mask_vector, config.aligned_only, config.answer_loss) == (True, False, "sigmoid")


def test_the_answers_weights_have_one_length():
    torch.manual_seed(0)
    model = ViLBert(SMALL)
    layer = model.answer_head[0]
    length, direction = (
        layer.parametrizations.weight.original0,
        layer.parametrizations.weight.original1,
    )
    assert length.numel() == 1
    torch.testing.assert_close(layer.weight, length * direction / direction.norm())


# --- training -------------------------------------------------------------------------------------


def fresh(seed: int = 0, **changes: object) -> ViLBert:
    torch.manual_seed(seed)
    wide = {"width": 24, "hidden": 32, "region_width": 25, "pooled": 32, "answer_hidden": 32}
    return ViLBert(replace(SMALL, start=0.2, **{**wide, **changes}))


def twins() -> dict[str, torch.Tensor]:
    """Four questions of each of two pictures: neither the picture alone nor the question alone can tell."""
    p = {k: v.repeat_interleave(4, 0) for k, v in picture(2).items()}
    p = {k: v.float() if v.is_floating_point() else v for k, v in p.items()}
    questions = torch.tensor([[8, 9, 0], [10, 7, 11], [13, 0, 0], [14, 8, 10]]).repeat(2, 1)
    return {"questions": questions, **p, "answers": torch.tensor([0, 1, 2, 3, 1, 0, 3, 2])}


def lessons() -> dict[str, torch.Tensor]:
    """Captions of which words and regions are drawn to be hidden, and half are swapped."""
    data = twins()
    data["words"] = data.pop("questions")
    data["classes"] = F.one_hot(torch.arange(8 * R).view(8, R) % CLASSES, CLASSES).float()
    del data["answers"]
    return data


@EVERY
def test_overfits_one_batch_if_the_streams_meet(way):
    model, data = fresh(**WAYS[way]), twins()
    training.fit(model, data, epochs=150, batch_size=8, lr=5e-3, progress=False)
    assert model.loss(data)["right"].item() == 1


def test_overfits_what_is_hidden_and_who_belongs_together():
    data = lessons() | {"masked": torch.zeros(8, R, dtype=torch.bool)}
    data["masked"][:, 1] = True
    data["word_targets"] = torch.full_like(data["words"], NOT_CHOSEN)
    data["word_targets"][:, 0] = torch.arange(8) + 7
    data["words"][:, 0] = SMALL.mask
    data["aligned"] = torch.tensor([1, 0, 1, 0, 0, 1, 0, 1]).bool()
    data["classes"][4:] = data["classes"][:4].clone()  # a hidden one-thing picture cannot tell more
    model = fresh(aligned_only=False)
    training.fit(Pretraining(model), data, epochs=250, batch_size=8, lr=5e-3, progress=False)
    terms = model.pretrain_loss(data)
    assert [terms[f"{n} right"].item() for n in ("words", "regions", "align")] == [1.0] * 3


@pytest.mark.parametrize("what", ["questions", "captions"])
def test_same_seed_same_result(what):
    def run(seed: int) -> torch.Tensor:
        model = fresh(seed, dropout=0.2, answer_dropout=0.2, mask_vector=True)
        pair = (Pretraining(model), lessons()) if what == "captions" else (model, twins())
        training.fit(*pair, epochs=3, batch_size=3, seed=seed, progress=False)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_a_checkpoint_resumes_exactly(tmp_path):
    """Pre-training too: what is hidden and swapped is drawn anew at each step, and the same after a break."""
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
    again, more = saving.load(ViLBert, tmp_path)
    assert (again.config, more) == (model.config, {"answers": ["yes", "no"]})
    assert torch.equal(scores(again, twins()), scores(model, twins()))


def test_dropout_only_in_training():
    model, b = fresh(dropout=0.5, answer_dropout=0.5), twins()
    assert not torch.equal(scores(model.train(), b), scores(model, b))
    assert torch.equal(scores(model.eval(), b), scores(model, b))


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
            model = ViLBert(replace(SMALL, **WAYS[way], dropout=0.1))
            b = fakes(model.config, 4, 5, 3)
        found = [scores(model, b), *model.loss(b).values(), *model.pretrain_loss(b).values()]
        shown = b["words"], b["regions"], b["boxes"], b["there"]
        found += [model.answer(*shown), model.aligned(*shown), *model.attention(*shown)[:2]]
        found += [*model.read(*shown, meet=False)]
    assert {t.device.type for t in found} == {"cuda"}
    assert found[0].shape == (4, K)


def test_paper_scale_on_a_pretended_gpu():
    with FakeTensorMode():
        with torch.device("cuda"):
            model = ViLBert(Config.paper())
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
    unknown = WORDS.where(WORDS == 0, torch.tensor(3))
    assert scores(build(), asked(questions=unknown)).isfinite().all()


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
        ({"regions": None}, TypeError, "regions must be a tensor"),
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
        ({"aligned": torch.ones(3)}, "aligned must be bool"),
        ({"aligned": torch.ones(2).bool()}, r"aligned must be bool of shape \(3,\)"),
        ({"words": WORDS.repeat(1, 3).clamp(min=1), "word_targets": TARGETS.repeat(1, 3)}, "up to 12 words .* for 7"),
    ],
)  # fmt: skip
def test_bad_captions(changes, message):
    with pytest.raises(ValueError, match=message):
        build().pretrain_loss(told(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({n: 0}, f"{n} must be") for n in (
            "vocabulary", "answers", "region", "classes", "width", "heads", "hidden", "layers", "region_width",
            "region_heads", "region_hidden", "connections", "shared", "shared_heads", "pooled", "positions", "segments",
        )),
        ({"heads": 4}, "width 6 must be a multiple of 4 heads"),
        ({"region_heads": 3}, "region_width 10 must be a multiple of 3 heads"),
        ({"shared_heads": 3}, "shared 8 must be a multiple of 3 heads"),
        ({"connections": 4}, "4 connections need as many layers, got 3"),
        ({"positions": 2}, "a sentence of one word has 3 positions"),
        ({"geometry": "sines"}, "geometry must be one of"),
        ({"answer_loss": "hinge"}, "answer_loss must be one of"),
        ({"mask_regions": 0.3}, "mask_regions = 0.3 has no effect with mask_vector = False"),
        ({"mask_words": 1.5}, "mask_words must be in"),
        ({"swapped": -0.1}, "swapped must be in"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"answer_dropout": -0.1}, "answer_dropout must be in"),
        ({"start": 0.0}, "start must be above 0"),
        ({"mask": 5}, "must be ids of words"),
        ({"first": V}, "give masking.SPECIALS to the vocabulary"),
    ],
)  # fmt: skip
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


def test_the_labels_of_the_authors():
    assert (vilbert.ALIGNED, vilbert.RANDOM) == (0, 1)
