"""The eight grounds that scenes stand on, drawn from noise and simple shapes in whole-number
arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from hashlib import shake_128
from typing import TYPE_CHECKING

import numpy as np

from mmtutor.world._dice import Dice

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

N = 320  # side of a texture; a scene shows four fifths of it
TEXTURES = 6  # textures drawn for each ground
Colour = tuple[int, int, int]


def _noise(key: str, cells: int, n: int = N) -> np.ndarray:
    """Smooth noise of about ``cells`` bumps a side: int16 in -128..127, shape (n, n)."""
    from PIL import Image

    lattice = np.frombuffer(shake_128(key.encode()).digest(cells * cells), dtype=np.uint8).reshape(
        cells, cells
    )
    smooth = Image.fromarray(lattice).resize((n, n), Image.Resampling.BICUBIC)
    return np.asarray(smooth).astype(np.int16) - 128


def _clouds(key: str) -> np.ndarray:
    """Noise of several scales, int16 in about -128..127."""
    return (4 * _noise(key + "a", 5) + 2 * _noise(key + "b", 11) + _noise(key + "c", 27)) // 7


def _fade(top: Colour, bottom: Colour, rows: int = N) -> np.ndarray:
    """A vertical gradient, int16 (rows, N, 3)."""
    ramp = np.arange(rows, dtype=np.int32)[:, None]
    column = (np.array(top) * (rows - 1 - ramp) + np.array(bottom) * ramp) // max(
        1, rows - 1
    )  # (rows, 3)
    return np.repeat(column[:, None], N, axis=1).astype(np.int16)


def _picture(values: np.ndarray) -> Image.Image:
    from PIL import Image

    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _pen(picture: Image.Image) -> ImageDraw.ImageDraw:
    from PIL import ImageDraw

    return ImageDraw.Draw(picture)


def _sky(key: str, top: Colour, bottom: Colour, rows: int) -> np.ndarray:
    sky = _fade(top, bottom, rows)
    return sky + np.maximum(_clouds(key)[:rows, :, None], 0) * 3 // 4


def _blades(
    pen: ImageDraw.ImageDraw, dice: Dice, count: int, top: int, colours: list[Colour]
) -> None:
    for _ in range(count):
        y = dice.between(top, N)
        x, tall = dice.below(N), 4 + (y - top) // 18
        pen.line((x, y, x + dice.between(-2, 2), y - tall), fill=dice.choice(colours))


def _field(key: str, dice: Dice) -> Image.Image:
    horizon = dice.between(90, 140)
    rows = N - horizon
    grass = (
        _fade((140, 196, 92), (72, 146, 58), rows) + (_clouds(key + "g")[:rows, :, None] * 2) // 9
    )
    picture = _picture(
        np.concatenate([_sky(key, (112, 182, 236), (206, 232, 248), horizon), grass])
    )
    pen = _pen(picture)
    for _ in range(3):  # far hills
        x, wide = dice.between(-60, N), dice.between(120, 240)
        pen.ellipse((x, horizon - dice.between(6, 22), x + wide, horizon + 60), fill=(138, 194, 98))
    picture.paste(_picture(grass), (0, horizon))
    _blades(pen, dice, 420, horizon + 6, [(60, 128, 50), (96, 170, 70), (160, 208, 104)])
    for _ in range(36):
        x, y = dice.below(N), dice.between(horizon + 12, N)
        r = 1 + (y - horizon) // 90
        pen.ellipse(
            (x - r, y - r, x + r, y + r),
            fill=dice.choice([(250, 240, 120), (250, 250, 250), (240, 170, 200)]),
        )
    return picture


def _beach(key: str, dice: Dice) -> Image.Image:
    horizon = dice.between(70, 105)
    shore = horizon + dice.between(60, 85)
    sea = (
        _fade((54, 132, 190), (110, 200, 210), shore - horizon)
        + _noise(key + "w", 40)[: shore - horizon, :, None] // 8
    )
    sand = _fade((238, 214, 160), (222, 190, 130), N - shore)
    grain = (
        np.frombuffer(shake_128((key + "s").encode()).digest(N * N), np.uint8)
        .reshape(N, N)
        .astype(np.int16)
        - 128
    )
    sand = sand + grain[: N - shore, :, None] // 9 + _clouds(key + "d")[: N - shore, :, None] // 8
    picture = _picture(
        np.concatenate([_sky(key, (130, 200, 244), (220, 240, 250), horizon), sea, sand])
    )
    pen = _pen(picture)
    for _ in range(26):  # crests
        x, y = dice.below(N), dice.between(horizon + 6, shore - 8)
        pen.arc((x, y, x + dice.between(12, 34), y + 6), 200, 340, fill=(214, 240, 246))
    foam = [(x, shore + _wave(x + dice.below(3), 64) // 10) for x in range(-4, N + 8, 4)]
    pen.line(foam, fill=(250, 252, 252), width=6)
    for _ in range(14):  # shells
        x, y = dice.below(N), dice.between(shore + 16, N)
        pen.ellipse(
            (x - 2, y - 1, x + 2, y + 2),
            fill=dice.choice([(250, 236, 226), (204, 150, 128), (170, 140, 110)]),
        )
    return picture


def _wave(x: int, period: int) -> int:
    """A smooth whole-number wave between -64 and 64 (two parabolas a period)."""
    phase = (x % period) * 256 // period
    half = phase % 128
    return (half * (128 - half) // 64) * (1 if phase < 128 else -1)


def _snow(key: str, dice: Dice) -> Image.Image:
    horizon = dice.between(100, 140)
    picture = _picture(
        np.concatenate(
            [
                _sky(key, (150, 180, 214), (216, 226, 240), horizon),
                _fade((240, 245, 252), (206, 220, 238), N - horizon),
            ]
        )
    )
    pen = _pen(picture)
    for _ in range(dice.between(8, 13)):  # a far wood
        x, tall = dice.below(N), dice.between(14, 34)
        base = horizon + dice.between(-2, 6)
        pen.polygon(
            [(x - tall // 3, base), (x + tall // 3, base), (x, base - tall)], fill=(112, 140, 150)
        )
    for k in range(4):  # drifts
        x, wide, y = (
            dice.between(-120, 200),
            dice.between(220, 380),
            horizon + 10 + 40 * k + dice.between(-10, 10),
        )
        shade = 244 - 7 * k
        pen.ellipse((x, y, x + wide, y + 160), fill=(shade - 10, shade - 4, 252))
    values = np.asarray(picture).astype(np.int16)
    values[horizon + 8 :] += (_clouds(key + "d")[: N - horizon - 8, :, None]) // 9
    picture = _picture(values)
    pen = _pen(picture)
    for _ in range(150):
        x, y, r = dice.below(N), dice.below(N), dice.between(1, 3)
        pen.ellipse((x, y, x + r, y + r), fill=(255, 255, 255))
    return picture


def _desert(key: str, dice: Dice) -> Image.Image:
    horizon = dice.between(100, 130)
    picture = _picture(
        np.concatenate(
            [
                _sky(key, (246, 180, 110), (254, 226, 170), horizon),
                _fade((232, 176, 100), (200, 136, 66), N - horizon),
            ]
        )
    )
    pen = _pen(picture)
    for k in range(4):  # dunes, each with a lit and a shaded side
        base, period, shift = horizon + 8 + k * 44, dice.between(220, 420), dice.below(400)
        ridge = [
            (x, base - _wave(x + shift, period) * (10 + 4 * k) // 64) for x in range(0, N + 1, 4)
        ]
        light = (238 - 9 * k, 184 - 12 * k, 110 - 10 * k)
        pen.polygon([*ridge, (N, N), (0, N)], fill=light)
        pen.line(ridge, fill=(250 - 8 * k, 208 - 12 * k, 140 - 10 * k), width=3)
    values = np.asarray(picture).astype(np.int16)
    rows = np.arange(N)[:, None] + _noise(key + "r", 7) // 7
    ripple = np.where(rows % 12 < 5, -7, 3)
    values[horizon + 10 :] += (
        ripple[horizon + 10 :, :, None].astype(np.int16)
        + _noise(key + "t", 60)[horizon + 10 :, :, None] // 12
    )
    return _picture(values)


def _forest(key: str, dice: Dice) -> Image.Image:
    floor = dice.between(200, 240)
    back = _fade((60, 110, 70), (128, 168, 106), floor) + _clouds(key)[:floor, :, None] // 3
    ground = (
        _fade((98, 96, 54), (66, 62, 36), N - floor)
        + _noise(key + "g", 40)[: N - floor, :, None] // 5
    )
    picture = _picture(np.concatenate([back, ground]))
    pen = _pen(picture)
    for layer in range(3):
        for _ in range(7 - layer):
            x, wide = dice.below(N), dice.between(4, 8) + 4 * layer
            base = floor - 16 + 12 * layer
            bark = (108 - 16 * layer, 88 - 14 * layer, 62 - 8 * layer)
            pen.rectangle((x, 0, x + wide, base), fill=bark)
            pen.rectangle((x, 0, x + wide // 4, base), fill=tuple(v + 22 for v in bark))
    values = np.asarray(picture).astype(np.int16)
    leaves = _noise(key + "l", 26) + _noise(key + "m", 58) // 2
    canopy = leaves + 70 - np.arange(N)[:, None] * 2 // 3 > 0  # thick above, thin below
    green = np.stack([52 + leaves // 6, 112 + leaves // 4, 48 + leaves // 8], axis=-1)
    picture = _picture(np.where(canopy[..., None], green, values))
    pen = _pen(picture)
    _blades(pen, dice, 240, floor - 8, [(70, 130, 60), (100, 150, 70), (50, 90, 44)])
    return picture


def _city(key: str, dice: Dice) -> Image.Image:
    street = dice.between(250, 275)
    picture = _picture(
        _fade((14, 18, 54), (66, 58, 112)) + np.maximum(_clouds(key)[..., None], 0) // 5
    )
    pen = _pen(picture)
    for _ in range(90):
        x, y, r = dice.below(N), dice.below(170), dice.below(2)
        pen.ellipse(
            (x, y, x + r, y + r),
            fill=dice.choice([(255, 255, 230), (200, 210, 250), (160, 170, 220)]),
        )
    for layer in range(2):
        x = -dice.below(30)
        while x < N:
            wide, tall = dice.between(28, 58), dice.between(60, 150) - 36 * layer
            wall = (40, 44, 86) if layer == 0 else (26, 28, 58)
            pen.rectangle((x, street - tall, x + wide, street), fill=wall)
            for wy in range(street - tall + 7, street - 8, 13):
                for wx in range(x + 6, x + wide - 6, 11):
                    if dice.chance(34 + 12 * layer):
                        pen.rectangle(
                            (wx, wy, wx + 4, wy + 6),
                            fill=dice.choice([(250, 214, 120), (255, 236, 170), (150, 190, 230)]),
                        )
            x += wide + dice.between(1, 8)
    pen.rectangle((0, street, N, N), fill=(52, 52, 66))
    pen.rectangle((0, street, N, street + 5), fill=(92, 92, 108))
    for x in range(-dice.below(40), N, 44):
        pen.rectangle((x, (street + N) // 2, x + 24, (street + N) // 2 + 4), fill=(226, 216, 150))
    return picture


def _room(key: str, dice: Dice) -> Image.Image:
    floor = dice.between(205, 240)
    paper, other = dice.choice(
        [
            ((236, 218, 200), (226, 200, 178)),
            ((206, 224, 222), (186, 210, 208)),
            ((226, 214, 232), (210, 194, 220)),
            ((240, 226, 178), (230, 210, 150)),
        ]
    )
    stripe = dice.choice([20, 26, 32])
    columns = (np.arange(N) // stripe % 2)[None, :, None]
    wall = np.broadcast_to(np.where(columns == 0, np.array(paper), np.array(other)), (floor, N, 3))
    boards = (
        np.broadcast_to(np.array([176, 122, 76]), (N - floor, N, 3))
        + _noise(key + "b", 9)[: N - floor, :, None] // 10
    )
    grain = _noise(key + "c", 64)
    boards = boards + np.broadcast_to(grain[: N - floor, ::1, None], boards.shape) // 14
    picture = _picture(np.concatenate([wall, boards]))
    pen = _pen(picture)
    for y in range(18, floor - 14, 36):  # little flowers on the paper
        for x in range(stripe // 2, N, 2 * stripe):
            pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=tuple(v - 34 for v in other))
    for k, y in enumerate(range(floor, N, 22)):
        pen.line((0, y, N, y), fill=(132, 86, 50), width=2)
        for x in range(-dice.below(70) + 35 * (k % 2), N, 96):
            pen.line((x, y, x, y + 22), fill=(132, 86, 50), width=2)
    pen.rectangle((0, floor - 10, N, floor), fill=(248, 244, 236))
    pen.line((0, floor, N, floor), fill=(150, 130, 110), width=2)
    x = dice.between(20, 180)
    pen.rectangle((x, 40, x + 84, 130), fill=(250, 248, 242))  # a window
    pen.rectangle((x + 6, 46, x + 78, 124), fill=(168, 212, 240))
    pen.line((x + 42, 46, x + 42, 124), fill=(250, 248, 242), width=5)
    pen.line((x + 6, 84, x + 78, 84), fill=(250, 248, 242), width=5)
    return picture


def _sea(key: str, dice: Dice) -> Image.Image:
    from PIL import Image, ImageFilter

    bed = dice.between(262, 288)
    water = _fade((92, 196, 226), (14, 70, 138)) + _clouds(key)[..., None] // 10
    rays = Image.new("L", (N, N))
    pen = _pen(rays)
    for _ in range(6):
        x, wide, lean = dice.between(-60, N), dice.between(10, 34), dice.between(40, 120)
        pen.polygon(
            [(x, 0), (x + wide, 0), (x + 2 * wide + lean, N), (x + lean, N)],
            fill=dice.between(26, 60),
        )
    rays = np.asarray(rays.filter(ImageFilter.BoxBlur(4))).astype(np.int16)
    picture = _picture(
        water + rays[..., None] * (N - np.arange(N, dtype=np.int16))[:, None, None] // N
    )
    pen = _pen(picture)
    for k in range(3):
        x, wide = dice.between(-100, 220), dice.between(180, 320)
        pen.ellipse(
            (x, bed - 10 + 10 * k, x + wide, bed + 120),
            fill=(196 - 14 * k, 184 - 14 * k, 136 - 12 * k),
        )
    pen.rectangle((0, bed + 26, N, N), fill=(178, 166, 122))
    for _ in range(9):  # weed
        x, tall = dice.below(N), dice.between(26, 70)
        stem = [(x + _wave(3 * t + 40 * x, 90) // 12, bed + 34 - t) for t in range(0, tall, 3)]
        pen.line(stem, fill=dice.choice([(40, 130, 90), (60, 150, 80), (30, 104, 84)]), width=4)
    for _ in range(34):
        x, y, r = dice.below(N), dice.below(bed), dice.between(2, 6)
        pen.ellipse((x - r, y - r, x + r, y + r), outline=(208, 240, 250))
        pen.point((x - r // 2, y - r // 2), fill=(255, 255, 255))
    return picture


_PAINTERS: dict[str, Callable[[str, Dice], Image.Image]] = {
    "field": _field,
    "beach": _beach,
    "snow": _snow,
    "desert": _desert,
    "forest": _forest,
    "city": _city,
    "room": _room,
    "sea": _sea,
}

BACKGROUNDS: tuple[str, ...] = tuple(_PAINTERS)


@cache
def _texture(name: str, number: int, side: int) -> np.ndarray:
    """Texture ``number`` of a ground at ``side`` pixels: uint8 (side, side, 3), read-only."""
    from PIL import Image

    picture = _PAINTERS[name](f"{name}{number}", Dice("background", name, number))
    if side != N:
        picture = picture.resize(
            (side, side), Image.Resampling.BOX if side < N else Image.Resampling.BICUBIC
        )
    return np.asarray(picture)


@lru_cache(maxsize=256)
def _light(kind: int, size: int) -> np.ndarray:
    """Brightness of each column in 256ths, uint32 (1, size, 1): four levels, lit from the left, the
    right or evenly."""
    level, slope = (218, 240, 262, 280)[kind % 4], (-28, 0, 28)[kind // 4 % 3]
    across = np.arange(size, dtype=np.int32) * 2 - (size - 1)  # -(size - 1) .. size - 1
    return (level + slope * across // size).astype(np.uint32)[None, :, None]


def paint(name: str, variant: int, size: int) -> np.ndarray:
    """The ground of a scene.

    Args:
        name: one of :data:`BACKGROUNDS`.
        variant: a whole number from 0; it chooses the texture, which part of it is shown, mirrored
            or not, and the light.
        size: side in pixels.

    Returns:
        A new array, uint8 (size, size, 3).
    """
    side = size * 5 // 4
    bits = int.from_bytes(shake_128(f"variant{variant}".encode()).digest(8), "little")
    texture = _texture(name, bits % TEXTURES, side)
    bits >>= 8
    room = side - size + 1
    top, left = ((bits & 0xFF) * room) >> 8, ((bits >> 8 & 0xFF) * room) >> 8
    window = texture[top : top + size, left : left + size]
    if bits >> 16 & 1:
        window = window[:, ::-1]
    lit = (window.astype(np.uint32) * _light((bits >> 17 & 0xFF) % 12, size)) >> 8
    return np.minimum(lit, 255).astype(np.uint8)
