"""The claims of the text-to-image chapter: C27, why a generator needs random numbers; C28, why its
judge must read.

One thing of twelve kinds stands on one of eight grounds, and a sentence names both. Of 96
combinations 24 never meet in training. A judge of its own, trained on pictures of all combinations,
says what it sees in a drawing. Settings were chosen on seeds from 10 on.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtutor import world
from mmtutor.experiments._captioning import kept
from mmtutor.kit import training
from mmtutor.kit.arrays import column
from mmtutor.kit.runtime import cpu_threads
from mmtutor.kit.text import Vocabulary, tokenize
from mmtutor.page.ledger import Experiment, Part, Values
from mmtutor.text_to_image import Config, Fitting, TextToImage, fit, settle
from mmtutor.world import scenes

SIDE, THINGS, APART = 32, 12, 2  # pixels; different things; grounds that a thing never stands on
TRAIN, TEST = 6000, 1500
NAMES, GROUNDS = scenes.portrait_pool(THINGS), scenes.BACKGROUNDS
JUDGED, JUDGE_SEED = {"train": 4000, "test_unseen_places": 2000}, 900  # of another world
JUDGE_EPOCHS, FITTING_EPOCHS, STEPS, BATCH = 6, 5, 2600, 32
PER = 8  # drawings of one sentence, for the diversity
#: What differs from :meth:`Config.world`.
WORLD: dict[str, object] = {"augment": True, "seeking": 0.25}
MODELS: dict[str, dict[str, object]] = {
    "with z": {},
    "without z": {"code": 0, "seeking": 0.0},
    "deaf": {"matching": False},
}


# --- Data -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Portraits:
    """Pictures of one thing with sentences that name it and its ground, and what is true of them.

    Attributes:
        pictures: (N, 3, S, S) in [−1, 1].
        sentences: three ways to say it, as ids (N, 3, T).
        thing: which of :data:`NAMES` (N,).
        ground: which of :data:`GROUNDS` (N,).
        place: (N, 3): the thing's centre, across and down, and its side, in pixels.
        captions: the sentences in words.
    """

    pictures: Tensor
    sentences: Tensor
    thing: Tensor
    ground: Tensor
    place: Tensor
    captions: list[list[str]]

    @property
    def meaning(self) -> Tensor:
        """A number (N,) for each combination of thing and ground."""
        return self.thing * len(GROUNDS) + self.ground


@dataclass(frozen=True)
class Data:
    """Portraits to learn from; unseen ones of combinations that were seen, and of others."""

    train: Portraits
    seen: Portraits
    unseen: Portraits
    vocabulary: Vocabulary


def read(rows: world.Dataset, vocabulary: Vocabulary, side: int = SIDE) -> Portraits:
    """Rows of the world as tensors."""
    said = [list(own) for own in rows["captions"]]
    ids = [torch.tensor(vocabulary.encode(text)) for own in said for text in own]
    ids = nn.utils.rnn.pad_sequence(ids, batch_first=True)
    pictures = torch.from_numpy(column(rows, "image").copy()).permute(0, 3, 1, 2)
    truth = [json.loads(text)["things"][0] for text in rows["scene"]]
    place = torch.tensor([[x, y, length] for _, _, x, y, length, _ in truth])
    return Portraits(
        pictures / 127.5 - 1,
        ids.unflatten(0, (len(said), -1)),
        torch.tensor([NAMES.index(name) for name in rows["name"]]),
        torch.tensor([GROUNDS.index(ground) for ground in rows["background"]]),
        place * (side / scenes.UNITS),
        said,
    )


def portraits(split: str, size: int, seed: int = 0, side: int = SIDE) -> world.Dataset:
    """Portraits of twelve things that fill most of the picture."""
    more = {"things": THINGS, "framing": "centred", "held_out": APART}
    return world.load("portraits", split, size, seed=seed, pixels=side, **more)


@kept(2)
def load(side: int = SIDE) -> Data:
    """The data of the chapter."""
    train = portraits("train", TRAIN, side=side)
    words = Vocabulary(
        (word for own in train["captions"] for text in own for word in tokenize(text)),
        specials=("<pad>",),
    )
    others = (portraits(split, TEST, side=side) for split in ("test", "test_unseen_places"))
    return Data(*(read(rows, words, side) for rows in (train, *others)), words)


# --- A judge that has seen everything -------------------------------------------------------------


class Judge(nn.Module):
    """Names the thing and the ground of a picture, and says where the thing is and how large."""

    def __init__(self, side: int = SIDE, width: int = 32) -> None:
        super().__init__()
        before, layers = 3, []
        while side > 4:
            after = width * 2 ** (len(layers) // 4)
            convolution = nn.Conv2d(before, after, 3, padding=1)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
            before, side = after, side // 2
        self.look = nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * 16, 128), nn.ReLU())
        self.thing, self.ground = nn.Linear(128, len(NAMES)), nn.Linear(128, len(GROUNDS))
        self.place = nn.Linear(128, 3)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of pictures (B, 3, S, S): scores of the things and of the grounds, and places (B, 3) in
        thirty-seconds of the picture's side."""
        seen = self.look(pictures)
        return self.thing(seen), self.ground(seen), 16 + 3 * self.place(seen)

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross entropy of both names, and the squared error of the place."""
        thing, ground, place = self(batch["pictures"])
        right = F.cross_entropy(thing, batch["thing"]) + F.cross_entropy(ground, batch["ground"])
        return right + F.mse_loss(place / 3, batch["place"] / 3)


@kept(2)
def judge(side: int = SIDE, seed: int = 0) -> Judge:
    """A judge that was trained on pictures of all 96 combinations, none of which a generator or a
    test uses."""
    parts = [
        read(portraits(split, n, JUDGE_SEED, side), load(side).vocabulary, side)
        for split, n in JUDGED.items()
    ]
    names = ("pictures", "thing", "ground", "place")
    batch = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    batch["place"] = batch["place"] * (32 / side)
    torch.manual_seed(seed)
    model = Judge(side)
    with cpu_threads(1):
        training.fit(model, batch, batch_size=64, epochs=JUDGE_EPOCHS, lr=2e-3, seed=seed)
    return model.eval()


def looked_at(pictures: Tensor, by: Judge | None = None) -> dict[str, Tensor]:
    """What the judge says of pictures (N, 3, S, S): ``thing`` and ``ground`` (N,), ``place``
    (N, 3), and its last 128 numbers, ``features``."""
    by = by or judge(pictures.shape[-1])
    with torch.no_grad():
        features = torch.cat([by.look(part) for part in pictures.split(500)])
        return {
            "thing": by.thing(features).argmax(1),
            "ground": by.ground(features).argmax(1),
            "place": 16 + 3 * by.place(features),
            "features": features,
        }


# --- Training -------------------------------------------------------------------------------------


class Pairs(torch.utils.data.Dataset):
    """Pictures, each with one of its sentences, drawn at random."""

    def __init__(self, rows: Portraits) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows.pictures)

    def __getitems__(self, rows: list[int]) -> dict[str, Tensor]:
        i, own = torch.tensor(rows), self.rows
        which = torch.randint(own.sentences.shape[1], (len(i),))
        return {
            "pictures": own.pictures[i],
            "sentences": own.sentences[i, which],
            "meaning": own.meaning[i],
        }


@kept(12)
def encoder(seed: int, loss: str = "contrastive", side: int = SIDE) -> nn.Module:
    """φ, fitted to the training pictures, and frozen."""
    data = load(side)
    torch.manual_seed(seed)
    both = Fitting(Config.world(len(data.vocabulary), size=side), loss)
    with cpu_threads(1):
        training.fit(
            both,
            Pairs(data.train),
            collate=lambda batch: batch,
            batch_size=64,
            epochs=FITTING_EPOCHS,
            lr=2e-3,
            seed=seed,
        )
    return both.sentences.eval().requires_grad_(False)


@torch.no_grad()
def heard(phi: nn.Module, sentences: Tensor) -> Tensor:
    """Sentences as ids (N, K, T), as vectors (N, K, H)."""
    return phi(sentences.flatten(0, 1)).unflatten(0, sentences.shape[:2])


def batches(
    rows: Portraits, h: Tensor, seed: int, size: int = BATCH, twins: bool = False
) -> Iterator[dict[str, Tensor]]:
    """Batches without end: pictures, the vector of one of their sentences, and that of a sentence
    that means something else.

    With ``twins``, rows 0 and 1 share a meaning, rows 2 and 3, and so on, as ``Config.pairs``
    needs it.
    """
    g = torch.Generator().manual_seed(seed)
    meaning, n, ways = rows.meaning, len(rows.meaning), h.shape[1]
    groups = [(meaning == m).nonzero()[:, 0] for m in range(len(NAMES) * len(GROUNDS))]
    while True:
        i = torch.randint(n, (size,), generator=g)  # (B,)
        way = torch.randint(ways, (2, size), generator=g)
        if twins:
            for k in range(0, size, 2):
                own = groups[int(meaning[i[k]])]
                i[k + 1] = own[int(torch.randint(len(own), (1,), generator=g))]
        wrong = torch.randint(n, (size, 8), generator=g)
        differs = meaning[wrong] != meaning[i][:, None]  # one of eight surely does
        wrong = wrong.gather(1, differs.float().argmax(1, keepdim=True))[:, 0]
        yield {
            "pictures": rows.pictures[i].contiguous(memory_format=torch.channels_last),
            "sentence": h[i, way[0]],
            "wrong": h[wrong, way[1]],
        }


def build(name: str, seed: int, side: int = SIDE, **changes: object) -> TextToImage:
    """A model of :data:`MODELS`, untrained, with a fitted φ."""
    own = {"size": side, **WORLD, **MODELS[name], **changes}
    torch.manual_seed(seed)
    model = TextToImage(Config.world(len(load(side).vocabulary), **own))
    model.encoder.load_state_dict(encoder(seed, side=side).state_dict())
    return model.to(memory_format=torch.channels_last)


@kept(16)
def train(name: str, seed: int, steps: int = STEPS, side: int = SIDE) -> TextToImage:
    """A model of :data:`MODELS`, after the game."""
    return learn(build(name, seed, side), seed, steps)


def learn(model: TextToImage, seed: int, steps: int = STEPS) -> TextToImage:
    """Play the whole game."""
    rows = load(model.config.size).train
    h = heard(model.encoder, rows.sentences)
    with cpu_threads(1):
        torch.manual_seed(seed)
        fit(model, batches(rows, h, seed, twins=bool(model.config.pairs)), steps)
        settle(model, h[:, 0])
    return model


@kept(2)
def regressor(seed: int, steps: int = STEPS, side: int = SIDE) -> TextToImage:
    """The same generator without z, that learns to be near the picture in the mean square, at as
    many steps. Nobody judges it."""
    model = build("without z", seed, side, average=0.0)
    rows, G = load(side).train, model.generator.train()
    h = heard(model.encoder, rows.sentences)
    opt = torch.optim.Adam(G.parameters(), 2e-3, betas=(0.5, 0.99))
    falling = torch.optim.lr_scheduler.LinearLR(opt, 1, 0, total_iters=steps)
    with cpu_threads(1):
        for batch in itertools.islice(batches(rows, h, seed), steps):
            drawn = G(batch["sentence"], model.codes(BATCH))
            loss = F.mse_loss(drawn, batch["pictures"])
            opt.zero_grad()
            loss.backward()
            opt.step()
            falling.step()
    return model


# --- Measures -------------------------------------------------------------------------------------


def apart(pictures: Tensor) -> Tensor:
    """How far K pictures of one sentence are from each other: the root of the mean squared
    difference, the mean of all pairs. (M, K, 3, S, S) → (M,)."""
    flat = pictures.flatten(2)
    k, d = flat.shape[1:]
    return torch.cdist(flat, flat).sum((1, 2)) / (k * (k - 1) * d**0.5)


def spread(place: Tensor) -> Tensor:
    """How far things wander among K pictures of one sentence: the standard deviation of (M, K, 3),
    the mean of across, down and side, in thirty-seconds of the picture's side. → (M,)"""
    return place.std(1).mean(1)


def sharpness(pictures: Tensor) -> float:
    """The mean absolute step from a pixel to the next, across and down."""
    across = (pictures[..., 1:] - pictures[..., :-1]).abs().mean()
    return float(across + (pictures[..., 1:, :] - pictures[..., :-1, :]).abs().mean()) / 2


def frechet(one: Tensor, two: Tensor) -> float:
    """The Fréchet distance of two clouds of features (N, D), as if each were normal:
    |m₁ − m₂|² + tr(C₁ + C₂ − 2 √(C₁C₂)) (Heusel et al. 2017)."""
    a, b = (x.double().numpy() for x in (one, two))
    ca, cb = np.cov(a.T), np.cov(b.T)
    root = np.sqrt(np.linalg.eigvals(ca @ cb).real.clip(0)).sum()  # the trace of the root
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb) - 2 * root)


def drawings(model: TextToImage, rows: Portraits, seed: int = 0) -> Tensor:
    """A drawing (N, 3, S, S) of the first sentence of each portrait."""
    codes = model.codes(len(rows.thing), torch.Generator().manual_seed(seed))
    return torch.cat(
        [
            model.draw(said, z)
            for said, z in zip(rows.sentences[:, 0].split(500), codes.split(500), strict=True)
        ]
    )


def several(model: TextToImage, rows: Portraits, seed: int = 0) -> Tensor:
    """Eight drawings (M, 8, 3, S, S) of one sentence for each combination of thing and ground."""
    first = [int((rows.meaning == m).nonzero()[0]) for m in rows.meaning.unique()]
    said = rows.sentences[first, 0].repeat_interleave(PER, 0)
    codes = model.codes(len(said), torch.Generator().manual_seed(seed))
    return model.draw(said, codes).unflatten(0, (-1, PER))


def alike(rows: Portraits) -> Tensor:
    """Eight real pictures (M, 8, 3, S, S) of each combination that has so many."""
    groups = [(rows.meaning == m).nonzero()[:PER, 0] for m in rows.meaning.unique()]
    return torch.stack([rows.pictures[own] for own in groups if len(own) == PER])


def judged(model: TextToImage, seed: int = 0) -> Values:
    """How often the judge sees in a drawing what the sentence says, on sentences of combinations
    that were seen in training and of others; how far the drawings are from real pictures; how
    different and how sharp they are."""
    data, out = load(model.config.size), {}
    for name, rows in (("seen", data.seen), ("unseen", data.unseen)):
        pictures = drawings(model, rows, seed)
        said, real = looked_at(pictures), looked_at(rows.pictures)
        for what in ("thing", "ground"):
            out[f"{what}, {name}"] = float((said[what] == getattr(rows, what)).float().mean())
        out[f"frechet, {name}"] = frechet(said["features"], real["features"])
        if name == "seen":
            out["sharpness"] = sharpness(pictures)
    many = several(model, data.seen, seed)
    place = looked_at(many.flatten(0, 1))["place"].unflatten(0, many.shape[:2])
    return out | {"apart": float(apart(many).mean()), "wander": float(spread(place).mean())}


@functools.cache
def real(side: int = SIDE) -> Values:
    """The same measures on real pictures: what can be reached."""
    rows = load(side).seen
    said, many = looked_at(rows.pictures), alike(rows)
    place = looked_at(many.flatten(0, 1))["place"].unflatten(0, many.shape[:2])
    return {
        "thing": float((said["thing"] == rows.thing).float().mean()),
        "ground": float((said["ground"] == rows.ground).float().mean()),
        "sharpness": sharpness(rows.pictures),
        "apart": float(apart(many).mean()),
        "wander": float(spread(place).mean()),
    }


# --- What each part is worth ----------------------------------------------------------------------

#: The parts were measured while z was sought a little less than in "with z".
BEFORE: dict[str, object] = {"seeking": 0.2}
#: What differs from ``BEFORE``; ``loss`` is that of φ, ``side`` that of the pictures in pixels.
PARTS: dict[str, dict[str, object]] = {
    "all": {},
    "not augmented": {"augment": False},
    "z not sought": {"seeking": 0.0},
    "no wrong sentences": {"matching": False},
    "no wrong sentences, not augmented": {"matching": False, "augment": False},
    "not averaged": {"average": 0.0},
    "rates never fall": {"falling": 1.0},
    "φ by the hinge": {"loss": "hinge"},
    "and sentences half-way": {"interpolation": 0.5},
    "and pairs judged": {"pairs": 0.1},
    "and D kept from stretching": {"spectral": True},
    "and D's slope kept small": {"r1": 0.1},
    "D ten times as fast": {"rates": (6e-4, 4e-3)},
    "64 pixels": {"side": 64},
    "as the paper": {
        "augment": False,
        "seeking": 0.0,
        "average": 0.0,
        "falling": 1.0,
        "interpolation": 1.0,
        "rates": (2e-4, 2e-4),
        "beta2": 0.999,
        "loss": "hinge",
    },
}


@kept(12)
def changed(name: str, seed: int, steps: int = STEPS) -> TextToImage:
    """The model of one of the :data:`PARTS`, after the game."""
    changes = {**BEFORE, **PARTS[name]}
    loss, side = str(changes.pop("loss", "contrastive")), int(changes.pop("side", SIDE))
    model = build("with z", seed, side, **changes)
    model.encoder.load_state_dict(encoder(seed, loss, side).state_dict())
    return learn(model, seed, steps)


def without(name: str, seed: int) -> Values:
    """What :func:`judged` says of it."""
    return judged(changed(name, seed))


# --- The claims -----------------------------------------------------------------------------------


def c27(seed: int) -> Values:
    """With z, without, and the regressor; and real pictures."""
    out = {f"real: {name}": value for name, value in real().items()}
    for name in ("with z", "without z"):
        out |= {f"{name}: {what}": value for what, value in judged(train(name, seed)).items()}
    out |= {f"regressor: {what}": value for what, value in judged(regressor(seed)).items()}
    out["apart, of real"] = out["with z: apart"] / out["real: apart"]
    out["wander, of real"] = out["with z: wander"] / out["real: wander"]
    return out


def c28(seed: int) -> Values:
    """With the matching-aware term and without it."""
    out = {}
    for name in ("with z", "deaf"):
        out |= {f"{name}: {what}": value for what, value in judged(train(name, seed)).items()}
    return out


EXPERIMENTS = [
    Experiment(
        "C27",
        "Of 72 sentences about one thing on one ground, with eight codes z each, and judged on 1,500 unseen pictures: without z the eight "
        "drawings of a sentence are the same picture. With z they differ at least half as much as eight real pictures of one sentence do "
        "(root of the mean squared difference of the pixels), and the thing itself wanders: its place and size, as a trained judge reads "
        "them, spread at least a third as much as the real ones. A generator without z that is only asked to be near the picture in the "
        "mean square draws less sharply (mean step from a pixel to the next), and what it draws is further from real pictures (Fréchet "
        "distance on the judge's features).",
        [
            Part("difference with z, real pictures = 1", "apart, of real", ">=", 0.5),
            Part("difference without z", "without z: apart", "<", 1e-5),
            Part("wandering with z, real pictures = 1", "wander, of real", ">=", 1 / 3),
            Part(
                "sharpness, with z − regressor",
                "with z: sharpness",
                ">",
                0,
                minus="regressor: sharpness",
            ),
            Part(
                "Fréchet distance, with z − regressor",
                "with z: frechet, seen",
                "<",
                0,
                minus="regressor: frechet, seen",
            ),
        ],
        c27,
        "Twelve things that fill the picture, 32 pixels. Half the difference does not come by itself: a term of the loss asks for it (mode "
        "seeking), and the judge of both networks sees its pictures tinted and moved. That z makes the pictures better is not claimed.",
    ),
    Experiment(
        "C28",
        "The judge of the game is shown real pictures with wrong sentences, too, and must call them false (GAN-CLS), or it is not; all "
        "else is equal, at equal steps. With them the thing and the ground of the sentence are in the drawing more often, as a judge sees it "
        "that was trained apart: on sentences whose thing and ground were seen together in training, and on others.",
        [
            Part("thing, with − without", "with z: thing, seen", ">", 0, minus="deaf: thing, seen"),
            Part(
                "ground, with − without", "with z: ground, seen", ">", 0, minus="deaf: ground, seen"
            ),
            Part(
                "thing, never together, with − without",
                "with z: thing, unseen",
                ">",
                0,
                minus="deaf: thing, unseen",
            ),
            Part(
                "ground, never together, with − without",
                "with z: ground, unseen",
                ">",
                0,
                minus="deaf: ground, unseen",
            ),
        ],
        c28,
        "At 2,600 steps; without the term it may only be slower. The wrong sentence always means something else, by the truth of the world.",
    ),
]
