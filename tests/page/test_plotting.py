"""Colours under simulated colour blindness, the style, and bars that stand where they should."""

import itertools

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from mmtutor.page import plotting
from mmtutor.page.ledger import summarize

# Full dichromacy on linear RGB: Machado, Oliveira and Fernandes 2009, table 1, severity 1.
BLINDNESS = {
    "none": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


@pytest.fixture(autouse=True)
def fresh():
    with matplotlib.rc_context():
        yield
    plt.close("all")


def lab(color: str, blindness: str = "none") -> np.ndarray:
    """CIE L*a*b* (D65) of an sRGB colour as somebody with this colour blindness sees it."""
    rgb = np.array(matplotlib.colors.to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(BLINDNESS[blindness]) @ linear, 0, 1)
    t = (XYZ @ seen) / XYZ.sum(1)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_lab_itself():
    assert lab("white") == pytest.approx([100, 0, 0], abs=1e-3)
    assert lab("black") == pytest.approx([0, 0, 0], abs=1e-9)
    assert lab("#ff0000") == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    red, green = (
        "#e41a1c",
        "#4d9221",
    )  # the classic pair that cannot be told apart gets much closer
    near = [np.linalg.norm(lab(red, b) - lab(green, b)) for b in ("none", "deutan")]
    assert near[1] < 0.5 * near[0]


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_any_two_colours_differ_for_every_reader(blindness):
    seen = [lab(c, blindness) for c in plotting.PALETTE]
    assert (
        min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 15
    )  # 2.3 is just noticeable


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_every_colour_stands_out_from_the_ground(blindness):
    assert all(np.linalg.norm(lab(c, blindness) - lab("white")) > 30 for c in plotting.PALETTE)


def test_neighbours_differ_in_grey_print():
    lightness = [lab(c)[0] for c in plotting.PALETTE]
    assert min(abs(np.diff(lightness))) >= 12


def test_every_series_has_a_marker_and_a_line_of_its_own():
    assert tuple(plotting.COLORS.values()) == plotting.PALETTE
    assert len(plotting.PALETTE) == len(plotting.MARKERS) == len(plotting.LINES)
    for options in (plotting.PALETTE, plotting.MARKERS, plotting.LINES):
        assert len(set(options)) == len(options)


def test_style_reaches_the_figures():
    plotting.style(dpi=77)
    figure, ax = plt.subplots()
    lines = [ax.plot([0, 1], [i, i + 1])[0] for i in range(9)]
    image = ax.imshow(np.eye(2))
    assert figure.dpi == 77
    assert (
        figure.get_facecolor() == ax.get_facecolor() == (1, 1, 1, 1)
    )  # opaque: dark pages must not shine through
    assert matplotlib.rcParams["savefig.facecolor"] == "white"
    assert figure.get_size_inches().tolist() == [5.8, 3.0]
    assert isinstance(figure.get_layout_engine(), matplotlib.layout_engine.ConstrainedLayoutEngine)
    assert [line.get_color() for line in lines] == [*plotting.PALETTE, *plotting.PALETTE[:2]]
    assert lines[0].get_linestyle() == "-"
    assert lines[1].get_linestyle() == "--"
    assert [ax.spines[side].get_visible() for side in ("left", "bottom", "right", "top")] == [
        True,
        True,
        False,
        False,
    ]
    assert image.get_cmap().name == plotting.SEQUENTIAL
    assert plotting.DIVERGING in matplotlib.colormaps
    figure.canvas.draw()


def test_a_saved_figure_is_opaque(tmp_path):
    plotting.style()
    figure, ax = plt.subplots()
    ax.plot([0, 1])
    figure.savefig(tmp_path / "a.png")
    assert plt.imread(tmp_path / "a.png")[..., 3].min() == 1


def test_style_makes_svg_repeatable(tmp_path):
    plotting.style()
    for name in ("a.svg", "b.svg"):
        figure, ax = plt.subplots()
        ax.plot([0, 1])
        figure.savefig(tmp_path / name, metadata={"Date": None})
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def drawn(container) -> tuple[np.ndarray, list[list[float]]]:
    line, _, (bars,) = container
    return line.get_xydata(), [segment.tolist() for segment in bars.get_segments()]


def test_intervals_stand_at_mean_low_and_high():
    _, ax = plt.subplots()
    samples = [[1.0, 2.0, 4.0], [0.5, 0.5], [7.0]]
    summaries = [summarize(s) for s in samples]
    points, bars = drawn(plotting.intervals(ax, [10, 20, 40], summaries, label="ours", index=2))
    assert points.tolist() == [[10, pytest.approx(7 / 3)], [20, 0.5], [40, 7.0]]
    half = (
        4.302653 * np.std(samples[0], ddof=1) / np.sqrt(3)
    )  # Student's t with 2 degrees of freedom at 97.5 %
    expected = [
        [[10, 7 / 3 - half], [10, 7 / 3 + half]],
        [[20, 0.5], [20, 0.5]],
        [[40, 7], [40, 7]],
    ]
    assert np.allclose(bars, expected)
    assert ax.get_legend_handles_labels()[1] == ["ours"]


@pytest.mark.parametrize("index", [0, 3, 6, 7, 9])
def test_intervals_take_the_look_of_their_series(index):
    _, ax = plt.subplots()
    line = plotting.intervals(ax, [0], [summarize([1.0, 2.0])], index=index)[0]
    assert line.get_color() == plotting.PALETTE[index % 7]
    assert line.get_marker() == plotting.MARKERS[index % 7]


def test_intervals_pass_options_on():
    _, ax = plt.subplots()
    line = plotting.intervals(
        ax, [0, 1], [summarize([1.0]), summarize([2.0])], color="red", linestyle="none"
    )[0]
    assert line.get_color() == "red"
    assert line.get_linestyle() == "None"


def test_intervals_need_a_position_for_each():
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="got 1 positions and 2 summaries"):
        plotting.intervals(ax, [1], [summarize([1.0]), summarize([2.0])])
    assert not ax.lines


def test_the_smallest_text_is_found_wherever_it_stands():
    plotting.style(dpi=100)
    figure, (one, two) = plt.subplots(1, 2, figsize=(6, 3))
    one.set_title("big", fontsize=20)
    assert plotting.smallest_text(figure) == (pytest.approx(10.5 * 100 / 72), 600)  # tick labels
    two.text(0.5, 0.5, "small", fontsize=6)
    assert plotting.smallest_text(figure)[0] == pytest.approx(6 * 100 / 72)
    two.texts[0].set_visible(False)
    figure.text(0, 0, "  ", fontsize=2)  # nothing is to be seen of it
    assert plotting.smallest_text(figure)[0] == pytest.approx(10.5 * 100 / 72)


def test_axes_that_are_off_have_no_tick_labels_but_their_texts():
    figure, ax = plt.subplots()
    ax.tick_params(labelsize=3)
    ax.axis("off")
    assert plotting.smallest_text(figure)[0] == np.inf
    ax.text(0, 0, "here", fontsize=8)
    ax.set_title("there", fontsize=9)
    assert plotting.smallest_text(figure)[0] == pytest.approx(8 * figure.dpi / 72)


def test_a_stored_figure_says_how_small_its_text_is():
    import base64
    import io

    from PIL import Image

    plotting.style(dpi=100)
    figure, ax = plt.subplots(figsize=(5, 3))
    ax.plot([0, 1])
    picture = Image.open(io.BytesIO(base64.b64decode(plotting._png(figure))))
    assert picture.size == (500, 300)
    height, width = map(float, picture.text[plotting.TEXT_KEY].split())
    assert (height, width) == (pytest.approx(10.5 * 100 / 72, abs=0.01), 500)
