"""Notes have the pitch they claim; things are told apart; what stands beside a clip is true of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtutor import world
from mmtutor.world import _effects, _midi, cast, sounds, speech
from mmtutor.world.sounds import frequency, play_note, play_thing


def fundamental(wave: np.ndarray, rate: int, expected: float) -> float:
    """The comb of harmonics that fits the spectrum best, within a third around ``expected`` (harmonic sum, 0.1% steps).

    Whether it is the right octave is checked apart, by ``octave_is_right``.
    """
    n = 1 << 18
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), n))
    trial = expected * np.exp(np.linspace(-0.25, 0.25, 501))
    score = [
        sum(np.interp(k * f, np.arange(len(spectrum)) * rate / n, spectrum) for k in (1, 2, 3, 4))
        for f in trial
    ]
    return float(trial[int(np.argmax(score))])


def octave_is_right(wave: np.ndarray, rate: int, expected: float) -> bool:
    """The period repeats, and half the period does not (autocorrelation)."""
    x = (wave - wave.mean())[:3000]
    r = np.correlate(x, x[:2000], mode="valid") / np.dot(x[:2000], x[:2000])

    def near(lag):
        return r[int(lag * 0.97) : int(lag * 1.03) + 2].max()

    return near(rate / expected) > 0.5 and near(rate / expected) > near(rate / expected / 2)


@pytest.mark.parametrize(
    "instrument", ["piano", "violin", "trumpet", "flute", "guitar", "clarinet"]
)
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
    for name in (
        "violin",
        "trumpet",
        "flute",
        "church organ",
        "bird tweet",
        "seashore",
        "tubular bells",
    ):
        assert pretty.instrument_name_to_program(name.title()) == _midi.program_number(name)
    for number in range(0, 128, 7):
        assert np.abs(_midi.render(number, 60, 100, 0.3, 0.1)).max() > 0.005


def test_midi_file_is_a_midi_file():
    import io

    mido = pytest.importorskip("mido")
    file = mido.MidiFile(file=io.BytesIO(_midi._midi_file(0, 40, 67, 90, 1.5, 0.25)))
    assert file.length == pytest.approx(1.75)
    notes = [
        message
        for message in file.tracks[0]
        if message.type in ("program_change", "note_on", "note_off")
    ]
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
    wanted = {
        str(t.sound).partition(":")[2]
        for t in cast.things(sounding=True)
        if str(t.sound).startswith("effect:")
    }
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
        blocks = (
            np.square(play_thing(name, 2.0)[: 44100 // 441 * 441]).reshape(-1, 441).mean(axis=1)
        )
        return float(blocks.max() / blocks.mean())

    assert centroid("cow") < centroid("dog") < centroid("snake")
    assert centroid("storm") < centroid("bird")
    assert centroid("tractor") < centroid("key")
    assert min(crest("clock"), crest("hammer"), crest("door")) > 2 * max(
        crest("bee"), crest("airplane"), crest("car")
    )


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
@given(
    st.sampled_from(sorted(_effects.EFFECTS)),
    st.floats(0.3, 2.0),
    st.floats(0.6, 1.7),
    st.integers(0, 99),
)
def test_effects_are_finite_and_of_the_right_length(name, seconds, ratio, seed):
    wave = _effects.make(name, seconds, ratio, np.random.default_rng(seed))
    assert wave.shape == (round(seconds * _effects.RATE),)
    assert np.isfinite(wave).all()
    assert np.abs(wave).max() == pytest.approx(1.0, abs=1e-3)


def test_a_voice_is_the_sum_of_its_harmonics():
    # against the definition: every sine computed by itself, the envelope at the samples where it is exact
    t = np.arange(6000) / _effects.RATE
    f0 = 200 + 300 * t
    formants = [(700 + 400 * t, 150, 1.0), (2500, 300, 0.5)]
    made = _effects._voice(t, f0, formants, tilt=0.5, harmonics=60)
    phase = 2 * np.pi * np.cumsum(f0) / _effects.RATE
    expected = np.zeros_like(t)
    for k in range(1, 61):
        gain = sum(
            strength / (1 + ((k * f0 - centre) / width) ** 2)
            for centre, width, strength in formants
        )
        expected += np.where(k * f0 < 0.47 * _effects.RATE, gain * k**-0.5, 0.0) * np.sin(k * phase)
    assert np.abs(made[::64] - expected[::64]).max() < 1e-6 * np.abs(expected).max()
    assert (
        np.sqrt(np.mean((made - expected) ** 2)) < 0.01 * expected.std()
    )  # between, it is a straight line


def test_a_piece_of_one_note_is_that_note():
    piece = _midi.render_score([_midi.Note(40, 67, 90, 0.0, 0.4)], 0.5)
    assert np.array_equal(piece, _midi.render(40, 67, 90, 0.4, 0.1))
    later = _midi.render_score(
        [_midi.Note(40, 67, 90, 0.25, 0.5), _midi.Note(0, 60, 90, 9.0, 9.5)], 0.6
    )
    assert len(later) == round(0.6 * _midi.RENDER_RATE)
    assert not later[: round(0.2 * _midi.RENDER_RATE)].any()
    assert later[round(0.26 * _midi.RENDER_RATE) :].any()


@pytest.mark.parametrize("sample_rate", [8000, 16000])
@pytest.mark.parametrize("kind", sounds.THIRD_SOURCES)
def test_third_sources_are_as_loud_as_speech_and_always_the_same(kind, sample_rate):
    waves = [sounds.third_source(kind, 1.6, sample_rate, seed) for seed in (0, 1, 2)]
    for wave in waves:
        assert wave.dtype == np.float32
        assert wave.shape == (round(1.6 * sample_rate),)
        assert np.sqrt(np.mean(np.square(wave, dtype=np.float64))) == pytest.approx(
            speech.LOUDNESS, rel=1e-3
        )
        assert np.abs(wave).max() <= speech.PEAK
        # it is heard all the time: no tenth of a second is silent
        assert np.sqrt(np.mean(wave.reshape(16, -1) ** 2, axis=1)).min() > 0.2 * speech.LOUDNESS
    assert abs(np.corrcoef(waves)[np.triu_indices(3, 1)]).max() < 0.3
    assert np.array_equal(waves[1], sounds.third_source(kind, 1.6, sample_rate, 1))


def test_noise_is_pink_and_music_has_notes():
    def spectrum(kind, seed):
        power = np.abs(np.fft.rfft(sounds.third_source(kind, 2.0, 16000, seed))) ** 2
        return power, np.fft.rfftfreq(32000, 1 / 16000)

    power, hertz = spectrum("noise", 4)
    octaves = [
        10 * np.log10(power[(f <= hertz) & (hertz < 2 * f)].sum())
        for f in (125, 250, 500, 1000, 2000, 4000)
    ]
    assert np.ptp(octaves) < 1.5
    assert power[hertz < 49].sum() < 1e-6 * power.sum()
    for seed in range(3):
        shares = []
        for kind in (
            sounds.THIRD_SOURCES
        ):  # how much of the power lies in the strongest hundredth of the spectrum
            power = np.sort(spectrum(kind, seed)[0][200:8000])
            shares.append(power[-78:].sum() / power.sum())
        assert shares[1] > 2.5 * shares[0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kind": "babble"}, ValueError, "there are 'noise', 'music'"),
        ({"seconds": 31}, ValueError, "between 0.05 and 30"),
        ({"seconds": "1"}, TypeError, "must be a number"),
        ({"sample_rate": 100}, ValueError, "between 4000 and 48000"),
        ({"seed": -1}, ValueError, "seed must lie between 0"),
        ({"seed": 1.5}, TypeError, "seed must be a whole number"),
    ],
)
def test_bad_third_sources(arguments, error, message):
    with pytest.raises(error, match=message):
        sounds.third_source(**{"kind": "noise", "seconds": 1.0, **arguments})


def test_world_exports():
    assert world.play_note is play_note
    assert world.play_thing is play_thing
