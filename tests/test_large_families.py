"""What every large family must show in restoring and training; tiny random models stand in for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hypir_cli.models.checkpoint import read_info
from hypir_cli.models.lora import lora_state_dict, read_lora
from hypir_cli.models.weights import apply_lora
from hypir_cli.restore.restorer import Restorer, TileLimits
from hypir_cli.restore.tile_pass import Request
from hypir_cli.train.loop import Observer
from hypir_cli.train.runs import train_gan
from tests.builders import BUILDERS, load_built
from tests.training import gan_config

FAMILIES = ("sdxl", "sd3", "sd35", "flux", "flux2")


@pytest.fixture(scope="module", params=FAMILIES)
def built(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, BUILDERS[request.param](folder)


def request_for(backbone):
    return Request(
        prompt=backbone.encode_prompts(["a house"]).detach(),
        timestep=200,
        coeff_timestep=200,
        color_fix="none",
    )


def network(backbone, images, request):
    """Encode, denoise once, predict the clean latent, decode."""
    timestep = torch.tensor(200)
    prompt = request.prompt.select([0] * len(images))
    latents = backbone.encode(images)
    output = backbone.denoise(latents, prompt=prompt, timestep=timestep)
    return backbone.decode(backbone.predict_clean(latents, output, timestep=timestep))


@torch.inference_mode()
def test_one_tile_and_blended_tiles_are_the_network_itself(built):
    backbone = load_built(*built)
    request = request_for(backbone)
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255.0
    for largest in (128, 48):
        limits = TileLimits(largest=largest, overlap=16, batch=2)
        restorer = Restorer(backbone, limits=limits)
        plan = restorer.plan(64, 96)
        rows, columns = plan.rows, plan.columns
        assert (plan.count == 1) == (largest == 128)
        blended = torch.zeros(3, max(64, rows.tile), max(96, columns.tile))
        padded = torch.nn.functional.pad(
            image, (0, blended.shape[2] - 96, 0, blended.shape[1] - 64), mode="reflect"
        )
        for top, row in zip(rows.starts, rows.weights(), strict=True):
            for left, column in zip(columns.starts, columns.weights(), strict=True):
                place = (..., slice(top, top + rows.tile), slice(left, left + columns.tile))
                blended[place] += (
                    network(backbone, padded[place], request)[0] * row[:, None] * column
                )
        expected = (blended[:, :64, :96].clamp(0, 1) * 255).permute(1, 2, 0).numpy()
        restored = restorer.restore(pixels, request=request)
        assert restored.shape == pixels.shape
        assert np.abs(restored.astype(float) - expected).max() <= 0.51


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_two_adversarial_steps_resume_and_load_back(tmp_path: Path, name: str) -> None:
    settings = {"backbone": name, "schedule.first.steps": 2, "checkpoint.every": 1}
    whole = train_gan(gan_config(tmp_path, {**settings, "output_dir": str(tmp_path / "whole")}))
    config = gan_config(tmp_path, {**settings, "output_dir": str(tmp_path / "parts")})
    first = {**settings, "schedule.first.steps": 1, "output_dir": str(tmp_path / "parts")}
    assert train_gan(gan_config(tmp_path, first)).step == 1
    resumed = train_gan(config, resume="auto")
    assert whole.step == resumed.step == 2
    left, right = read_lora(whole.result), read_lora(resumed.result)
    assert left.tensors.keys() == right.tensors.keys()
    assert all(torch.equal(left.tensors[key], right.tensors[key]) for key in left.tensors)
    assert any(value.any() for key, value in left.tensors.items() if ".lora_B." in key)
    assert read_info(whole.result).backbone == name

    backbone = load_built(name, tmp_path / name)
    apply_lora(backbone, left, merge=False)
    live = lora_state_dict(backbone.denoiser)
    assert all(torch.equal(live[key], value) for key, value in left.tensors.items())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_adapters_trained_on_a_quantised_base_restore_with_the_exact_one(
    tmp_path: Path, kind: str
) -> None:
    settings = {"backbone": "flux2", "schedule.first.steps": 2, "lora.quantize_base": kind}
    outcome = train_gan(gan_config(tmp_path, settings))
    backbone = load_built("flux2", tmp_path / "flux2")
    apply_lora(backbone, read_lora(outcome.result))
    with torch.inference_mode():
        assert network(backbone, torch.rand(1, 3, 32, 32), request_for(backbone)).isfinite().all()


def test_text_encoders_leave_before_the_denoiser_enters(tmp_path: Path, monkeypatch) -> None:
    from hypir_cli.train import runs

    seen: list[str] = []
    original = runs.place
    monkeypatch.setattr(
        runs,
        "place",
        lambda backbone, **kw: (seen.extend(backbone.components()), original(backbone, **kw)),
    )
    settings = {"backbone": "flux", "schedule.first.steps": 1}
    assert train_gan(gan_config(tmp_path, settings), observer=Observer()).step == 1
    assert seen == ["denoiser", "vae"]
