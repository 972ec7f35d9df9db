"""Scores against the packages called directly, against restated formulas, and against answers known by hand."""

from __future__ import annotations

import enum
import math
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmtutor.kit import metrics
from mmtutor.kit.text import tokenize

CANDIDATES = [
    "A red dog is to the left of the tree.",
    "two cats and a ball",
    "there is a big house in the picture",
    "a small blue car near the sea",
    "the the the dog dog",
]
REFERENCES = [
    [
        "a red dog stands left of a tree",
        "the dog is left of the tree",
        "There is a dog, and a tree!",
    ],
    ["two cats play with one ball", "a ball and two cats"],
    [
        "there is a big house",
        "a house in the city",
        "you can see a big house in the picture",
        "one house",
    ],
    ["a tree near the sea", "a blue car stands on the beach"],
    ["the dog sleeps", "one dog"],
]
WORDS = st.sampled_from(["a", "the", "dog", "cat", "red", "blue", "is", "left", "of", "tree"])
SENTENCE = st.lists(WORDS, min_size=1, max_size=9).map(" ".join)
OWN = st.lists(SENTENCE, min_size=1, max_size=4)
CORPUS = st.lists(st.tuples(st.lists(WORDS, max_size=9).map(" ".join), OWN), min_size=1, max_size=6)
# nltk counts a candidate of fewer than k words as one k-gram, pycocoevalcap as none: compared where there is at least one.
LONG_ENOUGH = st.tuples(st.lists(WORDS, min_size=4, max_size=9).map(" ".join), OWN)


def plain(captions):
    return [" ".join(tokenize(c)) for c in captions]


def coco(candidates, references):
    return {i: plain(r) for i, r in enumerate(references)}, {
        i: plain([c]) for i, c in enumerate(candidates)
    }


# --- against the packages, called directly --------------------------------------------------------


def test_scores_equal_pycocoevalcap(capsys):
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    scores = metrics.caption_scores(CANDIDATES, REFERENCES)
    printed = capsys.readouterr()
    assert printed.out == printed.err == ""
    data = coco(CANDIDATES, REFERENCES)
    assert [scores[f"BLEU-{k}"] for k in (1, 2, 3, 4)] == Bleu(4).compute_score(*data, verbose=0)[0]
    assert scores["CIDEr"] == Cider().compute_score(*data)[0]
    assert scores["ROUGE-L"] == Rouge().compute_score(*data)[0]
    assert list(scores) == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr"]
    assert all(type(value) is float for value in scores.values())
    assert metrics.bleu(CANDIDATES, REFERENCES) == [scores[f"BLEU-{k}"] for k in (1, 2, 3, 4)]
    assert metrics.bleu(CANDIDATES, REFERENCES, n=2) == [scores["BLEU-1"], scores["BLEU-2"]]
    assert metrics.cider(CANDIDATES, REFERENCES) == scores["CIDEr"]
    assert metrics.rouge_l(CANDIDATES, REFERENCES) == scores["ROUGE-L"]
    assert metrics.meteor(CANDIDATES, REFERENCES) == scores["METEOR"]


@settings(max_examples=40, deadline=None)
@given(corpus=st.lists(LONG_ENOUGH, min_size=1, max_size=6))
def test_bleu_equals_nltk(corpus):
    from nltk.translate.bleu_score import corpus_bleu

    candidates, references = zip(*corpus)
    words = [c.split() for c in candidates], [[r.split() for r in own] for own in references]
    for k, got in enumerate(metrics.bleu(candidates, references), start=1):
        clipped = 0
        for c, own in zip(*words):
            grams = [Counter(tuple(s[i : i + k]) for i in range(len(s) - k + 1)) for s in (c, *own)]
            clipped += sum(min(n, max(r[g] for r in grams[1:])) for g, n in grams[0].items())
        if not clipped:  # the two packages smooth a precision of 0 differently, and BLEU is then 0
            assert got < 1e-3
            return
        assert got == pytest.approx(corpus_bleu(words[1], words[0], weights=[1 / k] * k), rel=1e-6)


def test_bleu_equals_sacrebleu():
    import sacrebleu

    want = sacrebleu.corpus_bleu(
        plain(CANDIDATES),
        [[plain(own)[j] if j < len(own) else None for own in REFERENCES] for j in range(4)],
        tokenize="none",
        smooth_method="none",
    )
    assert metrics.bleu(CANDIDATES, REFERENCES)[3] == pytest.approx(want.score / 100, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(corpus=CORPUS)
def test_cider_restated(corpus):
    candidates, references = zip(*corpus)

    def grams(sentence, n):
        words = sentence.split()
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    totals = np.zeros(len(corpus))
    for n in (1, 2, 3, 4):
        images = [set().union(*(grams(r, n) for r in own)) for own in references]
        idf = {
            g: math.log(len(corpus) / sum(g in image for image in images))
            for g in set().union(*images)
        }
        vocabulary = sorted(idf | dict.fromkeys((g for c in candidates for g in grams(c, n)), 0))
        weight = np.array([idf.get(g, math.log(len(corpus))) for g in vocabulary])
        for i, (candidate, own) in enumerate(corpus):
            c = np.array([grams(candidate, n)[g] for g in vocabulary]) * weight
            for reference in own:
                r = np.array([grams(reference, n)[g] for g in vocabulary]) * weight
                length = np.linalg.norm(c) * np.linalg.norm(r)
                cosine = (np.minimum(c, r) * r).sum() / length if length else 0.0
                # pycocoevalcap takes the number of bigrams for the length of a sentence
                gap = sum(grams(candidate, 2).values()) - sum(grams(reference, 2).values())
                totals[i] += 10 / 4 / len(own) * cosine * math.exp(-(gap**2) / 72)
    assert metrics.cider(candidates, references) == pytest.approx(totals.mean(), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(candidate=SENTENCE, own=st.lists(SENTENCE, min_size=1, max_size=3))
def test_rouge_l_restated(candidate, own):
    def lcs(a, b):
        if not a or not b:
            return 0
        return lcs(a[1:], b[1:]) + 1 if a[0] == b[0] else max(lcs(a[1:], b), lcs(a, b[1:]))

    c, references = candidate.split()[:7], [r.split()[:7] for r in own]
    p = max(lcs(c, r) / len(c) for r in references)
    r = max(lcs(c, r) / len(r) for r in references)
    want = (1 + 1.2**2) * p * r / (r + 1.2**2 * p) if p and r else 0.0
    assert metrics.rouge_l([" ".join(c)], [[" ".join(r) for r in references]]) == pytest.approx(
        want
    )


# --- known answers --------------------------------------------------------------------------------


def test_perfect_captions():
    captions = ["a red dog left of a tree", "two cats see the blue sea", "one house with a door"]
    scores = metrics.caption_scores(captions, [[c] for c in captions])
    for k in (1, 2, 3, 4):
        assert scores[f"BLEU-{k}"] == pytest.approx(1)
    assert scores["ROUGE-L"] == pytest.approx(1)
    assert scores["CIDEr"] == pytest.approx(10)
    lengths = [len(c.split()) for c in captions]
    assert scores["METEOR"] == pytest.approx(sum(1 - 0.5 / n**3 for n in lengths) / 3)


@pytest.mark.parametrize("candidate", ["", "...", "purple elephants everywhere"])
def test_nothing_in_common_or_nothing_at_all(candidate):
    scores = metrics.caption_scores(
        [candidate, candidate], [["a red dog"], ["two cats", "one ball"]]
    )
    assert all(0 <= value < 1e-6 for value in scores.values())


def test_bleu_by_hand():
    # Papineni's example: "the" counts as often as the reference that has most of it, which is twice: 2/7.
    score = metrics.bleu(
        ["the the the the the the the"], [["the cat is on the mat", "there is a cat on the mat"]], 1
    )
    assert score == [pytest.approx(2 / 7)]
    # three of three words right, reference of six: exp(1 − 6/3)
    assert metrics.bleu(["the cat is"], [["the cat is on the mat"]], 1) == [
        pytest.approx(math.exp(-1))
    ]


def test_meteor_by_hand():
    # "dogs" and "dog" share a stem: all 3 words aligned in one chunk
    assert metrics.meteor(["the dogs sleep"], [["the dog sleeps"]]) == pytest.approx(1 - 0.5 / 27)
    # two of three aligned ("a", "dog") in one chunk of the candidate "a dog": P = 1, R = 2/3
    f = 1 * (2 / 3) / (0.9 * 1 + 0.1 * 2 / 3)
    assert metrics.meteor(["a dog"], [["a dog sleeps"]]) == pytest.approx(f * (1 - 0.5 / 8))
    # a synonym does not match, but the better reference counts
    assert metrics.meteor(["puppy"], [["dog"]]) == 0
    assert metrics.meteor(["puppy"], [["dog", "puppy"]]) == pytest.approx(0.5)


def test_meteor_needs_no_downloaded_data(tmp_path):
    code = (
        "import nltk; nltk.data.path[:] = []; from mmtutor.kit import metrics; "
        "print(metrics.meteor(['the dogs sleep'], [['the dog sleeps']]))"
    )
    env = dict(os.environ, NLTK_DATA=str(tmp_path), HOME=str(tmp_path))
    out = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    ).stdout
    assert float(out) == pytest.approx(1 - 0.5 / 27)


def test_case_and_punctuation_do_not_matter():
    loud = [c.upper() + " !!" for c in CANDIDATES]
    assert metrics.caption_scores(loud, REFERENCES) == metrics.caption_scores(
        CANDIDATES, REFERENCES
    )


def test_cider_of_one_image_is_zero():
    assert metrics.cider(["a dog"], [["a dog"]]) == 0


def test_distinct():
    assert metrics.distinct(["a dog", "a cat"], 1) == pytest.approx(3 / 4)
    assert metrics.distinct(["a dog", "a dog"], 2) == pytest.approx(1 / 2)
    assert metrics.distinct(["a dog"], 3) == 0
    assert metrics.distinct([""]) == 0


@pytest.mark.parametrize(
    "score", [metrics.bleu, metrics.meteor, metrics.rouge_l, metrics.cider, metrics.caption_scores]
)
@pytest.mark.parametrize(
    ("candidates", "references", "error", "message"),
    [
        (["a"], [["a"], ["b"]], ValueError, "1 candidates and 2 lists"),
        ([], [], ValueError, "no caption"),
        (["a"], [[]], ValueError, r"references\[0\] is empty"),
        (
            ["a", "b"],
            [["a"], [".", "b"]],
            ValueError,
            r"references\[1\] holds a caption without a word",
        ),
        ("a dog", [["a"]], TypeError, "got one string"),
        (["a dog"], "a", TypeError, "got one string"),
        (["a dog"], ["a dog"], TypeError, r"references\[0\] must be a list"),
        ([["a", "dog"]], [["a dog"]], TypeError, "captions must be strings, got list"),
        (["a dog"], [[None]], TypeError, "captions must be strings, got NoneType"),
    ],
)
def test_bad_captions(score, candidates, references, error, message):
    with pytest.raises(error, match=message):
        score(candidates, references)


def test_other_bad_input():
    with pytest.raises(ValueError, match="n must be 1, 2, 3 or 4"):
        metrics.bleu(["a"], [["a"]], n=5)
    with pytest.raises(TypeError, match="one string"):
        metrics.distinct("a dog")
    with pytest.raises(ValueError, match="no caption"):
        metrics.distinct([])
    with pytest.raises(ValueError, match="at least 1"):
        metrics.distinct(["a"], 0)


# --- truth ----------------------------------------------------------------------------------------


class Verdict(enum.StrEnum):
    TRUE = "true"
    FALSE = "false"
    UNPARSABLE = "unparsable"


def test_truth():
    def judge(caption, scene):
        return (
            Verdict.UNPARSABLE
            if not caption
            else Verdict.TRUE
            if caption in scene
            else Verdict.FALSE
        )

    captions, scenes = ["dog", "cat", "", "sea"], ["a dog", "a dog", "a dog", "the sea"]
    assert metrics.truth_shares(captions, iter(scenes), judge) == metrics.Truth(0.5, 0.25, 0.25, 4)
    assert metrics.truth_rate(captions, scenes, judge) == 0.5
    assert metrics.truth_rate(captions, scenes, lambda c, s: c in s) == 0.75
    assert metrics.truth_shares(captions, scenes, lambda c, s: np.bool_(False)) == metrics.Truth(
        0, 1, 0, 4
    )


def test_truth_in_the_world():
    from mmtutor.world import captions as grammar
    from mmtutor.world import scenes

    some = [scenes.sample("test", i) for i in range(20)]
    written = [grammar.captions(scene, 0)[0] for scene in some]
    assert metrics.truth_rate(written, some, grammar.is_true) == 1
    assert metrics.truth_shares(["dog a is"] * 20, some, grammar.is_true) == metrics.Truth(
        0, 0, 1, 20
    )
    moved = metrics.truth_shares(written, some[1:] + some[:1], grammar.is_true)
    assert moved.unparsable == 0
    assert moved.true < 0.5


def test_truth_bad_input():
    with pytest.raises(ValueError, match="1 captions and 2 scenes"):
        metrics.truth_rate(["a"], [1, 2], bool)
    with pytest.raises(ValueError, match="no caption"):
        metrics.truth_rate([], [], bool)
    with pytest.raises(TypeError, match="one string"):
        metrics.truth_rate("a", ["s"], bool)
    with pytest.raises(ValueError, match="a bool, got 'maybe'"):
        metrics.truth_rate(["a"], ["s"], lambda c, s: "maybe")


# --- answers to questions -------------------------------------------------------------------------

#: Answers and what the official script makes of them. Each was put to the script itself (vqaEval.py of GT-Vision-Lab/VQA, under
#: Python 3), and so were 100,000 random strings of its words and marks, and 10,000 random questions for the score: all equal.
NORMAL = {
    # nothing to do, case, spaces
    "": "",
    "red": "red",
    "Red": "red",
    "  two\tdogs\n": "2 dogs",
    "hot   dog": "hot dog",
    # articles, also where nothing is left
    "the dog": "dog",
    "A dog and an owl": "dog and owl",
    "a": "",
    "The The": "",
    "theatre": "theatre",
    "vitamin a": "vitamin",
    # number words up to ten; none is a number
    "Zero": "0",
    "none": "0",
    "one": "1",
    "seven dwarfs": "7 dwarfs",
    "ten": "10",
    "eleven": "eleven",
    "twenty one": "twenty 1",
    "twenty-one": "twenty 1",
    "someone": "someone",
    "no one": "no 1",
    "nonetheless": "nonetheless",
    # apostrophes that are missing
    "dont": "don't",
    "Dont know": "don't know",
    "don't": "don't",
    "cant": "can't",
    "wont": "won't",
    "isnt": "isn't",
    "its": "its",
    "hell": "hell",
    "hed": "he'd",
    "shed": "shed",
    "wed": "wed",
    "wed've": "we'd've",
    "couldnt've": "couldn't've",
    "couldn'tve": "couldn't've",
    "couldntve": "couldntve",
    "5 oclock": "5 o'clock",
    "oclock": "o'clock",
    "maam": "ma'am",
    "twas": "'twas",
    "yall'd've": "y'all'd've",
    "y'alld've": "y'all'd've",
    "somebodys": "somebody's",
    "somebody'd": "somebodyd",
    "somebodyd": "somebodyd",
    "im": "im",
    "Im": "im",
    "ive": "ive",
    "lets": "lets",
    "girl's": "girl's",
    "girls": "girls",
    # periods
    "st. louis": "st louis",
    "yes.": "yes",
    "0.5": "0.5",
    ".5": ".5",
    "5.": "5",
    "u.s.a.": "usa",
    "3.14.": "3.14",
    "no...": "no",
    "mr.2": "mr.2",
    # commas between digits, and what goes with them
    "100,978": "100978",
    "1,000,000": "1000000",
    "1, 2": "1 2",
    "red,blue": "red blue",
    "red, blue": "red blue",
    "1,000 t-shirts": "1000 tshirts",
    # punctuation: a space, or nothing where a space stands beside it
    "t-shirt": "t shirt",
    "t-shirt, red": "t shirt red",
    "t-shirt - red": "tshirt red",
    "yes/no": "yes no",
    "yes / no": "yes no",
    "black&white": "black&white",
    "(left)": "left",
    "[x]": "x",
    "what?": "what",
    "stop!": "stop",
    "stop !now!": "stop now",
    "a_b": "b",
    'a "stop" sign': "stop sign",
    "2:50 pm": "2:50 pm",
    "100%": "100%",
    "$5": "$5",
    "#1": "#1",
    "me@home": "me home",
    "<3": "3",
    "3+4=7": "3 4 7",
    "3 + 4": "3 4",
    "back\\slash": "back slash",
    "a`b": "b",
    "{one}": "1",
    "one;two": "1 2",
    "---": "",
    "n/a": "n",
    # together
    "The one-way St.": "1 way st",
    "It's 1,000.50!": "it's 1000.50",
}


@pytest.mark.parametrize("answer", NORMAL)
def test_answers_are_normalized_as_the_official_script_does(answer):
    assert metrics.normalize_answer(answer) == NORMAL[answer]


def test_the_scripts_contractions():
    """Its table has 120 entries; the others are two that change nothing and four with capitals, which it never meets."""
    known = metrics._contractions()
    assert len(known) == 114
    assert all(word == "somebodyd" or "'" in word for word in known.values())
    # nothing is mended twice: a whole contraction is left alone
    whole = set(known.values()) - {"somebodyd"}
    assert not [word for word in whole if known.get(word, word) != word]


@pytest.mark.parametrize("agree", range(11))
def test_with_ten_humans_the_score_is_three_tenths_for_each(agree):
    humans = ["red"] * agree + ["blue", "green"] * 5
    score = metrics.vqa_accuracy(
        ["The Red"], [humans[:10] if agree < 10 else ["red"] * 9 + ["a red"]]
    )
    assert score == [pytest.approx(min(0.3 * agree, 1))]


def left_out(answer: str, humans: list[str]) -> float:
    """The definition, in plain words: leave each human out in turn, and count the others who agree."""
    total = 0.0
    for i in range(len(humans)):
        others = humans[:i] + humans[i + 1 :]
        total += min(1.0, others.count(answer) / 3)
    return total / len(humans)


@given(
    st.sampled_from(["red", "blue", "2"]),
    st.lists(st.sampled_from(["red", "blue", "2", "dog"]), min_size=4, max_size=12),
    st.randoms(use_true_random=False),
)
def test_vqa_accuracy_is_its_definition_in_any_order(answer, humans, dice):
    (score,) = metrics.vqa_accuracy([answer], [humans])
    assert score == pytest.approx(left_out(answer, humans))
    assert 0 <= score <= 1
    mixed = humans.copy()
    dice.shuffle(mixed)
    assert metrics.vqa_accuracy([answer], [mixed]) == [pytest.approx(score)]


@pytest.mark.parametrize(
    ("answer", "humans", "score"),
    [
        # put to the official script too
        ("two", ["2"] * 2 + ["two"] * 2 + ["three"] * 6, 1.0),
        ("2", ["two"] * 3 + ["many"] * 7, 0.9),
        ("dont know", ["don't know"] * 2 + ["no"] * 8, 0.6),
        ("maybe", ["yes"] * 5 + ["no"] * 5, 0.0),
        ("the left", ["left", "Left.", "to left"] + ["right"] * 7, 0.6),
        # all humans alike: letter by letter, but for spaces at the ends
        ("yes", ["yes"] * 10, 1.0),
        ("Yes", ["yes"] * 10, 0.0),
        ("yes.", ["yes"] * 10, 0.0),
        (" yes\n", ["yes", "yes ", "\tyes"] + ["yes"] * 7, 1.0),
        ("the dog", ["the dog"] * 10, 1.0),
        ("dog", ["the dog"] * 10, 0.0),
        ("dog", ["the dog"] * 9 + ["dog"], 1.0),
        ("", ["a"] * 4 + ["cat"] * 6, 1.0),
        ("red", ["red"] * 4, 1.0),
        ("red", ["red"] * 3 + ["blue"], 0.75),
        ("red", ["red"] + ["blue"] * 6, 6 / 7 / 3),
    ],
)
def test_vqa_accuracy_by_hand(answer, humans, score):
    assert metrics.vqa_accuracy([answer], [humans]) == [pytest.approx(score)]


def test_each_question_has_its_own_score():
    humans = [["yes"] * 10, ["no"] * 10, ["yes"] * 2 + ["no"] * 8]
    assert metrics.vqa_accuracy(["yes"] * 3, humans) == pytest.approx([1, 0, 0.6])


@pytest.mark.parametrize(
    ("answers", "humans", "error", "message"),
    [
        ("yes", [["yes"] * 10], TypeError, "got one string"),
        (["yes"], "yes", TypeError, "got one string"),
        (["yes"], ["yes yes yes"], TypeError, r"humans\[0\] must be a list of strings, got one"),
        (["yes"], [["yes"] * 10] * 2, ValueError, "got 1 answers and 2 lists"),
        ([], [], ValueError, "there is no answer"),
        (["yes"], [["yes"] * 3], ValueError, r"humans\[0\] holds 3 answers; at least 4"),
        (["yes"], [[]], ValueError, "holds 0 answers"),
        ([1], [["1"] * 10], TypeError, "answers must be strings, got int for question 0"),
        (["1"], [["1"] * 9 + [None]], TypeError, "got NoneType for question 0"),
    ],
)
def test_bad_answers(answers, humans, error, message):
    with pytest.raises(error, match=message):
        metrics.vqa_accuracy(answers, humans)
    with pytest.raises(TypeError, match="an answer must be a string, got int"):
        metrics.normalize_answer(3)


# --- attention ------------------------------------------------------------------------------------


def random_maps(seed, n, h, w, height, width):
    rng = np.random.default_rng(seed)
    attention = rng.random((n, h, w)) ** 4
    return attention / attention.sum((1, 2), keepdims=True), rng.random(
        (n, height, width)
    ) < rng.random((n, 1, 1))


SIZES = dict(
    seed=st.integers(0, 10**6),
    h=st.integers(1, 9),
    w=st.integers(1, 9),
    H=st.integers(1, 12),
    W=st.integers(1, 12),
)


@settings(max_examples=60, deadline=None)
@given(**SIZES)
def test_attention_mass_is_exact_at_every_ratio(seed, h, w, H, W):
    attention, masks = random_maps(seed, 2, h, w, H, W)
    # Both on the grid that has room for cells and pixels alike: every cell of it lies in one of each.
    fine = np.kron(attention, np.ones((H, W))) / (H * W)
    on = np.kron(masks, np.ones((h, w)))
    got = metrics.attention_mass(attention, masks)
    assert got.dtype == torch.float64
    assert got.tolist() == pytest.approx((fine * on).sum((1, 2)).tolist(), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(**SIZES)
def test_even_attention_scores_the_area(seed, h, w, H, W):
    _, masks = random_maps(seed, 3, h, w, H, W)
    even = torch.full((3, h, w), 1 / (h * w), dtype=torch.float64)
    area = metrics.area_share(masks)
    assert area.tolist() == pytest.approx(masks.mean((1, 2)).tolist())
    torch.testing.assert_close(metrics.attention_mass(even, masks), area, rtol=1e-14, atol=1e-15)


def test_attention_mass_by_hand():
    attention = torch.tensor([[[0.5, 0.3, 0.2]]])
    mask = torch.tensor([[[True, False]]])  # the left half: the first cell and half of the second
    assert metrics.attention_mass(attention, mask).item() == pytest.approx(0.65)


@settings(max_examples=60, deadline=None)
@given(**SIZES, tolerance=st.sampled_from([0, 1, 1.5, 3]))
def test_pointing_game_restated(seed, h, w, H, W, tolerance):
    attention, masks = random_maps(seed, 4, h, w, H, W)
    want = []
    for a, m in zip(attention, masks):
        i, j = np.unravel_index(a.argmax(), a.shape)
        y, x = math.floor((i + 0.5) * H / h + 1e-9), math.floor((j + 0.5) * W / w + 1e-9)
        want.append(any(math.hypot(y - r, x - c) <= tolerance for r, c in np.argwhere(m)))
    assert metrics.pointing_game(attention, masks, tolerance).tolist() == want


@settings(max_examples=40, deadline=None)
@example(
    seed=30969, h=2, w=2, odd=5
)  # interpolation rounds: a neighbour exceeds the centre by the last digit
@given(
    seed=st.integers(0, 10**6),
    h=st.integers(2, 6),
    w=st.integers(2, 6),
    odd=st.sampled_from([1, 3, 5]),
)
def test_the_point_is_the_maximum_of_the_upscaled_map(seed, h, w, odd):
    # With an odd whole ratio the centre of a cell is the centre of a pixel, and the upscaled map has its maximum there.
    attention, _ = random_maps(seed, 1, h, w, 1, 1)
    size = (odd * h, odd * w)
    big = torch.nn.functional.interpolate(torch.from_numpy(attention)[None], size, mode="bilinear")[
        0
    ]
    highest = big > big.max() - 1e-12
    each_pixel = torch.eye(size[0] * size[1], dtype=torch.bool).view(-1, *size)
    hit = metrics.pointing_game(attention.repeat(len(each_pixel), 0), each_pixel)
    assert int(hit.sum()) == 1
    assert bool(highest.flatten()[hit])


def test_empty_mask_and_empty_batch():
    attention = torch.full((2, 2, 2), 0.25)
    nothing = torch.zeros(2, 4, 4, dtype=torch.bool)
    assert metrics.attention_mass(attention, nothing).tolist() == [0, 0]
    assert metrics.pointing_game(attention, nothing, tolerance=99).tolist() == [False, False]
    for result in (metrics.attention_mass, metrics.pointing_game):
        assert result(attention[:0], nothing[:0]).shape == (0,)


@pytest.mark.parametrize("score", [metrics.attention_mass, metrics.pointing_game])
def test_bad_attention(score):
    even, mask = torch.full((2, 2, 2), 0.25), torch.ones(2, 4, 4, dtype=torch.bool)
    with pytest.raises(TypeError, match="masks must be boolean"):
        score(even, mask.int())
    with pytest.raises(ValueError, match=r"shape \(N, H, W\), got \(4, 4\)"):
        score(even, mask[0])
    with pytest.raises(ValueError, match=r"N = 2 as the masks, got \(1, 2, 2\)"):
        score(even[:1], mask)
    for i, broken in [(0, even * 2), (1, even.index_fill(0, torch.tensor(1), math.nan))]:
        with pytest.raises(ValueError, match=f"map {i} has the minimum"):
            score(broken, mask)
    with pytest.raises(ValueError, match="sum to 1, but map 0"):
        score(torch.tensor([[[1.5, -0.5]]]), mask[:1])
    with pytest.raises(ValueError, match="tolerance"):
        metrics.pointing_game(even, mask, tolerance=-1)


def test_import_is_light():
    code = "import sys, mmtutor.kit.metrics; print(sorted({'torch', 'nltk', 'pycocoevalcap', 'numpy'} & set(sys.modules)))"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == "[]"
