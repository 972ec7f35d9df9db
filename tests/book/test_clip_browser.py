"""The clip in a real browser: it plays when asked, and the picture goes with the sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bookkit import Open, axe_violations

from mmtutor.page.clip import clip

pytestmark = pytest.mark.timeout(120)
RATE = 8000
COUNT, PER_SECOND = 20, 10
FRAMES = np.stack([np.full((6, 8, 3), 12 * k, np.uint8) for k in range(COUNT)])
TONE = 0.2 * np.sin(2 * np.pi * 440 * np.arange(RATE * COUNT // PER_SECOND) / RATE)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    alt = [f"grey {k}" for k in range(COUNT)]
    clips = [
        clip(FRAMES, PER_SECOND, label="Silent", alt=alt, labels=alt, id="silent"),
        clip(
            FRAMES,
            PER_SECOND,
            label="Sounding",
            alt=alt,
            wave=TONE,
            sample_rate=RATE,
            id="sounding",
        ),
        clip(FRAMES, PER_SECOND, label="Later", alt=alt, start=5, id="later"),
    ]
    path = tmp_path_factory.mktemp("clip") / "page.html"
    path.write_text(
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Clips</title>'
        '<meta name="viewport" content="width=device-width"><style>:root{color-scheme:light dark}'
        "body{background:Canvas;color:CanvasText}</style></head><body><main><h1>Clips</h1>"
        f"{''.join(one._repr_html_() for one in clips)}</main></body></html>",
        encoding="utf-8",
    )
    return path


def shown(watched, name: str) -> int:
    visible = watched.page.locator(f"#{name} img:visible")
    assert visible.count() == 1
    return int(visible.get_attribute("alt").split()[1])


def wait_for(watched, name: str, least: int) -> None:
    watched.page.wait_for_function(
        "([name, least]) => +document.querySelector(`#${name} input`).value >= least",
        arg=[name, least],
    )


def test_it_stands_still_until_play_is_pressed(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        watched.page.wait_for_timeout(400)
        assert [shown(watched, name) for name in ("silent", "sounding", "later")] == [0, 0, 5]
        assert watched.page.evaluate("document.querySelector('audio').paused")
        clip_, button = watched.page.locator("#silent"), watched.page.locator("#silent button")
        assert button.inner_text() == "▶ Play"
        button.click()
        assert button.inner_text().endswith("Pause")
        assert clip_.locator(".mmt-cap").get_attribute("aria-live") == "off"  # no chatter
        wait_for(watched, "silent", 3)
        button.click()
        stopped = shown(watched, "silent")
        watched.page.wait_for_timeout(300)
        assert shown(watched, "silent") == stopped >= 3
        assert clip_.locator(".mmt-cap").inner_text() == f"grey {stopped}"
        assert clip_.locator(".mmt-cap").get_attribute("aria-live") == "polite"
        assert shown(watched, "later") == 5
        assert watched.errors == []


def test_it_ends_and_begins_again(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        for name in ("silent", "sounding"):
            button = watched.page.locator(f"#{name} button")
            watched.page.locator(f"#{name} input").focus()
            watched.page.keyboard.press("End")
            watched.page.keyboard.press("ArrowLeft")
            assert shown(watched, name) == COUNT - 2
            button.click()
            watched.page.wait_for_function(
                "n => document.querySelector(`#${n} button`).textContent.includes('Play')", arg=name
            )
            assert shown(watched, name) == COUNT - 1
            button.click()
            watched.page.wait_for_function(
                "n => { const v = +document.querySelector(`#${n} input`).value; return v > 0 && v < 10 }",
                arg=name,
            )
            button.click()
        assert watched.errors == []


def test_the_silent_clock_keeps_its_pace(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        seconds = watched.page.evaluate(
            """() => new Promise(done => { const w = document.querySelector('#silent'), t = performance.now();
            w.querySelector('button').click(); const wait = () => w.dataset.playing ? requestAnimationFrame(wait)
            : done((performance.now() - t) / 1000); wait() })"""
        )
        assert seconds == pytest.approx(COUNT / PER_SECOND, abs=0.3)


def test_the_picture_follows_the_sound(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        pairs = watched.page.evaluate(
            """() => new Promise(done => { const w = document.querySelector('#sounding'), a = w.querySelector('audio');
            const seen = []; w.querySelector('button').click(); const look = () => {
            const before = a.currentTime, k = [...w.querySelectorAll('img')].findIndex(i => !i.hidden);
            if (!a.paused && before > 0) seen.push([before, k]);
            a.currentTime > 1 ? done(seen) : setTimeout(look, 20) }; look() })"""
        )
        assert len(pairs) > 10
        assert len({k for _, k in pairs}) >= 5
        for moment, k in pairs:  # at most the picture of the last moment that was drawn
            assert int(moment * PER_SECOND) - 1 <= k <= int(moment * PER_SECOND + 0.01)
        assert watched.errors == []


def test_moving_the_slider_moves_the_sound(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        slider, time = (
            watched.page.locator("#sounding input"),
            "document.querySelector('audio').currentTime",
        )
        slider.focus()
        for _ in range(7):
            watched.page.keyboard.press("ArrowRight")
        assert shown(watched, "sounding") == 7
        assert slider.get_attribute("aria-valuetext") == "8 of 20, 0.70 s"
        assert watched.page.evaluate(time) == pytest.approx(0.7, abs=0.01)
        watched.page.keyboard.press("Space")  # plays on from there
        wait_for(watched, "sounding", 9)
        watched.page.keyboard.press("Home")  # and a touch stops it
        assert watched.page.evaluate("document.querySelector('audio').paused")
        watched.page.wait_for_timeout(300)
        assert shown(watched, "sounding") == 0
        assert watched.page.evaluate(time) == pytest.approx(0, abs=0.01)
        assert watched.errors == []


def test_one_at_a_time(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        watched.page.locator("#sounding button").click()
        wait_for(watched, "sounding", 1)
        watched.page.locator("#silent img:visible").click()  # the picture is a button for the mouse
        wait_for(watched, "silent", 1)
        assert watched.page.evaluate("document.querySelector('audio').paused")
        assert watched.page.locator("#sounding button").inner_text() == "▶ Play"


def test_another_sound_on_the_page_stops_it(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        watched.page.locator("#sounding button").click()
        wait_for(watched, "sounding", 1)
        watched.page.evaluate(
            """() => { const a = document.querySelector('audio').cloneNode(); a.muted = true;
            document.body.append(a); return a.play() }"""
        )
        watched.page.wait_for_function("document.querySelector('#sounding audio').paused")
        assert watched.page.locator("#sounding button").inner_text() == "▶ Play"


def test_without_scripts_a_picture_and_a_player(page_file: Path, open_page: Open) -> None:
    with open_page(page_file, scripts=False) as watched:
        assert [shown(watched, name) for name in ("silent", "sounding", "later")] == [0, 0, 5]
        assert watched.page.locator("#sounding audio").is_visible()
        assert not watched.page.locator("#sounding button").is_visible()
    with open_page(page_file) as watched:
        assert not watched.page.locator("#sounding audio").is_visible()  # one way to play is enough


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_accessible_everywhere(page_file: Path, open_page: Open, dark: bool, width: int) -> None:
    with open_page(page_file, dark=dark, width=width) as watched:
        assert axe_violations(watched.page) == []
        assert watched.page.evaluate("document.documentElement.scrollWidth") == width


def test_the_same_output_twice_on_a_page_works_twice(open_page: Open, tmp_path: Path) -> None:
    html = clip(FRAMES, PER_SECOND, label="Silent", alt="a grey")._repr_html_()
    path = tmp_path / "twice.html"
    path.write_text(
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>t</title>{html}{html}',
        encoding="utf-8",
    )
    with open_page(path) as watched:
        for number in range(2):
            widget = watched.page.locator(".mmt-clip").nth(number)
            widget.get_by_role("button").click()
            watched.page.wait_for_function(
                "k => +document.querySelectorAll('.mmt-clip input')[k].value > 2", arg=number
            )
