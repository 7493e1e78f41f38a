"""AVIF, HEIC, JPEG XL, JPEG 2000 and deep PNM: what Pillow cuts down to 8 bits or does not read, through other decoders."""

from __future__ import annotations

import io
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin

from hypir_cli.errors import InputError
from hypir_cli.images import boxes
from hypir_cli.images.colorcode import from_codes
from hypir_cli.images.data import ImageData, Metadata, Pixels
from hypir_cli.images.decoding import decode, metadata_of_pillow
from hypir_cli.images.jxl import JxlColor, jxl_color
from hypir_cli.images.tiff import from_floats
from hypir_cli.images.upright import finished

_EXIF_UUID = b"JpgTiffExif->JP2"
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_SIZ = b"\xff\x4f\xff\x51"


def read_avif(path: Path) -> ImageData:
    """An AVIF with its own depth and colour codes."""
    data = path.read_bytes()
    with AvifImagePlugin.AvifImageFile(io.BytesIO(data)) as image:
        metadata, notes = metadata_of_pillow(image), _gain_map_note(data)
        codes = boxes.color_codes(data)
        if codes is not None and not metadata.icc:
            metadata = replace(metadata, color=from_codes(*codes))
        depth = boxes.bit_depth(data)
        if depth == 8:
            return decode(image, "AVIF", metadata, notes=notes)
        if getattr(image, "is_animated", False):
            notes.append("only the first picture of the animation is used")
    samples = (
        imagecodecs.avif_decode(data, index=0) if len(notes) else imagecodecs.avif_decode(data)
    )
    pixels, alpha = split_planes(widened(samples, depth))
    return finished(pixels, alpha, metadata, name="AVIF", notes=notes)


def read_heif(path: Path) -> ImageData:
    """A HEIC or another HEIF, turned upright by its decoder.

    Raises:
        InputError: The decoder is not installed.
    """
    file = open_heif(path)
    image = file[file.primary_index]
    info = image.info
    notes = _gain_map_note(path.read_bytes())
    if len(file) > 1:
        notes.append("only the main picture of the file is used")
    if info.get("depth_images"):
        notes.append("the depth map was left out")
    _, _, bits = image.mode.partition(";")
    samples = widened(np.asarray(image), int(bits or 8))
    pixels, alpha = split_planes(samples)
    nclx = info.get("nclx_profile") or {}
    icc = info.get("icc_profile") or b""
    color = None
    if nclx and not icc:
        color = from_codes(int(nclx["color_primaries"]), int(nclx["transfer_characteristics"]))
    metadata = Metadata(
        exif=info.get("exif") or b"", xmp=info.get("xmp") or b"", icc=icc, color=color
    )
    return finished(pixels, alpha, metadata, name="HEIF", notes=notes, turned=True)


def open_heif(path: Path) -> Any:
    """A HEIF file with its header read.

    Raises:
        InputError: The decoder is not installed.
    """
    try:
        import pi_heif
    except ImportError as error:
        raise InputError(
            "HEIC files need the package pi-heif.", hint="pip install pi-heif"
        ) from error
    return pi_heif.open_heif(path, convert_hdr_to_8bit=False, hdr_to_16bit=False)


def read_jxl(path: Path, *, float_range: tuple[float, float] | None) -> ImageData:
    """A JPEG XL, turned upright by its decoder."""
    data = path.read_bytes()
    samples = imagecodecs.jpegxl_decode(data)
    notes: list[str] = []
    if samples.ndim == 4:
        samples = samples[0]
        notes.append("only the first picture of the animation is used")
    if samples.ndim == 2:
        samples = samples[:, :, None]
    if samples.dtype.kind == "f":
        samples, more = from_floats(samples, float_range=float_range)
        notes += more
    pixels, alpha = split_planes(np.ascontiguousarray(samples))
    try:
        color = jxl_color(data)
    except ValueError:  # the decoder took it all the same
        color = JxlColor(unknown=True)
    if color.profile_lost:
        notes.append("its colour profile was left out, and its colours were taken as sRGB")
    elif color.unknown:
        notes.append("its colours were taken as sRGB")
    metadata = replace(_jxl_metadata(data), color=color.code)
    return finished(pixels, alpha, metadata, name="JXL", notes=notes, turned=True)


def read_jpeg2000(path: Path) -> ImageData | None:
    """A JPEG 2000 of more than 8 bits; None for one that Pillow reads whole."""
    data = path.read_bytes()
    depth = jpeg2000_depth(data)
    if depth <= 8:
        return None
    samples = imagecodecs.jpeg2k_decode(data)
    if samples.ndim == 2:
        samples = samples[:, :, None]
    pixels, alpha = split_planes(widened(samples, min(depth, 16)))
    return finished(pixels, alpha, jpeg2000_metadata(data), name="JPEG2000", notes=[])


def jpeg2000_depth(data: bytes) -> int:
    """Bits per sample as the codestream's header says; 8 where there is none."""
    start = data.find(_SIZ)
    return (data[start + 42] & 0x7F) + 1 if 0 <= start < len(data) - 43 else 8


def jpeg2000_metadata(data: bytes) -> Metadata:
    """What the boxes of a JP2 say beside the pixels."""
    exif, xmp, icc = b"", b"", b""
    for box in boxes.walk(data):
        content = data[box.content : box.end]
        if box.kind == b"uuid" and content[:16] == _EXIF_UUID:
            exif = content[16:]
        elif box.kind == b"uuid" and content[:16] == _XMP_UUID:
            xmp = content[16:]
        elif box.kind == b"colr" and content[:1] == b"\x02":
            icc = content[3:]
    return Metadata(exif=exif, xmp=xmp, icc=icc)


def read_deep_pnm(path: Path) -> ImageData | None:
    """A binary PPM or PGM of more than 8 bits; None for another one."""
    with open(path, "rb") as file:
        head = file.read(4096)
        pattern = rb"P([56])" + rb"(?:\s+|#[^\n]*\n)+(\d+)" * 3 + rb"(?:#[^\n]*\n)*\s"
        match = re.match(pattern, head)
        if match is None or int(match[4]) < 256:
            return None
        kind, width, height, most = (int(match[index]) for index in range(1, 5))
        channels = 3 if kind == 6 else 1
        file.seek(match.end())
        data = file.read(2 * width * height * channels)
    if len(data) < 2 * width * height * channels:
        raise InputError(
            "it is cut short: the last rows are missing.", hint="copy it again from its source"
        )
    samples = np.frombuffer(data, dtype=">u2").reshape(height, width, channels)
    pixels = (samples.astype(np.uint64) * 65535 // most).clip(0, 65535).astype(np.uint16)
    return finished(pixels, None, Metadata(), name="PPM", notes=[])


def widened(samples: NDArray[Any], bits: int) -> NDArray[Any]:
    """Integer samples of 9 to 15 bits over the full 16; others as they are."""
    if samples.dtype == np.uint8 or bits in (8, 16):
        return samples
    full = 2**bits - 1
    wide = samples.astype(np.uint32) * 65535 + full // 2
    result: NDArray[Any] = (wide // full).clip(0, 65535).astype(np.uint16)
    return result


def split_planes(samples: NDArray[Any]) -> tuple[Pixels, Pixels | None]:
    """(H, W, 1..4) samples as pixels and alpha."""
    if samples.ndim == 2:
        samples = samples[:, :, None]
    count = samples.shape[2]
    channels = count - 1 if count in (2, 4) else count
    alpha = np.ascontiguousarray(samples[..., channels]) if count > channels else None
    return np.ascontiguousarray(samples[..., :channels]), alpha


def _gain_map_note(data: bytes) -> list[str]:
    return ["its gain map for bright screens was left out"] if boxes.has_gain_map(data) else []


def _jxl_metadata(data: bytes) -> Metadata:
    """Exif and XMP of a JPEG XL in a container, compressed or not."""
    exif, xmp = b"", b""
    for box in boxes.boxes(data) if data[4:8] == b"JXL " else ():
        kind, content = box.kind, data[box.content : box.end]
        if kind == b"brob":
            kind, content = content[:4], bytes(imagecodecs.brotli_decode(content[4:]))
        if kind == b"Exif" and len(content) > 4:
            exif = content[4 + struct.unpack_from(">I", content)[0] :]
        elif kind == b"xml ":
            xmp = content
    return Metadata(exif=exif, xmp=xmp)
