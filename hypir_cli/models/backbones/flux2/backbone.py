"""FLUX.2 [klein]: a joint-attention transformer over normalised 2x2 latent patches, trained as a rectified flow.

Three layers of a Qwen3 language model, side by side, are the text. The patches of the autoencoder's latent are normalised with
the running statistics of its batch norm; latents of the contract are these patches put back in place. The network has no
pooled prompt vector, so texture and generativity are added to its timestep embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
from torch import Tensor, nn
from transformers import Qwen2TokenizerFast, Qwen3ForCausalLM

from hypir_cli.errors import BackboneError
from hypir_cli.models.backbones.base import PromptEmbeds
from hypir_cli.models.backbones.controls import ControlEmbedding
from hypir_cli.models.backbones.packing import PackedFlowBackbone, patchify, unpatchify
from hypir_cli.models.execution import module_device

TEXT_LENGTH = 512
"""Tokens of the text sequence."""
TEXT_DEPTHS = (0.25, 0.5, 0.75)
"""Depths in the language model whose states are the text: layers 9, 18 and 27 of 36."""


class ControlledTimeEmbedding(nn.Module):
    """Takes the place of a network's timestep embedding and adds a vector to it.

    The vector arrives as the `guidance` argument, which the network passes on times 1000 and a network without guidance
    embedding otherwise leaves unused. Submodules keep their names, so saved weights look as before.
    """

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.time_proj = original.time_proj
        self.timestep_embedder = original.timestep_embedder

    def forward(self, timestep: Tensor, guidance: Tensor | None) -> Tensor:
        """Embedding of timesteps (B,), plus a thousandth of `guidance`, (B, D)."""
        waves = self.time_proj(timestep).to(timestep.dtype)
        embedding: Tensor = self.timestep_embedder(waves)
        return embedding if guidance is None else embedding + guidance / 1000.0


class Flux2Backbone(PackedFlowBackbone):
    """FLUX.2 [klein] behind the contract.

    Raises:
        BackboneError: The transformer is another member of the family, which wants a guidance strength.
    """

    name = "flux2"
    networks = (AutoencoderKLFlux2, Flux2Transformer2DModel)
    texts = ((Qwen3ForCausalLM, Qwen2TokenizerFast),)
    num_axes = 4  # image, row, column, place in the text

    def prepare(self, scheduler_config: Mapping[str, Any]) -> None:
        """Refuse a network with a guidance embedding."""
        _require_klein(self.denoiser)

    @property
    def text_layers(self) -> tuple[int, ...]:
        """Layers of the language model whose states are the text."""
        config: Any = self.text_encoder("text_encoder").config
        return tuple(int(config.num_hidden_layers * depth) for depth in TEXT_DEPTHS)

    def normalize(self, latents: Tensor) -> Tensor:
        """The VAE's own latents, (B, 32, h, w), with every patch channel at mean 0 and variance 1."""
        mean, std = self._statistics(latents)
        return unpatchify((patchify(latents) - mean) / std)

    def denormalize(self, latents: Tensor) -> Tensor:
        """The inverse of `normalize`."""
        mean, std = self._statistics(latents)
        return unpatchify(patchify(latents) * std + mean)

    def encode_prompts(self, prompts: Sequence[str]) -> PromptEmbeds:
        """States of the chosen layers side by side, (B, 512, 3 * width)."""
        encoder, tokenizer = self.text_encoder("text_encoder"), self.tokenizers["tokenizer"]
        tokens = tokenizer(
            [self._chat(prompt) for prompt in prompts],
            padding="max_length",
            max_length=TEXT_LENGTH,
            truncation=True,
            return_tensors="pt",
        ).to(module_device(encoder))
        states = encoder(
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            output_hidden_states=True,
            use_cache=False,
        ).hidden_states
        sequence = torch.cat([states[layer] for layer in self.text_layers], dim=-1)
        return PromptEmbeds(sequence=sequence.float())

    def token_overflow(self, prompt: str) -> str:
        """The end of the prompt that the wrapped chat message pushes out."""
        tokenizer = self.tokenizers["tokenizer"]
        wrapping = len(tokenizer(self._chat("")).input_ids)
        ids = tokenizer(prompt, verbose=False).input_ids
        return str(tokenizer.decode(ids[max(0, TEXT_LENGTH - wrapping) :])).strip()

    def text_ids(self, length: int) -> Tensor:
        """The place in the text on the last axis."""
        ids = super().text_ids(length)
        ids[:, 3] = torch.arange(length)
        return ids

    def conditions(self, prompt: PromptEmbeds, control: Tensor | None) -> dict[str, Tensor | None]:
        """Texture and generativity, which `ControlledTimeEmbedding` takes in place of a guidance strength."""
        return {"guidance": None if control is None else self.to_denoiser(control)}

    def control_dim(self) -> int:
        """Width of the timestep embedding."""
        config = self.denoiser_config
        return int(config.num_attention_heads * config.attention_head_dim)

    def enable_controls(self) -> ControlEmbedding:
        """Add the control embedding and the place in the network where it enters."""
        network: Any = self.denoiser
        if not isinstance(network.time_guidance_embed, ControlledTimeEmbedding):
            network.time_guidance_embed = ControlledTimeEmbedding(network.time_guidance_embed)
        return super().enable_controls()

    def _chat(self, prompt: str) -> str:
        message = [{"role": "user", "content": prompt}]
        text: str = self.tokenizers["tokenizer"].apply_chat_template(
            message, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return text

    def _statistics(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of every patch channel, (1, 4 C, 1, 1) float32."""
        mean = self.vae.bn.running_mean.float().reshape(1, -1, 1, 1).to(latents.device)
        variance = self.vae.bn.running_var.float().reshape(1, -1, 1, 1).to(latents.device)
        return mean, (variance + self.vae.config.batch_norm_eps).sqrt()


def _require_klein(transformer: Any) -> None:
    if not transformer.config.guidance_embeds:
        return
    raise BackboneError(
        "this FLUX.2 transformer has a guidance embedding, so it is not a [klein] model.",
        hint="use a FLUX.2 [klein] base, e.g. black-forest-labs/FLUX.2-klein-base-4B",
    )
