"""Colours of opaque pixels spread under transparency, so that what is hidden there bleeds into nothing.

Programs leave black, white or remains of a background under full transparency. A resize or a network mixes it into the edge of what
is seen. Source: the push-pull scheme of Gortler et al., "The Lumigraph" (1996), section 3.4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypir_cli.images.data import Pixels

_BAND = 256
"""Rows filled at a time, even."""


def spread_under(pixels: Pixels, alpha: Pixels | None) -> Pixels:
    """The pixels with those that are fully transparent painted in the colours of the nearest seen ones.

    Args:
        pixels: (H, W, C), uint8 or uint16.
        alpha: (H, W), same depth; None or one without full transparency gives the pixels back.

    Returns:
        (H, W, C), same type; a copy where anything changed. A picture that is transparent throughout stays as it is.
    """
    if alpha is None:
        return pixels
    seen = alpha > 0
    if seen.all() or not seen.any():
        return pixels
    colours, weights = _halved(pixels, seen)
    filled = _filled(colours, weights)
    result = pixels.copy()
    for start in range(0, len(pixels), _BAND):
        rows = filled[start // 2 : (start + _BAND + 1) // 2].repeat(2, axis=0).repeat(2, axis=1)
        band, hidden = result[start : start + _BAND], ~seen[start : start + _BAND]
        band[hidden] = np.round(rows[: len(band), : band.shape[1]][hidden]).astype(pixels.dtype)
    return result


def _filled(colours: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours with the places of no weight taken from ever coarser pictures."""
    holes = weights == 0
    if not holes.any():
        return colours
    coarse = _filled(*_halved(colours, weights))
    height, width = weights.shape
    larger = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    colours[holes] = larger[holes]
    return colours


def _halved(
    colours: NDArray[Any], weights: NDArray[Any]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean colours, (h, w, C), of the weighted ones among two by two pixels, and the weights' means, (h, w)."""
    height, width, channels = colours.shape
    size = ((height + 1) // 2, (width + 1) // 2)
    total = np.zeros((*size, channels), dtype=np.float32)
    weight = np.zeros(size, dtype=np.float32)
    for row in (0, 1):
        for column in (0, 1):
            part = weights[row::2, column::2].astype(np.float32)
            place = (slice(part.shape[0]), slice(part.shape[1]))
            total[place] += colours[row::2, column::2] * part[:, :, None]
            weight[place] += part
    np.divide(total, weight[:, :, None], out=total, where=weight[:, :, None] > 0)
    return total, weight * np.float32(0.25)
