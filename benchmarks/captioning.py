"""Show, Attend and Tell at the paper's scale: our training step and beam search, and the common tutorial form of both.

    python benchmarks/captioning.py [--rounds 3] [--threads 1] [--lengths mixed|one] [--quick]

196 annotations of 512, a vocabulary of 10,000, an LSTM of 1,800 units, batches of 64 pictures, captions as long as COCO's (10.5
words on average). The tutorial form gets the same parameters, and its loss, gradients and captions are compared with ours
in the same run. It steps an LSTM cell through a batch that is sorted by length and shrinks, projects the annotations anew and
applies the output layer at every step; it searches one picture at a time (the paths of a picture are one batch), with lists of
words in Python. Contestants take turns; the tables show medians, the ratio is the median of the ratios within a round, and memory is the most that torch holds at
once of what a run allocates.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault(
    "KINETO_LOG_LEVEL", "5"
)  # the profiler, which counts memory, need not say that there is no GPU

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtutor.kit.decoding import BANNED, BOS, EOS, beam_search
from mmtutor.show_attend_tell import PAD, Config, ShowAttendTell

IMAGES, WIDTH, LIMIT = 64, 5, 20
AIMS = {"train": 1.5, "search": 5.0}


class Tutorial(nn.Module):
    """The same decoder with the same parameters, written as it is commonly written."""

    def __init__(self, ours: ShowAttendTell) -> None:
        super().__init__()
        c = self.config = ours.config
        for name in (
            "words",
            "first",
            "key",
            "ask_state",
            "score",
            "gate",
            "out_h",
            "out_z",
            "output",
        ):
            part = nn.Embedding if name == "words" else nn.Linear
            theirs = getattr(ours, name)
            made = (
                part(*theirs.weight.shape, padding_idx=PAD)
                if name == "words"
                else part(*theirs.weight.shape[::-1])
            )
            if name != "words" and theirs.bias is None:
                made.bias = None
            made.load_state_dict(theirs.state_dict())
            setattr(self, name, made)
        self.cell = nn.LSTMCell(c.embedding + c.annotation, c.hidden)
        self.dropout = nn.Dropout(c.dropout)
        recurrent, context = ours.state_gates.weight.detach().split([c.hidden, c.annotation], 1)
        with torch.no_grad():
            self.cell.weight_ih.copy_(torch.cat([ours.word_gates.weight, context], 1))
            self.cell.weight_hh.copy_(recurrent)
            self.cell.bias_ih.copy_(ours.word_gates.bias)
            self.cell.bias_hh.zero_()

    def begin(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a = features.flatten(2).transpose(1, 2)  # (B, L, D)
        return a, *torch.tanh(self.first(a.mean(1))).chunk(2, 1)

    def attend(self, a: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.score(torch.tanh(self.key(a) + self.ask_state(h).unsqueeze(1))).squeeze(2)
        alpha = scores.softmax(1)  # (B, L)
        return (a * alpha.unsqueeze(2)).sum(1), alpha

    def step(
        self, y: Tensor, a: Tensor, h: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        z, alpha = self.attend(a, h)
        z = torch.sigmoid(self.gate(h)) * z
        h, c = self.cell(torch.cat([y, z], 1), (h, c))
        return self.output(self.dropout(torch.tanh(y + self.out_h(h) + self.out_z(z)))), alpha, h, c

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        captions = batch["captions"]
        lengths, order = ((captions != PAD).sum(1) - 1).sort(
            descending=True
        )  # steps: all words but the first
        captions, (a, h, c) = captions[order], self.begin(batch["features"][order])
        y = self.dropout(self.words(captions))
        scores = y.new_zeros(len(captions), int(lengths[0]), self.config.vocabulary)
        alphas = y.new_zeros(len(captions), int(lengths[0]), a.shape[1])
        for t in range(int(lengths[0])):
            size = int((lengths > t).sum())
            logits, alpha, h, c = self.step(y[:size, t], a[:size], h[:size], c[:size])
            scores[:size, t], alphas[:size, t] = logits, alpha
        pack = nn.utils.rnn.pack_padded_sequence
        logits, targets = (
            pack(x, lengths.cpu(), batch_first=True).data for x in (scores, captions[:, 1:])
        )
        nll = F.cross_entropy(logits, targets, reduction="sum") / len(captions)
        return {
            "loss": nll + self.config.doubly_stochastic * (1 - alphas.sum(1)).square().sum(1).mean()
        }

    def search(self, features: Tensor, lengths: Tensor) -> list[tuple[list[int], float]]:
        """Beam search, picture by picture; finished captions leave, and the beam shrinks by as many."""
        found = []
        for i in range(len(features)):
            a, h, c = self.begin(features[i : i + 1])
            k, captions, total = WIDTH, [[BOS]], torch.zeros(1)
            finished: list[tuple[list[int], float]] = []
            for t in range(LIMIT + 1):
                y = self.words(torch.tensor([words[-1] for words in captions]))
                logits, _, h, c = self.step(y, a.expand(len(captions), -1, -1), h, c)
                logp = end_near(logits, torch.full((len(captions),), t), lengths[i]).log_softmax(1)
                logp[:, list(BANNED)] = -torch.inf
                best, at = (total[:, None] + logp).flatten().topk(k)
                parents, words = at // logp.shape[1], at % logp.shape[1]
                grown = [captions[p] + [w] for p, w in zip(parents.tolist(), words.tolist())]
                finished += [(g[1:-1], s) for g, s in zip(grown, best.tolist()) if g[-1] == EOS]
                live = [j for j, g in enumerate(grown) if g[-1] != EOS]
                k = len(live)
                if k == 0:
                    break
                captions, total, h, c = (
                    [grown[j] for j in live],
                    best[live],
                    h[parents[live]],
                    c[parents[live]],
                )
            found.append(
                max(finished or [(captions[0][1:], float(total[0]))], key=lambda pair: pair[1])
            )
        return found


def end_near(logits: Tensor, written: Tensor, length: Tensor) -> Tensor:
    """Untrained decoders do not end their captions. Let <eos> become likely around a given number of words."""
    ramp = logits.amax(1) + 2.0 * (written - length)
    return logits.index_copy(1, torch.tensor([EOS]), ramp[:, None])


class Ending:
    """Our model with :func:`end_near`; the step protocol around the step protocol."""

    def __init__(self, model: ShowAttendTell) -> None:
        self.model = model

    def begin(self, inputs: tuple[Tensor, Tensor]) -> tuple[Any, Any]:
        memory, state = self.model.begin(inputs[0])
        return (memory, inputs[1]), (state, torch.zeros_like(inputs[1]))

    def step(self, tokens: Tensor, state: Any, memory: Any) -> tuple[Tensor, Any]:
        logits, inner = self.model.step(tokens, state[0], memory[0])
        return end_near(logits, state[1], memory[1]), (inner, state[1] + 1)


def coco_lengths(images: int) -> Tensor:
    """Words of captions that are as long as COCO's."""
    return (10.5 + 2.4 * torch.randn(images)).round().long().clamp(7, LIMIT)


def a_batch(config: Config, lengths: Tensor) -> dict[str, Tensor]:
    """Noise for pictures, and captions of so many random words."""
    captions = torch.randint(4, config.vocabulary, (len(lengths), int(lengths.max()) + 2))
    place = torch.arange(captions.shape[1])
    captions[:, 0] = BOS
    captions[place == lengths[:, None] + 1] = EOS
    captions[place > lengths[:, None] + 1] = PAD
    return {
        "features": torch.randn(len(lengths), config.annotation, *config.grid).relu(),
        "captions": captions,
    }


def peak(run: Callable[[], object]) -> float:
    """The most memory that torch holds at once for what a run allocates, in MB."""
    from torch.profiler import ProfilerActivity, profile

    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as recorded:
        run()
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = itertools.accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns()))
    return max(held, default=0) / 2**20


@dataclass
class Contestant:
    """What to run, how often it would have to run for the whole task, its memory in MB, and its seconds for the whole task."""

    name: str
    run: Callable[[], object]
    share: int = 1
    memory: float = 0.0
    seconds: list[float] = field(default_factory=list)


def in_turn(contestants: list[Contestant], rounds: int) -> None:
    """Run them alternately, in changing order, so that whatever else the machine does hits all alike."""
    for i in range(rounds):
        for contestant in contestants[:: 1 if i % 2 == 0 else -1]:
            start = time.perf_counter()
            contestant.run()
            contestant.seconds.append((time.perf_counter() - start) * contestant.share)


def table(title: str, contestants: list[Contestant], aim: float) -> None:
    """The first is ours, the last the one that the aim is about."""
    print(f"\n{title}\n\n{'':<42}{'seconds':>9}{'memory, MB':>12}{'ours is faster by':>19}")
    ours, ratio = contestants[0], 1.0
    for c in contestants:
        ratio = statistics.median(theirs / mine for mine, theirs in zip(ours.seconds, c.seconds))
        versus = "" if c is ours else f"{ratio:.2f} times"
        print(f"{c.name:<42}{statistics.median(c.seconds):>9.2f}{c.memory:>12.0f}{versus:>19}")
    print(f"aim: {aim:g} times the tutorial form: {'reached' if ratio >= aim else 'NOT reached'}")


def compare_training(config: Config, lengths: Tensor, title: str, rounds: int) -> None:
    batch = a_batch(config, lengths)
    ours = ShowAttendTell(config).train()
    models = {"ours": ours, "tutorial form": Tutorial(ours).train()}
    contestants, losses = [], []
    for name, model in models.items():
        model.dropout.p = 0.0  # it draws differently; put back for the timing
        adam = torch.optim.Adam(model.parameters(), lr=1e-4)

        def check(model: nn.Module = model) -> None:
            loss = model.loss(batch)["loss"]
            loss.backward()
            losses.append(float(loss.detach()))

        def step(model: nn.Module = model, optimizer: torch.optim.Optimizer = adam) -> None:
            optimizer.zero_grad()
            model.loss(batch)["loss"].backward()
            optimizer.step()

        contestants.append(Contestant(name, step, memory=peak(check)))
        model.dropout.p = config.dropout
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=0)
    for part in ("key", "out_h", "words"):
        a, b = (getattr(model, part).weight.grad for model in models.values())
        assert float((a - b).norm() / b.norm()) < 1e-3, f"the gradients of {part} differ"
    in_turn(contestants, rounds)
    table(f"training step, {len(lengths)} captions {title}", contestants, AIMS["train"])
    print(
        f"equal before: loss {losses[0]:.4f} and {losses[1]:.4f} without dropout, and the gradients"
    )


@torch.no_grad()
def compare_search(config: Config, lengths: Tensor, rounds: int) -> None:
    ours = ShowAttendTell(config).eval()
    ours.words.weight *= 10  # sharper than at random, so that paths differ from picture to picture
    ours.output.weight *= 30
    theirs = Tutorial(ours).eval()
    features, images = a_batch(config, lengths)["features"], len(lengths)
    some, few = (
        max(1, images // 8),
        max(1, images // 16),
    )  # pictures for those who take them one by one
    found: dict[str, list[tuple[list[int], float]]] = {}

    def search(features: Tensor, lengths: Tensor) -> list[tuple[list[int], float]]:
        best = beam_search(Ending(ours), (features, lengths), width=WIDTH, limit=LIMIT, n_best=1)
        return [(list(h.ids), h.logprob) for (h,) in best]

    def batched() -> None:
        found["ours"] = search(features, lengths)

    def alone(size: int = few) -> None:
        found["alone"] = [search(features[i : i + 1], lengths[i : i + 1])[0] for i in range(size)]

    def tutorial(size: int = some) -> None:
        found["tutorial"] = theirs.search(features[:size], lengths[:size])

    contestants = [
        Contestant("ours", batched, memory=peak(batched)),
        Contestant("ours, one picture at a time", alone, images // few, peak(lambda: alone(1))),
        Contestant(
            "tutorial form, one picture at a time",
            tutorial,
            images // some,
            peak(lambda: tutorial(1)),
        ),
    ]
    in_turn(contestants, rounds)
    table(f"beam search, beam {WIDTH}, {images} pictures", contestants, AIMS["search"])
    assert [ids for ids, _ in found["alone"]] == [ids for ids, _ in found["ours"][:few]], (
        "a batch changed a caption"
    )
    same = sum(a[0] == b[0] for a, b in zip(found["ours"], found["tutorial"]))
    mean = [
        statistics.mean(logprob for _, logprob in found[name][:some])
        for name in ("ours", "tutorial")
    ]
    assert mean[0] >= mean[1] - 1e-3, f"the tutorial form finds better captions: {mean}"
    print(
        f"{same} of {some} captions are the same in the tutorial form; mean log-probability {mean[0]:.3f} and {mean[1]:.3f}\n"
        f"one picture at a time: timed on {few} (ours) and {some} (tutorial form) pictures and multiplied"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads (default 1: least disturbed by others)"
    )
    parser.add_argument(
        "--lengths",
        choices=("mixed", "one"),
        default="mixed",
        help="captions of mixed lengths, or of 11 words each",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few pictures, one round: does it run?"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    images, rounds = (8, 1) if options.quick else (IMAGES, options.rounds)
    config = Config.paper()
    print(
        f"Show, Attend and Tell, {config.grid[0] * config.grid[1]} annotations of {config.annotation}, LSTM of {config.hidden}, "
        f"{config.vocabulary} words, float32\ntorch {torch.__version__}, Python {platform.python_version()}, "
        f"{options.threads} thread(s), {rounds} round(s)"
    )
    if options.lengths == "mixed":
        compare_training(config, coco_lengths(images), "of mixed lengths", rounds)
    else:
        compare_training(
            config, torch.full((images,), 11), "of one length, as the paper's batches", rounds
        )
    compare_search(config, coco_lengths(images), rounds)


if __name__ == "__main__":
    main()
