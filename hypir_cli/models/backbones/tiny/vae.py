"""The autoencoder of `tiny`: pixels to a quarter of the side and back, close to lossless and cheap on a CPU.

Space to depth and a linear projection do most of the work: started from the whitened principal components of 4x4 patches, the
latent has unit variance and the round trip is good before any training. A small residual network on either side adds the rest.

Patches that do not overlap make a block of every error of the latent. Two settings take the blocks away: `basis` 3 lets the
projections reach into the neighbouring patches, and `enlarge` adds a path that grows to full size by nearest neighbours and
convolutions, which looks at the projected picture too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class TinyVAEConfig:
    """Sizes of the autoencoder, as in `vae/config.json`."""

    patch: int = 4
    """Image pixels per latent pixel, along one axis."""
    latent_channels: int = 32
    """Channels of the latent."""
    hidden: int = 64
    """Channels of the residual networks."""
    num_blocks: int = 4
    """Residual blocks on either side."""
    encoder_hidden: int | None = None
    """Channels of the encoder's, where they differ: the encoder also learns to see past degradation."""
    encoder_blocks: int | None = None
    """Residual blocks of the encoder, where they differ."""
    balanced_encoder: bool = False
    """Whether the encoder's residual network reads and writes latents in units that move the pixels alike. Without it one
    step size is too large for the coarse channels and too small for the fine ones, and it hardly learns to restore."""
    log_variance: float = -7.0
    """Natural logarithm of the posterior's variance before training."""
    basis: int = 1
    """Side of the projections in patches, odd: 1 keeps every patch to itself, 3 overlaps it with its neighbours."""
    enlarge: tuple[int, ...] = ()
    """Channels of the decoder's enlarging path after each doubling of the side, as many as take a latent pixel to a patch;
    empty for none."""
    finish: int = 16
    """Channels of the enlarging path's last layer but one, at full size."""
    activation_limit: float | None = None
    """Highest root mean square over the channels of a pixel between residual blocks; what is stronger is scaled down to it. None of
    the photographs that were looked at comes above 11; without a limit an odd one can make a burst of false colour."""

    def __post_init__(self) -> None:
        if self.basis < 1 or self.basis % 2 == 0:
            raise ValueError(f"basis must be odd and at least 1, got {self.basis}")
        if self.enlarge and 2 ** len(self.enlarge) != self.patch:
            raise ValueError(
                f"enlarge must double the side until it is {self.patch}, got {len(self.enlarge)} steps"
            )
        if self.activation_limit is not None and self.activation_limit <= 0:
            raise ValueError(f"activation_limit must be above 0, got {self.activation_limit}")


RUNAWAY = 1000.0
"""Activations of the residual networks beyond this are not believed. Nothing in them bounds what they make of a pattern that no
training photograph had: some grew to 2e6 where all others stay below 700."""
_RUNAWAY_REACH = 4
"""Latent pixels around a runaway that it may have touched."""


class TinyBlock(nn.Module):
    """Two 3x3 convolutions around a residual connection; the identity before training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(_bias(self.conv2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        hidden: Tensor = self.conv2(functional.silu(self.conv1(x)))
        return x + hidden


class TinyCoder(nn.Module):
    """A linear map from `channels_in` to `channels_out` plus a residual network of zero weight."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        hidden: int,
        num_blocks: int,
        basis: int = 1,
        limit: float | None = None,
    ) -> None:
        super().__init__()
        self.limit = limit
        # Beyond the border lies what lies at the border: zeros would be mid-grey patches.
        self.projection = nn.Conv2d(
            channels_in, channels_out, basis, padding=basis // 2, padding_mode="replicate"
        )
        self.conv_in = nn.Conv2d(channels_in, hidden, 3, padding=1)
        self.blocks = nn.ModuleList(TinyBlock(hidden) for _ in range(num_blocks))
        self.conv_out = nn.Conv2d(hidden, channels_out, 1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(_bias(self.conv_out))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, h, w) to (B, channels_out, h, w)."""
        return self.mapped(x, self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """What the residual network makes of (B, channels_in, h, w): (B, hidden, h, w); nothing around a runaway (`RUNAWAY`),
        where the projection has to do alone."""
        hidden: Tensor = self.conv_in(x)
        runs = hidden.new_zeros((len(x), 1, *hidden.shape[-2:]))
        for block in self.blocks:
            hidden = block(hidden)
            with torch.no_grad():
                runs = torch.maximum(runs, hidden.abs().amax(dim=1, keepdim=True))
            # Clamped, it stays where it is instead of spreading over its surroundings.
            hidden = hidden.clamp(-RUNAWAY, RUNAWAY)
            if self.limit is not None:
                hidden = limited(hidden, self.limit)
        reach = 2 * _RUNAWAY_REACH + 1
        touched = functional.max_pool2d(runs, reach, 1, _RUNAWAY_REACH) >= RUNAWAY
        return functional.silu(hidden).masked_fill(touched, 0.0)

    def mapped(self, x: Tensor, features: Tensor) -> Tensor:
        """Projection and detail together, (B, channels_out, h, w)."""
        linear: Tensor = self.projection(x)
        detail: Tensor = self.conv_out(features)
        return linear + detail


class TinyEncoder(TinyCoder):
    """Pixels to latent moments: space to depth, then the coder."""

    latent_scale: Tensor

    def __init__(self, config: TinyVAEConfig) -> None:
        hidden = config.encoder_hidden or config.hidden
        super().__init__(
            3 * config.patch**2,
            2 * config.latent_channels,
            hidden=hidden,
            num_blocks=config.encoder_blocks or config.num_blocks,
            basis=config.basis,
            limit=config.activation_limit,
        )
        self.patch = config.patch
        self.balanced = config.balanced_encoder
        if self.balanced:
            self.conv_in = nn.Conv2d(config.latent_channels, hidden, 3, padding=1)
            self.register_buffer("latent_scale", torch.ones(config.latent_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in -1..1 to moments (B, 2 * C, H / patch, W / patch)."""
        pixels = functional.pixel_unshuffle(x, self.patch)
        if not self.balanced:
            return super().forward(pixels)
        mean, log_variance = self.projection(pixels).chunk(2, dim=1)
        scale = self.latent_scale[:, None, None]
        features = self.features(mean * scale.sqrt())
        moved, spread = self.conv_out(features).chunk(2, dim=1)
        return torch.cat([mean + moved / scale, log_variance + spread], dim=1)


class TinyDecoder(TinyCoder):
    """Latents to pixels: the coder and depth to space, then what the enlarging path adds, nothing before training."""

    def __init__(self, config: TinyVAEConfig) -> None:
        super().__init__(
            config.latent_channels,
            3 * config.patch**2,
            hidden=config.hidden,
            num_blocks=config.num_blocks,
            basis=config.basis,
            limit=config.activation_limit,
        )
        self.patch = config.patch
        widths = (config.hidden, *config.enlarge)
        self.upsamplers = nn.ModuleList(
            nn.Conv2d(into, out, 3, padding=1) for into, out in pairwise(widths)
        )
        if config.enlarge:
            self.conv_join = nn.Conv2d(widths[-1] + 3, config.finish, 3, padding=1)
            self.conv_last = nn.Conv2d(config.finish, 3, 3, padding=1)
            nn.init.zeros_(self.conv_last.weight)
            nn.init.zeros_(_bias(self.conv_last))

    def forward(self, x: Tensor) -> Tensor:
        """Latents (B, C, h, w) to pixels (B, 3, patch * h, patch * w) around -1..1."""
        features = self.features(x)
        pixels = functional.pixel_shuffle(self.mapped(x, features), self.patch)
        if not self.upsamplers:
            return pixels
        # Each large tensor goes before the next comes: here they are as wide as nowhere else.
        for upsampler in self.upsamplers:
            features = _silu(upsampler(functional.interpolate(features, scale_factor=2.0)))
        features = torch.cat([features, pixels], dim=1)
        features = _silu(self.conv_join(features))
        added: Tensor = self.conv_last(features)
        return pixels + added


class TinyVAE(nn.Module):
    """Autoencoder with a gaussian posterior.

    Args:
        config: Its sizes.
    """

    def __init__(self, config: TinyVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = TinyEncoder(config)
        self.decoder = TinyDecoder(config)

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each (B, C, H / patch, W / patch), of pixels (B, 3, H, W) in -1..1."""
        mean, log_variance = self.encoder(pixels).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) around -1..1 of latents."""
        pixels: Tensor = self.decoder(latents)
        return pixels

    @torch.no_grad()
    def latent_scale(self) -> Tensor:
        """How far one unit of each latent channel moves the pixels of its patch, (C,): root of the summed squares."""
        weight: Tensor = self.decoder.projection.weight
        norms: Tensor = weight.square().sum(dim=(0, 2, 3)).sqrt()
        return norms

    @torch.no_grad()
    def start_from_patches(self, patches: Tensor) -> None:
        """Set the projections to the whitened principal components of patches and back.

        Args:
            patches: (N, 3 * patch^2) samples in -1..1, in the channel order of `pixel_unshuffle`, N in the thousands.
        """
        channels = self.config.latent_channels
        mean = patches.double().mean(dim=0)
        centred = patches.double() - mean
        variances, axes = torch.linalg.eigh(centred.T @ centred / len(patches))
        variances, axes = variances.flip(0)[:channels], axes.flip(1)[:, :channels]
        whiten = (axes / variances.sqrt()).T
        encode, decode = self.encoder.projection, self.decoder.projection
        nn.init.zeros_(encode.weight)
        nn.init.zeros_(decode.weight)
        middle = self.config.basis // 2
        encode.weight[:channels, :, middle, middle] = whiten.to(encode.weight)
        _bias(encode)[:channels] = -(whiten @ mean).to(encode.weight)
        _bias(encode)[channels:] = self.config.log_variance
        decode.weight[:, :, middle, middle] = (axes * variances.sqrt()).to(decode.weight)
        _bias(decode).copy_(mean)
        if self.config.balanced_encoder:
            self.encoder.latent_scale.copy_(self.latent_scale())


def limited(x: Tensor, limit: float) -> Tensor:
    """(B, C, h, w) with the root mean square over the channels of each pixel at most `limit`."""
    bound = limit * math.sqrt(x.shape[1])
    strength: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32)
    return x / (strength / bound).clamp(min=1.0).to(x.dtype)


def _silu(x: Tensor) -> Tensor:
    """SiLU, in place where nothing has to be kept for a gradient."""
    return functional.silu(x, inplace=not torch.is_grad_enabled())


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
