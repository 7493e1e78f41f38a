"""Large images in tiles: which part of the measurement belongs to a tile, and the operator between the two."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hypir_cli.config.solve import SolveTileConfig
from hypir_cli.errors import ConfigError
from hypir_cli.pixels import tiling
from hypir_cli.pixels.resample import Span
from hypir_cli.solvers.damage import Size
from hypir_cli.solvers.operators import Inpainting, LinearOperator, Operator, Windowed


@dataclass(frozen=True, kw_only=True)
class Window:
    """A tile's share of the problem."""

    operator: Operator
    """From the tile's pixels to the measured ones that depend on no others."""
    rows: Span
    """Those measured pixels' rows in the whole measurement."""
    columns: Span
    """And their columns."""


def plan_windows(
    size: Size, operator: Operator, *, multiple: int, native: int, tiles: SolveTileConfig
) -> tiling.TilePlan:
    """Tiles of an image; one for all of it where the operator cannot be cut.

    Every measured pixel lies whole inside some tile, and tiles start at multiples of the operator's factor.

    Args:
        size: Of the image that is looked for.
        operator: The damage.
        multiple: The prior takes sides that are multiples of this.
        native: Tile side that the prior likes best.
        tiles: What the user asked for.

    Raises:
        ConfigError: The tile is too small for the damage.
    """
    factor = operator.factor if isinstance(operator, LinearOperator) else 1
    multiple = math.lcm(multiple, factor)
    if not isinstance(operator, LinearOperator):
        largest, overlap = max(size) + multiple, 0
    else:
        largest = tiles.size or int(native * tiling.LARGEST_SHARE)
        wanted = min(tiling.USUAL_OVERLAP, largest // 4) if tiles.overlap is None else tiles.overlap
        overlap = max(wanted, 2 * operator.halo)
    largest -= largest % multiple
    if largest < multiple or (max(size) > largest and 2 * overlap > largest):
        raise ConfigError(
            f"a tile of {largest} px is too small: neighbours must overlap by {overlap} px for this damage.",
            hint=f"use --tile {2 * overlap + multiple} or more, or a smaller --overlap",
        )
    smallest = min(int(native * tiling.SMALLEST_SHARE), largest)

    def axis(length: int) -> tiling.AxisPlan:
        # In units of the factor, so that no tile starts in the middle of a measured pixel.
        plan = tiling.plan_axis(
            length // factor,
            largest=largest // factor,
            smallest=smallest // factor,
            overlap=-(-overlap // factor),
            multiple=multiple // factor,
            step=1,
        )
        starts = tuple(start * factor for start in plan.starts)
        return tiling.AxisPlan(length=length, tile=plan.tile * factor, starts=starts)

    return tiling.TilePlan(rows=axis(size[0]), columns=axis(size[1]))


def window_of(operator: Operator, size: Size, *, rows: Span, columns: Span) -> Window:
    """The share of a tile.

    Args:
        operator: Of the whole image.
        size: Of the whole image.
        rows: The tile's rows; they may go beyond the image's end.
        columns: The tile's columns.
    """
    if not isinstance(operator, LinearOperator):
        return Window(operator=operator, rows=(0, size[0]), columns=(0, size[1]))
    if isinstance(operator, Inpainting):
        return Window(operator=operator.at(rows, columns), rows=rows, columns=columns)
    factor, halo = operator.factor, operator.halo
    measured = [
        _measured(span, length, factor=factor, halo=halo)
        for span, length in zip((rows, columns), size, strict=True)
    ]
    inner = [
        (start - span[0] // factor, stop - span[0] // factor)
        for (start, stop), span in zip(measured, (rows, columns), strict=True)
    ]
    whole = all(
        part == (0, (span[1] - span[0]) // factor)
        for part, span in zip(inner, (rows, columns), strict=True)
    )
    local = operator.at(rows, columns)
    if not whole:
        local = Windowed(local, rows=inner[0], columns=inner[1])
    return Window(operator=local, rows=measured[0], columns=measured[1])


def _measured(span: Span, length: int, *, factor: int, halo: int) -> Span:
    """Measured pixels along an axis that depend on pixels of the span alone."""
    first = 0 if span[0] == 0 else -(-(span[0] + halo) // factor)
    last = length if span[1] >= length else span[1] - halo
    return first, last // factor
