"""Stable Diffusion 3 medium. There is no public restoration LoRA: give --lora one that you trained."""

from __future__ import annotations

from hypir_cli.config.family import BackbonePreset, ParameterCounts
from hypir_cli.models.backbones import parts

FAMILY = parts.built_in(
    "sd3",
    "Sd3Backbone",
    preset=BackbonePreset(
        base="stabilityai/stable-diffusion-3-medium-diffusers",
        gated=True,
        components=("vae", "transformer", *parts.TWO_TEXT_ENCODERS, "scheduler"),
        # T5. Without these two the T5 half of the text is zeros, which the model was trained to accept.
        optional_components=("text_encoder_3", "tokenizer_3"),
        small_vae="madebyollin/taesd3",
        native_tile=1024,
        lora_targets=(*parts.JOINT_ATTENTION, *parts.FEED_FORWARD),
        licence=(
            "Stability AI Community License: free for research, non-commercial use and businesses "
            "below its revenue limit; larger ones need an enterprise licence."
        ),
    ),
    parameters=ParameterCounts(
        denoiser=2_028_328_000,
        quantizable=2_007_760_896,
        text_encoders=5_580_620_800,
        vae=parts.KL_16,
    ),
    kohya="sd3_names",
)
