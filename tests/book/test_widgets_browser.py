"""The widgets on their own in a real browser: mouse, keyboard, screen reader, no script, several on one page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bookkit import Open, axe_violations

from mmtutor.page import widgets

pytestmark = pytest.mark.timeout(120)
GREYS = [np.full((60, 200, 3), level, np.uint8) for level in (30, 120, 240)]
NASTY = "</script><script>document.title='broken'</script> & <b>"
RATE = 8000
TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
WORDS = ["king", "queen", "bread", NASTY]


def all_widgets() -> list[widgets.Widget]:
    rng = np.random.default_rng(0)
    return [
        widgets.frames(
            GREYS,
            ["short", NASTY, "long"],
            label="Window length",
            alt=["dark", "mid", "light"],
            id="one",
        ),
        widgets.frames(
            GREYS, ["a", "b", "c"], label="Another", alt=["dark", "mid", "light"], start=2, id="two"
        ),
        widgets.stepper(
            ["a", "dog", "runs"], GREYS, label="Caption", alt=["x", "y", "z"], id="steps"
        ),
        widgets.steppers(
            {
                ("one", "soft"): widgets.Steps(
                    ["a", "dog", NASTY],
                    GREYS,
                    ["s1", "s2", "s3"],
                    marks=[None, True, False],
                    notes=["", "in its box", NASTY],
                    say="True of the scene.",
                    start=1,
                ),
                ("one", "hard"): (["a", "dog", NASTY], GREYS, ["h1", "h2", "h3"]),
                ("two", "soft"): (["cat"], GREYS[:1], ["t1"]),
                ("two", "hard"): (["a", "cat"], GREYS[:2], ["u1", "u2"]),
            },
            label="Where it looks",
            switches=("Scene", "Model"),
            id="versions",
            pace=100,
        ),
        widgets.player(TONE, RATE, label="A4", id="sound"),
        widgets.players({"A4": TONE, "quiet": TONE / 4}, RATE, label="Two sounds", id="sounds"),
        widgets.scatter(
            rng.normal(size=(4, 2)),
            WORDS,
            ["royal", "royal", "food", None],
            label="Words",
            neighbours={"king": [("queen", 0.9), (NASTY, 0.1)], "queen": [("king", 0.9)]},
            id="words",
        ),
    ]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare page with every widget, each twice where the same output may be shown twice."""
    body = "".join(widget._repr_html_() for widget in all_widgets())
    path = tmp_path_factory.mktemp("widgets") / "page.html"
    path.write_text(
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Widgets</title>'
        '<meta name="viewport" content="width=device-width"><style>:root{color-scheme:light dark}'
        "body{background:Canvas;color:CanvasText}</style></head>"
        f"<body><main><h1>Widgets</h1>{body}</main></body></html>",
        encoding="utf-8",
    )
    return path


def test_the_slider_moves_by_keyboard_and_by_button(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        page, one, two = watched.page, watched.page.locator("#one"), watched.page.locator("#two")
        slider = one.locator("input")
        assert one.locator("img:visible").get_attribute("alt") == "dark"
        slider.focus()
        page.keyboard.press("ArrowRight")
        assert one.locator("img:visible").get_attribute("alt") == "mid"
        assert one.locator(".mmt-cap").inner_text() == NASTY
        assert slider.get_attribute("aria-valuetext") == NASTY
        assert one.locator(".mmt-count").inner_text() == "2 of 3"
        one.get_by_role("button", name="Next").click()
        one.get_by_role("button", name="Next").click()  # stays at the end
        assert one.locator("img:visible").get_attribute("alt") == "light"
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")  # the button Previous
        assert one.locator("img:visible").get_attribute("alt") == "mid"
        assert two.locator("img:visible").get_attribute("alt") == "light"  # the other has not moved
        assert page.title() == "Widgets"
        assert watched.errors == []


def test_words_step(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        steps = watched.page.locator("#steps")
        steps.get_by_role("button", name="runs").click()
        assert steps.locator("img:visible").get_attribute("alt") == "z"
        assert steps.locator("[aria-pressed=true]").all_inner_texts() == ["runs"]


def test_versions_switch_and_keep_the_place_in_the_same_words(
    page_file: Path, open_page: Open
) -> None:
    with open_page(page_file) as watched:
        page, box = watched.page, watched.page.locator("#versions")
        seen = box.locator("img:visible")
        told = box.locator(".mmt-told:visible")
        assert seen.get_attribute("alt") == "s2"
        assert told.inner_text().split("\n\n") == ["a dog", "in its box"]
        box.locator("[data-word]:visible").nth(2).click()
        assert seen.get_attribute("alt") == "s3"
        assert NASTY in told.inner_text()
        box.get_by_role("button", name="hard").focus()
        page.keyboard.press("Enter")
        assert seen.get_attribute("alt") == "h3"  # the same words: the place is kept
        assert box.locator(".mmt-count").inner_text() == "3 of 3"
        box.get_by_role("button", name="two").click()
        assert seen.get_attribute("alt") == "u1"  # other words: from their start
        assert box.locator(".mmt-count").inner_text() == "1 of 2"
        pressed = box.locator(".mmt-switch [aria-pressed=true]").all_inner_texts()
        assert pressed == ["two", "hard"]
        box.get_by_role("slider").focus()
        page.keyboard.press("ArrowRight")
        assert seen.get_attribute("alt") == "u2"
        assert box.get_by_role("slider").get_attribute("aria-valuetext") == "cat"
        assert box.locator("[data-word]:visible[aria-pressed=true]").all_inner_texts() == ["cat"]
        box.get_by_role("button", name="Previous").click()
        assert seen.get_attribute("alt") == "u1"
        box.get_by_role("button", name="soft").click()
        assert seen.get_attribute("alt") == "t1"
        assert page.title() == "Widgets"
        assert watched.errors == []


def test_a_version_plays_to_its_end_and_can_be_stopped(page_file: Path, open_page: Open) -> None:
    with open_page(page_file, clock=True) as watched:
        box, go_on = watched.page.locator("#versions"), watched.page.clock.run_for
        seen = box.locator("img:visible")
        box.locator("[data-word]:visible").first.click()
        box.get_by_role("button", name="Play").click()
        go_on(90)  # its pace is 100 ms
        assert seen.get_attribute("alt") == "s1"
        go_on(100)
        assert seen.get_attribute("alt") == "s2"
        assert box.get_by_role("button", name="Stop").is_visible()
        go_on(100)
        assert seen.get_attribute("alt") == "s3"
        assert box.get_by_role("button", name="Play").is_visible()  # it stops by itself, at the end
        box.get_by_role("button", name="Play").click()  # again, from the beginning
        assert seen.get_attribute("alt") == "s1"
        go_on(150)
        box.get_by_role("button", name="Stop").click()
        go_on(1000)
        assert seen.get_attribute("alt") == "s2"
        assert watched.errors == []


def test_a_version_plays_by_itself_only_where_motion_is_welcome(
    open_page: Open, tmp_path: Path
) -> None:
    made = widgets.steppers(
        {"soft": (["a", "dog"], GREYS[:2], ["x", "y"])}, label="l", autoplay=True, pace=100, id="by"
    )
    path = tmp_path / "page.html"
    path.write_text(f'<!DOCTYPE html><meta charset="utf-8">{made._repr_html_()}', encoding="utf-8")
    with open_page(path, motion=True) as watched:
        watched.page.wait_for_function("document.querySelectorAll('#by img')[0].hidden")
        assert watched.page.locator("#by img:visible").get_attribute("alt") == "y"
    with open_page(path) as watched:
        watched.page.wait_for_timeout(600)
        assert watched.page.locator("#by img:visible").get_attribute("alt") == "x"


def test_without_scripts_every_version_is_there(page_file: Path, open_page: Open) -> None:
    with open_page(page_file, scripts=False) as watched:
        box = watched.page.locator("#versions")
        shown = [i.get_attribute("alt") for i in box.locator("img:visible").all()]
        assert shown == ["s2", "h1", "t1", "u1"]
        assert box.locator(".mmt-name:visible").all_inner_texts() == [
            "one, soft",
            "one, hard",
            "two, soft",
            "two, hard",
        ]
        assert not box.locator("input").is_visible()
        assert not box.locator(".mmt-switch").first.is_visible()


def test_sounds_play(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        watched.page.wait_for_function(
            "[...document.querySelectorAll('audio')].every(a => a.readyState >= 1)"
        )
        durations = watched.page.evaluate(
            "[...document.querySelectorAll('audio')].map(a => a.duration)"
        )
        assert durations == pytest.approx([1.0, 1.0, 1.0], abs=0.01)
        watched.page.evaluate("document.querySelector('audio').play()")
        watched.page.wait_for_function("document.querySelector('audio').currentTime > 0.05")
        assert watched.errors == []


def test_the_explorer_answers_typing_clicking_and_nonsense(
    page_file: Path, open_page: Open
) -> None:
    with open_page(page_file) as watched:
        page, words = watched.page, watched.page.locator("#words")
        say, box = words.locator(".mmt-say"), words.get_by_label("Choose one")
        assert say.inner_text() == f"king (royal): nearest are queen, {NASTY}."
        assert words.locator("option").count() == 4
        box.fill("QUEEN ")
        assert say.inner_text() == "queen (royal): nearest are king."
        box.fill("emperor")
        box.press("Enter")
        assert say.inner_text() == "“emperor” is not among the 4 names here."
        words.locator(".mmt-near button").first.click()
        assert say.inner_text().startswith("king")
        assert box.input_value() == "king"
        assert page.evaluate("document.activeElement.id") == "words-in"
        words.locator("[data-i='2']").dispatch_event("click")
        assert say.inner_text() == "bread (food)."
        assert words.locator(".mmt-near li").count() == 0
        assert page.title() == "Widgets"
        assert watched.errors == []


def test_what_stands_in_bold_is_not_written_twice(page_file: Path, open_page: Open) -> None:
    shown = """() => ['.mmt-n', '.mmt-o'].map(g => [...document.querySelectorAll('#words ' + g + ' text')]
      .filter(t => t.style.display !== 'none').map(t => t.textContent).sort())"""
    for scripts in (True, False):
        with open_page(page_file, scripts=scripts) as watched:
            page = watched.page
            if not scripts:
                hidden = page.locator("#words .mmt-n text[style]").all_text_contents()
                assert sorted(page.locator("#words .mmt-o text").all_text_contents()) == sorted(
                    hidden
                )
                continue
            grey, bold = page.evaluate(shown)
            assert "king" in bold
            assert not set(grey) & set(bold)
            page.locator("#words [data-i='2']").dispatch_event("click")
            grey, bold = page.evaluate(shown)
            assert bold == ["bread"]
            assert "king" in grey
            assert "bread" not in grey


@pytest.mark.parametrize("typed", ["queen", "emperor"])
def test_after_typing_the_first_click_on_a_neighbour_counts(
    page_file: Path, open_page: Open, typed: str
) -> None:
    """Leaving the box is a change of it: that must not remove the button which the mouse is about to release."""
    with open_page(page_file) as watched:
        page, words = watched.page, watched.page.locator("#words")
        say, box = words.locator(".mmt-say"), words.get_by_label("Choose one")
        box.click()
        page.keyboard.press("Control+A")
        page.keyboard.type(typed)
        button = words.locator(".mmt-near button").first
        expected = (button.text_content() or "").split()[0]
        button.scroll_into_view_if_needed()
        place = button.bounding_box()
        page.mouse.move(place["x"] + 8, place["y"] + 8)
        page.mouse.down()
        page.wait_for_timeout(30)
        page.mouse.up()
        assert say.inner_text().startswith(expected)
        assert box.input_value() == expected
        assert page.evaluate("document.activeElement.id") == "words-in"


def test_after_typing_the_tab_key_reaches_the_first_neighbour(
    page_file: Path, open_page: Open
) -> None:
    with open_page(page_file) as watched:
        page, words = watched.page, watched.page.locator("#words")
        words.get_by_label("Choose one").click()
        page.keyboard.press("Control+A")
        page.keyboard.type("queen")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "king 0.9"
        page.keyboard.press("Enter")
        assert words.locator(".mmt-say").inner_text().startswith("king")


def test_the_static_picture_is_what_the_script_draws(page_file: Path, open_page: Open) -> None:
    """What is drawn in Python for readers without scripts says the same as what the script draws at first."""
    with open_page(page_file, scripts=False) as still, open_page(page_file) as live:
        for part in (".mmt-say", ".mmt-near", ".mmt-o"):
            before = still.page.locator(f"#words {part}").text_content()
            assert live.page.locator(f"#words {part}").text_content() == before


def test_without_scripts_what_matters_is_there(page_file: Path, open_page: Open) -> None:
    with open_page(page_file, scripts=False) as watched:
        assert watched.page.locator("#one img:visible").count() == 1
        assert watched.page.locator("#two .mmt-cap").inner_text() == "c"
        assert not watched.page.locator(
            "#one input"
        ).is_visible()  # a control that does nothing is not shown
        assert watched.page.locator("audio").count() == 3
        assert watched.page.locator("#words .mmt-say").is_visible()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_accessible_everywhere(page_file: Path, open_page: Open, dark: bool, width: int) -> None:
    with open_page(page_file, dark=dark, width=width) as watched:
        assert axe_violations(watched.page) == []
        assert watched.page.evaluate("document.documentElement.scrollWidth") == width


def test_the_same_output_twice_on_a_page_works_twice(open_page: Open, tmp_path: Path) -> None:
    html = all_widgets()[0]._repr_html_()
    path = tmp_path / "twice.html"
    path.write_text(
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>t</title>{html}{html}',
        encoding="utf-8",
    )
    with open_page(path) as watched:
        for number in range(2):
            widget = watched.page.locator(".mmt-frames").nth(number)
            widget.get_by_role("button", name="Next").click()
            assert widget.locator("img:visible").get_attribute("alt") == "mid"
