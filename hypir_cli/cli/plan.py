"""`hypir plan`: list millions of images once, into a manifest that `hypir restore` works through."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from hypir_cli.cli import console
from hypir_cli.cli.options import build, given, option
from hypir_cli.config.places import local_text
from hypir_cli.config.scale import PlanConfig


def _option(dotted: str, *flags: str) -> Any:
    return option(PlanConfig, dotted, *flags, panel="")


def plan(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT... OUTPUT",
            help="Files, folders or patterns, local or by URL (s3://...); last, the folder for results.",
            show_default=False,
        ),
    ],
    manifest: Annotated[
        str,
        typer.Option(
            "--manifest", metavar="FILE.parquet", help="Manifest to write, a path or a URL."
        ),
    ] = "manifest.parquet",
    shards_of: Annotated[int | None, _option("shards_of", "--shards-of")] = None,
    format: Annotated[
        Literal["same", "png", "jpg", "webp", "tiff", "avif"] | None,
        _option("format", "--format"),
    ] = None,
    suffix: Annotated[str | None, _option("suffix", "--suffix")] = None,
    samples: Annotated[int | None, _option("samples", "--samples")] = None,
) -> None:
    """List images once for many machines: INPUT... OUTPUT."""
    names = ("shards_of", "format", "suffix", "samples")
    values = locals()
    config = build(PlanConfig, given({name: values[name] for name in names}))
    if len(paths) < 2:
        raise typer.BadParameter("give at least one INPUT and, last, the OUTPUT.")
    from hypir_cli.folder.listing import output_folder, plan_rows
    from hypir_cli.folder.manifest import Plan, write_manifest

    *inputs, output = map(local_text, paths)
    about = Plan(
        output=output_folder(inputs, output),
        samples=config.samples,
        format=config.format,
        suffix=config.suffix,
    )
    written = write_manifest(
        local_text(manifest),
        plan_rows(inputs, output, plan=about),
        plan=about,
        shards_of=config.shards_of,
    )
    console.out.print(
        f"{written.num_images} images in {written.num_shards} shards: {written.place}",
        markup=False,
        soft_wrap=True,
    )
    console.out.print(f"Next: hypir restore {written.place}", markup=False, soft_wrap=True)
