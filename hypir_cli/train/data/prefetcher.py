"""Training pairs in the order of their numbers, read ahead by a thread while the networks compute."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from torch import Tensor

from hypir_cli.config.train import RunConfig
from hypir_cli.errors import HypirError, InputError
from hypir_cli.train.data.dataset import Batch, TrainingLoader, make_loader
from hypir_cli.train.data.keys import SampleKey
from hypir_cli.train.data.pool import PairPool
from hypir_cli.train.degradation.run import RunDegrader
from hypir_cli.train.runtime import Runtime
from hypir_cli.train.stage import Pairs, Teacher

_AHEAD = 3
"""Batches read before they are asked for."""
_LOOK_EVERY = 0.5
"""Seconds after which a wait looks whether anybody still reads."""


class Prefetcher:
    """Pairs of this rank, without end.

    Args:
        config: Settings of the run.
        runtime: The processes.
        position: Samples taken before, over all ranks.
        needs_lq: Whether anybody looks at the degraded images; where not, the clean ones stand in for them.
        teacher: Restorer whose results are the target where it can make them.
        on_bad_file: Called once for each broken file with its name and the reason.

    Attributes:
        position: Samples taken over all ranks; what a checkpoint keeps.
        waited: Seconds spent waiting for files to be read.

    Raises on construction:
        InputError: There are no photographs.
        ConfigError: Settings of data and degradation that do not fit training.
    """

    def __init__(
        self,
        config: RunConfig,
        *,
        runtime: Runtime,
        position: int,
        needs_lq: bool = True,
        teacher: Teacher | None = None,
        on_bad_file: Callable[[str, str], None] | None = None,
    ) -> None:
        self.position = position
        self.waited = 0.0
        self._runtime = runtime
        self._degrader = RunDegrader(config) if needs_lq else None
        self._teacher = None if teacher is None else _NarrowTeacher(teacher, runtime)
        data, made = config.data, position // runtime.world_size
        self._fresh = config.optim.batch_size // data.reuse
        self._pool: PairPool | None = None
        refill = 0
        if data.reuse > 1:
            self._pool = PairPool(
                reuse=data.reuse,
                size=data.reuse_pool,
                seed=config.seed,
                rank=runtime.rank,
                world_size=runtime.world_size,
            )
            refill = min(made, data.reuse_pool) // self._fresh
        loader = make_loader(
            data,
            batch_size=self._fresh,
            seed=config.seed,
            rank=runtime.rank,
            world_size=runtime.world_size,
            start_index=made - refill * self._fresh,
            on_bad_file=on_bad_file,
        )
        self._batches: queue.Queue[Batch] = queue.Queue(maxsize=_AHEAD)
        self._closed = threading.Event()
        # A future keeps whatever ends the reader, so nothing can end it unseen.
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetcher")
        self._reader = self._executor.submit(self._read, loader)
        self._refill = refill

    def next(self) -> Pairs:
        """The next batch, degraded on the device.

        Raises:
            InputError: No file can be read, or reading ended for another reason.
        """
        while self._refill:
            assert self._pool is not None
            self._pool.add(self._made())
            self._refill -= 1
        fresh = self._made()
        self.position += len(fresh) * self._runtime.world_size
        if self._pool is None:
            return fresh
        self._pool.add(fresh)
        return self._pool.draw(fresh, made=self.position // self._runtime.world_size)

    def _made(self) -> Pairs:
        start = time.perf_counter()
        batch = self._taken()
        self.waited += time.perf_counter() - start
        gt = batch.images.to(self._runtime.device, non_blocking=True)
        if batch.degraded is None:
            lq, target = self._degraded(gt, batch.keys)
        else:
            lq, target = batch.degraded.to(self._runtime.device, non_blocking=True), None
        return Pairs(
            lq=lq,
            gt=gt,
            prompts=tuple(batch.prompts),
            keys=tuple(batch.keys),
            target=target,
        )

    def _degraded(self, gt: Tensor, keys: Sequence[SampleKey]) -> tuple[Tensor, Tensor | None]:
        if self._degrader is None:
            return gt, None
        if self._teacher is None:
            return self._degrader.degrade(gt, keys), None
        return self._degrader.with_targets(gt, keys, teacher=self._teacher)

    def close(self) -> None:
        """Stop reading."""
        self._closed.set()
        self._executor.shutdown()

    def _taken(self) -> Batch:
        """The next batch of the reader, or what ended it."""
        while True:
            ended = self._reader.done()
            try:
                return self._batches.get(timeout=None if ended else _LOOK_EVERY, block=not ended)
            except queue.Empty:
                if ended:
                    raise _ending(self._reader.exception()) from self._reader.exception()

    def _read(self, loader: TrainingLoader) -> None:
        for batch in loader:
            if not self._put(batch):
                return

    def _put(self, item: Batch) -> bool:
        while not self._closed.is_set():
            try:
                self._batches.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False


class _NarrowTeacher:
    """A teacher that computes in the run's precision, whatever is around it."""

    def __init__(self, teacher: Teacher, runtime: Runtime) -> None:
        self.scale = teacher.scale
        self._teacher = teacher
        self._runtime = runtime

    def __call__(self, images: Tensor) -> Tensor:
        with self._runtime.autocast():
            return self._teacher(images)


def _ending(error: BaseException | None) -> HypirError:
    """What ended the reader, said in one line."""
    if isinstance(error, HypirError):
        return error
    if isinstance(error, MemoryError):
        return InputError(
            "there was not enough memory to read training data.",
            hint="lower data.workers or data.cache_megabytes, or set data.resize: short-side",
        )
    reason = "it stopped" if error is None else f"{type(error).__name__}: {error}".rstrip(": ")
    return InputError(
        f"training data cannot be read any more: {reason}.",
        hint="a reading process may have been killed; set data.workers: 0 to see what happens",
    )
