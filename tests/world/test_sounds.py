"""Notes have the pitch they claim; things are told apart; what stands beside a clip is true of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtutor import world
from mmtutor.world import _effects, _midi, cast, sounds
from mmtutor.world.sounds import frequency, play_note, play_thing


def fundamental(wave: np.ndarray, rate: int, expected: float) -> float:
    """The comb of harmonics that fits the spectrum best, within a third around ``expected`` (harmonic sum, 0.1% steps).

    Whether it is the right octave is checked apart, by ``octave_is_right``.
    """
    n = 1 << 18
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), n))
    trial = expected * np.exp(np.linspace(-0.25, 0.25, 501))
    score = [sum(np.interp(k * f, np.arange(len(spectrum)) * rate / n, spectrum) for k in (1, 2, 3, 4)) for f in trial]
    return float(trial[int(np.argmax(score))])


def octave_is_right(wave: np.ndarray, rate: int, expected: float) -> bool:
    """The period repeats, and half the period does not (autocorrelation)."""
    x = (wave - wave.mean())[:3000]
    r = np.correlate(x, x[:2000], mode="valid") / np.dot(x[:2000], x[:2000])

    def near(lag):
        return r[int(lag * 0.97) : int(lag * 1.03) + 2].max()

    return near(rate / expected) > 0.5 and near(rate / expected) > near(rate / expected / 2)


@pytest.mark.parametrize("instrument", ["piano", "violin", "trumpet", "flute", "guitar", "clarinet"])
@pytest.mark.parametrize("pitch", [55, 60, 69, 76])
def test_a_note_has_its_pitch(instrument, pitch):
    wave = play_note(instrument, pitch, seconds=1.0)
    steady = wave[4000:16000]
    assert fundamental(steady, 22050, frequency(pitch)) == pytest.approx(frequency(pitch), rel=0.01)
    assert octave_is_right(steady, 22050, frequency(pitch))


def test_frequency_of_keys():
    assert frequency(69) == 440.0
    assert frequency(81) == 880.0
    assert frequency(60) == pytest.approx(261.626, abs=1e-3)  # middle C


@pytest.mark.parametrize("sample_rate", [8000, 16000, 22050, 44100])
def test_shape_range_and_rate_of_a_note(sample_rate):
    wave = play_note("violin", 69, 0.7, 127, sample_rate)
    assert wave.dtype == np.float32
    assert wave.shape == (round(0.7 * sample_rate),)
    assert 0.1 < np.abs(wave).max() <= 1.0
    steady = wave[len(wave) // 4 : -len(wave) // 4]
    assert fundamental(steady, sample_rate, 440.0) == pytest.approx(440.0, rel=0.01)


def test_velocity_is_loudness():
    levels = [float(np.std(play_note("piano", 60, 0.5, v))) for v in (20, 50, 80, 127)]
    assert levels == sorted(levels)
    assert levels[3] > 3 * levels[0]


def test_every_program_sounds():
    assert len(_midi.PROGRAMS) == len(set(_midi.PROGRAMS)) == 128
    assert set(_midi.ALIASES.values()) <= set(_midi.PROGRAMS)
    pretty = pytest.importorskip("pretty_midi")
    # General MIDI's own table agrees where it counts
    for name in ("violin", "trumpet", "flute", "church organ", "bird tweet", "seashore", "tubular bells"):
        assert pretty.instrument_name_to_program(name.title()) == _midi.program_number(name)
    for number in range(0, 128, 7):
        assert np.abs(_midi.render(number, 60, 100, 0.3, 0.1)).max() > 0.005


def test_midi_file_is_a_midi_file():
    import io

    mido = pytest.importorskip("mido")
    file = mido.MidiFile(file=io.BytesIO(_midi._midi_file(0, 40, 67, 90, 1.5, 0.25)))
    assert file.length == pytest.approx(1.75)
    notes = [message for message in file.tracks[0] if message.type in ("program_change", "note_on", "note_off")]
    assert [m.type for m in notes] == ["program_change", "note_on", "note_off"]
    assert (notes[0].program, notes[1].note, notes[1].velocity, notes[2].time) == (40, 67, 90, 1500)


@given(st.integers(0, 2**28 - 1))
def test_variable_length_numbers(value):
    encoded = _midi._variable_length(value)
    decoded = 0
    for byte in encoded:
        decoded = decoded << 7 | byte & 0x7F
    assert decoded == value
    assert [byte >> 7 for byte in encoded] == [1] * (len(encoded) - 1) + [0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"instrument": "pianno"}, ValueError, "did you mean 'piano'"),
        ({"instrument": "§"}, ValueError, "unknown instrument"),
        ({"instrument": 3}, TypeError, "must be a name"),
        ({"pitch": 128}, ValueError, "between 0 and 127"),
        ({"pitch": 60.5}, TypeError, "whole number"),
        ({"velocity": 0}, ValueError, "between 1 and 127"),
        ({"seconds": 0}, ValueError, "between 0.05 and 30"),
        ({"seconds": float("nan")}, ValueError, "between 0.05 and 30"),
        ({"seconds": "1"}, TypeError, "must be a number"),
        ({"sample_rate": 1}, ValueError, "between 4000 and 48000"),
    ],
)
def test_bad_notes(arguments, error, message):
    with pytest.raises(error, match=message):
        play_note(**arguments)


def test_at_least_24_things_sound_and_every_effect_exists():
    assert len(sounds.sounding()) >= 24
    wanted = {str(t.sound).partition(":")[2] for t in cast.things(sounding=True) if str(t.sound).startswith("effect:")}
    assert wanted <= set(_effects.EFFECTS)
    assert len({t.sound for t in sounds.sounding()}) == len(sounds.sounding())


@pytest.mark.parametrize("thing", [t.name for t in cast.things(sounding=True)])
def test_every_thing_sounds(thing):
    wave = play_thing(thing, 1.2)
    assert wave.shape == (round(1.2 * 22050),)
    assert wave.dtype == np.float32
    assert np.isfinite(wave).all()
    assert 0.9 < np.abs(wave).max() <= 1.0
    assert np.array_equal(wave, play_thing(thing, 1.2))


def test_things_have_their_character():
    def centroid(name):
        power = np.abs(np.fft.rfft(play_thing(name, 2.0))) ** 2
        return float((power * np.fft.rfftfreq(44100, 1 / 22050)).sum() / power.sum())

    def crest(name):  # how much it comes in strokes
        blocks = np.square(play_thing(name, 2.0)[: 44100 // 441 * 441]).reshape(-1, 441).mean(axis=1)
        return float(blocks.max() / blocks.mean())

    assert centroid("cow") < centroid("dog") < centroid("snake")
    assert centroid("storm") < centroid("bird")
    assert centroid("tractor") < centroid("key")
    assert min(crest("clock"), crest("hammer"), crest("door")) > 2 * max(crest("bee"), crest("airplane"), crest("car"))


def test_higher_is_higher():
    for name in ("owl", "wolf", "whale"):
        low, high = (
            np.abs(np.fft.rfft(play_thing(name, 2.0, semitones))) ** 2 for semitones in (-6, 6)
        )  # an octave apart
        hertz = np.fft.rfftfreq(44100, 1 / 22050)
        assert (high * hertz).sum() / high.sum() > 1.3 * (low * hertz).sum() / low.sum()


def test_things_that_do_not_sound():
    with pytest.raises(ValueError, match="a banana makes no sound"):
        play_thing("banana")
    with pytest.raises(ValueError, match="no thing is called"):
        play_thing("dogg")
    with pytest.raises(ValueError, match="between -12 and 12"):
        play_thing("dog", semitones=13)


def test_reverberation_decays_as_stated():
    # Schroeder (1965): integrate the squared response backwards; it falls by 60 dB in T60.
    rate, t60 = 16000, 0.5
    click = np.zeros(rate, dtype=np.float32)
    click[0] = 1.0
    response = sounds.reverberate(click, t60, rate, np.random.default_rng(0)).astype(np.float64)
    assert response[0] == pytest.approx(1.0, abs=1e-5)
    energy = np.cumsum(response[1:][::-1] ** 2)[::-1]
    decay = 10 * np.log10(energy / energy[0])
    at = [int(np.argmax(decay < level)) for level in (-5, -25)]
    assert (at[1] - at[0]) / rate * 3 == pytest.approx(t60, rel=0.1)
    assert sounds.reverberate(click, 0.0, rate, np.random.default_rng(0)) is click


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(_effects.EFFECTS)), st.floats(0.3, 2.0), st.floats(0.6, 1.7), st.integers(0, 99))
def test_effects_are_finite_and_of_the_right_length(name, seconds, ratio, seed):
    wave = _effects.make(name, seconds, ratio, np.random.default_rng(seed))
    assert wave.shape == (round(seconds * _effects.RATE),)
    assert np.isfinite(wave).all()
    assert np.abs(wave).max() == pytest.approx(1.0, abs=1e-3)


def test_world_exports():
    assert world.play_note is play_note
    assert world.play_thing is play_thing
