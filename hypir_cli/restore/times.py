"""Seconds by stage, counted where the work is done: a GPU works on after the call that gave it the work has returned."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, cast

import torch


class Mark(Protocol):
    """A place in a device's queue of work, whose time the device notes."""

    def record(self) -> None:
        """Put the mark at the queue's end."""

    def synchronize(self) -> None:
        """Wait until the device has passed it."""

    def elapsed_time(self, later: Mark) -> float:
        """Milliseconds from here to a later mark; both were passed."""


@dataclass
class StageTimes:
    """Seconds spent in each stage, summed over tiles."""

    encode: float = 0.0
    """VAE encoder."""
    denoise: float = 0.0
    """Denoiser."""
    decode: float = 0.0
    """VAE decoder."""
    other: float = 0.0
    """Cutting, blending, colour fix, rounding."""
    device: torch.device = field(default=torch.device("cpu"), repr=False)
    """Where `measure_on_device` counts."""
    _pending: list[tuple[str, Mark, Mark]] = field(default_factory=list, repr=False)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the block's wall time to a stage."""
        start = time.perf_counter()
        yield
        self._add(stage, time.perf_counter() - start)

    @contextmanager
    def measure_on_device(self, stage: str) -> Iterator[None]:
        """Add to a stage the time that the device takes for the block's work, without waiting for it here."""
        start, end = new_mark(self.device), new_mark(self.device)
        if start is None or end is None:
            with self.measure(stage):
                yield
            return
        start.record()
        yield
        end.record()
        self._pending.append((stage, start, end))

    def collect(self) -> None:
        """Take in what the device has noted; call it when its results are here anyway."""
        for stage, start, end in self._pending:
            end.synchronize()
            self._add(stage, start.elapsed_time(end) / 1000.0)
        self._pending.clear()

    def _add(self, stage: str, seconds: float) -> None:
        setattr(self, stage, getattr(self, stage) + seconds)


def new_mark(device: torch.device) -> Mark | None:
    """A mark for a device's queue; None where a call returns only when its work is done."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return cast("Mark", _cuda_event(enable_timing=True))
    if device.type == "mps":
        return cast("Mark", _mps_event(enable_timing=True))
    return None


_cuda_event: Callable[..., object] = torch.cuda.Event
_mps_event: Callable[..., object] = torch.mps.event.Event
