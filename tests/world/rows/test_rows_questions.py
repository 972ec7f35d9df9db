"""Rows of questions: twins side by side, each with its true answer."""

from mmtutor.world.questions import answer
from mmtutor.world.rows import questions as rows_of


def test_builder_rows_come_in_pairs():
    rows = rows_of._build("test", range(10), 0)
    assert rows["pair"] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    for k in range(0, 10, 2):
        assert rows["question"][k] == rows["question"][k + 1]
        assert rows["answer"][k] != rows["answer"][k + 1]
    for question, expected, scene in zip(rows["question"], rows["answer"], rows["scene"], strict=True):
        assert answer(question, scene) == expected
    alone = rows_of._build("test", range(7, 8), 0)
    assert alone["scene"] == rows["scene"][7:8]
    assert (alone["image"][0] == rows["image"][7]).all()
