"""What is not a network computes the same inside an autocast block as outside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from hypir_cli.config.degradation import degradation_config
from hypir_cli.pixels.jpeg import jpeg
from hypir_cli.pixels.metrics.fidelity import psnr, ssim
from hypir_cli.pixels.texture import TexturePredictor, smooth_richness, texture_richness
from hypir_cli.train.degradation import Degrader, usm_sharpen
from hypir_cli.train.degradation.filtering import filter2d, gaussian_blur
from hypir_cli.train.degradation.kernels import gaussian_family_kernel
from hypir_cli.train.networks.losses import grid_loss, image_loss, spectrum_loss, texture_loss

KERNEL = gaussian_family_kernel("iso", size=7, sigma_x=1.5, sigma_y=1.5)[None]


def _degraded(images: Tensor, preset: str) -> Tensor:
    keys = [(0, 0, number) for number in range(len(images))]
    return Degrader(degradation_config(preset)).degrade(images, keys)


WORK: dict[str, Callable[[Tensor], Any]] = {
    "texture_richness": texture_richness,
    "smooth_richness": smooth_richness,
    "texture statistics": lambda x: TexturePredictor().statistics(x, x),
    "texture prediction": TexturePredictor().forward,
    "jpeg": lambda x: jpeg(x, quality=40),
    "jpeg standard": lambda x: jpeg(x, quality=40, coder="standard"),
    "psnr": lambda x: psnr(x, x.flip(-1)),
    "ssim": lambda x: ssim(x, x.flip(-1)),
    "sharpening": usm_sharpen,
    "filter2d": lambda x: filter2d(x, KERNEL),
    "gaussian_blur": lambda x: gaussian_blur(x, sigma=1.5),
    "realesrgan": lambda x: _degraded(x, "realesrgan"),
    "light": lambda x: _degraded(x, "light"),
    "photo-print": lambda x: _degraded(x, "photo-print"),
    "log-l1": lambda x: image_loss(x, x.flip(-1), kind="log-l1"),
    "mse": lambda x: image_loss(x, x.flip(-1), kind="mse"),
    "texture_loss": lambda x: texture_loss(x, texture_richness(x.flip(-1)) * 2.0),
    "grid_loss": lambda x: grid_loss(x, x.flip(-1), cell=4),
    "spectrum_loss": lambda x: spectrum_loss(x, x.flip(-1) / 2.0),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("name", WORK)
def test_arithmetic_with_pixels_ignores_autocast(name: str, dtype: torch.dtype) -> None:
    images = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    expected = WORK[name](images)
    with torch.autocast("cpu", dtype=dtype):
        found = WORK[name](images)
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)


def test_texture_beyond_the_range_of_float16_is_measured_under_autocast() -> None:
    checks = (torch.arange(64)[:, None] + torch.arange(64)[None]).remainder(2).float()
    images = checks.expand(1, 3, -1, -1)
    with torch.autocast("cpu", dtype=torch.float16):
        richness = texture_richness(images)
    assert 65504.0 < float(richness) < 4e6
    assert float(texture_richness(images.half())) == pytest.approx(float(richness))
