"""Amplify or soften the fine detail of a finished image until its texture richness is what was asked.

A network that is told a texture richness follows it only as far as it learned to, and most were never told. What is amplified here
is fine detail of the luma (so that no colours appear) that is neither edge nor noise:

- Detail beside an edge counts for little: an edge is what is still there after a blur that takes fine texture away.
- Detail that is not stronger than the image's noise counts for nothing, and weak detail for less than strong detail.
- No channel of a pixel leaves the range of its neighbourhood by more than `OVERSHOOT`, so no rim can appear, whatever was asked.

Softening takes all fine detail alike, within the same range. Everything goes strip by strip with a halo: once
over the image to learn how the richness follows from the amount of detail, and once to apply it. The result does not depend on the
strips.

Source: texture richness is the statistic of HYPIR (arXiv:2507.20590), section 3; this way of meeting it is ours. The kernel that
sees noise and no straight edges is that of Immerkaer, "Fast noise variance estimation" (1996).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hypir_cli.images import quantize
from hypir_cli.images.data import Pixels
from hypir_cli.pixels.color import luma
from hypir_cli.pixels.exact import outside_autocast
from hypir_cli.pixels.strips import inner, padded_rows, strips
from hypir_cli.pixels.texture import RichnessSums, laplacian, pixels_richness

DETAIL_SIGMA = 1.2
"""Fine detail is what a Gaussian blur of this many pixels takes away."""
DETAIL_RADIUS = 5
"""Pixels from the middle to the end of that blur's kernel."""
CORE = 2.0
"""Detail of this many 8-bit levels is amplified half as much as strong detail."""
EDGE_CONTRAST = 16.0
"""Where the blurred luma varies by this many levels (deviation around the pixel), detail is amplified half as much."""
EDGE_RADIUS = 4
"""Pixels around a pixel in which an edge is looked for, more than an edge's own detail reaches."""
NOISE_SHARE = 2.5
"""Detail counts where its energy is more than this many times that of the noise."""
NOISE_QUANTILE = 0.1
"""The noise of an image is that of its quietest blocks, this share of them."""
NOISE_BLOCK = 8
"""Side of such a block."""
RANGE_RADIUS = 2
"""Pixels around a pixel whose range it may not leave."""
OVERSHOOT = 2.0
"""8-bit levels by which a pixel may leave that range; half a level of it is for rounding."""
CURVE_POINTS = 6
"""Amounts of detail at which the richness is computed; between them it is interpolated."""
_HALO = DETAIL_RADIUS + EDGE_RADIUS


@dataclass(frozen=True, kw_only=True)
class Detail:
    """What is measured of an image's detail before it is changed."""

    richness: float
    """Texture richness in squared 8-bit levels."""
    noise: float
    """Variance of the noise in squared 8-bit levels, from the quietest blocks; 0 where there is none."""


def measure_detail(pixels: Pixels) -> Detail:
    """Texture richness and noise of an image, in one pass over it.

    Args:
        pixels: (H, W, C) uint8 or uint16, C 1 or 3.
    """
    sums, found = RichnessSums(), []
    for top, bottom in strips(int(pixels.shape[0]), int(pixels.shape[1]), multiple=NOISE_BLOCK):
        planes = padded_rows(pixels, top, bottom, halo=1)
        sums.add(planes)
        energy = _blocks(_immerkaer(luma(planes)).square() / 36.0)
        found.append(energy[energy > 1e-4])
    energies = torch.cat(found).sort().values
    noise = float(energies[int(NOISE_QUANTILE * (len(energies) - 1))]) if len(energies) else 0.0
    return Detail(richness=sums.richness, noise=noise)


@dataclass(frozen=True, kw_only=True)
class TextureMatch:
    """What matching the texture of an image did."""

    gain: float
    """Factor on strong fine detail."""
    before: float
    """Texture richness before, in squared 8-bit levels."""
    reached: float
    """Texture richness after, in squared 8-bit levels."""


def match_texture(
    pixels: Pixels, wanted: float, *, least: float, most: float, before: Detail | None = None
) -> TextureMatch:
    """Change the strength of an image's fine detail, in place, so that its texture richness is `wanted`.

    Args:
        pixels: (H, W, C) uint8 or uint16, C 1 or 3.
        wanted: Variance of the Laplacian in squared 8-bit levels.
        least: Smallest factor on the detail, above 0.
        most: Largest factor on the detail; from halfway on, factors come nearer to it without reaching it, so that more asked always
            gives more.
        before: What `measure_detail` gave, where that is known.

    Returns:
        The factor, and the richness before and after.
    """
    before = before or measure_detail(pixels)
    richness = before.richness
    if wanted < richness and least < 1.0:
        added = max(_softening(pixels, wanted), least - 1.0)
        _soften(pixels, added)
    elif wanted > richness and most > 1.0:
        added = _amplification(pixels, wanted, before=before, limit=most - 1.0)
        _amplify(pixels, added, noise=before.noise)
    else:
        return TextureMatch(gain=1.0, before=richness, reached=richness)
    return TextureMatch(gain=1.0 + added, before=richness, reached=pixels_richness(pixels))


def _amplification(pixels: Pixels, wanted: float, *, before: Detail, limit: float) -> float:
    """How much detail to add, up to `limit`, so that the richness is `wanted`."""
    amounts = [limit * ((index + 1) / CURVE_POINTS) ** 1.5 for index in range(CURVE_POINTS)]
    curve = _richness_curve(pixels, amounts, noise=before.noise)
    low, less = before.richness, 0.0
    for high, amount in zip(curve, amounts, strict=True):
        if high >= wanted:
            added = less + (wanted - low) / (high - low) * (amount - less)
            return _softly_below(added, limit)
        low, less = high, amount
    return _softly_below(limit * wanted / max(curve[-1], 1e-6), limit)


def _richness_curve(pixels: Pixels, amounts: list[float], *, noise: float) -> list[float]:
    """Texture richness with each amount of detail added, but for rounding."""
    height, width = int(pixels.shape[0]), int(pixels.shape[1])
    sums = torch.zeros(2, len(amounts), dtype=torch.float64)
    for top, bottom in strips(height, width):
        planes = padded_rows(pixels, top, bottom, halo=_HALO + 1)
        light, detail, up, down = _parts(planes, noise=noise)
        for index, added in enumerate(amounts):
            response = laplacian(light + _limited(added * detail, up, down)).double()
            sums[0, index] += response.sum()
            sums[1, index] += response.square().sum()
    means = sums / (height * width)
    return [float(value) for value in means[1] - means[0].square()]


def _amplify(pixels: Pixels, added: float, *, noise: float) -> None:
    def change(planes: Tensor) -> Tensor:
        _, detail, up, down = _parts(planes, noise=noise)
        return _limited(added * detail, up, down)

    _add_in_place(pixels, change)


def _parts(planes: Tensor, *, noise: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Luma, detail that may be amplified, and the room above and below; all `_HALO` smaller than RGB planes on each side."""
    light = luma(planes)
    blurred = _blurred(light)
    fine = inner(light, DETAIL_RADIUS) - blurred
    structure = _box(blurred.square()) - _box(blurred).square()
    energy = _box(fine.square())
    fine = inner(fine, EDGE_RADIUS)
    squares = fine * fine
    fine = fine * squares / (squares + CORE * CORE)
    fine = fine * (EDGE_CONTRAST**2 / (EDGE_CONTRAST**2 + structure.clamp_min(0.0)))
    fine = fine * (1.0 - NOISE_SHARE * noise / energy.clamp_min(1e-6)).clamp_min(0.0)
    up, down = _room(planes)
    return inner(light, _HALO), fine, up, down


def _room(planes: Tensor) -> tuple[Tensor, Tensor]:
    """How far a pixel may rise and sink, (1, 1, h - 2 * _HALO, w - 2 * _HALO), from RGB planes in levels.

    The narrowest channel decides, since all channels move together.
    """
    near = inner(planes, _HALO - RANGE_RADIUS)
    middle = inner(planes, _HALO)
    slack = OVERSHOOT - 0.5
    highest = _maximum(near).add_(slack).clamp_max_(255.0)
    lowest = (-_maximum(-near)).sub_(slack).clamp_min_(0.0)
    return (highest - middle).amin(1, keepdim=True), (middle - lowest).amin(1, keepdim=True)


def _limited(change: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """A change that comes nearer to the room it has without reaching it, small ones nearly as they are."""
    room = torch.where(change > 0, up, down).clamp_min(1e-3)
    return torch.sign(change) * room * (1.0 - torch.exp(-change.abs() / room))


def _softening(pixels: Pixels, wanted: float) -> float:
    """How much of all fine detail to add, below 0, for a lower richness; where none gives it, what comes closest."""
    height, width = int(pixels.shape[0]), int(pixels.shape[1])
    sums = torch.zeros(5, dtype=torch.float64)
    for top, bottom in strips(height, width):
        light = luma(padded_rows(pixels, top, bottom, halo=DETAIL_RADIUS + 1))
        all_detail = inner(light, DETAIL_RADIUS) - _blurred(light)
        first = laplacian(inner(light, DETAIL_RADIUS)).double().flatten()
        second = laplacian(all_detail).double().flatten()
        squares = [first.dot(first), first.dot(second), second.dot(second)]
        sums += torch.stack([first.sum(), second.sum(), *squares])
    mean_first, mean_second, image, mixed, detail = (sums / (height * width)).tolist()
    # The variance of the Laplacian is a quadratic in the amount of detail.
    image, mixed = image - mean_first**2, mixed - mean_first * mean_second
    detail -= mean_second**2
    if detail <= 0.0:
        return 0.0
    inside = mixed**2 - detail * (image - wanted)
    added: float = (-mixed + math.sqrt(max(inside, 0.0))) / detail
    return min(added, 0.0)


def _soften(pixels: Pixels, added: float) -> None:
    def change(planes: Tensor) -> Tensor:
        light = luma(planes)
        fine = inner(inner(light, DETAIL_RADIUS) - _blurred(light), EDGE_RADIUS)
        # The luma's detail may be missing in a channel, which must not be drawn there.
        up, down = _room(planes)
        return torch.minimum(torch.maximum(added * fine, -down), up)

    _add_in_place(pixels, change)


def _add_in_place(pixels: Pixels, change: Callable[[Tensor], Tensor]) -> None:
    """Add what `change` makes of RGB planes with `_HALO` around them, strip by strip, to every channel."""
    bits = 8 * pixels.dtype.itemsize
    above = pixels[:0].copy()
    for top, bottom in strips(int(pixels.shape[0]), int(pixels.shape[1])):
        planes = padded_rows(pixels, top, bottom, halo=_HALO, above=above)
        kept = np.concatenate([above, pixels[top:bottom]])[-_HALO:]
        _store(pixels, (inner(planes, _HALO) + change(planes)) / 255.0, top=top, bits=bits)
        above = kept


def _store(pixels: Pixels, planes: Tensor, *, top: int, bits: int) -> None:
    """Round planes (1, 3, n, W) in 0..1 into an image from row `top` on."""
    values = planes[0, : pixels.shape[2]].permute(1, 2, 0).numpy()
    pixels[top : top + values.shape[0]] = quantize(values, bits)


def _softly_below(value: float, limit: float) -> float:
    """The value up to half the limit, then ever nearer to the limit; rising everywhere, with a continuous slope."""
    half = limit / 2.0
    over = value - half
    return value if over <= 0.0 else half + half * over / (half + over)


@outside_autocast
def _blurred(planes: Tensor) -> Tensor:
    """(N, 1, h - 2 * radius, w - 2 * radius) of (N, 1, h, w)."""
    places = torch.arange(-DETAIL_RADIUS, DETAIL_RADIUS + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (places / DETAIL_SIGMA) ** 2)
    kernel = kernel / kernel.sum()
    row, column = kernel.view(1, 1, 1, -1), kernel.view(1, 1, -1, 1)
    return F.conv2d(F.conv2d(planes, row), column)


def _box(planes: Tensor) -> Tensor:
    """Mean over the pixels within `EDGE_RADIUS`, (N, 1, h - 2 * radius, w - 2 * radius) of (N, 1, h, w)."""
    side = 2 * EDGE_RADIUS + 1
    return F.avg_pool2d(F.avg_pool2d(planes, (1, side), stride=1), (side, 1), stride=1)


def _maximum(planes: Tensor) -> Tensor:
    """Largest value within `RANGE_RADIUS`, smaller by it on each side."""
    side = 2 * RANGE_RADIUS + 1
    return F.max_pool2d(F.max_pool2d(planes, (1, side), stride=1), (side, 1), stride=1)


def _immerkaer(light: Tensor) -> Tensor:
    """Response of the mask [1, -2, 1] x [1, -2, 1], one pixel smaller on each side; 36 times the variance of white noise."""
    second = light[..., :-2] - 2.0 * light[..., 1:-1] + light[..., 2:]
    return second[..., :-2, :] - 2.0 * second[..., 1:-1, :] + second[..., 2:, :]


def _blocks(planes: Tensor) -> Tensor:
    """Means of blocks, flat; those at the right and the bottom may be smaller."""
    return F.avg_pool2d(planes, NOISE_BLOCK, ceil_mode=True, count_include_pad=False).flatten()
