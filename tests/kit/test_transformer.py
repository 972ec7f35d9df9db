"""BERT's layer: attention against a slow loop, the whole layer against torch's own (and transformers', if it is there)."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmtutor.kit import training
from mmtutor.kit.transformer import (
    Attention,
    FeedForward,
    Layer,
    Transform,
    WordHead,
    first_weights,
)

B, N, M, WIDTH, OTHER, HEADS, INNER = 3, 4, 5, 6, 7, 2, 8
THERE = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 1, 0], [0, 0, 0, 0, 0]]).bool()


def build(seed: int = 0, **changes: object) -> Attention:
    torch.manual_seed(seed)
    given = {"width": WIDTH, "heads": HEADS, "other": OTHER, "inner": INNER, **changes}
    return Attention(**given).double().eval()


def elements(n: int, width: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(B, n, width, generator=generator, dtype=torch.float64)


def slow(model: Attention, x: torch.Tensor, y: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """Row by row, head by head, element by element."""
    d, out = INNER // HEADS, torch.zeros_like(x)
    for b, n in itertools.product(range(len(x)), range(x.shape[1])):
        found = []
        for head in range(HEADS):
            part = slice(head * d, (head + 1) * d)
            q = (model.query.weight @ x[b, n] + model.query.bias)[part]
            powers, values = [], []
            for m in range(y.shape[1]):
                if there[b, m]:
                    k = (model.key.weight @ y[b, m] + model.key.bias)[part]
                    powers.append(math.exp((q @ k).item() / math.sqrt(d)))
                    values.append((model.value.weight @ y[b, m] + model.value.bias)[part])
            found.append(
                sum((p / sum(powers) * v for p, v in zip(powers, values)), torch.zeros(d).double())
            )
        if there[b].any():
            out[b, n] = model.output.weight @ torch.cat(found) + model.output.bias
    return out


@pytest.mark.parametrize("seed", range(3))
def test_attention_equals_the_slow_loop(seed):
    model, x, y = build(seed), elements(N, WIDTH, seed), elements(M, OTHER, seed + 9)
    torch.testing.assert_close(model(x, y, THERE), slow(model, x, y, THERE))


def test_the_weights_are_those_of_the_output():
    model, x, y = build(), elements(N, WIDTH), elements(M, OTHER)
    alpha = model.weights(x, y, THERE)
    assert alpha.shape == (B, HEADS, N, M)
    torch.testing.assert_close(alpha[:2].sum(-1), torch.ones(2, HEADS, N).double())
    assert not alpha[1, :, :, ~THERE[1]].any()
    assert not alpha[2].any()
    value = model.value(y).view(B, M, HEADS, -1)
    read = torch.einsum("bhnm,bmhd->bnhd", alpha, value).flatten(2)
    torch.testing.assert_close(model(x, y, THERE)[:2], model.output(read)[:2])


def test_where_nothing_is_there_nothing_is_found_and_nothing_is_nan():
    model, x, y = build(), elements(N, WIDTH), elements(M, OTHER)
    y = y.requires_grad_()
    found = model(x, y, THERE)
    assert not found[2].any()
    found.square().sum().backward()
    for g in (y.grad, *(p.grad for p in model.parameters())):
        assert g.isfinite().all()
    assert not y.grad[2].any()
    assert not y.grad[1, ~THERE[1]].any()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), size=st.floats(0, 1e3))
def test_what_stands_where_nothing_is_does_not_matter(seed, size):
    model, x, y = build(seed), elements(N, WIDTH, seed), elements(M, OTHER, seed + 1)
    other = torch.where(THERE[..., None], y, size * y + 1)
    torch.testing.assert_close(model(x, other, THERE), model(x, y, THERE))
    longer = F.pad(y, (0, 0, 0, 6), value=3.0)
    torch.testing.assert_close(model(x, longer, F.pad(THERE, (0, 6))), model(x, y, THERE))


def test_the_order_of_those_who_answer_does_not_matter():
    model, x, y = build(), elements(N, WIDTH), elements(M, OTHER)
    mixed = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(model(x, y[:, mixed], THERE[:, mixed]), model(x, y, THERE))


def twin(layer: Layer, width: int, heads: int, hidden: int) -> nn.TransformerEncoderLayer:
    """Torch's own layer, normalised afterwards, with the same weights."""
    torchs = nn.TransformerEncoderLayer(
        width, heads, hidden, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True
    ).double()
    a = layer.attention
    attention = torchs.self_attn
    for kind in ("weight", "bias"):
        qkv = torch.cat([getattr(part, kind) for part in (a.query, a.key, a.value)])
        getattr(attention, f"in_proj_{kind}").data.copy_(qkv)
        for mine, theirs in (
            (a.output, attention.out_proj),
            (layer.norm, torchs.norm1),
            (layer.feed_forward.expand, torchs.linear1),
            (layer.feed_forward.contract, torchs.linear2),
            (layer.feed_forward.norm, torchs.norm2),
        ):
            getattr(theirs, kind).data.copy_(getattr(mine, kind))
    return torchs


def layer_of(seed: int = 0, dropout: float = 0.0) -> Layer:
    torch.manual_seed(seed)
    layer = Layer(WIDTH, HEADS, 11, dropout).double()
    for p in layer.parameters():
        p.data.normal_()
    return layer


@pytest.mark.parametrize("seed", range(3))
def test_a_layer_equals_torchs(seed):
    layer, x, there = layer_of(seed), elements(M, WIDTH, seed), THERE[:2]
    torchs, x = twin(layer, WIDTH, HEADS, 11).train(), x[:2].requires_grad_()
    for there in (THERE[:2], torch.ones_like(THERE[:2])):
        found, wanted = layer(x, there), torchs(x, src_key_padding_mask=~there)
        torch.testing.assert_close(found, wanted)
        (slope,) = torch.autograd.grad(found.pow(3).sum(), x, retain_graph=True)
        (other,) = torch.autograd.grad(wanted.pow(3).sum(), x)
        torch.testing.assert_close(slope, other)


def test_a_layer_equals_the_bert_of_transformers():
    bert = pytest.importorskip("transformers.models.bert.modeling_bert")
    config = bert.BertConfig(
        hidden_size=WIDTH,
        num_attention_heads=HEADS,
        intermediate_size=11,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=1e-12,
        attn_implementation="eager",
    )
    layer, theirs = layer_of(), bert.BertLayer(config).double().eval()
    a, their = layer.attention, theirs.attention
    pairs = (
        (a.query, their.self.query),
        (a.key, their.self.key),
        (a.value, their.self.value),
        (a.output, their.output.dense),
        (layer.norm, their.output.LayerNorm),
        (layer.feed_forward.expand, theirs.intermediate.dense),
        (layer.feed_forward.contract, theirs.output.dense),
        (layer.feed_forward.norm, theirs.output.LayerNorm),
    )
    for mine, other in pairs:
        other.load_state_dict(mine.state_dict())
    x, there = elements(M, WIDTH)[:2], THERE[:2]
    mask = (~there)[:, None, None].double() * -10_000
    wanted = theirs(x, mask)
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    torch.testing.assert_close(layer(x, there), wanted)


def test_gradients_against_finite_differences():
    layer, x = layer_of().eval(), elements(M, WIDTH).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: layer(x, THERE), (x,), fast_mode=True)


def test_elements_that_are_not_there_get_no_gradient():
    layer, x = layer_of(), elements(M, WIDTH)[:2].requires_grad_()
    layer(x, THERE[:2])[THERE[:2]].pow(3).sum().backward()
    assert not x.grad[~THERE[:2]].any()
    assert x.grad[THERE[:2]].any(-1).all()


def test_dropout_only_in_training():
    layer, x = layer_of(dropout=0.5), elements(M, WIDTH)
    assert not torch.equal(layer(x, THERE), layer(x, THERE))
    layer.eval()
    assert torch.equal(layer(x, THERE), layer(x, THERE))
    torch.testing.assert_close(layer(x, THERE), layer_of()(x, THERE))


def test_sizes_in_closed_form():
    assert training.parameter_count(build()) == (WIDTH + 1 + 2 * (OTHER + 1)) * INNER + 9 * WIDTH
    with torch.device("meta"):
        assert training.parameter_count(Layer(768, 12, 3072)) == 7_087_872
        assert training.parameter_count(Layer(1024, 8, 1024)) == 6_301_696
        assert training.parameter_count(WordHead(768, 30_522)) == 622_650
        assert training.parameter_count(Transform(1024)) == 1_051_648


def test_a_hidden_word_is_said_with_the_table():
    torch.manual_seed(0)
    head, table, x = WordHead(WIDTH, 9), torch.randn(9, WIDTH), torch.randn(2, 3, WIDTH)
    head.bias.data.normal_()
    norm = nn.LayerNorm(WIDTH, 1e-12)
    t = norm(F.gelu(x @ head.transform[0].weight.T + head.transform[0].bias))
    torch.testing.assert_close(head(x, table), t @ table.T + head.bias)


def test_first_weights():
    torch.manual_seed(0)
    model = nn.ModuleDict({"layer": Layer(64, 4, 256), "words": nn.Embedding(100, 64)})
    first_weights(model, 0.02)
    for name, p in model.named_parameters():
        if "norm" in name:
            assert bool((p == (1 if name.endswith("weight") else 0)).all())
        elif name.endswith("bias"):
            assert not p.any()
        else:
            assert p.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_finite_and_near(dtype):
    """−10,000 fits into half precision."""
    layer, x = layer_of().float(), elements(M, WIDTH).float()
    with torch.autocast("cpu", dtype=dtype):
        found = layer(x, THERE)
    assert found.isfinite().all()
    torch.testing.assert_close(found.float(), layer(x, THERE), atol=0.15, rtol=0.1)


def test_on_a_pretended_gpu():
    with FakeTensorMode():
        with torch.device("cuda"):
            layer, attention = Layer(8, 2, 16, 0.1), Attention(8, 2, 0.1, other=6, inner=4)
            x, y = torch.zeros(2, 3, 8), torch.zeros(2, 5, 6)
            there = torch.ones(2, 5, dtype=torch.bool)
        found = [
            layer(x, there[:, :3]),
            attention(x, y, there),
            attention.weights(x, y, there),
        ]
    assert [tuple(t.shape) for t in found] == [(2, 3, 8), (2, 3, 8), (2, 2, 3, 5)]
    assert {t.device.type for t in found} == {"cuda"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Attention(0, 2), "width must be a whole number, at least 1, got 0"),
        (lambda: Attention(8, 0), "heads must be"),
        (lambda: Attention(8, True), "heads must be"),
        (lambda: Attention(8, 3), "8 numbers cannot be shared out among 3 heads"),
        (lambda: Attention(8, 2, inner=7), "7 numbers cannot be shared out"),
        (lambda: Attention(8, 2, 1.0), r"dropout must be in \[0, 1\)"),
        (lambda: FeedForward(8, 0), "hidden must be"),
        (lambda: Layer(8, 2, 2.5), "hidden must be a whole number"),
    ],
)
def test_bad_sizes(make, message):
    with pytest.raises(ValueError, match=message):
        make()
