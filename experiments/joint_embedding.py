"""The claims of the chapter on joint embedding: C02, C09 and C10, on drawn scenes of 24 things.

Each ``cNN(seed)`` measures one claim for one seed. C02 counts and trains nothing; its seed is
another world's. For C09 and C10 the world stays and the model changes: a seed is its start and the
order of its batches. Settings were chosen on seeds from 10 on, on 1,000 scenes of another world's
training split that were kept back.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmtutor import joint_embedding, world
from mmtutor.experiments._captioning import PIXELS, THINGS, images, kept
from mmtutor.joint_embedding import Config, JointEmbedding, Pairs, arithmetic, encode_texts
from mmtutor.kit import retrieval, training, vision
from mmtutor.kit.runtime import cpu_threads, device
from mmtutor.kit.text import Vocabulary, tokenize
from mmtutor.page.ledger import FRESH, Experiment, Part, Values
from mmtutor.world import captions as language
from mmtutor.world import scenes
from mmtutor.world.scenes import Scene

TRAIN, TEST = 8000, 1000
EPOCHS, BATCH, RATE, WARMUP = 6, 256, 3e-3, 50
DROPOUT, DETECTORS = 0.4, 96
FEW = 187  # steps of each model that only stands in a comparison: once through all pairs
#: Of these the weight of the arithmetic is chosen, on training scenes.
WEIGHTS = (0.4, 0.6, 0.8, 1.0, 1.2, 1.4)
COUNTERPARTS = 4
#: The scenes with held-out combinations: a third each of unseen places, relations and pairs.
UNSEEN = (("test_unseen_places", 334), ("test_unseen_relations", 333), ("test_unseen_pairs", 333))


# --- The data -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenes:
    """N scenes, and what the frozen network sees of them."""

    images: np.ndarray  # (N, 96, 96, 3)
    maps: Tensor  # (N, 112, 6, 6) float16, standardized with the training statistics
    truth: list[Scene]  # what is there
    captions: list[list[str]]  # five each

    @property
    def tags(self) -> list[list[str]]:
        """What is there, each thing once, and the ground."""
        return [tags_of(scene) for scene in self.truth]

    @property
    def texts(self) -> list[str | list[str]]:
        """Six texts a scene: its five captions, and its tags."""
        return [text for own, tags in zip(self.captions, self.tags) for text in (*own, tags)]


def tags_of(scene: Scene) -> list[str]:
    """The names of the things, each once, in the order of the alphabet, and the ground."""
    return [*sorted({one.name for one in scene.things}), scene.background]


@functools.cache
def load() -> tuple[Scenes, Scenes, Scenes, Vocabulary]:
    """8,000 scenes to learn from; 1,000 unseen ones; 1,000 that show what training never showed
    together; and the vocabulary of the training texts."""
    size = dict(pixels=PIXELS, things=THINGS)
    rows = [[world.load("scenes", "train", TRAIN, **size)]]
    rows += [[world.load("scenes", "test", TEST, **size)]]
    rows += [[world.load("scenes", split, n, **size) for split, n in UNSEEN]]
    encoder = vision.ImageEncoder(layer="map").to(device())
    pictures = [np.concatenate([images(part) for part in own]) for own in rows]
    maps = [vision.features(own, encoder) for own in pictures]
    train, test, unseen = (
        Scenes(
            own,
            vision.standardize(seen, maps[0]),
            [Scene.from_json(text) for part in parts for text in part["scene"]],
            [list(five) for part in parts for five in part["captions"]],
        )
        for own, seen, parts in zip(pictures, maps, rows)
    )
    words = [word for text in train.texts for word in joint_embedding.words_of(text)]
    return train, test, unseen, Vocabulary(words, specials=("<pad>", "<unk>"))


@functools.cache
def truth_of_training() -> np.ndarray:
    """Which of the training texts is true of which training scene, (8000, 48000)."""
    train, *_ = load()
    return truth(train.texts, train.truth)


def truth(texts: Sequence[str | Sequence[str]], truth: Sequence[Scene]) -> np.ndarray:
    """Which text is true of which scene, boolean (N, M): what :func:`world.is_true` says of each
    pair, a hundred times as fast.

    Most pairs are false because a thing or the ground is missing. Only the others are judged, and
    captions that say the same only once. A list of tags is true where all of it is there.
    """
    has: dict[str, np.ndarray] = {}
    for i, scene in enumerate(truth):
        names = {name for one in scene.members for name in (one.name, one.kind, "thing")}
        for name in (*names, scene.background):
            has.setdefault(name, np.zeros(len(truth), bool))[i] = True
    nowhere = np.zeros(len(truth), bool)

    def where(names: Sequence[str]) -> np.ndarray:
        return np.logical_and.reduce(
            [np.ones(len(truth), bool), *(has.get(n, nowhere) for n in names)]
        )

    @functools.cache
    def judged(statement: language.Statement) -> np.ndarray:
        groups = [g for g in statement.groups if g.determiner != "no"]
        others = [getattr(claim, "object", None) for claim in statement.claims]
        groups += [g for g in others if g is not None and g.determiner != "no"]
        ground = () if statement.background is None else (statement.background,)
        may = where([*(g.noun for g in groups), *ground])
        true = np.zeros(len(truth), bool)
        for i in np.flatnonzero(may):
            true[i] = language.holds(statement, truth[i])
        return true

    out = np.zeros((len(truth), len(texts)), bool)
    for j, text in enumerate(texts):
        if isinstance(text, str):
            for reading in language.understand(text):
                out[:, j] |= judged(reading)
        else:
            out[:, j] = where(text)
    return out


# --- Models ---------------------------------------------------------------------------------------


def build(seed: int, **changes: object) -> JointEmbedding:
    """A model as training begins."""
    train, _, _, vocabulary = load()
    sizes = dict(image=tuple(train.maps.shape[1:]), detectors=DETECTORS, dropout=DROPOUT)
    torch.manual_seed(seed)
    return JointEmbedding(Config.world(len(vocabulary), **{**sizes, "text": "sum", **changes}))


def seen(model: JointEmbedding, data: Scenes) -> Tensor:
    """What this model reads of scenes: their maps, or in place of them one vector a picture
    (N, 1280), in which all places are averaged."""
    if isinstance(model.config.image, tuple):
        return data.maps
    encoder = vision.ImageEncoder(layer="vector").to(device())
    train, own = (vision.features(some.images, encoder) for some in (load()[0], data))
    return vision.standardize(own, train)


def pairs(model: JointEmbedding) -> Pairs:
    """The training scenes as this model reads them, and their six texts each; if it masks false
    negatives, also what is true of what."""
    train, _, _, vocabulary = load()
    ids = encode_texts(train.texts, vocabulary)
    owner = torch.arange(len(train.truth)).repeat_interleave(len(ids) // len(train.truth))
    true = truth_of_training() if model.config.false_negatives == "mask" else None
    return Pairs(seen(model, train), ids, owner, true)


def fit(model: JointEmbedding, seed: int, **changes: object) -> training.History:
    """Train a model on pairs."""
    recipe = dict(epochs=EPOCHS, batch_size=BATCH, lr=RATE, warmup=WARMUP)
    with cpu_threads(1):
        return training.fit(
            model, pairs(model), seed=seed, collate=dict, drop_last=True, **{**recipe, **changes}
        )


@kept(4)
def trained(seed: int) -> JointEmbedding:
    """The model of this chapter."""
    model = build(seed)
    fit(model, seed)
    return model


#: What is compared, each with the settings in which it differs.
COMPARED: Mapping[str, Mapping[str, object]] = {
    "info_nce": {},
    "nce": {"loss": "nce"},
    "ranking": {"loss": "ranking"},
    "hardest": {"loss": "hardest"},
    "warm": {"loss": "ranking"},
    "mask": {"false_negatives": "mask"},
    "gru": {"text": "gru"},
    "vector": {"image": 1280, "detectors": 0},
}


def compared(name: str, seed: int) -> tuple[JointEmbedding, float]:
    """A model of :data:`COMPARED` after :data:`FEW` steps, and the seconds of training. ``"warm"``
    learns with the sum of hinges for the first half, and with the hardest for the second."""
    model = build(seed, **COMPARED[name])
    if name == "mask":
        truth_of_training()
    seen(model, load()[0])  # what is computed once is not training
    begin = time.perf_counter()
    if name == "warm":
        fit(model, seed, epochs=1, max_steps=FEW // 2)
        goal = build(seed, loss="hardest")
        goal.load_state_dict(model.state_dict())
        model = goal
        fit(model, seed + 1, epochs=1, max_steps=FEW - FEW // 2)
    else:
        fit(model, seed, epochs=1, max_steps=FEW)
    return model, time.perf_counter() - begin


@torch.no_grad()
def embed(
    model: JointEmbedding, data: Scenes, texts: Sequence[str | Sequence[str]]
) -> tuple[Tensor, Tensor]:
    """Pictures (N, E) and texts (M, E) on the sphere."""
    vocabulary, where = load()[3], model.image.weight.device
    pictures = model.embed_pictures(seen(model, data).float().to(where))
    return pictures.cpu(), model.embed_texts(encode_texts(texts, vocabulary).to(where)).cpu()


# --- C02: one caption, many scenes ----------------------------------------------------------------

COUNTED = 4000  # scenes of one world


def c02(seed: int, draws: int = 2000, pixels: int = 48) -> Values:
    """In a world of its own: of how many of 4,000 scenes a caption is true, how far apart these
    pictures are, and what else the grammar could say of a scene."""
    found = list(scenes.each("train", COUNTED, seed, THINGS))
    said = [language.captions(scene, seed) for scene in found]
    true = truth([caption for own in said for caption in own], found)  # (4000, 20000)
    per_caption = true.sum(0)
    first = true[:, :: language.PER_SCENE].sum(0)
    sure = np.random.default_rng(seed)

    def apart(i: int, j: int) -> float:
        a, b = (scenes.render(found[k], pixels).image.astype(np.float32) for k in (i, j))
        return float(np.abs(a - b).mean())

    alike, any_two = [], []
    for column in sure.permutation(np.flatnonzero(per_caption >= 2))[: draws // 10]:
        alike.append(apart(*sure.choice(np.flatnonzero(true[:, column]), 2, replace=False)))
        any_two.append(apart(*sure.choice(COUNTED, 2, replace=False)))
    statements, wordings = zip(*(sayable(found[i]) for i in sure.choice(COUNTED, 4, False)))
    return {
        "scenes": float(per_caption.mean()),
        "scenes_median": float(np.median(per_caption)),
        "scenes_first": float(first.mean()),
        "share": float(per_caption.mean() / COUNTED),
        "alone": float((per_caption == 1).mean()),
        "written": float(language.PER_SCENE),
        "times": float(per_caption.mean() / language.PER_SCENE),
        "apart": float(np.mean(alike)),
        "apart_any": float(np.mean(any_two)),
        "apart_share": float(np.mean(alike) / np.mean(any_two)),
        "statements": float(np.mean(statements)),
        "wordings": float(np.mean(wordings)),
        "words_shared": shared_words([own for own in said[:draws]]),
    }


def sayable(scene: Scene) -> tuple[int, int]:
    """How many true statements of the family of :func:`world.captions.describe` there are about a
    scene, and in how many wordings."""
    statements = list(language.describe(scene))
    return len(statements), sum(len(set(language.wordings(one))) for one in statements)


def shared_words(said: Sequence[Sequence[str]]) -> float:
    """The share of words that two captions of one scene have in common, of all words in either."""
    shares = []
    for own in said:
        for one, other in combinations((set(tokenize(caption)) for caption in own), 2):
            shares.append(len(one & other) / len(one | other))
    return float(np.mean(shares))


# --- C09: retrieval in both directions ------------------------------------------------------------


def texts_of(data: Scenes, kind: str) -> list[str | list[str]]:
    """The texts that pictures look for: ``"sentence"``, the first caption of each; ``"tags"``; or
    ``"five"``, all its captions, as the papers have it."""
    if kind == "tags":
        return list(data.tags)
    return [
        caption for own in data.captions for caption in (own[:1] if kind == "sentence" else own)
    ]


def of(split: str) -> Scenes:
    """The scenes of known combinations (``"test"``), or those never seen together."""
    return load()[1 if split == "test" else 2]


@functools.cache
def judged(kind: str, split: str = "unseen") -> tuple[Tensor, Tensor]:
    """What is true of these scenes (N, M), and whose each text is (M,)."""
    data = of(split)
    texts = texts_of(data, kind)
    owner = torch.arange(len(data.truth)).repeat_interleave(len(texts) // len(data.truth))
    return torch.from_numpy(truth(texts, data.truth)), owner


def retrieve(model: JointEmbedding, kind: str, split: str = "unseen") -> Values:
    """Both directions, on the scenes never seen together if nothing else is asked. ``text``: a picture looks for its text;
    ``picture``: a text looks for its picture."""
    pictures, texts = embed(model, of(split), texts_of(of(split), kind))
    true, owner = judged(kind, split)
    out: dict[str, float] = {}
    for name, also in (("", None), ("true_", true)):
        both = retrieval.both_ways(pictures, texts, owner, true=also)
        for way, ranks in zip(("text", "picture"), both):
            for k in retrieval.KS:
                out[f"{kind}_{way}_{name}r{k}"] = ranks.recall(k)
            out[f"{kind}_{way}_{name}median"] = float(ranks.median)
    return out


@functools.cache
def ceilings(kind: str, split: str = "unseen") -> Values:
    """What judges reach in R@1 who know what is true: ``judge`` puts all that is true in a random
    order; ``specific`` prefers what is true of few others."""
    true, owner = judged(kind, split)
    own = retrieval.own(tuple(true.shape), owner)
    out = {}
    for name, specific in (("judge", False), ("specific", True)):
        for way, t, r in (("text", true, own), ("picture", true.T.contiguous(), own.T)):
            out[f"{kind}_{way}_{name}"] = retrieval.ceiling(t, r, specific=specific).recall(1)
    return out


def found(model: JointEmbedding) -> Values:
    """All of C09 that one model tells."""
    out: dict[str, float] = {}
    for kind in ("sentence", "tags", "five"):
        out |= {**retrieve(model, kind), **ceilings(kind)}
    ways = [f"{kind}_{way}" for kind in ("sentence", "tags") for way in ("text", "picture")]
    for way in ways:
        out[f"{way}_share"] = out[f"{way}_r1"] / out[f"{way}_judge"]
        out[f"{way}_share_specific"] = out[f"{way}_r1"] / out[f"{way}_specific"]
    chance = {k: k / TEST for k in retrieval.KS}
    out["times_chance"] = min(out[f"{way}_r{k}"] / chance[k] for way in ways for k in chance)
    out["worst_median"] = max(out[f"{way}_median"] for way in ways)
    for kind in ("sentence", "tags"):  # beside it: scenes of known combinations
        plain = {**retrieve(model, kind, "test"), **ceilings(kind, "test")}
        for way in ("text", "picture"):
            for what in ("r1", "r10", "median", "judge", "specific"):
                out[f"known_{kind}_{way}_{what}"] = plain[f"{kind}_{way}_{what}"]
    return out


def c09(seed: int) -> Values:
    """Retrieval with the chapter's model. On the first seeds also what its choices are worth: eight
    models after a few steps each, on sentences. Fresh seeds repeat the claim, and not that."""
    out = dict(found(trained(seed)))
    for name in COMPARED if seed < FRESH else ():
        model, seconds = compared(name, seed)
        scores = retrieve(model, "sentence")
        for way in ("text", "picture"):
            for what in ("r1", "r10", "true_r1"):
                out[f"{name}_{way}_{what}"] = scores[f"sentence_{way}_{what}"]
        out[f"{name}_seconds"] = seconds
    return out


# --- C10: a picture minus a word plus a word ------------------------------------------------------


class Exchange(NamedTuple):
    """A picture, what goes and what comes; the collection has a picture of the outcome."""

    picture: int
    minus: str
    plus: str


def exchanges(truth: Sequence[Scene], count: int) -> Iterator[Exchange]:
    """All of them among scenes of ``count`` different things: another scene has the same ground and
    the same things but for one."""
    names = [frozenset(one.name for one in scene.things) for scene in truth]
    there = {(own, s.background) for own, s in zip(names, truth) if len(s.things) == count}
    for i, (own, scene) in enumerate(zip(names, truth)):
        if len(own) != count or len(scene.things) != count:
            continue
        for minus in sorted(own):
            for plus in scenes.pool(THINGS):
                if plus not in own and (own - {minus} | {plus}, scene.background) in there:
                    yield Exchange(i, minus, plus)


def vectors_of(model: JointEmbedding, words: Sequence[str]) -> Tensor:
    """The vectors of words, each as a text of its own."""
    with torch.no_grad():
        ids = encode_texts([[word] for word in words], load()[3])
        return model.embed_texts(ids.to(model.image.weight.device)).cpu()


def outcome(
    model: JointEmbedding,
    data: Scenes,
    asked: Sequence[Exchange],
    weight: float,
    random: int | None = None,
) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """Where the arithmetic lands, among all pictures but the one it began with.

    With ``random``, a seed, a random step of the same length takes the place of − word + word.

    Returns:
        right thing on the kept ground (Q,), and all the other things kept as well (Q,); the five
        pictures found first (Q, 5).
    """
    pictures, _ = embed(model, data, ["a"])
    start = torch.tensor([one.picture for one in asked])
    minus, plus = (vectors_of(model, [getattr(one, s) for one in asked]) for s in ("minus", "plus"))
    if random is not None:
        generator = torch.Generator().manual_seed(random)
        step = torch.randn(plus.shape, generator=generator)
        step *= ((plus - minus).norm(dim=1) / step.norm(dim=1))[:, None]
        minus, plus = torch.zeros_like(minus), step
    query = arithmetic(pictures[start], minus, plus, weight)
    items = retrieval.nearest(query, pictures, 5, exclude=start[:, None]).items
    hit, kept_all = [], []
    for one, first in zip(asked, items[:, 0].tolist()):
        before, after = data.truth[one.picture], data.truth[first]
        names, now = ({t.name for t in scene.things} for scene in (before, after))
        ground = after.background == before.background
        hit.append(ground and one.plus in now and one.minus not in now)
        kept_all.append(ground and now == names - {one.minus} | {one.plus})
    return np.array(hit), np.array(kept_all), items


def weight_of(model: JointEmbedding) -> float:
    """The weight that serves best on 1,000 of the training scenes."""
    train, *_ = load()
    some = Scenes(train.images[:TEST], train.maps[:TEST], train.truth[:TEST], train.captions[:TEST])
    asked = [one for count in (1, 2) for one in exchanges(some.truth, count)]
    return max(WEIGHTS, key=lambda weight: outcome(model, some, asked, weight)[0].mean())


@functools.cache
def counterparts() -> tuple[Scenes, list[Exchange]]:
    """The test scenes, and behind them four counterparts of each with one or two things: one thing
    has been exchanged, for four others, and nothing else; none shows a held-out combination."""
    _, test, *_ = load()
    found, asked = [], []
    for i, scene in enumerate(test.truth):
        names = [one.name for one in scene.things]
        if len(set(names)) < len(names) or len(names) > 2:
            continue
        sure = np.random.default_rng(i)
        goes = int(sure.integers(len(names)))
        others = sure.permutation([name for name in scenes.pool(THINGS) if name not in names])
        new = [(str(name), scenes.swap(scene, goes, str(name))) for name in others]
        new = [(name, other) for name, other in new if not scenes.held_out(other)][:COUNTERPARTS]
        if len(new) == COUNTERPARTS:
            found += [other for _, other in new]
            asked += [Exchange(i, names[goes], name) for name, _ in new]
    drawn = np.stack([scenes.render(scene, PIXELS).image for scene in found])
    encoder = vision.ImageEncoder(layer="map").to(device())
    raw = vision.features(
        images(world.load("scenes", "train", TRAIN, pixels=PIXELS, things=THINGS)), encoder
    )
    maps = vision.standardize(vision.features(drawn, encoder), raw)
    both = Scenes(
        np.concatenate([test.images, drawn]),
        torch.cat([test.maps, maps]),
        [*test.truth, *found],
        [*test.captions, *([] for _ in found)],
    )
    return both, asked


def c10(seed: int) -> Values:
    """All exchanges among 1,000 unseen scenes, with two controls; and how often the very
    counterpart is found."""
    model, (_, test, _, _) = trained(seed), load()
    weight = weight_of(model)
    out: dict[str, float] = {"weight": weight}
    hits: dict[str, list[np.ndarray]] = {"hit": [], "none": [], "random": []}
    for count, name in ((1, "one"), (2, "two")):
        asked = list(exchanges(test.truth, count))
        hit, kept_all, _ = outcome(model, test, asked, weight)
        none, *_ = outcome(model, test, asked, 0.0)
        chance, *_ = outcome(model, test, asked, weight, random=seed)
        for key, value in (("hit", hit), ("none", none), ("random", chance)):
            out[f"{name}_{key}"] = float(value.mean())
            hits[key].append(value)
        out |= {f"{name}_asked": float(len(asked)), f"{name}_kept": float(kept_all.mean())}
    out |= {key: float(np.concatenate(value).mean()) for key, value in hits.items()}
    both, asked = counterparts()
    items = outcome(model, both, asked, weight)[2]
    still = outcome(model, both, asked, 0.0)[2]
    goal = TEST + np.arange(len(asked))
    out["exact_asked"] = float(len(asked))
    out["exact"] = float((items[:, 0].numpy() == goal).mean())
    out["exact_five"] = float((items.numpy() == goal[:, None]).any(1).mean())
    out["exact_none"] = float((still[:, 0].numpy() == goal).mean())
    return out


EXPERIMENTS = [
    Experiment(
        "C02",
        "Of 4,000 scenes a caption that was written for one of them is true of at least 50 on average, ten times the five captions that were "
        "written for a scene: the low end of the interval over five worlds.",
        [
            Part(
                "scenes that a caption is true of, for each caption written for a scene",
                "times",
                ">=",
                10,
            )
        ],
        c02,
        "A count in a collection: with more scenes it grows, and the grammar could say far more of a scene than the five captions that were "
        "written. What does not depend on that is the share of scenes of which a caption is true.",
    ),
    Experiment(
        "C09",
        "On 1,000 scenes that show what training never showed together: R@1, R@5 and R@10 of sentences and of tags, in both directions, are "
        "all at least 10 times chance; each R@1 is at least 60 % of what a judge reaches who knows what is true and nothing else; "
        "and each median rank is at most 3.",
        [
            Part("least of the twelve recalls, chance = 1", "times_chance", ">=", 10),
            Part("R@1 picture → sentence, judge = 1", "sentence_text_share", ">=", 0.6),
            Part("R@1 sentence → picture, judge = 1", "sentence_picture_share", ">=", 0.6),
            Part("R@1 picture → tags, judge = 1", "tags_text_share", ">=", 0.6),
            Part("R@1 tags → picture, judge = 1", "tags_picture_share", ">=", 0.6),
            Part("largest of the four median ranks", "worst_median", "<=", 3),
        ],
        c09,
        "From picture to text the judge is no ceiling: of several true texts the most specific is the likelier to be the picture's own, and "
        "who knows that too finds it far more often; the chapter shows both.",
    ),
    Experiment(
        "C10",
        "For all pictures of one or two things among 1,000 unseen ones, and all words such that the outcome is among them: the picture nearest "
        "to picture − word + word shows the new thing, not the old one, on the same ground in at least 80 %; without the arithmetic, and with a "
        "random step of the same length, in at most 10 %.",
        [
            Part("right thing and kept ground", "hit", ">=", 0.8),
            Part("the same without the arithmetic", "none", "<=", 0.1),
            Part("the same with a random step", "random", "<=", 0.1),
        ],
        c10,
        "The ground and the things are judged, not where they stand: whether the very counterpart is found, where all is kept, is measured "
        "beside it. And only pictures of one or two things.",
    ),
]
