"""What the shell offers for the value of an option whose values are no fixed choices: backbones, presets, metrics..."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable

from hypir_cli.config.degradation import PRESETS as DEGRADATIONS
from hypir_cli.config.evaluate import PROTOCOLS, protocol_values
from hypir_cli.config.families import BUILT_IN, family_names
from hypir_cli.config.restore_preset import RESTORE_PRESETS

Completer = Callable[[str], list[str]]
"""From what stands of a value to the values that begin so."""


def one_of(names: Callable[[], Iterable[str]]) -> Completer:
    """Values that are one of some names, which are asked for when they are needed."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names() if name.startswith(incomplete)]

    return complete


def several_of(names: Callable[[], Iterable[str]]) -> Completer:
    """Values that are names with commas between them."""

    def complete(incomplete: str) -> list[str]:
        before, comma, begun = incomplete.rpartition(",")
        given = before.split(",")
        found = [name for name in names() if name.startswith(begun) and name not in given]
        return [f"{before}{comma}{name}" for name in found]

    return complete


def _metrics() -> list[str]:
    from hypir_cli.evaluate.registry import OWN_METRICS

    of_protocols = (name for item in PROTOCOLS for name in protocol_values(item)["metrics"])
    return list(dict.fromkeys((*OWN_METRICS, *of_protocols)))


backbones = one_of(family_names)
"""Names of backbones."""
presets = one_of(lambda: RESTORE_PRESETS)
"""Presets of `hypir restore`."""
degradations = one_of(lambda: DEGRADATIONS)
"""Presets of `hypir degrade`."""
training_presets = one_of(lambda: BUILT_IN)
"""Presets of the training commands."""
checkpoints = one_of(lambda: ("auto",))
"""What a training run goes on from."""
_BY_OPTION = {
    "--backbone": backbones,
    "--protocol": one_of(lambda: PROTOCOLS),
    "--metrics": several_of(_metrics),
    "--device": one_of(lambda: ("auto", "cpu", "cuda", "mps")),
    "--vae": one_of(lambda: ("default", "small")),
}


def completer(name: str, hint: object) -> Completer | None:
    """What completes an option; None where its type has fixed choices, or anything may stand.

    Args:
        name: The option, e.g. `--backbone`.
        hint: Type of its value; of a number or a word, the words are offered.
    """
    if name in _BY_OPTION:
        return _BY_OPTION[name]
    members = [typing.get_args(member) for member in typing.get_args(hint)]
    words = [word for member in members for word in member if isinstance(word, str)]
    return one_of(lambda: words) if words else None
