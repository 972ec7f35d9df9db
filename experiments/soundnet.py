"""The claims of the chapter on SoundNet: C39, a network that sees teaches one that hears; C40, which
of its layers serves another task best.

A video is a sound of the world and a picture of the thing that makes it. The teacher is a network
that was trained on photographs, for other things than these. Settings were chosen on seeds from 10
on and on kept-back training data.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmtutor import sound, world
from mmtutor.experiments._captioning import kept
from mmtutor.kit import training
from mmtutor.kit.arrays import column
from mmtutor.kit.imagenet import CLASSES, class_scores
from mmtutor.kit.runtime import cpu_threads
from mmtutor.kit.vision import ImageEncoder, features
from mmtutor.page.ledger import Experiment, Part, Values
from mmtutor.soundnet import Config, SoundNet, agreement, distil_loss
from mmtutor.world import scenes, sounds

RATE, PIXELS = 8000, 128
NAMES = tuple(one.name for one in sounds.sounding())
TRAIN, TEST = 42 * len(NAMES), 10 * len(NAMES)
EPOCHS, BATCH, LR, DECAY = 10, 32, 3e-3, 1e-2
#: How often the same network passes over so many labels a thing.
LABELS = {1: 100, 5: 30, 20: 12}
WORDS = {"train": 1000, "test": 500}
ALPHAS = tuple(10.0**k for k in range(-1, 6))


# --- Videos ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Videos:
    """Sounds, each with a picture of what makes it.

    Attributes:
        wave: int16 (N, L).
        picture: uint8 (N, S, S, 3).
        seen: what the teacher says of the pictures, (N, 1000), each of sum 1.
        thing: which of :data:`NAMES` (N,): for the tests, no student is told.
        ground: which of ``scenes.BACKGROUNDS`` (N,).
    """

    wave: Tensor
    picture: np.ndarray
    seen: Tensor
    thing: Tensor
    ground: Tensor


def pictures(things: Sequence[int], split: str, seed: int = 0) -> tuple[np.ndarray, Tensor]:
    """A picture of each of these things, uint8 (N, S, S, 3), and on which ground it stands (N,):
    the world's portraits, none of them twice."""
    wanted: list[list[int]] = [[] for _ in NAMES]
    for row, thing in reversed(list(enumerate(things))):
        wanted[thing].append(row)
    found = np.empty((len(things), PIXELS, PIXELS, 3), np.uint8)
    grounds, index = torch.empty(len(things), dtype=torch.long), itertools.count()
    while any(wanted):
        scene = scenes.portrait(split, next(index), seed, framing="centred")
        name = scene.things[0].name
        if name in NAMES and wanted[NAMES.index(name)]:
            row = wanted[NAMES.index(name)].pop()
            found[row] = scenes.render(scene, PIXELS).image
            grounds[row] = scenes.BACKGROUNDS.index(scene.background)
    return found, grounds


def look(images: np.ndarray, warmth: float = 1.0) -> Tensor:
    """What the teacher says of pictures (N, S, S, 3): probabilities (N, 1000); its scores are
    divided by ``warmth`` before the softmax."""
    vectors = features(images, ImageEncoder(layer="vector"))
    return (class_scores(vectors) / warmth).softmax(-1)


@kept(4)
def videos(split: str) -> Videos:
    """The videos of a split. A student gets ``wave`` and ``seen``; the rest is for tests."""
    rows = world.load("sounds", split, TRAIN if split == "train" else TEST, sample_rate=RATE)
    wave, thing = (torch.from_numpy(column(rows, name).copy()) for name in ("wave", "label"))
    images, ground = pictures(thing.tolist(), split)
    return Videos(wave, images, look(images), thing, ground)


@kept(1)
def dictionary(each: int = 10) -> Tensor:
    """What the teacher says of pictures of each thing, in the mean: (56, 1000). These pictures are
    in no video. A name belongs to a picture here, never to a sound."""
    things = [k for k in range(len(NAMES)) for _ in range(each)]
    return look(pictures(things, "train", seed=1)[0]).unflatten(0, (-1, each)).mean(1)


def usual() -> Tensor:
    """What the teacher says of the training videos in the mean: (1000,)."""
    return videos("train").seen.mean(0)


def name(answers: Tensor, words: Tensor, mean: Tensor) -> Tensor:
    """The thing (N,) that each answer (N, 1000) means: whose entry in the dictionary (56, 1000)
    differs from the ``mean`` of all answers in the most similar way. Roots of probabilities are
    compared, by the cosine of what is left of them without the mean's."""
    own, entry = (F.normalize(p.sqrt() - mean.sqrt(), dim=1) for p in (answers, words))
    return (own @ entry.T).argmax(1)


# --- Students -------------------------------------------------------------------------------------


def learn(model: SoundNet, batch: Mapping[str, Tensor], epochs: int, seed: int) -> training.History:
    """Train a network on waves and on what it is told of them."""
    with cpu_threads(1):
        return training.fit(
            model,
            batch,
            epochs=epochs,
            batch_size=BATCH,
            lr=LR,
            weight_decay=DECAY,
            seed=seed,
        )


@kept(4)
def student(seed: int) -> SoundNet:
    """A network that was told what the teacher sees, and never a name."""
    data = videos("train")
    torch.manual_seed(seed)
    model = SoundNet(Config.world((("objects", CLASSES),)))
    learn(model, {"wave": data.wave, "objects": data.seen}, EPOCHS, seed)
    return model


@kept(4)
def labelled(seed: int, each: int, epochs: int) -> SoundNet:
    """The same network, told the names of ``each`` sounds of every thing and nothing else. A label
    is a teacher that is certain."""
    data = videos("train")
    blocks = torch.randperm(TRAIN // len(NAMES), generator=torch.Generator().manual_seed(seed))
    rows = torch.cat([torch.arange(len(NAMES)) + len(NAMES) * int(b) for b in blocks[:each]])
    certain = torch.eye(len(NAMES))[data.thing[rows]]
    torch.manual_seed(seed)
    model = SoundNet(Config.world((("things", len(NAMES)),)))
    learn(model, {"wave": data.wave[rows], "things": certain}, epochs, seed)
    return model


@torch.no_grad()
def answers(model: SoundNet, waves: Tensor) -> Tensor:
    """The distributions (N, K) of a network's first head."""
    head = model.config.heads[0][0]
    return torch.cat([model.answer(part)[head] for part in waves.split(100)])


@functools.cache
def by_mel() -> float:
    """What a mel spectrogram (its mean and spread over time) and logistic regression reach, with
    the names of all training sounds: the share of unseen sounds named rightly."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    mel = sound.MelSpectrogram(RATE, n_fft=512, hop_length=160, n_mels=40)

    def numbers(wave: Tensor) -> np.ndarray:
        level = torch.cat([sound.power_to_db(mel(x)) for x in sound.pcm_to_float(wave).split(200)])
        return torch.cat([level.mean(-1), level.std(-1), level.diff(dim=-1).std(-1)], 1).numpy()

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=300))
    train, test = videos("train"), videos("test")
    probe.fit(numbers(train.wave), train.thing.numpy())
    return float(probe.score(numbers(test.wave), test.thing.numpy()))


def measure_taught(seed: int) -> Values:
    """How many unseen sounds a student without labels names, and how often it says what the teacher
    says; the same network from a few labels."""
    test, words, mean = videos("test"), dictionary(), usual()
    told = answers(student(seed), test.wave)
    steps = told.clamp(min=1e-12).log()[:, None]
    best, seen = told.argmax(1), test.seen.argmax(1)
    meet = torch.bincount(best, minlength=CLASSES) @ torch.bincount(seen, minlength=CLASSES)
    out = {
        "named": float((name(told, words, mean) == test.thing).float().mean()),
        "teacher named": float((name(test.seen, words, mean) == test.thing).float().mean()),
        "mel": by_mel(),
        "agrees": float(agreement(steps, test.seen)),
        "agrees, shuffled": float(meet) / len(best) ** 2,  # with the teacher of any video
        "divergence": float(distil_loss(steps, test.seen)),
        "divergence, deaf": float(distil_loss(mean.log().expand(len(best), 1, -1), test.seen)),
    }
    for each, epochs in LABELS.items():
        right = answers(labelled(seed, each, epochs), test.wave).argmax(1) == test.thing
        out[f"{each} labels"] = float(right.float().mean())
    return out


# --- C40: which layer serves another task ---------------------------------------------------------


@torch.no_grad()
def layer_vectors(model: SoundNet, waves: Tensor) -> dict[str, np.ndarray]:
    """What each layer makes of waves: the mean over time, (N, C) by the layer's name."""
    parts = [model.features(part) for part in waves.split(100)]
    return {k: torch.cat([p[k].mean(-1) for p in parts]).numpy() for k in model.names()}


def probe(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> float:
    """Accuracy of a linear probe: ridge regression to each class, whose strength is chosen by
    leaving out one sound after another."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    line = make_pipeline(StandardScaler(), RidgeClassifierCV(ALPHAS))
    return float(line.fit(x, y).score(x_test, y_test))


@kept(2)
def spoken(split: str) -> tuple[Tensor, np.ndarray]:
    """Spoken words, 20 different ones, by people of whom none is in both splits: waves (N, L) and
    the words' numbers (N,)."""
    rows = world.load("spoken_words", split, WORDS[split], sample_rate=RATE)
    return torch.from_numpy(column(rows, "wave").copy()), column(rows, "label")


def targets() -> dict[str, tuple[Tensor, np.ndarray, Tensor, np.ndarray]]:
    """What is asked of the layers: waves and answers to learn from, and to test.

    ``words``: which word is said. No video has speech. ``things``: what the videos are about, for
    comparison; with 20 labels a thing.
    """
    train, test, some = videos("train"), videos("test"), 20 * len(NAMES)
    own = (train.wave[:some], train.thing[:some].numpy(), test.wave, test.thing.numpy())
    return {"words": (*spoken("train"), *spoken("test")), "things": own}


def measure_layers(seed: int) -> Values:
    """Accuracy of a linear probe on each layer, for both targets; the inner layer that is best on
    kept-back words; the same layers of a network that was never trained."""
    torch.manual_seed(seed)
    untrained = SoundNet(student(seed).config).eval()
    out: dict[str, float] = {}
    for target, (wave, y, wave_test, y_test) in targets().items():
        x, x_test = (layer_vectors(student(seed), w) for w in (wave, wave_test))
        for layer in x:
            out[f"{target}: {layer}"] = probe(x[layer], y, x_test[layer], y_test)
        if target == "words":
            cut = len(y) * 7 // 10
            *inner, last = x
            kept_back = {k: probe(x[k][:cut], y[:cut], x[k][cut:], y[cut:]) for k in inner}
            best = max(kept_back, key=kept_back.__getitem__)
            out |= {"inner": out[f"words: {best}"], "last": out[f"words: {last}"]}
            out["place"] = float(inner.index(best))
            raw, raw_test = (layer_vectors(untrained, w) for w in (wave, wave_test))
            for layer in inner:
                out[f"untrained: {layer}"] = probe(raw[layer], y, raw_test[layer], y_test)
    return out


EXPERIMENTS = [
    Experiment(
        id="C39",
        rule="on 560 unseen sounds of 56 things a student that never met a label names at least 10 "
        "times as many rightly as chance (at least 0.179), says what the teacher says of the "
        "unseen picture more often than for a picture of another video, and names more than the "
        "same network does after 1 label a thing",
        parts=[
            Part("unseen sounds named, without a label (56 names)", "named", ">=", 10 / 56),
            Part(
                "top-1 agreement with the teacher, own video − any video",
                "agrees",
                ">",
                0,
                minus="agrees, shuffled",
            ),
            Part("named, no label − 1 label a thing", "named", ">", 0, minus="1 labels"),
        ],
        measure=measure_taught,
        limits="Names come from a dictionary of named pictures; the same network from 5 and 20 "
        "labels a thing stands beside it, and is no part of the rule. Every video shows one thing, "
        "and just what is heard.",
    ),
    Experiment(
        id="C40",
        rule="a linear probe for spoken words, which no video has, is right more often on the inner "
        "layer that was best on kept-back words than on the last layer",
        parts=[Part("accuracy (20 words), best inner layer − last", "inner", ">", 0, minus="last")],
        measure=measure_layers,
        limits="One target, spoken words, and means over time; which inner layer is the best is "
        "reported, not decided.",
    ),
]
