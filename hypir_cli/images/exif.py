"""Small repairs inside an Exif block, byte for byte elsewhere, so that maker notes and offsets stay valid.

An Exif block is a TIFF structure: a header, a first directory (IFD0) and a second one (Exif) that IFD0 points to.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hypir_cli.images import ifd

ORIENTATION = 0x0112
PIXEL_WIDTH = 0xA002
PIXEL_HEIGHT = 0xA003

_SHORT, _LONG = 3, 4
_PREFIX = b"Exif\x00\x00"


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """One integer in a directory."""

    tag: int
    kind: int
    offset: int
    """Where its value stands."""
    value: int


def without_prefix(exif: bytes) -> bytes:
    """The TIFF structure alone."""
    while exif.startswith(_PREFIX):
        exif = exif[len(_PREFIX) :]
    return exif


def orientation(exif: bytes) -> int:
    """How the stored pixels are turned, 1 (upright) to 8; 1 where the block does not say.

    Raises:
        ValueError: The block is damaged.
    """
    value = _find(exif, ORIENTATION)
    return value.value if value is not None and 1 <= value.value <= 8 else 1


def has_orientation(exif: bytes) -> bool:
    """Whether the block says how the pixels are turned.

    Raises:
        ValueError: The block is damaged.
    """
    return _find(exif, ORIENTATION) is not None


def has_thumbnail(exif: bytes) -> bool:
    """Whether the block has a second picture's directory.

    Raises:
        ValueError: The block is damaged.
    """
    start = _first_directory(exif)
    end = start + 2 + 12 * _unpack(_byte_order(exif) + "H", exif, start)
    return end + 4 <= len(exif) and _unpack(_byte_order(exif) + "I", exif, end) != 0


def without_orientation(exif: bytes) -> bytes:
    """The block without the entry, every other byte where it was; for containers that tell the orientation themselves.

    Raises:
        ValueError: The block is damaged.
    """
    order, start = _byte_order(exif), _first_directory(exif)
    count = _unpack(order + "H", exif, start)
    for index in range(count):
        offset = start + 2 + 12 * index
        if _unpack(order + "H", exif, offset) == ORIENTATION:
            end = start + 2 + 12 * count + 4
            moved = exif[offset + 12 : end] + b"\x00" * 12
            head = exif[:start] + struct.pack(order + "H", count - 1) + exif[start + 2 : offset]
            return head + moved + exif[end:]
    return exif


def first_tags(exif: bytes) -> frozenset[int]:
    """Tags of the block's first directory.

    Raises:
        ValueError: The block is damaged.
    """
    header = ifd.read_header(io.BytesIO(exif))
    return frozenset(ifd.read_directory(io.BytesIO(exif), header, header.first)[0])


def with_entries(exif: bytes, entries: Mapping[int, tuple[int, bytes]]) -> bytes:
    """The block with texts and bytes added to its first directory; tags that are there stay as they are.

    The directory is written anew at the end, so nothing else moves.

    Args:
        exif: A block; empty makes a new one.
        entries: Tag -> (TIFF type, values in little-endian bytes; single bytes, texts and fractions only).

    Raises:
        ValueError: The block is damaged.
    """
    base = exif or b"II*\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    header = ifd.read_header(io.BytesIO(base))
    directory, following = ifd.read_directory(io.BytesIO(base), header, header.first)
    missing = {tag: value for tag, value in entries.items() if tag not in directory}
    if not missing:
        return exif
    added = [_entry(tag, *value, order=header.order) for tag, value in missing.items()]
    base += b"\x00" * (len(base) % 2)
    table = ifd.encoded(
        [*directory.values(), *added],
        order=header.order,
        offset=len(base),
        following=following,
        places={entry.tag: entry.offset for entry in directory.values()},
    )
    return base[:4] + struct.pack(header.order + "I", len(base)) + base[8:] + table


def shortened(exif: bytes, *, longest: int) -> tuple[bytes, tuple[int, ...]]:
    """A block without its longest values, so that it fits; the tags that were left out, longest first.

    What else points somewhere (interoperability, a thumbnail) is left out as well.

    Raises:
        ValueError: The block is damaged.
    """
    file = io.BytesIO(exif)
    header = ifd.read_header(file)
    main, _ = ifd.read_directory(file, header, header.first)
    subs = {
        tag: ifd.sub_directory(file, header, main, tag)
        for tag in (ifd.EXIF_IFD, ifd.GPS_IFD)
        if tag in main
    }
    for directory in (main, *subs.values()):
        for tag in (*subs, ifd.INTEROP_IFD):
            directory.pop(tag, None)
    dropped: list[int] = []
    while True:
        listed = {tag: list(directory.values()) for tag, directory in subs.items()}
        block = ifd.block(main.values(), listed, order=header.order)
        if len(block) <= longest:
            return block, tuple(dropped)
        largest = max(
            (directory for directory in (main, *subs.values()) if directory),
            key=lambda directory: max(len(entry.data) for entry in directory.values()),
        )
        tag = max(largest, key=lambda tag: len(largest[tag].data))
        del largest[tag]
        dropped.append(tag)


def _entry(tag: int, kind: int, data: bytes, *, order: str) -> ifd.Entry:
    """An entry of little-endian values in a structure's own order."""
    width = {ifd.RATIONAL: 4, ifd.SHORT: 2}.get(kind, 1)
    if order == ">" and width > 1:
        data = b"".join(data[i : i + width][::-1] for i in range(0, len(data), width))
    count = len(data) // {ifd.RATIONAL: 8, ifd.SHORT: 2}.get(kind, 1)
    return ifd.Entry(tag=tag, kind=kind, count=count, data=data)


def upright(exif: bytes) -> bytes:
    """The block for pixels that have been turned upright: orientation 1, and no thumbnail of the old picture.

    Raises:
        ValueError: The block is damaged.
    """
    block = bytearray(exif)
    order = _byte_order(exif)
    _patch(block, _find(exif, ORIENTATION), 1)
    start = _first_directory(exif)
    end = start + 2 + 12 * _unpack(order + "H", exif, start)
    if end + 4 <= len(block):
        struct.pack_into(order + "I", block, end, 0)
    return bytes(block)


def with_size(exif: bytes, *, width: int, height: int) -> bytes:
    """The block with the pixel size it states, if any, brought up to date.

    Raises:
        ValueError: The block is damaged.
    """
    block = bytearray(exif)
    entry = _find(exif, ifd.EXIF_IFD)
    if entry is not None:
        for item in _entries(exif, entry.value):
            if item.tag in (PIXEL_WIDTH, PIXEL_HEIGHT):
                _patch(block, item, width if item.tag == PIXEL_WIDTH else height)
    return bytes(block)


def _byte_order(exif: bytes) -> str:
    """The struct prefix the block's header asks for."""
    orders = {b"II*\x00": "<", b"MM\x00*": ">"}
    if exif[:4] not in orders:
        raise ValueError("the Exif block does not start with a TIFF header")
    return orders[exif[:4]]


def _unpack(layout: str, exif: bytes, offset: int) -> int:
    """One integer at an offset."""
    try:
        return int(struct.unpack_from(layout, exif, offset)[0])
    except struct.error as error:
        raise ValueError("the Exif block is cut short") from error


def _first_directory(exif: bytes) -> int:
    """Offset of IFD0."""
    return _unpack(_byte_order(exif) + "I", exif, 4)


def _entries(exif: bytes, start: int) -> Iterator[_Entry]:
    """The single integers of the directory at an offset."""
    order = _byte_order(exif)
    for index in range(_unpack(order + "H", exif, start)):
        offset = start + 2 + 12 * index
        tag, kind = (_unpack(order + "H", exif, offset + shift) for shift in (0, 2))
        if kind in (_SHORT, _LONG) and _unpack(order + "I", exif, offset + 4) == 1:
            value = _unpack(order + ("H" if kind == _SHORT else "I"), exif, offset + 8)
            yield _Entry(tag=tag, kind=kind, offset=offset + 8, value=value)


def _find(exif: bytes, tag: int) -> _Entry | None:
    """One integer of IFD0."""
    entries = _entries(exif, _first_directory(exif))
    return next((entry for entry in entries if entry.tag == tag), None)


def _patch(block: bytearray, entry: _Entry | None, value: int) -> None:
    """Put another integer where one stands; a value too wide for its type is left out."""
    if entry is None or (entry.kind == _SHORT and value > 0xFFFF):
        return
    layout = _byte_order(bytes(block[:4])) + ("H" if entry.kind == _SHORT else "I")
    struct.pack_into(layout, block, entry.offset, value)
