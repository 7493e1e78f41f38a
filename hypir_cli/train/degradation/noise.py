"""Gaussian and poisson noise with one random stream, one strength and one gray switch per image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_WITHOUT_POISSON = ("mps",)
"""Types of devices that draw no poisson numbers."""
_GRAY_WEIGHTS = (0.2989, 0.587, 0.114)
_POWERS = tuple(2.0**exponent for exponent in range(8))


def add_gaussian_noise(
    images: Tensor,
    *,
    sigma: Sequence[float],
    gray: Sequence[bool],
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Images with gaussian noise.

    Args:
        images: (B, 3, H, W), 0..1.
        sigma: Standard deviation in 8-bit levels, one per image.
        gray: Whether the three channels of an image share one map, one per image.
        generators: Random streams on the device of `images`, one per image.

    Returns:
        (B, 3, H, W), clipped to 0..1.
    """
    noisy = [
        image + _normal(image, gray=is_gray, generator=generator) * (level / 255.0)
        for image, level, is_gray, generator in zip(images, sigma, gray, generators, strict=True)
    ]
    return torch.stack(noisy).clamp(0.0, 1.0)


def add_poisson_noise(
    images: Tensor,
    *,
    scale: Sequence[float],
    gray: Sequence[bool],
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Images with photon noise: each value is a count out of as many levels as the image uses.

    The level count is the number of distinct 8-bit values, raised to a power of two.

    Args:
        images: (B, 3, H, W), 0..1.
        scale: Factor on the deviation, one per image.
        gray: Whether the noise is that of the luma, equal in all channels, one per image.
        generators: Random streams on the device of `images`, one per image.

    Returns:
        (B, 3, H, W), clipped to 0..1.
    """
    noisy = [
        image + _photon_deviation(image, gray=is_gray, generator=generator) * factor
        for image, factor, is_gray, generator in zip(images, scale, gray, generators, strict=True)
    ]
    return torch.stack(noisy).clamp(0.0, 1.0)


def _normal(image: Tensor, *, gray: bool, generator: torch.Generator) -> Tensor:
    shape = (1, *image.shape[1:]) if gray else tuple(image.shape)
    return torch.randn(shape, generator=generator, device=image.device, dtype=image.dtype)


def _photon_deviation(image: Tensor, *, gray: bool, generator: torch.Generator) -> Tensor:
    if gray:
        weights = torch.tensor(_GRAY_WEIGHTS, dtype=image.dtype, device=image.device)
        image = (image * weights[:, None, None]).sum(dim=0, keepdim=True)
    rounded = (image * 255.0).round().clamp(0.0, 255.0)
    # A histogram instead of `unique`: its size is fixed, so a GPU need not be waited for.
    used = torch.zeros(256, dtype=image.dtype, device=image.device)
    used.index_fill_(0, rounded.long().flatten(), 1.0)
    # The next power of two by comparisons: a logarithm that is off in its last bit would double it.
    powers = torch.tensor(_POWERS, dtype=image.dtype, device=image.device)
    levels = torch.where(used.sum() > powers, 2.0, 1.0).prod().to(image.dtype)
    exact = rounded / 255.0
    return _poisson(exact * levels, generator=generator) / levels - exact


def _poisson(rates: Tensor, *, generator: torch.Generator) -> Tensor:
    """Counts with these means, drawn on the CPU for devices that cannot."""
    if rates.device.type not in _WITHOUT_POISSON:
        return torch.poisson(rates, generator=generator)
    own = torch.Generator().manual_seed(generator.initial_seed())
    return torch.poisson(rates.cpu(), generator=own).to(rates.device)
