"""Stable Diffusion 2.1-base and its relatives: KL autoencoder, U-Net, one CLIP text encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from hypir_cli.models.backbones.base import PromptEmbeds
from hypir_cli.models.backbones.controls import ControlEmbedding, Controls
from hypir_cli.models.backbones.pretrained import PretrainedBackbone, traits_of
from hypir_cli.models.backbones.schedule import (
    alphas_cumprod,
    look_up,
    prediction_kind,
    read_scheduler_config,
)
from hypir_cli.models.backbones.text import dropped_text, token_ids
from hypir_cli.models.backbones.unet import accept_controls, call_unet, control_width
from hypir_cli.models.components import load_component, load_tokenizer, settle
from hypir_cli.models.execution import module_device
from hypir_cli.models.hub import find_base
from hypir_cli.models.presets import BackbonePreset, backbone_preset

NAME = "sd2"


class SD2Backbone(PretrainedBackbone):
    """Stable Diffusion 2 behind the contract; `load` builds it from files.

    Args:
        vae: Autoencoder.
        unet: Denoiser.
        text_encoder: CLIP text model.
        tokenizer: Its tokenizer.
        scheduler_config: Mapping of `scheduler_config.json`; its `clip_sample` is ignored on purpose.
        preset: Timesteps, LoRA targets, tile.
    """

    def __init__(
        self,
        *,
        vae: AutoencoderKL,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        scheduler_config: Mapping[str, Any],
        preset: BackbonePreset,
    ) -> None:
        super().__init__(
            traits=traits_of(
                vae,
                name=NAME,
                preset=preset,
                prediction=prediction_kind(scheduler_config),
                native_tile=int(unet.config.sample_size)
                * 2 ** (len(vae.config.block_out_channels) - 1),
                latent_multiple=2 ** (len(unet.config.block_out_channels) - 1),
            ),
            vae=vae,
            denoiser=unet,
            text_encoders={"text_encoder": text_encoder},
            tokenizers={"tokenizer": tokenizer},
        )
        self._prompt_length = int(text_encoder.config.max_position_embeddings)
        self._alphas_cumprod = alphas_cumprod(scheduler_config).float()

    @classmethod
    def load(
        cls,
        base: str | None = None,
        *,
        revision: str | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> SD2Backbone:
        """The backbone from a diffusers-layout folder or a hub id; None takes the preset's ids.

        Raises:
            BackboneError: The weights cannot be found, downloaded or read.
        """
        preset = backbone_preset(NAME)
        root = find_base(base, name=NAME, preset=preset, revision=revision)
        backbone = cls(
            vae=load_component(AutoencoderKL, root, "vae", dtype=dtype),
            unet=load_component(UNet2DConditionModel, root, "unet", dtype=dtype),
            text_encoder=load_component(CLIPTextModel, root, "text_encoder", dtype=dtype),
            tokenizer=load_tokenizer(CLIPTokenizer, root),
            scheduler_config=read_scheduler_config(root / "scheduler"),
            preset=preset,
        )
        settle(backbone.components(), device=torch.device(device))
        return backbone

    def encode_prompts(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Last hidden states of CLIP, padding included, (B, 77, D)."""
        encoder = self.text_encoder("text_encoder")
        ids = token_ids(self.tokenizers["tokenizer"], prompts, max_length=self._prompt_length)
        output = encoder(ids.to(module_device(encoder)))
        return PromptEmbeds(sequence=output.last_hidden_state.float())

    def token_overflow(self, prompt: str) -> str:
        """See `Backbone.token_overflow`."""
        return dropped_text(self.tokenizers["tokenizer"], prompt, max_length=self._prompt_length)

    def denoise(
        self,
        latents: Tensor,
        *,
        prompt: PromptEmbeds,
        timestep: Tensor,
        controls: Controls | None = None,
    ) -> Tensor:
        """See `Backbone.denoise`."""
        control = self.control_vector(controls, batch=latents.shape[0])
        return call_unet(
            self.denoiser, latents, timestep=timestep, text=prompt.sequence, control=control
        )

    def alpha_or_sigma(self, timestep: Tensor) -> Tensor:
        """`alphas_cumprod` of the model's own schedule."""
        return look_up(self._alphas_cumprod, timestep)

    def control_dim(self) -> int:
        """Width of the sinusoidal timestep code."""
        return control_width(self.denoiser)

    def enable_controls(self) -> ControlEmbedding:
        """See `Backbone.enable_controls`."""
        accept_controls(self.denoiser)
        return super().enable_controls()
