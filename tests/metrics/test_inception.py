"""Inception's features: what goes into torch-fidelity's network, and what is said where it is not there."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_cdiff.metrics import FIDMetric, inception_features

MODULE = "torch_fidelity.feature_extractor_inceptionv3"


class Extractor(torch.nn.Module):
    """Stands for torch-fidelity's: refuses what that refuses, and returns a tuple of features."""

    def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str) -> None:
        super().__init__()
        assert features_list == ["2048"]
        self.load_state_dict(torch.load(feature_extractor_weights_path))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        assert x.dtype == torch.uint8 and x.ndim == 4 and x.shape[1] == 3
        return (x.float().flatten(1),)


@pytest.fixture()
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    module: Any = types.ModuleType(MODULE)
    module.FeatureExtractorInceptionV3 = Extractor
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, MODULE, module)
    torch.save({}, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def test_images_become_three_channels_of_bytes(stand_in: Path) -> None:
    image = torch.tensor([-1.0, 0, 0.5, 1, 3]).view(1, 1, 1, 5)
    assert inception_features(stand_in)(image).tolist() == [[0, 0, 128, 255, 255] * 3]
    assert inception_features(stand_in, data_range=2)(2 * image).tolist() == [[0, 0, 128, 255, 255] * 3]
    colours = torch.arange(3.0).view(1, 3, 1, 1) / 255
    assert inception_features(stand_in)(colours).tolist() == [[0, 1, 2]]


@pytest.mark.filterwarnings("ignore:.*images, fewer than")
def test_in_a_metric(stand_in: Path) -> None:
    metric: Any = FIDMetric(inception_features(stand_in), "stand-in")
    images = torch.randint(200, (6, 1, 4, 4), generator=torch.Generator().manual_seed(0)) / 255
    metric(images + 10 / 255, images)
    assert metric.aggregate().item() == pytest.approx(48 * 100, rel=1e-9)


def test_errors(stand_in: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none.pth' does not exist.*weights-inception-2015-12-05-6726825d.pth"):
        inception_features(tmp_path / "none.pth")
    with pytest.raises(ValueError, match="data_range=0 must be"):
        inception_features(stand_in, data_range=0)
    for shape in [(1, 2, 4, 4), (1, 1, 4, 4, 4)]:
        with pytest.raises(ValueError, match=r"images have shape \(1, .*C = 1 or 3"):
            inception_features(stand_in)(torch.zeros(shape))


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, MODULE, None)
    with pytest.raises(ImportError, match=r"needs the package torch-fidelity: pip install .monai_cdiff\[evaluation\]"):
        inception_features("any.pth")


@pytest.mark.slow
def test_the_network_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With random weights: a grey image has the features that the extractor gives for its bytes."""
    extractor = pytest.importorskip(MODULE).FeatureExtractorInceptionV3
    path, kept = tmp_path / "random.pth", torch.nn.Module.load_state_dict
    torch.save({}, path)
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda *arguments, **more: None)
    network = extractor("inception-v3-compat", ["2048"], str(path))
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", kept)
    torch.save(network.state_dict(), path)
    levels = torch.randint(256, (2, 1, 40, 30), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = inception_features(path)(levels / 255)
    assert found.shape == (2, 2048) and torch.equal(found, network(levels.expand(-1, 3, -1, -1))[0])
