"""Stable Diffusion 3 medium. There is no public restoration LoRA: give --lora one that you trained."""

from __future__ import annotations

from pathlib import Path

from hypir_cli.config.family import BackbonePreset, Family, ParameterCounts
from hypir_cli.models.backbones.parts import FEED_FORWARD, JOINT_ATTENTION, TWO_TEXT_ENCODERS

FAMILY = Family(
    name="sd3",
    backbone="hypir_cli.models.backbones.sd3.backbone:Sd3Backbone",
    preset=BackbonePreset(
        base="stabilityai/stable-diffusion-3-medium-diffusers",
        gated=True,
        components=("vae", "transformer", *TWO_TEXT_ENCODERS, "scheduler"),
        # T5. Without these two the T5 half of the text is zeros, which the model was trained to accept.
        optional_components=("text_encoder_3", "tokenizer_3"),
        small_vae="madebyollin/taesd3",
        native_tile=1024,
        lora_targets=(*JOINT_ATTENTION, *FEED_FORWARD),
        licence=(
            "Stability AI Community License: free for research, non-commercial use and businesses "
            "below its revenue limit; larger ones need an enterprise licence."
        ),
    ),
    train_preset=Path(__file__).with_name("train.yaml"),
    parameters=ParameterCounts(
        denoiser=2_028_328_000,
        quantizable=2_007_760_896,
        vae=83_819_683,
        text_encoders=5_580_620_800,
        small_vae=2_458_899,
    ),
    denoiser="transformer",
    kohya="hypir_cli.models.lora.kohya:sd3_names",
)
