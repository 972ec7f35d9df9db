"""Skip-gram with negative sampling: ours, gensim, and the common tutorial form, on the same corpus in one run.

    python benchmarks/word2vec.py [--epochs 3] [--rounds 3] [--quick]

All train 100 dimensions, window 5 (each centre draws its radius), 5 negatives from unigram^0.75 and subsampling at 1e-3 on
the King James Bible, for the same number of epochs. A pair is a centre with one real neighbour. gensim does not count its pairs;
the same sampling law gives it ours. The tutorial form (each centre with its contexts and negatives, padded to one length,
masked binary cross-entropy, Adam on dense gradients) gets its padded batches made outside the clock. The others are timed whole,
vocabulary included. Runs alternate; the table shows medians. A step of ours takes a millisecond and runs on one thread, whatever
torch is allowed; two workers are two threads that take steps in turn, in ours as in gensim.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
import torch.nn.functional as F

from mmtutor import world
from mmtutor.experiments.word2vec import analogy_accuracy, group_precision
from mmtutor.kit.text import Vocabulary
from mmtutor.word2vec import (
    Config,
    WordVectors,
    encode,
    keep_probability,
    noise_distribution,
    train,
)

DIM, WINDOW, NEGATIVES, SAMPLE, MIN_COUNT = 100, 5, 5, 1e-3, 5


def ours(
    sentences: list[list[str]], epochs: int, workers: int = 1
) -> tuple[float, WordVectors, int]:
    torch.set_num_threads(workers)  # for what comes before and after the steps
    start = time.perf_counter()
    config = Config.world(
        dim=DIM,
        window=WINDOW,
        negatives=NEGATIVES,
        subsample=SAMPLE,
        min_count=MIN_COUNT,
        epochs=epochs,
        lr=0.3,
    )
    result = train(sentences, config, workers=workers, progress=False, device="cpu")
    return time.perf_counter() - start, result.vectors, result.pairs


def gensim(sentences: list[list[str]], epochs: int, workers: int) -> tuple[float, WordVectors, int]:
    from gensim.models import Word2Vec

    start = time.perf_counter()
    model = Word2Vec(
        sentences,
        vector_size=DIM,
        window=WINDOW,
        negative=NEGATIVES,
        sample=SAMPLE,
        min_count=MIN_COUNT,
        sg=1,
        workers=workers,
        epochs=epochs,
        seed=0,
    )
    seconds = time.perf_counter() - start
    counts = {word: model.wv.get_vecattr(word, "count") for word in model.wv.index_to_key}
    vocabulary = Vocabulary(counts, specials=())
    return (
        seconds,
        WordVectors(vocabulary, torch.stack([torch.tensor(model.wv[w]) for w in vocabulary])),
        0,
    )


def tutorial(
    sentences: list[list[str]], epochs: int, threads: int
) -> tuple[float, WordVectors, int]:
    """Padded rows of contexts and negatives, two embedding layers, a batched product, BCE under a mask, Adam."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    vocabulary, ids, sentence = encode(sentences, MIN_COUNT)
    counts = torch.tensor(vocabulary.counts)
    keep, noise = keep_probability(counts, SAMPLE), noise_distribution(counts).float()
    tables = [torch.nn.Embedding(len(vocabulary), DIM) for _ in range(2)]
    for table in tables:
        torch.nn.init.xavier_uniform_(table.weight)
    optimizer = torch.optim.Adam([t.weight for t in tables], lr=0.002)
    seconds, pairs = 0.0, 0
    for _ in range(epochs):
        for centre, words, label, mask in _padded(ids, sentence, keep, noise):
            start = time.perf_counter()
            optimizer.zero_grad()
            score = torch.bmm(tables[0](centre), tables[1](words).transpose(1, 2))[
                :, 0
            ]  # (B, 2·window·(1 + negatives))
            loss = F.binary_cross_entropy_with_logits(
                score, label, weight=mask, reduction="none"
            ).mean(1)
            (loss * mask.shape[1] / mask.sum(1)).sum().backward()
            optimizer.step()
            seconds += time.perf_counter() - start
            pairs += int(label.sum())
    return seconds, WordVectors(vocabulary, tables[0].weight.detach()), pairs


def _padded(
    ids: torch.Tensor,
    sentence: torch.Tensor,
    keep: torch.Tensor,
    noise: torch.Tensor,
    batch: int = 512,
):
    kept = torch.rand(len(ids)) < keep[ids]
    ids, sentence = ids[kept], sentence[kept]
    offsets = torch.tensor([o for o in range(-WINDOW, WINDOW + 1) if o])
    for rows in torch.randperm(len(ids)).split(batch):
        at = rows[:, None] + offsets  # (B, 2·window)
        inside = (
            (at >= 0)
            & (at < len(ids))
            & (offsets.abs() <= torch.randint(1, WINDOW + 1, (len(rows), 1)))
        )
        at = at.clamp(0, len(ids) - 1)
        inside &= sentence[at] == sentence[rows][:, None]
        has = inside.any(1)
        rows, at, inside = rows[has], at[has], inside[has]
        negative = torch.multinomial(
            noise, len(rows) * 2 * WINDOW * NEGATIVES, replacement=True
        ).view(len(rows), -1)
        mask = torch.cat([inside, inside.repeat_interleave(NEGATIVES, 1)], 1)
        label = torch.cat([inside, torch.zeros_like(negative, dtype=torch.bool)], 1)
        yield ids[rows][:, None], torch.cat([ids[at], negative], 1), label.float(), mask.float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the corpus, one round: does it run?"
    )
    options = parser.parse_args()
    sentences = world.corpus("kjv", sentences=True)
    rounds = options.rounds
    if options.quick:
        sentences, rounds = sentences[:3000], 1
    words = sum(map(len, sentences)) * options.epochs
    contestants = {
        "ours, 1 worker": (ours, 1),
        "ours, 2 workers": (ours, 2),
        "gensim, 1 worker": (gensim, 1),
        "gensim, 2 workers": (gensim, 2),
        "tutorial form, 2 threads": (tutorial, 2),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    vectors, pairs = {}, {}
    for round_ in range(rounds):
        for name, (run, threads) in contestants.items():
            if name.startswith("tutorial") and round_:
                continue  # minutes long, and far from close
            taken, vectors[name], pairs[name] = run(sentences, options.epochs, threads)
            seconds[name].append(taken)
    print(
        f"\nskip-gram, {words / options.epochs:,.0f} words × {options.epochs} epochs, {rounds} rounds, torch {torch.__version__}"
    )
    print(
        f"{'':<26}{'seconds':>9}{'words/s':>12}{'pairs/s':>12}{'neighbours':>12}{'analogies':>11}"
    )
    for name, taken in seconds.items():
        median, count = statistics.median(taken), pairs[name] or pairs["ours, 1 worker"]
        scores = group_precision(vectors[name]), analogy_accuracy(vectors[name])
        print(
            f"{name:<26}{median:>9.1f}{words / median:>12,.0f}{count / median:>12,.0f}{scores[0]:>12.3f}{scores[1]:>11.3f}"
        )
    rate = {
        name: (pairs[name] or pairs["ours, 1 worker"]) / statistics.median(taken)
        for name, taken in seconds.items()
    }
    print(
        f"ours against gensim, one core each: {rate['ours, 1 worker'] / rate['gensim, 1 worker']:.2f} times its pairs a second"
    )
    print(
        f"ours against gensim, two workers each: {rate['ours, 2 workers'] / rate['gensim, 2 workers']:.2f} times its pairs a second"
    )
    print(
        f"ours on one core against gensim on two: {rate['ours, 1 worker'] / rate['gensim, 2 workers']:.2f} times"
    )
    print(
        f"ours against the tutorial form: {rate['ours, 1 worker'] / rate['tutorial form, 2 threads']:.1f} times"
    )

    goal = (
        group_precision(vectors["gensim, 1 worker"]),
        analogy_accuracy(vectors["gensim, 1 worker"]),
    )
    for epochs in range(1, options.epochs + 1):
        taken, reached, _ = ours(sentences, epochs, 1)
        scores = group_precision(reached), analogy_accuracy(reached)
        if scores[0] >= goal[0] and scores[1] >= goal[1]:
            theirs = statistics.median(seconds["gensim, 1 worker"])
            print(
                f"at equal quality: ours reaches gensim's {options.epochs} epochs after {epochs} "
                f"({scores[0]:.3f}, {scores[1]:.3f}) in {taken:.1f} s against {theirs:.1f} s, one core each"
            )
            break
    else:
        print("at equal quality: ours does not reach gensim's scores in as many epochs")


if __name__ == "__main__":
    main()
