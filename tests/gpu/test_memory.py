"""Full-size networks with random weights: they run at 1024 pixels, in the memory that `hypir info` says.

Where there is no GPU the same lines run on torch's meta device, which has shapes and no numbers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from hypir_cli.models.memory import memory_row

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
SIDE = 1024
PLACES = [
    pytest.param("meta", marks=pytest.mark.slow),
    *([pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else []),
]


def full(name, place):
    from full_models import build_full, random_prompt

    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(place):
            backbone, prompt = build_full(name), random_prompt(name)
    finally:
        torch.set_default_dtype(usual)
    backbone.release_text_encoders()
    return backbone, prompt


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_a_tile_of_1024_pixels_fits_what_the_memory_table_says(family, where):
    backbone, prompt = full(family, where)
    images = torch.rand(1, 3, SIDE, SIDE, device=where)
    timestep = torch.tensor(200, device=where)
    if where == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with torch.inference_mode():
        latents = backbone.encode(images)
        output = backbone.denoise(latents, prompt=prompt, timestep=timestep)
        image = backbone.decode(backbone.predict_clean(latents, output, timestep=timestep))
    assert image.shape == images.shape
    row = memory_row(family, dtype="bf16", quantize="none", tile=SIDE)
    if where == "cuda":
        assert image.isfinite().all()
        assert 0.5 * row.restoring < torch.cuda.max_memory_allocated() < 1.1 * row.restoring
    else:
        assert row.restoring > sum(
            value.numel() * value.element_size()
            for module in backbone.components().values()
            for value in module.parameters()
        )
