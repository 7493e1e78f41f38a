"""`hypir caption`: prompts for a folder of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hypir_cli.cli import console
from hypir_cli.cli.options import Assignments, ConfigFile, build, from_settings
from hypir_cli.config.caption import CaptionConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypir_cli.caption.images import CaptionSummary, Prepare
    from hypir_cli.config.restore import RestoreConfig


@from_settings(CaptionConfig)
def caption(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="Images, folders (searched) or patterns."),
    ],
    flags: Mapping[str, Any],
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            rich_help_panel="Endpoint (--captioner openai)",
            help="The key; other users of the machine can see it in the process list, so prefer --key-env.",
        ),
    ] = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Write a prompt for every image: text files beside them, or one JSONL or Parquet table.

    What it writes feeds the training commands and `hypir restore --prompt-dir` or `--caption sidecar`.
    """
    settings = build(CaptionConfig, flags, config=config, assignments=assignments)
    summary = _run(inputs, settings, api_key=api_key)
    for path, error in summary.failures:
        console.print_failure(path, error)
    console.print_left_out(summary.left_out)
    console.out.print(
        f"{summary.written} captioned, {summary.skipped} had a prompt, {len(summary.failures)} failed"
    )
    if summary.failures:
        raise typer.Exit(1)


def _run(inputs: list[str], settings: CaptionConfig, *, api_key: str | None) -> CaptionSummary:
    from hypir_cli.caption.run import caption_folder

    restorer: Callable[[RestoreConfig], Prepare] | None = None
    if settings.pre_restore:  # captions from an endpoint need no torch
        from hypir_cli.restore.quick import quick_restore as restorer

    with _progress() as progress:
        task = progress.add_task("captioning", total=None)
        return caption_folder(
            inputs,
            config=settings,
            api_key=api_key,
            load_restorer=restorer,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console.err,
        disable=not console.on_terminal(),
        transient=True,
    )
