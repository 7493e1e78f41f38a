"""The page of all options, made from the commands themselves.

`python -m hypir_cli.cli.reference docs/options.md` writes it; a test keeps it from going stale.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hypir_cli.cli.app import COMMANDS, load_command

_HEAD = """# All options

Made by `python -m hypir_cli.cli.reference docs/options.md` from what `--help` shows. Most settings can also stand in a file
(`--config`, or `CONFIG.yaml` of the training commands) or be given by `--set key=value`; a flag beats `--set`, which beats the file,
which beats a preset.
"""


def options_markdown() -> str:
    """A page with a section for every command, with a table of its arguments and options."""
    return "\n".join([_HEAD, *(_section(name) for name in COMMANDS)])


def _section(name: str) -> str:
    command = load_command(name)
    rows = [_row(parameter) for parameter in command.params if parameter.name != "help"]
    lines = [
        f"## hypir {name}",
        "",
        _first_line(command.help),
        "",
        "| | |",
        "| --- | --- |",
        *rows,
    ]
    return "\n".join([*lines, ""])


def _row(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    if parameter.param_type_name == "argument":
        names = [parameter.metavar or str(parameter.name).upper()]
    shown = " ".join(f"`{name}`" for name in names)
    choices = getattr(getattr(parameter, "type", None), "choices", None)
    if choices:
        shown += f" {', '.join(map(str, choices))}"
    text = " ".join((parameter.help or "").replace("\\[", "[").split())
    return f"| {shown} | {text} |".replace("\n", " ")


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(options_markdown(), encoding="utf-8")
