"""Whole folders from a store on the local disk for as long as a job needs them, for jobs that go back and forth in them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from hypir_cli.config.places import is_url, local_text
from hypir_cli.errors import HypirError, InputError
from hypir_cli.folder import urls
from hypir_cli.folder.names import fitting_name
from hypir_cli.images import READABLE_SUFFIXES

FETCHED_AT_ONCE = 8
"""Files on their way at a time."""
_BESIDE = (".txt",)
"""Endings of what is fetched along with images."""


class LocalCopies:
    """Local stand-ins of inputs; those that are local already stand for themselves."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._urls: dict[Path, str] = {}
        self._places: dict[str, str] = {}

    def path(self, text: str) -> str:
        """The local stand-in of an input, fetched when it is first asked for.

        Raises:
            InputError: There is no image there, or the store refuses one.
        """
        if not is_url(text):
            return local_text(text)
        if text not in self._places:
            self._places[text] = str(self._fetch(text, self._root / str(len(self._places))))
        return self._places[text]

    def url_of(self, path: Path) -> str | None:
        """Where a copy comes from; None for a file of this machine."""
        return self._urls.get(path)

    def in_words(self, text: str) -> str:
        """A message with URLs in place of copies' paths."""
        for path, url in self._urls.items():
            text = text.replace(str(path), url)
        return text

    def _fetch(self, url: str, folder: Path) -> Path:
        found = [place for place in urls.files_below(url) if _is_wanted(place)]
        if not any(PurePosixPath(place).suffix.lower() in READABLE_SUFFIXES for place in found):
            raise InputError(f"there is no image in {url}.", hint="check the address")
        base = _fixed_part(url, found)
        copies = {}
        for place in found:
            relative = PurePosixPath(place.removeprefix(base).lstrip("/"))
            name = fitting_name(relative.stem, relative.suffix)
            copies[folder / relative.parent / name] = place
        with ThreadPoolExecutor(FETCHED_AT_ONCE, thread_name_prefix="hypir-fetch") as pool:
            list(pool.map(_fetch_one, copies.values(), copies))
        self._urls |= copies
        return next(iter(copies)) if found == [url] else folder


@contextlib.contextmanager
def local_file(place: str) -> Iterator[Path]:
    """A path at which a single file can be read; what is named by URL is there until the block ends.

    Errors that leave the block speak of the URL.

    Args:
        place: Path or URL.

    Raises:
        InputError: There is no such file, or the store refuses it.
    """
    if not is_url(place):
        yield Path(local_text(place))
        return
    name = PurePosixPath(urls.file_name(place))
    with tempfile.TemporaryDirectory(prefix="hypir-copy-") as folder:
        path = Path(folder) / fitting_name(name.stem, name.suffix)
        urls.download(place, path)
        try:
            yield path
        except HypirError as error:
            message, hint = (text.replace(str(path), place) for text in (error.message, error.hint))
            raise type(error)(message, hint=hint) from error


@contextlib.contextmanager
def file_to_deliver(place: str) -> Iterator[Path]:
    """A path at which a single file is to be written; it goes to its URL when the block ends without an error.

    Args:
        place: Path or URL.

    Raises:
        InputError: The store refuses it.
    """
    if not is_url(place):
        path = Path(local_text(place))
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path
        return
    name = PurePosixPath(place).name
    with tempfile.TemporaryDirectory(prefix="hypir-copy-") as folder:
        path = Path(folder) / fitting_name(PurePosixPath(name).stem, PurePosixPath(name).suffix)
        yield path
        urls.upload(path, place)


@contextlib.contextmanager
def local_copies() -> Iterator[LocalCopies]:
    """Stand-ins that are deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="hypir-copies-") as folder:
        yield LocalCopies(Path(folder))


def upload_beside(copies: LocalCopies, image_paths: Sequence[Path], texts: Sequence[Path]) -> None:
    """Take text files that were written beside copies to where the images are.

    Raises:
        InputError: The store refuses one.
    """
    for path, text in zip(image_paths, texts, strict=True):
        url = copies.url_of(path)
        if url is not None:
            urls.upload(text, f"{url.rpartition('/')[0]}/{text.name}")


def _is_wanted(url: str) -> bool:
    path = PurePosixPath(url)
    return path.suffix.lower() in (*READABLE_SUFFIXES, *_BESIDE) and not path.name.startswith(".")


def _fixed_part(url: str, found: Sequence[str]) -> str:
    """The folder to which the files' places are relative."""
    marks = [url.index(mark) for mark in "*?[" if mark in url]
    if marks:
        return url[: min(marks)].rpartition("/")[0]
    return url.rpartition("/")[0] if found == [url] else url.rstrip("/")


def _fetch_one(url: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    urls.download(url, path)
