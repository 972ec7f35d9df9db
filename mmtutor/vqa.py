"""Visual question answering: a picture, a question, and the most probable of K answers.

Two streams and a meeting (Antol et al., ICCV 2015). The picture's features, at length 1, pass one
layer. The words of the question pass an LSTM of two layers, and what it holds behind the last word
passes another. Where the two meet decides what can be learnt:

- ``"product"``: element by element (the paper). A unit speaks only where both streams speak: the
  question decides what of the picture counts.
- ``"sum"`` and ``"concatenation"``: side by side; only the layers behind can relate them.
- ``"question"`` and ``"picture"``: one stream alone. What these reach was never asked of the other.
- ``"stacked"``: the question looks at a *map*, adds what it finds to itself, and looks again (Yang
  et al., CVPR 2016).
- ``"glimpses"``: it looks several times at once, and all that it sees is laid beside it (Kazemi and
  Elqursh 2017).

Which words mean which cells has to be learnt from the answers alone, and that is slow. So there is
one more way, which is ours: before the LSTM reads a word, the word is looked for in the map
(:class:`Grounding`), and *that words name cells* can be told apart from the questions.

Then a classifier: to answer is to choose among the K most frequent answers. Or to say a word of the
question again, where it asks *which of both* (:class:`Copying`).

Read from top to bottom: the settings, one look, the model, a model that copies, the data, the
checks. How the field scores answers is :func:`mmtutor.kit.metrics.vqa_accuracy`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtutor.kit.places import HOW, Places
from mmtutor.kit.pointing import Labeller
from mmtutor.kit.text import SPECIALS, Vocabulary, pad, tokenize
from mmtutor.kit.vision import check_features

PAD = SPECIALS.index("<pad>")
OUTSIDE = -1  # stands for an answer that is not among the K
ATTENTION = ("stacked", "glimpses")
FUSIONS = ("product", "sum", "concatenation", "question", "picture", *ATTENTION)
STATES = ("all", "hidden", "cell", "mean")
BOUNDS = ("tanh", "relu")
STARTS = ("xavier", "uniform", "torch")
PAPERS = ("antol", "antol-program", "kazemi")
#: Settings that a way to meet does not read. To set one would promise what does not happen.
BINDING = ("point", "counts", "naming", "names")
UNREAD = {
    **{
        way: ("attention", "looks", "places", "beside", *BINDING)
        for way in ("product", "sum", "concatenation")
    },
    "question": ("attention", "looks", "places", "beside", *BINDING, "image", "unit"),
    "picture": ("attention", "looks", "places", "beside", *BINDING)
    + ("word", "hidden", "layers", "state"),
    "stacked": (),
    "glimpses": ("beside", *BINDING),
}


@dataclass(frozen=True)
class Config:
    """Sizes and choices of a :class:`VQA`.

    Args:
        vocabulary: V, words of questions with the specials, ``<pad>`` first.
        answers: K, answers to choose from.
        image: what is seen of a picture: the length of a vector, or (channels, height, width) of a
            map. Only attention keeps a map's cells apart; the others read it as one long vector.
        fusion: where the streams meet; see above.
        unit: the picture's vector, or each cell of the map, is first scaled to length 1.
        word: length of a word's vector.
        hidden: units of a layer of the LSTM.
        layers: of the LSTM.
        state: what is read of it behind the last word: ``"all"``, the cell and the output of every
            layer (Antol); ``"hidden"``, the output of the last layer; ``"cell"``, its cell
            (Kazemi); ``"mean"``, the output of the last layer, and its mean over the words: so
            each word is heard without passing all that follow it.
        joint: E, length of both streams' vectors where they meet. 0, with ``"glimpses"`` only:
            question and cells stay as they are (Kazemi).
        attention: A, units that score a cell.
        looks: how often the question looks: one after another (stacked), or at once (glimpses).
        places: how a cell of the map is told where it lies: ``"product"``, ``"sum"`` or ``"none"``
            (the papers); see :mod:`mmtutor.kit.places`.
        beside: how many of a cell's E numbers are its position alone, with ``"stacked"``.
        point: length of the keys and queries by which words find cells, with ``"stacked"``; 0:
            words are read as they are.
        counts: numbers that a word which points counts the cells with.
        naming: weight of naming the cells, which teaches pointing. In training the batch then has
            ``"cells"``.
        names: for each thing that a cell can hold, the ids of the words that name it: *dog*,
            *dogs*, *animal*, *animals*.
        mlp: widths of the hidden layers of the classifier.
        bound: ``"tanh"`` or ``"relu"``, of these layers and of the scores of attention.
        start: the first weights: ``"xavier"`` (Kazemi), or ``"uniform"`` in ±0.08, all of them
            (Antol's program); or ``"torch"``, as torch draws them: words that differ more, and other
            parts that differ less, than with Xavier's.
        dropout: before every layer.
    """

    vocabulary: int
    answers: int
    image: int | tuple[int, int, int] = (112, 6, 6)
    fusion: str = "product"
    unit: bool = True
    word: int = 64
    hidden: int = 128
    layers: int = 2
    state: str = "all"
    joint: int = 256
    attention: int = 64
    looks: int = 2
    places: str = "product"
    beside: int = 0
    point: int = 0
    counts: int = 0
    naming: float = 0.0
    names: tuple[tuple[int, ...], ...] = ()
    mlp: tuple[int, ...] = (256,)
    bound: str = "tanh"
    start: str = "xavier"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("vocabulary", "answers", "word", "hidden", "layers", "attention", "looks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        picture = self.image if isinstance(self.image, tuple) else (self.image,)
        if len(picture) not in (1, 3) or min(picture) < 1:
            raise ValueError(f"image must be a length or (channels, height, width), got {picture}")
        for name, known in (
            ("fusion", FUSIONS),
            ("state", STATES),
            ("places", HOW),
            ("bound", BOUNDS),
            ("start", STARTS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        if not isinstance(self.mlp, tuple) or any(width < 1 for width in self.mlp):
            raise ValueError(f"mlp must be a tuple of widths, each at least 1, got {self.mlp!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        # lists, if read from a file
        object.__setattr__(self, "names", tuple(tuple(own) for own in self.names))
        for name in ("beside", "point", "counts", "naming"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} must be finite and not negative, got {getattr(self, name)}"
                )
        default = {f.name: f.default for f in fields(self)}
        unread = {name: f"fusion = {self.fusion!r}" for name in UNREAD[self.fusion]}
        if not self.mlp and self.fusion not in ATTENTION:
            unread["bound"] = "mlp = ()"
        for name, choice in unread.items():
            if getattr(self, name) != default[name]:
                raise ValueError(
                    f"{name} = {getattr(self, name)} has no effect with {choice}; "
                    f"leave it at {default[name]}"
                )
        if self.fusion in ATTENTION and len(picture) != 3:
            raise ValueError(f"{self.fusion!r} looks at a map (channels, height, width)")
        if self.joint < 0 or (self.joint == 0 and self.fusion != "glimpses"):
            raise ValueError(
                f"joint must be at least 1, or 0 with fusion = 'glimpses', got {self.joint}"
            )
        if self.joint == 0 and self.places != "none":
            raise ValueError("with joint = 0 the cells stay as they are: set places = 'none'")
        if self.beside and (self.places == "none" or self.beside >= self.joint):
            raise ValueError(
                f"beside must be below joint = {self.joint}, and 0 with places = 'none'; got "
                f"{self.beside}"
            )
        if not self.point and (self.counts or self.naming):
            raise ValueError("counts and naming have no effect without pointing: set point")
        if bool(self.names) != bool(self.naming) or not all(self.names):
            raise ValueError(
                "naming needs the words of each thing, at least one, and they have no effect "
                f"without it; got naming = {self.naming} and names of {len(self.names)} things"
            )
        words = [word for own in self.names for word in own]
        if words and not 0 < min(words) <= max(words) < self.vocabulary:
            raise ValueError(f"names must be ids in 1..{self.vocabulary - 1}, got {self.names}")

    @classmethod
    def world(cls, vocabulary: int, answers: int, **changes: Any) -> Config:
        """Trains on two CPU cores in about a minute, on the map of the frozen image network.

        It takes the standardised map as it is: at length 1 each of its numbers would be so small
        that the first layer hardly hears it.
        """
        sizes = dict(vocabulary=vocabulary, answers=answers, unit=False, layers=1, state="mean")
        unread = UNREAD.get(changes.get("fusion"), ())
        sizes = {name: size for name, size in sizes.items() if name not in unread}
        return cls(**{**sizes, **changes})

    @classmethod
    def grounded(
        cls, vocabulary: int, answers: int, names: tuple[tuple[int, ...], ...], **changes: Any
    ) -> Config:
        """The world's sizes, with words that find their cells; ``names`` are the ids of the words
        of each thing."""
        sizes = dict(
            fusion="stacked",
            unit=False,
            layers=1,
            state="mean",
            joint=144,
            beside=16,
            point=32,
            counts=8,
            naming=0.25,
            start="torch",
            dropout=0.1,
        )
        return cls(vocabulary, answers, **{**sizes, "names": names, **changes})

    @classmethod
    def paper(cls, which: str = "antol", vocabulary: int = 10_000, **changes: Any) -> Config:
        """The sizes of a paper; none says how many words its vocabulary has.

        ``"antol"``: *deeper LSTM Q + norm I* as the text describes it: VGG's 4,096 numbers, words
        of 300, two layers of 512, a space of 1,024, a classifier with two hidden layers of 1,000,
        and 1,000 answers. ``"antol-program"``: as its authors' program has it: words of 200, and no
        hidden layer. ``"kazemi"``: *Show, Ask, Attend, and Answer*: a map of 14 × 14 × 2,048 from
        ResNet-152, one layer of 1,024, two glimpses, 3,000 answers.
        """
        if which not in PAPERS:
            raise ValueError(f"paper must be one of {PAPERS}, got {which!r}")
        if which == "kazemi":
            sizes = dict(
                answers=3000,
                image=(2048, 14, 14),
                fusion="glimpses",
                word=300,
                hidden=1024,
                layers=1,
                state="cell",
                joint=0,
                attention=512,
                places="none",
                mlp=(1024,),
                bound="relu",
            )
        else:
            program = which == "antol-program"
            sizes = dict(
                answers=1000,
                image=4096,
                word=200 if program else 300,
                hidden=512,
                joint=1024,
                mlp=() if program else (1000, 1000),
                start="uniform",
            )
        # the question alone, or the picture alone: their sizes without the other's
        unread = UNREAD.get(changes.get("fusion", sizes.get("fusion")), ())
        sizes = {name: size for name, size in sizes.items() if name not in unread}
        return cls(**{"vocabulary": vocabulary, "dropout": 0.5, **sizes, **changes})


# --- One look -------------------------------------------------------------------------------------


class Look(nn.Module):
    """Where shall the question look? Each cell of the map gets a score, a softmax makes weights of
    the scores: α = softmax(w · f(W a_i + U q + b)), for each glimpse with a w of its own."""

    def __init__(self, cells: int, question: int, config: Config, glimpses: int = 1) -> None:
        super().__init__()
        self.bound = torch.tanh if config.bound == "tanh" else torch.relu
        self.key = nn.Linear(cells, config.attention, bias=False)  # W
        self.ask = nn.Linear(question, config.attention)  # U and b
        self.score = nn.Linear(config.attention, glimpses, bias=False)  # w
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, cells: Tensor, question: Tensor) -> Tensor:
        """The weights (B, glimpses, L) of cells (B, L, D), from a question (B, Q)."""
        asked = self.ask(self.dropout(question))[:, None]  # (B, 1, A)
        scores = self.score(self.dropout(self.bound(self.key(self.dropout(cells)) + asked)))
        return scores.transpose(1, 2).softmax(-1)


# --- One word finds its cells ---------------------------------------------------------------------


class Grounding(nn.Module):
    """What a word finds in a map, to be read together with it.

    A word with vector y fits a cell i by the score s_i (:mod:`mmtutor.kit.pointing`), a cell that
    holds nothing of it by 0. From these it gets

    - Σ_i π_i a_i: what is where it points, π the softmax of the scores and of 0;
    - max_i σ(s_i): is there any such thing at all?
    - Σ_i σ(s_i) σ(g(c_i)): how much of it is there. A softmax cannot tell: its weights sum to 1,
      whether there is one dog or two (Zhang et al., ICLR 2018). The g are learnt.
    """

    def __init__(self, content: int, config: Config) -> None:
        super().__init__()
        self.pointer = Labeller(content, config.word, config.point)
        self.gates = nn.Linear(content, config.counts) if config.counts else None  # g
        self.size = config.joint + 1 + config.counts
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, words: Tensor, content: Tensor, annotations: Tensor) -> Tensor:
        """What each word finds, (B, T, E + 1 + counts).

        Args:
            words: (B, T, m), vectors of words.
            content: (B, L, C), the cells as they are.
            annotations: (B, L, E), the cells with their places.
        """
        keys = self.pointer.key(content)
        fits = self.pointer.fits(words, keys).sigmoid()  # (B, T, L)
        found = [self.pointer(words, keys) @ annotations, fits.amax(-1, keepdim=True)]
        if self.gates is not None:
            found.append(fits @ self.gates(self.dropout(content)).sigmoid())
        return torch.cat(found, -1)


# --- The model ------------------------------------------------------------------------------------


class VQA(nn.Module):
    """Answers questions about pictures.

    Left to the caller: the network that makes the features. Not here are the bias that the authors'
    program adds to every word vector, which says nothing that the vectors cannot say, and the bias
    of a score in attention, which a softmax takes out.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = c = config
        picture = c.image if isinstance(c.image, tuple) else (c.image,)
        # numbers that are read of the LSTM
        size = c.hidden * {"all": 2 * c.layers, "mean": 2, "hidden": 1, "cell": 1}[c.state]
        q = c.joint or size  # length of the question's vector
        self.grounding = Grounding(picture[0], c) if c.point else None
        if c.fusion != "picture":
            self.words = nn.Embedding(c.vocabulary, c.word, padding_idx=PAD)
            word = c.word + (self.grounding.size if c.point else 0)
            self.lstm = nn.ModuleList(
                nn.LSTM(c.hidden if layer else word, c.hidden, batch_first=True)
                for layer in range(c.layers)
            )
            self.question = nn.Linear(size, c.joint) if c.joint else None
        meeting = c.joint  # length of what the classifier reads
        if c.fusion in ATTENTION:
            cells = picture[1] * picture[2]  # L
            depth = c.joint or picture[0]  # D, length of an annotation
            places = 0 if c.places == "none" else cells
            self.cells = (
                Places(picture[0], depth - c.beside, places, c.places, beside=c.beside)
                if c.joint
                else None
            )
            if c.fusion == "stacked":
                self.look = nn.ModuleList(Look(depth, q, c) for _ in range(c.looks))
            else:
                self.look, meeting = Look(depth, q, c, c.looks), c.looks * depth + q
        elif c.fusion != "question":
            self.picture = nn.Linear(math.prod(picture), c.joint)
            meeting = 2 * c.joint if c.fusion == "concatenation" else c.joint
        widths = [meeting, *c.mlp]
        self.hidden = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(widths))
        self.output = nn.Linear(widths[-1], c.answers)
        self.dropout = nn.Dropout(c.dropout)
        # which words name which thing; the last row is no thing: (things + 1, words)
        told = sorted({word for own in c.names for word in own})
        applies = torch.zeros(len(c.names) + 1, len(told))
        for row, own in zip(applies, c.names):
            row[[told.index(word) for word in own]] = 1
        self.register_buffer("told", torch.tensor(told, dtype=torch.long), persistent=False)
        self.register_buffer("applies", applies, persistent=False)
        self.first_weights()

    @torch.no_grad()
    def first_weights(self) -> None:
        """Set the weights with which training begins; positions keep theirs."""
        if self.config.start == "torch":
            return
        for part in self.modules():
            if not isinstance(part, nn.Linear | nn.LSTM | nn.Embedding):
                continue
            for p in part.parameters():
                if self.config.start == "uniform":
                    nn.init.uniform_(p, -0.08, 0.08)
                elif p.ndim == 1:
                    nn.init.zeros_(p)
                else:
                    for gate in p.chunk(4 if isinstance(part, nn.LSTM) else 1):
                        nn.init.xavier_uniform_(gate)
        if self.config.fusion != "picture":
            self.words.weight[PAD] = 0

    # -- the two streams

    def read(
        self, questions: Tensor, features: Tensor | None = None, cells: Tensor | None = None
    ) -> Tensor:
        """Questions as vectors (B, E): what the LSTM holds behind the last word of each, whatever
        padding follows.

        Args:
            questions: (B, T) ids, padding at the end (:func:`encode_questions`).
            features: the pictures, where words point (``point``); else they are not looked at.
            cells: what :meth:`see` made of them, if that is known already.
        """
        c = self.config
        check_questions(questions, c.vocabulary)
        x = torch.tanh(self.dropout(self.words(questions)))  # (B, T, word)
        if self.grounding is not None:
            found = self.ground(questions, features, cells)
            x = torch.cat([x, self.dropout(found)], -1)
        there = questions != PAD  # (B, T)
        if c.state in ("all", "cell"):
            held = self.cells_of_lstm(x, there)
        else:
            for i, layer in enumerate(self.lstm):
                x, _ = layer(self.dropout(x) if i else x)  # (B, T, H)
            last = there.sum(1, keepdim=True) - 1
            held = x.take_along_dim(last[:, :, None], 1)[:, 0]  # behind the last word
            if c.state == "mean":
                there = there[:, :, None].to(x.dtype)
                held = torch.cat([held, (x * there).sum(1) / there.sum(1)], -1)
        return held if self.question is None else torch.tanh(self.question(self.dropout(held)))

    def cells_of_lstm(self, x: Tensor, there: Tensor) -> Tensor:
        """Cells and outputs of the LSTM behind the last word, (B, …), word by word: ``nn.LSTM``
        gives the cells of the last step alone, which may be padding."""
        zero = x.new_zeros(len(x), self.config.hidden)
        states = [(zero, zero)] * self.config.layers  # output and cell of each layer
        for word, real in zip(x.unbind(1), there[:, :, None].unbind(1)):
            for i, layer in enumerate(self.lstm):
                weights = (
                    layer.weight_ih_l0,
                    layer.weight_hh_l0,
                    layer.bias_ih_l0,
                    layer.bias_hh_l0,
                )
                new = torch.lstm_cell(self.dropout(word) if i else word, states[i], *weights)
                states[i] = tuple(torch.where(real, n, old) for n, old in zip(new, states[i]))
                word = states[i][0]  # what the next layer reads
        if self.config.state == "cell":
            return states[-1][1]
        return torch.cat([x for output, cell in states for x in (cell, output)], -1)

    def ground(
        self, questions: Tensor, features: Tensor | None, cells: Tensor | None = None
    ) -> Tensor:
        """What the words of questions find in their pictures; see :class:`Grounding`."""
        if features is None:
            raise ValueError("the words of this model point: a question needs its picture")
        if cells is None:
            cells = self.see(features)
            check_pairs(len(features), len(questions))
        return self.grounding(self.words(questions), self.content(features), cells)

    def content(self, features: Tensor) -> Tensor:
        """A map (B, C, H, W) as the contents of its cells (B, L, C)."""
        x = check_features(features, self.config.image).flatten(2).transpose(1, 2)
        return F.normalize(x, dim=-1) if self.config.unit else x

    def see(self, features: Tensor) -> Tensor:
        """Pictures as vectors (B, E); for attention as the annotations of their cells (B, L, D).

        Args:
            features: (B, D) vectors, or (B, C, H, W) maps, whatever the config says.
        """
        c = self.config
        if c.fusion in ATTENTION:
            x = self.content(features)
            return x if self.cells is None else self.cells(self.dropout(x))
        x = check_features(features, c.image if isinstance(c.image, tuple) else (c.image,))
        x = x.flatten(1)  # (B, numbers)
        x = F.normalize(x, dim=-1) if c.unit else x
        return torch.tanh(self.picture(self.dropout(x)))

    # -- where they meet

    def attend(self, cells: Tensor, question: Tensor) -> tuple[Tensor, Tensor]:
        """What the question is after it has looked, and where it looked (B, looks, L)."""
        if self.config.fusion == "glimpses":
            alpha = self.look(cells, question)
            return torch.cat([(alpha @ cells).flatten(1), question], -1), alpha
        weights = []
        for look in self.look:
            alpha = look(cells, question)  # (B, 1, L)
            question = question + (alpha @ cells)[:, 0]  # asks again, knowing what it saw
            weights.append(alpha)
        return question, torch.cat(weights, 1)

    def meet(self, features: Tensor | None, questions: Tensor | None) -> Tensor:
        """What the classifier reads, (B, …). A stream that is not read may be ``None``."""
        way = self.config.fusion
        if way == "picture":
            return self.see(features)
        if way == "question":
            return self.read(questions)
        v = self.see(features)
        check_questions(questions, self.config.vocabulary)
        check_pairs(len(v), len(questions))
        q = self.read(questions, features, v)
        if way in ATTENTION:
            return self.attend(v, q)[0]
        if way == "concatenation":
            return torch.cat([q, v], -1)
        return q * v if way == "product" else q + v

    def forward(self, features: Tensor | None, questions: Tensor | None) -> Tensor:
        """Scores (B, K) of the answers; see :meth:`read` and :meth:`see`."""
        x = self.meet(features, questions)
        for layer in self.hidden:
            x = layer(self.dropout(x))
            x = torch.tanh(x) if self.config.bound == "tanh" else torch.relu(x)
        return self.output(self.dropout(x))

    def weights(self, features: Tensor, questions: Tensor) -> Tensor:
        """Where the question looks: (B, looks, L), each of sum 1.

        Raises:
            ValueError: a model that does not look.
        """
        if self.config.fusion not in ATTENTION:
            raise ValueError(f"fusion = {self.config.fusion!r} does not look; use {ATTENTION}")
        cells = self.see(features)
        return self.attend(cells, self.read(questions, features, cells))[1]

    @torch.no_grad()
    def pointing(self, features: Tensor, questions: Tensor) -> Tensor:
        """Where each word of a question points: (B, T, L), not negative. What is missing to 1 in a
        row is *nothing*: a word such as "the" is nowhere.

        Raises:
            ValueError: a model whose words do not point.
        """
        if self.grounding is None:
            raise ValueError("the words of this model do not point: its settings have point = 0")
        check_questions(questions, self.config.vocabulary)
        content = self.content(features)
        check_pairs(len(content), len(questions))
        keys = self.grounding.pointer.key(content)
        return self.grounding.pointer(self.words(questions), keys)

    # -- learning

    def loss(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The negative log-probability of the answer, or the mean over several humans' answers.

        −log p(a), mean over the batch (Antol). With H answers for each question, −1/H Σ_a n_a log
        p(a), where n_a humans said a; what is not among the K answers adds nothing (Kazemi).

        Args:
            batch: ``"features"`` and ``"questions"`` as above, and ``"answers"``: (B,) ids, or
                (B, H) with :data:`OUTSIDE` for an answer that is not among the K. Settings with
                ``naming`` need ``"cells"`` in training; see :meth:`naming`.

        Returns:
            ``"loss"``; for the eye ``"right"``: the share of questions whose most probable answer
            is the given one, or with H answers the mean accuracy, min(0.3 m, 1) if H = 10; and
            ``"naming"``, where it is a part of the loss.
        """
        logits = self(batch.get("features"), batch.get("questions"))  # (B, K)
        answers = check_answers(batch["answers"], len(logits), self.config.answers)
        found = logits.argmax(1)
        if answers.ndim == 1:
            loss = F.cross_entropy(logits, answers, ignore_index=OUTSIDE)
            terms = {"loss": loss, "right": (found == answers).float().mean()}
        else:
            known = answers != OUTSIDE  # (B, H)
            told = logits.log_softmax(1).gather(1, answers.clamp(min=0)) * known
            terms = {"loss": -told.mean(), "right": consensus(found, answers).mean()}
        if self.config.naming and self.training:
            named = self.naming(batch)
            terms["loss"] = terms["loss"] + self.config.naming * named
            terms["naming"] = named.detach()
        return terms

    def naming(self, batch: Mapping[str, Tensor]) -> Tensor:
        """How badly the words find their cells (:meth:`mmtutor.kit.pointing.Labeller.labelling`).

        Args:
            batch: ``"features"``, (B, C, H, W), and ``"cells"``, (B, L) whole numbers: which of the
                things of ``config.names`` is in each cell, −1 for none.

        Returns:
            a number: Σ over the words that name anything of the loss of "does it name what is in
            this cell?", mean over cells.

        Raises:
            ValueError: settings without names, a batch without cells, or cells that do not fit.
        """
        if not self.config.names:
            raise ValueError("this model knows no names: its settings have naming = 0")
        if "cells" not in batch:
            raise ValueError("to learn naming, the batch needs 'cells' (B, L); see naming()")
        pointer, things = self.grounding.pointer, len(self.config.names)
        keys, cells = pointer.key(self.content(batch["features"])), batch["cells"]
        check_cells(cells, tuple(keys.shape[:2]), things)
        # row −1 of `applies` is no thing
        return pointer.labelling(self.words(self.told), keys, self.applies[cells])

    @torch.no_grad()
    def answer(self, features: Tensor | None, questions: Tensor | None) -> Tensor:
        """The most probable answers, (B,) ids."""
        return self(features, questions).argmax(1)


# --- An answer that stands in the question --------------------------------------------------------


@dataclass(frozen=True)
class CopyingConfig(Config):
    """Sizes and choices of a :class:`Copying`: a :class:`Config` whose words point and count.

    Args:
        copies: for each word of the questions' vocabulary the id of the answer that says the same,
            or −1: :func:`copies_of`.
    """

    copies: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "copies", tuple(self.copies))  # a list, if read from a file
        if not self.counts:
            raise ValueError("a word is copied by what it counts: set point and counts")
        if len(self.copies) != self.vocabulary or not all(
            -1 <= k < self.answers for k in self.copies
        ):
            raise ValueError(
                f"copies must be an answer in -1..{self.answers - 1} for each of the "
                f"{self.vocabulary} words, got {len(self.copies)} of them"
            )
        if max(self.copies) < 0:
            raise ValueError("copies must name an answer for one word at least")


class Copying(VQA):
    """Answers with a word of the question where that fits.

    For a classifier, the answer *dog* has nothing to do with the word *dog* in "which is bigger the
    dog or the car". Here a word that is an answer too speaks for itself. It found n_t in the
    picture: whether there is any, and its counts, which tell how large it is. The question q says
    what is asked for, and word t adds

        r_t = n_t · (U q + b)

    to the score of its answer. To compare two things, nobody has to hold one against the other:
    each word says how well it fits, and the softmax over the answers compares. That a word of the
    input is copied into the output, and that scores of copying and of the vocabulary meet in one
    softmax, is CopyNet's idea (Gu et al., ACL 2016, section 3.3); r_t is ours.
    """

    Config = CopyingConfig  # what a saved one is made from

    def __init__(self, config: CopyingConfig) -> None:
        super().__init__(config)
        self.asks = nn.Linear(config.joint, 1 + config.counts)  # U and b
        copies = torch.tensor(config.copies)
        copies = torch.where(copies < 0, config.answers, copies)  # behind the last: thrown away
        self.register_buffer("copies", copies, persistent=False)

    def forward(self, features: Tensor, questions: Tensor) -> Tensor:
        """Scores (B, K) of the answers; see :meth:`VQA.read` and :meth:`VQA.see`."""
        cells = self.see(features)
        check_questions(questions, self.config.vocabulary)
        check_pairs(len(cells), len(questions))
        question = self.read(questions, features, cells)  # q
        x, _ = self.attend(cells, question)
        for layer in self.hidden:
            x = layer(self.dropout(x))
            x = torch.tanh(x) if self.config.bound == "tanh" else torch.relu(x)
        scores = self.output(self.dropout(x))
        # up to here as before; now the words of the question
        votes = self.votes(question, self.ground(questions, features, cells))
        scores = torch.cat([scores, scores.new_zeros(len(scores), 1)], 1)  # (B, K + 1)
        return scores.scatter_add(1, self.copies[questions], votes.to(scores.dtype))[:, :-1]

    def votes(self, question: Tensor, found: Tensor) -> Tensor:
        """r (B, T): what each word would add to its answer, if it is one.

        Args:
            question: q (B, E), see :meth:`VQA.read`.
            found: (B, T, E + 1 + counts), see :class:`Grounding`.
        """
        counted = self.dropout(found)[..., self.config.joint :]  # n: (B, T, 1 + counts)
        return (counted @ self.asks(question)[:, :, None])[:, :, 0]


def copies_of(vocabulary: Vocabulary, answers: Vocabulary) -> tuple[int, ...]:
    """For each word of the questions the id of the answer that is the same word, or −1."""
    return tuple(answers.ids.get(word, -1) for word in vocabulary.words)


def consensus(found: Tensor, answers: Tensor) -> Tensor:
    """The VQA accuracy of answers (B,) by the ids of H humans' answers (B, H), for watching
    training: the mean of min(m / 3, 1) over all ways to leave one human out. (B,) in [0, 1].

    Of the H ways m leave out one who agrees. :func:`mmtutor.kit.metrics.vqa_accuracy` is the same
    on words.
    """
    m, humans = (answers == found[:, None]).sum(1), answers.shape[1]
    return ((humans - m) * (m / 3).clamp(max=1) + m * ((m - 1) / 3).clamp(max=1)) / humans


# --- The data -------------------------------------------------------------------------------------


def encode_questions(
    questions: Sequence[str], vocabulary: Vocabulary, limit: int | None = None
) -> Tensor:
    """Questions as ids.

    Args:
        questions: N of them.
        vocabulary: ``<pad>`` must be its first word. With ``<unk>`` an unknown word becomes that,
            and a question of unknown words only is one that says nothing but its length. Without
            it, an unknown word is an error that names near spellings: right for a box to type in.
        limit: the most words that a question may have; longer ones are an error, never cut. (The
            paper's program cuts at 26.)

    Returns:
        (N, T) int64, ``<pad>`` behind the words.

    Raises:
        TypeError: one string, or questions that are not strings.
        ValueError: no questions, one without a word or beyond the limit (it is quoted), or another
            vocabulary.
        KeyError: an unknown word, where the vocabulary has no ``<unk>``.
    """
    if isinstance(questions, str | bytes):
        raise TypeError(
            f"encode_questions needs a sequence of questions, got one {type(questions).__name__}"
        )
    if vocabulary.words[PAD] != SPECIALS[PAD]:
        raise ValueError(
            f"the vocabulary must begin with {SPECIALS[PAD]}, got {vocabulary.words[PAD]!r}"
        )
    questions = list(questions)
    words = [tokenize(question) for question in questions]
    for question, own in zip(questions, words):
        if not own:
            raise ValueError(f"a question has no word: {question!r}")
        if limit is not None and len(own) > limit:
            raise ValueError(f"a question has {len(own)} words, the limit is {limit}: {question!r}")
    return pad([vocabulary.encode(own) for own in words], PAD)[0]


def encode_answers(
    answers: Sequence[str] | Sequence[Sequence[str]], vocabulary: Vocabulary
) -> Tensor:
    """Answers as ids: what is not in the vocabulary becomes :data:`OUTSIDE`.

    The vocabulary of the K most frequent answers is ``Vocabulary(answers, max_size=K,
    specials=())``. Leave questions whose answer is outside it out of training, as the paper does.

    Args:
        answers: N answers, or N lists of equally many.
        vocabulary: without special words: each is an answer.

    Returns:
        (N,) int64, or (N, H).

    Raises:
        TypeError: one string, or answers that are not strings.
        ValueError: no answers, lists of different lengths, or a vocabulary with special words.
    """
    if isinstance(answers, str):
        raise TypeError("encode_answers needs a sequence of answers, got one str")
    if vocabulary.specials:
        raise ValueError(f"no answer is {vocabulary.specials[0]}; give specials=()")
    answers = list(answers)
    if not answers:
        raise ValueError("there is no answer to encode")
    several = not isinstance(answers[0], str)
    rows = [list(own) if several else [own] for own in answers]
    if len({len(own) for own in rows}) != 1 or not rows[0]:
        raise ValueError("each question needs equally many answers, at least one")
    strange = {type(a).__name__ for own in rows for a in own if not isinstance(a, str)}
    if strange:
        raise TypeError(f"answers must be strings, got {min(strange)}")
    ids = torch.tensor([[vocabulary.ids.get(a, OUTSIDE) for a in own] for own in rows])
    return ids if several else ids[:, 0]


# --- Checks ---------------------------------------------------------------------------------------
# Values are looked at on the CPU only: on a GPU it would make every step wait.


def check_questions(questions: Tensor, size: int) -> None:
    """Check questions (B, T).

    Raises:
        TypeError: ids that are not int64.
        ValueError: another shape, an empty batch; or (on the CPU) ids outside 0..size − 1, a
            question without a word, or padding before a word. The message names the question.
    """
    if not isinstance(questions, Tensor) or questions.dtype != torch.int64:
        got = questions.dtype if isinstance(questions, Tensor) else type(questions).__name__
        raise TypeError(f"questions must be ids (B, T) of type int64, got {got}")
    if questions.ndim != 2 or min(questions.shape) < 1:
        raise ValueError(
            f"questions must be ids (B, T), B and T at least 1, got {tuple(questions.shape)}"
        )
    if questions.device.type != "cpu":
        return
    low, high = int(questions.min()), int(questions.max())
    if low < 0 or high >= size:
        raise ValueError(f"ids of words must lie in 0..{size - 1}, got {low}..{high}")
    real = questions != PAD
    for wrong, message in (
        (~real.any(1), "has no word"),
        (
            (real[:, 1:] & ~real[:, :-1]).any(1),
            "has padding before a word; it belongs at the end",
        ),
    ):
        if bool(wrong.any()):
            raise ValueError(f"question {int(wrong.nonzero()[0, 0])} {message}")


def check_pairs(pictures: int, questions: int) -> None:
    """Raise a ValueError unless each question has its picture."""
    if pictures != questions:
        raise ValueError(f"{pictures} pictures but {questions} questions; each question needs one")


def check_cells(cells: Tensor, shape: tuple[int, int], things: int) -> None:
    """Raise a ValueError unless cells are whole numbers of a shape (B, L) in −1..things − 1."""
    if not isinstance(cells, Tensor) or cells.shape != shape or cells.is_floating_point():
        got = (
            f"{cells.dtype} {tuple(cells.shape)}"
            if isinstance(cells, Tensor)
            else type(cells).__name__
        )
        raise ValueError(f"cells must be whole numbers {shape}, got {got}")
    if cells.device.type == "cpu" and not -1 <= int(cells.min()) <= int(cells.max()) < things:
        raise ValueError(
            f"cells must lie in -1..{things - 1}, got {int(cells.min())}..{int(cells.max())}"
        )


def check_answers(answers: Tensor, questions: int, size: int) -> Tensor:
    """Check answers (B,) or (B, H) and return them.

    Raises:
        TypeError: ids that are not int64.
        ValueError: another shape or number; or (on the CPU) ids that are no answers, or a single
            answer that is :data:`OUTSIDE`. The message names the question.
    """
    if not isinstance(answers, Tensor) or answers.dtype != torch.int64:
        got = answers.dtype if isinstance(answers, Tensor) else type(answers).__name__
        raise TypeError(f"answers must be ids of type int64, got {got}")
    if answers.ndim not in (1, 2) or len(answers) != questions or min(answers.shape) < 1:
        raise ValueError(
            f"answers must be ids ({questions},), or ({questions}, H) of H humans, "
            f"got {tuple(answers.shape)}"
        )
    if answers.device.type == "cpu":
        low, high = int(answers.min()), int(answers.max())
        if low < OUTSIDE or high >= size:
            raise ValueError(
                f"answers must lie in 0..{size - 1}, or be {OUTSIDE}, got {low}..{high}"
            )
        if answers.ndim == 1 and low == OUTSIDE:
            raise ValueError(
                f"the answer to question {int((answers == OUTSIDE).nonzero()[0, 0])} is not among "
                "the K answers; leave such questions out, as the paper does"
            )
    return answers
