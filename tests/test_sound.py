"""mmtutor.sound against torch, torchaudio, librosa and scipy, against its own mathematics, and against bad input."""

from __future__ import annotations

import math
import warnings

import librosa
import numpy as np
import pytest
import scipy.fft
import scipy.signal
import torch
import torchaudio
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mmtutor import sound

DTYPES = [torch.float32, torch.float64]
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
RATE = 16000


def wave(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    """Noise, a gliding tone and a click: something at every frequency and a moment that stands out."""
    generator = torch.Generator().manual_seed(seed)
    x = 0.1 * torch.randn(*shape, generator=generator, dtype=torch.float64)
    t = torch.arange(shape[-1], dtype=torch.float64) / RATE
    x = x + 0.4 * torch.sin(2 * math.pi * (200 * t + 1500 * t**2))
    x[..., shape[-1] // 3] += 0.5
    return x.to(dtype)


def error(ours: torch.Tensor, theirs: torch.Tensor | np.ndarray) -> float:
    """Largest difference, relative to the largest value where that is above 1."""
    theirs = torch.as_tensor(theirs)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1))


# ------------------------------------------------------------------------------------------------ windows and the DFT


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("length", [1, 2, 7, 400])
@pytest.mark.parametrize("name", list(sound.WINDOWS))
def test_windows_equal_scipy(name, length, periodic):
    scipy_name = "boxcar" if name == "rectangular" else name
    theirs = scipy.signal.get_window(scipy_name, length, fftbins=periodic)
    ours = sound.get_window(name, length, periodic, dtype=torch.float64)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("name", ["hann", "hamming", "blackman"])
def test_windows_equal_torch(name):
    theirs = getattr(torch, f"{name}_window")(400)
    assert error(sound.get_window(name, 400), theirs) < 1e-6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 15, 16, 400, 1021])
def test_dft_matrix_product_equals_fft(n, dtype):
    x = wave(3, n, dtype=dtype)
    X = sound.dft(x)
    assert error(X, torch.fft.fft(x)) < TOLERANCE[dtype]
    assert error(X[..., : n // 2 + 1], torch.fft.rfft(x)) < TOLERANCE[dtype]


def test_dft_matrix_is_unitary_up_to_n():
    W = sound.dft_matrix(64)
    torch.testing.assert_close(W @ W.conj().T, 64 * torch.eye(64, dtype=W.dtype))


def test_side_lobes_match_the_textbook():
    # Harris 1978, table 1: rectangular -13 dB, Hann -32 dB, Hamming -43 dB, Blackman -58 dB.
    for name, level in {
        "rectangular": -13.3,
        "hann": -31.5,
        "hamming": -42.7,
        "blackman": -58.1,
    }.items():
        window = sound.get_window(name, 512, periodic=False, dtype=torch.float64)
        assert sound.side_lobe_level(window) == pytest.approx(level, abs=0.25)


# --------------------------------------------------------------------------------------------------------------- STFT

STFT_CASES = [
    {"n_fft": 400, "hop_length": 160},
    {"n_fft": 400, "hop_length": 160, "window": "hamming", "center": False},
    {"n_fft": 512, "hop_length": 160, "win_length": 400},
    {
        "n_fft": 512,
        "hop_length": 128,
        "win_length": 333,
        "window": "blackman",
        "pad_mode": "constant",
    },
    {"n_fft": 255, "hop_length": 100, "window": "rectangular"},
    {"n_fft": 64, "hop_length": 100},
    {"n_fft": 1, "hop_length": 3, "window": "rectangular"},
    {"n_fft": 2, "hop_length": 1},
]


@pytest.mark.parametrize("normalized", [False, "frame_length"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", STFT_CASES)
def test_stft_equals_torch(case, dtype, normalized):
    x = wave(2, 3000, dtype=dtype)
    case = {"win_length": case["n_fft"], "window": "hann", **case}
    window = sound.get_window(case["window"], case["win_length"], dtype=dtype)
    theirs = torch.stft(
        x,
        case["n_fft"],
        case["hop_length"],
        case["win_length"],
        window,
        center=case.get("center", True),
        pad_mode=case.get("pad_mode", "reflect"),
        normalized=normalized == "frame_length",
        return_complex=True,
    )
    assert error(sound.stft(x, **case, normalized=normalized), theirs) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
@pytest.mark.parametrize("window", ["hann", "hamming", "blackman"])
def test_stft_equals_librosa(window, pad_mode, center, dtype):
    x = wave(4000, dtype=dtype)
    theirs = librosa.stft(
        x.numpy(),
        n_fft=512,
        hop_length=160,
        win_length=400,
        window=window,
        center=center,
        pad_mode=pad_mode,
    )
    ours = sound.stft(x, 512, 160, 400, window, center=center, pad_mode=pad_mode)
    assert error(ours, theirs) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("normalized", [False, "window", "frame_length"])
@pytest.mark.parametrize(
    ("center", "pad_mode"), [(True, "reflect"), (True, "constant"), (False, "reflect")]
)
def test_spectrogram_equals_torchaudio(center, pad_mode, normalized, power, dtype):
    x = wave(2, 3, 5000, dtype=dtype)
    theirs = torchaudio.functional.spectrogram(
        x,
        0,
        torch.hann_window(400, dtype=dtype),
        400,
        160,
        400,
        float(power),
        normalized,
        center,
        pad_mode,
    )
    ours = sound.spectrogram(
        x, 400, 160, power, center=center, pad_mode=pad_mode, normalized=normalized
    )
    assert error(ours, theirs) < TOLERANCE[dtype]


@pytest.mark.parametrize("length", [400, 401, 559, 560, 4800])
def test_frame_counts(length):
    x = wave(length)
    assert sound.stft(x, 400, 160).shape == (201, 1 + length // 160)
    assert sound.stft(x, 400, 160, center=False).shape == (201, 1 + (length - 400) // 160)


def test_framing_windowing_and_rfft_by_hand():
    x = wave(1000)
    window = sound.get_window("hann", 256, dtype=x.dtype)
    by_hand = torch.stack(
        [torch.fft.rfft(x[m * 64 : m * 64 + 256] * window) for m in range(12)], dim=1
    )
    torch.testing.assert_close(sound.stft(x, 256, 64, center=False), by_hand)


# -------------------------------------------------------------------------------------------------------- log, mel, DCT


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("top_db", [None, 80.0, 20.0])
def test_decibels_equal_torchaudio_and_librosa(top_db, dtype):
    power = sound.spectrogram(wave(4000, dtype=dtype), 400, 160)
    power[:, 3] = 0
    ours = sound.power_to_db(power, top_db=top_db)
    assert (
        error(ours, torchaudio.transforms.AmplitudeToDB("power", top_db)(power)) < TOLERANCE[dtype]
    )
    assert error(ours, librosa.power_to_db(power.numpy(), top_db=top_db)) < TOLERANCE[dtype]
    theirs = librosa.amplitude_to_db(power.sqrt().numpy(), top_db=top_db, ref=2.0)
    assert (
        error(sound.amplitude_to_db(power.sqrt(), ref=2.0, top_db=top_db), theirs)
        < TOLERANCE[dtype]
    )


def test_top_db_looks_at_one_example_at_a_time():
    quiet, loud = torch.tensor([[1e-3, 1e-6]]), torch.tensor([[1e6, 1.0]])
    both = sound.power_to_db(torch.stack([quiet, loud]), top_db=40)
    torch.testing.assert_close(both[0], sound.power_to_db(quiet, top_db=40))


@pytest.mark.parametrize("scale", sound.MEL_SCALES)
def test_mel_scales_equal_librosa_and_invert(scale):
    hz = torch.linspace(0, 12000, 500, dtype=torch.float64)
    mel = sound.hz_to_mel(hz, scale)
    np.testing.assert_allclose(mel, librosa.hz_to_mel(hz.numpy(), htk=scale == "htk"), rtol=1e-12)
    torch.testing.assert_close(sound.mel_to_hz(mel, scale), hz)
    assert float(sound.hz_to_mel(1000.0, scale)) == pytest.approx(
        1000 if scale == "htk" else 15, rel=2e-5
    )


FILTERBANKS = [
    {"n_mels": 40, "n_fft": 400, "sample_rate": 16000},
    {"n_mels": 80, "n_fft": 1024, "sample_rate": 22050, "f_min": 30.0, "f_max": 8000.0},
    {"n_mels": 1, "n_fft": 64, "sample_rate": 8000},
]


@pytest.mark.parametrize("norm", [None, "slaney"])
@pytest.mark.parametrize("mel_scale", sound.MEL_SCALES)
@pytest.mark.parametrize("case", FILTERBANKS)
def test_filterbank_equals_librosa_and_torchaudio(case, mel_scale, norm):
    ours = sound.mel_filterbank(**case, mel_scale=mel_scale, norm=norm, dtype=torch.float64)
    theirs = librosa.filters.mel(
        sr=case["sample_rate"],
        n_fft=case["n_fft"],
        n_mels=case["n_mels"],
        fmin=case.get("f_min", 0.0),
        fmax=case.get("f_max"),
        htk=mel_scale == "htk",
        norm=norm,
        dtype=np.float64,
    )
    assert error(ours, theirs) < 1e-9
    theirs = torchaudio.functional.melscale_fbanks(
        case["n_fft"] // 2 + 1,
        case.get("f_min", 0.0),
        case.get("f_max", case["sample_rate"] / 2),
        case["n_mels"],
        case["sample_rate"],
        norm,
        mel_scale,
    ).T
    assert error(ours.float(), theirs) < 1e-4


def test_filterbank_for_an_odd_n_fft_knows_that_its_last_bin_is_below_nyquist():
    ours = sound.mel_filterbank(20, 255, 16000, dtype=torch.float64)
    theirs = librosa.filters.mel(
        sr=16000, n_fft=255, n_mels=20, htk=True, norm=None, dtype=np.float64
    )
    assert error(ours, theirs) < 1e-9


def test_empty_mel_bands_are_announced():
    with pytest.warns(UserWarning, match="4 of 128 mel bands contain no FFT bin"):
        sound.mel_filterbank(128, 400, 16000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sound.mel_filterbank(128, 400, 16000, mel_scale="slaney")


@pytest.mark.parametrize("n_out", [1, 13, 40])
def test_dct_equals_scipy(n_out):
    x = wave(40)
    theirs = scipy.fft.dct(x.numpy(), type=2, norm="ortho")[:n_out]
    assert error(sound.dct_matrix(n_out, 40, dtype=torch.float64) @ x, theirs) < 1e-12
    assert (
        error(sound.dct_matrix(n_out, 40), torchaudio.functional.create_dct(n_out, 40, "ortho").T)
        < 1e-5
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm", [None, "slaney"])
@pytest.mark.parametrize("mel_scale", sound.MEL_SCALES)
def test_mel_spectrogram_equals_torchaudio_and_librosa(mel_scale, norm, dtype):
    x = wave(8000, dtype=dtype)
    options = {
        "n_fft": 512,
        "hop_length": 160,
        "win_length": 400,
        "n_mels": 40,
        "norm": norm,
        "mel_scale": mel_scale,
    }
    ours = sound.MelSpectrogram(RATE, **options, dtype=dtype)(x)
    # torchaudio builds its filterbank in float32, so in float64 its own matrix limits the agreement: librosa is exact.
    theirs = torchaudio.transforms.MelSpectrogram(RATE, **options).to(dtype)(x)
    assert error(ours, theirs) < 1e-4
    theirs = librosa.feature.melspectrogram(
        y=x.numpy(),
        sr=RATE,
        n_fft=512,
        hop_length=160,
        win_length=400,
        pad_mode="reflect",
        n_mels=40,
        htk=mel_scale == "htk",
        norm=norm,
        dtype=x.numpy().dtype,
    )
    assert error(ours, theirs) < TOLERANCE[dtype]


@pytest.mark.parametrize("log", ["db", "ln"])
def test_mfcc_equals_torchaudio(log):
    x = wave(8000, dtype=torch.float32)
    mel = {"n_fft": 400, "hop_length": 160, "n_mels": 40}
    theirs = torchaudio.transforms.MFCC(RATE, n_mfcc=13, log_mels=log == "ln", melkwargs=mel)(x)
    assert error(sound.MFCC(RATE, n_mfcc=13, log=log, **mel)(x), theirs) < 1e-4


def test_mfcc_equals_librosa_in_double_precision():
    x = wave(8000)
    theirs = librosa.feature.mfcc(
        y=x.numpy(),
        sr=RATE,
        n_mfcc=20,
        n_fft=400,
        hop_length=160,
        n_mels=40,
        pad_mode="reflect",
        dtype=np.float64,
    )
    ours = sound.MFCC(
        RATE,
        20,
        n_fft=400,
        hop_length=160,
        n_mels=40,
        mel_scale="slaney",
        norm="slaney",
        dtype=x.dtype,
    )
    assert error(ours(x), theirs) < 1e-9


def test_mel_to_power_restores_the_bands_of_a_smooth_spectrum():
    bank = sound.mel_filterbank(20, 400, RATE, dtype=torch.float64)
    power = sound.spectrogram(wave(4000), 400, 160)
    guess = sound.mel_to_power(bank @ power, bank)
    assert guess.shape == power.shape
    assert guess.min() >= 0
    least_norm = torch.as_tensor(
        np.linalg.lstsq(bank.numpy(), (bank @ power).numpy(), rcond=None)[0]
    )
    assert error(guess, least_norm.clamp(min=0)) < 1e-9
    with pytest.raises(ValueError, match="20 bands"):
        sound.mel_to_power(torch.ones(20, 5), torch.ones(40, 201))


# ------------------------------------------------------------------------------------------------------- and back again


@pytest.mark.parametrize("window", list(sound.WINDOWS))
@pytest.mark.parametrize("hop", [1, 13, 32, 50, 64, 100, 128, 200, 255])
def test_cola_and_nola_equal_scipy(window, hop):
    w = sound.get_window(window, 256, dtype=torch.float64)
    assert sound.cola(w, hop) == scipy.signal.check_COLA(w.numpy(), 256, 256 - hop, tol=1e-6)
    assert sound.nola(w, hop) == scipy.signal.check_NOLA(w.numpy(), 256, 256 - hop)


def test_nola_of_a_hop_without_overlap():
    assert sound.nola(sound.get_window("hamming", 256), 256)  # never zero, so division repairs it
    assert not sound.cola(sound.get_window("hamming", 256), 256)
    assert not sound.nola(sound.get_window("hann", 256), 256)
    assert sound.cola(sound.get_window("rectangular", 256), 256)
    assert not sound.nola(sound.get_window("rectangular", 256), 257)


@pytest.mark.parametrize("hop", [1, 7, 16, 20, 32, 33, 48, 63, 64])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("window", list(sound.WINDOWS))
@pytest.mark.parametrize("win_length", [64, 50])
def test_round_trip_exactly_where_every_sample_is_covered(window, center, hop, win_length):
    x = wave(2, 64 + hop * 12)
    options = {
        "n_fft": 64,
        "hop_length": hop,
        "win_length": win_length,
        "window": window,
        "center": center,
    }
    X = sound.stft(x, **options)
    # Independent of overlap_add: add the squared windows up in a plain loop.
    w = torch.zeros(64, dtype=x.dtype)
    left = (64 - win_length) // 2
    w[left : left + win_length] = sound.get_window(window, win_length, dtype=x.dtype)
    covered = torch.zeros(64 + hop * (X.shape[-1] - 1), dtype=x.dtype)
    for m in range(X.shape[-1]):
        covered[m * hop : m * hop + 64] += w**2
    start = 32 if center else 0
    length = min(x.shape[-1], covered.numel() - start)
    if covered[start : start + length].min() > 1e-10:
        assert error(sound.istft(X, **options, length=length), x[..., :length]) < 1e-9
        x32 = x.float()
        # Where a sample is seen only through a small weight w, its rounding error grows by 1 / w.
        bound = 1e-6 * max(1.0, float(covered[start : start + length].min()) ** -0.5)
        assert (
            error(
                sound.istft(sound.stft(x32, **options), **options, length=length), x32[..., :length]
            )
            < bound
        )
    else:
        with pytest.raises(ValueError, match="no window covers sample"):
            sound.istft(X, **options, length=length)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("normalized", [False, "frame_length"])
@pytest.mark.parametrize("length", [None, 3000, 2900])
@pytest.mark.parametrize("case", STFT_CASES[:5])
def test_istft_equals_torch_for_any_complex_input(case, length, normalized, dtype):
    """Also for arrays that are the STFT of no wave, where only least squares says what is right."""
    n_fft, hop = case["n_fft"], case["hop_length"]
    case = {"win_length": n_fft, "window": "hann", **case}
    case.pop("pad_mode", None)
    frames = 1 + (3000 if case.get("center", True) else 3000 - n_fft) // hop
    generator = torch.Generator().manual_seed(1)
    X = torch.complex(*torch.randn(2, 2, n_fft // 2 + 1, frames, generator=generator, dtype=dtype))
    if not case.get("center", True):
        length = None
    X[
        :, 0
    ].imag.zero_()  # a real wave has a real mean: other inputs mean different things to different FFTs
    if n_fft % 2 == 0:
        X[:, -1].imag.zero_()
    theirs = torch.istft(
        X,
        n_fft,
        hop,
        case["win_length"],
        sound.get_window(case["window"], case["win_length"], dtype=dtype),
        center=case.get("center", True),
        normalized=normalized == "frame_length",
        length=length,
    )
    assert (
        error(sound.istft(X, **case, normalized=normalized, length=length), theirs)
        < TOLERANCE[dtype]
    )


def test_istft_says_when_samples_are_gone():
    x = wave(1000)
    with pytest.raises(
        ValueError, match=r"no window covers sample 0 .*smaller hop_length, center=True"
    ):
        sound.istft(sound.stft(x, 64, 16, center=False), 64, 16, center=False)
    gaps = {"n_fft": 64, "hop_length": 80, "window": "rectangular"}  # a hop larger than the window
    X = sound.stft(x, **gaps)
    assert X.shape == (33, 13)
    with pytest.raises(ValueError, match="no window covers sample 32"):
        sound.istft(X, **gaps)
    edge_to_edge = {"n_fft": 64, "hop_length": 64, "window": "rectangular"}
    with pytest.raises(ValueError, match="cover samples 0 to 992; cannot return 1000"):
        sound.istft(sound.stft(x, **edge_to_edge), **edge_to_edge, length=1000)


@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_griffin_lim_equals_librosa_and_torchaudio(momentum):
    x = wave(2000)
    magnitude = sound.spectrogram(x, 256, 64, power=1)
    ours = sound.griffin_lim(magnitude, 256, 64, n_iter=8, momentum=momentum, length=2000)
    theirs = librosa.griffinlim(
        magnitude.numpy(),
        n_iter=8,
        hop_length=64,
        momentum=momentum,
        length=2000,
        init=None,
        pad_mode="reflect",
        dtype=np.float64,
    )
    assert error(ours, theirs) < 1e-9
    theirs = torchaudio.functional.griffinlim(
        magnitude,
        torch.hann_window(256, dtype=x.dtype),
        256,
        64,
        256,
        1.0,
        8,
        momentum,
        2000,
        rand_init=False,
    )
    assert error(ours, theirs) < 1e-9


def test_griffin_lim_gets_closer_and_momentum_gets_closer_faster():
    magnitude = sound.spectrogram(wave(8000), 512, 128, power=1)

    def distance(n_iter: int, momentum: float) -> float:
        y = sound.griffin_lim(
            magnitude,
            512,
            128,
            n_iter=n_iter,
            momentum=momentum,
            length=8000,
            generator=torch.Generator().manual_seed(0),
        )
        return sound.spectral_convergence(sound.spectrogram(y, 512, 128, power=1), magnitude)

    plain = [distance(n, 0.0) for n in (0, 1, 2, 4, 8, 16, 32)]
    assert plain == sorted(
        plain, reverse=True
    )  # Griffin and Lim prove that the distance never grows
    assert distance(32, 0.99) < plain[-1] - 1


def test_griffin_lim_reports_steps_and_keeps_silence():
    steps = []
    silence = torch.zeros(129, 20)
    y = sound.griffin_lim(silence, 256, n_iter=3, on_step=lambda i, x: steps.append((i, x.shape)))
    assert steps == [(i, y.shape) for i in range(3)]
    assert torch.equal(y, torch.zeros_like(y))


@pytest.mark.parametrize("momentum", [0.0, 0.99])
@pytest.mark.parametrize("dtype", DTYPES)
def test_griffin_lim_does_not_care_how_loud_it_is(dtype, momentum):
    options = {"n_fft": 256, "hop_length": 64, "n_iter": 8, "momentum": momentum, "length": 2000}
    magnitude = sound.spectrogram(wave(2000, dtype=dtype), 256, 64, power=1)
    usual = sound.griffin_lim(magnitude, **options)
    for power in (-100, -40, 40, 100):  # a power of two rounds nothing: every digit is the same
        assert torch.equal(
            sound.griffin_lim(magnitude * 2.0**power, **options) * 2.0**-power, usual
        )
    for c in (1e-30, 1e-12, 1e-3, 1e3, 1e12, 1e30):
        assert error(sound.griffin_lim(magnitude * c, **options) / c, usual) < (
            1e-2 if dtype == torch.float32 else 1e-9
        )
    batch = torch.stack([magnitude, magnitude * 2.0**-60, 0 * magnitude, magnitude * 2.0**60])
    together = sound.griffin_lim(batch, **options)  # a loud neighbour changes nothing
    for i, c in enumerate((1, 2.0**-60, 0, 2.0**60)):
        torch.testing.assert_close(together[i], c * usual, rtol=1e-3, atol=1e-3 * c)


def test_griffin_lim_shows_its_steps_as_loud_as_they_are():
    magnitude = 1e-9 * sound.spectrogram(wave(2000), 256, 64, power=1)
    steps = []
    last = sound.griffin_lim(
        magnitude, 256, 64, n_iter=3, length=2000, on_step=lambda i, x: steps.append(x)
    )
    first = sound.griffin_lim(magnitude, 256, 64, n_iter=0, length=2000)
    torch.testing.assert_close(steps[0], first)
    assert 1e-11 < last.abs().max() < 1e-8


@pytest.mark.parametrize("c", [1e-30, 1.0, 1e30])
def test_spectral_convergence_is_relative(c):
    target = c * sound.spectrogram(wave(2000, dtype=torch.float32), 256, power=1)
    assert sound.spectral_convergence(1.1 * target, target) == pytest.approx(-20, abs=1e-3)
    assert sound.spectral_convergence(target, target) == -math.inf


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("old", "new"), [(16000, 8000), (8000, 16000), (22050, 16000), (3, 7), (16000, 16000)]
)
def test_resample_equals_torchaudio(old, new, dtype):
    x = wave(2, 1501, dtype=dtype)
    ours = sound.resample(x, old, new)
    # The default of torchaudio computes its filters in the wave's own precision.
    theirs = torchaudio.functional.resample(x, old, new)
    assert error(ours, theirs) < TOLERANCE[dtype]


def test_resample_keeps_a_low_tone_and_removes_a_high_one():
    t = torch.arange(16000, dtype=torch.float64) / 16000
    low = sound.resample(torch.sin(2 * math.pi * 440 * t), 16000, 8000)
    expected = torch.sin(2 * math.pi * 440 * torch.arange(8000, dtype=torch.float64) / 8000)
    assert (low - expected)[100:-100].abs().max() < 2e-3
    assert (
        sound.resample(torch.sin(2 * math.pi * 6000 * t), 16000, 8000)[100:-100].abs().max() < 2e-3
    )


def sinc_by_hand(
    x: torch.Tensor, old: int, new: int, zero_crossings: int = 6, rolloff: float = 0.99
) -> torch.Tensor:
    """Every new sample by itself: the sum over all old ones of the faded sinc pulse between the two times."""
    x = x.numpy()
    cutoff = rolloff * min(1, new / old)
    out = np.zeros((*x.shape[:-1], math.ceil(x.shape[-1] * new / old)))
    for k in range(out.shape[-1]):
        distance = cutoff * (np.arange(x.shape[-1]) - k * old / new)
        fade = np.where(
            np.abs(distance) < zero_crossings, np.cos(np.pi / 2 * distance / zero_crossings) ** 2, 0
        )
        out[..., k] = (x * cutoff * np.sinc(distance) * fade).sum(-1)
    return torch.as_tensor(out)


COPRIME = [
    (11127, 16000),
    (44101, 16000),
    (16000, 15999),
    (999_983, 1009),
    (1000, 999_999),
    (1, 1000),
    (1000, 1),
]


@pytest.mark.parametrize(("old", "new"), COPRIME)
@pytest.mark.parametrize("T", [1, 2, 150])
def test_rates_without_a_common_divisor_equal_the_sum_of_pulses(old, new, T):
    x = wave(2, min(T, 20) if new > 100 * old else T)
    assert error(sound.resample(x, old, new), sinc_by_hand(x, old, new)) < 1e-9
    assert error(sound.resample(x, old, new, 22, 0.92), sinc_by_hand(x, old, new, 22, 0.92)) < 1e-9


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.integers(1, 900),
    st.integers(1, 9),
    st.floats(0.5, 1),
)
def test_resample_equals_the_sum_of_pulses_at_any_rates(old, new, T, zero_crossings, rolloff):
    x = wave(T)
    T_out = -(-T * new // old)
    assume(T_out <= 2000 and old != new)
    assume(
        zero_crossings / rolloff * max(old, new) / min(old, new) < 2000
    )  # far within the longest filter that is allowed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sound, "_FILTERS", 2**14
        )  # filters in groups where they would be one matrix otherwise
        ours = sound.resample(x, old, new, zero_crossings, rolloff)
    torch.testing.assert_close(
        ours, sinc_by_hand(x, old, new, zero_crossings, rolloff), atol=1e-9, rtol=1e-9
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("old", "new"), [(1999, 2000), (2000, 1999), (4001, 1000)])
def test_filters_in_groups_equal_torchaudio(old, new, dtype):
    x = wave(2, 3, 9001, dtype=dtype)  # several periods, the last one cut
    assert sound._group_size(old // math.gcd(old, new), new // math.gcd(old, new), 6) < new
    assert (
        error(sound.resample(x, old, new), torchaudio.functional.resample(x, old, new))
        < TOLERANCE[dtype]
    )


class Work(TorchDispatchMode):
    """Counts the numbers in every tensor that is made: the largest one and all together."""

    largest = total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and not func.is_view:
            self.largest, self.total = (
                max(self.largest, result.numel()),
                self.total + result.numel(),
            )
        return result


@pytest.mark.parametrize(
    ("old", "new"),
    [*COPRIME, (1_000_000, 999_999), (999_999, 1_000_000), (48_000, 44_101), (44_100, 16_000)],
)
@pytest.mark.parametrize("T", [100, 50_000])
def test_no_rates_take_much_memory_or_work(old, new, T):
    T = min(T, 1_000_000 * old // new)
    with Work() as work:
        y = sound.resample(torch.zeros(T), old, new)
    period = old // math.gcd(old, new)
    assert work.largest <= 2**20 + 2 * (T + len(y) + period)
    # 15 taps and a dozen steps for each, and a row of some 200 for the product; one matrix of all took 16,000 and more.
    assert work.total <= 2**21 + 1200 * max(T, len(y)) + 20 * period


@pytest.mark.parametrize(
    "bad", [0, -16000, 1_000_001, 2**31, 16000.0, True, "16000", None, float("nan")]
)
def test_rates_that_no_sound_has_are_refused_by_name(bad):
    x = wave(100)
    with pytest.raises(
        ValueError, match="orig_freq must be a whole number from 1 to 1000000 hertz, got"
    ):
        sound.resample(x, bad, 16000)
    with pytest.raises(
        ValueError, match="new_freq must be a whole number from 1 to 1000000 hertz, got"
    ):
        sound.resample(x, 16000, bad)


@pytest.mark.parametrize(("old", "new"), [(1, 1_000_000), (1_000_000, 1), (1, 1001), (16_016, 16)])
def test_rates_too_far_apart_are_refused(old, new):
    with pytest.raises(
        ValueError,
        match=f"orig_freq={old} and new_freq={new} lie further apart than a factor of 1000",
    ):
        sound.resample(wave(100), old, new)


@pytest.mark.parametrize(
    "options", [{"rolloff": 1e-9}, {"rolloff": 5e-324}, {"zero_crossings": 10**9}]
)
def test_endless_filters_are_refused(options):
    with pytest.raises(ValueError, match="ask for a filter of more than"):
        sound.resample(wave(100), 16000, 8000, **options)


# ---------------------------------------------------------------------------------------------------------- properties

lengths = st.integers(65, 400)
seeds = st.integers(0, 2**16)
hops = st.integers(1, 64)
window_names = st.sampled_from(list(sound.WINDOWS))


@settings(max_examples=50, deadline=None)
@given(lengths, seeds, hops, window_names, st.floats(-3, 3))
def test_stft_is_linear(length, seed, hop, window, a):
    x, y = wave(length, seed=seed), wave(length, seed=seed + 1)
    together = sound.stft(a * x + y, 64, hop, window=window)
    apart = a * sound.stft(x, 64, hop, window=window) + sound.stft(y, 64, hop, window=window)
    torch.testing.assert_close(together, apart)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300), seeds)
def test_parseval(n, seed):
    x = wave(n, seed=seed)
    X = torch.fft.rfft(x)
    weight = torch.full(X.shape, 2.0, dtype=x.dtype)
    weight[0] = 1
    if n % 2 == 0:
        weight[-1] = 1
    energy = (weight * X.abs() ** 2).sum() / n
    torch.testing.assert_close(energy, (x**2).sum())
    torch.testing.assert_close((sound.dft(x).abs() ** 2).sum() / n, energy)


@settings(max_examples=50, deadline=None)
@given(st.integers(200, 400), seeds, hops, window_names, st.integers(1, 3))
def test_moving_by_whole_hops_moves_the_frames(length, seed, hop, window, steps):
    x = wave(length, seed=seed)
    options = {"n_fft": 64, "hop_length": hop, "window": window, "center": False}
    if length - steps * hop < 64:
        return
    torch.testing.assert_close(
        sound.stft(x[steps * hop :], **options), sound.stft(x, **options)[:, steps:]
    )


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 200), seeds, st.integers(0, 400))
def test_a_circular_shift_only_turns_phases(n, seed, shift):
    x = wave(n, seed=seed)
    k = torch.arange(n, dtype=torch.float64)
    turned = sound.dft(x) * torch.exp(-2j * math.pi * k * shift / n)
    torch.testing.assert_close(sound.dft(x.roll(shift)), turned, atol=1e-8, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(lengths, seeds, hops, window_names, st.integers(1, 64))
def test_round_trip_or_a_clear_error(length, seed, hop, window, win_length):
    x = wave(length, seed=seed)
    options = {"n_fft": 64, "hop_length": hop, "win_length": win_length, "window": window}
    X = sound.stft(x, **options)
    try:
        y = sound.istft(X, **options, length=length)
    except ValueError as problem:
        assert "no window covers" in str(problem) or "cannot return" in str(problem)  # noqa: PT017
    else:
        torch.testing.assert_close(y, x, atol=1e-6, rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 80), st.integers(1, 9))
def test_overlap_add_is_the_transpose_of_framing(hop, frame_length, T):
    """<overlap_add(F), x> = <F, frame(x)>: true of a matrix and its transpose, and of nothing else."""
    frames = wave(T, frame_length)
    x = wave(frame_length + hop * (T - 1), seed=1)
    left = (sound.overlap_add(frames, hop) * x).sum()
    torch.testing.assert_close(left, (frames * sound.frame(x, frame_length, hop)).sum())


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 40))
def test_dct_rows_are_orthonormal(n_out, more):
    C = sound.dct_matrix(n_out, n_out + more, dtype=torch.float64)
    torch.testing.assert_close(C @ C.T, torch.eye(n_out, dtype=torch.float64))


def test_batches_equal_single_examples():
    x = wave(2, 3, 4000)
    for front_end in (
        sound.MelSpectrogram(RATE, log="db", dtype=x.dtype),
        sound.MFCC(RATE, dtype=x.dtype),
        lambda x: sound.istft(sound.stft(x)),
        lambda x: sound.griffin_lim(sound.spectrogram(x, power=1), n_iter=2),
        lambda x: sound.resample(x, 3, 2),
        sound.dft,
    ):
        batch = front_end(x)
        assert batch.shape[:2] == (2, 3)
        torch.testing.assert_close(batch[1, 2], front_end(x[1, 2]))


# ----------------------------------------------------------------------------------------------------------- gradients

DIFFERENTIABLE = {
    "dft": sound.dft,
    "stft": lambda x: sound.stft(x, 16, 5, window="hamming"),
    "spectrogram": lambda x: sound.spectrogram(x, 16, 4),
    "round trip": lambda x: sound.istft(2 * sound.stft(x, 16, 4), 16, 4),
    "log-mel": sound.MelSpectrogram(8000, 64, 20, n_mels=8, log="ln", dtype=torch.float64),
    "MFCC": sound.MFCC(8000, 5, n_fft=64, hop_length=20, n_mels=8, log="ln", dtype=torch.float64),
    "resample": lambda x: sound.resample(x, 3, 2),
    "resample in groups": lambda x: sound.resample(x, 11127, 16000),
}


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients(name):
    x = wave(2, 64).requires_grad_()
    assert torch.autograd.gradcheck(DIFFERENTIABLE[name], (x,))


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_at_silence_are_finite(name):
    x = torch.zeros(2, 64, dtype=torch.float64, requires_grad=True)
    y = DIFFERENTIABLE[name](x)
    (y.abs() if y.is_complex() else y).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("power", [1, 2])
def test_gradient_of_decibels_at_silence_is_zero(power):
    x = torch.zeros(500, requires_grad=True)
    sound.power_to_db(sound.spectrogram(x, 64, power=power)).sum().backward()
    assert torch.equal(x.grad, torch.zeros(500))


# ------------------------------------------------------------------------------------------------- devices and modules


def test_nothing_is_left_on_the_cpu():
    """Forward passes on pretended CUDA tensors: any tensor that stayed behind raises. No GPU needed."""
    modules = [sound.MelSpectrogram(RATE, log="db"), sound.MFCC(RATE)]
    bank = sound.mel_filterbank(40, 400, RATE)
    mode = FakeTensorMode()
    for module in modules:
        for part in module.modules():
            for name, buffer in list(part.named_buffers(recurse=False)):
                setattr(part, name, mode.from_tensor(buffer))
    bank = mode.from_tensor(bank)
    with mode:
        x = torch.randn(2, 4000, device="cuda")
        window = sound.get_window("hamming", 400, device="cuda")
        X = sound.stft(x, 400, 100, window=window, normalized="window")
        power = sound.spectrogram(x)
        envelope = torch.ones(4000, device="cuda")
        outputs = [
            X,
            power,
            sound.dft(x[:, :64]),
            sound.power_to_db(power, top_db=80),
            sound.mel_to_power(bank.to("cuda") @ power, bank.to("cuda")),
            sound._synthesize(X, window, envelope, 100, 200),
            sound.resample(x, 16000, 8000),
            sound.hz_to_mel(x.abs(), "slaney"),
            *(module.to("cuda")(x) for module in modules),
        ]
    assert all(y.device.type == "cuda" for y in outputs)
    assert outputs[-2].shape == (2, 64, 41)
    assert outputs[-1].shape == (2, 13, 41)


def test_modules_have_no_parameters_and_no_state():
    module = sound.MFCC(RATE)
    assert list(module.parameters()) == []
    assert (
        module.state_dict() == {}
    )  # all of it follows from the settings: nothing to save, nothing to mismatch


# ----------------------------------------------------------------------------------------------------------- bad input

FRONT_ENDS = {
    "stft": sound.stft,
    "spectrogram": sound.spectrogram,
    "mel": sound.MelSpectrogram(RATE),
    "mfcc": sound.MFCC(RATE),
    "dft": sound.dft,
    "resample": lambda x: sound.resample(x, 2, 1),
}


@pytest.mark.parametrize("name", FRONT_ENDS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_are_refused(name, bad):
    x = wave(2, 1000, dtype=torch.float32)
    x[1, 500] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        FRONT_ENDS[name](x)


def test_large_finite_waves_are_not_mistaken_for_infinity():
    x = torch.full((4000,), 3e38)
    x[1::2] *= -1
    assert sound._is_finite(x)
    assert sound._is_finite(torch.full((4000,), 3e38))  # although their sum overflows
    assert sound.resample(x / 4, 2, 1).shape == (2000,)
    X = sound.dft(x[:4] / 4)
    assert torch.equal(X.abs().isfinite(), torch.ones(4, dtype=torch.bool))
    assert X[2].real == x[0]


OVERFLOWS = {
    "the DFT": lambda x: sound.dft(x),
    "the STFT": lambda x: sound.stft(x),
    "the spectrogram": lambda x: sound.spectrogram(x * 1e-16),
    "the mel spectrogram": lambda x: sound.MelSpectrogram(n_mels=2)(
        1.8e19 * (torch.arange(4000) == 2000)
    ),
    "the resampled wave": lambda x: sound.resample(
        torch.where(torch.arange(1000) % 100 < 50, x[:1000], -x[:1000]), 7, 8
    ),
    "the square": lambda x: sound.amplitude_to_db(x),
    "the wave": lambda x: sound.istft(torch.full((201, 9), 3e38, dtype=torch.complex64)),
    "the wave overflows torch.float32: the magnitude": lambda x: sound.griffin_lim(
        torch.full((201, 9), 3e38), window=torch.full((400,), 1e-4)
    ),
    "the power": lambda x: sound.mel_to_power(torch.full((2, 3), 3e38), torch.eye(2, 4) * 1e-3),
    "hertz": lambda x: sound.mel_to_hz(1e6),
}


@pytest.mark.parametrize("what", OVERFLOWS)
def test_overflow_is_an_error_and_no_infinity(what):
    with pytest.raises(ValueError, match=rf"{what}.* is too large, scale it down"):
        OVERFLOWS[what](torch.full((4000,), 3e38))


def spectra() -> dict:
    """Functions of a spectrum, each with the name of its argument and a good one."""
    bank = sound.mel_filterbank(4, 64, RATE)
    P = torch.ones(33, 9)
    return {
        "istft": (lambda X: sound.istft(X, 64), "X", torch.complex(P, P)),
        "griffin_lim": (lambda S: sound.griffin_lim(S, 64, n_iter=1), "magnitude", P),
        "power_to_db": (sound.power_to_db, "power", P),
        "amplitude_to_db": (sound.amplitude_to_db, "magnitude", P),
        "mel_to_power": (lambda mel: sound.mel_to_power(mel, bank), "mel", torch.ones(4, 9)),
        "filterbank": (lambda B: sound.mel_to_power(P, B), "filterbank", torch.ones(33, 40)),
        "magnitude": (lambda S: sound.spectral_convergence(S, P), "magnitude", P + 1),
        "target": (lambda S: sound.spectral_convergence(P, S), "target", P + 1),
        "hz_to_mel": (sound.hz_to_mel, "hz", P),
        "mel_to_hz": (sound.mel_to_hz, "mel", P),
    }


@pytest.mark.parametrize("name", spectra())
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_spectra_with_nan_or_infinity_are_refused(name, bad):
    call, argument, spectrum = spectra()[name]
    result = call(spectrum)
    assert math.isfinite(result) if isinstance(result, float) else result.isfinite().all()
    spectrum = spectrum.clone()
    spectrum[1, 2] = bad
    with pytest.raises(ValueError, match=rf"{argument} .*(NaN or infinity|finite)"):
        call(spectrum)


@pytest.mark.parametrize("name", [n for n in spectra() if not n.startswith(("hz", "mel_to_hz"))])
def test_empty_spectra_and_wrong_types_are_refused(name):
    call, argument, spectrum = spectra()[name]
    with pytest.raises(
        ValueError, match=rf"{argument} .*empty|needs shape|{argument} must hold numbers, none"
    ):
        call(spectrum[:, :0])
    with pytest.raises(TypeError, match=r"complex|real tensor|torch\.Tensor"):
        call(spectrum.numpy() if name != "istft" else [1, 2])
    with pytest.raises((TypeError, ValueError), match=r"complex|float32 or float64|needs shape"):
        call(torch.ones(33, 9, dtype=torch.int64) + (1j if "db" in name else 0))


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (torch.zeros(64), "zero everywhere"),
        (torch.full((64,), 1e-30), "zero everywhere .or too small to be squared in torch.float32"),
        (torch.full((64,), float("nan")), "NaN or infinity"),
        (torch.full((64,), float("inf")), "NaN or infinity"),
        (torch.full((64,), 1e30), "too large to be squared in torch.float32"),
        (torch.zeros(0), "the window is empty"),
    ],
)
def test_windows_that_leave_nothing_are_refused(window, message):
    x = wave(1000, dtype=torch.float32)
    X = sound.stft(x, 64)
    for call in (
        lambda: sound.stft(x, 64, window=window),
        lambda: sound.spectrogram(x, 64, window=window),
        lambda: sound.istft(X, 64, window=window),
        lambda: sound.griffin_lim(X.abs(), 64, window=window),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    if "square" not in message:
        for call in (sound.cola, sound.nola, lambda w, _: sound.side_lobe_level(w)):
            if message == "zero everywhere" and call in (sound.cola, sound.nola):
                assert call(window, 16) is False
            else:
                with pytest.raises(ValueError, match=r"NaN or infinity|is empty|add up to zero"):
                    call(window, 16)


def test_windows_of_wrong_types_are_refused():
    x = wave(1000, dtype=torch.float32)
    with pytest.raises(
        TypeError, match=r"the wave is torch\.float32, but the window is torch\.int64"
    ):
        sound.stft(x, 64, window=torch.ones(64, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"a name or a torch\.Tensor, got ndarray"):
        sound.stft(x, 64, window=np.ones(64))
    for call in (sound.cola, sound.nola, lambda w, _: sound.side_lobe_level(w)):
        with pytest.raises(
            TypeError, match=r"the window must be float32 or float64, got torch\.int64"
        ):
            call(torch.ones(64, dtype=torch.int64), 16)
        with pytest.raises(ValueError, match=r"a window has one axis, got shape \(2, 64\)"):
            call(torch.ones(2, 64), 16)
    for call in (
        lambda dtype: sound.get_window("hann", 64, dtype=dtype),
        lambda dtype: sound.mel_filterbank(4, 64, RATE, dtype=dtype),
        lambda dtype: sound.dct_matrix(4, 8, dtype=dtype),
    ):
        with pytest.raises(
            TypeError,
            match=r"dtype must be a floating-point type such as torch\.float32, got torch\.int64",
        ):
            call(torch.int64)
    with pytest.raises(TypeError, match=r"a DFT matrix is complex, dtype cannot be torch\.float32"):
        sound.dft_matrix(4, torch.float32)


def test_a_module_refuses_bad_settings_when_it_is_made():
    with pytest.raises(ValueError, match=r"window \(500 samples\) must fit into n_fft \(400\)"):
        sound.MelSpectrogram(n_fft=400, win_length=500)
    with pytest.raises(ValueError, match="hop_length must be"):
        sound.MFCC(hop_length=0)


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_wrong_types_and_empty_waves_are_refused(name):
    front_end = FRONT_ENDS[name]
    with pytest.raises(TypeError, match=r"int16.*pcm_to_float"):
        front_end(torch.zeros(1000, dtype=torch.int16))
    with pytest.raises(TypeError, match="float16"):
        front_end(torch.zeros(1000, dtype=torch.float16))
    with pytest.raises(TypeError, match=r"complex64"):
        front_end(torch.zeros(1000, dtype=torch.complex64))
    with pytest.raises(TypeError, match=r"ndarray.*as_tensor"):
        front_end(np.zeros(1000))
    for empty in (torch.zeros(0), torch.zeros(3, 0), torch.tensor(1.0)):
        with pytest.raises(ValueError, match="at least one sample"):
            front_end(empty)


def test_a_module_refuses_the_other_precision():
    with pytest.raises(
        TypeError, match=r"the wave is torch\.float64, but the window is torch\.float32"
    ):
        sound.MelSpectrogram(RATE)(wave(1000))


def test_pcm_integers_become_floats():
    for dtype in (torch.int16, torch.int32):
        info = torch.iinfo(dtype)
        x = sound.pcm_to_float(torch.tensor([info.min, 0, info.max], dtype=dtype))
        torch.testing.assert_close(x, torch.tensor([-1.0, 0.0, 1.0]), atol=4e-5, rtol=0)
        assert x.dtype == torch.float32
    assert sound.pcm_to_float(torch.tensor([0, 128], dtype=torch.uint8)).tolist() == [-1.0, 0.0]
    with pytest.raises(TypeError, match="int64"):
        sound.pcm_to_float(torch.zeros(3, dtype=torch.int64))


def test_silence_is_defined_everywhere():
    silence = torch.zeros(2, 4000)
    assert torch.equal(sound.spectrogram(silence), torch.zeros(2, 201, 41))
    assert torch.equal(
        sound.power_to_db(sound.spectrogram(silence)), torch.full((2, 201, 41), -100.0)
    )
    mfcc = sound.MFCC(RATE)(silence)
    torch.testing.assert_close(
        mfcc[:, 0], torch.full((2, 41), -100.0 * 8)
    )  # sqrt(64 bands) * their mean
    assert mfcc[:, 1:].abs().max() < 1e-4
    assert torch.equal(
        sound.MelSpectrogram(RATE, log="ln")(silence), torch.full((2, 64, 41), 1e-6).log()
    )
    assert torch.equal(sound.istft(sound.stft(silence), length=4000), silence)


def test_waves_shorter_than_a_window():
    x = wave(150)
    with pytest.raises(
        ValueError, match=r"mirroring 200 samples .* got 150: .*pad_mode='constant'"
    ):
        sound.stft(x)
    with pytest.raises(ValueError, match="150 samples, fewer than one frame of 400"):
        sound.stft(x, center=False)
    with pytest.raises(ValueError, match="mirroring 75 samples"):
        sound.stft(x[:75], 150)
    assert sound.stft(x[:76], 150).shape == (76, 3)
    X = sound.stft(x, pad_mode="constant")
    assert X.shape == (201, 2)
    torch.testing.assert_close(sound.istft(X, length=150), x)
    one = torch.tensor([0.5], dtype=torch.float64)
    torch.testing.assert_close(sound.istft(sound.stft(one, pad_mode="constant"), length=1), one)


@pytest.mark.parametrize("hop", [0, -1, 2.5, True, "4"])
def test_bad_hops_are_refused(hop):
    x = wave(1000)
    for call in (
        lambda: sound.stft(x, 64, hop),
        lambda: sound.istft(sound.stft(x, 64), 64, hop),
        lambda: sound.frame(x, 64, hop),
        lambda: sound.overlap_add(x[None], hop),
        lambda: sound.cola(x, hop),
        lambda: sound.griffin_lim(torch.ones(33, 9), 64, hop),
    ):
        with pytest.raises(ValueError, match="hop_length must be an integer of at least 1"):
            call()


def test_wrong_settings_are_named():
    x = wave(1000)
    X = sound.stft(x, 64)
    for match, call in {
        "n_fft must be": lambda: sound.stft(x, 0),
        "window must be one of 'rectangular'": lambda: sound.stft(x, window="kaiser"),
        r"window \(80 samples\) must fit into n_fft \(64\)": lambda: sound.stft(
            x, 64, win_length=80
        ),
        "window has shape": lambda: sound.stft(x, 64, window=torch.ones(2, 32, dtype=x.dtype)),
        "win_length is 32": lambda: sound.stft(
            x, 64, win_length=32, window=torch.ones(64, dtype=x.dtype)
        ),
        "win_length must be": lambda: sound.stft(x, 64, win_length=0),
        "pad_mode must be one of": lambda: sound.stft(x, pad_mode="edge"),
        "say which": lambda: sound.stft(x, normalized=True),
        "normalized must be one of": lambda: sound.istft(X, 64, normalized="n"),
        "power must be one of": lambda: sound.spectrogram(x, power=3),
        r"needs shape \(\.\.\., 33, M\)": lambda: sound.istft(X.mT, 64),
        "needs shape": lambda: sound.istft(X[:, :0], 64),
        "cannot return 0 samples": lambda: sound.istft(X, 64, length=0),
        "f_min": lambda: sound.mel_filterbank(10, 64, 16000, f_max=9000),
        "n_mels must be": lambda: sound.mel_filterbank(0, 64, 16000),
        "norm must be one of": lambda: sound.mel_filterbank(10, 64, 16000, norm="l2"),
        "mel_scale must be one of": lambda: sound.hz_to_mel(440.0, "bark"),
        "only 4 cosine coefficients": lambda: sound.dct_matrix(5, 4),
        "log must be one of": lambda: sound.MelSpectrogram(log="log10"),
        "log must be 'db' or 'ln'": lambda: sound.MFCC(log=None),
        "amin and ref must be positive": lambda: sound.power_to_db(X.abs(), amin=0),
        "ref must be positive": lambda: sound.power_to_db(X.abs(), ref=float("nan")),
        "top_db not negative": lambda: sound.power_to_db(X.abs(), top_db=float("nan")),
        "amin=1e-60 is nothing in torch.float32": lambda: sound.power_to_db(
            X.abs().float(), amin=1e-60
        ),
        "e-60 is nothing in torch.float32": lambda: sound.amplitude_to_db(
            X.abs().float(), amin=1e-30
        ),
        "hz must be finite and not negative": lambda: sound.hz_to_mel(-800.0),
        "mel must be finite and not negative": lambda: sound.mel_to_hz(-1.0),
        "lie too close for 10 bands": lambda: sound.mel_filterbank(
            10, 64, RATE, 1000.0, 1000.0000000000002
        ),
        "mel must be power, which is not negative": lambda: sound.mel_to_power(
            -torch.ones(4, 9), torch.ones(4, 33)
        ),
        "a filterbank": lambda: sound.mel_to_power(torch.ones(4), torch.ones(4, 33)),
        r"frames must be a tensor \(\.\.\., M, N\), got shape \(1000,\)": lambda: sound.overlap_add(
            x, 4
        ),
        r"frames must be .* \(0, 4\)": lambda: sound.overlap_add(torch.ones(0, 4), 4),
        r"differ in shape: \(33, 63\) and \(33, 1\)": lambda: sound.spectral_convergence(
            X.abs(), X.abs()[:, :1]
        ),
        "target is zero everywhere": lambda: sound.spectral_convergence(X.abs(), 0 * X.abs()),
        "so much larger than target": lambda: sound.spectral_convergence(
            torch.full((3, 3), 1e30), torch.full((3, 3), 1e-30)
        ),
        "add up to zero": lambda: sound.side_lobe_level(torch.tensor([1.0, -1.0])),
        "oversample must be": lambda: sound.side_lobe_level(torch.ones(9), oversample=0),
        "momentum must lie in": lambda: sound.griffin_lim(X.abs(), 64, momentum=1.0),
        "n_iter must be": lambda: sound.griffin_lim(X.abs(), 64, n_iter=-1),
        "is it in decibels": lambda: sound.griffin_lim(X.abs() - 1, 64),
        "rolloff must lie in": lambda: sound.resample(x, 2, 1, rolloff=0.0),
        "orig_freq must be": lambda: sound.resample(x, 0, 1),
        "no side lobe": lambda: sound.side_lobe_level(torch.ones(1)),
    }.items():
        with pytest.raises(ValueError, match=match):
            call()
    with pytest.raises(TypeError, match=r"frame needs a torch\.Tensor with at least one axis"):
        sound.frame(x.numpy(), 64, 16)
    with pytest.raises(TypeError, match=r"frame needs a torch\.Tensor with at least one axis"):
        sound.frame(x[0], 64, 16)
    with pytest.raises(TypeError, match=r"PCM samples must be a torch\.Tensor, got ndarray"):
        sound.pcm_to_float(np.zeros(4, dtype=np.int16))
    for call in (
        lambda: sound.istft(X.abs(), 64),
        lambda: sound.griffin_lim(X, 64),
        lambda: sound.istft(x.numpy()),
    ):
        with pytest.raises(TypeError, match="complex"):
            call()
