"""Metrics of single images, gathered over two processes: what one process gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = """
import sys
import torch
import torch.distributed as dist
from lpips import LPIPS
from monai_cdiff.metrics import AcutanceMetric, BrightnessShiftMetric, FlickerMetric, LPIPSMetric

folder, rank, world = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
restored, original = torch.load(f"{folder}/images.pt")
own = slice(rank, None, world)
metrics = [AcutanceMetric(), BrightnessShiftMetric(), LPIPSMetric("squeeze", f"{folder}/squeeze.pth")]
for metric in metrics:
    metric(restored[own], original[own])
volumes = FlickerMetric()
deep = [images[own][..., None].repeat(1, 1, 1, 1, 3).cumsum(-1) for images in (restored, original)]
volumes(deep[0], deep[1])
torch.save([metric.aggregate() for metric in (*metrics, volumes)], f"{folder}/{world}-{rank}.pt")
if world > 1:
    dist.barrier()
    dist.destroy_process_group()  # its threads would end the process by an abort, now and then
"""


@pytest.mark.slow
def test_processes_give_what_one_gives(tmp_path: Path) -> None:
    from torchvision.models import squeezenet1_1

    torch.manual_seed(0)
    torch.save(squeezenet1_1(weights=None).state_dict(), tmp_path / "squeeze.pth")
    torch.save([torch.rand(7, 1, 32, 32) for _ in range(2)], tmp_path / "images.pt")  # an odd number

    def run(world: int) -> list[list[torch.Tensor]]:
        words = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path)]
        started = [subprocess.Popen([*words, str(rank), str(world)], env=dict(os.environ)) for rank in range(world)]
        assert [process.wait(240) for process in started] == [0] * world
        return [torch.load(tmp_path / f"{world}-{rank}.pt") for rank in range(world)]

    (alone,) = run(1)
    for together in run(2):
        assert torch.allclose(torch.stack(together), torch.stack(alone), rtol=1e-5, atol=0)
    assert all(bool(value != 0) for value in alone)
