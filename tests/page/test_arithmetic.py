"""Arithmetic with words: its sums against the package's vectors, its HTML, and bad input."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from pagekit import Parsed

from mmtutor.kit.text import Vocabulary
from mmtutor.page import arithmetic
from mmtutor.word2vec import WordVectors

WORDS = ["king", "queen", "man", "woman", *(f"w{i:02d}" for i in range(36))]


def vectors(seed: int = 0, words: list[str] = WORDS, dim: int = 100) -> WordVectors:
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(1, dim))  # as in trained vectors, all lean to one side
    matrix = rng.normal(size=(len(words), dim)) + shared
    counts = {word: len(words) - i for i, word in enumerate(words)}
    return WordVectors(Vocabulary(counts, specials=()), torch.tensor(matrix))


def sets(**more: WordVectors) -> dict[str, tuple[list[str], torch.Tensor]]:
    given = {"1611": vectors(0), "today": vectors(1, [*WORDS[2:], "radio"]), **more}
    return {name: (list(one.vocabulary), one.matrix) for name, one in given.items()}


def make(**changes: Any) -> arithmetic.Widget:
    given = dict(sets=sets(), label="Arithmetic with words") | changes
    return arithmetic.word_arithmetic(given.pop("sets"), **given)


@pytest.mark.parametrize("seed", range(5))
def test_the_answers_are_those_of_the_package_up_to_rounding(seed: int) -> None:
    whole = vectors(seed)
    words, draw = list(whole.vocabulary), np.random.default_rng(seed)
    for _ in range(40):
        a, b, c = (words[i] for i in draw.choice(len(words), 3, replace=False))
        query = whole[a] - whole[b] + whole[c]
        for own in (False, True):
            exact = dict(whole.nearest(query, len(words) - 3, () if own else (a, b, c)))
            found = arithmetic.nearest(words, whole.matrix, (a, b, c), 10, own)
            assert [score for _, score in found] == sorted((s for _, s in found), reverse=True)
            for word, score in found:
                assert score == pytest.approx(exact[word], abs=0.01)
            tenth = sorted(exact.values(), reverse=True)[9]
            assert min(exact[word] for word, _ in found) > tenth - 0.02


def test_a_word_alone_has_its_neighbours() -> None:
    whole = vectors()
    found = arithmetic.nearest(list(whole.vocabulary), whole.matrix, ("king", "", ""), 5)
    assert found[0][1] == pytest.approx(whole.neighbours("king", 5)[0][1], abs=0.01)
    assert "king" not in dict(found)
    with_itself = arithmetic.nearest(
        list(whole.vocabulary), whole.matrix, ("king", "", ""), 5, own=True
    )
    assert with_itself[0] == ("king", pytest.approx(1.0))


def test_rounding_keeps_directions() -> None:
    whole = vectors().matrix
    q = arithmetic.rounded(whole)
    assert q.dtype == np.int8
    assert (np.abs(q).max(1) == 127).all()
    back = torch.nn.functional.normalize(torch.tensor(q).float(), dim=1)
    assert float((back @ back.T - whole @ whole.T).abs().max()) < 0.01


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (("king", "man", "woman"), "king − man + woman"),
        (("king", "", ""), "king"),
        (("", "man", ""), "−man"),
        (("", "man", "woman"), "−man + woman"),
        (("king", "", "woman"), "king + woman"),
        (("", "", ""), ""),
    ],
)
def test_a_question_in_words(question: arithmetic.Question, words: str) -> None:
    assert arithmetic.told(question) == words


# --- The HTML -------------------------------------------------------------------------------------


def test_whole_html_with_a_plain_twin_and_nothing_from_outside() -> None:
    widget = make(examples=[("w01", "w02", "w03")])
    html = widget._repr_html_()
    parsed = Parsed(html)
    assert parsed.open == []
    assert parsed.tags[0][1]["id"] == widget.id
    assert parsed.tags[0][1]["role"] == "group"
    assert not re.search(r"https?://", html)
    assert repr(widget).startswith("Arithmetic with words:\n  king − man + woman, 1611: ")
    assert "<" not in repr(widget)
    assert "today" not in repr(widget)  # "king" is not among its words


def test_the_first_answer_stands_there_before_any_touch() -> None:
    widget = make()
    whole = vectors()
    want = arithmetic.nearest(list(whole.vocabulary), whole.matrix, ("king", "man", "woman"))
    text = "".join(Parsed(widget._repr_html_()).text)
    assert f"king − man + woman, 1611: nearest is {want[0][0]} ({want[0][1]:.2f})" in text
    assert re.findall(r'mmt-word">([^<]+)<', widget._repr_html_()) == [word for word, _ in want]


def test_all_vectors_are_in_the_page_one_byte_a_number() -> None:
    import base64

    html = make()._repr_html_()
    stored = re.findall(r'<script type="text/plain">([^<]+)</script>', html)
    for text, (words, matrix) in zip(stored, sets().values(), strict=True):
        raw = np.frombuffer(base64.b64decode(text), np.int8).reshape(len(words), -1)
        assert (raw == arithmetic.rounded(matrix)).all()
    data = json.loads(re.search(r'application/json">(.+?)</script>', html)[1])
    assert [one["words"].split() for one in data["sets"]] == [w for w, _ in sets().values()]


def test_the_same_input_gives_the_same_bytes_and_another_gives_others() -> None:
    assert make()._repr_html_() == make()._repr_html_()
    assert make().id != make(start=("king", "woman", "man")).id
    assert make().id != make(sets=sets(**{"1611": vectors(7)})).id
    assert make(id="mine").id == "mine"


def test_text_is_escaped() -> None:
    nasty = "</script><b>&'\""
    odd = vectors(2, [*WORDS, nasty])
    widget = make(
        sets={nasty: (list(odd.vocabulary), odd.matrix)},
        label=nasty,
        start=("king", nasty, ""),
        examples=[(nasty, "king", "")],
    )
    html = widget._repr_html_()
    assert "</script><b>" not in html.replace("</script></div>", "")
    assert Parsed(html).open == []
    assert ("b", {}) not in Parsed(html).tags


def test_a_large_vocabulary_fits_a_page_and_a_larger_one_is_refused() -> None:
    many = [f"x{i}" for i in range(4000)]
    matrix = np.random.default_rng(0).normal(size=(4000, 100))
    widget = arithmetic.word_arithmetic({"a": (many, matrix)}, label="x", start=("x1", "x2", "x3"))
    assert len(widget._repr_html_()) < 700_000
    with pytest.raises(ValueError, match="this word arithmetic widget has"):
        arithmetic.word_arithmetic(
            {str(i): (many, matrix) for i in range(4)}, label="x", start=("x1", "x2", "x3")
        )


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"sets": {}}, ValueError, "at least one set"),
        ({"label": " "}, ValueError, "label must not be empty"),
        ({"sets": {"a": (WORDS, np.ones((3, 4)))}}, ValueError, "a: 40 words, but 3 vectors"),
        ({"sets": {"a": (WORDS, np.zeros((40, 4)))}}, ValueError, "vector 0 is all zeros"),
        ({"sets": {"a": (WORDS, np.full((40, 4), np.nan))}}, ValueError, "must be finite"),
        ({"sets": {"a": (WORDS, np.ones(40))}}, ValueError, r"shape \(V, d\)"),
        ({"sets": {"a": (["b"] * 40, np.ones((40, 4)))}}, ValueError, "a word occurs twice"),
        ({"sets": {"a": (["b c", *WORDS[1:]], np.ones((40, 4)))}}, ValueError, "white space"),
        ({"sets": {"a": (["King", *WORDS[1:]], np.ones((40, 4)))}}, ValueError, "capitals"),
        ({"sets": {"a": ([1, *WORDS[1:]], np.ones((40, 4)))}}, TypeError, "must be text"),
        ({"start": ("king", "man", "emperor")}, KeyError, "'emperor' is not among the 40 words"),
        ({"start": ("", "", "")}, ValueError, "leaves nothing"),
        ({"start": ("king", "king", "")}, ValueError, "king − king leaves nothing"),
        ({"start": "king"}, ValueError, "a question is three words"),
        ({"start": ("king", "man")}, ValueError, "a question is three words"),
        ({"examples": [("king", "man", "emperor")]}, KeyError, "no set has all the words of king"),
        ({"k": 0}, ValueError, "k must lie in 1…37 for 1611"),
        ({"k": 38}, ValueError, "k must lie in"),
        ({"id": "1 2"}, ValueError, "id must start with a letter"),
    ],
)
def test_bad_input_gets_a_clear_error(change: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        make(**change)
