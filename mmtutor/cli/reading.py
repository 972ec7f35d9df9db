"""VL-BERT and ViLBERT on the command line: learn from questions about pictures, and answer them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtutor import vilbert, vlbert
from mmtutor.cli.data import Eyes, encoder_of, seen_in, seen_of
from mmtutor.cli.task import (
    Recipe,
    Task,
    answerer,
    asked_of,
    batches,
    none_kept,
    source,
    words_of,
)
from mmtutor.kit import masking, saving, training
from mmtutor.kit.runtime import device
from mmtutor.kit.text import Vocabulary, pad, tokenize

SIDE = 7  # cells of a side, at most: regions are the cells of a map
AROUND = 6  # positions beside the words: [CLS], [SEP] and the like
#: What only the lesson on captions reads, which the command leaves out.
CAPTIONS = ("classes", "mask_vector", "mask_words", "mask_regions", "at_least_one")


class Reading(Task):
    """Both models. The papers' regions come from a detector; here the cells of a map are regions, and
    region 0 is the whole picture. The lesson on captions is the chapter's."""

    then = "ask"
    sets = ("vqa_v2",)
    folders = True
    holds = 'pictures; metadata.jsonl: {"file_name": "rex.png", "question": "is it a dog?", "answer": "yes"}'
    fixed = ("vocabulary", "answers", "region", "cls", "sep", "mask", "first")
    most = 3129  # answers that a model can give, as in the papers
    captions: ClassVar[tuple[str, ...]] = CAPTIONS

    def settings(
        self, run: dict[str, Any], words: int = 1000, answers: int = 1000, region: int = 112
    ) -> Any:
        unread = [name for name in self.captions if name in run["set"]]
        if unread:
            raise ValueError(
                f"{', '.join(unread)}: only the lesson on captions reads that, and the command "
                "learns from questions alone; the chapter has that lesson"
            )
        known = dict(vocabulary=words, answers=answers, region=region)
        if run["scale"] == "paper":
            special = dict(cls=masking.CLS, sep=masking.SEP, mask=masking.MASK)
            special["first"] = len(masking.SPECIALS)
            made = replace(self.config.paper(**run["set"]), **known, **special)
        else:
            made = self.maker(run["scale"])(**{**known, **run["set"]})
        if made.positions <= AROUND:
            raise ValueError(f"positions must be at least {AROUND + 1} here, got {made.positions}")
        return made

    def train(self, folder: Path, run: dict[str, Any]) -> training.History:
        rows = source(run).rows("questions", "train", run["size"], run["pixels"], 14_000)
        asked, said, owner = asked_of(rows)
        answers = Vocabulary(said, specials=(), max_size=self.most)
        if len(answers) < 2:
            raise ValueError(
                f"all questions have the same answer, {said[0]!r}: it needs others too"
            )
        seen = cells(seen_in(rows, encoder_of(run["encoder"], "map")))
        eyes = Eyes.fitted(run["encoder"], "map", run["pixels"], seen)
        words = Vocabulary(
            (word for one in asked for word in tokenize(one)), specials=masking.SPECIALS
        )
        config = self.settings(run, len(words), len(answers), seen.shape[1])
        known = torch.tensor([k for k, one in enumerate(said) if one in answers])
        data = Looked(
            eyes.standardized(seen),
            owner[known],
            encoded([asked[k] for k in known.tolist()], words, config.positions),
            torch.tensor([answers.id(said[k]) for k in known.tolist()]),
        )
        torch.manual_seed(run["seed"])
        model = self.model(config)
        if run["scale"] != "paper":
            drawn(model)
        more = dict(batch_size=min(run["batch"], len(data)), collate=dict, weight_decay=0.01)
        more["warmup"] = min(100, run["steps"] // 10)
        history = self.fit(model, data, folder, run, **more)
        note = dict(vocabulary=words_of(words), answers=words_of(answers), eyes=eyes.note())
        saving.save(model, folder, **note, mean=eyes.mean, scale=eyes.scale)
        return history

    def load(self, folder: Path) -> tuple[nn.Module, Eyes, Vocabulary, Vocabulary]:
        """A trained model with its eyes, its words and its answers."""
        return answerer(self.model, folder)

    @torch.no_grad()
    def evaluate(
        self, folder: Path, run: dict[str, Any], size: int | None = None
    ) -> dict[str, float]:
        model, eyes, words, answers = self.load(folder)
        rows = source(run).rows("questions", "test", size, run["pixels"], 2000)
        if not len(rows):
            raise ValueError(none_kept("picture with a question"))
        seen = eyes.standardized(cells(seen_in(rows, encoder_of(eyes.name, "map"))))
        asked, said, owner = asked_of(rows)
        ids, found = encoded(asked, words, model.config.positions), []
        for part in batches(len(ids), 128):
            inputs = (x.to(device()) for x in (ids[part], *regions(seen[owner[part]].float())))
            found += model.answer(*inputs).tolist()
        right = [answers.words[one] == own for one, own in zip(found, said)]
        likely = answers.words[answers.counts.index(max(answers.counts))]
        return {
            "right": sum(right) / len(right),
            f"always {likely!r}": sum(own == likely for own in said) / len(said),
        }

    @torch.no_grad()
    def ask(self, folder: Path, picture: str, question: str, k: int) -> list[tuple[str, float]]:
        """The k most probable answers with their probabilities."""
        model, eyes, words, answers = self.load(folder)
        new = [word for word in dict.fromkeys(tokenize(question)) if word not in words]
        if not any(word in words for word in tokenize(question)):
            raise ValueError(
                f"no word of {question!r:.80} was in the questions that it learned from; ask in "
                "other words"
            )
        if new:
            warnings.warn(f"words that it never learned: {', '.join(new)[:200]}", stacklevel=2)
        _, seen = next(iter(seen_of([picture], eyes, encoder_of(eyes.name, "map"))))
        if isinstance(seen, str):
            raise ValueError(seen)  # it names the file
        ids = encoded([question], words, model.config.positions)
        scores = model(*(x.to(device()) for x in (ids, *regions(cells(seen).float()))))[0].cpu()
        each = model.config.answer_loss == "sigmoid"  # then each answer is right or wrong by itself
        sure = scores.sigmoid() if each else scores.softmax(-1)
        best = sure.topk(min(k, len(answers)))
        return [(answers.words[i], float(p)) for p, i in zip(*best)]


class VLBert(Reading):
    system = "vlbert"
    says = "an answer to a question, words and cells of the picture in one stream (Su et al. 2020)"
    config = vlbert.Config
    model = vlbert.VLBert
    recipes: ClassVar[dict[str, Recipe]] = {
        "world": Recipe(1290, 64, 2e-3),
        "small": Recipe(10_000, 64, 3e-4),
        "paper": Recipe(20_000, 64, 4e-5),
    }
    small: ClassVar[dict[str, Any]] = dict(width=256, heads=8, layers=4, hidden=1024)


class ViLBert(Reading):
    system = "vilbert"
    says = "an answer to a question, words and cells of the picture in two streams (Lu et al. 2019)"
    config = vilbert.Config
    model = vilbert.ViLBert
    captions = (*CAPTIONS, "swapped", "aligned_only")
    recipes: ClassVar[dict[str, Recipe]] = {
        "world": Recipe(1290, 64, 1.5e-3),
        "small": Recipe(10_000, 64, 3e-4),
        "paper": Recipe(20_000, 64, 4e-5),
    }
    small: ClassVar[dict[str, Any]] = dict(
        **dict(width=256, heads=8, layers=4, hidden=1024, region_width=256, region_heads=8),
        **dict(region_hidden=512, shared=256, shared_heads=8, pooled=256, answer_hidden=512),
    )


def drawn(model: nn.Module) -> None:
    """Layers begin with torch's own weights: so small a model learns faster from them than from
    BERT's, as in the chapter."""
    for part in model.modules():
        if isinstance(part, nn.Linear) and not nn.utils.parametrize.is_parametrized(part):
            part.reset_parameters()


def cells(maps: Tensor) -> Tensor:
    """Maps (N, C, h, w) with at most 7 × 7 cells: larger ones become so by means."""
    if max(maps.shape[2:]) <= SIDE:
        return maps
    size = [min(SIDE, side) for side in maps.shape[2:]]
    parts = (F.adaptive_avg_pool2d(part.float(), size).to(maps.dtype) for part in maps.split(500))
    return torch.cat(list(parts))


def regions(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Maps (B, C, h, w) as a model reads them: regions (B, 1 + h·w, C), the whole picture first;
    their boxes, corners in [0, 1]; and that all are there."""
    b, _, high, wide = maps.shape
    seen = maps.flatten(2).transpose(1, 2)
    seen = torch.cat([seen.mean(1, keepdim=True), seen], 1)
    y, x = torch.meshgrid(torch.arange(high), torch.arange(wide), indexing="ij")
    corners = [x / wide, y / high, (x + 1) / wide, (y + 1) / high]
    boxes = torch.stack(corners, -1).flatten(0, 1).float()
    boxes = torch.cat([torch.tensor([[0.0, 0.0, 1.0, 1.0]]), boxes]).expand(b, -1, -1)
    return seen, boxes, torch.ones(b, len(boxes[0]), dtype=torch.bool)


def encoded(questions: list[str], words: Vocabulary, positions: int) -> Tensor:
    """Questions as ids (N, T); what is longer than there are positions for is cut."""
    return pad([words.encode(tokenize(one)[: positions - AROUND]) for one in questions])[0]


class Looked(torch.utils.data.Dataset):
    """Questions with the regions of their pictures, in whole batches."""

    def __init__(self, maps: Tensor, owner: Tensor, questions: Tensor, answers: Tensor) -> None:
        self.maps, self.owner, self.questions, self.answers = maps, owner, questions, answers

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {name: x[0] for name, x in self.__getitems__([row]).items()}

    def __getitems__(self, rows: list[int]) -> dict[str, Tensor]:
        seen, boxes, there = regions(self.maps[self.owner[rows]].float())
        words = self.questions[rows]
        length = int((words != masking.PAD).sum(1).max())
        return {
            **dict(regions=seen, boxes=boxes, there=there),
            **dict(questions=words[:, :length], answers=self.answers[rows]),
        }
