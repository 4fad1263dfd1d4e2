"""The hierarchical probabilistic U-Net: any size, seeds, prior and posterior, the divergence beside torch's."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from contracts.restoring_network_contract import RestoringNetworkContract
from monai_cdiff.losses import EvidenceLowerBoundLoss
from monai_cdiff.networks.nets import HPUNET_SIZES, HierarchicalProbabilisticUNet, HPUNetSize, kl_of_normals


def moved(net: torch.nn.Module) -> torch.nn.Module:
    """The network with its zero heads moved, so that prior and posterior say something."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


class TestHierarchicalProbabilisticUNet(RestoringNetworkContract):
    network = HierarchicalProbabilisticUNet
    sizes = HPUNET_SIZES

    def loss(self, net, x, target):
        return EvidenceLowerBoundLoss(beta=1e-3)(net(x, target=target), target)

    def recall(self, net, x, target):
        return net.eval()(x, target=target).reconstruction

    def test_a_seed_gives_one_restoration_per_item(self) -> None:
        net, x = moved(self.make()).eval(), torch.randn(1, 2, 16, 16).expand(2, -1, -1, -1)

        def restore(*seeds: int) -> torch.Tensor:
            return net(x[: len(seeds)], generator=[torch.Generator().manual_seed(seed) for seed in seeds])

        both = restore(3, 4)
        assert torch.equal(restore(3, 4), both)
        torch.testing.assert_close(restore(4), both[1:], atol=1e-5, rtol=1e-4)
        assert not torch.allclose(both[0], both[1], atol=1e-4) and not torch.allclose(net(x), both, atol=1e-4)

    def test_every_scale_of_latents_matters(self) -> None:
        net, x = moved(self.make()).eval(), torch.randn(1, 2, 16, 16)
        features = net.prior.encode(x)
        zero = [torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 8, 8)]
        for scale in range(2):
            latents = [z + 3 * (i == scale) for i, z in enumerate(zero)]
            images = []
            for z in (zero, latents):
                h, used, _ = net._descend(net.prior, features, z, None)
                images.append(net._finish(h, used[-1], features))
            assert (images[0] - images[1]).abs().max() > 1e-3, scale

    def test_a_fresh_net_has_no_divergence(self) -> None:
        net, x = self.make().eval(), torch.randn(2, 2, 16, 16)
        output = net(x, target=torch.randn(2, 1, 16, 16))
        assert torch.equal(output.kl, torch.zeros(2, 2))

    def test_prior_equals_posterior_where_both_see_the_same(self) -> None:
        net = moved(self.make()).eval()
        weights = {name: value.clone() for name, value in net.prior.state_dict().items()}
        for name, value in net.posterior.state_dict().items():
            if value.shape != weights[name].shape:  # the first layers, which also see the original: by nothing
                grown = torch.zeros_like(value)
                grown[:, :2] = weights[name]
                weights[name] = grown
        net.posterior.load_state_dict(weights)
        x, generator = torch.randn(2, 2, 16, 16), torch.Generator().manual_seed(0)
        output = net(x, target=torch.randn(2, 1, 16, 16), generator=generator)
        assert output.kl.abs().max() < 1e-4
        torch.testing.assert_close(output.reconstruction, net(x, generator=generator.manual_seed(0)))

    def test_the_divergence_is_that_of_torch(self) -> None:
        torch.manual_seed(0)
        mean_q, log_q, mean_p, log_p = torch.randn(4, 50, dtype=torch.float64)
        expected = kl_divergence(Normal(mean_q, log_q.exp()), Normal(mean_p, log_p.exp()))
        torch.testing.assert_close(kl_of_normals(mean_q, log_q, mean_p, log_p), expected)

    def test_the_divergence_of_each_scale_is_summed_over_its_latents(self) -> None:
        net, x, target = moved(self.make()).eval(), torch.randn(2, 2, 16, 16), torch.randn(2, 1, 16, 16)
        seen = net.posterior.encode(torch.cat([x, target], dim=1))
        _, latents, posteriors = net._descend(net.posterior, seen, None, None)
        _, _, priors = net._descend(net.prior, net.prior.encode(x), latents, None)
        for scale, (q, p) in enumerate(zip(posteriors, priors)):
            expected = kl_divergence(Normal(q.mean, q.log_sigma.exp()), Normal(p.mean, p.log_sigma.exp()))
            torch.testing.assert_close(net(x, target=target).kl[:, scale], expected.sum(dim=(1, 2, 3)))
        assert net(x, target=target).kl.min() > 0

    def test_the_posterior_sees_the_original(self) -> None:
        net, x = moved(self.make()).eval(), torch.randn(1, 2, 16, 16)
        first, second = (net(x, target=value * torch.ones(1, 1, 16, 16)).reconstruction for value in (-1, 1))
        assert (first - second).abs().max() > 1e-3

    def test_latents_have_the_standard_deviation_they_say(self) -> None:
        net, x = self.make().eval(), torch.zeros(64, 2, 32, 32)
        with torch.no_grad():
            for head, log_sigma in zip(net.prior.heads, (0.0, -1.5)):
                head.bias[1] = 5 * torch.tensor(log_sigma / 5).atanh()
        _, latents, _ = net._descend(net.prior, net.prior.encode(x), None, torch.Generator().manual_seed(0))
        assert [tuple(z.shape) for z in latents] == [(64, 1, 8, 8), (64, 1, 16, 16)]
        for z, log_sigma in zip(latents, (0.0, -1.5)):
            assert z.std().item() == pytest.approx(math.exp(log_sigma), rel=0.05)

    def test_wrong_arguments_of_its_own(self) -> None:
        with pytest.raises(ValueError, match=r"channels=\(4, 5\) must be even"):
            HierarchicalProbabilisticUNet(2, 1, 1, channels=(4, 5), latent_channels=(1,))
        with pytest.raises(ValueError, match=r"latent_channels=\(1, 1, 1\) must name .* fewer than the 3 levels"):
            HierarchicalProbabilisticUNet(2, 1, 1, size="tiny", latent_channels=(1, 1, 1))
        with pytest.raises(ValueError, match=r"target has shape \(1, 1, 8, 9\); expected \(1, 1, 8, 8\)"):
            self.make()(torch.zeros(1, 2, 8, 8), target=torch.zeros(1, 1, 8, 9))
        net = HierarchicalProbabilisticUNet(2, 1, 1, channels=[4, 4], latent_channels=[2], num_res_blocks=2)
        assert net.config == HPUNetSize((4, 4), (2,), 2)
        assert net(torch.zeros(1, 1, 5, 4)).shape == (1, 1, 5, 4)
