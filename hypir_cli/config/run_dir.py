"""What lies in the folder of a training run: names of its files, and its numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypir_cli.errors import InputError

METRICS_FILE = "metrics.jsonl"
"""One JSON line of numbers per logged update or validation."""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file, oldest first; a last line that was cut off is left out.

    Raises:
        InputError: A line before the last is not JSON.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):
                break
            raise InputError(
                f"line {number} of {path} is not JSON.", hint="remove that line"
            ) from error
    return found
