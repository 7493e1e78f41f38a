"""Settings of `hypir ui`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hypir_cli.config.checks import check_within
from hypir_cli.config.flags import flag

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Addresses that only this machine reaches."""


@dataclass(frozen=True, kw_only=True)
class UiConfig:
    """How the page is served, and what it may touch."""

    folders: tuple[Path, ...] = (Path(),)
    """Folders the page may read and write, with everything below them."""
    host: str = flag("127.0.0.1", "--host")
    """Address to serve on; any other than this machine's own needs a password."""
    port: int = flag(7860, "--port")
    """Port to serve on; 0 takes a free one."""
    auth_env: str | None = flag(None, "--auth-env", metavar="NAME")
    """Environment variable that holds NAME:PASSWORD, which the page then asks for."""
    open_browser: bool = flag(True, "--open/--no-open")
    """Open the page in the browser."""

    def __post_init__(self) -> None:
        check_within(self, "", ("port",), least=0, most=65535)
        if not self.folders:
            raise ValueError("folders must name at least one folder")
        if self.host not in LOOPBACK and self.auth_env is None:
            raise ValueError(
                f"host {self.host} is reached by other machines, so auth_env must name the environment variable "
                "that holds NAME:PASSWORD"
            )
