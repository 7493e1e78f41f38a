"""How a folder run ends: what it did is printed, and failed images make the exit code 1; one process speaks for several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hypir_cli.cli import console

if TYPE_CHECKING:
    from hypir_cli.folder import FolderReport


def end_run(
    report: FolderReport,
    *,
    by_hand: bool,
    report_path: Path | None,
    dry_run: bool,
    as_json: bool,
    verb: str = "restore",
    done: str = "restored",
    details: Callable[[FolderReport], None] = lambda report: None,
) -> None:
    """Print what was done and leave.

    Args:
        report: What this process did.
        by_hand: Whether the user chose the part; a launcher's processes then do not wait for each other.
        report_path: Place of the joint report.
        dry_run: Whether nothing was done.
        as_json: Print JSON.
        verb: What is done to an image.
        done: What it is afterwards.
        details: Prints what else there is to say.

    Raises:
        typer.Exit: An image failed, here or, on the first process, anywhere.
    """
    from hypir_cli.folder.gather import gather_reports

    joint = report if by_hand else gather_reports(report)
    if joint is None:
        return
    if joint is not report and report_path is not None:
        joint.write(report_path)
    if as_json:
        typer.echo(joint.to_json(), nl=False)
    else:
        console.print_folder_summary(joint, dry_run=dry_run, verb=verb, done=done)
        details(joint)
    if joint.count("failed"):
        raise typer.Exit(1)
