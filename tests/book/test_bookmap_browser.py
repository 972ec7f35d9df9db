"""The map of the book in a real browser: by mouse, by keyboard, on a phone, without scripts."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from bookkit import Open, Watched, axe_violations, twice

from mmtutor.page.bookmap import GO, HERE, NOT_YET, bookmap

pytestmark = pytest.mark.timeout(180)
NASTY = "<b>&'\""
CHAPTERS = [
    ("Begin", "All of them at once.", "words", ("sounds", "pictures"), "foundation", "page.html"),
    ("Letters", "One letter by one.", "words", None, "foundation", "other.html#letters"),
    ("Meet", f"They meet. {NASTY}", "pictures", "words", "matching", "other.html"),
    ("Tell", "A line long enough to fill more than one row of a phone, and then some more of it.",
     "pictures", "words", ("translating", "referencing back"), "other.html?x=1"),
    ("Film", "It moves.", "moving pictures", "words", "translating", None),
    (f"W{'m' * 20}W", "Wide.", "sounds", "pictures", "matching", None),
    ("Hear", "It hears.", "sounds", "moving pictures", "referencing", None),
    ("Sing", "It sings.", "words", "sounds", "translating", "https://example.org/"),
    *((f"Road {i}", "One of many.", "sounds", "pictures", "referencing", None) for i in range(8)),
    ("Waves", "Up and down.", "sounds", None, "foundation", "other.html"),
]  # fmt: skip
HOW = {
    "Begin": "words, sounds and pictures together",
    "Letters": "about words",
    "Meet": "pictures and words meet",
    "Tell": "pictures become words, words point into pictures",
    "Film": "moving pictures become words",
    "Hear": "sounds point into moving pictures",
    "Sing": "words become sounds",
}
ROWS = {name: k for k, (name, *_) in enumerate(CHAPTERS)}
WAYS = {"Foundations": 3, "Matching": 2, "Translating": 3, "Referencing": 10}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    widget = bookmap(CHAPTERS, label="Roads", here="Begin", start="Meet", id="roads")
    path = tmp_path_factory.mktemp("roads") / "page.html"
    page = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Roads</title>'
        '<meta name="viewport" content="width=device-width"><style>:root{color-scheme:light dark}'
        "body{background:Canvas;color:CanvasText}main{max-width:740px}</style></head>"
        "<body><main><h1>Roads</h1>%s</main></body></html>"
    )
    path.write_text(page % widget._repr_html_(), encoding="utf-8")
    path.with_name("other.html").write_text(page % "<p>Another page</p>", encoding="utf-8")
    return path


def road(watched: Watched, name: str) -> Any:
    return watched.page.locator(f"#roads svg.mmt-roads:visible [data-i='{ROWS[name]}']")


def check_shown(watched: Watched, name: str) -> None:
    """All that stands on the page when a chapter is chosen: one is, in both drawings, and it alone
    is reached by the Tab key."""
    _, line, *_, href = CHAPTERS[ROWS[name]]
    for drawing in watched.page.locator("#roads svg.mmt-roads").all():
        marked = drawing.locator(".mmt-road").evaluate_all(
            """all => ['aria-selected=true', 'tabindex=0', 'class=mmt-sel'].map(m => {
            const [name, value] = m.split('=');
            return all.filter(e => e.getAttribute(name).split(' ').includes(value)).map(e => +e.dataset.i) })"""
        )
        assert marked == [[ROWS[name]]] * 3
    card = watched.page.locator("#roads .mmt-card")
    assert card.locator(".mmt-name").inner_text() == name
    assert card.locator(".mmt-line").inner_text() == line
    if name in HOW:
        assert card.locator(".mmt-how").inner_text() == HOW[name]
    note = HERE if name == "Begin" else "" if href else NOT_YET
    assert card.locator(".mmt-not").is_visible() == bool(note)
    assert card.locator(".mmt-not").inner_text() == note
    link = card.locator("a")
    if note:
        assert not link.is_visible()
        assert link.get_attribute("href") is None
    else:
        assert link.get_attribute("href") == href
        assert link.inner_text() == GO


def lit(watched: Watched) -> list[int]:
    return watched.page.locator("#roads svg.mmt-roads:visible .mmt-lit").evaluate_all(
        "all => all.map(e => +e.dataset.i).sort((a, b) => a - b)"
    )


@pytest.mark.parametrize("width", [1280, 390])
def test_a_click_on_a_road_shows_its_line_and_its_link(
    page_file: Path, open_page: Open, width: int
) -> None:
    with open_page(page_file, width=width) as watched:
        check_shown(watched, "Meet")
        for name in ROWS:
            road(watched, name).locator("text").click()
            check_shown(watched, name)
            assert road(watched, name).evaluate("e => e === document.activeElement")
        road(watched, "Sing").locator(".mmt-strand").first.dispatch_event("click")
        check_shown(watched, "Sing")  # the road itself too, not only its sign
        assert watched.page.locator("#roads b").count() == 0
        assert watched.errors == []


def test_a_road_can_be_hit_beside_its_line(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        x, y = road(watched, "Waves").evaluate(
            """e => { const p = e.querySelector('.mmt-strand'), q = p.getPointAtLength(p.getTotalLength() * .6);
            const at = new DOMPoint(q.x, q.y).matrixTransform(p.getScreenCTM()); return [at.x, at.y] }"""
        )
        watched.page.mouse.click(x + 3, y)
        check_shown(watched, "Waves")


@pytest.mark.parametrize("width", [1280, 390])
def test_the_link_leads_to_the_chapter(page_file: Path, open_page: Open, width: int) -> None:
    with open_page(page_file, width=width) as watched:
        road(watched, "Tell").locator("text").click()
        watched.page.locator("#roads .mmt-card a").click()
        watched.page.wait_for_url("**/other.html?x=1")
        assert watched.page.get_by_text("Another page").is_visible()
        assert watched.errors == []


def test_by_keyboard(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        order = watched.page.locator("#roads svg.mmt-roads:visible .mmt-road").evaluate_all(
            "all => all.map(e => +e.dataset.i)"
        )
        names = [CHAPTERS[i][0] for i in order]
        assert names[0] == "Letters"
        assert names[-1] == "Waves"
        watched.page.get_by_role("button", name="Referencing").focus()
        watched.page.keyboard.press("Tab")
        assert road(watched, "Meet").evaluate("e => e === document.activeElement")
        ring = road(watched, "Meet").locator(".mmt-ring")
        assert ring.evaluate("e => getComputedStyle(e).display") != "none"
        at = names.index("Meet")
        for key, step in [("ArrowDown", 1), ("ArrowRight", 1), ("ArrowUp", -1), ("ArrowLeft", -1)]:
            watched.page.keyboard.press(key)
            at += step
            check_shown(watched, names[at])
        watched.page.keyboard.press("End")
        check_shown(watched, names[-1])
        watched.page.keyboard.press("ArrowDown")
        check_shown(watched, names[-1])
        watched.page.keyboard.press("Home")
        check_shown(watched, names[0])
        watched.page.keyboard.press("ArrowUp")
        check_shown(watched, names[0])
        watched.page.keyboard.press("Tab")
        assert watched.page.evaluate("document.activeElement.textContent") == GO
        watched.page.keyboard.press("Shift+Tab")
        watched.page.keyboard.press("Enter")
        watched.page.wait_for_url("**/other.html#letters")
        assert watched.errors == []


def test_enter_on_what_is_not_written_stays(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        for name in ("Film", "Begin"):
            road(watched, name).locator("text").click()
            watched.page.keyboard.press("Enter")
            check_shown(watched, name)
        assert watched.page.url == page_file.as_uri()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_switches_light_the_roads_of_a_way(
    page_file: Path, open_page: Open, width: int
) -> None:
    with open_page(page_file, width=width) as watched:
        buttons = watched.page.locator("#roads button")
        assert [one.inner_text() for one in buttons.all()] == list(WAYS)
        before = watched.page.locator("#roads .mmt-about").inner_text()
        top = watched.page.locator("#roads svg.mmt-roads:visible").bounding_box()["y"]
        for title, count in WAYS.items():
            button = watched.page.get_by_role("button", name=title)
            button.press("Enter") if count % 2 else button.click()
            pressed = [one.get_attribute("aria-pressed") for one in buttons.all()]
            assert pressed == [str(way == title).lower() for way in WAYS]
            own = [
                k
                for k, (*_, ways, _) in enumerate(CHAPTERS)
                for way in ([ways] if isinstance(ways, str) else ways)
                if way.split()[0] == title.lower().rstrip("s")
            ]
            assert len(own) == count
            assert lit(watched) == own
            dim = watched.page.locator("#roads svg.mmt-roads:visible .mmt-dim").count()
            assert dim == len(CHAPTERS) - count
            said = watched.page.locator("#roads .mmt-about").inner_text()
            assert said.startswith(f"{title}: ")
            assert f" {count} chapters" in said
            # what lies below does not jump
            assert watched.page.locator("#roads svg.mmt-roads:visible").bounding_box()["y"] == top
        off = road(watched, "Tell").locator(".mmt-off")  # of a chapter with two ways the other one
        assert [one.get_attribute("data-way") for one in off.all()] == ["translating"] * 2
        watched.page.get_by_role("button", name="Referencing").click()
        assert lit(watched) == []
        assert watched.page.locator("#roads .mmt-dim, #roads .mmt-off").count() == 0
        assert watched.page.locator("#roads .mmt-about").inner_text() == before
        check_shown(watched, "Meet")
        assert watched.errors == []


@pytest.mark.parametrize(("width", "name"), [(1280, "desk"), (640, "desk"), (390, "phone")])
def test_one_drawing_is_seen_and_its_texts_fit(
    page_file: Path, open_page: Open, width: int, name: str
) -> None:
    with open_page(page_file, width=width) as watched:
        seen = watched.page.locator("#roads svg.mmt-roads:visible")
        assert seen.count() == 1
        assert f"mmt-{name}" in seen.get_attribute("class")
        boxes = seen.evaluate(
            """svg => [svg, ...svg.querySelectorAll('text')].map(e => { const b = e.getBoundingClientRect();
            return [b.left, b.top, b.right, b.bottom] })"""
        )
        whole, texts = boxes[0], boxes[1:]
        for box in texts:
            assert whole[0] - 1 <= box[0]
            assert box[2] <= whole[2] + 1
            assert whole[1] <= box[1]
            assert box[3] <= whole[3] + 1
        for a, b in itertools.combinations(texts, 2):  # they may touch, line by line
            assert min(a[2], b[2]) <= max(a[0], b[0]) or min(a[3], b[3]) <= max(a[1], b[1]) + 4
        inside = seen.evaluate(
            """svg => [...svg.querySelectorAll('.mmt-road')].map(g => {
            const a = g.querySelector('.mmt-sign').getBoundingClientRect(), b = g.querySelector('text').getBoundingClientRect();
            return a.left < b.left + .5 && b.right - .5 < a.right && a.top < b.top + 1 && b.bottom - 1 < a.bottom })"""
        )
        assert all(inside)
        size = float(seen.get_attribute("font-size"))
        scale = (whole[2] - whole[0]) / float(seen.get_attribute("viewBox").split()[2])
        assert size * scale >= (9 if width == 390 else 11)
        rows = seen.locator(".mmt-sign").evaluate_all(
            "all => all.map(e => e.getBoundingClientRect().height)"
        )
        assert min(rows) >= 24 or width == 640  # large enough for a finger


@pytest.mark.parametrize("width", [1280, 390])
def test_what_the_card_says_is_in_sight_and_hides_no_chosen_sign(
    page_file: Path, open_page: Open, width: int
) -> None:
    with open_page(page_file, width=width) as watched:
        watched.page.set_viewport_size({"width": width, "height": 560})
        road(watched, "Letters").locator("text").click()
        for _ in range(len(CHAPTERS) - 1):
            watched.page.keyboard.press("ArrowDown")
            card = watched.page.locator("#roads .mmt-card").bounding_box()
            sign = watched.page.locator(
                "#roads svg.mmt-roads:visible .mmt-sel .mmt-sign"
            ).bounding_box()
            assert card["y"] >= 0
            assert card["y"] + card["height"] <= 560
            assert sign["y"] >= 0
            assert sign["y"] + sign["height"] <= card["y"]
        check_shown(watched, "Waves")


def test_a_dot_goes_along_the_chosen_road_and_is_gone(page_file: Path, open_page: Open) -> None:
    with open_page(page_file, motion=True, clock=True) as watched:
        dots = watched.page.locator("#roads .mmt-dot")
        assert dots.count() == 0
        place = "all => all.map(e => [+e.getAttribute('cx'), +e.getAttribute('cy')])"
        road(watched, "Tell").locator("text").click()
        xs = []
        for _ in range(5):
            watched.page.clock.run_for(200)
            ((x, _),) = dots.evaluate_all(place)
            xs.append(x)
        assert xs == sorted(xs, reverse=True)  # from pictures, on the right, to words
        assert xs[0] > 480 > 240 > xs[-1]
        watched.page.clock.run_for(400)
        assert dots.count() == 0
        road(watched, "Meet").locator("text").click()
        watched.page.clock.run_for(500)
        (a, _), (b, _) = sorted(dots.evaluate_all(place))
        assert a < 240 < 480 < b  # they come from both sides
        road(watched, "Begin").locator("text").click()
        watched.page.clock.run_for(500)
        assert dots.count() == 3
        watched.page.clock.run_for(1000)
        assert dots.count() == 0
        road(watched, "Letters").locator("text").click()  # a place: nowhere to go
        watched.page.clock.run_for(200)
        assert dots.count() == 0
        assert watched.errors == []
    with open_page(page_file, clock=True) as watched:  # who wants no motion sees none
        road(watched, "Tell").locator("text").click()
        watched.page.clock.run_for(200)
        assert watched.page.locator("#roads .mmt-dot").count() == 0
        moving = watched.page.locator("#roads .mmt-strand").first.evaluate(
            "e => getComputedStyle(e).transitionDuration"
        )
        assert set(moving.split(", ")) == {"0s"}


@pytest.mark.parametrize("width", [1280, 390])
def test_without_scripts_there_are_the_picture_and_a_list_of_links(
    page_file: Path, open_page: Open, width: int
) -> None:
    with open_page(page_file, scripts=False, width=width) as watched:
        assert watched.page.locator("#roads svg.mmt-roads:visible .mmt-sign").count() == len(
            CHAPTERS
        )
        assert watched.page.locator("#roads button:visible").count() == 0
        assert watched.page.locator("#roads [tabindex]").count() == 0
        key = watched.page.locator("#roads .mmt-key li:visible")
        assert key.count() == 4
        assert "Matching: two modalities meet in one space" in key.all_inner_texts()
        items = watched.page.locator("#roads .mmt-list li:visible")
        assert items.count() == len(CHAPTERS)
        for item, (name, line, *_, href) in zip(items.all(), CHAPTERS, strict=True):
            assert item.inner_text().startswith(f"{name} (")
            assert line in item.inner_text()
            assert item.locator("a").count() == (href is not None and name != "Begin")
        assert watched.page.locator("#roads .mmt-card a").get_attribute("href") == "other.html"
        items.nth(1).locator("a").click()
        watched.page.wait_for_url("**/other.html#letters")


def test_with_a_script_the_list_is_folded_and_can_be_opened(
    page_file: Path, open_page: Open
) -> None:
    with open_page(page_file) as watched:
        items = watched.page.locator("#roads .mmt-list li:visible")
        assert items.count() == 0
        watched.page.get_by_text("All chapters as a list").click()
        assert items.count() == len(CHAPTERS)
        assert watched.page.locator("#roads .mmt-key").is_hidden()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_accessible_everywhere(page_file: Path, open_page: Open, dark: bool, width: int) -> None:
    with open_page(page_file, dark=dark, width=width) as watched:
        assert axe_violations(watched.page) == []
        seen = watched.page.locator("#roads svg.mmt-roads:visible")
        assert seen.get_attribute("role") == "listbox"
        options = watched.page.get_by_role("option")
        assert options.count() == len(CHAPTERS)
        told = {one.get_attribute("aria-label") for one in options.all()}
        assert "Meet: pictures and words meet." in told
        assert f"Film: moving pictures become words. {NOT_YET}" in told
        road(watched, "Tell").locator("text").click()
        watched.page.get_by_role("button", name="Matching").click()
        watched.page.get_by_text("All chapters as a list").click()
        assert axe_violations(watched.page) == []
        colour = road(watched, "Meet").locator(".mmt-sign").evaluate(
            "e => getComputedStyle(e).stroke"
        )  # fmt: skip
        assert colour == ("rgb(86, 180, 233)" if dark else "rgb(0, 114, 178)")
        assert watched.page.evaluate("document.documentElement.scrollWidth") == width
        assert watched.errors == []


def test_the_same_output_twice_on_a_page_works_twice(page_file: Path, open_page: Open) -> None:
    with open_page(twice(page_file)) as watched:
        both = watched.page.locator(".mmt-bookmap")
        assert both.count() == 2
        for k, name in enumerate(("Tell", "Sing")):
            both.nth(k).locator(f"svg:visible [data-i='{ROWS[name]}'] text").click()
        names = [both.nth(k).locator(".mmt-name").inner_text() for k in range(2)]
        assert names == ["Tell", "Sing"]
        assert watched.errors == []
