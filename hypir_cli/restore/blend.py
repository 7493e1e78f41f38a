"""Mix two versions of an image, strip by strip."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hypir_cli.images import quantize, to_float
from hypir_cli.images.data import Pixels
from hypir_cli.pixels.strips import strips
from hypir_cli.restore.streaming import InputWindows

Rows = Callable[[int, int], Pixels]
"""Makes the rows from the first to before the second number of an image, (rows, W, C): it need not be there as a whole."""


def mixed(first: Pixels | Rows, second: Pixels, share: float, *, out: Pixels) -> Pixels:
    """(1 - share) * first + share * second in the images' own (gamma) values, rounded to their depth.

    Args:
        first: (H, W, C) uint8 or uint16, or what makes its rows.
        second: Same shape and depth.
        share: 0..1; both ends give an image back exactly.
        out: Where the mixture goes, same shape and depth; may be one of the two.
    """
    bits = 8 * second.dtype.itemsize
    for top, bottom in strips(int(second.shape[0]), int(second.shape[1])):
        rows = first(top, bottom) if callable(first) else first[top:bottom]
        left, right = to_float(rows), to_float(second[top:bottom])
        out[top:bottom] = quantize(left + np.float32(share) * (right - left), bits)
    return out


def enlarged_rows(source: InputWindows, top: int, bottom: int) -> Pixels:
    """Rows of the input at the output's size, (bottom - top, W, C) with the input's channels and depth."""
    channels, bits = int(source.pixels.shape[2]), 8 * source.pixels.dtype.itemsize
    planes = source.window((top, bottom), (0, source.width))[0, :channels]
    return quantize(planes.permute(1, 2, 0).numpy(), bits)
