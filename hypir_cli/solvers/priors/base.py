"""What a sampler asks of a diffusion prior."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


class Prior(Protocol):
    """A denoiser on its own space (pixels or latents), and the way there and back."""

    @property
    def sigma_max(self) -> float:
        """Noise level (EDM's sigma) at which almost nothing of an image is left; sampling starts there."""

    @property
    def alphas_cumprod(self) -> Tensor:
        """Schedule of the discrete form, (T,) float64, falling."""

    @property
    def clips(self) -> bool:
        """Whether clean samples lie in -1..1, as pixels do and latents do not."""

    @property
    def multiple(self) -> int:
        """Image sides must be multiples of this many pixels."""

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """Mean of the clean sample given x = clean + sigma * noise; tracks gradients.

        Args:
            x: (B, C, h, w) in the prior's own space.
            sigma: Noise level of the whole batch, above 0.

        Returns:
            (B, C, h, w), same dtype as x.
        """

    def encode(self, images: Tensor) -> Tensor:
        """Samples (B, C, h, w) of images (B, 3, H, W) in -1..1."""

    def decode(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) around -1..1 of samples; tracks gradients."""

    def sample_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(C, h, w) of the sample of an image."""


class ImageSpace:
    """What priors share whose own space is that of images."""

    def encode(self, images: Tensor) -> Tensor:
        """The images themselves."""
        return images

    def decode(self, x: Tensor) -> Tensor:
        """The samples themselves."""
        return x


@runtime_checkable
class LearnedVariance(Protocol):
    """A prior that also learned how far a reverse step of the discrete form spreads."""

    def denoise_with_spread(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """What `denoise` gives, and where the step's log variance lies between its bounds (0 the lower, 1 the upper)."""


def linear_alphas_cumprod(*, steps: int = 1000, start: float = 1e-4, end: float = 0.02) -> Tensor:
    """The schedule of DDPM: betas on a straight line, (steps,) float64.

    Source: DDPM (arXiv:2006.11239), section 4.
    """
    return torch.cumprod(1.0 - torch.linspace(start, end, steps, dtype=torch.float64), dim=0)


def sigma_of(alpha_cumprod: float) -> float:
    """EDM's noise level of a cumulative alpha: the noise relative to the clean sample, not to the mixture."""
    return float(((1.0 - alpha_cumprod) / alpha_cumprod) ** 0.5)
