"""Samplers against closed forms: the exact sampler of the family meets the truth, and each method shows what its paper claims."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from hypir_cli.config.solve import DpsConfig, LatinoConfig, SpgdConfig
from hypir_cli.errors import ConfigError
from hypir_cli.solvers.operators import Inpainting, Jpeg, random_kept
from hypir_cli.solvers.priors.gaussian import GaussianMixturePrior, GaussianPrior
from hypir_cli.solvers.samplers.dps import num_candidates, sample_dps
from hypir_cli.solvers.samplers.latino import sample_latino
from hypir_cli.solvers.samplers.levels import edm_sigmas, reverse_steps
from hypir_cli.solvers.samplers.measurement import Measurement, Problem, Solution
from hypir_cli.solvers.samplers.noise import PlacedNoise
from hypir_cli.solvers.samplers.spgd import Momentum, sample_spgd
from tests.solving import NOISE, SHAPE, BulkNoise, World, averages, gaussian_world, mixture_world

BATCH = 200
SEEDS = (0, 1, 2)


def dps(world: World, *, seed: int = 0, scale: float = 0.2, select: bool = False) -> Solution:
    return sample_dps(
        Problem(
            prior=world.prior,
            measurement=world.measurement,
            noise=BulkNoise(len(world.measurement.y), seed=seed),
        ),
        settings=DpsConfig(),
        scale=scale,
        steps=100,
        select=select,
    )


def spgd(
    world: World,
    *,
    seed: int = 0,
    momentum: float = 0.9,
    warmup: int = 5,
    steps: int = 30,
    stop: bool = False,
    lr: float = 2.0,
) -> Solution:
    return sample_spgd(
        Problem(
            prior=world.prior,
            measurement=world.measurement,
            noise=BulkNoise(len(world.measurement.y), seed=seed),
        ),
        settings=SpgdConfig(momentum=momentum, warmup=warmup, stop=stop),
        lr=lr,
        steps=steps,
    )


def mean_error(world: World, found: Solution) -> float:
    """Distance of the runs' mean from the posterior's, relative to that."""
    assert isinstance(world.posterior, GaussianPrior)
    mean = world.posterior.mean.flatten()
    return float((found.images.flatten(1).mean(0) - mean).norm() / mean.norm())


def spread(found: Solution) -> float:
    """Summed variance over runs."""
    return float(found.images.flatten(1).var(0).sum())


class TestExactSampling:
    def test_the_discrete_process_samples_a_known_posterior(self) -> None:
        world = gaussian_world(batch=2000)
        assert isinstance(world.posterior, GaussianPrior)
        found = sample_dps(
            Problem(prior=world.posterior, measurement=world.measurement, noise=BulkNoise(2000)),
            settings=DpsConfig(),
            scale=0.0,
            steps=1000,
        )
        assert mean_error(world, found) < 0.02
        covariance = torch.cov(found.images.flatten(1).T)
        error = (covariance - world.posterior.covariance).norm() / world.posterior.covariance.norm()
        assert error < 0.12
        assert found.residual.mean() == pytest.approx(expected_residual(world), rel=0.08)

    def test_euler_steps_sample_a_known_prior(self) -> None:
        world = gaussian_world(batch=2000)
        found = spgd(world, lr=0.0, warmup=1, steps=100)
        covariance = torch.cov(found.images.flatten(1).T)
        assert isinstance(world.prior, GaussianPrior)
        error = (covariance - world.prior.covariance).norm() / world.prior.covariance.norm()
        assert error < 0.15

    def test_a_mixture_is_sampled_in_its_proportions(self) -> None:
        world = mixture_world(batch=1000)
        found = spgd(world, lr=0.0, warmup=1, steps=60)
        bright = (found.images.flatten(1).mean(1) > 0).double().mean()
        assert bright == pytest.approx(0.75, abs=0.05)

    def test_the_measurement_decides_between_the_parts_of_a_mixture(self) -> None:
        world = mixture_world(batch=100)
        assert isinstance(world.posterior, GaussianMixturePrior)
        assert world.posterior.weights[1] > 0.999
        truth = world.posterior.parts[1].mean.flatten()
        for found in (dps(world, select=True), spgd(world)):
            assert (found.images.flatten(1).mean(1) < 0).all()
            assert (found.images.flatten(1).mean(0) - truth).norm() < 0.2 * truth.norm()


def expected_residual(world: World) -> float:
    """What the residual of exact posterior samples averages to (root of the mean of its square)."""
    assert isinstance(world.posterior, GaussianPrior)
    matrix = averages()
    away = world.measurement.y[0] - matrix @ world.posterior.mean.flatten()
    scattered = torch.trace(matrix @ world.posterior.covariance @ matrix.T)
    return float(((away @ away + scattered) / len(matrix)).sqrt() / NOISE)


class TestClaims:
    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize("scale", [0.05, 0.2, 0.4])
    def test_choosing_proposals_lowers_error_and_variance_at_equal_calls(
        self, seed: int, scale: float
    ) -> None:
        world = gaussian_world(batch=BATCH, seed=seed + 1)
        plain, chosen = (dps(world, seed=seed, scale=scale, select=pick) for pick in (False, True))
        assert plain.calls == chosen.calls == 100
        assert chosen.residual.mean() < plain.residual.mean()
        assert spread(chosen) < spread(plain)
        assert mean_error(world, chosen) < mean_error(world, plain)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_with_the_best_step_of_each_choosing_proposals_still_comes_nearer(
        self, seed: int
    ) -> None:
        world = gaussian_world(batch=BATCH, seed=seed + 1)

        def nearest(select: bool) -> float:
            return min(
                mean_error(world, dps(world, seed=seed, scale=scale, select=select))
                for scale in (0.2, 0.4, 1.0)
            )

        assert nearest(True) < nearest(False)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_spgd_fits_the_measurement_better_and_scatters_less_than_dps_at_equal_calls(
        self, seed: int
    ) -> None:
        world = gaussian_world(batch=BATCH, seed=seed + 1)
        found = spgd(world, seed=seed, steps=17, lr=4.0)
        assert found.calls == 102
        for scale in (0.2, 0.4, 1.0):
            baseline = dps(world, seed=seed, scale=scale)
            assert found.residual.mean() < baseline.residual.mean()
            assert spread(found) < spread(baseline)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_momentum_lowers_the_residual_of_as_many_steps(self, seed: int) -> None:
        world = gaussian_world(batch=BATCH, seed=seed + 1)
        with_it, without = (spgd(world, seed=seed, momentum=most) for most in (0.9, 0.0))
        assert with_it.gradient_calls == without.gradient_calls
        assert with_it.residual.mean() < without.residual.mean()

    @pytest.mark.parametrize("seed", SEEDS)
    def test_momentum_lowers_the_variance_of_successive_directions(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        gradients = 1.0 + torch.randn(6, BATCH, *SHAPE, generator=generator)
        momentum = Momentum(0.9)
        smoothed = torch.stack([momentum.smoothed(gradient) for gradient in gradients])
        assert smoothed[1:].diff(dim=0).var() < 0.5 * gradients[1:].diff(dim=0).var()

    @pytest.mark.parametrize("seed", SEEDS)
    def test_warming_up_beats_one_data_step_per_denoising_at_equal_calls(self, seed: int) -> None:
        world = gaussian_world(batch=BATCH, seed=seed + 1)
        warm = spgd(world, seed=seed, warmup=5, steps=30)
        cold = spgd(world, seed=seed, warmup=1, steps=90)
        assert warm.calls == cold.calls == 180
        assert warm.residual.mean() < cold.residual.mean()
        assert mean_error(world, warm) < mean_error(world, cold)

    def test_all_methods_come_near_the_posterior_mean(self) -> None:
        world = gaussian_world(batch=BATCH)
        found = sample_latino(
            Problem(prior=world.prior, measurement=world.measurement, noise=BulkNoise(BATCH)),
            settings=LatinoConfig(),
            start=20.0,
            steps=30,
        )
        assert mean_error(world, found) < 0.12
        assert mean_error(world, dps(world, scale=1.0)) < 0.12
        assert mean_error(world, dps(world, scale=1.0, select=True)) < 0.12
        assert mean_error(world, spgd(world)) < 0.12


class TestMomentum:
    def test_it_keeps_nine_tenths_of_an_equal_direction_and_none_of_an_opposite_one(self) -> None:
        one = torch.ones(1, *SHAPE)
        momentum = Momentum(0.9)
        assert torch.equal(momentum.smoothed(one), one)
        assert torch.allclose(momentum.smoothed(3.0 * one), 0.9 * one + 0.1 * 3.0 * one)
        momentum = Momentum(0.9)
        momentum.smoothed(one)
        assert torch.allclose(momentum.smoothed(-one), -one)

    def test_each_image_has_an_angle_of_its_own(self) -> None:
        one = torch.ones(1, *SHAPE)
        momentum = Momentum(0.9)
        momentum.smoothed(torch.cat([one, one]))
        both = momentum.smoothed(torch.cat([-one, 2.0 * one]))
        assert torch.allclose(both[0], -one[0])
        assert torch.allclose(both[1], 1.1 * one[0])


class TestStopping:
    def test_data_steps_end_where_the_error_is_down_to_the_noise(self) -> None:
        world = gaussian_world(batch=20)
        stopped, on = (spgd(world, lr=4.0, stop=stop) for stop in (True, False))
        assert stopped.gradient_calls < on.gradient_calls
        assert stopped.residual.mean() == pytest.approx(1.0, abs=0.35)
        assert on.residual.mean() < 0.5

    def test_a_lower_first_level_starts_from_the_measurement_s_image(self) -> None:
        world = gaussian_world(batch=BATCH)
        low = sample_spgd(
            Problem(prior=world.prior, measurement=world.measurement, noise=BulkNoise(BATCH)),
            settings=SpgdConfig(sigma_min=0.01),
            lr=0.0,
            steps=1,
            sigma_max=0.01,
        )
        first = world.measurement.first_image()
        assert (low.images - first).abs().mean() < 0.1 * first.abs().mean()

    def test_without_noise_nothing_stops(self) -> None:
        world = gaussian_world(batch=2)
        exact = Measurement(
            y=world.measurement.y,
            operator=world.measurement.operator,
            noise=0.0,
            size=SHAPE[1:],
        )
        found = sample_spgd(
            Problem(prior=world.prior, measurement=exact, noise=BulkNoise(2)),
            settings=SpgdConfig(),
            lr=4.0,
            steps=5,
        )
        assert found.gradient_calls == 25
        assert torch.isfinite(found.residual).all()


class TestLevels:
    def test_sigmas_fall_from_first_to_last_and_end_at_zero(self) -> None:
        sigmas = edm_sigmas(steps=100, sigma_max=100.0, sigma_min=0.1)
        assert len(sigmas) == 101
        assert sigmas[0] == pytest.approx(100.0)
        assert sigmas[-2:] == pytest.approx([0.1, 0.0])
        assert sigmas == sorted(sigmas, reverse=True)

    def test_a_reverse_step_is_that_of_the_diffusers_scheduler(self) -> None:
        from diffusers import DDPMScheduler

        scheduler = DDPMScheduler(
            beta_start=1e-4, beta_end=0.02, beta_schedule="linear", clip_sample=False
        )
        scheduler.set_timesteps(1000)
        steps = reverse_steps(scheduler.alphas_cumprod.double(), steps=1000)
        x, noise = torch.randn(2, 1, *SHAPE, generator=torch.Generator().manual_seed(0))
        for index, timestep in ((100, 899), (999, 0)):
            step = steps[index]
            clean = (x - math.sqrt(1 - step.alpha) * noise) / math.sqrt(step.alpha)
            mean = step.clean_share * clean + step.noisy_share * x
            expected = scheduler.step(noise, timestep, x, generator=torch.Generator())
            spread = scheduler._get_variance(timestep) ** 0.5 if timestep else 0.0
            drawn = torch.randn(x.shape, generator=torch.Generator())
            assert torch.allclose(mean + spread * drawn, expected.prev_sample, atol=1e-4)
            assert step.deviation(None) == pytest.approx(float(spread), rel=1e-3)

    def test_fewer_steps_still_go_from_noise_to_image(self) -> None:
        alphas = torch.linspace(0.9999, 0.0001, 1000, dtype=torch.float64)
        steps = reverse_steps(alphas, steps=7)
        assert [step.alpha for step in steps][0::6] == [alphas[-1], alphas[0]]
        assert steps[-1].alpha_next == 1.0
        assert steps[-1].variance == 0.0
        assert len(reverse_steps(alphas, steps=5000)) == 1000

    def test_learned_spread_lies_between_the_bounds(self) -> None:
        step = reverse_steps(torch.linspace(0.99, 0.01, 10, dtype=torch.float64), steps=10)[4]
        low, high = step.deviation(torch.zeros(1)), step.deviation(torch.ones(1))
        assert float(low) == pytest.approx(math.sqrt(step.variance))
        assert float(high) == pytest.approx(math.sqrt(step.beta))

    def test_the_paper_s_count_of_candidates(self) -> None:
        from hypir_cli.solvers.priors.base import linear_alphas_cumprod

        steps = reverse_steps(linear_alphas_cumprod(), steps=1000)
        counts = [num_candidates(step.alpha, most=50) for step in steps[:-1]]
        assert counts[0] == 2
        assert max(counts) == counts[-1] == 50
        assert sum(counts) == pytest.approx(16255, abs=60)


def diagonal_world(batch: int) -> tuple[GaussianPrior, Measurement]:
    """Pixels that know nothing of each other: arithmetic that is the same in any batch."""
    prior = GaussianPrior(torch.zeros(3, 8, 8).double(), 0.25 * torch.eye(192).double())
    operator = Inpainting(random_kept(8, 8, dropped=0.5, seed=0))
    truth = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(3)).double()[:batch]
    y = operator.A(0.5 * truth)
    return prior, Measurement(y=y, operator=operator, noise=0.05, size=(8, 8))


METHODS: dict[str, Callable[[Problem], Solution]] = {
    "dps": partial(sample_dps, settings=DpsConfig(), scale=0.2, steps=20, select=False),
    "dpps": partial(sample_dps, settings=DpsConfig(), scale=0.2, steps=20, select=True),
    "dpps-posterior": partial(
        sample_dps, settings=DpsConfig(target="posterior"), scale=0.2, steps=20, select=True
    ),
    "spgd": partial(sample_spgd, settings=SpgdConfig(), lr=2, steps=10),
    "latino": partial(sample_latino, settings=LatinoConfig(), start=5.0, steps=8),
}


@pytest.mark.parametrize("method", METHODS)
def test_an_image_comes_out_the_same_whatever_the_batch(method: str) -> None:
    def run(batch: int) -> Tensor:
        prior, measurement = diagonal_world(batch)
        noise = PlacedNoise(
            (3, 8, 8),
            seeds=[7] * batch,
            keys=[bytes([index]) for index in range(batch)],
            dtype=torch.float64,
        )
        problem = Problem(prior=prior, measurement=measurement, noise=noise)
        return METHODS[method](problem).images

    together, alone = run(4), run(1)
    assert torch.allclose(together[:1], alone, atol=1e-12)
    assert torch.equal(run(4), together)
    assert not torch.allclose(together[0], together[1])


def test_progress_counts_the_steps() -> None:
    seen: list[tuple[int, int]] = []
    prior, measurement = diagonal_world(1)
    noise = PlacedNoise((3, 8, 8), seeds=[0], keys=[b""], dtype=torch.float64)
    sample_latino(
        Problem(
            prior=prior,
            measurement=measurement,
            noise=noise,
            on_step=lambda done, total: seen.append((done, total)),
        ),
        settings=LatinoConfig(),
        start=5.0,
        steps=3,
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_damage_without_transpose_is_refused_by_the_method_that_needs_it() -> None:
    prior, _ = diagonal_world(1)
    measurement = Measurement(
        y=torch.zeros(1, 3, 16, 16), operator=Jpeg(20), noise=0.01, size=(16, 16)
    )
    noise = PlacedNoise((3, 16, 16), seeds=[0], keys=[b""])
    with pytest.raises(ConfigError, match="Jpeg has none") as caught:
        sample_latino(
            Problem(prior=prior, measurement=measurement, noise=noise),
            settings=LatinoConfig(),
            start=1.0,
            steps=2,
        )
    assert "dps" in caught.value.hint
