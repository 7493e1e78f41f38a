"""Files that appear whole or not at all: a temporary name in the same folder, flushed to disk, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from hypir_cli.errors import InputError

_PREFIX = ".hypir-"
_SUFFIX = ".tmp"


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file, readable and writable, that takes the name `path` when the block ends without an error.

    Missing parent folders are made. On any error, an interrupt included, what was at `path` before stays.

    Raises:
        InputError: The folder cannot be made or written, or the disk is full.
    """
    temporary = _temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_error(path: Path, error: OSError) -> InputError:
    """The error for a file that could not be written, with the way out."""
    reason = error.strerror or str(error)
    hints = {
        errno.ENOSPC: "free some space or choose an output folder on another disk, then run again",
        errno.EDQUOT: "free some space or choose an output folder on another disk, then run again",
        errno.EFBIG: "raise the file size limit (ulimit -f), or choose a smaller format",
        errno.ENAMETOOLONG: "choose a shorter name or output folder",
        errno.ENOTDIR: "part of the output path is a file; choose another output folder",
        errno.EEXIST: "part of the output path is a file; choose another output folder",
        errno.EISDIR: "a folder has that name; choose another output folder",
    }
    default = "check that you may write there, or choose another output folder"
    hint = hints.get(error.errno or 0, default)
    return InputError(f"cannot write {path}: {reason}.", hint=hint)


class FolderGuard:
    """Makes sure, once per folder, that results can be written there before work is spent on them."""

    def __init__(self) -> None:
        self._checked: set[Path] = set()

    def check(self, folder: Path) -> None:
        """Make the folder, try it with an empty file, and delete what killed runs left half-written.

        Raises:
            InputError: The folder cannot be made or written.
        """
        if folder in self._checked:
            return
        trial = _temporary_path(folder / f"trial-{threading.get_ident()}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            trial.touch()
            trial.unlink()
        except OSError as error:
            raise write_error(folder, error) from error
        _remove_stale_files(folder)
        self._checked.add(folder)


def unwritable(path: Path) -> InputError | None:
    """Why a file cannot be written, as far as that can be told without writing: the folder, or one that has its name."""
    if path.is_dir():
        return write_error(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    place = path.parent
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return write_error(path, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
    if not os.access(place, os.W_OK | os.X_OK):
        return write_error(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    return None


def require_writable(path: Path) -> None:
    """Refuse a place that cannot be written before any work is spent.

    Raises:
        InputError: A folder has that name, or the folder it is to be in cannot be made or written.
    """
    problem = unwritable(path)
    if problem is not None:
        raise problem


def _remove_stale_files(folder: Path) -> None:
    """Delete half-written files of this machine's dead processes; others' stay."""
    for leftover in folder.glob(f"{_PREFIX}*-{_host()}-*{_SUFFIX}"):
        pid = leftover.name.removesuffix(_SUFFIX).rpartition("-")[2]
        if pid.isdecimal() and not _is_running(int(pid)):
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)


def _temporary_path(path: Path) -> Path:
    """Hidden, short whatever the name's length, and telling whose it is."""
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    return path.with_name(f"{_PREFIX}{digest}-{_host()}-{os.getpid()}{_SUFFIX}")


def _host() -> str:
    """A short name of this machine that is safe inside a file name."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _is_running(pid: int) -> bool:
    """Whether a process of that number exists on this machine."""
    if os.name == "nt":
        return (
            pid == os.getpid()
        )  # os.kill would end the process there; an open file cannot be deleted
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _flush_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system knows how."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
