"""JPEG as tensor arithmetic: 4:2:0 chroma, 8x8 cosine transform, quantisation, and back, a batch at a time.

No entropy coding: what a decoder would show is all that matters here. Sources: ITU-T T.81 (annex K tables), JFIF (colour).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from hypir_cli.pixels.exact import outside_autocast

Coder = Literal["release", "standard"]

_LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_CORNER = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))
_TO_YCBCR = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


@outside_autocast
def jpeg(
    images: Tensor,
    *,
    quality: Tensor | float,
    coder: Coder = "release",
    differentiable: bool = False,
) -> Tensor:
    """Images as they look after JPEG compression.

    Args:
        images: (B, 3, H, W) RGB, 0..1; any size.
        quality: One number or (B,), 1..100 as libjpeg counts it; never written to.
        coder: `standard` follows libjpeg: whole-numbered tables and samples, edge pixels in the last block, smooth
            chroma on decoding. `release` is what the public release was trained with: the luma table transposed, exact
            fractions, black in the last block, blocky chroma.
        differentiable: Round with a cubic that has a gradient, instead of exactly.

    Returns:
        (B, 3, H, W), 0..1.

    Raises:
        ValueError: A quality outside 1..100.
    """
    batch, _, height, width = images.shape
    # A plain number is checked and turned into tables on the CPU, so that a GPU need not be waited for.
    qualities = torch.as_tensor(quality, dtype=torch.float64).expand(batch)
    luma_steps, chroma_steps = (steps.to(images) for steps in _tables(qualities, coder=coder))
    rounded = functools.partial(_round, smooth=differentiable)
    whole = functools.partial(_sample, rounded=rounded) if coder == "standard" else _unchanged
    # All samples are kept around 0, which is where the transform wants them: luma is lowered by 128, chroma never raised.
    ycbcr = _mix_channels(_pad_to_blocks(images * 255.0, coder=coder), _TO_YCBCR)
    luma, chroma = whole(ycbcr[:, :1] - 128.0), whole(functional.avg_pool2d(ycbcr[:, 1:], 2))
    luma = whole(_code(luma, steps=luma_steps, rounded=rounded)) + 128.0
    chroma = whole(_code(chroma, steps=chroma_steps, rounded=rounded))
    chroma = functional.interpolate(
        chroma, scale_factor=2.0, mode="bilinear" if coder == "standard" else "nearest"
    )
    rgb = _mix_channels(torch.cat([luma, chroma], dim=1), _TO_RGB)
    return (whole(rgb[..., :height, :width] - 128.0) + 128.0).clamp(0.0, 255.0) / 255.0


def _tables(quality: Tensor, *, coder: Coder) -> tuple[Tensor, Tensor]:
    """Luma and chroma quantisation steps, each (B, 1, 1, 8, 8), for qualities (B,)."""
    if bool(((quality < 1.0) | (quality > 100.0)).any()):
        raise ValueError(f"JPEG quality must be in 1..100, got {quality.tolist()}")
    luma, chroma = _luma_table().to(quality), _chroma_table().to(quality)
    percent = torch.where(quality < 50.0, 5000.0 / quality, 200.0 - 2.0 * quality)
    percent = percent[:, None, None, None, None]
    if coder == "standard":
        percent = percent.floor()
        return _whole_steps(luma * percent), _whole_steps(chroma * percent)
    # Quality 100 makes every step 0: nothing is lost then, and nothing may be divided by it.
    factor = (percent / 100.0).clamp_min(1e-6)
    return luma.T * factor, chroma * factor


def _whole_steps(scaled: Tensor) -> Tensor:
    return ((scaled + 50.0) / 100.0).floor().clamp(1.0, 255.0)


def _pad_to_blocks(images: Tensor, *, coder: Coder) -> Tensor:
    height, width = images.shape[-2:]
    margins = (0, -width % 16, 0, -height % 16)
    if not any(margins):
        return images
    if coder == "standard":
        return functional.pad(images, margins, mode="replicate")
    return functional.pad(images, margins)


def _mix_channels(images: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    weights = torch.tensor(matrix, dtype=images.dtype, device=images.device)
    return torch.einsum("oc,bchw->bohw", weights, images)


def _code(planes: Tensor, *, steps: Tensor, rounded: Callable[[Tensor], Tensor]) -> Tensor:
    """Planes (B, C, H, W), sides multiples of 8, quantised to multiples of `steps` (B, 1, 1, 8, 8) and restored."""
    batch, channels, height, width = planes.shape
    blocks = planes.reshape(batch, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    blocks = blocks.reshape(batch, channels, -1, 8, 8)
    basis = _cosine_basis().to(planes)
    levels = rounded((basis @ blocks @ basis.T) / steps)
    restored = basis.T @ (levels * steps) @ basis
    restored = restored.reshape(batch, channels, height // 8, width // 8, 8, 8).transpose(3, 4)
    return restored.reshape(batch, channels, height, width)


def _round(values: Tensor, *, smooth: bool) -> Tensor:
    rounded = values.round()
    if not smooth:
        return rounded
    rounded = rounded.detach()
    return rounded + (values - rounded) ** 3


def _sample(values: Tensor, *, rounded: Callable[[Tensor], Tensor]) -> Tensor:
    """What fits a byte that stands for -128..127."""
    return rounded(values).clamp(-128.0, 127.0)


def _unchanged(values: Tensor) -> Tensor:
    return values


@functools.cache
def _cosine_basis() -> Tensor:
    """The orthonormal 8-point cosine transform, one frequency a row."""
    index = torch.arange(8, dtype=torch.float64)
    basis = torch.cos((2.0 * index[None, :] + 1.0) * index[:, None] * math.pi / 16.0) * 0.5
    basis[0] /= math.sqrt(2.0)
    return basis


@functools.cache
def _luma_table() -> Tensor:
    return torch.tensor(_LUMA_TABLE, dtype=torch.float64)


@functools.cache
def _chroma_table() -> Tensor:
    table = torch.full((8, 8), 99.0, dtype=torch.float64)
    table[:4, :4] = torch.tensor(_CHROMA_CORNER, dtype=torch.float64)
    return table
