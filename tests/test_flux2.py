"""FLUX.2 [klein]: normalised patches, four-axis ids and language model states as its own pipeline has them."""

import pytest
import torch
from diffusers import Flux2KleinPipeline

from hypir_cli.errors import BackboneError
from hypir_cli.models.backbones.controls import Controls
from hypir_cli.models.backbones.registry import load_backbone
from tests import pipelines
from tests.tiny_families import save_flux2

INPUTS = ["hidden_states", "timestep", "guidance", "encoder_hidden_states", "txt_ids", "img_ids"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_flux2(tmp_path_factory.mktemp("flux2"))


@pytest.fixture
def backbone(folder):
    return load_backbone("flux2", base=str(folder))


def test_the_denoiser_gets_what_the_pipeline_gives_it(folder, backbone):
    pipeline = Flux2KleinPipeline.from_pretrained(folder)
    latents = torch.randn(1, 4, 16, 24)
    theirs = pipelines.captured(
        pipeline.transformer,
        lambda: pipeline(
            prompt=pipelines.PROMPT,
            height=32,
            width=48,
            sigmas=[0.4],
            num_inference_steps=1,
            guidance_scale=1.0,
            latents=Flux2KleinPipeline._patchify_latents(latents),
            text_encoder_out_layers=backbone.text_layers,
        ),
    )
    ours = pipelines.our_inputs(backbone, latents, timestep=float(theirs["timestep"]) * 1000)
    pipelines.assert_same_inputs(ours, theirs, INPUTS)


def test_the_layers_of_the_published_language_model_are_9_18_and_27():
    from hypir_cli.models.backbones.flux2.backbone import TEXT_DEPTHS

    assert [int(36 * depth) for depth in TEXT_DEPTHS] == [9, 18, 27]


def test_encoding_normalises_patches_as_the_pipeline_does(folder, backbone):
    pipeline = Flux2KleinPipeline.from_pretrained(folder)
    images = torch.rand(1, 3, 32, 48)
    with torch.inference_mode():
        expected = pipeline._encode_vae_image(images * 2 - 1, generator=None)
        latents = backbone.encode(images)
    assert torch.allclose(Flux2KleinPipeline._patchify_latents(latents), expected, atol=1e-5)


def test_decoding_undoes_the_normalisation(backbone):
    latents = torch.randn(1, 4, 16, 24)
    assert torch.allclose(backbone.normalize(backbone.denormalize(latents)), latents, atol=1e-5)


def test_the_clean_latent_is_the_schedulers_last_step(folder, backbone):
    pipelines.assert_last_flow_step(backbone, folder, sigma=0.15, mu=0.7)


def test_an_exported_lora_in_the_pipeline_gives_the_same_output(folder, backbone):
    pipelines.assert_exported_lora_agrees(backbone, Flux2KleinPipeline.from_pretrained(folder))


def test_controls_change_the_output_and_leave_saved_weights_as_they_were(backbone):
    names = set(backbone.denoiser.state_dict())
    latents, prompt = torch.randn(1, 4, 16, 16), backbone.encode_prompts([pipelines.PROMPT])
    embedding = backbone.enable_controls()
    torch.nn.init.normal_(embedding.out.weight)

    def output(texture):
        return backbone.denoise(
            latents,
            prompt=prompt,
            timestep=torch.tensor(200),
            controls=Controls(texture=torch.tensor([texture])),
        )

    assert not torch.allclose(output(100.0), output(3000.0))
    assert set(backbone.denoiser.state_dict()) == names


def test_the_end_of_a_long_prompt_is_named(backbone):
    dropped = backbone.token_overflow("x" * 600 + " the end")
    assert dropped.endswith("the end")
    assert backbone.token_overflow("short") == ""


def test_another_member_of_the_family_is_refused(tmp_path):
    with pytest.raises(BackboneError, match=r"not a \[klein\] model"):
        load_backbone("flux2", base=str(save_flux2(tmp_path, guidance=True)))
