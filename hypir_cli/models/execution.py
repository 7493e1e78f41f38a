"""Where and in what a network computes, which is not always where and how its weights are stored."""

from __future__ import annotations

import torch
from torch import nn

_ATTRIBUTE = "hypir_execution_device"


def module_device(module: nn.Module) -> torch.device:
    """Where a network computes: what `set_execution_device` said, else where its weights are."""
    device = getattr(module, _ATTRIBUTE, None)
    return device if device is not None else next(module.parameters()).device


def set_execution_device(module: nn.Module, device: torch.device | None) -> None:
    """Say where a network computes while its weights wait elsewhere; None: where its weights are."""
    setattr(module, _ATTRIBUTE, device)


def use_channels_last(module: nn.Module, *, device: torch.device) -> None:
    """Store convolutions the way that is fastest, on devices whose torch is known to compute right with it."""
    if device.type in ("cpu", "cuda"):
        module.to(memory_format=torch.channels_last)


def compute_dtype(module: nn.Module) -> torch.dtype:
    """What a network computes in: the dtype of its first plain weight, adapters left aside."""
    for name, parameter in module.named_parameters():
        if parameter.is_floating_point() and ".lora_" not in name:
            return parameter.dtype
    return torch.float32


def is_quantized(module: nn.Module) -> bool:
    """Whether any weight is stored in a quantised form."""
    return any(type(parameter) is not nn.Parameter for parameter in module.parameters())
