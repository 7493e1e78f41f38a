"""An image in memory: integer pixels in the file's own depth, alpha apart, and what else the file said."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hypir_cli.images.colorcode import ColorCode

Pixels = NDArray[np.unsignedinteger[Any]]
"""uint8 or uint16 samples over their type's full range: 0..255 or 0..65535."""
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a file says beside its pixels; empty where it says nothing."""

    exif: bytes = b""
    """Exif block (a TIFF structure, without the "Exif" prefix); its orientation is always 1, no thumbnail."""
    xmp: bytes = b""
    """XMP packet; its orientation is always 1."""
    xmp_extension: bytes = b""
    """Rest of an XMP packet that was too long for one JPEG segment; the packet names it by its hash."""
    photoshop: bytes = b""
    """Photoshop resource blocks: IPTC records, copyright flag and URL."""
    comments: tuple[bytes, ...] = ()
    """Comments as a JPEG or GIF holds them, in whatever encoding they were written."""
    texts: tuple[tuple[str, str], ...] = ()
    """Keyword and text of a PNG's texts."""
    icc: bytes = b""
    """Colour profile of the pixels as they are in memory."""
    color: ColorCode | None = None
    """What the numbers mean where no profile tells it; None is sRGB, or a profile."""
    dpi: tuple[float, float] | None = None
    """Horizontal and vertical dots per inch."""
    dpi_unit: Literal["inch", "cm"] = "inch"
    """In which unit the file told it."""
    png_color: tuple[tuple[bytes, bytes], ...] = ()
    """Colour chunks of a PNG (gamma, primaries), name and content, which another PNG carries on as they are."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageData:
    """One decoded image, upright."""

    pixels: Pixels
    """(H, W, C), uint8 or uint16; C is 1 for grey and 3 for RGB."""
    alpha: Pixels | None = None
    """Opacity, (H, W), same depth as the pixels; None where the file has none."""
    metadata: Metadata = field(default_factory=Metadata)
    """What else the file said."""
    format: str = "PNG"
    """Format of the file: PNG, JPEG, TIFF, WEBP, AVIF, GIF, BMP, PPM or JPEG2000."""
    notes: tuple[str, ...] = ()
    """What the reader had to decide, in words for the user."""

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def is_grey(self) -> bool:
        """Whether there is one channel."""
        return int(self.pixels.shape[2]) == 1

    @property
    def bit_depth(self) -> int:
        """Bits per sample: 8 or 16."""
        return 8 * self.pixels.dtype.itemsize


def to_float(window: Pixels) -> Floats:
    """Integer samples, any shape, as float32 0..1."""
    return np.multiply(window, np.float32(1 / np.iinfo(window.dtype).max), dtype=np.float32)


def quantize(values: NDArray[Any], bit_depth: int) -> Pixels:
    """Float samples 0..1, any shape, as integers of 8 or 16 bits: clamped, then rounded half up.

    Raises:
        ValueError: Another bit depth.
    """
    if bit_depth not in (8, 16):
        raise ValueError(f"bit_depth must be 8 or 16, got {bit_depth}")
    scaled = np.clip(values, 0.0, 1.0) * np.float32(2**bit_depth - 1)
    scaled += np.float32(0.5)
    kind: type[np.unsignedinteger[Any]] = np.uint8 if bit_depth == 8 else np.uint16
    result: Pixels = scaled.astype(kind)
    return result


def to_8bit(pixels: Pixels) -> NDArray[np.uint8]:
    """16-bit samples rounded to 8 bits; 8-bit samples as they are. Works in bands, so little memory is added."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    result = np.empty(pixels.shape, dtype=np.uint8)
    for start in range(0, len(pixels), 64):
        band = pixels[start : start + 64].astype(np.uint32)
        result[start : start + 64] = (band * 255 + 32767) // 65535
    return result
