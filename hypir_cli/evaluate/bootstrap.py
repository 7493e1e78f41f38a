"""Intervals by resampling: how far a mean could move had other images been drawn from the same kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and its percentile bootstrap interval."""

    mean: float
    """Mean of the values."""
    low: float | None
    """Lower end; None where there is no interval (a figure of a whole set)."""
    high: float | None
    """Upper end."""
    count: int
    """Number of values."""


def mean_interval(
    values: NDArray[np.float64], *, resamples: int, confidence: float, seed: int
) -> Interval:
    """Mean of the values with its interval.

    For the difference of two methods on the same images, give the differences image by image: that is the paired
    bootstrap.

    Args:
        values: One figure per image, (N,), N at least 1.
        resamples: Number of resampled means.
        confidence: Share of them inside the interval.
        seed: Seed of the resampling.

    Source: Efron and Tibshirani 1993, chapter 13 (percentile interval).
    """
    if values.ndim != 1 or not len(values):
        raise ValueError(f"expected a row of at least one value, got shape {values.shape}")
    means = resampled_means(values, resamples=resamples, seed=seed)
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(means, (tail, 1.0 - tail))
    return Interval(mean=float(values.mean()), low=float(low), high=float(high), count=len(values))


_CHUNK = 2_000_000
"""Most random numbers held at once."""


def resampled_means(
    values: NDArray[np.float64], *, resamples: int, seed: int
) -> NDArray[np.float64]:
    """Means of `resamples` sets of N values drawn with replacement, (resamples,)."""
    generator = np.random.Generator(np.random.PCG64(seed))
    count = len(values)
    means = np.empty(resamples)
    step = max(1, _CHUNK // count)
    for start in range(0, resamples, step):
        stop = min(start + step, resamples)
        chosen = generator.integers(0, count, size=(stop - start, count))
        means[start:stop] = values[chosen].mean(axis=1)
    return means
