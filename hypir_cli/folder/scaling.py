"""Integer pixels at another size, in bands, so that little memory is added."""

from __future__ import annotations

import numpy as np

from hypir_cli.images import quantize, to_float
from hypir_cli.images.data import Pixels

_BAND_PIXELS = 2**20


def resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Bicubic with antialiasing, rounded back to the same type.

    Args:
        pixels: (H, W, C), uint8 or uint16.
        size: (height, width) wanted.

    Returns:
        (height, width, C), same type.
    """
    height, width = size
    if pixels.shape[:2] == size:
        return pixels
    # torch takes seconds to load, and a run whose images need no scaling here, or a dry run, does without it.
    import torch

    from hypir_cli.pixels.resample import Resampler

    resampler = Resampler((pixels.shape[0], pixels.shape[1]), size, antialias=True)
    result = np.empty((height, width, pixels.shape[2]), dtype=pixels.dtype)
    step = max(_BAND_PIXELS // width, 1)
    for start in range(0, height, step):
        rows, columns = (start, min(start + step, height)), (0, width)
        (top, bottom), (left, right) = resampler.source_window(rows, columns)
        source = torch.from_numpy(to_float(pixels[top:bottom, left:right])).permute(2, 0, 1)
        band = resampler.apply(source, rows, columns).permute(1, 2, 0).numpy()
        result[slice(*rows)] = quantize(band, 8 * pixels.dtype.itemsize)
    return result
