"""Rows of dishes: each by itself and as declared."""

import numpy as np

from mmtutor.world.rows import dishes as rows_of


def test_builder_gives_each_sample_by_itself():
    whole, part = rows_of._build("test", range(0, 6), 0), rows_of._build("test", range(3, 5), 0)
    assert set(rows_of._features()) == set(whole)
    for name, values in part.items():
        for a, b in zip(values, whole[name][3:5], strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert rows_of._build("test", range(0, 1), 0, pixels=128)["image"][0].shape == (128, 128, 3)
