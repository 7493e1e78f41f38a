"""Noise that belongs to a place: the same seed, image and position give the same numbers, whatever the tiles.

The latent plane is divided into fixed blocks, each drawn from its own generator keyed by (seed, image, purpose, block), so
overlapping tiles agree where they overlap and no image depends on the ones before it.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hypir_cli.pixels.color import luma

BLOCK = 32
"""Side of a noise block in latent pixels."""
GRADIENT_SCALE = 4.0 / 255.0
"""Mean slope per pixel at which noise has 63% of its weight."""


def image_key(pixels: NDArray[np.generic]) -> bytes:
    """Digest of an image's size and pixels."""
    digest = hashlib.blake2b(repr((pixels.shape, pixels.dtype.str)).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def noise_window(
    *,
    seed: int,
    key: bytes,
    purpose: str,
    channels: int,
    top: int,
    left: int,
    height: int,
    width: int,
) -> Tensor:
    """A window of the standard normal noise plane.

    Args:
        seed: User's seed.
        key: Which image, from `image_key`.
        purpose: What the noise is for; different purposes are independent.
        channels: Latent channels.
        top: First row, latent pixels.
        left: First column, latent pixels.
        height: Rows, latent pixels.
        width: Columns, latent pixels.

    Returns:
        (1, channels, height, width) float32 on the CPU.
    """
    first_row, first_column = top // BLOCK, left // BLOCK
    block_rows = range(first_row, (top + height - 1) // BLOCK + 1)
    block_columns = range(first_column, (left + width - 1) // BLOCK + 1)
    rows = [
        torch.cat(
            [_block(seed, key, purpose, channels, row, column) for column in block_columns], 2
        )
        for row in block_rows
    ]
    y, x = top - first_row * BLOCK, left - first_column * BLOCK
    return torch.cat(rows, 1)[None, :, y : y + height, x : x + width]


def gradient_weight(images: Tensor, *, factor: int) -> Tensor:
    """Weight of the noise at each latent pixel, by how steep the image is there: near 0 where it is flat, near 1 on detail.

    Args:
        images: RGB, (B, 3, H, W), 0..1.
        factor: Image pixels per latent pixel, along one axis; H and W are multiples of it.

    Returns:
        (B, 1, H / factor, W / factor), 0..1.

    Source: after the region-discriminative noise of CODSR; the curve is ours.
    """
    light = luma(images.float())
    down = F.pad(light, (0, 0, 0, 1), mode="replicate").diff(dim=-2)
    right = F.pad(light, (0, 1, 0, 0), mode="replicate").diff(dim=-1)
    steepness = F.avg_pool2d((down.square() + right.square()).sqrt(), factor)
    smooth = F.avg_pool2d(F.pad(steepness, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return 1.0 - torch.exp(-smooth / GRADIENT_SCALE)


def _block(seed: int, key: bytes, purpose: str, channels: int, row: int, column: int) -> Tensor:
    text = f"{seed}|{key.hex()}|{purpose}|{row}|{column}".encode()
    number = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1
    generator = torch.Generator().manual_seed(number)
    return torch.randn(channels, BLOCK, BLOCK, generator=generator)
