"""FLUX.1 [dev] and [schnell]: a joint-attention transformer over 2x2 latent patches, trained as a rectified flow.

CLIP gives one vector per prompt, T5 the token sequence. [dev] carries an embedding of the guidance strength it was distilled
with, [schnell] none. Texture and generativity are added to the CLIP vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

from hypir_cli.models.backbones.base import PromptEmbeds
from hypir_cli.models.backbones.controls import Controls
from hypir_cli.models.backbones.flow import require_flow, sigma_of
from hypir_cli.models.backbones.packing import (
    PATCH,
    from_tokens,
    grid_ids,
    patchify,
    to_tokens,
    unpatchify,
)
from hypir_cli.models.backbones.pretrained import PretrainedBackbone, traits_of
from hypir_cli.models.backbones.schedule import read_scheduler_config
from hypir_cli.models.backbones.text import dropped_text, t5_embeddings, token_ids
from hypir_cli.models.components import load_component, load_tokenizer, settle
from hypir_cli.models.execution import module_device
from hypir_cli.models.hub import find_base
from hypir_cli.models.presets import BackbonePreset, backbone_preset

NAME = "flux"
NATIVE_TILE = 1024
T5_LENGTH = 512
"""Tokens of the T5 sequence."""
NUM_AXES = 3
"""Axes of a position id: an unused one, row, column."""


class FluxBackbone(PretrainedBackbone):
    """FLUX.1 behind the contract; `load` builds it from files.

    Args:
        vae: Autoencoder.
        transformer: Denoiser.
        text_encoders: CLIP as `text_encoder`, T5 as `text_encoder_2`.
        tokenizers: `tokenizer` and `tokenizer_2`.
        preset: Timesteps, LoRA targets, tile, and the guidance that a distilled network is told.
    """

    def __init__(
        self,
        *,
        vae: AutoencoderKL,
        transformer: FluxTransformer2DModel,
        text_encoders: Mapping[str, nn.Module],
        tokenizers: Mapping[str, Any],
        preset: BackbonePreset,
    ) -> None:
        traits = traits_of(
            vae,
            name=NAME,
            preset=preset,
            prediction="flow",
            native_tile=NATIVE_TILE,
            latent_multiple=PATCH,
        )
        super().__init__(
            traits=traits,
            vae=vae,
            denoiser=transformer,
            text_encoders=text_encoders,
            tokenizers=tokenizers,
        )
        self.guidance = preset.guidance

    @classmethod
    def load(
        cls,
        base: str | None = None,
        *,
        revision: str | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> FluxBackbone:
        """The backbone from a diffusers-layout folder or a hub id; None takes the preset's ids.

        Raises:
            BackboneError: The weights cannot be found, downloaded or read.
        """
        preset = backbone_preset(NAME)
        root = find_base(base, name=NAME, preset=preset, revision=revision)
        require_flow(read_scheduler_config(root / "scheduler"), source=str(root))
        backbone = cls(
            vae=load_component(AutoencoderKL, root, "vae", dtype=dtype),
            transformer=load_component(FluxTransformer2DModel, root, "transformer", dtype=dtype),
            text_encoders={
                "text_encoder": load_component(CLIPTextModel, root, "text_encoder", dtype=dtype),
                "text_encoder_2": load_component(
                    T5EncoderModel, root, "text_encoder_2", dtype=dtype
                ),
            },
            tokenizers={
                "tokenizer": load_tokenizer(CLIPTokenizer, root, "tokenizer"),
                "tokenizer_2": load_tokenizer(T5TokenizerFast, root, "tokenizer_2"),
            },
            preset=preset,
        )
        settle(backbone.components(), device=torch.device(device))
        return backbone

    def encode_prompts(self, prompts: Sequence[str]) -> PromptEmbeds:
        """T5 tokens, (B, 512, 4096), and CLIP's pooled output, (B, 768)."""
        clip, tokenizer = self.text_encoder("text_encoder"), self.tokenizers["tokenizer"]
        ids = token_ids(tokenizer, prompts, max_length=tokenizer.model_max_length)
        pooled = clip(ids.to(module_device(clip))).pooler_output
        ids = token_ids(self.tokenizers["tokenizer_2"], prompts, max_length=T5_LENGTH)
        sequence = t5_embeddings(self.text_encoder("text_encoder_2"), ids)
        return PromptEmbeds(sequence=sequence.float(), pooled=pooled.float())

    def token_overflow(self, prompt: str) -> str:
        """What comes after T5's tokens; CLIP's vector sees only the first 77."""
        return dropped_text(self.tokenizers["tokenizer_2"], prompt, max_length=T5_LENGTH)

    def denoise(
        self,
        latents: Tensor,
        *,
        prompt: PromptEmbeds,
        timestep: Tensor,
        controls: Controls | None = None,
    ) -> Tensor:
        """One call of the transformer on packed latents, with the timestep as a share of 1000."""
        assert prompt.pooled is not None
        patches = patchify(self.to_denoiser(latents))
        batch, _, height, width = patches.shape
        sequence = self.to_denoiser(prompt.sequence)
        output: Tensor = self.denoiser(
            hidden_states=to_tokens(patches),
            timestep=timestep.to(patches).expand(batch) / self.traits.num_train_timesteps,
            guidance=self._guidance(batch, device=patches.device),
            pooled_projections=self.add_controls(prompt.pooled, controls),
            encoder_hidden_states=sequence,
            txt_ids=torch.zeros(sequence.shape[1], NUM_AXES, device=patches.device),
            img_ids=grid_ids(height=height, width=width, axes=NUM_AXES).to(patches.device),
            return_dict=False,
        )[0]
        return unpatchify(from_tokens(output, height=height, width=width)).float()

    def alpha_or_sigma(self, timestep: Tensor) -> Tensor:
        """Sigma, in the sense of `flow.sigma_of`."""
        return sigma_of(timestep, num_train_timesteps=self.traits.num_train_timesteps)

    def control_dim(self) -> int:
        """Length of the pooled prompt vector."""
        return int(self.denoiser_config.pooled_projection_dim)

    def _guidance(self, batch: int, *, device: torch.device) -> Tensor | None:
        if not self.denoiser_config.guidance_embeds:
            return None
        return torch.full((batch,), self.guidance, device=device)
