"""Nothing is cut off and nothing is too small: code, formulas, and the texts within pictures, at the width of a desk and of
a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bookkit import HTML, ROOT, Open, Watched, toc_pages

from mmtutor.page.plotting import TEXT_KEY

PAGES = toc_pages()
DESK, PHONE = 1280, 390
LEAST = {DESK: 11.0, PHONE: 9.0}  # pixels of the smallest text in a picture
pytestmark = [pytest.mark.usefixtures("html"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module", params=PAGES)
def page(request: pytest.FixtureRequest, open_page: Open) -> Iterator[Watched]:
    with open_page(HTML / f"{request.param}.html", width=DESK) as watched:
        watched.settle()
        unfold(watched)
        yield watched


@pytest.fixture(scope="module", params=PAGES)
def phone(request: pytest.FixtureRequest, open_page: Open) -> Iterator[Watched]:
    with open_page(HTML / f"{request.param}.html", width=PHONE) as watched:
        watched.settle()
        unfold(watched)
        yield watched


def unfold(watched: Watched) -> None:
    watched.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")


def test_code_and_what_it_prints_fit_the_column_of_a_desk(page: Watched) -> None:
    cut = page.page.evaluate(
        """() => [...document.querySelectorAll('article pre')].filter(e => e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1)
        .map(e => e.innerText.split('\\n').sort((a, b) => b.length - a.length)[0])"""
    )
    assert cut == []


def test_formulas_fit_a_phone(phone: Watched) -> None:
    cut = phone.page.evaluate(
        """() => [...document.querySelectorAll('article div.math, article mjx-container[display="true"]')]
        .filter(e => e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 2)
        .map(e => [e.scrollWidth - e.clientWidth, (e.closest('div.math') || e).id || e.textContent.slice(0, 60)])"""
    )
    assert cut == []


def test_texts_in_pictures_are_large_enough_at_a_desk(page: Watched) -> None:
    assert too_small(page, DESK) == []


def test_texts_in_pictures_are_large_enough_on_a_phone(phone: Watched) -> None:
    assert too_small(phone, PHONE) == []


def too_small(watched: Watched, width: int) -> list[str]:
    small = []
    for source, alt, shown, said in watched.page.eval_on_selector_all(
        "article img",
        """images => images.map(i => { i.hidden = false; return i; })
        .map(i => [i.src, i.alt, i.getBoundingClientRect().width, i.dataset.smallestText + ' ' + i.getAttribute('width')])
        .filter(i => i[2] > 0)""",
    ):
        known = smallest_text(source, said)
        if known and known[0] * shown / known[1] < LEAST[width] - 0.05:
            small.append(f"{known[0] * shown / known[1]:.1f} px at {shown:.0f} px wide: {alt[:70]}")
    return small


def smallest_text(source: str, said: str) -> tuple[float, float] | None:
    """Pixels of the smallest text of a picture and of its width; ``None`` where it has no text, or none that is known."""
    if not said.startswith("undefined"):  # in a widget
        height, width = said.split()
        return float(height), float(width)
    path = Path(unquote(urlsplit(source).path))
    if source.startswith("data:") or not path.is_file():
        return None
    if path.suffix == ".svg":
        return smallest_in_svg(path)
    from PIL import Image

    with Image.open(path) as picture:
        text = getattr(picture, "text", {}).get(TEXT_KEY)
    return tuple(map(float, text.split())) if text else None


def smallest_in_svg(path: Path) -> tuple[float, float] | None:
    """Of a drawing whose sizes of type stand in ``font-size`` attributes or style sheets, without scaling."""
    drawing = path.read_text(encoding="utf-8")
    sizes = [float(s) for s in re.findall(r"font-size\s*[:=]\s*[\"']?\s*([\d.]+)", drawing)]
    box = re.search(r"viewBox=[\"']\s*[\d.-]+\s+[\d.-]+\s+([\d.]+)", drawing)
    return (min(sizes), float(box[1])) if sizes and box else None


def test_every_figure_of_a_chapter_says_how_small_its_text_is() -> None:
    """A figure that was made without ``plotting.style()`` would slip through the test above."""
    import base64
    import io
    import json

    from PIL import Image

    silent = []
    for path in sorted((ROOT / "book").glob("[!.]*.ipynb")):
        for i, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
            for output in cell.get("outputs", []):
                data = output.get("data", {}).get("image/png")
                if data:
                    picture = Image.open(io.BytesIO(base64.b64decode("".join(data))))
                    if TEXT_KEY not in picture.text:
                        silent.append(f"{path.stem}, cell {i}")
    assert silent == []
