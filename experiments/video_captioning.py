"""The claim of the video chapter: C26, attention over time against the mean of the frames.

Everybody sees the same six frames of a clip through the same frozen image network, and writes with
the same LSTM. Four captioners are trained: what they differ in is how they pool the frames, and
what they know of their time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mmtutor.experiments._captioning import kept, sentences, vocabulary_of
from mmtutor.kit import decoding, metrics, training, vision
from mmtutor.kit.runtime import cpu_threads, device
from mmtutor.kit.text import Vocabulary, pad
from mmtutor.page.ledger import Experiment, Part, Values
from mmtutor.video_captioning import Config, VideoCaptioner
from mmtutor.world import cast, clips
from mmtutor.world.captions import Verdict
from mmtutor.world.scenes import UNITS

PIXELS, TRAIN, MOVING = 96, 1600, 300
#  A small cast, so that the chapter is about time: to tell sixty things apart was the matter of the
# chapters before.
CARRIERS = ("king", "robot")
CAST = (
    "dog",
    "elephant",
    "rooster",
    "apple",
    "banana",
    "pineapple",
    "car",
    "bus",
    "balloon",
    "guitar",
    "umbrella",
    "crown",
    "star",
    "tree",
)
#: Which of the twelve frames are looked at. Backwards they are the same six.
SEEN = (0, 2, 4, 7, 9, 11)
CHANNELS = 112  #: of the network's map
BACKWARDS = tuple(range(clips.FRAMES))[::-1]

#: name -> how the frames are pooled and what is known of their time
SETTINGS: dict[str, dict[str, object]] = {
    "mean": {"pooling": "mean", "time": "add"},
    "attention": {"pooling": "attention", "time": "add"},
    "attention, no time": {"pooling": "attention", "time": "none"},
    "mean, multiplied": {"pooling": "mean", "time": "multiply"},
}
SIZES: dict[str, object] = {
    "width": 48,
    "embedding": 64,
    "hidden": 160,
    "attention": 96,
    "frames": len(SEEN),
    "dropout": 0.0,
}
#: Chosen on seed 10 and on clips of the training split that are not learnt from.
EPOCHS, BATCH, RATE, DECAY = 5, 64, 6e-3, 0.3

#: What is said of a clip, and what would be said of it backwards.
TURNED = {
    "enters": "leaves", "comes in": "goes out", "grows": "shrinks", "gets bigger": "gets smaller",
    "is growing": "is shrinking", "rises": "falls", "goes up": "goes down", "is rising": "is falling",
    "moves to the left": "moves to the right", "goes left": "goes right", "appears": "disappears",
    "shows up": "vanishes", "approaches": "flees from", "moves towards": "moves away from",
    "comes closer to": "runs away from", "picks up": "puts down", "takes": "drops",
    "is picked up by": "is put down by", "is taken by": "is dropped by",
}  # fmt: skip
TURNED |= {backwards: forwards for forwards, backwards in TURNED.items()}


# --- Data -----------------------------------------------------------------------------------------


def see(frames: np.ndarray, cache: bool = True) -> Tensor:
    """What the frozen network sees in frames (N, F, H, W, 3): (N, F, 1120).

    Its map has one vector of 112 numbers for each 16 x 16 pixels. Two summaries of it are kept: the
    largest value of each number anywhere (*what* is there), and the mean of each ninth of the frame
    (*where* it is). A verb such as "enters" needs the second; the mean of the whole frame has lost
    it.
    """
    encoder = vision.ImageEncoder().to(device())
    flat = np.ascontiguousarray(frames).reshape(-1, *frames.shape[2:])
    maps = vision.features(flat, encoder, batch_size=32, cache=cache).float()  # (N * F, 112, h, w)
    place = torch.nn.functional.adaptive_avg_pool2d(maps, 3).flatten(1)  # (N * F, 9 * 112)
    return torch.cat([maps.amax((2, 3)), place], 1).view(*frames.shape[:2], -1)


@dataclass(frozen=True)
class Clips:
    """Clips with their features and truths.

    Attributes:
        features: (N, F, D), standardized.
        captions: five captions each.
        truth: the clips themselves.
    """

    features: Tensor
    captions: list[list[str]]
    truth: list[clips.Clip]


@dataclass(frozen=True)
class Data:
    """Clips to learn from, unseen clips in which something happens, and unseen clips in which
    nothing does."""

    train: Clips
    moving: Clips
    still: Clips
    vocabulary: Vocabulary


def something_happens(clip: clips.Clip) -> bool:
    """Whether anything but standing still is true of a clip."""
    return any(h.verb != "stands still" for h in clips.happenings(clip))


def plain(caption: str) -> bool:
    """Whether a caption leaves the background out: both captioners read it alike, and shorter
    captions train faster."""
    return clips.understand(caption).background is None


def staged(
    split: str, count: int, wanted: Callable[[clips.Clip], bool] = lambda clip: True
) -> list[clips.Clip]:
    """Clips of the world, acted by the small cast. Where another shape changes what happens, the
    clip is left out."""
    found: list[clips.Clip] = []
    for index in itertools.count():
        clip = clips.sample(split, index)
        actors = tuple(replace(actor, name=_role(actor.name)) for actor in clip.actors)
        if len({actor.name for actor in actors}) == len(actors):
            acted = replace(clip, actors=actors)
            if _verbs(acted) == _verbs(clip) and wanted(acted):
                found.append(acted)
        if len(found) == count:
            return found
    raise AssertionError("unreachable")


def _role(name: str) -> str:
    if name in clips.CARRIERS:
        return CARRIERS[clips.CARRIERS.index(name) % len(CARRIERS)]
    others = [one.name for one in cast.SCENIC if one.name not in clips.CARRIERS]
    return CAST[others.index(name) % len(CAST)]


def _verbs(clip: clips.Clip) -> list[str]:
    return sorted(h.verb for h in clips.happenings(clip))


def backwards(clip: clips.Clip) -> clips.Clip:
    """The clip played backwards: its own frames in the opposite order, up to a unit of rounding."""

    def turn(actor: clips.Actor) -> clips.Actor:
        keys = actor.keys
        shown = [
            keys[0].shown,
            *(key.shown for key in keys[:-1]),
        ]  # whether it is there before each key
        turned = [
            key._replace(time=UNITS - key.time, shown=was)
            for key, was in zip(keys, shown, strict=True)
        ][::-1]
        if turned[0].time > 0:
            turned.insert(0, keys[-1]._replace(time=0))
        return replace(actor, keys=tuple(turned))

    return replace(clip, actors=tuple(turn(actor) for actor in clip.actors))


def mirrored(clip: clips.Clip) -> clips.Clip:
    """The clip in a mirror, in front of the same background: what went to the left goes to the
    right."""
    actors = tuple(
        replace(
            actor,
            mirrored=not actor.mirrored,
            keys=tuple(key._replace(x=UNITS - key.x) for key in actor.keys),
        )
        for actor in clip.actors
    )
    return replace(clip, actors=actors)


def held(clip: clips.Clip) -> clips.Clip | None:
    """The clip's first frame, held: whoever is seen there stands still. ``None`` if nobody is
    seen."""
    first = clips.states(clip)[0]
    actors = tuple(
        replace(actor, keys=(key._replace(time=0),))
        for actor, key in zip(clip.actors, first, strict=True)
        if key.shown and 0 < key.x < UNITS
    )
    return replace(clip, actors=actors) if actors else None


def encode(truth: Sequence[clips.Clip], chunk: int = 100) -> Tensor:
    """Draw clips and see them: (N, F, D)."""
    parts = []
    for start in range(0, len(truth), chunk):
        frames = [
            clips.render(clip, PIXELS, only=SEEN).frames for clip in truth[start : start + chunk]
        ]
        parts.append(see(np.stack(frames)))
    return torch.cat(parts)


def _described(features: Tensor, truth: list[clips.Clip]) -> Clips:
    return Clips(features, [clips.captions(clip) for clip in truth], truth)


def in_the_mirror(features: Tensor) -> Tensor:
    """A guess at what the network would see of mirrored clips (N, F, D): the ninths of a frame
    change sides.

    It is a rough one, since the network's steps do not fall on the same pixels in a mirror; but it
    costs nothing.
    """
    what, where = features.split([CHANNELS, 9 * CHANNELS], dim=2)
    return torch.cat([what, where.unflatten(2, (CHANNELS, 3, 3)).flip(-1).flatten(2)], 2)


def _held(part: Clips, every: int) -> Clips:
    """Every so many clips, held at the first frame. That frame has been seen already, so this costs
    nothing."""
    rows = [(i, held(part.truth[i])) for i in range(0, len(part.truth), every)]
    rows = [(i, clip) for i, clip in rows if clip is not None]
    features = part.features[[i for i, _ in rows], :1].expand(-1, len(SEEN), -1)
    return _described(features, [clip for _, clip in rows])


def _join(*parts: Clips) -> Clips:
    return Clips(
        torch.cat([part.features for part in parts]),
        [captions for part in parts for captions in part.captions],
        [clip for part in parts for clip in part.truth],
    )


@kept(1)
def data(train: int = TRAIN, moving: int = MOVING) -> Data:
    """All clips and what the network sees of them.

    To learn from, every clip is there forwards and backwards, and both of them in a mirror. So
    nothing in a single frame, no thing and no background, goes with one direction: who wants to
    know the direction must know the order. Some clips are there once more, held still.
    """
    truth = {"train": staged("train", train), "test": staged("test", moving, something_happens)}
    seen = {name: encode(chosen) for name, chosen in truth.items()}
    truth["train"] += [mirrored(clip) for clip in truth["train"]]
    seen["train"] = torch.cat([seen["train"], in_the_mirror(seen["train"])])
    centre, spread = seen["train"].mean((0, 1)), seen["train"].std((0, 1)) + 1e-3
    forwards, test = (_described((seen[name] - centre) / spread, truth[name]) for name in truth)
    reverse = _described(forwards.features.flip(1), [backwards(clip) for clip in forwards.truth])
    known = _join(forwards, reverse, _held(forwards, every=10))
    words = vocabulary_of([caption for caption in own if plain(caption)] for own in known.captions)
    return Data(known, test, _held(test, every=3), words)


# --- Training -------------------------------------------------------------------------------------


class Captions(torch.utils.data.Dataset):
    """Pairs of a clip and one of its captions. A batch is cut out in one go and is as long as its
    longest caption."""

    def __init__(self, source: Data) -> None:
        pairs = [(i, c) for i, own in enumerate(source.train.captions) for c in own if plain(c)]
        self.clip = torch.tensor([i for i, _ in pairs])
        self.ids, mask = pad(
            [source.vocabulary.encode(c.split(), bos=True, eos=True) for _, c in pairs]
        )
        self.length = mask.sum(1)
        self.features = source.train.features

    def __len__(self) -> int:
        return len(self.clip)

    def __getitems__(self, rows: Sequence[int]) -> dict[str, Tensor]:
        rows = torch.as_tensor(rows)
        return {
            "features": self.features[self.clip[rows]],
            "captions": self.ids[rows, : int(self.length[rows].max())],
        }


class ByLength:
    """Batches of captions of nearly the same length, in random order: no time is spent on
    padding."""

    def __init__(self, length: Tensor, size: int, generator: torch.Generator) -> None:
        self.length, self.size, self.generator = length, size, generator

    def __len__(self) -> int:
        return -(-len(self.length) // self.size)

    def __iter__(self) -> Iterator[list[int]]:
        mixed = self.length + torch.rand(
            len(self.length), generator=self.generator
        )  # equals in random order
        batches = mixed.argsort().split(self.size)
        for i in torch.randperm(len(batches), generator=self.generator).tolist():
            yield batches[i].tolist()


def config(name: str, source: Data, **changes: object) -> Config:
    """The settings of one captioner. The mean gets as many LSTM units as make up for the
    attention's parameters."""
    sizes = {**SIZES, **SETTINGS[name], **changes}
    unread = {"attention"} if sizes["pooling"] == "mean" else set()
    unread |= {"frames"} if sizes["time"] == "none" else set()
    sizes = {key: value for key, value in sizes.items() if key not in unread}
    chosen = Config.world(len(source.vocabulary), source.train.features.shape[2], **sizes)
    if chosen.pooling == "mean":
        rival = parameters(config("attention", source, **changes))
        while parameters(chosen) < rival:
            chosen = replace(chosen, hidden=chosen.hidden + 1)
    return chosen


def parameters(chosen: Config) -> int:
    """How many parameters a captioner with these settings has."""
    with torch.device("meta"):  # sizes without numbers
        return training.parameter_count(VideoCaptioner(chosen))


@kept(8)
def trained(name: str, seed: int, epochs: int = EPOCHS) -> VideoCaptioner:
    """One captioner, trained; kept, so that the chapter can look at it after the claim was
    measured."""
    source = data()
    torch.manual_seed(seed)
    model = VideoCaptioner(config(name, source))
    pairs, order = Captions(source), torch.Generator().manual_seed(seed)
    loader = torch.utils.data.DataLoader(
        pairs,
        batch_sampler=ByLength(pairs.length, BATCH, order),
        generator=order,
        collate_fn=lambda batch: batch,
    )
    with cpu_threads(1):
        training.fit(
            model, loader, epochs=epochs, lr=RATE, weight_decay=DECAY, warmup=20, seed=seed
        )
    return model


# --- Scores ---------------------------------------------------------------------------------------


def say(model: VideoCaptioner, features: Tensor, vocabulary: Vocabulary) -> list[str]:
    """The most probable caption of each clip, word by word."""
    where = next(model.parameters()).device
    with cpu_threads(1):
        found = decoding.greedy(model, features.to(where))
    return sentences(found, vocabulary)


def truths(
    said: Sequence[str], truth: Sequence[clips.Clip], order: Sequence[int] | None = None
) -> list[bool]:
    """Which captions are true of their clips, played in an order."""
    return [
        clips.is_true(words, clip, order) is Verdict.TRUE
        for words, clip in zip(said, truth, strict=True)
    ]


def verbs_right(said: Sequence[str], truth: Sequence[clips.Clip]) -> float:
    """Share of captions whose every verb happens in the clip, whoever does it."""
    right = []
    for words, clip in zip(said, truth, strict=True):
        meant, seen = clips.understand(words), {h.verb for h in clips.happenings(clip)}
        right.append(meant is not None and all(clause.verb in seen for clause in meant.clauses))
    return float(np.mean(right))


def nouns_right(said: Sequence[str], truth: Sequence[clips.Clip]) -> float:
    """Share of captions whose every thing is in the clip, whatever it does: the order does not
    matter for it."""
    right = []
    for words, clip in zip(said, truth, strict=True):
        meant, there = clips.understand(words), {actor.name for actor in clip.actors}
        named = [] if meant is None else [c.subject for c in meant.clauses]
        named += (
            [] if meant is None else [c.object for c in meant.clauses if c.verb in clips.TRANSITIVE]
        )
        right.append(bool(named) and set(named) <= there)
    return float(np.mean(right))


def turned(caption: str) -> str | None:
    """The caption with its one verb turned into what it is backwards, or ``None`` if it has a side
    or two clauses."""
    meant = clips.understand(caption)
    if len(meant.clauses) > 1 or " from the " in caption or meant.clauses[0].verb == "stands still":
        return None
    if meant.clauses[0].verb in ("enters", "leaves") and " to the " in caption:
        return None
    for phrase in sorted(TURNED, key=len, reverse=True):
        if f" {phrase} " in f"{caption} ":
            return f"{caption} ".replace(f" {phrase} ", f" {TURNED[phrase]} ").strip()
    return None


def prefers_the_right_order(model: VideoCaptioner, part: Clips, vocabulary: Vocabulary) -> float:
    """How often a true caption gets more probability than the same caption with its verb turned
    around; chance is 1/2."""
    rows, both = [], []
    for i, own in enumerate(part.captions):
        caption = next((c for c in own if plain(c) and turned(c)), None)
        if caption is not None:
            rows.append(i)
            both += [
                vocabulary.encode(c.split(), bos=True, eos=True) for c in (caption, turned(caption))
            ]
    ids = pad(both)[0]
    where = next(model.parameters()).device
    with torch.no_grad(), cpu_threads(1):
        logits = (
            model(part.features[rows].repeat_interleave(2, 0).to(where), ids.to(where))
            .log_softmax(-1)
            .cpu()
        )
    p = logits.gather(2, ids[:, 1:, None])[:, :, 0] * (ids[:, 1:] != 0)
    right, wrong = p.sum(1).view(-1, 2).T
    return float((right > wrong).double().mean())


def shuffle(features: Tensor, seed: int) -> Tensor:
    """The frames of each clip in a random order of its own."""
    draw = torch.Generator().manual_seed(seed)
    order = torch.rand(features.shape[:2], generator=draw).argsort(1)
    return features.gather(1, order[:, :, None].expand_as(features))


# --- The claim ------------------------------------------------------------------------------------


def key(name: str) -> str:
    """A setting's name in the results: ``"mean, multiplied"`` becomes ``"mean_multiplied"``."""
    return name.replace(", ", "_").replace(" ", "_")


def c26(seed: int, names: Sequence[str] = tuple(SETTINGS)) -> Values:
    """Truth of captions on unseen clips for each captioner, and what is left of it without the
    order of the frames."""
    source = data()
    words, moving, still = source.vocabulary, source.moving, source.still
    out: dict[str, float] = {}
    for name in names:
        model = trained(name, seed)
        said = say(model, moving.features, words)
        forwards = truths(said, moving.truth)
        reverse = truths(say(model, moving.features.flip(1), words), moving.truth, BACKWARDS)
        mixed = truths(say(model, shuffle(moving.features, seed), words), moving.truth)
        scores = {
            "true": np.mean(forwards),
            "backwards": np.mean(reverse),
            "both": np.mean([a and b for a, b in zip(forwards, reverse, strict=True)]),
            "shuffled": np.mean(mixed),
            "still": np.mean(truths(say(model, still.features, words), still.truth)),
            "verb": verbs_right(said, moving.truth),
            "noun": nouns_right(said, moving.truth),
            "order": prefers_the_right_order(model, moving, words),
            "cider": metrics.cider(
                said, [[c for c in own if plain(c)] or own for own in moving.captions]
            ),
        }
        out |= {f"{key(name)}_{what}": float(score) for what, score in scores.items()}
    for what, label in [
        ("true", "difference"),
        ("still", "difference_still"),
        ("shuffled", "difference_shuffled"),
    ]:
        out[label] = out[f"attention_{what}"] - out[f"mean_{what}"]
    return out


EXPERIMENTS = [
    Experiment(
        "C26",
        "On unseen clips in which something happens, the captions of attention over frames that know their time are true more "
        "often than those of the mean of the same frames (no fewer parameters): the whole interval of the difference lies above "
        "0. And it is the order that does it: with the frames shuffled, the difference is smaller.",
        [
            Part("share of true captions, attention − mean", "difference", ">", 0),
            Part(
                "the same, minus that with shuffled frames",
                "difference",
                ">",
                0,
                minus="difference_shuffled",
            ),
        ],
        c26,
        "A mean of frames that are multiplied by their time does as well, without attention; attention "
        "without time does not: it was the time. Its vectors begin as a ramp; begun at random they "
        "leave the lead above 0, but smaller (the chapter shows it).",
        note="Second part sharpened after measurement: that shuffling costs the lead is asked of an interval of its own, in place "
        "of an interval that merely does not lie above 0; ✓ before.",
    ),
]
