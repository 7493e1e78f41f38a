"""Prompts of images that came from a store: tables name them by URL, text files go beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypir_cli.caption.images import PromptStore, SidecarStore
from hypir_cli.folder.copies import LocalCopies, upload_beside


def by_url(store: PromptStore, copies: LocalCopies, *, out: Path | None) -> PromptStore:
    """A store of prompts that takes local copies for the images they are copies of.

    Args:
        store: Where prompts go.
        copies: Where the images come from.
        out: Where the user wants the text files; None is beside the images.
    """
    if not isinstance(store, SidecarStore):
        return _NamedByUrl(store, copies)
    return store if out is not None else _TakenBack(store, copies)


class _Over(PromptStore):
    """What two stores have in common that know where local copies come from."""

    def __init__(self, store: PromptStore, copies: LocalCopies) -> None:
        self._store = store
        self._copies = copies

    @property
    def apart(self) -> bool:
        """As in the store below."""
        return self._store.apart

    def close(self) -> None:
        """Finish the store below."""
        self._store.close()


class _NamedByUrl(_Over):
    """A table in which images have the names that people know."""

    def __contains__(self, image_path: Path | str) -> bool:
        return self._name(image_path) in self._store

    def add(self, prompts: Sequence[tuple[Path | str, str]]) -> None:
        """Append rows."""
        self._store.add([(self._name(path), prompt) for path, prompt in prompts])

    def _name(self, path: Path | str) -> Path | str:
        return self._copies.url_of(Path(path)) or path


class _TakenBack(_Over):
    """Text files that are uploaded as they are written; those that were there have been fetched."""

    _store: SidecarStore

    def __contains__(self, image_path: Path | str) -> bool:
        return image_path in self._store

    def add(self, prompts: Sequence[tuple[Path | str, str]]) -> None:
        """Write each file and take it back."""
        self._store.add(prompts)
        paths = [Path(path) for path, _ in prompts]
        upload_beside(self._copies, paths, [self._store.path_of(path) for path in paths])
