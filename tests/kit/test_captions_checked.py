"""Captions that are no captions: what the shared checks refuse, with the row that is wrong, and what they leave alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from mmtutor.kit.text import (
    BOS,
    EOS,
    PAD,
    Vocabulary,
    caption_batches,
    check_captions,
    check_ended,
    encode_captions,
    pad,
)

GOOD = torch.tensor([[1, 4, 5, 2, 0], [1, 2, 0, 0, 0], [1, 6, 7, 8, 2]])
ROWS = st.lists(st.lists(st.integers(0, 6), min_size=4, max_size=4), min_size=1, max_size=5)


def is_prefix(row: list[int]) -> bool:
    """``<bos>``, at least one id more, then only padding: written as a person would say it."""
    while row and row[-1] == 0:
        row = row[:-1]
    return len(row) >= 2 and row[0] == 1 and 0 not in row


def is_whole(row: list[int]) -> bool:
    """The same, and ``<eos>`` stands at the end and nowhere else."""
    words = [i for i in row if i]
    return is_prefix(row) and words[-1] == 2 and words.count(2) == 1


@given(ROWS)
def test_exactly_the_captions_pass(rows):
    captions = torch.tensor(rows)
    wrong = [k for k, row in enumerate(rows) if not is_prefix(row)]
    if wrong:
        with pytest.raises(ValueError, match=r"caption \d+ ") as error:
            check_captions(captions, 7, len(rows))
        assert int(str(error.value).split()[1]) in wrong
        return
    check_captions(captions, 7, len(rows))
    unended = [k for k, row in enumerate(rows) if not is_whole(row)]
    if unended:
        with pytest.raises(ValueError, match=rf"caption {unended[0]} .*<eos>"):
            check_ended(captions)
    else:
        check_ended(captions)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([4, 5, 6, 2, 0], "caption 1 begins with the id 4, not with <bos>"),
        ([0, 1, 4, 2, 0], "caption 1 has <pad> before a word"),
        ([1, 0, 4, 2, 0], "caption 1 has <pad> before a word"),
        ([1, 4, 0, 0, 2], "caption 1 has <pad> before a word"),
        ([1, 0, 0, 0, 0], "caption 1 is all padding"),
    ],
)
def test_the_row_is_named(row, message):
    captions = GOOD.clone()
    captions[1] = torch.tensor(row)
    with pytest.raises(ValueError, match=message):
        check_captions(captions, 9, 3)


@pytest.mark.parametrize(
    "row", [[1, 4, 5, 0, 0], [1, 4, 2, 5, 0], [1, 4, 2, 2, 0], [1, 4, 2, 5, 2], [1, 4, 5, 6, 7]]
)
def test_a_loss_needs_one_end(row):
    captions = GOOD.clone()
    captions[2] = torch.tensor(row)
    check_captions(
        captions, 9, 3
    )  # what is given may be a beginning, to see the scores of the next word
    with pytest.raises(ValueError, match="caption 2 must end in its only <eos>"):
        check_ended(captions)


def test_what_is_counted_is_named():
    with pytest.raises(ValueError, match="2 clips but 3 captions; each clip needs one"):
        check_captions(GOOD, 9, 2, "clip")


@pytest.mark.parametrize("captions", [[[1, 2]], np.array([[1, 2]]), None])
def test_captions_that_are_no_tensor(captions):
    with pytest.raises(TypeError, match="captions must be a tensor of ids"):
        check_captions(captions, 9, 1)


def test_values_are_not_asked_of_a_pretended_gpu():
    with FakeTensorMode():
        captions = torch.zeros(3, 5, dtype=torch.int64, device="cuda")  # on a CPU an error
        check_captions(captions, 9, 3)
        check_ended(captions)


# --- from sentences to ids, and to batches --------------------------------------------------------


def test_a_generator_of_captions_is_checked_like_a_list():
    vocabulary = Vocabulary(["a", "dog"])
    assert torch.equal(
        encode_captions((c for c in ("a", "a dog")), vocabulary),
        encode_captions(["a", "a dog"], vocabulary),
    )
    with pytest.raises(ValueError, match="a caption has no word: ''"):
        encode_captions((c for c in ("a", "")), vocabulary)
    with pytest.raises(ValueError, match="a caption has 2 words, the limit is 1: 'a dog'"):
        encode_captions((c for c in ("a", "a dog")), vocabulary, limit=1)


def test_captions_in_one_row_of_bytes():
    with pytest.raises(TypeError, match="got one bytes"):
        encode_captions(b"a dog", Vocabulary(["a", "dog"]))


@pytest.mark.parametrize("specials", [(BOS, EOS, PAD), (), (PAD, EOS, BOS), (PAD, BOS)])
def test_a_vocabulary_whose_special_words_a_captioner_would_not_know(specials):
    with pytest.raises(ValueError, match=r"must begin with <pad>, <bos> and <eos>"):
        encode_captions(["a dog"], Vocabulary(["a", "dog"], specials=specials))


@pytest.mark.parametrize("bad", [[1.5], [1.0], ["a"], [None], [[1]]])
def test_pad_takes_whole_numbers_only(bad):
    with pytest.raises(TypeError, match="an id must be a whole number, got"):
        pad([[1, 2], bad])


def test_pad_takes_whole_numbers_of_other_kinds_and_generators():
    want = pad([[1, 2], [3]])
    for sequences in (
        [np.array([1, 2]), np.array([3])],
        [np.array([1, 2], dtype=np.int32), [3]],
        (torch.tensor([1, 2]), torch.tensor([3])),
        ((i for i in s) for s in ([1, 2], [3])),
    ):
        for a, b in zip(pad(sequences), want):
            assert a.dtype == b.dtype
            assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("options", "name"), [({"value": 0.5}, "value"), ({"length": 2.5}, "length")]
)
def test_pad_does_not_cut_its_settings(options, name):
    with pytest.raises(TypeError, match=f"{name} must be a whole number"):
        pad([[1, 2]], **options)


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        ([[1, 4, 2, 0], [1, 0, 4, 2]], "caption 1 has <pad> before a word"),
        ([[1, 4, 2, 0], [0, 1, 4, 2]], "caption 1 has <pad> before a word"),
        ([[0, 0, 0, 0], [1, 4, 2, 0]], "caption 0 is all padding"),
    ],
)
def test_batches_lose_no_word_to_padding_inside(captions, message):
    with pytest.raises(ValueError, match=message):
        caption_batches(torch.zeros(2, 3), torch.tensor(captions))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"captions": torch.ones(3, 4)}, TypeError, "captions must be ids of type int64"),
        ({"captions": [[1, 2]] * 3}, TypeError, "captions must be a tensor"),
        (
            {"captions": torch.ones(3, dtype=torch.int64)},
            ValueError,
            r"captions must be ids \(M, T\)",
        ),
        ({"owner": torch.tensor([0.0, 1.0, 2.0])}, TypeError, "owner must be whole numbers"),
        ({"owner": torch.tensor([True, True, False])}, TypeError, "owner must be whole numbers"),
        ({"owner": torch.zeros(3, 1, dtype=torch.int64)}, ValueError, "do not fit together"),
        (
            {"batch_size": 2.5},
            ValueError,
            "batch_size must be a whole number of at least 1, got 2.5",
        ),
        (
            {"batch_size": True},
            ValueError,
            "batch_size must be a whole number of at least 1, got True",
        ),
    ],
)
def test_batches_of_wrong_kinds(change, error, message):
    arguments = {
        "features": torch.zeros(3, 2),
        "captions": GOOD,
        "owner": torch.arange(3),
        "batch_size": 2,
    }
    with pytest.raises(error, match=message):
        caption_batches(**(arguments | change))


def test_batches_take_whole_numbers_of_other_libraries():
    batches = list(caption_batches(torch.zeros(3, 2), GOOD, np.array([0, 1, 2]), np.int64(2)))
    assert sorted(len(b["captions"]) for b in batches) == [1, 1, 1]
    assert len(list(caption_batches(torch.zeros(3, 2), GOOD, [2, 1, 0], 2))) == 3
