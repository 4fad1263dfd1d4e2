"""A training small enough for a test, on random images."""

from __future__ import annotations

from typing import Any

import torch
from monai.data import DataLoader

from monai_cdiff.data import IterationSampler, KeyedDataset
from monai_cdiff.engines import ConditionalDiffusionPrepareBatch, DiffusionTrainer
from monai_cdiff.inferers import ConditionalDiffusionInferer
from monai_cdiff.networks import Parameterization
from monai_cdiff.networks.nets import ConditionalUNet
from monai_cdiff.networks.schedulers import DDPMScheduler


def make_trainer(
    max_iterations: int = 5, batch_size: int = 2, epoch_length: int = 3, **kwargs: Any
) -> DiffusionTrainer:
    generator = torch.Generator().manual_seed(0)
    items = [{key: torch.rand(1, 8, 8, generator=generator) for key in ("image", "condition")} for _ in range(6)]
    scheduler, parameterization = DDPMScheduler(), Parameterization()
    torch.manual_seed(0)
    network = ConditionalUNet(2, in_channels=2, out_channels=1, size="tiny", dropout=kwargs.pop("dropout", 0.0))
    sampler = IterationSampler(batch_size, max_iterations)
    return DiffusionTrainer(
        device=torch.device("cpu"),
        max_epochs=-(-max_iterations // epoch_length),
        max_iterations=max_iterations,
        epoch_length=epoch_length,
        train_data_loader=DataLoader(KeyedDataset(items), batch_sampler=sampler),
        prepare_batch=ConditionalDiffusionPrepareBatch(scheduler, parameterization),
        network=network,
        inferer=ConditionalDiffusionInferer(scheduler, parameterization=parameterization),
        seed=0,
        loss_function=torch.nn.MSELoss(),
        optimizer=kwargs.pop("optimizer", torch.optim.SGD)(network.parameters(), lr=0.1),
        **kwargs,
    )
