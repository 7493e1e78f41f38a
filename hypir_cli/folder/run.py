"""Restore a list of images: skip what is there, report, and survive single failures."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from hypir_cli.errors import ConfigError, HypirError
from hypir_cli.folder.events import Listener, Log
from hypir_cli.folder.finish import Output
from hypir_cli.folder.jobs import Job
from hypir_cli.folder.names import is_there
from hypir_cli.folder.pipeline import Pipeline, RestoreOne
from hypir_cli.folder.report import FolderReport, Record, planned
from hypir_cli.folder.scan import Unreadable
from hypir_cli.folder.shard import Shard
from hypir_cli.folder.staging import Staging
from hypir_cli.images import Reading


def run_folder(
    jobs: Sequence[Job],
    restore_one: RestoreOne | None,
    *,
    existing: Literal["skip", "overwrite", "error"] = "skip",
    quality: int | None = None,
    keep_metadata: bool = True,
    compare: bool = False,
    num_jobs: int = 2,
    reading: Reading | None = None,
    shard: Shard | None = None,
    report_path: Path | None = None,
    settings: Mapping[str, object] | None = None,
    output_pixels: Callable[[int, int], int] = lambda height, width: height * width,
    unreadable: Sequence[Unreadable] = (),
    left_out: Mapping[str, int] | None = None,
    staging: Staging | None = None,
    on_event: Listener = lambda event: None,
) -> FolderReport:
    """Restore every job of this shard; one that fails is recorded and the rest go on.

    Args:
        jobs: The whole list, the same on every shard.
        restore_one: Called in this thread, one image at a time; None only says what would be done.
        existing: What to do where a result is there: leave it and go on, write it anew, or refuse to start.
        quality: 1..100 for lossy formats, None for each format's default.
        keep_metadata: Carry Exif, XMP and dpi over.
        compare: Also write each input beside its result.
        num_jobs: Threads for reading, and as many for writing.
        reading: How files are read; None takes every default.
        shard: The part of the list to take; None is all of it.
        report_path: JSON file to write at the end, also when interrupted, and when nothing is to be done.
        settings: For the report.
        output_pixels: Pixels of all results of an image of (height, width), for bounding memory.
        unreadable: Folders and files that could not be looked into; the first shard reports them as failures.
        left_out: Pictures that were passed over, for the report.
        staging: Brings inputs and takes results where a job's are not local.
        on_event: Called as things happen, from several threads but never at the same time.

    Raises:
        ConfigError: `existing` is error and a result is there.
        InputError: The report cannot be written.
        KeyboardInterrupt: Passed on once the images that were being written are whole.
    """
    shard = shard or Shard()
    mine = shard.take(jobs)
    todo = mine if existing == "overwrite" else [job for job in mine if not _is_done(job)]
    if existing == "error" and any(is_there(path) for job in mine for path in job.output_paths):
        raise _existing_error(mine)
    log = Log(mine, on_event)
    report = partial(_report, jobs=mine, shard=shard, settings=settings, left_out=left_out)
    if shard.index == 0:
        _fail_unreadable(unreadable, log)
    if restore_one is None:
        log.skip_all_but(todo)
        return report(log.records + planned(todo), path=report_path)
    output = Output(
        quality=quality,
        keep_metadata=keep_metadata,
        overwrite=existing == "overwrite",
    )
    pipeline = Pipeline(
        restore_one,
        log,
        output,
        keep_pixels=compare,
        num_jobs=num_jobs,
        output_pixels=output_pixels,
        staging=staging or Staging(),
        reading=reading or Reading(),
    )
    try:
        log.skip_all_but(todo)
        pipeline.run(todo)
    except BaseException:
        with contextlib.suppress(HypirError):
            report(log.records, path=report_path, interrupted=True)
        raise
    return report(log.records, path=report_path)


def _fail_unreadable(unreadable: Sequence[Unreadable], log: Log) -> None:
    """Report what could not be looked into like images that failed."""
    for item in unreadable:
        log.fail(Job(input_path=item.path, relative_path=item.path, output_paths=()), item.error())


def _is_done(job: Job) -> bool:
    return all(is_there(path) for path in job.output_paths)


def _existing_error(jobs: Sequence[Job]) -> ConfigError:
    there = [path for job in jobs for path in job.output_paths if is_there(path)]
    return ConfigError(
        f"{len(there)} result(s) are there already, the first is {there[0]}.",
        hint="use --existing skip to go on where a run ended, or --existing overwrite",
    )


def _report(
    records: Sequence[Record],
    *,
    jobs: Sequence[Job],
    shard: Shard,
    settings: Mapping[str, object] | None,
    left_out: Mapping[str, int] | None,
    path: Path | None,
    interrupted: bool = False,
) -> FolderReport:
    """The report in the order of the jobs, written where asked."""
    order = {job.input_name: index for index, job in enumerate(jobs)}
    report = FolderReport(
        records=tuple(sorted(records, key=lambda record: order.get(record.input, len(order)))),
        shard=shard,
        interrupted=interrupted,
        settings=settings or {},
        left_out=left_out or {},
    )
    if path is not None:
        report.write(path)
    return report
