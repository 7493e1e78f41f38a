"""A sampler without gradients: denoise, agree with the measurement in pixels, encode, add noise, one level lower each time.

In the manner of LATINO (arXiv:2503.12615). Eight to thirty calls of the denoiser, no backward pass.
"""

from __future__ import annotations

import torch

from hypir_cli.config.solve import LatinoConfig
from hypir_cli.errors import ConfigError
from hypir_cli.solvers.operators.base import HasAdjoint, HasGuess, HasProx, Operator, conjugate_prox
from hypir_cli.solvers.samplers.levels import edm_sigmas
from hypir_cli.solvers.samplers.measurement import Measurement, Problem, Solution

LEAST_NOISE = 1e-3
"""Noise that is assumed where none is told, so that the proximal step stays well conditioned."""


def require_adjoint(operator: Operator, *, method: str) -> None:
    """Refuse operators that the proximal step cannot be done for.

    Raises:
        ConfigError: It has neither a proximal step nor a transpose.
    """
    if not isinstance(operator, (HasProx, HasAdjoint)):
        raise ConfigError(
            f"the method {method} needs the transpose of the damage, and "
            f"{type(operator).__name__} has none because it is not linear.",
            hint="use the method dps, dpps or spgd, which follow gradients",
        )


@torch.no_grad()
def sample_latino(
    problem: Problem,
    *,
    settings: LatinoConfig,
    start: float,
    steps: int,
) -> Solution:
    """Images that the prior and the measurement agree with.

    Args:
        problem: What is given.
        settings: Last level, and how much the measurement counts; its own `start` is not read.
        start: First noise level.
        steps: Noise levels, one call each.

    Raises:
        ConfigError: The operator has neither a proximal step nor a transpose.
    """
    prior, measurement = problem.prior, problem.measurement
    require_adjoint(measurement.operator, method="latino")
    start = min(start, prior.sigma_max)
    sigmas = edm_sigmas(steps=steps, sigma_max=start, sigma_min=min(settings.end, start))[:-1]
    images = measurement.first_image()
    clean = prior.encode(images)
    for number, sigma in enumerate(sigmas, 1):
        fresh = problem.noise.normal(f"level {number}")
        clean = prior.denoise(clean.to(fresh) + sigma * fresh, sigma)
        proposed = prior.decode(clean)
        images = _agree(measurement, proposed, variance=_variance(settings.trust, sigma))
        if number < steps:
            # Only what the measurement changed goes through the encoder: its own errors would add up over the levels.
            clean = clean + (prior.encode(images) - prior.encode(proposed)).to(clean)
        problem.on_step(number, steps)
    return problem.solution(images, calls=steps, gradient_calls=0)


def _variance(trust: float, sigma: float) -> float:
    """How far a denoised image is off: as far as the data spread in pure noise, nothing without noise."""
    return trust**2 * sigma**2 / (1.0 + sigma**2)


def _agree(measurement: Measurement, images: torch.Tensor, *, variance: float) -> torch.Tensor:
    """The x of least ||A x - y||^2 / (2 noise^2) + ||x - images||^2 / (2 variance)."""
    gamma = variance / max(measurement.noise, LEAST_NOISE) ** 2
    operator = measurement.operator
    if isinstance(operator, HasGuess):
        # The same, but for what tells images apart: a smooth correction instead of single pixels that stick out.
        share = gamma / (1.0 + gamma)
        return images + share * operator.first_guess(measurement.y - operator.A(images))
    if isinstance(operator, HasProx):
        return operator.prox_l2(images, measurement.y, gamma)
    assert isinstance(operator, HasAdjoint)
    return conjugate_prox(operator, images, measurement.y, gamma)
