"""Colour transfer agrees with the published operator and can be streamed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from hypir_cli.pixels.color import (
    COLOR_HALO,
    ChannelMoments,
    ColorFix,
    adain,
    color_fix,
    luma,
    moments,
    wavelet,
)

DATA = Path(__file__).parent / "data" / "color"


def _noise(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["wavelet_b2", "wavelet_channel0"])
def test_wavelet_equals_the_published_operator(name: str) -> None:
    golden = load_file(DATA / f"{name}.safetensors")
    result = color_fix(golden["content"], golden["style"], "wavelet")
    assert (result - golden["out"]).abs().max() < 2e-6


def test_wavelet_of_an_image_on_itself_is_the_image() -> None:
    image = _noise(1, 3, 20, 70, seed=0)
    assert torch.equal(wavelet(image, image), image)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (3, 7)])
def test_wavelet_takes_images_smaller_than_its_radius(size: tuple[int, int]) -> None:
    restored, reference = _noise(1, 3, *size, seed=1), _noise(1, 3, *size, seed=2)
    assert wavelet(restored, reference).shape == restored.shape


@pytest.mark.parametrize("mode", ["wavelet", "none"])
@pytest.mark.parametrize("strip", [5, 32, 100])
def test_strips_with_a_halo_equal_the_whole(mode: ColorFix, strip: int) -> None:
    restored, reference = _noise(1, 3, 150, 40, seed=3), _noise(1, 3, 150, 40, seed=4)
    whole = color_fix(restored, reference, mode)
    halo = COLOR_HALO[mode]
    for start in range(0, 150, strip):
        stop = min(start + strip, 150)
        low, high = max(start - halo, 0), min(stop + halo, 150)
        part = color_fix(restored[:, :, low:high], reference[:, :, low:high], mode)
        centre = part[:, :, start - low : stop - low]
        assert (centre - whole[:, :, start:stop]).abs().max() < 1e-6


def test_the_wavelet_halo_is_not_larger_than_needed() -> None:
    restored, reference = torch.zeros(1, 1, 80, 4), torch.zeros(1, 1, 80, 4)
    reference[:, :, 0] = 1.0
    touched = wavelet(restored, reference)[0, 0, :, 0].nonzero().max()
    assert touched == COLOR_HALO["wavelet"]


def test_adain_gives_the_reference_mean_and_deviation() -> None:
    restored = 0.2 * _noise(1, 3, 30, 50, seed=5)
    reference = 0.5 + 0.4 * _noise(1, 3, 30, 50, seed=6)
    result = moments(color_fix(restored, reference, "adain"))
    assert torch.allclose(result.mean, moments(reference).mean, atol=1e-6)
    assert torch.allclose(result.std, moments(reference).std, atol=1e-6)


def test_streamed_adain_equals_the_whole() -> None:
    restored, reference = _noise(1, 3, 61, 33, seed=7), _noise(1, 3, 61, 33, seed=8)
    source, target = ChannelMoments(), ChannelMoments()
    for start in range(0, 61, 7):
        source.update(restored[:, :, start : start + 7])
        target.update(reference[:, :, start : start + 7])
    strips = [adain(part, source=source, target=target) for part in restored.split(7, dim=2)]
    whole = color_fix(restored, reference, "adain")
    assert (torch.cat(strips, dim=2) - whole).abs().max() < 1e-6


def test_adain_treats_each_image_of_a_batch_alone() -> None:
    restored, reference = _noise(2, 3, 9, 9, seed=9), _noise(2, 3, 9, 9, seed=10)
    batch = color_fix(restored, reference, "adain")
    alone = color_fix(restored[1:], reference[1:], "adain")
    assert torch.equal(batch[1:], alone)


def test_adain_only_shifts_a_flat_image() -> None:
    result = color_fix(torch.full((1, 3, 4, 4), 0.25), _noise(1, 3, 4, 4, seed=11), "adain")
    assert result.isfinite().all()
    assert result.std() < 0.5


def test_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        color_fix(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 5), "wavelet")


def test_luma_of_grey_is_grey() -> None:
    grey = _noise(1, 1, 5, 5, seed=12)
    assert torch.allclose(luma(grey.expand(1, 3, 5, 5)), grey)
