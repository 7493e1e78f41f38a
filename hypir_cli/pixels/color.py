"""Colour transfer: give a restored image the colours of its input without touching its detail.

`wavelet` swaps the low frequencies, `adain` the mean and deviation of each channel. Both can be streamed: the wavelet fix
of a strip needs `COLOR_HALO` extra pixels on each inner edge, `adain` needs statistics gathered beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

ColorFix = Literal["wavelet", "adain", "none"]

WAVELET_LEVELS = 5
"""Binomial blurs in a row; level i is dilated by 2**i pixels."""

COLOR_HALO: dict[ColorFix, int] = {"wavelet": 2**WAVELET_LEVELS - 1, "adain": 0, "none": 0}
"""Pixels of context a strip needs on each inner edge so that its centre equals the whole image's: the summed radii."""

COLUMNS = 1024
"""Columns of a strip that are fixed at a time."""

LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""Red, green and blue in BT.601 luma."""

_FLAT = 1e-6
"""Standard deviation below which a channel counts as one flat colour; range 0..1."""


def luma(image: Tensor) -> Tensor:
    """BT.601 luma, (N, 1, H, W), of an RGB image, (N, 3, H, W), in the same range."""
    weights = image.new_tensor(LUMA_WEIGHTS).view(1, 3, 1, 1)
    return (image * weights).sum(dim=1, keepdim=True)


def low_frequencies(image: Tensor) -> Tensor:
    """The image after `WAVELET_LEVELS` binomial blurs of growing dilation, edges replicated at each; same shape."""
    for level in range(WAVELET_LEVELS):
        image = _binomial(_binomial(image, radius=2**level, dim=-1), radius=2**level, dim=-2)
    return image


def wavelet(restored: Tensor, reference: Tensor) -> Tensor:
    """High frequencies of `restored` on the low frequencies of `reference`.

    Because the blur is linear, high(restored) + low(reference) = restored + low(reference - restored): one blur does.

    Args:
        restored: (N, C, H, W), 0..1.
        reference: Same shape and range; the image whose colours are wanted.

    Returns:
        Same shape; may leave 0..1 slightly, the caller clamps.
    """
    return restored + low_frequencies(reference - restored)


def wavelet_columns(restored: Tensor, reference: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """`wavelet`, some columns after others: the same values, but what it computes with does not grow with the width.

    Args:
        restored: As for `wavelet`.
        reference: As for `wavelet`.

    Yields:
        Pairs (columns, their part of the result).
    """
    width, halo = restored.shape[-1], COLOR_HALO["wavelet"]
    for left in range(0, width, COLUMNS):
        right = min(left + COLUMNS, width)
        around = slice(max(left - halo, 0), min(right + halo, width))
        fixed = wavelet(restored[..., around], reference[..., around])
        yield slice(left, right), fixed[..., left - around.start : right - around.start]


@dataclass
class ChannelMoments:
    """Mean and deviation of each channel, gathered strip by strip in float64.

    Merging follows Chan, Golub and LeVeque (1979), so that the split into strips does not matter.
    """

    count: int = 0
    """Pixels seen."""
    mean: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    """Mean, (C,)."""
    squares: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    """Summed squared distance from the mean, (C,)."""

    def update(self, strip: Tensor) -> None:
        """Count in one strip, (1, C, h, w), 0..1; strips must not overlap."""
        values = strip.detach().cpu().double().flatten(2).squeeze(0)
        count, mean = values.shape[1], values.mean(dim=1)
        squares = (values - mean[:, None]).square().sum(dim=1)
        total = self.count + count
        step = mean - self.mean
        self.squares = self.squares + squares + step.square() * (self.count * count / total)
        self.mean = self.mean + step * (count / total)
        self.count = total

    @property
    def std(self) -> Tensor:
        """Population standard deviation, (C,)."""
        return (self.squares / max(self.count, 1)).sqrt()


def moments(image: Tensor) -> ChannelMoments:
    """Moments of one whole image, (1, C, H, W)."""
    result = ChannelMoments()
    result.update(image)
    return result


def adain(restored: Tensor, *, source: ChannelMoments, target: ChannelMoments) -> Tensor:
    """Each channel shifted and scaled from the moments of `source` to those of `target`.

    A channel that is flat in `source` is only shifted, since its deviation says nothing.

    Args:
        restored: The image or a strip of it, (1, C, h, w), 0..1.
        source: Moments of the whole restored image.
        target: Moments of the whole reference.

    Returns:
        Same shape; may leave 0..1, the caller clamps.

    Source: adaptive instance normalisation (arXiv:1703.06868), eq. 8, on pixels.
    """
    gain = torch.where(source.std > _FLAT, target.std / source.std.clamp_min(_FLAT), 1.0)
    offset = target.mean - source.mean * gain
    return restored * _per_channel(gain, restored) + _per_channel(offset, restored)


def color_fix(restored: Tensor, reference: Tensor, mode: ColorFix) -> Tensor:
    """`restored` with the colours of `reference`, as a whole.

    Args:
        restored: (N, C, H, W), 0..1.
        reference: Same shape and range.
        mode: `wavelet`, `adain` or `none`.

    Returns:
        Same shape; may leave 0..1 slightly, the caller clamps.
    """
    if restored.shape != reference.shape:
        raise ValueError(
            f"shapes differ: restored {tuple(restored.shape)}, reference {tuple(reference.shape)}"
        )
    if mode == "wavelet":
        return wavelet(restored, reference)
    if mode == "adain":
        pairs = zip(restored.unsqueeze(1), reference.unsqueeze(1), strict=True)
        return torch.cat([adain(a, source=moments(a), target=moments(b)) for a, b in pairs])
    return restored


def _binomial(image: Tensor, *, radius: int, dim: int) -> Tensor:
    """[1, 2, 1] / 4 with taps `radius` pixels apart along one axis, edges replicated."""
    size = image.shape[dim]
    padding = (radius, radius, 0, 0) if dim == -1 else (0, 0, radius, radius)
    padded = F.pad(image, padding, mode="replicate")
    outer = padded.narrow(dim, 0, size) + padded.narrow(dim, 2 * radius, size)
    return outer.mul_(0.25).add_(image, alpha=0.5)


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    """(C,) as (1, C, 1, 1) in the dtype and on the device of `like`."""
    return values.to(device=like.device, dtype=like.dtype).view(1, -1, 1, 1)
