"""DPS and DPPS: the discrete reverse process, pulled towards the measurement.

DPS moves each step along the gradient of the measurement's error through the denoiser. DPPS also draws many noises for the step and
keeps the one that fits the measurement best. Sources: DPS (arXiv:2209.14687), algorithm 1; DPPS (arXiv:2402.16907).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hypir_cli.config.solve import DpsConfig
from hypir_cli.solvers.priors.base import LearnedVariance, Prior
from hypir_cli.solvers.samplers.levels import ReverseStep, reverse_steps
from hypir_cli.solvers.samplers.measurement import Measurement, Problem, Solution, decoded
from hypir_cli.solvers.samplers.noise import NoiseSource

Cost = Callable[[Tensor], Tensor]
"""How badly each of a batch of samples fits, (B,)."""


@dataclass(frozen=True, kw_only=True)
class _Estimate:
    """What one call of the denoiser says."""

    clean: Tensor
    """Clean sample."""
    noise: Tensor
    """Noise in the current one."""
    deviation: Tensor | float
    """Standard deviation of the step."""
    gradient: Tensor
    """Of ||y - A(x0)|| with respect to the current sample."""


def sample_dps(
    problem: Problem,
    *,
    settings: DpsConfig,
    scale: float,
    steps: int,
    select: bool = False,
) -> Solution:
    """Images that the prior and the measurement agree with.

    Args:
        problem: What is given.
        settings: How proposals are chosen; its own `scale` is not read.
        scale: Step along the gradient; 0 leaves the prior alone.
        steps: Timesteps, evenly spaced.
        select: Choose among proposals (DPPS), and start from the measurement instead of noise alone.
    """
    prior, measurement, noise = problem.prior, problem.measurement, problem.noise
    levels = reverse_steps(prior.alphas_cumprod, steps=steps)
    x = noise.normal("start")
    if select:
        x = _from_measurement(prior, measurement, x, alpha=levels[0].alpha)
    for number, level in enumerate(levels, 1):
        estimate = _estimate(prior, measurement, x, level)
        mean = level.clean_share * estimate.clean + level.noisy_share * x
        mean = mean - scale * estimate.gradient
        if level.alpha_next == 1.0:
            x = mean
        elif select:
            cost = _cost(prior, measurement, level, estimate, x, settings)
            x = _best(mean, estimate, level, cost, noise, settings=settings, number=number)
        else:
            x = mean + estimate.deviation * noise.normal(f"step {number}")
        problem.on_step(number, len(levels))
    with torch.no_grad():
        images = prior.decode(x)
    return problem.solution(images, calls=len(levels), gradient_calls=len(levels))


def num_candidates(alpha: float, *, most: int) -> int:
    """Proposals at a level: few in pure noise, `most` near the end."""
    return max(2, math.floor(most * (1.0 - math.exp(-alpha / (1.0 - alpha)))))


def _from_measurement(
    prior: Prior, measurement: Measurement, noise: Tensor, *, alpha: float
) -> Tensor:
    with torch.no_grad():
        first = prior.encode(measurement.first_image()).to(noise)
    return math.sqrt(alpha) * first + math.sqrt(1.0 - alpha) * noise


def _estimate(prior: Prior, measurement: Measurement, x: Tensor, level: ReverseStep) -> _Estimate:
    x = x.detach().requires_grad_(True)
    scaled, spread = x / math.sqrt(level.alpha), None
    if isinstance(prior, LearnedVariance):
        clean, spread = prior.denoise_with_spread(scaled, level.sigma)
    else:
        clean = prior.denoise(scaled, level.sigma)
    noise = (x - math.sqrt(level.alpha) * clean) / math.sqrt(1.0 - level.alpha)
    if prior.clips:
        clean = clean.clamp(-1.0, 1.0)
    error = measurement.errors(decoded(prior, clean)).norm(dim=1)
    (gradient,) = torch.autograd.grad(error.sum(), x)
    return _Estimate(
        clean=clean.detach(),
        noise=noise.detach(),
        deviation=level.deviation(None if spread is None else spread.detach()),
        gradient=gradient,
    )


def _cost(
    prior: Prior,
    measurement: Measurement,
    level: ReverseStep,
    estimate: _Estimate,
    x: Tensor,
    settings: DpsConfig,
) -> Cost:
    """How far a proposal's measurement is from where it should be."""
    root = math.sqrt(level.alpha_next)
    if settings.target == "measurement":
        # Divided by the root, so that a decoder, which does not scale with its input, sees a clean sample.
        away = math.sqrt(1.0 - level.alpha_next) * estimate.noise

        def cost(candidate: Tensor) -> Tensor:
            errors = measurement.errors(prior.decode((candidate - away) / root))
            size: Tensor = torch.linalg.vector_norm(errors, dim=1)
            return size

        return cost
    # A decoder has an offset, so all measurements are taken relative to that of the zero sample.
    offset = measurement.operator.A(prior.decode(torch.zeros_like(x)))
    seen = measurement.operator.A(prior.decode(x)) - offset
    target = level.clean_share * (measurement.y - offset) + level.noisy_share * seen

    def distance(candidate: Tensor) -> Tensor:
        found = measurement.operator.A(prior.decode(candidate)) - offset
        size: Tensor = torch.linalg.vector_norm((found - target).flatten(1), dim=1)
        return size

    return distance


@torch.no_grad()
def _best(
    mean: Tensor,
    estimate: _Estimate,
    level: ReverseStep,
    cost: Cost,
    noise: NoiseSource,
    *,
    settings: DpsConfig,
    number: int,
) -> Tensor:
    """The proposal of least cost, for each image by itself; only the best so far is kept."""
    best, least = mean, torch.full((len(mean),), torch.inf, device=mean.device, dtype=mean.dtype)
    for candidate in range(num_candidates(level.alpha, most=settings.candidates)):
        proposal = mean + estimate.deviation * noise.normal(f"step {number} proposal {candidate}")
        found = cost(proposal).to(least)
        better = found < least
        least = torch.where(better, found, least)
        best = torch.where(better[:, None, None, None], proposal, best)
    return best
