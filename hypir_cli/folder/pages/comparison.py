"""A page that compares each input of a restore run with its result by a slider."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypir_cli.errors import InputError
from hypir_cli.folder.names import shown_name
from hypir_cli.folder.pages.page import browser_html, write_page
from hypir_cli.folder.pages.pictures import Pictures


@dataclass(frozen=True, kw_only=True)
class ComparisonRow:
    """One image before and after."""

    name: str
    """What the page calls it."""
    before: Path
    """The input."""
    after: tuple[Path, ...]
    """The results, one per sample."""


def write_comparison_page(
    path: Path,
    rows: Sequence[ComparisonRow],
    *,
    title: str = "Before and after",
    refer: Callable[[Path], str] | None = None,
    side_by_side: bool = False,
) -> list[tuple[str, str]]:
    """Write a page with a before/after slider for every row.

    Pictures are shown from where they are, by relative paths, so page and folders must be moved together; formats that
    browsers do not show (TIFF) are copied as PNG into a folder beside the page.

    Args:
        path: The HTML file.
        rows: At least one image.
        title: Heading of the page.
        refer: Address of a picture as the page calls it; None refers to the files as described.
        side_by_side: Open with all versions beside each other instead of two under a slider.

    Returns:
        Rows that are not on the page because a picture cannot be read: their names, and why.

    Raises:
        ValueError: No rows.
        InputError: The page cannot be written.
    """
    if not rows:
        raise ValueError("a comparison page needs at least one row")
    refer = refer or Pictures(path, "beside").refer
    images, problems = [], []
    for row in rows:
        try:
            images.append(_image(row, refer))
        except InputError as error:
            problems.append((row.name, error.message))
    write_page(
        path,
        title=title,
        lead=f'<p class="soft">{len(images)} image{"" if len(images) == 1 else "s"}</p>',
        body=browser_html(),
        data={"columns": [], "images": images, "mode": "side" if side_by_side else "slider"},
        scripts=("view.js", "browser.js"),
    )
    return problems


def _image(row: ComparisonRow, refer: Callable[[Path], str]) -> dict[str, object]:
    labels = [f"Restored {number}" for number in range(1, len(row.after) + 1)]
    if len(row.after) == 1:
        labels = ["Restored"]
    versions = [{"label": "Input", "src": refer(row.before)}]
    versions += [
        {"label": label, "src": refer(after)}
        for label, after in zip(labels, row.after, strict=True)
    ]
    return {"name": shown_name(row.name), "versions": versions}
