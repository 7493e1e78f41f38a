"""What each backbone takes: weights by number format, activations of a tile, and their sum."""

from __future__ import annotations

from dataclasses import dataclass

from hypir_cli.config.families import find_family
from hypir_cli.config.family import Family
from hypir_cli.errors import ConfigError

BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "int8": 1.0, "fp8": 1.0, "nf4": 0.516}
"""Bytes per stored weight; nf4 has, per 64 weights, one 8-bit scale, and those share 32-bit scales in groups of 256."""
FORMATS = (
    ("fp32", "none"),
    ("bf16", "none"),
    ("bf16", "int8"),
    ("bf16", "fp8"),
    ("bf16", "nf4"),
)
"""Number format of the networks and of the denoiser's linear weights."""


@dataclass(frozen=True, kw_only=True)
class MemoryRow:
    """Bytes that a backbone takes in one number format."""

    dtype: str
    """Number format of the networks."""
    quantize: str
    """Number format of the denoiser's linear weights; `none` for that of the network."""
    denoiser: int
    """Weights of the denoiser."""
    text_encoders: int
    """Weights of the text encoders, which leave before the denoiser enters."""
    vae: int
    """Weights of the VAE."""
    tile: int
    """Activations of one tile of `tile_side`."""
    tile_side: int
    """Tile side in image pixels."""

    @property
    def restoring(self) -> int:
        """On the device while images are restored: denoiser, VAE and one tile."""
        return self.denoiser + self.vae + self.tile

    @property
    def total(self) -> int:
        """Most on the device at any time, when text encoders and denoiser are not there together."""
        return max(self.restoring, self.text_encoders + self.vae)


def memory_table(name: str, *, tile: int | None = None) -> list[MemoryRow]:
    """One row per number format; empty for a backbone without published sizes (`tiny`).

    Args:
        name: Registry name.
        tile: Tile side in image pixels; None takes the native one.
    """
    family = find_family(name)
    if family.parameters is None:
        return []
    return [_row(family, dtype, quantize, tile) for dtype, quantize in FORMATS]


def memory_row(
    name: str, *, dtype: str, quantize: str, tile: int | None = None, small_vae: bool = False
) -> MemoryRow:
    """The row of one number format, with the backbone's own VAE or its small one.

    Raises:
        ConfigError: No published sizes for that backbone.
        KeyError: A format that is not in `BYTES`.
    """
    family = find_family(name)
    if family.parameters is None:
        raise ConfigError(
            f"there is no memory table for {name}.", hint="its record has no `parameters`"
        )
    return _row(family, dtype, quantize, tile, small_vae=small_vae)


DECODER_VALUES_PER_PIXEL = 1800
"""Numbers alive at once per image pixel in the decoder of an 8-fold VAE with 128 channels at full resolution, measured; it needs more
than the denoiser of any backbone does."""
SMALL_VALUES_PER_PIXEL = 300
"""The same for diffusers' `AutoencoderTiny` (200, measured), with room for the denoiser."""


def estimate_tile_bytes(side: int, *, bytes_per_value: int, small_vae: bool = False) -> int:
    """Peak bytes of activations while one tile is restored.

    Args:
        side: Tile side in image pixels.
        bytes_per_value: 4 for float32, 2 for half precision.
        small_vae: Whether the VAE is an `AutoencoderTiny`.
    """
    values = SMALL_VALUES_PER_PIXEL if small_vae else DECODER_VALUES_PER_PIXEL
    return side * side * values * bytes_per_value


USUAL_TILE = 512
"""Tile side in image pixels of a backbone whose record names none."""


def _row(
    family: Family, dtype: str, quantize: str, tile: int | None, *, small_vae: bool = False
) -> MemoryRow:
    counts, side = family.parameters, tile or family.preset.native_tile or USUAL_TILE
    assert counts is not None
    full, small = counts.vae
    width = BYTES[dtype]
    stored = width if quantize == "none" else BYTES[quantize]
    plain = counts.denoiser - counts.quantizable
    return MemoryRow(
        dtype=dtype,
        quantize=quantize,
        denoiser=int(plain * width + counts.quantizable * stored),
        text_encoders=int(counts.text_encoders * width),
        vae=int((small if small_vae else full) * width),
        tile=estimate_tile_bytes(
            side,
            bytes_per_value=int(width),
            # What its makers call small keeps the full width of an encoder: only a tiny one has tiny activations.
            small_vae=small_vae and small < full / 10,
        ),
        tile_side=side,
    )
