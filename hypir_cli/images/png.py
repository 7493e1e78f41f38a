"""PNG beside what Pillow does: metadata chunks of any file, and writing 8 or 16 bits in bands of rows.

Source: PNG specification, third edition (W3C, 2025).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import IO

import numpy as np
from numpy.typing import NDArray

from hypir_cli.images.data import Metadata, Pixels

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOR_CHUNKS = frozenset([b"gAMA", b"cHRM", b"sRGB", b"cICP"])
"""Chunks that change what the samples mean."""

_XMP_KEYWORD = b"XML:com.adobe.xmp"
_MAX_PROFILE = 16 * 2**20
"""Bytes a compressed profile or text may unfold to."""
_BAND_BYTES = 2**20
_LEVEL = 4
"""zlib level: on photographs 5% larger than level 6 in a third of the time."""
_PAETH = 4
_INCH = 0.0254


def read_chunks(file: IO[bytes]) -> list[tuple[bytes, bytes]]:
    """Name and content of every chunk but the pixels.

    Raises:
        ValueError: The file ends inside a chunk.
    """
    file.seek(len(SIGNATURE))
    return list(_chunks(file))


def metadata_of(chunks: list[tuple[bytes, bytes]]) -> Metadata:
    """What the chunks say, as stored: nothing turned upright yet."""
    found = dict(reversed(chunks))
    return Metadata(
        exif=found.get(b"eXIf", b""),
        xmp=_xmp(chunks),
        icc=_profile(found.get(b"iCCP", b"")),
        dpi=_dpi(found.get(b"pHYs", b"")),
        png_color=tuple(chunk for chunk in chunks if chunk[0] in COLOR_CHUNKS),
    )


def write_png(file: IO[bytes], pixels: Pixels, *, alpha: Pixels | None, metadata: Metadata) -> None:
    """Write one image; beyond the pixels only a band of rows is held in memory.

    Args:
        file: Where to; written from its position on.
        pixels: (H, W, C), uint8 or uint16, C 1 or 3.
        alpha: (H, W), same depth.
        metadata: Kept as it is.
    """
    height, width, channels = pixels.shape
    color_type = (0 if channels == 1 else 2) + (4 if alpha is not None else 0)
    depth = 8 * pixels.dtype.itemsize
    file.write(SIGNATURE)
    _write(file, b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0))
    for name, content in _metadata_chunks(metadata):
        _write(file, name, content)
    for part in _compressed(pixels, alpha):
        _write(file, b"IDAT", part)
    _write(file, b"IEND", b"")


def _chunks(file: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    name = b""
    while name != b"IEND":
        head = file.read(8)
        if len(head) < 8:
            raise ValueError("the file ends before the image does")
        size, name = struct.unpack(">I4s", head)
        if name in (b"IDAT", b"fdAT"):
            file.seek(size + 4, 1)
            continue
        content = file.read(size + 4)[:-4]
        if len(content) != size:
            raise ValueError("the file ends before the image does")
        yield name, content


def _write(file: IO[bytes], name: bytes, content: bytes) -> None:
    file.write(struct.pack(">I", len(content)) + name)
    file.write(content)
    file.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(name))))


def _unfold(data: bytes) -> bytes:
    """Decompressed text or profile, empty where it is damaged or absurdly large."""
    worker = zlib.decompressobj()
    try:
        result = worker.decompress(data, _MAX_PROFILE)
    except zlib.error:
        return b""
    return b"" if worker.unconsumed_tail else result


def _profile(chunk: bytes) -> bytes:
    """The colour profile of an iCCP chunk: name, method, compressed profile."""
    _, _, rest = chunk.partition(b"\x00")
    return _unfold(rest[1:]) if rest else b""


def _xmp(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """The XMP packet of an iTXt chunk: keyword, compression flag and method, language, translated keyword, text."""
    for name, content in chunks:
        keyword, _, rest = content.partition(b"\x00")
        if name == b"iTXt" and keyword == _XMP_KEYWORD and len(rest) > 2:
            text = rest[2:].split(b"\x00", 2)[-1]
            return _unfold(text) if rest[0] else text
    return b""


def _dpi(chunk: bytes) -> tuple[float, float] | None:
    """Dots per inch of a pHYs chunk, None where it only gives the pixels' shape."""
    if len(chunk) != 9 or chunk[8] != 1:
        return None
    across, down = struct.unpack(">II", chunk[:8])
    return (across * _INCH, down * _INCH)


def _metadata_chunks(metadata: Metadata) -> Iterator[tuple[bytes, bytes]]:
    """Chunks in an order the specification allows before the pixels."""
    if metadata.icc:
        yield b"iCCP", b"ICC profile\x00\x00" + zlib.compress(metadata.icc)
    yield from (chunk for chunk in metadata.png_color if not metadata.icc or chunk[0] != b"sRGB")
    if metadata.dpi is not None:
        across, down = (round(value / _INCH) for value in metadata.dpi)
        yield b"pHYs", struct.pack(">IIB", across, down, 1)
    if metadata.exif:
        yield b"eXIf", metadata.exif
    if metadata.xmp:
        yield b"iTXt", _XMP_KEYWORD + b"\x00\x00\x00\x00\x00" + metadata.xmp


def _compressed(pixels: Pixels, alpha: Pixels | None) -> Iterator[bytes]:
    """The zlib stream of all filtered rows, in parts."""
    worker = zlib.compressobj(_LEVEL)
    row_bytes = pixels[0].nbytes + (0 if alpha is None else alpha[0].nbytes)
    step = max(_BAND_BYTES // row_bytes, 1)
    above = np.zeros((1, row_bytes), dtype=np.uint8)
    for start in range(0, len(pixels), step):
        rows, stride = _row_bytes(pixels, alpha, start, start + step)
        part = worker.compress(_filtered(rows, above, stride=stride).data)
        above = rows[-1:]
        if part:
            yield part
    yield worker.flush()


def _row_bytes(
    pixels: Pixels, alpha: Pixels | None, start: int, stop: int
) -> tuple[NDArray[np.uint8], int]:
    """Big-endian bytes of some rows, (rows, bytes), and the bytes of one pixel."""
    band = pixels[start:stop]
    if alpha is not None:
        band = np.concatenate([band, alpha[start:stop, :, None]], axis=2)
    band = np.ascontiguousarray(band, dtype=band.dtype.newbyteorder(">"))
    stride = band.shape[2] * band.dtype.itemsize
    return band.view(np.uint8).reshape(len(band), -1), stride


def _filtered(
    rows: NDArray[np.uint8], above: NDArray[np.uint8], *, stride: int
) -> NDArray[np.uint8]:
    """Rows after the Paeth filter, which alone comes within 1% of choosing among all filters on photographs."""
    up = np.concatenate([above, rows[:-1]]).astype(np.int16)
    left, up_left = np.zeros_like(up), np.zeros_like(up)
    left[:, stride:] = rows[:, :-stride]
    up_left[:, stride:] = up[:, :-stride]
    to_left, to_up = np.abs(up - up_left), np.abs(left - up_left)
    to_up_left = np.abs(left + up - 2 * up_left)
    nearest = np.where(to_up <= to_up_left, up, up_left)
    predicted = np.where((to_left <= to_up) & (to_left <= to_up_left), left, nearest)
    result = np.empty((len(rows), rows.shape[1] + 1), dtype=np.uint8)
    result[:, 0] = _PAETH
    np.subtract(rows, predicted, out=result[:, 1:], casting="unsafe")
    return result
