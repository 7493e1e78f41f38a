"""Which item comes when: a pure function of the seed and the sample's number, so that any position can be resumed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hypir_cli.train.data.keys import SampleKey

Order = NDArray[np.int64]


class EpochOrder:
    """The endless sequence of items, epoch after epoch.

    Args of the constructor:
        group_sizes: Number of items in each source, in stored order.
        seed: Seed of the run.
        shuffle: A new order in every epoch.
        pool_size: 0, or the window within which samples are shuffled while sources are read front to back.
    """

    def __init__(
        self, group_sizes: Sequence[int], *, seed: int, shuffle: bool = True, pool_size: int = 0
    ) -> None:
        self.length = sum(group_sizes)
        self._group_sizes = tuple(group_sizes)
        self._seed = seed
        self._shuffle = shuffle
        self._pool_size = pool_size
        self._epochs: dict[int, Order] = {}

    def item(self, sample: int, *, skip: int = 0) -> int:
        """Item of the sample with this number, or the one `skip` places later in the same epoch (cyclic)."""
        epoch, place = divmod(sample, self.length)
        if epoch not in self._epochs:
            # Two epochs meet in the batch at their border; older ones are done with.
            recent = list(self._epochs.items())[-1:]
            self._epochs = {**dict(recent), epoch: self._make_epoch(epoch)}
        return int(self._epochs[epoch][(place + skip) % self.length])

    def _make_epoch(self, epoch: int) -> Order:
        if not self._shuffle:
            return np.arange(self.length)
        rng = SampleKey(self._seed, 0, epoch).generator("epoch order")
        if not self._pool_size:
            return rng.permutation(self.length)
        order = self._read_order(rng)
        for start in range(0, self.length, self._pool_size):
            rng.shuffle(order[start : start + self._pool_size])
        return order

    def _read_order(self, rng: np.random.Generator) -> Order:
        """Sources in a random order, the items of each from front to back."""
        starts = np.concatenate([[0], np.cumsum(self._group_sizes)])
        runs = [
            np.arange(starts[group], starts[group + 1])
            for group in rng.permutation(len(self._group_sizes))
        ]
        return np.concatenate(runs)
