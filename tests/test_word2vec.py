"""Skip-gram: gradients against autograd, NCE against its closed form, vectors against gensim."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from mmtutor import word2vec as w2v
from mmtutor.kit.text import Vocabulary
from mmtutor.word2vec import Config, SkipGram, WordVectors

SMALL = Config(
    dim=8, min_count=1, epochs=2, batch=32, shared_noise=6, negatives=2, subsample=0.0, window=3
)


def toy_corpus(sentences: int = 300, seed: int = 0) -> list[list[str]]:
    """Two families of words that never meet: whoever learns anything can tell them apart."""
    rng = np.random.default_rng(seed)
    families = [[f"{name}{i}" for i in range(6)] for name in ("sea", "sky")]
    return [rng.choice(families[i % 2], size=8).tolist() for i in range(sentences)]


# --- distributions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frequency", "kept"), [(1e-3, 0.110), (1e-4, 0.416), (0.1, 0.0101), (1e-6, 1.0)]
)
def test_keep_probability_has_the_c_programs_values(frequency, kept):
    total = 10_000_000
    counts = torch.tensor([round(frequency * total), total - round(frequency * total)])
    assert w2v.keep_probability(counts, 1e-5)[0].item() == pytest.approx(kept, rel=5e-3)


def test_keep_probability_zero_threshold_keeps_all():
    assert torch.equal(w2v.keep_probability(torch.tensor([5, 1]), 0.0), torch.ones(2))


def test_noise_distribution_is_unigram_to_the_power():
    p = w2v.noise_distribution(torch.tensor([16, 1]), 0.75)
    assert p.tolist() == pytest.approx([8 / 9, 1 / 9])


def test_noise_is_drawn_from_its_distribution():
    counts = torch.tensor([400, 100, 30, 1])
    ids = torch.zeros(64, dtype=torch.long)
    config = Config(shared_noise=50_000, batch=64, subsample=0, negatives=2)
    noise = w2v.noise_distribution(counts)
    (*_, drawn) = next(
        iter(
            w2v.steps(
                ids, ids, torch.ones(4), noise.float(), config, torch.Generator().manual_seed(0)
            )
        )
    )
    share = torch.bincount(drawn, minlength=4) / 50_000
    bound = 4 * (noise * (1 - noise) / 50_000).sqrt()
    assert bool(((share - noise).abs() < bound).all())


# --- pairs ----------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    window=st.integers(1, 6),
    seed=st.integers(0, 10_000),
)
def test_bands_hold_exactly_the_pairs_of_every_sentence(lengths, window, seed):
    draw = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    ids = torch.arange(total)  # distinct words, so that a pair of ids is a pair of places
    sentence = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    size = -(-total // w2v.BLOCK) * w2v.BLOCK
    radius = torch.randint(1, window + 1, (size,), generator=draw)
    pad = (window, window + size - total)
    stream = torch.nn.functional.pad(ids, pad, value=-1)
    home = torch.nn.functional.pad(sentence, pad, value=-1)
    centre, position, mask = w2v.bands(stream, home, radius, window)
    r, s, c = torch.nonzero(mask, as_tuple=True)
    got = set(zip(centre[r, s].tolist(), stream[position][r, c].tolist()))
    want, start = set(), 0
    for n in lengths:
        part = slice(start, start + n)
        want |= {tuple(p) for p in w2v.skip_gram_pairs(ids[part], window, radius[part]).tolist()}
        start += n
    assert got == want
    assert len(r) == len(want)


def test_skip_gram_pairs_by_hand():
    pairs = w2v.skip_gram_pairs(torch.tensor([7, 8, 9]), 1)
    assert pairs.tolist() == [[7, 8], [8, 7], [8, 9], [9, 8]]


# --- losses ---------------------------------------------------------------------------------------


def test_losses_gradcheck():
    torch.manual_seed(0)
    b, k, v = 3, 4, 5
    positive = torch.randn(b, dtype=torch.float64, requires_grad=True)
    noise = torch.randn(b, k, dtype=torch.float64, requires_grad=True)
    shift = torch.randn(b, dtype=torch.float64), torch.randn(b, k, dtype=torch.float64)
    scores = torch.randn(b, v, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(w2v.negative_sampling_loss, (positive, noise))
    assert torch.autograd.gradcheck(lambda p, n: w2v.nce_loss(p, n, *shift), (positive, noise))
    assert torch.autograd.gradcheck(lambda s: w2v.softmax_loss(s, torch.tensor([0, 4, 2])), scores)


def test_negative_sampling_loss_is_binary_cross_entropy():
    torch.manual_seed(1)
    positive, noise = torch.randn(6), torch.randn(6, 3)
    logits = torch.cat([positive[:, None], noise], 1)
    target = torch.zeros_like(logits)
    target[:, 0] = 1
    want = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, target, reduction="none"
    ).sum(1)
    torch.testing.assert_close(w2v.negative_sampling_loss(positive, noise), want)


def expected_minimum(
    kind: str,
    p: torch.Tensor,
    noise: torch.Tensor,
    k: int,
    scores: torch.Tensor,
    log_z: torch.Tensor,
):
    """Minimize the exact expectation of the loss over the words of one context, by enumeration instead of sampling."""
    parameters = [t for t in (scores, log_z) if t.requires_grad]
    optimizer = torch.optim.LBFGS(
        parameters, lr=1, max_iter=500, tolerance_grad=1e-13, tolerance_change=1e-16
    )
    shift = (k * noise).log()

    def closure():
        optimizer.zero_grad()
        # Each call with one noise word gives −log σ(real) − log σ(−fake); the two halves are weighed by their own laws.
        x = scores - log_z
        none = torch.full((len(p), 0), 0.0, dtype=p.dtype)
        if kind == "nce":
            real = w2v.nce_loss(x, none, shift, none)
            both = w2v.nce_loss(x, x[:, None], shift, shift[:, None])
        else:
            real = w2v.negative_sampling_loss(x, none)
            both = w2v.negative_sampling_loss(x, x[:, None])
        loss = (p * real).sum() + k * (noise * (both - real)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)


P = torch.tensor([0.5, 0.2, 0.15, 0.1, 0.05], dtype=torch.float64)
NOISE = torch.tensor([0.3, 0.3, 0.2, 0.1, 0.1], dtype=torch.float64)


def test_nce_recovers_log_probabilities_without_a_normalizer():
    scores = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    expected_minimum("nce", P, NOISE, 3, scores, torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(scores.detach(), P.log(), atol=1e-6, rtol=0)
    assert float(scores.detach().exp().sum()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("shift", [-2.0, 0.0, 3.5])
def test_nce_recovers_the_normalizer(shift):
    """Scores that are right up to an unknown constant: the learned log Z is that constant."""
    log_z = torch.zeros((), dtype=torch.float64, requires_grad=True)
    expected_minimum("nce", P, NOISE, 3, P.log() + shift, log_z)
    assert float(log_z.detach()) == pytest.approx(shift, abs=1e-6)


def test_negative_sampling_converges_to_shifted_pmi():
    """Levy and Goldberg 2014: the best score is log p(w | c) − log(k·P_n(w)), which is no log-probability."""
    scores = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    expected_minimum("neg", P, NOISE, 3, scores, torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(scores.detach(), (P / (3 * NOISE)).log(), atol=1e-6, rtol=0)


# --- the trainer's gradients against autograd -----------------------------------------------------


class Recorder:
    """Stands in for an optimizer: adds up what the trainer hands it."""

    def __init__(self, table):
        self.total = torch.zeros_like(table)

    def step(self, ids, gradients, lr):
        self.total.index_add_(0, ids, gradients)

    def rows(self, rows, total, lr):
        self.total[rows] += total


@pytest.mark.parametrize("objective", ["negative_sampling", "nce", "softmax"])
def test_trainer_gradients_equal_autograd_of_the_plain_loss(objective):
    torch.manual_seed(0)
    v, n = 11, 4
    # With k = N every pair is charged for every shared noise word once: the plain loss with the same noise for each pair.
    config = Config(
        dim=6,
        window=2,
        negatives=n,
        shared_noise=n,
        objective=objective,
        learn_normalizer=objective == "nce",
        min_count=1,
    )
    model = SkipGram(config, torch.randint(1, 50, (v,))).double()
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) * (0.5 if parameter.requires_grad else 0)
    words = torch.randint(0, v, (64 + 4,))
    homes = torch.tensor([0] * 20 + [1] * 25 + [2] * 20 + [-1] * 3)
    radius, noise = torch.randint(1, 3, (64,)), torch.randint(0, v, (n,))

    centre, position, mask = w2v.bands(words, homes, radius, 2)
    r, s, c = torch.nonzero(mask, as_tuple=True)
    batch = {
        "centre": centre[r, s],
        "context": words[position][r, c],
        "noise": noise.expand(len(r), n),
    }
    loss = model.loss(batch) * len(r)
    loss.backward()

    updates = {name: Recorder(p.data) for name, p in model.named_parameters() if p.requires_grad}
    step = w2v.softmax_step if objective == "softmax" else w2v.sampled_step
    with torch.no_grad():
        total, pairs = step(model, updates, w2v.Step(words, homes, radius, noise), 0.1)
    assert int(pairs) == len(r)
    torch.testing.assert_close(total(), loss.detach())
    for name, recorder in updates.items():
        torch.testing.assert_close(
            recorder.total, getattr(model, name).grad, msg=lambda m, name=name: f"{name}: {m}"
        )


def test_shared_noise_is_unbiased():
    """The mean gradient over many draws of N shared words is that of k words drawn for each pair."""
    torch.manual_seed(0)
    config = Config(dim=4, window=1, negatives=3, shared_noise=2, min_count=1)
    model = SkipGram(config, torch.tensor([8, 4, 2, 1])).double()
    model.centre.data, model.context.data = torch.randn(4, 4).double(), torch.randn(4, 4).double()
    words, homes = torch.randint(0, 4, (34,)), torch.zeros(34, dtype=torch.long)
    radius = torch.ones(32, dtype=torch.long)
    law = w2v.noise_distribution(torch.tensor([8, 4, 2, 1]))
    exact = torch.zeros(4, 4, dtype=torch.float64)
    for a in range(4):  # every draw of two words, with its probability
        for b in range(4):
            recorder = {
                "centre": Recorder(model.centre.data),
                "context": Recorder(model.context.data),
            }
            with torch.no_grad():
                step = w2v.Step(words, homes, radius, torch.tensor([a, b]))
                w2v.sampled_step(model, recorder, step, 0.1)
            exact += law[a] * law[b] * recorder["centre"].total
    centre, position, mask = w2v.bands(words, homes, radius, 1)
    r, s, c = torch.nonzero(mask, as_tuple=True)
    v = model.centre[centre[r, s]]
    positive = (v * model.context[words[position][r, c]]).sum(1)
    expectation = -torch.nn.functional.logsigmoid(positive) - 3 * (
        torch.nn.functional.logsigmoid(-(v @ model.context.T)) @ law
    )
    model.zero_grad()
    expectation.sum().backward()
    torch.testing.assert_close(exact, model.centre.grad)


def test_row_adagrad_equals_torch_for_rows_of_one_number():
    torch.manual_seed(0)
    ours = torch.randn(5, 1)
    theirs = torch.nn.Parameter(ours.clone())
    optimizer = torch.optim.Adagrad([theirs], lr=0.2, eps=0)
    update = w2v.RowAdaGrad(ours)
    for _ in range(4):
        ids, gradients = torch.tensor([0, 3, 0, 4]), torch.randn(4, 1)
        theirs.grad = torch.zeros(5, 1).index_add_(0, ids, gradients)
        update.step(ids, gradients, 0.2)
        optimizer.step()
    torch.testing.assert_close(ours[[0, 3, 4]], theirs.data[[0, 3, 4]], rtol=1e-4, atol=1e-5)


def test_a_step_touches_only_its_rows_and_costs_the_same_for_any_vocabulary():
    from torch.utils.flop_counter import FlopCounterMode

    flops = []
    for v in (50, 50_000):
        torch.manual_seed(0)
        model = SkipGram(
            Config(dim=16, window=2, negatives=2, shared_noise=8), torch.ones(v, dtype=torch.long)
        )
        model.context.data.normal_()
        before = model.context.data.clone()
        updates = {
            name: w2v.RowAdaGrad(getattr(model, name).data) for name in ("centre", "context")
        }
        words, noise = torch.randint(0, 20, (68,)), torch.randint(20, 30, (8,))
        step = w2v.Step(
            words, torch.zeros(68, dtype=torch.long), torch.ones(64, dtype=torch.long), noise
        )
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            w2v.sampled_step(model, updates, step, 0.1)
        flops.append(counter.get_total_flops())
        assert torch.equal(model.context.data[30:], before[30:])
        assert not torch.equal(model.context.data[:20], before[:20])
    assert flops[0] == flops[1] > 0


# --- the model ------------------------------------------------------------------------------------


def test_parameter_counts_at_paper_shapes():
    counts = torch.ones(6719, dtype=torch.long)
    model = SkipGram(Config(dim=100), counts)
    assert (
        sum(p.numel() for p in model.parameters() if p.requires_grad) == 2 * 6719 * 100 == 1_343_800
    )
    paper = Config.paper()
    assert (paper.dim, paper.window, paper.negatives, paper.subsample) == (300, 5, 5, 1e-5)


@pytest.mark.parametrize("objective", w2v.OBJECTIVES)
def test_loss_runs_on_pretended_cuda(objective):
    model = SkipGram(Config(dim=8, objective=objective), torch.ones(20, dtype=torch.long))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        for kind in (
            model._parameters,
            model._buffers,
        ):  # a pretended GPU holds copies of the real tensors
            kind.update({name: mode.from_tensor(t).to("cuda") for name, t in kind.items()})
        ids = torch.zeros(4, dtype=torch.long, device="cuda")
        loss = model.loss({"centre": ids, "context": ids, "noise": ids[:, None].expand(4, 3)})
    assert loss.device.type == "cuda"
    assert loss.shape == ()


@pytest.mark.parametrize("objective", w2v.OBJECTIVES)
def test_training_separates_two_families(objective):
    config = Config(
        dim=8,
        min_count=1,
        epochs=30,
        batch=256,
        shared_noise=16,
        negatives=3,
        subsample=0,
        objective=objective,
    )
    vectors = w2v.train(toy_corpus(), config, progress=False).vectors
    for word in vectors.vocabulary:
        assert all(n[:3] == word[:3] for n, _ in vectors.neighbours(word, 3)), word


def test_nce_normalizes_itself():
    config = Config(
        dim=8,
        min_count=1,
        epochs=40,
        batch=256,
        shared_noise=64,
        negatives=5,
        subsample=0,
        objective="nce",
    )
    model = w2v.train(toy_corpus(), config, progress=False).model
    log_z = model.log_normalizer(torch.arange(12))
    assert float(log_z.abs().max()) < 0.25


def test_same_seed_same_vectors_other_seed_others():
    a, b, c = (
        w2v.train(toy_corpus(), SMALL, seed=s, progress=False, device="cpu").vectors.matrix
        for s in (3, 3, 4)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_training_leaves_the_global_random_state_and_the_threads_alone():
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    want = torch.rand(1)
    torch.manual_seed(5)
    w2v.train(toy_corpus(20), SMALL, progress=False)
    assert torch.equal(torch.rand(1), want)
    assert torch.get_num_threads() == threads


# --- several workers ------------------------------------------------------------------------------


def test_one_worker_trains_as_ever():
    """The plain loop, written out: same draws, same steps, same vectors to the bit."""
    config, seed = SMALL, 3
    vocabulary, ids, sentence = w2v.encode(toy_corpus(), config.min_count)
    counts = torch.tensor(vocabulary.counts)
    torch.manual_seed(seed)
    model, draw = SkipGram(config, counts), torch.Generator().manual_seed(seed)
    updates = {name: w2v.RowAdaGrad(getattr(model, name).data) for name in ("centre", "context")}
    keep, taken = w2v.keep_probability(counts, config.subsample), 0
    total = math.ceil(len(ids) / config.batch) * config.epochs
    for _ in range(config.epochs):
        for step in w2v.steps(ids, sentence, keep, model.noise, config, draw):
            with torch.no_grad():
                lr = config.lr * max(1e-3, 1 - taken / total)
                w2v.sampled_step(model, updates, step, lr)
            taken += 1
    for workers in ({}, {"workers": 1}):
        got = w2v.train(toy_corpus(), config, seed=seed, progress=False, device="cpu", **workers)
        assert torch.equal(got.model.centre.data, model.centre.data)
        assert torch.equal(got.model.context.data, model.context.data)
        assert taken == total


@pytest.mark.parametrize("objective", ["negative_sampling", "nce"])
def test_two_workers_learn_as_well_as_one(objective):
    config = Config(
        dim=8, min_count=1, epochs=40, batch=64, shared_noise=16, negatives=3, subsample=0,
        objective=objective, learn_normalizer=objective == "nce",
    )  # fmt: skip
    one, two = (
        w2v.train(toy_corpus(), config, workers=n, progress=False, device="cpu") for n in (1, 2)
    )
    assert two.pairs == one.pairs  # the same draws, whoever takes them
    assert two.steps == one.steps == list(range(0, 100 * len(one.steps), 100))
    assert two.losses[-1] == pytest.approx(one.losses[-1], abs=0.1)
    for word in two.vectors.vocabulary:
        assert all(n[:3] == word[:3] for n, _ in two.vectors.neighbours(word, 3)), word


def of_words(text):
    vocabulary = Vocabulary(text.split(), specials=())
    g = torch.Generator().manual_seed(0)
    return WordVectors(vocabulary, torch.randn(len(vocabulary), 4, generator=g))


def test_a_relation_without_a_question_and_no_question_at_all():
    from mmtutor.experiments import word2vec as experiment

    some = of_words("man woman king queen day days the of")  # one pair of days makes no question
    asked = experiment.questions(some)
    assert {name: tuple(q.shape) for name, q in asked.items() if len(q)} == {"woman to man": (2, 4)}
    assert all(q.shape == (0, 4) and q.dtype == torch.long for q in asked.values() if not len(q))
    assert experiment.analogy_ranks(some, asked["plural"]).tolist() == []
    alone = experiment.analogy_ranks(some, asked["woman to man"])
    assert experiment.analogy_accuracy(some, 2) == float((alone < 2).double().mean())
    for text in ("the of and", "man woman day days"):
        with pytest.raises(ValueError, match="two pairs of one relation"):
            experiment.analogy_accuracy(of_words(text))


def test_two_workers_reach_the_same_quality_on_a_real_text():
    from mmtutor import world
    from mmtutor.experiments.word2vec import group_precision

    sentences = world.corpus("kjv", sentences=True)[:12_000]
    one, two = (
        group_precision(
            w2v.train(
                sentences, Config.world(min_count=5), workers=n, progress=False, device="cpu"
            ).vectors
        )
        for n in (1, 2)
    )
    assert two > one - 0.04
    assert one > 0.5


def test_both_workers_work(monkeypatch):
    """Each waits for the other at its first step; alone, one of them would wait in vain."""
    import threading

    meet, seen, plain = threading.Barrier(2, timeout=100), {}, w2v.sampled_step

    def step(*arguments):
        me = threading.get_ident()
        if me not in seen:
            seen[me] = torch.get_num_threads()
            meet.wait()
        assert not torch.is_grad_enabled()
        return plain(*arguments)

    monkeypatch.setattr(w2v, "sampled_step", step)
    w2v.train(toy_corpus(), SMALL, workers=2, progress=False, device="cpu")
    assert list(seen.values()) == [1, 1]


@pytest.mark.parametrize("error", [FloatingPointError, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("in_main", [True, False])
def test_what_a_worker_raises_surfaces_and_no_thread_lives_on(monkeypatch, error, in_main):
    import threading

    plain, main, before = w2v.sampled_step, threading.get_ident(), threading.active_count()
    meet, first = threading.Barrier(2, timeout=100), set()

    def step(*arguments):
        me = threading.get_ident()
        if me not in first:
            first.add(me)
            meet.wait()  # both are at work
            if (me == main) == in_main:
                raise error("planted")
        return plain(*arguments)

    monkeypatch.setattr(w2v, "sampled_step", step)
    threads = torch.get_num_threads()
    with pytest.raises(error, match="planted"):
        w2v.train(
            toy_corpus(2000),
            Config(min_count=1, dim=8, negatives=2, subsample=0, batch=32, epochs=50),
            workers=2,
            progress=False,
            device="cpu",
        )
    assert threading.active_count() == before
    assert torch.get_num_threads() == threads


def test_a_step_size_out_of_all_bounds_is_named_by_two_workers_too():
    with pytest.raises(FloatingPointError, match="lr"):
        w2v.train(
            toy_corpus(50),
            Config(min_count=1, dim=8, lr=1e38, negatives=2, epochs=3),
            workers=2,
            progress=False,
            device="cpu",
        )


@pytest.mark.parametrize("workers", [0, -1, 9, 1.5, True, None, "2", math.nan])
def test_workers_are_a_small_whole_number(workers):
    with pytest.raises(ValueError, match="workers must be a whole number in 1…8"):
        w2v.train(toy_corpus(5), SMALL, workers=workers, progress=False)


def test_several_workers_are_for_sampled_losses_on_the_cpu():
    softmax = Config(dim=4, min_count=1, objective="softmax", negatives=2)
    with pytest.raises(ValueError, match="a step of the full softmax changes all"):
        w2v.train(toy_corpus(5), softmax, workers=2, progress=False)
    with pytest.raises(ValueError, match="workers = 2 is for the CPU, got device = 'cuda"):
        w2v.train(toy_corpus(5), SMALL, workers=2, device="cuda:0", progress=False)


def test_quality_reaches_gensim_on_the_same_corpus():
    gensim = pytest.importorskip("gensim.models")
    from mmtutor import world
    from mmtutor.experiments.word2vec import group_precision

    sentences = world.corpus("kjv", sentences=True)[:12_000]
    ours = w2v.train(sentences, Config.world(epochs=4, min_count=5), progress=False).vectors
    theirs = gensim.Word2Vec(
        sentences,
        vector_size=100,
        window=5,
        negative=5,
        sg=1,
        min_count=5,
        workers=1,
        epochs=4,
        seed=1,
    )
    peer = WordVectors(
        Vocabulary(
            {w: theirs.wv.get_vecattr(w, "count") for w in theirs.wv.index_to_key}, specials=()
        ),
        torch.tensor(np.stack([theirs.wv[w] for w in ours.vocabulary])),
    )
    assert list(peer.vocabulary) == list(ours.vocabulary)
    assert group_precision(ours) > group_precision(peer) - 0.03


# --- vectors in use -------------------------------------------------------------------------------


@pytest.fixture
def vectors() -> WordVectors:
    torch.manual_seed(0)
    return WordVectors(
        Vocabulary([f"w{i:02d}" for i in range(30)], specials=()), torch.randn(30, 7)
    )


def test_neighbours_and_analogies_equal_gensims(vectors):
    keyed = pytest.importorskip("gensim.models.keyedvectors").KeyedVectors(7)
    keyed.add_vectors(list(vectors.vocabulary), vectors.matrix.numpy())
    for got, want in [
        (vectors.neighbours("w03", 8), keyed.most_similar("w03", topn=8)),
        (
            vectors.analogy("w01", "w02", "w09", 8),
            keyed.most_similar(["w02", "w09"], ["w01"], topn=8),
        ),
    ]:
        assert [w for w, _ in got] == [w for w, _ in want]
        assert [s for _, s in got] == pytest.approx([s for _, s in want], abs=1e-5)


def test_similarity_is_the_cosine(vectors):
    a, b = vectors["w00"], vectors["w01"]
    assert vectors.similarity("w00", "w01") == pytest.approx(
        torch.cosine_similarity(a, b, dim=0).item()
    )
    assert math.isclose(float(a.norm()), 1, rel_tol=1e-5)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("corpus", "error", "words"),
    [
        ([], ValueError, "empty"),
        ([[]], ValueError, "empty"),
        ([["one"]], ValueError, "two distinct words"),
        (["only"] * 50, ValueError, "two distinct words"),
        ([["a", "b", "c"]], ValueError, "min_count"),
        ("in the beginning", TypeError, "tokenize"),
        (b"in the beginning", TypeError, "not one bytes"),
        (None, TypeError, "not NoneType"),
        (7, TypeError, "not int"),
        ({"a": 3, "b": 2}, TypeError, "not dict"),
        ({"a", "b"}, TypeError, "not set"),
        (
            [["a", "b"], "ab"],
            TypeError,
            "sentence 1 is one str, 'ab', and would fall apart into letters",
        ),
        ([["a", "b"], b"ab"], TypeError, "sentence 1 is one bytes"),
        (["a", "b", ["a", "b"]], TypeError, "word 2 of a flat list of words is a list"),
        (["a", b"b", "a"], TypeError, "word 1 of a flat list of words is a bytes"),
        (["in the beginning", "god created"], ValueError, "'in the beginning' holds several words"),
        ([b"ab", b"cd"], TypeError, "sentence 0 is one bytes"),
        ([["a", "b"], 3], TypeError, "sentence 1 is no list of words but int"),
        ([["a", "b"], None], TypeError, "sentence 1 is no list of words but NoneType"),
        ([["a", "b"], {"a", "b"}], TypeError, "sentence 1 is a set, which has no order"),
        ([["a", "b"], {"a": 1}], TypeError, "sentence 1 is a dict, which has no order"),
        ([["a", "b"], ["a", 3]], TypeError, "sentence 1 holds 3, which is no word"),
        ([["a", "b"], ["a", b"b"]], TypeError, "sentence 1 holds b'b', which is no word"),
        ([["a", "b"], ["a", ["b"]]], TypeError, r"sentence 1 holds \['b'\], which is no word"),
        ([["a", "b"], [math.nan, "b"]], TypeError, "sentence 1 holds nan, which is no word"),
    ],
)
def test_bad_corpora_are_clear_errors(corpus, error, words):
    with pytest.raises(error, match=words):
        w2v.train(corpus, Config(min_count=2), progress=False)


CORPUS = [["a", "b", "c"], ["b", "a"], [], ["c"]]


@pytest.mark.parametrize(
    "make",
    [
        lambda: iter(CORPUS),
        lambda: (tuple(s) for s in CORPUS),
        lambda: [(w for w in s) for s in CORPUS],
        lambda: ((w for w in s) for s in CORPUS),
        lambda: [np.array(s, dtype=str) for s in CORPUS],
        lambda: [map(str, s) for s in CORPUS],
        lambda: tuple(CORPUS),
    ],
)
def test_every_row_of_rows_of_words_is_the_same_corpus(make):
    want, got = w2v.encode(CORPUS, 1), w2v.encode(make(), 1)
    assert list(got[0]) == list(want[0]) == ["a", "b", "c"]
    assert torch.equal(got[1], want[1])
    assert got[1].tolist() == [0, 1, 2, 1, 0, 2]
    assert torch.equal(got[2], want[2])
    assert got[2].tolist() == [0, 0, 0, 1, 1, 3]


@pytest.mark.parametrize("make", [list, tuple, iter, np.array, lambda words: (w for w in words)])
def test_every_row_of_words_is_one_sentence(make):
    vocabulary, ids, sentence = w2v.encode(make(["a", "b", "a", " "]), 1)
    assert [vocabulary.words[i] for i in ids] == ["a", "b", "a", " "]  # letters may be the words
    assert sentence.tolist() == [0] * 4


@pytest.mark.parametrize(
    ("corpus", "changes", "words"),
    [
        ([["a"], ["b"]] * 5, {}, "no sentence has two words left .* the longest of 10 has 1"),
        ([["a", "x1"], ["x2", "b"], ["a"], ["b"]] * 1, {"min_count": 2}, r"min_count = 2"),
        ([["a", "b"]] * 50, {"subsample": 1e-12}, r"subsample = 1e-12 left no pair in 2 epochs"),
    ],
)
@pytest.mark.parametrize("objective", w2v.OBJECTIVES)
def test_without_a_pair_nothing_is_learnt_and_that_is_an_error(objective, corpus, changes, words):
    config = Config(
        **{"min_count": 1, "negatives": 2, "epochs": 2, "dim": 4, "objective": objective} | changes
    )
    with pytest.raises(ValueError, match=words):
        w2v.train(corpus, config, progress=False)


def test_more_negatives_than_words_is_an_error():
    with pytest.raises(ValueError, match="larger than the vocabulary of 2"):
        w2v.train([["a", "b"] * 10], Config(min_count=1, negatives=5), progress=False)


def test_one_sentence_of_two_words_trains():
    trained = w2v.train(
        ["a", "b"] * 3, Config(min_count=1, negatives=2, epochs=1, subsample=0), progress=False
    )
    assert bool(torch.isfinite(trained.vectors.matrix).all())
    assert trained.pairs >= 6  # every word has at least one neighbour


def test_unknown_word_names_near_spellings(vectors):
    with pytest.raises(KeyError, match="did you mean 'w01'"):
        vectors.neighbours("w01x")


@pytest.mark.parametrize("k", [0, -1, 30])
def test_k_out_of_range(vectors, k):
    with pytest.raises(ValueError, match="k must lie in 1…29"):
        vectors.neighbours("w00", k)


@pytest.mark.parametrize(
    "change", [{"dim": 0}, {"window": 0}, {"objective": "hinge"}, {"lr": 0.0}, {"subsample": -1.0}]
)
def test_bad_settings(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        Config(**change)


WHOLE = ("dim", "window", "negatives", "min_count", "epochs", "batch", "shared_noise")


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(
    "value", [0, -1, 2.0, 2.5, math.nan, math.inf, True, np.bool_(True), "2", None, [2]]
)
def test_whole_settings_must_be_whole_numbers(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, got"):
        Config(**{name: value})


@pytest.mark.parametrize("name", ["lr", "subsample", "noise_power"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "1", None, [1.0], 1j])
def test_other_settings_must_be_finite_numbers(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a finite number"):
        Config(**{name: value})


def test_numbers_of_numpy_are_numbers():
    config = Config(
        dim=np.int64(8),
        window=np.int32(3),
        lr=np.float64(0.5),
        subsample=np.float32(0),
        noise_power=1,
    )
    assert config == Config(dim=8, window=3, lr=0.5, subsample=0.0, noise_power=1.0)
    assert {type(config.dim), type(config.window)} == {int}
    assert {type(config.lr), type(config.subsample), type(config.noise_power)} == {float}


@pytest.mark.parametrize("objective", ["softmax", "negative_sampling"])
def test_a_normalizer_is_for_nce_only(objective):
    with pytest.raises(
        ValueError, match=f"learn_normalizer .* 'nce', got objective = '{objective}'"
    ):
        Config(objective=objective, learn_normalizer=True)
    assert Config(objective="nce", learn_normalizer=True).learn_normalizer
    with pytest.raises(ValueError, match="learn_normalizer must be True or False, got 1"):
        Config(objective="nce", learn_normalizer=1)


@pytest.mark.parametrize("power", [1e3, -1e3, 60.0, -60.0, math.nan, math.inf])
def test_noise_that_is_no_distribution(power):
    with pytest.raises(ValueError, match=r"count \*\* noise_power"):
        w2v.noise_distribution(torch.tensor([1, 10, 100_000]), power)


@pytest.mark.parametrize("power", [-1.0, 0.0, 0.75, 1.0, 5.0])
def test_noise_of_any_sound_power_is_a_distribution(power):
    counts = np.array([1, 10, 100_000])
    want = counts.astype(float) ** power / (counts.astype(float) ** power).sum()
    assert w2v.noise_distribution(torch.tensor(counts), power).tolist() == pytest.approx(
        want.tolist()
    )


@pytest.mark.parametrize("threshold", [math.nan, math.inf, -1e-3])
def test_keep_probability_of_a_threshold_that_is_no_frequency(threshold):
    with pytest.raises(ValueError, match="threshold must be finite and at least 0"):
        w2v.keep_probability(torch.tensor([5, 1]), threshold)


@pytest.mark.parametrize("seed", [1.5, math.nan, True, "0", None, 2**64, -(2**63) - 1])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ValueError, match="seed must be a whole number"):
        w2v.train(toy_corpus(5), SMALL, seed=seed, progress=False)


def test_a_seed_may_be_of_any_integer_type():
    a, b = (
        w2v.train(toy_corpus(5), SMALL, seed=s, progress=False).vectors.matrix
        for s in (3, np.int32(3))
    )
    assert torch.equal(a, b)


def test_settings_that_are_no_config():
    with pytest.raises(TypeError, match=r"config must be a word2vec\.Config, got dict"):
        w2v.train(toy_corpus(5), {"dim": 8}, progress=False)


def test_vectors_and_queries_that_are_no_numbers(vectors):
    with pytest.raises(ValueError, match="the vector of 'w04' holds NaN or infinity"):
        WordVectors(vectors.vocabulary, vectors.matrix.index_fill(0, torch.tensor([4]), math.nan))
    for query in (
        torch.full((7,), math.nan),
        torch.full((7,), math.inf),
        torch.zeros(6),
        torch.zeros(1, 7),
    ):
        with pytest.raises(ValueError, match=r"a query must be 7 finite numbers"):
            vectors.nearest(query)


def test_a_step_size_out_of_all_bounds_is_named():
    with pytest.raises(FloatingPointError, match="lr"):
        w2v.train(
            toy_corpus(50),
            Config(min_count=1, dim=8, lr=1e38, negatives=2, epochs=3),
            progress=False,
        )
