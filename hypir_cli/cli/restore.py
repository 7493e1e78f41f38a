"""`hypir restore`: degraded photographs in, clean ones out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hypir_cli.cli import console
from hypir_cli.cli.options import Assignments, ConfigFile, build, given, option
from hypir_cli.cli.sharding import chosen_shard
from hypir_cli.config.restore import RestoreConfig
from hypir_cli.config.restore_preset import restore_preset


def _option(dotted: str, *flags: str, panel: str, metavar: str = "") -> Any:
    return option(RestoreConfig, dotted, *flags, panel=panel, metavar=metavar)


def restore(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT... OUTPUT",
            help="Files, folders or patterns to restore; last, the file or folder for results.",
            show_default=False,
        ),
    ],
    model__backbone: Annotated[
        str | None, _option("model.backbone", "--backbone", panel="Model")
    ] = None,
    model__base: Annotated[
        str | None, _option("model.base", "--base", panel="Model", metavar="PATH_OR_HUB_ID")
    ] = None,
    model__revision: Annotated[
        str | None, _option("model.revision", "--revision", panel="Model")
    ] = None,
    model__lora: Annotated[
        str | None, _option("model.lora", "--lora", panel="Model", metavar="PATH_OR_HUB_FILE")
    ] = None,
    model__lora_scale: Annotated[
        float | None, _option("model.lora_scale", "--lora-scale", panel="Model")
    ] = None,
    model__lora_fidelity: Annotated[
        str | None,
        _option(
            "model.lora_fidelity", "--lora-fidelity", panel="Model", metavar="PATH_OR_HUB_FILE"
        ),
    ] = None,
    model__merge_lora: Annotated[
        bool | None,
        _option("model.merge_lora", "--merge-lora/--keep-lora-apart", panel="Model"),
    ] = None,
    model__vae: Annotated[
        str | None,
        _option("model.vae", "--vae", panel="Model", metavar="default|small|PATH|HUB_ID"),
    ] = None,
    model__encoder: Annotated[
        Path | None, _option("model.encoder", "--encoder", panel="Model")
    ] = None,
    prompt__text: Annotated[
        str | None, _option("prompt.text", "--prompt", panel="Prompt", metavar="TEXT")
    ] = None,
    prompt__dir: Annotated[
        Path | None, _option("prompt.dir", "--prompt-dir", panel="Prompt", metavar="DIR")
    ] = None,
    prompt__caption: Annotated[
        Literal["none", "sidecar", "llava", "blip", "openai"] | None,
        _option("prompt.caption", "--caption", panel="Prompt"),
    ] = None,
    control__texture: Annotated[
        str | None, _option("control.texture", "--texture", panel="Control", metavar="NUMBER|auto")
    ] = None,
    control__texture_gain: Annotated[
        float | None, _option("control.texture_gain", "--texture-gain", panel="Control")
    ] = None,
    control__strength: Annotated[
        float | None, _option("control.strength", "--strength", panel="Control")
    ] = None,
    control__fidelity: Annotated[
        float | None, _option("control.fidelity", "--fidelity", panel="Control")
    ] = None,
    control__generativity: Annotated[
        float | None, _option("control.generativity", "--generativity", panel="Control")
    ] = None,
    control__generativity_where: Annotated[
        Literal["everywhere", "detail"] | None,
        _option("control.generativity_where", "--generativity-where", panel="Control"),
    ] = None,
    control__seed: Annotated[int | None, _option("control.seed", "--seed", panel="Control")] = None,
    control__samples: Annotated[
        int | None, _option("control.samples", "--samples", panel="Control")
    ] = None,
    control__posterior: Annotated[
        Literal["mean", "sample"] | None,
        _option("control.posterior", "--posterior", panel="Control"),
    ] = None,
    control__timestep: Annotated[
        int | None, _option("control.timestep", "--timestep", panel="Control")
    ] = None,
    control__coeff_timestep: Annotated[
        int | None, _option("control.coeff_timestep", "--coeff-timestep", panel="Control")
    ] = None,
    size__scale: Annotated[float | None, _option("size.scale", "--scale", panel="Size")] = None,
    size__long_side: Annotated[
        int | None, _option("size.long_side", "--long-side", panel="Size", metavar="PX")
    ] = None,
    size__short_side: Annotated[
        int | None, _option("size.short_side", "--short-side", panel="Size", metavar="PX")
    ] = None,
    size__megapixels: Annotated[
        float | None, _option("size.megapixels", "--megapixels", panel="Size")
    ] = None,
    tiles__size: Annotated[
        int | None, _option("tiles.size", "--tile", panel="Tiles", metavar="PX")
    ] = None,
    tiles__overlap: Annotated[
        int | None, _option("tiles.overlap", "--overlap", panel="Tiles", metavar="PX")
    ] = None,
    tiles__max_memory: Annotated[
        str | None, _option("tiles.max_memory", "--max-memory", panel="Tiles", metavar="SIZE")
    ] = None,
    tiles__batch: Annotated[
        int | None, _option("tiles.batch", "--tile-batch", panel="Tiles")
    ] = None,
    tiles__parity: Annotated[
        bool | None, _option("tiles.parity", "--parity/--no-parity", panel="Tiles")
    ] = None,
    color_fix: Annotated[
        Literal["wavelet", "adain", "none"] | None,
        _option("color_fix", "--color-fix", panel="Colour"),
    ] = None,
    runtime__device: Annotated[
        str | None, _option("runtime.device", "--device", panel="Runtime")
    ] = None,
    runtime__dtype: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"] | None,
        _option("runtime.dtype", "--dtype", panel="Runtime"),
    ] = None,
    runtime__compile: Annotated[
        bool | None, _option("runtime.compile", "--compile/--no-compile", panel="Runtime")
    ] = None,
    runtime__offload: Annotated[
        Literal["none", "model", "sequential"] | None,
        _option("runtime.offload", "--offload", panel="Runtime"),
    ] = None,
    runtime__quantize: Annotated[
        Literal["none", "int8", "fp8", "nf4"] | None,
        _option("runtime.quantize", "--quantize", panel="Runtime"),
    ] = None,
    runtime__jobs: Annotated[int | None, _option("runtime.jobs", "--jobs", panel="Runtime")] = None,
    output__format: Annotated[
        Literal["same", "png", "jpg", "webp", "tiff", "avif"] | None,
        _option("output.format", "--format", panel="Output"),
    ] = None,
    output__quality: Annotated[
        int | None, _option("output.quality", "--quality", panel="Output")
    ] = None,
    output__suffix: Annotated[
        str | None, _option("output.suffix", "--suffix", panel="Output")
    ] = None,
    output__existing: Annotated[
        Literal["skip", "overwrite", "error"] | None,
        _option("output.existing", "--existing", panel="Output"),
    ] = None,
    output__metadata: Annotated[
        Literal["keep", "strip"] | None, _option("output.metadata", "--metadata", panel="Output")
    ] = None,
    output__compare: Annotated[
        Literal["side", "html", "none"] | None,
        _option("output.compare", "--compare", panel="Output"),
    ] = None,
    output__report: Annotated[
        Path | None, _option("output.report", "--report", panel="Output", metavar="FILE.json")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only list what would be done.", rich_help_panel="Output"),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the report as JSON.", rich_help_panel="Output"),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Take part I of N of the list; launchers and job arrays set it themselves.",
            rich_help_panel="Many machines",
        ),
    ] = None,
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
    flags = given(
        {name: value for name, value in locals().items() if "__" in name or name == "color_fix"}
    )
    if len(paths) < 2:
        raise typer.BadParameter("give at least one INPUT and, last, the OUTPUT.")
    if "control.texture" in flags:
        flags["control.texture"] = _texture(flags["control.texture"])
    settings = build(
        RestoreConfig,
        flags,
        config=config,
        assignments=set_,
        preset=restore_preset(preset) if preset else None,
    )
    _run(paths[:-1], paths[-1], settings, shard=shard, dry_run=dry_run, as_json=as_json)


def _texture(text: str) -> float | str:
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"--texture takes a number or auto, got {text!r}.") from error


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
