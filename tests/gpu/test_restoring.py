"""Every backbone restores on the device as it does in float32 on the CPU, within what a number format allows."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from PIL import Image

from hypir_cli import Engine, RestoreConfig, read_image
from hypir_cli.config.restore import RuntimeConfig
from hypir_cli.models import placement
from hypir_cli.restore.folder import restore_folder
from tests.builders import load_built
from tests.restoring import offloaded, restored, some_images

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TOLERANCE = {"fp32": 0.02, "bf16": 0.25, "fp16": 0.05}
"""Largest mean difference, as a share of the result's deviation, of tiny random networks, which are the hardest case. Convolutions
of a GPU round float32 to 10 bits (TF32)."""
QUANTIZED = {"int8": 0.3, "nf4": 0.6}


def difference(result: torch.Tensor, expected: torch.Tensor) -> float:
    result = result.cpu()
    assert result.isfinite().all()
    return float((result - expected).abs().mean() / expected.std())


def built(folders, name, dtype="fp32"):
    backbone = load_built(name, folders[name], dtype=DTYPES[dtype])
    backbone.enable_controls()
    return backbone


def put(backbone, place, *, offload="none"):
    if place == "cpu":
        offloaded(backbone, offload)
    else:
        placement.place(backbone, device=place, offload=offload)


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_every_number_format_is_close_to_float32_on_the_cpu(folders, name, place, dtype):
    expected = restored(built(folders, name), some_images())
    backbone = built(folders, name, dtype)
    put(backbone, place)
    image = restored(backbone, some_images())
    assert image.device.type == place
    assert difference(image, expected) < TOLERANCE[dtype]


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_offloading_changes_nothing(folders, name, place, offload):
    backbone = built(folders, name, "bf16")
    put(backbone, place)
    expected = restored(backbone, some_images()).cpu()
    backbone = built(folders, name, "bf16")
    put(backbone, place, offload=offload)
    for _ in range(2):
        assert difference(restored(backbone, some_images()), expected) < 1e-3
    with torch.inference_mode(), backbone.in_float32():
        assert difference(restored(backbone, some_images()), expected) < TOLERANCE["bf16"]


@pytest.mark.parametrize("kind", list(QUANTIZED))
@pytest.mark.parametrize("offload", ["none", "sequential"])
def test_quantised_denoisers_are_close(folders, name, place, kind, offload):
    expected = restored(built(folders, name), some_images())
    backbone = built(folders, name, "bf16")
    placement.quantize_weights(backbone.denoiser, kind, device=place)
    put(backbone, place, offload=offload)
    assert difference(restored(backbone, some_images()), expected) < QUANTIZED[kind]


@pytest.mark.parametrize("offload", ["none", "model"])
def test_compiled_networks_are_close(folders, name, place, offload, monkeypatch):
    if place == "cpu":
        # Traced as for any backend, without a compiler.
        monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    expected = restored(built(folders, name), some_images())
    backbone = built(folders, name)
    put(backbone, place, offload=offload)
    placement.compile_networks(backbone)
    assert difference(restored(backbone, some_images()), expected) < TOLERANCE["fp32"]
    torch._dynamo.reset()


def photo(folder):
    small = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    path = folder / "photo.png"
    Image.fromarray(small).resize((330, 270), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.parametrize("dtype", ["auto", "fp32", "bf16"])
def test_the_embedded_backbone_restores_a_photograph_as_on_the_cpu(tmp_path, place, dtype):
    image = read_image(photo(tmp_path))
    usual = RestoreConfig(runtime=RuntimeConfig(device="cpu", dtype="fp32"))
    expected = Engine.load(usual, prompts=[""]).restore(image).samples[0]
    config = RestoreConfig(runtime=RuntimeConfig(device=place, dtype=dtype))
    outcome = Engine.load(config, prompts=[""]).restore(image)
    offsets = outcome.samples[0].astype(float) - expected.astype(float)
    assert np.abs(offsets).mean() < 1.5
    times = outcome.times
    assert min(times.encode, times.denoise, times.decode) > 0


def test_same_image_same_bytes(tmp_path, place):
    image = read_image(photo(tmp_path))
    engine = Engine.load(RestoreConfig(runtime=RuntimeConfig(device=place)), prompts=[""])
    first, again = (engine.restore(image).samples[0] for _ in range(2))
    assert np.array_equal(first, again)


def test_a_folder_run_reports_the_device_and_its_memory(tmp_path, place):
    path = photo(tmp_path)
    config = RestoreConfig(runtime=RuntimeConfig(device=place))
    report = restore_folder([path], tmp_path / "out", config=config)
    assert report.count("done") == 1
    details = report.records[0].details
    assert str(details["device"]).startswith(place)
    assert int(details["peak_memory"]) > 0
