"""NIQE: how far an image's local statistics are from those of undistorted photographs. Lower is better, no reference needed.

The model of undistorted photographs (mean and covariance of 36 features) ships beside this file; `data/NOTICE` says whose
it is. Figures agree with the original MATLAB release as ported by the common Python packages.
"""

from __future__ import annotations

import functools
import math
from importlib import resources

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hypir_cli.pixels.color import LUMA_WEIGHTS
from hypir_cli.pixels.precision import in_float64

BLOCK = 96
"""Side of the blocks the features are taken from, in pixels."""
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))


def niqe(images: Tensor) -> Tensor:
    """NIQE of each image, (B,), float64.

    Args:
        images: RGB, (B, 3, H, W), 0..1; at least two blocks of 96x96. The rest that fills no block is cut off at the
            right and bottom.

    Raises:
        ValueError: Fewer than two whole blocks.

    Source: Mittal, Soundararajan, Bovik 2013, "Making a completely blind image quality analyzer".
    """
    rows, columns = images.shape[-2] // BLOCK, images.shape[-1] // BLOCK
    if rows * columns < 2:
        size = f"{images.shape[-1]}x{images.shape[-2]}"
        raise ValueError(f"NIQE needs at least two blocks of {BLOCK}x{BLOCK} pixels, got {size}")
    luma = _luma(images)[..., : rows * BLOCK, : columns * BLOCK]
    coarse = _half(luma / 255) * 255
    features = torch.cat([_features(luma, BLOCK), _features(coarse, BLOCK // 2)], dim=-1)
    return torch.stack([_distance(blocks) for blocks in features])


def _luma(images: Tensor) -> Tensor:
    """Luma in whole levels 0..255, (B, 1, H, W), float64."""
    red, green, blue = in_float64(images).unbind(1)
    of_red, of_green, of_blue = LUMA_WEIGHTS
    levels = 255 * (of_red * red + of_green * green + of_blue * blue)
    return levels.round().unsqueeze(1)


def _distance(features: Tensor) -> Tensor:
    mean, covariance = _pristine()
    whole = features[features.isfinite().all(dim=1)]
    if len(whole) < 2:
        return features.new_tensor(math.nan)
    pooled = (covariance.to(features) + torch.cov(whole.T)) / 2
    offset = mean.to(features) - features.nanmean(dim=0)
    return torch.sqrt(offset @ torch.linalg.pinv(pooled) @ offset)


@functools.cache
def _pristine() -> tuple[Tensor, Tensor]:
    file = resources.files("hypir_cli.pixels.metrics") / "data" / "niqe_pristine.npz"
    with resources.as_file(file) as path, np.load(path) as values:
        mean = torch.from_numpy(values["mean"]).ravel()
        return mean, torch.from_numpy(values["covariance"])


def _features(luma: Tensor, block: int) -> Tensor:
    """18 features of every block, (B, blocks, 18)."""
    contrast = _normalised(luma)
    height, width = contrast.shape[-2:]
    blocks = contrast.view(-1, height // block, block, width // block, block)
    blocks = blocks.permute(0, 1, 3, 2, 4).flatten(1, 2)
    shape, left, right = _asymmetric_gaussian(blocks)
    columns = [shape, (left + right) / 2]
    for shift in _SHIFTS:
        shape, left, right = _asymmetric_gaussian(blocks * blocks.roll(shift, dims=(-2, -1)))
        mean = (right - left) * torch.exp(torch.lgamma(2 / shape) - torch.lgamma(1 / shape))
        columns += [shape, mean, left, right]
    return torch.stack(columns, dim=-1)


def _normalised(luma: Tensor) -> Tensor:
    """Contrast-normalised image: local mean taken off, divided by local deviation plus one level."""
    window = _window().to(luma).view(1, 1, 7, 7)
    padded = functional.pad(luma, (3, 3, 3, 3), mode="replicate")
    mean = functional.conv2d(padded, window)
    variance = (functional.conv2d(padded.square(), window) - mean.square()).abs()
    return (luma - mean) / (torch.sqrt(variance) + 1)


@functools.cache
def _window() -> Tensor:
    """Gaussian of 7x7 pixels, sigma 7/6.

    Rounded to float32 on purpose: published figures come from code that does so, and in flat areas, where the variance is
    a small difference of large sums, that moves the score by up to 0.3%.
    """
    offsets = torch.arange(-3, 4, dtype=torch.float64)
    squares = offsets.square()[:, None] + offsets.square()[None]
    window = torch.exp(-squares / (2 * (7 / 6) ** 2))
    return (window / window.sum()).to(torch.float32)


def _asymmetric_gaussian(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shape and the two scales of an asymmetric generalised gaussian fitted to each block by its moments."""
    left = _rms(blocks, blocks < 0)
    right = _rms(blocks, blocks > 0)
    ratio = left / right
    flatness = blocks.abs().mean(dim=(-2, -1)).square() / blocks.square().mean(dim=(-2, -1))
    target = flatness * (ratio**3 + 1) * (ratio + 1) / (ratio.square() + 1).square()
    shapes, curve = _shape_table()
    shapes, curve = shapes.to(blocks), curve.to(blocks)
    shape = shapes[(curve - target.unsqueeze(-1)).abs().argmin(dim=-1)]
    scale = torch.exp((torch.lgamma(1 / shape) - torch.lgamma(3 / shape)) / 2)
    return shape, left * scale, right * scale


def _rms(blocks: Tensor, mask: Tensor) -> Tensor:
    return torch.sqrt((blocks * mask).square().sum(dim=(-2, -1)) / mask.sum(dim=(-2, -1)))


@functools.cache
def _shape_table() -> tuple[Tensor, Tensor]:
    """Candidate shapes 0.2, 0.201, ... 10 and the moment ratio each implies."""
    shapes = torch.arange(0.2, 10.001, 0.001, dtype=torch.float64)
    log_ratio = 2 * torch.lgamma(2 / shapes) - torch.lgamma(1 / shapes) - torch.lgamma(3 / shapes)
    return shapes, torch.exp(log_ratio)


def _half(luma: Tensor) -> Tensor:
    """Half size as MATLAB's imresize makes it: bicubic stretched over 8 pixels, edge pixels mirrored."""
    distance = (torch.arange(8, dtype=luma.dtype, device=luma.device) - 3.5).abs() / 2
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    taps = torch.where(distance <= 1, near, far)
    taps = taps / taps.sum()
    for dim in (-2, -1):
        first, last = luma.narrow(dim, 0, 3).flip(dim), luma.narrow(dim, -3, 3).flip(dim)
        windows = torch.cat((first, luma, last), dim=dim).unfold(dim, 8, 2)
        luma = windows @ taps
    return luma
