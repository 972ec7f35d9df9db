"""The pages in a real browser, opened from disk, with the network blocked."""

from __future__ import annotations

from pathlib import Path

import pytest
from bookkit import HTML, ROOT, Open, axe_violations, toc_pages

PAGES = toc_pages()
pytestmark = [pytest.mark.usefixtures("html"), pytest.mark.timeout(180)]


def path_of(page: str) -> Path:
    return HTML / f"{page}.html"


def source_of(page: str) -> str:
    return next(
        (ROOT / f"{page}{s}").read_text(encoding="utf-8") for s in (".ipynb", ".md") if (ROOT / f"{page}{s}").exists()
    )


def test_the_first_page_leads_to_the_book(open_page: Open) -> None:
    with open_page(HTML / "index.html", scripts=False) as watched:
        watched.page.wait_for_url("**/book/index.html")
        assert watched.errors == []


@pytest.mark.parametrize("page", PAGES)
def test_opens_without_an_error_and_typesets_its_mathematics(page: str, open_page: Open) -> None:
    with open_page(path_of(page)) as watched:
        formulas, typeset = watched.page.evaluate(
            "[document.querySelectorAll('.math').length, document.querySelectorAll('.math mjx-container').length]"
        )
        assert typeset >= formulas
        if "$" in source_of(page) and page == "book/notation":
            assert formulas > 10
        assert watched.page.locator("mjx-merror, [data-mjx-error]").count() == 0
        raw = watched.page.evaluate(
            """() => { const copy = document.querySelector('article').cloneNode(true);
            copy.querySelectorAll('pre, code, script, style, mjx-container, .mmt-w').forEach(e => e.remove());
            return (copy.textContent.match(/\\$\\$|\\\\\\(|\\\\\\[|\\\\begin\\{|\\{(cite|eq|numref|ref|term)\\}/g) || []) }"""
        )
        assert raw == [], "raw mark-up on the page"
        assert watched.errors == []


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_accessible(page: str, dark: bool, open_page: Open) -> None:
    with open_page(path_of(page), dark=dark) as watched:
        assert watched.page.evaluate("document.documentElement.dataset.theme") == ("dark" if dark else "light")
        assert axe_violations(watched.page) == []


@pytest.mark.parametrize("page", PAGES)
def test_a_phone_shows_it_without_sideways_scroll(page: str, open_page: Open) -> None:
    with open_page(path_of(page), width=390) as watched:
        wide = watched.page.evaluate(
            """() => [document.documentElement.scrollWidth, ...[...document.querySelectorAll('article *')]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(
              'pre, .mmt-scroll, .pst-scrollable-table-container, mjx-container, .math, .output, svg, .sr-only'))
            .map(e => e.outerHTML.slice(0, 100))]"""
        )
        assert wide == [390]
        assert axe_violations(watched.page) == []


@pytest.mark.parametrize("page", PAGES)
def test_what_scrolls_can_be_reached_by_keyboard(page: str, open_page: Open) -> None:
    with open_page(path_of(page), width=390) as watched:
        unreachable = watched.page.evaluate(
            """() => [...document.querySelectorAll('article *')].filter(e => e.scrollWidth > e.clientWidth + 1
              && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX) && e.clientWidth > 0
              && e.tabIndex < 0 && !e.querySelector('a, button, input, [tabindex="0"]')
              && !e.parentElement.closest('[tabindex="0"]')).map(e => e.outerHTML.slice(0, 120))"""
        )
        assert unreachable == []


@pytest.mark.parametrize("page", PAGES)
def test_widgets_move(page: str, open_page: Open) -> None:
    with open_page(path_of(page)) as watched:
        for number in range(watched.page.locator(".mmt-frames").count()):
            widget = watched.page.locator(".mmt-frames").nth(number)
            slider = widget.locator("input[type=range]")
            if slider.get_attribute("max") == "0":
                continue
            before = (
                widget.locator(".mmt-pics > img:visible").get_attribute("src"),
                widget.locator(".mmt-cap").inner_text(),
            )
            seen = widget.locator(".mmt-pics").screenshot()
            slider.focus()
            at_the_end = slider.input_value() == slider.get_attribute("max")
            watched.page.keyboard.press("ArrowLeft" if at_the_end else "ArrowRight")
            after = (
                widget.locator(".mmt-pics > img:visible").get_attribute("src"),
                widget.locator(".mmt-cap").inner_text(),
            )
            assert before[0] != after[0]
            assert before[1] != after[1]
            assert widget.locator(".mmt-pics").screenshot() != seen
            assert slider.get_attribute("aria-valuetext") == after[1]
        for number in range(watched.page.locator(".mmt-scatter").count()):
            widget = watched.page.locator(".mmt-scatter").nth(number)
            before, seen = widget.locator(".mmt-say").inner_text(), widget.locator(".mmt-plot").screenshot()
            widget.locator(".mmt-near button").first.press("Enter")
            assert widget.locator(".mmt-say").inner_text() != before
            assert widget.locator(".mmt-plot").screenshot() != seen
        assert watched.errors == []


@pytest.mark.parametrize("page", PAGES)
def test_sounds_load(page: str, open_page: Open) -> None:
    with open_page(path_of(page)) as watched:
        durations = watched.page.evaluate(
            """() => Promise.all([...document.querySelectorAll('audio')].map(a => new Promise(done => {
              if (a.readyState >= 1) return done(a.duration);
              a.addEventListener('loadedmetadata', () => done(a.duration)); a.addEventListener('error', () => done(-1));
              setTimeout(() => done(-2), 20000); a.load() })))"""
        )
        assert all(0 < seconds < 60 for seconds in durations), durations
        assert watched.errors == []


def test_there_is_something_to_hear_to_move_and_to_explore() -> None:
    """The tests above pass on a page without widgets; the book must have some."""
    text = "".join(path_of(page).read_text(encoding="utf-8") for page in PAGES)
    for mark in ('class="mmt-w mmt-frames"', 'class="mmt-w mmt-scatter"', "<audio"):
        assert mark in text


def test_search_works_from_disk(open_page: Open) -> None:
    with open_page(HTML / "search.html", query="?q=spectrogram") as watched:
        watched.page.wait_for_selector("#search-results li a", timeout=20_000)
        targets = watched.page.eval_on_selector_all("#search-results li a", "links => links.map(a => a.href)")
        assert any("glossary.html" in target for target in targets)
        assert watched.errors == []


@pytest.mark.parametrize("name", ["search.html", "genindex.html"])
def test_the_other_pages_are_whole_too(name: str, open_page: Open) -> None:
    for dark in (False, True):
        with open_page(HTML / name, dark=dark, width=390) as watched:
            assert axe_violations(watched.page) == []
            assert watched.page.evaluate("document.documentElement.scrollWidth") == 390
            assert watched.errors == []
