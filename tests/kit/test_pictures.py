"""Any picture as RGB: each mode and type against values worked out by hand, and files written byte by byte."""

from __future__ import annotations

import io
import itertools
import struct
import subprocess
import sys
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmtutor.kit import pictures

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def pixels(picture: Any) -> np.ndarray:
    result = pictures.rgb(picture)
    assert result.mode == "RGB"
    return np.asarray(result)


def colour(picture: Any) -> list[int]:
    """Of a picture that has one."""
    found = np.unique(pixels(picture).reshape(-1, 3), axis=0)
    assert len(found) == 1
    return found[0].tolist()


def png(
    depth: int, kind: int, row: bytes, width: int, clear: tuple[int, ...] | None = None
) -> Image.Image:
    """A PNG of one row, written as the standard says: Pillow writes no such files itself."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, kind, 0, 0, 0))]
    parts += [] if clear is None else [chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear))]
    parts += [chunk(b"IDAT", zlib.compress(b"\0" + row)), chunk(b"IEND", b"")]
    return Image.open(io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(parts)))


def reopened(image: Image.Image, form: str, **options: Any) -> Image.Image:
    file = io.BytesIO()
    image.save(file, form, **options)
    return Image.open(io.BytesIO(file.getvalue()))


# --- More than 8 bits -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_grey_of_16_bits_is_scaled(form: str) -> None:
    values = (RAMP.astype(np.uint16) * 257)[:, :8]  # 0, 257, … are exactly 0, 1, … of 255
    if form == "PPM":
        image = Image.open(io.BytesIO(b"P5 8 16 65535\n" + values.astype(">u2").tobytes()))
    else:
        image = reopened(Image.fromarray(values), form)
    np.testing.assert_array_equal(pixels(image), np.repeat(RAMP[:, :8, None], 3, axis=2))


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L"])
def test_16_bits_in_either_order_of_bytes(mode: str) -> None:
    raw = np.array([[0, 128, 257, 32768, 65535]], ">u2" if mode == "I;16B" else "<u2").tobytes()
    assert pixels(Image.frombytes(mode, (5, 1), raw))[0, :, 0].tolist() == [0, 0, 1, 128, 255]
    assert pixels(np.frombuffer(raw, ">u2" if mode == "I;16B" else "<u2")[None])[
        0, :, 0
    ].tolist() == [
        0,
        0,
        1,
        128,
        255,
    ]


def test_colours_of_16_bits() -> None:
    row = struct.pack(">6H", 65535, 32768, 0, 256, 511, 512)
    assert pixels(png(16, 2, row, 2)).tolist() == [[[255, 128, 0], [1, 1, 2]]]
    half = struct.pack(">4H", 0, 0, 0, 32768)
    assert colour(png(16, 6, half, 1)) == [127, 127, 127]  # alpha 128 of 255 over white
    assert colour(png(16, 4, struct.pack(">2H", 0, 0), 1)) == [255, 255, 255]


def test_fractions_are_scaled() -> None:
    values = (RAMP / 255).astype(np.float32)
    for picture in (
        values,
        values.astype(np.float64),
        Image.fromarray(values),
        reopened(Image.fromarray(values), "TIFF"),
    ):
        np.testing.assert_array_equal(pixels(picture), np.repeat(RAMP[..., None], 3, axis=2))
    assert colour(np.full((2, 2), 0.25, np.float16)) == [64, 64, 64]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -0.001, 1.001, 255.0])
def test_fractions_out_of_range_are_refused(bad: float) -> None:
    values = np.full((3, 3), 0.5, np.float32)
    values[1, 1] = bad
    colours = np.repeat(values[..., None], 4, axis=2)
    for picture in (values, colours, Image.fromarray(values)):
        with pytest.raises(ValueError, match=r"floats must be finite and in \[0, 1\]"):
            pictures.rgb(picture)


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.int64, np.uint32, np.uint64])
def test_whole_numbers_that_name_no_white_are_refused(kind: type) -> None:
    with pytest.raises(
        ValueError, match=f"uint8, uint16, bool or float in .0, 1., got {np.dtype(kind).name}"
    ):
        pictures.rgb(np.ones((2, 2), kind))
    if kind == np.int32:
        for image in (Image.new("I", (2, 2), 70000), reopened(Image.new("I", (2, 2), -1), "TIFF")):
            with pytest.raises(ValueError, match="got int32"):
                pictures.rgb(image)


# --- Transparency ---------------------------------------------------------------------------------


def with_alpha(mode: str) -> Image.Image:
    """Red (or black, where there is no red) in three thicknesses: not there, half there, there."""
    image = Image.new("RGBA", (3, 1), (255, 0, 0, 255))
    image.putalpha(Image.fromarray(np.array([[0, 128, 255]], np.uint8)))
    if mode in ("LA", "La"):
        return Image.frombytes("LA", (3, 1), bytes([0, 0, 0, 128, 0, 255])).convert(mode)
    if mode == "PA":
        flat = Image.new("P", (3, 1), 1)
        flat.putpalette([0, 0, 0, 255, 0, 0])
        flat.putalpha(image.getchannel("A"))
        return flat
    if mode == "P":
        flat = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
        flat.putpalette([255, 0, 0] * 3)
        flat.info["transparency"] = bytes([0, 128, 255])
        return flat
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "RGBa", "LA", "La", "PA", "P"])
def test_alpha_lies_over_white(mode: str) -> None:
    image = with_alpha(mode)
    assert image.mode == mode
    nothing, half, whole = pixels(image)[0].tolist()
    red = 0 if mode in ("LA", "La") else 255
    assert nothing == [255, 255, 255]
    assert whole == [red, 0, 0]
    assert half == [max(red, 127), 127, 127]


@pytest.mark.parametrize("form", ["PNG", "GIF", "WEBP"])
def test_a_colour_hidden_under_transparency_stays_hidden_in_files(form: str) -> None:
    image = reopened(
        Image.new("RGBA", (8, 8), (255, 0, 0, 0)),
        form,
        **({"exact": True} if form == "WEBP" else {}),
    )
    assert colour(image) == [255, 255, 255]


def test_one_transparent_colour() -> None:
    palette = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.info["transparency"] = 0
    assert pixels(palette).tolist() == [[[255, 255, 255], [0, 255, 0]]]
    two = struct.pack(">2H", 32768, 32769)
    assert pixels(png(16, 0, two, 2, clear=(32769,)))[0, :, 0].tolist() == [128, 255]
    two = struct.pack(">6H", 32768, 256, 65535, 0, 0, 0)
    assert pixels(png(16, 2, two, 2, clear=(32768, 256, 65535))).tolist() == [
        [[255, 255, 255], [0, 0, 0]]
    ]
    assert pixels(png(8, 2, bytes([9, 8, 7, 1, 2, 3]), 2, clear=(9, 8, 7))).tolist() == [
        [[255] * 3, [1, 2, 3]]
    ]
    assert pixels(png(1, 0, b"\x40", 2, clear=(0,))).tolist() == [[[255] * 3] * 2]


@pytest.mark.parametrize(("depth", "step"), [(2, 85), (4, 17)])
def test_a_transparent_grey_of_few_bits(depth: int, step: int) -> None:
    """Pillow scales such greys to 8 bits, but not the transparent one."""
    image = png(depth, 0, {2: b"\x1b", 4: b"\x01\x23"}[depth], 4, clear=(1,))
    for _ in range(2):  # a second look at the same picture sees the same
        assert pixels(image)[0, :, 0].tolist() == [0, 255, 2 * step, 3 * step]


@given(st.lists(st.integers(0, 255), min_size=4, max_size=4))
@settings(max_examples=100, deadline=None)
def test_alpha_by_the_formula(value: list[int]) -> None:
    *colours, alpha = value
    expected = (np.array(colours) * alpha + 255 * (255 - alpha)) / 255
    for picture in (
        Image.new("RGBA", (1, 1), tuple(value)),
        np.array([[value]], np.uint8),
        np.array([[value]]) / 255,
    ):
        assert np.abs(pixels(picture)[0, 0] - expected).max() <= 0.51


# --- Upright --------------------------------------------------------------------------------------

MARKED = np.zeros((20, 30, 3), np.uint8)
MARKED[:10, :15], MARKED[:10, 15:], MARKED[10:, :15] = (255, 255, 255), (255, 0, 0), (0, 255, 0)
# What the standard says of the tag: where row 0 and column 0 of what is stored belong in what is seen.
SEEN = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize(
    ("form", "held"), itertools.product(["PNG", "TIFF", "WEBP", "JPEG"], range(1, 9))
)
def test_turned_once_and_only_once(form: str, held: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = held
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(form, {})
    found, seen = (
        pixels(reopened(Image.fromarray(MARKED), form, exif=exif, **options)),
        SEEN[held](MARKED),
    )
    assert found.shape == seen.shape
    assert np.abs(found.astype(int) - seen).max() <= 2


def test_16_bits_and_transparency_are_turned_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    grey = reopened(Image.fromarray(np.array([[0, 65535]], np.uint16)), "PNG", exif=exif)
    assert pixels(grey)[0, :, 0].tolist() == [255, 0]
    clear = reopened(
        Image.fromarray(np.array([[[9, 9, 9, 255], [9, 9, 9, 0]]], np.uint8)), "PNG", exif=exif
    )
    assert pixels(clear)[0, :, 0].tolist() == [255, 9]


BROKEN = {
    "noise": b"Exif\0\0noise and nothing else",
    "empty": b"Exif\0\0",
    "cut off": b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01",
    "no number": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0six\0\0\0\0\0",
    "beyond 8": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0",
}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # that the block is broken
@pytest.mark.parametrize("block", BROKEN)
@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
def test_a_broken_exif_block_does_not_spoil_the_picture(form: str, block: str) -> None:
    image = reopened(Image.fromarray(MARKED), form, exif=BROKEN[block])
    assert np.abs(pixels(image).astype(int) - MARKED).mean() < 12


# --- Every mode, every shape ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LA", "RGBA", "RGBa"]
)
def test_modes_of_8_bits_keep_their_colours(mode: str) -> None:
    """White, black and (where there is colour) red, by Pillow's own conversion into the mode."""
    for value in ((255, 255, 255), (0, 0, 0), (255, 0, 0)):
        if value == (255, 0, 0) and mode in ("1", "L", "LA"):
            continue
        image = Image.new("RGB", (4, 4), value)
        image = image.convert("RGBA").convert(mode) if mode == "RGBa" else image.convert(mode)
        assert np.abs(np.subtract(colour(image), value)).max() <= 1


def test_lab_colours_or_a_clear_no() -> None:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    image = ImageCms.profileToProfile(
        Image.new("RGB", (4, 4), (200, 100, 50)), srgb, lab, outputMode="LAB"
    )
    try:
        image.convert("RGB")
    except ValueError:  # Pillow before 11.3
        with pytest.raises(ValueError, match="LAB"):
            pictures.rgb(image)
    else:
        assert (
            np.abs(np.subtract(colour(image), (200, 100, 50))).max() <= 6
        )  # LAB of 8 bits is coarse


def test_bits_become_black_and_white() -> None:
    bits = np.array([[True, False]])
    for picture in (bits, Image.fromarray(bits), bits[..., None]):
        assert pixels(picture)[0, :, 0].tolist() == [255, 0]


def test_shapes_of_arrays() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(pixels(colours), colours)
    for grey in (colours[..., 0], colours[..., :1]):
        np.testing.assert_array_equal(pixels(grey), np.repeat(colours[..., :1], 3, axis=2))
    assert pixels(np.full((5, 7, 3), 65535, np.uint16)).tolist() == np.full((5, 7, 3), 255).tolist()
    clear = np.dstack([colours, np.zeros((5, 7), np.uint8)])
    for picture in (clear, clear / 255, clear.astype(np.uint16) * 257):
        assert colour(picture) == [255, 255, 255]
    for shape in ((5,), (5, 7, 2), (3, 5, 7), (5, 7, 5), (2, 5, 7, 3), (0, 7), (5, 0, 3), ()):
        with pytest.raises(ValueError, match=r"shape \(H, W\), .*got \("):
            pictures.rgb(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="at least one pixel"):
        pictures.rgb(Image.new("RGB", (0, 3)))


def test_arrays_that_are_views() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    colours.setflags(write=False)
    for view in (
        colours,
        colours[::-1, ::-1],
        colours[:, ::2],
        colours[..., ::-1],
        np.asfortranarray(colours),
    ):
        np.testing.assert_array_equal(pixels(view), view)
    result = np.array(pictures.rgb(colours))
    assert result.flags.writeable


def test_tensors() -> None:
    import torch

    values = torch.rand(4, 5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    np.testing.assert_array_equal(pixels(values), np.round(values.detach().double().numpy() * 255))
    assert colour(torch.full((2, 2), 0.5, dtype=torch.bfloat16)) == [128, 128, 128]
    assert colour(torch.full((2, 2), 200, dtype=torch.uint8)) == [200, 200, 200]


@pytest.mark.parametrize(
    "thing", ["dog.png", None, object(), np.array([["a"]]), np.ones((2, 2), complex), [[1, 2], [3]]]
)
def test_what_is_no_picture(thing: Any) -> None:
    with pytest.raises(TypeError, match="must be a PIL image, an array or a figure, got "):
        pictures.rgb(thing)


def test_the_source_is_left_as_it_was() -> None:
    image = Image.fromarray(np.array([[[1, 2, 3, 0]]], np.uint8))
    array = np.full((2, 2, 4), 0.5)
    before = array.copy()
    pictures.rgb(image), pictures.rgb(array)
    assert (image.mode, image.getpixel((0, 0))) == ("RGBA", (1, 2, 3, 0))
    np.testing.assert_array_equal(array, before)


def test_no_warning_and_no_torch() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"):
            pictures.rgb(Image.new(mode, (4, 4)))
    code = "import sys, numpy as np; from mmtutor.kit import pictures; pictures.rgb(np.eye(4)); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
