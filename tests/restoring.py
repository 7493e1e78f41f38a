"""All that restoring calls of a backbone, once; and the ways of offloading where the device is the CPU itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.backbones.controls import Controls
from hypir_cli.models.placement import stream_layers, take_turns

CPU = torch.device("cpu")


def restored(
    backbone: Backbone,
    images: torch.Tensor,
    *,
    mode: Callable[[], AbstractContextManager[object]] = torch.inference_mode,
) -> torch.Tensor:
    """Prompts, encoder, denoiser, decoder: all that restoring calls."""
    timestep = torch.tensor(200)
    with mode():
        # As a cache keeps it.
        prompt = backbone.encode_prompts(["a house"]).to("cpu").to(backbone.device)
        latents = backbone.encode(images.to(backbone.device))
        output = backbone.denoise(
            latents,
            prompt=prompt,
            timestep=timestep,
            controls=Controls(texture=torch.tensor([300.0])),
        )
        return backbone.decode(backbone.predict_clean(latents, output, timestep=timestep))


def some_images() -> torch.Tensor:
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def offloaded(backbone: Backbone, how: str) -> None:
    """What `place` does where the device is not the CPU, on the CPU."""
    travelling = [module for name, module in backbone.components().items() if name != "vae"]
    if how == "model":
        take_turns(travelling, device=CPU)
    elif how == "sequential":
        for module in travelling:
            stream_layers(module, device=CPU)
