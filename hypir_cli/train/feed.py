"""Training pairs in the order of their numbers, read ahead by a thread while the networks compute."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from hypir_cli.config.train import RunConfig
from hypir_cli.errors import ConfigError, HypirError
from hypir_cli.train.data import Batch, TrainingLoader, make_loader
from hypir_cli.train.degradation import Degrader
from hypir_cli.train.runtime import Runtime
from hypir_cli.train.stage import Pairs

_AHEAD = 3
"""Batches read before they are asked for."""


class Feed:
    """Pairs of this rank, without end.

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
        on_bad_file: Callable[[str, str], None] | None = None,
    ) -> None:
        if config.degradation.output != "full":
            raise ConfigError(
                "degradation.output is small, but training compares images of equal size.",
                hint="set degradation.output: full",
            )
        self.position = position
        self.waited = 0.0
        self._runtime = runtime
        self._degrader = Degrader(config.degradation)
        loader = make_loader(
            config.data,
            batch_size=config.optim.batch_size,
            seed=config.seed,
            rank=runtime.rank,
            world_size=runtime.world_size,
            start_index=position // runtime.world_size,
            on_bad_file=on_bad_file,
        )
        self._batches: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=_AHEAD)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(loader,), daemon=True)
        self._thread.start()

    def next(self) -> Pairs:
        """The next batch, degraded on the device.

        Raises:
            InputError: No file can be read.
        """
        start = time.perf_counter()
        batch = self._batches.get()
        self.waited += time.perf_counter() - start
        if isinstance(batch, BaseException):
            raise batch
        self.position += len(batch.keys) * self._runtime.world_size
        gt = batch.images.to(self._runtime.device, non_blocking=True)
        return Pairs(
            lq=self._degrader.degrade(gt, batch.keys),
            gt=gt,
            prompts=tuple(batch.prompts),
            keys=tuple(batch.keys),
        )

    def close(self) -> None:
        """Stop reading."""
        self._closed.set()
        self._thread.join()

    def _read(self, loader: TrainingLoader) -> None:
        try:
            for batch in loader:
                if not self._put(batch):
                    return
        except (HypirError, OSError, RuntimeError) as error:
            self._put(error)

    def _put(self, item: Batch | BaseException) -> bool:
        while not self._closed.is_set():
            try:
                self._batches.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False
