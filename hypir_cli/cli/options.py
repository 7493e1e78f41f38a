"""Command-line options made from settings dataclasses.

An option's help text and shown default come from the dataclass field it sets, so that each fact stands in one place. A
command names its parameter after the dotted key with `__` for the dot (`tiles__size` sets `tiles.size`); all options start
as None, which means "not given".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from hypir_cli.config import schema

T = TypeVar("T")

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE.yaml", help="Settings file; flags beat it."),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Set any key of the settings file; repeatable."
    ),
]


def option(cls: type[Any], dotted: str, *flags: str, panel: str = "", metavar: str = "") -> Any:
    """A Typer option for one settings field, its help and default read from the field.

    Args:
        cls: Settings dataclass.
        dotted: Field, e.g. `tiles.size`.
        flags: Spellings, e.g. `--tile`.
        panel: Heading under which `--help` shows it.
        metavar: What `--help` shows for the value; empty lets Typer choose.
    """
    default = schema.field_default(cls, dotted)
    text = schema.field_doc(cls, dotted)
    shown = "" if default in (None, "", (), False) else f" \\[default: {_shown(default)}]"
    return typer.Option(
        *flags,
        help=text + shown,
        show_default=False,
        rich_help_panel=panel or None,
        metavar=metavar or None,
    )


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted key -> value for the flags that were given, from a command's parameters."""
    return {
        name.replace("__", "."): value
        for name, value in values.items()
        if value is not None and value != []
    }


def build(
    cls: type[T],
    flags: Mapping[str, Any],
    *,
    config: Path | None = None,
    assignments: list[str] | None = None,
    preset: tuple[str, Mapping[str, Any]] | None = None,
) -> T:
    """Settings by the order default, preset, `--config` file, `--set`, flag."""
    layers: list[schema.Layer] = [preset] if preset else []
    if config is not None:
        layers.append((str(config), schema.load_yaml(config)))
    if assignments:
        layers.append(("--set", schema.parse_assignments(assignments)))
    layers.append(("command line", flags))
    return schema.resolve(cls, layers=layers)


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return str(default)
