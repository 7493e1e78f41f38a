"""Directories of TIFF structures (TIFF files and Exif blocks), read and written byte for byte.

Values are kept as the bytes they are stored in, so that texts keep their encoding and makers' notes their content.
Source: TIFF 6.0 (Adobe, 1992), section 2; BigTIFF as libtiff writes it.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import IO

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, IFD = 1, 2, 3, 4, 5, 7, 13
EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005
MAKER_NOTE = 0x927C
_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
    129: 1,
}
"""Bytes of one value of each type; Exif 3.0 adds 129, UTF-8 text."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One tag of a directory."""

    tag: int
    """Its number."""
    kind: int
    """TIFF type number."""
    count: int
    """How many values."""
    data: bytes
    """The values, in the structure's byte order."""
    offset: int = 0
    """Where they stood in the structure they were read from."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """How a structure is stored."""

    order: str
    """`<` or `>`."""
    big: bool
    """Whether it is BigTIFF, with 8-byte offsets."""
    first: int
    """Offset of its first directory."""


Directory = dict[int, Entry]


def read_header(file: IO[bytes]) -> Header:
    """The header of the structure that a file or a block is.

    Raises:
        ValueError: It does not begin as a TIFF structure does.
    """
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        raise ValueError("it does not start with a TIFF header")
    magic = struct.unpack(order + "H", head[2:4])[0]
    if magic == 43 and len(head) == 16:
        return Header(order=order, big=True, first=struct.unpack(order + "Q", head[8:])[0])
    if magic not in (
        42,
        0x55,
        0x4F52,
        0x5352,
    ):  # TIFF, and what Panasonic and Olympus put in its place
        raise ValueError("it does not start with a TIFF header")
    return Header(order=order, big=False, first=struct.unpack(order + "I", head[4:8])[0])


_MOST_BYTES = 64 * 2**20
"""A longer value is not read: it is no metadata, or the file is damaged."""


def read_directory(file: IO[bytes], header: Header, offset: int) -> tuple[Directory, int]:
    """The entries at an offset, and the offset of the next directory (0: none). Values that lie outside are left out.

    Raises:
        ValueError: The directory itself is cut short.
    """
    size, layout = (20, "HHQ") if header.big else (12, "HHI")
    word = "Q" if header.big else "I"
    file.seek(offset)
    count = _unpack(file, header.order + ("Q" if header.big else "H"))
    rows = file.read(size * count)
    if count > 4096 or len(rows) < size * count:
        raise ValueError("a directory of it is cut short")
    width = struct.calcsize(word)
    following = file.read(width)
    entries: Directory = {}
    for index in range(count):
        row = rows[size * index : size * (index + 1)]
        tag, kind, number = struct.unpack_from(header.order + layout, row)
        inline = row[-width:]
        length = _SIZES.get(kind, 0) * number
        if not length or length > _MOST_BYTES:
            continue
        place = offset + (8 if header.big else 2) + size * index + size - width
        data = inline[:length]
        if length > width:
            place = struct.unpack(header.order + word, inline)[0]
            file.seek(place)
            data = file.read(length)
        if len(data) == length and tag not in entries:
            entries[tag] = Entry(tag=tag, kind=kind, count=number, data=data, offset=place)
    after = struct.unpack(header.order + word, following)[0] if len(following) == width else 0
    return entries, after


def integer(directory: Mapping[int, Entry], tag: int, header: Header) -> int | None:
    """The first value of an integer tag; None where there is none."""
    entry = directory.get(tag)
    layout = {BYTE: "B", SHORT: "H", LONG: "I", IFD: "I", 16: "Q", 18: "Q"}
    if entry is None or entry.kind not in layout:
        return None
    return int(struct.unpack_from(header.order + layout[entry.kind], entry.data)[0])


def fraction(directory: Mapping[int, Entry], tag: int, header: Header) -> float | None:
    """The first value of a fraction's tag; None where there is none, or it is nothing's quotient."""
    entry = directory.get(tag)
    if entry is None or entry.kind != RATIONAL:
        return None
    above, below = struct.unpack_from(header.order + "II", entry.data)
    return above / below if below else None


def sub_directory(file: IO[bytes], header: Header, parent: Directory, tag: int) -> Directory:
    """The directory that a tag points to; empty where there is none or it is damaged."""
    offset = integer(parent, tag, header)
    if not offset:
        return {}
    try:
        return read_directory(file, header, offset)[0]
    except ValueError:
        return {}


def encoded(
    directory: Iterable[Entry],
    *,
    order: str,
    offset: int,
    big: bool = False,
    following: int = 0,
    places: Mapping[int, int] | None = None,
) -> bytes:
    """A directory as bytes to stand at an offset, its values after it.

    Args:
        directory: Entries, in any order.
        order: `<` or `>`; the entries' values are in it already.
        offset: Where the bytes will stand.
        big: Whether the structure is BigTIFF.
        following: Offset of the next directory.
        places: Tag -> offset of values that stand in the structure already.
    """
    entries = sorted(directory, key=lambda entry: entry.tag)
    word, width = ("Q", 8) if big else ("I", 4)
    head = struct.pack(order + ("Q" if big else "H"), len(entries))
    place = offset + len(head) + (20 if big else 12) * len(entries) + width
    rows, values = [head], []
    for entry in entries:
        rows.append(struct.pack(order + "HH" + word, entry.tag, entry.kind, entry.count))
        if len(entry.data) <= width:
            rows.append(entry.data.ljust(width, b"\0"))
            continue
        if places and entry.tag in places:
            rows.append(struct.pack(order + word, places[entry.tag]))
            continue
        padding = b"\0" * (place % 2)
        place += len(padding)
        rows.append(struct.pack(order + word, place))
        values.append(padding + entry.data)
        place += len(entry.data)
    rows.append(struct.pack(order + word, following))
    return b"".join([*rows, *values])


def pointer(tag: int, offset: int, *, order: str, big: bool = False) -> Entry:
    """An entry that points to a directory."""
    kind, layout = (18, "Q") if big else (LONG, "I")
    return Entry(tag=tag, kind=kind, count=1, data=struct.pack(order + layout, offset))


def integers(tag: int, kind: int, values: Iterable[int], *, order: str) -> Entry:
    """An entry of integers of a type: BYTE, SHORT, LONG or 16 (8 bytes)."""
    listed = list(values)
    layout = {BYTE: "B", SHORT: "H", LONG: "I", 16: "Q"}[kind]
    data = struct.pack(f"{order}{len(listed)}{layout}", *listed)
    return Entry(tag=tag, kind=kind, count=len(listed), data=data)


def raw(tag: int, kind: int, data: bytes) -> Entry:
    """An entry of single bytes or text."""
    return Entry(tag=tag, kind=kind, count=len(data) // _SIZES[kind], data=data)


def rational(tag: int, value: float, *, order: str) -> Entry:
    """An entry of one positive fraction."""
    ratio = Fraction(value).limit_denominator(10000)
    data = struct.pack(order + "II", min(ratio.numerator, 2**32 - 1), ratio.denominator)
    return Entry(tag=tag, kind=RATIONAL, count=1, data=data)


def block(main: Iterable[Entry], subs: Mapping[int, Iterable[Entry]], *, order: str) -> bytes:
    """An Exif block (a TIFF structure without pixels) of a main directory and those it points to.

    Makers' notes hold offsets that count from the structure's start; where there is room they come to stand at the offset they
    had, so that those stay valid.
    """
    file = io.BytesIO()
    file.write((b"II*\0" if order == "<" else b"MM\0*") + b"\0" * 4)
    pointers = []
    for tag, entries in subs.items():
        listed = list(entries)
        places = _keep_places(file, listed)
        offset = _even_end(file)
        content = encoded(listed, order=order, offset=offset, places=places)
        file.write(content)
        pointers.append(pointer(tag, offset, order=order))
    offset = _even_end(file)
    plain = [entry for entry in main if entry.tag not in subs]
    file.write(encoded([*plain, *pointers], order=order, offset=offset))
    file.seek(4)
    file.write(struct.pack(order + "I", offset))
    return file.getvalue()


_ROOM = 32_768
"""A maker's note that began later than this does not get its old offset back: the block would grow too long for JPEG."""


def _keep_places(file: IO[bytes], entries: Iterable[Entry]) -> dict[int, int]:
    """Write a maker's note where it stood; its tag and offset, empty where that is not possible."""
    for entry in entries:
        end = file.seek(0, 2)
        if entry.tag == MAKER_NOTE and end <= entry.offset < _ROOM and len(entry.data) > 4:
            file.write(b"\0" * (entry.offset - end) + entry.data)
            return {entry.tag: entry.offset}
    return {}


def _even_end(file: IO[bytes]) -> int:
    offset = file.seek(0, 2)
    if offset % 2:
        file.write(b"\0")
        offset += 1
    return offset


def _unpack(file: IO[bytes], layout: str) -> int:
    data = file.read(struct.calcsize(layout))
    if len(data) < struct.calcsize(layout):
        raise ValueError("a directory of it is cut short")
    return int(struct.unpack(layout, data)[0])
