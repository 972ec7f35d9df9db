"""Dishes: recipes whose picture depends on what goes in and on the order of the steps.

Sauce before cheese looks other than cheese before sauce; tomatoes chopped before they are added lie
in pieces, chopped too late they do not; what is in when the dish is baked browns, what comes later
stays fresh; who turns the cake over before the cream is on has cream on top. So the same words in
another order make another picture: recipes 2k and 2k + 1 of the data set have the same sentences,
differently ordered, and different pictures. Nothing that is in a dish is hidden: a stack shows its
layers from the side, a round dish as rings (each layer leaves a rim of the one before), a stick in
a row. Twins are only taken where :func:`order_shows` says that the order alone changes a good part
of the picture (:data:`LEAST_SHOWN`).

What a recipe makes is a list of :class:`Layer`, from the bottom (or the middle, or the left) on:
:func:`layers` works it out from the steps, :func:`read` reads the steps from the sentences,
:func:`draw_dish` draws the layers.

>>> from mmtutor.world import dishes
>>> recipe = dishes.sample("train", 0)
>>> dishes.layers(dishes.read(recipe.instructions)) == recipe.layers
True
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import isqrt
from typing import TYPE_CHECKING, NamedTuple

from mmtutor.world._dice import Dice
from mmtutor.world.cast import check_size

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

SPLITS: tuple[str, ...] = ("train", "test")
MIN_PIXELS, MAX_PIXELS = 32, 512
Colour = tuple[int, int, int]


class Ingredient(NamedTuple):
    """What an ingredient looks like: colour and form ("slab", "sheet", "leaf", "spread", "pieces",
    "scoop")."""

    colour: Colour
    form: str
    shape: str = "round"


#: Everything that recipes use.
INGREDIENTS: dict[str, Ingredient] = {
    "bread": Ingredient((228, 180, 112), "slab"),
    "bun": Ingredient((222, 160, 84), "slab"),
    "sponge": Ingredient((242, 206, 128), "slab"),
    "pancakes": Ingredient((232, 178, 104), "slab"),
    "patty": Ingredient((124, 76, 48), "slab"),
    "pasta": Ingredient((250, 230, 168), "sheet"),
    "cheese": Ingredient((254, 210, 70), "sheet"),
    "ham": Ingredient((242, 156, 166), "sheet"),
    "bacon": Ingredient((196, 84, 70), "sheet"),
    "lettuce": Ingredient((128, 198, 76), "leaf"),
    "spinach": Ingredient((56, 128, 64), "leaf"),
    "basil": Ingredient((46, 150, 66), "pieces", "leaf"),
    "tomatoes": Ingredient((226, 62, 50), "pieces"),
    "cucumber": Ingredient((156, 206, 116), "pieces"),
    "onions": Ingredient((216, 176, 220), "pieces", "ring"),
    "eggs": Ingredient((255, 248, 224), "pieces", "egg"),
    "mushrooms": Ingredient((218, 194, 164), "pieces"),
    "olives": Ingredient((58, 62, 50), "pieces", "ring"),
    "peppers": Ingredient((242, 126, 40), "pieces", "square"),
    "carrots": Ingredient((246, 140, 44), "pieces"),
    "corn": Ingredient((252, 220, 84), "pieces", "square"),
    "peas": Ingredient((112, 182, 74), "pieces"),
    "tofu": Ingredient((246, 238, 214), "pieces", "square"),
    "chicken": Ingredient((226, 186, 130), "pieces", "square"),
    "pineapple": Ingredient((252, 224, 96), "pieces", "square"),
    "strawberries": Ingredient((230, 50, 66), "pieces", "drop"),
    "blueberries": Ingredient((78, 88, 172), "pieces"),
    "cherries": Ingredient((176, 22, 52), "pieces"),
    "bananas": Ingredient((253, 236, 150), "pieces"),
    "kiwis": Ingredient((146, 196, 76), "pieces", "ring"),
    "grapes": Ingredient((136, 96, 176), "pieces"),
    "granola": Ingredient((194, 146, 86), "pieces", "square"),
    "croutons": Ingredient((220, 172, 100), "pieces", "square"),
    "ketchup": Ingredient((204, 34, 32), "spread"),
    "mustard": Ingredient((222, 182, 42), "spread"),
    "tomato sauce": Ingredient((210, 66, 44), "spread"),
    "white sauce": Ingredient((250, 244, 228), "spread"),
    "pesto": Ingredient((106, 142, 58), "spread"),
    "cream": Ingredient((255, 250, 242), "spread"),
    "chocolate": Ingredient((96, 58, 38), "spread"),
    "jam": Ingredient((172, 32, 74), "spread"),
    "custard": Ingredient((250, 226, 120), "spread"),
    "syrup": Ingredient((184, 106, 34), "spread"),
    "honey": Ingredient((238, 178, 52), "spread"),
    "yoghurt": Ingredient((246, 246, 252), "spread"),
    "curry": Ingredient((206, 142, 40), "spread"),
    "rice": Ingredient((252, 250, 240), "spread"),
    "noodles": Ingredient((244, 220, 140), "spread"),
    "broth": Ingredient((196, 138, 78), "spread"),
    "dough": Ingredient((240, 212, 156), "spread"),
    "crust": Ingredient((214, 164, 94), "spread"),
    "beaten egg": Ingredient((252, 222, 104), "spread"),
    "pea soup": Ingredient((142, 178, 82), "spread"),
    "vanilla ice": Ingredient((255, 242, 200), "scoop"),
    "chocolate ice": Ingredient((120, 78, 54), "scoop"),
    "berry ice": Ingredient((232, 130, 164), "scoop"),
    "mint ice": Ingredient((160, 222, 190), "scoop"),
}


class Kind(NamedTuple):
    """A class of dish: how it is seen, what it starts and ends with, and what may go in and be done
    to it."""

    view: str  # "side", "top" or "row"
    base: str
    lid: str | None
    pool: tuple[str, ...]
    bakes: bool
    turns: bool
    vessel: str


def _kind(view: str, base: str, lid: str | None, pool: str, extras: str, vessel: str) -> Kind:
    return Kind(
        view, base, lid, tuple(pool.split(", ")), "bake" in extras, "turn" in extras, vessel
    )


#: The classes of dish.
CLASSES: dict[str, Kind] = {
    "sandwich": _kind(
        "side", "bread", "bread", "cheese, ham, bacon, lettuce, tomatoes, cucumber, eggs, mustard, pesto", "turn", "board"
    ),
    "burger": _kind("side", "bun", "bun", "patty, cheese, bacon, lettuce, tomatoes, onions, ketchup, mustard", "", "board"),
    "cake": _kind(
        "side", "sponge", None, "sponge, cream, chocolate, jam, custard, strawberries, cherries, blueberries", "turn", "plate"
    ),
    "pancakes": _kind(
        "side", "pancakes", None, "pancakes, syrup, honey, cream, bananas, blueberries, strawberries", "turn", "plate"
    ),
    "lasagna": _kind(
        "side", "pasta", None, "pasta, tomato sauce, white sauce, cheese, spinach, mushrooms, ham, eggs", "bake", "pan"
    ),
    "parfait": _kind(
        "side", "yoghurt", None, "granola, strawberries, blueberries, bananas, kiwis, honey, jam, cream", "", "glass"
    ),
    "sundae": _kind(
        "side", "vanilla ice", None, "chocolate ice, berry ice, mint ice, chocolate, syrup, cream, cherries", "", "cup"
    ),
    "pizza": _kind(
        "top", "dough", None,
        "tomato sauce, cheese, pesto, mushrooms, olives, basil, ham, pineapple, peppers", "bake", "board",
    ),
    "salad": _kind(
        "top", "lettuce", None, "tomatoes, cucumber, eggs, olives, corn, onions, croutons, white sauce, pesto", "", "bowl"
    ),
    "soup": _kind("top", "pea soup", None, "cream, croutons, carrots, peas, basil, pesto, bacon, onions", "", "bowl"),
    "omelette": _kind("top", "beaten egg", None, "cheese, mushrooms, tomatoes, spinach, peppers, ham, basil", "bake", "pan"),
    "noodles": _kind("top", "noodles", None, "broth, eggs, mushrooms, corn, spinach, carrots, tofu, chicken", "", "bowl"),
    "tart": _kind("top", "crust", None, "custard, jam, chocolate, strawberries, blueberries, kiwis, grapes", "bake", "plate"),
    "curry": _kind("top", "rice", None, "curry, carrots, peas, chicken, tofu, eggs, spinach, yoghurt", "", "plate"),
    "kebab": _kind("row", "onions", None, "tomatoes, peppers, mushrooms, chicken, tofu, pineapple, olives", "bake", "stick"),
    "fruit stick": _kind("row", "grapes", None, "strawberries, bananas, kiwis, pineapple, cherries, blueberries", "", "stick"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is done: "start", "add", "chop", "toast", "mix", "bake", "turn", "wash" or
    "serve", and to what."""

    action: str
    items: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a dish: its ingredients (two where they were mixed), whether in pieces, whether
    browned."""

    items: tuple[str, ...]
    chopped: bool = False
    browned: bool = False

    def __str__(self) -> str:
        how = [
            word for word, holds in (("chopped", self.chopped), ("browned", self.browned)) if holds
        ]
        return " ".join((*how, " and ".join(self.items)))


def layers(steps: Sequence[Step]) -> tuple[Layer, ...]:
    """What comes of a list of steps: the layers from the bottom (middle, left) to the top.

    Chopping, toasting and mixing change what is added *later*; baking browns what is in *so far*;
    turning over reverses what is in so far. Washing and serving change nothing. "The mixture" is
    what was mixed last.

    Raises:
        ValueError: for an unknown action, or a mixture that is added before anything was mixed.
    """
    chopped: set[str] = set()
    toasted: set[str] = set()
    mixture: tuple[str, ...] | None = None
    dish: list[Layer] = []
    for step in steps:
        if step.action in ("start", "add"):
            items = step.items
            if items == ("mixture",):
                if mixture is None:
                    raise ValueError("the mixture is added before anything was mixed")
                items = mixture
            dish.append(
                Layer(items, all(i in chopped for i in items), any(i in toasted for i in items))
            )
        elif step.action == "chop":
            chopped.update(step.items)
        elif step.action == "toast":
            toasted.update(step.items)
        elif step.action == "mix":
            mixture = tuple(sorted(step.items))
        elif step.action == "bake":
            dish = [replace(layer, browned=True) for layer in dish]
        elif step.action == "turn":
            dish.reverse()
        elif step.action not in ("wash", "serve"):
            raise ValueError(
                f"no step is called {step.action!r}; there are: {', '.join(_SENTENCES)}"
            )
    return tuple(dish)


# --------------------------------------------------------------------------------------------------
# Sentences

_SENTENCES: dict[str, tuple[str, ...]] = {
    "start": ("start with the {}", "take the {} first"),
    "add": ("add the {}", "put the {} on next", "now comes the {}", "then use the {}"),
    "chop": ("chop the {}", "cut the {} into small pieces"),
    "toast": ("toast the {}", "fry the {} until brown"),
    "mix": ("mix the {} with the {}", "stir the {} into the {}"),
    "bake": ("bake everything until golden", "put it all into the hot oven"),
    "turn": ("turn the whole thing over", "flip everything upside down"),
    "wash": ("wash the {}", "rinse the {} with water"),
    "serve": ("serve at once", "enjoy your meal"),
}
_ITEM = "(" + "|".join(sorted((*INGREDIENTS, "mixture"), key=len, reverse=True)) + ")"
_PATTERNS = [
    (action, re.compile(sentence.replace("{}", _ITEM)))
    for action, texts in _SENTENCES.items()
    for sentence in texts
]


def read(instructions: Sequence[str]) -> list[Step]:
    """Read the steps from the sentences of a recipe.

    Raises:
        TypeError: if it is one string instead of a list of them.
        ValueError: for a sentence that is none of the grammar's.
    """
    if isinstance(instructions, str):
        raise TypeError("instructions must be a list of sentences, not one string")
    return [_read(sentence) for sentence in instructions]


@lru_cache(maxsize=4096)
def _read(sentence: str) -> Step:
    words = " ".join(sentence.lower().removesuffix(".").split())
    for action, pattern in _PATTERNS:
        match = pattern.fullmatch(words)
        if match:
            return Step(action, match.groups())
    raise ValueError(
        f"cannot read the step {sentence!r}; steps are such as {_SENTENCES['add'][0].format('cheese')!r}"
    )


@dataclass(frozen=True)
class Recipe:
    """A recipe.

    Attributes:
        dish: its class, one of :data:`CLASSES`.
        title: its name, which does not tell the order.
        ingredients: what it needs, sorted.
        instructions: the sentences, in order.
        variant: what the picture's table, plate and chance details are drawn from.

    Raises:
        ValueError: for an unknown class, a sentence that cannot be read, or if nothing goes into
            the dish.
    """

    dish: str
    title: str
    ingredients: tuple[str, ...]
    instructions: tuple[str, ...]
    variant: int = 0

    def __post_init__(self) -> None:
        if self.dish not in CLASSES:
            raise ValueError(f"no dish is called {self.dish!r}; there are: {', '.join(CLASSES)}")
        if not layers(read(self.instructions)):
            raise ValueError(
                f"nothing goes into this {self.dish}: a recipe needs a step such as 'add the cheese'"
            )

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """What it makes."""
        return layers(read(self.instructions))

    def to_json(self) -> str:
        """The recipe as one line of JSON."""
        return json.dumps(
            {
                "dish": self.dish,
                "title": self.title,
                "ingredients": self.ingredients,
                "instructions": self.instructions,
                "variant": self.variant,
            }
        )

    @staticmethod
    def from_json(text: str) -> Recipe:
        """The recipe that :meth:`to_json` wrote.

        Raises:
            ValueError: if the text is not a recipe.
        """
        try:
            raw = json.loads(text)
            return Recipe(
                raw["dish"],
                raw["title"],
                tuple(raw["ingredients"]),
                tuple(raw["instructions"]),
                int(raw["variant"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not a recipe in JSON: {error!r}") from None


# --------------------------------------------------------------------------------------------------
# Sampling


def _invent(dish: str, dice: Dice) -> list[Step]:
    """Steps that make sense for a class: start, prepare before adding (mostly), add, now and then
    bake or turn."""
    kind = CLASSES[dish]
    pool = list(kind.pool)
    dice.shuffle(pool)
    chosen = pool[: dice.between(3, 5)]
    body = [Step("add", (item,)) for item in chosen]
    if (
        kind.view == "side" and kind.base in kind.pool and dice.chance(70)
    ):  # a second sponge, pancake, sheet of pasta
        body.append(Step("add", (kind.base,)))
    if kind.view == "row" and dice.chance(60):
        body.append(Step("add", (dice.choice(chosen),)))
    spreads = [item for item in chosen if INGREDIENTS[item].form == "spread"]
    if len(spreads) > 1 and dice.chance(40):
        both = spreads[:2]
        body = [step for step in body if step.items[0] not in both]
        body.append(Step("add", ("mixture",)))
        body.insert(0, Step("mix", tuple(both)))
    pieces = [item for item in chosen if INGREDIENTS[item].form == "pieces"]
    if pieces and dice.chance(70):
        body.append(Step("chop", (dice.choice(pieces),)))
    warm = [
        i
        for i in chosen
        if INGREDIENTS[i].form in ("sheet", "slab") or i in ("mushrooms", "chicken", "tofu")
    ]
    if warm and dice.chance(30):
        body.append(Step("toast", (dice.choice(warm),)))
    if kind.bakes and dice.chance(75):
        body.append(Step("bake"))
    if kind.turns and dice.chance(35):
        body.append(Step("turn"))
    if dice.chance(25):
        body.append(Step("wash", (dice.choice(chosen),)))
    return body


def _ordered(dish: str, body: list[tuple[Step, str]], dice: Dice) -> list[tuple[Step, str]]:
    """One order in which the steps can be done: anything may come anywhere, but a mixture only once
    it is mixed."""
    while True:
        body = list(body)
        dice.shuffle(body)
        position = {
            step.items if step.action == "add" else step.action: k
            for k, (step, _) in enumerate(body)
        }
        if position.get(("mixture",), 99) > position.get("mix", -1):
            return body


def _key(dish: str, steps: Sequence[Step]) -> str:
    """What two orders of one recipe have in common: its class and its steps, sorted."""
    return dish + "|" + "|".join(sorted(f"{step.action} {' '.join(step.items)}" for step in steps))


def sample(split: str, index: int, seed: int = 0) -> Recipe:
    """Recipe number ``index`` of a split: always the same one. An odd one reorders the sentences of
    the one before.

    Raises:
        ValueError: for an unknown split (the right ones are listed) or a negative index.
    """
    if split not in SPLITS:
        raise ValueError(f"no split is called {split!r}; there are: {', '.join(SPLITS)}")
    if index < 0:
        raise ValueError(f"an index counts from 0, got {index}")
    return _pair(split, index // 2, seed)[index % 2]


@lru_cache(maxsize=64)
def _pair(split: str, number: int, seed: int) -> tuple[Recipe, Recipe]:
    """Two recipes of the same sentences in different orders that make different dishes."""
    dice = Dice("dishes", split, seed, number)
    dish = dice.choice(tuple(CLASSES))
    kind = CLASSES[dish]
    while True:
        steps = _invent(dish, dice)
        # a recipe belongs to one split, whatever its order, its wording and the seed
        if (Dice("dish split", _key(dish, steps)).below(5) == 0) != (split == "test"):
            continue
        body = [(step, dice.choice(_SENTENCES[step.action]).format(*step.items)) for step in steps]
        first = (Step("start", (kind.base,)), dice.choice(_SENTENCES["start"]).format(kind.base))
        last = [(Step("serve"), dice.choice(_SENTENCES["serve"]))] if dice.chance(50) else []
        if kind.lid:
            last.insert(
                0, (Step("add", (kind.lid,)), dice.choice(_SENTENCES["add"]).format(kind.lid))
            )
        for _ in range(8):
            orders = [[first, *_ordered(dish, body, dice), *last] for _ in range(2)]
            made = [layers([step for step, _ in order]) for order in orders]
            if order_shows(dish, *made) >= LEAST_SHOWN:
                break
        else:
            continue
        needed = sorted({item for step in steps for item in step.items} - {"mixture"} | {kind.base})
        named = sorted(dice.choice([needed, needed[::-1]])[:2])
        title = " and ".join(item for item in named if item != dish) + " " + dish
        return tuple(
            Recipe(
                dish, title, tuple(needed), tuple(text for _, text in order), dice.below(1 << 16)
            )
            for order in orders
        )


# --------------------------------------------------------------------------------------------------
# Drawing, on a square of 240 units, drawn large and averaged down

_SQUARE = 240
_INK = (52, 40, 34)
_TABLES = (((226, 196, 160), (214, 182, 144)), ((206, 222, 232), (232, 242, 248)), ((232, 212, 214), (246, 234, 234)),
           ((214, 226, 202), (234, 242, 226)), ((196, 190, 204), (214, 208, 222)))  # fmt: skip


def _colour(layer: Layer) -> Colour:
    """The colour of a layer: the mean of what was mixed, browned if it was."""
    parts = [INGREDIENTS[item].colour for item in layer.items]
    mean = [sum(channel) // len(parts) for channel in zip(*parts, strict=True)]
    if layer.browned:
        mean = [value * factor // 256 for value, factor in zip(mean, (218, 178, 132), strict=True)]
    return tuple(mean)


def _shade(colour: Colour, percent: int) -> Colour:
    return tuple(min(255, max(0, value * percent // 100)) for value in colour)


class _Brush:
    """A pen that works in units of the square on a canvas of ``scale`` pixels a unit (in 16ths)."""

    def __init__(self, pen: ImageDraw.ImageDraw, size: int) -> None:
        self.pen, self.size = pen, size

    def _to(self, values: Sequence[int]) -> list[int]:
        return [value * self.size // _SQUARE for value in values]

    @property
    def ink(self) -> int:
        return max(1, self.size * 3 // _SQUARE)

    def oval(
        self, x: int, y: int, rx: int, ry: int, fill: Colour | None, outline: Colour | None = _INK
    ) -> None:
        self.pen.ellipse(
            self._to((x - rx, y - ry, x + rx, y + ry)), fill=fill, outline=outline, width=self.ink
        )

    def box(
        self,
        x0: int,
        y0: int,
        x1: int,
        y1: int,
        fill: Colour,
        round_: int = 0,
        outline: Colour | None = _INK,
    ) -> None:
        radius = round_ * self.size // _SQUARE
        self.pen.rounded_rectangle(
            self._to((x0, y0, x1, y1)), radius, fill=fill, outline=outline, width=self.ink
        )

    def shape(
        self, points: Sequence[tuple[int, int]], fill: Colour, outline: Colour | None = _INK
    ) -> None:
        scaled = [tuple(self._to(point)) for point in points]
        self.pen.polygon(scaled, fill=fill)
        if outline:
            self.pen.line([*scaled, scaled[0]], fill=outline, width=self.ink, joint="curve")

    def line(self, points: Sequence[tuple[int, int]], fill: Colour, width: int) -> None:
        scaled = [tuple(self._to(point)) for point in points]
        self.pen.line(scaled, fill=fill, width=max(1, width * self.size // _SQUARE), joint="curve")


def _piece(brush: _Brush, x: int, y: int, r: int, item: str, colour: Colour, chopped: bool) -> None:
    """One piece of an ingredient with its typical shape; chopped it is a small rough square."""
    if chopped:
        r = r * 5 // 8
        brush.shape(
            [(x - r, y - r // 2), (x + r // 2, y - r), (x + r, y + r // 2), (x - r // 2, y + r)],
            colour,
        )
        return
    shape = INGREDIENTS[item].shape
    if shape == "square":
        brush.box(x - r, y - r * 3 // 4, x + r, y + r * 3 // 4, colour, 3)
    elif shape == "leaf":
        brush.shape(
            [(x - r, y), (x - r // 3, y - r * 2 // 3), (x + r, y), (x - r // 3, y + r * 2 // 3)],
            colour,
        )
    elif shape == "drop":
        brush.shape(
            [
                (x - r, y - r * 2 // 3),
                (x + r, y - r * 2 // 3),
                (x + r // 2, y + r // 2),
                (x, y + r),
                (x - r // 2, y + r // 2),
            ],
            colour,
        )
    else:
        brush.oval(x, y, r, r, colour)
        if shape == "ring":
            brush.oval(
                x,
                y,
                max(2, r * 2 // 5),
                max(2, r * 2 // 5),
                _shade(colour, 135 if sum(colour) < 400 else 82),
            )
        elif shape == "egg":
            brush.oval(
                x,
                y,
                max(2, r // 2),
                max(2, r // 2),
                _shade((250, 186, 52), 70 if sum(colour) < 560 else 100),
                None,
            )
        else:
            brush.oval(
                x - r // 3, y - r // 3, max(1, r // 4), max(1, r // 4), _shade(colour, 122), None
            )


def _table(brush: _Brush, dice: Dice) -> None:
    light, dark = dice.choice(_TABLES)
    brush.box(-4, -4, _SQUARE + 4, _SQUARE + 4, light, 0, None)
    step = dice.choice((24, 30, 40))
    if dice.chance(50):  # a chequered cloth, or boards
        for x in range(0, _SQUARE, 2 * step):
            for y in range(0, _SQUARE, step):
                brush.box(
                    x + step * (y // step % 2),
                    y,
                    x + step * (y // step % 2) + step,
                    y + step,
                    dark,
                    0,
                    None,
                )
    else:
        for y in range(0, _SQUARE, step):
            brush.line([(0, y), (_SQUARE, y)], dark, 3)


# What lies where: the drawing and :func:`order_shows` both go by it.

_FLOOR, _ROOM = 212, 184  # units: where a stack stands, and how high it may be
_ACROSS = {
    "board": (30, 210),
    "plate": (30, 210),
    "pan": (30, 210),
    "glass": (44, 196),
    "cup": (44, 196),
}
_REACH = 106  # radius of a round dish
_STICKS = (48, 120, 192)  # the middles of three sticks that are all alike


def _heights(made: Sequence[Layer]) -> list[int]:
    """How high each layer of a stack is, in units."""
    tall = {"slab": 26, "sheet": 16, "leaf": 18, "spread": 18, "pieces": 22, "scoop": 40}
    heights = [tall[INGREDIENTS[layer.items[0]].form] for layer in made]
    total = sum(heights)
    room = min(_ROOM, total * 2)  # low stacks are drawn thicker
    return [height * room // total for height in heights]


def _rings(count: int) -> list[int]:
    """How far each layer of a round dish reaches, in units: each leaves a rim of the one before,
    all of equal area."""
    return [isqrt(_REACH * _REACH * (count - k) // count) for k in range(count)]


def _spacing(count: int) -> int:
    """From one piece on a stick to the next, in units."""
    return min(48, 216 // count)


def _cells(dish: str, made: Sequence[Layer]) -> list[tuple[int, Layer]]:
    """Where what is seen: strips of the picture in a fixed order, each with its area in square
    units and its layer."""
    kind = CLASSES[dish]
    if kind.view == "side":
        left, right = _ACROSS[kind.vessel]
        across = right - left
        return [
            (across, layer)
            for layer, high in zip(made, _heights(made), strict=True)
            for _ in range(high)
        ]
    if kind.view == "top":
        edges = [*_rings(len(made)), 0]
        where = [0] * _REACH
        for number in range(len(made)):
            where[edges[number + 1] : edges[number]] = [number] * (
                edges[number] - edges[number + 1]
            )
        return [((2 * radius + 1) * 22 // 7, made[number]) for radius, number in enumerate(where)]
    step = _spacing(len(made))
    return [(len(_STICKS) * step * step * 3 // 2, layer) for layer in made]


def order_shows(dish: str, first: Sequence[Layer], second: Sequence[Layer]) -> float:
    """The share of the picture in which two dishes of a class surely differ, 0 to 1.

    It is worked out in whole numbers from what lies where, not from pixels. Only colours count: two
    layers are told apart where a channel differs by 40 of 255 or more. Pieces leave gaps and count
    for three quarters.

    Args:
        dish: one of :data:`CLASSES`.
        first: layers, as from :func:`layers`.
        second: layers of a dish with as many layers.
    """
    shown = 0
    for (area, one), (other_area, other) in zip(
        _cells(dish, first), _cells(dish, second), strict=False
    ):
        if max(abs(a - b) for a, b in zip(_colour(one), _colour(other), strict=True)) >= 40:
            loose = any(INGREDIENTS[layer.items[0]].form == "pieces" for layer in (one, other))
            shown += min(area, other_area) * (3 if loose else 4)
    return shown / (4 * _SQUARE * _SQUARE)


#: Twins differ, by :func:`order_shows`, in at least this share of the picture.
LEAST_SHOWN = 0.23


class _Chance:
    """Chance details of a picture. A layer has the same ones wherever it lies, so that twins differ
    by order alone."""

    def __init__(self, variant: int) -> None:
        self.variant = variant
        self.seen: list[str] = []

    def of(self, layer: Layer) -> Dice:
        self.seen.append(str(layer))
        return Dice("dish picture", self.variant, str(layer), self.seen.count(str(layer)))


def _side(brush: _Brush, recipe: Recipe, chance: _Chance) -> None:
    """A stack, seen from the side: the first layer lies at the bottom."""
    kind, made = CLASSES[recipe.dish], recipe.layers
    heights = _heights(made)
    left, right = _ACROSS[kind.vessel]
    if kind.vessel == "plate":
        brush.oval(120, 216, 114, 14, (250, 250, 252))
    elif kind.vessel == "board":
        brush.box(10, 208, 230, 224, (176, 124, 78), 6)
    elif kind.vessel in ("glass", "cup"):
        brush.box(108, 208, 132, 226, (206, 224, 236), 2)
        brush.oval(120, 228, 48, 6, (206, 224, 236))
    y = _FLOOR - 4
    for number, (layer, high) in enumerate(zip(made, heights, strict=True)):
        dice = chance.of(layer)
        top = number == len(made) - 1
        item, colour = layer.items[0], _colour(layer)
        form = INGREDIENTS[item].form
        lean = dice.between(-4, 4) if kind.vessel in ("board", "plate") else 0
        x0, x1 = left + lean, right + lean
        if form == "slab":
            dome = 18 if item == "bun" and top else 9
            brush.box(x0, y - high, x1, y, colour, min(dome, high // 2))
            if layer.browned:
                for x in range(x0 + 14, x1 - 8, 22):
                    brush.line([(x, y - high + 6), (x + 8, y - 6)], _shade(colour, 68), 3)
            elif item == "bun" and top:
                for x in range(x0 + 18, x1 - 10, 22):
                    brush.oval(x, y - high + 9, 3, 2, (250, 234, 190), None)
        elif form == "sheet":
            brush.box(x0 - 8, y - high, x1 + 8, y, colour, 3)
            if item == "cheese":
                for x in range(x0 + 6, x1 - 12, 44):
                    brush.shape([(x, y - 1), (x + 24, y - 1), (x + 12, y + 8)], colour)
        elif form == "leaf":
            wave = [
                (x, y - high + (5 if (x - x0) // 8 % 2 else 0)) for x in range(x0 - 10, x1 + 11, 8)
            ]
            under = [(x, y + (3 if (x - x0) // 8 % 2 else -3)) for x in range(x1 + 10, x0 - 11, -8)]
            brush.shape(wave + under, colour)
        elif form == "spread":
            brush.box(x0 + 2, y - high, x1 - 2, y, colour, 6)
            if kind.vessel in ("board", "plate") and number:
                for x in range(x0 + dice.between(10, 26), x1 - 10, 38):
                    brush.box(x, y - 4, x + 8, y + dice.between(4, 12), colour, 4, None)
        elif form == "scoop":
            for x in (82, 158):  # side by side, so that a scoop is as wide as a layer
                brush.oval(
                    x + dice.between(-4, 4), y - high // 2 - 2, 42, high * 5 // 8 + 3, colour
                )
        else:
            if not top:
                brush.box(x0 + 4, y - high, x1 - 4, y, _shade(colour, 78), 6, None)
            r = max(3, high // 2)
            gap = (r * 5 // 4 if layer.chopped else 2 * r) + 1
            for x in range(x0 + r + 2, x1 - r, gap):
                half = r * 5 // 8 if layer.chopped else r
                rise = dice.between(0, max(2, high - 2 * half))
                _piece(brush, x, y - half - rise, r, item, colour, layer.chopped)
        y -= high
    if kind.vessel in ("glass", "cup"):
        rim = min(y, 90) - 8
        for x0, x1 in ((left - 6, left + 4), (right - 4, right + 6)):
            brush.line(
                [(x0 if x0 < 120 else x1, rim), (x1 if x0 < 120 else x0, 208)], (170, 196, 214), 5
            )
        brush.line([(left + 4, 208), (right - 4, 208)], (170, 196, 214), 5)
    elif kind.vessel == "pan":
        brush.line(
            [(left - 6, 120), (left - 6, 212), (right + 6, 212), (right + 6, 120)],
            (150, 156, 170),
            9,
        )


def _blob(dice: Dice, x: int, y: int, r: int) -> list[tuple[int, int]]:
    """A rough disc: 24 points around a centre."""
    return [
        (
            x + _COS[k] * (r + dice.between(-2, 2)) // 1024,
            y + _COS[(k + 18) % 24] * (r + dice.between(-2, 2)) // 1024,
        )
        for k in range(24)
    ]


_COS = (1024, 989, 887, 724, 512, 265, 0, -265, -512, -724, -887, -989)
_COS = (*_COS, *(-value for value in _COS))  # 24 steps round the circle


def _top(brush: _Brush, recipe: Recipe, dice: Dice, chance: _Chance) -> None:
    """A round dish, seen from above: each layer covers what came before it, all but a rim."""
    kind, made = CLASSES[recipe.dish], recipe.layers
    x, y = 120 + dice.between(-3, 3), 120 + dice.between(-3, 3)
    if kind.vessel == "board":
        brush.oval(x, y, 115, 115, (186, 134, 86))
    elif kind.vessel == "pan":
        brush.box(x - 14, y + 90, x + 14, _SQUARE + 20, (70, 72, 80), 8)
        brush.oval(x, y, 114, 114, (84, 88, 98))
    else:
        rim = dice.choice(((252, 252, 254), (216, 232, 244), (244, 226, 206), (226, 238, 220)))
        brush.oval(x, y, 115, 115, rim)
        brush.oval(x, y, 108, 108, _shade(rim, 90), _shade(rim, 78))
    for layer, reach in zip(made, _rings(len(made)), strict=True):
        dice = chance.of(layer)
        item, colour = layer.items[0], _colour(layer)
        form = INGREDIENTS[item].form
        if form in ("spread", "sheet", "leaf", "slab"):
            outline = _blob(dice, x, y, reach)
            brush.shape(outline, colour, _shade(colour, 66))
            for _ in range(reach * 30 // _REACH):  # its texture, more of it near the rim
                far, k = reach - 7 - dice.below(reach // 2), dice.below(24)
                at = (x + _COS[k] * far // 1024, y + _COS[(k + 18) % 24] * far // 1024)
                tint = _shade(colour, dice.choice((88, 94, 108)))
                if item in ("noodles", "rice"):
                    brush.line(
                        [at, (at[0] + dice.between(-12, 12), at[1] + dice.between(-12, 12))],
                        tint,
                        4,
                    )
                elif form == "leaf":
                    brush.oval(*at, 9, 7, tint, _shade(colour, 70))
                else:
                    brush.oval(*at, dice.between(3, 7), dice.between(3, 6), tint, None)
        else:  # pieces close together, in rows that are shifted against each other
            r = max(3, min(14 if layer.chopped else 11, reach // 2))
            across, down = (15, 13) if layer.chopped else (2 * r + 1, 2 * r - 2)
            inside = (reach - r * (2 if layer.chopped else 3) // 3) ** 2
            for row in range(-(reach // down), reach // down + 1):
                for column in range(-(reach // across) - 1, reach // across + 1):
                    dx = column * across + (across // 2 if row % 2 else 0)
                    if dx * dx + (row * down) ** 2 <= inside:
                        at = (x + dx + dice.between(-2, 2), y + row * down + dice.between(-2, 2))
                        _piece(brush, *at, r, item, colour, layer.chopped)


def _row(brush: _Brush, recipe: Recipe, dice: Dice, chance: _Chance) -> None:
    """Pieces on three sticks that are alike, the first piece on the left."""
    made = recipe.layers
    slope = dice.between(-6, 6)
    brush.box(2, 12, 238, 228, (250, 250, 252), 40)
    for middle in _STICKS:
        brush.line([(2, middle - slope), (238, middle + slope)], (196, 150, 96), 6)
    step = _spacing(len(made))
    start = 120 - step * (len(made) - 1) // 2
    for number, layer in enumerate(made):
        dice = chance.of(layer)
        x = start + number * step
        r = step * 6 // 10
        colour = _colour(layer)
        for middle in _STICKS:
            y = middle + slope * (x - 120) // 116 + dice.between(-2, 2)
            if layer.chopped:
                for dx, dy in (
                    (-r // 2, -r // 2),
                    (r // 2, -r // 2),
                    (-r // 2, r // 2),
                    (r // 2, r // 2),
                ):
                    _piece(brush, x + dx, y + dy, r, layer.items[0], colour, True)
            else:
                _piece(brush, x, y, r, layer.items[0], colour, False)
            if layer.browned:
                brush.line(
                    [(x - r // 2, y - r // 2), (x + r // 2, y + r // 2)], _shade(colour, 60), 3
                )


def draw_dish(recipe: Recipe | str, size: int = 64) -> Image.Image:
    """The picture of what a recipe makes.

    Args:
        recipe: a :class:`Recipe`, or its JSON.
        size: side in pixels, 32 to 512.

    Returns:
        An RGB image. It depends on the recipe's class, its layers and its variant, and on nothing
        else.

    Raises:
        TypeError: if ``recipe`` is neither; ValueError: for JSON that is no recipe, or a size out
            of range.
    """
    from PIL import Image, ImageDraw

    if isinstance(recipe, str):
        recipe = Recipe.from_json(recipe)
    if not isinstance(recipe, Recipe):
        raise TypeError(f"expected a Recipe or its JSON, got {type(recipe).__name__}")
    size = check_size(size, MIN_PIXELS, MAX_PIXELS)
    large = size * 3 if size <= 96 else size * 2
    canvas = Image.new("RGB", (large, large))
    brush = _Brush(ImageDraw.Draw(canvas), large)
    dice = Dice("dish picture", recipe.variant)
    _table(brush, dice)
    view, chance = CLASSES[recipe.dish].view, _Chance(recipe.variant)
    if view == "side":
        _side(brush, recipe, chance)
    elif view == "top":
        _top(brush, recipe, dice, chance)
    else:
        _row(brush, recipe, dice, chance)
    return canvas.resize((size, size), Image.Resampling.BOX)
