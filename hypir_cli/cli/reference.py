"""README's list of all options, made from the commands themselves.

`python -m hypir_cli.cli.reference README.md` renews the part between its two marks; a test keeps it from going stale.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hypir_cli.cli.app import COMMANDS, load_command

BEGIN, END = "<!-- options: begin -->", "<!-- options: end -->"


def options_markdown() -> str:
    """A section for every command, with a table of its arguments and options."""
    return "\n".join(_section(name) for name in COMMANDS)


def renewed(text: str) -> str:
    """A README with the part between the marks made anew.

    Raises:
        ValueError: The marks are missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the text lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{options_markdown()}\n{END}{after}"


def _section(name: str) -> str:
    command = load_command(name)
    rows = [_row(parameter) for parameter in command.params if parameter.name != "help"]
    lines = [
        f"### hypir {name}",
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
    path = Path(sys.argv[1])
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
