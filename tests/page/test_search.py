"""The search box: its sums against the package's model, its HTML, and bad input."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from pagekit import Parsed

from mmtutor import joint_embedding
from mmtutor.kit.retrieval import nearest
from mmtutor.kit.text import SPECIALS, Vocabulary
from mmtutor.page import search

KNOWN = ["a", "and", "on", "the", "beach", "bus", "car", "cat", "dog", "street", "two", "zebra"]
WORDS = [*KNOWN, *(f"w{i:03d}" for i in range(60))]
PICTURES, SIZE = 40, 24


def model(seed: int = 0, joint: int = 32) -> tuple[joint_embedding.JointEmbedding, Vocabulary]:
    vocabulary = Vocabulary({word: len(WORDS) - i for i, word in enumerate(WORDS)})
    torch.manual_seed(seed)
    config = joint_embedding.Config(len(vocabulary), image=8, joint=joint, text="sum")
    made = joint_embedding.JointEmbedding(config).eval()
    with torch.no_grad():  # words of several lengths, as in a trained table
        made.words.weight *= torch.rand(len(vocabulary), 1) * 4 + 0.2
    return made, vocabulary


def table(seed: int = 0) -> tuple[list[str], torch.Tensor]:
    made, vocabulary = model(seed)
    skip = len(SPECIALS)
    return vocabulary.words[skip:], made.words.weight[skip:]


def seen(seed: int = 0, count: int = PICTURES) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        return model(seed)[0].embed_pictures(torch.randn(count, 8, generator=draw))


def images(count: int = PICTURES, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def captions(count: int = PICTURES) -> list[str]:
    return [f"picture number {i}" for i in range(count)]


def make(**changes: Any) -> search.Widget:
    words, vectors = table()
    given = dict(
        words=words,
        word_vectors=vectors,
        picture_vectors=seen(),
        pictures=images(),
        captions=captions(),
        label="Search",
        start="a dog on the beach",
    )
    return search.search_box(**(given | changes))


# --- The arithmetic -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_text_tower_of_the_page_is_the_model(seed: int) -> None:
    made, vocabulary = model(seed)
    words, vectors = table(seed)
    draw = np.random.default_rng(seed)
    for length in (1, 2, 5, 12):
        for _ in range(20):
            text = " ".join(draw.choice(words, length))
            with torch.no_grad():
                exact = made.embed_texts(joint_embedding.encode_texts([text], vocabulary))[0]
            own, known, unknown = search.embed(words, vectors, text)
            assert known == text.split()
            assert unknown == []
            assert float(own @ exact.numpy()) > 1 - 1e-6
            assert np.linalg.norm(own) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(5))
def test_the_first_five_are_those_of_the_model_in_99_of_100_questions(seed: int) -> None:
    made, vocabulary = model(seed)
    words, vectors = table(seed)
    pictures = seen(seed, 300)
    draw = np.random.default_rng(seed)
    texts = [" ".join(draw.choice(words, draw.integers(1, 10))) for _ in range(200)]
    with torch.no_grad():
        exact = made.embed_texts(joint_embedding.encode_texts(texts, vocabulary))
    scores, want = nearest(exact, pictures, 5)
    same = 0
    for text, order, score in zip(texts, want.tolist(), scores.tolist(), strict=True):
        found = search.find(pictures, search.embed(words, vectors, text)[0], 5)
        same += [i for i, _ in found] == order
        assert [s for _, s in found] == pytest.approx(score, abs=2e-4)
    assert same >= 198


def test_a_picture_has_itself_and_its_words_near() -> None:
    words, vectors = table()
    pictures = seen()
    query = search.exchanged(words, vectors, pictures, 7)
    assert search.find(pictures, query, 3)[0] == (7, pytest.approx(1))
    assert 7 not in dict(search.find(pictures, query, PICTURES, without=7))
    near = search.find_words(words, vectors, query, len(words))
    unit = torch.nn.functional.normalize(vectors.detach(), dim=1)
    exact = dict(zip(words, (unit @ pictures[7]).tolist(), strict=True))
    assert [score for _, score in near] == sorted((s for _, s in near), reverse=True)
    for word, score in near:
        assert score == pytest.approx(exact[word], abs=1e-4)


@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_exchanging_is_the_arithmetic_of_the_package(weight: float) -> None:
    words, vectors = table()
    pictures = seen()
    unit = torch.nn.functional.normalize(vectors.detach(), dim=1)
    dog, cat = unit[words.index("dog")], unit[words.index("cat")]
    want = joint_embedding.arithmetic(pictures[:5], dog, cat, weight)
    for i in range(5):
        own = search.exchanged(words, vectors, pictures, i, "dog", "cat", weight)
        assert float(own @ want[i].numpy()) > 1 - 1e-6


def test_unknown_words_are_told_and_not_guessed() -> None:
    words, vectors = table()
    plain = search.embed(words, vectors, "a dog")[0]
    own, known, unknown = search.embed(words, vectors, "A dgo, a DOG; an elephant, a dgo!")
    assert known == ["a", "a", "dog", "a"]
    assert unknown == ["dgo", "an", "elephant"]
    assert float(plain @ own) < 1  # three times a is more than once
    assert search.embed(words, vectors, "elephants!") == (None, [], ["elephants"])
    assert search.embed(words, vectors, " ?! ") == (None, [], [])


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("dgo", []),  # of three letters, one may differ
        ("dig", ["dog"]),
        ("zbra", ["zebra"]),
        ("zebars", ["zebra"]),
        ("cay", ["car", "cat"]),
        ("elephant", []),
    ],
)
def test_near_spellings(word: str, near: list[str]) -> None:
    assert search.near_spelling(word, KNOWN) == near


def test_words_that_leave_nothing() -> None:
    vectors = np.array([[1.0, 2.0], [-1.0, -2.0], [0.0, 0.0]])
    assert search.embed(["x", "y", "z"], vectors, "x y")[0] is None
    assert search.embed(["x", "y", "z"], vectors, "z")[0] is None
    query, _, _ = search.embed(["x", "y", "z"], vectors, "x z")
    assert [word for word, _ in search.find_words(["x", "y", "z"], vectors, query)] == ["x", "y"]
    assert search.exchanged(["x"], [[1.0, 2.0]], [[2.0, 4.0]], 0, minus="x") is None


def test_rounding_keeps_directions_and_lengths() -> None:
    vectors = table()[1].detach().double().numpy()
    kept = search.stored(vectors)
    assert kept.whole.dtype == np.dtype("<i2")
    assert (np.abs(kept.whole.astype(int)).max(1) == 32767).all()
    assert np.abs(kept.vectors() - vectors).max() < 1e-4 * np.abs(vectors).max()


@pytest.mark.parametrize(
    ("score", "written"),
    [(0.125, "0.13"), (-0.125, "−0.13"), (-0.004, "0.00"), (0.005, "0.01"), (1.0, "1.00")],
)
def test_cosines_are_rounded_as_a_script_rounds_them(score: float, written: str) -> None:
    from mmtutor.page._sheet import number

    assert number(score) == written


# --- The HTML -------------------------------------------------------------------------------------


def test_whole_html_with_a_plain_twin_and_nothing_from_outside() -> None:
    widget = make(examples=["two cats", (3, "dog", "cat")])
    html = widget._repr_html_()
    parsed = Parsed(html)
    assert parsed.open == []
    assert parsed.tags[0][1]["id"] == widget.id
    assert parsed.tags[0][1]["role"] == "group"
    assert not re.search(r"https?://", html)
    assert repr(widget).startswith("Search:\n  a dog on the beach: picture number ")
    assert "<" not in repr(widget)


def test_the_first_answer_stands_there_before_any_touch() -> None:
    words, vectors = table()
    widget = make(start="A dog, an elephant on a baech.", k=7)
    query, _, _ = search.embed(words, vectors, "A dog, an elephant on a baech.")
    want = search.find(seen(), query, 7)
    html = widget._repr_html_()
    hits = html[html.index('<ol class="mmt-hits"') : html.index("</ol>")]
    assert re.findall(r'aria-label="(picture number \d+)"', hits) == [
        f"picture number {i}" for i, _ in want
    ]
    assert re.findall(r"<span>(−?\d\.\d\d)</span>", hits) == [
        f"{s:.2f}".replace("-", "−") for _, s in want
    ]
    text = Parsed(html).text
    assert f"a dog on a: nearest is “picture number {want[0][0]}” ({want[0][1]:.2f})." in text
    told = "I do not know: an (near in spelling: a, and, on), elephant, baech (near in spelling: beach)."
    assert told in text
    assert repr(widget).endswith(told)


def test_all_vectors_are_in_the_page_two_bytes_a_number() -> None:
    html = make()._repr_html_()
    raw = re.findall(r'<script type="text/plain">([^<]+)</script>', html)
    data = json.loads(re.search(r'application/json">(.+?)</script>', html)[1])
    for text, scale, given in zip(raw, data["scale"], (table()[1], seen()), strict=True):
        whole = np.frombuffer(base64.b64decode(text), "<i2").reshape(len(given), -1)
        kept = search.stored(given)
        assert (whole == kept.whole).all()
        assert scale == kept.scale.tolist()
    assert data["words"] == table()[0]


def test_pictures_lie_on_one_sheet_where_the_page_looks_for_them() -> None:
    import io

    from PIL import Image

    from mmtutor.page._sheet import sheet

    flat = np.zeros((7, 20, 40, 3), np.uint8)
    flat[:] = np.linspace(0, 255, 7).astype(np.uint8)[:, None, None, None]
    made = sheet(flat, 90)
    whole = np.asarray(Image.open(io.BytesIO(made.data)).convert("RGB")).astype(int)
    assert made.step == (48, 32)  # whole blocks of the file
    assert whole.shape == (3 * 32, 3 * 48, 3)
    for i in range(7):
        row, column = divmod(i, made.columns)
        cut = whole[row * 32 : row * 32 + 20, column * 48 : column * 48 + 40]
        assert np.abs(cut - flat[i]).max() <= 6
    assert 'style="width:40px;height:20px;background-position:-48px -32px;' in made.place(4, "x")
    assert "width:20px;height:10px;background-position:-24px -16px;" in made.place(4, "x", 20)
    assert "background-size:72px auto" in made.place(4, "x", 20)


def test_the_same_input_gives_the_same_bytes_and_another_gives_others() -> None:
    assert make()._repr_html_() == make()._repr_html_()
    others = [
        {"start": "a cat"},
        {"picture_vectors": seen(3)},
        {"word_vectors": table(3)[1]},
        {"pictures": 255 - images()},
        {"examples": ["a cat"]},
    ]
    assert len({make().id, *(make(**change).id for change in others)}) == len(others) + 1
    assert make(id="mine").id == "mine"


def test_text_is_escaped() -> None:
    nasty = "</script><b>&'\""
    html = make(
        label=nasty,
        captions=[nasty] * PICTURES,
        start="dog " + nasty,
        examples=[nasty, (3, nasty, nasty)],
    )._repr_html_()
    assert "<b>" not in html
    assert Parsed(html).open == []


def test_a_caption_from_right_to_left_leaves_the_rest_in_order() -> None:
    """Without the marks the cosine behind a Hebrew caption would stand before it."""
    told = ["כלב על החוף", "\u202egod a", "a dog, 3 m"]
    html = make(captions=[*told, *captions()[3:]])._repr_html_()
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', html)[1])
    assert data["captions"][:3] == ["\u2068כלב על החוף\u2069", "\u2068god a\u2069", "a dog, 3 m"]
    assert "\u202e" not in html
    assert data["captions"][3:] == captions()[3:]


def test_three_hundred_scenes_fit_a_page_and_too_many_are_refused() -> None:
    smooth = np.linspace(0, 255, 96).astype(np.uint8)[None, :, None, None]
    few = np.broadcast_to(smooth, (300, 96, 96, 3))
    size = len(
        make(pictures=few, captions=captions(300), picture_vectors=seen(0, 300))._repr_html_()
    )
    assert size < 1_200_000
    noise = np.random.default_rng(0).integers(0, 256, (300, 96, 96, 3), np.uint8)
    with pytest.raises(ValueError, match="this search widget has"):
        make(pictures=noise, captions=captions(300), picture_vectors=seen(0, 300))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"label": " "}, ValueError, "label must not be empty"),
        ({"words": []}, ValueError, "at least one word"),
        ({"words": "abc"}, ValueError, "word_vectors must have 3 rows, got 72"),
        ({"words": [1, *WORDS[1:]]}, TypeError, "must be text"),
        ({"words": ["a", "a", *WORDS[2:]]}, ValueError, "a word occurs twice"),
        ({"words": ["Dog", *WORDS[1:]]}, ValueError, r"'Dog' cannot be typed"),
        ({"words": ["<unk>", *WORDS[1:]]}, ValueError, r"'<unk>' cannot be typed"),
        ({"words": ["ice cream", *WORDS[1:]]}, ValueError, r"'ice cream' cannot be typed"),
        ({"word_vectors": np.ones((72, 3))}, ValueError, "words have vectors of 3 numbers"),
        ({"word_vectors": np.ones(72)}, ValueError, r"shape \(N, d\)"),
        ({"word_vectors": np.full((72, 32), np.nan)}, ValueError, "must be finite"),
        ({"word_vectors": np.zeros((72, 32))}, ValueError, "start: no word of 'a dog on"),
        ({"picture_vectors": np.zeros((40, 32))}, ValueError, "vector of picture 0 is all zeros"),
        ({"picture_vectors": np.ones((3, 32))}, ValueError, "must have 40 rows, got 3"),
        ({"pictures": images(3)}, ValueError, "40 captions, but 3 pictures"),
        ({"pictures": images() / 255}, TypeError, "must be uint8, got float64"),
        ({"pictures": images()[..., 0]}, ValueError, r"\(N, H, W, 3\)"),
        ({"pictures": images(40, 200, 200)}, ValueError, "16 to 160 pixels"),
        ({"captions": captions()[:-1]}, ValueError, "must have 39 rows, got 40"),
        ({"captions": ["", *captions()[1:]]}, ValueError, "captions must not be empty"),
        ({"start": "?"}, ValueError, "start: no word of '\\?' has a vector"),
        ({"start": "elephants"}, ValueError, "start: no word of 'elephants'"),
        ({"start": 3}, TypeError, "start must be text"),
        ({"examples": [""]}, ValueError, "an example must not be empty"),
        ({"examples": [(1, "a")]}, ValueError, r"or \(picture, minus, plus\)"),
        ({"examples": [(40, "a", "dog")]}, ValueError, "asks picture 40 of 40"),
        ({"examples": [("dog", "a", "dog")]}, ValueError, r"or \(picture, minus, plus\)"),
        ({"k": 0}, ValueError, "k must lie in 1…39"),
        ({"k": 40}, ValueError, "k must lie in"),
        ({"near": 73}, ValueError, "near must lie in 1…72"),
        ({"k": 2.5}, ValueError, "k must lie in 1…39, a whole number, got 2.5"),
        ({"k": "2"}, ValueError, "k must lie in 1…39, a whole number"),
        ({"near": 2.5}, ValueError, "near must lie in 1…72, a whole number"),
        (
            {"captions": ["a"], "pictures": images(1), "picture_vectors": np.ones((1, 32)), "k": 1},
            ValueError,
            "at least two pictures",
        ),
        ({"picture_vectors": np.full((40, 32), 1e-12)}, ValueError, "picture 0 has the length"),
        ({"picture_vectors": np.full((40, 32), 1e200)}, ValueError, "must be finite, and below"),
        ({"word_vectors": np.full((72, 32), 1e200)}, ValueError, "must be finite, and below"),
        ({"captions": ["\ud800", *captions()[1:]]}, ValueError, "captions holds half of a surro"),
        ({"weight": float("nan")}, ValueError, "weight must be finite"),
        ({"weight": "1"}, ValueError, "weight must be finite"),
        ({"quality": 0}, ValueError, "quality must be"),
        ({"id": "1 2"}, ValueError, "id must start with a letter"),
    ],
)
def test_bad_input_gets_a_clear_error(change: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        make(**change)
