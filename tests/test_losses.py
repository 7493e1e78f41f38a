from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from hypir_cli.pixels.texture import smooth_richness, texture_richness
from hypir_cli.train.networks.losses import (
    discriminator_loss,
    generator_loss,
    grid_loss,
    log_pixel_loss,
    multilevel_bce,
    pixel_loss,
    spectrum_loss,
    texture_loss,
)

GOLDEN = load_file(Path(__file__).parent / "data" / "train" / "disc_loss.safetensors")
LOGITS = [GOLDEN[f"logits{level}"] for level in range(4)]


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("bce08_real", 0.8),
        ("bce08_G", 0.8),
        ("bce08_fake", 0.0),
        ("bce1_real", 1.0),
        ("bce1_G", 1.0),
        ("bce1_fake", 0.0),
    ],
)
def test_cross_entropy_over_levels_agrees_with_the_release(name: str, target: float) -> None:
    torch.testing.assert_close(multilevel_bce(LOGITS, target=target), GOLDEN[name][:, 0])


def test_the_smoothed_generator_loss_has_the_gradient_of_the_release() -> None:
    logits = [level.clone().requires_grad_() for level in LOGITS]
    generator_loss(logits, target=0.8).backward()
    for level, value in enumerate(logits):
        torch.testing.assert_close(value.grad, GOLDEN[f"bce08_G_mean_grad_logits{level}"])


def test_the_discriminator_loss_is_real_plus_fake() -> None:
    expected = (GOLDEN["bce08_real"] + GOLDEN["bce08_fake"]).mean()
    torch.testing.assert_close(discriminator_loss(LOGITS, LOGITS, real_target=0.8), expected)


@pytest.mark.parametrize(("target", "reverses"), [(0.8, True), (1.0, False)])
def test_only_a_smoothed_target_reverses_the_gradient_of_a_convincing_fake(
    target: float, reverses: bool
) -> None:
    logit = torch.tensor([[1.5]], requires_grad=True)
    generator_loss([logit], target=target).backward()
    assert logit.grad is not None
    assert (float(logit.grad) > 0) == reverses


def test_the_pixel_loss_is_measured_between_minus_one_and_one() -> None:
    black, white = torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    assert float(pixel_loss(black, white)) == 4.0


def test_a_decibel_counts_the_same_wherever_an_image_starts() -> None:
    target = torch.full((1, 3, 8, 8), 0.5)
    losses = [
        log_pixel_loss(target + 10 ** (-psnr / 20), target).item() for psnr in (18, 19, 24, 25)
    ]
    assert losses[1] - losses[0] == pytest.approx(-0.23, abs=0.01)
    assert losses[3] - losses[2] == pytest.approx(-0.23, abs=0.01)


def test_an_error_of_nothing_has_a_finite_gradient() -> None:
    images = torch.full((1, 3, 8, 8), 0.5, requires_grad=True)
    log_pixel_loss(images, images.detach()).backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()


def test_smooth_richness_is_the_statistic_without_its_rounding() -> None:
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        smooth_richness(images), texture_richness(images), rtol=0.02, atol=0.0
    )


def test_the_texture_distance_is_in_octaves_of_those_that_were_asked() -> None:
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    own = smooth_richness(images)
    asked = torch.stack([own[0] * 4.0, own[1], torch.tensor(torch.nan)])
    assert texture_loss(images, asked).item() == pytest.approx(1.0, abs=0.01)
    assert texture_loss(images, torch.full((3,), torch.nan)).item() == 0.0


def test_the_texture_distance_pulls_towards_what_is_asked() -> None:
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images.requires_grad_()
    (gradient,) = torch.autograd.grad(texture_loss(images, torch.tensor([10.0])), images)
    smoother = images.detach() - 0.1 * gradient / gradient.abs().max()
    assert smooth_richness(smoother) < smooth_richness(images)


def _photograph() -> torch.Tensor:
    """A centre crop of a sample photograph, (1, 3, 128, 128)."""
    path = Path(__file__).parent.parent / "examples" / "originals" / "coffee.jpg"
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    top, left = (side // 2 - 64 for side in pixels.shape[:2])
    crop = torch.from_numpy(pixels[top : top + 128, left : left + 128].copy())
    return crop.permute(2, 0, 1)[None].float() / 255.0


@pytest.mark.parametrize("kind", ["dots", "stripes"])
def test_detail_that_is_bound_to_the_grid_is_found_and_any_other_is_not(kind: str) -> None:
    target = _photograph()
    rows, columns = torch.arange(128)[:, None], torch.arange(128)[None]
    place = (rows % 4 == 0) & (columns % 4 == 0) if kind == "dots" else (rows + columns) % 4 == 0
    bound = target + 0.05 * place
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    assert grid_loss(target, target, cell=4).item() == 0.0
    assert grid_loss(bound, target, cell=4).item() > 0.5
    assert grid_loss(target + 0.05 * noise, target, cell=4).item() < 0.05


def test_the_grid_penalty_pulls_a_bound_pattern_down() -> None:
    target = torch.full((1, 3, 64, 64), 0.5)
    pattern = ((torch.arange(64)[:, None] + torch.arange(64)[None]) % 4 == 0) * 0.05
    images = (target + pattern).requires_grad_()
    (gradient,) = torch.autograd.grad(grid_loss(images, target, cell=4), images)
    assert (gradient * pattern).sum() > 0


def _patterns() -> dict[str, torch.Tensor]:
    rows, columns = torch.arange(128)[:, None], torch.arange(128)[None]
    signs = 1.0 - 2.0 * ((rows + columns) % 2).float()
    return {
        "checks": signs.expand(3, -1, -1),
        "hatching": torch.cos(2.2 * (rows + columns).float()).expand(3, -1, -1),
        "dots": ((rows % 4 == 0) & (columns % 4 == 0)).float().expand(3, -1, -1),
        "purple": torch.stack((signs, -signs, signs))
        * torch.tensor([1.0, 0.7, 1.0])[:, None, None],
    }


@pytest.mark.parametrize("pattern", ["checks", "hatching", "dots", "purple"])
def test_power_that_the_target_lacks_is_found_wherever_it_lies(pattern: str) -> None:
    target = _photograph()
    drawn = target + 0.03 * _patterns()[pattern]
    found = spectrum_loss(drawn, target).item()
    assert spectrum_loss(target, target).item() == 0.0
    assert found > 0.02
    shifted = target + 0.03 * _patterns()[pattern].roll((1, 2), dims=(-2, -1))
    assert spectrum_loss(shifted, target).item() == pytest.approx(found, rel=0.2)


@pytest.mark.parametrize("side", [16, 24, 64, 72, 96, 128, 136, 144])
def test_every_part_of_an_image_has_a_say_in_its_spectrum(side: int) -> None:
    target = torch.full((1, 3, side, side), 0.5)
    noise = 0.1 * torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    images = (target + noise).requires_grad_()
    (gradient,) = torch.autograd.grad(spectrum_loss(images, target), images)
    # The taper lets go of the outermost row and column.
    inner = gradient[..., 1 : side - 1, 1 : side - 1]
    assert (inner.abs().sum(1) > 0).float().mean() > 0.99
    for rows in (slice(0, side // 2), slice(side // 2, side)):
        part = target.clone()
        part[..., rows, side // 2 :] += noise[..., rows, side // 2 :]
        assert spectrum_loss(part, target).item() > 0


def test_power_that_is_missing_counts_as_much_as_asked() -> None:
    target = _photograph()
    soft = torch.nn.functional.avg_pool2d(target, 5, stride=1, padding=2, count_include_pad=False)
    softness = spectrum_loss(soft, target, lack=1.0).item()
    assert softness > 0.5
    assert spectrum_loss(soft, target).item() < 0.01 * softness
    assert spectrum_loss(soft, target, lack=0.5).item() == pytest.approx(0.5 * softness, rel=0.01)


def test_the_spectrum_penalty_pulls_a_pattern_down() -> None:
    pattern = 0.05 * _patterns()["hatching"][None]
    images = (_photograph() + pattern).requires_grad_()
    (gradient,) = torch.autograd.grad(spectrum_loss(images, _photograph()), images)
    assert gradient.isfinite().all()
    assert (gradient * pattern).sum() > 0


def test_small_and_flat_images_have_a_spectrum() -> None:
    flat = torch.full((2, 3, 16, 16), 0.5, requires_grad=True)
    loss = spectrum_loss(flat, torch.zeros(2, 3, 16, 16))
    (gradient,) = torch.autograd.grad(loss, flat)
    assert loss.item() == 0.0
    assert gradient.isfinite().all()
