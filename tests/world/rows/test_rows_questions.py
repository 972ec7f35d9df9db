"""Rows of questions: twins side by side, each with its true answer."""

import pytest

from mmtutor.world import questions
from mmtutor.world.questions import answer
from mmtutor.world.rows import questions as rows_of


def test_builder_rows_come_in_pairs():
    rows = rows_of._build("test", range(10), 0)
    assert rows["pair"] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    for k in range(0, 10, 2):
        assert rows["question"][k] == rows["question"][k + 1]
        assert rows["answer"][k] != rows["answer"][k + 1]
    for question, expected, scene in zip(
        rows["question"], rows["answer"], rows["scene"], strict=True
    ):
        assert answer(question, scene) == expected
    alone = rows_of._build("test", range(7, 8), 0)
    assert alone["scene"] == rows["scene"][7:8]
    assert (alone["image"][0] == rows["image"][7]).all()


@pytest.mark.parametrize("kind", questions.TYPES)
def test_questions_of_one_type_on_demand(kind):
    only = kind.replace("/", "-").replace(" ", "-")
    assert only in rows_of.DATASETS["questions"].options["only"]
    rows = rows_of._build("train", range(8), 0, things=12, only=only)
    assert set(rows["type"]) == {kind}
    assert rows["subtype"] == [questions.subtype(question) for question in rows["question"]]
    assert set(rows_of._features(only=only)) == set(rows)
