"""What a family's own diffusers pipeline feeds its denoiser, to compare with what a backbone feeds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.lora import LoraState, add_fresh_lora, lora_state_dict


class CapturedError(Exception):
    """Raised in place of the denoiser's work."""


def captured(denoiser: nn.Module, call: Callable[[], Any]) -> dict[str, Any]:
    """Arguments of the first call of a denoiser inside `call`, by name; positional ones by their place."""
    found: dict[str, Any] = {}

    def forward(*args: Any, **kwargs: Any) -> Any:
        found.update({str(place): value for place, value in enumerate(args)}, **kwargs)
        raise CapturedError

    original = denoiser.forward
    denoiser.forward = forward
    try:
        with torch.inference_mode():
            call()
    except CapturedError:
        pass
    finally:
        denoiser.forward = original
    return found


def assert_same_inputs(ours: dict[str, Any], theirs: dict[str, Any], names: list[str]) -> None:
    """Each named tensor is equal, whatever its dtype, once a batch axis of ids is dropped."""
    for name in names:
        ours_value, theirs_value = ours[name], theirs[name]
        if ours_value is None or theirs_value is None:
            assert ours_value is theirs_value, name
            continue
        if name.endswith("_ids") and theirs_value.ndim == 3:
            theirs_value = theirs_value[0]
        assert ours_value.shape == theirs_value.shape, name
        assert torch.allclose(ours_value.double(), theirs_value.double(), atol=1e-6), name


def random_lora(backbone: Backbone, *, rank: int = 2) -> dict[str, Tensor]:
    """Tensors of trained-looking adapters that are left attached to the backbone's denoiser."""
    targets = backbone.traits.lora_targets
    add_fresh_lora(backbone.denoiser, rank=rank, alpha=rank, targets=targets, seed=0)
    tensors = lora_state_dict(backbone.denoiser)
    generator = torch.Generator().manual_seed(1)
    for value in tensors.values():
        value.copy_(torch.randn(value.shape, generator=generator) * 0.3)
    return tensors


def with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Adapters named as `load_lora_weights` expects them."""
    return {f"{prefix}.{key}": value.clone() for key, value in tensors.items()}


def lora_state(tensors: dict[str, Tensor], *, backbone: str, rank: int = 2) -> LoraState:
    """Adapters as `read_lora` gives them."""
    from hypir_cli.models.checkpoint import CheckpointInfo

    modules = {key.rsplit(".lora_", 1)[0] for key in tensors}
    return LoraState(
        tensors=tensors,
        alphas=dict.fromkeys(modules, float(rank)),
        info=CheckpointInfo(backbone=backbone),
    )
