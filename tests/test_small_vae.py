"""A small VAE in place of a base's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, DDPMScheduler, UNet2DConditionModel

from hypir_cli.config.families import find_family
from hypir_cli.config.restore import ControlConfig, ModelConfig, RestoreConfig
from hypir_cli.errors import BackboneError, ConfigError
from hypir_cli.images import ImageData
from hypir_cli.models.backbones.registry import load_backbone
from hypir_cli.models.checkpoint import CheckpointInfo, read_info
from hypir_cli.models.lora import add_fresh_lora, lora_state_dict, save_lora
from hypir_cli.models.vae import same_vae, vae_name
from hypir_cli.restore.engine import Engine
from hypir_cli.restore.restorer import Restorer, TileLimits
from hypir_cli.restore.tile_pass import Request
from hypir_cli.train.runs import train_encoder, train_gan
from tests.builders import BUILDERS
from tests.tiny_families import save_small_vae, tiny_vae
from tests.training import encoder_config, gan_config


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny Stable Diffusion 2 and a small VAE for it."""
    root = tmp_path_factory.mktemp("small-vae")
    return BUILDERS["sd2"](root / "sd2"), save_small_vae(root / "taesd", name="sd2")


@torch.inference_mode()
def test_one_tile_equals_what_diffusers_computes(folders: tuple[Path, Path]) -> None:
    base, small = folders
    backbone = load_backbone("sd2", base=str(base), vae=str(small))
    images = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    prompt = backbone.encode_prompts(["a house"])
    timestep = torch.tensor(200)
    latents = backbone.encode(images)
    output = backbone.denoise(latents, prompt=prompt, timestep=timestep)
    ours = backbone.decode(backbone.predict_clean(latents, output, timestep=timestep))

    vae = AutoencoderTiny.from_pretrained(small)
    unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet")
    scheduler = DDPMScheduler.from_pretrained(base, subfolder="scheduler")
    theirs = vae.encode(images * 2 - 1).latents * vae.config.scaling_factor
    noise = unet(theirs, 200, encoder_hidden_states=prompt.sequence).sample
    clean = scheduler.step(noise, 200, theirs).pred_original_sample
    expected = vae.decode(clean / vae.config.scaling_factor).sample / 2 + 0.5
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_tiles_show_no_seams(folders: tuple[Path, Path]) -> None:
    base, small = folders
    backbone = load_backbone("sd2", base=str(base), vae=str(small))
    # What lies further away than a tile reaches changes nothing but through the denoiser's attention, so the VAE alone is tiled.
    backbone.denoise = lambda latents, **_: torch.zeros_like(latents)  # type: ignore[method-assign]
    request = Request(
        prompt=backbone.encode_prompts([""]), timestep=0, coeff_timestep=0, color_fix="none"
    )
    pixels = np.random.default_rng(0).integers(60, 200, (160, 176, 3), dtype=np.uint8)
    whole, tiled = (
        Restorer(backbone, limits=TileLimits(largest=largest, overlap=32, batch=1))
        .restore(pixels, request=request)
        .astype(int)
        for largest in (192, 96)
    )
    assert np.abs(whole - tiled).max() <= 2


def test_a_small_vae_has_no_posterior_to_sample(folders: tuple[Path, Path]) -> None:
    base, small = folders
    backbone = load_backbone("sd2", base=str(base), vae=str(small))
    images = torch.rand(1, 3, 16, 16)
    noise = torch.randn(1, 4, 8, 8)
    assert not backbone.has_posterior
    assert load_backbone("sd2", base=str(base)).has_posterior
    assert torch.equal(backbone.encode(images), backbone.encode(images, noise=noise))


def test_a_tile_takes_less_memory(folders: tuple[Path, Path]) -> None:
    base, small = folders
    full = load_backbone("sd2", base=str(base)).activation_bytes(512)
    assert load_backbone("sd2", base=str(base), vae=str(small)).activation_bytes(512) < full / 4


def test_a_vae_of_other_latents_is_refused_with_both_numbers(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    AutoencoderTiny(
        latent_channels=16,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    ).save_pretrained(tmp_path / "other")
    with pytest.raises(BackboneError, match=r"16 latent channels.*sd2 wants 4"):
        load_backbone("sd2", base=str(folders[0]), vae=str(tmp_path / "other"))
    with pytest.raises(BackboneError, match="UNet2DConditionModel, not a VAE"):
        load_backbone("sd2", base=str(folders[0]), vae=str(folders[0] / "unet"))
    with pytest.raises(BackboneError, match="holds no VAE"):
        load_backbone("sd2", base=str(folders[0]), vae=str(tmp_path / "nowhere"))


def test_flux2_takes_no_vae_without_its_statistics(tmp_path: Path) -> None:
    base = BUILDERS["flux2"](tmp_path / "flux2")
    small = save_small_vae(tmp_path / "small", name="sd2")
    with pytest.raises(BackboneError, match="running statistics"):
        load_backbone("flux2", base=str(base), vae=str(small))


def test_a_full_vae_from_elsewhere_works_too(folders: tuple[Path, Path], tmp_path: Path) -> None:
    torch.manual_seed(9)
    tiny_vae().save_pretrained(tmp_path / "repository" / "vae")
    backbone = load_backbone("sd2", base=str(folders[0]), vae=str(tmp_path / "repository"))
    assert backbone.has_posterior
    assert backbone.decode(backbone.encode(torch.rand(1, 3, 16, 16))).shape == (1, 3, 16, 16)


def test_the_embedded_backbone_keeps_its_own() -> None:
    with pytest.raises(ConfigError, match="tiny has its own VAE"):
        load_backbone("tiny", vae="small")


def test_a_header_names_the_vae_and_a_mismatch_is_said(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    base, small = folders
    backbone = load_backbone("sd2", base=str(base), vae=str(small))
    targets = backbone.traits.lora_targets
    add_fresh_lora(backbone.denoiser, rank=1, alpha=1, targets=targets, seed=0)
    info = CheckpointInfo(backbone="sd2", vae="madebyollin/taesd", lora_rank=1, lora_alpha=1.0)
    path = tmp_path / "lora.safetensors"
    save_lora(path, lora_state_dict(backbone.denoiser), info=info)

    def warnings(vae: str, **control: object) -> list[str]:
        config = RestoreConfig(
            model=ModelConfig(backbone="sd2", base=str(base), lora=str(path), vae=vae),
            control=ControlConfig(**control),  # type: ignore[arg-type]
        )
        engine = Engine.load(config)
        engine.restore(ImageData(pixels=np.zeros((1, 1, 3), dtype=np.uint8)))
        return engine.warnings()

    (note,) = warnings("default")
    assert "lora.safetensors was trained with madebyollin/taesd" in note
    assert warnings(str(small)) == []
    (note,) = warnings(str(small), posterior="sample")
    assert "--posterior sample changes nothing" in note


def test_names_of_vaes() -> None:
    sd2 = find_family("sd2")
    assert vae_name("default", family=sd2) == ""
    assert vae_name("small", family=sd2) == "madebyollin/taesd"
    assert vae_name("mine/vae", family=sd2) == "mine/vae"
    assert same_vae("madebyollin/taesd", "/models/taesd")
    assert not same_vae("madebyollin/taesd", "")
    with pytest.raises(ConfigError, match="no small VAE for tiny"):
        vae_name("small", family=find_family("tiny"))


@pytest.mark.parametrize("kind", ["gan", "encoder"])
def test_two_training_steps_with_it_name_it_in_the_result(
    kind: str, tmp_path: Path, folders: tuple[Path, Path]
) -> None:
    base, small = folders
    settings: dict[str, Any] = {
        "model": {"backbone": "sd2", "base": str(base), "vae": str(small)},
        "schedule": {"first": {"steps": 2, "lr": 1e-3}},
    }
    if kind == "gan":
        settings["discriminator"] = {"vae_round_trip": True}
        train_gan(gan_config(tmp_path, settings))
    else:
        train_encoder(encoder_config(tmp_path, settings))
    results = list((tmp_path / "run").glob("*.safetensors"))
    infos = [read_info(path) for path in results]
    assert [info.vae for info in infos if info is not None] == [str(small)]
