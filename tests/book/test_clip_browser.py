"""The clip in a real browser: it plays when asked, and the picture goes with the sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bookkit import Open, axe_violations

from mmtutor.page.clip import clip

pytestmark = pytest.mark.timeout(120)
RATE = 8000
COUNT, PER_SECOND = 20, 4
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
        assert watched.page.locator("#silent button").inner_text() == "▶ Play"
        watched.page.locator("#silent button").click()
        wait_for(watched, "silent", 1)
        assert shown(watched, "later") == 5
        assert watched.errors == []


def test_each_picture_has_its_time_and_a_pause_keeps_it(page_file: Path, open_page: Open) -> None:
    """By a clock that the test moves: in the middle of a picture's time it is the one that is shown."""
    with open_page(page_file, clock=True) as watched:
        clip_, button = watched.page.locator("#silent"), watched.page.locator("#silent button")
        caption, go_on = clip_.locator(".mmt-cap"), watched.page.clock.run_for
        one = 1000 // PER_SECOND
        button.click()
        assert button.inner_text().endswith("Pause")
        assert caption.get_attribute("aria-live") == "off"  # no chatter
        go_on(one // 2)
        for k in range(COUNT):
            assert shown(watched, "silent") == k
            assert clip_.locator("input").input_value() == str(k)
            assert caption.inner_text() == f"grey {k}"
            if k == 3:
                button.click()
                go_on(3 * one)
                assert shown(watched, "silent") == 3
                assert button.inner_text() == "▶ Play"
                assert caption.get_attribute("aria-live") == "polite"
                button.click()  # goes on with the same picture, from its beginning
                go_on(one // 2)
                assert shown(watched, "silent") == 3
            assert button.inner_text().endswith("Pause")
            go_on(one)
        assert shown(watched, "silent") == COUNT - 1
        assert button.inner_text() == "▶ Play"
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
            first = watched.page.evaluate(  # read in the same breath: nothing has moved since
                """n => { const w = document.querySelector('#' + n); w.querySelector('button').click();
                return [+w.querySelector('input').value, w.dataset.playing] }""",
                name,
            )
            assert first == [0, "1"]
            wait_for(watched, name, 1)
        assert watched.errors == []


# Notes each change of picture at the moment at which it happens: an observer is called in the task that draws, so
# a slow machine draws late but is not noted late. `ask` plays (again) until there are enough changes.
WATCH = """(name) => { const w = document.querySelector('#' + name), a = w.querySelector('audio');
const pictures = [...w.querySelectorAll('img')], seen = []; let began = 0;
new MutationObserver(() => { if (w.dataset.playing) seen.push(
  [a ? a.currentTime : (performance.now() - began) / 1000, pictures.findIndex(i => !i.hidden)]) })
.observe(w.querySelector('.mmt-pics'), {attributes: true, attributeFilter: ['hidden'], subtree: true});
window.ask = most => { if (seen.length >= most) return seen;
if (!w.dataset.playing) { began = performance.now(); w.querySelector('button').click() } return null } }"""


def changes(watched, name: str, most: int = 12) -> list[tuple[float, int]]:
    watched.page.evaluate(WATCH, name)
    return watched.page.wait_for_function("most => ask(most)", arg=most).json_value()


def follows(pairs: list[tuple[float, int]], per_second: float = PER_SECOND) -> bool:
    """No picture comes before its time, and a change brings the picture of that very moment, not an earlier one.

    (Up to half of the changes may be noted later: a machine may pause between the page's look at the clock and ours.)
    """
    behind = sorted(int(moment * per_second + 0.01) - k for moment, k in pairs)
    return behind[0] >= 0 and behind[len(behind) // 2] == 0 and len({k for _, k in pairs}) > 2


def test_the_silent_picture_follows_the_clock(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        pairs = changes(watched, "silent")
        assert follows(pairs), pairs
        assert watched.errors == []


@pytest.mark.parametrize("speed", [1, 0.5, 2])
def test_the_picture_follows_the_sound(page_file: Path, open_page: Open, speed: float) -> None:
    """Also a sound that goes at another speed: no other clock will do."""
    with open_page(page_file) as watched:
        watched.page.evaluate("v => { document.querySelector('audio').playbackRate = v }", speed)
        pairs = changes(watched, "sounding", 8)
        assert follows(pairs), pairs
        assert watched.errors == []


def test_what_does_not_follow_is_told() -> None:
    """The judge of the two tests above can say no."""
    right = [(k / PER_SECOND + 0.02, k) for k in range(12)]
    late = [(t + 0.9 / PER_SECOND, k) for t, k in right[:3]] + right[3:]
    assert follows(right)
    assert follows(late)  # some noted late
    assert not follows([(t, k - 1) for t, k in right])  # a lag
    assert not follows([*right[:-1], (right[-1][0], 12)])  # one before its time
    assert not follows([(2 * t, k) for t, k in right])  # half as fast
    assert not follows([(t, 0) for t, k in right])  # still


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
        assert slider.get_attribute("aria-valuetext") == "8 of 20, 1.75 s"
        assert watched.page.evaluate(time) == pytest.approx(1.75, abs=0.01)
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
