"""The last step of reading: pixels turned upright, and metadata that fits them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hypir_cli.errors import InputError
from hypir_cli.images import exif as exif_block
from hypir_cli.images.data import ImageData, Metadata, Pixels

_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}
"""Exif orientation -> what turns the stored pixels upright."""


def finished(
    pixels: Pixels, alpha: Pixels | None, metadata: Metadata, *, name: str, notes: list[str]
) -> ImageData:
    """The image turned upright, with metadata that fits its pixels.

    Raises:
        InputError: There are no pixels, or they are not rows and columns of 1 or 3 channels.
    """
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        raise InputError(
            f"its samples have the shape {'x'.join(map(str, pixels.shape))}, which is no picture's.",
            hint="open it in another program and save it anew",
        )
    exif, orientation = upright_exif(metadata.exif, notes)
    turn = _TURNS.get(orientation)
    if turn is not None:
        pixels = np.ascontiguousarray(turn(pixels))
        alpha = None if alpha is None else np.ascontiguousarray(turn(alpha))
    icc = metadata.icc
    if icc and icc[16:20] != (b"GRAY" if pixels.shape[2] == 1 else b"RGB "):
        notes.append("its colour profile does not fit its channels and was left out")
        icc = b""
    metadata = replace(metadata, exif=exif, icc=icc, xmp=exif_block.upright_xmp(metadata.xmp))
    return ImageData(pixels=pixels, alpha=alpha, metadata=metadata, format=name, notes=tuple(notes))


def upright_exif(exif: bytes, notes: list[str]) -> tuple[bytes, int]:
    """The block with orientation 1, and the orientation it had; a damaged block is left out with a note."""
    if not exif:
        return b"", 1
    try:
        return exif_block.upright(exif), exif_block.orientation(exif)
    except ValueError as error:
        notes.append(f"its Exif data is damaged and was left out ({error})")
        return b"", 1
