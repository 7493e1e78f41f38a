"""One pass of an image's tiles through encode, denoise and decode, band of tiles by band of tiles."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hypir_cli.errors import DeviceError
from hypir_cli.images.data import Pixels
from hypir_cli.models.backbones.base import Backbone, PromptEmbeds
from hypir_cli.models.backbones.controls import Controls
from hypir_cli.models.prediction import mix_noise
from hypir_cli.pixels.blending import Corner, blended_bands
from hypir_cli.pixels.color import ColorFix
from hypir_cli.pixels.noise import gradient_weight, image_key, noise_window
from hypir_cli.pixels.tiling import TilePlan
from hypir_cli.restore.streaming import InputWindows
from hypir_cli.restore.times import StageTimes

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What one restoration is asked for."""

    prompt: PromptEmbeds
    """Conditioning, one row."""
    seed: int = 231
    """Seed of all noise."""
    texture: float | None = None
    """Texture richness to aim for; None leaves it to the model."""
    generativity: float = 0.0
    """Level of the noise mixed into the latent, 0..1."""
    generativity_where: Literal["everywhere", "detail"] = "everywhere"
    """Whether that level holds everywhere, or flat areas get less."""
    posterior: Literal["mean", "sample"] = "mean"
    """Mean or sample of the VAE posterior."""
    timestep: int
    """Timestep into the denoiser, 0..999."""
    coeff_timestep: int
    """Timestep of the clean-latent formula, 0..999."""
    color_fix: ColorFix = "wavelet"
    """Where the result's colours come from."""


@dataclass(eq=False, kw_only=True)
class TilePass:
    """The tiles of one image, computed and blended."""

    backbone: Backbone
    """Loaded model."""
    source: InputWindows
    """The input at the output's size."""
    plan: TilePlan
    """Where the tiles lie."""
    request: Request
    """Prompt, seed and controls."""
    times: StageTimes
    """Gets the seconds of each stage added."""

    def __post_init__(self) -> None:
        self._noise = NoisePlanes(self.backbone, self.request, self.source.pixels)
        self._overflowed: set[str] = set()

    def bands(self, *, batch: int) -> Iterator[tuple[Tensor, int]]:
        """Finished rows from top to bottom, and how many tiles are done.

        Args:
            batch: Tiles per network call.

        Yields:
            Pairs (rows (3, n, W) float32 around 0..1, tiles done); the rows are empty until a row of tiles is complete.
        """
        yield from blended_bands(
            self.plan, self._tiles, batch=batch, blending=lambda: self.times.measure("other")
        )

    def _tiles(self, corners: list[Corner]) -> Tensor:
        """Restored tiles, (len(corners), 3, tile, tile) float32 on the CPU."""
        images = self.images(corners)
        restored = self.decode(self.denoise(self.encode(images, corners))).cpu()
        self.times.collect()
        if torch.isfinite(restored).all():
            return restored
        return self._rescued(images, corners)

    def _rescued(self, images: Tensor, corners: list[Corner]) -> Tensor:
        """The tiles again, step by step, with only those networks in float32 that overflow."""
        latents = self._finite("vae", lambda: self.encode(images, corners))
        clean = self._finite("denoiser", lambda: self.denoise(latents))
        restored = self._finite("vae", lambda: self.decode(clean)).cpu()
        self.times.collect()
        return restored

    def _finite(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        value = compute()
        if torch.isfinite(value).all():
            return value
        if name not in self._overflowed:
            logger.warning("the %s overflowed; computing it in float32 where it does", name)
        self._overflowed.add(name)
        with self.backbone.in_float32(name):
            value = compute()
        if torch.isfinite(value).all():
            return value
        raise DeviceError(
            f"the {name} gives NaN even in float32.",
            hint="check the weights: the LoRA or the encoder may not belong to this backbone",
        )

    def images(self, corners: list[Corner]) -> Tensor:
        """The input of tiles, (len(corners), 3, tile, tile) on the device."""
        height, width = self.plan.rows.tile, self.plan.columns.tile
        with self.times.measure("other"):
            windows = [
                self.source.window((top, top + height), (left, left + width))
                for top, left in corners
            ]
            return torch.cat(windows).to(self.backbone.device)

    def encode(self, images: Tensor, corners: list[Corner]) -> Tensor:
        """Latents of tiles, with the noise that was asked for."""
        with self.times.measure_on_device("encode"):
            noise = self._noise.posterior(images, corners)
            latents = self.backbone.encode(images, noise=noise)
            noise = self._noise.generativity(latents, corners)
            if noise is None:
                return latents
            if self.request.generativity_where == "detail":
                factor = self.backbone.traits.spatial_factor
                noise = noise * gradient_weight(images, factor=factor).to(noise)
            return mix_noise(latents, noise, level=torch.tensor(self.request.generativity))

    def denoise(self, latents: Tensor) -> Tensor:
        """Clean latents after one call of the denoiser."""
        backbone, request = self.backbone, self.request
        with self.times.measure_on_device("denoise"):
            # Timesteps stay on the CPU: looking one up there waits for no device.
            output = backbone.denoise(
                latents,
                prompt=request.prompt.select([0] * len(latents)),
                timestep=torch.tensor(request.timestep),
                controls=self._controls(len(latents)),
            )
            coefficient = torch.tensor(request.coeff_timestep)
            return backbone.predict_clean(latents, output, timestep=coefficient)

    def decode(self, clean: Tensor) -> Tensor:
        """Restored tiles, (B, 3, tile, tile) float32, not clamped."""
        with self.times.measure_on_device("decode"):
            return self.backbone.decode(clean)

    def _controls(self, batch: int) -> Controls | None:
        if self.backbone.control_embedding is None:
            return None
        texture = self.request.texture
        return Controls(
            texture=None if texture is None else torch.full((batch,), texture),
            generativity=torch.full((batch,), self.request.generativity),
        )


class NoisePlanes:
    """The noise of one restoration, cut out for tiles; nothing is drawn that is not used."""

    def __init__(self, backbone: Backbone, request: Request, pixels: Pixels) -> None:
        self._traits = backbone.traits
        self._request = request
        used = request.generativity > 0 or request.posterior == "sample"
        self._key = image_key(pixels) if used else b""

    def posterior(self, images: Tensor, corners: list[Corner]) -> Tensor | None:
        """Noise that samples the VAE posterior of tiles, (B, C, h, w); None for its mean."""
        if self._request.posterior == "mean":
            return None
        factor = self._traits.spatial_factor
        size = (images.shape[-2] // factor, images.shape[-1] // factor)
        return self._cut("posterior", corners, size).to(images.device)

    def generativity(self, latents: Tensor, corners: list[Corner]) -> Tensor | None:
        """Noise to mix into latents of tiles, same shape; None when there is none to mix."""
        if self._request.generativity == 0:
            return None
        size = (latents.shape[-2], latents.shape[-1])
        return self._cut("generativity", corners, size).to(latents.device)

    def _cut(self, purpose: str, corners: list[Corner], size: tuple[int, int]) -> Tensor:
        windows = [
            noise_window(
                seed=self._request.seed,
                key=self._key,
                purpose=purpose,
                channels=self._traits.latent_channels,
                top=top // self._traits.spatial_factor,
                left=left // self._traits.spatial_factor,
                height=size[0],
                width=size[1],
            )
            for top, left in corners
        ]
        return torch.cat(windows)
