"""Perceptual distance between images: the training loss, and the score that validation watches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from hypir_cli.models.perceptual import vgg
from hypir_cli.models.perceptual.trunks import Trunk, TrunkFeatures, efficientnet_trunk

PerceptualKind = Literal["lpips-vgg", "stlpips", "vgg16-hed", "efficientnet-lite0", "none"]
OFFLINE_KINDS = ("stlpips", "vgg16-hed", "efficientnet-lite0")
"""Kinds whose weights come from registry packages, without a download from a hub."""


class PerceptualDistance(nn.Module):
    """Distance of image pairs as a network sees them; 0 for equal images."""

    @abstractmethod
    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        """(B,) distances of (B, 3, H, W) RGB images around 0..1; gradients flow to `images` only."""


class FeatureDistance(PerceptualDistance):
    """`feature_distance` of what a network sees.

    Args:
        network: Gives the levels' features.
        prepare: From RGB in 0..1 to the network's own range.
        weights: Weight of each channel at each level, (1, C, 1, 1); None weighs all alike.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Sequence[Tensor]],
        *,
        prepare: Callable[[Tensor], Tensor],
        weights: Sequence[Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self._prepare = prepare
        self._num_weights = 0 if weights is None else len(weights)
        for level, weight in enumerate(weights or ()):
            self.register_buffer(f"weight_{level}", weight, persistent=False)

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        """(B,) distances."""
        with torch.no_grad():
            wanted = self.network(self._prepare(target))
        seen = self.network(self._prepare(images))
        weights = [self.get_buffer(f"weight_{level}") for level in range(self._num_weights)]
        return feature_distance(seen, wanted, weights=weights)


class RawFeatureDistance(PerceptualDistance):
    """Mean absolute difference of VGG16's features before the last activation of each block.

    Unlike features of unit length they tell strong contrast from weak.

    Args:
        network: VGG16; it is asked for features before activation.
        prepare: From RGB in 0..1 to the network's own range.
        unit: What features are divided by: how far `prepare` stretches beyond unit variance.
        levels: Weight of each level.

    Source: the perceptual loss of ESRGAN (arXiv:1809.00219), section 3.2; levels as in Real-ESRGAN.
    """

    def __init__(
        self,
        network: vgg.Vgg16,
        *,
        prepare: Callable[[Tensor], Tensor],
        unit: float,
        levels: Sequence[float],
    ) -> None:
        super().__init__()
        network.activated = False
        self.network = network
        self._prepare = prepare
        self._unit = unit
        self._levels = tuple(levels)

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        """(B,) distances."""
        with torch.no_grad():
            wanted = self.network(self._prepare(target))
        seen = self.network(self._prepare(images))
        distances = [
            weight * (one.float() - other.float()).abs().flatten(1).mean(1) / self._unit
            for weight, one, other in zip(self._levels, seen, wanted, strict=True)
        ]
        return torch.stack(distances).sum(0)


class TrunkDistance(PerceptualDistance):
    """`feature_distance` of a discriminator trunk's maps, which the adversarial loss may then share.

    Args:
        trunk: Frozen feature extractor.
    """

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        """(B,) distances."""
        with torch.no_grad():
            wanted = self.trunk(target)
        return self.between(self.trunk(images), wanted)

    def between(self, seen: TrunkFeatures, wanted: TrunkFeatures) -> Tensor:
        """(B,) distances of features that are there already."""
        return feature_distance(seen.maps, wanted.maps)


def build_vgg_loss(
    kind: PerceptualKind, *, features: Literal["unit", "raw"], levels: Sequence[float]
) -> PerceptualDistance:
    """A frozen distance on VGG16 with a weight for each level.

    Args:
        kind: `stlpips` or `vgg16-hed`.
        features: `unit` as in LPIPS, `raw` before activation.
        levels: Five weights; empty for equal ones.

    Raises:
        BackboneError: Its package or its weights cannot be had.
        ValueError: Another kind.
    """
    if kind not in ("stlpips", "vgg16-hed"):
        raise ValueError(f"{kind} has no VGG16")
    levels = levels or (1.0,) * vgg.NUM_LEVELS
    is_hed = kind == "vgg16-hed"
    prepare = vgg.hed_input if is_hed else vgg.lpips_input
    network, heads = (vgg.load_hed_vgg16(), None) if is_hed else vgg.load_stlpips_vgg16()
    if features == "raw":
        unit = vgg.HED_UNIT if is_hed else 1.0
        return RawFeatureDistance(network, prepare=prepare, unit=unit, levels=levels)
    heads = heads or [torch.ones(1, 1, 1, 1)] * vgg.NUM_LEVELS
    weighted = [head * weight for head, weight in zip(heads, levels, strict=True)]
    return FeatureDistance(network, prepare=prepare, weights=weighted)


def build_perceptual(kind: PerceptualKind) -> PerceptualDistance | None:
    """A frozen distance by name; None for `none`.

    Raises:
        BackboneError: Its package or its weights cannot be had.
    """
    if kind == "none":
        return None
    if kind == "lpips-vgg":
        network, heads = vgg.load_lpips_vgg16()
        return FeatureDistance(network, prepare=vgg.lpips_input, weights=heads)
    if kind == "stlpips":
        network, heads = vgg.load_stlpips_vgg16()
        return FeatureDistance(network, prepare=vgg.lpips_input, weights=heads)
    if kind == "vgg16-hed":
        return FeatureDistance(vgg.load_hed_vgg16(), prepare=vgg.hed_input)
    return TrunkDistance(efficientnet_trunk())


def feature_distance(
    seen: Sequence[Tensor], wanted: Sequence[Tensor], *, weights: Sequence[Tensor] = ()
) -> Tensor:
    """Squared difference of features of unit length, weighted by channel, averaged over places, summed over levels.

    Args:
        seen: Features of the images, (B, C_i, h_i, w_i) per level.
        wanted: Features of the target, same shapes.
        weights: Weight of each channel, (1, C_i, 1, 1) per level; empty weighs all alike.

    Returns:
        (B,), at least 0.

    Source: LPIPS (arXiv:1801.03924), eq. 1.
    """
    distances = []
    for level, (one, other) in enumerate(zip(seen, wanted, strict=True)):
        squares = (_unit(one.float()) - _unit(other.float())).square()
        if weights:
            squares = squares * weights[level]
        distances.append(squares.sum(1).mean((1, 2)))
    return torch.stack(distances).sum(0)


def _unit(features: Tensor) -> Tensor:
    # The small number stands inside the root: a place without any activation would have an infinite slope otherwise.
    return features / (features.square().sum(1, keepdim=True) + 1e-10).sqrt()
