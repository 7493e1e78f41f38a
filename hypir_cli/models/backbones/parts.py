"""What several backbones have: folders of a base, sizes of a VAE, and layers that get adapters (endings of module paths in diffusers' networks)."""

from __future__ import annotations

from pathlib import Path

from hypir_cli.config.family import BackbonePreset, Family, ParameterCounts

TWO_TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
UNET_LAYERS = (
    *("to_k", "to_q", "to_v", "to_out.0"),
    *("conv", "conv1", "conv2", "conv_shortcut", "conv_out"),
    *("proj_in", "proj_out", "ff.net.2", "ff.net.0.proj"),
)
"""Attention, convolutions and feed-forward layers of a text-conditioned U-Net, as the HYPIR release adapts them."""
JOINT_ATTENTION = (
    *("to_q", "to_k", "to_v", "to_out.0"),
    *("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
)
"""Both streams' attention of a joint-attention transformer."""
FEED_FORWARD = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")
"""Both streams' feed-forward layers, as SD3 and FLUX.1 name them."""
KL_4 = (83_653_863, 2_445_063)
"""The VAE with 4 latent channels of Stable Diffusion 2 and XL, and its TAESD."""
KL_16 = (83_819_683, 2_458_899)
"""The VAE with 16 latent channels of SD3 and FLUX.1, and its TAESD."""


def built_in(
    name: str,
    backbone: str,
    *,
    preset: BackbonePreset,
    parameters: ParameterCounts | None = None,
    kohya: str = "",
    release_format: bool = False,
) -> Family:
    """The record of a backbone of this package, whose folder has its class in `backbone.py` and its training preset in `train.yaml`."""
    return Family(
        name=name,
        backbone=f"{__package__}.{name}.backbone:{backbone}",
        preset=preset,
        train_preset=Path(__file__).parent / name / "train.yaml",
        parameters=parameters,
        kohya=f"hypir_cli.models.lora.kohya:{kohya}" if kohya else "",
        release_format=release_format,
    )
