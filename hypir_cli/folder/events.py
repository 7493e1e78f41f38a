"""What happens in a run, as events for a progress display and as records for the report."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hypir_cli.errors import HypirError, UnexpectedError
from hypir_cli.folder.jobs import Job
from hypir_cli.folder.report import Record, blank_record


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something a progress display wants to know."""

    kind: Literal["skipped", "started", "done", "failed"]
    """Result there already; reading is over and computing begins; written; given up."""
    job: Job
    """The image."""
    finished: int
    """Images done, skipped or failed so far."""
    total: int
    """Images of this run."""
    record: Record | None = None
    """What became of it; None for `started`."""


Listener = Callable[[Event], None]
Progress = Callable[[int, int], None]
"""Told (done, in all): images of a run, tiles of an image, steps of a sampler."""


def silent(done: int, total: int) -> None:
    """Progress that nobody watches."""


class Log:
    """Records and events, from several threads."""

    def __init__(self, jobs: Sequence[Job], on_event: Listener) -> None:
        self.records: list[Record] = []
        self._total = len(jobs)
        self._jobs = jobs
        self._on_event = on_event
        self._lock = threading.Lock()

    def skip_all_but(self, todo: Sequence[Job]) -> None:
        """Record the jobs that need nothing."""
        wanted = {job.input_path for job in todo}
        for job in self._jobs:
            if job.input_path not in wanted:
                skipped = replace(blank_record(job, "skipped"), reason="the result is there")
                self.finish("skipped", job, skipped)

    def start(self, job: Job) -> None:
        """Tell that computing begins."""
        with self._lock:
            self._tell("started", job, None)

    def finish(self, kind: Literal["skipped", "done", "failed"], job: Job, record: Record) -> None:
        """Record how a job ended, and tell."""
        with self._lock:
            self.records.append(record)
            self._tell(kind, job, record)

    def fail(self, job: Job, error: HypirError) -> None:
        """Record a failure, and tell."""
        record = replace(
            blank_record(job, "failed"),
            reason=job.in_words(error.message),
            hint=error.hint,
            traceback=_traceback_of(error),
        )
        self.finish("failed", job, record)

    def _tell(
        self, kind: Literal["skipped", "started", "done", "failed"], job: Job, record: Record | None
    ) -> None:
        finished = len(self.records)
        self._on_event(
            Event(kind=kind, job=job, finished=finished, total=self._total, record=record)
        )


def _traceback_of(error: HypirError) -> str:
    """Lines that tell a developer where an unforeseen error came from; an error that was foreseen says enough itself."""
    cause = error.__cause__
    if not isinstance(error, UnexpectedError) or cause is None:
        return ""
    return "".join(traceback.format_exception(cause))
