"""One pass of an image's tiles through encode, denoise and decode, band of tiles by band of tiles."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from hypir_cli.restore.canvas import Source

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


@dataclass
class StageTimes:
    """Seconds spent in each stage, summed over tiles."""

    encode: float = 0.0
    """VAE encoder."""
    denoise: float = 0.0
    """Denoiser."""
    decode: float = 0.0
    """VAE decoder."""
    other: float = 0.0
    """Cutting, blending, colour fix, rounding."""
    synchronize: Callable[[], None] | None = field(default=None, repr=False)
    """Waits for the device; None where work is done when the call returns."""

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the block's wall time to a stage."""
        start = time.perf_counter()
        yield
        if self.synchronize is not None:
            self.synchronize()
        setattr(self, stage, getattr(self, stage) + time.perf_counter() - start)


class TilePass:
    """The tiles of one image, computed and blended.

    Args:
        backbone: Loaded model.
        source: The input at the output's size.
        plan: Where the tiles lie.
        request: Prompt, seed and controls.
        times: Gets the seconds of each stage added.
    """

    def __init__(
        self,
        backbone: Backbone,
        source: Source,
        plan: TilePlan,
        *,
        request: Request,
        times: StageTimes,
    ) -> None:
        self._backbone = backbone
        self._source = source
        self._plan = plan
        self._request = request
        self._times = times
        self._noise = NoisePlanes(backbone, request, source.pixels)

    def bands(self, *, batch: int) -> Iterator[tuple[Tensor, int]]:
        """Finished rows from top to bottom, and how many tiles are done.

        Args:
            batch: Tiles per network call.

        Yields:
            Pairs (rows (3, n, W) float32 around 0..1, tiles done); the rows are empty until a row of tiles is complete.
        """
        yield from blended_bands(
            self._plan, self._tiles, batch=batch, blending=lambda: self._times.measure("other")
        )

    def _tiles(self, corners: list[Corner]) -> Tensor:
        """Restored tiles, (len(corners), 3, tile, tile) float32 on the CPU."""
        height, width = self._plan.rows.tile, self._plan.columns.tile
        with self._times.measure("other"):
            windows = [
                self._source.window((top, top + height), (left, left + width))
                for top, left in corners
            ]
            images = torch.cat(windows).to(self._backbone.device)
        restored = self._network(images, corners)
        if torch.isfinite(restored).all():
            return restored
        logger.warning("the network gave NaN in %s; computing in float32", self._backbone.dtype)
        with self._backbone.in_float32():
            restored = self._network(images, corners)
        if not torch.isfinite(restored).all():
            raise DeviceError(
                "the network gives NaN even in float32.",
                hint="check the weights: the LoRA or the encoder may not belong to this backbone",
            )
        return restored

    def _network(self, images: Tensor, corners: list[Corner]) -> Tensor:
        """Encode, denoise once, predict the clean latent, decode."""
        backbone, request = self._backbone, self._request
        with self._times.measure("encode"):
            latents = backbone.encode(images, noise=self._noise.posterior(images, corners))
        noise = self._noise.generativity(latents, corners)
        if noise is not None:
            level = torch.tensor(request.generativity, device=latents.device)
            if request.generativity_where == "detail":
                noise = noise * gradient_weight(images, factor=backbone.traits.spatial_factor)
            latents = mix_noise(latents, noise, level=level)
        with self._times.measure("denoise"):
            output = backbone.denoise(
                latents,
                prompt=request.prompt.select([0] * len(images)),
                timestep=torch.tensor(request.timestep, device=latents.device),
                controls=self._controls(len(images)),
            )
            coefficient = torch.tensor(request.coeff_timestep, device=latents.device)
            clean = backbone.predict_clean(latents, output, timestep=coefficient)
        with self._times.measure("decode"):
            return backbone.decode(clean).cpu()

    def _controls(self, batch: int) -> Controls | None:
        if self._backbone.control_embedding is None:
            return None
        texture = self._request.texture
        return Controls(
            texture=None if texture is None else torch.full((batch,), texture),
            generativity=torch.full((batch,), self._request.generativity),
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
