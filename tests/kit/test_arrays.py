"""Arrow to NumPy: equal to Arrow's own Python objects and to the library's own format, which is never asked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtutor import world
from mmtutor.kit import arrays

ROOT = Path(__file__).resolve().parents[2]


def same(x: object, y: object) -> None:
    """Equal in kind, type, shape and value, arrays of arrays too."""
    assert type(x) is type(y)
    if not isinstance(x, np.ndarray):
        assert x == y
        return
    assert (x.dtype, x.shape) == (y.dtype, y.shape)
    if x.dtype == object:
        for one, other in zip(x, y, strict=True):
            same(one, other)
    else:
        np.testing.assert_array_equal(x, y)


def as_lists(x: object) -> object:
    return (
        [as_lists(one) for one in x]
        if isinstance(x, np.ndarray)
        else x.item()
        if isinstance(x, np.generic)
        else x
    )


numbers = st.integers(-128, 127)
nested = st.one_of(
    st.lists(numbers, max_size=6),
    st.lists(st.lists(numbers, max_size=3), max_size=5),
    st.lists(st.lists(st.lists(numbers, min_size=2, max_size=2), max_size=3), max_size=4),
    st.lists(st.none() | st.lists(numbers, max_size=2), min_size=1, max_size=4),
)


@settings(deadline=None)
@given(nested, st.integers(0, 3), st.integers(1, 4))
def test_values_are_those_that_arrow_itself_gives(values: list, start: int, chunks: int) -> None:
    def depth(x: object) -> int:
        return 1 + max((depth(one) for one in x), default=0) if isinstance(x, list) else 0

    kind = pa.int8()
    for _ in range(max(1, depth(values)) - 1):
        kind = pa.list_(kind)
    whole = pa.array(values, kind)
    pieces = [whole[i : i + chunks] for i in range(0, len(whole), chunks)]
    for column in (whole, whole[start:], pa.chunked_array(pieces, kind)):
        assert as_lists(arrays.to_numpy(column)) == column.to_pylist()


@pytest.mark.parametrize(
    ("values", "kind", "dtype", "shape"),
    [
        ([[1, 2], [3, 4]], pa.list_(pa.uint8()), np.uint8, (2, 2)),
        ([[1, 2], [3, 4]], pa.list_(pa.int16(), 2), np.int16, (2, 2)),
        ([[[1.5]], [[2.5]]], pa.large_list(pa.list_(pa.float32())), np.float32, (2, 1, 1)),
        ([True, False], pa.bool_(), np.bool_, (2,)),
        ([[1], [2, 3]], pa.list_(pa.int32()), object, (2,)),
        ([1, None], pa.int64(), object, (2,)),
        ([], pa.float64(), np.float64, (0,)),
        (["a", "b"], pa.string(), object, (2,)),
    ],
)
def test_type_and_shape(values: list, kind: pa.DataType, dtype: type, shape: tuple) -> None:
    found = arrays.to_numpy(pa.array(values, kind))
    assert (found.dtype, found.shape) == (dtype, shape)
    assert found.flags.writeable


def test_boxes_of_different_numbers_stay_arrays() -> None:
    found = arrays.to_numpy(
        pa.array([[[1, 2, 3, 4]], [[5, 6, 7, 8], [9, 0, 1, 2]]], pa.list_(pa.list_(pa.int32())))
    )
    assert [(one.dtype, one.shape) for one in found] == [(np.int32, (1, 4)), (np.int32, (2, 4))]


@pytest.fixture(scope="module", params=world.names())
def data(request: pytest.FixtureRequest) -> datasets.Dataset:
    return world.load(request.param, "test", size=7)


def test_the_format_equals_that_of_the_library(data: datasets.Dataset) -> None:
    """The library's own format, told to keep types, is the reference; picked and shuffled rows too."""
    numeric = [name for name, feature in data.features.items() if world._store._is_numbers(feature)]
    ours = data.with_format(arrays.register(), columns=numeric, output_all_columns=True)
    theirs = data.with_format("numpy", columns=numeric, output_all_columns=True, dtype=None)
    picked = [5, 1, 3, 3]
    for x, y in [
        (ours[0], theirs[0]),
        (ours[2:6], theirs[2:6]),
        (ours.select(picked)[:], theirs.select(picked)[:]),
    ]:
        assert x.keys() == y.keys()
        for name in x:
            same(x[name], y[name])
    for name in numeric:
        same(arrays.column(data.select(picked), name), theirs.select(picked)[name][:])


def test_reading_never_asks_the_format_that_breaks_beside_torchvision(
    data: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets.formatting import np_formatter, torch_formatter

    def broken(*_: object, **__: object) -> None:
        raise ImportError("cannot import name 'VideoReader' from 'torchvision.io'")

    for formatter in (np_formatter.NumpyFormatter, torch_formatter.TorchFormatter):
        monkeypatch.setattr(formatter, "_tensorize", broken)
    with pytest.raises(ImportError):
        data.with_format("numpy")[0]
    assert data[0].keys() == data[:].keys() == set(data.column_names)
    for name in data.column_names:
        assert len(data[name][:]) == len(arrays.column(data, name)) == 7
    assert len(list(data.map(lambda row: {"n": 1}, keep_in_memory=True)["n"][:])) == 7


def test_no_file_of_the_book_asks_for_it() -> None:
    wrong = re.compile(
        r"(?:with|set)_format\(\s*(?:type\s*=\s*)?[\"'](?:numpy|np|torch|pt|pytorch)[\"']"
    )
    found = []
    for folder in ("mmtutor", "experiments", "benchmarks"):
        found += [
            path
            for path in (ROOT / folder).rglob("*.py")
            if wrong.search(path.read_text(encoding="utf-8"))
        ]
    for path in (ROOT / "book").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found += [path for cell in cells if wrong.search("".join(cell["source"]))]
    assert found == []


def test_an_unknown_column_is_named() -> None:
    with pytest.raises(KeyError, match="no column 'picture'; there are image, "):
        arrays.column(world.load("scenes", "test", size=2), "picture")
