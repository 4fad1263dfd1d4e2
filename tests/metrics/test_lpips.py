"""LPIPS: a direct call of the package, with backbones that were drawn at random."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from monai.engines import SupervisedEvaluator
from monai.handlers import IgniteMetricHandler, from_engine

from monai_cdiff.metrics import LPIPSMetric

lpips = pytest.importorskip("lpips")
models = pytest.importorskip("torchvision.models")

pytestmark = pytest.mark.filterwarnings("ignore:weights=.*by checksum")

FILES = {
    "alex": (models.alexnet, "alexnet-owt-7be5be79.pth"),
    "squeeze": (models.squeezenet1_1, "squeezenet1_1-b8a52dc0.pth"),
    "vgg": (models.vgg16, "vgg16-397923af.pth"),
}


def backbone(net: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights by the names of torchvision, of the layers that lpips uses."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with torch.device("meta" if net == "vgg" else "cpu"):  # a VGG-16 takes seconds to draw
            layers = FILES[net][0](weights=None).features
        if net == "vgg":
            layers = layers.to_empty(device="cpu")
            for parameter in layers.parameters():
                torch.nn.init.normal_(parameter, std=0.05)
    return {f"features.{name}": value for name, value in layers.state_dict().items()}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    for net in FILES:
        torch.save(backbone(net), folder / f"{net}.pth")
    return {net: folder / f"{net}.pth" for net in FILES}


def direct(net: str, version: str, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The package itself, its backbone built from torchvision's module of the same weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = lpips.LPIPS(net=net, version=version, pnet_rand=True, verbose=False)
    given = backbone(net)
    for number in range(1, model.net.N_slices + 1):
        for index, layer in getattr(model.net, f"slice{number}").named_children():
            stem = f"features.{index}."
            layer.load_state_dict({n.removeprefix(stem): v for n, v in given.items() if n.startswith(stem)})
    with torch.no_grad():
        return model(a, b, normalize=True)[:, :, 0, 0]


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def colours(grey: torch.Tensor) -> torch.Tensor:
    return torch.cat((grey, grey, grey), dim=1)


@pytest.mark.parametrize("version", ["0.1", "0.0"])
@pytest.mark.parametrize("net", FILES)
def test_equals_the_package(files: dict[str, Path], net: str, version: str) -> None:
    restored, original = images(2, 3, 40, 35), images(2, 3, 40, 35, seed=1)
    values: Any = LPIPSMetric(net, files[net], version)(restored, original)
    assert values.shape == (2, 1) and values.min() > 0
    torch.testing.assert_close(values, direct(net, version, restored, original), rtol=1e-5, atol=0)


@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_grey_images_and_data_range(files: dict[str, Path], net: str) -> None:
    restored, original = images(2, 1, 40, 35), images(2, 1, 40, 35, seed=1)
    values: Any = LPIPSMetric(net, files[net], data_range=255)(255 * restored, 255 * original)
    torch.testing.assert_close(values, direct(net, "0.1", colours(restored), colours(original)), rtol=1e-4, atol=0)


def test_volumes_are_the_mean_of_their_slices(files: dict[str, Path]) -> None:
    restored, original = images(2, 1, 36, 33, 3), images(2, 1, 36, 33, 3, seed=1)
    metric: Any = LPIPSMetric(weights=files["alex"])
    slices = [metric(restored[..., n], original[..., n]) for n in range(3)]
    torch.testing.assert_close(metric(restored, original), sum(slices) / 3, rtol=1e-5, atol=0)


def test_equal_images_have_0_and_more_noise_more(files: dict[str, Path]) -> None:
    original, noise = images(1, 1, 48, 48), images(1, 1, 48, 48, seed=1) - 0.5
    metric: Any = LPIPSMetric(weights=files["alex"])
    values = [metric(original + strength * noise, original).item() for strength in (0, 0.1, 0.5)]
    assert values[0] == 0 < values[1] < values[2]


def test_batches_and_lists_do_not_matter(files: dict[str, Path]) -> None:
    restored, original = images(3, 1, 40, 40), images(3, 1, 40, 40, seed=1)
    metric: Any = LPIPSMetric(weights=files["alex"])
    together = metric(restored, original)
    torch.testing.assert_close(metric(list(restored), list(original)), together, rtol=1e-5, atol=0)
    metric.reset()
    metric(MetaTensor(restored[:1]), MetaTensor(original[:1]))
    metric(restored[1:], original[1:])
    assert metric.aggregate().item() == pytest.approx(together.mean().item(), rel=1e-5)
    torch.testing.assert_close(metric.aggregate("none"), together, rtol=1e-5, atol=0)


def test_other_types_are_computed_in_float32(files: dict[str, Path]) -> None:
    restored, original = images(1, 1, 40, 40).mul(255).byte(), images(1, 1, 40, 40, seed=1).mul(255).byte()
    metric: Any = LPIPSMetric(weights=files["alex"], data_range=255)
    values = metric(restored, original)
    assert values.dtype == torch.float32 and not values.requires_grad
    assert metric(restored.double(), original.double()).item() == values.item()


def test_in_an_evaluator(files: dict[str, Path]) -> None:
    batch = {"image": images(2, 1, 40, 40), "label": images(2, 1, 40, 40, seed=1)}
    metric = LPIPSMetric(weights=files["alex"])
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[batch],
        network=torch.nn.Identity(),
        key_val_metric={"lpips": IgniteMetricHandler(metric, output_transform=from_engine(["pred", "label"]))},
    )
    evaluator.run()
    wanted: Any = metric(batch["image"], batch["label"])
    assert evaluator.state.metrics["lpips"] == pytest.approx(wanted.mean().item())


def test_says_what_it_is(files: dict[str, Path]) -> None:
    metric = LPIPSMetric("squeeze", files["squeeze"])
    assert str(metric) == "LPIPSMetric(net=squeeze, version=0.1)"
    assert (metric.net, metric.version, metric.weights) == ("squeeze", "0.1", str(files["squeeze"]))


def test_weights_from_torch_hubs_cache(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / FILES["alex"][1]).write_bytes(files["alex"].read_bytes())
    a, b = images(1, 1, 40, 40), images(1, 1, 40, 40, seed=1)
    assert torch.equal(torch.as_tensor(LPIPSMetric()(a, b)), torch.as_tensor(LPIPSMetric(weights=files["alex"])(a, b)))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("net", FILES)
def test_missing_weights_say_which_where_and_whence(net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *a, **k: pytest.fail("touched the network"))
    name = FILES[net][1]
    for weights in (None, tmp_path / "other.pth"):
        with pytest.raises(FileNotFoundError) as found:
            LPIPSMetric(net, weights)
        text = str(found.value)
        assert f"https://download.pytorch.org/models/{name}" in text and str(tmp_path / "checkpoints" / name) in text
        assert str(weights or tmp_path / "checkpoints") in text


def test_the_names_of_the_files_are_torchvisions() -> None:
    for net, weights in (("alex", "AlexNet"), ("squeeze", "SqueezeNet1_1"), ("vgg", "VGG16")):
        url = getattr(models, f"{weights}_Weights").IMAGENET1K_V1.url
        assert url == f"https://download.pytorch.org/models/{FILES[net][1]}"


def test_weights_that_are_not_the_published_ones_are_warned_of(files: dict[str, Path]) -> None:
    with pytest.warns(UserWarning, match="alex.pth' are not torchvision's alexnet-owt-7be5be79.pth by checksum"):
        LPIPSMetric(weights=files["alex"])


def test_wrong_weights(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="squeeze.pth' lacks 'features.*for net='alex'"):
        LPIPSMetric("alex", files["squeeze"])
    wrong = {name: value[:1] for name, value in backbone("alex").items()}
    torch.save(wrong, tmp_path / "wrong.pth")
    with pytest.raises(ValueError, match="(?s)wrong.pth' do not fit net='alex'.*size mismatch"):
        LPIPSMetric("alex", tmp_path / "wrong.pth")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(ValueError, match="tensor.pth' lacks"):
        LPIPSMetric("alex", tmp_path / "tensor.pth")


def test_the_global_random_state_is_left_alone(files: dict[str, Path]) -> None:
    state = torch.get_rng_state()
    LPIPSMetric("squeeze", files["squeeze"])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("net, least", [("alex", 31), ("squeeze", 17), ("vgg", 16)])
def test_images_too_small_for_the_net(files: dict[str, Path], net: str, least: int) -> None:
    """One row less than is allowed breaks the network itself."""
    metric: Any = LPIPSMetric(net, files[net])
    image = images(1, 1, least, 40)
    assert metric(image, 1 - image).isfinite().all() and metric(image.mT, 1 - image.mT).isfinite().all()
    for small in (image[:, :, 1:], image[:, :, 1:].mT):
        with pytest.raises(ValueError, match=f"y has shape.*H, W >= {least} for net='{net}'"):
            metric(small, small)
        with pytest.raises(RuntimeError):
            metric.model(colours(small), colours(small))


def test_errors(files: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="net='alexnet' is not supported.*Did you mean 'alex'"):
        LPIPSMetric("alexnet")
    with pytest.raises(ValueError, match="version='0.2' is not supported; allowed: '0.1', '0.0'"):
        LPIPSMetric(version="0.2")
    with pytest.raises(ValueError, match="data_range=0 must be a finite number, more than 0"):
        LPIPSMetric(data_range=0)
    with pytest.raises(ValueError, match="'median'"):
        LPIPSMetric(reduction="median")
    metric, image = LPIPSMetric(weights=files["alex"]), images(1, 1, 40, 40)
    for shape in [(1, 2, 40, 40), (1, 40, 40), (1, 1, 40, 40, 0), (1, 1, 40, 3, 40)]:
        with pytest.raises(ValueError, match=r"y has shape \(1, .*C = 1 or 3"):
            metric(torch.zeros(shape), torch.zeros(shape))
    with pytest.raises(ValueError, match="shapes dont match"):
        metric(image, image[..., :39])
    with pytest.raises(ValueError, match="y_pred holds 1600 NaN"):
        metric(image * torch.nan, image)
    with pytest.raises(ValueError, match="y holds 1600 NaN"):
        metric(image, image * torch.nan)
