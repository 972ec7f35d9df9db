"""From a wave to a picture of sound and back: DFT, STFT, mel, MFCC, inverse STFT, Griffin-Lim.

Everything here is batched, differentiable PyTorch that runs on any device, written to be read from
top to bottom. A wave is a float tensor ``(..., T)`` with values around [-1, 1]; a time-frequency
array is ``(..., F, M)``: frequency upwards, time to the right, as one draws it. Libraries disagree
on many small choices; these are ours:

====================  ==========================================================================
choice                here
====================  ==========================================================================
DFT                   ``X[k] = sum_n x[n] exp(-2 pi i k n / N)``: no factor forward, ``1/N`` in
                      the inverse
window                periodic (``D = N``) Hann unless told otherwise; shorter than ``n_fft``:
                      zeros on both sides
hop                   ``n_fft // 4`` unless told otherwise
centring              frame ``m`` is centred on sample ``m * hop_length``; the ends are mirrored
                      (``reflect``)
frames                ``1 + T // hop_length`` centred (even ``n_fft``),
                      ``1 + (T - n_fft) // hop_length`` not centred
spectrogram           power ``|X|^2`` (``power=2``); magnitude is ``power=1``
decibel               ``10 log10`` of a power; the floor ``top_db`` hangs below the loudest value
                      *of each example*
mel                   HTK formula, triangles of height 1 (``norm=None``), straight in hertz
MFCC                  orthonormal DCT-II over the decibels of the mel bands
====================  ==========================================================================

A wave must be finite: NaN and infinity are refused, and so is a wave so loud that the result
overflows. (On a GPU the values are not looked at, because the host would have to wait for the
device at every call; there a NaN spoils the frames that contain it, and no others.)
"""

from __future__ import annotations

import cmath
import math
import warnings
from collections.abc import Callable
from numbers import Integral

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# --------------------------------------------------------------------------------------------------
# Checks. Sound code fails quietly: a wrong type or length gives a plausible picture. So ask first.
# --------------------------------------------------------------------------------------------------


def _check_wave(x: Tensor) -> None:
    _check_real("wave", x, "convert PCM integers with pcm_to_float()")
    if x.ndim == 0:
        raise ValueError("a wave needs at least one sample along its last axis, got shape ()")


def _check_real(name: str, x: Tensor, otherwise: str) -> None:
    """A tensor of float32 or float64 with at least one value, all finite; ``otherwise`` helps those
    with other types."""
    if not isinstance(x, Tensor):
        raise TypeError(
            f"the {name} must be a torch.Tensor, got {type(x).__name__}: use torch.as_tensor({name})"
        )
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"the {name} must be float32 or float64, got {x.dtype}: {otherwise}")
    if x.numel() == 0:
        raise ValueError(
            f"the {name} is empty, it needs at least one sample: got shape {tuple(x.shape)}"
        )
    if not _is_finite(x):
        raise ValueError(
            f"the {name} contains NaN or infinity: repair it first, e.g. with torch.nan_to_num({name})"
        )


def _is_finite(x: Tensor) -> bool:
    """False if a value is NaN or infinite; only looked at on the CPU."""
    if x.device.type != "cpu":
        return True
    x = x.detach()
    # The sum is one fast pass in any memory layout. It may overflow where no value did: only then
    # look at each.
    return cmath.isfinite(x.sum().item()) or bool(x.isfinite().all())


def _no_overflow(result: Tensor, what: str, source: str) -> Tensor:
    """``result`` itself, computed from a finite ``source``, if it is finite too."""
    if not _is_finite(result):
        raise ValueError(
            f"{what} overflows {result.dtype}: the {source} is too large, scale it down"
        )
    return result


def _check_dtype(dtype: torch.dtype) -> None:
    if not dtype.is_floating_point:
        raise TypeError(f"dtype must be a floating-point type such as torch.float32, got {dtype}")


def _check_count(**counts: int) -> None:
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")


def _check_choice(name: str, value: object, choices: tuple) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}")


def pcm_to_float(x: Tensor) -> Tensor:
    """Turn 16- or 32-bit PCM integers, or 8-bit unsigned ones, into float32 in [-1, 1).

    Raises TypeError for any other type: an int64 wave says nothing about its full scale.
    """
    if not isinstance(x, Tensor):
        raise TypeError(
            f"PCM samples must be a torch.Tensor, got {type(x).__name__}: use torch.as_tensor(samples)"
        )
    if x.dtype == torch.uint8:  # WAV files keep 8-bit samples unsigned, with silence at 128
        return (x.to(torch.float32) - 128) / 128
    if x.dtype not in (torch.int16, torch.int32):
        raise TypeError(f"PCM samples are uint8, int16 or int32, got {x.dtype}")
    return (x.to(torch.float64) / 2 ** (x.element_size() * 8 - 1)).to(torch.float32)


# --------------------------------------------------------------------------------------------------
# The discrete Fourier transform: how much of each frequency is in x?
# --------------------------------------------------------------------------------------------------


def dft_matrix(
    n: int, dtype: torch.dtype = torch.complex128, device: torch.device | str | None = None
) -> Tensor:
    """The ``(n, n)`` matrix ``W[k, t] = exp(-2 pi i k t / n)``: row k is a wave that turns k times.

    ``k t`` is reduced modulo n before the division, in whole numbers, so that large n loses no
    accuracy.
    """
    _check_count(n=n)
    if not dtype.is_complex:
        raise TypeError(f"a DFT matrix is complex, dtype cannot be {dtype}")
    t = torch.arange(n)
    turns = (t[:, None] * t[None, :]) % n  # (K, N)
    angle = -2 * math.pi * turns.to(torch.float64) / n
    return torch.polar(torch.ones_like(angle), angle).to(dtype).to(device)


def dft(x: Tensor) -> Tensor:
    """The DFT of a real wave ``(..., N)`` as a plain matrix product, ``(..., N)`` complex.

    It costs N^2 multiplications where ``torch.fft.fft`` needs about N log N; both give the same
    numbers. A real wave's second half mirrors its first, so ``torch.fft.rfft`` keeps only bins 0 to
    ``N // 2``.
    """
    _check_wave(x)
    complex_dtype = torch.complex64 if x.dtype == torch.float32 else torch.complex128
    matrix = dft_matrix(x.shape[-1], complex_dtype, x.device)
    # (..., N) @ (N, K); the matrix is symmetric, so .T only says which axis is which.
    X = x.to(complex_dtype) @ matrix.T
    return _no_overflow(X, "the DFT", "wave")


# --------------------------------------------------------------------------------------------------
# Windows: fade a frame in and out, so that its two ends meet and one tone stays one peak.
# --------------------------------------------------------------------------------------------------

# w[n] = a0 - a1 cos(2 pi n / D) + a2 cos(4 pi n / D)    (Harris 1978, "On the use of windows",
# table 1)
WINDOWS: dict[str, tuple[float, float, float]] = {
    "rectangular": (1.0, 0.0, 0.0),
    "hann": (0.5, 0.5, 0.0),
    "hamming": (0.54, 0.46, 0.0),
    "blackman": (0.42, 0.5, 0.08),
}


def get_window(
    name: str,
    length: int,
    periodic: bool = True,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """A window ``(length,)`` by name: rectangular, hann, hamming or blackman.

    ``periodic=True`` divides by ``D = length``: one period of an endless cosine, which overlap-add
    needs. ``periodic=False`` divides by ``D = length - 1``: first and last sample are equal, as
    filter design likes it.
    """
    _check_choice("window", name, tuple(WINDOWS))
    _check_count(length=length)
    _check_dtype(dtype)
    a0, a1, a2 = WINDOWS[name]
    if length == 1:
        return torch.ones(1, dtype=dtype, device=device)
    angle = (
        2
        * math.pi
        * torch.arange(length, dtype=torch.float64)
        / (length if periodic else length - 1)
    )
    window = (a0 - a1 * angle.cos() + a2 * (2 * angle).cos()).to(dtype)
    return window.to(device, non_blocking=True)  # a GPU's step need not wait for it


def side_lobe_level(window: Tensor, oversample: int = 64) -> float:
    """Height in dB of a window's highest side lobe, relative to its main lobe: how far a loud tone
    spills.

    The window's spectrum is sampled ``oversample`` times finer than its own bins. The main lobe
    ends where the spectrum first turns upwards again.

    Raises ValueError where the weights add up to zero (there is no main lobe) or the window has no
    side lobe.
    """
    _check_window(window)
    _check_count(oversample=oversample)
    if window.sum() == 0:
        raise ValueError("the window's weights add up to zero: it has no main lobe to compare with")
    spectrum = torch.fft.rfft(window.detach().double(), n=oversample * window.numel()).abs()  # (F,)
    rises = (spectrum[1:] > spectrum[:-1]).nonzero()
    if len(rises) == 0:
        raise ValueError(
            "this window's spectrum never rises again: it has no side lobe (is it shorter than 2?)"
        )
    return float(20 * torch.log10(spectrum[int(rises[0]) :].max() / spectrum[0]))


def _check_window(window: Tensor) -> None:
    _check_real("window", window, "build it with get_window()")
    if window.ndim != 1:
        raise ValueError(f"a window has one axis, got shape {tuple(window.shape)}")


def _fit_window(window: str | Tensor, win_length: int | None, n_fft: int, like: Tensor) -> Tensor:
    """Name or tensor -> ``(n_fft,)`` on the dtype and device of ``like``, with zeros on both sides
    if it is shorter."""
    if isinstance(window, str):
        win_length = n_fft if win_length is None else win_length
        _check_count(win_length=win_length)
        window = get_window(window, win_length, dtype=like.dtype, device=like.device)
    elif not isinstance(window, Tensor):
        raise TypeError(f"the window must be a name or a torch.Tensor, got {type(window).__name__}")
    elif window.ndim != 1 or win_length not in (None, window.numel()):
        raise ValueError(
            f"the window has shape {tuple(window.shape)}, but win_length is {win_length}"
        )
    elif window.dtype != like.dtype:
        raise TypeError(
            f"the wave is {like.dtype}, but the window is {window.dtype}: build both with the same dtype"
        )
    else:
        _check_energy(window)
    if window.numel() > n_fft:
        raise ValueError(f"the window ({window.numel()} samples) must fit into n_fft ({n_fft})")
    left = (n_fft - window.numel()) // 2
    return F.pad(window, (left, n_fft - window.numel() - left))


def _check_energy(window: Tensor) -> None:
    """A window must leave something of the wave: its squared weights must add up to a positive,
    finite number."""
    if window.numel() == 0:
        raise ValueError("the window is empty: it needs at least one weight")
    energy = float(window.detach().square().sum()) if window.device.type == "cpu" else 1.0
    if energy == 0:
        raise ValueError(
            f"the window is zero everywhere (or too small to be squared in {window.dtype})"
        )
    if not math.isfinite(energy):
        raise ValueError(
            f"the window contains NaN or infinity (or is too large to be squared in {window.dtype})"
        )


def _scale(window: Tensor, normalized: bool | str) -> Tensor | float:
    """The number that an STFT is divided by."""
    if normalized is True:
        raise ValueError(
            "normalized=True means 'frame_length' in torch.stft and 'window' in torchaudio: say which"
        )
    _check_choice("normalized", normalized, (False, "window", "frame_length"))
    if normalized == "window":
        return window.square().sum().sqrt()
    return math.sqrt(window.numel()) if normalized == "frame_length" else 1.0


# --------------------------------------------------------------------------------------------------
# The short-time Fourier transform: cut into frames, fade each one, take its DFT.
# --------------------------------------------------------------------------------------------------


def frame(x: Tensor, frame_length: int, hop_length: int) -> Tensor:
    """Cut ``(..., T)`` into overlapping frames ``(..., M, frame_length)``, one every ``hop_length``
    samples.

    A view, not a copy. Samples after the last whole frame are in no frame.
    """
    _check_count(frame_length=frame_length, hop_length=hop_length)
    if not isinstance(x, Tensor) or x.ndim == 0:
        raise TypeError(
            f"frame needs a torch.Tensor with at least one axis, got {type(x).__name__}"
        )
    if x.shape[-1] < frame_length:
        raise ValueError(
            f"the wave has {x.shape[-1]} samples, fewer than one frame of {frame_length}: pad it, use a smaller "
            "n_fft, or center=True"
        )
    return x.unfold(-1, frame_length, hop_length)


def stft(
    x: Tensor,
    n_fft: int = 400,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: str | Tensor = "hann",
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool | str = False,
) -> Tensor:
    """Short-time Fourier transform of ``(..., T)``: complex ``(..., n_fft // 2 + 1, M)``.

    Args:
        x: the wave, float32 or float64.
        n_fft: samples per DFT; bin k lies at ``k * sample_rate / n_fft`` hertz.
        hop_length: samples from one frame to the next; ``max(1, n_fft // 4)`` if None. A hop longer
            than the window is allowed, but the samples between frames are then lost, and ``istft``
            will say so.
        win_length: length of a window that is given by name; at most (and by default) ``n_fft``.
        window: a name from ``WINDOWS`` (periodic) or a tensor of at most ``n_fft`` weights.
        center: put frame m around sample ``m * hop_length`` by padding ``n_fft // 2`` samples on
            both sides.
        pad_mode: "reflect" (needs more than ``n_fft // 2`` samples) or "constant" (zeros).
        normalized: False, "window" (divide by the root of the summed squared window: torchaudio's
            True) or "frame_length" (divide by the root of ``n_fft``: ``torch.stft``'s True).

    Phases count from the first sample of each frame, as in ``torch.stft`` and librosa.
    """
    _check_wave(x)
    _check_count(n_fft=n_fft)
    _check_choice("pad_mode", pad_mode, ("reflect", "constant"))
    hop_length = max(1, n_fft // 4) if hop_length is None else hop_length
    window = _fit_window(window, win_length, n_fft, like=x)
    scale = _scale(window, normalized)
    if center:
        x = _pad_both_sides(x, n_fft // 2, pad_mode)
    frames = frame(x, n_fft, hop_length) * (window / scale)  # (..., M, N)
    return _no_overflow(torch.fft.rfft(frames), "the STFT", "wave").transpose(-1, -2)  # (..., F, M)


def _pad_both_sides(x: Tensor, n: int, mode: str) -> Tensor:
    if mode == "constant":
        return F.pad(x, (n, n))
    if x.shape[-1] <= n:
        raise ValueError(
            f"mirroring {n} samples at each end needs a wave longer than that, got {x.shape[-1]}: use a smaller "
            "n_fft or pad_mode='constant'"
        )
    flat = x.reshape(-1, x.shape[-1])  # reflect wants exactly (B, T)
    return F.pad(flat, (n, n), mode="reflect").reshape(*x.shape[:-1], x.shape[-1] + 2 * n)


def spectrogram(
    x: Tensor, n_fft: int = 400, hop_length: int | None = None, power: int = 2, **options
) -> Tensor:
    """``|STFT|^power`` of ``(..., T)``: real ``(..., F, M)``, power (2) or magnitude (1). Options
    as in ``stft``."""
    _check_choice("power", power, (1, 2))
    X = stft(x, n_fft, hop_length, **options)
    # Squares, not abs() then square: faster, and the gradient is right at silence too.
    S = X.real.square() + X.imag.square() if power == 2 else X.abs()
    return _no_overflow(S, "the spectrogram", "wave")


# --------------------------------------------------------------------------------------------------
# Decibels: ears hear ratios, so draw (and learn from) logarithms.
# --------------------------------------------------------------------------------------------------


def power_to_db(
    power: Tensor, ref: float = 1.0, amin: float = 1e-10, top_db: float | None = None
) -> Tensor:
    """``10 log10(max(power, amin) / ref)``. Silence becomes ``10 log10(amin / ref)``: -100 dB by
    default.

    ``top_db`` lifts everything further than that below the peak up to it. The peak is taken over
    the last two axes: one spectrogram at a time, so that a loud neighbour in the batch changes
    nothing.
    """
    _check_levels("power", power)
    if not (
        0 < amin < math.inf and 0 < ref < math.inf and (top_db is None or 0 <= top_db < math.inf)
    ):
        raise ValueError(
            f"amin and ref must be positive, top_db not negative; got {amin=}, {ref=}, {top_db=}"
        )
    if power.is_floating_point() and amin < torch.finfo(power.dtype).tiny:
        raise ValueError(
            f"amin={amin} is nothing in {power.dtype}, and the logarithm of nothing is not finite"
        )
    db = 10 * torch.log10(power.clamp(min=amin)) - 10 * math.log10(ref)
    if top_db is not None:
        db = db.maximum(db.amax(dim=(-2, -1) if db.ndim > 1 else -1, keepdim=True) - top_db)
    return db


def amplitude_to_db(
    magnitude: Tensor, ref: float = 1.0, amin: float = 1e-5, top_db: float | None = None
) -> Tensor:
    """``20 log10(max(magnitude, amin) / ref)``, which equals ``power_to_db`` of the squares."""
    _check_levels("magnitude", magnitude)
    power = _no_overflow(magnitude.square(), "the square", "magnitude")
    return power_to_db(power, ref**2, amin**2, top_db)


def _check_levels(name: str, x: Tensor) -> None:
    if not isinstance(x, Tensor) or x.is_complex():
        raise TypeError(
            f"{name} must be a real tensor, got {getattr(x, 'dtype', type(x).__name__)}"
        )
    if x.numel() == 0 or not _is_finite(x):
        raise ValueError(
            f"{name} must hold numbers, none of them NaN or infinity, got shape {tuple(x.shape)}"
        )


# --------------------------------------------------------------------------------------------------
# Mel: space the bands as ears do, closely at low frequencies and widely at high ones.
# --------------------------------------------------------------------------------------------------

MEL_SCALES = ("htk", "slaney")
_SLANEY_LOG_STEP = math.log(6.4) / 27  # above 1 kHz, 27 mel span a factor of 6.4


def hz_to_mel(hz: Tensor | float, mel_scale: str = "htk") -> Tensor:
    """Hertz to mel. HTK: ``2595 log10(1 + f / 700)``. Slaney: ``3 f / 200`` below 1 kHz,
    logarithmic above."""
    _check_choice("mel_scale", mel_scale, MEL_SCALES)
    hz = torch.as_tensor(hz, dtype=None if isinstance(hz, Tensor) else torch.float64)
    _check_pitch("hz", hz)
    if mel_scale == "htk":
        return 2595 * torch.log10(1 + hz / 700)
    return torch.where(
        hz < 1000, 3 * hz / 200, 15 + torch.log(hz.clamp(min=1000) / 1000) / _SLANEY_LOG_STEP
    )


def mel_to_hz(mel: Tensor | float, mel_scale: str = "htk") -> Tensor:
    """Mel to hertz: the inverse of ``hz_to_mel``."""
    _check_choice("mel_scale", mel_scale, MEL_SCALES)
    mel = torch.as_tensor(mel, dtype=None if isinstance(mel, Tensor) else torch.float64)
    _check_pitch("mel", mel)
    if mel_scale == "htk":
        return _no_overflow(700 * (10 ** (mel / 2595) - 1), "hertz", "mel")
    hz = torch.where(mel < 15, 200 * mel / 3, 1000 * torch.exp(_SLANEY_LOG_STEP * (mel - 15)))
    return _no_overflow(hz, "hertz", "mel")


def _check_pitch(name: str, values: Tensor) -> None:
    if values.device.type == "cpu" and not bool((values >= 0).all() and values.isfinite().all()):
        raise ValueError(f"{name} must be finite and not negative")


def mel_filterbank(
    n_mels: int,
    n_fft: int,
    sample_rate: int,
    f_min: float = 0.0,
    f_max: float | None = None,
    mel_scale: str = "htk",
    norm: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The ``(n_mels, n_fft // 2 + 1)`` matrix that gathers FFT bins into mel bands: ``mel =
    filterbank @ power``.

    ``n_mels + 2`` points stand evenly in mel from ``f_min`` to ``f_max`` (half the sample rate if
    None). Band i is a triangle, straight in hertz, that rises from point i, peaks at point i + 1
    and falls to point i + 2. ``norm=None``: every peak is 1. ``norm="slaney"``: every triangle has
    an area of 1 hertz (height 2 / width). A band too narrow to contain a bin stays empty; then a
    warning tells how to avoid it.
    """
    _check_count(n_mels=n_mels, n_fft=n_fft, sample_rate=sample_rate)
    _check_choice("norm", norm, (None, "slaney"))
    _check_dtype(dtype)
    f_max = sample_rate / 2 if f_max is None else f_max
    if not 0 <= f_min < f_max <= sample_rate / 2:
        raise ValueError(
            f"need 0 <= f_min < f_max <= {sample_rate / 2} (half the sample rate), got {f_min=}, {f_max=}"
        )
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate / n_fft  # (F,) hertz
    low, high = hz_to_mel(f_min, mel_scale), hz_to_mel(f_max, mel_scale)
    points = mel_to_hz(
        low + (high - low) * torch.linspace(0, 1, n_mels + 2, dtype=torch.float64), mel_scale
    )
    if not bool((points.diff() > 0).all()):
        raise ValueError(
            f"{f_min=} and {f_max=} lie too close for {n_mels} bands: their corners fall together"
        )
    left, peak, right = points[:-2, None], points[1:-1, None], points[2:, None]  # (n_mels, 1) each
    # (n_mels, F): the lower of the rising and the falling line, where it is above zero.
    bank = torch.minimum((bins - left) / (peak - left), (right - bins) / (right - peak)).clamp(
        min=0
    )
    if norm == "slaney":
        bank = bank * 2 / (right - left)
    empty = int((bank.amax(dim=1) == 0).sum())
    if empty:
        warnings.warn(
            f"{empty} of {n_mels} mel bands contain no FFT bin: use fewer bands or a larger n_fft",
            stacklevel=2,
        )
    return bank.to(dtype)


def dct_matrix(n_out: int, n_in: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The first ``n_out`` rows of the orthonormal DCT-II over ``n_in`` values: ``(n_out, n_in)``.

    ``C[q, i] = s_q cos(pi / n_in (i + 1/2) q)``, ``s_0 = sqrt(1 / n_in)``, else ``sqrt(2 / n_in)``:
    rows are orthonormal, so the transpose undoes it (exactly if ``n_out == n_in``).
    """
    _check_count(n_out=n_out, n_in=n_in)
    if n_out > n_in:
        raise ValueError(f"{n_in} values have only {n_in} cosine coefficients, not {n_out}")
    _check_dtype(dtype)
    q, i = torch.arange(n_out, dtype=torch.float64), torch.arange(n_in, dtype=torch.float64)
    # (n_out, n_in)
    matrix = torch.cos(math.pi / n_in * (i + 0.5) * q[:, None]) * math.sqrt(2 / n_in)
    matrix[0] /= math.sqrt(2)
    return matrix.to(dtype)


# --------------------------------------------------------------------------------------------------
# Ready-made front ends: the same steps with window and matrices kept as buffers, so that
# `.to("cuda")` moves them.
# --------------------------------------------------------------------------------------------------


class MelSpectrogram(nn.Module):
    """Wave ``(..., T)`` to mel power ``(..., n_mels, M)``, or to its logarithm.

    Args:
        sample_rate, n_mels, f_min, f_max, mel_scale, norm: as in ``mel_filterbank``.
        n_fft, hop_length, win_length, window, center, pad_mode, normalized: as in ``stft``.
        log: None (mel power), "db" (``power_to_db`` with ``top_db``) or "ln" (natural log of mel +
            1e-6).
        top_db: range of the decibels below each example's peak; None for no floor. Only for
            ``log="db"``.
        dtype: float32 or float64; waves must come in the same.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        n_fft: int = 400,
        hop_length: int | None = None,
        win_length: int | None = None,
        window: str = "hann",
        n_mels: int = 64,
        f_min: float = 0.0,
        f_max: float | None = None,
        mel_scale: str = "htk",
        norm: str | None = None,
        log: str | None = None,
        top_db: float | None = 80.0,
        center: bool = True,
        pad_mode: str = "reflect",
        normalized: bool | str = False,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__()
        _check_choice("log", log, (None, "db", "ln"))
        bank = mel_filterbank(n_mels, n_fft, sample_rate, f_min, f_max, mel_scale, norm, dtype)
        weights = get_window(window, n_fft if win_length is None else win_length, dtype=dtype)
        _fit_window(weights, win_length, n_fft, like=weights)  # checks that it fits
        _check_count(hop_length=1 if hop_length is None else hop_length)
        self.n_fft, self.hop_length, self.log, self.top_db = n_fft, hop_length, log, top_db
        self.options = {"center": center, "pad_mode": pad_mode, "normalized": normalized}
        self.register_buffer("window", weights, persistent=False)
        self.register_buffer("filterbank", bank, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        # (..., F, M)
        power = spectrogram(x, self.n_fft, self.hop_length, window=self.window, **self.options)
        # filterbank @ power, transposed twice: the whole batch becomes one matrix product.
        mel = (power.transpose(-1, -2) @ self.filterbank.T).transpose(-1, -2)  # (..., n_mels, M)
        mel = _no_overflow(mel, "the mel spectrogram", "wave")
        if self.log == "db":
            return power_to_db(mel, top_db=self.top_db)
        return torch.log(mel + 1e-6) if self.log == "ln" else mel


class MFCC(nn.Module):
    """Wave ``(..., T)`` to mel-frequency cepstral coefficients ``(..., n_mfcc, M)``.

    A short description of a spectrum's shape: coefficient 0 is its loudness, 1 its tilt, the next
    ones its broad bumps; pitch, a fine ripple, lies in the high coefficients that are cut off.
    ``mel_options`` go to ``MelSpectrogram`` (whose ``log`` is "db" here unless told otherwise).
    """

    def __init__(self, sample_rate: int = 16000, n_mfcc: int = 13, **mel_options):
        super().__init__()
        self.log_mel = MelSpectrogram(sample_rate, **{"log": "db", **mel_options})
        bank = self.log_mel.filterbank
        if self.log_mel.log is None:
            raise ValueError("MFCCs are taken from logarithms: log must be 'db' or 'ln'")
        self.register_buffer("dct", dct_matrix(n_mfcc, bank.shape[0], bank.dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        # (..., n_mfcc, M)
        return (self.log_mel(x).transpose(-1, -2) @ self.dct.T).transpose(-1, -2)


def mel_to_power(mel: Tensor, filterbank: Tensor) -> Tensor:
    """Guess the power spectrogram ``(..., F, M)`` behind mel bands ``(..., n_mels, M)``.

    Many spectra share the same bands. This is the one of least energy (the pseudo-inverse), with
    negative values set to zero.
    """
    _check_real("mel", mel, "take it from MelSpectrogram")
    _check_real("filterbank", filterbank, "take it from mel_filterbank")
    if mel.ndim < 2 or filterbank.ndim != 2:
        raise ValueError(
            f"need mel (..., n_mels, M) and a filterbank (n_mels, F), got {mel.shape} and {filterbank.shape}"
        )
    if mel.shape[-2] != filterbank.shape[0]:
        raise ValueError(f"mel has {mel.shape[-2]} bands, the filterbank {filterbank.shape[0]}")
    if mel.device.type == "cpu" and bool(mel.min() < 0):
        raise ValueError("mel must be power, which is not negative (is it in decibels?)")
    return _no_overflow((torch.linalg.pinv(filterbank) @ mel).clamp(min=0), "the power", "mel")


# --------------------------------------------------------------------------------------------------
# And back. Overlap-add: put every frame where it came from and add up what overlaps.
# --------------------------------------------------------------------------------------------------


def overlap_add(frames: Tensor, hop_length: int) -> Tensor:
    """Add frames ``(..., M, N)`` up, each ``hop_length`` after the one before: ``(..., N +
    hop_length * (M - 1))``."""
    _check_count(hop_length=hop_length)
    if not isinstance(frames, Tensor) or frames.ndim < 2 or 0 in frames.shape[-2:]:
        raise ValueError(
            f"frames must be a tensor (..., M, N), got shape {tuple(getattr(frames, 'shape', ()))}"
        )
    *batch, M, N = frames.shape
    R = math.ceil(N / hop_length)  # a frame spans R slots of one hop each
    slots = F.pad(frames, (0, R * hop_length - N)).unflatten(-1, (R, hop_length))  # (..., M, R, H)
    out = frames.new_zeros(*batch, M + R - 1, hop_length)
    for r in range(R):  # slot r of frame m lands in slot m + r
        out[..., r : r + M, :] += slots[..., r, :]
    return out.flatten(-2)[..., : N + hop_length * (M - 1)]


def _steady_sum(weights: Tensor, hop_length: int) -> Tensor:
    """What the weights add up to, far from the ends, over one hop: ``(hop_length,)``."""
    _check_count(hop_length=hop_length)
    return (
        F.pad(weights, (0, -weights.numel() % hop_length))
        .unflatten(-1, (-1, hop_length))
        .sum(dim=0)
    )


def cola(window: Tensor, hop_length: int, tol: float = 1e-6) -> bool:
    """Constant overlap-add: do the shifted windows add up to a constant (within ``tol`` of their
    mean)?

    Then frames can be added up without any division.
    """
    _check_window(window)
    total = _steady_sum(window.detach().double(), hop_length)
    return bool((total - total.mean()).abs().max() <= tol * total.mean().abs()) and bool(
        total.mean() != 0
    )


def nola(window: Tensor, hop_length: int, tol: float = 1e-10) -> bool:
    """Nonzero overlap-add: do the shifted *squared* windows stay above ``tol`` everywhere?

    This weaker condition is all that ``istft`` needs, because it divides by that sum.
    """
    _check_window(window)
    return bool(_steady_sum(window.detach().double().square(), hop_length).min() > tol)


def istft(
    X: Tensor,
    n_fft: int = 400,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: str | Tensor = "hann",
    center: bool = True,
    normalized: bool | str = False,
    length: int | None = None,
) -> Tensor:
    """Inverse of ``stft``: complex ``(..., F, M)`` to the wave ``(..., length)``.

    ``x[n] = sum_m w[n - mH] y_m[n - mH] / sum_m w^2[n - mH]`` with ``y_m`` the inverse DFT of frame
    m: the wave whose STFT is nearest to X in the least-squares sense (Griffin and Lim 1984,
    equation 6). If X is the STFT of a wave, it is that wave.

    Args: as in ``stft``; ``length`` is the number of samples to return (an STFT does not keep it).
    By default all that the frames hold, less the padding: ``hop_length * (M - 1)`` if centred with
    an even ``n_fft``.

    Raises ValueError where windows do not cover a sample (the NOLA condition), where ``length``
    reaches beyond the last frame, and where X is not finite or so large that the wave overflows.
    """
    if not isinstance(X, Tensor) or X.dtype not in (torch.complex64, torch.complex128):
        raise TypeError(
            f"istft needs a complex64 or complex128 tensor, got {getattr(X, 'dtype', type(X).__name__)}"
        )
    _check_bins(X, n_fft)
    if not _is_finite(X):
        raise ValueError("X contains NaN or infinity: no wave has such an STFT")
    hop_length = max(1, n_fft // 4) if hop_length is None else hop_length
    _check_count(hop_length=hop_length)
    window = _fit_window(window, win_length, n_fft, like=X.real)
    M = X.shape[-1]
    start, total = (n_fft // 2 if center else 0), n_fft + hop_length * (M - 1)
    if length is None:
        length = total - 2 * start
    if not isinstance(length, int) or not 1 <= length <= total - start:
        raise ValueError(
            f"{M} frame(s) cover samples 0 to {total - start}; cannot return {length} samples"
        )
    envelope = overlap_add(window.square().expand(M, n_fft), hop_length)[start : start + length]
    bare = (envelope <= 1e-10).nonzero()
    if len(bare):
        raise ValueError(
            f"cannot invert: no window covers sample {int(bare[0])} (NOLA fails for {len(bare)} of {length} samples). "
            "Use a smaller hop_length, center=True, or a window without zeros"
        )
    x = _synthesize(X, window * _scale(window, normalized), envelope, hop_length, start)
    return _no_overflow(x, "the wave", "STFT")


def _check_bins(X: Tensor, n_fft: int) -> None:
    _check_count(n_fft=n_fft)
    if X.ndim < 2 or X.shape[-2] != n_fft // 2 + 1 or X.numel() == 0:
        raise ValueError(
            f"n_fft={n_fft} needs shape (..., {n_fft // 2 + 1}, M), got {tuple(X.shape)}"
        )


def _synthesize(X: Tensor, window: Tensor, envelope: Tensor, hop_length: int, start: int) -> Tensor:
    frames = torch.fft.irfft(X.transpose(-1, -2), n=window.numel()) * window  # (..., M, N)
    return overlap_add(frames, hop_length)[..., start : start + envelope.numel()] / envelope


def griffin_lim(
    magnitude: Tensor,
    n_fft: int = 400,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: str | Tensor = "hann",
    n_iter: int = 32,
    momentum: float = 0.99,
    length: int | None = None,
    generator: torch.Generator | None = None,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Find a wave ``(..., length)`` whose centred STFT has (nearly) the given magnitude ``(..., F,
    M)``.

    From some phase, go to the wave and back: few arrays are the STFT of any wave, so both magnitude
    and phase come back changed. Keep the phase, put the wanted magnitude back, repeat (Griffin and
    Lim 1984). With ``momentum > 0`` each step is continued a little in its own direction
    (Perraudin, Balazs and Soendergaard 2013): ``c_i = t_i + momentum (t_i - t_{i-1})``, where
    ``t_i`` is the STFT that came back.

    Each example is brought to a peak near 1 for the search and back again, so a faint one comes out
    like a loud one.

    Args:
        magnitude: not negative; the *magnitude* (``power=1``) of an unnormalised, centred STFT.
        n_fft, hop_length, win_length, window, length: as in ``istft``.
        n_iter: how often to go there and back; 0 just inverts the first guess.
        momentum: 0 (plain) up to, but not including, 1.
        generator: random first phases from it; None starts with phase zero everywhere.
        on_step: called as ``on_step(i, wave)`` with the wave before each step i.
    """
    if not isinstance(magnitude, Tensor) or magnitude.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            "magnitude must be a float32 or float64 tensor; of a complex STFT take .abs()"
        )
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
    if isinstance(n_iter, bool) or not isinstance(n_iter, int) or n_iter < 0:
        raise ValueError(f"n_iter must be an integer of at least 0, got {n_iter!r}")
    _check_bins(magnitude, n_fft)
    if magnitude.device.type == "cpu" and not bool(
        (magnitude >= 0).all() and magnitude.isfinite().all()
    ):
        raise ValueError("magnitude must be finite and not negative (is it in decibels?)")
    hop_length = max(1, n_fft // 4) if hop_length is None else hop_length
    window = _fit_window(window, win_length, n_fft, like=magnitude)
    loudness = _binary_size(magnitude.amax(dim=(-2, -1), keepdim=True))
    magnitude, loudness = magnitude / loudness, loudness[..., 0]  # (..., F, M), (..., 1)
    phase = torch.zeros_like(magnitude)
    if generator is not None:
        uniform = torch.rand(
            magnitude.shape, generator=generator, dtype=magnitude.dtype, device=generator.device
        )
        phase = 2 * math.pi * uniform.to(magnitude.device)
    target = torch.polar(magnitude, phase)  # (..., F, M)
    # The first call also checks shapes and NOLA.
    x = istft(target, n_fft, hop_length, window=window, length=length)
    envelope = overlap_add(window.square().expand(target.shape[-1], n_fft), hop_length)
    envelope = envelope[n_fft // 2 : n_fft // 2 + x.shape[-1]]
    previous = None
    for i in range(n_iter):
        if on_step is not None:
            on_step(i, x * loudness)
        projected = stft(x, n_fft, hop_length, window=window)
        # c_i
        ahead = projected if previous is None else torch.lerp(previous, projected, 1 + momentum)
        previous = projected
        # The phase of c_i, the magnitude that we want.
        target = ahead * (magnitude / ahead.abs().clamp(min=1e-16))
        x = _synthesize(target, window, envelope, hop_length, n_fft // 2)
    return _no_overflow(x * loudness, "the wave", "magnitude")


def _binary_size(peak: Tensor) -> Tensor:
    """The largest power of two up to ``peak`` (1 for zero): to divide by it brings numbers near 1
    and rounds nothing."""
    return torch.where(peak > 0, peak / (2 * torch.frexp(peak).mantissa), torch.ones_like(peak))


def spectral_convergence(magnitude: Tensor, target: Tensor) -> float:
    """How far a magnitude is from the wanted one: ``20 log10(||magnitude - target|| / ||target||)``
    in dB.

    Both of one shape; minus infinity where they are equal. Raises ValueError where the target is
    zero everywhere.
    """
    _check_real("magnitude", magnitude, "of a complex STFT take .abs()")
    _check_real("target", target, "of a complex STFT take .abs()")
    if magnitude.shape != target.shape:
        raise ValueError(
            f"magnitude and target differ in shape: {tuple(magnitude.shape)} and {tuple(target.shape)}"
        )
    if not bool(target.any()):
        raise ValueError("the target is zero everywhere: no distance is relative to it")
    size = _binary_size(target.abs().max())  # faint numbers would vanish when they are squared
    magnitude, target = magnitude / size, target / size
    error = torch.linalg.vector_norm(magnitude - target) / torch.linalg.vector_norm(target)
    if bool(error.isinf()):
        raise ValueError(
            f"magnitude is so much larger than target that their distance overflows {error.dtype}"
        )
    return float(20 * torch.log10(error))


# --------------------------------------------------------------------------------------------------
# Another sample rate.
# --------------------------------------------------------------------------------------------------


MAX_RATE, MAX_FACTOR = 1_000_000, 1000
_FILTERS = 2**20  # so many weights may stand in one matrix


def _check_rates(**rates: int) -> None:
    for name, rate in rates.items():
        if isinstance(rate, bool) or not isinstance(rate, Integral) or not 1 <= rate <= MAX_RATE:
            raise ValueError(
                f"{name} must be a whole number from 1 to {MAX_RATE} hertz, got {rate!r}"
            )
    if max(rates.values()) > MAX_FACTOR * min(rates.values()):
        named = " and ".join(f"{name}={rate}" for name, rate in rates.items())
        raise ValueError(f"{named} lie further apart than a factor of {MAX_FACTOR}")


def resample(
    x: Tensor, orig_freq: int, new_freq: int, zero_crossings: int = 6, rolloff: float = 0.99
) -> Tensor:
    """Change the sample rate of ``(..., T)``: ``(..., ceil(T * new_freq / orig_freq))``.

    A band-limited wave is a sum of sinc pulses, one a sample; read it off at the new times. Each
    pulse is faded out by a Hann window after ``zero_crossings`` zeros, and frequencies above
    ``rolloff`` times the lower of the two Nyquist limits are removed, or they would come back as
    others (aliasing). (Smith, "Digital audio resampling".)

    The new times repeat their position between old samples after ``orig / gcd`` samples, so a few
    fixed filters, one a position, are enough: frames times a matrix, like the DFT. Rates without a
    common divisor need as many filters as there are new samples in a second; these are made and
    used a group at a time, so that memory stays small.

    Rates are whole numbers from 1 to ``MAX_RATE`` hertz, at most a factor of ``MAX_FACTOR`` apart.
    """
    _check_wave(x)
    _check_rates(orig_freq=orig_freq, new_freq=new_freq)
    _check_count(zero_crossings=zero_crossings)
    if not 0 < rolloff <= 1:
        raise ValueError(f"rolloff must lie in (0, 1], got {rolloff}")
    common = math.gcd(orig_freq, new_freq)
    old, new = int(orig_freq) // common, int(new_freq) // common
    if old == new:
        return x
    cutoff = rolloff * min(1.0, new / old)  # as a share of the old Nyquist limit
    if zero_crossings > cutoff * _FILTERS / 4:
        raise ValueError(
            f"{zero_crossings=} and {rolloff=} ask for a filter of more than {_FILTERS // 2} samples"
        )
    width = math.ceil(zero_crossings / cutoff)  # old samples on either side that a new one looks at
    T = x.shape[-1]
    length = -(-T * new // old)  # rounded up
    group = _group_size(old, new, width)
    # Old samples that a group looks at.
    span = 2 * width + (old if group == new else group * old // new + 2)
    x = F.pad(x, (width, span if group == new else span + old))
    parts = []
    for first in range(0, min(new, length), group):
        index = torch.arange(first, min(first + group, new), dtype=torch.float64)
        position = index[:, None] * old / new  # of the new samples, counted in old ones
        # (group, 2 width + 1): which old samples each one hears
        taps = position.long() + torch.arange(2 * width + 1)
        distance = cutoff * (taps - width - position)
        fade = torch.cos(math.pi / 2 * (distance / zero_crossings).clamp(-1, 1)).square()
        weights = cutoff * torch.sinc(distance) * fade
        start = first * old // new
        filters = torch.zeros(len(index), span, dtype=torch.float64).scatter(
            1, taps - start, weights
        )
        # A frame for every period of the positions, the last one perhaps in part.
        blocks = frame(
            x[..., start : start + T // old * old + span], span, old
        )  # (…, blocks, span)
        parts.append(blocks @ filters.to(x.dtype).to(x.device).T)  # (..., blocks, group)
    y = torch.cat(parts, dim=-1).flatten(-2)[..., :length]
    return _no_overflow(y, "the resampled wave", "wave")


def _group_size(old: int, new: int, width: int) -> int:
    """How many filters to make at a time: all, or so many that their matrix is small and not mainly
    zeros."""
    if new * (old + 2 * width) <= _FILTERS:
        return new
    small = _FILTERS / 16
    return max(1, int(min(new, math.sqrt(small * new / old), small / (2 * width + 2))))
