"""What became of each shard of a manifest, kept beside the results, so that a rerun takes up what is missing.

Per shard two small files below the output: `N.json` says what became of each image, and the marker `N.done` that
nothing is left. Finding out what is done costs one listing of the markers and none of the results.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypir_cli import __version__
from hypir_cli.errors import InputError
from hypir_cli.folder import urls
from hypir_cli.folder.manifest import Manifest
from hypir_cli.folder.report import Record

_DONE = ".done"


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What became of one shard."""

    index: int
    """0 to shards - 1."""
    done: int = 0
    """Images restored now."""
    skipped: int = 0
    """Images whose results were there."""
    failed: tuple[Record, ...] = field(default_factory=tuple)
    """Images that failed."""


@dataclass(frozen=True, kw_only=True)
class ShardProgress:
    """How far a manifest has come."""

    result: ShardResult
    """What became of the latest shard."""
    finished: int
    """Shards that have ended."""
    total: int
    """Shards of this run."""


class ShardStates:
    """The state folder of a manifest."""

    def __init__(self, manifest: Manifest) -> None:
        self._folder = manifest.state_folder

    def finished(self) -> set[int]:
        """Shards with nothing left to do.

        Raises:
            InputError: The folder cannot be listed.
        """
        names = urls.names_in(self._folder)
        return {int(name.removesuffix(_DONE)) for name in names if name.endswith(_DONE)}

    def is_finished(self, index: int) -> bool:
        """Whether a shard has nothing left to do.

        Raises:
            InputError: The store does not say.
        """
        return urls.exists(self._place(index, _DONE))

    def done_urls(self, index: int) -> set[str]:
        """Inputs of a shard that an earlier run restored; none where no run came to the shard's end.

        Raises:
            InputError: What is there cannot be read.
        """
        place = self._place(index, ".json")
        content = urls.read_bytes(place)
        if content is None:
            return set()
        try:
            images = json.loads(content)["images"]
            return {image["input"] for image in images if image["status"] != "failed"}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{place} is damaged: {error}.", hint="delete it; the shard is then looked at anew"
            ) from error

    def save(self, index: int, records: Sequence[Record]) -> None:
        """Write what became of every image of a shard, and the marker when none failed.

        Raises:
            InputError: The folder cannot be written.
        """
        content = {
            "hypir_version": __version__,
            "shard": index,
            "images": [_entry(record) for record in records],
        }
        text = json.dumps(content, ensure_ascii=False)
        urls.write_bytes(self._place(index, ".json"), text.encode("utf-8", "backslashreplace"))
        if not any(record.status == "failed" for record in records):
            urls.write_bytes(self._place(index, _DONE), b"done\n")

    def _place(self, index: int, ending: str) -> str:
        return urls.join(self._folder, f"{index:06d}{ending}")


def _entry(record: Record) -> Mapping[str, Any]:
    """The part of a record that is worth its bytes ten million times."""
    entry: dict[str, Any] = {"input": record.input, "status": record.status}
    if record.status == "failed":
        entry |= {"reason": record.reason, "hint": record.hint}
    if record.notes:
        entry["notes"] = list(record.notes)
    if record.seconds:
        entry["seconds"] = {name: round(value, 3) for name, value in record.seconds.items()}
    return entry
