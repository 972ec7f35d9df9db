"""Any picture as upright RGB with 8 bits a channel: the one place where that is decided.

Pillow's own ``convert("RGB")`` cuts every value off at 255, so that a picture of 16 bits turns
white and one of fractions black; it drops the alpha channel, so that a colour hidden under full
transparency shows; and it leaves a photograph as the camera was held. :func:`rgb` scales, lays
transparency over white and turns upright. What cannot be scaled without a guess is refused: whole
numbers of 32 or 64 bits do not say which of them is white, nor do fractions beyond 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

#: Which number is white, in the types of whole numbers that say so; for floats it is 1.
WHITE = {"bool": 1, "uint8": 255, "uint16": 65535}
#: What turns a picture upright, for the values of EXIF's tag Orientation.
_TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM"}
_TURNS |= {5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}
#: What PNG's transparent colour is multiplied by when Pillow reads these depths as 8 bits.
_DEPTHS = {"L;2": 85, "L;4": 17, "RGB;16B": 1 / 256}


def rgb(picture: Any) -> Image.Image:
    """Bring a picture to upright RGB with 8 bits a channel.

    Args:
        picture: a Pillow image of any mode, or an array or tensor (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4): bool, uint8, uint16 (0 to 65535) or floats in [0, 1]. A fourth channel is
            alpha, 0 where nothing covers the white.

    Returns:
        A Pillow image of mode RGB, turned as its EXIF orientation says. ``np.asarray`` makes it
        uint8 (H, W, 3).

    Raises:
        TypeError: something that is no picture.
        ValueError: another shape, no pixels, whole numbers that do not say what is white, floats
            outside [0, 1], NaN.
        OSError: from Pillow, a file that breaks off or is damaged.
    """
    from PIL import Image

    if not isinstance(picture, Image.Image):
        return _over_white(Image.fromarray(_eight_bits(_array(picture))))
    _load(picture)
    if 0 in picture.size:
        raise ValueError("a picture must have at least one pixel")
    flat = _scaled(picture) if picture.mode[0] in "IF" else _over_white(picture)
    return _upright(flat, picture)


def unfit(dtype: Any) -> str:
    """The message for pixels of a type that does not say what is white."""
    return f"a picture must be uint8, uint16, bool or float in [0, 1], got {dtype}, which does not say what is white"


def _load(image: Image.Image) -> None:
    """Decode. Pillow scales a PNG's grey of 2 or 4 bits and its colours of 16 to 8 bits, but not
    its transparent colour."""
    depth = image.tile[0][3] if image.format == "PNG" and getattr(image, "tile", None) else None
    image.load()
    if depth in _DEPTHS and "transparency" in image.info:
        clear = np.multiply(image.info["transparency"], _DEPTHS[depth]).astype(int).tolist()
        image.info["transparency"] = tuple(clear) if isinstance(clear, list) else clear


def _upright(flat: Image.Image, source: Image.Image) -> Image.Image:
    """Turn a picture as its source's EXIF block says. To be asked after loading: Pillow has turned
    a TIFF by then."""
    from PIL import Image

    try:
        turn = _TURNS.get(source.getexif().get(0x0112))
    except Exception:  # a parser of foreign bytes fails in many ways, and a picture with a broken EXIF block is whole
        turn = None
    return flat.transpose(Image.Transpose[turn]) if turn else flat


def _over_white(image: Image.Image) -> Image.Image:
    """Drop transparency as if the picture lay on white paper."""
    from PIL import Image

    if not image.has_transparency_data:
        return image.convert("RGB")
    if image.mode == "La":  # premultiplied; Pillow knows no straight way to RGBA
        image = image.convert("LA")
    return Image.alpha_composite(
        Image.new("RGBA", image.size, "white"), image.convert("RGBA")
    ).convert("RGB")


def _scaled(image: Image.Image) -> Image.Image:
    """A grey picture of more than 8 bits as RGB."""
    from PIL import Image

    values = np.asarray(image)
    if image.mode == "I" and image.format in (
        "PNG",
        "PPM",
    ):  # what Pillow 10 calls these files' 16 bits
        values = values.astype(np.uint16)
    grey = _eight_bits(values)
    if "transparency" in image.info:
        grey = np.where(values == image.info["transparency"], np.uint8(255), grey)
    return Image.fromarray(grey).convert("RGB")


def _array(picture: Any) -> np.ndarray:
    """An array (H, W), (H, W, 3) or (H, W, 4) of numbers."""
    if hasattr(picture, "detach"):
        tensor = picture.detach().cpu()
        picture = (tensor.float() if "bfloat16" in str(tensor.dtype) else tensor).numpy()
    try:
        array = np.asarray(picture)
    except Exception as error:
        raise TypeError(
            f"a picture must be a PIL image, an array or a figure, got {type(picture).__name__}"
        ) from error
    if array.dtype.kind not in "buif":
        raise TypeError(
            f"a picture must be a PIL image, an array or a figure, got {type(picture).__name__}"
        )
    if (
        array.ndim not in (2, 3)
        or (array.ndim == 3 and array.shape[2] not in (1, 3, 4))
        or array.size == 0
    ):
        raise ValueError(
            f"a picture must have shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), none of them 0, got {array.shape}"
        )
    return array[..., 0] if array.shape[2:] == (1,) else array


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Scale pixels to uint8."""
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "f":
        low, high = values.min(), values.max()  # NaN, if there is one
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"a picture of floats must be finite and in [0, 1], got [{low:.3g}, {high:.3g}]; divide by its white?"
            )
        white = 1
    elif values.dtype.name in WHITE:
        white = WHITE[values.dtype.name]
    else:
        raise ValueError(unfit(values.dtype))
    return np.round(values.astype(np.float64) / white * 255).astype(np.uint8)
