"""How far the colours moved, detail aside: CIEDE2000 between low-pass images.

A one-step restorer may sharpen, but skin, sky and walls should keep their colour. Averaging over cells removes the detail
that restoration is meant to change; what is left is compared as the eye would.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from hypir_cli.pixels.precision import in_float64

_WHITE = (0.95047, 1.0, 1.08883)
_RGB_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_POWER_7 = 25.0**7


def color_shift(restored: Tensor, reference: Tensor, *, cell: int = 16) -> Tensor:
    """Mean CIEDE2000 difference of the images averaged over square cells, (B,); 1 is about just visible.

    Args:
        restored: sRGB, (B, 3, H, W), 0..1.
        reference: Same shape.
        cell: Side of the cells in pixels; the last row and column of cells may be smaller.

    Raises:
        ValueError: The shapes differ.
    """
    if restored.shape != reference.shape:
        raise ValueError(f"shapes differ: {tuple(restored.shape)} and {tuple(reference.shape)}")
    difference = ciede2000(lab(_cells(restored, cell)), lab(_cells(reference, cell)))
    return difference.mean(dim=(1, 2))


def lab(images: Tensor) -> Tensor:
    """CIE L*a*b* (D65, 2 degrees) of sRGB images, (B, 3, H, W), float64; L in 0..100.

    Source: IEC 61966-2-1 and CIE 15.
    """
    coded = in_float64(images)
    linear = torch.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    matrix = torch.tensor(_RGB_TO_XYZ, dtype=torch.float64, device=coded.device)
    white = torch.tensor(_WHITE, dtype=torch.float64, device=coded.device)
    xyz = torch.einsum("ij,bjhw->bihw", matrix / white[:, None], linear)
    root = torch.where(xyz > 216 / 24389, xyz.clamp(min=0) ** (1 / 3), xyz * (841 / 108) + 4 / 29)
    x, y, z = root.unbind(1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=1)


def ciede2000(first: Tensor, second: Tensor) -> Tensor:
    """Colour difference of L*a*b* images, (B, H, W), with the weights kL = kC = kH = 1.

    Args:
        first: L*a*b*, (B, 3, H, W), float64.
        second: Same shape.

    Source: Sharma, Wu, Dalal 2005, equations 2 to 22.
    """
    light1, a1, b1 = first.unbind(1)
    light2, a2, b2 = second.unbind(1)
    mean_chroma = (torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2
    gain = 0.5 * (1 - _chroma_share(mean_chroma))
    chroma1, hue1 = _polar(a1 * (1 + gain), b1)
    chroma2, hue2 = _polar(a2 * (1 + gain), b2)
    grey = (chroma1 * chroma2) == 0
    turn = _hue_turn(hue1, hue2, grey)
    delta_light = light2 - light1
    delta_chroma = chroma2 - chroma1
    delta_hue = 2 * torch.sqrt(chroma1 * chroma2) * torch.sin(turn / 2)
    mean_light = (light1 + light2) / 2
    mean_chroma = (chroma1 + chroma2) / 2
    mean_hue = _mean_hue(hue1, hue2, grey)
    offset = (mean_light - 50).square()
    light = delta_light / (1 + 0.015 * offset / torch.sqrt(20 + offset))
    chroma = delta_chroma / (1 + 0.045 * mean_chroma)
    hue = delta_hue / (1 + 0.015 * mean_chroma * _hue_weight(mean_hue))
    rotation = _blue_rotation(mean_hue, mean_chroma)
    total = light.square() + chroma.square() + hue.square() + rotation * chroma * hue
    return torch.sqrt(total.clamp(min=0))


def _cells(images: Tensor, cell: int) -> Tensor:
    return functional.avg_pool2d(in_float64(images), cell, ceil_mode=True, count_include_pad=False)


def _chroma_share(chroma: Tensor) -> Tensor:
    power = chroma**7
    return torch.sqrt(power / (power + _POWER_7))


def _polar(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Chroma, and hue angle in 0..2 pi."""
    return torch.hypot(a, b), torch.atan2(b, a) % (2 * math.pi)


def _hue_turn(hue1: Tensor, hue2: Tensor, grey: Tensor) -> Tensor:
    """Angle from the first hue to the second the short way round; 0 where either is grey."""
    turn = hue2 - hue1
    turn = torch.where(turn > math.pi, turn - 2 * math.pi, turn)
    turn = torch.where(turn < -math.pi, turn + 2 * math.pi, turn)
    return torch.where(grey, torch.zeros_like(turn), turn)


def _mean_hue(hue1: Tensor, hue2: Tensor, grey: Tensor) -> Tensor:
    total = hue1 + hue2
    far = (hue1 - hue2).abs() > math.pi
    shift = torch.where(total < 2 * math.pi, 2 * math.pi, -2 * math.pi)
    mean = torch.where(far, total + shift, total) / 2
    return torch.where(grey, total, mean)


def _hue_weight(hue: Tensor) -> Tensor:
    return (
        1
        - 0.17 * torch.cos(hue - math.radians(30))
        + 0.24 * torch.cos(2 * hue)
        + 0.32 * torch.cos(3 * hue + math.radians(6))
        - 0.20 * torch.cos(4 * hue - math.radians(63))
    )


def _blue_rotation(hue: Tensor, chroma: Tensor) -> Tensor:
    """The term that couples chroma and hue in the blues."""
    spread = (torch.rad2deg(hue) - 275) / 25
    angle = math.radians(60) * torch.exp(-spread.square())
    return -2 * _chroma_share(chroma) * torch.sin(angle)
