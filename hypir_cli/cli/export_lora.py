"""`hypir export-lora`: a trained LoRA for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hypir_cli.cli import console
from hypir_cli.cli.options import build, given, option
from hypir_cli.config.export import ExportConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypir_cli.export.reduce import Reduction


def _opt(dotted: str, *flags: str, metavar: str = "") -> Any:
    return option(ExportConfig, dotted, *flags, metavar=metavar)


def export_lora(
    checkpoint: Annotated[
        Path,
        typer.Argument(metavar="CHECKPOINT", help="LoRA file, checkpoint folder or training run."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File or folder to write.")],
    format: Annotated[
        str | None, _opt("format", "--format", metavar="peft|diffusers|kohya|reference|merged")
    ] = None,
    ema: Annotated[
        bool,
        typer.Option("--ema/--raw", help="Averaged or as-trained weights of a training run."),
    ] = True,
    dtype: Annotated[str | None, _opt("dtype", "--dtype", metavar="fp32|fp16|bf16")] = None,
    rank: Annotated[int | None, _opt("rank", "--rank")] = None,
    backbone: Annotated[str | None, _opt("backbone", "--backbone")] = None,
    base: Annotated[str | None, _opt("base", "--base")] = None,
    revision: Annotated[str | None, _opt("revision", "--revision")] = None,
    overwrite: Annotated[bool, _opt("overwrite", "--overwrite")] = False,
) -> None:
    """Write a LoRA for PEFT, diffusers, ComfyUI or A1111, as the release's .pth, or merged into its base."""
    flags = {
        "format": format,
        "weights": "ema" if ema else "raw",
        "dtype": dtype,
        "rank": rank,
        "backbone": backbone,
        "base": base,
        "revision": revision,
        "overwrite": overwrite,
    }
    settings = build(ExportConfig, given(flags))

    from hypir_cli.export.run import export_lora as run

    result = run(checkpoint, out, config=settings)
    for warning in result.warnings:
        console.print_warning(warning)
    if result.reductions:
        _print_reductions(result.reductions)
    console.out.print(
        f"{settings.format}: {result.num_layers} layers of {result.source} -> {result.path}",
        markup=False,
        soft_wrap=True,
    )


def _print_reductions(reductions: Sequence[Reduction]) -> None:
    from hypir_cli.export.reduce import summarize

    total = summarize(reductions)
    worst = total.worst
    console.out.print(
        f"rank {max(item.old_rank for item in reductions)} -> {max(item.new_rank for item in reductions)}: "
        f"{total.energy_kept:.2%} of the energy kept, relative output error of the adapters "
        f"{total.mean_error:.2%} (worst {worst.error:.2%} at {worst.module})",
        markup=False,
        soft_wrap=True,
    )
