"""Hangul shows with a font that the page brings: every syllable has its glyph, and the browser loads and uses the font."""

from __future__ import annotations

import re
from pathlib import Path

import hangul
import pytest
from bookkit import HTML, ROOT, Open
from fontTools.ttLib import TTFont

PAGE = HTML / "book" / "glossary.html"


def glyphs(path: Path = hangul.FONT) -> set[str]:
    """The characters for which the font has something to draw."""
    font = TTFont(path)
    widths, drawn = font["hmtx"], font.getGlyphSet()
    found = set()
    for code, name in font.getBestCmap().items():
        from fontTools.pens.boundsPen import BoundsPen

        pen = BoundsPen(drawn)
        drawn[name].draw(pen)
        if pen.bounds and widths[name][0] > 0 and name != ".notdef":
            found.add(chr(code))
    return found


def test_every_hangul_character_of_the_book_has_a_glyph() -> None:
    used = hangul.characters()
    assert len(used) > 200, "the sources were not read"
    missing = {character: used[character] for character in sorted(set(used) - glyphs())}
    assert missing == {}, "run scripts/hangul.py"


def test_a_missing_glyph_is_seen() -> None:
    assert "뷁" not in hangul.characters()
    assert "뷁" not in glyphs(), "the font holds more than the book uses"


def test_characters_are_found_however_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "a.md").write_text("말 and \\u1102 and \\\\uae00, no 漢", encoding="utf-8")
    (tmp_path / "book" / "b.txt").write_text("않", encoding="utf-8")
    assert sorted(hangul.characters(tmp_path)) == sorted("말글\u1102")


def test_the_font_is_small_and_says_whose_it_is() -> None:
    assert hangul.FONT.stat().st_size < 300_000
    names = {record.nameID: record.toUnicode() for record in TTFont(hangul.FONT)["name"].names}
    assert "Adobe" in names[0]
    assert "SIL Open Font License" in names[13]
    assert names[1] == hangul.FAMILY
    licence = hangul.LICENCE.read_text(encoding="utf-8")
    assert "SIL OPEN FONT LICENSE Version 1.1" in licence
    assert names[0] in licence
    assert "book/_static/fonts/hangul.woff" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_the_style_names_the_range_that_the_script_reads() -> None:
    style = (ROOT / "book" / "_static" / "mmtutor.css").read_text(encoding="utf-8")
    face = re.search(r'@font-face \{[^}]*"mmtutor Hangul"[^}]*\}', style)
    assert face
    ranges = re.findall(r"U\+([0-9A-F]+)-([0-9A-F]+)", face[0])
    wanted = re.findall(r"(.)-(.)", hangul.HANGUL)
    assert [(chr(int(a, 16)), chr(int(b, 16))) for a, b in ranges] == wanted
    for family in ("base", "monospace"):
        assert f'--pst-font-family-{family}: "{hangul.FAMILY}"' in style


@pytest.mark.usefixtures("html")
def test_the_font_comes_with_the_page_and_is_used(open_page: Open) -> None:
    with open_page(PAGE) as watched:
        page = watched.page
        page.evaluate("document.fonts.ready.then(() => true)")
        faces = page.evaluate(
            "[...document.fonts].filter(f => f.family.includes('mmtutor Hangul')).map(f => f.status)"
        )
        assert faces == ["loaded"], "the page has Hangul, so the font must have been fetched"
        assert page.evaluate("document.fonts.check('16px \"mmtutor Hangul\"', '어텐션')")
        used = page.evaluate(
            """() => { const walk = document.createTreeWalker(document.querySelector('article'), NodeFilter.SHOW_TEXT);
            const families = new Set(); let node;
            while ((node = walk.nextNode())) if (/[\\uac00-\\ud7a3]/.test(node.data))
              families.add(getComputedStyle(node.parentElement).fontFamily.split(',')[0]);
            return [...families] }"""
        )
        assert used == ['"mmtutor Hangul"'] or used == ["mmtutor Hangul"]
        with_it, without = page.evaluate(PIXELS)
        assert with_it["width"] > 0
        assert with_it["ink"] != without["ink"], "drawn as what stands in for a missing glyph"
        assert len(set(with_it["each"])) > 1, "all syllables look alike: empty boxes"
        assert watched.errors == []


@pytest.mark.usefixtures("html")
def test_hangul_in_prose_is_marked_as_korean(open_page: Open) -> None:
    with open_page(PAGE) as watched:
        unmarked, marked = watched.page.evaluate(
            """() => { const walk = document.createTreeWalker(document.querySelector('article'), NodeFilter.SHOW_TEXT);
            const count = [0, 0]; let node; while ((node = walk.nextNode())) if (/[\\uac00-\\ud7a3]/.test(node.data))
              count[node.parentElement.closest('[lang=ko]') ? 1 : 0] += 1; return count }"""
        )
        assert unmarked == 0
        assert marked > 100


PIXELS = """() => {
  const text = '어텐션의 뜻', draw = (font, string) => {
    const canvas = document.createElement('canvas'); canvas.width = 300; canvas.height = 60;
    const ink = canvas.getContext('2d'); ink.font = `30px ${font}`; ink.fillText(string, 5, 40);
    return [ink.measureText(string).width, [...ink.getImageData(0, 0, 300, 60).data].filter((v, i) => i % 4 == 3)
      .reduce((sum, v, i) => (sum * 31 + v) % 1000003, 7)] };
  return ['"mmtutor Hangul"', '"Liberation Sans"'].map(font => { const [width, ink] = draw(font, text);
    return {width, ink, each: [...'어텐션의'].map(one => draw(font, one)[1])} }) }"""


@pytest.mark.usefixtures("html")
def test_a_page_without_hangul_does_not_fetch_it(open_page: Open) -> None:
    with open_page(HTML / "book" / "bibliography.html") as watched:
        faces = watched.page.evaluate(
            "[...document.fonts].filter(f => f.family.includes('mmtutor Hangul')).map(f => f.status)"
        )
        assert faces == ["unloaded"]
