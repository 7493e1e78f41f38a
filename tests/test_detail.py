"""The strength of fine detail that gives an image the asked texture richness."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
import pytest
import torch
from scipy import ndimage

from hypir_cli.config.restore import ControlConfig, RestoreConfig, SizeConfig
from hypir_cli.images import ImageData, read_image
from hypir_cli.images.data import Pixels
from hypir_cli.models.load import LoadedModel
from hypir_cli.pixels import strips
from hypir_cli.pixels.detail import match_texture, measure_detail
from hypir_cli.pixels.texture import pixels_richness, texture_richness
from hypir_cli.restore.engine import Engine
from hypir_cli.restore.outcome import Outcome
from hypir_cli.restore.richness import meet_texture, texture_limit
from tests.pictures import PHOTOS

ORIGINALS = PHOTOS.parent / "originals"


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return Engine.load().model


def picture(*, height: int = 90, width: int = 70, channels: int = 3, bits: int = 8) -> Pixels:
    """Fine and coarse structure on a quiet ground, in the middle of the range."""
    rows, columns = np.mgrid[:height, :width]
    waves = 20 * np.sin(rows / 7) + 9 * np.cos(columns * 1.3) * np.cos(rows * 0.9) * (rows > 20)
    levels = np.clip(128 + np.repeat(waves[..., None], channels, axis=2), 0, 255)
    kind, factor = (np.uint8, 1) if bits == 8 else (np.uint16, 257)
    pixels: Pixels = (levels * factor).round().astype(kind)
    return pixels


def step(*, blur: float = 0.0, noise: float = 0.0) -> Pixels:
    """A vertical edge from 100 to 160."""
    levels = np.full((60, 80), 100.0)
    levels[:, 40:] = 160.0
    levels = ndimage.gaussian_filter(levels, (0, blur)) if blur else levels
    levels = levels + np.random.default_rng(0).normal(0, noise, levels.shape)
    return np.repeat(levels.round().astype(np.uint8)[..., None], 3, axis=2)


def richness(pixels: Pixels) -> float:
    """The statistic itself."""
    planes = torch.from_numpy(pixels.astype(np.float32) / np.iinfo(pixels.dtype).max)
    return float(texture_richness(planes.permute(2, 0, 1)[None].expand(-1, 3, -1, -1)))


def overshoot(after: Pixels, before: Pixels) -> int:
    """Most levels by which a channel leaves the range of the 5x5 pixels around it."""
    highest = ndimage.maximum_filter(before, (5, 5, 1)).astype(int)
    lowest = ndimage.minimum_filter(before, (5, 5, 1)).astype(int)
    return int(max((after - highest).max(), (lowest - after).max()))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("factor", [0.3, 1.0, 1.5])
def test_the_result_has_the_richness(channels: int, bits: int, factor: float) -> None:
    pixels = picture(channels=channels, bits=bits)
    wanted = factor * richness(pixels)
    match = match_texture(pixels, wanted, least=0.1, most=12.0)
    # The statistic counts the rounding of the luma to whole levels, too.
    assert match.reached == pytest.approx(wanted, rel=0.05, abs=6.0)
    assert (match.gain < 0.99) == (factor < 1.0)
    assert (match.gain > 1.01) == (factor > 1.0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3), (5, 300), (90, 70)])
def test_the_streamed_statistic_is_the_statistic(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = picture(height=shape[0], width=shape[1])
    monkeypatch.setattr(strips, "STRIP_PIXELS", 7 * shape[1])
    found = pixels_richness(pixels)
    assert found == (0.0 if shape == (1, 1) else pytest.approx(found))
    if min(shape) > 1:
        assert found == pytest.approx(richness(pixels), rel=1e-4)


@pytest.mark.parametrize("wanted", [50.0, 3000.0])
def test_strips_do_not_matter(wanted: float, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = picture(height=97), picture(height=97)
    first = match_texture(whole, wanted, least=0.1, most=10.0)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 8 * 70)
    second = match_texture(cut, wanted, least=0.1, most=10.0)
    assert first.gain == pytest.approx(second.gain, rel=1e-5)
    assert np.abs(whole.astype(int) - cut.astype(int)).max() <= 1
    assert (whole != cut).mean() < 0.001


def test_limits_hold_and_a_flat_image_stays() -> None:
    assert match_texture(picture(), 1e9, least=0.5, most=1.5).gain <= 1.5
    assert match_texture(picture(), 1e-3, least=0.5, most=1.5).gain == 0.5
    flat = np.full((20, 30, 3), 77, dtype=np.uint8)
    match_texture(flat, 3000.0, least=0.5, most=3.0)
    assert (flat == 77).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3), (5, 300)])
@pytest.mark.parametrize("wanted", [1.0, 5000.0])
def test_images_smaller_than_the_halo_work(shape: tuple[int, int], wanted: float) -> None:
    pixels = picture(height=shape[0], width=shape[1])
    before = pixels.copy()
    match_texture(pixels, wanted, least=0.5, most=2.0)
    assert pixels.shape == before.shape


def test_colours_keep_their_low_frequencies() -> None:
    pixels = picture()
    before = pixels.astype(float).mean((0, 1))
    match_texture(pixels, 2 * richness(pixels), least=0.1, most=10.0)
    assert np.abs(pixels.astype(float).mean((0, 1)) - before).max() < 0.5


@pytest.mark.parametrize("blur", [0.0, 0.8, 1.5, 3.0])
@pytest.mark.parametrize("noise", [0.0, 1.0, 4.0])
def test_a_step_edge_gets_no_rim(blur: float, noise: float) -> None:
    before = step(blur=blur, noise=noise)
    after = before.copy()
    match_texture(after, 1e6, least=1.0, most=16.0)
    assert overshoot(after, before) <= 2


@pytest.mark.parametrize("name", ["astronaut.jpg", "coffee.jpg"])
@pytest.mark.parametrize("wanted", [100.0, 1e5])
def test_no_pixel_of_a_photograph_leaves_the_range_around_it(name: str, wanted: float) -> None:
    before = read_image(PHOTOS / name).pixels[:200, :220]
    after = before.copy()
    match_texture(after, wanted, least=0.1, most=16.0)
    assert overshoot(after, before) <= 2


def test_colours_that_lack_the_lumas_detail_do_not_get_it() -> None:
    red = picture(height=60, width=60)
    red[..., 1:] = 90
    for wanted in (1.0, 1e5):
        after = red.copy()
        match_texture(after, wanted, least=0.1, most=10.0)
        assert np.abs(after[..., 1:].astype(int) - 90).max() <= 2


@pytest.mark.parametrize("deviation", [1.0, 3.0, 6.0, 10.0])
def test_noise_is_not_amplified(deviation: float) -> None:
    random = np.random.default_rng(0)
    grain = random.normal(0, deviation, (120, 160, 1))
    before = np.clip(np.concatenate([picture(height=120, width=80), np.full((120, 80, 3), 128)], 1)
                     + grain, 0, 255).round().astype(np.uint8)  # fmt: skip
    assert measure_detail(before).noise ** 0.5 == pytest.approx(deviation, rel=0.25)
    after = before.copy()
    match_texture(after, 1e6, least=1.0, most=16.0)
    ground = (slice(10, -10), slice(95, -5))
    assert after[ground].std() <= 1.02 * before[ground].std()


def test_detail_above_the_noise_is_amplified_and_weak_detail_is_not() -> None:
    pixels = picture(height=120, width=160)
    pixels[::2, :] += 1
    quiet = pixels[:10].copy()
    before = pixels[30:, 20:-20].std()
    match_texture(pixels, 1e6, least=1.0, most=8.0)
    assert np.abs(pixels[:10].astype(int) - quiet.astype(int)).max() <= 2
    assert pixels[30:, 20:-20].std() > 1.05 * before
    assert (pixels == pixels[..., :1]).all()


def test_the_embedded_model_gives_the_texture_that_is_asked() -> None:
    image = read_image(PHOTOS / "raccoon.jpg")
    model = Engine.load().model
    reached = []
    for wanted in (150.0, 500.0, 1500.0):
        config = RestoreConfig(control=ControlConfig(texture=wanted))
        outcome = Engine(model, config=config).restore(image)
        reached.append(richness(outcome.samples[0]))
        assert outcome.texture == wanted
        assert outcome.textures_reached[0] == pytest.approx(reached[-1], rel=1e-3)
        assert 1 / 8 <= outcome.detail_gains[0] <= 8.0
        assert bool(outcome.notes) == (abs(reached[-1] - wanted) > 0.1 * wanted)
    assert reached == sorted(reached)
    assert reached[1] > 1.3 * reached[0]


def test_automatic_texture_adds_no_rim_and_no_noise() -> None:
    image = read_image(PHOTOS / "astronaut.jpg")
    engine = Engine.load()
    plain = Engine(engine.model, config=RestoreConfig(control=ControlConfig(texture_gain=1.0)))
    before, after = plain.restore(image).samples[0], engine.restore(image).samples[0]
    assert overshoot(after, before) <= 2
    assert measure_detail(after).noise <= 1.1 * measure_detail(before).noise


def noisy(pixels: Pixels) -> Pixels:
    """The same with grain."""
    grain = np.random.default_rng(0).normal(0, 3.0, pixels.shape[:2])[..., None]
    result: Pixels = np.clip(pixels + grain, 0, 255).round().astype(np.uint8)
    return result


def test_the_input_says_how_much_texture_may_be_added() -> None:
    clean = picture()
    blurred = clean.copy()
    match_texture(blurred, 0.5 * richness(clean), least=0.1, most=1.0)
    detail = measure_detail(clean)
    assert texture_limit(detail, detail) == pixels_richness(clean)
    assert texture_limit(measure_detail(noisy(clean)), detail) == pixels_richness(noisy(clean))
    assert texture_limit(measure_detail(blurred), detail) == math.inf


@pytest.mark.parametrize("name", ["astronaut.jpg", "raccoon.jpg"])
def test_automatic_texture_makes_no_clean_photograph_worse(model: LoadedModel, name: str) -> None:
    clean = read_image(ORIGINALS / name).pixels[100:300, 100:300]
    errors = []
    for gain in (1.0, ControlConfig().texture_gain):
        config = RestoreConfig(control=ControlConfig(texture_gain=gain))
        result = Engine(model, config=config).restore(ImageData(pixels=clean)).samples[0]
        errors.append(float(np.square(result.astype(float) - clean).mean()))
    assert errors[1] <= 1.01 * errors[0]


def test_automatic_texture_leaves_the_result_of_a_clean_photograph_alone() -> None:
    clean = picture()
    outcome = Outcome(samples=[], seeds=[], texture=1e5, enlarged=lambda top, bottom: clean)
    control = RestoreConfig().control
    for given, gain in ((clean, 1.0), (noisy(clean), None)):
        result = clean.copy()
        meet_texture(result, outcome, given=given, control=control, scale=1.0, parity=False)
        assert (outcome.detail_gains[-1] == 1.0) == (gain == 1.0)
        assert np.array_equal(result, clean) == (gain == 1.0)
    # An own number is met whatever the input was.
    asked = dataclasses.replace(control, texture=1e5)
    meet_texture(clean.copy(), outcome, given=clean, control=asked, scale=1.0, parity=False)
    assert outcome.detail_gains[-1] > 1.0


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1)])
@pytest.mark.parametrize("texture", ["auto", 500.0])
def test_lines_and_points_are_restored_with_any_texture(
    model: LoadedModel, shape: tuple[int, int], texture: float | Literal["auto"]
) -> None:
    pixels = picture()[: shape[0], : shape[1]].copy()
    for scale in (None, 3.0):
        config = RestoreConfig(control=ControlConfig(texture=texture), size=SizeConfig(scale=scale))
        outcome = Engine(model, config=config).restore(ImageData(pixels=pixels))
        factor = int(scale or 1)
        assert outcome.samples[0].shape == (shape[0] * factor, shape[1] * factor, 3)
        assert all(math.isfinite(value) for value in outcome.textures_reached)


def test_more_asked_gives_more_up_to_the_limit() -> None:
    gains = []
    for wanted in (1e3, 1e4, 1e5, 1e6):
        gains.append(match_texture(picture(), wanted, least=0.5, most=3.0).gain)
    assert gains == sorted(set(gains))
    assert gains[-1] < 3.0
