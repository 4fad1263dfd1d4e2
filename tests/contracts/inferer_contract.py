"""What every inferer that restores keeps: the randomness contract, drop-in use, and what comes back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.inferers import Inferer


class Pointwise(torch.nn.Module):
    """A network that sees one voxel at a time, so that equal noise gives bit-equal results."""

    out_channels = 1

    def __init__(self, spatial_dims: int = 2) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.calls = 0

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: Any = None) -> torch.Tensor:
        self.calls += 1
        return torch.tanh(x[:, :1] - 0.5 * x[:, 1:2])


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class InfererContract:
    """Inherit, and set ``make`` to a function that builds the inferer from keyword arguments."""

    @staticmethod
    def make(**kwargs: Any) -> Inferer:
        raise NotImplementedError

    # each class that inherits runs it on its own inferer, which is what the health check would warn of
    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(order=st.permutations(range(4)), batch_size=st.integers(1, 5), seed=st.integers(0, 3))
    def test_items_do_not_depend_on_batch_or_order(self, order: list[int], batch_size: int, seed: int) -> None:
        inputs, keys = images(4, 1, 6, 5), ["a", "b", "c", "d"]
        together = self.make(seed=seed)(inputs, Pointwise(), keys=keys)
        shuffled = self.make(seed=seed, batch_size=batch_size)(
            inputs[order], Pointwise(), keys=[keys[i] for i in order]
        )
        assert torch.equal(shuffled, together[order])

    def test_volume_equals_its_slices_in_any_order(self) -> None:
        volume = images(1, 1, 6, 5, 4)
        whole = self.make()(volume, Pointwise(), keys=["p"])
        for z in (2, 0, 3):
            assert torch.equal(self.make()(volume[..., z], Pointwise(), keys=[f"p:{z}"]), whole[..., z])

    def test_keys_come_from_the_metadata(self) -> None:
        image = images(1, 6, 5)
        tagged = MetaTensor(image, meta={"subject": "p", "slice_index": 7})[None]
        assert torch.equal(
            self.make()(tagged, Pointwise()).as_tensor(), self.make()(image[None], Pointwise(), keys=["p:7"])
        )

    def test_keys_come_from_the_content_otherwise(self) -> None:
        inputs = images(3, 1, 6, 5)
        restored = self.make()(inputs, Pointwise())
        assert torch.equal(self.make()(inputs[2:], Pointwise()), restored[2:])
        assert not torch.equal(self.make(seed=1)(inputs, Pointwise()), restored)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
    def test_result_has_the_type_of_the_inputs(self, dtype: torch.dtype) -> None:
        restored = self.make()(images(2, 1, 6, 5).to(dtype), Pointwise())
        assert restored.dtype == dtype and restored.shape == (2, 1, 6, 5)

    def test_metadata_is_kept(self) -> None:
        affine = torch.diag(torch.tensor([0.5, 0.5, 3.0, 1.0], dtype=torch.float64))
        volume = MetaTensor(images(1, 1, 6, 5, 4), affine=affine, meta={"subject": "p"})
        restored = self.make()(volume, Pointwise())
        assert isinstance(restored, MetaTensor) and torch.equal(restored.affine, affine)
        assert restored.meta["subject"] == "p" and restored.shape == volume.shape

    def test_inputs_are_left_alone(self) -> None:
        inputs = images(2, 1, 6, 5)
        before = inputs.clone()
        self.make()(inputs, Pointwise())
        assert torch.equal(inputs, before) and not self.make()(inputs, Pointwise()).requires_grad

    def test_three_dimensional_network(self) -> None:
        assert self.make()(images(2, 1, 6, 5, 4), Pointwise(spatial_dims=3)).shape == (2, 1, 6, 5, 4)

    def test_condition_with_more_channels_than_the_image(self) -> None:
        assert self.make()(images(2, 2, 6, 5), Pointwise()).shape == (2, 1, 6, 5)

    def test_nan_is_counted(self) -> None:
        inputs = images(1, 1, 6, 5)
        inputs[0, 0, 1, 1:3] = torch.nan
        with pytest.raises(ValueError, match="inputs holds 2 NaN or infinite values of 30"):
            self.make()(inputs, Pointwise())

    def test_dimensions_that_do_not_fit(self) -> None:
        with pytest.raises(ValueError, match=r"inputs has shape \(1, 1, 6, 5\); a network for 3-D images takes"):
            self.make()(images(1, 1, 6, 5), Pointwise(spatial_dims=3))

    def test_number_of_keys(self) -> None:
        with pytest.raises(ValueError, match="keys holds 1 keys for a batch of 2"):
            self.make()(images(2, 1, 6, 5), Pointwise(), keys=["a"])

    def test_empty_batch(self) -> None:
        with pytest.raises(ValueError, match="an empty batch cannot be restored"):
            self.make()(images(0, 1, 6, 5), Pointwise())
