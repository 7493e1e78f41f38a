"""Turn layers of plain mappings (preset, file, flags) into one checked, frozen settings dataclass.

A settings class is a frozen, keyword-only dataclass whose fields have defaults and are followed by a docstring. Nested
dataclasses are nested mappings. An unknown key or a value of the wrong type is a `ConfigError` that names the source and
the dotted key.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hypir_cli.config.nearest import did_you_mean
from hypir_cli.errors import ConfigError

T = TypeVar("T")
Layer = tuple[str, Mapping[str, Any]]
_DOCS: dict[type[Any], dict[str, str]] = {}


def resolve(cls: type[T], *, layers: Sequence[Layer] = ()) -> T:
    """Settings from defaults and layers; a later layer beats an earlier one.

    Args:
        cls: A frozen settings dataclass whose every field has a default.
        layers: Pairs (source name for error messages, nested mapping of values).

    Returns:
        The checked settings.

    Raises:
        ConfigError: Unknown key, wrong type, or a value the dataclass itself refuses.
    """
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source, values in layers:
        for key, value in flatten(cls, values, source=source).items():
            merged[key] = value
            origins[key] = source
    return _construct(cls, merged, origins, prefix="")


def flatten(
    cls: type[Any], values: Mapping[str, Any], *, source: str, prefix: str = ""
) -> dict[str, Any]:
    """Dotted key -> value for a nested mapping, every key checked against `cls`.

    Dotted keys in the mapping itself are accepted (`{"tiles.size": 512}`).

    Raises:
        ConfigError: An unknown key, or a plain value where a group of settings stands.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        found = _flatten_one(cls, str(key), value, source=source, prefix=prefix)
        twice = sorted(found.keys() & flat.keys())
        if twice:
            raise ConfigError(f"{source}: {twice[0]} is set twice.", hint="keep one of them")
        flat.update(found)
    return flat


def _flatten_one(
    cls: type[Any], key: str, value: Any, *, source: str, prefix: str
) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    head, _, rest = key.partition(".")
    dotted = f"{prefix}{head}"
    if head not in hints:
        raise _unknown_key(dotted, hints, source=source, prefix=prefix)
    group = hints[head]
    if not _is_settings(group):
        if rest:
            raise ConfigError(f"{source}: {dotted} is a single setting, it has no {rest!r}.")
        return {dotted: value}
    # A group whose every line is a comment holds nothing.
    nested = {rest: value} if rest else ({} if value is None else value)
    if not isinstance(nested, Mapping):
        raise ConfigError(
            f"{source}: {dotted} is a group of settings, got {value!r}.",
            hint=f"its keys are {', '.join(typing.get_type_hints(group))}",
        )
    return flatten(group, nested, source=source, prefix=f"{dotted}.")


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML settings file.

    Raises:
        ConfigError: The file cannot be read, is not YAML, or is not a mapping.
    """
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the settings file {path}: {error}.") from error
    except YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold key: value pairs, got {type(values).__name__}.")
    return values


def read_yaml(text: str) -> Any:
    """A YAML 1.2 document as plain values: `1e-5` is a number, `off` and `no` are words.

    Raises:
        YAMLError: It is none, or names a key twice.
    """
    return YAML(typ="safe", pure=True).load(text)


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Values of `--set key=value` flags; each value is read as YAML.

    Raises:
        ConfigError: An assignment without `=`, or two of one key.
    """
    values: dict[str, Any] = {}
    for item in assignments:
        key, sign, text = item.partition("=")
        if not sign or not key:
            raise ConfigError(
                f"--set takes key=value, got {item!r}.", hint="e.g. --set data.seed=7"
            )
        if key.strip() in values:
            raise ConfigError(f"--set {key.strip()} is given twice.", hint="keep one of them")
        try:
            values[key.strip()] = read_yaml(text)
        except YAMLError as error:
            raise ConfigError(f"--set {key}: {text!r} is not a YAML value.") from error
    return values


def to_dict(settings: Any) -> dict[str, Any]:
    """Plain nested mapping of a settings object, fit for YAML and JSON."""
    return {
        field.name: _plain(getattr(settings, field.name)) for field in dataclasses.fields(settings)
    }


def to_yaml(settings: Any, *, comments: bool = False, inactive: Collection[str] = ()) -> str:
    """YAML text of a settings object.

    Args:
        settings: The object.
        comments: Whether each key is preceded by its docstring.
        inactive: Dotted keys whose values are written as comments, since they come from a preset that the text names.
    """
    if not comments:
        return str(yaml.safe_dump(to_dict(settings), sort_keys=False, allow_unicode=True))
    return "\n".join(_commented(settings, indent="", prefix="", inactive=inactive)) + "\n"


def field_doc(cls: type[Any], dotted: str) -> str:
    """The docstring under a field, by dotted key, as one line."""
    owner, name = _locate(cls, dotted)
    return _field_docs(owner).get(name, "")


def field_default(cls: type[Any], dotted: str) -> Any:
    """The default of a field, by dotted key."""
    owner, name = _locate(cls, dotted)
    return getattr(owner(), name)


def _locate(cls: type[Any], dotted: str) -> tuple[type[Any], str]:
    *groups, name = dotted.split(".")
    for group in groups:
        cls = typing.get_type_hints(cls)[group]
    if name not in {field.name for field in dataclasses.fields(cls)}:
        raise KeyError(f"{cls.__name__} has no field {name!r}")
    return cls, name


def _field_docs(cls: type[Any]) -> dict[str, str]:
    """Docstring of each field of a settings class; reading sources is slow, so each class is read once."""
    if cls not in _DOCS:
        _DOCS[cls] = _read_field_docs(cls)
    return _DOCS[cls]


def _read_field_docs(cls: type[Any]) -> dict[str, str]:
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        body = _class_body(base)
        for field, text in itertools.pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            ):
                docs[field.target.id] = " ".join(text.value.value.split())
    return docs


def _class_body(cls: type[Any]) -> list[ast.stmt]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    definition = tree.body[0]
    assert isinstance(definition, ast.ClassDef)
    return definition.body


def _construct(cls: type[T], flat: dict[str, Any], origins: dict[str, str], *, prefix: str) -> T:
    values: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(cls).items():
        dotted = f"{prefix}{name}"
        if _is_settings(hint):
            values[name] = _construct(hint, flat, origins, prefix=f"{dotted}.")
        elif dotted in flat:
            values[name] = _coerce(flat[dotted], hint, where=f"{origins[dotted]}: {dotted}")
    try:
        return cls(**values)
    except ValueError as error:
        named = sorted(
            {origins[f"{prefix}{name}"] for name in values if f"{prefix}{name}" in origins}
        )
        source = f"{', '.join(named)}: " if named else ""
        raise ConfigError(f"{source}{error}") from error


def _coerce(value: Any, hint: Any, *, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _coerce_union(value, typing.get_args(hint), where=where)
    if origin is typing.Literal:
        return _coerce_choice(value, typing.get_args(hint), where=where)
    if origin is tuple:
        return _coerce_tuple(value, typing.get_args(hint), where=where)
    if origin is dict:
        return _coerce_dict(value, typing.get_args(hint), where=where)
    return _coerce_scalar(value, hint, where=where)


def _coerce_union(value: Any, options: tuple[Any, ...], *, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    failure: ConfigError | None = None
    for option in options:
        if option is type(None):
            continue
        try:
            return _coerce(value, option, where=where)
        except ConfigError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _coerce_choice(value: Any, choices: tuple[Any, ...], *, where: str) -> Any:
    # YAML reads a bare `none`/`off`-like word as it is, but `null`, `no` and `off` as None and False.
    value = (
        {None: "none", False: "off", True: "on"}.get(value, value)
        if value not in choices
        else value
    )
    if value in choices:
        return value
    known = ", ".join(map(str, choices))
    raise ConfigError(f"{where} must be one of {known}, got {value!r}.")


def _coerce_tuple(value: Any, args: tuple[Any, ...], *, where: str) -> tuple[Any, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise ConfigError(f"{where} must be a list, got {value!r}.")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_coerce(item, args[0], where=where) for item in items)
    if len(items) != len(args):
        raise ConfigError(f"{where} must be a list of {len(args)} values, got {value!r}.")
    return tuple(_coerce(item, arg, where=where) for item, arg in zip(items, args, strict=True))


def _coerce_dict(value: Any, args: tuple[Any, ...], *, where: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} must be a mapping, got {value!r}.")
    return {key: _coerce(item, args[1], where=f"{where}.{key}") for key, item in value.items()}


def _coerce_scalar(value: Any, hint: Any, *, where: str) -> Any:
    if hint is Any:
        return value
    if hint is bool:
        fits = isinstance(value, bool)
    elif hint is int:
        fits = isinstance(value, int) and not isinstance(value, bool)
    elif hint is float:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    elif hint is Path:
        fits = isinstance(value, (str, Path))
    else:
        fits = isinstance(value, hint)
    if not fits:
        raise ConfigError(f"{where} must be {_type_name(hint)}, got {value!r}.")
    return hint(value)


def _type_name(hint: Any) -> str:
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "a text",
        Path: "a path",
    }
    return names.get(hint, str(hint))


def _unknown_key(dotted: str, hints: Mapping[str, Any], *, source: str, prefix: str) -> ConfigError:
    hint = did_you_mean(dotted.removeprefix(prefix), hints, most=2, prefix=prefix)
    return ConfigError(
        f"{source}: unknown setting {dotted!r}.", hint=hint or f"known here: {', '.join(hints)}"
    )


def _is_settings(hint: Any) -> bool:
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _commented(
    settings: Any, *, indent: str, prefix: str, inactive: Collection[str]
) -> Iterator[str]:
    docs = _field_docs(type(settings))
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        for line in textwrap.wrap(docs.get(field.name, ""), 96 - len(indent)):
            yield f"{indent}# {line}"
        if dataclasses.is_dataclass(value):
            yield f"{indent}{field.name}:"
            yield from _commented(
                value, indent=indent + "  ", prefix=f"{prefix}{field.name}.", inactive=inactive
            )
            continue
        text = str(yaml.safe_dump({field.name: _plain(value)}, sort_keys=False, allow_unicode=True))
        mark = "#= " if f"{prefix}{field.name}" in inactive else ""
        yield from (f"{indent}{mark}{line}" for line in text.rstrip().splitlines())
