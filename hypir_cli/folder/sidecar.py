"""Prompts in text files: `photo.txt` belongs to `photo.jpg`, beside it or at the same place of another tree.

Where two images of a folder share a stem (`a.jpg`, `a.png`), each has its own file by the whole name (`a.jpg.txt`); the whole
name is looked for first.
"""

from __future__ import annotations

from pathlib import Path

from hypir_cli.errors import InputError


def sidecar_path(image_path: Path, *, whole_name: bool = False) -> Path:
    """The text file of an image."""
    if whole_name:
        return image_path.with_name(f"{image_path.name}.txt")
    return image_path.with_suffix(".txt")


def sidecar_paths(image_path: Path) -> tuple[Path, Path]:
    """Where an image's text file may be, the place that counts first."""
    return sidecar_path(image_path, whole_name=True), sidecar_path(image_path)


def find_sidecar(image_path: Path) -> Path | None:
    """The text file that is there for an image (or for its place in another tree); None without one."""
    return next((path for path in sidecar_paths(image_path) if path.is_file()), None)


def read_sidecar(path: Path) -> str:
    """The prompt in a text file, as one line.

    Raises:
        InputError: Unreadable or not UTF-8.
    """
    try:
        return prompt_text(path.read_bytes())
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text.", hint="save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error}.") from error


def prompt_text(content: bytes) -> str:
    """The prompt in the bytes of a text file, as one line.

    Raises:
        UnicodeDecodeError: They are not UTF-8.
    """
    return " ".join(content.decode("utf-8-sig").split())
