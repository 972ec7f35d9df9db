"""hub.sound: audio files with odd sample rates, broken headers and missing ends; one rule for rates in all the package."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torchaudio

from mmtutor import hub, sound
from mmtutor.world import speech


@pytest.fixture(params=["soundfile", "plain Python"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of reading a WAV file."""
    if request.param == "plain Python":
        monkeypatch.setitem(sys.modules, "soundfile", None)
    return request.param


def wav(path: Path, samples: np.ndarray, rate: int, cut: int = 0) -> Path:
    """A 16-bit WAV file with any number as its sample rate, less ``cut`` bytes at its end."""
    data, channels = samples.astype("<i2").tobytes(), samples.shape[1]
    form = struct.pack("<HHIIHH", 1, channels, rate, 2 * channels * rate % 2**32, 2 * channels, 16)
    content = (
        b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(data)) + data
    )
    whole = b"RIFF" + struct.pack("<I", len(content)) + content
    path.write_bytes(whole[: len(whole) - cut])
    return path


def tone(rate: int, seconds: float = 0.5, channels: int = 2) -> np.ndarray:
    wave = 8000 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1)


@pytest.mark.parametrize(
    "rate", [8000, 11127, 15999, 22050, 44100, 44101, 96000, 192000, 384000, 999_983]
)
def test_sounds_of_any_rate_keep_their_tone(tmp_path: Path, decoder: str, rate: int) -> None:
    out = hub.sound(wav(tmp_path / "x.wav", tone(rate), rate), 16000)
    expected = tone(16000)[:, 0]
    assert out.dtype == np.int16
    assert abs(len(out) - len(expected)) <= 1
    assert np.abs(out[100:-100] - expected[100 : len(out) - 100]).max() < 40  # of 8,000


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_usual_rates_equal_torchaudio(tmp_path: Path, rate: int) -> None:
    samples = np.random.default_rng(0).integers(-9000, 9000, (4000, 1))
    theirs = torchaudio.functional.resample(
        torch.as_tensor(samples[:, 0] / 32768), rate, 16000
    )  # in float64
    out = hub.sound(wav(tmp_path / "x.wav", samples, rate), 16000)
    np.testing.assert_allclose(out, theirs * 32768, atol=0.51)


@pytest.mark.parametrize("rate", [0, 1, 15, 1_000_001, 2**31 - 1, 2**32 - 1])
def test_rates_that_cannot_be_are_refused_with_the_files_name(
    tmp_path: Path, decoder: str, rate: int
) -> None:
    path = wav(tmp_path / "odd.wav", tone(8000), rate)
    with pytest.raises(
        ValueError,
        match=r"odd\.wav' cannot be (read as a sound|brought from \d+ to 16000 Hz: .*_freq)",
    ):
        hub.sound(path, 16000)
    with pytest.raises(ValueError, match="cannot be"):
        hub.sound({"bytes": path.read_bytes(), "path": None}, 16000)


@pytest.mark.parametrize("bad", [0, -16000, 3999, 48001])
def test_wanted_rates_out_of_range_are_refused(tmp_path: Path, bad: int) -> None:
    with pytest.raises(ValueError, match="sample_rate must lie from 4000 to 48000"):
        hub.sound(wav(tmp_path / "x.wav", tone(8000), 8000), bad)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("cut", [1, 2, 3, 5, 100, 599])
def test_a_wave_that_breaks_off_gives_its_whole_frames(
    tmp_path: Path, decoder: str, cut: int, channels: int
) -> None:
    samples = np.arange(-100, 200)[:, None] * np.ones(channels)
    out = hub.sound(wav(tmp_path / "x.wav", samples, 8000, cut), 8000)
    whole = (2 * channels * len(samples) - cut) // (2 * channels)
    assert out.tolist() == samples[:whole, 0].tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("rate", [8000, 11127])
def test_values_that_are_not_finite_are_named_before_resampling(
    tmp_path: Path, rate: int, value: float
) -> None:
    soundfile.write(tmp_path / "bad.wav", np.array([0.0, value, 0.0]), rate, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"bad\.wav' holds samples that are not finite numbers"):
        hub.sound(tmp_path / "bad.wav", 16000)


@pytest.mark.filterwarnings("error")
def test_values_beyond_all_bounds_are_cut_or_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "loud.wav", np.full(3000, 3e38), 8000, subtype="FLOAT")
    assert set(hub.sound(tmp_path / "loud.wav", 8000)) == {32767}
    with pytest.raises(
        ValueError, match=r"loud\.wav' cannot be brought from 8000 to 16000 Hz: .*overflows"
    ):
        hub.sound(tmp_path / "loud.wav", 16000)


def test_flac_of_an_odd_rate() -> None:
    file = io.BytesIO()
    soundfile.write(file, tone(11127) / 32768, 11127, format="FLAC")
    assert abs(len(hub.sound({"bytes": file.getvalue(), "path": "x.flac"}, 16000)) - 8000) <= 1


# --- one rule everywhere --------------------------------------------------------------------------


def test_the_limits_are_the_same_in_the_world() -> None:
    assert (speech._MAX_RATE, speech._MAX_FACTOR) == (sound.MAX_RATE, sound.MAX_FACTOR)


@pytest.mark.parametrize(
    ("old", "new", "taken"),
    [
        (11127, 16000, True),
        (16000, 11127, True),
        (999_983, 16_000, True),
        (1_000_000, 999_999, True),
        (1, 1000, True),
        (np.int64(22050), np.int32(16000), True),
        (1, 1001, False),
        (1, 1_000_000, False),
        (1_000_001, 16_000, False),
        (0, 16_000, False),
        (16_000, -1, False),
        (16_000.0, 8000, False),
        (True, 1, False),
    ],
)
def test_resample_takes_the_same_rates_in_sound_and_world(old: int, new: int, taken: bool) -> None:
    for resample, wave in ((sound.resample, torch.zeros(200)), (speech.resample, np.zeros(200))):
        if taken:
            assert len(resample(wave, old, new)) == -(-200 * int(new) // int(old))
        else:
            with pytest.raises(
                ValueError, match=r"whole number from 1 to 1000000 hertz|further apart"
            ):
                resample(wave, old, new)
