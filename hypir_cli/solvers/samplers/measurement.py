"""What was measured, what a sample says of it, and what a sampler returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from hypir_cli.folder.events import Progress, silent
from hypir_cli.solvers.operators.base import HasDagger, HasGuess, Operator, num_measured
from hypir_cli.solvers.priors.base import Prior
from hypir_cli.solvers.samplers.noise import NoiseSource


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A batch of measurements of unknown images."""

    y: Tensor
    """What was measured, (B, ...), in the operator's terms for images in -1..1."""
    operator: Operator
    """How."""
    noise: float
    """Standard deviation of the measurement's noise, on the scale -1..1; 0 when there is none."""
    size: tuple[int, int]
    """(height, width) of the images wanted."""

    def errors(self, images: Tensor) -> Tensor:
        """y - A(images), one row of numbers per image: (B, M)."""
        return (self.y - self.operator.A(images)).flatten(1)

    def residual(self, images: Tensor) -> Tensor:
        """||A x - y|| / (noise * root of the numbers measured), (B,): near 1 where an image explains y as well as the truth does.

        Without noise it is the root mean square error itself.
        """
        count = num_measured(self.operator, self.y)
        size: Tensor = self.errors(images).norm(dim=1) / max(count, 1) ** 0.5
        return size / self.noise if self.noise > 0 else size

    def first_image(self) -> Tensor:
        """The operator's guess, or A_dagger(y); y itself, or grey, for one that cannot be inverted: (B, 3, H, W)."""
        if isinstance(self.operator, HasGuess):
            return self.operator.first_guess(self.y)
        if isinstance(self.operator, HasDagger):
            return self.operator.A_dagger(self.y)
        shape = (len(self.y), 3, *self.size)
        return self.y if tuple(self.y.shape) == shape else self.y.new_zeros(shape)


@dataclass(frozen=True, kw_only=True)
class Solution:
    """What a sampler found."""

    images: Tensor
    """(B, 3, H, W), about -1..1, not clamped."""
    residual: Tensor
    """(B,), see `Measurement.residual`."""
    calls: int
    """Calls of the denoiser per image."""
    gradient_calls: int
    """Those of them that were followed by a backward pass."""


def decoded(prior: Prior, x: Tensor) -> Tensor:
    """Images of samples; where gradients are tracked, the decoder's activations are computed again instead of kept."""
    if not x.requires_grad:
        return prior.decode(x)
    images: Tensor = checkpoint(prior.decode, x, use_reentrant=False)
    return images


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What every sampler is given."""

    prior: Prior
    """Diffusion prior."""
    measurement: Measurement
    """What is known."""
    noise: NoiseSource
    """All random numbers."""
    on_step: Progress = silent
    """Told after each noise level."""

    @torch.no_grad()
    def solution(self, images: Tensor, *, calls: int, gradient_calls: int) -> Solution:
        """A finished batch with its residuals."""
        residual = self.measurement.residual(images)
        return Solution(
            images=images, residual=residual, calls=calls, gradient_calls=gradient_calls
        )
