"""Fusion on the command line: learn from pictures and sounds of the same things, and name a thing
that is seen and heard."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmtutor import fusion, hub
from mmtutor.cli import files
from mmtutor.cli.data import HELD_BACK, Eyes, encoder_of, seen_in, seen_of, with_eyes
from mmtutor.cli.task import Recipe, Task, batches, none_kept, source, threads_of
from mmtutor.hub.decoded import PICTURES, SOUNDS
from mmtutor.hub.found import SPLIT_NAMES, visible
from mmtutor.kit import saving, training
from mmtutor.kit.arrays import column
from mmtutor.kit.runtime import device
from mmtutor.sound import MelSpectrogram, pcm_to_float, power_to_db
from mmtutor.world.sounds import sounding

RATE, BANDS, MOMENTS = 16000, 40, 12  # of a sound: bands at moments, whatever it lasts
LONGEST, SHORTEST = 10.0, 0.1  # seconds of a sound that are read; shorter ones are repeated
MISSING = (0.5, 0.2)  # how often picture and sound are missing in training, as in the chapter


class Fusing(Task):
    """In the world portraits meet the sounds of their things; in a folder each picture of a thing
    meets one of its sounds."""

    system = "fusion"
    says = "the name of a thing that is seen and heard (Wang et al. 2020; Neverova et al. 2016)"
    then = "name"
    folders = True
    holds = "pictures and sounds in folders with the names of things: dog/rex.jpg, dog/bark.wav"
    config = fusion.Config
    model = fusion.Fusion
    fixed = ("inputs", "classes")
    recipes: ClassVar[dict[str, Recipe]] = {
        "world": Recipe(800, 64, 0.1),
        "small": Recipe(3000, 64, 0.05),
        "paper": Recipe(20_000, 64, 0.01),
    }
    small: ClassVar[dict[str, Any]] = dict(encoder=(512,), mlp=(512,), dropout=0.2)

    def settings(
        self, run: dict[str, Any], sizes: tuple[int, int] = (1280, BANDS * MOMENTS), names: int = 50
    ) -> Any:
        own = dict(run["set"])
        if run["scale"] != "paper" and own.get("fusion", "late") in fusion.WAYS:
            own.setdefault("modality_dropout", MISSING)
        if source(run).kind == "world" and run["pixels"] not in (64, 96, 128, 160, 224):
            raise ValueError(
                f"--pixels of {self.system} must be 64, 96, 128, 160 or 224 here, got {run['pixels']}"
            )
        inputs = tuple(zip(("picture", "sound"), sizes))
        return self.maker(run["scale"])(inputs=inputs, classes=names, **own)

    def layer(self, run: dict[str, Any]) -> str:
        """What is seen of a picture: in the world a map that is laid out, as in the chapter."""
        return "map" if run["scale"] == "world" else "vector"

    def pairs(
        self, run: dict[str, Any], split: str, size: int | None
    ) -> tuple[np.ndarray, list[np.ndarray], Tensor, list[str]]:
        """Pictures (N, S, S, 3), the sounds (L,) that go with them, which things they are (N,), and
        the names of all things."""
        own, pixels = source(run), run["pixels"]
        if own.kind == "folder":
            return things_of(own.name, split, size, pixels)
        many, few = (6000, 1680) if split == "train" else (4000, 1008)
        if size is not None:  # a third of the portraits can sound, each as often as the others
            many, few = min(many, 12 * size), min(few, 2 * size)
        rows = own.rows("portraits", split, many, pixels, many, things=144)
        heard = own.rows("sounds", split, few, None, few, sample_rate=RATE)
        waiting: dict[str, list[int]] = {}
        for row, name in enumerate(rows["name"]):
            waiting.setdefault(name, []).append(row)
        names = sorted(thing.name for thing in sounding())
        both = [
            (waiting[name].pop(0), row, names.index(name))
            for row, name in enumerate(heard["thing"])
            if waiting.get(name)
        ][:size]
        look, listen, label = map(list, zip(*both))
        waves = column(heard.select(listen), "wave")
        return column(rows.select(look), "image"), list(waves), torch.tensor(label), names

    def train(self, folder: Path, run: dict[str, Any]) -> training.History:
        pictures, waves, label, names = self.pairs(run, "train", run["size"])
        seen = seen_in(pictures, encoder_of(run["encoder"], self.layer(run)))
        eyes = Eyes.fitted(run["encoder"], self.layer(run), run["pixels"], seen)
        heard = listened(waves)
        deviation, mean = torch.std_mean(heard, 0, correction=0)
        ears = {"heard_mean": mean, "heard_scale": 1 / (deviation + 1e-6)}
        picture = eyes.standardized(seen).float().flatten(1)
        sizes = (picture.shape[1], heard.shape[1])
        torch.manual_seed(run["seed"])
        model = fusion.Fusion(self.settings(run, sizes, len(names)))
        data = {"picture": picture, "sound": standardized(heard, ears), "label": label}
        momentum = functools.partial(torch.optim.SGD, momentum=0.9)
        more = dict(batch_size=min(run["batch"], len(label)), optimizer=momentum, warmup=0)
        with threads_of(run):
            history = self.fit(model, data, folder, run, **more)
        note = dict(names=names, eyes=eyes.note())
        saving.save(model, folder, **note, mean=eyes.mean, scale=eyes.scale, **ears)
        return history

    def load(self, folder: Path) -> tuple[fusion.Fusion, Eyes, dict[str, Any]]:
        """A trained model, its eyes, and the rest: names, and how what is heard is standardized."""
        return with_eyes(fusion.Fusion, folder)

    @torch.no_grad()
    def evaluate(
        self, folder: Path, run: dict[str, Any], size: int | None = None
    ) -> dict[str, float]:
        """How often the name is right: with both, and with one of them taken away."""
        model, eyes, more = self.load(folder)
        pictures, waves, label, names = self.pairs(run, "test", size)
        if names != more["names"]:
            raise ValueError(f"the names of {source(run).name!r} are no longer those of then")
        seen = seen_in(pictures, encoder_of(eyes.name, eyes.layer))
        picture, sound = eyes.standardized(seen), standardized(listened(waves), more)
        read, out = tuple(model.config.read), {}
        for without in ((), *((one,) for one in read if len(read) > 1)):
            found = []
            for part in batches(len(label), 500):
                inputs = {"picture": picture[part].float().flatten(1), "sound": sound[part]}
                inputs = {name: inputs[name].to(device()) for name in read}
                found.append(model(inputs, without).argmax(1).cpu())
            right = float((torch.cat(found) == label).float().mean())
            out[f"right, of {len(names)} names" if not without else f"without {without[0]}"] = right
        return {**out, "right by chance": 1 / len(names)}

    @torch.no_grad()
    def name(self, folder: Path, picture: str, sound: str, k: int) -> list[tuple[str, float]]:
        """The k most probable names of a thing that is seen and heard, with their probabilities.

        Raises:
            files.Unread: the picture, the sound, or both cannot be read.
        """
        model, eyes, more = self.load(folder)
        bad, inputs = [], {}
        if "picture" in model.config.read:
            _, seen = next(iter(seen_of([picture], eyes, encoder_of(eyes.name, eyes.layer))))
            if isinstance(seen, str):
                bad.append(f"{picture}: {seen}")
            else:
                inputs["picture"] = seen.float().flatten(1).to(device())
        if "sound" in model.config.read:
            try:
                wave = files.sound(sound, RATE).numpy()
                inputs["sound"] = standardized(listened([wave]), more).to(device())
            except (OSError, ValueError) as error:
                bad.append(f"{sound}: {error}")
        if bad:
            raise files.Unread(bad, len(model.config.read))
        sure = model(inputs).softmax(1)[0].cpu()
        best = sure.topk(min(k, len(more["names"])))
        return [(more["names"][i], float(p)) for p, i in zip(*best)]


def listened(waves: list[np.ndarray]) -> Tensor:
    """Waves (L,), whole numbers of 16 bits or float, as log-mel of 40 bands at 12 moments, (N, 480),
    in decibels: what the chapter's model hears, of sounds of any length."""
    mel = MelSpectrogram(RATE, n_fft=400, hop_length=160, n_mels=BANDS)
    out = []
    for wave in waves:
        x = np.resize(wave, max(len(wave), round(SHORTEST * RATE)))[: round(LONGEST * RATE)]
        x = torch.from_numpy(np.ascontiguousarray(x))
        level = power_to_db(mel(x.float() if x.is_floating_point() else pcm_to_float(x)))
        out.append(F.adaptive_avg_pool1d(level[None], MOMENTS)[0].flatten())
    return torch.stack(out)


def standardized(heard: Tensor, ears: dict[str, Any]) -> Tensor:
    """Sounds (N, 480) with mean 0 and deviation 1 on the training sounds."""
    return (heard - ears["heard_mean"]) * ears["heard_scale"]


def things_of(
    name: str, split: str, size: int | None, pixels: int
) -> tuple[np.ndarray, list[np.ndarray], Tensor, list[str]]:
    """Pictures and sounds of a folder with a folder for each thing; see :meth:`Fusing.pairs`.

    Of each thing every tenth picture and every tenth sound is kept back for ``"test"``. The first
    picture meets the first sound, and so on; whichever are fewer begin again.

    Raises:
        ValueError: fewer than two things that have both, or nothing that can be read.
    """
    root, found = Path(name), {}
    for path in sorted(visible(root)):
        kind = {**dict.fromkeys(PICTURES, 0), **dict.fromkeys(SOUNDS, 1)}.get(path.suffix.lower())
        if kind is not None and path.parent != root:
            found.setdefault(path.relative_to(root).parts[0], ([], []))[kind].append(path)
    if found and set(found) <= set(SPLIT_NAMES):
        raise ValueError(
            f"{name!r} holds {' and '.join(sorted(found))}, and here its folders must have the names "
            "of things (dog/rex.jpg, dog/bark.wav); a tenth of each is kept back for the test"
        )
    names = sorted(thing for thing, (seen, heard) in found.items() if seen and heard)
    if len(names) < 2:
        raise ValueError(
            f"{name!r} must hold two folders or more with the names of things, each with pictures "
            f"and sounds (dog/rex.jpg, dog/bark.wav), got {len(names)}"
        )
    alone = sorted(set(found) - set(names))
    if alone:
        files.say(f"things without a picture or without a sound are left out: {', '.join(alone)}")
    parts = [
        tuple(
            [
                p
                for at, p in enumerate(own)
                if (at % HELD_BACK == HELD_BACK - 1) == (split == "test")
            ]
            for own in found[thing]
        )
        for thing in names
    ]
    read: tuple[dict[Path, Any], ...] = ({}, {})  # what is wanted is decoded, and once
    bad: dict[Path, str] = {}
    while True:
        pairs = [
            (seen[k % len(seen)], heard[k % len(heard)], label)
            for label, (seen, heard) in enumerate(parts)
            for k in range(max(len(seen), len(heard)) if seen and heard else 0)
        ]
        order = np.random.default_rng(0).permutation(len(pairs))[:size].tolist()
        known = len(bad)
        for kind, how in enumerate((picture_of(pixels), sound_of)):
            for path in sorted({pairs[k][kind] for k in order} - read[kind].keys()):
                try:
                    read[kind][path] = how(path)
                except (OSError, ValueError, ImportError) as error:
                    bad[path] = str(error)
        if len(bad) == known:
            break
        # Without those that cannot be read others meet: choose anew.
        parts = [tuple([p for p in own if p not in bad] for own in both) for both in parts]
    files.left_out([bad[path] for path in sorted(bad)])
    if not pairs:
        if split == "test":
            raise ValueError(none_kept("picture of a thing") + "; the same holds for its sounds")
        raise ValueError(f"no picture with a sound in {name!r} can be read")
    return (
        np.stack([read[0][pairs[k][0]] for k in order]),
        [read[1][pairs[k][1]] for k in order],
        torch.tensor([pairs[k][2] for k in order]),
        names,
    )


def picture_of(pixels: int) -> Any:
    """What reads a picture."""
    return functools.partial(hub.picture, pixels=pixels)


def sound_of(path: Path) -> np.ndarray:
    """A sound (L,), int16; at most ten seconds.

    Raises:
        ValueError: nothing but silence, or as :func:`mmtutor.hub.sound`.
    """
    heard = hub.sound(path, RATE)[: round(LONGEST * RATE)]
    if not heard.any():
        raise ValueError(f"{str(path)!r} holds nothing but silence")
    return heard
