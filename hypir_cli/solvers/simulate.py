"""Measurements of clean photographs, by the operators that solving undoes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hypir_cli.folder.copies import file_to_deliver
from hypir_cli.images import ImageData, Metadata, quantize, to_float, write_image
from hypir_cli.images.data import Pixels
from hypir_cli.pixels.noise import image_key
from hypir_cli.solvers.damage import Damage
from hypir_cli.solvers.operators import Inpainting
from hypir_cli.solvers.samplers.noise import PlacedNoise
from hypir_cli.solvers.solver import Lost


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """A measurement and the photograph it was made of."""

    pixels: Pixels
    """The measurement, (h, w, C), in the photograph's depth."""
    clean: Pixels
    """The photograph as it was measured, (H, W, C)."""
    metadata: Metadata
    """Of the photograph."""
    details: Mapping[str, object]
    """For the report."""

    def write_clean(self, place: str) -> None:
        """Write the photograph as it was measured.

        Args:
            place: Path or URL.

        Raises:
            InputError: The place cannot be written.
        """
        with file_to_deliver(place) as path:
            write_image(path, self.clean, metadata=self.metadata)


class Simulator:
    """Measures photographs.

    Args:
        damage: What happens to them.
        noise: Standard deviation of the noise, on the scale -1..1.
    """

    def __init__(self, damage: Damage, *, noise: float) -> None:
        self.damage = damage
        self._noise = noise

    @torch.no_grad()
    def measure(self, image: ImageData, *, lost: Lost | None = None) -> Simulated:
        """The measurement of one photograph; its right and bottom edge are cut so that the factor divides its sides.

        Args:
            image: Clean; at least as large as the factor.
            lost: Where it is lost, for masks from files.
        """
        factor = self.damage.factor
        height = max(image.height - image.height % factor, factor)
        width = max(image.width - image.width % factor, factor)
        clean = _at_least(image.pixels[:height, :width], height, width)
        x = torch.from_numpy(np.ascontiguousarray(to_float(clean).transpose(2, 0, 1)))[None]
        operator = self.damage.operator((height, width), lost=lost)
        x = (2.0 * x - 1.0).expand(-1, 3, -1, -1)
        y = operator.A(x)
        noise = self._noise * self._drawn(y, image)
        y = y + (operator.A(noise) if isinstance(operator, Inpainting) else noise)
        # What solving does to its input, undone: A(2 x - 1) = 2 A(x) - A(1).
        shown = (y + operator.A(torch.ones_like(x))) / 2.0
        pixels = quantize(shown[0].permute(1, 2, 0).numpy(), image.bit_depth)
        if image.is_grey:
            pixels = pixels[:, :, :1]
        cut = (image.height, image.width) != (height, width)
        details: dict[str, object] = {"damage": self.damage.describe(), "noise": self._noise}
        if cut:
            details["cut_to"] = (height, width)
        return Simulated(pixels=pixels, clean=clean, metadata=image.metadata, details=details)

    def _drawn(self, y: Tensor, image: ImageData) -> Tensor:
        """Standard normal noise that belongs to the photograph, in the measurement's shape."""
        _, channels, height, width = y.shape
        return PlacedNoise(
            (channels, height, width),
            seeds=[self.damage.config.seed],
            keys=[image_key(image.pixels)],
        ).normal("measurement")


def _at_least(pixels: Pixels, height: int, width: int) -> Pixels:
    """Pixels continued by their edge up to a size."""
    margins = ((0, height - pixels.shape[0]), (0, width - pixels.shape[1]), (0, 0))
    return np.pad(pixels, margins, mode="edge")
