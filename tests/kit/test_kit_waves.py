"""Waves for the sound networks: what may come in, what becomes of it, and what is refused with which words."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmtutor import sound
from mmtutor.kit.waves import check_waves, to_wave

TONE = 0.5 * torch.sin(torch.arange(400) * 0.3)


# --- what becomes of it ---------------------------------------------------------------------------


def test_a_wave_of_the_right_rate_stays_as_it_is():
    assert torch.equal(to_wave(TONE, 8000, 8000), TONE)
    assert torch.equal(to_wave(TONE[None], 8000, 8000), TONE)
    assert torch.equal(to_wave(TONE.double().numpy(), 8000, 8000), TONE)
    assert to_wave(TONE.half(), 8000, 8000).dtype == torch.float32
    assert torch.equal(to_wave(TONE.numpy()[::-1], 8000, 8000), TONE.flip(0))  # a view backwards


@pytest.mark.parametrize(
    ("samples", "wanted"),
    [
        (np.array([-32768, 0, 16384], np.int16), [-1.0, 0.0, 0.5]),
        (torch.tensor([-(2**31), 0, 2**30], dtype=torch.int32), [-1.0, 0.0, 0.5]),
        (torch.tensor([0, 128, 192], dtype=torch.uint8), [-1.0, 0.0, 0.5]),
    ],
)
def test_integers_become_numbers(samples, wanted):
    assert to_wave(samples, 8000, 8000).tolist() == wanted
    assert check_waves(torch.as_tensor(samples)[None])[0].tolist() == wanted


def test_two_channels_become_one_as_asked():
    two = torch.stack([TONE, -TONE / 2])
    assert torch.equal(to_wave(two, 8000, 8000, channel="first"), TONE)
    torch.testing.assert_close(to_wave(two, 8000, 8000, channel="mean"), TONE / 4)


@pytest.mark.parametrize(("rate", "wanted"), [(8000, 16000), (44100, 22050), (22050, 16000)])
def test_another_rate_is_resampled_if_asked(rate, wanted):
    """A tone of 500 hertz is one of 500 hertz afterwards."""
    t = torch.arange(rate, dtype=torch.float64) / rate
    found = to_wave((0.5 * torch.sin(2 * math.pi * 500 * t)).float(), rate, wanted, resampled=True)
    assert found.shape == (wanted,)
    power = torch.fft.rfft(found).abs()
    assert int(power.argmax()) == 500
    t = torch.arange(wanted, dtype=torch.float64) / wanted
    tone = (0.5 * torch.sin(2 * math.pi * 500 * t)).float()
    torch.testing.assert_close(found[100:-100], tone[100:-100], atol=2e-3, rtol=0)


def test_the_ripple_of_resampling_is_cut_off():
    square = torch.ones(800) * torch.where(torch.arange(800) // 50 % 2 == 0, 1.0, -1.0)
    assert sound.resample(square, 8000, 16000).abs().max() > 1  # else this shows nothing
    assert to_wave(square, 8000, 16000, resampled=True).abs().max() == 1


@given(st.integers(1, 400), st.sampled_from([4000, 8000, 11025, 16000]))
def test_lengths_and_range(length, rate):
    found = to_wave(TONE[:length], rate, 8000, resampled=True)
    assert found.shape == (math.ceil(length * 8000 / rate),)
    assert found.abs().max() <= 1


def test_silence_and_clipping_are_no_mistakes():
    clipped = (4 * TONE).clamp(-1, 1)
    for x in (torch.zeros(400), clipped):
        assert torch.equal(to_wave(x, 8000, 8000), x)
        assert torch.equal(check_waves(x[None]), x[None])


def test_what_a_model_gets_keeps_its_precision():
    assert check_waves(TONE[None].double()).dtype == torch.float64
    assert check_waves(TONE[None].half()).dtype == torch.float32
    x = TONE[None].clone().requires_grad_()
    assert check_waves(x) is x


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "given", "error", "message"),
    [
        (TONE, {"rate": 16000}, ValueError, "has 16000 samples a second, and 8000 are read"),
        (TONE, {"rate": 16000}, ValueError, "give resampled=True"),
        (TONE, {"rate": 0, "resampled": True}, ValueError, "must be a whole number from 1"),
        (torch.zeros(2, 400), {}, ValueError, r"has 2 channels, and one is read: choose channel='first'"),
        (torch.zeros(400, 2), {}, ValueError, "400 channels.*do channels come last"),
        (TONE, {"channel": "left"}, ValueError, r"channel must be one of .* got 'left'"),
        (torch.zeros(1, 1, 5), {}, ValueError, r"must be \(T,\) or \(channels, T\).* got \(1, 1, 5\)"),
        (torch.zeros(0), {}, ValueError, r"at least one, got \(0,\)"),
        (torch.tensor(1.0), {}, ValueError, r"got \(\)"),
        ([0.0, 1.0], {}, TypeError, "a tensor or an array of numbers, got list"),
        (np.array(["a"]), {}, TypeError, "an array of numbers, got <U1"),
        (torch.zeros(4, dtype=torch.int64), {}, TypeError, "PCM samples are uint8, int16 or int32"),
        (torch.tensor([0.0, math.nan]), {}, ValueError, "holds NaN or infinity"),
        (torch.tensor([0.0, math.inf]), {}, ValueError, "holds NaN or infinity"),
        (TONE * 32768, {}, ValueError, r"lies in \[-1, 1\], got a peak of 1.638e\+04; divide"),
    ],
)  # fmt: skip
def test_bad_recordings(samples, given, error, message):
    with pytest.raises(error, match=message):
        to_wave(samples, **{"rate": 8000, "wanted": 8000, **given})


@pytest.mark.parametrize(
    ("waves", "error", "message"),
    [
        (TONE.numpy(), TypeError, "must be a tensor .* got ndarray"),
        (TONE, ValueError, r"must be \(B, L\), none of them 0, got \(400,\)"),
        (TONE[None, None], ValueError, r"got \(1, 1, 400\); to_wave\(\) makes one channel"),
        (TONE[None, :0], ValueError, r"got \(1, 0\)"),
        (TONE[None].long(), TypeError, "PCM samples"),
        (TONE[None] * math.nan, ValueError, "NaN"),
        (TONE[None] * 3, ValueError, r"got a peak of 1\.5; divide"),
    ],
)
def test_bad_waves(waves, error, message):
    with pytest.raises(error, match=message):
        check_waves(waves)
