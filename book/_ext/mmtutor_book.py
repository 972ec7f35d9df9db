"""The book's own Sphinx extension.

It does a few small things that a setting cannot do:

* the address of the repository comes from ``pyproject.toml`` (``[project.urls] Repository``), so that it is written once;
* no page names another host for a script (sphinx-thebe's address of a CDN is left out: the book has no live cells);
* everything wide (tables, code, formulas) scrolls inside its own box that the keyboard can reach, never the page sideways;
* the directives ``{claims}``, ``{one-claim}`` and ``{claims-summary}`` draw the ledger from the very files that the
  experiments wrote;
* ``{from-chapter}`` shows what a chapter's notebook stores, so that the landing page has the book's own results.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).resolve().parent))
import mmtutor_chapters
import mmtutor_claims

ROOT = Path(__file__).resolve().parents[2]
logger = logging.getLogger(__name__)


def repository_address(root: Path = ROOT) -> str:
    """The repository's address, from ``[project.urls]`` of ``pyproject.toml``, without a slash at the end."""
    urls = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"].get(
        "urls", {}
    )
    if "Repository" not in urls:
        raise ValueError("pyproject.toml needs a [project.urls] table with the key Repository")
    return urls["Repository"].rstrip("/").removesuffix(".git")


def set_repository(app: Sphinx, config: Config) -> None:
    """Give the theme the address, before it makes its buttons of it."""
    address = repository_address()
    config.html_theme_options["repository_url"] = address
    config.myst_substitutions = {**(config.myst_substitutions or {}), "repository": address}


def drop_other_hosts(
    app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Remove the scripts that name another host (sphinx-thebe adds one to each page although the book has no live cells)."""
    keep = []
    for script in context.get("script_files", []):
        attributes = getattr(script, "attributes", {})
        body = attributes.get("body") or ""
        if "THEBE_JS_URL" in body or "sphinx-thebe" in str(getattr(script, "filename", script)):
            continue
        keep.append(script)
    if "script_files" in context:
        context["script_files"] = keep
    if "css_files" in context:
        context["css_files"] = [
            f for f in context["css_files"] if "sphinx-thebe" not in str(getattr(f, "filename", f))
        ]


def mend_roles(
    app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """A list of citations whose entries are no list items is not a list, whatever Sphinx says to a screen reader."""
    if "body" in context:
        context["body"] = context["body"].replace(
            '<div role="list" class="citation-list">', '<div class="citation-list">'
        )


def write_front_door(app: Sphinx, error: Exception | None) -> None:
    """``index.html`` leads to the first page; it is a whole page, for readers whose browser does not follow by itself."""
    if error is None and app.builder.format == "html":
        first = f"{app.config.root_doc}.html"
        (Path(app.outdir) / "index.html").write_text(
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{app.config.html_title}</title>'
            f'<meta http-equiv="refresh" content="0; url={first}"></head>'
            f'<body><main><h1>{app.config.html_title}</h1><p><a href="{first}">Open the book</a></p></main></body></html>\n',
            encoding="utf-8",
        )


class Clone(SphinxDirective):
    """``{clone}``: the commands that fetch and build the book, with the address from its only home."""

    def run(self) -> list[nodes.Node]:
        text = f"git clone {repository_address()} mmtutor\ncd mmtutor\nmake book"
        return [nodes.literal_block(text, text, language="bash")]


class Claims(SphinxDirective):
    """``{claims} PART``: every claim of one part, with its rule, its number and whether it holds."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        _depend_on_results(self)
        return [nodes.raw("", mmtutor_claims.part_html(self.arguments[0], ROOT), format="html")]


class ClaimsSummary(SphinxDirective):
    """``{claims-summary}``: how many claims hold, do not hold, and wait."""

    def run(self) -> list[nodes.Node]:
        _depend_on_results(self)
        return [nodes.raw("", mmtutor_claims.summary_html(ROOT), format="html")]


class OneClaim(SphinxDirective):
    """``{one-claim} C20``: one claim with its mark, its numbers and a link to its place in the ledger.

    Its content, if any, says in plain words what was measured.
    """

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        _depend_on_results(self)
        try:
            html = mmtutor_claims.one_html(self.arguments[0], " ".join(self.content), ROOT)
        except ValueError as error:
            logger.warning("%s", error, location=self.get_location())
            return []
        return [nodes.raw("", html, format="html")]


class FromChapter(SphinxDirective):
    """``{from-chapter} book/09_show_attend_tell landing-attention``: a widget as the chapter's notebook stores it.

    After the chapter come the widget's id, or a class with a dot before it; more of them are what to take if the first is not there.
    """

    required_arguments = 2
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        chapter, wanted = self.arguments[0], self.arguments[1].split()
        path = ROOT / f"{chapter}.ipynb"
        self.env.note_dependency(str(path))
        html = mmtutor_chapters.stored(path, wanted) if path.is_file() else None
        if html is None:
            logger.warning(
                "%s.ipynb stores no output whose outermost element is %s",
                chapter,
                " or ".join(wanted),
                location=self.get_location(),
            )
            return []
        return [nodes.raw("", f'<div class="from-chapter">{html}</div>', format="html")]


def _depend_on_results(directive: SphinxDirective) -> None:
    directive.env.note_reread()  # a new result file changes the page although the page's source stays
    for path in mmtutor_claims.sources(ROOT):
        directive.env.note_dependency(str(path))


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx calls this."""
    app.connect("config-inited", set_repository, priority=10)
    app.connect("html-page-context", drop_other_hosts, priority=900)
    app.connect("html-page-context", mend_roles, priority=900)
    app.connect("build-finished", write_front_door, priority=900)
    app.add_directive("clone", Clone)
    app.add_directive("claims", Claims)
    app.add_directive("claims-summary", ClaimsSummary)
    app.add_directive("one-claim", OneClaim)
    app.add_directive("from-chapter", FromChapter)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
