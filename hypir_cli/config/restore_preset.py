"""Named sets of restore settings: those that come with the package, or a file of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypir_cli.config.presets import shipped_preset
from hypir_cli.config.schema import load_yaml

RESTORE_PRESETS = ("old-print", "scan", "phone-night", "web-jpeg", "enlarge-x2", "enlarge-x4")
"""Names of the presets in the package."""


def restore_preset(name: str) -> tuple[str, dict[str, Any]]:
    """What a preset is called in messages, and its nested mapping of settings.

    Args:
        name: A name of `RESTORE_PRESETS`, or a YAML file.

    Raises:
        ConfigError: There is no such preset or file, or it is not YAML.
    """
    if name not in RESTORE_PRESETS and Path(name).suffix.lower() in (".yaml", ".yml"):
        return name, load_yaml(Path(name))
    values = shipped_preset("restore", name, known=RESTORE_PRESETS, other="; a file ends in .yaml")
    return f"preset {name}", values
