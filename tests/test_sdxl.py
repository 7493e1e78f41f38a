"""SDXL: conditioning as its own pipeline feeds it, and a VAE that is safe in half precision."""

import shutil

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline

from hypir_cli.errors import BackboneError
from hypir_cli.models.backbones.registry import load_backbone
from tests import pipelines
from tests.tiny_families import save_sdxl


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_sdxl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture
def backbone(folder):
    return load_backbone("sdxl", base=str(folder))


# diffusers' Euler scheduler meets a recent numpy.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_text_pooled_vector_and_micro_conditioning_are_those_of_the_pipeline(folder, backbone):
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder)
    theirs = pipelines.captured(
        pipeline.unet,
        lambda: pipeline(
            pipelines.PROMPT, height=32, width=48, guidance_scale=1.0, num_inference_steps=1
        ),
    )
    ours = pipelines.our_inputs(backbone, torch.randn(1, 4, 16, 24))
    pipelines.assert_same_inputs(ours, theirs, ["encoder_hidden_states"])
    pipelines.assert_same_inputs(
        ours["added_cond_kwargs"], theirs["added_cond_kwargs"], ["text_embeds", "time_ids"]
    )
    assert ours["added_cond_kwargs"]["time_ids"].tolist() == [[32, 48, 0, 0, 32, 48]]


def test_the_clean_latent_is_the_schedulers_pred_original_sample(folder, backbone):
    scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler", clip_sample=False)
    scheduler.set_timesteps(10)
    latents, eps = torch.randn(2, 1, 4, 8, 8).unbind()
    for timestep in (1, 200, 999):
        expected = scheduler.step(eps, timestep, latents).pred_original_sample
        clean = backbone.predict_clean(latents, eps, timestep=torch.tensor(timestep))
        scale = max(1.0, float(expected.abs().max()))
        assert (clean - expected).abs().max() < 1e-5 * scale


def test_an_exported_lora_in_the_pipeline_gives_the_same_output(folder, backbone):
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder)
    pipelines.assert_exported_lora_agrees(backbone, pipeline, denoiser="unet")


def test_a_vae_that_overflows_stays_in_float32_beside_a_float16_unet(folder):
    backbone = load_backbone("sdxl", base=str(folder), dtype=torch.float16)
    vae = backbone.components()["vae"]
    assert {p.dtype for p in vae.parameters()} == {torch.float32}
    assert backbone.dtype == torch.float16
    exact = load_backbone("sdxl", base=str(folder)).components()["vae"]
    assert torch.equal(next(vae.parameters()), next(exact.parameters()))


def test_a_vae_made_safe_for_float16_is_used_in_float16(tmp_path):
    folder = save_sdxl(tmp_path, force_upcast=False)
    backbone = load_backbone("sdxl", base=str(folder), dtype=torch.float16)
    assert {p.dtype for p in backbone.components()["vae"].parameters()} == {torch.float16}


def test_a_base_without_its_second_text_encoder_is_refused_in_two_lines(tmp_path):
    folder = save_sdxl(tmp_path)
    shutil.rmtree(folder / "text_encoder_2")
    with pytest.raises(BackboneError, match="text_encoder_2") as caught:
        load_backbone("sdxl", base=str(folder))
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_a_new_prompt_after_the_release_is_refused(backbone):
    backbone.release_text_encoders()
    with pytest.raises(BackboneError, match="released"):
        backbone.encode_prompts([pipelines.PROMPT])
