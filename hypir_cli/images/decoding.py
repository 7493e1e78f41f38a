"""Pixels of an image that Pillow has opened: every mode it knows to grey or RGB, alpha apart."""

from __future__ import annotations

import io
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


def decode(image: ImageFile.ImageFile, name: str, metadata: Metadata) -> ImageData:
    """Pixels of an opened image by way of Pillow."""
    notes = []
    if getattr(image, "is_animated", False):
        notes.append("only the first picture of the animation is used")
    image.load()
    plain, profile_used = _plain(image, metadata.icc)
    if profile_used:
        metadata = replace(metadata, icc=b"")
        notes.append(f"{image.mode} was converted to sRGB")
    if plain.mode == "F" or plain.mode.startswith("I"):
        pixels, alpha, more = _deep_planes(plain)
        notes += more
    else:
        pixels, alpha = _planes(plain)
    return finished(pixels, alpha, metadata, name=name, notes=notes)


def _plain(image: Image.Image, icc: bytes) -> tuple[Image.Image, bool]:
    """The image in a mode of grey or RGB with or without alpha, and whether its own colour space was left for sRGB."""
    if image.mode in ("CMYK", "LAB"):
        return _to_srgb(image, icc), True
    if "transparency" in image.info and image.mode in ("1", "L", "P", "RGB"):
        return image.convert("LA" if image.mode in ("1", "L") else "RGBA"), False
    if image.mode in ("L", "LA", "RGB", "RGBA", "F") or image.mode.startswith("I"):
        return image, False
    return image.convert(_PLAIN_MODES.get(image.mode, "RGB")), False


def _to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    """CMYK or LAB as sRGB, through the profile where there is one that fits."""
    target = ImageCms.createProfile("sRGB")
    if image.mode == "LAB":
        source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    elif icc[16:20] == b"CMYK":
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    else:
        return image.convert("RGB")
    converted = ImageCms.profileToProfile(
        image,
        source,
        target,
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


def _deep_planes(image: Image.Image) -> tuple[Pixels, None, list[str]]:
    """16-bit pixels of one of Pillow's grey modes with more than 8 bits."""
    samples = np.asarray(image)[:, :, None]
    if samples.dtype.kind == "f":
        pixels, notes = from_floats(samples)
        return pixels, None, notes
    if samples.min() < 0 or samples.max() > 65535:
        raise InputError(
            f"its samples reach from {samples.min()} to {samples.max()}, expected 0 to 65535.",
            hint="save it with 8 or 16 bits per sample",
        )
    return samples.astype(np.uint16), None, []
