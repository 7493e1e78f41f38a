"""What every model in diffusers' folder layout does the same way: its VAE, its modules, letting go of text encoders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hypir_cli.errors import BackboneError
from hypir_cli.models.backbones.base import Backbone, BackboneTraits
from hypir_cli.models.backbones.controls import Controls
from hypir_cli.models.device import release_cached_memory
from hypir_cli.models.execution import module_device
from hypir_cli.models.memory import estimate_tile_bytes
from hypir_cli.models.prediction import PredictionKind
from hypir_cli.models.presets import BackbonePreset


class PretrainedBackbone(Backbone):
    """A KL autoencoder with scale and shift, text encoders by name, and a denoiser.

    Args:
        traits: Facts about the model.
        vae: `AutoencoderKL` or one of its relatives.
        denoiser: U-Net or transformer.
        text_encoders: By diffusers' component name: `text_encoder`, `text_encoder_2`...
        tokenizers: By diffusers' component name: `tokenizer`, `tokenizer_2`...
    """

    def __init__(
        self,
        *,
        traits: BackboneTraits,
        vae: nn.Module,
        denoiser: nn.Module,
        text_encoders: Mapping[str, nn.Module],
        tokenizers: Mapping[str, Any],
    ) -> None:
        self.traits = traits
        self.vae: Any = vae
        self.denoiser = denoiser
        self.text_encoders = dict(text_encoders)
        self.tokenizers = dict(tokenizers)

    def components(self) -> Mapping[str, nn.Module]:
        """The live modules by name."""
        return {**self.text_encoders, "denoiser": self.denoiser, "vae": self.vae}

    def encoder_module(self) -> nn.Module:
        """Encoder and, where the VAE has one, the convolution that turns its features into moments."""
        parts = {"encoder": self.vae.encoder, "quant_conv": getattr(self.vae, "quant_conv", None)}
        return nn.ModuleDict({name: part for name, part in parts.items() if part is not None})

    def encode(self, images: Tensor, *, noise: Tensor | None = None) -> Tensor:
        """Scaled and shifted latents of images."""
        pixels = (images * 2.0 - 1.0).to(module_device(self.vae), self._vae_dtype())
        posterior = self.vae.encode(pixels).latent_dist
        latents = posterior.mean.float()
        if noise is not None:
            latents = latents + posterior.std.float() * noise.to(latents)
        return self.normalize(latents)

    def decode(self, latents: Tensor) -> Tensor:
        """Images of scaled and shifted latents."""
        raw = self.denormalize(latents.float())
        raw = raw.to(module_device(self.vae), self._vae_dtype())
        pixels: Tensor = self.vae.decode(raw, return_dict=False)[0]
        return pixels.float() / 2.0 + 0.5

    def normalize(self, latents: Tensor) -> Tensor:
        """The VAE's own latents as the denoiser wants them, (B, C, h, w) float32."""
        config = self.vae.config
        return (latents - (config.shift_factor or 0.0)) * float(config.scaling_factor)

    def denormalize(self, latents: Tensor) -> Tensor:
        """The inverse of `normalize`."""
        config = self.vae.config
        return latents / float(config.scaling_factor) + (config.shift_factor or 0.0)

    @property
    def denoiser_config(self) -> Any:
        """The denoiser's `config.json`."""
        denoiser: Any = self.denoiser
        return denoiser.config

    def activation_bytes(self, tile: int) -> int:
        """Peak bytes of activations of one tile: the VAE's, in whose dtype the largest ones are."""
        return estimate_tile_bytes(tile, bytes_per_value=self._vae_dtype().itemsize)

    def to_denoiser(self, tensor: Tensor) -> Tensor:
        """A tensor where and in what the denoiser computes."""
        return tensor.to(self.device, self.dtype)

    def add_controls(self, pooled: Tensor, controls: Controls | None) -> Tensor:
        """The pooled prompt vector plus the control vector, (B, P), ready for the denoiser."""
        vector = self.control_vector(controls, batch=len(pooled))
        pooled = pooled.to(self.device)
        return (pooled if vector is None else pooled + vector).to(self.dtype)

    def text_encoder(self, name: str) -> nn.Module:
        """A text encoder that is still in memory.

        Raises:
            BackboneError: It was released.
        """
        if name not in self.text_encoders:
            raise BackboneError(
                f"the text encoders of {self.traits.name} were released, a new prompt cannot be encoded.",
                hint="encode all prompts before release_text_encoders, or load the backbone again",
            )
        return self.text_encoders[name]

    def release_text_encoders(self) -> None:
        """Free the text encoders' memory."""
        self.text_encoders.clear()
        release_cached_memory()

    def _vae_dtype(self) -> torch.dtype:
        dtype: torch.dtype = next(self.vae.parameters()).dtype
        return dtype


def traits_of(
    vae: Any,
    *,
    name: str,
    preset: BackbonePreset,
    prediction: PredictionKind,
    native_tile: int,
    latent_multiple: int,
) -> BackboneTraits:
    """Traits from a loaded VAE and a preset.

    Args:
        vae: Its configuration gives channels and factor.
        name: Registry name.
        preset: Timesteps, LoRA targets and, where it has one, the tile.
        prediction: What the denoiser's output means.
        native_tile: Tile side in image pixels where the preset has none.
        latent_multiple: Sides of a latent must be multiples of this.
    """
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    return BackboneTraits(
        name=name,
        prediction=prediction,
        spatial_factor=factor,
        latent_channels=int(vae.config.latent_channels),
        native_tile=preset.native_tile or native_tile,
        tile_multiple=factor * latent_multiple,
        lora_targets=preset.lora_targets,
        timestep=preset.timestep,
        coeff_timestep=preset.coeff_timestep,
    )
