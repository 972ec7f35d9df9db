"""Arithmetic with words in a real browser: its sums are Python's, by mouse and by keyboard, on a phone, without scripts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bookkit import Open, Watched, axe_violations, twice

from mmtutor.page.arithmetic import nearest, word_arithmetic

pytestmark = pytest.mark.timeout(120)
NASTY = "<b>&'"
WORDS = ["king", "queen", "man", "woman", "kingdom", NASTY, *(f"w{i:02d}" for i in range(60))]
LATER = [*WORDS[1:], "radio"]
RNG = np.random.default_rng(3)
OLD, NEW = RNG.normal(size=(len(WORDS), 20)), RNG.normal(size=(len(LATER), 20))


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    widget = word_arithmetic(
        {"1611": (WORDS, OLD), "today": (LATER, NEW)},
        label="Arithmetic with words",
        examples=[("w01", "w02", "w03"), ("radio", "", "")],
        id="sum",
    )
    path = tmp_path_factory.mktemp("sum") / "page.html"
    path.write_text(
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Sums</title>'
        '<meta name="viewport" content="width=device-width"><style>:root{color-scheme:light dark}'
        "body{background:Canvas;color:CanvasText}</style></head>"
        f"<body><main><h1>Sums</h1>{widget._repr_html_()}</main></body></html>",
        encoding="utf-8",
    )
    return path


def ask(watched: Watched, *question: str) -> None:
    for place, word in zip(("a", "− b", "+ c"), question):
        box = watched.page.get_by_label(place, exact=True)
        box.fill(word)
        box.press("Enter")


def shown(watched: Watched) -> list[tuple[str, str]]:
    return [
        (row.locator(".mmt-word").inner_text(), row.locator(".mmt-num").inner_text())
        for row in watched.page.locator("#sum .mmt-ten li").all()
    ]


def want(*arguments, **more) -> list[tuple[str, str]]:
    return [(word, f"{score:.2f}".replace("-", "−")) for word, score in nearest(*arguments, **more)]


def test_the_page_computes_what_python_computes(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        before = shown(watched)
        assert before == want(WORDS, OLD, ("king", "man", "woman"))
        draw = np.random.default_rng(0)
        for _ in range(8):
            question = tuple(WORDS[i] for i in draw.choice(len(WORDS), 3, replace=False))
            ask(watched, *question)
            assert shown(watched) == want(WORDS, OLD, question)
        ask(watched, "king", "", "")
        assert shown(watched) == want(WORDS, OLD, ("king", "", ""))
        say = watched.page.locator("#sum .mmt-say").inner_text()
        assert say.startswith(f"king, 1611: nearest is {shown(watched)[0][0]} (")
        assert watched.errors == []


def test_the_vectors_can_be_switched(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        ask(watched, "queen", "man", "woman")
        today = watched.page.get_by_role("button", name="today")
        today.click()
        assert today.get_attribute("aria-pressed") == "true"
        assert shown(watched) == want(LATER, NEW, ("queen", "man", "woman"))
        watched.page.get_by_role("button", name="1611").press("Enter")
        assert shown(watched) == want(WORDS, OLD, ("queen", "man", "woman"))


def test_the_words_of_the_question_can_be_let_in(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        box = watched.page.get_by_role("checkbox")
        box.press("Space")
        found = want(WORDS, OLD, ("king", "man", "woman"), own=True)
        own = {"king", "man", "woman"}
        assert own & {word for word, _ in found}
        assert shown(watched) == [
            (f"{word} (in the question)" if word in own else word, score) for word, score in found
        ]
        box.click()
        assert shown(watched) == want(WORDS, OLD, ("king", "man", "woman"))


def test_an_example_is_one_click_away(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        watched.page.get_by_role("button", name="w01 − w02 + w03").click()
        assert shown(watched) == want(WORDS, OLD, ("w01", "w02", "w03"))
        assert watched.page.get_by_label("+ c", exact=True).input_value() == "w03"


def test_unknown_words_and_nothing(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        say = watched.page.locator("#sum .mmt-say")
        ask(watched, " KING ", "man", "woman")  # capitals and spaces do not matter
        assert shown(watched) == want(WORDS, OLD, ("king", "man", "woman"))
        ask(watched, "qeen")
        assert say.inner_text() == (
            "“qeen” is not among the 66 words of 1611. Near in spelling: queen."
        )
        assert shown(watched) == []
        ask(watched, "constructor", "", "")
        assert say.inner_text() == "“constructor” is not among the 66 words of 1611."
        ask(watched, "", "", "")
        assert say.inner_text() == "Type at least one word."
        ask(watched, "king", "king", "")
        assert say.inner_text() == "king − king leaves nothing."
        ask(watched, NASTY, "", "")
        assert say.inner_text().startswith(f"{NASTY}, 1611: nearest is ")
        watched.page.get_by_role("button", name="today").click()
        ask(watched, "king", "", "")
        assert say.inner_text() == "“king” is not among the 66 words of today."
        assert watched.page.title() == "Sums"
        assert watched.errors == []


def test_fields_complete_what_is_typed(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        box = watched.page.get_by_label("a", exact=True)
        box.fill("kin")
        options = watched.page.locator("#sum datalist option")
        assert [one.get_attribute("value") for one in options.all()] == ["king", "kingdom"]
        box.fill("w")
        assert options.count() == 12
        assert box.get_attribute("list") == watched.page.locator("#sum datalist").get_attribute(
            "id"
        )


def test_nothing_is_decoded_before_the_first_touch(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        watched.page.add_init_script(
            "window.calls = 0; const f = atob; window.atob = x => { window.calls++; return f(x) }"
        )
        watched.page.reload()
        assert watched.page.evaluate("window.calls") == 0
        ask(watched, "queen", "man", "woman")
        assert watched.page.evaluate("window.calls") == 1  # only the set that is asked
        watched.page.get_by_role("button", name="today").click()
        assert watched.page.evaluate("window.calls") == 2


def test_without_scripts_the_first_answer_is_there(page_file: Path, open_page: Open) -> None:
    with open_page(page_file, scripts=False) as watched:
        assert shown(watched) == want(WORDS, OLD, ("king", "man", "woman"))
        assert not watched.page.locator("#sum input").first.is_visible()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_accessible_everywhere(page_file: Path, open_page: Open, dark: bool, width: int) -> None:
    with open_page(page_file, dark=dark, width=width) as watched:
        watched.page.get_by_role("checkbox").click()
        assert axe_violations(watched.page) == []
        assert watched.page.evaluate("document.documentElement.scrollWidth") == width
        assert watched.errors == []


def test_the_same_output_twice_on_a_page_works_twice(page_file: Path, open_page: Open) -> None:
    with open_page(twice(page_file)) as watched:
        both = watched.page.locator(".mmt-sum")
        assert both.count() == 2
        for number in range(2):
            one = both.nth(number)
            one.get_by_role("button", name="w01 − w02 + w03").click()
            assert one.locator(".mmt-say").inner_text().startswith("w01 − w02 + w03, 1611")
        ids = [both.nth(i).locator("datalist").get_attribute("id") for i in range(2)]
        assert ids[0] != ids[1]
