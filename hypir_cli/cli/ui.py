"""`hypir ui`: the restorer in a local page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hypir_cli.cli import console
from hypir_cli.cli.options import build, given, option
from hypir_cli.config.ui import UiConfig
from hypir_cli.errors import ConfigError


def ui(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FOLDER]...",
            help="Folders the page may read and write; without any, this one.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str | None, option(UiConfig, "host", "--host")] = None,
    port: Annotated[int | None, option(UiConfig, "port", "--port")] = None,
    auth_env: Annotated[
        str | None, option(UiConfig, "auth_env", "--auth-env", metavar="NAME")
    ] = None,
    open_browser: Annotated[
        bool | None, option(UiConfig, "open_browser", "--open/--no-open")
    ] = None,
) -> None:
    """Restore in the browser: drop photographs or type a folder, see before and after, turn the controls."""
    flags = given({"host": host, "port": port, "auth_env": auth_env, "open_browser": open_browser})
    settings = build(UiConfig, flags | ({"folders": tuple(folders)} if folders else {}))
    from hypir_cli.models.allocator import keep_freed_memory

    keep_freed_memory()
    try:
        from hypir_cli.ui.server import serve
    except ImportError as error:
        raise ConfigError(
            f"the page needs the package {error.name}, which is not installed.",
            hint="pip install 'hypir[ui]'",
        ) from error

    def announce(address: str) -> None:
        console.out.print(f"hypir is at {address} (Ctrl-C ends it)", soft_wrap=True)

    serve(settings, on_ready=announce)
