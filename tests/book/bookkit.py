"""What the tests of the book share."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HTML = Path(
    os.environ.get("MMTUTOR_HTML", ROOT / "_build" / "html")
)  # another build may be looked at
sys.path.insert(0, str(ROOT / "scripts"))

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)


def toc_pages() -> list[str]:
    """The pages of the book without their suffix (``book/notation``), in the order of the table of contents."""
    text = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    return re.findall(
        r"^\s*(?:-\s*)?(?:file|root):\s*['\"]?([\w./-]+?)(?:\.md|\.ipynb)?['\"]?\s*$", text, re.M
    )


def cells_of(notebook: Path) -> list[dict[str, Any]]:
    """The cells of a chapter."""
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


def imports_of(notebook: Path, id: str) -> str:
    """The imports of one cell, the chapter's head."""
    head = next(cell for cell in cells_of(notebook) if cell["id"] == id)
    tree = ast.parse("".join(head["source"]))
    return "\n".join(
        ast.unparse(n) for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)
    )


def training_cells(notebook: Path) -> list[str]:
    """The cells that train, and those which say with what."""
    return [
        "".join(cell["source"])
        for cell in cells_of(notebook)
        if "training" in cell["metadata"].get("tags", [])
    ]


def twice(page: Path) -> Path:
    """A copy of a page that holds its first widget a second time, as an output may be shown twice."""
    text = page.read_text(encoding="utf-8")
    start, end = text.index('<div class="mmt-w'), text.index("</main>")
    copy = page.with_name("twice.html")
    copy.write_text(text[:end] + text[start:end] + text[end:], encoding="utf-8")
    return copy


@dataclass
class Watched:
    """A page with what went wrong on it."""

    page: Any
    errors: list[str] = field(default_factory=list)

    def settle(self) -> None:
        """Wait until the mathematics is typeset and everything has loaded."""
        self.page.wait_for_load_state("load")
        self.page.evaluate(
            "window.MathJax && MathJax.startup ? MathJax.startup.promise.then(() => true) : true"
        )


Open = Callable[..., contextlib.AbstractContextManager[Watched]]


# The tokens of code are most of a chapter's elements, and axe looks at every one. Whether text stands out
# from its ground depends on nothing but the two colours and the size and weight of the letters: one token
# of each such kind stands for all of that kind, the others become plain text until axe has looked.
ONE_TOKEN_OF_A_KIND = """() => {
  const seen = new Set();
  window.mmtTokens = [];
  for (const block of document.querySelectorAll('div.highlight')) {
    const grounds = new Map(), kept = new Set(), grounded = [];
    for (const element of [block, ...block.querySelectorAll('*')]) {
      const style = getComputedStyle(element);
      const painted = style.backgroundColor !== 'rgba(0, 0, 0, 0)' || style.backgroundImage !== 'none';
      const above = grounds.get(element.parentElement) ?? '';
      const ground = (painted ? [style.backgroundColor, style.backgroundImage] : above)
        + (style.opacity === '1' ? '' : ' through ' + style.opacity);
      grounds.set(element, ground);
      if (element.tagName === 'SPAN' && (painted || style.opacity !== '1')) grounded.push(element);
      const kind = [style.color, style.fontSize, style.fontWeight, style.textShadow, ground,
        element.checkVisibility()].join(' ');
      if (!seen.has(kind)) kept.add(element);
      seen.add(kind);
    }
    for (const code of block.querySelectorAll('pre')) {
      const copy = code.cloneNode(true);
      const own = [...code.querySelectorAll('span')], copied = [...copy.querySelectorAll('span')];
      own.forEach((span, i) => {
        if (!kept.has(span) && !grounded.some((one) => one.contains(span)) && span.attributes.length === 1 && span.hasAttribute('class'))
          copied[i].replaceWith(...copied[i].childNodes);
      });
      copy.normalize();
      code.replaceWith(copy);
      window.mmtTokens.push([copy, code]);
    }
  }
}"""
ALL_TOKENS = "() => { for (const [copy, code] of window.mmtTokens) copy.replaceWith(code); }"


#: The rules of axe that look at colours.
COLOURS = ("color-contrast", "link-in-text-block")


def axe_violations(page: Any, colours: bool | None = None) -> list[str]:
    """What axe-core finds serious or critical, one line each with the element. It fetches nothing of its own.

    ``colours``: only the rules that look at colours, or only the others; a page that has been looked at in one
    theme and width need not be asked everything again in another.
    """
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate(ONE_TOKEN_OF_A_KIND)
    try:
        options: dict[str, Any] = {"preload": False, "resultTypes": ["violations"]}
        if colours:
            options["runOnly"] = {"type": "rule", "values": list(COLOURS)}
        elif colours is False:
            options["rules"] = {rule: {"enabled": False} for rule in COLOURS}
        found = Axe().run(page, context="html", options=options).response["violations"]
    finally:
        page.evaluate(ALL_TOKENS)
    return [
        f"{violation['id']} ({violation['impact']}): {node['html'][:160]}"
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
