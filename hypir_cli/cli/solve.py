"""`hypir solve`: undo damage that is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hypir_cli.cli import console
from hypir_cli.cli.options import Assignments, ConfigFile, ShardOption, build, from_settings
from hypir_cli.cli.sharding import chosen_shard
from hypir_cli.config.solve import SolveConfig

if TYPE_CHECKING:
    from hypir_cli.folder import FolderReport

_RUN = "What to do"


@from_settings(
    SolveConfig,
    types={
        "runtime.compile": None,
        "runtime.quantize": None,
        "output.compare": Literal["side", "none"],
    },
)
def solve(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT... OUTPUT",
            help="Files, folders or patterns to solve; last, the file or folder for results.",
            show_default=False,
        ),
    ],
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
        Path | None,
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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON.", rich_help_panel="Output")
    ] = False,
    shard: ShardOption = None,
    config: ConfigFile = None,
    set_: Assignments = None,
) -> None:
    """Undo damage that is known, so that the result agrees with what was measured: INPUT... OUTPUT."""
    if len(paths) < 2:
        raise typer.BadParameter("give at least one INPUT and, last, the OUTPUT.")
    if clean_dir is not None and not simulate:
        raise typer.BadParameter("--clean-dir goes with --simulate.")
    settings = build(SolveConfig, flags, config=config, assignments=set_)
    if explain:
        _explain(paths[:-1], paths[-1], settings)
        return
    report = _run(
        paths[:-1],
        paths[-1],
        settings,
        shard=shard,
        dry_run=dry_run,
        quiet=as_json,
        simulate=simulate,
        clean_dir=clean_dir,
    )
    verb, done = ("measure", "measured") if simulate else ("solve", "solved")
    if as_json:
        typer.echo(report.to_json(), nl=False)
    else:
        console.print_folder_summary(report, dry_run=dry_run, verb=verb, done=done)
        _print_residuals(report)
    if report.failed:
        raise typer.Exit(1)


def _run(
    inputs: list[str],
    output: str,
    settings: SolveConfig,
    *,
    shard: str | None,
    dry_run: bool,
    quiet: bool,
    simulate: bool,
    clean_dir: Path | None,
) -> FolderReport:
    from hypir_cli.cli.progress import FolderProgress
    from hypir_cli.models.allocator import keep_freed_memory
    from hypir_cli.solvers.folder import simulate_folder, solve_folder

    keep_freed_memory()
    part = chosen_shard(shard, quiet=quiet)
    with FolderProgress(quiet=quiet, first=part.index == 0) as progress:
        if simulate:
            return simulate_folder(
                inputs,
                output,
                config=settings,
                clean_dir=clean_dir,
                shard=part,
                dry_run=dry_run,
                on_event=progress.on_event,
            )
        return solve_folder(
            inputs,
            output,
            config=settings,
            shard=part,
            dry_run=dry_run,
            on_event=progress.on_event,
            on_steps=progress.on_steps,
            on_ready=progress.on_solver,
        )


def _explain(inputs: list[str], output: str, settings: SolveConfig) -> None:
    from hypir_cli.solvers.explain import explain
    from hypir_cli.solvers.folder import find_jobs

    for line in explain(find_jobs(inputs, output, config=settings), settings).lines:
        console.out.print(line, markup=False, soft_wrap=True)


def _print_residuals(report: FolderReport) -> None:
    """How well the results explain what was measured."""
    found = [
        float(value)
        for record in report.records
        for value in _residuals(record.details.get("residuals"))
    ]
    if found:
        mean = sum(found) / len(found)
        console.out.print(
            f"Residual {mean:.2f} ({min(found):.2f} to {max(found):.2f}); near 1, a result explains "
            "the measurement as well as the noise allows.",
            markup=False,
            soft_wrap=True,
        )


def _residuals(value: object) -> list[float]:
    return value if isinstance(value, list) else []
