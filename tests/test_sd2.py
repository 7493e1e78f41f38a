"""Stable Diffusion 2: its networks give the reference's numbers, from every form its folder comes in."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from diffusers import UNet2DConditionModel

from hypir_cli.config.families import family_names, find_family
from hypir_cli.errors import BackboneError, ConfigError
from hypir_cli.models.backbones.base import PromptEmbeds
from hypir_cli.models.backbones.registry import load_backbone
from hypir_cli.models.backbones.sd2.backbone import SD2Backbone
from hypir_cli.models.lora import target_modules
from tests import golden
from tests.builders import save_sd2

NETWORKS = 5e-5
SD21_UNET = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}


@pytest.fixture(scope="module")
def vectors():
    return golden.tensors("stages/networks")


def golden_prompt(vectors, name):
    return PromptEmbeds(sequence=vectors[name])


@pytest.fixture(scope="module")
def base():
    return golden.contiguous(golden.model(lora=False))


@pytest.fixture
def folder(tmp_path):
    return save_sd2(tmp_path / "sd2")


@torch.inference_mode()
def test_the_vae_gives_the_references_moments_and_pixels(base, vectors):
    image = (vectors["vae_x"] + 1) / 2
    mean = base.encode(image)
    assert golden.distance(mean, vectors["vae_mean"] * golden.SCALING) < NETWORKS
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    sample = (vectors["vae_mean"] + vectors["vae_std"] * noise) * golden.SCALING
    assert golden.distance(base.encode(image, noise=noise), sample) < NETWORKS
    decoded = base.decode(vectors["dec_in"] * golden.SCALING) * 2 - 1
    assert golden.distance(decoded, vectors["dec_out"]) < NETWORKS


@torch.inference_mode()
@pytest.mark.parametrize("merge", [True, False], ids=["merged", "attached"])
def test_the_denoiser_gives_the_references_noise_with_and_without_lora(base, vectors, merge):
    adapted = golden.model(merge=merge)
    prompt = golden_prompt(vectors, "text_embed")
    for backbone, key in ((base, "unet_eps_base"), (adapted, "unet_eps_lora")):
        latents, timestep = vectors["unet_z_scaled"], torch.tensor(200)
        noise = backbone.denoise(latents, prompt=prompt, timestep=timestep)
        assert golden.distance(noise, vectors[key]) < NETWORKS
    clean = adapted.predict_clean(latents, vectors["unet_eps_lora"], timestep=timestep)
    assert golden.distance(clean, vectors["x0_scaled"]) < NETWORKS
    both = PromptEmbeds.stack([prompt, golden_prompt(vectors, "text_embed_empty")])
    batch = adapted.denoise(vectors["unet_b2_z"], prompt=both, timestep=timestep)
    assert golden.distance(batch, vectors["unet_b2_eps"]) < NETWORKS


@torch.inference_mode()
def test_prompts_give_the_references_embeddings(base, vectors):
    embeds = base.encode_prompts([golden.PROMPT, ""]).sequence
    assert golden.distance(embeds[:1], vectors["text_embed"]) < NETWORKS
    assert golden.distance(embeds[1:], vectors["text_embed_empty"]) < NETWORKS


def test_traits_come_from_the_models_own_files(base):
    traits = base.traits
    assert (traits.spatial_factor, traits.latent_channels) == (8, 4)
    assert (traits.native_tile, traits.tile_multiple) == (64, 16)
    assert (traits.timestep, traits.coeff_timestep) == (200, 200)
    assert traits.prediction == "epsilon"


def test_a_model_that_predicts_velocity_says_so(tmp_path):
    folder = save_sd2(tmp_path / "v", prediction_type="v_prediction")
    assert SD2Backbone.load(str(folder)).traits.prediction == "v_prediction"


def test_a_scheduler_that_clips_does_not_clip_the_clean_latent(folder):
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text())
    config.pop("clip_sample")
    path.write_text(json.dumps(config))
    backbone = SD2Backbone.load(str(folder))
    latents = torch.full((1, 4, 2, 2), 9.0)
    clean = backbone.predict_clean(latents, torch.zeros_like(latents), timestep=torch.tensor(1))
    assert float(clean.min()) > 8.9


@torch.inference_mode()
@pytest.mark.parametrize("form", ["fp16 variant", "pickles"])
def test_other_forms_of_weights_load_too(folder, form):
    expected = SD2Backbone.load(str(folder))
    for path in list(folder.rglob("*.safetensors")):
        if form == "fp16 variant":
            path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
        else:
            name = "pytorch_model" if path.stem == "model" else path.stem
            torch.save(golden.load_file(path), path.with_name(f"{name}.bin"))
            path.unlink()
    found = SD2Backbone.load(str(folder))
    for part, module in expected.components().items():
        for key, value in module.state_dict().items():
            assert torch.equal(found.components()[part].state_dict()[key], value)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_truncated_weights_file_is_named(folder, part):
    (path,) = (folder / part).glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BackboneError, match=part):
        SD2Backbone.load(str(folder))


def test_a_damaged_tokenizer_or_scheduler_is_named(folder):
    (folder / "scheduler" / "scheduler_config.json").write_text("{")
    with pytest.raises(BackboneError, match="scheduler_config"):
        SD2Backbone.load(str(folder))
    for path in (folder / "tokenizer").iterdir():
        path.write_text("{")
    with pytest.raises(BackboneError, match="tokenizer"):
        SD2Backbone.load(str(folder))


def test_the_vae_is_stored_channels_last(folder):
    kernel = SD2Backbone.load(str(folder)).vae.encoder.conv_in.weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)


def test_the_full_model_has_the_releases_number_of_adapters():
    """514 tensors; at rank 256 their 1,038 MB are the size of the release's file."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD21_UNET)
    modules = target_modules(unet, find_family("sd2").preset.lora_targets)
    layers = dict(unet.named_modules())
    shapes = [layers[name].weight.shape for name in modules]
    numbers = sum(256 * (shape[0] + shape[1:].numel()) for shape in shapes)
    assert 2 * len(modules) == 514
    assert 4 * numbers == pytest.approx(1_038_090_392, rel=2e-4)


def test_every_member_has_a_preset_and_a_licence_note():
    for name in family_names():
        family = find_family(name)
        assert family.name == name
        assert family.preset.licence
        assert bool(family.preset.components) == (not family.embedded)


def test_the_public_loras_two_licences_are_told():
    assert "non-commercial" in find_family("sd2").preset.licence
    assert "Apache-2.0" in find_family("sd2").preset.licence


@pytest.mark.parametrize("load", [load_backbone, find_family])
def test_an_unknown_name_is_an_error_that_knows_better(load):
    with pytest.raises(ConfigError) as caught:
        load("sdx")
    assert "sdxl" in caught.value.hint


def test_the_embedded_backbone_has_no_revisions(tmp_path):
    with pytest.raises(ConfigError, match="revision"):
        load_backbone("tiny", revision="main")


def test_a_backbone_loads_without_what_it_does_not_need(folder):
    shutil.rmtree(folder / "scheduler")
    with pytest.raises(BackboneError, match="scheduler"):
        load_backbone("sd2", base=str(folder))
