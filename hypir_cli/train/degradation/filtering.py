"""Convolution with one kernel per image, resampling, and unsharp masking."""

from __future__ import annotations

import functools
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from hypir_cli.pixels.exact import outside_autocast

ResizeMode = Literal["area", "bilinear", "bicubic"]


@outside_autocast
def filter2d(images: Tensor, kernels: Tensor) -> Tensor:
    """Each image correlated with its own kernel, borders reflected.

    Args:
        images: (B, C, H, W).
        kernels: (B, k, k) or (1, k, k) for one kernel shared by all; k odd.

    Returns:
        (B, C, H, W).

    Raises:
        ValueError: The kernel side is even, or their number is neither 1 nor B.
    """
    batch, channels, height, width = images.shape
    count, side, _ = kernels.shape
    if side % 2 == 0 or count not in (1, batch):
        raise ValueError(f"need 1 or {batch} odd kernels, got {tuple(kernels.shape)}")
    padded = reflect_pad(images, side // 2)
    weights = kernels.to(images).expand(batch, side, side)
    weights = weights[:, None, None].expand(batch, channels, 1, side, side)
    blurred = functional.conv2d(
        padded.reshape(1, batch * channels, *padded.shape[-2:]),
        weights.reshape(batch * channels, 1, side, side),
        groups=batch * channels,
    )
    return blurred.reshape(batch, channels, height, width)


def reflect_pad(images: Tensor, margin: int) -> Tensor:
    """Images (B, C, H, W) with `margin` reflected pixels on each side, also where the image is smaller than that."""
    while margin > 0:
        step = min(margin, images.shape[-1] - 1, images.shape[-2] - 1)
        if step == 0:
            return functional.pad(images, (margin,) * 4, mode="replicate")
        images = functional.pad(images, (step,) * 4, mode="reflect")
        margin -= step
    return images


def scale_by(images: Tensor, *, factor: float, mode: ResizeMode) -> Tensor:
    """Images resized by a factor, no antialiasing; sides are floor(side * factor), at least 1."""
    if factor == 1.0:
        return images
    if min(images.shape[-2:]) * factor < 1.0:
        height, width = (max(1, int(side * factor)) for side in images.shape[-2:])
        return resize_to(images, height=height, width=width, mode=mode)
    corners = None if mode == "area" else False
    return functional.interpolate(images, scale_factor=factor, mode=mode, align_corners=corners)


def resize_to(images: Tensor, *, height: int, width: int, mode: ResizeMode) -> Tensor:
    """Images (B, C, H, W) resized to (B, C, height, width), no antialiasing; bicubic may leave 0..1."""
    if images.shape[-2:] == (height, width):
        return images
    corners = None if mode == "area" else False
    return functional.interpolate(images, size=(height, width), mode=mode, align_corners=corners)


def usm_sharpen(
    images: Tensor, *, weight: float = 0.5, radius: int = 50, threshold: float = 10.0
) -> Tensor:
    """Unsharp masking where the detail is strong enough, with a soft edge to that region.

    Args:
        images: (B, 3, H, W), 0..1.
        weight: Share of the detail that is added once more.
        radius: Side of the gaussian in pixels; an even side is made odd by adding one.
        threshold: Detail below this many 8-bit levels is left alone.

    Returns:
        (B, 3, H, W), 0..1.

    Source: the sharpening of Real-ESRGAN's training targets (arXiv:2107.10833), section 3.4.
    """
    side = radius + (radius + 1) % 2
    detail = images - _gaussian_blur(images, side=side)
    strong = (detail.abs() * 255.0 > threshold).to(images.dtype)
    soft = _gaussian_blur(strong, side=side)
    sharp = (images + weight * detail).clamp(0.0, 1.0)
    return soft * sharp + (1.0 - soft) * images


def gaussian_blur(images: Tensor, *, sigma: float) -> Tensor:
    """Images (B, C, H, W) blurred by a gaussian of `sigma` pixels, cut off at three sigma, borders reflected."""
    return _separable(images, _gaussian_line(_side_of(sigma), sigma))


def blurred_deviation(sigma: float) -> float:
    """Standard deviation that `gaussian_blur` leaves of white noise of deviation 1."""
    return float((_gaussian_line(_side_of(sigma), sigma) ** 2).sum())


def _side_of(sigma: float) -> int:
    return 2 * max(1, round(3.0 * sigma)) + 1


def _gaussian_blur(images: Tensor, *, side: int) -> Tensor:
    # The customary width for a gaussian of a given side when none is asked for.
    return _separable(images, _gaussian_line(side, 0.3 * ((side - 1) * 0.5 - 1) + 0.8))


@outside_autocast
def _separable(images: Tensor, line: Tensor) -> Tensor:
    channels, side = images.shape[1], line.shape[0]
    padded = reflect_pad(images, side // 2)
    weights = line.to(images).expand(channels, 1, 1, side)
    rows = functional.conv2d(padded, weights, groups=channels)
    return functional.conv2d(rows, weights.transpose(-1, -2), groups=channels)


@functools.lru_cache(maxsize=64)
def _gaussian_line(side: int, sigma: float) -> Tensor:
    axis = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    line = torch.exp(-(axis**2) / (2.0 * sigma**2))
    return line / line.sum()
