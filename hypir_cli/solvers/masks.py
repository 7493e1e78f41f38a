"""Where a photograph is lost: mask files, found by the photograph's name."""

from __future__ import annotations

from pathlib import Path, PurePath

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypir_cli.config.places import is_url, local_text
from hypir_cli.errors import InputError
from hypir_cli.folder import urls
from hypir_cli.folder.copies import local_file
from hypir_cli.folder.names import same_letters
from hypir_cli.images import READABLE_SUFFIXES, ImageData, read_image, to_float

LOST_FROM = 0.5
"""Brightness (times opacity) from which a mask says that a pixel is lost, 0..1."""


class Masks:
    """Mask files: one for all photographs, or a folder of them.

    A mask that bears the photograph's whole name (`a.jpg.png`) counts before one with its stem (`a.png`).

    Args:
        place: File or folder, a path or a URL.

    Raises:
        InputError: There is no such place, or its store does not answer.
    """

    def __init__(self, place: str) -> None:
        self._place = local_text(place)
        if not is_url(self._place) and not Path(self._place).exists():
            raise InputError(f"there is no mask {place}.", hint="check the path of --mask")
        self._is_folder = urls.is_folder(self._place)
        self._listed: tuple[str, dict[str, str]] = ("", {})
        self._read: tuple[str, NDArray[np.bool_]] | None = None

    def lost(self, relative: PurePath, *, height: int, width: int) -> NDArray[np.bool_]:
        """Which pixels of a photograph its mask gives up, (height, width).

        Args:
            relative: The photograph's place in its own tree.
            height: Of the photograph.
            width: Of the photograph.

        Raises:
            InputError: There is no mask for it, or it cannot be read or has another size.
        """
        place = self.find(relative)
        if self._read is None or self._read[0] != place:
            with local_file(place) as path:
                self._read = place, _brightness(read_image(path)) >= LOST_FROM
        lost = self._read[1]
        if lost.shape != (height, width):
            raise InputError(
                f"the mask {place} has {lost.shape[1]} x {lost.shape[0]} pixels, but the photograph "
                f"{width} x {height}.",
                hint="a mask is drawn over the photograph and saved at its size",
            )
        return lost

    def find(self, relative: PurePath) -> str:
        """The path or URL of a photograph's mask.

        Raises:
            InputError: There is none.
        """
        if not self._is_folder:
            return self._place
        folder = urls.join(self._place, relative.parent.as_posix()).removesuffix("/.")
        names = self._names_in(folder)
        for stem in (relative.name, relative.stem):
            for suffix in sorted(READABLE_SUFFIXES):
                found = names.get(same_letters(f"{stem}{suffix}").lower())
                if found is not None:
                    return urls.join(folder, found)
        wanted = urls.join(self._place, relative.with_suffix(".png").as_posix())
        raise InputError(
            f"there is no mask for {relative} in {self._place}.",
            hint=f"add {wanted}, white where the photograph is lost",
        )

    def _names_in(self, folder: str) -> dict[str, str]:
        """Names in a folder by how they compare; it is listed once for all photographs that follow each other."""
        if self._listed[0] != folder:
            names = sorted(urls.names_in(folder))
            self._listed = (folder, {same_letters(name).lower(): name for name in names})
        return self._listed[1]


def kept_of(lost: NDArray[np.bool_]) -> Tensor:
    """The mask as the operator wants it: True where the photograph is there, (1, 1, H, W)."""
    return torch.from_numpy(~lost)[None, None]


def _brightness(mask: ImageData) -> NDArray[np.float32]:
    """Mean of the channels; what is transparent says nothing."""
    brightness: NDArray[np.float32] = to_float(mask.pixels).mean(axis=2, dtype=np.float32)
    return brightness if mask.alpha is None else brightness * to_float(mask.alpha)
