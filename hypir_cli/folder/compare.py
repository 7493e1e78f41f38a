"""An input beside its result in one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hypir_cli.folder.names import fitting_name
from hypir_cli.folder.scaling import resized
from hypir_cli.folder.scan import COMPARE_MARK
from hypir_cli.images import write_image
from hypir_cli.images.data import Pixels

_LONG_SIDE = 2048
"""Longest side of either half in pixels; larger images are shrunk to it."""
_GAP = 8
_WHITE = 255


def compare_path(output_path: Path) -> Path:
    """Name of the side-by-side picture of a result."""
    return output_path.with_name(fitting_name(output_path.stem, f"{COMPARE_MARK}.jpg"))


def side_by_side(before: Pixels, after: Pixels) -> Pixels:
    """The input, brought to the result's size, left of the result, with a white gap: (H, W, 3), uint8, of 8-bit pixels."""
    height, width = after.shape[:2]
    ratio = min(1.0, _LONG_SIDE / max(height, width))
    size = (max(1, round(height * ratio)), max(1, round(width * ratio)))
    picture = np.full((size[0], 2 * size[1] + _GAP, 3), _WHITE, dtype=np.uint8)
    picture[:, : size[1]] = resized(before, size)
    picture[:, size[1] + _GAP :] = resized(after, size)
    return picture


def write_compare(output_path: Path, *, before: Pixels, after: Pixels) -> None:
    """Write the side-by-side picture of 8-bit pixels next to a result.

    Raises:
        InputError: The place cannot be written.
    """
    write_image(compare_path(output_path), side_by_side(before, after))
