"""SRGAN: any size, the stem and the doublings, its weights beside the publication's, and its discriminator."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from contracts.restoring_network_contract import RestoringNetworkContract
from monai_cdiff.networks.nets import SRGAN_SIZES, SRGANDiscriminator, SRGANGenerator, SRGANSize


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


class TestSRGANGenerator(RestoringNetworkContract):
    network = SRGANGenerator
    sizes = SRGAN_SIZES

    def recall(self, net, x, target):
        return net.train()(x)  # the running statistics of so short a training lag behind

    def test_one_block_written_out(self) -> None:
        net, x = self.make(num_res_blocks=1).eval(), torch.randn(2, 2, 8, 6)
        unit, last = net.body
        stem = net.stem.adn(net.stem.conv(F.pixel_unshuffle(x, 2)))
        h = F.prelu(unit.first.adn.N(unit.first.conv(stem)), unit.first.adn.A.weight)
        h = stem + unit.second.adn.N(unit.second.conv(h))
        h = stem + last.adn.N(last.conv(h))
        double, act = net.doublings[0]
        h = F.prelu(F.pixel_shuffle(double.conv_block(h), 2), act.weight)
        torch.testing.assert_close(net(x), net.head(h), atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("patch, doublings", [(1, 0), (2, 1), (4, 2), (8, 3)])
    def test_as_many_doublings_as_the_stem_folds(self, patch: int, doublings: int) -> None:
        net = self.make(space_to_depth=patch).eval()
        assert len(net.doublings) == doublings and net.size_multiple == patch
        assert net(torch.randn(1, 2, 8, 9)).shape == (1, 1, 8, 9)

    def test_weights_of_the_publication_but_for_the_stem(self) -> None:
        # figure 4 at three channels: 16 blocks, the layer after them, two doublings of 64 to 256, the last layer
        conv, norm = 64 * 64 * 9 + 64, 2 * 64
        blocks = 16 * (2 * (conv + norm) + 1) + conv + norm
        doublings = 2 * (64 * 256 * 9 + 256 + 1)
        with torch.device("meta"):
            net = SRGANGenerator(2, in_channels=3, out_channels=3)
        assert count(net) - count(net.stem) == blocks + doublings + 64 * 3 * 81 + 3

    def test_a_fresh_doubling_has_no_checkerboard(self) -> None:
        net = self.make().eval()
        fine = net.doublings(torch.randn(1, 8, 6, 6))
        torch.testing.assert_close(fine, fine[..., ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3))

    def test_wrong_arguments_of_its_own(self) -> None:
        with pytest.raises(ValueError, match=r"space_to_depth=3 is not supported; allowed: 1, 2, 4, 8"):
            SRGANGenerator(2, 1, 1, space_to_depth=3)
        with pytest.raises(ValueError, match="norm='GROUP'"):
            SRGANGenerator(2, 1, 1, size="tiny", norm="group")
        net = SRGANGenerator(2, 1, 1, channels=4, num_res_blocks=3, space_to_depth=1)
        assert net.config == SRGANSize(4, 3, 1)


class TestSRGANDiscriminator:
    def test_weights_of_the_publication(self) -> None:
        # figure 4: eight 3x3 convolutions, seven normalisations, dense layers on 6 x 6 x 512 features of a 96x96 image
        widths = [3, 64, 64, 128, 128, 256, 256, 512, 512]
        convolutions = sum(9 * a * b + b for a, b in zip(widths, widths[1:])) + sum(2 * b for b in widths[2:])
        dense = 6 * 6 * 512 * 1024 + 1024 + 1024 + 1
        with torch.device("meta"):
            assert count(SRGANDiscriminator(2, in_channels=3)) == convolutions + dense

    def test_pooling_changes_nothing_at_96(self) -> None:
        with torch.device("meta"):
            judge = SRGANDiscriminator(2, in_channels=1)
            assert judge.convolutions(torch.zeros(1, 1, 96, 96)).shape == (1, 512, 6, 6)

    @pytest.mark.parametrize("size", [(5, 5), (17, 30), (9, 8, 7)], ids=str)
    def test_images_of_any_size(self, size: tuple[int, ...]) -> None:
        judge = SRGANDiscriminator(len(size), in_channels=2, channels=(4, 8), pool_size=2, hidden_channels=8)
        logits = judge(torch.randn(2, 1, *size), torch.randn(2, 1, *size))
        logits.sum().backward()
        assert logits.shape == (2, 1) and all(p.grad is not None for p in judge.parameters())

    def test_what_is_refused(self) -> None:
        judge = SRGANDiscriminator(2, in_channels=1, channels=(4, 8), pool_size=2)
        with pytest.raises(ValueError, match="at least 5"):
            judge(torch.zeros(1, 1, 4, 9))
        with pytest.raises(ValueError, match="in_channels=1"):
            judge(torch.zeros(1, 1, 9, 9), torch.zeros(1, 1, 9, 9))
        with pytest.raises(ValueError, match="at least one level"):
            SRGANDiscriminator(2, 1, channels=())
