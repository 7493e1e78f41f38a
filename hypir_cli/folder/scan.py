"""Find the images a user means by files, folders and patterns, in natural order."""

from __future__ import annotations

import errno
import fnmatch
import glob
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from hypir_cli.errors import InputError
from hypir_cli.folder.names import existing_path, same_letters
from hypir_cli.images import PICTURE_SUFFIXES, READABLE_SUFFIXES

COMPARE_MARK = ".compare"
"""End of the stem of side-by-side pictures; such files are never taken for inputs."""
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""What the system says of broken links and of what has just gone."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """One input file."""

    path: Path
    """Where it is."""
    relative: PurePath
    """Its place in the tree that the output repeats."""


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A folder or file that the system would not show."""

    path: Path
    """Where it is."""
    reason: str
    """What the system said."""

    def error(self) -> InputError:
        """The same as an error."""
        return InputError(
            f"cannot look into {self.path}: {self.reason}.", hint="check that you may read it"
        )


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a search met."""

    images: tuple[Found, ...]
    """Every image, once, in natural order (img2 before img10)."""
    unreadable: tuple[Unreadable, ...] = ()
    """Folders and files passed over because the system would not show them."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Pictures passed over because their format is not read: count by lower-case suffix."""


class _Search:
    """One search: what it met on the way, and the folder it stays out of."""

    def __init__(self, exclude: Path | None) -> None:
        self.exclude = exclude
        self.unreadable: list[Unreadable] = []
        self.left_out: dict[str, str] = {}

    def mode_of(self, path: Path) -> int:
        """Type bits of what is there, links followed; 0 where there is nothing, or the system will not tell."""
        try:
            return path.stat().st_mode
        except OSError as error:
            if error.errno not in _ABSENT:
                self.refused(path, error)
        except ValueError as error:  # a name that no file can have
            self.unreadable.append(Unreadable(path=path, reason=str(error)))
        return 0

    def refused(self, path: Path, error: OSError) -> None:
        """Keep what the system would not show."""
        if not any(item.path == path for item in self.unreadable):
            reason = error.strerror or str(error)
            self.unreadable.append(Unreadable(path=path, reason=reason))

    def listing(self, folder: Path) -> list[Path]:
        """What a folder holds, hidden names left out, sorted; nothing where it cannot be listed."""
        try:
            names = os.listdir(folder)
        except OSError as error:
            self.refused(folder, error)
            return []
        return [folder / name for name in sorted(names) if not name.startswith(".")]

    def is_image(self, path: Path, mode: int) -> bool:
        """Whether a file met in a folder counts as an image; a picture that does not is remembered."""
        suffix = path.suffix.lower()
        if not stat.S_ISREG(mode) or path.stem.endswith(COMPARE_MARK):
            return False
        if suffix in READABLE_SUFFIXES:
            return True
        if suffix in PICTURE_SUFFIXES:
            self.left_out[_file_key(path)] = suffix
        return False


def find_images(inputs: Sequence[str | Path], *, exclude: Path | None = None) -> Findings:
    """Every image meant by the inputs, and what was passed over on the way.

    A file named outright is taken whatever it is. In folders and patterns, files count by their suffix; hidden ones, broken
    links and side-by-side pictures do not. Each real folder is entered once, so loops of links end. A folder that cannot be
    listed is passed over.

    Args:
        inputs: Files, folders (taken with everything below them) and patterns with `*`, `?`, `[...]` or `**`.
        exclude: A folder that is not entered: the output, when it lies inside an input.

    Raises:
        InputError: An input that does not exist, or nothing found in one.
    """
    found: dict[str, Found] = {}
    search = _Search(exclude)
    empty: list[str | Path] = []
    for text in inputs:
        refused = len(search.unreadable)
        matches = list(_matches(text, search))
        if not matches and len(search.unreadable) == refused:
            empty.append(text)
        for match in matches:
            found.setdefault(_file_key(match.path), match)
    if not found and search.unreadable:
        raise search.unreadable[0].error()
    if empty:
        raise _nothing_in(empty[0], search)
    return Findings(
        images=tuple(
            sorted(found.values(), key=lambda item: (natural_key(item.relative), str(item.path)))
        ),
        unreadable=tuple(search.unreadable),
        left_out=dict(sorted(Counter(search.left_out.values()).items())),
    )


def _nothing_in(text: str | Path, search: _Search) -> InputError:
    known = f"expected files ending in {', '.join(sorted(READABLE_SUFFIXES))}"
    if not search.left_out:
        return InputError(f"there is no image in {text}.", hint=known)
    kinds = ", ".join(sorted(set(search.left_out.values())))
    return InputError(
        f"there is no image in {text} that can be read, only {len(search.left_out)} of {kinds}.",
        hint=f"convert them first; {known}",
    )


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


def _matches(text: str | Path, search: _Search) -> Iterator[Found]:
    """The images one input stands for."""
    try:
        path = existing_path(Path(text))
    except (OSError, ValueError):
        search.mode_of(Path(text))
        return
    if path is None:
        if not glob.has_magic(str(text)):
            raise InputError(f"there is no file or folder {text}.", hint="check the path")
        yield from _by_pattern(str(text), search)
    elif path.is_dir():
        yield from _below(path, search)
    else:
        yield Found(path=path, relative=PurePath(path.name))


def _by_pattern(pattern: str, search: _Search) -> Iterator[Found]:
    """Images matching a pattern, placed relative to its longest part that exists or has no wildcards."""
    base, parts = _fixed_part(Path(pattern))
    if "**" in parts:
        for item in _below(base, search):
            if _fits(item.relative.parts, parts):
                yield item
        return
    matched = sorted(_expanded(base, parts, search), key=lambda path: (path.is_symlink(), path))
    for path in matched:
        mode = search.mode_of(path)
        if stat.S_ISDIR(mode):
            for item in _below(path, search):
                yield Found(path=item.path, relative=path.relative_to(base) / item.relative)
        elif search.is_image(path, mode):
            yield Found(path=path, relative=path.relative_to(base))


def _fixed_part(pattern: Path) -> tuple[Path, tuple[str, ...]]:
    """The start of a pattern that names one folder, brackets in real names included, and the parts after it."""
    base, parts = Path(*pattern.parts[:0]), pattern.parts
    while len(parts) > 1 and (not glob.has_magic(parts[0]) or (base / parts[0]).exists()):
        base, parts = base / parts[0], parts[1:]
    return base, parts


def _expanded(base: Path, parts: Sequence[str], search: _Search) -> Iterator[Path]:
    """Paths below a folder that match pattern parts, one folder level each; a part that exists as it is means itself."""
    if not parts:
        yield base
        return
    literal = base / parts[0]
    if not glob.has_magic(parts[0]) or literal.exists():
        if literal.exists():
            yield from _expanded(literal, parts[1:], search)
        return
    for path in search.listing(base) if base.is_dir() else []:
        if _name_fits(path.name, parts[0]):
            yield from _expanded(path, parts[1:], search)


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether path parts match pattern parts, `**` standing for any number of folders."""
    if not pattern or not parts:
        return not parts and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _fits(parts, pattern[1:]) or _fits(parts[1:], pattern)
    return _name_fits(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _name_fits(name: str, pattern: str) -> bool:
    name, pattern = same_letters(name), same_letters(pattern)
    return name == pattern or fnmatch.fnmatch(name, pattern)


def _below(root: Path, search: _Search) -> Iterator[Found]:
    """Images at any depth; real folders first, then linked ones that have not been entered yet."""
    entered = _left_alone(root, search.exclude)
    waiting = [root]
    links: list[Path] = []
    while waiting or links:
        folder = waiting.pop() if waiting else links.pop(0)
        try:
            identity = _identity(folder)
        except OSError as error:
            search.refused(folder, error)
            continue
        if identity in entered:
            continue
        entered.add(identity)
        for path in search.listing(folder):
            mode = search.mode_of(path)
            if stat.S_ISDIR(mode):
                (links if path.is_symlink() else waiting).append(path)
            elif search.is_image(path, mode):
                yield Found(path=path, relative=path.relative_to(root))


def _left_alone(root: Path, exclude: Path | None) -> set[tuple[int, int]]:
    """The folders not to enter below a root."""
    if exclude is None or not os.path.isdir(exclude):
        return set()
    return {_identity(exclude)} - {_identity(root)}


def _file_key(path: Path) -> str:
    """What makes two paths the same file: a linked folder is the folder, but a linked file is a file of its own."""
    return os.path.join(os.path.realpath(path.parent), path.name)


def _identity(folder: Path) -> tuple[int, int]:
    """Device and number of a folder, the same through every link."""
    status = folder.stat()
    return status.st_dev, status.st_ino
