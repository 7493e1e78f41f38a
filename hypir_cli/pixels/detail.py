"""Amplify or soften the fine detail of a finished image until its texture richness is what was asked.

A network that is told a texture richness follows it only as far as it learned to. The statistic is a quadratic in the strength of
the fine detail, so one pass over the image gives the strength that meets it exactly, and a second one applies it; both go strip by
strip with a halo, and the result does not depend on the strips.

Detail is that of the luma, so that no colours appear. What is weaker than a few levels is hardly amplified: it is mostly what is
left of noise.

Source: texture richness is the statistic of HYPIR (arXiv:2507.20590), section 3; this way of meeting it is ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hypir_cli.images import quantize, to_float
from hypir_cli.images.data import Pixels
from hypir_cli.pixels.color import luma
from hypir_cli.pixels.exact import outside_autocast
from hypir_cli.pixels.texture import laplacian
from hypir_cli.pixels.tiling import reflect_indices

DETAIL_SIGMA = 1.2
"""Fine detail is what a Gaussian blur of this many pixels takes away."""
DETAIL_RADIUS = 5
"""Pixels from the middle to the end of that blur's kernel."""
CORE = 2.0
"""Detail of this many 8-bit levels is amplified half as much as strong detail."""
STRIP_PIXELS = 2**18
"""Pixels at a time, in whole rows: memory does not grow with the width."""
_HALO = DETAIL_RADIUS + 1


@dataclass(frozen=True, kw_only=True)
class DetailStatistics:
    """How the variance of the Laplacian depends on how much detail is added, in squared 8-bit levels."""

    image: float
    """Variance of the image's Laplacian."""
    mixed: float
    """Covariance of the Laplacians of the image and of the detail."""
    detail: float
    """Variance of the detail's Laplacian."""

    def richness(self, added: float) -> float:
        """Variance of the Laplacian with `added` times the detail on top, but for rounding and clipping."""
        return self.image + 2.0 * added * self.mixed + added * added * self.detail

    def added_for(self, wanted: float) -> float:
        """How much detail gives a richness; where none does, what comes closest."""
        if self.detail <= 0.0:
            return 0.0
        inside = self.mixed**2 - self.detail * (self.image - wanted)
        return (-self.mixed + math.sqrt(max(inside, 0.0))) / self.detail


def match_texture(
    pixels: Pixels, wanted: float, *, least: float, most: float, soft: bool = False
) -> float:
    """Change the strength of an image's fine detail, in place, so that its texture richness is `wanted`.

    Args:
        pixels: (H, W, C) uint8 or uint16, C 1 or 3.
        wanted: Variance of the Laplacian in squared 8-bit levels.
        least: Smallest factor on the detail.
        most: Largest factor on the detail.
        soft: From halfway to `most` on, factors come nearer to it without reaching it, so that more asked always gives more.

    Returns:
        The factor that was applied to strong detail.
    """
    if min(pixels.shape[:2]) < 2:
        return 1.0
    statistics = detail_statistics(pixels, core=CORE)
    # Weakening takes the weak detail, too.
    core = CORE if statistics.image < wanted else 0.0
    if core == 0.0:
        statistics = detail_statistics(pixels, core=core)
    added = max(statistics.added_for(wanted), least - 1.0)
    added = _softly_below(added, most - 1.0) if soft else min(added, most - 1.0)
    if added != 0.0:
        _add_detail(pixels, added, core=core)
    return 1.0 + added


def detail_statistics(pixels: Pixels, *, core: float) -> DetailStatistics:
    """See `DetailStatistics`; of an image as for `match_texture`."""
    sums = torch.zeros(5, dtype=torch.float64)
    height, width = int(pixels.shape[0]), int(pixels.shape[1])
    for top, bottom in _strips(height, width):
        light = 255.0 * luma(_window(pixels, top, bottom, halo=_HALO))
        first = laplacian(_inner(light)).double().flatten()
        second = laplacian(_detail(light, core=core)).double().flatten()
        squares = [first.dot(first), first.dot(second), second.dot(second)]
        sums += torch.stack([first.sum(), second.sum(), *squares])
    mean_first, mean_second, image, mixed, detail = (sums / (height * width)).tolist()
    return DetailStatistics(
        image=image - mean_first * mean_first,
        mixed=mixed - mean_first * mean_second,
        detail=detail - mean_second * mean_second,
    )


def _softly_below(value: float, limit: float) -> float:
    """The value up to half the limit, then ever nearer to the limit; rising everywhere, with a continuous slope."""
    half = limit / 2.0
    over = value - half
    return value if over <= 0.0 else half + half * over / (half + over)


def _add_detail(pixels: Pixels, added: float, *, core: float) -> None:
    height = int(pixels.shape[0])
    bits = 8 * pixels.dtype.itemsize
    above = pixels[:0].copy()
    for top, bottom in _strips(height, int(pixels.shape[1])):
        strip = _window(pixels, top, bottom, halo=DETAIL_RADIUS, above=above)
        kept = np.concatenate([above, pixels[top:bottom]])[-DETAIL_RADIUS:]
        detail = _detail(255.0 * luma(strip), core=core) / 255.0
        changed = (_inner(strip) + added * detail)[0, : pixels.shape[2]]
        pixels[top:bottom] = quantize(changed.permute(1, 2, 0).numpy(), bits)
        above = kept


def _strips(height: int, width: int) -> Iterator[tuple[int, int]]:
    rows = max(STRIP_PIXELS // width, 1)
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def _detail(light: Tensor, *, core: float) -> Tensor:
    """Fine detail (1, 1, h - 2 * radius, w - 2 * radius) of a luma (1, 1, h, w) in 8-bit levels, the weak part of it weakened."""
    detail = _inner(light) - _blurred(light)
    if core == 0.0:
        return detail
    squares = detail * detail
    return detail * squares / (squares + core * core)


def _inner(planes: Tensor) -> Tensor:
    return planes[..., DETAIL_RADIUS:-DETAIL_RADIUS, DETAIL_RADIUS:-DETAIL_RADIUS]


def _window(
    pixels: Pixels, top: int, bottom: int, *, halo: int, above: Pixels | None = None
) -> Tensor:
    """Rows and `halo` pixels around them, (1, 3, h, w) float32; reflected at the image's edges.

    Args:
        pixels: The image.
        top: First row.
        bottom: Row after the last one.
        halo: Pixels of context on each side.
        above: The rows before `top`, where they have changed in the image.
    """
    height, width = int(pixels.shape[0]), int(pixels.shape[1])
    first, last = max(top - halo, 0), min(bottom + halo, height)
    rows = pixels[first:last]
    if above is not None and first < top:
        rows = np.concatenate([above[-(top - first) :], pixels[top:last]])
    planes = torch.from_numpy(np.ascontiguousarray(to_float(rows).transpose(2, 0, 1)))[None]
    planes = planes[:, :, _around(top - first, last - bottom, rows.shape[0], halo)]
    planes = planes[:, :, :, _around(0, 0, width, halo)]
    return planes.expand(-1, 3, -1, -1)


def _around(before: int, after: int, length: int, halo: int) -> Tensor:
    """Indices that add what is missing of a halo by reflection, where `before` and `after` pixels of it are there."""
    missing = halo - before
    ahead = reflect_indices(length, length + missing)[length:]
    # Reflection at the start is reflection at the end, seen from the other side.
    start = (length - 1 - ahead).flip(0)
    return torch.cat([start, reflect_indices(length, length + halo - after)])


@outside_autocast
def _blurred(planes: Tensor) -> Tensor:
    """(N, 1, h - 2 * radius, w - 2 * radius) of (N, 1, h, w)."""
    places = torch.arange(-DETAIL_RADIUS, DETAIL_RADIUS + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (places / DETAIL_SIGMA) ** 2)
    kernel = kernel / kernel.sum()
    row, column = kernel.view(1, 1, 1, -1), kernel.view(1, 1, -1, 1)
    return F.conv2d(F.conv2d(planes, row), column)
