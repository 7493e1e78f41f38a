"""SD3 and SD3.5: three text encoders of which T5 may be missing, and the clean latent of a shifted flow."""

import shutil

import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from hypir_cli.errors import BackboneError
from hypir_cli.models.backbones.registry import load_backbone
from hypir_cli.models.backbones.sd3.backbone import T5_LENGTH
from tests import pipelines
from tests.tiny_families import save_sd3, save_sdxl

INPUTS = ["hidden_states", "timestep", "encoder_hidden_states", "pooled_projections"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {
        "sd3": save_sd3(tmp_path_factory.mktemp("sd3")),
        "sd35": save_sd3(tmp_path_factory.mktemp("sd35"), dual_attention=True),
        "without T5": save_sd3(tmp_path_factory.mktemp("two"), t5=False),
    }


@pytest.mark.parametrize("kind", ["sd3", "sd35", "without T5"])
def test_the_denoiser_gets_what_the_pipeline_gives_it(folders, kind):
    absent = {"text_encoder_3": None, "tokenizer_3": None} if kind == "without T5" else {}
    pipeline = StableDiffusion3Pipeline.from_pretrained(folders[kind], **absent)
    latents = torch.randn(1, 4, 16, 24)
    theirs = pipelines.captured(
        pipeline.transformer,
        lambda: pipeline(
            pipelines.PROMPT, height=32, width=48, guidance_scale=1.0, sigmas=[0.4], latents=latents
        ),
    )
    backbone = load_backbone(kind if kind == "sd35" else "sd3", base=str(folders[kind]))
    ours = pipelines.our_inputs(backbone, latents, timestep=float(theirs["timestep"]))
    pipelines.assert_same_inputs(ours, theirs, INPUTS)


def test_without_t5_its_half_of_the_sequence_is_zeros_and_clip_sets_the_limit(folders):
    backbone = load_backbone("sd3", base=str(folders["without T5"]))
    assert not backbone.encode_prompts([pipelines.PROMPT]).sequence[:, -T5_LENGTH:].any()
    assert backbone.token_overflow("x" * 100) != ""
    assert load_backbone("sd3", base=str(folders["sd3"])).token_overflow("x" * 100) == ""


@pytest.mark.parametrize("kind", ["sd3", "sd35"])
def test_the_clean_latent_is_the_schedulers_last_step_from_its_shifted_sigma(folders, kind):
    backbone = load_backbone(kind, base=str(folders[kind]))
    timestep = pipelines.assert_last_flow_step(backbone, folders[kind], sigma=0.1)
    assert timestep == pytest.approx(250.0)


def test_an_exported_lora_in_the_pipeline_gives_the_same_output(folders):
    backbone = load_backbone("sd35", base=str(folders["sd35"]))
    pipeline = StableDiffusion3Pipeline.from_pretrained(folders["sd35"])
    tensors = pipelines.assert_exported_lora_agrees(backbone, pipeline)
    assert any(".attn2.to_q." in key for key in tensors)


def test_a_model_that_is_no_rectified_flow_is_refused(folders, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(folders["sd3"], folder)
    shutil.copy(
        save_sdxl(tmp_path / "sdxl") / "scheduler/scheduler_config.json", folder / "scheduler"
    )
    with pytest.raises(BackboneError, match="rectified flow"):
        load_backbone("sd3", base=str(folder))
