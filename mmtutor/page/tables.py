"""A small table as a cell's output: Markdown in a page, aligned text elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


class Table:
    """What :func:`table` returns."""

    def __init__(self, head: list[str], rows: list[list[str]]) -> None:
        self.head, self.rows = head, rows

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        markdown = "\n".join(
            "| " + " | ".join(_in_a_cell(c) for c in line) + " |" for line in lines
        )
        return {"text/plain": repr(self), "text/markdown": markdown}

    def __repr__(self) -> str:
        lines = [self.head, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.head))]
        return "\n".join(
            "  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in lines
        )


def _in_a_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], numbers: str = ".3g") -> Table:
    """A table of a few rows: a recipe, a batch with its shapes, scores side by side.

    Args:
        head: the names of the columns.
        rows: one sequence a row. Text stays, floats are written by ``numbers``, whole numbers with
            a comma a thousand, shapes (tuples of whole numbers) as ``(64, 12)``.
        numbers: the format of floats.

    Raises:
        ValueError: no column, or a row of another length.
        TypeError: a text where a list of texts belongs.
    """
    if isinstance(head, str):
        raise TypeError(f"head must be a list of names, not the text {head!r}")
    head = [str(name) for name in head]
    if not head:
        raise ValueError("a table needs at least one column")
    written = []
    for i, row in enumerate(rows):
        if isinstance(row, str):
            raise TypeError(f"row {i} must be a list of cells, not the text {row!r}")
        cells = [_written(value, numbers) for value in row]
        if len(cells) != len(head):
            raise ValueError(f"row {i} has {len(cells)} cells, the table {len(head)} columns")
        written.append(cells)
    return Table(head, written)


def _written(value: Any, numbers: str) -> str:
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return format(value, numbers).replace("-", "−")
    if isinstance(value, tuple):  # also torch.Size
        return "(" + ", ".join(str(v) for v in value) + ("," if len(value) == 1 else "") + ")"
    return str(value)
