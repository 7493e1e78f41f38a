"""The page's controls: which setting each one is, the settings they make together, and the command line that does the same."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypir_cli.config import schema
from hypir_cli.config.restore import RestoreConfig
from hypir_cli.config.restore_preset import restore_preset
from hypir_cli.config.schema import field_doc


@dataclass(frozen=True, kw_only=True)
class Control:
    """One control of the page."""

    key: str
    """Dotted key of the setting."""
    label: str
    """What the page calls it."""
    flag: str
    """Option of `hypir restore` that sets it."""
    seldom: bool = False
    """Whether it is folded away at first."""
    number: bool = False
    """Whether what is typed may be a number."""
    whole: bool = False
    """Whether its numbers are whole."""

    @property
    def info(self) -> str:
        """What it does: the first part of the setting's description."""
        return field_doc(RestoreConfig, self.key).split(";")[0].rstrip(".")


CONTROLS = (
    Control(key="prompt.text", label="Prompt", flag="--prompt"),
    Control(key="control.texture", label="Texture", flag="--texture", number=True),
    Control(key="control.strength", label="Strength", flag="--strength"),
    Control(key="control.fidelity", label="Fidelity", flag="--fidelity"),
    Control(key="control.generativity", label="Generativity", flag="--generativity"),
    Control(key="size.scale", label="Scale", flag="--scale"),
    Control(key="control.samples", label="Samples", flag="--samples", whole=True),
    Control(key="model.backbone", label="Backbone", flag="--backbone", seldom=True),
    Control(key="model.lora", label="LoRA", flag="--lora", seldom=True),
    Control(key="control.seed", label="Seed", flag="--seed", seldom=True, whole=True),
    Control(key="output.format", label="Format", flag="--format", seldom=True),
)
"""The controls in the order of the page."""
NO_PRESET = "none"
"""What the choice of presets shows where none is taken."""


def preset_values(preset: str) -> dict[str, Any]:
    """What each control shows once a preset is chosen, by key.

    Raises:
        ConfigError: There is no such preset.
    """
    config = schema.resolve(RestoreConfig, layers=_preset_layers(preset))
    return {control.key: _shown(config, control) for control in CONTROLS}


def changed_values(preset: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The controls that stand elsewhere than the preset put them, as settings by dotted key."""
    before = preset_values(preset)
    return {
        control.key: _setting(control, values[control.key])
        for control in CONTROLS
        if control.key in values and _setting(control, values[control.key]) != before[control.key]
    }


def settings(preset: str, values: Mapping[str, Any]) -> RestoreConfig:
    """The settings that the page asks for.

    Args:
        preset: Name of a preset, or `none`.
        values: What the controls show, by key.

    Raises:
        ConfigError: A value is out of range.
    """
    layers = [*_preset_layers(preset), ("the page", changed_values(preset, values))]
    return schema.resolve(RestoreConfig, layers=layers)


def command_line(
    preset: str, values: Mapping[str, Any], *, source: Path | str, target: Path | str
) -> str:
    """The `hypir restore` that does the same, for a shell.

    Args:
        preset: Name of a preset, or `none`.
        values: What the controls show, by key.
        source: The image or folder.
        target: Where the results go.
    """
    words = ["hypir", "restore", str(source), str(target)]
    if preset != NO_PRESET:
        words += ["--preset", preset]
    flags = {control.key: control.flag for control in CONTROLS}
    for key, value in changed_values(preset, values).items():
        words += [flags[key], _text(value)]
    return shlex.join(words)


def _preset_layers(preset: str) -> list[schema.Layer]:
    return [] if preset in (NO_PRESET, "") else [restore_preset(preset)]


def _shown(config: RestoreConfig, control: Control) -> Any:
    value: Any = config
    for name in control.key.split("."):
        value = getattr(value, name)
    if value is None:
        return 1.0 if control.key == "size.scale" else ""
    return value


def _setting(control: Control, value: Any) -> Any:
    """What a control shows as the value of its setting."""
    if isinstance(value, str):
        value = value.strip()
        return float(value) if control.number and _is_number(value) else value
    if value is None or isinstance(value, bool):
        return value
    return round(value) if control.whole else float(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
