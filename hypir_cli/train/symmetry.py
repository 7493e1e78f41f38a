"""The eight ways to mirror and turn a square image."""

from __future__ import annotations

import torch
from torch import Tensor

SYMMETRIES = 8
"""Of a square: 0 to 3 are quarter turns, the others the same after mirroring left to right; 0 leaves it as it is."""


def mirrored(images: Tensor, symmetry: int) -> Tensor:
    """Images (..., S, S) by one of the `SYMMETRIES`."""
    flipped = images.flip(-1) if symmetry >= 4 else images
    return torch.rot90(flipped, symmetry % 4, (-2, -1))


def mirrored_back(images: Tensor, symmetry: int) -> Tensor:
    """Undo `mirrored`."""
    turned = torch.rot90(images, -symmetry % 4, (-2, -1))
    return turned.flip(-1) if symmetry >= 4 else turned
