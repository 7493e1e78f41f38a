"""What the two players of the adversarial stage minimise.

Logits come as one tensor per level of the discriminator: maps (B, h, w) and one column (B, 1). Every loss is a mean over a
level's map, a sum over levels and a mean over the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from hypir_cli.config.adversarial import SPECTRUM_WINDOW, PixelKind
from hypir_cli.pixels.color import luma
from hypir_cli.pixels.texture import laplacian_of, smooth_richness

ERROR_FLOOR = 1e-4
"""Squared error, on the scale 0..1, that hardly needs lowering: 40 dB."""
ABSOLUTE_FLOOR = 0.003
"""Absolute error, on the scale 0..1, that hardly needs lowering: about 48 dB."""
CELLS_PER_WINDOW = 8
"""Cells along the side of the windows in which detail is compared place by place."""
SIGN_WEIGHT = 4.0
"""Of detail that repeats from cell to cell, beside energy that depends on the place."""
GRID_FLOOR = 4.0
"""Energy, in squared 8-bit levels, that nobody sees."""
SPECTRUM_REGION = 7
"""Windows along the side of a region over which their spectra are averaged: 64 pixels in all."""
SPECTRUM_FLOOR = 1.0
"""Power, as the variance of white noise in squared 8-bit levels, that nobody sees."""
SPECTRUM_MARGIN = 0.25
"""Logarithm of the excess that chance gives to the mean power of a region."""
TEXTURE_FLOOR = 10.0
"""Added to both sides of the texture distance, so that plain sky is not textured for its own sake."""


def multilevel_bce(logits: Sequence[Tensor], *, target: float) -> Tensor:
    """Binary cross-entropy of each sample against one target.

    Args:
        logits: One tensor per level, (B, ...).
        target: Probability of "real" that the logits should reach, 0..1; below 1 for real images is label smoothing.

    Returns:
        (B,), mean within each level, summed over levels.
    """
    return torch.stack([_level_bce(level.float(), target) for level in logits]).sum(0)


def discriminator_loss(
    real_logits: Sequence[Tensor], fake_logits: Sequence[Tensor], *, real_target: float
) -> Tensor:
    """Real towards `real_target`, fake towards 0; scalar.

    Source: vision-aided GAN (arXiv:2112.09130) with label smoothing, as the HYPIR release trains.
    """
    real = multilevel_bce(real_logits, target=real_target)
    fake = multilevel_bce(fake_logits, target=0.0)
    return (real + fake).mean()


def generator_loss(fake_logits: Sequence[Tensor], *, target: float) -> Tensor:
    """Fake towards `target`; scalar.

    A target below 1 reverses the gradient of every logit above log(target / (1 - target)), 1.386 for 0.8.
    """
    return multilevel_bce(fake_logits, target=target).mean()


def relativistic_loss(winners: Sequence[Tensor], losers: Sequence[Tensor]) -> Tensor:
    """Falls as every logit of the winners rises above the loser's at the same place; scalar.

    The discriminator calls it with real images as winners, the generator with its own: each level (B, ...) of one is compared
    with the same level of the other, sample by sample, so a fake stands beside the real image it was made from.

    Source: relativistic pairing GAN (arXiv:1807.00734; arXiv:2501.05441, eq. 4).
    """
    levels = [
        F.softplus(other.float() - one.float()).flatten(1).mean(1)
        for one, other in zip(winners, losers, strict=True)
    ]
    return torch.stack(levels).sum(0).mean()


def steadiness_loss(logits: Sequence[Tensor], disturbed: Sequence[Tensor]) -> Tensor:
    """Mean squared difference of the logits of real images and of the same with faint noise; scalar.

    Source: approximate R1, adversarial post-training (arXiv:2501.08316), eq. 5.
    """
    levels = [
        (one.float() - other.float()).square().flatten(1).mean(1)
        for one, other in zip(logits, disturbed, strict=True)
    ]
    return torch.stack(levels).sum(0).mean()


def pixel_loss(images: Tensor, target: Tensor) -> Tensor:
    """Mean squared error on the scale -1..1 of images given in 0..1; scalar."""
    return 4.0 * F.mse_loss(images.float(), target.float())


def log_pixel_loss(images: Tensor, target: Tensor) -> Tensor:
    """Logarithm of each image's mean squared error, mean over the images of (B, 3, H, W) in 0..1; scalar.

    A decibel is 0.23 whatever an image starts from; errors below `ERROR_FLOOR` count less and less.
    """
    return _log_mean((images.float() - target.float()).square(), floor=ERROR_FLOOR)


def absolute_loss(images: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error on the scale -1..1 of images given in 0..1; scalar."""
    return 2.0 * F.l1_loss(images.float(), target.float())


def log_absolute_loss(images: Tensor, target: Tensor) -> Tensor:
    """Logarithm of each image's mean absolute error, mean over the images of (B, 3, H, W) in 0..1; scalar.

    A decibel is 0.115 whatever an image starts from; errors below `ABSOLUTE_FLOOR` count less and less.
    """
    return _log_mean((images.float() - target.float()).abs(), floor=ABSOLUTE_FLOOR)


def _log_mean(errors: Tensor, *, floor: float) -> Tensor:
    return (errors.flatten(1).mean(1) + floor).log().mean()


_IMAGE_LOSSES = {
    "mse": pixel_loss,
    "log-mse": log_pixel_loss,
    "l1": absolute_loss,
    "log-l1": log_absolute_loss,
}


def image_loss(images: Tensor, target: Tensor, *, kind: PixelKind) -> Tensor:
    """The pixel loss that a setting names; scalar."""
    return _IMAGE_LOSSES[kind](images, target)


def texture_loss(images: Tensor, asked: Tensor) -> Tensor:
    """Distance in octaves of the images' texture richness from what was asked, mean over those that were asked; scalar.

    Args:
        images: (B, 3, H, W) in 0..1.
        asked: (B,) in squared 8-bit levels; NaN where nothing was asked.
    """
    told = asked.isfinite()
    reached = (smooth_richness(images) + TEXTURE_FLOOR).log2()
    octaves = (reached - (asked.nan_to_num() + TEXTURE_FLOOR).log2()).abs()
    return (octaves * told).sum() / told.sum().clamp(min=1)


def grid_loss(images: Tensor, target: Tensor, *, cell: int) -> Tensor:
    """How much more the detail's energy depends on the place within a cell than in the target; scalar.

    In natural images the mean square of the Laplacian is the same at every place of a grid laid over them, but for chance. Taken
    in windows of `CELLS_PER_WINDOW` cells a side, so that patterns that change their place from window to window are found too,
    and for grids of one, two and four times the cell, since a denoiser that halves its side draws those as well.

    Args:
        images: (B, 3, H, W) in 0..1; what does not fill a window is left out.
        target: Same shape; its own dependence on the grid is free.
        cell: Side of a cell in pixels: of what one pixel of the latent becomes.
    """
    total = images.new_zeros((), dtype=torch.float32)
    for side in (cell, 2 * cell, 4 * cell):
        if min(images.shape[-2:]) >= side * CELLS_PER_WINDOW:
            excess = _grid_binding(images, cell=side) - _grid_binding(target, cell=side)
            total = total + excess.clamp(min=0.0).mean()
    return total


def _grid_binding(images: Tensor, *, cell: int) -> Tensor:
    """Variance over the places of a cell of the logarithm of the detail's energy, and the share of the detail that repeats from
    cell to cell: (B, windows)."""
    detail = F.pad(laplacian_of(images), (1, 1, 1, 1))
    side, window = CELLS_PER_WINDOW, CELLS_PER_WINDOW * cell
    height, width = (length // window for length in detail.shape[-2:])
    kept = detail[..., : height * window, : width * window]
    cells = kept.reshape(-1, height, side, cell, width, side, cell)
    energy = cells.square().mean(dim=(2, 5)).transpose(2, 3).flatten(3)
    signed = cells.mean(dim=(2, 5)).transpose(2, 3).flatten(3)
    spread = (energy + GRID_FLOOR).log().var(dim=3)
    repeated = signed.square().mean(dim=3) / (energy.mean(dim=3) + GRID_FLOOR)
    return (spread + SIGN_WEIGHT * repeated).flatten(1)


def spectrum_loss(images: Tensor, target: Tensor, *, lack: float = 0.0) -> Tensor:
    """How far the images' power at each frequency is from the target's; scalar.

    Absolute differences of the logarithms of power spectra of overlapping windows, averaged over regions of 64 pixels, of luma and of
    both colour differences. A hatching, dots or fringes are a peak that the target does not have, wherever they lie in the
    latent's cells; softness is power that is missing.

    Args:
        images: (B, 3, H, W) in 0..1, sides from `SPECTRUM_WINDOW` up; of a side that is no multiple of 8 the rest is left out.
        target: Same shape.
        lack: Weight of missing power beside power that is too much, 0..1.

    Source: the spectral regularisation of Durall et al. (arXiv:2003.01826), here local and in two dimensions.
    """
    excess = _log_spectrum(images) - _log_spectrum(target)
    too_much = (excess - SPECTRUM_MARGIN).clamp(min=0.0)
    too_little = (-excess - SPECTRUM_MARGIN).clamp(min=0.0)
    return (too_much + lack * too_little).mean()


def _log_spectrum(images: Tensor) -> Tensor:
    """Logarithm of the mean power at each frequency but the constant one: (B, 3, h, w, frequencies)."""
    levels = 255.0 * images.float()
    light = luma(levels)
    planes = torch.cat((light, levels[:, :1] - light, levels[:, 2:] - light), dim=1)
    window = torch.hann_window(SPECTRUM_WINDOW, device=planes.device)
    taper = torch.outer(window, window)
    step = SPECTRUM_WINDOW // 2
    pieces = planes.unfold(2, SPECTRUM_WINDOW, step).unfold(3, SPECTRUM_WINDOW, step)
    centred = pieces - pieces.mean(dim=(-2, -1), keepdim=True)
    power = torch.fft.rfft2(centred * taper).abs().square() / taper.square().sum()
    flat = power.flatten(4)[..., 1:].permute(0, 1, 4, 2, 3).flatten(0, 1)
    (height, down), (width, across) = (_regions(length) for length in flat.shape[-2:])
    mean = F.avg_pool2d(flat, (height, width), stride=(down, across))
    return (mean + SPECTRUM_FLOOR).log()


def _regions(length: int) -> tuple[int, int]:
    """Length and distance of as few regions of at least `SPECTRUM_REGION` windows as see all of so many; fewer windows are one."""
    count = math.ceil(length / SPECTRUM_REGION)
    if count == 1:
        return length, length
    distance = (length - SPECTRUM_REGION) // (count - 1)
    return length - distance * (count - 1), distance


def _level_bce(logits: Tensor, target: float) -> Tensor:
    wanted = torch.full_like(logits, target)
    loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return loss.flatten(1).mean(1)
