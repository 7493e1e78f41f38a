"""Whether tiles show: the default tiling against one untiled pass on a photograph.

    python benchmarks/seams.py PHOTO [--side 1024] [--pictures DIR]

Seam energy is the squared gradient of the difference between the two results, across the rows and columns where tiles begin or
end, over that of all other rows and columns; and the same ratio for the tiled result itself against the untiled one. 1 is no seam.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hypir_cli.models.backbones.registry import load_backbone
from hypir_cli.pixels.tiling import AxisPlan
from hypir_cli.restore.restorer import Restorer, TileLimits, native_limits
from hypir_cli.restore.tile_pass import Request


def main() -> None:
    """Measure one photograph and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", type=Path)
    parser.add_argument("--side", type=int, default=1024, help="centre crop or enlargement, px")
    parser.add_argument("--backbone", default="tiny")
    parser.add_argument("--pictures", type=Path, help="folder for the results and their difference")
    options = parser.parse_args()
    picture = Image.open(options.photo).convert("RGB")
    scale = options.side / min(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(picture)[: options.side, : options.side].copy()
    print(json.dumps(measure(pixels, options.backbone, options.pictures), indent=2))


def measure(pixels: np.ndarray, name: str, pictures: Path | None) -> dict[str, object]:
    """Seam energies of one image."""
    backbone = load_backbone(name)
    with torch.inference_mode():
        prompt = backbone.encode_prompts([""])
    traits = backbone.traits
    request = Request(prompt=prompt, timestep=traits.timestep, coeff_timestep=traits.coeff_timestep)
    side = max(pixels.shape)
    tiled_by = Restorer(backbone, limits=native_limits(backbone))
    whole_by = Restorer(backbone, limits=TileLimits(largest=2 * side, overlap=0, batch=1))
    tiled = tiled_by.restore(pixels, request=request).astype(np.float64)
    whole = whole_by.restore(pixels, request=request).astype(np.float64)
    plan = tiled_by.plan(*pixels.shape[:2])
    difference = tiled - whole
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        for label, values in (
            ("tiled", tiled),
            ("whole", whole),
            ("difference x16", difference * 16 + 128),
        ):
            Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(pictures / f"{label}.png")
    return {
        "tiles": plan.count,
        "tile": plan.rows.tile,
        "largest_difference_levels": float(abs(difference).max()),
        "mean_difference_levels": float(abs(difference).mean()),
        "border_over_interior_tiled": seam_ratio(tiled, plan.rows, plan.columns),
        "border_over_interior_whole": seam_ratio(whole, plan.rows, plan.columns),
    }


def seam_ratio(image: np.ndarray, rows: AxisPlan, columns: AxisPlan) -> float:
    """Mean squared gradient across tile borders over that everywhere else."""
    border, interior = [], []
    for axis, plan in ((0, rows), (1, columns)):
        energy = np.square(np.diff(image, axis=axis)).mean(axis=(1 - axis, 2))
        edges = {edge for start in plan.starts for edge in (start, start + plan.tile)}
        at = np.array([index + 1 in edges for index in range(len(energy))])
        border.extend(energy[at])
        interior.extend(energy[~at])
    return float(np.mean(border) / np.mean(interior)) if border else 1.0


if __name__ == "__main__":
    main()
