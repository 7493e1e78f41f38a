"""Encode AVIF: 8 or 10 bits, with the colours' meaning and all metadata."""

from __future__ import annotations

import io

import imagecodecs
import numpy as np
from PIL import Image

from hypir_cli.images import boxes
from hypir_cli.images import exif as exif_block
from hypir_cli.images.data import Metadata, Pixels, to_8bit

_BITS = 10
"""What is written of 16 bits: 12 is beyond what most programs show."""
_SRGB, _BT601 = (1, 13), 6
_SPEED = 6


def encode_avif(pixels: Pixels, alpha: Pixels | None, metadata: Metadata, *, quality: int) -> bytes:
    """The whole file.

    Args:
        pixels: (H, W, C), uint8 or uint16, C 1 or 3.
        alpha: (H, W), same depth.
        metadata: Kept; a profile counts instead of code points.
        quality: 1 to 100.
    """
    encoded = (_eight if pixels.dtype == np.uint8 else _ten)(pixels, alpha, quality)
    color = metadata.color
    if color is not None and color.is_coded:
        encoded = boxes.with_color(encoded, color.primaries_code, color.transfer)
    exif = exif_block.without_orientation(metadata.exif) if metadata.exif else b""
    return boxes.with_items(encoded, exif=exif, xmp=metadata.xmp, icc=metadata.icc)


def _eight(pixels: Pixels, alpha: Pixels | None, quality: int) -> bytes:
    plain = to_8bit(pixels)
    image = Image.fromarray(plain[:, :, 0] if plain.shape[2] == 1 else plain)
    if alpha is not None:
        image = image.convert("RGB")
        image.putalpha(Image.fromarray(to_8bit(alpha)))
    buffer = io.BytesIO()
    subsampling = "4:0:0" if image.mode == "L" else "4:4:4"
    image.save(buffer, format="AVIF", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def _ten(pixels: Pixels, alpha: Pixels | None, quality: int) -> bytes:
    samples = pixels if alpha is None else np.dstack([pixels, alpha])
    if samples.shape[2] in (1, 2):  # grey, which the encoder takes only without alpha
        grey = samples[:, :, :1]
        samples = grey[:, :, 0] if alpha is None else np.dstack([grey, grey, grey, alpha])
    scaled = (samples.astype(np.uint32) * (2**_BITS - 1) + 32767) // 65535
    formats = imagecodecs.AVIF.PIXEL_FORMAT  # the names as text differ between versions
    encoded = imagecodecs.avif_encode(
        np.ascontiguousarray(scaled.astype(np.uint16)),
        level=quality,
        speed=_SPEED,
        bitspersample=_BITS,
        pixelformat=formats.YUV444 if scaled.ndim == 3 else formats.YUV400,
        primaries=_SRGB[0],
        transfer=_SRGB[1],
        matrix=_BT601,
    )
    return bytes(encoded)
