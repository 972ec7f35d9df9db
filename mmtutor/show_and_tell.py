"""Show and Tell: a picture goes in once, a sentence comes out word by word (Vinyals, Toshev, Bengio
and Erhan, CVPR 2015).

A convolutional network has already turned the picture into one vector (:mod:`mmtutor.kit.vision`).
A recurrent network reads that vector, then writes: at each step it reads the word it wrote last and
gives a probability to every word that may come next.

Where the picture enters is a choice, named as in Tanti, Gatt and Camilleri (2018):

- **pre-inject**: as if it were the first word, before ``<bos>``. This is Show and Tell.
- **init-inject**: as the state in which the recurrent network begins.
- **par-inject**: beside every word, at every step.

The loss is the negative log-likelihood of the caption (equation 10 of the paper), summed over its
words and ``<eos>``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtutor.kit.text import SPECIALS, check_captions, check_ended
from mmtutor.kit.vision import check_features

PAD = SPECIALS.index("<pad>")
INJECT = ("pre", "init", "par")
CELLS = ("lstm", "rnn")
# Deviation of the projected picture at the start, if the features have deviation 1; a word vector's
# is 0.1.
LOUD = 2.0
# Bias of the forget gates at the start: sigmoid(3) = 0.95 of the memory is kept at each step.
OPEN = 3.0


@dataclass(frozen=True)
class Config:
    """Sizes of a :class:`ShowAndTell`.

    Args:
        vocabulary: V, words with the specials.
        image: length of the picture's vector.
        embedding: E, length of a word's vector. With pre-inject the picture is projected to this
            length too.
        hidden: H, length of the recurrent state.
        inject: ``"pre"`` (the paper), ``"init"`` or ``"par"``.
        cell: ``"lstm"`` (the paper) or ``"rnn"`` (tanh), for comparison.
        dropout: on word vectors and on the recurrent output.
    """

    vocabulary: int
    image: int = 1280
    embedding: int = 256
    hidden: int = 512
    inject: str = "pre"
    cell: str = "lstm"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("vocabulary", "image", "embedding", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.inject not in INJECT:
            raise ValueError(f"inject must be one of {INJECT}, got {self.inject!r}")
        if self.cell not in CELLS:
            raise ValueError(f"cell must be one of {CELLS}, got {self.cell!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")

    @classmethod
    def world(cls, vocabulary: int, **changes: Any) -> Config:
        """Trains on two CPU cores in about a minute."""
        return cls(vocabulary=vocabulary, **changes)

    @classmethod
    def paper(cls, vocabulary: int = 10_000, **changes: Any) -> Config:
        """The sizes of the paper: 512 for words, picture and state; GoogLeNet's vector of 1024."""
        sizes = dict(image=1024, embedding=512, hidden=512, dropout=0.5)
        return cls(vocabulary=vocabulary, **{**sizes, **changes})


class ShowAndTell(nn.Module):
    """The captioner.

    The stock LSTM of torch stands in for the paper's, which has no biases and no tanh on its
    output. It reads standardized features best (:func:`mmtutor.kit.vision.standardize`).
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = c = config
        self.words = nn.Embedding(c.vocabulary, c.embedding, padding_idx=PAD)
        inputs = c.embedding * 2 if c.inject == "par" else c.embedding
        cell = nn.LSTM if c.cell == "lstm" else nn.RNN
        self.recurrent = cell(inputs, c.hidden, batch_first=True)
        parts = 2 if c.cell == "lstm" else 1  # an LSTM begins with a hidden state and a memory cell
        self.image = nn.Linear(c.image, c.hidden * parts if c.inject == "init" else c.embedding)
        self.dropout = nn.Dropout(c.dropout)
        self.output = nn.Linear(c.hidden, c.vocabulary)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Where training begins: the picture is loud, words are soft, and the memory is open.

        A picture that is shown once must still be heard ten words later. From torch's own
        beginnings (word vectors louder than the picture, forget gates half shut) the captioner
        learns the language first and the picture later.
        """
        c = self.config
        nn.init.normal_(self.words.weight, std=0.1)[PAD] = 0
        # Its input is divided by sqrt(image); see begin.
        nn.init.normal_(self.image.weight, std=LOUD)
        nn.init.zeros_(self.image.bias)
        if c.cell == "lstm":  # gates in the order i, f, g, o
            nn.init.orthogonal_(self.recurrent.weight_hh_l0)
            self.recurrent.bias_ih_l0[c.hidden : 2 * c.hidden] = OPEN

    # -- training: all steps at once

    def forward(self, features: Tensor, captions: Tensor) -> Tensor:
        """Scores of each next word, with the words before it given (teacher forcing).

        Args:
            features: (B, image), the picture's vectors.
            captions: (B, T) ids, ``<bos>`` first, then the words and ``<eos>``, then ``<pad>``.

        Returns:
            (B, T - 1, V) logits; position t scores ``captions[:, t + 1]``.
        """
        check_captions(captions, self.config.vocabulary, len(features))
        memory, state = self.begin(features)
        x = self.dropout(self.words(captions[:, :-1]))  # (B, T-1, E)
        if memory is not None:
            x = torch.cat([x, memory[:, None].expand(-1, x.shape[1], -1)], -1)  # (B, T-1, 2E)
        h, _ = self.recurrent(x, self._pack(state))  # (B, T-1, H)
        return self.output(self.dropout(h))

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """``"loss"``: −log p(caption | picture), summed over words, mean over captions;
        ``"per_word"``: for the eye.

        The captions must be whole, ``<eos>`` included.
        """
        logits = self(batch["features"], batch["captions"])  # (B, T-1, V)
        check_ended(batch["captions"])
        targets = batch["captions"][:, 1:]  # (B, T-1)
        nll = F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=PAD, reduction="sum"
        )
        return {"loss": nll / len(targets), "per_word": (nll / (targets != PAD).sum()).detach()}

    # -- writing: one step at a time (the protocol of mmtutor.kit.decoding)

    def begin(self, features: Tensor) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        """Look at the pictures (B, image); returns what every step sees (par-inject) and the first
        state, (B, H) each."""
        c = self.config
        # Adam moves every weight equally far. Over a thousand inputs that adds up: divided by its
        # norm the picture does not jump.
        v = self.image(check_features(features, (c.image,)) * c.image**-0.5)
        if c.inject == "init":
            return None, tuple(torch.tanh(v).chunk(2 if c.cell == "lstm" else 1, -1))
        zero = v.new_zeros(len(v), c.hidden)
        state = (zero, zero) if c.cell == "lstm" else (zero,)
        if c.inject == "par":
            return v, state
        # The picture is a word; its prediction is not used.
        _, state = self.recurrent(v[:, None], self._pack(state))
        return None, self._unpack(state)

    def step(
        self, tokens: Tensor, state: tuple[Tensor, ...], memory: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Read one word (B,), give the scores of the next (B, V) and the new state."""
        x = self.words(tokens)
        if memory is not None:
            x = torch.cat([x, memory], -1)
        h, state = self.recurrent(x[:, None], self._pack(state))
        return self.output(h[:, 0]), self._unpack(state)

    def _pack(self, state: tuple[Tensor, ...]) -> Any:
        """torch wants (1, B, H): the one is its number of layers."""
        packed = tuple(s[None].contiguous() for s in state)
        return packed if self.config.cell == "lstm" else packed[0]

    def _unpack(self, state: Any) -> tuple[Tensor, ...]:
        return tuple(s[0] for s in (state if self.config.cell == "lstm" else (state,)))
