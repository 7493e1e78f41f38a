"""`hypir restore`: degraded photographs in, clean ones out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hypir_cli.cli import completion, console, options
from hypir_cli.cli.folder_run import FolderRun, work_through
from hypir_cli.config.restore import RestoreConfig
from hypir_cli.config.restore_preset import restore_preset
from hypir_cli.models.profiles import ProfileName

if TYPE_CHECKING:
    from hypir_cli.cli.progress import FolderProgress
    from hypir_cli.folder import FolderReport, Shard
    from hypir_cli.folder.worker import ImageWorker


@options.from_settings(RestoreConfig)
def restore(
    paths: options.Places,
    flags: Mapping[str, Any],
    dry_run: options.DryRun = False,
    as_json: options.JsonReport = False,
    shard: options.ShardOption = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME|FILE.yaml",
            help="Settings to start from: old-print, scan, phone-night, web-jpeg, enlarge-x2, enlarge-x4, or a file; "
            "--config and flags beat them.",
            autocompletion=completion.presets,
        ),
    ] = None,
    profile: Annotated[
        ProfileName,
        typer.Option(
            "--profile",
            help="Number format, quantisation, offload and VAE for the memory of a machine; presets, --config and "
            "flags beat it. auto goes by the device's memory and keeps the VAE.",
            rich_help_panel="Runtime",
        ),
    ] = "auto",
    config: options.ConfigFile = None,
    set_: options.Assignments = None,
) -> None:
    """Restore photographs: INPUT... OUTPUT."""
    inputs, output = options.inputs_and_output(paths)
    layers = partial(
        options.build,
        RestoreConfig,
        flags,
        config=config,
        assignments=set_,
        preset=restore_preset(preset) if preset else None,
    )
    settings = layers()
    if not dry_run:
        settings = _with_profile(profile, settings, layers, quiet=as_json)
    run = FolderRun(inputs, output, settings, shard=shard, dry_run=dry_run, as_json=as_json)
    work_through(run, here=partial(_here, run, settings), worker=partial(_worker, settings))


def _with_profile(
    name: str,
    settings: RestoreConfig,
    layers: Callable[..., RestoreConfig],
    *,
    quiet: bool,
) -> RestoreConfig:
    """The settings with those of a profile below them, and a line that says which they are."""
    from hypir_cli.models.profiles import choose_profile

    choice = choose_profile(name, backbone=settings.model.backbone, device=settings.runtime.device)
    if choice is None or not choice.step.settings():
        return settings
    below = choice.step.settings()
    if not quiet:
        values = ", ".join(f"{key.partition('.')[2]} {value}" for key, value in below.items())
        console.err.print(
            f"profile {name}: {values} (about {choice.memory / 2**30:.1f} GB)", markup=False
        )
    return layers(below=(f"profile {name}", below))


def _here(
    run: FolderRun,
    settings: RestoreConfig,
    output: str,
    part: Shard,
    progress: FolderProgress,
) -> FolderReport:
    from hypir_cli.caption.describe import load_describer
    from hypir_cli.restore.folder import restore_folder

    return restore_folder(
        run.inputs,
        output,
        config=settings,
        shard=part,
        load_describer=load_describer,
        dry_run=run.dry_run,
        on_event=progress.on_event,
        on_tiles=progress.on_tiles,
        on_ready=progress.on_ready,
    )


def _worker(settings: RestoreConfig, progress: FolderProgress) -> ImageWorker:
    from hypir_cli.caption.describe import load_describer
    from hypir_cli.restore.lazy_worker import LazyWorker

    return LazyWorker(
        settings,
        load_describer=load_describer,
        on_tiles=progress.on_tiles,
        on_ready=progress.on_ready,
    )
