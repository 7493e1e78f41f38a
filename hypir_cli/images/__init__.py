"""Pixels in and out: image files with their depth, alpha, colour profile and metadata."""

from hypir_cli.images.atomic import atomic_file
from hypir_cli.images.data import ImageData, Metadata, quantize, to_float
from hypir_cli.images.formats import (
    MAX_PIXELS,
    PICTURE_SUFFIXES,
    READABLE_SUFFIXES,
    ImageFormat,
    format_of_suffix,
    is_lossless,
    output_suffix,
)
from hypir_cli.images.reading import Reading, image_size, read_image
from hypir_cli.images.shown import on_white, picture_on_white
from hypir_cli.images.writing import write_image

__all__ = [
    "MAX_PIXELS",
    "PICTURE_SUFFIXES",
    "READABLE_SUFFIXES",
    "ImageData",
    "ImageFormat",
    "Metadata",
    "Reading",
    "atomic_file",
    "format_of_suffix",
    "image_size",
    "is_lossless",
    "on_white",
    "output_suffix",
    "picture_on_white",
    "quantize",
    "read_image",
    "to_float",
    "write_image",
]
