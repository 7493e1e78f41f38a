"""Checks that many settings share."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence


def check_within(
    settings: object, group: str, names: Sequence[str], *, least: float, most: float = math.inf
) -> None:
    """Refuse numbers outside least..most; unset ones pass, infinite ones do not.

    Args:
        settings: What holds them.
        group: What messages put before the names, e.g. `tiles`; empty for nothing.
        names: Fields of the settings.
        least: Smallest number.
        most: Largest number.

    Raises:
        ValueError: A number is refused; names it.
    """
    for name in names:
        value = getattr(settings, name)
        if value is None or (least <= value <= most and value < math.inf):
            continue
        wanted = f"at least {least:g}" if most == math.inf else f"in {least:g}..{most:g}"
        full = f"{group}.{name}" if group else name
        raise ValueError(f"{full} must be {wanted}, got {value}")


def check_probability(name: str, value: float) -> None:
    """Refuse a chance outside 0..1 with a `ValueError` that names it."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must be in 0..1, got {value}")


def check_device(name: str, value: str) -> None:
    """Refuse with a `ValueError` what is no device that commands other than training know."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
        raise ValueError(f"{name} must be auto, cpu, cuda[:N] or mps, got {value!r}")


def check_suffix(name: str, value: str) -> None:
    """Refuse with a `ValueError` an addition to file names that would lead to other folders."""
    if "/" in value or "\\" in value:
        raise ValueError(f"{name} must not hold a path separator, got {value!r}")
