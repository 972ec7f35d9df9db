"""Text to image on the command line: learn from pictures with texts, and draw a sentence."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtutor import text_to_image, world
from mmtutor.cli import runs
from mmtutor.cli.task import (
    CAPTIONED,
    EVERY,
    Recipe,
    Task,
    batches,
    source,
    threads_of,
    told_texts,
    vocabulary_of,
    words_of,
)
from mmtutor.kit import saving, training
from mmtutor.kit.arrays import column
from mmtutor.kit.runtime import device
from mmtutor.kit.text import Vocabulary, tokenize

READING = 0.18  # steps in which φ learns to read, for each step of the game
AMONG = 10  # sentences of which a drawing must fit its own best
WORLD: dict[str, Any] = {"augment": True, "seeking": 0.25}  # what the chapter's model has beside


class Painter(nn.Module):
    """The game, and the network that saw the pictures when φ learned to read; it judges."""

    Config = text_to_image.Config

    def __init__(self, config: text_to_image.Config) -> None:
        super().__init__()
        self.config = config
        self.game = text_to_image.TextToImage(config)
        self.pictures = text_to_image.PictureEncoder(config)


@dataclass(frozen=True)
class Told:
    """Pictures and what is said of them.

    Attributes:
        pictures: uint8 (N, S, S, 3).
        ids: sentences (M, T), those of a picture one after another.
        first, count: (N,), where a picture's sentences begin in ``ids``, and how many they are.
        meaning: (N,), a number that two pictures share if the sentences of one are true of the other.
    """

    pictures: np.ndarray
    ids: Tensor
    first: Tensor
    count: Tensor
    meaning: Tensor

    def seen(self, rows: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in [−1, 1]."""
        x = torch.from_numpy(self.pictures[rows.numpy()]).permute(0, 3, 1, 2)
        return x.float() / 127.5 - 1


class Reading(torch.utils.data.Dataset):
    """Pictures, each with one of its sentences, drawn at random: what φ learns from."""

    def __init__(self, told: Told) -> None:
        self.told = told

    def __len__(self) -> int:
        return len(self.told.first)

    def __getitems__(self, rows: list[int]) -> dict[str, Tensor]:
        i, own = torch.tensor(rows), self.told
        which = own.first[i] + (torch.rand(len(i)) * own.count[i]).long()
        return {
            "pictures": own.seen(i),
            "sentences": own.ids[which],
            "meaning": own.meaning[i],
        }


class Drawing(Task):
    system = "text_to_image"
    says = "pictures of a sentence, drawn by two networks that play a game (Reed et al. 2016)"
    then = "draw"
    sets = ("flickr8k", "coco_captions")
    folders = True
    holds = CAPTIONED
    config = text_to_image.Config
    model = Painter
    fixed = ("vocabulary",)
    takes = ("steps", "batch")
    accumulates = False  # two players, each with its own step
    instead = "use --set size for the pictures, and --set rates for the two networks"
    recipes: ClassVar[dict[str, Recipe]] = {
        "world": Recipe(2600, 32, 6e-4),
        "small": Recipe(12_000, 64, 6e-4),
        "paper": Recipe(20_000, 64, 2e-4),
    }
    small: ClassVar[dict[str, Any]] = dict(
        **dict(size=64, words=64, hidden=128, sentence=128, code=64),
        **dict(generator=48, discriminator=48),
    )

    def settings(self, run: dict[str, Any], words: int = 1000) -> Any:
        own = {**(WORLD if run["scale"] != "paper" else {}), **run["set"]}
        if own.get("code") == 0 and "seeking" not in run["set"]:
            own["seeking"] = 0.0  # what has no code cannot be asked to heed it
        letters = own.get("words", 0 if run["scale"] == "paper" else 1) == 0
        own["vocabulary"] = len(text_to_image.ALPHABET) + 1 if letters else words
        made = self.maker(run["scale"])(**own)
        if run["batch"] < 2:
            raise ValueError(f"--batch of {self.system} must be at least 2, got {run['batch']}")
        if made.pairs and run["batch"] % 2:
            raise ValueError(f"with pairs --batch must be even, got {run['batch']}")
        known = world.info("portraits")["options"]["pixels"]
        if source(run).kind == "world" and made.size not in known:
            sides = [side for side in sorted(known) if side & (side - 1) == 0]
            raise ValueError(
                f"the world's pictures have a size of {' or '.join(map(str, sides))} here, got "
                f"{made.size}"
            )
        if source(run).kind != "world" and not 16 <= made.size <= 1024:
            raise ValueError(f"size must be from 16 to 1024 here, got {made.size}")
        return made

    def rows(self, run: dict[str, Any], config: Any, split: str, size: int | None) -> Any:
        """Pictures as large as the network draws them."""
        usual = 6000 if split == "train" else 1500
        whole = dict(things=12, framing="centred", held_out=2)
        return source(run).rows("portraits", split, size, config.size, usual, **whole)

    def told(self, rows: Any, vocabulary: Vocabulary | None) -> Told:
        """Rows as tensors; pictures without a text are left out."""
        texts, owner = told_texts(rows)
        count = torch.bincount(owner, minlength=len(rows))
        kept = count.nonzero()[:, 0]
        said = [[] for _ in range(len(rows))]
        for text, row in zip(texts, owner.tolist()):
            said[row].append(text)
        if {"name", "background"} <= set(rows.column_names):
            keys = list(zip(rows["name"], rows["background"]))
        else:
            keys = [tuple(sorted(own)) for own in said]
        numbers = {key: n for n, key in enumerate(dict.fromkeys(keys))}
        meaning = torch.tensor([numbers[key] for key in keys])[kept]
        images = column(rows, "image")
        return Told(
            images if len(kept) == len(rows) else images[kept.numpy()],
            encoded(texts, vocabulary),
            (count.cumsum(0) - count)[kept],
            count[kept],
            meaning,
        )

    def train(self, folder: Path, run: dict[str, Any]) -> training.History:
        rows = self.rows(run, self.settings(run), "train", run["size"])
        texts, _ = told_texts(rows)
        words = Vocabulary(chain.from_iterable(map(tokenize, texts)), specials=("<pad>",))
        config = self.settings(run, len(words))
        vocabulary = words if config.words else None
        own = self.told(rows, vocabulary)
        if len(own.meaning.unique()) < 2:
            raise ValueError(
                "all pictures have the same text; the game needs two that mean different things"
            )
        with threads_of(run):
            model = self.read(own, config, folder, run)
            both = self.play(model, own, folder, run)
        more = {} if vocabulary is None else {"vocabulary": words_of(vocabulary)}
        saving.save(model, folder, example=texts[0], **more)
        steps = sorted({*range(0, both.step, 10), both.step - 1})
        losses = {name: [values[k] for k in steps] for name, values in both.losses.items()}
        start = int(both.step * config.falling)
        rates = [
            config.rates[0] * min(1.0, (both.step - k) / max(1, both.step - start)) for k in steps
        ]
        return training.History(steps=steps, losses=losses, learning_rate=rates)

    def read(
        self, own: Told, config: text_to_image.Config, folder: Path, run: dict[str, Any]
    ) -> Painter:
        """φ learns to read; what it has learned stands in a fresh model."""
        torch.manual_seed(run["seed"])
        model = Painter(config)
        loss = "hinge" if run["scale"] == "paper" else "contrastive"
        both = text_to_image.Fitting(config, loss)
        size = min(64, len(own.first))
        self.fit(
            both,
            Reading(own),
            folder,
            run,
            batch_size=size,
            drop_last=True,  # batch normalization cannot learn from a single one
            collate=lambda batch: batch,
            lr=2e-3,
            max_steps=max(1, round(READING * run["steps"])),
            warmup=0,
            checkpoint=folder / runs.part("reading"),
        )
        model.game.encoder.load_state_dict(both.sentences.state_dict())
        model.pictures.load_state_dict(both.pictures.state_dict())
        return model.eval().to(device())

    def play(
        self, model: Painter, own: Told, folder: Path, run: dict[str, Any]
    ) -> text_to_image.Players:
        """The game, with a checkpoint each so many steps; or what is left of it."""
        path, game = folder / runs.CHECKPOINT, model.game
        with torch.no_grad():
            h = torch.cat(
                [game.encoder(own.ids[k].to(device())) for k in batches(len(own.ids), 500)]
            )
        game.to(memory_format=torch.channels_last)
        torch.manual_seed(run["seed"])
        both = text_to_image.players(game)
        if path.exists():
            restore(path, game, both)

        def watch(step: int) -> None:
            if step:
                keep(path, game, both)

        given = pairs(own, h, run["seed"], both.step, run["batch"], bool(game.config.pairs))
        text_to_image.fit(game, given, run["steps"], both, watch, EVERY)
        text_to_image.settle(game, h[own.first])
        return both

    def load(self, folder: Path) -> tuple[Painter, Vocabulary | None, str]:
        """A trained model, its words (None: it reads letters), and a sentence that it knows."""
        model, more = saving.load(Painter, folder)
        words = vocabulary_of(more["vocabulary"]) if "vocabulary" in more else None
        return model.to(device()).eval(), words, more["example"]

    @torch.no_grad()
    def draw(self, folder: Path, sentence: str, count: int, seed: int) -> np.ndarray:
        """So many drawings of a sentence, uint8 (count, S, S, 3).

        Raises:
            ValueError: a sentence without a word, or none that the model knows.
        """
        model, words, example = self.load(folder)
        ids = understood(sentence, words, example).to(device())
        if not model.config.code and count > 1:
            warnings.warn("this model has no code, so all drawings are the same", stacklevel=2)
        codes = model.game.codes(count, torch.Generator().manual_seed(seed))
        drawn = model.game.draw(ids.expand(count, -1), codes)
        whole = ((drawn + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return whole.permute(0, 2, 3, 1).cpu().numpy()

    @torch.no_grad()
    def evaluate(
        self, folder: Path, run: dict[str, Any], size: int | None = None
    ) -> dict[str, float]:
        """How often a drawing fits its own sentence best, of ten that mean something else.

        Who judges is the network that learned with φ which sentences fit which pictures; what it
        says of real pictures is what can be reached (R-precision, Xu et al. 2018).
        """
        model, words, _ = self.load(folder)
        splits = {"": "test"}
        if source(run).kind == "world":
            splits[", of a thing and a ground never seen together"] = "test_unseen_places"
        out: dict[str, float] = {}
        for label, split in splits.items():
            rows = self.rows(run, model.config, split, size)
            own = self.told(rows, words)
            among = min(AMONG, len(own.meaning.unique()))
            if among < 2:
                raise ValueError("two pictures with different texts are the least to measure on")
            game = model.game
            h = torch.cat([game.encoder(x.to(device())) for x in own.ids[own.first].split(500)])
            codes = game.codes(len(h), torch.Generator().manual_seed(0))
            drawn = torch.cat([game.draw(*k) for k in zip(h.split(100), codes.split(100))])
            real = torch.arange(len(h)).split(500)
            real = torch.cat([model.pictures(own.seen(k).to(device())) for k in real])
            made = torch.cat([model.pictures(x) for x in drawn.split(500)])
            others = decoys(own.meaning, among - 1).to(device())
            out[f"drawings, own sentence of {among}{label}"] = best(made, h, others)
            out[f"real pictures{label}"] = best(real, h, others)
            out["by chance"] = 1 / among
        return out


def encoded(texts: list[str], vocabulary: Vocabulary | None) -> Tensor:
    """Texts as ids (M, T), padded with 0: of letters, or of words. Words that are not in the
    vocabulary are left out; where all of them are, the most frequent one stands for them, since a
    sentence must have a word."""
    if vocabulary is None:
        return text_to_image.letters(texts)
    known = ([vocabulary.ids[w] for w in tokenize(one) if w in vocabulary] for one in texts)
    ids = [torch.tensor(own or [1]) for own in known]
    return nn.utils.rnn.pad_sequence(ids, batch_first=True)


def understood(sentence: str, words: Vocabulary | None, example: str) -> Tensor:
    """A sentence as ids (1, T); words that the model does not know are named and left out.

    Raises:
        ValueError: no word, or none that it knows.
    """
    said = tokenize(sentence)
    if not said:
        raise ValueError(
            f"the sentence {sentence!r:.80} has no word; say something like {example!r}"
        )
    if words is None:
        return text_to_image.letters([sentence])
    new = [word for word in dict.fromkeys(said) if word not in words]
    near = [close for word in new for close in difflib.get_close_matches(word, words.words, 1)]
    hint = f"; did you mean {', '.join(dict.fromkeys(near))}?" if near else ""
    if len(new) == len(dict.fromkeys(said)):
        raise ValueError(
            f"no word of {sentence!r:.80} was in the texts that it learned from{hint or ';'} say "
            f"something like {example!r}"
        )
    if new:
        warnings.warn(f"words that it never learned: {', '.join(new)[:200]}{hint}", stacklevel=3)
    return torch.tensor([words.encode(word for word in said if word in words)])


def pairs(
    own: Told, h: Tensor, seed: int, start: int, size: int, twins: bool
) -> Iterator[dict[str, Tensor]]:
    """Batches of the game without end, from a step on: each depends on its number alone, so that a
    run that was stopped sees the same ones. See :func:`mmtutor.text_to_image.play`."""
    meaning, n, step = own.meaning, len(own.meaning), start
    order = meaning.argsort()
    many = torch.bincount(meaning)
    before = many.cumsum(0) - many
    while True:
        g = torch.Generator().manual_seed(
            int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
        )
        i = torch.randint(n, (size,), generator=g)
        if twins:
            group = meaning[i[::2]]
            i[1::2] = order[
                before[group] + (torch.rand(size // 2, generator=g) * many[group]).long()
            ]
        wrong = torch.randint(n, (size, 8), generator=g)
        differs = (meaning[wrong] != meaning[i][:, None]).float()
        wrong = wrong.gather(1, differs.argmax(1, keepdim=True))[:, 0]
        way = torch.rand(2, size, generator=g)
        said, other = (
            own.first[k] + (w * own.count[k]).long() for k, w in zip((i, wrong), way, strict=True)
        )
        shown = own.seen(i).contiguous(memory_format=torch.channels_last)
        yield {
            "pictures": shown.to(device()),
            "sentence": h[said.to(device())],
            "wrong": h[other.to(device())],
        }
        step += 1


def keep(path: Path, game: nn.Module, both: text_to_image.Players) -> None:
    """Write how far the game is, whole or not at all."""
    content = {"model": game.state_dict(), "players": both.state_dict()}
    if device().type == "cuda":
        content["cuda"] = torch.cuda.get_rng_state(device())
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def restore(path: Path, game: nn.Module, both: text_to_image.Players) -> None:
    """Go back to what :func:`keep` wrote.

    Raises:
        ValueError: the file is damaged, or of another model.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        game.load_state_dict(content["model"])
        both.load_state_dict(content["players"])
    except PermissionError:  # the file may be sound: never say that it should be deleted
        raise
    except Exception as error:
        reason = type(error).__name__
        raise ValueError(
            f"{path} is not a readable checkpoint ({reason}); delete it to start anew"
        ) from error
    if device().type == "cuda" and "cuda" in content:
        torch.cuda.set_rng_state(content["cuda"], device())


def decoys(meaning: Tensor, count: int) -> Tensor:
    """For each row (N,) so many others, (N, count), whose meanings differ from its own."""
    g = torch.Generator().manual_seed(0)
    far = torch.rand(len(meaning), len(meaning), generator=g)
    far = far.masked_fill(meaning[:, None] == meaning, -1.0)
    least = int((far >= 0).sum(1).min())
    return far.topk(min(count, least), 1).indices


def best(pictures: Tensor, sentences: Tensor, others: Tensor) -> float:
    """The share of pictures (N, H) that lie nearer to their own sentence (N, H), by the cosine, than
    to all of the others (N, K)."""
    x, h = F.normalize(pictures, dim=1), F.normalize(sentences, dim=1)
    own = (x * h).sum(1, keepdim=True)
    return float((own > (x[:, None] * h[others]).sum(-1)).all(1).float().mean())
