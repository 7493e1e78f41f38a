"""Which settings are flags of the command line: said beside the field, read by `cli.options`.

A field without a flag is set by a file or by `--set`. A group of settings shows its flags under its heading.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
_FLAG, _PANEL = "flag", "panel"


@dataclass(frozen=True, kw_only=True)
class Flag:
    """How a setting is given on the command line."""

    dotted: str
    """The setting, e.g. `tiles.size`."""
    hint: Any
    """Its type."""
    names: str
    """Spelling, e.g. `--tile`, or `--parity/--no-parity`."""
    panel: str
    """Heading in the help; empty for none."""
    metavar: str
    """What the help shows for the value; empty for what its type says."""


def flag(default: T, names: str, *, panel: str = "", metavar: str = "") -> T:
    """A settings field that is a flag as well; stands where the default of a field stands.

    Args:
        default: The setting's default.
        names: Spelling, e.g. `--tile`, or `--parity/--no-parity`.
        panel: Heading in the help, instead of the group's.
        metavar: What the help shows for the value; empty for what its type says.
    """
    return field(default=default, metadata={_FLAG: (names, panel, metavar)})


def group(settings: type[T], panel: str = "") -> T:
    """A group of settings whose flags are flags of the command.

    Args:
        settings: Dataclass of the group.
        panel: Heading in the help, for those that name none.
    """
    return field(default_factory=settings, metadata={_PANEL: panel})


def flags_of(cls: type[Any], *, prefix: str = "", panel: str = "") -> Iterator[Flag]:
    """All flags of a settings class, in the order of its fields."""
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        dotted = f"{prefix}{item.name}"
        if _PANEL in item.metadata:
            heading = item.metadata[_PANEL] or panel
            yield from flags_of(hints[item.name], prefix=f"{dotted}.", panel=heading)
        elif _FLAG in item.metadata:
            names, own, metavar = item.metadata[_FLAG]
            yield Flag(
                dotted=dotted,
                hint=hints[item.name],
                names=names,
                panel=own or panel,
                metavar=metavar,
            )
