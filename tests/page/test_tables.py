"""Small tables."""

import pytest
import torch

from mmtutor.page.tables import table


def test_cells_are_written_as_a_reader_would_write_them():
    rows = [
        ["steps", 12500],
        ["rate", 0.008],
        ["change", -0.25],
        ["ids", torch.zeros(64, 12).shape],
        ["owner", (64,)],
        ["a|b", "x"],
    ]
    made = table(["what", "value"], rows)
    assert [row[1] for row in made.rows] == ["12,500", "0.008", "−0.25", "(64, 12)", "(64,)", "x"]
    markdown = made._repr_mimebundle_()["text/markdown"].split("\n")
    assert markdown[:3] == ["| what | value |", "| --- | --- |", "| steps | 12,500 |"]
    assert markdown[-1] == r"| a\|b | x |"
    lines = repr(made).split("\n")
    assert lines[0] == "what    value"
    assert len({line.index(row[1]) for line, row in zip(lines[1:], made.rows)}) == 1


def test_numbers_take_a_format():
    assert table(["a"], [[0.123456]], ".2f").rows == [["0.12"]]


@pytest.mark.parametrize(
    ("head", "rows", "words"),
    [
        ([], [], "at least one column"),
        (["a", "b"], [["x"]], "row 0 has 1 cells"),
        (["a", "b"], ["xy"], "row 0 must be a list"),
        ("ab", [], "list of names"),
    ],
)
def test_bad_tables_are_refused(head, rows, words):
    with pytest.raises((ValueError, TypeError), match=words):
        table(head, rows)
