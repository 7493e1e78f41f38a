"""TIFF beside what Pillow does: 16-bit and float samples, Exif out of and into the file's own directories."""

from __future__ import annotations

import struct
from typing import IO, Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin

from hypir_cli.errors import InputError
from hypir_cli.images.data import Metadata, Pixels, quantize

_TEXT_TAGS = (270, 271, 272, 305, 306, 315, 316, 33432)
"""Description, make, model, software, date, artist, host, copyright: what IFD0 says about the photograph."""
_EXIF_IFDS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_ORIENTATION = 274
_XMP_TAG = 700
_BYTE, _ASCII, _LONG = 1, 2, 4
_HEADER = b"II*\x00\x08\x00\x00\x00"
_GREY_WHITE_IS_ZERO = 0
_DEEP_PHOTOMETRICS = (0, 1, 2)
"""White-is-zero grey, black-is-zero grey, RGB."""
_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA = 1, 2
_BAND = 64
_FLOAT_SLACK = 1.2
"""How far float samples may pass the end of their scale before the next larger scale is assumed."""


def is_deep(page: tifffile.TiffPage) -> bool:
    """Whether a page is grey or RGB with more than 8 bits, which Pillow would cut down."""
    return (
        page.dtype is not None
        and page.dtype.itemsize > 1
        and page.photometric in _DEEP_PHOTOMETRICS
    )


def read_deep(page: tifffile.TiffPage) -> tuple[Pixels, Pixels | None, list[str]]:
    """Pixels (H, W, C), alpha (H, W) or None, and notes of a page for which `is_deep` holds.

    Raises:
        InputError: NaN or infinite samples, or samples of a type that is not an image's.
    """
    samples = page.asarray()
    if samples.ndim == 2:
        samples = samples[:, :, None]
    elif page.axes.startswith("S"):
        samples = np.moveaxis(samples, 0, -1)
    integers, notes = _to_16bit(samples, bits=page.bitspersample)
    channels = 3 if page.photometric == 2 else 1
    pixels = np.ascontiguousarray(integers[..., :channels])
    if page.photometric == _GREY_WHITE_IS_ZERO:
        pixels = np.invert(pixels)
    kind = page.extrasamples[0] if page.extrasamples else 0
    if kind not in (_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA):
        return pixels, None, notes
    alpha = np.ascontiguousarray(integers[..., channels])
    return (_unmultiplied(pixels, alpha) if kind == _ASSOCIATED_ALPHA else pixels), alpha, notes


def from_floats(samples: NDArray[Any]) -> tuple[NDArray[np.uint16], list[str]]:
    """Float samples as 16 bits, and notes. Their scale (1, 255 or 65535) is told from the largest.

    Raises:
        InputError: NaN, infinite, or beyond every scale.
    """
    if not np.isfinite(samples).all():
        count = int(samples.size - np.isfinite(samples).sum())
        raise InputError(
            f"{count} of its samples are NaN or infinite.",
            hint="replace them in the program that made the file, and save it again",
        )
    low, high = float(samples.min()), float(samples.max())
    scale = next((full for full in (1, 255, 65535) if high <= full * _FLOAT_SLACK), None)
    if scale is None or low < -scale:
        raise InputError(
            f"its float samples reach from {low:.6g} to {high:.6g}, expected 0 to 1.",
            hint="scale them to 0..1, or save the file with 16 bits",
        )
    notes = []
    if scale != 1 or low < 0 or high > 1:
        notes.append(
            f"float samples from {low:.6g} to {high:.6g} were read on the scale 0..{scale}"
        )
    result = np.empty(samples.shape, dtype=np.uint16)
    for start in range(0, len(samples), _BAND):
        band = samples[start : start + _BAND].astype(np.float64) / scale
        result[start : start + _BAND] = quantize(band, 16)
    return result, notes


def read_exif(file: IO[bytes], page: tifffile.TiffPage) -> bytes:
    """An Exif block with what a page's directory and its sub-directories say about the photograph; empty if nothing."""
    source, kept = Image.Exif(), Image.Exif()
    source.endian, kept.endian = page.parent.byteorder, "<"
    source.bigtiff = page.parent.is_bigtiff
    source.load_from_fp(file, page.offset)
    for tag in (*_TEXT_TAGS, _ORIENTATION):
        if tag in source:
            kept[tag] = source[tag]
    for tag in _EXIF_IFDS:
        if entries := source.get_ifd(tag):
            kept[tag] = dict(entries)
    return kept.tobytes() if len(kept) else b""


def can_rewrite(exif: bytes) -> bool:
    """Whether Pillow can parse an Exif block and build it anew, as TIFF and AVIF need."""
    block = Image.Exif()
    try:
        block.load(exif)
        for tag in _EXIF_IFDS:
            block.get_ifd(tag)
        block.tobytes()
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error):
        return False
    return True


def write_tiff(
    file: IO[bytes], pixels: Pixels, *, alpha: Pixels | None, metadata: Metadata
) -> None:
    """Write one image, deflated losslessly.

    Args:
        file: Readable and writable, at its start.
        pixels: (H, W, C), uint8 or uint16, C 1 or 3.
        alpha: (H, W), same depth.
        metadata: Kept; of IFD0 the descriptive texts.
    """
    exif = Image.Exif()
    exif.load(metadata.exif)
    folders = {tag: dict(entries) for tag in _EXIF_IFDS if (entries := exif.get_ifd(tag))}
    samples = pixels if alpha is None else np.concatenate([pixels, alpha[:, :, None]], axis=2)
    tifffile.imwrite(
        file,
        samples if samples.shape[2] > 1 else samples[:, :, 0],
        photometric="rgb" if pixels.shape[2] == 3 else "minisblack",
        planarconfig="contig" if samples.shape[2] > 1 else None,
        extrasamples=None if alpha is None else ["unassalpha"],
        compression="adobe_deflate",
        predictor=True,
        iccprofile=metadata.icc or None,
        resolution=metadata.dpi,
        resolutionunit=None if metadata.dpi is None else "inch",
        software=False,
        metadata=None,
        byteorder="<",
        maxworkers=1,
        extratags=[*_text_tags(exif), *_xmp_tag(metadata.xmp), *_pointers(folders)],
    )
    _append_folders(file, folders)


def _to_16bit(samples: NDArray[Any], *, bits: int) -> tuple[NDArray[np.uint16], list[str]]:
    """Samples of any accepted type over the full 16-bit range."""
    if samples.dtype.kind == "f":
        return from_floats(samples)
    if samples.dtype != np.uint16:
        raise InputError(
            f"its samples are {samples.dtype}, which is no photograph's type.",
            hint="save it with 8 or 16 bits per sample",
        )
    if bits < 16:
        full = 2**bits - 1
        widened = samples.astype(np.uint32) * 65535 + full // 2
        return (widened // full).astype(np.uint16), [f"{bits} bits were widened to 16"]
    return samples.astype(np.uint16, copy=False), []


def _unmultiplied(pixels: Pixels, alpha: Pixels) -> NDArray[np.uint16]:
    """Colours with the factor that associated alpha put into them taken out."""
    result = np.empty(pixels.shape, dtype=np.uint16)
    for start in range(0, len(pixels), _BAND):
        opacity = np.maximum(alpha[start : start + _BAND, :, None], 1).astype(np.float64)
        quotient = pixels[start : start + _BAND] / opacity
        result[start : start + _BAND] = quantize(quotient, 16)
    return result


def _text_tags(exif: Image.Exif) -> list[tuple[int, int, int, Any, bool]]:
    texts = {tag: exif[tag] for tag in _TEXT_TAGS if isinstance(exif.get(tag), str)}
    return [(tag, _ASCII, 0, text.encode("utf-8") + b"\x00", True) for tag, text in texts.items()]


def _xmp_tag(xmp: bytes) -> list[tuple[int, int, int, Any, bool]]:
    return [(_XMP_TAG, _BYTE, len(xmp), xmp, True)] if xmp else []


def _pointers(folders: dict[ExifTags.IFD, dict[int, Any]]) -> list[tuple[int, int, int, Any, bool]]:
    """Placeholders for the pointer tags, one number below them since tifffile refuses to write pointers itself."""
    return [(int(tag) - 1, _LONG, 1, 0, True) for tag in folders]


def _append_folders(file: IO[bytes], folders: dict[ExifTags.IFD, dict[int, Any]]) -> None:
    """Put each sub-directory at the end of the file, and its tag and offset into its placeholder."""
    if not folders:
        return
    file.seek(0)
    with tifffile.TiffFile(file) as written:
        tags = written.pages.first.tags
        places = {tag: tags[int(tag) - 1].offset for tag in folders}
        value_shift = 12 if written.is_bigtiff else 8
    for tag, entries in folders.items():
        offset = file.seek(0, 2)
        offset += file.write(b"\x00" * (offset % 2))
        directory = TiffImagePlugin.ImageFileDirectory_v2(ifh=_HEADER, group=int(tag))
        for key, value in entries.items():
            directory[key] = value
        file.write(directory.tobytes(offset))
        file.seek(places[tag])
        file.write(struct.pack("<H", int(tag)))
        file.seek(places[tag] + value_shift)
        file.write(struct.pack("<I", offset))
