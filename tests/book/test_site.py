"""The built pages as files: they are there, they are whole, and they need no other host."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bookkit import HTML, ROOT, toc_pages
from bs4 import BeautifulSoup
from check_notebooks import IMAGES, repository_address, setup_source

PAGES = toc_pages()
NOTEBOOK_PAGES = [page for page in PAGES if (ROOT / f"{page}.ipynb").exists()]
pytestmark = pytest.mark.usefixtures("html")


@cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def places(path: Path) -> set[str]:
    """What a link may name after its ``#``."""
    return {tag.get(key) for tag in soup(path).find_all(True) for key in ("id", "name")}


def built() -> list[Path]:
    return sorted(path for path in HTML.rglob("*.html") if "_static" not in path.parts)


def article(page: str) -> BeautifulSoup:
    return soup(HTML / f"{page}.html").select_one("article")


@pytest.mark.parametrize("page", PAGES)
def test_page_exists_with_its_title(page: str) -> None:
    path = HTML / f"{page}.html"
    assert path.exists(), f"the table of contents names {page}, but it was not built"
    heading = article(page).find("h1")
    assert heading, f"{page} has no title"
    words = re.sub(r"^[\d.]+\s*", "", heading.get_text().rstrip("#").strip())
    assert words
    assert words in soup(path).title.get_text()


def test_every_entry_of_the_table_of_contents_is_a_file() -> None:
    missing = [
        p
        for p in PAGES
        if not any((ROOT / f"{p}{suffix}").exists() for suffix in (".md", ".ipynb"))
    ]
    assert missing == []


@pytest.mark.parametrize("page", NOTEBOOK_PAGES)
def test_every_stored_picture_is_on_the_page_with_its_words(page: str) -> None:
    notebook = json.loads((ROOT / f"{page}.ipynb").read_text(encoding="utf-8"))
    alts = []
    for cell in notebook["cells"]:
        if {"remove-cell", "remove-output"} & set(cell["metadata"].get("tags", [])):
            continue
        for output in cell.get("outputs", []):
            if (
                any(mime in output.get("data", {}) for mime in IMAGES)
                and "text/html" not in output["data"]
            ):
                alts.append(cell["metadata"]["mystnb"]["image"]["alt"])
    shown = [
        image["alt"]
        for image in article(page).select(".cell_output img")
        if not image.find_parent(class_="mmt-w")
    ]
    assert sorted(shown) == sorted(alts)


@pytest.mark.parametrize("page", NOTEBOOK_PAGES)
def test_code_and_its_outputs_are_on_the_page(page: str) -> None:
    assert article(page).select(".cell_input"), "no code"
    assert article(page).select(".cell_output"), "no output"


def test_no_picture_without_words() -> None:
    bare = [
        f"{path.relative_to(HTML)}: {str(image)[:120]}"
        for path in built()
        for image in soup(path).find_all("img")
        if not (image.get("alt") or "").strip()
    ]
    assert bare == []


def test_links_inside_the_book_lead_somewhere() -> None:
    broken = []
    for path in built():
        for tag in soup(path).find_all(["a", "link", "script", "img", "audio", "source"]):
            target = tag.get("href") or tag.get("src")
            if not target or re.match(r"(?i)(https?:|mailto:|data:|javascript:)", target):
                continue
            parts = urlsplit(target)
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if file.is_dir():
                file = file / "index.html"
            if not file.exists():
                broken.append(f"{path.relative_to(HTML)} -> {target}")
            elif (
                parts.fragment
                and file.suffix == ".html"
                and tag.name == "a"
                and unquote(parts.fragment) not in places(file)
            ):
                broken.append(f"{path.relative_to(HTML)} -> {target} (no such place)")
    assert sorted(set(broken)) == []


def test_nothing_comes_from_another_host() -> None:
    """A hyperlink may lead out; whatever the browser fetches by itself may not."""
    foreign = []
    for path in built():
        where = path.relative_to(HTML)
        for tag in soup(path).find_all(True):
            for key in ("src", "srcset", "poster", "data", "action", "background", "xlink:href"):
                if re.match(r"\s*(https?:)?//", tag.get(key) or ""):
                    foreign.append(f"{where}: <{tag.name} {key}={tag[key][:80]}>")
            if tag.name in ("link", "use", "image") and re.match(
                r"\s*(https?:)?//", tag.get("href") or ""
            ):
                foreign.append(f"{where}: <{tag.name} href={tag['href'][:80]}>")
            style = (tag.get("style") or "") + (tag.get_text() if tag.name == "style" else "")
            foreign += [
                f"{where}: {url}" for url in re.findall(r"url\(\s*['\"]?(?:https?:)?//[^)]+", style)
            ]
            if (
                tag.name == "script"
                and not tag.get("src")
                and tag.get("type") in (None, "text/javascript", "module")
            ):
                found = re.findall(
                    r"https?://(?!www\.w3\.org/2000/svg)[^\s\"'<>)]+", tag.get_text()
                )  # but SVG's name
                foreign += [f"{where}: script with {address}" for address in found]
    for path in HTML.rglob("*.css"):
        for url in re.findall(
            r"(?:@import\s+['\"]|url\(\s*['\"]?)((?:https?:)?//[^)'\"]+)",
            path.read_text("utf-8", "replace"),
        ):
            foreign.append(f"{path.relative_to(HTML)}: {url}")
    assert sorted(set(foreign)) == []


@pytest.mark.parametrize("page", NOTEBOOK_PAGES)
def test_the_colab_button_opens_this_notebook(page: str) -> None:
    links = {
        a["href"]
        for a in soup(HTML / f"{page}.html").find_all(
            "a", href=re.compile("colab.research.google.com")
        )
    }
    owner_and_name = repository_address().removeprefix("https://github.com/")
    expected = f"https://colab.research.google.com/github/{owner_and_name}/blob/main/{page}.ipynb"
    assert links == {expected}
    assert (ROOT / f"{page}.ipynb").exists()


def test_the_address_of_the_repository_is_written_once() -> None:
    """In pyproject.toml; set-up cells of notebooks get it from there (make execute) and are compared with it."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if listed.returncode == 0:
        files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        skipped = (".git", ".venv", "_build", ".house")
        tops = [top for top in ROOT.iterdir() if not top.name.startswith(skipped)]
        files = [
            p for top in tops for p in ([top] if top.is_file() else top.rglob("*")) if p.is_file()
        ]
        files = [p for p in files if p.parent.suffix != ".egg-info"]
    address = repository_address().removeprefix("https://")
    homes = []
    for path in files:
        if (
            path.exists()
            and path.stat().st_size < 5_000_000
            and path.suffix not in (".png", ".wav", ".webp")
        ):
            text = path.read_text(encoding="utf-8", errors="replace")
            if path.suffix == ".ipynb":
                for line in setup_source().splitlines():
                    text = text.replace(json.dumps(line, ensure_ascii=False)[1:-1], "")
            if address in text:
                homes.append(str(path.relative_to(ROOT)))
    assert homes == ["pyproject.toml"]


class Strict(yaml.SafeLoader):
    """YAML in which a key may occur once: the plain loader keeps the last one without a word."""


def _once(loader: Strict, node: yaml.MappingNode) -> dict:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    assert len(keys) == len(set(keys)), f"a key occurs twice among {keys}"
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _once)


@pytest.mark.parametrize(
    "name", ["_config.yml", "_toc.yml", "environment.yml", ".pre-commit-config.yaml"]
)
def test_no_key_occurs_twice(name: str) -> None:
    assert isinstance(yaml.load((ROOT / name).read_text(encoding="utf-8"), Strict), dict)


def test_a_doubled_key_is_seen() -> None:
    with pytest.raises(AssertionError, match="twice"):
        yaml.load("execute: {a: 1}\nexecute: {b: 2}\n", Strict)


def test_the_ledger_shows_every_claim_once_and_as_it_was_measured() -> None:
    from mmtutor.page import ledger

    page = article("book/claims")
    stored = ledger.results(folder=ROOT / "book" / "results")
    for claim in ledger.all_claims().values():
        places = page.find_all(id=claim.id.lower())
        assert len(places) == 1, f"{claim.id} stands {len(places)} times on the ledger page"
        text = places[0].get_text(" ", strip=True)
        assert claim.text in text
        result = stored.get(claim.id)
        assert ("claim" in places[0].get("class", [])) == (result is not None)
        if result is not None:
            assert f"{ledger.MARKS[result.verdict]} {ledger.WORDS[result.verdict]}" in text
            for judged in [*result.parts, *result.replication]:
                assert str(judged.summary) in text
                assert judged.part.words in text
            assert result.limits in text
            assert result.rule in text


def test_a_page_is_not_too_heavy() -> None:
    heavy = [
        f"{p.relative_to(HTML)}: {p.stat().st_size / 1e6:.1f} MB"
        for p in built()
        if p.stat().st_size > 5e6
    ]
    assert heavy == []
