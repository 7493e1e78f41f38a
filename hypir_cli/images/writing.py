"""Write pixels into an image file, whole or not at all, with the metadata its format can carry."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hypir_cli.errors import ConfigError, InputError
from hypir_cli.images import exif as exif_block
from hypir_cli.images.atomic import atomic_file
from hypir_cli.images.data import ImageData, Metadata, Pixels, to_8bit
from hypir_cli.images.formats import ImageFormat, format_of_suffix
from hypir_cli.images.png import write_png
from hypir_cli.images.shown import picture_on_white
from hypir_cli.images.tiff import can_rewrite, write_tiff

DEFAULT_QUALITY: dict[ImageFormat, int] = {"jpg": 95, "webp": 95, "avif": 90}
"""Quality, 1..100, of the formats that have one."""

_PILLOW_NAMES: dict[ImageFormat, str] = {"jpg": "JPEG", "webp": "WEBP", "avif": "AVIF"}
_MAX_SIDE: dict[ImageFormat, int] = {"jpg": 65500, "webp": 16383, "avif": 65536}
_MAX_JPEG_BLOCK = 65_000
"""Bytes of Exif or XMP that fit into one JPEG marker."""


def write_image(
    path: Path | str,
    pixels: Pixels,
    *,
    alpha: Pixels | None = None,
    metadata: Metadata | None = None,
    format: ImageFormat | None = None,
    quality: int | None = None,
    keep_metadata: bool = True,
) -> tuple[str, ...]:
    """Write one image atomically; parent folders are made.

    PNG and TIFF keep 16 bits, the others are rounded to 8. JPEG has no alpha: transparent parts come out on white.

    Args:
        path: The file; what stands there is replaced once the new one is whole.
        pixels: (H, W, C), uint8 or uint16, C 1 (grey) or 3 (RGB).
        alpha: Opacity, (H, W), same depth as the pixels.
        metadata: What to write beside the pixels; the pixel size inside Exif is brought up to date.
        format: What to write; None takes it from the suffix.
        quality: 1..100 for JPEG, WebP and AVIF, None for `DEFAULT_QUALITY`; the others are lossless.
        keep_metadata: False leaves Exif, XMP and dpi out; the colour profile stays, for it is part of the picture.

    Returns:
        What could not be kept, in words for the user.

    Raises:
        ConfigError: No format known for the suffix, or a quality out of range.
        InputError: The place cannot be written, the disk is full, or the image is too large for the format.
    """
    path = Path(path)
    image_format = format or format_of_suffix(path.suffix)
    if image_format is None:
        raise ConfigError(
            f"cannot write {path}: no image format has the suffix {path.suffix!r}.",
            hint="use .png, .jpg, .webp, .tif or .avif",
        )
    kept, notes = _fitted(metadata or Metadata(), pixels, image_format, keep=keep_metadata)
    _write(path, pixels, alpha, kept, image_format, quality)
    if alpha is not None and image_format == "jpg":
        notes.append("JPEG has no transparency, so it was laid on white")
    return tuple(notes)


def _write(
    path: Path,
    pixels: Pixels,
    alpha: Pixels | None,
    metadata: Metadata,
    image_format: ImageFormat,
    quality: int | None,
) -> None:
    """The file itself: streamed where the format allows, else encoded in memory first."""
    lossless: dict[ImageFormat, Callable[..., None]] = {"png": write_png, "tiff": write_tiff}
    if image_format in lossless:
        with atomic_file(path) as file:
            lossless[image_format](file, pixels, alpha=alpha, metadata=metadata)
        return
    encoded = _encoded(path, pixels, alpha, metadata, image_format, quality)
    with atomic_file(path) as file:
        file.write(encoded)


def _encoded(
    path: Path,
    pixels: Pixels,
    alpha: Pixels | None,
    metadata: Metadata,
    image_format: ImageFormat,
    quality: int | None,
) -> memoryview:
    """The whole JPEG, WebP or AVIF file."""
    quality = DEFAULT_QUALITY[image_format] if quality is None else quality
    if not 1 <= quality <= 100:
        raise ConfigError(f"quality must be in 1..100, got {quality}.")
    if max(pixels.shape[:2]) > _MAX_SIDE[image_format]:
        raise InputError(
            f"cannot write {path}: {pixels.shape[1]} x {pixels.shape[0]} pixels; "
            f"{_PILLOW_NAMES[image_format]} ends at {_MAX_SIDE[image_format]} per side.",
            hint="write PNG or TIFF instead (--format png)",
        )
    image = _pillow_image(to_8bit(pixels), alpha, with_alpha=image_format != "jpg")
    buffer = io.BytesIO()
    try:
        image.save(
            buffer,
            format=_PILLOW_NAMES[image_format],
            quality=quality,
            **_format_options(metadata, image_format),
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot write {path}: {_PILLOW_NAMES[image_format]} encoding failed ({error}).",
            hint="write PNG or TIFF instead (--format png)",
        ) from error
    return buffer.getbuffer()


def _format_options(metadata: Metadata, image_format: ImageFormat) -> dict[str, Any]:
    """Keyword arguments of Pillow's `save`; absent metadata must be absent there too."""
    options: dict[str, Any] = {"subsampling": 0 if image_format == "jpg" else "4:4:4"}
    if image_format == "webp":
        del options["subsampling"]
    if metadata.exif:
        options["exif"] = (b"Exif\x00\x00" if image_format == "jpg" else b"") + metadata.exif
    if metadata.xmp:
        options["xmp"] = metadata.xmp
    if metadata.icc:
        options["icc_profile"] = metadata.icc
    if metadata.dpi is not None and image_format == "jpg":
        options["dpi"] = tuple(round(value) for value in metadata.dpi)
    return options


def _pillow_image(
    pixels: NDArray[np.uint8], alpha: Pixels | None, *, with_alpha: bool
) -> Image.Image:
    """A Pillow image of 8-bit pixels; alpha kept, or laid on white."""
    if alpha is None or not with_alpha:
        return picture_on_white(ImageData(pixels=pixels, alpha=alpha))
    image = picture_on_white(ImageData(pixels=pixels)).convert("RGB")
    image.putalpha(Image.fromarray(to_8bit(alpha)))
    return image


def _fitted(
    metadata: Metadata, pixels: Pixels, image_format: ImageFormat, *, keep: bool
) -> tuple[Metadata, list[str]]:
    """Metadata as the format can carry it, and notes on what was left out."""
    if not keep:
        return Metadata(icc=metadata.icc, png_color=metadata.png_color), []
    height, width = pixels.shape[:2]
    notes = []
    if metadata.exif:
        with contextlib.suppress(ValueError):  # a part without sizes to correct stays as it is
            exif = exif_block.with_size(metadata.exif, width=width, height=height)
            metadata = replace(metadata, exif=exif)
    if image_format in ("tiff", "avif") and not can_rewrite(metadata.exif):
        metadata = replace(metadata, exif=b"")
        notes.append("the Exif data is damaged and was left out")
    if image_format == "jpg" and len(metadata.exif) > _MAX_JPEG_BLOCK:
        metadata = replace(metadata, exif=b"")
        notes.append("the Exif data is too long for JPEG and was left out")
    if image_format == "jpg" and len(metadata.xmp) > _MAX_JPEG_BLOCK:
        metadata = replace(metadata, xmp=b"")
        notes.append("the XMP data is too long for JPEG and was left out")
    return metadata, notes
