"""The last step of reading: pixels turned upright, and metadata that fits them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from hypir_cli.errors import InputError
from hypir_cli.images import exif as exif_block
from hypir_cli.images import xmp as packets
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
    pixels: Pixels,
    alpha: Pixels | None,
    metadata: Metadata,
    *,
    name: str,
    notes: Sequence[str],
    turned: bool = False,
) -> ImageData:
    """The image turned upright, with metadata that fits its pixels.

    Args:
        pixels: (H, W, C) as stored.
        alpha: (H, W) as stored.
        metadata: As stored.
        name: Format of the file.
        notes: What was said so far.
        turned: Whether the decoder has turned the pixels already.

    Raises:
        InputError: There are no pixels, or they are not rows and columns of 1 or 3 channels.
    """
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        raise InputError(
            f"its samples have the shape {'x'.join(map(str, pixels.shape))}, which is no picture's.",
            hint="open it in another program and save it anew",
        )
    said = list(notes)
    metadata, orientation = _upright(metadata, said)
    turn = None if turned else _TURNS.get(orientation)
    if turn is not None:
        pixels = np.ascontiguousarray(turn(pixels))
        alpha = None if alpha is None else np.ascontiguousarray(turn(alpha))
    icc = metadata.icc
    if icc and icc[16:20] != (b"GRAY" if pixels.shape[2] == 1 else b"RGB "):
        said.append("its colour profile does not fit its channels and was left out")
        metadata = replace(metadata, icc=b"")
    return ImageData(pixels=pixels, alpha=alpha, metadata=metadata, format=name, notes=tuple(said))


def _upright(metadata: Metadata, notes: list[str]) -> tuple[Metadata, int]:
    """Metadata of the picture turned upright, without what describes other parts of its file, and how it was turned.

    Exif counts before XMP; a damaged Exif block is left out with a note.
    """
    exif, orientation = exif_block.without_prefix(metadata.exif), 0
    if exif:
        try:
            orientation = exif_block.orientation(exif) if exif_block.has_orientation(exif) else 0
            if exif_block.has_thumbnail(exif):
                notes.append("its thumbnail was left out, for it shows the old picture")
            exif = exif_block.upright(exif)
        except ValueError as error:
            notes.append(f"its Exif data is damaged and was left out ({error})")
            exif, orientation = b"", 0
    xmp, stale = packets.without_stale(metadata.xmp)
    extension, more = packets.without_stale(metadata.xmp_extension)
    for what in dict.fromkeys([*stale, *more]):
        notes.append(f"{what} was left out, for it is not part of the result")
    orientation = orientation or packets.orientation(xmp)
    xmp, extension = packets.upright(xmp), packets.upright(extension)
    if extension != metadata.xmp_extension:
        xmp = packets.renamed_extension(xmp, extension)
    return replace(metadata, exif=exif, xmp=xmp, xmp_extension=extension), orientation
