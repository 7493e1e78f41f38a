"""Blur kernels: gaussian, generalised gaussian and plateau families, and the sinc low-pass.

All kernels are float64 squares that sum to 1. Source of the families: Real-ESRGAN (arXiv:2107.10833), section 3.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

KernelKind = Literal[
    "iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso", "sinc"
]


def gaussian_family_kernel(
    kind: KernelKind,
    *,
    size: int,
    sigma_x: float,
    sigma_y: float,
    rotation: float = 0.0,
    beta: float = 1.0,
) -> Tensor:
    """One kernel of the six families built on the squared Mahalanobis distance d.

    The profile is exp(-d / 2) for gaussians, exp(-d^beta / 2) for generalised gaussians and 1 / (1 + d^beta) for plateaus.

    Args:
        kind: Family; the `iso` ones use `sigma_x` alone.
        size: Odd side in pixels.
        sigma_x: Standard deviation along the first axis in pixels.
        sigma_y: Standard deviation along the second axis in pixels.
        rotation: Angle of the first axis in radians.
        beta: Exponent of the generalised and plateau families.

    Returns:
        float64 (size, size), sum 1.

    Raises:
        ValueError: `kind` is not one of the six.
    """
    if kind.endswith("aniso"):
        distance = _mahalanobis(size, sigma_x=sigma_x, sigma_y=sigma_y, rotation=rotation)
    else:
        distance = _mahalanobis(size, sigma_x=sigma_x, sigma_y=sigma_x, rotation=0.0)
    if kind in ("iso", "aniso"):
        profile = torch.exp(-0.5 * distance)
    elif kind in ("generalized_iso", "generalized_aniso"):
        profile = torch.exp(-0.5 * distance**beta)
    elif kind in ("plateau_iso", "plateau_aniso"):
        profile = 1.0 / (1.0 + distance**beta)
    else:
        raise ValueError(f"{kind!r} is not one of the gaussian families")
    return profile / profile.sum()


def sinc_kernel(*, size: int, cutoff: float) -> Tensor:
    """Circular low-pass filter, which rings beside edges.

    Args:
        size: Odd side in pixels.
        cutoff: Cut-off frequency in radians per pixel, (0, pi].

    Returns:
        float64 (size, size), sum 1, with negative lobes.

    Source: the inverse Fourier transform of a disc, cutoff * J1(cutoff * r) / (2 pi r).
    """
    axis = _axis(size)
    radius = torch.sqrt(axis[:, None] ** 2 + axis[None, :] ** 2)
    centre = size // 2
    radius[centre, centre] = 1.0
    kernel: Tensor = cutoff * torch.special.bessel_j1(cutoff * radius) / (2.0 * math.pi * radius)
    kernel[centre, centre] = cutoff**2 / (4.0 * math.pi)
    return kernel / kernel.sum()


def _axis(size: int) -> Tensor:
    return torch.arange(size, dtype=torch.float64) - size // 2


def _mahalanobis(size: int, *, sigma_x: float, sigma_y: float, rotation: float) -> Tensor:
    axis = _axis(size)
    x, y = axis[None, :], axis[:, None]
    cos, sin = math.cos(rotation), math.sin(rotation)
    along, across = cos * x + sin * y, cos * y - sin * x
    return (along / sigma_x) ** 2 + (across / sigma_y) ** 2
