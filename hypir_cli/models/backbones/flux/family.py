"""FLUX.1 [dev]; --base black-forest-labs/FLUX.1-schnell for the distilled one. There is no public restoration LoRA."""

from __future__ import annotations

from pathlib import Path

from hypir_cli.config.family import BackbonePreset, Family, ParameterCounts

FAMILY = Family(
    name="flux",
    backbone="hypir_cli.models.backbones.flux.backbone:FluxBackbone",
    preset=BackbonePreset(
        base="black-forest-labs/FLUX.1-dev",
        gated=True,
        components=(
            "vae",
            "transformer",
            "text_encoder",
            "text_encoder_2",
            "tokenizer",
            "tokenizer_2",
            "scheduler",
        ),
        small_vae="madebyollin/taef1",
        # The timestep is 1000 times the noise share of the latent (sigma): 0.2, where the model is close to a denoiser of the
        # encoded input. No scheduler shift is applied on top.
        timestep=200,
        coeff_timestep=200,
        # Told to [dev], which was distilled from guided sampling; 1 asks for the plain conditional model. [schnell] has no such input.
        guidance=1.0,
        native_tile=1024,
        lora_targets=(
            "to_q",
            "to_k",
            "to_v",
            "to_out.0",
            "add_q_proj",
            "add_k_proj",
            "add_v_proj",
            "to_add_out",
            "ff.net.0.proj",
            "ff.net.2",
            "ff_context.net.0.proj",
            "ff_context.net.2",
            "proj_mlp",
            "proj_out",
        ),
        licence=(
            "FLUX.1 [dev] is under a non-commercial licence; FLUX.1 [schnell] is under Apache-2.0."
        ),
    ),
    train_preset=Path(__file__).with_name("train.yaml"),
    parameters=ParameterCounts(
        denoiser=11_901_408_320,
        quantizable=11_834_228_736,
        vae=83_819_683,
        text_encoders=4_885_371_136,
        small_vae=2_458_899,
    ),
    denoiser="transformer",
    kohya="hypir_cli.models.lora.kohya:flux_names",
)
