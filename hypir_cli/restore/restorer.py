"""Restore one image of any size in bounded memory.

Tiles of pixels go through encode, denoise and decode in one pass, row of tiles by row of tiles; finished rows leave for the
sink at once, so only a band of the image ever exists in float.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass

import torch

from hypir_cli.errors import DeviceError
from hypir_cli.folder.events import Progress
from hypir_cli.images.data import Pixels
from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.device import is_out_of_memory, release_cached_memory
from hypir_cli.pixels.tiling import (
    LARGEST_SHARE,
    SMALLEST_SHARE,
    USUAL_OVERLAP,
    TilePlan,
    plan_tiles,
)
from hypir_cli.restore.streaming import STRIP, InputWindows, make_sink
from hypir_cli.restore.tile_pass import Request, TilePass
from hypir_cli.restore.times import StageTimes

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TileLimits:
    """How large tiles may be."""

    largest: int
    """Largest side in image pixels."""
    overlap: int
    """Least overlap in image pixels."""
    batch: int
    """Tiles per network call."""

    def halved(self, *, multiple: int) -> TileLimits | None:
        """The next smaller limits to try after running out of memory; None when there are none."""
        if self.batch > 1:
            return dataclasses.replace(self, batch=self.batch // 2)
        largest = self.largest // 2
        if largest < max(multiple, 64):
            return None
        return dataclasses.replace(self, largest=largest, overlap=min(self.overlap, largest // 4))


class Restorer:
    """One backbone, ready to restore images.

    Args:
        backbone: Loaded model with its adapters.
        limits: Tile limits; see `default_limits`.
    """

    def __init__(self, backbone: Backbone, *, limits: TileLimits) -> None:
        self.backbone = backbone
        self.limits = limits

    def plan(self, height: int, width: int, *, limits: TileLimits | None = None) -> TilePlan:
        """Tiles for an output of that size."""
        limits = limits or self.limits
        traits = self.backbone.traits
        smallest = min(int(traits.native_tile * SMALLEST_SHARE), limits.largest)
        return plan_tiles(
            height,
            width,
            largest=limits.largest,
            smallest=smallest,
            overlap=limits.overlap,
            multiple=traits.tile_multiple,
            step=traits.spatial_factor,
        )

    def restore(
        self,
        pixels: Pixels,
        *,
        request: Request,
        out_size: tuple[int, int] | None = None,
        times: StageTimes | None = None,
        on_progress: Progress | None = None,
    ) -> Pixels:
        """The restored image.

        Args:
            pixels: (H, W, C) uint8 or uint16, C 1 or 3.
            request: Prompt, seed and controls.
            out_size: (height, width) of the result; None keeps the input's.
            times: Gets the seconds of each stage added.
            on_progress: Told after each batch of tiles.

        Returns:
            (height, width, C), same depth as the input.

        Raises:
            DeviceError: Out of memory even with the smallest tiles, or the network gives NaN in float32.
        """
        size = out_size or (int(pixels.shape[0]), int(pixels.shape[1]))
        limits: TileLimits | None = self.limits
        while limits is not None:
            try:
                restored = self._restore(
                    pixels,
                    size,
                    limits=limits,
                    request=request,
                    times=times or StageTimes(device=self.backbone.device),
                    on_progress=on_progress,
                )
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            else:
                # The next image starts where this one ended, instead of failing its way down again.
                self.limits = limits
                return restored
            # Only here has the error left, whose traceback held the tensors.
            release_cached_memory()
            limits = limits.halved(multiple=self.backbone.traits.tile_multiple)
            if limits is not None:
                logger.warning(
                    "out of memory; going on with tiles of %d px, %d at once",
                    limits.largest,
                    limits.batch,
                )
        raise DeviceError(
            f"out of memory on {self.backbone.device} even with the smallest tiles.",
            hint="close other programs, choose --device cpu, or a smaller backbone",
        )

    @torch.inference_mode()
    def _restore(
        self,
        pixels: Pixels,
        size: tuple[int, int],
        *,
        limits: TileLimits,
        request: Request,
        times: StageTimes,
        on_progress: Progress | None,
    ) -> Pixels:
        source = InputWindows(pixels, out_size=size)
        sink = make_sink(
            source,
            color_fix=request.color_fix,
            channels=int(pixels.shape[2]),
            bit_depth=8 * pixels.dtype.itemsize,
        )
        plan = self.plan(*size, limits=limits)
        tiles = TilePass(
            backbone=self.backbone, source=source, plan=plan, request=request, times=times
        )
        for rows, done in tiles.bands(batch=limits.batch):
            with times.measure("other"):
                if rows.shape[1]:
                    for strip in torch.split(rows, STRIP, dim=1):
                        sink.push(strip)
                elif on_progress is not None:
                    on_progress(done, plan.count)
        with times.measure("other"):
            return sink.result()


def native_limits(
    backbone: Backbone, *, overlap: int = USUAL_OVERLAP, batch: int = 1
) -> TileLimits:
    """Limits around the backbone's native tile, for when memory is no concern; small tiles overlap by a quarter at most."""
    largest = int(backbone.traits.native_tile * LARGEST_SHARE)
    return TileLimits(largest=largest, overlap=min(overlap, largest // 4), batch=batch)
