"""Blur kernels: gaussian, a straight motion, a hand's shake. All are float64, sum to 1, and have their centre in the middle."""

from __future__ import annotations

import math

import torch
from torch import Tensor

STEPS_PER_PIXEL = 4
"""Points that draw a path, per pixel of its length."""


def gaussian(*, size: int, sigma: float) -> Tensor:
    """An isotropic gaussian, (size, size).

    Args:
        size: Odd side in pixels.
        sigma: Standard deviation in pixels.
    """
    axis = torch.arange(size, dtype=torch.float64) - size // 2
    profile = torch.exp(-0.5 * (axis / sigma) ** 2)
    kernel = profile[:, None] * profile
    return kernel / kernel.sum()


def line(*, length: float, angle: float) -> Tensor:
    """A straight, even motion, drawn with soft ends; square with an odd side that holds it.

    Args:
        length: Pixels.
        angle: Degrees, counted from the image's horizontal against the clock.
    """
    size = 2 * math.ceil(length / 2) + 1
    along = torch.linspace(-0.5, 0.5, max(2, math.ceil(length * STEPS_PER_PIXEL)))
    radians = math.radians(angle)
    xs = along.double() * (length - 1) * math.cos(radians)
    ys = -along.double() * (length - 1) * math.sin(radians)
    return _drawn(xs, ys, size=size)


def random_walk(*, size: int, intensity: float, seed: int) -> Tensor:
    """A path whose direction wanders, as a camera in an unsteady hand; centred on its own mean.

    Args:
        size: Odd side in pixels; the path fills about its half.
        intensity: 0 (nearly a line) to 1 (a scrawl).
        seed: The same seed gives the same kernel.
    """
    generator = torch.Generator().manual_seed(seed)
    count = size * STEPS_PER_PIXEL
    start = 2.0 * math.pi * float(torch.rand(1, generator=generator))
    turns = torch.randn(count, generator=generator, dtype=torch.float64)
    speeds = torch.rand(count, generator=generator, dtype=torch.float64) + 0.5
    # A walk's direction spreads with the root of the steps, so the turn per step must shrink with it.
    angles = start + (turns * intensity * 2.0 * math.pi / math.sqrt(count)).cumsum(0)
    xs, ys = (speeds * angles.cos()).cumsum(0), (speeds * angles.sin()).cumsum(0)
    xs, ys = xs - xs.mean(), ys - ys.mean()
    reach = float(torch.maximum(xs.abs().max(), ys.abs().max()))
    scale = (size // 2 - 1) / max(reach, 1e-9) * (0.5 + 0.5 * (1.0 - intensity))
    return _drawn(xs * scale, ys * scale, size=size)


def _drawn(xs: Tensor, ys: Tensor, *, size: int) -> Tensor:
    """Points around the centre of a square, each spread over its four nearest pixels."""
    kernel = torch.zeros(size + 1, size + 1, dtype=torch.float64)
    xs, ys = xs + size // 2, ys + size // 2
    left, top = xs.floor().clamp(0, size - 1), ys.floor().clamp(0, size - 1)
    right_share, bottom_share = xs - left, ys - top
    for down, row_share in ((0, 1.0 - bottom_share), (1, bottom_share)):
        for across, column_share in ((0, 1.0 - right_share), (1, right_share)):
            index = (top.long() + down, left.long() + across)
            kernel.index_put_(index, row_share * column_share, accumulate=True)
    kernel = kernel[:size, :size]
    return kernel / kernel.sum()
