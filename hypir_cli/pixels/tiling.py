"""Where tiles lie and how they blend.

Along each axis the tiles are equal, evenly spread and chosen so that the fewest pixels are computed twice. Neighbours are
cross-faded with raised cosines over their whole overlap, and only there: the image's own edges keep full weight. The weights
of all tiles sum to one at every pixel, so blending an identity gives the input back.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

SMALLEST_SHARE = 0.75
"""A tile may be this much smaller than the backbone's native tile when that saves computing."""
LARGEST_SHARE = 1.25
"""A tile may be this much larger than the backbone's native tile when memory allows."""

USUAL_OVERLAP = 64
"""Overlap of neighbours in pixels where nobody asks for another."""


@dataclass(frozen=True, kw_only=True)
class AxisPlan:
    """Tiles along one axis."""

    length: int
    """Pixels of the image along the axis."""
    tile: int
    """Pixels of each tile; more than `length` when a single tile must be padded."""
    starts: tuple[int, ...]
    """First pixel of each tile, rising."""

    def weights(self) -> list[Tensor]:
        """Weight of each tile's pixels, (tile,) float32; over all tiles they sum to 1 at every pixel."""
        raw = [self._raw_weight(index) for index in range(len(self.starts))]
        total = torch.zeros(max(self.length, self.tile), dtype=torch.float64)
        for start, weight in zip(self.starts, raw, strict=True):
            total[start : start + self.tile] += weight
        return [
            (weight / total[start : start + self.tile]).float()
            for start, weight in zip(self.starts, raw, strict=True)
        ]

    def _raw_weight(self, index: int) -> Tensor:
        weight = torch.ones(self.tile, dtype=torch.float64)
        if index > 0:
            overlap = self.starts[index - 1] + self.tile - self.starts[index]
            weight[:overlap] *= raised_cosine(overlap)
        if index + 1 < len(self.starts):
            overlap = self.starts[index] + self.tile - self.starts[index + 1]
            weight[self.tile - overlap :] *= raised_cosine(overlap).flip(0)
        return weight


@dataclass(frozen=True, kw_only=True)
class TilePlan:
    """Tiles of an image."""

    rows: AxisPlan
    """Tiles from top to bottom."""
    columns: AxisPlan
    """Tiles from left to right."""

    @property
    def count(self) -> int:
        """Tiles in all."""
        return len(self.rows.starts) * len(self.columns.starts)


def raised_cosine(length: int) -> Tensor:
    """A ramp from 0 to 1 over `length` pixels, (length,) float64, that sums to 1 with its mirror image."""
    positions = torch.arange(length, dtype=torch.float64) + 0.5
    return 0.5 - 0.5 * torch.cos(math.pi * positions / length)


def plan_tiles(
    height: int, width: int, *, largest: int, smallest: int, overlap: int, multiple: int, step: int
) -> TilePlan:
    """Tiles of an image, chosen axis by axis; arguments as in `plan_axis`."""
    rows = plan_axis(
        height, largest=largest, smallest=smallest, overlap=overlap, multiple=multiple, step=step
    )
    columns = plan_axis(
        width, largest=largest, smallest=smallest, overlap=overlap, multiple=multiple, step=step
    )
    return TilePlan(rows=rows, columns=columns)


def plan_axis(
    length: int, *, largest: int, smallest: int, overlap: int, multiple: int, step: int
) -> AxisPlan:
    """Equal tiles that cover an axis at the least cost.

    Args:
        length: Pixels of the axis.
        largest: Largest tile, pixels.
        smallest: Smallest tile when there are several, pixels.
        overlap: Least overlap of neighbours, pixels.
        multiple: Tiles are multiples of this, pixels.
        step: Inner tiles start at multiples of this where their overlap allows it (the VAE's factor), pixels.

    Returns:
        The plan with the fewest computed pixels; among equals the one with the fewest tiles.

    Raises:
        ValueError: `largest` is below `multiple`, or leaves no room for the overlap.
    """
    largest -= largest % multiple
    if largest < multiple or (length > largest and overlap > largest // 2):
        raise ValueError(
            f"a tile of {largest} px cannot hold an overlap of {overlap} px in multiples of {multiple} px"
        )
    tile, count = min(
        _choices(length, largest, smallest, overlap, multiple),
        key=lambda choice: (choice[0] * choice[1], choice[1]),
    )
    return AxisPlan(
        length=length,
        tile=tile,
        starts=_starts(length, tile, count, step=step, reach=tile - overlap),
    )


def _choices(
    length: int, largest: int, smallest: int, overlap: int, multiple: int
) -> Iterator[tuple[int, int]]:
    """Pairs (tile, count) that cover the axis."""
    single = _round_up(length, multiple)
    if single <= largest:
        yield single, 1
    largest = min(largest, length - length % multiple)
    if largest < max(multiple, 2 * overlap):
        return
    fewest = max(2, math.ceil((length - overlap) / (largest - overlap)))
    yield largest, fewest
    for count in range(fewest, 2 * fewest + 1):
        tile = _round_up(math.ceil((length + (count - 1) * overlap) / count), multiple)
        if tile < max(smallest, 2 * overlap):
            return
        if tile <= largest:
            yield tile, count


def reflect_indices(length: int, padded: int) -> Tensor:
    """Pixel indices that extend an axis of `length` to `padded` by reflection without repeating the edge, int64.

    Any padding is possible; an axis of one pixel repeats it.
    """
    if length == 1:
        return torch.zeros(padded, dtype=torch.int64)
    period = 2 * (length - 1)
    position = torch.arange(padded) % period
    return torch.minimum(position, period - position)


def mirrored_border(length: int) -> Tensor:
    """Pixel indices that add one mirrored pixel before and after an axis, (length + 2,) int64."""
    after = reflect_indices(length, length + 1)[-1:]
    return torch.cat([length - 1 - after, torch.arange(length), after])


def _starts(length: int, tile: int, count: int, *, step: int, reach: int) -> tuple[int, ...]:
    """Even starts, the inner ones on the grid of `step` unless that leaves a gap of more than `reach`."""
    if count == 1:
        return (0,)
    last = length - tile
    even = [last * index / (count - 1) for index in range(count)]
    gridded = (0, *(round(start / step) * step for start in even[1:-1]), last)
    gaps = [after - before for before, after in itertools.pairwise(gridded)]
    if min(gaps) > 0 and max(gaps) <= reach:
        return gridded
    return tuple(round(start) for start in even)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
