"""Stable Diffusion 3 and 3.5: a joint-attention transformer trained as a rectified flow.

Two CLIP encoders give the pooled vector and the first half of the token sequence, T5 the second half; without T5 its half is
zeros, as its makers intended. Texture and generativity are added to the pooled vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel
from torch import Tensor
from torch.nn.functional import pad
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

from hypir_cli.models.backbones.base import PromptEmbeds
from hypir_cli.models.backbones.flow import FlowBackbone
from hypir_cli.models.backbones.text import clip_embeddings, dropped_text, t5_embeddings, token_ids

T5_LENGTH = 256
"""Tokens of the T5 half of the sequence."""


class Sd3Backbone(FlowBackbone):
    """SD3 behind the contract; T5 may be absent."""

    name = "sd3"
    networks = (AutoencoderKL, SD3Transformer2DModel)
    texts = (
        *2 * ((CLIPTextModelWithProjection, CLIPTokenizer),),
        (T5EncoderModel, T5TokenizerFast),
    )

    def latent_multiple(self) -> int:
        """Side of a patch."""
        return int(self.denoiser_config.patch_size)

    def encode_prompts(self, prompts: Sequence[str]) -> PromptEmbeds:
        """CLIP and T5 tokens one after the other, (B, 77 + 256, 4096), and both CLIP prompt vectors."""
        sequences, pooled = [], []
        for suffix in ("", "_2"):
            tokenizer = self.tokenizers[f"tokenizer{suffix}"]
            ids = token_ids(tokenizer, prompts, max_length=self._clip_length())
            sequence, vector = clip_embeddings(self.text_encoder(f"text_encoder{suffix}"), ids)
            sequences.append(sequence)
            pooled.append(vector)
        clip = torch.cat(sequences, dim=-1)
        t5 = self._t5_half(prompts, like=clip)
        clip = pad(clip, (0, t5.shape[-1] - clip.shape[-1]))
        return PromptEmbeds(
            sequence=torch.cat([clip, t5], dim=1).float(), pooled=torch.cat(pooled, dim=-1).float()
        )

    def token_overflow(self, prompt: str) -> str:
        """What no encoder sees: the text after T5's 256 tokens, or after CLIP's 77 without T5."""
        if "tokenizer_3" in self.tokenizers:
            return dropped_text(self.tokenizers["tokenizer_3"], prompt, max_length=T5_LENGTH)
        return dropped_text(self.tokenizers["tokenizer"], prompt, max_length=self._clip_length())

    def call_denoiser(
        self, latents: Tensor, prompt: PromptEmbeds, timestep: Tensor, control: Tensor | None
    ) -> Tensor:
        """One call of the transformer, whose timestep counts from 0 to 1000 like ours."""
        assert prompt.pooled is not None
        sample = self.to_denoiser(latents)
        output: Tensor = self.denoiser(
            hidden_states=sample,
            timestep=timestep.to(sample.device).expand(len(sample)),
            encoder_hidden_states=self.to_denoiser(prompt.sequence),
            pooled_projections=self.add_control(prompt.pooled, control),
            return_dict=False,
        )[0]
        return output

    def control_dim(self) -> int:
        """Length of the pooled prompt vector."""
        return int(self.denoiser_config.pooled_projection_dim)

    def _clip_length(self) -> int:
        return int(self.tokenizers["tokenizer"].model_max_length)

    def _t5_half(self, prompts: Sequence[str], *, like: Tensor) -> Tensor:
        if "tokenizer_3" not in self.tokenizers:
            width = self.denoiser_config.joint_attention_dim
            return like.new_zeros(len(prompts), T5_LENGTH, width)
        ids = token_ids(self.tokenizers["tokenizer_3"], prompts, max_length=T5_LENGTH)
        return t5_embeddings(self.text_encoder("text_encoder_3"), ids).to(like.device)


class Sd35Backbone(Sd3Backbone):
    """SD3.5: the same parts, other weights."""

    name = "sd35"
