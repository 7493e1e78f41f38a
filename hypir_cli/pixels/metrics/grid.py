"""Grid score: how far the power at the periods of a network's grid stands out of the spectrum around it. 1 is none."""

from __future__ import annotations

import torch
from torch import Tensor

from hypir_cli.pixels.color import LUMA_WEIGHTS

PERIODS = (2, 4, 8)
"""Pixels; what networks that work at 1/2, 1/4 and 1/8 of the side repeat."""
WINDOW = 64
"""Length in pixels of the pieces of rows and columns whose spectra are averaged."""
_NEAR, _FAR = 3, 5
"""Frequencies this many steps away, and as far as that, are the surroundings; nearer ones hold what the window smears."""
_FLOOR = 1.0 / 12.0
"""Power per frequency of rounding to whole levels: what cannot be told from nothing."""


def grid_score(images: Tensor) -> Tensor:
    """Power at periods of 2, 4 and 8 pixels over the power around them, geometric mean over periods and both axes.

    Natural photographs have smooth spectra and score 1 but for chance; a screen of dots or blocks every 4 pixels scores higher,
    and a hole in the spectrum lower.

    Args:
        images: RGB, (B, 3, H, W), 0..1, sides of at least 64; what does not fill a piece is left out.

    Returns:
        (B,) float32.

    Raises:
        ValueError: A side is below 64.
    """
    height, width = images.shape[-2:]
    if min(height, width) < WINDOW:
        raise ValueError(
            f"the grid score needs sides of at least {WINDOW} pixels, got {width}x{height}"
        )
    weights = images.new_tensor(LUMA_WEIGHTS, dtype=torch.float32).reshape(1, 3, 1, 1)
    luma = 255.0 * (images.float() * weights).sum(1)
    ratios = [_stand_out(_power(planes)) for planes in (luma, luma.mT)]
    return torch.stack(ratios).mean(0).exp()


def _power(planes: Tensor) -> Tensor:
    """Mean power of pieces of rows of (B, H, W) at frequencies 0 to 1/2, (B, WINDOW / 2 + 1), in squared levels."""
    pieces = planes.unfold(-1, WINDOW, WINDOW // 2)
    window = torch.hann_window(WINDOW, device=planes.device)
    window = window / window.square().sum().sqrt()
    pieces = (pieces - pieces.mean(-1, keepdim=True)) * window
    power: Tensor = torch.fft.rfft(pieces).abs().square().mean((1, 2))
    return power


def _stand_out(power: Tensor) -> Tensor:
    """Logarithm of the power at the periods over what a power law through the surroundings has there, mean of periods, (B,)."""
    logs = (power + _FLOOR).log()
    octaves = torch.arange(1, WINDOW // 2 + 1, device=power.device).log()
    ratios = []
    for period in PERIODS:
        place = WINDOW // period
        steps = torch.arange(_NEAR, _FAR + 1)
        around = torch.cat([place - steps, place + steps])
        around = around[around <= WINDOW // 2].to(power.device)
        x, y = octaves[around - 1], logs[:, around]
        offsets = x - x.mean()
        slope = (y * offsets).sum(1) / offsets.square().sum()
        # Mirrored at the highest frequency, a spectrum is flat there: half of the slope on the last stretch.
        share = 0.5 if period == 2 else 1.0
        expected = y.mean(1) + share * slope * (octaves[place - 1] - x.mean())
        ratios.append(logs[:, place] - expected)
    return torch.stack(ratios).mean(0)
