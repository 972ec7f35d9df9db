"""Arrow to NumPy: the columns of a Hugging Face data set as arrays in their own type.

``datasets`` has a NumPy format of its own. It widens numbers, it is slow for pictures, and in some
releases (4.0.0, which Colab has) it cannot be used once torchvision is loaded, because it asks
torchvision for a class that is gone. So the book reads Arrow columns itself, and :data:`FORMAT` is
a format of ours for ``dataset.with_format``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

#: The name of our format for ``datasets.Dataset.with_format``; :func:`register` makes it known.
FORMAT = "mmtutor"


def to_numpy(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Return an Arrow column as a NumPy array of its own type, which can be written to.

    Args:
        column: N values: numbers, booleans, strings, (nested) lists of these, or the ``Array2D`` …
            ``Array5D`` of ``datasets``.

    Returns:
        (N, ...) where all lists at each depth are of one length. Otherwise (N,) of type ``object``
        that holds N arrays. A value that is missing is ``None``, and the array then is of type
        ``object`` too.
    """
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        parts = [to_numpy(chunk) for chunk in column.chunks if len(chunk)] or [
            to_numpy(chunk) for chunk in column.chunks
        ]
        if len({(part.dtype, part.shape[1:]) for part in parts}) == 1 and parts[0].dtype != object:
            return np.concatenate(parts) if len(parts) > 1 else parts[0]
        return _rows([row for part in parts for row in part])
    if column.null_count:
        valid = column.is_valid().to_pylist()
        return _rows(
            [to_numpy(column[i : i + 1])[0] if there else None for i, there in enumerate(valid)]
        )
    shape = getattr(
        column.type, "shape", None
    )  # of datasets' fixed arrays; their first dimension may be free (None)
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    if (
        pa.types.is_list(column.type)
        or pa.types.is_large_list(column.type)
        or pa.types.is_fixed_size_list(column.type)
    ):
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        inner = to_numpy(column.flatten())
        if len(lengths) == 0:
            return (
                inner.reshape(0, *(side or 0 for side in shape)) if shape else inner.reshape(0, 0)
            )
        if (lengths == lengths[0]).all() and inner.dtype != object:
            return inner.reshape(len(lengths), lengths[0], *inner.shape[1:])
        ends = np.cumsum(lengths)
        return _rows([_dense(inner[end - length : end]) for end, length in zip(ends, lengths)])
    values = column.to_numpy(zero_copy_only=False)
    return values if values.flags.writeable else values.copy()


def _rows(rows: list[Any]) -> np.ndarray:
    """(N, ...) if the rows are arrays of one shape and type, else (N,) of type object."""
    first = rows[0] if rows else None
    if isinstance(first, np.ndarray) and all(
        isinstance(row, np.ndarray)
        and row.shape == first.shape
        and row.dtype == first.dtype != object
        for row in rows
    ):
        return np.stack(rows)
    out = np.empty(len(rows), dtype=object)
    out[:] = rows
    return out


def _dense(rows: np.ndarray) -> np.ndarray:
    """Lists of one length within a row become one array, even where other rows have other
    lengths."""
    return _rows(list(rows)) if rows.dtype == object else rows


def column(dataset: datasets.Dataset, name: str) -> np.ndarray:
    """Return a whole column of a data set as an array, (N, ...), in its own type and without
    touching the other columns.

    Raises:
        KeyError: the data set has no such column; the message names those that it has.
    """
    if name not in dataset.column_names:
        raise KeyError(f"no column {name!r}; there are {', '.join(dataset.column_names)}")
    return to_numpy(dataset.select_columns([name]).with_format("arrow")[:][name])


def register() -> str:
    """Make :data:`FORMAT` known to ``datasets`` (once) and return its name.

    A row then is ``{name: array}``, a batch ``{name: array with a first dimension more}``. Numbers
    keep their type.
    """
    from datasets import formatting

    if (
        FORMAT not in formatting._FORMAT_TYPES
    ):  # the library's own formats are made known by these same two names

        class Arrays(formatting.Formatter):
            def format_row(self, table: pa.Table) -> dict[str, Any]:
                return {name: to_numpy(table[name])[0] for name in table.column_names}

            def format_column(self, table: pa.Table) -> np.ndarray:
                return to_numpy(table[table.column_names[0]])

            def format_batch(self, table: pa.Table) -> dict[str, np.ndarray]:
                return {name: to_numpy(table[name]) for name in table.column_names}

        formatting._register_formatter(Arrays, FORMAT)
    return FORMAT
