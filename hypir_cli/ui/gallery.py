"""A folder on a desk: restore all of it by the folder run, see what failed, look at results and at earlier runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypir_cli.caption.describe import load_describer
from hypir_cli.config.restore import RestoreConfig
from hypir_cli.errors import InputError
from hypir_cli.folder import Event, FolderReport
from hypir_cli.folder.pages import ComparisonRow
from hypir_cli.restore.folder import restore_folder
from hypir_cli.ui.engines import EngineCache
from hypir_cli.ui.worker import Task

MAX_RUNS = 50
"""Most runs that are listed."""


@dataclass
class FolderRun:
    """What a folder run has done so far."""

    source: Path
    """Folder or image that is restored."""
    target: Path
    """Where results go."""
    counts: dict[str, int] = field(default_factory=dict)
    """Images by how they ended."""
    total: int = 0
    """Images of the run; 0 before it is known."""
    finished: int = 0
    """Images that are done, skipped or failed."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Image and what is wrong with it, in words."""
    notes: list[tuple[str, str]] = field(default_factory=list)
    """Image and what had to be decided or left out."""
    pairs: list[tuple[Path, tuple[Path, ...]]] = field(default_factory=list)
    """Input and results of what is finished or was there."""

    def share(self, image: float = 0.0) -> float:
        """Done of what there is to do, 0..1; what was there already counts on neither side.

        Args:
            image: Done of the image at work, 0..1.
        """
        skipped = self.counts.get("skipped", 0)
        todo = max(self.total - skipped, 1)
        return max(0.0, min(1.0, (self.finished - skipped + image) / todo))


def run_folder_task(
    task: Task,
    run: FolderRun,
    *,
    config: RestoreConfig,
    engines: EngineCache,
    permits: Callable[[Path], bool],
) -> FolderReport:
    """Restore a folder as `hypir restore` does; what is there already is skipped.

    Args:
        task: Told how far it is.
        run: Told of every image.
        config: All settings; the report goes into the output folder.
        engines: Where the model comes from.
        permits: Whether a file may be read or written; links may lead anywhere.

    Raises:
        HypirError: The folder or the settings cannot be used.
        Cancelled: The user stopped it; what is finished stays, and the same run goes on from there.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    report_path = run.target / f"hypir-report-{stamp}.json"
    name = ""

    def on_event(event: Event) -> None:
        nonlocal name
        run.total, run.finished = event.total, event.finished
        name = event.job.input_path.name
        _note(run, event)
        task.advance(run.share(), name)

    def on_tiles(done: int, total: int) -> None:
        image = done / total / config.control.samples
        task.advance(run.share(image), f"{name}, tile {done} of {total}")

    task.advance(0.0, "loading")
    return restore_folder(
        [run.source],
        f"{run.target}/",
        config=replace(config, output=replace(config.output, report=report_path)),
        load_describer=load_describer,
        on_event=on_event,
        on_tiles=on_tiles,
        load_engine=engines.load,
        permits=permits,
    )


def comparison_rows(
    pairs: Sequence[tuple[Path, tuple[Path, ...]]], *, most: int = 200
) -> list[ComparisonRow]:
    """Rows of a comparison page for the first of many images whose files are all there."""
    there = (pair for pair in pairs if all(path.is_file() for path in (pair[0], *pair[1])))
    return [
        ComparisonRow(name=before.name, before=before, after=after)
        for _, (before, after) in zip(range(most), there, strict=False)
    ]


def _note(run: FolderRun, event: Event) -> None:
    record = event.record
    if record is None:
        return
    run.counts[event.kind] = run.counts.get(event.kind, 0) + 1
    name = event.job.input_path.name
    if event.kind == "failed":
        hint = f" ({record.hint})" if record.hint else ""
        run.failures.append((name, f"{record.reason}{hint}"))
    else:
        run.pairs.append((event.job.input_path, tuple(map(Path, record.outputs))))
        run.notes += [(name, note) for note in record.notes]


@dataclass(frozen=True, kw_only=True)
class PastRun:
    """A run that left its report in a folder."""

    path: Path
    """The report."""
    title: str
    """When, and how it ended."""


def past_runs(folder: Path, *, permits: Callable[[Path], bool]) -> list[PastRun]:
    """Runs whose reports lie in an output folder, newest first; those of the command line too.

    Args:
        folder: Where results went.
        permits: Whether a file may be read.
    """
    found = []
    reports = [path for path in folder.glob("*.json") if path.is_file() and permits(path)]
    for path in sorted(reports, key=_time_of, reverse=True):
        try:
            content = read_report(path)
        except InputError:
            continue
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(_time_of(path)))
        counts = [f"{count} {name}" for name, count in content["summary"].items() if count]
        counts += ["interrupted"] * bool(content.get("interrupted"))
        found.append(PastRun(path=path, title=f"{when}: {', '.join(counts) or 'nothing done'}"))
        if len(found) == MAX_RUNS:
            break
    return found


def _time_of(path: Path) -> float:
    return path.stat().st_mtime


def read_report(path: Path) -> dict[str, Any]:
    """The content of a report.

    Raises:
        InputError: The file is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
        if not isinstance(content["summary"], dict) or not isinstance(content["images"], list):
            raise TypeError("summary and images are missing")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not the report of a run: {error}.") from error
    return dict(content)


def report_pairs(content: dict[str, Any]) -> list[tuple[Path, tuple[Path, ...]]]:
    """Input and results of every image that a report calls done or skipped."""
    return [
        (Path(image["input"]), tuple(map(Path, image["outputs"])))
        for image in content["images"]
        if image["status"] in ("done", "skipped")
    ]
