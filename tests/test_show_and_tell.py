"""Show and Tell: against an LSTM and an RNN written out by hand, against the paper's sizes, and one step at a time."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mmtutor.kit import decoding, training
from mmtutor.kit.text import caption_batches
from mmtutor.show_and_tell import CELLS, INJECT, Config, ShowAndTell

V, C, E, H = 11, 6, 4, 5
WAYS = pytest.mark.parametrize(("inject", "cell"), list(itertools.product(INJECT, CELLS)))
#: Captions of several lengths, the shortest without a word.
CAPTIONS = torch.tensor(
    [[1, 4, 5, 6, 7, 2], [1, 8, 9, 2, 0, 0], [1, 2, 0, 0, 0, 0], [1, 10, 4, 4, 2, 0]]
)


def build(inject: str = "pre", cell: str = "lstm", seed: int = 0, **changes: object) -> ShowAndTell:
    torch.manual_seed(seed)
    sizes = {"image": C, "embedding": E, "hidden": H} | changes
    model = ShowAndTell(Config(V, inject=inject, cell=cell, **sizes)).double()
    with (
        torch.no_grad()
    ):  # biases and words that matter: at the start many of them are nearly or exactly 0
        for name, p in model.named_parameters():
            p.add_(torch.randn_like(p), alpha=0.5)
            if name == "words.weight":
                p[0] = 0
    return model.eval()


def pictures(n: int = 4, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, C, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(model: ShowAndTell, picture: torch.Tensor, caption: list[int]) -> torch.Tensor:
    """The scores (T - 1, V) of one caption, gate by gate: no torch.nn, no batch. The gates lie in the order i, f, g, o."""
    w, c = dict(model.named_parameters()), model.config
    read, again = w["recurrent.weight_ih_l0"], w["recurrent.weight_hh_l0"]
    bias = w["recurrent.bias_ih_l0"] + w["recurrent.bias_hh_l0"]
    v = w["image.weight"] @ (picture / math.sqrt(c.image)) + w["image.bias"]
    h = memory = torch.zeros(c.hidden, dtype=v.dtype)
    if c.inject == "init":
        started = torch.tanh(v)
        h, memory = (
            (started[: c.hidden], started[c.hidden :]) if c.cell == "lstm" else (started, memory)
        )

    def advance(x, h, memory):
        a = read @ x + again @ h + bias
        if c.cell == "rnn":
            return torch.tanh(a), memory
        n = c.hidden
        i, f, g, o = (a[k * n : (k + 1) * n] for k in range(4))
        memory = memory / (1 + torch.exp(-f)) + torch.tanh(g) / (1 + torch.exp(-i))
        return torch.tanh(memory) / (1 + torch.exp(-o)), memory

    if c.inject == "pre":
        h, memory = advance(v, h, memory)  # what it would say now is not asked
    scores = []
    for word in caption[:-1]:
        x = w["words.weight"][word]
        h, memory = advance(torch.cat([x, v]) if c.inject == "par" else x, h, memory)
        scores.append(w["output.weight"] @ h + w["output.bias"])
    return torch.stack(scores)


# --- the computation ------------------------------------------------------------------------------


@WAYS
def test_scores_equal_a_loop_written_by_hand(inject, cell):
    model, features = build(inject, cell), pictures()
    scores = model(features, CAPTIONS)
    assert scores.shape == (4, 5, V)
    for k, caption in enumerate(CAPTIONS.tolist()):
        torch.testing.assert_close(scores[k], by_hand(model, features[k], caption))


@WAYS
def test_loss_is_minus_the_captions_log_probability(inject, cell):
    model, features = build(inject, cell), pictures()
    total, words = 0.0, 0
    for picture, caption in zip(features, CAPTIONS.tolist()):
        caption = [i for i in caption if i]
        rows = by_hand(model, picture, caption)
        for row, target in zip(rows, caption[1:]):
            total -= (row[target] - row.logsumexp(0)).item()
            words += 1
    terms = model.loss({"features": features, "captions": CAPTIONS})
    assert terms["loss"].item() == pytest.approx(total / 4)
    assert float(terms["per_word"]) == pytest.approx(total / words)
    assert not terms["per_word"].requires_grad


@WAYS
def test_all_steps_at_once_equal_one_step_at_a_time(inject, cell):
    model, features = build(inject, cell), pictures()
    scores = model(features, CAPTIONS)
    memory, state = model.begin(features)
    for t in range(CAPTIONS.shape[1] - 1):
        logits, state = model.step(CAPTIONS[:, t], state, memory)
        torch.testing.assert_close(logits, scores[:, t])
        assert all(s.shape == (4, H) for s in state)
    assert len(state) == (2 if cell == "lstm" else 1)
    assert (memory is not None) == (inject == "par")


@WAYS
def test_the_picture_changes_every_score(inject, cell):
    """The tests above would pass for a model that forgets the picture if the loop by hand forgot it too."""
    model, features = build(inject, cell), pictures().requires_grad_()
    for t in range(CAPTIONS.shape[1] - 1):
        gradient = torch.autograd.grad(model(features, CAPTIONS)[:, t].square().sum(), features)[0]
        assert bool((gradient.norm(dim=1) > 0).all())


def test_pre_inject_asks_nothing_of_the_image_step():
    """With the picture as a word in front, plain ``nn.LSTM`` gives one score more; the first of them is left out."""
    model, features = build(), pictures()
    v = model.image(features / math.sqrt(C))
    x = torch.cat([v[:, None], model.words(CAPTIONS[:, :-1])], 1)  # (B, T, E)
    scores = model.output(model.recurrent(x)[0])  # (B, T, V)
    torch.testing.assert_close(model(features, CAPTIONS), scores[:, 1:])
    assert float((model(features, CAPTIONS) - scores[:, :-1]).detach().abs().max()) > 0.01


@WAYS
def test_padding_costs_nothing(inject, cell):
    model, features = build(inject, cell), pictures()
    wide = torch.cat([CAPTIONS, torch.zeros(4, 3, dtype=torch.int64)], 1)
    for captions in (wide, CAPTIONS[:, :6]):
        together = model.loss({"features": features, "captions": captions})["loss"]
        each = [
            model.loss(
                {
                    "features": features[k : k + 1],
                    "captions": CAPTIONS[k : k + 1, : int((row != 0).sum())],
                }
            )["loss"]
            for k, row in enumerate(CAPTIONS)
        ]
        torch.testing.assert_close(together, torch.stack(each).mean())


def test_dropout_only_in_training():
    model, features = build(dropout=0.5), pictures()
    assert torch.equal(model(features, CAPTIONS), model(features, CAPTIONS))
    model.train()
    assert not torch.equal(model(features, CAPTIONS), model(features, CAPTIONS))


# --- sizes and the start --------------------------------------------------------------------------


def test_parameters_of_the_papers_sizes():
    model = ShowAndTell(Config.paper())
    parts = {
        name: training.parameter_count(getattr(model, name))
        for name in ("image", "words", "recurrent", "output")
    }
    assert parts == {
        "image": 524_800,
        "words": 5_120_000,
        "recurrent": 2_101_248,
        "output": 5_130_000,
    }
    assert training.parameter_count(model) == 12_876_048
    # The sum of the paper's matrices with one bias a gate, as papers count
    assert training.parameter_count(model) - 4 * 512 == 12_874_000


def test_init_costs_as_much_as_pre_where_the_sizes_are_equal_and_the_cell_is_plain():
    """Picture and words in one space of the size of the state: the two then differ in nothing but the place."""
    sizes = {"image": 16, "embedding": 8, "hidden": 8, "cell": "rnn"}
    count = {i: training.parameter_count(ShowAndTell(Config(V, inject=i, **sizes))) for i in INJECT}
    assert count["init"] == count["pre"]
    assert count["par"] - count["pre"] == 8 * 8  # the recurrent matrix that reads the picture


def test_training_begins_with_a_loud_picture_soft_words_and_an_open_memory():
    torch.manual_seed(0)
    model = ShowAndTell(Config(2000, image=1280, embedding=64, hidden=64))
    features = torch.randn(500, 1280)
    assert model.image(features * 1280**-0.5).std().item() == pytest.approx(2, rel=0.05)
    assert model.words.weight[1:].std().item() == pytest.approx(0.1, rel=0.05)
    assert bool((model.words.weight[0] == 0).all())
    i, f, g, o = (model.recurrent.bias_ih_l0 + model.recurrent.bias_hh_l0).detach().split(64)
    assert float(f.min()) > 2.5  # sigmoid(2.5) = 0.92
    assert all(float(other.abs().max()) < 0.5 for other in (i, g, o))


# --- training -------------------------------------------------------------------------------------


def learn(
    model: ShowAndTell, features: torch.Tensor, captions: torch.Tensor, **options: object
) -> training.History:
    settings = {"lr": 1e-2, "seed": 0, "progress": False} | options
    return training.fit(
        model, caption_batches(features.float(), captions, batch_size=2), **settings
    )


def fresh(inject: str = "pre", cell: str = "lstm", **changes: object) -> ShowAndTell:
    torch.manual_seed(0)
    return ShowAndTell(
        Config(V, image=C, embedding=8, hidden=16, inject=inject, cell=cell, **changes)
    )


@WAYS
def test_learns_four_pictures_by_heart(inject, cell):
    model, features = fresh(inject, cell), pictures().float()
    learn(model, features, CAPTIONS, epochs=60, lr=2e-2)
    assert float(model.loss({"features": features, "captions": CAPTIONS})["loss"].detach()) < 0.1
    written = [h.ids for h in decoding.greedy(model, features)]
    assert written == [tuple(i for i in caption if i > 2) for caption in CAPTIONS.tolist()]
    assert [h.ids for (h,) in decoding.beam_search(model, features, width=3, n_best=1)] == written


def test_without_the_picture_it_cannot():
    """The control of the test above: four captions and one picture four times."""
    model, features = fresh(), pictures(1).float().expand(4, -1)
    learn(model, features, CAPTIONS, epochs=60, lr=2e-2)
    assert (
        float(model.loss({"features": features, "captions": CAPTIONS})["loss"].detach())
        > math.log(4) - 0.1
    )


def test_same_seed_same_result():
    models = [fresh(dropout=0.3) for _ in range(3)]
    losses = [
        learn(m, pictures(), CAPTIONS, epochs=3, seed=s).losses["loss"]
        for m, s in zip(models, (5, 5, 6))
    ]
    assert losses[0] == losses[1] != losses[2]
    for a, b in zip(models[0].parameters(), models[1].parameters()):
        assert torch.equal(a, b)


@pytest.mark.parametrize("broken_off", [2, 5])  # within an epoch, and in the next
def test_a_checkpoint_resumes_exactly(tmp_path, broken_off):
    # steps of one length each, so that an epoch is 4 steps
    whole, broken = fresh(dropout=0.3), fresh(dropout=0.3)
    learn(whole, pictures(), CAPTIONS, epochs=3, checkpoint=tmp_path / "whole")

    class Off(Exception):
        pass

    class Cut(torch.nn.Module):
        """The same model, which dies at a step."""

        def __init__(self, model):
            super().__init__()
            self.model, self.left = model, broken_off

        def loss(self, batch):
            if self.left == 0:
                raise Off
            self.left -= 1
            return self.model.loss(batch)

    cut = Cut(broken)
    with pytest.raises(Off):
        learn(
            cut, pictures(), CAPTIONS, epochs=3, checkpoint=tmp_path / "broken", checkpoint_every=1
        )
    again = Cut(fresh(dropout=0.3))
    again.left = -1
    learn(again, pictures(), CAPTIONS, epochs=3, checkpoint=tmp_path / "broken", checkpoint_every=1)
    for a, b in zip(whole.parameters(), again.model.parameters()):
        assert torch.equal(a, b)


@WAYS
def test_forward_and_loss_on_pretended_cuda(inject, cell):
    """Every tensor that is made on the way must be on the device of the weights."""
    with FakeTensorMode(), torch.backends.cudnn.flags(enabled=False):
        with torch.device("cuda"):
            model = ShowAndTell(Config.paper(inject=inject, cell=cell))
        features = torch.zeros(64, 1024, device="cuda")
        captions = torch.ones(64, 17, dtype=torch.int64, device="cuda")
        logits, terms = (
            model(features, captions),
            model.loss({"features": features, "captions": captions}),
        )
        memory, state = model.begin(features)
        step, _ = model.step(captions[:, 0], state, memory)
    assert (logits.shape, step.shape) == ((64, 16, 10_000), (64, 10_000))
    assert {t.device.type for t in (logits, step, *state, *terms.values())} == {"cuda"}


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocabulary": 0}, "vocabulary must be at least 1"),
        ({"hidden": 0}, "hidden must be at least 1, got 0"),
        ({"inject": "merge"}, "inject must be one of .*, got 'merge'"),
        ({"cell": "gru"}, "cell must be one of .*, got 'gru'"),
        ({"dropout": 1.0}, "dropout must be in"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(ValueError, match=message):
        replace(Config(V), **change)


@WAYS
@pytest.mark.parametrize(
    "change", [{"image": 7}, {"embedding": 5}, {"hidden": 6}, {"dropout": 0.5}, {"vocabulary": 12}]
)
def test_every_setting_has_an_effect(inject, cell, change):
    """Other weights, or another loss in training."""
    config = Config(V, C, E, H, inject, cell)
    found = []
    for c in (config, replace(config, **change)):
        torch.manual_seed(0)
        model = ShowAndTell(c)
        x = torch.randn(4, c.image, generator=torch.Generator().manual_seed(0))
        torch.manual_seed(0)
        found.append(
            (
                training.parameter_count(model),
                float(model.loss({"features": x, "captions": CAPTIONS})["loss"]),
            )
        )
    assert found[0] != found[1]


@WAYS
def test_a_batch_of_one_and_half_precision_features(inject, cell):
    model, features = build(inject, cell).float(), pictures().float()
    whole, one = model(features, CAPTIONS), model(features[:1], CAPTIONS[:1])
    torch.testing.assert_close(one, whole[:1])
    half = model(features.half(), CAPTIONS)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, whole, atol=0.02, rtol=0.02)


@pytest.mark.parametrize(
    ("features", "captions", "message"),
    [
        (pictures(), CAPTIONS[:, :1], "T at least 2"),
        (pictures(), CAPTIONS[:0], "captions"),
        (pictures()[:3], CAPTIONS, "3 pictures but 4 captions"),
        (pictures()[:0], CAPTIONS[:0], "."),
        (pictures(), torch.tensor([[1, 0, 0]] * 4), "all padding"),
        (pictures(), torch.zeros(4, 3, dtype=torch.int64), "all padding"),
        (pictures()[:, :5], CAPTIONS, r"features must be a tensor \(B, 6\)"),
        (pictures()[:, :, None], CAPTIONS, r"features must be a tensor \(B, 6\)"),
        (pictures() * math.nan, CAPTIONS, "NaN"),
        (pictures() / 0, CAPTIONS, "NaN or infinity"),
        (pictures(), CAPTIONS + 5, "ids must lie in 0..10"),
        (pictures(), CAPTIONS - 1, "ids must lie in 0..10"),
        (pictures(), CAPTIONS[[0, 1, 3, 3]].fliplr(), "caption 1 has <pad> before a word"),
        (pictures(), CAPTIONS.masked_fill(CAPTIONS == 1, 4), "caption 0 begins with the id 4, not"),
    ],
)
def test_bad_batches(features, captions, message):
    model = build()
    with pytest.raises(ValueError, match=message):
        model(features, captions)
    with pytest.raises(ValueError, match=message):
        model.loss({"features": features, "captions": captions})


def test_the_loss_needs_whole_captions_and_the_scores_do_not():
    model, features, begun = build(), pictures(), CAPTIONS.clone()
    begun[3, 4] = 5  # where <eos> was
    assert torch.equal(model(features, begun)[:, :4], model(features, CAPTIONS)[:, :4])
    with pytest.raises(ValueError, match="caption 3 must end in its only <eos>"):
        model.loss({"features": features, "captions": begun})
