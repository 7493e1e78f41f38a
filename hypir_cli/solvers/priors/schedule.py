"""From a noise level to a model's own timestep, and from its output to the clean sample."""

from __future__ import annotations

import torch
from torch import Tensor

from hypir_cli.models import prediction
from hypir_cli.models.prediction import PredictionKind
from hypir_cli.solvers.priors.base import sigma_of

LEAST_ALPHA = 1e-5
"""Cumulative alphas below this (schedules that end in pure noise) have no finite noise level."""


class DiscreteSchedule:
    """A schedule by its cumulative alphas.

    Args:
        alphas_cumprod: (T,) float64, falling.
        kind: What the model predicts, noise or v.
    """

    def __init__(self, alphas_cumprod: Tensor, kind: PredictionKind) -> None:
        self.alphas_cumprod = alphas_cumprod.double().clamp_min(LEAST_ALPHA)
        self._kind = kind
        self._log_sigmas = 0.5 * (1.0 / self.alphas_cumprod - 1.0).log()
        self.sigma_max = sigma_of(float(self.alphas_cumprod[-1]))

    def timestep(self, sigma: float) -> float:
        """The timestep of a level, between the model's own ones where need be, held within them."""
        wanted = torch.tensor(sigma, dtype=torch.float64).log()
        upper = int(torch.searchsorted(self._log_sigmas, wanted))
        if upper == 0 or upper == len(self._log_sigmas):
            return float(min(upper, len(self._log_sigmas) - 1))
        below, above = self._log_sigmas[upper - 1], self._log_sigmas[upper]
        place = upper - 1 + float((wanted - below) / (above - below))
        # A level of the model's own must give its own timestep, whatever the rounding.
        return float(round(place)) if abs(place - round(place)) < 1e-4 else place

    def input(self, x: Tensor, sigma: float) -> Tensor:
        """What the model wants to see of x = clean + sigma * noise: the two mixed to unit variance."""
        mixed: Tensor = x / (1.0 + sigma**2) ** 0.5
        return mixed

    def clean(self, mixed: Tensor, output: Tensor, sigma: float) -> Tensor:
        """The clean sample that an output implies."""
        alpha = torch.tensor(1.0 / (1.0 + sigma**2), dtype=mixed.dtype, device=mixed.device)
        if self._kind == "epsilon":
            return prediction.z0_from_eps(mixed, output, alpha_cumprod=alpha)
        return prediction.z0_from_v(mixed, output, alpha_cumprod=alpha)
