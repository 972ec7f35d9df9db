"""Beside C27 and C28: sentences that also say how large the thing is and on which side it stands.

The same game, at the same length, on pictures in which the thing may stand anywhere. A sentence ends
with two more facts: "a dog on the beach, small, on the left". What they are comes from the truth of
the picture. A judge of its own learnt from other pictures of all combinations.

Then the cure: players that are told in training where the thing stands. It was chosen with seed 10, on
sentences of other pictures, and with twelve more combinations held back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mmtutor import world
from mmtutor.experiments import text_to_image as centred
from mmtutor.experiments._captioning import kept
from mmtutor.experiments.text_to_image import SIDE, Judge, Portraits
from mmtutor.kit import training
from mmtutor.kit.runtime import cpu_threads
from mmtutor.kit.text import Vocabulary, tokenize
from mmtutor.page.ledger import Experiment, Values
from mmtutor.text_to_image import (
    Config,
    Fitting,
    PlacedConfig,
    PlacedTextToImage,
    TextToImage,
    fit,
    settle,
    with_place,
)

#: The sentence says where the thing is, so z need not move it.
WORLD = {**centred.WORLD, "seeking": 0.0}
#: The facts, with their words; a picture has one of each.
SIZES, SIDES = ("small", "large"), ("on the left", "on the right")
HALF, BOUND = 16, 12  # thirty-seconds of the side: the middle; between small and large
#: φ reads longer than in the chapter's model: after 5 epochs a linear reading of what it had not heard
#: together missed the thing in four of ten sentences.
EPOCHS, JUDGE_EPOCHS, PLACES_EPOCHS = 15, 8, 60
FACTS = ("thing", "ground", "size", "half")
SAID, WHERE = "size and side said", "and told where"
#: A step of the second takes longer. 2,000 were more than it needs; 1,600 were tried next, as the cure
#: was, and kept: there 0.96 and 0.72 of the things were right, where 0.90 and 0.70 are asked.
STEPS = {SAID: centred.STEPS, WHERE: 1600}
#: What differs from ``WORLD``: the players of the second change what they see by themselves.
PARTS: dict[str, dict[str, object]] = {SAID: {}, WHERE: {"augment": False}}
EXPERIMENTS: list[Experiment] = []  # no claim of the lectures


@dataclass(frozen=True)
class Placed(Portraits):
    """Portraits whose sentences also say size and side.

    Attributes:
        size: which of :data:`SIZES` (N,).
        half: which of :data:`SIDES` (N,).
    """

    size: Tensor
    half: Tensor

    @property
    def meaning(self) -> Tensor:
        """A number (N,) for each combination of thing, ground, size and side."""
        return super().meaning * 4 + self.size * 2 + self.half


def rows_of(split: str, n: int, seed: int = 0) -> tuple[world.Dataset, Tensor, Tensor]:
    """Rows of the world with things anywhere, and their sizes and sides (N,)."""
    more = {"things": centred.THINGS, "framing": "anywhere", "held_out": centred.APART}
    rows = world.load("portraits", split, n, seed=seed, pixels=SIDE, **more)
    place = centred.read(rows, words()).place * (32 / SIDE)  # (N, 3)
    return rows, (place[:, 2] > BOUND).long(), (place[:, 0] > HALF).long()


@kept(1)
def words() -> Vocabulary:
    """The words of the usual sentences, and those of the two facts."""
    more = {"things": centred.THINGS, "framing": "anywhere", "held_out": centred.APART}
    rows = world.load("portraits", "train", centred.TRAIN, pixels=SIDE, **more)
    said = [word for own in rows["captions"] for text in own for word in tokenize(text)]
    facts = [word for text in (*SIZES, *SIDES) for word in tokenize(text)]
    return Vocabulary(said + facts, specials=("<pad>",))


def say(captions: list[list[str]], size: Tensor, half: Tensor) -> tuple[list[list[str]], Tensor]:
    """Sentences with the two facts behind them, in words and as ids (N, K, T)."""
    facts = [f", {SIZES[s]}, {SIDES[h]}" for s, h in zip(size.tolist(), half.tolist(), strict=True)]
    said = [[text + fact for text in own] for own, fact in zip(captions, facts, strict=True)]
    ids = [torch.tensor(words().encode(text)) for own in said for text in own]
    ids = nn.utils.rnn.pad_sequence(ids, batch_first=True)
    return said, ids.unflatten(0, (len(said), -1))


@kept(4)
def placed(split: str, n: int, seed: int = 0) -> Placed:
    """Pictures with sentences that say everything."""
    rows, size, half = rows_of(split, n, seed)
    own = vars(centred.read(rows, words()))
    captions, ids = say(own["captions"], size, half)
    return Placed(**{**own, "sentences": ids, "captions": captions}, size=size, half=half)


@kept(1)
def judge() -> Judge:
    """A judge of such pictures, trained on all combinations."""
    parts = [placed(split, n, centred.JUDGE_SEED) for split, n in centred.JUDGED.items()]
    names = ("pictures", "thing", "ground", "place")
    batch = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    batch["place"] = batch["place"] * (32 / SIDE)
    torch.manual_seed(0)
    model = Judge()
    with cpu_threads(1):
        training.fit(model, batch, batch_size=64, epochs=JUDGE_EPOCHS, lr=2e-3, seed=0)
    return model.eval()


@kept(2)
def fitted(seed: int) -> Fitting:
    """φ, fitted to the training pictures, with the network that saw them, and frozen."""
    torch.manual_seed(seed)
    both = Fitting(Config.world(len(words()), size=SIDE), "contrastive")
    with cpu_threads(1):
        training.fit(
            both,
            centred.Pairs(placed("train", centred.TRAIN)),
            collate=lambda batch: batch,
            batch_size=64,
            epochs=EPOCHS,
            lr=2e-3,
            seed=seed,
        )
    return both.eval().requires_grad_(False)


def told(rows: Placed, h: Tensor, seed: int) -> Iterator[dict[str, Tensor]]:
    """The usual batches with places beside the sentences. A wrong sentence has none: it is judged
    where the right one says."""
    width, own = h.shape[-1], (rows.place / SIDE)[:, None].expand(-1, h.shape[1], -1)
    both = with_place(h.flatten(0, 1), own.flatten(0, 1)).unflatten(0, h.shape[:2])
    for batch in centred.batches(rows, both, seed):
        yield {**batch, "wrong": batch["wrong"][:, :width]}


@kept(4)
def train(seed: int, name: str = SAID) -> TextToImage:
    """The usual game with the longer sentences, after one of the :data:`PARTS`."""
    rows, where = placed("train", centred.TRAIN), name == WHERE
    kinds = (PlacedConfig, PlacedTextToImage) if where else (Config, TextToImage)
    torch.manual_seed(seed)
    model = kinds[1](kinds[0].world(len(words()), size=SIDE, **{**WORLD, **PARTS[name]}))
    model.encoder.load_state_dict(fitted(seed).sentences.state_dict())
    model.encoder.eval().requires_grad_(False)
    model = model.to(memory_format=torch.channels_last)
    h = centred.heard(model.encoder, rows.sentences)
    with cpu_threads(1):
        if where:
            data = {"sentence": h[:, 0], "place": rows.place / SIDE}
            training.fit(
                model.places, data, batch_size=256, epochs=PLACES_EPOCHS, lr=0.1, seed=seed
            )
        torch.manual_seed(seed)
        fit(model, (told if where else centred.batches)(rows, h, seed), STEPS[name])
        settle(model, h[:, 0])
    return model


def seen(pictures: Tensor) -> dict[str, Tensor]:
    """What the judge says of pictures: thing, ground, size and side, (N,) each."""
    said = centred.looked_at(pictures, judge())
    said["size"] = (said["place"][:, 2] > BOUND).long()
    said["half"] = (said["place"][:, 0] > HALF).long()
    return {name: said[name] for name in FACTS}


def frechet(one: Tensor, two: Tensor) -> float:
    """The Fréchet distance of drawings and real pictures, on the judge's features."""
    return centred.frechet(*(centred.looked_at(x, judge())["features"] for x in (one, two)))


def foils(rows: Placed, fact: str) -> Tensor:
    """For each row (N,), another one that differs in one fact alone, or −1 where there is none."""
    facts = torch.stack([getattr(rows, name) for name in FACTS], 1)  # (N, 4)
    differs = facts[:, None] != facts  # (N, N, 4)
    k = FACTS.index(fact)
    fits = differs[..., k] & (differs.sum(-1) == 1)
    return torch.where(fits.any(1), fits.byte().argmax(1), -1)


@torch.no_grad()
def reads(model: TextToImage, rows: Placed) -> Values:
    """How often D holds the sentence of a real picture for truer than one that differs in a single
    fact: 0.5 where it does not read this fact."""
    out, D = {}, model.discriminator.eval()
    h = model.encoder(rows.sentences[:, 0])
    for fact in FACTS:
        other = foils(rows, fact)
        mine = (other >= 0).nonzero()[:, 0]
        scores = []
        for said in (h[mine], h[other[mine]]):
            if isinstance(model, PlacedTextToImage):
                said = with_place(said, rows.place[mine] / SIDE)
            parts = zip(rows.pictures[mine].split(300), said.split(300), strict=True)
            # a D that looks twice has two scores of each pair
            scores.append(torch.cat([D(x, s).view(-1, len(x)).sum(0) for x, s in parts]))
        out[f"D reads: {fact}"] = float((scores[0] > scores[1]).float().mean())
    return out


def without(name: str, seed: int) -> Values:
    """How often the judge sees in a drawing each of the four facts of its sentence; the same on
    real pictures; and where only the side is said anew, with the same codes: how often the thing
    moves there, and how often thing and ground stay. And what D reads, see :func:`reads`."""
    if name not in PARTS:
        raise KeyError(name)
    model, out = train(seed, name), {}
    for kind, split in (("seen", "test"), ("unseen", "test_unseen_places")):
        rows = placed(split, centred.TEST)
        drawings = centred.drawings(model, rows)
        drawn = seen(drawings)
        real = seen(rows.pictures)
        for what in drawn:
            truth = getattr(rows, what)
            out[f"{what}, {kind}"] = float((drawn[what] == truth).float().mean())
            out[f"real: {what}, {kind}"] = float((real[what] == truth).float().mean())
        out[f"frechet, {kind}"] = frechet(drawings, rows.pictures)
        if kind == "seen":
            out |= reads(model, rows)
            short, size, half = rows_of(split, centred.TEST)
            captions = centred.read(short, words()).captions
            other = replace(rows, sentences=say(captions, size, 1 - half)[1])
            moved = seen(centred.drawings(model, other))
            out["moved over"] = float((moved["half"] == 1 - half).float().mean())
            stays = (moved["thing"] == drawn["thing"]) & (moved["ground"] == drawn["ground"])
            out["moved over, the rest stays"] = float(stays.float().mean())
    return out
