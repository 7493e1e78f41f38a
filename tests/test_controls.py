"""Strength, fidelity, and where generated noise goes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hypir_cli.config.restore import ControlConfig, ModelConfig, RestoreConfig, SizeConfig
from hypir_cli.images import ImageData, read_image
from hypir_cli.images.data import Pixels
from hypir_cli.models.load import LoadedModel, load_model
from hypir_cli.pixels.noise import gradient_weight
from hypir_cli.restore.blend import mixed
from hypir_cli.restore.engine import Engine
from tests.golden import LORA, MODEL
from tests.pictures import PHOTOS

PHOTO = PHOTOS / "coffee.jpg"


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return Engine.load().model


@pytest.fixture(scope="module")
def image() -> ImageData:
    whole = read_image(PHOTO)
    # 16 bits, so that rounding hides no small difference.
    return ImageData(pixels=whole.pixels[:96, :112].astype(np.uint16) * 257)


def engine(model: LoadedModel, *, scale: float = 1.0, **control: object) -> Engine:
    """The embedded model with these controls."""
    config = RestoreConfig(
        control=ControlConfig(texture=None, **control),  # type: ignore[arg-type]
        size=SizeConfig(scale=scale),
    )
    return Engine(model, config=config)


def distance(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.abs(left.astype(float) - right.astype(float)).mean())


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_mixing_is_linear_and_exact_at_both_ends(kind: type[np.uint8] | type[np.uint16]) -> None:
    random = np.random.default_rng(0)
    largest = np.iinfo(kind).max
    first: Pixels = random.integers(0, largest, (7, 9, 3)).astype(kind)
    second: Pixels = random.integers(0, largest, (7, 9, 3)).astype(kind)
    for share, end in ((0.0, first), (1.0, second)):
        assert np.array_equal(mixed(first, second, share, out=np.empty_like(first)), end)
    quarter = mixed(first, second, 0.25, out=np.empty_like(first)).astype(float)
    expected = 0.75 * first.astype(float) + 0.25 * second.astype(float)
    assert np.abs(quarter - expected).max() <= 0.6


def test_strength_goes_from_the_enlarged_input_to_the_result(
    model: LoadedModel, image: ImageData
) -> None:
    full = engine(model, scale=2.0).restore(image)
    assert full.samples[0] is full.blend(1.0)
    start = full.blend(0.0)
    assert start.shape == full.samples[0].shape
    whole = distance(start, full.samples[0])
    for strength in (0.25, 0.5, 0.75):
        asked = engine(model, scale=2.0, strength=strength).restore(image)
        assert np.array_equal(asked.samples[0], full.blend(strength))
        assert np.array_equal(asked.blend(1.0), full.samples[0])
        assert distance(start, asked.samples[0]) == pytest.approx(strength * whole, rel=0.05)
    with pytest.raises(ValueError, match="strength"):
        full.blend(1.5)


def test_strength_0_at_scale_1_is_the_input(model: LoadedModel, image: ImageData) -> None:
    outcome = engine(model, strength=0.0).restore(image)
    assert np.array_equal(outcome.samples[0], image.pixels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_every_sample_of_every_kind_of_image_blends(
    model: LoadedModel, channels: int, kind: type[np.uint8] | type[np.uint16]
) -> None:
    pixels = np.full((1, 1, channels), 90, dtype=kind)
    outcome = engine(model, strength=0.5, fidelity=0.5, samples=2).restore(ImageData(pixels=pixels))
    assert [sample.shape for sample in outcome.samples] == [(1, 1, channels)] * 2
    assert all(sample.dtype == kind for sample in outcome.samples)


def test_fidelity_mixes_in_what_is_nearer_to_the_input(
    model: LoadedModel, image: ImageData
) -> None:
    results = [engine(model, fidelity=share).restore(image).samples[0] for share in (0.0, 0.5, 1.0)]
    assert np.array_equal(results[0], engine(model).restore(image).samples[0])
    expected = mixed(results[0], results[2], 0.5, out=results[0].copy())
    assert np.abs(results[1].astype(int) - expected).max() <= 1
    away = [distance(result, image.pixels) for result in results]
    assert away[2] == pytest.approx(0.5 * away[0], rel=0.01)


def test_fidelity_mixes_in_a_smaller_step_where_encoder_and_denoiser_stand_apart() -> None:
    config = RestoreConfig(
        model=ModelConfig(backbone="sd2", base=str(MODEL), lora=str(LORA)),
        control=ControlConfig(texture=None),
    )
    model = Engine.load(config).model
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)

    def restored(share: float, factor: float = 1.0) -> np.ndarray:
        step = round(factor * model.backbone.traits.coeff_timestep)
        control = ControlConfig(texture=None, fidelity=share, coeff_timestep=step)
        chosen = replace(config, control=control)
        return Engine(model, config=chosen).restore(ImageData(pixels=pixels)).samples[0]

    assert np.array_equal(restored(1.0), restored(0.0, factor=0.25))
    assert not np.array_equal(restored(1.0), restored(0.0))


def test_a_second_lora_is_what_fidelity_mixes_in() -> None:
    config = ModelConfig(backbone="sd2", base=str(MODEL), lora=str(LORA))
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)

    def restored(**settings: object) -> np.ndarray:
        chosen = RestoreConfig(
            model=ModelConfig(
                backbone="sd2",
                base=str(MODEL),
                lora=str(LORA),
                **settings,  # type: ignore[arg-type]
            ),
            control=ControlConfig(texture=None, fidelity=1.0 if settings else 0.0),
        )
        return Engine.load(chosen).restore(ImageData(pixels=pixels)).samples[0]

    assert load_model(config, RestoreConfig().runtime).nearer is None
    assert np.array_equal(restored(lora_fidelity=str(LORA)), restored())


def test_settings_that_change_nothing_are_said(model: LoadedModel) -> None:
    assert not engine(model).warnings()
    (note,) = engine(model, generativity_where="detail").warnings()
    assert "--generativity-where changes nothing" in note


def test_noise_by_gradient_spares_flat_areas() -> None:
    images = torch.full((1, 3, 32, 48), 0.4)
    images[..., 24:] = torch.rand(1, 1, 32, 24, generator=torch.Generator().manual_seed(0))
    weight = gradient_weight(images, factor=8)
    assert weight.shape == (1, 1, 4, 6)
    assert float(weight[..., :1].max()) < 1e-6
    assert float(weight[..., 4:].min()) > 0.95


def test_noise_by_gradient_changes_flat_areas_less(model: LoadedModel) -> None:
    pixels = np.full((96, 96, 3), 120, dtype=np.uint8)
    pixels[:, 48:] = np.random.default_rng(0).integers(0, 256, (96, 48, 1), dtype=np.uint8)
    image = ImageData(pixels=pixels)
    plain = engine(model).restore(image).samples[0]
    spread = {
        where: engine(model, generativity=0.8, generativity_where=where).restore(image).samples[0]
        for where in ("everywhere", "detail")
    }
    flat, rich = (slice(None), slice(0, 24)), (slice(None), slice(72, 96))
    # The embedded model is told how much to invent, too, so flat areas do not stay as they were.
    shares = [
        distance(spread["detail"][part], plain[part])
        / distance(spread["everywhere"][part], plain[part])
        for part in (flat, rich)
    ]
    assert shares[0] < 0.8
    assert shares[1] > 0.9


@pytest.mark.parametrize("name", ["strength", "fidelity", "generativity"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_values_outside_0_to_1_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"control.{name}"):
        ControlConfig(**{name: value})  # type: ignore[arg-type]
