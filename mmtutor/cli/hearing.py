"""SoundNet on the command line: learn to name sounds, from pictures or from names, and name them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmtutor import hub, soundnet
from mmtutor.cli import files
from mmtutor.cli.data import HELD_BACK, Source
from mmtutor.cli.task import Recipe, Task, source, threads_of
from mmtutor.hub.decoded import SOUNDS
from mmtutor.hub.found import visible
from mmtutor.kit import saving, training
from mmtutor.kit.arrays import column
from mmtutor.kit.imagenet import CLASSES
from mmtutor.kit.runtime import device
from mmtutor.kit.waves import to_wave
from mmtutor.world.rows.sounds import CLIP_SECONDS

LONGEST = 10.0  # seconds of a sound of one's own that are learned from
HEAD = "things"


class Hearing(Task):
    """On the world a network that sees is the teacher, and names come from named pictures; in a
    folder the names of its subfolders are."""

    system = "soundnet"
    says = "names for a sound, taught by a network that sees (Aytar et al. 2016)"
    then = "hear"
    folders = True
    holds = "sounds in folders with the names of what is heard: dog/1.wav, door/1.wav"
    config = soundnet.Config
    model = soundnet.SoundNet
    fixed = ("heads", "weights")
    takes = ("steps", "batch", "lr")
    recipes: ClassVar[dict[str, Recipe]] = {
        "world": Recipe(735, 32, 3e-3),
        "small": Recipe(6000, 32, 1e-3),
        "paper": Recipe(20_000, 64, 1e-3),
    }
    small: ClassVar[dict[str, Any]] = dict(
        rate=16000,
        stack=(
            soundnet.Layer(48, 64, 8, 32, 8),
            soundnet.Layer(96, 16, 2, 8, 0),
            soundnet.Layer(192, 8, 2, 4, 0),
            soundnet.Layer(256, 4, 2, 2, 2),
            soundnet.Layer(384, 4, 2, 2, 0),
        ),
    )

    def settings(self, run: dict[str, Any], classes: int = CLASSES) -> Any:
        made = self.maker(run["scale"])(heads=((HEAD, classes),), **run["set"])
        if source(run).kind == "world":
            least = soundnet.least_length(made) / made.rate
            if least > CLIP_SECONDS:
                raise ValueError(
                    f"with these settings (--scale {run['scale']}) {self.system} listens to "
                    f"{least:.1f} s at a time, and the world's sounds last {CLIP_SECONDS:g} s; give a "
                    "folder of longer sounds, or take --scale world"
                )
            if made.rate not in (8000, 16000, 22050):
                raise ValueError(f"the world's rate is 8000, 16000 or 22050, got {made.rate}")
        if run["batch"] < 2:
            raise ValueError(f"--batch of {self.system} must be at least 2, got {run['batch']}")
        return made

    def train(self, folder: Path, run: dict[str, Any]) -> training.History:
        rate, more = self.settings(run).rate, {}
        if source(run).kind == "world":
            waves, told = videos(run, rate)
            names, more = dictionary(len(waves), told)
        else:
            waves, label, names = sounds_of(source(run), "train", run["size"], self.settings(run))
            told = torch.eye(len(names))[label]  # a label is a teacher that is certain
        if len(waves) < 2:
            raise ValueError("two sounds are the least")
        config = self.settings(run, told.shape[1])
        torch.manual_seed(run["seed"])
        model = soundnet.SoundNet(config)
        history = taught(self, model, waves, told, folder, run)
        saving.save(model, folder, names=names, **more)
        return history

    def load(self, folder: Path) -> tuple[soundnet.SoundNet, dict[str, Any]]:
        """A trained network, and what its answers mean."""
        model, more = saving.load(soundnet.SoundNet, folder)
        return model.to(device()).eval(), more

    @torch.no_grad()
    def likely(self, model: soundnet.SoundNet, more: dict[str, Any], waves: Tensor) -> Tensor:
        """How likely each name is, (B, names): probabilities, or how alike the answer and the
        dictionary are, from −1 to 1."""
        told = model.listen(waves.to(device()), (HEAD,))[HEAD].softmax(1).mean(-1).cpu()
        if "words" not in more:
            return told
        own, entry = (
            F.normalize(p.sqrt() - more["usual"].sqrt(), dim=1) for p in (told, more["words"])
        )
        return own @ entry.T

    def evaluate(
        self, folder: Path, run: dict[str, Any], size: int | None = None
    ) -> dict[str, float]:
        model, more = self.load(folder)
        if source(run).kind == "world":
            usual = 10 * len(more["names"])
            rate = dict(sample_rate=model.config.rate)
            rows = source(run).rows("sounds", "test", size, None, usual, **rate)
            waves = torch.from_numpy(column(rows, "wave").copy())
            label = torch.from_numpy(column(rows, "label").copy()).long()
        else:
            waves, label, names = sounds_of(source(run), "test", size, model.config)
            if names != more["names"]:
                raise ValueError(f"the names of {source(run).name!r} are no longer those of then")
        told = torch.cat([self.likely(model, more, part) for part in waves.split(100)])
        place = (told > told.gather(1, label[:, None])).sum(1)
        few = min(5, len(more["names"]))
        return {
            f"right, of {len(more['names'])} names": float((place == 0).float().mean()),
            f"among the first {few}": float((place < few).float().mean()),
            "right by chance": 1 / len(more["names"]),
        }

    def hear(
        self, folder: Path, sounds: list[str], k: int
    ) -> Iterator[tuple[str, list[tuple[str, float]] | None, str]]:
        """For each file: its name, the k most likely names with their numbers or None, what is wrong
        or an empty string."""
        model, more = self.load(folder)
        for file in sounds:
            try:
                wave = long_enough(file, files.sound(file, model.config.rate), model.config)
            except (OSError, ValueError) as error:
                yield file, None, str(error)
                continue
            told = self.likely(model, more, wave[None])[0]
            best = told.topk(min(k, len(more["names"])))
            yield file, [(more["names"][i], float(p)) for p, i in zip(*best)], ""


def taught(
    task: Task,
    model: soundnet.SoundNet,
    waves: Tensor,
    told: Tensor,
    folder: Path,
    run: dict[str, Any],
    **more: Any,
) -> training.History:
    """Train a network on waves (N, L) and on what it is told of them (N, K); ``more``: as for
    :meth:`mmtutor.cli.task.Task.fit`."""
    data = {"wave": waves, HEAD: told}
    whole = dict(batch_size=min(run["batch"], len(waves)), drop_last=True)
    with threads_of(run):
        return task.fit(
            model, data, folder, run, **{**whole, "weight_decay": 1e-2, "warmup": 0, **more}
        )


def videos(run: dict[str, Any], rate: int) -> tuple[Tensor, Tensor]:
    """Sounds of the world (N, L), and what a network that sees says of a picture of each
    (N, 1000)."""
    from mmtutor.experiments import soundnet as experiment

    size = run["size"] or experiment.TRAIN
    rows = source(run).rows("sounds", "train", size, None, size, sample_rate=rate)
    waves = torch.from_numpy(column(rows, "wave").copy())
    things = [int(one) for one in column(rows, "label")]
    return waves, experiment.look(experiment.pictures(things, "train")[0])


def dictionary(size: int, seen: Tensor) -> tuple[list[str], dict[str, Tensor]]:
    """The names of the world, and what the network that sees says of pictures with that name, and
    usually; ``size``: so many sounds are learned from."""
    from mmtutor.experiments import soundnet as experiment

    names = list(experiment.NAMES)
    each = max(1, min(10, size // len(names)))
    return names, {"words": experiment.dictionary(each), "usual": seen.mean(0)}


def long_enough(name: str, wave: Tensor, config: soundnet.Config) -> Tensor:
    """A wave (L,); one that is shorter than the network's least is repeated, as in training."""
    least = soundnet.least_length(config)
    if len(wave) >= least:
        return wave
    files.say(
        f"{name} lasts {len(wave) / config.rate:.2g} s, and is repeated to {least / config.rate:.2g} s, "
        "the least that the network listens to"
    )
    return wave.repeat(-(-least // len(wave)))[:least]


def sounds_of(
    own: Source, split: str, size: int | None, config: soundnet.Config
) -> tuple[Tensor, Tensor, list[str]]:
    """Sounds of a folder that are sorted into subfolders with the names of classes.

    Each tenth of a class is kept back for ``"test"``. Sounds become as long as the longest, but
    at most ten seconds, or as the least that the network listens to: shorter ones are repeated,
    since silence would be learned, too.

    Returns:
        Waves (N, L), labels (N,), names.

    Raises:
        ValueError: fewer than two classes, or no sound that can be read.
    """
    root, rate = Path(own.name), config.rate
    found: dict[str, list[Path]] = {}
    for path in sorted(visible(root)):
        if path.suffix.lower() in SOUNDS and path.parent != root:
            found.setdefault(path.relative_to(root).parts[0], []).append(path)
    if len(found) < 2:
        raise ValueError(
            f"{own.name!r} must hold two folders of sounds or more, named by what is heard in them "
            f"(dog/1.wav, door/1.wav), got {len(found)}"
        )
    names, waves, labels, bad = sorted(found), [], [], []
    for label, name in enumerate(names):
        for at, path in enumerate(found[name]):
            if (at % HELD_BACK == HELD_BACK - 1) != (split == "test"):
                continue
            try:
                heard = hub.sound(path, rate)[: round(LONGEST * rate)]
                if not heard.any():
                    raise ValueError(f"{str(path)!r} holds nothing but silence")
            except (OSError, ValueError, ImportError) as error:
                bad.append(str(error))
                continue
            waves.append(heard)
            labels.append(label)
    files.left_out(bad)
    if not waves:
        kept = "ten sounds of a class are the least to keep one back" if split == "test" else "none"
        raise ValueError(
            f"{own.name!r} holds no sound to {'measure on' if split == 'test' else 'learn from'}: {kept}"
        )
    longest = max(soundnet.least_length(config), *map(len, waves))
    same = np.stack([np.resize(one, longest) for one in waves])
    order = np.random.default_rng(0).permutation(len(same))[:size]  # not one class after another
    made = torch.stack([to_wave(torch.from_numpy(one), rate, rate) for one in same[order]])
    return made, torch.tensor(labels)[torch.from_numpy(order)], names
