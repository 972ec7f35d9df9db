"""The way in: the first page shows what the book is, with the book's own results, and leads to chapter 1."""

from __future__ import annotations

import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from bookkit import HTML, ROOT, Open, toc_pages
from bs4 import BeautifulSoup

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import mmtutor_chapters
import mmtutor_claims

LANDING = HTML / "book" / "index.html"
pytestmark = [pytest.mark.usefixtures("html"), pytest.mark.timeout(180)]


def parts() -> dict[str, list[str]]:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return {part["caption"]: [one["file"] for one in part["chapters"]] for part in toc["parts"]}


def chapters() -> list[str]:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return [
        one["file"] for part in toc["parts"] if part.get("numbered") for one in part["chapters"]
    ]


def soup(page: str) -> BeautifulSoup:
    return BeautifulSoup((HTML / f"{page}.html").read_text(encoding="utf-8"), "html.parser")


# --- Where it leads -------------------------------------------------------------------------------


def test_next_leads_to_chapter_1_and_on_through_the_chapters() -> None:
    assert toc_pages()[1] == chapters()[0] == "book/01_fusion"
    way = ["book/index", *chapters()]
    for here, there in pairwise(way):
        link = soup(here).select_one("a.right-next")
        assert link["href"] == f"{Path(there).name}.html"
    begin = soup("book/index").select_one("article p a")
    assert begin["href"].startswith("01_fusion.html")


def test_the_chapters_are_numbered_from_1_in_the_order_of_the_book() -> None:
    numbers = [soup(page).select_one("article h1 .section-number").text for page in chapters()]
    assert [n.strip(" .\u2003\xa0") for n in numbers] == [str(k + 1) for k in range(len(numbers))]


def test_world_notation_and_gpu_stand_aside() -> None:
    names = list(parts())
    assert parts()["Aside: the world, notation, GPU"] == [
        "book/play",
        "book/world",
        "book/notation",
        "book/gpu",
        "book/bigger",
    ]
    assert names[-2:] == ["Aside: the world, notation, GPU", "Reference"]


@pytest.mark.parametrize("page", chapters())
def test_a_chapter_that_uses_the_world_links_to_it(page: str) -> None:
    """The page about the world comes after the chapters, so each says where it is when it first uses it."""
    notebook = ROOT / f"{page}.ipynb"
    if not notebook.exists():
        pytest.skip("not a notebook")
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    uses = [
        k
        for k, (kind, text) in enumerate(sources)
        if kind == "code"
        and re.search(r"\bworld\.(?!is_true)\w+\(|from mmtutor\.world import", text)
    ]
    links = [
        k for k, (kind, text) in enumerate(sources) if kind == "markdown" and "(world." in text
    ]
    experiments = any(
        "from mmtutor.experiments" in text for kind, text in sources if kind == "code"
    )
    if uses or experiments:
        assert links, f"{page} uses the world and has no link to its page"
    if uses:
        first = next((k for k in uses if "from mmtutor" not in sources[k][1]), uses[-1])
        assert links[0] <= first + 1, f"{page} uses the world before it says where it is described"


# --- What it shows --------------------------------------------------------------------------------


def shown() -> list[tuple[str, list[str]]]:
    text = (ROOT / "book" / "index.md").read_text(encoding="utf-8")
    found = re.findall(r"\{from-chapter\} (\S+) (.+)", text)
    assert len(found) == 3
    return [(chapter, names.split()) for chapter, names in found]


def test_what_it_shows_is_what_the_chapters_store() -> None:
    page = LANDING.read_text(encoding="utf-8")
    for chapter, names in shown():
        html = mmtutor_chapters.stored(ROOT / f"{chapter}.ipynb", names)
        assert html is not None
        assert html in page
        assert '"autoplay":true' not in html  # nothing moves before the reader asks
    assert len(BeautifulSoup(page, "html.parser").select("article .from-chapter > .mmt-w")) == 3


def test_no_id_occurs_twice_on_it() -> None:
    ids = [tag["id"] for tag in soup("book/index").select("[id]")]
    assert sorted(i for i in set(ids) if ids.count(i) > 1) == []


def test_the_claim_has_the_mark_and_the_interval_of_its_file() -> None:
    from mmtutor.page import ledger

    box = soup("book/index").select_one("article .one-claim")
    id = box.select_one(".claim-id").text.removeprefix("Claim ")
    result = ledger.results(folder=ROOT / "book" / "results")[id]
    text = box.get_text(" ", strip=True).replace("\xa0", " ")
    assert f"{ledger.MARKS[result.verdict]} {ledger.WORDS[result.verdict]}" in text
    assert ledger.all_claims()[id].text in text
    for judged in result.parts:
        assert str(judged.summary) in text
        assert judged.part.asked in text
    assert "[" in text  # an interval, not a bare number
    assert box.select_one("a")["href"] == f"claims.html#{id.lower()}"


# --- The directives with bad input ----------------------------------------------------------------


def notebook(path: Path, *html: str) -> Path:
    outputs = [{"output_type": "display_data", "data": {"text/html": one}} for one in html]
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown"}, {"outputs": outputs}]}))
    return path


def test_an_output_is_found_by_id_and_by_class_in_the_order_of_the_wish(tmp_path: Path) -> None:
    one = '<div class="mmt-w mmt-players" id="one"><p id="inner">x</p></div>'
    two = '<div id="two" class="mmt-w mmt-playhead">y</div>'
    path = notebook(tmp_path / "a.ipynb", "plain words", one, two)
    assert mmtutor_chapters.stored(path, ["one"]) == one
    assert mmtutor_chapters.stored(path, [".mmt-playhead", ".mmt-players"]) == two
    assert mmtutor_chapters.stored(path, ["none", ".mmt-w"]) == one
    assert mmtutor_chapters.stored(path, ["inner"]) is None  # only the outermost element counts
    assert mmtutor_chapters.stored(path, [".mmt-w mmt-players"]) is None
    lines = tmp_path / "b.ipynb"
    lines.write_text(
        json.dumps({"cells": [{"outputs": [{"data": {"text/html": ["<p id='a'>", "b</p>"]}}]}]})
    )
    assert mmtutor_chapters.stored(lines, ["a"]) == "<p id='a'>b</p>"


def test_a_claim_that_is_not_there_is_an_error() -> None:
    for id in ("C99", "C27x", ""):
        with pytest.raises(ValueError, match="no measured claim"):
            mmtutor_claims.one_html(id, "", ROOT)
    with pytest.raises(ValueError, match="2 parts"):
        mmtutor_claims.one_html("C19", "one sentence for both", ROOT)
    assert "<b>" not in mmtutor_claims.one_html("C20", "<b>", ROOT)


@pytest.mark.timeout(180)
def test_a_missing_widget_breaks_a_strict_build(tmp_path: Path) -> None:
    """It is a warning, and the book is built with warnings as errors."""
    from sphinx.application import Sphinx

    (tmp_path / "conf.py").write_text("extensions = ['myst_parser', 'mmtutor_book']\n")
    (tmp_path / "index.md").write_text(
        "# T\n\n```{from-chapter} book/09_show_attend_tell no-such-id\n```\n\n"
        "```{from-chapter} book/no_chapter x\n```\n\n```{one-claim} C99\n```\n"
    )
    import io

    warnings = io.StringIO()
    app = Sphinx(
        tmp_path, tmp_path, tmp_path / "o", tmp_path / "d", "html", warning=warnings, status=None
    )
    app.build()
    told = warnings.getvalue()
    assert (
        "09_show_attend_tell.ipynb stores no output whose outermost element is no-such-id" in told
    )
    assert "book/no_chapter.ipynb stores no output" in told
    assert "no measured claim 'C99'" in told


# --- In a browser ---------------------------------------------------------------------------------


def bottom(watched: Any, selector: str) -> float:
    box = watched.page.locator(selector).first.bounding_box()
    return box["y"] + box["height"]


def test_a_desk_shows_it_at_once(open_page: Open) -> None:
    with open_page(LANDING) as watched:  # 1280 by 900
        picture = watched.page.locator(".landing-see img:visible").first
        assert picture.is_visible()
        for selector in (".landing-see .mmt-w", ".landing-hear .mmt-w", ".one-claim"):
            assert bottom(watched, selector) <= 900, selector
        assert watched.errors == []


def test_a_phone_shows_it_within_two_screens(open_page: Open) -> None:
    with open_page(LANDING, width=390) as watched:
        for selector in (".landing-see .mmt-w", ".landing-hear .mmt-w", ".one-claim"):
            assert bottom(watched, selector) <= 2 * 844, selector
        assert bottom(watched, ".landing-see img:visible") <= 844


def test_the_caption_is_written_when_asked_and_not_before(open_page: Open) -> None:
    with open_page(LANDING) as watched:
        widget = watched.page.locator(".landing-see .mmt-w")
        slider = widget.locator("input[type=range]")
        picture = widget.locator("img:visible").first
        start, first = slider.input_value(), picture.get_attribute("src")
        watched.page.wait_for_timeout(1500)
        assert slider.input_value() == start
        widget.locator("[data-play]").click()
        watched.page.wait_for_function(
            "old => document.querySelector('.landing-see .mmt-w img:not([hidden])').src !== old",
            arg=first,
        )
        assert watched.errors == []


def test_the_sound_plays(open_page: Open) -> None:
    with open_page(LANDING) as watched:
        widget = watched.page.locator(".landing-hear .mmt-w")
        assert widget.locator("img").count() >= 1  # a picture of the sound
        widget.locator("[data-play]").click()
        watched.page.wait_for_function(
            "document.querySelector('.landing-hear audio').currentTime > 0.1"
        )
        assert watched.errors == []
