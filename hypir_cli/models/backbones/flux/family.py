"""FLUX.1 [dev]; --base black-forest-labs/FLUX.1-schnell for the distilled one. There is no public restoration LoRA."""

from __future__ import annotations

from pathlib import Path

from hypir_cli.config.family import BackbonePreset, Family, ParameterCounts
from hypir_cli.models.backbones.parts import FEED_FORWARD, JOINT_ATTENTION, TWO_TEXT_ENCODERS

FAMILY = Family(
    name="flux",
    backbone="hypir_cli.models.backbones.flux.backbone:FluxBackbone",
    preset=BackbonePreset(
        base="black-forest-labs/FLUX.1-dev",
        gated=True,
        components=("vae", "transformer", *TWO_TEXT_ENCODERS, "scheduler"),
        small_vae="madebyollin/taef1",
        # Told to [dev], which was distilled from guided sampling; 1 asks for the plain conditional model. [schnell] has no such input.
        guidance=1.0,
        native_tile=1024,
        lora_targets=(*JOINT_ATTENTION, *FEED_FORWARD, "proj_mlp", "proj_out"),
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
