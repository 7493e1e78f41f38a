"""Stable Diffusion 3.5 large; --base stabilityai/stable-diffusion-3.5-medium for the small one. No public restoration LoRA."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypir_cli.config.family import ParameterCounts
from hypir_cli.models.backbones.parts import KL_16
from hypir_cli.models.backbones.sd3.family import FAMILY as SD3

FAMILY = replace(
    SD3,
    name="sd35",
    backbone="hypir_cli.models.backbones.sd3.backbone:Sd35Backbone",
    preset=replace(SD3.preset, base="stabilityai/stable-diffusion-3.5-large"),
    train_preset=Path(__file__).with_name("train.yaml"),
    parameters=ParameterCounts(
        denoiser=8_056_627_520, quantizable=8_014_315_520, text_encoders=5_580_620_800, vae=KL_16
    ),
)
