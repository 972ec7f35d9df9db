"""The page on judging captions: its lines, taken from the notebook, against the well-kept libraries."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bookkit import ROOT

from mmtutor.kit import metrics

PAGE = ROOT / "book" / "judging.ipynb"
CANDIDATES = [
    "a red dog is to the left of the tree",
    "two cats and a ball",
    "there is a big house in the picture",
    "a small blue car near the sea",
    "the the the dog dog",
    "dogs",
]
REFERENCES = [
    ["a red dog stands left of a tree", "the dog is left of the tree", "there is a dog and a tree"],
    ["two cats play with one ball", "a ball and two cats", "some cats and a ball"],
    ["there is a big house", "a house in the city", "you can see a big house in the picture"],
    ["a tree near the sea", "a blue car stands on the beach", "cars near the sea"],
    ["the dog sleeps", "one dog", "a dog"],
    ["a dog is here", "the dog", "two dogs"],
]


@pytest.fixture(scope="module")
def lines() -> dict[str, Any]:
    """The definitions of the page, with other captions in place of the world's."""
    import math
    from collections import Counter
    from functools import cache

    from nltk.stem.porter import PorterStemmer

    names: dict[str, Any] = {
        "math": math,
        "Counter": Counter,
        "cache": cache,
        "PorterStemmer": PorterStemmer,
        "references": REFERENCES,
        "judged": {},
        "k": 0,
    }
    cells = json.loads(PAGE.read_text(encoding="utf-8"))["cells"]
    for id in ("judge-07", "judge-09", "judge-11"):
        exec("".join(next(c for c in cells if c["id"] == id)["source"]), names)
    source = "".join(next(c for c in cells if c["id"] == "judge-13")["source"])
    exec(source.split("\n\n\nprint")[0], names)
    return names


def test_bleu_by_hand_is_sacrebleus(lines: dict[str, Any]) -> None:
    import sacrebleu

    want = sacrebleu.corpus_bleu(
        CANDIDATES,
        [[own[j] for own in REFERENCES] for j in range(3)],
        tokenize="none",
        smooth_method="none",
    )
    assert lines["bleu"](CANDIDATES, REFERENCES) == pytest.approx(want.score / 100, rel=1e-9)
    assert want.score > 1


def test_scores_by_hand_are_the_packages(lines: dict[str, Any]) -> None:
    every = list(zip(CANDIDATES, REFERENCES))
    assert lines["bleu"](CANDIDATES, REFERENCES) == pytest.approx(
        metrics.bleu(CANDIDATES, REFERENCES)[3], rel=1e-6
    )
    mean = sum(lines["cider"](*pair) for pair in every) / len(every)
    assert mean == pytest.approx(metrics.cider(CANDIDATES, REFERENCES), rel=1e-9)
    mean = sum(lines["meteor"](*pair) for pair in every) / len(every)
    assert mean == pytest.approx(metrics.meteor(CANDIDATES, REFERENCES), rel=1e-9)
    assert lines["distinct2"](CANDIDATES) == metrics.distinct(CANDIDATES, 2)


def test_stems_count(lines: dict[str, Any]) -> None:
    assert lines["meteor"]("dogs", ["a dog"]) > 0
    assert lines["meteor"]("cats", ["a dog"]) == 0
