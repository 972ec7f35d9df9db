"""Many small pictures as one file, and places on it: what :mod:`search` and :mod:`space` share."""

from __future__ import annotations

import io
import math
import operator
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from html import escape
from typing import Any, NamedTuple

import numpy as np

from mmtutor.page._parts import data_url

BLOCK = 16  # pixels that WebP encodes together: a picture begins at a multiple of it
LARGEST = 1e100  # of a number: squares of larger ones overflow
SIDES = (16, 160)  # smallest and largest side of a picture: it is shown as it is, on a phone too

#: ``thumb(i, size)`` makes a picture of the sheet as an element; its style is the one of
#: :meth:`Sheet.place`. ``d`` is the data of the widget, with ``d.sheet`` and ``d.captions``.
THUMB_SCRIPT = r"""function thumb(i,size){var e=document.createElement("span"),s=d.sheet,z=size/Math.max(s[3],s[4]);
e.className="mmt-pic";e.setAttribute("role","img");e.setAttribute("aria-label",d.captions[i]);
function px(x){return+(x*z).toFixed(2)+"px"}e.style.width=px(s[3]);e.style.height=px(s[4]);
e.style.backgroundPosition=px(-(i%s[0])*s[1])+" "+px(-Math.floor(i/s[0])*s[2]);
e.style.backgroundSize=px(s[0]*s[1])+" auto";return e}
function number(x){var s=x.toFixed(2);return s==="-0.00"?"0.00":s.replace("-","\u2212")}
function clear(e){while(e.firstChild)e.removeChild(e.firstChild)}"""


class Sheet(NamedTuple):
    """Pictures of one size in rows, as one WebP file."""

    data: bytes
    columns: int
    step: tuple[int, int]  # pixels from one picture to the next, across and down
    size: tuple[int, int]  # pixels of a picture, across and down

    def style(self, id: str) -> str:
        """The rule that puts the file behind every place."""
        return (
            f"<style>#{id} .mmt-pic{{background:#fff url({data_url(self.data, 'image/webp')}) "
            "no-repeat;border-radius:4px;display:block;flex:none;print-color-adjust:exact}</style>"
        )

    def numbers(self) -> list[int]:
        """What the script needs: columns, steps, sizes."""
        return [self.columns, *self.step, *self.size]

    def place(self, i: int, caption: str, size: int | None = None) -> str:
        """The picture ``i`` as an element, its longer side ``size`` pixels long."""
        zoom = 1.0 if size is None else size / max(self.size)

        def px(x: float) -> str:
            return f"{round(x * zoom, 2) + 0.0:g}px"

        row, column = divmod(i, self.columns)
        return (
            f'<span class="mmt-pic" role="img" aria-label="{escape(caption)}" '
            f'style="width:{px(self.size[0])};height:{px(self.size[1])};background-position:'
            f"{px(-column * self.step[0])} {px(-row * self.step[1])};"
            f'background-size:{px(self.columns * self.step[0])} auto"></span>'
        )


def sheet(pictures: Any, quality: int) -> Sheet:
    """N pictures in rows of about √N, encoded as one file.

    Args:
        pictures: (N, H, W, 3) uint8.
        quality: of WebP, 1 to 100.

    Raises:
        TypeError: not uint8.
        ValueError: another shape, no picture, sides out of range, quality out of range.
    """
    from PIL import Image

    if hasattr(pictures, "detach"):
        pictures = pictures.detach().cpu().numpy()
    array = np.asarray(pictures)
    if array.ndim != 4 or array.shape[3] != 3 or not len(array):
        raise ValueError(f"pictures must be (N, H, W, 3) with N ≥ 1, got {array.shape}")
    if array.dtype != np.uint8:
        raise TypeError(f"pictures must be uint8, got {array.dtype}")
    if not SIDES[0] <= min(array.shape[1:3]) <= max(array.shape[1:3]) <= SIDES[1]:
        raise ValueError(
            f"the sides of a picture must have {SIDES[0]} to {SIDES[1]} pixels, got "
            f"{array.shape[1:3]}; make them smaller or larger first"
        )
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise ValueError(f"quality must be a whole number in 1…100, got {quality!r}")
    count, height, width = array.shape[:3]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    over = [-side % BLOCK for side in (height, width)]
    cells = np.pad(array, ((0, 0), (0, over[0]), (0, over[1]), (0, 0)), mode="edge")
    step = (width + over[1], height + over[0])
    whole = np.full((rows * columns, step[1], step[0], 3), 255, np.uint8)
    whole[:count] = cells
    whole = whole.reshape(rows, columns, step[1], step[0], 3).swapaxes(1, 2)
    buffer = io.BytesIO()
    Image.fromarray(whole.reshape(rows * step[1], columns * step[0], 3)).save(
        buffer, format="WEBP", quality=quality, method=6
    )
    return Sheet(buffer.getvalue(), columns, step, (width, height))


def number(score: float) -> str:
    """A cosine with two digits, as the script writes it: half of the last digit goes up."""
    text = str(Decimal(score).quantize(Decimal("0.01"), ROUND_HALF_UP))
    return "0.00" if text == "-0.00" else text.replace("-", "−")


def matrix_of(given: Any, what: str, rows: int | None = None) -> np.ndarray:
    """Finite numbers of shape (N, d) as float64.

    Raises:
        ValueError: another shape, another number of rows, NaN, infinity or nearly so.
    """
    array = given.detach().cpu().numpy() if hasattr(given, "detach") else np.asarray(given)
    array = array.astype(np.float64)
    if array.ndim != 2 or not array.size:
        raise ValueError(f"{what} must have shape (N, d), got {array.shape}")
    if rows is not None and len(array) != rows:
        raise ValueError(f"{what} must have {rows} rows, got {len(array)}")
    if not (np.abs(array) < LARGEST).all():
        raise ValueError(f"{what} must be finite, and below {LARGEST:g}")
    return array


def whole(given: Any, name: str, low: int, high: int) -> int:
    """A whole number of Python, NumPy or torch as an ``int``.

    Raises:
        ValueError: something else, or out of range.
    """
    number = operator.index(given) if hasattr(given, "__index__") else None
    if number is None or isinstance(given, bool) or not low <= number <= high:
        raise ValueError(f"{name} must lie in {low}…{high}, a whole number, got {given!r}")
    return number


def alike(count: int, what: str, other: Sequence[Any], named: str) -> None:
    """Raise a ValueError unless ``other`` has ``count`` entries."""
    if len(other) != count:
        raise ValueError(f"{count} {what}, but {len(other)} {named}")
