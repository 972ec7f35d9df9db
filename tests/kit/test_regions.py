"""Words and regions: geometry by hand, losses by loops, every bad input by name."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from mmtutor.kit.masking import NOT_CHOSEN
from mmtutor.kit.regions import (
    answer_loss,
    centred,
    check_aligned,
    check_answers,
    check_classes,
    check_mask,
    check_picture,
    check_targets,
    check_words,
    mean_of,
    region_losses,
    waves,
    whole_from_parts,
    with_area,
    word_losses,
)

BOX = torch.tensor([[[0.0, 0.0, 1.0, 1.0], [0.1, 0.2, 0.5, 0.3]]], dtype=torch.float64)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# --- where a region lies --------------------------------------------------------------------------


def test_the_numbers_of_a_box():
    torch.testing.assert_close(
        centred(BOX)[0], torch.tensor([[0, 0, 1, 1], [-0.4, -0.5, 0.4, 0.1]]).double()
    )
    torch.testing.assert_close(with_area(BOX)[0, :, 4], torch.tensor([1, 0.04]).double())
    assert torch.equal(with_area(BOX)[..., :4], BOX)


def test_sines_by_hand():
    """Each of centre x, centre y, width, height: 256 sines, then 256 cosines, as VL-BERT's program."""
    found = waves(BOX, 256)
    assert found.shape == (1, 2, 2048)
    for i, z in enumerate((0.3, 0.25, 0.4, 0.1)):
        for k in (0, 1, 100, 255):
            angle = 100 * z / 1000 ** (k / 256)
            assert found[0, 1, 512 * i + k].item() == pytest.approx(math.sin(angle))
            assert found[0, 1, 512 * i + 256 + k].item() == pytest.approx(math.cos(angle))


def test_the_whole_is_the_mean_of_what_can_be_seen():
    x = numbers(4, 4, 3)
    there = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]]).bool()
    hidden = torch.tensor([[0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]).bool()
    found = whole_from_parts(x, there, hidden)
    torch.testing.assert_close(found[0, 0], (x[0, 2] + x[0, 3]) / 2)
    torch.testing.assert_close(found[1, 0], (x[1, 1] + x[1, 2]) / 2)
    assert not found[2, 0].any()  # all are hidden
    assert torch.equal(found[3, 0], x[3, 0])  # there is no other
    assert torch.equal(found[:, 1:], x[:, 1:])


# --- losses ---------------------------------------------------------------------------------------


def test_word_losses_by_hand():
    scores, targets = numbers(2, 3, 5), torch.tensor([[1, NOT_CHOSEN, 4], [NOT_CHOSEN, 0, 2]])
    losses, right = word_losses(scores, targets)
    for b in range(2):
        for t in range(3):
            w = int(targets[b, t])
            p = scores[b, t].softmax(0)
            assert losses[b, t].item() == pytest.approx(-p[w].log().item() if w >= 0 else 0)
            assert right[b, t].item() == float(w == int(p.argmax()))
    chosen = targets != NOT_CHOSEN
    torch.testing.assert_close(
        mean_of(losses, chosen), F.cross_entropy(scores[chosen], targets[chosen])
    )


def test_region_losses_by_hand():
    scores, p = numbers(2, 3, 4), numbers(2, 3, 4, seed=1).mul(2).softmax(-1)
    p[0, 0] = torch.tensor([0, 1, 0, 0])  # certain
    soft, right = region_losses(scores, p)
    divergence, _ = region_losses(scores, p, kl=True)
    for b in range(2):
        for r in range(3):
            q = scores[b, r].softmax(0).tolist()
            of, own = soft[b, r].item(), p[b, r].tolist()
            assert of == pytest.approx(-sum(a * math.log(c) for a, c in zip(own, q)))
            entropy = -sum(a * math.log(a) for a in own if a)
            assert divergence[b, r].item() == pytest.approx(of - entropy)
            assert right[b, r].item() == float(own.index(max(own)) == q.index(max(q)))
    assert bool((divergence >= 0).all())
    torch.testing.assert_close(
        divergence, F.kl_div(scores.log_softmax(-1), p, reduction="none").sum(-1)
    )
    perfect, right = region_losses(p[1:].log(), p[1:], kl=True)
    assert perfect.abs().max() < 1e-12
    assert bool(right.all())


def test_both_region_losses_have_the_same_gradient():
    scores, p = numbers(2, 3, 4).requires_grad_(), numbers(2, 3, 4, seed=1).softmax(-1)
    slopes = [
        torch.autograd.grad(region_losses(scores, p, kl)[0].sum(), scores)[0]
        for kl in (False, True)
    ]
    torch.testing.assert_close(*slopes)


def test_a_mean_of_nothing_is_zero_with_a_gradient_of_zero():
    x = torch.tensor([1.0, math.nan, math.inf]).requires_grad_()
    nothing = mean_of(x, torch.zeros(3, dtype=torch.bool))
    assert nothing.item() == 0
    nothing.backward()
    assert not x.grad.any()
    assert mean_of(x, torch.tensor([True, False, False])).item() == 1


def test_answers_by_softmax():
    scores, answers = numbers(3, 4), torch.tensor([0, 3, 2])
    terms = answer_loss(scores, answers, "softmax")
    torch.testing.assert_close(terms["loss"], F.cross_entropy(scores, answers))
    right = (scores.argmax(1) == answers).float().mean()
    assert terms["right"].item() == right.item()


def test_answers_by_sigmoids_are_summed_over_the_answers():
    scores, soft = numbers(2, 3), torch.tensor([[0.3, 1.0, 0.0], [0.0, 0.0, 0.6]]).double()
    terms = answer_loss(scores, soft, "sigmoid")
    by_hand = 0.0
    for b in range(2):
        for k in range(3):
            p, y = torch.sigmoid(scores[b, k]).item(), soft[b, k].item()
            by_hand -= (y * math.log(p) + (1 - y) * math.log(1 - p)) / 2
    assert terms["loss"].item() == pytest.approx(by_hand)
    found = scores.argmax(1).tolist()
    assert terms["right"].item() == pytest.approx(
        sum(soft[b, f].item() for b, f in enumerate(found)) / 2
    )
    one = answer_loss(scores, torch.tensor([1, 2]), "sigmoid")
    hot = answer_loss(scores, F.one_hot(torch.tensor([1, 2]), 3).double(), "sigmoid")
    assert one["loss"].item() == hot["loss"].item()


# --- checks ---------------------------------------------------------------------------------------

WORDS = torch.tensor([[5, 6, 7], [8, 0, 0]])


def test_where_there_are_words():
    real = check_words(WORDS, 9, 3)
    assert real.tolist() == [[True] * 3, [True, False, False]]


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ([[5]], TypeError, "words must be ids .* got list"),
        (WORDS.float(), TypeError, "of type int64, got torch.float32"),
        (WORDS.int(), TypeError, "got torch.int32"),
        (WORDS[0], ValueError, r"B and T at least 1, got \(3,\)"),
        (WORDS[:0], ValueError, r"got \(0, 3\)"),
        (WORDS[:, :0], ValueError, r"got \(2, 0\)"),
        (WORDS + 3, ValueError, r"must lie in 0..8, got 3..11"),
        (WORDS - 1, ValueError, "got -1..7"),
        (WORDS * torch.tensor([[1], [0]]), ValueError, "sentence 1 has no word"),
        (WORDS.flip(1), ValueError, "sentence 1 has padding before a word"),
        (WORDS.repeat(1, 2)[:1], ValueError, "up to 6 words are too long: .* positions for 3"),
    ],
)
def test_bad_words(words, error, message):
    with pytest.raises(error, match=message):
        check_words(words, 9, 3)


def picture(**changes: object) -> tuple[object, ...]:
    given = {
        "regions": numbers(2, 3, 4).float(),
        "boxes": torch.tensor([[0.0, 0, 1, 1], [0.1, 0.1, 0.2, 0.4], [0, 0, 0, 0]]).repeat(2, 1, 1),
        "there": torch.tensor([[True, True, False], [True, True, True]]),
    }
    given |= changes
    return given["regions"], given["boxes"], given["there"]


def check(**changes: object) -> object:
    return check_picture(*picture(**changes), features=4, pictures=2, dtype=torch.float64)


def test_what_stands_where_no_region_is_becomes_zero():
    regions, boxes, there = picture()
    regions[0, 2], boxes[0, 2] = math.nan, 7.0
    found = check(regions=regions, boxes=boxes, there=there)
    assert not found.regions[0, 2].any()
    assert not found.boxes[0, 2].any()
    assert found.regions.dtype == found.boxes.dtype == torch.float64
    none = check(there=torch.tensor([[False] * 3, [True] * 3]))  # no picture at all
    assert not none.regions[0].any()


def changed(name: str, at: tuple[int, ...], value: object) -> dict[str, torch.Tensor]:
    x = dict(zip(("regions", "boxes", "there"), picture()))[name].clone()
    x[at] = torch.tensor(value, dtype=x.dtype)
    return {name: x}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"regions": None}, TypeError, "regions must be a tensor of type floating, got NoneType"),
        ({"regions": WORDS}, TypeError, "regions must be .* got torch.int64"),
        ({"boxes": WORDS}, TypeError, "boxes must be"),
        ({"there": torch.ones(2, 3)}, TypeError, "there must be .* bool, got torch.float32"),
        ({"regions": torch.zeros(2, 3, 5)}, ValueError, r"\(B, R, 4\), .* got \(2, 3, 5\)"),
        ({"regions": torch.zeros(2, 0, 4)}, ValueError, r"got \(2, 0, 4\)"),
        ({"regions": torch.zeros(6, 4)}, ValueError, r"got \(6, 4\)"),
        ({"regions": torch.zeros(3, 3, 4)}, ValueError, "3 pictures but 2 sentences"),
        ({"boxes": torch.zeros(2, 3, 5)}, ValueError, r"boxes must be \(2, 3, 4\)"),
        ({"there": torch.ones(2, 4).bool()}, ValueError, r"there must be \(2, 3\)"),
        (changed("there", (1, 0), False), ValueError, "picture 1 has regions, but no whole"),
        (changed("regions", (0, 1, 2), math.nan), ValueError, "picture 0 has numbers .* not finite"),
        (changed("boxes", (1, 1, 3), math.inf), ValueError, "picture 1 has numbers"),
        (changed("boxes", (1, 1, 3), 1.2), ValueError, "picture 1 has a box that leaves it"),
        (changed("boxes", (0, 1, 0), 60.0), ValueError, "picture 0 has a box that leaves it"),
        (changed("boxes", (0, 1, 0), 0.3), ValueError, "picture 0 has a box with x2 < x1"),
    ],
)  # fmt: skip
def test_bad_pictures(changes, error, message):
    with pytest.raises(error, match=message):
        check(**changes)


THERE = torch.tensor([[True, True, False], [True, True, True]])
MASKED = torch.tensor([[False, True, False], [False, False, True]])
CLASSES = torch.full((2, 3, 4), 0.25)


def test_what_fits_passes():
    assert torch.equal(check_mask(MASKED | ~THERE, THERE, "masked"), MASKED)
    targets = WORDS.masked_fill(WORDS == 0, NOT_CHOSEN)
    assert check_targets(targets, WORDS, 9) is targets
    assert check_classes(CLASSES, THERE, 4) is CLASSES
    assert torch.equal(check_aligned(THERE[0], 3), THERE[0])
    for how, answers in (
        ("softmax", WORDS[:, 0]),
        ("sigmoid", WORDS[:, 0]),
        ("sigmoid", CLASSES[0]),
    ):
        assert check_answers(answers, len(answers), 4 if answers.ndim == 2 else 9, how) is answers


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: check_mask(MASKED.float(), THERE, "masked"), ValueError, "masked must be bool"),
        (lambda: check_mask(MASKED[:, :2], THERE, "replaced"), ValueError, "replaced must be bool"),
        (lambda: check_mask([1], THERE, "masked"), ValueError, "masked must be bool"),
        (lambda: check_mask(THERE, THERE, "masked"), ValueError, "picture 0 hides region 0"),
        (lambda: check_targets(WORDS.float(), WORDS, 9), ValueError, "of type int64"),
        (lambda: check_targets(WORDS[:, :2], WORDS, 9), ValueError, "word_targets must be"),
        (lambda: check_targets(WORDS, WORDS, 8), ValueError, "must lie in 0..7, or be -1, got 0..8"),
        (lambda: check_targets(WORDS - 2, WORDS, 9), ValueError, "got -2..6"),
        (lambda: check_classes(CLASSES, THERE, 5), ValueError, r"distributions \(2, 3, 5\)"),
        (lambda: check_classes(WORDS, THERE, 4), ValueError, "distributions"),
        (lambda: check_classes(CLASSES * 2, THERE, 4), ValueError, "picture 0 has a region whose"),
        (lambda: check_classes(CLASSES * math.nan, THERE, 4), ValueError, "do not add up to 1"),
        (lambda: check_aligned(THERE, 2), ValueError, r"aligned must be bool of shape \(2,\)"),
        (lambda: check_aligned(WORDS[:, 0], 2), ValueError, "aligned must be bool"),
        (lambda: check_aligned([True], 1), ValueError, "got list"),
        (lambda: check_answers(["yes"], 1, 9, "softmax"), TypeError, "got list"),
        (lambda: check_answers(WORDS[:, 0].int(), 2, 9, "softmax"), TypeError, "torch.int32"),
        (lambda: check_answers(CLASSES[0], 3, 4, "softmax"), TypeError, "'softmax'"),
        (lambda: check_answers(WORDS, 2, 9, "softmax"), ValueError, r"must be \(2,\), got \(2, 3\)"),
        (lambda: check_answers(WORDS[:, 0], 3, 9, "softmax"), ValueError, r"must be \(3,\)"),
        (lambda: check_answers(WORDS[:, 0], 2, 8, "softmax"), ValueError, "question 1 is not among the 8"),
        (lambda: check_answers(-WORDS[:, 0], 2, 8, "sigmoid"), ValueError, "question 0 is not among"),
        (lambda: check_answers(CLASSES[0] * 5, 3, 4, "sigmoid"), ValueError, "question 0 has shares"),
        (lambda: check_answers(CLASSES[0], 3, 5, "sigmoid"), ValueError, r"must be \(3, 5\)"),
    ],
)  # fmt: skip
def test_bad_targets(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_on_a_pretended_gpu():
    with FakeTensorMode():
        with torch.device("cuda"):
            words = torch.ones(2, 3, dtype=torch.int64)
            seen = check_picture(
                torch.zeros(2, 3, 4),
                torch.zeros(2, 3, 4),
                torch.ones(2, 3).bool(),
                4,
                2,
                torch.float,
            )
            classes = torch.zeros(2, 3, 4)
        found = [check_words(words, 9, 3), *seen, check_mask(seen.there, seen.there, "masked")]
        found += [*word_losses(classes, words), *region_losses(classes, classes, kl=True)]
        found += [whole_from_parts(seen.regions, seen.there, ~seen.there), waves(seen.boxes, 3)]
        found += [*answer_loss(classes[:, 0], words[:, 0], "sigmoid").values()]
    assert {t.device.type for t in found} == {"cuda"}
