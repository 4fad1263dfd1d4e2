"""The classifier: the layers of VGG11, images of any size, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from monai_cdiff.networks.nets import VGG11Classifier


def test_its_convolutions_are_those_of_torchvision() -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    ours = VGG11Classifier(in_channels=3).eval()
    theirs = torchvision.models.vgg11_bn(weights=None).features.eval()
    weights = dict(ours.convolutions.state_dict())
    for name, value in theirs.state_dict().items():
        layer, _, kind = name.partition(".")
        if kind == "bias" and isinstance(theirs[int(layer)], torch.nn.Conv2d):
            weights[name] = torch.zeros_like(value)  # batch normalisation takes the mean anyway
        assert weights[name].shape == value.shape
    theirs.load_state_dict(weights)
    x = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        assert torch.allclose(theirs(x).mean(dim=(2, 3)), ours.features(x), atol=1e-6)


def test_half_of_its_weights_fit_into_20_megabytes() -> None:
    count = sum(value.numel() for value in VGG11Classifier().state_dict().values())
    assert 9.2e6 < count < 9.3e6 and 2 * count < 20e6


@pytest.mark.parametrize("size", [(32, 32), (112, 112), (65, 47)])
def test_images_of_any_size_and_number_of_classes(size: tuple[int, int]) -> None:
    network = VGG11Classifier(in_channels=2, num_classes=5).eval()
    x = torch.rand(3, 2, *size)
    logits, features = network(x), network.features(x)
    assert logits.shape == (3, 5) and features.shape == (3, 512) and torch.equal(network.head(features), logits)
    assert torch.allclose(network(x[1:2]), logits[1:2], atol=1e-5)


def test_it_learns_a_difference_of_texture() -> None:
    torch.manual_seed(0)
    network = VGG11Classifier(num_classes=2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    classes = torch.tensor([0, 1] * 8)
    fine = torch.rand(8, 1, 32, 32)
    coarse = torch.rand(8, 1, 8, 8).repeat_interleave(4, -1).repeat_interleave(4, -2)
    images = torch.stack([coarse, fine], dim=1).flatten(0, 1)
    for _ in range(10):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), classes).backward()
        optimizer.step()
    assert (network(images).argmax(dim=1) == classes).float().mean() > 0.9


@pytest.mark.parametrize(
    "arguments", [{"in_channels": 0}, {"num_classes": 1}, {"dropout": 1.0}, {"dropout": -0.1}, {"num_classes": 2.5}]
)
def test_arguments(arguments: dict[str, float]) -> None:
    (name,) = arguments
    with pytest.raises(ValueError, match=f"{name}="):
        VGG11Classifier(**arguments)  # type: ignore[arg-type]


def test_images_that_five_halvings_leave_nothing_of() -> None:
    with pytest.raises(ValueError, match=r"x has shape \(1, 1, 31, 64\); allowed: .* at least 32"):
        VGG11Classifier()(torch.zeros(1, 1, 31, 64))
