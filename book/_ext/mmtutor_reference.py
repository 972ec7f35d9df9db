"""The reference pages: letters that cannot drift from the chapters, and citations that one can tell apart.

* ``{letters}`` makes an index of all letters from the tables that the chapters themselves show. Such a table is called
  ``tab-<system>-letters`` and has the columns Letter, Meaning, and Shape or range.
* The bibliography style ``mmtutor`` labels a work by its authors and its year, *Mikolov et al. 2013a*. The letter tells works
  apart that would have the same label, and citations in the text carry it, too.
* Hangul is marked as Korean, so that a screen reader speaks it as such and a line breaks between words.
"""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pybtex.plugin
import sphinxcontrib.bibtex.plugin
from docutils import nodes
from docutils.statemachine import StringList
from pybtex.richtext import Text
from pybtex.style.formatting.unsrt import Style as Unsorted
from pybtex.style.labels import BaseLabelStyle
from pybtex.style.template import node
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective
from sphinxcontrib.bibtex.style.referencing.author_year import AuthorYearReferenceStyle

ROOT = Path(__file__).resolve().parents[2]


# --- Letters --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Letter:
    """One row of a table of letters: the cells as they stand in the source."""

    letter: str
    meaning: str
    shape: str


def markdown_of(path: Path) -> str:
    """The text of a page: all of a ``.md`` file, the markdown cells of a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def letters(markdown: str, name: str) -> list[Letter] | None:
    """The rows of the table ``name`` (``tab-<system>-letters``); None if the page has no such table.

    Raises:
        ValueError: the table has other columns than Letter, Meaning, Shape or range, or a row with another number of cells.
    """
    tables = re.findall(r"^(`{3,}|:{3,})\{table\}[^\n]*\n(.*?)^\1\s*$", markdown, re.M | re.S)
    for _, body in tables:
        if not re.search(rf"^:name:\s*{re.escape(name)}\s*$", body, re.M):
            continue
        lines = [line.strip() for line in body.splitlines() if line.strip().startswith("|")]
        rows = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines
        ]
        if not rows or rows[0] != ["Letter", "Meaning", "Shape or range"]:
            raise ValueError(f"{name}: the columns must be Letter, Meaning, Shape or range")
        wrong = [row for row in rows if len(row) != 3]
        if wrong:
            raise ValueError(
                f"{name}: a row needs three cells (write \\mid or \\vert in a formula): {wrong[0]}"
            )
        return [Letter(*row) for row in rows[2:]]
    return None


def system_of(path: Path) -> str:
    """``word2vec`` of ``book/02_word2vec.ipynb``; a page without a number has its own name."""
    return re.sub(r"^\d+_", "", path.stem)


def chapters_with_letters(root: Path = ROOT) -> Iterator[tuple[Path, str, list[Letter]]]:
    """Path, title up to its colon, and table of each notebook page that has a table of letters."""
    for path in sorted((root / "book").glob("[!.]*.ipynb")):
        markdown = markdown_of(path)
        rows = letters(markdown, f"tab-{system_of(path)}-letters")
        if rows:
            title = re.search(r"^# (.+)$", markdown, re.M)
            yield path, (title[1] if title else path.stem).partition(":")[0], rows


def sort_key(letter: str) -> tuple[bool, str, bool, str]:
    """Latin letters before Greek ones, small before capital, plain before decorated."""
    plain = re.sub(r"\\(mathcal|mathbf|hat|bar|tilde|mathbb|mathrm)\b|[{}$\s\\]", "", letter)
    greek = bool(re.match(r"\$?\s*\\(?!mathcal|mathbf|hat|bar|tilde|mathbb|mathrm)", letter))
    first = plain if greek else plain[:1]
    return greek, first.lower(), first != first.lower(), plain


def letters_markdown(root: Path = ROOT) -> list[str]:
    """The index of all chapters' letters as lines of Markdown."""
    rows = [
        (row, f"{{ref}}`{title} <tab-{system_of(path)}-letters>`")
        for path, title, table in chapters_with_letters(root)
        for row in table
    ]
    rows.sort(key=lambda pair: sort_key(pair[0].letter))
    lines = ["| Letter | Meaning | Shape or range | Chapter |", "|:--|:--|:--|:--|"]
    lines += [
        f"| {row.letter} | {row.meaning} | {row.shape} | {chapter} |" for row, chapter in rows
    ]
    return lines if rows else ["No chapter has a table of its letters yet."]


class Letters(SphinxDirective):
    """``{letters}``: the letters of all chapters, made from the chapters' own tables."""

    def run(self) -> list[nodes.Node]:
        for path in (ROOT / "book").glob("[!.]*.ipynb"):
            self.env.note_dependency(str(path))
        source, _ = self.get_source_info()
        box = nodes.container()
        self.state.nested_parse(StringList(letters_markdown(), source), self.content_offset, box)
        return box.children


# --- Citations ------------------------------------------------------------------------------------------------------


def label_of(entry: Any) -> str:
    """``Harris 1954``, ``Levy and Goldberg 2014``, ``Mikolov et al. 2013``."""
    people = [
        " ".join(str(name) for name in person.rich_prelast_names + person.rich_last_names)
        for person in entry.persons["author"]
    ]
    names = f"{people[0]} et al." if len(people) > 2 else " and ".join(people)
    return f"{names} {entry.fields['year']}"


class Labels(BaseLabelStyle):
    """Authors and year; a, b, c behind the year where two works would have the same label."""

    def format_labels(self, sorted_entries: Iterable[Any]) -> Iterator[str]:
        labels = [label_of(entry) for entry in sorted_entries]
        count, so_far = Counter(labels), Counter()
        for label in labels:
            yield label + (chr(ord("a") + so_far[label]) if count[label] > 1 else "")
            so_far[label] += 1


class Style(Unsorted):
    """Sorted by author, year and title, with labels that people can read."""

    default_sorting_style = "author_year_title"
    default_label_style = "mmtutor"


@node
def lettered(children: list[Any], data: dict[str, Any]) -> Text:
    """What is inside, with the year as the label has it: 2013a."""
    entry = copy.copy(data["entry"])
    entry.fields = copy.copy(entry.fields)
    entry.fields["year"] = data["formatted_entry"].label.rpartition(" ")[2]
    return children[0].format_data({**data, "entry": entry})


@dataclass
class ReferenceStyle(AuthorYearReferenceStyle):
    """Author and year, as the label has it."""

    def inner(self, role_name: str) -> Any:
        return lettered[super().inner(role_name)]


# --- Korean ---------------------------------------------------------------------------------------------------------

HANGUL = "[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]"


class MarkKorean(SphinxTransform):
    """Each run of Hangul in the prose becomes ``<span lang="ko">``."""

    default_priority = 800

    def apply(self, **options: Any) -> None:
        for text in list(self.document.findall(nodes.Text)):
            around = text.parent
            if isinstance(around, (nodes.literal, nodes.literal_block, nodes.raw, nodes.comment)):
                continue
            pieces = re.split(rf"({HANGUL}+(?:[ ·]+{HANGUL}+)*)", text.astext())
            if len(pieces) < 2:
                continue
            marked = [
                nodes.inline("", piece, classes=["language-ko"]) if k % 2 else nodes.Text(piece)
                for k, piece in enumerate(pieces)
                if piece
            ]
            around.replace(text, marked)


# --- What Sphinx and pybtex are told ----------------------------------------------------------------------------------

pybtex.plugin.register_plugin("pybtex.style.labels", "mmtutor", Labels)
pybtex.plugin.register_plugin("pybtex.style.formatting", "mmtutor", Style)
sphinxcontrib.bibtex.plugin.register_plugin(
    "sphinxcontrib.bibtex.style.referencing", "mmtutor", ReferenceStyle
)


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx calls this."""
    app.add_directive("letters", Letters)
    app.add_transform(MarkKorean)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
