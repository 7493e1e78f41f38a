from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from hypir_cli.pixels.texture import TexturePredictor, texture_richness


def _pictures(count: int, *, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of very different detail, and their blurred partners."""
    rng = np.random.default_rng(seed)
    sharp, soft = [], []
    for _ in range(count):
        field = ndimage.gaussian_filter(rng.random((3, 48, 48)), (0, *[rng.uniform(0.5, 3)] * 2))
        field = (field - field.min()) / (field.max() - field.min())
        sharp.append(field)
        soft.append(ndimage.gaussian_filter(field, (0, 1.5, 1.5)))
    return torch.tensor(np.stack(sharp)).float(), torch.tensor(np.stack(soft)).float()


def test_richness_is_the_variance_of_the_laplacian_of_8_bit_luma() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3))
    luma = np.round(pixels @ np.array([0.299, 0.587, 0.114]))
    expected = ndimage.laplace(luma, mode="mirror").var()
    image = torch.tensor(pixels).permute(2, 0, 1)[None] / 255.0
    np.testing.assert_allclose(float(texture_richness(image)), expected, rtol=1e-5)


def test_a_flat_image_has_no_texture() -> None:
    assert float(texture_richness(torch.full((1, 3, 8, 8), 0.3))) == 0.0


def test_the_predictor_finds_the_clean_texture_behind_blur() -> None:
    predictor = TexturePredictor()
    gt, lq = _pictures(64, seed=0)
    for start in range(0, 64, 8):
        batch = slice(start, start + 8)
        predictor.update(predictor.statistics(lq[batch], gt[batch]))
    gt, lq = _pictures(32, seed=1)
    error = (predictor(lq).log() - texture_richness(gt).log()).abs().median()
    naive = (texture_richness(lq).log() - texture_richness(gt).log()).abs().median()
    assert error < 0.5 * naive


def test_the_predictor_does_not_care_how_pairs_are_batched() -> None:
    gt, lq = _pictures(8, seed=2)
    one, other = TexturePredictor(), TexturePredictor()
    one.update(one.statistics(lq, gt))
    other.update(other.statistics(lq[5:], gt[5:]))
    other.update(other.statistics(lq[:5], gt[:5]))
    torch.testing.assert_close(one.weight, other.weight)


def test_a_saved_predictor_predicts_the_same() -> None:
    gt, lq = _pictures(8, seed=3)
    predictor = TexturePredictor()
    predictor.update(predictor.statistics(lq, gt))
    assert torch.equal(TexturePredictor.from_tensors(predictor.state_dict())(lq), predictor(lq))
