"""What every network must satisfy that restores an image in one call from its condition."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from monai_cdiff.inferers import RegressionInferer
from monai_cdiff.networks import Parameterization

SHAPES_2D = [(1, 16, 16), (2, 17, 30), (1, 1, 9), (2, 1, 1)]
SHAPES_3D = [(1, 8, 8, 4), (2, 7, 9, 1)]


class RestoringNetworkContract:
    """Subclasses name the network, its sizes and, if need be, the size that the table's operations are for."""

    network: ClassVar[Any]
    sizes: ClassVar[Mapping[str, Any]]
    table_image: ClassVar[Mapping[str, int]] = {}

    def make(self, spatial_dims: int = 2, seed: int = 0, **kwargs: Any) -> Any:
        torch.manual_seed(seed)
        return type(self).network(spatial_dims, in_channels=2, out_channels=1, size="tiny", **kwargs)

    def loss(self, net: Any, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """What the network is trained by."""
        return (net(x) - target).abs().mean()

    @pytest.mark.parametrize("shape", SHAPES_2D + SHAPES_3D, ids=str)
    def test_images_of_any_size(self, shape: tuple[int, ...]) -> None:
        net = self.make(len(shape) - 1).eval()
        batch, *size = shape
        x = torch.randn(batch, 2, *size)
        with torch.no_grad():
            out = net(x)
            with torch.autocast("cpu", torch.bfloat16):
                auto = net(x)
        assert out.shape == (batch, 1, *size) and out.dtype == torch.float32 and out.isfinite().all()
        assert auto.shape == out.shape and (auto.float() - out).norm() < 0.1 * out.norm() + 1e-3

    def test_padding_repeats_the_border_at_the_far_end(self) -> None:
        net = self.make().eval()
        multiple = net.size_multiple
        x = torch.randn(1, 2, 2 * multiple - 1, multiple)
        padded = torch.cat([x, x[:, :, -1:]], dim=2)
        torch.testing.assert_close(net(x), net(padded)[:, :, :-1], atol=1e-5, rtol=1e-5)

    def test_evaluation_is_deterministic_and_items_do_not_see_each_other(self) -> None:
        net, x = self.make().eval(), torch.randn(3, 2, 20, 16)
        with torch.no_grad():
            batch = net(x)
            torch.manual_seed(99)
            assert torch.equal(net(x), batch)
            for i in range(3):
                torch.testing.assert_close(net(x[i : i + 1]), batch[i : i + 1], atol=1e-4, rtol=1e-4)

    def test_gradients_reach_every_parameter(self) -> None:
        net = self.make().train()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        self.loss(net, torch.randn(2, 2, 20, 16), torch.randn(2, 1, 20, 16)).backward()
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0, name

    def test_both_input_channels_matter(self) -> None:
        net, x = self.make().eval(), torch.randn(1, 2, 16, 16)
        for channel in range(2):
            changed = x.clone()
            changed[:, channel, :8, :8] += 1
            assert (net(changed) - net(x)).abs().max() > 1e-6

    def test_one_batch_is_learned_by_heart(self) -> None:
        net = self.make().train()
        x = torch.randn(2, 2, 16, 16, generator=torch.Generator().manual_seed(0))
        target = 0.5 * x[:, :1] - 0.3 * x[:, 1:].flip(-1)
        optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
        with torch.no_grad():
            before = (net.eval()(x) - target).square().mean()
        for _ in range(150):
            optimizer.zero_grad()
            self.loss(net.train(), x, target).backward()
            optimizer.step()
        with torch.no_grad():
            after = (self.recall(net, x, target) - target).square().mean()
        assert after < 0.4 * before, (before, after)

    def recall(self, net: Any, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The image that training made the network return."""
        return net.eval()(x)

    def test_it_stands_in_the_regression_inferer(self) -> None:
        net, x = self.make().eval(), torch.randn(1, 2, 12, 9)
        restore = RegressionInferer(Parameterization("sample", target="residual", residual_scale=2.0))
        with torch.no_grad():
            expected = x[:, :1] + net(x) / 2
        torch.testing.assert_close(restore(x, net), expected)

    def test_weights_survive_a_round_trip(self) -> None:
        net, other, x = self.make(), self.make(seed=1), torch.randn(1, 2, 9, 9)
        other.load_state_dict(net.state_dict())
        assert torch.equal(other.eval()(x), net.eval()(x))

    @pytest.mark.parametrize("name", ["timesteps", "context", "class_labels"])
    def test_unused_arguments_are_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"{name} was given, but {type(self).network.__name__} does not use it"):
            self.make()(torch.zeros(1, 2, 8, 8), **{name: torch.zeros(1)})

    @pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 2, 8), (1, 2, 0, 8), (2, 8, 8)], ids=str)
    def test_wrong_shapes_are_named(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=rf"x has shape {re.escape(str(shape))}; expected \(B, 2, H, W\)"):
            self.make()(torch.zeros(shape))

    def test_wrong_arguments_are_named(self) -> None:
        network = type(self).network
        with pytest.raises(ValueError, match=r"size='papr' is not supported.*Did you mean 'paper'"):
            network(2, 1, 1, size="papr")
        with pytest.raises(ValueError, match="spatial_dims=4 must be a whole number, from 2 to 3"):
            network(4, 1, 1)
        with pytest.raises(ValueError, match="in_channels=0"):
            network(2, 0, 1)
        with pytest.raises(ValueError, match="out_channels=0"):
            network(2, 1, 0)

    def test_the_documented_table(self) -> None:
        rows = re.findall(r"``(\w+)``\s.*?\s([\d.]+) M\s+([\d.]+)\n", type(self).network.__doc__ or "")
        assert [name for name, *_ in rows] == list(type(self).sizes)
        for name, parameters, gflop in rows:
            side = self.table_image.get(name, 128)
            with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
                net = type(self).network(2, in_channels=1, out_channels=1, size=name).eval()
                net(torch.zeros(1, 1, side, side))
            assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(float(parameters), rel=0.02)
            assert counter.get_total_flops() / 1e9 == pytest.approx(float(gflop), rel=0.02)
