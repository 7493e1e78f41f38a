"""Boxes of HEIF-like files (AVIF, HEIC, JPEG 2000): what their headers say, and items added to an AVIF.

Source: ISO/IEC 14496-12 and 23008-12; AV1 Image File Format 1.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_FULL = {b"meta", b"iref"}
"""Boxes that hold others after a version and flags."""
_PARENTS = {b"meta", b"iprp", b"ipco", b"jp2h", b"res "}


@dataclass(frozen=True, kw_only=True)
class Box:
    """One box."""

    kind: bytes
    """Its four letters."""
    start: int
    """Where its header begins in the file."""
    content: int
    """Where its content begins."""
    end: int
    """Where it ends."""


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes in a range, one after the other; a damaged rest is left out."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if size == 1 and start + 16 <= end:
            size, content = struct.unpack_from(">Q", data, start + 8)[0], start + 16
        stop = end if size == 0 else start + size
        if stop <= content - 1 or stop > end:
            return
        yield Box(kind=kind, start=start, content=content, end=stop)
        start = stop


def walk(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """Every box, those inside the usual parents too."""
    for box in boxes(data, start, end):
        yield box
        if box.kind in _PARENTS:
            yield from walk(data, box.content + (4 if box.kind in _FULL else 0), box.end)


def find(data: bytes, kind: bytes) -> Box | None:
    """The first box of a kind."""
    return next((box for box in walk(data) if box.kind == kind), None)


def color_codes(data: bytes) -> tuple[int, int] | None:
    """H.273 primaries and transfer of the first `nclx` colour box."""
    for box in walk(data):
        if box.kind == b"colr" and data[box.content : box.content + 4] == b"nclx":
            primaries, transfer = struct.unpack_from(">HH", data, box.content + 4)
            return primaries, transfer
    return None


def bit_depth(data: bytes) -> int:
    """Bits per sample of an AVIF's or HEIC's picture; 8 where they are not told."""
    box = find(data, b"pixi")
    if box is None or box.end < box.content + 6:
        return 8
    return data[box.content + 5]


def has_gain_map(data: bytes) -> bool:
    """Whether the file holds a gain map beside its picture."""
    head = data[: 2**16]
    return b"tmap" in head or b"hdrgainmap" in head


def with_color(data: bytes, primaries: int, transfer: int) -> bytes:
    """The file with its colour box saying other code points; the matrix stays as the pixels were encoded."""
    result = bytearray(data)
    for box in walk(data):
        if box.kind == b"colr" and data[box.content : box.content + 4] == b"nclx":
            struct.pack_into(">HH", result, box.content + 4, primaries, transfer)
    return bytes(result)


def with_items(data: bytes, *, exif: bytes, xmp: bytes, icc: bytes) -> bytes:
    """A plain AVIF (one meta box, item data after it) with metadata added.

    Args:
        data: As libavif writes it.
        exif: A TIFF structure; empty for none.
        xmp: A packet; empty for none.
        icc: A profile, which then counts instead of the code points; empty for none.
    """
    payloads = []
    if exif:
        payloads.append((b"Exif\0\0\0\0", b"Exif", struct.pack(">I", 0) + exif))
    if xmp:
        payloads.append((b"mime\0application/rdf+xml\0", b"mime", xmp))
    meta = next(box for box in boxes(data) if box.kind == b"meta")
    parts = {box.kind: data[box.start : box.end] for box in boxes(data, meta.content + 4, meta.end)}
    primary = _integer(parts[b"pitm"], 12, 2 if parts[b"pitm"][8] == 0 else 4)
    first = _highest_item(parts[b"iinf"]) + 1
    numbers = list(range(first, first + len(payloads)))
    parts[b"iinf"] = _with_infos(parts[b"iinf"], numbers, payloads)
    parts[b"iref"] = _with_references(parts.get(b"iref", b""), numbers, primary)
    if icc:
        parts[b"iprp"] = _with_profile(parts[b"iprp"], icc, primary)
    locations = _Locations.read(parts[b"iloc"])
    sizes = [len(content) for _, _, content in payloads]
    empty = locations.written(shift=0, numbers=numbers, place=0, sizes=sizes)
    grown = 12 + sum(len(part) for kind, part in parts.items() if kind != b"iloc") + len(empty)
    shift = grown - (meta.end - meta.start)
    place = len(data) + shift + 8
    parts[b"iloc"] = locations.written(shift=shift, numbers=numbers, place=place, sizes=sizes)
    body = data[meta.content : meta.content + 4] + b"".join(parts.values())
    tail = b"".join(content for _, _, content in payloads)
    more = _box(b"mdat", tail) if tail else b""
    return data[: meta.start] + _box(b"meta", body) + data[meta.end :] + more


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def _integer(data: bytes, place: int, width: int) -> int:
    return int.from_bytes(data[place : place + width], "big")


def _highest_item(iinf: bytes) -> int:
    start = 14 if iinf[8] == 0 else 16
    return max(
        (_integer(iinf, box.content + 4, 2) for box in boxes(iinf, start) if box.kind == b"infe"),
        default=0,
    )


def _with_infos(
    iinf: bytes, numbers: list[int], payloads: list[tuple[bytes, bytes, bytes]]
) -> bytes:
    """The item list with one more entry per payload."""
    width = 2 if iinf[8] == 0 else 4
    count = _integer(iinf, 12, width) + len(numbers)
    entries = b""
    for number, (ending, kind, _) in zip(numbers, payloads, strict=True):
        name = b"\0" + ending[5:] if kind == b"mime" else b"\0"
        entries += _box(b"infe", struct.pack(">IHH4s", 0x02000001, number, 0, kind) + name)
    return _box(b"iinf", iinf[8:12] + count.to_bytes(width, "big") + iinf[12 + width :] + entries)


def _with_references(iref: bytes, numbers: list[int], primary: int) -> bytes:
    """The references with one more per item: it describes the picture."""
    content = iref[8:] if iref else b"\0\0\0\0"
    if content[0] != 0:  # 4-byte item numbers
        more = b"".join(
            _box(b"cdsc", struct.pack(">IHI", number, 1, primary)) for number in numbers
        )
    else:
        more = b"".join(
            _box(b"cdsc", struct.pack(">HHH", number, 1, primary)) for number in numbers
        )
    return _box(b"iref", content + more)


def _with_profile(iprp: bytes, icc: bytes, primary: int) -> bytes:
    """The properties with a profile for the picture."""
    inside = list(boxes(iprp, 8))
    ipco = next(box for box in inside if box.kind == b"ipco")
    number = sum(1 for _ in boxes(iprp, ipco.content, ipco.end)) + 1
    grown = _box(b"ipco", iprp[ipco.content : ipco.end] + _box(b"colr", b"prof" + icc))
    others = [iprp[box.start : box.end] for box in inside if box.kind not in (b"ipco", b"ipma")]
    maps = [
        _associated(iprp[box.start : box.end], number, primary)
        for box in inside
        if box.kind == b"ipma"
    ]
    return _box(b"iprp", b"".join([grown, *others, *maps]))


def _associated(ipma: bytes, number: int, primary: int) -> bytes:
    """The association table with a property more for the picture."""
    wide_items, wide_properties = ipma[8] >= 1, bool(ipma[11] & 1)
    item_width, property_width = (4 if wide_items else 2), (2 if wide_properties else 1)
    place, out = 16, b""
    for _ in range(_integer(ipma, 12, 4)):
        item = _integer(ipma, place, item_width)
        place += item_width
        size = ipma[place] * property_width
        listed = ipma[place + 1 : place + 1 + size]
        if item == primary:
            listed += number.to_bytes(property_width, "big")
        out += item.to_bytes(item_width, "big") + bytes([len(listed) // property_width]) + listed
        place += 1 + size
    return _box(b"ipma", ipma[8:16] + out)


@dataclass(frozen=True, kw_only=True)
class _Locations:
    """An item location box: where each item's data stands."""

    version: int
    items: tuple[tuple[int, tuple[tuple[int, int], ...]], ...]
    """(item, extents of (offset, length)), all counted from the file's start."""

    @classmethod
    def read(cls, iloc: bytes) -> _Locations:
        version = iloc[8]
        offset_width, length_width = iloc[12] >> 4, iloc[12] & 15
        base_width, index_width = iloc[13] >> 4, (iloc[13] & 15 if version else 0)
        number_width = 2 if version < 2 else 4
        place = 14 + number_width
        items = []
        for _ in range(_integer(iloc, 14, number_width)):
            item = _integer(iloc, place, number_width)
            place += number_width + (2 if version else 0) + 2
            base = _integer(iloc, place, base_width)
            place += base_width
            count = _integer(iloc, place, 2)
            place += 2
            extents = []
            for _ in range(count):
                place += index_width
                offset = base + _integer(iloc, place, offset_width)
                place += offset_width
                extents.append((offset, _integer(iloc, place, length_width)))
                place += length_width
            items.append((item, tuple(extents)))
        return cls(version=version, items=tuple(items))

    def written(self, *, shift: int, numbers: list[int], place: int, sizes: list[int]) -> bytes:
        """The box with old items moved by `shift` and new ones one after the other from `place` on."""
        moved = [
            (item, [(offset + shift, length) for offset, length in extents])
            for item, extents in self.items
        ]
        for number, size in zip(numbers, sizes, strict=True):
            moved.append((number, [(place, size)]))
            place += size
        out = struct.pack(">IBBH", 0, 0x44, 0, len(moved))
        for item, extents in moved:
            out += struct.pack(">HHH", item, 0, len(extents))
            out += b"".join(struct.pack(">II", *extent) for extent in extents)
        return _box(b"iloc", out)
