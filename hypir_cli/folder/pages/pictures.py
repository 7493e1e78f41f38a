"""Pictures a page shows: inside the page, in a folder beside it, or where they already are."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from PIL import Image

from hypir_cli.images import atomic_file, image_size, picture_on_white, read_image

Placement = Literal["embed", "beside"]
MAX_EMBEDDED_PIXELS = 40_000_000
"""Largest sum of pixels that `auto` puts inside a page: about 20 MB."""
BROWSER_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif"})
"""Files that browsers show as they are."""
_EMBEDDED_QUALITY = 92


class Pictures:
    """Gives every picture of a page its address.

    Args:
        page: The HTML file.
        placement: Inside the page as WebP, or as lossless PNG in a folder named after the page.
    """

    def __init__(self, page: Path, placement: Placement) -> None:
        self.page = page
        self.placement = placement
        self._number = 0

    def add(self, path: Path) -> str:
        """Address of a copy of an image file that every browser shows.

        Raises:
            InputError: The file cannot be read, or the copy not written.
        """
        image = picture_on_white(read_image(path))
        if self.placement == "embed":
            return f"data:image/webp;base64,{base64.b64encode(_encoded(image, 'WEBP')).decode()}"
        self._number += 1
        place = files_folder(self.page) / f"{self._number:05d}.png"
        with atomic_file(place) as file:
            file.write(_encoded(image, "PNG"))
        return relative_address(place, self.page)

    def refer(self, path: Path) -> str:
        """Address of an image file where it is; of a copy where browsers do not show its format.

        Raises:
            InputError: The file cannot be read, or the copy not written.
        """
        if path.suffix.lower() not in BROWSER_SUFFIXES:
            return self.add(path)
        return relative_address(path, self.page)


def files_folder(page: Path) -> Path:
    """Folder beside a page that holds its pictures."""
    return page.with_name(f"{page.stem}_files")


def relative_address(path: Path, page: Path) -> str:
    """Path of a file as a page refers to it; absolute where no relative one exists.

    Links are not followed, so that a folder can be moved together with its page. Bytes that are no UTF-8 are kept.
    """
    try:
        relative = os.path.relpath(os.path.abspath(path), os.path.dirname(os.path.abspath(page)))
    except ValueError:  # On Windows: another drive.
        return Path(os.path.abspath(path)).as_uri()
    return quote(os.fsencode(Path(relative).as_posix()))


def chosen_placement(
    wanted: Literal["auto", "embed", "beside"], paths: Iterable[Path]
) -> Placement:
    """Where the pictures go; `auto` embeds small sets."""
    if wanted != "auto":
        return wanted
    pixels = 0
    for path in paths:
        height, width = image_size(path)
        pixels += height * width
        if pixels > MAX_EMBEDDED_PIXELS:
            return "beside"
    return "embed"


def _encoded(image: Image.Image, kind: Literal["WEBP", "PNG"]) -> bytes:
    text = io.BytesIO()
    if kind == "WEBP":
        image.save(text, kind, quality=_EMBEDDED_QUALITY, method=4)
    else:
        image.save(text, kind)
    return text.getvalue()
