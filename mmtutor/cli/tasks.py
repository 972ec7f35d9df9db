"""What the command line does for each system: read data, train, measure, use.

Every task trains the system as it stands in its file, on any data in the world's columns. The
chapters do more where more is worth it (they teach cells their names, sort captions, compare); what
a plain run of the same model gives is what one gets here. What cooks, watches films, draws,
separates, hears, speaks and imagines has a file of its own beside this one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmtutor import finder, joint_embedding, show_and_tell, show_attend_tell, vqa, word2vec, world
from mmtutor.cli.cooking import Cooking
from mmtutor.cli.data import Eyes, encoder_of, seen_in, seen_of, with_eyes
from mmtutor.cli.drawing import Drawing
from mmtutor.cli.filming import Filming
from mmtutor.cli.fusing import Fusing
from mmtutor.cli.hearing import Hearing
from mmtutor.cli.imagining import Imagining
from mmtutor.cli.locating import Locating
from mmtutor.cli.reading import ViLBert, VLBert
from mmtutor.cli.saying import Saying
from mmtutor.cli.separating import Separating
from mmtutor.cli.task import (
    CAPTIONED,
    Recipe,
    Task,
    answerer,
    asked_of,
    batches,
    none_kept,
    source,
    told_texts,
    vocabulary_of,
    worded,
    words_of,
)
from mmtutor.hub.found import visible
from mmtutor.kit import decoding, metrics, retrieval, saving, text, training, vision
from mmtutor.kit.runtime import device
from mmtutor.kit.text import Vocabulary, tokenize
from mmtutor.world import captions as world_captions

# --- Captions -------------------------------------------------------------------------------------


class Captions(Task):
    """Show and Tell, and Show, Attend and Tell."""

    sets = ("flickr8k", "coco_captions")
    folders = True
    holds = CAPTIONED
    then = "caption"
    layer: ClassVar[str]

    def settings(self, run: dict[str, Any]) -> Any:
        return self.maker(run["scale"])(1000, **run["set"])

    def sizes(self, seen: Tensor) -> dict[str, Any]:
        """What the pictures' features decide of the settings."""
        raise NotImplementedError

    def train(self, folder: Path, run: dict[str, Any]) -> training.History:
        rows = source(run).rows("scenes", "train", run["size"], run["pixels"], 8000)
        captions, owner = told_texts(rows)
        encoder = encoder_of(run["encoder"], self.layer)
        seen = seen_in(rows, encoder)
        eyes = Eyes.fitted(run["encoder"], self.layer, run["pixels"], seen)
        least = 1 if len(rows) < 5000 or source(run).kind == "world" else 5
        vocabulary = Vocabulary(chain.from_iterable(map(tokenize, captions)), min_count=least)
        ids = text.encode_captions(captions, vocabulary)
        make = self.maker(run["scale"])
        torch.manual_seed(run["seed"])
        model = self.model(make(len(vocabulary), **{**self.sizes(seen), **run["set"]}))
        loader = text.caption_batches(eyes.standardized(seen), ids, owner, run["batch"])
        history = self.fit(model, loader, folder, run, weight_decay=0.1, clip=5.0)
        note = dict(vocabulary=words_of(vocabulary), eyes=eyes.note())
        saving.save(model, folder, **note, mean=eyes.mean, scale=eyes.scale)
        return history

    def load(self, folder: Path) -> tuple[nn.Module, Eyes, Vocabulary]:
        """A trained captioner with its eyes and its words."""
        model, eyes, more = with_eyes(self.model, folder)
        return model, eyes, vocabulary_of(more["vocabulary"])

    def write(self, model: nn.Module, vocabulary: Vocabulary, seen: Tensor, beam: int) -> list[str]:
        """The best caption for each picture."""
        out = []
        for part in batches(len(seen)):
            found = decoding.beam_search(
                model, seen[part].float().to(device()), width=beam, n_best=1
            )
            out += [" ".join(vocabulary.decode(best.ids)) for best, *_ in found]
        return out

    def evaluate(
        self, folder: Path, run: dict[str, Any], size: int | None = None
    ) -> dict[str, float]:
        model, eyes, vocabulary = self.load(folder)
        rows = worded(source(run).rows("scenes", "test", size, run["pixels"], 600))
        seen = eyes.standardized(seen_in(rows, encoder_of(eyes.name, eyes.layer)))
        said = self.write(model, vocabulary, seen, beam=3)
        scores = dict(metrics.caption_scores(said, finder.captions_of(rows)))
        if "scene" in rows.column_names:
            true = [bool(world_captions.is_true(c, s)) for c, s in zip(said, rows["scene"])]
            scores["true of the scene"] = sum(true) / len(true)
        return scores

    def caption(
        self, folder: Path, files: list[str], beam: int
    ) -> Iterator[tuple[str, str | None, str]]:
        """For each file: its name, a caption or None, what is wrong or an empty string."""
        model, eyes, vocabulary = self.load(folder)
        for file, seen in seen_of(files, eyes, encoder_of(eyes.name, eyes.layer)):
            if isinstance(seen, str):
                yield file, None, seen
            else:
                yield file, self.write(model, vocabulary, seen, beam)[0], ""


class ShowAndTell(Captions):
    system = "show_and_tell"
    says = "a caption for a picture, from one vector (Vinyals et al. 2015)"
    layer = "vector"
    model = show_and_tell.ShowAndTell
    config = show_and_tell.Config
    fixed = ("vocabulary", "image")
    recipes: ClassVar[dict[str, Recipe]] = {
        "world": Recipe(2000, 64, 1e-2),
        "small": Recipe(6000, 64, 2e-3),
        "paper": Recipe(20_000, 64, 1e-3),
    }
    small: ClassVar[dict[str, Any]] = dict(embedding=384, hidden=512, dropout=0.4)

    def sizes(self, seen: Tensor) -> dict[str, Any]:
        return {"image": seen.shape[1]}


class ShowAttendTell(Captions):
    system = "show_attend_tell"
    says = "a caption that looks, word by word, at places of the picture (Xu et al. 2015)"
    layer = "map"
    model = show_attend_tell.ShowAttendTell
    config = show_attend_tell.Config
    fixed = (
        "vocabulary",
        "annotation",
        "grid",
        "names",
        "naming",
        "point",
        "cross_off",
        "word_asks",
    )
    recipes: ClassVar[dict[str, Recipe]] = {
        "world": Recipe(2300, 32, 8e-3),
        "small": Recipe(8000, 64, 1e-3),
        "paper": Recipe(20_000, 64, 4e-4),
    }
    small: ClassVar[dict[str, Any]] = dict(
        **dict(embedding=256, hidden=512, attention=256, prepare=256, dropout=0.4)
    )

    def sizes(self, seen: Tensor) -> dict[str, Any]:
        return {"annotation": seen.shape[1], "grid": tuple(seen.shape[2:])}


# --- Search ---------------------------------------------------------------------------------------


class JointEmbedding(Task):
    """Pictures and texts as vectors of one space."""

    system = "joint_embedding"
    says = "find pictures for words and words for a picture (Frome, Kiros, Faghri et al.)"
    then = "search"
    sets = ("flickr8k", "coco_captions")
    folders = True
    holds = CAPTIONED
    config = joint_embedding.Config
    model = joint_embedding.JointEmbedding
    fixed = ("vocabulary", "image")
    recipes: ClassVar[dict[str, Recipe]] = {
        "world": Recipe(2000, 128, 2e-3),
        "small": Recipe(1500, 128, 2e-3),
        "paper": Recipe(20_000, 128, 2e-4),
    }

    def settings(self, run: dict[str, Any]) -> Any:
        if run["batch"] < 2:
            raise ValueError(
                f"--batch of {self.system} must be at least 2, got {run['batch']}: it learns to "
                "tell a text from the others of its batch"
            )
        make, sizes = self.maker(run["scale"]), {"image": 1280, **run["set"]}
        return make(**sizes) if run["scale"] == "paper" else make(1000, **sizes)

    def train(self, folder: Path, run: dict[str, Any]) -> training.History:
        drawn = (
            source(run).kind == "world"
        )  # its captions tell left from right: no mirror, whole words
        split = tokenize if drawn else text.ngrams
        photos = source(run).rows("scenes", "train", run["size"], run["pixels"], 8000)
        encoder = encoder_of(run["encoder"], "vector")
        seen = finder.look(photos, encoder, mirrored=not drawn)
        captions, owner = told_texts(photos)
        if len(captions) < 2:
            raise ValueError(
                "two pictures with texts are the least: a text is told from those of others"
            )
        vocabulary = Vocabulary(
            chain.from_iterable(map(split, captions)), min_count=1 if drawn else 2
        )
        ids = joint_embedding.encode_texts(captions, vocabulary, split)
        make = self.maker(run["scale"])
        own = {"image": seen.shape[1], **run["set"]}
        if run["scale"] == "paper":
            own["vocabulary"] = len(vocabulary)
        torch.manual_seed(run["seed"])
        model = joint_embedding.JointEmbedding(
            make(**own) if run["scale"] == "paper" else make(len(vocabulary), **own)
        )
        pairs = joint_embedding.Pairs(vision.standardize(seen), ids, owner)
        decay = 1.0 if run["scale"] == "small" else 0.1
        more = dict(batch_size=min(run["batch"], len(pairs)), collate=dict, weight_decay=decay)
        history = self.fit(model, pairs, folder, run, **more)
        found = finder.Finder(
            model.cpu(), vocabulary, encoder.cpu(), photos, seen, split=split, mirrored=not drawn
        )
        found.save(folder)
        return history

    def evaluate(
        self, folder: Path, run: dict[str, Any], size: int | None = None
    ) -> dict[str, float]:
        found = finder.Finder.load(folder)
        photos = worded(source(run).rows("scenes", "test", size, run["pixels"], 600))
        seen = finder.look(photos, found.encoder, mirrored=found.mirrored)
        captions, owner = told_texts(photos)
        pictures, texts = found._embedded(seen), found._read(captions)
        own, out = torch.arange(len(photos)), {}
        for name, queries, items, right in (
            ("text → picture", texts, pictures, retrieval.same(owner, own)),
            (
                "picture → text",
                pictures[owner.unique()],
                texts,
                retrieval.same(owner.unique(), owner),
            ),
        ):
            found_at = retrieval.ranks(retrieval.similarity(queries, items), right)
            out |= {f"{name}, {score}": float(x) for score, x in found_at.scores().items()}
        out["text → picture, R@10 by chance"] = min(1.0, 10 / len(photos))
        return out


# --- Questions ------------------------------------------------------------------------------------


class Questions(Task):
    """Visual question answering."""

    system = "vqa"
    says = "an answer to a question about a picture (Antol et al. 2015; Yang et al. 2016)"
    then = "ask"
    sets = ("vqa_v2",)
    folders = True
    holds = 'pictures; metadata.jsonl: {"file_name": "rex.png", "question": "is it a dog?", "answer": "yes"}'
    config = vqa.Config
    model = vqa.VQA
    fixed = ("vocabulary", "answers", "image", "names", "naming", "things")
    recipes: ClassVar[dict[str, Recipe]] = {
        "world": Recipe(900, 128, 5e-3),
        "small": Recipe(8000, 128, 1e-3),
        "paper": Recipe(20_000, 500, 3e-4),
    }
    small: ClassVar[dict[str, Any]] = dict(word=200, hidden=256, mlp=(512,))
    most = 1000  # answers that a model can give
    sizes: ClassVar[dict[str, Any]] = dict(fusion="stacked", joint=144, start="torch", dropout=0.1)
    smaller: ClassVar[dict[str, Any]] = dict(
        fusion="stacked", joint=256, start="torch", dropout=0.3
    )

    def settings(self, run: dict[str, Any]) -> Any:
        image = (112, 6, 6) if self.layer(run) == "map" else 1280
        return self.made(run, 1000, self.most, image)

    def layer(self, run: dict[str, Any]) -> str:
        """What is seen of a picture: a map, but for the paper a vector, unless one is to look."""
        looks = run["set"].get("fusion") in vqa.ATTENTION
        return "map" if run["scale"] != "paper" or looks else "vector"

    def made(
        self, run: dict[str, Any], words: int, answers: int, image: int | tuple[int, ...]
    ) -> vqa.Config:
        """The settings of a run whose data are known."""
        usual = {"world": self.sizes, "small": self.smaller}.get(run["scale"], {})
        own = {**usual, **run["set"]}
        if "image" not in vqa.UNREAD.get(own.get("fusion"), ()):
            own["image"] = image
        make = self.maker(run["scale"])
        return make(vocabulary=words, answers=answers, **own)

    def train(self, folder: Path, run: dict[str, Any]) -> training.History:
        rows = source(run).rows("questions", "train", run["size"], run["pixels"], 14_000)
        questions, said, owner = asked_of(rows)
        answers = Vocabulary(said, specials=(), max_size=self.most)
        if len(answers) < 2:
            raise ValueError(
                f"all questions have the same answer, {said[0]!r}: it needs others too"
            )
        layer = self.layer(run)
        encoder = encoder_of(run["encoder"], layer)
        seen = seen_in(rows, encoder)
        eyes = Eyes.fitted(run["encoder"], layer, run["pixels"], seen)
        vocabulary = Vocabulary(word for one in questions for word in tokenize(one))
        known = torch.tensor([one in answers for one in said])
        ids = vqa.encode_questions(questions, vocabulary)[known]
        data = Asked(
            eyes.standardized(seen),
            ids,
            vqa.encode_answers([one for one in said if one in answers], answers),
            owner[known],
        )
        image = tuple(seen.shape[1:]) if layer == "map" else seen.shape[1]
        torch.manual_seed(run["seed"])
        model = vqa.VQA(self.made(run, len(vocabulary), len(answers), image))
        more = dict(batch_size=min(run["batch"], len(data)), collate=dict, weight_decay=0.01)
        history = self.fit(model, data, folder, run, **more)
        note = dict(vocabulary=words_of(vocabulary), answers=words_of(answers), eyes=eyes.note())
        saving.save(model, folder, **note, mean=eyes.mean, scale=eyes.scale)
        return history

    def load(self, folder: Path) -> tuple[vqa.VQA, Eyes, Vocabulary, Vocabulary]:
        """A trained model with its eyes, its words and its answers."""
        return answerer(vqa.VQA, folder)

    @torch.no_grad()
    def evaluate(
        self, folder: Path, run: dict[str, Any], size: int | None = None
    ) -> dict[str, float]:
        model, eyes, vocabulary, answers = self.load(folder)
        rows = source(run).rows("questions", "test", size, run["pixels"], 2000)
        if not len(rows):
            raise ValueError(none_kept("picture with a question"))
        seen = eyes.standardized(seen_in(rows, encoder_of(eyes.name, eyes.layer)))
        questions, said, owner = asked_of(rows)
        ids, found = vqa.encode_questions(questions, vocabulary), []
        for part in batches(len(ids), 256):
            maps = seen[owner[part]].float().to(device())
            found += model.answer(maps, ids[part].to(device())).tolist()
        right = [answers.words[one] == own for one, own in zip(found, said)]
        common = max(map(answers.counts.__getitem__, range(len(answers))), default=0)
        likely = answers.words[answers.counts.index(common)]
        return {
            "right": sum(right) / len(right),
            f"always {likely!r}": sum(own == likely for own in said) / len(said),
        }

    @torch.no_grad()
    def ask(self, folder: Path, picture: str, question: str, k: int) -> list[tuple[str, float]]:
        """The k most probable answers with their probabilities."""
        model, eyes, vocabulary, answers = self.load(folder)
        new = [word for word in dict.fromkeys(tokenize(question)) if word not in vocabulary]
        if new and not any(word in vocabulary for word in tokenize(question)):
            raise ValueError(
                f"no word of {question!r:.80} was in the questions that it learned from; ask in "
                "other words"
            )
        if new:
            warnings.warn(f"words that it never learned: {', '.join(new)[:200]}", stacklevel=2)
        _, seen = next(iter(seen_of([picture], eyes, encoder_of(eyes.name, eyes.layer))))
        if isinstance(seen, str):
            raise ValueError(seen)  # it names the file
        ids = vqa.encode_questions([question], vocabulary).to(device())
        sure = model(seen.float().to(device()), ids).softmax(-1)[0].cpu()
        best = sure.topk(min(k, len(answers)))
        return [(answers.words[i], float(p)) for p, i in zip(*best)]


class Asked(torch.utils.data.Dataset):
    """Questions with their pictures, in whole batches."""

    def __init__(self, maps: Tensor, questions: Tensor, answers: Tensor, owner: Tensor) -> None:
        self.maps, self.questions, self.answers, self.owner = maps, questions, answers, owner

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {name: x[0] for name, x in self.__getitems__([row]).items()}

    def __getitems__(self, rows: list[int]) -> dict[str, Tensor]:
        return {
            "features": self.maps[self.owner[rows]].float(),
            "questions": self.questions[rows],
            "answers": self.answers[rows],
        }


# --- Words ----------------------------------------------------------------------------------------


class Words(Task):
    """Word vectors."""

    system = "word2vec"
    says = "vectors of words from plain text (Mikolov et al. 2013)"
    then = "words"
    sets = ("text8", "wikitext2")
    folders = True
    holds = "texts: files that end in .txt, in UTF-8"
    config = word2vec.Config
    recipes: ClassVar[dict[str, Recipe]] = {s: Recipe(0, 0, 0) for s in ("world", "small", "paper")}
    small: ClassVar[dict[str, Any]] = dict(dim=200, subsample=1e-4, min_count=5, batch=2048)
    takes = ()
    accumulates = False
    instead = "use --set (epochs, batch, lr)"

    def settings(self, run: dict[str, Any]) -> Any:
        return self.maker(run["scale"])(**run["set"])

    def sentences(self, run: dict[str, Any]) -> Iterable[Any]:
        """Rows of words."""
        own = source(run)
        if own.kind == "world":
            rows = world.corpus("kjv", sentences=True)
        elif own.kind == "hub":
            from mmtutor import hub

            rows = hub.corpus(own.name, path=own.path)
        else:
            rows = list(lines_of(Path(own.name)))
        return rows if run["size"] is None else rows[: run["size"]]

    def train(self, folder: Path, run: dict[str, Any]) -> training.History:
        config = self.settings(run)
        trained = word2vec.train(self.sentences(run), config, seed=run["seed"])
        if not bool(trained.vectors.matrix.isfinite().all()):
            raise FloatingPointError("the vectors grew beyond all numbers; lower --set lr")
        vocabulary = trained.vectors.vocabulary
        saving.save(
            Table(TableConfig(*trained.vectors.matrix.shape), trained.vectors.matrix),
            folder,
            vocabulary=words_of(vocabulary),
        )
        history = training.History(steps=list(trained.steps), losses={"loss": list(trained.losses)})
        history.learning_rate = [config.lr] * len(history.steps)
        return history

    def load(self, folder: Path) -> word2vec.WordVectors:
        """The vectors of a run."""
        table, more = saving.load(Table, folder)
        return word2vec.WordVectors(vocabulary_of(more["vocabulary"]), table.rows.data)

    def evaluate(
        self, folder: Path, run: dict[str, Any], size: int | None = None
    ) -> dict[str, float]:
        from mmtutor.experiments import word2vec as experiment

        vectors = self.load(folder)
        known = [ids for ids in experiment.questions(vectors).values() if len(ids)]
        out = {"words": float(len(vectors.vocabulary))}
        for name, method in (
            ("analogies, right word among the first five", "offset"),
            ("the same, answering with frequent words", "frequency"),
        ):
            if known:
                ranks = experiment.analogy_ranks(vectors, torch.cat(known), method)
                out[name] = float((ranks < 5).double().mean())
        return out


@dataclass(frozen=True)
class TableConfig:
    """So many words, so many numbers each."""

    words: int
    size: int


class Table(nn.Module):
    """Vectors as a module, to be saved like the other models."""

    Config = TableConfig

    def __init__(self, config: TableConfig, rows: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        self.rows = nn.Parameter(torch.zeros(config.words, config.size) if rows is None else rows)


def lines_of(folder: Path) -> Iterator[list[str]]:
    """The words of each line of the text files of a folder.

    Hidden files and folders (``.git``, a Mac's ``._text.txt``) are passed over.

    Raises:
        FileNotFoundError: a link that leads nowhere.
        ValueError: no text file, or one that is not UTF-8 (it is named).
    """
    files = sorted(path for path in visible(folder) if path.suffix.lower() == ".txt")
    if not files:
        raise ValueError(f"{str(folder)!r} holds no .txt file")
    for file in files:
        try:
            whole = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{str(file)!r} is not UTF-8 text ({error.reason})") from error
        yield from (words for line in whole.splitlines() if (words := tokenize(line)))


TASKS: dict[str, Task] = {
    task.system: task
    for task in (
        Fusing(),
        Words(),
        JointEmbedding(),
        Cooking(),
        ShowAndTell(),
        ShowAttendTell(),
        Filming(),
        Questions(),
        VLBert(),
        ViLBert(),
        Drawing(),
        Separating(),
        Hearing(),
        Locating(),
        Saying(),
        Imagining(),
    )
}
