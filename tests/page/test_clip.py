"""The clip as HTML: deterministic, escaped, self-contained, and strict with bad input."""

from __future__ import annotations

import base64
import io
import json
import re
import wave as wave_file
from typing import Any

import numpy as np
import pytest
from pagekit import Parsed
from PIL import Image

from mmtutor.page import _parts
from mmtutor.page.clip import LEAST_WIDTH, MAX_FRAMES, clip

RATE = 8000
FRAMES = np.stack([np.full((4, 8, 3), level, np.uint8) for level in (0, 80, 160, 240)])
NASTY = "</script><script>alert(1)</script> <b> & \"quoted\" 'single' \u2028 한국어"


def tone(seconds: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE)) / RATE)


def make(**changes: Any) -> _parts.Widget:
    given: dict[str, Any] = dict(frames=FRAMES, rate=4, label="A grey", alt="it grows light")
    given |= changes
    return clip(given.pop("frames"), given.pop("rate"), **given)


def parsed(widget: _parts.Widget) -> Parsed:
    found = Parsed(widget._repr_html_())
    assert found.open == []
    return found


def raw(address: str | None) -> bytes:
    return base64.b64decode((address or "").partition(",")[2])


def test_it_holds_the_pictures_in_their_order_large_enough_to_see() -> None:
    images = parsed(make(fmt="png", start=2)).of("img")
    assert ["hidden" in image for image in images] == [True, True, False, True]
    assert {image["alt"] for image in images} == {"it grows light"}
    assert {image["width"] for image in images} == {str(LEAST_WIDTH)}
    for image, frame in zip(images, FRAMES, strict=True):
        large = np.asarray(Image.open(io.BytesIO(raw(image["src"]))))
        np.testing.assert_array_equal(large, np.repeat(np.repeat(frame, 40, 0), 40, 1))


def test_a_large_picture_and_a_figure_keep_their_size() -> None:
    from matplotlib.figure import Figure

    wide = parsed(make(frames=np.zeros((2, 4, 330), np.uint8))).of("img")
    assert wide[0]["width"] == "330"
    figures = [Figure(figsize=(2, 1)) for _ in range(2)]
    figures[0].text(0, 0, "small", fontsize=9)
    drawn = parsed(make(frames=figures)).of("img")
    assert [image["width"] for image in drawn] == ["192", "192"]
    assert drawn[0]["data-smallest-text"] == "12.00"


def test_controls_are_named_and_hidden_until_a_script_runs() -> None:
    found = parsed(make(labels=["black", "dark", "light", "white"], start=1))
    bar = next(a for a in found.of("div") if a.get("class") == "mmt-bar")
    assert "hidden" in bar
    slider = found.of("input")[0]
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "3", "1")
    assert slider["aria-valuetext"] == "2 of 4, 0.25 s: dark"
    assert slider["aria-label"] == "Picture of A grey"
    assert found.of("button")[0]["type"] == "button"
    assert not found.of("audio")


def test_the_sound_lasts_as_long_as_the_pictures() -> None:
    for seconds in (0.9, 1.0, 1.2):
        audio = parsed(make(wave=tone(seconds), sample_rate=RATE)).of("audio")[0]
        assert "controls" in audio  # without scripts the browser's own player is there
        assert "autoplay" not in audio
        assert audio["aria-label"] == "A grey"
        with wave_file.open(io.BytesIO(raw(audio["src"]))) as file:
            assert file.getframerate() == RATE
            assert file.getnframes() == round(max(1.0, seconds) * RATE)
            heard = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
        given = tone(seconds)
        np.testing.assert_allclose(heard[: len(given)], given, atol=1e-4)
        assert not heard[len(given) :].any()


def test_another_rate_of_the_sound() -> None:
    audio = parsed(make(wave=tone(1), sample_rate=RATE, resample_to=16000)).of("audio")[0]
    with wave_file.open(io.BytesIO(raw(audio["src"]))) as file:
        assert (file.getframerate(), file.getnframes()) == (16000, 16000)


def test_the_twin_in_plain_text_says_what_there_is() -> None:
    assert repr(make()) == "A grey: 4 pictures, 4 a second, 1.0 s, without sound\n  it grows light"
    told = repr(make(wave=tone(1), sample_rate=RATE, labels=list("abcd"), alt=list("stuv")))
    assert told.splitlines() == [
        "A grey: 4 pictures, 4 a second, 1.0 s, with sound at 8000 Hz",
        *("  a: s", "  b: t", "  c: u", "  d: v"),
    ]


def test_text_cannot_become_markup() -> None:
    found = parsed(make(label=NASTY, alt=NASTY, labels=[NASTY] * 4))
    assert not found.of("b")
    assert len(found.of("script")) == 2
    assert found.tags[0][1]["aria-label"] == NASTY
    data = re.search(
        r'<script type="application/json">(.*?)</script>', make(labels=[NASTY] * 4)._html
    )
    assert json.loads(data[1])["labels"] == [NASTY] * 4


def test_the_same_input_gives_the_same_bytes_and_other_input_another_id() -> None:
    assert make()._repr_html_() == make()._repr_html_()
    ids = [make(), make(rate=5), make(label="x"), make(frames=FRAMES[::-1]), make(alt="x")]
    ids += [make(wave=tone(1), sample_rate=RATE), make(labels=list("abcd"))]
    assert len({widget.id for widget in ids}) == len(ids)
    found = parsed(make(id="grey"))
    assert [a["id"] for _, a in found.tags if "id" in a] == ["grey"]


def test_it_needs_nothing_from_outside() -> None:
    html = make(wave=tone(1), sample_rate=RATE)._repr_html_()
    assert not re.search(r"https?://", html)
    for _, attributes in Parsed(html).tags:
        assert (attributes.get("src") or "data:").startswith("data:")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"frames": FRAMES[:1]}, ValueError, "two pictures or more, got 1"),
        ({"frames": [FRAMES[0]] * (MAX_FRAMES + 1)}, ValueError, "at most 250 pictures, got 251"),
        ({"frames": [FRAMES[0], np.zeros((8, 8, 3))]}, ValueError, "must have one size"),
        ({"frames": ["a", "b"]}, (TypeError, ValueError), "picture|array|must"),
        ({"rate": 0}, ValueError, "from 0.5 to 60, got 0"),
        ({"rate": 61}, ValueError, "from 0.5 to 60"),
        ({"rate": float("nan")}, ValueError, "from 0.5 to 60"),
        ({"rate": "4"}, ValueError, "from 0.5 to 60, got '4'"),
        ({"rate": True}, ValueError, "from 0.5 to 60, got True"),
        ({"frames": [FRAMES[0]] * 9, "rate": 0.5}, ValueError, "lasts 18.0 s"),
        ({"start": 4}, ValueError, r"start must be in \[0, 4\)"),
        ({"start": -1}, ValueError, r"start must be in \[0, 4\)"),
        ({"label": " "}, ValueError, "label must not be empty"),
        ({"alt": ""}, ValueError, "alt must not be empty"),
        ({"alt": ["a"]}, ValueError, "4 pictures, but 1 alt texts"),
        ({"labels": ["a"]}, ValueError, "4 pictures, but 1 labels"),
        ({"labels": "abcd"}, TypeError, "list of texts"),
        ({"wave": tone(1)}, ValueError, "come together"),
        ({"sample_rate": RATE}, ValueError, "come together"),
        (
            {"wave": tone(2), "sample_rate": RATE},
            ValueError,
            "lasts 2.00 s and the pictures 1.00 s",
        ),
        ({"wave": tone(0.4), "sample_rate": RATE}, ValueError, "do not belong together"),
        ({"wave": tone(1) * 3, "sample_rate": RATE}, ValueError, "beyond full scale"),
        ({"fmt": "bmp"}, ValueError, "fmt must be"),
        ({"id": "a b"}, ValueError, "id must start with a letter"),
    ],
)
def test_bad_input(changes: dict[str, Any], error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        make(**changes)


def test_a_clip_that_is_too_heavy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parts, "MAX_BYTES", 4000)
    with pytest.raises(ValueError, match="clip widget has"):
        make()
