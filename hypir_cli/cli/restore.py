"""`hypir restore`: degraded photographs in, clean ones out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hypir_cli.cli import completion, console, options
from hypir_cli.cli.sharding import chosen_shard
from hypir_cli.config.places import are_local
from hypir_cli.config.restore import RestoreConfig
from hypir_cli.config.restore_preset import restore_preset
from hypir_cli.models.profiles import ProfileName

if TYPE_CHECKING:
    from hypir_cli.cli.progress import FolderProgress
    from hypir_cli.folder import FolderReport, Shard


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
            autocompletion=completion.presets,
            help="Settings to start from: old-print, scan, phone-night, web-jpeg, enlarge-x2, enlarge-x4, or a file; "
            "--config and flags beat them.",
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
    _run(inputs, output, settings, shard=shard, dry_run=dry_run, as_json=as_json)


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


def _run(
    inputs: list[str],
    output: str | None,
    settings: RestoreConfig,
    *,
    shard: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    from hypir_cli.cli.gathering import end_run
    from hypir_cli.cli.progress import FolderProgress
    from hypir_cli.models.allocator import keep_freed_memory

    keep_freed_memory()
    part = chosen_shard(shard, quiet=as_json)
    with FolderProgress(quiet=as_json, first=part.index == 0) as progress:
        here = settings.cluster.engine == "local"
        if here and output is not None and are_local(inputs, output):
            report = _restore_local(inputs, output, settings, part, progress, dry_run=dry_run)
        else:
            report = _restore_urls(inputs, output, settings, part, progress, dry_run=dry_run)
    end_run(
        report,
        by_hand=shard is not None,
        report_path=settings.output.report,
        dry_run=dry_run,
        as_json=as_json,
    )


def _restore_local(
    inputs: list[str],
    output: str,
    settings: RestoreConfig,
    part: Shard,
    progress: FolderProgress,
    *,
    dry_run: bool,
) -> FolderReport:
    from hypir_cli.caption.describe import load_describer
    from hypir_cli.restore.folder import restore_folder

    return restore_folder(
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


def _restore_urls(
    inputs: list[str],
    output: str | None,
    settings: RestoreConfig,
    part: Shard,
    progress: FolderProgress,
    *,
    dry_run: bool,
) -> FolderReport:
    from hypir_cli.caption.describe import load_describer
    from hypir_cli.folder.manifest_run import Listeners, run_urls
    from hypir_cli.restore.lazy_worker import LazyWorker

    worker = LazyWorker(
        settings,
        load_describer=load_describer,
        on_tiles=progress.on_tiles,
        on_ready=progress.on_ready,
    )
    return run_urls(
        inputs,
        output,
        worker=worker,
        shard=part,
        dry_run=dry_run,
        listeners=Listeners(on_event=progress.on_event, on_shard=progress.on_shard),
    )
