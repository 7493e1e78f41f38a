"""FLUX.1 [dev] and [schnell]: a joint-attention transformer over 2x2 latent patches, trained as a rectified flow.

CLIP gives one vector per prompt, T5 the token sequence. [dev] carries an embedding of the guidance strength it was distilled
with, [schnell] none. Texture and generativity are added to the CLIP vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

from hypir_cli.models.backbones.base import PromptEmbeds
from hypir_cli.models.backbones.packing import PackedFlowBackbone
from hypir_cli.models.backbones.text import dropped_text, t5_embeddings, token_ids
from hypir_cli.models.execution import module_device

T5_LENGTH = 512
"""Tokens of the T5 sequence."""


class FluxBackbone(PackedFlowBackbone):
    """FLUX.1 behind the contract."""

    name = "flux"
    networks = (AutoencoderKL, FluxTransformer2DModel)
    texts = ((CLIPTextModel, CLIPTokenizer), (T5EncoderModel, T5TokenizerFast))
    num_axes = 3  # an unused one, row, column

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

    def conditions(self, prompt: PromptEmbeds, control: Tensor | None) -> dict[str, Tensor | None]:
        """Guidance, where the network has been distilled with it, and the pooled prompt vector."""
        assert prompt.pooled is not None
        guidance = None
        if self.denoiser_config.guidance_embeds:
            batch = len(prompt.pooled)
            guidance = torch.full((batch,), self.preset.guidance, device=self.device)
        pooled = self.add_control(prompt.pooled, control)
        return {"guidance": guidance, "pooled_projections": pooled}

    def control_dim(self) -> int:
        """Length of the pooled prompt vector."""
        return int(self.denoiser_config.pooled_projection_dim)
