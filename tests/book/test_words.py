"""Each word of the glossary is linked where a page uses it first, and a proof that the check sees a miss.

The check reads the markdown cells of the notebooks, not the built pages. What counts as a use: a whole word of the prose,
whatever its case, in the singular or a simple plural. What does not: headings, code, mathematics, tables, options and
arguments of directives, the text and the targets of links, citations, and words joined to others by a hyphen. The longest
word comes first: *soft attention* is not a use of *attention*. Terms of one entry (``DFT``, ``discrete Fourier transform``)
need one link. A link that stands earlier in a table or a heading is welcome.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from bookkit import ROOT

NOTEBOOKS = sorted((ROOT / "book").glob("[!.]*.ipynb"))
GLOSSARY = ROOT / "book" / "glossary.md"

PROSE = {"exercise-start", "solution-start", "figure", "note", "tip", "important", "warning"}
PROSE |= {"admonition", "hint", "seealso", "dropdown", "grid", "grid-item-card", "card", "margin"}
LINKED = "\x00"  # stands before a link to a term and after it
TARGET = "\x02"  # stands between the words of a link and its term
GAP = "\x01"  # stands for what is no prose: a formula, code, a citation


# --- The glossary ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Glossary:
    """The terms, the explanation of each, and the terms that are plain English too, with the reason."""

    meaning: dict[str, str]
    entry: dict[str, str]  # the first of the terms that share an explanation
    exempt: dict[str, str]

    def named(self, words: str) -> str | None:
        """The term that a link names, as the glossary spells it."""
        for term in self.meaning:
            if term == words:
                return term
        return next((term for term in self.meaning if term.lower() == words.lower()), None)


def read_glossary(text: str) -> Glossary:
    """The terms of a page with ``{glossary}`` blocks; a line ``% exempt: WORD -- REASON`` frees a term from the rule.

    Raises:
        ValueError: a term stands twice, has no explanation, or is freed without a reason or without being a term.
    """
    meaning: dict[str, str] = {}
    first: dict[str, str] = {}
    for block in re.findall(r"^```\{glossary\}\n(.*?)^```", text, re.M | re.S):
        for entry in re.split(r"\n\s*\n", block.strip("\n")):
            lines = entry.splitlines()
            waiting = [line.strip() for line in lines if line and not line[0].isspace()]
            told = " ".join(line.strip() for line in lines if line and line[0].isspace())
            if not waiting or not told:
                raise ValueError(f"the glossary entry {entry!r} needs a term and an explanation")
            for term in waiting:
                if term.lower() in (other.lower() for other in meaning):
                    raise ValueError(f"the glossary has {term!r} twice")
                meaning[term], first[term] = told, waiting[0]
    exempt = {}
    for line in re.findall(r"^% exempt: (.*)$", text, re.M):
        term, _, reason = (piece.strip() for piece in line.partition("--"))
        if term not in meaning or not reason:
            raise ValueError(f"% exempt: {line}: not a term of the glossary, or no reason")
        exempt[term] = reason
    return Glossary(meaning, first, exempt)


# --- The prose of a page --------------------------------------------------------------------------------------------


def prose(markdown: str) -> str:
    """The prose of a page: links to terms between LINKED marks, a GAP for what is none, a blank line between blocks."""
    kept: list[str] = []
    fences: list[
        tuple[str, str, bool]
    ] = []  # how it begins, what it is, whether we still read its options
    for line in markdown.splitlines():
        fence = re.match(r"^\s*(`{3,}|~{3,}|:{3,})\s*(\{[\w:-]+\}|[\w+-]*)(.*)$", line)
        closes = fence and fences and not fence[2] and not fence[3].strip()
        if closes and fence[1][0] == fences[-1][0][0] and len(fence[1]) >= len(fences[-1][0]):
            fences.pop()
            kept.append("")
            continue
        inside = fences[-1] if fences else None
        if fence and (inside is None or inside[1] in PROSE):
            kept += ["", *_links_only(fence[3]), ""]
            fences.append((fence[1], fence[2].strip("{}") if "{" in fence[2] else "code", True))
            continue
        if inside and inside[2] and re.match(r"^\s*:[\w-]+:", line):
            continue
        if inside:
            fences[-1] = (inside[0], inside[1], False)
            if inside[1] not in PROSE:
                kept += _links_only(line) if "table" in inside[1] else []
                continue
        if re.match(r"^\s*(#{1,6}\s|\|)", line):  # a heading, or a row of a table
            kept += ["", *_links_only(line), ""]
        elif re.match(r"^\s*(%|\([\w-]+\)=|\+\+\+)", line):  # a comment, a label, a break
            kept.append("")
        else:
            kept.append(line)
    return _inline("\n".join(kept))


def _links_only(line: str) -> list[str]:
    return re.findall(r"\{term\}`[^`]+`", line)


def _inline(text: str) -> str:
    text = re.sub(r"\$\$.*?\$\$(\s*\([\w:-]+\))?", GAP, text, flags=re.S)
    text = re.sub(r"\\begin\{(\w+\*?)\}.*?\\end\{\1\}", GAP, text, flags=re.S)
    text = re.sub(r"\{term\}`(?:[^`<]*<([^`>]+)>|([^`]+))`", _link, text)
    text = re.sub(r"\{[\w:.-]+\}`[^`]*`", GAP, text)  # other roles: citations, numbers of formulas
    text = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", GAP, text, flags=re.S)  # code
    text = re.sub(r"(?<!\\)\$(?=\S)[^$]+?(?<=\S)(?<!\\)\$", GAP, text)  # formulas in a line
    text = re.sub(r"!?\[[^\]]*\]\([^)]*\)", GAP, text)  # links and pictures, with their words
    text = re.sub(r"<!--.*?-->", GAP, text, flags=re.S)
    text = re.sub(r"(?<=\s)<[a-zA-Z/][^>]*>|^<[a-zA-Z/][^>]*>", GAP, text, flags=re.M)
    return re.sub(r"\*+", "", text)


def _link(match: re.Match[str]) -> str:
    """The words of a link, and the term that it leads to."""
    words = (match[2] or match[0][7:].split("<")[0]).strip()
    return re.sub(r"\s+", " ", f"{LINKED}{words}{TARGET}{match[1] or match[2]}{LINKED}")


# --- The check ------------------------------------------------------------------------------------------------------


def pattern(term: str) -> str:
    """A regular expression for a term and its simple plural; between its words stands any space, or a hyphen."""
    *first, last = re.split(r"\s+", term)
    stem = re.escape(last)
    if last.lower().endswith("y") and last.lower()[-2] not in "aeiou":
        stem = rf"{re.escape(last[:-1])}(?:y|ies)"
    elif last.lower().endswith("is"):
        stem = rf"{re.escape(last[:-2])}(?:is|es)"
    else:
        stem += r"(?:e?s)?"
    return r"[\s-]+".join([*map(re.escape, first), stem])


def uses(markdown: str, glossary: Glossary) -> list[tuple[str, bool, str]]:
    """Every use of a term in the order of the page: the term, whether it is a link, the sentence."""
    text = prose(markdown)
    terms = sorted(glossary.meaning, key=len, reverse=True)
    anything = "|".join(f"(?P<t{k}>{pattern(term)})" for k, term in enumerate(terms))
    looked_for = re.compile(
        rf"{LINKED}(?P<link>[^{LINKED}]+){LINKED}|(?<![\w-])(?:{anything})(?!\w|-[a-z])", re.I
    )
    found = []
    for match in looked_for.finditer(text):
        if match["link"] is not None:
            name = match["link"].partition(TARGET)[2]
            found.append((glossary.named(name) or name, True, _sentence(text, match)))
        else:
            term = next(
                terms[int(k[1:])] for k, v in match.groupdict().items() if v and k != "link"
            )
            found.append((term, False, _sentence(text, match)))
    return found


def _sentence(text: str, match: re.Match[str]) -> str:
    ends = r"\n\s*\n|\n\s*(?:[-+]|\d+\.)\s|(?<=[.!?])\s"  # a block, an item of a list, a sentence
    before = re.split(ends, text[: match.start()])[-1]
    after = re.split(ends, text[match.end() :])[0]
    words = re.sub(f"{TARGET}.*?{LINKED}|{LINKED}", "", before + match[0] + after)
    return re.sub(r"\s+", " ", words.replace(GAP, "…")).strip()[:240]


def problems(markdown: str, glossary: Glossary) -> list[str]:
    """What a page does not link, one line for each term: the term and the sentence that uses it first."""
    seen: set[str] = set()
    found = []
    for term, is_link, sentence in uses(markdown, glossary):
        if is_link and term not in glossary.meaning:
            found.append(f"{term!r} is linked, and is no term of the glossary: {sentence}")
        entry = glossary.entry.get(term, term)
        if entry in seen or (term in glossary.exempt and not is_link):
            continue
        seen.add(entry)
        if not is_link:
            found.append(f"{term!r} is not linked where it is used first: {sentence}")
    return found


def markdown_of(path: Path) -> str:
    """The markdown cells of a notebook, a blank line between two."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


# --- The tests ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def glossary() -> Glossary:
    return read_glossary(GLOSSARY.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_term_is_linked_where_it_is_used_first(path: Path, glossary: Glossary) -> None:
    found = problems(markdown_of(path), glossary)
    if found:
        lines = "\n  ".join(found)
        pytest.fail(f"{path.name}: {len(found)} terms\n  {lines}", pytrace=False)


def test_the_glossary_is_large_and_speaks_both_languages(glossary: Glossary) -> None:
    assert len(glossary.meaning) > 100
    without = [t for t, told in glossary.meaning.items() if not re.search("[가-힣]", told)]
    assert without == []
    assert len(glossary.exempt) <= 5


def test_the_glossary_is_in_order() -> None:
    text = GLOSSARY.read_text(encoding="utf-8")
    for block in re.findall(r"^```\{glossary\}\n(.*?)^```", text, re.M | re.S):
        terms = list(dict.fromkeys(read_glossary(f"```{{glossary}}\n{block}```\n").entry.values()))
        assert terms == sorted(terms, key=str.lower)


SMALL = read_glossary(
    """```{glossary}
attention
  어텐션.

soft attention
  소프트.

wave
oscillation
  파형.

analogy
  유추.

key
  키.

BLEU
  블루.
```

% exempt: key -- also of a piano
"""
)

PAGE = """# A wave of attention

{term}`Soft attention` comes first, and {term}`attention <attention>` after it; attention again.

```{figure} wave.svg
:name: analogy
:alt: An analogy in a drawing
A {term}`wave`, drawn.
```

| wave | analogy |
|---|---|
| {cite:p}`analogy2013` | $\\text{analogy}$ |

The `analogy` of [an analogy](analogy.md) is `no
analogy`. A self-analogy, a key, and $analogy$ and ``an `analogy` here``. {cite:t}`analogy` {eq}`analogy`

$$
analogy
$$ (eq-analogy)

```python
analogy = 1
```

Two {term}`analogies <analogy>`, and **{term}`BLEU`**.
"""


def test_a_page_with_all_its_links_is_clean() -> None:
    assert problems(PAGE, SMALL) == []


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("{term}`Soft attention`", "Soft attention", "'soft attention' is not linked"),
        ("{term}`attention <attention>`", "*attention*", "'attention' is not linked"),
        ("A {term}`wave`, drawn", "A wave, drawn", "'wave' is not linked"),
        ("{term}`analogies <analogy>`", "analogies", "Two analogies, and BLEU"),
        ("**{term}`BLEU`**", "bleu-4", "'BLEU' is not linked"),
        ("{term}`BLEU`", "{term}`BLUE`", "'BLUE' is linked, and is no term"),
    ],
)
def test_the_check_sees_a_miss(before: str, after: str, words: str) -> None:
    assert before in PAGE
    found = problems(PAGE.replace(before, after), SMALL)
    assert len(found) == 1
    assert words in found[0]


def test_a_use_before_the_link_is_a_miss() -> None:
    assert "one wave" in problems("one wave. A {term}`wave`.", SMALL)[0]
    assert problems("A {term}`wave`. Then waves.", SMALL) == []


def test_terms_of_one_entry_need_one_link() -> None:
    assert problems("An {term}`oscillation` is a wave.", SMALL) == []
    assert len(problems("An oscillation is a {term}`wave`.", SMALL)) == 1


def test_exercises_and_captions_are_prose() -> None:
    text = "```{exercise-start}\n:label: wave\n```\nWhich waves?\n```{exercise-end}\n```\n"
    assert len(problems(text, SMALL)) == 1
    assert problems("```{figure} wave.svg\n:alt: wave\n\nBLEU\n```", SMALL) == problems(
        "BLEU", SMALL
    )


def test_a_glossary_with_a_fault_is_refused() -> None:
    block = "```{glossary}\na\nb\n  explained\n\nc\n  too\n```\n"
    assert set(read_glossary(block).meaning) == {"a", "b", "c"}
    assert read_glossary(block + "% exempt: a -- why\n").exempt == {"a": "why"}
    for fault in (block + "% exempt: a\n", block + "% exempt: d -- why\n", block + block):
        with pytest.raises(ValueError, match=r"exempt|twice"):
            read_glossary(fault)
    with pytest.raises(ValueError, match="explanation"):
        read_glossary("```{glossary}\na\n\nb\n  told\n```\n")
