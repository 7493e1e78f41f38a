"""Small folders of images for the tests of evaluation: clean, degraded, and restored by two methods."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

NAMES = ("cup", "portrait", "sub/spoon")


@dataclass(frozen=True)
class Sets:
    """Folders with the same three images each."""

    gt: Path
    lq: Path
    soft: Path
    """Blurred."""
    near: Path
    """Almost GT."""


def make_sets(root: Path, *, side: int = 48) -> Sets:
    """Write the folders; GT as PNG, LQ as JPEG at a quarter of the size, results as PNG."""
    sets = Sets(gt=root / "gt", lq=root / "lq", soft=root / "soft", near=root / "near")
    crops = (data.coffee()[150:, 200:], data.astronaut()[60:, 180:], data.coffee()[250:, 100:])
    draws = np.random.default_rng(0)
    for name, crop in zip(NAMES, crops, strict=True):
        pixels = np.ascontiguousarray(crop[:side, : side + 16])
        gt = Image.fromarray(pixels)
        small = gt.resize((gt.width // 4, gt.height // 4), Image.Resampling.BICUBIC)
        noise = draws.normal(0, 3, pixels.shape)
        near = Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
        save(gt, sets.gt / f"{name}.png")
        save(small, sets.lq / f"{name}.jpg")
        save(small.resize(gt.size, Image.Resampling.BICUBIC), sets.soft / f"{name}.png")
        save(near, sets.near / f"{name}.png")
    return sets


def save(image: Image.Image, path: Path) -> None:
    """Write an image, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
