"""`hypir plan`: list millions of images once, into a manifest that `hypir restore` or `hypir solve` works through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from hypir_cli.cli import console
from hypir_cli.cli.options import build, from_settings
from hypir_cli.config.places import local_text
from hypir_cli.config.scale import PlanConfig


@from_settings(PlanConfig)
def plan(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT... OUTPUT",
            help="Files, folders or patterns, local or by URL (s3://...); last, the folder for results.",
            show_default=False,
        ),
    ],
    flags: Mapping[str, Any],
    manifest: Annotated[
        str,
        typer.Option(
            "--manifest", metavar="FILE.parquet", help="Manifest to write, a path or a URL."
        ),
    ] = "manifest.parquet",
) -> None:
    """List images once for many machines: INPUT... OUTPUT."""
    config = build(PlanConfig, flags)
    if len(paths) < 2:
        raise typer.BadParameter("give at least one INPUT and, last, the OUTPUT.")
    *inputs, output = map(local_text, paths)
    from hypir_cli.folder.listing import output_folder, plan_rows
    from hypir_cli.folder.manifest import Plan, write_manifest

    about = Plan(
        output=output_folder(inputs, output),
        samples=config.samples,
        format=config.format,
        suffix=config.suffix,
        lossless=config.lossless,
    )
    written = write_manifest(
        local_text(manifest),
        plan_rows(inputs, output, plan=about),
        plan=about,
        shards_of=config.shards_of,
    )
    console.say(f"{written.num_images} images in {written.num_shards} shards: {written.place}")
    console.say(f"Next: hypir restore {written.place} (or hypir solve)")
