"""The autoencoder of `tiny` without a grid: overlapping projections and a path that enlarges, started from a trained one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from hypir_cli.models.backbones.tiny.backbone import TinyBackbone
from hypir_cli.models.backbones.tiny.vae import TinyVAE, TinyVAEConfig
from hypir_cli.pixels.metrics.fidelity import psnr
from tests.pictures import EXAMPLES, PHOTOS

EXAMPLE = EXAMPLES / "tiny"
PHOTO = PHOTOS / "raccoon.jpg"


def overlap() -> Any:
    """The recipe's script as a module."""
    if str(EXAMPLE) not in sys.path:
        sys.path.insert(0, str(EXAMPLE))
    return __import__("overlap")


def photo() -> torch.Tensor:
    """(1, 3, 128, 128) in 0..1."""
    with Image.open(PHOTO) as picture:
        pixels = np.asarray(picture)[:128, :128].copy()
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255.0


def of_patches() -> TinyBackbone:
    """A backbone whose autoencoder is the principal components of single patches of the photograph."""
    torch.manual_seed(0)
    vae = TinyVAE(TinyVAEConfig(hidden=8, num_blocks=1))
    rows = functional.pixel_unshuffle(2.0 * photo() - 1.0, 4)
    vae.start_from_patches(rows.permute(0, 2, 3, 1).reshape(-1, 48))
    return TinyBackbone.load().with_vae(vae)


def patches() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(500, 48, generator=generator) @ torch.randn(48, 48, generator=generator)


@pytest.mark.parametrize("config", [{"basis": 2}, {"basis": 0}, {"enlarge": (8,)}])
def test_sizes_that_cannot_be_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"basis must be odd|enlarge must double"):
        TinyVAEConfig(**config)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_enlarging_path_adds_nothing_before_training(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    plain = TinyVAE(TinyVAEConfig(hidden=8, num_blocks=1))
    plain.start_from_patches(patches())
    enlarging = TinyVAE(TinyVAEConfig(hidden=8, num_blocks=1, enlarge=(6, 4), finish=4))
    enlarging.load_state_dict(plain.state_dict(), strict=False)
    latents = torch.randn(2, 32, 5, 7, dtype=dtype)
    with torch.no_grad():
        one, other = plain.to(dtype).decode(latents), enlarging.to(dtype).decode(latents)
    assert other.shape == (2, 3, 20, 28)
    assert torch.equal(one, other)


def test_overlapping_projections_start_where_single_patches_do() -> None:
    plain, wide = (TinyVAE(TinyVAEConfig(basis=basis)) for basis in (1, 3))
    for vae in (plain, wide):
        vae.start_from_patches(patches())
    torch.testing.assert_close(plain.latent_scale(), wide.latent_scale())
    images = torch.rand(1, 3, 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(
            plain.encoder.projection(functional.pixel_unshuffle(images, 4)),
            wide.encoder.projection(functional.pixel_unshuffle(images, 4)),
        )


def test_the_filter_across_borders_is_orthogonal_and_leaves_flat_images_alone() -> None:
    script = overlap()
    matrix = script.border_matrix(script.ANGLE)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(matrix @ torch.ones(4), torch.ones(4))
    torch.testing.assert_close(script.border_matrix(0.0), torch.eye(4))


def test_the_filter_as_a_convolution_of_patches_is_undone_inside_the_image() -> None:
    script = overlap()
    there, back = script.filtering(4), script.filtering(4, undo=True)
    rows = torch.randn(1, 48, 6, 6)
    moved = functional.conv2d(rows, there, padding=1)
    again = functional.conv2d(moved, back, padding=1)
    torch.testing.assert_close(again[..., 2:-2, 2:-2], rows[..., 2:-2, 2:-2], atol=1e-5, rtol=0)
    pixels = functional.pixel_shuffle(rows, 4)
    matrix = script.border_matrix(script.ANGLE)
    for axis in (2, 3):
        pixels = script.across_borders(pixels, matrix, axis=axis, patch=4)
    expected = functional.pixel_unshuffle(pixels, 4)[..., 1:-1, 1:-1]
    torch.testing.assert_close(moved[..., 1:-1, 1:-1], expected, atol=1e-5, rtol=0)


def test_an_error_of_the_latent_reaches_into_the_neighbouring_patches() -> None:
    backbone = overlap().overlapping(of_patches())
    latents = torch.zeros(1, 32, 5, 5)
    moved = latents.clone()
    moved[0, 1:4, 2, 2] = 1.0
    with torch.no_grad():
        change = (backbone.decode(moved) - backbone.decode(latents)).abs().sum(1)[0]
    assert change[8:12, 6:8].max() > 0.05 * change.max()


def test_the_converted_backbone_starts_near_the_old_one_and_survives_the_disk(
    tmp_path: Path,
) -> None:
    old = of_patches()
    new = overlap().overlapping(of_patches())
    images = photo()
    with torch.no_grad():
        before = psnr(old.decode(old.encode(images)).clamp(0, 1), images)
        after = psnr(new.decode(new.encode(images)).clamp(0, 1), images)
    assert before > 38.0
    assert after > before - 6.0
    new.save(tmp_path, dtype=torch.float32)
    loaded = TinyBackbone.load(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.decode(loaded.encode(images)), new.decode(new.encode(images))
        )
