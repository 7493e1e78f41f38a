"""Degrade photographs with fixed seeds, restore them with `tiny` in one piece, and score both against the originals.

python examples/tiny/score.py PHOTOS_DIR [--weights DIR] [--texture 500 | --own-texture] [--pictures DIR]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from prepare import as_images
from torch import Tensor

from hypir_cli.backbones.controls import Controls
from hypir_cli.backbones.tiny import TinyBackbone
from hypir_cli.config.degradation import degradation_config
from hypir_cli.metrics.fidelity import psnr, ssim
from hypir_cli.prediction import mix_noise
from hypir_cli.texture import texture_richness
from hypir_cli.train.degradation import Degrader
from hypir_cli.train.perceptual import PerceptualDistance, build_perceptual

PRESETS = ("light", "realesrgan")
SEED = 2026
COLUMNS = "PSNR, SSIM, ST-LPIPS and texture richness of the input, the same of the output"


def main() -> None:
    """Parse, score, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos_dir", type=Path)
    parser.add_argument("--weights", type=Path, help="folder; the embedded weights if absent")
    parser.add_argument("--texture", type=float, default=math.nan, help="asked of every photograph")
    parser.add_argument("--own-texture", action="store_true", help="ask for the original's")
    parser.add_argument("--generativity", type=float, default=0.0)
    parser.add_argument("--pictures", type=Path, help="where crops input | output | original go")
    arguments = parser.parse_args()
    backbone = TinyBackbone.load(arguments.weights)
    perceptual = build_perceptual("stlpips")
    assert perceptual is not None
    print(COLUMNS)
    for preset in PRESETS:
        rows = []
        for name, gt, lq in pairs(arguments.photos_dir, preset=preset):
            texture = texture_richness(gt) if arguments.own_texture else arguments.texture
            controls = Controls(
                texture=torch.as_tensor(texture).reshape(1),
                generativity=torch.tensor([arguments.generativity]),
            )
            image = restore(backbone, lq, controls=controls)
            rows.append(scores(lq, gt, perceptual) + scores(image, gt, perceptual))
            print_row(f"{preset} {name}", rows[-1])
            if arguments.pictures is not None:
                save_strip([lq, image, gt], arguments.pictures / f"{preset}_{name}.png")
        print_row(f"{preset} mean", list(np.array(rows).mean(axis=0)))


def pairs(photos_dir: Path, *, preset: str) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, original and degraded photograph, each (1, 3, H, W) with sides cut to multiples of 16."""
    degrader = Degrader(degradation_config(preset))
    for index, path in enumerate(sorted(photos_dir.glob("*.*"))):
        photo = np.asarray(Image.open(path).convert("RGB"))
        height, width = (side // 16 * 16 for side in photo.shape[:2])
        gt = as_images(photo[None, :height, :width])
        yield path.stem, gt, degrader.degrade(gt, [(SEED, 0, index)])


@torch.inference_mode()
def restore(backbone: TinyBackbone, lq: Tensor, *, controls: Controls) -> Tensor:
    """Restored photograph (1, 3, H, W) in whole 8-bit levels of 0..1."""
    assert controls.generativity is not None
    timestep = torch.tensor(backbone.traits.timestep)
    latents = backbone.encode(lq)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(SEED))
    latents = mix_noise(latents, noise, level=controls.generativity)
    output = backbone.denoise(
        latents, prompt=backbone.encode_prompts([""]), timestep=timestep, controls=controls
    )
    clean = backbone.predict_clean(latents, output, timestep=timestep)
    return (backbone.decode(clean).clamp(0.0, 1.0) * 255.0).round() / 255.0


@torch.inference_mode()
def scores(image: Tensor, gt: Tensor, perceptual: PerceptualDistance) -> list[float]:
    """PSNR (dB), SSIM, ST-LPIPS and texture richness of an image (1, 3, H, W)."""
    values = (psnr(image, gt), ssim(image, gt), perceptual(image, gt), texture_richness(image))
    return [value.item() for value in values]


def print_row(name: str, values: list[float]) -> None:
    """One line of the table."""
    print(f"{name:40s}" + "".join(f"{value:10.4g}" for value in values), flush=True)


def save_strip(images: list[Tensor], path: Path, *, side: int = 224, zoom: int = 2) -> None:
    """The middle squares of some images beside each other, enlarged without smoothing."""
    side = min(side, *images[0].shape[2:])
    top, left = ((size - side) // 2 for size in images[0].shape[2:])
    strip = torch.cat([image[0, :, top : top + side, left : left + side] for image in images], 2)
    pixels = (strip.permute(1, 2, 0) * 255).round().byte().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.repeat(zoom, 0).repeat(zoom, 1)).save(path)


if __name__ == "__main__":
    main()
