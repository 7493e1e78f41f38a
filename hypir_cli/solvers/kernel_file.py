"""A measured point-spread function from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypir_cli.errors import InputError
from hypir_cli.images import read_image, to_float

MAX_SIDE = 1023
"""Longest side of a kernel in pixels: what is larger is a photograph, not a point-spread function."""
_LEAST_SUM = 1e-12


def read_kernel(path: Path) -> Tensor:
    """The kernel in a PNG (or other image), TIFF or .npy file, scaled so that it sums to 1.

    Colours are averaged. A TIFF or .npy file keeps its numbers, negative ones as well.

    Returns:
        (h, w) float64.

    Raises:
        InputError: Missing, not a picture or matrix, too large, not finite, or its sum is 0.
    """
    values = _values(path)
    if values.ndim == 3:
        values = values.mean(axis=-1)
    if values.ndim != 2 or not values.size or max(values.shape) > MAX_SIDE:
        raise InputError(
            f"the kernel {path} has the shape {values.shape}, but a picture of at most "
            f"{MAX_SIDE} x {MAX_SIDE} pixels is needed.",
            hint="cut it to the point-spread function alone",
        )
    if not np.isfinite(values).all():
        raise InputError(
            f"the kernel {path} holds numbers that are not finite.", hint="write it anew"
        )
    total = float(values.sum())
    if abs(total) < _LEAST_SUM:
        raise InputError(
            f"the kernel {path} sums to 0, so nothing of the image would be left.",
            hint="a point-spread function is bright on black and has a positive sum",
        )
    return torch.from_numpy(values / total)


def _values(path: Path) -> NDArray[np.float64]:
    """The numbers of a file, (h, w) or (h, w, channels)."""
    try:
        if path.suffix.lower() == ".npy":
            return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
        if path.suffix.lower() in (".tif", ".tiff"):
            # The image reader would squeeze floats into 0..1, but a kernel's numbers may be of any size and sign.
            return np.asarray(tifffile.imread(path), dtype=np.float64)
    except (OSError, ValueError, TypeError, EOFError, tifffile.TiffFileError) as error:
        raise InputError(
            f"cannot read the kernel {path}: {error}.", hint="give a PNG, TIFF or .npy file"
        ) from error
    return to_float(read_image(path).pixels).astype(np.float64)
