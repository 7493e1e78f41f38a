"""Write a TIFF: strips deflated losslessly, and every tag of an Exif block as the bytes it was.

The Exif block, itself a TIFF structure, becomes the beginning of the file, so that all its offsets (those in makers' notes too)
stay valid; the picture's own directory comes last and takes the block's entries over.
Source: TIFF 6.0 (Adobe, 1992); Adobe Photoshop TIFF Technical Notes (deflate, 2002).
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import IO

import numpy as np
from numpy.typing import NDArray

from hypir_cli.images import exif as exif_block
from hypir_cli.images import ifd, iptc
from hypir_cli.images.data import Metadata, Pixels
from hypir_cli.images.tiff import (
    ICC_TAG,
    IPTC_TAG,
    PHOTOSHOP_TAG,
    STRUCTURE,
    XMP_TAG,
)

CLASSIC_BYTES = 2**32 - 2**25
"""A file that might grow longer is written as BigTIFF, whose offsets have 8 bytes."""
_STRIP_BYTES = 2**18
_LEVEL = 6
_DEFLATE, _HORIZONTAL, _UNASSOCIATED_ALPHA = 8, 2, 2


def write_tiff(
    file: IO[bytes],
    pixels: Pixels,
    *,
    alpha: Pixels | None,
    metadata: Metadata,
    classic_bytes: int = CLASSIC_BYTES,
) -> None:
    """Write one image; beyond the pixels only a strip is held in memory.

    Args:
        file: Readable and writable, at its start.
        pixels: (H, W, C), uint8 or uint16, C 1 or 3.
        alpha: (H, W), same depth.
        metadata: Kept; its Exif block must be readable.
        classic_bytes: What may be longer becomes BigTIFF.
    """
    exif = metadata.exif
    order = ">" if exif.startswith(b"MM") else "<"
    most = pixels.nbytes + (0 if alpha is None else alpha.nbytes) + len(exif) + len(metadata.icc)
    big = most > classic_bytes
    if big:
        file.write((b"II+\0" if order == "<" else b"MM\0+") + struct.pack(order + "HHQ", 8, 0, 0))
        kept = _rewritten(file, exif, order=order)
    else:
        file.write(exif or b"II*\0\0\0\0\0")
        kept = _entries(exif)
    file.write(b"\0" * (file.tell() % 2))
    offsets, sizes, rows = _write_strips(file, pixels, alpha, order=order)
    entries = {entry.tag: entry for entry in kept if entry.tag not in STRUCTURE}
    added = [
        *_layout(pixels, alpha, order=order),
        ifd.integers(278, ifd.LONG, [rows], order=order),
        ifd.integers(273, 16 if big else ifd.LONG, offsets, order=order),
        ifd.integers(279, ifd.LONG, sizes, order=order),
        *_beside(metadata, order=order),
    ]
    entries |= {entry.tag: entry for entry in added}
    file.write(b"\0" * (file.tell() % 2))
    place = file.tell()
    file.write(ifd.encoded(entries.values(), order=order, offset=place, big=big))
    file.seek(8 if big else 4)
    file.write(struct.pack(order + ("Q" if big else "I"), place))
    file.seek(0, 2)


def _entries(exif: bytes) -> list[ifd.Entry]:
    """Entries of a block's main directory, whose values stand at their places from the block's start."""
    if not exif:
        return []
    header = ifd.read_header(io.BytesIO(exif))
    return list(ifd.read_directory(io.BytesIO(exif), header, header.first)[0].values())


def _rewritten(file: IO[bytes], exif: bytes, *, order: str) -> list[ifd.Entry]:
    """The entries with sub-directories written anew with 8-byte offsets."""
    if not exif:
        return []
    block, kept = io.BytesIO(exif), []
    header = ifd.read_header(block)
    main, _ = ifd.read_directory(block, header, header.first)
    for tag in (ifd.EXIF_IFD, ifd.GPS_IFD):
        entries = ifd.sub_directory(block, header, main, tag)
        entries.pop(ifd.INTEROP_IFD, None)
        main.pop(tag, None)
        if entries:
            place = file.tell() + file.tell() % 2
            file.seek(place)
            file.write(ifd.encoded(entries.values(), order=order, offset=place, big=True))
            kept.append(ifd.pointer(tag, place, order=order, big=True))
    return [*main.values(), *kept]


def _layout(pixels: Pixels, alpha: Pixels | None, *, order: str) -> list[ifd.Entry]:
    """How the pixels are stored."""
    height, width, channels = pixels.shape
    samples = channels + (alpha is not None)
    values = {
        258: [8 * pixels.dtype.itemsize] * samples,
        259: [_DEFLATE],
        262: [2 if channels == 3 else 1],
        277: [samples],
        284: [1],
        317: [_HORIZONTAL],
        339: [1] * samples,
    }
    if alpha is not None:
        values[338] = [_UNASSOCIATED_ALPHA]
    sizes = [
        ifd.integers(tag, ifd.LONG, [v], order=order) for tag, v in ((256, width), (257, height))
    ]
    return sizes + [ifd.integers(tag, ifd.SHORT, v, order=order) for tag, v in values.items()]


def _beside(metadata: Metadata, *, order: str) -> list[ifd.Entry]:
    """What does not stand in the Exif block."""
    entries = []
    if metadata.dpi is not None:
        factor, unit = (2.54, 3) if metadata.dpi_unit == "cm" else (1.0, 2)
        entries += [
            ifd.rational(tag, value / factor, order=order)
            for tag, value in zip((282, 283), metadata.dpi, strict=True)
        ]
        entries.append(ifd.integers(296, ifd.SHORT, [unit], order=order))
    texts = {
        XMP_TAG: metadata.xmp,
        IPTC_TAG: iptc.of_resources(metadata.photoshop),
        PHOTOSHOP_TAG: metadata.photoshop,
    }
    entries += [ifd.raw(tag, ifd.BYTE, data) for tag, data in texts.items() if data]
    if metadata.icc:
        entries.append(ifd.raw(ICC_TAG, ifd.UNDEFINED, metadata.icc))
    return entries


def _write_strips(
    file: IO[bytes], pixels: Pixels, alpha: Pixels | None, *, order: str
) -> tuple[list[int], list[int], int]:
    """Offsets and sizes of the strips, and rows in each but the last."""
    row_bytes = pixels[0].nbytes + (0 if alpha is None else alpha[0].nbytes)
    rows = max(_STRIP_BYTES // row_bytes, 1)
    offsets, sizes = [], []
    for start in range(0, len(pixels), rows):
        content = zlib.compress(_strip(pixels, alpha, start, start + rows, order=order), _LEVEL)
        offsets.append(file.tell())
        sizes.append(len(content))
        file.write(content)
        file.write(b"\0" * (len(content) % 2))
    return offsets, sizes, rows


def _strip(pixels: Pixels, alpha: Pixels | None, start: int, stop: int, *, order: str) -> bytes:
    """Rows as differences of neighbouring pixels, in the file's byte order."""
    band: NDArray[np.unsignedinteger] = pixels[start:stop]
    if alpha is not None:
        band = np.concatenate([band, alpha[start:stop, :, None]], axis=2)
    result = band.copy()
    result[:, 1:] -= band[:, :-1]
    return result.astype(
        result.dtype.newbyteorder(">" if order == ">" else "<"), copy=False
    ).tobytes()


def can_take_over(exif: bytes) -> bool:
    """Whether a block's directories can be read, as its entries' copy needs."""
    try:
        exif_block.orientation(exif)
        _entries(exif)
    except ValueError:
        return False
    return True
