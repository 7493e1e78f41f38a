"""Degraded pairs that are shown several times, because making them takes longer than a step of a small model.

What a batch holds follows from the seed and the number of fresh pairs made before it, so a resumed run that refills the pool
goes on as if it had not stopped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import torch

from hypir_cli.train.data.keys import SampleKey
from hypir_cli.train.stage import Pairs
from hypir_cli.train.symmetry import SYMMETRIES, mirrored

STREAM = 1
"""Second part of the keys of shown samples; that of fresh ones is 0."""


class PairPool:
    """The newest pairs of this rank.

    Args:
        reuse: How often a pair is shown on average.
        size: Pairs that are kept.
        seed: Seed of the run.
        rank: This process.
        world_size: Number of processes.
    """

    def __init__(self, *, reuse: int, size: int, seed: int, rank: int, world_size: int) -> None:
        self.reuse = reuse
        self.size = size
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._pairs: deque[Pairs] = deque(maxlen=size)

    def add(self, fresh: Pairs) -> None:
        """Take in new pairs; the oldest leave."""
        self._pairs.extend(_singles(fresh))

    def draw(self, fresh: Pairs, *, made: int) -> Pairs:
        """The fresh pairs, which were added before, and `reuse - 1` times as many from the whole pool, all turned at random.

        Args:
            fresh: What `add` was given last.
            made: Pairs that this rank has made so far, `fresh` among them.
        """
        count = len(fresh) * self.reuse
        first = (made - len(fresh)) * self.reuse
        key = SampleKey(self._seed, STREAM, first * self._world_size + self._rank)
        random = key.generator("pool")
        places = random.integers(len(self._pairs), size=count - len(fresh))
        taken = [*_singles(fresh), *(self._pairs[int(place)] for place in places)]
        ways = random.integers(SYMMETRIES, size=count)
        turned = [_turned(pair, int(way)) for pair, way in zip(taken, ways, strict=True)]
        keys = tuple(
            SampleKey(self._seed, STREAM, (first + number) * self._world_size + self._rank)
            for number in range(count)
        )
        return replace(_together(turned), keys=keys)


def _singles(pairs: Pairs) -> list[Pairs]:
    return [
        Pairs(
            lq=pairs.lq[place : place + 1],
            gt=pairs.gt[place : place + 1],
            prompts=pairs.prompts[place : place + 1],
            keys=pairs.keys[place : place + 1],
            target=None if pairs.target is None else pairs.target[place : place + 1],
        )
        for place in range(len(pairs))
    ]


def _together(pairs: Sequence[Pairs]) -> Pairs:
    return Pairs(
        lq=torch.cat([pair.lq for pair in pairs]),
        gt=torch.cat([pair.gt for pair in pairs]),
        target=torch.cat([pair.reference for pair in pairs])
        if pairs[0].target is not None
        else None,
        prompts=tuple(prompt for pair in pairs for prompt in pair.prompts),
        keys=tuple(key for pair in pairs for key in pair.keys),
    )


def _turned(pair: Pairs, way: int) -> Pairs:
    target = None if pair.target is None else mirrored(pair.target, way)
    return replace(pair, lq=mirrored(pair.lq, way), gt=mirrored(pair.gt, way), target=target)
