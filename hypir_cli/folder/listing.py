"""List the images that URLs and local inputs mean, folder by folder, and name their results.

Only one folder's names are in memory at a time where there is a single input, so that a store of millions can be listed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from hypir_cli.config.places import is_url
from hypir_cli.errors import ConfigError, InputError
from hypir_cli.folder import urls
from hypir_cli.folder.jobs import Names, make_jobs
from hypir_cli.folder.manifest import Plan, Row
from hypir_cli.folder.scan import COMPARE_MARK, Found, find_images, natural_key
from hypir_cli.images import READABLE_SUFFIXES, format_of_suffix, output_suffix


@dataclass(frozen=True, kw_only=True)
class _Listed:
    """One image of an input."""

    url: str
    size: int
    etag: str
    relative: PurePosixPath


def plan_rows(inputs: Sequence[str], output: str, *, plan: Plan) -> Iterator[Row]:
    """The rows of a manifest, in a fixed order: the same inputs give the same rows every time.

    Args:
        inputs: URLs of files, folders (with everything below them) and patterns, and local ones.
        output: A folder; or a file where there is one input file and the name ends like an image's.
        plan: How results are named; its `output` is the folder of `output`.

    Raises:
        ConfigError: The output is a file name, but the inputs are several.
        InputError: An input does not exist, holds no image, or would be overwritten.
    """
    if not any(map(is_url, (*inputs, output))):
        yield from _local_rows(inputs, output, plan)
        return
    if _names_file(output):
        yield _single_row(inputs, output, plan)
        return
    names = Names(suffix=plan.suffix, num_samples=plan.samples)
    seen: set[str] = set()
    for text in inputs:
        number = 0
        for folder in _by_folder(_listed(text, exclude=output)):
            if len(inputs) == 1:
                names = Names(suffix=plan.suffix, num_samples=plan.samples)
            number += len(folder)
            for row in _named([item for item in folder if item.url not in seen], names, plan):
                if len(inputs) > 1:
                    seen.add(row.url)
                yield row
        if number == 0:
            known = ", ".join(sorted(READABLE_SUFFIXES))
            raise InputError(
                f"there is no image in {text}.", hint=f"expected files ending in {known}"
            )


def output_folder(inputs: Sequence[str], output: str) -> str:
    """The folder of all results: the output itself, or where the one file that it names stands.

    Raises:
        ConfigError: The output is a file name, but the inputs are several; or it cannot be written to at all.
    """
    urls.require_writable(output)
    if not _names_file(output):
        return urls.canonical(output)
    suffix = PurePosixPath(urls.file_name(inputs[0])).suffix
    if len(inputs) > 1 or urls.is_pattern(inputs[0]) or not suffix:
        raise ConfigError(
            f"the output {output} is a file name, but the input is a folder or several files.",
            hint="name a folder; end it with / if its name has a dot",
        )
    return urls.canonical(output).rpartition("/")[0]


def _names_file(output: str) -> bool:
    """Whether an output is the name of one image."""
    if format_of_suffix(PurePosixPath(output).suffix) is None or output.endswith("/"):
        return False
    return is_url(output) or not Path(output).is_dir()


def _local_rows(inputs: Sequence[str], output: str, plan: Plan) -> Iterator[Row]:
    """Exactly the names of a local run."""
    jobs = make_jobs(
        inputs,
        output,
        format=plan.format,
        suffix=plan.suffix,
        num_samples=plan.samples,
        lossless=plan.lossless,
    )
    for job in jobs:
        size, etag = _local_version(job.input_path)
        yield Row(
            url=str(job.input_path.absolute()),
            size=size,
            etag=etag,
            relative=job.relative_path.as_posix(),
            output_urls=tuple(str(path.absolute()) for path in job.output_paths),
        )


def _single_row(inputs: Sequence[str], output: str, plan: Plan) -> Row:
    found = list(_listed(inputs[0], exclude=""))
    if len(found) != 1 or plan.samples > 1:
        raise ConfigError(
            f"the output {output} is a file name, but there are several results.",
            hint="name a folder; end it with / if its name has a dot",
        )
    item = found[0]
    return Row(
        url=item.url,
        size=item.size,
        etag=item.etag,
        relative=str(item.relative),
        output_urls=(urls.canonical(output),),
    )


def _by_folder(items: Iterable[_Listed]) -> Iterator[list[_Listed]]:
    for _, group in itertools.groupby(items, key=lambda item: item.relative.parent):
        yield list(group)


def _named(items: Sequence[_Listed], names: Names, plan: Plan) -> list[Row]:
    """Rows of one folder; an input that keeps its extension keeps its name before any that takes a new one."""
    endings = {
        item.url: output_suffix(item.relative.suffix, plan.format, lossless=plan.lossless)
        for item in items
    }
    targets: dict[str, tuple[str, ...]] = {}
    for item in sorted(items, key=lambda item: endings[item.url] != item.relative.suffix):
        found = Found(path=Path(item.relative), relative=item.relative)
        paths = names.claim(
            Path(item.relative.parent), item.relative.stem, endings[item.url], found
        )
        targets[item.url] = tuple(urls.join(plan.output, path.as_posix()) for path in paths)
    results = {target: url for url, group in targets.items() for target in group}
    rows = []
    for item in items:
        maker = results.get(item.url, item.url)
        if maker != item.url:
            continue  # an earlier run's result for another image of this folder
        if item.url in targets[item.url]:
            raise InputError(
                f"the result of {item.url} would replace it.",
                hint="choose another output folder, or add --suffix _restored",
            )
        rows.append(
            Row(
                url=item.url,
                size=item.size,
                etag=item.etag,
                relative=str(item.relative),
                output_urls=targets[item.url],
            )
        )
    return rows


def _listed(text: str, *, exclude: str) -> Iterator[_Listed]:
    """Images of one input, each folder's together, in natural order there."""
    if not is_url(text):
        for found in find_images([text]).images:
            size, etag = _local_version(found.path)
            yield _Listed(
                url=str(found.path.absolute()),
                size=size,
                etag=etag,
                relative=PurePosixPath(found.relative.as_posix()),
            )
        return
    file_system, root = urls.filesystem(text)
    if urls.is_pattern(text):
        base = root[: min(root.index(mark) for mark in "*?[" if mark in root)].rpartition("/")[0]
        yield from _below(file_system, base, exclude=exclude, pattern=root)
        return
    info = urls.entry(text)
    if not urls.is_folder_entry(text, info):
        yield _item(file_system, root, info, PurePosixPath(urls.file_name(root)))
    else:
        yield from _below(file_system, root, exclude=exclude, pattern="")


def _below(file_system: Any, root: str, *, exclude: str, pattern: str) -> Iterator[_Listed]:
    """Images below a folder of a store."""
    from fsspec.utils import glob_translate

    fits = re.compile(glob_translate(pattern)).match if pattern else None
    left_alone = _path_in(file_system, exclude)
    waiting = [root.rstrip("/")]
    while waiting:
        folder = waiting.pop()
        folders, found = [], []
        for path, info in _entries(file_system, folder):
            name = urls.file_name(path)
            # A web page also links to what is not below it.
            if name.startswith(".") or not path.startswith(f"{folder}/"):
                continue
            if info["type"] == "directory":
                if path != left_alone:
                    folders.append(path)
            elif _is_image(name) and (fits is None or fits(path)):
                found.append((_relative(path, root), path, info))
        for relative, path, info in sorted(found, key=lambda entry: natural_key(entry[0])):
            yield _item(file_system, path, info, relative)
        waiting += sorted(folders, key=lambda path: natural_key(PurePosixPath(path)), reverse=True)


def _relative(path: str, root: str) -> PurePosixPath:
    """A file's place below a folder, on the web as people write it."""
    relative = path.removeprefix(root.rstrip("/")).lstrip("/")
    if not urls.is_web(path):
        return PurePosixPath(relative)
    *folders, _ = relative.split("/")
    return PurePosixPath(*map(unquote, folders), urls.file_name(path))


def _entries(file_system: Any, folder: str) -> list[tuple[str, Mapping[str, Any]]]:
    return [(str(info["name"]).rstrip("/"), info) for info in urls.entries(file_system, folder)]


def _item(file_system: Any, path: str, info: Mapping[str, Any], relative: PurePosixPath) -> _Listed:
    etag = str(info.get("ETag") or info.get("etag") or "").strip('"')
    return _Listed(
        url=str(file_system.unstrip_protocol(path)),
        size=int(info.get("size") or 0),
        etag=etag,
        relative=relative,
    )


def _path_in(file_system: Any, url: str) -> str:
    """A URL's path in a file system; empty where it belongs to another."""
    if not url or not is_url(url):
        return ""
    other, path = urls.filesystem(url)
    return path.rstrip("/") if other is file_system or other == file_system else ""


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in READABLE_SUFFIXES and not path.stem.endswith(COMPARE_MARK)


def _local_version(path: Path) -> tuple[int, str]:
    """Size of a local file, and what changes when its content does."""
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"cannot look at {path}: {error.strerror}.") from error
    return status.st_size, f"{status.st_mtime_ns:x}-{status.st_size:x}"
