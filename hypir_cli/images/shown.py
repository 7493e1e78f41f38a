"""An image as it is looked at: 8 bits, transparent parts on white."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hypir_cli.images.data import ImageData, Pixels, to_8bit


def on_white(pixels: Pixels, alpha: Pixels | None) -> NDArray[np.uint8]:
    """8-bit samples, (H, W, C) as the pixels; with an alpha, (H, W), laid on white by it."""
    shown = to_8bit(pixels)
    if alpha is None:
        return shown
    image = _picture(shown)
    white = Image.new(image.mode, image.size, "white")
    laid = Image.composite(image, white, Image.fromarray(to_8bit(alpha)))
    return np.asarray(laid).reshape(shown.shape)


def picture_on_white(image: ImageData) -> Image.Image:
    """A Pillow image of mode L or RGB."""
    return _picture(on_white(image.pixels, image.alpha))


def _picture(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(
        np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    )
