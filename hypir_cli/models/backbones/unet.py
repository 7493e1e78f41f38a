"""Calling a text-conditioned diffusers U-Net; what Stable Diffusion 2 and XL share."""

from __future__ import annotations

from collections.abc import Mapping

from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from hypir_cli.models.execution import compute_dtype, module_device


def control_width(unet: UNet2DConditionModel) -> int:
    """Length of the vector that is added to the sinusoidal timestep code."""
    return int(unet.config.block_out_channels[0])


def accept_controls(unet: UNet2DConditionModel) -> None:
    """Let a vector of `control_width` reach the timestep code as it is, by diffusers' own condition input."""
    unet.time_embedding.cond_proj = nn.Identity()


def call_unet(
    unet: UNet2DConditionModel,
    latents: Tensor,
    *,
    timestep: Tensor,
    text: Tensor,
    control: Tensor | None = None,
    added: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """One forward pass.

    Args:
        unet: Network; computes in the dtype of its weights.
        latents: (B, C, h, w).
        timestep: Scalar or (B,).
        text: Token embeddings, (B, L, D).
        control: (B, control_width) added to the timestep code, after `accept_controls`.
        added: Further conditions, e.g. `text_embeds` and `time_ids` of Stable Diffusion XL.

    Returns:
        (B, C, h, w) float32.
    """
    device, dtype = module_device(unet), compute_dtype(unet)
    output: Tensor = unet(
        latents.to(device, dtype),
        timestep.to(device).reshape(-1).expand(latents.shape[0]),
        encoder_hidden_states=text.to(device, dtype),
        timestep_cond=None if control is None else control.to(device, dtype),
        added_cond_kwargs=None if added is None else dict(added),
        return_dict=False,
    )[0]
    return output.float()
