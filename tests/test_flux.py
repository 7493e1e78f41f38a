"""FLUX.1: packing, ids, guidance and text as its own pipeline feeds them."""

import pytest
import torch
from diffusers import FluxPipeline
from httpx import Request, Response
from huggingface_hub.errors import GatedRepoError

from hypir_cli.errors import BackboneError
from hypir_cli.models import hub
from hypir_cli.models.backbones.registry import load_backbone
from tests import pipelines
from tests.tiny_families import save_flux

INPUTS = [
    "hidden_states",
    "timestep",
    "guidance",
    "pooled_projections",
    "encoder_hidden_states",
    "txt_ids",
    "img_ids",
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {
        "dev": save_flux(tmp_path_factory.mktemp("dev")),
        "schnell": save_flux(tmp_path_factory.mktemp("schnell"), guidance=False),
    }


@pytest.mark.parametrize("kind", ["dev", "schnell"])
def test_the_denoiser_gets_what_the_pipeline_gives_it(folders, kind):
    pipeline = FluxPipeline.from_pretrained(folders[kind])
    backbone = load_backbone("flux", base=str(folders[kind]))
    latents = torch.randn(1, 4, 16, 24)
    theirs = pipelines.captured(
        pipeline.transformer,
        lambda: pipeline(
            pipelines.PROMPT,
            height=32,
            width=48,
            sigmas=[0.4],
            num_inference_steps=1,
            guidance_scale=backbone.preset.guidance,
            latents=FluxPipeline._pack_latents(latents, 1, 4, 16, 24),
        ),
    )
    ours = pipelines.our_inputs(backbone, latents, timestep=float(theirs["timestep"]) * 1000)
    pipelines.assert_same_inputs(ours, theirs, INPUTS)
    assert (ours["guidance"] is None) == (kind == "schnell")


def test_the_output_is_unpacked_as_the_pipeline_does(folders):
    backbone = load_backbone("flux", base=str(folders["dev"]))
    latents = torch.randn(1, 4, 16, 24)
    inputs = pipelines.our_inputs(backbone, latents)
    prompt = backbone.encode_prompts([pipelines.PROMPT])
    with torch.inference_mode():
        packed = backbone.denoiser(**inputs)[0]
        output = backbone.denoise(latents, prompt=prompt, timestep=torch.tensor(200))
    expected = FluxPipeline._unpack_latents(packed, 32, 48, vae_scale_factor=2)
    assert torch.equal(output, expected)


@pytest.mark.parametrize(("kind", "shift"), [("dev", {"mu": 0.7}), ("schnell", {})])
def test_the_clean_latent_is_the_schedulers_last_step(folders, kind, shift):
    backbone = load_backbone("flux", base=str(folders[kind]))
    pipelines.assert_last_flow_step(backbone, folders[kind], sigma=0.15, **shift)


def test_an_exported_lora_in_the_pipeline_gives_the_same_output(folders):
    backbone = load_backbone("flux", base=str(folders["dev"]))
    pipelines.assert_exported_lora_agrees(backbone, FluxPipeline.from_pretrained(folders["dev"]))


def test_latents_that_cannot_be_packed_are_refused(folders):
    backbone = load_backbone("flux", base=str(folders["dev"]))
    prompt = backbone.encode_prompts([pipelines.PROMPT])
    with pytest.raises(ValueError, match="multiples of 2, got 15x16"):
        backbone.denoise(torch.randn(1, 4, 15, 16), prompt=prompt, timestep=torch.tensor(200))


def test_a_licence_that_was_not_accepted_is_explained_in_two_lines(monkeypatch):
    def gated(*args, local_files_only=False, **kwargs):
        if local_files_only:
            raise hub.LocalEntryNotFoundError("not cached")
        request = Request("GET", "https://huggingface.co/black-forest-labs/FLUX.1-dev")
        raise GatedRepoError("403", response=Response(403, request=request))

    monkeypatch.setattr(hub, "snapshot_download", gated)
    with pytest.raises(BackboneError, match="licence") as caught:
        load_backbone("flux")
    assert "hf auth login" in caught.value.hint
    assert "black-forest-labs/FLUX.1-dev" in caught.value.hint
