"""Texture richness: how much fine detail an image has, as one number, and a predictor of it from a degraded image.

Source: section 3 of HYPIR (arXiv:2507.20590) steers by a statistic of the Laplacian; values like 500 are smooth, 5000 rich.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hypir_cli.images.data import Pixels
from hypir_cli.pixels.color import LUMA_WEIGHTS
from hypir_cli.pixels.exact import outside_autocast
from hypir_cli.pixels.strips import padded_rows, strips
from hypir_cli.pixels.tiling import mirrored_border

_NUM_SCALES = 4
_RIDGE = 1e-3


def texture_richness(images: Tensor) -> Tensor:
    """Variance of the Laplacian of the 8-bit luma.

    Args:
        images: RGB, (B, 3, H, W), 0..1.

    Returns:
        (B,) float32, at least 0, in squared 8-bit levels.
    """
    return _laplacian(_luma(images)).flatten(1).var(1, correction=0)


def pixels_richness(pixels: Pixels) -> float:
    """`texture_richness` of a whole image (H, W, C), C 1 or 3, strip by strip; any size from 1x1 on.

    Args:
        pixels: uint8 or uint16; 16 bits are rounded to 8 as they are for `texture_richness`.
    """
    sums = RichnessSums()
    for top, bottom in strips(int(pixels.shape[0]), int(pixels.shape[1])):
        sums.add(padded_rows(pixels, top, bottom, halo=1))
    return sums.richness


@dataclass
class RichnessSums:
    """What the richness of an image follows from, summed over its strips; which strips does not matter, for all terms are whole."""

    count: int = 0
    """Pixels seen."""
    total: float = 0.0
    """Sum of the Laplacian."""
    squares: float = 0.0
    """Sum of its squares."""

    def add(self, planes: Tensor) -> None:
        """Count in one strip, (1, 3, h + 2, w + 2) in 8-bit levels with one pixel around it."""
        response = laplacian(_luma(planes / 255.0)).double()
        self.count += response.numel()
        self.total += float(response.sum())
        self.squares += float(response.square().sum())

    @property
    def richness(self) -> float:
        """Variance of the Laplacian in squared 8-bit levels."""
        mean = self.total / self.count
        return max(self.squares / self.count - mean * mean, 0.0)


def smooth_richness(images: Tensor) -> Tensor:
    """`texture_richness` without the rounding to whole levels, which has no gradient; its border pixels are left out.

    Args:
        images: RGB, (B, 3, H, W), around 0..1.

    Returns:
        (B,) float32, in squared 8-bit levels.
    """
    return laplacian_of(images).flatten(1).var(1)


def laplacian_of(images: Tensor) -> Tensor:
    """Laplacian of the luma in 8-bit levels without rounding, (B, H - 2, W - 2), of RGB images (B, 3, H, W) around 0..1."""
    weights = images.new_tensor(LUMA_WEIGHTS, dtype=torch.float32).reshape(1, 3, 1, 1)
    luma = 255.0 * (images.float() * weights).sum(1)
    return laplacian(luma)


def laplacian(planes: Tensor) -> Tensor:
    """Sum of the four neighbours minus four times the centre, (..., H - 2, W - 2) of (..., H, W)."""
    around = planes[..., :-2, 1:-1] + planes[..., 2:, 1:-1]
    around = around + planes[..., 1:-1, :-2] + planes[..., 1:-1, 2:]
    return around - 4.0 * planes[..., 1:-1, 1:-1]


class TexturePredictor(nn.Module):
    """Texture richness that the clean image behind a degraded one probably has.

    Linear in logarithms of the degraded image's own detail at several scales, fitted in closed form to all pairs it was
    shown: nothing to tune, and the order of the pairs does not matter.
    """

    weight: Tensor
    moments: Tensor
    targets: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        num = 2 * _NUM_SCALES + 1
        self.register_buffer("weight", torch.zeros(num, dtype=torch.float64))
        self.register_buffer("moments", torch.zeros(num, num, dtype=torch.float64))
        self.register_buffer("targets", torch.zeros(num, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def statistics(self, lq: Tensor, gt: Tensor) -> Tensor:
        """What a batch adds to the fit, one flat vector that ranks may sum before `update`."""
        features = _detail_features(lq)
        wanted = texture_richness(gt).cpu().double().clamp(min=1e-3).log()
        moments = features.T @ features
        number = torch.full((1,), float(len(lq)), dtype=torch.float64)
        return torch.cat([moments.flatten(), features.T @ wanted, number])

    def update(self, statistics: Tensor) -> None:
        """Add what `statistics` gave and fit again."""
        statistics = statistics.to(self.moments)
        num = len(self.targets)
        self.moments += statistics[: num * num].reshape(num, num)
        self.targets += statistics[num * num : -1]
        self.count += statistics[-1]
        ridge = (
            _RIDGE * self.count * torch.eye(num, dtype=torch.float64, device=self.moments.device)
        )
        self.weight.copy_(torch.linalg.solve(self.moments + ridge, self.targets))

    @torch.no_grad()
    def forward(self, lq: Tensor) -> Tensor:
        """Predicted texture richness of (B, 3, H, W) images in 0..1, (B,) float32, above 0."""
        logarithm = _detail_features(lq) @ self.weight.cpu()
        return logarithm.clamp(-7.0, 14.0).exp().float().to(lq.device)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> TexturePredictor:
        """A predictor from its state dict (keys without `texture_predictor.`)."""
        predictor = cls()
        predictor.load_state_dict(dict(tensors))
        return predictor


def _detail_features(images: Tensor) -> Tensor:
    """(B, 2 * scales + 1) float64 on the CPU: log variance and log mean size of the Laplacian at each scale, and 1."""
    luma = _luma(images)
    features = []
    for _ in range(_NUM_SCALES):
        detail = _laplacian(luma).flatten(1)
        features += [
            detail.var(1, correction=0).add(0.1).log(),
            detail.abs().mean(1).add(0.1).log(),
        ]
        # A crop too small to halve again repeats its last scale.
        luma = F.avg_pool2d(luma, 2) if min(luma.shape[-2:]) >= 4 else luma
    features.append(torch.ones_like(features[0]))
    # Not every device knows float64.
    return torch.stack(features, dim=1).cpu().double()


def _luma(images: Tensor) -> Tensor:
    """(B, 1, H, W) luma in whole 8-bit levels."""
    levels = (images.float().clamp(0.0, 1.0) * 255.0).round()
    weights = torch.tensor(LUMA_WEIGHTS, device=images.device).reshape(1, 3, 1, 1)
    return (levels * weights).sum(1, keepdim=True).round()


@outside_autocast
def _laplacian(luma: Tensor) -> Tensor:
    """Sum of the four neighbours minus four times the centre, edges mirrored; a side of one pixel is its own mirror."""
    rows, columns = (mirrored_border(length).to(luma.device) for length in luma.shape[-2:])
    return laplacian(luma[..., rows, :][..., columns])
