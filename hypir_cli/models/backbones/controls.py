"""Texture richness and generativity as conditioning of the denoiser.

Both numbers become one vector that enters the denoiser beside its timestep embedding. The last layer starts at zero, so an
untrained embedding changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

TEXTURE_RANGE = (1.0, 100_000.0)
"""Texture values outside are clamped: variance of the Laplacian of 8-bit luma."""


@dataclass(frozen=True, kw_only=True)
class Controls:
    """What the user steers, one value per image; NaN (or None for all) means not given."""

    texture: Tensor | None = None
    """Variance of the Laplacian of the 8-bit luma, (B,), > 0."""
    generativity: Tensor | None = None
    """Level of the noise mixed into the latent, (B,), 0..1."""


class ControlEmbedding(nn.Module):
    """Vector for (texture, generativity), zero until trained.

    Args:
        dim: Length of the vector.
        num_frequencies: Sine and cosine pairs per number.
        hidden: Width of the hidden layer.

    Source: texture richness as conditioning is section 3 of HYPIR (arXiv:2507.20590).
    """

    def __init__(self, dim: int, *, num_frequencies: int = 8, hidden: int = 128) -> None:
        super().__init__()
        self.num_frequencies = num_frequencies
        self.hidden = nn.Linear(2 * (2 * num_frequencies + 2), hidden)
        self.out = nn.Linear(hidden, dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, controls: Controls, *, batch: int) -> Tensor:
        """Embedding, (batch, dim) float32; a number that is not given has its own learned place."""
        weight = self.out.weight
        texture = _filled(controls.texture, batch=batch).to(weight.device)
        generativity = _filled(controls.generativity, batch=batch).to(weight.device)
        low, high = (math.log2(bound) for bound in TEXTURE_RANGE)
        texture = (texture.clamp(*TEXTURE_RANGE).log2() - low) / (high - low)
        features = torch.cat([self._features(texture), self._features(generativity)], dim=1)
        vector: Tensor = self.out(nn.functional.silu(self.hidden(features.to(weight.dtype))))
        return vector.float()

    @torch.no_grad()
    def ignore_texture(self) -> None:
        """Make every texture the same to the model as none given."""
        self.hidden.weight[:, : 2 * self.num_frequencies + 2] = 0.0

    def _features(self, value: Tensor) -> Tensor:
        given = value.isfinite()
        value = value.where(given, torch.zeros_like(value))
        octaves = torch.arange(self.num_frequencies, device=value.device)
        angles = value[:, None] * math.pi * 2.0**octaves / 2.0
        waves = torch.cat([angles.sin(), angles.cos(), value[:, None]], dim=1)
        return torch.cat([waves * given[:, None], given[:, None].to(waves)], dim=1)


def _filled(values: Tensor | None, *, batch: int) -> Tensor:
    if values is None:
        return torch.full((batch,), math.nan)
    return values.float().expand(batch)
