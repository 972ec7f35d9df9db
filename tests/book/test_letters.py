"""Letters: each chapter lists those of its formulas before the first of them, and the notation page says what is the same
everywhere. Both are read here, and the check is shown to see each fault.

A formula's letters are single Latin letters, Greek ones, and ``\\mathcal`` or ``\\mathbb`` ones. Words in ``\\text``,
``\\mathrm`` and ``\\operatorname`` are not letters, nor are the names of functions; accents (``\\hat``, ``\\bar``) do not make
another letter, the notation page explains them; a difference (``\\Delta t``) is one letter. A letter in an index needs no row of its own if the table mentions it
anywhere or if the formula itself runs over it (``\\sum_{i=1}``).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from bookkit import HTML, ROOT, Open
from bs4 import BeautifulSoup

sys.path.insert(0, str(ROOT / "book" / "_ext"))
from mmtutor_reference import Letter, letters, letters_markdown, markdown_of, sort_key, system_of

NOTEBOOKS = sorted((ROOT / "book").glob("[!.]*.ipynb"))
NOTATION = ROOT / "book" / "notation.md"
EVERYWHERE = "tab-everywhere-letters"

GREEK = (
    r"alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|vartheta|iota|kappa|lambda|mu|nu|xi|pi|rho|varrho|sigma|tau"
    r"|upsilon|phi|varphi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Upsilon|Phi|Psi|Omega|nabla|ell|partial"
)
TOKEN = re.compile(
    rf"\\Delta\s*[a-z](?![a-z])|\\math(?:cal|bb|bf|frak)\s*\{{?[A-Za-z]\}}?|\\(?:{GREEK})(?![A-Za-z])|[A-Za-z]"
)


# --- Reading formulas -----------------------------------------------------------------------------------------------


def displayed(markdown: str) -> list[tuple[int, str]]:
    """The displayed formulas of a page, with the place where each begins."""
    patterns = (
        r"^(?P<f>`{3,}|:{3,})\{math\}[^\n]*\n(?P<m>.*?)^(?P=f)\s*$",
        r"\$\$(?P<m>.+?)\$\$",
        r"^\\begin\{(?P<e>equation|align|gather|multline)\*?\}(?P<m>.*?)\\end\{(?P=e)\*?\}",
    )
    found = [(m.start(), m["m"]) for p in patterns for m in re.finditer(p, markdown, re.M | re.S)]
    return sorted(found)


def cleaned(tex: str) -> str:
    """A formula without words, names of functions, layout and accents."""
    tex = re.sub(r"^:\w+:.*$|(?<!\\)%.*$", " ", tex, flags=re.M)  # options of a directive, comments
    tex = re.sub(r"\\(?:begin|end)\{\w+\*?\}(?:\{[lcr|@{} ]*\})?", " ", tex)
    tex = re.sub(r"\\\\\s*\[[^\]]*\]", " ", tex)  # the height of a line
    tex = re.sub(r"\\(?:label|tag|eqref|ref|hspace|vspace|phantom|color)\*?\{[^{}]*\}", " ", tex)
    tex = re.sub(r"\\(?:text\w*|operatorname\*?|mbox)\s*\{(?:[^{}]|\{[^{}]*\})*\}", " ", tex)
    tex = re.sub(r"\\mathrm\s*\{[^{}]*\}", " ", tex)
    tex = re.sub(r"\\(?:hat|bar|tilde|vec|dot|widehat|widetilde|overline)(?![A-Za-z])", " ", tex)
    tex = re.sub(r"(?<![\\A-Za-z])e\s*\^", r"\\exp^", tex)  # Euler's number
    return re.sub(rf"\\(?!math(?:cal|bb|bf|frak)|(?:{GREEK})(?![A-Za-z]))[A-Za-z]+", " ", tex)


def tokens(tex: str) -> list[str]:
    """The letters of a cleaned formula, each as ``x``, ``\\alpha``, ``\\mathcal L`` or ``\\Delta t``."""
    return [re.sub(r"(\\math\w+)\s*\{?(\w)\}?", r"\1 \2", t) for t in TOKEN.findall(tex)]


def split(tex: str) -> tuple[set[str], set[str]]:
    """The letters that stand on the line, and those that stand in an index."""
    tex, index, line, place = cleaned(tex), [], [], 0
    while place < len(tex):
        if tex[place] in "_^":
            place += 1
            while place < len(tex) and tex[place].isspace():
                place += 1
            end = _group(tex, place)
            index.append(tex[place:end])
            place = end
        else:
            line.append(tex[place])
            place += 1
    return set(tokens("".join(line))), set(tokens(" ".join(index)))


def _group(tex: str, start: int) -> int:
    """Where the group that begins here ends: braces, a command, or one character."""
    if start < len(tex) and tex[start] == "{":
        depth = 0
        for place in range(start, len(tex)):
            depth += (tex[place] == "{") - (tex[place] == "}")
            if depth == 0:
                return place + 1
        return len(tex)
    command = re.match(r"\\[A-Za-z]+|.", tex[start:])
    return start + (command.end() if command else 1)


def runs_over(tex: str) -> set[str]:
    """The letters that a sum, a product or a choice runs over: no row of a table needs to say more."""
    bound = (
        r"\\(?:sum|prod|max|min|bigcup|int)(?:\\limits)?\s*_\s*(?:\{((?:[^{}]|\{[^{}]*\})*)\}|(\w))"
    )
    found = set()
    for braces, single in re.findall(bound, tex):
        inner = re.sub(r"\\substack", " ", braces)
        if single:
            found.add(single)
        else:
            starts = re.findall(r"(?:^|,|\{|\\\\|\\le|<)\s*([A-Za-z])(?![A-Za-z])", inner)
            found |= set(starts)
    return found


def formulas_in(cell: str) -> str:
    """The formulas of a cell of a table, one after the other."""
    return " ; ".join(re.findall(r"\$([^$]+)\$", cell))


def symbols(row: Letter) -> set[str]:
    """The letters that a row of a table is about: those on the line in its first cell."""
    cell = formulas_in(row.letter)
    cell = re.sub(r"[\(\[].*?[\)\]]", " ", cell)  # X[m, k] and p(y | x) are about X and p
    return split(cell)[0]


def forms(row: Letter, indices: set[str]) -> set[tuple[str, str]]:
    """Each letter of a row with the index that makes it another one: ``W_a`` is not ``W_h``, but ``v_i`` is a ``v``."""
    cell = re.sub(r"[\(\[].*?[\)\]]", " ", formulas_in(row.letter))
    found = set()
    for piece in re.split(r"[,;]", cell):
        letters_there, below = split(piece)
        label = "".join(sorted(below - indices))
        found |= {(letter, label) for letter in letters_there}
    return found


# --- The check ------------------------------------------------------------------------------------------------------


def everywhere() -> list[Letter]:
    rows = letters(NOTATION.read_text(encoding="utf-8"), EVERYWHERE)
    assert rows, f"book/notation.md has no table {EVERYWHERE}"
    return rows


def problems(markdown: str, system: str, common: list[Letter]) -> list[str]:
    """What is wrong with the letters of a page."""
    formulas = displayed(markdown)
    name = f"tab-{system}-letters"
    table = letters(markdown, name)
    if not formulas:
        return []
    if table is None:
        return [f"there is no table {name}, but there are {len(formulas)} displayed formulas"]
    found = []
    if markdown.index(f":name: {name}") > formulas[0][0]:
        found.append(f"{name} stands after the first displayed formula")
    same = set().union(*(symbols(row) for row in common))
    rows: set[str] = set()
    for row in table:
        if not symbols(row) and "\\operatorname" not in row.letter:
            found.append(f"{name}: no letter in {row.letter!r}")
        rows |= symbols(row)
    bound = set().union(*(runs_over(tex) for _, tex in formulas))
    alone = {s for row in table for s, label in forms(row, set()) if not label}
    seen: dict[tuple[str, str], str] = {}
    for row in table:
        for symbol, label in sorted(forms(row, alone | bound)):
            if (symbol, label) in seen:
                found.append(f"${symbol}$ has two rows: {seen[symbol, label]}; {row.letter}")
            seen[symbol, label] = row.letter
    found += [
        f"${symbol}$ means the same everywhere; the chapter defines it again"
        for symbol in sorted(rows & same)
    ]
    told = rows | same
    text = " ; ".join(formulas_in(cell) for r in table for cell in (r.letter, r.meaning, r.shape))
    mentioned = told | set().union(*split(text))
    missing: dict[str, str] = {}
    for _, tex in formulas:
        on_line, in_index = split(tex)
        for symbol in (on_line - told - bound) | (in_index - mentioned - bound):
            missing.setdefault(symbol, " ".join(tex.split())[:100])
    found += [f"${symbol}$ is in no table: {tex}" for symbol, tex in sorted(missing.items())]
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_letter_is_told_before_it_is_used(path: Path) -> None:
    found = problems(markdown_of(path), system_of(path), everywhere())
    if found:
        lines = "\n  ".join(found)
        pytest.fail(f"{path.name}: {len(found)}\n  {lines}", pytrace=False)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_caption_is_always_the_same(path: Path) -> None:
    markdown = markdown_of(path)
    name = f"tab-{system_of(path)}-letters"
    if letters(markdown, name) is not None:
        title = re.search(rf"\{{table\}} ([^\n]*)\n(?::[^\n]*\n)*:name: {name}$", markdown, re.M)
        assert title, f"{name} has no caption"
        assert title[1] == "The letters of this chapter"


def test_the_notation_page_defines_each_letter_once() -> None:
    all_symbols = [symbol for row in everywhere() for symbol in symbols(row)]
    assert len(all_symbols) == len(set(all_symbols)) >= 6


def test_in_code_the_batch_comes_first() -> None:
    """The notation page says it of every file; the states of torch's LSTM are (layers, B, H)."""
    wrong = []
    for path in sorted((ROOT / "mmtutor").rglob("[!.]*.py")):
        for inside in re.findall(r"\(([^()\n]*\bB\b[^()\n]*)\)", path.read_text("utf-8")):
            entries = [entry.strip() for entry in inside.split(",")]
            if (
                "B" in entries[1:]
                and entries[0] not in ("B", "1")
                and all(re.fullmatch(r"[\w·+\-' ]+", e) for e in entries)
            ):
                wrong.append(f"{path.relative_to(ROOT)}: ({inside})")
    assert wrong == []


# --- The index on the notation page ----------------------------------------------------------------------------------


def test_the_index_has_every_row_of_every_chapter() -> None:
    lines = letters_markdown()
    rows = [
        row
        for p in NOTEBOOKS
        for row in letters(markdown_of(p), f"tab-{system_of(p)}-letters") or []
    ]
    if not rows:
        assert len(lines) == 1
        return
    assert len(lines) == 2 + len(rows)
    for row in rows:
        assert any(f"| {row.letter} | {row.meaning} | {row.shape} |" in line for line in lines)


@pytest.mark.usefixtures("html")
def test_the_built_page_shows_the_index() -> None:
    page = BeautifulSoup((HTML / "book" / "notation.html").read_text("utf-8"), "html.parser")
    tables = page.select("article table")
    header = [th.get_text(strip=True) for th in tables[-1].select("th")] if tables else []
    rows = len(letters_markdown()) - 2
    if rows > 0:
        index = [
            t for t in tables if "Chapter" in [th.get_text(strip=True) for th in t.select("th")]
        ]
        assert len(index) == 1, header
        assert len(index[0].select("tbody tr")) == rows
        assert all(tr.select_one("a[href*='#tab-']") for tr in index[0].select("tbody tr"))


# --- The check sees each fault ----------------------------------------------------------------------------------------

COMMON = [
    Letter(r"$\sigma$", "sigmoid", ""),
    Letter(r"$\mathcal L$", "a loss", ""),
    Letter("$p$", "p", ""),
]

PAGE = r"""# A page

```{table} The letters of this chapter
:name: tab-small-letters

| Letter | Meaning | Shape or range |
|:--|:--|:--|
| $v_w$ | vector of the word $w$ | $\mathbb R^d$ |
| $W_a$, $W_h$ | matrices | $d \times d$ |
| $\alpha_{ti}$ | weight of place $i$ at word $t$ | $[0, 1]$ |
| $T$ | words | |
| $h_t$ | state | |
| $i$, $t$ | a place, a word | |
```

```{math}
:label: eq-small
\begin{aligned}
\mathcal L_{\text{small}} &= \sum_{i=1}^{T} \alpha_{ti} \sigma\bigl(W_a v_w + W_h \hat h_{t-1}\bigr) \\[1ex]
&= \operatorname{softmax}(e^{-h_t})\ \mathrm{CNN}\, \log p(v_w \mid h_t).
\end{aligned}
```
"""


def test_a_page_with_all_its_letters_is_clean() -> None:
    assert problems(PAGE, "small", COMMON) == []


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("| $T$ | words | |\n", "", "$T$ is in no table"),
        ("| $h_t$ | state | |\n", "", "$h$ is in no table"),
        (r"| $\alpha_{ti}$ | weight of place $i$ at word $t$ | $[0, 1]$ |" "\n", "", r"$\alpha$ is in"),
        (r"\sigma\bigl", r"\mathcal M \sigma\bigl", r"$\mathcal M$ is in no table"),
        (r"\alpha_{ti} \sigma", r"\alpha_{tiq} \sigma", "$q$ is in no table"),
        ("| $T$ | words | |", "| $T$ | words | |\n| $T$ | time | |", "$T$ has two rows"),
        ("| $T$ | words | |", "| $T$ | words | |\n| $h$ | units | |", "$h$ has two rows"),
        ("| $T$ | words | |", "| $T$ | words | |\n| $v_w$ | again | |", "$v$ has two rows"),
        ("| $T$ | words | |", "| $T$ | words | |\n| $W_a$ | again | |", "$W$ has two rows"),
        ("| $T$ | words | |", "| $T$ | words | |\n| $p_i$ | place | |", "$p$ means the same everywhere"),
        ("| $T$ | words | |", "| $T$ | words | |\n| none | at all | |", "no letter in 'none'"),
        (":name: tab-small-letters", ":name: tab-other", "no table tab-small-letters"),
        ("# A page\n", "# A page\n\n$$\nv_w\n$$\n", "stands after the first displayed formula"),
    ],
)  # fmt: skip
def test_the_check_sees(before: str, after: str, words: str) -> None:
    assert before in PAGE
    found = problems(PAGE.replace(before, after), "small", COMMON)
    assert any(words in fault for fault in found), found


def test_a_table_with_other_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="columns"):
        letters(PAGE.replace("Shape or range", "Shape"), "tab-small-letters")
    with pytest.raises(ValueError, match="three cells"):
        letters(PAGE.replace("| $T$ | words | |", "| $T$ | $|x|$ | |"), "tab-small-letters")
    assert letters(PAGE, "tab-none-letters") is None


def test_letters_are_sorted_as_in_an_alphabet() -> None:
    cells = ["$b$", r"$\alpha$", "$B$", r"$\mathcal L$", "$a_i$", r"$\hat y$", "$k$"]
    order = ["$a_i$", "$b$", "$B$", "$k$", r"$\mathcal L$", r"$\hat y$", r"$\alpha$"]
    assert sorted(cells, key=sort_key) == order


@pytest.mark.usefixtures("html")
def test_a_reader_gets_from_a_letter_to_its_chapter(open_page: Open) -> None:
    if len(letters_markdown()) < 3:
        pytest.fail("no chapter has a table of letters yet")
    with open_page(HTML / "book" / "notation.html") as watched:
        link = watched.page.locator("article tbody a[href*='#tab-']").first
        target = link.get_attribute("href").partition("#")[2]
        link.click()
        watched.page.wait_for_load_state("load")
        assert watched.page.locator(f"[id='{target}']").count() == 1
