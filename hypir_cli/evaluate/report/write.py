"""Write an evaluation in the format its file name asks for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from hypir_cli.errors import ConfigError
from hypir_cli.evaluate.report.html import write_html
from hypir_cli.evaluate.report.record import to_record
from hypir_cli.evaluate.report.tables import to_csv, to_latex, to_markdown
from hypir_cli.evaluate.results import Evaluation
from hypir_cli.images import atomic_file
from hypir_cli.images.atomic import require_writable

REPORT_SUFFIXES = (".json", ".csv", ".md", ".tex", ".html")
"""Formats a report may have."""


def check_report_path(path: Path) -> None:
    """Refuse a report of unknown format, or in a place that cannot be written, before any work is spent.

    Raises:
        ConfigError: Another suffix.
        InputError: The place cannot be written.
    """
    if path.suffix.lower() not in REPORT_SUFFIXES:
        raise ConfigError(
            f"a report ends in {', '.join(REPORT_SUFFIXES)}, got {path.name!r}.",
            hint=f"e.g. --report {path.stem or 'report'}.html",
        )
    require_writable(path)


def write_report(
    path: Path,
    evaluation: Evaluation,
    *,
    images: Literal["auto", "embed", "beside", "none"] = "auto",
) -> None:
    """Write the report atomically; the suffix chooses JSON, CSV, Markdown, LaTeX or HTML.

    Raises:
        ConfigError: Another suffix.
        InputError: The place cannot be written.
    """
    write_as(
        path,
        {
            ".json": lambda: json.dumps(to_record(evaluation), indent=2, ensure_ascii=False) + "\n",
            ".csv": lambda: to_csv(evaluation),
            ".md": lambda: to_markdown(evaluation),
            ".tex": lambda: to_latex(evaluation),
        },
        page=lambda: write_html(path, evaluation, images=images),
    )


def write_as(
    path: Path, texts: Mapping[str, Callable[[], str]], *, page: Callable[[], object]
) -> None:
    """Write what a report's suffix asks for, atomically.

    Args:
        path: Place of the report.
        texts: Makes the text for each suffix but .html.
        page: Writes the page of a report that ends in .html.

    Raises:
        ConfigError: Another suffix.
        InputError: The place cannot be written.
    """
    check_report_path(path)
    suffix = path.suffix.lower()
    if suffix == ".html":
        page()
        return
    with atomic_file(path) as file:
        file.write(texts[suffix]().encode("utf-8", errors="surrogateescape"))
