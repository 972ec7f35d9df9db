"""The hygiene of the book's notebooks: what must be so before anyone reads them.

``python3 scripts/check_notebooks.py book/*.ipynb`` prints what is wrong, one line each. Standard library only, so that the
pre-commit hook needs no environment.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MAX_BYTES = 3_000_000
TAGS = {
    "parameters",  # papermill may vary this cell
    "paper-scale",  # the cell that trains at the paper's sizes; tests run it on a few made samples
    "training",  # the lines that train; a test holds them equal to the experiment
    "setup",  # the cell that installs the package in Colab; its text is made by setup_source()
    "hide-input",
    "hide-output",
    "hide-cell",
    "remove-input",
    "remove-output",
    "remove-cell",
    "output_scroll",
    "full-width",
    "margin",
    "nbval-ignore-output",  # a trained number or picture, followed by an assertion
    "nbval-check-output",
    "raises-exception",  # an error that is the lesson
}
TAG_WITH_NUMBER = re.compile(
    r"timeout-[1-9][0-9]*"
)  # seconds that a cell may take, for make execute and nbval
IMAGES = ("image/png", "image/jpeg", "image/svg+xml", "image/webp", "image/gif")
LOCAL_PATH = re.compile(
    r"(?<![\w./:-])/(?:home|root|Users|work|tmp|mnt|opt|var)/\w[\w./-]*|\b[A-Z]:\\Users\\"
)


def repository_address(root: Path = ROOT) -> str:
    """The repository's address, from its only home, ``[project.urls]`` of pyproject.toml."""
    urls = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    return urls["Repository"].rstrip("/").removesuffix(".git")


def setup_source(root: Path = ROOT) -> str:
    """The text of every set-up cell. A notebook in Colab is alone, so this one line of it must know the address."""
    return (
        "# In Colab: install the package that this chapter explains, if it is missing, and say on\n"
        "# what models train. Elsewhere: do nothing.\n"
        "import importlib.util\n"
        "import sys\n"
        "\n"
        'if "google.colab" in sys.modules:\n'
        '    if importlib.util.find_spec("mmtutor") is None:\n'
        '        print("Installing mmtutor and what it needs; this takes a minute or two.")\n'
        f'        %pip install -q "mmtutor[corpora] @ git+{repository_address(root)}"\n'
        "    from mmtutor.kit.runtime import where\n"
        "\n"
        "    print(where())"
    )


def text_of(value: Any) -> str:
    """nbformat stores long texts as lists of lines."""
    return "".join(value) if isinstance(value, list) else str(value)


class _Html(HTMLParser):
    """Collects what in a piece of HTML has no text for who cannot see or hear it, and what comes from another host."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        named = any(
            (given.get(key) or "").strip() for key in ("aria-label", "aria-labelledby", "title")
        )
        if tag == "img" and not (given.get("alt") or "").strip():
            self.faults.append("an <img> without alternative text")
        if tag in ("audio", "video", "iframe") and not named:
            self.faults.append(f"an <{tag}> without a name (aria-label)")
        for key in ("src", "poster", "data", "srcset") + (("href",) if tag == "link" else ()):
            if re.match(r"\s*(https?:)?//", given.get(key) or ""):
                self.faults.append(f"a <{tag}> from another host")


def html_faults(html: str) -> list[str]:
    parser = _Html()
    parser.feed(html)
    return parser.faults


def problems(notebook: dict[str, Any], *, size: int = 0, root: Path = ROOT) -> list[str]:
    """Everything that is wrong with a notebook, one line each; an empty list if it is clean."""
    found: list[str] = []
    metadata = notebook.get("metadata", {})
    if "widgets" in metadata:
        found.append("metadata.widgets: the state of live widgets must not be stored")
    if metadata.get("kernelspec", {}).get("name") != "python3":
        found.append(
            f"the kernel must be python3, not {metadata.get('kernelspec', {}).get('name')!r}"
        )
    if size > MAX_BYTES:
        found.append(f"{size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:g} MB")
    if notebook.get("nbformat") != 4:
        found.append("nbformat must be 4")

    cells = notebook.get("cells", [])
    first = text_of(cells[0]["source"]) if cells else ""
    if not (
        cells and cells[0]["cell_type"] == "markdown" and re.match(r"(\(.*\)=\s*\n)?# \S", first)
    ):
        found.append("the first cell must be Markdown and start with the title (# …)")
    setups, expected = 0, 1
    for number, cell in enumerate(cells, 1):
        where, source = f"cell {number}", text_of(cell["source"])
        tags = cell.get("metadata", {}).get("tags", [])
        found += [
            f"{where}: unknown tag {t!r}"
            for t in tags
            if t not in TAGS and not TAG_WITH_NUMBER.fullmatch(t)
        ]
        if LOCAL_PATH.search(source):
            found.append(f"{where}: a path of one machine ({LOCAL_PATH.search(source)[0]})")
        if cell["cell_type"] == "markdown":
            found += [f"{where}: {fault}" for fault in _markdown_faults(source)]
        if cell["cell_type"] != "code":
            continue
        if not source.strip():
            found.append(f"{where}: an empty code cell")
        if "setup" in tags:
            setups += 1
            if source.strip() != setup_source(root):
                found.append(
                    f"{where}: the set-up cell differs from the one that make execute writes"
                )
        if cell.get("execution_count") != expected:
            found.append(
                f"{where}: execution count {cell.get('execution_count')}, expected {expected}: run make execute"
            )
        expected += 1
        if lacks_figure(cell):
            found.append(
                f"{where}: a figure is described (mystnb.image.alt), but none is stored: run make execute"
            )
        for output in cell.get("outputs", []):
            found += [f"{where}: {fault}" for fault in _output_faults(output, cell, tags)]
    if setups != 1:
        found.append(
            f"one cell must be tagged 'setup' (it installs the package in Colab), found {setups}"
        )
    return found


def lacks_figure(cell: dict[str, Any]) -> bool:
    """Whether a code cell describes a picture that is not among its outputs (matplotlib had a backend that shows nothing)."""
    described = cell.get("metadata", {}).get("mystnb", {}).get("image", {}).get("alt")
    shown = any(
        mime in output.get("data", {}) for output in cell.get("outputs", []) for mime in IMAGES
    )
    return cell["cell_type"] == "code" and bool(described) and not shown


def _markdown_faults(source: str) -> list[str]:
    prose = re.sub(r"^(`{3,}|~{3,})(?!\{)[\s\S]*?^\1", "", source, flags=re.M)
    prose_no_code = re.sub(r"`[^`\n]*`", "", prose)
    faults = ["a picture without alternative text"] * len(re.findall(r"!\[\s*\]\(", prose_no_code))
    for block in re.findall(
        r"^[`:]{3,}\{(?:figure|image)\}[\s\S]*?(?=^[`:]{3,}\s*$)", prose, flags=re.M
    ):
        if not re.search(r"^\s*:alt:\s*\S", block, re.M) and not re.search(
            r"^alt:\s*\S", block, re.M
        ):
            faults.append("a figure without :alt:")
    return faults + html_faults(prose_no_code)


def _output_faults(output: dict[str, Any], cell: dict[str, Any], tags: list[str]) -> list[str]:
    kind, faults = output["output_type"], []
    if kind == "error" and "raises-exception" not in tags:
        faults.append(
            f"an error is stored ({output.get('ename')}) without the tag raises-exception"
        )
    if kind == "stream" and output.get("name") == "stderr":
        faults.append(f"output on stderr: {text_of(output['text']).strip()[:80]!r}")
    data = output.get("data", {})
    if "application/vnd.jupyter.widget-view+json" in data:
        faults.append("the view of a live widget is stored")
    if any(mime in data for mime in IMAGES):
        alt = cell.get("metadata", {}).get("mystnb", {}).get("image", {}).get("alt", "")
        if not str(alt).strip():
            faults.append("a figure without alternative text (cell metadata mystnb.image.alt)")
    if "text/html" in data:
        faults += html_faults(text_of(data["text/html"]))
    texts = (
        [text_of(output["text"])]
        if kind == "stream"
        else [text_of(data[m]) for m in data if m.startswith("text/")]
    )
    for text in texts:
        path = LOCAL_PATH.search(re.sub(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=]+", "", text))
        if path:
            faults.append(f"a path of one machine in the output ({path[0]})")
    return faults


def check(path: Path) -> list[str]:
    """The problems of a notebook file; a damaged file is a problem."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return [f"cannot be read: {error}"]
    return problems(notebook, size=path.stat().st_size)


def main(arguments: list[str]) -> int:
    bad = 0
    for path in map(Path, arguments):
        for problem in check(path):
            bad += 1
            print(f"{path}: {problem}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
