"""Put a restoration LoRA with its controls into a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.checkpoint import CheckpointInfo, require_match, require_tensors
from hypir_cli.models.lora import LoraState, attach_lora, merge_lora


def apply_lora(
    backbone: Backbone, state: LoraState, *, scale: float = 1.0, merge: bool = True
) -> None:
    """Give a backbone trained adapters, the controls trained with them and the timesteps they were trained at.

    Args:
        backbone: Changed in place: denoiser, `control_embedding`, timesteps in `traits`.
        state: From `read_lora`.
        scale: Strength of the adapters.
        merge: Add them to the base weights (fast) instead of keeping them beside (exact, trainable).

    Raises:
        CheckpointError: They belong to another backbone or do not fit.
    """
    require_match(state.info, kind="lora", backbone=backbone.traits.name, source=state.source)
    place = merge_lora if merge else attach_lora
    place(backbone.denoiser, state, scale=scale)
    if state.controls:
        embedding = backbone.enable_controls()
        _copy_into(embedding, state.controls, source=state.source)
    use_timesteps(backbone, state.info)


def use_timesteps(backbone: Backbone, info: CheckpointInfo) -> None:
    """Give a backbone the timesteps that a checkpoint was trained at, where it names them."""
    traits = backbone.traits
    backbone.traits = replace(
        traits,
        timestep=traits.timestep if info.timestep is None else info.timestep,
        coeff_timestep=traits.coeff_timestep
        if info.coeff_timestep is None
        else info.coeff_timestep,
    )


@torch.no_grad()
def _copy_into(module: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    wanted = module.state_dict()
    require_tensors(tensors, wanted, source=source, target=type(module).__name__)
    for key, value in wanted.items():
        value.copy_(tensors[key])
