"""Prompts in text files: `photo.txt` belongs to `photo.jpg`, beside it or at the same place of another tree.

Where two images of a folder share a stem (`a.jpg`, `a.png`), each has its own file by the whole name (`a.jpg.txt`); the whole
name is looked for first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hypir_cli.captioners.base import CaptionInput, Outcome
from hypir_cli.errors import InputError


def sidecar_path(image_path: Path, *, whole_name: bool = False) -> Path:
    """The text file of an image."""
    if whole_name:
        return image_path.with_name(f"{image_path.name}.txt")
    return image_path.with_suffix(".txt")


def find_sidecar(image_path: Path) -> Path | None:
    """The text file that is there for an image (or for its place in another tree); None without one."""
    for whole_name in (True, False):
        path = sidecar_path(image_path, whole_name=whole_name)
        if path.is_file():
            return path
    return None


def read_sidecar(path: Path) -> str:
    """The prompt in a text file, as one line.

    Raises:
        InputError: Unreadable or not UTF-8.
    """
    try:
        return " ".join(path.read_text(encoding="utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text.", hint="save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error}.") from error


@dataclass(frozen=True)
class SidecarCaptioner:
    """The prompts that stand beside the images."""

    def caption(self, inputs: Sequence[CaptionInput]) -> list[Outcome]:
        """Each image's own text."""
        return [self._one(item.path) for item in inputs]

    def _one(self, image_path: Path | None) -> Outcome:
        sidecar = None if image_path is None else find_sidecar(image_path)
        if image_path is None or sidecar is None:
            return InputError(f"{image_path} has no .txt beside it.")
        try:
            return read_sidecar(sidecar)
        except InputError as error:
            return error
