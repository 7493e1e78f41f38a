"""Bicubic resampling of windows: any part of the resized image from the few input pixels it depends on.

What comes out is what `torch.nn.functional.interpolate(whole, size, mode="bicubic", align_corners=False)` gives for that
window, so that an image of any size can be resized strip by strip or tile by tile.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hypir_cli.pixels.exact import outside_autocast

CUBIC_PLAIN = -0.75
"""Keys' free parameter in torch's bicubic without antialiasing."""
CUBIC_ANTIALIAS = -0.5
"""Keys' free parameter in torch's bicubic with antialiasing."""

Span = tuple[int, int]
"""First index and one past the last, along one axis."""

_BLOCK = 64
"""Output pixels computed by one matrix product: small enough that the banded matrix holds few zeros."""


class AxisResampler:
    """Resampling along one axis.

    Args:
        in_size: Input pixels along the axis.
        out_size: Output pixels along the axis.
        antialias: Widen the kernel when shrinking, as PIL does.
    """

    def __init__(self, in_size: int, out_size: int, *, antialias: bool) -> None:
        if in_size < 1 or out_size < 1:
            raise ValueError(f"sizes must be positive, got {in_size} -> {out_size}")
        self.in_size = in_size
        self.out_size = out_size
        self.antialias = antialias
        self._scale = in_size / out_size

    def source_span(self, start: int, stop: int) -> Span:
        """Input pixels that the output pixels start..stop-1 depend on."""
        if not 0 <= start < stop <= self.out_size:
            raise ValueError(f"window {start}..{stop} is not inside 0..{self.out_size}")
        if self.in_size == self.out_size:
            return start, stop
        return self._first_tap(start), self._last_tap(stop - 1) + 1

    def apply(self, source: Tensor, start: int, stop: int, *, dim: int) -> Tensor:
        """The output pixels start..stop-1 along `dim` (-1 or -2) from the input pixels of their `source_span`."""
        begin, end = self.source_span(start, stop)
        if source.shape[dim] != end - begin:
            raise ValueError(f"expected {end - begin} pixels along {dim}, got {source.shape[dim]}")
        if self.in_size == self.out_size:
            return source
        blocks = [
            self._block(source, begin, first, min(first + _BLOCK, stop), dim=dim)
            for first in range(start, stop, _BLOCK)
        ]
        return torch.cat(blocks, dim=dim)

    @outside_autocast
    def _block(self, source: Tensor, begin: int, start: int, stop: int, *, dim: int) -> Tensor:
        """One matrix product along `dim`; `begin` is the input index of the first given pixel."""
        first, last = self.source_span(start, stop)
        weights = self._weights(start, stop, first, last).to(source.device, source.dtype)
        part = source.narrow(dim, first - begin, last - first)
        return weights @ part if dim == -2 else part @ weights.T

    def _support(self) -> float:
        """Kernel radius in input pixels."""
        return 2.0 * max(self._scale, 1.0) if self.antialias else 2.0

    def _first_tap(self, index: int) -> int:
        """Leftmost input pixel of one output pixel."""
        center = self._scale * (index + 0.5)
        if self.antialias:
            return max(int(center - self._support() + 0.5), 0)
        return min(max(math.floor(center - 0.5) - 1, 0), self.in_size - 1)

    def _last_tap(self, index: int) -> int:
        """Rightmost input pixel of one output pixel."""
        center = self._scale * (index + 0.5)
        if self.antialias:
            return min(int(center + self._support() + 0.5), self.in_size) - 1
        return min(max(math.floor(center - 0.5) + 2, 0), self.in_size - 1)

    def _weights(self, start: int, stop: int, first: int, last: int) -> Tensor:
        """Weights of the input pixels first..last-1 (columns) for the output pixels start..stop-1 (rows), float64."""
        centers = self._scale * (torch.arange(start, stop, dtype=torch.float64) + 0.5)
        if self.antialias:
            return self._antialiased(centers, first, last)
        return self._clamped(centers, first, last)

    def _antialiased(self, centers: Tensor, first: int, last: int) -> Tensor:
        """The kernel cut off at the image's edge and normalised, as torch and PIL do it."""
        support = self._support()
        low = (centers - support + 0.5).to(torch.int64).clamp_min(0)
        high = (centers + support + 0.5).to(torch.int64).clamp_max(self.in_size)
        taps = torch.arange(first, last)
        distance = (taps + 0.5 - centers[:, None]) / max(self._scale, 1.0)
        weights = _cubic(distance, parameter=CUBIC_ANTIALIAS)
        weights = weights * ((taps >= low[:, None]) & (taps < high[:, None]))
        return weights / weights.sum(dim=1, keepdim=True)

    def _clamped(self, centers: Tensor, first: int, last: int) -> Tensor:
        """Four taps; those outside the image count for the edge pixel."""
        position = centers - 0.5
        base = position.floor()
        weights = torch.zeros(len(centers), last - first, dtype=torch.float64)
        for offset in range(-1, 3):
            tap = (base + offset).clamp(0, self.in_size - 1).to(torch.int64) - first
            value = _cubic(position - base - offset, parameter=CUBIC_PLAIN)
            weights.scatter_add_(1, tap[:, None], value[:, None])
        return weights


class Resampler:
    """Resampling of windows of an image.

    Args:
        in_size: (height, width) of the whole input.
        out_size: (height, width) of the whole output.
        antialias: Widen the kernel when shrinking, as PIL does.
    """

    def __init__(self, in_size: Span, out_size: Span, *, antialias: bool) -> None:
        self.rows = AxisResampler(in_size[0], out_size[0], antialias=antialias)
        self.columns = AxisResampler(in_size[1], out_size[1], antialias=antialias)

    def source_window(self, rows: Span, columns: Span) -> tuple[Span, Span]:
        """Input rows and columns that the output window depends on."""
        return self.rows.source_span(*rows), self.columns.source_span(*columns)

    def apply(self, source: Tensor, rows: Span, columns: Span) -> Tensor:
        """The output window from its source window.

        Args:
            source: Pixels of `source_window(rows, columns)`, (..., h, w), float32.
            rows: Output rows wanted, (start, stop).
            columns: Output columns wanted, (start, stop).

        Returns:
            (..., stop - start, stop - start); bicubic may overshoot the input's range.
        """
        wide = self.columns.apply(source, *columns, dim=-1)
        return self.rows.apply(wide, *rows, dim=-2)


def resize(image: Tensor, size: Span, *, antialias: bool) -> Tensor:
    """The whole image, (N, C, H, W) float32, at (height, width) = `size`, bicubic; may overshoot the input's range."""
    in_size = (int(image.shape[-2]), int(image.shape[-1]))
    resampler = Resampler(in_size, size, antialias=antialias)
    rows, columns = (0, size[0]), (0, size[1])
    (top, bottom), (left, right) = resampler.source_window(rows, columns)
    return resampler.apply(image[..., top:bottom, left:right], rows, columns).contiguous()


def _cubic(distance: Tensor, *, parameter: float) -> Tensor:
    """Keys' cubic convolution kernel (1981), zero beyond two pixels."""
    x, a = distance.abs(), parameter
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x <= 1, near, torch.where(x < 2, far, 0.0))
