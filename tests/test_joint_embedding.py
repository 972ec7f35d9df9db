"""Joint embedding: losses against enumeration and other libraries' numbers, towers against loops, one process against two."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from launching import launch
from torch._subclasses.fake_tensor import FakeTensorMode

from mmtutor import joint_embedding, word2vec
from mmtutor.joint_embedding import (
    FALSE_NEGATIVES,
    LOSSES,
    TEXTS,
    Config,
    JointEmbedding,
    Pairs,
    arithmetic,
    binary_nce,
    code_of,
    draw_wrong,
    encode_texts,
    info_nce,
    known_true,
    packed,
    ranking_hinge,
    unit,
)
from mmtutor.kit import retrieval, training
from mmtutor.kit.text import Vocabulary

V, C, E, W = 11, 6, 5, 4
KINDS = pytest.mark.parametrize(("text", "loss"), list(itertools.product(TEXTS, LOSSES)))
#: Texts of several lengths.
TEXT = torch.tensor([[4, 5, 6, 7], [8, 9, 0, 0], [10, 0, 0, 0], [4, 4, 9, 0]])
EYE = torch.eye(6, dtype=torch.bool)
KNOWN = torch.zeros(6, 6, dtype=torch.bool)
KNOWN[[0, 3, 4, 5], [2, 1, 5, 4]] = True


def on_circle(shift: float) -> torch.Tensor:
    """Six unit vectors without a generator, so that other programs can make them too."""
    i = torch.arange(24, dtype=torch.float64).view(6, 4)
    return F.normalize(torch.sin(1.7 * i + shift) + 0.3 * torch.cos(0.9 * i * i), dim=1)


PICTURES, TEXTS_OF_THEM = on_circle(0.0), on_circle(1.0)
S = PICTURES @ TEXTS_OF_THEM.T


def log(x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64).log()


# --- losses: the numbers of others ----------------------------------------------------------------


def test_hinges_by_hand():
    s = torch.tensor([[0.9, 0.8, 0.1], [0.3, 0.5, 0.6], [0.2, 0.4, 0.7]]).double()
    # margin 0.2; rows: 0.8 costs 0.1; 0.3 nothing (exactly on the margin), 0.6 costs 0.3; nothing
    # columns: nothing; 0.8 costs 0.5, 0.4 costs 0.1; 0.6 costs 0.1
    assert ranking_hinge(s, 0.2).item() == pytest.approx(0.1 + 0.3 + 0.5 + 0.1 + 0.1)
    assert ranking_hinge(s, 0.2, hardest=True).item() == pytest.approx(0.1 + 0.3 + 0.5 + 0.1)
    known = torch.zeros(3, 3, dtype=torch.bool)
    known[0, 1] = True  # takes 0.8 out of its row and of its column
    assert ranking_hinge(s, 0.2, also_true=known).item() == pytest.approx(0.3 + 0.1 + 0.1)
    assert ranking_hinge(s, 0.2, True, known).item() == pytest.approx(0.3 + 0.1 + 0.1)


def test_info_nce_by_hand():
    s = torch.tensor([[1.0, 0.0], [0.5, 0.5]]).double()
    e = math.e
    rows = -math.log(e**2 / (e**2 + 1)) + math.log(2)
    columns = -math.log(e**2 / (e**2 + e)) - math.log(e / (1 + e))
    assert info_nce(s, log(2.0)).item() == pytest.approx((rows + columns) / 4)
    known = torch.tensor([[False, False], [True, False]])
    rows, columns = -math.log(e**2 / (e**2 + 1)), -math.log(e / (1 + e))
    assert info_nce(s, log(2.0), known).item() == pytest.approx((rows + columns) / 4)


def test_binary_nce_by_hand():
    s = torch.tensor([[1.0, 0.0], [0.5, -0.5]]).double()

    def told(x):
        return -math.log(1 / (1 + math.exp(-x)))

    bias = torch.tensor(-1.0)
    pairs = told(2 - 1) + told(-1 - 1)
    wrong = told(-(0 - 1)) + told(-(1 - 1))
    assert binary_nce(s, log(2.0), bias).item() == pytest.approx((pairs + wrong) / 2)
    drawn = torch.tensor([[False, True], [False, False]])
    wrong = told(-(0 - 1))
    assert binary_nce(s, log(2.0), bias, drawn).item() == pytest.approx((pairs + wrong) / 2)
    assert binary_nce(s, log(2.0), bias, drawn, drawn).item() == pytest.approx(pairs / 2)


# Computed with pytorch-metric-learning 2.9.0 on PICTURES and TEXTS_OF_THEM, both directions added (hinges, SumReducer,
# TripletMarginLoss on cosine similarity; the hardest by BatchHardMiner) or averaged (NTXentLoss with the other side as
# ``ref_emb``); masked: the same with the pairs of KNOWN left out of its lists of negatives.
@pytest.mark.parametrize(
    ("margin", "total", "hardest", "masked"),
    [
        (0.2, 14.297133468774751, 6.1190542462049, 11.804309353090748),
        (0.6, 27.31898113928893, 10.35089111713122, 22.95722516200556),
    ],
)
def test_hinges_equal_pytorch_metric_learning(margin, total, hardest, masked):
    assert ranking_hinge(S, margin).item() == pytest.approx(total, rel=1e-12)
    assert ranking_hinge(S, margin, hardest=True).item() == pytest.approx(hardest, rel=1e-12)
    assert ranking_hinge(S, margin, also_true=KNOWN).item() == pytest.approx(masked, rel=1e-12)


@pytest.mark.parametrize(
    ("scale", "plain", "masked"),
    [
        (1 / 0.07, 5.154213993694401, 4.745021442282953),
        (3.0, 1.821999220890513, 1.6368380592609717),
    ],
)
def test_info_nce_equals_pytorch_metric_learning_and_open_clip(scale, plain, masked):
    """open_clip 3.3.0's ClipLoss gives 5.1542139936944 and 1.821999220890513."""
    assert info_nce(S, log(scale)).item() == pytest.approx(plain, rel=1e-12)
    assert info_nce(S, log(scale), KNOWN).item() == pytest.approx(masked, rel=1e-12)


@pytest.mark.parametrize(
    ("scale", "bias", "total"),
    [
        (1 / 0.07, -10.0, 8.40077761830129),
        (1 / 0.07, -1.5, 25.776832682762215),
        (3.0, -10.0, 8.364011383429178),
        (3.0, -1.5, 4.187597986369716),
    ],
)
def test_binary_nce_of_all_pairs_equals_open_clips_siglip_loss(scale, bias, total):
    """Computed with SigLipLoss of open_clip 3.3.0."""
    assert binary_nce(S, log(scale), torch.tensor(bias)).item() == pytest.approx(total, rel=1e-12)


def test_binary_nce_of_drawn_pairs_is_word2vecs_negative_sampling():
    drawn = draw_wrong(~EYE, 3)
    logits = 5 * S - 0.7
    wanted = word2vec.negative_sampling_loss(logits.diagonal(), logits[drawn].view(6, 3)).mean()
    torch.testing.assert_close(binary_nce(S, log(5.0), torch.tensor(-0.7), drawn), wanted)


# --- losses: against loops and torch --------------------------------------------------------------


def enumerated(name: str, s: torch.Tensor, known: torch.Tensor) -> float:
    """The four losses in plain Python: γ = 7, b = −0.3, α = 0.2."""
    s, size, total = s.tolist(), len(s), 0.0
    for i in range(size):
        row = [s[i][j] for j in range(size) if j != i and not known[i, j]]
        column = [s[j][i] for j in range(size) if j != i and not known[j, i]]
        if name in ("ranking", "hardest"):
            for others in (row, column):
                costs = [max(0.0, 0.2 - s[i][i] + x) for x in others] or [0.0]
                total += sum(costs) if name == "ranking" else max(costs)
        elif name == "info_nce":
            for others in (row, column):
                below = sum(math.exp(7 * x) for x in [s[i][i], *others])
                total -= math.log(math.exp(7 * s[i][i]) / below) / (2 * size)
        else:
            pairs = [(s[i][i], 1)] + [(x, -1) for x in row]
            total += sum(math.log1p(math.exp(-y * (7 * x - 0.3))) for x, y in pairs) / size
    return total


def computed(name: str, s: torch.Tensor, known: torch.Tensor | None) -> torch.Tensor:
    if name in ("ranking", "hardest"):
        return ranking_hinge(s, 0.2, name == "hardest", known)
    if name == "info_nce":
        return info_nce(s, log(7.0), known)
    return binary_nce(s, log(7.0), torch.tensor(-0.3, dtype=torch.float64), None, known)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [1, 2, 5, 9])
@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_losses_equal_plain_python(name, size, share):
    dice = torch.Generator().manual_seed(size)
    s = torch.rand(size, size, generator=dice, dtype=torch.float64) * 2 - 1
    eye = torch.eye(size, dtype=torch.bool)
    known = (torch.rand(size, size, generator=dice) < share) & ~eye
    wanted = enumerated(name, s, known)
    assert computed(name, s, known).item() == pytest.approx(wanted)
    if share == 0:
        assert computed(name, s, None).item() == pytest.approx(wanted)
    # pictures and texts exchanged: the same but for binary NCE, whose drawn pairs are one a row
    assert computed(name, s.T, known.T).item() == pytest.approx(wanted)


def test_info_nce_is_two_cross_entropies():
    target = torch.arange(6)
    wanted = (F.cross_entropy(9 * S, target) + F.cross_entropy(9 * S.T, target)) / 2
    assert info_nce(S, log(9.0)).item() == pytest.approx(wanted.item(), rel=1e-14)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("known", [None, KNOWN])
def test_gradients(name, known):
    s = S.clone().requires_grad_()
    tau, bias = log(3.0).requires_grad_(), torch.tensor(-0.4, dtype=torch.float64).requires_grad_()
    if name in ("ranking", "hardest"):
        assert torch.autograd.gradcheck(lambda x: computed(name, x, known), s)
    elif name == "info_nce":
        assert torch.autograd.gradcheck(lambda x, t: info_nce(x, t, known), (s, tau))
    else:
        drawn = draw_wrong(~EYE, 2)
        for d in (None, drawn):
            assert torch.autograd.gradcheck(
                lambda x, t, b, d=d: binary_nce(x, t, b, d, known), (s, tau, bias)
            )


def test_masked_pairs_get_no_gradient_and_all_others_do():
    for name in LOSSES:
        s = S.clone().requires_grad_()
        computed(name, s, KNOWN).backward()
        assert bool((s.grad[KNOWN] == 0).all())
        if name in ("nce", "info_nce"):
            assert bool((s.grad[~KNOWN] != 0).all())


# --- losses: the edges ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ranking", "hardest", "info_nce"])
@pytest.mark.parametrize("size", [1, 3])
def test_with_nothing_to_compare_the_loss_is_nothing(name, size):
    """A batch of one, and a batch in which all is true of all."""
    s = torch.rand(size, size, dtype=torch.float64).requires_grad_()
    loss = computed(name, s, ~torch.eye(size, dtype=torch.bool))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert s.grad.abs().max().item() == pytest.approx(0, abs=1e-12)


def test_binary_nce_then_has_its_true_pairs_only():
    s = torch.full((1, 1), 0.5, dtype=torch.float64)
    assert computed("nce", s, None).item() == pytest.approx(math.log1p(math.exp(-3.5 + 0.3)))


def test_one_row_without_negatives_leaves_the_others_alone():
    known = torch.zeros(6, 6, dtype=torch.bool)
    known[2] = True
    known &= ~EYE
    for name in LOSSES:
        s = S.clone().requires_grad_()
        loss = computed(name, s, known)
        loss.backward()
        assert loss.item() == pytest.approx(enumerated(name, S, known))
        assert bool(torch.isfinite(s.grad).all())
        assert loss.item() > 0.1


def test_two_equal_captions_cost_a_coin_toss_unless_they_are_masked():
    """Perfect otherwise: every other cosine is −1, γ is large."""
    s = torch.full((4, 4), -1.0, dtype=torch.float64)
    s.fill_diagonal_(1)
    s[0, 1] = s[1, 0] = 1  # two pictures, one caption
    known = torch.zeros(4, 4, dtype=torch.bool)
    known[0, 1] = known[1, 0] = True
    assert info_nce(s, log(50.0)).item() == pytest.approx(math.log(2) / 2)  # two of four rows
    assert info_nce(s, log(50.0), known).item() == pytest.approx(0, abs=1e-9)
    assert ranking_hinge(s, 0.2).item() == pytest.approx(4 * 0.2)
    assert ranking_hinge(s, 0.2, also_true=known).item() == 0


@pytest.mark.parametrize("cosine", [0.0, 0.5, 1.0])
def test_the_plateau_of_a_collapsed_model(cosine):
    """Faghri et al.'s program stands still at 51.2 for a batch of 128 and a margin of 0.2."""
    s = torch.full((128, 128), cosine)
    assert ranking_hinge(s, 0.2, hardest=True).item() == pytest.approx(51.2, rel=1e-5)
    assert ranking_hinge(s, 0.2).item() == pytest.approx(2 * 128 * 127 * 0.2, rel=1e-5)
    assert info_nce(s, log(14.3)).item() == pytest.approx(math.log(128), rel=1e-5)


def test_the_scale_is_cut_at_a_hundred():
    assert info_nce(S, log(100.0)).item() == info_nce(S, log(5000.0)).item()
    bias = torch.tensor(0.0)
    assert (
        binary_nce(S, log(100.0), bias).item()
        == binary_nce(S, log(5000.0), bias).item()
        != binary_nce(S, log(99.0), bias).item()
    )


@pytest.mark.parametrize("k", [1, 3, 5, 9])
def test_wrong_texts_are_drawn_evenly_and_never_a_true_one(k):
    torch.manual_seed(0)
    known = KNOWN.clone()
    known[1] = ~EYE[1]  # nothing to draw
    draws = torch.stack([draw_wrong(~known & ~EYE, k) for _ in range(2000)]).float()
    assert not bool(draws[:, known | EYE].any())
    left = (~(known | EYE)).sum(1)
    assert draws.sum(2).unique(dim=0).tolist() == [left.clamp(max=k).tolist()]
    mean = draws.mean(0)
    for row in range(6):
        share = mean[row][~(known | EYE)[row]]
        # two-sided, four standard errors
        wanted = min(1, k / max(1, int(left[row])))
        assert bool(((share - wanted).abs() <= 4 * math.sqrt(wanted * (1 - wanted) / 2000)).all())


BAD = [
    (torch.ones(3, 4), None, ValueError, r"scores must be \(B, B\).*got \(3, 4\)"),
    (torch.ones(0, 0), None, ValueError, "B at least 1"),
    (torch.ones(3), None, ValueError, r"got \(3,\)"),
    (torch.ones(3, 3).long(), None, TypeError, "floating point"),
    ([[1.0]], None, TypeError, "got list"),
    (torch.full((3, 3), math.nan), None, ValueError, "the scores hold NaN or infinity"),
    (torch.ones(3, 3), torch.ones(3, 3), TypeError, "also_true must be a boolean tensor"),
    (torch.ones(3, 3), KNOWN, ValueError, r"also_true must be \(3, 3\), got \(6, 6\)"),
    (torch.ones(6, 6), EYE, ValueError, "also_true marks the pair 0 itself"),
    (torch.ones(3, 3), [[True]], TypeError, "got list"),
]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("scores", "known", "error", "message"), BAD)
def test_bad_scores(name, scores, known, error, message):
    with pytest.raises(error, match=message):
        computed(name, scores, known)


def test_a_true_pair_cannot_be_drawn():
    with pytest.raises(ValueError, match="drawn marks the pair 0 itself"):
        binary_nce(S, log(1.0), log(1.0), EYE)


# --- what is known to be true ---------------------------------------------------------------------


def test_known_true_by_hand():
    picture = torch.tensor([7, 7, 3, 5])
    code = torch.tensor([1, 2, 2, 3])  # the second text of picture 7 is also that of picture 3
    found = known_true(picture, code)
    wanted = torch.zeros(4, 4, dtype=torch.bool)
    wanted[0, 1] = wanted[1, 0] = True  # one picture, two texts
    wanted[1, 2] = wanted[2, 1] = True  # one text, two pictures
    wanted[0, 2] = True  # an equal text was written for picture 7
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("pictures", [1, 8, 9, 30])
def test_the_packed_truth_is_the_truth(pictures):
    dice = torch.Generator().manual_seed(pictures)
    true = torch.rand(pictures, 50, generator=dice) < 0.3
    rows = torch.randint(50, (12,), generator=dice)
    picture = torch.randint(pictures, (12,), generator=dice)
    bits = packed(true)
    assert bits.shape == (50, -(-pictures // 8))
    assert torch.equal(bits, packed(true.numpy()))
    found = known_true(picture, torch.arange(12), bits[rows])
    same = picture[:, None] == picture[None]
    wanted = (true[picture][:, rows] | same) & ~torch.eye(12, dtype=torch.bool)
    assert torch.equal(found, wanted)
    with pytest.raises(TypeError, match=r"boolean \(N, M\), got int64"):
        packed(true.long())


def test_equal_texts_have_equal_codes_whatever_the_padding():
    dice = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 4, (3000, 6), generator=dice)
    length = torch.randint(1, 7, (3000, 1), generator=dice)
    ids = ids * (torch.arange(6) < length)
    found = code_of(ids, ids != 0)
    words = [tuple(row[row != 0].tolist()) for row in ids]
    assert len(set(words)) == len(set(found.tolist())) > 500
    assert len(set(zip(words, found.tolist()))) == len(set(words))
    wide = F.pad(ids, (0, 5))
    assert torch.equal(code_of(wide, wide != 0), found)
    junk = torch.where(ids == 0, 3, ids)
    assert torch.equal(code_of(junk, ids != 0), found)  # where the mask says so


# --- the sphere and the towers --------------------------------------------------------------------


def test_unit_vectors():
    x = torch.randn(50, 7, dtype=torch.float64)
    torch.testing.assert_close(unit(x), F.normalize(x, dim=1))
    assert torch.equal(unit(torch.zeros(2, 7)), torch.zeros(2, 7))
    assert unit(x.half()).dtype == unit(x.bfloat16()).dtype == torch.float32
    assert unit(x).dtype == torch.float64
    for length in (0.0, 1e-30, 1e-13, 1e-6, 1e9):
        y = (x * length).requires_grad_()
        unit(y)[:, 0].sum().backward()
        assert bool(torch.isfinite(unit(y)).all())
        assert bool(torch.isfinite(y.grad).all())
    assert torch.autograd.gradcheck(unit, x[:3].clone().requires_grad_())


def build(text: str = "gru", seed: int = 0, **changes: object) -> JointEmbedding:
    torch.manual_seed(seed)
    sizes = {"image": C, "joint": E} | ({"words": W} if text == "gru" else {}) | changes
    model = JointEmbedding(Config(V, text=text, **sizes)).double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim:
                p.add_(torch.randn_like(p), alpha=0.5)
            if name == "words.weight":
                p[0] = 0
    return model.eval()


def features(n: int = 4, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, C, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def read_by_hand(model: JointEmbedding, words: list[int]) -> torch.Tensor:
    """The vector of one text, gate by gate; no torch.nn, no batch. The gates lie in the order r, z, n."""
    w = dict(model.named_parameters())
    rows = [w["words.weight"][i] for i in words]
    if model.config.text == "sum":
        v = sum(rows)
        return v / v.square().sum().sqrt()
    n = model.config.joint
    h = torch.zeros(n, dtype=rows[0].dtype)
    for x in rows:
        a = w["sentence.weight_ih_l0"] @ x + w["sentence.bias_ih_l0"]
        b = w["sentence.weight_hh_l0"] @ h + w["sentence.bias_hh_l0"]
        r = 1 / (1 + torch.exp(-a[:n] - b[:n]))
        z = 1 / (1 + torch.exp(-a[n : 2 * n] - b[n : 2 * n]))
        h = (1 - z) * torch.tanh(a[2 * n :] + r * b[2 * n :]) + z * h
    return h / h.square().sum().sqrt()


@pytest.mark.parametrize("text", TEXTS)
def test_towers_equal_a_loop_written_by_hand(text):
    model, x = build(text), features()
    pictures, texts = model.embed_pictures(x), model.embed_texts(TEXT)
    w = dict(model.named_parameters())
    for k, words in enumerate(TEXT.tolist()):
        v = w["image.weight"] @ x[k] + w["image.bias"]
        torch.testing.assert_close(pictures[k], v / v.square().sum().sqrt())
        torch.testing.assert_close(texts[k], read_by_hand(model, [i for i in words if i]))
    scores = model({"features": x, "texts": TEXT})
    torch.testing.assert_close(scores, pictures @ texts.T)
    assert bool((scores.abs() <= 1 + 1e-12).all())


@pytest.mark.parametrize("text", TEXTS)
def test_padding_changes_nothing(text):
    model = build(text)
    found = model.embed_texts(TEXT)
    torch.testing.assert_close(model.embed_texts(F.pad(TEXT, (0, 3))), found)
    torch.testing.assert_close(model.embed_texts(TEXT[1:2, :2]), found[1:2])
    junk = torch.where(TEXT == 0, 7, TEXT)
    torch.testing.assert_close(model.embed_texts(junk, TEXT != 0), found)
    assert not torch.allclose(model.embed_texts(junk), found)


def test_the_sum_forgets_the_order_and_the_gru_does_not():
    turned = TEXT[:1].flip(1)
    for text, forgets in (("sum", True), ("gru", False)):
        model = build(text)
        a, b = model.embed_texts(TEXT[:1]), model.embed_texts(turned)
        assert torch.allclose(a, b) == forgets


def test_a_map_is_laid_out_flat():
    model = build(image=24)
    x = torch.randn(3, 4, 2, 3, dtype=torch.float64)
    assert torch.equal(model.embed_pictures(x), model.embed_pictures(x.flatten(1)))


def test_detectors_are_the_same_at_each_place():
    torch.manual_seed(0)
    model = JointEmbedding(Config(V, (3, 2, 2), E, "sum", detectors=5)).double().eval()
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    w = {name: p.detach() for name, p in model.named_parameters()}
    for one, got in zip(x, model.embed_pictures(x).detach()):
        found = [
            max(0.0, float(w["detectors.weight"][k, :, 0, 0] @ one[:, i, j] + b))
            for k, b in enumerate(w["detectors.bias"].tolist())
            for i in range(2)
            for j in range(2)
        ]
        v = w["image.weight"] @ torch.tensor(found, dtype=torch.float64) + w["image.bias"]
        torch.testing.assert_close(got, v / v.square().sum().sqrt())
    # a map without detectors is what its numbers are when laid out flat
    torch.manual_seed(0)
    flat = JointEmbedding(Config(V, 12, E, "sum")).double().eval()
    torch.manual_seed(0)
    known = JointEmbedding(Config(V, [3, 2, 2], E, "sum")).double().eval()  # as read from a file
    assert known.config.image == (3, 2, 2)
    assert torch.equal(flat.embed_pictures(x), known.embed_pictures(x))
    with pytest.raises(ValueError, match=r"\(B, 3, 2, 2\)"):
        known.embed_pictures(x.flatten(1))


@pytest.mark.parametrize("text", TEXTS)
def test_vectors_of_zeros_make_no_nan(text):
    model = build(text, loss="info_nce")
    with torch.no_grad():
        model.image.bias.zero_()
        model.words.weight[4:6] = torch.tensor([[1.0], [-1.0]]).double()
    ids = TEXT.clone()
    ids[0] = torch.tensor([4, 5, 0, 0])  # two words whose sum is nothing
    x = features()
    x[1] = 0
    pictures, texts = model.embed_pictures(x), model.embed_texts(ids)
    assert torch.equal(pictures[1], torch.zeros(E).double())
    assert (text == "gru") == bool(texts[0].any())
    model.loss({"features": x, "texts": ids})["loss"].backward()
    for p in model.parameters():
        assert bool(torch.isfinite(p.grad).all())
        assert p.grad.abs().max() < 1e3


def test_dropout_only_in_training():
    model, batch = build(dropout=0.5), {"features": features(), "texts": TEXT}
    assert torch.equal(model(batch), model(batch))
    model.train()
    assert not torch.equal(model(batch), model(batch))


# --- sizes and the start --------------------------------------------------------------------------


def count(model: torch.nn.Module, *parts: str) -> int:
    return sum(training.parameter_count(getattr(model, p)) for p in parts)


@pytest.mark.parametrize(("which", "loss"), [("vse++", "hardest"), ("kiros", "ranking")])
def test_parameters_of_the_papers_sizes(which, loss):
    model = JointEmbedding(Config.paper(which))
    assert count(model, "words", "sentence") == 7_073_472
    assert count(model, "sentence") == 4_073_472
    assert count(model, "image") == 4_195_328
    assert training.parameter_count(model) == 11_268_800
    # the authors' program of 2014 has one set of biases in its GRU: 4,070,400
    assert training.parameter_count(model) - 3 * 1024 == 11_265_728
    assert (model.config.loss, model.config.margin) == (loss, 0.2)
    assert model.log_scale is None


def test_parameters_of_clips_heads_and_of_the_linear_encoder():
    model = JointEmbedding(Config.paper("clip"))
    assert count(model, "words") == 49_408 * 512
    assert count(model, "image") == 768 * 512 + 512
    assert model.log_scale.item() == pytest.approx(2.6593, abs=1e-4)
    assert training.parameter_count(model) == 49_408 * 512 + 768 * 512 + 512 + 1_575_936 + 1
    linear = JointEmbedding(Config.paper("kiros", text="sum"))
    assert training.parameter_count(linear) == 10_000 * 1024 + 4_195_328


def test_training_begins_as_in_vse():
    torch.manual_seed(0)
    model = JointEmbedding(Config.paper())
    limit = math.sqrt(6 / (4096 + 1024))
    assert model.image.weight.abs().max().item() == pytest.approx(limit, rel=1e-3)
    assert model.words.weight.abs().max().item() == pytest.approx(0.1, rel=1e-3)
    assert bool((model.words.weight[0] == 0).all())
    assert bool((model.image.bias == 0).all())


def test_an_untrained_model_knows_nothing():
    """InfoNCE begins near log B; binary NCE near what one true pair among k + 1 costs."""
    torch.manual_seed(0)
    x, ids = torch.randn(64, 300), torch.randint(4, 200, (64, 7))
    model = JointEmbedding(Config(200, image=300, joint=256, loss="info_nce", temperature=1.0))
    assert model.loss({"features": x, "texts": ids})["loss"].item() == pytest.approx(
        math.log(64), rel=0.02
    )
    model = JointEmbedding(
        Config(200, image=300, joint=256, loss="nce", negatives=5, temperature=1.0)
    )
    wanted = math.log(6) + 5 * math.log(6 / 5)
    assert model.loss({"features": x, "texts": ids})["loss"].item() == pytest.approx(
        wanted, rel=0.02
    )


# --- the model's loss -----------------------------------------------------------------------------


@KINDS
def test_the_models_loss_is_the_loss_of_its_scores(text, loss):
    changes = {"margin": 0.3} if loss in ("ranking", "hardest") else {"temperature": 0.2}
    model, batch = build(text, loss=loss, **changes), {"features": features(), "texts": TEXT}
    torch.manual_seed(3)
    terms = model.loss(batch)
    s = model(batch)
    torch.manual_seed(3)
    wanted = {
        "ranking": lambda: ranking_hinge(s, 0.3),
        "hardest": lambda: ranking_hinge(s, 0.3, hardest=True),
        "info_nce": lambda: info_nce(s, log(5.0)),
        "nce": lambda: binary_nce(
            s, log(5.0), -log(8.0), draw_wrong(~torch.eye(4, dtype=torch.bool), 8)
        ),
    }[loss]()
    torch.testing.assert_close(terms["loss"], wanted)
    right = (s.argmax(1) == torch.arange(4)).double().mean().item()
    assert terms["first"].item() == pytest.approx(right)
    assert set(terms) == {"loss", "first"} | ({"scale"} if loss in ("nce", "info_nce") else set())
    assert not terms["first"].requires_grad
    if "scale" in terms:
        assert terms["scale"].item() == pytest.approx(5)


@pytest.mark.parametrize("loss", LOSSES)
def test_false_negatives_are_masked_or_kept(loss):
    masks, keeps = (build(loss=loss, false_negatives=f) for f in ("mask", "keep"))
    assert set(FALSE_NEGATIVES) == {"mask", "keep"}
    batch = {"features": features(), "texts": TEXT[[0, 1, 1, 3]]}
    true = torch.rand(20, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    picture = torch.tensor([11, 12, 13, 11])

    def value(model, **more):
        torch.manual_seed(0)
        return model.loss(batch | more)["loss"].item()

    plain = value(keeps)
    by_number = known_true(picture, torch.tensor([1, 2, 2, 3]))
    by_truth = known_true(picture, torch.tensor([1, 2, 2, 3]), packed(true))
    assert 0 < int(by_number.sum()) < int(by_truth.sum()) < 12
    for known, more in (
        (by_number, {"picture": picture}),
        (by_truth, {"picture": picture, "true_of": packed(true)}),
    ):
        found = value(masks, **more)
        assert found == value(masks, also_true=known)  # said in another way
        assert found != plain
        assert value(keeps, **more) == plain
    with pytest.raises(ValueError, match=r"needs to know what is true: give 'picture'"):
        value(masks)


def test_a_collapsed_model_is_never_first():
    model = build(loss="info_nce")
    with torch.no_grad():
        model.image.weight.zero_()
    assert model.loss({"features": features(), "texts": TEXT[[0, 0, 0, 0]]})["first"].item() == 0


@pytest.mark.parametrize("loss", ["nce", "info_nce"])
def test_a_scale_beyond_the_limit_is_brought_back_and_can_move_again(loss):
    model = build(loss=loss).float().train()
    with torch.no_grad():
        model.log_scale.fill_(9.0)
    terms = model.loss({"features": features().float(), "texts": TEXT})
    assert terms["scale"].item() == pytest.approx(100, rel=1e-5)
    terms["loss"].backward()
    assert model.log_scale.grad.abs().item() > 0


def test_scores_are_never_computed_in_half_precision():
    model = build(loss="info_nce").float()
    batch = {"features": features().float(), "texts": TEXT}
    with torch.autocast("cpu", torch.bfloat16):
        pictures, texts = model.embed_pair(batch)
        scores = model(batch)
    assert pictures.dtype == texts.dtype == scores.dtype == torch.float32
    torch.testing.assert_close(scores, pictures @ texts.T)
    torch.testing.assert_close(scores, model(batch), atol=0.05, rtol=0.05)


# --- training -------------------------------------------------------------------------------------


def fresh(text: str = "gru", loss: str = "info_nce", **changes: object) -> JointEmbedding:
    torch.manual_seed(0)
    sizes = {"image": C, "joint": 16} | ({"words": 8} if text == "gru" else {})
    return JointEmbedding(Config(V, text=text, loss=loss, **{**sizes, **changes}))


def learn(model: JointEmbedding, data: Pairs, **options: object) -> training.History:
    settings = {"lr": 2e-2, "batch_size": 4, "seed": 0, "progress": False, "collate": dict}
    return training.fit(model, data, **settings | options)


@KINDS
def test_learns_four_pairs_by_heart(text, loss):
    model, data = fresh(text, loss), Pairs(features().float(), TEXT)
    before = retrieval.both_ways(model.embed_pictures(data.features), model.embed_texts(TEXT))
    learn(model, data, epochs=120)
    for ranks in retrieval.both_ways(model.embed_pictures(data.features), model.embed_texts(TEXT)):
        assert ranks.scores() == {"R@1": 1, "R@5": 1, "R@10": 1, "median rank": 1}
    assert min(r.recall(1) for r in before) < 1
    if loss in ("ranking", "hardest"):
        assert model.loss(data[0] | data.__getitems__(range(4)))["loss"].item() == 0


def test_without_the_pictures_it_cannot():
    model = fresh()
    data = Pairs(features(1).float().expand(4, -1), TEXT)
    learn(model, data, epochs=120)
    assert model.loss(data.__getitems__(range(4)))["loss"].item() > math.log(4) - 0.1


def test_same_seed_same_result():
    models = [fresh(loss="nce", dropout=0.3, negatives=2) for _ in range(3)]
    data = Pairs(features().float(), TEXT)
    losses = [
        learn(m, data, epochs=5, batch_size=3, seed=s).losses for m, s in zip(models, (5, 5, 6))
    ]
    assert losses[0] == losses[1] != losses[2]
    for a, b in zip(models[0].parameters(), models[1].parameters()):
        assert torch.equal(a, b)


@pytest.mark.parametrize("broken_off", [1, 4])
@pytest.mark.parametrize("loss", ["nce", "info_nce", "hardest"])
def test_a_checkpoint_resumes_exactly(tmp_path, loss, broken_off):
    torch.manual_seed(1)
    true = torch.rand(6, 10) < 0.3
    owner = torch.tensor([0, 1, 2, 3, 4, 5, 0, 1, 2, 3])
    true[owner, torch.arange(10)] = True
    data = Pairs(torch.randn(6, C), torch.randint(1, V, (10, 5)), owner, true)
    options = {"epochs": 3, "batch_size": 4, "checkpoint_every": 1}

    def new():
        return fresh(loss=loss, dropout=0.3, false_negatives="mask")

    whole = new()
    learn(whole, data, checkpoint=tmp_path / "whole", **options)

    class Off(Exception):
        pass

    class Cut(torch.nn.Module):
        """The same model, which dies at a step."""

        def __init__(self, left):
            super().__init__()
            self.model, self.left = new(), left

        def loss(self, batch):
            if self.left == 0:
                raise Off
            self.left -= 1
            return self.model.loss(batch)

    with pytest.raises(Off):
        learn(Cut(broken_off), data, checkpoint=tmp_path / "broken", **options)
    again = Cut(-1)
    learn(again, data, checkpoint=tmp_path / "broken", **options)
    for a, b in zip(whole.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("loss", LOSSES)
def test_training_in_half_precision(loss):
    model, data = fresh(loss=loss), Pairs(features().float(), TEXT)
    history = learn(model, data, epochs=60, precision="bf16")
    assert history.losses["loss"][-1] < history.losses["loss"][0] / 2
    assert all(p.dtype == torch.float32 for p in model.parameters())


@KINDS
@pytest.mark.parametrize("which", ["vse++", "clip"])
def test_forward_and_loss_on_pretended_cuda(monkeypatch, text, loss, which):
    """Every tensor that is made on the way must be on the device of the weights. (torch cannot pretend its own GRU
    kernel; a product of the same tensors stands in for it.)"""

    def pretended(x, h, weights, *settings):
        return torch.tanh(x @ weights[0].T)[..., : h.shape[-1]] + h[0][:, None], h

    monkeypatch.setattr(torch._VF, "gru", pretended)
    with FakeTensorMode(), torch.backends.cudnn.flags(enabled=False):
        with torch.device("cuda"):
            config = Config.paper(which, text=text, loss=loss, false_negatives="mask")
            model = JointEmbedding(config).train()
        batch = {
            "features": torch.zeros(64, config.image, device="cuda"),
            "texts": torch.ones(64, 17, dtype=torch.int64, device="cuda"),
            "mask": torch.ones(64, 17, dtype=torch.bool, device="cuda"),
            "picture": torch.ones(64, dtype=torch.int64, device="cuda"),
            "true_of": torch.ones(64, 9, dtype=torch.uint8, device="cuda"),
        }
        scores, terms = model(batch), model.loss(batch)
    assert scores.shape == (64, 64)
    assert {t.device.type for t in (scores, *terms.values())} == {"cuda"}


# --- two processes --------------------------------------------------------------------------------

TWO = """
import os, sys, torch
sys.path.insert(0, {tests!r})
import test_joint_embedding as t
done = {{name: t.in_processes(**t.SPREAD[name]) for name in t.SPREAD}}
torch.save(done, f"{{sys.argv[1]}}/{{torch.distributed.get_rank()}}.pt")
torch.distributed.barrier()
os._exit(0)  # torch itself aborts now and then when it takes gloo down, even where nothing was sent
"""

SPREAD = {
    f"{loss} {false}": {"loss": loss, "false_negatives": false}
    for loss, false in itertools.product(LOSSES, FALSE_NEGATIVES)
} | {"sum": {"text": "sum"}, "bits": {"false_negatives": "mask", "bits": True}}


def in_processes(batch_size: int = 5, bits: bool = False, **changes: object):
    """Train on 23 texts of 9 pictures: rounds of 5 and 5, 5 and 5, 2 and 1."""
    dice = torch.Generator().manual_seed(0)
    ids = torch.randint(1, V, (23, 6), generator=dice) * (
        torch.arange(6) < torch.randint(1, 7, (23, 1), generator=dice)
    )
    ids[5] = ids[6]  # an equal caption of another picture
    owner = torch.arange(23) % 9
    true = torch.rand(9, 23, generator=dice) < 0.3
    true[owner, torch.arange(23)] = True
    data = Pairs(torch.randn(9, C, generator=dice), ids, owner, true if bits else None)
    model = fresh(**changes)
    history = learn(
        model,
        data,
        epochs=2,
        batch_size=batch_size,
        lr=0.05,
        clip=0.5,
        optimizer=torch.optim.SGD,
        log_every=1,
    )
    return {"weights": [p.detach() for p in model.parameters()], "losses": history.losses}


def test_two_processes_do_what_one_does_with_the_double_batch(tmp_path):
    """Every text is a negative of every picture of the step, wherever they are, and all gradients are right."""
    script = tmp_path / "two.py"
    script.write_text(TWO.format(tests=str(Path(__file__).parent)))
    done = launch(script, tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"{i}.pt", weights_only=True) for i in (0, 1))
    for name, settings in SPREAD.items():
        alone = in_processes(batch_size=10, **settings)
        small = in_processes(batch_size=5, **settings)  # what would come out without the others
        for a, b, wanted in zip(
            first[name]["weights"], second[name]["weights"], alone["weights"], strict=True
        ):
            assert torch.equal(a, b), name
            torch.testing.assert_close(a, wanted, atol=2e-6, rtol=1e-5, msg=name)
        assert len(first[name]["losses"]["loss"]) == 6
        for term, values in alone["losses"].items():
            assert first[name]["losses"][term] == pytest.approx(values, rel=1e-4), (name, term)
        assert small["losses"]["loss"][0] != pytest.approx(alone["losses"]["loss"][0], rel=1e-2)


def test_one_process_refuses_nothing_and_several_refuse_a_table_of_their_own(monkeypatch):
    model = build(false_negatives="mask").train()
    batch = {"features": features(), "texts": TEXT, "also_true": torch.zeros(4, 4).bool()}
    model.loss(batch)
    monkeypatch.setattr(joint_embedding, "several", lambda: True)
    with pytest.raises(ValueError, match="knows one process only; give 'picture'"):
        model.loss(batch)


# --- data -----------------------------------------------------------------------------------------


def test_sentences_and_tags_become_ids():
    vocabulary = Vocabulary(["a", "dog", "ice cream", "sees"])
    ids = encode_texts(["A dog sees a dog.", ["ice cream"], ("dog", "dog")], vocabulary)
    words = [[vocabulary.words[i] for i in row if i] for row in ids]
    assert words == [["a", "dog", "sees", "a", "dog"], ["ice cream"], ["dog", "dog"]]
    assert ids.shape == (3, 5)
    assert encode_texts(["cat"], vocabulary).tolist() == [[vocabulary.ids["<unk>"]]]
    letters = encode_texts(["dog"], Vocabulary(list("dog")), split=list)
    assert letters.shape == (1, 3)
    strict = Vocabulary(["dog", "<pad>"], specials=("<pad>",))
    with pytest.raises(KeyError, match=r"'dgo' is not among .* did you mean 'dog'"):
        encode_texts(["dgo"], strict)
    with pytest.raises(ValueError, match="text 1 has no word: ' , '"):
        encode_texts(["a", " , "], vocabulary)
    with pytest.raises(ValueError, match=r"text 0 has no word: \[\]"):
        encode_texts([[]], vocabulary)
    with pytest.raises(ValueError, match="at least one sequence"):
        encode_texts([], vocabulary)
    with pytest.raises(TypeError, match="a sequence of texts, got one str"):
        encode_texts("a dog", vocabulary)
    with pytest.raises(ValueError, match="must begin with <pad>, got 'a'"):
        encode_texts(["a"], Vocabulary(["a"], specials=()))


def test_pairs_hand_out_whole_batches():
    owner, x = torch.tensor([2, 0, 2, 1]), features(3).half()
    true = torch.ones(3, 4, dtype=torch.bool)
    data = Pairs(x, TEXT, owner, true)
    batch = data.__getitems__([1, 2])
    assert torch.equal(batch["features"], x[[0, 2]].float())
    assert torch.equal(batch["texts"], TEXT[[1, 2], :2])  # no longer than needed
    assert batch["picture"].tolist() == [0, 2]
    assert torch.equal(batch["true_of"], packed(true)[[1, 2]])
    assert len(data) == 4
    assert data[3]["texts"].tolist() == [[4, 4, 9]]
    assert set(Pairs(x, TEXT[:3])[0]) == {"features", "texts", "picture"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((features(3), TEXT), ValueError, r"there are 3 pictures, but owners 0\.\.3"),
        ((features(), TEXT, [0, 1, 2]), ValueError, r"picture must be \(4,\), got \(3,\)"),
        ((features(), TEXT, [0, 1, 2, -1]), ValueError, r"owners -1\.\.2"),
        ((features(), TEXT, [0.0, 1, 2, 3]), TypeError, "whole numbers"),
        ((features(), TEXT[:0]), ValueError, "B and L at least 1"),
        ((features(), TEXT * 0), ValueError, "text 0 has no word"),
        ((features(), TEXT.flip(1)), ValueError, "text 1 has padding before a word"),
        ((features(), [[1]]), TypeError, "got list"),
        (
            (features(), TEXT, None, np.ones((4, 3), bool)),
            ValueError,
            r"must be \(4, 4\), pictures by texts",
        ),
        ((features(), TEXT, None, np.ones((4, 4))), TypeError, "the truth must be boolean"),
        (
            (features(), TEXT, None, np.zeros((4, 4), bool)),
            ValueError,
            "text 0 is not true of its own",
        ),
    ],
)
def test_bad_pairs(arguments, error, message):
    with pytest.raises(error, match=message):
        Pairs(*arguments)


# --- arithmetic -----------------------------------------------------------------------------------


def test_where_pictures_are_sums_of_words_the_arithmetic_is_exact():
    """Orthogonal words, and a picture that is the sum of its three: the share of one word is 1/√3."""
    model = build("sum", joint=8)
    with torch.no_grad():
        model.words.weight[1:9] = torch.eye(8).double()
    ids = torch.tensor([[1, 2, 3], [1, 2, 4], [5, 2, 3], [1, 6, 3], [4, 7, 8]])
    pictures = model.embed_texts(ids)  # stand in for pictures that say the same
    words = model.embed_texts(torch.arange(1, 9)[:, None])
    moved = arithmetic(pictures[:1], words[2], words[3], weight=3**-0.5)
    torch.testing.assert_close(moved, pictures[1:2])
    found = retrieval.nearest(moved, pictures, 1, exclude=torch.zeros(1, 1).long())
    assert found.items.tolist() == [[1]]
    # one row of words for each picture; weight 0 changes nothing
    moved = arithmetic(pictures[[0, 0]], words[[0, 1]], words[[4, 5]], weight=3**-0.5)
    torch.testing.assert_close(moved, pictures[[2, 3]])
    torch.testing.assert_close(arithmetic(pictures, words[0], words[1], weight=0), pictures)
    assert bool((arithmetic(pictures[:1], pictures[0], 0 * pictures[0]) == 0).all())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            (features(), features(3), features()),
            ValueError,
            r"minus must be that or \(E,\), got \(3, 6\)",
        ),
        ((features(), features(1), features()), ValueError, r"got \(1, 6\)"),
        (
            (features(), features()[0], features()[:, :5]),
            ValueError,
            r"plus must be .* got \(4, 5\)",
        ),
        (
            (features()[0], features()[0], features()[0]),
            ValueError,
            r"pictures must be vectors \(N, D\)",
        ),
        (
            (features() * math.nan, features(), features()),
            ValueError,
            "pictures: the vector 0 holds NaN",
        ),
        ((features(), features(), features() / 0), ValueError, "plus: the vector 0 holds NaN"),
        (
            (features(), [1.0], features()),
            TypeError,
            "minus must be a tensor of floating point, got list",
        ),
        ((features(), features(), features().long()), TypeError, "plus must be .* got torch.int64"),
        ((features(), features(), features(), math.inf), ValueError, "weight must be finite"),
    ],
)
def test_bad_arithmetic(arguments, error, message):
    with pytest.raises(error, match=message):
        arithmetic(*arguments)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocabulary": 0}, "vocabulary must be at least 1"),
        ({"image": 0}, "image must be at least 1"),
        ({"image": (3, 2)}, r"must be \(C, h, w\), got image \(3, 2\)"),
        ({"image": (3, 0, 2)}, r"must be \(C, h, w\)"),
        ({"detectors": 4}, "detectors look at the places of a map"),
        ({"image": (3, 2, 2), "detectors": -1}, "detectors look at"),
        ({"joint": 0}, "joint must be at least 1"),
        ({"words": 0}, "words must be at least 1"),
        ({"loss": "nce", "negatives": 0}, "negatives must be at least 1"),
        ({"text": "lstm"}, "text must be one of"),
        ({"loss": "triplet"}, "loss must be one of"),
        ({"false_negatives": "drop"}, "false_negatives must be one of"),
        ({"loss": "ranking", "margin": 0.0}, "margin must lie in"),
        ({"loss": "ranking", "margin": math.nan}, "margin must lie in"),
        ({"temperature": 0.001}, "temperature must be finite and at least 0.01"),
        ({"temperature": math.inf}, "temperature must be"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"text": "sum", "words": 5}, "words = 5 has no effect with text = 'sum'"),
        (
            {"loss": "ranking", "temperature": 0.5},
            "temperature = 0.5 has no effect with loss = 'ranking'",
        ),
        ({"loss": "hardest", "negatives": 2}, "negatives = 2 has no effect"),
        ({"loss": "nce", "margin": 0.5}, "margin = 0.5 has no effect"),
        ({"loss": "info_nce", "negatives": 2}, "negatives = 2 has no effect"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(ValueError, match=message):
        replace(Config(V), **change)
    with pytest.raises(ValueError, match="paper must be one of"):
        Config.paper("blip")


@KINDS
@pytest.mark.parametrize(
    "change",
    [
        {"vocabulary": 12},
        {"image": 7},
        {"joint": 6},
        {"words": 3},
        {"margin": 0.3},
        {"negatives": 1},
        {"temperature": 0.5},
        {"false_negatives": "mask"},
        {"dropout": 0.5},
    ],
)
def test_every_setting_has_an_effect(text, loss, change):
    """Other weights, or another loss in training; or it is refused."""
    config = Config(V, C, E, text, **({"words": W} if text == "gru" else {}), loss=loss)
    name = next(iter(change))
    if any(
        name in joint_embedding.UNREAD.get(choice, ())
        for choice in (("text", text), ("loss", loss))
    ):
        with pytest.raises(ValueError, match=f"{name} = .* has no effect"):
            replace(config, **change)
        return
    found = []
    for c in (config, replace(config, **change)):
        torch.manual_seed(0)
        model = JointEmbedding(c)
        x = torch.randn(4, c.image, generator=torch.Generator().manual_seed(0))
        torch.manual_seed(0)
        batch = {"features": x, "texts": TEXT, "picture": torch.tensor([1, 1, 1, 3])}
        found.append((training.parameter_count(model), model.loss(batch)["loss"].item()))
    assert found[0] != found[1]


def test_a_batch_of_one_and_half_precision_features():
    model = build().float()
    whole = model.embed_pictures(features().float())
    torch.testing.assert_close(model.embed_pictures(features(4)[:1].float()), whole[:1])
    half = model.embed_pictures(features().half())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, whole, atol=0.02, rtol=0.02)
    for loss in LOSSES:
        terms = build(loss=loss).train().loss({"features": features(1), "texts": TEXT[:1]})
        assert math.isfinite(terms["loss"].item())
        assert terms["first"].item() == 1
        assert loss == "nce" or terms["loss"].item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"features": features(3)}, ValueError, "3 pictures but 4 texts"),
        ({"features": features(0), "texts": TEXT[:0]}, ValueError, "none of them 0"),
        (
            {"texts": TEXT[:0]},
            ValueError,
            r"texts must be ids \(B, L\), B and L at least 1, got \(0, 4\)",
        ),
        ({"features": features()[:, :5]}, ValueError, r"features must be a tensor \(B, 6\)"),
        ({"features": features() * math.nan}, ValueError, "the features hold NaN or infinity"),
        ({"features": features().tolist()}, ValueError, "features must be a tensor"),
        ({"texts": TEXT[0]}, ValueError, r"got \(4,\)"),
        ({"texts": TEXT.float()}, TypeError, "int64, got torch.float32"),
        ({"texts": TEXT + 1}, ValueError, r"ids of words must lie in 0\.\.10, got 1\.\.11"),
        ({"texts": TEXT - 1}, ValueError, r"got -1\.\.9"),
        ({"texts": TEXT * (torch.arange(4) != 2)[:, None]}, ValueError, "text 2 has no word"),
        ({"texts": TEXT.flip(1)}, ValueError, "text 1 has padding before a word"),
        ({"mask": TEXT}, TypeError, "the mask must be boolean"),
        ({"mask": (TEXT != 0)[:3]}, ValueError, r"the mask must be \(4, 4\)"),
        ({"mask": torch.zeros(4, 4).bool()}, ValueError, "text 0 has no word"),
        ({"picture": None}, TypeError, "picture must be whole numbers"),
        ({"picture": torch.ones(4)}, TypeError, "picture must be whole numbers"),
        ({"picture": torch.arange(3)}, ValueError, r"picture must be \(4,\), got \(3,\)"),
        (
            {"picture": torch.arange(13, 17)},
            ValueError,
            r"true_of knows the pictures 0\.\.15, got 13\.\.16",
        ),
        ({"picture": -torch.arange(4)}, ValueError, r"got -3\.\.0"),
        ({"true_of": torch.ones(4, 16).bool()}, TypeError, "true_of must be bits in uint8"),
        (
            {"true_of": torch.ones(3, 2, dtype=torch.uint8)},
            ValueError,
            r"true_of must be \(4, bytes\)",
        ),
        ({"also_true": torch.zeros(3, 3).bool()}, ValueError, r"also_true must be \(4, 4\)"),
        ({"also_true": torch.eye(4).bool()}, ValueError, "also_true marks the pair 0 itself"),
        ({"also_true": torch.zeros(4, 4)}, TypeError, "also_true must be a boolean tensor"),
    ],
)
def test_bad_batches(change, error, message):
    good = {
        "features": features(),
        "texts": TEXT,
        "picture": torch.arange(4),
        "true_of": torch.ones(4, 2, dtype=torch.uint8),
    }
    for loss in LOSSES:
        model = build(loss=loss, false_negatives="mask")
        model.loss(good)
        with pytest.raises(error, match=message):
            model.loss(good | change)


def test_nan_in_training_names_the_step():
    model, data = fresh(), Pairs(features().float(), TEXT)
    with torch.no_grad():
        model.log_scale.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="not finite at step 0"):
        learn(model, data)
