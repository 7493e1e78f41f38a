"""Hints in the words of the command that is running: an option that it lacks is named as the setting that it has."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Collection, Iterator
from typing import Any

from hypir_cli.config.caption import CaptionConfig
from hypir_cli.config.flags import flags_of
from hypir_cli.config.restore import RestoreConfig
from hypir_cli.config.train import TrainEncoderConfig, TrainGanConfig

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z_-]*[a-z]")
"""An option in a text."""
_SETTINGS: dict[str, type[Any]] = {
    "train-encoder": TrainEncoderConfig,
    "train-gan": TrainGanConfig,
}
"""Commands that take settings where others take options."""


def fitting_hint(hint: str, *, command: str, options: Collection[str]) -> str:
    """The hint with settings in place of options that the command lacks but has as settings.

    Args:
        hint: What the error says.
        command: Name of the command.
        options: Its options, e.g. `--device`.
    """
    if command not in _SETTINGS:
        return hint
    keys = set(_keys(_SETTINGS[command]))

    def named(found: re.Match[str]) -> str:
        key = next((key for key in _dotted(found[0]) if key in keys), None)
        return found[0] if found[0] in options or key is None else f"the setting {key}"

    return OPTION.sub(named, hint)


def _dotted(option: str) -> Iterator[str]:
    """Settings that an option sets somewhere, then their last words."""
    for cls in (RestoreConfig, CaptionConfig):
        for flag in flags_of(cls):
            if option in flag.names.split("/"):
                yield flag.dotted
                yield flag.dotted.rpartition(".")[2]


def _keys(cls: type[Any], prefix: str = "") -> Iterator[str]:
    for name, hint in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from _keys(hint, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
