"""Video captioning: against a step written by hand, against its other half (mean = uniform attention), against the paper's sizes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmtutor.kit import training
from mmtutor.video_captioning import (
    Config,
    TemporalAttention,
    VideoCaptioner,
    masked_mean,
    masked_softmax,
)

V, D, F = 13, 7, 5
BOTH = pytest.mark.parametrize("pooling", ["mean", "attention"])


def small(pooling: str = "attention", **changes: object) -> Config:
    sizes = {"width": 6, "embedding": 4, "hidden": 8, "dropout": 0.0}
    sizes |= {"attention": 5} if pooling == "attention" else {}
    sizes |= {"frames": 8} if changes.get("time") != "none" else {}
    return Config.world(V, D, pooling=pooling, **{**sizes, **changes})


def model_of(pooling: str = "attention", seed: int = 0, **changes: object) -> VideoCaptioner:
    torch.manual_seed(seed)
    return VideoCaptioner(small(pooling, **changes)).eval()


def batch_of(clips: int = 3, frames: int = F, seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    captions = torch.randint(4, V, (clips, 6), generator=draw)
    captions[:, 0] = 1
    for row in range(clips):  # captions of different lengths, each with its end and its padding
        end = 2 + row % 4
        captions[row, end], captions[row, end + 1 :] = 2, 0
    return {"features": torch.randn(clips, frames, D, generator=draw), "captions": captions}


def share(mean: VideoCaptioner, attention: VideoCaptioner) -> None:
    """Give the attention model the mean model's weights wherever both have them."""
    missing = attention.load_state_dict(mean.state_dict(), strict=False)
    assert all(name.startswith("attention.") for name in missing.missing_keys)
    assert not missing.unexpected_keys


# --- the two poolings -----------------------------------------------------------------------------


def test_mean_is_attention_with_uniform_weights():
    mean, attention = model_of("mean"), model_of("attention")
    share(mean, attention)
    nn.init.zeros_(attention.attention.score.weight)  # all scores equal
    batch = batch_of() | {"mask": torch.arange(F) < torch.tensor([5, 3, 1])[:, None]}
    inputs = batch["features"], batch["captions"], batch["mask"]
    torch.testing.assert_close(attention(*inputs), mean(*inputs))
    torch.testing.assert_close(attention.attend(*inputs), mean.attend(*inputs))
    torch.testing.assert_close(attention.loss(batch), mean.loss(batch))
    assert mean.attend(*inputs)[1, 0].tolist() == pytest.approx([1 / 3] * 3 + [0, 0])


def test_attention_that_is_not_uniform_differs():
    """The test above could pass if the weights were ignored."""
    mean, attention = model_of("mean"), model_of("attention")
    share(mean, attention)
    attention.attention.score.weight.data *= 5
    batch = batch_of()
    inputs = batch["features"], batch["captions"]
    assert float((attention(*inputs) - mean(*inputs)).detach().abs().max()) > 1e-3


@BOTH
@pytest.mark.parametrize("time", ["add", "multiply", "none"])
@pytest.mark.parametrize("filler", [0.0, 1e6, math.nan, math.inf])
def test_padded_frames_change_nothing(pooling, time, filler):
    model, batch = (
        model_of(pooling, time=time, **({"penalty": 0.3} if pooling == "attention" else {})),
        batch_of(),
    )
    captions, x = batch["captions"], batch["features"]
    padded = torch.cat([x, torch.full((3, 2, D), filler)], 1)
    mask = (torch.arange(F + 2) < F).expand(3, -1)
    torch.testing.assert_close(model(padded, captions, mask), model(x, captions))
    weights = model.attend(padded, captions, mask)
    torch.testing.assert_close(weights[:, :, :F], model.attend(x, captions))
    assert not weights[:, :, F:].any()
    padded.requires_grad_()
    terms, want = (
        model.loss(b)
        for b in (
            {"features": padded, "captions": captions, "mask": mask},
            {"features": x, "captions": captions},
        )
    )
    torch.testing.assert_close(terms, want)
    (sum(terms.values()) if pooling == "attention" else terms).backward()
    assert bool(torch.isfinite(padded.grad).all())
    assert not padded.grad[:, F:].any()


@settings(max_examples=60, deadline=None)
@given(
    real=st.lists(
        st.lists(st.booleans(), min_size=4, max_size=4).filter(any), min_size=1, max_size=5
    ),
    scale=st.floats(0, 1e4),
)
def test_weights_are_a_distribution_over_real_frames(real, scale):
    mask = torch.tensor(real)
    scores = scale * torch.randn(mask.shape, generator=torch.Generator().manual_seed(len(real)))
    weights = masked_softmax(scores, mask)
    assert bool((weights >= 0).all() and (weights <= 1).all())
    assert not weights[~mask].any()
    torch.testing.assert_close(weights.sum(1), torch.ones(len(real)))
    x = torch.randn(*mask.shape, 3)
    torch.testing.assert_close(
        masked_mean(x, mask), torch.stack([row[keep].mean(0) for row, keep in zip(x, mask)])
    )


def test_without_time_the_order_of_frames_is_unknown_to_both():
    """Attention over frames is a sum over a set: it can choose frames, but it cannot know which came first."""
    batch = batch_of()
    x, captions = batch["features"], batch["captions"]
    order = torch.tensor([3, 0, 4, 1, 2])
    for pooling in ("mean", "attention"):
        model = model_of(pooling, time="none")
        torch.testing.assert_close(model(x[:, order], captions), model(x, captions))
        torch.testing.assert_close(
            model.attend(x[:, order], captions), model.attend(x, captions)[:, :, order]
        )


def test_the_mean_does_not_see_time_that_is_added_and_sees_time_that_multiplies():
    batch = batch_of()
    x, captions = batch["features"], batch["captions"]
    mean, attention, scaled = (
        model_of("mean"),
        model_of("attention"),
        model_of("mean", time="multiply"),
    )
    torch.testing.assert_close(
        mean(x.flip(1), captions), mean(x, captions)
    )  # mean(v + p) = mean(v) + mean(p)
    for model in (attention, scaled):
        assert float((model(x.flip(1), captions) - model(x, captions)).detach().abs().max()) > 1e-4


# --- one step by hand -----------------------------------------------------------------------------


def by_hand(
    model: VideoCaptioner, x: torch.Tensor, words: list[int]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The whole forward pass of one clip in plain vectors, written from the equations: logits (T, V) and weights."""
    p = {name: t.detach().double() for name, t in model.named_parameters()}
    sigmoid, n = torch.sigmoid, model.config.hidden
    frames = [p["project.weight"] @ v.double() + p["project.bias"] for v in x]
    if model.time is not None:
        added = model.config.time == "add"
        frames = [v + t if added else v * (1 + t) for v, t in zip(frames, p["time"])]
    mean = sum(frames) / len(frames)
    h = torch.tanh(p["start_h.weight"] @ mean + p["start_h.bias"])
    c = torch.tanh(p["start_c.weight"] @ mean + p["start_c.bias"])
    logits, looked = [], []
    for word in words:
        e = [
            p["attention.score.weight"][0]
            @ torch.tanh(
                p["attention.query.weight"] @ h
                + p["attention.key.weight"] @ v
                + p["attention.key.bias"]
            )
            for v in frames
        ]
        total = sum(math.exp(float(s)) for s in e)
        alpha = [math.exp(float(s)) / total for s in e]
        beta = sigmoid(p["gate.weight"][0] @ h + p["gate.bias"][0])
        context = beta * sum(a * v for a, v in zip(alpha, frames))
        y = p["embed.weight"][word]
        z = (
            p["from_word.weight"] @ y
            + p["from_word.bias"]
            + p["from_state.weight"] @ h
            + p["from_context.weight"] @ context
        )
        i, f, g, o = z[:n], z[n : 2 * n], z[2 * n : 3 * n], z[3 * n :]
        c = sigmoid(f) * c + sigmoid(i) * torch.tanh(g)
        h = sigmoid(o) * torch.tanh(c)
        readout = (
            p["read_state.weight"] @ h
            + p["read_state.bias"]
            + p["read_context.weight"] @ context
            + p["read_context.bias"]
        )
        logits.append(p["output.weight"] @ torch.tanh(readout + y) + p["output.bias"])
        looked.append(torch.tensor(alpha))
    return torch.stack(logits), looked


@pytest.mark.parametrize("time", ["add", "multiply", "none"])
def test_forward_is_the_equations(time):
    model, batch = model_of(time=time).double(), batch_of()
    x, captions = batch["features"].double(), batch["captions"]
    logits, weights = model(x, captions), model.attend(x, captions)
    for row in range(3):
        want, looked = by_hand(model, x[row], captions[row, :-1].tolist())
        torch.testing.assert_close(logits[row], want)
        torch.testing.assert_close(weights[row], torch.stack(looked).double())


def test_the_cell_is_torchs_lstm_cell():
    model = model_of("mean", time="none").double()
    batch = batch_of()
    memory, (h, c) = model.begin(batch["features"].double())
    y = model.embed(batch["captions"][:, 1])
    cell = nn.LSTMCell(4 + 6, 8).double()
    cell.weight_ih.data = torch.cat([model.from_word.weight, model.from_context.weight], 1).detach()
    cell.weight_hh.data, cell.bias_ih.data = (
        model.from_state.weight.detach(),
        model.from_word.bias.detach(),
    )
    cell.bias_hh.data.zero_()
    context = torch.sigmoid(model.gate(h)) * memory.mean
    want = cell(torch.cat([y, context], 1), (h, c))
    _, state = model.step(batch["captions"][:, 1], (h, c), memory)
    torch.testing.assert_close(state, want)


def test_loss_is_the_summed_negative_log_likelihood_and_the_penalty():
    model, batch = model_of(penalty=0.7), batch_of()
    terms = model.loss(batch)
    log_p = model(batch["features"], batch["captions"]).log_softmax(-1)
    weights = model.attend(batch["features"], batch["captions"])
    words, unseen = 0.0, 0.0
    for row, caption in enumerate(batch["captions"].tolist()):
        length = caption.index(2)  # <eos> is a word to predict, padding is not
        words -= sum(float(log_p[row, t, caption[t + 1]]) for t in range(length))
        unseen += sum((1 - float(weights[row, :length, i].sum())) ** 2 for i in range(F))
    assert float(terms["words"]) == pytest.approx(words / 3, rel=1e-5)
    assert float(terms["penalty"]) == pytest.approx(0.7 * unseen / 3, rel=1e-5)


def test_several_captions_of_a_clip_are_the_same_as_the_clip_several_times():
    model, a, b = model_of(), batch_of(seed=1), batch_of(seed=2)
    mask = torch.arange(F) < torch.tensor([5, 3, 1])[:, None]
    both = {
        "features": a["features"],
        "captions": torch.stack([a["captions"], b["captions"]], 1),
        "mask": mask,
    }
    apart = [
        model.loss({"features": a["features"], "captions": x["captions"], "mask": mask})
        for x in (a, b)
    ]
    torch.testing.assert_close(model.loss(both), sum(apart) / 2)


@BOTH
def test_steps_equal_teacher_forcing(pooling):
    model, batch = model_of(pooling), batch_of()
    mask = torch.arange(F) < torch.tensor([5, 3, 1])[:, None]
    want = model(batch["features"], batch["captions"], mask)
    memory, state = model.begin((batch["features"], mask))
    for t in range(want.shape[1]):
        logits, state = model.step(batch["captions"][:, t], state, memory)
        torch.testing.assert_close(logits, want[:, t])
    assert all(
        len(x) == 3 for x in (*memory, *state)
    )  # batch first, so that a search may repeat and reorder


def test_gradcheck():
    torch.manual_seed(0)
    attend = TemporalAttention(3, 4, 5).double()
    h, v = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in [(2, 4), (2, 3, 3)])
    mask = torch.tensor([[True, True, True], [True, True, False]])

    def context(h, v):
        weights = attend(h, attend.key(v), mask)
        return torch.einsum("bf,bfp->bp", weights, v)

    assert torch.autograd.gradcheck(context, (h, v))


def test_keys_are_computed_once_a_clip():
    model, batch, calls = model_of(), batch_of(), []
    model.attention.key.register_forward_hook(lambda *_: calls.append("key"))
    model.attention.query.register_forward_hook(lambda *_: calls.append("query"))
    model(batch["features"], batch["captions"])
    assert (calls.count("key"), calls.count("query")) == (1, batch["captions"].shape[1] - 1)


# --- sizes ----------------------------------------------------------------------------------------


def test_parameter_count_at_paper_scale():
    """The published program's layers, one bias a layer; the words' own embedding enters the readout as it is."""
    with FakeTensorMode():
        model = VideoCaptioner(Config.paper())
    n, m, d, v = 3518, 468, 1024, 20_000
    parts = {
        ("embed",): v * m,
        ("start_h", "start_c"): 2 * (d * n + n),
        ("from_word", "from_state", "from_context"): 4 * n * (m + n + d + 1),
        ("attention",): d * d + n * d + d + d + 1,
        ("gate",): n + 1,
        ("read_state", "read_context"): n * m + m + d * m + m,
        ("output",): m * v + v,
    }
    for names, count in parts.items():
        assert sum(training.parameter_count(getattr(model, name)) for name in names) == count, names
    assert list(parts.values()) == [
        9_360_000,
        7_211_900,
        70_514_792,
        4_653_057,
        3_519,
        2_126_592,
        9_380_000,
    ]
    assert training.parameter_count(model) == 103_249_860


def test_the_mean_lacks_the_attention_and_nothing_else():
    with_, without = (training.parameter_count(model_of(p)) for p in ("attention", "mean"))
    assert with_ - without == 6 * 5 + 5 + 8 * 5 + 5 + 1  # U_a, b_a, W_a, w and its bias


@BOTH
def test_paper_scale_runs_on_pretended_cuda(pooling):
    with FakeTensorMode():
        with torch.device("cuda"):
            model = VideoCaptioner(Config.paper(pooling=pooling))
        batch = {
            "features": torch.zeros(64, 28, 1024, device="cuda"),
            "captions": torch.ones(64, 30, dtype=torch.long, device="cuda"),
            "mask": torch.ones(64, 28, dtype=torch.bool, device="cuda"),
        }
        logits, terms = model(*batch.values()), model.loss(batch)
        weights = model.attend(*batch.values())
        memory, state = model.begin((batch["features"], batch["mask"]))
        step, _ = model.step(batch["captions"][:, 0], state, memory)
    assert (logits.shape, weights.shape, step.shape) == (
        (64, 29, 20_000),
        (64, 29, 28),
        (64, 20_000),
    )
    assert isinstance(terms, dict) == (pooling == "attention")  # the mean has no penalty
    terms = terms.values() if pooling == "attention" else [terms]
    assert {t.device.type for t in (logits, weights, step, *terms)} == {"cuda"}


# --- training -------------------------------------------------------------------------------------


@BOTH
def test_overfits_one_batch(pooling):
    model, batch = model_of(pooling, hidden=32, embedding=16, width=16), batch_of(6)
    assert float(model.loss(batch)) > 5
    training.fit(model, batch, epochs=150, batch_size=6, lr=0.02, progress=False)
    assert float(model.loss(batch)) < 0.1


def test_attention_learns_which_came_first_and_the_mean_cannot():
    """Two kinds of clips with the same frames: A before B, or B before A. The word to say depends on nothing else."""
    torch.manual_seed(0)
    a, b = torch.randn(2, D)
    first = torch.arange(40) % 2
    x = torch.stack([torch.stack([a, b] if f == 0 else [b, a]) for f in first]) + 0.1 * torch.randn(
        40, 2, D
    )
    data = {
        "features": x,
        "captions": torch.stack([torch.ones_like(first), 4 + first, torch.full_like(first, 2)], 1),
    }
    right = {}
    for name, (pooling, time) in {
        "attention": ("attention", "add"),
        "timeless": ("attention", "none"),
        "mean": ("mean", "add"),
    }.items():
        model = model_of(pooling, seed=5, time=time, hidden=16)
        training.fit(model, data, epochs=100, batch_size=20, lr=0.02, progress=False)
        probe = (
            x.flip(1)[:20],
            data["captions"][:20],
        )  # every clip backwards: the other word is right
        right[name] = float((model(*probe)[:, 0].argmax(1) == 5 - first[:20]).float().mean())
    assert right["attention"] == 1
    assert right["timeless"] < 0.8
    assert right["mean"] < 0.8


def test_same_seed_same_result():
    batch, states = batch_of(8), []
    for _ in range(2):
        model = model_of(dropout=0.3)
        training.fit(model, batch, epochs=3, batch_size=4, seed=5, progress=False)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_checkpoint_resumes_exactly(tmp_path):
    batch, path = batch_of(8), tmp_path / "run.pt"
    options = {"epochs": 4, "batch_size": 4, "seed": 1, "progress": False}
    whole = model_of(dropout=0.3)
    training.fit(whole, batch, **options)

    class Stop(Exception):
        pass

    broken, calls = model_of(dropout=0.3), []

    def stop(_):
        calls.append(1)
        if len(calls) == 3:
            raise Stop
        return {}

    with pytest.raises(Stop):
        training.fit(broken, batch, **options, checkpoint=path, validate=stop)
    resumed = model_of(seed=9, dropout=0.3)
    training.fit(resumed, batch, **options, checkpoint=path)
    for name, want in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], want), name


# --- bad input ------------------------------------------------------------------------------------


@BOTH
def test_one_frame_one_clip_and_the_empty_caption(pooling):
    model = model_of(pooling)
    x, empty = (
        torch.randn(1, 1, D),
        torch.tensor([[1, 2]]),
    )  # <bos> <eos>: says nothing, which is allowed
    assert torch.isfinite(model.loss({"features": x, "captions": empty}))
    assert model.attend(x, empty).tolist() == [[[1.0]]]
    assert model(x, empty).shape == (1, 1, V)


@BOTH
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"features": torch.zeros(3, 0, D)}, ValueError, "at least one frame"),
        (
            {"features": torch.zeros(0, F, D), "captions": torch.zeros(0, 4, dtype=torch.long)},
            ValueError,
            "a batch one clip",
        ),
        ({"features": torch.zeros(3, F, D + 1)}, ValueError, r"\(B, F, 7\)"),
        ({"features": torch.zeros(3, D)}, ValueError, r"\(B, F, 7\)"),
        ({"features": torch.zeros(3, F, D, dtype=torch.long)}, TypeError, "floats"),
        ({"features": [[0.0]] * 3}, TypeError, "floats"),
        ({"features": torch.full((3, F, D), math.nan)}, ValueError, "NaN"),
        ({"features": torch.full((3, F, D), -math.inf)}, ValueError, "infinity"),
        ({"features": torch.zeros(3, 9, D)}, ValueError, "config.frames"),
        (
            {"mask": torch.tensor([[True] * F, [False] * F, [True] * F])},
            ValueError,
            "clip 1 has no real frame",
        ),
        ({"mask": torch.ones(3, F)}, ValueError, "bool"),
        ({"mask": torch.ones(3, F + 1, dtype=torch.bool)}, ValueError, r"\(3, 5\)"),
        ({"captions": torch.zeros(3, 0, dtype=torch.long)}, ValueError, "at least 2"),
        ({"captions": torch.ones(3, 1, dtype=torch.long)}, ValueError, "at least 2"),
        ({"captions": torch.ones(2, 4, dtype=torch.long)}, ValueError, "3 clips but 2 captions"),
        ({"captions": torch.ones(3, 4)}, TypeError, "int64"),
        (
            {"captions": torch.tensor([[1, 5, 2], [1, 0, 0], [1, 5, 2]])},
            ValueError,
            "caption 1 is all padding",
        ),
        (
            {"captions": torch.tensor([[1, 5, 2], [1, 5, 2], [7, 5, 2]])},
            ValueError,
            "caption 2 begins with the id 7",
        ),
        (
            {"captions": torch.tensor([[1, 5, 2], [1, 0, 2], [1, 5, 2]])},
            ValueError,
            "caption 1 has <pad> before a word",
        ),
        (
            {"captions": torch.tensor([[1, 5, 2], [1, 5, 6], [1, 5, 2]])},
            ValueError,
            "caption 1 must end in its only <eos>",
        ),
        (
            {"captions": torch.tensor([[[1, 5, 2]], [[1, 5, 6]], [[1, 5, 2]]])},
            ValueError,
            "caption 1 must end in",
        ),
        ({"captions": torch.full((3, 4), V)}, ValueError, r"0\.\.12"),
        ({"captions": torch.full((3, 4), -1)}, ValueError, r"0\.\.12"),
    ],
)
def test_bad_batches(pooling, change, error, words):
    with pytest.raises(error, match=words):
        model_of(pooling).loss(batch_of() | change)


@pytest.mark.parametrize(
    "change",
    [
        {"pooling": "max"},
        {"time": "concatenate"},
        {"hidden": 0},
        {"width": -1},
        {"frames": 0},
        {"dropout": 1.0},
        {"penalty": -1.0},
        {"penalty": math.nan},
        {"penalty": math.inf},
    ],
)
def test_bad_settings(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        small(**change)


OTHER = {
    "width": 5,
    "embedding": 5,
    "hidden": 9,
    "attention": 9,
    "time": "multiply",
    "frames": 11,
    "dropout": 0.5,
}
OTHER |= {"penalty": 0.3, "features": 9, "vocabulary": 14}


@BOTH
@pytest.mark.parametrize("time", ["add", "none"])
@pytest.mark.parametrize("name", OTHER)
def test_every_setting_has_an_effect_or_is_refused(pooling, time, name):
    """Other weights or another loss; or an error that names the setting and the choice that ignores it."""
    sizes = {
        "vocabulary": V,
        "features": D,
        "width": 6,
        "embedding": 4,
        "hidden": 8,
        "dropout": 0.0,
    }
    sizes |= {"pooling": pooling, "time": time}
    ignored = {
        "attention": "pooling = 'mean'",
        "penalty": "pooling = 'mean'",
        "frames": "time = 'none'",
    }.get(name, "-")
    if ignored in (f"pooling = '{pooling}'", f"time = '{time}'"):
        with pytest.raises(ValueError, match=f"{name} = .*{ignored}"):
            Config(**{**sizes, name: OTHER[name]})
        return
    found = []
    for c in (Config(**sizes), Config(**{**sizes, name: OTHER[name]})):
        torch.manual_seed(0)
        model = VideoCaptioner(c)
        x = torch.randn(3, F, c.features, generator=torch.Generator().manual_seed(0))
        torch.manual_seed(0)
        loss = model.loss({"features": x, "captions": batch_of()["captions"]})
        loss = sum(loss.values()) if isinstance(loss, dict) else loss
        found.append((training.parameter_count(model), float(loss.detach())))
    assert found[0] != found[1]


def test_the_papers_sizes_in_every_choice():
    assert (Config.paper().penalty, Config.paper().attention) == (0.70602, 1024)
    mean = Config.paper(pooling="mean")
    assert (mean.hidden, mean.embedding, mean.vocabulary, mean.penalty) == (3518, 468, 20_000, 0.0)
    assert Config.paper(time="add").frames == 28
    assert Config.paper(penalty=0.1).penalty == 0.1
    with pytest.raises(ValueError, match=r"penalty = 0\.1 .*pooling = 'mean'"):
        Config.paper(pooling="mean", penalty=0.1)


def test_scores_may_be_asked_of_a_beginning():
    model, batch = model_of(), batch_of()
    begun = batch["captions"][:, :3].clone()
    begun[:, 1:] = 5
    assert model(batch["features"], begun).shape == (3, 2, V)
    assert model.attend(batch["features"], begun).shape == (3, 2, F)


def test_a_vocabulary_of_special_words_only():
    with pytest.raises(ValueError, match="special words"):
        Config.world(4, D)


# --- what the experiment stands on ----------------------------------------------------------------


def test_a_clip_played_backwards_is_its_frames_in_the_opposite_order():
    from mmtutor.experiments import video_captioning as experiment
    from mmtutor.world import clips

    verbs = set()
    for clip in experiment.staged("test", 60):
        turned = clips.happenings(experiment.backwards(clip))
        played = clips.happenings(clip, experiment.BACKWARDS)
        assert {h[:3] for h in turned} == {h[:3] for h in played}
        verbs |= {h.verb for h in clips.happenings(clip)}
        frames, turned = (clips.render(c, 32).frames for c in (clip, experiment.backwards(clip)))
        assert abs(frames[::-1].astype(int) - turned).mean() < 2
    assert len(verbs) >= 12


def test_a_mirrored_clip_changes_left_and_right_and_nothing_else():
    from mmtutor.experiments import video_captioning as experiment
    from mmtutor.world import clips

    sides, turned = {"left": "right", "right": "left"}, 0
    for clip in experiment.staged("test", 60):
        other = experiment.mirrored(clip)
        assert experiment.mirrored(other) == clip
        found = {h[:3] for h in clips.happenings(other)}
        wanted = set()
        for subject, verb, aim, *_ in clips.happenings(clip):
            side = verb.removeprefix("moves ")
            turned += side in sides or aim in sides
            wanted.add(
                (subject, f"moves {sides[side]}" if side in sides else verb, sides.get(aim, aim))
            )
        assert found == wanted
        for row, mirror in zip(*(clips.render(c, 64).boxes for c in (clip, other)), strict=True):
            for box, there in zip(row, mirror, strict=True):
                if any(box) and any(there):
                    x0, y0, x1, y1 = box
                    assert (
                        np.abs(np.subtract(there, (64 - x1, y0, 64 - x0, y1))).max() <= 4
                    )  # a sprite in the mirror hides others otherwise
    assert turned > 10


def test_features_in_the_mirror_are_nearer_to_what_the_network_sees_of_mirrored_pictures():
    from mmtutor.experiments import video_captioning as experiment
    from mmtutor.world import clips

    frames = np.stack(
        [
            clips.render(clip, 96, only=experiment.SEEN[:2]).frames
            for clip in experiment.staged("test", 6)
        ]
    )
    seen, real = (experiment.see(f, cache=False).float() for f in (frames, frames[:, :, :, ::-1]))
    guess = experiment.in_the_mirror(seen)
    assert torch.equal(experiment.in_the_mirror(guess), seen)
    error, before = (float((x - real).norm() / real.norm()) for x in (guess, seen))
    assert error < 0.6 * before


def test_a_turned_caption_is_true_backwards_and_the_caption_is_not():
    from mmtutor.experiments import video_captioning as experiment
    from mmtutor.world import clips

    seen = 0
    for clip in experiment.staged("test", 60):
        for caption in clips.captions(clip):
            other = experiment.turned(caption)
            if other is not None:
                assert experiment.truths([caption, other], [clip] * 2) == [True, False], (
                    caption,
                    other,
                )
                assert experiment.truths([caption, other], [clip] * 2, experiment.BACKWARDS) == [
                    False,
                    True,
                ]
                seen += 1
    assert seen > 100


def test_a_held_clip_stands_still():
    from mmtutor.experiments import video_captioning as experiment
    from mmtutor.world import clips

    held = [experiment.held(clip) for clip in experiment.staged("test", 30)]
    for clip in filter(None, held):
        assert {h.verb for h in clips.happenings(clip)} == {"stands still"}
    assert sum(clip is not None for clip in held) >= 20
