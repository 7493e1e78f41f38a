"""8-bit arithmetic on a CPU: the layers, and the gate that says which of a network's layers take part."""

from __future__ import annotations

import json
import logging
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from hypir_cli.config.restore import (
    ControlConfig,
    ModelConfig,
    OutputConfig,
    RestoreConfig,
    RuntimeConfig,
)
from hypir_cli.errors import DeviceError, InputError
from hypir_cli.images import ImageData
from hypir_cli.images.data import Pixels
from hypir_cli.models import load
from hypir_cli.models.backbones.registry import load_backbone
from hypir_cli.models.execution import is_quantized
from hypir_cli.models.int8 import Int8Layer, int8_candidates, multiplies_int8
from hypir_cli.pixels.tiling import TilePlan
from hypir_cli.restore import calibration
from hypir_cli.restore.calibration import (
    BUILT_IN,
    LEAST_PSNR,
    calibrate_int8,
    calibration_picture,
)
from hypir_cli.restore.engine import Engine
from hypir_cli.restore.folder import restore_folder
from hypir_cli.restore.restorer import Restorer, native_limits
from hypir_cli.restore.streaming import InputWindows
from hypir_cli.restore.tile_pass import Request
from tests.golden import LORA, MODEL

pytestmark = pytest.mark.skipif(not multiplies_int8(), reason="this torch has no 8-bit kernels")
LAYERS = {
    "linear": (nn.Linear(24, 40), (2, 17, 24)),
    "linear without bias": (nn.Linear(24, 8, bias=False), (33, 24)),
    "3x3": (nn.Conv2d(16, 24, 3, padding=1), (2, 16, 9, 11)),
    "stride": (nn.Conv2d(16, 24, 3, stride=2, padding=1), (1, 16, 12, 10)),
    "1x1 without bias": (nn.Conv2d(16, 8, 1, bias=False), (1, 16, 6, 6)),
    "groups": (nn.Conv2d(16, 16, 3, padding=1, groups=2), (1, 16, 8, 8)),
    "dilation": (nn.Conv2d(16, 16, 3, padding=2, dilation=2), (1, 16, 8, 8)),
}


def drawn(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", list(LAYERS))
def test_a_layer_in_8_bits_is_near_the_exact_one(name: str, dtype: torch.dtype) -> None:
    layer, shape = LAYERS[name]
    twin = Int8Layer(layer, shape=torch.Size(shape))
    # Another range and another size than at first.
    for factor, x in ((1.0, drawn(shape)), (40.0, drawn((3, *shape[1:]), 1)), (0.01, drawn(shape))):
        shifted = factor * (x + 0.1)
        exact, found = layer(shifted), twin(shifted.to(dtype))
        assert found.shape == exact.shape
        assert found.dtype == dtype
        assert float((found.float() - exact).norm() / exact.norm()) < 0.03


@torch.inference_mode()
def test_nothing_leaves_the_range_whatever_the_input() -> None:
    layer = nn.Linear(4, 4, bias=False)
    nn.init.eye_(layer.weight)
    twin = Int8Layer(layer, shape=torch.Size((64, 4)))
    for seed in range(50):
        x = drawn((64, 4), seed) * 10.0 ** (seed % 7 - 3) + seed % 5
        step = float(x.max().clamp(min=0) - x.min().clamp(max=0)) / 254
        assert float((twin(x) - x).abs().max()) <= 1.01 * step
    assert torch.equal(twin(torch.zeros(64, 4)), torch.zeros(64, 4))


@torch.inference_mode()
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["linear", "3x3"])
def test_an_overflow_is_seen_after_the_layer(name: str, value: float) -> None:
    layer, shape = LAYERS[name]
    x = drawn(shape)
    x.flatten()[5] = value
    assert Int8Layer(layer, shape=x.shape)(x).isnan().any()


def test_a_torch_without_the_kernels_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.onednn, "qlinear_prepack", None)
    multiplies_int8.cache_clear()
    assert not multiplies_int8()
    monkeypatch.undo()
    multiplies_int8.cache_clear()
    assert multiplies_int8()


def settings(**runtime: object) -> RestoreConfig:
    return RestoreConfig(
        runtime=RuntimeConfig(device="cpu", dtype="fp32", **runtime),  # type: ignore[arg-type]
        control=ControlConfig(texture=None),
    )


def some_picture() -> Pixels:
    ramp = np.linspace(20, 220, 96)[:, None, None] * np.ones((1, 112, 3))
    noise = np.random.default_rng(0).normal(0, 12, (96, 112, 3))
    picture: Pixels = np.clip(ramp + noise, 0, 255).astype(np.uint8)
    return picture


def distance_db(left: Pixels, right: Pixels) -> float:
    error = float(np.square(left.astype(float) - right.astype(float)).mean())
    return 10 * math.log10(255**2 / error)


def pictures() -> dict[str, Pixels]:
    """Pictures that different layers bear 8 bits for."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return {"a": np.full((64, 64, 3), 99, dtype=np.uint8), "b": noise}


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar so high that some layers stay, and other ones with other pictures."""
    monkeypatch.setattr(calibration, "calibrate_int8", partial(calibrate_int8, least_psnr=80.0))


@pytest.mark.usefixtures("strict")
def test_the_choice_depends_on_no_picture_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    small = ImageData(pixels=calibration_picture(None)[0].pixels[100:164, 100:164].copy())
    monkeypatch.setattr(calibration, "calibration_picture", lambda own: (small, BUILT_IN))
    first, second = (Engine.load(settings(quantize="int8")) for _ in range(2))
    first.restore(ImageData(pixels=pictures()["a"]))
    image = ImageData(pixels=pictures()["b"])
    results = [loaded.restore(image).samples[0] for loaded in (first, second)]
    assert np.array_equal(*results)
    assert first.model.int8 == second.model.int8
    assert len(first.model.int8[0].exact) > 0
    assert first.model.int8[0].layers > 0


@pytest.mark.usefixtures("strict")
def test_an_own_picture_says_which_layers_stay(tmp_path: Path) -> None:
    found = []
    for name, pixels in pictures().items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        loaded = Engine.load(settings(quantize="int8", calibrate_on=tmp_path / f"{name}.png"))
        (choice,) = loaded.model.int8
        assert f" of {name}.png" in choice.sentence()
        assert choice.details()["picture"] == f"{name}.png"
        found.append(choice.exact)
    assert len(set(found)) > 1


def test_an_own_picture_is_looked_for_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hypir_cli.restore.engine.load_model", None)
    with pytest.raises(InputError, match=r"nowhere\.png"):
        Engine.load(settings(quantize="int8", calibrate_on=tmp_path / "nowhere.png"))


def test_an_own_picture_without_8_bits_is_said_to_change_nothing(tmp_path: Path) -> None:
    Image.fromarray(pictures()["a"]).save(tmp_path / "a.png")
    loaded = Engine.load(settings(calibrate_on=tmp_path / "a.png"))
    assert "--calibrate-on changes nothing" in "\n".join(loaded.warnings())


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_loading_brings_the_embedded_model_to_8_bits(dtype: str) -> None:
    image = ImageData(pixels=some_picture())
    exact = Engine.load(settings()).restore(image).samples[0]
    config = RestoreConfig(
        runtime=RuntimeConfig(device="cpu", dtype=dtype, quantize="int8"),  # type: ignore[arg-type]
        control=ControlConfig(texture=None),
    )
    engine = Engine.load(config)
    outcome = engine.restore(image)
    (choice,) = engine.model.int8
    assert choice.layers > 20
    assert choice.psnr >= LEAST_PSNR
    assert outcome.notes == []
    assert distance_db(outcome.samples[0], exact) > LEAST_PSNR
    assert is_quantized(engine.model.backbone.denoiser)
    again = Engine(engine.model, config=config).restore(image)
    assert engine.model.int8 == (choice,)
    assert np.array_equal(again.samples[0], outcome.samples[0])
    with pytest.raises(DeviceError, match="quantised tiny overflows"):
        engine.model.backbone.in_float32("denoiser").__enter__()


def sd2_parts() -> tuple[Any, InputWindows, TilePlan, Request]:
    backbone = load_backbone("sd2", base=str(MODEL))
    pixels = some_picture()
    source = InputWindows(pixels, out_size=pixels.shape[:2])
    plan = Restorer(backbone, limits=native_limits(backbone)).plan(*pixels.shape[:2])
    request = Request(
        prompt=backbone.encode_prompts([""]).detach(), timestep=200, coeff_timestep=200
    )
    return backbone, source, plan, request


def test_a_layer_that_breaks_the_picture_stays_exact() -> None:
    backbone, source, plan, request = sd2_parts()
    free = calibrate_int8(backbone, source, plan, request=request, least_psnr=-math.inf)
    backbone = sd2_parts()[0]
    resnet = backbone.denoiser.mid_block.resnets[0]
    with torch.no_grad():
        # One channel takes the whole range and is then not looked at.
        resnet.norm2.bias[0] += 3e4
        resnet.conv2.weight[:, 0] = 0.0
    candidates = int8_candidates(backbone.denoiser)
    original = resnet.conv2
    choice = calibrate_int8(
        backbone,
        source,
        plan,
        request=request,
        least_psnr=free.psnr - 1.0,
    )
    assert "mid_block.resnets.0.conv2" in choice.exact[:2]
    assert resnet.conv2 is original
    assert choice.psnr >= free.psnr - 1.0
    assert 0 < choice.layers < len(candidates)
    assert f"{len(choice.exact)} stay exact (" in choice.sentence()


def test_an_interrupted_choice_leaves_the_network_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backbone, source, plan, request = sd2_parts()
    before = dict(backbone.denoiser.named_modules())

    def interrupted(*tensors: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(calibration, "psnr", interrupted)
    with pytest.raises(KeyboardInterrupt):
        calibrate_int8(backbone, source, plan, request=request)
    assert dict(backbone.denoiser.named_modules()) == before


def test_a_bar_that_nothing_meets_leaves_the_network_as_it_was() -> None:
    backbone, source, plan, request = sd2_parts()
    before = dict(backbone.denoiser.named_modules())
    choice = calibrate_int8(
        backbone,
        source,
        plan,
        request=request,
        least_psnr=1e4,
    )
    assert dict(backbone.denoiser.named_modules()) == before
    assert choice.layers == 0
    assert "is not used" in choice.sentence()
    assert choice.details()["psnr"] is None


def test_a_second_lora_has_its_own_choice_and_the_report_has_both(tmp_path: Path) -> None:
    base = {"backbone": "sd2", "base": str(MODEL), "lora": str(LORA), "lora_fidelity": str(LORA)}
    config = RestoreConfig(
        model=ModelConfig(**base),  # type: ignore[arg-type]
        runtime=RuntimeConfig(device="cpu", dtype="fp32", quantize="int8"),
        control=ControlConfig(texture=None, fidelity=0.5),
        output=OutputConfig(report=tmp_path / "report.json"),
    )
    picture = tmp_path / "in.png"
    Image.fromarray(some_picture()[:64, :64].astype(np.uint8)).save(picture)
    report = restore_folder([picture], tmp_path / "out.png", config=config)
    assert report.count("done") == 1
    (record,) = json.loads((tmp_path / "report.json").read_text())["images"]
    first, second = record["details"]["int8"]
    assert first == second
    assert first["layers"] > 0


def test_layers_under_adapters_that_stay_apart_are_brought_to_8_bits_too() -> None:
    model = {"backbone": "sd2", "base": str(MODEL), "lora": str(LORA), "merge_lora": False}
    config = RestoreConfig(
        model=ModelConfig(**model),  # type: ignore[arg-type]
        runtime=RuntimeConfig(device="cpu", dtype="fp32", quantize="int8"),
        control=ControlConfig(texture=None),
    )
    engine = Engine.load(config)
    engine.restore(ImageData(pixels=some_picture()[:64, :64]))
    (choice,) = engine.model.int8
    assert choice.layers > 0
    assert not any("lora" in path for path in choice.exact)
    layers = [m for m in engine.model.backbone.denoiser.modules() if isinstance(m, Int8Layer)]
    assert len(layers) == choice.layers


def test_with_too_little_memory_weights_are_only_stored_in_8_bits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(load, "free_memory", lambda device: 1000)
    stored = []
    monkeypatch.setattr(load, "quantize_weights", lambda *args, **_: stored.append(args[1]))
    with caplog.at_level(logging.WARNING):
        engine = Engine.load(settings(quantize="int8"))
    assert not engine.model.wants_int8
    assert stored == ["int8"]
    assert "too little memory to choose" in caplog.text
