"""Questions about scenes, in balanced pairs, and an oracle that answers them.

Every question is asked of two scenes that answer it differently. So the question alone never tells:
whoever has not looked is right at most once in each pair. In the data set ``questions`` the two
scenes are twins, alike but for what the question turns on (one thing changed, moved, added, or
another ground); rows 2k and 2k + 1 are a pair. The questions in the data set ``scenes`` pair rows
2k and 2k + 1, whose scenes are strangers.

The types: *what* ("what is to the left of the dog"), *kind* ("what kind of thing is at the top"),
*where* ("where is the car"), *how many* ("how many animals are there"), *yes/no* ("is the dog above
the car"), *compare* ("which is bigger the dog or the car"), *background* ("what is the
background"), *size* ("is the dog small or large") and *colour* ("what colour is the thing on the
left"). What one has to see for an answer is its :func:`subtype`: a yes/no question may be one of
existence ("is there a dog in the picture"), place ("is the dog on the left"), side ("is the dog
above the car"), distance ("is the dog near the car") or depth ("is the dog behind the car").

Words such as "left of" and "near" have exact meanings, which are those of
:mod:`mmtutor.world.scenes`: :data:`MEANING` says them in words. In the data set ``questions`` no
answer hangs on a hair: it would be the same if any one thing lay :data:`DOUBT` units elsewhere
(:func:`clear_cut`).

What yes/no questions ask for: who knows only which things there are answers existence, and half of
the others (0.7 of all). Who adds what the question says to what the picture shows, without bringing
the two together, stays at chance.

>>> from mmtutor.world import questions, scenes
>>> questions.answer("how many things are there", scenes.sample("train", 0)) in questions.ANSWERS
True
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from mmtutor.world import cast, scenes
from mmtutor.world._backgrounds import BACKGROUNDS
from mmtutor.world._dice import Dice
from mmtutor.world.scenes import ALL_THINGS, PLACES, SIZES, Placed, Scene, bigger, place_of, related

TYPES: tuple[str, ...] = (
    "what",
    "kind",
    "where",
    "how many",
    "yes/no",
    "compare",
    "background",
    "size",
    "colour",
)
PER_SCENE = 4
SPLITS: tuple[str, ...] = ("train", "test")
#: What has to be seen for an answer, whatever the type of the question.
SUBTYPES: tuple[str, ...] = (
    "existence",
    "place",
    "side",
    "distance",
    "depth",
    "count",
    "size",
    "ground",
)
#  In units of 1,024: if a thing lay so far elsewhere, no answer in ``questions`` would change. 1.5
# pixels of 64.
DOUBT = 24
#: What the words mean, with their thresholds in units: a picture is 1,024 units wide and high.
MEANING: dict[str, str] = {
    "to the left of, to the right of, above, below": (
        f"the centres lie at least {scenes.APART} units apart in that direction, and mainly so: not more than twice as "
        "far apart across it"
    ),
    "near": f"at most {scenes.NEAR} units of free space between the boxes",
    "far from": f"at least {scenes.FAR} units of free space between the boxes",
    "in front of, behind": "the boxes share an eighth of the smaller one, or more; the one in front covers the other",
    "on the left, at the top": f"the centre lies at most {scenes.SIDEWAYS[0]} units from that edge",
    "on the right, at the bottom": f"the centre lies at most {scenes.UNITS - scenes.SIDEWAYS[1]} units from that edge",
    "in the middle": f"the centre lies {scenes.MIDDLE[0]} to {scenes.MIDDLE[1]} units from the left and from the top",
    "the dog": "the only dog in the picture",
    "what is on the left": "the only thing of which this holds; the question is not asked where there are several",
    "small, large": "as the thing was made: large ones are longer by a third or more",
    "bigger, smaller": "a large one beside a small one; the question is not asked of two of one size",
}
_NUMBERS = ("zero", "one", "two", "three", "four")
_CORNERS = tuple(f"{high} {side}" for high in ("top", "bottom") for side in ("left", "right"))

#: Every answer that a question about a scene can have.
ANSWERS: tuple[str, ...] = (
    "yes",
    "no",
    *_NUMBERS,
    *SIZES,
    *PLACES,
    *_CORNERS,
    *BACKGROUNDS,
    *(kind for kind in cast.KINDS if any(one.kind == kind for one in cast.SCENIC)),
    *sorted({one.colour for one in cast.SCENIC if one.colour}),
    *(one.name for one in cast.SCENIC),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, its type, and the answer in the scene that it is asked of."""

    question: str
    type: str
    answer: str


# --------------------------------------------------------------------------------------------------
# The oracle: reads a question by itself and answers it from the scene graph

_RELATION_OF = {
    "to the left of": "left of",
    "to the right of": "right of",
    "above": "above",
    "below": "below",
    "in front of": "in front of",
    "behind": "behind",
    "near": "near",
    "far from": "far from",
}
_PLACE_OF = {
    "on the left": "left",
    "on the right": "right",
    "at the top": "top",
    "at the bottom": "bottom",
    "in the middle": "middle",
}
_PHRASE_OF = {relation: phrase for phrase, relation in _RELATION_OF.items()}
_PHRASE_AT = {place: phrase for phrase, place in _PLACE_OF.items()}


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    singular = "|".join(sorted((one.name for one in cast.CAST), key=len, reverse=True))
    single_kinds = [cast.kind_noun(kind) for kind in cast.KINDS if cast.kind_noun(kind)]
    plural_kinds = [cast.kind_noun(kind, True) for kind in cast.KINDS if cast.kind_noun(kind)]
    plurals = "|".join(
        sorted([*(one.plural for one in cast.CAST), *plural_kinds, "things"], key=len, reverse=True)
    )
    anything = f"{singular}|{'|'.join(single_kinds)}"
    relation, place = "|".join(_RELATION_OF), "|".join(_PLACE_OF)
    where = rf"(?:(?P<relation>{relation}) the (?P<object>{singular})|(?P<place>{place}))"
    rules = (
        ("what", rf"what is {where}"),
        ("kind", rf"what kind of thing is {where}"),
        ("colour", rf"what colour is the thing {where}"),
        ("where", rf"where is the (?P<subject>{singular})"),
        ("how many", rf"how many (?P<plural>{plurals}) (?:are there|can you see)"),
        (
            "exists",
            rf"is there (?P<article>an?) (?P<subject>{anything})(?: (?P<place>{place}))?(?: in the picture)?",
        ),
        ("holds", rf"is the (?P<subject>{singular}) {where}"),
        (
            "bigger",
            rf"which is (?P<way>bigger|smaller) the (?P<subject>{singular}) or the (?P<object>{singular})",
        ),
        ("more", rf"are there more (?P<plural>{plurals}) than (?P<other>{plurals})"),
        ("background", r"(?:what is the background|where was this picture made)"),
        ("size", rf"is the (?P<subject>{singular}) (?:small or large|large or small)"),
    )
    return tuple((name, re.compile(rule)) for name, rule in rules)


@lru_cache(maxsize=16384)
def _parse(question: str) -> tuple[str, dict[str, str]]:
    if not isinstance(question, str):
        raise TypeError(f"a question must be a string, got {type(question).__name__}")
    words = " ".join(question.lower().replace("?", " ").split())
    for name, pattern in _patterns():
        match = pattern.fullmatch(words)
        if match:
            return name, {
                key: value for key, value in match.groupdict().items() if value is not None
            }
    raise ValueError(
        f"cannot read the question {question!r}; the kinds of question are: {', '.join(TYPES)}"
    )


def subtype(question: str) -> str:
    """What has to be seen for an answer: one of :data:`SUBTYPES`.

    Raises:
        ValueError: for a question that has no grammar; TypeError: if it is not a string.
    """
    rule, parts = _parse(question)
    if "place" in parts or rule == "where":
        return "place"
    if "relation" in parts:
        relation = _RELATION_OF[parts["relation"]]
        seen = {
            "in front of": "depth",
            "behind": "depth",
            "near": "distance",
            "far from": "distance",
        }
        return seen.get(relation, "side")
    simple = {
        "exists": "existence",
        "how many": "count",
        "more": "count",
        "bigger": "size",
        "size": "size",
    }
    return simple.get(rule, "ground")


def clear_cut(question: str, scene: Scene, doubt: int = DOUBT) -> bool:
    """Whether the answer would be the same if any one thing lay ``doubt`` units farther left,
    right, up or down.

    Raises:
        ValueError: for a question that has no grammar; TypeError: for other types.
    """
    if subtype(question) in ("existence", "count", "size", "ground"):
        return True
    expected = answer(question, scene)
    for index, one in enumerate(scene.things):
        for dx, dy in ((doubt, 0), (-doubt, 0), (0, doubt), (0, -doubt)):
            x, y = min(max(one.x + dx, 0), scenes.UNITS), min(max(one.y + dy, 0), scenes.UNITS)
            moved = replace(one, x=x, y=y)
            things = (*scene.things[:index], moved, *scene.things[index + 1 :])
            if answer(question, replace(scene, things=things)) != expected:
                return False
    return True


def _the(scene: Scene, name: str) -> int | None:
    """The index of the only thing of that name, or ``None``."""
    found = [index for index, one in enumerate(scene.things) if one.name == name]
    return found[0] if len(found) == 1 else None


def _fits(one: Placed, noun: str, plural: bool) -> bool:
    member = cast.thing(one.name)
    if noun in ("thing", "things"):
        return True
    return noun in ((member.plural if plural else member.name), cast.kind_noun(member.kind, plural))


def _meeting(scene: Scene, parts: dict[str, str]) -> list[int] | None:
    """The things at the place, or in the relation, that a question names; ``None`` where it names
    no single object."""
    if "place" in parts:
        place = _PLACE_OF[parts["place"]]
        return [index for index, one in enumerate(scene.things) if place in place_of(one)]
    to = _the(scene, parts["object"])
    if to is None:
        return None
    relation = _RELATION_OF[parts["relation"]]
    return [
        index
        for index in range(len(scene.things))
        if index != to and related(scene, index, relation, to)
    ]


def answer(question: str, scene: Scene | str) -> str | None:
    """Answer a question from the truth of a scene.

    Args:
        question: words parted by spaces; case and a question mark do not matter.
        scene: the scene, or its JSON.

    Returns:
        The answer, or ``None`` where the question presupposes what is not so ("where is the dog"
        without just one dog, or with one of which no place can clearly be said).

    Raises:
        ValueError: for a question that has no grammar, or JSON that is no scene; TypeError: for
            other types.
    """
    if isinstance(scene, str):
        scene = Scene.from_json(scene)
    if not isinstance(scene, Scene):
        raise TypeError(f"expected a Scene or its JSON, got {type(scene).__name__}")
    rule, parts = _parse(question)
    if rule == "background":
        return scene.background
    if rule in ("what", "kind", "colour"):
        meeting = _meeting(scene, parts)
        if meeting is None or len(meeting) != 1:
            return None
        member = cast.thing(scene.things[meeting[0]].name)
        return {"what": member.name, "kind": member.kind, "colour": member.colour}[rule]
    if rule == "how many":
        return _NUMBERS[sum(_fits(one, parts["plural"], True) for one in scene.things)]
    if rule == "more":
        first, second = (
            sum(_fits(one, parts[key], True) for one in scene.things) for key in ("plural", "other")
        )
        return "yes" if first > second else "no"
    if rule == "exists":
        if (parts["article"] == "an") != (parts["subject"][0] in "aeiou"):
            raise ValueError(f"cannot read the question {question!r}: its article is wrong")
        wanted = _PLACE_OF.get(parts.get("place", ""))
        found = any(
            _fits(one, parts["subject"], False) and (wanted is None or wanted in place_of(one))
            for one in scene.things
        )
        return "yes" if found else "no"
    subject = _the(scene, parts["subject"])
    if subject is None:
        return None
    one = scene.things[subject]
    if rule == "where":
        return " ".join(reversed(place_of(one))) or None
    if rule == "size":
        return one.size
    if rule == "holds":
        meeting = _meeting(scene, parts)
        if meeting is None or parts.get("object") == parts["subject"]:
            return None
        return "yes" if subject in meeting else "no"
    other = _the(scene, parts["object"])  # rule "bigger"
    if other is None or other == subject:
        return None
    pair = (one, scene.things[other])
    if bigger(*pair):
        big, small = pair
    elif bigger(*reversed(pair)):
        small, big = pair
    else:
        return None
    return big.name if parts["way"] == "bigger" else small.name


# --------------------------------------------------------------------------------------------------
# Asking


def ask(
    scene: Scene, names: tuple[str, ...] = (), about: frozenset[str] | None = None
) -> Iterator[Asked]:
    """Every question (in its first wording) that one can sensibly ask of a scene, with its answer.

    The answers come straight from how the scene was made, not through :func:`answer`, which is
    tested against them.

    Args:
        scene: the scene.
        names: further things to ask about that need not be there ("is there a dog").
        about: if given, "the dog" is said of these names only.
    """
    things = scene.things
    present = [one.name for one in things]
    single = {
        name: present.index(name)
        for name in present
        if present.count(name) == 1 and (about is None or name in about)
    }
    at: dict[str, list[int]] = {place: [] for place in PLACES}
    for index, one in enumerate(things):
        for place in place_of(one):
            at[place].append(index)
    spots = [(_PHRASE_AT[place], indices) for place, indices in at.items()]
    for name, to in single.items():
        for relation, phrase in _PHRASE_OF.items():
            indices = [i for i, r, j in scene.relations if r == relation and j == to]
            spots.append((f"{phrase} the {name}", indices))
    for phrase, indices in spots:
        if len(indices) == 1:
            member = cast.thing(present[indices[0]])
            yield Asked(f"what is {phrase}", "what", member.name)
            yield Asked(f"what kind of thing is {phrase}", "kind", member.kind)
            if member.colour:
                yield Asked(f"what colour is the thing {phrase}", "colour", member.colour)
        for name, index in single.items():
            if not phrase.endswith(f" {name}"):
                yield Asked(
                    f"is the {name} {phrase}", "yes/no", "yes" if index in indices else "no"
                )
    for name, index in single.items():
        places = place_of(things[index])
        if places:
            yield Asked(f"where is the {name}", "where", " ".join(places[::-1]))
        yield Asked(f"is the {name} small or large", "size", things[index].size)
        for other, second in single.items():
            if things[index].size != things[second].size:
                big = name if things[index].size == "large" else other
                yield Asked(f"which is bigger the {name} or the {other}", "compare", big)
                yield Asked(
                    f"which is smaller the {name} or the {other}",
                    "compare",
                    other if big == name else name,
                )
    topics = list(dict.fromkeys((*present, *names)))
    kinds = [
        kind
        for kind in dict.fromkeys(cast.thing(name).kind for name in topics)
        if cast.kind_noun(kind)
    ]
    nouns = [
        (cast.thing(name).name, cast.thing(name).plural, present.count(name)) for name in topics
    ]
    of_kind = [sum(one.kind == kind for one in things) for kind in kinds]
    nouns += [
        (cast.kind_noun(k), cast.kind_noun(k, True), n) for k, n in zip(kinds, of_kind, strict=True)
    ]
    for noun, plural, number in nouns:
        article = "an" if noun[0] in "aeiou" else "a"
        yield Asked(
            f"is there {article} {noun} in the picture", "yes/no", "yes" if number else "no"
        )
        yield Asked(f"how many {plural} are there", "how many", _NUMBERS[number])
    for first in nouns[: len(topics)]:
        for second in nouns[: len(topics)]:
            if first != second:
                text = f"are there more {first[1]} than {second[1]}"
                yield Asked(text, "compare", "yes" if first[2] > second[2] else "no")
    yield Asked("how many things are there", "how many", _NUMBERS[len(things)])
    yield Asked("what is the background", "background", scene.background)


# Other wordings of the same question, by its beginning and end
_REWORDED = (
    ("how many ", " are there", "how many ", " can you see"),
    ("what is the background", "", "where was this picture made", ""),
    ("is the ", " small or large", "is the ", " large or small"),
)


def _reword(question: str, dice: Dice) -> str:
    for start, end, new_start, new_end in _REWORDED:
        if question.startswith(start) and question.endswith(end) and dice.chance(50):
            return new_start + question[len(start) : len(question) - len(end)] + new_end
    return question


def contested(first: Scene, second: Scene) -> dict[str, list[tuple[str, str, str]]]:
    """The questions that both scenes answer, differently.

    Returns:
        By type, a list of (question, answer in the first, answer in the second).
    """
    names = tuple(one.name for scene in (first, second) for one in scene.things)
    shared = frozenset(one.name for one in first.things) & {one.name for one in second.things}
    there = {asked.question: asked for asked in ask(second, names, shared)}
    found: dict[str, list[tuple[str, str, str]]] = {}
    for asked in ask(first, names, shared):
        other = there.get(asked.question)
        if other and other.answer != asked.answer:
            found.setdefault(asked.type, []).append((asked.question, asked.answer, other.answer))
    return found


@lru_cache(maxsize=64)
def _strangers(
    split: str, pair: int, seed: int, things: int
) -> tuple[tuple[Asked, ...], tuple[Asked, ...]]:
    first, second = (scenes.sample(split, 2 * pair + k, seed, things) for k in (0, 1))
    dice = Dice("questions", split, seed, pair, *scenes.address(things))
    pool = contested(first, second)
    order = [kind for kind in TYPES if kind in pool]
    dice.shuffle(order)
    rows: list[tuple[str, str, str, str]] = []
    asked: set[str] = set()
    while len(rows) < PER_SCENE and order:
        for kind in order[: PER_SCENE - len(rows)]:
            row = dice.choice(pool[kind])
            if row[0] not in asked:
                asked.add(row[0])
                rows.append((_reword(row[0], dice), kind, row[1], row[2]))
            pool[kind].remove(row)
        order = [kind for kind in order if pool[kind]]
    return tuple(Asked(q, t, a) for q, t, a, _ in rows), tuple(
        Asked(q, t, b) for q, t, _, b in rows
    )


def for_scene(split: str, index: int, seed: int = 0, things: int = ALL_THINGS) -> tuple[Asked, ...]:
    """Four questions about scene ``index`` that its neighbour (``index`` with its last bit flipped)
    answers differently.

    They are of as many types as the two scenes allow; two scenes that differ in very little may
    leave fewer than four.
    """
    return _strangers(split, index // 2, seed, things)[index % 2]


# --------------------------------------------------------------------------------------------------
# Twins


def _rename(scene: Scene, dice: Dice, among: tuple[str, ...]) -> Scene:
    """Another thing in the place of one, of the same size."""
    return scenes.swap(scene, dice.below(len(scene.things)), dice.choice(among))


def _rearrange(scene: Scene, dice: Dice, among: tuple[str, ...]) -> Scene:
    """The same things, laid out anew."""
    names = [one.name for one in scene.things]
    placed = scenes.arrange(names, dice, layered=len(names) > 1 and dice.chance(25))
    return scene if placed is None else replace(scene, things=tuple(placed))


def _recount(scene: Scene, dice: Dice, among: tuple[str, ...]) -> Scene:
    """One thing more (often another of the same) or one less."""
    names = [one.name for one in scene.things]
    if len(names) > 1 and (len(names) == scenes.MOST_THINGS or dice.chance(50)):
        index = dice.below(len(names))
        return replace(scene, things=scene.things[:index] + scene.things[index + 1 :])
    names.append(dice.choice(names) if dice.chance(70) else dice.choice(among))
    placed = scenes.arrange(names, dice)
    return scene if placed is None else replace(scene, things=tuple(placed))


def _reground(scene: Scene, dice: Dice, among: tuple[str, ...]) -> Scene:
    """The same things on another ground."""
    return replace(scene, background=dice.choice(BACKGROUNDS))


_CHANGES = {
    "what": (_rename,),
    "kind": (_rename,),
    "colour": (_rename,),
    "where": (_rearrange,),
    "how many": (_recount,),
    "yes/no": (_rearrange, _rename),
    "compare": (_rearrange, _rearrange, _recount),
    "background": (_reground,),
    "size": (_rearrange,),
}
_WEIGHTS = (18, 10, 12, 14, 20, 12, 5, 5, 4)


def _is_well_made(scene: Scene) -> bool:
    """Whether a changed scene is one that could have been sampled: clear, apart, inside, nothing
    held out."""
    things = scene.things
    for i, one in enumerate(things):
        left, top, right, bottom = one.box
        if left < 0 or top < 0 or right > scenes.UNITS or bottom > scenes.UNITS:
            return False
        for other in things[:i]:
            if not scenes.clear(one, other):
                return False
            if scenes.overlap(one, other) and not scenes.overlaps_well(one, other):
                return False
    return not scenes.held_out(scene)


@dataclass(frozen=True, slots=True)
class Pair:
    """One question asked of two scenes that answer it differently."""

    question: str
    type: str
    scenes: tuple[Scene, Scene]
    answers: tuple[str, str]


@lru_cache(maxsize=64)
def pair(
    split: str, number: int, seed: int = 0, things: int = ALL_THINGS, only: str = "all"
) -> Pair:
    """Pair ``number`` of a split: always the same one.

    Args:
        split: ``"train"`` or ``"test"``.
        number: a whole number from 0.
        seed: another seed gives other pairs.
        things: how many different things the world has (see :func:`scenes.pool`).
        only: one of :data:`TYPES`, of which all questions shall be, or "all".

    Raises:
        ValueError: for an unknown split or type (the right ones are listed), a negative number, or
            too few or many things.
    """
    if split not in SPLITS:
        raise ValueError(f"no split is called {split!r}; there are: {', '.join(SPLITS)}")
    if number < 0:
        raise ValueError(f"a pair's number counts from 0, got {number}")
    if only != "all" and only not in TYPES:
        raise ValueError(
            f"no type of question is called {only!r}; there are: all, {', '.join(TYPES)}"
        )
    among = scenes.pool(things)
    dice = Dice("question pairs", split, seed, number, *scenes.address(things))
    kind = dice.weighted(TYPES, _WEIGHTS)
    kind = kind if only == "all" else only
    relational = dice.chance(60)  # rather about a relation than about a place in the picture
    while True:
        first = scenes.compose(split, dice, among)
        for _ in range(6):
            second = dice.choice(_CHANGES[kind])(first, dice, among)
            if second == first or not _is_well_made(second):
                continue
            found = contested(first, second).get(kind)
            if not found:
                continue
            about_two = [row for row in found if row[0].count(" the ") > 1 or " than " in row[0]]
            among_these = about_two if about_two and relational else found
            for _ in range(4):
                question, *answers = dice.choice(among_these)
                if clear_cut(question, first) and clear_cut(question, second):
                    break
            else:
                continue
            twins = [first, second]
            if dice.chance(50):
                twins.reverse()
                answers.reverse()
            return Pair(_reword(question, dice), kind, tuple(twins), tuple(answers))
