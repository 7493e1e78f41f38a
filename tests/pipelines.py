"""What a family's own diffusers pipeline feeds its denoiser, to compare with what a backbone feeds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.lora import LoraState, add_fresh_lora, lora_state_dict

PROMPT = "a red house by the sea"


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


def our_inputs(backbone: Backbone, latents: Tensor, *, timestep: float = 200.0) -> dict[str, Any]:
    """What a backbone feeds its denoiser for `PROMPT`, by name."""
    prompt = backbone.encode_prompts([PROMPT])
    return captured(
        backbone.denoiser,
        lambda: backbone.denoise(latents, prompt=prompt, timestep=torch.tensor(timestep)),
    )


def assert_last_flow_step(backbone: Backbone, base: Path, *, sigma: float, **shift: float) -> float:
    """The clean latent is the scheduler's last step from that level; gives its timestep."""
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(base, subfolder="scheduler")
    scheduler.set_timesteps(sigmas=[sigma], **shift)
    timestep = scheduler.timesteps[0]
    latents, velocity = torch.randn(2, 1, 4, 8, 8).unbind()
    expected = scheduler.step(velocity, timestep, latents).prev_sample
    clean = backbone.predict_clean(latents, velocity, timestep=timestep)
    assert (clean - expected).abs().max() < 1e-5
    return float(timestep)


def assert_exported_lora_agrees(
    backbone: Backbone, pipeline: Any, *, denoiser: str = "transformer"
) -> dict[str, Tensor]:
    """A LoRA gives the pipeline's denoiser the output that it gives the backbone's; gives its tensors."""
    inputs = our_inputs(backbone, torch.randn(1, 4, 16, 16))
    positional = [inputs.pop(place) for place in ("0", "1") if place in inputs]
    tensors = random_lora(backbone)
    pipeline.load_lora_weights(
        {f"{denoiser}.{key}": value.clone() for key, value in tensors.items()}
    )
    with torch.inference_mode():
        expected = getattr(pipeline, denoiser)(*positional, **inputs)[0]
        assert torch.allclose(backbone.denoiser(*positional, **inputs)[0], expected, atol=1e-5)
    return tensors


def random_lora(
    backbone: Backbone, *, rank: int = 2, alpha: float | None = None, size: float = 0.3
) -> dict[str, Tensor]:
    """Tensors of trained-looking adapters that are left attached to the backbone's denoiser; alpha is the rank
    where none is given."""
    targets = backbone.traits.lora_targets
    add_fresh_lora(backbone.denoiser, rank=rank, alpha=alpha or rank, targets=targets, seed=0)
    tensors = lora_state_dict(backbone.denoiser)
    generator = torch.Generator().manual_seed(1)
    for value in tensors.values():
        value.copy_(torch.randn(value.shape, generator=generator) * size)
    return tensors


def lora_state(tensors: dict[str, Tensor], *, backbone: str, rank: int = 2) -> LoraState:
    """Adapters as `read_lora` gives them."""
    from hypir_cli.models.checkpoint import CheckpointInfo

    modules = {key.rsplit(".lora_", 1)[0] for key in tensors}
    return LoraState(
        tensors=tensors,
        alphas=dict.fromkeys(modules, float(rank)),
        info=CheckpointInfo(backbone=backbone),
    )
