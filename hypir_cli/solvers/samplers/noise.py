"""Noise by name: every draw of a sampler belongs to a place, an image, a seed and a purpose, not to a moment.

So the same image gives the same result whatever the batch, the chunks that candidates go in, and the tiles (overlapping tiles see the
same noise where they overlap).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from hypir_cli.pixels.noise import noise_window


class NoiseSource(Protocol):
    """Standard normal noise for a batch of samples."""

    def normal(self, purpose: str) -> Tensor:
        """(B, C, h, w); the same purpose gives the same noise, different ones are independent."""


class PlacedNoise:
    """Noise keyed by seed, image and place.

    Args:
        shape: (C, h, w) of one sample.
        seeds: Of each image.
        keys: Digest of each image, from `hypir_cli.pixels.noise.image_key`.
        top: First row of the samples in the plane of the whole image's noise.
        left: First column there.
        device: Where the noise is needed.
        dtype: What it is needed in; drawn in float32.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        seeds: Sequence[int],
        keys: Sequence[bytes],
        top: int = 0,
        left: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._shape = shape
        self._seeds = seeds
        self._keys = keys
        self._corner = (top, left)
        self._device = device
        self._dtype = dtype

    def normal(self, purpose: str) -> Tensor:
        """(B, C, h, w)."""
        channels, height, width = self._shape
        windows = [
            noise_window(
                seed=seed,
                key=key,
                purpose=f"solve {purpose}",
                channels=channels,
                top=self._corner[0],
                left=self._corner[1],
                height=height,
                width=width,
            )
            for seed, key in zip(self._seeds, self._keys, strict=True)
        ]
        return torch.cat(windows).to(device=self._device, dtype=self._dtype)
