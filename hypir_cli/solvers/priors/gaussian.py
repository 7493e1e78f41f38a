"""Priors whose denoiser is exact: gaussians and mixtures of them. With these a sampler can be compared with the truth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hypir_cli.solvers.priors.base import ImageSpace, linear_alphas_cumprod

SIGMA_MAX = 100.0


class GaussianPrior(ImageSpace):
    """Images (or other tensors of one shape) drawn from one gaussian.

    Args:
        mean: (C, H, W) float64.
        covariance: (N, N) float64 over the flattened shape, N = C * H * W.
    """

    clips = False
    multiple = 1
    sigma_max = SIGMA_MAX

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        self.mean = mean
        self.covariance = covariance
        self.alphas_cumprod = linear_alphas_cumprod()
        values, self._axes = torch.linalg.eigh(covariance)
        self._values = values.clamp_min(0.0)

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """The posterior mean, in closed form."""
        gain = self._values / (self._values + sigma**2)
        centred = x.flatten(1) - self.mean.flatten()
        shrunk: Tensor = ((centred @ self._axes) * gain) @ self._axes.T
        return (shrunk + self.mean.flatten()).reshape(x.shape)

    def log_evidence(self, x: Tensor, sigma: float) -> Tensor:
        """Log density of noisy samples, (B,)."""
        variances = self._values + sigma**2
        coordinates = (x.flatten(1) - self.mean.flatten()) @ self._axes
        log_density: Tensor = -0.5 * (coordinates.square() / variances + variances.log()).sum(1)
        return log_density

    def sample_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """The shape of the mean."""
        channels, rows, columns = self.mean.shape
        return channels, rows, columns

    def posterior(self, matrix: Tensor, y: Tensor, *, noise: float) -> GaussianPrior:
        """What is known once y = matrix @ x + noise * n was measured.

        Args:
            matrix: (M, N) float64.
            y: (M,) float64.
            noise: Standard deviation of the measurement's noise.

        Returns:
            The posterior, a gaussian again.
        """
        size = len(matrix)
        spread = matrix @ self.covariance @ matrix.T + noise**2 * torch.eye(size).to(matrix)
        gain = torch.linalg.solve(spread, matrix @ self.covariance).T
        mean = self.mean.flatten() + gain @ (y - matrix @ self.mean.flatten())
        covariance = self.covariance - gain @ matrix @ self.covariance
        return GaussianPrior(mean.reshape(self.mean.shape), (covariance + covariance.T) / 2.0)


class GaussianMixturePrior(ImageSpace):
    """Images drawn from one of several gaussians.

    Args:
        weights: Chance of each, summing to 1.
        parts: The gaussians, all of one shape.
    """

    clips = False
    multiple = 1
    sigma_max = SIGMA_MAX

    def __init__(self, weights: Tensor, parts: Sequence[GaussianPrior]) -> None:
        self.weights = weights
        self.parts = tuple(parts)
        self.alphas_cumprod = linear_alphas_cumprod()

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """The posterior mean: the parts' means by how likely each part is."""
        evidence = torch.stack([part.log_evidence(x, sigma) for part in self.parts], dim=1)
        shares = torch.softmax(evidence + self.weights.log(), dim=1)
        means = torch.stack([part.denoise(x, sigma) for part in self.parts], dim=1)
        return (shares.reshape(*shares.shape, 1, 1, 1) * means).sum(1)

    def sample_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """The shape of the parts' means."""
        return self.parts[0].sample_shape(height, width)

    def posterior(self, matrix: Tensor, y: Tensor, *, noise: float) -> GaussianMixturePrior:
        """What is known once y = matrix @ x + noise * n was measured: a mixture again."""
        evidence = []
        for part in self.parts:
            spread = matrix @ part.covariance @ matrix.T + noise**2 * torch.eye(len(matrix)).to(
                matrix
            )
            away = y - matrix @ part.mean.flatten()
            evidence.append(-0.5 * (away @ torch.linalg.solve(spread, away) + torch.logdet(spread)))
        weights = torch.softmax(torch.stack(evidence) + self.weights.log(), dim=0)
        parts = [part.posterior(matrix, y, noise=noise) for part in self.parts]
        return GaussianMixturePrior(weights, parts)
