"""Looking to listen: against the published tables, torch.stft, torchmetrics, plain loops, and the whole recording."""

import itertools
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics.functional.audio import (
    permutation_invariant_training,
    scale_invariant_signal_distortion_ratio,
)

from mmtutor import cocktail_party as party
from mmtutor.cocktail_party import (
    AUDIO,
    ORACLES,
    CocktailParty,
    Config,
    Layer,
    Mixtures,
    best_order,
    compressed,
    frames,
    improvement,
    inverse,
    mix,
    mouths,
    oracle,
    picture_of,
    reach,
    si_sdr,
    transform,
    twin,
)
from mmtutor.kit import saving, training

TINY = Config(
    rate=800,
    window=64,
    hop=32,
    n_fft=64,
    pad=16,
    face=(3, 4),
    visual=(Layer(6, 1), Layer(5, 3, 2)),
    audio=(Layer(8, 3),),
    by_ear=(),
    dilations=(1, 3),
    width=10,
)
PAPER = {
    "window": 48,
    "n_fft": 64,
    "hop": 16,
    "pad": 0,
    "hears": "complex",
    "standard": (0.0, 1.0),
    "face": (7,),
    "audio": (Layer(4, (1, 3), (1, 1)), Layer(3, (5, 3), (2, 4))),
    "dilations": (),
    "dense": (9, 6),
    "width": 8,
    "mask": "complex",
    "bounds": None,
    "remainder": False,
    "objective": "compressed",
}
HEARD = {"visual": (), "face": ()}
#: Every kind of network there is.
WAYS = {
    "world": {},
    "complex": {"hears": "complex", "mask": "complex", "remainder": False},
    "compressed": {"objective": "compressed", "bounds": None},
    "three": {"voices": 3},
    "by ear": {"by_ear": (1, 2), "width": 8},
    "by ear, three": {"by_ear": (2,), "voices": 3, "mask": "complex", "remainder": False},
    "one face": {"voices": 1, "remainder": False},
    "paper": PAPER,
    "paper, one": {**PAPER, "voices": 1},
    "hears": HEARD,
    "hears three": {**HEARD, "voices": 3, "remainder": False},
    "hears, paper": {**PAPER, **HEARD},
    "hears one": {**HEARD, "voices": 1, "remainder": False},
}
EVERY = pytest.mark.parametrize("way", WAYS)


def build(way: str = "world", seed: int = 0, **changes: object) -> CocktailParty:
    """A small model in double precision whose batch normalisation is not the identity."""
    torch.manual_seed(seed)
    model = CocktailParty(replace(TINY, **{**WAYS[way], **changes})).double()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.running_mean.uniform_(-0.1, 0.1)
            part.running_var.uniform_(0.3, 2)
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.uniform_(-0.2, 0.5)
    return model.eval()


def waves(*shape: int, seed: int = 1) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(shape, generator=g, dtype=torch.float64) - 1) / 4


def batch_for(
    model: CocktailParty, size: int = 3, pictures: int = 12, seed: int = 1, count: int = 0
) -> dict:
    c = model.config
    count = count or (c.voices if c.voices > 1 or not c.visual else 2)
    length = pictures * c.rate // c.fps
    batch = {"sources": waves(size, count, length, seed=seed)}
    if c.visual:
        batch["faces"] = 4 * waves(size, count, pictures, *c.face, seed=seed + 1)
    return batch


def seen(batch: dict) -> tuple:
    return (batch["faces"],) if "faces" in batch else ()


def clips(count: int = 8) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Waves (C, L) and pictures (C, T, H, W, 3) of the world's people who talk."""
    from mmtutor import world
    from mmtutor.kit.arrays import column

    rows = world.load("talking_faces", "train", count, pixels=48, sample_rate=8000, seconds=2)
    wave, shown = (torch.from_numpy(np.stack(column(rows, n))) for n in ("wave", "frames"))
    return wave, shown, list(column(rows, "speaker"))


# --- the published tables -------------------------------------------------------------------------

#: Weights of a layer: kernel, bias, and the two of batch normalisation.
AUDIO_WEIGHTS = [
    96 * (2 * 7 + 3),
    96 * (96 * 7 + 3),
    *[96 * (96 * 25 + 3)] * 12,
    8 * (96 + 3),
]
VISUAL_WEIGHTS = [256 * (1024 * 7 + 3), *[256 * (256 * 5 + 3)] * 5]


def shapes(model: nn.Module, call) -> dict[str, tuple]:
    """What comes out of every part that has no parts."""
    found, handles = {}, []
    for name, part in model.named_modules():
        if isinstance(part, nn.ReLU | nn.LSTM | nn.Linear):

            def note(_, __, out, name=name):
                found[name] = tuple((out[0] if isinstance(out, tuple) else out).shape)

            handles.append(part.register_forward_hook(note))
    call()
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize(
    ("voices", "width", "total"),
    [
        (1, 400, 11_606_610),
        (2, 400, 12_325_124),
        (3, 400, 13_043_638),
        (1, 800, 16_509_010),
        (2, 800, 17_637_124),
        (3, 800, 18_765_238),
    ],
)
def test_the_published_tables(voices, width, total, monkeypatch):
    def shape_of(self, x):  # without numbers torch walks through all 298 steps, in seconds
        assert x.shape[2] == self.input_size
        return x.new_empty(*x.shape[:2], 2 * self.hidden_size), None

    monkeypatch.setattr(nn.LSTM, "forward", shape_of)
    config = Config.paper(voices, width=width)
    with torch.device("meta"):
        model = CocktailParty(config)
        assert training.parameter_count(model) == total
        if width == 800:
            return
        x, faces = torch.empty(2, 48_000), torch.empty(2, voices, 75, 1024)
        found_voices = []
        assert transform(config, x).shape == (2, 257, 298)
        found = shapes(model, lambda: found_voices.append(model(x, faces).shape))
        assert model.masks(transform(config, x), faces).shape == (2, voices, 257, 298)
    assert found_voices == [(2, voices, 48_000)]
    for i in range(15):
        assert found[f"hear.layers.{i}.2"] == (2, 96 if i < 14 else 8, 298, 257)
    for i in range(6):
        assert found[f"watch.layers.{i}.2"] == (2 * voices, 256, 75)
    assert model.trunk.lstm.input_size == 8 * 257 + 256 * voices
    assert found["trunk.lstm"] == (2, 298, width)
    assert [found[f"trunk.dense.{i}"] for i in (0, 2, 4)] == [(2, 298, 600)] * 3
    assert found["trunk.dense.6"] == (2, 298, 2 * 257 * voices)
    for stack, table in ((model.hear, AUDIO_WEIGHTS), (model.watch, VISUAL_WEIGHTS)):
        assert [training.parameter_count(layer) for layer in stack.layers] == table
    assert sum(AUDIO_WEIGHTS) == 2_835_480
    assert sum(VISUAL_WEIGHTS) == 3_478_016


def test_how_far_the_papers_streams_see():
    assert reach(Config.paper()) == (255, 65)  # 511 frames and 131 pictures
    assert 1 + sum((k[1] - 1) * d[1] for _, k, d in AUDIO) == 283  # bins


def test_the_worlds_network():
    config = Config.world()
    model = CocktailParty(config)
    batch = {"sources": 0.1 * torch.rand(2, 2, 12_800), "faces": torch.rand(2, 2, 40, 16, 24)}
    assert training.parameter_count(model) == 692_963
    assert transform(config, batch["sources"]).shape == (2, 2, 321, 40)  # a frame a picture
    assert model(batch["sources"].sum(1), batch["faces"]).shape == (2, 2, 12_800)
    assert reach(config) == (1 + 1 + 7 + 2 + 40 + 7, 4)
    assert reach(replace(config, by_ear=())) == (1 + 1 + 7, 4)


@pytest.mark.parametrize(
    "config",
    [
        *[Config.world(), Config.paper(), Config.paper(3), Config.world(voices=3), TINY],
        Config.world(by_ear=()),
    ],
    ids=["world", "paper", "paper, 3", "world, 3", "tiny", "at once"],
)
def test_the_twin_is_as_large_and_hears_only(config):
    other = twin(config)
    with torch.device("meta"):
        count, wanted = (training.parameter_count(CocktailParty(c)) for c in (other, config))
    assert count == pytest.approx(
        wanted, rel=0.05 if config == TINY else 0.004
    )  # a step of width is 0.6 %
    assert (other.visual, other.face) == ((), ())
    assert other.by_ear == ()
    assert other.dilations == (*config.by_ear, *config.dilations)  # as deep
    changed = ("visual", "face", "by_ear", "dilations", "width")
    assert replace(other, **{name: getattr(config, name) for name in changed}) == config
    for width in (other.width - 2, other.width + 2):
        with torch.device("meta"):
            near = training.parameter_count(CocktailParty(replace(other, width=width)))
        assert abs(near - wanted) >= abs(count - wanted)


# --- the spectrogram and back ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "config", [Config.world(), Config.paper(), TINY], ids=["world", "paper", "tiny"]
)
def test_the_spectrogram_is_torchs(config):
    x = waves(2, 3 * config.rate)
    found = transform(config, x)
    window = torch.hann_window(config.window, dtype=torch.float64)
    outside = config.pad + (config.n_fft - config.window) // 2
    wanted = torch.stft(
        nn.functional.pad(x, (outside, outside)),
        config.n_fft,
        config.hop,
        config.window,
        window,
        center=False,
        return_complex=True,
    )
    assert frames(config, x.shape[1]) == found.shape[-1]
    torch.testing.assert_close(found, wanted)
    with pytest.raises(ValueError, match=f"the least is {config.window - 2 * config.pad}"):
        transform(config, x[:, : config.window - 2 * config.pad - 1])
    assert transform(config, x[:, : config.window - 2 * config.pad]).shape[-1] == 1


def test_there_and_back():
    for config in (Config.world(), TINY, Config.paper()):
        for length in (config.rate, config.rate + 7 * config.hop // 5):
            x = waves(2, length)
            y = inverse(config, transform(config, x), length)
            assert y.shape == x.shape
            window = torch.hann_window(config.window, dtype=torch.float64).square()
            reached = torch.zeros(length + config.pad + config.window, dtype=torch.float64)
            for m in range(frames(config, length)):
                reached[m * config.hop : m * config.hop + config.window] += window
            reached = reached[config.pad :][:length]
            inside = reached >= 1e-3
            torch.testing.assert_close(y[:, inside], x[:, inside], atol=1e-9, rtol=0)
            assert bool((y.abs() <= x.abs() + 1e-9).all())  # the rest fades
            # the outermost 1.4 ms with pad = 0, and what is less than a hop behind the last frame
            first = 23 if config.pad == 0 else 0
            assert bool(inside[first : length - config.hop - first].all())


def test_a_frame_belongs_to_the_picture_in_its_middle():
    c = Config.world()
    assert torch.equal(picture_of(c, torch.arange(300)), torch.arange(300))
    p = Config.paper()
    for m in (0, 1, 3, 100, 297):
        middle = (m * 160 + 200) / 16_000
        near = min(range(75), key=lambda i: abs((i + 0.5) / 25 - middle))
        assert int(picture_of(p, m)) == near


def test_compression_is_of_the_magnitude():
    X = torch.complex(waves(50), waves(50, seed=2))
    Z = compressed(X, 0.3)
    torch.testing.assert_close(Z.abs(), X.abs() ** 0.3, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(Z.angle(), X.angle())
    torch.testing.assert_close(compressed(X, 1.0), X)
    zero = torch.zeros(3, dtype=torch.complex128, requires_grad=True)
    compressed(zero, 0.3).abs().square().sum().backward()
    assert bool(torch.view_as_real(zero.grad).isfinite().all())


# --- masks that know the answer -------------------------------------------------------------------


def test_oracles_by_hand():
    S = torch.tensor([3.0 + 4.0j, -1.0 + 0.0j, 0.0j, 0.0 + 2.0j])[None, :, None, None]
    S = torch.cat([S[:, :2], S[:, 2:]], 2)  # two voices (columns), two bins: (1, 2, 2, 1)
    a, b, c, d = 3 + 4j, 0j, -1 + 0j, 2j  # voice 1: a, b; voice 2: c, d
    assert S[0, :, :, 0].tolist() == [[a, b], [c, d]]
    Y1, Y2 = a + c, b + d
    wanted = {
        "binary": [[1, 0], [0, 1]],
        "ratio": [[5 / 6, 0], [1 / 6, 1]],
        "Wiener": [[25 / 26, 0], [1 / 26, 1]],
        "phase-sensitive": [[(a / Y1).real, 0], [(c / Y1).real, 1]],
        "complex": [[a / Y1, b / Y2], [c / Y1, d / Y2]],
    }
    for kind in ORACLES:
        found = oracle(kind, S)[0, :, :, 0]
        torch.testing.assert_close(found, torch.tensor(wanted[kind]).to(found.dtype))
    assert oracle("complex", S, bounds=(0, 0.1))[0, 0, 0, 0] == 0.1 + max(0, (a / Y1).imag) * 1j
    silent = torch.zeros(1, 3, 2, 2, dtype=torch.complex64)
    for kind in ORACLES:
        assert not bool(oracle(kind, silent).abs().any())


def test_no_real_mask_is_better_than_the_phase_sensitive_one():
    S = torch.complex(waves(2, 3, 5, 7), waves(2, 3, 5, 7, seed=2))
    Y = S.sum(1, keepdim=True)

    def squared(mask):
        return (mask * Y - S).abs().square()

    best = squared(oracle("phase-sensitive", S))
    for seed in range(20):
        assert bool((best <= squared(4 * waves(2, 3, 5, 7, seed=seed)) + 1e-12).all())
    for kind in ("binary", "ratio", "Wiener"):
        inside = squared(oracle("phase-sensitive", S, bounds=(0, 1)))
        assert bool((inside <= squared(oracle(kind, S)) + 1e-12).all())
        assert oracle(kind, S).sum(1).allclose(torch.ones(()).double())


@pytest.mark.parametrize("config", [Config.world(), Config.paper()], ids=["world", "paper"])
def test_the_complex_oracle_gives_the_voices_back(config):
    wave = clips()[0].view(4, 2, -1)
    mixture, sources = mix(wave, db=0.0)
    S, Y = transform(config, sources), transform(config, mixture)
    found = inverse(config, oracle("complex", S, Y) * Y[:, None], mixture.shape[1])
    inside = slice(23, -110) if config.pad == 0 else slice(None)
    assert (found - sources)[..., inside].abs().max() < 1e-4
    assert si_sdr(found[..., inside], sources[..., inside]).min() > 60


def test_the_order_of_the_oracles_in_the_world():
    wave, _, speakers = clips()
    assert len(set(speakers)) == 8
    mixture, sources = mix(wave.view(4, 2, -1), db=0.0)
    for config in (Config.world(), replace(Config.world(), hop=160, pad=240)):
        S, Y = transform(config, sources), transform(config, mixture)

        def score(kind, config=config, S=S, Y=Y, **bounds):
            voices = inverse(config, oracle(kind, S, Y, **bounds) * Y[:, None], mixture.shape[1])
            return float(improvement(voices, sources, mixture).mean())

        inside = {kind: score(kind, bounds=(0, 1)) for kind in ORACLES[3:]}
        assert score("ratio") < score("Wiener") < inside["phase-sensitive"] < inside["complex"]
        assert (
            score("binary")
            < inside["phase-sensitive"]
            < score("phase-sensitive", bounds=(-0.5, 1.5))
        )
        assert inside["complex"] + 3 < score("complex", bounds=(-1, 1))
        assert 8 < score("ratio") < 20


# --- the losses -----------------------------------------------------------------------------------


def spectra(*shape: int, seed: int = 3) -> torch.Tensor:
    return 8 * torch.complex(waves(*shape, seed=seed), waves(*shape, seed=seed + 1))


def test_identities_of_the_ratio():
    S = spectra(2, 3, 5, 7)
    Y = S.sum(1, keepdim=True)
    power = lambda X: X.abs().square().sum((-2, -1))  # noqa: E731
    floor = 1e-3 * power(Y) + 1e-8
    perfect = party.ratio(S, S, Y)
    torch.testing.assert_close(perfect, 10 * torch.log10(floor / (power(S) + floor)))
    assert bool((perfect > -40).all())
    zero = torch.zeros((), dtype=torch.float64)
    for guess in (0 * S, 2 * S, S + 1j * S):  # an error as large as the voice
        torch.testing.assert_close(party.ratio(guess, S, Y), zero.expand(2, 3), atol=1e-12, rtol=0)
    wanted = 10 * torch.log10((power(0.1 * S) + floor) / (power(S) + floor))
    torch.testing.assert_close(party.ratio(1.1 * S, S, Y), wanted)
    torch.testing.assert_close(party.ratio(9.9 * S, 9 * S, 9 * Y), wanted, atol=1e-6, rtol=0)
    silent = party.ratio(0.1 * Y, 0 * S, Y)  # what is left of a silent voice
    torch.testing.assert_close(
        silent, 10 * torch.log10(0.01 * power(Y) / floor + 1).expand(2, 3), atol=1e-6, rtol=0
    )
    assert not bool(party.ratio(0 * S, 0 * S, 0 * Y).any())


def test_the_ratio_is_the_signals():
    """Parseval: where windows add up evenly, what is lost in the spectrogram is lost in the wave."""
    config = replace(Config.world(), hop=160, pad=240)
    s, noise = waves(1, 8000), 0.1 * waves(1, 8000, seed=4)
    faint = torch.ones(8000, dtype=torch.float64)
    faint[:900] = faint[-900:] = 0  # no sound at the ends, where fewer windows reach
    s, noise = s * faint, noise * faint
    S, E = transform(config, s), transform(config, noise)
    found = party.ratio(S + E, S, S)
    snr = 10 * torch.log10(noise.square().sum() / s.square().sum() + 1e-3) - 10 * math.log10(1.001)
    assert float(found) == pytest.approx(float(snr), abs=0.1)


def test_the_compressed_loss_is_the_papers():
    """In polar form, in numpy; the mean of what the paper sums up."""
    c = Config.paper()
    guess, S = spectra(2, 3, 5, 7), spectra(2, 3, 5, 7, seed=9)
    found = party.error(c, guess, S, S)
    a, b = (np.abs(x) ** 0.3 * np.exp(1j * np.angle(x)) for x in (guess.numpy(), S.numpy()))
    np.testing.assert_allclose(found, (np.abs(a - b) ** 2).mean((-2, -1)), rtol=1e-5)
    assert not bool(party.error(c, S, S, S).any())
    pairs = party.error(c, guess[:, :, None], S[:, None], S[:, None])
    torch.testing.assert_close(pairs.diagonal(dim1=1, dim2=2), found)


@pytest.mark.parametrize("objective", party.OBJECTIVES)
@pytest.mark.parametrize("silent", [False, True])
def test_gradients_of_the_losses(objective, silent):
    c = replace(TINY, objective=objective)
    guess, S = spectra(2, 4, 3), spectra(2, 4, 3, seed=9) * (not silent)
    Y = S + spectra(2, 4, 3, seed=11)
    real = torch.view_as_real(guess).clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: party.error(c, torch.view_as_complex(x), S, Y), (real,)
    )
    for zero in (torch.zeros_like(real), torch.view_as_real(S)):
        zero = zero.clone().requires_grad_()
        party.error(c, torch.view_as_complex(zero), S, 0 * Y).sum().backward()
        assert bool(zero.grad.isfinite().all())


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_the_best_order_by_brute_force(n):
    g = torch.Generator().manual_seed(n)
    costs = torch.randn(6, n, n, generator=g)
    least, order = best_order(costs)
    for b in range(6):
        each = {
            p: sum(float(costs[b, p[j], j]) for j in range(n))
            for p in itertools.permutations(range(n))
        }
        best = min(each, key=each.get)
        assert tuple(order[b].tolist()) == best
        assert least[b].tolist() == pytest.approx([float(costs[b, best[j], j]) for j in range(n)])
    same = torch.zeros(1, n, n)
    assert best_order(same)[1].tolist() == [[*range(n)]]  # a tie changes nothing


def test_the_order_is_torchmetrics():
    voices = waves(5, 3, 400)
    mixed = torch.stack([voices[b, torch.randperm(3)] for b in range(5)]) + waves(5, 3, 400, seed=7)
    pairs = si_sdr(mixed[:, :, None], voices[:, None])  # (B, outputs, voices)
    score, order = best_order(-pairs)
    wanted, theirs = permutation_invariant_training(
        mixed, voices, scale_invariant_signal_distortion_ratio, zero_mean=True
    )
    torch.testing.assert_close(-score.mean(1), wanted.double(), atol=1e-6, rtol=0)
    assert torch.equal(order, theirs)
    arranged = mixed.take_along_dim(order[..., None], 1)
    torch.testing.assert_close(si_sdr(arranged, voices), -score)


@pytest.mark.parametrize("way", ["hears", "hears three", "hears, paper"])
def test_what_only_hears_does_not_mind_the_order(way):
    """The mean of the least costs, against all orders of the sources in turn."""
    model = build(way)
    batch = batch_for(model)
    found = model.loss(batch)["loss"]
    n, c = model.config.voices, model.config
    for order in itertools.permutations(range(n)):
        torch.testing.assert_close(
            model.loss({"sources": batch["sources"][:, list(order)]})["loss"], found
        )
    Y = transform(c, batch["sources"].sum(1))[:, None]
    S, guess = transform(c, batch["sources"]), model.masks(Y[:, 0]) * Y
    least = [
        min(
            float(party.error(c, guess[b], S[b, list(order)], Y[b]).mean().detach())
            for order in itertools.permutations(range(n))
        )
        for b in range(3)
    ]
    assert found.item() == pytest.approx(sum(least) / 3)


@pytest.mark.parametrize("way", ["world", "three", "complex", "compressed", "one face", "paper"])
def test_what_sees_keeps_the_order_of_the_faces(way):
    model = build(way)
    c, batch = model.config, batch_for(model)
    found = model.loss(batch)
    Y = transform(c, batch["sources"].sum(1))[:, None]
    guess = model.masks(Y[:, 0], batch["faces"]) * Y
    each = party.error(c, guess, transform(c, batch["sources"]), Y)
    torch.testing.assert_close(found["loss"], each.mean())
    torch.testing.assert_close(
        found["snr"], -party.ratio(guess, transform(c, batch["sources"]), Y).mean()
    )
    other = model.loss({**batch, "sources": batch["sources"].flip(1)})["loss"]
    assert (other - found["loss"]).abs().item() > 1e-6


@pytest.mark.parametrize(
    ("way", "train"),
    [
        *[("world", True), ("complex", True), ("one face", False), ("compressed", True)],
        *[("by ear", True), ("by ear, three", False)],
        *[("paper", False), ("hears three", True)],
    ],
)
def test_gradients_against_finite_differences(way, train):
    model = build(way).train(train)
    batch = batch_for(model, size=2, pictures=5)
    names, values = zip(*((n, p.detach().requires_grad_()) for n, p in model.named_parameters()))

    class Total(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, batch):
            return self.model.loss(batch)["loss"]

    def loss(*values):
        weights = {f"model.{n}": v for n, v in zip(names, values)}
        return torch.func.functional_call(Total(), weights, (batch,))

    assert torch.autograd.gradcheck(loss, values, fast_mode=True, atol=1e-4)


@EVERY
def test_every_weight_gets_a_gradient(way):
    model = build(way).train()
    model.loss(batch_for(model))["loss"].backward()
    for name, p in model.named_parameters():
        assert bool(p.grad.isfinite().all()), name
        # a bias before batch normalisation in training has none
        assert bool(p.grad.abs().sum() > 0) or name.endswith("bias"), name


# --- the masks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("voices", [2, 3])
@pytest.mark.parametrize("mask", party.MASKS)
@pytest.mark.parametrize("bounds", [None, (-0.5, 1.5), (0.0, 1.0), (-10.0, 10.0)])
@pytest.mark.parametrize("remainder", [False, True])
def test_masks_keep_their_bounds(voices, mask, bounds, remainder):
    model = build(voices=voices, mask=mask, bounds=bounds, remainder=remainder)
    parts, own = 1 + (mask == "complex"), voices - remainder
    z = 100 * waves(2, own * parts * model.config.bins, 4)
    found = model.mask(z)
    assert found.shape == (2, voices, model.config.bins, 4)
    assert found.is_complex() == (mask == "complex")
    if remainder:
        torch.testing.assert_close(found.sum(1), torch.ones_like(found[:, 0]))
    free = z.view(2, own, parts, model.config.bins, 4)
    real, turned = free[:, :, 0], free[:, :, -1]
    if bounds is not None:
        low, high = bounds
        half = (high - low) / 2
        # low … high by the logistic function, whose steepest slope is a quarter
        real = low + 2 * half * torch.sigmoid(2 * real / half)
        turned = -half + 2 * half * torch.sigmoid(2 * turned / half)
        assert low <= float(real.min()) < float(real.max()) <= high
    torch.testing.assert_close(found.real[:, :own], real)
    if mask == "complex":
        torch.testing.assert_close(found.imag[:, :own], turned)
    if bounds == (-0.5, 1.5) and mask == "real":
        torch.testing.assert_close(found[:, :own], 0.5 + z.view(2, own, -1, 4).tanh())


@EVERY
def test_mixtures_do_not_hear_each_other(way):
    model = build(way)
    batch = batch_for(model)
    x = batch["sources"].sum(1)
    every = model(x, *seen(batch))
    assert every.shape == (*batch["sources"].shape[:2], x.shape[1])
    for b in range(3):
        own = model(x[b : b + 1], *(f[b : b + 1] for f in seen(batch)))
        torch.testing.assert_close(own[0], every[b])


def test_the_parts_of_the_remainder_add_up_to_the_mixture():
    for way in ("world", "three", "hears"):
        model = build(way)
        batch = batch_for(model)
        x = batch["sources"].sum(1)
        torch.testing.assert_close(model(x, *seen(batch)).sum(1), x)


@pytest.mark.parametrize("way", ["one face", "paper, one"])
def test_one_voice_serves_any_number_of_faces(way):
    model = build(way)
    batch = batch_for(model, count=4)
    x = batch["sources"].sum(1)
    every = model(x, batch["faces"])
    assert every.shape == (3, 4, x.shape[1])
    for k in range(4):
        torch.testing.assert_close(model(x, batch["faces"][:, k : k + 1])[:, 0], every[:, k])
    wanted = torch.stack(
        [
            model.loss(
                {
                    "sources": batch["sources"][:, k : k + 1],
                    "mixture": x,
                    "faces": batch["faces"][:, k : k + 1],
                }
            )["loss"]
            for k in range(4)
        ]
    ).mean()
    torch.testing.assert_close(model.loss(batch)["loss"], wanted)


def test_faces_are_looked_at_and_the_network_that_hears_is_the_rest():
    model = build()
    batch = batch_for(model)
    x = batch["sources"].sum(1)
    found = model(x, batch["faces"])
    assert (model(x, batch["faces"].flip(1)) - found).abs().max() > 1e-3
    still = batch["faces"].mean(2, keepdim=True).expand_as(batch["faces"])
    assert (model(x, still) - found).abs().max() > 1e-3
    deaf = build("hears")  # trained on the same batches, and does not look at what is in them
    assert torch.equal(deaf.loss(batch)["loss"], deaf.loss({"sources": batch["sources"]})["loss"])


def test_missing_pictures_are_zero_and_hide_nan():
    model = build()
    batch = batch_for(model)
    there = torch.rand(3, 2, 12, generator=torch.Generator().manual_seed(0)) < 0.7
    gone = torch.where(there[..., None, None], batch["faces"], math.nan)
    zeros = torch.where(there[..., None, None], batch["faces"], 0)
    x = batch["sources"].sum(1)
    torch.testing.assert_close(model(x, gone, there), model(x, zeros))
    torch.testing.assert_close(model.separate(x, gone, there), model(x, zeros))
    torch.testing.assert_close(
        model.loss({**batch, "faces": gone, "there": there}), model.loss({**batch, "faces": zeros})
    )
    with pytest.raises(ValueError, match="if pictures are missing, say so with there"):
        model(x, gone)
    nothing = torch.zeros_like(there)  # no picture of anybody: still an answer
    assert bool(model(x, gone, nothing).isfinite().all())


@EVERY
def test_silence_is_heard(way):
    model = build(way).train()
    batch = batch_for(model)
    for silent in (slice(None), slice(0, 1)):  # all, and the first voice
        sources = batch["sources"].clone()
        sources[:, silent] = 0
        model.zero_grad()
        terms = model.loss({**batch, "sources": sources})
        terms["loss"].backward()
        assert all(bool(t.isfinite()) for t in terms.values())
        assert all(bool(p.grad.isfinite().all()) for p in model.parameters())
    quiet = 0 * batch["sources"][:, 0]
    assert not bool(model.eval()(quiet, *seen(batch)).any())


def test_integers_are_heard_as_numbers():
    model = build().float()
    batch = {n: x.float() for n, x in batch_for(model).items()}
    x = (batch["sources"].sum(1) * 30_000).to(torch.int16)
    torch.testing.assert_close(model(x, batch["faces"]), model(x.float() / 32_768, batch["faces"]))


# --- whose voice is whose -------------------------------------------------------------------------


def matching(voices: int, seed: int = 0) -> tuple[party.Match, list[torch.Tensor]]:
    """A match, and masks, a spectrogram and faces for it; short enough that all is averaged."""
    way = {2: "by ear", 3: "by ear, three"}[voices]
    model = build(way, seed)
    g = torch.Generator().manual_seed(seed)
    size, bins = 4, model.config.bins
    heard = torch.rand(size, voices, bins, 9, generator=g, dtype=torch.float64)
    if way != "by ear":
        heard = torch.complex(heard, heard.flip(1) - 0.5)
    Y = torch.randn(size, bins, 9, generator=g, dtype=torch.complex128)
    faces = torch.randn(size, voices, 5, 9, generator=g, dtype=torch.float64)
    return model.match, [heard, Y, faces]


@pytest.mark.parametrize("voices", [2, 3])
def test_a_match_by_plain_loops(voices):
    match, (heard, Y, faces) = matching(voices)
    scores = match.scores(heard, Y, faces)
    assert scores.shape == (4, voices, voices, 9)
    # the evidence of all frames, as each of 9 sees 40 to either side
    torch.testing.assert_close(scores, scores[..., :1].expand_as(scores))
    wanted = torch.zeros_like(heard)
    for b in range(4):
        orders = [*itertools.permutations(range(voices))]
        sums = [
            sum(float(scores[b, order[face], face, 0]) for face in range(voices))
            for order in orders
        ]
        total = sum(map(math.exp, sums))
        for order, one in zip(orders, sums):
            wanted[b] += math.exp(one) / total * heard[b, list(order)]
    torch.testing.assert_close(match(heard, Y, faces), wanted)
    torch.testing.assert_close(match(heard, Y, faces).sum(1), heard.sum(1))


@pytest.mark.parametrize("voices", [2, 3])
def test_a_match_follows_the_faces_and_does_not_mind_the_order_of_the_voices(voices):
    match, (heard, Y, faces) = matching(voices)
    found = match(heard, Y, faces)
    torch.testing.assert_close(match(heard.roll(1, 1), Y, faces), found)
    torch.testing.assert_close(match(heard, Y, faces.roll(1, 1)), found.roll(1, 1))
    torch.testing.assert_close(  # faces that do the same tell nothing
        match(heard, Y, faces[:, :1].expand_as(faces)),
        heard.mean(1, keepdim=True).expand_as(heard),
    )
    match.evidence.weight.data *= 1e6  # certain: one of the orders
    found = match(heard, Y, faces)
    for b in range(4):
        orders = itertools.permutations(range(voices))
        assert any(torch.allclose(found[b], heard[b, list(order)]) for order in orders)


def test_whose_voice_it_is_counts_for_a_while_and_no_longer():
    match, _ = matching(2)
    assert match.around == 40
    g = torch.Generator().manual_seed(1)
    heard = torch.rand(1, 2, 33, 200, generator=g, dtype=torch.float64)
    Y = torch.randn(1, 33, 200, generator=g, dtype=torch.complex128)
    faces = torch.randn(1, 2, 5, 200, generator=g, dtype=torch.float64)
    other = faces.clone()
    other[..., 100] += 1
    changed = (match.scores(heard, Y, faces) - match.scores(heard, Y, other)).abs().amax((0, 1, 2))
    assert changed.nonzero()[:, 0].tolist() == [*range(58, 143)]  # 2 of the convolutions, 40


@pytest.mark.parametrize("way", ["by ear", "by ear, three"])
@pytest.mark.parametrize("objective", party.OBJECTIVES)
def test_the_loss_by_ear_is_of_three_masks(way, objective):
    model = build(way, objective=objective)
    batch = batch_for(model)
    S, Y = (transform(model.config, x) for x in (batch["sources"], batch["sources"].sum(1)))
    masks, named, heard = model.stages(Y, batch["faces"])
    assert torch.equal(masks, model.masks(Y, batch["faces"]))
    orders = [list(o) for o in itertools.permutations(range(model.config.voices))]

    def three(kind):
        def of(m):
            return kind(m * Y[:, None], S, Y[:, None]).mean(1)

        every = torch.stack([of(heard[:, o]) for o in orders])  # (N!, B)
        return of(masks), every.amin(0), of(named)

    last, first, third = (x.mean() for x in three(lambda *parts: party.error(model.config, *parts)))
    found = model.loss(batch)
    wanted = last + model.config.by_ear_weight * (first + third)
    torch.testing.assert_close(found["loss"], wanted)
    if objective == "ratio":
        for name, own in zip(("snr", "heard", "named"), (last, first, third)):
            torch.testing.assert_close(found[name], -own.detach())
    else:  # in decibels all the same; the order is the one that costs least
        last, first, third = (x.mean() for x in three(party.ratio))
        torch.testing.assert_close(found["snr"], -last.detach())
        torch.testing.assert_close(found["named"], -third.detach())
        assert found["heard"] <= -first + 1e-9
    assert not any(found[name].requires_grad for name in ("snr", "heard", "named"))


@pytest.mark.parametrize("mask", party.MASKS)
@pytest.mark.parametrize("remainder", [False, True])
@pytest.mark.parametrize("bounds", [None, (-0.5, 1.5)])
def test_the_trunk_begins_with_what_was_heard(mask, remainder, bounds):
    """A trunk that says nothing leaves the masks by ear as they are, but for the bend at the bounds."""
    model = build("by ear", mask=mask, remainder=remainder, bounds=bounds)
    model.trunk.last[-1].weight.data.zero_()
    model.trunk.last[-1].bias.data.zero_()
    named = 0.5 + 0.05 * waves(2, 1, 33, 7)
    named = torch.complex(named, named - 0.5) if mask == "complex" else named
    named = torch.cat([named, 1 - named], 1)
    found = model.mask(model.start(named))
    torch.testing.assert_close(found, named, atol=1e-6 if bounds else 1e-12, rtol=0)


# --- long recordings ------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [way for way in WAYS if not WAYS[way].get("dense")])
@settings(max_examples=5)
@given(pictures=st.integers(3, 90), more=st.integers(0, 31), keep=st.integers(1, 40))
def test_in_windows_as_in_one_piece(way, pictures, more, keep):
    model = build(way)
    batch = batch_for(model, size=2, pictures=pictures)
    x = torch.cat([batch["sources"].sum(1), waves(2, 32)[:, :more]], 1)
    found = model.separate(x, *seen(batch), seconds=keep / 25)
    torch.testing.assert_close(found, model(x, *seen(batch)), atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("way", ["paper", "paper, one", "hears, paper"])
def test_a_blstm_in_windows_away_from_the_seams(way):
    """What an LSTM remembers fades; with a margin of a second nothing is left of it here."""
    model = build(way)
    batch = batch_for(model, size=1, pictures=250)
    x = batch["sources"].sum(1)
    with torch.no_grad():
        whole = model(x, *seen(batch))
    found = model.separate(x, *seen(batch), seconds=2)
    near = model.separate(x, *seen(batch), seconds=2, margin=0)
    scale = float(whole.abs().max())
    assert float((found - whole).abs().max()) < 1e-5 * scale
    assert float((near - whole).abs().max()) > 1e-3 * scale  # without a margin one hears the seams
    middle = slice(700, 900)  # of each 1600 samples, and nothing else
    seams = (near - whole).unflatten(2, (5, -1))
    assert float(seams[..., middle].abs().max()) < 1e-5 * scale
    assert torch.equal(model.separate(x, *seen(batch), seconds=60), whole)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that is made."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.numbers = max(self.numbers, out.numel())
        return out


def test_ten_minutes_in_little_memory():
    torch.manual_seed(0)
    config = Config.world(width=16, dilations=(1, 2, 4))
    model = CocktailParty(config).eval()
    length, pictures = 600 * 8000, 600 * 25
    x = 0.2 * torch.rand(1, length) - 0.1
    faces = torch.rand(1, 1, 500, 16, 24).repeat(1, 2, 30, 1, 1)
    with Largest() as made:
        found = model.separate(x, faces, rate=8000, fps=25)
    assert found.shape == (1, 2, length)
    assert made.numbers <= 2 * (length + 1000)  # the result itself
    window = 200 + 2 * reach(config)[0]
    with Largest() as made, torch.no_grad():
        whole = model(x[:, : 60 * 8000], faces[:, :, : 60 * 25])
    assert made.numbers > 2 * 321 * 1500 * 0.99  # an hour would not fit
    assert 2 * 321 * window * 2 < 60 * 8000
    torch.testing.assert_close(found[..., : 57 * 8000], whole[..., : 57 * 8000], atol=1e-5, rtol=0)
    for second in (123, 599):  # far inside, and at the end
        first = max(0, second - 8)
        part = model(
            x[:, first * 8000 : (second + 8) * 8000], faces[:, :, first * 25 : (second + 8) * 25]
        ).detach()
        at = slice((second - first) * 8000, (second - first + 1) * 8000)
        torch.testing.assert_close(
            part[..., at], found[..., second * 8000 : (second + 1) * 8000], atol=1e-5, rtol=0
        )
    assert pictures == faces.shape[2]


# --- mixtures -------------------------------------------------------------------------------------


def rms(x: torch.Tensor) -> torch.Tensor:
    return x.square().mean(-1).sqrt()


def test_mixing_at_a_stated_level():
    sources = waves(4, 3, 500) * torch.tensor([1.0, 0.3, 0.02]).double()[:, None]
    mixture, voices = mix(sources, db=0.0)
    torch.testing.assert_close(mixture, voices.sum(1))
    torch.testing.assert_close(rms(voices), rms(voices[:, :1]).expand(4, 3))
    assert torch.equal(voices[:, 0], sources[:, 0])
    db = torch.tensor([[6.0, -3.0]] * 4, dtype=torch.float64)
    _, voices = mix(sources, db=db)
    torch.testing.assert_close(20 * torch.log10(rms(voices[:, :1]) / rms(voices[:, 1:])), db)
    noise = waves(4, 500, seed=8)
    level = torch.tensor([0.0, 5.0, 10.0, 20.0], dtype=torch.float64)
    mixture, voices = mix(sources, 0.0, noise, level)
    left = mixture - voices.sum(1)
    torch.testing.assert_close(20 * torch.log10(rms(voices[:, 0]) / rms(left)), level)
    torch.testing.assert_close(left / rms(left)[:, None], noise / rms(noise)[:, None])
    mixture, voices = mix(sources, noise=0.3 * noise)  # the paper's
    torch.testing.assert_close(mixture, sources.sum(1) + 0.3 * noise)
    assert torch.equal(voices, sources)
    mixture, voices = mix(sources[:, :1], noise=noise, noise_db=0.0)  # one voice beside noise
    torch.testing.assert_close(rms(mixture - voices[:, 0]), rms(voices[:, 0]))


def test_loud_mixtures_are_made_fainter_as_one_and_silence_stays():
    sources = 4 * waves(2, 2, 300)
    mixture, voices = mix(sources, db=0.0)
    assert float(mixture.abs().max()) == pytest.approx(1)
    torch.testing.assert_close(mixture, voices.sum(1))
    torch.testing.assert_close(rms(voices[:, 0]), rms(voices[:, 1]))
    for k in (0, 1):
        quiet = waves(2, 2, 300)
        quiet[:, k] = 0
        mixture, voices = mix(quiet, db=3.0)
        assert torch.equal(voices, quiet)
        assert torch.equal(mixture, quiet[:, 1 - k])


def people(count: int = 12, speakers: int = 5, pictures: int = 20) -> dict:
    """Clips whose samples and pictures say which clip it is, and when."""
    length = pictures * 32
    when = torch.arange(length) / length
    shown = (torch.arange(pictures) / pictures)[None, :, None, None].expand(count, -1, 3, 4)
    return {
        "waves": ((torch.arange(count)[:, None] + 1 + when / 2) / 16).float(),
        "faces": (torch.arange(count)[:, None, None, None] + 1 + shown / 2).float() / 16,
        "speaker": torch.arange(count) % speakers,
    }


@pytest.mark.parametrize("voices", [1, 2, 3])
def test_mixtures_are_of_different_speakers_and_in_step(voices):
    known = people()
    data = Mixtures(TINY, **known, voices=voices, seconds=0.4, db=None)
    torch.manual_seed(0)
    rows = [*range(12)] * 20
    items = data.__getitems__(rows)
    assert len(data) == 12
    starts = set()
    for first, item in zip(rows, items):
        assert item["sources"].shape == (voices, 320)
        assert item["faces"].shape == (voices, 10, 3, 4)
        scale = (item["faces"][:, 0, 0, 0] / item["sources"][:, 0]).mean()  # made fainter
        clip, start = (item["sources"][:, 0] * scale * 16 - 1), item["faces"][:, 0, 0, 0] * 16 - 1
        torch.testing.assert_close(clip, start, atol=1e-3, rtol=0)  # begin at the same moment
        who = (clip + 1e-3).floor().long()
        assert who[0] == first
        assert len({int(data.speaker[w]) for w in who}) == voices
        starts |= set(((start - who) * 2 * 20).round().long().tolist())
        torch.testing.assert_close(item["mixture"], item["sources"].sum(0))
    assert starts == set(range(11))  # the last begins at picture 10
    partners = torch.stack([data.partners(torch.arange(12)) for _ in range(300)])
    if voices > 1:
        met = torch.bincount(
            partners[:, 0, 1], minlength=12
        )  # of clip 0, whose speaker has 0, 5, 10
        assert met[[0, 5, 10]].tolist() == [0, 0, 0]
        assert int(met[met > 0].min()) > 15


def test_levels_and_noise_are_drawn():
    known = people()
    known["waves"] = waves(12, 640)
    torch.manual_seed(0)
    noise = waves(3, 1000, seed=5)
    data = Mixtures(TINY, **known, seconds=0.4, db=(-3.0, 9.0), noise=noise, noise_db=(0.0, 2.0))
    items = data.__getitems__([*range(12)] * 10)
    sources = torch.stack([item["sources"] for item in items])
    left = torch.stack([item["mixture"] for item in items]) - sources.sum(1)
    db = 20 * torch.log10(rms(sources[:, 0]) / rms(sources[:, 1]))
    beside = 20 * torch.log10(rms(sources[:, 0]) / rms(left))
    assert -3 <= float(db.min()) < -2
    assert 8 < float(db.max()) <= 9
    assert -0.01 <= float(beside.min()) < float(beside.max()) <= 2.01
    again = Mixtures(TINY, **known, seconds=0.4)
    torch.manual_seed(3)
    one = again[4]
    torch.manual_seed(3)
    assert torch.equal(again[4]["mixture"], one["mixture"])
    assert not torch.equal(again[4]["mixture"], one["mixture"])


# --- mouths ---------------------------------------------------------------------------------------


def test_mouths_by_hand():
    g = torch.Generator().manual_seed(0)
    shown = torch.randint(0, 256, (2, 5, 48, 48, 3), generator=g, dtype=torch.uint8)
    cut = shown[:, :, 28:44, 12:36].double() / 255
    grey = 0.299 * cut[..., 0] + 0.587 * cut[..., 1] + 0.114 * cut[..., 2]
    wanted = grey - grey.mean(1, keepdim=True)
    found = mouths(shown)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, atol=1e-6, rtol=0)
    large = shown.repeat_interleave(2, 2).repeat_interleave(2, 3)  # the same at 96 pixels
    torch.testing.assert_close(mouths(large), found, atol=1e-6, rtol=0)
    there = torch.tensor([[True, False, True, True, False], [False] * 5])
    found = mouths(shown, there)
    kept = grey[0, [0, 2, 3]]
    torch.testing.assert_close(found[0, [0, 2, 3]].double(), kept - kept.mean(0), atol=1e-6, rtol=0)
    assert not bool(found[0, [1, 4]].any())
    assert not bool(found[1].any())


def test_the_box_holds_the_worlds_mouths():
    """Below the eyes, which blink, all that moves is in the box."""
    _, shown, _ = clips()
    moved = (shown[:, 1:].float() - shown[:, :-1].float()).square().sum(-1)  # (C, T, 48, 48)
    below = moved[:, :, 30:].sum((1, 2, 3))
    inside = moved[:, :, 30:44, 12:36].sum((1, 2, 3))
    assert float((inside / below).min()) > 0.98


# --- the score ------------------------------------------------------------------------------------


def test_si_sdr_is_torchmetrics():
    voice = waves(4, 3, 900)
    for noise in (1e-3, 0.1, 1.0, 10.0):
        guess = voice + noise * waves(4, 3, 900, seed=2) + 0.05
        wanted = scale_invariant_signal_distortion_ratio(guess, voice, zero_mean=True)
        close = {"atol": 1e-3 if noise == 1e-3 else 1e-5, "rtol": 0}  # ours ends at 100 dB
        torch.testing.assert_close(si_sdr(guess, voice), wanted, **close)
        torch.testing.assert_close(si_sdr(3 * guess - 1, 0.1 * voice + 1), wanted, **close)
    mixture = voice.sum(1)
    gain = improvement(guess, voice, mixture)
    before = scale_invariant_signal_distortion_ratio(
        mixture[:, None].expand(-1, 3, -1), voice, True
    )
    torch.testing.assert_close(gain, wanted - before, atol=1e-4, rtol=0)


def test_the_ends_of_si_sdr():
    voice = waves(2, 500)
    torch.testing.assert_close(si_sdr(voice, voice), torch.full((2,), 100.0).double())
    assert si_sdr(-2 * voice, voice).tolist() == pytest.approx([100, 100])
    assert si_sdr(0 * voice, voice).tolist() == [-100, -100]
    one, other = torch.tensor([1.0, -1, 1, -1]), torch.tensor([1.0, 1, -1, -1])
    assert float(si_sdr(one, other)) == pytest.approx(-100)
    assert float(si_sdr(other + 0.1 * one, other)) == pytest.approx(20)
    with pytest.raises(ValueError, match="a silent voice has no SI-SDR"):
        si_sdr(voice, torch.stack([voice[0], 0 * voice[0]]))
    with pytest.raises(ValueError, match="NaN"):
        si_sdr(voice * math.nan, voice)
    with pytest.raises(ValueError, match="differ in length"):
        si_sdr(voice[:, 1:], voice)


# --- training -------------------------------------------------------------------------------------


def fresh(way: str = "world", seed: int = 0) -> CocktailParty:
    torch.manual_seed(seed)
    return CocktailParty(replace(TINY, **WAYS[way]))


def lesson(model: CocktailParty, size: int = 4) -> dict[str, torch.Tensor]:
    return {n: x.float() for n, x in batch_for(model, size).items()}


def tones(model: CocktailParty, size: int = 4) -> dict[str, torch.Tensor]:
    """Voices of one tone each, which come and go with the mouths."""
    c, pictures = model.config, 12
    batch = lesson(model, size)
    count = batch["sources"].shape[1]
    g = torch.Generator().manual_seed(5)
    speaks = (torch.rand(size, count, pictures, generator=g) < 0.6).float()
    hz = 40 + 300 * torch.rand(size, count, 1, generator=g)
    t = torch.arange(pictures * 32) / c.rate
    batch["sources"] = 0.2 * torch.sin(2 * math.pi * hz * t) * speaks.repeat_interleave(32, 2)
    return batch


@pytest.mark.parametrize("way", ["world", "by ear", "paper", "hears"])
def test_overfits_one_batch(way):
    model = fresh(way)
    batch = tones(model)
    before = {n: x.item() for n, x in model.loss(batch).items()}
    options = {"lr": 2e-2, "clip": 20.0, "warmup": 5, "progress": False}
    training.fit(model, batch, epochs=50, batch_size=4, **options)
    after = {n: x.item() for n, x in model.train().loss(batch).items()}
    if way == "paper":
        assert after["loss"] < 0.35 * before["loss"]
    else:
        assert after["snr"] > max(6, before["snr"] + 4)


def test_same_seed_same_result():
    def run(seed: int) -> torch.Tensor:
        model = fresh(seed=seed)
        data = Mixtures(TINY, **{**people(), "waves": waves(12, 640).float()}, seconds=0.4)
        training.fit(model, data, epochs=2, batch_size=5, seed=seed, progress=False)
        return torch.cat([x.flatten() for x in model.state_dict().values()])

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_a_checkpoint_resumes_exactly(tmp_path):
    """With mixtures drawn anew, the same ones after the break."""
    options = {"epochs": 3, "batch_size": 5, "progress": False, "checkpoint_every": 1}

    class Off(Exception):
        pass

    class Cut(nn.Module):
        """The same model, which dies at a step."""

        def __init__(self, left: int) -> None:
            super().__init__()
            self.model, self.left = fresh(), left

        def loss(self, batch):
            if self.left == 0:
                raise Off
            self.left -= 1
            return self.model.loss(batch)

    data = Mixtures(TINY, **{**people(), "waves": waves(12, 640).float()}, seconds=0.4)
    whole, again = Cut(-1), Cut(-1)
    training.fit(whole, data, **options)
    with pytest.raises(Off):
        training.fit(Cut(5), data, checkpoint=tmp_path / "c", **options)
    training.fit(again, data, checkpoint=tmp_path / "c", **options)
    for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@EVERY
def test_a_saved_model_hears_as_before(way, tmp_path):
    model = build(way)
    saving.save(model, tmp_path, people=["Ann", "Bo"])
    again, more = saving.load(CocktailParty, tmp_path)
    assert (again.config, more) == (model.config, {"people": ["Ann", "Bo"]})
    assert isinstance(again.config.audio[0], Layer)
    batch = batch_for(model)
    x = batch["sources"].sum(1)
    assert torch.equal(again.separate(x, *seen(batch)), model.separate(x, *seen(batch)))


@pytest.mark.parametrize("way", ["world", "by ear"])
def test_mixed_precision(way):
    model = fresh(way).train()
    batch = lesson(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model.loss(batch)["loss"]
    torch.testing.assert_close(mixed.float(), model.loss(batch)["loss"], atol=0.2, rtol=0)
    half = {**batch, "faces": batch["faces"].half()}
    torch.testing.assert_close(
        model.loss(half)["loss"], model.loss(batch)["loss"], atol=1e-2, rtol=0
    )


def test_the_worlds_clips_fit():
    wave, shown, speakers = clips()
    who = torch.tensor([sorted(set(speakers)).index(name) for name in speakers])
    config = Config.world(width=24)
    data = Mixtures(config, wave, mouths(shown), who)
    model = CocktailParty(config)
    training.fit(model, data, epochs=1, batch_size=4, progress=False)
    mixture, sources = mix(wave.view(4, 2, -1), db=0.0)
    found = model.separate(mixture, mouths(shown).view(4, 2, 50, 16, 24), rate=8000, fps=25)
    assert found.shape == sources.shape
    assert bool(improvement(found, sources, mixture).isfinite().all())
    three = Mixtures(Config.world(voices=3), wave, mouths(shown), who, seconds=1.0)
    assert three[0]["faces"].shape == (3, 25, 16, 24)


# --- devices --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "pictures"),
    [
        (Config.world(), 40),
        (Config.world(voices=3, mask="complex"), 40),
        (twin(Config.world(voices=3)), 40),
        (Config.world(voices=1, mask="complex", hears="complex"), 40),
        (Config.paper(3, bounds=(-1.0, 1.0)), 3),
    ],
    ids=["world", "three", "twin", "one", "paper"],
)
def test_on_a_pretended_gpu(config, pictures):
    n = config.voices
    with FakeTensorMode(), torch.backends.cudnn.flags(enabled=False):
        with torch.device("cuda"):
            model = CocktailParty(config)
        length = pictures * config.rate // config.fps
        sources = torch.zeros(2, n, length, device="cuda")
        mixture, sources = mix(sources, 0.0, torch.zeros(2, length, device="cuda"), 5.0)
        batch, shown = {"sources": sources, "mixture": mixture}, ()
        if config.visual:
            shown = (
                torch.zeros(2, n, pictures, *config.face, device="cuda"),
                torch.ones(2, n, pictures, dtype=torch.bool, device="cuda"),
            )
            batch |= dict(zip(("faces", "there"), shown))
        found = [*model.loss(batch).values(), model(mixture, *shown), mixture, sources]
        found.append(model.eval().separate(mixture, *shown))
        S = transform(config, sources)
        found += [oracle(kind, S) for kind in ORACLES]
        found += [si_sdr(sources, sources), *best_order(torch.zeros(2, n, n, device="cuda"))]
        faces = torch.zeros(2, 5, 48, 48, 3, dtype=torch.uint8, device="cuda")
        found.append(mouths(faces, torch.ones(2, 5, dtype=torch.bool, device="cuda")))
    assert {t.device.type for t in found} == {"cuda"}


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"voices": 0}, "voices must be 1 to 5"),
        ({"voices": 6}, "voices must be 1 to 5"),
        ({"voices": 1}, "one voice leaves no other"),
        ({"rate": 0}, "must be at least 1"),
        ({"width": 0}, "must be at least 1"),
        ({"hop": 64}, "need hop < window"),
        ({"window": 66}, "window <= n_fft"),
        ({"pad": 33}, "pad <= window / 2"),
        ({"window": 63}, "must be even"),
        ({"hears": "phase"}, "hears must be one of"),
        ({"mask": "binary"}, "mask must be one of"),
        ({"objective": "l1"}, "objective must be one of"),
        ({"compression": 0.0}, r"in \(0, 1\]"),
        ({"standard": (0.0, 0.0)}, "its factor not 0"),
        ({"standard": (math.nan, 1.0)}, "standard must be finite"),
        ({"face": ()}, "face must have a size"),
        ({"visual": ()}, "be \\(\\) if there are none"),
        ({"face": (0,)}, "face must have a size"),
        ({"audio": ()}, "audio needs a layer"),
        ({"visual": (Layer(3, (3, 3)),)}, "visual kernels are one number"),
        ({"audio": (Layer(3, 3), Layer(3, (3, 3)))}, "all be numbers"),
        ({"audio": (Layer(3, 4),)}, "kernels odd"),
        ({"audio": (Layer(0, 3),)}, "at least 1"),
        ({"dilations": (0,)}, "must be at least 1"),
        ({"by_ear": (0,)}, "must be at least 1"),
        ({"by_ear": (1,), "visual": (), "face": ()}, r"set by_ear = \(\)"),
        ({"by_ear": (1,), "voices": 1, "remainder": False}, r"set by_ear = \(\)"),
        ({"by_ear": (1,), "dilations": ()}, r"set by_ear = \(\)"),
        ({"by_ear_weight": 0.0}, "by_ear_weight must be above 0"),
        ({"by_ear_weight": math.nan}, "by_ear_weight must be above 0"),
        ({"dense": (5,)}, "with dilations set dense = "),
        ({"dilations": (), "width": 9}, "width must be even"),
        ({"bounds": (1.0, 0.0)}, "bounds must be"),
        ({"bounds": (0.0, math.inf)}, "bounds must be"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)


CHANGES = {
    "voices": 3,
    "rate": 400,
    "fps": 50,
    "window": 60,
    "hop": 16,
    "n_fft": 128,
    "pad": 10,
    "hears": "complex",
    "compression": 0.5,
    "standard": (0.0, 1.0),
    "face": (4, 4),
    "visual": (Layer(6, 1), Layer(5, 3, 1)),
    "audio": (Layer(8, 5),),
    "by_ear": (1,),
    "by_ear_weight": 1.0,
    "dilations": (1, 2),
    "dense": (4,),
    "width": 12,
    "mask": "complex",
    "bounds": (0.0, 1.0),
    "remainder": False,
    "objective": "compressed",
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_has_an_effect(name):
    assert [*CHANGES] == [f.name for f in fields(Config)]
    needs = {"dense": dict(dilations=(), dense=(3,)), "by_ear_weight": dict(by_ear=(2,))}
    first = replace(TINY, **needs.get(name, {}))
    found = []
    for config in (first, replace(first, **{name: CHANGES[name]})):
        torch.manual_seed(0)
        model = CocktailParty(config)
        batch = {n: x.float() for n, x in batch_for(model).items()}
        found.append((training.parameter_count(model), model.eval().loss(batch)["loss"].item()))
    assert found[0] != found[1]


def test_bad_batches():
    model = build()
    batch = batch_for(model)
    x, faces = batch["sources"], batch["faces"]
    model.loss(batch)
    for change, error, message in (
        ({"sources": x[:, 0]}, ValueError, r"sources must be \(B, K, L\)"),
        ({"sources": x[:, :1]}, ValueError, "gives 2 voices, got 1 sources: add a silent one"),
        ({"sources": x[:, :0]}, ValueError, r"sources must be \(B, K, L\)"),
        ({"sources": x.long()}, TypeError, "PCM"),
        ({"sources": x * math.nan}, ValueError, "NaN"),
        ({"sources": 40 * x}, ValueError, r"lies in \[-1, 1\]"),
        ({"sources": x[:, :, :20]}, ValueError, "12 pictures last 0.48 s, but 20 samples 0.025 s"),
        ({"mixture": x[:, 0, :300]}, ValueError, r"mixture must be \(3, 384\)"),
        ({"faces": None}, ValueError, "the network looks at faces, and there are none"),
        ({"faces": faces[:, :1]}, ValueError, "1 faces, but the network gives 2 voices: a voice without a face"),
        ({"faces": faces.repeat(1, 2, 1, 1, 1)}, ValueError, "4 faces, but .* 2 voices: choose whose voices"),
        ({"faces": faces[:2]}, ValueError, r"faces must be \(3, 2, T, 3, 4\), got \(2, 2, 12, 3, 4\)"),
        ({"faces": faces[..., :3]}, ValueError, r"got \(3, 2, 12, 3, 3\)"),
        ({"faces": faces[:, 0]}, ValueError, r"got \(3, 12, 3, 4\)"),
        ({"faces": (faces * 100).to(torch.uint8)}, ValueError, r"got torch.uint8; mouths\(\) makes them"),
        ({"faces": faces * math.inf}, ValueError, "say so with there"),
        ({"faces": faces[:, :, :10]}, ValueError, "10 pictures last 0.4 s, but 384 samples 0.48 s.*other rates"),
        ({"there": torch.ones(3, 2, 12)}, ValueError, r"there must be bool \(3, 2, 12\)"),
        ({"there": torch.ones(3, 2, 11, dtype=torch.bool)}, ValueError, r"got \(3, 2, 11\)"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            model.loss({**batch, **change})
    with pytest.raises(ValueError, match="2 sources but 3 faces"):
        build("one face").loss({**batch, "faces": torch.cat([faces, faces[:, :1]], 1)})
    with pytest.raises(ValueError, match="without faces learns one, got 2"):
        build("hears one").loss({"sources": x})


def test_bad_recordings():
    model = build()
    batch = batch_for(model)
    x, faces = batch["sources"].sum(1), batch["faces"]
    for options, message in (
        ({"rate": 16_000}, "16000 samples a second, but the network knows 800: resample"),
        ({"fps": 30}, "30 pictures a second, but the network knows 25"),
        ({"seconds": 0}, "seconds must be above 0"),
        ({"margin": -1}, "margin at least 0"),
        ({"seconds": math.inf}, "seconds must be above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            model.separate(x, faces, **options)
    for recording, shown, message in (
        (x * math.nan, faces, "NaN"),
        (x[:, None], faces, r"waves must be \(B, L\)"),
        (x, None, "looks at faces, and there are none"),
        (x, faces[:, :, :6], "6 pictures last 0.24 s, but 384 samples 0.48 s"),
        (x, torch.cat([faces, faces], 1), "4 faces, but the network gives 2 voices: choose"),
        (x, faces * math.nan, "say so with there"),
    ):
        for call in (model, model.separate):
            with pytest.raises(ValueError, match=message):
                call(recording, shown)
    with pytest.raises(ValueError, match="this network only hears"):
        build("hears")(x, faces)
    with pytest.raises(ValueError, match=r"call eval\(\) first"):
        build().train().separate(x, faces)
    late = torch.cat([faces, faces[:, :, :1]], 2)  # a picture more or less is no mistake
    for shown in (late, faces[:, :, :-1]):
        assert model(x, shown).shape == model.separate(x, shown).shape == (3, 2, 384)


def test_bad_mixtures():
    x, known = waves(3, 2, 320), people()
    for call, message in (
        (lambda: mix(x[0]), r"sources must be \(B, N, L\)"),
        (lambda: mix(x, noise_db=3.0), "noise_db without noise"),
        (lambda: mix(x, noise=x[:, 0, :100]), r"noise must be \(3, 320\)"),
        (lambda: mix(x * math.nan), "NaN"),
        (lambda: Mixtures(TINY, known["waves"], None, known["speaker"]), "looks at faces: give them"),
        (lambda: Mixtures(TINY, **{**known, "faces": known["faces"][:, :9]}), r"faces must be \(12, 20, 3, 4\)"),
        (lambda: Mixtures(TINY, **{**known, "speaker": known["speaker"].float()}), "whole numbers"),
        (lambda: Mixtures(TINY, **known, seconds=3.0), "at most 20 / 25, got 3.0"),
        (lambda: Mixtures(TINY, **known, seconds=0.41), "a whole number of pictures"),
        (lambda: Mixtures(TINY, **known, voices=6, seconds=0.4), "6 voices need as many speakers, got 5"),
        (lambda: Mixtures(TINY, **known, seconds=0.4, noise=x[0]), None),
        (lambda: Mixtures(TINY, **known, seconds=0.8, noise=x[0]), r"noise must be \(J, 640 or more\)"),
        (lambda: Mixtures(replace(TINY, rate=801), **known), "do not fall evenly on 25"),
        (lambda: oracle("best", torch.zeros(1, 2, 3, 4) + 0j), "kind must be one of"),
        (lambda: oracle("ratio", torch.zeros(1, 2, 3, 4)), "must be complex"),
        (lambda: oracle("ratio", torch.zeros(1, 2, 3, 4) + 0j, bounds=(0, 1)), "leave bounds out"),
        (lambda: best_order(torch.zeros(2, 2, 3)), r"costs must be \(B, N, N\)"),
        (lambda: best_order(torch.zeros(2, 6, 6)), "N at most 5"),
        (lambda: mouths(torch.zeros(2, 48, 48, 3)), "pictures must be uint8"),
        (lambda: mouths(torch.zeros(2, 20, 20, 3, dtype=torch.uint8)), "hold at least"),
        (lambda: mouths(torch.zeros(2, 48, 48, 3, dtype=torch.uint8), torch.ones(3, dtype=torch.bool)), "there must be bool"),
    ):  # fmt: skip
        if message is None:
            call()
            continue
        with pytest.raises(ValueError, match=message):
            call()
