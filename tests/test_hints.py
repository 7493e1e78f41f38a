"""Hints name what there is: every option in one is an option of a command that can show it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hypir_cli
from hypir_cli.caption import describe
from hypir_cli.cli.app import COMMANDS, app, load_command
from hypir_cli.cli.hints import OPTION, fitting_hint
from hypir_cli.errors import BackboneError

PACKAGE = Path(hypir_cli.__file__).parent
OTHERS = {
    "--no-deps": "pip install",
    "--local-dir": "hf download",
    "--array": "submit with",
    "--network_train_unet_only": "kohya",
}
"""Options of other programs, and a word by which a hint names the program."""
ONE_COMMAND = {
    "evaluate": ("eval",),
    "solvers": ("solve",),
    "export": ("export-lora",),
    "caption": ("caption", "restore"),
    "restore": ("restore", "ui"),
    "ui": ("ui",),
    "train": ("train-encoder", "train-gan", "degrade"),
}
"""Rooms whose errors only these commands show."""


def options_of(*commands: str) -> set[str]:
    params = [item for name in commands for item in load_command(name).params]
    return {option for item in params for option in (*item.opts, *item.secondary_opts)}


def texts(node: ast.AST) -> str:
    """All words of an expression."""
    parts = [item.value for item in ast.walk(node) if isinstance(item, ast.Constant)]
    return " ".join(part for part in parts if isinstance(part, str))


def hints() -> Iterator[tuple[str, str]]:
    """Place and words of every hint in the code: arguments `hint=`, and functions that make one."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.keyword | ast.Assign) and name_of(node) == "hint":
                yield where, texts(node.value)
            elif isinstance(node, ast.FunctionDef) and "hint" in node.name:
                returned = [item for item in ast.walk(node) if isinstance(item, ast.Return)]
                yield where, " ".join(texts(item) for item in returned)


def name_of(node: ast.keyword | ast.Assign) -> str | None:
    if isinstance(node, ast.keyword):
        return node.arg
    target = node.targets[0]
    return target.id if isinstance(target, ast.Name) else ""


def foreign(option: str, words: str) -> bool:
    return option in OTHERS and OTHERS[option] in words


HINTS = [item for item in hints() if "--" in item[1]]


def test_hints_with_options_were_found() -> None:
    assert len(HINTS) > 60


@pytest.mark.parametrize(("where", "words"), HINTS, ids=[where for where, _ in HINTS])
def test_every_option_in_a_hint_is_an_option_of_a_command_that_shows_it(
    where: str, words: str
) -> None:
    room = where.partition("/")[0]
    shown_by = ONE_COMMAND.get(room, tuple(COMMANDS))
    known = options_of(*shown_by, *(name for name in COMMANDS if name in words.split()))
    for option in OPTION.findall(words):
        assert option in known or foreign(option, words), f"{option} in {words!r}"


def test_training_is_told_of_settings_where_it_has_no_options() -> None:
    options = options_of("train-gan")
    told = fitting_hint(
        "use --device auto, --resume auto or leave --vae out", command="train-gan", options=options
    )
    assert told == "use the setting device auto, --resume auto or leave the setting model.vae out"
    assert fitting_hint("use --vae", command="restore", options=()) == "use --vae"


def test_a_captioner_that_is_not_here_is_fetched_for_the_command_that_takes_it() -> None:
    error = BackboneError("gone.", hint="hf download x --local-dir DIR; then --model DIR")
    hint = describe._from_here(error, "llava").hint
    assert hint.startswith("hf download x --local-dir DIR; then `hypir caption INPUT --captioner")
    assert hint.endswith("--model DIR`, and --caption sidecar here")
    assert error.hint.endswith("then --model DIR")


def test_restoring_with_captions_hints_no_option_of_captioning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    Image.new("RGB", (32, 24), "red").save(tmp_path / "a.png")
    for name in ("OPENAI_MODEL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setattr("time.sleep", lambda _: None)
    result = CliRunner().invoke(
        app, ["restore", str(tmp_path / "a.png"), str(tmp_path / "o.png"), "--caption", "openai"]
    )
    assert result.exit_code == 1
    hint = " ".join(result.output.split()).partition("Hint:")[2]
    assert "OPENAI_MODEL" in hint
    own = hint.replace("`hypir caption INPUT --captioner openai`", "")
    assert set(OPTION.findall(own)) <= options_of("restore")
    assert "--model" not in hint
