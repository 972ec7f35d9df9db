"""Beside C39 and C40: a second teacher, which names places, and grounds that sound.

The videos are those of ``soundnet``, with one thing more to hear: the ground on which the thing
stands, 6 to 18 dB softer than the thing. The teacher of places is what the paper's is, a network
that was trained on named pictures: here a linear layer on the same frozen features, learnt from
pictures that are in no video. The student has a head for each teacher, and never meets a label.

The rule, before any seed below 10 was run: a student of both teachers names at least five times as
many grounds as chance (0.625 of 8) and at least ten times as many things (0.179 of 56); the same
student on videos whose grounds are silent names no more grounds than chance (below 0.2); and in the
mean of three tasks (things, grounds, spoken words) a probe on the inner layer that is best on kept-
back sounds is right more often for a student of both teachers than for a student of one, each of
the two alone. (:data:`RULE` has it part by part; it was written down so while the first seeds ran,
with these bounds.)

Settings are those of ``soundnet``. How loud the grounds are was chosen so that both can be heard: a
mel spectrogram with all labels names 0.63 of the things and 0.93 of the grounds. (Of the test
videos; no student had a part in it.) Chosen with seed 10, on the last sixth of the training videos:
how much the places weigh. With the weights 1, 0.5, 0.25 and 0.1 the student named 0.26, 0.33, 0.39
and 0.42 of the things, and 0.77, 0.71, 0.67 and 0.56 of the grounds; without places 0.42 of the
things.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmtutor import sound, world
from mmtutor.experiments import soundnet as chapter
from mmtutor.experiments._captioning import kept
from mmtutor.kit.arrays import column
from mmtutor.kit.imagenet import CLASSES
from mmtutor.kit.vision import ImageEncoder, features
from mmtutor.page.ledger import Experiment, Part, Values
from mmtutor.soundnet import Config, SoundNet
from mmtutor.world import scenes

GROUNDS = scenes.BACKGROUNDS
#: How much louder the thing is than its ground, in dB.
LOUDER = (6.0, 18.0)
#: Named pictures of every thing that the teacher of places learns from.
NAMED = 10
#: What objects and places weigh in the loss.
WEIGHTS = (1.0, 0.25)
HEADS = (("objects", CLASSES), ("scenes", len(GROUNDS)))
#: The weights of the teachers, and whether the student hears the grounds. Of a teacher that weighs
#: nothing the student learns nothing, and its answer to it is that of its first weights.
PARTS: dict[str, tuple[tuple[float, float], bool]] = {
    "both teachers": (WEIGHTS, True),
    "objects alone": ((1.0, 0.0), True),
    "places alone": ((0.0, 1.0), True),
    "both, weighed alike": ((1.0, 1.0), True),
    "both, grounds silent": (WEIGHTS, False),
}
EXPERIMENTS: list[Experiment] = []  # no claim of the lectures
#: The rule of above, part by part, on what :func:`together` makes of the runs.
RULE = [
    Part("grounds named, of 8", "both teachers: grounds named", ">=", 5 / len(GROUNDS)),
    Part("things named, of 56", "both teachers: things named", ">=", 10 / len(chapter.NAMES)),
    Part("grounds named, where they are silent", "both, grounds silent: grounds named", "<", 0.2),
    *(
        Part(
            f"probes in the mean, both teachers − {one}",
            "both teachers: probes",
            ">",
            0,
            minus=f"{one}: probes",
        )
        for one in ("objects alone", "places alone")
    ),
]


def together(stored: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The stored runs of the :data:`PARTS`, all parts of a seed as one run; "part: what" names a
    value."""
    seeds: dict[int, dict[str, float]] = {}
    for run in stored:
        values = {f"{run['part']}: {k}": v for k, v in run["values"].items()}
        seeds.setdefault(run["seed"], {}).update(values)
    return [{"seed": seed, "values": values} for seed, values in sorted(seeds.items())]


# --- Videos whose grounds sound -------------------------------------------------------------------


@kept(2)
def heard(split: str) -> Tensor:
    """The waves of the chapter's videos, each with its ground under it, int16 (N, L).

    Every video has a take of its own. What would clip is made softer.
    """
    data = chapter.videos(split)
    takes = world.load(
        "ambience", split, 8 * int(data.ground.bincount().max()), sample_rate=chapter.RATE
    )
    label = torch.from_numpy(column(takes, "label").astype(np.int64))
    mine = torch.empty_like(data.ground)  # which take a video has: of its ground, the next one
    for k in range(len(GROUNDS)):
        here = (data.ground == k).nonzero()[:, 0]
        mine[here] = (label == k).nonzero()[: len(here), 0]
    ground = sound.pcm_to_float(torch.from_numpy(column(takes, "wave").copy()))[mine]
    rows = world.load("sounds", split, len(data.wave), sample_rate=chapter.RATE)
    loud = torch.from_numpy(column(rows, "loudness").astype(np.float32))  # dB, while it sounds
    random = torch.Generator().manual_seed(0 if split == "train" else 1)
    below = torch.empty(len(loud)).uniform_(*LOUDER, generator=random)
    gain = 10 ** ((loud - below) / 20) / ground.square().mean(1).sqrt()
    both = sound.pcm_to_float(data.wave) + gain[:, None] * ground
    both = both * (0.98 / both.abs().amax(1, keepdim=True)).clamp(max=1.0)
    return (both * 32767).round().to(torch.int16)


# --- The teacher of places ------------------------------------------------------------------------


@functools.cache
def teacher() -> torch.nn.Linear:
    """What names places: a linear layer on the frozen network's features, by logistic regression on
    named pictures that are in no video."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    things = [k for k in range(len(chapter.NAMES)) for _ in range(NAMED)]
    images, ground = chapter.pictures(things, "train", seed=1)
    x = features(images, ImageEncoder(layer="vector")).float().numpy()
    scale, line = fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    fitted.fit(x, ground.numpy())
    layer = torch.nn.Linear(x.shape[1], len(GROUNDS)).requires_grad_(False)
    weight = line.coef_ / scale.scale_  # the scaling is a part of the layer
    layer.weight.copy_(torch.from_numpy(weight))
    layer.bias.copy_(torch.from_numpy(line.intercept_ - weight @ scale.mean_))
    return layer


@kept(2)
def placed(split: str) -> Tensor:
    """What the teacher of places says of the videos' pictures: probabilities (N, 8)."""
    vectors = features(chapter.videos(split).picture, ImageEncoder(layer="vector"))
    return teacher()(vectors.float()).softmax(-1)


# --- Students -------------------------------------------------------------------------------------


def waves(split: str, grounds_sound: bool = True) -> Tensor:
    """What a student hears."""
    return heard(split) if grounds_sound else chapter.videos(split).wave


@kept(4)
def student(
    seed: int, weights: tuple[float, float] = WEIGHTS, grounds_sound: bool = True
) -> SoundNet:
    """A network that was told what the two teachers see, and never a name."""
    batch = {"wave": waves("train", grounds_sound)}
    batch |= {"objects": chapter.videos("train").seen, "scenes": placed("train")}
    torch.manual_seed(seed)
    model = SoundNet(Config.world(HEADS, weights=weights))
    chapter.learn(model, batch, chapter.EPOCHS, seed)
    return model


# --- What came of it ------------------------------------------------------------------------------


def numbers(wave: Tensor) -> np.ndarray:
    """A mel spectrogram's mean over time, its spread and its change, (N, 120)."""
    mel = sound.MelSpectrogram(chapter.RATE, n_fft=512, hop_length=160, n_mels=40)
    level = torch.cat([sound.power_to_db(mel(x)) for x in sound.pcm_to_float(wave).split(200)])
    return torch.cat([level.mean(-1), level.std(-1), level.diff(dim=-1).std(-1)], 1).numpy()


@functools.cache
def ceiling(what: str) -> float:
    """What a mel spectrogram and logistic regression reach with all labels, of things or of
    grounds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = chapter.videos("train"), chapter.videos("test")
    line = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=300))
    line.fit(numbers(heard("train")), getattr(train, what).numpy())
    return float(line.score(numbers(heard("test")), getattr(test, what).numpy()))


def tasks(
    grounds_sound: bool = True,
) -> dict[str, tuple[Tensor, np.ndarray, Tensor, np.ndarray]]:
    """What is asked of the layers: waves and answers to learn from, and to test with."""
    train, test, some = chapter.videos("train"), chapter.videos("test"), 20 * len(chapter.NAMES)
    wave, wave_test = waves("train", grounds_sound)[:some], waves("test", grounds_sound)
    of = {}
    for what in ("thing", "ground"):
        y, y_test = getattr(train, what)[:some].numpy(), getattr(test, what).numpy()
        of[f"{what}s"] = (wave, y, wave_test, y_test)
    return {**of, "words": (*chapter.spoken("train"), *chapter.spoken("test"))}


def probed(model: SoundNet, grounds_sound: bool = True) -> Values:
    """Accuracy of a linear probe for each task on the inner layer that is best on kept-back
    sounds, and which layer that is, from 0 (conv1)."""
    out: dict[str, float] = {}
    for task, (wave, y, wave_test, y_test) in tasks(grounds_sound).items():
        x, x_test = (chapter.layer_vectors(model, w) for w in (wave, wave_test))
        inner, cut = list(x)[: -len(HEADS)], len(y) * 7 // 10
        of = {k: chapter.probe(x[k][:cut], y[:cut], x[k][cut:], y[cut:]) for k in inner}
        best = max(of, key=of.__getitem__)
        out[f"{task}, probe"] = chapter.probe(x[best], y, x_test[best], y_test)
        out[f"{task}, layer"] = float(inner.index(best))
    out["probes"] = float(
        np.mean([out[f"{task}, probe"] for task in ("things", "grounds", "words")])
    )
    return out


@torch.no_grad()
def answers(model: SoundNet, wave: Tensor) -> dict[str, Tensor]:
    """The distributions (N, K) of each head."""
    parts = [model.answer(part) for part in wave.split(100)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def named(model: SoundNet, grounds_sound: bool = True) -> Values:
    """The shares of unseen videos whose thing and whose ground the student names: the thing through
    the chapter's dictionary, the ground as the teacher of places calls it."""
    test, said = chapter.videos("test"), answers(model, waves("test", grounds_sound))
    things = chapter.name(said["objects"], chapter.dictionary(), chapter.usual())
    return {
        "things named": float((things == test.thing).float().mean()),
        "grounds named": float((said["scenes"].argmax(1) == test.ground).float().mean()),
    }


def without(name: str, seed: int) -> Values:
    """What one of the :data:`PARTS` names without a label, and what its layers are good for."""
    weights, grounds_sound = PARTS[name]
    model = student(seed, weights, grounds_sound)
    return {**named(model, grounds_sound), **probed(model, grounds_sound)}
