"""Named sets of restore settings: those that come with the package, or a file of one's own."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path
from typing import Any

from hypir_cli.config.schema import load_yaml
from hypir_cli.errors import ConfigError

RESTORE_PRESETS = ("old-print", "scan", "phone-night", "web-jpeg", "enlarge-x2", "enlarge-x4")
"""Names of the presets in the package."""


def restore_preset(name: str) -> tuple[str, dict[str, Any]]:
    """What a preset is called in messages, and its nested mapping of settings.

    Args:
        name: A name of `RESTORE_PRESETS`, or a YAML file.

    Raises:
        ConfigError: There is no such preset or file, or it is not YAML.
    """
    if name in RESTORE_PRESETS:
        folder = resources.files("hypir_cli") / "presets" / "restore"
        with resources.as_file(folder / f"{name}.yaml") as path:
            return f"preset {name}", load_yaml(Path(path))
    if Path(name).suffix.lower() in (".yaml", ".yml"):
        return name, load_yaml(Path(name))
    near = difflib.get_close_matches(name, RESTORE_PRESETS, n=1)
    raise ConfigError(
        f"there is no preset {name!r}.",
        hint=f"did you mean {near[0]}?"
        if near
        else f"known are {', '.join(RESTORE_PRESETS)}; a file ends in .yaml",
    )
