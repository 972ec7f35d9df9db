"""The widgets as HTML: deterministic, escaped, self-contained, named for a screen reader, and strict with bad input."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import subprocess
import sys
import wave as wave_file
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pagekit import Parsed
from PIL import Image

from mmtutor.page import widgets

RATE = 8000
TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE // 2) / RATE)
GREYS = [np.full((4, 6, 3), level, np.uint8) for level in (10, 120, 240)]
POINTS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
NAMES = ["king", "queen", "bread", "wine"]
NEAR = {"king": [("queen", 0.91), ("wine", 0.2)], "queen": [("king", 0.91)]}


def make_frames(**changes: Any) -> widgets.Widget:
    given = (
        dict(images=GREYS, labels=["a", "b", "c"], label="Level", alt=["dark", "mid", "light"])
        | changes
    )
    return widgets.frames(given.pop("images"), given.pop("labels"), **given)


def make_scatter(**changes: Any) -> widgets.Widget:
    given = dict(
        points=POINTS,
        labels=NAMES,
        groups=["royal", "royal", "food", None],
        label="Words",
        neighbours=NEAR,
    )
    given |= changes
    return widgets.scatter(given.pop("points"), given.pop("labels"), given.pop("groups"), **given)


SAID = widgets.Steps(
    ["a", "dog", "runs"],
    GREYS,
    ["x", "y", "z"],
    marks=[None, True, False],
    notes=["", "in its box", "beside it"],
    say="True of the scene.",
    start=1,
)


def make_steppers(**changes: Any) -> widgets.Widget:
    given: dict[str, Any] = dict(
        versions={"soft": SAID, "hard": (["a", "cat"], GREYS[:2], ["v", "w"])}, label="Where"
    )
    given |= changes
    return widgets.steppers(given.pop("versions"), **given)


ALL: dict[str, Callable[[], widgets.Widget]] = {
    "frames": make_frames,
    "stepper": lambda: widgets.stepper(
        ["a", "dog", "runs"], GREYS, label="Caption", alt=["x", "y", "z"]
    ),
    "steppers": make_steppers,
    "player": lambda: widgets.player(TONE, RATE, label="A4"),
    "players": lambda: widgets.players(
        {"one": TONE, "two": TONE / 2}, RATE, label="Two", notes=["loud", "soft"]
    ),
    "scatter": make_scatter,
}


# --- What all of them share -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_whole_html_with_a_plain_twin(name: str) -> None:
    widget = ALL[name]()
    parsed = Parsed(widget._repr_html_())
    assert parsed.open == []
    assert parsed.tags[0][1]["id"] == widget.id
    assert parsed.tags[0][1]["role"] == "group"
    assert parsed.tags[0][1]["aria-label"]
    assert "<" not in repr(widget)
    assert len(repr(widget)) > 10


@pytest.mark.parametrize("name", ALL)
def test_needs_nothing_from_outside(name: str) -> None:
    html = ALL[name]()._repr_html_()
    addresses = re.findall(r"https?://[^\s\"'<>)]+", html)
    assert set(addresses) <= {
        "http://www.w3.org/2000/svg"
    }  # the name of SVG in the script, never fetched
    for _, attributes in Parsed(html).tags:
        assert (attributes.get("src") or "data:").startswith("data:")


@pytest.mark.parametrize("name", ALL)
def test_the_same_input_gives_the_same_bytes(name: str) -> None:
    assert ALL[name]()._repr_html_() == ALL[name]()._repr_html_()


def test_the_same_bytes_in_another_process() -> None:
    program = (
        "import numpy as np; from mmtutor.page import widgets\n"
        "g = [np.full((4, 6, 3), v, np.uint8) for v in (10, 120, 240)]\n"
        "print(widgets.frames(g, ['a', 'b', 'c'], label='Level', alt=['dark', 'mid', 'light']).id)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == make_frames().id


@pytest.mark.parametrize("name", ALL)
def test_no_id_twice_and_every_reference_leads_somewhere(name: str) -> None:
    tags = Parsed(ALL[name]()._repr_html_()).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in tags:
        for key in ("for", "list", "aria-labelledby"):
            assert key not in attributes or attributes[key] in ids


def test_other_content_has_another_id() -> None:
    ids = {
        make_frames().id,
        make_frames(label="Other").id,
        make_frames(images=GREYS[::-1]).id,
        make_scatter().id,
    }
    assert len(ids) == 4


def test_a_given_id_is_kept_and_a_bad_one_refused() -> None:
    assert make_frames(id="window-length").id == "window-length"
    for bad in ("", "7up", 'x" onload="', "a b", 3):
        with pytest.raises(ValueError, match="id must start with a letter"):
            make_frames(id=bad)


NASTY = "</script><script>alert(1)</script> <b> & \"quoted\" 'single' \u2028 한국어"


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_frames(labels=[NASTY, "b", "c"], label=NASTY, alt=[NASTY, "b", "c"]),
        lambda: widgets.stepper([NASTY, "b", "c"], GREYS, label=NASTY, alt=[NASTY, "b", "c"]),
        lambda: make_steppers(
            label=NASTY,
            switches=[NASTY],
            key=(NASTY, "miss"),
            versions={
                NASTY: widgets.Steps(
                    [NASTY], GREYS[:1], [NASTY], marks=[True], notes=[NASTY], say=NASTY
                ),
                "b": SAID,
            },
        ),
        lambda: widgets.player(TONE, RATE, label=NASTY),
        lambda: widgets.players({NASTY: TONE}, RATE, label=NASTY, notes=[NASTY]),
        lambda: make_scatter(
            labels=[NASTY, "queen", "bread", "wine"],
            groups=[NASTY] * 4,
            label=NASTY,
            neighbours={NASTY: [("queen", 1)], "queen": [(NASTY, 0.5)]},
        ),
    ],
)
def test_text_cannot_become_markup(make: Callable[[], widgets.Widget]) -> None:
    parsed = Parsed(make()._repr_html_())
    assert parsed.open == []
    assert not parsed.of("b")
    scripts = len(parsed.of("script"))
    assert scripts in (
        0,
        2,
    )  # the widget's own data and its own script, and none that came with the text
    assert parsed.tags[0][1]["aria-label"] == NASTY


@given(st.text(min_size=1).filter(str.strip))
@settings(max_examples=60, deadline=None)
def test_any_text_survives_the_way_into_the_page_and_back(text: str) -> None:
    text = text.replace("\r", "").replace("\x00", "") or "x"
    if not text.strip():
        return
    html = make_frames(labels=[text, "b", "c"])._repr_html_()
    assert data_of(html)[0] == text
    assert Parsed(html).open == []


# --- Pictures -------------------------------------------------------------------------------------


def decoded(html: str) -> list[Image.Image]:
    return [
        Image.open(io.BytesIO(base64.b64decode(attributes["src"].partition(",")[2])))
        for attributes in Parsed(html).of("img")
    ]


def test_frames_hold_the_pictures_and_show_one() -> None:
    html = make_frames(start=1)._repr_html_()
    for picture, grey in zip(decoded(html), GREYS, strict=True):
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), grey)
    images = Parsed(html).of("img")
    assert ["hidden" in image for image in images] == [True, False, True]
    assert [image["alt"] for image in images] == ["dark", "mid", "light"]
    assert (images[0]["width"], images[0]["height"]) == ("6", "4")
    slider = next(a for a in Parsed(html).of("input"))
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "2", "1")
    assert slider["aria-label"] == "Level"
    assert slider["aria-valuetext"] == "b"


@pytest.mark.parametrize("fmt", ["png", "webp", "jpeg"])
def test_formats(fmt: str) -> None:
    picture = decoded(make_frames(fmt=fmt)._repr_html_())[1].convert("RGB")
    assert np.abs(np.asarray(picture).astype(int) - 120).max() <= 4


def test_every_kind_of_picture_is_taken() -> None:
    import torch
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, 1])
    kinds = [
        Image.new("RGBA", (3, 2), (255, 0, 0, 128)),
        np.zeros((2, 3)),
        np.ones((2, 3, 4)),
        np.array([[True, False]]),
        torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(0)),
        figure,
    ]
    html = widgets.frames(kinds, list("abcdef"), label="x", alt=list("abcdef"))._repr_html_()
    sizes = [picture.size for picture in decoded(html)]
    assert sizes == [(3, 2), (3, 2), (3, 2), (2, 1), (3, 2), (96, 96)]


def test_a_float_picture_is_scaled() -> None:
    html = make_frames(images=[np.full((2, 2), value) for value in (0.0, 0.5, 1.0)])._repr_html_()
    assert [np.asarray(picture).flat[0] for picture in decoded(html)] == [0, 128, 255]


@pytest.mark.parametrize("fmt", ["png", "webp", "jpeg"])
def test_pictures_are_brought_to_rgb_whatever_the_format(fmt: str) -> None:
    """16 bits and fractions are scaled, alpha lies over white (in jpeg too), a photograph is turned upright."""
    from matplotlib.figure import Figure

    turned = Image.new("RGB", (16, 32), (0, 0, 255))
    turned.paste((255, 255, 255), (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 3
    file = io.BytesIO()
    turned.save(file, "PNG", exif=exif)
    nothing = Figure(figsize=(1, 1), facecolor=(1, 0, 0, 0))
    given_ = {
        "16 bits": (np.full((16, 16), 32768, np.uint16), 128),
        "16 bits of Pillow": (Image.fromarray(np.full((16, 16), 32768, np.uint16)), 128),
        "fractions of Pillow": (Image.new("F", (16, 16), 0.5), 128),
        "hidden": (Image.new("RGBA", (16, 16), (255, 0, 0, 0)), 255),
        "hidden grey": (Image.new("LA", (16, 16), (0, 0)), 255),
        "hidden in an array": (np.zeros((16, 16, 4)), 255),
        "one channel": (np.full((16, 16, 1), 77, np.uint8), 77),
        "a figure on nothing": (nothing, 255),
    }
    pictures = [picture for picture, _ in given_.values()] + [Image.open(file)]
    names = [*given_, "upright"]
    *found, upright = decoded(
        widgets.frames(pictures, names, label="x", alt=names, fmt=fmt)._repr_html_()
    )
    for (name, (_, level)), picture in zip(given_.items(), found, strict=True):
        assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - level).max() <= 4, name
    seen = np.asarray(upright.convert("RGB")).astype(int)
    assert seen[24, 8].min() > 240
    assert seen[8, 8, 0] < 15


def test_a_pyplot_figure_is_closed() -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(1, 1))
    widgets.frames([figure], ["a"], label="x", alt=["a"])
    assert not plt.fignum_exists(figure.number)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"images": [], "labels": [], "alt": []}, ValueError, "at least one picture"),
        ({"labels": ["a"]}, ValueError, "3 pictures, 1 labels"),
        ({"alt": ["a", "b"]}, ValueError, "2 alt texts"),
        ({"alt": ["a", " ", "c"]}, ValueError, "must not be empty"),
        ({"labels": "abc"}, TypeError, "list of texts"),
        ({"labels": [1, 2, 3]}, TypeError, "must be text"),
        ({"label": ""}, ValueError, "label must not be empty"),
        ({"start": 3}, ValueError, r"start must be in \[0, 3\)"),
        ({"fmt": "bmp"}, ValueError, "fmt must be"),
        ({"images": [np.full((2, 2), np.nan)] * 3}, ValueError, "finite and in"),
        ({"images": [np.full((2, 2), 1.5)] * 3}, ValueError, "finite and in"),
        ({"images": [np.zeros((2, 2, 5))] * 3}, ValueError, "must have shape"),
        ({"images": [np.zeros((0, 2))] * 3}, ValueError, "must have shape"),
        (
            {"images": [np.zeros((2, 2), np.int64)] * 3},
            ValueError,
            "uint8, uint16, bool or float.*int64",
        ),
        (
            {"images": [Image.new("I", (2, 2), 70000)] * 3},
            ValueError,
            "int32, which does not say what is white",
        ),
        ({"images": [Image.new("F", (2, 2), 200)] * 3}, ValueError, "finite and in"),
        ({"images": ["dog.png"] * 3}, TypeError, "PIL image, an array or a figure"),
    ],
)
def test_bad_frames(changes: dict[str, Any], error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        make_frames(**changes)


def test_a_widget_that_is_too_heavy_says_what_to_do() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="fewer or smaller pictures"):
        widgets.frames([noise], ["a"], label="x", alt=["noise"])


# --- Several sentences ----------------------------------------------------------------------------


def test_steppers_hold_every_version_and_show_the_first() -> None:
    html = make_steppers()._repr_html_()
    parsed = Parsed(html)
    panels = [a for a in parsed.of("div") if a.get("class") == "mmt-panel"]
    assert [p["aria-label"] for p in panels] == ["soft", "hard"]
    assert ["hidden" in p for p in panels] == [False, True]
    assert [a["alt"] for a in parsed.of("img")] == ["x", "y", "z", "v", "w"]
    # without scripts every panel has one picture to see
    assert ["hidden" in a for a in parsed.of("img")] == [True, False, True, False, True]
    data = data_of(html)
    assert [v["words"] for v in data["versions"]] == [["a", "dog", "runs"], ["a", "cat"]]
    assert [v["start"] for v in data["versions"]] == [1, 0]
    assert data["versions"][0]["notes"] == ["", "in its box", "beside it"]
    assert data["sizes"] == [2]
    assert "a <strong>dog</strong>" in html


def test_a_mark_is_a_sign_and_a_word_and_not_a_colour_alone() -> None:
    html = make_steppers()._repr_html_()
    assert '✓</span><span class="mmt-heard"> (hit)</span>' in html
    assert '✗</span><span class="mmt-heard"> (miss)</span>' in html
    assert "✓ hit · ✗ miss" in html
    own = make_steppers(key=("in the box", "outside"))._repr_html_()
    assert "✓ in the box · ✗ outside" in own
    plain = make_steppers(versions={"a": tuple(SAID[:3])})
    assert "✓" not in plain._repr_html_()
    assert "soft: a dog ✓ runs ✗\n    True of the scene." in repr(make_steppers())


def test_a_single_version_has_no_switch() -> None:
    assert 'class="mmt-switch"' not in make_steppers(versions={"soft": SAID})._repr_html_()
    assert make_steppers()._repr_html_().count('class="mmt-switch"') == 1


def test_two_switches_need_every_combination() -> None:
    names = list(itertools.product(["one", "two", "three"], ["soft", "hard"]))
    html = make_steppers(
        versions=dict.fromkeys(names, SAID), switches=("Scene", "Model")
    )._repr_html_()
    assert data_of(html)["sizes"] == [3, 2]
    assert html.count('class="mmt-switch"') == 2
    for wrong in (names[:-1], names[::-1][1:], [("one", "soft"), ("two", "hard")]):
        with pytest.raises(ValueError, match="every combination"):
            make_steppers(versions=dict.fromkeys(wrong, SAID), switches=("Scene", "Model"))


def test_what_differs_between_steppers_has_another_id() -> None:
    ids = {
        make_steppers(**changes).id
        for changes in (
            {},
            {"autoplay": True},
            {"pace": 500},
            {"key": ("in", "out")},
            {"versions": {"soft": SAID}},
            {"versions": {"soft": SAID._replace(marks=[None, None, None])}},
            {"versions": {"soft": SAID._replace(notes=["", "", "x"])}},
            {"versions": {"soft": SAID._replace(start=0)}},
        )
    }
    assert len(ids) == 8


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"versions": {}}, ValueError, "at least one version"),
        ({"versions": [SAID]}, ValueError, "mapping"),
        ({"versions": {"a": 3}}, TypeError, "must be Steps"),
        ({"versions": {"a": ([], [], [])}}, ValueError, "has no words"),
        ({"versions": {" ": SAID}}, ValueError, "must not be empty"),
        ({"versions": {("a", "b"): SAID}}, ValueError, "1 switches, but"),
        ({"versions": {"a": SAID._replace(images=GREYS[:2])}}, ValueError, "2 pictures"),
        ({"versions": {"a": SAID._replace(alt=["x", "", "z"])}}, ValueError, "must not be empty"),
        ({"versions": {"a": SAID._replace(marks=[True])}}, ValueError, "1 marks"),
        ({"versions": {"a": SAID._replace(marks=["✓"] * 3)}}, TypeError, "True, False or None"),
        ({"versions": {"a": SAID._replace(notes=[1, 2, 3])}}, TypeError, "must be texts"),
        ({"versions": {"a": SAID._replace(start=3)}}, ValueError, r"start of .* in \[0, 3\)"),
        ({"key": ("hit",)}, ValueError, "what ✓ and what ✗"),
        ({"pace": 50}, ValueError, "pace must be"),
        ({"label": ""}, ValueError, "label must not be empty"),
        ({"fmt": "bmp"}, ValueError, "fmt must be"),
    ],
)
def test_bad_steppers(changes: dict[str, Any], error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        make_steppers(**changes)


# --- Sounds ---------------------------------------------------------------------------------------


def waves(html: str) -> list[tuple[int, np.ndarray]]:
    out = []
    for attributes in Parsed(html).of("audio"):
        with wave_file.open(
            io.BytesIO(base64.b64decode(attributes["src"].partition(",")[2]))
        ) as file:
            assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
            out.append((file.getframerate(), samples))
    return out


def test_a_player_holds_the_sound() -> None:
    import torch

    for wave in (TONE, TONE[None], TONE.astype(np.float32), torch.tensor(TONE), list(TONE)):
        rate, samples = waves(widgets.player(wave, RATE, label="A4")._repr_html_())[0]
        assert rate == RATE
        np.testing.assert_allclose(samples, TONE, atol=1 / 32767)


def test_int16_is_taken_as_it_is() -> None:
    wave = np.array([0, 16384, -16384, 32767], np.int16)
    np.testing.assert_allclose(
        waves(widgets.player(wave, RATE, label="x")._repr_html_())[0][1], wave / 32768, atol=1e-4
    )


def test_normalize() -> None:
    samples = waves(widgets.player(TONE * 7, RATE, label="x", normalize=True)._repr_html_())[0][1]
    assert np.abs(samples).max() == pytest.approx(0.95, abs=1e-3)
    silence = waves(widgets.player(np.zeros(10), RATE, label="x", normalize=True)._repr_html_())[0][
        1
    ]
    assert not silence.any()


@pytest.mark.parametrize(
    ("old", "new"), [(16000, 8000), (22050, 8000), (8000, 22050), (16000, 11025), (16000, 22050)]
)
def test_resampling_keeps_what_fits_and_removes_what_does_not(old: int, new: int) -> None:
    time = np.arange(old) / old
    envelope = (
        np.sin(np.pi * time) ** 2
    )  # the ends fade, so that only the inside is compared with the formula
    low, high = np.sin(2 * np.pi * 1000 * time), np.sin(2 * np.pi * 7000 * time) * (old > 14000)
    wave = 0.4 * envelope * (low + high)
    rate, samples = waves(widgets.player(wave, old, label="x", resample_to=new)._repr_html_())[0]
    at = np.arange(len(samples)) / new
    expected = 0.4 * np.sin(np.pi * at) ** 2 * np.sin(2 * np.pi * 1000 * at)
    if min(old, new) > 14000:
        expected = expected + 0.4 * np.sin(np.pi * at) ** 2 * np.sin(2 * np.pi * 7000 * at)
    assert rate == new
    assert len(samples) == new
    np.testing.assert_allclose(samples, expected, atol=2e-3)


@pytest.mark.parametrize(
    ("wave", "rate", "error", "words"),
    [
        ([], RATE, ValueError, "empty"),
        (np.array([0.0, np.nan]), RATE, ValueError, "not finite"),
        (np.array([0.0, np.inf]), RATE, ValueError, "not finite"),
        (np.array([0.0, 2.0]), RATE, ValueError, "normalize=True"),
        (np.zeros((2, 100)), RATE, ValueError, "one channel"),
        (np.zeros(16 * RATE), RATE, ValueError, "lasts 16.0 s"),
        (np.zeros(100, np.int64), RATE, TypeError, "floats in"),
        (TONE, 100, ValueError, "from 3000 to 96000"),
        (TONE, 8000.5, ValueError, "from 3000 to 96000"),
        (TONE, True, ValueError, "from 3000 to 96000"),
    ],
)
def test_bad_sounds(wave: Any, rate: Any, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        widgets.player(wave, rate, label="x")


def test_players_in_a_row() -> None:
    html = ALL["players"]()._repr_html_()
    (_, one), (_, two) = waves(html)
    np.testing.assert_allclose(one, 2 * two, atol=1e-4)
    assert "loud" in html
    with pytest.raises(ValueError, match="at least one sound"):
        widgets.players({}, RATE, label="x")
    with pytest.raises(ValueError, match="1 sounds, but 2 notes"):
        widgets.players({"a": TONE}, RATE, label="x", notes=["a", "b"])
    with pytest.raises(ValueError, match="come together"):
        widgets.players({"a": TONE}, RATE, label="x", pictures=[GREYS[0]])


def test_a_picture_of_the_sound() -> None:
    html = widgets.player(
        TONE, RATE, label="A4", picture=GREYS[0], alt="one bright line at 440 Hz"
    )._repr_html_()
    assert Parsed(html).of("img")[0]["alt"] == "one bright line at 440 Hz"
    with pytest.raises(ValueError, match="must not be empty"):
        widgets.player(TONE, RATE, label="A4", picture=GREYS[0])


# --- Points ---------------------------------------------------------------------------------------


def data_of(html: str) -> Any:
    text = re.search(r'<script type="application/json">(.*?)</script>', html, re.S)
    return json.loads(text[1])


def test_scatter_holds_points_names_and_neighbours() -> None:
    html = make_scatter(start="queen")._repr_html_()
    data = data_of(html)
    assert data["labels"] == NAMES
    assert data["start"] == 1
    assert data["neighbours"] == [[[1, 0.91], [3, 0.2]], [[0, 0.91]], [], []]
    (x0, y0), (x1, y1), (_, y2), _ = data["points"]
    assert x0 < x1
    assert y0 == y1 > y2  # the vertical axis points up
    assert len(Parsed(html).of("option")) == 4
    assert "queen (royal): nearest are king." in html


def test_neighbours_by_index_are_the_same() -> None:
    rows = [[(1, 0.91), (3, 0.2)], [(0, 0.91)], [], []]
    assert make_scatter(neighbours=rows)._repr_html_() == make_scatter()._repr_html_()


def test_groups_differ_in_colour_and_shape() -> None:
    looks = [widgets._look(place, False) for place in range(24)]
    assert len(set(looks)) == 24
    for one, two in itertools.pairwise(looks):
        assert one[0] != two[0]
        assert one[1] != two[1]


@pytest.mark.parametrize("colour", widgets.COLOURS)
def test_colours_stand_out_on_white(colour: str) -> None:
    channels = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    contrast = 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    assert contrast >= 3  # WCAG 1.4.11 for graphics


def test_labels_do_not_overlap() -> None:
    rng = np.random.default_rng(0)
    html = make_scatter(
        points=rng.normal(size=(300, 2)),
        labels=[f"w{k}" for k in range(300)],
        groups=None,
        neighbours={},
    )._repr_html_()
    plain = html[html.index('class="mmt-n"') : html.index('class="mmt-o"')]
    places = re.findall(r'<text x="([\d.-]+)" y="([\d.-]+)">(\w+)</text>', plain)
    boxes = [
        (float(x), float(y) - 12, float(x) + 8 * len(name), float(y) + 3) for x, y, name in places
    ]
    assert 10 < len(boxes) <= 60
    for k, a in enumerate(boxes):
        for b in boxes[:k]:
            assert not (a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


def test_a_thousand_words_fit() -> None:
    rng = np.random.default_rng(1)
    n = 1500
    rows = [[(int(j), 0.5) for j in rng.integers(0, n, 8)] for _ in range(n)]
    widget = widgets.scatter(
        rng.normal(size=(n, 2)), [f"word{k}" for k in range(n)], label="Words", neighbours=rows
    )
    assert len(widget._repr_html_()) < 600_000


def test_points_in_one_place_are_no_trouble() -> None:
    data = data_of(make_scatter(points=np.zeros((4, 2)))._repr_html_())
    assert np.isfinite(data["points"]).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"points": np.zeros((4, 3))}, r"shape \(N, 2\)"),
        ({"points": np.zeros((0, 2)), "labels": [], "groups": None}, "N ≥ 1"),
        ({"points": np.full((4, 2), np.nan)}, "finite"),
        ({"labels": NAMES[:3]}, "4 points, but 3 labels"),
        ({"labels": ["king", "king", "bread", "wine"], "neighbours": {}}, "'king' occurs twice"),
        ({"groups": ["a"]}, "4 points, but 1 groups"),
        ({"neighbours": {"king": [("emperor", 1.0)]}}, "'emperor' is not among the labels"),
        ({"neighbours": {"king": [("queen", float("nan"))]}}, "score must be finite"),
        ({"neighbours": [[]]}, "1 lists of neighbours"),
        ({"neighbours": [[(9, 1.0)], [], [], []]}, "9 is not the index"),
        ({"start": "pawn"}, "'pawn' is not among the labels"),
        ({"named": ["pawn"]}, "'pawn' is not among the labels"),
    ],
)
def test_bad_scatter(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_scatter(**changes)


def test_a_figure_in_a_widget_says_how_small_its_text_is():
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(4, 3), dpi=50)
    ax.axis("off")
    ax.text(0, 0, "small", fontsize=9)
    made = widgets.frames([figure], ["a"], label="l", alt=["a"], dpi=144)._repr_html_()
    assert 'data-smallest-text="18.00"' in made
    plain = widgets.frames([np.zeros((4, 4))], ["a"], label="l", alt=["a"])._repr_html_()
    assert "data-smallest-text" not in plain
