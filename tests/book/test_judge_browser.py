"""Judge it yourself in a real browser: mouse, keyboard, what is said, what is not said before, and a clip that plays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bookkit import Open, axe_violations

from mmtutor.page.judge import Case, judge

pytestmark = pytest.mark.timeout(120)
FILM = [np.full((120, 320, 3), level, np.uint8) for level in (20, 120, 220)]
VOTES = {"A": True, "B": False}
CASES = [
    Case(FILM, ["dark", "middle", "light"], "it grows light", True, "It does.", VOTES),
    Case(FILM[0], "a dark field", "the dog sleeps", False, "There is no dog.", VOTES, "A note."),
    Case(FILM[::-1], ["light", "middle", "dark"], "it grows light", False, "It grows dark.", VOTES),
]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    widget = judge(CASES, label="True or false?", id="one", seconds=0.1)
    plain = judge([replace(CASES[1], votes={})], label="Only one", id="two")
    path = tmp_path_factory.mktemp("judge") / "page.html"
    path.write_text(
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Judge</title>'
        '<meta name="viewport" content="width=device-width"><style>:root{color-scheme:light dark}'
        "body{background:Canvas;color:CanvasText}</style></head>"
        f"<body><main><h1>Judge</h1>{widget._repr_html_()}{plain._repr_html_()}</main></body></html>",
        encoding="utf-8",
    )
    return path


def test_by_mouse_from_the_first_case_to_the_tally(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        one = watched.page.locator("#one")
        tally, verdict = one.locator(".mmt-tally"), one.locator(".mmt-verdict")
        next_ = one.get_by_role("button", name="Next", exact=True)
        say = lambda word: one.get_by_role("button", name=word, exact=True).click()  # noqa: E731
        assert one.locator(".mmt-case:visible").count() == 1
        assert tally.inner_text().startswith("No answer yet")
        assert verdict.inner_text() == ""
        assert "It does." not in one.inner_text()
        say("True")
        assert verdict.inner_text() == "The world says: true. You agree."
        assert "It does." in one.inner_text()
        assert "A said true, B said false." in one.inner_text()
        assert tally.inner_text() == "You and the world agreed in 1 of 1; A: 1 of 1; B: 0 of 1."
        one.get_by_role("button", name="False", exact=True).click(force=True)  # an answer stands
        assert tally.inner_text().startswith("You and the world agreed in 1 of 1")
        next_.click()
        assert "There is no dog." not in one.inner_text()
        say("True")
        assert verdict.inner_text() == "The world says: false. You said true."
        assert "A note." in one.inner_text()
        assert tally.inner_text() == "You and the world agreed in 1 of 2; A: 1 of 2; B: 1 of 2."
        next_.click()
        say("False")
        assert tally.inner_text() == "You and the world agreed in 2 of 3; A: 1 of 3; B: 2 of 3."
        numbers = one.locator("[data-case]")
        assert numbers.all_inner_texts() == ["1 ✓", "2 ✗", "3 ✓"]
        numbers.nth(1).click()  # back to what was answered
        assert "A note." in one.inner_text()
        one.get_by_role("button", name="Start again").click()
        assert tally.inner_text().startswith("No answer yet")
        assert numbers.all_inner_texts() == ["1", "2", "3"]
        assert "It does." not in one.inner_text()
        assert watched.errors == []


def test_by_keys_alone(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        page, one = watched.page, watched.page.locator("#one")
        focus = lambda: page.evaluate("document.activeElement.textContent.trim()")  # noqa: E731
        page.keyboard.press("t")  # the focus is elsewhere: not for this widget
        assert one.locator(".mmt-tally").inner_text().startswith("No answer yet")
        page.keyboard.press("Tab")
        page.keyboard.press("t")
        assert one.locator(".mmt-verdict").inner_text().endswith("You agree.")
        for key in ("f", "F"):
            assert focus() == "Next"
            page.keyboard.press("Enter")
            page.keyboard.press("Control+f")  # the browser's own
            page.keyboard.press(key)
        assert (
            one.locator(".mmt-tally").inner_text().startswith("You and the world agreed in 3 of 3")
        )
        assert focus() == "Start again"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('.mmt-judge').id") == "two"
        page.keyboard.press("f")  # two widgets do not meddle with one another
        two = page.locator("#two .mmt-tally")
        assert two.inner_text() == "You and the world agreed in 1 of 1."
        assert watched.errors == []


def test_a_clip_goes_on_by_one_frame_where_less_motion_is_asked_for(
    page_file: Path, open_page: Open
) -> None:
    with open_page(page_file) as watched:
        one = watched.page.locator("#one")
        seen = lambda: one.locator(".mmt-case:visible img:visible").get_attribute("alt")  # noqa: E731
        slider = one.get_by_role("slider").first
        assert (seen(), slider.get_attribute("aria-valuetext")) == ("dark", "dark")
        button = one.get_by_role("button", name="Next frame")
        for expected in ("middle", "light", "dark"):
            button.click()
            watched.page.wait_for_timeout(150)
            assert (seen(), slider.get_attribute("aria-valuetext")) == (expected, expected)
        slider.focus()
        watched.page.keyboard.press("ArrowRight")
        assert seen() == "middle"
        assert one.locator(".mmt-case:visible .mmt-count").inner_text() == "2 of 3"
        assert watched.errors == []


def test_a_clip_plays_once_and_stops(page_file: Path, open_page: Open) -> None:
    with open_page(page_file, motion=True, clock=True) as watched:
        one, go_on = watched.page.locator("#one"), watched.page.clock.run_for
        seen = lambda: one.locator(".mmt-case:visible img:visible").get_attribute("alt")  # noqa: E731
        play, stop = (one.get_by_role("button", name=name) for name in ("Play", "Stop"))
        go_on(1000)
        assert seen() == "dark"  # nothing plays by itself
        play.click()
        assert stop.count() == 1
        for when, expected in ((90, "dark"), (100, "middle"), (100, "light"), (1000, "light")):
            go_on(when)  # its pace is 100 ms, and it stays at the end
            assert seen() == expected
        play.click()
        go_on(150)
        stop.click()
        go_on(1000)
        assert seen() == "middle"
        play.click()  # an answer stops it, too
        assert seen() == "dark"
        watched.page.keyboard.press("t")
        assert play.count() == 1
        go_on(1000)
        assert seen() == "dark"
        assert watched.errors == []


def test_without_scripts_all_cases_and_folded_answers_are_there(
    page_file: Path, open_page: Open
) -> None:
    with open_page(page_file, scripts=False) as watched:
        one = watched.page.locator("#one")
        assert one.locator(".mmt-case:visible").count() == 3
        assert one.locator("img:visible").count() == 7
        assert "There is no dog." not in one.inner_text()
        one.locator("summary").nth(1).click()
        assert "The world says: false." in one.inner_text()
        assert "There is no dog." in one.inner_text()
        assert one.locator("button:visible").count() == 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_accessible_everywhere(page_file: Path, open_page: Open, dark: bool, width: int) -> None:
    with open_page(page_file, dark=dark, width=width) as watched:
        one = watched.page.locator("#one")
        assert axe_violations(watched.page) == []
        one.get_by_role("button", name="False", exact=True).click()
        assert axe_violations(watched.page) == []
        assert watched.page.evaluate("document.documentElement.scrollWidth") == width
        assert watched.errors == []
