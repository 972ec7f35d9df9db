"""A reader's own sounds and films as the systems take them, and what the systems make as files."""

from __future__ import annotations

import io
import itertools
import wave
from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmtutor import hub
from mmtutor.hub.decoded import at_home, by_numbers, decode_sound, opened
from mmtutor.kit import pictures
from mmtutor.kit.cache import replacing

#: Ends of the names of pictures that a folder of frames may hold.
FRAMES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
#: Ends of the names of files that hold a film.
FILMS = (".npy", ".gif", ".apng", *FRAMES)
#: Of a film and its sound: by so many seconds one may be longer than the other.
SLACK = 0.2


class Unread(ValueError):
    """Files that cannot be read, a line each, and of how many."""

    def __init__(self, lines: list[str], of: int) -> None:
        super().__init__("; ".join(lines))
        self.lines, self.of = lines, of


def say(line: str) -> None:
    """A note beside the results."""
    import click

    click.echo(f"note: {line}", err=True)


def left_out(bad: list[str]) -> None:
    """Name the first files of a folder that cannot be used, and count the others."""
    for line in bad[:5]:
        say(f"left out: {line}")
    if len(bad) > 5:
        say(f"left out: {len(bad) - 5} more")


# --- Sounds ---------------------------------------------------------------------------------------


def sound(file: str, rate: int) -> Tensor:
    """A sound file as one wave, float32 (L,) in [−1, 1], of ``rate`` samples a second. Another rate
    and several channels are brought to that, and it is said.

    Raises:
        OSError: no such file, or a folder.
        ValueError: no sound, nothing in it, or nothing but silence; the message names the file.
    """
    if file and Path(file).is_dir():
        raise IsADirectoryError(f"{file!r} is a folder; name a sound in it")
    name, content = opened(file)
    try:
        samples, own = decode_sound(name, content)
    except ModuleNotFoundError as error:  # its message says what it is, and what to install
        raise ValueError(str(error)) from error
    if not len(samples):
        raise ValueError(f"{name} holds no sound: it has 0 samples")
    heard = torch.from_numpy(hub.sound(file, rate)).float() / 32768
    if not bool(heard.any()):
        raise ValueError(f"{name} holds nothing but silence")
    changed = []
    if own != rate:
        changed.append(f"{own:,} samples a second, brought to {rate:,}")
    if samples.shape[1] > 1:
        changed.append(f"{samples.shape[1]} channels, of which the mean is heard")
    if changed:
        say(f"{file} has {' and '.join(changed)}")
    return heard


def write_sound(path: Path, samples: Tensor, rate: int) -> None:
    """Write a wave (L,) in [−1, 1] as a WAV file of 16 bits, whole or not at all; what is louder
    than 1 is cut off."""
    whole = (samples.detach().cpu().clamp(-1, 1) * 32767).round().to(torch.int16).numpy()
    held = io.BytesIO()
    with wave.open(held, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(whole.astype("<i2").tobytes())
    write(path, held.getvalue())


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        OSError: its folder is missing, or it is a folder itself; the message says what to do.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder; name a file with --out")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(path.parent)!r} to write {path.name} to")
    try:
        with replacing(path) as partial, open(partial, "wb") as file:
            file.write(content)
    except OSError as error:  # it names a file that nobody asked for
        reason = f"{str(path)!r} cannot be written ({error.strerror}); choose another --out"
        raise type(error)(reason) from error  # the disk that is full is known by the cause


def free(name: str, taken: Container[str], number: int) -> str:
    """The name of a file that is written, or, where it is taken, the name with a number: with the
    first from ``number`` on that is free. Nothing is written over."""
    if name not in taken:
        return name
    return next(other for n in itertools.count(number) if (other := f"{name}-{n}") not in taken)


def folder_for(out: Path) -> Path:
    """A folder that results are written to; it is made if need be.

    Raises:
        NotADirectoryError: it is a file.
    """
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"--out must be a folder here, and {str(out)!r} is a file")
    out.mkdir(parents=True, exist_ok=True)
    return out


# --- Pictures -------------------------------------------------------------------------------------


def ending(path: Path) -> str:
    """The format that a picture's name asks for.

    Raises:
        ValueError: none that can be written.
    """
    from PIL import Image

    known = Image.registered_extensions()
    kind = known.get(path.suffix.lower())
    if kind is None or kind not in Image.SAVE:
        raise ValueError(
            f"--out must end in .png, .jpg or another kind of picture, got {path.name!r}"
        )
    return kind


def write_grid(path: Path, drawn: np.ndarray, zoom: int) -> None:
    """Write pictures, uint8 (N, S, S, 3), as one: up to eight in a row, white between them.

    Args:
        zoom: pixels of the file, across and down, for one of theirs.
    """
    from PIL import Image

    kind, gap = ending(path), 1
    count, side = drawn.shape[:2]
    across = min(count, 8)
    down = -(-count // across)
    sheet = np.full((down * (side + gap) - gap, across * (side + gap) - gap, 3), 255, np.uint8)
    for at, one in enumerate(drawn):
        y, x = (place * (side + gap) for place in divmod(at, across))
        sheet[y : y + side, x : x + side] = one
    held = io.BytesIO()
    Image.fromarray(sheet.repeat(zoom, 0).repeat(zoom, 1)).save(held, kind)
    write(path, held.getvalue())


# --- Films ----------------------------------------------------------------------------------------


def film(file: str, fps: int, given: float | None, pixels: int) -> np.ndarray:
    """A film without a video library: uint8 (T, pixels, pixels, 3), ``fps`` pictures a second.

    It may be a folder of pictures in the order of their names; a moving picture (GIF, PNG, WebP),
    whose own times count; a strip of square pictures side by side, or one above the other; or
    ``.npy``, uint8 (T, H, W, 3) or (T, H, W).

    Args:
        file: its name.
        fps: pictures a second that are wanted: each moment gets the picture that is shown then.
        given: pictures a second of the film, if somebody said so; else its own, or ``fps``.
        pixels: side of the result; larger pictures are averaged.

    Raises:
        OSError: no such file.
        ValueError: no film; pictures that are too small or of several sizes. The message names it.
    """
    path = at_home(file)
    if file and path.is_dir():
        shown, ends = _folder(path, pixels)
    elif not file or not path.exists():
        raise FileNotFoundError(f"there is no file or folder {file!r}")
    elif path.suffix.lower() == ".npy":
        shown, ends = _array(path, pixels)
    else:
        shown, ends = _moving(path, pixels)
    if len(shown) < 2:
        raise ValueError(f"{file!r} is one picture, and a film has two or more")
    if given is not None or ends is None:
        ends = np.arange(1, len(shown) + 1) / (given or fps)
    return _each_moment(shown, ends, fps)


def _each_moment(shown: np.ndarray, ends: np.ndarray, fps: int) -> np.ndarray:
    """Of pictures (T, …) that end at some seconds, the one that is shown at each moment."""
    count = max(1, round(float(ends[-1]) * fps))
    at = np.searchsorted(ends, (np.arange(count) + 0.5) / fps, side="right")
    return shown[np.minimum(at, len(shown) - 1)]


def vectors(file: str, fps: int, given: float | None, size: int) -> np.ndarray:
    """A film that a network has looked at: float32 (T, size), ``fps`` vectors a second.

    Args:
        file: an array that NumPy saved, float (T, size).
        fps, given: as for :func:`film`.
        size: numbers of a vector.

    Raises:
        OSError: no such file.
        ValueError: another kind of file, another shape, NaN.
    """
    path = at_home(file)
    if not file or not path.exists():
        raise FileNotFoundError(f"there is no file or folder {file!r}")
    wanted = (
        f"a file .npy with float (T, {size}), what a face network of your own makes of the film"
    )
    if path.is_dir() or path.suffix.lower() != ".npy":
        raise ValueError(f"{file!r} holds pictures, and this network takes vectors: {wanted}")
    whole = hub.array(path)
    fits = whole.ndim == 2 and whole.shape[1] == size and len(whole) > 1
    if not fits or whole.dtype.kind != "f":
        raise ValueError(f"{file!r} must be {wanted}; got {whole.dtype} {whole.shape}")
    seen = np.array(whole, np.float32)
    if not np.isfinite(seen).all():
        raise ValueError(f"{file!r} holds NaN or infinity")
    return _each_moment(seen, np.arange(1, len(seen) + 1) / (given or fps), fps)


def _small(image: Any, pixels: int, name: str) -> np.ndarray:
    """A picture as uint8 (pixels, pixels, 3)."""
    from PIL import Image

    flat = pictures.rgb(image)
    if min(flat.size) < pixels:
        raise ValueError(
            f"{name} has {flat.size[0]} × {flat.size[1]} pixels; a face needs {pixels} × {pixels} "
            "or more, and should fill the picture"
        )
    return np.asarray(flat.resize((pixels, pixels), Image.Resampling.BOX))


def _folder(path: Path, pixels: int) -> tuple[np.ndarray, None]:
    """The pictures of a folder: 2.png comes before 10.png."""
    from PIL import Image

    files = [one for one in path.iterdir() if one.suffix.lower() in FRAMES and one.name[0] != "."]
    if not files:
        raise ValueError(f"{str(path)!r} holds no picture ({', '.join(FRAMES)})")
    shown, size = [], None
    for one in sorted(files, key=by_numbers):
        try:
            with Image.open(one) as image:
                own = image.size
                small = _small(image, pixels, repr(str(one)))
        except ValueError:
            raise
        except Exception as error:  # a decoder of foreign bytes fails in many ways
            raise ValueError(f"{str(one)!r} cannot be read as a picture") from error
        if size not in (None, own):
            raise ValueError(f"{str(one)!r} has {own} pixels, and those before it {size}")
        shown.append(small)
        size = own
    return np.stack(shown), None


def _array(path: Path, pixels: int) -> tuple[np.ndarray, None]:
    """The pictures of an array that NumPy saved."""
    whole = hub.array(path)
    fits = whole.dtype == np.uint8 and 0 not in whole.shape
    if not fits or not (whole.ndim == 3 or (whole.ndim == 4 and whole.shape[3] == 3)):
        got = f"{whole.dtype} {whole.shape}"
        raise ValueError(f"{str(path)!r} must hold uint8 (T, H, W, 3) or (T, H, W), got {got}")
    return np.stack([_small(np.array(one), pixels, repr(str(path))) for one in whole]), None


def _moving(path: Path, pixels: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The pictures of a file that moves, and when each ends, in seconds; or those of a strip."""
    from PIL import Image, ImageSequence

    name = repr(str(path))
    try:
        with Image.open(path) as image:
            if getattr(image, "n_frames", 1) == 1:
                return _strip(pictures.rgb(image), pixels, name), None
            shown, long = [], []
            for one in ImageSequence.Iterator(image):
                long.append(float(one.info.get("duration", 0)) / 1000)
                shown.append(_small(one.convert("RGBA"), pixels, name))
    except ValueError:
        raise
    except Exception as error:  # a decoder of foreign bytes fails in many ways
        raise ValueError(
            f"{name} cannot be read as a film: give a folder of pictures, a GIF, a strip of square "
            "pictures, or .npy (ffmpeg -i film.mp4 frames/%04d.png makes a folder)"
        ) from error
    return np.stack(shown), np.cumsum(long) if min(long) > 0 else None


def _strip(image: Any, pixels: int, name: str) -> np.ndarray:
    """Square pictures side by side, or one above the other."""
    wide, high = image.size
    side = min(wide, high)
    if max(wide, high) % side:
        raise ValueError(
            f"{name} has {wide} × {high} pixels, which is no strip of square pictures side by side"
        )
    step = (side, 0) if wide > high else (0, side)
    return np.stack(
        [
            _small(
                image.crop((k * step[0], k * step[1], k * step[0] + side, k * step[1] + side)),
                pixels,
                name,
            )
            for k in range(max(wide, high) // side)
        ]
    )


def lasting(
    shown: np.ndarray, seconds: float, fps: int, name: str, how: str = "with --fps"
) -> np.ndarray:
    """A film (T, …) as long as its sound: a little is cut off, or the last picture stays.

    Args:
        how: where one says how many pictures a second there are, for the message.

    Raises:
        ValueError: they differ by more than a fifth of a second.
    """
    wanted = max(1, round(seconds * fps))
    if abs(len(shown) - wanted) > SLACK * fps:
        raise ValueError(
            f"{name!r} lasts {len(shown) / fps:.2f} s, and the sound {seconds:.2f} s: cut the longer; "
            f"or, if the film has another number of pictures a second than {fps}, say so {how}"
        )
    at = np.minimum(np.arange(wanted), len(shown) - 1)
    return shown[at]
