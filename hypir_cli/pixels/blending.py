"""Finished rows of an image from its overlapping tiles, while only one row of tiles is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from hypir_cli.pixels.tiling import TilePlan

Corner = tuple[int, int]
"""Top and left of a tile in image pixels."""


def blended_bands(
    plan: TilePlan,
    produce: Callable[[list[Corner]], Tensor],
    *,
    batch: int = 1,
    blending: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[tuple[Tensor, int]]:
    """Rows from top to bottom, and how many tiles are done.

    Args:
        plan: Where the tiles lie.
        produce: Tiles (len(corners), 3, tile, tile) float32 on the CPU, for their corners.
        batch: Corners per call.
        blending: Entered while tiles are blended, to measure that.

    Yields:
        Pairs (rows (3, n, W) float32, tiles done); the rows are empty until a row of tiles is complete.
    """
    rows, columns = plan.rows, plan.columns
    row_weights, column_weights = rows.weights(), columns.weights()
    band = torch.zeros(3, rows.tile, max(columns.tile, columns.length))
    ends = (*rows.starts[1:], rows.length)
    for index, (top, end) in enumerate(zip(rows.starts, ends, strict=True)):
        for chosen in _batches(len(columns.starts), batch):
            lefts = [columns.starts[column] for column in chosen]
            tiles = produce([(top, left) for left in lefts])
            with blending():
                for tile, left, column in zip(tiles, lefts, chosen, strict=True):
                    weight = row_weights[index][:, None] * column_weights[column]
                    band[:, :, left : left + columns.tile].addcmul_(tile, weight)
            yield band[:, :0], index * len(columns.starts) + chosen.stop
        yield band[:, : end - top, : columns.length], (index + 1) * len(columns.starts)
        _shift(band, end - top)


def _batches(count: int, size: int) -> list[range]:
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _shift(band: Tensor, rows: int) -> None:
    """Move the band up by some rows in place, with zeros at its end: a second band would double the memory."""
    kept = max(band.shape[1] - rows, 0)
    for start in range(0, kept, rows):
        # No more at once than it moves by, so that no row is written before it is read.
        stop = min(start + rows, kept)
        band[:, start:stop] = band[:, start + rows : stop + rows]
    band[:, kept:] = 0.0
