"""Speech2Face: against the published table, closed forms, a second layout of VGG, and slow loops."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mmtutor import speech2face
from mmtutor.kit import training
from mmtutor.speech2face import (
    Config,
    FaceDecoder,
    FaceEncoder,
    Faces,
    Layer,
    Speech2Face,
    VoiceEncoder,
    compressed,
    distil_loss,
    face_loss,
    fit_match,
    least_frames,
    pulls,
    strangeness,
    table,
)

SMALL = Config(
    rate=1000,
    seconds=2.0,
    window=40,
    hop=20,
    n_fft=64,
    stack=(Layer(4, (3, 4), (1, 2), 2), Layer(6, (3, 3)), Layer(5, (2, 3), (2, 1))),
    spread=False,
    hidden=7,
    dropout=0.0,
    piece=0.0,
    feature=9,
    shrink=2,
    pixels=32,
    blocks=((1, 4), (1, 6)),
    people=11,
    points=4,
    decoder_first=8,
    decoder_side=8,
    decoder_channels=(6, 5),
)


def build(seed: int = 0, **changes: object) -> Speech2Face:
    torch.manual_seed(seed)
    return Speech2Face(replace(SMALL, **changes)).eval()


def speech(size: int = 3, length: int = 2000, seed: int = 1) -> Tensor:
    return torch.rand(size, length, generator=torch.Generator().manual_seed(seed)) - 0.5


def pictures(size: int = 3, seed: int = 2) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (size, 3, 32, 32), generator=g, dtype=torch.uint8)


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


# --- the published table --------------------------------------------------------------------------

#: Table 1 of the paper for six seconds: channels, time, frequency (the sizes without padding).
PUBLISHED = {
    "spectrogram": (2, 598, 257),
    "conv1": (64, 595, 254),
    "conv2": (64, 592, 251),
    "conv3": (128, 589, 248),
    "pool3": (128, 294, 248),
    "conv4": (128, 291, 245),
    "pool4": (128, 145, 245),
    "conv5": (128, 142, 242),
    "pool5": (128, 71, 242),
    "conv6": (256, 68, 239),
    "pool6": (256, 34, 239),
    "conv7": (512, 31, 236),
    "conv8": (512, 14, 117),
    "conv9": (512, 6, 57),
    "mean": (512, 1, 57),
    "fc1": (4096, 1, 1),
    "fc2": (4096, 1, 1),
}


def test_the_published_table() -> None:
    rows = table(Config.paper())
    assert {r.name: (r.channels, r.time, r.frequency) for r in rows} == PUBLISHED
    weights = {r.name: r.weights for r in rows}
    assert weights["fc1"] == 119_541_760
    assert weights["fc2"] == 16_781_312
    convolved = [w for n, w in weights.items() if n.startswith("conv") or n == "mean"]
    assert sum(convolved) == 11_735_296 + 4_608
    assert sum(weights.values()) == 148_062_976


def test_three_seconds_and_the_least() -> None:
    """Half the speech leaves one step before the mean; 259 frames are the fewest."""
    config = Config.paper()
    assert table(config, 3.0)[-4].time == 1
    assert least_frames(config) == 259
    least = (258 * 160 + 400) / 16000
    assert table(config, least)[-4].time == 1
    with pytest.raises(ValueError, match="needs at least 259"):
        table(config, least - 1 / 16000)


def test_the_papers_model_is_the_papers_table() -> None:
    config = Config.paper()
    with torch.device("meta"):
        model = VoiceEncoder(config)
        shapes = []
        for conv in model.conv:
            conv.register_forward_hook(lambda m, i, o: shapes.append(tuple(o.shape[1:])))
        out = model(torch.empty(2, 96_000))
    assert count(model) == 148_062_976
    assert sum(b.numel() for n, b in model.named_buffers() if "running" in n) == 4_608
    assert out.shape == (2, 4096)
    assert shapes == [own for name, own in PUBLISHED.items() if name.startswith("conv")]


def test_the_face_network_is_vgg_face() -> None:
    """VGG-16 with 2,622 people: the layout is torchvision's, the count the published one."""
    from torchvision.models import vgg16

    with torch.device("meta"):
        ours, theirs = FaceEncoder(Config.paper()), vgg16(num_classes=2622)
        seen = ours(torch.empty(2, 3, 224, 224, dtype=torch.uint8))
        who = ours.people(seen)
    assert count(ours) == count(theirs) == 145_002_878
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]
    assert seen.shape == (2, 4096)
    assert who.shape == (2, 2622)


def test_vgg_by_torchvision() -> None:
    """The same weights give the same numbers in torchvision's layers, one after another."""
    model = FaceEncoder(replace(SMALL, normed=False, face_hidden=10)).eval()
    x = pictures()
    parts = nn.Sequential(*model.body)
    h = parts(F.avg_pool2d(x / 255, 2) * 2 - 1)
    v = model.vector(torch.relu(model.hidden(h)))
    torch.testing.assert_close(model(x), v)
    torch.testing.assert_close(model.people(v), model.person(torch.relu(v)))


def test_the_papers_decoder() -> None:
    config = Config.paper()
    with torch.device("meta"):
        decoder = FaceDecoder(config)
        v = torch.empty(2, 4096)
        assert decoder.first(v).shape == (2, 1000)  # the one size that is published
        assert decoder(v).shape == (2, 3, 224, 224)


def test_the_worlds_sizes() -> None:
    config = Config.world()
    model = Speech2Face(config)
    assert count(model.voice) == sum(r.weights for r in table(config))
    with torch.no_grad():
        assert model.voice(torch.rand(2, config.samples) - 0.5).shape == (2, config.feature)
        faces = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
        assert model.draw(model.see(faces)).shape == (2, 3, 64, 64)


@pytest.mark.parametrize("seconds", [2.0, 1.3, 5.0])
def test_every_row_is_what_the_network_makes(seconds: float) -> None:
    model = build().voice
    rows = {r.name: r for r in table(SMALL, seconds)}
    shapes = {}
    for i, conv in enumerate(model.conv, 1):
        conv.register_forward_hook(lambda m, i, o, n=f"conv{i}": shapes.update({n: o.shape}))
    model(speech(1, round(1000 * seconds)))
    for name, shape in shapes.items():
        assert shape == (1, rows[name].channels, rows[name].time, rows[name].frequency)


# --- what the voice encoder reads -----------------------------------------------------------------


def test_the_spectrogram_is_scipys() -> None:
    """Frame by frame, by NumPy's transform of a hand-cut frame."""
    config = Config.paper()
    x = speech(2, 16_000).double()
    found = compressed(x, config)
    assert found.shape == (2, 2, 98, 257)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    for b, t in ((0, 0), (1, 13), (0, 97)):
        s = np.fft.rfft(x[b, 160 * t : 160 * t + 400].numpy() * hann, n=512)
        both = np.stack([s.real, s.imag])
        wanted = np.sign(both) * np.abs(both) ** 0.3
        np.testing.assert_allclose(found[b, :, t], wanted, atol=1e-7, rtol=1e-5)


def test_the_power_turns_the_phase_a_little() -> None:
    """By at most 0.37 rad: the compression of each part by itself is not that of the modulus."""
    angle = torch.linspace(0, math.pi / 2, 100_001, dtype=torch.float64)
    x, y = angle.cos() ** 0.3, angle.sin() ** 0.3
    turn = (torch.atan2(y, x) - angle).abs().max()
    assert 0.36 < float(turn) < 0.375


def test_louder_is_a_power_of_louder() -> None:
    x = speech()
    torch.testing.assert_close(compressed(2 * x, SMALL), 2**0.3 * compressed(x, SMALL))
    assert compressed(torch.zeros(1, 100), SMALL).abs().max() == 0
    pcm = (x * 32768).round().to(torch.int16)
    torch.testing.assert_close(compressed(pcm, SMALL), compressed(pcm / 32768, SMALL))


def test_silence_has_a_gradient() -> None:
    """No derivative of |s|^0.3 at 0 reaches the weights: the spectrogram has none to learn."""
    model = build().voice
    model(torch.zeros(2, 2000)).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


# --- the networks ---------------------------------------------------------------------------------


def test_the_order_is_convolution_relu_norm_and_the_mean_comes_first() -> None:
    """The paper's table, layer by layer, by hand."""
    model = build().voice
    for norm in model.norm:
        norm.running_mean.uniform_(-0.5, 0.5)
        norm.running_var.uniform_(0.5, 2)
    x = compressed(speech(), SMALL)
    c1, c2, c3 = model.conv
    n1, n2, n3 = model.norm
    h = F.max_pool2d(n1(F.relu(F.conv2d(x, c1.weight, c1.bias, (1, 2)))), (2, 1))
    h = n2(F.relu(F.conv2d(h, c2.weight, c2.bias)))
    h = F.conv2d(h, c3.weight, c3.bias, (2, 1)).mean(2, keepdim=True)
    h = n3(F.relu(h)).reshape(3, -1)
    h = F.linear(F.relu(F.linear(h, model.fc1.weight, model.fc1.bias)), model.fc2.weight)
    torch.testing.assert_close(model(speech()), h + model.fc2.bias)


def test_a_mean_over_time_hears_no_order() -> None:
    """Speech that repeats gives the vector of one period, up to the frames at the seams."""
    model = build().voice
    one = speech(1, 2000)
    torch.testing.assert_close(
        model(one.repeat(1, 30)), model(one.repeat(1, 20)), atol=0.05, rtol=0
    )


def test_the_decoder_draws_pictures() -> None:
    model = build()
    drawn = model.draw(10 * torch.randn(4, 9))
    assert drawn.shape == (4, 3, 32, 32)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert (model.decoder.first(torch.randn(4, 9)) >= 0).all()


# --- the loss -------------------------------------------------------------------------------------


def test_the_loss_by_a_loop() -> None:
    model = build(weights=(0.7, 3.0), temperature=2.0)
    seen, heard = torch.randn(4, 9), torch.randn(4, 9)
    total = 0.0
    for a, b in zip(seen, heard):
        first = [float(x) for x in (model.decoder.first(a) - model.decoder.first(b))]
        total += sum(map(abs, first))
        na, nb = a / a.norm(), b / b.norm()
        total += 0.7 * sum((float(x) - float(y)) ** 2 for x, y in zip(na, nb))
        la, lb = (model.face.people(v).tolist() for v in (a, b))
        za, zb = sum(math.exp(x / 2) for x in la), sum(math.exp(x / 2) for x in lb)
        total += 3 * -sum(
            math.exp(x / 2) / za * math.log(math.exp(y / 2) / zb) for x, y in zip(la, lb)
        )
    found = face_loss(model, seen, heard)
    assert float(found["loss"]) == pytest.approx(total / 4, rel=1e-5)
    parts = found["decoder"] + 0.7 * found["vector"] + 3 * found["person"]
    torch.testing.assert_close(found["loss"].detach(), parts)


def test_the_loss_is_least_where_both_agree() -> None:
    model = build()
    seen = torch.randn(6, 9)
    found = face_loss(model, seen, seen)
    assert found["decoder"] == 0
    assert found["vector"] == 0
    p = (model.face.people(seen) / 2).softmax(1)
    entropy = -(p * p.log()).sum(1).mean()
    torch.testing.assert_close(found["person"], entropy.detach())
    for seed in range(5):
        g = torch.Generator().manual_seed(seed)
        other = face_loss(model, seen, seen + 0.3 * torch.randn(6, 9, generator=g))
        assert all(other[name] > found[name] for name in ("decoder", "vector", "person"))


def test_distillation_is_the_librarys_cross_entropy() -> None:
    a, b = torch.randn(5, 11), torch.randn(5, 11)
    wanted = F.cross_entropy(b / 3, (a / 3).softmax(1))
    torch.testing.assert_close(distil_loss(a, b, 3.0), wanted)
    # a cold teacher is certain
    cold = F.cross_entropy(b / 1e-3, a.argmax(1))
    torch.testing.assert_close(distil_loss(a, b, 1e-3), cold, rtol=1e-3, atol=1e-3)


def test_pulls_are_gradients() -> None:
    """By finite differences, in double precision; each term that counts has its pull."""
    assert set(pulls(build(), *torch.randn(2, 3, 9))) == {"decoder", "vector", "person"}
    model = build(shape=2.0).double()
    model.gauge(torch.randn(30, 9, dtype=torch.float64))
    seen, heard = torch.randn(2, 3, 9, dtype=torch.float64)
    found = pulls(model, seen, heard)
    assert set(found) == set(face_loss(model, seen, heard)) - {"loss"}
    for name, length in found.items():
        grad = torch.zeros_like(heard)
        for b in range(3):
            for k in range(9):
                step = torch.zeros_like(heard)
                step[b, k] = 1e-6
                up, down = (face_loss(model, seen, heard + s * step)[name] for s in (1, -1))
                grad[b, k] = 3 * (up - down) / 2e-6
        assert length == pytest.approx(float(grad.norm(dim=1).mean()), rel=1e-4)


def test_only_the_voice_encoder_learns() -> None:
    model = build().train()
    assert model.voice.training
    assert not model.face.training
    assert not model.decoder.training
    before = {k: v.clone() for k, v in model.state_dict().items()}
    batch = {"wave": speech(8), "image": pictures(8)}
    training.fit(model, batch, epochs=2, batch_size=4, progress=False)
    changed = {
        k.split(".")[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])
    }
    assert changed == {"voice"}


def test_faces_are_taken_over() -> None:
    torch.manual_seed(5)
    faces = Faces(SMALL)
    batch = {"image": pictures(6), "front": pictures(6, 3), "person": torch.arange(6)}
    batch["shape"] = torch.randn(6, 4)
    training.fit(faces, batch, epochs=2, batch_size=3, progress=False)
    model = build().freeze(faces)
    assert not any(p.requires_grad for p in (*model.face.parameters(), *model.decoder.parameters()))
    torch.testing.assert_close(model.see(pictures()), faces.encoder(pictures()).detach())
    vectors = torch.randn(2, 9)
    torch.testing.assert_close(model.draw(vectors), faces.decoder(vectors).detach())
    assert all(p.requires_grad for p in faces.parameters())  # a copy


def test_the_loss_of_faces() -> None:
    torch.manual_seed(0)
    faces = Faces(SMALL).eval()
    batch = {"image": pictures(), "front": pictures(seed=3), "person": torch.tensor([4, 0, 9])}
    batch["shape"] = torch.randn(3, 4)
    found = faces.loss(batch)
    v = faces.encoder(batch["image"])
    torch.testing.assert_close(
        found["person"], F.cross_entropy(faces.encoder.people(v), batch["person"])
    )
    wanted = (faces.decoder(v) - batch["front"] / 255).square().mean()
    torch.testing.assert_close(found["picture"], 500 * wanted)
    wanted = (faces.decoder.shape(v) - batch["shape"]).square().mean()
    torch.testing.assert_close(found["shape"], 5 * wanted)


@pytest.mark.parametrize("given", ["image", "vector"])
def test_overfits_one_batch(given: str) -> None:
    model = build().train()
    batch = {"wave": speech(6)}
    with torch.no_grad():
        batch["vector"] = 3 * model.face(pictures(6))
    if given == "image":
        batch["image"] = pictures(6)
        del batch["vector"]
    with torch.no_grad():
        floor = face_loss(model, *2 * [batch.get("vector", model.face(pictures(6)))])["loss"]
        before = float(model.loss(batch)["loss"] - floor)
    training.fit(model, batch, epochs=150, batch_size=6, lr=2e-2, progress=False)
    with torch.no_grad():
        after = float(model.train().loss(batch)["loss"] - floor)
    assert after < 0.1 * before


def test_same_seed_same_result() -> None:
    def trained(seed: int) -> Tensor:
        model = build(seed).train()
        batch = {"wave": speech(8), "image": pictures(8)}
        training.fit(model, batch, epochs=2, batch_size=4, seed=seed, progress=False)
        return torch.cat([p.flatten() for p in model.parameters()])

    assert torch.equal(trained(3), trained(3))
    assert not torch.equal(trained(3), trained(4))


# --- what one asks of it --------------------------------------------------------------------------


def test_hear_is_the_mean_over_windows() -> None:
    model = build()
    long = speech(1, 7000)[0]  # three windows and a half
    windows = torch.stack([long[0:2000], long[2000:4000], long[4000:6000]])
    wanted = model.voice(windows).mean(0)
    for at_once in (1, 2, 8):
        found = model.hear(long, 1000, at_once=at_once)
        torch.testing.assert_close(found, wanted.detach())


def test_short_speech_is_repeated() -> None:
    model = build()
    short = speech(1, 1200)[0]
    wanted = model.voice(short.repeat(2)[None, :2000])[0].detach()
    torch.testing.assert_close(model.hear(short, 1000), wanted)


def test_another_rate_is_resampled_if_asked() -> None:
    model = build()
    t = torch.arange(6000) / 2000
    tone = 0.3 * torch.sin(2 * math.pi * 90 * t)  # at 2,000 samples a second
    with pytest.raises(ValueError, match=r"2000 samples a second, and 1000 are read.*resampled"):
        model.hear(tone, 2000)
    found = model.hear(tone, 2000, resampled=True)
    torch.testing.assert_close(found, model.hear(tone[::2], 1000), atol=2e-2, rtol=0)


@pytest.mark.parametrize(
    ("wave", "error", "message"),
    [
        (torch.zeros(3000), ValueError, "silent"),
        (1e-5 * torch.ones(3000), ValueError, "silent"),
        (torch.ones(1), ValueError, r"1 samples are 0.001 s, and a voice needs at least 1 s"),
        (torch.full((999,), 0.5), ValueError, "at least 1 s of speech"),
        (torch.zeros(0), ValueError, "at least one"),
        (torch.tensor([0.1, math.nan] * 1000), ValueError, "NaN"),
        (torch.full((3000,), 3.0), ValueError, "peak of 3"),
        (torch.zeros(2, 3000), ValueError, "2 channels"),
        (torch.zeros(3000, dtype=torch.int64), TypeError, "int64"),
        ("hello", TypeError, "samples must be"),
    ],
)
def test_what_cannot_be_heard(wave: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build().hear(wave, 1000)


def test_two_voices_give_one_face() -> None:
    """The network counts no speakers: a mixture has one vector, that of its own sound, in whatever
    order the voices were added; the one that is far louder decides."""
    model = build()
    one, two = 0.4 * speech(1, 2000)[0], 0.4 * speech(1, 2000, 9)[0].cumsum(0) / 10
    both = model.hear(one + two, 1000)
    assert both.shape == (9,)
    assert torch.isfinite(both).all()
    torch.testing.assert_close(both, model.hear(two + one, 1000))
    faint = model.hear(one + 1e-4 * two, 1000)
    assert (faint - model.hear(one, 1000)).norm() < 0.2 * (both - model.hear(one, 1000)).norm()


class Largest(TorchDispatchMode):
    """The largest tensor that is made, in bytes."""

    made = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(t, Tensor):
                self.made = max(self.made, t.numel() * t.element_size())
        return out


def test_an_hour_takes_the_memory_of_a_few_windows() -> None:
    """Beside copies of the wave itself, the largest tensor is that of the same few windows."""
    model, hour = build(), speech(1, 3_600_000)[0]
    wave = 4 * len(hour)
    with Largest() as long:
        assert torch.isfinite(model.hear(hour, 1000, at_once=8)).all()
    with Largest() as short:
        model.hear(hour[:16_000], 1000, at_once=8)
    with Largest() as whole:
        model.voice(hour[None])
    assert long.made <= max(wave, short.made)
    assert whole.made > 2 * wave


def test_hear_is_for_a_trained_model() -> None:
    with pytest.raises(ValueError, match="eval"):
        build().train().hear(speech()[0], 1000)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(2, 3, 64, 64), ValueError, "reads 32 × 32 pixels, got 64 × 64"),
        (torch.full((2, 3, 32, 32), math.nan), ValueError, "NaN"),
        (torch.full((2, 3, 32, 32), 255.0), ValueError, r"lie in \[0, 1\]"),
        (torch.zeros(2, 5, 32, 32), TypeError, "channels first"),
        (torch.zeros(3, 32, 32), TypeError, "channels first"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.int64), TypeError, "int64"),
    ],
)
def test_what_is_no_picture(images: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build().see(images)


def test_vectors_of_another_size() -> None:
    with pytest.raises(ValueError, match="9"):
        build().draw(torch.zeros(2, 8))
    with pytest.raises(ValueError, match="NaN"):
        build().draw(torch.full((2, 9), math.nan))
    with pytest.raises(ValueError, match="9"):
        build().loss({"wave": speech(), "vector": torch.zeros(3, 8)})


def test_too_short_for_the_stack() -> None:
    with pytest.raises(ValueError, match=r"needs at least \d+ \(0\.\d+ s\)"):
        build().voice(speech(1, 100))


def test_strangeness_is_mahalanobis() -> None:
    from scipy.spatial.distance import mahalanobis

    known = torch.randn(300, 6, dtype=torch.float64) * torch.arange(1, 7) + 3
    unit = np.linalg.inv(np.cov(known.numpy().T, bias=True))
    x = torch.randn(4, 6, dtype=torch.float64) * 5
    wanted = [mahalanobis(row, known.mean(0).numpy(), unit) / math.sqrt(6) for row in x.numpy()]
    np.testing.assert_allclose(strangeness(x, known, shrink=0.0), wanted)
    assert 0.9 < float(strangeness(known, known, shrink=0.0).square().mean()) < 1.1
    with pytest.raises(ValueError, match="two faces or more"):
        strangeness(x, known[:1])
    with pytest.raises(ValueError, match="two faces or more"):
        strangeness(x[:, :5], known)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hop": 0}, "hop must be a whole number"),
        ({"feature": 2.5}, "feature must be a whole number"),
        ({"n_fft": 32}, "n_fft must hold the window"),
        ({"power": 0.0}, "power must lie"),
        ({"piece": 3.0}, "piece must lie"),
        ({"dropout": 1.0}, "dropout must lie"),
        ({"weights": (1.0,)}, "two finite numbers"),
        ({"weights": (1.0, -1.0)}, "two finite numbers"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"pixels": 36}, "multiple of 8"),
        ({"decoder_side": 4}, "would draw 16 pixels"),
        ({"stack": ()}, "must each have an entry"),
        ({"seconds": 0.1}, "needs at least"),
        ({"stack": (Layer(4, (3, 40)),)}, "no frequency is left"),
    ],
)
def test_settings_that_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


# --- whose voice is it ------------------------------------------------------------------------------


def pairs(count: int = 4000, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Heard and seen vectors of which the first two numbers go together, the others do not."""
    g = torch.Generator().manual_seed(seed)
    heard = torch.zeros(count, 5, dtype=torch.float64)
    heard[:, :2] = torch.randn(count, 2, generator=g, dtype=torch.float64)
    wide = torch.tensor([0.5, 0.5, 3.0, 3.0, 3.0], dtype=torch.float64)
    return heard, heard + wide * torch.randn(count, 5, generator=g, dtype=torch.float64)


def test_the_match_is_a_ratio_of_densities() -> None:
    """By SciPy's normal densities, up to a constant."""
    from scipy.stats import multivariate_normal as normal

    heard, seen = pairs()
    match = fit_match(heard, seen, shrink=0.0)
    error = np.cov((seen - heard).numpy().T, bias=True) + np.outer(*2 * [(seen - heard).mean(0)])
    face = np.cov(seen.numpy().T, bias=True)
    found = match(heard[:4], seen[:6])
    wanted = np.array(
        [
            [
                normal.logpdf(f, v, error) - normal.logpdf(f, seen.mean(0), face)
                for f in seen[:6].numpy()
            ]
            for v in heard[:4].numpy()
        ]
    )
    away = found.numpy() - wanted
    np.testing.assert_allclose(away, away[0, 0], atol=1e-8)


def test_what_no_voice_tells_drops_out() -> None:
    heard, seen = pairs()
    match = fit_match(heard, seen)
    h, s = pairs(100, seed=1)
    own = match(h, s).diagonal()[:, None]
    near = torch.cdist(h, s)
    by_match = ((match(h, s) > own).sum(1) < 10).double().mean()
    by_distance = ((near < near.diagonal()[:, None]).sum(1) < 10).double().mean()
    assert by_match > by_distance + 0.3


@pytest.mark.parametrize(
    ("heard", "seen", "shrink", "message"),
    [
        (torch.zeros(3, 2), torch.zeros(3, 3), 0.1, "both be"),
        (torch.zeros(1, 2), torch.ones(1, 2), 0.1, "two speakers"),
        (torch.rand(3, 2), torch.rand(3, 2), 2.0, "shrink must lie"),
        (torch.ones(3, 2), torch.ones(3, 2), 0.1, "are the same"),
    ],
)
def test_what_cannot_be_matched(heard: Tensor, seen: Tensor, shrink: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_match(heard, seen, shrink)


def test_a_piece_is_heard_in_training_only() -> None:
    model = build(piece=1.5)
    x = speech()
    assert model.piece_of(x) is x
    model.train()
    starts = set()
    for _ in range(20):
        piece = model.piece_of(x)
        assert piece.shape == (3, 1500)
        (start,) = (k for k in range(501) if torch.equal(x[:, k : k + 1500], piece))
        starts.add(start)
    assert len(starts) > 10
    whole = build(piece=0.0).train()
    assert whole.piece_of(x) is x


def test_the_spread_stands_beside_the_mean() -> None:
    plain, both = (build(spread=s).voice for s in (False, True))
    assert plain.norm[-1].num_features == 5
    assert both.norm[-1].num_features == 10
    assert count(both) == sum(r.weights for r in table(replace(SMALL, spread=True)))
    assert count(plain) == sum(r.weights for r in table(replace(SMALL, spread=False)))
    steady, moving = torch.full((1, 2000), 0.3), speech(1)
    seen = {}
    both.norm[-1].register_forward_hook(lambda m, i, o: seen.update(last=i[0]))
    both(steady)
    assert seen["last"][:, 5:].max() < 0.02
    both(moving)
    assert seen["last"][:, 5:].min() > 0


# --- what the book adds to the paper --------------------------------------------------------------


def test_the_paper_has_none_of_it() -> None:
    paper, world = Config.paper(), Config.world()
    assert paper.smooth == paper.shape == 0
    assert paper.window / paper.rate == 0.025
    assert world.smooth
    assert world.shape
    assert "units" not in dict(build().named_buffers())
    assert set(face_loss(build(), *torch.randn(2, 3, 9))) == {"loss", "decoder", "vector", "person"}
    assert count(VoiceEncoder(world)) == sum(r.weights for r in table(world))


def test_throat_and_pitch_apart_by_a_loop() -> None:
    config = replace(SMALL, smooth=5)
    x = speech(2, 400).double()
    found = compressed(x, config)
    assert found.shape == (2, 2, 19, 33)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(40) / 40)
    loud = np.abs(np.fft.rfft(x[1, 60:100].numpy() * hann, n=64)) ** 0.3
    for f in (0, 1, 2, 17, 31, 32):  # fewer neighbours at the edges
        near = loud[max(0, f - 2) : f + 3].mean()
        np.testing.assert_allclose(found[1, :, 3, f], [near, loud[f] - near], atol=1e-7)
    torch.testing.assert_close(compressed(-x, config), found)  # no phase
    torch.testing.assert_close(compressed(2 * x, config), 2**0.3 * found)


def test_mean_and_spread_are_torchs() -> None:
    """The statistics that fc1 reads, against torch's; of a constant sound and of the shortest one
    the slopes are finite."""
    model = build(spread=True, smooth=5).voice
    told = []
    model.norm[-1].register_forward_hook(lambda m, given, out: told.append(given[0]))
    maps = []
    model.conv[-1].register_forward_hook(lambda m, given, out: maps.append(out))
    model(speech())
    mean, spread = maps[0].mean(2, keepdim=True), maps[0].std(2, keepdim=True, correction=0)
    wanted = torch.relu(torch.cat([mean, spread], 1))
    torch.testing.assert_close(told[0], wanted, atol=4e-3, rtol=0)
    least = (least_frames(SMALL) - 1) * SMALL.hop + SMALL.window
    for wave in (torch.zeros(2, 2000), torch.full((2, 2000), 0.5), speech(2, least)):
        model.zero_grad()
        model(wave).square().sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert maps[-1].shape[2] == 1  # one step: its spread is 0
    with pytest.raises(ValueError, match="needs at least"):
        model(speech(2, least - 1))


def test_the_term_of_the_points_by_a_loop() -> None:
    model = build(shape=2.5, weights=(0.7, 3.0))
    seen, heard = torch.randn(2, 5, 9)
    plain = face_loss(model, seen, heard)
    without = face_loss(build(weights=(0.7, 3.0)), seen, heard)["loss"]
    apart = (model.decoder.shape(seen) - model.decoder.shape(heard)).detach()
    torch.testing.assert_close(plain["shape"], apart.square().sum(1).mean())
    torch.testing.assert_close(plain["loss"], without + 2.5 * plain["shape"])

    known = torch.randn(200, 9, generator=torch.Generator().manual_seed(3))
    points = model.gauge(known, shrink=0.0).decoder.shape(known).detach()
    precision = np.linalg.inv(np.cov(points.numpy().T, bias=True))  # Mahalanobis
    wanted = np.mean([x @ precision @ x for x in apart.numpy()])
    assert float(face_loss(model, seen, heard)["shape"]) == pytest.approx(wanted, rel=1e-3)
    # among known faces every direction now counts alike
    units = np.cov((points @ model.units).numpy().T, bias=True)
    np.testing.assert_allclose(units, np.eye(4), atol=1e-3)


def test_gauge_widens_each_direction_a_little() -> None:
    """Its share of the mean variance, 0.1 where nothing is said: against NumPy."""
    model = build(shape=2.5)
    known = torch.randn(200, 9, generator=torch.Generator().manual_seed(3))
    points = model.gauge(known).decoder.shape(known).detach().double().numpy()
    own = np.cov(points.T, bias=True)
    wider = 0.9 * own + 0.1 * np.trace(own) / 4 * np.eye(4)
    units = model.units.double().numpy()
    np.testing.assert_allclose(units @ units.T, np.linalg.inv(wider), rtol=1e-3)


@pytest.mark.parametrize(
    ("known", "shrink", "message"),
    [
        (torch.randn(1, 9), 0.1, "of two or more"),
        (torch.randn(4, 8), 0.1, r"\(N, 9\)"),
        (torch.ones(50, 9), 0.1, "all alike"),
        (torch.zeros(3, 9), 0.1, "all alike"),
        (torch.full((4, 9), math.inf), 0.1, "NaN or infinity"),
        (torch.randn(4, 9), 2.0, "a share, from 0 to 1, got 2.0"),
        (torch.randn(4, 9), math.nan, "a share, from 0 to 1, got nan"),
    ],
)
def test_what_gives_no_gauge(known: torch.Tensor, shrink: float, message: str) -> None:
    model = build(shape=2.5)
    with pytest.raises(ValueError, match=message):
        model.gauge(known, shrink)
    assert torch.equal(model.units, torch.eye(4))  # as it was


def test_half_precision_is_cast_afterwards() -> None:
    model = build(shape=2.5).half()
    with pytest.raises(TypeError, match="gauge a model in float32"):
        model.gauge(torch.randn(4, 9))
    with pytest.raises(TypeError, match="settle a model in float32"):
        model.settle(torch.randn(4, 9), torch.randn(4, 9))


def test_with_the_points_it_overfits_one_batch() -> None:
    model = build(shape=2.0, smooth=5).train()
    with torch.no_grad():
        seen = 3 * model.face(pictures(6))
    batch = {"wave": speech(6), "vector": seen}
    model.gauge(seen)
    floor = float(face_loss(model, seen, seen)["loss"])
    before = float(model.loss(batch)["loss"].detach()) - floor
    training.fit(model, batch, epochs=150, batch_size=6, lr=2e-2, progress=False)
    after = float(model.train().loss(batch)["loss"].detach()) - floor
    assert after < 0.1 * before


def test_settled_is_reduced_rank_regression() -> None:
    """With all directions it is least squares; with a few, the best map of that rank, measured in
    standard deviations of the error: against scikit-learn's least squares and NumPy's SVD."""
    from sklearn.linear_model import LinearRegression

    g = torch.Generator().manual_seed(4)
    model = build(hidden=12).double()
    below = torch.rand(60, 12, generator=g, dtype=torch.float64)  # what the last layer reads
    heard = model.voice.fc2(below).detach()
    mix = torch.randn(9, 9, generator=g, dtype=torch.float64)
    seen = heard @ mix / heard.std() + torch.randn(60, 9, generator=g, dtype=torch.float64)
    before = copy.deepcopy(model.state_dict())

    least = LinearRegression().fit(heard, seen).predict(heard)
    full = model.settle(heard, seen, directions=9, shrink=0.0).voice.fc2(below).detach()
    np.testing.assert_allclose(full, least, atol=1e-5)

    model.load_state_dict(before)
    few = model.settle(heard, seen, directions=2, shrink=0.0).voice.fc2(below).detach()
    own = least - least.mean(0)
    error = np.cov((seen.numpy() - least).T, bias=True)
    root = np.linalg.cholesky(np.linalg.inv(error))
    u, d, v = np.linalg.svd(own @ root, full_matrices=False)
    wanted = (u[:, :2] * d[:2]) @ v[:2] @ np.linalg.inv(root) + least.mean(0)
    np.testing.assert_allclose(few, wanted, atol=1e-5)
    assert torch.linalg.matrix_rank(few - few.mean(0), rtol=1e-6) == 2
    changed = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    assert changed == ["voice.fc2.weight", "voice.fc2.bias"]  # nothing else


@pytest.mark.parametrize(
    ("heard", "directions", "message"),
    [
        ((5, 9), 0, "1 to 9, got 0"),
        ((5, 9), 10, "1 to 9, got 10"),
        ((1, 9), 2, "two clips"),
        ((5, 8), 2, "N, D"),
    ],
)
def test_what_does_not_settle(heard: tuple[int, int], directions: int, message: str) -> None:
    seen = torch.randn(heard[0], 9)
    with pytest.raises(ValueError, match=message):
        build().settle(torch.randn(heard), seen, directions)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.full((6, 9), 0.7), "all alike"),
        (torch.full((6, 9), math.nan), "NaN or infinity"),
    ],
)
def test_bad_vectors_leave_the_last_layer_alone(
    which: int, wrong: torch.Tensor, message: str
) -> None:
    model = build()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    pair = [torch.randn(6, 9), torch.randn(6, 9)]
    pair[which] = wrong
    with pytest.raises(ValueError, match=f"{('heard', 'seen')[which]} .*{message}"):
        model.settle(*pair)
    with pytest.raises(ValueError, match=r"must be \(N, 9\)"):
        model.settle(torch.randn(6, 5), torch.randn(6, 5), 2)
    with pytest.raises(ValueError, match="a share, from 0 to 1"):
        model.settle(torch.randn(6, 9), torch.randn(6, 9), shrink=-1)
    for directions in (2.5, True):
        with pytest.raises(TypeError, match="directions must be a whole number"):
            model.settle(torch.randn(6, 9), torch.randn(6, 9), directions)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_settling_smooths_by_its_share() -> None:
    """With all directions and a share: (C + s·mean·1)⁻¹ Xᵀ Y, against NumPy."""
    g = torch.Generator().manual_seed(5)
    model = build(hidden=12).double()
    below = torch.rand(30, 12, generator=g, dtype=torch.float64)
    heard = model.voice.fc2(below).detach()
    seen = torch.randn(30, 9, generator=g, dtype=torch.float64)
    x, y = (own.numpy() - own.numpy().mean(0) for own in (heard, seen))
    own = x.T @ x / 30
    wider = 0.8 * own + 0.2 * np.trace(own) / 9 * np.eye(9)
    wanted = x @ np.linalg.inv(wider) @ (x.T @ y / 30) + seen.numpy().mean(0)
    found = model.settle(heard, seen, directions=9, shrink=0.2).voice.fc2(below).detach()
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"smooth": 4}, "smooth must be 0, or odd"),
        ({"smooth": 1}, "from 3 to all 33"),
        ({"smooth": 35}, "all 33 frequencies"),
        ({"smooth": -1}, "at least 0"),
        ({"smooth": True}, "at least 0"),
        ({"shape": -1.0}, "shape must be a finite weight"),
        ({"shape": math.nan}, "shape must be a finite weight"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


# --- devices --------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [SMALL, Config.world(), Config.paper()])
def test_runs_on_a_pretended_gpu(config: Config) -> None:
    with FakeTensorMode(), torch.backends.cudnn.flags(enabled=False):
        with torch.device("cuda"):
            model = Speech2Face(config)
            faces = Faces(config)
        side = config.pixels
        image = torch.zeros(4, 3, side, side, dtype=torch.uint8, device="cuda")
        batch = {"wave": torch.zeros(4, config.samples, dtype=torch.int16, device="cuda")}
        seen = model.see(image)
        found = [seen, model.draw(seen), *model.loss({**batch, "image": image}).values()]
        found += model.loss({**batch, "vector": seen}).values()
        person = torch.zeros(4, dtype=torch.long, device="cuda")
        lesson = {"image": image, "front": image, "person": person}
        lesson["shape"] = torch.zeros(4, config.points, device="cuda")
        found += faces.loss(lesson).values()
    assert {t.device.type for t in found} == {"cuda"}


def test_the_constants_are_what_the_docs_say() -> None:
    assert speech2face.LEAST == 1.0
    assert speech2face.SILENT == 1e-4
