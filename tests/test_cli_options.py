"""Options come from the fields of settings classes alone."""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from hypir_cli.cli.app import app
from hypir_cli.cli.options import ConfigFile, build, from_settings
from hypir_cli.config.caption import CaptionConfig
from hypir_cli.config.evaluate import EvaluateConfig
from hypir_cli.config.export import ExportConfig
from hypir_cli.config.flags import Flag, flag, flags_of, group
from hypir_cli.config.restore import RestoreConfig
from hypir_cli.config.scale import PlanConfig
from hypir_cli.config.solve import SolveConfig
from hypir_cli.config.ui import UiConfig


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A group."""

    side: int | None = flag(None, "--side", metavar="PX")
    """Side in pixels."""
    hidden: int = 3
    """Not a flag."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a made-up command."""

    kind: Literal["one", "two"] = flag("one", "--kind")
    """Which."""
    level: float | Literal["auto"] = flag("auto", "--level")
    """How much."""
    names: tuple[str, ...] = flag((), "--names")
    """What."""
    sure: bool = flag(True, "--sure/--unsure")
    """Whether."""
    loud: bool = flag(False, "--loud")
    """Whether as well."""
    cut: Cut = group(Cut, "Cutting")
    """Group."""
    other: Cut = field(default_factory=Cut)
    """A group without flags."""


def program(**arguments: Any) -> Any:
    app = typer.Typer()
    made: list[Settings] = []

    @app.command()
    @from_settings(Settings, **arguments)
    def command(
        place: Annotated[str, typer.Argument()],
        flags: Mapping[str, Any],
        config: ConfigFile = None,
    ) -> None:
        """Make something."""
        made.append(build(Settings, flags, config=config))

    def run(*given: str) -> Any:
        result = CliRunner().invoke(app, ["here", *given])
        return (made[-1] if result.exit_code == 0 and made else result), result

    return run


def test_flags_that_are_not_given_leave_the_defaults() -> None:
    assert program()()[0] == Settings()


def test_each_kind_of_value_arrives_as_its_type() -> None:
    settings, _ = program()(
        *(
            "--kind",
            "two",
            "--level",
            "2.5",
            "--names",
            "a, b,",
            "--unsure",
            "--loud",
            "--side",
            "7",
        )
    )
    assert settings == Settings(
        kind="two", level=2.5, names=("a", "b"), sure=False, loud=True, cut=Cut(side=7)
    )
    assert program()("--level", "auto")[0].level == "auto"


def test_a_file_is_beaten_by_flags_that_were_given_and_by_no_others(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("loud: true\nsure: false\ncut: {side: 5, hidden: 9}\n")
    settings, _ = program()("--config", str(path), "--side", "8")
    assert (settings.loud, settings.sure, settings.cut) == (True, False, Cut(side=8, hidden=9))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--kind", "three"), "'one', 'two'"),
        (("--level", "much"), "a number or auto"),
        (("--side", "x"), "valid integer"),
    ],
)
def test_a_wrong_value_is_wrong_usage(given: tuple[str, ...], words: str) -> None:
    _, result = program()(*given)
    assert result.exit_code == 2
    assert words in result.output


def test_help_has_the_fields_words_defaults_and_headings() -> None:
    _, result = program()("--help")
    for words in ("Side in pixels.", "Which. [default: one]", "Cutting", "PX"):
        assert words in result.output
    assert "Not a flag" not in result.output


def test_a_command_can_leave_out_or_narrow_an_option() -> None:
    run = program(types={"cut.side": None, "kind": Literal["two"]})
    assert run("--side", "7")[1].exit_code == 2
    assert run("--kind", "one")[1].exit_code == 2
    assert run("--kind", "two")[0].kind == "two"


SETTINGS = (
    *(RestoreConfig, SolveConfig, CaptionConfig, EvaluateConfig, ExportConfig, UiConfig),
    PlanConfig,
)
UNBOUNDED = ("--lora-scale", "--angle", "--seed", "--damage-seed")
"""Options that take any finite number; the seed of `eval` is a row's, which is not negative."""


def numeric_flags() -> list[tuple[type[Any], Flag, Any]]:
    """Every option of every command that takes a number."""
    found = []
    for cls in SETTINGS:
        for option in flags_of(cls):
            kinds = typing.get_args(option.hint) or (option.hint,)
            number = next((kind for kind in (float, int) if kind in kinds), None)
            if number and typing.get_origin(option.hint) is not tuple:
                found.append((cls, option, number))
    return found


@pytest.mark.parametrize(
    ("cls", "flag", "number"),
    [
        pytest.param(*item, id=f"{item[0].__name__}{item[1].names}")
        for item in numeric_flags()
        if item[1].names not in UNBOUNDED
    ],
)
def test_a_number_out_of_range_is_wrong_usage_in_the_options_own_name(
    cls: type[Any], flag: Flag, number: Any
) -> None:
    for value in (-(10**9), math.nan, -math.inf) if number is float else (-(10**9),):
        with pytest.raises(typer.BadParameter) as caught:
            build(cls, {flag.dotted: number(value)})
        assert caught.value.message.startswith(f"{flag.names} ")
        assert flag.dotted not in caught.value.message or "." not in flag.dotted


def test_all_numeric_options_were_found() -> None:
    names = {flag.names for _, flag, _ in numeric_flags()}
    assert {"--samples", "--strength", "--texture", "--tile", "--factor", "--batch"} <= names


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("restore a b --samples 0", "--samples must be at least 1, got 0"),
        ("restore a b --strength 2", "--strength must be in 0..1"),
        ("restore a b --texture -1", "--texture must be above 0"),
        ("restore a b --tile 0", "--tile must be at least 16"),
        ("restore a b --tile 64 --overlap 60", "--overlap must be at most half of --tile"),
        ("restore a b --scale 2 --long-side 9", "hoose one of --scale, --long-side"),
        ("restore a b --max-memory much", "looks like 6GB"),
        ("restore a b --device tpu", "--device must be auto, cpu"),
        ("solve a b --factor 0", "--factor must be at least 1"),
        ("eval a --resamples 0", "--resamples must be at least 1"),
        ("eval a --seed -1", "--seed must not be negative"),
        ("caption a --batch 0", "--batch must be at least 1"),
        ("caption a --captioner fixed", "--text"),
        ("degrade a b --seed -1", "--seed"),
        ("export-lora a b --rank 0", "--rank must be at least 1"),
        ("plan a b --shards-of 0", "--shards-of must be at least 1"),
        ("ui --port 70000", "--port must be in 0..65535"),
        ("ui --host 0.0.0.0", "so --auth-env must name"),
    ],
)
def test_range_errors_have_exit_code_two(arguments: str, words: str) -> None:
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.output.replace("│", " ").split())


def test_a_bad_value_in_a_file_is_named_by_its_key_and_is_no_wrong_usage(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("control: {samples: 0}\n")
    result = CliRunner().invoke(app, ["restore", "a", "b", "--seed", "3", "--config", str(path)])
    assert result.exit_code == 1
    assert "control.samples must be at least 1" in result.output


@pytest.mark.parametrize("cls", SETTINGS[:-1])
def test_no_two_settings_of_a_command_share_a_flag(cls: type[Any]) -> None:
    names = [name for flag in flags_of(cls) for name in flag.names.split("/")]
    assert len(set(names)) == len(names) > 3
