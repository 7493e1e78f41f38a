"""`hypir ui`: the restorer in a local page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hypir_cli.cli import console
from hypir_cli.cli.options import build, from_settings
from hypir_cli.config.extras import needing
from hypir_cli.config.ui import UiConfig


@from_settings(UiConfig)
def ui(
    flags: Mapping[str, Any],
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FOLDER]...",
            help="Folders the page may read and write; without any, this one.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Restore in the browser: drop photographs or type a folder, see before and after, turn the controls."""
    settings = build(UiConfig, {**flags, **({"folders": tuple(folders)} if folders else {})})
    from hypir_cli.models.allocator import keep_freed_memory

    keep_freed_memory()
    with needing("the page needs", extra="ui"):
        from hypir_cli.ui.server import serve

    def announce(address: str) -> None:
        console.out.print(f"hypir is at {address} (Ctrl-C ends it)", soft_wrap=True)

    serve(settings, on_ready=announce)
