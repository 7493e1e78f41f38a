"""Colour told by numbers instead of a profile: H.273 code points, gamma and chromaticities, and the ICC profile they amount to.

Source: ITU-T H.273 (2021), tables 2 and 3; SMPTE ST 2084; ITU-R BT.2100; ICC.1:2022; PNG specification, third edition.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""x and y of white, red, green and blue."""

_D65 = (0.3127, 0.3290)
_PRIMARIES: dict[int, Chromaticities] = {
    1: (*_D65, 0.640, 0.330, 0.300, 0.600, 0.150, 0.060),
    4: (0.310, 0.316, 0.670, 0.330, 0.210, 0.710, 0.140, 0.080),
    5: (*_D65, 0.640, 0.330, 0.290, 0.600, 0.150, 0.060),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    8: (0.310, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
_SRGB_LIKE = (1, 2, 6, 13, 14, 15)
"""Transfer codes that programs show as sRGB's: BT.709 and its relatives, unspecified, sRGB."""
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_CURVE_POINTS = 4096


@dataclass(frozen=True, kw_only=True)
class ColorCode:
    """What the samples of an image mean."""

    primaries: Chromaticities
    """White point and primaries."""
    transfer: int
    """H.273 code of the curve; 0 where `gamma` tells it."""
    gamma: float = 0.0
    """Exponent that turns samples into light, where there is no code."""
    primaries_code: int = 2
    """H.273 code of the primaries; 2 where only their numbers are known."""

    @property
    def is_coded(self) -> bool:
        """Whether code points tell all of it."""
        return self.transfer != 0 and self.primaries_code != 2


def from_codes(primaries: int, transfer: int) -> ColorCode | None:
    """The meaning of two code points; None for sRGB, what is shown like it, and codes without a meaning."""
    if primaries in (1, 2) and transfer in _SRGB_LIKE:
        return None
    numbers = _PRIMARIES.get(1 if primaries == 2 else primaries)
    if numbers is None or _light(transfer, 0.0) is None:
        return None
    return ColorCode(
        primaries=numbers,
        transfer=13 if transfer == 2 else transfer,
        primaries_code=1 if primaries == 2 else primaries,
    )


def from_numbers(gamma: float | None, primaries: Chromaticities | None) -> ColorCode | None:
    """The meaning of an exponent and chromaticities; None where they amount to sRGB."""
    plain = gamma is None or abs(gamma - 2.2) < 0.02
    if plain and (primaries is None or _near(primaries, _PRIMARIES[1])):
        return None
    numbers = primaries or _PRIMARIES[1]
    code = next((code for code, known in _PRIMARIES.items() if _near(numbers, known)), 2)
    if plain:
        return ColorCode(primaries=numbers, transfer=13, primaries_code=code)
    assert gamma is not None
    if abs(gamma - 1.0) < 1e-3:
        return ColorCode(primaries=numbers, transfer=8, primaries_code=code)
    return ColorCode(primaries=numbers, transfer=0, gamma=gamma, primaries_code=code)


def profile_of(code: ColorCode, *, grey: bool) -> bytes:
    """An ICC profile that says the same, of class display, version 4.3."""
    light = _light(code.transfer, code.gamma)
    assert light is not None  # codes without a meaning were refused
    samples = light(np.linspace(0.0, 1.0, _CURVE_POINTS))
    curve = b"curv\0\0\0\0" + struct.pack(">I", _CURVE_POINTS)
    curve += np.round(np.clip(samples, 0, 1) * 65535).astype(">u2").tobytes()
    columns = _adapted(code.primaries)
    tags = {
        b"desc": _text("Colour as told by the file"),
        b"cprt": _text("No copyright, use freely"),
        b"wtpt": _xyz(_D50),
    }
    if grey:
        tags[b"kTRC"] = curve
    else:
        for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns.T, strict=True):
            tags[name] = _xyz(column)
        tags |= {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    if code.is_coded and not grey:
        tags[b"cicp"] = b"cicp\0\0\0\0" + bytes([code.primaries_code, code.transfer, 0, 1])
    return _profile(tags, space=b"GRAY" if grey else b"RGB ")


def to_srgb_light(pixels: NDArray[np.float32], primaries: Chromaticities) -> NDArray[np.float32]:
    """Linear light of some primaries as linear light of sRGB's, (..., 3)."""
    matrix = np.linalg.inv(_matrix(_PRIMARIES[1])) @ _matrix(primaries)
    result: NDArray[np.float32] = pixels @ matrix.T.astype(np.float32)
    return result


def srgb_curve(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear light 0..1 as sRGB samples 0..1 (IEC 61966-2-1)."""
    low, high = 12.92 * light, 1.055 * np.power(np.maximum(light, 0.0031308), 1 / 2.4) - 0.055
    return np.where(light <= 0.0031308, low, high).astype(np.float32)


def _near(first: Chromaticities, second: Chromaticities) -> bool:
    return all(abs(a - b) < 0.002 for a, b in zip(first, second, strict=True))


Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _light(transfer: int, gamma: float) -> Curve | None:
    """The function from samples to light, both 0..1; None for a code without one."""
    known: dict[int, Curve] = {
        0: lambda v: v**gamma,
        4: lambda v: v**2.2,
        5: lambda v: v**2.8,
        8: lambda v: v,
        13: lambda v: np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4),
        16: _pq,
        17: lambda v: v**2.6,
        18: _hlg,
    }
    for code in (1, 2, 6, 7, 11, 12, 14, 15):
        known[code] = lambda v: np.where(v < 0.081, v / 4.5, ((v + 0.099) / 1.099) ** (1 / 0.45))
    known[2] = known[13]
    return known.get(transfer)


def _pq(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of 10000 cd/m2 (SMPTE ST 2084)."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = v ** (1 / m2)
    result: NDArray[np.float64] = (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return result


def _hlg(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scene light of hybrid log-gamma (BT.2100)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(v <= 0.5, v * v / 3, (np.exp((v - c) / a) + b) / 12)


def _matrix(primaries: Chromaticities) -> NDArray[np.float64]:
    """RGB light to XYZ with Y of white = 1."""
    white = _xyz_of(*primaries[:2])
    columns = np.stack([_xyz_of(primaries[i], primaries[i + 1]) for i in (2, 4, 6)], axis=1)
    result: NDArray[np.float64] = columns * np.linalg.solve(columns, white)
    return result


def _adapted(primaries: Chromaticities) -> NDArray[np.float64]:
    """RGB light to XYZ adapted to D50 by Bradford."""
    white = _BRADFORD @ _xyz_of(*primaries[:2])
    scale = np.diag(_BRADFORD @ _D50 / white)
    result: NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ scale @ _BRADFORD @ _matrix(primaries)
    return result


def _xyz_of(x: float, y: float) -> NDArray[np.float64]:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ \0\0\0\0" + np.round(values * 65536).astype(">i4").tobytes()


def _text(text: str) -> bytes:
    content = text.encode("utf-16-be")
    head = struct.pack(">4sIII4sII", b"mluc", 0, 1, 12, b"enUS", len(content), 28)
    return head + content


def _profile(tags: dict[bytes, bytes], *, space: bytes) -> bytes:
    """The file: header, table, and each different content once."""
    place = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    places: dict[bytes, int] = {}
    for name, content in tags.items():
        if content not in places:
            places[content] = place + len(body)
            body += content + b"\0" * (-len(content) % 4)
        table += struct.pack(">4sII", name, places[content], len(content))
    size = place + len(body)
    date = struct.pack(">6H", 2024, 1, 1, 0, 0, 0)
    head = struct.pack(">I4sI4s4s4s", size, b"\0" * 4, 0x04300000, b"mntr", space, b"XYZ ")
    head += date + b"acsp" + b"\0" * 28
    head += np.round(_D50 * 65536).astype(">i4").tobytes()
    return head.ljust(128, b"\0") + table + body
