"""The map of a shared space: its HTML, its labels, and bad input."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from pagekit import Parsed

from mmtutor.page import space

N, M = 30, 12
RNG = np.random.default_rng(0)
PICTURES = RNG.normal(size=(N, 2))
PLACES = RNG.normal(size=(M, 2))
WORDS = [f"word{i}" for i in range(M)]


def images(count: int = N, side: int = 24) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def make(**changes: Any) -> space.Widget:
    given = dict(
        picture_points=PICTURES,
        word_points=PLACES,
        pictures=images(),
        captions=[f"picture {i}" for i in range(N)],
        words=WORDS,
        label="Map",
        near_words=[[(i % M, 0.5), ((i + 1) % M, 0.25)] for i in range(N)],
        near_pictures=[[(i, 0.75), (i + 1, -0.004), (i + 2, -0.2)] for i in range(M)],
    )
    return space.space_map(**(given | changes))


def data(widget: space.Widget) -> dict[str, Any]:
    return json.loads(re.search(r'application/json">(.+?)</script>', widget._repr_html_())[1])


def test_whole_html_with_a_plain_twin_and_nothing_from_outside() -> None:
    widget = make()
    html = widget._repr_html_()
    parsed = Parsed(html)
    assert parsed.open == []
    assert parsed.tags[0][1]["id"] == widget.id
    outside = set(re.findall(r"https?://[^\"]+", html))
    assert outside == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert repr(widget) == (
        "Map: 30 pictures and 12 words.\n  “word0”: nearest pictures: picture 0 (0.75); picture 1 "
        "(0.00); picture 2 (−0.20)"
    )


def test_every_picture_and_word_is_an_option_at_its_place() -> None:
    parsed = Parsed(make()._repr_html_())
    options = [attrs for _, attrs in parsed.tags if attrs.get("role") == "option"]
    assert len(options) == N + M
    assert [one.get("aria-label") for one in options[:N]] == [f"picture {i}" for i in range(N)]
    points = np.concatenate([PICTURES, PLACES])
    unit = (points - points.min(0)) / np.ptp(points, axis=0) * 0.9 + 0.05
    unit[:, 1] = 1 - unit[:, 1]  # the vertical axis points up
    for one, place in zip(options, unit, strict=True):
        left, top = re.search(
            r"left:(?:clamp\(\d+(?:\.\d)?px,)?([\d.]+)%.*;top:([\d.]+)%", one["style"]
        ).groups()
        assert (float(left), float(top)) == pytest.approx(100 * place, abs=0.05)
    assert np.allclose(data(make())["points"], unit, atol=1e-4)
    assert [one["tabindex"] for one in options].count("0") == 1
    assert options[N]["aria-selected"] == "true"


def test_words_and_tensors_may_name_neighbours_and_places() -> None:
    named = [[(WORDS[i % M], 0.5), (WORDS[(i + 1) % M], 0.25)] for i in range(N)]
    assert make(near_words=named)._repr_html_() == make()._repr_html_()
    tensors = dict(picture_points=torch.tensor(PICTURES), word_points=torch.tensor(PLACES))
    assert make(**tensors)._repr_html_() == make()._repr_html_()


def test_what_is_chosen_first_stands_there_before_any_touch() -> None:
    html = make(start="word3")._repr_html_()
    text = Parsed(html).text
    assert "“word3”: nearest pictures." in text
    assert html.count("<line ") == 3
    assert len(re.findall('class="mmt-pt mmt-lit"', html)) == 3
    html = make(start=4)._repr_html_()
    assert "Picture “picture 4”: nearest words." in Parsed(html).text
    assert html.count("<line ") == 2
    assert re.findall(r"<li>(word\d+ [\d.]+)</li>", html) == ["word4 0.50", "word5 0.25"]


def test_neighbours_may_be_missing() -> None:
    empty = make(near_words=[[]] * N, near_pictures=[[]] * M)
    assert "“word0”: nearest pictures are not given." in empty._repr_html_()
    assert (
        repr(empty) == "Map: 30 pictures and 12 words.\n  “word0”: nearest pictures are not given."
    )


@pytest.mark.parametrize("size", [space.DESK, space.PHONE])
def test_labels_that_are_written_do_not_overlap_and_the_first_are_written(
    size: tuple[int, int],
) -> None:
    draw = np.random.default_rng(1)
    words = ["w" * int(k) for k in draw.integers(2, 12, 80)]
    unit = draw.random((80, 2))
    order = list(draw.permutation(80))
    kept = space._written(unit, words, 0, order, size)
    assert order[0] in kept
    assert 8 < len(kept) < 80
    boxes = []
    for i in kept:
        half = space._half(words[i])
        x = min(max(unit[i, 0] * size[0], half), size[0] - half)
        boxes.append((x - half, unit[i, 1] * size[1] - 10, x + half, unit[i, 1] * size[1] + 10))
    for i, a in enumerate(boxes):
        assert a[0] >= 0
        assert a[2] <= size[0]
        for b in boxes[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_points_on_one_line_or_one_spot_are_drawn() -> None:
    points = data(make(picture_points=np.ones((N, 2)), word_points=np.ones((M, 2))))["points"]
    assert points == [[0.5, 0.5]] * (N + M)
    flat = np.c_[np.arange(N), np.zeros(N)]
    made = np.array(data(make(picture_points=flat, word_points=flat[:M]))["points"])
    assert (made[:, 1] == 0.5).all()
    assert made[:, 0].min() == 0.05
    assert made[:, 0].max() == 0.95


def test_the_same_input_gives_the_same_bytes_and_another_gives_others() -> None:
    assert make()._repr_html_() == make()._repr_html_()
    others = [{"start": 3}, {"pictures": 255 - images()}, {"word_points": PLACES[::-1]}]
    assert len({make().id, *(make(**change).id for change in others)}) == len(others) + 1
    assert make(id="mine").id == "mine"


def test_text_is_escaped() -> None:
    nasty = "</script><b>&'\""
    html = make(label=nasty, captions=[nasty] * N, words=[nasty, *WORDS[1:]])._repr_html_()
    assert "<b>" not in html
    assert Parsed(html).open == []


def test_a_caption_from_right_to_left_leaves_the_rest_in_order() -> None:
    told = ["كلب على الشاطئ", "a dog\u2067", *(f"picture {i}" for i in range(N - 2))]
    html = make(captions=told, start=0)._repr_html_()
    assert "“\u2068كلب على الشاطئ\u2069”" in html
    assert "\u2068a dog\u2069" in html
    assert "\u2067" not in html
    assert html.count("\u2068") == html.count("\u2069")


def test_a_map_of_150_pictures_and_60_words_is_small() -> None:
    smooth = np.linspace(0, 255, 96).astype(np.uint8)[None, :, None, None]
    many = dict(
        picture_points=np.random.default_rng(0).normal(size=(150, 2)),
        word_points=np.random.default_rng(1).normal(size=(60, 2)),
        pictures=np.broadcast_to(smooth, (150, 96, 96, 3)),
        captions=[f"picture {i}" for i in range(150)],
        words=[f"word{i}" for i in range(60)],
        near_words=[[(j, 0.5) for j in range(5)]] * 150,
        near_pictures=[[(j, 0.5) for j in range(5)]] * 60,
    )
    bare = len(make(**many)._repr_html_())
    assert bare < 150_000  # the pictures of the world add 300,000


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"label": ""}, ValueError, "label must not be empty"),
        ({"picture_points": PICTURES[1:]}, ValueError, "picture_points must have 30 rows, got 29"),
        ({"word_points": PLACES[1:]}, ValueError, "word_points must have 12 rows, got 11"),
        ({"word_points": np.ones((M, 3))}, ValueError, r"word_points must have shape \(N, 2\)"),
        ({"word_points": np.full((M, 2), np.inf)}, ValueError, "word_points must be finite"),
        ({"picture_points": PICTURES * 1e300}, ValueError, "must be finite, and below"),
        ({"pictures": images(3)}, ValueError, "30 captions, but 3 pictures"),
        ({"pictures": images() / 255}, TypeError, "must be uint8"),
        ({"captions": "abc"}, TypeError, "must be a list of texts"),
        ({"captions": []}, ValueError, "at least one picture and one word"),
        ({"words": []}, ValueError, "at least one picture and one word"),
        ({"words": ["a"] * M}, ValueError, "a word occurs twice"),
        ({"words": ["Dog", "dog", *"abcdefghij"]}, ValueError, "a word occurs twice.*'dog'"),
        ({"words": [" dog", *"abcdefghijk"]}, ValueError, "begins or ends with a space"),
        ({"words": [1] * M}, TypeError, "must be text"),
        ({"words": [f"w{i}" for i in range(371)]}, ValueError, "more than the 400"),
        ({"near_words": [[]]}, ValueError, "near_words: 30 pictures, but 1 lists"),
        ({"near_pictures": [[]]}, ValueError, "near_pictures: 12 words, but 1 lists"),
        ({"near_words": [[(M, 0.5)]] * N}, ValueError, "near_words: there is no number 12"),
        ({"near_words": [[(1.7, 0.5)]] * N}, ValueError, "near_words: there is no number 1.7"),
        ({"near_words": [[("x", 0.5)]] * N}, ValueError, "near_words: 'x' is not among the words"),
        ({"near_pictures": [[(-1, 0.5)]] * M}, ValueError, "near_pictures: there is no number -1"),
        ({"near_pictures": [[("word0", 0.5)]] * M}, ValueError, "'word0' is not among"),
        ({"near_words": [[(0, np.nan)]] * N}, ValueError, "near_words: a cosine must be finite"),
        ({"start": "x"}, ValueError, "start: 'x' is not among the words"),
        ({"start": N}, ValueError, r"start must be a word or a picture in 0…29"),
        ({"start": 1.5}, ValueError, "start must be"),
        ({"quality": 101}, ValueError, "quality must be"),
        ({"id": "1 2"}, ValueError, "id must start with a letter"),
    ],
)
def test_bad_input_gets_a_clear_error(change: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        make(**change)
