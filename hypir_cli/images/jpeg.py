"""JPEG beside what Pillow does: every metadata segment read and written as bytes, and ends that are missing.

Source: ITU-T T.81; JFIF 1.02; CIPA DC-008 (Exif); XMP specification part 3; ISO 21496-1 (gain maps).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from PIL import ExifTags

from hypir_cli.images import exif as exif_block
from hypir_cli.images import iptc
from hypir_cli.images import xmp as packets
from hypir_cli.images.data import Metadata

EXIF_HEADER = b"Exif\x00\x00"
XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\x00"
EXTENSION_HEADER = b"http://ns.adobe.com/xmp/extension/\x00"
END = b"\xff\xd9"
LONGEST = 65_533
"""Bytes that fit into one segment."""
_ICC_HEADER = b"ICC_PROFILE\x00"
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SOS, _EOI, _COM = 0xDA, 0xD9, 0xFE
_APP0, _APP1, _APP2, _APP13 = 0xE0, 0xE1, 0xE2, 0xED
_NOISE = b"\x5a\xc3\x17\x9e" * 256


@dataclass(frozen=True, kw_only=True)
class Segments:
    """A JPEG file taken apart."""

    parts: tuple[tuple[int, bytes], ...]
    """(marker, content) of every segment before and between the pixels."""
    ended: bool
    """Whether the end marker is there."""
    end: int
    """Where the end marker begins, or the file ends."""
    trailer: int
    """Bytes after the end marker."""


def segments(data: bytes) -> Segments:
    """What a file holds beside its pixels; a damaged rest is left out."""
    parts: list[tuple[int, bytes]] = []
    place = 2
    while True:
        match = _NEXT_MARKER.search(data, place)
        if match is None:
            # A single first half of a marker at the end would change what is put after it.
            end = len(data.rstrip(b"\xff"))
            return Segments(parts=tuple(parts), ended=False, end=end, trailer=0)
        marker, place = data[match.start() + 1], match.end()
        if marker == _EOI:
            trailer = len(data) - place
            return Segments(parts=tuple(parts), ended=True, end=match.start(), trailer=trailer)
        size = int.from_bytes(data[place : place + 2], "big")
        content = data[place + 2 : place + size]
        if size < 2 or len(content) < size - 2:
            return Segments(parts=tuple(parts), ended=False, end=len(data), trailer=0)
        if marker != _SOS:
            parts.append((marker, content))
        place += size


def metadata_of(found: Segments) -> tuple[Metadata, list[str]]:
    """What the segments say, as stored, and notes on what is not carried on."""
    apps = found.parts
    exif = _first(apps, _APP1, EXIF_HEADER)
    xmp = _first(apps, _APP1, XMP_HEADER)
    resources, more = iptc.kept_resources(_joined(apps, _APP13, iptc.PHOTOSHOP_HEADER))
    notes = [iptc.LEFT_OUT] if more else []
    notes += _left_out(found)
    dpi, unit = _density(_first(apps, _APP0, b"JFIF\x00"))
    return (
        Metadata(
            exif=exif,
            xmp=xmp,
            xmp_extension=_extension(apps, packets.extension_guid(xmp)),
            icc=_profile(apps),
            photoshop=resources,
            comments=tuple(content.rstrip(b"\x00") for marker, content in apps if marker == _COM),
            dpi=dpi,
            dpi_unit=unit,
        ),
        notes,
    )


def with_metadata(encoded: bytes, metadata: Metadata) -> tuple[bytes, list[str]]:
    """An encoded JPEG with its metadata put in, and notes on what does not fit. The colour profile is there already."""
    parts: list[bytes] = []
    notes: list[str] = []
    if metadata.exif:
        exif, notes = _fitting_exif(metadata.exif)
        parts += [_segment(_APP1, EXIF_HEADER + exif)] if exif else []
    main, extension = metadata.xmp, metadata.xmp_extension
    if len(main) + len(XMP_HEADER) > LONGEST:
        main, extension = packets.split(packets.merged(main, extension) if extension else main)
    if main:
        parts.append(_segment(_APP1, XMP_HEADER + main))
    guid = packets.extension_guid(main)
    if extension and guid:
        parts += _extension_segments(extension, guid)
    if metadata.photoshop:
        room = LONGEST - len(iptc.PHOTOSHOP_HEADER)
        for start in range(0, len(metadata.photoshop), room):
            piece = metadata.photoshop[start : start + room]
            parts.append(_segment(_APP13, iptc.PHOTOSHOP_HEADER + piece))
    for text in (*metadata.comments, *(f"{key}: {text}".encode() for key, text in metadata.texts)):
        for start in range(0, max(len(text), 1), LONGEST):
            parts.append(_segment(_COM, text[start : start + LONGEST]))
    head = _head_length(encoded)
    return encoded[:head] + b"".join(parts) + encoded[head:], notes


def _fitting_exif(exif: bytes) -> tuple[bytes, list[str]]:
    """An Exif block that fits one segment, and a note on what was left out for that."""
    room = LONGEST - len(EXIF_HEADER)
    if len(exif) <= room:
        return exif, []
    try:
        block, dropped = exif_block.shortened(exif, longest=room)
    except ValueError:
        return b"", ["the Exif data is too long for JPEG and was left out"]
    names = ", ".join(ExifTags.TAGS.get(tag, f"tag {tag}") for tag in dropped)
    return block, [
        f"its Exif data is too long for JPEG; left out of it: {names or 'what no tag holds'}"
    ]


def in_centimetres(encoded: bytes, dpi: tuple[float, float]) -> bytes:
    """An encoded JPEG whose density is told per centimetre."""
    if encoded[6:11] != b"JFIF\x00":
        return encoded
    across, down = (min(round(value / 2.54), 65535) for value in dpi)
    return encoded[:13] + struct.pack(">BHH", 2, across, down) + encoded[18:]


def ended(data: bytes, end: int, *, noise: bool = False) -> bytes:
    """A file up to where its pixels end, ended; pixels that are missing there come out grey, or, with noise, as something else."""
    return data[:end] + (_NOISE if noise else b"") + END


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _head_length(encoded: bytes) -> int:
    """Bytes of the start marker and the JFIF segment."""
    if encoded[2:4] == b"\xff\xe0":
        return 4 + int.from_bytes(encoded[4:6], "big")
    return 2


def _first(parts: tuple[tuple[int, bytes], ...], wanted: int, header: bytes) -> bytes:
    found = (content for marker, content in parts if marker == wanted)
    return next((content[len(header) :] for content in found if content.startswith(header)), b"")


def _joined(parts: tuple[tuple[int, bytes], ...], wanted: int, header: bytes) -> bytes:
    found = (content for marker, content in parts if marker == wanted)
    return b"".join(content[len(header) :] for content in found if content.startswith(header))


def _profile(parts: tuple[tuple[int, bytes], ...]) -> bytes:
    """The colour profile, its pieces in their order."""
    start = len(_ICC_HEADER)
    pieces = sorted(
        (content[start], content[start + 2 :])
        for marker, content in parts
        if marker == _APP2 and content.startswith(_ICC_HEADER) and len(content) > start + 2
    )
    return b"".join(piece for _, piece in pieces)


def _extension(parts: tuple[tuple[int, bytes], ...], guid: bytes) -> bytes:
    """The extended XMP of a name, put together from its pieces; empty where one is missing."""
    if not guid:
        return b""
    pieces: dict[int, bytes] = {}
    full = 0
    for content in _contents(parts, EXTENSION_HEADER):
        if content[:32].upper() == guid.upper() and len(content) >= 40:
            full, offset = struct.unpack_from(">II", content, 32)
            pieces[offset] = content[40:]
    joined = b"".join(piece for _, piece in sorted(pieces.items()))
    return joined if len(joined) == full else b""


def _contents(parts: tuple[tuple[int, bytes], ...], header: bytes) -> Iterator[bytes]:
    for marker, content in parts:
        if marker == _APP1 and content.startswith(header):
            yield content[len(header) :]


def _extension_segments(extension: bytes, guid: bytes) -> list[bytes]:
    room = LONGEST - len(EXTENSION_HEADER) - 40
    return [
        _segment(
            _APP1,
            EXTENSION_HEADER
            + guid
            + struct.pack(">II", len(extension), start)
            + extension[start : start + room],
        )
        for start in range(0, len(extension), room)
    ]


def _density(jfif: bytes) -> tuple[tuple[float, float] | None, Literal["inch", "cm"]]:
    """Dots per inch of a JFIF segment, and the unit they are told in."""
    if len(jfif) < 7 or jfif[2] not in (1, 2):
        return None, "inch"
    factor = 1.0 if jfif[2] == 1 else 2.54
    across, down = struct.unpack_from(">HH", jfif, 3)
    if min(across, down) < 2:
        return None, "inch"
    return (across * factor, down * factor), "inch" if jfif[2] == 1 else "cm"


def _left_out(found: Segments) -> list[str]:
    """Notes on what stands beside the picture in its file."""
    notes = []
    if any(content.startswith(b"urn:iso:std:iso:ts:21496") for _, content in found.parts):
        notes.append("its gain map for bright screens was left out")
    if any(marker == _APP2 and content.startswith(b"MPF\x00") for marker, content in found.parts):
        notes.append("the further pictures in the file were left out")
    elif found.trailer > 64:
        notes.append("what stands after the picture in the file was left out")
    if any(content.startswith(b"JP") for marker, content in found.parts if marker == 0xEB):
        notes.append("its content credentials (C2PA) are not true of the result and were left out")
    flir = (b"FLIR\x00", b"FPXR\x00")
    if any(content.startswith(flir) for _, content in found.parts):
        notes.append("its maker's extra data (FLIR or FlashPix) was left out")
    return notes
