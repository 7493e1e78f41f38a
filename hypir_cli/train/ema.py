"""Exponential moving average of the trained weights: what restoring uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Average of a list of parameters, kept beside them in float32.

    Args:
        parameters: Live float32 weights to follow; the average starts at their values.
        decay: Share of the old average that stays at each update, 0..1.
        warmup: Ramp the decay up, min(decay, (1 + n) / (10 + n)) at update n, so that the untrained start is forgotten.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], *, decay: float, warmup: bool) -> None:
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay must be in 0..1 (without 1), got {decay}")
        self.parameters = list(parameters)
        self.decay = decay
        self.warmup = warmup
        self.num_updates = 0
        self.shadow = [value.detach().clone() for value in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the parameters, all tensors in one call."""
        decay = self.decay
        if self.warmup:
            decay = min(decay, (1.0 + self.num_updates) / (10.0 + self.num_updates))
        torch._foreach_lerp_(self.shadow, [value.data for value in self.parameters], 1.0 - decay)
        self.num_updates += 1

    def applied(self) -> AbstractContextManager[None]:
        """The parameters hold the average inside the block and their own values afterwards."""
        return exchanged(self.parameters, self.shadow)

    def load(self, shadow: Sequence[Tensor], *, num_updates: int) -> None:
        """Continue from a saved average.

        Raises:
            ValueError: Another number of tensors or other shapes.
        """
        if [value.shape for value in shadow] != [value.shape for value in self.shadow]:
            raise ValueError("the saved average does not fit the trained parameters")
        for kept, value in zip(self.shadow, shadow, strict=True):
            kept.copy_(value)
        self.num_updates = num_updates


@contextmanager
def exchanged(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> Iterator[None]:
    """The parameters hold other values inside the block; memory is exchanged, nothing is copied or rounded.

    Autocast keeps the cast copy of a weight until its outermost block ends, so copies of either set of values are dropped: a
    pass of the one would otherwise compute with the other's.
    """
    kept = [parameter.data for parameter in parameters]
    torch.clear_autocast_cache()
    try:
        for parameter, value in zip(parameters, values, strict=True):
            parameter.data = value
        yield
    finally:
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.data = value
        torch.clear_autocast_cache()
