"""What is hidden: how often, what of, never where nothing is; whole words; a batch in which nothing was chosen."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmtutor.kit import masking, text, training
from mmtutor.kit.masking import (
    MASK,
    NOT_CHOSEN,
    PAD,
    SPECIALS,
    Pretraining,
    choose,
    corrupt_regions,
    corrupt_words,
    hide,
    hide_regions,
    hide_words,
    mismatch,
)

FIRST = len(SPECIALS)
MANY = torch.ones(500, 100, dtype=torch.bool)
HIDE = {"vocabulary": 30, "mask": MASK, "first": FIRST, "words": 0.3, "regions": 0.4, "one": False}


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def share(chosen: torch.Tensor) -> float:
    return chosen.float().mean().item()


def test_the_special_words():
    vocabulary = text.Vocabulary(["dog", "cat"], specials=SPECIALS)
    assert vocabulary.words[:7] == ["<pad>", "<bos>", "<eos>", "<unk>", "<cls>", "<sep>", "<mask>"]
    assert (vocabulary.id("<mask>"), vocabulary.id("<pad>")) == (MASK, PAD)
    assert vocabulary.encode("a dog") == [vocabulary.id("<unk>"), FIRST + 1]


# --- choosing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [0.0, 0.15, 0.5, 1.0])
def test_each_is_chosen_as_often_as_it_should(wanted):
    chosen = choose(MANY, wanted, draws())
    assert share(chosen) == pytest.approx(wanted, abs=0.01)  # standard error 0.002
    for part in (chosen[:, 0], chosen[:, -1]):
        assert share(part) == pytest.approx(wanted, abs=0.08)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), p=st.floats(0, 1), one=st.booleans())
def test_never_where_nothing_is(seed, p, one):
    there = torch.rand(6, 9, generator=draws(seed + 1)) < 0.4
    there[0] = False
    chosen = choose(there, p, draws(seed), one=one)
    assert not (chosen & ~there).any()
    if one:
        assert torch.equal(chosen.any(1), there.any(1))
    without = choose(there, p, draws(seed))
    assert not (without & ~chosen).any()  # `one` only adds, and only where nothing was chosen
    assert torch.equal(chosen[without.any(1)], without[without.any(1)])


def test_one_is_any_of_them():
    chosen = choose(torch.ones(4000, 4, dtype=torch.bool), 0.0, draws(), one=True)
    assert chosen.sum(1).eq(1).all()
    assert chosen.float().mean(0).sub(0.25).abs().max() < 0.03


def test_whole_words():
    """Pieces of a word are chosen together, and meet the same fate."""
    whole = torch.tensor([0, 0, 0, 3, 4, 4]).expand(2000, 6)
    words = torch.full((2000, 6), 9)
    chosen = choose(torch.ones(2000, 6, dtype=torch.bool), 0.3, draws(), whole=whole)
    assert torch.equal(chosen[:, 0], chosen[:, 1])
    assert torch.equal(chosen[:, 0], chosen[:, 2])
    assert torch.equal(chosen[:, 4], chosen[:, 5])
    assert not torch.equal(chosen[:, 0], chosen[:, 3])
    assert share(chosen[:, [0, 3, 4]]) == pytest.approx(0.3, abs=0.02)
    seen = corrupt_words(words, chosen, 40, draws(1), whole=whole)
    masked = seen == MASK
    assert torch.equal(masked[:, 0], masked[:, 1])
    assert torch.equal(masked[:, 4], masked[:, 5])
    apart = corrupt_words(words, chosen, 40, draws(1)) == MASK
    assert not torch.equal(apart[:, 0], apart[:, 1])
    # with `one` and nothing else: a word, not a piece
    chosen = choose(torch.ones(2000, 6, dtype=torch.bool), 0.0, draws(), whole=whole, one=True)
    assert set(chosen.sum(1).tolist()) == {1, 2, 3}


# --- corrupting -----------------------------------------------------------------------------------


def test_eighty_ten_ten():
    words = torch.randint(FIRST, 1000, (500, 100), generator=draws())
    chosen = choose(MANY, 0.5, draws(1))
    seen = corrupt_words(words, chosen, 1000, draws(2))
    assert torch.equal(seen[~chosen], words[~chosen])
    seen, words = seen[chosen], words[chosen]
    assert share(seen == MASK) == pytest.approx(0.8, abs=0.01)
    assert share(seen == words) == pytest.approx(0.1, abs=0.01)
    drawn = seen[(seen != MASK) & (seen != words)]
    assert len(drawn) / len(seen) == pytest.approx(0.1, abs=0.01)
    assert drawn.min() >= FIRST
    assert drawn.max() < 1000
    assert drawn.float().mean().item() == pytest.approx((FIRST + 999) / 2, rel=0.03)


def test_bert_draws_from_all_words():
    words = torch.full((500, 100), 5)
    seen = corrupt_words(words, MANY, 10, draws(), mask=9, first=0)
    assert set(seen.unique().tolist()) == set(range(10))


def test_regions_ninety_ten_and_never_the_whole_picture():
    chosen, gone = hide_regions(MANY, 0.5, draws())
    assert not chosen[:, 0].any()
    assert share(chosen[:, 1:]) == pytest.approx(0.5, abs=0.01)
    assert not (gone & ~chosen).any()
    assert share(gone[chosen]) == pytest.approx(0.9, abs=0.01)
    assert torch.equal(corrupt_regions(torch.zeros(2, 3).bool()), torch.zeros(2, 3).bool())
    only = torch.tensor([[True, False, False], [True, True, False]])
    chosen, _ = hide_regions(only, 0.0, draws(), one=True)
    assert chosen.tolist() == [[False] * 3, [False, True, False]]


def test_hidden_words_and_their_targets():
    words = torch.tensor([[7, 8, 9, 10], [11, 12, PAD, PAD]]).repeat(500, 1)
    seen, targets = hide_words(words, 30, 0.4, draws())
    chosen = targets != NOT_CHOSEN
    assert torch.equal(targets[chosen], words[chosen])
    assert torch.equal(seen[~chosen], words[~chosen])
    assert not chosen[words == PAD].any()
    assert share(chosen[words != PAD]) == pytest.approx(0.4, abs=0.03)


def test_same_seed_same_draws():
    words = torch.randint(FIRST, 30, (20, 9), generator=draws())
    first, again, other = (hide_words(words, 30, 0.5, draws(seed)) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first[0], other[0])
    torch.manual_seed(3)  # without a generator torch's own is used
    a = hide_words(words, 30, 0.5)
    torch.manual_seed(3)
    assert all(torch.equal(x, y) for x, y in zip(a, hide_words(words, 30, 0.5)))


# --- pairs ----------------------------------------------------------------------------------------


def test_half_of_the_captions_are_another_pictures():
    rows = torch.arange(1000)
    found, aligned = mismatch(rows, generator=draws())
    assert torch.equal(found == rows, aligned)  # never its own where it says not
    assert share(aligned) == pytest.approx(0.5, abs=0.05)
    assert share(mismatch(rows, 0.2, draws())[1]) == pytest.approx(0.8, abs=0.04)
    assert mismatch(rows, 0.0)[1].all()
    assert not mismatch(rows, 1.0)[1].any()
    captions = torch.randn(6, 3)
    moved, own = mismatch(captions, generator=draws(1))
    assert torch.equal((moved == captions).all(1), own)
    assert {tuple(row) for row in moved.tolist()} <= {tuple(row) for row in captions.tolist()}
    shifts = {int((mismatch(rows, generator=draws(s))[0] - rows).max()) for s in range(20)}
    assert len(shifts) > 5


def test_a_batch_of_one_has_no_other_caption():
    for seed in range(5):
        found, aligned = mismatch(torch.tensor([[5, 6]]), generator=draws(seed))
        assert found.tolist() == [[5, 6]]
        assert aligned.tolist() == [True]
    assert {int(mismatch(torch.arange(2), generator=draws(s))[0].sum()) for s in range(20)} == {
        0,
        1,
        2,
    }


# --- a batch --------------------------------------------------------------------------------------


def pairs() -> dict[str, torch.Tensor]:
    return {
        "words": torch.randint(FIRST, 30, (200, 6), generator=draws()),
        "there": torch.rand(200, 5, generator=draws(1)) < 0.7,
    }


def test_what_a_batch_does_not_say_is_drawn():
    torch.manual_seed(0)
    batch = pairs()
    hidden = hide(batch, **HIDE)
    assert share(hidden.targets != NOT_CHOSEN) == pytest.approx(0.3, abs=0.05)
    assert share(hidden.asked[:, 1:][batch["there"][:, 1:]]) == pytest.approx(0.4, abs=0.06)
    assert bool((hidden.gone & hidden.asked).any())
    none = hide(batch, **{**HIDE, "regions": None})
    assert not none.asked.any()
    assert not none.gone.any()


def test_what_a_batch_says_is_taken():
    batch = pairs()
    targets = torch.full((200, 6), NOT_CHOSEN)
    masked = batch["there"].clone()
    batch |= {"word_targets": targets, "masked": masked}
    hidden = hide(batch, **HIDE)
    assert hidden.words is batch["words"]
    assert hidden.targets is targets
    assert torch.equal(hidden.asked, masked)
    assert torch.equal(hidden.gone, masked)
    some = masked & (torch.arange(5) > 2)
    assert torch.equal(hide({**batch, "replaced": some}, **HIDE).gone, some)
    with pytest.raises(ValueError, match="'replaced' must be 'masked'"):
        hide({**batch, "masked": some, "replaced": masked}, **HIDE)


class Filler(nn.Module):
    """Says each hidden word from the mean of the others."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(30, 8), nn.Linear(8, 30)

    def pretrain_loss(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        hidden = hide(batch, **HIDE)
        scores = self.out(self.words(hidden.words).mean(1, keepdim=True)).expand(-1, 6, -1)
        return {
            "loss": nn.functional.cross_entropy(
                scores.transpose(1, 2), hidden.targets, ignore_index=NOT_CHOSEN
            )
        }


def test_pretraining_is_a_model_for_fit_and_draws_anew_each_time():
    def run(seed: int) -> list[float]:
        torch.manual_seed(0)
        model = Pretraining(Filler())
        history = training.fit(
            model, pairs(), epochs=2, batch_size=50, seed=seed, log_every=1, progress=False
        )
        return history.losses["loss"]

    assert run(0) == run(0)
    assert run(0) != run(1)


def test_on_a_pretended_gpu():
    with FakeTensorMode():
        words = torch.ones(4, 6, dtype=torch.int64, device="cuda")
        there = torch.ones(4, 5, dtype=torch.bool, device="cuda")
        found = [*hide({"words": words, "there": there}, **HIDE), *mismatch(words)]
        found += [choose(there, 0.3, whole=torch.zeros_like(words[:, :5]), one=True)]
    assert {t.device.type for t in found} == {"cuda"}


# --- bad input ------------------------------------------------------------------------------------

WORDS = torch.full((2, 3), 8)
BOOLS = torch.ones(2, 3, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: choose(BOOLS, 1.5), r"a share must be in \[0, 1\], got 1.5"),
        (lambda: choose(BOOLS, -0.1), "a share must be in"),
        (lambda: choose(WORDS), "of type bool, got torch.int64"),
        (lambda: choose(BOOLS[0]), r"a mask must be \(B, N\)"),
        (lambda: choose([True]), "a mask must be"),
        (lambda: choose(BOOLS, whole=WORDS[:, :2]), "whole must be int64 of shape"),
        (lambda: choose(BOOLS, whole=WORDS.float()), "whole must be int64"),
        (lambda: corrupt_words(WORDS, BOOLS[:, :2], 20), "chosen must be"),
        (lambda: corrupt_words(WORDS, BOOLS, 7), "no word to draw: first is 7"),
        (lambda: corrupt_words(WORDS, BOOLS, 20, first=-1), "no word to draw"),
        (lambda: corrupt_regions(WORDS), "a mask must be"),
        (lambda: hide_regions(WORDS), "a mask must be"),
        (lambda: mismatch(WORDS, 1.5), "a share must be"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_nothing_to_choose():
    nothing = torch.zeros(3, 4, dtype=torch.bool)
    assert not choose(nothing, 1.0).any()
    assert not choose(nothing, 1.0, one=True).any()
    seen, targets = hide_words(torch.full((2, 3), PAD), 30, 1.0, one=True)
    assert not seen.any()
    assert bool((targets == masking.NOT_CHOSEN).all())
