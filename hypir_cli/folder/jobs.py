"""Which input becomes which output: the tree kept, names distinct, inputs safe."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from hypir_cli.errors import ConfigError, InputError
from hypir_cli.folder.names import fitting_name, same_letters
from hypir_cli.folder.scan import Found, find_images
from hypir_cli.images import ImageFormat, format_of_suffix, image_size, output_suffix
from hypir_cli.images.formats import MAX_SIDE, fits, format_of_name, is_picture_name
from hypir_cli.images.writing import too_large

logger = logging.getLogger(__name__)

OutputSize = Callable[[int, int], tuple[int, int]]
"""(height, width) of a result for that of an input."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One image to restore."""

    input_path: Path
    """The file to read."""
    relative_path: PurePath
    """Its place in the input tree, by which its prompt is found."""
    output_paths: tuple[Path, ...]
    """Files to write, one per sample."""
    notes: tuple[str, ...] = ()
    """What had to be decided about its names."""
    input_url: str = ""
    """Where the input comes from, when `input_path` is a copy of it."""
    output_urls: tuple[str, ...] = ()
    """Where the results go, when `output_paths` are on the way to them."""

    @property
    def input_name(self) -> str:
        """What people call the input."""
        return self.input_url or str(self.input_path)

    @property
    def output_names(self) -> tuple[str, ...]:
        """What people call the results."""
        return self.output_urls or tuple(map(str, self.output_paths))

    def in_words(self, text: str) -> str:
        """A message with the names that people know in place of copies' paths."""
        pairs = [(self.input_path, self.input_name)]
        pairs += zip(self.output_paths, self.output_names, strict=True)
        for path, name in pairs:
            text = text.replace(str(path), name)
        return text


def make_jobs(
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    found: Sequence[Found] | None = None,
    format: Literal["same"] | ImageFormat = "same",
    suffix: str = "",
    num_samples: int = 1,
    lossless: bool = False,
    overwrite_inputs: bool = False,
    output_size: OutputSize | None = None,
) -> list[Job]:
    """Jobs for every image meant by the inputs, in natural order; the same inputs give the same names every time.

    Args:
        inputs: Files, folders (with everything below them) and patterns.
        output: A file when there is one input file and the name ends like an image's, else a folder.
        found: What `find_images` found in the inputs; None looks now.
        format: Format of the results; `same` keeps each input's where it can be written, else PNG.
        suffix: Text added to each name before its extension.
        num_samples: Results per image; with more than one they are called NAME-1, NAME-2...
        lossless: Where `same` would write a format that loses something, write PNG.
        overwrite_inputs: Allow results that take the place of an input.
        output_size: (height, width) of a result for that of an input: a result too large for its format becomes a PNG, or an
            error where the user named the file. None leaves that to writing.

    Raises:
        InputError: An input does not exist, holds no image, or would be overwritten.
        ConfigError: The output is a file name where a folder is needed, or contradicts the format.
    """
    if found is None:
        found = find_images(inputs, exclude=Path(output)).images
    output_path = Path(output)
    names = Names(suffix=suffix, num_samples=num_samples)
    if _is_file_name(output, found, inputs):
        _check_format(output_path, format)
        _check_named_size(output_path, found[0].path, output_size)
        target = names.claim(output_path.parent, output_path.stem, output_path.suffix, found[0])
        jobs = [_job(found[0], target)]
    else:
        jobs = _folder_jobs(found, output_path, format, names, output_size, lossless=lossless)
    jobs = _without_own_results(jobs, inputs)
    if not overwrite_inputs:
        _check_inputs_safe(jobs)
    return jobs


class Names:
    """Output names handed out so far."""

    def __init__(self, *, suffix: str, num_samples: int) -> None:
        self._suffix = suffix
        self._num_samples = num_samples
        self._taken: set[str] = set()

    def claim(self, folder: Path, stem: str, extension: str, item: Found) -> tuple[Path, ...]:
        """The first free name for one input: its own, then with the input's extension, then with a number."""
        for candidate in self._candidates(stem, item):
            paths = tuple(
                folder / fitting_name(candidate, f"{ending}{extension}")
                for ending in self._endings()
            )
            keys = {_name_key(path) for path in paths}
            if not keys & self._taken:
                self._taken |= keys
                return paths
        raise AssertionError("the candidates never end")

    def _candidates(self, stem: str, item: Found) -> Iterator[str]:
        yield stem
        stem = f"{stem}-{item.path.suffix.lower().lstrip('.')}"
        yield stem
        number = 2
        while True:
            yield f"{stem}-{number}"
            number += 1

    def _endings(self) -> list[str]:
        """What each sample's name has after its stem."""
        if self._num_samples == 1:
            return [self._suffix]
        return [f"{self._suffix}-{number}" for number in range(1, self._num_samples + 1)]


def _folder_jobs(
    found: Sequence[Found],
    output: Path,
    format: Literal["same"] | ImageFormat,
    names: Names,
    output_size: OutputSize | None,
    *,
    lossless: bool,
) -> list[Job]:
    """One job per input; an input that keeps its extension keeps its name before any that takes a new one."""
    if output.is_file():
        raise ConfigError(
            f"the output {output} is a file, but a folder is needed for {len(found)} input(s).",
            hint="name a folder, which is made if missing",
        )
    targets: dict[Path, tuple[Path, ...]] = {}
    notes: dict[Path, tuple[str, ...]] = {}
    extensions = {
        item.path: output_suffix(item.path.suffix, format, lossless=lossless) for item in found
    }
    for path, extension in extensions.items():
        if _is_too_large(path, format_of_suffix(extension), output_size):
            name = extension.lstrip(".").upper()
            notes[path] = (
                f"{name} does not hold so many pixels per side, so it is written as PNG",
            )
            extensions[path] = ".png"
    for item in sorted(found, key=lambda item: extensions[item.path] != item.path.suffix):
        folder, extension = output / item.relative.parent, extensions[item.path]
        targets[item.path] = names.claim(folder, item.relative.stem, extension, item)
    return [_job(item, targets[item.path], notes.get(item.path, ())) for item in found]


def _job(item: Found, output_paths: tuple[Path, ...], notes: tuple[str, ...] = ()) -> Job:
    return Job(
        input_path=item.path, relative_path=item.relative, output_paths=output_paths, notes=notes
    )


def _is_too_large(
    path: Path, image_format: ImageFormat | None, output_size: OutputSize | None
) -> bool:
    """Whether the result of an input is larger than its format holds; an input that cannot be read says so later."""
    if output_size is None or image_format not in MAX_SIDE:
        return False
    try:
        return not fits(image_format, *output_size(*image_size(path)))
    except Exception as error:
        logger.debug("no size of %s", path, exc_info=error)
        return False


def _check_named_size(output: Path, path: Path, output_size: OutputSize | None) -> None:
    """Refuse a file name whose format cannot hold the result."""
    image_format = format_of_name(output)
    if image_format is not None and _is_too_large(path, image_format, output_size):
        assert output_size is not None
        raise too_large(output, image_format, *output_size(*image_size(path)))


def _is_file_name(output: str | Path, found: Sequence[Found], inputs: Sequence[str | Path]) -> bool:
    """Whether the output names one image file."""
    path = Path(output)
    if path.is_dir() or str(output).endswith(("/", os.sep)):
        return False
    if format_of_name(path) is None:
        if is_picture_name(path) and len(found) == 1 and not Path(inputs[0]).is_dir():
            raise ConfigError(
                f"cannot write {path}: {path.suffix.lstrip('.').upper()} can be read but not written.",
                hint=f"name it {path.with_suffix('.png').name}, or end it with / if it is a folder",
            )
        return False
    if len(found) > 1 or Path(inputs[0]).is_dir():
        raise ConfigError(
            f"the output {output} is a file name, but the input is a folder or several files.",
            hint="name a folder, which is made if missing; end it with / if its name has a dot",
        )
    return True


def _check_format(output: Path, format: Literal["same"] | ImageFormat) -> None:
    if format not in ("same", format_of_name(output)):
        raise ConfigError(
            f"the output {output} does not end like the format {format}.",
            hint=f"name it {output.with_suffix('.' + format)}, or drop --format",
        )


def _without_own_results(jobs: list[Job], inputs: Sequence[str | Path]) -> list[Job]:
    """Jobs whose input is not the result of another job, as after an earlier run into the same folder."""
    named = {os.path.abspath(text) for text in inputs}
    results = {os.path.realpath(path): job for job in jobs for path in job.output_paths}
    return [
        job
        for job in jobs
        if os.path.abspath(job.input_path) in named
        or results.get(os.path.realpath(job.input_path), job) is job
    ]


def _check_inputs_safe(jobs: list[Job]) -> None:
    """Refuse names that would replace an input."""
    inputs = {os.path.realpath(job.input_path) for job in jobs}
    for job in jobs:
        for path in job.output_paths:
            if os.path.realpath(path) in inputs:
                raise InputError(
                    f"the result of {job.input_path} would replace the input {path}.",
                    hint="choose another output folder, or add --suffix _restored",
                )


def _name_key(path: Path) -> str:
    """What makes two names the same file: letters composed or not, and on macOS and Windows, case does not count."""
    text = same_letters(os.path.abspath(path))
    return text.casefold() if sys.platform in ("darwin", "win32") else text
