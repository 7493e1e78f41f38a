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


class Watch:
    """This process's eye on the others; used as a context manager around the run.

    Args:
        store: Shared by all processes.
        rank: This process.
        world_size: Number of processes.
        end: Ends this process; called with the reason.
        every: Seconds between two looks.
        patience: Seconds after which a process that has not counted on is given up.
        grace: Seconds that this process has to end by itself after another one has failed.
    """

    def __init__(
        self,
        store: Store,
        *,
        rank: int,
        world_size: int,
        end: Callable[[str], None] = end_process,
        every: float = 2.0,
        patience: float = 40.0,
        grace: float = 10.0,
    ) -> None:
        self._store = store
        self._rank = rank
        self._world_size = world_size
        self._end = end
        self._every = every
        self._patience = patience
        self._grace = grace
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True, name="watch")

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def fail(self, reason: str) -> str:
        """Tell the others that this process fails; gives the reason of the first that did, which may be another."""
        try:
            told = self._store.compare_set(_FAILURE, "", f"process {self._rank}: {reason}")
            return told.decode()
        except RuntimeError:
            return _LOST

    def leave(self) -> None:
        """Stop looking; the first process, which holds the store, waits a while for the others to do the same."""
        self._over.set()
        self._thread.join()
        try:
            count = self._store.add(_LEFT, 1)
            limit = time.monotonic() + self._patience
            while self._rank == 0 and count < self._world_size and time.monotonic() < limit:
                time.sleep(0.05)
                count = self._store.add(_LEFT, 0)
        except RuntimeError:
            return

    def _look(self) -> None:
        neighbour = (self._rank + 1) % self._world_size
        seen, since = -1, time.monotonic()
        while not self._over.wait(self._every):
            try:
                self._store.add(f"beat {self._rank}", 1)
                count = self._store.add(f"beat {neighbour}", 0)
                if count != seen or self._store.add(_LEFT, 0):
                    seen, since = count, time.monotonic()
                elif time.monotonic() - since > self._patience:
                    self.fail(f"process {neighbour} gives no sign of life any more.")
                told = self._store.check([_FAILURE]) and self._store.get(_FAILURE).decode()
            except RuntimeError:
                told = _LOST
            if told:
                if not self._over.wait(self._grace):
                    self._end(told)
                return


_LOST = "the first process of the run is gone."
