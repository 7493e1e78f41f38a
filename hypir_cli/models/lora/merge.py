"""Fold adapters into the base weights: the same network afterwards, at no extra cost per call."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hypir_cli.errors import CheckpointError
from hypir_cli.models.lora.bind import Binding, bind
from hypir_cli.models.lora.state import LoraState


@torch.no_grad()
def merge_lora(denoiser: nn.Module, state: LoraState, *, scale: float = 1.0) -> None:
    """Add every adapter's update to the weight of its layer, in place.

    The sum is made in float32, layer by layer, and rounded once to the weight's own dtype.

    Args:
        denoiser: Network whose linear and convolution weights change.
        state: Adapters from `read_lora`.
        scale: Strength; 1 as trained, 0 none.

    Raises:
        CheckpointError: The adapters do not fit, or the base is quantised.
    """
    bindings = bind(denoiser, state)
    quantised = [name for name, item in bindings.items() if not _is_plain(item)]
    if quantised:
        raise CheckpointError(
            f"{state.source} cannot be merged into quantised weights ({quantised[0]}).",
            hint="keep the LoRA unmerged when the base is quantised",
        )
    for binding in bindings.values():
        weight = binding.layer.weight
        update = lora_delta(binding.down.to(weight.device), binding.up.to(weight.device))
        update *= scale * binding.alpha / binding.down.shape[0]
        weight.copy_(update.reshape(weight.shape).add_(weight.float()))


def lora_delta(down: Tensor, up: Tensor) -> Tensor:
    """`B @ A` as a matrix, (out, in * kh * kw) float32."""
    return up.float().flatten(1) @ down.float().flatten(1)


def _is_plain(binding: Binding) -> bool:
    weight = binding.layer.weight
    return weight.is_floating_point() and type(weight) is nn.Parameter and weight.numel() > 0
