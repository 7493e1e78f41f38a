"""The prepared crops, drawn reproducibly by step number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from prepare import as_images
from torch import Tensor

PRESET_WEIGHTS = (2.0, 1.0)
"""How often the versions made by each of `prepare.PRESETS` are drawn, relative to each other."""
CLEAN_SHARE = 0.08
"""Share of crops that are not degraded: what is good must stay."""


class Crops:
    """What `prepare.py` wrote.

    Attributes:
        gt: Clean crops, (N, size, size, 3) uint8.
        lq: Degraded versions, (versions, N, size, size, 3) uint8.
        texture: Texture richness of the photograph each crop is from, (N,).
    """

    def __init__(self, folder: Path) -> None:
        self.gt = np.load(folder / "gt.npy", mmap_mode="r")
        self.lq = np.load(folder / "lq.npy", mmap_mode="r")
        self.texture = np.load(folder / "texture.npy")
        weights = np.array([PRESET_WEIGHTS[version % 2] for version in range(len(self.lq))])
        self._shares = weights / weights.sum()

    def draw(
        self, random: np.random.Generator, *, batch: int, side: int
    ) -> tuple[Tensor, Tensor, np.ndarray]:
        """Clean squares, degraded squares, and the textures (batch,) of their photographs."""
        pairs, textures = [], []
        for index in random.integers(len(self.gt), size=batch):
            version = int(random.choice(len(self.lq), p=self._shares))
            lq = self.gt[index] if random.random() < CLEAN_SHARE else self.lq[version, index]
            pairs.append(_augmented(self.gt[index], lq, side=side, random=random))
            textures.append(self.texture[index])
        gt, lq = (_images([pair[part] for pair in pairs]) for part in (0, 1))
        return gt, lq, np.array(textures)


def _augmented(
    gt: np.ndarray, lq: np.ndarray, *, side: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    top, left = random.integers(gt.shape[0] - side + 1, size=2)
    turns, mirror = int(random.integers(4)), bool(random.integers(2))
    window = np.s_[top : top + side, left : left + side]
    gt, lq = np.rot90(gt[window], turns), np.rot90(lq[window], turns)
    return (gt[::-1], lq[::-1]) if mirror else (gt, lq)


def _images(squares: list[np.ndarray]) -> Tensor:
    return as_images(np.stack(squares)).contiguous(memory_format=torch.channels_last)
