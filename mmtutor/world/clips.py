"""Clips: short moving scenes whose verb depends on the order of the frames.

Played backwards, who enters leaves, what grows shrinks, what rises falls, who approaches flees, who
picks up puts down. So no bag of frames can tell the verb. A :class:`Clip` is its own truth: a
ground and actors that move along straight lines between key positions, in whole numbers on the
square of 1024 by 1024 units and a time of 0 to 1024. What happens in it is read off the frames in
their order (:func:`happenings`), so it can be asked of the same frames in another order, too:
``is_true(caption, clip, order=range(11, -1, -1))``.

>>> from mmtutor.world import clips
>>> clip = clips.sample("train", 0)
>>> pictures = clips.draw_clip(clip, 64)
>>> len(pictures)
12
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmtutor.world import cast, scenes
from mmtutor.world._backgrounds import BACKGROUNDS, paint
from mmtutor.world._dice import Dice
from mmtutor.world.captions import GROUND_WORDS, Verdict
from mmtutor.world.scenes import UNITS, Placed

if TYPE_CHECKING:
    from PIL import Image

FRAMES = 12
MIN_FRAMES, MAX_FRAMES = 8, 16
SPLITS: tuple[str, ...] = ("train", "test", "test_unseen_verbs")
PER_CLIP = 5

#: verb -> the verb that is seen when the frames run backwards
REVERSED: dict[str, str] = {
    "enters": "leaves",
    "leaves": "enters",
    "grows": "shrinks",
    "shrinks": "grows",
    "rises": "falls",
    "falls": "rises",
    "moves left": "moves right",
    "moves right": "moves left",
    "appears": "disappears",
    "disappears": "appears",
    "approaches": "flees from",
    "flees from": "approaches",
    "picks up": "puts down",
    "puts down": "picks up",
    "stands still": "stands still",
}
VERBS: tuple[str, ...] = tuple(REVERSED)
TRANSITIVE: tuple[str, ...] = ("approaches", "flees from", "picks up", "puts down")
#: Who can carry things.
CARRIERS: tuple[str, ...] = tuple(one.name for one in cast.things("person")) + ("robot",)
_ACTORS = tuple(one.name for one in cast.SCENIC if one.kind != "building")
_CARRIED = tuple(
    one.name
    for one in cast.SCENIC
    if one.kind in ("fruit", "snack", "toy", "tool", "instrument", "garment")
)

_FAR_MOVE = 280  # units that "rises", "moves left" and the like take at least


class Key(NamedTuple):
    """Where an actor is at a time: centre and side in units (time 0 to 1024), and whether it is
    there at all."""

    time: int
    x: int
    y: int
    side: int
    shown: bool = True


@dataclass(frozen=True)
class Actor:
    """A thing that moves in straight lines from key to key.

    Attributes:
        name: a member of the cast.
        keys: one :class:`Key` or more, in order of time; before the first and after the last it
            keeps still.
        mirrored: whether it is drawn mirrored.
    """

    name: str
    keys: tuple[Key, ...]
    mirrored: bool = False

    def at(self, time: int) -> Key:
        """Where it is at a time, in whole numbers."""
        before = self.keys[0]
        if time <= before.time:
            return before._replace(time=time)
        for key in self.keys:
            if key.time > time:
                span, gone = key.time - before.time, time - before.time
                x, y, side = (
                    a + (b - a) * gone // span for a, b in zip(before[1:4], key[1:4], strict=True)
                )
                return Key(time, x, y, side, before.shown)
            before = key
        return before._replace(time=time)


@dataclass(frozen=True)
class Clip:
    """A moving scene.

    Attributes:
        background: the ground.
        actors: one to three :class:`Actor` with different names; later ones lie in front.
        variant: of the ground; never a multiple of 4 in ``train``.

    Raises:
        ValueError: for an unknown ground or thing, no actors or more than three, two of one name,
            keys out of order.
    """

    background: str
    actors: tuple[Actor, ...]
    variant: int = 1

    def __post_init__(self) -> None:
        if self.background not in BACKGROUNDS:
            raise ValueError(
                f"no background is called {self.background!r}; there are: {', '.join(BACKGROUNDS)}"
            )
        names = [actor.name for actor in self.actors]
        if not 1 <= len(names) <= 3 or len(set(names)) < len(names):
            raise ValueError(f"a clip has 1 to 3 actors with different names, not {names}")
        for actor in self.actors:
            cast.thing(actor.name)
            times = [key.time for key in actor.keys]
            if not times or sorted(set(times)) != times or times[0] < 0 or times[-1] > UNITS:
                raise ValueError(
                    f"the keys of {actor.name!r} must have rising times from 0 to {UNITS}, got {times}"
                )

    def to_json(self) -> str:
        """The clip as one line of JSON."""
        rows = [
            [actor.name, int(actor.mirrored), [[*map(int, key)] for key in actor.keys]]
            for actor in self.actors
        ]
        return json.dumps({"background": self.background, "variant": self.variant, "actors": rows})

    @staticmethod
    def from_json(text: str) -> Clip:
        """The clip that :meth:`to_json` wrote.

        Raises:
            ValueError: if the text is not a clip.
        """
        try:
            raw = json.loads(text)
            actors = tuple(
                Actor(
                    name,
                    tuple(Key(*(int(v) for v in key[:4]), bool(key[4])) for key in keys),
                    bool(mirrored),
                )
                for name, mirrored, keys in raw["actors"]
            )
            return Clip(raw["background"], actors, int(raw["variant"]))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"not a clip in JSON: {error!r}") from None


def _check_frames(frames: int) -> int:
    if isinstance(frames, bool) or not hasattr(frames, "__index__"):
        raise TypeError(f"the number of frames must be a whole number, got {frames!r}")
    if not MIN_FRAMES <= frames <= MAX_FRAMES:
        raise ValueError(f"a clip has {MIN_FRAMES} to {MAX_FRAMES} frames, got {frames}")
    return int(frames)


def states(clip: Clip, frames: int = FRAMES) -> list[list[Key]]:
    """Where every actor is in every frame: ``states(clip)[frame][actor]``.

    Raises:
        ValueError: for fewer than 8 or more than 16 frames.
    """
    frames = _check_frames(frames)
    return [
        [actor.at(frame * UNITS // (frames - 1)) for actor in clip.actors]
        for frame in range(frames)
    ]


# --------------------------------------------------------------------------------------------------
# What happens


class Happening(NamedTuple):
    """Something that happens: who, what, with whom (or from or to which side), and from which frame
    to which."""

    subject: str
    verb: str
    object: str | None
    start: int
    end: int


def _box(name: str, key: Key) -> tuple[int, int, int, int]:
    return Placed(name, "small", key.x, key.y, key.side).box


def _inside(name: str, key: Key) -> bool:
    left, top, right, bottom = _box(name, key)
    return left >= 0 and top >= 0 and right <= UNITS and bottom <= UNITS


def _outside(name: str, key: Key) -> bool:
    left, top, right, bottom = _box(name, key)
    return right <= 0 or bottom <= 0 or left >= UNITS or top >= UNITS


def _gap(first: str, a: Key, second: str, b: Key) -> int:
    return scenes.gap(
        Placed(first, "small", a.x, a.y, a.side), Placed(second, "small", b.x, b.y, b.side)
    )


def _rising(values: Sequence[int], by: int) -> bool:
    """Whether values never fall and gain at least ``by``."""
    return values[-1] - values[0] >= by and all(a <= b for a, b in pairwise(values))


def _span(track: Sequence[Key]) -> tuple[int, int]:
    """The frames from the last one before a change to the one with which changing ends."""
    changes = [k for k in range(1, len(track)) if track[k][1:] != track[k - 1][1:]]
    return (changes[0] - 1, changes[-1]) if changes else (0, 0)


def _alone(name: str, track: Sequence[Key]) -> Iterator[tuple[str, str | None]]:
    """What one actor does by itself: (verb, side)."""
    first, last = track[0], track[-1]
    xs, ys, sides = ([key[k] for key in track] for k in (1, 2, 3))
    shown = [key.shown for key in track]
    if not all(shown):
        if all(a <= b for a, b in pairwise(shown)) and shown[-1]:
            yield "appears", None
        if all(a >= b for a, b in pairwise(shown)) and shown[0]:
            yield "disappears", None
        return
    if all(key[1:] == first[1:] for key in track):
        yield "stands still", None
    if (
        _outside(name, first)
        and _inside(name, last)
        and (_rising(xs, 1) or _rising([-x for x in xs], 1))
    ):
        yield "enters", "left" if first.x < last.x else "right"
    if (
        _inside(name, first)
        and _outside(name, last)
        and (_rising(xs, 1) or _rising([-x for x in xs], 1))
    ):
        yield "leaves", "left" if last.x < first.x else "right"
    if _rising(sides, 1) and 2 * sides[-1] >= 3 * sides[0]:
        yield "grows", None
    if _rising([-s for s in sides], 1) and 2 * sides[0] >= 3 * sides[-1]:
        yield "shrinks", None
    if _rising(ys, _FAR_MOVE):
        yield "falls", None
    if _rising([-y for y in ys], _FAR_MOVE):
        yield "rises", None
    if _rising(xs, _FAR_MOVE):
        yield "moves right", None
    if _rising([-x for x in xs], _FAR_MOVE):
        yield "moves left", None


def _still(track: Sequence[Key]) -> bool:
    return all(key[1:] == track[0][1:] for key in track)


def _takes(first: str, a: Sequence[Key], second: str, b: Sequence[Key]) -> bool:
    """Whether ``a`` comes to ``b``, which lies still, and has it along from then on."""
    rests = next((k for k in range(1, len(b)) if b[k][1:] != b[0][1:]), None)
    if rests is None or rests < 2 or a[0][1:] == a[-1][1:]:
        return False
    gaps = [_gap(first, p, second, q) for p, q in zip(a, b, strict=True)]
    moved = max(abs(b[-1].x - b[0].x), abs(b[-1].y - b[0].y))
    comes = gaps[0] >= 100 and all(x >= y for x, y in pairwise(gaps[:rests]))
    return comes and all(gap < 0 for gap in gaps[rests:]) and moved >= 150


def _together(first: str, a: Sequence[Key], second: str, b: Sequence[Key]) -> Iterator[str]:
    """What one actor does with another."""
    if not all(key.shown for key in (*a, *b)):
        return
    if _takes(first, a, second, b):
        yield "picks up"
    if _takes(first, a[::-1], second, b[::-1]):
        yield "puts down"
    if not _still(b) or not all(_inside(first, key) for key in a):
        return
    gaps = [_gap(first, p, second, q) for p, q in zip(a, b, strict=True)]
    if gaps[0] >= 200 and gaps[-1] <= 64 and _rising([-gap for gap in gaps], 1):
        yield "approaches"
    if gaps[0] <= 64 and gaps[-1] >= 200 and _rising(gaps, 1):
        yield "flees from"


def happenings(
    clip: Clip, order: Sequence[int] | None = None, frames: int = FRAMES
) -> list[Happening]:
    """Everything that happens in a clip, read off its frames.

    Args:
        clip: the clip.
        order: play the frames in this order instead (``[11, 10, ..., 0]`` is backwards).
        frames: how many frames it is shown in.

    Raises:
        ValueError: if ``order`` is not a permutation of the frames.
    """
    played = states(clip, frames)
    if order is not None:
        if sorted(order) != list(range(frames)):
            raise ValueError(
                f"order must hold each of the frames 0 to {frames - 1} once, got {list(order)}"
            )
        played = [played[frame] for frame in order]
    tracks = [[frame[k] for frame in played] for k in range(len(clip.actors))]
    found = []
    for actor, track in zip(clip.actors, tracks, strict=True):
        found += [
            Happening(actor.name, verb, side, *_span(track))
            for verb, side in _alone(actor.name, track)
        ]
        for other, its in zip(clip.actors, tracks, strict=True):
            if other is not actor:
                for verb in _together(actor.name, track, other.name, its):
                    found.append(Happening(actor.name, verb, other.name, *_span(track)))
    return found


# --------------------------------------------------------------------------------------------------
# Words

_VERB_WORDS: dict[str, tuple[str, ...]] = {
    "enters": ("enters", "comes in"),
    "leaves": ("leaves", "goes out"),
    "grows": ("grows", "gets bigger", "is growing"),
    "shrinks": ("shrinks", "gets smaller", "is shrinking"),
    "rises": ("rises", "goes up", "is rising"),
    "falls": ("falls", "goes down", "is falling"),
    "moves left": ("moves to the left", "goes left"),
    "moves right": ("moves to the right", "goes right"),
    "appears": ("appears", "shows up"),
    "disappears": ("disappears", "vanishes"),
    "approaches": ("approaches", "moves towards", "comes closer to"),
    "flees from": ("flees from", "moves away from", "runs away from"),
    "picks up": ("picks up", "takes"),
    "puts down": ("puts down", "drops"),
    "stands still": ("stands still", "does not move"),
}
_PASSIVE_WORDS = {
    "picks up": ("is picked up by", "is taken by"),
    "puts down": ("is put down by", "is dropped by"),
}
_SIDE_WORDS = {"enters": "from the {}", "leaves": "to the {}"}
_LINKS = ("and then", "before", "after", "while")


class Clause(NamedTuple):
    """Who does what: the object is a name, a side ("left"), or ``None``."""

    subject: str
    verb: str
    object: str | None = None


class Said(NamedTuple):
    """What a caption of a clip says: a clause, or two with a link, and the ground unless it is
    ``None``."""

    clauses: tuple[Clause, ...]
    link: str | None = None
    background: str | None = None


@cache
def _clause_patterns() -> tuple[tuple[str, bool, re.Pattern[str]], ...]:
    names = "|".join(sorted((one.name for one in cast.CAST), key=len, reverse=True))
    subject, other = (
        rf"(?P<article>a|an|the) (?P<subject>{names})",
        rf"(?P<article2>a|an|the) (?P<object>{names})",
    )
    rules = []
    for verb, phrases in _VERB_WORDS.items():
        words = "|".join(phrases)
        if verb in TRANSITIVE:
            rules.append((verb, False, re.compile(rf"{subject} (?:{words}) {other}")))
        elif verb in _SIDE_WORDS:
            side = _SIDE_WORDS[verb].format("(?P<object>left|right)")
            rules.append((verb, False, re.compile(rf"{subject} (?:{words})(?: {side})?")))
        else:
            rules.append((verb, False, re.compile(rf"{subject} (?:{words})")))
    for verb, phrases in _PASSIVE_WORDS.items():
        rules.append((verb, True, re.compile(rf"{subject} (?:{'|'.join(phrases)}) {other}")))
    return tuple(rules)


def _read_clause(words: str) -> Clause | None:
    for verb, passive, pattern in _clause_patterns():
        match = pattern.fullmatch(words)
        if match:
            parts = match.groupdict()
            for article, noun in (("article", "subject"), ("article2", "object")):
                given = parts.get(article, "the")
                if given != "the" and (given == "an") != (parts[noun][0] in "aeiou"):
                    return None
            subject, other = parts["subject"], parts.get("object")
            return Clause(other, verb, subject) if passive else Clause(subject, verb, other)
    return None


@lru_cache(maxsize=16384)
def understand(caption: str) -> Said | None:
    """What a caption of a clip says, or ``None`` if it has no grammar.

    The grammar: a clause ("the dog approaches the car"), or two with "and then", "before", "after"
    or "while" between; last, or first, a phrase for the ground.

    Raises:
        TypeError: if it is not a string.
    """
    if not isinstance(caption, str):
        raise TypeError(f"a caption must be a string, got {type(caption).__name__}")
    words = " ".join(caption.lower().removesuffix(".").split())
    choices = [(words, None)]
    for background, phrases in GROUND_WORDS.items():
        for phrase in phrases:
            if words.endswith(" " + phrase):
                choices.append((words.removesuffix(" " + phrase), background))
            if words.startswith(phrase + " "):
                choices.append((words.removeprefix(phrase + " "), background))
    for rest, background in choices:
        clause = _read_clause(rest)
        if clause:
            return Said((clause,), None, background)
        for link in _LINKS:
            first, found, second = rest.partition(f" {link} ")
            if found:
                pair = (_read_clause(first), _read_clause(second))
                if all(pair):
                    return Said(pair, link, background)
    return None


def holds(said: Said, clip: Clip, order: Sequence[int] | None = None, frames: int = FRAMES) -> bool:
    """Whether what was said is true of a clip, its frames played in an order.

    "A before B" (and "A and then B", "B after A") means that A has ended when B begins; "A while B"
    that they overlap.
    """
    if said.background not in (None, clip.background):
        return False
    seen = happenings(clip, order, frames)
    matches = [
        [h for h in seen if (h.subject, h.verb) == clause[:2] and clause.object in (None, h.object)]
        for clause in said.clauses
    ]
    if len(matches) == 1:
        return bool(matches[0])
    first, second = matches if said.link != "after" else matches[::-1]
    if said.link == "while":
        return any(a.start < b.end and b.start < a.end for a in first for b in second)
    return any(a.start < a.end <= b.start < b.end for a in first for b in second)


def is_true(
    caption: str, clip: Clip | str, order: Sequence[int] | None = None, frames: int = FRAMES
) -> Verdict:
    """Whether a caption is true of a clip.

    Args:
        caption: words parted by spaces.
        clip: a clip, or its JSON (the data set's column ``clip``).
        order: judge the frames in this order instead, for example reversed or shuffled.
        frames: how many frames the clip is shown in.

    Returns:
        ``Verdict.TRUE``, ``Verdict.FALSE`` or ``Verdict.UNPARSABLE``.

    Raises:
        TypeError: for anything that is not a caption and a clip; ValueError: for a bad order or
            JSON that is no clip.
    """
    if isinstance(clip, str):
        clip = Clip.from_json(clip)
    if not isinstance(clip, Clip):
        raise TypeError(f"expected a Clip or its JSON, got {type(clip).__name__}")
    said = understand(caption)
    if said is None:
        return Verdict.UNPARSABLE
    return Verdict.TRUE if holds(said, clip, order, frames) else Verdict.FALSE


def _noun(name: str, dice: Dice) -> str:
    if dice.chance(60):
        return f"the {name}"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _say(clause: Clause, dice: Dice) -> str:
    if clause.verb in TRANSITIVE:
        if clause.verb in _PASSIVE_WORDS and dice.chance(30):
            return f"{_noun(clause.object, dice)} {dice.choice(_PASSIVE_WORDS[clause.verb])} {_noun(clause.subject, dice)}"
        return f"{_noun(clause.subject, dice)} {dice.choice(_VERB_WORDS[clause.verb])} {_noun(clause.object, dice)}"
    words = f"{_noun(clause.subject, dice)} {dice.choice(_VERB_WORDS[clause.verb])}"
    if clause.object and dice.chance(50):
        words += " " + _SIDE_WORDS[clause.verb].format(clause.object)
    return words


def captions(clip: Clip, dice: Dice | int = 0, count: int = PER_CLIP) -> list[str]:
    """Different true captions of a clip (of its twelve frames); the first tells what matters most.

    Args:
        clip: the clip.
        dice: where chance comes from, or a seed.
        count: how many, 1 to 20.
    """
    if not 1 <= count <= 20:
        raise ValueError(f"count must be from 1 to 20, got {count}")
    if not isinstance(dice, Dice):
        dice = Dice("clip captions", dice, clip.to_json())
    seen = happenings(clip)
    telling = (
        [h for h in seen if h.verb in TRANSITIVE]
        or [h for h in seen if h.verb != "stands still"]
        or seen
    )
    linked = [
        (a, b) for a in seen for b in seen if a.subject != b.subject and a.object != b.subject and a.end > a.start
        and b.end > b.start and a.end <= b.start
    ]  # fmt: skip
    found: list[str] = []
    while len(found) < count:
        background = clip.background if dice.chance(50) else None
        if linked and dice.chance(55):
            a, b = dice.choice(linked)
            link = dice.choice(_LINKS[:3])
            first, second = (b, a) if link == "after" else (a, b)
            words = f"{_say(Clause(*first[:3]), dice)} {link} {_say(Clause(*second[:3]), dice)}"
        else:
            h = dice.choice(telling if not found or dice.chance(70) else seen)
            words = _say(Clause(*h[:3]), dice)
        if background:
            phrase = dice.choice(GROUND_WORDS[background])
            words = f"{words} {phrase}" if dice.chance(70) else f"{phrase} {words}"
        if words not in found and 4 <= words.count(" ") + 1 <= 20:
            found.append(words)
    return found


# --------------------------------------------------------------------------------------------------
# Sampling


def _hold_out() -> frozenset[tuple[str, str]]:
    dice = Dice("held out verbs")
    return frozenset((name, dice.choice(VERBS[:10])) for name in _ACTORS if dice.chance(40))


#  (thing, verb): the thing never does that in ``train`` and ``test``; in ``test_unseen_verbs`` one
# of them does.
HELD_OUT_VERBS: frozenset[tuple[str, str]] = _hold_out()


def held_out(clip: Clip) -> bool:
    """Whether a clip shows a held-out combination of thing and verb."""
    return any((h.subject, h.verb) in HELD_OUT_VERBS for h in happenings(clip))


def _solo(name: str, verb: str, start: int, end: int, lane: int, dice: Dice) -> Actor:
    """An actor that does one thing between two times, around the column ``lane`` (a centre in
    units)."""
    side = dice.between(280, 340)
    x, y = lane + dice.between(-40, 40), dice.between(430, 600)
    half = max(scenes.extent(name, side)) // 2
    forward, before, after = verb, (x, y, side), (x, y, side)
    backwards = verb in ("leaves", "shrinks", "falls", "moves left", "disappears")
    if backwards:
        forward = REVERSED[verb]
    if forward == "enters":
        before = (-half - 12 if lane < UNITS // 2 else UNITS + half + 12, y, side)
    elif forward == "grows":
        small = dice.between(210, 240)
        before, after = (x, y, small), (x, y, dice.between(400, 440))
    elif forward == "rises":
        before, after = (x, dice.between(740, 800), side), (x, dice.between(220, 320), side)
    elif forward == "moves right":
        before, after = (dice.between(210, 300), y, side), (dice.between(700, 810), y, side)
    if backwards:
        before, after = after, before
    if verb in ("appears", "disappears"):
        middle = (start + end) // 2
        keys = (
            Key(0, x, y, side, verb == "disappears"),
            Key(middle, x, y, side, verb == "appears"),
        )
    elif verb == "stands still":
        keys = (Key(0, x, y, side),)
    else:
        keys = (Key(start, *before), Key(end, *after))
    return Actor(name, keys, dice.chance(50))


def _encounter(first: str, second: str, verb: str, dice: Dice) -> tuple[Actor, ...]:
    """Two actors of which the first does something with the second."""
    sign = 1 if dice.chance(50) else -1  # the first comes from the left (1) or from the right
    side, other = dice.between(270, 320), dice.between(240, 290)
    centre = UNITS // 2
    ground = dice.between(560, 660)
    start, end = dice.between(0, 130), dice.between(880, UNITS)
    if verb in ("approaches", "flees from"):
        reach = (scenes.extent(first, side)[0] + scenes.extent(second, other)[0]) // 2
        here = centre + sign * 260
        far, close = centre - sign * 300, here - sign * (reach + dice.between(4, 40))
        path = [(far, ground), (close, ground)]
        if verb == "flees from":
            path.reverse()
        mover = Actor(first, (Key(start, *path[0], side), Key(end, *path[1], side)), sign < 0)
        return Actor(second, (Key(0, here, ground + 20, other),), dice.chance(50)), mover
    # picking up: come, lift, carry away; putting down is that backwards
    small = dice.between(170, 200)
    side = dice.between(330, 380)
    come, lift = UNITS * 5 // 12 + dice.between(-30, 30), UNITS * 7 // 12 + dice.between(-30, 30)
    spot, lies = centre + sign * 240, ground + 130
    hand = (spot - sign * 115, ground)  # where the carrier's centre is when it holds the thing
    carrier = [Key(0, centre - sign * 300, ground, side), Key(come, hand[0], ground, side)]
    carrier += [Key(lift, hand[0], ground, side), Key(UNITS, centre - sign * 240, ground, side)]
    lifted = (spot, lies - 100)
    carried = [Key(0, spot, lies, small), Key(come, spot, lies, small), Key(lift, *lifted, small)]
    carried += [Key(UNITS, centre - sign * 240 + (lifted[0] - hand[0]), lifted[1], small)]
    if verb == "puts down":
        carrier, carried = (
            [key._replace(time=UNITS - key.time) for key in keys[::-1]]
            for keys in (carrier, carried)
        )
    return Actor(first, tuple(carrier), sign < 0), Actor(second, tuple(carried), dice.chance(50))


def sample(split: str, index: int, seed: int = 0) -> Clip:
    """Clip number ``index`` of a split: always the same one.

    Raises:
        ValueError: for an unknown split (the right ones are listed) or a negative index.
    """
    if split not in SPLITS:
        raise ValueError(f"no split is called {split!r}; there are: {', '.join(SPLITS)}")
    if index < 0:
        raise ValueError(f"an index counts from 0, got {index}")
    return _sample(split, Dice("clips", split, seed, index))


# what one actor can do while another waits for its turn beside it
_IN_TURN = ("enters", "leaves", "grows", "shrinks", "rises", "falls", "appears", "disappears")


def _sample(split: str, dice: Dice) -> Clip:
    unseen = split == "test_unseen_verbs"
    solo = tuple(verb for verb in VERBS if verb not in TRANSITIVE)
    while True:
        plan = "solo" if unseen else dice.weighted(("solo", "sequence", "encounter"), (30, 30, 40))
        background = dice.choice(BACKGROUNDS)
        actors: tuple[Actor, ...]
        if plan == "encounter":
            verb = dice.choice(TRANSITIVE)
            carries = verb in ("picks up", "puts down")
            names = (
                dice.choice(CARRIERS if carries else _ACTORS),
                dice.choice(_CARRIED if carries else _ACTORS),
            )
            if names[0] == names[1]:
                continue
            actors = _encounter(*names, verb, dice)
            main = {(names[0], verb, names[1])}
        elif plan == "sequence":
            names = (dice.choice(_ACTORS), dice.choice(_ACTORS))
            verbs = (dice.choice(_IN_TURN), dice.choice(_IN_TURN))
            lanes = [270, 754]
            dice.shuffle(lanes)
            if names[0] == names[1]:
                continue
            middle = dice.between(440, 580)
            actors = (
                _solo(names[0], verbs[0], dice.between(0, 60), middle - 20, lanes[0], dice),
                _solo(names[1], verbs[1], middle + 20, dice.between(960, UNITS), lanes[1], dice),
            )
            main = set()
            if {(h.subject, h.verb) for h in happenings(Clip(background, actors))} < set(
                zip(names, verbs)
            ):
                continue
        else:
            name = dice.choice(_ACTORS)
            verb = dice.choice(solo)
            if unseen:
                name, verb = dice.choice(sorted(HELD_OUT_VERBS))
            start, end = dice.between(0, 200), dice.between(800, UNITS)
            wide = verb in ("moves left", "moves right")
            lane = UNITS // 2 if wide else dice.choice((270, 512, 754))
            actors = (_solo(name, verb, start, end, lane, dice),)
            main = {(name, verb, None)}
            if not wide and lane != UNITS // 2 and dice.chance(50):  # somebody looks on
                other = dice.choice(_ACTORS)
                if other != name:
                    actors = (_solo(other, "stands still", 0, UNITS, UNITS - lane, dice), *actors)
        clip = Clip(
            background,
            actors,
            dice.below(16384) * 4 + (dice.between(1, 3) if split == "train" else 0),
        )
        seen = {
            (h.subject, h.verb, h.object if h.verb in TRANSITIVE else None)
            for h in happenings(clip)
        }
        if main <= seen and held_out(clip) == unseen:
            return clip


# --------------------------------------------------------------------------------------------------
# Drawing


class RenderedClip(NamedTuple):
    """The frames of a clip: uint8 (frames, size, size, 3); and boxes[frame][actor], xyxy, zeros
    where unseen."""

    frames: np.ndarray
    boxes: list[list[list[int]]]


def render(
    clip: Clip, size: int = 64, frames: int = FRAMES, only: Sequence[int] | None = None
) -> RenderedClip:
    """Draw the frames of a clip and find what is visible of each actor.

    Args:
        clip: the clip.
        size: side of a frame in pixels, 32 to 1024.
        frames: how many the clip has, 8 to 16.
        only: which of them to draw, and in which order, 0 to ``frames - 1``; all by default.

    Raises:
        TypeError, ValueError: for numbers out of range, or no frame to draw.
    """
    size = cast.check_size(size, scenes.MIN_PIXELS, scenes.MAX_PIXELS)
    rows = states(clip, frames)
    if only is not None:
        wanted = [*only]
        if not wanted or not all(0 <= k < len(rows) for k in wanted):
            raise ValueError(
                f"only must name one frame or more, each from 0 to {len(rows) - 1}, got {wanted}"
            )
        rows = [rows[k] for k in wanted]
    ground = paint(clip.background, clip.variant, size)
    pictures, boxes = [], []
    for row in rows:
        image, owner = ground.copy(), np.zeros((size, size), np.uint8)
        for number, (actor, key) in enumerate(zip(clip.actors, row, strict=True)):
            if key.shown:
                placed = Placed(actor.name, "small", key.x, key.y, key.side, actor.mirrored)
                scenes.lay(image, owner, number, placed, size)
        pictures.append(image)
        boxes.append([scenes.visible_box(owner == number + 1) for number in range(len(row))])
    return RenderedClip(np.stack(pictures), boxes)


def draw_clip(clip: Clip | str, size: int = 64, frames: int = FRAMES) -> list[Image.Image]:
    """A clip as a list of RGB images, for figures.

    Args:
        clip: a :class:`Clip`, or its JSON.
        size: side in pixels, 32 to 1024.
        frames: how many, 8 to 16.

    Raises:
        TypeError: if ``clip`` is neither; ValueError: for JSON that is no clip, or numbers out of
            range.
    """
    from PIL import Image

    if isinstance(clip, str):
        clip = Clip.from_json(clip)
    if not isinstance(clip, Clip):
        raise TypeError(f"expected a Clip or its JSON, got {type(clip).__name__}")
    return [Image.fromarray(frame) for frame in render(clip, size, frames).frames]
