"""The claim of the chapter on image to speech: C43, from a picture through learned units to speech,
with no text anywhere.

Learnt from: pictures, and a voice that talks about them. The words and the phonemes of the world serve
to judge, and nothing that is trained here reads them but the judges and the captioner of words that
stands beside. Settings were chosen on training scenes kept back and on seeds from 10 on.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmtutor import world
from mmtutor.experiments._captioning import kept, pairs, vocabulary_of
from mmtutor.image_to_speech import (
    Config,
    Heard,
    ImageToUnits,
    Spoken,
    UnitDiscovery,
    UnitsToSpeech,
    as_captions,
    as_units,
    join_pitch,
    k_means,
    nearest,
    pitch,
)
from mmtutor.kit import decoding, training, vision
from mmtutor.kit.arrays import column
from mmtutor.kit.runtime import cpu_threads
from mmtutor.kit.text import Vocabulary, caption_batches
from mmtutor.page.ledger import Experiment, Part, Values
from mmtutor.sound import dct_matrix, pcm_to_float
from mmtutor.world import captions, speech, voices

CONFIG = Config.world()
TRAIN, TEST = 4000, 400
VOICED = 800  # recordings that the voice learns from
#: Of each training: steps, batch, rate, decay.
UNITS = dict(steps=220, batch=32, lr=4e-3, weight_decay=0.01)
PICTURES = dict(steps=700, batch=32, lr=5e-3, weight_decay=0.1)
VOICE = dict(steps=220, batch=8, lr=4e-3, weight_decay=0.01)
WORDS = dict(steps=1500, batch=32, lr=2.5e-3, weight_decay=0.1)  # about as long as PICTURES takes
JUDGE = dict(steps=450, batch=16, lr=3e-3, weight_decay=0.01)
CROP = 64  # frames of a piece that the units are learnt from
LIMIT = 80  # units that a picture is told with, at most
COMPARED = 100  # test sentences that both judges hear spoken anew
TEMPLATES = 4  # other voices, whose words the second judge knows
PRICE = 1.0  # of going from one word to the next, for the second judge


# --- Data -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spokens:
    """Spoken scenes of one split.

    Attributes:
        waves: of the recordings, float32 (L,) each.
        frames: log mel (bands, T) of each.
        maps: of the pictures, (N, 112, 6, 6) float16, standardised with the training statistics.
        texts, scenes, phonemes: the truth, for the judges: what was said; the scenes as JSON; symbols
            and the seconds of their middles, and their ends.
    """

    waves: list[Tensor]
    frames: list[Tensor]
    maps: Tensor
    texts: list[str]
    scenes: list[str]
    phonemes: list[tuple[list[str], np.ndarray, np.ndarray]]


def rows_of(split: str) -> world.Dataset:
    """The data set: one voice, 12 things."""
    count = TRAIN if split == "train" else TEST
    options = dict(pixels=96, things=12, voice="one", sample_rate=CONFIG.rate)
    return world.load("spoken_scenes", split, count, **options)


def gathered(rows: world.Dataset, maps: Tensor) -> Spokens:
    """Rows of the data set, with their maps."""
    ears = UnitDiscovery(CONFIG)
    waves = [pcm_to_float(torch.from_numpy(np.array(w, np.int16))) for w in rows["wave"]]
    timed = [
        (list(symbols), (np.array(start) + np.array(end)) / 2, np.array(end))
        for symbols, start, end in zip(rows["phonemes"], rows["starts"], rows["ends"])
    ]
    frames = [ears.frames(wave[None])[0] for wave in waves]
    return Spokens(waves, frames, maps, list(rows["text"]), list(rows["scene"]), timed)


@kept(1)
def load() -> tuple[Spokens, Spokens]:
    """What there is to learn from, and 400 unseen scenes."""
    train, test = rows_of("train"), rows_of("test")
    encoder = vision.ImageEncoder(layer="map")
    seen, unseen = (vision.features(column(rows, "image"), encoder) for rows in (train, test))
    return (
        gathered(train, vision.standardize(seen)),
        gathered(test, vision.standardize(unseen, seen)),
    )


class Rows(torch.utils.data.Dataset):
    """So many rows, of which a function makes batches."""

    def __init__(self, count: int, batch) -> None:
        self.count, self.batch = count, batch

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, rows: Sequence[int]) -> dict[str, Tensor]:
        return self.batch(rows)


def fit(model: nn.Module, data: object, how: dict, seed: int) -> training.History:
    """Train a module on one thread."""
    how = dict(how)
    batch, steps = how.pop("batch"), how.pop("steps")
    own = {} if isinstance(data, torch.utils.data.DataLoader) else {"batch_size": batch}
    if isinstance(data, Rows):
        own["collate"] = lambda made: made
    with cpu_threads(1):
        return training.fit(
            model, data, epochs=100, max_steps=steps, warmup=30, seed=seed, **own, **how
        )


def padded(rows: Sequence[Tensor], value: float) -> Tensor:
    """Rows of their own lengths as one tensor; the first dimension is time."""
    return pad_sequence(list(rows), batch_first=True, padding_value=value)


# --- The three modules ----------------------------------------------------------------------------


def pieces(frames: Sequence[Tensor]) -> Tensor:
    """Recordings, log mel (bands, T) each, cut into pieces of equal length: (N, bands, CROP)."""
    return torch.stack(
        [
            x[:, start : start + CROP]
            for x in frames
            for start in [*range(0, x.shape[1] - CROP + 1, CROP), x.shape[1] - CROP]
        ]
    )


@kept(4)
def discover(seed: int) -> UnitDiscovery:
    """The units of the language, from recordings alone."""
    data, _ = load()
    torch.manual_seed(seed)
    ears = UnitDiscovery(CONFIG)
    ears.teach(torch.cat([x.T for x in data.frames[:150]]), seed)
    fit(ears, {"frames": pieces(data.frames[:1500])}, UNITS, seed)
    ears.learn_codes(data.frames[:200], seed)
    return ears


def strings(ears: UnitDiscovery, frames: Sequence[Tensor]) -> list[Heard]:
    """The units of recordings, log mel (bands, T) each; those of similar length at a time."""
    order = sorted(range(len(frames)), key=lambda i: frames[i].shape[1])
    found: dict[int, Heard] = {}
    for k in range(0, len(order), 50):
        own = order[k : k + 50]
        x = padded([frames[i].T for i in own], -2.0).transpose(1, 2)
        found.update(zip(own, ears.strings(x, [frames[i].shape[1] for i in own])))
    return [found[i] for i in range(len(frames))]


@kept(4)
def transcripts(seed: int) -> list[Heard]:
    """The units of all training recordings."""
    return strings(discover(seed), load()[0].frames)


def by_length(maps: Tensor, ids: Tensor, batch: int) -> torch.utils.data.DataLoader:
    """Batches of maps and of captions that are about equally long: little is spent on padding."""
    lengths = (ids != 0).sum(1)
    order = torch.Generator()

    class Near:
        def __len__(self) -> int:
            return -(-len(ids) // batch)

        def __iter__(self):
            near = (lengths + 6 * torch.rand(len(ids), generator=order)).argsort().split(batch)
            yield from (near[i].tolist() for i in torch.randperm(len(near), generator=order))

    def made(rows: Sequence[int]) -> dict[str, Tensor]:
        return {"features": maps[rows].float(), "captions": ids[rows, : int(lengths[rows].max())]}

    return torch.utils.data.DataLoader(
        Rows(len(ids), made), batch_sampler=Near(), collate_fn=lambda b: b, generator=order
    )


@kept(4)
def captioner(seed: int) -> ImageToUnits:
    """Pictures in units. It sees maps and numbers of units, and no text."""
    data, ids = load()[0], as_captions([own.units for own in transcripts(seed)])
    torch.manual_seed(seed)
    model = ImageToUnits(CONFIG)
    fit(model, by_length(data.maps, ids, PICTURES["batch"]), PICTURES, seed)
    return model


@kept(1)
def sung() -> list[tuple[Tensor, Tensor, Tensor]]:
    """What the voice learns to make: log mel (T, bands), ln hertz and voicing (T,)."""
    mouth = UnitsToSpeech(CONFIG)
    made = []
    for wave in load()[0].waves[:VOICED]:
        mel, hertz = mouth.measure(wave[None])
        made.append((mel[0].T, *join_pitch(hertz[0])))
    return made


@kept(4)
def voice(seed: int) -> UnitsToSpeech:
    """Units as speech, from the recordings that the units were found in."""
    own, heard = sung(), transcripts(seed)
    torch.manual_seed(seed)
    mouth = UnitsToSpeech(CONFIG)
    mouth.get_used_to(
        torch.cat([high.exp() * loud for _, high, loud in own]),
        torch.cat([h.frames for h in heard[:VOICED]]),
    )

    def made(rows: Sequence[int]) -> dict[str, Tensor]:
        return {
            "units": padded([heard[i].units for i in rows], -1),
            "frames": padded([heard[i].frames for i in rows], 0),
            "mel": padded([own[i][0] for i in rows], -2.0).transpose(1, 2),
            "pitch": padded([own[i][1] for i in rows], 4.6),
            "voiced": padded([own[i][2] for i in rows], 0.0),
        }

    fit(mouth, Rows(VOICED, made), VOICE, seed)
    return mouth


def tell(model: ImageToUnits, maps: Tensor) -> list[Tensor]:
    """What a captioner says of maps, as units: the best of a beam of five."""
    found = decoding.beam_search(model, maps.float(), width=5, n_best=1, limit=LIMIT)
    return [as_units(best.ids) for best, *_ in found]


def speak(mouth: UnitsToSpeech, said: Sequence[Tensor], vocoder: str = "channel") -> list[Tensor]:
    """Strings of units as waves, at the world's loudness."""
    waves = []
    for k in range(0, len(said), 25):
        units = padded([u if len(u) else torch.zeros(1).long() for u in said[k : k + 25]], -1)
        waves += [loud(wave) for wave in mouth.speak(units, vocoder)]
    return waves


def loud(wave: Tensor) -> Tensor:
    """A wave at the world's loudness."""
    return torch.from_numpy(speech.level(wave.numpy()))


# --- Text, beside ---------------------------------------------------------------------------------


@kept(4)
def writer(seed: int) -> tuple[ImageToUnits, Vocabulary]:
    """The same captioner, told the words of the training scenes."""
    data = load()[0]
    vocabulary = vocabulary_of([[text] for text in data.texts])
    ids, owner = pairs([[text] for text in data.texts], vocabulary)
    torch.manual_seed(seed)
    model = ImageToUnits(CONFIG, words=len(vocabulary))
    fit(model, caption_batches(data.maps, ids, owner, WORDS["batch"]), WORDS, seed)
    return model, vocabulary


def written(seed: int, maps: Tensor) -> list[str]:
    """What the captioner of words says of maps."""
    model, vocabulary = writer(seed)
    found = decoding.beam_search(model, maps.float(), width=5, n_best=1)
    return [" ".join(vocabulary.decode(best.ids)) for best, *_ in found]


# --- The judges -----------------------------------------------------------------------------------


class Recogniser(nn.Module):
    """Hears words: convolutions over log mel, and connectionist temporal classification (Graves et al.
    2006). Trained on the world's own speech and nothing else; each time at another loudness and tone,
    with a little noise."""

    def __init__(self, words: Sequence[str], width: int = 80) -> None:
        super().__init__()
        self.words, self.numbers = list(words), {word: k + 1 for k, word in enumerate(words)}

        def conv(below: int, stride: int, dilation: int = 1) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv1d(below, width, 5, stride, 2 * dilation, dilation),
                nn.BatchNorm1d(width),
                nn.ReLU(),
            )

        self.down = nn.ModuleList([conv(CONFIG.bands, 2), conv(width, 2)])
        self.more = nn.ModuleList([conv(width, 1), *(conv(width, 1, d) for d in (1, 2, 4))])
        self.out = nn.Conv1d(width, len(words) + 1, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Scores (B, 1 + words, T / 4) of log mel (B, bands, T); 0 is "no word ends here"."""
        x = self.down[0](frames)
        x = self.down[1](x + self.more[0](x))
        for layer in self.more[1:]:
            x = x + layer(x)
        return self.out(x)

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        x = batch["frames"]
        if self.training:
            tone = F.interpolate(0.25 * torch.randn(len(x), 1, 5), x.shape[1], mode="linear")
            loudness = 0.15 * torch.randn(len(x), 1, 1)
            x = x + tone.transpose(1, 2).to(x.device) + loudness.to(x.device)
            x = x + 0.1 * torch.randn_like(x)
        scores = self(x).log_softmax(1).permute(2, 0, 1)
        return F.ctc_loss(
            scores, batch["words"], (batch["frames long"] + 3) // 4, batch["words long"]
        )

    @torch.no_grad()
    def hear(self, frames: Tensor) -> str:
        """The words in log mel (bands, T): the best of each step, repeats and blanks left out."""
        best = torch.unique_consecutive(self(frames[None])[0].argmax(0))
        return " ".join(self.words[k - 1] for k in best.tolist() if k)


@kept(1)
def recogniser() -> Recogniser:
    """The first judge."""
    data = load()[0]
    torch.manual_seed(1)
    judge = Recogniser(sorted({word for text in data.texts for word in text.split()}))

    def made(rows: Sequence[int]) -> dict[str, Tensor]:
        said = [torch.tensor([judge.numbers[w] for w in data.texts[i].split()]) for i in rows]
        return {
            "frames": padded([data.frames[i].T for i in rows], -2.0).transpose(1, 2),
            "words": padded(said, 0),
            "frames long": torch.tensor([data.frames[i].shape[1] for i in rows]),
            "words long": torch.tensor([len(own) for own in said]),
        }

    fit(judge, Rows(len(data.frames), made), JUDGE, seed=1)
    return judge


def heard(waves: Sequence[Tensor]) -> list[str]:
    """What the first judge hears."""
    ears = UnitDiscovery(CONFIG)
    return [recogniser().hear(ears.frames(wave[None])[0]) for wave in waves]


def cepstra(wave: Tensor) -> Tensor:
    """What the second judge compares: MFCC 1 to 12 and the loudness, every 20 ms, (T, 13), each with
    mean 0 and deviation 1 over what was heard."""
    frames = UnitDiscovery(CONFIG).frames(wave[None])[0]  # (bands, T)
    x = F.avg_pool1d(dct_matrix(13, CONFIG.bands) @ frames, 2).T
    return (x - x.mean(0)) / x.std(0).clamp(min=1e-3)


def others() -> list[voices.Speaker]:
    """Speakers of the same accent, nearest to the neutral voice in pitch (100 Hz) and formants."""
    own = [person for person in voices.speakers("train") if person.accent == "American"]
    own.sort(key=lambda one: abs(np.log(one.pitch / 100)) + abs(np.log(one.formants)))
    return own[:TEMPLATES]


@kept(1)
def templates() -> tuple[list[str], Tensor, Tensor]:
    """The second judge's words, spoken by other voices: which word each template is, its frames one
    after another (S, 13), and where each begins (M + 1,)."""
    names, parts = [], []
    for person in others():
        own = []
        for word in recogniser().words:
            wave, timed = speech.utter(word, person.settings(), CONFIG.rate)
            inner = [p for p in timed if p.symbol != speech.PAUSE]
            first, last = (int(s * CONFIG.rate) for s in (inner[0].start, inner[-1].end))
            own.append(torch.from_numpy(wave[first:last].copy()))
        ears = UnitDiscovery(CONFIG)
        raw = [
            F.avg_pool1d(dct_matrix(13, CONFIG.bands) @ ears.frames(w[None])[0], 2).T for w in own
        ]
        together = torch.cat(raw)  # a voice is centred as a whole
        mean, std = together.mean(0), together.std(0)
        names += recogniser().words
        parts += [(x - mean) / std for x in raw]
    starts = torch.tensor([0, *np.cumsum([len(x) for x in parts])])
    return names, torch.cat(parts), starts


def matched(wave: Tensor, price: float = PRICE) -> str:
    """What the second judge hears: the row of templates that, bent in time, lies nearest.

    Connected words by dynamic time warping in one pass (Ney 1984). In each frame of the recording the
    path stays in a frame of a template, goes on by one, or by two; from the last frame of any
    template it may go to the first of any, for a price.
    """
    names, frames, starts = templates()
    distance = torch.cdist(cepstra(wave), frames).numpy()  # (T, S)
    first, last = starts[:-1].numpy(), starts[1:].numpy() - 1
    inside1, inside2 = (np.ones(len(frames), bool) for _ in range(2))
    inside1[first] = inside2[first] = False
    inside2[np.minimum(first + 1, len(frames) - 1)] = False
    cost = np.full(len(frames), np.inf)
    entered = np.zeros(len(frames), np.int64)
    ends: list[tuple[float, int, int]] = [(0.0, -1, 0)]  # best end so far: cost, word, its begin
    for t, own in enumerate(distance):
        one = np.where(inside1, np.roll(cost, 1), np.inf)
        two = np.where(inside2, np.roll(cost, 2), np.inf) + 0.5 * own
        way = np.stack([cost + own, one + own, two + own])
        best = way.argmin(0)
        cost = way.min(0)
        before = np.stack([entered, np.roll(entered, 1), np.roll(entered, 2)])
        entered = np.take_along_axis(before, best[None], 0)[0]
        new = ends[-1][0] + price + own[first]
        fresh = new < cost[first]
        cost[first] = np.where(fresh, new, cost[first])
        entered[first] = np.where(fresh, t, entered[first])
        k = int(cost[last].argmin())
        ends.append((float(cost[last[k]]), k, int(entered[last[k]])))
    words, t = [], len(distance)
    while t > 0:
        _, k, begin = ends[t]
        words.append(names[k])
        t = begin
    return " ".join(reversed(words))


def words_wrong(said: str, understood: str) -> int:
    """Words to change, add or leave out."""
    a, b = said.split(), understood.split()
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def words_right(said: Sequence[str], understood: Sequence[str]) -> float:
    """1 − word error rate."""
    wrong = sum(map(words_wrong, said, understood))
    return 1 - wrong / sum(len(one.split()) for one in said)


# --- What is measured -----------------------------------------------------------------------------


def truth(told: Sequence[str], scenes: Sequence[str]) -> float:
    """The share of sentences that are true of their scenes."""
    verdicts = [captions.is_true(one, scene) for one, scene in zip(told, scenes)]
    return float(np.mean([v is captions.Verdict.TRUE for v in verdicts]))


def chance(told: Sequence[str], scenes: Sequence[str], shifts: int = 5) -> float:
    """The same of other scenes: what one says who does not look."""
    n = len(scenes)
    other = [truth(told, [*scenes[k:], *scenes[:k]]) for k in range(7, n, n // shifts)]
    return float(np.mean(other[:shifts]))


@functools.cache
def blind(candidates: int = 80) -> float:
    """How often the one sentence is true that is true most often: of 80 training sentences."""
    data, test = load()
    return max(truth([text] * len(test.scenes), test.scenes) for text in data.texts[:candidates])


def agreement(units: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> dict[str, float]:
    """NMI and purity of units against phonemes."""
    from sklearn.metrics import normalized_mutual_info_score

    a, b = np.concatenate(list(units)), np.concatenate(list(truths))
    best = sum(max(Counter(b[a == k]).values()) for k in np.unique(a))
    return {"NMI": float(normalized_mutual_info_score(b, a)), "purity": best / len(a)}


def against_phonemes(codes: Sequence[np.ndarray], own: Spokens) -> dict[str, float]:
    """Units (one number a frame) against phonemes: at the middle of each phoneme, and in each frame."""
    middle, whole, symbols, labels = [], [], [], []
    for row, (names, centres, ends) in zip(codes, own.phonemes):
        at = np.minimum((centres / CONFIG.period).round().astype(int), len(row) - 1)
        time = np.arange(len(row)) * CONFIG.period
        name = np.array(names)
        middle.append(row[at]), symbols.append(name)
        whole.append(row)
        labels.append(name[np.minimum(np.searchsorted(ends, time, "right"), len(name) - 1)])
    found = agreement(middle, symbols)
    return {**found, "NMI, frames": agreement(whole, labels)["NMI"]}


def frame_codes(found: Sequence[Heard]) -> list[np.ndarray]:
    """One unit a frame."""
    return [own.units.repeat_interleave(own.frames).numpy() for own in found]


@functools.cache
def plain_clusters() -> dict[str, float]:
    """The same of k-means on MFCC, as many clusters, nothing learnt."""
    data, test = load()
    dct = dct_matrix(13, CONFIG.bands)
    centres = k_means(torch.cat([(dct @ x).T for x in data.frames[:200]]), CONFIG.units)
    codes = [nearest((dct @ x).T, centres).numpy() for x in test.frames]
    runs = np.mean([1 + (np.diff(row) != 0).sum() for row in codes])
    return {**against_phonemes(codes, test), "runs": float(runs)}


def jumps(waves: Sequence[Tensor]) -> float:
    """How far the pitch goes from one frame to the next, in semitones, where both are voiced: mean."""
    steps = []
    for wave in waves:
        hertz = pitch(wave[None].clamp(-1, 1), CONFIG.rate, CONFIG.hop)[0]
        both = (hertz[1:] > 0) & (hertz[:-1] > 0)
        steps.append(12 * (hertz[1:][both] / hertz[:-1][both]).log2().abs())
    return float(torch.cat(steps).mean())


@kept(4)
def snippets(seed: int) -> dict[int, list[tuple[int, int, int]]]:
    """Where each unit is in the recordings of the voice: recording, first sample, samples."""
    found: dict[int, list[tuple[int, int, int]]] = {}
    for i, own in enumerate(transcripts(seed)[:VOICED]):
        first = 0
        for unit, long in zip(own.units.tolist(), own.frames.tolist()):
            found.setdefault(unit, []).append((i, first * CONFIG.hop, long * CONFIG.hop))
            first += long
    return found


def ransom(seed: int, said: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Speech as letters cut out of newspapers: each unit is cut out of some recording, whichever; and
    how many frames each lasts."""
    data, known, dice = load()[0], snippets(seed), np.random.default_rng(seed)
    waves, frames = [], []
    for units in said:
        cut = []
        for unit in units.tolist():
            own = known.get(unit) or known[next(iter(known))]
            cut.append(own[dice.integers(len(own))])
        waves.append(torch.cat([data.waves[i][start : start + n] for i, start, n in cut]))
        frames.append(torch.tensor([n // CONFIG.hop for *_, n in cut]))
    return waves, frames


def off(given: Sequence[Tensor], true: Sequence[Tensor]) -> float:
    """By how much durations miss the true ones: mean |ln ratio|."""
    return float((torch.cat(list(given)).log() - torch.cat(list(true)).log()).abs().mean())


def rhythm(seed: int, found: Sequence[Heard]) -> Values:
    """How the voice times and tunes unseen sentences, against cut-out letters and against the
    recordings themselves."""
    test, mouth = load()[1], voice(seed)
    said = [own.units for own in found]
    spoken: Spoken = mouth.say(padded(said, -1))
    own = [row[: len(units)] for row, units in zip(spoken.frames, said)]
    cut, lengths = ransom(seed, said)
    true = [own.frames for own in found]
    return {
        "timing": off(own, true),
        "timing, cut": off(lengths, true),
        "jumps": jumps(speak(mouth, said)),
        "jumps, cut": jumps(cut),
        "jumps, real": jumps(test.waves[: len(found)]),
    }


@functools.cache
def natural() -> Values:
    """What the judges make of the synthesiser's own sentences: the ceiling."""
    test = load()[1]
    first, waves = heard(test.waves), test.waves[:COMPARED]
    return {
        "right, real": words_right(test.texts[:COMPARED], first[:COMPARED]),
        "matched, real": words_right(test.texts[:COMPARED], [matched(w) for w in waves]),
        "truth, real": truth(first, test.scenes),
        "truth, others": chance(test.texts, test.scenes),
    }


def measure(seed: int) -> Values:
    """The whole way, and its parts, on 400 unseen scenes."""
    _, test = load()
    ears, mouth = discover(seed), voice(seed)
    found = strings(ears, test.frames)
    out = against_phonemes(frame_codes(found), test)
    out["units"] = float(np.mean([len(own.units) for own in found]))
    out["phonemes"] = float(np.mean([len(names) for names, *_ in test.phonemes]))
    out |= {f"{name}, MFCC": value for name, value in plain_clusters().items()}
    # recordings as units and back: what is lost on the way through the units
    again = speak(mouth, [own.units for own in found[:COMPARED]])
    out["right"] = words_right(test.texts[:COMPARED], heard(again))
    out["matched"] = words_right(test.texts[:COMPARED], [matched(wave) for wave in again])
    out |= natural()
    out["right ÷ real"] = out["right"] / out["right, real"]
    out["matched ÷ real"] = out["matched"] / out["matched, real"]
    out |= rhythm(seed, found[:COMPARED])
    # pictures
    told = heard(speak(mouth, tell(captioner(seed), test.maps)))
    out["truth"] = truth(told, test.scenes)
    # the higher of two: its own sentences, or the true ones, held against other scenes
    out["truth, chance"] = max(chance(told, test.scenes), out["truth, others"])
    out["truth, blind"] = blind()
    out["truth ÷ chance"] = out["truth"] / out["truth, chance"]
    text = written(seed, test.maps)
    out["truth, text"] = truth(text, test.scenes)
    settings = speech.Settings(speech.LANGUAGES["en"])
    read = [torch.from_numpy(speech.utter(one, settings, CONFIG.rate)[0]) for one in text]
    out["truth, text spoken"] = truth(heard(read), test.scenes)
    return out


EXPERIMENTS = [
    Experiment(
        id="C43",
        rule="of 400 unseen pictures, all told in units and spoken, the recogniser hears at least 5 "
        "times as many true sentences as by chance; units share at least 0.75 of the information of "
        "phonemes (NMI at their middles); of the words of unseen recordings that went through units "
        "and back each judge gets at least two thirds as many right as in the synthesiser's own; and "
        "durations and steps of pitch lie nearer to the recordings' than, and jump less than, those of "
        "units cut out at random",
        parts=[
            Part("truth rate heard ÷ chance", "truth ÷ chance", ">=", 5),
            Part("NMI of units and phonemes, unseen recordings", "NMI", ">=", 0.75),
            Part(
                "words right by the recogniser, through units ÷ real", "right ÷ real", ">=", 2 / 3
            ),
            Part(
                "words right by template matching, through units ÷ real",
                "matched ÷ real",
                ">=",
                2 / 3,
            ),
            Part("mean |ln duration ÷ true|, voice − cut", "timing", "<", 0, minus="timing, cut"),
            Part(
                "mean step of pitch (semitones), voice − cut", "jumps", "<", 0, minus="jumps, cut"
            ),
        ],
        measure=measure,
        note="Measured twice with the same rule: at first the captioner of words, which is no part of it, "
        "had the rate and the steps of the one of units, and did not get going on seed 0. Its recipe was "
        "then chosen on seeds 11 and 12. All parts held both times.",
        limits="One synthetic voice, which says a sound nearly the same each time, and sentences of a "
        "small grammar: real speech is far harder. What is heard is what two machines hear.",
    )
]
