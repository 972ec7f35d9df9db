"""The search box in a real browser: its answers are Python's, by mouse and by keyboard, on a phone, without scripts."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bookkit import Open, Watched, axe_violations, twice

from mmtutor.kit.text import tokenize
from mmtutor.page import search
from mmtutor.page._sheet import number, sheet

pytestmark = pytest.mark.timeout(120)
NASTY = "<b>&'\""
WORDS = [
    "a",
    "and",
    "on",
    "the",
    "beach",
    "bus",
    "car",
    "cat",
    "dog",
    "street",
    "zebra",
    "it's",
    "t-shirt",
]
WORDS += ["κόσμος", "नमस्ते", "été", "i̇stanbul", *(f"w{i:02d}" for i in range(40))]
RNG = np.random.default_rng(5)
VECTORS = RNG.normal(size=(len(WORDS), 20)) * RNG.uniform(0.2, 3, (len(WORDS), 1))
COUNT, SIDE = 60, 40
POINTS = RNG.normal(size=(COUNT, 20))
POINTS[11] = POINTS[10]  # two that are equally near
POINTS /= np.linalg.norm(POINTS, axis=1, keepdims=True)
IMAGES = np.broadcast_to(
    RNG.integers(0, 256, (COUNT, 1, 1, 3), np.uint8), (COUNT, SIDE, SIDE, 3)
)  # each of one colour
CAPTIONS = [f"picture {i}, {NASTY}" for i in range(COUNT)]
START = "A dog, on the beech"
K, NEAR = 5, 4


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    widget = search.search_box(
        WORDS,
        VECTORS,
        POINTS,
        IMAGES,
        CAPTIONS,
        label="Search",
        start=START,
        examples=["the cat", "an elephant", (7, "dog", "cat")],
        k=K,
        near=NEAR,
        weight=0.8,
        quality=90,
        id="find",
    )
    path = tmp_path_factory.mktemp("find") / "page.html"
    path.write_text(
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Search</title>'
        '<meta name="viewport" content="width=device-width"><style>:root{color-scheme:light dark}'
        "body{background:Canvas;color:CanvasText}</style></head>"
        f"<body><main><h1>Search</h1>{widget._repr_html_()}</main></body></html>",
        encoding="utf-8",
    )
    return path


def box(watched: Watched) -> Any:
    return watched.page.get_by_label("What should the picture show?")


def ask(watched: Watched, text: str) -> None:
    box(watched).fill(text)
    box(watched).press("Enter")


def shown(watched: Watched) -> list[tuple[str, str]]:
    return [tuple(row) for row in watched.page.eval_on_selector_all(
        "#find .mmt-hits .mmt-hit",
        "hits => hits.map(h => [h.firstChild.getAttribute('aria-label'), h.lastChild.textContent])",
    )]  # fmt: skip


def want(query: np.ndarray, k: int = K, without: int | None = None) -> list[tuple[str, str]]:
    return [(CAPTIONS[i], number(score)) for i, score in search.find(POINTS, query, k, without)]


def of(text: str) -> list[tuple[str, str]]:
    query = search.embed(WORDS, VECTORS, text)[0]
    return [] if query is None else want(query)


def said(watched: Watched, what: str = "say") -> str:
    return watched.page.locator(f"#find .mmt-{what}").inner_text()


def texts() -> list[str]:
    """Sentences with all that a reader may type, known words and unknown ones."""
    draw = np.random.default_rng(0)
    marks = [
        " ",
        "  ",
        ", ",
        ". ",
        "! ",
        " - ",
        "-",
        "–",
        "'",
        "’",
        "_",
        "/",
        "\u200d",
        "\u00a0",
        "🐶",
        "️ ",
    ]
    odd = [
        "Dog",
        "DOG",
        "IT’S",
        "it's",
        "T-Shirt",
        "Été",
        "e\u0301te\u0301",
        "नमस्ते",
        "कि",
        "ΚΌΣΜΟΣ",
        "İstanbul",
        "日本語",
    ]
    odd += [
        "1.5",
        "½",
        "x²",
        "‘cat’",
        '"bus"',
        "(the",
        "beach)",
        "do",
        "3️⃣",
        "ภาษาไทย",
        "한국어",
        "ﬁn",
        "ß",
        "\u0301a",
    ]
    made = [
        "",
        "?",
        "dog-",
        "-dog-cat-",
        "a’b’c",
        "dog'",
        "'dog",
        "dog__cat",
        "dog’’cat",
        "a\u200db \u200d",
    ]
    for _ in range(150):
        parts = []
        for _ in range(draw.integers(1, 9)):
            parts += [
                str(draw.choice(WORDS if draw.random() < 0.6 else odd)),
                str(draw.choice(marks)),
            ]
        made.append("".join(parts))
    return made


def test_the_page_computes_what_python_computes(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        assert shown(watched) == of(START)
        for text in texts():
            ask(watched, text)
            query, known, unknown = search.embed(WORDS, VECTORS, text)
            assert shown(watched) == of(text), repr(text)
            assert said(watched, "lost") == search._unknown(unknown, WORDS), repr(text)
            if query is not None:
                assert said(watched).startswith(f"{' '.join(known)}: nearest is “picture "), repr(
                    text
                )
        assert sum(of(text) != [] for text in texts()) > 100
        assert len({word for text in texts() for word in tokenize(text)} - set(WORDS)) > 50
        assert watched.errors == []


def test_it_answers_while_one_types(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        box(watched).fill("")
        assert shown(watched) == []
        assert said(watched) == "Type what a picture should show."
        box(watched).press_sequentially("a cat")
        assert shown(watched) == of("a cat")
        box(watched).press_sequentially(
            " and zebr"
        )  # being typed: not yet unknown, not yet guessed
        assert shown(watched) == of("a cat and")
        assert said(watched, "lost") == ""
        box(watched).press("Enter")
        assert shown(watched) == of("a cat and")
        assert said(watched, "lost") == "I do not know: zebr (near in spelling: zebra)."
        box(watched).press_sequentially("a")
        assert shown(watched) == of("a cat and zebra")
        assert said(watched, "lost") == ""


def test_a_text_without_a_known_word_shows_nothing(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        ask(watched, "Elephants! constructor")
        assert shown(watched) == []
        assert (
            said(watched)
            == "None of these words has a vector here, so there is nothing to compare."
        )
        assert said(watched, "lost") == "I do not know: elephants, constructor."
        ask(watched, NASTY)
        assert shown(watched) == []
        assert said(watched, "lost").startswith("I do not know: b")
        assert watched.page.locator("#find b").count() == 0
        assert watched.errors == []


def test_examples_are_one_click_away(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        watched.page.get_by_role("button", name="the cat").click()
        assert box(watched).input_value() == "the cat"
        assert shown(watched) == of("the cat")
        watched.page.get_by_role("button", name="an elephant").press("Enter")
        assert (
            said(watched, "lost") == "I do not know: an (near in spelling: a, and, on), elephant."
        )
        watched.page.get_by_role("button", name="− dog + cat").click()
        query = search.exchanged(WORDS, VECTORS, POINTS, 7, "dog", "cat", 0.8)
        assert shown(watched) == want(query, without=7)
        assert said(watched).startswith("This picture − dog + cat: nearest is “picture ")


def test_a_picture_asks_too_by_mouse_and_by_keyboard(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        chosen = watched.page.get_by_role("group", name="The chosen picture")
        assert not chosen.is_visible()
        for press in (lambda e: e.click(), lambda e: e.press("Enter")):
            ask(watched, "a dog")
            second = watched.page.locator("#find .mmt-hit").nth(1)
            name = second.locator(".mmt-pic").get_attribute("aria-label")
            i = CAPTIONS.index(name)
            press(second)
            query = search.exchanged(WORDS, VECTORS, POINTS, i)
            assert shown(watched) == want(query, without=i)
            assert chosen.locator(".mmt-told").inner_text() == name
            assert chosen.locator(".mmt-near li").all_inner_texts() == [
                f"{word} {number(score)}"
                for word, score in search.find_words(WORDS, VECTORS, query, NEAR)
            ]
            assert watched.page.evaluate("document.activeElement.className") == "mmt-like"
            chosen.get_by_label("− word").fill("dog")
            assert shown(watched) == want(
                search.exchanged(WORDS, VECTORS, POINTS, i, "dog", "", 0.8), without=i
            )
            chosen.get_by_label("+ word").fill("cat zebras")
            chosen.get_by_label("+ word").press("Enter")
            assert shown(watched) == want(
                search.exchanged(WORDS, VECTORS, POINTS, i, "dog", "cat", 0.8), without=i
            )
            assert said(watched).startswith("This picture − dog + cat: nearest is")
            assert said(watched, "lost") == "I do not know: zebras (near in spelling: zebra)."
            press(chosen.get_by_role("button", name="Back to the sentence"))
            assert shown(watched) == of("a dog")
            assert not chosen.is_visible()
            assert box(watched).evaluate("e => e === document.activeElement")
        assert watched.errors == []


def test_a_word_near_a_picture_can_be_asked(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        watched.page.locator("#find .mmt-hit").first.click()
        word = watched.page.locator("#find .mmt-near button").nth(1)
        name = word.inner_text().split()[0]
        word.click()
        assert box(watched).input_value() == name
        assert shown(watched) == of(name)
        assert watched.page.evaluate("document.activeElement.className") == "mmt-hits"


def test_typing_a_sentence_leaves_the_chosen_picture(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        watched.page.locator("#find .mmt-hit").first.click()
        ask(watched, "the bus")
        assert shown(watched) == of("the bus")
        assert not watched.page.get_by_role("group", name="The chosen picture").is_visible()
        watched.page.locator("#find .mmt-hit").first.click()
        assert shown(watched) != of("the bus")
        box(watched).press("Enter")  # as it stands
        assert shown(watched) == of("the bus")
        assert not watched.page.get_by_role("group", name="The chosen picture").is_visible()


def test_equally_near_pictures_stand_in_their_order(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        watched.page.evaluate("document.querySelector('#find .mmt-hits button').click()")
        for _ in range(3):
            names = [CAPTIONS.index(name) for name, _ in shown(watched)]
            if 10 in names and 11 in names:
                assert names.index(11) == names.index(10) + 1
        query = search.exchanged(WORDS, VECTORS, POINTS, 10)
        assert [i for i, _ in search.find(POINTS, query, 2)] == [10, 11]


def test_each_place_shows_its_own_picture(page_file: Path, open_page: Open) -> None:
    """The colours on the screen are those of the pictures that are named."""
    from PIL import Image

    with open_page(page_file) as watched:
        for text in ("a dog", "the zebra on the street", "w07 w21"):
            ask(watched, text)
            hits = watched.page.locator("#find .mmt-hit .mmt-pic")
            for hit in hits.all():
                i = CAPTIONS.index(hit.get_attribute("aria-label"))
                screen = np.asarray(Image.open(io.BytesIO(hit.screenshot())).convert("RGB"))
                inner = screen[4:-4, 4:-4].reshape(-1, 3).astype(int)
                size = hit.bounding_box()
                assert (size["width"], size["height"]) == (SIDE, SIDE)
                assert np.abs(inner - IMAGES[i, 0, 0]).max() < 12


def test_nothing_is_decoded_before_the_first_touch(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        watched.page.add_init_script(
            "window.calls = 0; const f = atob; window.atob = x => { window.calls++; return f(x) }"
        )
        watched.page.reload()
        assert watched.page.evaluate("window.calls") == 0
        assert shown(watched) == of(START)
        ask(watched, "the dog")
        assert watched.page.evaluate("window.calls") == 2


def test_fields_beside_a_picture_complete_what_is_typed(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        watched.page.locator("#find .mmt-hit").first.click()
        field = watched.page.get_by_label("+ word")
        field.press_sequentially("ca")
        options = watched.page.locator("#find datalist option")
        assert [one.get_attribute("value") for one in options.all()] == ["car", "cat"]
        assert field.get_attribute("list") == watched.page.locator("#find datalist").get_attribute(
            "id"
        )
        assert said(watched, "lost") == ""


def test_without_scripts_the_first_answer_is_there(page_file: Path, open_page: Open) -> None:
    with open_page(page_file, scripts=False) as watched:
        hits = watched.page.locator("#find .mmt-hits .mmt-pic")
        assert [hit.get_attribute("aria-label") for hit in hits.all()] == [n for n, _ in of(START)]
        assert hits.first.is_visible()
        assert said(watched, "lost") == "I do not know: beech (near in spelling: beach)."
        assert not box(watched).is_visible()
        assert watched.page.locator("#find button:visible").count() == 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_accessible_everywhere(page_file: Path, open_page: Open, dark: bool, width: int) -> None:
    with open_page(page_file, dark=dark, width=width) as watched:
        assert axe_violations(watched.page) == []
        watched.page.locator("#find .mmt-hit").first.click()
        assert axe_violations(watched.page) == []
        assert watched.page.evaluate("document.documentElement.scrollWidth") == width
        assert watched.errors == []


def test_the_same_output_twice_on_a_page_works_twice(page_file: Path, open_page: Open) -> None:
    with open_page(twice(page_file)) as watched:
        both = watched.page.locator(".mmt-find")
        assert both.count() == 2
        for number_ in range(2):
            one = both.nth(number_)
            one.get_by_role("button", name="the cat").click()
            assert one.locator(".mmt-say").inner_text().startswith("the cat: nearest is")
        ids = [both.nth(i).locator("datalist").get_attribute("id") for i in range(2)]
        assert ids[0] != ids[1]


def test_the_sheet_is_in_the_page_once(page_file: Path) -> None:
    html = page_file.read_text(encoding="utf-8")
    assert len(re.findall(r"data:image/webp", html)) == 1
    assert sheet(IMAGES, 90).data[:4] == b"RIFF"
