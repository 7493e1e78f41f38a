"""Time and memory per image, read from the report that `hypir restore --report` writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from hypir_cli.errors import InputError
from hypir_cli.folder.report import PEAK_MEMORY


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What restoring cost, over the images of one run."""

    count: int
    """Images that were restored in that run."""
    compute_seconds: float
    """Mean seconds of computing per image."""
    total_seconds: float
    """Mean seconds per image, reading and writing included."""
    peak_memory_bytes: int | None
    """Most memory of any image; None where the run did not record it."""
    source: str
    """The report."""


def read_speed(path: Path) -> Speed:
    """Cost of a run from its report.

    Raises:
        InputError: Not a restore report, or one without a restored image.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        done = [record for record in report["images"] if record["status"] == "done"]
        seconds = [dict(record["seconds"]) for record in done]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a report of hypir restore: {error}.",
            hint="give the file that `hypir restore --report FILE.json` wrote",
        ) from error
    if not done:
        raise InputError(
            f"{path} records no restored image.",
            hint="run restore with --existing overwrite, so that every image is timed",
        )
    return Speed(
        count=len(done),
        compute_seconds=fmean(item.get("compute", 0.0) for item in seconds),
        total_seconds=fmean(sum(item.values()) for item in seconds),
        peak_memory_bytes=_peak(record.get("details", {}) for record in done),
        source=str(path),
    )


def _peak(details: Iterable[Mapping[str, Any]]) -> int | None:
    peaks = [int(item[PEAK_MEMORY]) for item in details if item.get(PEAK_MEMORY)]
    return max(peaks) if peaks else None
