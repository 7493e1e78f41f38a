"""Stable Diffusion XL: a U-Net with two text encoders and conditioning on image and crop size.

Each tile tells the network its own size as original and target size and no crop. Texture and generativity are added to the
sinusoidal timestep code, as in Stable Diffusion 2.

The original VAE overflows in float16 and says so in its configuration; it then stays in float32. A base whose `vae/` is one that
was made safe for float16 (such as madebyollin/sdxl-vae-fp16-fix) keeps all of it in half precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from hypir_cli.models.backbones.base import PromptEmbeds
from hypir_cli.models.backbones.text import clip_embeddings, token_ids
from hypir_cli.models.backbones.unet import UNetBackbone, call_unet


class SdxlBackbone(UNetBackbone):
    """SDXL behind the contract."""

    name = "sdxl"
    texts = ((CLIPTextModel, CLIPTokenizer), (CLIPTextModelWithProjection, CLIPTokenizer))

    @classmethod
    def load_network(cls, kind: type[Any], root: Path, part: str, *, dtype: torch.dtype) -> Any:
        """See `PretrainedBackbone.load_network`; a VAE that says it overflows in float16 stays in float32."""
        network = super().load_network(kind, root, part, dtype=dtype)
        if part == "vae" and dtype == torch.float16 and network.config.force_upcast:
            # Weights rounded to half precision on the way would stay rounded: read them again.
            return super().load_network(kind, root, part, dtype=torch.float32)
        return network

    def encode(self, images: Tensor, *, noise: Tensor | None = None) -> Tensor:
        """See `Backbone.encode`."""
        with self._vae_arithmetic():
            return super().encode(images, noise=noise)

    def decode(self, latents: Tensor) -> Tensor:
        """See `Backbone.decode`."""
        with self._vae_arithmetic():
            return super().decode(latents)

    def encode_prompts(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Both encoders' penultimate layers side by side, (B, 77, 2048), and the second one's prompt vector."""
        sequences = []
        for suffix in ("", "_2"):
            tokenizer = self.tokenizers[f"tokenizer{suffix}"]
            ids = token_ids(tokenizer, prompts, max_length=tokenizer.model_max_length)
            sequence, pooled = clip_embeddings(self.text_encoder(f"text_encoder{suffix}"), ids)
            sequences.append(sequence)
        return PromptEmbeds(sequence=torch.cat(sequences, dim=-1).float(), pooled=pooled.float())

    def call_denoiser(
        self, latents: Tensor, prompt: PromptEmbeds, timestep: Tensor, control: Tensor | None
    ) -> Tensor:
        """One call of the U-Net with micro-conditioning at the tile's own size."""
        assert prompt.pooled is not None
        batch, _, height, width = latents.shape
        return call_unet(
            self.denoiser,
            latents,
            timestep=timestep,
            text=prompt.sequence,
            control=control,
            added={
                "text_embeds": self.to_denoiser(prompt.pooled),
                "time_ids": self.to_denoiser(self._time_ids(height, width).expand(batch, -1)),
            },
        )

    def _vae_arithmetic(self) -> AbstractContextManager[Any]:
        """No autocast to float16 around a VAE that was kept in float32 because it would overflow."""
        weight = next(self.vae.parameters())
        kind = weight.device.type
        kept = weight.dtype == torch.float32 and self.vae.config.force_upcast
        # The meta device, which only counts, has no autocast.
        if not kept or not torch.amp.is_autocast_available(kind):
            return nullcontext()
        narrow = torch.get_autocast_dtype(kind) == torch.float16
        return torch.autocast(kind, enabled=False) if narrow else nullcontext()

    def _time_ids(self, height: int, width: int) -> Tensor:
        factor = self.traits.spatial_factor
        size = (height * factor, width * factor)
        return torch.tensor([(*size, 0, 0, *size)], dtype=torch.float32)
