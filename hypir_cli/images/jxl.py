"""The head of a JPEG XL codestream: its size and what it says of its colours, which the decoder does not tell.

Source: ISO/IEC 18181-1:2024, annexes B (bits) and D (SizeHeader, ImageMetadata), clause E.2 (ColourEncoding).
"""

from __future__ import annotations

from dataclasses import dataclass

from hypir_cli.images import boxes
from hypir_cli.images.colorcode import ColorCode, from_codes, from_numbers

_START = b"\xff\x0a"
_HEAD_BYTES = 4096
"""More than any head without names of channels takes."""
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_SIDES = (9, 13, 18, 30)
_Choice = int | tuple[int, int]
"""A number, or (offset, count of bits that are added to it)."""
_ENUM: tuple[_Choice, ...] = (0, 1, (2, 4), (18, 6))
_RGB, _GREY = 0, 1
_CUSTOM = 2
_D65, _DCI_WHITE = 1, 11
_P3 = 11
_PRIMARIES = {1: 1, 9: 9, (_P3, _D65): 12, (_P3, _DCI_WHITE): 11}
"""Primaries, of P3 with their white point -> code of H.273."""


@dataclass(frozen=True, kw_only=True)
class JxlColor:
    """What a JPEG XL says of its colours."""

    code: ColorCode | None = None
    """What the decoded samples mean; None for sRGB."""
    profile_lost: bool = False
    """Whether an ICC profile says it, which cannot be had."""
    unknown: bool = False
    """Whether numbers say it that are not understood."""


def jxl_size(data: bytes) -> tuple[int, int]:
    """(height, width) of a JPEG XL as its codestream's header says, not turned.

    Raises:
        ValueError: The header is damaged.
    """
    return _size(_Bits(_codestream(data)))


def jxl_color(data: bytes) -> JxlColor:
    """What the codestream's header says of the decoded samples' colours.

    Raises:
        ValueError: The header is damaged.
    """
    bits = _Bits(_codestream(data))
    _size(bits)
    if bits.flag():  # everything is as most files have it
        return JxlColor()
    if bits.flag():
        _skip_extra_fields(bits)
    _skip_depth(bits)
    bits.take(1)
    for _ in range(bits.choice(0, 1, (2, 4), (1, 12))):
        _skip_channel(bits)
    is_xyb = bits.flag()
    if bits.flag():
        return JxlColor()
    return _encoding(bits, is_xyb=is_xyb)


class _Bits:
    """Bits of a codestream, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data, "little")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        """The next bits as a number."""
        if count > self._left:
            raise ValueError("its header is damaged")
        value = self._bits & ((1 << count) - 1)
        self._bits >>= count
        self._left -= count
        return value

    def flag(self) -> bool:
        """The next bit."""
        return self.take(1) == 1

    def choice(self, *choices: _Choice) -> int:
        """One of four numbers or ranges, which two bits choose."""
        chosen = choices[self.take(2)]
        return chosen if isinstance(chosen, int) else chosen[0] + self.take(chosen[1])


def _codestream(data: bytes) -> bytes:
    """The start of the codestream, behind its mark."""
    start = 0
    for box in boxes.boxes(data) if data[4:8] == b"JXL " else ():
        if box.kind in (b"jxlc", b"jxlp"):
            start = box.content + (4 if box.kind == b"jxlp" else 0)
            break
    if data[start : start + 2] != _START:
        start = data.find(_START)
    if start < 0 or len(data) < start + 6:
        raise ValueError("its header is damaged")
    return data[start + 2 : start + 2 + _HEAD_BYTES]


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.flag()

    def side() -> int:
        return 8 * (bits.take(5) + 1) if small else bits.take(_SIDES[bits.take(2)]) + 1

    height = side()
    ratio = bits.take(3)
    if ratio == 0:
        return height, side()
    above, below = _RATIOS[ratio - 1]
    return height, height * above // below


def _skip_extra_fields(bits: _Bits) -> None:
    """Orientation, intrinsic size, preview and animation."""
    bits.take(3)
    if bits.flag():
        _size(bits)
    if bits.flag():
        _skip_preview(bits)
    if bits.flag():
        bits.choice(100, 1000, (1, 10), (1, 30))
        bits.choice(1, 1001, (1, 8), (1, 10))
        bits.choice(0, (0, 3), (0, 16), (0, 32))
        bits.take(1)


def _skip_preview(bits: _Bits) -> None:
    in_eights = bits.flag()

    def side() -> int:
        if in_eights:
            return bits.choice(16, 32, (1, 5), (33, 9))
        return bits.choice((1, 6), (65, 8), (321, 10), (1345, 12))

    side()
    if bits.take(3) == 0:
        side()


def _skip_depth(bits: _Bits) -> None:
    if bits.flag():
        bits.choice(32, 16, 24, (1, 6))
        bits.take(4)
    else:
        bits.choice(8, 10, 12, (1, 6))


def _skip_channel(bits: _Bits) -> None:
    """Alpha, depth and whatever else a picture has beside its colours."""
    if bits.flag():
        return
    kind = bits.choice(*_ENUM)
    _skip_depth(bits)
    bits.choice(0, 3, 4, (1, 3))
    for _ in range(bits.choice(0, (0, 4), (16, 5), (48, 10))):
        bits.take(8)
    if kind == 0:
        bits.take(1)
    elif kind == 2:
        bits.take(4 * 16)
    elif kind == 5:
        bits.choice(1, (0, 2), (3, 4), (19, 8))


def _encoding(bits: _Bits, *, is_xyb: bool) -> JxlColor:
    """What is told where it is not sRGB."""
    has_profile = bits.flag()
    space = bits.choice(*_ENUM)
    if has_profile:
        # Lossy pictures are stored as what the eye sees, and come out of the decoder as sRGB.
        return JxlColor() if is_xyb else JxlColor(profile_lost=True)
    if space not in (_RGB, _GREY):
        return JxlColor(unknown=True)
    white = _skip_places(bits, 1)
    primaries = _skip_places(bits, 3) if space == _RGB else 1
    gamma = bits.take(24) / 1e7 if bits.flag() else None
    if gamma is not None:
        return JxlColor(code=from_numbers(1 / gamma if gamma else 1.0, None))
    code = _PRIMARIES.get(primaries) or _PRIMARIES.get((primaries, white))
    if code is None or (white != _D65 and primaries != _P3):
        return JxlColor(unknown=True)
    return JxlColor(code=from_codes(code, bits.choice(*_ENUM)))


def _skip_places(bits: _Bits, count: int) -> int:
    """The number of a white point or of primaries, past the places of one that has none."""
    kind = bits.choice(*_ENUM)
    if kind == _CUSTOM:
        for _ in range(2 * count):
            bits.choice((0, 19), (524288, 19), (1048576, 20), (2097152, 21))
    return kind
