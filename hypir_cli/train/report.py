"""What a training run tells: after each update, now and then, and at its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch

from hypir_cli.config.train import RunConfig
from hypir_cli.train.runtime import Runtime
from hypir_cli.train.state import RunState


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What a progress display shows after an update."""

    step: int
    """Updates done."""
    total_steps: int
    """Updates of the whole run."""
    scalars: Mapping[str, float]
    """Losses, logits, norms, step sizes, speed, memory."""


def _ignore_report(report: StepReport) -> None:
    del report


def _ignore_message(message: str) -> None:
    del message


def _ignore_numbers(step: int, numbers: Mapping[str, float]) -> None:
    del step, numbers


@dataclass(frozen=True, kw_only=True)
class Observer:
    """Who is told how a run goes; only the main process tells."""

    on_step: Callable[[StepReport], None] = _ignore_report
    """Called after every update."""
    on_log: Callable[[int, Mapping[str, float]], None] = _ignore_numbers
    """Called with the update's number and the means since the line before, every `logging.every` updates."""
    on_scores: Callable[[int, Mapping[str, float]], None] = _ignore_numbers
    """Called with the update's number and validation's scores: `val/*`, and before the first update `lq/*` too."""
    on_message: Callable[[str], None] = _ignore_message
    """Called with a line about something out of the ordinary, or done."""


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """How a run ended."""

    run_dir: Path
    """Its folder."""
    result: Path
    """The weights that restoring takes."""
    step: int
    """Updates done."""
    interrupted: bool
    """Whether a signal ended it before its last update."""
    skipped: int
    """Updates left out because a gradient was not finite."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Last validation scores."""


class Window:
    """Means over the updates between two lines of the log."""

    def __init__(self, config: RunConfig, *, runtime: Runtime) -> None:
        self._config = config
        self._runtime = runtime
        self._sums: dict[str, float] = {}
        self._count = 0
        self._waited = 0.0
        self._start = self._last = time.perf_counter()
        self._latest: dict[str, float] = {}

    def add(
        self,
        scalars: Mapping[str, float],
        *,
        rates: tuple[float, float],
        state: RunState,
        waited: float,
    ) -> dict[str, float]:
        """Take in one update; gives what is shown of it."""
        now = time.perf_counter()
        batch = self._config.optim.batch_size * self._runtime.world_size
        images = batch * self._config.schedule.at(state.step - 1).accumulation
        for name, value in scalars.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        self._waited += waited
        self._latest = {
            "lr/model": rates[0],
            "lr/discriminator": rates[1],
            "images_per_second": images / max(now - self._last, 1e-9),
            "memory_gb": _memory_gb(self._runtime.device),
            "skipped": float(state.skipped),
        }
        self._last = now
        return {**scalars, **self._latest}

    def close(self) -> dict[str, float]:
        """Means over the window, then an empty one; every rank calls this."""
        now = time.perf_counter()
        means = {name: value / self._count for name, value in self._sums.items()}
        means = self._runtime.mean_scalars(means)
        elapsed = max(now - self._start, 1e-9)
        means |= self._latest
        means["data_wait"] = self._waited / elapsed
        means["steps_per_second"] = self._count / elapsed
        self._sums, self._count, self._waited, self._start = {}, 0, 0.0, now
        return means


def _memory_gb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    if device.type == "mps":
        return float(torch.mps.driver_allocated_memory()) / 2**30
    return peak_resident_bytes() / 2**30


def peak_resident_bytes() -> int:
    """Most memory that this process has had in the machine's own."""
    try:
        import resource
    except ImportError:  # Windows
        return int(psutil.Process().memory_info().peak_wset)  # type: ignore[attr-defined]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, the others kibibytes.
    return peak if sys.platform == "darwin" else peak * 1024
