"""One shard of a manifest, worked through: the unit of work that a loop, a job array and a Ray cluster all use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hypir_cli.config.places import is_url
from hypir_cli.errors import ConfigError, HypirError
from hypir_cli.folder import urls
from hypir_cli.folder.events import Event
from hypir_cli.folder.manifest import Manifest, Row
from hypir_cli.folder.report import FolderReport, Record
from hypir_cli.folder.shard import Shard
from hypir_cli.folder.shard_state import ShardResult, ShardStates
from hypir_cli.folder.staging import StagedCopies
from hypir_cli.folder.worker import ImageWorker, RunSettings

REMOTE_JOBS = 4
"""Images at least that are fetched and delivered at a time where they live in a store: an answer takes longer than a disk's."""


def run_shard(
    manifest: Manifest,
    index: int,
    *,
    worker: ImageWorker,
    on_event: Callable[[Event], None] = lambda event: None,
) -> ShardResult:
    """Do what is missing of one shard; doing it again changes nothing.

    A shard with a marker is passed over. One that an earlier run came to the end of is begun again with the images that
    failed. One that was cut short, or never begun, asks the store for each result first (`--existing skip`).

    Args:
        manifest: The list.
        index: Which shard, from 0.
        worker: What is done to each image, and the settings.
        on_event: Told of every image that is started, done, skipped or failed.

    Returns:
        What became of its images; failed ones are in it, not raised.

    Raises:
        ConfigError: Results are there, and `--existing error` was asked for.
        HypirError: The manifest or the shard's state cannot be read or written, or a model cannot be loaded.
    """
    states = ShardStates(manifest)
    again = worker.settings.output.existing == "overwrite"
    if not again and states.is_finished(index):
        return ShardResult(index=index, skipped=manifest.shard_size(index))
    rows = manifest.shard(index)
    known = set() if again else states.done_urls(index)
    report = run_rows(rows, worker=worker, done=known, on_event=on_event)
    states.save(index, report.records)
    return ShardResult(
        index=index,
        done=report.count("done"),
        skipped=report.count("skipped"),
        failed=report.failed,
    )


def broken_shard(manifest: Manifest, index: int, error: HypirError) -> ShardResult:
    """The result of a shard that could not be worked through as a whole."""
    record = Record(
        input=f"{manifest.place} shard {index}",
        outputs=(),
        status="failed",
        reason=error.message,
        hint=error.hint or "run again: a shard without a marker is taken up",
    )
    return ShardResult(index=index, failed=(record,))


def run_rows(
    rows: Sequence[Row],
    *,
    worker: ImageWorker,
    done: set[str] | frozenset[str] = frozenset(),
    shard: Shard | None = None,
    dry_run: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
) -> FolderReport:
    """Do the rows whose results are not there, reading ahead and writing behind.

    Args:
        rows: The images.
        worker: What is done to each image, and the settings.
        done: URLs of inputs that are known to be done; the store is not asked for their results, nor for any others'.
        shard: The part of the whole that these rows are, for the report.
        dry_run: Only say what would be done.
        on_event: Told of every image that is started, done, skipped or failed.

    Raises:
        ConfigError: Results are there, and `--existing error` was asked for; or a page is to be made of a store's images.
        HypirError: A store does not answer, or a model cannot be loaded.
    """
    settings = worker.settings
    if settings.output.compare == "html":
        raise ConfigError(
            "a page of comparisons is made of local folders alone.", hint="use --compare side"
        )
    there = _there(rows, settings, done)
    todo = [row for row in rows if row.url not in there]
    skipped = [_record(row, "skipped") for row in rows if row.url in there]
    if dry_run or not todo:
        planned = [_record(row, "planned") for row in todo]
        return FolderReport(
            records=(*skipped, *planned), shard=shard or Shard(), settings=settings.report
        )
    remote = any(is_url(place) for row in todo for place in (row.url, *row.output_urls))
    num_jobs = max(settings.num_jobs, REMOTE_JOBS) if remote else settings.num_jobs
    existing = "overwrite" if settings.output.existing == "overwrite" else "skip"
    work = worker.load()
    with StagedCopies(todo, ahead=2 * num_jobs, sidecars=settings.sidecars) as staging:
        report = settings.run(staging.jobs)(
            work, existing=existing, num_jobs=num_jobs, staging=staging, on_event=on_event
        )
    order = {row.url: number for number, row in enumerate(rows)}
    records = sorted((*skipped, *report.records), key=lambda record: order[record.input])
    return replace(report, records=tuple(records), shard=shard or Shard())


def _there(rows: Sequence[Row], settings: RunSettings, done: set[str] | frozenset[str]) -> set[str]:
    """Inputs that need nothing."""
    if done or settings.output.existing == "overwrite":
        return {row.url for row in rows if row.url in done}
    found = urls.all_exist(row.output_urls for row in rows)
    there = {row.url for row, is_there in zip(rows, found, strict=True) if is_there}
    if there and settings.output.existing == "error":
        first = next(row for row in rows if row.url in there)
        raise ConfigError(
            f"{len(there)} result(s) are there already, the first is {first.output_urls[0]}.",
            hint="use --existing skip to go on where a run ended, or --existing overwrite",
        )
    return there


def _record(row: Row, status: str) -> Record:
    return Record(
        input=row.url,
        outputs=row.output_urls,
        status="skipped" if status == "skipped" else "planned",
        reason="the result is there" if status == "skipped" else "",
    )
