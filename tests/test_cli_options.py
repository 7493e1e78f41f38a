"""Options come from the fields of settings classes alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from hypir_cli.cli.options import ConfigFile, build, from_settings
from hypir_cli.config.caption import CaptionConfig
from hypir_cli.config.evaluate import EvaluateConfig
from hypir_cli.config.export import ExportConfig
from hypir_cli.config.flags import flag, flags_of, group
from hypir_cli.config.restore import RestoreConfig
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


@pytest.mark.parametrize(
    "cls", [RestoreConfig, SolveConfig, CaptionConfig, EvaluateConfig, ExportConfig, UiConfig]
)
def test_no_two_settings_of_a_command_share_a_flag(cls: type[Any]) -> None:
    names = [name for flag in flags_of(cls) for name in flag.names.split("/")]
    assert len(set(names)) == len(names) > 3
