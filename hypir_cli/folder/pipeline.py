"""Read ahead, compute, write behind.

Computing happens in the calling thread. Reading and writing happen in threads beside it, as far ahead and behind as a
budget of pixels allows, so that memory stays bounded: large images are taken one after the other.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field, replace

from hypir_cli.errors import as_hypir_error
from hypir_cli.folder.events import Log
from hypir_cli.folder.finish import Output, Source, save_samples
from hypir_cli.folder.jobs import Job
from hypir_cli.folder.report import blank_record
from hypir_cli.folder.staging import Staging
from hypir_cli.images import ImageData, Reading, image_size, read_image
from hypir_cli.images.atomic import FolderGuard, unwritable
from hypir_cli.images.data import Pixels

logger = logging.getLogger(__name__)

PIXELS_IN_FLIGHT = 32_000_000
"""Output pixels of all images between the start of reading and the end of writing, unless a single one has more."""


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What a restoration returns."""

    samples: Sequence[Pixels]
    """One (H, W, C) uint8 or uint16 array per output path; C is 1 for a grey input."""
    details: Mapping[str, object] = field(default_factory=dict)
    """For the report: prompt, seeds, peak memory."""
    notes: tuple[str, ...] = ()
    """What the user should know of this image, one sentence each."""


RestoreOne = Callable[[ImageData, Job], Restored]
"""Restores one image; whatever it raises is that image's failure."""


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """An image on its way in."""

    job: Job
    pixels: int
    seconds: dict[str, float]
    future: Future[list[ImageData]]
    """Ends with the one image in a list, to be taken out so that the future does not keep its pixels alive."""


@dataclass(eq=False)
class Pipeline:
    """Reading threads, the caller's thread, writing threads, and the pixels between them."""

    restore_one: RestoreOne
    log: Log
    output: Output
    _: KW_ONLY
    keep_pixels: bool
    num_jobs: int
    output_pixels: Callable[[int, int], int]
    reading: Reading
    staging: Staging
    _in_flight: int = 0

    def __post_init__(self) -> None:
        self._guard = FolderGuard()
        self._readers = ThreadPoolExecutor(self.num_jobs, thread_name_prefix="hypir-read")
        self._writers = ThreadPoolExecutor(self.num_jobs, thread_name_prefix="hypir-write")
        self._writing: deque[tuple[Future[None], int]] = deque()

    def run(self, jobs: Sequence[Job]) -> None:
        """Take every job through; on an error or interrupt, finish the writes that were begun and pass it on."""
        waiting, reading = deque(jobs), deque[_Reading]()
        try:
            while waiting or reading:
                self._read_ahead(waiting, reading)
                if reading:
                    self._compute(reading.popleft())
                else:
                    self._await_write()
            while self._writing:
                self._await_write()
        finally:
            self._readers.shutdown(cancel_futures=True)
            self._writers.shutdown()

    def _read_ahead(self, waiting: deque[Job], reading: deque[_Reading]) -> None:
        """Start reading as many images as threads and pixels allow; at least one when nothing is in flight."""
        while self._writing and self._writing[0][0].done():
            self._await_write()
        while waiting and len(reading) <= self.num_jobs:
            if reading and not self.staging.is_here(waiting[0]):
                return
            pixels = self._pixels_of(waiting[0])
            if self._in_flight and self._in_flight + pixels > PIXELS_IN_FLIGHT:
                return
            job = waiting.popleft()
            self._in_flight += pixels
            seconds: dict[str, float] = {}
            future = self._readers.submit(self._read, job, seconds)
            reading.append(_Reading(job=job, pixels=pixels, seconds=seconds, future=future))

    def _pixels_of(self, job: Job) -> int:
        """Larger of input and output; 0 where the header cannot be read, which reading will report."""
        try:
            self.staging.fetch(job)
            height, width = image_size(job.input_path)
            return max(height * width, self.output_pixels(height, width))
        except Exception as error:
            logger.debug("no size of %s", job.input_path, exc_info=error)
            return 0

    def _read(self, job: Job, seconds: dict[str, float]) -> list[ImageData]:
        """In a reading thread: the image, unless its result could not be written anyway."""
        start = time.perf_counter()
        self.staging.fetch(job)
        for path in job.output_paths:
            self._guard.check(path.parent)
            problem = unwritable(path)
            if problem is not None:
                raise problem
        image = read_image(job.input_path, reading=self.reading)
        seconds["read"] = time.perf_counter() - start
        return [image]

    def _compute(self, item: _Reading) -> None:
        """In the caller's thread: restore one image and hand it to the writers."""
        try:
            image = item.future.result().pop()
        except Exception as error:  # noqa: BLE001 - one image never stops the rest
            self._give_up(item, error)
            return
        self.log.start(item.job)
        try:
            start = time.perf_counter()
            restored = self.restore_one(image, item.job)
            item.seconds["compute"] = time.perf_counter() - start
        except Exception as error:  # noqa: BLE001 - one image never stops the rest
            self._give_up(item, error)
            return
        source = Source.of(image, keep_pixels=self.keep_pixels)
        del image
        while len(self._writing) >= self.num_jobs:
            self._await_write()
        future = self._writers.submit(self._write, item.job, source, restored, item.seconds)
        self._writing.append((future, item.pixels))

    def _give_up(self, item: _Reading, error: Exception) -> None:
        """Record the failure of an image that has not reached the writers."""
        logger.debug("%s failed", item.job.input_path, exc_info=error)
        self._in_flight -= item.pixels
        self.staging.release(item.job)
        self.log.fail(item.job, as_hypir_error(error, subject=item.job.input_name))

    def _write(
        self, job: Job, source: Source, restored: Restored, seconds: dict[str, float]
    ) -> None:
        """In a writing thread: all samples of one image."""
        start = time.perf_counter()
        try:
            notes = save_samples(source, restored.samples, job.output_paths, output=self.output)
            self.staging.deliver(job)
        except Exception as error:
            logger.debug("%s could not be written", job.input_path, exc_info=error)
            self.staging.release(job)
            self.log.fail(job, as_hypir_error(error, subject=job.input_name))
            return
        record = replace(
            blank_record(job, "done"),
            notes=(*job.notes, *source.notes, *restored.notes, *notes),
            seconds={**seconds, "write": time.perf_counter() - start},
            input_size=source.size,
            output_size=(restored.samples[0].shape[0], restored.samples[0].shape[1]),
            details=restored.details,
        )
        self.staging.release(job)
        self.log.finish("done", job, record)

    def _await_write(self) -> None:
        """Wait for the oldest write; what a listener raised in it comes out here."""
        future, pixels = self._writing.popleft()
        self._in_flight -= pixels
        future.result()
