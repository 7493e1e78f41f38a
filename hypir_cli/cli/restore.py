"""`hypir restore`: degraded photographs in, clean ones out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from hypir_cli.cli import console
from hypir_cli.cli.options import Assignments, ConfigFile, Shard, build, from_settings
from hypir_cli.cli.sharding import chosen_shard
from hypir_cli.config.restore import RestoreConfig
from hypir_cli.config.restore_preset import restore_preset


@from_settings(RestoreConfig)
def restore(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT... OUTPUT",
            help="Files, folders or patterns to restore; last, the file or folder for results.",
            show_default=False,
        ),
    ],
    flags: Mapping[str, Any],
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only list what would be done.", rich_help_panel="Output"),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the report as JSON.", rich_help_panel="Output"),
    ] = False,
    shard: Shard = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME|FILE.yaml",
            help="Settings to start from: old-print, scan, phone-night, web-jpeg, enlarge-x2, enlarge-x4, or a file; "
            "--config and flags beat them.",
        ),
    ] = None,
    config: ConfigFile = None,
    set_: Assignments = None,
) -> None:
    """Restore photographs: INPUT... OUTPUT."""
    if len(paths) < 2:
        raise typer.BadParameter("give at least one INPUT and, last, the OUTPUT.")
    settings = build(
        RestoreConfig,
        flags,
        config=config,
        assignments=set_,
        preset=restore_preset(preset) if preset else None,
    )
    _run(paths[:-1], paths[-1], settings, shard=shard, dry_run=dry_run, as_json=as_json)


def _run(
    inputs: list[str],
    output: str,
    settings: RestoreConfig,
    *,
    shard: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    from hypir_cli.cli.progress import FolderProgress, console_logging

    console_logging()
    from hypir_cli.caption.describe import load_describer
    from hypir_cli.models.allocator import keep_freed_memory
    from hypir_cli.restore.folder import restore_folder

    keep_freed_memory()
    part = chosen_shard(shard, quiet=as_json)
    with FolderProgress(quiet=as_json, first=part.index == 0) as progress:
        report = restore_folder(
            inputs,
            output,
            config=settings,
            shard=part,
            load_describer=load_describer,
            dry_run=dry_run,
            on_event=progress.on_event,
            on_tiles=progress.on_tiles,
            on_ready=progress.on_ready,
        )
    if as_json:
        typer.echo(report.to_json(), nl=False)
    else:
        console.print_folder_summary(report, dry_run=dry_run)
    if report.failed:
        raise typer.Exit(1)
