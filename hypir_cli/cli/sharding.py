"""The part of a list that this process takes: told by hand, or by the launcher that started it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import typer

from hypir_cli.cli import console
from hypir_cli.config.launcher import Launch, detect_launch
from hypir_cli.errors import ConfigError

if TYPE_CHECKING:
    from hypir_cli.folder import Shard


def chosen_shard(text: str | None, *, quiet: bool) -> Shard:
    """The part that `--shard` names or, without it, the launcher gives, which is printed.

    Args:
        text: `I/N`; None asks the environment.
        quiet: Print warnings alone.

    Raises:
        typer.BadParameter: The text makes no sense.
        ConfigError: What a launcher set makes no sense.
    """
    from hypir_cli.folder import Shard, parse_shard

    launch = detect_launch(os.environ) if text is None else Launch()
    console.print_launch(launch, quiet=quiet)
    if text is None:
        return Shard(launch.index, launch.count)
    try:
        return parse_shard(text)
    except ConfigError as error:
        raise typer.BadParameter(error.message) from error
