"""What people's ratings say, as files: JSON, CSV, Markdown, LaTeX and a page."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from html import escape
from pathlib import Path

from hypir_cli.evaluate.ratings import MAX_RATING, MethodRating, RatingSummary
from hypir_cli.evaluate.report.tables import interval_text, latex_table, latex_text, number
from hypir_cli.evaluate.report.write import write_as
from hypir_cli.folder.pages.page import write_page

FORMAT = "hypir-rated/1"
"""Name and version of the JSON layout."""
_HEADS = ("method", "mean rating", "interval", "pairs won", "ratings")


def write_ratings(path: Path, summary: RatingSummary) -> None:
    """Write the report atomically; the suffix chooses JSON, CSV, Markdown, LaTeX or HTML.

    Raises:
        ConfigError: Another suffix.
        InputError: The place cannot be written.
    """
    write_as(
        path,
        {
            ".json": lambda: _json(summary),
            ".csv": lambda: _csv(summary),
            ".md": lambda: _markdown(summary),
            ".tex": lambda: ratings_latex(summary),
        },
        page=lambda: _write_html(path, summary),
    )


def ratings_latex(summary: RatingSummary) -> str:
    """The table for a paper (package booktabs)."""
    rows = [list(map(latex_text, _cells(item))) for item in summary.methods]
    return latex_table([head.capitalize() for head in _HEADS], rows, note=_lead(summary))


def _lead(summary: RatingSummary) -> str:
    raters = f"{summary.num_raters} rater{'' if summary.num_raters == 1 else 's'}"
    return f"{raters}, 0 (unusable) to {MAX_RATING} (perfect)"


def _cells(item: MethodRating) -> tuple[str, ...]:
    return (
        item.method,
        number(item.rating.mean),
        interval_text(item.rating),
        f"{item.wins.mean:.0%}",
        str(item.num_ratings),
    )


def _json(summary: RatingSummary) -> str:
    return json.dumps({"format": FORMAT, **asdict(summary)}, indent=2, ensure_ascii=False) + "\n"


def _csv(summary: RatingSummary) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "rating", "low", "high", "wins", "ratings"])
    for item in summary.methods:
        rating = item.rating
        ends = ["" if end is None else end for end in (rating.low, rating.high)]
        writer.writerow([item.method, rating.mean, *ends, item.wins.mean, item.num_ratings])
    return text.getvalue()


def _markdown(summary: RatingSummary) -> str:
    rows = [_HEADS, ("---", *("---:" for _ in _HEADS[1:])), *map(_cells, summary.methods)]
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([*lines, "", _lead(summary)]) + "\n"


def _write_html(path: Path, summary: RatingSummary) -> None:
    heads = "".join(f'<th scope="col">{head}</th>' for head in _HEADS)
    rows = "".join(
        f'<tr><th scope="row">{escape(item.method)}</th>'
        + "".join(f"<td>{cell}</td>" for cell in _cells(item)[1:])
        + "</tr>"
        for item in summary.methods
    )
    write_page(
        path,
        title="Ratings",
        lead=f'<p class="soft">{_lead(summary)}</p>',
        body=f'<section class="card"><div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>",
        data={},
        scripts=(),
    )
