"""`hypir caption`: prompts for a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hypir_cli.cli import console
from hypir_cli.cli.options import Assignments, ConfigFile, build, given, option
from hypir_cli.config.caption import CaptionConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypir_cli.caption.images import CaptionSummary, Prepare
    from hypir_cli.config.restore import RestoreConfig

_MODEL = "Captioner"
_SERVER = "Endpoint (--captioner openai)"


def _opt(dotted: str, *flags: str, panel: str = "", metavar: str = "") -> Any:
    return option(CaptionConfig, dotted, *flags, panel=panel, metavar=metavar)


def caption(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="Images, folders (searched) or patterns."),
    ],
    to: Annotated[str | None, _opt("to", "--to", metavar="sidecar|jsonl|parquet")] = None,
    out: Annotated[Path | None, _opt("out", "--out")] = None,
    existing: Annotated[
        str | None, _opt("existing", "--existing", metavar="skip|overwrite|error")
    ] = None,
    batch: Annotated[int | None, _opt("batch", "--batch")] = None,
    pre_restore: Annotated[bool, _opt("pre_restore", "--pre-restore")] = False,
    captioner__kind: Annotated[
        str | None,
        _opt(
            "captioner.kind",
            "--captioner",
            panel=_MODEL,
            metavar="llava|blip|openai|fixed|sidecar",
        ),
    ] = None,
    captioner__model: Annotated[
        str | None, _opt("captioner.model", "--model", panel=_MODEL)
    ] = None,
    captioner__revision: Annotated[
        str | None, _opt("captioner.revision", "--revision", panel=_MODEL)
    ] = None,
    captioner__template: Annotated[
        str | None, _opt("captioner.template", "--template", panel=_MODEL)
    ] = None,
    captioner__text: Annotated[str | None, _opt("captioner.text", "--text", panel=_MODEL)] = None,
    captioner__max_tokens: Annotated[
        int | None, _opt("captioner.max_tokens", "--max-tokens", panel=_MODEL)
    ] = None,
    captioner__keep_quality_words: Annotated[
        bool, _opt("captioner.keep_quality_words", "--keep-quality-words", panel=_MODEL)
    ] = False,
    captioner__device: Annotated[
        str | None, _opt("captioner.device", "--device", panel=_MODEL)
    ] = None,
    captioner__dtype: Annotated[
        str | None, _opt("captioner.dtype", "--dtype", panel=_MODEL, metavar="auto|fp32|bf16|fp16")
    ] = None,
    captioner__endpoint__url: Annotated[
        str | None, _opt("captioner.endpoint.url", "--url", panel=_SERVER)
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            rich_help_panel=_SERVER,
            help="The key; other users of the machine can see it in the process list, so prefer --key-env.",
        ),
    ] = None,
    captioner__endpoint__key_env: Annotated[
        str | None, _opt("captioner.endpoint.key_env", "--key-env", panel=_SERVER)
    ] = None,
    captioner__endpoint__timeout: Annotated[
        float | None, _opt("captioner.endpoint.timeout", "--timeout", panel=_SERVER)
    ] = None,
    captioner__endpoint__attempts: Annotated[
        int | None, _opt("captioner.endpoint.attempts", "--attempts", panel=_SERVER)
    ] = None,
    captioner__endpoint__per_minute: Annotated[
        float | None, _opt("captioner.endpoint.per_minute", "--per-minute", panel=_SERVER)
    ] = None,
    captioner__endpoint__long_side: Annotated[
        int | None, _opt("captioner.endpoint.long_side", "--send-side", panel=_SERVER)
    ] = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Write a prompt for every image: text files beside them, or one JSONL or Parquet table.

    What it writes feeds the training commands and `hypir restore --prompt-dir` or `--caption sidecar`.
    """
    flags = {
        name: value
        for name, value in locals().items()
        if name not in ("inputs", "api_key", "config", "assignments")
    }
    settings = build(CaptionConfig, given(flags), config=config, assignments=assignments)
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
