"""What the command line prints: errors in two lines, tables, progress on a terminal and plain lines elsewhere."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from hypir_cli.errors import HypirError, UnexpectedError

if TYPE_CHECKING:
    from hypir_cli.config.launcher import Launch
    from hypir_cli.folder import FolderReport

out = Console(highlight=False)
"""Results."""
err = Console(stderr=True, highlight=False)
"""Progress, warnings and errors."""

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def print_any_name() -> None:
    """Let file names whose bytes are no UTF-8 be printed as they are, where a strict stream would end the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")


def one_line(text: str) -> str:
    """A text with line breaks and other control characters in it as `\\n` and the like: names of files may hold any."""
    return "".join(
        character
        if character.isprintable() or "\ud800" <= character <= "\udfff"
        else character.encode("unicode_escape").decode()
        for character in text
    )


def say(text: str) -> None:
    """A line of results as it is, however long."""
    out.print(text, markup=False, soft_wrap=True)


def note(text: str) -> None:
    """A line beside the results as it is, however long."""
    err.print(text, markup=False, soft_wrap=True)


def print_error(error: HypirError) -> None:
    """The two lines: what is wrong, and what to do."""
    err.print(f"Error: {error.message}", style="red", markup=False, soft_wrap=True)
    if error.hint:
        err.print(f"Hint: {error.hint}", markup=False, soft_wrap=True)


def print_warning(text: str) -> None:
    """One line about a setting without effect or a file treated specially."""
    err.print(f"Warning: {one_line(text)}", style="yellow", markup=False, soft_wrap=True)


def print_launch(launch: Launch, *, quiet: bool) -> None:
    """Which part of the work this process takes, where there are several; and what of the environment was left out."""
    if launch.warning:
        print_warning(launch.warning)
    if launch.count > 1 and not quiet:
        err.print(
            f"{launch.name}: this process takes part {launch.index + 1} of {launch.count}",
            markup=False,
        )


def print_failed(path: Path | str, reason: str, hint: str = "") -> None:
    """One line about an image that failed, unbroken whatever its length; the image is named once."""
    name = str(path)
    subject, colon, rest = reason.removeprefix("cannot read ").partition(": ")
    if colon and subject.endswith(name):
        reason = rest
    more = f" ({hint})" if hint else ""
    line = one_line(f"Failed: {name}: {reason}{more}")
    err.print(line, style="red", markup=False, soft_wrap=True)


def print_failure(path: Path | str, error: HypirError) -> None:
    """One line about an image that failed; where nobody foresaw it, debugging shows where it came from."""
    print_failed(path, error.message, error.hint)
    if debugging() and isinstance(error, UnexpectedError) and error.__cause__ is not None:
        err.print("".join(traceback.format_exception(error.__cause__)), markup=False)


def print_left_out(counts: Mapping[str, int]) -> None:
    """Name the pictures that were passed over, by their suffix."""
    if counts:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in counts.items())
        print_warning(f"passed over, since their format is not read: {kinds}.")


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
            for note in record.notes:
                print_warning(f"{record.input}: {note}")
            if record.status == "failed":
                print_failed(record.input, record.reason)
                continue
            what = verb if record.status == "planned" else "skip"
            say(one_line(f"{what} {record.input} -> {', '.join(record.outputs)}"))
        if report.counted:
            planned, there = report.count("planned"), report.count("skipped")
            out.print(f"{planned} to {verb}, {there} already there.")
        return
    print_left_out(report.left_out)
    counts = [f"{report.count('done')} {done}"]
    counts += [f"{report.count('skipped')} already there"] if report.count("skipped") else []
    counts += [f"{report.count('failed')} failed"] if report.count("failed") else []
    way_out = " (--existing overwrite makes those anew)" if report.count("skipped") else ""
    out.print(f"{', '.join(counts)}{way_out}.", soft_wrap=True)
