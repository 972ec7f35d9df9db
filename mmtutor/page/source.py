"""Show the package's own source in a chapter, so that the page cannot drift from the code that is
tested."""

from __future__ import annotations

import ast
import functools
import inspect
from typing import Any


def source_of(obj: Any, *, docstring: bool = True) -> str:
    """The dedented source text of a function, class, method, property or module.

    Args:
        obj: what to show. A wrapped function is unwrapped; a property shows its getter.
        docstring: ``False`` leaves out the docstring of a function, class or module (not those
            inside it), where lines of its own hold it and something else is left.

    Returns:
        The text as it stands in the file, without trailing white space at its end.

    Raises:
        TypeError: the object has no Python source (a built-in, a number, an instance).
    """
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
            f"show_source needs a function, class, method or module with Python source, got {type(obj).__name__}"
        ) from error
    return text if docstring else _without_docstring(text, whole_module=inspect.ismodule(target))


def _dedent(text: str) -> str:
    """Take the first line's indentation from every line that has it; a string within may have lines
    further left."""
    indent = text[: len(text) - len(text.lstrip(" \t"))]
    return "\n".join(line.removeprefix(indent) for line in text.split("\n"))


def _without_docstring(text: str, whole_module: bool) -> str:
    try:
        tree = ast.parse(text)
    except SyntaxError:  # a lambda's line can be a part of a statement
        return text
    node = tree if whole_module else tree.body[0]
    if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
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
    import re

    return re.findall(r"`+", text)


def show_source(*objects: Any, docstring: bool = True) -> Source:
    """Show the source of one or more package objects as a highlighted cell output.

    Args:
        objects: functions, classes, methods or modules; they are shown one below the other.
        docstring: ``False`` leaves their docstrings out, where the text around the cell says the
            same.
    """
    if not objects:
        raise TypeError("show_source needs at least one function, class, method or module")
    names = [getattr(o, "__qualname__", getattr(o, "__name__", type(o).__name__)) for o in objects]
    return Source(
        "\n\n\n".join(source_of(o, docstring=docstring) for o in objects), ", ".join(names)
    )
