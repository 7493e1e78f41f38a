"""Ground truth and its degraded copies for `peers.py`, and the rule by which results are reused.

Everything works like make: a file is rewritten only when its content changes, and a result counts as done while it is not
older than the degraded image it came from. So the slow peers run once, and no result outlives its input.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hypir_cli.config.degradation import DegradationConfig, preset_values
from hypir_cli.config.schema import resolve
from hypir_cli.images import READABLE_SUFFIXES
from hypir_cli.train.data.photos import read_photo
from hypir_cli.train.degradation.folder import degrade_folder


@dataclass(frozen=True, kw_only=True)
class PhotoSet:
    """The photographs of one preset."""

    preset: str
    """Degradation preset."""
    scale: int
    """Result side / input side."""
    folder: Path
    """Holds gt, lq and one folder per arm."""
    names: tuple[str, ...]
    """File stems, sorted."""

    @property
    def baseline(self) -> str:
        """The arm that does nothing: what every restorer has to beat."""
        return "input" if self.scale == 1 else "bicubic"

    def path(self, arm: str, name: str) -> Path:
        """Picture of an arm; `gt` and `lq` count as arms."""
        return self.folder / arm / f"{name}.png"

    def missing(self, arm: str) -> list[str]:
        """Names whose result is not there, or older than its input."""
        return [
            name
            for name in self.names
            if not _is_fresh(self.path(arm, name), self.path("lq", name))
        ]


SEED = 0
"""Seed of the degradation."""
CLEAN = "clean"
"""Preset that degrades nothing: a default run has to leave good photographs alone."""


def prepare(
    photos: Path, out_dir: Path, *, preset: str, count: int | None, crop: int | None
) -> PhotoSet:
    """Write the ground truth, cut to whole multiples of the scale, and what `hypir degrade` makes of it.

    Args:
        photos: Folder of clean photographs.
        out_dir: Gets one folder per preset.
        preset: Degradation preset, or `CLEAN`.
        count: Only the first so many photographs; None is all.
        crop: Side in pixels of the centre crop taken from each; None is all of it. Crops have a folder of their own.
    """
    config = None if preset == CLEAN else _degradation(preset)
    scale = 1 if config is None else config.scale
    folder = out_dir / (f"{preset}-crop{crop}" if crop else preset)
    files = sorted(file for file in photos.iterdir() if file.suffix.lower() in READABLE_SUFFIXES)
    files = files[:count]
    if not files:
        raise SystemExit(f"there are no photographs in {photos}")
    with tempfile.TemporaryDirectory() as scratch:
        gt, lq = Path(scratch, "gt"), Path(scratch, "lq")
        gt.mkdir()
        for file in files:
            photo = cut(read_photo(file, name=file.name), side=crop, multiple=scale)
            Image.fromarray(photo).save(gt / f"{file.stem}.png")
        if config is not None:
            degrade_folder(gt, lq, config=config, preset=preset, seed=SEED)
        for name, part in (("gt", gt), ("lq", gt if config is None else lq)):
            _copy_changes(part, folder / name)
    names = tuple(sorted({file.stem for file in files}))
    return PhotoSet(preset=preset, scale=scale, folder=folder, names=names)


def _degradation(preset: str) -> DegradationConfig:
    layer = (f"preset {preset}", preset_values(preset))
    return resolve(DegradationConfig, layers=[layer, ("benchmark", {"output": "small"})])


def cut(photo: np.ndarray, *, side: int | None, multiple: int) -> np.ndarray:
    """Centre of a photograph (H, W, 3): at most `side` long, whole multiples of `multiple`, starting at one too."""
    for axis in (0, 1):
        length = photo.shape[axis]
        size = min(side or length, length) // multiple * multiple
        start = (length - size) // 2 // multiple * multiple
        photo = photo.take(range(start, start + size), axis=axis)
    return photo


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    """(1, 3, H, W), 0..1, of 8-bit (H, W, 3)."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float() / 255


def read_pixels(path: Path) -> np.ndarray:
    """8-bit (H, W, 3) of a PNG."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def _is_fresh(result: Path, source: Path) -> bool:
    return result.exists() and result.stat().st_mtime >= source.stat().st_mtime


def _copy_changes(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        content, copy = file.read_bytes(), target / file.name
        if not copy.exists() or copy.read_bytes() != content:
            copy.write_bytes(content)
