"""The growing beam in a real browser: mouse, keyboard, no script, dark and narrow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from bookkit import Open, axe_violations

from mmtutor.kit import decoding
from mmtutor.page import beam

pytestmark = pytest.mark.timeout(120)
WORDS = ["<pad>", "<bos>", "<eos>", "<unk>", "a", "the", "dog", "cat", "runs", "</script>&"]


class Chatter:
    """A caption model whose next word depends on the last one and on the picture."""

    def __init__(self, seed: int) -> None:
        self.table = torch.randn(10, 10, generator=torch.Generator().manual_seed(seed)) * 2
        self.table[:, 2] += 1.0

    def begin(self, inputs: torch.Tensor) -> tuple[None, torch.Tensor]:
        return None, inputs

    def step(self, tokens: torch.Tensor, state: torch.Tensor, memory: None) -> tuple:
        return self.table[tokens] + state, state


def judge(caption: str) -> str:
    return "true" if caption.endswith("dog") else "false" if "cat" in caption else "unparsable"


def searched(name: str, seed: int) -> beam.Searched:
    trees = {
        k: decoding.beam_tree(Chatter(seed), torch.zeros(1, 10), width=k, limit=6)
        for k in (1, 2, 3, 5)
    }
    image = np.full((320, 320, 3), 80 * seed, np.uint8)
    return beam.Searched(name, image, f"grey {seed}", trees, judge)


PICTURES = [searched("First", 0), searched("Second", 1)]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    widget = beam.growing_beam(PICTURES, WORDS, label="A beam that grows", id="grow", width=3)
    path = tmp_path_factory.mktemp("beam") / "page.html"
    path.write_text(
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Beam</title>'
        '<meta name="viewport" content="width=device-width"><style>:root{color-scheme:light dark}'
        "body{background:Canvas;color:CanvasText}</style></head>"
        f"<body><main><h1>Beam</h1>{widget._repr_html_()}</main></body></html>",
        encoding="utf-8",
    )
    return path


def paths(tree: decoding.BeamTree, depth: int) -> list[tuple[str, str, float, str]]:
    """Status, words, log-probability and truth of the paths of a step, restated from the tree."""
    found = []
    for node in tree.nodes:
        if len(node.ids) == depth:
            ended = node.ids[-1] == tree.eos
            said = " ".join(WORDS[i] for i in node.ids if i != tree.eos)
            status = "pruned" if not node.kept else "ended" if ended else "kept"
            found.append((status, " ".join(WORDS[i] for i in node.ids), node.logprob, judge(said)))
    return sorted(found, key=lambda row: -row[2])


def said(row: tuple[str, str, float, str], depth: int) -> str:
    status, words, logprob, truth = row
    mark = {"true": "✓ true", "false": "✗ false", "unparsable": "… no sentence yet"}[truth]
    numbers = f"log p {logprob:.2f} · a word {logprob / depth:.2f}".replace("-", "−")
    return f"{words} {status} · {numbers} · {mark}"


def rows(widget) -> list[str]:
    return [
        " ".join(text.split()).split(". ", 1)[1]
        for text in (li.text_content() for li in widget.locator(".mmt-now li").all())
    ]


def shown(text: str) -> str:
    return text.replace(" ", "")


def test_each_width_and_step_shows_what_the_search_did(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        widget = watched.page.locator("#grow")
        for one in PICTURES:
            widget.get_by_role("button", name=one.name, exact=True).click()
            for width, tree in one.trees.items():
                widget.get_by_role("button", name=str(width), exact=True).click()
                widget.get_by_role("button", name="First step").click()
                steps = max(len(node.ids) for node in tree.nodes)
                for depth in range(1, steps + 1):
                    assert widget.locator(".mmt-count").inner_text() == f"{depth} of {steps}"
                    want = [said(row, depth) for row in paths(tree, depth)]
                    assert list(map(shown, rows(widget))) == list(map(shown, want))
                    ended = sum(
                        n.ids[-1:] == (tree.eos,) and len(n.ids) <= depth for n in tree.nodes
                    )
                    assert widget.locator(".mmt-ends li").count() == ended
                    assert widget.locator(".mmt-none").is_visible() == (ended == 0)
                    widget.get_by_role("button", name="Next step").click()
                best = " ".join(WORDS[i] for i in tree.hypotheses[0].ids)
                assert f"“{best}”" in widget.locator(".mmt-say").inner_text()
        assert watched.page.title() == "Beam"
        assert watched.errors == []


def test_the_keyboard_moves_the_slider_and_the_buttons(page_file: Path, open_page: Open) -> None:
    with open_page(page_file) as watched:
        page, widget = watched.page, watched.page.locator("#grow")
        slider = widget.locator("input")
        slider.focus()
        page.keyboard.press("Home")
        assert widget.locator(".mmt-count").inner_text().startswith("1 of")
        page.keyboard.press("ArrowRight")
        assert widget.locator(".mmt-count").inner_text().startswith("2 of")
        assert slider.get_attribute("aria-valuetext").startswith("step 2 of")
        widget.get_by_role("button", name="5", exact=True).focus()
        page.keyboard.press("Enter")
        assert "width 5" in widget.locator(".mmt-say").inner_text()
        widget.get_by_role("button", name="Second").focus()
        page.keyboard.press("Space")
        assert widget.locator("img:visible").get_attribute("alt") == "grey 1"
        assert widget.locator("[data-picture][aria-pressed=true]").all_inner_texts() == ["Second"]


def test_the_static_page_is_what_the_script_draws(page_file: Path, open_page: Open) -> None:
    with open_page(page_file, scripts=False) as still, open_page(page_file) as live:
        for part in (".mmt-say", ".mmt-now", ".mmt-ends", ".mmt-count"):
            before = still.page.locator(f"#grow {part}").text_content()
            assert live.page.locator(f"#grow {part}").text_content() == before
        drawn = """s => [...s.children].map(e => [e.tagName.toLowerCase(), e.textContent,
        ...[...e.attributes].map(a => a.name + '=' + a.value).sort()].join(' '))"""
        before = still.page.eval_on_selector("#grow .mmt-tree", drawn)
        assert live.page.eval_on_selector("#grow .mmt-tree", drawn) == before


def test_without_scripts_the_whole_search_is_there(page_file: Path, open_page: Open) -> None:
    with open_page(page_file, scripts=False) as watched:
        widget = watched.page.locator("#grow")
        assert widget.locator("img:visible").count() == 1
        assert widget.locator(".mmt-ends li").count() >= 1
        assert not widget.locator("input").is_visible()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_accessible_everywhere(page_file: Path, open_page: Open, dark: bool, width: int) -> None:
    with open_page(page_file, dark=dark, width=width) as watched:
        widget = watched.page.locator("#grow")
        for press in ("First step", "Next step"):
            widget.get_by_role("button", name=press).click()
            assert axe_violations(watched.page) == []
        widget.get_by_role("button", name="5", exact=True).click()
        assert watched.page.evaluate("document.documentElement.scrollWidth") == width
        tree, box = widget.locator(".mmt-tree").bounding_box(), widget.bounding_box()
        assert tree["x"] >= box["x"]
        assert tree["x"] + tree["width"] <= box["x"] + box["width"]
