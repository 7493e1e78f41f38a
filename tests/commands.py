"""Commands as users give them, run in this process, and the files that they leave."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from hypir_cli.cli.app import app


def run(*arguments: object) -> Result:
    """What `hypir` prints, and its exit code."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def contents(folder: Path, pattern: str = "*.png") -> dict[str, bytes]:
    """Files below a folder by their place in it, without what runs keep for themselves."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob(pattern)
        if path.is_file() and ".hypir" not in path.parts
    }
