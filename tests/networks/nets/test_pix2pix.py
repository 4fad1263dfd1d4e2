"""Pix2pix: any size, its noise, its weights beside those of the publication's code, and its discriminator."""

from __future__ import annotations

import pytest
import torch
from monai.losses import PatchAdversarialLoss
from torch.nn import functional as F

from contracts.restoring_network_contract import RestoringNetworkContract
from monai_cdiff.networks.nets import PIX2PIX_SIZES, ConditionalPatchDiscriminator, Pix2PixGenerator, Pix2PixSize


class TestPix2PixGenerator(RestoringNetworkContract):
    network = Pix2PixGenerator
    sizes = PIX2PIX_SIZES
    table_image = {"paper": 256}

    def test_two_levels_written_out(self) -> None:
        net, x = self.make(channels=(4, 6), dropout_levels=0).eval(), torch.randn(2, 2, 8, 12)
        fine, coarse = net.encoder
        e1 = F.leaky_relu(F.conv2d(x, fine.conv.weight, fine.conv.bias, stride=2, padding=1), 0.2)
        e2 = F.leaky_relu(F.conv2d(e1, coarse.conv.weight, coarse.conv.bias, stride=2, padding=1), 0.2)
        h = F.conv_transpose2d(e2, net.decoder[0].conv.weight, stride=2, padding=1)
        h = (h - h.mean((2, 3), keepdim=True)) / (h.var((2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
        h = torch.cat([F.relu(h), F.relu(e1)], dim=1)
        head = net.head.conv
        expected = F.conv_transpose2d(h, head.weight, head.bias, stride=2, padding=1)
        torch.testing.assert_close(net(x), expected, atol=1e-5, rtol=1e-5)

    def test_noise_is_that_of_the_generator_and_of_the_item(self) -> None:
        net, x = self.make().eval(), torch.randn(1, 2, 16, 16).expand(2, -1, -1, -1)

        def restore(*seeds: int) -> torch.Tensor:
            return net(x[: len(seeds)], generator=[torch.Generator().manual_seed(seed) for seed in seeds])

        both = restore(3, 4)
        torch.testing.assert_close(restore(4), both[1:], atol=1e-5, rtol=1e-4)
        assert torch.equal(restore(3, 4), both) and not torch.allclose(both[0], both[1], atol=1e-6)
        assert not torch.allclose(net(x), both, atol=1e-6)
        assert torch.equal(net.train()(x, generator=torch.Generator().manual_seed(0)),
                           net.train()(x, generator=torch.Generator().manual_seed(0)))  # fmt: skip

    def test_dropout_drops_its_share_and_keeps_the_mean(self) -> None:
        net = self.make(dropout=0.3)
        dropped = net._drop(torch.ones(1, 1, 200, 200), torch.Generator().manual_seed(0))
        assert (dropped == 0).float().mean() == pytest.approx(0.3, abs=0.01)
        assert dropped.max().item() == pytest.approx(1 / 0.7)

    def test_dropout_of_zero_is_no_noise(self) -> None:
        net, x = self.make(dropout=0.0).eval(), torch.randn(1, 2, 8, 8)
        assert torch.equal(net(x, generator=torch.Generator()), net(x))

    def test_bounded_ends_with_tanh(self) -> None:
        x = 10 * torch.randn(1, 2, 16, 16)
        torch.testing.assert_close(self.make(bounded=True).eval()(x), self.make().eval()(x).tanh())

    def test_weights_of_the_publications_u_net_256(self) -> None:
        with torch.device("meta"):
            count = sum(p.numel() for p in Pix2PixGenerator(2, in_channels=3, out_channels=3).parameters())
        assert count == pytest.approx(54.414e6, rel=1e-4)  # what the authors' code prints of its "unet_256"

    def test_wrong_levels_are_named(self) -> None:
        with pytest.raises(ValueError, match=r"channels=\(8,\) must name at least two levels"):
            Pix2PixGenerator(2, 1, 1, channels=(8,))
        with pytest.raises(ValueError, match="dropout=1.0"):
            Pix2PixGenerator(2, 1, 1, size="tiny", dropout=1.0)
        assert Pix2PixGenerator(2, 1, 1, channels=[4, 4], dropout_levels=0).config == Pix2PixSize((4, 4), 0)


class TestConditionalPatchDiscriminator:
    def test_weights_of_the_publications_70x70_discriminator(self) -> None:
        with torch.device("meta"):
            count = sum(p.numel() for p in ConditionalPatchDiscriminator(2, in_channels=6).parameters())
        assert count == pytest.approx(2.769e6, rel=1e-3)  # what the authors' code prints of its "basic" one

    @pytest.mark.parametrize("layers, field", [(1, 16), (2, 34), (3, 70), (4, 142)])
    def test_a_patch_has_the_documented_side(self, layers: int, field: int) -> None:
        judge = ConditionalPatchDiscriminator(2, in_channels=1, channels=2, num_layers=layers)
        judge.eval()  # statistics of the batch would see the whole image
        side = 2 * field + 2 ** (layers + 2)
        x = torch.zeros(1, 1, side, 8 * 2**layers, requires_grad=True)
        logits = judge(x)
        logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
        rows = x.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
        assert rows.max() - rows.min() + 1 == field

    def test_the_condition_matters_and_the_image_alone_will_do(self) -> None:
        torch.manual_seed(0)
        x, condition = torch.randn(2, 1, 32, 32), torch.randn(2, 1, 32, 32)
        judge = ConditionalPatchDiscriminator(2, in_channels=2, channels=4, num_layers=2).eval()
        assert not torch.allclose(judge(x, condition), judge(x, condition + 1))
        assert torch.equal(judge(x, condition), judge(torch.cat([condition, x], dim=1)))

    def test_its_logits_suit_monais_loss(self) -> None:
        logits = ConditionalPatchDiscriminator(2, in_channels=1, channels=4)(torch.randn(2, 1, 32, 32))
        loss = PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)
        value = loss(logits, target_is_real=True, for_discriminator=True)
        torch.testing.assert_close(value, (logits - 1).square().mean())

    def test_what_is_refused(self) -> None:
        judge = ConditionalPatchDiscriminator(2, in_channels=2, channels=4)
        with pytest.raises(ValueError, match="at least 24"):
            judge(torch.zeros(1, 2, 23, 64))
        with pytest.raises(ValueError, match="in_channels=2"):
            judge(torch.zeros(1, 2, 32, 32), torch.zeros(1, 1, 32, 32))
        with pytest.raises(ValueError, match="norm='LAYER'"):
            ConditionalPatchDiscriminator(2, 1, norm="layer")
        assert judge(torch.zeros(1, 2, 24, 24)).shape == (1, 1, 1, 1)
