"""The denoiser of `tiny`: a small U-Net on the latent whose every operation is local.

Norms act on one pixel's channels, nothing pools over the image, and text enters by cross-attention at the coarsest scale
alone, so a tile gives what the whole image gives, away from its border. Module names follow diffusers, so that the adapter
targets of the other backbones apply. The last convolution starts at zero: an untrained network predicts no velocity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class TinyUNetConfig:
    """Sizes of the denoiser, as in `unet/config.json`."""

    latent_channels: int = 32
    """Channels of the latent."""
    channels: tuple[int, ...] = (64, 128, 192)
    """Channels at each scale; the side halves from one to the next."""
    down_blocks: tuple[int, ...] = (2, 2, 2)
    """Residual blocks at each scale on the way down."""
    up_blocks: tuple[int, ...] = (2, 2, 2)
    """Residual blocks at each scale on the way up."""
    embedding_dim: int = 256
    """Length of the vector that carries timestep and controls."""
    text_dim: int = 64
    """Length of a token embedding."""
    attention_heads: int = 4
    """Heads of the cross-attention."""
    uses_prompt: bool = False
    """Whether it was trained with captions; without, every prompt counts as the empty one."""


class PixelNorm(nn.Module):
    """Layer norm over the channels of each pixel, modulated by scale and shift."""

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """x: (B, C, h, w); scale and shift: (B, C)."""
        rows = x.permute(0, 2, 3, 1)
        normed = functional.layer_norm(rows, rows.shape[-1:], eps=1e-5)
        modulated = torch.addcmul(shift[:, None, None], normed, 1.0 + scale[:, None, None])
        return modulated.permute(0, 3, 1, 2)


class TinyResnet(nn.Module):
    """Norm, modulation by the embedding, two 3x3 convolutions, residual; the identity before training."""

    def __init__(self, channels: int, *, embedding_dim: int) -> None:
        super().__init__()
        self.norm1 = PixelNorm()
        self.time_emb_proj = nn.Linear(embedding_dim, 2 * channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        _zero(self.time_emb_proj)
        _zero(self.conv2)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x: (B, channels, h, w); embedding: (B, embedding_dim)."""
        scale, shift = self.time_emb_proj(embedding).chunk(2, dim=1)
        hidden = self.conv1(self.norm1(x, scale, shift))
        residual: Tensor = self.conv2(functional.silu(hidden))
        return x + residual


class TinyCrossAttention(nn.Module):
    """Each pixel looks at the prompt's tokens; adds nothing before training."""

    def __init__(self, channels: int, *, text_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(text_dim, channels, bias=False)
        self.to_v = nn.Linear(text_dim, channels, bias=False)
        out = nn.Linear(channels, channels)
        _zero(out)
        self.to_out = nn.ModuleList([out])

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """x: (B, C, h, w); tokens: (B, L, text_dim)."""
        batch, channels, height, width = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        query = self._split(self.to_q(functional.layer_norm(rows, (channels,))))
        key, value = self._split(self.to_k(tokens)), self._split(self.to_v(tokens))
        seen = functional.scaled_dot_product_attention(query, key, value)
        added: Tensor = self.to_out[0](seen.transpose(1, 2).reshape(rows.shape))
        return x + added.reshape(batch, height, width, channels).permute(0, 3, 1, 2)

    def _split(self, rows: Tensor) -> Tensor:
        batch, length, channels = rows.shape
        return rows.reshape(batch, length, self.heads, channels // self.heads).transpose(1, 2)


class TinyScale(nn.Module):
    """The residual blocks of one scale."""

    def __init__(self, channels: int, *, count: int, embedding_dim: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            TinyResnet(channels, embedding_dim=embedding_dim) for _ in range(count)
        )

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """All blocks in turn."""
        for resnet in self.resnets:
            x = resnet(x, embedding)
        return x


class TinyUNet(nn.Module):
    """Latent, timestep and tokens to a velocity.

    The latent's channels have unit variance but matter unequally: one step of the first moves the pixels a hundred times
    as far as one of the last. `latent_scale` (C,), how far each moves them, puts input and output on common ground.

    Args:
        config: Its sizes.
    """

    latent_scale: Tensor
    # As diffusers names the blocks of a network that are not to be split.
    _no_split_modules = ("TinyResnet", "TinyCrossAttention")

    def __init__(self, config: TinyUNetConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("latent_scale", torch.ones(config.latent_channels))
        widths, dim = config.channels, config.embedding_dim
        self.time_embedding = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList()
        self.downsamplers = nn.ModuleList()
        self.up_blocks = nn.ModuleList()
        self.upsamplers = nn.ModuleList()
        for width, count in zip(widths, config.down_blocks, strict=True):
            self.down_blocks.append(TinyScale(width, count=count, embedding_dim=dim))
        for width, count in zip(widths, config.up_blocks, strict=True):
            self.up_blocks.append(TinyScale(width, count=count, embedding_dim=dim))
        for fine, coarse in pairwise(widths):
            self.downsamplers.append(nn.Conv2d(fine, coarse, 2, stride=2))
            self.upsamplers.append(nn.Conv2d(coarse, 4 * fine, 1))
        self.attention = TinyCrossAttention(
            widths[-1], text_dim=config.text_dim, heads=config.attention_heads
        )
        self.conv_out = nn.Conv2d(widths[0], config.latent_channels, 3, padding=1)
        _zero(self.conv_out)

    def forward(
        self, latents: Tensor, timestep: Tensor, tokens: Tensor, control: Tensor | None = None
    ) -> Tensor:
        """Velocity of latents.

        Args:
            latents: (B, C, h, w), sides multiples of 2^(scales - 1).
            timestep: (B,) in 0..999.
            tokens: Prompt embeddings, (B, L, text_dim).
            control: Vector added to the timestep embedding, (B, embedding_dim).

        Returns:
            (B, C, h, w).
        """
        waves = sinusoids(timestep, dim=self.config.embedding_dim)
        embedding = self.time_embedding(waves.to(latents.dtype))
        if control is not None:
            embedding = embedding + control.to(embedding)
        embedding = functional.silu(embedding)
        scale = self.latent_scale[:, None, None]
        x = self.conv_in(latents * scale.sqrt())
        skips = []
        for index, blocks in enumerate(self.down_blocks):
            if index:
                skips.append(x)
                x = self.downsamplers[index - 1](x)
            x = blocks(x, embedding)
        x = self.attention(x, tokens)
        for index in reversed(range(len(self.up_blocks))):
            x = self.up_blocks[index](x, embedding)
            if index:
                x = functional.pixel_shuffle(self.upsamplers[index - 1](x), 2) + skips.pop()
        velocity: Tensor = self.conv_out(x) / scale
        return velocity


def sinusoids(timestep: Tensor, *, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Cosines and sines of a timestep at geometric frequencies: (B, dim) float32.

    Source: Attention Is All You Need (arXiv:1706.03762), section 3.5.
    """
    steps = torch.arange(dim // 2, device=timestep.device) / (dim // 2)
    angles = timestep.float()[:, None] * torch.exp(-math.log(max_period) * steps)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def _zero(layer: nn.Conv2d | nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
