"""Stable Diffusion 3.5 large; --base stabilityai/stable-diffusion-3.5-medium for the small one. No public restoration LoRA."""

from __future__ import annotations

from pathlib import Path

from hypir_cli.config.family import BackbonePreset, Family, ParameterCounts

FAMILY = Family(
    name="sd35",
    backbone="hypir_cli.models.backbones.sd3.backbone:Sd35Backbone",
    preset=BackbonePreset(
        base="stabilityai/stable-diffusion-3.5-large",
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
        # T5. Without these two the T5 half of the text is zeros, which the model was trained to accept.
        optional_components=("text_encoder_3", "tokenizer_3"),
        small_vae="madebyollin/taesd3",
        # The timestep is 1000 times the noise share of the latent (sigma): 0.2, where the model is close to a denoiser of the
        # encoded input. No scheduler shift is applied on top.
        timestep=200,
        coeff_timestep=200,
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
        ),
        licence=(
            "Stability AI Community License: free for research, non-commercial use and businesses "
            "below its revenue limit; larger ones need an enterprise licence."
        ),
    ),
    train_preset=Path(__file__).with_name("train.yaml"),
    parameters=ParameterCounts(
        denoiser=8_056_627_520,
        quantizable=8_014_315_520,
        vae=83_819_683,
        text_encoders=5_580_620_800,
        small_vae=2_458_899,
    ),
    denoiser="transformer",
    kohya="hypir_cli.models.lora.kohya:sd3_names",
)
