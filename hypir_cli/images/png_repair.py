"""A PNG that lacks its end or has wrong checksums, made readable again as far as its pixels go.

Source: PNG specification, third edition (W3C, 2025), sections 5, 7 and 8.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from hypir_cli.images.png import SIGNATURE

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Colour type -> samples per pixel."""
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""First column and row of each pass, and its steps."""


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """A file that decoders take."""

    data: bytes
    """The PNG: header, palette, transparency and pixels alone."""
    missing: float
    """Share of the pixel data that was not there and was filled with black, 0 to 1."""
    damaged: bool
    """Whether the pixel stream or the header has wrong checksums, so that what is there may be wrong."""


def repair(data: bytes) -> Repaired:
    """The pixels of a damaged PNG in a sound one.

    Raises:
        ValueError: The header is damaged, or no pixel can be had.
    """
    parts: dict[bytes, bytes] = {}
    stream = b""
    place, wrong = len(SIGNATURE), False
    while place + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        content = data[place + 8 : place + 8 + size]
        told = data[place + 8 + size : place + 12 + size]
        sound = told == struct.pack(">I", zlib.crc32(content, zlib.crc32(name)))
        if name == b"IDAT":
            stream += content  # a checksum of the whole stream stands at its end
        elif name in (b"IHDR", b"PLTE", b"tRNS"):
            parts.setdefault(name, content)
            wrong = wrong or not sound
        place += 12 + size
    header = parts.get(b"IHDR", b"")
    if len(header) != 13 or header[9] not in _SAMPLES:
        raise ValueError("its header is damaged")
    wanted = _raw_bytes(header)
    worker = zlib.decompressobj()
    pixels = _inflated(worker, stream, wanted)
    if not pixels:
        raise ValueError("none of its pixels can be read")
    missing = 1 - len(pixels) / wanted
    sound_stream = zlib.compress(pixels.ljust(wanted, b"\0"), 1)
    chunks: list[tuple[bytes, bytes]] = [
        (name, parts[name]) for name in (b"IHDR", b"PLTE", b"tRNS") if name in parts
    ]
    chunks += [(b"IDAT", sound_stream), (b"IEND", b"")]
    return Repaired(
        data=SIGNATURE + b"".join(_chunk(*chunk) for chunk in chunks),
        missing=missing,
        damaged=wrong or not worker.eof,
    )


def _inflated(worker: zlib._Decompress, stream: bytes, wanted: int) -> bytes:
    """The start of the pixel data as far as it can be unpacked."""
    result = bytearray()
    for start in range(0, len(stream), 4096):
        try:
            result += worker.decompress(stream[start : start + 4096], wanted - len(result) + 1)
        except zlib.error:
            break
        if len(result) > wanted:
            break
    return bytes(result[:wanted])


def _raw_bytes(header: bytes) -> int:
    """Bytes of all filtered rows."""
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * _SAMPLES[kind]
    if not interlaced:
        return int(height * (1 + (width * bits + 7) // 8))
    total = 0
    for left, top, across, down in _ADAM7:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(name))
    return struct.pack(">I4s", len(content), name) + content + struct.pack(">I", checksum)
