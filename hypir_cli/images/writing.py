"""Write pixels into an image file, whole or not at all, with the metadata its format can carry."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hypir_cli.errors import ConfigError, InputError
from hypir_cli.images import jpeg
from hypir_cli.images.atomic import atomic_file
from hypir_cli.images.avif import encode_avif
from hypir_cli.images.data import ImageData, Metadata, Pixels, to_8bit
from hypir_cli.images.fitting import fitted
from hypir_cli.images.formats import MAX_SIDE, ImageFormat, fits, format_of_name
from hypir_cli.images.png import write_png
from hypir_cli.images.shown import picture_on_white
from hypir_cli.images.tiff_writing import write_tiff

DEFAULT_QUALITY: dict[ImageFormat, int] = {"jpg": 95, "webp": 95, "avif": 90}
"""Quality, 1..100, of the formats that have one."""

_PILLOW_NAMES: dict[ImageFormat, str] = {
    "jpg": "JPEG",
    "webp": "WEBP",
    "gif": "GIF",
    "bmp": "BMP",
    "ppm": "PPM",
    "jp2": "JPEG2000",
}


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

    PNG and TIFF keep 16 bits, AVIF 10, the others are rounded to 8. JPEG has no alpha: transparent parts come out on white.

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
    image_format = format or format_of_name(path)
    if quality is not None and not 1 <= quality <= 100:
        raise ConfigError(f"quality must be in 1..100, got {quality}.")
    if image_format is None:
        raise ConfigError(
            f"cannot write {path}: no image format has the suffix {path.suffix!r}.",
            hint="use .png, .jpg, .webp, .tif or .avif",
        )
    kept, notes = fitted(metadata or Metadata(), pixels, image_format, keep=keep_metadata)
    notes += _write(path, pixels, alpha, kept, image_format, quality)
    if alpha is not None and image_format in ("jpg", "gif", "bmp", "ppm"):
        notes.append(f"{image_format.upper()} has no transparency, so it was laid on white")
    if pixels.dtype.itemsize > 1 and image_format not in ("png", "tiff"):
        bits = 10 if image_format == "avif" else 8
        notes.append(f"16 bits became {bits}, for {image_format.upper()} holds no more")
    if image_format == "gif":
        notes.append("GIF holds 256 colours, so others were brought to the nearest of them")
    return tuple(notes)


def _write(
    path: Path,
    pixels: Pixels,
    alpha: Pixels | None,
    metadata: Metadata,
    image_format: ImageFormat,
    quality: int | None,
) -> list[str]:
    """The file itself, streamed where the format allows, else encoded in memory first; what it could not take."""
    lossless: dict[ImageFormat, Callable[..., None]] = {"png": write_png, "tiff": write_tiff}
    if image_format in lossless:
        with atomic_file(path) as file:
            lossless[image_format](file, pixels, alpha=alpha, metadata=metadata)
        return []
    height, width = pixels.shape[:2]
    if not fits(image_format, height, width):
        raise too_large(path, image_format, height, width)
    try:
        encoded, notes = _encoded(pixels, alpha, metadata, image_format, quality)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"cannot write {path}: {image_format.upper()} encoding failed ({error}).",
            hint="write PNG or TIFF instead (--format png)",
        ) from error
    with atomic_file(path) as file:
        file.write(encoded)
    return notes


def too_large(path: Path, image_format: ImageFormat, height: int, width: int) -> InputError:
    """The error for a picture that is too large for its format."""
    return InputError(
        f"cannot write {path}: {width} x {height} pixels; "
        f"{image_format.upper()} ends at {MAX_SIDE[image_format]} per side.",
        hint="write PNG or TIFF instead (--format png)",
    )


def _encoded(
    pixels: Pixels,
    alpha: Pixels | None,
    metadata: Metadata,
    image_format: ImageFormat,
    quality: int | None,
) -> tuple[bytes, list[str]]:
    """The whole file of a format that is encoded at once, and what it could not take."""
    if image_format == "avif":
        return encode_avif(pixels, alpha, metadata, quality=quality or DEFAULT_QUALITY["avif"]), []
    image = _pillow_image(to_8bit(pixels), alpha, with_alpha=image_format != "jpg")
    buffer = io.BytesIO()
    options: dict[str, Any] = {"icc_profile": metadata.icc} if metadata.icc else {}
    if image_format in DEFAULT_QUALITY:
        options["quality"] = quality or DEFAULT_QUALITY[image_format]
    if image_format == "jpg":
        options["subsampling"] = 0
        if metadata.dpi is not None:
            options["dpi"] = tuple(round(value) for value in metadata.dpi)
    if image_format == "webp":
        options |= {"exif": metadata.exif, "xmp": metadata.xmp}
    image.save(buffer, format=_PILLOW_NAMES[image_format], **options)
    encoded = buffer.getvalue()
    if image_format != "jpg":
        return encoded, []
    if metadata.dpi is not None and metadata.dpi_unit == "cm":
        encoded = jpeg.in_centimetres(encoded, metadata.dpi)
    return jpeg.with_metadata(encoded, metadata)


def _pillow_image(
    pixels: NDArray[np.uint8], alpha: Pixels | None, *, with_alpha: bool
) -> Image.Image:
    """A Pillow image of 8-bit pixels; alpha kept, or laid on white."""
    if alpha is None or not with_alpha:
        return picture_on_white(ImageData(pixels=pixels, alpha=alpha))
    image = picture_on_white(ImageData(pixels=pixels)).convert("RGB")
    image.putalpha(Image.fromarray(to_8bit(alpha)))
    return image
