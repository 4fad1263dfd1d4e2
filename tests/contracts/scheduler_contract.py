"""What every scheduler of the package keeps; a test class inherits this and names its scheduler."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from monai.inferers import DiffusionInferer

from monai_cdiff.networks.schedulers import DiffusionScheduler, TimestepSpacings
from monai_cdiff.utils import item_generators, randn

SHAPE = (2, 1, 6, 5)


def noise(seed: int = 0) -> torch.Tensor:
    return randn(SHAPE, torch.Generator().manual_seed(seed))


class SchedulerContract:
    """Inherit, and set ``make`` to a function that builds the scheduler from keyword arguments."""

    @staticmethod
    def make(**kwargs: Any) -> DiffusionScheduler:
        raise NotImplementedError

    def scheduler(self, steps: int | None = None, **kwargs: Any) -> DiffusionScheduler:
        scheduler = self.make(**{"clip_sample": False, **kwargs})
        if steps is not None:
            scheduler.set_timesteps(steps)
        return scheduler

    def sample(self, scheduler: DiffusionScheduler, start: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        sample = start
        for timestep in scheduler.timesteps:
            sample, _ = scheduler.step(torch.tanh(sample), timestep, sample, **kwargs)
        return sample

    @pytest.mark.parametrize("spacing", TimestepSpacings.names)
    @pytest.mark.parametrize("steps", [1, 2, 7, 50, 2000])
    def test_grid_falls_strictly_and_has_n_entries(self, spacing: str, steps: int) -> None:
        scheduler = self.scheduler(steps, timestep_spacing=spacing)
        assert len(scheduler.timesteps) == steps
        assert (scheduler.timesteps.diff() < 0).all()
        assert 0 <= scheduler.timesteps.min() and scheduler.timesteps.max() <= 1999

    @pytest.mark.parametrize("spacing", ["trailing", "linspace", "logsnr"])
    def test_grid_begins_at_the_noisiest_timestep(self, spacing: str) -> None:
        assert self.scheduler(5, timestep_spacing=spacing).timesteps[0] == 1999

    @pytest.mark.parametrize("spacing", TimestepSpacings.names)
    def test_whole_chain_is_every_timestep(self, spacing: str) -> None:
        scheduler = self.scheduler(2000, timestep_spacing=spacing)
        assert scheduler.timesteps.tolist() == list(range(1999, -1, -1))

    def test_logsnr_spacing_is_uniform_in_log_snr(self) -> None:
        scheduler = self.scheduler(9, timestep_spacing="logsnr")
        steps = torch.logit(scheduler.alpha_bar(scheduler.timesteps)).diff()
        torch.testing.assert_close(steps, steps.mean().expand(8), rtol=2e-3, atol=0)

    def test_last_step_returns_x0_without_noise(self) -> None:
        scheduler = self.scheduler(4)
        previous, x0 = scheduler.step(noise(1), scheduler.timesteps[-1], noise(2), torch.Generator().manual_seed(0))
        torch.testing.assert_close(previous, x0)

    @pytest.mark.parametrize("timestep", [1499, 499])
    def test_prediction_types_agree(self, timestep: int) -> None:
        x0, eps = noise(1), noise(2)
        t = torch.full((2,), timestep)
        outputs = {"epsilon": eps, "sample": x0, "v_prediction": self.scheduler().get_velocity(x0, eps, t)}
        results = []
        for prediction_type, output in outputs.items():
            scheduler = self.scheduler(4, prediction_type=prediction_type)
            x_t = scheduler.add_noise(x0, eps, t)
            results.append(scheduler.step(output, timestep, x_t, torch.Generator().manual_seed(3)))
            torch.testing.assert_close(results[-1][1], x0, rtol=1e-4, atol=1e-4)
        for previous, _ in results:
            torch.testing.assert_close(previous, results[0][0], rtol=1e-4, atol=1e-4)

    def test_add_noise_and_velocity_follow_their_equations(self) -> None:
        scheduler, x0, eps = self.scheduler(), noise(1), noise(2)
        t = torch.tensor([0, 1999])
        alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 2000, dtype=torch.float32).double(), 0)[t]
        alpha, sigma = (value.float().view(2, 1, 1, 1) for value in (alpha_bar.sqrt(), (1 - alpha_bar).sqrt()))
        torch.testing.assert_close(scheduler.add_noise(x0, eps, t), alpha * x0 + sigma * eps)
        torch.testing.assert_close(scheduler.get_velocity(x0, eps, t), alpha * eps - sigma * x0)

    def test_fractional_timesteps_lie_between_their_neighbours(self) -> None:
        low, mid, high, clean = self.scheduler().alpha_bar(torch.tensor([101.0, 100.5, 100.0, -1.0]))
        assert low < mid < high < clean == 1
        torch.testing.assert_close(mid, (low * high).sqrt())

    def test_same_object_samples_twice_alike(self) -> None:
        scheduler = self.scheduler(5)
        first, second = (self.sample(scheduler, noise(1), generator=torch.Generator().manual_seed(7)) for _ in range(2))
        assert torch.equal(first, second)

    def test_item_of_a_batch_equals_the_item_alone(self) -> None:
        scheduler = self.scheduler(5)
        both = self.sample(scheduler, noise(1), generator=item_generators(0, ["a", "b"]))
        alone = self.sample(scheduler, noise(1)[1:], generator=item_generators(0, ["b"]))
        assert torch.equal(both[1:], alone)

    def test_bounds_hold_voxel_by_voxel(self) -> None:
        scheduler = self.scheduler(4)
        low, high = noise(5) - 0.1, noise(5) + 0.1
        _, x0 = scheduler.step(100 * noise(1), 1999, noise(2), bounds=(low, high))
        assert ((x0 >= low) & (x0 <= high)).all() and (x0 == low).any() and (x0 == high).any()

    def test_clip_sample_clips_to_its_range(self) -> None:
        scheduler = self.scheduler(4, clip_sample=True, clip_sample_min=-0.5, clip_sample_max=2.0)
        _, x0 = scheduler.step(100 * noise(1), 1999, noise(2))
        assert x0.min() == -0.5 and x0.max() == 2.0

    def test_half_precision_neither_spoils_the_tables_nor_the_step(self) -> None:
        scheduler = self.scheduler(4)
        before = scheduler.alphas_cumprod.clone()
        scheduler.bfloat16()
        sample, output = noise(1).bfloat16(), noise(2).bfloat16()
        scheduler.add_noise(sample, output, torch.tensor([0, 5]))
        previous, x0 = scheduler.step(output, 499, sample)
        assert previous.dtype == x0.dtype == torch.bfloat16
        assert scheduler.alphas_cumprod.dtype == torch.float64 and torch.equal(scheduler.alphas_cumprod, before)
        exact, _ = self.scheduler(4).step(output.float(), 499, sample.float())
        torch.testing.assert_close(previous.float(), exact, rtol=1e-2, atol=1e-2)

    def test_tables_are_saved_and_checked_on_load(self) -> None:
        buffer = io.BytesIO()
        torch.save(self.scheduler().state_dict(), buffer)
        buffer.seek(0)
        state = torch.load(buffer, weights_only=True)
        self.scheduler().load_state_dict(state)
        with pytest.raises(RuntimeError, match="noise schedule differs: saved T=2000.*configured T=1000"):
            self.scheduler(num_train_timesteps=1000).load_state_dict(state)
        with pytest.raises(RuntimeError, match="beta from 0.0001 to 0.02; configured T=2000, beta from 0.0001 to 0.03"):
            self.scheduler(beta_end=0.03).load_state_dict(state)

    def test_works_in_monai_sample_twice(self) -> None:
        scheduler = self.scheduler(3)
        inferer = DiffusionInferer(scheduler)
        kwargs = {"input_noise": noise(1), "diffusion_model": lambda x, timesteps, context: torch.tanh(x)}
        torch.manual_seed(0)
        first = inferer.sample(**kwargs, verbose=False)
        torch.manual_seed(0)
        second = inferer.sample(**kwargs, verbose=False)
        assert torch.equal(first, second) and torch.isfinite(first).all()

    @pytest.mark.parametrize("steps", [0, -1, 2001, 2.5])
    def test_wrong_number_of_steps(self, steps: Any) -> None:
        with pytest.raises(ValueError, match=rf"num_inference_steps={steps} .* from 1 to 2000"):
            self.scheduler(steps)

    def test_timestep_outside_the_grid(self) -> None:
        with pytest.raises(ValueError, match="timestep=7 is not in the grid"):
            self.scheduler(4).step(noise(1), 7, noise(2))

    def test_timesteps_outside_the_chain(self) -> None:
        with pytest.raises(ValueError, match="must lie from 0 to 1999"):
            self.scheduler().add_noise(noise(1), noise(2), torch.tensor([0, 2000]))

    def test_shapes_that_differ(self) -> None:
        with pytest.raises(ValueError, match="model_output has shape"):
            self.scheduler(4).step(noise(1)[:1], 1999, noise(2))

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"prediction_type": "noise"}, "prediction_type='noise' is not supported; allowed: 'epsilon'"),
            ({"timestep_spacing": "trailng"}, "Did you mean 'trailing'"),
            ({"schedule": "linear"}, "schedule='linear' is not supported; allowed: .*'linear_beta'"),
            ({"num_train_timesteps": 1}, "num_train_timesteps=1 must be a whole number, at least 2"),
            ({"clip_sample_min": 1.0, "clip_sample_max": 1.0}, "clip_sample_max=1.0 must be"),
        ],
    )
    def test_wrong_arguments(self, kwargs: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            self.make(**kwargs)


def gaussian_gain_and_noise(scheduler: DiffusionScheduler, std: float) -> list[tuple[float, float]]:
    """Of each step on the exact score of N(0, std^2): the factor on the sample, and the standard deviation added."""
    steps = []
    for t in scheduler.timesteps:
        alpha_bar = float(scheduler.alpha_bar(t[None]))
        eps_of_one = (1 - alpha_bar) ** 0.5 / (alpha_bar * std**2 + 1 - alpha_bar)
        x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        shared = [torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)]
        previous, _ = scheduler.step(eps_of_one * x, t, x, generator=shared)
        drawn = torch.randn(1, generator=torch.Generator().manual_seed(0)).double()
        steps.append((float(previous[1] - previous[0]), abs(float(previous[0] / drawn))))
    return steps


def final_std(steps: list[tuple[float, float]]) -> float:
    variance = 1.0
    for gain, added in steps:
        variance = gain**2 * variance + added**2
    return variance**0.5
