"""A small world in which the truth is known: gaussian images, a matrix that measures them, noise drawn in bulk."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hypir_cli.solvers.priors.gaussian import GaussianMixturePrior, GaussianPrior
from hypir_cli.solvers.samplers.measurement import Measurement

SHAPE = (1, 4, 8)
NUM_PIXELS = 32
NOISE = 0.05


class BulkNoise:
    """Noise from one generator, for hundreds of runs at once."""

    def __init__(self, batch: int, *, seed: int = 0) -> None:
        self._batch = batch
        self._generator = torch.Generator().manual_seed(seed)

    def normal(self, purpose: str) -> Tensor:
        return torch.randn(self._batch, *SHAPE, generator=self._generator, dtype=torch.float64)


class Matrix:
    """A linear operator by its matrix."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix

    def A(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.matrix.T

    def A_adjoint(self, y: Tensor) -> Tensor:
        return (y @ self.matrix).reshape(-1, *SHAPE)

    def A_dagger(self, y: Tensor) -> Tensor:
        inverse: Tensor = torch.linalg.pinv(self.matrix)
        return (y @ inverse.T).reshape(-1, *SHAPE)


@dataclass(frozen=True, kw_only=True)
class World:
    """A prior, a measurement of one of its images, and what follows from both."""

    prior: GaussianPrior | GaussianMixturePrior
    posterior: GaussianPrior | GaussianMixturePrior
    measurement: Measurement


def averages() -> Tensor:
    """The means of four neighbours each, (8, 32)."""
    return torch.kron(torch.eye(NUM_PIXELS // 4), torch.full((1, 4), 0.25)).double()


def smooth_covariance(*, reach: float = 4.0) -> Tensor:
    """Neighbours are alike; each pixel has deviation 1/2."""
    index = torch.arange(NUM_PIXELS).double()
    return 0.25 * torch.exp(-(index[:, None] - index).abs() / reach)


def gaussian_world(*, batch: int, seed: int = 1) -> World:
    prior = GaussianPrior(torch.zeros(SHAPE).double(), smooth_covariance())
    return _world(prior, smooth_covariance(), torch.zeros(NUM_PIXELS), batch=batch, seed=seed)


def mixture_world(*, batch: int, seed: int = 1) -> World:
    """Bright or dark images, bright ones three times as often; the one that was measured is dark."""
    means = [torch.full(SHAPE, value).double() for value in (0.6, -0.6)]
    parts = [GaussianPrior(mean, 0.3 * smooth_covariance()) for mean in means]
    prior = GaussianMixturePrior(torch.tensor([0.75, 0.25]).double(), parts)
    return _world(prior, 0.3 * smooth_covariance(), means[1].flatten(), batch=batch, seed=seed)


def _world(
    prior: GaussianPrior | GaussianMixturePrior,
    covariance: Tensor,
    mean: Tensor,
    *,
    batch: int,
    seed: int,
) -> World:
    generator = torch.Generator().manual_seed(seed)
    matrix = averages()
    drawn = torch.randn(NUM_PIXELS, generator=generator, dtype=torch.float64)
    truth = mean + torch.linalg.cholesky(covariance) @ drawn
    noise = torch.randn(len(matrix), generator=generator, dtype=torch.float64)
    y = matrix @ truth + NOISE * noise
    return World(
        prior=prior,
        posterior=prior.posterior(matrix, y, noise=NOISE),
        measurement=Measurement(
            y=y.expand(batch, -1), operator=Matrix(matrix), noise=NOISE, size=SHAPE[1:]
        ),
    )
