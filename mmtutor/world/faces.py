"""Drawn faces of the world's speakers, still and talking.

Nobody real is meant. A face is a cartoon of a friendly creature whose skin is teal or lavender; it
has no gender and no origin. What matters is that its dependence on the voice is *known*: some
traits are tied to the voice with a stated correlation (``TIED``), all others are drawn
independently of it (``INDEPENDENT``), so that one can test what a model may learn about a face from
a voice, and what it cannot.

A face can be drawn in a canonical way (from the front, neutral, in even light) or varied in pose,
light and expression; and its mouth can follow the phonemes of speech at 25 frames a second
(``mouth_track``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmtutor.world import speech as _speech
from mmtutor.world import voices
from mmtutor.world._dice import rng

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

FRAMES_PER_SECOND = 25

TIED: dict[str, tuple[str, float]] = {
    "head_size": ("pitch", -0.93),
    "head_width": ("formants", -0.9),
    "eye_size": ("rate", 0.9),
    "ear_size": ("liveliness", 0.9),
}
"""Traits of the face that depend on the voice: the voice's trait and their correlation over all
speakers."""

SKINS = {
    "teal": (79, 179, 169),
    "lavender": (168, 139, 212),
    "sky": (111, 168, 220),
    "lime": (163, 201, 88),
    "magenta": (214, 112, 178),
    "silver": (158, 168, 180),
}
HAT_COLOURS = {
    "red": (204, 51, 51),
    "orange": (240, 140, 30),
    "yellow": (245, 208, 46),
    "green": (46, 139, 72),
    "blue": (44, 92, 196),
    "purple": (122, 52, 150),
    "black": (48, 48, 52),
    "white": (246, 246, 246),
}
HATS = ("cap", "top hat", "party hat", "beanie")
EYE_COLOURS = {
    "amber": (176, 112, 20),
    "black": (30, 30, 30),
    "green": (32, 120, 60),
    "blue": (36, 84, 190),
}
GLASSES = ("none", "round", "square")

INDEPENDENT: tuple[str, ...] = (
    *("nose", "eye_spacing", "mouth_width"),
    *("skin", "hat", "hat_colour", "eye_colour", "glasses", "spots"),
)
"""Traits of the face that have nothing to do with the voice: three numbers, then six kinds."""

_LIMIT = 2.2  # standard deviations beyond which a trait is cut off


@dataclass(frozen=True)
class Face:
    """The lasting traits of one speaker's face.

    Numbers are in standard deviations from the population's mean, cut off at 2.2: ``head_size``,
    ``head_width``, ``eye_size``, ``ear_size`` (tied to the voice), ``nose`` (its size),
    ``eye_spacing``, ``mouth_width``. Kinds are ``skin``, ``hat``, ``hat_colour``, ``eye_colour``,
    ``glasses`` and whether there are ``spots``.
    """

    speaker: str
    head_size: float
    head_width: float
    eye_size: float
    ear_size: float
    nose: float
    eye_spacing: float
    mouth_width: float
    skin: str
    hat: str
    hat_colour: str
    eye_colour: str
    glasses: str
    spots: bool


_LOOK_RANGES: dict[str, tuple[float, float]] = {
    "yaw": (-45, 45),
    "tilt": (-30, 30),
    "roll": (-45, 45),
    "scale": (0.5, 1.2),
    "light": (-360, 360),
    "contrast": (0, 1),
    "brightness": (0.5, 1.5),
    "smile": (-1, 1),
    "brows": (-1, 1),
    "eyes": (0, 1),
    "mouth": (0, 1),
    "roundness": (-1, 1),
}


@dataclass(frozen=True)
class Look:
    """How a face is drawn: everything that passes.

    Attributes:
        yaw: turn to the side, degrees; positive looks to the picture's right.
        tilt: degrees; positive looks up.
        roll: lean of the head, degrees; positive is clockwise.
        scale: size of the whole head; 1 is canonical.
        light: where the light comes from, degrees: 0 is the picture's right, 90 above.
        contrast: strength of the light's direction, 0 (even) to 1.
        brightness: factor on all colours, 0.5 to 1.5.
        smile: -1 (sad) to 1 (glad).
        brows: -1 (lowered) to 1 (raised).
        eyes: how far the eyes are open, 0 to 1.
        mouth: how far the mouth is open, 0 to 1.
        roundness: of the lips, -1 (spread) to 1 (rounded).
        backdrop: colour behind the face, RGB 0-255.
    """

    yaw: float = 0.0
    tilt: float = 0.0
    roll: float = 0.0
    scale: float = 1.0
    light: float = 90.0
    contrast: float = 0.0
    brightness: float = 1.0
    smile: float = 0.0
    brows: float = 0.0
    eyes: float = 1.0
    mouth: float = 0.0
    roundness: float = 0.0
    backdrop: tuple[int, int, int] = (236, 236, 236)

    def __post_init__(self) -> None:
        for name, (low, high) in _LOOK_RANGES.items():
            value = getattr(self, name)
            if not (isinstance(value, (int, float, np.number)) and low <= value <= high):
                raise ValueError(f"{name} must be a number from {low} to {high}, not {value!r}")
        if len(self.backdrop) != 3 or not all(0 <= channel <= 255 for channel in self.backdrop):
            raise ValueError(f"backdrop must be three numbers from 0 to 255, not {self.backdrop!r}")


CANONICAL = Look()
"""From the front, neutral, in even light, on grey."""


@lru_cache(maxsize=1)
def _population() -> dict[str, Face]:
    found = {}
    for person in voices.speakers():
        random = rng("faces", "face", person.index)
        numbers = {}
        for trait, (voice, r) in TIED.items():
            numbers[trait] = r * person.standard(voice) + math.sqrt(1 - r * r) * float(
                random.standard_normal()
            )
        for trait in INDEPENDENT[:3]:
            numbers[trait] = float(random.standard_normal())

        def pick(options: Sequence[str], random: np.random.Generator = random) -> str:
            return list(options)[random.integers(len(options))]

        found[person.name] = Face(
            speaker=person.name,
            **{
                trait: round(min(max(value, -_LIMIT), _LIMIT), 4)
                for trait, value in numbers.items()
            },
            skin=pick(SKINS),
            hat=pick(HATS),
            hat_colour=pick(HAT_COLOURS),
            eye_colour=pick(EYE_COLOURS),
            glasses=pick(GLASSES),
            spots=bool(random.random() < 0.5),
        )
    return found


def face(speaker: voices.Speaker | str) -> Face:
    """The face of a speaker.

    Raises:
        ValueError: no speaker of that name.
        TypeError: neither a speaker nor a name.
    """
    return _population()[voices.speaker(speaker).name]


# --- drawing --------------------------------------------------------------------------------------

_FINE = 4  # pixels are averaged over 4 by 4 finer ones, so that edges are smooth
_CIRCLE = np.linspace(0, 2 * np.pi, 40, endpoint=False)


class _Head:
    """The geometry of one face in one look: from points on the head to points in the picture.

    The head is an ellipsoid of half axes ``a`` (across), ``b`` (up) and ``c`` (towards the viewer),
    in units of half the picture. Features lie on it, so that a turn of the head moves and
    foreshortens them.
    """

    def __init__(self, traits: Face, look: Look, pixels: int) -> None:
        self.b = (0.58 + 0.05 * traits.head_size) * look.scale
        self.a = self.b * (0.88 + 0.065 * traits.head_width)
        self.c = 0.5 * (self.a + self.b)
        self.unit = pixels * _FINE / 2
        self.centre = np.array([1.0, 1.17])
        self.corner = np.zeros(2)  # of the part of the picture that is drawn on, in fine pixels
        yaw, tilt, roll = (math.radians(angle) for angle in (look.yaw, look.tilt, look.roll))
        turn_y = np.array(
            [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
        )
        turn_x = np.array(
            [[1, 0, 0], [0, math.cos(tilt), -math.sin(tilt)], [0, math.sin(tilt), math.cos(tilt)]]
        )
        turn_z = np.array(
            [[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]]
        )
        self.turn = turn_z @ turn_x @ turn_y
        self.roll = turn_z

    def on(self, points: np.ndarray, lift: float = 0.0) -> list[tuple[float, float]]:
        """Points (N, 2) in units of (a, b), y down, on the head's front, as pixels."""
        x, y = points[:, 0], points[:, 1]
        z = np.sqrt(np.maximum(1 - x * x - y * y, 0.0)) + lift
        return self._pixels(np.array([self.a * x, self.b * y, self.c * z]), self.turn)

    def flat(self, points: np.ndarray) -> list[tuple[float, float]]:
        """Points (N, 2) in units of (a, b) that only lean with the head: its outline and its
        hat."""
        stacked = np.stack([self.a * points[:, 0], self.b * points[:, 1], np.zeros(len(points))])
        return self._pixels(stacked, self.roll)

    def _pixels(self, points: np.ndarray, turn: np.ndarray) -> list[tuple[float, float]]:
        moved = ((turn @ points)[:2].T + self.centre) * self.unit - self.corner
        return list(map(tuple, moved.tolist()))


def _ellipse(x: float, y: float, wide: float, high: float, power: float = 2.0) -> np.ndarray:
    """Outline (40, 2) of an ellipse; a power above 2 squares it."""
    c, s = np.cos(_CIRCLE), np.sin(_CIRCLE)
    squared = 2.0 / power
    return np.stack(
        [
            x + wide * np.sign(c) * np.abs(c) ** squared,
            y + high * np.sign(s) * np.abs(s) ** squared,
        ],
        axis=1,
    )


def _shade(colour: tuple[int, int, int], factor: float) -> tuple[int, int, int]:
    return tuple(min(255, round(channel * factor)) for channel in colour)  # type: ignore[return-value]


def _draw_still(pen: ImageDraw.ImageDraw, head: _Head, traits: Face, look: Look) -> None:
    """Everything but the mouth."""
    skin = SKINS[traits.skin]
    dark = _shade(skin, 0.72)
    # ears, behind the head; the far one hides as the head turns
    ear = 0.22 + 0.065 * traits.ear_size
    for side in (-1, 1):
        turned = math.sin(math.radians(look.yaw))
        x = side * (0.97 + 0.35 * ear - 0.13 * abs(turned)) - 0.12 * turned
        pen.polygon(head.flat(_ellipse(x, 0.02, ear, 1.15 * ear)), fill=dark)
        pen.polygon(head.flat(_ellipse(x, 0.02, 0.55 * ear, 0.7 * ear)), fill=skin)
    pen.polygon(
        head.flat(_ellipse(0, 0, 1, 1, 2.4)),
        fill=skin,
        outline=dark,
        width=max(1, round(head.unit / 40)),
    )
    if traits.spots:
        for x, y in (
            (-0.62, 0.22),
            (-0.48, 0.36),
            (-0.7, 0.4),
            (0.62, 0.22),
            (0.48, 0.36),
            (0.7, 0.4),
        ):
            pen.polygon(head.on(_ellipse(x, y, 0.06, 0.06)), fill=dark)
    _draw_eyes(pen, head, traits, look)
    tip, wide = 0.27 + 0.065 * traits.nose, 0.145 + 0.045 * traits.nose
    nose = np.array(
        [[-0.4, -0.08], [0.4, -0.08], [1, tip - 0.05], [0.4, tip], [-0.4, tip], [-1, tip - 0.05]]
    )
    pen.polygon(head.on(nose * [wide, 1], lift=0.12), fill=_shade(skin, 0.5))
    _draw_hat(pen, head, traits)


def _draw_eyes(pen: ImageDraw.ImageDraw, head: _Head, traits: Face, look: Look) -> None:
    apart = 0.43 + 0.07 * traits.eye_spacing
    radius = 0.17 + 0.035 * traits.eye_size
    high = radius * head.a / head.b  # round in the picture
    ink = (40, 40, 44)
    line = max(1, round(head.unit / 26))
    rim_size = min(0.29, apart - 0.02)  # of the glasses: the rims never cross
    for side in (-1, 1):
        x, y = side * apart, -0.18
        opened = max(high * look.eyes, 0.012)
        pen.polygon(head.on(_ellipse(x, y, radius, opened)), fill=(252, 252, 252))
        if look.eyes > 0.2:
            gaze = 0.15 * radius * math.sin(math.radians(look.yaw))
            pen.polygon(
                head.on(_ellipse(x + gaze, y, 0.56 * radius, min(0.56 * high, opened))),
                fill=EYE_COLOURS[traits.eye_colour],
            )
            pen.polygon(
                head.on(_ellipse(x + gaze, y, 0.27 * radius, min(0.27 * high, opened))),
                fill=(12, 12, 14),
            )
        brow_y = y - high - 0.09 - 0.07 * look.brows
        slope = 0.05 * look.smile - 0.06 * min(look.brows, 0.0)  # lowered brows are drawn together
        brow = np.array(
            [[x - side * radius, brow_y + slope], [x, brow_y - 0.03], [x + side * radius, brow_y]]
        )
        pen.line(head.on(brow), fill=_shade(SKINS[traits.skin], 0.42), width=line, joint="curve")
        if traits.glasses != "none":
            power = 2.0 if traits.glasses == "round" else 9.0
            rim = head.on(_ellipse(x, y, rim_size, rim_size * head.a / head.b, power))
            pen.line([*rim, rim[0]], fill=ink, width=line, joint="curve")
    if traits.glasses != "none":
        pen.line(
            head.on(np.array([[rim_size - apart, -0.18], [apart - rim_size, -0.18]])),
            fill=ink,
            width=line,
        )


def _draw_hat(pen: ImageDraw.ImageDraw, head: _Head, traits: Face) -> None:
    colour = HAT_COLOURS[traits.hat_colour]
    band = _shade(colour, 0.68)
    up = 1.0 / head.b  # hats have one height in the picture, whatever the head's
    across = np.linspace(-1, 1, 17)
    if traits.hat == "top hat":
        pen.polygon(head.flat(_box(-0.62, -0.8 - 0.42 * up, 0.62, -0.78)), fill=colour)
        pen.polygon(head.flat(_box(-0.62, -0.95, 0.62, -0.8)), fill=band)
        pen.polygon(head.flat(_box(-0.95, -0.82, 0.95, -0.7)), fill=colour)
    elif traits.hat == "party hat":
        pen.polygon(
            head.flat(np.array([[-0.62, -0.72], [0.62, -0.72], [0, -0.8 - 0.5 * up]])), fill=colour
        )
        pen.polygon(
            head.flat(np.array([[-0.62, -0.72], [0.62, -0.72], [0.52, -0.86], [-0.52, -0.86]])),
            fill=band,
        )
        pen.polygon(
            head.flat(_ellipse(0, -0.8 - 0.5 * up, 0.14, 0.14 * head.a / head.b)), fill=band
        )
    else:
        dome = np.stack(
            [0.86 * across, -0.55 - (0.35 + 0.16 * up) * np.sqrt(1 - across**2)], axis=1
        )
        pen.polygon(head.flat(np.concatenate([dome, [[0.86, -0.55], [-0.86, -0.55]]])), fill=colour)
        if traits.hat == "cap":
            pen.polygon(head.flat(_box(-0.1, -0.66, 1.32, -0.52)), fill=band)
        else:
            pen.polygon(head.flat(_box(-0.9, -0.68, 0.9, -0.48)), fill=band)
            top = -0.9 - 0.16 * up
            pen.polygon(head.flat(_ellipse(0, top - 0.06, 0.17, 0.17 * head.a / head.b)), fill=band)


def _box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


_ACROSS = np.linspace(-1, 1, 21)  # along the lips, from corner to corner
_BOW = np.sqrt(1 - _ACROSS**2)


def _draw_mouth(pen: ImageDraw.ImageDraw, head: _Head, traits: Face, look: Look) -> None:
    y = 0.52
    wide = (0.41 + 0.11 * traits.mouth_width) * (
        1 - 0.42 * look.roundness if look.roundness > 0 else 1.0
    )
    wide *= 1 - 0.15 * min(look.roundness, 0.0)
    across, bow = _ACROSS, _BOW
    bend = y + 0.1 * look.smile * (0.5 - across**2)  # corners up where glad
    gap = 0.32 * look.mouth
    lip = 0.05 + 0.02 * max(look.roundness, 0.0)
    upper, lower = bend - 0.4 * gap * bow, bend + gap * bow

    def outline(
        top: np.ndarray, bottom: np.ndarray, stretch: float = 1.0
    ) -> list[tuple[float, float]]:
        x, n = wide * stretch * across, len(across)
        points = np.empty((2 * n, 2))
        points[:n, 0], points[n:, 0] = x, x[::-1]
        points[:n, 1], points[n:, 1] = top, bottom[::-1]
        return head.on(points, lift=0.02)

    colour = _shade(SKINS[traits.skin], 0.45)
    pen.polygon(outline(upper - lip * (0.35 + bow), lower + lip * (0.35 + bow), 1.08), fill=colour)
    if look.mouth > 0.04:
        pen.polygon(outline(upper, lower), fill=(54, 14, 28))
        if look.mouth > 0.2:
            pen.polygon(
                outline(upper, np.minimum(upper + 0.32 * gap * bow, lower), 0.86),
                fill=(250, 250, 245),
            )
        if look.mouth > 0.45:
            pen.polygon(
                outline(np.maximum(lower - 0.36 * gap * bow, upper), lower, 0.7),
                fill=(214, 96, 110),
            )
    else:
        line = head.on(np.stack([wide * across, bend], 1), lift=0.02)
        pen.line(line, fill=(40, 16, 26), width=max(1, round(head.unit / 45)))


def _light(head: _Head, look: Look, pixels: int) -> np.ndarray | None:
    """The factor on every pixel, ``(pixels, pixels, 1)``; None in even light."""
    if look.contrast <= 0 and look.brightness == 1.0:
        return None
    grid = (np.arange(pixels) + 0.5) * 2 / pixels
    x = (grid[None, :] - head.centre[0]) / head.a
    y = (grid[:, None] - head.centre[1]) / head.b
    angle = math.radians(look.light)
    facing = np.clip(math.cos(angle) * x - math.sin(angle) * y, -1.2, 1.2)
    return (look.brightness * (1 + 0.32 * look.contrast * facing)).astype(np.float32)[..., None]


def _finish(fine: Image.Image, light: np.ndarray | None) -> np.ndarray:
    """Average the fine picture down and let the light fall on it: uint8 (H, W, 3)."""
    small = np.asarray(fine.reduce(_FINE))
    if light is None:
        return small
    return np.minimum(np.round(small * light), 255).astype(np.uint8)


def _check_pixels(pixels: int) -> int:
    if isinstance(pixels, bool) or not isinstance(pixels, (int, np.integer)):
        raise TypeError(f"pixels must be a whole number, not {pixels!r}")
    if not 16 <= pixels <= 512:
        raise ValueError(f"pixels must lie between 16 and 512, not {pixels}")
    return int(pixels)


def _traits_of(who: Face | voices.Speaker | str) -> Face:
    return who if isinstance(who, Face) else face(who)


def draw_face(
    who: Face | voices.Speaker | str, look: Look = CANONICAL, pixels: int = 64
) -> np.ndarray:
    """Draw a face; about a millisecond.

    Args:
        who: a face, a speaker or a speaker's name.
        look: pose, light and expression.
        pixels: side of the square picture, 16 to 512.

    Returns:
        uint8 ``(pixels, pixels, 3)``.

    Raises:
        ValueError: no such speaker, or a number out of range.
        TypeError: an argument of the wrong type.
    """
    from PIL import Image, ImageDraw

    traits, pixels = _traits_of(who), _check_pixels(pixels)
    head = _Head(traits, look, pixels)
    fine = Image.new("RGB", (pixels * _FINE, pixels * _FINE), look.backdrop)
    pen = ImageDraw.Draw(fine)
    _draw_still(pen, head, traits, look)
    _draw_mouth(pen, head, traits, look)
    return _finish(fine, _light(head, look, pixels))


def random_look(random: np.random.Generator) -> Look:
    """A look that varies in everything but the mouth's opening: pose, light, expression,
    backdrop."""
    yaw, tilt, roll = (float(np.clip(random.normal(0, s), -2 * s, 2 * s)) for s in (14, 7, 7))
    return Look(
        yaw=yaw,
        tilt=tilt,
        roll=roll,
        scale=float(random.uniform(0.95, 1.03)),
        light=float(random.uniform(0, 180)),
        contrast=float(random.uniform(0, 1)),
        brightness=float(random.uniform(0.75, 1.15)),
        smile=float(random.uniform(-1, 1)),
        brows=float(random.uniform(-1, 1)),
        eyes=float(random.uniform(0.45, 1)),
        mouth=float(max(0.0, random.uniform(-0.5, 0.7))),
        roundness=float(random.uniform(-0.5, 0.8)),
        backdrop=tuple(int(channel) for channel in random.integers(130, 216, 3)),
    )


# --- talking --------------------------------------------------------------------------------------


class Viseme(NamedTuple):
    """What a speech sound looks like: the mouth's opening 0-1 and the lips' rounding -1 (spread) to
    1 (rounded)."""

    opening: float
    roundness: float


_VOWELS: dict[str, Viseme] = {
    **dict.fromkeys("aɑɐæʌ", Viseme(1.0, 0.0)),
    **dict.fromkeys("ɛeəɜɚɝɘ", Viseme(0.6, -0.2)),
    **dict.fromkeys("iɪᵻɨɯ", Viseme(0.35, -0.9)),
    **dict.fromkeys("ɔoɒɵ", Viseme(0.7, 0.6)),
    **dict.fromkeys("uʊʉ", Viseme(0.3, 1.0)),
}
_CONSONANTS: dict[str, Viseme] = {
    **dict.fromkeys("pbm", Viseme(0.0, 0.0)),
    **dict.fromkeys("fv", Viseme(0.08, -0.2)),
    **dict.fromkeys("θð", Viseme(0.2, -0.2)),
    **dict.fromkeys("wʍ", Viseme(0.15, 1.0)),
    **dict.fromkeys("ʃʒɹrɾ", Viseme(0.22, 0.5)),
    **dict.fromkeys("szɕ", Viseme(0.16, -0.5)),
    **dict.fromkeys("tdnlɫjɬ", Viseme(0.25, -0.2)),
    **dict.fromkeys("kɡgŋqhxçʔ", Viseme(0.32, 0.0)),
}
CLOSED = frozenset("pbm")
"""First letters of the sounds that are made with closed lips."""


def visemes(symbol: str) -> tuple[Viseme, ...]:
    """What a phoneme looks like, as eSpeak NG writes it: one shape, or two for a diphthong; closed
    for a pause."""
    if symbol.startswith("tʃ") or symbol.startswith("dʒ"):
        return (_CONSONANTS["ʃ"],)
    if symbol[:1] in _CONSONANTS:
        return (_CONSONANTS[symbol[0]],)
    shapes = tuple(_VOWELS[letter] for letter in symbol if letter in _VOWELS)
    if shapes:
        return shapes[:2]
    return (Viseme(0.0, 0.0),) if symbol == _speech.PAUSE else (Viseme(0.25, 0.0),)


def mouth_track(
    phonemes: Sequence[_speech.Phoneme], frames: int, frames_per_second: float = FRAMES_PER_SECOND
) -> np.ndarray:
    """How the mouth moves with speech.

    The shapes of the phonemes are joined smoothly over 70 milliseconds, because lips have mass, but
    lips that must close do close: a /b/ without closed lips is not a /b/.

    Args:
        phonemes: with their times in seconds.
        frames: how many frames.
        frames_per_second: frame ``i`` shows the mouth at ``(i + 0.5) / frames_per_second``.

    Returns:
        float32 ``(frames, 2)``: opening 0-1, roundness -1 to 1.

    Raises:
        ValueError: fewer than one frame or no positive frame rate.
    """
    if frames < 1 or not frames_per_second > 0:
        raise ValueError(
            f"need at least one frame and a positive rate, not {frames} and {frames_per_second}"
        )
    step = 0.005
    n = math.ceil(frames / frames_per_second / step) + 1
    t = (np.arange(n) + 0.5) * step
    target = np.zeros((n, 2))
    shut = np.zeros(n)
    for phoneme in phonemes:
        inside = (t >= phoneme.start) & (t < phoneme.end)
        shapes = np.array(visemes(phoneme.symbol))
        if len(shapes) == 1:
            target[inside] = shapes[0]
        else:
            x = ((t[inside] - phoneme.start) / max(phoneme.end - phoneme.start, 1e-6))[:, None]
            target[inside] = shapes[0] * (1 - x) + shapes[1] * x
        if phoneme.symbol[:1] in CLOSED:
            # fully shut within, opening over 30 ms on either side
            distance = np.maximum(np.maximum(phoneme.start - t, t - phoneme.end), 0.0)
            shut = np.maximum(shut, np.clip(1 - distance / 0.03, 0, 1))
    kernel = np.hanning(17)[1:-1]
    kernel /= kernel.sum()
    half = len(kernel) // 2
    padded = np.pad(target, ((half, half), (0, 0)), mode="edge")
    smooth = np.stack([np.convolve(padded[:, k], kernel, mode="valid") for k in range(2)], axis=1)
    smooth[:, 0] *= 1 - shut
    at = np.minimum(((np.arange(frames) + 0.5) / frames_per_second / step).astype(int), n - 1)
    return np.clip(smooth[at], [0, -1], [1, 1]).astype(np.float32)


def draw_talking(
    who: Face | voices.Speaker | str,
    track: np.ndarray,
    look: Look = CANONICAL,
    pixels: int = 64,
    first: int = 0,
) -> np.ndarray:
    """Draw a face that talks: the mouth follows ``track``, and the eyes blink about every three
    seconds.

    Args:
        who: a face, a speaker or a speaker's name.
        track: ``(N, 2)`` as from ``mouth_track``.
        look: pose, light and expression of the whole clip.
        pixels: side of the square pictures, 16 to 512.
        first: number of the first frame, from 0: where in a longer clip the blinking is.

    Returns:
        uint8 ``(N, pixels, pixels, 3)``.

    Raises:
        ValueError: no such speaker, a track of the wrong shape, or a number out of range.
        TypeError: an argument of the wrong type.
    """
    from dataclasses import replace

    from PIL import Image, ImageDraw

    traits, pixels = _traits_of(who), _check_pixels(pixels)
    track = np.asarray(track, dtype=np.float32)
    if track.ndim != 2 or track.shape[1] != 2 or len(track) == 0 or not np.isfinite(track).all():
        raise ValueError(
            f"track must have the shape (N, 2) with N > 0 and be finite, not {track.shape}"
        )
    head, light = _Head(traits, look, pixels), _light(_Head(traits, look, pixels), look, pixels)
    # Only the part around the mouth has to be drawn for every frame.
    around = np.array(head.on(_ellipse(0, 0.56, 0.75, 0.75)))
    left, top = (np.maximum(around.min(0), 0) // _FINE).astype(int)
    right, bottom = (np.minimum(around.max(0) // _FINE + 1, pixels)).astype(int)
    part = (slice(top, bottom), slice(left, right))
    faces, mouths = [], []
    for eyes in (look.eyes, 0.05):
        fine = Image.new("RGB", (pixels * _FINE, pixels * _FINE), look.backdrop)
        _draw_still(ImageDraw.Draw(fine), head, traits, replace(look, eyes=eyes))
        faces.append(_finish(fine, light))
        mouths.append(fine.crop((left * _FINE, top * _FINE, right * _FINE, bottom * _FINE)))
    head.corner = np.array([left, top]) * _FINE
    blink = int(rng("faces", "blink", traits.speaker).integers(20, 75))
    out = np.empty((len(track), pixels, pixels, 3), dtype=np.uint8)
    for i, (opening, roundness) in enumerate(track.tolist()):
        shut = (first + i) % 75 in (blink, (blink + 1) % 75)
        fine = mouths[shut].copy()
        _draw_mouth(
            ImageDraw.Draw(fine), head, traits, replace(look, mouth=opening, roundness=roundness)
        )
        out[i] = faces[shut]
        out[i][part] = _finish(fine, None if light is None else light[part])
    return out
