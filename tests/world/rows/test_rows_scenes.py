"""Rows of scenes and portraits: each by itself, as declared, and true."""

import numpy as np

from mmtutor.world import cast, scenes
from mmtutor.world.rows import scenes as rows_of


def test_builder_gives_each_sample_by_itself():
    whole = rows_of._build("train", range(0, 12), 0)
    part = rows_of._build("train", range(7, 9), 0)
    for name, values in part.items():
        for a, b in zip(values, whole[name][7:9], strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert all(len(row) == 5 for row in whole["captions"])
    big = rows_of._build("train", range(0, 2), 0, pixels=160)
    assert big["scene"] == whole["scene"][:2]
    assert big["image"][0].shape == (160, 160, 3)


def test_columns_fit_the_declared_features():
    for pixels in (64, 96):
        features = rows_of._features(pixels)
        rows = rows_of._build("test", range(3), 0, pixels=pixels)
        assert set(features) == set(rows)
        assert features["image"].shape == rows["image"][0].shape


def test_a_smaller_world_gives_its_own_scenes():
    rows = rows_of._build("train", range(4), 0, things=12)
    assert rows["scene"] == [scene.to_json() for scene in scenes.each("train", 4, things=12)]


def test_portraits_say_who_is_seen():
    rows, part = rows_of._build_portraits("test", range(6), 0), rows_of._build_portraits("test", range(4, 5), 0)
    assert set(rows_of._portrait_features()) == set(rows)
    assert rows["scene"][4:5] == part["scene"]
    assert (rows["image"][4] == part["image"][0]).all()
    for name, korean, kind in zip(rows["name"], rows["korean"], rows["kind"], strict=True):
        assert (cast.thing(name).korean, cast.thing(name).kind) == (korean, kind)
