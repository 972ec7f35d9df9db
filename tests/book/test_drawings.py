"""The drawings: wide enough type, nothing cut off, no text on another, and shapes that are the models'."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from bookkit import ROOT, Open

from mmtutor import recipes
from mmtutor.experiments import recipes as experiment

DRAWINGS = sorted((ROOT / "book" / "figures").glob("*.svg"))


def test_there_are_drawings() -> None:
    assert len(DRAWINGS) >= 7


@pytest.mark.parametrize("path", DRAWINGS, ids=lambda path: path.stem)
def test_type_is_large_and_the_drawing_tells_what_it_shows(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    wide = float(re.search(r'viewBox="0 0 ([\d.]+) ', text)[1])
    assert wide <= 640
    smallest = min(map(float, re.findall(r'font-size[=:]"?([\d.]+)', text)))
    assert smallest * 358 / wide >= 9  # pixels on a phone
    assert len(re.search(r"<title>(.+?)</title>", text)[1]) > 10
    assert len(re.search(r"<desc>(.+?)</desc>", text)[1]) > 100
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("path", DRAWINGS, ids=lambda path: path.stem)
def test_no_text_is_cut_off_or_lies_on_another(path: Path, open_page: Open) -> None:
    with open_page(path) as watched:
        wide, high, *boxes = watched.page.evaluate(
            """() => { const v = document.documentElement.viewBox.baseVal; return [v.width, v.height,
            ...[...document.querySelectorAll('text')].map(t => { const b = t.getBBox(), m = t.getCTM(),
            o = document.documentElement.getCTM().inverse().multiply(m);
            const p = (x, y) => [o.a * x + o.c * y + o.e, o.b * x + o.d * y + o.f];
            const [a, c] = [p(b.x, b.y), p(b.x + b.width, b.y + b.height)];
            return [Math.min(a[0], c[0]), Math.min(a[1], c[1]), Math.max(a[0], c[0]), Math.max(a[1], c[1]), t.textContent] })] }"""
        )
    assert len(boxes) > 5
    for left, top, right, bottom, text in boxes:
        assert left >= 2, text
        assert top >= 2, text
        assert right <= wide - 2, text
        assert bottom <= high - 2, text
    for a, b in itertools.combinations(boxes, 2):
        over = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        assert over[0] <= 1 or over[1] <= 6, (a[4], b[4])  # a line's box is higher than its letters


def test_the_shapes_of_the_recipes_are_those_of_the_model() -> None:
    config = recipes.Config.world(ingredients=9, words=9, classes=3)
    text = (ROOT / "book" / "figures" / "recipes.svg").read_text(encoding="utf-8")
    shown = re.findall(r">(\d+|\(B, [\d, ]+\))</text>", text)
    channels, height, width = config.image
    assert sorted(shown) == sorted(
        [
            *[str(config.ingredient)] * 4,  # two between the ingredients, two of the states
            str(config.word),
            str(config.sentence),
            str(config.instruction),
            f"(B, {2 * config.ingredient + config.instruction})",
            *[f"(B, {config.joint})"] * 2,
            f"(B, {channels}, {height}, {width})",
            f"(B, {config.filters * height * width})",
            f"(B, 3, {experiment.PIXELS}, {experiment.PIXELS})",
        ]
    )
