"""The contract of the conditional U-Net: any size, any form of timestep, MONAI's call."""

from __future__ import annotations

import io
import re

import pytest
import torch
from monai.inferers import DiffusionInferer
from monai.networks.schedulers import DDPMScheduler
from parameterized import parameterized
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from monai_cdiff.networks.blocks import SelfAttentionBlock
from monai_cdiff.networks.nets import UNET_SIZES, ConditionalUNet, UNetSize


def make_net(spatial_dims: int = 2, fresh: bool = False, **kwargs) -> ConditionalUNet:
    """A tiny net whose zero-initialised layers have been moved, so that everything in it has an effect."""
    torch.manual_seed(0)
    net = ConditionalUNet(spatial_dims, in_channels=2, out_channels=1, size="tiny", **kwargs).eval()
    if not fresh:
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return net


SHAPES = [
    ("2d", 2, (1, 2, 16, 16)),
    ("2d_odd", 2, (2, 2, 17, 30)),
    ("2d_thin", 2, (1, 2, 1, 9)),
    ("2d_pixel", 2, (2, 2, 1, 1)),
    ("3d", 3, (1, 2, 8, 8, 4)),
    ("3d_odd", 3, (2, 2, 7, 9, 5)),
    ("3d_slice", 3, (1, 2, 9, 8, 1)),
]


@parameterized.expand(SHAPES)
def test_output_has_the_size_of_the_input(_name, spatial_dims, shape):
    net = make_net(spatial_dims)
    x = torch.randn(shape)
    expected = (shape[0], 1, *shape[2:])
    out = net(x, timesteps=torch.tensor([10]))
    assert out.shape == expected and out.dtype == torch.float32 and out.isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        auto = net(x, timesteps=torch.tensor([10]))
    assert auto.shape == expected and auto.dtype == torch.bfloat16
    assert (auto.float() - out).norm() < 0.05 * out.norm()
    half = net.to(torch.bfloat16)(x.to(torch.bfloat16), timesteps=torch.tensor([10]))
    assert half.shape == expected and half.dtype == torch.bfloat16
    assert (half.float() - out).norm() < 0.1 * out.norm()


@parameterized.expand(SHAPES)
def test_fresh_net_returns_exactly_zero(_name, spatial_dims, shape):
    net = make_net(spatial_dims, fresh=True, attention_levels=(True, True))
    out = net(torch.randn(shape), timesteps=500)
    assert torch.equal(out, torch.zeros_like(out))


@parameterized.expand([("stem", 2), ("no_stem", 1), ("coarse_stem", 3)])
def test_padding_is_the_repeated_border(_name, space_to_depth):
    net = make_net(space_to_depth=space_to_depth)
    multiple = 2 * space_to_depth
    assert net.size_multiple == multiple
    x = torch.randn(1, 2, 4 * multiple - 1, 3 * multiple)
    padded = torch.cat([x, x[:, :, -1:]], dim=2)
    out = net(x, timesteps=3)
    assert out.is_contiguous()
    torch.testing.assert_close(out, net(padded, timesteps=3)[:, :, :-1], atol=1e-6, rtol=0)


def test_forms_of_the_timestep_agree():
    net, x = make_net(), torch.randn(2, 2, 12, 12)
    assert torch.equal(net(x), net(x, timesteps=0))
    reference = net(x, timesteps=torch.tensor([40, 40]))
    for form in (40, 40.0, torch.tensor(40), torch.tensor([40]), torch.tensor([40.0, 40.0], dtype=torch.float64)):
        assert torch.equal(net(x, timesteps=form), reference)
    assert torch.equal(net(x, torch.tensor([40, 40])), reference)


def test_time_matters_fractions_included():
    net, x = make_net(), torch.randn(1, 2, 12, 12)
    at = {t: net(x, timesteps=t) for t in (40, 40.5, 41, 900)}
    scale = at[40].norm()
    for other in (40.5, 41, 900):
        assert (at[40] - at[other]).norm() > 1e-3 * scale
    assert (at[40] - at[40.5]).norm() < (at[40] - at[41]).norm()


def test_each_item_has_its_own_time():
    net, x = make_net(), torch.randn(1, 2, 12, 12)
    both = net(x.expand(2, -1, -1, -1), timesteps=torch.tensor([3, 700]))
    torch.testing.assert_close(both[1:], net(x, timesteps=700), atol=1e-5, rtol=0)
    assert not torch.allclose(both[0], both[1], atol=1e-3)


@parameterized.expand([("2d", 2, (15, 18)), ("3d", 3, (6, 7, 5))])
def test_items_of_a_batch_do_not_see_each_other(_name, spatial_dims, size):
    net = make_net(spatial_dims, attention_levels=(False, True))
    x, timesteps = torch.randn(3, 2, *size), torch.tensor([0.0, 17.5, 999.0])
    batch = net(x, timesteps=timesteps)
    for i in range(3):
        torch.testing.assert_close(batch[i : i + 1], net(x[i : i + 1], timesteps=timesteps[i]), atol=1e-5, rtol=0)


def test_both_input_channels_matter():
    net, x = make_net(), torch.randn(1, 2, 12, 12)
    for channel in range(2):
        changed = x.clone()
        changed[:, channel, 5, 5] += 1
        assert (net(changed) - net(x)).abs().max() > 1e-3


def test_two_levels_written_out():
    net, x = make_net(attention_levels=(False, True)), torch.randn(2, 2, 12, 16)
    embedding = net.time_embedding(torch.tensor([3.0, 70.0]))
    (enc0,), (enc1,), (mid0, mid1) = net.encoder[0], net.encoder[1], net.middle
    (dec0a, dec0b), (dec1a, dec1b) = net.decoder

    stem = net.conv_in(F.pixel_unshuffle(x, 2))
    fine = enc0.residual(stem, embedding)
    down = net.downsamples[0](fine)
    coarse = enc1.attention(enc1.residual(down, embedding))
    h = mid0.attention(mid0.residual(coarse, embedding))
    h = mid1.residual(h, embedding)
    h = dec1a.attention(dec1a.residual(torch.cat([h, coarse], dim=1), embedding))
    h = dec1b.attention(dec1b.residual(torch.cat([h, down], dim=1), embedding))
    h = net.upsamples[0][1](h.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
    h = dec0a.residual(torch.cat([h, fine], dim=1), embedding)
    h = dec0b.residual(torch.cat([h, stem], dim=1), embedding)
    h = net.norm_out(h)
    expected = F.pixel_shuffle(net.conv_out(h * h.sigmoid()), 2)
    torch.testing.assert_close(net(x, timesteps=torch.tensor([3, 70])), expected, atol=1e-5, rtol=1e-5)


@parameterized.expand([("plain", {}), ("attention", {"attention_levels": (False, True)}), ("3d", {"spatial_dims": 3})])
def test_gradients_reach_every_parameter(_name, kwargs):
    net = make_net(**kwargs).train()
    x = torch.randn(2, 2, *[10] * net.spatial_dims)
    net(x, timesteps=torch.tensor([5, 800])).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # A constant added to all keys changes no softmax: a third of this bias has no gradient, by rights.
        assert parameter.grad.abs().max() > 0, name


def test_fresh_net_uses_every_parameter():
    # Data-parallel training waits for a gradient of each parameter, zero or not, from the first step on.
    net = make_net(fresh=True, attention_levels=(True, False)).train()
    net(torch.randn(1, 2, 9, 9)).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert net.conv_out.weight.grad.abs().max() > 0


@parameterized.expand([("fp32", False), ("bf16", True)])
def test_checkpointing_changes_neither_output_nor_gradients(_name, autocast):
    results = []
    for use_checkpoint in (False, True):
        net = make_net(use_checkpoint=use_checkpoint, dropout=0.3, attention_levels=(False, True)).train()
        torch.manual_seed(7)
        x = torch.randn(2, 2, 11, 12)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = net(x, timesteps=torch.tensor([5, 800]))
        out.float().square().mean().backward()
        results.append((out, [parameter.grad for parameter in net.parameters()]))
    (plain, plain_grads), (stored, stored_grads) = results
    assert torch.equal(plain, stored)
    for a, b in zip(plain_grads, stored_grads):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_checkpointing_stores_less():
    def saved_bytes(use_checkpoint: bool) -> int:
        total = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        net = make_net(use_checkpoint=use_checkpoint, num_res_blocks=2).train()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            net(torch.randn(1, 2, 64, 64))
        return total

    assert saved_bytes(True) < 0.5 * saved_bytes(False)


@parameterized.expand([("2d", 2, torch.channels_last), ("3d", 3, torch.channels_last_3d)])
def test_memory_format_does_not_change_the_output(_name, spatial_dims, memory_format):
    net = make_net(spatial_dims, attention_levels=(False, True))
    x = torch.randn(2, 2, *[9] * spatial_dims)
    expected = net(x, timesteps=9)
    net.to(memory_format=memory_format)
    torch.testing.assert_close(net(x.to(memory_format=memory_format), timesteps=9), expected, atol=1e-5, rtol=1e-4)


def test_state_dict_round_trip():
    net, x = make_net(attention_levels=(True, False)), torch.randn(1, 2, 10, 14)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other = make_net(fresh=True, attention_levels=(True, False))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(x, timesteps=4), net(x, timesteps=4))


def test_takes_the_place_of_monais_net_in_monais_inferer():
    scheduler = DDPMScheduler(num_train_timesteps=20)
    inferer = DiffusionInferer(scheduler)
    image, condition, noise = torch.randn(3, 2, 1, 16, 16).unbind(0)
    net, timesteps = make_net(), torch.tensor([3, 11])
    out = inferer(image, net, noise, timesteps, condition=condition, mode="concat")
    noisy = scheduler.add_noise(original_samples=image, noise=noise, timesteps=timesteps)
    assert torch.equal(out, net(torch.cat([noisy, condition], dim=1), timesteps))


@pytest.mark.slow
def test_one_graph_without_data_dependent_branches():
    net = make_net(attention_levels=(False, True))
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    for size in ((16, 16), (9, 13)):
        x = torch.randn(2, 2, *size)
        torch.testing.assert_close(compiled(x, timesteps=torch.tensor([3, 9])), net(x, torch.tensor([3, 9])))


def table_rows() -> dict[str, tuple[str, ...]]:
    pattern = r"``(\w+)``\s+([\d, ]+?)\s{2,}(\d+)\s+(level \d|none)\s+(\d)\s+([\d.]+) M\s+([\d.]+)\n"
    return {name: tuple(rest) for name, *rest in re.findall(pattern, ConditionalUNet.__doc__ or "")}


@parameterized.expand(sorted(UNET_SIZES))
def test_documented_size_table(size):
    channels, blocks, attention, stem, parameters, gflop = table_rows()[size]
    with torch.device("meta"):
        net = ConditionalUNet(2, in_channels=2, out_channels=1, size=size)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(torch.zeros(1, 2, 128, 128), timesteps=0)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(float(parameters), rel=0.02)
    assert counter.get_total_flops() / 1e9 == pytest.approx(float(gflop), rel=0.02)
    config = net.config
    assert ", ".join(map(str, config.channels)) == channels
    assert set(config.num_res_blocks) == {int(blocks)}
    assert config.space_to_depth == int(stem)
    levels = [f"level {i + 1}" for i, attends in enumerate(config.attention_levels) if attends]
    assert (levels or ["none"]) == [attention]
    attending = [name for name, module in net.named_modules() if isinstance(module, SelfAttentionBlock)]
    assert any(name.startswith("middle.0") for name in attending) == (attention != "none")
    assert not any(name.startswith("middle.1") for name in attending)


def test_table_documents_every_size():
    assert set(table_rows()) == set(UNET_SIZES)


def test_overrides_replace_single_entries():
    net = ConditionalUNet(2, 3, 2, "small", channels=[32, 64], num_res_blocks=(1, 2), attention_levels=[False, True])
    assert (net.spatial_dims, net.in_channels, net.out_channels, net.size) == (2, 3, 2, "small")
    small = UNET_SIZES["small"]
    assert net.config == UNetSize(
        channels=(32, 64),
        num_res_blocks=(1, 2),
        attention_levels=(False, True),
        space_to_depth=small.space_to_depth,
        num_head_channels=small.num_head_channels,
        norm_num_groups=small.norm_num_groups,
    )
    assert [len(stages) for stages in net.encoder] == [1, 2]
    assert [len(stages) for stages in net.decoder] == [2, 3]
    assert net(torch.randn(1, 3, 9, 6)).shape == (1, 2, 9, 6)


def test_one_value_serves_all_levels():
    deeper = {"channels": (16, 16, 32)}
    assert ConditionalUNet(2, 1, 1, "small", num_res_blocks=2).config.num_res_blocks == (2, 2, 2)
    assert ConditionalUNet(2, 1, 1, "tiny", attention_levels=True).config.attention_levels == (True, True)
    config = ConditionalUNet(2, 1, 1, "tiny", **deeper).config
    assert config.num_res_blocks == (1, 1, 1) and config.attention_levels == (False, False, False)
    with pytest.raises(ValueError, match="attention_levels=.* needs one value for each of the 3 channels"):
        ConditionalUNet(2, 1, 1, "base", **deeper)


@parameterized.expand(
    [
        ("size", {"size": "smal"}, "size='smal' is not supported; allowed: 'paper', 'base', 'small', 'tiny'"),
        ("spatial_dims", {"spatial_dims": 4}, "spatial_dims=4 must be a whole number, from 2 to 3"),
        ("in_channels", {"in_channels": 0}, "in_channels=0 must be a whole number, at least 1"),
        ("out_channels", {"out_channels": 1.5}, "out_channels=1.5 must be a whole number"),
        ("no_level", {"channels": ()}, "must name at least one level"),
        ("channel", {"channels": (16, 0)}, r"channels\[1\]=0 must be a whole number"),
        ("attention", {"attention_levels": (True,)}, r"attention_levels=\(True,\) needs one value for each of the 2"),
        ("blocks", {"num_res_blocks": (1, 1, 1)}, r"num_res_blocks=\(1, 1, 1\) needs one value for each of the 2"),
        ("no_block", {"num_res_blocks": 0}, r"num_res_blocks\[0\]=0 must be a whole number"),
        ("groups", {"norm_num_groups": 5}, r"norm_num_groups=5 must divide each of channels=\(16, 32\)"),
        ("stem", {"space_to_depth": 0}, "space_to_depth=0 must be a whole number"),
        ("head", {"num_head_channels": 7, "attention_levels": (False, True)}, "num_head_channels=7 must divide"),
        ("dropout", {"dropout": 1.5}, "dropout=1.5 must be a finite number"),
    ]
)
def test_wrong_arguments_are_named(_name, kwargs, message):
    with pytest.raises(ValueError, match=message):
        ConditionalUNet(**{"spatial_dims": 2, "in_channels": 2, "out_channels": 1, "size": "tiny", **kwargs})


@parameterized.expand(
    [
        ("channels", (1, 3, 8, 8), r"x has shape \(1, 3, 8, 8\); expected \(B, 2, H, W\)"),
        ("dimensions", (1, 2, 8, 8, 8), r"x has shape \(1, 2, 8, 8, 8\); expected \(B, 2, H, W\)"),
        ("no_batch", (2, 8, 8), r"x has shape \(2, 8, 8\); expected \(B, 2, H, W\)"),
        ("empty", (1, 2, 0, 8), r"x has shape \(1, 2, 0, 8\); expected .* sizes from 1"),
    ]
)
def test_wrong_shapes_are_named(_name, shape, message):
    with pytest.raises(ValueError, match=message):
        make_net()(torch.zeros(shape))


def test_volume_expected_by_the_3d_net():
    with pytest.raises(ValueError, match=r"expected \(B, 2, H, W, D\).*spatial_dims=3 and in_channels=2"):
        make_net(spatial_dims=3)(torch.zeros(1, 2, 8, 8))


@parameterized.expand([("context",), ("class_labels",)])
def test_unused_inputs_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} was given, but ConditionalUNet does not use it"):
        make_net()(torch.zeros(1, 2, 8, 8), **{name: torch.zeros(1, 1, 4)})


def test_wrong_number_of_timesteps_is_refused():
    with pytest.raises(ValueError, match=r"timesteps has shape \(3,\)"):
        make_net()(torch.zeros(2, 2, 8, 8), timesteps=torch.zeros(3))
