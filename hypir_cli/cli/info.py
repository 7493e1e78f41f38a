"""`hypir info` and `hypir fetch`: what is here, and getting what is not."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from hypir_cli.cli import completion, console
from hypir_cli.config.families import family_names, find_family

if TYPE_CHECKING:
    from hypir_cli.models.memory import MemoryRow
    from hypir_cli.models.profiles import Choice


def info(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE|FOLDER]",
            help="A weights file, a folder of weights (merged too) or of a training run; without it, this machine.",
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            help="Show one backbone and the memory it takes.",
            autocompletion=completion.backbones,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show versions, devices and backbones, or what a weights file or training run is."""
    if path is not None and path.is_dir():
        _folder_info(path, as_json=as_json)
    elif path is not None:
        from hypir_cli.info.inspection import file_facts

        _print_facts({"file": str(path), **file_facts(path)}, as_json=as_json)
    elif backbone is not None:
        _backbone_info(backbone, as_json=as_json)
    else:
        _machine_info(as_json=as_json)


def fetch(
    backbone: Annotated[
        str,
        typer.Argument(help="Backbone to download, e.g. sd2.", autocompletion=completion.backbones),
    ],
    base: Annotated[
        str | None, typer.Option("--base", help="Another hub id for its base weights.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Hub revision of the base weights.")
    ] = None,
    vae: Annotated[
        str | None,
        typer.Option(
            "--vae", metavar="small|HUB_ID", help="Also download another VAE, for --vae later."
        ),
    ] = None,
) -> None:
    """Download everything a backbone needs, so that later runs work offline."""
    from hypir_cli.models.hub import fetch as fetch_backbone
    from hypir_cli.models.vae import vae_name

    family = find_family(backbone)
    licence = " ".join(family.preset.licence.split())
    if licence:
        console.err.print(f"Licences: {licence}", markup=False)
    other = "" if vae is None else vae_name(vae, family=family)
    fetched = fetch_backbone(backbone, base=base, revision=revision, vae=other)
    facts = {"base": str(fetched.base), "lora": str(fetched.lora or "none")}
    if fetched.vae is not None:
        facts["vae"] = str(fetched.vae)
    _print_facts(facts, as_json=False)


def _machine_info(*, as_json: bool) -> None:
    from hypir_cli.info.inspection import backbone_status, system_facts

    facts = system_facts()
    statuses = [backbone_status(name) for name in family_names()]
    if as_json:
        content = {"system": facts, "backbones": [asdict(status) for status in statuses]}
        typer.echo(json.dumps(content, indent=2))
        return
    _print_facts(facts, as_json=False)
    table = Table("backbone", "base weights", "here", "restoration LoRA", "here", box=None)
    for status in statuses:
        table.add_row(
            status.name,
            status.base,
            "yes" if status.base_path else "no",
            status.lora or "your own",
            "yes" if status.lora_path else ("no" if status.lora else ""),
        )
    console.out.print(table)


def _backbone_info(name: str, *, as_json: bool) -> None:
    from hypir_cli.info.inspection import backbone_status
    from hypir_cli.models.memory import memory_table
    from hypir_cli.models.profiles import PROFILES, choose_profile

    status = backbone_status(name)
    rows = memory_table(name)
    choices = [choose_profile(profile, backbone=name) for profile in PROFILES]
    found = [choice for choice in choices if choice is not None]
    if as_json:
        memory = [{**asdict(row), "total": row.total} for row in rows]
        profiles = [{**asdict(choice), "fits": choice.fits} for choice in found]
        content = {**asdict(status), "memory": memory, "profiles": profiles}
        typer.echo(json.dumps(content, indent=2))
        return
    _print_facts({key: str(value) for key, value in asdict(status).items()}, as_json=False)
    if rows:
        console.out.print(_memory_table(rows))
    if found:
        console.out.print(_profile_table(found))


def _profile_table(choices: list[Choice]) -> Table:
    """What each profile comes to."""
    table = Table(title="what --profile stands for", box=None)
    for heading in ("profile", "dtype", "quantize", "offload", "VAE", "GB", "fits"):
        table.add_column(heading)
    for choice in choices:
        step = choice.step
        table.add_row(
            choice.name,
            step.computes,
            step.quantize,
            step.offload,
            step.vae,
            f"{choice.memory / 2**30:.1f}",
            ("yes" if choice.fits else "no") if choice.budget else "",
        )
    return table


def _memory_table(rows: list[MemoryRow]) -> Table:
    """Gigabytes of weights and of one tile, by number format."""
    table = Table(title=f"GB on the device, tiles of {rows[0].tile_side} px", box=None)
    for heading in ("dtype", "quantize", "denoiser", "text", "VAE", "tile", "most at once"):
        table.add_column(heading, justify="right")
    for row in rows:
        sizes = (row.denoiser, row.text_encoders, row.vae, row.tile, row.total)
        table.add_row(row.dtype, row.quantize, *(f"{size / 2**30:.1f}" for size in sizes))
    return table


def _folder_info(path: Path, *, as_json: bool) -> None:
    from hypir_cli.info.inspection import folder_facts
    from hypir_cli.info.run import is_run_dir, summarize_run

    run = is_run_dir(path)
    facts = summarize_run(path) if run else {"folder": str(path), **folder_facts(path)}
    _print_facts(facts, as_json=as_json)


def _print_facts(facts: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        console.say(f"{key:<{width}}  {value}")
