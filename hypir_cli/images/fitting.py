"""Metadata as an output format can carry it: moved to where the format has a place, else left out with a note."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

from hypir_cli.images import exif as exif_block
from hypir_cli.images import ifd
from hypir_cli.images import xmp as packets
from hypir_cli.images.colorcode import profile_of
from hypir_cli.images.data import Metadata, Pixels
from hypir_cli.images.formats import ImageFormat
from hypir_cli.images.tiff_writing import can_take_over

_HOLDS_EXIF = ("png", "jpg", "webp", "tiff", "avif")
_TELLS_COLOR = ("png", "avif")
"""Formats that say without a profile what the samples mean."""
_HAS_COMMENTS = ("png", "jpg")
_HAS_DPI = ("png", "jpg", "tiff")
_HAS_IPTC = ("png", "jpg", "tiff")
_TEXT_TAGS = {
    "author": 315,
    "artist": 315,
    "copyright": 33432,
    "description": 270,
    "title": 269,
    "software": 305,
    "creation time": 306,
}
"""Keyword of a PNG's text -> tag of Exif that says the same."""
_DESCRIPTION, _DPI_TAGS, _UNIT_TAG = 270, (282, 283), 296


def fitted(
    metadata: Metadata, pixels: Pixels, image_format: ImageFormat, *, keep: bool
) -> tuple[Metadata, list[str]]:
    """Metadata as the format can carry it, true of the pixels, and notes on what was left out.

    Args:
        metadata: From the input.
        pixels: What is written, (H, W, C).
        image_format: What it is written as.
        keep: False leaves everything out that is not part of the picture's colours.
    """
    metadata, notes = _with_color(metadata, image_format, grey=pixels.shape[2] == 1)
    if not keep:
        return Metadata(icc=metadata.icc, color=metadata.color, png_color=metadata.png_color), []
    metadata, more = _true_of(metadata, height=pixels.shape[0], width=pixels.shape[1])
    notes += more
    if image_format not in _HOLDS_EXIF:
        return _bare(metadata, image_format, notes)
    if image_format != "jpg" and metadata.xmp_extension:
        merged = packets.merged(metadata.xmp, metadata.xmp_extension)
        metadata = replace(metadata, xmp=merged, xmp_extension=b"")
    if image_format not in _HAS_DPI:
        metadata = _resolution_in_exif(metadata)
    if image_format not in _HAS_COMMENTS:
        metadata, more = _texts_in_exif(metadata, image_format)
        notes += more
    if image_format not in _HAS_IPTC and metadata.photoshop:
        notes.append(f"its IPTC data was left out, for {image_format.upper()} has no place for it")
    return metadata, notes


def _with_color(
    metadata: Metadata, image_format: ImageFormat, *, grey: bool
) -> tuple[Metadata, list[str]]:
    """A profile in place of numbers where the format tells colour by a profile alone."""
    color = metadata.color
    if color is None or metadata.icc:
        return metadata, []
    if image_format == "png" or (image_format == "avif" and color.is_coded):
        return metadata, []
    profile = profile_of(color, grey=grey)
    if image_format not in (*_TELLS_COLOR, "jpg", "webp", "tiff"):
        text = f"what its colours mean was lost, for {image_format.upper()} cannot tell it"
        return replace(metadata, color=None), [text]
    return replace(metadata, icc=profile, color=None), []


def _true_of(metadata: Metadata, *, height: int, width: int) -> tuple[Metadata, list[str]]:
    """Metadata with the sizes it states brought up to date; an Exif block that cannot be read is left out."""
    notes = []
    xmp = packets.with_size(metadata.xmp, width=width, height=height)
    exif = metadata.exif
    if exif and not can_take_over(exif):
        notes.append("the Exif data is damaged and was left out")
        exif = b""
    if exif:
        try:
            exif = exif_block.with_size(exif, width=width, height=height)
        except ValueError:
            notes.append("the part of its Exif data that states a size is damaged")
    return replace(metadata, exif=exif, xmp=xmp), notes


def _bare(
    metadata: Metadata, image_format: ImageFormat, notes: list[str]
) -> tuple[Metadata, list[str]]:
    """Nothing, and a note where there was something."""
    if metadata != Metadata():
        notes.append(f"its metadata was left out, for {image_format.upper()} has no place for it")
    return Metadata(), notes


def _resolution_in_exif(metadata: Metadata) -> Metadata:
    """The resolution as Exif tags, unless they are there."""
    if metadata.dpi is None:
        return metadata
    factor, unit = (2.54, 3) if metadata.dpi_unit == "cm" else (1.0, 2)
    tags: dict[int, tuple[int, bytes]] = {
        tag: (ifd.RATIONAL, struct.pack("<II", round(1000 * value / factor), 1000))
        for tag, value in zip(_DPI_TAGS, metadata.dpi, strict=True)
    }
    tags[_UNIT_TAG] = (ifd.SHORT, struct.pack("<H", unit))
    return replace(metadata, exif=exif_block.with_entries(metadata.exif, tags))


def _texts_in_exif(metadata: Metadata, image_format: ImageFormat) -> tuple[Metadata, list[str]]:
    """Comments and a PNG's texts as Exif tags; a note on those whose tag holds something else already."""
    tags: dict[int, tuple[int, bytes]] = {}
    lost: list[str] = []
    there = _tags_of(metadata.exif)
    for keyword, tag, text in _texts(metadata):
        if tag in there or tag in tags:
            lost.append(keyword)
        else:
            tags[tag] = (ifd.ASCII, text + b"\0")
    if tags:
        exif = exif_block.with_entries(metadata.exif, tags)
        metadata = replace(metadata, exif=exif, comments=(), texts=())
    if not lost:
        return metadata, []
    names = ", ".join(dict.fromkeys(lost))
    return metadata, [
        f"its texts ({names}) were left out, for {image_format.upper()} has no place for them"
    ]


def _texts(metadata: Metadata) -> Iterator[tuple[str, int, bytes]]:
    """(keyword, Exif tag, text) of each text; those without a tag of their own are joined as the description."""
    others = []
    for keyword, text in metadata.texts:
        tag = _TEXT_TAGS.get(keyword.lower())
        if tag is None or not text:
            others.append(f"{keyword}: {text}".encode("utf-8", "replace"))
        else:
            yield keyword, tag, text.encode("utf-8", "replace")
    others += [comment for comment in metadata.comments if comment]
    if others:
        yield "Comment", _DESCRIPTION, b"\n".join(others)


def _tags_of(exif: bytes) -> frozenset[int]:
    """Tags of a block's first directory."""
    return exif_block.first_tags(exif) if exif else frozenset()
