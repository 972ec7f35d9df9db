"""Waves as the sound networks read them: one channel, one rate, numbers in [−1, 1].

Sound fails quietly. A wave of another rate is another pitch, two channels side by side look like a
batch of two, and 16-bit integers are 32,768 times too loud; a network hears all of them without a
word, and gives plausible nonsense. So :func:`to_wave` asks of what comes from a file or a
microphone, and :func:`check_waves` of what reaches a model.

What is no mistake stays as it is: silence, and a recording that was cut off at ±1.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmtutor.kit.vision import finite
from mmtutor.sound import pcm_to_float, resample

CHANNELS = ("refuse", "first", "mean")


def to_wave(
    samples: Tensor | np.ndarray,
    rate: int,
    wanted: int,
    *,
    resampled: bool = False,
    channel: str = "refuse",
) -> Tensor:
    """A recording as one wave of the wanted rate.

    Args:
        samples: (T,), or (channels, T): numbers in [−1, 1], or PCM integers of 8 (unsigned), 16 or
            32 bits.
        rate: samples a second that it was recorded with.
        wanted: samples a second that the network reads.
        resampled: bring another rate to the wanted one (:func:`mmtutor.sound.resample`); without
            it, another rate is an error.
        channel: what to do with two channels or more: ``"refuse"``, keep the ``"first"``
            (SoundNet's program), or take their ``"mean"``. One channel is always taken.

    Returns:
        float32 (L,) in [−1, 1]; L = ⌈T · wanted / rate⌉.

    Raises:
        TypeError: no numbers, or integers that say nothing about their full scale.
        ValueError: no sample, another shape, several channels, another rate, NaN, or numbers beyond
            [−1, 1]. The message says what to do.
    """
    if channel not in CHANNELS:
        raise ValueError(f"channel must be one of {CHANNELS}, got {channel!r}")
    if isinstance(samples, np.ndarray) and samples.dtype.kind in "fiu":
        samples = torch.from_numpy(np.ascontiguousarray(samples))
    if not isinstance(samples, Tensor):
        got = getattr(samples, "dtype", type(samples).__name__)
        raise TypeError(f"samples must be a tensor or an array of numbers, got {got}")
    shape = tuple(samples.shape)
    if samples.ndim not in (1, 2) or 0 in shape:
        raise ValueError(f"samples must be (T,) or (channels, T), at least one, got {shape}")
    if samples.ndim == 2 and shape[0] > 1 and channel == "refuse":
        more = "; do channels come last? transpose it" if shape[0] > shape[1] else ""
        raise ValueError(
            f"the wave has {shape[0]} channels, and one is read: choose channel='first' or "
            f"channel='mean'{more}"
        )
    x = numbers(samples).float()
    if x.ndim == 2:
        x = x.mean(0) if channel == "mean" else x[0]
    check_values(x)
    if rate == wanted:
        return x
    if not resampled:
        raise ValueError(
            f"the wave has {rate} samples a second, and {wanted} are read: it would sound higher "
            "or lower than it is; give resampled=True"
        )
    return resample(x, rate, wanted).clamp(-1, 1)  # a little ripple may pass a peak


def check_waves(waves: Tensor) -> Tensor:
    """Waves (B, L) for a model, checked; PCM integers of 8, 16 or 32 bits become numbers in
    [−1, 1), and half precision becomes the default.

    Raises:
        TypeError: no tensor, or another type of integers.
        ValueError: another shape, no sample; or (on the CPU) NaN, infinity or numbers beyond
            [−1, 1].
    """
    if not isinstance(waves, Tensor):
        raise TypeError(f"waves must be a tensor (B, L), got {type(waves).__name__}")
    if waves.ndim != 2 or 0 in waves.shape:
        more = "; to_wave() makes one channel of two" if waves.ndim == 3 else ""
        raise ValueError(f"waves must be (B, L), none of them 0, got {tuple(waves.shape)}{more}")
    x = numbers(waves)
    if x.device.type == "cpu":
        check_values(x)
    return x


def numbers(samples: Tensor) -> Tensor:
    """PCM integers as numbers in [−1, 1); half precision as the default; other numbers as they
    are."""
    if not samples.is_floating_point():
        return pcm_to_float(samples)
    half = samples.dtype in (torch.float16, torch.bfloat16)
    return samples.to(torch.get_default_dtype()) if half else samples


def check_values(x: Tensor) -> None:
    """Raise a ValueError unless all numbers are finite and lie in [−1, 1]."""
    x = x.detach()
    if not finite(x):
        raise ValueError("the wave holds NaN or infinity")
    low, high = x.aminmax()
    peak = max(-float(low), float(high))
    if peak > 1:
        raise ValueError(
            f"a wave lies in [-1, 1], got a peak of {peak:.4g}; divide 16-bit numbers by 32768, "
            "cut off what is a little louder with clamp(-1, 1)"
        )
