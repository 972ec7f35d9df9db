"""One picture, film or sound from a file, as an array of the asked size."""

from __future__ import annotations

import contextlib
import errno
import io
import re
import wave
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmtutor.kit import pictures
from mmtutor.world import _store

PIXELS = (16, 1024)
SAMPLE_RATES = (4000, 48000)
FRAMES = (1, 10_000)
PICTURES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
SOUNDS = {".aif", ".aiff", ".flac", ".mp3", ".ogg", ".opus", ".wav"}
#: Pictures that a folder of a film holds; files that are films themselves.
STILLS = PICTURES - {".gif"}
_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # the machine's want, not the file's fault


def picture(source: Mapping[str, Any] | str | Path, pixels: int) -> np.ndarray:
    """Decode a picture, cut its largest central square, and scale that to ``pixels``.

    It is brought to RGB by :func:`mmtutor.kit.pictures.rgb`: turned upright, transparency over
    white, 16 bits to 8.

    Args:
        source: a file name, or a row's ``{"bytes": ..., "path": ...}``.
        pixels: side of the result.

    Returns:
        uint8 array (pixels, pixels, 3).

    Raises:
        ValueError: the file is no picture, or of a sort that does not say what is white; the
            message names it.
    """
    from PIL import Image, UnidentifiedImageError

    name, file = opened(source)
    try:
        with Image.open(file) as image:
            return _square(image, pixels)
    except (FileNotFoundError, MemoryError):
        raise
    except UnidentifiedImageError as error:  # its own message names an object in memory
        raise ValueError(
            f"{name} cannot be read as a picture: its first bytes are those of no known format"
        ) from error
    except Exception as error:  # a decoder of foreign bytes fails in many ways
        raise ValueError(f"{name} cannot be read as a picture: {error}") from error


def _square(image: Any, pixels: int) -> np.ndarray:
    """The largest central square of a picture, uint8 (pixels, pixels, 3)."""
    from PIL import Image, ImageOps

    flat = pictures.rgb(image)
    square = ImageOps.fit(flat, (pixels, pixels), method=Image.Resampling.BICUBIC)
    return np.asarray(square, dtype=np.uint8)


def film(path: str | Path, frames: int, pixels: int) -> np.ndarray:
    """Pictures of a film without a video library, evenly spread over its time.

    The time of a film is cut into so many equal parts; of each part comes the picture that is shown
    in its middle. A film is a folder of pictures in the order of their names (``2.png`` before
    ``10.png``), a moving picture (GIF, PNG, WebP) whose own times count, or an array in a file
    ``.npy``, uint8 (T, H, W, 3) or (T, H, W). Only what is wanted is decoded.

    Args:
        path: the folder or the file.
        frames: so many pictures, 1 to 10,000; a film that has fewer shows some of them again.
        pixels: side of the pictures, which are cut to their central square.

    Returns:
        uint8 array (frames, pixels, pixels, 3).

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: no film, or one that cannot be decoded; the message names it.
    """
    frames = in_range("frames", frames, FRAMES)
    path = at_home(path)
    if path.is_dir():
        own = in_order(path)
        if not own:
            raise ValueError(
                f"{str(path)!r} is a folder without pictures ({endings(STILLS)}), and no film"
            )
        return np.stack([picture(own[at], pixels) for at in moments(len(own), None, frames)])
    if not path.is_file():
        raise FileNotFoundError(f"there is no file or folder {str(path)!r}")
    if path.suffix.lower() == ".npy":
        return _filmed_array(path, frames, pixels)
    return _moving_picture(path, frames, pixels)


def in_order(folder: Path) -> list[Path]:
    """The pictures of a folder that is a film, in the order of the numbers in their names."""
    own = [one for one in folder.iterdir() if one.suffix.lower() in STILLS and one.name[0] != "."]
    return sorted(own, key=by_numbers)


def by_numbers(path: Path) -> list[tuple[int, str]]:
    """A name by its runs of digits as numbers: 2.png comes before 10.png."""
    return [(int(x), "") if x.isdecimal() else (-1, x) for x in re.split(r"(\d+)", path.stem) if x]


def moments(count: int, ends: np.ndarray | None, frames: int) -> np.ndarray:
    """Which of ``count`` pictures are shown in the middles of ``frames`` equal parts of the time.
    ``ends``: when each picture ends, in seconds; None: all are shown equally long."""
    ends = np.arange(1, count + 1) if ends is None else ends
    middles = (np.arange(frames) + 0.5) * (float(ends[-1]) / frames)
    return np.minimum(np.searchsorted(ends, middles, side="right"), count - 1)


def _filmed_array(path: Path, frames: int, pixels: int) -> np.ndarray:
    from PIL import Image

    whole = array(path)
    shaped = whole.ndim == 3 or (whole.ndim == 4 and whole.shape[3] == 3)
    if whole.dtype != np.uint8 or 0 in whole.shape or not shaped:
        got = f"{whole.dtype} {whole.shape}"
        raise ValueError(
            f"{str(path)!r} must hold uint8 (T, H, W, 3) or (T, H, W) to be a film, got {got}"
        )
    at = moments(len(whole), None, frames)
    return np.stack([_square(Image.fromarray(np.array(whole[k])), pixels) for k in at])


def array(path: str | Path) -> np.ndarray:
    """An array that NumPy saved, left on disk; nothing in the file is executed.

    Raises:
        ValueError: no such array; the message names the file.
        OSError: too many files are open, or the memory is full; that says nothing of the file.
    """
    try:
        whole = np.load(path, mmap_mode="r", allow_pickle=False)
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _SHORT:
            raise
        raise ValueError(f"{str(path)!r} is no array that NumPy can read: {error}") from error
    if not isinstance(whole, np.ndarray):
        raise ValueError(f"{str(path)!r} must hold one array, and holds several")
    return whole


def _moving_picture(path: Path, frames: int, pixels: int) -> np.ndarray:
    from PIL import Image

    name = repr(str(path))
    try:
        with Image.open(path) as image:
            count, long = getattr(image, "n_frames", 1), []
            for k in range(count):  # the times first: decoding is what costs
                image.seek(k)
                long.append(float(image.info.get("duration", 0)) / 1000)
            ends = np.cumsum(long) if min(long) > 0 else None
            if count < 2:
                raise ValueError(f"{name} is one picture, and a film has two or more")
            seen: dict[int, np.ndarray] = {}
            for k in moments(count, ends, frames).tolist():
                if k not in seen:
                    image.seek(k)
                    seen[k] = _square(image.convert("RGBA"), pixels)
            return np.stack([seen[k] for k in moments(count, ends, frames).tolist()])
    except (MemoryError, ValueError):
        raise
    except Exception as error:  # a decoder of foreign bytes fails in many ways
        raise ValueError(
            f"{name} cannot be read as a film: give a folder of pictures, a GIF, or .npy "
            "(ffmpeg -i film.mp4 frames/%04d.png makes a folder)"
        ) from error


def sound(source: Mapping[str, Any] | str | Path, sample_rate: int) -> np.ndarray:
    """Decode a sound, mix it to one channel, and resample it.

    WAV files with whole numbers need nothing but Python; every other format needs the package
    ``soundfile``.

    Args:
        source: a file name, or a row's ``{"bytes": ..., "path": ...}``.
        sample_rate: of the result, in hertz, 4,000 to 48,000.

    Returns:
        int16 array (T,). A file that breaks off gives the samples that it has whole.

    Raises:
        ValueError: the file is no sound, holds NaN or infinity, or has a sample rate that cannot be
            (see :func:`mmtutor.sound.resample`); the message names it.
        ModuleNotFoundError: ``soundfile`` is needed and missing.
    """
    sample_rate = option_of("sample_rate", sample_rate=sample_rate)
    name, file = opened(source)
    samples, rate = decode_sound(name, file)  # (T, channels) float32
    mono = samples.mean(axis=1)
    if not np.isfinite(mono).all():
        raise ValueError(f"{name} holds samples that are not finite numbers")
    if rate != sample_rate and len(mono):
        import torch

        from mmtutor.sound import resample

        try:
            mono = resample(torch.from_numpy(mono), rate, sample_rate).numpy()
        except ValueError as error:
            raise ValueError(
                f"{name} cannot be brought from {rate} to {sample_rate} Hz: {error}"
            ) from error
    return np.minimum(np.rint(np.clip(mono, -1.0, 1.0) * 32768.0), 32767).astype(np.int16)


def decode_sound(name: str, file: Any) -> tuple[np.ndarray, int]:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the package is there, its library is not
        return _decode_wav(name, file)
    try:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{name} cannot be read as a sound: {error}") from error
    return samples, rate


def _decode_wav(name: str, file: Any) -> tuple[np.ndarray, int]:
    try:
        with wave.open(file, "rb") as wav:
            channels, width, rate = wav.getnchannels(), wav.getsampwidth(), wav.getframerate()
            content = wav.readframes(wav.getnframes())
    except (wave.Error, EOFError) as error:
        message = f"{name} is no WAV file of whole numbers ({error}); to read it, run: pip install soundfile"
        raise ModuleNotFoundError(message, name="soundfile") from error
    content = content[
        : len(content) // (width * channels) * width * channels
    ]  # a file that breaks off in a sample
    raw = np.frombuffer(content, dtype=np.uint8).reshape(
        -1, width
    )  # (T·channels, bytes of a sample)
    if width == 1:  # the one unsigned format
        values = (raw[:, 0].astype(np.int32) - 128) << 24
    else:  # put the bytes at the top of an int32, whatever their number
        wide = np.zeros((len(raw), 4), dtype=np.uint8)
        wide[:, 4 - min(width, 4) :] = raw[:, -4:]
        values = wide.view("<i4")[:, 0]
    return (values.reshape(-1, channels) / 2**31).astype(np.float32), rate


def opened(source: Mapping[str, Any] | str | Path) -> tuple[str, Any]:
    """A name for messages, and what a decoder can open."""
    if isinstance(source, (str, Path)):
        file = at_home(source)
        if not file.is_file():
            raise FileNotFoundError(f"there is no file {str(source)!r}")
        return repr(str(source)), str(file)
    if not isinstance(source, Mapping) or (
        source.get("bytes") is None and source.get("path") is None
    ):
        raise ValueError(f"expected a file's name or its bytes, not {source!r:.80}")
    if source.get("bytes") is None:
        return opened(source["path"])
    name = source.get("name") or repr(source.get("path") or "a file without a name")
    return name, io.BytesIO(source["bytes"])


def at_home(path: str | Path) -> Path:
    """``~/pictures`` in full, unless something here is called so."""
    path = Path(path)
    if not path.exists():
        with contextlib.suppress(RuntimeError):  # nobody of that name
            return path.expanduser()
    return path


# --- Numbers and words ----------------------------------------------------------------------------


def option_of(which: str | None, **values: Any) -> int | None:
    """Check the one number that shapes a kind of data."""
    if which is None:
        return None
    return in_range(which, values[which], {"pixels": PIXELS, "sample_rate": SAMPLE_RATES}[which])


def in_range(which: str, value: Any, limits: tuple[int, int]) -> int:
    value = _store.integer(which, value)
    if not limits[0] <= value <= limits[1]:
        raise ValueError(f"{which} must lie from {limits[0]} to {limits[1]}, not {value}")
    return value


def listed(words: Iterable[Any]) -> str:
    return ", ".join(map(repr, words)) or "none"


def endings(suffixes: set[str]) -> str:
    return " ".join(sorted(suffixes))
