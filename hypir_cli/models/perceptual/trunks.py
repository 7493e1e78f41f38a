"""Frozen feature extractors for the discriminator, all behind `Trunk`.

Levels are found by the name of a stage, never by their place in a list of outputs: libraries have changed what such lists
hold.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hypir_cli.errors import BackboneError, first_line
from hypir_cli.models.perceptual.efficientnet import EfficientNetLite, load_efficientnet_lite0
from hypir_cli.models.reach import limited_network

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
RANDOM_SMALL, EFFICIENTNET, XXLARGE = "random-small", "efficientnet-lite0", "convnext-xxlarge"
NO_TRUNK = "none"
OPEN_CLIP_XXLARGE = ("convnext_xxlarge", "laion2b_s34b_b82k_augreg_soup")
TIMM_XXLARGE = "convnext_xxlarge.clip_laion2b_soup"
OPEN_CLIP_REPO = "laion/CLIP-convnext_xxlarge-laion2B-s34B-b82K-augreg-soup"
TIMM_REPO = f"timm/{TIMM_XXLARGE}"
"""Where on the hub the two packages find its weights."""


@dataclass(frozen=True, kw_only=True)
class TrunkFeatures:
    """What a trunk sees in a batch of images."""

    maps: tuple[Tensor, ...]
    """Feature maps from fine to coarse, (B, C_i, h_i, w_i)."""
    pooled: Tensor
    """One vector per image, (B, P)."""
    images: Tensor | None = None
    """The images themselves, (B, 3, H, W) in 0..1, where a head judges them."""

    def detach(self) -> TrunkFeatures:
        """The same features without a gradient history."""
        return TrunkFeatures(
            maps=tuple(level.detach() for level in self.maps),
            pooled=self.pooled.detach(),
            images=None if self.images is None else self.images.detach(),
        )

    def joined(self, other: TrunkFeatures) -> TrunkFeatures:
        """This batch followed by another one of the same image size."""
        pairs = zip(self.maps, other.maps, strict=True)
        return TrunkFeatures(
            maps=tuple(torch.cat(pair) for pair in pairs),
            pooled=torch.cat([self.pooled, other.pooled]),
            images=None
            if self.images is None or other.images is None
            else torch.cat([self.images, other.images]),
        )


class Trunk(nn.Module):
    """A feature extractor.

    Attributes:
        channels: Channels of each feature map.
        pooled_dim: Length of the pooled vector.
    """

    channels: tuple[int, ...]
    pooled_dim: int

    @abstractmethod
    def forward(self, images: Tensor) -> TrunkFeatures:
        """Features of images (B, 3, H, W) in 0..1; the range a network wants is its own matter."""


class StagedTrunk(Trunk):
    """Any network whose stages are submodules with names.

    Args:
        network: The network.
        stages: Names of the stages to read, fine to coarse.
        channels: Channels that come out of each.
        pooled: Turns the network's output into (B, `pooled_dim`).
        pooled_dim: Length of the pooled vector.
        mean: Of the images the network was trained on, per channel.
        std: Likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        stages: Sequence[str],
        channels: Sequence[int],
        pooled: Callable[[Any], Tensor],
        pooled_dim: int,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.network = network
        self.stages = tuple(stages)
        self.channels = tuple(channels)
        self.pooled_dim = pooled_dim
        self._pooled = pooled
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> TrunkFeatures:
        """Features of images in 0..1, at their own resolution."""
        seen: dict[str, Tensor] = {}
        hooks = [
            self.network.get_submodule(name).register_forward_hook(_remember(seen, name))
            for name in self.stages
        ]
        try:
            output = self.network((images - self.mean) / self.std)
        finally:
            for hook in hooks:
                hook.remove()
        return TrunkFeatures(
            maps=tuple(seen[name] for name in self.stages), pooled=self._pooled(output)
        )


class NoTrunk(Trunk):
    """Sees nothing; the images themselves are judged."""

    channels = ()
    pooled_dim = 0

    def forward(self, images: Tensor) -> TrunkFeatures:
        """Empty features."""
        return TrunkFeatures(maps=(), pooled=images.new_zeros(len(images), 0))


def build_trunk(name: str, *, seed: int = 0) -> Trunk:
    """A trunk by name.

    Args:
        name: `efficientnet-lite0` (weights from a registry package), `random-small` (untrained, for trying things out),
            `none` (sees nothing), `convnext-xxlarge` (the release's; open_clip or timm, a download), or any transformers ConvNeXt: a folder or
            a hub id.
        seed: Seed of the untrained one.

    Raises:
        BackboneError: Its package or its weights cannot be had.
    """
    if name == NO_TRUNK:
        return NoTrunk()
    if name == RANDOM_SMALL:
        return _random_small(seed)
    if name == EFFICIENTNET:
        return efficientnet_trunk()
    if name == XXLARGE:
        return _xxlarge()
    return _transformers_convnext(name)


def efficientnet_trunk() -> Trunk:
    """EfficientNet-Lite0 at 1/4, 1/8 and 1/16 of the image side."""
    return StagedTrunk(
        load_efficientnet_lite0(),
        stages=("blocks.2", "blocks.4", "blocks.10"),
        channels=(24, 40, 112),
        pooled=_spatial_mean,
        pooled_dim=EfficientNetLite.out_channels,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


def _random_small(seed: int) -> Trunk:
    widths = (16, 32, 64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stages = [_small_stage(into, out) for into, out in zip((3, 16, 32), widths, strict=True)]
    network = nn.Sequential(*stages)
    return StagedTrunk(
        network,
        stages=("0", "1", "2"),
        channels=widths,
        pooled=_spatial_mean,
        pooled_dim=widths[-1],
    )


def _small_stage(in_channels: int, channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 2, stride=2),
        nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
        nn.GroupNorm(1, channels),
        nn.Conv2d(channels, 2 * channels, 1),
        nn.GELU(),
        nn.Conv2d(2 * channels, channels, 1),
    )


def _xxlarge() -> Trunk:
    network, prefix = _open_clip_xxlarge() or _timm_xxlarge()
    return StagedTrunk(
        network,
        stages=tuple(f"{prefix}stages.{index}" for index in range(3)),
        channels=(384, 768, 1536),
        pooled=lambda output: output,
        pooled_dim=1024,
        mean=CLIP_MEAN,
        std=CLIP_STD,
    )


def _open_clip_xxlarge() -> tuple[nn.Module, str] | None:
    try:
        import open_clip
    except ImportError:
        return None
    architecture, weights = OPEN_CLIP_XXLARGE
    try:
        with limited_network():
            model = open_clip.create_model(architecture, pretrained=weights)
    except (OSError, RuntimeError) as error:
        raise _no_weights(f"open_clip {architecture}, {weights}", error) from error
    return model.visual, "trunk."


def _timm_xxlarge() -> tuple[nn.Module, str]:
    try:
        import timm
    except ImportError as error:
        raise BackboneError(
            f"the trunk {XXLARGE} needs open_clip_torch or timm, and neither is installed.",
            hint=f"pip install timm, or choose discriminator.trunk: {EFFICIENTNET}",
        ) from error
    try:
        with limited_network():
            return timm.create_model(TIMM_XXLARGE, pretrained=True), ""
    except (OSError, RuntimeError) as error:
        raise _no_weights(f"timm {TIMM_XXLARGE}", error) from error


def _transformers_convnext(name: str) -> Trunk:
    from transformers import AutoImageProcessor, AutoModel

    try:
        with limited_network():
            network = AutoModel.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise _no_weights(f"transformers model {name!r}", error) from error
    config = network.config
    if not str(config.model_type).startswith("convnext"):
        raise BackboneError(
            f"{name} is a {config.model_type}, and a trunk must be a ConvNeXt.",
            hint=f"e.g. facebook/convnext-base-224, or {EFFICIENTNET} without a download",
        )
    try:
        with limited_network():
            processor = AutoImageProcessor.from_pretrained(name)
        mean, std = tuple(processor.image_mean), tuple(processor.image_std)
    except (OSError, ValueError):
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    return StagedTrunk(
        network,
        stages=tuple(f"encoder.stages.{index}" for index in range(3)),
        channels=tuple(config.hidden_sizes[:3]),
        pooled=lambda output: output.pooler_output,
        pooled_dim=config.hidden_sizes[-1],
        mean=mean,
        std=std,
    )


def _no_weights(what: str, error: Exception) -> BackboneError:
    return BackboneError(
        f"the weights of the discriminator trunk ({what}) cannot be had: {first_line(error)}",
        hint=f"download them once with a connection, or choose discriminator.trunk: {EFFICIENTNET}",
    )


def _remember(seen: dict[str, Tensor], name: str) -> Callable[[nn.Module, Any, Tensor], None]:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        seen[name] = output

    return hook


def _spatial_mean(output: Tensor) -> Tensor:
    return output.mean((2, 3))
