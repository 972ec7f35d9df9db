"""Clips: the order of the frames is the meaning."""

import hashlib
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtutor.world import cast, clips
from mmtutor.world.captions import Verdict
from mmtutor.world.clips import REVERSED, UNITS, Actor, Clip, Key, happenings, is_true

SOME = [clips.sample("train", index) for index in range(300)]
CAPTIONS = [clips.captions(clip, seed) for seed, clip in enumerate(SOME)]
PAIRS = [(caption, clip) for clip, row in zip(SOME, CAPTIONS, strict=True) for caption in row]
BACKWARDS = range(clips.FRAMES - 1, -1, -1)


def line(name: str, start: tuple, end: tuple, mirrored: bool = False) -> Actor:
    return Actor(name, (Key(0, *start), Key(UNITS, *end)), mirrored)


HAND = {
    "enters": Clip("field", (line("dog", (-300, 500, 300), (500, 500, 300)),)),
    "leaves": Clip("field", (line("dog", (500, 500, 300), (1400, 500, 300)),)),
    "grows": Clip("field", (line("dog", (500, 500, 200), (500, 500, 400)),)),
    "shrinks": Clip("field", (line("dog", (500, 500, 400), (500, 500, 200)),)),
    "rises": Clip("field", (line("dog", (500, 800, 200), (500, 200, 200)),)),
    "falls": Clip("field", (line("dog", (500, 200, 200), (500, 800, 200)),)),
    "moves left": Clip("field", (line("dog", (800, 500, 200), (200, 500, 200)),)),
    "moves right": Clip("field", (line("dog", (200, 500, 200), (800, 500, 200)),)),
    "stands still": Clip("field", (Actor("dog", (Key(0, 500, 500, 300),)),)),
    "appears": Clip("field", (Actor("dog", (Key(0, 500, 500, 300, False), Key(500, 500, 500, 300, True))),)),
    "disappears": Clip("field", (Actor("dog", (Key(0, 500, 500, 300, True), Key(500, 500, 500, 300, False))),)),
    "approaches": Clip("field", (Actor("car", (Key(0, 800, 500, 240),)), line("dog", (180, 500, 240), (560, 500, 240)))),
    "flees from": Clip("field", (Actor("car", (Key(0, 800, 500, 240),)), line("dog", (560, 500, 240), (180, 500, 240)))),
}  # fmt: skip


@pytest.mark.parametrize("verb", sorted(HAND))
def test_known_clips(verb):
    clip = HAND[verb]
    told = {(h.subject, h.verb) for h in happenings(clip)}
    assert ("dog", verb) in told
    assert ("dog", REVERSED[verb]) not in told or REVERSED[verb] == verb
    backwards = {(h.subject, h.verb) for h in happenings(clip, BACKWARDS)}
    assert ("dog", REVERSED[verb]) in backwards


@pytest.mark.parametrize(
    ("caption", "verb", "expected"),
    [
        ("the dog enters", "enters", "true"),
        ("a dog comes in from the left on the grass", "enters", "true"),
        ("the dog enters from the right", "enters", "false"),
        ("the dog leaves", "enters", "false"),
        ("the dog leaves to the right", "leaves", "true"),
        ("the cat enters", "enters", "false"),
        ("in the snow the dog enters", "enters", "false"),
        ("the dog approaches the car", "approaches", "true"),
        ("the car approaches the dog", "approaches", "false"),
        ("the dog runs away from a car in the field", "flees from", "true"),
        ("the dog runs away from an car", "flees from", "unparsable"),
        ("the dog enters the car", "enters", "unparsable"),
        ("the dog", "enters", "unparsable"),
        ("", "enters", "unparsable"),
        ("enters dog the", "enters", "unparsable"),
        ("the dog is growing", "grows", "true"),
        ("the dog does not move", "grows", "false"),
        ("a apple grows", "grows", "unparsable"),
    ],
)
def test_known_captions(caption, verb, expected):
    assert str(is_true(caption, HAND[verb])) == expected


def test_known_order_of_two_events():
    dog = Actor("dog", (Key(0, 250, 500, 200), Key(400, 250, 500, 400)))
    cat = Actor("cat", (Key(600, 750, 500, 400), Key(1000, 750, 500, 200)))
    clip = Clip("room", (dog, cat))
    for caption, expected in [
        ("the dog grows and then the cat shrinks", True),
        ("the dog grows before the cat shrinks in the room", True),
        ("the cat shrinks after the dog grows", True),
        ("the cat shrinks before the dog grows", False),
        ("the dog grows after the cat shrinks", False),
        ("the dog grows while the cat shrinks", False),
    ]:
        assert bool(is_true(caption, clip)) == expected, caption
        assert not is_true(caption, clip, BACKWARDS)
    assert is_true("the cat grows and then the dog shrinks", clip, BACKWARDS)
    both = Clip("room", (dog, Actor("cat", (Key(100, 750, 500, 400), Key(500, 750, 500, 200)))))
    assert is_true("the dog grows while the cat shrinks", both)


def test_every_verb_occurs_and_every_clip_has_one():
    verbs = Counter(h.verb for clip in SOME for h in happenings(clip))
    assert set(verbs) == set(clips.VERBS)
    assert min(verbs.values()) >= 5
    assert all(happenings(clip) for clip in SOME)


def test_running_backwards_turns_every_verb_round():
    """What the reversed frames show is exactly the table of opposites applied to what the frames show."""
    for clip in SOME:
        forwards = Counter((h.subject, REVERSED[h.verb], h.object) for h in happenings(clip))
        backwards = Counter((h.subject, h.verb, h.object) for h in happenings(clip, BACKWARDS))
        assert forwards == backwards


def test_captions_are_true_and_different():
    for row in CAPTIONS:
        assert len(set(row)) == 5
    for caption, clip in PAIRS:
        assert is_true(caption, clip) is Verdict.TRUE, caption
        assert 4 <= len(caption.split()) <= 20
    assert len({caption for caption, _ in PAIRS}) > 0.8 * len(PAIRS)


def test_reversed_frames_make_captions_false():
    """All but those about things that stand still, which is the one verb that has no direction."""
    for caption, clip in PAIRS:
        still = "stands still" in caption or "does not move" in caption
        assert bool(is_true(caption, clip, BACKWARDS)) == still, caption


def test_shuffled_frames_make_most_captions_false():
    random_ = random.Random(0)
    false = total = 0
    for caption, clip in PAIRS:
        if "stands still" in caption or "does not move" in caption:
            continue
        order = list(range(clips.FRAMES))
        random_.shuffle(order)
        total += 1
        false += is_true(caption, clip, order) is Verdict.FALSE
    assert false > 0.97 * total


def test_some_frames_only():
    whole, some = clips.render(HAND["rises"], 64), clips.render(HAND["rises"], 64, only=(7, 0))
    assert np.array_equal(some.frames, whole.frames[[7, 0]])
    assert some.boxes == [whole.boxes[7], whole.boxes[0]]
    for wrong in ((), (12,), (-1,)):
        with pytest.raises(ValueError, match="only must name one frame or more, each from 0 to 11"):
            clips.render(HAND["rises"], 64, only=wrong)


def test_a_bag_of_frames_is_the_same_backwards():
    """The pictures of a clip and of its mirror in time are the same set, so only their order can tell the verb."""
    forwards = clips.render(HAND["rises"], 64).frames
    backwards = clips.render(HAND["falls"], 64).frames
    assert (
        np.abs(
            np.sort(forwards.reshape(12, -1), 0).astype(int) - np.sort(backwards.reshape(12, -1), 0)
        ).mean()
        < 3
    )
    assert np.abs(forwards.astype(int) - backwards).mean() > 3


@pytest.mark.parametrize("frames", [8, 12, 16])
def test_truth_does_not_hang_on_the_number_of_frames(frames):
    for clip in SOME[:80]:
        told = Counter((h.subject, h.verb, h.object) for h in happenings(clip))
        assert (
            Counter((h.subject, h.verb, h.object) for h in happenings(clip, frames=frames)) == told
        )


def test_boxes_follow_the_actors():
    for clip in SOME[:25]:
        drawn = clips.render(clip, 64)
        assert drawn.frames.shape == (12, 64, 64, 3)
        assert drawn.frames.dtype == np.uint8
        for row, boxes in zip(clips.states(clip), drawn.boxes, strict=True):
            for actor, key, box in zip(clip.actors, row, boxes, strict=True):
                if not key.shown or clips._outside(actor.name, key):
                    assert box == [0, 0, 0, 0]
                elif clips._inside(actor.name, key) and box != [0, 0, 0, 0]:
                    truth = [v * 64 / UNITS for v in clips._box(actor.name, key)]
                    assert box[0] >= truth[0] - 2
                    assert box[3] <= truth[3] + 2
        if len(clip.actors) == 1 and all(key.shown for key in clip.actors[0].keys):
            seen = [box[0] for box in drawn.boxes]
            assert any(box != [0, 0, 0, 0] for box in seen)


def test_held_out_and_splits():
    assert len(clips.HELD_OUT_VERBS) >= 10
    assert not any(clips.held_out(clip) for clip in SOME)
    assert not any(clips.held_out(clips.sample("test", index)) for index in range(60))
    assert all(clips.held_out(clips.sample("test_unseen_verbs", index)) for index in range(60))
    assert all(clip.variant % 4 for clip in SOME)
    assert not any(clips.sample("test", index).variant % 4 for index in range(60))
    assert clips.sample("test", 5) == clips.sample("test", 5) != clips.sample("test", 5, seed=1)


def test_json_round_trip():
    for clip in SOME[:50]:
        assert Clip.from_json(clip.to_json()) == clip


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([one.name for one in cast.CAST]),
            st.lists(
                st.tuples(
                    st.integers(0, UNITS), st.integers(-600, 1600), st.integers(-600, 1600), st.integers(16, 900), st.booleans()
                ),
                min_size=1, max_size=4, unique_by=lambda key: key[0],
            ),
        ),
        min_size=1, max_size=3, unique_by=lambda actor: actor[0],
    ),
    st.permutations(range(12)),
)  # fmt: skip
def test_any_movement_is_drawn_and_judged(rows, order):
    """Also wild ones. Opposite verbs never hold together, and playing backwards twice is playing forwards."""
    actors = tuple(Actor(name, tuple(Key(*key) for key in sorted(keys))) for name, keys in rows)
    clip = Clip("sea", actors)
    assert clips.render(clip, 32, 8).frames.shape == (8, 32, 32, 3)
    told = {(h.subject, h.verb, h.object) for h in happenings(clip, order)}
    for subject, verb, other in told:
        if REVERSED[verb] != verb and verb not in ("enters", "leaves"):
            assert (subject, REVERSED[verb], other) not in told
    reversed_order = list(order)[::-1]
    assert {(s, REVERSED[v], o) for s, v, o in told} == {
        (h.subject, h.verb, h.object) for h in happenings(clip, reversed_order)
    }


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=50))
def test_any_text_gets_a_verdict(text):
    assert is_true(text, SOME[0]) in set(Verdict)


def test_the_truth_is_the_same_everywhere():
    """The digest of a table of truths: on every machine and version the same. Change it only with the world itself."""
    table = []
    for split in clips.SPLITS:
        for index in range(40):
            clip = clips.sample(split, index)
            table += [clip.to_json(), *clips.captions(clip, index)]
    assert hashlib.sha256("\n".join(table).encode()).hexdigest()[:16] == "b16fb1f7f520f882"


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="field, beach"):
        Clip("nowhere", SOME[0].actors)
    with pytest.raises(ValueError, match="1 to 3 actors"):
        Clip("field", ())
    with pytest.raises(ValueError, match="different names"):
        Clip("field", SOME[0].actors[:1] * 2)
    with pytest.raises(ValueError, match="rising times"):
        Clip("field", (Actor("dog", (Key(5, 0, 0, 100), Key(5, 9, 9, 100))),))
    with pytest.raises(ValueError, match="The cast is"):
        Clip("field", (Actor("dragon", (Key(0, 0, 0, 100),)),))
    with pytest.raises(ValueError, match="8 to 16"):
        clips.draw_clip(SOME[0], 64, 40)
    with pytest.raises(TypeError, match="whole number"):
        clips.draw_clip(SOME[0], 64, 8.0)
    with pytest.raises(ValueError, match="32 to 1024"):
        clips.draw_clip(SOME[0], 5)
    with pytest.raises(TypeError, match="expected a Clip"):
        clips.draw_clip(3)
    with pytest.raises(ValueError, match="not a clip"):
        Clip.from_json("{}")
    with pytest.raises(ValueError, match="each of the frames"):
        happenings(SOME[0], [0, 1, 2])
    with pytest.raises(ValueError, match="train, test"):
        clips.sample("valid", 0)
    with pytest.raises(ValueError, match="counts from 0"):
        clips.sample("train", -1)
    with pytest.raises(TypeError, match="must be a string"):
        is_true(None, SOME[0])
    with pytest.raises(ValueError, match="1 to 20"):
        clips.captions(SOME[0], 0, 21)
