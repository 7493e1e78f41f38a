"""Stable Diffusion XL 1.0. There is no public restoration LoRA: give --lora one that you trained."""

from __future__ import annotations

from pathlib import Path

from hypir_cli.config.family import BackbonePreset, Family, ParameterCounts
from hypir_cli.models.backbones.parts import TWO_TEXT_ENCODERS, UNET_LAYERS

FAMILY = Family(
    name="sdxl",
    backbone="hypir_cli.models.backbones.sdxl.backbone:SdxlBackbone",
    preset=BackbonePreset(
        base="stabilityai/stable-diffusion-xl-base-1.0",
        components=("vae", "unet", *TWO_TEXT_ENCODERS, "scheduler"),
        small_vae="madebyollin/taesdxl",
        native_tile=1024,
        lora_targets=UNET_LAYERS,
        licence=(
            "Stable Diffusion XL 1.0 is under CreativeML Open RAIL++-M, which allows commercial "
            "use within its use restrictions."
        ),
    ),
    train_preset=Path(__file__).with_name("train.yaml"),
    parameters=ParameterCounts(
        denoiser=2_567_463_684,
        quantizable=2_225_356_800,
        vae=83_653_863,
        text_encoders=817_720_320,
        small_vae=2_445_063,
    ),
    denoiser="unet",
    kohya="hypir_cli.models.lora.kohya:sdxl_names",
)
