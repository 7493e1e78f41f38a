"""Find the photographs and prompts of a training set: folders, tables, tar shards.

Nothing is decoded here. Tar shards (the webdataset layout: `name.jpg` beside `name.txt` or `name.json`) are indexed by the
byte position of their members, so that any sample can be fetched alone and a run can resume at any sample.
"""

from __future__ import annotations

import glob
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO

from hypir_cli.config.places import is_url
from hypir_cli.errors import ConfigError, InputError
from hypir_cli.folder import urls
from hypir_cli.folder.prompt_table import read_prompts
from hypir_cli.folder.sidecar import prompt_text, sidecar_paths
from hypir_cli.images.formats import READABLE_SUFFIXES


@dataclass(frozen=True, slots=True)
class Blob:
    """Some bytes on disk or in a store: a file, or a member of a tar shard."""

    path: Path | str
    """File that holds them; a text is a URL."""
    member: str = ""
    """Name inside the shard; empty for a file of its own."""
    offset: int = 0
    """First byte."""
    size: int | None = None
    """Number of bytes; None reads to the end."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    def read(self) -> bytes:
        """The bytes.

        Raises:
            InputError: They cannot be read.
        """
        if isinstance(self.path, str):
            return urls.read_range(self.path, offset=self.offset, size=self.size)
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                return file.read(-1 if self.size is None else self.size)
        except OSError as error:
            raise InputError(f"cannot read {self.name}: {error}.") from error


@dataclass(frozen=True, slots=True)
class Item:
    """One photograph and where its prompt is."""

    image: Blob
    """The image file."""
    prompt: str | Blob | None = None
    """The text, the file that holds it (.txt, or .json with `prompt` or `caption`), or None."""
    degraded: Blob | None = None
    """Its degraded partner, where there is one already."""


def find_items(sources: Sequence[str], *, degraded: Sequence[str] = ()) -> list[list[Item]]:
    """The items of every folder, table and shard, in a fixed order, one list for each.

    Args:
        sources: Folders, tables, shards, or patterns.
        degraded: A folder with the partners of each folder in `sources`; empty for none.

    Raises:
        InputError: A source is missing or cannot be read, or there is no photograph in any of them.
        ConfigError: A source is of an unknown kind, or has partners and is no folder.
    """
    if degraded:
        paired = [_scan_pairs(*pair) for pair in zip(sources, degraded, strict=True)]
        groups = [group for group in paired if group]
    else:
        groups = [group for source in sources for path in _expand(source) if (group := _scan(path))]
    if not groups:
        named = ", ".join(sources) or "(none given)"
        raise InputError(
            f"there are no photographs in the training sources: {named}.",
            hint="data.sources takes folders, .parquet or .jsonl tables and .tar shards",
        )
    return groups


def check_sources(sources: Sequence[str]) -> None:
    """Look whether every source is there and of a known kind; nothing is listed.

    Raises:
        InputError: A source is missing.
        ConfigError: A source is of an unknown kind.
    """
    for path in (path for source in sources for path in _expand(source)):
        if isinstance(path, str):
            urls.check_place(path)
        elif not path.is_dir():
            _reader(path)


def read_prompt(item: Item, *, default: str) -> str:
    """The item's own prompt, or `default` if it has none.

    Raises:
        InputError: The file that holds it cannot be read.
    """
    if item.prompt is None or isinstance(item.prompt, str):
        return item.prompt or default
    try:
        content = item.prompt.read()
        if not item.prompt.name.endswith(".json"):
            return prompt_text(content) or default
        record = json.loads(content)
        return str(record.get("prompt") or record.get("caption") or default)
    except (ValueError, AttributeError) as error:
        raise InputError(f"cannot read the prompt {item.prompt.name}: {error}.") from error


def _expand(source: str) -> list[Path | str]:
    if is_url(source):
        return [source]
    path = Path(source).expanduser()
    if path.exists():
        return [path]
    matches = sorted(glob.glob(str(path), recursive=True))
    if not matches:
        raise InputError(f"the training source {source} does not exist.", hint="check data.sources")
    return [Path(match) for match in matches]


def _scan(path: Path | str) -> list[Item]:
    if isinstance(path, str):
        return _scan_url(path)
    return _scan_folder(path) if path.is_dir() else _reader(path)(path)


def _reader(path: Path) -> Callable[[Path], list[Item]]:
    readers = {".parquet": _scan_table, ".jsonl": _scan_table, ".tar": _scan_shard}
    if path.suffix.lower() not in readers:
        raise ConfigError(
            f"data.sources: {path} is neither a folder nor one of {', '.join(readers)}.",
        )
    return readers[path.suffix.lower()]


def _scan_url(url: str) -> list[Item]:
    """The items of a folder, pattern, table or shard in a store."""
    files = urls.files_below(url)
    named = bool(set("*?[") & set(url)) or files == [url]
    items: list[Item] = []
    for place in files if named else ():  # a folder's own tables are not sources, as on the disk
        reader = _REMOTE.get(PurePosixPath(place).suffix.lower())
        items += reader(place) if reader else []
    texts = {place for place in files if place.endswith(".txt")}
    for place in files:
        path = PurePosixPath(place)
        if path.suffix.lower() not in READABLE_SUFFIXES or path.name.startswith("."):
            continue
        folder = place.rpartition("/")[0]
        beside = [f"{folder}/{text.name}" for text in sidecar_paths(Path(path.name))]
        sidecars = [Blob(text) for text in beside if text in texts]
        items.append(Item(Blob(place), sidecars[0] if sidecars else None))
    return items


def _scan_remote_table(url: str) -> list[Item]:
    """A table in a store; its relative paths are relative to its folder there."""
    with tempfile.TemporaryDirectory(prefix="hypir-table-") as folder:
        copy = Path(folder).resolve() / PurePosixPath(url).name
        urls.download(url, copy)
        prompts, start = read_prompts(copy), f"{copy.parent}{os.sep}"
    base = url.rpartition("/")[0]
    return [
        Item(Blob(image if is_url(image) else f"{base}/{image.removeprefix(start)}"), prompt)
        for image, prompt in prompts.items()
    ]


def _scan_remote_shard(url: str) -> list[Item]:
    with urls.opened(url) as file:
        return _shard_items(url, file)


_REMOTE = {
    ".parquet": _scan_remote_table,
    ".jsonl": _scan_remote_table,
    ".tar": _scan_remote_shard,
}
"""What a store's files with these endings hold, beside folders of photographs."""


def _scan_folder(folder: Path) -> list[Item]:
    items = []
    for parent, folders, names in os.walk(folder):
        folders.sort()
        texts = {name for name in names if name.endswith(".txt")}
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() not in READABLE_SUFFIXES or name.startswith("."):
                continue
            # The listing answers what a look at the disk for each photograph would.
            sidecars = [Blob(text) for text in sidecar_paths(path) if text.name in texts]
            items.append(Item(Blob(path), sidecars[0] if sidecars else None))
    return items


def _scan_pairs(source: str, degraded: str) -> list[Item]:
    """The photographs of a folder with their partners; one without is kept, and reported when its turn comes."""
    folder, partners = Path(source).expanduser(), Path(degraded).expanduser()
    for place in (folder, partners):
        if not place.is_dir():
            raise ConfigError(
                f"data.degraded pairs folders, and {place} is none.",
                hint="give one folder of partners for each folder of photographs",
            )
    by_stem: dict[Path, Path] = {}
    for item in _scan_folder(partners):
        path = Path(item.image.path)
        by_stem[path.relative_to(partners).with_suffix("")] = path
    items = _scan_folder(folder)
    inside = [Path(item.image.path).relative_to(folder) for item in items]
    found = [by_stem.get(path.with_suffix("")) for path in inside]
    if items and not any(found):
        raise InputError(
            f"no photograph in {folder} has a partner of its name in {partners}.",
            hint="partners have the same relative path; the suffix may differ",
        )
    return [
        replace(item, degraded=Blob(partner or partners / path))
        for item, path, partner in zip(items, inside, found, strict=True)
    ]


def _scan_table(path: Path) -> list[Item]:
    return [
        Item(Blob(image if is_url(image) else Path(image)), prompt)
        for image, prompt in read_prompts(path).items()
    ]


def _scan_shard(path: Path) -> list[Item]:
    try:
        with path.open("rb") as file:
            return _shard_items(path, file)
    except OSError as error:
        raise InputError(f"cannot read the shard {path}: {error}.") from error


def _shard_items(path: Path | str, file: IO[bytes]) -> list[Item]:
    """Index an opened shard."""
    members: dict[str, dict[str, Blob]] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as shard:
            for entry in shard:
                folder, _, name = entry.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                blob = Blob(path, entry.name, entry.offset_data, entry.size)
                if entry.isfile():
                    members.setdefault(f"{folder}/{stem}", {})[f".{suffix.lower()}"] = blob
    except (OSError, tarfile.TarError) as error:
        raise InputError(
            f"cannot read the shard {path}: {error}.", hint="shards are plain, uncompressed .tar"
        ) from error
    return [item for parts in members.values() if (item := _shard_item(parts))]


def _shard_item(parts: dict[str, Blob]) -> Item | None:
    image = next((suffix for suffix in parts if suffix in READABLE_SUFFIXES), None)
    if image is None:
        return None
    prompts = [parts[name] for name in (f"{image}.txt", ".txt", ".json") if name in parts]
    return Item(parts[image], prompts[0] if prompts else None)
