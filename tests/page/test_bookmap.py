"""The map of the book: its HTML, its drawing, its addresses, and bad input."""

from __future__ import annotations

import itertools
import json
import math
import re
from typing import Any

import pytest
from pagekit import Parsed

from mmtutor.page import bookmap
from mmtutor.page.plotting import COLORS

CHAPTERS = [
    ("Begin", "All at once.", "words", ("sounds", "pictures"), "foundation", "00.html"),
    ("Letters", "One by one.", "words", None, "foundation", "01.html"),
    ("Meet", "They meet.", "pictures", "words", "matching", "02.html"),
    ("Tell", "It tells.", "pictures", "words", ("translating", "referencing back"), "03.html"),
    ("Hear", "It hears.", "sounds", "moving pictures", "referencing", None),
    ("Sing", "It sings.", "words", "sounds", "translating", "https://example.org/a?b=1#c"),
]


def make(chapters: Any = CHAPTERS, **options: Any) -> bookmap.Widget:
    return bookmap.bookmap(chapters, **({"label": "Roads"} | options))


def changed(**fields: Any) -> list[Any]:
    """The chapters, the third of them with other fields."""
    third = bookmap.Chapter(*CHAPTERS[2])._replace(**fields)
    return [*CHAPTERS[:2], third, *CHAPTERS[3:]]


def data(widget: bookmap.Widget) -> dict[str, Any]:
    return json.loads(re.search(r'application/json">(.+?)</script>', widget._repr_html_())[1])


def maps(widget: bookmap.Widget) -> list[str]:
    return re.findall(r'<svg class="mmt-roads.+?</svg>', widget._repr_html_(), re.S)


def numbers(tag: dict[str, str | None], *names: str) -> list[float]:
    return [float(tag[name]) for name in names]


# --- The page -------------------------------------------------------------------------------------


def test_whole_html_with_a_plain_twin_and_nothing_from_outside() -> None:
    widget = make(here="Begin", start="Meet")
    html = widget._repr_html_()
    parsed = Parsed(html)
    assert parsed.open == []
    assert parsed.tags[0][1]["id"] == widget.id
    assert set(re.findall(r"https?://[^\"]+", html)) == {
        "http://www.w3.org/2000/svg",  # a name, not an address
        "https://example.org/a?b=1#c",  # a link that was given
    }
    assert repr(widget) == (
        "Roads: 6 chapters.\n"
        "  Begin (words, sounds and pictures together): All at once. [you are reading it]\n"
        "  Letters (about words): One by one. [01.html]\n"
        "  Meet (pictures and words meet): They meet. [02.html]\n"
        "  Tell (pictures become words, words point into pictures): It tells. [03.html]\n"
        "  Hear (sounds point into moving pictures): It hears. [not written yet]\n"
        "  Sing (words become sounds): It sings. [https://example.org/a?b=1#c]"
    )


def test_the_list_links_what_is_written_in_the_order_given() -> None:
    html = make(here="Begin")._repr_html_()
    listed = re.search(r'<ul class="mmt-list">(.+?)</ul>', html)[1]
    assert re.findall(r'<a href="([^"]+)">([^<]+)</a>', listed) == [
        ("01.html", "Letters"),
        ("02.html", "Meet"),
        ("03.html", "Tell"),
        ("https://example.org/a?b=1#c", "Sing"),
    ]
    items = re.findall(r"<li>(.+?)</li>", listed)
    assert items[0].startswith("Begin (")
    assert items[0].endswith("<em>You are reading it.</em>")
    assert (
        items[4] == "Hear (sounds point into moving pictures): It hears. <em>Not written yet.</em>"
    )
    assert "<details open>" in html  # without a script it is there to read


def test_the_chosen_chapter_stands_there_before_any_touch() -> None:
    for options, name, line in [
        ({}, "Begin", "All at once."),
        ({"here": "Meet"}, "Meet", "They meet."),
        ({"here": "Meet", "start": "Tell"}, "Tell", "It tells."),
        ({"start": "Hear"}, "Hear", "It hears."),
    ]:
        html = make(**options)._repr_html_()
        card = re.search(r'<div class="mmt-card".+?</div>', html)[0]
        assert f'<span class="mmt-name">{name}</span>' in card
        assert f'<p class="mmt-line">{line}</p>' in card
        assert ("You are reading it." in card) == (name == "Meet")
        assert ("Not written yet." in card) == (name == "Hear")
        assert ('<a href="' in card) == (name in ("Begin", "Tell"))
        for drawing in maps(make(**options)):
            chosen = re.findall(r'mmt-road mmt-sel[^"]*" data-i="(\d)"', drawing)
            assert [CHAPTERS[int(i)][0] for i in chosen] == [name]


def test_each_way_says_what_it_is_and_counts_its_chapters() -> None:
    about = data(make())["about"]
    assert about == {
        "foundation": "Foundations: what the others stand on. 2 chapters.",
        "matching": "Matching: two modalities meet in one space. 1 chapter.",
        "translating": "Translating: one becomes the other. 2 chapters.",
        "referencing": "Referencing: one looks up a part of the other. 2 chapters, 1 written.",
    }
    few = make([CHAPTERS[2]])
    assert list(data(few)["about"]) == ["matching"]
    assert few._repr_html_().count("<button ") == 1
    assert "Dashed signs are not written yet." in make()._repr_html_()
    assert "Dashed" not in few._repr_html_()


def test_the_same_input_gives_the_same_bytes_and_another_gives_others() -> None:
    assert make()._repr_html_() == make()._repr_html_()
    rows = [bookmap.Chapter(*row) for row in CHAPTERS]
    assert make(iter(rows))._repr_html_() == make()._repr_html_()
    others = [make(start="Meet"), make(here="Meet"), make(changed(line="x")), make(label="x")]
    others += [make(changed(href=None)), make(changed(ways="translating"))]
    assert len({make().id, *(one.id for one in others)}) == len(others) + 1
    assert make(id="mine").id == "mine"


def test_text_is_escaped_and_keeps_its_side() -> None:
    nasty = "</script><b>&'\""
    html = make(changed(name=nasty, line=nasty), label=nasty, start=nasty)._repr_html_()
    assert "<b>" not in html
    assert Parsed(html).open == []
    html = make(changed(name="כלב", line="كلب"))._repr_html_()
    assert html.count("\u2068") == html.count("\u2069") > 4


# --- The drawing ----------------------------------------------------------------------------------

MANY = [
    (f"Road {i} of many names", "x", a, b, way, None)
    for i, ((a, b), way) in enumerate(
        itertools.product(
            itertools.permutations(("words", "sounds", "pictures", "moving pictures"), 2),
            ("matching", "translating", "referencing"),
        )
    )
]
SETS = {
    "some": CHAPTERS,
    "every road": MANY,
    "one place": [("A", "x", "moving pictures", None, "foundation")],
    "one road": [("A", "x", "sounds", "words", "matching")],
    "two below": [(n, "x", "moving pictures", "sounds", "matching") for n in "AB"],
    "all stations, one road": [
        ("A", "x", "words", ("sounds", "pictures", "moving pictures"), "foundation")
    ],
}


@pytest.mark.parametrize("size", [0, 1], ids=["desk", "phone"])
@pytest.mark.parametrize("rows", SETS.values(), ids=SETS)
def test_signs_and_stations_lie_apart_and_inside(rows: list[Any], size: int) -> None:
    parsed = Parsed(maps(make(rows))[size])
    width, height = map(float, parsed.tags[0][1]["viewbox"].split()[2:])
    signs = [one for one in parsed.of("rect") if one.get("class") == "mmt-sign"]
    boxes = [numbers(one, "x", "y", "width", "height") for one in signs]
    assert len(boxes) == len(rows)
    for a, b in itertools.pairwise(sorted(boxes, key=lambda box: box[1])):
        assert a[1] + a[3] < b[1]
    assert all(x > 0 and x + w < width and y > 0 and y + h < height for x, y, w, h in boxes)
    radius = (bookmap.DESK, bookmap.PHONE)[size].radius
    font = (bookmap.DESK, bookmap.PHONE)[size].font
    rounds = [one for one in parsed.of("circle") if float(one["r"]) == radius]
    places = [tuple(numbers(one, "cx", "cy")) for one in rounds]
    used = {e for row in rows for e in (row[2], *([row[3]] if isinstance(row[3], str) else row[3] or ()))}  # fmt: skip
    assert len(places) == len(used)
    for x, y in places:
        assert radius < x < width - radius
        assert radius < y < height - radius - 2 * font  # its name is below it
        assert boxes[0][0] > x + radius + 8 or boxes[0][0] + boxes[0][2] < x - radius - 8
    for (x, y), (u, v) in itertools.combinations(places, 2):
        assert x != u or abs(y - v) > 2 * radius + font


@pytest.mark.parametrize("size", [0, 1], ids=["desk", "phone"])
def test_each_road_goes_from_its_stations_to_its_sign(size: int) -> None:
    drawing = maps(make())[size]
    radius = (bookmap.DESK, bookmap.PHONE)[size].radius
    rounds = [one for one in Parsed(drawing).of("circle") if float(one["r"]) == radius]
    centres = {}
    for text, one in zip(re.findall(r">(Words|Sounds|Pictures|Moving)<", drawing), rounds):
        centres[text.lower().replace("moving", "moving pictures")] = numbers(one, "cx", "cy")
    for i, (_, _, source, target, ways, _) in enumerate(CHAPTERS):
        group = re.search(rf'<g class="mmt-road[^"]*" data-i="{i}">(.+?)</g>', drawing, re.S)[1]
        parsed = Parsed(group)
        sign = next(one for one in parsed.of("rect") if one["class"] == "mmt-sign")
        x, y, w, h = numbers(sign, "x", "y", "width", "height")
        ends = [source, *([target] if isinstance(target, str) else target or ())]
        strands = [one for one in parsed.of("path") if one["class"] == "mmt-strand"]
        assert len(strands) == len(ends) * (1 if isinstance(ways, str) else len(ways))
        order = [*ends, *ends[::-1]]  # the second way of "Tell" goes back
        for end, one in zip(order, strands):
            points = [float(v) for v in re.findall(r"-?[\d.]+", one["d"])]
            apart = math.dist(points[:2], centres[end])
            assert apart == pytest.approx(radius, abs=2.5 if len(strands) > len(ends) else 0.2)
            assert points[-2] in (x, x + w)
            assert abs(points[-1] - y - h / 2) < h / 2
            assert (points[-2] == x) == (end in bookmap.LEFT)


def test_a_way_has_a_colour_a_line_and_a_tip_of_its_own() -> None:
    drawing = maps(make([(w, "x", "pictures", "words", w) for w in bookmap.WAYS]))[0]
    looks = set()
    for i, way in enumerate(bookmap.WAYS):
        group = re.search(rf'data-i="{i}">(.+?)</g>', drawing, re.S)[1]
        strand = re.search(r'class="mmt-strand"[^>]* (stroke=.+?)/>', group)[1]
        tips = re.findall(r'<(\w+) class="mmt-tip"', group)
        looks.add((strand, tuple(tips)))
        colour = bookmap.WAYS[way][3]
        assert f'stroke="{COLORS[colour] if colour else "currentColor"}"' in strand
    assert len(looks) == 4
    assert len({strand.partition("dasharray")[2] for strand, _ in looks}) == 3
    assert len({tips for _, tips in looks}) == 3


def test_arrows_meet_at_a_match_and_go_on_at_a_translation() -> None:
    def tips(way: str, *ends: str) -> list[str]:
        """For each tip from left to right, where it points."""
        drawing = maps(make([("A", "x", *ends, way)]))[0]
        found = re.findall(r'class="mmt-tip" d="M([\d.]+) [\d.]+L([\d.]+) ', drawing)
        return ["right" if float(b) > float(a) else "left" for a, b in sorted(found)]

    assert tips("matching", "pictures", "words") == ["right", "left"]
    assert tips("matching", "words", "pictures") == ["right", "left"]
    assert tips("translating", "pictures", "words") == ["left", "left"]
    assert tips("translating", "words", "pictures") == ["right", "right"]
    assert tips("translating back", "words", "pictures") == ["left", "left"]


def test_what_is_looked_up_has_a_ring() -> None:
    for way, ends, right in [
        ("referencing", ("words", "pictures"), True),
        ("referencing", ("pictures", "words"), False),
        ("referencing back", ("words", "pictures"), False),
    ]:
        drawing = maps(make([("A", "x", *ends, way)]))[0]
        (ring,) = re.findall(r'<circle class="mmt-tip" cx="([\d.]+)"', drawing)
        assert (float(ring) > 360) == right


def test_the_text_of_both_drawings_is_large_enough() -> None:
    for size, narrowest, least in ((bookmap.DESK, 560, 11), (bookmap.PHONE, 300, 11)):
        assert size.font * min(1, narrowest / size.width) >= least
    for drawing, size in zip(maps(make()), (bookmap.DESK, bookmap.PHONE)):
        assert re.findall(r'font-size="([\d.]+)"', drawing) == [f"{size.font:g}"]
        assert f'viewBox="0 0 {size.width} ' in drawing


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "href",
    [
        "02_word2vec.html",
        "02_word2vec.html#tab-letters",
        "../index.html",
        "./a/b.html?x=1",
        "a%20b.html",
        "folder/",
        "https://example.org",
        "https://example.org:8000/a/b.html?c=d&e=f#g",
    ],
)
def test_an_address_may_be_relative_or_https(href: str) -> None:
    assert data(make(changed(href=href)))["chapters"][2]["href"] == href


@pytest.mark.parametrize(
    "href",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        " javascript:alert(1)",
        "java\nscript:alert(1)",
        "javascript&#58;alert(1)",
        "data:text/html,x",
        "http://example.org",
        "https:example.org",
        "https://",
        "https://a@b.org",
        "//example.org/a.html",
        "/\\example.org",
        "/a.html",
        "\\a.html",
        "a b.html",
        "a.html\n",
        'a.html" onclick="x',
        "a'.html",
        "a<b.html",
        "vbscript:x",
        "file:///etc/passwd",
        "#only",
        "..",
    ],
)
def test_any_other_address_is_refused(href: str) -> None:
    with pytest.raises(ValueError, match="address of 'Meet' must be relative"):
        make(changed(href=href))


@pytest.mark.parametrize(
    ("chapters", "error", "words"),
    [
        ([], ValueError, "1 to 40 chapters, got 0"),
        ([(f"{i}", *CHAPTERS[2][1:]) for i in range(41)], ValueError, "1 to 40 chapters, got 41"),
        ("abc", TypeError, "must be a list of chapters, got str"),
        (3, TypeError, "must be a list of chapters, got int"),
        ({"a": 1}, TypeError, "must be a list of chapters, got dict"),
        (["abcdef"], TypeError, "chapter 0 must be .name, line, source"),
        ([("a", "b", "words", None)], TypeError, "chapter 0 must be"),
        ([("a", *CHAPTERS[2][1:], 1)], TypeError, "chapter 0 must be"),
        ([CHAPTERS[2]] * 2, ValueError, "a chapter occurs twice: 'Meet'"),
        (changed(name=3), TypeError, "name of chapter 2 must be text"),
        (changed(name=" "), ValueError, "name of chapter 2 must not be empty"),
        (changed(name="x" * 23), ValueError, "too long for a sign: 23 letters, at most 22"),
        (changed(name="가" * 12), ValueError, "too long for a sign: 24 letters"),
        (changed(line=""), ValueError, "line of 'Meet' must not be empty"),
        (changed(source="smells"), ValueError, "source of 'Meet' must be one of words, sounds"),
        (changed(target="smells"), ValueError, "target of 'Meet' must be one of words, sounds"),
        (changed(target=("words", 3)), ValueError, "target of 'Meet' must be one of"),
        (changed(target="pictures"), ValueError, "'Meet' comes twice to one modality"),
        (changed(target=("words", "words")), ValueError, "'Meet' comes twice to one modality"),
        (changed(target=None), ValueError, "from pictures to nowhere: only a foundation may"),
        (changed(ways="walking"), ValueError, "ways of 'Meet' must be one or several of"),
        (changed(ways=()), ValueError, "ways of 'Meet' must be one or several of"),
        (changed(ways=(3,)), ValueError, "ways of 'Meet' must be one or several of"),
        (changed(ways=("matching", "matching back")), ValueError, "a way of 'Meet' stands twice"),
        (changed(ways=("matching", "foundation")), ValueError, "it can be nothing else"),
        (
            changed(target=("words", "sounds"), ways="translating back"),
            ValueError,
            "comes back from several modalities",
        ),
        (changed(href=3), TypeError, "address of 'Meet' must be text"),
        (changed(href=""), ValueError, "address of 'Meet' must not be empty"),
    ],
)
def test_bad_chapters_get_a_clear_error(chapters: Any, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        make(chapters)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"label": ""}, ValueError, "label must not be empty"),
        ({"label": None}, TypeError, "label must be text"),
        ({"start": "Nobody"}, ValueError, "start: 'Nobody' is not among the chapters"),
        ({"here": "Nobody"}, ValueError, "here: 'Nobody' is not among the chapters"),
        ({"id": "1 2"}, ValueError, "id must start with a letter"),
    ],
)
def test_bad_options_get_a_clear_error(options: Any, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        make(**options)
