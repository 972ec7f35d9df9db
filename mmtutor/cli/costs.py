"""What a system costs at the papers' sizes, counted on models without memory."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmtutor import cocktail_party, soundnet, text_to_image
from mmtutor.cli.saying import Saying
from mmtutor.kit.text import SPECIALS
from mmtutor.kit.training import parameter_count

CARDS = (
    (8, "8 GB (a laptop's)"),
    (16, "T4, 16 GB (Colab)"),
    (24, "RTX 4090, 24 GB"),
    (80, "A100, 80 GB"),
)
WORDS = 71_000  # of the text8 corpus; of other vocabularies a system's own, mostly 10,000
SAID = 12  # words of a caption or a question
COOKED = 10  # ingredients of a recipe, and sentences
FRAMES = 28  # of a film
REGIONS = 36  # that a detector found
UNITS = 40  # of a picture told in units
#: The model's class, where one class is all there is.
MODELS = {
    "fusion": "Fusion",
    "joint_embedding": "JointEmbedding",
    "show_and_tell": "ShowAndTell",
    "show_attend_tell": "ShowAttendTell",
    "vqa": "VQA",
    "vlbert": "VLBert",
    "vilbert": "ViLBert",
    "text_to_image": "TextToImage",
    "cocktail_party": "CocktailParty",
    "soundnet": "SoundNet",
    "sound_localization": "SoundLocalizer",
    "recipes": "RecipeEmbedding",
    "video_captioning": "VideoCaptioner",
    "speech2face": "Speech2Face",
}


def costs_of(system: str) -> dict[str, str]:
    """Weights, the memory of training them without the batch, and the multiply-adds of one forward
    pass, in words."""
    module = importlib.import_module(f"mmtutor.{system}")
    config = module.Config.paper()
    if system == "word2vec":
        weights = 2 * WORDS * config.dim
        learned = weights
        adds, what = config.dim * (1 + config.negatives), "a pair of words, with its noise words"
    else:
        model = hollow(system, config)
        weights, learned = parameter_count(model), parameter_count(model, trainable=True)
        pass_, what = PASSES[system](model)
        adds = multiply_adds(pass_)
    memory = (4 * weights + 12 * learned) / 1e9  # weights; gradients, two moments: 4 bytes each
    fits = next((name for size, name in CARDS if memory < 0.5 * size), "more than one card")
    return {
        "at paper size": f"{weights:,} weights, {memory:.2f} GB to train them",
        "fits": f"{fits}, with as much again for the batch",
        "one pass": f"{short(adds)} multiply-adds: {what}",
    }


def short(number: float) -> str:
    """A large number with three digits that count.

    >>> short(1_234_567_890), short(600)
    ('1.23 billion', '600')
    """
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if number >= size:
            return f"{number / size:.3g} {name}"
    return f"{number:.0f}"


def hollow(system: str, config: Any) -> nn.Module:
    """A model of so many weights that holds none of them."""
    if system == "image_to_speech":
        return Saying().hollow(config)
    with torch.device("meta"):
        return getattr(importlib.import_module(f"mmtutor.{system}"), MODELS[system])(config)


@torch.no_grad()
def multiply_adds(forward: Callable[[], Any]) -> int:
    """Of matrix products and convolutions, which is nearly all; each counts once, where programs
    that count operations have two."""
    with FlopCounterMode(display=False) as counter:
        forward()
    return counter.get_total_flops() // 2


# --- One forward pass of each ---------------------------------------------------------------------

Pass = tuple[Callable[[], Any], str]


def zeros(*shape: int, kind: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(*shape, dtype=kind, device="meta")


def ids(length: int) -> Tensor:
    """One sentence."""
    return zeros(1, length, kind=torch.int64)


def embedding(model: Any) -> Pass:
    c, text = model.config, ids(SAID)
    mask = zeros(1, SAID, kind=torch.bool)

    def forward() -> None:
        model.embed_pictures(zeros(1, c.image))
        model.embed_texts(text, mask)

    return forward, f"a picture's features and a text of {SAID} words"


def caption(model: Any) -> Pass:
    c = model.config
    seen = zeros(1, c.image) if hasattr(c, "image") else zeros(1, c.annotation, *c.grid)

    def forward() -> None:
        memory, state = model.begin(seen)
        for _ in range(SAID + 1):  # and the end of the sentence
            _, state = model.step(zeros(1, kind=torch.int64), state, memory)

    return forward, f"a caption of {SAID} words, from a picture's features"


def question(model: Any) -> Pass:
    c = model.config
    seen = zeros(1, *((c.image,) if isinstance(c.image, int) else c.image))
    return lambda: model(seen, ids(SAID)), f"a question of {SAID} words, and a picture's features"


def regions(model: Any) -> Pass:
    c, seen = model.config, REGIONS + 1  # and the whole picture
    boxes, there = zeros(1, seen, 4), zeros(1, seen, kind=torch.bool)
    return (
        lambda: model.eval()(ids(SAID), zeros(1, seen, c.region), boxes, there),
        f"a question of {SAID} words, and the features of {REGIONS} regions",
    )


def fused(model: Any) -> Pass:
    inputs = {name: zeros(1, size) for name, size in model.config.read.items()}
    return lambda: model.eval()(inputs), "the features of a picture and of a sound"


def drawing(model: Any) -> Pass:
    c = model.config
    # the encoder looks at its letters, which what is hollow has not; it is small
    reader = text_to_image.TextEncoder(c)
    letters = text_to_image.letters(["a"])

    def forward() -> None:
        reader(letters)
        model.generator.eval()(zeros(1, c.sentence), zeros(1, c.code))

    return forward, f"a drawing of {c.size} × {c.size} pixels, from {letters.shape[1]} letters"


def mixture(model: Any) -> Pass:
    c = model.config
    Y = zeros(1, c.bins, cocktail_party.frames(c, c.rate), kind=torch.complex64)
    faces = zeros(1, c.voices, c.fps, *c.face)
    return (
        lambda: model.eval().masks(Y, faces),
        f"a second of {c.voices} voices, and the vectors of their faces",
    )


def wave(model: soundnet.SoundNet) -> Pass:
    seconds = 20
    x = zeros(1, seconds * model.config.rate)
    return lambda: model.eval()(x), f"{seconds} seconds of sound"


def place(model: Any) -> Pass:
    c = model.config
    return (
        lambda: model.eval()(zeros(1, *c.image), zeros(1, c.given or c.sound)),
        "a picture's features, and those of a sound",
    )


def spoken(model: Any) -> Pass:
    c, tells, voice = model.config, model.captioner, model.voice
    seen, first = zeros(1, c.annotation, *c.grid), len(SPECIALS)

    def forward() -> None:
        tells(seen, zeros(1, UNITS + 1, kind=torch.int64) + first)
        x, _ = voice.eval().plans(ids(UNITS))
        time = 2 * UNITS
        frames = zeros(1, UNITS, kind=torch.int64)
        voice.paint_frames(x, frames, zeros(1, time), zeros(1, time))

    return forward, f"a picture's features in {UNITS} units, spoken in {2 * UNITS} frames"


def cooked(model: Any) -> Pass:
    c = model.config

    def forward() -> None:
        model.embed_picture(zeros(1, c.image))
        model.embed_recipe(ids(COOKED), zeros(1, COOKED, c.sentence) + 1)

    what = f"a picture's features, and {COOKED} ingredients and vectors of {COOKED} sentences"
    return forward, what


def film(model: Any) -> Pass:
    c = model.config

    def forward() -> None:
        memory, state = model.begin(zeros(1, FRAMES, c.features))
        for _ in range(SAID + 1):  # and the end of the sentence
            _, state = model.step(zeros(1, kind=torch.int64), state, memory)

    return forward, f"a caption of {SAID} words, from the features of {FRAMES} pictures"


def voice(model: Any) -> Pass:
    c = model.config
    return (
        lambda: model.eval().decoder(model.voice(zeros(1, c.samples))),
        f"{c.seconds:g} seconds of speech, and a drawing of {c.pixels} × {c.pixels} pixels",
    )


PASSES: dict[str, Callable[[Any], Pass]] = {
    "joint_embedding": embedding,
    "show_and_tell": caption,
    "show_attend_tell": caption,
    "vqa": question,
    "vlbert": regions,
    "vilbert": regions,
    "fusion": fused,
    "text_to_image": drawing,
    "cocktail_party": mixture,
    "soundnet": wave,
    "sound_localization": place,
    "image_to_speech": spoken,
    "recipes": cooked,
    "video_captioning": film,
    "speech2face": voice,
}
