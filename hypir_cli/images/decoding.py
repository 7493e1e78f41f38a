"""Pixels of an image that Pillow has opened: every mode it knows to grey or RGB, alpha apart."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageCms, ImageFile

from hypir_cli.errors import InputError
from hypir_cli.images.data import ImageData, Metadata, Pixels
from hypir_cli.images.tiff import from_floats
from hypir_cli.images.upright import finished

_PLAIN_MODES = {"1": "L", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
"""Pillow's mode -> the mode to convert it to; those not listed become RGB."""
_BAND_BYTES = 2**20


def decode(
    image: ImageFile.ImageFile,
    name: str,
    metadata: Metadata,
    *,
    notes: Sequence[str] = (),
    turned: bool = False,
    float_range: tuple[float, float] | None = None,
) -> ImageData:
    """Pixels of an opened image by way of Pillow.

    Args:
        image: Not loaded yet.
        name: Format of the file.
        metadata: What it says, as stored.
        notes: What was said so far.
        turned: Whether Pillow turns the pixels upright itself, as it does with TIFF.
        float_range: What is black and white of float samples; None is 0 and 1.
    """
    said = list(notes)
    if (
        getattr(image, "is_animated", False) and image.format != "TIFF"
    ):  # its pages are no animation
        said.append("only the first picture of the animation is used")
    image.load()
    if image.mode in ("CMYK", "LAB"):
        plain, more = to_srgb(image, metadata.icc)
        metadata = replace(metadata, icc=b"")
        said += more
    else:
        plain = _plain(image)
    if plain.mode == "F" or plain.mode.startswith("I"):
        pixels, alpha, more = _deep_planes(plain, float_range)
        said += more
    else:
        pixels, alpha = _planes(plain)
    return finished(pixels, alpha, metadata, name=name, notes=said, turned=turned)


def metadata_of_pillow(image: ImageFile.ImageFile) -> Metadata:
    """What Pillow found beside the pixels of a format whose files it takes apart itself."""
    xmp = image.info.get("xmp", b"")
    dpi = image.info.get("dpi")
    if dpi is not None and not all(1 < float(value) < 1e6 for value in dpi):
        dpi = None
    comment = image.info.get("comment", b"")
    comment = comment.encode() if isinstance(comment, str) else comment
    return Metadata(
        exif=image.info.get("exif", b""),
        xmp=xmp if isinstance(xmp, bytes) else b"",
        icc=image.info.get("icc_profile") or b"",
        dpi=None if dpi is None else (float(dpi[0]), float(dpi[1])),
        comments=(comment,) if comment else (),
    )


def _plain(image: Image.Image) -> Image.Image:
    """The image in a mode of grey or RGB with or without alpha."""
    if "transparency" in image.info and image.mode in ("1", "L", "P", "RGB"):
        return image.convert("LA" if image.mode in ("1", "L") else "RGBA")
    if image.mode in ("L", "LA", "RGB", "RGBA", "F") or image.mode.startswith("I"):
        return image
    return image.convert(_PLAIN_MODES.get(image.mode, "RGB"))


def to_srgb(image: Image.Image, icc: bytes) -> tuple[Image.Image, list[str]]:
    """CMYK or LAB as sRGB, and notes: through the profile where there is one that the colour engine can use."""
    notes = [f"{image.mode} was converted to sRGB"]
    if image.mode == "CMYK" and icc:
        try:
            return _converted(image, ImageCms.ImageCmsProfile(io.BytesIO(icc))), notes
        except (ImageCms.PyCMSError, OSError, ValueError):
            notes.append("its colour profile cannot be used, so it was converted without")
    if image.mode == "LAB":
        source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        return _converted(image, source), notes
    return image.convert("RGB"), notes


def _converted(image: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image,
        source,
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert converted is not None  # profileToProfile returns None only when working in place
    return converted


def _planes(image: Image.Image) -> tuple[Pixels, Pixels | None]:
    """8-bit pixels and alpha of an L, LA, RGB or RGBA image, copied in bands: Pillow's own copy would double memory."""
    bands = len(image.getbands())
    channels = bands - 1 if bands in (2, 4) else bands
    pixels = np.empty((image.height, image.width, channels), dtype=np.uint8)
    alpha = np.empty((image.height, image.width), dtype=np.uint8) if bands > channels else None
    step = max(_BAND_BYTES // (4 * image.width), 1)
    for start in range(0, image.height, step):
        stop = min(start + step, image.height)
        band = np.asarray(image.crop((0, start, image.width, stop)))
        band = band.reshape(stop - start, image.width, bands)
        pixels[start:stop] = band[..., :channels]
        if alpha is not None:
            alpha[start:stop] = band[..., channels]
    return pixels, alpha


def _deep_planes(
    image: Image.Image, float_range: tuple[float, float] | None
) -> tuple[Pixels, None, list[str]]:
    """16-bit pixels of one of Pillow's grey modes with more than 8 bits."""
    samples = np.asarray(image)[:, :, None]
    if samples.dtype.kind == "f":
        pixels, notes = from_floats(samples, float_range=float_range)
        return pixels, None, notes
    if samples.min() < 0 or samples.max() > 65535:
        raise InputError(
            f"its samples reach from {samples.min()} to {samples.max()}, expected 0 to 65535.",
            hint="save it with 8 or 16 bits per sample",
        )
    return samples.astype(np.uint16), None, []
