"""One part of a job list for each of several processes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hypir_cli.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`."""

    index: int = 0
    """0 to count - 1."""
    count: int = 1
    """Number of parts."""

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"shard index must be in 0..{self.count - 1}, got {self.index}")

    def take(self, items: Sequence[T]) -> list[T]:
        """This part's items, dealt out in turn; the parts together hold each item once."""
        return list(items[self.index :: self.count])

    def report_path(self, path: Path) -> Path:
        """A name of its own for this part's report."""
        if self.count == 1:
            return path
        return path.with_name(f"{path.stem}.{self.index + 1}-of-{self.count}{path.suffix}")


def parse_shard(text: str) -> Shard:
    """The shard a user writes as I/N, counted from 1: 1/4 to 4/4.

    Raises:
        ConfigError: Not of that form.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(f"--shard must be I/N with I from 1 to N, got {text!r}.", hint="e.g. 1/4")
    return Shard(int(match[1]) - 1, int(match[2]))
