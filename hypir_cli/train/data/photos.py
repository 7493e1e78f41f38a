"""Read a photograph for training: 8-bit RGB, upright, as fast as the file allows."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from hypir_cli.errors import InputError
from hypir_cli.images.reading import DECODE_ERRORS

Photo = NDArray[np.uint8]
Source = TypeVar("Source", bound=Hashable)


def read_photo(source: Path | bytes, *, name: str, short_side: int | None = None) -> Photo:
    """Pixels of an image file.

    The EXIF orientation is applied, 16-bit grey is scaled to 8 bit, and transparency is put on white.

    Args:
        source: File, or its content.
        name: What an error calls it.
        short_side: Shrink to this shorter side in pixels while reading; a smaller image stays as it is.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        InputError: The file is missing, broken, or no image that can be read.
    """
    try:
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as file:
            if short_side is not None:
                file.draft("RGB", (short_side, short_side))  # a JPEG is decoded at a fraction
            upright = ImageOps.exif_transpose(file)
            image = _to_rgb(upright)
    except (*DECODE_ERRORS, MemoryError) as error:
        raise InputError(f"cannot read the image {name}: {error}.") from error
    if short_side is not None and min(image.size) > short_side:
        image = _scale_short_side(image, short_side)
    return np.asarray(image)


def scale_short_side(photo: Photo, *, short_side: int) -> Photo:
    """A photograph (H, W, 3) resized (Lanczos) until its shorter side has this many pixels."""
    return np.asarray(_scale_short_side(Image.fromarray(photo), short_side))


def match_partner(degraded: Photo, photo: Photo, *, name: str) -> Photo:
    """The degraded partner at the size of its photograph: as it is, or enlarged (bicubic).

    Raises:
        InputError: It shows another part: its sides are not those of the photograph divided by one number.
    """
    (height, width, _), (low, narrow, _) = photo.shape, degraded.shape
    if (low, narrow) == (height, width):
        return degraded
    # Sides that do not divide evenly are off by less than a pixel of the partner.
    if low > height or narrow > width or abs(height * narrow - width * low) >= max(height, width):
        raise InputError(
            f"cannot use {name}: a partner of {narrow} x {low} pixels does not fit a photograph of {width} x {height}."
        )
    enlarged = Image.fromarray(degraded).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(enlarged)


class PhotoCache:
    """The photographs used last, up to a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._photos: OrderedDict[Hashable, Photo] = OrderedDict()

    def get(self, source: Source, load: Callable[[Source], Photo]) -> Photo:
        """The kept photograph, or a loaded one, which is then kept if it fits."""
        if source in self._photos:
            self._photos.move_to_end(source)
            return self._photos[source]
        photo = load(source)
        if photo.nbytes <= self._max_bytes:
            self._photos[source] = photo
            self._num_bytes += photo.nbytes
        while self._num_bytes > self._max_bytes:
            self._num_bytes -= self._photos.popitem(last=False)[1].nbytes
        return photo


def _scale_short_side(image: Image.Image, short_side: int) -> Image.Image:
    factor = short_side / min(image.size)
    width, height = (max(short_side, round(side * factor)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        levels = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"32-bit pixels (mode {image.mode}) have no known white")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
