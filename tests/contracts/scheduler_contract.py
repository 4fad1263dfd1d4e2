"""What every scheduler of the package keeps; a test class inherits this and names its scheduler."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from monai.inferers import DiffusionInferer

from monai_cdiff.networks.schedulers import DiffusionScheduler, TimestepSpacings
from monai_cdiff.utils import item_generators, randn

SHAPE = (2, 1, 6, 5)
DEVICES = ["meta", *(["cuda"] if torch.cuda.is_available() else [])]


def noise(seed: int = 0) -> torch.Tensor:
    return randn(SHAPE, torch.Generator().manual_seed(seed))


@contextlib.contextmanager
def no_synchronisation(device: str) -> Iterator[None]:
    """Have CUDA refuse whatever waits for the GPU; other devices need no watching."""
    if device != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


class SchedulerContract:
    """Inherit, and set ``make`` to a function that builds the scheduler from keyword arguments."""

    prediction_types = ["epsilon", "sample", "v_prediction"]

    @staticmethod
    def make(**kwargs: Any) -> DiffusionScheduler:
        raise NotImplementedError

    @staticmethod
    def expected_scalings(alpha_bar: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """alpha and sigma of ``x_t = alpha x_0 + sigma eps``, in float64."""
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    @staticmethod
    def expected_velocity(x0: torch.Tensor, eps: torch.Tensor, alpha_bar: torch.Tensor) -> torch.Tensor:
        return alpha_bar.sqrt() * eps - (1 - alpha_bar).sqrt() * x0

    def start(self, scheduler: DiffusionScheduler, seed: int = 1) -> torch.Tensor:
        """A sample at the first timestep of an image of zeros."""
        return scheduler.add_noise(torch.zeros(SHAPE), noise(seed), scheduler.timesteps[:1].expand(SHAPE[0]))

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

    @pytest.mark.parametrize("spacing", [name for name in TimestepSpacings.names if name != "leading"])
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

    def test_spacings_take_their_arguments(self) -> None:
        even, hurried = (self.scheduler(9, timestep_spacing="logsnr", spacing_args={"power": p}) for p in (1.0, 0.5))
        assert even.timesteps[1] > 1.2 * hurried.timesteps[1] and even.timesteps[-1] == hurried.timesteps[-1] == 0

    @pytest.mark.parametrize("rho", [7.0, 3.0])
    def test_karras_spacing_is_uniform_in_a_root(self, rho: float) -> None:
        scheduler = self.scheduler(9, timestep_spacing="karras", spacing_args={"rho": rho})
        alpha, sigma = scheduler.scalings(scheduler.timesteps)
        steps = ((sigma / alpha) ** (1 / rho)).diff()
        torch.testing.assert_close(steps, steps.mean().expand(8), rtol=1e-2, atol=0)

    @pytest.mark.parametrize("scale", [1.0, 0.3])
    def test_log1p_spacing_is_uniform_in_log1p(self, scale: float) -> None:
        scheduler = self.scheduler(9, timestep_spacing="log1p", spacing_args={"scale": scale})
        alpha, sigma = scheduler.scalings(scheduler.timesteps)
        steps = torch.log1p(scale * alpha / sigma).diff()
        torch.testing.assert_close(steps, steps.mean().expand(8), rtol=3e-2, atol=0)

    @pytest.mark.parametrize("spacing", TimestepSpacings.names)
    def test_start_in_the_middle(self, spacing: str) -> None:
        scheduler = self.scheduler(timestep_spacing=spacing)
        scheduler.set_timesteps(5, start_timestep=800)
        grid = scheduler.timesteps
        assert len(grid) == 5 and (grid.diff() < 0).all() and grid.min() >= 0
        assert grid[0] == 800 or (spacing == "leading" and grid[0] < 800)
        assert torch.isfinite(self.sample(scheduler, self.start(scheduler))).all()
        scheduler.set_timesteps(801, start_timestep=800)
        assert scheduler.timesteps.tolist() == list(range(800, -1, -1))
        always = self.scheduler(5, timestep_spacing=spacing, start_timestep=800)
        assert torch.equal(always.timesteps, grid)

    def test_timesteps_of_ones_own(self) -> None:
        scheduler = self.scheduler()
        for given in ([1500.5, 700, 3], torch.tensor([1500.5, 700, 3]), np.array([1500.5, 700, 3]), (1500.5, 700, 3)):
            scheduler.set_timesteps(timesteps=given)
            assert scheduler.timesteps.tolist() == [1500.5, 700, 3] and scheduler.num_inference_steps == 3
        assert torch.isfinite(self.sample(scheduler, self.start(scheduler))).all()

    def test_a_part_of_the_grid_may_be_assigned(self) -> None:
        scheduler = self.scheduler(5)
        self.sample(scheduler, self.start(scheduler))
        scheduler.timesteps = scheduler.timesteps[2:]
        found = self.sample(scheduler, self.start(scheduler), generator=torch.Generator().manual_seed(0))
        fresh = self.scheduler()
        fresh.set_timesteps(timesteps=scheduler.timesteps)
        expected = self.sample(fresh, self.start(fresh), generator=torch.Generator().manual_seed(0))
        assert torch.equal(found, expected)
        with pytest.raises(ValueError, match="must fall strictly"):
            scheduler.timesteps = scheduler.timesteps.flip(0)

    @pytest.mark.parametrize("timesteps", [[1999, 1499, 499], [1980.5, 700.25, 1.5]])
    def test_a_perfect_network_gives_the_image(self, timesteps: list[float]) -> None:
        """Fed the exact prediction of one known image, a sampler ends there, from any start and by any prediction."""
        x0 = noise(1)
        for prediction_type in self.prediction_types:
            scheduler = self.scheduler(prediction_type=prediction_type)
            scheduler.set_timesteps(timesteps=timesteps)
            sample = scheduler.add_noise(x0, noise(2), scheduler.timesteps[:1].expand(2))
            for t in scheduler.timesteps:
                alpha, sigma = (float(value) for value in scheduler.scalings(t[None]))
                eps = (sample.double() - alpha * x0.double()) / sigma
                velocity = scheduler.get_velocity(x0.double(), eps, t.expand(2))
                outputs = {"epsilon": eps, "sample": x0, "v_prediction": velocity}
                generator = torch.Generator().manual_seed(3)
                sample, predicted = scheduler.step(outputs[prediction_type].float(), t, sample, generator)
                torch.testing.assert_close(predicted, x0, rtol=1e-2, atol=1e-2 if alpha < 1e-3 else 1e-4)
            torch.testing.assert_close(sample, x0, rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("timestep", [1499, 499])
    def test_prediction_types_agree(self, timestep: int) -> None:
        x0, eps = noise(1), noise(2)
        t = torch.full((2,), timestep)
        outputs = {"epsilon": eps, "sample": x0, "v_prediction": self.scheduler().get_velocity(x0, eps, t)}
        results = []
        for prediction_type in self.prediction_types:
            scheduler = self.scheduler(4, prediction_type=prediction_type, timestep_spacing="trailing")
            x_t = scheduler.add_noise(x0, eps, t)
            results.append(scheduler.step(outputs[prediction_type], timestep, x_t, torch.Generator().manual_seed(3)))
            torch.testing.assert_close(results[-1][1], x0, rtol=1e-4, atol=1e-4)
        for previous, _ in results:
            torch.testing.assert_close(previous, results[0][0], rtol=1e-4, atol=1e-4)

    def test_add_noise_and_velocity_follow_their_equations(self) -> None:
        scheduler, x0, eps = self.scheduler(), noise(1), noise(2)
        t = torch.tensor([0, 1999])
        table = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 2000, dtype=torch.float32).double(), 0)
        alpha_bar = table[t].view(2, 1, 1, 1)
        alpha, sigma = (value.float() for value in self.expected_scalings(alpha_bar))
        torch.testing.assert_close(scheduler.add_noise(x0, eps, t), alpha * x0 + sigma * eps)
        expected = self.expected_velocity(x0.double(), eps.double(), alpha_bar).float()
        torch.testing.assert_close(scheduler.get_velocity(x0, eps, t), expected)

    def test_fractional_timesteps_lie_between_their_neighbours(self) -> None:
        low, mid, high, clean = self.scheduler().alpha_bar(torch.tensor([101.0, 100.5, 100.0, -1.0]))
        assert low < mid < high < clean == 1
        torch.testing.assert_close(mid, (low * high).sqrt())

    def test_same_object_samples_twice_alike(self) -> None:
        scheduler = self.scheduler(5)
        start = self.start(scheduler)
        first, second = (self.sample(scheduler, start, generator=torch.Generator().manual_seed(7)) for _ in range(2))
        assert torch.equal(first, second)

    def test_an_interrupted_run_leaves_nothing_behind(self) -> None:
        scheduler = self.scheduler(5)
        whole = self.sample(scheduler, self.start(scheduler), generator=torch.Generator().manual_seed(7))
        for t in scheduler.timesteps[:3]:
            scheduler.step(noise(8), t, noise(9))
        again = self.sample(scheduler, self.start(scheduler), generator=torch.Generator().manual_seed(7))
        assert torch.equal(again, whole)

    def test_item_of_a_batch_equals_the_item_alone(self) -> None:
        scheduler = self.scheduler(5)
        start = self.start(scheduler)
        both = self.sample(scheduler, start, generator=item_generators(0, ["a", "b"]))
        alone = self.sample(scheduler, start[1:], generator=item_generators(0, ["b"]))
        assert torch.equal(both[1:], alone)

    def test_bounds_hold_voxel_by_voxel(self) -> None:
        scheduler = self.scheduler(4)
        low, high = noise(5) - 0.1, noise(5) + 0.1
        sample = self.start(scheduler)
        for t in scheduler.timesteps:
            # another prediction each time, so that a solver that extrapolates leaves the bounds at the end
            sample, x0 = scheduler.step(1e6 * noise(int(t)), t, sample, bounds=(low, high))
            assert ((x0 >= low) & (x0 <= high)).all() and (x0 == low).any() and (x0 == high).any()
        assert ((sample >= low) & (sample <= high)).all()

    def test_clip_sample_clips_to_its_range(self) -> None:
        scheduler = self.scheduler(4, clip_sample=True, clip_sample_min=-0.5, clip_sample_max=2.0)
        _, x0 = scheduler.step(1e6 * noise(1), 1999, noise(2))
        assert x0.min() == -0.5 and x0.max() == 2.0

    def test_dynamic_threshold_scales_each_item_into_the_range(self) -> None:
        scheduler = self.scheduler(prediction_type="sample", dynamic_threshold=0.9)
        x0 = torch.stack([4 * noise(1)[0], noise(1)[1].clamp(-0.3, 0.3)])
        _, found = scheduler.step(x0, 1999, noise(2))
        scale = torch.quantile(x0[0].abs().flatten(), 0.9)
        torch.testing.assert_close(found, torch.stack([x0[0].clamp(-scale, scale) / scale, x0[1]]))
        _, wider = scheduler.step(x0, 1999, noise(2), bounds=(-3.0, 3.0))
        torch.testing.assert_close(wider[0], x0[0].clamp(-scale, scale) / (scale / 3).clamp(min=1))
        with pytest.raises(ValueError, match="dynamic_threshold needs two numbers"):
            scheduler.step(x0, 1999, noise(2), bounds=(noise(3), noise(4)))

    def test_zero_terminal_snr(self) -> None:
        scheduler = self.scheduler(prediction_type="sample", zero_terminal_snr=True)
        assert scheduler.alphas_cumprod[-1] == 0 and scheduler.alpha_bar(torch.tensor([1999])) < 1e-20
        torch.testing.assert_close(scheduler.alphas_cumprod[0], self.scheduler().alphas_cumprod[0])
        settings = {"prediction_type": "sample", "num_train_timesteps": 50}
        short, plain = (self.make(zero_terminal_snr=zero, **settings) for zero in (True, False))
        root, expected = plain.alphas_cumprod.sqrt(), short.alphas_cumprod.sqrt()
        torch.testing.assert_close(expected, (root - root[-1]) / (root[0] - root[-1]) * root[0])
        for spacing in TimestepSpacings.names:
            scheduler = self.scheduler(6, prediction_type="sample", zero_terminal_snr=True, timestep_spacing=spacing)
            assert (scheduler.timesteps.diff() < 0).all()
            assert torch.isfinite(self.sample(scheduler, self.start(scheduler))).all()

    def test_half_precision_neither_spoils_the_tables_nor_the_step(self) -> None:
        scheduler = self.scheduler(4, timestep_spacing="trailing")
        before = scheduler.alphas_cumprod.clone()
        scheduler.bfloat16()
        sample, output = noise(1).bfloat16(), noise(2).bfloat16()
        scheduler.add_noise(sample, output, torch.tensor([0, 5]))
        previous, x0 = scheduler.step(output, 499, sample)
        assert previous.dtype == x0.dtype == torch.bfloat16
        assert scheduler.alphas_cumprod.dtype == torch.float64 and torch.equal(scheduler.alphas_cumprod, before)
        exact, _ = self.scheduler(4, timestep_spacing="trailing").step(output.float(), 499, sample.float())
        torch.testing.assert_close(previous.float(), exact, rtol=1e-2, atol=1e-2)

    def test_tables_are_saved_and_checked_on_load(self) -> None:
        buffer = io.BytesIO()
        torch.save(self.scheduler().state_dict(), buffer)
        buffer.seek(0)
        state = torch.load(buffer, weights_only=True)
        self.scheduler().load_state_dict(state)
        exact = self.scheduler()
        exact.load_state_dict({name: table.float() for name, table in state.items()}, assign=True)
        assert all(torch.equal(table, state[name]) for name, table in exact.state_dict().items())
        with pytest.raises(RuntimeError, match="noise schedule differs: saved T=2000.*configured T=1000"):
            self.scheduler(num_train_timesteps=1000).load_state_dict(state)
        with pytest.raises(RuntimeError, match="beta from 0.0001 to 0.02.*; configured T=2000.* to 0.03"):
            self.scheduler(beta_end=0.03).load_state_dict(state)

    def test_works_in_monai_sample_twice(self) -> None:
        scheduler = self.scheduler(3)
        inferer = DiffusionInferer(scheduler)
        kwargs = {"input_noise": self.start(scheduler), "diffusion_model": lambda x, timesteps, context: torch.tanh(x)}
        torch.manual_seed(0)
        first = inferer.sample(**kwargs, verbose=False)
        torch.manual_seed(0)
        second = inferer.sample(**kwargs, verbose=False)
        assert torch.equal(first, second) and torch.isfinite(first).all()

    @pytest.mark.parametrize("device", DEVICES)
    def test_no_step_reads_a_value_from_the_device(self, device: str) -> None:
        """Tensors of the device "meta" have no values: whatever would wait for a GPU to hand one over fails here."""
        scheduler = self.scheduler(5, clip_sample=True)
        sample = torch.zeros(SHAPE, device=device)
        timesteps = torch.zeros(SHAPE[0], device=device)
        if device != "meta":
            scheduler.to(device)
            scheduler.set_timesteps(5)
        with no_synchronisation(device):
            scheduler.add_noise(sample, sample, timesteps)
            scheduler.get_velocity(sample, sample, timesteps)
            for kwargs in ({}, {"bounds": (sample, sample)}, {"generator": item_generators(0, ["a", "b"])}):
                for t in scheduler.timesteps:
                    sample, x0 = scheduler.step(torch.zeros_like(sample), t, sample, **kwargs)
                    assert sample.device.type == x0.device.type == device

    @pytest.mark.parametrize("steps", [0, -1, 2001, 2.5])
    def test_wrong_number_of_steps(self, steps: Any) -> None:
        with pytest.raises(ValueError, match=rf"num_inference_steps={steps} .* from 1 to 2000"):
            self.scheduler(steps)

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"timesteps": [5, 7]}, r"timesteps=\[5, 7\] must be one or more numbers that fall strictly"),
            ({"timesteps": [7, 7, 5]}, r"timesteps=\[7, 7, 5\] must be one or more numbers that fall strictly"),
            ({"timesteps": [9.00000001, 9.0]}, r"must be one or more numbers that fall strictly"),
            ({"timesteps": "951"}, "timesteps='951' must be one or more numbers that fall strictly"),
            ({"timesteps": 5}, "timesteps=5 must be one or more numbers"),
            ({"timesteps": [True, False]}, r"timesteps\[0\]=True must be a finite number"),
            ({"timesteps": []}, r"timesteps=\[\] must be one or more numbers"),
            ({"timesteps": [2000, 5]}, r"timesteps\[0\]=2000 must be a finite number, at least 0 and at most 1999"),
            ({"timesteps": [9, -1]}, r"timesteps\[1\]=-1 must be a finite number, at least 0"),
            ({"timesteps": [float("nan")]}, r"timesteps\[0\]=nan must be a finite number"),
            ({}, "num_inference_steps=None and timesteps=None: give one of the two"),
            ({"num_inference_steps": 2, "timesteps": [9, 3]}, "give one of the two"),
            ({"num_inference_steps": 5, "start_timestep": 0}, "start_timestep=0 must be .* from 1 to 1999"),
            ({"num_inference_steps": 5, "start_timestep": 2000}, "start_timestep=2000 must be"),
            ({"num_inference_steps": 5, "start_timestep": 3}, "num_inference_steps=5 must be .* from 1 to 4"),
            ({"timesteps": [9, 3], "start_timestep": 9}, "start_timestep=9: the first of timesteps is the start"),
        ],
    )
    def test_wrong_grids(self, kwargs: dict[str, Any], message: str) -> None:
        scheduler = self.scheduler(4)
        before = scheduler.timesteps.clone()
        with pytest.raises(ValueError, match=message):
            scheduler.set_timesteps(**kwargs)
        assert torch.equal(scheduler.timesteps, before)

    def test_timestep_outside_the_grid(self) -> None:
        with pytest.raises(ValueError, match="timestep=7 is not in the grid"):
            self.scheduler(4).step(noise(1), 7, noise(2))

    def test_timesteps_outside_the_chain(self) -> None:
        with pytest.raises(ValueError, match="must lie from 0 to 1999"):
            self.scheduler().add_noise(noise(1), noise(2), torch.tensor([0, 2000]))
        with pytest.raises(ValueError, match="must lie from 0 to 1999"):
            self.scheduler().get_velocity(noise(1), noise(2), torch.tensor([0, 1999.5]))

    def test_shapes_that_differ(self) -> None:
        with pytest.raises(ValueError, match="model_output has shape"):
            self.scheduler(4).step(noise(1)[:1], 1999, noise(2))
        with pytest.raises(ValueError, match="noise has shape"):
            self.scheduler().add_noise(noise(1), noise(2)[:1], torch.tensor([0, 5]))
        with pytest.raises(ValueError, match="sample has type torch.int64; it must be of a floating point type"):
            self.scheduler(4).step(noise(1).long(), 1999, noise(2).long())

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"prediction_type": "noise"}, "prediction_type='noise' is not supported; allowed: 'epsilon'"),
            ({"timestep_spacing": "trailng"}, "Did you mean 'trailing'"),
            ({"timestep_spacing": "logsnr", "spacing_args": {"powr": 1}}, "spacing_args='powr' .* mean 'power'"),
            ({"timestep_spacing": "logsnr", "spacing_args": {"power": 0}}, r"spacing_args\['power'\]=0 must be"),
            ({"timestep_spacing": "linspace", "spacing_args": {"power": 1}}, "timestep_spacing='linspace' takes none"),
            ({"beta_end": 2.0}, "schedule='linear_beta' with {'beta_end': 2.0} gives betas from 0.0001 to 2; each"),
            ({"beta_start": float("nan")}, "gives betas from nan to nan; each must be more than 0 and less than 1"),
            ({"steps_offset": 1}, "steps_offset=1 is an argument neither of .* nor of schedule='linear_beta'"),
            ({"start_timestep": 2000}, "start_timestep=2000 must be a whole number, from 1 to 1999"),
            ({"dynamic_threshold": True}, "dynamic_threshold=True must be a finite number"),
            ({"dynamic_threshold": 1.5}, "dynamic_threshold=1.5 must be a finite number, at least 0 and at most 1"),
            ({"zero_terminal_snr": "maybe"}, "zero_terminal_snr='maybe' is not supported"),
            ({"schedule": "linear"}, "schedule='linear' is not supported; allowed: .*'linear_beta'"),
            ({"num_train_timesteps": 1}, "num_train_timesteps=1 must be a whole number, at least 2"),
            ({"clip_sample_min": 1.0, "clip_sample_max": 1.0}, "clip_sample_max=1.0 must be"),
        ],
    )
    def test_wrong_arguments(self, kwargs: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            self.make(**kwargs)

    @pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
    def test_error_falls_with_the_number_of_steps(self, prediction_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
        if prediction_type not in self.prediction_types:
            prediction_type = "sample"
        errors = []
        for steps in (5, 20, 80, 320):
            scheduler = self.scheduler(steps, prediction_type=prediction_type)
            errors.append(abs(exact_std(scheduler, 0.5, monkeypatch) - 0.5))
        assert errors == sorted(errors, reverse=True) and errors[-1] < 0.01


def exact_std(scheduler: DiffusionScheduler, std: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """Standard deviation of the samples of N(0, std^2), with the exact prediction of the network and no luck.

    The exact prediction is linear in the sample, so the final sample is a weighted sum of the noise at the start and
    the noise of each step. The weights are found by giving each of these a channel of its own.
    """
    steps = len(scheduler.timesteps)
    drawn = iter(range(1, steps + 1))

    def channel(*_: Any) -> torch.Tensor:
        basis = torch.zeros(1, steps + 1, dtype=torch.float64)
        basis[0, next(drawn)] = 1
        return basis

    monkeypatch.setattr(importlib.import_module(type(scheduler).__module__), "randn", channel, raising=False)
    monkeypatch.setattr("monai_cdiff.networks.schedulers.ddim.randn", channel)
    alpha, sigma = (float(value) for value in scheduler.scalings(scheduler.timesteps[:1]))
    sample = torch.zeros(1, steps + 1, dtype=torch.float64)
    sample[0, 0] = (alpha**2 * std**2 + sigma**2) ** 0.5
    for t in scheduler.timesteps:
        sample, _ = scheduler.step(exact_prediction(scheduler, sample, t, std), t, sample)
    return float(sample.norm())


def exact_prediction(scheduler: DiffusionScheduler, sample: torch.Tensor, t: torch.Tensor, std: float) -> torch.Tensor:
    """What a perfect network predicts where the images are N(0, std^2)."""
    alpha, sigma = (float(value) for value in scheduler.scalings(t[None]))
    x0 = alpha * std**2 / (alpha**2 * std**2 + sigma**2) * sample
    eps = (sample - alpha * x0) / sigma
    velocity = scheduler.get_velocity(x0, eps, t[None])
    return {"epsilon": eps, "sample": x0, "v_prediction": velocity}[scheduler.prediction_type]


def reference_alpha_bar(timesteps: list[float]) -> np.ndarray:
    """alpha_bar of the paper's schedule at the timesteps of a grid and, last, without noise; log-linear in between."""
    log_table = np.append(0.0, np.log(np.cumprod(1 - np.linspace(1e-4, 0.02, 2000))))
    return np.exp(np.interp(np.array([*timesteps, -1.0]), np.arange(-1, 2000), log_table))
