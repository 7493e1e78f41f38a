"""Where and in what a network computes, which is not always where and how its weights are stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_ATTRIBUTE = "hypir_execution_device"
_QUANTIZED = "hypir_quantized"


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
    if any(getattr(part, _QUANTIZED, False) for part in module.modules()):
        return True
    return any(type(parameter) is not nn.Parameter for parameter in module.parameters())


def mark_quantized(layer: nn.Module) -> None:
    """Say that a layer's weights are quantised, where they are no parameters that would show it."""
    setattr(layer, _QUANTIZED, True)


@contextmanager
def float32_weights(module: nn.Module) -> Iterator[None]:
    """A network computes in float32 inside the block; then every tensor has the dtype it had, bit for bit.

    Weights that wait elsewhere are stood for by empty tensors, in whose format the layers ask for them: casting those is enough.
    """
    # Per tensor: float32 adapters in a half-precision network stay as they are. By name: offloading puts new tensors in place.
    dtypes = {name: value.dtype for name, value in _fractions(module).items()}
    try:
        for name, value in _fractions(module).items():
            _recast(module, name, value, torch.float32)
        yield
    finally:
        for name, value in _fractions(module).items():
            _recast(module, name, value, dtypes[name])


def _fractions(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers that hold fractions, by name."""
    found: dict[str, Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: value for name, value in found.items() if value.is_floating_point()}


def _recast(module: nn.Module, name: str, value: Tensor, dtype: torch.dtype) -> None:
    if not value.is_meta:
        value.data = value.data.to(dtype)
        return
    # An empty tensor that was made in inference mode takes no other data; another one is as good.
    owner, _, leaf = name.rpartition(".")
    empty = nn.Parameter(torch.empty_like(value, dtype=dtype), requires_grad=value.requires_grad)
    setattr(module.get_submodule(owner), leaf, empty)
