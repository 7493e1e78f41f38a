"""Find the images a user means by files, folders and patterns, in natural order."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from hypir_cli.errors import InputError
from hypir_cli.images import READABLE_SUFFIXES

COMPARE_MARK = ".compare"
"""End of the stem of side-by-side pictures; such files are never taken for inputs."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """One input file."""

    path: Path
    """Where it is."""
    relative: PurePath
    """Its place in the tree that the output repeats."""


def find_images(inputs: Sequence[str | Path], *, exclude: Path | None = None) -> list[Found]:
    """Every image meant by the inputs, once, in natural order (img2 before img10).

    A file named outright is taken whatever it is. In folders and patterns, files count by their suffix; hidden ones, broken
    links and side-by-side pictures do not. Each real folder is entered once, so loops of links end.

    Args:
        inputs: Files, folders (taken with everything below them) and patterns with `*`, `?`, `[...]` or `**`.
        exclude: A folder that is not entered: the output, when it lies inside an input.

    Raises:
        InputError: An input that does not exist, or nothing found in one.
    """
    found: dict[str, Found] = {}
    for text in inputs:
        matches = list(_matches(text, exclude=exclude))
        if not matches:
            raise InputError(
                f"there is no image in {text}.",
                hint=f"expected files ending in {', '.join(sorted(READABLE_SUFFIXES))}",
            )
        for match in matches:
            found.setdefault(_file_key(match.path), match)
    return sorted(found.values(), key=lambda item: (natural_key(item.relative), str(item.path)))


def natural_key(path: PurePath) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    """Sort key under which numbers inside names count as numbers and case does not matter."""
    return tuple(
        tuple(
            (0, int(piece), "") if piece.isdecimal() else (1, 0, piece.casefold())
            for piece in re.split(r"(\d+)", part)
            if piece
        )
        for part in path.parts
    )


def _matches(text: str | Path, *, exclude: Path | None) -> Iterator[Found]:
    """The images one input stands for."""
    path = Path(text)
    if path.is_dir():
        yield from _below(path, exclude=exclude)
    elif path.exists():
        yield Found(path=path, relative=PurePath(path.name))
    elif glob.has_magic(str(text)):
        yield from _by_pattern(str(text), exclude=exclude)
    else:
        raise InputError(f"there is no file or folder {text}.", hint="check the path")


def _by_pattern(pattern: str, *, exclude: Path | None) -> Iterator[Found]:
    """Images matching a pattern, placed relative to its longest part without wildcards."""
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    base = Path(*parts[:fixed])
    if "**" in parts:
        for item in _below(base, exclude=exclude):
            if _fits(item.relative.parts, parts[fixed:]):
                yield item
        return
    for path in sorted(map(Path, glob.glob(pattern)), key=lambda path: (path.is_symlink(), path)):
        if path.is_dir():
            for item in _below(path, exclude=exclude):
                yield Found(path=item.path, relative=path.relative_to(base) / item.relative)
        elif _is_image(path):
            yield Found(path=path, relative=path.relative_to(base))


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether path parts match pattern parts, `**` standing for any number of folders."""
    if not pattern or not parts:
        return not parts and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _fits(parts, pattern[1:]) or _fits(parts[1:], pattern)
    return fnmatch.fnmatch(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _below(root: Path, *, exclude: Path | None) -> Iterator[Found]:
    """Images at any depth; real folders first, then linked ones that have not been entered yet."""
    entered = {_identity(exclude)} if exclude is not None and exclude.is_dir() else set()
    entered.discard(_identity(root))
    waiting = [root]
    links: list[Path] = []
    while waiting or links:
        folder = waiting.pop() if waiting else links.pop(0)
        identity = _identity(folder)
        if identity in entered:
            continue
        entered.add(identity)
        for path in _listing(folder):
            if path.is_dir():
                (links if path.is_symlink() else waiting).append(path)
            elif _is_image(path):
                yield Found(path=path, relative=path.relative_to(root))


def _listing(folder: Path) -> list[Path]:
    """What a folder holds, hidden names left out, sorted."""
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise InputError(
            f"cannot list {folder}: {error.strerror}.", hint="check that you may read it"
        ) from error
    return [folder / name for name in sorted(names) if not name.startswith(".")]


def _is_image(path: Path) -> bool:
    """Whether a file found in a folder counts as an image."""
    return (
        path.suffix.lower() in READABLE_SUFFIXES
        and not path.stem.endswith(COMPARE_MARK)
        and path.is_file()
    )


def _file_key(path: Path) -> str:
    """What makes two paths the same file: a linked folder is the folder, but a linked file is a file of its own."""
    return os.path.join(os.path.realpath(path.parent), path.name)


def _identity(folder: Path) -> tuple[int, int]:
    """Device and number of a folder, the same through every link."""
    status = folder.stat()
    return status.st_dev, status.st_ino
