"""File names that say the same: composed or decomposed letters, and names that a system would take as too long."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

NAME_BYTES = 255
"""Longest file name, in bytes, on the file systems in use."""


def same_letters(text: str) -> str:
    """The text with composed letters (NFC): names that look the same are equal then, whatever system wrote them."""
    return unicodedata.normalize("NFC", text)


def shown_name(name: str) -> str:
    """A file name for people: bytes that are no UTF-8 as replacement marks, since no page or JSON can hold them."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def existing_path(path: Path) -> Path | None:
    """The file or folder of that name, its letters composed or decomposed; None where there is none.

    Raises:
        OSError: The system cannot say, e.g. because the name is too long.
    """
    for candidate in _spellings(path):
        try:
            candidate.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        return candidate
    return None


def is_there(path: Path) -> bool:
    """Whether a file of that name exists, its letters composed or decomposed; False where that cannot be told."""
    try:
        found = existing_path(path)
        return found is not None and not found.is_dir()
    except OSError:
        return False


def fitting_name(stem: str, ending: str) -> str:
    """`stem` + `ending` as a file name; a stem too long for file systems is cut, and keeps a mark of what it was.

    Args:
        stem: Name without extension.
        ending: Extension, and what stands before it.
    """
    limit = NAME_BYTES - len(os.fsencode(ending))
    encoded = os.fsencode(stem)
    if len(encoded) <= limit:
        return stem + ending
    mark = f"~{hashlib.sha256(encoded).hexdigest()[:8]}"
    kept = stem
    while len(os.fsencode(kept)) > limit - len(mark):
        kept = kept[:-1]
    return kept + mark + ending


def _spellings(path: Path) -> Iterator[Path]:
    """The path as given, then with every part's letters composed and decomposed, the parts on disk counting first."""
    yield path
    if str(path).isascii():
        return
    parent = path.parent
    if parent != path:
        parent = existing_path(parent) or parent
    for form in ("NFC", "NFD"):
        spelled = parent / unicodedata.normalize(form, path.name)
        if spelled != path:
            yield spelled
