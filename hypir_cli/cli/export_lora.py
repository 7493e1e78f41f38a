"""`hypir export-lora`: a trained LoRA for other programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hypir_cli.cli import console
from hypir_cli.cli.options import build, from_settings
from hypir_cli.config.export import ExportConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypir_cli.export.reduce import Reduction


@from_settings(ExportConfig)
def export_lora(
    checkpoint: Annotated[
        Path,
        typer.Argument(metavar="CHECKPOINT", help="LoRA file, checkpoint folder or training run."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File or folder to write.")],
    flags: Mapping[str, Any],
    ema: Annotated[
        bool | None,
        typer.Option(
            "--ema/--raw",
            help="Averaged or as-trained weights of a training run. \\[default: ema]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a LoRA for PEFT, diffusers, ComfyUI or A1111, as the release's .pth, or merged into its base."""
    weights = {} if ema is None else {"weights": "ema" if ema else "raw"}
    settings = build(ExportConfig, {**flags, **weights})

    from hypir_cli.export.run import export_lora as run

    result = run(checkpoint, out, config=settings)
    for warning in result.warnings:
        console.print_warning(warning)
    if result.reductions:
        _print_reductions(result.reductions)
    console.say(
        f"{settings.format}: {result.num_layers} layers of {result.source} -> {result.path}"
    )


def _print_reductions(reductions: Sequence[Reduction]) -> None:
    from hypir_cli.export.reduce import summarize

    total = summarize(reductions)
    worst = total.worst
    console.say(
        f"rank {max(item.old_rank for item in reductions)} -> {max(item.new_rank for item in reductions)}: "
        f"{total.energy_kept:.2%} of the energy kept, relative output error of the adapters "
        f"{total.mean_error:.2%} (worst {worst.error:.2%} at {worst.module})"
    )
