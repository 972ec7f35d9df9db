"""The pages in a real browser, opened from disk, with the network blocked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bookkit import HTML, Open, Watched, axe_violations, toc_pages

PAGES = toc_pages()
pytestmark = [pytest.mark.usefixtures("html"), pytest.mark.timeout(180)]


def path_of(page: str) -> Path:
    return HTML / f"{page}.html"


def test_the_first_page_leads_to_the_book(open_page: Open) -> None:
    with open_page(HTML / "index.html", scripts=False) as watched:
        watched.page.wait_for_url("**/book/index.html")
        assert watched.page.locator("article h1").is_visible()


@pytest.fixture(scope="module", params=PAGES)
def wide(request: pytest.FixtureRequest, open_page: Open) -> Iterator[Watched]:
    """A page at the width of a desk, opened once for all the tests that look at it."""
    with open_page(path_of(request.param)) as watched:
        yield watched


@pytest.fixture(scope="module", params=PAGES)
def narrow(request: pytest.FixtureRequest, open_page: Open) -> Iterator[Watched]:
    """A page at the width of a phone."""
    with open_page(path_of(request.param), width=390) as watched:
        yield watched


def test_opens_without_an_error(wide: Watched) -> None:
    assert wide.page.locator("article h1").is_visible()
    assert wide.errors == []


def test_mathematics_is_typeset(wide: Watched) -> None:
    formulas, typeset = wide.page.evaluate(
        "[document.querySelectorAll('.math').length, document.querySelectorAll('.math mjx-container').length]"
    )
    assert typeset >= formulas
    assert wide.page.locator("mjx-merror, [data-mjx-error]").count() == 0
    raw = wide.page.evaluate(
        """() => { const copy = document.querySelector('article').cloneNode(true);
        copy.querySelectorAll('pre, code, script, style, mjx-container, .mmt-w').forEach(e => e.remove());
        return (copy.textContent.match(/\\$\\$|\\\\\\(|\\\\\\[|\\\\begin\\{|\\{(cite|eq|numref|ref|term)\\}/g) || []) }"""
    )
    assert raw == [], "raw mark-up on the page"


def test_search_boxes_search(wide: Watched) -> None:
    for number in range(wide.page.locator(".mmt-find").count()):
        box = wide.page.locator(".mmt-find").nth(number)
        field = box.locator(".mmt-ask input")
        before = box.inner_text()
        field.fill("snow")
        wide.page.wait_for_function(
            "([k, old]) => document.querySelectorAll('.mmt-find')[k].innerText !== old",
            arg=[number, before],
        )
    assert wide.errors == []


def test_the_book_has_mathematics(open_page: Open) -> None:
    with open_page(path_of("book/notation")) as watched:
        assert watched.page.locator(".math mjx-container").count() > 10


def test_widgets_move(wide: Watched) -> None:
    for number in range(wide.page.locator(".mmt-frames").count()):
        widget = wide.page.locator(".mmt-frames").nth(number)
        slider, picture = widget.locator("input[type=range]"), widget.locator(".mmt-pics")
        sources = picture.locator("img").evaluate_all("images => images.map(image => image.src)")
        if len(sources) == 1:
            continue
        now, caption = int(slider.input_value()), widget.locator(".mmt-cap").inner_text()
        others = [place for place, source in enumerate(sources) if source != sources[now]]
        assert others, "all the pictures are the same"
        target = min(
            others, key=lambda place: abs(place - now)
        )  # neighbours may be equal: a clip may start at rest
        seen = picture.screenshot()
        for _ in range(abs(target - now)):
            slider.press("ArrowRight" if target > now else "ArrowLeft")
        assert picture.locator("img:visible").get_attribute("src") == sources[target]
        assert picture.screenshot() != seen
        assert widget.locator(".mmt-cap").inner_text() != caption
        assert slider.get_attribute("aria-valuetext") == widget.locator(".mmt-cap").inner_text()
    for number in range(wide.page.locator(".mmt-scatter").count()):
        widget = wide.page.locator(".mmt-scatter").nth(number)
        before, seen = (
            widget.locator(".mmt-say").inner_text(),
            widget.locator(".mmt-plot").screenshot(),
        )
        widget.locator(".mmt-near button").first.press("Enter")
        assert widget.locator(".mmt-say").inner_text() != before
        assert widget.locator(".mmt-plot").screenshot() != seen
    assert wide.errors == []


def test_clips_play(wide: Watched) -> None:
    for number in range(wide.page.locator(".mmt-clip").count()):
        widget = wide.page.locator(".mmt-clip").nth(number)
        slider, button = widget.locator("input[type=range]"), widget.locator("[data-play]")
        before = slider.input_value()
        button.click()
        wide.page.wait_for_function(
            "([k, old]) => document.querySelectorAll('.mmt-clip input')[k].value !== old",
            arg=[number, before],
        )
        button.click()
    assert wide.errors == []


def test_sounds_load(wide: Watched) -> None:
    durations = wide.page.evaluate(
        """() => Promise.all([...document.querySelectorAll('audio')].map(a => new Promise(done => {
          if (a.readyState >= 1) return done(a.duration);
          a.addEventListener('loadedmetadata', () => done(a.duration)); a.addEventListener('error', () => done(-1));
          setTimeout(() => done(-2), 60000); a.load() })))"""
    )
    assert all(0 < seconds < 60 for seconds in durations), durations
    assert wide.errors == []


def test_accessible_in_the_light(wide: Watched) -> None:
    assert wide.page.evaluate("document.documentElement.dataset.theme") == "light"
    assert axe_violations(wide.page) == []


@pytest.mark.parametrize("page", PAGES)
def test_accessible_in_the_dark(page: str, open_page: Open) -> None:
    with open_page(path_of(page), dark=True) as watched:
        assert watched.page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert axe_violations(watched.page, colours=True) == []  # the rest is as in the light


@pytest.mark.parametrize("dark", [False, True])
def test_one_pale_sort_of_token_is_found(open_page: Open, dark: bool) -> None:
    """Of the tokens of code one of each kind stands for all in the check of contrast; none is missed."""
    with open_page(path_of("book/bigger"), dark=dark) as watched:
        kinds = watched.page.evaluate(
            "() => [...new Set([...document.querySelectorAll('div.highlight span[class]')]"
            ".filter((e) => e.textContent.trim()).map((e) => e.className))]"
        )
        assert len(kinds) > 2
        last = watched.page.locator(f"div.highlight .{kinds[-1]}").last
        assert axe_violations(watched.page) == []
        last.evaluate("(e, colour) => e.style.color = colour", "#444" if dark else "#ccc")
        (found,) = axe_violations(watched.page)
        assert found.startswith("color-contrast")
        assert f'class="{kinds[-1]}"' in found


def test_what_is_pale_is_found_wherever_it_stands(open_page: Open, tmp_path: Path) -> None:
    """A pale token, one that is pale only on the ground of its line, and pale prose; each is found, and the page is
    as before."""
    page = tmp_path / "pale.html"
    line = '<span class="hll">{}<span class="n">a name</span>\n</span>'
    code = '<span class="n">a name</span> <span class="{}">{}</span>\n'
    page.write_text(
        '<!doctype html><html lang="en"><title>pale</title><style>.k { color: #444 } .w { color: #ccc } '
        "pre, .n { color: #111 } .hll { background: #555 } .hll .n { color: #fff }</style><main><h1>Pale</h1>"
        f"<div class='highlight'><pre>{code.format('k', 'good')}{code.format('w', 'bad')}"
        f"{line.format('')}{line.format('<span class=k>bad</span> ')}</pre></div>"
        "<p style='color: #ccc'>bad</p></main></html>",
        encoding="utf-8",
    )
    with open_page(page, scripts=True) as watched:
        before = watched.page.content()
        found = axe_violations(watched.page)
        assert [one.split(":")[0].split(" ")[0] for one in found] == ["color-contrast"] * 3
        assert sorted(one.split(": ", 1)[1][:9] for one in found) == [
            "<p style=",
            "<span cla",
            "<span cla",
        ]
        assert watched.page.content() == before


def test_a_phone_shows_it_without_sideways_scroll(narrow: Watched) -> None:
    wide = narrow.page.evaluate(
        """() => [document.documentElement.scrollWidth, ...[...document.querySelectorAll('article *')]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(
          'pre, .mmt-scroll, .pst-scrollable-table-container, mjx-container, .math, .output, svg, .sr-only'))
        .map(e => e.outerHTML.slice(0, 100))]"""
    )
    assert wide == [390]
    assert narrow.errors == []


def test_accessible_on_a_phone(narrow: Watched) -> None:
    assert axe_violations(narrow.page, colours=False) == []  # colours are those of the wide page


def test_what_scrolls_can_be_reached_by_keyboard(narrow: Watched) -> None:
    unreachable = narrow.page.evaluate(
        """() => [...document.querySelectorAll('article *')].filter(e => e.scrollWidth > e.clientWidth + 1
          && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX) && e.clientWidth > 0
          && e.tabIndex < 0 && !e.querySelector('a, button, input, [tabindex="0"]')
          && !e.parentElement.closest('[tabindex="0"]')).map(e => e.outerHTML.slice(0, 120))"""
    )
    assert unreachable == []


def test_there_is_something_to_hear_to_move_and_to_explore() -> None:
    """The tests above pass on a page without widgets; the book must have some."""
    text = "".join(path_of(page).read_text(encoding="utf-8") for page in PAGES)
    for mark in ('class="mmt-w mmt-frames"', 'class="mmt-w mmt-scatter"', "<audio"):
        assert mark in text


def test_search_works_from_disk(open_page: Open) -> None:
    with open_page(HTML / "search.html", query="?q=spectrogram") as watched:
        watched.page.wait_for_selector("#search-results li a")
        targets = watched.page.eval_on_selector_all(
            "#search-results li a", "links => links.map(a => a.href)"
        )
        assert any("glossary.html" in target for target in targets)
        assert watched.errors == []


@pytest.mark.parametrize("name", ["search.html", "genindex.html"])
def test_the_other_pages_are_whole_too(name: str, open_page: Open) -> None:
    for dark in (False, True):
        with open_page(HTML / name, dark=dark, width=390) as watched:
            assert axe_violations(watched.page) == []
            assert watched.page.evaluate("document.documentElement.scrollWidth") == 390
            assert watched.errors == []
