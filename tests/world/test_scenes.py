"""Scenes: what is drawn is what is said to be there."""

import hashlib
import subprocess
import sys
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtutor.world import _backgrounds, cast, scenes
from mmtutor.world.scenes import OPPOSITE, RELATIONS, UNITS, Placed, Scene

SOME = [scenes.sample("train", index) for index in range(400)]


def test_there_are_enough_of_everything():
    assert len(scenes.BACKGROUNDS) >= 6
    assert set(Counter(len(scene.things) for scene in SOME)) == {1, 2, 3, 4}
    assert {scene.background for scene in SOME} == set(scenes.BACKGROUNDS)
    assert {one.name for scene in SOME for one in scene.things} == {one.name for one in cast.SCENIC}
    assert {one.size for scene in SOME for one in scene.things} == set(scenes.SIZES)
    assert {relation for scene in SOME for _, relation, _ in scene.relations} == set(RELATIONS)
    assert any(max(Counter(one.name for one in scene.things).values()) >= 3 for scene in SOME)


def test_a_scene_depends_on_its_address_only():
    forwards = [scenes.sample("test", index) for index in range(20)]
    scenes._numbered.cache_clear()
    backwards = [scenes.sample("test", index) for index in reversed(range(20))]
    assert forwards == backwards[::-1]
    assert scenes.sample("test", 3, seed=1) != scenes.sample("test", 3)
    assert len(set(forwards)) == len(forwards)


def test_another_process_with_another_hash_seed_makes_the_same_truth():
    code = (
        "import hashlib; from mmtutor.world import scenes;"
        "print(hashlib.sha256(''.join(scenes.sample(s, i).to_json() for s in scenes.SPLITS for i in range(8)).encode()).hexdigest())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }  # fmt: skip
    here = "".join(
        scenes.sample(split, index).to_json() for split in scenes.SPLITS for index in range(8)
    )
    assert outputs == {hashlib.sha256(here.encode()).hexdigest()}


def test_train_and_test_share_no_scene_and_no_ground():
    for split in scenes.SPLITS:
        residues = {scene.variant % 4 == 0 for scene in scenes.each(split, 100)}
        assert residues == {split != "train"}


def test_held_out_combinations_stay_out():
    for scene in [*SOME, *scenes.each("test", 200)]:
        assert not scenes.held_out(scene)


@pytest.mark.parametrize("what", ["places", "relations", "pairs"])
def test_unseen_splits_show_what_was_held_out(what):
    for scene in scenes.each(f"test_unseen_{what}", 60):
        assert what in scenes.held_out(scene)
        # found again here from the names alone
        names = [one.name for one in scene.things]
        if what == "places":
            assert any((name, scene.background) in scenes.HELD_OUT_PLACES for name in names)
        elif what == "pairs":
            assert any(frozenset(pair) in scenes.HELD_OUT_PAIRS for pair in combinations(names, 2))
        else:
            shown = {(names[i], relation) for i, relation, _ in scene.relations}
            assert shown & scenes.HELD_OUT_RELATIONS


def test_held_out_tables_are_sane():
    assert sorted(name for name, _ in scenes.HELD_OUT_PLACES) == sorted(
        one.name for one in cast.CAST
    )
    assert len(scenes.HELD_OUT_RELATIONS) >= 10
    assert len(scenes.HELD_OUT_PAIRS) >= 50


def test_relations_are_what_the_boxes_say():
    """Recomputed from boxes and centres, without the module's own rules."""
    for scene in SOME:
        edges = set(scene.relations)
        for i, first in enumerate(scene.things):
            for j, second in enumerate(scene.things):
                if i == j:
                    continue
                dx, dy = second.x - first.x, second.y - first.y
                assert ((i, "left of", j) in edges) == (dx >= 190 and abs(dy) <= 2 * dx)
                assert ((i, "above", j) in edges) == (dy >= 190 and abs(dx) <= 2 * dy)
                a, b = first.box, second.box
                apart = max(b[0] - a[2], a[0] - b[2], b[1] - a[3], a[1] - b[3])
                assert ((i, "near", j) in edges) == (apart <= 64)
                assert ((i, "far from", j) in edges) == (apart >= 256)
                assert ((i, "in front of", j) in edges) == (apart < 0 and i > j)


def test_relations_come_with_their_opposites():
    for scene in SOME:
        edges = set(scene.relations)
        assert edges == {(j, OPPOSITE[relation], i) for i, relation, j in edges}
        for i, relation, j in edges:
            assert scenes.related(scene, i, relation, j)
            if OPPOSITE[relation] != relation:
                assert (i, OPPOSITE[relation], j) not in edges


def test_directions_are_clear_cut():
    """Shifting either thing by 36 units along either axis changes no direction."""
    directions = RELATIONS[:4]
    for scene in SOME[:150]:
        for i, j in combinations(range(len(scene.things)), 2):
            first, second = scene.things[i], scene.things[j]
            told = {r for r in directions if scenes._holds(r, first, second, False)}
            for dx, dy in (
                (36, 0),
                (-36, 0),
                (0, 36),
                (0, -36),
                (36, 36),
                (-36, 36),
                (36, -36),
                (-36, -36),
            ):
                moved = Placed(second.name, second.size, second.x + dx, second.y + dy, second.side)
                assert told == {r for r in directions if scenes._holds(r, first, moved, False)}


@pytest.mark.parametrize("size", [64, 160])
def test_boxes_and_masks_are_what_is_visible(size):
    for scene in SOME[:60]:
        drawn = scenes.render(scene, size)
        assert drawn.image.shape == (size, size, 3)
        assert drawn.image.dtype == drawn.owner.dtype == np.uint8
        parts = scenes.masks(drawn.owner, len(scene.things))
        assert parts.sum(0).max() <= 1
        for one, mask, (x0, y0, x1, y1) in zip(scene.things, parts, drawn.boxes, strict=True):
            assert mask.any()
            ys, xs = np.nonzero(mask)
            assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == (x0, y0, x1, y1)
            # the drawn box lies within the box of the truth, to two pixels
            truth = [unit * size / UNITS for unit in one.box]
            assert x0 >= truth[0] - 2
            assert y0 >= truth[1] - 2
            assert x1 <= truth[2] + 2
            assert y1 <= truth[3] + 2


def test_masks_mark_the_pixels_that_a_thing_changes():
    """Taking a thing away changes nearly all pixels of its mask (white on snow aside), none farther than its rim."""
    shares = []
    for scene in SOME[:60]:
        if len(scene.things) < 2:
            continue
        full = scenes.render(scene, 128)
        rest = scenes.render(Scene(scene.background, scene.things[:-1], scene.variant), 128)
        changed = (full.image != rest.image).any(-1)
        mask = full.owner == len(scene.things)
        shares.append(changed[mask].mean())
        grown = np.asarray(
            [np.roll(mask, (dy, dx), (0, 1)) for dy in range(-4, 5) for dx in range(-4, 5)]
        ).any(0)
        assert not changed[~grown].any()
    assert np.mean(shares) > 0.95


def test_things_are_mostly_visible_and_large_enough():
    shares, pixels = [], []
    for scene in SOME:
        drawn = scenes.render(scene, 64)
        for number, one in enumerate(scene.things):
            alone = np.zeros((64, 64), np.uint8)
            scenes.lay(np.zeros((64, 64, 3), np.uint8), alone, number, one, 64)
            shares.append((drawn.owner == number + 1).sum() / alone.astype(bool).sum())
            pixels.append(
                max(
                    drawn.boxes[number][2] - drawn.boxes[number][0],
                    drawn.boxes[number][3] - drawn.boxes[number][1],
                )
            )
    assert min(shares) > 0.15
    assert np.quantile(shares, 0.01) > 0.5
    assert np.mean(np.array(shares) > 0.99) > 0.8
    assert np.quantile(pixels, 0.05) >= 16


def test_grounds_look_different_and_vary():
    """Mean colours of rows tell the grounds apart (nearest centroid), and variants of one are not the same picture."""

    def look(name: str, variant: int) -> np.ndarray:
        return _backgrounds.paint(name, variant, 64).reshape(8, 8, 64, 3).mean((1, 2)).ravel()

    centres = np.stack(
        [np.mean([look(name, v) for v in range(40)], 0) for name in scenes.BACKGROUNDS]
    )
    right = [
        np.argmin(((centres - look(name, v)) ** 2).sum(1)) == k
        for k, name in enumerate(scenes.BACKGROUNDS)
        for v in range(100, 140)
    ]
    assert np.mean(right) > 0.9
    for name in scenes.BACKGROUNDS:
        assert len({_backgrounds.paint(name, v, 64).tobytes() for v in range(40)}) >= 38
        texture = _backgrounds.paint(name, 0, 64).astype(float)
        assert texture.std(axis=(0, 1)).max() > 5


def test_light_never_wraps_round():
    """The lit ground is the texture times the light, cut at 255, computed here in floating point."""
    for variant in range(24):
        assert _backgrounds._light(variant % 12, 64).max() * 255 // 256 < 65536
    bright = [_backgrounds.paint("snow", v, 64).astype(float) for v in range(30)]
    for picture in bright:  # neighbours in smooth snow never jump from white to black
        assert np.abs(np.diff(picture, axis=1)).max() < 200


def test_json_round_trip():
    for scene in SOME[:100]:
        assert Scene.from_json(scene.to_json()) == scene
        assert (
            scenes.draw_scene(scene.to_json(), 64).tobytes()
            == scenes.draw_scene(scene, 64).tobytes()
        )
    for text in ("", "{}", "[1, 2]", '{"background": "field", "things": [[1]], "variant": 0}'):
        with pytest.raises(ValueError, match="not a scene"):
            Scene.from_json(text)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            Placed,
            st.sampled_from([one.name for one in cast.CAST]),
            st.sampled_from(scenes.SIZES),
            st.integers(0, UNITS),
            st.integers(0, UNITS),
            st.integers(16, UNITS),
            st.booleans(),
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(scenes.BACKGROUNDS),
    st.integers(0, 10**6),
    st.integers(32, 100),
)
def test_any_scene_can_be_drawn(things, background, variant, size):
    """Also scenes that nobody would sample: half outside, on top of each other, any member of the cast."""
    scene = Scene(background, tuple(things), variant)
    drawn = scenes.render(scene, size)
    assert drawn.image.shape == (size, size, 3)
    assert int(drawn.owner.max()) <= len(things)
    for number, box in enumerate(drawn.boxes):
        assert (box == [0, 0, 0, 0]) == (not (drawn.owner == number + 1).any())
    edges = set(scene.relations)
    assert edges == {(j, OPPOSITE[relation], i) for i, relation, j in edges}


def test_a_smaller_world_is_made_of_fewer_things_of_every_kind():
    assert scenes.pool() == tuple(one.name for one in cast.SCENIC)
    kinds = {one.kind for one in cast.SCENIC}
    for things in (12, 24, 36):
        names = scenes.pool(things)
        assert len(names) == things
        assert set(names) <= set(scenes.pool(things + 1))
        assert len({cast.thing(name).kind for name in names}) >= min(things, len(kinds)) - 1
        for split in scenes.SPLITS:
            some = list(scenes.each(split, 60, things=things))
            assert {one.name for scene in some for one in scene.things} <= set(names)
            what = split.rpartition("_")[2]
            assert all((what in scenes.held_out(scene)) == ("unseen" in split) for scene in some)
    for things in (11, 0, 1000):
        with pytest.raises(ValueError, match="12 to"):
            scenes.sample("train", 0, things=things)


def test_portraits_show_the_whole_cast():
    seen = [scenes.portrait("train", index) for index in range(1500)]
    assert {scene.things[0].name for scene in seen} == {one.name for one in cast.CAST}
    assert all(len(scene.things) == 1 for scene in seen)
    assert all(scene.variant % 4 for scene in seen)
    for index in range(100):
        test, unseen = scenes.portrait("test", index), scenes.portrait("test_unseen_places", index)
        assert test.variant % 4 == unseen.variant % 4 == 0
        assert (test.things[0].name, test.background) not in scenes.HELD_OUT_PLACES
        assert (unseen.things[0].name, unseen.background) in scenes.HELD_OUT_PLACES
    with pytest.raises(ValueError, match="train, test"):
        scenes.portrait("valid", 0)
    with pytest.raises(ValueError, match="counts from 0"):
        scenes.portrait("train", -1)


def test_a_smaller_world_of_portraits_has_one_thing_of_each_kind():
    assert scenes.portrait_pool() == tuple(one.name for one in cast.CAST)
    assert (
        len({cast.thing(name).kind for name in scenes.portrait_pool(12)})
        == len(scenes.portrait_pool(12))
        == 12
    )
    seen = Counter(
        scenes.portrait("train", index, things=12).things[0].name for index in range(600)
    )
    assert set(seen) == set(scenes.portrait_pool(12))
    for things in (11, 100, scenes.WHOLE_CAST + 1):
        with pytest.raises(ValueError, match="portraits have 12 to"):
            scenes.portrait("train", 0, things=things)


@pytest.mark.parametrize("things", [12, 24, scenes.WHOLE_CAST])
def test_more_combinations_are_held_out_of_portraits_on_demand(things):
    names = scenes.portrait_pool(things)
    for count in (1, 2, 3):
        apart = {
            (name, ground) for name in names for ground in scenes.held_out_grounds(name, count)
        }
        assert len(apart) == count * things  # 12, 24 and 36 of 96 in a world of 12 things
        shown = Counter(ground for _, ground in apart)
        if count > 1 and things in (
            12,
            scenes.WHOLE_CAST,
        ):  # every ground loses about as many things
            assert (
                max(shown[ground] for ground in scenes.BACKGROUNDS)
                <= min(shown[g] for g in scenes.BACKGROUNDS) + 1
            )
        if count > 1:  # fewer are the beginning of more
            assert all(
                scenes.held_out_grounds(n, count)[: count - 1]
                == scenes.held_out_grounds(n, count - 1)
                for n in names
            )
        for split in scenes.PORTRAIT_SPLITS:
            some = [
                scenes.portrait(split, index, 1, things, "centred", count) for index in range(150)
            ]
            unseen = [(scene.things[0].name, scene.background) in apart for scene in some]
            assert all(unseen) if split == "test_unseen_places" else not any(unseen)
            assert all((scene.variant % 4 > 0) == (split == "train") for scene in some)
    assert {(name, scenes.held_out_grounds(name)[0]) for name in names} <= scenes.HELD_OUT_PLACES
    for wrong in (0, 4):
        with pytest.raises(ValueError, match="1 to 3 grounds"):
            scenes.portrait("train", 0, held_out=wrong)


def test_centred_portraits_are_large_and_near_the_middle():
    some = [scenes.portrait("train", index, framing="centred") for index in range(400)]
    for scene in some:
        (one,) = scene.things
        assert 560 <= one.side <= 752
        assert one.size == "large"
        assert max(abs(one.x - 512), abs(one.y - 512)) <= 80
        left, top, right, bottom = one.box
        assert min(left, top) >= 0
        assert max(right, bottom) <= UNITS
    assert min(scene.things[0].x for scene in some) < 450
    assert max(scene.things[0].y for scene in some) > 574
    with pytest.raises(ValueError, match="anywhere, centred"):
        scenes.portrait("train", 0, framing="left")


def test_swapping_changes_the_thing_and_nothing_else():
    for scene in SOME[:40]:
        other = scenes.swap(scene, 0, "queen")
        assert other.things[0].name == "queen"
        assert other.things[1:] == scene.things[1:]
        assert (other.background, other.variant) == (scene.background, scene.variant)
        a, b = scenes.render(scene, 96), scenes.render(other, 96)
        changed = (a.image != b.image).any(-1)
        box = np.array(
            [np.minimum(a.boxes[0][:2], b.boxes[0][:2]), np.maximum(a.boxes[0][2:], b.boxes[0][2:])]
        )
        outside = np.ones_like(changed)
        outside[
            max(0, box[0, 1] - 24) : box[1, 1] + 24, max(0, box[0, 0] - 24) : box[1, 0] + 24
        ] = False
        assert not changed[outside].any()
    with pytest.raises(ValueError, match="no number 9"):
        scenes.swap(SOME[0], 9, "dog")
    with pytest.raises(ValueError, match="The cast is"):
        scenes.swap(SOME[0], 0, "dragon")


def test_the_truth_is_the_same_everywhere():
    """The digest of a table of truths: on every machine and version the same. Change it only with the world itself."""
    table = [
        scenes.sample(split, index).to_json() for split in scenes.SPLITS for index in range(40)
    ]
    assert hashlib.sha256("\n".join(table).encode()).hexdigest()[:16] == "5022d7c0373eff8e"


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"'nowhere'.*field, beach"):
        Scene("nowhere", (Placed("dog", "small", 500, 500, 300),))
    with pytest.raises(ValueError, match="The cast is"):
        Scene("field", (Placed("dragon", "small", 500, 500, 300),))
    with pytest.raises(ValueError, match="small, large"):
        Scene("field", (Placed("dog", "huge", 500, 500, 300),))
    with pytest.raises(ValueError, match="1 to 4"):
        Scene("field", ())
    with pytest.raises(ValueError, match="within 0 to 1024"):
        Scene("field", (Placed("dog", "small", 2000, 500, 300),))
    with pytest.raises(ValueError, match="units"):
        Scene("field", (Placed("dog", "small", 500, 500, 3),))
    with pytest.raises(ValueError, match="train, test"):
        scenes.sample("validation", 0)
    with pytest.raises(ValueError, match="counts from 0"):
        scenes.sample("train", -1)
    for size in (0, 31, 1025):
        with pytest.raises(ValueError, match="32 to 1024"):
            scenes.draw_scene(SOME[0], size)
    with pytest.raises(TypeError, match="expected a Scene"):
        scenes.draw_scene(["dog"])
    with pytest.raises(ValueError, match="there are: left of"):
        scenes.related(SOME[0], 0, "inside", 1)
    with pytest.raises(ValueError, match="no pair"):
        scenes.related(SOME[0], 0, "left of", 0)
