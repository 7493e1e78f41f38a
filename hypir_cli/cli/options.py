"""Command-line options made from settings dataclasses, and settings made from what was given.

`from_settings` puts an option into a command's signature for every field that is a flag (`config.flags`), with the help text, the
default and the type of the field, so that each fact stands in one place. All of them start as None, which means "not given".
"""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from hypir_cli.cli.completion import completer
from hypir_cli.config import schema
from hypir_cli.config.flags import Flag, flags_of
from hypir_cli.config.places import is_manifest, local_text
from hypir_cli.errors import ConfigError

T = TypeVar("T")
_COMMAND_LINE = "command line"
"""What errors call the layer of flags."""

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
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Take part I of N of the list; launchers and job arrays set it themselves.",
        rich_help_panel="Many machines",
    ),
]

Places = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT... OUTPUT",
        help="Files, folders or patterns, local or by URL (s3://...); last, the file or folder for results. Or one "
        "manifest of `hypir plan`, which names its output itself.",
        show_default=False,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Only list what would be done.", rich_help_panel="Output"),
]
JsonReport = Annotated[
    bool,
    typer.Option("--json", help="Print the report as JSON.", rich_help_panel="Output"),
]


def inputs_and_output(paths: list[str]) -> tuple[list[str], str | None]:
    """Inputs and output of INPUT... OUTPUT, `file://` taken away; a manifest alone names its output itself, which is None here.

    Raises:
        typer.BadParameter: There is only one, and it is no manifest.
    """
    local = [local_text(path) for path in paths]
    if len(local) > 1:
        return local[:-1], local[-1]
    if is_manifest(local[0]):
        return local, None
    raise typer.BadParameter("give at least one INPUT and, last, the OUTPUT.")


def from_settings(
    cls: type[Any], *, types: Mapping[str, Any] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for every flag of a settings class.

    The command's parameter `flags` makes room for them: it gets dotted key -> value of those that were given.

    Args:
        cls: Settings dataclass.
        types: Dotted key -> type that the command allows instead of the field's own; None leaves the option out.
    """
    replaced = dict(types or {})
    found = [flag for flag in flags_of(cls) if replaced.get(flag.dotted, flag.hint) is not None]
    names = {flag.dotted.replace(".", "__"): flag.dotted for flag in found}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def called(**values: Any) -> None:
            given = {dotted: values.pop(name) for name, dotted in names.items()}
            flags = {dotted: value for dotted, value in given.items() if value is not None}
            command(flags=flags, **values)

        own = inspect.signature(command, eval_str=True).parameters
        made = [_parameter(cls, flag, replaced.get(flag.dotted, flag.hint)) for flag in found]
        parameters: list[inspect.Parameter] = []
        for parameter in own.values():
            parameters += made if parameter.name == "flags" else [_keyword(parameter)]
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {item.name: item.annotation for item in parameters}
        return called

    return decorate


def build(
    cls: type[T],
    flags: Mapping[str, Any],
    *,
    config: Path | None = None,
    assignments: list[str] | None = None,
    preset: tuple[str, Mapping[str, Any]] | None = None,
    below: schema.Layer | None = None,
) -> T:
    """Settings by the order default, `below`, preset, `--config` file, `--set`, flag.

    Raises:
        typer.BadParameter: A flag's value is out of range, or at odds with another.
        ConfigError: Anything else that is wrong with a layer.
    """
    layers: list[schema.Layer] = [layer for layer in (below, preset) if layer]
    if config is not None:
        layers.append((str(config), schema.load_yaml(config)))
    if assignments:
        layers.append(("--set", schema.parse_assignments(assignments)))
    try:
        return schema.resolve(cls, layers=[*layers, (_COMMAND_LINE, flags)])
    except ConfigError as error:
        refused = _refused_flag(cls, layers, flags, error)
        if refused is None:
            raise
        text = _in_own_names(cls, _reason(error), refused)
        raise typer.BadParameter(f"{text[:1].upper()}{text[1:]}") from error


def _refused_flag(
    cls: type[Any], layers: list[schema.Layer], flags: Mapping[str, Any], error: ConfigError
) -> Flag | None:
    """The flag without which the settings are not refused, or not for this reason; None where it is not a flag's fault."""
    guilty = []
    for flag in flags_of(cls):
        if flag.dotted not in flags:
            continue
        others = {dotted: value for dotted, value in flags.items() if dotted != flag.dotted}
        try:
            schema.resolve(cls, layers=[*layers, (_COMMAND_LINE, others)])
        except ConfigError as other:
            if _reason(other) == _reason(error):
                continue
        guilty.append(flag)
    named = [flag for flag in guilty if flag.dotted.rpartition(".")[2] in _reason(error)]
    return next(iter(named or guilty), None)


def _reason(error: ConfigError) -> str:
    """What is wrong, without the layers it came from."""
    text = str(error.__cause__) if isinstance(error.__cause__, ValueError) else error.message
    return text.removeprefix(f"{_COMMAND_LINE}: ")


def _in_own_names(cls: type[Any], message: str, refused: Flag) -> str:
    """A message about settings with options in place of their keys."""
    text = message
    # The longest first, so that control.texture_gain is not taken for control.texture.
    for flag in sorted(flags_of(cls), key=lambda flag: -len(flag.dotted)):
        parts = flag.dotted.split(".")
        # A word that may be plain English is only taken for a key where it must be one.
        shortest = 1 if flag == refused or "_" in parts[-1] else 2
        for start in range(len(parts) - shortest + 1):
            key = re.escape(".".join(parts[start:]))
            found = re.subn(rf"(?<![\w.-]){key}(?![\w.]*\w)", option_name(flag), text, count=1)
            if found[1]:
                text = found[0]
                break
    return text


def option_name(flag: Flag) -> str:
    """How a flag is written on the command line; of a pair, the one that switches on."""
    return flag.names.partition("/")[0]


def _keyword(parameter: inspect.Parameter) -> inspect.Parameter:
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)


def _parameter(cls: type[Any], flag: Flag, hint: Any) -> inspect.Parameter:
    default = schema.field_default(cls, flag.dotted)
    shown = "" if default in (None, "", (), False) else f" \\[default: {default}]"
    members = [member for member in _members(hint) if member is not type(None)]
    # Typer knows no unions and no comma-separated lists: such values are parsed here.
    parser = None
    if len(members) > 1:
        parser, members = _number_or_word(members), [str]
    elif typing.get_origin(members[0]) is tuple:
        parser, members = _list_parser(members[0], flag.names), [str]
    option = typer.Option(
        flag.names,
        help=schema.field_doc(cls, flag.dotted) + shown,
        show_default=False,
        rich_help_panel=flag.panel or None,
        metavar=flag.metavar or None,
        parser=parser,
        autocompletion=completer(option_name(flag), hint),
    )
    return inspect.Parameter(
        flag.dotted.replace(".", "__"),
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[members[0] | None, option],
    )


def _members(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _number_or_word(members: list[Any]) -> Callable[[str], Any]:
    """A parser for a number or one of some words."""
    words = [word for member in members for word in typing.get_args(member)]
    number = next(member for member in members if not typing.get_args(member))

    def parse(text: str) -> Any:
        if text in words:
            return text
        try:
            return number(text)
        except ValueError as error:
            raise typer.BadParameter(
                f"a number or {' or '.join(words)} is wanted, got {text!r}."
            ) from error

    return parse


def _list_parser(hint: Any, names: str) -> Callable[[str], list[Any]]:
    """A parser for words or numbers between commas."""
    kind = typing.get_args(hint)[0]

    def parse(text: str) -> list[Any]:
        items = [item.strip() for item in text.split(",") if item.strip()]
        if kind is not float:
            return items
        try:
            return [float(item) for item in items]
        except ValueError as error:
            raise typer.BadParameter(
                f"{names} takes numbers such as 0,255, got {text!r}."
            ) from error

    return parse
