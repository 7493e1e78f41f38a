"""Cameras' raw files through LibRaw, and OpenEXR: developed to sRGB with 16 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageCms

from hypir_cli.config.extras import needing
from hypir_cli.errors import InputError
from hypir_cli.images.colorcode import (
    Chromaticities,
    srgb_curve,
    to_srgb_light,
)
from hypir_cli.images.data import ImageData, Metadata, quantize
from hypir_cli.images.ifd import read_header
from hypir_cli.images.tiff import read_metadata
from hypir_cli.images.upright import finished


def read_raw(path: Path) -> ImageData:
    """A camera's raw file with the camera's white balance, in sRGB with 16 bits and a profile that says so.

    Raises:
        InputError: The decoder is not installed, or does not know the camera.
    """
    rawpy = _rawpy()
    try:
        with rawpy.imread(str(path)) as raw:
            pixels = raw.postprocess(
                use_camera_wb=True, output_bps=16, output_color=rawpy.ColorSpace.sRGB
            )
    except rawpy.LibRawError as error:
        raise InputError(
            f"LibRaw cannot develop it ({_text(error)}).",
            hint="develop it in a raw developer and save a 16-bit TIFF",
        ) from error
    notes = ["it was developed with the camera's white balance"]
    metadata = Metadata()
    try:
        with open(path, "rb") as file:
            metadata, _ = read_metadata(file, read_header(file).first)
    except ValueError:
        notes.append("its Exif data could not be read and was left out")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = Metadata(
        exif=metadata.exif, xmp=metadata.xmp, photoshop=metadata.photoshop, icc=profile
    )
    return finished(np.ascontiguousarray(pixels), None, plain, name="RAW", notes=notes, turned=True)


def raw_size(path: Path) -> tuple[int, int]:
    """(height, width) of the developed picture.

    Raises:
        InputError: The decoder is not installed, or does not know the camera.
    """
    rawpy = _rawpy()
    try:
        with rawpy.imread(str(path)) as raw:
            return raw.sizes.height, raw.sizes.width
    except rawpy.LibRawError as error:
        raise InputError(f"LibRaw cannot read it ({_text(error)}).") from error


def read_exr(path: Path, *, float_range: tuple[float, float] | None) -> ImageData:
    """An OpenEXR's linear light as sRGB with 16 bits; light brighter than white is clipped, or the range told is used.

    Raises:
        InputError: The decoder is not installed, or there is no colour in the file.
    """
    with _openexr().File(str(path)) as file:
        header, channels = file.header(), file.channels()
        planes, alpha = _planes(channels)
    if not np.isfinite(planes).all():
        raise InputError(
            "some of its samples are NaN or infinite.",
            hint="replace them in the program that made the file, and save it again",
        )
    black, white = float_range or (0.0, 1.0)
    notes = ["its linear light was brought to sRGB"]
    low, high = float(planes.min()), float(planes.max())
    if low < black or high > white:
        notes.append(
            f"light from {low:.6g} to {high:.6g} was clipped to {black:g}..{white:g}"
            + (" (--float-range tells another scale)" if float_range is None else "")
        )
    light = (planes - black) / (white - black)
    primaries = _chromaticities(header.get("chromaticities"))
    if primaries is not None and light.shape[2] == 3:
        light = to_srgb_light(light, primaries)
    pixels = quantize(srgb_curve(np.clip(light, 0.0, 1.0)), 16)
    opacity = None if alpha is None else quantize(alpha, 16)
    return finished(pixels, opacity, Metadata(), name="EXR", notes=notes)


def exr_size(path: Path) -> tuple[int, int]:
    """(height, width) of an OpenEXR.

    Raises:
        InputError: The decoder is not installed.
    """
    with _openexr().File(str(path), header_only=True) as file:
        (left, top), (right, bottom) = file.header()["dataWindow"]
    return int(bottom - top + 1), int(right - left + 1)


def _rawpy() -> Any:
    with needing("cameras' raw files need", extra="raw", error=InputError):
        import rawpy
    return rawpy


def _openexr() -> Any:
    with needing("OpenEXR files need", extra="exr", error=InputError):
        import OpenEXR
    return OpenEXR


def _planes(channels: dict[str, Any]) -> tuple[Any, Any]:
    """(H, W, 1 or 3) float32 and alpha (H, W) or None of the first layer with colour."""
    for name, channel in channels.items():
        samples = np.asarray(channel.pixels, dtype=np.float32)
        if samples.ndim == 3 and name.endswith(("RGB", "RGBA")):
            alpha = samples[..., 3] if samples.shape[2] == 4 else None
            return samples[..., :3], alpha
    for name in ("Y", "R", "G", "B"):
        if name in channels:
            alpha = channels["A"].pixels if "A" in channels else None
            return np.asarray(channels[name].pixels, dtype=np.float32)[..., None], alpha
    raise InputError(
        f"it has no colour, only the channels {', '.join(channels)}.",
        hint="save its picture with the channels R, G and B",
    )


def _chromaticities(told: Any) -> Chromaticities | None:
    """White, red, green, blue as told by the header; None for sRGB's."""
    if told is None:
        return None
    rx, ry, gx, gy, bx, by, wx, wy = (float(value) for value in told)
    return wx, wy, rx, ry, gx, gy, bx, by


def _text(error: Exception) -> str:
    first = error.args[0] if error.args else error
    return first.decode() if isinstance(first, bytes) else str(first)
