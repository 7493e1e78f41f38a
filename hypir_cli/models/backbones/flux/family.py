"""FLUX.1 [dev]; --base black-forest-labs/FLUX.1-schnell for the distilled one. There is no public restoration LoRA."""

from __future__ import annotations

from hypir_cli.config.family import BackbonePreset, ParameterCounts
from hypir_cli.models.backbones import parts

FAMILY = parts.built_in(
    "flux",
    "FluxBackbone",
    preset=BackbonePreset(
        base="black-forest-labs/FLUX.1-dev",
        gated=True,
        components=("vae", "transformer", *parts.TWO_TEXT_ENCODERS, "scheduler"),
        small_vae="madebyollin/taef1",
        # Told to [dev], which was distilled from guided sampling; 1 asks for the plain conditional model. [schnell] has no such input.
        guidance=1.0,
        native_tile=1024,
        lora_targets=(*parts.JOINT_ATTENTION, *parts.FEED_FORWARD, "proj_mlp", "proj_out"),
        licence=(
            "FLUX.1 [dev] is under a non-commercial licence; FLUX.1 [schnell] is under Apache-2.0."
        ),
    ),
    parameters=ParameterCounts(
        denoiser=11_901_408_320,
        quantizable=11_834_228_736,
        text_encoders=4_885_371_136,
        vae=parts.KL_16,
    ),
    kohya="flux_names",
)
