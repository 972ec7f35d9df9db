"""Our sound front ends against torchaudio's, in the same run: ``python benchmarks/sound.py``.

Both sides get the same wave and the same settings, and their results are compared before they are timed. Then they
run in turn, so that whatever else the machine does hits both alike. The number to read is the median of the ratios
ours / theirs of neighbouring runs: below 1, ours is faster.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
import torchaudio

from mmtutor import sound

RATE, N_FFT, HOP = 16000, 400, 160
AIM = 1.2


def cases(x: torch.Tensor) -> dict[str, tuple[Callable, Callable]]:
    """Name -> (ours, theirs): two functions of nothing that return the same tensor."""
    transforms = torchaudio.transforms
    mel = {"n_fft": N_FFT, "hop_length": HOP, "n_mels": 64}
    spectrogram = transforms.Spectrogram(N_FFT, hop_length=HOP)
    mel_spectrogram, our_mel = (
        transforms.MelSpectrogram(RATE, **mel),
        sound.MelSpectrogram(RATE, **mel),
    )
    # log_mels: torchaudio's decibel floor hangs below the peak of a whole batch, ours below each example's.
    mfcc = transforms.MFCC(RATE, n_mfcc=13, log_mels=True, melkwargs=mel)
    our_mfcc = sound.MFCC(RATE, n_mfcc=13, log="ln", **mel)
    window = torch.hann_window(N_FFT)
    X = torch.stft(x, N_FFT, HOP, window=window, return_complex=True)
    some = x[:4]
    magnitude = X[:4].abs()
    length = x.shape[-1]
    griffin = {"n_iter": 16, "momentum": 0.99, "length": length}
    return {
        "STFT": (
            lambda: sound.stft(x, N_FFT, HOP),
            lambda: torch.stft(x, N_FFT, HOP, window=window, return_complex=True),
        ),
        "spectrogram": (lambda: sound.spectrogram(x, N_FFT, HOP), lambda: spectrogram(x)),
        "mel spectrogram": (lambda: our_mel(x), lambda: mel_spectrogram(x)),
        "MFCC": (lambda: our_mfcc(x), lambda: mfcc(x)),
        "inverse STFT": (
            lambda: sound.istft(X, N_FFT, HOP, length=length),
            lambda: torch.istft(X, N_FFT, HOP, window=window, length=length),
        ),
        "Griffin-Lim, 16 steps": (
            lambda: sound.griffin_lim(magnitude, N_FFT, HOP, **griffin),
            lambda: torchaudio.functional.griffinlim(
                magnitude, window, N_FFT, HOP, N_FFT, power=1.0, rand_init=False, **griffin
            ),
        ),
        "resample 16 to 11.025 kHz": (
            lambda: sound.resample(some, 16000, 11025),
            lambda: torchaudio.functional.resample(some, 16000, 11025),
        ),
    }


def compare(ours: Callable, theirs: Callable, repeats: int) -> tuple[float, float, float, float]:
    """Median milliseconds of both, the median ratio, and the largest relative difference of their results."""
    a, b = ours(), theirs()
    difference = float((a - b).abs().max() / b.abs().max())
    times: list[tuple[float, float]] = []
    for i in range(repeats):
        pair = {}
        for name, run in (
            (("ours", ours), ("theirs", theirs)) if i % 2 else (("theirs", theirs), ("ours", ours))
        ):
            start = time.perf_counter()
            run()
            pair[name] = time.perf_counter() - start
        times.append((pair["ours"], pair["theirs"]))
    mine, other = (1000 * statistics.median(t) for t in zip(*times, strict=True))
    return mine, other, statistics.median(a / b for a, b in times), difference


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=31, help="runs of each side (default 31)")
    parser.add_argument("--batch", type=int, default=16, help="waves in the batch (default 16)")
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="seconds of each wave (default 4)"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads (default 1: least disturbed by others)"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    x = 0.1 * torch.randn(args.batch, round(args.seconds * RATE), generator=generator)

    print(
        f"# Sound: {args.batch} waves of {args.seconds:g} s at {RATE} Hz, window {N_FFT}, hop {HOP}, float32\n"
    )
    print(
        f"torch {torch.__version__}, torchaudio {torchaudio.__version__}, Python {platform.python_version()}, "
        f"{args.threads} thread(s); medians of {args.repeats} alternating runs\n"
    )
    print(
        "| what                      | ours, ms | torchaudio, ms | ratio | ratio <= 1.2 | largest difference |"
    )
    print(
        "|---------------------------|---------:|---------------:|------:|:------------:|-------------------:|"
    )
    for name, (ours, theirs) in cases(x).items():
        mine, other, ratio, difference = compare(ours, theirs, args.repeats)
        verdict = "yes" if ratio <= AIM else "NO"
        print(
            f"| {name:25} | {mine:8.2f} | {other:14.2f} | {ratio:5.2f} | {verdict:^12} | {difference:18.1e} |"
        )


if __name__ == "__main__":
    main()
