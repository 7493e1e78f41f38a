"""SPGD: several smoothed data steps at every noise level before each denoising step. Source: arXiv:2507.06656.

One angle between successive gradients decides for each image how much of the last direction is kept, the step is taken along the
smoothed direction, and the denoising step uses a score that is not stale.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from hypir_cli.config.solve import SpgdConfig
from hypir_cli.solvers.operators.base import num_measured
from hypir_cli.solvers.samplers.levels import edm_sigmas
from hypir_cli.solvers.samplers.measurement import Problem, Solution, decoded

PUBLISHED_SIGMA_MAX = 100.0
"""First noise level of the published method."""


class Momentum:
    """Adaptive directional momentum: the more two directions agree, the more of the old one is kept.

    Args:
        most: Share of the old direction that is kept when both are the same.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self._last: Tensor | None = None

    def smoothed(self, gradient: Tensor) -> Tensor:
        """The direction to go, same shape as the gradient (B, ...)."""
        if self._last is not None and self._most > 0:
            angle = torch.nn.functional.cosine_similarity(
                gradient.flatten(1), self._last.flatten(1), dim=1
            )
            share = (self._most * (angle + 1.0) / 2.0).reshape(-1, *(1,) * (gradient.ndim - 1))
            gradient = share * self._last + (1.0 - share) * gradient
        self._last = gradient
        return gradient


def sample_spgd(
    problem: Problem,
    *,
    settings: SpgdConfig,
    lr: float,
    steps: int,
    sigma_max: float = PUBLISHED_SIGMA_MAX,
) -> Solution:
    """Images that the prior and the measurement agree with.

    Args:
        problem: What is given; of its noise SPGD draws only the start.
        settings: Warm-up, momentum and stopping; its own `lr` and `sigma_max` are not read.
        lr: Step along the gradient of ||y - A(x0)||^2 at the start.
        steps: Noise levels.
        sigma_max: First noise level, at most what the prior knows. The measurement's first image lies under the noise: nothing of it
            is left at the published level, but at lower ones it saves levels.
    """
    prior, measurement = problem.prior, problem.measurement
    first = min(sigma_max, prior.sigma_max)
    sigmas = edm_sigmas(steps=steps, sigma_max=first, sigma_min=min(settings.sigma_min, first))
    x = sigmas[0] * problem.noise.normal("start")
    with torch.no_grad():
        x = x + prior.encode(measurement.first_image()).to(x)
    data_calls = 0
    momentum = Momentum(settings.momentum)
    for index, (sigma, following) in enumerate(itertools.pairwise(sigmas)):
        if not settings.carry:
            momentum = Momentum(settings.momentum)
        length = lr * (1.0 - settings.decay * index / steps)
        for _ in range(settings.warmup):
            x, moved = _data_step(problem, x, sigma, length, momentum, stop=settings.stop)
            data_calls += 1
            if not moved:
                break
        with torch.no_grad():
            clean = prior.denoise(x, sigma)
            x = x + (following - sigma) / sigma * (x - clean)
        problem.on_step(index + 1, steps)
    with torch.no_grad():
        images = prior.decode(x)
    return problem.solution(images, calls=data_calls + steps, gradient_calls=data_calls)


def _data_step(
    problem: Problem,
    x: Tensor,
    sigma: float,
    length: float,
    momentum: Momentum,
    *,
    stop: bool,
) -> tuple[Tensor, bool]:
    """One step down the measurement's error through the denoiser, and whether any image still needed it."""
    prior, measurement = problem.prior, problem.measurement
    x = x.detach().requires_grad_(True)
    error = measurement.errors(decoded(prior, prior.denoise(x, sigma))).square().sum(dim=1)
    wanted = torch.ones_like(error, dtype=torch.bool)
    if stop and measurement.noise > 0:
        wanted = error > num_measured(measurement.operator, measurement.y) * measurement.noise**2
        if not wanted.any():
            return x.detach(), False
    (gradient,) = torch.autograd.grad(error.sum(), x)
    moved = x.detach() - length * momentum.smoothed(gradient)
    return torch.where(wanted[:, None, None, None], moved, x.detach()), True
