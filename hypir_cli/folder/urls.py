"""Files by URL (`s3://`, `gs://`, `az://` ...) through fsspec, and by plain path, behind the same few functions.

A local path is handled by the system itself. What a store answers in passing (a 500, a dropped
connection) is tried again; what then remains is an `InputError` that names the URL.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar
from urllib.parse import unquote, urlsplit

from hypir_cli.config.places import is_url
from hypir_cli.errors import ConfigError, InputError
from hypir_cli.images import READABLE_SUFFIXES, atomic_file

logger = logging.getLogger(__name__)
T = TypeVar("T")

ATTEMPTS = 4
"""How often a request is made before it counts as failed; stores repeat some of them on their own besides."""
FIRST_WAIT = 0.5
"""Seconds before the second attempt; each further wait is twice as long."""
CHECKS_AT_ONCE = 16
"""Requests in flight when many URLs are asked for."""
PIECE = 2**16
"""Bytes read at a time of a file in a store that is looked through for its index."""
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Answers that will not change."""
_GONE = (404, 410)
"""Answers of a web server that has no such file."""
_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
}


def join(folder: str, relative: str) -> str:
    """A path below a folder, `/` between the parts."""
    return f"{folder.rstrip('/')}/{relative}" if folder.rstrip("/") else f"/{relative}"


def is_pattern(place: str) -> bool:
    """Whether a place stands for those that it matches; on the web, `?` begins a query."""
    return bool(set("*[" if is_web(place) else "*?[") & set(place))


def canonical(place: str) -> str:
    """One spelling of a place, so that two of them can be compared: an absolute path, or a URL as its store spells it.

    Raises:
        ConfigError: The package for this kind of URL is missing.
        InputError: No such kind of URL is known.
    """
    if not is_url(place):
        return str(Path(place).absolute())
    file_system, path = filesystem(place)
    return str(file_system.unstrip_protocol(path))


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, without a cache of listings, and the URL's path in it.

    Raises:
        ConfigError: The package for this kind of URL is missing.
        InputError: No such kind of URL is known.
    """
    kind = url.partition("://")[0].lower()
    try:
        import fsspec

        file_system, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        package = _PACKAGES.get(kind, "")
        raise ConfigError(
            f"{kind}:// needs a package that is not installed: {error}.",
            hint=f"pip install {package}"
            if package not in ("", "s3fs")
            else "pip install 'hypir[cloud]'",
        ) from error
    except ValueError as error:
        raise InputError(
            f"{url} cannot be opened: {error}.",
            hint="use s3://, gs://, az://, https:// or a local path",
        ) from error
    return file_system, path


def require_writable(place: str) -> None:
    """Refuse a place that can only be read.

    Raises:
        ConfigError: It is on the web, or the package for this kind of URL is missing.
        InputError: No such kind of URL is known.
    """
    if not is_url(place):
        return
    filesystem(place)
    if is_web(place):
        raise ConfigError(
            f"nothing can be written to {place}: http is for reading.",
            hint="give a local folder, or one in a store: s3://, gs://, az://",
        )


def is_web(place: str) -> bool:
    """Whether a place is fetched by http, which names folders only by how their addresses end and writes nothing."""
    return place.partition("://")[0].lower() in ("http", "https")


def file_name(place: str) -> str:
    """The name of a file by URL or path; on the web without the query, and as people write it."""
    if not is_web(place):
        return PurePosixPath(place).name
    return unquote(PurePosixPath(urlsplit(place).path).name).replace("/", "_") or "index"


def is_folder(place: str) -> bool:
    """Whether a place holds files; on the web, whether its name is none of an image.

    Raises:
        InputError: There is no such place, or the store does not answer.
    """
    if not is_url(place):
        return Path(place).is_dir()
    return is_folder_entry(place, entry(place))


def is_folder_entry(place: str, info: Mapping[str, Any]) -> bool:
    """The same, of a place that its store was asked about."""
    if is_web(place):
        return PurePosixPath(file_name(place)).suffix.lower() not in READABLE_SUFFIXES
    return str(info["type"]) == "directory"


def read_bytes(place: str) -> bytes | None:
    """The content of a file; None where there is none.

    Raises:
        InputError: It cannot be read.
    """
    try:
        if not is_url(place):
            return Path(place).read_bytes()
        file_system, path = filesystem(place)
        return bytes(_persistent("read", place, lambda: file_system.cat_file(path)))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot read {place}: {error}.") from error


def read_range(url: str, *, offset: int, size: int | None) -> bytes:
    """Some bytes of a URL's content.

    Args:
        url: Where.
        offset: First byte.
        size: Number of bytes; None reads to the end.

    Raises:
        InputError: They cannot be read.
    """
    file_system, path = filesystem(url)
    end = None if size is None else offset + size
    if size == 0:
        return b""
    if offset == 0 and end is None:
        return bytes(_told(url, "read", lambda: file_system.cat_file(path)))
    return bytes(_told(url, "read", lambda: file_system.cat_file(path, start=offset, end=end)))


def check_place(url: str) -> None:
    """Look whether a file or folder is there; of a pattern, whether its store is known at all.

    Raises:
        ConfigError: The package for this kind of URL is missing.
        InputError: There is no such place, or the store does not answer.
    """
    filesystem(url)
    if not is_pattern(url):
        entry(url)


def entry(url: str) -> Mapping[str, Any]:
    """What a store says of a place: its `type` (file or directory), `size` and more.

    Raises:
        InputError: There is no such place, or the store does not answer.
    """
    file_system, path = filesystem(url)

    def ask() -> Mapping[str, Any]:
        try:
            return dict(file_system.info(path))
        except FileNotFoundError as error:
            # On the web any failure is told as a missing file, whose cause says whether it is.
            cause = error.__cause__
            if not is_web(url) or cause is None or getattr(cause, "status", 0) in _GONE:
                raise
            raise OSError(str(cause)) from error

    return _told(url, "look at", ask)


def entries(file_system: Any, folder: str) -> list[Mapping[str, Any]]:
    """The same of everything directly in a folder of a file system, with `name`.

    Raises:
        InputError: There is no such folder, or the store does not answer.
    """
    url = str(file_system.unstrip_protocol(folder))
    return list(_told(url, "list", lambda: file_system.ls(folder, detail=True)))


def files_below(url: str) -> list[str]:
    """URLs of all files of a folder at any depth, or that a pattern matches, or the file itself; sorted.

    Raises:
        InputError: There is no such place, or it cannot be listed.
    """
    file_system, path = filesystem(url)
    search = file_system.glob if is_pattern(url) else file_system.find
    found = _told(url, "list", lambda: search(path))
    if not found:
        raise InputError(f"there is no {url}.", hint="check the address")
    return sorted(str(file_system.unstrip_protocol(each)) for each in found)


@contextlib.contextmanager
def opened(url: str) -> Iterator[IO[bytes]]:
    """A URL's content as a file, read in small pieces where one jumps about in it.

    Raises:
        InputError: It cannot be opened.
    """
    file_system, path = filesystem(url)
    with _told(url, "read", lambda: file_system.open(path, "rb", block_size=PIECE)) as file:
        yield file


def write_bytes(place: str, content: bytes) -> None:
    """Write a whole file: a put to a store is atomic, a local file gets its name when it is whole.

    Raises:
        InputError: It cannot be written.
    """
    if not is_url(place):
        with atomic_file(Path(place)) as file:
            file.write(content)
        return
    file_system, path = filesystem(place)
    _told(place, "write", lambda: file_system.pipe_file(path, content))


def download(url: str, path: Path) -> None:
    """Copy a URL's content into a local file.

    Raises:
        InputError: There is no such file, or the store refuses it.
    """
    file_system, remote = filesystem(url)
    _told(url, "read", lambda: file_system.get_file(remote, str(path)))


def upload(path: Path, url: str) -> None:
    """Copy a local file to a URL, where it appears whole or not at all.

    Raises:
        InputError: The store refuses it.
    """
    file_system, remote = filesystem(url)
    _told(url, "write", lambda: file_system.put_file(str(path), remote))


def exists(place: str) -> bool:
    """Whether a file with something in it is there.

    Raises:
        InputError: The store does not say.
    """
    if not is_url(place):
        return Path(place).exists()
    file_system, path = filesystem(place)
    try:
        # One small read: `exists` takes any error for a no, and of a missing object `info` asks for a listing besides,
        # which stores charge like a write.
        _persistent("look at", place, lambda: file_system.cat_file(path, start=0, end=1))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InputError(f"cannot look at {place}: {error}.") from error
    return True


def all_exist(groups: Iterable[tuple[str, ...]]) -> list[bool]:
    """For each group of places, whether every one of them is there; many are asked for at a time.

    Raises:
        InputError: A store does not say.
    """
    with ThreadPoolExecutor(CHECKS_AT_ONCE, thread_name_prefix="hypir-look") as pool:
        return list(pool.map(lambda places: all(map(exists, places)), groups))


def names_in(folder: str) -> set[str]:
    """Names of the files in a folder; none where there is no such folder.

    Raises:
        InputError: It cannot be listed.
    """
    try:
        if not is_url(folder):
            return {path.name for path in Path(folder).iterdir()}
        file_system, path = filesystem(folder)
        listed = _persistent("list", folder, lambda: file_system.ls(path, detail=False))
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise InputError(f"cannot list {folder}: {error}.") from error
    return {str(name).rstrip("/").rpartition("/")[2] for name in listed}


def _told(url: str, verb: str, call: Callable[[], T]) -> T:
    """The result of a request; what finally goes wrong is told with the URL and a way out."""
    try:
        return _persistent(verb, url, call)
    except FileNotFoundError as error:
        raise InputError(f"there is no {url}.", hint="check the address, or plan anew") from error
    except OSError as error:
        raise InputError(
            f"cannot {verb} {url}: {error}.",
            hint="check the address and your rights there; a rerun takes up what failed",
        ) from error


def _persistent(verb: str, url: str, call: Callable[[], T]) -> T:
    """The result of a request that is made again while the store stumbles.

    Raises:
        OSError: It failed for good, whatever class of its own the store raised.
    """
    wait = FIRST_WAIT
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except _FINAL:
            raise
        except Exception as error:
            if attempt == ATTEMPTS:
                raise OSError(f"{' '.join(str(error).split()) or type(error).__name__}") from error
            logger.debug("attempt %d to %s %s", attempt, verb, url, exc_info=error)
        time.sleep(wait)
        wait *= 2
    raise AssertionError("the loop returns or raises")
