"""The hygiene of the notebooks, and a proof that the check sees each fault."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from bookkit import ROOT, toc_pages
from check_notebooks import check, html_faults, problems, setup_source

NOTEBOOKS = sorted((ROOT / "book").glob("[!.]*.ipynb"))


def test_the_book_has_notebooks() -> None:
    assert NOTEBOOKS, "book/ has no notebook"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_clean(path: Any) -> None:
    assert check(path) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_listed_in_the_table_of_contents(path: Any) -> None:
    assert f"book/{path.stem}" in toc_pages()


def code(
    source: str, count: int, outputs: list[Any] | None = None, **metadata: Any
) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "source": source,
        "execution_count": count,
        "outputs": outputs or [],
        "metadata": metadata,
    }


def picture() -> dict[str, Any]:
    return {
        "output_type": "display_data",
        "data": {"image/png": "iVBO", "text/plain": "<Figure>"},
        "metadata": {},
    }


CLEAN: dict[str, Any] = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {"kernelspec": {"name": "python3"}},
    "cells": [
        {"cell_type": "markdown", "source": "# Title\n\n![a dog](dog.svg)", "metadata": {}},
        code(setup_source(), 1, tags=["setup"]),
        code(
            "plot()",
            2,
            [picture()],
            mystnb={"image": {"alt": "a falling curve"}},
            tags=["timeout-200"],
        ),
        code("print(1)", 3, [{"output_type": "stream", "name": "stdout", "text": "1\n"}]),
    ],
}


def stderr(nb: dict) -> None:
    nb["cells"][3]["outputs"][0]["name"] = "stderr"


def error(nb: dict) -> None:
    nb["cells"][3]["outputs"] = [
        {"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []}
    ]


def html(text: str) -> Callable[[dict], None]:
    def fault(nb: dict) -> None:
        nb["cells"][3]["outputs"] = [
            {"output_type": "display_data", "data": {"text/html": text}, "metadata": {}}
        ]

    return fault


FAULTS: dict[str, tuple[Callable[[dict], Any], str]] = {
    "unrun": (lambda nb: nb["cells"][2].update(execution_count=None), "execution count None"),
    "out of order": (lambda nb: nb["cells"][2].update(execution_count=7), "execution count 7"),
    "stderr": (stderr, "stderr"),
    "error": (error, "without the tag raises-exception"),
    "no alt": (lambda nb: nb["cells"][2]["metadata"].pop("mystnb"), "without alternative text"),
    "markdown picture": (
        lambda nb: nb["cells"][0].update(source="# Title\n\n![](dog.svg)"),
        "without alternative text",
    ),
    "figure directive": (
        lambda nb: nb["cells"][0].update(
            source="# Title\n\n```{figure} dog.svg\n:name: dog\nA dog.\n```\n"
        ),
        "without :alt:",
    ),
    "html picture": (
        html('<img src="data:image/png;base64,AA==">'),
        "<img> without alternative text",
    ),
    "html sound": (
        html('<audio controls src="data:audio/wav;base64,AA=="></audio>'),
        "<audio> without a name",
    ),
    "other host": (
        html('<script src="https://cdn.example.org/x.js"></script>'),
        "from another host",
    ),
    "widget state": (lambda nb: nb["metadata"].update(widgets={}), "metadata.widgets"),
    "widget view": (
        lambda nb: nb["cells"][3]["outputs"].append(
            {
                "output_type": "display_data",
                "data": {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}},
                "metadata": {},
            }
        ),
        "live widget",
    ),
    "kernel": (lambda nb: nb["metadata"]["kernelspec"].update(name="bento"), "python3"),
    "local path": (
        lambda nb: nb["cells"][3].update(source="open('/home/me/data.txt')"),
        "path of one machine",
    ),
    "path in output": (
        lambda nb: nb["cells"][3]["outputs"][0].update(text="wrote /tmp/xyz/file\n"),
        "path of one machine in the output",
    ),
    "unknown tag": (
        lambda nb: nb["cells"][3]["metadata"].update(tags=["hide_input"]),
        "unknown tag 'hide_input'",
    ),
    "no title": (lambda nb: nb["cells"][0].update(source="Hello"), "title"),
    "no set-up": (lambda nb: nb["cells"][1]["metadata"].update(tags=[]), "tagged 'setup'"),
    "other set-up": (
        lambda nb: nb["cells"][1].update(source="!pip install x>=1"),
        "set-up cell differs",
    ),
    "empty cell": (lambda nb: nb["cells"][3].update(source="", outputs=[]), "empty code cell"),
}


def test_a_clean_notebook_has_no_problem() -> None:
    assert problems(CLEAN) == []


@pytest.mark.parametrize("name", FAULTS)
def test_the_check_sees(name: str) -> None:
    plant, words = FAULTS[name]
    notebook = copy.deepcopy(CLEAN)
    plant(notebook)
    found = problems(notebook)
    assert any(words in problem for problem in found), found


def test_a_heavy_notebook_is_seen() -> None:
    assert any("MB" in problem for problem in problems(CLEAN, size=3_000_001))


def test_an_error_that_is_the_lesson_is_welcome() -> None:
    notebook = copy.deepcopy(CLEAN)
    error(notebook)
    notebook["cells"][3]["metadata"]["tags"] = ["raises-exception"]
    assert problems(notebook) == []


def test_a_damaged_file_is_a_problem(tmp_path: Any) -> None:
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps(CLEAN)[:-20])
    assert "cannot be read" in check(path)[0]


def test_paths_inside_a_word_or_an_address_are_no_local_paths() -> None:
    notebook = copy.deepcopy(CLEAN)
    notebook["cells"][3]["source"] = "see('https://example.org/home/x'); a = b/work/c"
    assert problems(notebook) == []


def test_html_with_names_has_no_fault() -> None:
    assert (
        html_faults(
            '<img alt="a dog" src="data:,"><audio aria-label="a note" src="data:,"></audio>'
        )
        == []
    )
