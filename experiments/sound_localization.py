"""The claims of the chapter on where a sound comes from: C44, sound alone teaches it; C45, what a few
drawn maps add.

Scenes in which everything can sound, and one thing does. Nobody is told what, or where. As in the
paper, the sound passes a SoundNet first, which has never been told a name either: it learnt from
other videos to say what a network that sees would say (see :mod:`mmtutor.experiments.soundnet`).
It stays as it is.

What is unseen comes in pairs: one picture and two sounds. Who does not listen is right about one of
the two at best. The world and the SoundNet stay and the model changes: a seed is its start and the
order of its batches. Settings were chosen on seeds from 10 on, on scenes of the training split that were kept
back (those behind the 1,600 that are used here).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmtutor import world
from mmtutor.experiments import soundnet
from mmtutor.experiments._captioning import PIXELS, images, kept
from mmtutor.kit import training, vision
from mmtutor.kit.arrays import column
from mmtutor.kit.runtime import cpu_threads, device
from mmtutor.page.ledger import Experiment, Part, Values
from mmtutor.sound_localization import (
    Config,
    SoundLocalizer,
    auc,
    ciou,
    heat,
    on_cells,
    success,
)
from mmtutor.soundnet import SoundNet

TRAIN, TEST, TWO = 1_600, 400, 200  # clips; TEST are pairs of sounds with one picture
RATE = 8000  # samples a second
LAYER, GIVEN = "conv5", 256  # what hears: a layer of a SoundNet, and its channels
SOUND = 64  # numbers that are made of them
STEPS, BATCH = 400, 64  # clips in a batch
LR, WARMUP, DECAY = 2e-3, 20, 0.1
SHARPNESS = 1.0
COUNTS = (25, 100, 400, TRAIN)  # maps that somebody drew
SHARE = 4  # of so many clips in a batch one has a drawn map, if there are fewer


# --- The data -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clips:
    """Pictures with their sounds.

    Attributes:
        rows: what the world made.
        maps: (N, 112, 6, 6), what the frozen network sees, standardized.
        waves: (N, 16000), what is heard, in [−1, 1].
        sound: (N, 256), what the ears make of it, standardized.
        owner: (N, 96, 96), 1 + the place of the thing that one sees at a pixel, or 0.
        truth: (N, 96, 96), 1 in the box of what is heard.
        playing: (N, things), whether a thing is heard; rows are filled up with False.
    """

    rows: world.Dataset
    maps: Tensor
    waves: Tensor
    sound: Tensor
    owner: Tensor
    truth: Tensor
    playing: Tensor

    def __len__(self) -> int:
        return len(self.maps)


@dataclass(frozen=True)
class Data:
    """Clips to learn from; unseen ones, of which rows 2k and 2k + 1 are one picture with two
    sounds; and unseen ones in which two things are heard at once."""

    train: Clips
    test: Clips
    two: Clips


def read(split: str, count: int, **options: str) -> world.Dataset:
    """Scenes in which everything can sound."""
    sizes = dict(pixels=PIXELS, sample_rate=RATE, sounding="all")
    return world.load("sounding_scenes", split, count, **sizes, **options)


@functools.cache
def load() -> Data:
    """Everything that a model trains and is tested on."""
    parts = (
        read("train", TRAIN, sources="one", pictures="single"),
        read("test", TEST, sources="one", pictures="pairs"),
        read("test", TWO, sources="two", pictures="single"),
    )
    encoder = vision.ImageEncoder(layer="map").to(device())
    maps = [vision.features(images(rows), encoder).float() for rows in parts]
    waves = [torch.from_numpy(column(rows, "wave")).float() / 32768 for rows in parts]
    sound = [hear(own) for own in waves]
    made = zip(
        parts,
        [vision.standardize(own, maps[0]) for own in maps],
        waves,
        [vision.standardize(own, sound[0]) for own in sound],
        strict=True,
    )
    return Data(*(clips(*own) for own in made))


def clips(rows: world.Dataset, maps: Tensor, waves: Tensor, sound: Tensor) -> Clips:
    """Rows of the world as tensors."""
    playing = torch.zeros(len(rows), max(map(len, rows["things"])), dtype=torch.bool)
    truth = torch.zeros(len(rows), PIXELS, PIXELS)
    for row, (boxes, heard) in enumerate(zip(rows["boxes"], rows["playing"], strict=True)):
        for place in heard:
            x0, y0, x1, y1 = (int(x) for x in boxes[place])
            truth[row, y0:y1, x0:x1] = 1
            playing[row, place] = True
    owner = torch.from_numpy(column(rows, "owner")).long()
    return Clips(rows, maps, waves, sound, owner, truth, playing)


# --- Training -------------------------------------------------------------------------------------


def fit(model: SoundLocalizer, batches: object, steps: int, **settings: object) -> training.History:
    """Train; on one thread, since the operations are small."""
    whole = dict(batch_size=BATCH, max_steps=steps, epochs=10**6, drop_last=True)
    with cpu_threads(1):
        return training.fit(
            model, batches, warmup=WARMUP, weight_decay=DECAY, **{**whole, **settings}
        )


@functools.cache
def ears() -> SoundNet:
    """The SoundNet that hears for all models: a student that never saw a label."""
    return soundnet.student(0)


def hear(waves: Tensor) -> Tensor:
    """The 256 numbers of its last layer of convolutions, their mean over time, (N, 256)."""
    network = ears()
    with cpu_threads(1), torch.no_grad():
        parts = [network.features(some, (LAYER,))[LAYER] for some in waves.split(100)]
        return torch.cat([part.mean(-1) for part in parts])


def drawn_of(own: Clips, count: int) -> Tensor:
    """What somebody drew, (N, 6, 6): the box of what is heard for the first clips, else 0."""
    maps = on_cells(own.truth, tuple(own.maps.shape[2:]))
    maps[count:] = 0
    return maps


def rows_of(count: int) -> Tensor:
    """The clips of an epoch: all of them, and those with a drawn map so often that they are one of
    :data:`SHARE`."""
    if count in (0, TRAIN):
        return torch.arange(TRAIN)
    often = torch.arange(TRAIN // (SHARE - 1)) % count
    return torch.cat([torch.arange(TRAIN), often])


def settings(name: str) -> Config:
    """``"sound"``: from sound alone; ``"drawn"``: from drawn maps alone; ``"both"``."""
    sizes = dict(given=GIVEN, sound=SOUND, sharpness=SHARPNESS)
    return Config.world(**sizes, **({"metric": 0} if name == "drawn" else {}))


@kept(16)
def train(name: str, seed: int, count: int = 0) -> SoundLocalizer:
    """A localizer, trained from a seed with so many drawn maps."""
    own = load().train
    torch.manual_seed(seed)
    model = SoundLocalizer(settings(name))
    rows = torch.arange(TRAIN)[:count] if name == "drawn" else rows_of(count)
    if name == "drawn":
        rows = rows.repeat(-(-BATCH // count))
    batches = {"features": own.maps[rows], "sound": own.sound[rows]}
    if name != "sound":
        batches["annotation"] = drawn_of(own, count)[rows]
    fit(model, batches, STEPS, lr=LR, seed=seed)
    return model


# --- Measuring ------------------------------------------------------------------------------------


def look(model: SoundLocalizer, own: Clips, sound: Tensor) -> Tensor:
    """Where a model looks, (N, 6, 6)."""
    model.eval()
    with cpu_threads(1):
        pairs = zip(own.maps.split(200), sound.split(200), strict=True)
        return torch.cat([model.where(maps, some) for maps, some in pairs])


def pointed(hot: Tensor, own: Clips) -> Tensor:
    """The thing in which the hottest pixel lies, (N,): pixels of no thing do not count.

    Args:
        hot: (N, 96, 96), not negative.
    """
    on = torch.where(own.owner > 0, hot, -1.0).flatten(1)
    return own.owner.flatten(1).take_along_dim(on.argmax(1, keepdim=True), 1)[:, 0] - 1


def right(hot: Tensor, own: Clips) -> Tensor:
    """Whether the hottest thing is one that is heard, (N,) bool."""
    return own.playing.take_along_dim(pointed(hot, own)[:, None], 1)[:, 0]


def scores(hot: Tensor, own: Clips) -> dict[str, float]:
    """What is reported of heat maps (N, 96, 96): right thing, cIoU@0.5, AUC."""
    overlaps = ciou(hot, own.truth)
    return {
        "right": float(right(hot, own).double().mean()),
        "ciou": success(overlaps),
        "auc": auc(overlaps),
    }


def pairs_right(hot: Tensor, own: Clips) -> dict[str, float]:
    """Of one picture with two sounds: how often both are found, and how often the map moves to
    another thing."""
    found = pointed(hot, own).view(-1, 2)
    return {
        "both right": float(right(hot, own).view(-1, 2).all(1).double().mean()),
        "moves": float((found[:, 0] != found[:, 1]).double().mean()),
    }


def warmest(hot: Tensor, own: Clips) -> Tensor:
    """How warm each thing is at its warmest pixel, (N, things); −1 where there is none."""
    places = range(1, own.playing.shape[1] + 1)
    each = [torch.where(own.owner == place, hot, -1.0).amax((1, 2)) for place in places]
    return torch.stack(each, 1)


def two_right(hot: Tensor, own: Clips) -> dict[str, float]:
    """Where two things are heard at once: how often the warmest is one of them, and how often the
    two warmest are both; and the same for a guess among the things. Only scenes with a third
    thing count."""
    there = torch.tensor([len(one) for one in own.rows["things"]])
    some = there > 2
    first = warmest(hot, own).topk(2).indices[some]
    hit = own.playing[some].take_along_dim(first, 1)
    n = there[some].double()
    return {
        "one of two": float(hit[:, 0].double().mean()),
        "both of two": float(hit.all(1).double().mean()),
        "one of two, guess": float((2 / n).mean()),
        "both of two, guess": float((2 / (n * (n - 1))).mean()),
    }


def blind(own: Clips) -> float:
    """How often a guess among the things of a scene is right: all of them can sound."""
    return float(np.mean([1 / len(things) for things in own.rows["things"]]))


def centre(own: Clips, side: float) -> Tensor:
    """A box in the middle of each picture, so many pixels wide."""
    low = round((PIXELS - side) / 2)
    out = torch.zeros(own.truth.shape)
    out[:, low : PIXELS - low, low : PIXELS - low] = 1
    return out


def anywhere(own: Clips, side: float) -> Tensor:
    """A box of that size anywhere in each picture, drawn once."""
    draw = torch.Generator().manual_seed(0)
    width, out = round(side), torch.zeros(own.truth.shape)
    for row in out:
        x, y = torch.randint(0, PIXELS - width + 1, (2,), generator=draw).tolist()
        row[y : y + width, x : x + width] = 1
    return out


def side_of(own: Clips) -> float:
    """The side of a square as large as the boxes of what is heard are in the mean."""
    return float(own.truth.sum((1, 2)).mean().sqrt())


@functools.cache
def baselines() -> dict[str, float]:
    """What nobody had to learn: all of the picture, boxes, and the best that 6 × 6 cells can do."""
    data = load()
    own, side = data.test, side_of(data.train)
    best = on_cells(own.truth, tuple(own.maps.shape[2:]))
    maps = {
        "all ones": torch.ones(own.truth.shape),
        "centre box": centre(own, side),
        "random box": anywhere(own, side),
        "oracle": heat(best, (PIXELS, PIXELS)),
    }
    out = {f"{name}: {k}": x for name, hot in maps.items() for k, x in scores(hot, own).items()}
    return out | {"guess: right": blind(own)}


@torch.no_grad()
def closeness(model: SoundLocalizer, own: Clips, sound: Tensor) -> dict[str, float]:
    """How close what is attended, z = Σ α_i v_i, is to the cell that gets the largest weight: their
    cosine; the same cosine for the plain mean of the cells; and how often no other cell is closer.
    """
    v = model.see(own.maps)  # (N, L, D)
    alpha = look(model, own, sound).flatten(1)
    z = (alpha[:, None] @ v)[:, 0]
    cosines = F.cosine_similarity(v, z[:, None], dim=-1)  # (N, L)
    top = alpha.argmax(1, keepdim=True)
    plain = F.cosine_similarity(v, v.mean(1, keepdim=True), dim=-1)
    return {
        "z to strongest": float(cosines.take_along_dim(top, 1).mean()),
        "mean to strongest": float(plain.take_along_dim(top, 1).mean()),
        "strongest is nearest": float((cosines.argmax(1) == top[:, 0]).double().mean()),
    }


@torch.no_grad()
def deaf(model: SoundLocalizer, own: Clips, sound: Tensor) -> Tensor:
    """Where a model looks whatever it hears, (N, 6, 6): the mean over forty sounds of others."""
    some = sound[:: max(1, len(sound) // 40)]
    with cpu_threads(1):
        queries = model.query(model.hear(some))[None]
        each = [model.scores(model.see(maps), queries).softmax(-1) for maps in own.maps.split(50)]
    return torch.cat(each).mean(1).unflatten(1, own.maps.shape[2:])


def c44(seed: int) -> Values:
    """From sound alone: where it looks, with its own sound, with another's, and with all."""
    data = load()
    own, model, size = data.test, train("sound", seed), (PIXELS, PIXELS)
    sound = own.sound
    maps = {
        "model": heat(look(model, own, sound), size),
        "shuffled": heat(look(model, own, sound.roll(7, 0)), size),
        "deaf": heat(deaf(model, own, sound), size),
    }
    out = baselines() | {
        f"{name}: {k}": x for name, hot in maps.items() for k, x in scores(hot, own).items()
    }
    for name, hot in maps.items():
        out |= {f"{name}: {k}": x for k, x in pairs_right(hot, own).items()}
    out |= two_right(heat(look(model, data.two, data.two.sound), size), data.two)
    return out | closeness(model, own, sound)


def c45(seed: int) -> Values:
    """From sound alone, from drawn maps alone, and from both, over how many maps were drawn."""
    data = load()
    own = data.test
    models = {"sound": train("sound", seed)}
    for count in COUNTS:
        for name in ("drawn", "both"):
            models[f"{name}, {count}"] = train(name, seed, count)
    out = {}
    for name, model in models.items():
        hot = heat(look(model, own, own.sound), (PIXELS, PIXELS))
        out |= {f"{name}: {k}": x for k, x in scores(hot, own).items()}
        out[f"{name}: both right"] = pairs_right(hot, own)["both right"]
    return out


# --- The rules ------------------------------------------------------------------------------------


def ahead(what: str, of: str, words: str) -> Part:
    """The model's score lies above a baseline's."""
    return Part(f"{words}, model − {of}", f"model: {what}", ">", 0, minus=f"{of}: {what}")


EXPERIMENTS = [
    Experiment(
        "C44",
        "400 unseen clips: 200 pictures of two to four things that can all sound, each with two sounds. A model that has never seen a label or a "
        "place finds the thing that sounds more often than a guess among the things, than the same model with another clip's sound, and than "
        "boxes in the centre or anywhere; and so in cIoU@0.5 against all but the guess, which draws no map. What it attends, z, is closer to the "
        "strongest cell than the plain mean of the cells is.",
        [
            Part(
                "right thing, model − guess among the things",
                "model: right",
                ">",
                0,
                minus="guess: right",
            ),
            ahead("right", "shuffled", "right thing"),
            ahead("right", "centre box", "right thing"),
            ahead("right", "random box", "right thing"),
            ahead("ciou", "shuffled", "cIoU@0.5"),
            ahead("ciou", "deaf", "cIoU@0.5"),
            ahead("ciou", "centre box", "cIoU@0.5"),
            ahead("ciou", "random box", "cIoU@0.5"),
            Part(
                "cosine to the strongest cell, z − mean of the cells",
                "z to strongest",
                ">",
                0,
                minus="mean to strongest",
            ),
        ],
        c44,
        "Of drawn scenes, 96 pixels wide and 6 × 6 cells. One SoundNet hears for all seeds, and it learnt from videos of one thing each. The last "
        "part asks for closer, not for close.",
    ),
    Experiment(
        "C45",
        "cIoU@0.5 on the same clips. With 25, 100, 400 and all 1,600 maps drawn, a model that learns from sound and from drawn maps does at least "
        "as well as one that learns from these maps alone, and as one that learns from sound alone.",
        [
            Part(
                f"cIoU@0.5, {count} maps: both − {name}",
                f"both, {count}: ciou",
                ">=",
                0,
                minus=f"{base}: ciou",
            )
            for count in COUNTS
            for name, base in (("drawn maps alone", f"drawn, {count}"), ("sound alone", "sound"))
        ],
        c45,
        "The maps are the boxes of what is heard, without a mistake and of one person. Equal steps for all; at least as well means that the "
        "whole interval lies at or above 0.",
    ),
]
