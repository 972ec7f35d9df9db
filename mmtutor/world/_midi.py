"""Sampled instruments: General MIDI notes from a sound font, rendered in memory.

``pretty_midi`` ships TimGM6mb, a six-megabyte General MIDI sound font by Tim Brechbill;
``midirenderer`` turns a MIDI file and a font into a wave. The MIDI files here have one note, and
are written by hand (a header chunk and a track chunk: tempo, program change, note on, note off,
end), because that is twenty lines.
"""

from __future__ import annotations

import io
import struct
import wave
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

RENDER_RATE = 48000
"""Samples a second that ``midirenderer`` makes."""

PROGRAMS: tuple[str, ...] = (
    # The 128 sounds of General MIDI level 1, in order, in groups of eight.
    *("acoustic grand piano", "bright acoustic piano", "electric grand piano", "honky-tonk piano"),
    *("electric piano 1", "electric piano 2", "harpsichord", "clavinet"),
    *(
        "celesta",
        "glockenspiel",
        "music box",
        "vibraphone",
        "marimba",
        "xylophone",
        "tubular bells",
        "dulcimer",
    ),
    *("drawbar organ", "percussive organ", "rock organ", "church organ"),
    *("reed organ", "accordion", "harmonica", "tango accordion"),
    *(
        "acoustic guitar (nylon)",
        "acoustic guitar (steel)",
        "electric guitar (jazz)",
        "electric guitar (clean)",
    ),
    *("electric guitar (muted)", "overdriven guitar", "distortion guitar", "guitar harmonics"),
    *("acoustic bass", "electric bass (finger)", "electric bass (pick)", "fretless bass"),
    *("slap bass 1", "slap bass 2", "synth bass 1", "synth bass 2"),
    *(
        "violin",
        "viola",
        "cello",
        "contrabass",
        "tremolo strings",
        "pizzicato strings",
        "orchestral harp",
        "timpani",
    ),
    *("string ensemble 1", "string ensemble 2", "synth strings 1", "synth strings 2"),
    *("choir aahs", "voice oohs", "synth choir", "orchestra hit"),
    *("trumpet", "trombone", "tuba", "muted trumpet"),
    *("french horn", "brass section", "synth brass 1", "synth brass 2"),
    *(
        "soprano sax",
        "alto sax",
        "tenor sax",
        "baritone sax",
        "oboe",
        "english horn",
        "bassoon",
        "clarinet",
    ),
    *(
        "piccolo",
        "flute",
        "recorder",
        "pan flute",
        "blown bottle",
        "shakuhachi",
        "whistle",
        "ocarina",
    ),
    *("square lead", "sawtooth lead", "calliope lead", "chiff lead"),
    *("charang lead", "voice lead", "fifths lead", "bass and lead"),
    *(
        "new age pad",
        "warm pad",
        "polysynth pad",
        "choir pad",
        "bowed pad",
        "metallic pad",
        "halo pad",
        "sweep pad",
    ),
    *("rain", "soundtrack", "crystal", "atmosphere", "brightness", "goblins", "echoes", "sci-fi"),
    *("sitar", "banjo", "shamisen", "koto", "kalimba", "bagpipe", "fiddle", "shanai"),
    *(
        "tinkle bell",
        "agogo",
        "steel drums",
        "woodblock",
        "taiko drum",
        "melodic tom",
        "synth drum",
        "reverse cymbal",
    ),
    *(
        "guitar fret noise",
        "breath noise",
        "seashore",
        "bird tweet",
        "telephone ring",
        "helicopter",
    ),
    *("applause", "gunshot"),
)

ALIASES: dict[str, str] = {
    "piano": "acoustic grand piano",
    "organ": "church organ",
    "guitar": "acoustic guitar (nylon)",
    "electric guitar": "overdriven guitar",
    "bass": "acoustic bass",
    "harp": "orchestral harp",
    "strings": "string ensemble 1",
    "choir": "choir aahs",
    "saxophone": "alto sax",
    "bells": "tubular bells",
}
"""Everyday names of the programs."""

_GAIN = 5.0  # one note of the font, at full velocity, peaks between about 0.02 and 0.25


def program_number(instrument: str) -> int:
    """Number 0-127 of a General MIDI program, by its name or an everyday alias.

    Raises:
        TypeError: not a string.
        ValueError: no such name; the message lists the nearest ones.
    """
    if not isinstance(instrument, str):
        raise TypeError(f"instrument must be a name such as 'piano', not {instrument!r}")
    name = ALIASES.get(instrument.strip().lower(), instrument.strip().lower())
    if name not in PROGRAMS:
        from difflib import get_close_matches

        near = get_close_matches(name, [*ALIASES, *PROGRAMS], n=5, cutoff=0.4)
        hint = f"did you mean {', '.join(map(repr, near))}?" if near else ""
        raise ValueError(
            f"unknown instrument {instrument!r}; {hint or 'see mmtutor.world.sounds.INSTRUMENTS'}"
        )
    return PROGRAMS.index(name)


@lru_cache(maxsize=1)
def _font() -> bytes:
    spec = find_spec("pretty_midi")  # found, not imported: only its data file is needed
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder) / "TimGM6mb.sf2"
        if path.is_file():
            return path.read_bytes()
    raise ImportError(
        "notes need the sound font TimGM6mb.sf2 that pretty_midi ships: pip install pretty_midi"
    )


def _variable_length(value: int) -> bytes:
    """A MIDI time: seven bits a byte, most significant first, the top bit set on all but the
    last."""
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(value & 0x7F | 0x80)
    return bytes(reversed(out))


class Note(NamedTuple):
    """One note of a piece: what plays, from when to when in seconds, which key, how hard it is
    struck."""

    program: int  # 0-127; ignored for percussion
    key: int  # 0-127
    velocity: int  # 1-127
    start: float
    end: float
    percussion: bool = False


def _file_of(track: bytes) -> bytes:
    """A MIDI file of one track, where one tick lasts a millisecond."""
    tempo = (
        _variable_length(0) + b"\xff\x51\x03" + (1_000_000).to_bytes(3, "big")
    )  # a quarter note lasts one second
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, 1000)
    return header + b"MTrk" + struct.pack(">I", len(tempo) + len(track)) + tempo + track


def _midi_file(
    channel: int, program: int, key: int, velocity: int, held: float, tail: float
) -> bytes:
    """A MIDI file of one note."""
    track = b""
    if channel != 9:  # channel 9 is percussion: the key chooses the drum
        track += _variable_length(0) + bytes([0xC0 | channel, program])
    track += _variable_length(0) + bytes([0x90 | channel, key, velocity])
    track += _variable_length(round(1000 * held)) + bytes([0x80 | channel, key, 0])
    return _file_of(track + _variable_length(round(1000 * tail)) + b"\xff\x2f\x00")


def _score_file(notes: Sequence[Note], seconds: float) -> bytes:
    """A MIDI file of a piece; each program gets a channel of its own (at most 15)."""
    programs = list(dict.fromkeys(note.program for note in notes if not note.percussion))
    channels = [channel for channel in range(16) if channel != 9]
    channel_of = dict(zip(programs, channels, strict=False))
    events: list[
        tuple[int, int, bytes]
    ] = []  # (millisecond, rank, message): first releases, then strikes
    for note in notes:
        channel = 9 if note.percussion else channel_of[note.program]
        events.append(
            (round(1000 * note.start), 1, bytes([0x90 | channel, note.key, note.velocity]))
        )
        events.append((round(1000 * note.end), 0, bytes([0x80 | channel, note.key, 0])))
    track = b"".join(_variable_length(0) + bytes([0xC0 | channel_of[p], p]) for p in programs)
    now = 0
    for time, _, message in sorted(events):
        track += _variable_length(time - now) + message
        now = time
    return _file_of(track + _variable_length(max(round(1000 * seconds) - now, 0)) + b"\xff\x2f\x00")


def _play(file: bytes, font: bytes, seconds: float) -> np.ndarray:
    """A MIDI file as it sounds: float32 ``(seconds * RENDER_RATE,)``, mono."""
    import midirenderer

    data = midirenderer.render_wave_from(font, file)
    with wave.open(io.BytesIO(data)) as opened:
        samples = np.frombuffer(opened.readframes(opened.getnframes()), dtype="<i2").reshape(
            -1, opened.getnchannels()
        )
        if opened.getframerate() != RENDER_RATE:
            raise RuntimeError(
                f"midirenderer made {opened.getframerate()} samples a second, expected {RENDER_RATE}"
            )
    mono = samples.astype(np.float32).mean(axis=1) / 32768.0 * _GAIN
    length = round(seconds * RENDER_RATE)
    return np.pad(mono, (0, max(0, length - len(mono))))[:length]


@lru_cache(maxsize=64)
def render(
    program: int, key: int, velocity: int, held: float, tail: float, percussion: bool = False
) -> np.ndarray:
    """One note: read-only float32 ``(T,)`` at ``RENDER_RATE``, mono, ``T = (held + tail) *
    RENDER_RATE``.

    Args:
        program: 0-127; ignored for percussion.
        key: MIDI key 0-127.
        velocity: 1-127.
        held: seconds from note on to note off.
        tail: seconds after note off.
        percussion: play the drum kit, where the key chooses the drum.
    """
    file = _midi_file(9 if percussion else 0, program, key, velocity, held, tail)
    mono = _play(file, _font(), held + tail)
    mono.setflags(write=False)
    return mono


def render_score(notes: Sequence[Note], seconds: float) -> np.ndarray:
    """A piece: float32 ``(round(seconds * RENDER_RATE),)``, mono; what begins later than its end is
    not heard."""
    return _play(
        _score_file([note for note in notes if note.start < seconds], seconds), _font(), seconds
    )
