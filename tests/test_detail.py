"""The strength of fine detail that gives an image the asked texture richness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hypir_cli.config.restore import ControlConfig, RestoreConfig
from hypir_cli.images import read_image
from hypir_cli.images.data import Pixels
from hypir_cli.pixels import detail
from hypir_cli.pixels.detail import DetailStatistics, detail_statistics, match_texture
from hypir_cli.pixels.texture import texture_richness
from hypir_cli.restore.engine import Engine

PHOTO = Path(__file__).parent.parent / "examples" / "photos" / "coffee.jpg"


def picture(*, height: int = 90, width: int = 70, channels: int = 3, bits: int = 8) -> Pixels:
    """Structure of several sizes in the middle of the range."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    waves = 20 * np.sin(rows / 7) + 15 * np.cos(columns / 3)
    grain = random.normal(0, 4, (height, width, channels))
    levels = np.clip(128 + waves[..., None] + grain, 0, 255)
    kind, factor = (np.uint8, 1) if bits == 8 else (np.uint16, 257)
    return (levels * factor).round().astype(kind)


def richness(pixels: Pixels) -> float:
    """The statistic itself."""
    planes = torch.from_numpy(pixels.astype(np.float32) / np.iinfo(pixels.dtype).max)
    return float(texture_richness(planes.permute(2, 0, 1)[None].expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_the_result_has_the_richness(channels: int, bits: int, factor: float) -> None:
    pixels = picture(channels=channels, bits=bits)
    wanted = factor * richness(pixels)
    gain = match_texture(pixels, wanted, least=0.1, most=10.0)
    # The statistic counts the rounding of the luma to whole levels, too.
    assert richness(pixels) == pytest.approx(wanted, rel=0.05, abs=4.0)
    assert (gain < 1.0) == (factor < 1.0) or factor == 1.0


def test_the_quadratic_is_that_of_the_statistic() -> None:
    pixels = picture()
    assert detail_statistics(pixels, core=2.0).richness(0.0) == pytest.approx(
        richness(pixels), rel=0.02
    )


def test_strips_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = picture(height=97), picture(height=97)
    first = match_texture(whole, 3000.0, least=0.1, most=10.0)
    monkeypatch.setattr(detail, "STRIP_PIXELS", 7 * 70)
    second = match_texture(cut, 3000.0, least=0.1, most=10.0)
    assert first == pytest.approx(second, rel=1e-6)
    assert np.abs(whole.astype(int) - cut.astype(int)).max() <= 1
    assert (whole != cut).mean() < 0.001


def test_limits_hold_and_a_flat_image_stays() -> None:
    pixels = picture()
    assert match_texture(pixels, 1e6, least=0.5, most=1.5) == 1.5
    assert match_texture(picture(), 1e-3, least=0.5, most=1.5) == 0.5
    flat = np.full((20, 30, 3), 77, dtype=np.uint8)
    match_texture(flat, 3000.0, least=0.5, most=3.0)
    assert (flat == 77).all()
    assert DetailStatistics(image=0.0, mixed=0.0, detail=0.0).added_for(5.0) == 0.0


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3), (5, 300)])
def test_images_smaller_than_the_halo_work(shape: tuple[int, int]) -> None:
    pixels = picture(height=shape[0], width=shape[1])
    before = pixels.copy()
    match_texture(pixels, 50.0, least=0.5, most=2.0)
    assert pixels.shape == before.shape


def test_colours_keep_their_low_frequencies() -> None:
    pixels = picture()
    before = pixels.astype(float).mean((0, 1))
    match_texture(pixels, 4 * richness(pixels), least=0.1, most=10.0)
    assert np.abs(pixels.astype(float).mean((0, 1)) - before).max() < 0.2


def test_the_embedded_model_gives_the_texture_that_is_asked() -> None:
    image = read_image(PHOTO)
    model = Engine.load().model
    reached = []
    for wanted in (150.0, 500.0, 1500.0):
        config = RestoreConfig(control=ControlConfig(texture=wanted))
        outcome = Engine(model, config=config).restore(image)
        reached.append(richness(outcome.samples[0]))
        assert outcome.texture == wanted
        assert 1 / 4 <= outcome.detail_gains[0] <= 4.0
    assert reached == sorted(reached)
    assert reached[1] > 1.3 * reached[0]


def test_weak_detail_is_hardly_amplified_and_no_colours_appear() -> None:
    pixels = np.full((60, 80, 3), 100, dtype=np.uint8)
    pixels[:, 40:] = 160
    pixels[::2, :30] += 1
    match_texture(pixels, 1e6, least=1.0, most=3.0)
    # The faint stripes stay faint; the step is amplified.
    assert np.ptp(pixels[5:-5, 5:25].astype(int)) <= 2
    assert pixels.max() > 180
    assert (pixels == pixels[..., :1]).all()


def test_more_asked_gives_more_up_to_the_limit() -> None:
    gains = []
    for wanted in (1e3, 1e4, 1e5, 1e6):
        gains.append(match_texture(picture(), wanted, least=0.5, most=3.0, soft=True))
    assert gains == sorted(set(gains))
    assert gains[-1] < 3.0
    low = match_texture(picture(), 300.0, least=0.5, most=100.0, soft=True)
    assert low == match_texture(picture(), 300.0, least=0.5, most=100.0)
