"""`hypir solve`: undo damage that is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hypir_cli.cli import console, options
from hypir_cli.cli.folder_run import FolderRun, work_through
from hypir_cli.config.places import are_local
from hypir_cli.config.solve import SolveConfig
from hypir_cli.errors import ConfigError

if TYPE_CHECKING:
    from hypir_cli.cli.progress import FolderProgress
    from hypir_cli.folder import FolderReport, Shard
    from hypir_cli.folder.worker import ImageWorker

_RUN = "What to do"


@options.from_settings(
    SolveConfig,
    types={
        "runtime.compile": None,
        "runtime.quantize": None,
        "output.compare": Literal["side", "none"],
    },
)
def solve(
    paths: options.Places,
    flags: Mapping[str, Any],
    simulate: Annotated[
        bool,
        typer.Option(
            "--simulate",
            help="Make measurements of clean photographs instead: damage and noise as told.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    clean_dir: Annotated[
        str | None,
        typer.Option(
            "--clean-dir",
            metavar="DIR",
            help="With --simulate: also write the photographs as measured (cut to a multiple of --factor).",
            rich_help_panel=_RUN,
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Only say which damage, method, calls, memory and time are to be expected.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only list what would be done.", rich_help_panel=_RUN),
    ] = False,
    as_json: options.JsonReport = False,
    shard: options.ShardOption = None,
    config: options.ConfigFile = None,
    set_: options.Assignments = None,
) -> None:
    """Undo damage that is known, so that the result agrees with what was measured: INPUT... OUTPUT."""
    inputs, output = options.inputs_and_output(paths)
    if clean_dir is not None and not simulate:
        raise typer.BadParameter("--clean-dir goes with --simulate.")
    settings = options.build(SolveConfig, flags, config=config, assignments=set_)
    if explain:
        _explain(inputs, output, settings)
        return
    run = FolderRun(
        inputs,
        output,
        settings,
        shard=shard,
        dry_run=dry_run,
        as_json=as_json,
        verb="measure" if simulate else "solve",
        done="measured" if simulate else "solved",
    )

    def worker(progress: FolderProgress) -> ImageWorker:
        from hypir_cli.solvers.workers import SimulateWorker, SolveWorker

        if simulate:
            return SimulateWorker(settings, clean_dir=clean_dir)
        return SolveWorker(settings, on_steps=progress.on_steps, on_ready=progress.on_solver)

    def here(output: str, part: Shard, progress: FolderProgress) -> FolderReport:
        from hypir_cli.solvers.folder import solve_folder

        return solve_folder(
            inputs,
            output,
            worker=worker(progress),
            shard=part,
            dry_run=dry_run,
            on_event=progress.on_event,
        )

    work_through(run, here=here, worker=worker, details=_print_residuals)


def _explain(inputs: list[str], output: str | None, settings: SolveConfig) -> None:
    from hypir_cli.solvers.explain import explain
    from hypir_cli.solvers.workers import run_settings

    if output is None or not are_local(inputs, output):
        raise ConfigError(
            "--explain looks at pictures of this machine, not at URLs or manifests.",
            hint="fetch a few of them and give their folder",
        )
    found, jobs = run_settings(settings).find_jobs(inputs, output)
    for line in explain(jobs, settings, hidden=found.unreadable).lines:
        console.say(line)


def _print_residuals(report: FolderReport) -> None:
    """How well the results explain what was measured."""
    found = [
        float(value)
        for record in report.records
        for value in _residuals(record.details.get("residuals"))
    ]
    if found:
        mean = sum(found) / len(found)
        console.say(
            f"Residual {mean:.2f} ({min(found):.2f} to {max(found):.2f}); near 1, a result explains "
            "the measurement as well as the noise allows."
        )


def _residuals(value: object) -> list[float]:
    return value if isinstance(value, list) else []
