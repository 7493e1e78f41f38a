"""Batches of training samples for one rank, from any position on.

Samples are numbered over all ranks together: at step s, ranks take turns within samples s*B..(s+1)*B-1, B being the batch of
all ranks. So ranks never see the same sample, two ranks with half the batch see what one rank would see, and the position
of a run is one number.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from hypir_cli.config.data import DataConfig
from hypir_cli.errors import ConfigError, HypirError
from hypir_cli.train.data.keys import SampleKey
from hypir_cli.train.data.samples import BadFile, Sample, TrainingSet

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples side by side."""

    images: Tensor
    """float32 (B, 3, crop, crop), RGB, 0..1."""
    degraded: Tensor | None
    """Same shape: partners that are there already; None where they are to be made."""
    prompts: list[str]
    """Prompt of each."""
    names: list[str]
    """File of each."""
    keys: list[SampleKey]
    """Key of each."""


class TrainingLoader:
    """Endless batches from one position on; iterate it once.

    Attributes:
        position: Samples that this rank has taken; what a checkpoint has to keep.
        bad_files: Reason by name of the broken files met so far.
    """

    def __init__(
        self,
        batches: DataLoader[Any],
        *,
        start: int,
        on_bad_file: Callable[[str, str], None] | None = None,
    ) -> None:
        self.position = start
        self.bad_files: dict[str, str] = {}
        self._batches = batches
        self._on_bad_file = on_bad_file

    def __iter__(self) -> Iterator[Batch]:
        """Batches of float images.

        Raises:
            InputError: Every file is broken.
        """
        for samples in self._batches:
            for sample in samples:
                if isinstance(sample, HypirError):
                    raise sample
                self._note_bad_files(sample.skipped)
            self.position += len(samples)
            yield _collate(samples)

    def state_dict(self) -> dict[str, int]:
        """Where the data stands; give `position` to `make_loader` as `start_index` to go on."""
        return {"position": self.position}

    def _note_bad_files(self, skipped: Sequence[BadFile]) -> None:
        for name, reason in skipped:
            if name in self.bad_files:
                continue
            self.bad_files[name] = reason
            _log.warning("skipped a training file: %s", reason)
            if self._on_bad_file is not None:
                self._on_bad_file(name, reason)


def make_loader(
    config: DataConfig,
    *,
    batch_size: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    start_index: int = 0,
    workers: int | None = None,
    on_bad_file: Callable[[str, str], None] | None = None,
) -> TrainingLoader:
    """Batches of one rank, from a position on.

    Args:
        config: Where the data is and how crops are taken.
        batch_size: Samples per batch of this rank.
        seed: Seed of the run, the same on every rank.
        rank: This process, 0..world_size - 1.
        world_size: Number of processes.
        start_index: Samples that this rank has taken already.
        workers: Reading processes; None takes the config's.
        on_bad_file: Called once for each broken file with its name and the reason.

    Raises:
        InputError: A source cannot be read, or there are no photographs.
        ConfigError: The pool size is no multiple of all ranks' batch.
    """
    step = batch_size * world_size
    if config.pool_size % step:
        raise ConfigError(
            f"data.pool_size {config.pool_size} is not a multiple of the batch size {step}"
            f" ({batch_size} on each of {world_size} ranks).",
            hint=f"take {max(1, round(config.pool_size / step)) * step}, or 0 to shuffle whole epochs",
        )
    num_workers = config.workers if workers is None else workers
    batches: DataLoader[Any] = DataLoader(
        TrainingSet(config, seed=seed),
        batch_sampler=_Numbers(batch_size, rank=rank, world_size=world_size, start=start_index),
        num_workers=num_workers,
        collate_fn=list,
        multiprocessing_context=_start_method() if num_workers else None,
        worker_init_fn=leave_without_cleaning_up,
        # Its own generator, so that making the loader leaves the global random state of a resumed run alone.
        generator=torch.Generator().manual_seed(0),
    )
    return TrainingLoader(batches, start=start_index, on_bad_file=on_bad_file)


def _start_method() -> str:
    """Forking a process that has threads can deadlock; a fork server has none, and Windows starts anew anyway."""
    return "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def leave_without_cleaning_up(_: int) -> None:
    """Let this worker end as a forked one does, once its queues are flushed.

    A process started anew runs the destructors of every C++ library on its way out. One whose thread still lives then aborts
    (`terminate called without an active exception`), which the parent takes for a crash of the worker.
    """
    atexit.register(os._exit, 0)


class _Numbers:
    """Batches of sample numbers of one rank, without end."""

    def __init__(self, batch_size: int, *, rank: int, world_size: int, start: int) -> None:
        self._batch_size = batch_size
        self._rank = rank
        self._world_size = world_size
        self._start = start

    def __iter__(self) -> Iterator[list[int]]:
        position = self._start
        while True:
            taken = range(position, position + self._batch_size)
            yield [number * self._world_size + self._rank for number in taken]
            position += self._batch_size


def _collate(samples: Sequence[Sample]) -> Batch:
    partners = [sample.degraded for sample in samples if sample.degraded is not None]
    return Batch(
        images=torch.stack([sample.image for sample in samples]).float() / 255.0,
        degraded=torch.stack(partners).float() / 255.0 if partners else None,
        prompts=[sample.prompt for sample in samples],
        names=[sample.name for sample in samples],
        keys=[sample.key for sample in samples],
    )
