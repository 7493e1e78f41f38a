"""Tiles of the embedded backbone do not show."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from hypir_cli.models.backbones.registry import load_backbone
from hypir_cli.restore.restorer import Restorer, TileLimits
from hypir_cli.restore.tile_pass import Request
from tests.pictures import PHOTOS

PHOTO = PHOTOS / "raccoon.jpg"


def test_a_tiled_photograph_equals_the_untiled_one_within_two_levels() -> None:
    backbone = load_backbone("tiny")
    traits = backbone.traits
    with torch.inference_mode():
        prompt = backbone.encode_prompts([""])
    request = Request(prompt=prompt, timestep=traits.timestep, coeff_timestep=traits.coeff_timestep)
    with Image.open(PHOTO) as picture:
        pixels = np.asarray(picture)[:256, :320].copy()

    def restored(largest: int) -> np.ndarray:
        limits = TileLimits(largest=largest, overlap=64, batch=1)
        return Restorer(backbone, limits=limits).restore(pixels, request=request).astype(int)

    difference = np.abs(restored(192) - restored(320))
    assert difference.mean() < 0.05
    assert np.quantile(difference, 0.999) <= 2
