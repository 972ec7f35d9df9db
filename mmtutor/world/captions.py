"""Captions: a small English that can be spoken about scenes, understood again, and checked.

What a caption says is a :class:`Statement`: some things, what is claimed of each, and the ground.
One statement has many wordings; :func:`wordings` lists them, :func:`understand` reads any of them
back, :func:`holds` decides whether a statement is true of a scene, and :func:`is_true` does all of
it for a caption that somebody, or a model, wrote.

The grammar, as :func:`understand` reads it (``[]`` optional, ``{}`` repeated, ``|`` or)::

    caption    = "there" be group {"and" group} [predicates] [ground]
               | ground ("there" be | see) group {"and" group} [predicates]
               | see group {"and" group} [predicates] [ground]          see = "you can see" | "the picture shows" | ...
               | picture group {"and" group} [predicates] [ground]      picture = "a picture of" | "a drawing of"
               | [ground] group {"and" group} be [seen] predicates [ground]   seen = "seen" | "shown"
               | group {"and" group} (be | "can be seen") [predicates] ground
               | group {"and" group} "can be seen" predicates
               | group {"and" group} [predicates] [ground]              a phrase without a verb
               | group "with" group aside [ground]                      aside = "on its left" | "behind it" | ...
               | group "partly" ("hides" | "covers") group [ground]
               | landscape "with" group {"and" group}
               | landscape "where" group {"and" group} be predicates
               | "the background is" landscape
    group      = determiner [size] [colour] noun
    determiner = "a" | "an" | "the" | "one" | "two" | "three" | "four" | "some" | "no"
    noun       = a thing of the cast | a kind ("animal") | "thing", singular or plural
    predicates = predicate {"and" predicate}
    predicate  = relation group | place | size | "partly" ("hidden" | "covered") "by" group

Articles, number and verb must agree: "a apple", "two dog" and "there is two dogs" are not parsable.

What the words mean. "A dog" is at least one, "the dog" the only one, "two dogs ..." exactly two of
which the rest holds, "some dogs" two or more, "no dog" none. Every claim must hold, the ground
included. Relations, places and sizes are those of :mod:`mmtutor.world.scenes`: what is not clearly
so is not so.

>>> from mmtutor.world import captions, scenes
>>> scene = scenes.sample("train", 0)
>>> bool(captions.is_true(f"there is a {scene.things[0].name} in the picture", scene)) in (True, False)
True
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from itertools import combinations

from mmtutor.world import cast
from mmtutor.world._dice import Dice
from mmtutor.world.scenes import (
    BACKGROUNDS,
    OPPOSITE,
    PLACES,
    RELATIONS,
    SIZES,
    Scene,
    bigger,
    place_of,
    related,
)

#: Captions made here have at least and at most so many words.
SHORTEST, LONGEST = 4, 20
PER_SCENE = 5
PER_PORTRAIT = 3


class Verdict(StrEnum):
    """What :func:`is_true` finds. Only ``TRUE`` counts as true in an ``if``."""

    TRUE = "true"
    FALSE = "false"
    UNPARSABLE = "unparsable"

    def __bool__(self) -> bool:
        return self is Verdict.TRUE


# --------------------------------------------------------------------------------------------------
# Meaning

_NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4}
DETERMINERS: tuple[str, ...] = ("a", "the", *_NUMBERS, "some", "no")
#: Comparisons, which are read like relations.
COMPARISONS: tuple[str, ...] = ("bigger than", "smaller than")


@dataclass(frozen=True, slots=True)
class Group:
    """A noun phrase.

    Attributes:
        determiner: one of :data:`DETERMINERS` ("an" is "a").
        noun: a thing's name, a kind with a noun of its own, or ``"thing"``.
        plural: whether the noun is plural.
        size: ``None`` or one of the sizes.
        colour: ``None`` or a colour word.
    """

    determiner: str
    noun: str
    plural: bool = False
    size: str | None = None
    colour: str | None = None

    def members(self, scene: Scene) -> list[int]:
        """The things of a scene that the noun and its adjectives fit."""
        return [
            index
            for index, member in enumerate(scene.members)
            if (self.noun == member.name or self.noun == "thing" or self.noun == member.kind)
            and (self.size is None or self.size == scene.things[index].size)
            and (self.colour is None or self.colour == member.colour)
        ]

    def least(self) -> int:
        """How many things the noun phrase speaks of at least."""
        if self.determiner in ("the", "a"):
            return 2 if self.plural else 1
        return 2 if self.determiner == "some" else _NUMBERS.get(self.determiner, 0)

    def count(self, scene: Scene, claim: Callable[[int], bool]) -> bool:
        """Whether as many members as the determiner says meet a claim."""
        members = self.members(scene)
        meeting = sum(map(claim, members))
        if self.determiner == "the":
            return meeting == len(members) and (
                len(members) >= 2 if self.plural else len(members) == 1
            )
        if self.determiner == "a":
            return meeting >= 1
        if self.determiner == "some":
            return meeting >= 2
        return meeting == _NUMBERS.get(self.determiner, 0)  # "no" is none


@dataclass(frozen=True, slots=True)
class Relation:
    """A claim that a thing stands in a relation (or comparison) to a group."""

    relation: str
    object: Group


@dataclass(frozen=True, slots=True)
class At:
    """A claim that a thing is at a place: one of the places, or two for a corner ("top",
    "left")."""

    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sized:
    """A claim that a thing has a size."""

    size: str


Claim = Relation | At | Sized


@dataclass(frozen=True, slots=True)
class Statement:
    """What a caption says: of each group, every claim; and the ground, unless it is ``None``."""

    groups: tuple[Group, ...]
    claims: tuple[Claim, ...] = ()
    background: str | None = None


def _meets(scene: Scene, index: int, claim: Claim) -> bool:
    if isinstance(claim, At):
        return set(claim.places) <= set(place_of(scene.things[index]))
    if isinstance(claim, Sized):
        return scene.things[index].size == claim.size

    def stands(other: int) -> bool:
        if other == index:
            return False
        if claim.relation == "bigger than":
            return bigger(scene.things[index], scene.things[other])
        if claim.relation == "smaller than":
            return bigger(scene.things[other], scene.things[index])
        return related(scene, index, claim.relation, other)

    return claim.object.count(scene, stands)


def holds(statement: Statement, scene: Scene) -> bool:
    """Whether a statement is true of a scene.

    Groups that are joined by "and" speak of different things: "a pizza and a pizza" takes two
    pizzas, and "a dog and an animal" is not true of a dog alone.
    """
    if statement.background not in (None, scene.background):
        return False

    def meets(index: int) -> bool:
        return all(_meets(scene, index, claim) for claim in statement.claims)

    if not all(group.count(scene, meets) for group in statement.groups):
        return False
    spoken_of = [
        (group.least(), {i for i in group.members(scene) if meets(i)}) for group in statement.groups
    ]
    # Hall's theorem: each group gets things of its own if and only if any few groups have enough
    # between them.
    return all(
        sum(least for least, _ in few) <= len(set().union(*(things for _, things in few)))
        for size in range(2, len(spoken_of) + 1)
        for few in combinations(spoken_of, size)
    )


# --------------------------------------------------------------------------------------------------
# Words

_RELATION_WORDS: dict[str, tuple[str, ...]] = {
    "left of": ("to the left of", "left of", "on the left of"),
    "right of": ("to the right of", "right of", "on the right of"),
    "above": ("above", "over", "higher than"),
    "below": ("below", "under", "lower than"),
    "in front of": ("in front of",),
    "behind": ("behind",),
    "near": ("near", "next to", "close to"),
    "far from": ("far from", "far away from"),
    "bigger than": ("bigger than", "larger than"),
    "smaller than": ("smaller than",),
}
_PLACE_WORDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("left",): ("on the left", "on the left side"),
    ("right",): ("on the right", "on the right side"),
    ("top",): ("at the top",),
    ("bottom",): ("at the bottom",),
    ("middle",): ("in the middle", "in the center"),
    ("left", "top"): ("in the top left corner", "at the top left"),
    ("right", "top"): ("in the top right corner", "at the top right"),
    ("left", "bottom"): ("in the bottom left corner", "at the bottom left"),
    ("right", "bottom"): ("in the bottom right corner", "at the bottom right"),
}
_OF_PICTURE = ("", " of the picture")
#: For each background the ways to say that something is there.
GROUND_WORDS: dict[str, tuple[str, ...]] = {
    "field": ("in the field", "in a field", "on the grass"),
    "beach": ("on the beach", "at the beach"),
    "snow": ("in the snow", "on the snow"),
    "desert": ("in the desert", "in a desert"),
    "forest": ("in the forest", "in the woods"),
    "city": ("in the city", "in the city at night", "at night"),
    "room": ("in the room", "in a room", "indoors"),
    "sea": ("under water", "in the sea"),
}
_LANDSCAPES: dict[str, tuple[str, ...]] = {
    "field": ("a field", "a green field"),
    "beach": ("a beach", "a sandy beach"),
    "snow": ("a snowy hill",),
    "desert": ("a desert", "a hot desert"),
    "forest": ("a forest", "a dark forest"),
    "city": ("a city", "a city at night"),
    "room": ("a room",),
    "sea": ("the sea",),
}
_ASIDE_WORDS: dict[str, tuple[str, ...]] = {
    "left of": ("on its left", "to its left"),
    "right of": ("on its right", "to its right"),
    "above": ("above it",),
    "below": ("below it", "under it"),
    "in front of": ("in front of it",),
    "behind": ("behind it",),
    "near": ("near it", "next to it"),
    "far from": ("far from it",),
}
_SEE = ("you can see", "one can see", "we see", "the picture shows", "this picture shows")
_PICTURE = ("a picture of", "a drawing of")
# "in the picture" says nothing about the ground, so that "there is a dog in the picture" can be
# said of any
_NOWHERE = ("in the picture",)


def _noun(noun: str, plural: bool) -> str:
    if noun == "thing":
        return "things" if plural else "thing"
    if noun in cast.KINDS:
        return cast.kind_noun(noun, plural) or ""
    one = cast.thing(noun)
    return one.plural if plural else one.name


def _say(group: Group) -> str:
    rest = " ".join(filter(None, (group.size, group.colour, _noun(group.noun, group.plural))))
    determiner = "an" if group.determiner == "a" and rest[0] in "aeiou" else group.determiner
    return f"{determiner} {rest}"


# One choice among wordings: given the options, say which. Sampling throws dice; listing walks
# through all of them.
_Choose = Callable[[Sequence[str]], str]


def _wording(statement: Statement, choose: _Choose) -> str:
    """Put a statement into words, one choice at a time."""
    groups, claims, background = statement.groups, statement.claims, statement.background
    if not groups:
        return "the background is " + choose(_LANDSCAPES[background])
    first, several = groups[0], len(groups) > 1
    subject = " and ".join(map(_say, groups))
    be_first = "are" if first.plural else "is"
    be = "are" if several or first.plural else "is"
    relation = claims[0] if len(claims) == 1 and isinstance(claims[0], Relation) else None
    adjectival = any(
        isinstance(claim, Sized) or getattr(claim, "relation", "") in COMPARISONS
        for claim in claims
    )

    forms = ["subject be"]
    if not adjectival:
        forms += ["there", "see", "picture", "phrase", "can be seen"]
        forms += ["be seen"] if claims else []
    if background is not None:
        forms += ["landscape where"] if claims else ["landscape with"]
        forms += ["ground first"] if adjectival else ["ground there", "ground see"]
    if not claims and background is None:
        forms = ["there", "see", "picture", "can be seen"]
    if relation and not several and relation.relation in _ASIDE_WORDS:
        if not first.plural and first.determiner in ("a", "the", "one"):
            forms.append("with aside")
        if relation.relation == "behind":
            forms.append("hidden")
        if relation.relation == "in front of":
            forms.append("hides")
    if adjectival and background is not None:
        forms.remove("subject be")
    form = choose(forms)

    def ground() -> str:
        if background is not None:
            return " " + choose(GROUND_WORDS[background])
        return "" if claims else " " + choose(_NOWHERE)

    def claimed() -> str:
        return " and ".join(_say_claim(claim, choose) for claim in claims)

    def and_claimed() -> str:
        return " " + claimed() if claims else ""

    if form == "there":
        return f"there {be_first} {subject}{and_claimed()}{ground()}"
    if form == "see":
        plain = choose(_SEE)
        silent = background is None and "picture" in plain
        return f"{plain} {subject}{and_claimed()}{'' if silent else ground()}"
    if form == "picture":
        return (
            f"{choose(_PICTURE)} {subject}{and_claimed()}{'' if background is None else ground()}"
        )
    if form == "phrase":
        return f"{subject}{and_claimed()}{ground()}"
    if form == "can be seen":
        return f"{subject} can be seen{and_claimed()}{ground()}"
    if form == "be seen":
        return f"{subject} {be} {choose(('seen', 'shown'))} {claimed()}{ground()}"
    if form == "landscape with":
        return f"{choose(_LANDSCAPES[background])} with {subject}"
    if form == "landscape where":
        return f"{choose(_LANDSCAPES[background])} where {subject} {be} {claimed()}"
    if form == "ground there":
        return f"{choose(GROUND_WORDS[background])} there {be_first} {subject}{and_claimed()}"
    if form == "ground see":
        return f"{choose(GROUND_WORDS[background])} {choose(_SEE[:3])} {subject}{and_claimed()}"
    if form == "ground first":
        return f"{choose(GROUND_WORDS[background])} {subject} {be} {claimed()}"
    if form == "with aside":
        aside = choose(_ASIDE_WORDS[OPPOSITE[relation.relation]])
        return f"{subject} with {_say(relation.object)} {aside}{ground()}"
    if form == "hidden":
        return f"{subject} {be} partly {choose(('hidden', 'covered'))} by {_say(relation.object)}{ground()}"
    if form == "hides":
        verb = choose(("hide", "cover")) + ("" if first.plural else "s")
        return f"{subject} partly {verb} {_say(relation.object)}{ground()}"
    return f"{subject} {be}{and_claimed()}{ground()}"  # "subject be"


def _say_claim(claim: Claim, choose: _Choose) -> str:
    if isinstance(claim, Sized):
        return claim.size
    if isinstance(claim, At):
        return choose(_PLACE_WORDS[claim.places]) + choose(_OF_PICTURE)
    return f"{choose(_RELATION_WORDS[claim.relation])} {_say(claim.object)}"


def wordings(statement: Statement) -> Iterator[str]:
    """Every way in which the grammar words a statement, each once, in a fixed order."""
    seen: set[str] = set()
    path: list[int] = []
    while True:
        options: list[int] = []

        def choose(items: Sequence[str], options: list[int] = options) -> str:
            step = len(options)
            options.append(len(items))
            if step == len(path):
                path.append(0)
            return items[path[step]]

        words = _wording(statement, choose)
        if words not in seen:
            seen.add(words)
            yield words
        while path and path[-1] + 1 == options[len(path) - 1]:
            path.pop()
        if not path:
            return
        path[-1] += 1


# --------------------------------------------------------------------------------------------------
# Understanding: recursive descent with backtracking. Every rule takes a position and yields
# (meaning, next position).

_Phrases = dict[str, list[tuple[tuple[str, ...], object]]]


def _index(pairs: list[tuple[str, object]]) -> _Phrases:
    """Phrases by their first word, the longest first."""
    table: _Phrases = {}
    for phrase, meaning in pairs:
        words = tuple(phrase.split())
        table.setdefault(words[0], []).append((words, meaning))
    for rows in table.values():
        rows.sort(key=lambda row: -len(row[0]))
    return table


def _all(words: dict) -> list[tuple[str, object]]:
    return [(phrase, meaning) for meaning, phrases in words.items() for phrase in phrases]


@cache
def _lexicon() -> dict[str, _Phrases]:
    nouns: list[tuple[str, object]] = []
    for noun in (
        "thing",
        *(kind for kind in cast.KINDS if cast.kind_noun(kind)),
        *(one.name for one in cast.CAST),
    ):
        nouns += [(_noun(noun, plural), (noun, plural)) for plural in (False, True)]
    places = [
        (phrase + tail, places) for phrase, places in _all(_PLACE_WORDS) for tail in _OF_PICTURE
    ]
    return {
        "noun": _index(nouns),
        "relation": _index(_all(_RELATION_WORDS)),
        "place": _index(places),
        "ground": _index([*_all(GROUND_WORDS), *((phrase, None) for phrase in _NOWHERE)]),
        "landscape": _index(_all(_LANDSCAPES)),
        "aside": _index(_all(_ASIDE_WORDS)),
        "see": _index([(phrase, phrase) for phrase in _SEE]),
        "picture": _index([(phrase, phrase) for phrase in _PICTURE]),
    }


class _Reader:
    """The words of one caption, and the grammar's rules over them."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self.end = len(self.words)

    def word(self, at: int) -> str:
        return self.words[at] if at < self.end else ""

    def phrase(self, table: str, at: int) -> Iterator[tuple[object, int]]:
        for words, meaning in _lexicon()[table].get(self.word(at), ()):
            if self.words[at : at + len(words)] == words:
                yield meaning, at + len(words)

    def literal(self, text: str, at: int) -> int | None:
        """The position after these words, or ``None``."""
        words = tuple(text.split())
        return at + len(words) if self.words[at : at + len(words)] == words else None

    def group(self, at: int) -> Iterator[tuple[Group, int]]:
        determiner = self.word(at)
        if determiner not in DETERMINERS and determiner != "an":
            return
        start = at + 1
        vowel = self.word(start)[:1] in tuple("aeiou")
        if (determiner == "an" and not vowel) or (determiner == "a" and vowel):
            return
        determiner = "a" if determiner == "an" else determiner
        size = colour = None
        if self.word(start) in SIZES:
            size, start = self.word(start), start + 1
        if self.word(start) in cast.COLOURS:
            colour, start = self.word(start), start + 1
        for meaning, after in self.phrase("noun", start):
            noun, plural = meaning
            agrees = plural if determiner in ("two", "three", "four", "some") else not plural
            if agrees or determiner in ("the", "no"):
                yield Group(determiner, noun, plural, size, colour), after

    def groups(self, at: int) -> Iterator[tuple[tuple[Group, ...], int]]:
        for group, after in self.group(at):
            yield (group,), after
            if self.word(after) == "and":
                for more, end in self.groups(after + 1):
                    yield (group, *more), end

    def claim(self, at: int, adjectives: bool) -> Iterator[tuple[Claim, int]]:
        for relation, after in self.phrase("relation", at):
            if relation in COMPARISONS and not adjectives:
                continue
            for group, end in self.group(after):
                if group.determiner != "no":
                    yield Relation(relation, group), end
        for places, after in self.phrase("place", at):
            yield At(places), after
        if adjectives and self.word(at) in SIZES:
            yield Sized(self.word(at)), at + 1
        for verb in ("hidden", "covered"):
            after = self.literal(f"partly {verb} by", at) if adjectives else None
            if after is not None:
                for group, end in self.group(after):
                    if group.determiner != "no":
                        yield Relation("behind", group), end

    def claims(self, at: int, adjectives: bool = False) -> Iterator[tuple[tuple[Claim, ...], int]]:
        """One claim or more; ``adjectives`` where a verb "be" comes before them."""
        for claim, after in self.claim(at, adjectives):
            yield (claim,), after
            if self.word(after) == "and":
                for more, end in self.claims(after + 1, adjectives):
                    yield (claim, *more), end

    def ground_to_end(self, at: int, optional: bool = True) -> Iterator[str | None]:
        """What the last words say of the ground, if they are a phrase for one and nothing
        follows."""
        if optional and at == self.end:
            yield None
        for background, after in self.phrase("ground", at):
            if after == self.end:
                yield background

    def rest(self, groups: tuple[Group, ...], at: int) -> Iterator[Statement]:
        """[predicates] [ground] and the end, after groups that stand without "be"."""
        for background in self.ground_to_end(at):
            yield Statement(groups, (), background)
        for claims, after in self.claims(at):
            for background in self.ground_to_end(after):
                yield Statement(groups, claims, background)

    def there(self, at: int) -> Iterator[tuple[tuple[Group, ...], int]]:
        """ "there is/are" and groups, the verb agreeing with the first."""
        be = self.word(at + 1)
        if self.word(at) == "there" and be in ("is", "are"):
            for groups, after in self.groups(at + 2):
                if groups[0].plural == (be == "are"):
                    yield groups, after

    def caption(self) -> Iterator[Statement]:
        """All readings of the whole caption."""
        for groups, after in self.there(0):
            yield from self.rest(groups, after)
        for opening in ("see", "picture"):
            for _, start in self.phrase(opening, 0):
                for groups, after in self.groups(start):
                    yield from self.rest(groups, after)
        for background, start in self.phrase("ground", 0):
            openings = list(self.there(start))
            openings += [
                opening for _, at in self.phrase("see", start) for opening in self.groups(at)
            ]
            for groups, after in openings:
                if after == self.end:
                    yield Statement(groups, (), background)
                yield from (
                    Statement(groups, claims, background)
                    for claims, end in self.claims(after)
                    if end == self.end
                )
            yield from (
                Statement(s.groups, s.claims, background)
                for s in self.sentence(start)
                if s.background is None and s.claims
            )
        for background, start in self.phrase("landscape", 0):
            if self.word(start) == "with":
                for groups, after in self.groups(start + 1):
                    if after == self.end:
                        yield Statement(groups, (), background)
            if self.word(start) == "where":
                for statement in self.sentence(start + 1):
                    if statement.background is None and statement.claims:
                        yield Statement(statement.groups, statement.claims, background)
        start = self.literal("the background is", 0)
        if start is not None:
            for background, after in self.phrase("landscape", start):
                if after == self.end:
                    yield Statement((), (), background)
        yield from self.sentence(0)
        for groups, after in self.groups(0):  # a phrase without a verb
            if after < self.end:
                yield from self.rest(groups, after)
            if len(groups) == 1:
                yield from self.pair(groups[0], after)

    def sentence(self, at: int) -> Iterator[Statement]:
        """group {"and" group} be ... to the end."""
        for groups, after in self.groups(at):
            be = "are" if len(groups) > 1 or groups[0].plural else "is"
            seen = self.literal("can be seen", after)
            if seen is not None and seen < self.end:
                yield from self.rest(groups, seen)
            if self.word(after) != be:
                continue
            for background in self.ground_to_end(after + 1, optional=False):
                yield Statement(groups, (), background)
            shown = self.word(after + 1) in ("seen", "shown")
            for claims, end in self.claims(after + 2 if shown else after + 1, adjectives=not shown):
                for background in self.ground_to_end(end):
                    yield Statement(groups, claims, background)

    def pair(self, group: Group, at: int) -> Iterator[Statement]:
        """ "with another on its left", "partly hides another", after a first group."""
        if self.word(at) == "with" and not group.plural and group.determiner in ("a", "the", "one"):
            for other, after in self.group(at + 1):
                if other.determiner == "no":
                    continue
                for relation, end in self.phrase("aside", after):
                    for background in self.ground_to_end(end):
                        yield Statement(
                            (group,), (Relation(OPPOSITE[relation], other),), background
                        )
        verbs = ("hide", "cover") if group.plural else ("hides", "covers")
        if self.word(at) == "partly" and self.word(at + 1) in verbs:
            for other, after in self.group(at + 2):
                if other.determiner == "no":
                    continue
                for background in self.ground_to_end(after):
                    yield Statement((group,), (Relation("in front of", other),), background)


@lru_cache(maxsize=65536)
def understand(caption: str) -> tuple[Statement, ...]:
    """All readings of a caption (nearly always one; "the sheep" may be one or several), or none if
    it has no grammar.

    Args:
        caption: words parted by spaces; case and a final full stop do not matter.

    Raises:
        TypeError: if it is not a string.
    """
    if not isinstance(caption, str):
        raise TypeError(f"a caption must be a string, got {type(caption).__name__}")
    words = caption.lower().removesuffix(".").split()
    return tuple(dict.fromkeys(_Reader(words).caption()))


def is_true(caption: str, scene: Scene | str) -> Verdict:
    """Whether a caption is true of a scene.

    Args:
        caption: words parted by spaces. An empty one is not parsable.
        scene: a scene, or its JSON (the data set's column ``scene``).

    Returns:
        ``Verdict.TRUE``, ``Verdict.FALSE`` (grammatical, but not so) or ``Verdict.UNPARSABLE``.

    Raises:
        TypeError: for anything that is not a caption and a scene; ValueError: for JSON that is no
            scene.
    """
    if isinstance(scene, str):
        scene = Scene.from_json(scene)
    if not isinstance(scene, Scene):
        raise TypeError(f"expected a Scene or its JSON, got {type(scene).__name__}")
    readings = understand(caption)
    if not readings:
        return Verdict.UNPARSABLE
    return Verdict.TRUE if any(holds(reading, scene) for reading in readings) else Verdict.FALSE


# --------------------------------------------------------------------------------------------------
# Saying what is true


def _mention(scene: Scene, index: int, dice: Dice, plain: bool = False) -> Group:
    """A noun phrase that fits thing ``index``; several alike are counted more often than not."""
    one = scene.things[index]
    member = cast.thing(one.name)
    noun = one.name
    if not plain and cast.kind_noun(member.kind) and dice.chance(12):
        noun = member.kind
    size = one.size if dice.chance(35) else None
    colour = member.colour if member.colour and noun == one.name and dice.chance(10) else None
    alike = len(Group("a", noun, False, size, colour).members(scene))
    if alike == 1:
        return Group(dice.weighted(("a", "the", "one"), (70, 28, 2)), noun, False, size, colour)
    if dice.chance(70):
        number = ("two", "three", "four")[alike - 2]
        return Group("some" if dice.chance(10) else number, noun, True, size, colour)
    return Group("a", noun, False, size, colour)


def _draft(scene: Scene, form: str, dice: Dice) -> Statement | None:
    """A statement of a form that may be true of a scene, or ``None`` where the form does not suit
    it."""
    things = scene.things
    index = dice.below(len(things))
    background = scene.background if dice.chance(60) else None
    if form == "exists":
        return Statement(
            (_mention(scene, index, dice),), (), scene.background if dice.chance(80) else None
        )
    if form == "list":
        order = list(range(len(things)))
        dice.shuffle(order)
        groups: list[Group] = []
        for k in order:
            group = _mention(scene, k, dice, plain=True)
            if all(group.noun != other.noun for other in groups):
                groups.append(group)
        return Statement(tuple(groups[:3]), (), background) if len(groups) > 1 else None
    if form == "relation":
        edges = scene.relations
        if not edges:
            return None
        kept = [edge for edge in edges if edge[1] not in ("near", "far from")]
        i, relation, j = dice.choice(kept if kept and dice.chance(85) else edges)
        claims: tuple[Claim, ...] = (Relation(relation, _mention(scene, j, dice)),)
        return Statement((_mention(scene, i, dice),), claims, background)
    if form == "place":
        places = place_of(things[index])
        if not places:
            return None
        kept_places = places if len(places) == 1 or dice.chance(40) else (dice.choice(places),)
        return Statement((_mention(scene, index, dice),), (At(tuple(kept_places)),), background)
    if form == "size":
        group = Group("the", things[index].name)
        return Statement(
            (group,), (Sized(things[index].size),), background if dice.chance(30) else None
        )
    if form == "compare":
        pairs = [(i, j) for i, a in enumerate(things) for j, b in enumerate(things) if bigger(a, b)]
        if not pairs:
            return None
        i, j = dice.choice(pairs)
        word = dice.choice(COMPARISONS)
        if word == "smaller than":
            i, j = j, i
        claims = (Relation(word, Group("the", things[j].name)),)
        return Statement((Group("the", things[i].name),), claims)
    if form == "count":
        kind = cast.thing(things[index].name).kind
        noun = kind if cast.kind_noun(kind) and dice.chance(40) else "thing"
        number = len(Group("a", noun).members(scene))
        group = Group(("one", "two", "three", "four")[number - 1], noun, number > 1)
        return Statement((group,), (), scene.background if dice.chance(70) else None)
    return Statement((), (), scene.background)  # form "ground"


# grammatical, but nobody says it
_STIFF = (
    "there is the ",
    "there are the ",
    "a picture of the ",
    "drawing of the ",
    " is at night",
    " are at night",
)
_FORMS = ("exists", "list", "relation", "place", "size", "compare", "count", "ground")
_WEIGHTS = (22, 20, 32, 12, 3, 5, 4, 2)


def captions(scene: Scene, dice: Dice | int = 0, count: int = PER_SCENE) -> list[str]:
    """Different true captions of a scene, as people might word them.

    Args:
        scene: the scene.
        dice: where chance comes from, or a seed.
        count: how many, 1 to 50.

    Returns:
        ``count`` captions of 4 to 20 words. Where two things stand in a relation, the first caption
        tells one.

    Raises:
        ValueError: for a count out of range.
    """
    if not 1 <= count <= 50:
        raise ValueError(f"count must be from 1 to 50, got {count}")
    if not isinstance(dice, Dice):
        dice = Dice("captions", dice, scene.to_json())
    found: list[str] = []
    while len(found) < count:
        form = dice.weighted(_FORMS, _WEIGHTS)
        if not found and len(scene.things) > 1 and scene.relations:
            form = "relation"
        statement = _draft(scene, form, dice)
        if statement is None or not holds(statement, scene):
            continue
        words = _wording(statement, dice.choice)
        if any(stiff in words for stiff in _STIFF):
            continue
        if SHORTEST <= words.count(" ") + 1 <= LONGEST and words not in found:
            found.append(words)
    return found


def naming(scene: Scene, dice: Dice | int = 0, count: int = PER_PORTRAIT) -> list[str]:
    """Different true captions that name one thing and the ground, and say nothing else: for text to
    image.

    Args:
        scene: a scene of one thing.
        dice: where chance comes from, or a seed.
        count: how many, 1 to 10.

    Returns:
        ``count`` captions of 4 to 20 words. None of them is true of another thing or of another
        ground.

    Raises:
        ValueError: for a count out of range, or a scene of several things.
    """
    if not 1 <= count <= 10:
        raise ValueError(f"count must be from 1 to 10, got {count}")
    if len(scene.things) != 1:
        raise ValueError(f"naming takes a scene of one thing, got one of {len(scene.things)}")
    if not isinstance(dice, Dice):
        dice = Dice("naming", dice, scene.to_json())
    found: list[str] = []
    while len(found) < count:
        group = Group(dice.weighted(("a", "the", "one"), (80, 15, 5)), scene.things[0].name)
        words = _wording(Statement((group,), (), scene.background), dice.choice)
        unnamed = "at night" in words and "city" not in words  # night is a time, not a place
        if unnamed or any(stiff in words for stiff in _STIFF):
            continue
        if SHORTEST <= words.count(" ") + 1 <= LONGEST and words not in found:
            found.append(words)
    return found


def describe(scene: Scene) -> Iterator[Statement]:
    """All true statements about a scene that have one or two plain groups and at most one claim,
    each once.

    Every statement can be worded in many ways (:func:`wordings`). The family is: each noun that
    fits anything in the scene (name, kind, "thing"), with and without its size, under every
    determiner; alone, in pairs, at each place, in each relation to each such group; with the ground
    and without.
    """
    plain = list(dict.fromkeys(_fitting(scene)))
    claims: list[Claim] = [At(places) for places in _PLACE_WORDS]
    claims += [Sized(size) for size in SIZES]
    claims += [
        Relation(relation, group) for relation in (*RELATIONS, *COMPARISONS) for group in plain
    ]
    for background in (None, scene.background):
        if background is not None:
            yield Statement((), (), background)
        for group in plain:
            for claim in (None, *claims):
                statement = Statement((group,), () if claim is None else (claim,), background)
                if holds(statement, scene):
                    yield statement
        for pair in combinations(plain, 2):
            statement = Statement(pair, (), background)
            if pair[0].noun != pair[1].noun and holds(statement, scene):
                yield statement


def _fitting(scene: Scene) -> Iterator[Group]:
    for one in scene.things:
        kind = cast.thing(one.name).kind
        for noun in (one.name, *((kind,) if cast.kind_noun(kind) else ()), "thing"):
            for size in (None, one.size):
                number = len(Group("a", noun, False, size).members(scene))
                yield Group("a", noun, False, size)
                if number == 1:
                    yield from (Group(word, noun, False, size) for word in ("the", "one"))
                else:
                    yield from (
                        Group(w, noun, True, size)
                        for w in ("the", "some", ("two", "three", "four")[number - 2])
                    )


def vocabulary(scenic_only: bool = True) -> list[str]:
    """Every word that captions can use, sorted.

    Args:
        scenic_only: only the things that scenes show; else the whole cast.
    """
    words = {
        "the",
        "a",
        "an",
        "is",
        "are",
        "there",
        "and",
        "with",
        "where",
        "background",
        "be",
        "can",
        "seen",
        "shown",
    }
    words |= {
        "partly",
        "hidden",
        "covered",
        "by",
        "hide",
        "hides",
        "cover",
        "covers",
        "thing",
        "things",
    }
    words |= {*DETERMINERS, *SIZES}
    tables = (_RELATION_WORDS, _PLACE_WORDS, GROUND_WORDS, _LANDSCAPES, _ASIDE_WORDS)
    phrases = [phrase for table in tables for phrase, _ in _all(table)]
    phrases += [*_OF_PICTURE, *_SEE, *_PICTURE, *_NOWHERE]
    members = cast.SCENIC if scenic_only else cast.CAST
    phrases += [name for one in members for name in (one.name, one.plural, one.colour or "")]
    for kind in {one.kind for one in members}:
        if cast.kind_noun(kind):
            phrases += [_noun(kind, False), _noun(kind, True)]
    return sorted(words | {word for phrase in phrases for word in phrase.split()})


__all__ = [
    "BACKGROUNDS",
    "COMPARISONS",
    "DETERMINERS",
    "LONGEST",
    "PER_PORTRAIT",
    "PER_SCENE",
    "PLACES",
    "SHORTEST",
    "At",
    "Group",
    "Relation",
    "Sized",
    "Statement",
    "Verdict",
    "captions",
    "describe",
    "holds",
    "is_true",
    "naming",
    "understand",
    "vocabulary",
    "wordings",
]
