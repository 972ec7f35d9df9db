"""Show the package's own source in a chapter, so that the page cannot drift from the code that is tested."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any


def source_of(obj: Any, *, docstring: bool = True) -> str:
    """The dedented source text of a function, class, method, property or module.

    Args:
        obj: what to show. A wrapped function is unwrapped; a property shows its getter.
        docstring: ``False`` leaves out the docstring of a function or class (not those inside it).

    Returns:
        The text as it stands in the file, without trailing white space at its end.

    Raises:
        TypeError: the object has no Python source (a built-in, a number, an instance).
    """
    target = obj.fget if isinstance(obj, property) else inspect.unwrap(obj) if callable(obj) else obj
    try:
        text = textwrap.dedent(inspect.getsource(target)).rstrip()
    except (TypeError, OSError) as error:
        raise TypeError(
            f"show_source needs a function, class, method or module with Python source, got {type(obj).__name__}"
        ) from error
    if docstring or inspect.ismodule(target):
        return text
    node = ast.parse(text).body[0]
    body = getattr(node, "body", [])
    if not (body and isinstance(body[0], ast.Expr) and isinstance(getattr(body[0].value, "value", None), str)):
        return text
    lines = text.splitlines()
    start, end = body[0].lineno - 1, body[0].end_lineno
    while end < len(lines) and not lines[end].strip():  # the blank line that follows a docstring goes with it
        end += 1
    return "\n".join(lines[:start] + lines[end:])


class Source:
    """What :func:`show_source` returns: highlighted HTML in a notebook, plain text elsewhere."""

    def __init__(self, text: str, title: str) -> None:
        self.text, self.title = text, title

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        # Markdown lets the page, Colab and Jupyter each highlight in their own light or dark colours.
        fence = "`" * max(3, 1 + max((len(run) for run in _backtick_runs(self.text)), default=0))
        return {"text/plain": self.text, "text/markdown": f"{fence}python\n{self.text}\n{fence}"}


def _backtick_runs(text: str) -> list[str]:
    import re

    return re.findall(r"`+", text)


def show_source(*objects: Any, docstring: bool = True) -> Source:
    """Show the source of one or more package objects as a highlighted cell output.

    Args:
        objects: functions, classes, methods or modules; they are shown one below the other.
        docstring: ``False`` leaves their docstrings out, where the text around the cell says the same.
    """
    if not objects:
        raise TypeError("show_source needs at least one function, class, method or module")
    names = [getattr(o, "__qualname__", getattr(o, "__name__", type(o).__name__)) for o in objects]
    return Source("\n\n\n".join(source_of(o, docstring=docstring) for o in objects), ", ".join(names))
