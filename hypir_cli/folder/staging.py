"""Local copies of inputs and results that live in a store: fetched a few ahead, delivered when whole, then deleted."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from hypir_cli.config.places import is_url
from hypir_cli.errors import InputError
from hypir_cli.folder import urls
from hypir_cli.folder.jobs import Job
from hypir_cli.folder.manifest import Row
from hypir_cli.folder.names import fitting_name
from hypir_cli.folder.sidecar import sidecar_paths


class Staging:
    """Where everything is local: nothing to bring, nothing to take away."""

    def is_here(self, job: Job) -> bool:
        """Whether an input can be read without waiting."""
        return True

    def fetch(self, job: Job) -> None:
        """Wait until an input can be read."""

    def deliver(self, job: Job) -> None:
        """Take results that have been written to where they belong."""

    def release(self, job: Job) -> None:
        """Forget a job that has ended, however it did."""


class StagedCopies(Staging):
    """Copies in a temporary folder; a context manager that deletes it.

    Args:
        rows: The images, in the order in which they will be taken.
        ahead: Inputs fetched before they are asked for; so many, and those at work, are on the local disk at a time.
        sidecars: Also fetch the text file beside each input.
    """

    def __init__(self, rows: Sequence[Row], *, ahead: int, sidecars: bool) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="hypir-staging-"))
        self._sidecars = sidecars
        self._ahead = ahead
        self._rows = list(rows)
        self._pool = ThreadPoolExecutor(ahead, thread_name_prefix="hypir-fetch")
        self._lock = threading.Lock()
        self._begun: dict[int, Future[None]] = {}
        self._next = 0
        self.jobs = [self._job(number, row) for number, row in enumerate(self._rows)]
        """One per row, in the same order."""
        self._number = {job.input_path: number for number, job in enumerate(self.jobs)}

    def __enter__(self) -> StagedCopies:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        shutil.rmtree(self._root, ignore_errors=True)

    def is_here(self, job: Job) -> bool:
        """Whether an input can be read, or is known to be missing, without waiting."""
        return self._future(job).done()

    def fetch(self, job: Job) -> None:
        """Wait until an input is here, and start on those after it.

        Raises:
            InputError: It cannot be fetched, or is not the file that was planned.
        """
        self._future(job).result()

    def deliver(self, job: Job) -> None:
        """Put results, and what was written beside them, where they belong.

        Raises:
            InputError: The store refuses one.
        """
        row = self._rows[self._number[job.input_path]]
        for path, place in zip(job.output_paths, row.output_urls, strict=True):
            if not is_url(place):
                continue
            for file in sorted(path.parent.iterdir()):
                if file != path and file not in job.output_paths:
                    urls.upload(file, f"{place.rpartition('/')[0]}/{file.name}")
            urls.upload(path, place)

    def release(self, job: Job) -> None:
        """Delete the copies of a job that has ended."""
        with self._lock:
            self._begun.pop(self._number[job.input_path], None)
        shutil.rmtree(self._folder(self._number[job.input_path]), ignore_errors=True)

    def _future(self, job: Job) -> Future[None]:
        number = self._number[job.input_path]
        with self._lock:
            while self._next < min(number + 1 + self._ahead, len(self._rows)):
                self._begun[self._next] = self._pool.submit(self._bring, self._next)
                self._next += 1
            return self._begun[number]

    def _bring(self, number: int) -> None:
        row, job = self._rows[number], self.jobs[number]
        if not is_url(row.url):
            return
        job.input_path.parent.mkdir(parents=True, exist_ok=True)
        urls.download(row.url, job.input_path)
        size = job.input_path.stat().st_size
        if row.size and size != row.size:
            raise InputError(
                f"{row.url} has {size} bytes, not the {row.size} that were planned.",
                hint="it has changed since: make a new manifest with hypir plan",
            )
        if self._sidecars:
            self._bring_sidecar(row.url, job.input_path)

    def _bring_sidecar(self, url: str, path: Path) -> None:
        """The text file beside an input, where there is one."""
        for place in sidecar_paths(path):
            content = urls.read_bytes(f"{url.rpartition('/')[0]}/{place.name}")
            if content is not None:
                place.write_bytes(content)
                return

    def _folder(self, number: int) -> Path:
        return self._root / str(number)

    def _job(self, number: int, row: Row) -> Job:
        folder = self._folder(number)
        remote = is_url(row.url)
        name = urls.file_name(row.url)
        return Job(
            # A name too long for this machine's disk may be fine in a store.
            input_path=folder / "in" / _fitting(name) if remote else Path(row.url),
            relative_path=PurePosixPath(row.relative),
            output_paths=tuple(
                folder / "out" / _fitting(PurePosixPath(place).name)
                if is_url(place)
                else Path(place)
                for place in row.output_urls
            ),
            input_url=row.url,
            output_urls=row.output_urls,
        )


def _fitting(name: str) -> str:
    path = PurePosixPath(name)
    return fitting_name(path.stem, path.suffix)
