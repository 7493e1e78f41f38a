"""Stable Diffusion XL: a U-Net with two text encoders and conditioning on image and crop size.

Each tile tells the network its own size as original and target size and no crop. Texture and generativity are added to the
sinusoidal timestep code, as in Stable Diffusion 2.

The original VAE overflows in float16 and says so in its configuration; it then stays in float32. A base whose `vae/` is one that
was made safe for float16 (such as madebyollin/sdxl-vae-fp16-fix) keeps all of it in half precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from hypir_cli.models.backbones.base import PromptEmbeds
from hypir_cli.models.backbones.controls import ControlEmbedding, Controls
from hypir_cli.models.backbones.pretrained import PretrainedBackbone, traits_of
from hypir_cli.models.backbones.schedule import (
    alphas_cumprod,
    look_up,
    prediction_kind,
    read_scheduler_config,
)
from hypir_cli.models.backbones.text import clip_embeddings, dropped_text, token_ids
from hypir_cli.models.backbones.unet import accept_controls, call_unet, control_width
from hypir_cli.models.components import load_component, load_tokenizer, settle
from hypir_cli.models.hub import find_base
from hypir_cli.models.presets import BackbonePreset, backbone_preset

NAME = "sdxl"
NATIVE_TILE = 1024


class SdxlBackbone(PretrainedBackbone):
    """SDXL behind the contract; `load` builds it from files.

    Args:
        vae: Autoencoder.
        unet: Denoiser.
        text_encoders: `text_encoder` and `text_encoder_2`.
        tokenizers: `tokenizer` and `tokenizer_2`.
        scheduler_config: Mapping of `scheduler_config.json`.
        preset: Timesteps, LoRA targets, tile.
    """

    def __init__(
        self,
        *,
        vae: AutoencoderKL,
        unet: UNet2DConditionModel,
        text_encoders: Mapping[str, nn.Module],
        tokenizers: Mapping[str, Any],
        scheduler_config: Mapping[str, Any],
        preset: BackbonePreset,
    ) -> None:
        traits = traits_of(
            vae,
            name=NAME,
            preset=preset,
            prediction=prediction_kind(scheduler_config),
            native_tile=NATIVE_TILE,
            latent_multiple=2 ** (len(unet.config.block_out_channels) - 1),
        )
        super().__init__(
            traits=traits,
            vae=vae,
            denoiser=unet,
            text_encoders=text_encoders,
            tokenizers=tokenizers,
        )
        self._alphas_cumprod = alphas_cumprod(scheduler_config).float()

    @classmethod
    def load(
        cls,
        base: str | None = None,
        *,
        revision: str | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> SdxlBackbone:
        """The backbone from a diffusers-layout folder or a hub id; None takes the preset's ids.

        Raises:
            BackboneError: The weights cannot be found, downloaded or read.
        """
        preset = backbone_preset(NAME)
        root = find_base(base, name=NAME, preset=preset, revision=revision)
        backbone = cls(
            vae=_load_vae(root, dtype=dtype),
            unet=load_component(UNet2DConditionModel, root, "unet", dtype=dtype),
            text_encoders={
                "text_encoder": load_component(CLIPTextModel, root, "text_encoder", dtype=dtype),
                "text_encoder_2": load_component(
                    CLIPTextModelWithProjection, root, "text_encoder_2", dtype=dtype
                ),
            },
            tokenizers={
                part: load_tokenizer(CLIPTokenizer, root, part)
                for part in ("tokenizer", "tokenizer_2")
            },
            scheduler_config=read_scheduler_config(root / "scheduler"),
            preset=preset,
        )
        settle(backbone.components(), device=torch.device(device))
        return backbone

    def encode_prompts(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Both encoders' penultimate layers side by side, (B, 77, 2048), and the second one's prompt vector."""
        sequences = []
        for suffix in ("", "_2"):
            tokenizer = self.tokenizers[f"tokenizer{suffix}"]
            ids = token_ids(tokenizer, prompts, max_length=tokenizer.model_max_length)
            sequence, pooled = clip_embeddings(self.text_encoder(f"text_encoder{suffix}"), ids)
            sequences.append(sequence)
        return PromptEmbeds(sequence=torch.cat(sequences, dim=-1).float(), pooled=pooled.float())

    def token_overflow(self, prompt: str) -> str:
        """What comes after CLIP's 77 tokens."""
        tokenizer = self.tokenizers["tokenizer"]
        return dropped_text(tokenizer, prompt, max_length=tokenizer.model_max_length)

    def denoise(
        self,
        latents: Tensor,
        *,
        prompt: PromptEmbeds,
        timestep: Tensor,
        controls: Controls | None = None,
    ) -> Tensor:
        """One call of the U-Net with micro-conditioning at the tile's own size."""
        assert prompt.pooled is not None
        batch, _, height, width = latents.shape
        return call_unet(
            self.denoiser,
            latents,
            timestep=timestep,
            text=prompt.sequence,
            control=self.control_vector(controls, batch=batch),
            added={
                "text_embeds": self.to_denoiser(prompt.pooled),
                "time_ids": self.to_denoiser(self._time_ids(height, width).expand(batch, -1)),
            },
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

    def _time_ids(self, height: int, width: int) -> Tensor:
        factor = self.traits.spatial_factor
        size = (height * factor, width * factor)
        return torch.tensor([(*size, 0, 0, *size)], dtype=torch.float32)


def _load_vae(root: Path, *, dtype: torch.dtype) -> AutoencoderKL:
    vae: AutoencoderKL = load_component(AutoencoderKL, root, "vae", dtype=dtype)
    if dtype == torch.float16 and vae.config.force_upcast:
        # Weights rounded to half precision on the way would stay rounded: read them again.
        vae = load_component(AutoencoderKL, root, "vae", dtype=torch.float32)
    return vae
