"""The grid score finds screens of dots and blocks, and leaves natural spectra alone."""

from __future__ import annotations

import pytest
import torch

from hypir_cli.evaluate.registry import default_metrics
from hypir_cli.pixels.metrics.grid import grid_score


def natural(seed: int, *, side: int = 256) -> torch.Tensor:
    """Random image whose amplitude falls as one over the frequency, as photographs' does."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, 3, side, side, generator=generator)
    rows, columns = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None]
    fall = 1.0 / (rows.square() + columns.square()).sqrt().clamp(min=1.0 / side)
    image = torch.fft.irfft2(torch.fft.rfft2(noise) * fall, s=(side, side))
    image = 0.5 + 0.15 * image / image.std()
    return ((image.clamp(0.0, 1.0) * 255.0).round() / 255.0).float()


@pytest.mark.parametrize("seed", range(4))
def test_natural_spectra_score_one(seed: int) -> None:
    assert grid_score(natural(seed)).item() == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("period", [2, 4, 8])
def test_a_faint_screen_of_dots_raises_the_score(period: int) -> None:
    plain = natural(0)
    dotted = plain.clone()
    dotted[..., ::period, ::period] += 0.06
    assert grid_score(dotted) > 1.1 * grid_score(plain)


def test_stripes_along_either_axis_count_alike() -> None:
    plain = natural(1)
    striped = plain.clone()
    striped[..., ::4] += 0.02
    upright, level = grid_score(striped), grid_score(striped.mT)
    torch.testing.assert_close(upright, level)
    assert upright > 1.15


def test_a_flat_image_has_no_pattern() -> None:
    assert grid_score(torch.full((1, 3, 64, 64), 0.5)).item() == pytest.approx(1.0, abs=1e-3)


def test_each_image_of_a_batch_has_its_own_score_in_any_dtype() -> None:
    images = torch.cat([natural(2), natural(3)])
    together = grid_score(images)
    assert together.shape == (2,)
    torch.testing.assert_close(together[1:], grid_score(images[1:]))
    assert grid_score(images.bfloat16()).dtype == torch.float32


def test_an_image_below_one_window_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 64 pixels, got 200x63"):
        grid_score(torch.rand(1, 3, 63, 200))


def test_the_score_is_among_the_metrics_without_a_partner() -> None:
    assert "grid-score" in default_metrics(gt=False, lq=False)
