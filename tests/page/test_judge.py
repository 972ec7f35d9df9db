"""Judge it yourself, as HTML: nothing given away, deterministic, escaped, and strict with bad input."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

from mmtutor.page._parts import Widget
from mmtutor.page.judge import Case, judge

NASTY = "</script><b>&\"'\u2028"
GREY = np.full((40, 60, 3), 120, np.uint8)
FILM = [np.full((40, 60, 3), level, np.uint8) for level in (20, 120, 220)]
STILL = Case(
    GREY, "a grey field", "the dog sleeps", False, "There is no dog.", {"A": True, "B": False}
)
CLIP = Case(
    FILM,
    ["dark", "middle", "light"],
    "it grows light",
    True,
    "From frame to frame it is lighter.",
    {"A": True, "B": False},
    "A gave it −0.2 a word.",
)


def made(*cases: Any, **changes: Any) -> Widget:
    return judge(list(cases or (STILL, CLIP)), **({"label": "True or false?"} | changes))


class Texts(HTMLParser):
    """All tags, and the visible text outside of answers, styles and scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.before, self.inside = "", 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside += tag in ("details", "style", "script")

    def handle_endtag(self, tag: str) -> None:
        self.inside -= tag in ("details", "style", "script")

    def handle_data(self, data: str) -> None:
        if not self.inside:
            self.before += data + "\n"


def test_nothing_of_the_answer_stands_before_it() -> None:
    read = Texts(made()._repr_html_())
    for case in (STILL, CLIP):
        assert case.caption in read.before
        assert case.reason not in read.before
        assert not case.note or case.note not in read.before
    assert "world says" not in read.before.lower()
    seen = [value for tag, given in read.tags for value in given.values() if value and tag != "img"]
    assert not any(case.reason in value for case in (STILL, CLIP) for value in seen)
    details = [given for tag, given in read.tags if tag == "details"]
    assert len(details) == 2
    assert not any("open" in given for given in details)
    # In a case's own tags nothing differs with the truth.
    one, other = (
        re.sub(r"<details.*?</details>|mmt-judge-\w+|<script.*?</script>", "", html, flags=re.S)
        for html in (made(replace(STILL, true=t))._repr_html_() for t in (True, False))
    )
    assert one == other


def test_its_plain_text_lists_the_cases_and_then_the_answers() -> None:
    cases, answers = repr(made()).split("\nAnswers\n")
    assert cases == (
        "True or false?: 2 cases to judge\n  1. “the dog sleeps” (a grey field)\n"
        "  2. “it grows light” (dark | middle | light)"
    )
    assert answers == (
        "  1. false. There is no dog. A said true, B said false.\n"
        "  2. true. From frame to frame it is lighter. A said true, B said false. A gave it −0.2 a word."
    )


def test_every_picture_has_its_text() -> None:
    pictures = [given for tag, given in Texts(made()._repr_html_()).tags if tag == "img"]
    assert [given["alt"] for given in pictures] == ["a grey field", "dark", "middle", "light"]
    assert all(given["width"] == "60" and given["height"] == "40" for given in pictures)


def test_the_same_input_gives_the_same_bytes_and_no_other_host() -> None:
    html = made()._repr_html_()
    assert html == made()._repr_html_()
    assert made(CLIP, STILL).id != made().id
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", html)
    assert "Storage" not in html  # nothing of the reader is kept
    assert "cookie" not in html


def test_texts_are_escaped() -> None:
    case = replace(STILL, alt=NASTY, caption=NASTY, reason=NASTY, note=NASTY, votes={NASTY: True})
    html = made(case, label=NASTY)._repr_html_()
    assert "<b>" not in html
    assert html.count("</script>") == 2
    assert "\u2028" not in html.split("application/json")[1].split("</script>")[0]


def test_without_votes_and_with_one_still_picture_there_is_less() -> None:
    html = made(replace(STILL, votes={}))._repr_html_()
    assert "said" not in re.sub(r"<script.*?</script>", "", html, flags=re.S)
    assert 'type="range"' not in html
    assert 'type="range"' in made(CLIP)._repr_html_()


def test_a_figure_is_a_picture_and_says_how_small_its_text_is() -> None:
    figure, axes = plt.subplots(figsize=(3, 2))
    axes.set_title("t", fontsize=9)
    assert "data-smallest-text" in made(replace(STILL, pictures=figure))._repr_html_()
    assert not plt.fignum_exists(figure.number)


@pytest.mark.parametrize(
    ("cases", "more", "error", "words"),
    [
        ([], {}, ValueError, "at least one case"),
        (["no case"], {}, TypeError, "case 1 must be a Case"),
        ([replace(STILL, caption=" ")], {}, ValueError, "caption of case 1"),
        ([replace(STILL, reason="")], {}, ValueError, "reason of case 1"),
        ([STILL, replace(STILL, caption=3)], {}, TypeError, "caption of case 2"),
        ([replace(STILL, note=3)], {}, TypeError, "note of case 1"),
        ([replace(STILL, alt="")], {}, ValueError, "alt must not be empty"),
        ([replace(STILL, true=1)], {}, TypeError, "must be True or False, got 1"),
        ([replace(STILL, true=np.True_)], {}, TypeError, "must be True or False"),
        ([replace(STILL, votes={"A": "yes"})], {}, TypeError, "'A' of case 1"),
        ([replace(STILL, votes={" ": True})], {}, ValueError, "model's name in case 1"),
        ([STILL, replace(STILL, votes={"A": True})], {}, ValueError, "votes of the same models"),
        ([replace(CLIP, pictures=FILM[:1])], {}, ValueError, "at least two"),
        ([replace(CLIP, pictures=FILM[:2])], {}, ValueError, "2 frames, 3 texts"),
        ([replace(CLIP, alt="dark")], {}, TypeError, "list of texts"),
        ([replace(CLIP, pictures=[*FILM[:2], GREY[:20]])], {}, ValueError, "differ in size"),
        ([replace(STILL, pictures="dog.png")], {}, TypeError, "picture"),
        ([STILL], {"seconds": 0}, ValueError, "seconds must be from 0.1 to 2"),
        ([STILL], {"seconds": True}, ValueError, "seconds must be from 0.1 to 2"),
        ([STILL], {"label": ""}, ValueError, "label must not be empty"),
        ([STILL], {"id": "1 2"}, ValueError, "id must start with a letter"),
        ([STILL], {"fmt": "gif"}, ValueError, "fmt must be"),
    ],
)
def test_bad_input_gets_a_clear_error(cases: Any, more: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        judge(cases, **({"label": "L"} | more))


def test_too_much_for_a_page_is_an_error() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1100, 1100, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="more than 2 MB"):
        judge([replace(STILL, pictures=noise)], label="L", fmt="png")
