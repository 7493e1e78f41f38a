"""A judge of every pixel: a U-Net whose logits say of each place whether it looks real, at once near by and from afar.

Source: the U-Net discriminator with spectral norms of Real-ESRGAN (arXiv:2107.10833), section 3.3, at a size to choose.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hypir_cli.train.networks.spectral import SpectralConv2d

_LEAK = 0.2


class PixelUNet(nn.Module):
    """One logit per pixel.

    Args:
        width: Channels at full size; they double at every halving of the side.
        scales: Halvings, at least 1.
    """

    def __init__(self, width: int, *, scales: int) -> None:
        super().__init__()
        widths = [width * 2**scale for scale in range(scales + 1)]
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(
            SpectralConv2d(fine, 2 * fine, side=4, stride=2, padding=1) for fine in widths[:-1]
        )
        self.up = nn.ModuleList(
            SpectralConv2d(2 * fine, fine, side=3, padding=1) for fine in reversed(widths[:-1])
        )
        self.middle = SpectralConv2d(width, width, side=3, padding=1)
        self.last = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 1, H, W) of images (B, 3, H, W) in -1..1; sides from 2^scales up."""
        x = F.leaky_relu(self.first(images), _LEAK)
        skips = []
        for layer in self.down:
            skips.append(x)
            x = F.leaky_relu(layer(x), _LEAK)
        for layer in self.up:
            skip = skips.pop()
            larger = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = F.leaky_relu(layer(larger), _LEAK) + skip
        x = F.leaky_relu(self.middle(x), _LEAK)
        # Logits of a relativistic judge drift together; in bfloat16 their differences would drown in rounding.
        with torch.autocast(x.device.type, enabled=False):
            logits: Tensor = self.last(x.float())
        return logits
