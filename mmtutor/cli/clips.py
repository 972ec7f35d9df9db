"""A folder of one's own recordings: films of faces, each with its sound, and who speaks; or pictures,
each with what somebody says of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmtutor import cocktail_party, hub
from mmtutor.cli import files
from mmtutor.cli.data import HELD_BACK
from mmtutor.hub.decoded import PICTURES, SOUNDS, endings
from mmtutor.hub.found import own_files, own_splits
from mmtutor.hub.tables import own_lines

PIXELS = 48  # the side of a face

SPEECH = (0.3, 10.0)  # least and most seconds of what is said of a picture

#: What such folders hold, in a line.
TOLD = "pictures, each beside a recording of one voice that says what is in it: rex.png, rex.wav"
HOLDS = "films of faces with their sounds, in folders with the names of the speakers: anna/1.wav, anna/1.gif"


@dataclass(frozen=True)
class Clip:
    """A recording.

    Attributes:
        sound: the file.
        speaker: who it is.
        film: the film of the face: a file, or a folder of pictures; None: none was found.
        fps: pictures a second, if the table says so.
    """

    sound: Path
    speaker: str
    film: Path | None
    fps: float | None = None


# --- Which files belong together ------------------------------------------------------------------


def files_of(
    folder: str, split: str, ends: set[str], holds: str
) -> tuple[Path, dict[str, Path], dict[str, str], str, bool]:
    """The folder in full, all its files, the split of each file with one of these endings, the split
    that is to be read, and whether there is one for the test.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no file with such an ending.
    """
    root = Path(folder).resolve()
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {folder!r}")
    everything = own_files(root)
    names = [name for name in everything if Path(name).suffix.lower() in ends]
    if not names:
        kind = "sound" if ".wav" in ends else "picture"
        raise ValueError(f"{folder!r} holds no {kind} ({endings(ends)}); it should hold {holds}")
    splits = own_splits(root, names)
    apart = "test" in splits.values()
    return root, everything, splits, split if apart else "train", apart


def in_split(at: int, split: str) -> bool:
    """Whether a sample is in a split, where each tenth is kept back."""
    return (at % HELD_BACK == HELD_BACK - 1) == (split == "test")


def listed(folder: str, split: str) -> tuple[list[Clip], bool]:
    """The clips of a split of a folder, of each speaker in turn; and whether the folder has a split
    for the test.

    ``anna/1.wav`` is spoken by Anna, and her film lies beside it: ``anna/1.gif``, say, or a folder
    ``anna/1`` of pictures. What is called or lies otherwise stands in ``metadata.csv`` (or
    ``metadata.jsonl``): ``file_name`` of the sound, ``speaker``, ``film``, ``fps``. Splits are
    subfolders ``train`` and ``test``; without them each tenth clip of a speaker is kept back.

    Raises:
        ValueError: no sound, a table that cannot be read, or a sound of which nobody knows who
            speaks.
    """
    root, everything, splits, wanted, apart = files_of(folder, split, SOUNDS, HOLDS)
    lines = told(root, wanted, splits, everything)
    found: dict[str, list[Clip]] = {}
    for name in (name for name, own in splits.items() if own == wanted):
        clip = clip_of(root, name, everything[name], lines.get(name, {}), apart)
        found.setdefault(clip.speaker, []).append(clip)
    turns = [
        (at, speaker, clip)
        for speaker, own in found.items()
        for at, clip in enumerate(own)
        if apart or in_split(at, split)
    ]
    return [clip for *_, clip in sorted(turns, key=lambda turn: turn[:2])], apart


def told(
    root: Path, split: str, splits: dict[str, str], everything: dict[str, Path]
) -> dict[str, dict[str, Any]]:
    """What the table says of each sound.

    Raises:
        ValueError: two lines of one sound, or a value of another kind; the line is named.
    """
    out: dict[str, dict[str, Any]] = {}
    for name, where, row in own_lines(root, split, splits, everything)[0]:
        if name in out:
            raise ValueError(f"{where}: {name!r} stands there twice")
        for column in ("speaker", "film"):
            text = row.get(column)
            if text is not None and (not isinstance(text, str) or not text.strip()):
                raise ValueError(f"{where}: {column} must be text, not {text!r:.80}")
        own = {key: row[key] for key in ("speaker", "film") if row.get(key) is not None}
        if row.get("fps") is not None:
            own["fps"] = pace(row["fps"], where)
        if "film" in own:
            own["film"] = everything[name].parent / own["film"].strip()
        out[name] = own
    return out


def pace(value: Any, where: str) -> float:
    """Pictures a second, as a table has them."""
    try:
        made = float(value) if isinstance(value, (str, int, float)) else float("nan")
    except ValueError:
        made = float("nan")
    if isinstance(value, bool) or not 1 <= made <= 1000:  # NaN too
        raise ValueError(f"{where}: fps must be a number from 1 to 1,000, not {value!r:.80}")
    return made


def clip_of(root: Path, name: str, sound: Path, line: dict[str, Any], apart: bool) -> Clip:
    """A sound with what belongs to it."""
    above = name.split("/")[:-1][apart:]
    speaker = line.get("speaker", above[0] if above else "").strip()
    if not speaker:
        raise ValueError(
            f"who speaks in {str(root / name)!r}? Put it into a folder with the speaker's name, or "
            'write {"file_name": …, "speaker": …} into metadata.jsonl'
        )
    film = line.get("film")
    if film is None:
        beside = [sound.with_suffix("")] + [sound.with_suffix(end) for end in files.FILMS]
        there = [path for path in beside if path.is_dir() or path.is_file()]
        if len(there) > 1:
            names = " and ".join(repr(str(path)) for path in there[:2])
            raise ValueError(f"{names} are two films of one sound; keep one")
        film = there[0] if there else None
    return Clip(sound, speaker, film, line.get("fps"))


# --- What is seen and heard -----------------------------------------------------------------------


def faces(
    file: str, config: Any, given: float | None, seconds: float | None, how: str = "with --fps"
) -> Tensor:
    """A film of a face for a network, as long as its sound: uint8 (T, H, W, 3); or vectors (T, D),
    if these are what it takes.

    Args:
        config: of the network.
        given: pictures a second, if somebody said so.
        seconds: of the sound; None: nobody knows.
        how: where one says how many pictures a second there are, for messages.
    """
    if len(config.face) == 1:
        shown = files.vectors(file, config.fps, given, *config.face)
    else:
        shown = files.film(file, config.fps, given, PIXELS)
    if seconds is not None:
        shown = files.lasting(shown, seconds, config.fps, file, how)
    return torch.from_numpy(shown)


def looked(film: Tensor, config: Any) -> Tensor:
    """Films (…, T, H, W, 3) as mouths; vectors stay what they are."""
    return film if len(config.face) == 1 else cocktail_party.mouths(film, size=config.face)


def read(
    own: list[Clip], config: Any, seconds: float
) -> Iterator[tuple[Clip, Tensor | None, Tensor | None, str]]:
    """Each clip with its sounds (N, L), its faces (N, T, *face) or None, in pieces of so many
    seconds; or with what is wrong with it."""
    length, pictures = round(seconds * config.rate), round(seconds * config.fps)
    for clip in own:
        try:
            wave = torch.from_numpy(hub.sound(clip.sound, config.rate))
            if len(wave) < length:
                lasts = len(wave) / config.rate
                raise ValueError(
                    f"{str(clip.sound)!r} lasts {lasts:.2f} s; {seconds:g} s are the least"
                )
            if not bool(wave.any()):
                raise ValueError(f"{str(clip.sound)!r} holds nothing but silence")
            count, shown = len(wave) // length, None
            if config.visual:
                if clip.film is None:
                    stem = clip.sound.with_suffix("")
                    raise ValueError(
                        f"{str(clip.sound)!r} has no film beside it ({stem.name}.gif, .npy, a strip "
                        f"{stem.name}.png, or a folder {stem.name} of pictures: ffmpeg -i film.mp4 "
                        f"-r {config.fps} {stem.name}/%04d.png)"
                    )
                lasts = len(wave) / config.rate
                how = "in a column fps of metadata.csv"
                film = faces(str(clip.film), config, clip.fps, lasts, how)
                count = min(count, len(film) // pictures)
                pieces = film[: count * pictures].unflatten(0, (count, pictures))
                shown = looked(pieces, config)
        except (OSError, ValueError, ImportError) as error:
            yield clip, None, None, str(error)
            continue
        yield clip, wave[: count * length].view(count, length), shown, ""


def clips_of(
    folder: str, split: str, size: int | None, config: Any, seconds: float
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Recordings of a folder in pieces of equal length; those that cannot be read are named, and
    left out.

    Args:
        folder: its name.
        split: ``"train"`` or ``"test"``.
        size: the first so many recordings, of each speaker in turn.
        config: of the network.
        seconds: of a piece.

    Returns:
        Waves int16 (N, L), faces (N, T, *face) or None, and the speaker of each, (N,).

    Raises:
        ValueError: nothing that can be read.
    """
    found, apart = listed(folder, split)
    own = found[:size]
    if own and split == "test" and not apart:
        files.say(
            "these are other clips of the speakers that it has learned from; a folder 'test' beside "
            "'train', with other speakers, says what it does with strangers"
        )
    if not own and split == "test":
        raise ValueError(
            f"no clip of {folder!r} was kept back: ten of each speaker are the least, or some in a "
            "folder 'test' beside those in 'train'"
        )
    waves, shown, who, bad = [], [], [], []
    for clip, heard, seen, wrong in read(own, config, seconds):
        if heard is None:
            bad.append(wrong)
            continue
        waves.append(heard)
        shown.append(seen)
        who += [clip.speaker] * len(heard)
    files.left_out(bad)
    if not waves:
        raise ValueError(
            f"{folder!r} holds no clip to {'measure on' if split == 'test' else 'learn from'}"
        )
    names = {one: k for k, one in enumerate(dict.fromkeys(who))}
    faces_ = torch.cat(shown) if shown[0] is not None else None
    return torch.cat(waves), faces_, torch.tensor([names[one] for one in who])


# --- Pictures with speech -------------------------------------------------------------------------


def spoken(
    folder: str, split: str, size: int | None, rate: int, pixels: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Pictures and what is said of each; those that cannot be read are named, and left out.

    Args:
        folder: its name; ``rex.wav`` speaks of ``rex.png``.
        split: ``"train"`` or ``"test"``.
        size: the first so many.
        rate: samples a second.
        pixels: side of the pictures.

    Returns:
        uint8 (N, pixels, pixels, 3), and N waves, int16 (L,).

    Raises:
        ValueError: nothing that can be read.
    """
    _, everything, splits, wanted, apart = files_of(folder, split, PICTURES, TOLD)
    names = [name for name, own in splits.items() if own == wanted]
    if not apart:
        names = [name for at, name in enumerate(names) if in_split(at, split)]
    if not names:
        raise ValueError(
            f"no picture of {folder!r} was kept back: ten are the least, or some in a folder 'test' "
            "beside those in 'train'"
        )
    shown, waves, bad, cut = [], [], [], 0
    for path in map(everything.get, names[:size]):
        try:
            wave = hub.sound(recording(path), rate)
            if not SPEECH[0] * rate <= len(wave) or not wave.any():
                raise ValueError(
                    f"the recording of {str(path)!r} lasts {len(wave) / rate:.2f} s and must last "
                    f"{SPEECH[0]:g} s or more, and not be silent"
                )
            shown.append(hub.picture(path, pixels))
        except (OSError, ValueError, ImportError) as error:
            bad.append(str(error))
            continue
        cut += len(wave) > SPEECH[1] * rate
        waves.append(wave[: round(SPEECH[1] * rate)])
    files.left_out(bad)
    if cut:
        files.say(f"of {cut} long recordings the first {SPEECH[1]:g} s are heard")
    if not shown:
        raise ValueError(f"{folder!r} holds no picture with a recording that can be read")
    return np.stack(shown), waves


def recording(picture: Path) -> Path:
    """What is said of a picture.

    Raises:
        ValueError: no recording beside it, or two.
    """
    there = [own for end in sorted(SOUNDS) if (own := picture.with_suffix(end)).is_file()]
    if len(there) != 1:
        has = "no recording" if not there else "several recordings"
        raise ValueError(f"{str(picture)!r} has {has} beside it; one is needed: {picture.stem}.wav")
    return there[0]
