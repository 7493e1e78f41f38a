"""Stable Diffusion XL 1.0. There is no public restoration LoRA: give --lora one that you trained."""

from __future__ import annotations

from hypir_cli.config.family import BackbonePreset, ParameterCounts
from hypir_cli.models.backbones import parts

FAMILY = parts.built_in(
    "sdxl",
    "SdxlBackbone",
    preset=BackbonePreset(
        base="stabilityai/stable-diffusion-xl-base-1.0",
        components=("vae", "unet", *parts.TWO_TEXT_ENCODERS, "scheduler"),
        small_vae="madebyollin/taesdxl",
        native_tile=1024,
        lora_targets=parts.UNET_LAYERS,
        licence=(
            "Stable Diffusion XL 1.0 is under CreativeML Open RAIL++-M, which allows commercial "
            "use within its use restrictions."
        ),
    ),
    parameters=ParameterCounts(
        denoiser=2_567_463_684, quantizable=2_225_356_800, text_encoders=817_720_320, vae=parts.KL_4
    ),
    kohya="sdxl_names",
)
