"""Show the package's own source in a chapter, so that the page cannot drift from the code that is
tested."""

from __future__ import annotations

import ast
import functools
import inspect
import re
from typing import Any


def source_of(obj: Any, *, docstring: bool | str = True, checks: bool = True) -> str:
    """The dedented source text of a function, class, method, property or module.

    Args:
        obj: what to show. A wrapped function is unwrapped; a property shows its getter.
        docstring: ``False`` leaves out the docstring of a function, class or module (not those
            inside it), where lines of its own hold it and something else is left.
            ``"arguments"`` keeps the first paragraph and what it says of arguments and results, of
            every docstring within.
        checks: ``False`` leaves out the statements that only refuse bad arguments (``if …: raise
            …``); a line ``# …`` marks each gap.

    Returns:
        The text as it stands in the file, without trailing white space at its end.

    Raises:
        TypeError: the object has no Python source (a built-in, a number, an instance).
        ValueError: ``docstring`` is a text other than ``"arguments"``.
    """
    if isinstance(docstring, str) and docstring != "arguments":
        raise ValueError(f"docstring must be True, False or 'arguments', got {docstring!r}")
    getter = (
        obj.fget
        if isinstance(obj, property)
        else obj.func
        if isinstance(obj, functools.cached_property)
        else obj
    )
    target = inspect.unwrap(getter) if callable(getter) else getter
    try:
        text = _dedent(inspect.getsource(target)).rstrip()
    except (TypeError, OSError) as error:
        raise TypeError(
            "show_source needs a function, class, method or module with Python source, got "
            f"{type(obj).__name__}"
        ) from error
    if docstring == "arguments":
        text = _with_short_docstrings(text)
    elif not docstring:
        text = _without_docstring(text, whole_module=inspect.ismodule(target))
    return text if checks else _without_checks(text)


def _dedent(text: str) -> str:
    """Take the first line's indentation from every line that has it; a string within may have
    lines further left."""
    indent = text[: len(text) - len(text.lstrip(" \t"))]
    return "\n".join(line.removeprefix(indent) for line in text.split("\n"))


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except SyntaxError:  # a lambda's line can be a part of a statement
        return None


def _without_docstring(text: str, whole_module: bool) -> str:
    tree = _parsed(text)
    if tree is None:
        return text
    node = tree if whole_module else tree.body[0]
    if not isinstance(node, _DOCUMENTED):
        return text
    if ast.get_docstring(node) is None or len(node.body) == 1:
        return text
    doc, after, lines = node.body[0], node.body[1], text.split("\n")
    head = lines[doc.lineno - 1][: doc.col_offset]
    if head.strip() or after.lineno == doc.end_lineno:  # it shares a line
        return text
    start, end = doc.lineno - 1, doc.end_lineno
    while not lines[end].strip():  # the blank line that follows a docstring goes with it
        end += 1
    return "\n".join(lines[:start] + lines[end:])


_HEADING = re.compile(r"\s*([A-Z][a-z]+):\s*$")
_KEPT = ("Args", "Attributes", "Returns", "Yields")


def _with_short_docstrings(text: str) -> str:
    """Keep of each docstring its first paragraph and the sections on arguments and results."""
    tree, lines = _parsed(text), text.split("\n")
    if tree is None:
        return text
    documented = [node for node in ast.walk(tree) if isinstance(node, _DOCUMENTED)]
    found = [node.body[0] for node in documented if ast.get_docstring(node) is not None]
    for doc in sorted(found, key=lambda node: -node.lineno):  # from below, so that lines stay
        if doc.end_lineno == doc.lineno:
            continue
        start, end = doc.lineno - 1, doc.end_lineno
        last = lines[end - 1].strip()
        if last not in ('"""', "'''"):  # the quotes that close it share a line
            continue
        kept, keep = [], True
        for i, line in enumerate(lines[start : end - 1]):
            heading = _HEADING.fullmatch(line)
            if heading:
                keep = heading.group(1) in _KEPT
                if keep and kept and kept[-1].strip():
                    kept.append("")
            if keep and (line.strip() or i):
                kept.append(line)
            if not line.strip():
                keep = False  # a paragraph or a section ends; only a heading opens another
        while kept and not kept[-1].strip():
            kept.pop()
        lines[start:end] = [*kept, lines[end - 1]] if len(kept) > 1 else [kept[0] + last]
    return "\n".join(lines)


def _only_refuses(node: ast.stmt) -> bool:
    """Whether a statement does nothing but raise errors about what was given."""
    if isinstance(node, ast.If):
        return all(isinstance(one, ast.Raise) or _only_refuses(one) for one in node.body) and all(
            isinstance(one, ast.Raise) or _only_refuses(one) for one in node.orelse
        )
    if isinstance(node, ast.For | ast.With):
        return all(_only_refuses(one) for one in node.body)
    return False


def _without_checks(text: str) -> str:
    tree, lines = _parsed(text), text.split("\n")
    if tree is None:
        return text
    spans: list[tuple[int, int, int]] = []

    def gather(statements: list[ast.stmt]) -> None:
        for one in statements:
            further = (
                lines[one.lineno - 1].lstrip().startswith("elif")
            )  # it belongs to what is above
            if _only_refuses(one) and not further:
                spans.append((one.lineno - 1, one.end_lineno, one.col_offset))
                continue
            for block in ("body", "orelse", "finalbody"):
                gather(getattr(one, block, []))

    gather(tree.body)
    joined: list[tuple[int, int, int]] = []
    for start, end, indent in sorted(spans):
        if joined and joined[-1][2] == indent and not "".join(lines[joined[-1][1] : start]).strip():
            joined[-1] = (joined[-1][0], end, indent)
        else:
            joined.append((start, end, indent))
    for start, end, indent in reversed(joined):
        lines[start:end] = [" " * indent + "# …"]
    return "\n".join(lines)


class Source:
    """What :func:`show_source` returns: highlighted HTML in a notebook, plain text elsewhere."""

    def __init__(self, text: str, title: str) -> None:
        self.text, self.title = text, title

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        # Markdown lets the page, Colab and Jupyter each highlight in their own light or dark
        # colours.
        fence = "`" * max(3, 1 + max((len(run) for run in _backtick_runs(self.text)), default=0))
        return {"text/plain": self.text, "text/markdown": f"{fence}python\n{self.text}\n{fence}"}


def _backtick_runs(text: str) -> list[str]:
    return re.findall(r"`+", text)


def show_source(*objects: Any, docstring: bool | str = True, checks: bool = True) -> Source:
    """Show the source of one or more package objects as a highlighted cell output.

    Args:
        objects: functions, classes, methods or modules; they are shown one below the other.
        docstring: ``False`` leaves their docstrings out, where the text around the cell says the
            same; ``"arguments"`` keeps the first paragraph and the arguments.
        checks: ``False`` leaves out what only refuses bad arguments; ``# …`` marks the gap.
    """
    if not objects:
        raise TypeError("show_source needs at least one function, class, method or module")
    names = [getattr(o, "__qualname__", getattr(o, "__name__", type(o).__name__)) for o in objects]
    texts = [source_of(o, docstring=docstring, checks=checks) for o in objects]
    return Source("\n\n\n".join(texts), ", ".join(names))
