"""How close two images are, pixel by pixel: PSNR, SSIM, and PSNR after shrinking.

Images are RGB, (B, 3, H, W), 0..1. Sums run in float64, so that figures agree with other programs to the last digit they
print.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from hypir_cli.pixels.exact import outside_autocast
from hypir_cli.pixels.precision import in_float64

ColorSpace = Literal["rgb", "y"]
MAX_DECIBEL = 100.0
"""What equal images count in dB where a mean is to stay finite."""

_SSIM_RADIUS = 5
_SSIM_SIGMA = 1.5
_SSIM_C1 = 0.01**2
_SSIM_C2 = 0.03**2


def channels(images: Tensor, color_space: ColorSpace) -> Tensor:
    """The planes that are compared, float64.

    Args:
        images: (B, 3, H, W), 0..1.
        color_space: `rgb`: the three channels. `y`: luma of YCbCr with studio swing (16..235 of 255), as
            super-resolution papers use it.

    Source: ITU-R BT.601, section 3.5.
    """
    wide = in_float64(images)
    if color_space == "rgb":
        return wide
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64, device=wide.device)
    return (torch.einsum("bchw,c->bhw", wide, weights) + 16.0).unsqueeze(1) / 255.0


def psnr(restored: Tensor, reference: Tensor, *, color_space: ColorSpace = "rgb") -> Tensor:
    """Peak signal-to-noise ratio in dB, (B,); infinite for equal images.

    Args:
        restored: (B, 3, H, W), 0..1.
        reference: Same shape.
        color_space: Planes that are compared; the error is averaged over all of them.

    Raises:
        ValueError: The shapes differ.
    """
    _check_pair(restored, reference)
    difference = channels(restored, color_space) - channels(reference, color_space)
    return -10.0 * torch.log10(difference.square().mean(dim=(1, 2, 3)))


def ssim(restored: Tensor, reference: Tensor, *, color_space: ColorSpace = "rgb") -> Tensor:
    """Structural similarity, (B,), at most 1, averaged over planes and over windows that fit in the image.

    Args:
        restored: (B, 3, H, W), 0..1, at least 11x11.
        reference: Same shape.
        color_space: Planes that are compared.

    Raises:
        ValueError: The shapes differ or the images are smaller than the 11x11 window.

    Source: Wang et al. 2004, section III.C: gaussian window of 11 pixels, sigma 1.5, K1 0.01, K2 0.03.
    """
    _check_pair(restored, reference)
    side = 2 * _SSIM_RADIUS + 1
    if min(restored.shape[-2:]) < side:
        raise ValueError(f"SSIM needs images of at least {side}x{side}, got {_size(restored)}")
    x = channels(restored, color_space)
    y = channels(reference, color_space)
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    var_x = _window_mean(x * x) - mean_x.square()
    var_y = _window_mean(y * y) - mean_y.square()
    covariance = _window_mean(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _SSIM_C1) / (mean_x.square() + mean_y.square() + _SSIM_C1)
    structure = (2 * covariance + _SSIM_C2) / (var_x + var_y + _SSIM_C2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def consistency(restored: Tensor, lq: Tensor, *, shrink: int = 4) -> Tensor:
    """PSNR in dB between the input and the restored image brought back to it, (B,).

    A restoration may invent detail; seen from far enough away it must still be the picture that was given. Both images
    are shrunk (bicubic, antialiased) to the restored size divided by `shrink`, or to the input's size where that is
    smaller still.

    Args:
        restored: (B, 3, H, W), 0..1.
        lq: The input, (B, 3, h, w), 0..1, of the same aspect ratio.
        shrink: Least factor between the restored size and the size of comparison.
    """
    height, width = restored.shape[-2:]
    size = (
        min(lq.shape[-2], max(1, round(height / shrink))),
        min(lq.shape[-1], max(1, round(width / shrink))),
    )
    return psnr(_shrunk(restored, size), _shrunk(lq, size))


def _shrunk(images: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(images.shape[-2:]) == size:
        return images
    return functional.interpolate(
        images, size, mode="bicubic", antialias=True, align_corners=False
    ).clamp(0.0, 1.0)


@outside_autocast
def _window_mean(planes: Tensor) -> Tensor:
    offsets = torch.arange(
        -_SSIM_RADIUS, _SSIM_RADIUS + 1, dtype=planes.dtype, device=planes.device
    )
    taps = torch.exp(-offsets.square() / (2 * _SSIM_SIGMA**2))
    taps = taps / taps.sum()
    flat = planes.flatten(0, 1).unsqueeze(1)
    flat = functional.conv2d(flat, taps.view(1, 1, 1, -1))
    flat = functional.conv2d(flat, taps.view(1, 1, -1, 1))
    return flat.view(*planes.shape[:2], *flat.shape[-2:])


def _check_pair(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape:
        raise ValueError(f"the images differ in size: {_size(first)} and {_size(second)}")


def _size(images: Tensor) -> str:
    return f"{images.shape[-1]}x{images.shape[-2]}"
