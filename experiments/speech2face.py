"""The claims of the chapter on Speech2Face: C41, a voice tells something of its face, and what it
cannot tell; C42, frozen networks compose.

The face networks learn once, on faces alone; the voice encoder learns from clips of 480 speakers,
and is asked about others. Settings were chosen on kept-back training speakers and on seeds from 10
on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmtutor import sound, world
from mmtutor.experiments._captioning import kept
from mmtutor.kit import training
from mmtutor.kit.arrays import column
from mmtutor.kit.retrieval import ranks, same, similarity
from mmtutor.kit.runtime import cpu_threads
from mmtutor.page.ledger import Experiment, Part, Values
from mmtutor.speech2face import Config, Faces, Match, Speech2Face, fit_match
from mmtutor.world import faces as drawn
from mmtutor.world import voices

PIXELS, RATE, SECONDS = 64, 8000, 5
#: Pictures that the face networks learn from: ten of each speaker; and clips with a voice.
PICTURES, CLIPS = 10 * voices.TRAIN_SPEAKERS, 4 * voices.TRAIN_SPEAKERS
#: How often the face networks are shown the picture from the front in a pass, as any other pose.
FRONTS = 3
#: The unseen speakers among whose faces one is sought.
GALLERY = 100
FACE_EPOCHS, FACE_BATCH, FACE_LR, FACE_DECAY = 5, 32, 3e-3, 1e-2
EPOCHS, BATCH, LR, DECAY = 8, 16, 8e-3, 0.3
#: In so many directions of a face vector a voice is listened to.
DIRECTIONS = 5
ALPHAS = tuple(10.0**k for k in range(-2, 6))
TRAITS: tuple[str, ...] = (*drawn.TIED, *drawn.INDEPENDENT)
NUMBERS = TRAITS[:7]


# --- Faces and voices -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Clips:
    """Pictures of faces, and what their speakers say.

    Attributes:
        image: uint8 (N, 3, S, S), in any pose and light.
        front: uint8 (N, 3, S, S), the same face from the front.
        wave: int16 (N, L), or None.
        names: of the speakers, (N,).
        who: their numbers among the speakers of the split, (N,).
    """

    image: Tensor
    front: Tensor
    wave: Tensor | None
    names: tuple[str, ...]
    who: Tensor

    def rows(self, which: slice | Tensor) -> Clips:
        """Some of them."""
        wave = None if self.wave is None else self.wave[which]
        names = np.array(self.names, dtype=object)[which]
        return Clips(self.image[which], self.front[which], wave, tuple(names), self.who[which])


def clips(split: str, count: int, spoken: bool) -> Clips:
    """So many faces of a split, with or without a voice. Each run of as many rows as there are
    speakers shows each of them once."""
    options = dict(seconds=SECONDS, sample_rate=RATE) if spoken else {}
    rows = world.load("faces", split, count, pixels=PIXELS, **options)

    def channels_first(name: str) -> Tensor:
        return torch.from_numpy(column(rows, name)).permute(0, 3, 1, 2).contiguous()

    names = tuple(str(name) for name in column(rows, "speaker"))
    number = {one.name: i for i, one in enumerate(voices.speakers(split))}
    wave = torch.from_numpy(column(rows, "wave").copy()) if spoken else None
    who = torch.tensor([number[name] for name in names])
    return Clips(channels_first("image"), channels_first("canonical"), wave, names, who)


@kept(2)
def pictures(split: str) -> Clips:
    """What the face networks learn from, or five pictures of each unseen speaker."""
    return clips(split, PICTURES if split == "train" else 5 * voices.TEST_SPEAKERS, False)


@kept(2)
def speech(split: str) -> Clips:
    """What the voice encoder learns from, or one clip of each unseen speaker."""
    return clips(split, CLIPS if split == "train" else voices.TEST_SPEAKERS, True)


@functools.cache
def traits(split: str) -> dict[str, np.ndarray]:
    """The true traits of the speakers' faces, in the order of ``Clips.who``: for the tests."""
    people = [drawn.face(one) for one in voices.speakers(split)]
    return {name: np.array([getattr(one, name) for one in people]) for name in TRAITS}


def points(split: str) -> Tensor:
    """Where the points of the speakers' faces lie from the front, (N, 14), in the order of
    ``Clips.who``; in halves of the picture from the middle of the head, rightwards and upwards.

    The face is even on both sides, so one is enough: the head's right edge and its top; the outer
    edge and the top of an ear; inner, outer and upper edge of an eye; the width, the tip and the
    middle of the nose; the right corner of the mouth, and how high eyes, nose and mouth stand.
    """
    t = {name: torch.from_numpy(traits(split)[name]).float() for name in NUMBERS}
    high = 0.58 + 0.05 * t["head_size"]
    wide = high * (0.88 + 0.065 * t["head_width"])
    ear = 0.22 + 0.065 * t["ear_size"]
    apart, eye = 0.43 + 0.07 * t["eye_spacing"], 0.17 + 0.035 * t["eye_size"]
    found = [
        *(wide, high),
        *(wide * (0.97 + 1.35 * ear), high * (1.15 * ear - 0.02)),
        *(wide * (apart - eye), wide * (apart + eye), 0.18 * high + wide * eye),
        *(wide * (0.145 + 0.045 * t["nose"]), high * (0.27 + 0.065 * t["nose"])),
        high * (0.135 + 0.0325 * t["nose"]),
        wide * (0.41 + 0.11 * t["mouth_width"]),
        *(0.18 * high, 0.27 * high, 0.52 * high),
    ]
    return torch.stack(found, 1)


# --- Training -------------------------------------------------------------------------------------


def lessons() -> dict[str, Tensor]:
    """What the face networks learn from: ten poses of each person, and three times the one from the
    front."""
    data = pictures("train")
    front = torch.arange(voices.TRAIN_SPEAKERS).repeat(FRONTS)
    person = torch.cat([data.who, data.who[front]])
    where = points("train")
    return {
        "image": torch.cat([data.image, data.front[front]]),
        "front": torch.cat([data.front, data.front[front]]),
        "person": person,
        "shape": ((where - where.mean(0)) / where.std(0))[person],
    }


@kept(2)
def face_networks(seed: int) -> Faces:
    """The face encoder and the face decoder, which hear nothing."""
    data = lessons()
    torch.manual_seed(seed)
    model = Faces(Config.world())
    with cpu_threads(1):
        training.fit(
            model,
            data,
            epochs=FACE_EPOCHS,
            batch_size=FACE_BATCH,
            lr=FACE_LR,
            weight_decay=FACE_DECAY,
            seed=seed,
        )
    return model


def once(seed: int) -> int:
    """The seed of the face networks: they are trained once for a sweep (seeds 0 to 99), and once
    more for its replication (100 to 199)."""
    return seed // 100


@kept(2)
def system(seed: int) -> Speech2Face:
    """The whole system: frozen face networks, and a voice encoder that has learned to give the
    vector of the speaker's face."""
    data = speech("train")
    torch.manual_seed(seed)
    model = Speech2Face(Config.world()).freeze(face_networks(once(seed)))
    seen = vectors(model, data.front)
    model.gauge(seen)
    with cpu_threads(1):
        training.fit(
            model,
            {"wave": data.wave, "vector": seen},
            epochs=EPOCHS,
            batch_size=BATCH,
            lr=LR,
            weight_decay=DECAY,
            seed=seed,
        )
        model.settle(listen(model, data.wave), seen, DIRECTIONS)
    return model


@torch.no_grad()
def vectors(model: Speech2Face, images: Tensor) -> Tensor:
    """The face vectors (N, D) of pictures."""
    return torch.cat([model.see(part) for part in images.split(200)])


@torch.no_grad()
def listen(model: Speech2Face, waves: Tensor) -> Tensor:
    """The face vectors (N, D) of clips."""
    return torch.cat([model.voice(part) for part in waves.split(40)])


# --- Baselines ------------------------------------------------------------------------------------


def hand_made(waves: Tensor) -> Tensor:
    """What somebody who knows voices would measure, (N, 203): the mean spectrum and its spread, how
    fast it changes, the pitch and its spread, and how the loudness goes up and down."""
    x = sound.pcm_to_float(waves)
    mel = sound.MelSpectrogram(RATE, n_fft=256, hop_length=80, n_mels=40)
    level = sound.power_to_db(mel(x))  # (B, 40, T)
    change = level.diff(dim=-1).abs()
    loud = level.mean(1)
    beat = torch.fft.rfft(loud - loud.mean(1, keepdim=True)).abs()[:, 1:100]
    beat = (beat.unflatten(1, (33, 3)).mean(2) + 1e-3).log()
    over_time = [level.mean(-1), level.std(-1), change.mean(-1), change.std(-1)]
    rest = [beat, change.mean(1).std(1, keepdim=True)]
    return torch.cat([*over_time, pitch(x), *rest], 1)


def pitch(x: Tensor) -> Tensor:
    """Pitch by autocorrelation, in octaves: five quantiles over time, two widths, the standard
    deviation, and the share of frames that have one; (B, 9)."""
    hann = sound.get_window("hann", 400)
    frames = sound.frame(x, 400, 160) * hann  # (B, T, 400)
    own = torch.fft.irfft(torch.fft.rfft(frames, n=1024).abs() ** 2)[..., :160]
    window = torch.fft.irfft(torch.fft.rfft(hann, n=1024).abs() ** 2)[:160]
    own = own / (own[..., :1] + 1e-9) / (window / window[0])
    fewer = 1 - torch.arange(20, 160) / 500  # of lags that are as good, the shortest
    best, lag = (own[..., 20:] * fewer).max(-1)  # 50 to 400 Hz
    octaves = (RATE / (lag + 20.0)).log2()
    energy = frames.square().sum(-1)
    voiced = (best > 0.65) & (energy > 0.1 * energy.mean(1, keepdim=True))
    found = []
    for row, there in zip(octaves, voiced):
        v = row[there] if int(there.sum()) > 5 else row
        q = torch.quantile(v, torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9]))
        more = torch.stack([q[4] - q[0], q[3] - q[1], v.std(), there.float().mean()])
        found.append(torch.cat([q, more]))
    return torch.stack(found)


@functools.cache
def known(split: str, how: str) -> np.ndarray:
    """What a baseline knows of each clip: ``"oracle"``, the four true numbers behind the voice;
    ``"hand"``, :func:`hand_made`."""
    data = speech(split)
    if how == "hand":
        return torch.cat([hand_made(part) for part in data.wave.split(64)]).numpy()
    told = ("pitch", "formants", "rate", "liveliness")
    return np.array([[voices.speaker(n).standard(t) for t in told] for n in data.names])


def ridge(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Ridge regression, its strength chosen by leaving out one after another."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeCV(ALPHAS)).fit(x, y).predict


# --- C41 ------------------------------------------------------------------------------------------


def read_traits(model: Speech2Face) -> Callable[[Tensor], dict[str, np.ndarray]]:
    """A reader of face vectors: linear, fitted on the training speakers' faces from the front. It
    says each number, and the most probable of each kind."""
    data = speech("train").rows(slice(0, voices.TRAIN_SPEAKERS))
    seen, truth = vectors(model, data.front).numpy(), traits("train")
    rows, readers = data.who.numpy(), {}
    for name in TRAITS:
        own = truth[name][rows]
        kinds = None if name in NUMBERS else np.unique(own)
        target = own if kinds is None else (own[:, None] == kinds).astype(float)
        readers[name] = (ridge(seen, target), kinds)

    def read(found: Tensor) -> dict[str, np.ndarray]:
        out = {}
        for name, (reader, kinds) in readers.items():
            said = reader(found.numpy())
            out[name] = said if kinds is None else kinds[said.argmax(1)]
        return out

    return read


def sides(said: Mapping[str, np.ndarray], split: str) -> dict[str, np.ndarray]:
    """Numbers as sides: whether they lie above the mean of the training speakers, which is 0."""
    usual = {name: np.mean(traits("train")[name]) for name in NUMBERS}
    return {name: own > usual[name] if name in NUMBERS else own for name, own in said.items()}


def right(said: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """The share of speakers of whom a trait is said rightly; and the same where each is compared
    with everybody: chance, for somebody who says each answer as often."""
    each = [(said == k).mean() * (true == k).mean() for k in np.unique(true)]
    return float((said == true).mean()), float(sum(each))


def found_at(score: Tensor, ks: tuple[int, ...] = (1, 5, 10)) -> dict[int, float]:
    """Recall at k where the right face of query i is the i-th: of scores (N, N), larger is
    better."""
    own = score.diagonal()[:, None]
    before = (score > own).sum(1) + ((score == own).sum(1) - 1) / 2  # half of those that tie
    return {k: float((before < k).float().mean()) for k in ks}


def measure_told(seed: int) -> Values:
    """Faces sought by voice among 100 unseen speakers, by the network and by the baselines; and
    each trait, read from the heard vectors."""
    model, train, test = system(seed), speech("train"), speech("test")
    test = test.rows(test.who.argsort())
    gallery = test.rows(slice(0, GALLERY))
    seen, seen_test = vectors(model, train.front), vectors(model, gallery.front)
    heard, heard_test = listen(model, train.wave), listen(model, test.wave)
    out: dict[str, float] = {}

    def seek(name: str, told: Tensor, told_test: Tensor) -> Match:
        match = fit_match(told, seen)
        for k, share in found_at(match(told_test[:GALLERY], seen_test)).items():
            out[f"{name}: R@{k}"] = share
        return match

    seek("voice", heard, heard_test)
    for name in ("oracle", "hand"):
        told, told_test = known("train", name), known("test", name)
        order = speech("test").who.argsort().numpy()
        line = ridge(told, seen.numpy())
        seek(name, *(torch.from_numpy(line(x)).float() for x in (told, told_test[order])))
    for name, measure in (("cosine", "cosine"), ("L2", "l2")):  # as in the paper
        table = similarity(heard_test[:GALLERY], seen_test, measure)
        people = torch.arange(GALLERY)
        out[f"{name}: R@10"] = ranks(table, same(people, people)).recall(10)
    out["chance: R@10"] = 10 / GALLERY

    read, truth = read_traits(model), traits("test")
    for way, found in (("", heard_test), ("face: ", vectors(model, test.front))):
        said = sides(read(found), "test")
        for name, true in sides(truth, "test").items():
            out[f"{way}{name}"], out[f"{way}{name}, anybody"] = right(said[name], true)
    numbers = read(heard_test)
    for name in NUMBERS:
        out[f"r: {name}"] = float(np.corrcoef(numbers[name], truth[name])[0, 1])
    free = drawn.INDEPENDENT
    out["independent"] = float(np.mean([out[name] for name in free]))
    out["independent, anybody"] = float(np.mean([out[f"{name}, anybody"] for name in free]))
    return out


# --- C42 ------------------------------------------------------------------------------------------


@torch.no_grad()
def measure_composed(seed: int) -> Values:
    """What learns and what stays; the face found again in another pose; faces drawn from the voice
    and from the face itself, against the true one and the mean face."""
    networks, model = face_networks(once(seed)), system(seed)
    frozen = [(networks.encoder, model.face), (networks.decoder, model.decoder)]
    moved = [
        not torch.equal(a, b)
        for one, two in frozen
        for a, b in zip(one.state_dict().values(), two.state_dict().values())
    ]
    voice = sum(p.numel() for p in model.voice.parameters())
    whole = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)

    shots = pictures("test")
    count = voices.TEST_SPEAKERS
    random = torch.Generator().manual_seed(seed)
    one, two = torch.randperm(len(shots.who) // count, generator=random)[:2].tolist()
    poses = [shots.rows(slice(k * count, (k + 1) * count)) for k in (one, two)]
    poses = [own.rows(own.who.argsort()) for own in poses]
    usual = vectors(model, pictures("train").image[: 2 * voices.TRAIN_SPEAKERS])
    looks = [(vectors(model, own.image) - usual.mean(0)) / usual.std(0) for own in poses]
    pixels = [own.image.float().flatten(1) / 255 for own in poses]
    people = torch.arange(count)

    def again(pair: list[Tensor]) -> float:
        return ranks(similarity(*pair, "cosine"), same(people, people)).recall(1)

    test = speech("test")
    true = test.front.float() / 255
    mean = pictures("train").front[: voices.TRAIN_SPEAKERS].float().mean(0) / 255

    def error(found: Tensor) -> float:
        """Mean squared error of a channel, in steps of 1/255."""
        return float((found - true).square().mean().sqrt()) * 255

    return {
        "trained": float(trained),
        "voice": float(voice),
        "whole": float(whole),
        "share": trained / whole,
        "moved": float(sum(moved)),
        "again: R@1": again(looks),
        "again, pixels: R@1": again(pixels),
        "drawn from the voice": error(model.draw(listen(model, test.wave))),
        "drawn from the face": error(model.draw(vectors(model, test.front))),
        "drawn from another pose": error(model.draw(vectors(model, test.image))),
        "mean face": error(mean),
        "another's face": error(true.roll(1, 0)),
    }


EXPERIMENTS = [
    Experiment(
        id="C41",
        rule="from one clip of 5 s, the faces of 100 unseen speakers are found among the first ten "
        "with R@10 of at least 0.65 and R@1 of at least five times chance; each of the four traits "
        "that depend on the voice is said rightly more often than for anybody, and the nine that "
        "do not depend on it are, in the mean, said rightly as often as for anybody (within 0.05)",
        parts=[
            Part("R@10 of 100 unseen faces, from the voice", "voice: R@10", ">=", 0.65),
            Part("R@1 of 100 unseen faces, from the voice", "voice: R@1", ">=", 0.05),
            *(
                Part(
                    f"{name.replace('_', ' ')}: accuracy − that for anybody",
                    name,
                    ">",
                    0,
                    minus=f"{name}, anybody",
                )
                for name in drawn.TIED
            ),
            Part(
                "nine independent traits: mean accuracy − that for anybody",
                "independent",
                "within",
                (-0.05, 0.05),
                minus="independent, anybody",
            ),
        ],
        measure=measure_told,
        limits="The ties between voice and face are made, and strong; the intervals are over the "
        "networks' seeds, with the same 120 unseen speakers.",
    ),
    Experiment(
        id="C42",
        rule="only the voice encoder's weights change; the face encoder finds each of 120 unseen "
        "speakers in another pose with R@1 of at least 0.8; a face drawn from the voice is nearer "
        "to the true one than the mean face, and one drawn from the face itself is nearer still",
        parts=[
            Part("weights of the face networks that moved (tensors)", "moved", "==", 0),
            Part("the same person in another pose, R@1 of 120", "again: R@1", ">=", 0.8),
            Part(
                "error of a pixel (of 255), drawn from the voice − mean face",
                "drawn from the voice",
                "<",
                0,
                minus="mean face",
            ),
            Part(
                "error of a pixel (of 255), drawn from the face − from the voice",
                "drawn from the face",
                "<",
                0,
                minus="drawn from the voice",
            ),
        ],
        measure=measure_composed,
        limits="The face networks are trained once for a sweep, and once more for its replication: "
        "the intervals are over voice encoders and over the poses that a seed draws.",
    ),
]


# --- A fairer baseline, and seeds that nobody had looked at ----------------------------------------


def by_speaker(x: np.ndarray, y: np.ndarray, who: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Ridge regression like :func:`ridge`, its strength chosen by leaving out one fifth of the
    *speakers* after another. With four clips a speaker, to leave out one clip asks about people whom
    the line knows, and too little is smoothed."""
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    line = make_pipeline(StandardScaler(), Ridge())
    search = GridSearchCV(
        line, {"ridge__alpha": ALPHAS}, cv=GroupKFold(5), scoring="neg_mean_squared_error"
    )
    return search.fit(x, y, groups=who).predict


@torch.no_grad()
def hand_made_by_speaker(model: Speech2Face) -> Values:
    """R@k of the hand-made features among the 100 unseen faces, by :func:`by_speaker`."""
    train, test = speech("train"), speech("test")
    order = test.who.argsort()
    seen = vectors(model, train.front)
    line = by_speaker(known("train", "hand"), seen.numpy(), train.who.numpy())
    told, told_test = (
        torch.from_numpy(line(known(split, "hand"))).float() for split in ("train", "test")
    )
    gallery = vectors(model, test.rows(order).front[:GALLERY])
    score = fit_match(told, seen)(told_test[order][:GALLERY], gallery)
    return {f"hand, by speaker: R@{k}": share for k, share in found_at(score).items()}


#: C41 once more, with seeds from 200 on: a third pair of face networks.
PARTS: dict[str, None] = {"as it is": None}


def without(name: str, seed: int) -> Values:
    """What C41 measures, and the part of C42 that had reversed on the fresh seeds of the first
    version: the fresh seeds of both claims had been looked at before the network was mended."""
    told, composed = measure_told(seed), measure_composed(seed)
    kept = ("drawn from the voice", "drawn from the face", "mean face", "again: R@1")
    more = hand_made_by_speaker(system(seed))
    return {**told, **more, **{name: composed[name] for name in kept}}
