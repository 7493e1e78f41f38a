"""At which noise levels a sampler stops by."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hypir_cli.solvers.priors.base import sigma_of

RHO = 7.0
"""Exponent of the spacing."""


def edm_sigmas(*, steps: int, sigma_max: float, sigma_min: float) -> list[float]:
    """Levels from `sigma_max` down to `sigma_min`, then 0: steps + 1 numbers.

    Source: EDM (arXiv:2206.00364), eq. 5.
    """
    places = torch.linspace(0.0, 1.0, steps, dtype=torch.float64)
    start, end = sigma_max ** (1.0 / RHO), sigma_min ** (1.0 / RHO)
    return [*((start + places * (end - start)) ** RHO).tolist(), 0.0]


@dataclass(frozen=True, kw_only=True)
class ReverseStep:
    """One step of the discrete reverse process, from level `alpha` to level `alpha_next`."""

    alpha: float
    """Cumulative alpha that is left."""
    alpha_next: float
    """Cumulative alpha that is reached; 1 at the end."""

    @property
    def sigma(self) -> float:
        """EDM's level that is left."""
        return sigma_of(self.alpha)

    @property
    def beta(self) -> float:
        """Noise that the forward process adds over this step."""
        return 1.0 - self.alpha / self.alpha_next

    @property
    def clean_share(self) -> float:
        """Coefficient of the clean sample in the posterior's mean."""
        return math.sqrt(self.alpha_next) * self.beta / (1.0 - self.alpha)

    @property
    def noisy_share(self) -> float:
        """Coefficient of the noisy sample in the posterior's mean."""
        return math.sqrt(1.0 - self.beta) * (1.0 - self.alpha_next) / (1.0 - self.alpha)

    @property
    def variance(self) -> float:
        """Variance of the posterior: the lower bound of what a step may spread."""
        return self.beta * (1.0 - self.alpha_next) / (1.0 - self.alpha)

    def deviation(self, spread: Tensor | None) -> Tensor | float:
        """Standard deviation of the step; `spread` (0..1) goes from the lower to the upper bound, in logarithms.

        Source: Improved DDPM (arXiv:2102.09672), eq. 15.
        """
        if spread is None or self.variance == 0:
            return math.sqrt(self.variance)
        low, high = math.log(self.variance), math.log(self.beta)
        return torch.exp(0.5 * (low + spread * (high - low)))


def reverse_steps(alphas_cumprod: Tensor, *, steps: int) -> list[ReverseStep]:
    """The discrete reverse process through `steps` evenly spaced timesteps; all of them when there are no more."""
    total = len(alphas_cumprod)
    count = min(steps, total)
    places = torch.linspace(total - 1, 0, count, dtype=torch.float64).round().long()
    alphas = alphas_cumprod[places].tolist()
    following = [*alphas[1:], 1.0]
    return [
        ReverseStep(alpha=alpha, alpha_next=after)
        for alpha, after in zip(alphas, following, strict=True)
    ]
