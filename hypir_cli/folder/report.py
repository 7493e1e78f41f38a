"""What was done to each image, in memory and as a JSON file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hypir_cli import __version__
from hypir_cli.folder.jobs import Job
from hypir_cli.folder.shard import Shard
from hypir_cli.images import atomic_file
from hypir_cli.images.atomic import require_writable, unwritable

Status = Literal["done", "skipped", "failed", "planned"]
"""Written; there already; not possible; what a dry run would do."""

PEAK_MEMORY = "peak_memory"
"""Key of a record's details: the most memory that an image took, in bytes."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What became of one image."""

    input: str
    """Path read."""
    outputs: tuple[str, ...]
    """Paths written, one per sample."""
    status: Status
    """How it ended."""
    reason: str = ""
    """Why it failed or was skipped."""
    hint: str = ""
    """What to do about it."""
    traceback: str = ""
    """Where an error that nobody foresaw came from."""
    notes: tuple[str, ...] = ()
    """What had to be decided or left out on the way."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Time spent to read, compute and write."""
    input_size: tuple[int, int] | None = None
    """(height, width) read."""
    output_size: tuple[int, int] | None = None
    """(height, width) written."""
    details: Mapping[str, object] = field(default_factory=dict)
    """What the restoration says of itself: prompt, seeds, peak memory."""


@dataclass(frozen=True, kw_only=True)
class FolderReport:
    """What became of all images of one run, in the order of the jobs."""

    records: tuple[Record, ...]
    """One per image."""
    shard: Shard = field(default_factory=Shard)
    """The part of the list this process took."""
    interrupted: bool = False
    """Whether the user stopped the run; images without a record were not begun."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Settings of the run."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Pictures passed over because their format is not read: count by suffix."""
    counted: Mapping[Status, int] = field(default_factory=dict)
    """Further images by how they ended, whose records are not here: of a manifest they stand in its shards' files."""

    def count(self, status: Status) -> int:
        """Number of images that ended so."""
        listed = sum(record.status == status for record in self.records)
        return listed + self.counted.get(status, 0)

    @property
    def failed(self) -> tuple[Record, ...]:
        """Images that failed."""
        return tuple(record for record in self.records if record.status == "failed")

    def to_json(self) -> str:
        """The report as text."""
        names: tuple[Status, ...] = ("done", "skipped", "failed", "planned")
        content = {
            "hypir_version": __version__,
            "shard": f"{self.shard.index + 1}/{self.shard.count}",
            "interrupted": self.interrupted,
            "summary": {name: self.count(name) for name in names},
            "left_out": dict(self.left_out),
            "settings": dict(self.settings),
            "images": [dataclasses.asdict(record) for record in self.records],
        }
        return json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"

    def write(self, path: Path) -> Path:
        """Write the JSON file atomically and return its path, which names the shard when there are several.

        Raises:
            InputError: The place cannot be written.
        """
        place = self.shard.report_path(path)
        with atomic_file(place) as file:
            # Of names that are no UTF-8, JSON escapes keep the bytes.
            file.write(self.to_json().encode("utf-8", errors="backslashreplace"))
        return place


def check_report_place(path: Path | None, shard: Shard | None) -> None:
    """Refuse a report that cannot be written before any work is spent.

    Raises:
        InputError: Its place cannot be written.
    """
    if path is not None:
        require_writable((shard or Shard()).report_path(path))


def planned(jobs: Sequence[Job]) -> list[Record]:
    """Records of a dry run."""
    return [_planned(job) for job in jobs]


def _planned(job: Job) -> Record:
    """What a dry run says of one job: it fails where it is known already that it will."""
    record = dataclasses.replace(blank_record(job, "planned"), notes=job.notes)
    problem = next((found for path in job.output_paths if (found := unwritable(path))), None)
    if problem is None:
        return record
    return dataclasses.replace(record, status="failed", reason=problem.message, hint=problem.hint)


def blank_record(job: Job, status: Status) -> Record:
    """A record with paths alone."""
    return Record(input=job.input_name, outputs=job.output_names, status=status)
