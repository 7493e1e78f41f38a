"""How `hypir restore` and `hypir solve` work through images: here or by URL, all or a part of them, with progress; what they did is
printed, failed images make the exit code 1, and one process speaks for several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

import typer

from hypir_cli.cli import console
from hypir_cli.cli.sharding import chosen_shard
from hypir_cli.config.places import are_local

if TYPE_CHECKING:
    from hypir_cli.cli.progress import FolderProgress
    from hypir_cli.config.restore import RestoreConfig
    from hypir_cli.config.solve import SolveConfig
    from hypir_cli.folder import FolderReport, Shard
    from hypir_cli.folder.worker import ImageWorker


@dataclass(frozen=True)
class FolderRun:
    """What is asked of a run."""

    inputs: list[str]
    """Files, folders and patterns, or one manifest."""
    output: str | None
    """Where results go; None where a manifest says so."""
    settings: RestoreConfig | SolveConfig
    """All settings."""
    _: KW_ONLY
    shard: str | None
    """The part that the user chose; a launcher's processes then do not wait for each other."""
    dry_run: bool
    """Only say what would be done."""
    as_json: bool
    """Print JSON."""
    verb: str = "restore"
    """What is done to an image."""
    done: str = "restored"
    """What it is afterwards."""


def work_through(
    run: FolderRun,
    *,
    here: Callable[[str, Shard, FolderProgress], FolderReport],
    worker: Callable[[FolderProgress], ImageWorker],
    details: Callable[[FolderReport], None] = lambda report: None,
) -> None:
    """Do it, print what was done and leave.

    Args:
        run: What is asked.
        here: Works through local files: gets the output, the part to take and whom to tell.
        worker: Makes what works on the images of URLs and manifests.
        details: Prints what else there is to say.

    Raises:
        HypirError: Nothing to do, or a model cannot be loaded.
        typer.Exit: An image failed, here or, on the first process, anywhere.
    """
    from hypir_cli.cli.progress import FolderProgress
    from hypir_cli.folder.gather import gather_reports
    from hypir_cli.folder.manifest_run import Listeners, run_urls
    from hypir_cli.models.allocator import keep_freed_memory

    keep_freed_memory()
    part = chosen_shard(run.shard, quiet=run.as_json)
    with FolderProgress(quiet=run.as_json, first=part.index == 0, done=run.done) as progress:
        local = run.settings.cluster.engine == "local"
        if local and run.output is not None and are_local(run.inputs, run.output):
            report = here(run.output, part, progress)
        else:
            report = run_urls(
                run.inputs,
                run.output,
                worker=worker(progress),
                shard=part,
                dry_run=run.dry_run,
                listeners=Listeners(on_event=progress.on_event, on_shard=progress.on_shard),
            )
    joint = report if run.shard is not None else gather_reports(report)
    if joint is None:
        return
    if joint is not report and run.settings.output.report is not None:
        joint.write(run.settings.output.report)
    if run.as_json:
        typer.echo(joint.to_json(), nl=False)
    else:
        console.print_folder_summary(joint, dry_run=run.dry_run, verb=run.verb, done=run.done)
        details(joint)
    if joint.count("failed"):
        raise typer.Exit(1)
