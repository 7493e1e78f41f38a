"""What time and the camera did to a paper print, before it was scanned."""

from __future__ import annotations

import torch
from torch import Tensor

from hypir_cli.pixels.color import luma
from hypir_cli.train.degradation.filtering import blurred_deviation, gaussian_blur
from hypir_cli.train.degradation.parameters import AgeingParameters, MarkParameters


def age_print(image: Tensor, parameters: AgeingParameters) -> Tensor:
    """An image as an old print of it looks: soft, grainy, faded, tinted, darker in the corners, scratched, dusty.

    Args:
        image: (1, 3, H, W), 0..1.
        parameters: What was drawn.

    Returns:
        (1, 3, H, W), 0..1.
    """
    image = gaussian_blur(image, sigma=parameters.lens_sigma)
    image = _add_grain(image, parameters).clamp(0.0, 1.0)
    image = _fade(image, parameters)
    image = image * _corner_shade(image, parameters.vignette)
    for mark in parameters.marks:
        cover = _mark_cover(image, mark)
        image = image * (1.0 - cover) + mark.level * cover
    return image.clamp(0.0, 1.0)


def _add_grain(image: Tensor, parameters: AgeingParameters) -> Tensor:
    """Clumped silver grain: a blurred noise map, strongest in the middle tones, equal in all channels."""
    generator = torch.Generator(device=image.device).manual_seed(parameters.grain_seed)
    shape = (1, 1, *image.shape[-2:])
    noise = torch.randn(shape, generator=generator, device=image.device, dtype=image.dtype)
    grain = gaussian_blur(noise, sigma=parameters.grain_size)
    # By the formula, not by measuring: a measured deviation would change with the size of the image.
    grain = grain / blurred_deviation(parameters.grain_size)
    grey = luma(image)
    return image + grain * (parameters.grain / 255.0) * (0.3 + 2.8 * grey * (1.0 - grey))


def _fade(image: Tensor, parameters: AgeingParameters) -> Tensor:
    """Tone curve, loss of colour, colour cast, loss of contrast, in this order."""
    image = image**parameters.gamma
    grey = luma(image)
    image = grey + parameters.saturation * (image - grey)
    dye = image.new_tensor(parameters.dye)[:, None, None]
    contrast = 1.0 - parameters.black_lift - parameters.white_loss
    paper = parameters.black_lift + contrast * image
    return paper * (1.0 - parameters.cast + parameters.cast * dye)


def _corner_shade(image: Tensor, strength: float) -> Tensor:
    height, width = image.shape[-2:]
    y = torch.linspace(-1.0, 1.0, height, device=image.device, dtype=image.dtype)
    x = torch.linspace(-1.0, 1.0, width, device=image.device, dtype=image.dtype)
    return 1.0 - strength * (y[:, None] ** 2 + x[None, :] ** 2) / 2.0


def _mark_cover(image: Tensor, mark: MarkParameters) -> Tensor:
    """How much of each pixel (H, W) a line with round ends covers: distance to it, softened over one pixel."""
    height, width = image.shape[-2:]
    y = torch.arange(height, device=image.device, dtype=image.dtype)[:, None]
    x = torch.arange(width, device=image.device, dtype=image.dtype)[None, :]
    (x0, y0), (x1, y1) = ((px * width, py * height) for px, py in (mark.start, mark.end))
    dx, dy = x1 - x0, y1 - y0
    along = ((x - x0) * dx + (y - y0) * dy) / max(dx * dx + dy * dy, 1e-6)
    along = along.clamp(0.0, 1.0)
    distance = torch.hypot(x - x0 - along * dx, y - y0 - along * dy)
    return (mark.radius + 0.5 - distance).clamp(0.0, 1.0) * mark.opacity
