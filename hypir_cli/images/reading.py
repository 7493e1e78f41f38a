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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

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
from hypir_cli.images import jpeg, modern
from hypir_cli.images.data import ImageData, Metadata
from hypir_cli.images.decoding import decode, metadata_of_pillow, to_srgb
from hypir_cli.images.formats import MAX_PIXELS, RAW_SUFFIXES, SNIFF_BYTES, sniff
from hypir_cli.images.jxl import jxl_size
from hypir_cli.images.png import metadata_of, png_size, read_chunks
from hypir_cli.images.png_repair import repair
from hypir_cli.images.raw import exr_size, raw_size, read_exr, read_raw
from hypir_cli.images.tiff import (
    is_deep,
    is_plain,
    is_print,
    main_page,
    read_deep,
    read_metadata,
    read_plain,
    read_print,
)
from hypir_cli.images.upright import finished

_OPENERS: dict[str, Callable[[str | io.BytesIO], ImageFile.ImageFile]] = {
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
    AttributeError,
    struct.error,
    zlib.error,
    tifffile.TiffFileError,
    ImageCms.PyCMSError,
    Image.DecompressionBombError,
)
"""What the decoders raise on damaged data."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the user said about how files are to be read."""

    max_pixels: int = MAX_PIXELS
    """More than this and a file is refused before anything is decoded."""
    partial: bool = False
    """Take what is there of a picture whose data is cut short, the rest grey or black."""
    float_range: tuple[float, float] | None = None
    """What is black and white of float samples; None is 0 and 1."""


def read_image(path: Path | str, *, reading: Reading | None = None) -> ImageData:
    """One image file, upright.

    Args:
        path: The file; its format is told from its content, not from its name.
        reading: How to read; None takes every default.

    Returns:
        Grey or RGB pixels in the file's own depth (floats and 9..15 bits as 16, bilevel as 8). CMYK is converted through
        its profile, palettes are resolved; of an animation or a multi-page file it is the first picture, with a note.

    Raises:
        InputError: Missing, empty, not an image, damaged, cut short, too large, or with NaN samples.
    """
    path, reading = Path(path), reading or Reading()
    with _named(path):
        name = _identify(path)
        height, width = _size(path, name)
        _check_size(width, height, max_pixels=reading.max_pixels)
        return _read(path, name, reading)


def image_size(path: Path | str) -> tuple[int, int]:
    """(height, width) as stored, from the file's header alone; a turned photograph's are the other way round.

    Raises:
        InputError: Missing, empty, not an image, or damaged in its header.
    """
    path = Path(path)
    with _named(path):
        return _size(path, _identify(path))


def _read(path: Path, name: str, reading: Reading) -> ImageData:
    """The image of a file of a known format."""
    if name == "JPEG":
        return _read_jpeg(path, partial=reading.partial)
    if name == "PNG":
        return _read_png(path, partial=reading.partial)
    if name == "TIFF":
        return _read_tiff(path, reading)
    if name in ("JXL", "EXR"):
        read = modern.read_jxl if name == "JXL" else read_exr
        return read(path, float_range=reading.float_range)
    plain = {"AVIF": modern.read_avif, "HEIF": modern.read_heif, "RAW": read_raw}
    if name in plain:
        return plain[name](path)
    deep = {"JPEG2000": modern.read_jpeg2000, "PPM": modern.read_deep_pnm}
    found = deep[name](path) if name in deep else None
    if found is not None:
        return found
    with _OPENERS[name](str(path)) as image:
        metadata = metadata_of_pillow(image)
        if name == "JPEG2000":
            more = modern.jpeg2000_metadata(path.read_bytes())
            metadata = replace(metadata, exif=more.exif, xmp=more.xmp, icc=more.icc)
        return decode(image, name, metadata, float_range=reading.float_range)


def _size(path: Path, name: str) -> tuple[int, int]:
    """(height, width) as a file's header says."""
    if name == "TIFF":
        with tifffile.TiffFile(path) as tiff:
            page, _ = main_page(tiff)
            return int(page.imagelength), int(page.imagewidth)
    if name == "RAW":
        return raw_size(path)
    if name == "PNG":
        return png_size(path)
    if name == "HEIF":
        width, height = modern.open_heif(path).size
        return int(height), int(width)
    if name == "JXL":
        with open(path, "rb") as file:
            return jxl_size(file.read(2**16))
    if name == "EXR":
        return exr_size(path)
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
    if head and path.suffix.lower() in RAW_SUFFIXES and sniff(head) in ("TIFF", None):
        return "RAW"
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


def _read_jpeg(path: Path, *, partial: bool) -> ImageData:
    """A JPEG, with what its segments say; one that is cut short is refused or, with `partial`, taken as far as it goes."""
    data = path.read_bytes()
    found = jpeg.segments(data)
    metadata, notes = jpeg.metadata_of(found)
    missing = _missing_from(data, found.end)
    if missing is not None and not partial:
        share = 100 * (1 - missing)
        raise InputError(
            f"its data is cut short: about {share:.0f}% of its rows are missing.",
            hint="copy it again from its source, or use --partial to restore what is there",
        )
    if missing is not None:
        notes.append(
            f"it is cut short; what is below {100 * missing:.0f}% of its height is missing"
        )
    elif not found.ended:
        notes.append("its end is missing, but every pixel is there")
    if not found.ended:
        data = jpeg.ended(data, found.end)
    with JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as image:
        return decode(image, "JPEG", metadata, notes=notes)


def _missing_from(data: bytes, end: int) -> float | None:
    """Share of the height (0 to 1) from which on a JPEG's rows are missing; None where all are there.

    A decoder goes on in silence where the data ends. What is missing comes out otherwise when noise is put in its place, and what
    is there does not; an eighth of the size shows it.
    """
    pictures = []
    for noise in (False, True):
        with JpegImagePlugin.JpegImageFile(io.BytesIO(jpeg.ended(data, end, noise=noise))) as image:
            image.draft(None, (max(image.width // 8, 1), max(image.height // 8, 1)))
            image.load()
            pictures.append(np.asarray(image))
    rows = (pictures[0] != pictures[1]).reshape(len(pictures[0]), -1).any(axis=1)
    return float(np.argmax(rows)) / len(rows) if rows.any() else None


def _read_png(path: Path, *, partial: bool) -> ImageData:
    """A PNG; one whose end or checksums are damaged is taken where its pixels are whole, or, with `partial`, anyway."""
    with open(path, "rb") as file:
        chunks, sound = read_chunks(file)
        metadata, notes = metadata_of(chunks)
        whole = "its end or a checksum is damaged, but every pixel is there"
        try:
            return _decoded_png(file, metadata, notes if sound else [*notes, whole])
        except DECODE_ERRORS as error:
            file.seek(0)
            repaired = repair(file.read())
            if repaired.missing == 0 and not repaired.damaged:
                notes.append(whole)
            elif not partial:
                raise InputError(
                    f"its data is damaged or cut short ({error}); "
                    f"{100 * (1 - repaired.missing):.0f}% of its pixels can be read.",
                    hint="copy it again from its source, or use --partial to restore what is there",
                ) from error
            else:
                share = 100 * repaired.missing
                notes.append(f"it is damaged; {share:.0f}% of its pixels are missing")
            return _decoded_png(io.BytesIO(repaired.data), metadata, notes)


def _decoded_png(file: IO[bytes], metadata: Metadata, notes: list[str]) -> ImageData:
    """The image; 16 bits by another decoder, since Pillow would cut them down to 8."""
    file.seek(24)
    deep = file.read(1) == b"\x10"
    file.seek(0)
    if not deep:
        # From the file itself: its bytes may be as many as the pixels'.
        with PngImagePlugin.PngImageFile(file) as image:
            return decode(image, "PNG", metadata, notes=notes)
    samples = imagecodecs.png_decode(file.read())
    pixels, alpha = modern.split_planes(samples)
    return finished(pixels, alpha, metadata, name="PNG", notes=notes)


def _read_tiff(path: Path, reading: Reading) -> ImageData:
    """A TIFF file: grey, RGB and inks by tifffile, the many other kinds by Pillow."""
    with tifffile.TiffFile(path) as tiff, open(path, "rb") as file:
        page, notes = main_page(tiff)
        metadata, more = _tiff_metadata(file, page.offset)
        notes += more
        if is_deep(page):
            pixels, alpha, more = read_deep(page, float_range=reading.float_range)
            return finished(pixels, alpha, metadata, name="TIFF", notes=[*notes, *more])
        if is_plain(page):
            pixels, alpha, more = read_plain(page)
            return finished(pixels, alpha, metadata, name="TIFF", notes=[*notes, *more])
        if is_print(page):
            inks, alpha, more = read_print(page)
            image, told = to_srgb(Image.fromarray(inks, "CMYK"), metadata.icc)
            return finished(
                np.asarray(image),
                alpha,
                replace(metadata, icc=b""),
                name="TIFF",
                notes=[*notes, *more, *told],
            )
        number = next(
            (n for n, other in enumerate(tiff.pages) if other.offset == page.offset), None
        )
    if number is None:
        raise _unknown_pixels(page)
    try:
        with TiffImagePlugin.TiffImageFile(str(path)) as opened:
            opened.seek(number)
            return decode(
                opened,
                "TIFF",
                metadata,
                notes=notes,
                turned=True,
                float_range=reading.float_range,
            )
    except SyntaxError as error:
        raise _unknown_pixels(page) from error


def _unknown_pixels(page: tifffile.TiffPage) -> InputError:
    return InputError(
        f"its kind of pixels is not supported ({page.photometric}, {page.samplesperpixel} samples of "
        f"{page.bitspersample} bits).",
        hint="save it as RGB or grey with 8 or 16 bits",
    )


def _tiff_metadata(file: io.BufferedReader, offset: int) -> tuple[Metadata, list[str]]:
    """What a page's directory says beside the pixels, and notes."""
    try:
        return read_metadata(file, offset)
    except DECODE_ERRORS as error:
        return Metadata(), [f"its metadata is damaged and was left out ({error})"]
