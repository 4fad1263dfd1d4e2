"""UP-GAN: any size, the cascade and what flows through it, the variance of what it predicts."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from contracts.restoring_network_contract import RestoringNetworkContract
from monai_cdiff.losses import GeneralizedGaussianLoss
from monai_cdiff.networks.nets import UPGAN, UPGAN_SIZES, GeneralizedGaussian, UPGANSize


class TestUPGAN(RestoringNetworkContract):
    network = UPGAN
    sizes = UPGAN_SIZES

    def loss(self, net, x, target):
        return GeneralizedGaussianLoss()(net(x, all_stages=True), target)

    def test_two_stages_written_out(self) -> None:
        net, x = self.make().eval(), torch.randn(1, 2, 32, 32)
        first, second = net(x, all_stages=True)
        mean, alpha, beta = net.stages[0](x).chunk(3, dim=1)
        alpha, beta = F.softplus(alpha) + 1e-3, 4 ** torch.tanh(beta)
        torch.testing.assert_close(first, GeneralizedGaussian(mean, alpha, beta))
        again = net.stages[1](torch.cat([x, mean, alpha, beta], dim=1))
        torch.testing.assert_close(second.mean, again[:, :1])
        assert torch.equal(net(x), second.mean)

    @pytest.mark.parametrize("size", [(13, 20), (5, 6, 7)], ids=str)
    def test_scale_and_shape_are_positive_and_of_the_images_size(self, size: tuple[int, ...]) -> None:
        for stage in self.make(len(size))(50 * torch.randn(2, 2, *size), all_stages=True):
            assert {value.shape for value in stage} == {(2, 1, *size)}
            assert stage.scale.min() >= 1e-3 and 0.25 <= stage.shape.min() and stage.shape.max() <= 4
            assert stage.variance.isfinite().all() and stage.variance.min() > 0

    @pytest.mark.parametrize("detach", [True, False])
    def test_stages_learn_apart_if_detached(self, detach: bool) -> None:
        net = self.make(detach=detach)
        net(torch.randn(1, 2, 32, 32)).square().mean().backward()
        reached = any(p.grad is not None and p.grad.abs().max() > 0 for p in net.stages[0].parameters())
        assert reached is not detach
        assert all(p.grad is not None for p in net.stages[1].parameters())

    def test_variance_is_that_of_scipy(self) -> None:
        stats = pytest.importorskip("scipy.stats")
        for scale, shape in ((1.0, 2.0), (0.3, 1.0), (2.0, 0.5), (0.7, 4.0)):
            predicted = GeneralizedGaussian(*torch.tensor([0.0, scale, shape], dtype=torch.float64))
            assert predicted.variance.item() == pytest.approx(stats.gennorm.var(shape, scale=scale), rel=1e-9)

    def test_uncertainty_follows_the_error(self) -> None:
        # half of the image is noise that the condition does not tell: its scale must grow, the other's shrink
        net, generator = self.make(num_stages=1), torch.Generator().manual_seed(0)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
        x = torch.zeros(4, 2, 32, 32)
        x[..., 16:] = 1
        for _ in range(100):
            target = x[:, :1] * torch.randn(4, 1, 32, 32, generator=generator)
            optimizer.zero_grad()
            self.loss(net, x, target).backward()
            optimizer.step()
        (stage,) = net.eval()(x, all_stages=True)
        deviation = stage.variance.sqrt()
        assert deviation[..., 20:].mean() > 5 * deviation[..., :12].mean()

    def test_wrong_arguments_of_its_own(self) -> None:
        with pytest.raises(ValueError, match=r"channels=\(8, 8\) must name five levels"):
            UPGAN(2, 1, 1, channels=(8, 8))
        with pytest.raises(ValueError, match="num_stages=0"):
            UPGAN(2, 1, 1, size="tiny", num_stages=0)
        assert UPGAN(2, 1, 1, "tiny", channels=[4] * 5, num_stages=1).config == UPGANSize((4,) * 5, 1)
