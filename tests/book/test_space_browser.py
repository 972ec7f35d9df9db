"""The map of pictures and words in a real browser: by mouse, by keyboard, by touch, on a phone, without scripts."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bookkit import Open, Watched, axe_violations, twice

from mmtutor.page._sheet import number
from mmtutor.page.space import space_map

pytestmark = pytest.mark.timeout(180)
NASTY = "<b>&'\""
N, M, SIDE = 80, 40, 48
RNG = np.random.default_rng(2)
POINTS = RNG.normal(size=(N, 2))
PLACES = np.r_[POINTS[: M - 1] * 0.9, [[4.0, 4.0]]]  # many words lie on pictures, one far away
WORDS = [*(f"word{i}" * (1 + i % 2) for i in range(M - 1)), NASTY]
CAPTIONS = [f"picture {i}, {NASTY}" for i in range(N)]
COLOURS = RNG.integers(0, 256, (N, 1, 1, 3), np.uint8)
NEAR_WORDS = [[((i + j) % M, 0.9 - j / 10) for j in range(4)] for i in range(N)]
NEAR_PICTURES = [[((3 * i + 7 * j) % N, 0.8 - j / 4) for j in range(5)] for i in range(M)]
UNIT = np.concatenate([POINTS, PLACES])
UNIT = (UNIT - UNIT.min(0)) / np.ptp(UNIT, axis=0) * 0.9 + 0.05
UNIT[:, 1] = 1 - UNIT[:, 1]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    widget = space_map(
        POINTS,
        PLACES,
        np.broadcast_to(COLOURS, (N, SIDE, SIDE, 3)),
        CAPTIONS,
        WORDS,
        label="Map",
        near_words=NEAR_WORDS,
        near_pictures=NEAR_PICTURES,
        start="word2",
        quality=90,
        id="map",
    )
    path = tmp_path_factory.mktemp("map") / "page.html"
    path.write_text(
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Map</title>'
        '<meta name="viewport" content="width=device-width"><style>:root{color-scheme:light dark}'
        "body{background:Canvas;color:CanvasText}main{max-width:740px}</style></head>"
        f"<body><main><h1>Map</h1>{widget._repr_html_()}</main></body></html>",
        encoding="utf-8",
    )
    return path


def option(watched: Watched, i: int) -> Any:
    return watched.page.locator("#map [role=option]").nth(i)


def chosen(watched: Watched) -> int:
    """The place of what is chosen; one thing is, and it alone is reached by the Tab key."""
    marked = watched.page.eval_on_selector_all(
        "#map [role=option]",
        """all => ['aria-selected=true', 'tabindex=0', 'class=mmt-sel'].map(m => { const [name, value] = m.split('=');
        return all.flatMap((e, i) => e.getAttribute(name).split(' ').includes(value) ? [i] : []) })""",
    )
    assert marked[0] == marked[1] == marked[2]
    assert len(marked[0]) == 1
    return marked[0][0]


def lit(watched: Watched) -> set[int]:
    return set(
        watched.page.eval_on_selector_all(
            "#map [role=option]",
            "all => all.flatMap((e, i) => e.classList.contains('mmt-lit') ? [i] : [])",
        )
    )


def near(i: int) -> list[tuple[int, float]]:
    if i < N:
        return [(N + j, score) for j, score in NEAR_WORDS[i]]
    return NEAR_PICTURES[i - N]


def check_shown(watched: Watched, i: int) -> None:
    """All that stands on the page when ``i`` is chosen."""
    assert chosen(watched) == i
    assert lit(watched) == {j for j, _ in near(i)}
    assert watched.page.locator("#map line").count() == len(near(i))
    rows = watched.page.locator("#map .mmt-row li")
    if i < N:
        assert rows.all_inner_texts() == [f"{WORDS[j - N]} {number(s)}" for j, s in near(i)]
        assert said(watched) == f"Picture “{CAPTIONS[i]}”: nearest words."
        big = watched.page.locator("#map .mmt-big .mmt-pic")
        assert big.get_attribute("aria-label") == CAPTIONS[i]
    else:
        assert rows.all_inner_texts() == [number(score) for _, score in near(i)]
        names = [row.locator(".mmt-pic").get_attribute("aria-label") for row in rows.all()]
        assert names == [CAPTIONS[j] for j, _ in near(i)]
        assert said(watched) == f"“{WORDS[i - N]}”: nearest pictures."
        assert not watched.page.locator("#map .mmt-big").is_visible()


def said(watched: Watched) -> str:
    return watched.page.locator("#map .mmt-say").inner_text()


def middle(watched: Watched, i: int) -> tuple[float, float]:
    """Where the point of ``i`` lies on the screen, on the whole map."""
    box = watched.page.locator("#map .mmt-map").bounding_box()
    return box["x"] + UNIT[i, 0] * box["width"], box["y"] + UNIT[i, 1] * box["height"]


def boxes(watched: Watched) -> list[list[float]]:
    """Of the words that are written, within the map."""
    return watched.page.evaluate(
        """() => { const m = document.querySelector('#map .mmt-map').getBoundingClientRect();
        return [...document.querySelectorAll('#map .mmt-wd:not(.mmt-dot)')].map(e => e.getBoundingClientRect())
        .filter(b => b.right > m.left && b.left < m.right && b.bottom > m.top && b.top < m.bottom && b.width > 0)
        .map(b => [b.left - m.left, b.top - m.top, b.right - m.left, b.bottom - m.top, m.width, m.height]) }"""
    )


def check_labels(watched: Watched) -> int:
    """No word lies on another; returns how many are written."""
    found = boxes(watched)
    for a, b in itertools.combinations(found, 2):
        assert min(a[2], b[2]) <= max(a[0], b[0]) or min(a[3], b[3]) <= max(a[1], b[1]), (a, b)
    return len(found)


@pytest.mark.parametrize("width", [1280, 390])
def test_words_do_not_lie_on_one_another(page_file: Path, open_page: Open, width: int) -> None:
    with open_page(page_file, width=width) as watched:
        assert check_labels(watched) >= 12
        for left, _, right, _, wide, _ in boxes(watched):
            assert left >= 0
            assert right <= wide
        for i in (0, 5, 33, N, N + 7, N + M - 1):
            watched.page.evaluate(
                "i => document.querySelectorAll('#map [role=option]')[i].click()", i
            )
            check_shown(watched, i)
            check_labels(watched)
            if i < N:  # the words that are linked are written, moved if need be
                dots = watched.page.locator("#map .mmt-lit.mmt-dot").count()
                assert dots == 0
        for _ in range(3):
            watched.page.get_by_role("button", name="Enlarge").click()
            check_labels(watched)
        assert watched.errors == []


def test_what_is_chosen_first(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        check_shown(watched, N + 2)
        assert watched.page.get_by_label("Find a word").input_value() == "word2"
        for i in range(0, N + M, 9):
            x, y = middle(watched, i)
            left, top = option(watched, i).evaluate(
                "e => { const b = e.getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2] }"
            )
            assert top == pytest.approx(y, abs=2)
            assert left == pytest.approx(x, abs=2 if i < N else 60)  # words stay within the map


def test_a_click_chooses_the_nearest(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        screen = np.array([middle(watched, i) for i in range(N + M)])
        covered = [
            i for i in range(N)
            if sorted(np.abs(screen - screen[i]).max(1))[1] > 24  # alone within reach
        ]  # fmt: skip
        for i in covered[:4]:
            watched.page.mouse.click(screen[i][0] + 3, screen[i][1] - 3)
            check_shown(watched, i)
        option(watched, N + M - 1).click()
        check_shown(watched, N + M - 1)
        assert watched.page.locator("#map b").count() == 0
        box = watched.page.locator("#map .mmt-map").bounding_box()
        far = next(
            (x, y) for x in range(20, 700, 20) for y in range(20, 480, 20)
            if np.hypot(*(screen - [box["x"] + x, box["y"] + y]).T).min() > 60
        )  # fmt: skip
        watched.page.mouse.click(box["x"] + far[0], box["y"] + far[1])  # nothing is there
        check_shown(watched, N + M - 1)
        assert watched.errors == []


def test_the_mouse_over_a_word_lights_its_pictures_for_a_while(
    page_file: Path, open_page: Open
) -> None:
    with open_page(page_file) as watched:
        before = said(watched)
        option(watched, N + M - 1).hover()
        assert lit(watched) == {j for j, _ in NEAR_PICTURES[M - 1]}
        assert said(watched) == before
        watched.page.mouse.move(2, 2)
        check_shown(watched, N + 2)


def test_typing_finds_a_word(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        box = watched.page.get_by_label("Find a word")
        box.fill(" WORD8 ")
        check_shown(watched, N + 8)
        box.fill("nowhere")
        check_shown(watched, N + 8)
        box.press("Enter")
        assert said(watched) == "“nowhere” is not among the 40 words here."
        box.fill("constructor")
        box.press("Enter")
        assert said(watched) == "“constructor” is not among the 40 words here."
        box.fill("word8")
        box.press("Enter")
        check_shown(watched, N + 8)
        assert watched.errors == []


def test_neighbours_lead_on(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        at = N + 2
        for step in range(4):
            button = watched.page.locator("#map .mmt-row button").nth(1)
            button.click() if step % 2 else button.press("Enter")
            at = near(at)[1][0]
            check_shown(watched, at)
            assert option(watched, at).evaluate("e => e === document.activeElement")


def test_arrow_keys_walk_through_the_map(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        watched.page.get_by_role("button", name="Whole map").focus()
        watched.page.keyboard.press("Tab")
        assert option(watched, N + 2).evaluate("e => e === document.activeElement")
        seen = set()
        ways = {
            "ArrowRight": (0, 1),
            "ArrowDown": (1, 1),
            "ArrowLeft": (0, -1),
            "ArrowUp": (1, -1),
        }
        for key in [key for key in ways for _ in range(4)]:
            axis, sign = ways[key]
            before = chosen(watched)
            watched.page.keyboard.press(key)
            after = chosen(watched)
            check_shown(watched, after)
            assert option(watched, after).evaluate("e => e === document.activeElement")
            if after != before:
                assert sign * (UNIT[after, axis] - UNIT[before, axis]) > 0
            seen.add(after)
        assert len(seen) >= 5
        watched.page.keyboard.press("Home")
        assert chosen(watched) == N
        watched.page.keyboard.press("End")
        assert chosen(watched) == N + M - 1
        assert watched.errors == []


APART = """() => { const [a, b] = [...document.querySelectorAll('#map .mmt-pt')].slice(4, 6)
.map(e => e.getBoundingClientRect()); return Math.hypot(a.x + a.width / 2 - b.x - b.width / 2,
a.y + a.height / 2 - b.y - b.height / 2) }"""


def spread(watched: Watched) -> float:
    """How far two pictures lie apart on the screen."""
    return watched.page.evaluate(APART)


def test_the_map_can_be_enlarged_by_button_key_and_wheel(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        whole = spread(watched)
        larger, smaller = (
            watched.page.get_by_role("button", name=n) for n in ("Enlarge", "Make smaller")
        )
        larger.click()
        assert spread(watched) == pytest.approx(1.5 * whole, rel=0.01)
        larger.press("Enter")
        assert spread(watched) == pytest.approx(2.25 * whole, rel=0.01)
        smaller.click()
        smaller.click()
        smaller.click()
        assert spread(watched) == pytest.approx(whole, rel=0.01)
        option(watched, N + 2).press("+")
        assert spread(watched) == pytest.approx(1.5 * whole, rel=0.01)
        option(watched, N + 2).press("-")
        option(watched, N + 2).press("+")
        option(watched, N + 2).press("0")
        assert spread(watched) == pytest.approx(whole, rel=0.01)
        x, y = middle(watched, 20)
        watched.page.mouse.move(x, y)
        watched.page.keyboard.down("Control")
        watched.page.mouse.wheel(0, -60)
        watched.page.wait_for_function(
            "() => document.querySelector('#map .mmt-map').matches('.mmt-in')"
        )
        watched.page.keyboard.up("Control")
        assert spread(watched) == pytest.approx(np.exp(0.6) * whole, rel=0.01)
        box = option(watched, 20).bounding_box()  # what lies under the mouse stays there
        assert box["x"] + box["width"] / 2 == pytest.approx(x, abs=3)
        watched.page.get_by_role("button", name="Whole map").click()
        assert spread(watched) == pytest.approx(whole, rel=0.01)
        scrolls = watched.page.evaluate(
            """() => document.querySelector('#map .mmt-map').dispatchEvent(
            new WheelEvent('wheel', {deltaY: -60, bubbles: true, cancelable: true}))"""
        )
        assert scrolls  # without the key the page scrolls
        assert spread(watched) == pytest.approx(whole, rel=0.01)
        assert watched.errors == []


def test_an_enlarged_map_can_be_dragged_and_follows_what_is_chosen(
    page_file: Path, open_page: Open
) -> None:
    with open_page(page_file) as watched:
        for _ in range(4):
            watched.page.get_by_role("button", name="Enlarge").click()
        at = chosen(watched)
        box = watched.page.locator("#map .mmt-map").bounding_box()
        other, x, y = watched.page.evaluate(
            """b => [...document.querySelectorAll('#map [role=option]')].map((e, i) => {
            const r = e.getBoundingClientRect(); return [i, r.x + r.width / 2, r.y + r.height / 2] })
            .find(p => p[1] > b.x + 60 && p[1] < b.x + b.width - 60 && p[2] > b.y + 60
              && p[2] < b.y + b.height - 60 && document.elementFromPoint(p[1], p[2]) !== null)""",
            box,
        )  # what the drag begins on, and ends on
        before = option(watched, 30).bounding_box()
        watched.page.mouse.move(x, y)
        watched.page.mouse.down()
        watched.page.mouse.move(x - 30, y + 20, steps=5)
        watched.page.mouse.up()
        after = option(watched, 30).bounding_box()
        assert after["x"] - before["x"] == pytest.approx(
            -30, abs=8
        )  # the first pixels tell drag from click
        assert after["y"] - before["y"] == pytest.approx(20, abs=8)
        assert other != at
        assert chosen(watched) == at  # the end of a drag is no click
        option(watched, at).focus()
        for key, i in (("Home", N), ("End", N + M - 1)):
            watched.page.keyboard.press(key)
            assert chosen(watched) == i
            seen = option(watched, i).bounding_box()
            assert box["x"] < seen["x"] + seen["width"] / 2 < box["x"] + box["width"]
            assert box["y"] < seen["y"] + seen["height"] / 2 < box["y"] + box["height"]
        for i in (0, N + M - 1, 40):
            watched.page.evaluate(
                "i => { const e = document.querySelectorAll('#map [role=option]')[i]; e.focus({preventScroll: true}) }",
                i,
            )
            box_ = watched.page.get_by_label("Find a word")
            if i >= N:
                box_.fill(WORDS[i - N])
                middle_ = option(watched, i).bounding_box()
                assert (
                    box["x"] - 1
                    <= middle_["x"] + middle_["width"] / 2
                    <= box["x"] + box["width"] + 1
                )
                assert (
                    box["y"] - 1
                    <= middle_["y"] + middle_["height"] / 2
                    <= box["y"] + box["height"] + 1
                )


def test_two_fingers_enlarge_and_one_taps(page_file: Path, open_page: Open, browser: Any) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 900}, has_touch=True, is_mobile=True
    )
    watched = Watched(context.new_page())
    watched.page.on("pageerror", lambda error: watched.errors.append(str(error)))
    try:
        watched.page.goto(page_file.as_uri())
        whole = spread(watched)
        box = watched.page.locator("#map .mmt-map").bounding_box()
        touch = context.new_cdp_session(watched.page)
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

        def fingers(kind: str, *apart: float) -> None:
            touch.send(
                "Input.dispatchTouchEvent",
                {
                    "type": kind,
                    "touchPoints": [{"x": x + a, "y": y, "id": k} for k, a in enumerate(apart)],
                },
            )

        fingers("touchStart", -30)
        fingers("touchStart", -30, 30)
        for step in range(1, 7):
            fingers("touchMove", -30 - 5 * step, 30 + 5 * step)
        fingers("touchEnd")
        watched.page.wait_for_function(f"whole => ({APART})() > 1.5 * whole", arg=whole)
        assert spread(watched) < 2.5 * whole
        assert chosen(watched) == N + 2
        watched.page.get_by_role("button", name="Whole map").tap()
        box = option(watched, N + M - 1).bounding_box()
        watched.page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        check_shown(watched, N + M - 1)
        assert watched.errors == []
    finally:
        context.close()


def test_each_place_shows_its_own_picture(page_file: Path, open_page: Open) -> None:
    from PIL import Image

    with open_page(page_file) as watched:
        for row in watched.page.locator("#map .mmt-row .mmt-pic").all():
            i = CAPTIONS.index(row.get_attribute("aria-label"))
            screen = np.asarray(Image.open(io.BytesIO(row.screenshot())).convert("RGB"))
            assert (
                np.abs(screen[4:-4, 4:-4].reshape(-1, 3).astype(int) - COLOURS[i, 0, 0]).max() < 12
            )
        thumb = option(watched, near(N + 2)[0][0]).locator(".mmt-pic")
        place = thumb.evaluate(
            "e => [e.style.width, e.style.backgroundPosition, e.style.backgroundSize]"
        )
        assert place[0] == "34px"


def test_without_scripts_the_map_and_the_first_neighbours_are_there(
    page_file: Path, open_page: Open
) -> None:
    for width in (1280, 390):
        with open_page(page_file, scripts=False, width=width) as watched:
            assert watched.page.locator("#map [role=option]").count() == N + M
            assert watched.page.locator("#map .mmt-row .mmt-pic").count() == 5
            assert said(watched) == "“word2”: nearest pictures."
            assert not watched.page.get_by_label("Find a word").is_visible()
            assert watched.page.locator("#map button:visible").count() == 0
            assert lit(watched) == {j for j, _ in NEAR_PICTURES[2]}
            words = watched.page.locator("#map .mmt-wd:not(.mmt-dot):visible")
            found = [one.bounding_box() for one in words.all()]
            assert len(found) >= 8
            for a, b in itertools.combinations(found, 2):
                assert (
                    min(a["x"] + a["width"], b["x"] + b["width"]) <= max(a["x"], b["x"]) + 1
                    or min(a["y"] + a["height"], b["y"] + b["height"]) <= max(a["y"], b["y"]) + 1
                )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_accessible_everywhere(page_file: Path, open_page: Open, dark: bool, width: int) -> None:
    with open_page(page_file, dark=dark, width=width) as watched:
        assert axe_violations(watched.page) == []
        watched.page.evaluate("document.querySelectorAll('#map [role=option]')[3].click()")
        check_shown(watched, 3)
        assert axe_violations(watched.page) == []
        assert watched.page.evaluate("document.documentElement.scrollWidth") == width
        assert watched.errors == []


def test_the_same_output_twice_on_a_page_works_twice(page_file: Path, open_page: Open) -> None:
    with open_page(twice(page_file)) as watched:
        both = watched.page.locator(".mmt-space")
        assert both.count() == 2
        for k in range(2):
            both.nth(k).get_by_label("Find a word").fill("word4")
            assert both.nth(k).locator(".mmt-say").inner_text() == "“word4”: nearest pictures."
        ids = [both.nth(i).locator("datalist").get_attribute("id") for i in range(2)]
        assert ids[0] != ids[1]
