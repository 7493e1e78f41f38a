"""Where a photograph is lost: mask files, found by the photograph's name."""

from __future__ import annotations

from pathlib import Path, PurePath

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypir_cli.errors import InputError
from hypir_cli.images import READABLE_SUFFIXES, ImageData, read_image, to_float

LOST_FROM = 0.5
"""Brightness (times opacity) from which a mask says that a pixel is lost, 0..1."""


def find_mask(place: Path, relative: PurePath) -> Path:
    """The mask of a photograph: the one file for all, or in a folder the file at the same place of the tree.

    A mask that bears the photograph's whole name (`a.jpg.png`) counts before one with its stem (`a.png`).

    Args:
        place: File or folder.
        relative: The photograph's place in its own tree.

    Raises:
        InputError: There is no such file.
    """
    if not place.is_dir():
        return place
    folder = place / relative.parent
    names = {path.name.lower(): path for path in folder.iterdir()} if folder.is_dir() else {}
    for stem in (relative.name, relative.stem):
        for suffix in sorted(READABLE_SUFFIXES):
            found = names.get(f"{stem}{suffix}".lower())
            if found is not None:
                return found
    raise InputError(
        f"there is no mask for {relative} in {place}.",
        hint=f"add {place / relative.with_suffix('.png')}, white where the photograph is lost",
    )


def read_lost(path: Path, *, height: int, width: int) -> NDArray[np.bool_]:
    """Which pixels a mask file gives up, (height, width).

    Raises:
        InputError: It cannot be read, or has another size than the photograph.
    """
    mask = read_image(path)
    if (mask.height, mask.width) != (height, width):
        raise InputError(
            f"the mask {path} has {mask.width} x {mask.height} pixels, but the photograph "
            f"{width} x {height}.",
            hint="a mask is drawn over the photograph and saved at its size",
        )
    return _brightness(mask) >= LOST_FROM


def kept_of(lost: NDArray[np.bool_]) -> Tensor:
    """The mask as the operator wants it: True where the photograph is there, (1, 1, H, W)."""
    return torch.from_numpy(~lost)[None, None]


def _brightness(mask: ImageData) -> NDArray[np.float32]:
    """Mean of the channels; what is transparent says nothing."""
    brightness: NDArray[np.float32] = to_float(mask.pixels).mean(axis=2, dtype=np.float32)
    return brightness if mask.alpha is None else brightness * to_float(mask.alpha)
