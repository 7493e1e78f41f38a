"""IPTC records and the Photoshop resource blocks that carry them.

Source: IPTC-IIM 4.2; Adobe Photoshop File Formats Specification, "Image Resource Blocks".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

LEFT_OUT = "Photoshop's layout data (thumbnail, guides, paths) was left out"
"""What is said where other resources were there."""
PHOTOSHOP_HEADER = b"Photoshop 3.0\x00"
_IPTC, _DIGEST = 0x0404, 0x0425
_KEPT = {_IPTC, _DIGEST, 0x040A, 0x040B}
"""IPTC, its digest, the copyright flag and the copyright URL."""
_QUIET = {
    0x03ED,
    0x0408,
    0x040D,
    0x0414,
    0x0419,
    0x041A,
    0x041E,
    0x0421,
    0x0422,
    0x0423,
    0x0424,
    0x0426,
    0x0428,
    0x040F,
    0x2710,
}
"""Resources that say again what is kept elsewhere, or how Photoshop's window stood: not worth a word."""


def blocks(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(number, name, content) of every resource; a damaged rest is left out."""
    place = 0
    while data[place : place + 4] in (b"8BIM", b"MeSa", b"PHUT", b"AgHg", b"DCSR"):
        if len(data) < place + 12:
            return
        number, length = struct.unpack_from(">HB", data, place + 4)
        name_end = place + 7 + length + (length + 1) % 2
        name = data[place + 7 : place + 7 + length]
        if len(data) < name_end + 4:
            return
        size = struct.unpack_from(">I", data, name_end)[0]
        content = data[name_end + 4 : name_end + 4 + size]
        if len(content) < size:
            return
        yield number, name, content
        place = name_end + 4 + size + size % 2


def kept_resources(data: bytes) -> tuple[bytes, bool]:
    """Resources that are true of the new picture, too, and whether others (layout, thumbnail, paths) were among them."""
    kept, others = b"", False
    for number, name, content in blocks(data):
        if number in _KEPT:
            kept += _block(number, name, content)
        elif number not in _QUIET:
            others = True
    return kept, others


def of_resources(data: bytes) -> bytes:
    """The IPTC records inside resource blocks; empty where there are none."""
    return next((content for number, _, content in blocks(data) if number == _IPTC), b"")


def as_resources(records: bytes) -> bytes:
    """IPTC records as a resource block."""
    return _block(_IPTC, b"", records) if records else b""


def _block(number: int, name: bytes, content: bytes) -> bytes:
    named = bytes([len(name)]) + name
    named += b"\x00" * (len(named) % 2)
    head = b"8BIM" + struct.pack(">H", number) + named + struct.pack(">I", len(content))
    return head + content + b"\x00" * (len(content) % 2)
