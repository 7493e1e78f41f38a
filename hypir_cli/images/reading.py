"""Read an image file of any supported format into integer pixels, upright, with what else it says.

A file that cannot be read is an `InputError` that names it, says what was seen and what to do. Pillow's process-wide pixel
limit is neither used nor changed: formats are opened by their classes after a check of our own.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from hypir_cli.errors import InputError
from hypir_cli.images import exif as exif_block
from hypir_cli.images.data import ImageData, Metadata
from hypir_cli.images.decoding import decode
from hypir_cli.images.formats import MAX_PIXELS, SNIFF_BYTES, sniff
from hypir_cli.images.png import metadata_of, read_chunks
from hypir_cli.images.tiff import is_deep, read_deep, read_exif
from hypir_cli.images.upright import finished, upright_exif

_OPENERS: dict[str, Callable[[str], ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
    "JPEG2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
}
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    tifffile.TiffFileError,
    ImageCms.PyCMSError,
    Image.DecompressionBombError,
)
"""What the decoders raise on damaged data."""


def read_image(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> ImageData:
    """One image file, upright.

    Args:
        path: The file; its format is told from its content, not from its name.
        max_pixels: More than this and the file is refused before anything is decoded.

    Returns:
        Grey or RGB pixels in the file's own depth (floats and 9..15 bits as 16, bilevel as 8). CMYK is converted through
        its profile, palettes are resolved; of an animation or a multi-page file it is the first picture, with a note.

    Raises:
        InputError: Missing, empty, not an image, damaged, cut short, too large, or with NaN samples.
    """
    path = Path(path)
    with _named(path):
        name = _identify(path)
        if name == "TIFF":
            return _read_tiff(path, max_pixels=max_pixels)
        with _OPENERS[name](str(path)) as image:
            _check_size(image.width, image.height, max_pixels=max_pixels)
            if name == "PNG" and _png_depth(path) == 16:
                return _read_deep_png(path)
            return decode(image, name, _metadata_of(image, path))


def image_size(path: Path | str) -> tuple[int, int]:
    """(height, width) as stored, from the file's header alone; a turned photograph's are the other way round.

    Raises:
        InputError: Missing, empty, not an image, or damaged in its header.
    """
    path = Path(path)
    with _named(path):
        name = _identify(path)
        if name == "TIFF":
            with tifffile.TiffFile(path) as tiff:
                page = tiff.pages.first
                return int(page.imagelength), int(page.imagewidth)
        with _OPENERS[name](str(path)) as image:
            return image.height, image.width


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong inside into an `InputError` that names the file."""
    try:
        yield
    except InputError as error:
        raise InputError(f"cannot read {path}: {error.message}", hint=error.hint) from error
    except MemoryError as error:
        raise InputError(
            f"cannot read {path}: it does not fit into memory.",
            hint="close other programs, or reduce the image first",
        ) from error
    except DECODE_ERRORS as error:
        raise _read_error(path, error) from error


def _read_error(path: Path, error: BaseException) -> InputError:
    """The error for a file that the system or a decoder refused."""
    if isinstance(error, OSError) and error.errno:
        return InputError(
            f"cannot read {path}: {os.strerror(error.errno)}.",
            hint="check the path and that you may read it",
        )
    return InputError(
        f"cannot read {path}: its data is damaged or cut short ({error}).",
        hint="copy it again from its source, or open it in another program and save it anew",
    )


def _identify(path: Path) -> str:
    """Format of a file by its first bytes."""
    with open(path, "rb") as file:
        head = file.read(SNIFF_BYTES)
    if not head:
        raise InputError(
            "the file is empty (0 bytes).", hint="copy it again from its source, or remove it"
        )
    name = sniff(head)
    if name is None:
        raise InputError(
            f"it is not an image of a supported format; it begins with {head[:16]!r}.",
            hint="convert it to PNG, JPEG, TIFF, WebP or AVIF, or leave it out",
        )
    return name


def _check_size(width: int, height: int, *, max_pixels: int) -> None:
    """Refuse what would exhaust memory."""
    if width * height > max_pixels:
        raise InputError(
            f"it claims {width} x {height} pixels, {width * height / 1e6:.0f} megapixels; "
            f"the limit is {max_pixels / 1e6:.0f}.",
            hint="if it is a real photograph, cut it into parts first",
        )


def _png_depth(path: Path) -> int:
    """Bits per sample as a PNG's header says."""
    with open(path, "rb") as file:
        return file.read(25)[24]


def _read_deep_png(path: Path) -> ImageData:
    """A 16-bit PNG, which Pillow would cut down to 8 bits."""
    with open(path, "rb") as file:
        metadata = metadata_of(read_chunks(file))
    samples = imagecodecs.png_decode(path.read_bytes())
    if samples.ndim == 2:
        samples = samples[:, :, None]
    channels = samples.shape[2] - 1 if samples.shape[2] in (2, 4) else samples.shape[2]
    pixels = np.ascontiguousarray(samples[..., :channels])
    alpha = np.ascontiguousarray(samples[..., channels]) if samples.shape[2] > channels else None
    return finished(pixels, alpha, metadata, name="PNG", notes=[])


def _read_tiff(path: Path, *, max_pixels: int) -> ImageData:
    """A TIFF file: deep samples by tifffile, the many other kinds by Pillow."""
    with tifffile.TiffFile(path) as tiff, open(path, "rb") as file:
        page = tiff.pages.first
        _check_size(page.imagewidth, page.imagelength, max_pixels=max_pixels)
        notes = ["only the first page is used"] if len(tiff.pages) > 1 else []
        metadata = _tiff_metadata(page, file, notes)
        if is_deep(page):
            pixels, alpha, more = read_deep(page)
            return finished(pixels, alpha, metadata, name="TIFF", notes=[*notes, *more])
    with TiffImagePlugin.TiffImageFile(str(path)) as image:
        metadata = replace(metadata, dpi=_dpi_of(image))
        # Pillow has already turned the pixels by the file's orientation, so it must not happen again.
        turned = decode(image, "TIFF", replace(metadata, exif=b""))
    exif = upright_exif(metadata.exif, notes)[0]
    return replace(
        turned,
        metadata=replace(turned.metadata, exif=exif),
        notes=(*notes, *(note for note in turned.notes if "animation" not in note)),
    )


def _tiff_metadata(page: tifffile.TiffPage, file: io.BufferedReader, notes: list[str]) -> Metadata:
    """What a page's directory says beside the pixels."""
    try:
        exif = exif_block.without_prefix(read_exif(file, page))
    except DECODE_ERRORS as error:
        notes.append(f"its Exif data is damaged and was left out ({error})")
        exif = b""
    xmp = page.tags.valueof(700, b"")
    resolution = page.get_resolution("inch") if page.tags.get(282) else None
    return Metadata(
        exif=exif,
        xmp=xmp if isinstance(xmp, bytes) else b"",
        icc=page.iccprofile or b"",
        dpi=resolution if resolution and min(resolution) > 1 else None,
    )


def _metadata_of(image: ImageFile.ImageFile, path: Path) -> Metadata:
    """What an opened file says beside the pixels, as stored."""
    if image.format == "PNG":
        with open(path, "rb") as file:
            return metadata_of(read_chunks(file))
    xmp = image.info.get("xmp", b"")
    return Metadata(
        exif=exif_block.without_prefix(image.info.get("exif", b"")),
        xmp=xmp if isinstance(xmp, bytes) else b"",
        icc=image.info.get("icc_profile") or b"",
        dpi=_dpi_of(image),
    )


def _dpi_of(image: ImageFile.ImageFile) -> tuple[float, float] | None:
    """Dots per inch that Pillow found, None where it found none that mean anything."""
    dpi = image.info.get("dpi")
    if dpi is None or not all(1 < float(value) < 1e6 for value in dpi):
        return None
    return float(dpi[0]), float(dpi[1])
