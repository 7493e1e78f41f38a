"""SIGTERM and SIGHUP as Ctrl-C: what is half written is finished or dropped, and the exit code tells the signal."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_NAMES = ("SIGTERM", "SIGHUP")
"""Signals by which schedulers, service managers and closing terminals end a program; Windows lacks the second."""


class Terminated(KeyboardInterrupt):
    """One of the signals has come; everything that knows Ctrl-C handles it.

    Args:
        number: Which.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.name = signal.Signals(number).name
        self.exit_code = 128 + number


@contextlib.contextmanager
def terminations() -> Iterator[None]:
    """Raise `Terminated` in the block when a signal comes; one that is ignored (nohup) or handled already stays so."""
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    replaced = []
    for number in numbers:
        if signal.getsignal(number) is signal.SIG_DFL:
            with contextlib.suppress(ValueError):  # not in the main thread
                signal.signal(number, _raise)
                replaced.append(number)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, signal.SIG_DFL)


def _raise(number: int, frame: FrameType | None) -> None:
    del frame
    raise Terminated(number)
