"""Prompts in text files: `photo.txt` belongs to `photo.jpg`, beside it or at the same place of another tree.

Where two images of a folder share a stem (`a.jpg`, `a.png`), each has its own file by the whole name (`a.jpg.txt`); the whole
name is looked for first.
"""

from __future__ import annotations

from pathlib import Path

from hypir_cli.errors import InputError
from hypir_cli.folder.names import existing_path, fitting_name


def sidecar_path(image_path: Path, *, whole_name: bool = False) -> Path:
    """The text file of an image."""
    stem = image_path.name if whole_name else image_path.stem
    return image_path.with_name(fitting_name(stem, ".txt"))


def sidecar_paths(image_path: Path) -> tuple[Path, Path]:
    """Where an image's text file may be, the place that counts first."""
    return sidecar_path(image_path, whole_name=True), sidecar_path(image_path)


def find_sidecar(image_path: Path) -> Path | None:
    """The text file that is there for an image (or for its place in another tree); None without one.

    Letters may be composed or not, and `.TXT` is as good as `.txt`.
    """
    for path in sidecar_paths(image_path):
        for suffix in (".txt", ".TXT", ".Txt"):
            found = _file_at(path.with_suffix(suffix))
            if found is not None:
                return found
    return None


def _file_at(path: Path) -> Path | None:
    try:
        found = existing_path(path)
    except OSError:
        return None
    return found if found is not None and found.is_file() else None


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
