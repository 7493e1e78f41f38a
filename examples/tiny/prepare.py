"""Cut sharp crops out of a folder of photographs and degrade each of them several times, once and for all.

    python examples/tiny/prepare.py PHOTOS_DIR CROPS_DIR

Writes `gt.npy` (N, size, size, 3), `lq.npy` (versions, N, size, size, 3), both uint8, and `texture.npy` (N,): the texture
richness of the photograph (at the crop's scale) that each crop comes from. Training reads these files and nothing else.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hypir_cli.config.degradation import degradation_config
from hypir_cli.texture import texture_richness
from hypir_cli.train.degradation import Degrader

SIZE = 160
"""Side of a crop in pixels."""
VERSIONS = 4
"""Degraded versions of each crop."""
VIEWS_PER_PHOTO = 4
"""How many sizes each photograph is used at; a smaller view is sharper."""
KEEP_SHARPEST = 0.7
"""Chance that a crop is the sharpest of three draws instead of the first."""
PRESETS = ("light", "realesrgan")
"""Degradations of the versions, in turn."""


def main() -> None:
    """Parse and prepare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos_dir", type=Path)
    parser.add_argument("crops_dir", type=Path)
    parser.add_argument("--crops", type=int, default=4000, help="number of crops")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    prepare(arguments.photos_dir, arguments.crops_dir, count=arguments.crops, seed=arguments.seed)


def prepare(photos_dir: Path, crops_dir: Path, *, count: int, seed: int) -> None:
    """Cut, degrade, write."""
    crops_dir.mkdir(parents=True, exist_ok=True)
    cut = list(crops(photos_dir, count=count, size=SIZE, seed=seed))
    order = np.random.default_rng(seed).permutation(len(cut))
    clean = np.stack([cut[index][0] for index in order])
    np.save(crops_dir / "gt.npy", clean)
    np.save(crops_dir / "texture.npy", np.array([cut[index][1] for index in order]))
    versions = [degrade(clean, version, seed=seed) for version in range(VERSIONS)]
    np.save(crops_dir / "lq.npy", np.stack(versions))
    print(f"{len(clean)} crops, {VERSIONS} degraded versions each: {crops_dir}")


def crops(
    photos_dir: Path, *, count: int, size: int, seed: int
) -> Iterator[tuple[np.ndarray, float]]:
    """Pairs (crop (size, size, 3) uint8, texture of the photograph it was cut from)."""
    random = np.random.default_rng(seed)
    paths = sorted(p for p in photos_dir.iterdir() if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
    per_view = max(1, count // (len(paths) * VIEWS_PER_PHOTO))
    for path in paths:
        photo = Image.open(path).convert("RGB")
        lowest = min(1.0, 2 * size / min(photo.size))
        for _ in range(VIEWS_PER_PHOTO):
            factor = float(np.exp(random.uniform(np.log(max(0.35, lowest)), 0.0)))
            view = np.asarray(
                photo.resize(
                    [round(side * factor) for side in photo.size], Image.Resampling.LANCZOS
                )
            )
            texture = richness(view)
            for _ in range(per_view):
                yield sharp_crop(view, size=size, random=random), texture


def sharp_crop(view: np.ndarray, *, size: int, random: np.random.Generator) -> np.ndarray:
    """A crop (size, size, 3) at a random place, mostly one of the sharper places."""
    height, width = view.shape[:2]
    draws = []
    for _ in range(3):
        top, left = random.integers(height - size + 1), random.integers(width - size + 1)
        draws.append(view[top : top + size, left : left + size])
    return max(draws, key=richness) if random.random() < KEEP_SHARPEST else draws[0]


def richness(image: np.ndarray) -> float:
    """Texture richness of an (H, W, 3) uint8 image."""
    return texture_richness(as_images(image[None])).item()


def as_images(squares: np.ndarray) -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) in 0..1."""
    return torch.from_numpy(np.array(squares)).permute(0, 3, 1, 2).float() / 255.0


def degrade(clean: np.ndarray, version: int, *, seed: int, batch: int = 60) -> np.ndarray:
    """One degraded version of all crops: (N, size, size, 3) uint8."""
    degrader = Degrader(degradation_config(PRESETS[version % len(PRESETS)]))
    done = []
    for start in range(0, len(clean), batch):
        images = as_images(clean[start : start + batch])
        keys = [(seed, version, start + index) for index in range(len(images))]
        lq = degrader.degrade(images, keys=keys)
        done.append((lq * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(done)


if __name__ == "__main__":
    main()
