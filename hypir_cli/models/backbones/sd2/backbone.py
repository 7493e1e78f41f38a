"""Stable Diffusion 2.1-base and its relatives: KL autoencoder, U-Net, one CLIP text encoder."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from hypir_cli.models.backbones.base import PromptEmbeds
from hypir_cli.models.backbones.text import token_ids
from hypir_cli.models.backbones.unet import UNetBackbone, call_unet
from hypir_cli.models.execution import module_device


class SD2Backbone(UNetBackbone):
    """Stable Diffusion 2 behind the contract."""

    name = "sd2"
    texts = ((CLIPTextModel, CLIPTokenizer),)

    def encode_prompts(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Last hidden states of CLIP, padding included, (B, 77, D)."""
        encoder, tokenizer = self.text_encoder("text_encoder"), self.tokenizers["tokenizer"]
        ids = token_ids(tokenizer, prompts, max_length=tokenizer.model_max_length)
        output = encoder(ids.to(module_device(encoder)))
        return PromptEmbeds(sequence=output.last_hidden_state.float())

    def call_denoiser(
        self, latents: Tensor, prompt: PromptEmbeds, timestep: Tensor, control: Tensor | None
    ) -> Tensor:
        """See `Backbone.call_denoiser`."""
        return call_unet(
            self.denoiser, latents, timestep=timestep, text=prompt.sequence, control=control
        )
