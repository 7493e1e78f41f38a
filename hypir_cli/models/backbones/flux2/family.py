"""FLUX.2 [klein] base 4B, undistilled; --base black-forest-labs/FLUX.2-klein-4B for the distilled one. No public LoRA."""

from __future__ import annotations

from hypir_cli.config.family import BackbonePreset, ParameterCounts
from hypir_cli.models.backbones import parts

FAMILY = parts.built_in(
    "flux2",
    "Flux2Backbone",
    preset=BackbonePreset(
        base="black-forest-labs/FLUX.2-klein-base-4B",
        components=("vae", "transformer", "text_encoder", "tokenizer", "scheduler"),
        small_vae="black-forest-labs/FLUX.2-small-decoder",
        native_tile=1024,
        lora_targets=(
            *parts.JOINT_ATTENTION,
            *("ff.linear_in", "ff.linear_out", "ff_context.linear_in", "ff_context.linear_out"),
            *("to_qkv_mlp_proj", "to_out"),
        ),
        licence=(
            "FLUX.2 [klein] 4B is published under Apache-2.0, the 9B models under a "
            "non-commercial licence; the model's card has the last word."
        ),
    ),
    parameters=ParameterCounts(
        denoiser=3_875_544_576,
        quantizable=3_680_501_760,
        text_encoders=4_022_468_096,
        vae=(84_046_115, 62_373_091),
    ),
    kohya="flux_names",
)
