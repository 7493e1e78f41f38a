"""Files that browsers may fetch: each gets an address that cannot be guessed, and nothing else has one."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from hypir_cli.folder.pages import ComparisonRow, write_comparison_page
from hypir_cli.folder.pages.pictures import BROWSER_SUFFIXES
from hypir_cli.images import read_image
from hypir_cli.images.data import to_8bit

ROUTE = "/hypir/file"
"""Where the server hands files out."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What the viewer shows."""

    title: str
    """What it is."""
    address: str
    """Page with the slider."""
    downloads: tuple[tuple[str, str], ...] = ()
    """Name and address of each result."""
    notes: tuple[str, ...] = ()
    """What the run said about it."""


class Shelf:
    """Addresses of files.

    Args:
        folder: For pages and for copies of pictures in formats that browsers do not show.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._files: dict[str, Path] = {}
        self._addresses: dict[Path, str] = {}

    def find(self, token: str) -> Path | None:
        """The file of an address; None where it has none."""
        return self._files.get(token)

    def address(self, path: Path) -> str:
        """Where a browser fetches this file as it is."""
        with self._lock:
            if path not in self._addresses:
                token = secrets.token_urlsafe(18)
                self._files[token] = path
                self._addresses[path] = f"{ROUTE}/{token}"
            return self._addresses[path]

    def picture(self, path: Path) -> str:
        """Where a browser fetches this picture in a format that it shows.

        Raises:
            InputError: It cannot be read.
        """
        if path.suffix.lower() in BROWSER_SUFFIXES:
            return self.address(path)
        copy = self._folder / f"{secrets.token_hex(8)}.png"
        pixels = to_8bit(read_image(path).pixels)
        Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(copy)
        return self.address(copy)

    def comparison(
        self, rows: Sequence[ComparisonRow], *, title: str, side_by_side: bool = False
    ) -> str:
        """Address of a page with a before/after slider for every row, or with all samples beside each other.

        Raises:
            InputError: A picture cannot be read.
        """
        page = self._folder / f"{secrets.token_hex(8)}.html"
        write_comparison_page(
            page, rows, title=title, refer=self.picture, side_by_side=side_by_side
        )
        return self.address(page)
