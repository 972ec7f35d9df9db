"""Waves to touch: the HTML, equal loudness, bad input; and the explorer's numbers against NumPy's DFT."""

from __future__ import annotations

import base64
import io
import json
import re
import wave as wave_file
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pagekit import Parsed

from mmtutor.page import waves
from mmtutor.page._parts import Widget

RATE = 8000
TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE // 2) / RATE)
CLICK = np.eye(1, RATE // 2, 100)[0] + TONE / 100
GREY = np.full((40, 200, 3), 120, np.uint8)
NASTY = "</script><script>document.title='broken'</script> & <b>"
N = np.arange(64)
MIXED = np.cos(2 * np.pi * 3 * N / 64) + 0.5 * np.sin(2 * np.pi * 7 * N / 64)


def explorer(wave: Any = MIXED, rate: int = 1600, **changes: Any) -> Widget:
    return waves.wave_explorer(wave, rate, **({"label": "A wave"} | changes))


def head(wave: Any = TONE, rate: int = RATE, picture: Any = GREY, **changes: Any) -> Widget:
    return waves.playhead(wave, rate, picture, **({"label": "A4", "alt": "a tone"} | changes))


def versions(sounds: Any = None, rate: int = RATE, **changes: Any) -> Widget:
    sounds = {"loud": TONE, "a click": CLICK} if sounds is None else sounds
    return waves.compare(sounds, rate, **({"label": "Two"} | changes))


ALL: dict[str, Callable[..., Widget]] = {
    "explorer": explorer,
    "playhead": head,
    "compare": versions,
}


@pytest.mark.parametrize("name", ALL)
def test_whole_escaped_and_alone(name: str) -> None:
    widget = ALL[name](label=NASTY)
    html = widget._repr_html_()
    parsed = Parsed(html)
    assert parsed.open == []
    assert parsed.tags[0][1] | {"class": ""} == {
        "class": "", "id": widget.id, "role": "group", "aria-label": NASTY,
    }  # fmt: skip
    assert [tag for tag, _ in parsed.tags].count("script") == 2
    assert "http" not in html
    for _, attributes in parsed.tags:
        assert (attributes.get("src") or "data:").startswith("data:")
    assert repr(widget).startswith(NASTY)


@pytest.mark.parametrize("name", ALL)
def test_the_same_input_gives_the_same_bytes_and_another_another_id(name: str) -> None:
    assert ALL[name]()._repr_html_() == ALL[name]()._repr_html_()
    assert ALL[name]().id != ALL[name](label="Another").id
    assert ALL[name](id="mine").id == "mine"
    with pytest.raises(ValueError, match="id must"):
        ALL[name](id="1 2")
    with pytest.raises(ValueError, match="must not be empty"):
        ALL[name](label=" ")


def test_nasty_names_and_marks_stay_text() -> None:
    widget = versions({NASTY: TONE, "b": CLICK}, notes=[NASTY, "b"], marks=[(0, 1, NASTY)])
    parsed = Parsed(widget._repr_html_())
    assert parsed.open == []
    assert [tag for tag, _ in parsed.tags].count("script") == 2
    assert f"1 {NASTY}" in parsed.text


def samples(html: str) -> list[tuple[int, np.ndarray]]:
    found = []
    for data in re.findall(r"data:audio/wav;base64,([^\"]+)", html):
        with wave_file.open(io.BytesIO(base64.b64decode(data))) as file:
            raw = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
            found.append((file.getframerate(), raw))
    return found


def test_versions_are_equally_loud_equally_long_and_at_full_rate() -> None:
    found = samples(versions({"a": TONE, "b": 0.01 * CLICK[:-100]})._repr_html_())
    (rate, a), (_, b) = found
    assert rate == RATE
    assert len(a) == len(b) == len(TONE) - 100
    assert np.sqrt(np.mean(a**2)) == pytest.approx(np.sqrt(np.mean(b**2)), rel=1e-3)
    assert max(abs(a).max(), abs(b).max()) == pytest.approx(0.95, abs=1e-3)
    assert f"{RATE:,} samples a second, all equally loud" in repr(versions())


def test_a_figure_says_where_its_time_runs() -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 1, figsize=(5, 3))
    for axis in axes:
        axis.set_xlim(0, 0.5)
    figure.draw_without_rendering()
    top, bottom = (axis.get_position() for axis in axes)
    html = head(picture=figure)._repr_html_()
    data = json.loads(re.search(r'application/json">(.*?)</script>', html)[1])
    assert data["span"] == pytest.approx([top.x0, top.x1], abs=1e-4)
    place = re.search(r"top:([\d.]+)%;height:([\d.]+)%", html)
    assert float(place[1]) == pytest.approx(100 * (1 - top.y1), abs=0.02)
    assert float(place[2]) == pytest.approx(100 * (top.y1 - bottom.y0), abs=0.02)
    assert "data-smallest-text" in html
    figure, axis = plt.subplots()
    axis.set_xlim(0, 2)
    with pytest.raises(ValueError, match=r"from 0 to 0\.50 seconds"):
        head(picture=figure)
    with pytest.raises(ValueError, match="no axes"):
        head(picture=plt.figure())
    plt.close("all")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: versions({"a": TONE}), "two to nine"),
        (lambda: versions({"a": TONE, "b": 0 * TONE}), "silent"),
        (lambda: versions({"a": TONE, "b": TONE[:1000]}), "equally long"),
        (lambda: versions({"a": TONE, "b": TONE * np.nan}), "not finite"),
        (lambda: versions(notes=["one"]), "2 sounds, but 1 notes"),
        (lambda: versions(pictures=[GREY, GREY]), "come together"),
        (lambda: versions(pictures=[GREY, GREY[:20]], alt=["a", "b"]), "one size"),
        (lambda: versions(start=2), "start must be"),
        (lambda: versions(rate=100), "sample_rate"),
        (lambda: head(marks=[(2, 1, "a")]), "not end before"),
        (lambda: head(marks=["ab"]), "a mark is"),
        (lambda: head(alt=""), "must not be empty"),
        (lambda: explorer(MIXED[:7]), "8 to 400"),
        (lambda: explorer(MIXED[:9]), "even number"),
        (lambda: explorer(np.zeros(64)), "not zero everywhere"),
        (lambda: explorer(np.full(64, np.inf)), "finite"),
        (lambda: explorer(start=33), "start must lie"),
        (lambda: explorer(amplitude=-1), "amplitude must lie"),
        (lambda: explorer(phase=200), "phase must lie"),
        (lambda: explorer(rate=0), "sample_rate must lie"),
    ],
)
def test_bad_input_has_a_clear_error(call: Callable[[], Widget], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_the_coefficient_is_that_of_the_dft_and_between_bins_that_of_a_padded_one() -> None:
    x = np.random.default_rng(0).normal(size=64)
    ours = [waves.coefficient(x, k) for k in range(33)]
    np.testing.assert_allclose(ours, np.fft.rfft(x), atol=1e-10)
    padded = np.fft.rfft(x, 256)
    np.testing.assert_allclose(waves.coefficient(x, 5.25), padded[21], atol=1e-10)


@pytest.mark.parametrize(
    ("turns", "degrees", "amplitude"), [(3, 30, 1), (7, -90, 0.5), (4.5, 0, 2)]
)
def test_what_it_says_is_true(turns: float, degrees: float, amplitude: float) -> None:
    widget = explorer(start=turns, phase=degrees, amplitude=amplitude)
    laid = amplitude * np.cos(2 * np.pi * turns * N / 64 + np.radians(degrees))
    total = f"{np.sum(MIXED * laid):.2f}".replace("-", "−")
    size = abs(np.sum(MIXED * np.exp(-2j * np.pi * turns * N / 64)))
    assert f"A wave of {turns:.2f} turns ({int(25 * turns + 0.5)} Hz)" in repr(widget)
    assert f"the products add up to {total}." in repr(widget)
    assert f"they add up to {size:.2f}, the length of the arrow" in repr(widget)


def test_a_frequency_that_is_not_there_is_said_not_to_be() -> None:
    assert "This frequency is not in the wave" in repr(explorer(start=5))
