"""JPEG: an example of an operator that is not linear, so it has no transpose and serves the methods that follow gradients."""

from __future__ import annotations

from torch import Tensor

from hypir_cli.pixels.jpeg import jpeg


class Jpeg:
    """Compression at one quality; its gradient is that of a smoothed rounding.

    Args:
        quality: 1..100 as libjpeg counts it.
    """

    factor = 1
    halo = 16

    def __init__(self, quality: float) -> None:
        self.quality = quality

    def A(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) in -1..1 as they look after compression, same range."""
        images = jpeg((x + 1.0) / 2.0, quality=self.quality, coder="standard", differentiable=True)
        return 2.0 * images - 1.0
