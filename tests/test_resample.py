"""Windowed resampling equals torch's resampling of the whole image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hypir_cli.pixels.resample import AxisResampler, Resampler, resize

SIZES = [
    ((17, 23), (68, 92)),
    ((40, 31), (13, 7)),
    ((33, 65), (50, 64)),
    ((9, 200), (31, 55)),
    ((1, 1), (5, 3)),
    ((150, 3), (1, 1)),
    ((12, 12), (12, 12)),
    ((2, 3), (300, 200)),
]


def _image(size: tuple[int, int]) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=SIZES, ids=str)
def sizes(request: pytest.FixtureRequest) -> Any:
    """Size before, size after."""
    return request.param


@pytest.fixture(params=[True, False], ids=["antialias", "plain"])
def antialias(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_resizing_a_whole_image_equals_torch(sizes: Any, antialias: bool) -> None:
    in_size, out_size = sizes
    image = _image(in_size)
    result = resize(image, out_size, antialias=antialias)
    for reference, tolerance in ((image.double(), 2e-6), (image, 5e-5)):
        expected = F.interpolate(
            reference, out_size, mode="bicubic", align_corners=False, antialias=antialias
        )
        assert (result - expected).abs().max() < tolerance


def test_a_window_needs_only_its_source_window(sizes: Any, antialias: bool) -> None:
    in_size, out_size = sizes
    image = _image(in_size)
    whole = resize(image, out_size, antialias=antialias)
    resampler = Resampler(in_size, out_size, antialias=antialias)
    for rows in _windows(out_size[0]):
        for columns in _windows(out_size[1]):
            (top, bottom), (left, right) = resampler.source_window(rows, columns)
            source = image[:, :, top:bottom, left:right]
            window = resampler.apply(source, rows, columns)
            assert (window - whole[:, :, slice(*rows), slice(*columns)]).abs().max() < 5e-6


def test_the_source_of_a_window_is_small() -> None:
    start, stop = AxisResampler(10_000, 40_000, antialias=True).source_span(20_000, 20_512)
    assert stop - start <= 512 / 4 + 6


def test_a_constant_stays_constant() -> None:
    result = resize(torch.full((1, 1, 37, 53), 0.3), (11, 97), antialias=True)
    assert (result - 0.3).abs().max() < 1e-6


@pytest.mark.parametrize("window", [(-1, 4), (3, 3), (0, 11)])
def test_a_window_outside_the_image_is_refused(window: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="not inside"):
        AxisResampler(5, 10, antialias=False).source_span(*window)


def test_a_source_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        AxisResampler(5, 10, antialias=False).apply(torch.zeros(1, 3), 0, 10, dim=-1)


def test_an_empty_image_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        AxisResampler(0, 10, antialias=False)


def _windows(size: int) -> list[tuple[int, int]]:
    third = max(size // 3, 1)
    return [(0, third), (size - third, size), (size // 2, min(size // 2 + 3, size))]
