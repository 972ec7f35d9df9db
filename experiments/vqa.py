"""The claims of the chapter on questions: C29, where the streams meet; C30, training end to end;
C31, attention over the picture.

Everybody reads the same balanced pairs of questions, sees the same frozen map of the picture, and
trains equally long. The world stays and the model changes: a seed is its start and the order of its
batches. Settings were chosen on seeds from 10 on, on 2,000 training questions that were kept back
(those behind the 14,000 that are used here).
"""

from __future__ import annotations

import functools
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtutor import world
from mmtutor.experiments._captioning import PIXELS, THINGS, images, kept
from mmtutor.experiments.show_attend_tell import area, covered
from mmtutor.kit import training, vision
from mmtutor.kit.runtime import cpu_threads, device, takes_along
from mmtutor.kit.text import Vocabulary, tokenize
from mmtutor.page.ledger import Experiment, Part, Values
from mmtutor.vqa import (
    VQA,
    Config,
    Copying,
    CopyingConfig,
    copies_of,
    encode_answers,
    encode_questions,
)
from mmtutor.world import cast, questions
from mmtutor.world.scenes import Scene

TRAIN, TEST = 14_000, 2_000  # questions, in pairs
POOLED = 3  # cells across that a picture has for models that read it as one long vector
EPOCHS, BATCH = 8, 128
RATE, RATE_GROUNDED = 2e-3, 5e-3
DECAY, WARMUP, DROPOUT = 0.01, 100, 0.1
NAMING, PICTURES = 150, 64  # batches of pictures, whose cells learn their names first
MORE, FINE, RATE_ENCODER, RATE_MORE = 150, 64, 2e-4, 5e-4  # C30: steps, questions in each, rates


# --- The data -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Questions:
    """Balanced pairs: rows 2k and 2k + 1 are one question, asked of two pictures that answer it
    differently.

    Attributes:
        rows: what the world made.
        maps: (N, 112, 6, 6), what the frozen network sees, standardized; float16.
        cells: (N, 36), which of the things is in each cell, or −1.
        questions: (N, T) ids.
        answers: (N,) ids.
    """

    rows: world.Dataset
    maps: Tensor
    cells: Tensor
    questions: Tensor
    answers: Tensor

    def __len__(self) -> int:
        return len(self.answers)


@dataclass(frozen=True)
class Data:
    """Questions to learn from and unseen ones, with the words of both kinds.

    Attributes:
        things: the names of the things, in the order of the alphabet.
        mean, std: (1, 112, 1, 1), of the training maps before they were standardized.
    """

    train: Questions
    test: Questions
    vocabulary: Vocabulary
    answers: Vocabulary
    things: tuple[str, ...]
    mean: Tensor
    std: Tensor


@functools.cache
def load() -> Data:
    """Everything that a model trains and is tested on."""
    rows = {
        split: world.load("questions", split, n, pixels=PIXELS, things=THINGS)
        for split, n in (("train", TRAIN), ("test", TEST))
    }
    vocabulary = Vocabulary(word for one in rows["train"]["question"] for word in tokenize(one))
    answers = Vocabulary(rows["train"]["answer"], specials=())
    things = tuple(sorted({name for own in rows["train"]["things"] for name in own}))
    encoder, parts = vision.ImageEncoder(layer="map").to(device()), {}
    maps = {split: vision.features(images(own), encoder).float() for split, own in rows.items()}
    mean = maps["train"].mean((0, 2, 3), keepdim=True)
    std = maps["train"].std((0, 2, 3), keepdim=True) + 1e-6
    for split, own in rows.items():
        parts[split] = Questions(
            own,
            ((maps[split] - mean) / std).half(),
            cells_of(own, things),
            encode_questions(own["question"], vocabulary),
            encode_answers(own["answer"], answers),
        )
    return Data(parts["train"], parts["test"], vocabulary, answers, things, mean, std)


def cells_of(rows: world.Dataset, things: Sequence[str], across: int = 6) -> Tensor:
    """What is in each cell of the maps, (N, across²): the number of a thing, or −1.

    A thing is in the cells whose middle lies in its box; where boxes overlap, the smallest counts.
    """
    number = {name: i for i, name in enumerate(things)}
    size = PIXELS / across
    middles = (np.arange(across) + 0.5) * size
    out = np.full((len(rows), across, across), -1)
    for own, names, boxes in zip(out, rows["things"], rows["boxes"], strict=True):
        for (x0, y0, x1, y1), name in sorted(zip(boxes, names), key=lambda one: -area(one[0])):
            inside = np.ix_(covered(middles, y0, y1, size), covered(middles, x0, x1, size))
            own[inside] = number[name]
    return torch.from_numpy(out).flatten(1)


def lexicon(data: Data) -> tuple[tuple[int, ...], ...]:
    """The words that name each thing: dog, dogs, animal, animals; as ids."""
    ids, out = data.vocabulary.ids, []
    for name in data.things:
        one = cast.thing(name)
        words = (one.name, one.plural, cast.kind_noun(one.kind), cast.kind_noun(one.kind, True))
        out.append(tuple(ids[word] for word in words if word in ids))
    return tuple(out)


# --- Training -------------------------------------------------------------------------------------

#: What is trained: the settings that differ. The words of ``grounded`` find their cells.
MODELS: dict[str, dict] = {
    "question": {"fusion": "question"},
    "picture": {"fusion": "picture"},
    "sum": {"fusion": "sum"},
    "concatenation": {"fusion": "concatenation"},
    "product": {"fusion": "product"},
    # nothing between the meeting and the answers: what does the meeting itself do?
    "sum, nothing behind": {"fusion": "sum", "mlp": ()},
    "product, nothing behind": {"fusion": "product", "mlp": ()},
    "stacked, a set": {"fusion": "stacked", "joint": 144, "places": "none"},
    "stacked, places added": {"fusion": "stacked", "joint": 144, "places": "sum"},
    "stacked": {"fusion": "stacked", "joint": 144},
    "grounded": {},
}
#: The grounded model without one of its parts; and the product on the whole map.
PARTS: dict[str, dict] = {
    "all": {},
    "cells never named": {"naming": 0.0, "names": ()},
    "named by one word each": {"names": "one"},
    "nothing counted": {"counts": 0},
    "no place beside": {"beside": 0},
    "places added": {"places": "sum"},
    "words are copied": {},
    "the product, on all 6 × 6 cells": {"image": (112, 6, 6)},
}


class Asked(torch.utils.data.Dataset):
    """Some questions with their pictures, in whole batches."""

    def __init__(self, own: Questions, pooled: bool) -> None:
        self.own, self.pooled = own, pooled

    def __len__(self) -> int:
        return len(self.own)

    def __getitems__(self, rows: Sequence[int]) -> dict[str, Tensor]:
        own = self.own
        seen = see(own.maps[rows], self.pooled)
        return {
            "features": seen,
            "questions": own.questions[rows],
            "answers": own.answers[rows],
            "cells": own.cells[rows],
        }


def see(maps: Tensor, pooled: bool) -> Tensor:
    """Maps (B, 112, 6, 6); for a model that reads a picture as one long vector the means of 2 × 2
    cells, (B, 112, 3, 3): a quarter of the weights, and less to learn by heart."""
    maps = maps.float()
    return F.adaptive_avg_pool2d(maps, POOLED) if pooled else maps


def settings(name: str, **changes: object) -> Config:
    """The settings of one of the models, or of :data:`PARTS` by ``grounded`` and changes."""
    data = load()
    sizes = (len(data.vocabulary), len(data.answers))
    if name == "grounded":
        names = lexicon(data)
        if changes.get("names") == "one":
            changes = {**changes, "names": tuple(own[:1] for own in names)}
        return Config.grounded(*sizes, **{"names": names, **changes})
    own = {"start": "torch", "dropout": DROPOUT, **MODELS[name], **changes}
    if own["fusion"] not in ("question", "stacked"):
        own["image"] = (112, POOLED, POOLED)
    return Config.world(*sizes, **own)


@takes_along
class Naming(nn.Module):
    """The part of a model that names cells, to be trained alone."""

    def __init__(self, model: VQA) -> None:
        super().__init__()
        self.words, self.pointer = model.words, model.grounding.pointer
        self.loss = model.naming


def fit(model: nn.Module, own: Questions, **changes: object) -> training.History:
    """Train on questions; on one thread, since the operations are small."""
    pooled = getattr(model, "config", None) is not None and model.config.image[-1] == POOLED
    made = dict(weight_decay=DECAY, collate=lambda batch: batch)
    with cpu_threads(1):
        return training.fit(model, Asked(own, pooled), **{**made, **changes})


@kept(2)
def copying(seed: int) -> Copying:
    """``grounded``, and words of the question may be copied; trained as in :func:`train`."""
    data = load()
    torch.manual_seed(seed)
    own = {f.name: getattr(settings("grounded"), f.name) for f in fields(Config)}
    model = Copying(CopyingConfig(**own, copies=copies_of(data.vocabulary, data.answers)))
    names = dict(batch_size=PICTURES, max_steps=NAMING)
    fit(Naming(model), data.train, lr=RATE_GROUNDED, seed=seed, **names)
    more = dict(batch_size=BATCH, epochs=EPOCHS, warmup=WARMUP)
    fit(model, data.train, lr=RATE_GROUNDED, seed=seed, **more)
    return model


@kept(16)
def train(name: str, seed: int, **changes: object) -> VQA:
    """One of the models, trained from a seed.

    Where words find their cells, they first learn the names of the cells, without questions.
    """
    own = load().train
    torch.manual_seed(seed)
    model = VQA(settings(name, **changes))
    if model.config.naming:
        fit(Naming(model), own, batch_size=PICTURES, max_steps=NAMING, lr=RATE_GROUNDED, seed=seed)
    rate = RATE_GROUNDED if model.config.fusion == "stacked" else RATE
    fit(model, own, batch_size=BATCH, epochs=EPOCHS, lr=rate, warmup=WARMUP, seed=seed)
    return model


# --- Measuring ------------------------------------------------------------------------------------


@torch.no_grad()
def answers(model: VQA, maps: Tensor, asked: Tensor) -> Tensor:
    """The most probable answers, (N,) ids, of questions (N, T) about pictures (N, 112, 6, 6)."""
    model.eval()
    pooled = model.config.image[-1] == POOLED
    with cpu_threads(1):
        return torch.cat(
            [
                model.answer(see(own, pooled), ids)
                for own, ids in zip(maps.split(500), asked.split(500), strict=True)
            ]
        )


def right(model: VQA, own: Questions) -> np.ndarray:
    """Which questions a model answers rightly, (N,) bool."""
    return (answers(model, own.maps, own.questions) == own.answers).numpy()


def by_type(correct: np.ndarray, own: Questions) -> dict[str, float]:
    """The share of right answers: of all questions, of each type, and of each thing that yes/no
    questions ask for."""
    types, subtypes = np.array(own.rows["type"]), np.array(own.rows["subtype"])
    out = {"all": float(correct.mean())}
    out |= {kind: float(correct[types == kind].mean()) for kind in questions.TYPES}
    asked = types == "yes/no"
    for sub in sorted(set(subtypes[asked])):
        out[f"yes/no, {sub}"] = float(correct[asked & (subtypes == sub)].mean())
    return out


def pairs_right(correct: np.ndarray) -> float:
    """The share of pairs of which both answers are right: who has not looked gets none."""
    return float(correct.reshape(-1, 2).all(1).mean())


def blind(own: Questions, seen: Questions) -> dict[str, float]:
    """The share of right answers of the best guess that knows the type and the words of a question:
    the most frequent answer in training to the same question, or to its type."""
    exact: dict[str, Counter] = {}
    rough: dict[str, Counter] = {}
    rows = seen.rows
    for text, kind, found in zip(rows["question"], rows["type"], rows["answer"], strict=True):
        exact.setdefault(text, Counter())[found] += 1
        rough.setdefault(kind, Counter())[found] += 1
    rows = own.rows
    guess = [
        exact.get(text, rough[kind]).most_common(1)[0][0]
        for text, kind in zip(rows["question"], rows["type"], strict=True)
    ]
    return by_type(np.array(guess) == np.array(rows["answer"]), own)


@functools.cache
def two_questions() -> tuple[Tensor, Tensor, Tensor]:
    """Two questions of one picture, of the same type and with different answers: "where is the
    dog", "where is the car".

    Returns:
        rows of the unseen questions whose picture it is (M,), the questions as ids (M, 2, T), and
        the answers (M, 2).
    """
    data, chance = load(), random.Random(0)
    rows, asked, told = [], [], []
    known = data.vocabulary.ids, data.answers.ids
    for row, text in enumerate(data.test.rows["scene"]):
        scene, by_kind = Scene.from_json(text), {}
        for one in questions.ask(scene):
            fits = one.answer in known[1] and all(w in known[0] for w in tokenize(one.question))
            if one.type in ("what", "where") and fits:
                by_kind.setdefault(one.type, []).append(one)
        for own in by_kind.values():
            chance.shuffle(own)
            other = next((one for one in own if one.answer != own[0].answer), None)
            two = (own[0], other)
            if other and all(questions.clear_cut(one.question, scene) for one in two):
                rows.append(row)
                asked += [one.question for one in two]
                told += [one.answer for one in two]
    ids = encode_questions(asked, data.vocabulary)
    found = encode_answers(told, data.answers)
    return torch.tensor(rows), ids.unflatten(0, (-1, 2)), found.unflatten(0, (-1, 2))


def listens(model: VQA) -> dict[str, float]:
    """Of two questions of one picture: how often both answers are right, and how often the model
    says the same to both, as if it had not heard what was asked."""
    rows, asked, told = two_questions()
    maps = load().test.maps[rows].repeat_interleave(2, 0)
    found = answers(model, maps, asked.flatten(0, 1)).unflatten(0, (-1, 2))
    return {
        "both right": float((found == told).all(1).double().mean()),
        "same to both": float((found[:, 0] == found[:, 1]).double().mean()),
    }


def mistakes(model: VQA, likely: VQA) -> dict[str, float]:
    """What a model says where it is wrong, as shares of its wrong answers: what would be true of
    the twin; a thing that is in the picture; what ``likely``, who has read the question alone, would
    have said."""
    data = load()
    own = data.test
    found = answers(model, own.maps, own.questions)
    wrong = (found != own.answers).numpy()
    twin = own.answers.view(-1, 2).flip(1).flatten()
    guess = answers(likely, own.maps, own.questions)
    words = np.array(data.answers.decode(found.tolist()))
    there = np.array([word in own for word, own in zip(words, own.rows["things"], strict=True)])
    a_thing = np.isin(words, data.things)
    out = {
        "wrong": float(wrong.mean()),
        "of the twin": float((found == twin).numpy()[wrong].mean()),
        "likely": float((found == guess).numpy()[wrong].mean()),
        "of right ones likely": float((found == guess).numpy()[~wrong].mean()),
    }
    if (wrong & a_thing).any():
        out["a thing that is there"] = float(there[wrong & a_thing].mean())
    return out


def c29(seed: int) -> Values:
    """How often each way to meet is right, by type of question, in pairs, and about two questions
    of one picture."""
    data, out = load(), {}
    for name in MODELS:
        if not name.startswith(("stacked", "grounded")):
            model = train(name, seed)
            correct = right(model, data.test)
            out |= {f"{name}: {kind}": share for kind, share in by_type(correct, data.test).items()}
            out[f"{name}: pairs"] = pairs_right(correct)
            out |= {f"{name}: {what}": share for what, share in listens(model).items()}
            out[f"{name}: seen"] = float(right(model, data.train).mean())
    return out | {f"blind: {kind}": share for kind, share in blind(data.test, data.train).items()}


def c31(seed: int) -> Values:
    """The same of the models that look, beside the product; and what the grounded one says where it
    is wrong."""
    data, out = load(), {}
    for name in ("product", *MODELS):
        if name == "product" or name.startswith(("stacked", "grounded")):
            model = train(name, seed)
            correct = right(model, data.test)
            out |= {f"{name}: {kind}": share for kind, share in by_type(correct, data.test).items()}
            out[f"{name}: pairs"] = pairs_right(correct)
            out |= {f"{name}: {what}": share for what, share in listens(model).items()}
    said = mistakes(train("grounded", seed), train("question", seed))
    return out | {f"mistakes: {what}": share for what, share in said.items()}


@functools.cache
def which_is() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Every "which is bigger the dog or the car" and "which is smaller …" that can be asked of the
    unseen pictures: rows of the pictures (M,), questions as ids (M, T), the answers (M,), and the
    other of the two (M,)."""
    data, out, met = load(), [], set()
    for row, text in enumerate(data.test.rows["scene"]):
        if text in met:  # a picture is asked about more than once
            continue
        met.add(text)
        for one in questions.ask(Scene.from_json(text)):
            if one.question.startswith("which is"):
                words = tokenize(one.question)
                other = words[4] if words[7] == one.answer else words[7]
                out.append((row, one.question, one.answer, other))
    rows, asked, told, others = zip(*out, strict=True)
    ids = encode_questions(asked, data.vocabulary)
    both = (encode_answers(words, data.answers) for words in (told, others))
    return torch.tensor(rows), ids, *both


def compares(model: VQA) -> dict[str, float]:
    """Of the questions of :func:`which_is`: the share that is right, and the share that is answered
    with one of the two things."""
    rows, asked, told, others = which_is()
    said = answers(model, load().test.maps[rows], asked)
    right, of_both = said == told, (said == told) | (said == others)
    return {
        "which is bigger": float(right.float().mean()),
        "which is bigger, names one of both": float(of_both.float().mean()),
    }


def without(name: str, seed: int) -> Values:
    """How often one of :data:`PARTS` is right, by type of question."""
    own = load()
    if name.startswith("the product"):
        torch.manual_seed(seed)
        model = VQA(replace(settings("product"), **PARTS[name]))
        fit(model, own.train, batch_size=BATCH, epochs=EPOCHS, lr=RATE, warmup=WARMUP, seed=seed)
    elif name == "words are copied":
        model = copying(seed)
    else:
        model = train("grounded", seed, **PARTS[name])
    return by_type(right(model, own.test), own.test) | compares(model)


# --- C30: end to end ------------------------------------------------------------------------------


class EndToEnd(nn.Module):
    """A model with the network that sees for it, which learns too.

    The statistics of its batch normalisation stay as they are.
    """

    def __init__(self, model: VQA, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.model, self.encoder = model, vision.ImageEncoder(layer="map")
        self.encoder.requires_grad_(True)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def maps(self, pictures: Tensor) -> Tensor:
        """Pictures (B, H, W, 3) uint8 as standardized maps (B, 112, H / 16, W / 16).

        Past the encoder's own ``forward``, which lets no gradient through.
        """
        own = self.encoder
        seen = own.body((vision.rgb(pictures.permute(0, 3, 1, 2)) - own.mean) / own.std)
        return (seen - self.mean) / self.std

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """That of the model; the batch has ``"pictures"``."""
        return self.model.loss({**batch, "features": see(self.maps(batch["pictures"]), True)})


class Pictures(torch.utils.data.Dataset):
    """Questions with the pictures themselves."""

    def __len__(self) -> int:
        return TRAIN

    def __getitems__(self, rows: Sequence[int]) -> dict[str, Tensor]:
        own = load().train
        seen = torch.from_numpy(np.stack([own.rows[int(row)]["image"] for row in rows]))
        return {"pictures": seen, "questions": own.questions[rows], "answers": own.answers[rows]}


def slower(encoder: nn.Module) -> type:
    """An optimizer for :func:`fit`: AdamW, with a lower rate for the encoder, which knows much
    already."""
    own = {id(p) for p in encoder.parameters()}

    def make(weights: list[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
        parts = [[p for p in weights if (id(p) in own) == inside] for inside in (False, True)]
        rates = (lr, lr * RATE_ENCODER / RATE_MORE)
        chosen = [{"params": p, "lr": rate} for p, rate in zip(parts, rates) if p]
        return torch.optim.AdamW(chosen, lr=lr, weight_decay=weight_decay)

    return make


def without_gradient(whole: nn.Module) -> int:
    """How many of the weights' tensors got no gradient, or one of zeros alone."""
    return sum(p.grad is None or not p.grad.any() for p in whole.parameters())


def c30(seed: int) -> Values:
    """How many tensors of weights, of both streams and the network that sees, get no gradient from
    the answers. And the product model, trained, goes on learning for as many steps on the same
    questions: its encoder frozen, or all of it."""
    data, out = load(), {}
    for name in ("frozen", "end to end"):
        model = VQA(settings("product"))
        model.load_state_dict(train("product", seed).state_dict())
        whole = EndToEnd(model, data.mean, data.std)
        whole.encoder.requires_grad_(name == "end to end")
        if name == "end to end":
            whole.loss(Pictures().__getitems__(range(FINE)))["loss"].backward()
            out["weights"] = float(len(list(whole.parameters())))
            out["weights without gradient"] = float(without_gradient(whole))
            whole.zero_grad()
        with cpu_threads(1):
            training.fit(
                whole,
                Pictures(),
                collate=lambda batch: batch,
                batch_size=FINE,
                max_steps=MORE,
                epochs=math.ceil(MORE * FINE / TRAIN),
                lr=RATE_MORE,
                optimizer=slower(whole.encoder),
                weight_decay=DECAY,
                warmup=10,
                seed=seed,
            )
            with torch.no_grad():
                pictures = torch.from_numpy(images(data.test.rows)).split(250)
                maps = torch.cat([whole.maps(part) for part in pictures])
        correct = right(model, replace(data.test, maps=maps))
        out |= {f"{name}: {kind}": share for kind, share in by_type(correct, data.test).items()}
    out["before: all"] = float(right(train("product", seed), data.test).mean())
    return out


# --- The rules ------------------------------------------------------------------------------------


EXPERIMENTS = [
    Experiment(
        "C29",
        "2,000 unseen questions in balanced pairs. The question alone is right within 3 points of 0.30; picture and question, multiplied "
        "element by element, at least 20 points more often than the question alone, and more often than the picture alone. With nothing "
        "behind the meeting but the answers: the product answers more questions than the sum does, and of two questions of one picture both "
        "more often.",
        [
            Part(
                "accuracy, product − question only",
                "product: all",
                ">",
                0.20,
                minus="question: all",
            ),
            Part("accuracy, question only", "question: all", "within", (0.27, 0.33)),
            Part("accuracy, product − picture only", "product: all", ">", 0, minus="picture: all"),
            Part(
                "nothing behind: accuracy, product − sum",
                "product, nothing behind: all",
                ">",
                0,
                minus="sum, nothing behind: all",
            ),
            Part(
                "nothing behind: both of two questions, product − sum",
                "product, nothing behind: both right",
                ">",
                0,
                minus="sum, nothing behind: both right",
            ),
        ],
        c29,
        "Of drawn scenes of 24 things through one frozen network, at one length of training. A hidden layer behind the meeting can multiply by "
        "itself: there the product has no lead that this rule would ask for.",
    ),
    Experiment(
        "C30",
        "From the loss of the answers every tensor of weights gets a gradient: of the question's stream, of the picture's, and of the "
        "pre-trained network that sees. And when the trained product model goes on learning, all of it at once ends ahead of the same with its "
        "network frozen, after as many steps on the same questions.",
        [
            Part("tensors of weights without a gradient", "weights without gradient", "==", 0),
            Part(
                "accuracy, end to end − frozen",
                "end to end: all",
                ">",
                0,
                minus="frozen: all",
            ),
        ],
        c30,
        "At equal steps, not at equal time: a step end to end takes many times as long. 150 steps of 64 questions; the statistics of batch "
        "normalisation stay frozen.",
    ),
    Experiment(
        "C31",
        "Questions that ask *where*: a model that looks twice at the map, and knows where its cells lie, is right more often than the product "
        "model on the map as one long vector; told nothing of places it is not. Where words find their cells besides, at least 70 % of all "
        "questions and 75 % of *where* are answered rightly.",
        [
            Part("where, attention − product", "stacked: where", ">", 0, minus="product: where"),
            Part(
                "where, attention on a set − product",
                "stacked, a set: where",
                "<",
                0,
                minus="product: where",
            ),
            Part("grounded words: all", "grounded: all", ">", 0.70),
            Part("grounded words: where", "grounded: where", ">", 0.75),
        ],
        c31,
        "In training, grounded words are told which cells they name; the other models learn from the answers alone. The product model sees means of 2 × 2 "
        "cells, which serves it better than the whole map.",
    ),
]
