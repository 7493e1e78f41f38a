"""Apply drawn parameters to images, and the object that does both steps for a training loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from hypir_cli.config.degradation import DegradationConfig, SharpenConfig
from hypir_cli.pixels.jpeg import jpeg
from hypir_cli.train.degradation.ageing import age_print
from hypir_cli.train.degradation.draw import draw_parameters
from hypir_cli.train.degradation.filtering import (
    filter2d,
    gaussian_blur,
    resize_to,
    scale_by,
    usm_sharpen,
)
from hypir_cli.train.degradation.kernels import gaussian_family_kernel, sinc_kernel
from hypir_cli.train.degradation.noise import add_gaussian_noise, add_poisson_noise
from hypir_cli.train.degradation.parameters import (
    DegradationParameters,
    JpegParameters,
    KernelParameters,
    NoiseParameters,
    OversharpenParameters,
)

Output = Literal["full", "small"]


class Degrader:
    """Makes the degraded partner of clean images, sample by sample from their keys.

    A sample's result depends on its key, its pixels and the device, not on the batch around it: images are processed one at
    a time, since their intermediate sizes differ anyway. Another number of CPU threads may move a pixel by one 8-bit level.
    """

    def __init__(self, config: DegradationConfig) -> None:
        self.config = config

    def degrade(self, images: Tensor, keys: Sequence[tuple[int, int, int]]) -> Tensor:
        """Degraded images.

        Args:
            images: (B, 3, H, W) RGB, 0..1.
            keys: (seed, rank, index) of each image.

        Returns:
            (B, 3, H, W), 0..1 in steps of 1/255; (B, 3, H / scale, W / scale) when the config's output is `small`.
        """
        drawn = [self.draw(key) for key in keys]
        return apply(drawn, images, sharpen=self.config.sharpen, output=self.config.output)

    def draw(self, key: tuple[int, int, int]) -> DegradationParameters:
        """The parameters of the sample (seed, rank, index)."""
        seed, rank, index = key
        return draw_parameters(self.config, seed=seed, rank=rank, index=index)


@torch.no_grad()
def apply(
    parameters: Sequence[DegradationParameters],
    images: Tensor,
    *,
    sharpen: SharpenConfig,
    output: Output = "full",
) -> Tensor:
    """Images (B, 3, H, W), 0..1, degraded by the parameters of each; see `Degrader.degrade` for what comes out.

    Raises:
        ValueError: Not as many parameters as images.
    """
    results = [
        _degrade_one(image[None], drawn, sharpen=sharpen, output=output)
        for image, drawn in zip(images.float(), parameters, strict=True)
    ]
    return torch.cat(results)


def _degrade_one(
    image: Tensor, drawn: DegradationParameters, *, sharpen: SharpenConfig, output: Output
) -> Tensor:
    height, width = image.shape[-2:]
    if sharpen.enabled:
        image = usm_sharpen(
            image,
            weight=sharpen.weight,
            radius=sharpen.radius,
            threshold=sharpen.threshold,
        )
    if drawn.ageing is not None:
        image = age_print(image, drawn.ageing)
    image = _first_round(image, drawn)
    image = _second_round(image, drawn, height=height, width=width)
    if output == "full":
        image = resize_to(image, height=height, width=width, mode="bicubic")
    return (image.clamp(0.0, 1.0) * 255.0).round() / 255.0


def _first_round(image: Tensor, drawn: DegradationParameters) -> Tensor:
    step = drawn.first
    image = _blur(image, step.blur)
    image = scale_by(image, factor=step.resize.factor, mode=step.resize.mode)
    return _compress(_add_noise(image, step.noise), step.jpeg)


def _second_round(
    image: Tensor, drawn: DegradationParameters, *, height: int, width: int
) -> Tensor:
    step = drawn.second
    image = _blur(image, step.blur)
    factor = step.resize.factor / drawn.scale
    image = resize_to(
        image,
        height=max(1, int(height * factor)),
        width=max(1, int(width * factor)),
        mode=step.resize.mode,
    )
    image = _oversharpen(_add_noise(image, step.noise), drawn.oversharpen)
    if drawn.jpeg_last:
        return _compress(_finish(image, drawn, height=height, width=width), step.jpeg)
    return _finish(_compress(image, step.jpeg), drawn, height=height, width=width)


def _oversharpen(image: Tensor, drawn: OversharpenParameters | None) -> Tensor:
    if drawn is None:
        return image
    detail = image - gaussian_blur(image, sigma=drawn.sigma)
    return (image + drawn.amount * detail).clamp(0.0, 1.0)


def _finish(image: Tensor, drawn: DegradationParameters, *, height: int, width: int) -> Tensor:
    """Final size and final sinc."""
    image = resize_to(
        image,
        height=max(1, height // drawn.scale),
        width=max(1, width // drawn.scale),
        mode=drawn.final_mode,
    )
    return _blur(image, drawn.final_sinc)


def _blur(image: Tensor, drawn: KernelParameters | None) -> Tensor:
    if drawn is None:
        return image
    if drawn.kind == "sinc":
        kernel = sinc_kernel(size=drawn.size, cutoff=drawn.cutoff)
    else:
        kernel = gaussian_family_kernel(
            drawn.kind,
            size=drawn.size,
            sigma_x=drawn.sigma_x,
            sigma_y=drawn.sigma_y,
            rotation=drawn.rotation,
            beta=drawn.beta,
        )
    return filter2d(image, kernel[None])


def _add_noise(image: Tensor, drawn: NoiseParameters | None) -> Tensor:
    if drawn is None:
        return image
    generators = [torch.Generator(device=image.device).manual_seed(drawn.seed)]
    if drawn.gaussian:
        return add_gaussian_noise(
            image, sigma=[drawn.strength], gray=[drawn.gray], generators=generators
        )
    return add_poisson_noise(
        image, scale=[drawn.strength], gray=[drawn.gray], generators=generators
    )


def _compress(image: Tensor, drawn: JpegParameters | None) -> Tensor:
    if drawn is None:
        return image
    return jpeg(image.clamp(0.0, 1.0), quality=drawn.quality, coder=drawn.coder)
