"""Restoring the way the public release tiles: encode, denoise and decode, each over the whole canvas in turn.

For comparison with results of that release. Memory grows with the image, overlaps are computed twice, and small images
are enlarged first; the restorer's own tiling has none of this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from hypir_cli.models.backbones.base import Backbone, PromptEmbeds
from hypir_cli.pixels import color

PAD_MULTIPLE = 8
"""Canvas sides are padded to a multiple of this many pixels."""
PAD_VALUE = 0.5
"""Mid grey: zero in -1..1."""
WEIGHT_VARIANCE = 0.01
"""Variance of the blending weights on the unit square."""


@dataclass(frozen=True, kw_only=True)
class ParityTiles:
    """The reference's tiles."""

    size: int = 512
    """Tile side in image pixels."""
    stride: int = 256
    """Step between neighbouring tiles in image pixels; at most `size`."""

    def __post_init__(self) -> None:
        if not 0 < self.stride <= self.size:
            raise ValueError(f"stride must be in 1..{self.size}, got {self.stride}")


@torch.inference_mode()
def restore_parity(
    backbone: Backbone,
    image: Tensor,
    *,
    prompt: PromptEmbeds,
    tiles: ParityTiles | None = None,
    upscale: float = 1.0,
    posterior_seed: int | None = None,
    timestep: int | None = None,
    coeff_timestep: int | None = None,
    color_fix: color.ColorFix = "wavelet",
) -> Tensor:
    """One restored image, computed as the public release computes it.

    Args:
        backbone: With the restoration LoRA in place.
        image: (1, 3, H, W) in 0..1.
        prompt: Conditioning, one row.
        tiles: Tile side and stride; multiples of the spatial factor.
        upscale: Result side / input side, bicubic before everything else.
        posterior_seed: Sample the VAE's posterior with the CPU generator at this seed, tile after tile; None takes its mean.
        timestep: Into the denoiser; None takes the backbone's.
        coeff_timestep: Of the clean-latent formula; None takes the backbone's.
        color_fix: Colour transfer from the enlarged input.

    Returns:
        (1, 3, H * upscale, W * upscale) float32 in 0..1.

    Raises:
        ValueError: Tile or stride are not multiples of the spatial factor.

    Source: the settings of the release, Stable Diffusion 2.1-base.
    """
    tiles = tiles or ParityTiles()
    factor = backbone.traits.spatial_factor
    if tiles.size % factor or tiles.stride % factor:
        raise ValueError(f"tile size and stride must be multiples of {factor}, got {tiles}")
    reference = image.float().to(backbone.device)
    if upscale != 1.0:
        reference = interpolate(reference, scale_factor=upscale, mode="bicubic")
    canvas = at_least(reference, side=tiles.size)
    padded = pad_to_multiple(canvas)
    noise = _noise_source(posterior_seed)
    traits = backbone.traits
    with _contiguous(backbone.components()["vae"]):
        latents = encode_canvas(backbone, padded, tiles=tiles, noise=noise)
        clean = denoise_canvas(
            backbone,
            latents,
            prompt=prompt,
            tiles=tiles,
            timestep=traits.timestep if timestep is None else timestep,
            coeff_timestep=traits.coeff_timestep if coeff_timestep is None else coeff_timestep,
        )
        decoded = decode_canvas(backbone, clean, tiles=tiles)
    decoded = decoded[..., : canvas.shape[-2], : canvas.shape[-1]]
    resized = resize(decoded, size=(reference.shape[-2], reference.shape[-1]))
    return color.color_fix(resized, reference, color_fix).clamp(0.0, 1.0)


def at_least(image: Tensor, *, side: int) -> Tensor:
    """The image enlarged until its shorter side is `side`; unchanged where it is longer already."""
    height, width = image.shape[-2:]
    shorter = min(height, width)
    if shorter > side:
        return image
    # Whole numbers: a float ratio could land just below the side that is wanted.
    return resize(image, size=(height * side // shorter, width * side // shorter))


def resize(image: Tensor, *, size: tuple[int, int]) -> Tensor:
    """Bicubic with antialiasing to (height, width)."""
    if tuple(image.shape[-2:]) == size:
        return image
    return interpolate(image, size=size, mode="bicubic", antialias=True)


def pad_to_multiple(image: Tensor) -> Tensor:
    """Mid grey at the right and the bottom, up to a multiple of `PAD_MULTIPLE`."""
    height, width = image.shape[-2:]
    return pad(image, (0, -width % PAD_MULTIPLE, 0, -height % PAD_MULTIPLE), value=PAD_VALUE)


def encode_canvas(
    backbone: Backbone,
    image: Tensor,
    *,
    tiles: ParityTiles,
    noise: Callable[[torch.Size], Tensor] | None = None,
) -> Tensor:
    """Blended scaled latents of a whole canvas; `noise` makes the posterior sample of each tile in turn."""
    factor, channels = backbone.traits.spatial_factor, backbone.traits.latent_channels

    def encode(top: int, left: int, height: int, width: int) -> Tensor:
        tile = image[
            ..., top * factor : (top + height) * factor, left * factor : (left + width) * factor
        ]
        shape = torch.Size((1, channels, height, width))
        return backbone.encode(tile, noise=None if noise is None else noise(shape))

    size = (image.shape[-2] // factor, image.shape[-1] // factor)
    return _blend(encode, size=size, tile=tiles.size // factor, stride=tiles.stride // factor)


def denoise_canvas(
    backbone: Backbone,
    latents: Tensor,
    *,
    prompt: PromptEmbeds,
    tiles: ParityTiles,
    timestep: int,
    coeff_timestep: int,
) -> Tensor:
    """Blended clean latents of a whole canvas of scaled latents."""
    factor = backbone.traits.spatial_factor
    into_network, of_formula = torch.tensor(timestep), torch.tensor(coeff_timestep)

    def restore(top: int, left: int, height: int, width: int) -> Tensor:
        tile = latents[..., top : top + height, left : left + width]
        output = backbone.denoise(tile, prompt=prompt, timestep=into_network)
        return backbone.predict_clean(tile, output, timestep=of_formula)

    size = (latents.shape[-2], latents.shape[-1])
    return _blend(restore, size=size, tile=tiles.size // factor, stride=tiles.stride // factor)


def decode_canvas(backbone: Backbone, latents: Tensor, *, tiles: ParityTiles) -> Tensor:
    """Blended image of a whole canvas of scaled latents, around 0..1."""
    factor = backbone.traits.spatial_factor

    def decode(top: int, left: int, height: int, width: int) -> Tensor:
        return backbone.decode(latents[..., top : top + height, left : left + width])

    size = (latents.shape[-2], latents.shape[-1])
    return _blend(
        decode, size=size, tile=tiles.size // factor, stride=tiles.stride // factor, grow=factor
    )


def sliding_windows(
    height: int, width: int, *, tile: int, stride: int
) -> Iterator[tuple[int, int]]:
    """Top left corners of tiles, row by row; the last row and column move inwards to end at the border."""
    for top in _starts(height, tile=tile, stride=stride):
        for left in _starts(width, tile=tile, stride=stride):
            yield top, left


def gaussian_weights(width: int, height: int) -> Tensor:
    """Blending weights, (height, width) float64.

    The centre is (width - 1) / 2 across but height / 2 down, as in the release.
    """

    def bell(length: int, centre: float) -> Tensor:
        offset = (torch.arange(length, dtype=torch.float64) - centre) / length
        return torch.exp(-(offset**2) / (2 * WEIGHT_VARIANCE)) / math.sqrt(
            2 * math.pi * WEIGHT_VARIANCE
        )

    return torch.outer(bell(height, height / 2), bell(width, (width - 1) / 2))


def _starts(length: int, *, tile: int, stride: int) -> list[int]:
    starts = list(range(0, max(length - tile, 0) + 1, stride))
    if starts[-1] + tile < length:
        starts.append(length - tile)
    return starts


def _blend(
    compute: Callable[[int, int, int, int], Tensor],
    *,
    size: tuple[int, int],
    tile: int,
    stride: int,
    grow: int = 1,
) -> Tensor:
    """Weighted mean of the tiles that `compute(top, left, height, width)` makes, `grow` times as large as their place."""
    rows, columns = min(tile, size[0]), min(tile, size[1])
    weights = gaussian_weights(columns * grow, rows * grow).float()
    total: Tensor | None = None
    for top, left in sliding_windows(*size, tile=tile, stride=stride):
        value = compute(top, left, rows, columns).float()
        if total is None:
            total = value.new_zeros(*value.shape[:2], size[0] * grow, size[1] * grow)
            weights = weights.to(value.device)
            norm = torch.zeros_like(total[:1, :1])
        area = (
            ...,
            slice(top * grow, (top + rows) * grow),
            slice(left * grow, (left + columns) * grow),
        )
        total[area] += value * weights
        norm[area] += weights
    assert total is not None
    return total / norm


@contextmanager
def _contiguous(vae: nn.Module) -> Iterator[None]:
    """Channels-first convolutions inside the block.

    Channels-last group norms are faster but round differently: latents move by 1e-4 of their size, the image by 5e-4.
    """
    stored = {name: value.data for name, value in vae.named_parameters()}
    vae.to(memory_format=torch.contiguous_format)
    try:
        yield
    finally:
        for name, value in vae.named_parameters():
            value.data = stored[name]


def _noise_source(seed: int | None) -> Callable[[torch.Size], Tensor] | None:
    if seed is None:
        return None
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(shape, generator=generator)
