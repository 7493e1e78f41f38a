"""One part of a job list for each of several processes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hypir_cli.errors import ConfigError

T = TypeVar("T")

_LAUNCHERS = (
    ("RANK", "WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
)
"""Environment variables with a process's number and the number of processes, first match wins."""


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


def detect_shard(environ: Mapping[str, str]) -> Shard:
    """The part that a launcher (torchrun, accelerate, srun) gave this process; the whole list without one.

    Inside a Slurm batch script that starts no step, there is one process, whatever the number of tasks asked for.

    Raises:
        ConfigError: The launcher's variables are not numbers that fit together.
    """
    for index_name, count_name in _LAUNCHERS:
        if index_name not in environ or count_name not in environ:
            continue
        if index_name == "SLURM_PROCID" and "SLURM_STEP_ID" not in environ:
            continue
        try:
            return Shard(int(environ[index_name]), int(environ[count_name]))
        except ValueError as error:
            raise ConfigError(
                f"{index_name}={environ[index_name]} and {count_name}={environ[count_name]} "
                "do not name a process.",
                hint="unset them, or start hypir through torchrun, accelerate launch or srun",
            ) from error
    return Shard()
