"""Command-line options made from settings dataclasses, and settings made from what was given.

`from_settings` puts an option into a command's signature for every field that is a flag (`config.flags`), with the help text, the
default and the type of the field, so that each fact stands in one place. All of them start as None, which means "not given".
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from hypir_cli.config import schema
from hypir_cli.config.flags import Flag, flags_of

T = TypeVar("T")

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
    """Settings by the order default, `below`, preset, `--config` file, `--set`, flag."""
    layers: list[schema.Layer] = [layer for layer in (below, preset) if layer]
    if config is not None:
        layers.append((str(config), schema.load_yaml(config)))
    if assignments:
        layers.append(("--set", schema.parse_assignments(assignments)))
    layers.append(("command line", flags))
    return schema.resolve(cls, layers=layers)


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
