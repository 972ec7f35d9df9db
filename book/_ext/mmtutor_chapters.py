"""Pieces of chapters on other pages: what a chapter's notebook stores as an output, taken as it is.

So a page can show a result of the book without computing it, and without keeping a copy that would grow old.
"""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path


class _First(HTMLParser):
    """The attributes of the first element of a piece of HTML."""

    attributes: dict[str, str | None] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.attributes is None:
            self.attributes = dict(attrs)


def html_outputs(path: Path) -> list[str]:
    """Every HTML output that a notebook stores, in the order of the page."""
    found = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            html = output.get("data", {}).get("text/html")
            if html is not None:
                found.append(html if isinstance(html, str) else "".join(html))
    return found


def stored(path: Path, wanted: list[str]) -> str | None:
    """The first output whose outermost element is one of those wanted.

    Args:
        path: a notebook.
        wanted: ids (``landing-sound``) or classes (``.mmt-playhead``); an earlier one is preferred to a later one.

    Returns:
        The output's HTML, or None where there is none.
    """
    outputs = [(html, _of_first(html)) for html in html_outputs(path)]
    for name in wanted:
        for html, (id, classes) in outputs:
            if (name.startswith(".") and name[1:] in classes) or name == id:
                return html
    return None


def _of_first(html: str) -> tuple[str | None, list[str]]:
    parser = _First()
    parser.feed(
        html[:4000]
    )  # the first tag is at the beginning; pictures and sounds need not be read
    attributes = parser.attributes or {}
    return attributes.get("id"), (attributes.get("class") or "").split()
