"""Strip plots as inline SVG: every image a dot, every method a row, mean and interval on top."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from hypir_cli.evaluate.bootstrap import Interval
from hypir_cli.evaluate.report.tables import number

COLORS = 8
"""Method colours in the style sheet, --m0 to --m7; further methods start again."""
_WIDTH = 360
_LABEL = 96
_RIGHT = 14
_ROW = 34
_AXIS = 26
_MAX_LABEL = 14


def strip_plot(
    title: str, values: Mapping[str, Mapping[str, float]], means: Mapping[str, Interval]
) -> str:
    """One metric of all methods.

    Args:
        title: What screen readers are told.
        values: Method -> image -> figure.
        means: Method -> mean and interval.
    """
    every = [value for row in values.values() for value in row.values()]
    ends = [
        end
        for mean in means.values()
        for end in (mean.mean, mean.low, mean.high)
        if end is not None
    ]
    low, high = min(every + ends), max(every + ends)
    bounds = _padded(low, high)
    height = _ROW * len(values) + _AXIS
    rows = "".join(
        _strip(method, row, means[method], index=index, bounds=bounds)
        for index, (method, row) in enumerate(values.items())
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"{_axis((low, high), bounds, height)}{rows}</svg>"
    )


def _strip(
    method: str,
    row: Mapping[str, float],
    mean: Interval,
    *,
    index: int,
    bounds: tuple[float, float],
) -> str:
    middle = _ROW * index + _ROW / 2
    color = f"var(--m{index % COLORS})"
    dots = "".join(
        f'<circle cx="{_x(value, bounds):.1f}" cy="{middle + _jitter(position):.1f}" r="3.2" '
        f'fill="{color}" data-image="{escape(image)}"><title>{escape(image)}: {number(value)}</title></circle>'
        for position, (image, value) in enumerate(row.items())
    )
    label = method if len(method) <= _MAX_LABEL else f"{method[: _MAX_LABEL - 1]}…"
    return (
        f'<text class="row" x="0" y="{middle + 4:.1f}">{escape(label)}</text>{dots}'
        f"{_mean_mark(mean, middle, bounds)}"
    )


def _mean_mark(mean: Interval, middle: float, bounds: tuple[float, float]) -> str:
    x = _x(mean.mean, bounds)
    bar = ""
    if mean.low is not None and mean.high is not None:
        bar = (
            f'<line x1="{_x(mean.low, bounds):.1f}" x2="{_x(mean.high, bounds):.1f}" y1="{middle}" '
            f'y2="{middle}" stroke="var(--ink)" stroke-width="2"/>'
        )
    diamond = f"M{x:.1f} {middle - 6}l5 6l-5 6l-5 -6z"
    return f'{bar}<path d="{diamond}" fill="var(--ink)" stroke="var(--card)"/>'


def _axis(ends: tuple[float, float], bounds: tuple[float, float], height: float) -> str:
    """Lines at the lowest figure, the highest and half-way."""
    low, high = ends
    base = height - _AXIS
    ticks = (
        {low: "start", (low + high) / 2: "middle", high: "end"} if high > low else {low: "middle"}
    )
    return "".join(
        f'<line class="axis" x1="{_x(tick, bounds):.1f}" x2="{_x(tick, bounds):.1f}" y1="0" y2="{base}"/>'
        f'<text x="{_x(tick, bounds):.1f}" y="{base + 16}" text-anchor="{anchor}">{number(tick)}</text>'
        for tick, anchor in ticks.items()
    )


def _padded(low: float, high: float) -> tuple[float, float]:
    """Some room on both sides; a single value stands in the middle."""
    room = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def _x(value: float, bounds: tuple[float, float]) -> float:
    low, high = bounds
    return _LABEL + (value - low) / (high - low) * (_WIDTH - _LABEL - _RIGHT)


def _jitter(position: int) -> float:
    """Spread dots of like values over the row; always the same for the same image."""
    return (position * 7 % 11 - 5) * 1.4
