"""Checkpoints of networks that were never trained, in a moment: what a test of an evaluation needs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from monai_cdiff.handlers import write_checkpoint
from monai_cdiff.networks import Parameterization
from monai_cdiff.networks.nets import ConditionalUNet
from monai_cdiff.networks.schedulers import DDIMScheduler

NORMALISATION = {"lower": 0.5, "upper": 99.5, "ref_key": "condition"}
OWN: dict[str, dict[str, Any]] = {
    "sr": {"factor": 2.0, "domain": "image"},
    "denoise": {"noise": {"std": 0.1, "amount": 0.05}},
    "inpaint": {"mask": {"area": [0.02, 0.1], "max_pieces": 4}},
}


def write_untrained(task: str, file: Path, **settings: Any) -> Path:
    """A checkpoint of the tiny network of a task, its weights random; ``method="regression"`` makes it one of those."""
    regression = settings.get("method") == "regression"
    channels = {"sr": 1, "denoise": 1, "inpaint": 2}[task]
    torch.manual_seed(0)
    network = ConditionalUNet(2, channels + (0 if regression else 1), 1, size="tiny")
    kind = "sample" if regression else "v_prediction"
    parameterization = Parameterization(kind, target="residual", residual_scale=3.0)
    scheduler = DDIMScheduler(2000, prediction_type=kind, timestep_spacing="logsnr")
    known = {"task": task, "spatial_dims": 2, "network_size": "tiny", "image_size": None}
    known |= {"normalisation": NORMALISATION, "training_subjects": ["elsewhere"]}
    content = {
        "network": network.state_dict(),
        "settings": {**known, **OWN[task], **settings},
        "scheduler": scheduler.state_dict(),
        "parameterization": dataclasses.asdict(parameterization),
        "iteration": 0,
        "train_seconds": 0.0,
    }
    write_checkpoint(content, file)
    return file
