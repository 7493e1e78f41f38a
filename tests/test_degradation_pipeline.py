"""The whole degradation pipeline: presets, draws, independence of samples."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from torch import Tensor

from hypir_cli.config.degradation import (
    PRESETS,
    AgeingConfig,
    BlurConfig,
    DegradationConfig,
    JpegConfig,
    KernelMixConfig,
    NoiseConfig,
    ResizeConfig,
    SecondOrderConfig,
    SharpenConfig,
    degradation_config,
)
from hypir_cli.config.schema import to_dict
from hypir_cli.errors import ConfigError
from hypir_cli.train.degradation import DegradationParameters, Degrader, draw_parameters

KEYS = [(7, 0, 3), (7, 0, 4), (7, 1, 3)]


def images(count: int = 3, height: int = 48, width: int = 64) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def draws(config: DegradationConfig, count: int = 400) -> list[DegradationParameters]:
    return [draw_parameters(config, seed=0, rank=0, index=index) for index in range(count)]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_keeps_size_and_range_and_returns_whole_levels(preset: str) -> None:
    degraded = Degrader(degradation_config(preset)).degrade(images(), KEYS)
    assert degraded.shape == (3, 3, 48, 64)
    assert degraded.dtype == torch.float32
    levels = degraded * 255
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)
    assert 0 <= float(degraded.min()) <= float(degraded.max()) <= 1


@pytest.mark.parametrize("preset", PRESETS)
def test_a_sample_does_not_depend_on_its_batch(preset: str) -> None:
    degrader, clean = Degrader(degradation_config(preset)), images()
    together = degrader.degrade(clean, KEYS)
    for place in range(3):
        alone = degrader.degrade(clean[place : place + 1], KEYS[place : place + 1])
        assert torch.equal(together[place], alone[0])


def test_seed_rank_and_index_each_change_the_draw_and_nothing_else_does() -> None:
    config = degradation_config()
    first = draw_parameters(config, seed=7, rank=0, index=3)
    assert first == draw_parameters(config, seed=7, rank=0, index=3)
    for other in ((8, 0, 3), (7, 1, 3), (7, 0, 4)):
        assert first != Degrader(config).draw(other)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        draw_parameters(DegradationConfig(), seed=-1, rank=0, index=0)


def test_changing_one_step_leaves_the_draws_of_the_others() -> None:
    plain = degradation_config()
    noisier = degradation_config(
        layers=[("here", {"first": {"noise": {"gaussian_sigma": [40, 50], "probability": 0.9}}})]
    )
    for before, after in zip(draws(plain, 20), draws(noisier, 20), strict=True):
        assert before.first.blur == after.first.blur
        assert before.first.jpeg == after.first.jpeg
        assert before.second == after.second


def test_the_parameters_go_into_json() -> None:
    drawn = draw_parameters(degradation_config("photo-print"), seed=1, rank=0, index=0)
    assert json.loads(json.dumps(to_dict(drawn)))["ageing"]["dye"]


def test_the_realesrgan_preset_has_the_numbers_of_the_release() -> None:
    config = degradation_config("realesrgan")
    mix = KernelMixConfig()
    assert list(vars(mix).values()) == [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
    first, second = config.first, config.second
    assert first.blur.sizes == second.blur.sizes == tuple(range(7, 22, 2))
    assert (first.blur.sigma, second.blur.sigma) == ((0.2, 3.0), (0.2, 1.5))
    assert (first.blur.betag, first.blur.betap) == ((0.5, 4.0), (1.0, 2.0))
    assert (first.blur.probability, second.blur.probability) == (1.0, 0.8)
    assert (first.blur.sinc_probability, second.final_sinc_probability) == (0.1, 0.8)
    assert (first.resize.up, first.resize.down, first.resize.keep) == (0.2, 0.7, 0.1)
    assert (second.resize.up, second.resize.down, second.resize.keep) == (0.3, 0.4, 0.3)
    assert (first.resize.factors, second.resize.factors) == ((0.15, 1.5), (0.3, 1.2))
    assert (first.noise.gaussian_sigma, second.noise.gaussian_sigma) == ((1.0, 30.0), (1.0, 25.0))
    assert (first.noise.poisson_scale, second.noise.poisson_scale) == ((0.05, 3.0), (0.05, 2.5))
    assert first.noise.gaussian_probability == second.noise.gaussian_probability == 0.5
    assert first.noise.gray_probability == second.noise.gray_probability == 0.4
    assert first.jpeg.quality == second.jpeg.quality == (30.0, 95.0)
    assert (config.scale, config.output, config.ageing.probability) == (4, "full", 0.0)
    assert config.sharpen == SharpenConfig(enabled=True, weight=0.5, radius=50, threshold=10.0)


def test_draws_follow_their_probabilities_and_ranges() -> None:
    drawn = draws(degradation_config(), 1500)
    count = len(drawn)
    blurs = [sample.first.blur for sample in drawn if sample.first.blur]
    assert len(blurs) == count
    share = {kind: sum(blur.kind == kind for blur in blurs) / count for kind in ("sinc", "iso")}
    assert share["sinc"] == pytest.approx(0.1, abs=0.03)
    assert share["iso"] == pytest.approx(0.9 * 0.45, abs=0.05)
    for blur in blurs:
        lowest = math.pi / 3 if blur.size < 13 else math.pi / 5
        assert blur.kind != "sinc" or lowest <= blur.cutoff <= math.pi
        assert blur.kind == "sinc" or 0.2 <= blur.sigma_x <= 3.0
    shrunk = sum(sample.first.resize.factor < 1 for sample in drawn) / count
    assert shrunk == pytest.approx(0.7, abs=0.05)
    assert sum(sample.second.blur is None for sample in drawn) / count == pytest.approx(
        0.2, abs=0.04
    )
    assert sum(sample.jpeg_last for sample in drawn) / count == pytest.approx(0.5, abs=0.05)
    assert sum(sample.final_sinc is None for sample in drawn) / count == pytest.approx(
        0.2, abs=0.04
    )


def off() -> DegradationConfig:
    """A pipeline in which nothing happens."""
    never = {f"{step}.probability": 0.0 for step in ("blur", "noise", "jpeg")}
    still = {"up": 0.0, "down": 0.0, "keep": 1.0}
    layer = {
        "scale": 1,
        "sharpen": {"enabled": False},
        "first": {**never, "resize": still},
        "second": {**never, "resize": still, "final_sinc_probability": 0.0},
    }
    return degradation_config(layers=[("here", layer)])


def test_with_every_step_off_the_image_comes_back_within_half_a_level() -> None:
    clean = images()
    unchanged = Degrader(off()).degrade(clean, KEYS)
    assert float((unchanged - clean).abs().max()) <= 0.5 / 255 + 1e-6


def test_the_small_output_is_the_size_divided_by_the_scale() -> None:
    small = dataclasses.replace(degradation_config(), output="small")
    assert Degrader(small).degrade(images(1, 50, 67), KEYS[:1]).shape == (1, 3, 12, 16)


def test_one_pixel_survives_every_preset() -> None:
    for preset in PRESETS:
        degraded = Degrader(degradation_config(preset)).degrade(images(1, 1, 1), KEYS[:1])
        assert degraded.shape == (1, 3, 1, 1)
        assert bool(degraded.isfinite().all())


def test_a_missing_key_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Degrader(degradation_config()).degrade(images(), KEYS[:2])


def test_an_old_print_loses_contrast_and_colour() -> None:
    ageing = AgeingConfig(probability=1.0, saturation=(0.3, 0.3), max_dust=0)
    clean = torch.zeros(1, 3, 64, 64)
    clean[:, 0, :32], clean[:, 1, 32:] = 1.0, 1.0
    aged = Degrader(dataclasses.replace(off(), ageing=ageing)).degrade(clean, KEYS[:1])
    assert float(aged.max() - aged.min()) < 0.9
    assert float(aged.std(dim=1).mean()) < 0.6 * float(clean.std(dim=1).mean())


@pytest.mark.parametrize(
    ("group", "values", "named"),
    [
        (BlurConfig, {"sizes": (8,)}, "odd"),
        (BlurConfig, {"probability": 1.5}, "probability"),
        (BlurConfig, {"sigma": (0.0, 1.0)}, "sigma"),
        (BlurConfig, {"betag": (1.5, 4.0)}, "betag"),
        (KernelMixConfig, {"iso": -1.0}, "shares"),
        (ResizeConfig, {"up": 0.0, "down": 0.0, "keep": 0.0}, "keep"),
        (ResizeConfig, {"factors": (0.2, 0.5)}, "factors"),
        (ResizeConfig, {"modes": ()}, "modes"),
        (NoiseConfig, {"gaussian_sigma": (5.0, 1.0)}, "gaussian_sigma"),
        (JpegConfig, {"quality": (30.0, 101.0)}, "quality"),
        (SecondOrderConfig, {"final_sinc_sizes": (4,)}, "final_sinc_sizes"),
        (SharpenConfig, {"radius": 1}, "radius"),
        (AgeingConfig, {"black_lift": (0.5, 0.9)}, "contrast"),
        (AgeingConfig, {"max_dust": -1}, "max_dust"),
        (DegradationConfig, {"scale": 0}, "scale"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(
    group: type, values: dict[str, object], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        group(**values)


def test_an_unknown_preset_and_an_unknown_key_are_named() -> None:
    with pytest.raises(ConfigError, match="heavy"):
        degradation_config("heavy")
    with pytest.raises(ConfigError, match=r"first\.blur\.sigmas"):
        degradation_config(layers=[("my.yaml", {"first": {"blur": {"sigmas": [1, 2]}}})])
