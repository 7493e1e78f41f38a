"""A list of images on disk or in a store: one Parquet file, one row group per shard, so that a shard is read on its own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hypir_cli.config.extras import needing
from hypir_cli.config.places import MANIFEST_SUFFIX, STATE_FOLDER, is_manifest, is_url
from hypir_cli.errors import ConfigError, InputError
from hypir_cli.folder import urls
from hypir_cli.images import ImageFormat, atomic_file

COLUMNS = ("url", "size", "etag", "relative", "output_urls", "shard")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the whole manifest says of itself."""

    output: str
    """Folder of all results."""
    samples: int
    """Results per image."""
    format: Literal["same"] | ImageFormat = "same"
    """Format that was asked for."""
    suffix: str = ""
    """Text added to the names."""
    lossless: bool = False
    """Whether what `same` would write in a format that loses something becomes a PNG."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One image to work on."""

    url: str
    """The file to read: a URL, or an absolute local path."""
    size: int
    """Bytes; 0 where nobody says."""
    etag: str
    """What the store calls this version of the content; empty where it does not say."""
    relative: str
    """Its place in the input tree, `/` between the parts."""
    output_urls: tuple[str, ...]
    """Files to write, one per sample."""


def write_manifest(place: str, rows: Iterable[Row], *, plan: Plan, shards_of: int) -> Manifest:
    """Write rows as they come, `shards_of` per shard; only one shard is held in memory.

    Args:
        place: Path or URL of the file to write, ending in .parquet.
        rows: The images.
        plan: What holds for all of them.
        shards_of: Rows per shard; the last one may have fewer.

    Returns:
        The manifest, opened.

    Raises:
        ConfigError: The name does not end in .parquet, or pyarrow is missing.
        InputError: There are no rows, or the file cannot be written.
    """
    if not is_manifest(place):
        raise ConfigError(
            f"the manifest {place} does not end in {MANIFEST_SUFFIX}.",
            hint=f"name it {place}{MANIFEST_SUFFIX}",
        )
    urls.require_writable(place)
    with _local_file(place) as file:
        if _write(file, rows, plan=plan, shards_of=shards_of) == 0:
            raise InputError("there is no image to plan.", hint="check the inputs")
    return Manifest(place)


class Manifest:
    """A manifest that was written before; shards are read one at a time.

    Args:
        place: Path or URL.

    Raises:
        ConfigError: pyarrow is missing.
        InputError: There is no such file, or it is no manifest.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        pyarrow, parquet = _parquet()
        try:
            self._file = parquet.ParquetFile(_opened(place))
            metadata = self._file.schema_arrow.metadata or {}
            about = {**metadata, **(self._file.metadata.metadata or {})}
            self.id = about[b"hypir.id"].decode()
            self.plan = Plan(**json.loads(about[b"hypir.plan"]))
        except (OSError, KeyError, TypeError, ValueError, pyarrow.ArrowException) as error:
            raise InputError(
                f"{place} is no manifest of hypir: {error}.", hint="make one with hypir plan"
            ) from error

    @property
    def num_shards(self) -> int:
        """Shards in all."""
        return int(self._file.metadata.num_row_groups)

    @property
    def num_images(self) -> int:
        """Images in all."""
        return int(self._file.metadata.num_rows)

    @property
    def state_folder(self) -> str:
        """Folder for what the shards came to, below the output."""
        return urls.join(urls.join(self.plan.output, STATE_FOLDER), self.id)

    def shard_size(self, index: int) -> int:
        """Images of a shard, without reading it."""
        return int(self._file.metadata.row_group(index).num_rows)

    def shard(self, index: int) -> list[Row]:
        """The images of a shard.

        Raises:
            InputError: The file cannot be read.
        """
        pyarrow, _ = _parquet()
        try:
            columns = list(COLUMNS[:-1])
            records = self._file.read_row_group(index, columns=columns).to_pylist()
        except (OSError, pyarrow.ArrowException) as error:
            raise InputError(f"cannot read shard {index} of {self.place}: {error}.") from error
        return [Row(**{**row, "output_urls": tuple(row["output_urls"])}) for row in records]


def _write(file: Any, rows: Iterable[Row], *, plan: Plan, shards_of: int) -> int:
    """Write a Parquet file and return the number of its rows."""
    pyarrow, parquet = _parquet()
    kinds = (
        pyarrow.string(),
        pyarrow.int64(),
        pyarrow.string(),
        pyarrow.string(),
        pyarrow.list_(pyarrow.string()),
        pyarrow.int32(),
    )
    schema = pyarrow.schema(list(zip(COLUMNS, kinds, strict=True)))
    digest, total = hashlib.sha256(), 0
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for shard, batch in enumerate(_batches(rows, shards_of)):
            records = [{**vars(row), "shard": shard} for row in batch]
            for record in records:
                digest.update(json.dumps(record).encode())
            total += len(records)
            table = pyarrow.Table.from_pylist(records, schema=schema)
            writer.write_table(table, row_group_size=len(records))
        about = {"hypir.id": digest.hexdigest()[:16], "hypir.plan": json.dumps(vars(plan))}
        writer.add_key_value_metadata(about)
    return total


def _batches(rows: Iterable[Row], size: int) -> Iterator[Sequence[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@contextlib.contextmanager
def _local_file(place: str) -> Iterator[Any]:
    """A local file to write that becomes the one at `place` when the block ends without an error."""
    if not is_url(place):
        with atomic_file(Path(place)) as file:
            yield file
        return
    with tempfile.TemporaryDirectory(prefix="hypir-plan-") as folder:
        path = Path(folder) / "manifest.parquet"
        with open(path, "wb") as file:
            yield file
        urls.upload(path, place)


def _opened(place: str) -> Any:
    """A file to read from at any offset, so that a shard costs no more than its own bytes."""
    if not is_url(place):
        return place
    file_system, path = urls.filesystem(place)
    return file_system.open(path, "rb")


def _parquet() -> tuple[Any, Any]:
    with needing("manifests need", extra="cloud"):
        import pyarrow
        import pyarrow.parquet
    return pyarrow, pyarrow.parquet
