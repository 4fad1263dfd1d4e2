"""Quality against the number of calls on real slices: one trained network, every sampler, the same starts.

The network is that of a checkpoint of the super-resolution bundle; the slices are crops of one patient it has never
seen. PSNR and SSIM are on the bundle's scale, on which the two percentiles of the normalisation lie 1 apart. The
acutance ratio is the mean gradient magnitude of the restoration over that of the original: 1 is as sharp as the
original, less is smoother, more is noisier.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.metrics import PSNRMetric, SSIMMetric

from monai_cdiff.data import DicomSeriesReader, make_datalist
from monai_cdiff.handlers import load_network, trained_settings
from monai_cdiff.metrics import AcutanceMetric
from monai_cdiff.networks import Parameterization
from monai_cdiff.networks.nets import ConditionalUNet
from monai_cdiff.networks.schedulers import BridgeScheduler
from monai_cdiff.transforms import DownsampleUpsampled, ScaleIntensityPatientwised
from monai_cdiff.utils import item_generators, randn

__all__ = ["RestorationTask"]


class RestorationTask:
    """Crops of real slices with their degraded counterparts, and a network trained to restore them.

    Args:
        checkpoint: ``model.pt`` of a training of ``bundles/sr``.
        datalist: datalist JSON.
        count: number of crops of each patient, spread over the slices.
        size: side of a crop, from the middle of the slice.
        split: list of the datalist that names the patients.
    """

    def __init__(self, checkpoint: str, datalist: str, count: int = 12, size: int = 96, split: str = "test") -> None:
        trained = trained_settings(checkpoint)
        self.parameterization = Parameterization(**trained["parameterization"])
        self.neighbours = trained.get("neighbours", 0)
        self.network = ConditionalUNet(2, 2 + 2 * self.neighbours, 1, size=trained["network_size"]).eval()
        load_network(self.network, checkpoint)
        self.factor, self.domain = trained["factor"], trained["domain"]
        self.original, self.condition = _crops(datalist, trained, count, size, split)
        self.bounds = self.parameterization.bounds(self.condition)
        self.noise = randn(self.original.shape, self.generators())

    def generators(self) -> list[torch.Generator]:
        """One generator a crop, the same for every sampler."""
        return item_generators(0, list(range(len(self.original))))

    @torch.no_grad()
    def restore(self, scheduler: Any, num_inference_steps: int) -> torch.Tensor:
        """Sample with a scheduler of ours, of MONAI or of diffusers, by the protocol they share."""
        scheduler.set_timesteps(num_inference_steps)
        names = scheduler.step.__code__.co_varnames
        generators = self.generators()
        kwargs: dict[str, Any] = {"bounds": self.bounds} if "bounds" in names else {}
        sample = self.noise
        if isinstance(scheduler, BridgeScheduler):  # which begins at the degraded image, a residual of zero
            first = scheduler.timesteps[:1].expand(len(sample))
            sample = scheduler.add_noise(torch.zeros_like(sample), sample, first)
        for timestep in scheduler.timesteps:
            output = self.network(torch.cat([sample, self.condition], dim=1), timestep)
            if "generator" in names:
                per_item = "bounds" in names or hasattr(scheduler, "config")
                kwargs["generator"] = generators if per_item else generators[0]
            sample = scheduler.step(output, timestep, sample, **kwargs)[0]
        return self.parameterization.decode(sample.float(), self.condition)

    def score(self, image: torch.Tensor) -> dict[str, float]:
        """PSNR in dB, SSIM and acutance ratio, means over the crops."""
        restored, original = (image + 1) / 2, (self.original + 1) / 2
        psnr: Callable[..., torch.Tensor] = PSNRMetric(max_val=1.0)
        ssim: Callable[..., torch.Tensor] = SSIMMetric(spatial_dims=2, data_range=1.0)
        acutance: Any = AcutanceMetric(spatial_dims=2)
        return {
            "psnr": round(float(psnr(restored, original).mean()), 3),
            "ssim": round(float(ssim(restored, original).mean()), 4),
            "acutance_ratio": round(float(acutance(restored, original).mean()), 3),
        }


def _crops(
    datalist: str, trained: dict[str, Any], count: int, size: int, split: str
) -> tuple[torch.Tensor, torch.Tensor]:
    from monai.transforms import CenterSpatialCropd, Compose, CopyItemsd, LoadImaged

    keys = ["image", "condition"]
    normalisation = trained["normalisation"]
    load = Compose(
        [
            LoadImaged("image", reader=["NibabelReader", DicomSeriesReader()], ensure_channel_first=True),
            CopyItemsd("image", names="condition"),
            DownsampleUpsampled("condition", factor=trained["factor"], domain=trained["domain"]),
            ScaleIntensityPatientwised(keys, **normalisation),
            CenterSpatialCropd(keys, roi_size=(size, size, -1)),
        ]
    )
    parts: dict[str, list[torch.Tensor]] = {key: [] for key in keys}
    for item in make_datalist(datalist)[split]:
        if item["subject"] in trained.get("training_subjects", []):
            raise ValueError(f"datalist={datalist!r}: subject {item['subject']} of its {split} list was trained on.")
        pair = load(item)
        depth = pair["image"].shape[-1]
        chosen = [round((i + 0.5) * depth / count - 0.5) for i in range(count)]
        for key in keys:
            parts[key].append(pair[key].as_tensor()[..., chosen].permute(3, 0, 1, 2).float())
    return torch.cat(parts["image"]), torch.cat(parts["condition"])
