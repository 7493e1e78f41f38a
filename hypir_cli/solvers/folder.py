"""`hypir solve` as one call: find the pictures, load the prior once, solve each, report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from hypir_cli.folder import Event, FolderReport, Shard
from hypir_cli.folder.report import check_report_place
from hypir_cli.folder.worker import ImageWorker


def solve_folder(
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    worker: ImageWorker,
    shard: Shard | None = None,
    dry_run: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
) -> FolderReport:
    """Solve, or measure, files, folders and patterns into a file or folder.

    Args:
        inputs: Measured (damaged) pictures; to make measurements, clean ones.
        output: Where results go.
        worker: What is done to each, and the settings.
        shard: The part of the list this process takes; None is all.
        dry_run: Only say what would be done; loads no model.
        on_event: Told of every picture that is started, done, skipped or failed.

    Returns:
        What became of each picture; failed ones are in it, not raised.

    Raises:
        HypirError: Nothing to solve, settings that do not fit together, or a prior that cannot be loaded.
    """
    settings = worker.settings
    check_report_place(settings.output.report, shard)
    found, jobs = settings.find_jobs(inputs, output)
    run = partial(
        settings.run(jobs), shard=shard, unreadable=found.unreadable, left_out=found.left_out
    )
    todo = not dry_run and run(None).count("planned")
    return run(
        worker.load() if todo else None, report_path=settings.output.report, on_event=on_event
    )
