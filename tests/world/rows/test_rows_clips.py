"""Rows of clips: each by itself, as declared, with true captions."""

from mmtutor.world.clips import is_true
from mmtutor.world.rows import clips as rows_of


def test_builder_gives_each_sample_by_itself():
    whole, part = rows_of._build("test", range(0, 5), 0), rows_of._build("test", range(3, 5), 0)
    assert whole["clip"][3:] == part["clip"]
    assert whole["captions"][3:] == part["captions"]
    assert (whole["frames"][4] == part["frames"][1]).all()
    assert set(rows_of._features()) == set(whole)
    for caption_row, text in zip(whole["captions"], whole["clip"], strict=True):
        assert all(is_true(caption, text) for caption in caption_row)
