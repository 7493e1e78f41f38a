"""One piece of work after the other, in a thread of its own; the page asks how far it is."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from hypir_cli.errors import HypirError

logger = logging.getLogger(__name__)

State = Literal["waiting", "running", "done", "failed", "cancelled"]


class Cancelled(KeyboardInterrupt):
    """The user stopped the work; a folder run takes it as Ctrl-C and keeps what is finished."""


@dataclass
class Task:
    """A piece of work and how far it is."""

    title: str
    """What it is, for people."""
    run: Callable[[Task], None]
    """Does it; calls `advance` on the way."""
    state: State = "waiting"
    """How it stands."""
    message: str = ""
    """Why it failed, or what is being done."""
    fraction: float = 0.0
    """Done of all, 0..1."""
    version: int = 0
    """Counts changes, so that a page can see that something is new."""
    started: float | None = None
    """`time.monotonic` of the start."""
    seconds: float | None = None
    """How long it took, once it has ended."""
    cancel_requested: threading.Event = field(default_factory=threading.Event)
    """Set by `cancel`."""

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("waiting", "running")

    def advance(self, fraction: float, message: str = "") -> None:
        """Say how far it is; ends the work where the user wants that.

        Raises:
            Cancelled: `cancel` was called.
        """
        if self.cancel_requested.is_set():
            raise Cancelled
        self.fraction = fraction
        self.message = message or self.message
        self.version += 1

    def cancel(self) -> None:
        """Stop at the next step; one that waits never starts."""
        self.cancel_requested.set()
        if self.state == "waiting":
            self.end("cancelled", "cancelled before it began")

    def end(self, state: State, message: str) -> None:
        """Note how it ended."""
        if self.started is not None:
            self.seconds = time.monotonic() - self.started
        self.state, self.message = state, message
        self.version += 1

    def seconds_left(self) -> float | None:
        """Estimate from the time so far; None before there is one."""
        if self.state != "running" or self.started is None or self.fraction <= 0.0:
            return None
        spent = time.monotonic() - self.started
        return spent * (1.0 - self.fraction) / self.fraction


class Worker:
    """The thread and its queue."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._current: Task | None = None
        self._thread = threading.Thread(target=self._loop, name="hypir-ui-worker", daemon=True)
        self._thread.start()

    @property
    def current(self) -> Task | None:
        """What is being done."""
        return self._current

    def submit(self, task: Task) -> Task:
        """Do it after everything that waits."""
        self._queue.put(task)
        return task

    def close(self) -> None:
        """Stop what runs, and the thread."""
        current = self._current
        if current is not None:
            current.cancel()
        self._queue.put(None)
        self._thread.join()

    def _loop(self) -> None:
        while True:
            task = self._queue.get()
            if task is None:
                return
            if task.is_open:
                self._current = task
                _run(task)
                self._current = None


def _run(task: Task) -> None:
    """Do a piece of work; whatever it raises is how it ends, and the next one goes on."""
    task.state, task.started = "running", time.monotonic()
    task.version += 1
    try:
        task.run(task)
    except KeyboardInterrupt:
        task.end("cancelled", "cancelled; what is finished stays")
    except HypirError as error:
        hint = f" Hint: {error.hint}" if error.hint else ""
        task.end("failed", f"{error.message}{hint}")
    except Exception as error:
        logger.exception("%s failed", task.title)
        task.end("failed", f"{type(error).__name__}: {error}")
    else:
        task.fraction = 1.0
        task.end("done", "")
