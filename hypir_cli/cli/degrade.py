"""`hypir degrade`: make low-quality copies of clean photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hypir_cli.cli import completion, console
from hypir_cli.cli.options import Assignments, ConfigFile, build
from hypir_cli.config.degradation import PRESETS, DegradationConfig, preset_values
from hypir_cli.config.schema import to_yaml


def degrade(
    source: Annotated[
        Path | None, typer.Argument(metavar="IN", help="Folder (with its tree) or image.")
    ] = None,
    target: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="Folder for the PNG results.")
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            "--preset",
            help=f"Settings to start from: {', '.join(PRESETS)}.",
            autocompletion=completion.degradations,
        ),
    ] = PRESETS[0],
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Same seed and relative path, same bytes.")
    ] = 0,
    config: ConfigFile = None,
    set_: Assignments = None,
    keep_small: Annotated[
        bool,
        typer.Option("--keep-small", help="Leave results at the final size (input / scale)."),
    ] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the settings with comments and stop.")
    ] = False,
) -> None:
    """Degrade clean photographs: blur, noise, resizing, JPEG, old prints."""
    settings = build(
        DegradationConfig,
        {"output": "small"} if keep_small else {},
        config=config,
        assignments=set_,
        preset=(f"preset {preset}", preset_values(preset)),
    )
    if print_config:
        typer.echo(to_yaml(settings, comments=True), nl=False)
        return
    if source is None or target is None:
        raise typer.BadParameter("IN and OUT are needed.")
    _run(source, target, settings, preset=preset, seed=seed)


def _run(
    source: Path, target: Path, settings: DegradationConfig, *, preset: str, seed: int
) -> None:
    from hypir_cli.train.degradation.folder import RECORD_NAME, degrade_folder

    def report(name: str, failure: str) -> None:
        if failure:
            console.print_failed(name, failure)
        else:
            console.note(console.one_line(name))

    done = degrade_folder(source, target, config=settings, preset=preset, seed=seed, on_file=report)
    console.say(
        f"{len(done.written)} degraded, {len(done.failed)} failed; parameters in "
        f"{target / RECORD_NAME}"
    )
    if done.failed:
        raise typer.Exit(1)
