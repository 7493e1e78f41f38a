"""Named settings that ship inside the package, one YAML file each below `presets/`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from hypir_cli.config.nearest import did_you_mean
from hypir_cli.config.schema import load_yaml
from hypir_cli.errors import ConfigError

PRESET_DIR = Path(__file__).parent.parent / "presets"
Kind = Literal["degradation", "protocol", "restore"]
_CALLED: dict[Kind, str] = {
    "degradation": "degradation preset",
    "protocol": "protocol",
    "restore": "preset",
}


def shipped_preset(
    kind: Kind, name: str, *, known: Sequence[str], other: str = ""
) -> dict[str, Any]:
    """The nested mapping of a named set of settings.

    Args:
        kind: What it sets.
        name: Its name.
        known: All names of that kind.
        other: What else could have been given, for the message.

    Raises:
        ConfigError: There is none of that name.
    """
    if name in known:
        return load_yaml(PRESET_DIR / kind / f"{name}.yaml")
    raise ConfigError(
        f"there is no {_CALLED[kind]} {name!r}.",
        hint=f"{did_you_mean(name, known)} known: {', '.join(known)}{other}".lstrip(),
    )
