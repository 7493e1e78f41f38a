"""The name of one training sample, from which all its random draws follow."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np


class SampleKey(NamedTuple):
    """Which sample this is; equal keys mean equal draws, on any machine and in any batch.

    Attributes:
        seed: Seed of the run, at least 0.
        rank: Process (or other stream) the sample belongs to, at least 0.
        sample: Position within that stream, at least 0.
    """

    seed: int
    rank: int
    sample: int

    def generator(self, purpose: str) -> np.random.Generator:
        """A fresh random stream for one use of this sample.

        Streams of different purposes are independent: a setting that needs one more draw here changes nothing there.

        Raises:
            ValueError: A negative part in the key.
        """
        if min(self) < 0:
            raise ValueError(f"seed, rank and sample must be at least 0, got {tuple(self)}")
        branch = (zlib.crc32(purpose.encode()), self.rank, self.sample)
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=branch))
