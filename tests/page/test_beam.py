"""The growing beam: what it holds, how it refuses bad input, and its plain-text twin."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from mmtutor.kit.decoding import BeamTree, Hypothesis, Node
from mmtutor.page import beam

WORDS = ["<pad>", "<bos>", "<eos>", "<unk>", "a", "the", "dog", "<b>&"]
EOS = 2


def tree() -> BeamTree:
    """Two steps of a beam of two, then an end."""
    nodes = (
        Node(-1, (), 0.0, True),
        Node(0, (7,), -3.0, False),
        Node(0, (4,), -0.5, True),
        Node(0, (5,), -1.25, True),
        Node(2, (4, 6), -0.75, True),
        Node(3, (5, 6), -2.5, True),
        Node(4, (4, 6, EOS), -1.0, True, 1),
        Node(5, (5, 6, 6), -4.0, True),
    )
    return BeamTree(nodes, (Hypothesis((4, 6), -1.0, -1.0, True),), 1, EOS)


def judge(caption: str) -> str:
    return {"a dog": "true", "the dog": "false"}.get(caption, "unparsable")


def picture(name: str = "One", **changes: object) -> beam.Searched:
    given = {
        "name": name,
        "image": np.zeros((8, 8, 3), np.uint8),
        "alt": "black",
        "trees": {1: tree(), 2: tree()},
        "judge": judge,
    }
    return beam.Searched(**(given | changes))


def grown(**options: object) -> beam.Widget:
    return beam.growing_beam([picture(), picture("Two")], WORDS, label="A beam", **options)


def data_of(html: str) -> dict:
    return json.loads(
        re.search(r'<script type="application/json">(.*?)</script>', html, re.S).group(1)
    )


def test_every_path_comes_with_its_score_and_its_truth() -> None:
    data = data_of(grown()._repr_html_())
    nodes = data["pictures"][0][0]["nodes"]
    assert [n[0] for n in nodes] == [-1, 0, 0, 0, 2, 3, 4, 5]
    assert [n[1] for n in nodes] == [0, 1, 1, 1, 2, 2, 3, 3]
    assert [data["words"][n[2]] for n in nodes[1:5]] == ["<b>&", "a", "the", "dog"]
    assert [n[3] for n in nodes] == [0, -3, -0.5, -1.25, -0.75, -2.5, -1, -4]
    assert [data["status"][n[4]] for n in nodes[1:]] == ["pruned", *["kept"] * 4, "ended", "kept"]
    assert [data["truth"][n[5]][0] for n in nodes[1:]] == ["…", "…", "…", "✓", "✗", "✓", "…"]
    assert data["widths"] == [1, 2]
    assert data["start"] == [0, 1, 3]  # the second width, the last step
    assert data["pictures"][0][0]["end"].endswith("the caption is “a dog” (✓ true).")


def test_places_of_one_step_do_not_meet() -> None:
    nodes = data_of(grown()._repr_html_())["pictures"][0][0]["nodes"]
    for depth in range(4):
        across = [n[6] for n in nodes if n[1] == depth]
        assert len(set(across)) == len(across)
        assert {n[7] for n in nodes if n[1] == depth} == {beam.EDGE + depth * beam.ROW}


def test_what_is_seen_without_scripts() -> None:
    html = grown(step=2)._repr_html_()
    shown = re.sub(r"<script.*?</script>|<style>.*?</style>", "", html, flags=re.S)
    assert "Step 2 of 3, width 2: 2 kept, 0 of the pruned shown, 0 ended." in shown
    assert shown.index("a <b>dog</b>") < shown.index("the <b>dog</b>")  # the more probable first
    assert "kept · log p −0.75 · a word −0.38 · " in shown
    assert shown.count("✓ true") == shown.count("✗ false") == 1
    assert 'class="mmt-none">None yet.' in shown


def test_the_last_step_tells_the_caption() -> None:
    html = grown()._repr_html_()
    assert "No living path can overtake it: the caption is “a dog” (✓ true)." in html
    assert 'class="mmt-none" hidden' in html


def test_a_search_that_was_cut_off_says_so() -> None:
    cut = BeamTree(tree().nodes[:6], (Hypothesis((4, 6), -0.75, -0.75, False),), 1, EOS)
    html = beam.growing_beam([picture(trees={1: cut})], WORDS, label="x")._repr_html_()
    assert "The limit of words is reached: the caption is" in html


def test_text_is_escaped() -> None:
    html = beam.growing_beam([picture("<i>&")], WORDS, label="<u>", step=1)._repr_html_()
    assert "<b><b>" not in html
    assert "&lt;b&gt;&amp;" in html
    assert "&lt;i&gt;&amp;" in html
    assert "&lt;u&gt;" in html
    assert "<i>&" not in html
    assert "<u>" not in html


def test_the_plain_twin_tells_what_each_search_found() -> None:
    assert repr(grown()).splitlines() == [
        "A beam: 2 pictures, widths 1, 2",
        "  One: black",
        "    width 1: a dog (log p −1.00, a word −0.33, ✓ true)",
        "    width 2: a dog (log p −1.00, a word −0.33, ✓ true)",
        "  Two: black",
        "    width 1: a dog (log p −1.00, a word −0.33, ✓ true)",
        "    width 2: a dog (log p −1.00, a word −0.33, ✓ true)",
    ]


def test_same_input_same_bytes_other_input_other_id() -> None:
    assert grown()._repr_html_() == grown()._repr_html_()
    assert grown().id != grown(step=1).id
    assert grown(id="mine").id == "mine"


def test_a_verdict_may_be_an_enum_of_the_world() -> None:
    from mmtutor.world.captions import Verdict

    one = picture(judge=lambda caption: Verdict.TRUE)
    nodes = data_of(beam.growing_beam([one], WORDS, label="x")._repr_html_())["pictures"][0][0]
    assert {n[5] for n in nodes["nodes"][1:]} == {beam.TRUE}


@pytest.mark.parametrize(
    ("pictures", "options", "told"),
    [
        ([], {}, "at least one picture"),
        ([picture(trees={})], {}, "has no tree"),
        ([picture(), picture("Two", trees={1: tree()})], {}, "same widths"),
        ([picture()], {"width": 4}, "width must be one of"),
        ([picture()], {"step": 4}, "step must be from 1 to 3"),
        ([picture()], {"step": 0}, "step must be from 1 to 3"),
        ([picture()], {"label": " "}, "label must not be empty"),
        ([picture(alt="")], {}, "alt must not be empty"),
        ([picture(judge=lambda caption: "maybe")], {}, "judge must say one of"),
        ([picture()], {"words": WORDS[:5]}, "holds the id 7"),
        ([picture(trees={1: BeamTree((Node(-1, (), 0.0, True),), (), 1, EOS)})], {}, "no step"),
    ],
)
def test_bad_input_is_refused(pictures: list, options: dict, told: str) -> None:
    given = {"words": WORDS, "label": "x"} | options
    with pytest.raises(ValueError, match=told):
        beam.growing_beam(pictures, **given)


def test_what_is_no_search_is_refused() -> None:
    with pytest.raises(TypeError, match="Searched"):
        beam.growing_beam([tree()], WORDS, label="x")
