"""The backbones by name: those of this package, and those that other packages bring.

Another package brings one by an entry point of the group `hypir.backbones`, whose name is the backbone's and whose value is a
`Family`; a program that has no package of its own calls `register`.
"""

from __future__ import annotations

from importlib import metadata
from pkgutil import resolve_name

from hypir_cli.config.family import Family
from hypir_cli.config.nearest import did_you_mean
from hypir_cli.errors import BackboneError, ConfigError

ENTRY_POINTS = "hypir.backbones"
"""Group of the entry points of other packages."""
BUILT_IN = ("tiny", "sd2", "sdxl", "sd3", "sd35", "flux", "flux2")
"""Folders below `models/backbones`, each with its record; the embedded one first."""
_REGISTERED: dict[str, Family] = {}


def register(family: Family) -> None:
    """Make a backbone known to this process.

    Raises:
        ConfigError: The name is taken by another one.
    """
    if family.name in BUILT_IN or _REGISTERED.get(family.name, family) != family:
        raise ConfigError(f"there is a backbone {family.name!r} already.", hint="choose a name")
    _REGISTERED[family.name] = family


def family_names() -> tuple[str, ...]:
    """Names that `find_family` knows: built-in ones, registered ones, then those of other packages."""
    return tuple(dict.fromkeys((*BUILT_IN, *_REGISTERED, *_entry_points())))


def find_family(name: str) -> Family:
    """The record of a backbone.

    Raises:
        ConfigError: There is none of that name.
        BackboneError: The package that brings it cannot be imported.
    """
    if name in BUILT_IN:
        family: Family = resolve_name(f"hypir_cli.models.backbones.{name}.family:FAMILY")
        return family
    if name in _REGISTERED:
        return _REGISTERED[name]
    found = _entry_points().get(name)
    if found is None:
        raise _unknown(name)
    try:
        loaded = found.load()
    except (ImportError, AttributeError) as error:
        raise BackboneError(
            f"the backbone {name!r} ({found.value}) cannot be imported: {error}.",
            hint="install its package again, or remove it",
        ) from error
    if not isinstance(loaded, Family) or loaded.name != name:
        raise BackboneError(
            f"{found.value} is not the Family of a backbone {name!r}.",
            hint="its package must be mended: the entry point names a Family of the same name",
        )
    return loaded


def _entry_points() -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=ENTRY_POINTS)}


def _unknown(name: str) -> ConfigError:
    known = family_names()
    return ConfigError(
        f"there is no backbone {name!r}.",
        hint=f"{did_you_mean(name, known)} known are {', '.join(known)}".lstrip(),
    )
