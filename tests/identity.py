"""A backbone whose every network is the identity: what comes out of a restoration must be what went in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hypir_cli.models.backbones.base import Backbone, BackboneTraits, PromptEmbeds

FACTOR = 4


class IdentityBackbone(Backbone):
    """Space to depth as the VAE, a zero flow as the denoiser."""

    def __init__(self, *, native_tile: int = 64) -> None:
        self.denoiser = nn.Linear(1, 1)
        self.vae = nn.Linear(1, 1)
        self.calls: list[tuple[int, ...]] = []
        self.traits = BackboneTraits(
            name="identity",
            prediction="flow",
            spatial_factor=FACTOR,
            latent_channels=3 * FACTOR**2,
            native_tile=native_tile,
            tile_multiple=8,
            lora_targets=(),
            timestep=200,
            coeff_timestep=200,
        )

    def components(self) -> Mapping[str, nn.Module]:
        return {"denoiser": self.denoiser, "vae": self.vae}

    def encoder_module(self) -> nn.Module:
        return nn.Identity()

    def encode(self, images: Tensor, *, noise: Tensor | None = None) -> Tensor:
        self.calls.append(tuple(images.shape))
        latents = nn.functional.pixel_unshuffle(images, FACTOR)
        return latents if noise is None else latents + 0.01 * noise

    def decode(self, latents: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(latents, FACTOR)

    def encode_prompts(self, prompts: Sequence[str]) -> PromptEmbeds:
        return PromptEmbeds(sequence=torch.zeros(len(prompts), 1, 1))

    def token_overflow(self, prompt: str) -> str:
        return ""

    def release_text_encoders(self) -> None:
        pass

    def call_denoiser(
        self, latents: Tensor, prompt: PromptEmbeds, timestep: Tensor, control: Tensor | None
    ) -> Tensor:
        return torch.zeros_like(latents)

    def alpha_or_sigma(self, timestep: Tensor) -> Tensor:
        return timestep / 1000

    def control_dim(self) -> int:
        return 4
