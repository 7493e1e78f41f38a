"""Whole rows of an integer image at a time, with the context around them that a filter needs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from hypir_cli.images import to_float
from hypir_cli.images.data import Pixels
from hypir_cli.pixels.tiling import reflect_indices

STRIP_PIXELS = 2**18
"""Pixels at a time: memory does not grow with the width."""


def strips(height: int, width: int, *, multiple: int = 1) -> Iterator[tuple[int, int]]:
    """First row and row after the last one of each strip, from top to bottom.

    Args:
        height: Rows of the image.
        width: Its columns.
        multiple: Every strip but the last has a multiple of this many rows.
    """
    rows = max(STRIP_PIXELS // width // multiple, 1) * multiple
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def padded_rows(
    pixels: Pixels, top: int, bottom: int, *, halo: int, above: Pixels | None = None
) -> Tensor:
    """Rows and `halo` pixels around them, (1, 3, h, w) float32 in 8-bit levels; reflected at the image's edges.

    Args:
        pixels: (H, W, C) uint8 or uint16, C 1 or 3.
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
    return 255.0 * planes.expand(-1, 3, -1, -1)


def inner(planes: Tensor, margin: int) -> Tensor:
    """Planes (..., h, w) without `margin` pixels on each side."""
    return planes[..., margin : planes.shape[-2] - margin, margin : planes.shape[-1] - margin]


def _around(before: int, after: int, length: int, halo: int) -> Tensor:
    """Indices that add what is missing of a halo by reflection, where `before` and `after` pixels of it are there."""
    missing = halo - before
    ahead = reflect_indices(length, length + missing)[length:]
    # Reflection at the start is reflection at the end, seen from the other side.
    start = (length - 1 - ahead).flip(0)
    return torch.cat([start, reflect_indices(length, length + halo - after)])
