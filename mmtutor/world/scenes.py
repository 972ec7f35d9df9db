"""Scenes: one to four things on one of eight grounds, with everything that is true of them.

A :class:`Scene` is its own truth. It is made of whole numbers on a square of 1024 by 1024 units, so
that what is left of what never depends on a machine; a picture of it can be drawn at any size. What
one can say about a scene is decided by :func:`related`, :func:`place_of` and the sizes, with room
for doubt left out: two things are "left" and "right" of each other only where nobody would
disagree, and the scenes are laid out so that borderline cases do not come up.

Splits: ``train`` and ``test`` share no scene. Some combinations are kept out of both, by name:
things on grounds (:data:`HELD_OUT_PLACES`), things in relations (:data:`HELD_OUT_RELATIONS`) and
things together (:data:`HELD_OUT_PAIRS`); every scene of ``test_unseen_places``,
``test_unseen_relations`` and ``test_unseen_pairs`` shows at least one of them.

>>> from mmtutor.world import scenes
>>> scene = scenes.sample("train", 0)
>>> picture = scenes.draw_scene(scene, 128)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from itertools import combinations
from math import isqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmtutor.world import cast
from mmtutor.world._backgrounds import BACKGROUNDS, paint
from mmtutor.world._dice import Dice

if TYPE_CHECKING:
    from PIL import Image

#: Side of the square that positions are given on.
UNITS = 1024
SIZES: tuple[str, ...] = ("small", "large")
#: Longer side in units of a square thing; small and large differ by a factor of 1.35 or more.
_SIDES = {"small": (288, 304, 320), "large": (432, 464, 496)}
SPLITS: tuple[str, ...] = (
    "train",
    "test",
    "test_unseen_places",
    "test_unseen_relations",
    "test_unseen_pairs",
)
MIN_PIXELS, MAX_PIXELS = 32, 1024
MOST_THINGS = 4

# Thresholds in units. A relation holds beyond the first number; layouts keep a doubt of _DOUBT
# units away from it.
_APART = 190  # centres this far apart are left and right, above and below
_NEAR, _FAR = 64, 256  # the gap between two boxes
_DOUBT = 36
_EDGE = 12  # no box comes nearer to the frame
_PLACES = (
    360,
    664,
)  # a centre before the first is on the left (or at the top), beyond the second on the right
_MIDDLE = (420, 604)  # a centre within is in the middle

#  What decides the words, in units. Centres ``APART`` in a direction are left and right of, above
# and below each other,
#  if mainly so: not more than twice as far apart across it. ``NEAR`` is the most, ``FAR`` the least
# free space between
#  boxes. A centre up to ``SIDEWAYS[0]`` is on the left (or at the top), from ``SIDEWAYS[1]`` on it
# is on the right (or
#: at the bottom), and within ``MIDDLE``, both ways, in the middle.
APART, NEAR, FAR, SIDEWAYS, MIDDLE = _APART, _NEAR, _FAR, _PLACES, _MIDDLE

#: What may hold between two things.
RELATIONS: tuple[str, ...] = (
    "left of",
    "right of",
    "above",
    "below",
    "in front of",
    "behind",
    "near",
    "far from",
)
OPPOSITE: dict[str, str] = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
    "in front of": "behind",
    "behind": "in front of",
    "near": "near",
    "far from": "far from",
}
#: Where in the picture a thing may be; a corner is two places at once.
PLACES: tuple[str, ...] = ("left", "right", "top", "bottom", "middle")


@cache
def _stretch(name: str) -> int:
    """In 64ths: how much longer than a square a slender thing is drawn, so that it does not look
    smaller (≤ 77/64)."""
    one = cast.thing(name)
    return min(77, isqrt(64 * 64 * 64 // min(one.width, one.height)))


@lru_cache(maxsize=4096)
def extent(name: str, side: int) -> tuple[int, int]:
    """Width and height of a thing in units."""
    return cast.thing(name).extent(side * _stretch(name) >> 6)


@dataclass(frozen=True, slots=True)
class Placed:
    """One thing in a scene.

    Attributes:
        name: the thing's name in the cast.
        size: ``"small"`` or ``"large"``.
        x: its centre, 0 (left) to 1024 (right).
        y: its centre, 0 (top) to 1024 (bottom).
        side: the longer side it would have if it were square, in units.
        mirrored: whether it is drawn mirrored.
    """

    name: str
    size: str
    x: int
    y: int
    side: int
    mirrored: bool = False

    @property
    def extent(self) -> tuple[int, int]:
        """Width and height of its box in units."""
        return extent(self.name, self.side)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom in units."""
        wide, high = extent(self.name, self.side)
        left, top = self.x - wide // 2, self.y - high // 2
        return left, top, left + wide, top + high

    @property
    def kind(self) -> str:
        """The thing's kind."""
        return cast.thing(self.name).kind


@dataclass(frozen=True)
class Scene:
    """A ground and the things on it, from the back to the front.

    Attributes:
        background: one of :data:`BACKGROUNDS`.
        things: one to four :class:`Placed`; a later one lies before an earlier one.
        variant: which texture, cut and light the ground has; a scene of ``train`` never has a
            multiple of 4.

    Raises:
        ValueError: for an unknown ground, thing or size, no things or more than four, a centre
            outside the picture.
    """

    background: str
    things: tuple[Placed, ...]
    variant: int = 1

    def __post_init__(self) -> None:
        if self.background not in BACKGROUNDS:
            raise ValueError(
                f"no background is called {self.background!r}; there are: {', '.join(BACKGROUNDS)}"
            )
        if not 1 <= len(self.things) <= MOST_THINGS:
            raise ValueError(f"a scene has 1 to {MOST_THINGS} things, not {len(self.things)}")
        for one in self.things:
            cast.thing(one.name)
            if one.size not in SIZES:
                raise ValueError(f"a thing is one of {', '.join(SIZES)}, not {one.size!r}")
            if not (0 <= one.x <= UNITS and 0 <= one.y <= UNITS):
                raise ValueError(
                    f"the centre of {one.name!r} must be within 0 to {UNITS}, got ({one.x}, {one.y})"
                )
            if not 16 <= one.side <= UNITS:
                raise ValueError(
                    f"the side of {one.name!r} must be from 16 to {UNITS} units, got {one.side}"
                )

    @cached_property
    def relations(self) -> tuple[tuple[int, str, int], ...]:
        """The scene graph: every (subject's index, relation, object's index) that holds."""
        return tuple(
            (i, relation, j)
            for i, first in enumerate(self.things)
            for j, second in enumerate(self.things)
            if i != j
            for relation in RELATIONS
            if _holds(relation, first, second, i > j)
        )

    @cached_property
    def members(self) -> tuple[cast.Thing, ...]:
        """The members of the cast that the things are."""
        return tuple(cast.thing(one.name) for one in self.things)

    def to_json(self) -> str:
        """The scene as one line of JSON."""
        rows = [[t.name, t.size, t.x, t.y, t.side, int(t.mirrored)] for t in self.things]
        return json.dumps({"background": self.background, "variant": self.variant, "things": rows})

    @staticmethod
    def from_json(text: str) -> Scene:
        """The scene that :meth:`to_json` wrote.

        Raises:
            ValueError: if the text is not a scene.
        """
        try:
            raw = json.loads(text)
            rows = tuple(
                Placed(n, s, int(x), int(y), int(side), bool(m))
                for n, s, x, y, side, m in raw["things"]
            )
            return Scene(raw["background"], rows, int(raw["variant"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a scene in JSON: {error!r}") from None


def gap(first: Placed, second: Placed) -> int:
    """Free space between two boxes along the axis that parts them most; negative where they
    overlap."""
    a, b = first.box, second.box
    return max(b[0] - a[2], a[0] - b[2], b[1] - a[3], a[1] - b[3])


def overlap(first: Placed, second: Placed) -> int:
    """Area that two boxes share, in square units."""
    a, b = first.box, second.box
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def _aside(along: int, across: int) -> bool:
    """Whether a step of ``along`` (signed) and ``across`` counts as "to that side": far enough, and
    mainly so."""
    return along >= _APART and 2 * along >= abs(across)


def _holds(relation: str, first: Placed, second: Placed, first_in_front: bool) -> bool:
    if relation in ("left of", "right of"):
        step = second.x - first.x if relation == "left of" else first.x - second.x
        return _aside(step, second.y - first.y)
    if relation in ("above", "below"):
        step = second.y - first.y if relation == "above" else first.y - second.y
        return _aside(step, second.x - first.x)
    if relation == "near":
        return gap(first, second) <= _NEAR
    if relation == "far from":
        return gap(first, second) >= _FAR
    a, b = first.extent, second.extent
    covers = 8 * overlap(first, second) >= min(a[0] * a[1], b[0] * b[1])
    return covers and first_in_front == (relation == "in front of")


def related(scene: Scene, i: int, relation: str, j: int) -> bool:
    """Whether thing ``i`` stands in a relation to thing ``j``.

    "Left of" and its like need centres at least 190 units apart (of 1024) in that direction and no
    more than twice as far across it; "near" means a gap of at most 64 units between the boxes, "far
    from" one of at least 256; "in front of" needs boxes that share an eighth of the smaller one.

    Raises:
        ValueError: for an unknown relation (the right ones are listed), or an index out of range.
    """
    if relation not in OPPOSITE:
        raise ValueError(f"no relation is called {relation!r}; there are: {', '.join(RELATIONS)}")
    if not (0 <= i < len(scene.things) and 0 <= j < len(scene.things) and i != j):
        raise ValueError(f"a scene of {len(scene.things)} things has no pair ({i}, {j})")
    return _holds(relation, scene.things[i], scene.things[j], i > j)


def place_of(one: Placed) -> tuple[str, ...]:
    """Where in the picture a thing is: none, one or two of :data:`PLACES` (a corner is two)."""
    found = []
    if one.x <= _PLACES[0]:
        found.append("left")
    elif one.x >= _PLACES[1]:
        found.append("right")
    if one.y <= _PLACES[0]:
        found.append("top")
    elif one.y >= _PLACES[1]:
        found.append("bottom")
    if _MIDDLE[0] <= one.x <= _MIDDLE[1] and _MIDDLE[0] <= one.y <= _MIDDLE[1]:
        found.append("middle")
    return tuple(found)


def bigger(first: Placed, second: Placed) -> bool:
    """Whether the first thing is clearly bigger than the second: a large one beside a small one."""
    return first.size == "large" and second.size == "small"


# --------------------------------------------------------------------------------------------------
# Combinations that training never sees

_NAMES = tuple(one.name for one in cast.SCENIC)
_DIRECTIONS = RELATIONS[:4]


def _hold_out() -> tuple[frozenset, frozenset, frozenset]:
    dice = Dice("held out combinations")
    places = frozenset((name, dice.choice(BACKGROUNDS)) for name in _NAMES)
    relations = frozenset((name, dice.choice(_DIRECTIONS)) for name in _NAMES if dice.chance(34))
    pairs = frozenset(frozenset(pair) for pair in combinations(_NAMES, 2) if dice.chance(5))
    rest = Dice("held out combinations", "portraits")
    places |= {(one.name, rest.choice(BACKGROUNDS)) for one in cast.CAST if not one.scenic}
    return places, relations, pairs


#  (thing, background): these do not meet in ``train`` or ``test`` (one ground for each member of
# the cast).
HELD_OUT_PLACES: frozenset[tuple[str, str]]
#  (thing, relation): the thing is never the subject of that relation (nor the object of its
# opposite) in them.
HELD_OUT_RELATIONS: frozenset[tuple[str, str]]
#: {thing, thing}: these are never together in them.
HELD_OUT_PAIRS: frozenset[frozenset[str]]
HELD_OUT_PLACES, HELD_OUT_RELATIONS, HELD_OUT_PAIRS = _hold_out()
_RESERVED = {name: tuple(r for n, r in HELD_OUT_RELATIONS if n == name) for name in _NAMES}

#: How many things the world of the scenes has, unless one asks for fewer.
ALL_THINGS = len(_NAMES)
FEWEST_THINGS = 12


@cache
def pool(things: int = ALL_THINGS) -> tuple[str, ...]:
    """The names that scenes are made of in a world of so many things: some of every kind, the same
    first ones always.

    A smaller world is quicker to learn; everything else about it is as in the large one.

    Args:
        things: 12 to all.

    Raises:
        ValueError: for a number out of range.
    """
    if not FEWEST_THINGS <= things <= ALL_THINGS:
        raise ValueError(
            f"a world of scenes has {FEWEST_THINGS} to {ALL_THINGS} things, not {things}"
        )
    by_kind = [[one.name for one in cast.things(kind, scenic=True)] for kind in cast.KINDS]
    in_turn = [row[k] for k in range(max(map(len, by_kind))) for row in by_kind if k < len(row)]
    chosen = set(in_turn[:things])
    return tuple(name for name in _NAMES if name in chosen)


def held_out(scene: Scene) -> frozenset[str]:
    """Which kinds of held-out combination a scene shows: any of "places", "relations" and
    "pairs"."""
    found = set()
    names = [one.name for one in scene.things]
    if any((name, scene.background) in HELD_OUT_PLACES for name in names):
        found.add("places")
    if any(frozenset(pair) in HELD_OUT_PAIRS for pair in combinations(names, 2)):
        found.add("pairs")
    if any((names[i], relation) in HELD_OUT_RELATIONS for i, relation, _ in scene.relations):
        found.add("relations")
    return frozenset(found)


# --------------------------------------------------------------------------------------------------
# Sampling


def clear(first: Placed, second: Placed) -> bool:
    """Whether nothing about how two things lie to each other is a matter of opinion."""
    dx, dy = abs(first.x - second.x), abs(first.y - second.y)
    for along, across in ((dx, dy), (dy, dx)):
        surely = _aside(along - _DOUBT, across + _DOUBT)
        surely_not = not _aside(along + _DOUBT, max(0, across - _DOUBT))
        if not (surely or surely_not):
            return False
    return True


def _shows_reserved(first: Placed, second: Placed) -> bool:
    return any(
        _holds(relation, first, second, False) for relation in _RESERVED.get(first.name, ())
    ) or any(_holds(relation, second, first, False) for relation in _RESERVED.get(second.name, ()))


def overlaps_well(front: Placed, back: Placed) -> bool:
    """Whether the front thing hides enough of the one behind to see it, and little enough to know
    it."""
    shared = overlap(front, back)
    a, b = front.extent, back.extent
    return (
        4 * shared >= a[0] * a[1]
        and 20 * shared <= 7 * b[0] * b[1]
        and 20 * shared >= 3 * b[0] * b[1]
    )


def arrange(
    names: list[str], dice: Dice, *, strict: bool = True, layered: bool = False
) -> list[Placed] | None:
    """Find a clear-cut place for each thing.

    Args:
        names: one to four names of things.
        dice: where chance comes from.
        strict: whether held-out relations are to be avoided.
        layered: whether the last thing is to stand partly before another.

    Returns:
        The placed things, from the back to the front, or ``None`` where 40 layouts were tried in
        vain (two things whose every relation is held out, say).
    """
    most_large = {1: 1, 2: 2, 3: 2, 4: 1}[len(names)]
    for attempt in range(40):
        sizes = [dice.choice(SIZES) for _ in names]
        while sizes.count("large") > most_large:
            sizes[dice.choice([k for k, size in enumerate(sizes) if size == "large"])] = "small"
        if layered:
            sizes[0], sizes[-1] = "large", "small"
            for k in range(1, len(names) - 1):
                sizes[k] = "small"
        placed: list[Placed] = []
        for k, name in enumerate(names):
            if layered and k == len(names) - 1:
                one = _before(placed, name, dice, strict)
            else:
                one = _beside(placed, name, sizes[k], dice, strict)
            if one is None:
                break
            placed.append(one)
        if len(placed) == len(names):
            if not layered:
                dice.shuffle(placed)
            return placed
        layered = layered and attempt < 20
    return None


_TRIES = 14  # places tried for one thing before all are laid out anew


def _beside(placed: list[Placed], name: str, size: str, dice: Dice, strict: bool) -> Placed | None:
    """A thing somewhere within the picture, apart from the others and clear of doubt; ``None`` if
    none was found."""
    side, mirrored = dice.choice(_SIDES[size]), dice.chance(50)
    wide, high = extent(name, side)
    half_wide, half_high = wide // 2, high // 2
    others = [(other, other.x, other.y, other.extent) for other in placed]
    for _ in range(_TRIES):
        x = _EDGE + half_wide + dice.below(UNITS - 2 * _EDGE - wide)
        y = _EDGE + half_high + dice.below(UNITS - 2 * _EDGE - high)
        for _, at_x, at_y, (w, h) in others:
            if abs(x - at_x) < half_wide + w // 2 + 10 and abs(y - at_y) < half_high + h // 2 + 10:
                break  # they would touch
        else:
            one = Placed(name, size, x, y, side, mirrored)
            if all(
                clear(one, other) and not (strict and _shows_reserved(one, other))
                for other in placed
            ):
                return one
    return None


def _before(placed: list[Placed], name: str, dice: Dice, strict: bool) -> Placed | None:
    """A small thing that stands partly before the first and apart from the others; ``None`` if none
    was found."""
    back = placed[0]
    side, mirrored = dice.choice(_SIDES["small"]), dice.chance(50)
    for _ in range(_TRIES):
        x = back.x + (1 if dice.chance(50) else -1) * dice.between(96, 148)
        one = Placed(
            name,
            "small",
            min(max(x, 0), UNITS),
            min(back.y + dice.between(40, 148), UNITS),
            side,
            mirrored,
        )
        left, top, right, bottom = one.box
        if left < _EDGE or top < _EDGE or right > UNITS - _EDGE or bottom > UNITS - _EDGE:
            continue
        if not overlaps_well(one, back) or any(gap(one, other) < 8 for other in placed[1:]):
            continue
        if all(
            clear(one, other) and not (strict and _shows_reserved(one, other)) for other in placed
        ):
            return one
    return None


def address(things: int) -> tuple[int, ...]:
    """What a smaller world adds to the address of its samples, so that they are others than the
    whole world's."""
    return () if things == ALL_THINGS else (things,)


def _pick_names(
    count: int, background: str, dice: Dice, first: str | None, among: tuple[str, ...]
) -> list[str]:
    """Names of the things: now and then several of one; no held-out place or pair unless ``first``
    brings it."""
    names = [] if first is None else [first]
    while len(names) < count:
        name = dice.choice(among)
        if (name, background) in HELD_OUT_PLACES:
            continue
        if any(name == other or frozenset((name, other)) in HELD_OUT_PAIRS for other in names):
            continue
        names.append(name)
    if count > 1 and first is None and dice.chance(30):  # two, three or four alike
        alike = dice.between(2, count)
        names[:alike] = [names[0]] * alike
    return names


def sample(split: str, index: int, seed: int = 0, things: int = ALL_THINGS) -> Scene:
    """Scene number ``index`` of a split: always the same one.

    Args:
        split: one of :data:`SPLITS`.
        index: a whole number from 0.
        seed: another seed gives another world.
        things: how many different things the world has (see :func:`pool`).

    Raises:
        ValueError: for an unknown split (the right ones are listed), a negative index, or too few
            or many things.
    """
    if split not in SPLITS:
        raise ValueError(f"no split is called {split!r}; there are: {', '.join(SPLITS)}")
    if index < 0:
        raise ValueError(f"an index counts from 0, got {index}")
    return _numbered(split, index, seed, things)


@lru_cache(maxsize=512)
def _numbered(split: str, index: int, seed: int, things: int) -> Scene:
    return compose(split, Dice("scenes", split, seed, index, *address(things)), pool(things))


def compose(split: str, dice: Dice, among: tuple[str, ...] = _NAMES) -> Scene:
    """Draw a scene of a split from a source of chance: what the other data sets build their own
    scenes with."""
    while True:
        background = dice.choice(BACKGROUNDS)
        number = dice.weighted((1, 2, 3, 4), (15, 35, 30, 20))
        first: str | None = None
        if split == "test_unseen_places":
            first = dice.choice(among)
            background = dice.choice([b for b in BACKGROUNDS if (first, b) in HELD_OUT_PLACES])
        elif split in ("test_unseen_relations", "test_unseen_pairs"):
            number = max(2, number)
            first = dice.choice(among)
            if split == "test_unseen_relations" and not _RESERVED[first]:
                continue
            if (first, background) in HELD_OUT_PLACES:
                continue
        names = _pick_names(number, background, dice, first, among)
        if split == "test_unseen_pairs":
            partners = [
                n
                for n in among
                if frozenset((first, n)) in HELD_OUT_PAIRS
                and (n, background) not in HELD_OUT_PLACES
            ]
            if not partners:
                continue
            names = [first, dice.choice(partners), *names[2:]]
            if len(set(names)) < len(names):
                continue
        strict = split != "test_unseen_relations"
        layered = number > 1 and dice.chance(25)
        if layered:
            dice.shuffle(names)
        for _ in range(1 if strict else 8):
            placed = arrange(names, dice, strict=strict, layered=layered)
            if placed is None:
                break
            variant = dice.below(16384) * 4 + (dice.between(1, 3) if split == "train" else 0)
            scene = Scene(background, tuple(placed), variant)
            if strict or "relations" in held_out(scene):
                return scene


def swap(scene: Scene, index: int, name: str) -> Scene:
    """The same scene with another thing in the place of one: same ground, light, place and size.

    Args:
        scene: the scene.
        index: which of its things gives way.
        name: any member of the cast.

    Raises:
        ValueError: for an unknown name (the right ones are listed) or an index out of range.
    """
    if not 0 <= index < len(scene.things):
        raise ValueError(f"a scene of {len(scene.things)} things has no number {index}")
    things = list(scene.things)
    things[index] = replace(things[index], name=cast.thing(name).name)
    return replace(scene, things=tuple(things))


def each(split: str, size: int, seed: int = 0, things: int = ALL_THINGS) -> Iterator[Scene]:
    """The first ``size`` scenes of a split, without pictures."""
    return (sample(split, index, seed, things) for index in range(size))


# --------------------------------------------------------------------------------------------------
# Portraits: one thing on a ground

PORTRAIT_SPLITS: tuple[str, ...] = ("train", "test", "test_unseen_places")
#  How a portrait shows its thing: "anywhere", small or large as in scenes; or "centred", large and
# near the middle.
FRAMINGS: tuple[str, ...] = ("anywhere", "centred")
_CENTRED_SIDES = (560, 608, 656, 704, 752)
_CENTRED_WITHIN = 80  # units from the middle of the picture, each way
#: How many things portraits have, unless one asks for fewer: the whole cast.
WHOLE_CAST = len(cast.CAST)
#: A thing is kept away from at most so many of the eight grounds.
MOST_HELD_OUT = 3


def portrait_pool(things: int = WHOLE_CAST) -> tuple[str, ...]:
    """The names that portraits show in a world of so many things: the whole cast, or those of
    :func:`pool`.

    With 12 there is one thing of each of 12 kinds, so that a thing's name is its kind and a look of
    its own.

    Raises:
        ValueError: for a number that is neither the whole cast nor within the range of
            :func:`pool`.
    """
    if things == WHOLE_CAST:
        return tuple(one.name for one in cast.CAST)
    if not FEWEST_THINGS <= things <= ALL_THINGS:
        raise ValueError(
            f"portraits have {FEWEST_THINGS} to {ALL_THINGS} things, or all {WHOLE_CAST}, not {things}"
        )
    return pool(things)


@cache
def _kept_apart() -> dict[str, tuple[str, ...]]:
    """The grounds that are held out for each member of the cast, in the order in which they are."""
    first = dict(HELD_OUT_PLACES)
    # the smallest world's things choose first, so that its grounds lose about equally many of them
    order = [
        *pool(FEWEST_THINGS),
        *(one.name for one in cast.CAST if one.name not in pool(FEWEST_THINGS)),
    ]
    found = {name: [first[name]] for name in order}
    dice = Dice("held out combinations", "portraits", "more")
    for _ in range(1, MOST_HELD_OUT):
        for place, name in enumerate(order):
            known = order[:FEWEST_THINGS] if place < FEWEST_THINGS else order
            lost = {
                ground: sum(ground in found[other] for other in known) for ground in BACKGROUNDS
            }
            free = [ground for ground in BACKGROUNDS if ground not in found[name]]
            fewest = min(lost[ground] for ground in free)
            found[name].append(dice.choice([ground for ground in free if lost[ground] == fewest]))
    return {name: tuple(grounds) for name, grounds in found.items()}


def held_out_grounds(name: str, count: int = 1) -> tuple[str, ...]:
    """The grounds on which a thing is not seen in the portraits of ``train`` and ``test``.

    Args:
        name: any member of the cast.
        count: how many, 1 to :data:`MOST_HELD_OUT`. The first is that of :data:`HELD_OUT_PLACES`;
            fewer are the beginning of more. In a world of 12 things and 8 grounds these are 12, 24
            or 36 of 96 combinations.

    Raises:
        ValueError: for an unknown name, or a count out of range.
    """
    if not 1 <= count <= MOST_HELD_OUT:
        raise ValueError(f"a thing is kept away from 1 to {MOST_HELD_OUT} grounds, not {count}")
    return _kept_apart()[cast.thing(name).name][:count]


def portrait(
    split: str,
    index: int,
    seed: int = 0,
    things: int = WHOLE_CAST,
    framing: str = "anywhere",
    held_out: int = 1,
) -> Scene:
    """Portrait number ``index`` of a split: one member of the cast (people too) on a ground.

    In ``train`` and ``test`` nobody stands on a ground that is held out for them; in
    ``test_unseen_places`` all do.

    Args:
        split: one of :data:`PORTRAIT_SPLITS`.
        index: a whole number from 0.
        seed: another seed gives another world.
        things: how many different things there are (see :func:`portrait_pool`).
        framing: one of :data:`FRAMINGS`. "centred" has sides of 560 to 752 units (all of them
            "large"), and a centre at most 80 units from the picture's each way.
        held_out: how many grounds are held out for each thing (see :func:`held_out_grounds`).

    Raises:
        ValueError: for an unknown split or framing (the right ones are listed), a negative index,
            or a number out of range.
    """
    if split not in PORTRAIT_SPLITS:
        raise ValueError(f"no split is called {split!r}; there are: {', '.join(PORTRAIT_SPLITS)}")
    if framing not in FRAMINGS:
        raise ValueError(f"no framing is called {framing!r}; there are: {', '.join(FRAMINGS)}")
    if index < 0:
        raise ValueError(f"an index counts from 0, got {index}")
    asked = (things, framing, held_out)
    dice = Dice(
        "portraits", split, seed, index, *(() if asked == (WHOLE_CAST, "anywhere", 1) else asked)
    )
    name = dice.choice(portrait_pool(things))
    unseen = split == "test_unseen_places"
    apart = held_out_grounds(name, held_out)
    background = dice.choice([ground for ground in BACKGROUNDS if (ground in apart) == unseen])
    one = (
        _centred(name, dice)
        if framing == "centred"
        else _beside([], name, dice.choice(SIZES), dice, strict=False)
    )
    assert one is not None  # alone, a thing fits anywhere
    return Scene(
        background, (one,), dice.below(16384) * 4 + (dice.between(1, 3) if split == "train" else 0)
    )


def _centred(name: str, dice: Dice) -> Placed:
    """A thing that fills most of the picture; it never leaves the frame."""
    side, mirrored = dice.choice(_CENTRED_SIDES), dice.chance(50)
    at = []
    for length in extent(name, side):
        reach = min(_CENTRED_WITHIN, UNITS // 2 - _EDGE - (length + 1) // 2)
        at.append(UNITS // 2 + dice.between(-reach, reach))
    return Placed(name, "large", *at, side, mirrored)


# --------------------------------------------------------------------------------------------------
# Drawing


class Rendered(NamedTuple):
    """A picture and what is where in it.

    Attributes:
        image: uint8 (size, size, 3).
        owner: uint8 (size, size): 0 where the ground shows, k + 1 where thing k does.
        boxes: the visible extent of each thing, xyxy in pixels, right and bottom exclusive.
    """

    image: np.ndarray
    owner: np.ndarray
    boxes: list[list[int]]


@lru_cache(maxsize=2048)
def _sticker(
    name: str, longer: int, mirrored: bool, rim: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A sprite with a white rim, ready to be laid on.

    Returns:
        Its colours times its alpha, uint16 (h, w, 3); 255 minus its alpha, uint16 (h, w, 1); where
        the art itself (not the rim) is opaque, bool (h, w).
    """
    from PIL import Image, ImageFilter

    art = cast.premultiplied(name, longer)
    if mirrored:
        art = art[:, ::-1]
    art = np.pad(art, ((rim, rim), (rim, rim), (0, 0))).astype(np.uint16)
    under = Image.fromarray(art[..., 3].astype(np.uint8)).filter(ImageFilter.MaxFilter(2 * rim + 1))
    if rim > 1:
        under = under.filter(ImageFilter.BoxBlur(1))
    alpha = art[..., 3:]
    u = (
        np.asarray(under).astype(np.uint16)[..., None] * 225 // 255
    )  # the rim lets a little of the ground through
    rest = (u * (255 - alpha) + 127) // 255  # what the rim adds around and under the art
    return art[..., :3] + rest, 255 - np.minimum(alpha + rest, 255), art[..., 3] >= 128


def lay(image: np.ndarray, owner: np.ndarray | None, number: int, one: Placed, size: int) -> None:
    """Lay one thing on a picture, in place.

    Args:
        image: uint8 (size, size, 3), written to.
        owner: uint8 (size, size), written to: ``number`` + 1 where the thing's art is opaque. Or
            None.
        number: which thing of the scene it is, from 0.
        one: the thing.
        size: side of the picture in pixels.
    """
    longer = max(cast.MIN_SIZE, ((one.side * _stretch(one.name) >> 6) * size + UNITS // 2) // UNITS)
    rim = max(1, size // 72)
    make = (
        _sticker if longer <= cast.KEPT else _sticker.__wrapped__
    )  # large ones are not worth keeping
    colour, keep, solid = make(one.name, longer, one.mirrored, rim)
    high, wide = solid.shape
    left = (2 * one.x * size + UNITS) // (2 * UNITS) - wide // 2
    top = (2 * one.y * size + UNITS) // (2 * UNITS) - high // 2
    x0, y0, x1, y1 = max(0, left), max(0, top), min(size, left + wide), min(size, top + high)
    if x0 >= x1 or y0 >= y1:
        return
    part = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    window = image[y0:y1, x0:x1]
    window[...] = np.minimum(colour[part] + (window * keep[part] + 127) // 255, 255)
    if owner is not None:
        owner[y0:y1, x0:x1][solid[part]] = number + 1


def visible_box(mask: np.ndarray) -> list[int]:
    """xyxy of the True pixels, right and bottom exclusive; zeros where there are none."""
    rows, columns = mask.any(1), mask.any(0)
    if not rows.any():
        return [0, 0, 0, 0]
    left, top, below, beyond = (
        int(line.argmax()) for line in (columns, rows, rows[::-1], columns[::-1])
    )
    return [left, top, len(columns) - beyond, len(rows) - below]


def render(scene: Scene, size: int = 64) -> Rendered:
    """Draw a scene and find what is visible of each thing.

    Args:
        scene: the scene.
        size: side of the picture in pixels, 32 to 1024 (64 to 224 is what it is made for).

    Raises:
        TypeError, ValueError: for a size that is not a whole number or out of range.
    """
    size = cast.check_size(size, MIN_PIXELS, MAX_PIXELS)
    image = paint(scene.background, scene.variant, size)
    owner = np.zeros((size, size), np.uint8)
    for number, one in enumerate(scene.things):
        lay(image, owner, number, one, size)
    return Rendered(
        image, owner, [visible_box(owner == number + 1) for number in range(len(scene.things))]
    )


def masks(owner: np.ndarray, count: int) -> np.ndarray:
    """The visible pixels of each thing, from the ``owner`` map of a picture.

    Args:
        owner: (H, W), 0 for the ground and k + 1 for thing k.
        count: how many things there are.

    Returns:
        bool (count, H, W).
    """
    return np.asarray(owner)[None] == np.arange(1, count + 1)[:, None, None]


def draw_scene(scene: Scene, size: int = 128) -> Image.Image:
    """A scene as an RGB image, for figures.

    Args:
        scene: a :class:`Scene`, or its JSON.
        size: side in pixels, 32 to 1024.

    Raises:
        TypeError: if ``scene`` is neither; ValueError: for JSON that is no scene, or a size out of
            range.
    """
    from PIL import Image

    if isinstance(scene, str):
        scene = Scene.from_json(scene)
    if not isinstance(scene, Scene):
        raise TypeError(f"expected a Scene or its JSON, got {type(scene).__name__}")
    return Image.fromarray(render(scene, size).image)
