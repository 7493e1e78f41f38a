"""FLUX.1 [dev] and [schnell]: a joint-attention transformer over 2x2 latent patches, trained as a rectified flow.

CLIP gives one vector per prompt, T5 the token sequence. [dev] carries an embedding of the guidance strength it was distilled
with, [schnell] none. Texture and generativity are added to the CLIP vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

from hypir_cli.models.backbones.base import PromptEmbeds
from hypir_cli.models.backbones.flow import FlowBackbone
from hypir_cli.models.backbones.packing import (
    PATCH,
    from_tokens,
    grid_ids,
    patchify,
    to_tokens,
    unpatchify,
)
from hypir_cli.models.backbones.text import dropped_text, t5_embeddings, token_ids
from hypir_cli.models.execution import module_device

T5_LENGTH = 512
"""Tokens of the T5 sequence."""
NUM_AXES = 3
"""Axes of a position id: an unused one, row, column."""


class FluxBackbone(FlowBackbone):
    """FLUX.1 behind the contract."""

    name = "flux"
    parts: ClassVar[Mapping[str, type[Any]]] = {
        "vae": AutoencoderKL,
        "transformer": FluxTransformer2DModel,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": T5EncoderModel,
        "tokenizer": CLIPTokenizer,
        "tokenizer_2": T5TokenizerFast,
    }

    def latent_multiple(self) -> int:
        """Side of a patch."""
        return PATCH

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

    def call_denoiser(
        self, latents: Tensor, prompt: PromptEmbeds, timestep: Tensor, control: Tensor | None
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
            pooled_projections=self.add_control(prompt.pooled, control),
            encoder_hidden_states=sequence,
            txt_ids=torch.zeros(sequence.shape[1], NUM_AXES, device=patches.device),
            img_ids=grid_ids(height=height, width=width, axes=NUM_AXES).to(patches.device),
            return_dict=False,
        )[0]
        return unpatchify(from_tokens(output, height=height, width=width))

    def control_dim(self) -> int:
        """Length of the pooled prompt vector."""
        return int(self.denoiser_config.pooled_projection_dim)

    def _guidance(self, batch: int, *, device: torch.device) -> Tensor | None:
        if not self.denoiser_config.guidance_embeds:
            return None
        return torch.full((batch,), self.preset.guidance, device=device)
