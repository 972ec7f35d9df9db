"""Spoken English and Korean, made offline by the eSpeak NG synthesiser, with the time of every
phoneme.

eSpeak NG is a formant synthesiser: it turns text into phonemes by rule and each phoneme into a
moving set of resonances, so it knows when each phoneme begins. That truth is what this module keeps
beside the wave. The library comes as a wheel (``espeakng-loader``) and is driven through its C
interface (``speak_lib.h``) with ``ctypes``.

eSpeak NG carries state from one utterance to the next (the slow wander of the pitch, the phase of
the glottal wave, the random generator of the breath), so the same call would not give the same
bytes twice. The library is therefore loaded afresh for every utterance, which takes half a
millisecond and makes ``speak`` a pure function.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import tempfile
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmtutor.kit import cache

NATIVE_RATE = 22050
"""Samples a second that eSpeak NG makes."""

MAX_CHARACTERS = 2000
"""The longest text that one call speaks: about two minutes of speech."""

LANGUAGES = {"en": "gmw/en-us", "ko": "ko"}
"""Languages that the world speaks, with the eSpeak NG voice of the neutral speaker."""

PAUSE = "_"
"""Symbol of silence in ``Speech.phonemes``."""

LOUDNESS = 0.08
"""Root mean square of every spoken wave, unless a peak would then pass ``PEAK``."""

PEAK = 0.98

_PUNCTUATION = frozenset(" .,;:!?'\"()-–—…‘’“”%&/+")
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_PHONEME_EVENTS, _PHONEME_IPA, _DONT_EXIT = 0x1, 0x2, 0x8000
_EVENT_END_OF_LIST, _EVENT_PHONEME = 0, 7
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_CHARS_UTF8 = 1


class Phoneme(NamedTuple):
    """One speech sound and when it is heard.

    ``symbol`` is in the International Phonetic Alphabet as eSpeak NG writes it, without the stress
    mark, and ``PAUSE`` for silence; ``start`` and ``end`` are in seconds; ``stress`` is 0 (none), 1
    (secondary) or 2 (primary).
    """

    symbol: str
    start: float
    end: float
    stress: int = 0


@dataclass(frozen=True, eq=False)
class Speech:
    """A spoken text.

    Attributes:
        wave: float32 ``(T,)`` in [-1, 1].
        sample_rate: samples a second.
        phonemes: the speech sounds in order; the first starts at 0, each ends where the next
            starts, the last ends with the wave.
        text: what was said.
        language: "en" or "ko".
        speaker: name of the speaker, or None for the neutral one.
    """

    wave: np.ndarray = field(repr=False)
    sample_rate: int
    phonemes: list[Phoneme] = field(repr=False)
    text: str
    language: str
    speaker: str | None = None

    @property
    def seconds(self) -> float:
        """Length of the wave."""
        return len(self.wave) / self.sample_rate


@dataclass(frozen=True)
class Settings:
    """What eSpeak NG is told before it speaks: a voice (with ``+variant``), words a minute, pitch
    and range 0-99.

    ``playback`` is the sample rate at which its output is played. Away from ``NATIVE_RATE`` it
    moves all resonances, as a longer or shorter vocal tract does; pitch and rate must be set to
    make up for it.
    """

    voice: str
    rate: int = 160
    pitch: int = 50
    range: int = 50
    playback: int = NATIVE_RATE


# --- the C interface ------------------------------------------------------------------------------


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)

_lock = threading.Lock()

if hasattr(os, "register_at_fork"):
    # Fork only while nobody speaks: a child would inherit a library in mid-sentence and a lock that
    # nobody can open.
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )


@lru_cache(maxsize=1)
def _paths() -> tuple[str, str]:
    """The library and its data directory, as installed."""
    try:
        import espeakng_loader
    except ImportError as error:  # pragma: no cover - a declared dependency
        raise ImportError(
            "speech needs the eSpeak NG library: pip install espeakng-loader"
        ) from error
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


# eSpeak NG puts the name of a voice into lower case before it opens the voice's file, and where
# that fails (en-US is spelt so) it reads all of its 300 voice files, which takes longer than to
# speak. The cure is a data directory in the cache in which the few voices of the world have
# lower-case names and the large files are links to the installed ones.
_VOICES = {
    "gmw/en": "gmw/en",
    "gmw/en-029": "gmw/en-029",
    "gmw/en-us": "gmw/en-US",
    "gmw/en-gb-scotland": "gmw/en-GB-scotland",
    "ko": "ko",
}
"""Voices of the world and the names under which they are installed."""

_VOICES_OWN = {name: name for name in _VOICES}
"""The names that they have in the data directory in the cache."""

_VARIANTS = ("m2", "m6", "m7", "f1", "f2", "f4", "f5")
_LARGE = ("phondata", "phonindex", "phontab", "intonations", "en_dict", "ko_dict")
_MARK = "complete"


@lru_cache(maxsize=8)
def _short_data(directory: str, installed: str) -> str | None:
    """A data directory in the cache with the world's voices only; None where it cannot be had."""
    source = Path(installed)
    try:
        small = {
            f"lang/{name}": (source / "lang" / file).read_bytes() for name, file in _VOICES.items()
        }
        small |= {
            f"voices/!v/{name}": (source / "voices" / "!v" / name).read_bytes()
            for name in _VARIANTS
        }
        identity = [f"{name} {(source / name).stat().st_size}" for name in _LARGE]
        folder = (
            Path(directory) / f"espeak-{cache.digest(installed, *identity, *small.values())[:12]}"
        )
        if len(os.fsencode(folder)) > 120:  # eSpeak NG keeps its path in a short buffer
            return None
        if not (folder / _MARK).exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix="espeak-") as work:
                new = Path(work) / "data"
                for name, content in small.items():
                    (new / name).parent.mkdir(parents=True, exist_ok=True)
                    (new / name).write_bytes(content)
                for name in _LARGE:
                    (new / name).symlink_to(source / name)
                (new / _MARK).touch()
                with contextlib.suppress(OSError):  # another process was quicker
                    new.rename(folder)
        sound = all((folder / name).read_bytes() == content for name, content in small.items())
        return str(folder) if sound and all((folder / name).exists() for name in _LARGE) else None
    except (OSError, NotImplementedError):
        return None


def _data() -> tuple[str, bool]:
    """The data directory to use, and whether it is the short one."""
    installed = _paths()[1]
    short = _short_data(str(cache.cache_dir()), installed)
    if short is not None and not _is_whole(short):  # the cache was cleared since
        _short_data.cache_clear()
        short = _short_data(str(cache.cache_dir()), installed)
    return (short, True) if short is not None and _is_whole(short) else (installed, False)


def _is_whole(folder: str) -> bool:
    return os.path.exists(os.path.join(folder, _MARK))


def _close(library: ctypes.CDLL) -> None:
    import _ctypes

    if os.name == "nt":  # pragma: no cover
        _ctypes.FreeLibrary(library._handle)
    else:
        _ctypes.dlclose(library._handle)


@contextmanager
def _espeak(data_path: str) -> Iterator[ctypes.CDLL]:
    """A freshly loaded eSpeak NG, ready to speak, unloaded afterwards."""
    library = ctypes.CDLL(_paths()[0])
    try:
        options = _PHONEME_EVENTS | _PHONEME_IPA | _DONT_EXIT
        rate = library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, os.fsencode(data_path), options
        )
        if rate != NATIVE_RATE:
            raise RuntimeError(
                f"eSpeak NG did not start: espeak_Initialize returned {rate}, expected {NATIVE_RATE}"
            )
        try:
            yield library
        finally:
            library.espeak_Terminate()
    finally:
        _close(library)


def _synthesize(text: str, settings: Settings) -> tuple[np.ndarray, list[tuple[str, int]]]:
    """Speak ``text``: int16 samples ``(T,)`` at ``NATIVE_RATE`` and (raw symbol, first sample) of
    each phoneme."""
    folder, short = _data()
    if short:
        with contextlib.suppress(RuntimeError):
            spoken = _synthesize_from(folder, _VOICES_OWN, text, settings)
            if _is_whole(
                folder
            ):  # else another process cleared the cache while this one read from it
                return spoken
    return _synthesize_from(_paths()[1], _VOICES, text, settings)


def _synthesize_from(
    data_path: str, names: dict[str, str], text: str, settings: Settings
) -> tuple[np.ndarray, list[tuple[str, int]]]:
    """:func:`_synthesize` with the data directory of a library in which the voices have these
    names."""
    chunks: list[bytes] = []
    events: list[tuple[str, int]] = []

    def collect(samples: ctypes._Pointer, count: int, event: ctypes._Pointer) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        i = 0
        while event[i].type != _EVENT_END_OF_LIST:
            if event[i].type == _EVENT_PHONEME:
                events.append((event[i].id.string.decode("utf-8", "ignore"), event[i].sample))
            i += 1
        return 0

    callback = _Callback(collect)  # keep a reference for as long as C may call it
    data = text.encode("utf-8")
    name, plus, variant = settings.voice.partition("+")
    voice = names[name] + plus + variant
    with _lock, _espeak(data_path) as library:
        library.espeak_SetSynthCallback(callback)
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise RuntimeError(f"eSpeak NG has no voice {voice!r}")
        for parameter, value in (
            (_RATE, settings.rate),
            (_VOLUME, 60),  # at 100 some voices pass the range of int16
            (_PITCH, settings.pitch),
            (_RANGE, settings.range),
        ):
            library.espeak_SetParameter(parameter, value, 0)
        status = library.espeak_Synth(
            data, ctypes.c_size_t(len(data) + 1), 0, 0, 0, _CHARS_UTF8, None, None
        )
        if status != 0:
            raise RuntimeError(f"eSpeak NG could not speak {text!r}: status {status}")
    return np.frombuffer(b"".join(chunks), dtype="<i2"), events


# --- from raw output to speech --------------------------------------------------------------------


def _tidy(events: list[tuple[str, int]], length: int) -> list[tuple[str, int, int, int]]:
    """(symbol, first sample, end, stress), without gaps, overlaps or empty entries; equal pauses
    become one."""
    marks: list[tuple[str, int, int]] = [(PAUSE, 0, 0)]
    for raw, sample in events:
        if raw.startswith(
            "("
        ):  # "(en)": eSpeak NG changes its language inside a sentence; not a sound
            continue
        stress = 2 if raw.startswith("ˈ") else 1 if raw.startswith("ˌ") else 0
        symbol = raw.lstrip("ˈˌ").strip() or PAUSE
        marks.append(
            (
                PAUSE if symbol.startswith("_") else symbol,
                min(max(sample, marks[-1][1]), length),
                stress,
            )
        )
    tidy: list[tuple[str, int, int, int]] = []
    for (symbol, start, stress), (_, end, _) in zip(
        marks, [*marks[1:], (PAUSE, length, 0)], strict=True
    ):
        if end <= start:
            continue
        if tidy and symbol == PAUSE and tidy[-1][0] == PAUSE:
            tidy[-1] = (PAUSE, tidy[-1][1], end, 0)
        else:
            tidy.append((symbol, start, end, stress))
    return tidy


@lru_cache(maxsize=32)
def _lowpass(up: int, down: int) -> np.ndarray:
    """Kaiser-windowed sinc for ``resample``: flat to 0.84 of the lower Nyquist frequency, 50 dB
    down there."""
    factor = max(up, down)
    half = 22 * factor  # 22 zero crossings on each side
    n = np.arange(-half, half + 1)
    cutoff = 0.92 / factor
    # resample_poly multiplies by `up` itself.
    return (cutoff * np.sinc(cutoff * n) * np.kaiser(2 * half + 1, 5.65)).astype(np.float32)


_MAX_RATE, _MAX_FACTOR = (
    1_000_000,
    1000,
)  # as in mmtutor.sound, which this module does not load for them
_LONGEST = 100_000  # where rates share so little, the one filter for all positions grows too long


def resample(wave: np.ndarray, source_rate: int, target_rate: int) -> np.ndarray:
    """Band-limited change of the sample rate, without delay: a sound at ``t`` seconds stays there.

    Args:
        wave: ``(T,)``, real.
        source_rate: samples a second of ``wave``.
        target_rate: samples a second wanted. Rates are whole numbers from 1 to 1,000,000, at most a
            factor of 1,000 apart.

    Returns:
        float32 ``(ceil(T * target_rate / source_rate),)``.

    Raises:
        ValueError: a rate that cannot be; the same as for :func:`mmtutor.sound.resample`.
    """
    for name, rate in (("source_rate", source_rate), ("target_rate", target_rate)):
        if (
            isinstance(rate, bool)
            or not isinstance(rate, (int, np.integer))
            or not 1 <= rate <= _MAX_RATE
        ):
            raise ValueError(
                f"{name} must be a whole number from 1 to {_MAX_RATE} hertz, got {rate!r}"
            )
    if max(source_rate, target_rate) > _MAX_FACTOR * min(source_rate, target_rate):
        raise ValueError(
            f"{source_rate=} and {target_rate=} lie further apart than a factor of {_MAX_FACTOR}"
        )
    if source_rate == target_rate:
        return np.asarray(wave, dtype=np.float32)
    divisor = math.gcd(source_rate, target_rate)
    up, down = target_rate // divisor, source_rate // divisor
    if max(up, down) > _LONGEST:
        import torch

        from mmtutor import sound

        x = torch.from_numpy(np.array(wave, dtype=np.float32))
        return sound.resample(
            x, int(source_rate), int(target_rate), zero_crossings=22, rolloff=0.92
        ).numpy()
    from scipy.signal import resample_poly

    return resample_poly(
        np.asarray(wave, dtype=np.float32), up, down, window=_lowpass(up, down)
    ).astype(np.float32)


def check_sample_rate(sample_rate: int) -> int:
    """``sample_rate`` itself, or a clear error: a whole number from 4,000 to 48,000."""
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, (int, np.integer)):
        raise TypeError(f"sample_rate must be a whole number such as 16000, not {sample_rate!r}")
    if not 4000 <= sample_rate <= 48000:
        raise ValueError(f"sample_rate must lie between 4000 and 48000, not {sample_rate}")
    return int(sample_rate)


def check_text(text: str, language: str) -> str:
    """A text as it can be spoken, with single spaces, or a clear error.

    Raises:
        ValueError: an unknown language, nothing to say, too long, or a character that has no sound
            in the language.
        TypeError: no text.
    """
    if language not in LANGUAGES:
        raise ValueError(
            f"unknown language {language!r}; the world speaks {', '.join(map(repr, LANGUAGES))}"
        )
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, not {type(text).__name__}")
    text = " ".join(unicodedata.normalize("NFC", text).split())
    if len(text) > MAX_CHARACTERS:
        raise ValueError(
            f"text has {len(text)} characters; at most {MAX_CHARACTERS} can be spoken at once"
        )
    if not any(character.isalnum() for character in text):
        raise ValueError(
            f"text has nothing to say: {text!r}; it needs at least one letter or digit"
        )
    for character in text:
        latin = character.isalpha() and unicodedata.name(character, "").startswith("LATIN")
        hangul = "가" <= character <= "힣"
        if (
            character in _PUNCTUATION
            or "0" <= character <= "9"
            or latin
            or (hangul and language == "ko")
        ):
            continue
        hint = '; say language="ko" for Korean' if hangul else ""
        raise ValueError(
            f"{character!r} (U+{ord(character):04X}) cannot be spoken in {language!r}{hint}"
        )
    return text


def level(wave: np.ndarray) -> np.ndarray:
    """The same sound at the world's loudness: root mean square ``LOUDNESS``, less where a peak
    would pass ``PEAK``."""
    rms = float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
    peak = float(np.abs(wave).max())
    gain = min(LOUDNESS / rms, PEAK / peak) if peak > 0 else 1.0
    return (wave * np.float32(gain)).astype(np.float32)


def utter(text: str, settings: Settings, sample_rate: int) -> tuple[np.ndarray, list[Phoneme]]:
    """Speak a checked text.

    Args:
        text: as :func:`check_text` returns it.
        settings: the voice.
        sample_rate: samples a second, as :func:`check_sample_rate` returns it.

    Returns:
        The wave at the world's loudness, float32 ``(T,)`` in [-1, 1], and its phonemes.
    """
    raw, events = _synthesize(text, settings)
    wave = level(resample(raw.astype(np.float32) / 32768.0, settings.playback, sample_rate))
    phonemes = [
        Phoneme(symbol, start / settings.playback, end / settings.playback, stress)
        for symbol, start, end, stress in _tidy(events, len(raw))
    ]
    # The resampled wave may be a fraction of a sample longer: the last phoneme ends with it.
    phonemes[-1] = phonemes[-1]._replace(end=len(wave) / sample_rate)
    return wave, phonemes


def to_int16(wave: np.ndarray) -> np.ndarray:
    """A wave in [-1, 1] as int16, the form in which the world's data sets store waves."""
    return np.round(np.clip(wave, -1.0, 1.0) * 32767.0).astype(np.int16)


def to_float(wave: np.ndarray) -> np.ndarray:
    """A stored int16 wave as float32 in [-1, 1]: the inverse of ``to_int16``.

    Raises:
        TypeError: the wave is not int16.
    """
    wave = np.asarray(wave)
    if wave.dtype != np.int16:
        raise TypeError(f"a stored wave is int16, not {wave.dtype}")
    return np.maximum(wave.astype(np.float32) / 32767.0, -1.0)
