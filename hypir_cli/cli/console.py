"""What the command line prints: errors in two lines, tables, progress on a terminal and plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from rich.console import Console

from hypir_cli.errors import HypirError

if TYPE_CHECKING:
    from hypir_cli.config.launcher import Launch
    from hypir_cli.folder import FolderReport

out = Console(highlight=False)
"""Results."""
err = Console(stderr=True, highlight=False)
"""Progress, warnings and errors."""

INTERRUPTED = 130
"""Exit code after Ctrl-C or SIGTERM."""


def print_error(error: HypirError) -> None:
    """The two lines: what is wrong, and what to do."""
    err.print(f"Error: {error.message}", style="red", markup=False, soft_wrap=True)
    if error.hint:
        err.print(f"Hint: {error.hint}", markup=False, soft_wrap=True)


def print_warning(text: str) -> None:
    """One line about a setting without effect or a file treated specially."""
    err.print(f"Warning: {text}", style="yellow", markup=False, soft_wrap=True)


def print_launch(launch: Launch, *, quiet: bool) -> None:
    """Which part of the work this process takes, where there are several; and what of the environment was left out."""
    if launch.warning:
        print_warning(launch.warning)
    if launch.count > 1 and not quiet:
        err.print(
            f"{launch.name}: this process takes part {launch.index + 1} of {launch.count}",
            markup=False,
        )


def debugging() -> bool:
    """Whether HYPIR_DEBUG=1 asks for tracebacks."""
    return os.environ.get("HYPIR_DEBUG", "") not in ("", "0")


def on_terminal() -> bool:
    """Whether live progress makes sense."""
    return sys.stderr.isatty()


def print_folder_summary(
    report: FolderReport, *, dry_run: bool, verb: str = "restore", done: str = "restored"
) -> None:
    """What a folder run did, and every failure again at the end where it is seen."""
    if dry_run:
        for record in report.records:
            what = verb if record.status == "planned" else "skip"
            out.print(
                f"{what} {record.input} -> {', '.join(record.outputs)}",
                markup=False,
                soft_wrap=True,
            )
        return
    counts = [f"{report.count('done')} {done}"]
    counts += [f"{report.count('skipped')} already there"] if report.count("skipped") else []
    counts += [f"{len(report.failed)} failed"] if report.failed else []
    out.print(", ".join(counts) + ".")
