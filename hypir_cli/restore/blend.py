"""Mix two versions of an image, strip by strip."""

from __future__ import annotations

import numpy as np

from hypir_cli.images import quantize, to_float
from hypir_cli.images.data import Pixels
from hypir_cli.pixels.strips import strips
from hypir_cli.restore.canvas import InputWindows


def mixed(first: Pixels, second: Pixels, share: float) -> Pixels:
    """(1 - share) * first + share * second in the images' own (gamma) values, rounded to their depth.

    Args:
        first: (H, W, C) uint8 or uint16.
        second: Same shape and depth.
        share: 0..1; both ends give an image back exactly.
    """
    bits = 8 * first.dtype.itemsize
    out = np.empty_like(first)
    for top, bottom in strips(int(first.shape[0]), int(first.shape[1])):
        left, right = to_float(first[top:bottom]), to_float(second[top:bottom])
        out[top:bottom] = quantize(left + np.float32(share) * (right - left), bits)
    return out


def enlarged(source: InputWindows, *, bits: int) -> Pixels:
    """The whole input at the output's size, (H, W, C) with the input's channels."""
    channels = int(source.pixels.shape[2])
    kind = np.uint8 if bits == 8 else np.uint16
    out = np.empty((source.height, source.width, channels), dtype=kind)
    for top, bottom in strips(source.height, source.width):
        planes = source.window((top, bottom), (0, source.width))[0, :channels]
        out[top:bottom] = quantize(planes.permute(1, 2, 0).numpy(), bits)
    return out
