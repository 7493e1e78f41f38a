"""No process of a run waits for one that is gone: who fails says so, and who falls silent is missed.

Beside the networks' own messages, which a process that waits in one cannot answer, every process keeps a thread that counts
on and reads what others have to say, through a small store that the first process holds.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Protocol

_log = logging.getLogger(__name__)
_FAILURE, _LEFT = "failure", "left"


class Store(Protocol):
    """What is used of torch's TCPStore."""

    def add(self, key: str, amount: int) -> int:
        """Add to a counter, which starts at 0; gives its value."""

    def check(self, keys: list[str]) -> bool:
        """Whether all keys are set."""

    def get(self, key: str) -> bytes:
        """Value of a key; waits until it is set."""

    def compare_set(self, key: str, expected: str, value: str) -> bytes:
        """Set a key that is not set yet (expected empty); gives what it is."""


def end_process(reason: str) -> None:
    """Say why and end at once: a thread that waits for a lost process in the network or on a GPU cannot be woken."""
    _log.error("%s", reason)
    os._exit(1)


@dataclass(eq=False)
class Watch:
    """This process's eye on the others, from `start` to `leave`."""

    store: Store
    """Shared by all processes."""
    _: KW_ONLY
    rank: int
    """This process."""
    world_size: int
    """Number of processes."""
    end: Callable[[str], None] = end_process
    """Ends this process; called with the reason."""
    every: float = 2.0
    """Seconds between two looks."""
    patience: float = 40.0
    """Seconds after which a process that has not counted on is given up."""
    grace: float = 10.0
    """Seconds that this process has to end by itself after another one has failed."""

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True, name="watch")

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def fail(self, reason: str) -> str:
        """Tell the others that this process fails; gives the reason of the first that did, which may be another."""
        try:
            told = self.store.compare_set(_FAILURE, "", f"process {self.rank}: {reason}")
            return told.decode()
        except RuntimeError:
            return _LOST

    def leave(self) -> None:
        """Stop looking; the first process, which holds the store, waits a while for the others to do the same."""
        self._over.set()
        self._thread.join()
        try:
            count = self.store.add(_LEFT, 1)
            limit = time.monotonic() + self.patience
            while self.rank == 0 and count < self.world_size and time.monotonic() < limit:
                time.sleep(0.05)
                count = self.store.add(_LEFT, 0)
        except RuntimeError:
            return

    def _look(self) -> None:
        neighbour = (self.rank + 1) % self.world_size
        seen, since = -1, time.monotonic()
        while not self._over.wait(self.every):
            try:
                self.store.add(f"beat {self.rank}", 1)
                count = self.store.add(f"beat {neighbour}", 0)
                if count != seen or self.store.add(_LEFT, 0):
                    seen, since = count, time.monotonic()
                elif time.monotonic() - since > self.patience:
                    self.fail(f"process {neighbour} gives no sign of life any more.")
                told = self.store.check([_FAILURE]) and self.store.get(_FAILURE).decode()
            except RuntimeError:
                told = _LOST
            if told:
                if not self._over.wait(self.grace):
                    self.end(told)
                return


_LOST = "the first process of the run is gone."
