"""What several backbones have: folders of a base, and layers that get adapters (endings of module paths in diffusers' networks)."""

from __future__ import annotations

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
