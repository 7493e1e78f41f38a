"""PNG beside what Pillow does: metadata chunks of any file, and writing 8 or 16 bits in bands of rows.

Source: PNG specification, third edition (W3C, 2025).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from hypir_cli.images import iptc
from hypir_cli.images import xmp as packets
from hypir_cli.images.colorcode import ColorCode, from_codes, from_numbers
from hypir_cli.images.data import Metadata, Pixels

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOR_CHUNKS = frozenset([b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"mDCv", b"cLLi"])
"""Chunks that say what the samples mean."""
_QUIET_CHUNKS = frozenset(
    b"IHDR PLTE IDAT IEND tRNS bKGD hIST sPLT sBIT acTL fcTL fdAT iCCP pHYs eXIf iTXt tEXt zTXt iDOT CgBI vpAg sTER".split()
)
"""Chunks that are kept, say nothing about the picture, or are spoken of elsewhere."""
_RAW_PROFILE = "Raw profile type "
_PLAIN, _COMPRESSED, _INTERNATIONAL = b"tEXt", b"zTXt", b"iTXt"

_XMP_KEYWORD = b"XML:com.adobe.xmp"
_MAX_PROFILE = 16 * 2**20
"""Bytes a compressed profile or text may unfold to."""
_BAND_BYTES = 2**20
_LEVEL = 4
"""zlib level: on photographs 5% larger than level 6 in a third of the time."""
_PAETH = 4
_INCH = 0.0254


def png_size(path: Path) -> tuple[int, int]:
    """(height, width) as a PNG's header says.

    Raises:
        ValueError: The header is cut short, or tells of no picture.
    """
    with open(path, "rb") as file:
        head = file.read(24)
    if len(head) < 24 or head[12:16] != b"IHDR":
        raise ValueError("its header is damaged")
    width, height = struct.unpack_from(">II", head, 16)
    if not width or not height:
        raise ValueError("its header tells of no pixels")
    return height, width


def read_chunks(file: IO[bytes]) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Name and content of every sound chunk but the pixels, and whether all are sound and the end is there."""
    file.seek(len(SIGNATURE))
    found = list(_chunks(file))
    sound = [(name, content) for name, content, good in found if good]
    return sound, len(sound) == len(found) and sound[-1:] == [(b"IEND", b"")]


def metadata_of(chunks: list[tuple[bytes, bytes]]) -> tuple[Metadata, list[str]]:
    """What the chunks say, as stored (nothing turned upright yet), and notes on what is not carried on."""
    found = dict(reversed(chunks))
    texts = list(_texts(chunks))
    profiles = {
        keyword[len(_RAW_PROFILE) :].lower(): _raw_profile(text)
        for keyword, text in texts
        if keyword.startswith(_RAW_PROFILE)
    }
    app1 = profiles.get("app1", b"")
    exif = found.get(b"eXIf") or profiles.get("exif") or (app1 if app1[:4] == b"Exif" else b"")
    xmp = _xmp(chunks) or profiles.get("xmp", b"") or app1.partition(b"ns.adobe.com/xap/1.0/\0")[2]
    photoshop, more = iptc.kept_resources(profiles.get("iptc") or profiles.get("8bim") or b"")
    icc = _profile(found.get(b"iCCP", b"")) or profiles.get("icc", b"") or profiles.get("icm", b"")
    others = sorted({name.decode("latin-1") for name, _ in chunks if name not in _KNOWN})
    notes = [f"its chunks {', '.join(others)} were left out"] if others else []
    if b"tIME" in found:
        notes.append("the time of its last change (tIME) was left out, for it is changed now")
    return (
        Metadata(
            exif=exif,
            xmp=xmp,
            photoshop=photoshop,
            icc=icc,
            color=None if icc else _color(found),
            dpi=_dpi(found.get(b"pHYs", b"")),
            texts=tuple(item for item in texts if not item[0].startswith(_RAW_PROFILE)),
            png_color=tuple(chunk for chunk in chunks if chunk[0] in COLOR_CHUNKS),
        ),
        [*notes, *([iptc.LEFT_OUT] if more else [])],
    )


_KNOWN = COLOR_CHUNKS | _QUIET_CHUNKS | {b"tIME"}


def _color(found: dict[bytes, bytes]) -> ColorCode | None:
    """What colour chunks mean, the one that counts most first: code points, sRGB, gamma and chromaticities."""
    cicp = found.get(b"cICP", b"")
    if len(cicp) == 4:
        return from_codes(cicp[0], cicp[1])
    if b"sRGB" in found:
        return None
    gamma, numbers = found.get(b"gAMA", b""), found.get(b"cHRM", b"")
    exponent = 100000 / int.from_bytes(gamma, "big") if len(gamma) == 4 and any(gamma) else None
    places = None
    if len(numbers) == 32:
        wx, wy, rx, ry, gx, gy, bx, by = (value / 100000 for value in struct.unpack(">8I", numbers))
        places = (wx, wy, rx, ry, gx, gy, bx, by) if min(wy, ry, gy, by) > 0 else None
    return from_numbers(exponent, places)


def _texts(chunks: list[tuple[bytes, bytes]]) -> Iterator[tuple[str, str]]:
    """Keyword and text of every text chunk but the XMP packet."""
    for name, content in chunks:
        keyword, mark, rest = content.partition(b"\x00")
        if not mark or keyword == _XMP_KEYWORD:
            continue
        if name == _PLAIN:
            text = _decoded(rest)
        elif name == _COMPRESSED:
            text = _decoded(_unfold(rest[1:]))
        elif name == _INTERNATIONAL and len(rest) > 2:
            data = rest[2:].split(b"\x00", 2)[-1]
            text = (_unfold(data) if rest[0] else data).decode("utf-8", "replace")
        else:
            continue
        yield keyword.decode("latin-1"), text


def _decoded(data: bytes) -> str:
    """A plain text, Latin-1 by the specification; many programs write UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _raw_profile(text: str) -> bytes:
    """Bytes that ImageMagick and others store as hexadecimal digits: a name, a length, the digits."""
    lines = text.strip().split("\n")
    try:
        return bytes.fromhex("".join(lines[2:]))
    except ValueError:
        return b""


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


def _chunks(file: IO[bytes]) -> Iterator[tuple[bytes, bytes, bool]]:
    """(name, content, whether the checksum is right)."""
    name = b""
    while name != b"IEND":
        head = file.read(8)
        if len(head) < 8:
            return
        size, name = struct.unpack(">I4s", head)
        if name in (b"IDAT", b"fdAT"):
            file.seek(size + 4, 1)
            continue
        content = file.read(size + 4)
        if len(content) != size + 4:
            return
        yield name, content[:-4], _checksum(name, content[:-4]) == content[-4:]


def _checksum(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(content, zlib.crc32(name)))


def _write(file: IO[bytes], name: bytes, content: bytes) -> None:
    file.write(struct.pack(">I", len(content)) + name)
    file.write(content)
    file.write(_checksum(name, content))


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
    if metadata.color is not None and not metadata.png_color:
        yield from _color_chunks(metadata.color)
    if metadata.dpi is not None:
        across, down = (round(value / _INCH) for value in metadata.dpi)
        yield b"pHYs", struct.pack(">IIB", across, down, 1)
    if metadata.exif:
        yield b"eXIf", metadata.exif
    if metadata.xmp:
        xmp = metadata.xmp
        if metadata.xmp_extension:
            xmp = packets.merged(xmp, metadata.xmp_extension)
        yield b"iTXt", _XMP_KEYWORD + b"\x00\x00\x00\x00\x00" + xmp
    if metadata.photoshop:
        yield b"zTXt", _raw_profile_chunk("iptc", metadata.photoshop)
    for keyword, text in metadata.texts:
        yield _text_chunk(keyword, text)
    for comment in metadata.comments:
        yield _text_chunk("Comment", _decoded(comment))


def _color_chunks(color: ColorCode) -> Iterator[tuple[bytes, bytes]]:
    """Chunks that say what the samples mean."""
    if color.is_coded:
        yield b"cICP", bytes([color.primaries_code, color.transfer, 0, 1])
    numbers = [round(value * 100000) for value in color.primaries]
    yield b"cHRM", struct.pack(">8I", *numbers)
    exponent = {8: 1.0, 4: 2.2, 5: 2.8, 0: color.gamma}.get(color.transfer, 0.0)
    if exponent:
        yield b"gAMA", struct.pack(">I", round(100000 / exponent))


def _raw_profile_chunk(kind: str, content: bytes) -> bytes:
    """The content of a text chunk that holds bytes as hexadecimal digits."""
    digits = content.hex()
    lines = "\n".join(digits[start : start + 72] for start in range(0, len(digits), 72))
    text = f"\n{kind}\n{len(content):8d}\n{lines}\n".encode()
    return f"{_RAW_PROFILE}{kind}".encode() + b"\x00\x00" + zlib.compress(text)


def _text_chunk(keyword: str, text: str) -> tuple[bytes, bytes]:
    """A text chunk: plain where Latin-1 that is ASCII does, else UTF-8."""
    name = keyword.encode("latin-1", "replace")[:79] or b"Comment"
    if text.isascii() and "\x00" not in text:
        return _PLAIN, name + b"\x00" + text.encode()
    return _INTERNATIONAL, name + b"\x00\x00\x00\x00\x00" + text.encode("utf-8", "replace")


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
