"""The bibliography: nothing missing in an entry, nothing uncited, no two works with one label, names with their capitals."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pytest
from bookkit import HTML, ROOT
from bs4 import BeautifulSoup
from pybtex.database import BibliographyData, parse_string

sys.path.insert(0, str(ROOT / "book" / "_ext"))
from mmtutor_reference import Labels, Style, label_of, markdown_of

BIB = ROOT / "book" / "references.bib"
VENUES = {"article": "journal", "inproceedings": "booktitle", "incollection": "booktitle"}
VENUES |= {"book": "publisher", "phdthesis": "school", "techreport": "institution"}
NAMES = [
    "Bayes",
    "Boltzmann",
    "COCO",
    "English",
    "Fourier",
    "Gauss",
    "Griffin",
    "ImageNet",
    "Korean",
    "Lim",
    "Markov",
    "Monte",
    "Newton",
    "Transformer",
    "Turing",
    "Viterbi",
    "Wasserstein",
]


@pytest.fixture(scope="module")
def bibliography() -> BibliographyData:
    return parse_string(BIB.read_text(encoding="utf-8"), "bibtex")


def cited() -> Iterator[tuple[str, str]]:
    """Every key that a page cites, with the page."""
    for path in sorted((ROOT / "book").glob("[!._]*.*")):
        if path.suffix in (".md", ".ipynb"):
            for keys in re.findall(r"\{cite:\w+\}`([^`]+)`", markdown_of(path)):
                for key in keys.split(","):
                    yield key.strip(), path.name


def faults(bibliography: BibliographyData) -> list[str]:
    """What an entry lacks."""
    found = []
    for key, entry in bibliography.entries.items():
        venue = VENUES.get(entry.type)
        if venue is None:
            found.append(f"{key}: unknown type {entry.type}")
        missing = [f for f in ("title", "year", venue) if f and not entry.fields.get(f)]
        missing += [] if entry.persons.get("author") else ["author"]
        found += [f"{key}: no {field}" for field in missing]
        if not re.fullmatch(r"(19|20)\d\d", entry.fields.get("year", "")):
            found.append(f"{key}: the year is no year")
        found += [f"{key}: {word} needs braces" for word in bare(entry.fields.get("title", ""))]
        if re.search(r"\d-\d", entry.fields.get("pages", "").replace("--", "")):
            found.append(f"{key}: pages are joined by two hyphens")
    return found


def bare(title: str) -> list[str]:
    """Words of a title that would lose their capitals: the style writes all that is not in braces in small letters."""
    unprotected = re.sub(r"\{[^{}]*\}", " ", title)
    words = re.findall(r"[A-Za-z]+", unprotected)
    return [word for word in words if re.search(r".[A-Z]", word) or word in NAMES]


def test_every_entry_is_whole(bibliography: BibliographyData) -> None:
    assert len(bibliography.entries) > 40
    assert faults(bibliography) == []


def test_every_entry_is_cited_and_every_citation_has_an_entry(
    bibliography: BibliographyData,
) -> None:
    pages = dict(cited())
    assert sorted(set(bibliography.entries) - set(pages)) == [], "no page cites these"
    unknown = {key: page for key, page in pages.items() if key not in bibliography.entries}
    assert unknown == {}


def test_the_entries_are_sorted_and_none_stands_twice() -> None:
    keys = re.findall(r"^@\w+\{([\w:-]+),", BIB.read_text(encoding="utf-8"), re.M)
    assert keys == sorted(set(keys))


def test_no_two_works_have_the_same_label(bibliography: BibliographyData) -> None:
    labels = [entry.label for entry in Style().format_bibliography(bibliography)]
    assert len(labels) == len(set(labels)) == len(bibliography.entries)
    for label in labels:
        assert re.fullmatch(r"[^\d]+ (19|20)\d\d[a-z]?", label), f"{label!r} is hard to read"


def test_three_works_of_one_year_are_told_apart(bibliography: BibliographyData) -> None:
    labels = {e.key: e.label for e in Style().format_bibliography(bibliography)}
    assert labels["mikolov2013efficient"] == "Mikolov et al. 2013a"
    assert labels["mikolov2013distributed"] == "Mikolov et al. 2013b"
    assert labels["mikolov2013linguistic"] == "Mikolov et al. 2013c"
    assert labels["levy2014neural"] == "Levy and Goldberg 2014"
    assert labels["gutmann2010noise"] == "Gutmann and Hyvärinen 2010"
    assert labels["williams1992simple"] == "Williams 1992"


def test_the_check_sees_each_fault() -> None:
    whole = (
        "@article{a, author={B, C}, title={Of {Fourier}}, journal={J}, year={1999}, pages={1--2}}"
    )
    assert faults(parse_string(whole, "bibtex")) == []
    for before, after, words in (
        ("author={B, C}, ", "", "no author"),
        ("journal={J}, ", "", "no journal"),
        ("year={1999}", "year={in press}", "no year"),
        ("{Fourier}", "Fourier", "Fourier needs braces"),
        ("{Fourier}", "GloVe", "GloVe needs braces"),
        ("{Fourier}", "the BLEU", "BLEU needs braces"),
        ("1--2", "1-2", "two hyphens"),
        ("@article", "@misc", "unknown type"),
    ):
        assert before in whole
        found = faults(parse_string(whole.replace(before, after), "bibtex"))
        assert any(words in fault for fault in found), (words, found)


def test_labels_get_letters_only_where_they_are_needed() -> None:
    text = "".join(f"@misc{{k{n}, author={{A, B}}, title={{{n}}}, year={{1990}}}}" for n in "xy")
    text += "@misc{z, author={A, B}, title={z}, year={1991}}"
    entries = list(parse_string(text, "bibtex").entries.values())
    assert list(Labels().format_labels(entries)) == ["A 1990a", "A 1990b", "A 1991"]
    assert label_of(entries[0]) == "A 1990"


@pytest.mark.usefixtures("html")
def test_the_pages_show_the_letters() -> None:
    page = BeautifulSoup((HTML / "book" / "bibliography.html").read_text("utf-8"), "html.parser")
    labels = [span.get_text() for span in page.select("article .citation .label")]
    assert "[Mikolov et al. 2013a]" in labels
    known = {label.strip("[]").replace("\xa0", " ") for label in labels}  # van den Oord
    places = 0
    for path in sorted((HTML / "book").glob("*.html")):
        soup = BeautifulSoup(path.read_text("utf-8"), "html.parser")
        for link in soup.select('article a[href*="bibliography.html#"]'):
            text, places = link.get_text().replace("\xa0", " "), places + 1
            if "," in text:  # in brackets: names, year; in a sentence only the year is the link
                assert text.replace(",", "") in known, f"{path.name}: {text}"
            else:
                assert any(label.endswith(f" {text}") for label in known), f"{path.name}: {text}"
    assert places > 50
