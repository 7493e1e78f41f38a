"""Put a page together from its template, style, scripts and data; the result needs nothing but a browser."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from hypir_cli import __version__
from hypir_cli.images import atomic_file


def write_page(
    path: Path,
    *,
    title: str,
    lead: str,
    body: str,
    data: Mapping[str, object],
    scripts: tuple[str, ...],
) -> None:
    """Write a page atomically.

    Args:
        path: The HTML file.
        title: Plain text.
        lead: HTML under the title.
        body: HTML of the page.
        data: What the scripts read.
        scripts: Names of script files, in order.

    Raises:
        InputError: The place cannot be written.
    """
    text = Template(template("page.html")).substitute(
        title=escape(title),
        css=template("page.css"),
        lead=lead,
        body=body,
        footer=f"Made by hypir {escape(__version__)}. This page works without a network.",
        data=_inside_script(data),
        script="\n".join(template(name) for name in scripts),
    )
    with atomic_file(path) as file:
        file.write(text.encode())


def browser_html(figures: str = "") -> str:
    """The image browser, with a table of the shown image's figures under it."""
    return Template(template("browser.html")).substitute(figures=figures)


@functools.cache
def template(name: str) -> str:
    """A file of the templates folder."""
    return (resources.files("hypir_cli.folder.pages") / "templates" / name).read_text(
        encoding="utf-8"
    )


def _inside_script(data: Mapping[str, object]) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
