"""The discriminator: a frozen trunk that sees, and small trained heads that judge each of its levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hypir_cli.config.adversarial import DiscriminatorConfig
from hypir_cli.models.perceptual.trunks import Trunk, TrunkFeatures
from hypir_cli.train.networks.spectral import SpectralConv2d, SpectralLinear
from hypir_cli.train.networks.unet import PixelUNet

_LEAK = 0.2
_BLUR = (1.0, 3.0, 3.0, 1.0)


class BlurPool(nn.Module):
    """Binomial low-pass before a strided layer, so that striding does not alias.

    Args:
        channels: Channels, each filtered alone.
        margin: Extra zeros around the image beyond those that keep its size.

    Source: Making Convolutional Networks Shift-Invariant Again (arXiv:1904.11486).
    """

    kernel: Tensor

    def __init__(self, channels: int, *, margin: int = 0) -> None:
        super().__init__()
        line = torch.tensor(_BLUR) / sum(_BLUR)
        kernel = torch.outer(line, line).expand(channels, 1, -1, -1).clone()
        self.register_buffer("kernel", kernel, persistent=False)
        before, after = 1 + margin, 2 + margin
        self.padding = (before, after, before, after)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H + 2 * margin, W + 2 * margin) of (B, C, H, W)."""
        padded = F.pad(images, self.padding)
        return F.conv2d(padded, self.kernel.to(padded.dtype), groups=padded.shape[1])


class DiscriminatorHeads(nn.Module):
    """One convolutional head per feature map and one linear head for the pooled vector.

    Args:
        channels: Channels of each feature map.
        pooled_dim: Length of the pooled vector; 0 for none.
        config: Widths of these heads, and of those that judge patches and pixels of the images themselves.
        seed: Seed of the weights; the same on every rank of a distributed run.
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        pooled_dim: int,
        config: DiscriminatorConfig,
        seed: int = 0,
    ) -> None:
        super().__init__()
        hidden, pixels = config.hidden, config.pixel_width
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.maps = nn.ModuleList([_map_head(width, hidden) for width in channels])
            self.pooled = _vector_head(pooled_dim, hidden) if pooled_dim else None
            self.patches = _patch_head(config.patch_width) if config.patch_width else None
            self.pixels = PixelUNet(pixels, scales=config.pixel_scales) if pixels else None

    def forward(self, features: TrunkFeatures) -> list[Tensor]:
        """Logits, one (B, h, w) per map, (B, 1) for the pooled vector if there is one, and last, of the images themselves, (B, H / 8,
        W / 8) where a head judges patches and (B, H, W) where one judges pixels; positive means real."""
        return [*self.of_trunk(features), *self.of_images(features)]

    def of_trunk(self, features: TrunkFeatures) -> list[Tensor]:
        """The logits from the trunk's features alone."""
        logits = [head(level)[:, 0] for head, level in zip(self.maps, features.maps, strict=True)]
        if self.pooled is not None:
            logits.append(self.pooled(features.pooled))
        return logits

    def of_images(self, features: TrunkFeatures) -> list[Tensor]:
        """The logits of the heads that judge the images themselves."""
        logits: list[Tensor] = []
        if self.patches is not None:
            logits.append(self.patches(_signed(features))[:, 0])
        if self.pixels is not None:
            logits.append(self.pixels(_signed(features))[:, 0])
        return logits

    @property
    def judge_images(self) -> bool:
        """Whether a head looks at the images themselves."""
        return self.patches is not None or self.pixels is not None


class Discriminator(nn.Module):
    """A frozen trunk with trained heads.

    Args:
        trunk: Feature extractor; it is frozen and stays in evaluation mode.
        config: Widths of the heads.
        seed: Seed of the heads' weights.
    """

    def __init__(self, trunk: Trunk, *, config: DiscriminatorConfig, seed: int = 0) -> None:
        super().__init__()
        self.trunk = trunk.requires_grad_(False).eval()
        self.heads = DiscriminatorHeads(
            trunk.channels, pooled_dim=trunk.pooled_dim, config=config, seed=seed
        )

    def features(self, images: Tensor, *, shown: Tensor | None = None) -> TrunkFeatures:
        """Trunk features of images (B, 3, H, W) in 0..1; heads on the images themselves are shown `shown` in their place."""
        features: TrunkFeatures = self.trunk(images)
        if not self.heads.judge_images:
            return features
        return replace(features, images=images if shown is None else shown)

    def train(self, mode: bool = True) -> Discriminator:
        """Switch the heads; the trunk never trains."""
        super().train(mode)
        self.trunk.eval()
        return self


def _signed(features: TrunkFeatures) -> Tensor:
    assert features.images is not None
    return 2.0 * features.images - 1.0


def mean_logit(logits: Sequence[Tensor]) -> Tensor:
    """Average over levels of the mean logit of each; scalar, detached."""
    return torch.stack([level.detach().float().mean() for level in logits]).mean()


def _vector_head(length: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        SpectralLinear(length, hidden), nn.LeakyReLU(_LEAK), SpectralLinear(hidden, 1)
    )


def _patch_head(width: int) -> nn.Sequential:
    """Logits at 1/8 of the side, each of a patch of 54 pixels.

    Without spectral norms: through five normalised layers a head that starts from nothing says too little for too long.
    """
    widths = (width, 2 * width, 4 * width, 4 * width)
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1)]
    for into, out in pairwise(widths):
        layers += [nn.LeakyReLU(_LEAK), nn.Conv2d(into, out, 4, stride=2, padding=1)]
    layers += [nn.LeakyReLU(_LEAK), nn.Conv2d(widths[-1], widths[-1], 3, padding=1)]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, a=_LEAK)
    last = nn.Conv2d(widths[-1], 1, 3, padding=1)
    return nn.Sequential(*layers, nn.LeakyReLU(_LEAK), last)


def _map_head(channels: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        BlurPool(channels, margin=1),
        SpectralConv2d(channels, hidden, side=3, stride=2),
        nn.LeakyReLU(_LEAK),
        BlurPool(hidden),
        SpectralConv2d(hidden, 1, side=1, stride=2),
    )
